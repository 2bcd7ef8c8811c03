//! Named limits of the node's shell, with the relations between them. Those that clients and other nodes can
//! notice are in `chunk_sync::limits`.

use chunk_sync::limits::{
    CLIENT_BACKLOG_BYTES_MAX, JOIN_BYTES_PER_TICK_MAX, NODE_LEASE_MS, SERVER_FRAME_BYTES_MAX, TICK_MS,
};

/// Client sockets of one node; who comes beyond is refused with `busy`.
pub const CONNECTIONS_MAX: usize = 32 * 1024;
/// Connections taken from the door per tick; the rest wait for the next.
pub const ARRIVALS_PER_TICK_MAX: usize = 1_024;
/// Socket events taken from the system at once.
pub const EVENTS_PER_POLL: usize = 4_096;
/// Parts of one gathered write; a client that gets more in a tick costs a second write.
pub const WRITE_PARTS_MAX: usize = 64;
/// Bytes that the system may hold for a client that doesn't read (`SO_SNDBUF`; the system counts its own
/// overhead on top, and may give less). More would only hide that it is slow.
pub const SOCKET_SEND_BYTES: usize = 256 * 1024;
/// Bytes that wait for one client at most: what the core allows, and one tick's snapshot over it. A core that
/// hands over more breaks its contract; the connection is cut, the memory stays bounded.
pub const OUTBOX_BYTES_MAX: usize = CLIENT_BACKLOG_BYTES_MAX + JOIN_BYTES_PER_TICK_MAX;
/// How long a closed connection may take to read what waits for it, and to close its side.
pub const CLOSE_LINGER_MS: u64 = 2_000;

/// Operations of one node that the store has yet to answer; further ones are answered `Away` at once.
pub const STORE_IN_FLIGHT_MAX: usize = 4_096;

/// How long a node that shows others' entities lets their half of the tick arrive before its clients get theirs.
pub const GHOST_WAIT_MS: u64 = 12;

/// How often a walking player's place is saved, so that it comes back there after the death of its node.
pub const CHECKPOINT_EVERY_MS: u64 = 5_000;
/// Places that are saved per tick.
pub const CHECKPOINTS_PER_TICK_MAX: usize = 256;

/// How often the sweeping node looks for transfers that nobody brings to their ends.
pub const SWEEP_EVERY_MS: u64 = 5_000;
/// How soon a node that is to sweep from now on looks for the first time.
pub const SWEEP_BEGIN_MS: u64 = 500;
/// Transfers that a sweep looks at; what is beyond is seen once these are gone.
pub const SWEEP_LISTED_MAX: usize = 128 * 1_024;
/// Transfers that a sweep hands to its node at once.
pub const SWEEP_FOUND_MAX: usize = 1_024;

/// Acts that a player may ask for at once; one more is earned per tick.
pub const ACTS_SAVED_MAX: u32 = 32;
/// How many rings of chunks around a player's an act may concern; hands reach less far.
pub const ACT_RING: i16 = 2;

/// Ticks over which tick lengths are judged (10 s).
pub const TICK_WINDOW: usize = (10_000 / TICK_MS) as usize;
/// Ticks between two measurements told to the core.
pub const LOAD_EVERY_TICKS: u64 = chunk_sync::limits::CENSUS_EVERY_TICKS;
/// Ticks between two readings of the mesh's counters.
pub const MESH_STATS_EVERY_TICKS: u64 = 10;

/// How long a node that was asked to stop (or was fenced) goes on, to tell its clients and the store.
pub const STOP_MS_MAX: u64 = 3_000;
/// How long the handle waits for the thread beyond that.
pub const STOP_WAIT_MS: u64 = STOP_MS_MAX + 2_000;

const _: () = assert!(OUTBOX_BYTES_MAX >= CLIENT_BACKLOG_BYTES_MAX + 2 * SERVER_FRAME_BYTES_MAX);
const _: () = assert!(SOCKET_SEND_BYTES <= SERVER_FRAME_BYTES_MAX);
const _: () = assert!(CLOSE_LINGER_MS < STOP_MS_MAX, "a stop waits for every client's farewell");
const _: () = assert!(STOP_MS_MAX > 2 * TICK_MS && STOP_WAIT_MS < NODE_LEASE_MS);
const _: () = assert!(WRITE_PARTS_MAX <= 1_024, "the system's own limit of parts (IOV_MAX)");
const _: () = assert!(GHOST_WAIT_MS * 4 < TICK_MS, "waiting is a small part of a tick");
const _: () = assert!(
    SWEEP_EVERY_MS >= 2 * crate::executor::limits::FORGET_AFTER_MS,
    "what a live node has in hand is gone by the second look"
);
const _: () = assert!(TICK_WINDOW >= 20, "a 99th percentile of fewer is the maximum");
