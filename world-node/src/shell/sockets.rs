//! Every client socket of a node, read and written at the tick by the node's own thread.
//!
//! The thread calls `adopt`, `receive` and `sweep` around the core's tick; the core sends through [`ClientSink`].
//! Connections live in a dense table that a `ConnId` indexes: no hashing, and no allocation per client and tick.
//! A number is used again only after the core was told of the end or asked for it. Nothing here blocks.

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chunk_sync::ids::ConnId;
use chunk_sync::limits::CLIENT_READ_BYTES_PER_TICK_MAX;
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::connection::{Connection, ReadEnd, Stage};
use crate::core::ports::{Backlog, ClientSink, Phase};
use crate::limits::{CONNECTIONS_MAX, EVENTS_PER_POLL, SOCKET_SEND_BYTES};

/// What the thread learns from a client's socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Received<'a> {
    /// Bytes, as they came.
    Bytes(&'a [u8]),
    /// The connection ended; its number may be used again.
    Closed,
}

/// What the sockets count; totals since the start but for `open`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct SocketCounters {
    /// Connections now, closing ones included.
    pub(super) open: u64,
    /// Connections taken from the door.
    pub(super) adopted: u64,
    /// Connections that ended without the core's asking.
    pub(super) lost: u64,
    /// Closed connections that didn't close their side in time.
    pub(super) cut: u64,
    /// Bytes that clients sent.
    pub(super) bytes_in: u64,
    /// Bytes that sockets took.
    pub(super) bytes_out: u64,
    /// Sends to clients.
    pub(super) sends: u64,
    /// Sends of which something had to wait.
    pub(super) sends_waited: u64,
}

/// The client sockets of one node.
pub(super) struct Sockets {
    poll: Poll,
    events: Events,
    table: Table,
    phases: PhaseTimes,
}

/// Time that the phases of the core's tick took.
#[derive(Clone, Copy, Debug)]
pub(super) struct PhaseTimes {
    /// Nanoseconds of each phase, in the order of [`Phase::ALL`], since the start.
    pub(super) total_ns: [u64; Phase::ALL.len()],
    /// When the phase under way began.
    began: Instant,
}

/// The connections, apart from the poll so that events can be handled while they are read.
struct Table {
    slots: Vec<Option<Connection>>,
    free: Vec<u32>,
    /// Connections of which more is to be read without a new event.
    more: Vec<ConnId>,
    /// Connections that broke during sending.
    broken: Vec<ConnId>,
    /// Connections that the core closed.
    closing: Vec<ConnId>,
    buffer: Box<[u8]>,
    now_ms: u64,
    counters: SocketCounters,
}

impl Sockets {
    /// No sockets yet.
    ///
    /// # Errors
    /// When the system gives no epoll.
    pub(super) fn new() -> io::Result<Self> {
        let table = Table {
            slots: Vec::new(),
            free: Vec::new(),
            more: Vec::new(),
            broken: Vec::new(),
            closing: Vec::new(),
            buffer: vec![0; CLIENT_READ_BYTES_PER_TICK_MAX].into_boxed_slice(),
            now_ms: 0,
            counters: SocketCounters::default(),
        };
        let phases = PhaseTimes { total_ns: [0; Phase::ALL.len()], began: Instant::now() };
        Ok(Self { poll: Poll::new()?, events: Events::with_capacity(EVENTS_PER_POLL), table, phases })
    }

