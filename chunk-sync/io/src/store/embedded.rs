//! The embedded store: one redb file in a folder, owned by one thread of one process.
//!
//! The thread takes what waits, does it in one transaction, and answers all of it after the file is on disk
//! (group commit): an answered commit survives `kill -9` and power loss, unless it asked to be accepted only: such
//! a one is answered before the file is written. Used through `StoreHandle` only; it
//! never blocks a thread of the runtime except to end its own thread when the last handle goes.

mod clock;
mod engine;
mod file;
mod partition;
mod rows;
mod shelf;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use chunk_sync::store::{IndexCursor, IndexPage, Name, StoreAnswer, StoreFault, StoreOp};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use self::engine::Engine;
use self::shelf::Shelf;
use super::limits::{BATCH_OPS_MAX, IN_FLIGHT_UNITS_MAX};
use super::masters::Masters;
use super::{OpenError, StoreOptions};

/// One operation on its way to the thread; its room is free again once it was answered.
struct Request {
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
        let request = Request { op, answer: Some(answer), _room: room };
        let sent = self.queue.as_ref().is_some_and(|queue| queue.try_send(request).is_ok());
        if !sent {
            return StoreAnswer::Failed(StoreFault::Away);
        }
        when_answered.await.unwrap_or(StoreAnswer::Failed(StoreFault::TimedOut))
    }

    /// Reads a page of an index beside the store's thread, from what was on disk last.
    pub(super) async fn index_page(
        &self,
        index: Name,
        after: Option<IndexCursor>,
        entries_max: usize,
    ) -> Result<IndexPage, StoreFault> {
        let shelf = Arc::clone(&self.shelf);
        let read = tokio::task::spawn_blocking(move || shelf.index_page(&index, after.as_ref(), entries_max));
        read.await.unwrap_or(Err(StoreFault::Away))
    }

    /// Counts the entries of an index.
    pub(super) async fn index_entries(&self, index: Name) -> Result<u64, StoreFault> {
        let shelf = Arc::clone(&self.shelf);
        let read = tokio::task::spawn_blocking(move || shelf.index_entries(&index));
        read.await.unwrap_or(Err(StoreFault::Away))
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

/// The thread: everything that waits is one batch.
fn serve(mut engine: Engine, requests: &Receiver<Request>) {
    let mut batch = Vec::new();
    while let Ok(first) = requests.recv() {
        batch.push(first);
        while batch.len() < BATCH_OPS_MAX {
            let Ok(next) = requests.try_recv() else { break };
            batch.push(next);
        }
        // Whoever gave up waiting was told that the outcome is unknown: not doing it is one.
        batch.retain(|request| request.answer.as_ref().is_some_and(|answer| !answer.is_closed()));
        let mut listening: Vec<_> = batch.iter_mut().map(|request| request.answer.take()).collect();
        let answers = engine.run(batch.iter().map(|request| &request.op), |at, answer| {
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
}
