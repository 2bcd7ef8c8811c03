//! What ops queries read of the embedded store's file: its indexes, in read transactions of their own beside the
//! store's thread, which they never keep waiting.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use chunk_sync::store::{IndexCursor, IndexEntry, IndexPage, Name, SHARD_COUNT, Shard, StoreFault};
use redb::{Database, ReadableDatabase};

use super::engine::Failure;
use super::file::{INDEX, INDEX_SIZES};
use super::rows;

/// The file that is open now, if one is. Held weakly: only the store's thread opens and closes it.
#[derive(Default)]
pub(super) struct Shelf {
    database: Mutex<Weak<Database>>,
}

impl Shelf {
    /// From now on this file is read.
    pub(super) fn put(&self, database: &Arc<Database>) {
        *self.database.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(database);
    }

    /// No file is open.
    pub(super) fn clear(&self) {
        *self.database.lock().unwrap_or_else(PoisonError::into_inner) = Weak::new();
    }

    fn database(&self) -> Result<Arc<Database>, StoreFault> {
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        database.upgrade().ok_or(StoreFault::Away)
    }

    /// Reads up to `entries_max` entries after a cursor. Blocks on the disk.
    pub(super) fn index_page(
        &self,
        index: &Name,
        after: Option<&IndexCursor>,
        entries_max: usize,
    ) -> Result<IndexPage, StoreFault> {
        let database = self.database()?;
        let read = || -> Result<IndexPage, Failure> {
            let table = database.begin_read()?.open_table(INDEX)?;
            let prefix = rows::index_prefix(index);
            // A key can't be followed more closely than by itself and a zero byte.
            let first = match after {
                None => rows::index_key(&prefix, Shard(0), b""),
                Some(cursor) => [&rows::index_key(&prefix, cursor.shard, &cursor.key)[..], &[0]].concat(),
            };
            let end = rows::index_key(&prefix, Shard(SHARD_COUNT), b"");
            let mut found = Vec::new();
            for row in table.range(first.as_slice()..end.as_slice())?.take(entries_max + 1) {
                let (key, sealed) = row?;
                let (shard, place) = rows::index_place(key.value(), &prefix)?;
                let value = rows::open_bytes(key.value(), sealed.value())?;
                found.push(IndexEntry { shard, key: place, value });
            }
            Ok(IndexPage::cut(found, entries_max))
        };
        read().map_err(|failure| failure.fault())
    }

    /// Counts the entries of an index. Blocks on the disk.
    pub(super) fn index_entries(&self, index: &Name) -> Result<u64, StoreFault> {
        let database = self.database()?;
        let read = || -> Result<u64, Failure> {
            let table = database.begin_read()?.open_table(INDEX_SIZES)?;
            let prefix = rows::index_prefix(index);
            let (first, end) =
                (rows::index_key(&prefix, Shard(0), b""), rows::index_key(&prefix, Shard(SHARD_COUNT), b""));
            let mut entries = 0;
            for row in table.range(first.as_slice()..end.as_slice())? {
                let (key, sealed) = row?;
                entries += u64::from(rows::open_count(key.value(), sealed.value())?);
            }
            Ok(entries)
        };
        read().map_err(|failure| failure.fault())
    }
}
