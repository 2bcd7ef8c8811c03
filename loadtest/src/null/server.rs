//! The null server itself: one thread that sleeps to the tick, takes the clients' moves, and sends each
//! client one ready-made buffer. Runs as a process of its own, so that its CPU time is its own.
//!
//! It does with sockets exactly what a node does and nothing else: no game, no state, no logging on the way.
//! It talks to its parent in lines (see [`super::child`]); end of input ends it.

use std::io::{self, BufRead, IoSlice, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use super::child::{READY, SAMPLE, SERVING, STOP, ServerSample};
use super::frame::{self, HEADER_BYTES};
use super::{NullError, ServerArgs};
use crate::cpu;
use crate::limits::{
    CHECK_MS, EVENTS_PER_POLL, MOVE_BYTES, NULL_ACCEPT_QUEUE, NULL_CONNECT_MS_MAX, NULL_FINISH_MS_MAX,
    NULL_LINES_MAX, SERVER_READ_BYTES,
};
use crate::open_files;

const LISTENER: Token = Token(usize::MAX);

/// What the parent asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Sample,
    Stop,
}

/// Runs the null server until its parent says stop or goes away.
///
/// # Errors
/// When it can't open its sockets, or not all clients come in time.
pub fn serve(args: &ServerArgs) -> Result<(), NullError> {
    open_files::raise_for(u64::from(args.bots))?;
    let poll = Poll::new().map_err(NullError::io("open epoll"))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut listener = TcpListener::bind(address).map_err(NullError::io("listen on 127.0.0.1"))?;
    // Listening again on a listening socket only changes the length of its queue.
    rustix::net::listen(&listener, NULL_ACCEPT_QUEUE)
        .map_err(|error| NullError::io("lengthen the accept queue")(error.into()))?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)
        .map_err(NullError::io("watch the listener"))?;
    let port = listener.local_addr().map_err(NullError::io("read the own port"))?.port();
    say(&format!("{READY} {port}"))?;

    let requests = requests_from_parent()?;
    let mut server = Server::new(poll, args);
    if server.accept_all(&listener, &requests)? {
        // Nobody connects later; the port closes with the listener.
        drop(listener);
        say(SERVING)?;
        server.run(args.hz, &requests)?;
    }
    server.finish()?;
    say(&server.sample().to_line())
}

/// Writes one line to the parent. A parent that is gone ends the server.
fn say(line: &str) -> Result<(), NullError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(NullError::io("answer the parent"))
}

/// Reads the parent's lines on a thread of their own, which sleeps in `read` and ends with the process; the
/// serving thread only looks at the channel, once a tick.
fn requests_from_parent() -> Result<Receiver<Request>, NullError> {
    let (to_server, requests) = sync_channel(NULL_LINES_MAX);
    let read_lines = move || {
        for line in io::stdin().lock().lines() {
            let request = match line.as_deref() {
                Ok(SAMPLE) => Request::Sample,
                Ok(STOP) | Err(_) => Request::Stop,
                Ok(_) => continue,
            };
            if to_server.send(request).is_err() {
                return;
            }
        }
        // End of input: the dropped sender means the same as `stop`.
    };
    std::thread::Builder::new()
        .name("null-requests".to_owned())
        .spawn(read_lines)
        .map_err(NullError::io("start a thread"))?;
    Ok(requests)
}

/// One client's socket, and how much of the frame under way it has taken.
struct Connection {
    stream: TcpStream,
    header: [u8; HEADER_BYTES],
    /// Bytes of the frame under way already written, while there is one. This is all the backlog that a
    /// client can have: whoever hasn't taken it by the next tick misses that tick's frame.
    under_way: Option<usize>,
}

/// The state of the serving thread.
struct Server {
    poll: Poll,
    events: Events,
    connections: Vec<Option<Connection>>,
    read_buffer: Vec<u8>,
    body: Vec<u8>,
    frame_bytes: u32,
    bots: u32,
    started: Instant,
    tick: u32,
    sample: ServerSample,
}

impl Server {
    fn new(poll: Poll, args: &ServerArgs) -> Self {
        Self {
            poll,
            events: Events::with_capacity(EVENTS_PER_POLL),
            connections: Vec::with_capacity(args.bots as usize),
            read_buffer: vec![0; SERVER_READ_BYTES],
            body: vec![frame::BODY_BYTE; args.bytes as usize - HEADER_BYTES],
            frame_bytes: args.bytes,
            bots: args.bots,
            started: Instant::now(),
            tick: 0,
            sample: ServerSample::default(),
        }
    }

