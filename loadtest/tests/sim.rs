//! The cluster in one thread over hundreds of seeds: real cores of nodes, allocator and clients, with partitions,
//! crashes, pauses, a store that fails, and players who come, go, walk, stop reading and enter twice.
//!
//! A seed that breaks a property is printed with its story and the command that repeats it.

use std::process::{Command, Output};
use std::sync::atomic::AtomicBool;

use loadtest::sim::{Outcome, Setup, Totals, each_seed, run_seed};

/// Lines of the story that a failure shows.
const STORY_LINES: usize = 60;

fn report(outcome: &Outcome, setup: Setup, what: &str) -> String {
    let Setup { nodes, bots, seconds, faults, .. } = setup;
    let from = outcome.story.len().saturating_sub(STORY_LINES);
    let (story, seed) = (outcome.story[from..].join("\n  "), outcome.seed);
    let calm = if faults { "" } else { " --no-faults" };
    format!(
        "seed {seed} broke {what}\n  {story}\nrepeat it: cargo run --release -p loadtest -- sim --seeds 1 \
         --seed {seed} --nodes {nodes} --bots {bots} --seconds {seconds}{calm}"
    )
}

/// Runs the seeds; panics at the first one that breaks a property.
fn all_hold(first: u64, count: u64, setup: Setup) -> Totals {
    let mut totals = Totals::default();
    let held = each_seed(first, count, setup, &AtomicBool::new(false), |outcome| {
        totals.add(&outcome.totals);
        outcome.broken.as_ref().map_or(Ok(()), |what| Err(report(&outcome, setup, what)))
    });
    held.unwrap_or_else(|report| panic!("{report}"));
    totals
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let setup = Setup { seconds: 25, ..Setup::default() };
    for seed in 1..=3 {
        let (first, second) = (run_seed(seed, setup), run_seed(seed, setup));
        assert_eq!(first, second, "seed {seed}");
        assert_ne!(first.trace, run_seed(seed + 1, setup).trace, "another seed is another run");
    }
}

#[test]
fn a_cluster_without_faults_loses_nothing_and_agrees() {
    let totals = all_hold(1, 20, Setup { seconds: 25, faults: false, ..Setup::default() });
    assert_eq!((totals.lost, totals.dropped, totals.store_failures), (0, 0, 0));
    assert_eq!((totals.fenced, totals.takeovers, totals.pauses, totals.gaps), (0, 0, 0, 0));
    assert!(totals.entered >= 200 && totals.delivered > 0 && totals.released > 0);
}

#[test]
fn hundreds_of_seeds_hold_under_faults() {
    let totals = all_hold(10_000, 200, Setup { seconds: 50, ..Setup::default() });
    // A simulation in which nothing goes wrong proves nothing.
    let kinds = [
        "allocator crash",
        "bad network",
        "client cut",
        "client stalled",
        "crash",
        "crash for good",
        "partition",
        "pause",
        "stop",
        "store",
        "store cut off",
    ];
    for kind in kinds {
        assert!(totals.faults.get(kind).is_some_and(|count| *count >= 5), "{kind}: {:?}", totals.faults);
    }
    let seen = [
        ("gaps", totals.gaps),
        ("repairs", totals.repairs),
        ("releases", totals.released),
        ("adoptions", totals.adopted),
        ("pauses", totals.pauses),
        ("takeovers", totals.takeovers),
        ("fenced nodes", totals.fenced),
        ("corrections", totals.corrections),
        ("lost sessions", totals.sessions_lost),
        ("refusals", totals.refused),
        ("store failures", totals.store_failures),
        ("lost messages", totals.lost),
    ];
    for (what, count) in seen {
        assert!(count > 0, "not once in all seeds: {what}");
    }
}

#[test]
fn clusters_of_other_sizes_hold() {
    all_hold(20_000, 20, Setup { nodes: 1, bots: 8, seconds: 40, faults: true, acts: true });
    all_hold(30_000, 30, Setup { nodes: 2, bots: 10, seconds: 40, faults: true, acts: true });
    all_hold(40_000, 15, Setup { nodes: 5, bots: 20, seconds: 40, faults: true, acts: true });
}

#[test]
fn crowds_with_slow_readers_hold() {
    let totals = all_hold(50_000, 4, Setup { nodes: 2, bots: 50, seconds: 60, faults: true, acts: true });
    assert!(totals.skips > 0, "a reader that reads nothing is skipped ahead: {totals:?}");
}

/// Seeds that found something: seed, seconds of faults, what.
const REGRESSIONS: [(u64, u64, &str); 7] = [
    (
        2,
        50,
        "a roster that had rested for two seconds was restated with its old tick, and members that joined dropped it",
    ),
    (2, 50, "a walker whose node or network had stood still for seconds was thrown out for flooding"),
    (17, 50, "who joined while a ghost roster waited to be mended got no motion keyframe, and then a gap"),
    (33, 50, "a player left between publishing and fan-out: snapshots showed a state that no frame led to"),
    (
        54,
        50,
        "the last change of a roster that then rested, lost in a short cut with all that restated it, was never missed",
    ),
    (
        11,
        60,
        "who gave a creature away after its own claim had ended never learned to whom it had to be given",
    ),
    (16, 60, "a creature given twice, and taken in the epoch of the first time, stayed listed by both"),
];

#[test]
fn what_was_found_once_stays_mended() {
    for (seed, seconds, caught) in REGRESSIONS {
        let setup = Setup { seconds, ..Setup::default() };
        let outcome = run_seed(seed, setup);
        if let Some(what) = &outcome.broken {
            panic!("{}\nthis seed once caught: {caught}", report(&outcome, setup, what));
        }
    }
}

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadtest")).arg("sim").args(arguments).output().expect("the binary runs")
}

#[test]
fn the_command_says_how_it_went() {
    let ran =
        sim(&["--seeds", "2", "--seed", "7", "--nodes", "2", "--bots", "3", "--seconds", "10", "--verbose"]);
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{said}");
    for wanted in ["seed 7 holds", "seed 8 holds", "2 seeds in", "seeds/s", "virtual s"] {
        assert!(said.contains(wanted), "no {wanted:?} in {said}");
    }
}

#[test]
fn arguments_out_of_range_are_refused() {
    for arguments in [["--nodes", "0"], ["--bots", "501"], ["--seconds", "9"], ["--seeds", "0"]] {
        let ran = sim(&arguments);
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}");
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(said.contains(arguments[0]), "{said}");
    }
}
