//! Mistakes that are put into a world on purpose: both auditors find them, and neither finds anything before.

use std::path::Path;

use chunk_sync::place::ChunkPos;
use chunk_sync::records::{WORLD, encode};
use chunk_sync::store::{Commit, PartitionKey};
use world_node::rules::documents::{
    BagRecord, CellRecord, Covered, EstateRecord, Record, StructureState, TradeRecord,
};
use world_node::rules::items::{ItemKind, Items};
use world_node::rules::site::{Site, TilePos};
use world_node::rules::structures::StructureKind;
use world_node::rules::{Holder, Sender};

use crate::http::{get, state};
use crate::process::{Atoll, wait_for};
use crate::spoil::spoil;
use crate::tool::{atoll, audit, findings};
use crate::world::{CHUNK, ISLAND, World, act, bag, fence, ground, player, structure};

/// Anna has five wood, gives Bert two of it, and all of that has ended.
fn gift(folder: &Path) -> (World, world_node::rules::TransferId) {
    let (anna, bert) = (player(1), player(2));
    let mut world = World::open(&folder.join("data"));
    world.make(anna, 1, 5);
    let id = world.debit(anna, bert, 2, 5, 2);
    world.credit(id, bert, 0, 2);
    world.clear(id, anna, 3);
    (world, id)
}

/// What the auditor of a running cluster finds in the store of `folder`.
fn found_beside_a_cluster(folder: &Path) -> Vec<String> {
    let mut up = Atoll::up(folder, 1, &[]);
    let ready = up.ready();
    let texts = wait_for("a finding", || {
        let audit = &state(ready.admin())["audit"];
        (audit["findings"].as_u64()? > 0).then(|| audit["last_findings"].clone())
    });
    let metrics = get(ready.admin(), "/metrics").body;
    assert!(metrics.contains("\natoll_audit_findings_total "), "{metrics}");
    let logged = up.stops();
    let texts: Vec<String> = serde_json::from_value(texts).unwrap();
    assert!(texts.iter().all(|text| logged.contains(text)), "{texts:?}\n{logged}");
    texts
}

#[test]
fn a_credit_that_is_made_twice_is_found_by_both_auditors() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, id) = gift(folder.path());
    drop(world);
    let report = audit(folder.path(), &["--data", "data"], 0);
    assert_eq!(report["items"]["wood"]["players"], 5, "{report}");
    assert_eq!((&report["entries"], &report["undrained"]), (&3.into(), &3.into()));

    world = World::open(&folder.path().join("data"));
    world.credit(id, player(2), 2, 2);
    drop(world);
    let found = findings(&audit(folder.path(), &["--data", "data"], 1));
    assert!(found.contains(&format!("transfer {id} paid out more than it took in: -2 wood")), "{found:?}");
    assert!(found.contains(&"wood: 5 made, 0 used up, but 7 are there".to_owned()), "{found:?}");
    let said = atoll(folder.path(), &["audit", "--data", "data"]);
    assert!(said.out.contains("FINDING: transfer ") && said.err.contains("findings"), "{said:?}");

    let found = found_beside_a_cluster(folder.path());
    assert!(found.contains(&format!("transfer {id} paid out more than it took in: -2 wood")), "{found:?}");
    // It stays found once its entries are in the files.
    assert_eq!(audit(folder.path(), &["--data", "data"], 1)["undrained"], 0);
}

#[test]
fn items_that_no_entry_speaks_of_are_found_by_both_auditors() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, _) = gift(folder.path());
    world.commit(player(1), None, &[], |commit| commit.put("bag", bag(30, 0)));
    drop(world);
    let wanted = format!("player {} holds 30 wood; by the books it is 3 wood", player(1));
    let found = findings(&audit(folder.path(), &["--data", "data"], 1));
    assert!(found.contains(&wanted), "{found:?}");
    let found = found_beside_a_cluster(folder.path());
    assert!(found.contains(&wanted), "{found:?}");
}

#[test]
fn a_debit_that_is_made_twice_is_found_by_both_auditors() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, id) = gift(folder.path());
    world.debit(player(1), player(2), 2, 3, 2);
    drop(world);
    let found = findings(&audit(folder.path(), &["--data", "data"], 1));
    let wanted = format!("transfer {id} took something in a second time");
    assert!(found.iter().any(|text| text.ends_with(&wanted)), "{found:?}");
    let found = found_beside_a_cluster(folder.path());
    assert!(found.iter().any(|text| text.ends_with(&wanted)), "{found:?}");
}

