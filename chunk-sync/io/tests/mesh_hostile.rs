//! The mesh against peers that send garbage, lie about lengths, break its rules or ask for too much: each may
//! cost itself its connection, and nobody else anything.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod mesh_support;

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use chunk_sync_io::mesh::limits::{MESH_BODY_BYTES_MAX, SUBSCRIBER_TOPICS_MAX, SUBSCRIBERS_MAX};
use chunk_sync_io::mesh::{Mesh, PeerId, ZmqMesh};
use mesh_support::{
    Garbage, PATIENCE, RawPeer, greeting, listener, loopback, mesh, number, poke, port, prove_subscription,
    runtime, stats_of, topic, wait_for,
};

const GOOD: PeerId = PeerId(1);
const EVIL: PeerId = PeerId(2);

/// Publishes numbers and takes them at the other end, in order and without a gap, while `trouble` runs.
#[track_caller]
fn undisturbed(from: &mut ZmqMesh, to: &mut ZmqMesh, trouble: impl FnOnce() + Send) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let trouble = scope.spawn(|| {
            trouble();
            over.store(true, Relaxed);
        });
        let mut value = 0;
        while !trouble.is_finished() {
            from.publish(&topic(1), number(value));
            from.flush();
            let mut frames = Vec::new();
            wait_for("a frame amid the trouble", || {
                to.drain(&mut frames);
                frames.iter().any(|frame| frame.peer == GOOD)
            });
            frames.retain(|frame| frame.peer == GOOD);
            assert_eq!(frames.iter().map(|frame| frame.body.clone()).collect::<Vec<_>>(), [number(value)]);
            value += 1;
        }
    });
    assert!(over.load(Relaxed), "the trouble itself failed");
    assert_eq!(stats_of(to, GOOD).link.errors, 0);
    assert_eq!(stats_of(to, GOOD).link.reconnects, 0);
}

fn good_pair(runtime: &tokio::runtime::Runtime) -> (ZmqMesh, ZmqMesh) {
    let (mut from, mut to) = (mesh(runtime), mesh(runtime));
    to.subscribe(&topic(1));
    to.flush();
    to.connect(GOOD, &from.endpoint());
    prove_subscription(&mut from, &mut to, topic(1));
    (from, to)
}

#[test]
fn garbage_at_the_door_harms_nobody() {
    let runtime = runtime();
    let (mut from, mut to) = good_pair(&runtime);
    let port = port(&from);
    let mut garbage = Garbage::from_entropy();
    undisturbed(&mut from, &mut to, || {
        for _ in 0..50 {
            let size = 1 + garbage.below(4_096) as usize;
            poke(port, &garbage.bytes(size));
        }
        // Past the greeting, too.
        for _ in 0..50 {
            let size = 1 + garbage.below(512) as usize;
            poke(port, &[&greeting()[..], &garbage.bytes(size)].concat());
        }
        // Half a greeting, then silence.
        poke(port, &greeting()[..20]);
        for _ in 0..10 {
            let mut claimer = RawPeer::subscriber(port);
            claimer.subscribe(&topic(1)).unwrap();
            claimer.claim_huge_frame().unwrap();
            claimer.serve_until_closed();
        }
    });
    assert!(from.stats().out.errors > 0, "failed handshakes are counted");
    wait_for("bad subscribers to be gone", || from.stats().out.subscribers == 1);
}

#[test]
fn a_thousand_silent_connections_keep_nobody_out_for_long() {
    let runtime = runtime();
    let (mut from, mut to) = good_pair(&runtime);
    let port = port(&from);
    let mut silent = Vec::new();
    undisturbed(&mut from, &mut to, || {
        silent.extend((0..1_000).map(|_| TcpStream::connect(loopback(port)).unwrap()));
    });
    // Whoever comes now may be turned away until the silent ones have run out of time; it keeps dialling.
    let mut late = mesh(&runtime);
    late.subscribe(&topic(1));
    late.flush();
    late.connect(GOOD, &from.endpoint());
    prove_subscription(&mut from, &mut late, topic(1));
    drop(silent);
}

#[test]
fn a_subscriber_gets_no_prefix_and_no_endless_list() {
    let runtime = runtime();
    let (mut from, mut to) = good_pair(&runtime);
    let port = port(&from);
    let refused = from.stats().out.topics_refused;
    undisturbed(&mut from, &mut to, || {
        let mut greedy = RawPeer::subscriber(port);
        greedy.subscribe(b"").unwrap();
        greedy.subscribe(&topic(1)[..5]).unwrap();
        for number in 0..=u32::try_from(SUBSCRIBER_TOPICS_MAX).unwrap() {
            let mut topic = topic(0);
            topic[..4].copy_from_slice(&number.to_be_bytes());
            // The door may have closed it already.
            if greedy.subscribe(&topic).is_err() {
                break;
            }
        }
        greedy.serve_until_closed();
    });
    assert_eq!(from.stats().out.topics_refused, refused + 2);
    assert!(from.stats().out.errors > 0);
}

#[test]
fn subscribers_beyond_the_limit_are_turned_away() {
    let runtime = runtime();
    let (mut from, mut to) = good_pair(&runtime);
    let port = port(&from);
    let mut crowd = Vec::new();
    undisturbed(&mut from, &mut to, || {
        for _ in 0..SUBSCRIBERS_MAX + 20 {
            crowd.push(RawPeer::subscriber(port));
        }
    });
    wait_for("the excess to be closed", || from.stats().out.subscribers <= SUBSCRIBERS_MAX as u64);
    assert!(from.stats().out.errors >= 20);
    undisturbed(&mut from, &mut to, || drop(crowd));
    wait_for("the crowd to be gone", || from.stats().out.subscribers == 1);
}

