//! The same roles as processes of their own, on a Redis that they share.

use std::path::Path;

use rustix::process::Signal;

use crate::http::{get, sessions, state};
use crate::players::Player;
use crate::process::{Atoll, Ready, errors, wait_for};
use crate::redis::Redis;

fn allocator(folder: &Path, store: &str) -> Atoll {
    let listen = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    Atoll::start(folder, &[&["allocator", "--store", store][..], &listen].concat())
}

fn node(folder: &Path, store: &str, id: &str) -> Atoll {
    Atoll::start(folder, &["node", "--store", store, "--id", id])
}

/// Waits until the allocator sends players to this many nodes.
fn wait_for_nodes(allocator: &Ready, count: usize) {
    wait_for("the nodes", || {
        let state = state(allocator.admin());
        let planned = state["islands"][0]["nodes"].as_array().map_or(0, Vec::len);
        let alive = state["nodes"].as_array().unwrap().iter().filter(|node| node["alive"] == true).count();
        (planned >= count && alive == count).then_some(())
    });
}

#[test]
fn players_meet_over_processes_and_outlive_the_death_of_another_node() {
    let (redis, folder) = (Redis::start(), tempfile::tempdir().unwrap());
    let store = redis.url();
    let mut seats = allocator(folder.path(), &store);
    let mut nodes: Vec<Atoll> = ["1", "2"].map(|id| node(folder.path(), &store, id)).into();
    let seats_ready = seats.ready();
    let ready: Vec<Ready> = nodes.iter().map(Atoll::ready).collect();
    assert_eq!((ready[0].value("node"), ready[1].value("node")), ("1", "2"));
    wait_for_nodes(&seats_ready, 2);
    wait_for("both nodes to serve the island", || {
        let serves = |ready: &Ready| {
            get(ready.admin(), "/metrics").body.contains("atoll_node_islands{node=\"1\"} 1")
                || get(ready.admin(), "/metrics").body.contains("atoll_node_islands{node=\"2\"} 1")
        };
        ready.iter().all(serves).then_some(())
    });
    assert_eq!(get(seats_ready.admin(), "/readyz").status, 200);

    let join = seats_ready.value("join").to_owned();
    let mut players: Vec<Player> = (0..2).map(|n| Player::enter(&join, &format!("P{n}"), 12)).collect();
    wait_for("a player on each node", || {
        ready.iter().all(|node| sessions(&state(node.admin())) == 1).then_some(())
    });
    players[0].says("+ P1");
    players[1].says("+ P0");
    // The one whose node dies loses the connection; the other's goes on to its end.
    nodes[1].signal(Signal::KILL);
    nodes[1].ended();
    let left: Vec<(i32, String)> = players.into_iter().map(Player::left).collect();
    let said: String = left.iter().map(|(code, said)| format!("{code} {said}\n")).collect();
    assert_eq!(left.iter().filter(|(code, _)| *code == 0).count(), 1, "{said}");
    wait_for("the dead node to be left out", || {
        let state = state(seats_ready.admin());
        let dead = state["nodes"].as_array().unwrap().iter().find(|node| node["id"] == 2).cloned();
        dead.is_none_or(|node| node["alive"] == false).then_some(())
    });
    let (code, said) = Player::enter(&join, "Late", 1).left();
    assert_eq!(code, 0, "{said}");
    nodes[0].stops();
    seats.stops();
}

#[test]
fn a_newer_process_takes_a_nodes_place() {
    let (redis, folder) = (Redis::start(), tempfile::tempdir().unwrap());
    let store = redis.url();
    let mut older = node(folder.path(), &store, "7");
    assert_eq!(older.ready().value("node"), "7");
    let mut newer = node(folder.path(), &store, "7");
    newer.ready();
    let logged = older.ends_with(1);
    assert_eq!(errors(&logged), ["node 7 ended: a newer process took its place"]);
    newer.stops();
}

#[test]
fn a_cluster_without_a_node_ends() {
    let (redis, folder) = (Redis::start(), tempfile::tempdir().unwrap());
    let store = redis.url();
    let mut cluster = Atoll::up(folder.path(), 2, &["--store", &store]);
    let ready = cluster.ready();
    let _first = node(folder.path(), &store, "1");
    wait_for("the log to name the fenced node", || {
        cluster.logged().contains("node 1 ended: a newer process took its place").then_some(())
    });
    assert_eq!(get(ready.admin(), "/readyz").status, 200, "the other node serves on");
    let _second = node(folder.path(), &store, "2");
    let logged = cluster.ends_with(1);
    assert_eq!(errors(&logged), ["no node is left"]);
}

#[test]
fn a_newer_allocator_takes_the_olders_place() {
    let (redis, folder) = (Redis::start(), tempfile::tempdir().unwrap());
    let mut older = allocator(folder.path(), &redis.url());
    older.ready();
    let mut newer = allocator(folder.path(), &redis.url());
    newer.ready();
    let logged = older.ends_with(1);
    assert_eq!(errors(&logged), ["a newer allocator took this one's place"]);
    newer.stops();
}

#[test]
fn an_allocator_without_nodes_says_what_is_missing() {
    let (redis, folder) = (Redis::start(), tempfile::tempdir().unwrap());
    let mut seats = allocator(folder.path(), &redis.url());
    let ready = seats.ready();
    let readyz = get(ready.admin(), "/readyz");
    assert_eq!((readyz.status, readyz.body.as_str()), (503, "not ready: no island has a live node\n"));
    assert_eq!(get(ready.admin(), "/livez").status, 200);
    seats.stops();
}
