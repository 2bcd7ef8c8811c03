//! An island goes to a file and comes back: the same world, whoever is killed in between; a file that isn't as it was
//! written is found, and nothing of it is served.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use chunk_sync::ids::IslandId;
use chunk_sync::place::ChunkPos;
use chunk_sync::records::{DOC_PLACE, DOC_SUSPENDED, PLACE_SCHEMA, PlaceRecord, WORLD, encode};
use chunk_sync::store::{
    Commit, CommitOutcome, PARTITIONS_PAGE_MAX, PartitionKey, RawPartition, StoreAnswer, StoreOp, Token,
};
use chunk_sync::time::Tick;
use chunk_sync_io::store::{StoreHandle, StoreUrl};
use world_node::rules::documents::{CellRecord, Covered, Record, StructureRecord, StructureState};
use world_node::rules::site::{Site, TilePos};
use world_node::rules::structures::StructureKind;

use crate::http::state;
use crate::process::{Atoll, PATIENCE, wait_for};
use crate::redis_server::RedisServer;
use crate::settlers::Settlers;
use crate::tool::{Said, atoll, audit, findings};
use crate::world::{act, player};

fn says(folder: &Path, arguments: &[&str], code: i32, words: &[&str]) -> Said {
    let said = atoll(folder, arguments);
    assert_eq!(said.code, Some(code), "{said:?}");
    for word in words {
        assert!(said.out.contains(word) || said.err.contains(word), "{word}: {said:?}");
    }
    said
}

fn up(folder: &Path, more: &[&str]) -> Atoll {
    let flags = ["up", "--port-base", "0", "--http", "127.0.0.1:0", "--nodes", "1", "--islands", "2"];
    Atoll::start(folder, &[&flags[..], more].concat())
}

/// The chunks of island 1 as the store has them.
fn chunks(url: &StoreUrl) -> BTreeMap<String, RawPartition> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let store = runtime.block_on(StoreHandle::open(url)).unwrap();
    let (ops, mut found, mut after) = (store.ops(), BTreeMap::new(), None);
    loop {
        let page = runtime.block_on(ops.partitions_page(after.as_ref(), PARTITIONS_PAGE_MAX)).unwrap();
        let its = page.partitions.into_iter().map(|raw| (raw.key.to_string(), raw));
        found.extend(its.filter(|(key, _)| key.starts_with("w1/chunk/1/")));
        after = page.next;
        if after.is_none() {
            return found;
        }
    }
}

fn marks(chunks: &BTreeMap<String, RawPartition>) -> usize {
    chunks.values().filter(|raw| raw.docs.contains_key(DOC_SUSPENDED)).count()
}

/// All but the newest tokens, which say that it was written anew.
fn is_same(before: &BTreeMap<String, RawPartition>, after: &BTreeMap<String, RawPartition>) {
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (key, was) in before {
        let is = &after[key];
        assert_eq!((&was.docs, &was.epochs, &was.leases), (&is.docs, &is.epochs, &is.leases), "{key}");
        assert_eq!(was.actors, is.actors, "{key}");
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(listed) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = listed.map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "atoll"));
    files
}

/// Three settlers live on island 1 for a while, until everything that they did has ended.
fn settle(folder: &Path, store: &[&str]) {
    let mut cluster = up(folder, store);
    let ready = cluster.ready();
    let page = ready.value("page").to_owned();
    let mut settlers = Settlers::enter(ready.value("join"), 3, 5);
    settlers.act_until(40);
    settlers.rest();
    drop(settlers);
    wait_for("everything to end", || (audit(folder, &["--http", &page], 0)["pending"] == 0).then_some(()));
    cluster.stops();
}

