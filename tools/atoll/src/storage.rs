//! The store of a process and the world's clock that is kept by it: opened once, closed last.

use chunk_sync_io::store::{OpenError, StoreHandle, StoreUrl};
use chunk_sync_io::world::{ClockKeeper, WorldClock, open_world};

use crate::archive;
use crate::failure::Failure;

/// A store in use.
pub(crate) struct Storage {
    /// The store.
    pub(crate) store: StoreHandle,
    /// The world's clock.
    pub(crate) clock: WorldClock,
    keeper: ClockKeeper,
}

impl Storage {
    /// Sets the world's clock by the store, and keeps it so.
    ///
    /// # Errors
    /// When an import into the store did not end: then nothing is written.
    pub(crate) async fn start(store: StoreHandle) -> Result<Self, Failure> {
        if let Err(failure) = archive::refuse_unfinished(&store).await {
            close(store).await;
            return Err(failure);
        }
        let (world, clock) = match open_world(&store).await {
            Ok(opened) => opened,
            Err(error) => {
                close(store).await;
                return Err(Failure::run(error));
            }
        };
        let keeper = ClockKeeper::start(clock.clone(), world.began_ms, store.clone());
        Ok(Self { store, clock, keeper })
    }

    /// Closes the store, once nobody else holds it.
    pub(crate) async fn close(self) {
        self.keeper.stop().await;
        close(self.store).await;
    }
}

/// Opens a store.
pub(crate) async fn open(url: &StoreUrl) -> Result<StoreHandle, Failure> {
    StoreHandle::open(url).await.map_err(|error| match error {
        OpenError::Folder { .. } | OpenError::InUse { .. } | OpenError::Unreadable { .. } => {
            Failure::setup(error)
        }
        OpenError::Redis { .. } => Failure::run(error),
    })
}

/// Closes a store, once nobody else holds it: what waits is written first.
pub(crate) async fn close(store: StoreHandle) {
    // The last handle waits for the store's thread, which no thread of the runtime may do.
    if let Err(error) = tokio::task::spawn_blocking(move || drop(store)).await {
        tracing::error!(%error, "closing the store");
    }
}