    /// Takes all clients in before the first tick. Returns false when the parent stops it meanwhile.
    fn accept_all(
        &mut self,
        listener: &TcpListener,
        requests: &Receiver<Request>,
    ) -> Result<bool, NullError> {
        let deadline = Instant::now() + Duration::from_millis(NULL_CONNECT_MS_MAX);
        while self.connections.len() < self.bots as usize {
            if stop_asked(requests) {
                return Ok(false);
            }
            if Instant::now() > deadline {
                return Err(NullError::ClientsMissing {
                    came: self.connections.len() as u32,
                    asked: self.bots,
                });
            }
            poll_events(&mut self.poll, &mut self.events, Some(Duration::from_millis(CHECK_MS)))?;
            loop {
                match listener.accept() {
                    Ok((stream, _)) => self.add(stream)?,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(NullError::io("accept a client")(error)),
                }
            }
        }
        Ok(true)
    }

    fn add(&mut self, mut stream: TcpStream) -> Result<(), NullError> {
        stream.set_nodelay(true).map_err(NullError::io("set TCP_NODELAY"))?;
        let token = Token(self.connections.len());
        self.poll
            .registry()
            .register(&mut stream, token, Interest::READABLE)
            .map_err(NullError::io("watch a client"))?;
        self.connections.push(Some(Connection { stream, header: [0; HEADER_BYTES], under_way: None }));
        Ok(())
    }

    /// Ticks until the parent says stop. Samples are taken at the start of a tick, so a window between two of
    /// them holds whole ticks.
    fn run(&mut self, hz: u32, requests: &Receiver<Request>) -> Result<(), NullError> {
        let period = Duration::from_secs(1) / hz;
        let mut due = Instant::now() + period;
        loop {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            match requests.try_recv() {
                Ok(Request::Sample) => say(&self.sample().to_line())?,
                Ok(Request::Stop) | Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => {}
            }
            self.tick += 1;
            self.sample.ticks += 1;
            self.drain(Duration::ZERO)?;
            self.fan_out();
            due += period;
            // A server that is a whole tick behind leaves ticks out instead of bursting after them.
            while due + period < Instant::now() {
                due += period;
                self.sample.ticks_skipped += 1;
            }
        }
    }

    /// Receives what every client sent since the last tick: one `recv` each.
    fn drain(&mut self, timeout: Duration) -> Result<(), NullError> {
        let mut timeout = Some(timeout);
        loop {
            poll_events(&mut self.poll, &mut self.events, timeout)?;
            let mut taken = 0;
            for event in &self.events {
                taken += 1;
                let Some(slot) = self.connections.get_mut(event.token().0) else { continue };
                let Some(connection) = slot else { continue };
                let open =
                    receive(connection, &mut self.read_buffer, event.is_read_closed(), &mut self.sample);
                if !open {
                    *slot = None;
                    self.sample.disconnects += 1;
                }
            }
            if taken < EVENTS_PER_POLL {
                return Ok(());
            }
            timeout = Some(Duration::ZERO);
        }
    }

    /// One gathered write per client: its own header, then the body that all share.
    fn fan_out(&mut self) {
        for (client, slot) in self.connections.iter_mut().enumerate() {
            let Some(connection) = slot else { continue };
            let mut open = true;
            if connection.under_way.is_some() {
                open = write_on(connection, &self.body, &mut self.sample);
            }
            if open && connection.under_way.is_none() {
                connection.header = frame::header(self.frame_bytes, client as u32, self.tick);
                connection.under_way = Some(0);
                self.sample.frames_sent += 1;
                open = write_on(connection, &self.body, &mut self.sample);
            } else if open {
                self.sample.frames_skipped += 1;
            }
            if !open {
                *slot = None;
                self.sample.disconnects += 1;
            }
        }
    }

    /// Lets every client read to the end: completes frames under way, says end of stream, then takes the
    /// clients' last moves until they close (closing first would reset what they haven't read yet).
    fn finish(&mut self) -> Result<(), NullError> {
        let deadline = Instant::now() + Duration::from_millis(NULL_FINISH_MS_MAX);
        let mut ended = vec![false; self.connections.len()];
        let disconnects = self.sample.disconnects;
        while self.connections.iter().any(Option::is_some) && Instant::now() < deadline {
            for (slot, ended) in self.connections.iter_mut().zip(&mut ended) {
                let Some(connection) = slot else { continue };
                if connection.under_way.is_some() && !write_on(connection, &self.body, &mut self.sample) {
                    *slot = None;
                } else if connection.under_way.is_none() && !*ended {
                    // A failure here means that the client closed first.
                    *ended = connection.stream.shutdown(Shutdown::Write).is_ok();
                    if !*ended {
                        *slot = None;
                    }
                }
            }
            self.drain(Duration::from_millis(CHECK_MS))?;
        }
        // Clients that close now were asked to.
        self.sample.disconnects = disconnects;
        Ok(())
    }

    fn sample(&self) -> ServerSample {
        let elapsed_s = self.started.elapsed().as_secs_f64();
        ServerSample { cpu_s: cpu::own_process_cpu_s(), elapsed_s, ..self.sample }
    }
}

