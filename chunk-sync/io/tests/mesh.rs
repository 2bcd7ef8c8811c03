//! The mesh over real sockets on loopback: delivery, subscriptions, limits, restarts and remakes.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod mesh_support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use chunk_sync_io::mesh::limits::{
    INBOX_BYTES_MAX, LINKS_MAX, MESH_BODY_BYTES_MAX, OUTBOX_BYTES_MAX, TICK_BURST_BYTES_MAX,
    TICK_BURST_MESSAGES_MAX, TOPICS_MAX,
};
use chunk_sync_io::mesh::{Mesh, MeshError, PeerId, ZmqMesh};
use mesh_support::{
    drain_count, loopback, mesh, number, port, prove_subscription, runtime, stats_of, topic, wait_for,
};

const A: PeerId = PeerId(1);
const B: PeerId = PeerId(2);

#[test]
fn frames_arrive_whole_and_in_order() {
    let runtime = runtime();
    let (mut from, mut to) = (mesh(&runtime), mesh(&runtime));
    to.subscribe(&topic(1));
    to.flush();
    to.connect(A, &from.endpoint());
    prove_subscription(&mut from, &mut to, topic(1));
    let sizes = [0, 1, 44, 45, 62, 63, 255, 256, 4_095, 4_096, 60_000, 130_000, MESH_BODY_BYTES_MAX];
    let bodies = sizes.map(|size| Bytes::from((0..size).map(|at| (at % 251) as u8).collect::<Vec<_>>()));
    for body in &bodies {
        from.publish(&topic(1), body.clone());
    }
    from.flush();
    for round in 0..20 {
        for step in 0..50 {
            from.publish(&topic(1), number(round * 50 + step));
        }
        from.flush();
    }
    let frames = drain_count(&mut to, bodies.len() + 1_000);
    assert!(frames.iter().all(|frame| frame.peer == A && frame.topic == topic(1)));
    let (large, small) = frames.split_at(bodies.len());
    assert!(large.iter().map(|frame| &frame.body).eq(&bodies));
    assert!(small.iter().map(|frame| frame.body.clone()).eq((0..1_000).map(number)));
    let stats = stats_of(&to, A);
    assert_eq!((stats.link.dropped_in, stats.link.errors, stats.inbox_bytes), (0, 0, 0));
}

#[test]
fn a_whole_burst_arrives_without_loss() {
    let runtime = runtime();
    let (mut from, mut to) = (mesh(&runtime), mesh(&runtime));
    to.subscribe(&topic(1));
    to.flush();
    to.connect(A, &from.endpoint());
    prove_subscription(&mut from, &mut to, topic(1));
    let body = Bytes::from(vec![7; TICK_BURST_BYTES_MAX / TICK_BURST_MESSAGES_MAX]);
    // Two bursts at once: a node that stalled for a tick.
    for _ in 0..2 {
        for _ in 0..TICK_BURST_MESSAGES_MAX {
            from.publish(&topic(1), body.clone());
        }
        from.flush();
    }
    assert_eq!(drain_count(&mut to, 2 * TICK_BURST_MESSAGES_MAX).len(), 2 * TICK_BURST_MESSAGES_MAX);
    assert_eq!(from.stats().out.dropped, 0);
    assert_eq!(from.stats().out.outbox_bytes, 0);
}

#[test]
fn only_wanted_topics_come_and_from_every_peer() {
    let runtime = runtime();
    let (mut first, mut second, mut to) = (mesh(&runtime), mesh(&runtime), mesh(&runtime));
    to.connect(A, &first.endpoint());
    to.connect(B, &second.endpoint());
    wait_for("both links to stand", || to.stats().peers.iter().all(|peer| peer.connected));
    to.subscribe(&topic(1));
    to.flush();
    prove_subscription(&mut first, &mut to, topic(1));
    prove_subscription(&mut second, &mut to, topic(1));
    for from in [&mut first, &mut second] {
        from.publish(&topic(2), number(2));
        from.publish(&topic(1), number(1));
        from.flush();
    }
    let mut frames = drain_count(&mut to, 2);
    frames.sort_by_key(|frame| frame.peer);
    assert_eq!(
        frames.iter().map(|frame| (frame.peer, frame.topic)).collect::<Vec<_>>(),
        [(A, topic(1)), (B, topic(1))]
    );
}

