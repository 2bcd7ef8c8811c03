//! A cluster keeps its ledger: in files beside an embedded store, on Redis where it is told to.

use crate::http::state;
use crate::process::{Atoll, errors, wait_for};
use crate::redis_server::RedisServer;
use crate::settlers::Settlers;
use crate::tool::audit;

#[test]
fn what_players_do_is_in_files_and_both_auditors_find_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Atoll::up(folder.path(), 2, &[]);
    let ready = up.ready();
    let page = ready.value("page").to_owned();
    let mut settlers = Settlers::enter(ready.value("join"), 4, 1);
    settlers.act_until(60);
    // In the middle of it, while things are under way.
    let report = audit(folder.path(), &["--http", &page], 0);
    assert!(report["entries"].as_u64().unwrap() > 0, "{report}");
    settlers.act_until(80);
    settlers.rest();
    let done = settlers.done().len() as u64;
    let shown = wait_for("the auditor to have seen everything", || {
        let state = state(ready.admin());
        let (audit, books) = (state["audit"].clone(), state["books"].clone());
        let seen = audit["checked"].as_u64()? >= done && audit["walks"].as_u64()? > 0;
        (seen && audit["compared"].as_u64()? > 0 && books["undrained"] == 0).then_some(audit)
    });
    assert_eq!((&shown["findings"], &shown["full"]), (&0.into(), &false.into()), "{shown}");
    assert!(shown["last_ok"].as_u64().unwrap() > 0, "{shown}");
    let bags = settlers.bags();
    drop(settlers);
    up.stops();

    let report = audit(folder.path(), &["--data", "data"], 0);
    assert_eq!((&report["undrained"], &report["pending"]), (&0.into(), &0.into()), "{report}");
    for (kind, row) in report["items"].as_object().unwrap() {
        let carried: u64 = bags
            .values()
            .flat_map(|items| items.iter())
            .filter(|(of, _)| of.name() == kind)
            .map(|(_, n)| u64::from(n))
            .sum();
        assert_eq!(row["players"], carried, "{kind}: {report}");
    }
}

#[test]
fn on_redis_a_ledger_is_kept_where_it_is_told_to_and_by_one_folder_only() {
    let folder = tempfile::tempdir().unwrap();
    let redis = RedisServer::start();
    let url = redis.url();
    let up = |more: &[&str]| {
        let flags = ["up", "--port-base", "0", "--http", "127.0.0.1:0", "--nodes", "1", "--store", &url];
        Atoll::start(folder.path(), &[&flags[..], more].concat())
    };
    let mut without = up(&[]);
    let ready = without.ready();
    let mut settlers = Settlers::enter(ready.value("join"), 2, 2);
    settlers.act_until(10);
    settlers.rest();
    drop(settlers);
    assert!(state(ready.admin())["books"].is_null());
    assert!(without.stops().contains("no ledger is kept by this process"), "{}", without.logged());
    let report = audit(folder.path(), &["--store", &url], 0);
    assert_eq!(report["undrained"], report["entries"]);
    assert!(report["entries"].as_u64().unwrap() >= 10);

    let mut with = up(&["--ledger", "books"]);
    let ready = with.ready();
    wait_for("the ledger to be drained", || {
        (state(ready.admin())["books"]["written"].as_u64()? >= 10).then_some(())
    });
    with.stops();
    let report = audit(folder.path(), &["--store", &url, "--ledger", "books"], 0);
    assert_eq!(report["undrained"], 0);

    let mut elsewhere = up(&["--ledger", "other"]);
    let told = elsewhere.ends_with(2);
    assert!(errors(&told)[0].contains("is kept in another folder"), "{told}");
}
