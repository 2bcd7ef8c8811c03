//! Parties that don't fit at once: how many pass them, and that nobody waits for ever, neither they nor those behind.

use super::{halves, join, party};
use population_allocator::limits::{HOLD_MAX_MS, PARTY_MAX, PASSED_DOUBLINGS_MAX, PASSED_MAX};
use population_allocator::queue::{Lane, LaneShares, Queue, Served};

/// Seats of one pool that come free one by one.
struct Seats {
    free: usize,
    every_ms: u64,
    now_ms: u64,
    /// The largest party for which there is room on one island.
    together: usize,
}

impl Seats {
    fn every(every_ms: u64) -> Self {
        Self { free: 0, every_ms, now_ms: 0, together: PARTY_MAX }
    }

    /// One more seat, and whoever takes it.
    fn next(&mut self, queue: &mut Queue) -> Vec<Served> {
        self.now_ms += self.every_ms;
        self.free += 1;
        let mut served = Vec::new();
        loop {
            let room = self.free.min(self.together);
            let Some(next) = queue.serve_next(self.now_ms, |_, players| players <= room) else { break };
            self.free -= next.party.len();
            served.push(next);
        }
        served
    }
}

#[test]
fn a_party_is_admitted_together_or_not_at_all() {
    let mut queue = Queue::new(halves(), 0);
    let pair = join(&mut queue, Lane::Newcomer, party(1, 2), 0).number;
    assert_eq!(queue.serve_next(1, |_, players| players <= 1), None);
    let served = queue.serve_next(1, |_, players| players <= 2).unwrap();
    assert_eq!((served.number, served.party.len()), (pair, 2));
    assert!(queue.is_empty());
}

#[test]
fn a_large_party_is_passed_by_few_where_seats_come_one_by_one() {
    for every_ms in [1, 20, 100, 900] {
        let mut queue = Queue::new(halves(), 0);
        let large = join(&mut queue, Lane::Newcomer, party(1, PARTY_MAX as u64), 0).number;
        for player in 0..5_000 {
            join(&mut queue, Lane::Newcomer, party(100 + player, 1), 0);
        }
        let (mut seats, mut passed) = (Seats::every(every_ms), 0);
        'seats: loop {
            for served in seats.next(&mut queue) {
                if served.number == large {
                    break 'seats;
                }
                passed += served.party.len();
            }
        }
        // Below a step a hold lasts longer than the passing, never shorter.
        assert_eq!(passed, PASSED_MAX as usize, "a seat every {every_ms} ms");
    }
}

#[test]
fn those_behind_several_large_parties_pass_each_of_them_a_few_times() {
    let mut queue = Queue::new(halves(), 0);
    let large: Vec<_> =
        (0..5).map(|nth| join(&mut queue, Lane::Newcomer, party(1 + nth * 8, 8), 0).number).collect();
    for player in 0..5_000 {
        join(&mut queue, Lane::Newcomer, party(100 + player, 1), 0);
    }
    let (mut seats, mut passed, mut order) = (Seats::every(50), 0, Vec::new());
    while order.len() < large.len() {
        for served in seats.next(&mut queue) {
            match large.contains(&served.number) {
                true => order.push((served.number, passed)),
                false => passed += 1,
            }
        }
    }
    let bound = |nth: usize| (nth + 1) * PASSED_MAX as usize;
    for (nth, (number, passed)) in order.into_iter().enumerate() {
        assert_eq!(number, large[nth], "large parties keep their order");
        assert!(passed <= bound(nth), "{number} was passed by {passed}");
    }
}

#[test]
fn a_party_that_fits_nowhere_costs_its_lane_about_half_of_its_seats_and_never_all() {
    for every_ms in [1, 100, 2_000] {
        let mut queue = Queue::new(halves(), 0);
        join(&mut queue, Lane::Newcomer, party(1, 8), 0);
        for player in 0..20_000 {
            join(&mut queue, Lane::Newcomer, party(100 + player, 1), 0);
        }
        let mut seats = Seats { together: 7, ..Seats::every(every_ms) };
        let (mut admitted, mut last_ms, mut longest_ms) = (0u64, 0, 0);
        for _ in 0..10_000 {
            // Seats that a hold kept free are gone after it: nobody gains from waiting.
            seats.free = seats.free.min(PARTY_MAX);
            let served = seats.next(&mut queue).len() as u64;
            if served > 0 {
                longest_ms = longest_ms.max(seats.now_ms - last_ms);
                last_ms = seats.now_ms;
            }
            admitted += served;
        }
        queue.invariants();
        assert!(admitted >= 4_500, "{admitted} of 10,000 seats, one every {every_ms} ms");
        let most = u64::from(PASSED_MAX << PASSED_DOUBLINGS_MAX) + 2;
        assert!(longest_ms <= (most * every_ms).clamp(100, HOLD_MAX_MS) + 2 * every_ms, "{longest_ms} ms");
    }
}

#[test]
fn a_lane_that_is_held_stops_no_other_and_says_for_how_many() {
    let mut queue = Queue::new(LaneShares::RESIDENTS_FIRST, 0);
    join(&mut queue, Lane::Homecoming, party(1, 5), 0);
    for player in 0..100 {
        join(&mut queue, Lane::Homecoming, party(100 + player, 1), 0);
        join(&mut queue, Lane::Newcomer, party(1_000 + player, 1), 0);
    }
    let lane = |served: Option<Served>| served.map(|served| served.lane);
    for _ in 0..PASSED_MAX {
        assert_eq!(lane(queue.serve_next(1_000, |_, players| players < 5)), Some(Lane::Homecoming));
    }
    assert_eq!(queue.held_for(Lane::Homecoming), None);
    assert_eq!(lane(queue.serve_next(1_000, |_, players| players < 5)), Some(Lane::Newcomer));
    assert_eq!((queue.held_for(Lane::Homecoming), queue.held_for(Lane::Newcomer)), (Some(5), None));
    // A caller that keeps the seats of both together for it.
    let held = |lane: Lane, players: usize| lane == Lane::Homecoming && players <= 5;
    assert_eq!(queue.serve_next(1_001, held).map(|served| served.party.len()), Some(5));
    assert_eq!(queue.held_for(Lane::Homecoming), None);
}

#[test]
fn one_who_leaves_a_party_leaves_the_others_their_place() {
    let mut queue = Queue::new(halves(), 0);
    let three = join(&mut queue, Lane::Newcomer, party(1, 3), 0).number;
    let behind = join(&mut queue, Lane::Newcomer, party(10, 1), 0).number;
    assert!(queue.leave(chunk_sync::ids::PlayerId(1), 5));
    assert_eq!(queue.place(behind).unwrap().position.ahead, 2);
    let served = queue.serve_next(6, |_, players| players <= 2).unwrap();
    assert_eq!((served.number, served.party), (three, party(2, 2)));
}
