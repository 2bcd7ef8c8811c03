//! Which server answers for each shard, as a number that grows with every change of it: by that callers know what
//! they have to load again.
//!
//! A new master may lack what the old one had acknowledged at a low durability, so on any change its partitions
//! are dropped and loaded again. Fed by the backends, read through `StoreHandle`.

use std::sync::{Mutex, PoisonError};

use chunk_sync::store::{SHARD_COUNT, Shard};
use tokio::sync::watch;

/// The servers of all shards.
pub(super) struct Masters {
    shards: Mutex<Vec<Served>>,
    changes: watch::Sender<u64>,
}

#[derive(Clone, Copy, Default)]
struct Served {
    /// A hash of the server's run; `None` before the first one was reached.
    server: Option<u64>,
    epoch: u64,
}

impl Masters {
    /// All shards, of which none has been reached.
    pub(super) fn new() -> Self {
        let shards = vec![Served::default(); usize::from(SHARD_COUNT)];
        Self { shards: Mutex::new(shards), changes: watch::Sender::new(0) }
    }

    /// Takes in that `server` answers for `shards` now.
    pub(super) fn served(&self, shards: impl IntoIterator<Item = Shard>, server: u64) {
        let mut served = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = 0u64;
        for Shard(shard) in shards {
            let Some(known) = served.get_mut(usize::from(shard)) else { continue };
            let before = known.server.replace(server);
            if before.is_some_and(|before| before != server) {
                known.epoch += 1;
                changed += 1;
            }
        }
        drop(served);
        if changed > 0 {
            tracing::warn!(shards = changed, "store: another server, or another run of it, answers now");
            self.changes.send_modify(|changes| *changes += 1);
        }
    }

    /// Takes in that everything that was in memory has to be loaded again.
    pub(super) fn all_changed(&self) {
        let mut served = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        served.iter_mut().for_each(|known| known.epoch += 1);
        drop(served);
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// The number of a shard's server.
    pub(super) fn epoch(&self, shard: Shard) -> u64 {
        let served = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        served.get(usize::from(shard.0)).map_or(0, |known| known.epoch)
    }

    /// Wakes whenever an epoch grows.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_grows_when_another_server_answers_and_only_then() {
        let masters = Masters::new();
        let mut changes = masters.changes();
        let epochs = || [masters.epoch(Shard(0)), masters.epoch(Shard(1)), masters.epoch(Shard(4095))];
        masters.served((0..SHARD_COUNT).map(Shard), 7);
        masters.served([Shard(1)], 7);
        assert_eq!((epochs(), changes.has_changed().unwrap()), ([0, 0, 0], false));
        masters.served([Shard(1), Shard(4095)], 8);
        assert_eq!((epochs(), *changes.borrow_and_update()), ([0, 1, 1], 1));
        masters.served([Shard(1)], 8);
        assert!(!changes.has_changed().unwrap());
        masters.all_changed();
        assert_eq!((epochs(), *changes.borrow_and_update()), ([1, 2, 2], 2));
    }
}
