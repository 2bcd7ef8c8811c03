//! What lies beside the store's file and says that there is one, and how far it goes.
//!
//! It is written after each batch is on disk, without waiting for the disk itself: so it is never ahead of the file,
//! and after a kill it isn't behind either. A file that is missing is then not a new world, and one that lost its newest
//! batches, or is an older copy, is not taken for the newest.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Its name.
pub(super) const WITNESS_NAME: &str = "store.made";
const TEXT: &str = "\nbatches were written to store.redb. Without these two files a new world begins here.\n";
const DIGITS: usize = 20;

/// The open file.
pub(super) struct Witness {
    file: File,
    batch: u64,
}

impl Witness {
    /// Whether a folder has one.
    pub(super) fn is_there(folder: &Path) -> bool {
        is_there(&folder.join(WITNESS_NAME))
    }

    /// Which batch it has seen last; one that can't be read has seen none.
    pub(super) fn read(folder: &Path) -> u64 {
        let text = std::fs::read(folder.join(WITNESS_NAME)).unwrap_or_default();
        let digits = text.get(..DIGITS).and_then(|digits| std::str::from_utf8(digits).ok());
        digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }

    /// Of a file whose newest batch is this one; makes it if there is none.
    pub(super) fn of(folder: &Path, batch: u64) -> io::Result<Self> {
        let new = !Self::is_there(folder);
        let options = File::options().write(true).create(true).truncate(false).clone();
        let file = options.open(folder.join(WITNESS_NAME))?;
        file.write_all_at(format!("{batch:0DIGITS$}{TEXT}").as_bytes(), 0)?;
        if new {
            file.sync_all()?;
            sync(folder)?;
        }
        Ok(Self { file, batch })
    }

    /// The number of the next batch.
    pub(super) fn next(&self) -> u64 {
        self.batch + 1
    }

    /// The next batch is on disk.
    pub(super) fn saw(&mut self) {
        self.batch += 1;
        if let Err(error) = self.file.write_all_at(format!("{:0DIGITS$}", self.batch).as_bytes(), 0) {
            // The file itself has it.
            tracing::warn!(%error, "embedded store: cannot write {WITNESS_NAME}");
        }
    }
}

/// Whether something is there; what can't be looked at isn't absent.
pub(super) fn is_there(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

/// Brings the names in a folder to the disk.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_remembers_the_newest_batch() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(!Witness::is_there(folder.path()) && Witness::read(folder.path()) == 0);
        let mut witness = Witness::of(folder.path(), 7).expect("is made");
        assert_eq!((witness.next(), Witness::read(folder.path())), (8, 7));
        witness.saw();
        assert_eq!((witness.next(), Witness::read(folder.path())), (9, 8));
        let text = std::fs::read_to_string(folder.path().join(WITNESS_NAME)).expect("is text");
        assert!(text.starts_with("00000000000000000008\nbatches were"), "{text}");
        std::fs::write(folder.path().join(WITNESS_NAME), "garbage").expect("is written");
        assert!(Witness::is_there(folder.path()) && Witness::read(folder.path()) == 0);
        assert_eq!(Witness::of(folder.path(), 3).expect("is made good").next(), 4);
    }
}