/// Whether the parent said stop or went away. It asks for no sample before it has heard `serving`.
fn stop_asked(requests: &Receiver<Request>) -> bool {
    matches!(requests.try_recv(), Ok(Request::Stop) | Err(TryRecvError::Disconnected))
}

/// Waits for events; a signal during the wait counts as no event.
pub(super) fn poll_events(
    poll: &mut Poll,
    events: &mut Events,
    timeout: Option<Duration>,
) -> Result<(), NullError> {
    match poll.poll(events, timeout) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            events.clear();
            Ok(())
        }
        result => result.map_err(NullError::io("wait for sockets")),
    }
}

/// Takes a client's moves. A short read has emptied the socket, which spares a second `recv`, unless the
/// end of the stream is behind it. Returns whether the connection is still open.
fn receive(
    connection: &mut Connection,
    buffer: &mut [u8],
    to_the_end: bool,
    sample: &mut ServerSample,
) -> bool {
    loop {
        match connection.stream.read(buffer) {
            Ok(0) => return false,
            Ok(received) => {
                sample.move_bytes_received += received as u64;
                if received < buffer.len() && !to_the_end {
                    return true;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

/// Writes on at the frame under way, once. Returns whether the connection is still open.
fn write_on(connection: &mut Connection, body: &[u8], sample: &mut ServerSample) -> bool {
    let Some(written) = connection.under_way else { return true };
    let result = if written < HEADER_BYTES {
        let parts = [IoSlice::new(&connection.header[written..]), IoSlice::new(body)];
        connection.stream.write_vectored(&parts)
    } else {
        connection.stream.write(&body[written - HEADER_BYTES..])
    };
    match result {
        Ok(more) => {
            sample.bytes_sent += more as u64;
            let written = written + more;
            connection.under_way = (written < HEADER_BYTES + body.len()).then_some(written);
            true
        }
        Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
    }
}

const _: () = assert!(MOVE_BYTES < SERVER_READ_BYTES);

#[cfg(test)]
mod tests {
    use super::super::frame::FrameReader;
    use super::*;

    const FRAME_BYTES: u32 = 256 * 1024;
    const PATIENCE: Duration = Duration::from_secs(1);

    /// A server with `count` clients that read when the test does.
    fn server_with_clients(count: u32) -> (Server, Vec<std::net::TcpStream>) {
        let args = ServerArgs { bots: count, bytes: FRAME_BYTES, hz: 10 };
        let mut server = Server::new(Poll::new().expect("epoll"), &args);
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let connect = |_| {
            let client = std::net::TcpStream::connect(address).expect("the listener is there");
            let (accepted, _) = listener.accept().expect("a client just connected");
            accepted.set_nonblocking(true).expect("a socket");
            server.add(TcpStream::from_std(accepted)).expect("epoll takes it");
            client
        };
        let clients = (0..count).map(connect).collect();
        (server, clients)
    }

    fn tick(server: &mut Server) {
        server.tick += 1;
        server.drain(Duration::ZERO).expect("epoll works");
        server.fan_out();
    }

    #[test]
    fn a_client_that_does_not_read_misses_frames_but_never_half_of_one() {
        let (mut server, mut clients) = server_with_clients(1);
        while server.sample.frames_skipped < 10 {
            tick(&mut server);
            assert!(server.tick < 10_000, "2.5 GB went into a socket that nobody reads");
        }
        let mut client = clients.remove(0);
        let (received, sample) = std::thread::scope(|threads| {
            let finishing = threads.spawn(move || server.finish().map(|()| server.sample));
            let mut received = Vec::new();
            client.read_to_end(&mut received).expect("an orderly end");
            drop(client);
            (received, finishing.join().expect("no panic").expect("an orderly end"))
        });
        assert_eq!(received.len() as u64, sample.bytes_sent);
        assert_eq!(FrameReader::new(FRAME_BYTES).take(&received), Ok(sample.frames_sent));
        assert_eq!(sample.bytes_sent, sample.frames_sent * u64::from(FRAME_BYTES));
        assert_eq!(sample.disconnects, 0);
    }

    #[test]
    fn a_client_that_leaves_is_counted_and_the_others_play_on() {
        let (mut server, mut clients) = server_with_clients(2);
        drop(clients.remove(0));
        while server.sample.disconnects == 0 {
            server.drain(PATIENCE).expect("epoll works");
        }
        clients[0].write_all(&frame::MOVE).expect("the server is there");
        while server.sample.move_bytes_received == 0 {
            server.drain(PATIENCE).expect("epoll works");
        }
        tick(&mut server);
        assert_eq!(server.sample.frames_sent, 1, "only to the one that stayed");
        assert_eq!(server.sample.move_bytes_received, MOVE_BYTES as u64);
        assert_eq!(server.sample.disconnects, 1);
    }
}
