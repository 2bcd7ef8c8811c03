//! Whatever strangers send, to the allocator, a node, the channel or the page: they get the documented answer, and
//! twenty good players walk on as if nothing happened.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use chunk_sync::limits::{HELLO_WAIT_MS, QUANTA_PER_CHUNK, QUANTA_PER_M};
use chunk_sync::place::Place;
use chunk_sync::random::{Rng, stream};
use chunk_sync::wire::{
    Hello, Move, RejectCode, TickHeader, Welcome, control_frame, frame, kind,
};
use procfs::net::TcpState;
use procfs::process::FDTarget;
use serde_json::Value;

use crate::crowd::{count, swarm};
use crate::processes::{Cluster, Process};
use crate::raw::{ANSWER_WAIT, Answer, Raw, hello, seat};
use crate::{eventually, raw};

/// Good players.
const GOOD: u32 = 20;
/// How long they are watched; all attacks fall into this time.
const WATCHED_S: u32 = 16;
/// Good players may notice a busy machine, not more.
const MOVE_TO_SEE_P99_MS_MAX: f64 = 600.0;
/// Connections to one door that say nothing.
const MUTE: usize = 2_000;
/// A `hello_timeout` may come this much after it is due, on a busy machine.
const LATE: Duration = Duration::from_secs(4);
const GARBAGE_SEEDS: u64 = 8;
const GARBAGE_BYTES: usize = 3_000;

#[test]
fn hostile_clients_get_their_answer_and_harm_nobody() {
    let cluster = Cluster::start();
    loadtest::open_files::raise_for(2 * MUTE as u64 + 500).expect("room for connections");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (target, json) = (cluster.join().to_owned(), folder.path().join("good.json"));
    let good = std::thread::spawn(move || swarm(&target, GOOD, WATCHED_S, 0, "good-", &json));
    eventually("the good players are in", ANSWER_WAIT, || {
        let state = cluster.allocator.state();
        let sessions: u64 = state["nodes"].as_array().map_or(0, |nodes| {
            nodes.iter().filter_map(|node| node["sessions"].as_u64()).sum()
        });
        if sessions >= u64::from(GOOD) { Ok(()) } else { Err(format!("{sessions} sessions")) }
    });

    let doors = [cluster.join(), cluster.node(1).said("address")];
    let slow = Slow::begin(&doors);
    doors.iter().for_each(|door| bad_first_frames(door));
    wrong_tickets(&cluster);
    inside_a_session(&cluster);
    let mut unread = enter(&cluster, "never-reads").0;
    everything_that_listens(&cluster);
    newcomers_get_in(&cluster);
    slow.end();
    newcomers_get_in(&cluster);
    unread.send(&frame(kind::PING, b"still"));
    assert_eq!(unread.wait_for(kind::PONG).as_deref(), Ok(b"still".as_slice()), "not reading is no crime yet");

    assert!(!good.is_finished(), "the attacks took longer than the good players were watched");
    good_players_are_fine(&good.join().expect("the good players' swarm ends"));
}

fn good_players_are_fine(report: &Value) {
    assert_eq!(count(report, "connected"), u64::from(GOOD), "{report:#}");
    assert_eq!((count(report, "disconnects"), count(report, "errors")), (0, 0), "{report:#}");
    assert!(report["seen_per_bot"]["min"].as_u64() >= Some(u64::from(GOOD) - 1), "{report:#}");
    let p99 = report["move_to_see_ms"]["p99"].as_f64().expect("a latency");
    assert!(p99 < MOVE_TO_SEE_P99_MS_MAX, "move to see {p99} ms: {report:#}");
}

/// Connections that take their time, under way while other things happen.
struct Slow {
    began: Instant,
    mute: Vec<Raw>,
    half: Vec<Raw>,
    drips: Vec<std::thread::JoinHandle<RejectCode>>,
}

impl Slow {
    fn begin(doors: &[&str]) -> Self {
        let began = Instant::now();
        let whole = hello(&Hello { name: Some("slow".to_owned()), ..Hello::default() });
        let half = |door: &&str| {
            let mut raw = Raw::connect(door);
            raw.send(&whole[..whole.len() / 2]);
            raw
        };
        let half = doors.iter().map(half).collect();
        let drips = doors.iter().map(|door| {
            let (mut raw, bytes) = (Raw::connect(door), whole.clone());
            std::thread::spawn(move || drip(&mut raw, &bytes))
        });
        let drips = drips.collect();
        let mute = doors.iter().flat_map(|door| (0..MUTE).map(|_| Raw::connect(door))).collect();
        Self { began, mute, half, drips }
    }

