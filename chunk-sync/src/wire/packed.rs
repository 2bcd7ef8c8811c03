//! Packed messages of the client protocol, those that are sent often: a step, the personal part of a tick, the tiles of
//! a chunk. Used through `wire`.

use super::{LENGTH_BYTES, WireError, frame, kind};
use crate::limits::TILES_PER_CHUNK;
use crate::place::{ChunkPos, Place, Pose};
use crate::terrain::{ChunkTiles, Tile};

/// A client's step: where it is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Move {
    /// Counts the client's moves; comes back as the acknowledgement.
    pub sequence: u16,
    /// The place.
    pub place: Place,
    /// The heading, 256 steps a turn.
    pub heading: u8,
}

/// Bytes of the body of a `MOVE` frame.
pub const MOVE_BODY_BYTES: usize = 10;

impl Move {
    /// The whole frame.
    pub fn frame(&self) -> [u8; LENGTH_BYTES + 1 + MOVE_BODY_BYTES] {
        let mut out = [0; LENGTH_BYTES + 1 + MOVE_BODY_BYTES];
        let chunk = self.place.chunk();
        out[..4].copy_from_slice(&(1 + MOVE_BODY_BYTES as u32).to_be_bytes());
        out[4] = kind::MOVE;
        out[5..7].copy_from_slice(&self.sequence.to_be_bytes());
        out[7..9].copy_from_slice(&chunk.x.to_be_bytes());
        out[9..11].copy_from_slice(&chunk.y.to_be_bytes());
        out[11..].copy_from_slice(&Pose::new(self.place, self.heading).0.to_be_bytes());
        out
    }

    /// Reads the body of a `MOVE` frame.
    ///
    /// # Errors
    /// `BadBody` when it has another length.
    pub fn decode(body: &[u8]) -> Result<Move, WireError> {
        let Ok(body) = <&[u8; MOVE_BODY_BYTES]>::try_from(body) else {
            return Err(WireError::BadBody { kind: kind::MOVE, why: format!("{} bytes", body.len()) });
        };
        let chunk =
            ChunkPos::new(i16::from_be_bytes([body[2], body[3]]), i16::from_be_bytes([body[4], body[5]]));
        let pose = Pose(u32::from_be_bytes([body[6], body[7], body[8], body[9]]));
        Ok(Move {
            sequence: u16::from_be_bytes([body[0], body[1]]),
            place: pose.place(chunk),
            heading: pose.heading(),
        })
    }
}

/// The personal part before the shared blocks of a tick frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TickHeader {
    /// Low 32 bits of the tick.
    pub tick: u32,
    /// The last of the client's moves that was handled.
    pub ack: u16,
    /// Forget everything seen so far: what follows restates it.
    pub reset: bool,
    /// The view has a new centre; chunks further than the far ring from it are to be forgotten.
    pub view: Option<ChunkPos>,
    /// A move was not allowed: you are here.
    pub correction: Option<Place>,
}

const TICK_CORRECTION: u8 = 1;
const TICK_VIEW: u8 = 2;
const TICK_RESET: u8 = 4;
/// Most bytes that length, kind and personal part of a tick frame take.
pub const TICK_HEADER_BYTES_MAX: usize = LENGTH_BYTES + 1 + 7 + 4 + 8;

