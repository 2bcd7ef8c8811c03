//! Index entries: what ops queries read, written by the commit that changes the data, so that an index can never
//! lag behind it.
//!
//! An index is a name; its entries lie in the shard of the partition whose commit wrote them and are ordered by
//! key within it. Keys are the caller's: those of two partitions must differ, or they overwrite each other. Cores
//! write entries and can't read them: no [`StoreOp`](super::StoreOp) does. The ops store of `chunk-sync-io` reads
//! pages of them, and the in-memory twin does for tests.

use bytes::Bytes;

use super::commit::{at_most, check_index_key, check_name};
use super::key::Shard;
use super::limits::{INDEX_PAGE_ENTRIES_MAX, INDEX_VALUE_MAX_BYTES, SHARD_COUNT};
use super::name::Name;
use super::outcome::StoreError;

/// A change of one index entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IndexStep {
    /// Writes an entry, new or not.
    Put {
        /// Which index.
        index: Name,
        /// The entry's place in it.
        key: Bytes,
        /// What is read with it.
        value: Bytes,
    },
    /// Removes an entry (removing what is absent is no error).
    Remove {
        /// Which index.
        index: Name,
        /// The entry's place in it.
        key: Bytes,
    },
}

impl IndexStep {
    /// The index that it changes.
    pub fn index(&self) -> &Name {
        let (IndexStep::Put { index, .. } | IndexStep::Remove { index, .. }) = self;
        index
    }

    /// The key that it changes.
    pub fn key(&self) -> &Bytes {
        let (IndexStep::Put { key, .. } | IndexStep::Remove { key, .. }) = self;
        key
    }
}

/// One entry as it is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IndexEntry {
    /// The shard that holds it.
    pub shard: Shard,
    /// Its place.
    pub key: Bytes,
    /// What it says.
    pub value: Bytes,
}

impl IndexEntry {
    /// Checks the named limits of entries that are to be written as they were read.
    pub fn check_all(index: &Name, entries: &[IndexEntry]) -> Result<(), StoreError> {
        check_name(index)?;
        at_most("index entries", entries.len(), INDEX_PAGE_ENTRIES_MAX)?;
        for entry in entries {
            at_most("shard", usize::from(entry.shard.0), usize::from(SHARD_COUNT) - 1)?;
            check_index_key(&entry.key)?;
            at_most("index value bytes", entry.value.len(), INDEX_VALUE_MAX_BYTES)?;
        }
        Ok(())
    }
}

/// Where a scan goes on: after this entry.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct IndexCursor {
    /// The shard of the last entry that was read.
    pub shard: Shard,
    /// Its key.
    pub key: Bytes,
}

/// A page of a scan, ordered by shard and key. Entries that are written or removed while a scan runs may be in it
/// or not; each other one is in it once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IndexPage {
    /// The entries.
    pub entries: Vec<IndexEntry>,
    /// Entries that are there and can't be read; for the operator, each by what is left of its place.
    pub damaged: Vec<String>,
    /// Where to go on; `None` when this was the last page.
    pub next: Option<IndexCursor>,
}

impl IndexPage {
    /// A page of up to `entries_max` of `found`; one more than that says that there is another page.
    pub fn cut(mut found: Vec<IndexEntry>, entries_max: usize) -> Self {
        let more = found.len() > entries_max;
        found.truncate(entries_max);
        let last = found.last().filter(|_| more);
        let next = last.map(|entry| IndexCursor { shard: entry.shard, key: entry.key.clone() });
        Self { entries: found, damaged: Vec::new(), next }
    }
}