    /// All of them are told `hello_timeout`, when it is due.
    fn end(mut self) {
        for raw in self.half.iter_mut().chain(&mut self.mute) {
            assert_eq!(raw.refused(), RejectCode::HelloTimeout);
        }
        let due = Duration::from_millis(HELLO_WAIT_MS);
        let took = self.began.elapsed();
        assert!(took >= due && took < due + LATE, "it took {took:?}");
        for drip in self.drips {
            assert_eq!(drip.join().expect("it is refused"), RejectCode::HelloTimeout);
        }
    }
}

/// Sends a byte a second until there is an answer.
fn drip(raw: &mut Raw, bytes: &[u8]) -> RejectCode {
    for byte in bytes {
        raw.send(&[*byte]);
        match raw.answer(Duration::from_secs(1)) {
            Answer::Nothing => {}
            Answer::Frame(kind::REJECT, body) => return raw::refusal(&body),
            other => panic!("{other:?} to half a hello"),
        }
    }
    panic!("a whole hello took {} s and was waited for", bytes.len());
}

/// Garbage, lengths, kinds, versions: refused at once.
fn bad_first_frames(door: &str) {
    let refused = |bytes: &[u8]| Raw::connect(door).send(bytes).refused();
    for seed in 0..GARBAGE_SEEDS {
        assert_eq!(refused(&garbage(seed)), RejectCode::Malformed, "garbage of seed {seed} at {door}");
    }
    assert_eq!(refused(&[0xff; 4]), RejectCode::Malformed, "4 GB");
    assert_eq!(refused(&[0xff, 0xff, 0xff, 0xff, kind::HELLO, 0x80]), RejectCode::Malformed, "4 GB of hello");
    assert_eq!(refused(&[0; 4]), RejectCode::Malformed, "nothing");
    assert_eq!(refused(&65_537_u32.to_be_bytes()), RejectCode::Malformed, "too long");
    assert_eq!(refused(&frame(0x55, b"what?")), RejectCode::Malformed, "an unknown kind");
    assert_eq!(refused(&frame(kind::PING, b"")), RejectCode::Malformed, "a ping before the hello");
    assert_eq!(refused(&frame(kind::HELLO, b"\xc1")), RejectCode::Malformed, "no MessagePack");
    assert_eq!(refused(&frame(kind::HELLO, &[0x91; 3_000])), RejectCode::Malformed, "3,000 arrays deep");
    let future = Hello { min: 2, max: 9, name: Some("future".to_owned()), ..Hello::default() };
    assert_eq!(refused(&control_frame(kind::HELLO, &future)), RejectCode::Version);
    let reads_other = Hello { levels: vec![7], ticket: Some(Vec::new()), name: Some("x".to_owned()), ..Hello::default() };
    let code = refused(&hello(&reads_other));
    assert!(matches!(code, RejectCode::Version), "{code:?} for another wire level at {door}");
}

fn garbage(seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; GARBAGE_BYTES];
    stream(seed, "garbage").fill_bytes(&mut bytes);
    bytes
}

/// Names and tickets that open no door.
fn wrong_tickets(cluster: &Cluster) {
    let node = cluster.node(1).said("address");
    let named = |name: &str| hello(&Hello { name: Some(name.to_owned()), ..Hello::default() });
    for name in ["", "a b", "x'; DROP TABLE players; --", "1234567890123456789012345", "\u{202e}"] {
        let code = Raw::connect(cluster.join()).send(&named(name)).refused();
        assert_eq!(code, RejectCode::BadName, "{name:?}");
    }
    let nowhere = Hello { name: Some("nowhere".to_owned()), island: Some(77), ..Hello::default() };
    assert_eq!(Raw::connect(cluster.join()).send(&hello(&nowhere)).refused(), RejectCode::NoIsland);
    assert_eq!(Raw::connect(node).send(&named("no-ticket")).refused(), RejectCode::TicketForged);

    let seat = seat(cluster.join(), "forger");
    for at in 0..seat.ticket.len() {
        let mut forged = seat.ticket.clone();
        forged[at] ^= 1 << (at % 8);
        assert_eq!(Raw::connect(node).show(&forged), Err(RejectCode::TicketForged), "byte {at}");
    }
    let cut = &seat.ticket[..seat.ticket.len() - 1];
    assert_eq!(Raw::connect(node).show(cut), Err(RejectCode::TicketForged));
    let mut inside = Raw::connect(node);
    inside.show(&seat.ticket).expect("the true one is still good");
    assert_eq!(Raw::connect(node).show(&seat.ticket), Err(RejectCode::TicketUsed));
}

/// A stranger with a ticket, inside node 1.
fn enter(cluster: &Cluster, name: &str) -> (Raw, Welcome) {
    let seat = seat(cluster.join(), name);
    let mut raw = Raw::connect(cluster.node(1).said("address"));
    let welcome = raw.show(&seat.ticket).expect("a ticket lets in");
    (raw, welcome)
}

