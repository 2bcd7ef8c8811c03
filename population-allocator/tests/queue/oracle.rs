//! Random operations, on the queue and on the naive one: the same order, the same places, and the same again by a
//! successor that begins from what was stored at any moment.

use super::naive::Naive;
use chunk_sync::ids::PlayerId;
use chunk_sync::random::{RngExt, Stream, stream};
use population_allocator::limits::{PARTY_MAX, QUEUE_GRACE_MS};
use population_allocator::queue::{
    Joined, Lane, LaneShares, Party, Place, Queue, QueueNumber, QueueRefusal, Snapshot,
};

const SEEDS: u64 = 1_500;
const STEPS: u32 = 300;
const PLAYERS: u64 = 60;
const SHARES: [(u32, u32); 5] = [(3, 1), (1, 0), (1, 1), (2, 5), (0, 1)];

struct Run {
    draw: Stream,
    shares: LaneShares,
    queue: Queue,
    naive: Naive,
    /// What the store would have.
    stored: Snapshot,
    now_ms: u64,
    largest: usize,
    /// In some there is room for few at once: large parties are passed until their lane is held.
    room: usize,
    /// Steps after which a lane was held.
    held: u32,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut draw = stream(seed, "operations");
        let (homecoming, newcomers) = SHARES[draw.random_range(0..SHARES.len())];
        let shares = LaneShares::new(homecoming, newcomers).unwrap();
        // Some queues have no parties: there, what is said of positions is exact.
        let largest = if draw.random_bool(0.4) { 1 } else { PARTY_MAX };
        let room = if draw.random_bool(0.5) { PARTY_MAX } else { 2 };
        let queue = Queue::new(shares, 1_000);
        let naive = Naive::new(homecoming, newcomers);
        Self { draw, shares, stored: queue.snapshot(), queue, naive, now_ms: 1_000, largest, room, held: 0 }
    }

    fn step(&mut self) {
        self.now_ms += self.draw.random_range(0..2_000);
        let calm = self.room < PARTY_MAX && self.draw.random_bool(0.7);
        match self.draw.random_range(0..100) {
            // Where large parties are passed for long, they must not be gone before a hold begins.
            70..88 if calm => self.serve(),
            0..45 => self.join(),
            45..60 => self.serve(),
            60..70 => self.touch(),
            70..78 => self.cancel(),
            78..84 => self.leave(),
            84..88 => self.expire(),
            88..92 => self.change_places_with_a_successor(),
            92..97 => self.store(usize::MAX),
            _ => self.look(),
        }
        self.queue.invariants();
        self.held += u32::from(Lane::ALL.into_iter().any(|lane| self.queue.held_for(lane).is_some()));
        assert_eq!(self.queue.len(), self.naive.waiting.len());
    }

    fn player(&mut self) -> PlayerId {
        PlayerId(self.draw.random_range(1..=PLAYERS))
    }

    fn number(&mut self) -> Option<QueueNumber> {
        let waiting = self.naive.waiting.len();
        (waiting > 0).then(|| QueueNumber(self.naive.waiting[self.draw.random_range(0..waiting)].number))
    }

    fn join(&mut self) {
        let lane = if self.draw.random_bool(0.4) { Lane::Homecoming } else { Lane::Newcomer };
        let size = if self.draw.random_bool(0.7) { 1 } else { self.draw.random_range(1..=self.largest) };
        let players: Vec<PlayerId> = (0..size).map(|_| self.player()).collect();
        let Ok(party) = Party::new(&players) else { return };
        let wait: Vec<Option<u64>> =
            players.iter().map(|player| Some(self.naive.of(*player)?.number)).collect();
        match self.queue.join(lane, party, self.now_ms) {
            Ok(Joined::New(place)) => {
                assert!(wait.iter().all(Option::is_none));
                assert_eq!(place.number.0, self.naive.join(lane, players));
                assert_eq!(place.lane, lane);
                self.kept(place);
            }
            Ok(Joined::Kept(place)) => {
                assert!(wait.iter().all(|number| *number == Some(place.number.0)));
                self.kept(place);
            }
            Err(refusal) => {
                let waits = |(player, number): (&PlayerId, &Option<u64>)| {
                    number.map(|number| QueueRefusal::Waits(*player, QueueNumber(number)))
                };
                assert_eq!(Some(refusal), players.iter().zip(&wait).find_map(waits));
                assert!(wait.iter().any(|number| *number != wait[0]));
            }
        }
    }

    fn kept(&mut self, place: Place) {
        let mut waiting = self.naive.waiting.iter_mut();
        let entry = waiting.find(|entry| entry.number == place.number.0).unwrap();
        entry.due_ms = self.now_ms + place.return_after_ms + QUEUE_GRACE_MS;
    }

    fn serve(&mut self) {
        for _ in 0..self.draw.random_range(1..6) {
            let room = [self.draw.random_range(0..=self.room), self.draw.random_range(0..=self.room)];
            let served = self.queue.serve_next(self.now_ms, |lane, players| players <= room[lane.index()]);
            let expected = self.naive.serve(room, self.now_ms);
            assert_eq!(
                served.map(|served| (served.number.0, served.lane, served.party.players().collect())),
                expected.map(|entry| (entry.number, entry.lane, entry.players))
            );
        }
    }

    fn touch(&mut self) {
        let player = self.player();
        let Some(number) = self.number() else { return };
        let own = self.naive.of(player).is_some_and(|entry| entry.number == number.0);
        match self.queue.touch(number, player, self.now_ms) {
            Ok(place) => {
                assert!(own && place.number == number);
                self.kept(place);
            }
            Err(refusal) => assert!(!own && refusal == QueueRefusal::NoPlace(number)),
        }
    }

    fn cancel(&mut self) {
        let Some(number) = self.number() else { return };
        let party = self.queue.cancel(number, self.now_ms).unwrap();
        let players: Vec<PlayerId> = party.players().collect();
        assert_eq!(self.naive.remove(number.0).unwrap().players, players);
        assert_eq!(self.queue.cancel(number, self.now_ms), None);
    }

    fn leave(&mut self) {
        let player = self.player();
        assert_eq!(self.queue.leave(player, self.now_ms), self.naive.leave(player));
        assert_eq!(self.queue.number_of(player), None);
    }

    fn expire(&mut self) {
        if self.draw.random_bool(0.3) {
            self.now_ms += self.draw.random_range(0..2 * QUEUE_GRACE_MS);
        }
        let expired: Vec<u64> = self.queue.expire(self.now_ms).into_iter().map(|number| number.0).collect();
        assert_eq!(expired, self.naive.expire(self.now_ms));
    }

    /// Up to `max` deltas reach the store.
    fn store(&mut self, max: usize) {
        for _ in 0..max {
            let Some(delta) = self.queue.drain_changes() else { break };
            let delta = serde_json::to_string(&delta).unwrap();
            self.stored.apply(serde_json::from_str(&delta).unwrap());
        }
    }

    fn change_places_with_a_successor(&mut self) {
        self.store(usize::MAX);
        let whole = self.queue.snapshot();
        assert_eq!(self.stored.waiting, whole.waiting);
        assert_eq!(self.stored.turns.next, whole.turns.next);
        assert_eq!(self.stored.turns.counts, *self.queue.counts());
        self.queue = Queue::restore(self.stored.clone(), self.shares, self.now_ms).unwrap();
        self.naive.restored(self.now_ms);
    }

    fn look(&mut self) {
        let Some(number) = self.number() else { return };
        let place = self.queue.place(number).unwrap();
        assert_eq!(place.position.in_lane, self.naive.in_lane(number.0));
        let (said, ahead) = (place.position.ahead, self.naive.ahead(number.0));
        let more = if self.largest == 1 { 0 } else { PARTY_MAX as u64 - 1 };
        assert!((said..=said + more).contains(&ahead), "{place:?}: {ahead} in fact");
        assert!(place.position.at_most.is_none_or(|at_most| ahead <= at_most), "{place:?}: {ahead} in fact");
    }
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let alone = number("ATOLL_SEED");
    alone.map_or(0..number("ATOLL_SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1)
}

#[test]
fn the_queue_is_the_naive_queue_and_a_successor_goes_on_as_it_was() {
    let mut held = 0;
    for seed in seeds() {
        let run = std::panic::catch_unwind(|| {
            let mut run = Run::new(seed);
            (0..STEPS).for_each(|_| run.step());
            run.held
        });
        match run {
            Ok(steps) => held += u64::from(steps > 0),
            Err(_) => panic!("failed with seed {seed}; run it alone with ATOLL_SEED={seed}"),
        }
    }
    println!("a lane was held in {held} runs");
    assert!(held > 0 || seeds().count() < 1_000, "no lane was ever held: that was not compared");
}

/// Whatever was stored last: who was in it keeps number and order, whoever was not is the only one to lose anything.
#[test]
fn an_allocator_that_dies_between_two_deltas_costs_nobody_a_stored_place() {
    for seed in 0..40 {
        let mut draw = stream(seed, "death");
        let mut queue = Queue::new(LaneShares::default(), 0);
        let mut stored = queue.snapshot();
        for player in 1..=3_000 {
            let lane = if player % 3 == 0 { Lane::Homecoming } else { Lane::Newcomer };
            queue.join(lane, Party::alone(PlayerId(player)), player).unwrap();
            if draw.random_bool(0.3) {
                queue.serve_next(player, |_, _| true);
            }
            if draw.random_bool(0.2) {
                queue.leave(PlayerId(draw.random_range(1..=player)), player);
            }
            if draw.random_bool(0.001) {
                queue.drain_changes().into_iter().for_each(|delta| stored.apply(delta));
            }
        }
        let kept: Vec<QueueNumber> = stored.waiting.keys().copied().collect();
        let successor = Queue::restore(stored.clone(), LaneShares::default(), 10_000).unwrap();
        successor.invariants();
        assert_eq!(successor.snapshot().waiting, stored.waiting, "seed {seed}");
        for number in kept {
            let place = successor.place(number).unwrap();
            let waited = queue.place(number).map(|place| place.lane);
            assert!(waited.is_none_or(|lane| lane == place.lane), "seed {seed}");
        }
        // Everything that is left reaches the store in as many deltas as it takes.
        while let Some(delta) = queue.drain_changes() {
            stored.apply(delta);
        }
        assert_eq!(stored, queue.snapshot(), "seed {seed}");
    }
}
