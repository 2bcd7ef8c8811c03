//! The store of a simulation: the in-memory twin behind a network that may be slow, lose answers or be away, for
//! everybody or for one process.
//!
//! Called by the cluster. What the store does with a question is the twin's business.

use super::books::{Books, Noted, partition_of};
use super::events::{Event, Events, Process, Start};
use super::limits::{STORE_CALL_MS, STORE_IN_FLIGHT_MAX};
use chunk_sync::ids::Source;
use chunk_sync::random::{RngExt, Stream, hash, stream};
use chunk_sync::records::WORLD;
use chunk_sync::store::{
    Commit, CommitOutcome, LEASE_GUARD_MS, MemoryFault, MemoryStore, MinterFlow, MinterStep, PartitionKey,
    StoreAnswer, StoreFault, StoreOp, Token,
};
use std::collections::{BTreeMap, BTreeSet};
use world_node::rules::Partition;

/// The store's clock when virtual time is 0 (Unix time).
const EPOCH_MS: u64 = 1_700_000_000_000;

/// What the store's network does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum StoreWeather {
    /// Answers come within milliseconds.
    #[default]
    Fair,
    /// It can't be reached.
    Away,
    /// It is asked and does what it is asked, but a share of the answers is lost.
    LosesAnswers,
    /// Answers take up to the time that they may take, some longer.
    Slow,
    /// It has no room: it takes no commit, whosever.
    Full,
    /// Its replica hears nothing, and takes over when this is over; what the master did meanwhile is lost. No commit is
    /// acknowledged that rests on the replica.
    Behind,
}

/// Longest way of a question that arrives although nobody waits for its answer any more.
const LATE_MS_MAX: u64 = 4_000;

/// The store, and the way to it.
#[derive(Debug)]
pub(super) struct Arbiter {
    pub weather: StoreWeather,
    /// Processes that can't reach the store.
    pub cut_off: BTreeSet<Process>,
    /// Questions that were answered, and those that failed.
    pub answered: u64,
    pub failed: u64,
    /// What it did for acts.
    pub books: Books,
    /// Questions may arrive long after their time.
    pub may_be_late: bool,
    /// The books as the replica has them, while it hears nothing.
    replicated: Option<Books>,
    /// What the last question did.
    noted: Option<Noted>,
    /// Commits that came late.
    pub late: u64,
    /// What was lost with the last master.
    lost: BTreeSet<(PartitionKey, Token)>,
    /// Number of the server that answers; what is on its way to an earlier one is lost.
    office: u32,
    store: MemoryStore,
    in_flight: BTreeMap<Process, usize>,
    random: Stream,
    seed: u64,
}

impl Arbiter {
    pub(super) fn new(seed: u64, now_ms: u64) -> Self {
        // The store has served for long, so leases can be taken over.
        let store = MemoryStore::new(EPOCH_MS + now_ms - 2 * LEASE_GUARD_MS);
        Self {
            weather: StoreWeather::Fair,
            cut_off: BTreeSet::new(),
            answered: 0,
            failed: 0,
            books: Books::default(),
            may_be_late: false,
            replicated: None,
            noted: None,
            late: 0,
            lost: BTreeSet::new(),
            office: 0,
            store,
            in_flight: BTreeMap::new(),
            random: stream(seed, "store"),
            seed,
        }
    }

    /// Sends a question on its way.
    pub(super) fn ask(&mut self, start: Start, id: u64, op: StoreOp, now_ms: u64, events: &mut Events) {
        let in_flight = self.in_flight.entry(start.process).or_default();
        if *in_flight >= STORE_IN_FLIGHT_MAX {
            return events.plan(now_ms, Event::Answer(start, id, StoreAnswer::Failed(StoreFault::Away)));
        }
        *in_flight += 1;
        let way_ms = self.random.random_range(1..=4);
        events.plan(now_ms + way_ms, Event::Ask(start, id, op));
    }

    /// A question is there. Says what was done, if that was an act or a step of a transfer.
    pub(super) fn asked(
        &mut self,
        start: Start,
        id: u64,
        op: &StoreOp,
        now_ms: u64,
        events: &mut Events,
    ) -> Option<Noted> {
        self.noted = None;
        let cut_off = self.cut_off.contains(&start.process);
        let weather = if cut_off { StoreWeather::Away } else { self.weather };
        let (answer, after_ms) = match weather {
            StoreWeather::Fair => (self.call(op, now_ms), self.random.random_range(1..=4)),
            StoreWeather::Away if self.random.random_bool(0.5) => {
                (StoreAnswer::Failed(StoreFault::Away), self.random.random_range(1..=50))
            }
            StoreWeather::Away => (StoreAnswer::Failed(StoreFault::TimedOut), STORE_CALL_MS),
            StoreWeather::Full if matches!(op, StoreOp::Commit(_)) => {
                (StoreAnswer::Failed(StoreFault::Full), self.random.random_range(1..=4))
            }
            StoreWeather::LosesAnswers if self.random.random_bool(0.4) => {
                self.lose(op, now_ms, events);
                (StoreAnswer::Failed(StoreFault::TimedOut), STORE_CALL_MS)
            }
            StoreWeather::LosesAnswers | StoreWeather::Full | StoreWeather::Behind => {
                (self.call(op, now_ms), self.random.random_range(1..=4))
            }
            StoreWeather::Slow => {
                let answer = self.call(op, now_ms);
                match self.random.random_range(50..=STORE_CALL_MS + 500) {
                    late if late > STORE_CALL_MS => {
                        (StoreAnswer::Failed(StoreFault::TimedOut), STORE_CALL_MS)
                    }
                    in_time => (answer, in_time),
                }
            }
        };
        if matches!(answer, StoreAnswer::Failed(_)) {
            self.failed += 1;
        } else {
            self.answered += 1;
        }
        events.plan(now_ms + after_ms, Event::Answer(start, id, answer));
        self.noted
    }

