//! Settlers in a cluster of separate processes whose nodes are killed: at the end everything that they were told is done
//! is there, once.

use std::time::Duration;

use clap::Parser;
use loadtest::cli::{Cli, Command, Ending};
use loadtest::swarm;
use rustix::process::Signal;

use crate::crowd::count;
use crate::eventually;
use crate::processes::{Cluster, READY_WAIT};

const BOTS: u64 = 24;
const SECONDS: u64 = 30;
/// Acts that a node does before the next thing happens.
const ACTS_BEFORE: u64 = 10;
/// How soon everybody is in, and in again.
const BACK_WAIT: Duration = Duration::from_secs(60);

fn sessions(cluster: &Cluster) -> u64 {
    let state = cluster.allocator.state();
    let nodes = state["nodes"].as_array().expect("nodes");
    nodes.iter().filter_map(|node| node["sessions"].as_u64()).sum()
}

/// Waits until a node has done some more acts.
fn await_acts(cluster: &Cluster, node: usize) {
    let done = || cluster.node(node).metric("atoll_node_acts_total", "outcome=\"done\"");
    let before = done();
    eventually(&format!("node {node} does acts"), READY_WAIT, || match done() {
        many if many >= before + ACTS_BEFORE => Ok(()),
        few => Err(format!("{few} done, {before} before")),
    });
}

#[test]
fn what_settlers_were_told_is_there_after_nodes_were_killed() {
    let mut cluster = Cluster::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let json = folder.path().join("settle.json");
    let line = format!(
        "loadtest swarm --target {} --bots {BOTS} --seconds {SECONDS} --behaviour settle --name-prefix settler- \
         --observers 2 --warm-up 0 --json {}",
        cluster.join(),
        json.to_str().expect("temporary paths are UTF-8")
    );
    let swarm = std::thread::spawn(move || {
        let cli =
            Cli::try_parse_from(line.split(' ').filter(|word| !word.is_empty())).expect("its arguments");
        let Command::Swarm(args) = cli.command else { panic!("a swarm") };
        swarm::run(&args)
    });
    let all_in = |cluster: &Cluster| {
        eventually("every settler is in", BACK_WAIT, || match sessions(cluster) {
            BOTS => Ok(()),
            others => Err(format!("{others} sessions")),
        });
    };
    all_in(&cluster);
    for node in [1, 2] {
        await_acts(&cluster, node);
        // It stands still while others go on, so that acts of its players are surely under way when it dies.
        cluster.node(node).signal(Signal::STOP);
        await_acts(&cluster, 3);
        cluster.node_mut(node).kill();
        cluster.restart(node);
        eventually("the allocator counts it again", READY_WAIT, || {
            let state = cluster.allocator.state();
            let alive = |row: &&serde_json::Value| row["id"] == node && row["alive"] == true;
            state["nodes"]
                .as_array()
                .and_then(|rows| rows.iter().find(alive))
                .map(|_| ())
                .ok_or(state.to_string())
        });
        all_in(&cluster);
    }
    // An error is a check that failed: what is lost or doubled is in its text.
    let ended = swarm.join().expect("the swarm ends");
    assert_eq!(ended.unwrap_or_else(|error| panic!("{error}")), Ending::Done);
    let report = std::fs::read(&json).expect("the report was written");
    let report: serde_json::Value = serde_json::from_slice(&report).expect("JSON");
    let settle = &report["settle"];
    assert_eq!(count(&report, "connected"), BOTS, "everybody is back: {report:#}");
    assert!(count(&report, "disconnects") > 0 && count(&report, "errors") == 0, "{report:#}");
    assert!(count(&settle["outcomes"], "done") > BOTS * 4, "{report:#}");
    assert!(count(settle, "resends") > 0 && count(settle, "never_answered") == 0, "{report:#}");
    assert_eq!((count(&settle["check"], "bags"), count(&settle["check"], "unseen")), (BOTS, 0), "{report:#}");
}
