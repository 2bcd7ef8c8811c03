//! The client protocol: frames, messages, refusals. `docs/protocol.md` says the same in words and worked examples.
//!
//! A frame is a u32 big-endian length, a kind byte and a body; the length counts kind and body. Control messages
//! are MessagePack maps with string keys; what is sent often is packed.

mod acts;
mod control;
mod packed;

pub use acts::{Act, ActNumber, ActOutcome, Acted, Docs};
pub use control::{Hello, Reject, RejectCode, Seat, Welcome, is_name};
pub use packed::{
    LAND_FRAME_BYTES, MOVE_BODY_BYTES, Move, TICK_HEADER_BYTES_MAX, TickHeader, decode_land, land_frame,
};

use crate::limits::CLIENT_FRAME_BYTES_MAX;
use serde::{Serialize, de::DeserializeOwned};
use std::ops::ControlFlow;
use thiserror::Error;

/// Protocol versions that this build speaks, oldest and newest.
pub const PROTOCOL_VERSIONS: (u16, u16) = (1, 1);
/// Feature: the server sends `Land` for every chunk that comes into view.
pub const FEATURE_LAND: &str = "land";
/// Feature: the server sends `Docs`: what is built, grows and lies about in view, and what the player carries.
pub const FEATURE_DOCS: &str = "docs";
/// Features that this build can serve.
pub const FEATURES: [&str; 2] = [FEATURE_LAND, FEATURE_DOCS];
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
    /// An act (MessagePack `Act`).
    pub const ACT: u8 = 0x05;
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
    /// What came of an act (MessagePack `Acted`).
    pub const ACTED: u8 = 0x87;
    /// Documents of a chunk or of the player (MessagePack `Docs`).
    pub const DOCS: u8 = 0x88;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::{ChunkPos, Place};
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
