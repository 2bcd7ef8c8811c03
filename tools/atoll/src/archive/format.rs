//! The file of a whole world: a head, then records in frames like those of the ledger, then an end that counts them.
//! Written by `export`, read by `import`; `docs/operations.md` has it in words. Numbers are little-endian.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use bytes::{Buf, BufMut, Bytes};
use chunk_sync::store::{
    ActorMemory, Cas, Document, IndexEntry, Lease, LedgerEntry, Name, PartitionKey, RawPartition,
    RecentTokens, RememberedAct, Shard, Token,
};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::limits::RECORD_MAX_BYTES;
use crate::books::frame::{self, HEAD_BYTES, MARK, Page};
use crate::books::limits::FRAME_MAX_BYTES;

/// What the file begins with; the last three digits are the format's version.
pub(crate) const FILE_HEAD: &[u8; 16] = b"atoll-export-001";

/// Why a file can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormatError {
    /// It can't be read or written.
    #[error("{0}")]
    File(#[from] std::io::Error),
    /// It is no export, or of another version.
    #[error("it is not an export of this version")]
    Head,
    /// A frame or record is not as it was written.
    #[error("it is damaged at byte {at}")]
    Damaged {
        /// Where.
        at: u64,
    },
    /// It ends too early, or has something missing.
    #[error("it is not whole: {0}")]
    Cut(String),
}

/// What the file says of itself, first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct About {
    /// The version of the program that wrote it.
    pub(crate) program: String,
    /// The store's clock when it was begun, Unix time in ms.
    pub(crate) taken_ms: u64,
    /// Whether members of a cluster were at work on the store.
    pub(crate) live: bool,
}

/// How much is in the file, last.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Partitions of any sort.
    pub(crate) partitions: u64,
    /// Those of players.
    pub(crate) residents: u64,
    /// Index entries.
    pub(crate) index_entries: u64,
    /// Ledger entries that were not drained.
    pub(crate) ledger_entries: u64,
    /// Pieces of the books' balances.
    pub(crate) openings: u64,
    /// A sum over everything before.
    pub(crate) sum: u64,
}

/// One record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Piece {
    /// What the file says of itself.
    About(About),
    /// A partition.
    Partition(RawPartition),
    /// Entries of an index.
    Index(Name, Vec<IndexEntry>),
    /// An entry of the ledger that was not drained, as ledger files have it.
    Ledger(LedgerEntry),
    /// Balances of the books, which an import opens new ones with.
    Opening(Bytes),
    /// The end.
    End(Counts),
}

const ABOUT: u8 = 1;
const PARTITION: u8 = 2;
const INDEX: u8 = 3;
const LEDGER: u8 = 4;
const OPENING: u8 = 5;
const END: u8 = 6;

/// Writes a file.
pub(crate) struct Writer<W: Write> {
    out: W,
    sum: Xxh3,
    counts: Counts,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    pub(crate) fn begin(mut out: W, about: About) -> Result<Self, FormatError> {
        out.write_all(FILE_HEAD)?;
        let mut writer = Self { written: FILE_HEAD.len() as u64, ..Self::bare(out) };
        writer.put(&Piece::About(about))?;
        Ok(writer)
    }

    /// Begins records inside another file, which has a head of its own.
    pub(crate) fn bare(out: W) -> Self {
        Self { out, sum: Xxh3::new(), counts: Counts::default(), written: 0 }
    }

    /// Appends a record.
    pub(crate) fn put(&mut self, piece: &Piece) -> Result<(), FormatError> {
        self.counts.count(piece);
        let record = pack(piece)?;
        let (kind, body) = (record[0], &record[1..]);
        let mut chunks = body.chunks(FRAME_MAX_BYTES - 2).peekable();
        let mut frames = Vec::with_capacity(record.len() + 64);
        if body.is_empty() {
            frame::put(&mut frames, &[kind, 0]);
        }
        while let Some(chunk) = chunks.next() {
            let more = u8::from(chunks.peek().is_some());
            frame::put(&mut frames, &[&[kind, more], chunk].concat());
        }
        self.sum.update(&xxh3_64(&record).to_le_bytes());
        self.written += frames.len() as u64;
        self.out.write_all(&frames)?;
        Ok(())
    }

    /// Ends the file; answers where it was written to, what is in it, and its bytes.
    pub(crate) fn end(mut self) -> Result<(W, Counts, u64), FormatError> {
        let counts = Counts { sum: self.sum.digest(), ..self.counts.clone() };
        self.put(&Piece::End(counts.clone()))?;
        self.out.flush()?;
        Ok((self.out, counts, self.written))
    }
}

impl Counts {
    fn count(&mut self, piece: &Piece) {
        match piece {
            Piece::Partition(raw) => {
                self.partitions += 1;
                self.residents += u64::from(is_resident(&raw.key));
            }
            Piece::Index(_, entries) => self.index_entries += entries.len() as u64,
            Piece::Ledger(_) => self.ledger_entries += 1,
            Piece::Opening(_) => self.openings += 1,
            Piece::About(_) | Piece::End(_) => {}
        }
    }
}

