//! A swarm of settlers in a thread of the test: what it was told it checks itself; its report is held up at the end.

use std::thread::JoinHandle;
use std::time::Duration;

use clap::Parser;
use loadtest::cli::{Cli, Command, Ending};
use loadtest::swarm::{self, SwarmError};
use serde_json::Value;
use tempfile::TempDir;

use crate::crowd::count;
use crate::eventually;
use crate::processes::{Cluster, NODES, READY_WAIT};

/// How soon everybody is in, and in again.
pub(crate) const BACK_WAIT: Duration = Duration::from_secs(60);
/// Acts that are done before the next thing happens.
const ACTS_BEFORE: u64 = 10;

/// The swarm.
pub(crate) struct Settlers {
    bots: u64,
    folder: TempDir,
    ends: JoinHandle<Result<Ending, SwarmError>>,
}

impl Settlers {
    /// Sends so many in and waits until all are.
    pub(crate) fn enter(cluster: &Cluster, bots: u64, seconds: u64) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let line = format!(
            "loadtest swarm --target {} --bots {bots} --seconds {seconds} --behaviour settle --name-prefix settler- \
             --observers 2 --warm-up 0 --json {}/settle.json",
            cluster.join(),
            folder.path().to_str().expect("temporary paths are UTF-8")
        );
        let ends = std::thread::spawn(move || {
            let cli = Cli::try_parse_from(line.split(' ')).expect("its arguments");
            let Command::Swarm(args) = cli.command else { panic!("a swarm") };
            swarm::run(&args)
        });
        let settlers = Self { bots, folder, ends };
        settlers.await_all_in(cluster);
        settlers
    }

    /// Waits until every settler is in.
    pub(crate) fn await_all_in(&self, cluster: &Cluster) {
        eventually("every settler is in", BACK_WAIT, || match cluster.sessions() {
            all if all == self.bots => Ok(()),
            others => Err(format!("{others} sessions")),
        });
    }

    /// What the swarm reports. An error is a check that failed: what is lost or doubled is in its text.
    pub(crate) fn report(self) -> Value {
        let ended = self.ends.join().expect("the swarm ends");
        assert_eq!(ended.unwrap_or_else(|error| panic!("{error}")), Ending::Done);
        let report = std::fs::read(self.folder.path().join("settle.json")).expect("the report was written");
        let report: Value = serde_json::from_slice(&report).expect("JSON");
        let settle = &report["settle"];
        assert_eq!(count(&report, "connected"), self.bots, "everybody is back: {report:#}");
        assert_eq!(count(&report, "errors"), 0, "{report:#}");
        assert!(count(&settle["outcomes"], "done") > self.bots * 4, "{report:#}");
        assert_eq!(count(settle, "never_answered"), 0, "{report:#}");
        let check = (count(&settle["check"], "bags"), count(&settle["check"], "unseen"));
        assert_eq!(check, (self.bots, 0), "{report:#}");
        report
    }
}

fn acts(cluster: &Cluster, node: usize, outcome: &str) -> u64 {
    cluster.node(node).metric("atoll_node_acts_total", &format!("outcome=\"{outcome}\""))
}

/// Waits until a node has done some more acts.
pub(crate) fn await_acts(cluster: &Cluster, node: usize) {
    let before = acts(cluster, node, "done");
    eventually(&format!("node {node} does acts"), READY_WAIT, || match acts(cluster, node, "done") {
        many if many >= before + ACTS_BEFORE => Ok(()),
        few => Err(format!("{few} done, {before} before")),
    });
}

/// Waits until any nodes have ended some more acts so.
pub(crate) fn await_outcomes(cluster: &Cluster, outcome: &str) {
    let all = || (1..=NODES).map(|node| acts(cluster, node, outcome)).sum::<u64>();
    let before = all();
    eventually(&format!("acts are {outcome}"), READY_WAIT, || match all() {
        many if many >= before + ACTS_BEFORE => Ok(()),
        few => Err(format!("{few} {outcome}, {before} before")),
    });
}
