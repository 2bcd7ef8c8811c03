//! The file under redb, block by block: what is read is what was written there, or an error.
//!
//! redb checks its pages only when it repairs a file. So while a file is opened and judged, nothing is written to it:
//! what redb would write is held back until somebody says that the file is sound ([`Blocks::release`]). Everything
//! that is read or written from then on is remembered by a checksum of each block, 8 bytes for 4 KiB: damage that
//! comes to the file while it is in use is found by whoever reads it, and never taken for data.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};
use xxhash_rust::xxh3::xxh3_64;

/// As large as redb's smallest page, so that it reads and writes whole blocks, but for its header.
const BLOCK_BYTES: u64 = 4096;

/// The file; copies are the same one.
#[derive(Clone, Debug)]
pub(super) struct Blocks {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Reads, writes and locks.
    backend: FileBackend,
    /// The same file, to ask whether it is still where it was.
    file: File,
    path: PathBuf,
    sealed: AtomicBool,
    /// How long the file would have become, had that not been too long.
    too_long: AtomicU64,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    /// What is known of each block, by its checksum; 0 is nothing.
    known: Vec<AtomicU64>,
    /// What isn't written yet.
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    blocks: BTreeMap<u64, Vec<u8>>,
    len: u64,
    /// Whether nothing was written and no length given yet.
    untouched: bool,
}

impl Blocks {
    /// Of the open file of this name, with everything that is written held back.
    pub(super) fn hold(file: File, path: &Path) -> Result<Self, DatabaseError> {
        let backend = FileBackend::new(file.try_clone()?)?;
        let len = file.metadata()?.len();
        let mut known = Vec::new();
        known.resize_with(blocks_of(len), AtomicU64::default);
        let held = Held { blocks: BTreeMap::new(), len, untouched: true };
        let state = RwLock::new(State { known, held: Some(held) });
        let (sealed, too_long) = (AtomicBool::new(false), AtomicU64::new(0));
        Ok(Self { inner: Arc::new(Inner { backend, file, path: path.to_owned(), sealed, too_long, state }) })
    }

    /// Until it is locked, whoever had the file before may still give it another length.
    fn measure(&self) -> io::Result<()> {
        let mut state = self.write_state();
        let State { known, held: Some(held) } = &mut *state else { return Ok(()) };
        if held.untouched {
            held.len = self.inner.backend.len()?;
            known.resize_with(blocks_of(held.len), AtomicU64::default);
        }
        Ok(())
    }

    /// How long the file would have become, had that not been too long; 0 if it never was.
    pub(super) fn too_long(&self) -> u64 {
        self.inner.too_long.load(Ordering::SeqCst)
    }

    fn note_too_long(&self, error: &io::Error, len: u64) {
        if error.kind() == io::ErrorKind::FileTooLarge {
            self.inner.too_long.fetch_max(len, Ordering::SeqCst);
        }
    }

