//! The ledger's files: numbered segments in a folder, appended to by the one process that has the folder locked, read
//! by anybody. It writes nothing that is not in the store still: what a crash tears off comes again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use chunk_sync::store::{DamagedLedgerEntry, LedgerEntry, SHARD_COUNT, Shard, Token};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::frame::{self, Found, Page};
use super::limits::{
    DAMAGED_BYTES_MAX, MISSING_MAX, RECENT_MAX, SEGMENT_BYTES, SEGMENT_READ_MAX_BYTES, SEGMENTS_MAX,
    SNAPSHOT_MAX_BYTES,
};
use super::sink::{LedgerSink, SinkError};
use crate::audit::complete::another_entry;

/// What every segment begins with.
const SEGMENT_HEAD: &[u8; 16] = b"atoll-ledger-001";
const SNAPSHOT_HEAD: &[u8; 16] = b"atoll-account-02";
const SNAPSHOT_FILE: &str = "accounts";
const LOCK_FILE: &str = "lock";
/// Entries that the store could not read, a line each, for somebody to look at.
const DAMAGED_FILE: &str = "damaged";

/// Somebody who reads the files.
pub(crate) trait Reader {
    /// Goes on from a snapshot of its own; false when it can't, and then it is told everything from the start.
    fn restore(&mut self, accounts: &[u8]) -> bool;
    /// The next page.
    fn page(&mut self, page: Page);
    /// Something that should be there and isn't sound: which file, at which byte, and what is wrong.
    fn damage(&mut self, text: String);
}

/// Where in the files something is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
struct Place {
    segment: u64,
    offset: u64,
}

/// Which entries the files have, shard by shard.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Known {
    highest: Vec<u64>,
    /// Numbers below the highest that are not in the files.
    missing: BTreeMap<u16, BTreeSet<u64>>,
}

impl Known {
    fn none() -> Self {
        Self { highest: vec![0; SHARD_COUNT.into()], missing: BTreeMap::new() }
    }

    /// Whether an entry of this number is there.
    fn has(&self, shard: Shard, sequence: u64) -> bool {
        let missing = self.missing.get(&shard.0).is_some_and(|missing| missing.contains(&sequence));
        sequence <= self.highest[usize::from(shard.0)] && !missing
    }

    /// Notes an entry; false when it was there already.
    fn take(&mut self, shard: Shard, sequence: u64) -> bool {
        let highest = &mut self.highest[usize::from(shard.0)];
        if sequence > *highest {
            let room = MISSING_MAX.saturating_sub(self.missing.values().map(BTreeSet::len).sum());
            let skipped = (*highest + 1..sequence).rev().take(room);
            if sequence - *highest > 1 {
                self.missing.entry(shard.0).or_default().extend(skipped);
            }
            *highest = sequence;
            return true;
        }
        let Some(missing) = self.missing.get_mut(&shard.0) else { return false };
        let late = missing.remove(&sequence);
        if missing.is_empty() {
            self.missing.remove(&shard.0);
        }
        late
    }
}

/// A shard and a number in it.
type Number = (u16, u64);

/// The tokens of the entries that were kept last.
#[derive(Debug, Default)]
struct Recent {
    order: VecDeque<Number>,
    tokens: BTreeMap<Number, Token>,
}

impl Recent {
    fn note(&mut self, entry: &LedgerEntry) {
        let number = (entry.shard.0, entry.sequence);
        if self.tokens.insert(number, entry.token).is_none() {
            self.order.push_back(number);
        }
        while self.order.len() > RECENT_MAX {
            self.order.pop_front().map(|oldest| self.tokens.remove(&oldest));
        }
    }
}

/// Where the files were, and what was in them, when the auditor's balances were written.
#[derive(Serialize, Deserialize)]
struct Snapshot {
    place: Place,
    known: Known,
}

/// The folder, open for appending.
#[derive(Debug)]
pub(crate) struct LedgerFiles {
    folder: PathBuf,
    known: Known,
    recent: Recent,
    /// The newest segment, up to which everything is on disk.
    end: Place,
    file: File,
    /// A write failed: the file may be longer than it should.
    torn: bool,
    _lock: File,
}