/// Wants a finding that ends so from both auditors.
fn both_find(folder: &Path, wanted: &str) {
    let found = findings(&audit(folder, &["--data", "data"], 1));
    assert!(found.iter().any(|text| text.ends_with(wanted)), "{wanted}: {found:?}");
    let found = found_beside_a_cluster(folder);
    assert!(found.iter().any(|text| text.ends_with(wanted)), "{wanted}: {found:?}");
}

/// Anna has eight wood and a fence of two more; both auditors are content.
fn fenced(folder: &Path) -> (World, Site) {
    let mut world = World::open(&folder.join("data"));
    world.make(player(1), 1, 10);
    let site = fence(act(player(1), 2), 1);
    world.build(&site, 10);
    drop(world);
    let report = audit(folder, &["--data", "data"], 0);
    assert_eq!(
        (&report["items"]["wood"]["structures"], &report["items"]["wood"]["players"]),
        (&2.into(), &8.into())
    );
    (World::open(&folder.join("data")), site)
}

#[test]
fn a_structure_that_is_refunded_twice_is_found_by_both_auditors() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, site) = fenced(folder.path());
    world.refund(&site, 3, 8, true);
    drop(world);
    let report = audit(folder.path(), &["--data", "data"], 0);
    assert_eq!(
        (&report["items"]["wood"]["used_up"], &report["items"]["wood"]["players"]),
        (&1.into(), &9.into())
    );
    let mut world = World::open(&folder.path().join("data"));
    world.refund(&site, 4, 9, false);
    drop(world);
    both_find(
        folder.path(),
        &format!("structure {} of chunk 1/3/4 gave away more than it had: -1 wood", site.id),
    );
}

#[test]
fn a_structure_that_is_lost_is_found_by_both_auditors() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, site) = fenced(folder.path());
    world.commit_in(ground(), None, &[], |commit| {
        commit.remove(format!("structure/{}", site.id)).remove("cell/0")
    });
    drop(world);
    let wanted = format!("structure {} of chunk 1/3/4 is not there; by the books it holds 2 wood", site.id);
    both_find(folder.path(), &wanted);
}

#[test]
fn a_structure_that_nobody_paid_for_is_found_by_both_auditors() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, _) = fenced(folder.path());
    let other = fence(act(player(1), 9), 9);
    world.commit_in(ground(), None, &[], |commit| {
        commit.put(format!("structure/{}", other.id), structure(&other, StructureState::Standing))
    });
    drop(world);
    let wanted = format!("structure {} of chunk 1/3/4 holds 2 wood; by the books it is nothing", other.id);
    both_find(folder.path(), &wanted);
    let found = findings(&audit(folder.path(), &["--data", "data"], 1));
    let bare = format!("structure {} does not cover 2 tiles of its ground in chunk/1/3/4", other.id);
    assert!(found.iter().any(|text| text.ends_with(&bare)), "{found:?}");
}

#[test]
fn every_tile_of_a_structure_counts_also_over_a_border_and_while_it_is_raised() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::open(&folder.path().join("data"));
    world.make(player(1), 1, 10);
    let site = fence(act(player(1), 2), 15);
    let [other] = site.others()[..] else { panic!("it stands on a border") };
    world.build(&site, 10);
    drop(world);
    audit(folder.path(), &["--data", "data"], 0);
    let beyond = PartitionKey::chunk(WORLD, ISLAND, other);
    let mut world = World::open(&folder.path().join("data"));
    world.commit_in(beyond.clone(), None, &[], |commit| commit.remove("cell/0"));
    let raised = fence(act(player(1), 8), 15);
    let raised = Site { corner: TilePos { y: raised.corner.y + 8, ..raised.corner }, ..raised };
    world.commit_in(ground(), None, &[], |commit| {
        let state = StructureState::Raising { left: Vec::new(), held: vec![other] };
        commit.put(format!("structure/{}", raised.id), structure(&raised, state))
    });
    // And one that covers more than it has.
    world.commit_in(beyond, None, &[], |commit| {
        let covered = Covered { tile: 5, by: site.id, anchor: CHUNK };
        commit.put("cell/1", encode(&CellRecord { v: CellRecord::VERSION, tiles: vec![covered] }))
    });
    drop(world);
    let found = findings(&audit(folder.path(), &["--data", "data"], 1));
    for wanted in [
        format!("structure {} does not cover 1 tiles of its ground in chunk/1/4/4", site.id),
        format!("structure {} does not cover 1 tiles of its ground in chunk/1/3/4", raised.id),
        format!("structure {} does not cover 1 tiles of its ground in chunk/1/4/4", raised.id),
        format!("covered by structure {} of chunk/1/3/4, which isn't so large", site.id),
    ] {
        assert!(found.iter().any(|text| text.ends_with(&wanted)), "{wanted}: {found:?}");
    }
}

