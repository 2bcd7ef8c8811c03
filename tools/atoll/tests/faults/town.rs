//! A small town to try faults on: separate processes, a few players on every node.

use std::time::Duration;

use crate::players::Players;
use crate::processes::{Cluster, NODES};

/// How soon everything is to be right again after the last fault: links, rosters, a keyframe.
pub(crate) const SETTLE: Duration = Duration::from_secs(10);

/// A cluster with players on every node, every other one walking, all of whom see each other.
pub(crate) struct Town {
    /// The processes.
    pub(crate) cluster: Cluster,
    /// Whoever was sent in.
    pub(crate) players: Players,
    /// Those who were there from the start, by index.
    pub(crate) all: Vec<usize>,
}

impl Town {
    /// Starts it.
    pub(crate) fn start() -> Self {
        let cluster = Cluster::start();
        let players = Players::new();
        let enter =
            |n: usize| players.enter(cluster.join(), &format!("townsman-{n}"), (n / NODES).is_multiple_of(2));
        let all: Vec<usize> = (0..4 * NODES).map(enter).collect();
        for node in 1..=NODES as u32 {
            assert!(players.of_node(node).len() >= 2, "players are spread over the nodes");
        }
        players.await_seen(&all, &all, SETTLE);
        players.are_well(&all);
        Self { cluster, players, all }
    }

    /// The players of a node, and all others.
    pub(crate) fn split(&self, node: u32) -> (Vec<usize>, Vec<usize>) {
        (self.players.of_node(node), self.players.not_of_node(node))
    }
}
