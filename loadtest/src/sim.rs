//! `loadtest sim`: a whole cluster in one thread. The cores of nodes, allocator and clients run for real, over a
//! seeded network and store with faults, on a virtual clock; what must be true is checked all along and at the end.
//! The same seed gives the same run, to the last byte.
//!
//! Called by the command line and by the test suite. It opens no socket and reads the clock only to say how long the
//! runs took.

mod arbiter;
mod audit;
mod books;
mod bot;
mod checks;
mod cluster;
mod deeds;
mod door;
mod endow;
mod events;
mod eyes;
mod faults;
mod host;
pub mod limits;
mod mesh;
mod nodes;
mod players;
mod report;
mod sockets;
mod trace;
mod trouble;
mod wires;
mod wishes;

pub use report::{SimArgs, SimError, each_seed, run};

use crate::actions::name_of;
use cluster::Cluster;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world_node::core::Counters;
use world_node::rules::Action;

/// How large a simulated cluster is, and for how long it has trouble.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setup {
    /// Nodes.
    pub nodes: usize,
    /// Bots.
    pub bots: usize,
    /// Virtual seconds until the last fault is over; settling and watching come on top.
    pub seconds: u64,
    /// Whether anything goes wrong.
    pub faults: bool,
    /// Whether bots do anything to the lasting world.
    pub acts: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self { nodes: 3, bots: 12, seconds: 60, faults: true, acts: true }
    }
}

/// What happened, in numbers; sums over runs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Events.
    pub events: u64,
    /// Ticks of nodes.
    pub ticks: u64,
    /// Virtual milliseconds.
    pub virtual_ms: u64,
    /// Faults, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Times that a bot came in.
    pub entered: u64,
    /// Times that a bot was turned away at a door.
    pub refused: u64,
    /// Sessions that a fault ended.
    pub sessions_lost: u64,
    /// Steps that were put back.
    pub corrections: u64,
    /// Most players that an island ever had.
    pub most_on_an_island: usize,
    /// Messages between members that arrived.
    pub delivered: u64,
    /// Messages between members that were lost.
    pub lost: u64,
    /// Messages that found a full inbox.
    pub dropped: u64,
    /// Questions that the store didn't answer.
    pub store_failures: u64,
    /// Nodes that were fenced.
    pub fenced: u64,
    /// Gaps in streams.
    pub gaps: u64,
    /// Keyframes asked for.
    pub repairs: u64,
    /// Creatures given away.
    pub released: u64,
    /// Creatures taken.
    pub adopted: u64,
    /// Dead incarnations taken over.
    pub takeovers: u64,
    /// Pauses that nodes noticed.
    pub pauses: u64,
    /// Clients skipped to keyframes.
    pub skips: u64,
    /// Acts that bots asked for.
    pub acts: u64,
    /// Acts that they were told are done.
    pub acts_done: u64,
    /// Those of which they were told so in a later session than the one that asked.
    pub acts_done_later: u64,
    /// Acts that they were told are over: in a later session than the one that asked, and otherwise.
    pub acts_over_later: u64,
    /// See above.
    pub acts_over_elsewhere: u64,
    /// What came of acts, by action.
    pub actions: BTreeMap<&'static str, Tally>,
    /// What is rare and must happen: how often it did.
    pub feats: BTreeMap<&'static str, u64>,
    /// Commits that came long after their time.
    pub late_commits: u64,
    /// Times that they were told to wait.
    pub acts_waited: u64,
    /// Acts that were refused, by reason.
    pub acts_refused: BTreeMap<String, u64>,
    /// Commits of acts and transfers that were decided anew.
    pub conflicts: u64,
    /// Commits of others that nodes missed at first.
    pub commit_gaps: u64,
    /// Transfers that a sweep found.
    pub swept: u64,
    /// Time from the last fault until everybody agreed, run by run.
    pub agreed_ms: Vec<u64>,
}