/// What one may not do once inside.
fn inside_a_session(cluster: &Cluster) {
    let refused = |name: &str, bytes: &[u8]| enter(cluster, name).0.send(bytes).refused();
    assert_eq!(refused("unknown-kind", &frame(0x55, b"what?")), RejectCode::Malformed);
    assert_eq!(refused("server-kind", &frame(kind::TICK, &[0; 7])), RejectCode::Malformed);
    assert_eq!(refused("long-frame", &[0xff; 4]), RejectCode::Malformed);
    assert_eq!(refused("short-move", &frame(kind::MOVE, &[1, 2, 3])), RejectCode::Malformed);
    assert_eq!(refused("long-ping", &frame(kind::PING, &[0; 9])), RejectCode::Malformed);
    assert_eq!(refused("hello-again", &hello(&Hello::default())), RejectCode::Unexpected);
    assert_eq!(refused("flooder", &frame(kind::PING, b"").repeat(1_000)), RejectCode::Flood);
    for seed in 0..GARBAGE_SEEDS {
        assert_eq!(refused(&format!("garbage-{seed}"), &garbage(seed)), RejectCode::Malformed, "seed {seed}");
    }
    walks_too_fast(cluster);
}

/// Whoever goes too far, or off the world, is put back, and may go on honestly.
fn walks_too_fast(cluster: &Cluster) {
    let (mut raw, welcome) = enter(cluster, "hasty");
    let own = Place { x: welcome.x, y: welcome.y };
    let far = Place { x: own.x + 20 * QUANTA_PER_M, y: own.y };
    let corner = Place { x: 0, y: 0 };
    let off = Place { x: -QUANTA_PER_CHUNK, y: own.y };
    for (sequence, place) in [(1, far), (2, corner), (3, off)] {
        raw.send(&Move { sequence, place, heading: 0 }.frame());
        assert_eq!(await_ack(&mut raw, sequence), Some(own), "to {place:?}");
    }
    // A quarter of a metre towards the middle of the chunk is meadow, and slow enough.
    let middle = own.chunk().middle();
    let x = own.x + (middle.x - own.x).signum() * QUANTA_PER_M / 4;
    raw.send(&Move { sequence: 4, place: Place { x, y: own.y }, heading: 0 }.frame());
    assert_eq!(await_ack(&mut raw, 4), None, "an honest step is not put back");
    raw.send(&frame(kind::BYE, b""));
    eventually("the node closes after a goodbye", ANSWER_WAIT, || match raw.answer(ANSWER_WAIT) {
        Answer::Closed => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// Waits for the tick that acknowledges this step; returns where it put the player back to.
fn await_ack(raw: &mut Raw, sequence: u16) -> Option<Place> {
    loop {
        let body = raw.wait_for(kind::TICK).expect("it is inside");
        let (header, _) = TickHeader::split(&body).expect("a tick");
        if header.ack == sequence {
            return header.correction;
        }
        assert_eq!(header.correction, None, "put back before anything was asked");
    }
}

/// Garbage for every port there is, the channel's and the page's too.
fn everything_that_listens(cluster: &Cluster) {
    for process in [&cluster.allocator, cluster.node(1), cluster.node(2), cluster.node(3)] {
        let ports = listening(process);
        assert!(ports.len() >= 3, "clients, channel, page: {ports:?}");
        for port in ports {
            for seed in 0..GARBAGE_SEEDS {
                let mut raw = Raw::connect(&format!("127.0.0.1:{port}"));
                raw.send(&garbage(seed));
                drop(TcpStream::connect(("127.0.0.1", port)).expect("it still listens"));
            }
        }
    }
}

/// The ports on which a process listens.
fn listening(process: &Process) -> Vec<u16> {
    let own = procfs::process::Process::new(process.pid().as_raw_pid()).expect("it runs");
    let sockets: BTreeMap<u64, u16> = procfs::net::tcp()
        .expect("/proc is there")
        .into_iter()
        .filter(|socket| socket.state == TcpState::Listen)
        .map(|socket| (socket.inode, socket.local_address.port()))
        .collect();
    let files = own.fd().expect("its files").filter_map(Result::ok);
    let inodes = files.filter_map(|file| match file.target {
        FDTarget::Socket(inode) => Some(inode),
        _ => None,
    });
    inodes.filter_map(|inode| sockets.get(&inode).copied()).collect()
}

/// A newcomer finds every door open.
fn newcomers_get_in(cluster: &Cluster) {
    for number in 1..=3 {
        let seat = seat(cluster.join(), &format!("newcomer-{number}"));
        let mut raw = Raw::connect(cluster.node(number).said("address"));
        raw.show(&seat.ticket).unwrap_or_else(|code| panic!("node {number}: {code:?}"));
    }
}
