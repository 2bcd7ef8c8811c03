//! Named limits of the binary, with the relations between them.

use std::time::Duration;

/// Nodes of one `atoll up`: threads of one process, and peers of one island.
pub(crate) const NODES_MAX: u16 = 64;
/// How long a start may take until it serves. A successor waits out leases and first reports of the one before it.
pub(crate) const START_WAIT: Duration = Duration::from_secs(60);
/// How often a starting process looks whether it serves.
pub(crate) const START_LOOK: Duration = Duration::from_millis(20);
/// How long a start may take before it is said what it waits for.
pub(crate) const START_SAY: Duration = Duration::from_secs(3);
/// How long closing may take, everything together; then the process ends all the same.
pub(crate) const CLOSE_WAIT: Duration = Duration::from_secs(8);
/// How long the runtime may take to drop its last tasks.
pub(crate) const RUNTIME_WAIT: Duration = Duration::from_millis(500);
/// Signals that follow one another faster than this are one.
pub(crate) const SIGNAL_REPEAT: Duration = Duration::from_millis(250);
/// Pause before a node that failed is started again.
pub(crate) const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// How often one node is started again before it stays down.
pub(crate) const RESTARTS_MAX: u32 = 5;
/// How often the metrics' histograms are tidied.
pub(crate) const UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// Bytes that the embedded store's file system must have free at the start: it grows by whole megabytes.
pub(crate) const FREE_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// How long a running process may take to answer a tool.
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(300);
/// Bytes of such an answer.
pub(crate) const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of a configuration file.
pub(crate) const CONFIG_FILE_BYTES_MAX: u64 = 64 * 1024;

const _: () = {
    assert!(NODES_MAX as usize <= chunk_sync::limits::PEERS_MAX);
    assert!(START_LOOK.as_millis() * 10 < START_SAY.as_millis());
    assert!(START_WAIT.as_millis() as u64 > 2 * chunk_sync::limits::NODE_LEASE_MS);
    assert!(CLOSE_WAIT.as_millis() as u64 > world_node::limits::STOP_WAIT_MS);
};
