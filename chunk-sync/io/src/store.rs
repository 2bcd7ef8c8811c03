//! The stores that last, behind one handle: the embedded one (a redb file and its thread) and Redis.
//!
//! The shells of nodes and allocators open a [`StoreHandle`] by URL and carry their cores' operations to it.
//! Every call is answered within [`CALL_WAIT_MS`], by a fault if need be, and what waits is bounded in bytes.
//! What a commit means is decided in `chunk_sync::store`, never here.

mod embedded;
mod events;
mod limits;
mod masters;
mod minter;
mod ops;
mod redis;
mod url;

use std::sync::Arc;
use std::time::Duration;

use chunk_sync::store::{ACTOR_IDLE_MS, LEASE_GUARD_MS, Shard, StoreAnswer, StoreFault, StoreOp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use self::masters::Masters;

pub use limits::*;
pub use minter::lease_minter;
pub use ops::OpsStore;
pub use url::{StoreUrl, StoreUrlError};

/// Why a store could not be opened; every text names the store and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder can't be made, or a file in it can't be written.
    #[error("embedded store {path}: {reason}")]
    Folder {
        /// The store's folder.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// Another process has the folder open.
    #[error("embedded store {path}: another process is using it")]
    InUse {
        /// The store's folder.
        path: String,
    },
    /// The file isn't a store, is damaged, or was written by a newer version.
    #[error("embedded store {path}: {reason}")]
    Unreadable {
        /// The store's folder.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Redis doesn't answer, or refuses.
    #[error("store {url}: {reason}")]
    Redis {
        /// Its URL without the password.
        url: String,
        /// What it said.
        reason: String,
    },
}

/// How a store is opened, where the usual is not wanted.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// How long the store must have served since its start before an expired lease may be taken over, in ms.
    /// Less than the longest lease in use is for tests only: it lets two holders act at once.
    pub lease_guard_ms: u64,
    /// How long one call may take before its outcome counts as unknown, in ms.
    pub call_wait_ms: u64,
    /// How long after its last act a full partition may forget an actor, in ms.
    pub actor_idle_ms: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { lease_guard_ms: LEASE_GUARD_MS, call_wait_ms: CALL_WAIT_MS, actor_idle_ms: ACTOR_IDLE_MS }
    }
}

/// An open store; clones share it, and the last one to go closes it.
#[derive(Clone)]
pub struct StoreHandle {
    shared: Arc<Shared>,
}

struct Shared {
    backend: Backend,
    masters: Arc<Masters>,
    room: Arc<Semaphore>,
    ops_room: Semaphore,
    call_wait: Duration,
    runtime: tokio::runtime::Handle,
}

enum Backend {
    Embedded(embedded::Embedded),
    Redis(redis::RedisStore),
}

impl StoreHandle {
    /// Opens the store that `url` names. Must be called on a tokio runtime, which then does its waiting.
    pub async fn open(url: &StoreUrl) -> Result<Self, OpenError> {
        Self::open_with(url, StoreOptions::default()).await
    }

    /// Opens the store that `url` names, with other than the usual options.
    pub async fn open_with(url: &StoreUrl, options: StoreOptions) -> Result<Self, OpenError> {
        let masters = Arc::new(Masters::new());
        let backend = match url {
            StoreUrl::Embedded(folder) => {
                Backend::Embedded(embedded::Embedded::open(folder, options, Arc::clone(&masters)).await?)
            }
            StoreUrl::Redis(redis) => {
                Backend::Redis(redis::RedisStore::open(redis, options, Arc::clone(&masters)).await?)
            }
        };
        Ok(Self {
            shared: Arc::new(Shared {
                backend,
                masters,
                ops_room: Semaphore::new(OPS_IN_FLIGHT_MAX),
                room: Arc::new(Semaphore::new(IN_FLIGHT_UNITS_MAX as usize)),
                call_wait: Duration::from_millis(options.call_wait_ms),
                runtime: tokio::runtime::Handle::current(),
            }),
        })
    }

    /// Does one operation. Operations that are under way at once may be done in any order: who needs one after
    /// the other waits for the answer.
    pub async fn call(&self, op: StoreOp) -> StoreAnswer {
        match self.admit(&op) {
            Ok(permit) => self.shared.call(op, permit).await,
            Err(fault) => StoreAnswer::Failed(fault),
        }
    }

    /// As [`call`](Self::call), from any thread and without waiting: `reply` is called exactly once, on a thread
    /// of the runtime, or at once on this one when the operation isn't taken.
    pub fn submit(&self, op: StoreOp, reply: impl FnOnce(StoreAnswer) + Send + 'static) {
        let mut reply = Reply(Some(reply));
        match self.admit(&op) {
            Ok(permit) => {
                let shared = Arc::clone(&self.shared);
                let runtime = self.shared.runtime.clone();
                runtime.spawn(async move { reply.send(shared.call(op, permit).await) });
            }
            Err(fault) => reply.send(StoreAnswer::Failed(fault)),
        }
    }

    /// What ops tools read: pages of indexes. No core has a handle, so none can ask.
    pub fn ops(&self) -> OpsStore {
        OpsStore::new(Arc::clone(&self.shared))
    }

    /// A number that grows whenever another server, or another run of one, answers for this shard from now on. It
    /// may lack what the one before had acknowledged at less than [`Persisted`](chunk_sync::store::Durability):
    /// whoever loaded a partition of the shard at a lower number loads it again.
    pub fn master_epoch(&self, shard: Shard) -> u64 {
        self.shared.masters.epoch(shard)
    }

    /// Wakes after each change of a [`master_epoch`](Self::master_epoch); the value counts changes.
    pub fn master_changes(&self) -> watch::Receiver<u64> {
        self.shared.masters.changes()
    }

    fn admit(&self, op: &StoreOp) -> Result<OwnedSemaphorePermit, StoreFault> {
        op.check()?;
        let room = Arc::clone(&self.shared.room);
        room.try_acquire_many_owned(in_flight_units(op)).map_err(|_| StoreFault::Away)
    }
}

impl Shared {
    async fn call(&self, op: StoreOp, permit: OwnedSemaphorePermit) -> StoreAnswer {
        let used = match &self.backend {
            Backend::Redis(redis) => redis.used(op.partition().shard()),
            Backend::Embedded(_) => None,
        };
        let answer = async {
            match &self.backend {
                Backend::Embedded(embedded) => embedded.call(op, permit).await,
                Backend::Redis(redis) => redis.call(op, permit).await,
            }
        };
        match tokio::time::timeout(self.call_wait, answer).await {
            Ok(answer) => answer,
            Err(_) => {
                if let Some(used) = used {
                    used.suspect();
                }
                StoreAnswer::Failed(StoreFault::TimedOut)
            }
        }
    }
}

/// Answers even when the runtime ends before the store did: the asker never waits for nothing.
struct Reply<F: FnOnce(StoreAnswer)>(Option<F>);

impl<F: FnOnce(StoreAnswer)> Reply<F> {
    fn send(&mut self, answer: StoreAnswer) {
        if let Some(reply) = self.0.take() {
            reply(answer);
        }
    }
}

impl<F: FnOnce(StoreAnswer)> Drop for Reply<F> {
    fn drop(&mut self) {
        self.send(StoreAnswer::Failed(StoreFault::TimedOut));
    }
}