fn is_resident(key: &PartitionKey) -> bool {
    key.to_string().split('/').nth(1) == Some("player")
}

/// Reads a file from its beginning, record by record; the last one is [`Piece::End`] when the whole file is sound.
pub(crate) struct Pieces<R: Read> {
    input: R,
    at: u64,
    sum: Xxh3,
    counts: Counts,
    ended: bool,
}

impl<R: Read> Pieces<R> {
    /// Looks at a file's head.
    pub(crate) fn begin(mut input: R) -> Result<Self, FormatError> {
        let mut head = [0; FILE_HEAD.len()];
        input.read_exact(&mut head).map_err(|_| FormatError::Head)?;
        if head != *FILE_HEAD {
            return Err(FormatError::Head);
        }
        Ok(Self { at: head.len() as u64, ..Self::bare(input) })
    }

    /// Reads records inside another file.
    pub(crate) fn bare(input: R) -> Self {
        Self { input, at: 0, sum: Xxh3::new(), counts: Counts::default(), ended: false }
    }

    /// The next record; `None` after the end.
    pub(crate) fn next(&mut self) -> Result<Option<Piece>, FormatError> {
        if self.ended {
            let mut rest = [0; 1];
            return match self.input.read(&mut rest)? {
                0 => Ok(None),
                _ => Err(FormatError::Damaged { at: self.at }),
            };
        }
        let began = self.at;
        let damaged = FormatError::Damaged { at: began };
        let mut record = Vec::new();
        loop {
            let payload = self.frame()?;
            let [kind, more, body @ ..] = &payload[..] else { return Err(damaged) };
            if record.first().is_some_and(|first| first != kind)
                || record.len() + body.len() > RECORD_MAX_BYTES
            {
                return Err(damaged);
            }
            if record.is_empty() {
                record.push(*kind);
            }
            record.extend_from_slice(body);
            if *more == 0 {
                break;
            }
        }
        let Some(piece) = unpack(&record) else { return Err(damaged) };
        if let Piece::End(counts) = &piece {
            self.ended = true;
            let expected = Counts { sum: self.sum.digest(), ..self.counts.clone() };
            if *counts != expected {
                return Err(FormatError::Cut("its end does not count what is in it".to_owned()));
            }
        }
        self.counts.count(&piece);
        self.sum.update(&xxh3_64(&record).to_le_bytes());
        Ok(Some(piece))
    }

    fn frame(&mut self) -> Result<Vec<u8>, FormatError> {
        let mut head = [0; HEAD_BYTES];
        let cut = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => FormatError::Cut("it ends in the middle".to_owned()),
            _ => FormatError::File(error),
        };
        self.input.read_exact(&mut head).map_err(cut)?;
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if head[..4] != MARK || length > FRAME_MAX_BYTES {
            return Err(FormatError::Damaged { at: self.at });
        }
        let mut payload = vec![0; length];
        self.input.read_exact(&mut payload).map_err(cut)?;
        if xxh3_64(&payload).to_le_bytes() != head[8..] {
            return Err(FormatError::Damaged { at: self.at });
        }
        self.at += (HEAD_BYTES + length) as u64;
        Ok(payload)
    }
}

fn plain<T: Serialize>(kind: u8, value: &T) -> Result<Vec<u8>, FormatError> {
    let packed = rmp_serde::to_vec_named(value).map_err(std::io::Error::other)?;
    Ok([&[kind], &packed[..]].concat())
}

fn pack(piece: &Piece) -> Result<Vec<u8>, FormatError> {
    let mut out = Vec::new();
    match piece {
        Piece::About(about) => return plain(ABOUT, about),
        Piece::End(counts) => return plain(END, counts),
        Piece::Partition(raw) => {
            out.put_u8(PARTITION);
            put_partition(&mut out, raw);
        }
        Piece::Index(name, entries) => {
            out.put_u8(INDEX);
            put_short(&mut out, name.as_str().as_bytes());
            out.put_u32_le(entries.len() as u32);
            for entry in entries {
                out.put_u16_le(entry.shard.0);
                put_short(&mut out, &entry.key);
                put_long(&mut out, &entry.value);
            }
        }
        Piece::Ledger(entry) => {
            out.put_u8(LEDGER);
            out.put_slice(&frame::payload(&Page::Entry(entry.clone())));
        }
        Piece::Opening(bytes) => {
            out.put_u8(OPENING);
            out.put_slice(bytes);
        }
    }
    Ok(out)
}

