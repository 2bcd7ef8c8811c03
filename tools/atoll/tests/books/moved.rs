//! A world moves: from an embedded store into a file, from there to Redis, and back. Players find their things.

use std::path::Path;

use chunk_sync::records::decode;
use world_node::rules::documents::BagRecord;
use world_node::rules::items::{ItemKind, Items};

use crate::process::{Atoll, wait_for};
use crate::redis_server::RedisServer;
use crate::settlers::Settlers;
use crate::tool::{Said, atoll, audit};
use crate::world::{World, player};

fn succeeds(folder: &Path, arguments: &[&str]) -> Said {
    let said = atoll(folder, arguments);
    assert_eq!(said.code, Some(0), "{said:?}");
    said
}

fn fails(folder: &Path, arguments: &[&str], why: &str) {
    let said = atoll(folder, arguments);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains(why), "{said:?}");
}

fn up_on(folder: &Path, url: &str, ledger: &str) -> Atoll {
    let flags = ["up", "--port-base", "0", "--http", "127.0.0.1:0", "--nodes", "1"];
    Atoll::start(folder, &[&flags[..], &["--store", url, "--ledger", ledger]].concat())
}

#[test]
fn a_world_moves_from_a_folder_to_redis_and_back_with_everything_in_it() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path();
    let mut up = Atoll::up(folder, 1, &[]);
    let mut settlers = Settlers::enter(up.ready().value("join"), 3, 5);
    settlers.act_until(30);
    settlers.rest();
    let bags = settlers.bags();
    drop(settlers);
    up.stops();
    // Something is under way when it is exported, and not drained either.
    let (anna, bert) = (player(1), player(2));
    let mut world = World::open(&folder.join("data"));
    world.make(anna, 1, 5);
    world.debit(anna, bert, 2, 5, 2);
    drop(world);
    let before = audit(folder, &["--data", "data"], 0);
    assert_eq!((&before["pending"], &before["undrained"]), (&1.into(), &2.into()));

    let said = succeeds(folder, &["export", "--data", "data", "world.atoll"]);
    assert!(said.out.contains("5 residents") || said.out.contains("4 residents"), "{said:?}");
    assert!(said.out.contains(" a resident\n"), "{said:?}");
    assert!(said.out.contains("1 transfers under way are in it"), "{said:?}");
    assert!(!said.out.contains("a cluster is at work"), "{said:?}");
    fails(folder, &["export", "--data", "data", "world.atoll"], "is there already");

    let redis = RedisServer::start();
    let url = redis.url();
    fails(folder, &["import", "--store", &url, "world.atoll"], "give --ledger FOLDER");
    succeeds(folder, &["import", "--store", &url, "--ledger", "books", "world.atoll"]);
    let after = audit(folder, &["--store", &url, "--ledger", "books"], 0);
    for kind in before["items"].as_object().unwrap().keys() {
        for place in ["players", "ground", "trades", "transfers"] {
            assert_eq!(after["items"][kind][place], before["items"][kind][place], "{kind} {place}");
        }
    }
    fails(
        folder,
        &["import", "--store", &url, "--ledger", "books2", "world.atoll"],
        "the store has something in it",
    );

    let mut up = up_on(folder, &url, "books");
    let ready = up.ready();
    let page = ready.value("page").to_owned();
    let settlers = Settlers::enter(ready.value("join"), 3, 6);
    assert_eq!(settlers.bags(), bags, "they find their things");
    drop(settlers);
    // The transfer that was under way ends by its name.
    wait_for("it to end", || (audit(folder, &["--http", &page], 0)["pending"] == 0).then_some(()));

    // From a cluster that runs, in which nobody acts.
    let said = succeeds(folder, &["export", "--store", &url, "--ledger", "books", "again.atoll"]);
    assert!(said.out.contains("a cluster is at work on this store"), "{said:?}");
    up.stops();
    succeeds(folder, &["import", "--data", "back", "again.atoll"]);
    let report = audit(folder, &["--data", "back"], 0);
    assert_eq!(report["pending"], 0, "{report}");
    let game = World::open(&folder.join("back")).game();
    let wood = |player: chunk_sync::ids::PlayerId| {
        let docs = &game[&format!("w1/player/{player}")];
        let bag: BagRecord = decode(&docs["bag"]).unwrap();
        (bag.items.count(ItemKind::Wood), bag.held == Items::default())
    };
    assert_eq!((wood(anna), wood(bert)), ((3, true), (2, true)));
    let mut up = Atoll::start(
        folder,
        &["up", "--port-base", "0", "--http", "127.0.0.1:0", "--nodes", "1", "--data", "back"],
    );
    let mut settlers = Settlers::enter(up.ready().value("join"), 3, 7);
    assert_eq!(settlers.bags(), bags);
    settlers.act_until(10);
    settlers.rest();
    drop(settlers);
    up.stops();
    audit(folder, &["--data", "back"], 0);
}

