//! How true the ETA is, in crowds that come, leave and are admitted at steady rates, by chance.

use super::{join, party};
use chunk_sync::ids::PlayerId;
use chunk_sync::random::{RngExt, Stream, stream};
use population_allocator::queue::{Eta, Lane, LaneShares, Queue, QueueNumber};
use std::collections::BTreeMap;

const SEEDS: u64 = 24;
const STEP_MS: u64 = 100;
/// Steps before the first ETA is compared.
const WARM_UP: u64 = 600;
const STEPS: u64 = 3_000;
/// Who has at least this long to wait counts.
const LEFT_MS: u64 = 30_000;

struct Crowd {
    draw: Stream,
    queue: Queue,
    now_ms: u64,
    waiting: Vec<PlayerId>,
    players: u64,
    admitted_per_step: f64,
    /// Seats come by chance, or evenly.
    by_chance: bool,
    /// Part of those who wait that gives up in a step.
    giving_up: f64,
    owed: f64,
    /// What was said to whom, and when.
    said: BTreeMap<QueueNumber, Vec<(u64, Eta)>>,
    /// Each ETA with how long it took in fact.
    true_of: Vec<(u64, Eta)>,
}

impl Crowd {
    fn new(seed: u64) -> Self {
        let mut draw = stream(seed, "crowd");
        let shares = LaneShares::new(draw.random_range(1..=3), draw.random_range(1..=3)).unwrap();
        let mut crowd = Crowd {
            queue: Queue::new(shares, 0),
            now_ms: 0,
            waiting: Vec::new(),
            players: 0,
            admitted_per_step: draw.random_range(0.5..10.0),
            by_chance: draw.random_bool(0.7),
            giving_up: if draw.random_bool(0.5) { draw.random_range(0.0..0.0002) } else { 0.0 },
            owed: 0.0,
            said: BTreeMap::new(),
            true_of: Vec::new(),
            draw,
        };
        let first = (crowd.admitted_per_step * crowd.draw.random_range(500.0..3_000.0)) as u64;
        (0..first).for_each(|_| crowd.come());
        crowd
    }

    /// How often something happens that does so `mean` times on average.
    fn times(&mut self, mean: f64) -> u64 {
        let (mut product, end, mut times) = (self.draw.random::<f64>(), (-mean).exp(), 0);
        while product > end {
            product *= self.draw.random::<f64>();
            times += 1;
        }
        times
    }

    fn come(&mut self) {
        let lane = if self.draw.random_bool(0.4) { Lane::Homecoming } else { Lane::Newcomer };
        self.players += 1;
        join(&mut self.queue, lane, party(self.players, 1), self.now_ms);
        self.waiting.push(PlayerId(self.players));
    }

    fn step(&mut self, nth: u64) {
        self.now_ms += STEP_MS;
        for _ in 0..self.times(self.admitted_per_step) {
            self.come();
        }
        for _ in 0..self.times(self.giving_up * self.waiting.len() as f64) {
            let at = self.draw.random_range(0..self.waiting.len());
            let player = self.waiting.swap_remove(at);
            self.queue.leave(player, self.now_ms);
        }
        self.owed += match self.by_chance {
            true => self.times(self.admitted_per_step) as f64,
            false => self.admitted_per_step,
        };
        while self.owed >= 1.0 {
            self.owed -= 1.0;
            let Some(served) = self.queue.serve_next(self.now_ms, |_, _| true) else { continue };
            for (said_ms, eta) in self.said.remove(&served.number).unwrap_or_default() {
                self.true_of.push((self.now_ms - said_ms, eta));
            }
        }
        let (queue, waiting) = (&self.queue, &mut self.waiting);
        if nth.is_multiple_of(50) {
            waiting.retain(|player| queue.number_of(*player).is_some());
        }
        if nth >= WARM_UP && !waiting.is_empty() {
            let player = waiting[self.draw.random_range(0..waiting.len())];
            let number = queue.number_of(player);
            let place = number.and_then(|number| queue.place(number));
            if let Some((number, eta)) = place.and_then(|place| Some((place.number, place.eta?))) {
                self.said.entry(number).or_default().push((self.now_ms, eta));
            }
        }
    }
}

#[test]
fn at_steady_rates_the_eta_is_right_and_its_bounds_hold() {
    let (mut held, mut all, mut worst) = (0, 0, 0.0f64);
    for seed in 0..SEEDS {
        let mut crowd = Crowd::new(seed);
        (0..STEPS).for_each(|nth| crowd.step(nth));
        crowd.queue.invariants();
        let told = crowd.true_of.iter().filter(|(took_ms, _)| *took_ms >= LEFT_MS);
        let mut errors: Vec<f64> =
            told.clone().map(|(took, eta)| eta.eta_ms.abs_diff(*took) as f64 / *took as f64).collect();
        assert!(errors.len() > 300, "seed {seed}: {} told", errors.len());
        errors.sort_by(f64::total_cmp);
        let median = errors[errors.len() / 2];
        assert!(median <= 0.20, "seed {seed}: half of the ETAs are off by {median}");
        worst = worst.max(median);
        held += told.clone().filter(|(took, eta)| (eta.low_ms..=eta.high_ms).contains(took)).count();
        all += errors.len();
    }
    println!("half of the ETAs are off by at most {worst:.3} in each crowd; {held} of {all} bounds held");
    assert!(held * 100 >= all * 90, "{held} of {all} were admitted within their bounds");
}

/// A lane that moves only while the other one leaves it something: its own rate is what counts.
#[test]
fn a_lane_that_isnt_served_has_no_eta() {
    let mut queue = Queue::new(LaneShares::RESIDENTS_FIRST, 0);
    for player in 1..=10_000 {
        let lane = if player % 2 == 0 { Lane::Homecoming } else { Lane::Newcomer };
        join(&mut queue, lane, party(player, 1), 0);
    }
    for now_ms in (0..30_000).step_by(100) {
        queue.serve_next(now_ms, |_, _| true).unwrap();
    }
    assert_eq!(queue.place(QueueNumber(9_999)).unwrap().eta, None);
    let eta = queue.place(QueueNumber(10_000)).unwrap().eta.unwrap();
    // 4,700 before it, ten a second.
    assert!((440_000..500_000).contains(&eta.eta_ms), "{eta:?}");
}
