//! The null server's clients: all bots of a run on one thread with one epoll loop.
//!
//! The thread wakes once per slot, sends every move that is due, reads everything that has come and checks
//! that it is what the server sends. Waking per frame instead would be charged to the server, whose sends
//! do the waking. Called by [`super::run`]; never decides when the run ends.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::frame::{FrameReader, MOVE};
use super::server::poll_events;
use super::{NullArgs, NullError};
use crate::limits::{
    CLIENT_READ_BYTES, CLIENT_SLOT_US, EVENTS_PER_POLL, MOVE_BYTES, MOVE_PERIOD_MS, NULL_CONNECT_MS_MAX,
};
use crate::pace::{LateMs, Lateness, Pacer};

/// What the clients count while they run, for the thread that measures. Each count stands for itself, so
/// relaxed order is enough.
#[derive(Debug, Default)]
pub(super) struct ClientCounts {
    /// Set while lateness counts.
    pub(super) measuring: AtomicBool,
    /// Set to end the run without waiting for the server to end it.
    pub(super) stop: AtomicBool,
    pub(super) frames_received: AtomicU64,
    pub(super) bytes_received: AtomicU64,
    pub(super) moves_sent: AtomicU64,
}

/// What the clients know at their end.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientEnd {
    pub(super) late_ms: LateMs,
    /// Connections that failed or sent something else than the server's frames.
    pub(super) errors: u64,
}

/// One client: its socket, and how far its frame and its move are.
struct Bot {
    stream: TcpStream,
    reader: FrameReader,
    /// Bytes of the move under way that a full socket has taken. The rest goes in place of the next move.
    move_written: usize,
}

/// All clients.
pub(super) struct Clients {
    poll: Poll,
    bots: Vec<Option<Bot>>,
    open: usize,
    counts: Arc<ClientCounts>,
    lateness: Lateness,
    errors: u64,
}

/// Whether a connection goes on.
enum Next {
    Open,
    Ended,
    Failed,
}

impl Clients {
    /// Connects all clients, one after the other, while the server accepts. `None` when
    /// `interrupted` was set meanwhile.
    pub(super) fn connect(
        args: &NullArgs,
        port: u16,
        counts: &Arc<ClientCounts>,
        interrupted: &AtomicBool,
    ) -> Result<Option<Self>, NullError> {
        let poll = Poll::new().map_err(NullError::io("open epoll"))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut bots = Vec::with_capacity(args.bots as usize);
        for number in 0..args.bots as usize {
            if interrupted.load(Ordering::Relaxed) {
                return Ok(None);
            }
            bots.push(Some(connect_one(&poll, address, number, args.bytes)?));
        }
        let open = bots.len();
        let (counts, lateness) = (Arc::clone(counts), Lateness::new());
        Ok(Some(Self { poll, bots, open, counts, lateness, errors: 0 }))
    }

    /// Plays until the server ends every connection, or `stop` is set.
    pub(super) fn run(mut self) -> Result<ClientEnd, NullError> {
        let mut events = Events::with_capacity(EVENTS_PER_POLL);
        let mut buffer = vec![0; CLIENT_READ_BYTES];
        let mut pacer = Pacer::new(self.bots.len() as u32, Duration::from_millis(MOVE_PERIOD_MS));
        let slot = Duration::from_micros(CLIENT_SLOT_US);
        let started = Instant::now();
        let mut wake = Duration::ZERO;
        while self.open > 0 && !self.counts.stop.load(Ordering::Relaxed) {
            std::thread::sleep(wake.saturating_sub(started.elapsed()));
            self.send_due(&mut pacer, started);
            self.read_all(&mut events, &mut buffer)?;
            // Slots that a long one ran over are left out; what was due in them goes in the next.
            wake = (wake + slot).max(started.elapsed());
        }
        Ok(ClientEnd { late_ms: self.lateness.summary(), errors: self.errors })
    }

    /// Sends what was due when it began, at most one move per bot: a thread that can't keep up must still
    /// read.
    fn send_due(&mut self, pacer: &mut Pacer, started: Instant) {
        let measuring = self.counts.measuring.load(Ordering::Relaxed);
        let began = started.elapsed();
        let mut sent = 0;
        for _ in 0..self.bots.len() {
            let Some(due) = pacer.take_due(began) else { break };
            let Some(bot) = &mut self.bots[due.bot] else { continue };
            if measuring {
                self.lateness.record(due.intended, started.elapsed());
            }
            match send_move(bot) {
                Ok(complete) => sent += u64::from(complete),
                Err(_) => self.close(due.bot, true),
            }
        }
        self.counts.moves_sent.fetch_add(sent, Ordering::Relaxed);
    }

    fn read_all(&mut self, events: &mut Events, buffer: &mut [u8]) -> Result<(), NullError> {
        loop {
            poll_events(&mut self.poll, events, Some(Duration::ZERO))?;
            let mut taken = 0;
            for event in &*events {
                taken += 1;
                let number = event.token().0;
                let Some(bot) = self.bots.get_mut(number).and_then(Option::as_mut) else { continue };
                match read_frames(bot, buffer, event.is_read_closed(), &self.counts) {
                    Next::Open => {}
                    Next::Ended => self.close(number, false),
                    Next::Failed => self.close(number, true),
                }
            }
            if taken < EVENTS_PER_POLL {
                return Ok(());
            }
        }
    }

    fn close(&mut self, number: usize, failed: bool) {
        self.bots[number] = None;
        self.open -= 1;
        self.errors += u64::from(failed);
    }
}

fn connect_one(poll: &Poll, address: SocketAddr, number: usize, frame_bytes: u32) -> Result<Bot, NullError> {
    let patience = Duration::from_millis(NULL_CONNECT_MS_MAX);
    let stream = std::net::TcpStream::connect_timeout(&address, patience)
        .map_err(NullError::io("connect a client"))?;
    stream.set_nodelay(true).map_err(NullError::io("set TCP_NODELAY"))?;
    stream.set_nonblocking(true).map_err(NullError::io("make a socket non-blocking"))?;
    let mut stream = TcpStream::from_std(stream);
    poll.registry()
        .register(&mut stream, Token(number), Interest::READABLE)
        .map_err(NullError::io("watch a client"))?;
    Ok(Bot { stream, reader: FrameReader::new(frame_bytes), move_written: 0 })
}

/// Sends a move, or the rest of the last one. Returns whether one went out whole.
fn send_move(bot: &mut Bot) -> io::Result<bool> {
    match bot.stream.write(&MOVE[bot.move_written..]) {
        Ok(written) => {
            bot.move_written = (bot.move_written + written) % MOVE_BYTES;
            Ok(bot.move_written == 0)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads what has come. A short read has emptied the socket, unless the end of the stream is behind it.
fn read_frames(bot: &mut Bot, buffer: &mut [u8], to_the_end: bool, counts: &ClientCounts) -> Next {
    loop {
        match bot.stream.read(buffer) {
            Ok(0) => return Next::Ended,
            Ok(received) => {
                counts.bytes_received.fetch_add(received as u64, Ordering::Relaxed);
                let Ok(frames) = bot.reader.take(&buffer[..received]) else { return Next::Failed };
                counts.frames_received.fetch_add(frames, Ordering::Relaxed);
                if received < buffer.len() && !to_the_end {
                    return Next::Open;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Next::Open,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Next::Failed,
        }
    }
}
