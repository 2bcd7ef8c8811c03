//! The embedded store's file: opening it, with clear words for everything that can be wrong with it.

use std::path::Path;

use redb::{Database, DatabaseError, ReadableDatabase, StorageError, TableDefinition};

use crate::store::OpenError;
use crate::store::limits::EMBEDDED_CACHE_BYTES_MAX;

/// Documents, epochs, leases and heads of all partitions.
pub(super) const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
/// Logs of all partitions.
pub(super) const LOG: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("log");
/// What partitions remember of actors.
pub(super) const ACTORS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("actors");
/// Entries of indexes.
pub(super) const INDEX: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("index");
/// How many entries each index has in each shard.
pub(super) const INDEX_SIZES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("index_sizes");
/// Entries of the shards' ledgers.
pub(super) const LEDGER: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("ledger");
/// From which number to which each shard's ledger goes.
pub(super) const LEDGER_HEADS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("ledger_heads");
/// What is known of the file as a whole.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Which layout the file has.
pub(super) const META_FORMAT: &str = "format";
/// The latest time of the store's clock that a commit saw.
pub(super) const META_CLOCK_MS: &str = "clock_ms";

/// The layout that this version writes. It reads 2 too, which has no ledgers, and 1, which has no actors and no
/// indexes either, and makes them 3: a version that knew nothing of acts would do them again, and one that knew
/// nothing of ledgers would leave them out.
const FORMAT: u64 = 3;
const FORMATS_OLDER: std::ops::RangeInclusive<u64> = 1..=2;
const FILE_NAME: &str = "store.redb";

/// Opens the file in `folder`, making both if need be; answers it with the latest time that it remembers.
pub(super) fn open(folder: &Path) -> Result<(Database, u64), OpenError> {
    let shown = || folder.display().to_string();
    std::fs::create_dir_all(folder).map_err(|error| OpenError::Folder {
        path: shown(),
        reason: format!("cannot make the folder: {error}"),
    })?;
    let database = Database::builder()
        .set_cache_size(EMBEDDED_CACHE_BYTES_MAX)
        .create(folder.join(FILE_NAME))
        .map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path: shown() },
            DatabaseError::Storage(StorageError::Io(error))
                if error.kind() != std::io::ErrorKind::InvalidData
                    && error.kind() != std::io::ErrorKind::UnexpectedEof =>
            {
                OpenError::Folder { path: shown(), reason: format!("cannot open {FILE_NAME}: {error}") }
            }
            other => OpenError::Unreadable {
                path: shown(),
                reason: format!("{FILE_NAME} cannot be read: {other}"),
            },
        })?;
    let last_ms = prepare(&database).map_err(|error| match error {
        Prepare::Newer(format) => OpenError::Unreadable {
            path: shown(),
            reason: format!("{FILE_NAME} has format {format}; this version reads formats up to {FORMAT}"),
        },
        Prepare::Redb(error) => {
            OpenError::Unreadable { path: shown(), reason: format!("{FILE_NAME} cannot be used: {error}") }
        }
    })?;
    Ok((database, last_ms))
}

enum Prepare {
    Newer(u64),
    Redb(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for Prepare {
    fn from(error: E) -> Self {
        Prepare::Redb(error.into())
    }
}

/// Makes the tables of a new file, checks the format of an old one.
fn prepare(database: &Database) -> Result<u64, Prepare> {
    let known = match database.begin_read()?.open_table(META) {
        Ok(meta) => {
            let value =
                |name| -> Result<u64, Prepare> { Ok(meta.get(name)?.map_or(0, |value| value.value())) };
            Some((value(META_FORMAT)?, value(META_CLOCK_MS)?))
        }
        Err(redb::TableError::TableDoesNotExist(_)) => None,
        Err(error) => return Err(error.into()),
    };
    match known {
        Some((FORMAT, last_ms)) => Ok(last_ms),
        Some((older, last_ms)) if FORMATS_OLDER.contains(&older) => make_tables(database).map(|()| last_ms),
        Some((other, _)) => Err(Prepare::Newer(other)),
        None => make_tables(database).map(|()| 0),
    }
}

fn make_tables(database: &Database) -> Result<(), Prepare> {
    let transaction = database.begin_write()?;
    for table in [ROWS, LOG, ACTORS, INDEX, INDEX_SIZES, LEDGER, LEDGER_HEADS] {
        transaction.open_table(table)?;
    }
    transaction.open_table(META)?.insert(META_FORMAT, FORMAT)?;
    transaction.commit()?;
    Ok(())
}
