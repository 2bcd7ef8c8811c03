//! The scripted server of these tests: waits with deadlines, never sleeps, and ends the client with the test.

use chunk_sync::blocks::{
    EntityKind, FrameNumber, HEADER_BYTES, Header, RosterRecord, StreamId, WIRE_LEVEL, encode_move,
};
use chunk_sync::ids::{EntityId, Epoch, Source};
use chunk_sync::interest::Rate;
use chunk_sync::limits::{QUANTA_PER_M, WALK_MM_PER_S, WALK_SAVED_MS_MAX};
use chunk_sync::place::{ChunkPos, Place, Pose};
use chunk_sync::terrain::Tile;
use chunk_sync::wire::{
    Act, Framer, Hello, Move, Seat, TICK_HEADER_BYTES_MAX, TickHeader, Welcome, control, control_frame, kind,
    land_frame,
};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(20);
/// The ticket that is handed out.
pub(crate) const TICKET: [u8; 5] = [9, 8, 7, 0, 255];
/// The client's own number.
pub(crate) const ME: u64 = 0x0040_0001_0000_0001;
/// The furthest that may be walked at once, in quanta.
pub(crate) const WALK_UP_M: i64 =
    QUANTA_PER_M as i64 * (WALK_MM_PER_S as i64 * 110 / 100) * WALK_SAVED_MS_MAX as i64 / 1_000_000;

/// A running client; ended with the test.
pub(crate) struct Run {
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
}

/// What a client left behind.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Starts the client in the virtual environment under `target/`, making that first if needed.
pub(crate) fn client(allocator: &str, arguments: &[&str]) -> Run {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("..");
    let made = Command::new(root.join("tools/python-env")).env("CARGO_TARGET_DIR", target).output();
    let made = made.expect("tools/python-env starts");
    assert!(made.status.success(), "no Python environment: {}", String::from_utf8_lossy(&made.stderr));
    let python = String::from_utf8(made.stdout).expect("a path");
    let mut child = Command::new(python.trim())
        .arg(root.join("docs/examples/client.py"))
        .arg(allocator)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the client starts");
    let (stdout, stderr) = (child.stdout.take().map(gather), child.stderr.take().map(gather));
    Run { child, stdout, stderr }
}

fn gather(from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        BufReader::new(from).lines().map_while(Result::ok).map(|line| line + "\n").collect::<String>()
    })
}

impl Run {
    /// Waits for the client's end: both of its outputs end with it.
    pub(crate) fn output(mut self) -> Output {
        let gathered =
            |thread: Option<JoinHandle<String>>| thread.expect("taken once").join().expect("reads");
        let (stdout, stderr) = (gathered(self.stdout.take()), gathered(self.stderr.take()));
        let status = self.child.wait().expect("the client ends");
        Output { code: status.code().unwrap_or(-1), stdout, stderr }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Accepts connections on a free port.
pub(crate) struct Server {
    address: String,
    accepted: Receiver<TcpStream>,
}

impl Server {
    pub(crate) fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let (sender, accepted) = channel();
        // Ends with the test process; it holds nothing but the listener.
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if sender.send(stream).is_err() {
                    break;
                }
            }
        });
        Server { address, accepted }
    }

    pub(crate) fn address(&self) -> String {
        self.address.clone()
    }

    /// The next connection and its `Hello`.
    pub(crate) fn accept(&self) -> (Peer, Hello) {
        let stream = self.accepted.recv_timeout(DEADLINE).expect("the client connects");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
        let mut peer = Peer { stream, framer: Framer::for_clients(), frames: VecDeque::new() };
        let (frame_kind, body) = peer.next_frame();
        assert_eq!(frame_kind, kind::HELLO);
        (peer, control(kind::HELLO, &body).expect("a Hello"))
    }
}

/// An address where nobody listens: a port that is held at one loopback address, so that nobody else gets it, seen
/// from another one.
pub(crate) struct Nobody(TcpListener);

impl Nobody {
    pub(crate) fn there() -> Nobody {
        Nobody(TcpListener::bind("127.0.0.1:0").expect("a free port"))
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.2:{}", self.0.local_addr().expect("bound").port())
    }
}

/// The other end of a client's connection.
pub(crate) struct Peer {
    stream: TcpStream,
    framer: Framer,
    frames: VecDeque<(u8, Vec<u8>)>,
}

