//! The core's edges: what it is told at its start, what it asks its surroundings to do, what it reports.

use bytes::Bytes;
use chunk_sync::ids::{ConnId, NodeId, Source};
use chunk_sync::ticket::TicketKey;

/// What a node core is told at its start.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The node.
    pub node: NodeId,
    /// Number of this start.
    pub source: Source,
    /// Seed of the world's land.
    pub seed: u64,
    /// Keys that sign tickets.
    pub keys: Vec<TicketKey>,
    /// Where clients connect (`host:port`), as the registry shall say it.
    pub address: String,
    /// Where members of the cluster subscribe, as the registry shall say it.
    pub mesh: String,
}

/// Client sockets, as the core sees them during a tick. Implemented by the shell on real sockets and by the
/// simulation on a seeded network.
pub trait ClientSink {
    /// Bytes that still wait for this client, and since when (world milliseconds) it has taken none of them.
    fn backlog(&self, conn: ConnId) -> Backlog;

    /// Sends the parts, in order, as one gathered write; what the socket doesn't take is kept (the core looks at
    /// `backlog` first, so this is bounded by one tick's bytes over the limit).
    fn send(&mut self, conn: ConnId, header: &[u8], shared: &[Bytes]);

    /// Ends the connection once what waits was written, or at once when it can't be.
    fn close(&mut self, conn: ConnId);

    /// A phase of the tick is over; the shell times them.
    fn phase_done(&mut self, phase: Phase);
}

/// The phases of a tick, in their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Phase {
    /// Answers and timers of lease, registry, plan, claims.
    Store = 0,
    /// Steps of own players.
    Moves = 1,
    /// Steps of own creatures.
    Creatures = 2,
    /// Acts and transfers go on.
    Acts = 3,
    /// Waiting players are let in.
    Admission = 4,
    /// Streams are encoded.
    Publish = 5,
    /// Views follow; wants and subscriptions with them.
    Interest = 6,
    /// Heartbeat and census.
    Census = 7,
    /// Clients are written to.
    FanOut = 8,
}

impl Phase {
    /// All phases.
    pub const ALL: [Phase; 9] = [
        Phase::Store,
        Phase::Moves,
        Phase::Creatures,
        Phase::Acts,
        Phase::Admission,
        Phase::Publish,
        Phase::Interest,
        Phase::Census,
        Phase::FanOut,
    ];

    /// The label in metrics.
    pub fn label(self) -> &'static str {
        ["store", "moves", "creatures", "acts", "admission", "publish", "interest", "census", "fan_out"]
            [self as usize]
    }
}

/// What waits for a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Backlog {
    /// Bytes that were handed over and not yet taken by the socket.
    pub bytes: usize,
    /// World milliseconds of the last time the socket took any (or of the first byte that had to wait).
    pub stalled_since_ms: u64,
}

/// How a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Registering with the store; takes no clients.
    Starting,
    /// Serves.
    Serving,
    /// Late or unsure; asks the store before it publishes another word.
    Revalidating,
    /// Superseded: sessions were told to resume, nothing is published any more. The process should end.
    Fenced,
    /// Asked to stop; sessions were told.
    Stopping,
}
