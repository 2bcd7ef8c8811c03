//! The queue from outside: against a naive one that walks through a list, and in simulated crowds.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod eta;
mod naive;
mod oracle;
mod parties;
mod places;
mod returns;

use chunk_sync::ids::PlayerId;
use population_allocator::queue::{Lane, LaneShares, Party, Place, Queue, QueueNumber};

/// Half of what is admitted is of each lane, while both wait.
fn halves() -> LaneShares {
    LaneShares::new(1, 1).unwrap()
}

/// A party of players with consecutive ids.
fn party(first: u64, size: u64) -> Party {
    let players: Vec<PlayerId> = (first..first + size).map(PlayerId).collect();
    Party::new(&players).unwrap()
}

fn join(queue: &mut Queue, lane: Lane, party: Party, now_ms: u64) -> Place {
    *queue.join(lane, party, now_ms).unwrap().place()
}

/// Everybody, in the order in which they are served when there is room.
fn drained(queue: &mut Queue, now_ms: u64) -> Vec<QueueNumber> {
    std::iter::from_fn(|| queue.serve_next(now_ms, |_, _| true)).map(|served| served.number).collect()
}
