//! The cluster in one thread over hundreds of seeds: real cores of nodes, allocator and clients, with partitions,
//! crashes, pauses, a store that fails, and players who come, go, walk, stop reading and enter twice.
//!
//! A seed that breaks a property is printed with its story and the command that repeats it.

use std::process::{Command, Output};
use std::sync::atomic::AtomicBool;

use loadtest::sim::{Outcome, Setup, Totals, each_seed, run_seed};

/// Lines of the story that a failure shows.
const STORY_LINES: usize = 60;

/// How often, in the long run under faults, a bot that asked again in a later session was told that its act is done.
const RESENDS_DONE_MIN: u64 = 200;

fn report(outcome: &Outcome, setup: Setup, what: &str) -> String {
    let Setup { nodes, bots, seconds, faults, acts } = setup;
    let from = outcome.story.len().saturating_sub(STORY_LINES);
    let (story, seed) = (outcome.story[from..].join("\n  "), outcome.seed);
    let calm = if faults { "" } else { " --no-faults" };
    let idle = if acts { "" } else { " --no-acts" };
    format!(
        "seed {seed} broke {what}\n  {story}\nrepeat it: cargo run --release -p loadtest -- sim --seeds 1 \
         --seed {seed} --nodes {nodes} --bots {bots} --seconds {seconds}{calm}{idle}"
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
        "store away",
        "store cut off",
        "store fails over",
        "store full",
        "store loses answers",
        "store slow",
        "crash right after a step",
        "crash right after an act",
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
        ("commits that came late", totals.late_commits),
        ("acts over in a later session", totals.acts_over_later),
        ("acts that had to wait", totals.acts_waited),
        ("conflicts", totals.conflicts),
        ("swept transfers", totals.swept),
    ];
    for (what, count) in seen {
        assert!(count > 0, "not once in all seeds: {what}");
    }
    acts_were_lively(&totals);
    assert_eq!(totals.acts_refused.get("act_forgotten"), None, "a client confirms no act that it waits for");
    let later = totals.acts_done_later;
    assert!(later >= RESENDS_DONE_MIN, "too few that asked again were told that it was done: {later}");
}

/// Every action was done and was refused, for every reason that matters, and what is rare happened.
fn acts_were_lively(totals: &Totals) {
    let actions = [
        ("accept", 20),
        ("build", 1_000),
        ("cancel", 50),
        ("claim_estate", 50),
        ("collect", 1),
        ("craft", 500),
        ("demolish", 100),
        ("drop", 500),
        ("gather", 1_000),
        ("give", 200),
        ("offer", 200),
        ("permit", 20),
        ("pick_up", 100),
        ("revoke", 10),
        ("travel", 200),
    ];
    for (action, least) in actions {
        let tally = totals.actions.get(action).copied().unwrap_or_default();
        assert!(tally.done >= least && tally.refused > 0, "too little of {action}: {tally:?}");
    }
    let reasons = [
        "bad_ground",
        "bag_full",
        "border",
        "busy_site",
        "claimed",
        "exhausted",
        "forbidden",
        "lacking",
        "no_journey",
        "no_partner",
        "no_tool",
        "not_there",
        "not_yours",
        "occupied",
        "other_island",
        "settled",
        "store_away",
        "store_full",
        "too_far",
        "trade_closed",
    ];
    for reason in reasons {
        let count = totals.acts_refused.get(reason).copied().unwrap_or(0);
        assert!(count >= 5, "too few refusals for {reason}: {:?}", totals.acts_refused);
    }
    let feats = [
        "built by leave of an owner",
        "built over a border",
        "came in after a journey",
        "commit lost with its master",
        "done and taken back",
        "gift between nodes",
        "node ended with acts under way",
        "node ended with transfers under way",
        "node looked at after a change of master",
        "rights spread to every copy",
        "trade between nodes",
    ];
    for what in feats {
        let count = totals.feats.get(what).copied().unwrap_or(0);
        assert!(count >= 10, "too few times {what}: {:?}", totals.feats);
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
    let crowd = Setup { nodes: 2, bots: 50, seconds: 60, faults: true, acts: false };
    let totals = all_hold(50_000, 3, crowd);
    assert!(totals.skips > 0, "a reader that reads nothing is skipped ahead: {totals:?}");
    all_hold(51_000, 2, Setup { acts: true, ..crowd });
}

/// Seeds that found something before anybody acted: seed, seconds of faults, what.
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

/// Seeds that found something since players act.
const REGRESSIONS_OF_ACTS: [(u64, u64, &str); 13] = [
    (
        10_006,
        50,
        "a list of claimants was believed that its master lost, and its epoch was given out once more",
    ),
    (10_024, 50, "the same, sooner after the change of master"),
    (10_002, 50, "a place that was saved late undid a journey"),
    (10_050, 50, "a place that was saved late undid a journey back"),
    (
        100_072,
        60,
        "a node that stood still between the halves of a tick took its own pause for its clients' silence",
    ),
    (300_310, 60, "a session was told over of an act that a newer client of its player had given up"),
    (300_205, 60, "a client came back for an act that another client of its player had given up"),
    (
        200_098,
        60,
        "who slept while a creature left a roster that then rested, and was cut off as it woke, listed it for ever",
    ),
    (
        210_115,
        60,
        "a guest, whose home was full of tickets that the allocator before may have given, was taken for a journey undone",
    ),
    (
        500_875,
        60,
        "a node died for good while the others crashed again and again: none of them heard it silent for a whole lease, \
         and nobody took its creatures",
    ),
    (500_913, 60, "the same, with a node that slept"),
    (
        700_436,
        60,
        "a node that started was told that it is registered by a master that lost that a moment later",
    ),
    (
        702_057,
        60,
        "a list of claimants, read of a master that lost it, was believed for what was heard of its epoch since",
    ),
];

#[test]
fn what_was_found_once_stays_mended() {
    let before = REGRESSIONS.into_iter().map(|found| (found, false));
    let since = REGRESSIONS_OF_ACTS.into_iter().map(|found| (found, true));
    for ((seed, seconds, caught), acts) in before.chain(since) {
        let setup = Setup { seconds, acts, ..Setup::default() };
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
