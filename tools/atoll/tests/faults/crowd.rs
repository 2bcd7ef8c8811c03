//! A crowd on three nodes: everybody sees everybody, and who never reads harms nobody.

use std::path::Path;

use clap::Parser;
use loadtest::cli::{Cli, Command, Ending};
use loadtest::swarm;
use serde_json::Value;

use crate::processes::Up;

/// Runs a swarm in this process, in a crowd, and returns its report.
pub(crate) fn swarm(
    target: &str,
    bots: u32,
    seconds: u32,
    never_read: u32,
    prefix: &str,
    json: &Path,
) -> Value {
    let json_text = json.to_str().expect("temporary paths are UTF-8");
    let line = format!(
        "loadtest swarm --target {target} --bots {bots} --seconds {seconds} --behaviour crowd --never-read {never_read} \
         --name-prefix {prefix} --observers 8 --join-rate 200 --json {json_text}"
    );
    let cli = Cli::try_parse_from(line.split(' ')).expect("the swarm's own arguments");
    let Command::Swarm(args) = cli.command else { panic!("a swarm") };
    let ending = swarm::run(&args).unwrap_or_else(|error| panic!("the swarm failed: {error}"));
    assert_eq!(ending, Ending::Done);
    serde_json::from_slice(&std::fs::read(json).expect("the report was written")).expect("JSON")
}

/// A count of a report.
pub(crate) fn count(report: &Value, key: &str) -> u64 {
    report[key].as_u64().unwrap_or_else(|| panic!("{key} is a count in {report:#}"))
}

#[test]
fn each_of_a_crowd_on_three_nodes_sees_all_others() {
    let up = Up::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let report = swarm(up.join(), 150, 8, 10, "crowd-", &folder.path().join("crowd.json"));
    assert_eq!(
        (count(&report, "connected"), count(&report, "never_readers"), count(&report, "islands")),
        (150, 15, 1),
        "{report:#}"
    );
    for none in ["disconnects", "never_reader_disconnects", "errors", "corrections"] {
        assert_eq!(count(&report, none), 0, "{none}: {report:#}");
    }
    assert_eq!(report["seen_per_bot"]["min"], 149, "{report:#}");
    assert!(count(&report, "moves_seen") > 0 && count(&report, "moves_unmatched") == 0, "{report:#}");
    // Each reader is due every step of everybody, itself included; a busy machine may leave a few ticks out.
    let due = 135.0 * 150.0 * 10.0 * report["seconds"].as_f64().expect("seconds");
    assert!(count(&report, "updates_received") as f64 > due * 0.7, "{due} due: {report:#}");
}

#[test]
fn all_nodes_of_the_crowd_take_part() {
    let up = Up::start();
    let players = crate::players::Players::new();
    let all: Vec<usize> = (0..9).map(|n| players.enter(up.join(), &format!("part-{n}"), true)).collect();
    for node in 1..=3 {
        assert!(!players.of_node(node).is_empty(), "nobody is on node {node}");
    }
    players.await_seen(&all, &all, crate::players::SILENCE_MAX);
    players.are_well(&all);
    players.await_agreement(&all, crate::players::SILENCE_MAX);
}