#[test]
fn an_island_is_suspended_and_resumed_and_is_the_same() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path();
    let data = ["--data", "data"];
    let url = StoreUrl::Embedded(folder.join("data"));
    settle(folder, &data);
    let before = chunks(&url);
    assert!(before.len() > 8, "{} chunks", before.len());
    let whole = audit(folder, &data, 0);
    says(folder, &["suspend", "7", "--data", "data"], 2, &["there is no island 7", "nothing was changed"]);
    says(folder, &["resume", "1", "--data", "data"], 2, &["island 1 is not suspended"]);
    let said = says(
        folder,
        &["suspend", "1", "--data", "data"],
        0,
        &["island 1 is suspended: data/archive/island-1-"],
    );
    assert!(said.out.contains(", 3 residents\n") && said.out.contains("bytes archived"), "{said:?}");
    says(folder, &["suspend", "1", "--data", "data"], 2, &["island 1 is suspended already"]);
    says(folder, &["suspend", "2", "--data", "data"], 2, &["is the only one that is open"]);
    let away = chunks(&url);
    assert_eq!((away.len(), marks(&away)), (before.len(), before.len()));
    let bytes = |chunks: &BTreeMap<String, RawPartition>| {
        chunks.values().map(RawPartition::carried_bytes).sum::<usize>()
    };
    assert!(bytes(&away) < bytes(&before), "{} bytes, then {}", bytes(&before), bytes(&away));
    // The auditor sees through the marks.
    let report = audit(folder, &data, 0);
    assert_eq!(report["suspended"], serde_json::json!([1]), "{report}");
    assert_eq!((&report["items"], &report["structures"]), (&whole["items"], &whole["structures"]));
    let key = before.keys().next().unwrap().clone();
    let place: Vec<&str> = key.rsplit('/').collect();
    says(folder, &["inspect", "chunk", "1", place[1], place[0], "--data", "data"], 0, &["suspended"]);
    says(folder, &["inspect", "island", "1", "--data", "data"], 0, &["suspended", "island-1-"]);

    // Those who lived there are let in elsewhere, and the auditor beside the cluster finds nothing.
    let mut cluster = up(folder, &data);
    let ready = cluster.ready();
    let settlers = Settlers::enter(ready.value("join"), 3, 6);
    let islands = settlers.islands();
    assert!(islands.len() == 3 && islands.iter().all(|island| *island != 1), "{islands:?}");
    let shown = wait_for("the auditor to have gone round", || {
        let audit = state(ready.admin())["audit"].clone();
        (audit["walks"].as_u64()? > 0 && audit["compared"].as_u64()? >= before.len() as u64).then_some(audit)
    });
    assert_eq!(shown["findings"], 0, "{shown}");
    let page = ready.value("page").to_owned();
    audit(folder, &["--http", &page], 0);
    drop(settlers);
    cluster.stops();
    assert_eq!(marks(&chunks(&url)), before.len(), "nobody wrote there");

    // An export has the island in it, open.
    says(
        folder,
        &["export", "--data", "data", "world.atoll"],
        0,
        &["island 1 is suspended: its chunks are in it"],
    );
    says(folder, &["import", "--data", "copy", "world.atoll"], 0, &[]);
    let report = audit(folder, &["--data", "copy"], 0);
    assert_eq!((&report["suspended"], &report["structures"]), (&serde_json::json!([]), &whole["structures"]));
    is_same(&before, &chunks(&StoreUrl::Embedded(folder.join("copy"))));

    says(folder, &["resume", "1", "--data", "data"], 0, &["island 1 is back", "may be deleted"]);
    assert_eq!(files(&folder.join("data/archive")), Vec::<PathBuf>::new());
    is_same(&before, &chunks(&url));
    audit(folder, &data, 0);
    let mut cluster = up(folder, &data);
    let ready = cluster.ready();
    let mut settlers = Settlers::enter(ready.value("join"), 3, 7);
    settlers.act_until(10);
    settlers.rest();
    let open = state(ready.admin())["islands"].clone();
    let numbers: Vec<u64> =
        open.as_array().unwrap().iter().map(|island| island["id"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3], "the third opened while the first was away, since two are always wanted");
    drop(settlers);
    cluster.stops();
    audit(folder, &data, 0);
}

