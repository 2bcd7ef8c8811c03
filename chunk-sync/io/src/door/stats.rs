//! What a door counts. Written by its tasks, read for metrics and tests; decides nothing.

use std::sync::atomic::{AtomicU64, AtomicUsize};

/// Counters of one door since it opened; `pending` alone is a gauge.
#[derive(Debug, Default)]
pub struct DoorStats {
    /// Connections let in to say `Hello`.
    pub accepted: AtomicU64,
    /// Connections that said a whole `Hello`.
    pub hellos: AtomicU64,
    /// Connections that said `Hello` and were handed on.
    pub arrived: AtomicU64,
    /// Silent connections closed to make room for newer ones.
    pub displaced: AtomicU64,
    /// Connections closed at once because too many were inside that had said `Hello`.
    pub refused_full: AtomicU64,
    /// Connections whose first bytes were no `Hello` frame.
    pub malformed: AtomicU64,
    /// Connections whose `Hello` didn't come in time.
    pub timed_out: AtomicU64,
    /// Connections that closed or broke before they had said anything whole.
    pub left: AtomicU64,
    /// Connections refused because those before them were not taken in time.
    pub busy: AtomicU64,
    /// Failed calls of `accept`.
    pub accept_errors: AtomicU64,
    /// Connections inside now: those that have yet to say `Hello`, and refused ones that read why.
    pub pending: AtomicUsize,
}