#[test]
fn a_credit_that_is_too_small_is_found_by_both_auditors_once_it_is_cleared() {
    let folder = tempfile::tempdir().unwrap();
    let (anna, bert) = (player(1), player(2));
    let mut world = World::open(&folder.path().join("data"));
    world.make(anna, 1, 5);
    let id = world.debit(anna, bert, 2, 5, 2);
    world.credit(id, bert, 0, 1);
    world.clear(id, anna, 3);
    drop(world);
    both_find(folder.path(), &format!("transfer {id} is over; by the books it still holds 1 wood"));
}

#[test]
fn one_damaged_partition_is_named_and_everything_else_is_looked_at() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path();
    drop(gift(folder));
    let mut world = World::open(&folder.join("data"));
    // Somewhere before and behind the damage, in whatever order partitions are.
    (10..30).for_each(|number| world.make(player(number), 1, 1));
    let hit = player(15);
    world.commit(hit, None, &[], |commit| commit.put("place", b"a place to be hit".to_vec()));
    for number in [10, 29] {
        world.commit(player(number), None, &[], |commit| commit.put("bag", bag(2, 0)));
    }
    drop(world);
    spoil(&folder.join("data/store.redb"), b"a place to be hit");

    let key = format!("partition w1/player/{hit} can't be read");
    let wrong =
        [10, 29].map(|number| format!("player {} holds 2 wood; by the books it is 1 wood", player(number)));
    let found = findings(&audit(folder, &["--data", "data"], 1));
    assert_eq!(found.len(), 3, "nothing else is said: {found:?}");
    assert_eq!(found.iter().filter(|text| text.contains(&key)).count(), 1, "{found:?}");
    assert!(wrong.iter().all(|wanted| found.contains(wanted)), "{found:?}");

    let mut up = Atoll::up(folder, 1, &[]);
    let ready = up.ready();
    let shown = wait_for("the walk to go on behind it", || {
        let audit = state(ready.admin())["audit"].clone();
        let last: Vec<String> = serde_json::from_value(audit["last_findings"].clone()).ok()?;
        let all =
            wrong.iter().all(|wanted| last.contains(wanted)) && last.iter().any(|text| text.contains(&key));
        (all && audit["walks"].as_u64()? > 1).then_some(audit)
    });
    assert_eq!(
        (&shown["findings"], &shown["last_ok"]),
        (&3.into(), &0.into()),
        "told once, and not ok: {shown}"
    );
    up.stops();

    let said = atoll(folder, &["export", "--data", "data", "world.atoll"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains(&key) && said.err.contains("--leave-out-damaged"), "{said:?}");
    assert!(!folder.join("world.atoll").exists() && !folder.join("world.atoll.new").exists());
    let said = atoll(folder, &["export", "--data", "data", "--leave-out-damaged", "world.atoll"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains(&format!("left out: {key}")), "{said:?}");
    assert!(said.out.contains("audited: 3 findings"), "{said:?}");

    // Such a world is not taken without being asked to.
    let said = atoll(folder, &["import", "--data", "new", "world.atoll"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    let gone = format!("player {hit} is not there; by the books it holds 1 wood");
    assert!(said.err.contains(&gone) && said.err.contains("--accept-findings"), "{said:?}");
    let told = Atoll::start(folder, &["up", "--port-base", "0", "--http", "127.0.0.1:0", "--data", "new"])
        .ends_with(2);
    assert!(told.contains("an import into this store began and did not end"), "{told}");
    let said = atoll(folder, &["import", "--data", "newer", "--accept-findings", "world.atoll"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains(&format!("FINDING, accepted: {gone}")), "{said:?}");
}

/// The checks of the complete audit that nothing else is forged for.
#[test]
fn what_does_not_fit_a_document_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (mut world, id) = gift(folder.path());
    let (anna, bert) = (player(1), player(2));
    // Somebody got something and has no partition.
    let lines = [(ItemKind::Wood, 1, Holder::Nobody, Holder::Player(player(3)))];
    world.commit(anna, None, &lines, |commit| commit);
    // Room is kept for nothing.
    world.commit(bert, None, &[], |commit| commit.put("bag", bag(2, 4)));
    // A transfer that is over holds what it never gave, and one is in no index.
    let lost = act(anna, 20).transfer(Sender::Player);
    let lines = [(ItemKind::Wood, 1, Holder::Player(anna), Holder::Transfer(lost))];
    world.commit(anna, None, &lines, |commit| commit.put("bag", bag(2, 0)));
    let hidden = world.debit(anna, bert, 21, 2, 1);
    world.commit(anna, None, &[], |commit| commit.index_remove("pending", hidden.to_string()));
    // Documents that nobody can read.
    world.commit(player(4), None, &[], |commit| commit.put("bag", b"\xc1".to_vec()));
    let newer = BagRecord { v: 99, ..BagRecord::default() };
    world.commit(player(5), None, &[], |commit| commit.put("bag", encode(&newer)));
    // A trade that counts what it doesn't send.
    let deal = act(anna, 30);
    let trade =
        TradeRecord { sending: 2, ..TradeRecord::open(anna, bert, Items::default(), Items::default()) };
    world.commit_in(PartitionKey::trade(anna, deal), None, &[], |commit| commit.put("trade", encode(&trade)));
    // A totem without its estate, and one whose other chunks have an old copy, or none.
    let totem = |number, x| {
        let corner = TilePos { x: x * 16, y: 0 };
        let claims = [ChunkPos::new(x as i16, 1), ChunkPos::new(x as i16 + 1, 0)];
        Site::new(act(anna, number), StructureKind::Totem, ISLAND, corner, false, &claims)
    };
    let chunk = |x, y| PartitionKey::chunk(WORLD, ISLAND, ChunkPos::new(x, y));
    let stands = |commit: Commit, site: &Site| {
        let name = format!("structure/{}", site.id);
        commit.put(name, structure(site, StructureState::Standing))
    };
    let (alone, settled) = (totem(40, 6), totem(41, 9));
    world.commit_in(chunk(6, 0), None, &[], |commit| stands(commit, &alone));
    let estate = EstateRecord { version: 3, ..EstateRecord::claimed_by(&settled) };
    world.commit_in(chunk(9, 0), None, &[], |commit| stands(commit, &settled).put("estate", encode(&estate)));
    let stale = EstateRecord { version: 2, ..estate };
    world.commit_in(chunk(9, 1), None, &[], |commit| commit.put("estate", encode(&stale)));
    drop(world);
    let found = findings(&audit(folder.path(), &["--data", "data"], 1));
    for wanted in [
        format!("moves 1 wood of player {}, who is not there", player(3)),
        format!("player {} is not there; by the books it holds 1 wood", player(3)),
        format!("player/{bert}: the bag keeps room for 4 wood, but nothing is under way from there"),
        format!("transfer {lost} is over; by the books it still holds 1 wood"),
        format!("the index pending lacks {hidden} of player/{anna}"),
        format!("player/{}: document bag is damaged", player(4)),
        format!("player/{}: document bag has version 99, which is not known here", player(5)),
        format!("trade/{deal}: the trade counts 2 transfers under way; there are 0"),
        format!("totem {} stands without its estate", alone.id),
        format!("the index estates lacks {} of chunk/1/6/0", alone.id),
        format!("chunk/1/9/1: its copy of estate {} is of version 2, not 3", settled.id),
        format!("chunk/1/10/0: estate {} claims it, but it has no copy", settled.id),
    ] {
        assert!(found.iter().any(|text| text.ends_with(&wanted)), "{wanted}: {found:#?}");
    }
    assert!(
        !found.iter().any(|text| text.contains(&id.to_string())),
        "what was right is left alone: {found:?}"
    );
}

#[test]
fn land_that_does_not_fit_together_is_found() {
    let folder = tempfile::tempdir().unwrap();
    drop(gift(folder.path()));
    let mut world = World::open(&folder.path().join("data"));
    world.spoil_land();
    drop(world);
    let found = findings(&audit(folder.path(), &["--data", "data"], 1));
    for wanted in
        ["which isn't there", "is covered twice", "whose totem does not claim it", "the index estates has"]
    {
        assert!(found.iter().any(|text| text.contains(wanted)), "{wanted}: {found:?}");
    }
}

#[test]
fn what_can_not_be_read_is_said_with_its_own_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let said = atoll(folder.path(), &["audit", "--data", "nothing"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("there is no store in nothing"), "{said:?}");
    assert!(!folder.path().join("nothing").exists(), "looking makes nothing");

    let mut up = Atoll::up(folder.path(), 1, &[]);
    let ready = up.ready();
    let said = atoll(folder.path(), &["audit", "--data", "data"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("another process is using it") && said.err.contains("--http"), "{said:?}");
    let page = ready.value("page").to_owned();
    let report = audit(folder.path(), &["--http", &page], 0);
    assert_eq!(report["clean"], true);
    up.stops();
    let said = atoll(folder.path(), &["audit", "--http", &page]);
    assert_eq!(said.code, Some(2), "{said:?}");
}
