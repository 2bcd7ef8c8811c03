//! The ledger: what commits have to say to support, refunds and the auditor, in the order in which each shard's
//! commits happened.
//!
//! A commit may carry one entry; it is appended to the stream of the partition's shard in the same step, numbered
//! without gaps. The streams are short-lived: a drain reads pages of them, keeps them elsewhere, and trims what it
//! has. Cores write entries and can't read them: no [`StoreOp`](super::StoreOp) does. The ops store of
//! `chunk-sync-io` reads and trims them, and the in-memory twin does for tests.

use bytes::Bytes;

use super::commit::Token;
use super::key::{PartitionKey, Shard};

/// One entry as it is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LedgerEntry {
    /// The shard whose stream it is in.
    pub shard: Shard,
    /// Its number in that stream: 1 for the first, growing by one, never given again, whatever was trimmed.
    pub sequence: u64,
    /// The commit that wrote it.
    pub token: Token,
    /// The partition that this commit changed.
    pub partition: PartitionKey,
    /// The store's clock at that commit, Unix time in ms.
    pub store_ms: u64,
    /// What it says, whose meaning is the caller's.
    pub bytes: Bytes,
}

/// Where reading goes on: after this entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LedgerCursor {
    /// The shard of the last entry that was read.
    pub shard: Shard,
    /// Its number.
    pub sequence: u64,
}

/// An entry that can't be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DamagedLedgerEntry {
    /// Where it is.
    pub at: LedgerCursor,
    /// What is there, as far as it can be had: somebody may read something out of it.
    pub raw: Bytes,
}

/// A page of the ledger, ordered by shard and sequence. Entries that are written or trimmed while it is read may be
/// in it or not; each other one is in it once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LedgerPage {
    /// The entries.
    pub entries: Vec<LedgerEntry>,
    /// Entries that are there and can't be read, in the same order.
    pub damaged: Vec<DamagedLedgerEntry>,
    /// Where to go on; `None` when this was the last page.
    pub next: Option<LedgerCursor>,
}

impl LedgerPage {
    /// A page of up to `entries_max` of `found`; one more than that says that there is another page.
    pub fn cut(mut found: Vec<LedgerEntry>, entries_max: usize) -> Self {
        let more = found.len() > entries_max;
        found.truncate(entries_max);
        let last = found.last().filter(|_| more);
        let next = last.map(|entry| LedgerCursor { shard: entry.shard, sequence: entry.sequence });
        Self { entries: found, damaged: Vec::new(), next }
    }
}