#[test]
fn a_subscription_ends_with_its_last_reference() {
    let runtime = runtime();
    let (mut from, mut to) = (mesh(&runtime), mesh(&runtime));
    to.connect(A, &from.endpoint());
    for wanted in [1, 1, 2] {
        to.subscribe(&topic(wanted));
    }
    to.flush();
    prove_subscription(&mut from, &mut to, topic(1));
    prove_subscription(&mut from, &mut to, topic(2));
    to.unsubscribe(&topic(1));
    to.flush();
    // Still wanted once: unsubscribing must not have reached the publisher by the time a later change did.
    to.subscribe(&topic(3));
    to.flush();
    prove_subscription(&mut from, &mut to, topic(3));
    prove_subscription(&mut from, &mut to, topic(1));
    to.unsubscribe(&topic(1));
    to.flush();
    let mut round = 0;
    wait_for("a round without the ended topic", || {
        round += 1;
        from.publish(&topic(1), number(round));
        from.publish(&topic(2), number(round));
        from.flush();
        let mut frames = Vec::new();
        wait_for("the round's end", || {
            to.drain(&mut frames);
            frames.iter().any(|frame| frame.topic == topic(2) && frame.body == number(round))
        });
        frames.iter().all(|frame| frame.topic == topic(2))
    });
}

#[test]
fn wrong_topics_and_bodies_are_refused_and_counted() {
    let runtime = runtime();
    let mut mesh = mesh(&runtime);
    mesh.subscribe(b"short");
    mesh.unsubscribe(&topic(9));
    for number in 0..TOPICS_MAX {
        mesh.subscribe(&topic(u16::try_from(number).unwrap()));
    }
    assert_eq!(mesh.stats().out.topics_refused, 2);
    mesh.subscribe(&topic(u16::MAX));
    assert_eq!(mesh.stats().out.topics_refused, 3);
    mesh.publish(b"eleven.long", number(1));
    mesh.publish(&topic(1), Bytes::from(vec![0; MESH_BODY_BYTES_MAX + 1]));
    assert_eq!(mesh.stats().out.dropped, 2);
    assert_eq!(mesh.stats().out.outbox_bytes, 0);
    mesh.connect(A, "ipc://elsewhere");
    mesh.connect(B, "tcp://no port");
    assert!(mesh.stats().peers.iter().all(|peer| peer.link.errors == 1 && !peer.connected));
    for more in 0..u32::try_from(LINKS_MAX).unwrap() {
        mesh.connect(PeerId(100 + more), "tcp://no port");
    }
    assert_eq!((mesh.stats().peers.len(), mesh.stats().peers_refused), (LINKS_MAX, 2));
}

#[test]
fn the_outbox_is_bounded_in_bytes() {
    let runtime = runtime();
    let mut mesh = mesh(&runtime);
    let body = Bytes::from(vec![0; 60_000]);
    let most = OUTBOX_BYTES_MAX / body.len();
    for _ in 0..2 * most {
        mesh.publish(&topic(1), body.clone());
    }
    let stats = mesh.stats().out;
    assert!(stats.outbox_bytes <= OUTBOX_BYTES_MAX as u64);
    assert!(stats.dropped >= most as u64, "only {} dropped", stats.dropped);
    mesh.flush();
    wait_for("the outbox to empty", || mesh.stats().out.outbox_bytes == 0);
    assert_eq!(mesh.stats().out.frames + mesh.stats().out.dropped, 2 * most as u64);
}

#[test]
fn a_peer_that_never_drains_loses_its_own_frames_only() {
    let runtime = runtime();
    let (mut from, mut good, mut lazy) = (mesh(&runtime), mesh(&runtime), mesh(&runtime));
    for to in [&mut good, &mut lazy] {
        to.subscribe(&topic(1));
        to.flush();
        to.connect(A, &from.endpoint());
        prove_subscription(&mut from, to, topic(1));
    }
    let mut late = Vec::new();
    good.drain(&mut late);
    let body = Bytes::from(vec![1; 16 * 1024]);
    let mut slowest = Duration::ZERO;
    // 32 MiB in ticks of 512 KiB; the good peer gets each tick before the next.
    for _ in 0..64 {
        let started = Instant::now();
        for _ in 0..32 {
            from.publish(&topic(1), body.clone());
        }
        from.flush();
        let mut got = 0;
        wait_for("the good peer's tick", || {
            let mut frames = Vec::new();
            good.drain(&mut frames);
            got += frames.iter().filter(|frame| frame.body == body).count();
            got == 32
        });
        slowest = slowest.max(started.elapsed());
    }
    wait_for("the lazy peer to lose frames", || stats_of(&lazy, A).link.dropped_in > 0);
    let held = stats_of(&lazy, A).inbox_bytes;
    assert!(held <= INBOX_BYTES_MAX as u64, "{held} bytes held");
    assert_eq!(stats_of(&good, A).link.dropped_in, 0);
    assert!(slowest < Duration::from_secs(2), "a tick took {slowest:?}");
    // It heals as soon as it reads again.
    lazy.drain(&mut Vec::new());
    prove_subscription(&mut from, &mut lazy, topic(1));
}

