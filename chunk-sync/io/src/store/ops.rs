//! What ops tools read and write beside the hot path: pages of indexes, the ledger, whole partitions.
//!
//! `atoll inspect` reads indexes on a replica where the store has one, so what they say may be a moment old.
//! The drain of the ledger, export, import and the auditor ask masters, for indexes too. At most [`OPS_IN_FLIGHT_MAX`] calls run at once for one
//! handle, so that no tool can crowd the store. No core has an [`OpsStore`], so none can ask.
//!
//! [`OPS_IN_FLIGHT_MAX`]: super::OPS_IN_FLIGHT_MAX

use std::sync::Arc;
use std::time::Duration;

use chunk_sync::store::{
    INDEX_KEY_MAX_BYTES, INDEX_PAGE_ENTRIES_MAX, IndexCursor, IndexEntry, IndexPage, LEDGER_PAGE_ENTRIES_MAX,
    LedgerCursor, LedgerPage, NAME_MAX_BYTES, Name, PARTITIONS_PAGE_MAX, PartitionCursor, PartitionsPage,
    RawPartition, RestoreError, SHARD_COUNT, Shard, StoreError, StoreFault, Token,
};

use super::embedded::Change;
use super::limits::{LISTING_WAIT_MS, OPS_TRIES_MAX, OPS_WAIT_MS, TOPOLOGY_EVERY_MS};
use super::{Backend, Shared};

/// Who is asked for a page of an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum IndexSource {
    /// Replicas where there are any: what they say may be a moment old.
    Replicas,
    /// Masters: what they say is so.
    Masters,
}

/// Reads what ops tools list, and writes what they restore; clones share it.
#[derive(Clone)]
pub struct OpsStore {
    shared: Arc<Shared>,
}

impl OpsStore {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Up to `entries_max` entries (1 to [`INDEX_PAGE_ENTRIES_MAX`]) of an index, from its start or after a cursor,
    /// ordered by shard and key. An index that was never written is empty. Read on replicas where there are any.
    pub async fn index_page(
        &self,
        index: &Name,
        after: Option<&IndexCursor>,
        entries_max: usize,
    ) -> Result<IndexPage, StoreFault> {
        self.index_page_of(index, IndexSource::Replicas, after, entries_max).await
    }

    /// As [`index_page`](Self::index_page), read on masters: for whoever compares it with what is there.
    pub async fn index_page_of_masters(
        &self,
        index: &Name,
        after: Option<&IndexCursor>,
        entries_max: usize,
    ) -> Result<IndexPage, StoreFault> {
        self.index_page_of(index, IndexSource::Masters, after, entries_max).await
    }

    async fn index_page_of(
        &self,
        index: &Name,
        source: IndexSource,
        after: Option<&IndexCursor>,
        entries_max: usize,
    ) -> Result<IndexPage, StoreFault> {
        check("index name bytes", index.as_str().len(), NAME_MAX_BYTES)?;
        check("cursor bytes", after.map_or(0, |cursor| cursor.key.len()), INDEX_KEY_MAX_BYTES)?;
        let entries_max = entries_max.clamp(1, INDEX_PAGE_ENTRIES_MAX);
        self.asked(OPS_WAIT_MS, move || async move {
            match &self.shared.backend {
                Backend::Embedded(store) => {
                    store.index_page(index.clone(), after.cloned(), entries_max).await
                }
                Backend::Redis(store) => store.index_page(index, source, after, entries_max).await,
            }
        })
        .await
    }

    /// How many entries an index has in all shards together.
    pub async fn index_entries(&self, index: &Name) -> Result<u64, StoreFault> {
        check("index name bytes", index.as_str().len(), NAME_MAX_BYTES)?;
        self.asked(OPS_WAIT_MS, move || async move {
            match &self.shared.backend {
                Backend::Embedded(store) => store.index_entries(index.clone()).await,
                Backend::Redis(store) => store.index_entries(index).await,
            }
        })
        .await
    }

    /// The names of all indexes that have entries, in order; more than
    /// [`INDEX_NAMES_MAX`](chunk_sync::store::INDEX_NAMES_MAX) are cut off. On Redis it walks over all keys.
    pub async fn index_names(&self) -> Result<Vec<Name>, StoreFault> {
        self.asked(LISTING_WAIT_MS, move || async move {
            match &self.shared.backend {
                Backend::Embedded(store) => store.index_names().await,
                Backend::Redis(store) => store.index_names().await,
            }
        })
        .await
    }

    /// Up to `entries_max` entries (1 to [`LEDGER_PAGE_ENTRIES_MAX`]) of the ledgers of all shards, from the start or
    /// after a cursor, ordered by shard and sequence. Read from masters; what it shows is as safe as the store keeps
    /// anything: on disk, and on as many replicas as its URL asks for.
    pub async fn ledger_page(
        &self,
        after: Option<LedgerCursor>,
        entries_max: usize,
    ) -> Result<LedgerPage, StoreFault> {
        let entries_max = entries_max.clamp(1, LEDGER_PAGE_ENTRIES_MAX);
        self.asked(OPS_WAIT_MS, move || async move {
            match &self.shared.backend {
                Backend::Embedded(store) => store.ledger_page(after, entries_max).await,
                Backend::Redis(store) => store.ledger_page(after, entries_max).await,
            }
        })
        .await
    }

