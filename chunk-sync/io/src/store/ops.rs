//! Ops queries: pages of indexes over all shards, and their counts, for `atoll inspect` and its like.
//!
//! Read on a replica where the store has one, and beside the hot path where it hasn't: what they say may be a moment
//! old. At most [`OPS_IN_FLIGHT_MAX`] run at once for one handle, so that no tool can crowd the store.

use std::sync::Arc;
use std::time::Duration;

use chunk_sync::store::{
    INDEX_KEY_MAX_BYTES, INDEX_PAGE_ENTRIES_MAX, IndexCursor, IndexPage, NAME_MAX_BYTES, Name, StoreError,
    StoreFault,
};

use super::limits::{OPS_TRIES_MAX, OPS_WAIT_MS, TOPOLOGY_EVERY_MS};
use super::{Backend, Shared};

/// Reads what ops tools list; clones share it.
#[derive(Clone)]
pub struct OpsStore {
    shared: Arc<Shared>,
}

impl OpsStore {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Up to `entries_max` entries (1 to [`INDEX_PAGE_ENTRIES_MAX`]) of an index, from its start or after a cursor,
    /// ordered by shard and key. An index that was never written is empty.
    pub async fn index_page(
        &self,
        index: &Name,
        after: Option<&IndexCursor>,
        entries_max: usize,
    ) -> Result<IndexPage, StoreFault> {
        check("index name bytes", index.as_str().len(), NAME_MAX_BYTES)?;
        check("cursor bytes", after.map_or(0, |cursor| cursor.key.len()), INDEX_KEY_MAX_BYTES)?;
        let entries_max = entries_max.clamp(1, INDEX_PAGE_ENTRIES_MAX);
        self.within(async {
            for _ in 1..OPS_TRIES_MAX {
                match self.read_page(index, after, entries_max).await {
                    Err(StoreFault::Away) => pause().await,
                    answer => return answer,
                }
            }
            self.read_page(index, after, entries_max).await
        })
        .await
    }

    /// How many entries an index has in all shards together.
    pub async fn index_entries(&self, index: &Name) -> Result<u64, StoreFault> {
        check("index name bytes", index.as_str().len(), NAME_MAX_BYTES)?;
        self.within(async {
            for _ in 1..OPS_TRIES_MAX {
                match self.count(index).await {
                    Err(StoreFault::Away) => pause().await,
                    answer => return answer,
                }
            }
            self.count(index).await
        })
        .await
    }

    async fn read_page(
        &self,
        index: &Name,
        after: Option<&IndexCursor>,
        entries_max: usize,
    ) -> Result<IndexPage, StoreFault> {
        match &self.shared.backend {
            Backend::Embedded(store) => store.index_page(index.clone(), after.cloned(), entries_max).await,
            Backend::Redis(store) => store.index_page(index, after, entries_max).await,
        }
    }

    async fn count(&self, index: &Name) -> Result<u64, StoreFault> {
        match &self.shared.backend {
            Backend::Embedded(store) => store.index_entries(index.clone()).await,
            Backend::Redis(store) => store.index_entries(index).await,
        }
    }

    async fn within<T>(&self, query: impl Future<Output = Result<T, StoreFault>>) -> Result<T, StoreFault> {
        let asked = async {
            let _room = self.shared.ops_room.acquire().await.map_err(|_| StoreFault::Away)?;
            query.await
        };
        let answer = tokio::time::timeout(Duration::from_millis(OPS_WAIT_MS), asked).await;
        answer.unwrap_or(Err(StoreFault::TimedOut))
    }
}

/// Before a query that met a change of master is asked again: whoever lists things has time.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(TOPOLOGY_EVERY_MS)).await;
}

fn check(what: &'static str, size: usize, max: usize) -> Result<(), StoreFault> {
    if size > max { Err(StoreError::TooLarge { what, size, max }.into()) } else { Ok(()) }
}
