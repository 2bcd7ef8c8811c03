//! A subscriber that never reads: the publisher's memory stays bounded and others notice nothing. Alone in its
//! binary because it measures the process.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod mesh_support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use chunk_sync_io::mesh::limits::SUBSCRIBER_BACKLOG_BYTES_MAX;
use chunk_sync_io::mesh::{Mesh, PeerId};
use mesh_support::{RawPeer, mesh, port, prove_subscription, runtime, stats_of, topic, wait_for};

const STALLED: usize = 2;

#[test]
fn subscribers_that_never_read_cost_a_bounded_backlog() {
    let runtime = runtime();
    let (mut from, mut good) = (mesh(&runtime), mesh(&runtime));
    good.subscribe(&topic(1));
    good.flush();
    good.connect(PeerId(1), &from.endpoint());
    prove_subscription(&mut from, &mut good, topic(1));
    let mut stalled: Vec<RawPeer> = (0..STALLED).map(|_| RawPeer::subscriber(port(&from))).collect();
    for peer in &mut stalled {
        peer.subscribe(&topic(1)).unwrap();
    }
    wait_for("all to have subscribed", || from.stats().out.subscribers == STALLED as u64 + 1);
    let before = resident_bytes();
    let (mut slowest, mut most) = (Duration::ZERO, 0);
    // 256 MiB in ticks of 1 MiB; every body has memory of its own, as in a real tick.
    for tick in 0..256_u32 {
        let started = Instant::now();
        for part in 0..64_u32 {
            from.publish(&topic(1), Bytes::from(vec![(tick + part) as u8; 16 * 1024]));
        }
        from.flush();
        let mut got = 0;
        let mut frames = Vec::new();
        wait_for("the good subscriber's tick", || {
            frames.clear();
            good.drain(&mut frames);
            got += frames.len();
            got == 64
        });
        slowest = slowest.max(started.elapsed());
        most = most.max(resident_bytes().saturating_sub(before));
    }
    eprintln!("resident memory grew by {most} bytes at most; slowest tick {slowest:?}");
    let ended = Instant::now();
    let bound = STALLED * SUBSCRIBER_BACKLOG_BYTES_MAX + 32 * 1024 * 1024;
    assert!(most < bound, "{most} bytes more, {bound} allowed");
    assert!(slowest < Duration::from_secs(2), "a tick took {slowest:?}");
    assert_eq!(stats_of(&good, PeerId(1)).link.dropped_in, 0);
    assert_eq!(from.stats().out.dropped, 0);
    assert_eq!(from.stats().out.outbox_bytes, 0);
    wait_for("the stalled to lose their connections", || from.stats().out.subscribers == 1);
    eprintln!("the stalled were let go {:?} after the last tick", ended.elapsed());
    drop(stalled);
}

/// This process's resident memory, from `/proc`.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
