//! Mistakes that are put into a world on purpose: both auditors find them, and neither finds anything before.

use std::path::Path;

use crate::http::{get, state};
use crate::process::{Atoll, wait_for};
use crate::tool::{atoll, audit, findings};
use crate::world::{World, bag, player};

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
