//! Named limits of the stores' drivers, with the relations between them.

use bytes::Bytes;
use chunk_sync::limits::{NODE_RENEW_MS, STORE_FAILOVER_MS_MAX};
use chunk_sync::store::{EVENTS_PER_COMMIT_MAX_BYTES, StoreOp, WRITES_PER_COMMIT_MAX_BYTES};

/// How long one call of the store may take before its outcome counts as unknown.
pub const CALL_WAIT_MS: u64 = 2_000;
/// How long it may take to connect to Redis and load the functions, each time.
pub const CONNECT_WAIT_MS: u64 = 2_000;
/// First wait before Redis is connected to again; doubles up to [`RECONNECT_MS_MAX`].
pub const RECONNECT_MS_MIN: u64 = 50;
/// Longest wait between two attempts to reach Redis.
pub const RECONNECT_MS_MAX: u64 = 1_000;
/// How often the embedded store tries to open its file again after the disk failed.
pub const REOPEN_EVERY_MS: u64 = 1_000;

/// What one operation in flight counts for at least.
pub const IN_FLIGHT_UNIT_BYTES: usize = 8 * 1024;
/// Operations in flight of one handle, counted in units; what is beyond fails with `Away` at once.
pub const IN_FLIGHT_UNITS_MAX: u32 = 8 * 1024;
/// Operations that the embedded store commits to disk together.
pub const BATCH_OPS_MAX: usize = 512;
/// Memory that the embedded store keeps of its file.
pub const EMBEDDED_CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;

const _: () = assert!(CALL_WAIT_MS * 2 <= NODE_RENEW_MS, "a lost renewal can be sent again in time");
const _: () = assert!(RECONNECT_MS_MIN < RECONNECT_MS_MAX && RECONNECT_MS_MAX < STORE_FAILOVER_MS_MAX);
const _: () = assert!(
    (WRITES_PER_COMMIT_MAX_BYTES + EVENTS_PER_COMMIT_MAX_BYTES) / IN_FLIGHT_UNIT_BYTES
        < IN_FLIGHT_UNITS_MAX as usize / 8,
    "a few of the largest commits leave room for others"
);

/// How many units `op` counts for while it is in flight, from the bytes that it carries.
pub(super) fn in_flight_units(op: &StoreOp) -> u32 {
    let carried = match op {
        StoreOp::Load { .. } | StoreOp::Tail { .. } => 0,
        StoreOp::Commit(commit) => {
            let written = commit.writes.iter().filter_map(|write| write.value.as_ref());
            written.chain(&commit.events).map(Bytes::len).sum()
        }
    };
    u32::try_from(1 + carried / IN_FLIGHT_UNIT_BYTES).unwrap_or(IN_FLIGHT_UNITS_MAX)
}