impl LedgerFiles {
    /// Opens the folder, making it if need be, and tells `reader` what is in it: its newest snapshot and everything
    /// after, or everything. What a crash left half written at the end is cut off.
    ///
    /// # Errors
    /// When the folder can't be written, or another process keeps a ledger in it.
    pub(crate) fn open(folder: &Path, reader: &mut dyn Reader) -> Result<Self, SinkError> {
        let failed = |what: &str, error: std::io::Error| {
            SinkError(format!("ledger folder {}: {what}: {error}", folder.display()))
        };
        std::fs::create_dir_all(folder).map_err(|error| failed("it can't be made", error))?;
        let lock =
            File::create(folder.join(LOCK_FILE)).map_err(|error| failed("can't write there", error))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            SinkError(format!("ledger folder {}: another process is using it", folder.display()))
        })?;
        let segments = segments(folder).map_err(|error| failed("can't be read", error))?;
        let newest = segments.last().copied().unwrap_or(1);
        let (known, end) = read(folder, &segments, true, reader)
            .map_err(|error| failed("can't be read", error))?
            .unwrap_or((Known::none(), Place { segment: newest, offset: 0 }));
        let mut files = Self {
            folder: folder.to_owned(),
            known,
            recent: Recent::default(),
            file: lock.try_clone().map_err(|e| failed("lock", e))?,
            end,
            torn: true,
            _lock: lock,
        };
        files.mend().map_err(|error| failed("can't write there", error))?;
        Ok(files)
    }

    /// Appends what the books are opened with; only before there is anything in them.
    ///
    /// # Errors
    /// When it can't be written.
    pub(crate) fn open_books(&mut self, opening: &[Bytes]) -> Result<(), SinkError> {
        opening
            .iter()
            .try_for_each(|bytes| self.append(std::iter::once(frame::payload(&Page::Opening(bytes.clone())))))
    }

    /// Appends a batch to one segment, so that a failure leaves one file to mend: what was begun is cut off before
    /// anything else is written.
    fn append(&mut self, payloads: impl Iterator<Item = Vec<u8>>) -> Result<(), SinkError> {
        let mut out = Vec::new();
        payloads.for_each(|payload| frame::put(&mut out, &payload));
        let mut written = || -> std::io::Result<()> {
            self.mend()?;
            if self.end.offset >= SEGMENT_BYTES {
                self.end = Place { segment: self.end.segment + 1, offset: 0 };
                self.torn = true;
                self.mend()?;
            }
            self.torn = true;
            self.file.write_all(&out)?;
            self.file.sync_data()?;
            self.torn = false;
            Ok(())
        };
        match written() {
            Ok(()) => {
                self.end.offset += out.len() as u64;
                Ok(())
            }
            Err(error) => {
                let shown = self.folder.display();
                Err(SinkError(format!("ledger folder {shown}: can't write: {error}")))
            }
        }
    }

    /// Wants entries whose numbers the files have to be the very same ones. The store of a folder that was put back to
    /// an older state gives numbers again, and what it has under them would be taken for what is here.
    fn same(&mut self, again: &[&LedgerEntry]) -> Result<(), SinkError> {
        let unknown = again.iter().map(|entry| (entry.shard.0, entry.sequence));
        let unknown: BTreeSet<Number> =
            unknown.filter(|number| !self.recent.tokens.contains_key(number)).collect();
        let found = if unknown.is_empty() { BTreeMap::new() } else { self.find(unknown)? };
        for entry in again {
            let number = (entry.shard.0, entry.sequence);
            let kept = self.recent.tokens.get(&number).or_else(|| found.get(&number));
            // One that was kept and damaged since can't be compared; it isn't missed by taking it for the same.
            if kept.is_some_and(|kept| *kept != entry.token) {
                return Err(SinkError(format!(
                    "ledger folder {}: {}",
                    self.folder.display(),
                    another_entry(entry).text
                )));
            }
        }
        Ok(())
    }

    /// Looks for entries, in the newest segments first.
    fn find(&self, mut wanted: BTreeSet<Number>) -> Result<BTreeMap<Number, Token>, SinkError> {
        let failed = |error: std::io::Error| {
            SinkError(format!("ledger folder {}: can't be read: {error}", self.folder.display()))
        };
        let mut found = BTreeMap::new();
        for segment in segments(&self.folder).map_err(failed)?.into_iter().rev() {
            scan(&path_of(&self.folder, segment), 0, Tail::Ignore, &mut |page| {
                if let Ok(Page::Entry(entry)) = page
                    && wanted.remove(&(entry.shard.0, entry.sequence))
                {
                    found.insert((entry.shard.0, entry.sequence), entry.token);
                }
            })
            .map_err(failed)?;
            if wanted.is_empty() {
                break;
            }
        }
        Ok(found)
    }

    /// Brings the newest segment to the length that it should have; makes it if it isn't there.
    fn mend(&mut self) -> std::io::Result<()> {
        if !self.torn {
            return Ok(());
        }
        let path = path_of(&self.folder, self.end.segment);
        let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        file.set_len(self.end.offset)?;
        file.seek(SeekFrom::End(0))?;
        if self.end.offset == 0 {
            file.write_all(SEGMENT_HEAD)?;
        }
        file.sync_all()?;
        File::open(&self.folder)?.sync_all()?;
        (self.end.offset, self.file, self.torn) =
            (self.end.offset.max(SEGMENT_HEAD.len() as u64), file, false);
        Ok(())
    }
}

