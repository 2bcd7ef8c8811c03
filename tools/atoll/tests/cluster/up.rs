//! `atoll up`: it serves, shows itself, and closes cleanly.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::http::{get, sessions, state};
use crate::players::Player;
use crate::process::{Atoll, wait_for};

#[test]
fn it_says_where_it_serves_and_shows_what_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut atoll = Atoll::up(folder.path(), 3, &[]);
    let ready = atoll.ready();
    let (join, admin) = (ready.value("join"), ready.admin());
    assert_eq!(ready.0, format!("ready join={join} page=http://{admin}/ nodes=3"));

    assert_eq!(get(admin, "/livez").status, 200);
    let readyz = get(admin, "/readyz");
    assert_eq!((readyz.status, readyz.body.as_str()), (200, "ready\n"));
    assert_eq!(get(admin, "/nothing").status, 404);

    let state_of = || state(admin);
    let state = state_of();
    let nodes = state["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 3);
    for (at, node) in nodes.iter().enumerate() {
        assert_eq!(node["id"], at + 1);
        assert_eq!(node["alive"], true);
        assert!(node["address"].as_str().unwrap().starts_with("127.0.0.1:"));
        for key in ["sessions", "cpu_s", "ghosts", "chunks_claimed"] {
            assert!(node[key].is_number(), "{key} of {node}");
        }
        assert!(node["tick_ms"]["p50"].is_number() && node["tick_ms"]["p99"].is_number(), "{node}");
    }
    let island = &state["islands"][0];
    for (key, value) in
        [("id", 1), ("population", 0), ("design", 200), ("cap", 300), ("minimum", 60), ("residents", 0)]
    {
        assert_eq!(island[key], value, "{key} of {island}");
    }
    assert_eq!(island["kind"], "settled");
    wait_for("the island to be ready", || (state_of()["islands"][0]["state"] == "open").then_some(()));
    assert_eq!(island["nodes"], serde_json::json!([1, 2, 3]));
    assert!(island["chunks"].is_array());
    assert_eq!(state["queue"]["waiting"], 0);
    assert!(state["server_cpu_s"].as_f64().unwrap() > 0.0);
    assert!(state["plan"]["reasons"].as_array().is_some_and(|reasons| !reasons.is_empty()));

    let asked = Instant::now();
    let logged = atoll.stops();
    assert!(asked.elapsed() < Duration::from_secs(8), "closing took {:?}", asked.elapsed());
    assert!(logged.contains("closed"), "{logged}");
}

#[test]
fn metrics_can_be_read_and_every_one_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let atoll = Atoll::up(folder.path(), 1, &[]);
    let answer = get(atoll.ready().admin(), "/metrics");
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    let mut found = Vec::new();
    for line in answer.body.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line:?}");
        let name = series.split('{').next().unwrap();
        assert!(name.starts_with("atoll_"), "{line:?}");
        assert!(answer.body.contains(&format!("# HELP {name} ")), "{name} is not explained");
        found.push(series.to_owned());
    }
    for series in [
        "atoll_node_ticks_total{node=\"1\"}",
        "atoll_node_tick_ms{node=\"1\",quantile=\"0.99\"}",
        "atoll_node_phase_us_total{node=\"1\",phase=\"fan_out\"}",
        "atoll_island_population{island=\"1\"}",
        "atoll_nodes_alive",
        "atoll_process_cpu_seconds",
    ] {
        assert!(found.iter().any(|name| name == series), "{series} is missing in\n{}", found.join("\n"));
    }
}

#[test]
fn players_enter_at_once_see_each_other_over_nodes_and_hear_of_the_closing() {
    let folder = tempfile::tempdir().unwrap();
    let mut atoll = Atoll::up(folder.path(), 3, &["--seating", "spread"]);
    let ready = atoll.ready();
    let join = ready.value("join").to_owned();
    let short: Vec<Player> = (0..3).map(|n| Player::enter(&join, &format!("Short{n}"), 6)).collect();
    let long = Player::enter(&join, "Long", 600);
    wait_for("all four players", || {
        let state = state(ready.admin());
        let busy = state["nodes"].as_array().unwrap().iter().filter(|node| node["sessions"] != 0);
        (sessions(&state) == 4 && busy.count() == 3).then_some(())
    });
    for player in short {
        let (code, said) = player.left();
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("players in sight: 3"), "{said}");
        assert!(said.contains("corrected 0 times"), "{said}");
    }
    wait_for("three players to be gone", || (sessions(&state(ready.admin())) == 1).then_some(()));
    atoll.stops();
    let (code, said) = long.left();
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("closing"), "{said}");
}

#[test]
fn a_second_start_on_the_same_data_goes_on_where_the_first_ended() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Atoll::up(folder.path(), 2, &["--islands", "2"]);
    let ready = first.ready();
    let plan = state(ready.admin())["plan"]["number"].as_u64().unwrap();
    let (code, said) = Player::enter(ready.value("join"), "Mara", 1).left();
    assert_eq!(code, 0, "{said}");
    first.signal(Signal::INT);
    first.ends_with(0);

    let second = Atoll::up(folder.path(), 2, &["--islands", "2"]);
    let ready = second.ready();
    let state = state(ready.admin());
    assert!(state["plan"]["number"].as_u64().unwrap() >= plan, "{state}");
    assert_eq!(state["islands"].as_array().unwrap().len(), 2);
    let (code, again) = Player::enter(ready.value("join"), "Mara", 1).left();
    assert_eq!(code, 0, "{again}");
    let player = |said: &str| said.split("is player ").nth(1).map(|rest| rest[..16].to_owned());
    assert!(player(&said).is_some() && player(&said) == player(&again), "{said}\n{again}");
}

#[test]
fn a_cluster_that_was_killed_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut killed = Atoll::up(folder.path(), 2, &[]);
    killed.ready();
    killed.signal(Signal::KILL);
    assert_eq!(killed.ended().0.code(), None);
    let mut again = Atoll::up(folder.path(), 2, &[]);
    let (code, said) = Player::enter(again.ready().value("join"), "Mara", 1).left();
    assert_eq!(code, 0, "{said}");
    again.stops();
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut atoll = Atoll::up(folder.path(), 1, &[]);
    let ready = atoll.ready();
    // A client that doesn't close its side keeps the node waiting for it.
    let mut player = Player::enter(ready.value("join"), "Mara", 600);
    wait_for("the player", || (sessions(&state(ready.admin())) == 1).then_some(()));
    player.pause();
    atoll.signal(Signal::INT);
    wait_for("the log to say so", || atoll.logged().contains("Ctrl-C: closing").then_some(()));
    // Signals that come within a quarter of a second are taken for one, so it takes a few.
    wait_for("the end", || atoll.signal_until_ended(Signal::INT).then_some(()));
    assert!(atoll.ends_with(130).contains("ending at once"));
}
