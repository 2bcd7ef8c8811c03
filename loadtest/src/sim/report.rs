//! The command: its arguments, the runs on all cores, what is printed.
//!
//! Called by `cli`. A run itself is `sim::run_seed`'s.

use super::limits::{BOTS_MAX, NODES_MAX, SECONDS_MAX, SECONDS_MIN, STORY_LINES_SHOWN};
use super::{Outcome, Setup, Tally, Totals, run_seed};
use crate::cli::Ending;
use crate::interrupt;
use clap::Args;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::Instant;

/// Outcomes that wait to be printed.
const OUTCOMES_MAX: usize = 64;

/// Arguments of `sim`.
#[derive(Clone, Debug, Args)]
pub struct SimArgs {
    /// How many seeds to run.
    #[arg(long, default_value_t = 100)]
    pub seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Nodes of the cluster.
    #[arg(long, default_value_t = Setup::default().nodes)]
    pub nodes: usize,
    /// Players.
    #[arg(long, default_value_t = Setup::default().bots)]
    pub bots: usize,
    /// Virtual seconds until the last fault is over.
    #[arg(long, default_value_t = Setup::default().seconds)]
    pub seconds: u64,
    /// Nothing goes wrong.
    #[arg(long)]
    pub no_faults: bool,
    /// Bots walk and do nothing else.
    #[arg(long)]
    pub no_acts: bool,
    /// Print the story of every seed.
    #[arg(long)]
    pub verbose: bool,
    /// Go on after a property broke.
    #[arg(long)]
    pub keep_going: bool,
}

/// Why `sim` failed.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// Arguments that can't be run.
    #[error("--{argument} must be {least} to {most}")]
    OutOfRange {
        /// The argument.
        argument: &'static str,
        /// The least that it can be.
        least: u64,
        /// The most.
        most: u64,
    },
    /// Properties broke.
    #[error("a property broke at {} of {ran} seeds: {}", broken.len(), listed(broken))]
    Broken {
        /// The seeds.
        broken: Vec<u64>,
        /// How many ran.
        ran: u64,
    },
    /// Nobody takes what is printed.
    #[error("printing: {0}")]
    Print(#[from] io::Error),
}

impl SimError {
    /// Whether the caller can fix it by other arguments.
    pub fn is_bad_input(&self) -> bool {
        matches!(self, SimError::OutOfRange { .. })
    }
}

fn listed(seeds: &[u64]) -> String {
    let listed: Vec<String> = seeds.iter().map(u64::to_string).collect();
    listed.join(", ")
}

/// Runs the seeds on all cores and says how they went.
///
/// # Errors
/// When an argument is out of range, a property broke, or nobody takes what is printed.
pub fn run(args: &SimArgs) -> Result<Ending, SimError> {
    let setup = checked(args)?;
    let interrupted = interrupt::watch()?;
    let began = Instant::now();
    let (mut totals, mut broken, mut ran) = (Totals::default(), Vec::new(), 0);
    let stop = AtomicBool::new(false);
    each_seed(args.seed, args.seeds, setup, &stop, |outcome| {
        ran += 1;
        totals.add(&outcome.totals);
        tell(&outcome, args.verbose)?;
        if outcome.broken.is_some() {
            broken.push(outcome.seed);
        }
        if interrupted.load(Relaxed) || (outcome.broken.is_some() && !args.keep_going) {
            stop.store(true, Relaxed);
        }
        Ok::<(), io::Error>(())
    })?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", summary(&totals, ran, began.elapsed().as_secs_f64()))?;
    match broken.is_empty() {
        true if interrupted.load(Relaxed) => Ok(Ending::Interrupted),
        true => Ok(Ending::Done),
        false => Err(SimError::Broken { broken, ran }),
    }
}

fn checked(args: &SimArgs) -> Result<Setup, SimError> {
    let bounds = [
        ("seeds", args.seeds, 1, u64::MAX),
        ("nodes", args.nodes as u64, 1, NODES_MAX as u64),
        ("bots", args.bots as u64, 1, BOTS_MAX as u64),
        ("seconds", args.seconds, SECONDS_MIN, SECONDS_MAX),
    ];
    for (argument, value, least, most) in bounds {
        if !(least..=most).contains(&value) {
            return Err(SimError::OutOfRange { argument, least, most });
        }
    }
    let SimArgs { nodes, bots, seconds, .. } = *args;
    Ok(Setup { nodes, bots, seconds, faults: !args.no_faults, acts: !args.no_acts })
}

