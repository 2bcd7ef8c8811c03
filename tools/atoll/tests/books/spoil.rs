//! Damage inside a store's file that is sound as a file: what was wrong before it was written.

use std::path::Path;

/// Flips a bit of all rows of a closed store that have these bytes in them, and leaves its file as it should be.
pub(crate) fn spoil(file: &Path, mark: &[u8]) {
    let database = redb::Database::open(file).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut hit = 0;
    for table in ["rows", "ledger", "index"] {
        let table = redb::TableDefinition::<&[u8], &[u8]>::new(table);
        let mut rows = transaction.open_table(table).unwrap();
        let marked =
            redb::ReadableTable::iter(&rows).unwrap().map(Result::unwrap).filter_map(|(key, value)| {
                let at = value.value().windows(mark.len()).position(|bytes| bytes == mark)?;
                Some((key.value().to_vec(), value.value().to_vec(), at))
            });
        for (key, mut value, at) in marked.collect::<Vec<_>>() {
            value[at] ^= 1;
            rows.insert(&key[..], &value[..]).unwrap();
            hit += 1;
        }
    }
    transaction.commit().unwrap();
    assert!(hit > 0, "nothing has the mark");
}