    /// Takes a non-blocking socket over and gives it a number.
    ///
    /// # Errors
    /// `QuotaExceeded` when [`CONNECTIONS_MAX`] are here; else what the system says. The socket is then closed.
    pub(super) fn adopt(&mut self, stream: std::net::TcpStream) -> io::Result<ConnId> {
        if self.is_full() {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        rustix::net::sockopt::set_socket_send_buffer_size(&stream, SOCKET_SEND_BYTES)?;
        let mut stream = TcpStream::from_std(stream);
        let free = self.table.free.last().copied();
        let index = free.unwrap_or(self.table.slots.len() as u32);
        // Both interests, edge-triggered: a socket that is never full never tells that it is writable, so this
        // costs nothing, and no call is needed when one fills up.
        self.poll.registry().register(
            &mut stream,
            Token(index as usize),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        let connection = Some(Connection::new(stream));
        if free.is_some() {
            self.table.free.pop();
            self.table.slots[index as usize] = connection;
        } else {
            self.table.slots.push(connection);
        }
        self.table.counters.adopted += 1;
        self.table.counters.open += 1;
        Ok(ConnId(index))
    }

    /// Reads every socket that has something, without waiting, and tells `on` what came; first of connections
    /// that broke since the last call. `now_ms` is world time, for all that follows until the next call.
    ///
    /// # Errors
    /// When the system can't say which sockets are ready.
    pub(super) fn receive(
        &mut self,
        now_ms: u64,
        mut on: impl FnMut(ConnId, Received<'_>),
    ) -> io::Result<()> {
        self.table.now_ms = now_ms;
        self.table.bury_broken(&mut on);
        self.table.read_more(&mut on);
        loop {
            match self.poll.poll(&mut self.events, Some(Duration::ZERO)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            let mut taken = 0;
            for event in &self.events {
                taken += 1;
                self.table.handle(event, &mut on);
            }
            if taken < EVENTS_PER_POLL {
                return Ok(());
            }
        }
    }

    /// Ends closing connections that are done or late.
    pub(super) fn sweep(&mut self) {
        self.table.sweep();
    }

    /// The first phase of the core's tick begins now.
    pub(super) fn begin_phases(&mut self) {
        self.phases.began = Instant::now();
    }

    /// Time that the phases took.
    pub(super) fn phases(&self) -> &PhaseTimes {
        &self.phases
    }

    /// The counters as they are now.
    pub(super) fn counters(&self) -> SocketCounters {
        self.table.counters
    }

    /// Whether nobody more can be adopted.
    pub(super) fn is_full(&self) -> bool {
        self.table.counters.open as usize >= CONNECTIONS_MAX
    }

    /// Whether no connection is left.
    pub(super) fn is_empty(&self) -> bool {
        self.table.counters.open == 0
    }
}

impl Table {
    fn get(&self, conn: ConnId) -> Option<&Connection> {
        self.slots.get(conn.0 as usize)?.as_ref()
    }

    fn get_mut(&mut self, conn: ConnId) -> Option<&mut Connection> {
        self.slots.get_mut(conn.0 as usize)?.as_mut()
    }

    /// Closes the socket and frees its number. The system forgets a closed socket's registration by itself.
    fn remove(&mut self, conn: ConnId) {
        if let Some(slot) = self.slots.get_mut(conn.0 as usize)
            && slot.take().is_some()
        {
            self.free.push(conn.0);
            self.counters.open -= 1;
        }
    }

    fn bury_broken(&mut self, on: &mut impl FnMut(ConnId, Received<'_>)) {
        while let Some(conn) = self.broken.pop() {
            if self.get(conn).is_some_and(|connection| connection.stage == Stage::Broken) {
                self.lose(conn, on);
            }
        }
    }

    /// The connection ended by itself: frees its number and tells the core.
    fn lose(&mut self, conn: ConnId, on: &mut impl FnMut(ConnId, Received<'_>)) {
        self.remove(conn);
        self.counters.lost += 1;
        on(conn, Received::Closed);
    }

    /// Reads those whose last read filled the buffer. Who fills it again is listed again, for the next tick.
    fn read_more(&mut self, on: &mut impl FnMut(ConnId, Received<'_>)) {
        let listed = self.more.len();
        for at in 0..listed {
            let conn = self.more[at];
            if self.get_mut(conn).is_some_and(|connection| std::mem::take(&mut connection.more)) {
                self.read(conn, on);
            }
        }
        self.more.drain(..listed);
    }

    fn handle(&mut self, event: &Event, on: &mut impl FnMut(ConnId, Received<'_>)) {
        let conn = ConnId(event.token().0 as u32);
        let now_ms = self.now_ms;
        let Some(connection) = self.get_mut(conn) else { return };
        let ended = event.is_read_closed() || event.is_error();
        connection.hung_up |= ended;
        let marked = connection.more;
        if event.is_writable() {
            match connection.writable(now_ms) {
                Ok(taken) => self.counters.bytes_out += taken as u64,
                Err(_) => return self.fail(conn, on),
            }
        }
        // One that is marked had its share of this tick.
        if (event.is_readable() || ended) && !marked {
            self.read(conn, on);
        }
    }

    fn read(&mut self, conn: ConnId, on: &mut impl FnMut(ConnId, Received<'_>)) {
        let Some(Some(connection)) = self.slots.get_mut(conn.0 as usize) else { return };
        let (open, counters) = (connection.stage == Stage::Open, &mut self.counters);
        let end = connection.read(&mut self.buffer, |bytes| {
            counters.bytes_in += bytes.len() as u64;
            if open {
                on(conn, Received::Bytes(bytes));
            }
        });
        match end {
            ReadEnd::Drained => {}
            ReadEnd::More => {
                connection.more = true;
                self.more.push(conn);
            }
            ReadEnd::Ended => {
                connection.hung_up = true;
                if !matches!(connection.stage, Stage::Closing { .. }) {
                    self.lose(conn, on);
                } else if connection.is_done(self.now_ms) {
                    self.remove(conn);
                }
            }
        }
    }

    /// The connection broke outside the core's tick.
    fn fail(&mut self, conn: ConnId, on: &mut impl FnMut(ConnId, Received<'_>)) {
        match self.get(conn).map(|connection| connection.stage) {
            Some(Stage::Closing { .. }) => self.remove(conn),
            Some(Stage::Open | Stage::Broken) => self.lose(conn, on),
            None => {}
        }
    }

    fn sweep(&mut self) {
        let mut at = 0;
        while let Some(&conn) = self.closing.get(at) {
            let (closing, done) = match self.get(conn) {
                Some(connection) => {
                    (matches!(connection.stage, Stage::Closing { .. }), connection.is_done(self.now_ms))
                }
                None => (false, false),
            };
            if done {
                self.counters.cut += u64::from(self.get(conn).is_some_and(|connection| !connection.hung_up));
                self.remove(conn);
            }
            if done || !closing {
                self.closing.swap_remove(at);
            } else {
                at += 1;
            }
        }
    }
}

impl ClientSink for Sockets {
    fn backlog(&self, conn: ConnId) -> Backlog {
        self.table.get(conn).map_or_else(Backlog::default, Connection::backlog)
    }

    fn send(&mut self, conn: ConnId, header: &[u8], shared: &[Bytes]) {
        let table = &mut self.table;
        let Some(Some(connection)) = table.slots.get_mut(conn.0 as usize) else { return };
        if connection.stage != Stage::Open {
            return;
        }
        table.counters.sends += 1;
        match connection.send(header, shared, table.now_ms) {
            Ok(taken) => {
                table.counters.bytes_out += taken as u64;
                table.counters.sends_waited += u64::from(connection.backlog().bytes > 0);
            }
            Err(_) => {
                // The core is in the middle of its tick; it is told at the beginning of the next.
                connection.stage = Stage::Broken;
                table.broken.push(conn);
            }
        }
    }

    fn close(&mut self, conn: ConnId) {
        let now_ms = self.table.now_ms;
        let Some(connection) = self.table.get_mut(conn) else { return };
        match connection.stage {
            Stage::Closing { .. } => {}
            Stage::Broken => self.table.remove(conn),
            Stage::Open => {
                connection.begin_close(now_ms);
                self.table.closing.push(conn);
            }
        }
    }

    fn phase_done(&mut self, phase: Phase) {
        let now = Instant::now();
        self.phases.total_ns[phase as usize] += now.duration_since(self.phases.began).as_nanos() as u64;
        self.phases.began = now;
    }
}

#[cfg(test)]
mod tests;
