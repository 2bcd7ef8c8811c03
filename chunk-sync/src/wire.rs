//! The client protocol: frames, messages, refusals. `docs/protocol.md` says the same in words and worked examples.
//!
//! A frame is a u32 big-endian length, a kind byte and a body; the length counts kind and body. Control messages
//! are MessagePack maps with string keys; what is sent often is packed.

use crate::limits::{CLIENT_FRAME_BYTES_MAX, NAME_BYTES_MAX, TILES_PER_CHUNK};
use crate::place::{ChunkPos, Place, Pose};
use crate::terrain::{ChunkTiles, Tile};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::ops::ControlFlow;
use thiserror::Error;

/// Protocol versions that this build speaks, oldest and newest.
pub const PROTOCOL_VERSIONS: (u16, u16) = (1, 1);
/// Feature: the server sends `Land` for every chunk that comes into view.
pub const FEATURE_LAND: &str = "land";
/// Features that this build can serve.
pub const FEATURES: [&str; 1] = [FEATURE_LAND];
/// Bytes of the length prefix.
pub const LENGTH_BYTES: usize = 4;

/// Kinds of frames; from clients below 0x80, from servers above.
pub mod kind {
    /// First frame of every connection (MessagePack `Hello`).
    pub const HELLO: u8 = 0x01;
    /// A step (packed).
    pub const MOVE: u8 = 0x02;
    /// Keep-alive; the body (at most 8 bytes) comes back.
    pub const PING: u8 = 0x03;
    /// The client leaves; empty.
    pub const BYE: u8 = 0x04;
    /// The allocator's answer (MessagePack `Seat`).
    pub const SEAT: u8 = 0x81;
    /// The node's answer (MessagePack `Welcome`).
    pub const WELCOME: u8 = 0x82;
    /// A refusal, then the connection ends (MessagePack `Reject`).
    pub const REJECT: u8 = 0x83;
    /// What a tick brought (packed header, then blocks).
    pub const TICK: u8 = 0x84;
    /// Answer to `PING`, same body.
    pub const PONG: u8 = 0x85;
    /// The tiles of a chunk (packed).
    pub const LAND: u8 = 0x86;
}

/// First message of a client, to allocator and node alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Oldest protocol version that the client speaks.
    pub min: u16,
    /// Newest protocol version that the client speaks.
    pub max: u16,
    /// Features that the client wants; unknown ones are ignored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// Wire levels of streams that the client reads; missing means level 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<u8>,
    /// What the client is, for logs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub client: String,
    /// To the allocator: the player's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// To the allocator: an island that the player asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub island: Option<u32>,
    /// To a node: the ticket.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "serde_bytes")]
    pub ticket: Option<Vec<u8>>,
}

impl Hello {
    /// The newest version that both sides speak.
    pub fn version(&self) -> Option<u16> {
        let version = self.max.min(PROTOCOL_VERSIONS.1);
        (version >= self.min && version >= PROTOCOL_VERSIONS.0).then_some(version)
    }

    /// Whether the client reads streams of this wire level.
    pub fn reads_level(&self, level: u8) -> bool {
        if self.levels.is_empty() { level == 0 } else { self.levels.contains(&level) }
    }
}

/// The allocator's answer: where to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// Protocol version chosen.
    pub protocol: u16,
    /// The player's number.
    pub player: u64,
    /// The island.
    pub island: u32,
    /// Nodes that serve it, the best first; the ticket is good at any of them.
    pub nodes: Vec<String>,
    /// The ticket, to be shown to a node as it is.
    #[serde(with = "serde_bytes")]
    pub ticket: Vec<u8>,
    /// Milliseconds that the ticket stays good.
    pub ticket_ms: u64,
}