impl LedgerSink for LedgerFiles {
    fn keep(&mut self, entries: Vec<LedgerEntry>) -> Result<Vec<LedgerEntry>, SinkError> {
        let again = entries.iter().filter(|entry| self.known.has(entry.shard, entry.sequence));
        self.same(&again.collect::<Vec<_>>())?;
        let mut known = self.known.clone();
        let fresh: Vec<LedgerEntry> =
            entries.into_iter().filter(|entry| known.take(entry.shard, entry.sequence)).collect();
        if fresh.is_empty() {
            return Ok(fresh);
        }
        self.append(fresh.iter().map(|entry| frame::payload(&Page::Entry(entry.clone()))))?;
        self.known = known;
        fresh.iter().for_each(|entry| self.recent.note(entry));
        Ok(fresh)
    }

    fn keep_damaged(&mut self, entries: &[DamagedLedgerEntry]) -> Result<(), SinkError> {
        let written = || -> std::io::Result<()> {
            let path = self.folder.join(DAMAGED_FILE);
            let mut file = OpenOptions::new().create(true).append(true).open(path)?;
            if file.metadata()?.len() > DAMAGED_BYTES_MAX {
                return Err(std::io::Error::other(format!("{DAMAGED_FILE} has {DAMAGED_BYTES_MAX} bytes")));
            }
            for entry in entries {
                let (shard, sequence) = (entry.at.shard.0, entry.at.sequence);
                writeln!(file, "{shard}/{sequence} {}", entry.raw.escape_ascii())?;
            }
            file.sync_all()
        };
        written().map_err(|error| {
            SinkError(format!("ledger folder {}: can't write: {error}", self.folder.display()))
        })
    }

    fn keep_snapshot(&mut self, accounts: &[u8]) -> Result<(), SinkError> {
        let snapshot = Snapshot { place: self.end, known: self.known.clone() };
        let written = || -> std::io::Result<()> {
            let files = rmp_serde::to_vec_named(&snapshot).map_err(std::io::Error::other)?;
            let packed = [&(files.len() as u64).to_le_bytes()[..], &files, accounts].concat();
            let new = self.folder.join(format!("{SNAPSHOT_FILE}.new"));
            let mut file = File::create(&new)?;
            file.write_all(SNAPSHOT_HEAD)?;
            file.write_all(&xxh3_64(&packed).to_le_bytes())?;
            file.write_all(&packed)?;
            file.sync_all()?;
            std::fs::rename(new, self.folder.join(SNAPSHOT_FILE))?;
            File::open(&self.folder)?.sync_all()
        };
        written().map_err(|error| {
            SinkError(format!("ledger folder {}: can't write a snapshot: {error}", self.folder.display()))
        })
    }
}

/// Tells `reader` everything that is in the files, from the first entry on, while another process may be writing them.
///
/// # Errors
/// When the folder can't be read.
pub(crate) fn read_all(folder: &Path, reader: &mut dyn Reader) -> std::io::Result<()> {
    let segments = segments(folder)?;
    read(folder, &segments, false, reader).map(|_| ())
}

/// Reads segments; with `resume`, from the newest snapshot if there is one. Answers what the files have and where they
/// end; `None` when there are none.
fn read(
    folder: &Path,
    segments: &[u64],
    resume: bool,
    reader: &mut dyn Reader,
) -> std::io::Result<Option<(Known, Place)>> {
    let (Some(first), Some(newest)) = (segments.first(), segments.last()) else { return Ok(None) };
    let begin = Place { segment: *first, offset: 0 };
    let (mut known, begin) =
        if resume { restored(folder, reader) } else { None }.unwrap_or((Known::none(), begin));
    let mut end = begin;
    for segment in begin.segment..=*newest {
        let path = path_of(folder, segment);
        if !segments.contains(&segment) {
            reader.damage(format!("{} is missing", path.display()));
            continue;
        }
        let from = if segment == begin.segment { begin.offset } else { 0 };
        let is_newest = segment == *newest;
        let tail = if !is_newest {
            Tail::Damage
        } else if resume {
            Tail::Cut
        } else {
            Tail::Ignore
        };
        let offset = scan(&path, from, tail, &mut |found| match found {
            Ok(page) => {
                if let Page::Entry(entry) = &page {
                    // One that the files have twice is the auditor's to find.
                    known.take(entry.shard, entry.sequence);
                }
                reader.page(page);
            }
            Err(text) => reader.damage(text),
        })?;
        end = Place { segment, offset };
    }
    Ok(Some((known, end)))
}

