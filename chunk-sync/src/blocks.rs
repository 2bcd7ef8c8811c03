//! Stream blocks: what a source publishes of its entities in one chunk. The same bytes travel on the channel
//! between nodes and inside the tick frames of clients, so they are encoded once and never touched again.
//!
//! A block is a header of 16 bytes and a payload; all numbers are big-endian (`docs/protocol.md`, "Blocks").

use crate::ids::{EntityId, Epoch, MINTER_MAX, Source};
use crate::interest::Rate;
use crate::limits::{NAME_BYTES_MAX, SERVER_FRAME_BYTES_MAX, SLOTS_PER_CHUNK_MAX};
use crate::place::{ChunkPos, Pose};
use thiserror::Error;

/// Bytes of a block header.
pub const HEADER_BYTES: usize = 16;
/// Bytes of one move: slot and pose.
pub const MOVE_BYTES: usize = 6;
/// Most bytes of one `enter` record.
pub const ENTER_BYTES_MAX: usize = 22 + NAME_BYTES_MAX;
/// Wire level of the streams written here.
pub const WIRE_LEVEL: u8 = 0;

const STREAM_MASK: u8 = 0b0000_0111;
const KEYFRAME_BIT: u8 = 0b0000_1000;
const OPTIONAL_BIT: u8 = 0b0001_0000;
const LEVEL_SHIFT: u8 = 5;
const OP_ENTER: u8 = 1;
const OP_LEAVE: u8 = 2;

/// Which sequence of frames of a (source, chunk) a block belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum StreamId {
    /// Who is there.
    Roster,
    /// Where they are, at a rate.
    Motion(Rate),
}

impl StreamId {
    /// All streams: the roster, then the rates, fastest first.
    pub const ALL: [StreamId; 5] = [
        StreamId::Roster,
        StreamId::Motion(Rate::R1),
        StreamId::Motion(Rate::R2),
        StreamId::Motion(Rate::R4),
        StreamId::Motion(Rate::R8),
    ];

    /// The stream's number on the wire and in topics (0 = roster, 1 to 4 = rates 1, 2, 4, 8).
    pub fn index(self) -> u8 {
        match self {
            StreamId::Roster => 0,
            StreamId::Motion(rate) => 1 + rate as u8,
        }
    }

    /// The stream with this number.
    pub fn from_index(index: u8) -> Option<StreamId> {
        Self::ALL.get(usize::from(index)).copied()
    }

    /// The stream's bit in a mask of streams.
    pub fn bit(self) -> u8 {
        1 << self.index()
    }
}

/// Number of a frame in its stream: the state that holds after it. Sixteen bits that wrap.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct FrameNumber(pub u16);

impl FrameNumber {
    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// Whether this number is newer than `other`, over the wrap.
    pub fn is_after(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i16) > 0
    }
}

/// What stands before every payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The sequence it belongs to.
    pub stream: StreamId,
    /// The payload is the whole state rather than what changed.
    pub keyframe: bool,
    /// Wire level of the payload (0 to 7).
    pub level: u8,
    /// The payload opens with a length-prefixed part that a reader may skip.
    pub optional: bool,
    /// Who published it.
    pub source: Source,
    /// The chunk it is about.
    pub chunk: ChunkPos,
    /// Its number in the stream.
    pub number: FrameNumber,
    /// Low bits of the tick it shows.
    pub tick: u16,
    /// For motion: the roster number that its slots mean. For the roster: its own number.
    pub rests_on: FrameNumber,
    /// Bytes of payload behind the header.
    pub payload_bytes: u32,
}

/// Why bytes are not a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum BlockError {
    /// Fewer bytes than the header or its length promise.
    #[error("block is cut short")]
    CutShort,
    /// A stream number that nobody has.
    #[error("unknown stream {0}")]
    UnknownStream(u8),
    /// A wire level that this reader doesn't know.
    #[error("unknown wire level {0}")]
    UnknownLevel(u8),
    /// A source number out of range.
    #[error("source {0} is out of range")]
    BadSource(u32),
    /// A payload that its stream does not allow.
    #[error("malformed payload")]
    BadPayload,
}