/// The node's answer: you are in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Protocol version chosen.
    pub protocol: u16,
    /// Wire level of the streams.
    pub level: u8,
    /// Features that are on.
    pub features: Vec<String>,
    /// The node, as operators name it.
    pub node: u32,
    /// The player's number; also the number of the player's entity.
    pub player: u64,
    /// Epoch of the session.
    pub epoch: u32,
    /// The island.
    pub island: u32,
    /// The world's seed, for clients that generate the land themselves.
    pub seed: u64,
    /// Current tick.
    pub tick: u64,
    /// Milliseconds of a tick.
    pub tick_ms: u32,
    /// Chunks along the edge of the island.
    pub island_chunks: u16,
    /// Rings of chunks seen at every tick.
    pub near_ring: u8,
    /// Rings of chunks seen at all.
    pub far_ring: u8,
    /// Walking speed, millimetres a second.
    pub walk_mm_per_s: u32,
    /// Send something at least this often.
    pub keep_alive_ms: u32,
    /// Where you stand: quanta (1/128 m) east.
    pub x: i32,
    /// Where you stand: quanta (1/128 m) north.
    pub y: i32,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    /// Stable number.
    pub code: u16,
    /// Stable label, as in metrics.
    pub reason: String,
    /// A sentence for the player.
    pub text: String,
}

macro_rules! reject_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $label:literal, $text:literal;)*) => {
        /// Why somebody is refused: number, label and text in one place.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u16)]
        pub enum RejectCode { $($(#[$doc])* $name = $code,)* }

        impl RejectCode {
            /// All codes.
            pub const ALL: &[RejectCode] = &[$(RejectCode::$name,)*];

            /// The label in metrics and in the message.
            pub fn label(self) -> &'static str {
                match self { $(RejectCode::$name => $label,)* }
            }

            /// The sentence for the player.
            pub fn text(self) -> &'static str {
                match self { $(RejectCode::$name => $text,)* }
            }
        }
    };
}

reject_codes! {
    /// Bytes that are no frame or no message of ours.
    Malformed = 100, "malformed", "Your game sent something that this server can't read. Please update it.";
    /// No common protocol version.
    Version = 101, "version", "Your game is too old or too new for this server. Please update it.";
    /// No whole `Hello` in time.
    HelloTimeout = 102, "hello_timeout", "The connection was opened, but your game said nothing.";
    /// A message that is not allowed at this point.
    Unexpected = 103, "unexpected", "Your game sent something at the wrong moment. Please reconnect.";
    /// More frames a tick than any game needs.
    Flood = 104, "flood", "Your game sent far too much at once and was disconnected.";
    /// Nothing heard for too long.
    Silent = 105, "silent", "The connection was lost.";
    /// Nothing read for too long.
    TooSlow = 106, "too_slow", "Your connection is too slow to keep up.";
    /// A name outside the rules.
    BadName = 110, "bad_name", "A name has 1 to 24 letters, digits, hyphens or underscores.";
    /// No free seat.
    Full = 111, "full", "Every island is full right now. Please try again in a moment.";
    /// The wished island doesn't exist or is not open.
    NoIsland = 112, "no_island", "That island is not open.";
    /// No node is there to serve.
    NoNode = 113, "no_node", "The world is just starting up. Please try again in a moment.";
    /// A ticket that is not ours.
    TicketForged = 120, "ticket_forged", "Your ticket is not valid. Please log in again.";
    /// A ticket past its time.
    TicketExpired = 121, "ticket_expired", "Your ticket has expired. Please log in again.";
    /// A ticket that was used, or is older than one that was.
    TicketUsed = 122, "ticket_used", "Your ticket was used already. Please log in again.";
    /// A ticket for another island or node.
    TicketElsewhere = 123, "ticket_elsewhere", "Your ticket is for another place. Please log in again.";
    /// Somebody entered under the same name.
    Replaced = 130, "replaced", "You entered from somewhere else.";
    /// The node leaves; come back through another.
    Closing = 131, "closing", "This server is closing. Please reconnect.";
    /// The node was fenced or lost its store.
    NodeLost = 132, "node_lost", "This server lost touch with the world. Please reconnect.";
    /// The node can take nobody more right now.
    Busy = 133, "busy", "This server is busy. Please try again in a moment.";
    /// The store can't answer right now.
    StoreAway = 140, "store_away", "The world can't be reached right now. Please try again in a moment.";
}

impl RejectCode {
    /// The whole frame.
    pub fn frame(self) -> Vec<u8> {
        let message =
            Reject { code: self as u16, reason: self.label().to_owned(), text: self.text().to_owned() };
        control_frame(kind::REJECT, &message)
    }