#[test]
fn a_damaged_file_and_a_store_with_something_in_it_are_refused_before_anything_is_written() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path();
    let mut world = World::open(&folder.join("data"));
    world.make(player(1), 1, 5);
    drop(world);
    succeeds(folder, &["export", "--data", "data", "world.atoll"]);
    let whole = std::fs::read(folder.join("world.atoll")).unwrap();
    for (name, bytes, why) in [
        ("cut", whole[..whole.len() - 1].to_vec(), "it is not whole"),
        (
            "flipped",
            whole.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == 200)).collect(),
            "damaged at byte",
        ),
        ("other", b"something else altogether".to_vec(), "not an export of this version"),
        ("empty", Vec::new(), "not an export of this version"),
    ] {
        std::fs::write(folder.join(name), bytes).unwrap();
        fails(folder, &["import", "--data", "new", name], why);
        fails(folder, &["import", "--data", "new", name], "nothing was written");
    }
    succeeds(folder, &["import", "--data", "new", "world.atoll"]);
    audit(folder, &["--data", "new"], 0);
    fails(folder, &["import", "--data", "new", "world.atoll"], "the store has something in it");
    fails(
        folder,
        &["import", "--data", "third", "--ledger", "new/ledger", "world.atoll"],
        "has a ledger in it",
    );
    fails(folder, &["import", "--data", "new", "nothing.atoll"], "there is no file");
    fails(folder, &["export", "--data", "nothing", "x.atoll"], "there is no store");
}

/// What a store has besides the mark of an import.
fn besides_the_mark(world: &World) -> Vec<String> {
    world.all().into_keys().filter(|key| key != "w1/cluster/import").collect()
}

#[test]
fn no_process_starts_on_half_a_world_and_none_is_exported() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path();
    let mut world = World::open(&folder.join("data"));
    world.mark_import();
    drop(world);
    let why = "an import into this store began and did not end";
    let told = Atoll::up(folder, 1, &[]).ends_with(2);
    assert!(told.contains(why), "{told}");
    fails(folder, &["export", "--data", "data", "world.atoll"], why);
    assert!(!folder.join("world.atoll").exists());
    let world = World::open(&folder.join("data"));
    assert_eq!(besides_the_mark(&world), Vec::<String>::new(), "nothing was written");
    drop(world);

    let redis = RedisServer::start();
    let url = redis.url();
    let mut world = World::open_at(&url.parse().unwrap());
    world.mark_import();
    for role in [
        &["up", "--port-base", "0", "--nodes", "1", "--ledger", "books"][..],
        &["allocator", "--listen", "127.0.0.1:0", "--ledger", "books"],
        &["node", "--id", "1", "--listen", "127.0.0.1:0"],
    ] {
        let arguments = [role, &["--http", "127.0.0.1:0", "--store", &url]].concat();
        let told = Atoll::start(folder, &arguments).ends_with(2);
        assert!(told.contains(why), "{role:?}: {told}");
        assert_eq!(besides_the_mark(&world), Vec::<String>::new(), "{role:?} writes nothing");
    }
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    for arguments in [
        &["audit", "--data", "data", "--store", "redis://127.0.0.1:1/0"][..],
        &["audit", "--data", "data", "--http", "http://127.0.0.1:1"],
        &["audit", "--store", "redis://127.0.0.1:1/0", "--http", "http://127.0.0.1:1"],
        &["audit", "--ledger", "books", "--http", "http://127.0.0.1:1"],
        &["inspect", "pending", "--data", "data", "--http", "http://127.0.0.1:1"],
        &["export", "--data", "data", "--store", "redis://127.0.0.1:1/0", "world.atoll"],
        &["import", "--data", "data", "--store", "redis://127.0.0.1:1/0", "world.atoll"],
    ] {
        fails(temp.path(), arguments, "cannot be used with");
    }
}

#[test]
fn an_export_is_its_owners_alone_and_one_that_fails_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path();
    let redis = RedisServer::start();
    let url = redis.url();
    let mut world = World::open_at(&url.parse().unwrap());
    (1..200).for_each(|number| world.make(player(number), 1, 5));
    drop(world);
    // As on a disk that is full after some kilobytes.
    let line = format!(
        "trap '' XFSZ; ulimit -f 8; exec {} export --store {url} world.atoll",
        env!("CARGO_BIN_EXE_atoll")
    );
    let done = std::process::Command::new("bash").args(["-c", &line]).current_dir(folder).output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(said.contains("File too large"), "{said}");
    let left: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, Vec::<std::ffi::OsString>::new());

    // One that another process left behind is no way to read it either.
    std::fs::write(folder.join("world.atoll.new"), "left behind").unwrap();
    let said = succeeds(folder, &["export", "--store", &url, "world.atoll"]);
    assert!(said.out.contains("audited: nothing was found"), "{said:?}");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(folder.join("world.atoll")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let said = succeeds(folder, &["export", "--store", &url, "--no-audit", "again.atoll"]);
    assert!(!said.out.contains("audited"), "{said:?}");
}
