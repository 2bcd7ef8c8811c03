//! Gathered writes to a socket that may not take them whole, and what waits for one that didn't.
//!
//! Used by `sockets`. Shared buffers are kept by reference, never copied; only what is left of a personal header
//! is. Bytes leave in the order in which they were handed over, each once.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use bytes::{Buf, Bytes};

use crate::limits::WRITE_PARTS_MAX;

/// What a socket has yet to take.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    parts: VecDeque<Bytes>,
    bytes: usize,
}

impl Outbox {
    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Keeps header and shared parts, without the first `taken` bytes that the socket took already.
    pub(super) fn keep(&mut self, header: &[u8], shared: &[Bytes], taken: usize) {
        if let Some(rest) = header.get(taken..) {
            self.push(Bytes::copy_from_slice(rest));
        }
        let mut skip = taken.saturating_sub(header.len());
        for part in shared {
            if skip < part.len() {
                self.push(part.slice(skip..));
            }
            skip = skip.saturating_sub(part.len());
        }
    }

    fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.bytes += part.len();
            self.parts.push_back(part);
        }
    }

    /// Writes until nothing waits or the socket takes no more; returns how many bytes it took.
    ///
    /// # Errors
    /// When the connection is broken; `WouldBlock` is none.
    pub(super) fn write_to(&mut self, socket: &mut impl Write) -> io::Result<usize> {
        let mut taken = 0;
        while !self.is_empty() {
            let mut slices = [IoSlice::new(&[]); WRITE_PARTS_MAX];
            let mut used = 0;
            for (slice, part) in slices.iter_mut().zip(&self.parts) {
                *slice = IoSlice::new(part);
                used += 1;
            }
            match write_once(socket, &slices[..used])? {
                Some(some) => {
                    self.advance(some);
                    taken += some;
                }
                None => break,
            }
        }
        Ok(taken)
    }

    fn advance(&mut self, mut taken: usize) {
        self.bytes -= taken;
        while let Some(first) = self.parts.front_mut() {
            if taken < first.len() {
                first.advance(taken);
                return;
            }
            taken -= first.len();
            self.parts.pop_front();
        }
    }
}

/// Writes header and shared parts as few gathered writes as they need; returns how many bytes the socket took
/// before it would have blocked.
///
/// # Errors
/// When the connection is broken; `WouldBlock` is none.
pub(super) fn write_gathered(socket: &mut impl Write, header: &[u8], shared: &[Bytes]) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); WRITE_PARTS_MAX];
    slices[0] = IoSlice::new(header);
    let (first, rest) = shared.split_at(shared.len().min(WRITE_PARTS_MAX - 1));
    let mut wanted = header.len();
    for (slice, part) in slices[1..].iter_mut().zip(first) {
        *slice = IoSlice::new(part);
        wanted += part.len();
    }
    let taken = write_whole(socket, &mut slices[..1 + first.len()], wanted)?;
    if taken == wanted && !rest.is_empty() {
        return Ok(taken + write_gathered(socket, &[], rest)?);
    }
    Ok(taken)
}

/// Writes `slices` (`wanted` bytes in all) until they are gone or the socket says that it would block: after a
/// short write its next readiness is only told once it was asked again.
fn write_whole(socket: &mut impl Write, mut slices: &mut [IoSlice<'_>], wanted: usize) -> io::Result<usize> {
    let mut taken = 0;
    while taken < wanted {
        match write_once(socket, slices)? {
            Some(some) => {
                taken += some;
                if taken < wanted {
                    IoSlice::advance_slices(&mut slices, some);
                }
            }
            None => break,
        }
    }
    Ok(taken)
}

/// One gathered write; `None` when the socket would block.
fn write_once(socket: &mut impl Write, slices: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
    loop {
        match socket.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(some) => return Ok(Some(some)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Takes as many bytes as its script says, call by call; 0 stands for "would block".
    struct Scripted {
        script: VecDeque<usize>,
        got: Vec<u8>,
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.write_vectored(&[IoSlice::new(bytes)])
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            assert!(slices.len() <= WRITE_PARTS_MAX);
            let room = self.script.pop_front().unwrap_or(usize::MAX);
            if room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            let taken = room.min(all.len());
            self.got.extend_from_slice(&all[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Distinct bytes, so that a byte lost, doubled or out of order shows.
    fn numbered(from: &mut u32, length: usize) -> Vec<u8> {
        (0..length)
            .map(|_| {
                *from += 1;
                (from.wrapping_mul(2_654_435_761) >> 24) as u8
            })
            .collect()
    }

    proptest! {
        #[test]
        fn whatever_the_socket_takes_the_bytes_stay_in_order(
            sends in proptest::collection::vec(
                (0usize..40, proptest::collection::vec(0usize..60, 0..150)), 1..12),
            script in proptest::collection::vec(prop_oneof![Just(0usize), 1usize..200], 0..80),
        ) {
            let mut socket = Scripted { script: script.into(), got: Vec::new() };
            let mut outbox = Outbox::default();
            let (mut sent, mut from) = (Vec::new(), 0);
            for (header, parts) in sends {
                let header = numbered(&mut from, header);
                let shared: Vec<Bytes> = parts.iter().map(|n| Bytes::from(numbered(&mut from, *n))).collect();
                sent.extend_from_slice(&header);
                shared.iter().for_each(|part| sent.extend_from_slice(part));
                let taken = if outbox.is_empty() { write_gathered(&mut socket, &header, &shared).unwrap() } else { 0 };
                outbox.keep(&header, &shared, taken);
                outbox.write_to(&mut socket).unwrap();
                prop_assert_eq!(outbox.bytes(), sent.len() - socket.got.len());
                prop_assert_eq!(outbox.bytes(), outbox.parts.iter().map(Bytes::len).sum::<usize>());
            }
            socket.script.clear();
            outbox.write_to(&mut socket).unwrap();
            prop_assert!(outbox.is_empty() && outbox.parts.is_empty());
            prop_assert_eq!(socket.got, sent);
        }
    }

    #[test]
    fn shared_parts_wait_without_a_copy() {
        let shared = Bytes::from(vec![7; 1000]);
        let mut outbox = Outbox::default();
        outbox.keep(b"head", std::slice::from_ref(&shared), 10);
        assert_eq!(outbox.bytes(), 994);
        assert_eq!(outbox.parts[0].as_ptr(), shared[6..].as_ptr());
    }

    #[test]
    fn an_empty_send_asks_nothing_of_the_socket() {
        let mut socket = Scripted { script: VecDeque::from([0]), got: Vec::new() };
        assert_eq!(write_gathered(&mut socket, &[], &[]).unwrap(), 0);
        assert_eq!(socket.script.len(), 1);
    }
}
