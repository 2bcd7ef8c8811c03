//! What is in archives, for those who look at a whole world: the auditor and exports.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chunk_sync::records::{DOC_SUSPENDED, SuspendedIsland, SuspendedRecord, decode};
use chunk_sync::store::{Document, Name, PartitionKey, RawPartition, StoreFault};
use chunk_sync_io::store::StoreHandle;

use super::file::{self, Chunks};
use super::{Archives, plan};
use crate::audit::part::{chunk_of, place_of};

/// The mark of a suspended chunk, if it is one.
pub(crate) fn mark_of(docs: &BTreeMap<Name, Document>) -> Option<SuspendedRecord> {
    docs.get(DOC_SUSPENDED).map(|document| {
        // One that can't be read has no archive.
        decode(&document.value).unwrap_or(SuspendedRecord { v: 0, sum: 0, holds: BTreeMap::new() })
    })
}

/// All archives of a store, read whole.
#[derive(Default)]
pub(crate) struct Away {
    islands: BTreeMap<u32, (u64, Result<Chunks, String>)>,
}

impl Away {
    /// Reads the archives of all islands that the plan calls suspended; one that can't be used is remembered with its
    /// reason.
    ///
    /// # Errors
    /// When the store doesn't answer.
    pub(crate) async fn read(store: &StoreHandle, archives: &Archives) -> Result<Self, StoreFault> {
        let suspended = plan::suspended_islands(store).await?;
        let paths: Vec<PathBuf> = suspended.iter().map(|island| archives.path(island)).collect();
        let read = tokio::task::spawn_blocking(move || {
            let one = |(island, path): (SuspendedIsland, PathBuf)| {
                let chunks = file::read(&path, island.island, island.sum);
                let chunks = chunks.map(|(chunks, _)| chunks).map_err(|error| error.to_string());
                (island.island.0, (island.sum, chunks))
            };
            suspended.into_iter().zip(paths).map(one).collect()
        });
        match read.await {
            Ok(islands) => Ok(Self { islands }),
            Err(error) => Err(StoreFault::Broken { text: format!("reading the archives failed: {error}") }),
        }
    }

    /// The islands.
    pub(crate) fn islands(&self) -> impl Iterator<Item = u32> {
        self.islands.keys().copied()
    }

    /// What is wrong with archives, by island.
    pub(crate) fn wrong(&self) -> BTreeMap<u32, String> {
        let wrong = |(island, (_, chunks)): (&u32, &(u64, Result<Chunks, String>))| {
            Some((*island, chunks.as_ref().err()?.clone()))
        };
        self.islands.iter().filter_map(wrong).collect()
    }

    /// What the archive has of a chunk that is marked; or why there is nothing.
    pub(crate) fn chunk(&self, key: &PartitionKey, mark: &SuspendedRecord) -> Result<&RawPartition, String> {
        let island = place_of(key).as_deref().and_then(chunk_of).map_or(0, |(island, _)| island);
        match self.islands.get(&island) {
            None => Err(format!("island {island}: {key} is suspended, but the plan names no archive of it")),
            Some((sum, _)) if *sum != mark.sum => {
                Err(format!("island {island}: {key} is in another archive than the plan says"))
            }
            Some((_, Err(error))) => Err(error.clone()),
            Some((_, Ok(chunks))) => {
                chunks.get(key).ok_or_else(|| format!("island {island}: its archive has no {key}"))
            }
        }
    }
}
