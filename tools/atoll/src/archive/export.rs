//! Reads a whole world into a file, as it was at one moment.
//!
//! Every partition is looked at, then books and indexes are read, then every partition is read into the file: if none
//! of the game's documents changed from the one look to the other, the file is how the world was in between. Else it
//! begins again. Nothing in the store is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions, Permissions};
use std::io::BufWriter;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use chunk_sync::records::{CLUSTER_PLAN, CLUSTER_REGISTRY, DOC_PLAN, PlanRecord, WORLD, decode, encode};
use chunk_sync::store::{PartitionKey, RawPartition, StoreAnswer, StoreFault, StoreOp};
use chunk_sync_io::store::StoreHandle;

use super::format::{About, Counts, FormatError, Piece, Writer};
use super::limits::{EXPORT_TRIES, INDEX_PIECE, OPENING_HOLDERS};
use crate::audit::accounts::{Accounts, Opening};
use crate::audit::complete::{AuditError, clock, each_partition, read_books};
use crate::audit::part;
use crate::audit::record::RECORD_VERSION;
use crate::islands::{Archives, Away, all_open, mark_of, too_many};

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
    /// What can't be read and is not in the file.
    pub(super) left_out: Vec<String>,
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
    /// What is suspended can't be in the file.
    #[error("{0}; an export has everything in it, also what is suspended")]
    Archive(String),
    /// Something can't be read.
    #[error(
        "{}. Restore the store from a copy, or export without it: --leave-out-damaged",
        .0.join("; ")
    )]
    Damaged(Vec<String>),
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

/// Writes the world of `store` to `path`, which must not exist. What the store can't read is a reason to refuse, or is
/// left out.
pub(super) async fn export(
    store: &StoreHandle,
    ledger: Option<&Path>,
    archives: &Archives,
    path: &Path,
    leave_out: bool,
) -> Result<Exported, ExportError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let written = until_still(store, ledger, archives, &new, leave_out).await;
    let placed = match written {
        Ok(exported) => std::fs::rename(&new, path).map(|()| exported).map_err(ExportError::from),
        Err(error) => Err(error),
    };
    if placed.is_err()
        && let Err(error) = std::fs::remove_file(&new)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!("{}: what was begun can't be removed: {error}", new.display());
    }
    placed
}

async fn until_still(
    store: &StoreHandle,
    ledger: Option<&Path>,
    archives: &Archives,
    new: &Path,
    leave_out: bool,
) -> Result<Exported, ExportError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let (exported, moving) = attempt(store, ledger, archives, new, leave_out).await?;
        if moving == 0 {
            return Ok(exported);
        }
        if tries == EXPORT_TRIES {
            return Err(ExportError::Moving { moving });
        }
    }
}

/// A file that only its owner reads: the keys that sign tickets are in it.
fn create(path: &Path) -> std::io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    // One that an older try left behind.
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

async fn attempt(
    store: &StoreHandle,
    ledger: Option<&Path>,
    archives: &Archives,
    new: &Path,
    leave_out: bool,
) -> Result<(Exported, usize), ExportError> {
    if let Some(why) = too_many(store).await? {
        return Err(ExportError::Archive(why));
    }
    let away = Away::read(store, archives).await?;
    let (taken_ms, live) = (clock(store).await?, is_live(store).await?);
    let mut before: BTreeMap<PartitionKey, u128> = BTreeMap::new();
    let damaged = each_partition(store, |raw| {
        if part::place_of(&raw.key).is_some() {
            before.insert(raw.key, part::print_of(&raw.docs));
        }
    })
    .await?;
    let books = read_books(store, ledger).await?;
    let mut left_out: BTreeSet<String> = damaged.iter().map(ToString::to_string).collect();
    left_out.extend(books.damaged.iter().map(|finding| finding.text.clone()));
    let about = About { program: env!("CARGO_PKG_VERSION").to_owned(), taken_ms, live };
    let mut file = Writer::begin(BufWriter::new(create(new)?), about)?;
    for entry in books.undrained.values() {
        file.put(&Piece::Ledger(entry.clone()))?;
    }
    openings(&books.accounts, taken_ms, &mut file)?;
    left_out.extend(indexes(store, &mut file).await?);
    let (mut moving, mut pending, mut failed) = (0, 0, None);
    let damaged = each_partition(store, |raw| {
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
    left_out.extend(damaged.iter().map(ToString::to_string));
    let left_out: Vec<String> = left_out.into_iter().collect();
    if !left_out.is_empty() && !leave_out {
        return Err(ExportError::Damaged(left_out));
    }
    let (out, counts, bytes) = file.end()?;
    out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
    let islands = away.islands().collect();
    Ok((Exported { counts, bytes, pending, live, islands, left_out }, moving + before.len()))
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
        document.value = encode(&all_open(&plan)?).into();
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
    let opening = |held, built_before| Opening {
        v: RECORD_VERSION,
        store_ms,
        held,
        built_before,
        opened_before: accounts.opened_before(),
    };
    for part in held.chunks(OPENING_HOLDERS) {
        file.put(&Piece::Opening(opening(part.to_vec(), Vec::new()).pack()))?;
    }
    let before: Vec<_> =
        accounts.built_before().map(|(holder, paid)| (holder.clone(), paid.clone())).collect();
    if held.is_empty() && before.is_empty() && accounts.opened_before() {
        file.put(&Piece::Opening(opening(Vec::new(), Vec::new()).pack()))?;
    }
    for part in before.chunks(OPENING_HOLDERS) {
        file.put(&Piece::Opening(opening(Vec::new(), part.to_vec()).pack()))?;
    }
    Ok(())
}

/// Writes all indexes, as masters have them; answers what can't be read of them.
async fn indexes(
    store: &StoreHandle,
    file: &mut Writer<BufWriter<File>>,
) -> Result<Vec<String>, ExportError> {
    let (ops, mut damaged) = (store.ops(), Vec::new());
    for name in ops.index_names().await? {
        let mut after = None;
        loop {
            let page = ops.index_page_of_masters(&name, after.as_ref(), INDEX_PIECE).await?;
            if !page.entries.is_empty() {
                file.put(&Piece::Index(name.clone(), page.entries))?;
            }
            let told =
                page.damaged.iter().map(|row| format!("an entry of the index {name} can't be read: {row}"));
            damaged.extend(told);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(damaged)
}