impl Header {
    /// Appends the header to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let head = self.stream.index()
            | if self.keyframe { KEYFRAME_BIT } else { 0 }
            | if self.optional { OPTIONAL_BIT } else { 0 }
            | self.level << LEVEL_SHIFT;
        out.extend_from_slice(&(u32::from(head) << 24 | self.source.0 & 0x00ff_ffff).to_be_bytes());
        out.extend_from_slice(&self.chunk.x.to_be_bytes());
        out.extend_from_slice(&self.chunk.y.to_be_bytes());
        out.extend_from_slice(&self.number.0.to_be_bytes());
        out.extend_from_slice(&self.tick.to_be_bytes());
        match self.stream {
            StreamId::Roster => out.extend_from_slice(&self.payload_bytes.to_be_bytes()),
            StreamId::Motion(_) => {
                out.extend_from_slice(&self.rests_on.0.to_be_bytes());
                out.extend_from_slice(&(self.payload_bytes as u16).to_be_bytes());
            }
        }
    }

    /// Reads the header at the start of `bytes`.
    ///
    /// # Errors
    /// When the bytes are no header of this level.
    pub fn decode(bytes: &[u8]) -> Result<Header, BlockError> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(BlockError::CutShort)?;
        let head = bytes[0];
        let stream =
            StreamId::from_index(head & STREAM_MASK).ok_or(BlockError::UnknownStream(head & STREAM_MASK))?;
        let level = head >> LEVEL_SHIFT;
        if level != WIRE_LEVEL {
            return Err(BlockError::UnknownLevel(level));
        }
        let u16_at = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let source = u32::from_be_bytes([0, bytes[1], bytes[2], bytes[3]]);
        if source == 0 || source > MINTER_MAX {
            return Err(BlockError::BadSource(source));
        }
        let number = FrameNumber(u16_at(8));
        let (rests_on, payload_bytes) = match stream {
            StreamId::Roster => (number, u32::from(u16_at(12)) << 16 | u32::from(u16_at(14))),
            StreamId::Motion(_) => (FrameNumber(u16_at(12)), u32::from(u16_at(14))),
        };
        Ok(Header {
            stream,
            keyframe: head & KEYFRAME_BIT != 0,
            level,
            optional: head & OPTIONAL_BIT != 0,
            source: Source(source),
            chunk: ChunkPos::new(u16_at(4) as i16, u16_at(6) as i16),
            number,
            tick: u16_at(10),
            rests_on,
            payload_bytes,
        })
    }

    /// Writes the payload's length into the header that starts at `at` of `out`, once the payload is complete.
    pub(crate) fn patch_length(out: &mut [u8], at: usize, stream: StreamId) {
        let length = out.len() - at - HEADER_BYTES;
        match stream {
            StreamId::Roster => out[at + 12..at + 16].copy_from_slice(&(length as u32).to_be_bytes()),
            StreamId::Motion(_) => out[at + 14..at + 16].copy_from_slice(&(length as u16).to_be_bytes()),
        }
    }
}

/// A block whose header and length were checked; the payload is still bytes.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// The header.
    pub header: Header,
    /// The payload without an optional part.
    pub payload: &'a [u8],
    /// Header and payload as they came.
    pub bytes: &'a [u8],
}

/// Takes the first block off `bytes`; returns it and what is left.
///
/// # Errors
/// When the bytes are no block; nothing behind a bad block can be read.
pub fn split_block(bytes: &[u8]) -> Result<(Block<'_>, &[u8]), BlockError> {
    let header = Header::decode(bytes)?;
    let payload_bytes = header.payload_bytes as usize;
    if payload_bytes > SERVER_FRAME_BYTES_MAX {
        return Err(BlockError::BadPayload);
    }
    let end = HEADER_BYTES + payload_bytes;
    let whole = bytes.get(..end).ok_or(BlockError::CutShort)?;
    let mut payload = &whole[HEADER_BYTES..];
    if header.optional {
        let (length, rest) = payload.split_first_chunk::<2>().ok_or(BlockError::BadPayload)?;
        payload = rest.get(usize::from(u16::from_be_bytes(*length))..).ok_or(BlockError::BadPayload)?;
    }
    if matches!(header.stream, StreamId::Motion(_)) && !payload.len().is_multiple_of(MOVE_BYTES) {
        return Err(BlockError::BadPayload);
    }
    Ok((Block { header, payload, bytes: whole }, &bytes[end..]))
}

/// What kind of entity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum EntityKind {
    /// Somebody's.
    #[default]
    Player,
    /// Nobody's.
    Creature,
}

impl EntityKind {
    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(EntityKind::Player),
            1 => Some(EntityKind::Creature),
            _ => None,
        }
    }
}

/// A record of the roster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RosterRecord<'a> {
    /// An entity takes a slot.
    Enter {
        /// The slot.
        slot: u16,
        /// The entity.
        entity: EntityId,
        /// Epoch of its owner's right to it.
        epoch: Epoch,
        /// Where it is.
        pose: Pose,
        /// What it is.
        kind: EntityKind,
        /// How it looks; the game's own number.
        look: u8,
        /// Its name; may be empty.
        name: &'a str,
    },
    /// A slot falls free.
    Leave {
        /// The slot.
        slot: u16,
    },
}

