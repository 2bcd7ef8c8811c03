//! What an export and an import refuse before anything is written.

use std::collections::BTreeMap;

use chunk_sync::ids::IslandId;
use chunk_sync::records::{CLUSTER_PLAN, DOC_PLAN, IslandRecord, PlanRecord, SuspendedIsland, WORLD, encode};
use chunk_sync::store::{
    Cas, Commit, CommitOutcome, Document, PartitionKey, RawPartition, StoreAnswer, StoreOp, Token,
};
use chunk_sync_io::store::{StoreHandle, StoreUrl};
use population_allocator::limits::ISLANDS_MAX;

use super::export::{ExportError, export};
use super::format::{About, Piece, Writer};
use super::import::{AuditFindings, ImportError, check};
use crate::islands::Archives;

fn plan(open: u32, suspended: u32) -> PlanRecord {
    let island = |number| IslandRecord::open(IslandId(number), [9, 9, 1], Vec::new());
    let away = |number| SuspendedIsland { island: IslandId(number), sum: 7, folder: "there".to_owned() };
    PlanRecord {
        number: 3,
        islands: (1..=open).map(island).collect(),
        suspended: (open + 1..=open + suspended).map(away).collect(),
        ..PlanRecord::default()
    }
}

fn planned() -> PartitionKey {
    PartitionKey::cluster(WORLD, CLUSTER_PLAN)
}

#[tokio::test]
async fn a_world_with_too_many_islands_for_one_file_is_not_exported() {
    let folder = tempfile::tempdir().unwrap();
    let url = StoreUrl::Embedded(folder.path().join("data"));
    let store = StoreHandle::open(&url).await.unwrap();
    let commit = Commit::new(planned(), Token(9)).put(DOC_PLAN, encode(&plan(ISLANDS_MAX, 1)));
    let said = store.call(StoreOp::Commit(commit)).await;
    assert!(matches!(said, StoreAnswer::Committed(CommitOutcome::Done { .. })), "{said:?}");
    let file = folder.path().join("world.atoll");
    let said = export(&store, None, &Archives::new(None, &url), &file, false).await;
    let Err(ExportError::Archive(why)) = said else { panic!("{said:?}") };
    assert!(why.contains("20 islands are open and 1 suspended"), "{why}");
    assert!(std::fs::read_dir(folder.path()).unwrap().count() == 1, "something was written");
}

#[test]
fn a_file_with_too_many_islands_is_not_imported() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("world.atoll");
    for (islands, fits) in [(ISLANDS_MAX, true), (ISLANDS_MAX + 1, false)] {
        let about = About { program: "test".to_owned(), taken_ms: 1, live: false };
        let mut writer = Writer::begin(Vec::new(), about).unwrap();
        let document = Document { cas: Cas::from(Token(9)), value: encode(&plan(islands, 0)).into() };
        let mut recent = chunk_sync::store::RecentTokens::default();
        recent.push(Token(9));
        let raw = RawPartition {
            key: planned(),
            recent,
            docs: BTreeMap::from([(DOC_PLAN.into(), document)]),
            epochs: BTreeMap::new(),
            leases: BTreeMap::new(),
            actors: BTreeMap::new(),
        };
        writer.put(&Piece::Partition(raw)).unwrap();
        std::fs::write(&file, writer.end().unwrap().0).unwrap();
        let said = check(&file);
        assert_eq!(said.is_ok(), fits, "{islands}: {said:?}");
    }
}

#[test]
fn all_findings_are_counted_also_those_that_are_not_told() {
    let some = AuditFindings { total: 1_500, told: vec!["wood".to_owned()] };
    let said = ImportError::Findings(some).to_string();
    assert!(said.contains("found 1500 things (the first 1 are told), so"), "{said}");
    let all = AuditFindings { total: 1, told: vec!["wood".to_owned()] };
    assert!(ImportError::Findings(all).to_string().contains("found 1 things, so"));
}
