//! `kill -9` while players act: nothing acknowledged is missing, nothing is there twice, the books say what the
//! documents say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use chunk_sync::records::decode;
use rustix::process::Signal;
use world_node::rules::ActId;
use world_node::rules::documents::{StructureRecord, StructureState};
use world_node::rules::site::Site;
use world_node::rules::transfer::{Cargo, Transfer};

use crate::process::Atoll;
use crate::settlers::Settlers;
use crate::tool::audit;
use crate::world::World;

/// How often the process is killed.
const KILLS: u64 = 5;

/// How often an act's commit is in the ledger's files.
fn entries_of(folder: &Path, act: ActId) -> usize {
    let id = act.to_string();
    // A map's key, then a text: short ones have their length in the first byte, longer ones in the second.
    let head = match u8::try_from(id.len()).unwrap() {
        short @ ..=31 => vec![0xa0 | short],
        long => vec![0xd9, long],
    };
    let wanted = [b"\xa3act", &head[..], id.as_bytes()].concat();
    let segments = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let segments = segments.filter(|path| path.extension().is_some_and(|extension| extension == "seg"));
    let found = segments.map(|path| {
        let bytes = std::fs::read(path).unwrap();
        bytes.windows(wanted.len()).filter(|window| *window == wanted).count()
    });
    found.sum()
}

type Docs = BTreeMap<String, Vec<u8>>;

/// What ended stays as it is, whoever finishes other things.
fn lasting(docs: &Docs) -> Vec<(&String, &Vec<u8>)> {
    let held = ["bag", "ground/", "structure/", "cell/", "estate", "trade"];
    docs.iter().filter(|(name, _)| held.iter().any(|held| name.starts_with(held))).collect()
}

/// Partitions in which something was under way, or to which something goes: that may end after the crash.
fn under_way(world: &BTreeMap<String, Docs>) -> BTreeSet<String> {
    let mut open = BTreeSet::new();
    let mut site = |site: &Site| open.extend(site.others().into_iter().map(|chunk| site.partition(chunk)));
    let mut ends = Vec::new();
    for (name, bytes) in world.values().flatten() {
        if name.starts_with("out/") {
            let transfer: Transfer = decode(bytes).unwrap();
            ends.extend([transfer.from, transfer.to]);
            if let Cargo::Site { site: raised } = &transfer.cargo {
                site(raised);
            }
        } else if name.starts_with("structure/") {
            let record: StructureRecord = decode(bytes).unwrap();
            if record.state != StructureState::Standing {
                site(&record.site);
            }
        }
    }
    open.extend(ends);
    open.into_iter().map(|partition| format!("w1/{partition}")).collect()
}

#[test]
fn a_world_that_is_killed_again_and_again_is_the_same_and_its_books_are_right() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Atoll::up(folder.path(), 1, &[]);
    let settlers = Settlers::enter(up.ready().value("join"), 4, 9);
    let players: Vec<_> = settlers.bags().into_keys().collect();
    drop(settlers);
    up.stops();
    let mut world = World::open(&folder.path().join("data"));
    players.into_iter().for_each(|player| world.stock(player));
    drop(world);
    let mut done = Vec::new();
    for life in 0..KILLS {
        let up = Atoll::up(folder.path(), 2, &[]);
        let ready = up.ready();
        let mut settlers = Settlers::enter(ready.value("join"), 4, 10 + life);
        settlers.act_until(25);
        done.extend(settlers.done());
        up.signal(Signal::KILL);
        drop(up);
        // Whatever was under way is neither here nor there twice.
        audit(folder.path(), &["--data", "data"], 0);
    }
    let killed = World::open(&folder.path().join("data")).game();
    let mut up = Atoll::up(folder.path(), 2, &[]);
    up.ready();
    up.stops();
    let report = audit(folder.path(), &["--data", "data"], 0);
    assert_eq!(report["undrained"], 0, "{report}");

    let after = World::open(&folder.path().join("data")).game();
    let open = under_way(&killed);
    let mut compared = 0;
    for (key, docs) in &killed {
        assert!(after.contains_key(key), "{key} is gone");
        if !open.contains(key) {
            assert_eq!(lasting(docs), lasting(&after[key]), "{key}");
            compared += 1;
        }
    }
    assert!(compared > killed.len() / 2, "{compared} of {}", killed.len());
    let is_built = |docs: &Docs| docs.keys().any(|name| name.starts_with("structure/"));
    assert!(after.values().any(is_built), "they build");
    assert!(done.len() >= 25 * KILLS as usize);
    for act in done {
        assert_eq!(entries_of(&folder.path().join("data/ledger"), act), 1, "{act}");
    }
}

#[test]
fn a_torn_end_of_the_ledger_is_cut_and_said_and_damage_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Atoll::up(folder.path(), 1, &[]);
    let mut settlers = Settlers::enter(up.ready().value("join"), 2, 3);
    settlers.act_until(10);
    settlers.rest();
    drop(settlers);
    up.stops();
    let segment = folder.path().join("data/ledger/ledger-00000001.seg");
    let whole = std::fs::read(&segment).unwrap();
    std::fs::write(&segment, [&whole[..], b"ALf1\x40\0\0\0torn"].concat()).unwrap();
    let mut up = Atoll::up(folder.path(), 1, &[]);
    up.ready();
    let logged = up.stops();
    assert!(logged.contains("were not written whole; they are cut off"), "{logged}");
    assert_eq!(std::fs::read(&segment).unwrap(), whole);
    audit(folder.path(), &["--data", "data"], 0);

    let mut spoilt = whole;
    spoilt[60] ^= 4;
    std::fs::write(&segment, spoilt).unwrap();
    let report = audit(folder.path(), &["--data", "data"], 1);
    let found = crate::tool::findings(&report);
    assert!(found.iter().any(|text| text.contains("bytes are damaged")), "{found:?}");
    assert!(found.iter().any(|text| text.contains("lacks the entries")), "{found:?}");
}