impl<'a> RosterRecord<'a> {
    /// Appends the record to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            RosterRecord::Enter { slot, entity, epoch, pose, kind, look, name } => {
                out.push(OP_ENTER);
                out.extend_from_slice(&slot.to_be_bytes());
                out.extend_from_slice(&entity.0.to_be_bytes());
                out.extend_from_slice(&epoch.0.to_be_bytes());
                out.extend_from_slice(&pose.0.to_be_bytes());
                debug_assert!(name.len() <= NAME_BYTES_MAX);
                out.extend_from_slice(&[kind as u8, look, name.len() as u8]);
                out.extend_from_slice(name.as_bytes());
            }
            RosterRecord::Leave { slot } => {
                out.push(OP_LEAVE);
                out.extend_from_slice(&slot.to_be_bytes());
            }
        }
    }

    /// Takes the first record off `bytes`.
    ///
    /// # Errors
    /// `BadPayload` when the bytes are no record.
    pub fn split(bytes: &'a [u8]) -> Result<(RosterRecord<'a>, &'a [u8]), BlockError> {
        let bad = BlockError::BadPayload;
        let (&op, rest) = bytes.split_first().ok_or(bad)?;
        let (slot, rest) = rest.split_first_chunk::<2>().ok_or(bad)?;
        let slot = u16::from_be_bytes(*slot);
        if usize::from(slot) >= SLOTS_PER_CHUNK_MAX {
            return Err(bad);
        }
        match op {
            OP_LEAVE => Ok((RosterRecord::Leave { slot }, rest)),
            OP_ENTER => {
                let (entity, rest) = rest.split_first_chunk::<8>().ok_or(bad)?;
                let (epoch, rest) = rest.split_first_chunk::<4>().ok_or(bad)?;
                let (pose, rest) = rest.split_first_chunk::<4>().ok_or(bad)?;
                let (&[kind, look, name_bytes], rest) = rest.split_first_chunk::<3>().ok_or(bad)?;
                let name_bytes = usize::from(name_bytes);
                if name_bytes > NAME_BYTES_MAX {
                    return Err(bad);
                }
                let name = rest.get(..name_bytes).ok_or(bad)?;
                let record = RosterRecord::Enter {
                    slot,
                    entity: EntityId(u64::from_be_bytes(*entity)),
                    epoch: Epoch(u32::from_be_bytes(*epoch)),
                    pose: Pose(u32::from_be_bytes(*pose)),
                    kind: EntityKind::from_byte(kind).ok_or(bad)?,
                    look,
                    name: std::str::from_utf8(name).map_err(|_| bad)?,
                };
                Ok((record, &rest[name_bytes..]))
            }
            _ => Err(bad),
        }
    }
}

/// Appends one move to `out`.
pub fn encode_move(slot: u16, pose: Pose, out: &mut Vec<u8>) {
    out.extend_from_slice(&slot.to_be_bytes());
    out.extend_from_slice(&pose.0.to_be_bytes());
}

/// The moves of a motion payload.
pub fn moves(payload: &[u8]) -> impl Iterator<Item = (u16, Pose)> {
    payload
        .as_chunks::<MOVE_BYTES>()
        .0
        .iter()
        .map(|m| (u16::from_be_bytes([m[0], m[1]]), Pose(u32::from_be_bytes([m[2], m[3], m[4], m[5]]))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok((block, rest)) = split_block(&bytes) {
                prop_assert_eq!(block.bytes.len() + rest.len(), bytes.len());
            }
            let mut left = &bytes[..];
            while let Ok((_, rest)) = RosterRecord::split(left) {
                left = rest;
            }
        }

        #[test]
        fn headers_keep_every_field(stream in 0u8..5, keyframe: bool, source in 1u32..MINTER_MAX, x: i16, y: i16,
                                    number: u16, tick: u16, rests: u16) {
            let stream = StreamId::from_index(stream).unwrap();
            let number = FrameNumber(number);
            let rests_on = if stream == StreamId::Roster { number } else { FrameNumber(rests) };
            let header = Header { stream, keyframe, level: 0, optional: false, source: Source(source),
                chunk: ChunkPos::new(x, y), number, tick, rests_on, payload_bytes: 600 };
            let mut bytes = Vec::new();
            header.encode(&mut bytes);
            prop_assert_eq!(bytes.len(), HEADER_BYTES);
            prop_assert_eq!(Header::decode(&bytes), Ok(header));
        }
    }

    #[test]
    fn records_keep_every_field() {
        let records = [
            RosterRecord::Enter {
                slot: 9_999,
                entity: EntityId(u64::MAX),
                epoch: Epoch(7),
                pose: Pose(0x1234_5678),
                kind: EntityKind::Creature,
                look: 3,
                name: "abcdefghijklmnopqrstuvwx",
            },
            RosterRecord::Leave { slot: 4 },
        ];
        let mut bytes = Vec::new();
        records.iter().for_each(|r| r.encode(&mut bytes));
        assert_eq!(bytes.len(), ENTER_BYTES_MAX + 3);
        let (first, rest) = RosterRecord::split(&bytes).unwrap();
        let (second, rest) = RosterRecord::split(rest).unwrap();
        assert_eq!([first, second], records);
        assert!(rest.is_empty());
    }

    #[test]
    fn numbers_compare_over_the_wrap() {
        assert!(FrameNumber(2).is_after(FrameNumber(65_530)));
        assert!(!FrameNumber(65_530).is_after(FrameNumber(2)));
        assert!(!FrameNumber(5).is_after(FrameNumber(5)));
    }
}
