//! The embedded store's file: opening it, with clear words for everything that can be wrong with it.

use std::any::Any;
use std::fs::File;
use std::io::ErrorKind;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{Database, DatabaseError, ReadableDatabase, StorageError, TableDefinition};

use super::blocks::Blocks;
use super::witness::{WITNESS_NAME, Witness, is_there, sync};
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

/// The number of the newest batch.
pub(super) const META_BATCH: &str = "batch";

/// The layout that this version writes. It reads 2 too, which has no ledgers, and 1, which has no actors and no
/// indexes either, and makes them 3: a version that knew nothing of acts would do them again, and one that knew
/// nothing of ledgers would leave them out.
const FORMAT: u64 = 3;
const FORMATS: std::ops::RangeInclusive<u64> = 1..=FORMAT;
/// What to do about a file that can't be used any more.
const RESTORE: &str = "keep it, and import a copy of the world into another folder (docs/operations.md)";
/// redb says 0.3 when it takes back the newest batch, and 0.6 in every repair.
const ROLLED_BACK_BEFORE: f64 = 0.5;
const FILE_NAME: &str = "store.redb";

/// A file that was judged and found sound.
pub(super) struct Opened {
    pub(super) database: Arc<Database>,
    pub(super) blocks: Blocks,
    pub(super) witness: Witness,
    /// The latest time that it remembers.
    pub(super) last_ms: u64,
}

/// Opens the file in `folder`, making both where there never was one. All of it is read and checked before anything
/// in it is changed or served.
pub(super) fn open(folder: &Path) -> Result<Opened, OpenError> {
    std::fs::create_dir_all(folder)
        .map_err(|error| unusable(folder, format!("cannot make the folder: {error}")))?;
    if !is_there(&folder.join(FILE_NAME)) && !Witness::is_there(folder) {
        make(folder)?;
    }
    open_existing(folder)
}

/// Opens the file that has to be in `folder`.
pub(super) fn open_existing(folder: &Path) -> Result<Opened, OpenError> {
    let file = match File::options().read(true).write(true).open(folder.join(FILE_NAME)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(unreadable(
                folder,
                format!(
                    "{FILE_NAME} is missing, though {WITNESS_NAME} says that a store was made here; put it back, \
                     or remove {WITNESS_NAME} to begin a new world"
                ),
            ));
        }
        Err(error) => return Err(unusable(folder, format!("cannot open {FILE_NAME}: {error}"))),
    };
    if file.metadata().is_ok_and(|about| about.len() == 0) {
        let reason = format!("{FILE_NAME} is empty, so what it held is lost; {RESTORE}");
        return Err(unreadable(folder, reason));
    }
    // What redb makes of a damaged file may be a panic.
    match catch_unwind(|| judge(folder, file)) {
        Ok(judged) => judged,
        Err(panic) => Err(unreadable(folder, damaged(&panic_text(panic.as_ref())))),
    }
}

/// Makes an empty store, whole before it has its name.
fn make(folder: &Path) -> Result<(), OpenError> {
    let failed = |error: std::io::Error| unusable(folder, format!("cannot make {FILE_NAME}: {error}"));
    let made = folder.join(format!("{FILE_NAME}.new-{}", std::process::id()));
    match std::fs::remove_file(&made) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let database = Database::create(&made).map_err(|error| as_open_error(folder, error))?;
    make_tables(&database).map_err(|error| unusable(folder, format!("cannot make {FILE_NAME}: {error}")))?;
    drop(database);
    // Whoever made one at the same time was first.
    let named = std::fs::hard_link(&made, folder.join(FILE_NAME));
    let named = named.or_else(|error| match error.kind() {
        ErrorKind::AlreadyExists => Ok(()),
        _ => std::fs::rename(&made, folder.join(FILE_NAME)),
    });
    named.map_err(failed)?;
    let _ = std::fs::remove_file(&made);
    sync(folder).map_err(failed)
}

