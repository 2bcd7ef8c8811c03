//! The store of a simulation: the in-memory twin behind a network that may be slow, lose answers or be away, for
//! everybody or for one process.
//!
//! Called by the cluster. What the store does with a question is the twin's business.

use super::books::Books;
use super::events::{Event, Events, Process, Start};
use super::limits::{STORE_CALL_MS, STORE_IN_FLIGHT_MAX};
use chunk_sync::ids::Source;
use chunk_sync::random::{RngExt, Stream, hash, stream};
use chunk_sync::records::WORLD;
use chunk_sync::store::{
    LEASE_GUARD_MS, MemoryStore, MinterFlow, MinterStep, StoreAnswer, StoreFault, StoreOp,
};
use std::collections::{BTreeMap, BTreeSet};

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
    /// It has no room for anything new.
    Full,
}

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

    /// A question is there.
    pub(super) fn asked(&mut self, start: Start, id: u64, op: &StoreOp, now_ms: u64, events: &mut Events) {
        let cut_off = self.cut_off.contains(&start.process);
        let weather = if cut_off { StoreWeather::Away } else { self.weather };
        let (answer, after_ms) = match weather {
            StoreWeather::Fair => (self.call(op, now_ms), self.random.random_range(1..=4)),
            StoreWeather::Away if self.random.random_bool(0.5) => {
                (StoreAnswer::Failed(StoreFault::Away), self.random.random_range(1..=50))
            }
            StoreWeather::Away => (StoreAnswer::Failed(StoreFault::TimedOut), STORE_CALL_MS),
            StoreWeather::Full if adds(op) => {
                (StoreAnswer::Failed(StoreFault::Full), self.random.random_range(1..=4))
            }
            StoreWeather::LosesAnswers if self.random.random_bool(0.4) => {
                drop(self.call(op, now_ms));
                (StoreAnswer::Failed(StoreFault::TimedOut), STORE_CALL_MS)
            }
            StoreWeather::LosesAnswers | StoreWeather::Full => {
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
        let answer = self.store.call(EPOCH_MS + now_ms, op);
        self.books.note(op, &answer);
        answer
    }

    /// The store itself.
    pub(super) fn twin(&self) -> &MemoryStore {
        &self.store
    }
}

/// Whether a full store can't do it: what players do. Leases and the like go on, as they do with what a store keeps
/// free for itself.
fn adds(op: &StoreOp) -> bool {
    matches!(op, StoreOp::Commit(commit) if commit.act.is_some())
}
