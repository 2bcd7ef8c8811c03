//! Opening and closing the store of a process.

use chunk_sync_io::store::{OpenError, StoreHandle, StoreUrl};
use chunk_sync_io::world::{WorldClock, open_world};

use crate::failure::Failure;

/// Opens the store.
pub(crate) async fn open(url: &StoreUrl) -> Result<StoreHandle, Failure> {
    StoreHandle::open(url).await.map_err(|error| match error {
        OpenError::Folder { .. } | OpenError::InUse { .. } | OpenError::Unreadable { .. } => {
            Failure::setup(error)
        }
        OpenError::Redis { .. } => Failure::run(error),
    })
}

/// The world's clock, by the store's.
pub(crate) async fn clock(store: &StoreHandle) -> Result<WorldClock, Failure> {
    let (_, clock) = open_world(store).await.map_err(Failure::run)?;
    Ok(clock)
}

/// Closes the store, once nobody else holds it: what waits is written first.
pub(crate) async fn close(store: Option<StoreHandle>) {
    // The last handle waits for the store's thread, which no thread of the runtime may do.
    if let Err(error) = tokio::task::spawn_blocking(move || drop(store)).await {
        tracing::error!(%error, "closing the store");
    }
}
