//! The books: a task of `atoll up` and `atoll allocator` that drains the store's ledger into files, and lets the
//! auditor follow. Each entry is on disk before it is trimmed from the store, and in the files once however often a
//! crash makes it come again.

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
    Commit, CommitOutcome, LEDGER_PAGE_ENTRIES_MAX, LedgerCursor, LedgerEntry, PartitionKey, Refusal, Shard,
    StoreAnswer, StoreFault, StoreOp, Token,
};
use chunk_sync_io::store::StoreHandle;
use metrics::gauge;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::archive;
use crate::audit::complete::clock;
use crate::audit::watch::{Audit, Watch};
use crate::desk::Desk;
use crate::failure::Failure;
use files::{LedgerFiles, Reader};
use frame::Page;
use limits::{CLOSE_WAIT, COUNT_EVERY, COUNT_MAX, DRAIN_EVERY, SNAPSHOT_EVERY};
use sink::{LedgerSink, SinkError};

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
            let files = LedgerFiles::open(&path, &mut reading)?;
            let name = name_of(&path)?;
            Ok((files, reading, name))
        });
        let opened = opened.await.map_err(Failure::run)?;
        let (files, reading, name) = opened.map_err(Failure::setup)?;
        claim(&store, &name, folder).await?;
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
            tracing::warn!("the ledger's task did not end in time; what it had not written stays in the store");
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
    status: &Status,
    desk: &Desk,
) -> Result<Option<Books>, Failure> {
    match archive::unfinished(store).await {
        Ok(false) => {}
        Ok(true) => {
            return Err(Failure::setup(
                "an import into this store began and did not end: empty it and the ledger's folder, and import again",
            ));
        }
        Err(fault) => return Err(Failure::run(fault)),
    }
    desk.open(store.clone(), folder);
    match folder {
        Some(folder) => Books::start(store.clone(), folder, status.clone()).await.map(Some),
        None => {
            tracing::info!(
                "no ledger is kept by this process, and no auditor runs: give --ledger FOLDER to exactly one"
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
        self.watch.found(text);
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
    claim(store, &name, folder).await
}

/// Notes in the store that its ledger is kept here, unless it is kept elsewhere.
async fn claim(store: &StoreHandle, name: &str, folder: &Path) -> Result<(), Failure> {
    loop {
        let view = match store.call(StoreOp::Load { partition: partition() }).await {
            StoreAnswer::Loaded(view) => view,
            StoreAnswer::Failed(fault) => return Err(Failure::run(format!("the ledger: {fault}"))),
            StoreAnswer::Committed(_) | StoreAnswer::Tailed(_) => return Err(Failure::run("the ledger: wrong answer")),
        };
        if let Some(bytes) = view.doc(DOC_BOOKS) {
            let record: BooksRecord =
                decode(bytes).ok_or_else(|| Failure::run("the store's record of its ledger can't be read"))?;
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
        let shown = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let record = BooksRecord { v: 1, name: name.to_owned(), folder: shown.display().to_string() };
        let commit = Commit::new(partition(), Token(token())).absent(DOC_BOOKS).put(DOC_BOOKS, encode(&record));
        match store.call(StoreOp::Commit(commit)).await {
            StoreAnswer::Committed(CommitOutcome::Done { .. } | CommitOutcome::Refused(Refusal::Conflict { .. }))
            | StoreAnswer::Failed(StoreFault::TimedOut) => {}
            StoreAnswer::Failed(fault) => return Err(Failure::run(format!("the ledger: {fault}"))),
            answer => return Err(Failure::run(format!("the store refuses the ledger's record: {answer:?}"))),
        }
    }
}

/// What a thread works on: the files, and the auditor that follows them.
type Work = (Box<dyn LedgerSink>, Watch);

/// The task.
struct Drain {
    store: StoreHandle,
    /// Sink and auditor; away while a thread works on them, and for good when that thread failed.
    work: Option<Work>,
    status: Status,
    shown: Shown,
    snapshot_due: Instant,
    /// Entries that the newest snapshot covers.
    snapshot_entries: Option<u64>,
    count_due: Instant,
    store_away: bool,
}

impl Drain {
    fn new(store: StoreHandle, sink: Box<dyn LedgerSink>, watch: Watch, status: Status) -> Self {
        Self {
            store,
            work: Some((sink, watch)),
            status,
            shown: Shown::default(),
            snapshot_due: Instant::now() + SNAPSHOT_EVERY,
            snapshot_entries: None,
            count_due: Instant::now(),
            store_away: false,
        }
    }

    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut due = tokio::time::interval(DRAIN_EVERY);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let last = tokio::select! {
                _ = due.tick() => false,
                _ = stop.wait_for(|stop| *stop) => true,
            };
            self.pass(last).await;
            self.show();
            if last || self.work.is_none() {
                return;
            }
        }
    }

    /// Drains everything, then lets the auditor compare.
    async fn pass(&mut self, last: bool) {
        match self.drain().await {
            Ok(now_ms) => {
                if let Some((_, watch)) = &mut self.work {
                    watch.end_pass(now_ms);
                    if !last && let Err(fault) = watch.compare(&self.store).await {
                        tracing::debug!("audit: {fault}");
                    }
                }
                self.recovered();
                if last || Instant::now() >= self.snapshot_due {
                    self.snapshot().await;
                }
            }
            Err(Trouble::Store(fault)) => {
                if !self.store_away {
                    self.store_away = true;
                    tracing::warn!("ledger: {fault}; it is drained when the store is back");
                }
            }
            Err(Trouble::Sink(error)) => {
                if self.shown.trouble.is_none() {
                    tracing::error!("{error}; entries stay in the store until it can be written again");
                }
                self.shown.trouble = Some(error.0);
                self.count().await;
            }
            Err(Trouble::Thread) => {
                tracing::error!("ledger: a thread failed; the ledger is drained no longer");
                self.shown.trouble = Some("it failed; a restart is needed".to_owned());
            }
        }
    }

    fn recovered(&mut self) {
        if self.shown.trouble.take().is_some() {
            tracing::info!("ledger: written again");
        }
        if std::mem::take(&mut self.store_away) {
            tracing::info!("ledger: the store is back");
        }
        self.shown.undrained = 0;
    }

    /// Reads the ledger page by page; answers the store's clock before the first.
    async fn drain(&mut self) -> Result<u64, Trouble> {
        let now_ms = clock(&self.store).await?;
        let mut after: Option<LedgerCursor> = None;
        loop {
            let page = self.store.ops().ledger_page(after, LEDGER_PAGE_ENTRIES_MAX).await?;
            let trims = last_of_shards(&page.entries);
            if !page.entries.is_empty() {
                self.keep(page.entries).await?;
                self.trim(&trims).await?;
            }
            after = page.next;
            if after.is_none() {
                return Ok(now_ms);
            }
        }
    }

    async fn keep(&mut self, entries: Vec<LedgerEntry>) -> Result<(), Trouble> {
        let kept = self
            .on_disk(move |(sink, watch)| {
                let fresh = sink.keep(entries)?;
                fresh.iter().for_each(|entry| watch.follow(entry));
                Ok(fresh.len() as u64)
            })
            .await?;
        self.shown.written += kept;
        Ok(())
    }

    /// Does something that may wait for a disk.
    async fn on_disk<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Work) -> Result<T, SinkError> + Send + 'static,
    ) -> Result<T, Trouble> {
        let Some(mut with) = self.work.take() else { return Err(Trouble::Thread) };
        let worked = tokio::task::spawn_blocking(move || {
            let done = work(&mut with);
            (with, done)
        });
        let (with, done) = worked.await.map_err(|_| Trouble::Thread)?;
        self.work = Some(with);
        Ok(done?)
    }

    /// Removes from the store what is on disk, two shards at a time: that many calls the store takes at once.
    async fn trim(&self, trims: &[(Shard, u64)]) -> Result<(), StoreFault> {
        let ops = self.store.ops();
        for pair in trims.chunks(2) {
            let one = ops.ledger_trim(pair[0].0, pair[0].1);
            match pair.get(1) {
                Some((shard, up_to)) => {
                    let (one, two) = tokio::join!(one, ops.ledger_trim(*shard, *up_to));
                    one.and(two)?;
                }
                None => one.await?,
            }
        }
        Ok(())
    }

    async fn snapshot(&mut self) {
        self.snapshot_due = Instant::now() + SNAPSHOT_EVERY;
        let Some((_, watch)) = &self.work else { return };
        let entries = watch.shown().checked;
        if self.snapshot_entries == Some(entries) {
            return;
        }
        let written = self
            .on_disk(|(sink, watch)| sink.keep_snapshot(&watch.pack().map_err(SinkError)?))
            .await;
        match written {
            Ok(()) => self.snapshot_entries = Some(entries),
            Err(Trouble::Sink(error)) => tracing::warn!("{error}; the next start reads more of the ledger"),
            Err(_) => {}
        }
    }

    /// Counts what waits in the store.
    async fn count(&mut self) {
        if Instant::now() < self.count_due {
            return;
        }
        self.count_due = Instant::now() + COUNT_EVERY;
        let (mut count, mut after) = (0u64, None);
        while count < COUNT_MAX {
            let Ok(page) = self.store.ops().ledger_page(after, LEDGER_PAGE_ENTRIES_MAX).await else { return };
            count += page.entries.len() as u64;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        self.shown.undrained = count;
    }

    fn show(&mut self) {
        if let Some((_, watch)) = &self.work {
            self.shown.audit = watch.shown();
        }
        gauge!("atoll_ledger_undrained").set(self.shown.undrained as f64);
        gauge!("atoll_ledger_written").set(self.shown.written as f64);
        gauge!("atoll_audit_open_transfers").set(self.shown.audit.open_long as f64);
        self.status.set(self.shown.clone());
    }
}

/// Why a pass ended early.
enum Trouble {
    Store(StoreFault),
    Sink(SinkError),
    Thread,
}

impl From<StoreFault> for Trouble {
    fn from(fault: StoreFault) -> Self {
        Self::Store(fault)
    }
}

impl From<SinkError> for Trouble {
    fn from(error: SinkError) -> Self {
        Self::Sink(error)
    }
}

/// The last number of each shard in a page.
fn last_of_shards(entries: &[LedgerEntry]) -> Vec<(Shard, u64)> {
    let mut last: Vec<(Shard, u64)> = Vec::new();
    for entry in entries {
        match last.last_mut().filter(|(shard, _)| *shard == entry.shard) {
            Some((_, up_to)) => *up_to = entry.sequence,
            None => last.push((entry.shard, entry.sequence)),
        }
    }
    last
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
