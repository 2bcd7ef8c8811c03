//! The sockets against real TCP connections on loopback.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};

use super::*;
use crate::limits::{CLOSE_LINGER_MS, OUTBOX_BYTES_MAX};
use chunk_sync::limits::CLIENT_BACKLOG_BYTES_MAX;
use chunk_sync::random::{RngExt, Stream, stream};

/// Long enough for a machine that does much else; nothing waits this long when all is well.
const DEADLINE: Duration = Duration::from_secs(30);

/// Sockets of a node, what they told so far, and the world's time.
struct Node {
    sockets: Sockets,
    listener: TcpListener,
    now_ms: u64,
    got: BTreeMap<ConnId, Vec<u8>>,
    closed: Vec<ConnId>,
}

impl Node {
    fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let sockets = Sockets::new().unwrap();
        let mut node = Self { sockets, listener, now_ms: 1_000, got: BTreeMap::new(), closed: Vec::new() };
        node.tick();
        node
    }

    fn client(&mut self) -> (TcpStream, ConnId) {
        let client = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        let (server, _) = self.listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        (client, self.sockets.adopt(server).unwrap())
    }

    /// What the thread does in a tick around the core.
    fn tick(&mut self) {
        self.now_ms += 100;
        let (got, closed) = (&mut self.got, &mut self.closed);
        self.sockets
            .receive(self.now_ms, |conn, received| match received {
                Received::Bytes(bytes) => got.entry(conn).or_default().extend_from_slice(bytes),
                Received::Closed => closed.push(conn),
            })
            .unwrap();
        self.sockets.sweep();
    }

    /// Ticks at one moment of the world until `holds`.
    fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < DEADLINE, "{what}");
            self.now_ms -= 100;
            self.tick();
            std::thread::yield_now();
        }
    }

    fn received(&self, conn: ConnId) -> usize {
        self.got.get(&conn).map_or(0, Vec::len)
    }
}

fn noise(random: &mut Stream, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|_| random.random()).collect()
}

/// Sends random parts until the core would stop, and returns what was sent.
fn fill(node: &mut Node, conn: ConnId, random: &mut Stream) -> Vec<u8> {
    let mut sent = Vec::new();
    while node.sockets.backlog(conn).bytes < CLIENT_BACKLOG_BYTES_MAX {
        let header_bytes = random.random_range(0..30);
        let header = noise(random, header_bytes);
        let shared: Vec<Bytes> = (0..random.random_range(0..90))
            .map(|_| {
                let bytes = random.random_range(0..2_000);
                Bytes::from(noise(random, bytes))
            })
            .collect();
        sent.extend_from_slice(&header);
        shared.iter().for_each(|part| sent.extend_from_slice(part));
        node.sockets.send(conn, &header, &shared);
    }
    sent
}

#[test]
fn a_reader_that_stops_gets_every_byte_in_order_once_it_reads_on() {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = since_epoch.as_nanos() as u64;
    println!("seed {seed}");
    let mut random = stream(seed, "sockets");
    let mut node = Node::new();
    let (mut client, conn) = node.client();
    // A fixed one: the system would let it grow to megabytes while the reader reads, and nothing had to wait.
    rustix::net::sockopt::set_socket_recv_buffer_size(&client, 32 * 1024).unwrap();
    let mut sent = Vec::new();
    for _ in 0..3 {
        // Until the system has no room left either.
        node.tick();
        while node.sockets.backlog(conn).bytes < CLIENT_BACKLOG_BYTES_MAX {
            sent.extend(fill(&mut node, conn, &mut random));
            node.tick();
        }
        let backlog = node.sockets.backlog(conn);
        assert!(backlog.bytes < CLIENT_BACKLOG_BYTES_MAX + 200_000, "one send over the limit at most");
        assert!((1_000..=node.now_ms).contains(&backlog.stalled_since_ms));
        node.tick();
        let later = node.sockets.backlog(conn);
        // The system may have moved a little more to the other side.
        assert!(later.bytes <= backlog.bytes);
        let expected = if later.bytes == backlog.bytes { backlog.stalled_since_ms } else { node.now_ms };
        assert_eq!(later.stalled_since_ms, expected);
        // The reader takes a part, which moves the backlog on, and stops again.
        let part = sent.len() / 2;
        let (mut ahead, mut read) = (client.try_clone().unwrap(), vec![0; part]);
        let reading = std::thread::spawn(move || {
            ahead.read_exact(&mut read).unwrap();
            read
        });
        node.until("the part is written", |_| reading.is_finished());
        assert_eq!(reading.join().unwrap(), sent[..part]);
        sent.drain(..part);
    }
    let wanted = sent.len();
    let reading = std::thread::spawn(move || {
        let mut read = vec![0; wanted];
        client.read_exact(&mut read).unwrap();
        (client, read)
    });
    node.until("all is written", |node| node.sockets.backlog(conn).bytes == 0);
    let (_client, read) = reading.join().unwrap();
    assert!(read == sent, "bytes were lost, doubled or moved");
    assert_eq!(node.sockets.backlog(conn), Backlog::default());
    assert!(node.closed.is_empty());
}

