//! A crowd that leaves and returns as it is told: how often, how evenly, and that it costs nobody a place.

use super::{halves, join, party};
use chunk_sync::ids::PlayerId;
use population_allocator::limits::{RETURN_MIN_MS, RETURNS_PER_SECOND_MAX};
use population_allocator::queue::{Lane, Queue};
use std::collections::{BTreeMap, BTreeSet};

const WAITING: u64 = 100_000;
/// All of them come within this time.
const COME_MS: u64 = 2_000;
const ADMITTED_PER_SECOND: u64 = 500;
const MS: u64 = 180_000;
const STEP_MS: u64 = 100;

#[test]
fn a_hundred_thousand_return_at_a_steady_rate_and_before_they_are_admitted() {
    let mut queue = Queue::new(halves(), 0);
    let mut returns: BTreeSet<(u64, u64)> = BTreeSet::new();
    // When each number was last here, and for when it was told to return.
    let mut told: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    let (mut per_second, mut late, mut served) = (vec![0u64; (MS / 1_000) as usize], 0u64, 0u64);
    for now_ms in (0..MS).step_by(STEP_MS as usize) {
        if now_ms < COME_MS {
            for _ in 0..WAITING * STEP_MS / COME_MS {
                let player = told.len() as u64 + 1;
                let place = join(&mut queue, Lane::Newcomer, party(player, 1), now_ms);
                assert_eq!(place.number.0, player);
                returns.insert((now_ms + place.return_after_ms, player));
                told.insert(player, (now_ms, now_ms + place.return_after_ms));
            }
        }
        while let Some((_, player)) = returns.first().copied().filter(|(at_ms, _)| *at_ms <= now_ms) {
            returns.pop_first();
            per_second[(now_ms / 1_000) as usize] += 1;
            // Who was served is told so, and doesn't return again.
            let Some(number) = queue.number_of(PlayerId(player)) else { continue };
            let place = queue.touch(number, PlayerId(player), now_ms).unwrap();
            returns.insert((now_ms + place.return_after_ms, player));
            told.insert(player, (now_ms, now_ms + place.return_after_ms));
        }
        if now_ms >= COME_MS {
            for _ in 0..ADMITTED_PER_SECOND * STEP_MS / 1_000 {
                let number = queue.serve_next(now_ms, |_, _| true).unwrap().number;
                let (_, return_ms) = told[&number.0];
                served += 1;
                // Its ticket waits for it for longer than is promised.
                late += u64::from(return_ms > now_ms + 2 * RETURN_MIN_MS);
            }
        }
        assert_eq!(queue.expire(now_ms), [], "who returns as it is told keeps its place");
    }
    queue.invariants();
    let most = per_second.iter().max().unwrap();
    assert!(*most <= RETURNS_PER_SECOND_MAX, "{most} returns in one second: {per_second:?}");
    assert_eq!(late, 0, "of {served}");
    // After everybody has been told twice: no waves.
    let settled = &per_second[120..];
    let (least, most) = (settled.iter().min().unwrap(), settled.iter().max().unwrap());
    assert!(*most < 2 * *least, "{least} to {most} returns a second");
}
