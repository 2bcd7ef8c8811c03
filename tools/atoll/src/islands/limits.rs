//! Named limits of suspended islands.

/// Largest archive that is read: far more than an island with as much on it as fits.
pub(crate) const ARCHIVE_MAX_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// How hard an archive is compressed: it is written once, and reading it takes the same time at any level.
pub(crate) const COMPRESSION_LEVEL: i32 = 19;
/// How often a change is asked for whose answer was lost.
pub(crate) const TRIES_MAX: u32 = 5;
