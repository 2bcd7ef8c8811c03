//! What the null server and its clients say to each other.
//!
//! Server to client, once a tick, `bytes` in all: a personal header and a body that all clients share.
//!
//! | offset | size | field |
//! | --- | --- | --- |
//! | 0 | 4 | length of what follows, big-endian |
//! | 4 | 1 | kind, always [`FRAME_KIND`] |
//! | 5 | 4 | client number, big-endian |
//! | 9 | 4 | tick, big-endian |
//! | 13 | `bytes` − 13 | body |
//!
//! Client to server: [`MOVE`], length-prefixed, meaning nothing. This isn't Atoll's protocol; it has its
//! sizes.

use crate::limits::{MOVE_BYTES, NULL_FRAME_BYTES_MIN};

/// Size of the personal header.
pub(super) const HEADER_BYTES: usize = 13;
/// The one kind of frame that there is.
pub(super) const FRAME_KIND: u8 = 0x6e;
/// Any byte would do as body.
pub(super) const BODY_BYTE: u8 = 0xb0;
/// One move: length 11 and eleven bytes.
pub(super) const MOVE: [u8; MOVE_BYTES] = *b"\0\0\0\x0bnull-move..";

const _: () = assert!(HEADER_BYTES < NULL_FRAME_BYTES_MIN as usize);
const _: () = assert!(MOVE[3] as usize == MOVE_BYTES - 4);

/// The personal header of a frame of `bytes` in all.
pub(super) fn header(bytes: u32, client: u32, tick: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[0..4].copy_from_slice(&(bytes - 4).to_be_bytes());
    header[4] = FRAME_KIND;
    header[5..9].copy_from_slice(&client.to_be_bytes());
    header[9..13].copy_from_slice(&tick.to_be_bytes());
    header
}

/// Follows the frames of one connection through reads of any size.
#[derive(Debug)]
pub(super) struct FrameReader {
    bytes: u32,
    /// Bytes of the current frame seen so far.
    seen: usize,
    header: [u8; HEADER_BYTES],
    /// Client number and tick of the last frame.
    last: Option<(u32, u32)>,
}

/// Bytes that are not what this server sends to this client next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadFrame;

impl FrameReader {
    /// A reader at a frame's start, for frames of `bytes` in all.
    pub(super) fn new(bytes: u32) -> Self {
        Self { bytes, seen: 0, header: [0; HEADER_BYTES], last: None }
    }

    /// Takes what was received; returns how many frames it completed.
    pub(super) fn take(&mut self, mut data: &[u8]) -> Result<u64, BadFrame> {
        let mut complete = 0;
        while !data.is_empty() {
            if self.seen < HEADER_BYTES {
                let part = data.len().min(HEADER_BYTES - self.seen);
                self.header[self.seen..self.seen + part].copy_from_slice(&data[..part]);
                (self.seen, data) = (self.seen + part, &data[part..]);
                if self.seen == HEADER_BYTES {
                    self.check_header()?;
                }
            } else {
                let part = data.len().min(self.bytes as usize - self.seen);
                (self.seen, data) = (self.seen + part, &data[part..]);
            }
            if self.seen == self.bytes as usize {
                complete += 1;
                self.seen = 0;
            }
        }
        Ok(complete)
    }

    /// Length and kind fit, the client stays the same, ticks only grow.
    fn check_header(&mut self) -> Result<(), BadFrame> {
        let word = |at: usize| {
            u32::from_be_bytes([
                self.header[at],
                self.header[at + 1],
                self.header[at + 2],
                self.header[at + 3],
            ])
        };
        let (length, client, tick) = (word(0), word(5), word(9));
        let follows =
            self.last.is_none_or(|(last_client, last_tick)| client == last_client && tick > last_tick);
        if length != self.bytes - 4 || self.header[4] != FRAME_KIND || !follows {
            return Err(BadFrame);
        }
        self.last = Some((client, tick));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(bytes: u32, client: u32, ticks: impl IntoIterator<Item = u32>) -> Vec<u8> {
        let mut all = Vec::new();
        for tick in ticks {
            all.extend_from_slice(&header(bytes, client, tick));
            all.resize(all.len() + bytes as usize - HEADER_BYTES, BODY_BYTE);
        }
        all
    }

    #[test]
    fn the_header_is_as_documented() {
        let expected = [0, 0, 0x07, 0xfc, 0x6e, 0, 0, 0, 5, 0, 0, 0x01, 0x02];
        assert_eq!(header(2_048, 5, 258), expected);
    }

    #[test]
    fn frames_are_counted_however_the_bytes_are_cut() {
        let sent = frames(40, 7, [3, 4, 9]);
        for cut in 1..sent.len() {
            let mut reader = FrameReader::new(40);
            let counted: u64 = sent.chunks(cut).map(|part| reader.take(part).expect("good frames")).sum();
            assert_eq!(counted, 3, "in pieces of {cut}");
        }
    }

    #[test]
    fn another_clients_frame_a_repeat_and_a_wrong_length_are_noticed() {
        for wrong in [frames(40, 8, [4]), frames(40, 7, [3]), frames(41, 7, [4])] {
            let mut reader = FrameReader::new(40);
            assert_eq!(reader.take(&frames(40, 7, [3])), Ok(1));
            assert_eq!(reader.take(&wrong), Err(BadFrame));
        }
    }
}
