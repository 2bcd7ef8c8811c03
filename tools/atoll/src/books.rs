//! The books: a task of `atoll up` and `atoll allocator` that drains the store's ledger into files, and lets the
//! auditor follow. Each entry is on disk before it is trimmed from the store, and in the files once however often a
//! crash makes it come again.

mod drain;
pub(crate) mod files;
pub(crate) mod frame;
pub(crate) mod limits;
pub(crate) mod sink;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use chunk_sync::ids::WorldId;
use chunk_sync::records::{WORLD, decode, encode};
use chunk_sync::store::{
    Commit, CommitOutcome, PartitionKey, Refusal, StoreAnswer, StoreFault, StoreOp, Token,
};
use chunk_sync_io::store::StoreHandle;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::audit::finding::Finding;
use crate::audit::watch::{Audit, Watch};
use crate::desk::Desk;
use crate::failure::Failure;
use crate::islands::Archives;
use drain::Drain;
use files::{LedgerFiles, Reader};
use frame::Page;
use limits::CLOSE_WAIT;
use sink::SinkError;

/// The cluster's partition that says where the ledger is kept.
const CLUSTER_BOOKS: &str = "books";
const DOC_BOOKS: &str = "books";

/// What `/api/state` says of the books.
#[derive(Clone, Default, Debug, Serialize)]
pub(crate) struct Shown {
    /// Where they are.
    pub(crate) folder: String,
    /// Entries written since the start.
    pub(crate) written: u64,
    /// Entries that the store has and the files don't, when they were counted last.
    pub(crate) undrained: u64,
    /// Why nothing is written, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trouble: Option<String>,
    /// What the auditor says.
    #[serde(skip)]
    pub(crate) audit: Audit,
}

/// What the task shows; clones share it.
#[derive(Clone, Default, Debug)]
pub(crate) struct Status(Arc<Mutex<Option<Shown>>>);

impl Status {
    /// The newest; `None` where no books are kept.
    pub(crate) fn newest(&self) -> Option<Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, shown: Shown) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
    }
}

/// The running task.
pub(crate) struct Books {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Books {
    /// Opens the folder, reads what the auditor has to know, and begins to drain.
    ///
    /// # Errors
    /// When the folder can't be used, or the store's ledger is kept in another one.
    pub(crate) async fn start(store: StoreHandle, folder: &Path, status: Status) -> Result<Self, Failure> {
        let began = Instant::now();
        let path = folder.to_owned();
        let opened = tokio::task::spawn_blocking(move || -> Result<_, SinkError> {
            let mut reading = Reading { watch: Watch::new(), entries: 0 };
            let used = files::has_entries(&path);
            let files = LedgerFiles::open(&path, &mut reading)?;
            let name = name_of(&path)?;
            Ok((files, reading, name, used))
        });
        let opened = opened.await.map_err(Failure::run)?;
        let (files, reading, name, used) = opened.map_err(Failure::setup)?;
        claim(&store, &name, folder, used).await?;
        tracing::info!(
            folder = %folder.display(),
            read = reading.entries,
            took_ms = began.elapsed().as_millis() as u64,
            "ledger open"
        );
        let (stop, stopped) = watch::channel(false);
        let mut drain = Drain::new(store, Box::new(files), reading.watch, status);
        drain.shown.folder = folder.display().to_string();
        drain.show();
        Ok(Self { stop, task: tokio::spawn(drain.run(stopped)) })
    }

    /// Drains once more and ends.
    pub(crate) async fn close(mut self) {
        // The task may have ended; then there is nobody to tell.
        let _ = self.stop.send(true);
        if tokio::time::timeout(CLOSE_WAIT, &mut self.task).await.is_err() {
            tracing::warn!(
                "the ledger's task did not end in time; what it had not written stays in the store"
            );
            self.task.abort();
            let _ = self.task.await;
        }
    }
}

/// Opens the desk, and the books if a folder is given.
///
/// # Errors
/// As of [`Books::start`].
pub(crate) async fn open(
    store: &StoreHandle,
    folder: Option<&Path>,
    archives: Archives,
    status: &Status,
    desk: &Desk,
) -> Result<Option<Books>, Failure> {
    desk.open(store.clone(), folder, archives);
    match folder {
        Some(folder) => Books::start(store.clone(), folder, status.clone()).await.map(Some),
        None => {
            tracing::warn!(
                "no ledger is kept by this process, and no auditor runs: give --ledger FOLDER to exactly one; where none \
                 is kept, its entries fill the store, and in the end acts are refused"
            );
            Ok(None)
        }
    }
}

/// What reads the files at the start.
struct Reading {
    watch: Watch,
    entries: u64,
}

impl Reader for Reading {
    fn restore(&mut self, accounts: &[u8]) -> bool {
        self.watch.restore(accounts)
    }

    fn page(&mut self, page: Page) {
        match page {
            Page::Entry(entry) => {
                self.entries += 1;
                self.watch.follow(&entry);
            }
            Page::Opening(opening) => self.watch.open_books(&opening),
        }
    }

