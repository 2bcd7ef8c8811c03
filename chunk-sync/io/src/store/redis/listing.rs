//! Whole partitions of a Redis, one page after the other, and restoring them.
//!
//! Redis has no ordered list of its keys, and one that commits kept up to date would cost each of them. So a walk
//! over all keys of all masters (`SCAN`) collects the names of the partitions of as many shards as fit into a bounded
//! memory, and pages are read from there; a larger store is walked over again for the shards that follow. `SCAN`
//! returns everything that is there all along, and partitions never go away.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use chunk_sync::store::{
    DamagedPartition, INDEX_NAMES_MAX, IndexEntry, Name, PARTITIONS_PAGE_BYTES, PartitionCursor,
    PartitionsPage, RawPartition, RestoreError, SHARD_COUNT, Shard, StoreFault, Token,
};
use redis::aio::MultiplexedConnection;
use tokio::sync::{Mutex, MutexGuard};

use super::ops::unreadable;
use super::{RedisStore, carry};
use crate::store::limits::{LISTED_PARTITIONS_MAX, SCAN_KEYS_TOGETHER, WHOLE_PARTITIONS_TOGETHER};

/// The names that the last walk found. Held while walking: no walk ends after one that began later.
#[derive(Default)]
pub(super) struct Listing {
    known: Mutex<Arc<Listed>>,
}

/// The partitions of a range of shards, as they were listed.
#[derive(Default)]
struct Listed {
    first: u16,
    end: u16,
    places: BTreeSet<PartitionCursor>,
}

impl Listed {
    fn new(first: Shard) -> Self {
        Self { first: first.0, end: SHARD_COUNT, places: BTreeSet::new() }
    }

    fn add(&mut self, place: PartitionCursor, most: usize) {
        if !(self.first..self.end).contains(&place.shard.0) {
            return;
        }
        self.places.insert(place);
        // What is too much is left for another walk, whole shards of it.
        while self.places.len() > most
            && let Some(last) = self.places.last()
            && last.shard.0 > self.first
        {
            self.end = last.shard.0;
            while self.places.last().is_some_and(|last| last.shard.0 >= self.end) {
                self.places.pop_last();
            }
        }
    }

    /// Up to `most` places after one.
    fn after(&self, after: Option<&PartitionCursor>, most: usize) -> Vec<PartitionCursor> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.places.range((after, Bound::Unbounded)).take(most).cloned().collect()
    }
}

impl RedisStore {
    /// Reads up to `partitions_max` whole partitions after a place, fewer when they are large.
    pub(in crate::store) async fn partitions_page(
        &self,
        after: Option<&PartitionCursor>,
        partitions_max: usize,
    ) -> Result<PartitionsPage, StoreFault> {
        let mut page = PartitionsPage::default();
        let mut carried_bytes = 0;
        let (mut cursor, mut last) = (after.cloned(), None);
        let mut listed = match after {
            // A new listing asks anew what there is.
            None => self.list(self.listing.known.lock().await, Shard(0)).await?,
            Some(after) => self.listed_at(after.shard).await?,
        };
        loop {
            // One more than the page says whether there is another.
            let listed_already = page.partitions.len() + page.damaged.len();
            let wanted = (partitions_max + 1 - listed_already).min(WHOLE_PARTITIONS_TOGETHER);
            let places = listed.after(cursor.as_ref(), wanted);
            if places.is_empty() {
                if listed.end >= SHARD_COUNT {
                    // Nobody goes on from here, and the next listing asks anew.
                    *self.listing.known.lock().await = Arc::default();
                    return Ok(page);
                }
                listed = self.listed_at(Shard(listed.end)).await?;
                continue;
            }
            for (place, read) in self.read_whole(&places).await? {
                let listed = page.partitions.len() + page.damaged.len();
                if listed >= partitions_max || carried_bytes >= PARTITIONS_PAGE_BYTES {
                    page.next = last;
                    return Ok(page);
                }
                match read {
                    Some(raw) => {
                        carried_bytes += raw.carried_bytes();
                        page.partitions.push(raw);
                    }
                    None => page.damaged.push(DamagedPartition {
                        key: Some(place.key.clone()),
                        why: "what is under its keys is not what was written".to_owned(),
                    }),
                }
                last = Some(place);
            }
            cursor = places.into_iter().next_back();
        }
    }