fn unpack(record: &[u8]) -> Option<Piece> {
    let (kind, mut body) = record.split_first()?;
    let piece = match *kind {
        ABOUT => return rmp_serde::from_slice(body).ok().map(Piece::About),
        END => return rmp_serde::from_slice(body).ok().map(Piece::End),
        OPENING => return Some(Piece::Opening(Bytes::copy_from_slice(body))),
        LEDGER => match frame::page(body)? {
            Page::Entry(entry) => return Some(Piece::Ledger(entry)),
            Page::Opening(_) => return None,
        },
        PARTITION => Piece::Partition(partition(&mut body)?),
        INDEX => {
            let (name, count) = (name(&mut body)?, body.try_get_u32_le().ok()?);
            let mut entries = Vec::new();
            for _ in 0..count {
                let shard = Shard(body.try_get_u16_le().ok()?);
                let (key, value) = (short(&mut body)?, long(&mut body)?);
                entries.push(IndexEntry { shard, key, value });
            }
            Piece::Index(name, entries)
        }
        _ => return None,
    };
    body.is_empty().then_some(piece)
}

// What goes in here passed the store's limits: names and keys are shorter than 256 bytes.
fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u8(bytes.len() as u8);
    out.put_slice(bytes);
}

fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u32_le(bytes.len() as u32);
    out.put_slice(bytes);
}

fn part(body: &mut &[u8], length: usize) -> Option<Bytes> {
    let (part, rest) = body.split_at_checked(length)?;
    *body = rest;
    Some(Bytes::copy_from_slice(part))
}

fn short(body: &mut &[u8]) -> Option<Bytes> {
    let length = body.try_get_u8().ok()?;
    part(body, length.into())
}

fn long(body: &mut &[u8]) -> Option<Bytes> {
    let length = body.try_get_u32_le().ok()?;
    part(body, length as usize)
}

fn name(body: &mut &[u8]) -> Option<Name> {
    let bytes = short(body)?;
    std::str::from_utf8(&bytes).ok().map(Name::from)
}

fn put_partition(out: &mut Vec<u8>, raw: &RawPartition) {
    put_short(out, raw.key.as_bytes());
    let recent = raw.recent.newest_first();
    out.put_u8(recent.len() as u8);
    recent.iter().for_each(|token| out.put_u64_le(token.0));
    out.put_u32_le(raw.docs.len() as u32);
    for (name, document) in &raw.docs {
        put_short(out, name.as_str().as_bytes());
        out.put_u64_le(document.cas.0);
        put_long(out, &document.value);
    }
    out.put_u32_le(raw.epochs.len() as u32);
    for (name, value) in &raw.epochs {
        put_short(out, name.as_str().as_bytes());
        out.put_u64_le(*value);
    }
    out.put_u32_le(raw.leases.len() as u32);
    for (name, lease) in &raw.leases {
        put_short(out, name.as_str().as_bytes());
        out.put_u64_le(lease.holder);
        out.put_u64_le(lease.until_ms);
    }
    out.put_u32_le(raw.actors.len() as u32);
    for (actor, memory) in &raw.actors {
        out.put_u64_le(*actor);
        out.put_u32_le(memory.session_epoch);
        out.put_u64_le(memory.forgotten);
        out.put_u64_le(memory.seen_ms);
        out.put_u32_le(memory.acts.len() as u32);
        for act in &memory.acts {
            out.put_u64_le(act.id);
            out.put_u64_le(act.token.0);
            put_long(out, &act.result);
        }
    }
}

fn partition(body: &mut &[u8]) -> Option<RawPartition> {
    let key = PartitionKey::read(&short(body)?)?;
    let mut recent = Vec::new();
    for _ in 0..body.try_get_u8().ok()? {
        recent.push(Token(body.try_get_u64_le().ok()?));
    }
    let mut docs = BTreeMap::new();
    for _ in 0..body.try_get_u32_le().ok()? {
        let (name, cas) = (name(body)?, Cas(body.try_get_u64_le().ok()?));
        docs.insert(name, Document { cas, value: long(body)? });
    }
    let mut epochs = BTreeMap::new();
    for _ in 0..body.try_get_u32_le().ok()? {
        epochs.insert(name(body)?, body.try_get_u64_le().ok()?);
    }
    let mut leases = BTreeMap::new();
    for _ in 0..body.try_get_u32_le().ok()? {
        let name = name(body)?;
        let (holder, until_ms) = (body.try_get_u64_le().ok()?, body.try_get_u64_le().ok()?);
        leases.insert(name, Lease { holder, until_ms });
    }
    let mut actors = BTreeMap::new();
    for _ in 0..body.try_get_u32_le().ok()? {
        let actor = body.try_get_u64_le().ok()?;
        actors.insert(actor, memory(body)?);
    }
    let recent = RecentTokens::from_newest_first(recent);
    Some(RawPartition { key, recent, docs, epochs, leases, actors })
}

fn memory(body: &mut &[u8]) -> Option<ActorMemory> {
    let session_epoch = body.try_get_u32_le().ok()?;
    let (forgotten, seen_ms) = (body.try_get_u64_le().ok()?, body.try_get_u64_le().ok()?);
    let mut acts = Vec::new();
    for _ in 0..body.try_get_u32_le().ok()? {
        let (id, token) = (body.try_get_u64_le().ok()?, Token(body.try_get_u64_le().ok()?));
        acts.push(RememberedAct { id, token, result: long(body)? });
    }
    Some(ActorMemory { session_epoch, forgotten, seen_ms, acts })
}

#[cfg(test)]
mod tests;
