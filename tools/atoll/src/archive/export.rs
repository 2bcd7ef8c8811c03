//! Reads a whole world into a file, as it was at one moment.
//!
//! Every partition is looked at, then books and indexes are read, then every partition is read into the file: if none
//! of the game's documents changed from the one look to the other, the file is how the world was in between. Else it
//! begins again. Nothing in the store is changed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use chunk_sync::records::{CLUSTER_PLAN, CLUSTER_REGISTRY, DOC_PLAN, PlanRecord, WORLD, decode, encode};
use chunk_sync::store::{PartitionKey, RawPartition, StoreAnswer, StoreFault, StoreOp};
use chunk_sync_io::store::StoreHandle;

use super::format::{About, Counts, FormatError, Piece, Writer};
use super::limits::{EXPORT_TRIES, INDEX_PIECE, OPENING_HOLDERS};
use crate::audit::accounts::{Accounts, Opening};
use crate::audit::complete::{AuditError, clock, each_partition, read_books};
use crate::audit::part;
use crate::islands::{Archives, Away, all_open, mark_of};

/// What an export came to.
#[derive(Debug)]
pub(super) struct Exported {
    /// What is in the file.
    pub(super) counts: Counts,
    /// Its bytes.
    pub(super) bytes: u64,
    /// Transfers that were under way.
    pub(super) pending: u64,
    /// Whether a cluster was at work on the store.
    pub(super) live: bool,
    /// Suspended islands, whose chunks are in the file as their archives have them.
    pub(super) islands: Vec<u32>,
    /// Whether books and documents disagree, as far as the books alone tell.
    pub(super) wrong: Vec<String>,
}

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportError {
    /// The store or its ledger can't be read.
    #[error(transparent)]
    Read(#[from] AuditError),
    /// The file can't be written.
    #[error("{0}")]
    Write(#[from] FormatError),
    /// An archive of a suspended island can't be used.
    #[error("{0}; an export has everything in it, also what is suspended")]
    Archive(String),
    /// The world was never the same from one look to the next.
    #[error(
        "{moving} partitions changed while they were read, {EXPORT_TRIES} times; stop the nodes (or wait until nobody \
         acts) and try again"
    )]
    Moving {
        /// How many, the last time.
        moving: usize,
    },
}

impl From<StoreFault> for ExportError {
    fn from(fault: StoreFault) -> Self {
        Self::Read(fault.into())
    }
}

impl From<std::io::Error> for ExportError {
    fn from(error: std::io::Error) -> Self {
        Self::Write(error.into())
    }
}

/// Writes the world of `store` to `path`, which must not exist.
pub(super) async fn export(
    store: &StoreHandle,
    ledger: Option<&Path>,
    archives: &Archives,
    path: &Path,
) -> Result<Exported, ExportError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut tries = 0;
    loop {
        tries += 1;
        let (exported, moving) = attempt(store, ledger, archives, &new).await?;
        if moving == 0 {
            std::fs::rename(&new, path)?;
            return Ok(exported);
        }
        std::fs::remove_file(&new)?;
        if tries == EXPORT_TRIES {
            return Err(ExportError::Moving { moving });
        }
    }
}

async fn attempt(
    store: &StoreHandle,
    ledger: Option<&Path>,
    archives: &Archives,
    new: &Path,
) -> Result<(Exported, usize), ExportError> {
    let away = Away::read(store, archives).await?;
    let (taken_ms, live) = (clock(store).await?, is_live(store).await?);
    let mut before: BTreeMap<PartitionKey, u128> = BTreeMap::new();
    each_partition(store, |raw| {
        if part::place_of(&raw.key).is_some() {
            before.insert(raw.key, part::print_of(&raw.docs));
        }
    })
    .await?;
    let books = read_books(store, ledger).await?;
    let about = About { program: env!("CARGO_PKG_VERSION").to_owned(), taken_ms, live };
    let mut file = Writer::begin(BufWriter::new(File::create(new)?), about)?;
    for entry in books.undrained.values() {
        file.put(&Piece::Ledger(entry.clone()))?;
    }
    openings(&books.accounts, taken_ms, &mut file)?;
    indexes(store, &mut file).await?;
    let (mut moving, mut pending, mut failed) = (0, 0, None);
    each_partition(store, |raw| {
        if part::place_of(&raw.key).is_some() {
            let same = before.remove(&raw.key) == Some(part::print_of(&raw.docs));
            moving += usize::from(!same);
            pending += raw.docs.keys().filter(|name| name.as_str().starts_with("out/")).count() as u64;
        }
        // Where its ledger is kept, and how it came into this store, is no part of the world.
        if failed.is_none() && raw.key != crate::books::partition() && raw.key != super::import::partition() {
            failed = match whole(&away, raw) {
                Ok(raw) => file.put(&Piece::Partition(raw)).err().map(ExportError::Write),
                Err(why) => Some(ExportError::Archive(why)),
            };
        }
    })
    .await?;
    failed.map_or(Ok(()), Err)?;
    let (out, counts, bytes) = file.end()?;
    out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
    let islands = away.islands().collect();
    Ok((Exported { counts, bytes, pending, live, islands, wrong: books.wrong }, moving + before.len()))
}

/// A partition as it is in a world in which nothing is suspended.
fn whole(away: &Away, mut raw: RawPartition) -> Result<RawPartition, String> {
    if let Some(mark) = mark_of(&raw.docs) {
        return away.chunk(&raw.key, &mark).cloned();
    }
    if raw.key == PartitionKey::cluster(WORLD, CLUSTER_PLAN)
        && let Some(document) = raw.docs.get_mut(DOC_PLAN)
        && let Some(plan) = decode::<PlanRecord>(&document.value).filter(|plan| !plan.suspended.is_empty())
    {
        document.value = encode(&all_open(&plan)).into();
    }
    Ok(raw)
}

/// Whether somebody of a cluster holds a lease.
///
/// # Errors
/// When the store doesn't answer.
pub(crate) async fn is_live(store: &StoreHandle) -> Result<bool, StoreFault> {
    match store.call(StoreOp::Load { partition: PartitionKey::cluster(WORLD, CLUSTER_REGISTRY) }).await {
        StoreAnswer::Loaded(view) => Ok(view.leases.values().any(|lease| !lease.expired(view.store_ms))),
        StoreAnswer::Failed(fault) => Err(fault),
        StoreAnswer::Committed(_) | StoreAnswer::Tailed(_) => Err(StoreFault::TimedOut),
    }
}

fn openings(
    accounts: &Accounts,
    store_ms: u64,
    file: &mut Writer<BufWriter<File>>,
) -> Result<(), FormatError> {
    let held: Vec<_> = accounts.holders().map(|(holder, held)| (holder, held.clone())).collect();
    for part in held.chunks(OPENING_HOLDERS) {
        file.put(&Piece::Opening(Opening { store_ms, held: part.to_vec() }.pack()))?;
    }
    Ok(())
}

async fn indexes(store: &StoreHandle, file: &mut Writer<BufWriter<File>>) -> Result<(), ExportError> {
    let ops = store.ops();
    for name in ops.index_names().await? {
        let mut after = None;
        loop {
            let page = ops.index_page(&name, after.as_ref(), INDEX_PIECE).await?;
            if !page.entries.is_empty() {
                file.put(&Piece::Index(name.clone(), page.entries))?;
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(())
}
