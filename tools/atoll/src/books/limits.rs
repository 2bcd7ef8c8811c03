//! Named limits of the books: ledger files and the task that fills them.

use std::time::Duration;

use chunk_sync::store::{KEY_MAX_BYTES, LEDGER_ENTRY_MAX_BYTES};

/// How often the store's ledger is drained.
pub(crate) const DRAIN_EVERY: Duration = Duration::from_secs(1);
/// A segment file that has reached this many bytes is followed by the next one.
pub(crate) const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// Largest payload of one frame.
pub(crate) const FRAME_MAX_BYTES: usize = 1024 * 1024;
/// Longest segment that is read: a full one and one batch more.
pub(crate) const SEGMENT_READ_MAX_BYTES: u64 = 2 * SEGMENT_BYTES;
/// Segments of one folder.
pub(crate) const SEGMENTS_MAX: usize = 1_000_000;
/// Numbers missing in the files that are remembered: an entry that comes late is still taken.
pub(crate) const MISSING_MAX: usize = 65_536;
/// Entries kept last whose tokens are remembered: one that comes again is known without reading the files.
pub(crate) const RECENT_MAX: usize = 65_536;
/// Bytes of the file of entries that the store could not read; with more of them somebody has to look.
pub(crate) const DAMAGED_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How often the auditor's balances are written beside the ledger.
pub(crate) const SNAPSHOT_EVERY: Duration = Duration::from_secs(60);
/// Largest snapshot of the auditor that is read.
pub(crate) const SNAPSHOT_MAX_BYTES: u64 = 1024 * 1024 * 1024;
/// While the files can't be written, how often the waiting entries are counted.
pub(crate) const COUNT_EVERY: Duration = Duration::from_secs(10);
/// Up to how many waiting entries are counted.
pub(crate) const COUNT_MAX: u64 = 100_000;
/// How long the task may take to end what it is at when the process closes.
pub(crate) const CLOSE_WAIT: Duration = Duration::from_secs(4);

const _: () = assert!(KEY_MAX_BYTES + LEDGER_ENTRY_MAX_BYTES + 64 < FRAME_MAX_BYTES);
const _: () = assert!(SEGMENT_BYTES > 64 * FRAME_MAX_BYTES as u64 - 1);
const _: () = assert!(CLOSE_WAIT.as_millis() < crate::limits::CLOSE_WAIT.as_millis());