    /// Lists the indexes that have entries.
    pub(in crate::store) async fn index_names(&self) -> Result<Vec<Name>, StoreFault> {
        let mut names = BTreeSet::new();
        self.each_key(carry::INDEXES_PATTERN, |key| {
            if names.len() < INDEX_NAMES_MAX {
                names.extend(carry::read_index_key(&key));
            }
        })
        .await?;
        Ok(names.into_iter().collect())
    }

    /// Writes a partition where none is, and waits until it is safe.
    pub(in crate::store) async fn restore_partition(&self, raw: &RawPartition) -> Result<(), RestoreError> {
        let shard = raw.key.shard();
        let mut link = self.link(shard)?;
        let said = carry::restore_command(raw).query_async::<String>(&mut link.reads).await;
        match said.map_err(|error| self.ops_error(&link, shard, &error, true))?.as_str() {
            // It is there, whatever comes of the wait.
            "done" => self.settle(&link, shard).await.map_err(|_| StoreFault::TimedOut.into()),
            // Perhaps by an earlier try, of which nobody knows whether it is safe.
            "present" => {
                self.settle(&link, shard).await.map_err(|_| StoreFault::TimedOut)?;
                Err(RestoreError::Present { key: raw.key.clone() })
            }
            _ => Err(unreadable().into()),
        }
    }

    /// Writes a partition over the one whose newest token is `over`, and waits until it is safe.
    pub(in crate::store) async fn replace_partition(
        &self,
        raw: &RawPartition,
        over: Token,
    ) -> Result<(), RestoreError> {
        let shard = raw.key.shard();
        let mut link = self.link(shard)?;
        let said = carry::replace_command(raw, over).query_async::<String>(&mut link.reads).await;
        match said.map_err(|error| self.ops_error(&link, shard, &error, true))?.as_str() {
            "done" => self.settle(&link, shard).await.map_err(|_| StoreFault::TimedOut.into()),
            other => match carry::read_newest(other) {
                Some(newest) => Err(RestoreError::Changed { key: raw.key.clone(), newest }),
                None => Err(unreadable().into()),
            },
        }
    }

    /// Writes entries of an index into their shards, and waits until they are safe.
    pub(in crate::store) async fn restore_index(
        &self,
        index: &Name,
        entries: &[IndexEntry],
    ) -> Result<(), RestoreError> {
        let mut by_shard: BTreeMap<Shard, Vec<IndexEntry>> = BTreeMap::new();
        for entry in entries {
            by_shard.entry(entry.shard).or_default().push(entry.clone());
        }
        let shards: Vec<Shard> = by_shard.keys().copied().collect();
        for (mut link, shards) in self.by_master(&shards)?.into_values() {
            let mut pipeline = redis::pipe();
            for shard in &shards {
                for command in carry::restore_index_commands(index, *shard, &by_shard[shard]) {
                    pipeline.add_command(command);
                }
            }
            let said = pipeline.query_async::<()>(&mut link.reads).await;
            said.map_err(|error| self.ops_fault(&link, shards[0], &error))?;
            self.settle(&link, shards[0]).await?;
        }
        Ok(())
    }

    /// What is known of the partitions of a shard and those after it.
    async fn listed_at(&self, shard: Shard) -> Result<Arc<Listed>, StoreFault> {
        let known = self.listing.known.lock().await;
        if (known.first..known.end).contains(&shard.0) {
            return Ok(Arc::clone(&known));
        }
        self.list(known, shard).await
    }

    /// Lists the partitions of a shard and those after it, as many as fit.
    async fn list(
        &self,
        mut known: MutexGuard<'_, Arc<Listed>>,
        first: Shard,
    ) -> Result<Arc<Listed>, StoreFault> {
        let mut listed = Listed::new(first);
        self.each_key(carry::PARTITIONS_PATTERN, |key| {
            if let Some(place) = carry::read_partition_key(&key) {
                listed.add(place, LISTED_PARTITIONS_MAX);
            }
        })
        .await?;
        *known = Arc::new(listed);
        Ok(Arc::clone(&known))
    }

