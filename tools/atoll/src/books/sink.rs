//! Where drained ledger entries go. Files are the first sink; another one keeps the same promises.

use chunk_sync::store::{DamagedLedgerEntry, LedgerEntry};

/// Why entries could not be kept. Nothing was: they stay in the store and come again.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct SinkError(pub(crate) String);

/// Keeps entries for ever, each once. Calls may wait for a disk: they are made off the runtime's threads.
pub(crate) trait LedgerSink: Send + Sync + 'static {
    /// Keeps those of `entries` that it has not, and answers with them, in order; they are as safe as the sink's
    /// medium when this returns, and may be trimmed from the store then.
    ///
    /// # Errors
    /// When they can't be kept now, or one of them has the number of another that is kept: then none is. What was begun is undone before the next call writes anything.
    fn keep(&mut self, entries: Vec<LedgerEntry>) -> Result<Vec<LedgerEntry>, SinkError>;

    /// Keeps what the store has of entries that it can't read. They may come again, and are kept again then.
    ///
    /// # Errors
    /// As of [`keep`](Self::keep).
    fn keep_damaged(&mut self, entries: &[DamagedLedgerEntry]) -> Result<(), SinkError>;

    /// Writes what the auditor knows beside the entries, as of everything that was kept so far.
    ///
    /// # Errors
    /// When it can't be written; the one before is still there.
    fn keep_snapshot(&mut self, accounts: &[u8]) -> Result<(), SinkError>;
}
