//! The store as the admin port may ask it: for audits, and for what `atoll inspect` shows. Open from the start of the
//! store until it closes; whoever is asking then is cut off, so that the store closes in time.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use chunk_sync_io::store::StoreHandle;
use tokio::sync::{Semaphore, watch};

use crate::islands::Archives;

/// Questions at once; each may read a lot.
const QUESTIONS_MAX: u32 = 2;

/// What questions are asked of.
pub(crate) struct World {
    /// The store.
    pub(crate) store: StoreHandle,
    /// Where its ledger is kept.
    pub(crate) ledger: Option<PathBuf>,
    /// Where the archives of suspended islands are.
    pub(crate) archives: Archives,
    room: Arc<Semaphore>,
    closing: watch::Sender<bool>,
}

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoAnswer {
    /// The store is not open.
    Closed,
    /// Others are asking.
    Busy,
}

/// A place for a world that opens and closes.
#[derive(Default)]
pub(crate) struct Desk(RwLock<Option<Arc<World>>>);

impl Desk {
    /// From now on there are answers.
    pub(crate) fn open(&self, store: StoreHandle, ledger: Option<&Path>, archives: Archives) {
        let ledger = ledger.map(Path::to_owned);
        let room = Arc::new(Semaphore::new(QUESTIONS_MAX as usize));
        let world = World { store, ledger, archives, room, closing: watch::channel(false).0 };
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(world));
    }

    /// Cuts off who is asking, and lets the store go.
    pub(crate) async fn close(&self) {
        let world = self.0.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(world) = world {
            world.closing.send_replace(true);
            // Nobody closes it.
            let _ = world.room.acquire_many(QUESTIONS_MAX).await;
        }
    }

    /// Asks something. It goes on to its end also when nobody waits for the answer any more, so that who asks and hangs
    /// up again and again has no more questions under way than anybody else.
    pub(crate) async fn ask<T: Send + 'static, Asking: Future<Output = T> + Send>(
        &self,
        question: impl FnOnce(Arc<World>) -> Asking + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let world = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        let world = world.ok_or(NoAnswer::Closed)?;
        let mut closing = world.closing.subscribe();
        let permit = Arc::clone(&world.room).try_acquire_owned().map_err(|_| NoAnswer::Busy)?;
        let asked = tokio::spawn(async move {
            let _permit = permit;
            tokio::select! {
                answer = question(world) => Ok(answer),
                _ = closing.wait_for(|closing| *closing) => Err(NoAnswer::Closed),
            }
        });
        asked.await.unwrap_or(Err(NoAnswer::Closed))
    }
}