    /// Whether the file still has its name.
    fn is_there(&self) -> io::Result<bool> {
        let held = self.inner.file.metadata()?;
        match std::fs::metadata(&self.inner.path) {
            Ok(named) => Ok((named.dev(), named.ino()) == (held.dev(), held.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes what was held back, and from now on everything at once.
    pub(super) fn release(&self) -> io::Result<()> {
        let mut state = self.write_state();
        let Some(held) = state.held.take() else { return Ok(()) };
        self.inner.backend.set_len(held.len)?;
        // The first block says where the rest lies: it comes after everything else is on disk.
        for (at, block) in held.blocks.iter().rev() {
            if *at == 0 {
                self.inner.backend.sync_data()?;
            }
            self.inner.backend.write(at * BLOCK_BYTES, block)?;
        }
        self.inner.backend.sync_data()
    }

    /// Writes nothing any more, whoever wants it: redb is in a state that nobody knows.
    pub(super) fn seal(&self) {
        self.inner.sealed.store(true, Ordering::SeqCst);
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.inner.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.inner.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn writable(&self) -> io::Result<()> {
        match self.inner.sealed.load(Ordering::SeqCst) {
            true => Err(io::Error::other("the store's file takes nothing after a failure")),
            false => Ok(()),
        }
    }

    /// Reads whole blocks from `start` on.
    fn read_whole(&self, state: &State, start: u64, out: &mut [u8]) -> io::Result<()> {
        let there = match &state.held {
            None => out.len(),
            Some(_) => in_memory(self.inner.backend.len()?.saturating_sub(start)).min(out.len()),
        };
        let (read, beyond) = out.split_at_mut(there);
        self.inner.backend.read(start, read)?;
        beyond.fill(0);
        for (at, block) in (start / BLOCK_BYTES..).zip(out.chunks_mut(BLOCK_BYTES as usize)) {
            match state.held.as_ref().and_then(|held| held.blocks.get(&at)) {
                Some(held) => block.copy_from_slice(&held[..block.len()]),
                None => state.recognise(at, block)?,
            }
        }
        Ok(())
    }
}

impl State {
    fn len(&self, backend: &FileBackend) -> io::Result<u64> {
        self.held.as_ref().map_or_else(|| backend.len(), |held| Ok(held.len))
    }

    /// Compares a block with what is known of it; the first to read one makes it known.
    fn recognise(&self, at: u64, block: &[u8]) -> io::Result<()> {
        let Some(known) = self.known.get(in_memory(at)) else { return Ok(()) };
        let sum = sum(block);
        match known.compare_exchange(0, sum, Ordering::SeqCst, Ordering::SeqCst) {
            Err(other) if other != sum => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the bytes from {} on are not what was written there", at * BLOCK_BYTES),
            )),
            _ => Ok(()),
        }
    }

    fn know(&mut self, at: u64, sum: u64) {
        if let Some(known) = self.known.get_mut(in_memory(at)) {
            *known.get_mut() = sum;
        }
    }
}

impl StorageBackend for Blocks {
    fn len(&self) -> io::Result<u64> {
        self.state().len(&self.inner.backend)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let (start, end) = around(offset, out.len(), state.len(&self.inner.backend)?)?;
        if (start, end) == (offset, offset + out.len() as u64) {
            return self.read_whole(&state, start, out);
        }
        let mut whole = vec![0; in_memory(end - start)];
        self.read_whole(&state, start, &mut whole)?;
        let from = in_memory(offset - start);
        out.copy_from_slice(&whole[from..from + out.len()]);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.writable()?;
        let mut state = self.write_state();
        let (start, end) = around(offset, data.len(), state.len(&self.inner.backend)?)?;
        let mut whole = vec![0; in_memory(end - start)];
        if (start, end) != (offset, offset + data.len() as u64) {
            self.read_whole(&state, start, &mut whole)?;
        }
        let from = in_memory(offset - start);
        whole[from..from + data.len()].copy_from_slice(data);
        let held = state.held.is_some();
        let written = if held { Ok(()) } else { self.inner.backend.write(offset, data) };
        if let Err(error) = &written {
            self.note_too_long(error, end);
        }
        for (at, block) in (start / BLOCK_BYTES..).zip(whole.chunks(BLOCK_BYTES as usize)) {
            // How far a write came that failed isn't known.
            state.know(at, if written.is_ok() { sum(block) } else { 0 });
            if let Some(held) = &mut state.held {
                held.blocks.insert(at, block.to_vec());
                held.untouched = false;
            }
        }
        written
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.writable()?;
        let mut state = self.write_state();
        let before = state.len(&self.inner.backend)?;
        match &mut state.held {
            Some(held) => {
                held.blocks.split_off(&len.div_ceil(BLOCK_BYTES));
                held.len = len;
                held.untouched = false;
            }
            None => {
                let set = self.inner.backend.set_len(len);
                set.inspect_err(|error| self.note_too_long(error, len))?;
            }
        }
        state.known.resize_with(blocks_of(len), AtomicU64::default);
        // A last block that is not whole becomes another one.
        for edge in [before, len].into_iter().filter(|edge| !edge.is_multiple_of(BLOCK_BYTES)) {
            state.know(edge / BLOCK_BYTES, 0);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.writable()?;
        if self.state().held.is_some() {
            return Ok(());
        }
        if !self.is_there()? {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the store's file was removed from its folder, or moved, while it was in use",
            ));
        }
        self.inner.backend.sync_data()
    }

    fn close(&self) -> io::Result<()> {
        self.inner.backend.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        let locked = self.inner.backend.try_lock_range(start, end)?;
        if locked {
            self.measure()?;
        }
        Ok(locked)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.backend.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.backend.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.backend.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.backend.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.backend.query_lock_range(start, end)
    }
}

/// The bounds of the blocks that these bytes lie in; the last block ends with the file.
fn around(offset: u64, bytes: usize, len: u64) -> io::Result<(u64, u64)> {
    let end = offset.checked_add(bytes as u64).filter(|end| *end <= len).ok_or_else(|| {
        io::Error::new(io::ErrorKind::UnexpectedEof, "the store's file is shorter than it should be")
    })?;
    Ok((offset - offset % BLOCK_BYTES, end.next_multiple_of(BLOCK_BYTES).min(len)))
}

fn blocks_of(len: u64) -> usize {
    in_memory(len.div_ceil(BLOCK_BYTES))
}

fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn sum(block: &[u8]) -> u64 {
    xxh3_64(block).max(1)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn file() -> (tempfile::NamedTempFile, Blocks) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(3 * BLOCK_BYTES + 100).expect("has a length");
        let blocks = Blocks::hold(file.reopen().expect("opens"), file.path()).expect("is held");
        (file, blocks)
    }

    fn read(blocks: &Blocks, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let mut out = vec![9; bytes];
        blocks.read(offset, &mut out).map(|()| out)
    }

    #[test]
    fn what_is_held_back_is_read_and_not_written() {
        let (file, blocks) = file();
        blocks.set_len(5 * BLOCK_BYTES).expect("grows");
        blocks.write(BLOCK_BYTES - 2, &[1, 2, 3, 4]).expect("is held");
        blocks.write(4 * BLOCK_BYTES, &[5; 4096]).expect("is held");
        blocks.sync_data().expect("nothing to do");
        let checked = |blocks: &Blocks| {
            assert_eq!(read(blocks, BLOCK_BYTES - 3, 6).expect("reads"), [0, 1, 2, 3, 4, 0]);
            assert_eq!(read(blocks, 4 * BLOCK_BYTES - 1, 3).expect("reads"), [0, 5, 5]);
            assert_eq!(
                read(blocks, 5 * BLOCK_BYTES - 1, 2).expect_err("ends").kind(),
                io::ErrorKind::UnexpectedEof
            );
        };
        checked(&blocks);
        let bytes = std::fs::read(file.path()).expect("reads");
        assert!(bytes.len() as u64 == 3 * BLOCK_BYTES + 100 && bytes.iter().all(|byte| *byte == 0));
        blocks.release().expect("is written");
        checked(&blocks);
        drop(blocks);
        checked(&Blocks::hold(file.reopen().expect("opens"), file.path()).expect("is held"));
    }

    #[test]
    fn a_block_that_changes_by_itself_is_not_read() {
        let (file, blocks) = file();
        blocks.release().expect("nothing to do");
        blocks.write(BLOCK_BYTES, &[7; 4096]).expect("is written");
        read(&blocks, 0, 10).expect("reads");
        let last = 3 * BLOCK_BYTES;
        read(&blocks, last, 100).expect("reads what is not whole");
        for at in [5, BLOCK_BYTES + 4000, last + 50] {
            file.as_file().write_all_at(&[1], at).expect("is damaged");
            for _ in 0..2 {
                let error = read(&blocks, at & !4095, 8).expect_err("is noticed");
                assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
            }
        }
        // What is written whole is right again; what grows is another block.
        blocks.write(BLOCK_BYTES, &[8; 4096]).expect("is written");
        assert_eq!(read(&blocks, BLOCK_BYTES, 2).expect("reads"), [8, 8]);
        assert!(blocks.write(3, &[1]).is_err(), "a damaged block is not made good by half");
        blocks.set_len(4 * BLOCK_BYTES).expect("grows");
        read(&blocks, last, 4096).expect("reads");
    }

    #[test]
    fn its_length_is_that_which_it_has_once_it_is_locked() {
        let (file, blocks) = file();
        // Whoever had it before gives room back when it closes it.
        file.as_file().set_len(2 * BLOCK_BYTES).expect("is shorter");
        assert!(blocks.try_lock_range(Bound::Unbounded, Bound::Unbounded).expect("is locked"));
        assert_eq!(blocks.len().expect("has a length"), 2 * BLOCK_BYTES);
        blocks.set_len(5 * BLOCK_BYTES).expect("grows");
        assert!(blocks.try_lock_range(Bound::Unbounded, Bound::Unbounded).expect("is locked again"));
        assert_eq!(blocks.len().expect("has a length"), 5 * BLOCK_BYTES, "what is held back is its length");
    }

    #[test]
    fn a_file_that_has_another_name_now_takes_nothing() {
        let (file, blocks) = file();
        blocks.release().expect("nothing to do");
        let (name, aside) = (file.path().to_owned(), file.path().with_extension("aside"));
        std::fs::rename(&name, &aside).expect("is moved");
        assert_eq!(blocks.sync_data().expect_err("is gone").kind(), io::ErrorKind::NotFound);
        std::fs::write(&name, "another").expect("is written");
        assert_eq!(blocks.sync_data().expect_err("is another").kind(), io::ErrorKind::NotFound);
        std::fs::rename(&aside, &name).expect("is moved back");
        blocks.sync_data().expect("is there");
    }

    #[test]
    fn a_file_that_was_removed_or_sealed_takes_nothing() {
        let (file, blocks) = file();
        blocks.release().expect("nothing to do");
        blocks.sync_data().expect("is there");
        file.close().expect("is removed");
        assert_eq!(blocks.sync_data().expect_err("is gone").kind(), io::ErrorKind::NotFound);
        blocks.seal();
        assert!(blocks.write(0, &[1]).is_err() && blocks.set_len(0).is_err() && blocks.sync_data().is_err());
        read(&blocks, 0, 10).expect("reads");
    }
}
