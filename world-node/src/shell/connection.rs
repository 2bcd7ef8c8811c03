//! One client's socket: what it is allowed to do next, and what waits for it.
//!
//! Used by `sockets`, which owns them all. It never blocks, and it never calls the core.

use std::io::{self, Read};
use std::net::Shutdown;

use bytes::Bytes;
use mio::net::TcpStream;

use super::outbox::{Outbox, write_gathered};
use crate::core::ports::Backlog;
use crate::limits::{CLOSE_LINGER_MS, OUTBOX_BYTES_MAX};

/// Where a connection is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// The core knows it.
    Open,
    /// It broke while the core was sending; the core is told at the next tick.
    Broken,
    /// The core closed it: what waits is still written, what comes is thrown away, until `until_ms`.
    Closing {
        /// World milliseconds at which it is cut.
        until_ms: u64,
    },
}

/// What came of reading a connection once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ReadEnd {
    /// The socket is empty; its next readiness will be told.
    Drained,
    /// The buffer was filled: more may wait, and nobody will tell.
    More,
    /// The peer sends nothing more, or the connection broke.
    Ended,
}

/// One client's socket.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) stage: Stage,
    /// The peer ended its side: a short read may have its end right behind it.
    pub(super) hung_up: bool,
    /// Listed to be read again at the next tick without a new event.
    pub(super) more: bool,
    /// The socket said that it would block, and hasn't said since that it is writable.
    blocked: bool,
    /// Present only while something waits, so that an idle client costs no buffer.
    outbox: Option<Box<Outbox>>,
    stalled_since_ms: u64,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            stage: Stage::Open,
            hung_up: false,
            more: false,
            blocked: false,
            outbox: None,
            stalled_since_ms: 0,
        }
    }

    /// What waits, and since when none of it was taken.
    pub(super) fn backlog(&self) -> Backlog {
        match &self.outbox {
            None => Backlog::default(),
            Some(outbox) => Backlog { bytes: outbox.bytes(), stalled_since_ms: self.stalled_since_ms },
        }
    }

    /// Reads into `buffer` once and hands what came to `on_bytes`; only when the peer hung up it reads on, to
    /// the end. A short read has emptied the socket, which spares the system a second call.
    pub(super) fn read(&mut self, buffer: &mut [u8], mut on_bytes: impl FnMut(&[u8])) -> ReadEnd {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return ReadEnd::Ended,
                Ok(some) => {
                    on_bytes(&buffer[..some]);
                    if some == buffer.len() {
                        return ReadEnd::More;
                    }
                    if !self.hung_up {
                        return ReadEnd::Drained;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return ReadEnd::Drained,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return ReadEnd::Ended,
            }
        }
    }

    /// Sends header and shared parts behind what waits; returns how many bytes the socket took.
    ///
    /// # Errors
    /// When the connection broke, or more waits than the core may let wait.
    pub(super) fn send(&mut self, header: &[u8], shared: &[Bytes], now_ms: u64) -> io::Result<usize> {
        let mut taken = 0;
        if self.outbox.is_none() {
            taken = write_gathered(&mut self.stream, header, shared)?;
            if taken == header.len() + shared.iter().map(Bytes::len).sum::<usize>() {
                return Ok(taken);
            }
            self.blocked = true;
            self.stalled_since_ms = now_ms;
        }
        let outbox = self.outbox.get_or_insert_default();
        outbox.keep(header, shared, taken);
        if outbox.bytes() > OUTBOX_BYTES_MAX {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        if !self.blocked {
            taken += self.flush(now_ms)?;
        }
        Ok(taken)
    }

    /// The system says that the socket takes bytes again; returns how many it took.
    ///
    /// # Errors
    /// When the connection broke.
    pub(super) fn writable(&mut self, now_ms: u64) -> io::Result<usize> {
        self.blocked = false;
        self.flush(now_ms)
    }

    fn flush(&mut self, now_ms: u64) -> io::Result<usize> {
        let Some(outbox) = &mut self.outbox else { return Ok(0) };
        let taken = outbox.write_to(&mut self.stream)?;
        if taken > 0 {
            self.stalled_since_ms = now_ms;
        }
        if outbox.is_empty() {
            self.outbox = None;
            if let Stage::Closing { .. } = self.stage {
                self.end_sending();
            }
        } else {
            self.blocked = true;
        }
        Ok(taken)
    }

    /// Ends the connection as the core asked: what waits is written first.
    pub(super) fn begin_close(&mut self, now_ms: u64) {
        self.stage = Stage::Closing { until_ms: now_ms + CLOSE_LINGER_MS };
        if self.outbox.is_none() {
            self.end_sending();
        }
    }

    /// Tells the peer that nothing more comes. Cutting the connection right away, with bytes of the peer unread,
    /// would make the system throw away what the peer has yet to read.
    fn end_sending(&mut self) {
        // Fails only on a connection that is gone already; reading it tells.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Whether a closing connection has nothing left to do.
    pub(super) fn is_done(&self, now_ms: u64) -> bool {
        match self.stage {
            Stage::Open | Stage::Broken => false,
            Stage::Closing { until_ms } => now_ms >= until_ms || (self.hung_up && self.outbox.is_none()),
        }
    }
}
