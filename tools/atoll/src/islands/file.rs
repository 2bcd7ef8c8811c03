//! The file of a suspended island: a head, then its chunks' partitions as an export has them, compressed.
//! `docs/operations.md` has it in words. It is read whole and checked before anything of it is believed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use chunk_sync::ids::IslandId;
use chunk_sync::records::WORLD;
use chunk_sync::store::{PartitionKey, RawPartition};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::limits::{ARCHIVE_MAX_BYTES, COMPRESSION_LEVEL};
use super::name_of;
use crate::archive::format::{FormatError, Piece, Pieces, Writer};
use crate::audit::part::{chunk_of, place_of};
use crate::books::frame::{self, Found};

/// What the file begins with; the last three digits are the format's version.
const FILE_HEAD: &[u8; 16] = b"atoll-island-001";

/// What the file says of itself, first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Head {
    /// The version of the program that wrote it.
    pub(super) program: String,
    /// The world's number.
    pub(super) world: u16,
    /// The island's.
    pub(super) island: u32,
    /// The store's clock when it was written, Unix time in ms.
    pub(super) taken_ms: u64,
    /// Chunks in it.
    pub(super) partitions: u64,
    /// The sum of what is in it, before it was compressed.
    pub(super) sum: u64,
    /// Bytes of the compressed part.
    pub(super) packed_bytes: u64,
    /// XXH3-64 of the compressed part.
    pub(super) packed_sum: u64,
}

/// Why an archive can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    /// There is none.
    #[error("archive {0} is missing")]
    Missing(String),
    /// It can't be read or written.
    #[error("archive {0}: {1}")]
    File(String, std::io::Error),
    /// It isn't as it was written.
    #[error("archive {0} is damaged: {1}")]
    Damaged(String, String),
    /// It is another one than its name says.
    #[error("archive {0} is not the one that was written: {1}")]
    Foreign(String, String),
}

/// An island's partitions, by key.
pub(crate) type Chunks = BTreeMap<PartitionKey, RawPartition>;

/// An archive as it is before it is written.
pub(super) struct Packed {
    pub(super) head: Head,
    body: Vec<u8>,
}

/// Packs the chunks of an island. The same chunks have the same sum whenever they are packed.
pub(super) fn pack(island: IslandId, taken_ms: u64, chunks: &Chunks) -> Result<Packed, FormatError> {
    let mut writer = Writer::bare(zstd::Encoder::new(Vec::new(), COMPRESSION_LEVEL)?);
    for raw in chunks.values() {
        writer.put(&Piece::Partition(raw.clone()))?;
    }
    let (encoder, counts, _) = writer.end()?;
    let body = encoder.finish()?;
    let head = Head {
        program: env!("CARGO_PKG_VERSION").to_owned(),
        world: WORLD.0,
        island: island.0,
        taken_ms,
        partitions: counts.partitions,
        sum: counts.sum,
        packed_bytes: body.len() as u64,
        packed_sum: xxh3_64(&body),
    };
    Ok(Packed { head, body })
}

/// Writes an archive into a folder, which is made if it isn't there; it is on disk when this returns. Answers where it
/// is, and its bytes.
pub(super) fn write(folder: &Path, packed: &Packed) -> Result<(PathBuf, u64), ArchiveError> {
    let path = folder.join(name_of(IslandId(packed.head.island), packed.head.sum));
    let shown = path.display().to_string();
    let failed = |error| ArchiveError::File(shown.clone(), error);
    let head = rmp_serde::to_vec_named(&packed.head)
        .map_err(|error| failed(std::io::Error::other(error.to_string())))?;
    let mut bytes = FILE_HEAD.to_vec();
    frame::put(&mut bytes, &head);
    bytes.extend_from_slice(&packed.body);
    put(folder, &path, &bytes).map_err(failed)?;
    Ok((path, bytes.len() as u64))
}

fn put(folder: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    sync(folder)?;
    // The folder may be as new as the file.
    folder.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync)
}

fn sync(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Reads an archive whole; it must be that of this island with this sum. Answers its chunks, and its bytes.
pub(super) fn read(path: &Path, island: IslandId, sum: u64) -> Result<(Chunks, u64), ArchiveError> {
    let shown = || path.display().to_string();
    let bytes = match load(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(ArchiveError::Missing(shown())),
        Err(error) => return Err(ArchiveError::File(shown(), error)),
    };
    let damaged = |what: String| ArchiveError::Damaged(shown(), what);
    let Some(rest) = bytes.strip_prefix(FILE_HEAD) else {
        return Err(damaged("it is not an archive of this version".to_owned()));
    };
    if rest.is_empty() {
        return Err(damaged("it ends too early".to_owned()));
    }
    let (head, body) = match frame::look(rest) {
        Found::Sound(payload, used) => (rmp_serde::from_slice::<Head>(payload), &rest[used..]),
        Found::Cut => return Err(damaged("it ends too early".to_owned())),
        Found::Damaged => return Err(damaged("its head is not as it was written".to_owned())),
    };
    let head = head.map_err(|_| damaged("its head can't be read".to_owned()))?;
    if (head.world, head.island, head.sum) != (WORLD.0, island.0, sum) {
        let what = format!("it is of island {} of world {}, sum {:016x}", head.island, head.world, head.sum);
        return Err(ArchiveError::Foreign(shown(), what));
    }
    if head.packed_bytes != body.len() as u64 {
        return Err(damaged(format!("{} bytes of {} are there", body.len(), head.packed_bytes)));
    }
    if head.packed_sum != xxh3_64(body) {
        return Err(damaged("its sum is wrong".to_owned()));
    }
    let chunks = unpack(body, &head).map_err(|error| damaged(error.to_string()))?;
    Ok((chunks, bytes.len() as u64))
}

fn load(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() > ARCHIVE_MAX_BYTES {
        return Err(std::io::Error::other(format!("larger than {ARCHIVE_MAX_BYTES} bytes")));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unpack(body: &[u8], head: &Head) -> Result<Chunks, FormatError> {
    let cut = |what: String| FormatError::Cut(what);
    let mut pieces = Pieces::bare(zstd::Decoder::with_buffer(body)?);
    let (mut chunks, mut end) = (Chunks::new(), None);
    while let Some(piece) = pieces.next()? {
        match piece {
            Piece::Partition(raw) => {
                raw.check().map_err(|error| cut(format!("partition {}: {error}", raw.key)))?;
                let of = place_of(&raw.key).as_deref().and_then(chunk_of).map(|(island, _)| island);
                if of != Some(head.island) || chunks.contains_key(&raw.key) {
                    return Err(cut(format!("partition {} does not belong there", raw.key)));
                }
                chunks.insert(raw.key.clone(), raw);
            }
            Piece::End(counts) => end = Some(counts),
            Piece::About(_) | Piece::Index(..) | Piece::Ledger(_) | Piece::Opening(_) => {
                return Err(cut("it has more in it than chunks".to_owned()));
            }
        }
    }
    if end.is_none_or(|end| end.sum != head.sum) || chunks.len() as u64 != head.partitions {
        return Err(cut("its head does not count what is in it".to_owned()));
    }
    Ok(chunks)
}
