//! Places: what keeps one, what ends one, and what may be stored of it.

use super::{drained, halves, join, party};
use chunk_sync::ids::PlayerId;
use chunk_sync::store::DOCUMENT_MAX_BYTES;
use population_allocator::limits::{
    CHANGES_PER_DELTA_MAX, EXPIRED_PER_CALL_MAX, PARTY_MAX, QUEUE_GRACE_MS, QUEUE_MAX, RETURN_MAX_MS,
};
use population_allocator::queue::{
    Joined, Lane, LaneShares, PartyError, Queue, QueueNumber, QueueRefusal, Snapshot, SnapshotError,
    WaiterRecord,
};

#[test]
fn a_place_is_kept_for_the_grace_after_the_moment_of_return() {
    let mut queue = Queue::new(halves(), 0);
    let place = join(&mut queue, Lane::Newcomer, party(1, 1), 1_000);
    let (number, player) = (place.number, PlayerId(1));
    let due_ms = 1_000 + place.return_after_ms + QUEUE_GRACE_MS;
    assert_eq!(queue.expire(due_ms - 1), []);
    let place = queue.touch(number, player, due_ms - 1).unwrap();
    let due_ms = due_ms - 1 + place.return_after_ms + QUEUE_GRACE_MS;
    assert_eq!(queue.expire(due_ms - 1), []);
    assert_eq!(queue.expire(due_ms), [number]);
    assert_eq!(queue.touch(number, player, due_ms), Err(QueueRefusal::NoPlace(number)));
    let again = join(&mut queue, Lane::Newcomer, party(1, 1), due_ms);
    assert!(again.number > number, "numbers are never given again");
    assert_eq!(queue.counts().expired, 1);
}

#[test]
fn many_places_that_end_at_once_end_in_steps() {
    let mut queue = Queue::new(halves(), 0);
    let all = EXPIRED_PER_CALL_MAX + 5;
    for player in 0..all as u64 {
        join(&mut queue, Lane::Newcomer, party(player, 1), 0);
    }
    let later_ms = RETURN_MAX_MS + QUEUE_GRACE_MS;
    assert_eq!(queue.expire(later_ms).len(), EXPIRED_PER_CALL_MAX);
    assert_eq!(queue.expire(later_ms).len(), 5);
}

#[test]
fn a_player_waits_once_and_at_the_older_place() {
    let mut queue = Queue::new(halves(), 0);
    let older = join(&mut queue, Lane::Newcomer, party(1, 2), 0).number;
    let alone = join(&mut queue, Lane::Newcomer, party(7, 1), 0).number;
    let again = queue.join(Lane::Homecoming, party(7, 1), 10).unwrap();
    assert!(matches!(again, Joined::Kept(place) if place.number == alone && place.lane == Lane::Newcomer));
    let one_of_two = queue.join(Lane::Newcomer, party(2, 1), 10).unwrap();
    assert!(matches!(one_of_two, Joined::Kept(place) if place.number == older));
    let refused = queue.join(Lane::Newcomer, party(6, 2), 10);
    assert_eq!(refused, Err(QueueRefusal::Waits(PlayerId(7), alone)));
    assert_eq!((queue.len(), queue.number_of(PlayerId(6))), (2, None), "nobody lost or won a place");
    // Once the one place is given up, they can wait together.
    assert!(queue.leave(PlayerId(7), 11));
    assert!(matches!(queue.join(Lane::Newcomer, party(6, 2), 12), Ok(Joined::New(_))));
    queue.invariants();
}

#[test]
fn a_number_is_of_use_to_its_holder_only() {
    let mut queue = Queue::new(halves(), 0);
    let place = join(&mut queue, Lane::Newcomer, party(1, 1), 0);
    join(&mut queue, Lane::Newcomer, party(2, 1), 0);
    let due_ms = place.return_after_ms + QUEUE_GRACE_MS;
    let refused = queue.touch(place.number, PlayerId(2), due_ms - 1);
    assert_eq!(refused, Err(QueueRefusal::NoPlace(place.number)));
    assert!(queue.expire(due_ms).contains(&place.number), "nobody else keeps a place alive");
}