    /// The code with this number.
    pub fn from_code(code: u16) -> Option<RejectCode> {
        Self::ALL.iter().copied().find(|c| *c as u16 == code)
    }
}

/// Why bytes are refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// The length prefix says more than the limit, or nothing at all.
    #[error("a frame of {claimed} bytes was announced, at most {max} are allowed and at least 1 is needed")]
    BadLength {
        /// What the prefix says.
        claimed: u64,
        /// What is allowed.
        max: usize,
    },
    /// A body that its kind does not allow.
    #[error("malformed body of message 0x{kind:02x}: {why}")]
    BadBody {
        /// The kind byte.
        kind: u8,
        /// What is wrong.
        why: String,
    },
    /// The reader asked to stop.
    #[error("stopped by the reader")]
    Stopped,
}

/// A whole frame around a packed body.
pub fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(LENGTH_BYTES + 1 + body.len());
    out.extend_from_slice(&(body.len() as u32 + 1).to_be_bytes());
    out.push(kind);
    out.extend_from_slice(body);
    out
}

/// A whole frame around a MessagePack map.
pub fn control_frame<T: Serialize>(kind: u8, message: &T) -> Vec<u8> {
    let body = rmp_serde::to_vec_named(message).expect("control messages are plain data");
    frame(kind, &body)
}

/// The message in the body of a control frame.
///
/// # Errors
/// `BadBody` when the body is no such message.
pub fn control<T: DeserializeOwned>(kind: u8, body: &[u8]) -> Result<T, WireError> {
    rmp_serde::from_slice(body).map_err(|error| WireError::BadBody { kind, why: error.to_string() })
}

/// Whether a player may be called this (development names: 1–24 of `[A-Za-z0-9_-]`).
pub fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Cuts a byte stream into frames. It holds at most one unfinished frame and never reserves for bytes that have
/// not come.
#[derive(Debug)]
pub struct Framer {
    pending: Vec<u8>,
    max: usize,
}

impl Framer {
    /// A framer that refuses frames longer than `max` bytes.
    pub fn new(max: usize) -> Self {
        Self { pending: Vec::new(), max }
    }

    /// A framer for what clients send.
    pub fn for_clients() -> Self {
        Self::new(CLIENT_FRAME_BYTES_MAX)
    }

    /// Bytes of the unfinished frame.
    pub fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    /// The length of the frame at the start of `bytes`, prefix included, if the prefix is there.
    fn frame_end(&self, bytes: &[u8]) -> Result<Option<usize>, WireError> {
        let Some(prefix) = bytes.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let claimed = u32::from_be_bytes(*prefix) as usize;
        if claimed == 0 || claimed > self.max {
            return Err(WireError::BadLength { claimed: claimed as u64, max: self.max });
        }
        Ok(Some(LENGTH_BYTES + claimed))
    }