#[test]
fn a_client_floods_only_its_own_share_of_a_tick() {
    let mut node = Node::new();
    let (mut flooding, flood) = node.client();
    let (mut modest, other) = node.client();
    let bytes = noise(&mut stream(1, "flood"), 10 * CLIENT_READ_BYTES_PER_TICK_MAX + 77);
    flooding.write_all(&bytes).unwrap();
    modest.write_all(b"hello").unwrap();
    let mut before = 0;
    while before < bytes.len() {
        node.until("more comes", |node| node.received(flood) > before);
        before = node.received(flood);
        node.tick();
        let taken = node.received(flood) - before;
        assert!(taken <= CLIENT_READ_BYTES_PER_TICK_MAX, "{taken} bytes in one tick");
        before = node.received(flood);
    }
    assert_eq!(node.got[&flood], bytes);
    node.until("the other is heard", |node| node.received(other) == 5);
}

#[test]
fn the_last_words_come_before_the_end_and_the_number_is_used_again() {
    let mut node = Node::new();
    let (mut client, conn) = node.client();
    let (_stays, second) = node.client();
    client.write_all(b"bye").unwrap();
    drop(client);
    node.until("the end is told", |node| node.closed == [conn]);
    assert_eq!(node.got[&conn], b"bye");
    node.sockets.send(conn, b"to nobody", &[]);
    node.sockets.close(conn);
    let (mut next, reused) = node.client();
    assert_eq!(reused, conn);
    assert_ne!(second, conn);
    node.got.clear();
    next.write_all(b"new").unwrap();
    node.until("the new one is heard", |node| node.received(reused) == 3);
    assert_eq!(node.closed, [conn]);
    let counters = node.sockets.counters();
    assert_eq!((counters.open, counters.adopted, counters.lost), (2, 3, 1));
}

#[test]
fn a_farewell_is_read_whole_although_the_client_still_talks() {
    let mut node = Node::new();
    let (mut client, conn) = node.client();
    let mut sent = fill(&mut node, conn, &mut stream(2, "farewell"));
    client.write_all(&[1; 5_000]).unwrap();
    node.sockets.send(conn, b"farewell", &[]);
    sent.extend_from_slice(b"farewell");
    node.sockets.close(conn);
    node.sockets.send(conn, b"after the end", &[]);
    let reading = std::thread::spawn(move || {
        let mut read = Vec::new();
        client.read_to_end(&mut read).unwrap();
        read
    });
    node.until("the client closes", |node| node.sockets.is_empty());
    assert!(reading.join().unwrap() == sent);
    assert_eq!(node.closed, [], "the core asked for it and isn't told again");
    assert_eq!(node.received(conn), 0, "what a closed client says is thrown away");
    assert_eq!(node.sockets.counters().cut, 0);
}

#[test]
fn a_half_closed_client_still_reads_its_farewell() {
    let mut node = Node::new();
    let (mut client, conn) = node.client();
    let sent = fill(&mut node, conn, &mut stream(3, "half"));
    node.sockets.close(conn);
    client.shutdown(Shutdown::Write).unwrap();
    node.tick();
    let reading = std::thread::spawn(move || {
        let mut read = Vec::new();
        client.read_to_end(&mut read).unwrap();
        read
    });
    node.until("the farewell is written", |node| node.sockets.is_empty());
    assert!(reading.join().unwrap() == sent);
}

#[test]
fn a_closed_client_that_never_reads_is_cut_in_time() {
    let mut node = Node::new();
    let (_client, conn) = node.client();
    fill(&mut node, conn, &mut stream(4, "cut"));
    node.tick();
    node.sockets.close(conn);
    let closed_ms = node.now_ms;
    while node.now_ms < closed_ms + CLOSE_LINGER_MS {
        assert!(!node.sockets.is_empty());
        node.tick();
    }
    assert!(node.sockets.is_empty());
    assert_eq!(node.sockets.counters().cut, 1);
    assert_eq!(node.closed, []);
}

#[test]
fn a_connection_that_breaks_while_sending_is_told_of_once_at_the_next_tick() {
    let mut node = Node::new();
    let (client, conn) = node.client();
    let (mut reset, closed_too) = node.client();
    for gone in [client, reset.try_clone().unwrap()] {
        // Closing with unread bytes makes the system reset the connection.
        node.sockets.send(conn, b"unread", &[]);
        node.sockets.send(closed_too, b"unread", &[]);
        gone.set_nonblocking(false).unwrap();
        drop(gone);
    }
    reset.read_exact(&mut [0; 1]).unwrap();
    drop(reset);
    let began = Instant::now();
    while node.sockets.table.broken.len() < 2 {
        assert!(began.elapsed() < DEADLINE, "the resets arrive");
        node.sockets.send(conn, b"x", &[]);
        node.sockets.send(closed_too, b"x", &[]);
    }
    assert_eq!(node.closed, [], "not in the middle of the core's tick");
    node.sockets.close(closed_too);
    node.tick();
    node.tick();
    assert_eq!(node.closed, [conn], "who was closed by the core isn't told of");
    assert!(node.sockets.is_empty());
}

#[test]
fn more_than_the_core_may_let_wait_ends_the_connection() {
    let mut node = Node::new();
    let (_client, conn) = node.client();
    let part = Bytes::from(vec![5; 1024 * 1024]);
    let mut sent = 0;
    while node.sockets.table.broken.is_empty() {
        assert!(node.sockets.backlog(conn).bytes <= OUTBOX_BYTES_MAX);
        node.sockets.send(conn, b"h", std::slice::from_ref(&part));
        sent += part.len();
        // What the system itself may hold comes on top.
        assert!(sent < 4 * OUTBOX_BYTES_MAX, "never cut");
    }
    node.tick();
    assert_eq!(node.closed, [conn]);
    assert!(node.sockets.is_empty());
}