fn restored(folder: &Path, reader: &mut dyn Reader) -> Option<(Known, Place)> {
    let path = folder.join(SNAPSHOT_FILE);
    let mut bytes = Vec::new();
    File::open(&path).ok()?.take(SNAPSHOT_MAX_BYTES).read_to_end(&mut bytes).ok()?;
    let sound = || -> Option<(Snapshot, &[u8])> {
        let rest = bytes.strip_prefix(SNAPSHOT_HEAD)?;
        let (sum, packed) = rest.split_first_chunk::<8>()?;
        if xxh3_64(packed) != u64::from_le_bytes(*sum) {
            return None;
        }
        let (length, packed) = packed.split_first_chunk::<8>()?;
        let (files, accounts) =
            packed.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        Some((rmp_serde::from_slice(files).ok()?, accounts))
    };
    let fits = |(snapshot, _): &(Snapshot, &[u8])| {
        let length = std::fs::metadata(path_of(folder, snapshot.place.segment)).map_or(0, |data| data.len());
        snapshot.known.highest.len() == usize::from(SHARD_COUNT) && length >= snapshot.place.offset
    };
    let taken = sound().filter(fits).filter(|(_, accounts)| reader.restore(accounts));
    if taken.is_none() {
        tracing::warn!("{}: not usable; the whole ledger is read again", path.display());
    }
    taken.map(|(snapshot, _)| (snapshot.known, snapshot.place))
}

/// What an unsound end of a segment is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// What a crash left in the newest segment; whoever asks cuts it off.
    Cut,
    /// What somebody is writing in the newest segment.
    Ignore,
    /// Damage: the segment was finished.
    Damage,
}

/// Reads one segment from a byte on; answers where its sound part ends.
fn scan(
    path: &Path,
    from: u64,
    tail: Tail,
    tell: &mut dyn FnMut(Result<Page, String>),
) -> std::io::Result<u64> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SEGMENT_READ_MAX_BYTES).read_to_end(&mut bytes)?;
    let shown = path.display();
    let mut at = usize::try_from(from).unwrap_or(usize::MAX).min(bytes.len());
    if at == 0 {
        let head = bytes.len().min(SEGMENT_HEAD.len());
        if bytes[..head] != SEGMENT_HEAD[..head] || (head < SEGMENT_HEAD.len() && tail == Tail::Damage) {
            tell(Err(format!("{shown} does not begin as a ledger file does")));
        } else if head < SEGMENT_HEAD.len() {
            return Ok(0);
        }
        at = head;
    }
    while at < bytes.len() {
        let rest = &bytes[at..];
        if let Found::Sound(payload, size) = frame::look(rest) {
            let page = frame::page(payload);
            tell(
                page.ok_or_else(|| {
                    format!("{shown}, byte {at}: a page of a kind that this build doesn't know")
                }),
            );
            at += size;
            continue;
        }
        match frame::next_sound(rest) {
            Some(skip) => {
                tell(Err(format!("{shown}, byte {at}: {skip} bytes are damaged")));
                at += skip;
            }
            None if tail == Tail::Cut => {
                tracing::info!(
                    "{shown}, byte {at}: {} bytes were not written whole; they are cut off",
                    rest.len()
                );
                break;
            }
            None if tail == Tail::Ignore => break,
            None => {
                tell(Err(format!("{shown}, byte {at}: {} bytes are damaged", rest.len())));
                at = bytes.len();
            }
        }
    }
    Ok(at as u64)
}

/// Whether there is a ledger in a folder.
pub(crate) fn has_segments(folder: &Path) -> bool {
    segments(folder).is_ok_and(|segments| !segments.is_empty())
}

/// Whether there is anything in the ledger of a folder.
pub(crate) fn has_entries(folder: &Path) -> bool {
    let is_used = |segment: u64| {
        std::fs::metadata(path_of(folder, segment)).is_ok_and(|file| file.len() > SEGMENT_HEAD.len() as u64)
    };
    segments(folder).is_ok_and(|segments| segments.into_iter().any(is_used))
}

/// The numbers of the segments in a folder, in order.
fn segments(folder: &Path) -> std::io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder)? {
        let name = file?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("ledger-")?.strip_suffix(".seg"));
        found.extend(number.and_then(|number| number.parse::<u64>().ok()));
        if found.len() > SEGMENTS_MAX {
            return Err(std::io::Error::other(format!("more than {SEGMENTS_MAX} segments")));
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn path_of(folder: &Path, segment: u64) -> PathBuf {
    folder.join(format!("ledger-{segment:08}.seg"))
}

#[cfg(test)]
mod tests;
