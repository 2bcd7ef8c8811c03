//! Writes a file's world into a store that has none. The whole file is read and checked before anything is written;
//! an import that didn't end leaves a mark, and no cluster starts on half a world.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use chunk_sync::records::{CLUSTER_PLAN, DOC_PLAN, PlanRecord, WORLD, decode};
use chunk_sync::store::{
    Commit, CommitOutcome, PartitionKey, RawPartition, RestoreError, StoreAnswer, StoreFault, StoreOp, Token,
};
use chunk_sync_io::store::StoreHandle;

use super::format::{About, Counts, FormatError, Piece, Pieces};
use crate::audit::complete::{AuditError, audit};
use crate::books::files::{self, LedgerFiles};
use crate::books::frame::Page;
use crate::books::sink::{LedgerSink, SinkError};
use crate::books::{self, token};
use crate::failure::Failure;
use crate::islands::{Archives, all_open};

const CLUSTER_IMPORT: &str = "import";
const DOC_IMPORT: &str = "import";
/// In the ledger's folder: entries that the world's last store had not given to its own.
const BEFORE: &str = "before-import";

/// What an import came to.
#[derive(Debug)]
pub(super) struct Imported {
    /// What the file says of itself.
    pub(super) about: About,
    /// What was in it.
    pub(super) counts: Counts,
    /// What the audit found that came after it.
    pub(super) found: AuditFindings,
}

/// What is wrong with an imported world.
#[derive(Debug, Default)]
pub(super) struct AuditFindings {
    /// How much.
    pub(super) total: u64,
    /// What, up to a limit.
    pub(super) told: Vec<String>,
}

/// Why a world was not imported.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImportError {
    /// The file can't be used. Nothing was written.
    #[error("{0}; nothing was written")]
    File(#[from] FormatError),
    /// The store or the ledger's folder has something in it. Nothing was written.
    #[error("{0}; an import needs an empty one, and nothing was written")]
    NotEmpty(String),
    /// The store failed; what was written so far is of no use.
    #[error("the import did not end: {0}. Empty the store and the ledger's folder, and import again")]
    Store(#[from] RestoreError),
    /// The ledger's folder failed; what was written so far is of no use.
    #[error("the import did not end: {0}. Empty the store and the ledger's folder, and import again")]
    Ledger(#[from] SinkError),
    /// The file changed, or what an import notes in the store could not be noted.
    #[error("the import did not end: {0}. Empty the store and the ledger's folder, and import again")]
    Claim(String),
    /// The world is there, and not right.
    #[error(
        "the world was written, but its audit found {} things{}, so no cluster starts on it. Empty the store and the \
         ledger's folder; import another file, or this one with --accept-findings",
        .0.total,
        .0.untold()
    )]
    Findings(AuditFindings),
}

impl AuditFindings {
    /// What to say of those that are not told.
    pub(super) fn untold(&self) -> String {
        match self.total.saturating_sub(self.told.len() as u64) {
            0 => String::new(),
            _ => format!(" (the first {} are told)", self.told.len()),
        }
    }
}

impl From<AuditError> for ImportError {
    fn from(error: AuditError) -> Self {
        Self::Claim(format!("it can't be audited: {error}"))
    }
}

impl From<StoreFault> for ImportError {
    fn from(fault: StoreFault) -> Self {
        Self::Store(fault.into())
    }
}

/// Reads a whole file and believes nothing of it.
pub(super) fn check(path: &Path) -> Result<Imported, FormatError> {
    let mut pieces = Pieces::begin(BufReader::new(File::open(path)?))?;
    let mut about = None;
    let mut end = None;
    while let Some(piece) = pieces.next()? {
        match piece {
            Piece::About(found) if about.is_none() => about = Some(found),
            Piece::About(_) => return Err(FormatError::Cut("it begins twice".to_owned())),
            Piece::End(counts) => end = Some(counts),
            Piece::Partition(raw) => {
                raw.check().map_err(|error| FormatError::Cut(format!("partition {}: {error}", raw.key)))?;
                check_plan(&raw)?;
            }
            Piece::Index(..) | Piece::Ledger(_) | Piece::Opening(_) => {}
        }
    }
    match (about, end) {
        (Some(about), Some(counts)) => Ok(Imported { about, counts, found: AuditFindings::default() }),
        _ => Err(FormatError::Cut("it has no beginning".to_owned())),
    }
}

/// Wants no more islands than nodes can tell each other of.
fn check_plan(raw: &RawPartition) -> Result<(), FormatError> {
    let document = raw.docs.get(DOC_PLAN).filter(|_| raw.key == PartitionKey::cluster(WORLD, CLUSTER_PLAN));
    let plan = document.and_then(|document| decode::<PlanRecord>(&document.value));
    match plan.map_or(Ok(()), |plan| all_open(&plan).map(|_| ())) {
        Ok(()) => Ok(()),
        Err(why) => Err(FormatError::Cut(format!("partition {}: {why}", raw.key))),
    }
}

