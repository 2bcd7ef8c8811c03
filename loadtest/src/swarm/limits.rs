//! The swarm's named limits, units in their names.

use chunk_sync::limits::{
    CLIENT_FRAMES_PER_TICK_MAX, ISLAND_EDGE_CHUNKS, TICK_MS, TILES_PER_CHUNK_EDGE, WALK_SAVED_MS_MAX,
};

use crate::limits::{CLIENT_SLOT_US, MOVE_PERIOD_MS};

/// Most bots of one swarm: each takes one ephemeral port of its address, and the kernel's default range has 28,232.
pub const SWARM_BOTS_MAX: u32 = 25_000;
/// Most bots that may be started a second.
pub const JOIN_RATE_MAX: u32 = 20_000;
/// Bots started a second, unless told otherwise: a little under what one node admits.
pub const JOIN_RATE: u32 = 400;
/// Bots that decode everything, unless told otherwise.
pub const OBSERVERS: u32 = 32;
/// How long the last bots may take to get in after all were started.
pub const JOIN_MS_MAX: u64 = 60_000;
/// Seconds of the same load between the last entry and the measured window, unless told otherwise.
pub const WARM_UP_S: u32 = 2;
/// A swarm of which nobody got in gives up once the same protocol error ended this many attempts per bot.
pub const SAME_ERRORS_PER_BOT_MAX: u64 = 3;
/// A swarm of which nobody got in gives up when it has met nothing but protocol errors for this long.
pub const ONLY_ERRORS_MS_MAX: u64 = 5_000;
/// How long the first look at the target may take.
pub const TARGET_CONNECT_MS_MAX: u64 = 3_000;
/// How long bots that said goodbye wait for the server to close.
pub const LEAVE_MS_MAX: u64 = 1_000;
/// Different server addresses that a swarm resolves.
pub const ADDRESSES_MAX: usize = 1_024;

/// Steps that a bot remembers, to know when it meant to take the one that an observer sees.
pub const TRAIL_STEPS: usize = 64;
/// A bot whose turn comes later than this leaves the step out: it would only be put back for haste.
pub const STEP_LATE_MS_MAX: u64 = 900;
/// Bytes of one bot that wait for its socket; what is beyond is left out.
pub const SEND_BACKLOG_BYTES_MAX: usize = 4 * 1024;
/// A slot that ends this late means that the swarm itself stood still, not the servers.
pub const STALL_MS: u64 = 1_000;
/// Receive buffer of a socket that is never read, so that the server feels it soon.
pub const UNREAD_BYTES: usize = 16 * 1024;
/// Longest latency that is told apart.
pub const LATENCY_US_MAX: u64 = 60_000_000;

/// A swarm whose 99th percentile of lateness passes this was too slow itself: its run is invalid.
pub const LATE_P99_MS_MAX: f64 = 20.0;
/// Texts of protocol errors that are kept.
pub const ERROR_TEXTS_MAX: usize = 5;
/// Different reasons of refusals that are told apart.
pub const REASONS_MAX: usize = 64;
/// Lines of progress that wait for a slow terminal; more are left out.
pub const PROGRESS_LINES_MAX: usize = 8;

/// How long the servers' page may take to answer.
pub const STATE_MS_MAX: u64 = 5_000;
/// Longest answer of the servers' page.
pub const STATE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Terrain tiles along the edge of an island.
pub const ISLAND_EDGE_TILES: usize = ISLAND_EDGE_CHUNKS as usize * TILES_PER_CHUNK_EDGE;

const _: () = {
    assert!(MOVE_PERIOD_MS == TICK_MS, "a bot steps once a tick");
    assert!(STEP_LATE_MS_MAX < WALK_SAVED_MS_MAX, "late steps are no offence yet");
    assert!(
        STEP_LATE_MS_MAX / MOVE_PERIOD_MS < CLIENT_FRAMES_PER_TICK_MAX as u64 / 2,
        "late steps are no flood"
    );
    assert!(TRAIL_STEPS as u64 * MOVE_PERIOD_MS > 2 * STEP_LATE_MS_MAX);
    assert!(CLIENT_SLOT_US < 2_000, "a latency is at most a slot too long");
};