    /// Hands every whole frame of `input` (with what was left before) to `on_frame` as (kind, body).
    ///
    /// # Errors
    /// `BadLength` at a bad prefix, `Stopped` when `on_frame` breaks; the stream is unusable after either.
    pub fn feed(
        &mut self,
        mut input: &[u8],
        mut on_frame: impl FnMut(u8, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), WireError> {
        while !self.pending.is_empty() && !input.is_empty() {
            // Finish the unfinished frame: first its prefix, then exactly its body.
            let wanted = match self.frame_end(&self.pending)? {
                None => LENGTH_BYTES,
                Some(end) => end,
            };
            let take = (wanted - self.pending.len()).min(input.len());
            self.pending.extend_from_slice(&input[..take]);
            input = &input[take..];
            if let Some(end) = self.frame_end(&self.pending)?
                && self.pending.len() == end
            {
                let flow = on_frame(self.pending[LENGTH_BYTES], &self.pending[LENGTH_BYTES + 1..]);
                self.pending.clear();
                if self.pending.capacity() > 4096 {
                    self.pending = Vec::new();
                }
                if flow.is_break() {
                    return Err(WireError::Stopped);
                }
            }
        }
        while let Some(end) = self.frame_end(input)?
            && input.len() >= end
        {
            if on_frame(input[LENGTH_BYTES], &input[LENGTH_BYTES + 1..end]).is_break() {
                return Err(WireError::Stopped);
            }
            input = &input[end..];
        }
        self.pending.extend_from_slice(input);
        Ok(())
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(framer: &mut Framer, input: &[u8]) -> Result<Vec<(u8, Vec<u8>)>, WireError> {
        let mut out = Vec::new();
        framer.feed(input, |kind, body| {
            out.push((kind, body.to_vec()));
            ControlFlow::Continue(())
        })?;
        Ok(out)
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_frames(cuts in proptest::collection::vec(1usize..40, 1..30)) {
            let sent: Vec<(u8, Vec<u8>)> = (0..12u8).map(|i| (i, vec![i; usize::from(i) * 3])).collect();
            let bytes: Vec<u8> = sent.iter().flat_map(|(k, b)| frame(*k, b)).collect();
            let mut framer = Framer::for_clients();
            let (mut got, mut left, mut at) = (Vec::new(), &bytes[..], 0);
            while !left.is_empty() {
                let take = cuts[at % cuts.len()].min(left.len());
                got.extend(frames(&mut framer, &left[..take]).unwrap());
                left = &left[take..];
                at += 1;
            }
            prop_assert_eq!(got, sent);
            prop_assert_eq!(framer.pending_bytes(), 0);
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = frames(&mut Framer::for_clients(), &bytes);
            let _ = TickHeader::split(&bytes);
            let _ = Move::decode(&bytes);
            let _ = decode_land(&bytes);
            let _ = control::<Hello>(kind::HELLO, &bytes);
        }

        #[test]
        fn moves_keep_every_field(sequence: u16, x in 0i32..65_536, y in 0i32..65_536, heading: u8) {
            let step = Move { sequence, place: Place { x, y }, heading };
            prop_assert_eq!(Move::decode(&step.frame()[5..]), Ok(step));
        }
    }

    #[test]
    fn lengths_are_refused_before_anything_is_kept() {
        let mut framer = Framer::for_clients();
        assert!(matches!(frames(&mut framer, &[0xff; 4]), Err(WireError::BadLength { .. })));
        let mut framer = Framer::for_clients();
        assert!(matches!(frames(&mut framer, &[0; 4]), Err(WireError::BadLength { claimed: 0, .. })));
        let mut byte_by_byte = Framer::for_clients();
        assert!([0xffu8, 0, 0].iter().all(|b| frames(&mut byte_by_byte, &[*b]).is_ok()));
        assert!(frames(&mut byte_by_byte, &[0]).is_err());
    }

    #[test]
    fn tick_headers_keep_every_field() {
        for header in [
            TickHeader { tick: 7, ack: 3, ..TickHeader::default() },
            TickHeader {
                tick: u32::MAX,
                ack: 9,
                reset: true,
                view: Some(ChunkPos::new(3, -1)),
                correction: Some(Place { x: -5, y: 70_000 }),
            },
        ] {
            let mut out = [0; TICK_HEADER_BYTES_MAX];
            let used = header.encode(3, &mut out);
            let mut bytes = out[..used].to_vec();
            bytes.extend_from_slice(b"abc");
            let got = frames(&mut Framer::new(1024), &bytes).unwrap();
            assert_eq!(got.len(), 1);
            assert_eq!(TickHeader::split(&got[0].1), Ok((header, &b"abc"[..])));
        }
    }

    #[test]
    fn codes_and_labels_are_unique() {
        let mut codes: Vec<_> = RejectCode::ALL.iter().map(|c| *c as u16).collect();
        let mut labels: Vec<_> = RejectCode::ALL.iter().map(|c| c.label()).collect();
        codes.dedup();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!((codes.len(), labels.len()), (RejectCode::ALL.len(), RejectCode::ALL.len()));
    }

    #[test]
    fn versions_meet_at_the_newest_common_one() {
        let hello = |min, max| Hello { min, max, ..Hello::default() };
        assert_eq!(hello(1, 9).version(), Some(1));
        assert_eq!(hello(2, 9).version(), None);
        assert_eq!(hello(0, 0).version(), None);
    }

    #[test]
    fn names_have_rules() {
        assert!(is_name("a") && is_name("Mara_3-x") && is_name(&"x".repeat(24)));
        assert!(!is_name("") && !is_name(&"x".repeat(25)) && !is_name("a b") && !is_name("ä"));
    }
}