/// Runs seeds on all cores; hands their outcomes to `take` in the order of the seeds until `stop` is set.
///
/// # Errors
/// The first of `take`; what still runs is then dropped.
pub fn each_seed<E>(
    first: u64,
    count: u64,
    setup: Setup,
    stop: &AtomicBool,
    mut take: impl FnMut(Outcome) -> Result<(), E>,
) -> Result<(), E> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(0);
    let (sender, receiver) = mpsc::sync_channel(OUTCOMES_MAX);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while !stop.load(Relaxed) {
                    let nth = next.fetch_add(1, Relaxed);
                    if nth >= count || sender.send(run_seed(first.wrapping_add(nth), setup)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        // Taken in here, so that whoever still sends after an early end hears that nobody listens.
        let receiver = receiver;
        // Threads finish in any order; what is told keeps the order of the seeds.
        let (mut waiting, mut due) = (BTreeMap::new(), 0);
        while let Ok(outcome) = receiver.recv() {
            waiting.insert(outcome.seed.wrapping_sub(first), outcome);
            while let Some(outcome) = waiting.remove(&due).filter(|_| !stop.load(Relaxed)) {
                due += 1;
                take(outcome).inspect_err(|_| stop.store(true, Relaxed))?;
            }
        }
        Ok(())
    })
}

fn tell(outcome: &Outcome, verbose: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if !verbose && outcome.broken.is_none() {
        return Ok(());
    }
    let shown = if verbose { outcome.story.len() } else { outcome.story.len().min(STORY_LINES_SHOWN) };
    writeln!(out, "seed {}, trace {:016x}:", outcome.seed, outcome.trace)?;
    for line in &outcome.story[outcome.story.len() - shown..] {
        writeln!(out, "  {line}")?;
    }
    match &outcome.broken {
        Some(what) => writeln!(out, "seed {} BROKE {what}", outcome.seed),
        None => writeln!(out, "seed {} holds", outcome.seed),
    }
}

fn summary(totals: &Totals, ran: u64, seconds: f64) -> String {
    let mut out = String::new();
    let virtual_s = totals.virtual_ms as f64 / 1_000.0;
    let rate = |of: f64| of / seconds.max(0.001);
    let (seeds_s, times) = (rate(ran as f64), rate(virtual_s));
    let mut agreed = totals.agreed_ms.clone();
    agreed.sort_unstable();
    let at = |share: usize| {
        agreed.get((agreed.len() * share / 100).min(agreed.len().saturating_sub(1))).copied().unwrap_or(0)
    };
    // Writing to a String can't fail.
    let _ = write!(
        out,
        "{ran} seeds in {seconds:.1} s: {seeds_s:.1} seeds/s, {virtual_s:.0} virtual s ({times:.0} × real time)"
    );
    let _ = write!(out, "\n  faults:");
    for (kind, count) in &totals.faults {
        let _ = write!(out, " {kind} {count},");
    }
    let _ = write!(
        out,
        "\n  agreed again after the last fault: p50 {} ms, p99 {} ms, max {} ms",
        at(50),
        at(99),
        at(100)
    );
    let rows = [
        ("events", totals.events),
        ("ticks", totals.ticks),
        ("entered", totals.entered),
        ("refused", totals.refused),
        ("sessions lost to faults", totals.sessions_lost),
        ("corrections", totals.corrections),
        ("most on an island", totals.most_on_an_island as u64),
        ("messages delivered", totals.delivered),
        ("lost", totals.lost),
        ("dropped at full inboxes", totals.dropped),
        ("store failures", totals.store_failures),
        ("gaps", totals.gaps),
        ("repairs", totals.repairs),
        ("creatures released", totals.released),
        ("adopted", totals.adopted),
        ("pauses noticed", totals.pauses),
        ("takeovers", totals.takeovers),
        ("fenced", totals.fenced),
        ("clients skipped", totals.skips),
        ("acts", totals.acts),
        ("done", totals.acts_done),
        ("refused", totals.acts_refused.values().sum()),
        ("done, told in a later session", totals.acts_done_later),
        ("over in a later session", totals.acts_over_later),
        ("over elsewhere", totals.acts_over_elsewhere),
        ("told to wait", totals.acts_waited),
        ("conflicts", totals.conflicts),
        ("commits missed at first", totals.commit_gaps),
        ("transfers swept", totals.swept),
        ("commits that came late", totals.late_commits),
    ];
    for (nth, (what, count)) in rows.iter().enumerate() {
        let _ = write!(out, "{}{what} {count}", if nth % 6 == 0 { "\n  " } else { ", " });
    }
    let _ = write!(out, "\n  actions, done of asked for (refused, over):");
    for (action, Tally { asked, done, refused, over }) in &totals.actions {
        let _ = write!(out, "\n    {action:12} {done:>8} of {asked:>8} ({refused}, {over})");
    }
    let listed = |out: &mut String, what: &str, counts: &mut dyn Iterator<Item = (&str, &u64)>| {
        let counts: Vec<String> = counts.map(|(what, count)| format!("{what} {count}")).collect();
        let _ = write!(out, "\n  {what}: {}", counts.join(", "));
    };
    listed(
        &mut out,
        "refusals",
        &mut totals.acts_refused.iter().map(|(reason, count)| (reason.as_str(), count)),
    );
    listed(&mut out, "feats", &mut totals.feats.iter().map(|(what, count)| (*what, count)));
    out
}