/// Reads all of a file; one that is not what was written is refused and left as it is.
fn judge(folder: &Path, file: File) -> Result<Opened, OpenError> {
    let failed = |error: DatabaseError| as_open_error(folder, error);
    let blocks = Blocks::hold(file, &folder.join(FILE_NAME)).map_err(failed)?;
    let (unclean, rolled_back) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let mut builder = Database::builder();
    builder.set_cache_size(EMBEDDED_CACHE_BYTES_MAX).set_repair_callback({
        let (unclean, rolled_back) = (Arc::clone(&unclean), Arc::clone(&rolled_back));
        move |repair| {
            unclean.store(true, Ordering::SeqCst);
            // It says so much only when it had to take back the newest batch.
            if repair.progress() > 0.0 && repair.progress() < ROLLED_BACK_BEFORE {
                rolled_back.store(true, Ordering::SeqCst);
            }
        }
    });
    let mut database = builder.create_with_backend(blocks.clone()).map_err(failed)?;
    // One that was not closed was read and checked by its repair just now.
    if !unclean.load(Ordering::SeqCst) && !database.check_integrity().map_err(failed)? {
        return Err(unreadable(folder, damaged("its pages do not fit together")));
    }
    let known = read_meta(&database).map_err(|error| cannot(folder, "read", error))?;
    let batch = known.map_or(0, |known| known.batch);
    let witnessed = Witness::read(folder);
    if let Some(format) = known.map(|known| known.format).filter(|format| !FORMATS.contains(format)) {
        let reason = format!("{FILE_NAME} has format {format}; this version reads formats up to {FORMAT}");
        return Err(unreadable(folder, reason));
    }
    if batch < witnessed {
        return Err(unreadable(
            folder,
            damaged(&format!(
                "it ends with batch {batch}, though batch {witnessed} was acknowledged; if it is an older copy that \
                 you put there, remove {WITNESS_NAME} to go back to it"
            )),
        ));
    }
    blocks.release().map_err(|error| unusable(folder, format!("cannot write {FILE_NAME}: {error}")))?;
    if rolled_back.load(Ordering::SeqCst) {
        tracing::warn!(
            folder = %folder.display(),
            "embedded store: the newest batch was not whole, as after a loss of power, and was taken back; if there \
             was none, the disk is damaged"
        );
    }
    if known.is_none_or(|known| known.format != FORMAT) {
        make_tables(&database).map_err(|error| cannot(folder, "write", error))?;
    }
    let witness = Witness::of(folder, batch);
    let last_ms = known.map_or(0, |known| known.clock_ms);
    Ok(Opened { database: Arc::new(database), blocks, witness, last_ms })
}

/// What a damaged file is called, wherever it is noticed.
pub(super) fn damaged(how: &str) -> String {
    format!("{FILE_NAME} is damaged ({how}); {RESTORE}")
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it cannot be read").to_owned()
}

fn as_open_error(folder: &Path, error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path: folder.display().to_string() },
        DatabaseError::Storage(StorageError::Io(error)) if !is_damage(&error) => {
            unusable(folder, format!("cannot open {FILE_NAME}: {error}"))
        }
        other => unreadable(folder, damaged(&other.to_string())),
    }
}

/// Why a file can't be read or written: the disk's trouble, or damage.
fn cannot(folder: &Path, what: &str, error: redb::Error) -> OpenError {
    match error {
        redb::Error::Io(error) if !is_damage(&error) => {
            unusable(folder, format!("cannot {what} {FILE_NAME}: {error}"))
        }
        other => unreadable(folder, damaged(&other.to_string())),
    }
}

/// Whether what the disk says is that the file isn't as it was written.
fn is_damage(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
}

fn unusable(folder: &Path, reason: String) -> OpenError {
    OpenError::Folder { path: folder.display().to_string(), reason }
}

fn unreadable(folder: &Path, reason: String) -> OpenError {
    OpenError::Unreadable { path: folder.display().to_string(), reason }
}

/// What a file says of itself.
#[derive(Clone, Copy)]
struct Meta {
    format: u64,
    clock_ms: u64,
    batch: u64,
}

/// What a file says of itself; nothing if it has no tables.
fn read_meta(database: &Database) -> Result<Option<Meta>, redb::Error> {
    let meta = match database.begin_read()?.open_table(META) {
        Ok(meta) => meta,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let value = |name| -> Result<u64, redb::Error> { Ok(meta.get(name)?.map_or(0, |value| value.value())) };
    Ok(Some(Meta { format: value(META_FORMAT)?, clock_ms: value(META_CLOCK_MS)?, batch: value(META_BATCH)? }))
}

fn make_tables(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    for table in [ROWS, LOG, ACTORS, INDEX, INDEX_SIZES, LEDGER, LEDGER_HEADS] {
        transaction.open_table(table)?;
    }
    transaction.open_table(META)?.insert(META_FORMAT, FORMAT)?;
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_fails_is_told_from_a_damaged_file() {
        let said = |error: redb::Error| cannot(Path::new("world"), "write", error);
        for kind in [ErrorKind::StorageFull, ErrorKind::ReadOnlyFilesystem, ErrorKind::Other] {
            let error = said(redb::Error::Io(std::io::Error::new(kind, "no luck")));
            assert!(matches!(error, OpenError::Folder { .. }), "{error:?}");
            assert!(error.to_string().contains("cannot write store.redb: no luck"), "{error}");
        }
        let cut = redb::Error::Io(std::io::Error::new(ErrorKind::UnexpectedEof, "is shorter"));
        for damage in [cut, redb::Error::Corrupted("a page".into())] {
            let error = said(damage);
            assert!(matches!(error, OpenError::Unreadable { .. }), "{error:?}");
        }
    }
}