/// Writes the world of a file into an empty store, and opens its books in an empty folder.
///
/// The world is audited before it may be used; with `accepting`, findings are told and no reason to refuse.
pub(super) async fn import(
    store: &StoreHandle,
    ledger: &Path,
    path: &Path,
    accepting: bool,
) -> Result<Imported, ImportError> {
    let mut imported = check(path)?;
    refuse_full(store, ledger).await?;
    mark(store, true).await?;
    let mut books = LedgerFiles::open(ledger, &mut Nobody)?;
    let mut before: Option<LedgerFiles> = None;
    let ops = store.ops();
    let mut pieces = Pieces::begin(BufReader::new(File::open(path).map_err(FormatError::from)?))?;
    let changed =
        |error: FormatError| ImportError::Claim(format!("the file changed while it was read: {error}"));
    while let Some(piece) = pieces.next().map_err(changed)? {
        match piece {
            Piece::Partition(raw) => restore(store, &raw).await?,
            Piece::Index(name, entries) => ops.restore_index(&name, &entries).await?,
            Piece::Opening(bytes) => books.open_books(&[bytes])?,
            Piece::Ledger(entry) => {
                if before.is_none() {
                    before = Some(LedgerFiles::open(&ledger.join(BEFORE), &mut Nobody)?);
                }
                if let Some(before) = &mut before {
                    before.keep(vec![entry])?;
                }
            }
            Piece::About(_) | Piece::End(_) => {}
        }
    }
    drop(books);
    books::claim_folder(store, ledger)
        .await
        .map_err(|failure| ImportError::Claim(failure.lines().join("; ")))?;
    let report = audit(store, Some(ledger), &Archives::default()).await?;
    imported.found = AuditFindings { total: report.findings_total, told: report.findings };
    if imported.found.total > 0 && !accepting {
        return Err(ImportError::Findings(imported.found));
    }
    mark(store, false).await?;
    Ok(imported)
}

/// Restores a partition; after a lost answer it may be there already, and is asked for again.
async fn restore(store: &StoreHandle, raw: &RawPartition) -> Result<(), RestoreError> {
    match store.ops().restore_partition(raw).await {
        Err(RestoreError::Store(StoreFault::TimedOut)) => match store.ops().restore_partition(raw).await {
            Err(RestoreError::Present { .. }) => Ok(()),
            done => done,
        },
        done => done,
    }
}

struct Nobody;

impl files::Reader for Nobody {
    fn restore(&mut self, _accounts: &[u8]) -> bool {
        false
    }

    fn page(&mut self, _page: Page) {}

    fn damage(&mut self, _text: String) {}
}

async fn refuse_full(store: &StoreHandle, ledger: &Path) -> Result<(), ImportError> {
    let ops = store.ops();
    let partitions = ops.partitions_page(None, 1).await?;
    let waiting = ops.ledger_page(None, 1).await?;
    let indexes = ops.index_names().await?;
    if !partitions.partitions.is_empty()
        || !partitions.damaged.is_empty()
        || !waiting.entries.is_empty()
        || !indexes.is_empty()
    {
        return Err(ImportError::NotEmpty("the store has something in it".to_owned()));
    }
    if files::has_segments(ledger) {
        return Err(ImportError::NotEmpty(format!("ledger folder {} has a ledger in it", ledger.display())));
    }
    Ok(())
}

/// The partition of the mark.
pub(super) fn partition() -> PartitionKey {
    PartitionKey::cluster(WORLD, CLUSTER_IMPORT)
}

/// Sets or removes the mark of an import that is under way.
async fn mark(store: &StoreHandle, under_way: bool) -> Result<(), ImportError> {
    let commit = Commit::new(partition(), Token(token()));
    let commit = if under_way { commit.put(DOC_IMPORT, vec![1]) } else { commit.remove(DOC_IMPORT) };
    match store.call(StoreOp::Commit(commit)).await {
        StoreAnswer::Committed(CommitOutcome::Done { .. }) => Ok(()),
        StoreAnswer::Failed(fault) => Err(fault.into()),
        answer => Err(ImportError::Claim(format!("the store refuses: {answer:?}"))),
    }
}

/// Wants no import into this store to have begun without an end.
///
/// # Errors
/// When one did, or the store can't be asked.
pub(crate) async fn refuse_unfinished(store: &StoreHandle) -> Result<(), Failure> {
    match store.call(StoreOp::Load { partition: partition() }).await {
        StoreAnswer::Loaded(view) if view.doc(DOC_IMPORT).is_none() => Ok(()),
        StoreAnswer::Loaded(_) => Err(Failure::setup(
            "an import into this store began and did not end: empty it and the ledger's folder, and import again",
        )),
        StoreAnswer::Failed(fault) => Err(Failure::run(fault)),
        StoreAnswer::Committed(_) | StoreAnswer::Tailed(_) => Err(Failure::run(StoreFault::TimedOut)),
    }
}