impl Peer {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        // A client that was told of a fault may be gone already.
        match self.stream.write_all(bytes) {
            Err(error) if !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                panic!("cannot send: {error}")
            }
            _ => {}
        }
    }

    pub(crate) fn seat(&mut self, nodes: Vec<String>) {
        let seat =
            Seat { protocol: 1, player: ME, island: 7, nodes, ticket: TICKET.to_vec(), ticket_ms: 30_000 };
        self.send(&control_frame(kind::SEAT, &seat));
    }

    pub(crate) fn close(&mut self) {
        self.stream.shutdown(Shutdown::Both).expect("still open");
    }

    fn next_frame(&mut self) -> (u8, Vec<u8>) {
        let mut buffer = [0; 4096];
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return frame;
            }
            let read = self.stream.read(&mut buffer).expect("the client says something in time");
            assert_ne!(read, 0, "the client closed without a BYE");
            let frames = &mut self.frames;
            self.framer
                .feed(&buffer[..read], |kind, body| {
                    frames.push_back((kind, body.to_vec()));
                    ControlFlow::Continue(())
                })
                .expect("whole frames");
        }
    }

    /// The next act; what else is said before it doesn't matter.
    pub(crate) fn next_act(&mut self) -> Act {
        loop {
            let (frame_kind, body) = self.next_frame();
            if frame_kind == kind::ACT {
                let act: Act = control(kind::ACT, &body).expect("an act");
                assert!(act.is_sound(), "{act:?}");
                return act;
            }
        }
    }

    /// Reads on until the client says goodbye.
    pub(crate) fn read_until_bye(&mut self) {
        while self.next_frame().0 != kind::BYE {}
    }

    /// The next move.
    pub(crate) fn next_move(&mut self) -> Move {
        let (frame_kind, body) = self.next_frame();
        assert_eq!(frame_kind, kind::MOVE);
        Move::decode(&body).expect("a move")
    }

    /// The first move that is at most so many quanta from a place.
    pub(crate) fn next_move_within(&mut self, place: Place, quanta: i64) -> Move {
        loop {
            let step = self.next_move();
            if step.place.distance_squared(place) <= quanta * quanta {
                return step;
            }
        }
    }

    /// Reads moves until the client says goodbye; checks order, pace and place of each. Returns how many.
    pub(crate) fn moves_until_bye(&mut self, mut last: Move) -> usize {
        for count in 0.. {
            let (frame_kind, body) = self.next_frame();
            match frame_kind {
                kind::BYE => {
                    assert!(body.is_empty());
                    return count;
                }
                kind::PING => assert!(body.len() <= 8),
                kind::MOVE => {
                    let step = Move::decode(&body).expect("a move");
                    assert_eq!(step.sequence, last.sequence + 1);
                    let walked = step.place.distance_squared(last.place);
                    assert!(walked > 0 && walked <= WALK_UP_M * WALK_UP_M / 100, "{last:?} → {step:?}");
                    assert!(step.place.x.rem_euclid(4_096) >= 256, "{step:?} is in the water");
                    last = step;
                }
                other => panic!("frame of kind 0x{other:02x}"),
            }
        }
        unreachable!("the loop ends at BYE")
    }
}

/// What the client says to everybody.
pub(crate) fn plain_hello() -> Hello {
    Hello {
        min: 1,
        max: 1,
        features: vec!["land".to_owned()],
        client: "client.py".to_owned(),
        ..Hello::default()
    }
}

pub(crate) fn welcome(at: Place) -> Vec<u8> {
    let welcome = Welcome {
        protocol: 1,
        level: 0,
        features: vec!["land".to_owned()],
        node: 2,
        player: ME,
        epoch: 1,
        island: 7,
        seed: u64::MAX,
        tick: 70_000,
        tick_ms: 100,
        island_chunks: 16,
        near_ring: 1,
        far_ring: 2,
        walk_mm_per_s: 5_000,
        keep_alive_ms: 5_000,
        x: at.x,
        y: at.y,
    };
    control_frame(kind::WELCOME, &welcome)
}

/// The land of the 5 × 5 chunks around: grass, with water along the west of each chunk.
pub(crate) fn land_around(centre: ChunkPos) -> Vec<Vec<u8>> {
    let tiles = std::array::from_fn(|at| if at % 16 == 0 { Tile::Water } else { Tile::Grass });
    centre.around(2).map(|chunk| land_frame(chunk, &tiles)).collect()
}

pub(crate) fn tick(header: TickHeader, blocks: &[Vec<u8>]) -> Vec<u8> {
    let blocks = blocks.concat();
    let mut out = [0; TICK_HEADER_BYTES_MAX];
    let used = header.encode(blocks.len(), &mut out);
    [&out[..used], &blocks].concat()
}

fn block(
    stream: StreamId,
    keyframe: bool,
    source: u32,
    chunk: ChunkPos,
    number: u16,
    rests_on: u16,
    payload: &[u8],
) -> Vec<u8> {
    let header = Header {
        stream,
        keyframe,
        level: WIRE_LEVEL,
        optional: false,
        source: Source(source),
        chunk,
        number: FrameNumber(number),
        tick: 0,
        rests_on: FrameNumber(rests_on),
        payload_bytes: payload.len() as u32,
    };
    let mut out = Vec::with_capacity(HEADER_BYTES + payload.len());
    header.encode(&mut out);
    out.extend_from_slice(payload);
    out
}

/// A roster block of players: (slot, entity, epoch, place, name).
pub(crate) fn enter(
    source: u32,
    chunk: ChunkPos,
    number: u16,
    keyframe: bool,
    who: &[(u16, u64, u32, Place, &str)],
) -> Vec<u8> {
    let mut payload = Vec::new();
    for &(slot, entity, epoch, place, name) in who {
        let (entity, epoch, pose) = (EntityId(entity), Epoch(epoch), Pose::new(place, 0));
        RosterRecord::Enter { slot, entity, epoch, pose, kind: EntityKind::Player, look: 0, name }
            .encode(&mut payload);
    }
    block(StreamId::Roster, keyframe, source, chunk, number, number, &payload)
}

/// A roster delta in which a slot falls free.
pub(crate) fn leave(source: u32, chunk: ChunkPos, number: u16, slot: u16) -> Vec<u8> {
    let mut payload = Vec::new();
    RosterRecord::Leave { slot }.encode(&mut payload);
    block(StreamId::Roster, false, source, chunk, number, number, &payload)
}

/// A block of the fastest motion stream.
pub(crate) fn moved(
    source: u32,
    chunk: ChunkPos,
    number: u16,
    keyframe: bool,
    rests_on: u16,
    moves: &[(u16, Place)],
) -> Vec<u8> {
    let mut payload = Vec::new();
    moves.iter().for_each(|(slot, place)| encode_move(*slot, Pose::new(*place, 0), &mut payload));
    block(StreamId::Motion(Rate::R1), keyframe, source, chunk, number, rests_on, &payload)
}
