//! Whatever strangers send, to the allocator, a node, the channel or the page: they get the documented answer, and
//! twenty good players walk on as if nothing happened.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chunk_sync::limits::{HELLO_WAIT_MS, QUANTA_PER_CHUNK, QUANTA_PER_M};
use chunk_sync::place::Place;
use chunk_sync::random::{Rng, stream};
use chunk_sync::wire::{Hello, Move, RejectCode, TickHeader, Welcome, control_frame, frame, kind};
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
const WATCHED_S: u32 = 14;
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
        let sessions: u64 = state["nodes"]
            .as_array()
            .map_or(0, |nodes| nodes.iter().filter_map(|node| node["sessions"].as_u64()).sum());
        if sessions >= u64::from(GOOD) { Ok(()) } else { Err(format!("{sessions} sessions")) }
    });

    let doors = [cluster.join(), cluster.node(1).said("address")];
    let slow = begin_slow(&doors);
    doors.iter().for_each(|door| bad_first_frames(door));
    wrong_tickets(&cluster);
    inside_a_session(&cluster);
    let mut unread = enter(&cluster, &["never-reads"]);
    everything_that_listens(&cluster);
    newcomers_get_in(&cluster);
    slow.join().expect("the slow ones are told in time");
    newcomers_get_in(&cluster);
    for (raw, _) in &mut unread {
        raw.send(&frame(kind::PING, b"still"));
        assert_eq!(raw.wait_for(kind::PONG).as_deref(), Ok(b"still".as_slice()), "not reading is no crime");
    }

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

/// Opens connections that take their time, and leaves them to a thread, which ends when all were told
/// `hello_timeout`, when it was due.
fn begin_slow(doors: &[&str]) -> JoinHandle<()> {
    let began = Instant::now();
    let whole = hello(&Hello { name: Some("slow".to_owned()), ..Hello::default() });
    let drips: Vec<JoinHandle<RejectCode>> = doors
        .iter()
        .map(|door| {
            let (mut raw, bytes) = (Raw::connect(door), whole.clone());
            std::thread::spawn(move || drip(&mut raw, &bytes))
        })
        .collect();
    let mut half: Vec<Raw> = doors.iter().map(|door| Raw::connect(door)).collect();
    for raw in &mut half {
        raw.send(&whole[..whole.len() / 2]);
    }
    let mute: Vec<Raw> = doors.iter().flat_map(|door| (0..MUTE).map(|_| Raw::connect(door))).collect();
    std::thread::spawn(move || {
        for mut raw in half.into_iter().chain(mute) {
            assert_eq!(raw.refused(), RejectCode::HelloTimeout);
        }
        for drip in drips {
            assert_eq!(drip.join().expect("it is refused"), RejectCode::HelloTimeout);
        }
        let (due, took) = (Duration::from_millis(HELLO_WAIT_MS), began.elapsed());
        assert!(took >= due && took < due + LATE, "it took {took:?}");
    })
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

/// Why a door refuses these bytes.
#[track_caller]
fn refused(door: &str, bytes: &[u8]) -> RejectCode {
    Raw::connect(door).send(bytes).refused()
}

/// Garbage, lengths, kinds, versions: refused at once.
fn bad_first_frames(door: &str) {
    let refused = |bytes: &[u8]| refused(door, bytes);
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
        assert_eq!(refused(cluster.join(), &named(name)), RejectCode::BadName, "{name:?}");
    }
    let nowhere = Hello { name: Some("nowhere".to_owned()), island: Some(77), ..Hello::default() };
    assert_eq!(refused(cluster.join(), &hello(&nowhere)), RejectCode::NoIsland);
    assert_eq!(refused(node, &named("no-ticket")), RejectCode::TicketForged);
    let other_level = Hello { levels: vec![7], ..Hello::default() };
    assert_eq!(refused(node, &hello(&other_level)), RejectCode::Version, "streams that it can't read");

    let seat = seat(cluster.join(), "forger");
    let flipped = (0..seat.ticket.len()).map(|at| {
        let mut forged = seat.ticket.clone();
        forged[at] ^= 1 << (at % 8);
        forged
    });
    let cut = seat.ticket[..seat.ticket.len() - 1].to_vec();
    let forged: Vec<Raw> = flipped.chain([cut]).map(|ticket| showing(node, &ticket)).collect();
    for (at, mut raw) in forged.into_iter().enumerate() {
        assert_eq!(raw.welcome(), Err(RejectCode::TicketForged), "byte {at}");
    }
    let mut inside = Raw::connect(node);
    inside.show(&seat.ticket).expect("the true one is still good");
    assert_eq!(Raw::connect(node).show(&seat.ticket), Err(RejectCode::TicketUsed));
}

/// A connection to a node that was just shown a ticket.
fn showing(node: &str, ticket: &[u8]) -> Raw {
    let mut raw = Raw::connect(node);
    raw.send(&hello(&Hello { ticket: Some(ticket.to_vec()), ..Hello::default() }));
    raw
}

/// Strangers with tickets, inside node 1.
fn enter(cluster: &Cluster, names: &[&str]) -> Vec<(Raw, Welcome)> {
    let node = cluster.node(1).said("address");
    let shown: Vec<Raw> =
        names.iter().map(|name| showing(node, &seat(cluster.join(), name).ticket)).collect();
    let welcomed = shown.into_iter().zip(names).map(|(mut raw, name)| match raw.welcome() {
        Ok(welcome) => (raw, welcome),
        Err(code) => panic!("{name} is refused: {code:?}"),
    });
    welcomed.collect()
}

/// What one may not do once inside.
fn inside_a_session(cluster: &Cluster) {
    use RejectCode::{Flood, Malformed, Unexpected};
    let mut cases: Vec<(String, Vec<u8>, RejectCode)> = [
        ("unknown-kind", frame(0x55, b"what?"), Malformed),
        ("kind-of-servers", frame(kind::TICK, &[0; 7]), Malformed),
        ("long-frame", vec![0xff; 4], Malformed),
        ("short-move", frame(kind::MOVE, &[1, 2, 3]), Malformed),
        ("long-ping", frame(kind::PING, &[0; 9]), Malformed),
        ("hello-again", hello(&Hello::default()), Unexpected),
        ("flood", frame(kind::PING, b"").repeat(1_000), Flood),
    ]
    .map(|(name, bytes, code)| (name.to_owned(), bytes, code))
    .into();
    cases.extend((0..GARBAGE_SEEDS).map(|seed| (format!("garbage-{seed}"), garbage(seed), Malformed)));
    let names: Vec<&str> = cases.iter().map(|(name, ..)| name.as_str()).collect();
    let mut strangers = enter(cluster, &names);
    for ((raw, _), (_, bytes, _)) in strangers.iter_mut().zip(&cases) {
        raw.send(bytes);
    }
    for ((raw, _), (name, _, code)) in strangers.iter_mut().zip(&cases) {
        assert_eq!(raw.refused(), *code, "{name}");
    }
    walks_too_fast(cluster);
}

/// Whoever goes too far, or off the world, is put back, and may go on honestly.
fn walks_too_fast(cluster: &Cluster) {
    let Some((mut raw, welcome)) = enter(cluster, &["hasty"]).pop() else { panic!("one enters") };
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
