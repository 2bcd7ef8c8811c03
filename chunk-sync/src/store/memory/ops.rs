//! What the ops store does, on the twin: pages of indexes, the ledger and whole partitions, and restoring. For tests;
//! no core can call it, and faults don't touch it.

use super::{Image, MemoryStore, Partition};
use crate::store::commit::Token;
use crate::store::index::{IndexCursor, IndexEntry, IndexPage};
use crate::store::key::Shard;
use crate::store::ledger::{LedgerCursor, LedgerPage};
use crate::store::limits::{
    INDEX_PAGE_ENTRIES_MAX, LEDGER_PAGE_ENTRIES_MAX, PARTITIONS_PAGE_BYTES, PARTITIONS_PAGE_MAX,
};
use crate::store::name::Name;
use crate::store::outcome::StoreError;
use crate::store::raw::{PartitionCursor, PartitionsPage, RawPartition, RestoreError};

impl MemoryStore {
    /// A page of the ledger of all shards, from its start or after a cursor: up to `entries_max` entries (1 to
    /// [`LEDGER_PAGE_ENTRIES_MAX`]). What a stale replica has not heard of is not safe yet, and not shown.
    pub fn ledger_page(&self, after: Option<LedgerCursor>, entries_max: usize) -> LedgerPage {
        let entries_max = entries_max.clamp(1, LEDGER_PAGE_ENTRIES_MAX);
        let first = after.map_or(Shard(0), |cursor| cursor.shard);
        let found = self.master.ledgers.range(first..).flat_map(|(_, ledger)| &ledger.entries);
        let found = found.filter(|entry| {
            after.is_none_or(|after| after < LedgerCursor { shard: entry.shard, sequence: entry.sequence })
        });
        let found = found.filter(|entry| {
            let safe = |replica: &Image| {
                replica.ledgers.get(&entry.shard).is_some_and(|known| entry.sequence <= known.last)
            };
            self.replica.as_ref().is_none_or(safe)
        });
        LedgerPage::cut(found.take(entries_max + 1).cloned().collect(), entries_max)
    }

    /// Removes the entries of a shard's ledger up to and including this one; their numbers are not given again.
    pub fn ledger_trim(&mut self, shard: Shard, up_to: u64) {
        if let Some(ledger) = self.master.ledgers.get_mut(&shard) {
            ledger.entries.retain(|entry| entry.sequence > up_to);
        }
    }

    /// A page of all partitions, whole, from the start or after a cursor: up to `partitions_max` of them (1 to
    /// [`PARTITIONS_PAGE_MAX`]), fewer when they are large.
    pub fn partitions_page(&self, after: Option<&PartitionCursor>, partitions_max: usize) -> PartitionsPage {
        let partitions_max = partitions_max.clamp(1, PARTITIONS_PAGE_MAX);
        let mut places: Vec<PartitionCursor> =
            self.master.partitions.keys().cloned().map(PartitionCursor::of).collect();
        places.sort_unstable();
        let from = after.map_or(0, |after| places.partition_point(|place| place <= after));
        let mut page = PartitionsPage::default();
        let mut carried_bytes = 0;
        for (at, place) in places.iter().enumerate().skip(from) {
            let raw = self.master.partitions[&place.key].raw(place.key.clone());
            carried_bytes += raw.carried_bytes();
            page.partitions.push(raw);
            if page.partitions.len() == partitions_max || carried_bytes >= PARTITIONS_PAGE_BYTES {
                page.next = Some(place.clone()).filter(|_| at + 1 < places.len());
                break;
            }
        }
        page
    }

    /// Writes a partition that is absent.
    pub fn restore_partition(&mut self, raw: &RawPartition) -> Result<(), RestoreError> {
        raw.check()?;
        if self.master.partitions.contains_key(&raw.key) {
            return Err(RestoreError::Present { key: raw.key.clone() });
        }
        self.master.partitions.insert(raw.key.clone(), Partition::of(raw));
        Ok(())
    }

    /// Writes a partition over the one whose newest token is `over`; done before, it is left as it is.
    pub fn replace_partition(&mut self, raw: &RawPartition, over: Token) -> Result<(), RestoreError> {
        raw.check()?;
        let newest =
            self.master.partitions.get(&raw.key).map_or(Token::NONE, |partition| partition.recent.newest());
        if newest == raw.token() {
            return Ok(());
        }
        if newest != over {
            return Err(RestoreError::Changed { key: raw.key.clone(), newest });
        }
        self.master.partitions.insert(raw.key.clone(), Partition::of(raw));
        Ok(())
    }

    /// Writes entries of an index into their shards, new or not.
    pub fn restore_index(&mut self, index: &Name, entries: &[IndexEntry]) -> Result<(), StoreError> {
        IndexEntry::check_all(index, entries)?;
        for IndexEntry { shard, key, value } in entries {
            let place = self.master.indexes.entry((index.clone(), *shard)).or_default();
            place.insert(key.clone(), value.clone());
        }
        Ok(())
    }

    /// The names of all indexes that have entries.
    pub fn index_names(&self) -> Vec<Name> {
        let mut names: Vec<Name> = self.master.indexes.keys().map(|(name, _)| name.clone()).collect();
        names.dedup();
        names
    }

    /// A page of an index, as the ops store reads it: on the replica when there is a stale one.
    pub fn index_page(&self, index: &Name, after: Option<&IndexCursor>, entries_max: usize) -> IndexPage {
        let indexes = &self.replica.as_ref().unwrap_or(&self.master).indexes;
        let entries_max = entries_max.clamp(1, INDEX_PAGE_ENTRIES_MAX);
        let first = (index.clone(), after.map_or(Shard(0), |cursor| cursor.shard));
        let found = indexes
            .range(first..)
            .take_while(|((name, _), _)| name == index)
            .flat_map(|((_, shard), entries)| entries.iter().map(|(key, value)| (*shard, key, value)))
            .filter(|(shard, key, _)| after.is_none_or(|after| (*shard, *key) > (after.shard, &after.key)))
            .take(entries_max + 1)
            .map(|(shard, key, value)| IndexEntry { shard, key: key.clone(), value: value.clone() })
            .collect();
        IndexPage::cut(found, entries_max)
    }

    /// How many entries an index has, as the ops store counts them.
    pub fn index_entries(&self, index: &Name) -> u64 {
        let indexes = &self.replica.as_ref().unwrap_or(&self.master).indexes;
        let first = (index.clone(), Shard(0));
        let shards = indexes.range(first..).take_while(|((name, _), _)| name == index);
        shards.map(|(_, entries)| entries.len() as u64).sum()
    }
}