#[test]
fn a_file_that_is_not_as_it_was_written_is_found_and_nothing_is_served() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path();
    let data = ["--data", "data"];
    let url = StoreUrl::Embedded(folder.join("data"));
    settle(folder, &data);
    let before = chunks(&url);
    says(folder, &["suspend", "1", "--data", "data", "--archive", "away"], 0, &[]);
    let [path] = &files(&folder.join("away"))[..] else { panic!("not one archive") };
    let whole = std::fs::read(path).unwrap();
    let middle = whole.len() / 2;
    let flipped: Vec<u8> = whole.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == middle)).collect();
    for (bytes, why) in [
        (Some(flipped), "is damaged: its sum is wrong"),
        (Some(whole[..whole.len() - 1].to_vec()), "is damaged"),
        (Some(b"something else".to_vec()), "is damaged: it is not an archive of this version"),
        (None, "is missing"),
    ] {
        match bytes {
            Some(bytes) => std::fs::write(path, bytes).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
        says(folder, &["resume", "1", "--data", "data"], 2, &[why, "nothing was changed"]);
        // Where it is, is known from the plan.
        let found = findings(&audit(folder, &data, 1));
        assert!(found.len() == 1 && found[0].contains("island 1 ") && found[0].contains(why), "{found:?}");
        says(folder, &["export", "--data", "data", "world.atoll"], 2, &[why]);
        assert_eq!(marks(&chunks(&url)), before.len());
    }
    let mut cluster = up(folder, &data);
    let ready = cluster.ready();
    let shown = state(ready.admin())["islands"].clone();
    assert!(shown.as_array().unwrap().iter().all(|island| island["id"] != 1), "{shown}");
    cluster.stops();
    std::fs::write(path, &whole).unwrap();
    audit(folder, &data, 0);
    // Another folder that has it is as good.
    std::fs::create_dir(folder.join("elsewhere")).unwrap();
    std::fs::rename(path, folder.join("elsewhere").join(path.file_name().unwrap())).unwrap();
    audit(folder, &data, 1);
    audit(folder, &["--data", "data", "--archive", "elsewhere"], 0);
    says(folder, &["resume", "1", "--data", "data", "--archive", "elsewhere"], 0, &[]);
    is_same(&before, &chunks(&url));
    audit(folder, &data, 0);
}

/// A tool that may be killed.
struct Tool(Child);

