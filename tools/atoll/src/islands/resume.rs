//! Resumes a suspended island: the whole archive is read and checked, then each mark is replaced by what it stands for,
//! then the plan says that the island is open. Doing it again after a crash finishes it.

use std::path::{Path, PathBuf};

use chunk_sync::ids::IslandId;
use chunk_sync::limits::ISLAND_CHUNKS;
use chunk_sync::place::ChunkPos;
use chunk_sync::records::WORLD;
use chunk_sync::store::{PartitionKey, PartitionView, RawPartition, StoreAnswer, StoreFault, StoreOp, Token};
use chunk_sync_io::store::StoreHandle;
use population_allocator::limits::ISLANDS_MAX;

use super::file::{self, Chunks};
use super::suspend::{refuse_live, replace};
use super::{Archives, IslandError, mark_of, plan};
use crate::books::token;

/// What resuming an island came to.
#[derive(Debug)]
pub(super) struct Resumed {
    /// Where the file is now.
    pub(super) path: PathBuf,
    /// Chunks that were written.
    pub(super) written: u64,
    /// Chunks that were there.
    pub(super) kept: u64,
}

/// Resumes an island.
pub(super) async fn resume(
    store: &StoreHandle,
    island: IslandId,
    archives: &Archives,
) -> Result<Resumed, IslandError> {
    let known = plan::known(store).await?;
    let Some(away) = known.plan.suspended.iter().find(|away| away.island == island) else {
        return Err(IslandError::Refused(format!("island {} is not suspended", island.0)));
    };
    if known.plan.islands.len() >= ISLANDS_MAX as usize {
        return Err(IslandError::Refused(format!("{ISLANDS_MAX} islands are open, and no more may be")));
    }
    refuse_live(store).await?;
    let path = archives.path(away);
    let (chunks, _) = file::read(&path, island, away.sum)?;
    let missing = missing(store, island, &chunks, away.sum).await?;
    for (raw, over) in &missing {
        replace(store, raw, *over).await?;
    }
    plan::write(store, &known, &plan::resumed(&known.plan, island)).await?;
    let (written, all) = (missing.len() as u64, chunks.len() as u64);
    Ok(Resumed { path: put_away(&path), written, kept: all - written })
}

/// The chunks that have a mark in the store, as they are to be, each with the mark's token. One without a mark was never
/// replaced, or is back already, and is as old as what is archived or newer.
pub(super) async fn missing(
    store: &StoreHandle,
    island: IslandId,
    chunks: &Chunks,
    sum: u64,
) -> Result<Vec<(RawPartition, Token)>, IslandError> {
    let mut missing = Vec::new();
    for index in 0..ISLAND_CHUNKS {
        let key = PartitionKey::chunk(WORLD, island, ChunkPos::from_index(index));
        let view = load(store, &key).await?;
        let archived = chunks.get(&key);
        match (mark_of(&view.docs), archived) {
            (None, Some(_)) if view.token == Token::NONE => {
                return Err(IslandError::Refused(format!("{key} is not in the store, not even its mark")));
            }
            (None, _) => {}
            (Some(mark), Some(archived)) if mark.sum == sum => {
                missing.push((awake(archived), view.token));
            }
            (Some(_), _) => {
                return Err(IslandError::Refused(format!("{key} is suspended, but not in this archive")));
            }
        }
    }
    Ok(missing)
}

/// A partition as it comes back: all as it was, under a new token, so that whoever knew it or its mark reads it anew.
fn awake(archived: &RawPartition) -> RawPartition {
    let mut raw = archived.clone();
    raw.recent.push(Token(token()));
    raw
}

async fn load(store: &StoreHandle, key: &PartitionKey) -> Result<PartitionView, StoreFault> {
    match store.call(StoreOp::Load { partition: key.clone() }).await {
        StoreAnswer::Loaded(view) => Ok(view),
        StoreAnswer::Failed(fault) => Err(fault),
        StoreAnswer::Committed(_) | StoreAnswer::Tailed(_) => Err(StoreFault::TimedOut),
    }
}

/// The file of an island that is back is of the past: its name says so. Nobody reads it again, and it may be deleted.
fn put_away(path: &Path) -> PathBuf {
    let past = path.with_extension("resumed");
    match std::fs::rename(path, &past) {
        Ok(()) => past,
        Err(error) => {
            tracing::warn!(%error, "archive {} keeps its name", path.display());
            path.to_owned()
        }
    }
}
