//! The embedded store: one redb file in a folder, owned by one thread of one process.
//!
//! The thread takes what waits, does it in one transaction, and answers all of it after the file is on disk
//! (group commit): an answered commit survives `kill -9` and power loss, unless it asked to be accepted only: such
//! a one is answered before the file is written. Used through `StoreHandle` only; it
//! never blocks a thread of the runtime except to end its own thread when the last handle goes.

mod blocks;
mod clock;
mod engine;
mod file;
mod ledger;
mod partition;
mod room;
mod rows;
mod shelf;
mod whole;
mod witness;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use chunk_sync::store::{
    IndexCursor, IndexPage, LedgerCursor, LedgerPage, Name, PartitionCursor, PartitionsPage, RestoreError,
    StoreAnswer, StoreFault, StoreOp,
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use self::engine::Engine;
use self::shelf::Shelf;
use super::limits::{BATCH_OPS_MAX, IN_FLIGHT_UNITS_MAX};
use super::masters::Masters;
use super::{OpenError, StoreOptions};

pub(super) use self::whole::Change;

/// What is on its way to the thread.
enum Request {
    Call(Call),
    Change(Change, oneshot::Sender<Result<(), RestoreError>>),
}

/// One operation; its room is free again once it was answered.
struct Call {
    op: StoreOp,
    answer: Option<oneshot::Sender<StoreAnswer>>,
    _room: OwnedSemaphorePermit,
}

/// The sending side of the store's thread.
pub(super) struct Embedded {
    queue: Option<SyncSender<Request>>,
    thread: Option<JoinHandle<()>>,
    shelf: Arc<Shelf>,
}

impl Embedded {
    /// Opens or makes the store in `folder`; the thread does it, as repairing after a crash can take a while.
    pub(super) async fn open(
        folder: &Path,
        options: StoreOptions,
        masters: Arc<Masters>,
    ) -> Result<Self, OpenError> {
        let shelf = Arc::new(Shelf::default());
        let lent = Arc::clone(&shelf);
        let (queue, requests) = sync_channel(IN_FLIGHT_UNITS_MAX as usize);
        let (opened, when_opened) = oneshot::channel();
        let path = folder.to_path_buf();
        let failed = |reason: String| OpenError::Folder { path: folder.display().to_string(), reason };
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || match Engine::open(path, options, lent, masters) {
                Ok(engine) => {
                    // Nobody listens any more when the opening was given up; then the queue is gone too.
                    let _ = opened.send(Ok(()));
                    serve(engine, &requests);
                }
                Err(error) => {
                    let _ = opened.send(Err(error));
                }
            })
            .map_err(|error| failed(format!("cannot start its thread: {error}")))?;
        when_opened.await.map_err(|_| failed("its thread ended while opening".into()))??;
        Ok(Self { queue: Some(queue), thread: Some(thread), shelf })
    }

    /// Does one operation. Dropped before its answer, the operation is done or not.
    pub(super) async fn call(&self, op: StoreOp, room: OwnedSemaphorePermit) -> StoreAnswer {
        let (answer, when_answered) = oneshot::channel();
        if !self.send(Request::Call(Call { op, answer: Some(answer), _room: room })) {
            return StoreAnswer::Failed(StoreFault::Away);
        }
        when_answered.await.unwrap_or(StoreAnswer::Failed(StoreFault::TimedOut))
    }

    /// Makes a change of ops tools, between two batches. Dropped before its answer, it is made or not.
    pub(super) async fn change(&self, change: Change) -> Result<(), RestoreError> {
        let (answer, when_answered) = oneshot::channel();
        if !self.send(Request::Change(change, answer)) {
            return Err(StoreFault::Away.into());
        }
        when_answered.await.unwrap_or(Err(StoreFault::TimedOut.into()))
    }

    fn send(&self, request: Request) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.try_send(request).is_ok())
    }

    /// Reads a page of the ledger beside the store's thread, from what was on disk last.
    pub(super) async fn ledger_page(
        &self,
        after: Option<LedgerCursor>,
        entries_max: usize,
    ) -> Result<LedgerPage, StoreFault> {
        self.read(move |shelf| shelf.ledger_page(after, entries_max)).await
    }

    /// Reads a page of whole partitions.
    pub(super) async fn partitions_page(
        &self,
        after: Option<PartitionCursor>,
        partitions_max: usize,
    ) -> Result<PartitionsPage, StoreFault> {
        self.read(move |shelf| shelf.partitions_page(after.as_ref(), partitions_max)).await
    }

    /// Lists the indexes that have entries.
    pub(super) async fn index_names(&self) -> Result<Vec<Name>, StoreFault> {
        self.read(Shelf::index_names).await
    }

    /// Reads a page of an index beside the store's thread, from what was on disk last.
    pub(super) async fn index_page(
        &self,
        index: Name,
        after: Option<IndexCursor>,
        entries_max: usize,
    ) -> Result<IndexPage, StoreFault> {
        self.read(move |shelf| shelf.index_page(&index, after.as_ref(), entries_max)).await
    }

    /// Counts the entries of an index.
    pub(super) async fn index_entries(&self, index: Name) -> Result<u64, StoreFault> {
        self.read(move |shelf| shelf.index_entries(&index)).await
    }

    /// Reads the file on a thread that may wait for the disk.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shelf) -> Result<T, StoreFault> + Send + 'static,
    ) -> Result<T, StoreFault> {
        let shelf = Arc::clone(&self.shelf);
        tokio::task::spawn_blocking(move || read(&shelf)).await.unwrap_or(Err(StoreFault::Away))
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // The thread finishes what waits, closes the file and ends, so that the folder is free when this returns.
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the embedded store's thread had panicked");
        }
    }
}

/// The thread: everything that waits is one batch; a change of ops tools ends it and comes after it.
fn serve(mut engine: Engine, requests: &Receiver<Request>) {
    let mut batch = Vec::new();
    while let Ok(first) = requests.recv() {
        let mut next = Some(first);
        let mut change = None;
        while let Some(request) = next.take() {
            match request {
                Request::Call(call) => batch.push(call),
                Request::Change(asked, answer) => change = Some((asked, answer)),
            }
            if change.is_none() && batch.len() < BATCH_OPS_MAX {
                next = requests.try_recv().ok();
            }
        }
        // Whoever gave up waiting was told that the outcome is unknown: not doing it is one.
        batch.retain(|call| call.answer.as_ref().is_some_and(|answer| !answer.is_closed()));
        if !batch.is_empty() {
            run(&mut engine, &mut batch);
        }
        if let Some((change, answer)) = change.filter(|(_, answer)| !answer.is_closed()) {
            let _ = answer.send(engine.change(&change));
        }
    }
}

fn run(engine: &mut Engine, batch: &mut Vec<Call>) {
    let mut listening: Vec<_> = batch.iter_mut().map(|call| call.answer.take()).collect();
    let answers = engine.run(batch.iter().map(|call| &call.op), |at, answer| {
        if let Some(listening) = listening[at].take() {
            let _ = listening.send(answer.clone());
        }
    });
    for (listening, answer) in listening.into_iter().zip(answers) {
        if let Some(listening) = listening {
            let _ = listening.send(answer);
        }
    }
    batch.clear();
}