    /// Removes a shard's ledger entries up to and including `up_to`, whose keeper has them safe. Numbers are never
    /// given again, also not when all were removed. Doing it twice changes nothing; after a crash of the store
    /// entries may be back and are removed again.
    pub async fn ledger_trim(&self, shard: Shard, up_to: u64) -> Result<(), StoreFault> {
        check("shard", usize::from(shard.0), usize::from(SHARD_COUNT) - 1)?;
        let trimmed = self.asked(OPS_WAIT_MS, move || async move {
            match &self.shared.backend {
                Backend::Embedded(store) => store.change(Change::TrimLedger { shard, up_to }).await,
                Backend::Redis(store) => store.ledger_trim(shard, up_to).await.map_err(RestoreError::Store),
            }
        });
        trimmed.await.map_err(|error| match error {
            RestoreError::Store(fault) => fault,
            RestoreError::Present { .. } | RestoreError::Changed { .. } => {
                StoreFault::Broken { text: error.to_string() }
            }
        })
    }

    /// Up to `partitions_max` partitions (1 to [`PARTITIONS_PAGE_MAX`]), each whole, from the start or after a place;
    /// fewer when they are large. Read from masters. Whoever pages through a store gets each partition that is there
    /// all along exactly once; on a Redis cluster as long as no slots are moved meanwhile.
    pub async fn partitions_page(
        &self,
        after: Option<&PartitionCursor>,
        partitions_max: usize,
    ) -> Result<PartitionsPage, StoreFault> {
        let partitions_max = partitions_max.clamp(1, PARTITIONS_PAGE_MAX);
        self.asked(LISTING_WAIT_MS, move || async move {
            match &self.shared.backend {
                Backend::Embedded(store) => store.partitions_page(after.cloned(), partitions_max).await,
                Backend::Redis(store) => store.partitions_page(after, partitions_max).await,
            }
        })
        .await
    }

    /// Writes a partition that is absent, with all that it remembers, as safe as the store keeps anything. Asked
    /// again after [`StoreFault::TimedOut`], it may find the partition that the first try wrote.
    pub async fn restore_partition(&self, raw: &RawPartition) -> Result<(), RestoreError> {
        raw.check()?;
        self.asked(OPS_WAIT_MS, move || async move {
            match &self.shared.backend {
                Backend::Embedded(store) => store.change(Change::Partition(raw.clone())).await,
                Backend::Redis(store) => store.restore_partition(raw).await,
            }
        })
        .await
    }

    /// Writes a whole partition over the one whose newest token is `over` ([`Token::NONE`]: where none is), in one
    /// step, with everything that it remembers; its log of events is empty afterwards. The token of `raw` must be a new
    /// one: asked again, the call knows by it that it is done.
    pub async fn replace_partition(&self, raw: &RawPartition, over: Token) -> Result<(), RestoreError> {
        raw.check()?;
        self.asked(OPS_WAIT_MS, move || async move {
            match &self.shared.backend {
                Backend::Embedded(store) => store.change(Change::Replace(raw.clone(), over)).await,
                Backend::Redis(store) => store.replace_partition(raw, over).await,
            }
        })
        .await
    }

    /// Writes entries of an index, up to [`INDEX_PAGE_ENTRIES_MAX`], into the shards that they came from, new or not.
    pub async fn restore_index(&self, index: &Name, entries: &[IndexEntry]) -> Result<(), RestoreError> {
        IndexEntry::check_all(index, entries)?;
        self.asked(OPS_WAIT_MS, move || async move {
            match &self.shared.backend {
                Backend::Embedded(store) => {
                    store.change(Change::Index { index: index.clone(), entries: entries.to_vec() }).await
                }
                Backend::Redis(store) => store.restore_index(index, entries).await,
            }
        })
        .await
    }

    /// Asks until the store isn't away, a few times, within a time and when there is room.
    async fn asked<T, E: Failed, Asking: Future<Output = Result<T, E>>>(
        &self,
        wait_ms: u64,
        ask: impl Fn() -> Asking,
    ) -> Result<T, E> {
        let asked = async {
            let _room = self.shared.ops_room.acquire().await.map_err(|_| StoreFault::Away)?;
            for _ in 1..OPS_TRIES_MAX {
                match ask().await {
                    Err(error) if error.is_away() => pause().await,
                    answer => return answer,
                }
            }
            ask().await
        };
        let answer = tokio::time::timeout(Duration::from_millis(wait_ms), asked).await;
        answer.unwrap_or_else(|_| Err(StoreFault::TimedOut.into()))
    }
}

/// An error of an ops call.
trait Failed: From<StoreFault> {
    /// Whether nothing was changed, and asking again may help.
    fn is_away(&self) -> bool;
}

impl Failed for StoreFault {
    fn is_away(&self) -> bool {
        *self == StoreFault::Away
    }
}

impl Failed for RestoreError {
    fn is_away(&self) -> bool {
        *self == RestoreError::Store(StoreFault::Away)
    }
}

/// Before a query that met a change of master is asked again: whoever lists things has time.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(TOPOLOGY_EVERY_MS)).await;
}

fn check(what: &'static str, size: usize, max: usize) -> Result<(), StoreFault> {
    if size > max { Err(StoreError::TooLarge { what, size, max }.into()) } else { Ok(()) }
}
