//! An island on a real embedded store: every point at which suspending and resuming can stop, and every way in which a
//! file can be wrong.

use std::path::Path;

use chunk_sync::ids::PlayerId;
use chunk_sync::place::ChunkPos;
use chunk_sync::records::{
    CLUSTER_PLAN, DOC_PLACE, DOC_PLAN, DOC_SUSPENDED, IslandRecord, PLACE_SCHEMA, PlaceRecord, PlanRecord,
    WORLD, encode,
};
use chunk_sync::store::{
    Act, Commit, CommitOutcome, EpochStep, PartitionKey, Refusal, StoreAnswer, StoreOp, Token,
};
use chunk_sync::time::Tick;
use chunk_sync_io::store::StoreHandle;
use serde::Serialize;

use super::file::{self, ArchiveError, Chunks};
use super::*;
use crate::books::token;

const ISLAND: IslandId = IslandId(2);

#[derive(Serialize)]
struct Ground {
    v: u16,
    stacks: Vec<Stack>,
}

#[derive(Serialize)]
struct Stack {
    item: &'static str,
    count: u32,
    held: u32,
}

struct World {
    runtime: tokio::runtime::Runtime,
    store: StoreHandle,
    folder: tempfile::TempDir,
}

impl World {
    /// Islands 1 and 2; on the second five chunks with something in them, two residents, and one of the first.
    fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let url = StoreUrl::Embedded(folder.path().join("data"));
        let store = runtime.block_on(StoreHandle::open(&url)).unwrap();
        let world = Self { runtime, store, folder };
        let island = |island| IslandRecord::open(island, [9, 9, 1], Vec::new());
        let islands = vec![island(IslandId(1)), island(ISLAND)];
        let plan = PlanRecord { number: 7, islands, ..PlanRecord::default() };
        let raise = EpochStep::Raise { name: DOC_PLAN.into(), to: 7 };
        let key = PartitionKey::cluster(WORLD, CLUSTER_PLAN);
        world.done(Commit::new(key, Token(token())).put(DOC_PLAN, encode(&plan)).epoch(raise));
        for at in 0..5 {
            let stacks = vec![Stack { item: "wood", count: 3 + u32::from(at), held: 0 }];
            let commit = Commit::new(chunk(at), Token(token()));
            let commit =
                commit.put("ground/3", encode(&Ground { v: 1, stacks })).put("structure/x", vec![7; 300]);
            let act = Act {
                actor: 5,
                session_epoch: 1,
                id: u64::from(at) + 1,
                confirmed: 0,
                result: vec![1, 2].into(),
            };
            let raise = EpochStep::Raise { name: "claims".into(), to: 40 };
            world.done(commit.act(act).epoch(raise).event("an event"));
        }
        for (player, island) in [(1, ISLAND), (2, IslandId(1)), (3, ISLAND)] {
            let place = PlaceRecord { v: PLACE_SCHEMA, island, x: 0, y: 0, heading: 0, tick: Tick(9) };
            let key = PartitionKey::player(PlayerId(player));
            world.done(Commit::new(key, Token(token())).put(DOC_PLACE, encode(&place)));
        }
        world
    }

    fn done(&self, commit: Commit) {
        let answer = self.runtime.block_on(self.store.call(StoreOp::Commit(commit)));
        assert!(matches!(answer, StoreAnswer::Committed(CommitOutcome::Done { .. })), "{answer:?}");
    }

    fn archives(&self) -> Archives {
        Archives::new(None, &StoreUrl::Embedded(self.folder.path().join("data")))
    }

    fn suspend(&self) -> Result<suspend::Suspended, IslandError> {
        self.runtime.block_on(suspend::suspend(&self.store, ISLAND, &self.archives()))
    }

    fn resume(&self) -> Result<resume::Resumed, IslandError> {
        self.runtime.block_on(resume::resume(&self.store, ISLAND, &self.archives()))
    }

    fn chunks(&self) -> Chunks {
        self.runtime.block_on(suspend::look(&self.store, ISLAND)).unwrap().chunks
    }

    fn marked(&self) -> usize {
        self.chunks().values().filter(|raw| mark_of(&raw.docs).is_some()).count()
    }

    fn plan(&self) -> PlanRecord {
        self.runtime.block_on(plan::known(&self.store)).unwrap().plan
    }

    /// Suspends as far as a crash lets it: the file, the plan if `planned`, so many marks.
    fn suspend_partly(&self, planned: bool, marks: usize) {
        self.runtime.block_on(async {
            let known = plan::known(&self.store).await.unwrap();
            let seen = suspend::look(&self.store, ISLAND).await.unwrap();
            let away = suspend::archive(&self.store, ISLAND, &self.archives(), &seen.chunks).await.unwrap();
            if planned {
                plan::write(&self.store, &known, &plan::suspended(&known.plan, away.clone())).await.unwrap();
            }
            for (mark, over) in &suspend::marks(&seen.chunks, &seen.chunks, away.sum).unwrap()[..marks] {
                suspend::replace(&self.store, mark, *over).await.unwrap();
            }
        });
    }

    /// Writes so many chunks back and no more.
    fn resume_partly(&self, chunks: usize) {
        self.runtime.block_on(async {
            let away = plan::known(&self.store).await.unwrap().plan.suspended[0].clone();
            let (archived, _) = file::read(&self.archives().path(&away), ISLAND, away.sum).unwrap();
            let missing = resume::missing(&self.store, ISLAND, &archived, away.sum).await.unwrap();
            for (raw, over) in &missing[..chunks] {
                suspend::replace(&self.store, raw, *over).await.unwrap();
            }
        });
    }

    /// The only archive.
    fn file(&self) -> PathBuf {
        let files = std::fs::read_dir(self.folder.path().join("data/archive")).unwrap();
        let files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        let [path] = &files[..] else { panic!("{files:?}") };
        path.clone()
    }
}