#[test]
fn a_publisher_that_restarts_on_its_port_is_found_again_with_500_topics() {
    let runtime = runtime();
    let (mut from, mut to) = (mesh(&runtime), mesh(&runtime));
    let port = port(&from);
    for number in 0..500 {
        to.subscribe(&topic(number));
    }
    to.flush();
    to.connect(A, &from.endpoint());
    for restarted in [false, true, true] {
        if restarted {
            drop(from);
            from = rebind(&runtime, port);
        }
        let mut seen = vec![false; 500];
        let mut frames = Vec::new();
        let mut next = Instant::now();
        wait_for("all 500 topics", || {
            if Instant::now() >= next {
                next += Duration::from_millis(50);
                (0..500).for_each(|index| from.publish(&topic(index), number(index.into())));
                from.flush();
            }
            frames.clear();
            to.drain(&mut frames);
            for frame in &frames {
                seen[usize::from(u16::from_be_bytes([frame.topic[0], frame.topic[1]]))] = true;
            }
            seen.iter().all(|seen| *seen)
        });
    }
    assert!(stats_of(&to, A).link.reconnects >= 2);
}

fn rebind(runtime: &tokio::runtime::Runtime, port: u16) -> ZmqMesh {
    let mut bound = None;
    wait_for("the port to be free again", || {
        bound = ZmqMesh::bind(runtime.handle().clone(), loopback(port)).ok();
        bound.is_some()
    });
    bound.unwrap()
}

#[test]
fn a_remade_link_keeps_what_came_and_subscribes_anew() {
    let runtime = runtime();
    let (mut from, mut to) = (mesh(&runtime), mesh(&runtime));
    to.subscribe(&topic(1));
    to.subscribe(&topic(2));
    to.flush();
    to.connect(A, &from.endpoint());
    prove_subscription(&mut from, &mut to, topic(1));
    let before = stats_of(&to, A).link.frames_in;
    for value in 0..10 {
        from.publish(&topic(1), number(value));
    }
    from.flush();
    wait_for("ten frames in the inbox", || stats_of(&to, A).link.frames_in == before + 10);
    for remade in 1..=3 {
        to.remake(A);
        wait_for("the link to stand", || stats_of(&to, A).connected);
        assert_eq!(stats_of(&to, A).link.reconnects, remade);
    }
    let mut frames = Vec::new();
    to.drain(&mut frames);
    assert!(frames.iter().map(|frame| frame.body.clone()).eq((0..10).map(number)));
    prove_subscription(&mut from, &mut to, topic(1));
    prove_subscription(&mut from, &mut to, topic(2));
    wait_for("old connections to be gone", || from.stats().out.subscribers == 1);
}

#[test]
fn a_peer_can_move_and_go() {
    let runtime = runtime();
    let (mut first, mut second, mut to) = (mesh(&runtime), mesh(&runtime), mesh(&runtime));
    to.subscribe(&topic(1));
    to.flush();
    to.connect(A, &first.endpoint());
    to.connect(A, &first.endpoint());
    prove_subscription(&mut first, &mut to, topic(1));
    assert_eq!(stats_of(&to, A).link.reconnects, 0, "the same endpoint again changes nothing");
    to.connect(A, &second.endpoint());
    prove_subscription(&mut second, &mut to, topic(1));
    wait_for("the first publisher to be left", || first.stats().out.subscribers == 0);
    let received = to.stats().total_in.frames_in;
    to.disconnect(A);
    wait_for("the second publisher to be left", || second.stats().out.subscribers == 0);
    assert!(to.stats().peers.is_empty());
    assert!(to.stats().total_in.frames_in >= received, "counters outlive the peer");
    to.disconnect(A);
    to.remake(A);
}

#[test]
fn a_dropped_mesh_sends_what_it_had_and_leaves_no_task() {
    let runtime = runtime();
    let mut to = mesh(&runtime);
    to.subscribe(&topic(1));
    to.flush();
    let mut from = mesh(&runtime);
    from.connect(B, &to.endpoint());
    to.connect(A, &from.endpoint());
    prove_subscription(&mut from, &mut to, topic(1));
    for value in 0..100 {
        from.publish(&topic(1), number(value));
    }
    drop(from);
    let frames = drain_count(&mut to, 100);
    assert!(frames.iter().map(|frame| frame.body.clone()).eq((0..100).map(number)));
    drop(to);
    wait_for("every task to end", || runtime.metrics().num_alive_tasks() == 0);
}

#[test]
fn bad_addresses_are_errors_with_a_reason() {
    let runtime = runtime();
    let handle = runtime.handle();
    let open = ZmqMesh::bind(handle.clone(), ([0, 0, 0, 0], 0).into());
    assert!(matches!(open.err(), Some(MeshError::NotPrivate(_))));
    let holder = mesh(&runtime);
    let taken = ZmqMesh::bind(handle.clone(), loopback(port(&holder))).err().unwrap();
    assert!(matches!(taken, MeshError::Bind { .. }), "{taken}");
}
