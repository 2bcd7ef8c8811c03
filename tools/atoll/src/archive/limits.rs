//! Named limits of exports and imports.

use chunk_sync::store::{DOCUMENT_MAX_BYTES, PARTITION_ROWS_MAX};

/// Largest record: a partition with as many documents as fit, all as large as can be, and what it remembers of actors.
pub(crate) const RECORD_MAX_BYTES: usize = 3 * 1024 * 1024 * 1024;
/// How often an export begins again when the world changed while it was read.
pub(crate) const EXPORT_TRIES: u32 = 5;
/// Holders of one piece of the books' balances.
pub(crate) const OPENING_HOLDERS: usize = 1_000;
/// Entries of one record of an index.
pub(crate) const INDEX_PIECE: usize = 500;

const _: () = assert!(RECORD_MAX_BYTES > DOCUMENT_MAX_BYTES * PARTITION_ROWS_MAX as usize);
const _: () = assert!(INDEX_PIECE <= chunk_sync::store::INDEX_PAGE_ENTRIES_MAX);
