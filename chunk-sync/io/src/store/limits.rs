//! Named limits of the stores' drivers, with the relations between them.

use bytes::Bytes;
use chunk_sync::limits::{ACT_WAIT_MS, NODE_LEASE_MS, NODE_RENEW_MS, STORE_FAILOVER_MS_MAX};
use chunk_sync::store::{EVENTS_PER_COMMIT_MAX_BYTES, IndexStep, StoreOp, WRITES_PER_COMMIT_MAX_BYTES};

/// How long one call of the store may take before its outcome counts as unknown.
///
/// A server that is slow by two seconds has answered a commit and the wait for its replicas by then: it is slow, not
/// away, and keeps its connections.
pub const CALL_WAIT_MS: u64 = 5_000;
/// How long each step of connecting to Redis and of loading the functions may take.
pub const CONNECT_WAIT_MS: u64 = 4_000;
/// How slow a server may be that is still waited for.
pub const SLOW_MS: u64 = 2_000;
/// First wait before Redis is connected to again; doubles up to [`RECONNECT_MS_MAX`].
pub const RECONNECT_MS_MIN: u64 = 50;
/// Longest wait between two attempts to reach Redis.
pub const RECONNECT_MS_MAX: u64 = 1_000;
/// How long Redis may wait until replicas and disks have a group of commits. More than a second, since that is how
/// often a server with `appendfsync everysec` writes to its disk.
pub const CONFIRM_WAIT_MS: u64 = 1_500;
/// How much later than that the answer may come before the connection counts as dead.
pub const CONFIRM_GRACE_MS: u64 = SLOW_MS + 500;
/// How long before the end of a call its wait for replicas and disks ends: the call is answered in time, and its
/// connection is not blamed.
pub const CONFIRM_MARGIN_MS: u64 = 100;
/// How long a peer may be silent on the level of TCP before the connection counts as dead.
pub const SILENCE_MS_MAX: u64 = 8_000;
/// How often a server is asked whether it is still the master that it was, whatever else is asked of it.
pub const MASTER_CHECKED_EVERY_MS: u64 = 1_000;
/// How often a cluster's slots are read at most.
pub const TOPOLOGY_EVERY_MS: u64 = 200;
/// How long an ops query may take.
pub const OPS_WAIT_MS: u64 = 10_000;
/// How long an ops call may take that may have to walk over all keys of a Redis.
pub const LISTING_WAIT_MS: u64 = 120_000;
/// How long a replica may take to answer an ops query before its master is asked.
pub const REPLICA_WAIT_MS: u64 = 1_000;
/// How long after no replica of a master was any good the next one is tried.
pub const REPLICA_AGAIN_MS: u64 = 5_000;
/// How often the embedded store tries to open its file again, or to write to it, after the disk failed.
pub const REOPEN_EVERY_MS: u64 = 1_000;
/// A try to write that fails costs a repair of the file; this many times as long goes by before the next one.
pub const REOPENING_SHARE: u32 = 10;
/// What must fit on a disk that was full before the embedded store writes to its file again.
pub const ROOM_WANTED_BYTES: usize = 1024 * 1024;
/// After so long it writes to its file even so: room within the file is enough for some commits.
pub const ROOM_WANTED_MS_MAX: u64 = 600_000;

/// Connections of one handle to each master of Redis, whatever its load; ops queries add one to a replica of each.
pub const REDIS_CONNECTIONS_PER_MASTER: usize = 3;
/// Most masters of a Redis cluster.
pub const REDIS_MASTERS_MAX: usize = 64;
/// Most servers that a URL names.
pub const REDIS_HOSTS_MAX: usize = 16;
/// Most replicas that a URL may ask for.
pub const REPLICAS_MAX: u8 = 4;
/// Ops queries of one handle under way at once; the next ones wait.
pub const OPS_IN_FLIGHT_MAX: usize = 2;
/// How often an ops query that finds the store away is asked.
pub const OPS_TRIES_MAX: u32 = 5;
/// Shards that an ops query asks in one round trip.
pub const OPS_SHARDS_TOGETHER: u16 = 256;

/// Keys that a walk over all keys of a Redis looks at in one round trip.
pub const SCAN_KEYS_TOGETHER: u32 = 1_000;
/// Keys of partitions that a listing keeps in memory; a larger store is walked over several times.
pub const LISTED_PARTITIONS_MAX: usize = 262_144;
/// Whole partitions that are asked for in one round trip.
pub const WHOLE_PARTITIONS_TOGETHER: usize = 8;

/// What one operation in flight counts for at least.
pub const IN_FLIGHT_UNIT_BYTES: usize = 8 * 1024;
/// Operations in flight of one handle, counted in units; what is beyond fails with `Away` at once.
pub const IN_FLIGHT_UNITS_MAX: u32 = 8 * 1024;
/// Operations that the embedded store commits to disk together.
pub const BATCH_OPS_MAX: usize = 512;
/// Partitions full of actors of which the embedded store remembers how long none was idle.
pub const FULL_PARTITIONS_KNOWN_MAX: usize = 1_024;
/// Memory that the embedded store keeps of its file.
pub const EMBEDDED_CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;

const _: () =
    assert!(NODE_RENEW_MS + 2 * CALL_WAIT_MS < NODE_LEASE_MS, "a lost renewal can be sent again in time");
const _: () =
    assert!(2 * SLOW_MS + CONFIRM_MARGIN_MS < CALL_WAIT_MS, "a slow server is not one that is away");
const _: () = assert!(2 * CALL_WAIT_MS <= ACT_WAIT_MS, "an act whose answer was lost can be sent again");
const _: () = assert!(SLOW_MS < CONNECT_WAIT_MS && CALL_WAIT_MS < SILENCE_MS_MAX);
const _: () =
    assert!(CALL_WAIT_MS + CONNECT_WAIT_MS < STORE_FAILOVER_MS_MAX, "one that hangs is left in time");
const _: () = assert!(
    CONFIRM_WAIT_MS + CONFIRM_GRACE_MS + CONFIRM_MARGIN_MS < CALL_WAIT_MS,
    "a group that waits in vain is told so"
);
const _: () = assert!(REPLICA_WAIT_MS * 2 < OPS_WAIT_MS && OPS_WAIT_MS < LISTING_WAIT_MS);
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
            let written: usize = written.chain(&commit.events).map(Bytes::len).sum();
            let indexed = commit.index.iter().map(|step| match step {
                IndexStep::Put { key, value, .. } => key.len() + value.len(),
                IndexStep::Remove { key, .. } => key.len(),
            });
            let remembered = commit.act.as_ref().map_or(0, |act| act.result.len());
            let booked = commit.ledger.as_ref().map_or(0, Bytes::len);
            written + indexed.sum::<usize>() + remembered + booked
        }
    };
    u32::try_from(1 + carried / IN_FLIGHT_UNIT_BYTES).unwrap_or(IN_FLIGHT_UNITS_MAX)
}