#[test]
fn a_position_is_the_number_less_the_served_and_the_gone_before_it() {
    let mut queue = Queue::new(halves(), 0);
    for player in 1..=1_000 {
        join(&mut queue, Lane::Newcomer, party(player, 1), 0);
    }
    let served = (0..300).filter(|_| queue.serve_next(1, |_, _| true).is_some()).count() as u64;
    let gone = (1..=900).filter(|number| number % 7 == 0).collect::<Vec<u64>>();
    let gone: Vec<u64> =
        gone.into_iter().filter(|number| queue.cancel(QueueNumber(*number), 2).is_some()).collect();
    for number in [302, 303, 500, 899, 1_000] {
        let gone_before = gone.iter().filter(|gone| **gone < number).count() as u64;
        let place = queue.place(QueueNumber(number)).unwrap();
        assert_eq!(place.position.ahead + 1, number - served - gone_before);
    }
}

#[test]
fn newcomers_are_admitted_within_what_they_were_promised_however_many_come_home() {
    let mut queue = Queue::new(LaneShares::default(), 0);
    for player in 1..=50 {
        join(&mut queue, Lane::Newcomer, party(player, 1), 0);
    }
    let last = queue.place(QueueNumber(50)).unwrap();
    let at_most = last.position.at_most.unwrap();
    for served in 0.. {
        // As many residents as ever can: the lane never runs empty, nor does it stay long.
        join(&mut queue, Lane::Homecoming, party(1_000 + 2 * served, 1 + served % 2), served);
        if queue.serve_next(served, |_, _| true).unwrap().number == last.number {
            break;
        }
        assert!(queue.counts().admitted <= at_most, "{last:?}");
    }
    let mut strict = Queue::new(LaneShares::RESIDENTS_FIRST, 0);
    assert_eq!(join(&mut strict, Lane::Newcomer, party(1, 1), 0).position.at_most, None);
}

#[test]
fn a_clock_that_goes_back_ends_no_place_and_upsets_nothing() {
    let mut queue = Queue::new(halves(), 1_000_000);
    let number = join(&mut queue, Lane::Newcomer, party(1, 1), 1_000_000).number;
    assert!(queue.touch(number, PlayerId(1), 5).is_ok());
    join(&mut queue, Lane::Newcomer, party(2, 1), 50);
    assert_eq!(queue.expire(1_000_000), []);
    queue.invariants();
    assert_eq!(drained(&mut queue, 70), [QueueNumber(1), QueueNumber(2)]);
}

#[test]
fn a_successor_keeps_everybody_for_the_longest_time() {
    let mut queue = Queue::new(halves(), 0);
    let number = join(&mut queue, Lane::Newcomer, party(1, 1), 0).number;
    let mut successor = Queue::restore(queue.snapshot(), halves(), 1_000_000).unwrap();
    assert_eq!(successor.expire(1_000_000 + RETURN_MAX_MS + QUEUE_GRACE_MS - 1), []);
    assert!(successor.touch(number, PlayerId(1), 1_000_001 + RETURN_MAX_MS).is_ok());
}

#[test]
fn snapshots_that_no_queue_wrote_are_refused() {
    let waiter = |players: &[u64]| WaiterRecord {
        lane: Lane::Newcomer,
        joined_ms: 0,
        players: players.iter().copied().map(PlayerId).collect(),
    };
    let restore = |next: u64, waiting: &[(u64, WaiterRecord)]| {
        let mut snapshot = Snapshot::default();
        snapshot.turns.next = next;
        snapshot
            .waiting
            .extend(waiting.iter().map(|(number, waiter)| (QueueNumber(*number), waiter.clone())));
        Queue::restore(snapshot, halves(), 0).map(|queue| queue.len())
    };
    assert_eq!(restore(3, &[(1, waiter(&[1])), (2, waiter(&[2, 3]))]), Ok(2));
    assert_eq!(restore(2, &[(2, waiter(&[1]))]), Err(SnapshotError::NotGiven(QueueNumber(2))));
    let empty = SnapshotError::Party(QueueNumber(1), PartyError::Empty);
    assert_eq!(restore(2, &[(1, waiter(&[]))]), Err(empty));
    let twice = restore(3, &[(1, waiter(&[5])), (2, waiter(&[4, 5]))]);
    assert_eq!(twice, Err(SnapshotError::Twice(PlayerId(5))));
}