    /// Reads whole partitions, in the order of their places; one that is gone is left out, of one that can't be read
    /// there is nothing.
    async fn read_whole(
        &self,
        places: &[PartitionCursor],
    ) -> Result<Vec<(PartitionCursor, Option<RawPartition>)>, StoreFault> {
        let mut shards: Vec<Shard> = places.iter().map(|place| place.shard).collect();
        shards.dedup();
        let mut found = BTreeMap::new();
        for (mut link, shards) in self.by_master(&shards)?.into_values() {
            let its: Vec<_> = places.iter().filter(|place| shards.contains(&place.shard)).collect();
            let commands: Vec<_> = its.iter().map(|place| carry::whole_command(&place.key)).collect();
            let said = link.ask_master(&commands).await;
            let said = said.map_err(|error| self.ops_fault(&link, shards[0], &error))?;
            for (place, reply) in its.iter().zip(said.ok_or_else(|| self.demoted(&link, shards[0]))?) {
                let read = match carry::read_whole(&place.key, reply) {
                    Some(None) => continue,
                    Some(Some(raw)) => Some(raw),
                    None => None,
                };
                found.insert((*place).clone(), read);
            }
        }
        Ok(found.into_iter().collect())
    }

    /// Walks over the keys of all masters that look like `pattern`; some come more than once.
    async fn each_key(&self, pattern: &str, mut take: impl FnMut(Vec<u8>)) -> Result<(), StoreFault> {
        let shards: Vec<Shard> = (0..SHARD_COUNT).map(Shard).collect();
        let before: Vec<u64> = self.by_master(&shards)?.into_keys().collect();
        for (mut link, shards) in self.by_master(&shards)?.into_values() {
            let walked = scan(&mut link.reads, pattern, &mut take).await;
            walked.map_err(|error| self.ops_fault(&link, shards[0], &error))?;
        }
        // What a new master has was perhaps not looked at.
        let after: Vec<u64> = self.by_master(&shards)?.into_keys().collect();
        if after == before { Ok(()) } else { Err(StoreFault::Away) }
    }
}

async fn scan(
    connection: &mut MultiplexedConnection,
    pattern: &str,
    take: &mut impl FnMut(Vec<u8>),
) -> Result<(), redis::RedisError> {
    let mut cursor = 0u64;
    loop {
        let mut command = redis::cmd("SCAN");
        command.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_KEYS_TOGETHER);
        let (next, keys): (u64, Vec<Vec<u8>>) = command.query_async(connection).await?;
        keys.into_iter().for_each(&mut *take);
        if next == 0 {
            return Ok(());
        }
        cursor = next;
    }
}

#[cfg(test)]
mod tests {
    use chunk_sync::ids::PlayerId;
    use chunk_sync::store::PartitionKey;

    use super::*;

    #[test]
    fn what_does_not_fit_is_left_for_the_next_walk_in_whole_shards() {
        let places: BTreeSet<PartitionCursor> =
            (0..20_000).map(|player| PartitionCursor::of(PartitionKey::player(PlayerId(player)))).collect();
        let (mut found, mut walks, mut first) = (Vec::new(), 0, Shard(0));
        while first.0 < SHARD_COUNT {
            let mut listed = Listed::new(first);
            // In no order, and some twice, as a walk finds them.
            let scattered = places.iter().skip(7_000).chain(&places);
            scattered.for_each(|place| listed.add(place.clone(), 3_000));
            assert!(listed.places.len() <= 3_000 && listed.end > first.0);
            found.extend(listed.after(None, usize::MAX));
            first = Shard(listed.end);
            walks += 1;
        }
        assert_eq!(found, places.into_iter().collect::<Vec<_>>());
        assert!((7..=8).contains(&walks), "{walks} walks for seven times as much as fits");
    }

    #[test]
    fn a_shard_that_is_too_large_alone_is_listed_nevertheless() {
        let key = |at: u64| PartitionCursor { shard: Shard(5), key: PartitionKey::player(PlayerId(at)) };
        let mut listed = Listed::new(Shard(5));
        (0..10).for_each(|at| listed.add(key(at), 3));
        listed.add(PartitionCursor { shard: Shard(6), ..key(1) }, 3);
        assert_eq!((listed.places.len(), listed.end), (10, 6));
    }
}
