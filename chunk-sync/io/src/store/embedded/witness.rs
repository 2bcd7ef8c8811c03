//! What lies beside the store's file and says that there is one, and how far it goes.
//!
//! It is written after each batch is on disk, without waiting for the disk itself: so it is never ahead of the file,
//! and after a kill it isn't behind either. A file that is missing is then not a new world, and one that lost its newest
//! batches, or is an older copy, is not taken for the newest.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Its name.
pub(super) const WITNESS_NAME: &str = "store.made";
const TEXT: &str = "\nbatches were written to store.redb. Without these two files a new world begins here.\n";
const DIGITS: usize = 20;

/// The file, open once it could be written.
pub(super) struct Witness {
    folder: PathBuf,
    file: Option<File>,
    batch: u64,
    /// Whether it was said that it can't be written.
    told: bool,
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

    /// Of a file whose newest batch is this one; makes it if there is none. The store needs none to be used: where it
    /// can't be written, on a full disk for one, that is tried again with each batch.
    pub(super) fn of(folder: &Path, batch: u64) -> Self {
        let mut witness = Self { folder: folder.to_owned(), file: None, batch, told: false };
        if Self::read(folder) != batch || batch == 0 {
            witness.write();
        }
        witness
    }

    /// The number of the next batch.
    pub(super) fn next(&self) -> u64 {
        self.batch + 1
    }

    /// The next batch is on disk.
    pub(super) fn saw(&mut self) {
        self.batch += 1;
        self.write();
    }

    fn write(&mut self) {
        let written = match &self.file {
            Some(file) => file.write_all_at(format!("{:0DIGITS$}", self.batch).as_bytes(), 0),
            None => self.make().map(|file| self.file = Some(file)),
        };
        match written {
            Ok(()) => self.told = false,
            // The store's file itself has it. Said once for as long as it stays so.
            Err(error) if !std::mem::replace(&mut self.told, true) => {
                tracing::warn!(%error, folder = %self.folder.display(), "embedded store: cannot write {WITNESS_NAME}");
            }
            Err(_) => {}
        }
    }

    fn make(&self) -> io::Result<File> {
        let new = !Self::is_there(&self.folder);
        let options = File::options().write(true).create(true).truncate(false).clone();
        let file = options.open(self.folder.join(WITNESS_NAME))?;
        file.write_all_at(format!("{:0DIGITS$}{TEXT}", self.batch).as_bytes(), 0)?;
        if new {
            file.sync_all()?;
            sync(&self.folder)?;
        }
        Ok(file)
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
        let mut witness = Witness::of(folder.path(), 7);
        assert_eq!((witness.next(), Witness::read(folder.path())), (8, 7));
        witness.saw();
        assert_eq!((witness.next(), Witness::read(folder.path())), (9, 8));
        let text = std::fs::read_to_string(folder.path().join(WITNESS_NAME)).expect("is text");
        assert!(text.starts_with("00000000000000000008\nbatches were"), "{text}");
        std::fs::write(folder.path().join(WITNESS_NAME), "garbage").expect("is written");
        assert!(Witness::is_there(folder.path()) && Witness::read(folder.path()) == 0);
        assert_eq!(Witness::of(folder.path(), 3).next(), 4);
    }
    #[test]
    fn one_that_cannot_be_written_is_written_as_soon_as_it_can_be() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(WITNESS_NAME);
        std::fs::create_dir(&path).expect("is in its way");
        let mut witness = Witness::of(folder.path(), 7);
        witness.saw();
        assert_eq!((witness.next(), Witness::read(folder.path())), (9, 0));
        std::fs::remove_dir(&path).expect("is empty");
        witness.saw();
        assert_eq!((witness.next(), Witness::read(folder.path())), (10, 9));
    }

    #[test]
    fn one_that_says_what_is_so_is_left_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(WITNESS_NAME);
        std::fs::write(&path, format!("{:0DIGITS$} and more", 7)).expect("is written");
        Witness::of(folder.path(), 7);
        assert_eq!(std::fs::read_to_string(path).expect("reads"), format!("{:0DIGITS$} and more", 7));
    }
}