impl TickHeader {
    /// Writes length, kind and personal part of a frame that `block_bytes` of blocks will follow; returns how many
    /// bytes of `out` were used.
    pub fn encode(&self, block_bytes: usize, out: &mut [u8; TICK_HEADER_BYTES_MAX]) -> usize {
        let mut flags = 0;
        let mut at = LENGTH_BYTES + 1 + 7;
        if self.reset {
            flags |= TICK_RESET;
        }
        if let Some(view) = self.view {
            flags |= TICK_VIEW;
            out[at..at + 2].copy_from_slice(&view.x.to_be_bytes());
            out[at + 2..at + 4].copy_from_slice(&view.y.to_be_bytes());
            at += 4;
        }
        if let Some(place) = self.correction {
            flags |= TICK_CORRECTION;
            out[at..at + 4].copy_from_slice(&place.x.to_be_bytes());
            out[at + 4..at + 8].copy_from_slice(&place.y.to_be_bytes());
            at += 8;
        }
        out[..4].copy_from_slice(&((at - LENGTH_BYTES + block_bytes) as u32).to_be_bytes());
        out[4] = kind::TICK;
        out[5..9].copy_from_slice(&self.tick.to_be_bytes());
        out[9..11].copy_from_slice(&self.ack.to_be_bytes());
        out[11] = flags;
        at
    }

    /// Reads the personal part off the body of a tick frame; returns it and the blocks behind it.
    ///
    /// # Errors
    /// `BadBody` when it is cut short.
    pub fn split(body: &[u8]) -> Result<(TickHeader, &[u8]), WireError> {
        let short = || WireError::BadBody { kind: kind::TICK, why: "cut short".to_owned() };
        let (fixed, mut rest) = body.split_first_chunk::<7>().ok_or_else(short)?;
        let mut header = TickHeader {
            tick: u32::from_be_bytes([fixed[0], fixed[1], fixed[2], fixed[3]]),
            ack: u16::from_be_bytes([fixed[4], fixed[5]]),
            reset: fixed[6] & TICK_RESET != 0,
            ..TickHeader::default()
        };
        if fixed[6] & TICK_VIEW != 0 {
            let (view, behind) = rest.split_first_chunk::<4>().ok_or_else(short)?;
            header.view = Some(ChunkPos::new(
                i16::from_be_bytes([view[0], view[1]]),
                i16::from_be_bytes([view[2], view[3]]),
            ));
            rest = behind;
        }
        if fixed[6] & TICK_CORRECTION != 0 {
            let (place, behind) = rest.split_first_chunk::<8>().ok_or_else(short)?;
            let axis =
                |at: usize| i32::from_be_bytes([place[at], place[at + 1], place[at + 2], place[at + 3]]);
            header.correction = Some(Place { x: axis(0), y: axis(4) });
            rest = behind;
        }
        Ok((header, rest))
    }
}

/// Bytes of a whole `LAND` frame.
pub const LAND_FRAME_BYTES: usize = LENGTH_BYTES + 1 + 4 + TILES_PER_CHUNK;

/// The whole `LAND` frame of a chunk.
pub fn land_frame(chunk: ChunkPos, tiles: &ChunkTiles) -> Vec<u8> {
    let mut body = Vec::with_capacity(4 + TILES_PER_CHUNK);
    body.extend_from_slice(&chunk.x.to_be_bytes());
    body.extend_from_slice(&chunk.y.to_be_bytes());
    body.extend(tiles.iter().map(|tile| *tile as u8));
    frame(kind::LAND, &body)
}

/// Reads the body of a `LAND` frame.
///
/// # Errors
/// `BadBody` when it has another length or an unknown tile.
pub fn decode_land(body: &[u8]) -> Result<(ChunkPos, Box<ChunkTiles>), WireError> {
    let bad = |why: &str| WireError::BadBody { kind: kind::LAND, why: why.to_owned() };
    let (chunk, bytes) = body.split_first_chunk::<4>().ok_or_else(|| bad("cut short"))?;
    if bytes.len() != TILES_PER_CHUNK {
        return Err(bad("wrong number of tiles"));
    }
    let mut tiles = Box::new([Tile::Water; TILES_PER_CHUNK]);
    for (tile, byte) in tiles.iter_mut().zip(bytes) {
        *tile = Tile::from_byte(*byte).ok_or_else(|| bad("unknown tile"))?;
    }
    let x = i16::from_be_bytes([chunk[0], chunk[1]]);
    let y = i16::from_be_bytes([chunk[2], chunk[3]]);
    Ok((ChunkPos::new(x, y), tiles))
}