#[test]
fn the_largest_delta_fits_a_document() {
    let mut queue = Queue::new(halves(), u64::MAX / 2);
    let large = |nth: u64| {
        let players: Vec<PlayerId> =
            (0..PARTY_MAX as u64).map(|at| PlayerId(u64::MAX - nth * PARTY_MAX as u64 - at)).collect();
        population_allocator::queue::Party::new(&players).unwrap()
    };
    let now_ms = u64::MAX / 2;
    let count = CHANGES_PER_DELTA_MAX as u64;
    for nth in 0..2 * count {
        join(&mut queue, Lane::Homecoming, large(nth), now_ms);
    }
    while queue.drain_changes().is_some() {}
    // As many runs as can be, and as many new parties.
    for number in (1..2 * count).step_by(2) {
        queue.cancel(QueueNumber(number), now_ms).unwrap();
    }
    for nth in 2 * count..3 * count {
        join(&mut queue, Lane::Homecoming, large(nth), now_ms);
    }
    let delta = queue.drain_changes().unwrap();
    assert_eq!((delta.put.len() as u64, delta.gone.len() as u64), (count, count));
    assert!(chunk_sync::records::encode(&delta).len() <= DOCUMENT_MAX_BYTES);
    assert_eq!(queue.drain_changes(), None);
}

#[test]
fn players_who_gave_up_and_came_back_wait_once_after_each_single_delta() {
    let players = 5 * CHANGES_PER_DELTA_MAX as u64;
    // Both of each pair leave it; or one of every other pair stays.
    for stays in [u64::MAX, 3] {
        let mut queue = Queue::new(halves(), 0);
        let mut stored = queue.snapshot();
        for first in (0..players).step_by(2) {
            join(&mut queue, Lane::Newcomer, party(first, 2), 0);
        }
        while let Some(delta) = queue.drain_changes() {
            stored.apply(delta);
        }
        let leaving = (0..players).filter(|player| player % 4 != stays);
        for player in leaving.clone() {
            assert!(queue.leave(PlayerId(player), 1));
        }
        // They come back alone, the last first.
        for player in leaving.rev() {
            join(&mut queue, Lane::Homecoming, party(player, 1), 1);
        }
        let mut deltas = 0;
        while let Some(delta) = queue.drain_changes() {
            stored.apply(delta);
            deltas += 1;
            let refused = Queue::restore(stored.clone(), halves(), 2).err();
            assert_eq!(refused, None, "after {deltas} deltas");
        }
        assert!(deltas > 3);
        assert_eq!(stored, queue.snapshot());
    }
}

#[test]
fn the_queue_is_bounded() {
    let mut queue = Queue::new(halves(), 0);
    for player in 0..QUEUE_MAX as u64 {
        join(&mut queue, Lane::Newcomer, party(player, 1), 0);
    }
    let one_more = queue.join(Lane::Homecoming, party(u64::MAX - 1, 1), 0);
    assert_eq!(one_more, Err(QueueRefusal::Full));
    assert!(matches!(queue.join(Lane::Newcomer, party(5, 1), 0), Ok(Joined::Kept(_))));
    queue.serve_next(0, |_, _| true).unwrap();
    assert!(matches!(queue.join(Lane::Homecoming, party(u64::MAX - 1, 1), 0), Ok(Joined::New(_))));
}
