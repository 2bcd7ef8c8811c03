//! What will happen, in the order of its virtual time; what is due at once happens in the order it was planned in.
//!
//! The one queue of a simulation. It knows nothing of what the events mean.

use super::mesh::{Route, TopicChange};
use bytes::Bytes;
use chunk_sync::mesh_wire::TopicBytes;
use chunk_sync::store::{StoreAnswer, StoreOp};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A process of the cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Process {
    /// A node, by its place in the cluster.
    Node(usize),
    /// The allocator.
    Allocator,
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Process::Node(at) => write!(f, "node {}", at + 1),
            Process::Allocator => f.write_str("allocator"),
        }
    }
}

/// One start of a process; what is meant for an earlier start is lost.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Start {
    pub process: Process,
    pub nth: u32,
}

/// Number of a client connection.
pub(super) type WireNo = usize;

/// Something that happens.
#[derive(Debug)]
pub(super) enum Event {
    /// A process steps.
    Tick(Start),
    /// A node sends clients their share of the tick.
    SendOut(Start),
    /// A process that is down starts.
    Boot(Process),
    /// A link between members may be there now.
    LinkUp(Route),
    /// News of what a subscriber takes reaches the publisher.
    Topics(Route, TopicChange),
    /// A message reaches a subscriber.
    Mesh(Route, TopicBytes, Bytes),
    /// A question reaches the store.
    Ask(Start, u64, StoreOp),
    /// A question reaches the store, or its server of then, long after its time.
    Late(u32, StoreOp),
    /// An answer reaches who asked.
    Answer(Start, u64, StoreAnswer),
    /// A client's connection is there, or refused.
    Opened(WireNo),
    /// Bytes reach the server.
    ToServer(WireNo, Bytes),
    /// Bytes reach the client.
    ToClient(WireNo, Bytes),
    /// The server learns that the client's side ended.
    EndAtServer(WireNo),
    /// The client learns that the server's side ended.
    EndAtClient(WireNo),
    /// A bot lives on.
    Bot(usize),
    /// A fault begins.
    FaultBegins(usize),
    /// A fault ends.
    FaultEnds(usize),
    /// What a fault waited for has happened: it does its worst now.
    Strike(usize),
    /// It is looked whether anybody still believes what was lost with a master.
    Believers(u32),
    /// Everybody is compared with everybody.
    Look,
    /// The sweeping node looks for transfers that nobody finishes.
    Sweep,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Events {
    heap: BinaryHeap<Planned>,
    planned: u64,
}

#[derive(Debug)]
struct Planned {
    at_ms: u64,
    nth: u64,
    event: Event,
}

impl Events {
    /// Plans an event.
    pub(super) fn plan(&mut self, at_ms: u64, event: Event) {
        self.planned += 1;
        self.heap.push(Planned { at_ms, nth: self.planned, event });
    }

    /// The next event and its time.
    pub(super) fn next(&mut self) -> Option<(u64, Event)> {
        self.heap.pop().map(|planned| (planned.at_ms, planned.event))
    }
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.nth == other.nth
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    /// The heap gives the greatest first, so the earliest is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_ms, other.nth).cmp(&(self.at_ms, self.nth))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_the_order_they_were_planned_in() {
        let mut events = Events::default();
        for (at_ms, bot) in [(20, 0), (10, 1), (20, 2), (10, 3)] {
            events.plan(at_ms, Event::Bot(bot));
        }
        let order = std::iter::from_fn(|| events.next());
        let order: Vec<(u64, usize)> =
            order.map(|(at, e)| (at, if let Event::Bot(bot) = e { bot } else { 99 })).collect();
        assert_eq!(order, [(10, 1), (10, 3), (20, 0), (20, 2)]);
    }
}