fn chunk(at: u8) -> PartitionKey {
    PartitionKey::chunk(WORLD, ISLAND, ChunkPos::new(i16::from(at), 3))
}

fn is_same(before: &Chunks, after: &Chunks) {
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (key, was) in before {
        let is = &after[key];
        assert_eq!((&was.docs, &was.epochs, &was.leases, &was.actors), {
            (&is.docs, &is.epochs, &is.leases, &is.actors)
        });
        // A commit of before is known as done, under whatever is newest now.
        assert!(is.recent.newest_first().contains(&was.token()), "{key}");
    }
}

#[test]
fn wherever_suspending_stops_it_is_finished_or_undone() {
    for (planned, marks) in [(false, 0), (true, 0), (true, 1), (true, 4), (true, 5)] {
        let world = World::new();
        let before = world.chunks();
        world.suspend_partly(planned, marks);
        match world.suspend() {
            Ok(done) => {
                assert_eq!((done.partitions, done.structures, done.residents), (5, 5, 2), "{done:?}");
                assert_eq!(done.finished, planned);
                assert!(done.mark_bytes < done.bytes && done.archive_bytes < done.bytes, "{done:?}");
            }
            Err(error) => {
                assert!(marks == 5 && error.to_string().contains("is suspended already"), "{error}")
            }
        }
        assert_eq!((world.marked(), world.plan().suspended.len()), (5, 1));
        assert_eq!(world.plan().islands.iter().map(|open| open.island.0).collect::<Vec<_>>(), [1]);
        world.file();
        // Whoever resumes half of it and stops is finished too.
        world.resume_partly(2);
        let resumed = world.resume().unwrap();
        assert_eq!((resumed.written, resumed.kept), (3, 2));
        is_same(&before, &world.chunks());
        assert_eq!(world.plan().islands.iter().map(|open| open.island.0).collect::<Vec<_>>(), [1, 2]);
        assert_eq!((world.plan().suspended.len(), world.plan().number), (0, 9));
        assert!(world.resume().unwrap_err().to_string().contains("is not suspended"));

        let world = World::new();
        let before = world.chunks();
        world.suspend_partly(planned, marks);
        if planned {
            assert_eq!(world.resume().unwrap().written, marks as u64);
        }
        is_same(&before, &world.chunks());
    }
}

