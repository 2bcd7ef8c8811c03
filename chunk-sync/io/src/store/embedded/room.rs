//! Whether the disk takes something again, found out beside the store's file: a try on the file itself that fails costs
//! a repair of it.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::store::limits::ROOM_WANTED_BYTES;

/// What is written to find out; it is there for a moment only.
const NAME: &str = "store.room";

/// Whether an error says that the disk, or what one may have of it, is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

/// Whether there is room again, also for a file of this length. Where that can't be found out, the store finds out.
pub(super) fn is_there(folder: &Path, len: u64) -> bool {
    let path = folder.join(NAME);
    let tried = write(&path, len);
    // What can't be removed is written over the next time.
    let _ = std::fs::remove_file(&path);
    tried.map_or_else(|error| !is_full(&error), |()| true)
}

fn write(path: &Path, len: u64) -> io::Result<()> {
    let file = File::options().write(true).create(true).truncate(true).open(path)?;
    // Takes no room; what is written to it does.
    file.set_len(len)?;
    // Not zeros, which some file systems keep no room for.
    file.write_all_at(&vec![0xa5; ROOM_WANTED_BYTES], len.saturating_sub(ROOM_WANTED_BYTES as u64))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_found_and_nothing_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(is_there(folder.path(), 0) && is_there(folder.path(), 1 << 30));
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
        assert!(is_there(&folder.path().join("none"), 0), "who can't find out is no judge");
    }
}
