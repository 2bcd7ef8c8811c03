//! How ledger entries lie in segment files: frames of a mark, a length, a checksum and a payload, one after the other.
//! Written and read by `files`; a world's export uses the same frames. Numbers are little-endian. It opens no file.

use bytes::{Buf, BufMut, Bytes};
use chunk_sync::store::{LedgerEntry, PartitionKey, SHARD_COUNT, Shard, Token};
use xxhash_rust::xxh3::xxh3_64;

use super::limits::FRAME_MAX_BYTES;

/// What every frame begins with, so that the next one is found behind damage.
pub(crate) const MARK: [u8; 4] = *b"ALf1";
/// Mark, length of the payload (u32), checksum of the payload (XXH3, u64).
pub(crate) const HEAD_BYTES: usize = 16;

const ENTRY: u8 = 1;
const OPENING: u8 = 2;

/// What a frame of the ledger holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Page {
    /// An entry, as the store had it.
    Entry(LedgerEntry),
    /// What everybody held when these books were opened, in a form that the auditor reads: an imported world's
    /// older entries are in other books.
    Opening(Bytes),
}

/// What is at a place in a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A sound frame: its payload, and all of its bytes.
    Sound(&'a [u8], usize),
    /// The beginning of a frame that goes beyond what was read.
    Cut,
    /// No frame, or one whose checksum is wrong.
    Damaged,
}

/// Appends the frame of a payload, which is no longer than [`FRAME_MAX_BYTES`].
pub(crate) fn put(out: &mut Vec<u8>, payload: &[u8]) {
    debug_assert!(payload.len() <= FRAME_MAX_BYTES);
    out.put_slice(&MARK);
    out.put_u32_le(payload.len() as u32);
    out.put_u64_le(xxh3_64(payload));
    out.put_slice(payload);
}

/// Looks at the beginning of `bytes`, of which there is at least one.
pub(crate) fn look(bytes: &[u8]) -> Found<'_> {
    let marked = bytes.len().min(MARK.len());
    if bytes[..marked] != MARK[..marked] {
        return Found::Damaged;
    }
    let Some((head, rest)) = bytes.split_at_checked(HEAD_BYTES) else { return Found::Cut };
    let mut head = &head[MARK.len()..];
    let (length, sum) = (head.get_u32_le() as usize, head.get_u64_le());
    if length > FRAME_MAX_BYTES {
        return Found::Damaged;
    }
    match rest.get(..length) {
        None => Found::Cut,
        Some(payload) if xxh3_64(payload) == sum => Found::Sound(payload, HEAD_BYTES + length),
        Some(_) => Found::Damaged,
    }
}

/// The distance to the next sound frame in `bytes`, not counting one at their very beginning.
pub(crate) fn next_sound(bytes: &[u8]) -> Option<usize> {
    (1..bytes.len()).find(|at| matches!(look(&bytes[*at..]), Found::Sound(..)))
}

/// The payload of a page.
pub(crate) fn payload(page: &Page) -> Vec<u8> {
    let mut out = Vec::new();
    match page {
        Page::Entry(entry) => {
            let named = entry.partition.as_bytes();
            out.reserve_exact(28 + named.len() + entry.bytes.len());
            out.put_u8(ENTRY);
            out.put_u16_le(entry.shard.0);
            out.put_u64_le(entry.sequence);
            out.put_u64_le(entry.token.0);
            out.put_u64_le(entry.store_ms);
            // Keys are bounded far below 256 bytes; a longer one would not be read back.
            out.put_u8(named.len() as u8);
            out.put_slice(named);
            out.put_slice(&entry.bytes);
        }
        Page::Opening(bytes) => {
            out.put_u8(OPENING);
            out.put_slice(bytes);
        }
    }
    out
}

/// The page in a sound frame; `None` when it is none that this build knows.
pub(crate) fn page(mut payload: &[u8]) -> Option<Page> {
    match payload.try_get_u8().ok()? {
        OPENING => Some(Page::Opening(Bytes::copy_from_slice(payload))),
        ENTRY => {
            let shard = Shard(payload.try_get_u16_le().ok()?);
            let sequence = payload.try_get_u64_le().ok()?;
            let token = Token(payload.try_get_u64_le().ok()?);
            let store_ms = payload.try_get_u64_le().ok()?;
            let length = usize::from(payload.try_get_u8().ok()?);
            let (named, bytes) = payload.split_at_checked(length)?;
            let partition = PartitionKey::read(named)?;
            let bytes = Bytes::copy_from_slice(bytes);
            (shard.0 < SHARD_COUNT).then_some(Page::Entry(LedgerEntry {
                shard,
                sequence,
                token,
                partition,
                store_ms,
                bytes,
            }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chunk_sync::ids::WorldId;

    fn sample() -> Page {
        Page::Entry(LedgerEntry {
            shard: Shard(4095),
            sequence: u64::MAX,
            token: Token(7),
            partition: PartitionKey::cluster(WorldId(1), "keys"),
            store_ms: 1,
            bytes: Bytes::from_static(b"ALf1 what it says \0\xff"),
        })
    }

    #[test]
    fn pages_are_read_back_and_no_flipped_bit_is_taken() {
        for page_in in [sample(), Page::Opening(Bytes::from_static(b"\x01\x02"))] {
            let mut frame = Vec::new();
            put(&mut frame, &payload(&page_in));
            let Found::Sound(inside, size) = look(&frame) else { panic!("{frame:?}") };
            assert_eq!((page(inside), size), (Some(page_in), frame.len()));
            for cut in 1..frame.len() {
                assert_eq!(look(&frame[..cut]), Found::Cut, "{cut}");
            }
            for bit in 0..frame.len() * 8 {
                let mut flipped = frame.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                // A length that grew looks cut off; nothing looks sound.
                assert!(!matches!(look(&flipped), Found::Sound(..)), "bit {bit}");
            }
        }
    }

    #[test]
    fn the_next_sound_frame_is_found_behind_damage() {
        let mut bytes = Vec::new();
        put(&mut bytes, &payload(&sample()));
        let first = bytes.len();
        put(&mut bytes, &payload(&sample()));
        bytes[20] ^= 1;
        assert_eq!(look(&bytes), Found::Damaged);
        assert_eq!(next_sound(&bytes), Some(first));
        assert_eq!(next_sound(&bytes[..bytes.len() - 1]), None);
    }

    #[test]
    fn what_is_no_page_is_refused() {
        for wrong in [
            &b""[..],
            b"\x00",
            b"\x03x",
            b"\x01",
            b"\x01\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        ] {
            assert_eq!(page(wrong), None, "{wrong:?}");
        }
    }
}