#[test]
fn a_mark_refuses_whoever_does_not_know_it_and_keeps_what_must_not_go_back() {
    let world = World::new();
    let before = world.chunks();
    world.suspend().unwrap();
    let refused = |commit: Commit| match world.runtime.block_on(world.store.call(StoreOp::Commit(commit))) {
        StoreAnswer::Committed(CommitOutcome::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    };
    let absent =
        Commit::new(chunk(1), Token(token())).absent(DOC_SUSPENDED).absent("cell/5").put("cell/5", "x");
    assert!(matches!(refused(absent), Refusal::Conflict { doc, .. } if doc.as_str() == DOC_SUSPENDED));
    let lower = EpochStep::Raise { name: "claims".into(), to: 40 };
    let older = Commit::new(chunk(1), Token(token())).epoch(lower);
    assert!(matches!(refused(older), Refusal::EpochMismatch { current: 40, .. }));
    let mark = mark_of(&world.chunks()[&chunk(1)].docs).unwrap();
    assert_eq!(mark.holds, [("wood".to_owned(), 4)].into());
    // A commit that was done before is answered as done.
    let again = Commit::new(chunk(1), before[&chunk(1)].token()).absent(DOC_SUSPENDED);
    world.done(again);
    assert_eq!(world.marked(), 5);
}

#[test]
fn a_chunk_that_changed_after_it_was_archived_is_not_lost() {
    let world = World::new();
    world.suspend_partly(true, 2);
    let late = world.chunks().into_values().find(|raw| mark_of(&raw.docs).is_none()).unwrap().key;
    world.done(Commit::new(late.clone(), Token(token())).put("late", "1"));
    let error = world.suspend().unwrap_err().to_string();
    assert!(
        error.ends_with("changed after it was archived: resume the island, and suspend it anew"),
        "{error}"
    );
    assert_eq!(world.marked(), 2);
    world.resume().unwrap();
    assert!(world.chunks()[&late].docs.contains_key("late"));
    world.suspend().unwrap();
    world.resume().unwrap();
    assert!(world.chunks()[&late].docs.contains_key("late"));
}

#[test]
fn what_is_under_way_keeps_an_island_where_it_is() {
    #[derive(Serialize)]
    struct Out {
        from: &'static str,
        to: &'static str,
        v: u16,
        cargo: serde_json::Value,
        back: serde_json::Value,
    }
    let id = "0000000000000001.1.2.3.p.0";
    let none = serde_json::json!({ "reserve": {} });
    let out =
        |from, to| Out { from, to, v: 1, cargo: none.clone(), back: serde_json::json!({ "resource": {} }) };
    for (key, document, stays) in [
        (PartitionKey::player(PlayerId(1)), out("player/0000000000000001", "chunk/2/1/3"), true),
        (PartitionKey::player(PlayerId(1)), out("player/0000000000000001", "chunk/20/1/3"), false),
        (chunk(1), out("chunk/2/1/3", "player/0000000000000001"), true),
    ] {
        let world = World::new();
        world.done(Commit::new(key, Token(token())).put(format!("out/{id}"), encode(&document)));
        match world.suspend() {
            Err(error) => {
                let error = error.to_string();
                assert!(stays && error.contains("transfers from or to island 2 are under way"), "{error}");
                assert!(!world.folder.path().join("data/archive").exists(), "nothing was written");
            }
            Ok(done) => assert!(!stays, "{done:?}"),
        }
    }
}

#[test]
fn no_file_is_taken_that_is_not_as_it_was_written() {
    let world = World::new();
    world.suspend().unwrap();
    let (path, away) = (world.file(), world.plan().suspended[0].clone());
    let whole = std::fs::read(&path).unwrap();
    let (chunks, bytes) = file::read(&path, ISLAND, away.sum).unwrap();
    assert_eq!((chunks.len(), bytes), (5, whole.len() as u64));
    let other = world.folder.path().join("other");
    let read = |bytes: &[u8]| {
        std::fs::write(&other, bytes).unwrap();
        file::read(&other, ISLAND, away.sum)
    };
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(read(&flipped).is_err(), "bit {} of byte {at}", at % 8);
        assert!(matches!(read(&whole[..at]), Err(ArchiveError::Damaged(..))), "cut at {at}");
    }
    assert!(read(&[&whole[..], &[0]].concat()).is_err());
    assert!(matches!(file::read(&path, IslandId(3), away.sum), Err(ArchiveError::Foreign(..))));
    assert!(matches!(file::read(&path, ISLAND, away.sum ^ 1), Err(ArchiveError::Foreign(..))));
    let gone = Path::new("nowhere/at/all");
    assert!(matches!(file::read(gone, ISLAND, away.sum), Err(ArchiveError::Missing(_))));
    // The same chunks have the same name whenever they are archived.
    let packed = file::pack(ISLAND, 1, &chunks).unwrap();
    assert_eq!(packed.head.sum, away.sum);
    // Chunks of another island are no part of one.
    let strange = file::pack(IslandId(3), 1, &chunks).unwrap();
    let (path, _) = file::write(world.folder.path(), &strange).unwrap();
    let said = file::read(&path, IslandId(3), strange.head.sum).unwrap_err().to_string();
    assert!(said.contains("does not belong there"), "{said}");
}

#[test]
fn what_doing_it_again_does_not_help_is_said_as_such() {
    let world = World::new();
    let before = world.chunks();
    let raw = &before[&chunk(1)];
    world.done(Commit::new(chunk(1), Token(token())).put("late", "1"));
    let changed = world.runtime.block_on(suspend::replace(&world.store, raw, raw.token())).unwrap_err();
    let damaged = IslandError::from(StoreFault::Broken { text: "damaged row x".to_owned() });
    let away = IslandError::from(StoreFault::Away);
    let failed = IslandError::Store(StoreFault::Away.to_string());
    for (error, code, advice) in [
        (changed, 2, "resume the island, and suspend it anew"),
        (damaged, 2, "nothing was changed. Put the store back from a copy"),
        (away, 1, "nothing was changed"),
        (failed, 1, "do it again to finish it"),
    ] {
        let failure = command::failure(&error);
        assert_eq!(failure.exit_code(), code, "{error}");
        assert!(failure.lines()[0].ends_with(advice), "{error}");
    }
}

#[test]
fn more_islands_than_may_be_open_are_never_in_one_file() {
    let island = |number| IslandRecord::open(IslandId(number), [9, 9, 1], Vec::new());
    let away = |number| SuspendedIsland { island: IslandId(number), sum: 1, folder: "there".to_owned() };
    let islands: Vec<_> = (1..20).map(island).collect();
    let plan = PlanRecord { islands, suspended: vec![away(20)], ..PlanRecord::default() };
    assert_eq!(all_open(&plan).unwrap().islands.len(), 20);
    let plan = PlanRecord { suspended: vec![away(20), away(21)], ..plan };
    let why = all_open(&plan).unwrap_err();
    assert!(why.starts_with("19 islands are open and 2 suspended"), "{why}");
}
