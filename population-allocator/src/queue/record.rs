//! What the store keeps of the queue, so that a successor goes on where the one before it was killed: a snapshot, and
//! deltas that bring it up to date. Plain data; who writes it decides where.
//!
//! A delta is small: at most `CHANGES_PER_DELTA_MAX` parties that came or shrank, and as many that are gone. After each one
//! the snapshot is that of a queue that could have been: no party has another number, and none is before another that it came after. What
//! has not been written is as if it had not happened, so **say a number, and hand out a ticket, only when the delta that
//! has it is stored**.

use super::lanes::Lane;
use super::line::{Line, Waiter};
use super::passing::Passing;
use super::rates::Rates;
use super::{Counts, Party, PartyError, QueueNumber};
use crate::limits::CHANGES_PER_DELTA_MAX;
use chunk_sync::ids::PlayerId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// A waiting party at rest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WaiterRecord {
    /// Where it waits.
    pub lane: Lane,
    /// When it joined.
    pub joined_ms: u64,
    /// Its players, the one who leads first.
    pub players: Vec<PlayerId>,
}

impl WaiterRecord {
    pub(super) fn new(lane: Lane, waiter: &Waiter) -> Self {
        Self { lane, joined_ms: waiter.joined_ms, players: waiter.party.players().collect() }
    }
}

/// How one lane goes on.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct LaneRecord {
    /// Whether its oldest party is being passed.
    pub passing: Option<Passing>,
    /// How fast it moves.
    pub rates: Rates,
}

impl LaneRecord {
    fn new(line: &Line) -> Self {
        Self { passing: line.passing, rates: line.rates }
    }
}

/// How the queue goes on: all of it but the parties.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct TurnsRecord {
    /// The number that the next party gets.
    pub next: u64,
    /// What newcomers are owed.
    pub owed: i64,
    /// The lanes, in the order of `Lane::ALL`.
    pub lanes: [LaneRecord; 2],
    /// What happened since the beginning.
    pub counts: Counts,
}

impl TurnsRecord {
    pub(super) fn new(next: u64, owed: i64, lines: &[Line; 2], counts: Counts) -> Self {
        let [homecoming, newcomers] = lines;
        Self { next, owed, lanes: [LaneRecord::new(homecoming), LaneRecord::new(newcomers)], counts }
    }
}

/// Consecutive numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Run {
    /// The first.
    pub first: QueueNumber,
    /// How many.
    pub count: u64,
}

/// What changed since the delta before it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Delta {
    /// How the queue goes on.
    pub turns: TurnsRecord,
    /// Parties that came or shrank, by number, as they are now.
    pub put: Vec<(QueueNumber, WaiterRecord)>,
    /// Numbers that no longer wait, rising. A run may have numbers in it that had gone before.
    pub gone: Vec<Run>,
}

/// The whole queue.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// How the queue goes on.
    pub turns: TurnsRecord,
    /// Everybody who waits.
    pub waiting: BTreeMap<QueueNumber, WaiterRecord>,
}

/// A snapshot that no queue wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum SnapshotError {
    /// A number that was not given yet.
    #[error("{0} waits, and has not been given")]
    NotGiven(QueueNumber),
    /// Players who aren't a party.
    #[error("{0} waits: {1}")]
    Party(QueueNumber, PartyError),
    /// A player at two places.
    #[error("player {0} waits twice")]
    Twice(PlayerId),
}

impl Snapshot {
    /// Brings the snapshot up to date with the next delta.
    pub fn apply(&mut self, delta: Delta) {
        self.turns = delta.turns;
        self.waiting.extend(delta.put);
        for Run { first, count } in delta.gone {
            let end = QueueNumber(first.0.saturating_add(count));
            while let Some(number) = self.waiting.range(first..end).next().map(|(number, _)| *number) {
                self.waiting.remove(&number);
            }
        }
    }

    /// The parties, checked: what is past here needs no second look.
    pub(super) fn parties(self) -> Result<Vec<(QueueNumber, Lane, u64, Party)>, SnapshotError> {
        let (next, mut seen) = (self.turns.next, BTreeSet::new());
        let parties = self.waiting.into_iter().map(|(number, waiter)| {
            if number.0 >= next {
                return Err(SnapshotError::NotGiven(number));
            }
            let party = Party::new(&waiter.players).map_err(|error| SnapshotError::Party(number, error))?;
            let twice = party.players().find(|player| !seen.insert(*player));
            twice.map_or(Ok((number, waiter.lane, waiter.joined_ms, party)), |player| {
                Err(SnapshotError::Twice(player))
            })
        });
        parties.collect()
    }
}

/// What is not in a delta yet.
#[derive(Debug)]
pub(super) struct Journal {
    /// Numbers from here on were never in one.
    pub(super) unsaved_from: QueueNumber,
    shrunk: BTreeSet<QueueNumber>,
    gone: BTreeSet<QueueNumber>,
    turned: bool,
}

impl Journal {
    pub(super) fn new(next: u64) -> Self {
        let unsaved_from = QueueNumber(next);
        Self { unsaved_from, shrunk: BTreeSet::new(), gone: BTreeSet::new(), turned: false }
    }

    /// Something other than the parties changed.
    pub(super) fn turned(&mut self) {
        self.turned = true;
    }

    pub(super) fn shrunk(&mut self, number: QueueNumber) {
        self.turned = true;
        if number < self.unsaved_from {
            self.shrunk.insert(number);
        }
    }

    /// Whoever comes and goes between two deltas is in neither.
    pub(super) fn gone(&mut self, number: QueueNumber) {
        self.turned = true;
        self.shrunk.remove(&number);
        if number < self.unsaved_from {
            self.gone.insert(number);
        }
    }

    /// Whether there is nothing to write.
    pub(super) fn is_clean(&self) -> bool {
        !self.turned && !self.is_behind()
    }

    /// Whether parties shrank or went that are in no delta yet.
    pub(super) fn is_behind(&self) -> bool {
        !self.shrunk.is_empty() || !self.gone.is_empty()
    }

    /// Takes numbers that shrank and runs that are gone, at most so many as a delta brings of each.
    pub(super) fn take(&mut self) -> (Vec<QueueNumber>, Vec<Run>) {
        self.turned = false;
        let shrunk = std::iter::from_fn(|| self.shrunk.pop_first()).take(CHANGES_PER_DELTA_MAX).collect();
        let mut runs: Vec<Run> = Vec::new();
        for _ in 0..CHANGES_PER_DELTA_MAX {
            let Some(number) = self.gone.pop_first() else { break };
            match runs.last_mut() {
                Some(run) if run.first.0 + run.count == number.0 => run.count += 1,
                _ => runs.push(Run { first: number, count: 1 }),
            }
        }
        (shrunk, runs)
    }

    pub(super) fn invariants(&self, waits: impl Fn(QueueNumber) -> bool) {
        assert!(self.gone.iter().all(|number| !waits(*number)), "who waits is written as gone");
        assert!(self.shrunk.iter().all(|number| waits(*number)), "who is gone is written as shrunk");
        let known = |number: &QueueNumber| *number < self.unsaved_from;
        assert!(
            self.gone.iter().all(known) && self.shrunk.iter().all(known),
            "changes of what was never written"
        );
    }
}
