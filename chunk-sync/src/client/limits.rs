//! The client core's own limits: what a hostile or broken server can make a client keep, and how long it waits.

use crate::limits::{ACTS_OPEN_MAX, FAR_RING, KEEP_ALIVE_MS, PEERS_MAX, SLOTS_PER_CHUNK_MAX};

/// (Source, chunk) pairs that a client follows at once.
pub const FEEDS_MAX: usize = 4_096;
/// Roster slots, free ones included, that a client keeps over all its feeds.
pub const FEED_SLOTS_MAX: usize = 262_144;
/// Listings of one entity at once: it may stand in two rosters for a moment, never in a crowd of them.
pub const LISTINGS_PER_ENTITY_MAX: usize = 16;

/// Bytes of documents that a client keeps, with [`DOCUMENT_COST_BYTES`] for each of them.
pub const DOCUMENTS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a document costs besides its name and content, so that a flood of empty ones ends too.
pub const DOCUMENT_COST_BYTES: usize = 128;

/// How long a client waits for a connection and the answer to its `Hello` before it tries elsewhere.
pub const ANSWER_WAIT_MS: u64 = 20_000;
/// A node that has sent nothing for this long is given up. Longer than any pause that a node may survive.
pub const SERVER_SILENT_MS_MAX: u64 = 30_000;
/// Wait before the second attempt to get in; it doubles with every further one.
pub const RETRY_FIRST_MS: u64 = 500;
/// Longest wait between two attempts.
pub const RETRY_MS_MAX: u64 = 8_000;
/// Attempts to get in before a client gives up, unless it is told otherwise.
pub const ATTEMPTS_MAX: u32 = 8;
/// Shortest keep-alive period that a server may ask for.
pub const KEEP_ALIVE_MS_MIN: u64 = 100;
/// Longest address that a server may send a client to.
pub const ADDRESS_BYTES_MAX: usize = 256;
/// Longest text of a server that is passed on.
pub const TEXT_CHARS_MAX: usize = 300;
/// Outputs that wait for the driver; more means that it doesn't poll.
pub const OUTPUTS_MAX: usize = 64;

const _: () = {
    let view_edge = FAR_RING as usize * 2 + 1;
    assert!(FEEDS_MAX >= view_edge * view_edge * PEERS_MAX, "a whole view of the busiest island fits");
    assert!(FEEDS_MAX < u16::MAX as usize, "feeds are numbered in 16 bits");
    assert!(FEED_SLOTS_MAX >= 4 * SLOTS_PER_CHUNK_MAX && FEED_SLOTS_MAX < u32::MAX as usize);
    assert!(
        DOCUMENTS_BYTES_MAX >= view_edge * view_edge * 10_000 * (DOCUMENT_COST_BYTES + 128),
        "a built-up view fits"
    );
    // Sent, told that it waits, answered: what each open act may lead to between two polls, beside all else.
    assert!(OUTPUTS_MAX >= 3 * ACTS_OPEN_MAX + 16, "no answer is dropped for want of room");
    assert!(KEEP_ALIVE_MS_MIN < KEEP_ALIVE_MS);
    assert!(RETRY_FIRST_MS < RETRY_MS_MAX);
};
