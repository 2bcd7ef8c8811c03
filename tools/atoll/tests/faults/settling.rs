//! Settlers in a cluster of separate processes whose nodes are killed: at the end everything that they were told is done
//! is there, once, and the ledger says the same.

use rustix::process::Signal;

use crate::crowd::count;
use crate::eventually;
use crate::processes::{Cluster, READY_WAIT};
use crate::settlers::{Settlers, await_acts};

const BOTS: u64 = 24;
const SECONDS: u64 = 30;
/// Nodes that are killed, one after the other, each with one that goes on meanwhile.
const KILLS: [(usize, usize); 4] = [(1, 3), (2, 3), (3, 1), (1, 2)];

#[test]
fn what_settlers_were_told_is_there_after_nodes_were_killed() {
    let mut cluster = Cluster::start();
    let settlers = Settlers::enter(&cluster, BOTS, SECONDS);
    for (node, other) in KILLS {
        await_acts(&cluster, node);
        // It stands still while others go on, so that acts of its players are surely under way when it dies.
        cluster.node(node).signal(Signal::STOP);
        await_acts(&cluster, other);
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
        settlers.await_all_in(&cluster);
    }
    let report = settlers.report();
    assert!(count(&report, "disconnects") > 0 && count(&report["settle"], "resends") > 0, "{report:#}");
    cluster.end_and_audit();
}
