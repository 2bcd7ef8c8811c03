//! What ops queries read of the embedded store's file: indexes, ledgers and whole partitions, in read transactions of their own beside the
//! store's thread, which they never keep waiting.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use chunk_sync::store::{
    INDEX_NAMES_MAX, IndexCursor, IndexEntry, IndexPage, LedgerCursor, LedgerPage, Name, PartitionCursor,
    PartitionsPage, SHARD_COUNT, Shard, StoreFault,
};
use redb::{Database, ReadableDatabase};

use super::engine::Failure;
use super::file::{ACTORS, INDEX, INDEX_SIZES, LEDGER, ROWS};
use super::{ledger, rows, whole};

/// The file that is open now, if one is. Held weakly: only the store's thread opens and closes it.
#[derive(Default)]
pub(super) struct Shelf {
    database: Mutex<Weak<Database>>,
    /// Why nothing of it is served any more.
    broken: OnceLock<String>,
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

    /// No file will be open again.
    pub(super) fn broken(&self, text: &str) {
        self.broken.get_or_init(|| text.to_owned());
    }

    fn database(&self) -> Result<Arc<Database>, StoreFault> {
        if let Some(text) = self.broken.get() {
            return Err(StoreFault::Broken { text: text.clone() });
        }
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
            let (mut page, mut last) = (IndexPage::default(), None);
            for row in table.range(first.as_slice()..end.as_slice())?.take(entries_max + 1) {
                if page.entries.len() + page.damaged.len() == entries_max {
                    page.next = last;
                    break;
                }
                let (key, sealed) = row?;
                let (shard, place) = rows::index_place(key.value(), &prefix)?;
                last = Some(IndexCursor { shard, key: place.clone() });
                match rows::open_bytes(key.value(), sealed.value()) {
                    Ok(value) => page.entries.push(IndexEntry { shard, key: place, value }),
                    Err(rows::Damaged { row }) => page.damaged.push(row),
                }
            }
            Ok(page)
        };
        read().map_err(|failure| failure.fault())
    }

    /// Reads up to `entries_max` entries of the ledger after a cursor. Blocks on the disk.
    pub(super) fn ledger_page(
        &self,
        after: Option<LedgerCursor>,
        entries_max: usize,
    ) -> Result<LedgerPage, StoreFault> {
        let database = self.database()?;
        let read = || -> Result<LedgerPage, Failure> {
            ledger::page(&database.begin_read()?.open_table(LEDGER)?, after, entries_max)
        };
        read().map_err(|failure| failure.fault())
    }

    /// Reads up to `partitions_max` whole partitions after a place. Blocks on the disk.
    pub(super) fn partitions_page(
        &self,
        after: Option<&PartitionCursor>,
        partitions_max: usize,
    ) -> Result<PartitionsPage, StoreFault> {
        let database = self.database()?;
        let read = || -> Result<PartitionsPage, Failure> {
            let transaction = database.begin_read()?;
            let (rows, actors) = (transaction.open_table(ROWS)?, transaction.open_table(ACTORS)?);
            whole::page(&rows, &actors, after, partitions_max)
        };
        read().map_err(|failure| failure.fault())
    }

    /// Lists the indexes that have entries. Blocks on the disk.
    pub(super) fn index_names(&self) -> Result<Vec<Name>, StoreFault> {
        let database = self.database()?;
        let read = || -> Result<Vec<Name>, Failure> {
            let table = database.begin_read()?.open_table(INDEX)?;
            let mut names = Vec::new();
            let mut from = Vec::new();
            while let Some(row) = table.range(from.as_slice()..)?.next() {
                let name = rows::index_name(row?.0.value())?;
                from = rows::index_key(&rows::index_prefix(&name), Shard(SHARD_COUNT), b"");
                names.push(name);
                if names.len() > INDEX_NAMES_MAX {
                    break;
                }
            }
            // As names are ordered elsewhere; keys begin with their length.
            names.sort_unstable();
            Ok(names)
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