impl Tool {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atoll"));
        let command = command.args(arguments).current_dir(folder).stdin(Stdio::null());
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Kills it as soon as something is so, or lets it end.
    fn killed_when(mut self, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while self.0.try_wait().unwrap().is_none() && !is_so() {
            assert!(Instant::now() < deadline, "neither ended nor got there");
        }
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn who_suspends_or_resumes_may_be_killed_at_any_point() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path();
    let redis = RedisServer::start();
    let store = redis.url();
    let url: StoreUrl = store.parse().unwrap();
    let at = ["--store", &store, "--ledger", "books"];
    says(folder, &["suspend", "1", "--store", &store], 2, &["this world has no islands yet"]);
    settle(folder, &at);
    let before = chunks(&url);
    let away = |name: &'static str| [&[name, "1", "--store", &store, "--archive", "away"][..]].concat();
    says(folder, &["suspend", "1", "--store", &store], 2, &["give --archive FOLDER"]);
    // Beside a cluster it is refused.
    let mut cluster = up(folder, &at);
    cluster.ready();
    says(folder, &away("suspend"), 2, &["a cluster is at work on this store"]);
    cluster.stops();
    is_same(&before, &chunks(&url));

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let opened = runtime.block_on(StoreHandle::open(&url)).unwrap();
    // A look at one chunk is quick enough to be in the middle of it.
    let is_marked = |raw: &RawPartition| {
        let load = StoreOp::Load { partition: raw.key.clone() };
        match runtime.block_on(opened.call(load)) {
            StoreAnswer::Loaded(view) => view.doc(DOC_SUSPENDED).is_some(),
            other => panic!("{other:?}"),
        }
    };
    let by_key: BTreeMap<_, _> = before.values().map(|raw| (raw.key.clone(), raw)).collect();
    let order: Vec<&RawPartition> = by_key.into_values().collect();
    for point in [0, order.len() / 3, order.len() - 2] {
        let archived = || !files(&folder.join("away")).is_empty();
        let tool = Tool::start(folder, &away("suspend"));
        if point == 0 {
            tool.killed_when(archived)
        } else {
            tool.killed_when(|| is_marked(order[point]))
        }
        audit(folder, &[&at[..], &["--archive", "away"]].concat(), 0);
        let said = atoll(folder, &away("suspend"));
        let ended = said.code == Some(0) || said.err.contains("is suspended already");
        assert!(ended, "point {point}: {said:?}");
        eprintln!("point {point}: {}{}", said.out, said.err);
        assert_eq!(marks(&chunks(&url)), before.len(), "point {point}");
        audit(folder, &[&at[..], &["--archive", "away"]].concat(), 0);

        let tool = Tool::start(folder, &away("resume"));
        tool.killed_when(|| !is_marked(order[point]));
        audit(folder, &[&at[..], &["--archive", "away"]].concat(), 0);
        let said = atoll(folder, &away("resume"));
        assert!(said.code == Some(0) || said.err.contains("is not suspended"), "point {point}: {said:?}");
        eprintln!("point {point}: {}{}", said.out, said.err);
        is_same(&before, &chunks(&url));
        audit(folder, &at, 0);
        for file in files(&folder.join("away")) {
            // Killed between the plan and the file's new name.
            std::fs::remove_file(file).unwrap();
        }
    }
}

/// Structures of the island that is measured, in how many chunks, and who lives there.
const STRUCTURES: u64 = 10_000;
const BUILT_CHUNKS: u64 = 100;
const RESIDENTS: u64 = 100;

/// The commits that build the first island full: structures of one tile, all paid for and standing.
fn built() -> Vec<Commit> {
    let mut commits = Vec::new();
    for at in 0..BUILT_CHUNKS {
        let chunk = ChunkPos::new((at % 10) as i16, (at / 10) as i16);
        let key = PartitionKey::chunk(WORLD, IslandId(1), chunk);
        let mut cells: BTreeMap<u8, Vec<Covered>> = BTreeMap::new();
        let mut docs = Vec::new();
        for nth in 0..STRUCTURES / BUILT_CHUNKS {
            let corner = TilePos::in_chunk(chunk, nth as u8);
            let id = act(player(nth % RESIDENTS + 1), at * 1_000 + nth);
            let site = Site::new(id, StructureKind::Hearth, IslandId(1), corner, false, &[]);
            for tile in site.tiles() {
                let covered = Covered { tile: tile.in_cell(), by: id, anchor: chunk };
                cells.entry(tile.cell()).or_default().push(covered);
            }
            let state = StructureState::Standing;
            let record =
                StructureRecord { v: StructureRecord::VERSION, site, state, allowed: None, steps: 0 };
            docs.push((format!("structure/{id}"), encode(&record)));
        }
        for (cell, tiles) in cells {
            docs.push((format!("cell/{cell}"), encode(&CellRecord { v: CellRecord::VERSION, tiles })));
        }
        commits.extend(docs.chunks(50).enumerate().map(|(part, docs)| {
            let commit = Commit::new(key.clone(), Token(at * 100 + part as u64 + 1));
            docs.iter().fold(commit, |commit, (name, bytes)| commit.put(name.clone(), bytes.clone()))
        }));
    }
    for number in 1..=RESIDENTS {
        let place =
            PlaceRecord { v: PLACE_SCHEMA, island: IslandId(1), x: 0, y: 0, heading: 0, tick: Tick(9) };
        let key = PartitionKey::player(player(number));
        commits.push(Commit::new(key, Token(number)).put(DOC_PLACE, encode(&place)));
    }
    commits
}

#[test]
#[ignore = "it measures; docs/benchmarks.md has what it said"]
fn what_ten_thousand_structures_take_in_an_archive() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path();
    let data = ["--data", "data"];
    let mut cluster = up(folder, &data);
    cluster.ready();
    cluster.stops();
    let url = StoreUrl::Embedded(folder.join("data"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let store = runtime.block_on(StoreHandle::open(&url)).unwrap();
    for commit in built() {
        let answer = runtime.block_on(store.call(StoreOp::Commit(commit)));
        assert!(matches!(answer, StoreAnswer::Committed(CommitOutcome::Done { .. })), "{answer:?}");
    }
    drop(store);
    let before = chunks(&url);
    let suspended =
        says(folder, &["suspend", "1", "--data", "data"], 0, &[" 10000 structures, 100 residents"]);
    let resumed = says(folder, &["resume", "1", "--data", "data"], 0, &["100 chunks written"]);
    is_same(&before, &chunks(&url));
    eprintln!("{}{}", suspended.out, resumed.out);
}