    /// The answer to a question is lost: the question was, or it is done all the same, now or long after.
    fn lose(&mut self, op: &StoreOp, now_ms: u64, events: &mut Events) {
        match if self.may_be_late { self.random.random_range(0..3) } else { 0 } {
            0 => drop(self.call(op, now_ms)),
            1 => {
                let late_ms = self.random.random_range(0..LATE_MS_MAX);
                events.plan(now_ms + late_ms, Event::Late(self.office, op.clone()));
            }
            _ => (),
        }
    }

    /// A question is there that nobody waits for any more.
    pub(super) fn came_late(&mut self, office: u32, op: &StoreOp, now_ms: u64) {
        if office == self.office && self.weather != StoreWeather::Away {
            self.late += u64::from(matches!(op, StoreOp::Commit(_)));
            drop(self.call(op, now_ms));
        }
    }

    /// The replica hears nothing from now on.
    pub(super) fn fall_behind(&mut self) {
        self.store.set_fault(MemoryFault::StaleReplica);
        self.replicated.get_or_insert_with(|| self.books.clone());
    }

    /// The master dies and its replica takes over. Says how many commits of the game are lost.
    pub(super) fn fail_over(&mut self, now_ms: u64) -> usize {
        self.office += 1;
        self.store.fail_over(EPOCH_MS + now_ms);
        let Some(mut replicated) = self.replicated.take() else { return 0 };
        replicated.follow(&mut self.books);
        self.lost = self.books.tokens().difference(replicated.tokens()).cloned().collect();
        self.books = replicated;
        self.lost.len()
    }

    /// Which server answers.
    pub(super) fn office(&self) -> u32 {
        self.office
    }

    /// Commits of the game that were lost with the last master, and were not done again.
    pub(super) fn lost(&self) -> impl Iterator<Item = (Partition, Token)> {
        let lost = self.lost.iter().filter(|commit| !self.books.tokens().contains(*commit));
        lost.filter_map(|(key, token)| Some((partition_of(key)?, *token)))
    }

    /// An answer reached its process, or would have.
    pub(super) fn settled(&mut self, start: Start) {
        if let Some(in_flight) = self.in_flight.get_mut(&start.process) {
            *in_flight = in_flight.saturating_sub(1);
        }
    }

    /// Looks into the store without anybody's knowing.
    pub(super) fn peek(&mut self, op: &StoreOp, now_ms: u64) -> StoreAnswer {
        self.call(op, now_ms)
    }

    /// Leases the number of a start; `None` while the process can't reach the store.
    pub(super) fn lease_source(&mut self, process: Process, now_ms: u64) -> Option<Source> {
        if self.weather == StoreWeather::Away || self.cut_off.contains(&process) {
            return None;
        }
        let mut flow = MinterFlow::new(WORLD, hash(self.seed ^ now_ms, process.to_string().as_bytes()));
        let mut op = flow.start();
        loop {
            let answer = self.call(&op, now_ms);
            match flow.handle_answer(answer) {
                Ok(MinterStep::Ask(next)) => op = next,
                Ok(MinterStep::Leased(source)) => return Some(source),
                Err(_) => return None,
            }
        }
    }

    fn call(&mut self, op: &StoreOp, now_ms: u64) -> StoreAnswer {
        let StoreOp::Commit(commit) = op else { return self.store.call(EPOCH_MS + now_ms, op) };
        // A master whose replica hears nothing does commits and doesn't say so.
        let before = self.replicated.is_some().then(|| self.newest(commit, now_ms));
        let answer = self.store.call(EPOCH_MS + now_ms, op);
        let unsaid = before.is_some_and(|before| {
            let after = self.newest(commit, now_ms);
            before != after && after == Some(commit.token)
        });
        if unsaid || matches!(answer, StoreAnswer::Committed(CommitOutcome::Done { .. })) {
            self.noted = self.books.note(commit, now_ms);
        }
        answer
    }

    fn newest(&mut self, commit: &Commit, now_ms: u64) -> Option<Token> {
        let load = StoreOp::Load { partition: commit.partition.clone() };
        match self.store.call(EPOCH_MS + now_ms, &load) {
            StoreAnswer::Loaded(view) => Some(view.token),
            _ => None,
        }
    }

    /// Puts something there before anything happens.
    pub(super) fn endow(&mut self, commit: Commit, now_ms: u64) {
        self.books.begin_with(&commit);
        let answer = self.store.call(EPOCH_MS + now_ms, &StoreOp::Commit(commit));
        let done = matches!(answer, StoreAnswer::Committed(CommitOutcome::Done { .. }));
        assert!(done, "an empty store takes everything: {answer:?}");
    }

    /// The store itself.
    pub(super) fn twin(&self) -> &MemoryStore {
        &self.store
    }
}