/// A false publisher: accepts connections one after the other and treats each as `treat` says.
fn false_publisher(treat: impl FnMut(TcpStream) + Send + 'static) -> (String, impl FnOnce()) {
    let (listener, endpoint) = listener();
    let address = listener.local_addr().unwrap();
    let over = std::sync::Arc::new(AtomicBool::new(false));
    let seen_over = over.clone();
    let thread = std::thread::spawn(move || {
        let mut treat = treat;
        for stream in listener.incoming() {
            if seen_over.load(Relaxed) {
                return;
            }
            treat(stream.unwrap());
        }
    });
    let stop = move || {
        over.store(true, Relaxed);
        // Wakes the accept.
        drop(TcpStream::connect(address));
        thread.join().unwrap();
    };
    (endpoint, stop)
}

#[test]
fn a_publisher_of_garbage_harms_its_own_link_only() {
    let runtime = runtime();
    let (mut from, mut to) = good_pair(&runtime);
    let mut garbage = Garbage::from_entropy();
    let (calls, called) = std::sync::mpsc::channel();
    let (endpoint, stop) = false_publisher(move |mut stream| {
        let size = 1 + garbage.below(2_000) as usize;
        let bytes = garbage.bytes(size);
        if garbage.below(2) == 0 {
            let _ = stream.write_all(&bytes);
        } else if let Ok(mut peer) = RawPeer::shake_hands(stream, "PUB") {
            let _ = peer.0.write_all(&bytes);
        }
        let _ = calls.send(());
    });
    to.connect(EVIL, &endpoint);
    undisturbed(&mut from, &mut to, move || {
        for _ in 0..6 {
            called.recv_timeout(PATIENCE).unwrap();
        }
    });
    assert!(stats_of(&to, EVIL).link.errors > 0);
    to.disconnect(EVIL);
    stop();
}

#[test]
fn messages_that_break_the_rules_are_dropped_one_by_one() {
    let runtime = runtime();
    let (mut from, mut to) = good_pair(&runtime);
    let (endpoint, stop) = false_publisher(|stream| {
        let Ok(mut peer) = RawPeer::shake_hands(stream, "PUB") else {
            return;
        };
        let topic = topic(1);
        let sent = peer
            .message(&[&topic])
            .and_then(|()| peer.message(&[&topic, b"two", b"three"]))
            .and_then(|()| peer.message(&[&[&topic[..], b"longer"].concat(), b"body"]))
            .and_then(|()| peer.message(&[b"", b""]))
            .and_then(|()| peer.message(&[&topic, b"good"]));
        if sent.is_ok() {
            peer.serve_until_closed();
        }
    });
    to.connect(EVIL, &endpoint);
    let mut frames = Vec::new();
    wait_for("the one good message", || {
        to.drain(&mut frames);
        frames.iter().any(|frame| frame.peer == EVIL)
    });
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0].body, "good");
    let link = stats_of(&to, EVIL).link;
    // The library filters what doesn't start with a subscribed topic; whichever of us drops it, it's dropped.
    assert!((2..=4).contains(&link.errors), "{link:?}");
    assert_eq!((link.frames_in, link.reconnects), (1, 0));
    undisturbed(&mut from, &mut to, || ());
    to.disconnect(EVIL);
    stop();
}

#[test]
fn a_length_that_lies_costs_the_liar_its_connection() {
    let runtime = runtime();
    let (mut from, mut to) = good_pair(&runtime);
    let (closed, was_closed) = std::sync::mpsc::channel();
    let mut turn = 0;
    let (endpoint, stop) = false_publisher(move |stream| {
        let Ok(mut peer) = RawPeer::shake_hands(stream, "PUB") else {
            return;
        };
        turn += 1;
        let lied = if turn % 2 == 1 {
            peer.claim_huge_frame()
        } else {
            peer.message(&[&topic(1), &vec![0; MESH_BODY_BYTES_MAX + 1_024]])
        };
        // It may have been cut off while it was still sending.
        drop(lied);
        peer.serve_until_closed();
        let _ = closed.send(());
    });
    to.connect(EVIL, &endpoint);
    undisturbed(&mut from, &mut to, move || {
        for _ in 0..4 {
            was_closed.recv_timeout(PATIENCE).unwrap();
        }
    });
    let link = stats_of(&to, EVIL).link;
    assert!(link.errors >= 3, "{link:?}");
    assert_eq!(link.frames_in, 0);
    to.disconnect(EVIL);
    stop();
}

#[test]
fn a_refused_handshake_is_tried_again() {
    let runtime = runtime();
    let (mut from, mut to) = good_pair(&runtime);
    let (refusals, refused) = std::sync::mpsc::channel();
    let (endpoint, stop) = false_publisher(move |mut stream| {
        let _ = stream.write_all(&greeting());
        let mut peer = RawPeer(stream);
        let _ = peer.frame(0x04, b"\x05ERROR\x03400");
        let _ = refusals.send(());
    });
    to.connect(EVIL, &endpoint);
    undisturbed(&mut from, &mut to, move || {
        for _ in 0..3 {
            refused.recv_timeout(PATIENCE).unwrap();
        }
    });
    assert!(stats_of(&to, EVIL).link.errors >= 2);
    to.disconnect(EVIL);
    stop();
}
