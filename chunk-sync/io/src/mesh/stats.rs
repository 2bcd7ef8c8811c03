//! What the mesh counts: the atomics its tasks write, and the plain values that `Mesh::stats` returns.
//!
//! Written by the door and the links, read by the shell for metrics. Never used to decide anything.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::PeerId;

/// A snapshot of the mesh's counters. Counters only grow; gauges say so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MeshStats {
    /// The publishing side.
    pub out: OutStats,
    /// Every connected peer, by rising source number.
    pub peers: Vec<PeerStats>,
    /// All peers together, disconnected ones included.
    pub total_in: LinkStats,
    /// Calls of `connect` refused because [`LINKS_MAX`](super::limits::LINKS_MAX) peers are connected already.
    pub peers_refused: u64,
}

/// The publishing side of one member.
///
/// There is no row per subscriber: one that reads too slowly loses messages inside ZeroMQ, within
/// [`SUBSCRIBER_BACKLOG_BYTES_MAX`](super::limits::SUBSCRIBER_BACKLOG_BYTES_MAX), and finds the gap by its
/// stream numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutStats {
    /// Messages handed to ZeroMQ, each counted once however many subscribe.
    pub frames: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Messages dropped because the outbox was full, the topic had a wrong length or the body was too long.
    pub dropped: u64,
    /// Gauge: bytes between `publish` and ZeroMQ, costs of [`FRAME_COST_BYTES`](super::limits::FRAME_COST_BYTES)
    /// a message included.
    pub outbox_bytes: u64,
    /// Gauge: subscribers that finished their handshake.
    pub subscribers: u64,
    /// Failed handshakes and connections lost to a broken rule.
    pub errors: u64,
    /// Subscriptions refused: a wrong length from a peer, or one of ours beyond
    /// [`TOPICS_MAX`](super::limits::TOPICS_MAX).
    pub topics_refused: u64,
}

/// One peer's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerStats {
    /// The peer's source number.
    pub peer: PeerId,
    /// Gauge: its handshake is done and its connection stands.
    pub connected: bool,
    /// Gauge: bytes received and not yet drained.
    pub inbox_bytes: u64,
    /// Its counters, over every remake of the link.
    pub link: LinkStats,
}

/// Counters of one link, or of all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Messages put into the inbox.
    pub frames_in: u64,
    /// Bytes of their bodies.
    pub bytes_in: u64,
    /// Good messages dropped because the inbox was full.
    pub dropped_in: u64,
    /// Messages and connections that broke a rule: part count, topic length, size, handshake, address.
    pub errors: u64,
    /// Handshakes after the link's first.
    pub reconnects: u64,
}

impl AddAssign for LinkStats {
    fn add_assign(&mut self, other: Self) {
        self.frames_in += other.frames_in;
        self.bytes_in += other.bytes_in;
        self.dropped_in += other.dropped_in;
        self.errors += other.errors;
        self.reconnects += other.reconnects;
    }
}

/// Counters of the publishing side that its tasks write.
#[derive(Debug, Default)]
pub(super) struct DoorCounters {
    pub(super) frames: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) outbox_bytes: AtomicUsize,
    pub(super) subscribers: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) topics_refused: AtomicU64,
}

/// Counters of one peer; they outlive a remake of its link.
#[derive(Debug, Default)]
pub(super) struct LinkCounters {
    pub(super) frames_in: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    pub(super) dropped_in: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) handshakes: AtomicU64,
    pub(super) connected: AtomicBool,
}

impl LinkCounters {
    /// The counters as they are now.
    pub(super) fn read(&self) -> LinkStats {
        LinkStats {
            frames_in: self.frames_in.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            dropped_in: self.dropped_in.load(Relaxed),
            errors: self.errors.load(Relaxed),
            reconnects: self.handshakes.load(Relaxed).saturating_sub(1),
        }
    }
}