/// What came of one kind of action.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Acts asked for.
    pub asked: u64,
    /// Acts that were told to be done.
    pub done: u64,
    /// Acts that were refused.
    pub refused: u64,
    /// Acts that were told to be over.
    pub over: u64,
}

impl Totals {
    fn action(&mut self, action: &Action) -> &mut Tally {
        self.actions.entry(name_of(action)).or_default()
    }

    fn take_node(&mut self, counters: &Counters, dropped: u64) {
        self.gaps += counters.gaps;
        self.repairs += counters.repairs;
        self.released += counters.released;
        self.adopted += counters.adopted;
        self.takeovers += counters.takeovers;
        self.pauses += counters.pauses;
        self.skips += counters.skips;
        self.dropped += dropped;
        self.conflicts += counters.acts.conflicts;
        self.commit_gaps += counters.acts.gaps;
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Totals) {
        let sums = [
            (&mut self.events, other.events),
            (&mut self.ticks, other.ticks),
            (&mut self.virtual_ms, other.virtual_ms),
            (&mut self.entered, other.entered),
            (&mut self.refused, other.refused),
            (&mut self.sessions_lost, other.sessions_lost),
            (&mut self.corrections, other.corrections),
            (&mut self.delivered, other.delivered),
            (&mut self.lost, other.lost),
            (&mut self.dropped, other.dropped),
            (&mut self.store_failures, other.store_failures),
            (&mut self.fenced, other.fenced),
            (&mut self.gaps, other.gaps),
            (&mut self.repairs, other.repairs),
            (&mut self.released, other.released),
            (&mut self.adopted, other.adopted),
            (&mut self.takeovers, other.takeovers),
            (&mut self.pauses, other.pauses),
            (&mut self.skips, other.skips),
            (&mut self.acts, other.acts),
            (&mut self.acts_done, other.acts_done),
            (&mut self.acts_done_later, other.acts_done_later),
            (&mut self.acts_over_later, other.acts_over_later),
            (&mut self.acts_over_elsewhere, other.acts_over_elsewhere),
            (&mut self.late_commits, other.late_commits),
            (&mut self.acts_waited, other.acts_waited),
            (&mut self.conflicts, other.conflicts),
            (&mut self.commit_gaps, other.commit_gaps),
            (&mut self.swept, other.swept),
        ];
        sums.into_iter().for_each(|(sum, more)| *sum += more);
        self.most_on_an_island = self.most_on_an_island.max(other.most_on_an_island);
        self.agreed_ms.extend(&other.agreed_ms);
        for (reason, count) in &other.acts_refused {
            *self.acts_refused.entry(reason.clone()).or_default() += count;
        }
        for (kind, count) in &other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        for (what, count) in &other.feats {
            *self.feats.entry(what).or_default() += count;
        }
        for (action, more) in &other.actions {
            let sum = self.actions.entry(action).or_default();
            sum.asked += more.asked;
            sum.done += more.done;
            sum.refused += more.refused;
            sum.over += more.over;
        }
    }
}

/// How the run of one seed ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Hash over everything that happened; equal for equal seeds and setups.
    pub trace: u64,
    /// The property that broke, if one did.
    pub broken: Option<String>,
    /// What happened, line by line.
    pub story: Vec<String>,
    /// What happened, in numbers.
    pub totals: Totals,
}

/// Runs one seed.
pub fn run_seed(seed: u64, setup: Setup) -> Outcome {
    let mut cluster = Cluster::new(seed, setup);
    // An invariant of a core that breaks panics; the story up to it is what one wants to read then.
    let ran = catch_unwind(AssertUnwindSafe(|| cluster.run()));
    let broken = match ran {
        Ok(result) => result.err(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
            Some(format!("panicked: {text}"))
        }
    };
    let at_ms = cluster.now_ms - cluster.began_ms;
    Outcome {
        seed,
        trace: cluster.trace.hash(),
        broken: broken.map(|what| format!("after {}.{:03} s: {what}", at_ms / 1_000, at_ms % 1_000)),
        story: cluster.trace.take_story(),
        totals: cluster.totals,
    }
}