    fn damage(&mut self, text: String) {
        self.watch.found(Finding::plain(text));
    }
}

/// The folder's own name, so that a store's ledger can't be spread over two.
fn name_of(folder: &Path) -> Result<String, SinkError> {
    let failed = |error: std::io::Error| SinkError(format!("ledger folder {}: {error}", folder.display()));
    let path = folder.join("name");
    match std::fs::read_to_string(&path) {
        Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let name = format!("{:016x}{:016x}", token(), token());
    let new = folder.join("name.new");
    std::fs::write(&new, &name).and_then(|()| std::fs::File::open(&new)?.sync_all()).map_err(failed)?;
    std::fs::rename(new, path).map_err(failed)?;
    Ok(name)
}

/// Whether the ledger of a store is kept in this folder; tells where it is kept if it isn't.
///
/// # Errors
/// When the store can't be asked.
pub(crate) async fn kept_elsewhere(
    store: &StoreHandle,
    folder: Option<&Path>,
) -> Result<Option<String>, StoreFault> {
    let view = match store.call(StoreOp::Load { partition: partition() }).await {
        StoreAnswer::Loaded(view) => view,
        StoreAnswer::Failed(fault) => return Err(fault),
        StoreAnswer::Committed(_) | StoreAnswer::Tailed(_) => return Err(StoreFault::TimedOut),
    };
    let Some(record) = view.doc(DOC_BOOKS).and_then(|bytes| decode::<BooksRecord>(bytes)) else {
        return Ok(None);
    };
    let name = folder.and_then(|folder| std::fs::read_to_string(folder.join("name")).ok());
    Ok((name.as_deref().map(str::trim) != Some(record.name.as_str())).then_some(record.folder))
}

#[derive(Serialize, Deserialize)]
struct BooksRecord {
    v: u16,
    name: String,
    folder: String,
}

/// The partition that says where a store's ledger is kept.
pub(crate) fn partition() -> PartitionKey {
    let world: WorldId = WORLD;
    PartitionKey::cluster(world, CLUSTER_BOOKS)
}

/// A name for a commit by a tool: random, and never the reserved one.
pub(crate) fn token() -> u64 {
    // The system's randomness, by way of the standard library's hasher.
    std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), 0) | 1
}

/// Notes in the store that its ledger is kept in this folder from now on.
///
/// # Errors
/// When it is kept elsewhere, or either can't be asked.
pub(crate) async fn claim_folder(store: &StoreHandle, folder: &Path) -> Result<(), Failure> {
    let name = name_of(folder).map_err(Failure::setup)?;
    claim(store, &name, folder, false).await
}

/// Notes in the store that its ledger is kept here, unless it is kept elsewhere. A store that knows of no ledger numbers
/// its entries from the start: in a folder that is `used` they would be taken for those that are there.
async fn claim(store: &StoreHandle, name: &str, folder: &Path, used: bool) -> Result<(), Failure> {
    loop {
        let view = match store.call(StoreOp::Load { partition: partition() }).await {
            StoreAnswer::Loaded(view) => view,
            StoreAnswer::Failed(fault) => return Err(Failure::run(format!("the ledger: {fault}"))),
            StoreAnswer::Committed(_) | StoreAnswer::Tailed(_) => {
                return Err(Failure::run("the ledger: wrong answer"));
            }
        };
        if let Some(bytes) = view.doc(DOC_BOOKS) {
            let record: BooksRecord = decode(bytes)
                .ok_or_else(|| Failure::run("the store's record of its ledger can't be read"))?;
            if record.name == name {
                return Ok(());
            }
            return Err(Failure::setup(format!(
                "ledger folder {}: the ledger of this store is kept in another folder, {}; give that one, or a copy \
                 of it",
                folder.display(),
                record.folder
            )));
        }
        if used {
            return Err(Failure::setup(format!(
                "ledger folder {}: it is the ledger of another store, this one knows of none; give an empty folder",
                folder.display()
            )));
        }
        let shown = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let record = BooksRecord { v: 1, name: name.to_owned(), folder: shown.display().to_string() };
        let commit =
            Commit::new(partition(), Token(token())).absent(DOC_BOOKS).put(DOC_BOOKS, encode(&record));
        match store.call(StoreOp::Commit(commit)).await {
            StoreAnswer::Committed(
                CommitOutcome::Done { .. } | CommitOutcome::Refused(Refusal::Conflict { .. }),
            )
            | StoreAnswer::Failed(StoreFault::TimedOut) => {}
            StoreAnswer::Failed(fault) => return Err(Failure::run(format!("the ledger: {fault}"))),
            answer => return Err(Failure::run(format!("the store refuses the ledger's record: {answer:?}"))),
        }
    }
}

/// Where a process keeps its ledger: as it was asked, else beside an embedded store, else nowhere.
pub(crate) fn folder_of(asked: Option<&PathBuf>, store: &chunk_sync_io::store::StoreUrl) -> Option<PathBuf> {
    match (asked, store) {
        (Some(folder), _) => Some(folder.clone()),
        (None, chunk_sync_io::store::StoreUrl::Embedded(data)) => Some(data.join("ledger")),
        (None, chunk_sync_io::store::StoreUrl::Redis(_)) => None,
    }
}

#[cfg(test)]
mod tests;
