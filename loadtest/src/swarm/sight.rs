//! What bots see, and how long after it was meant to happen: the swarm's eyes and its latency measurement.
//!
//! Every bot leaves a trail of (place, intended time); when an observer sees an entity at a place of its bot's trail,
//! the difference is one latency. Called by the engine for every frame; it never reads a clock itself.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use chunk_sync::blocks::EntityKind;
use chunk_sync::client::{Documents, Moved, Replica, ReplicaError, Skim, View};
use chunk_sync::ids::{EntityId, PlayerId};
use chunk_sync::place::Place;
use chunk_sync::wire::{Docs, TickHeader, Welcome};
use hdrhistogram::Histogram;

use super::limits::{LATENCY_US_MAX, TRAIL_STEPS};

/// The last steps of a bot.
#[derive(Debug, Clone)]
struct Trail {
    places: [Place; TRAIL_STEPS],
    intended: [Duration; TRAIL_STEPS],
    steps: usize,
}

impl Trail {
    fn new() -> Self {
        Self { places: [Place::default(); TRAIL_STEPS], intended: [Duration::ZERO; TRAIL_STEPS], steps: 0 }
    }

    fn push(&mut self, place: Place, intended: Duration) {
        let at = self.steps % TRAIL_STEPS;
        (self.places[at], self.intended[at]) = (place, intended);
        self.steps += 1;
    }

    /// When the step to `place` was meant to be sent; the newest such step counts.
    fn intended(&self, place: Place) -> Option<Duration> {
        let oldest = self.steps.saturating_sub(TRAIL_STEPS);
        let newest_first = (oldest..self.steps).rev().map(|step| step % TRAIL_STEPS);
        newest_first.into_iter().find(|at| self.places[*at] == place).map(|at| self.intended[at])
    }
}

/// Hashes ids of the cluster's own making: spread enough, and looked up for every update.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        // Fibonacci hashing; the table looks at the top and the bottom bits.
        let mixed = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }
}

/// Latencies in µs: 1 µs to a minute, three digits.
pub(super) fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("1 < 60,000,000 and 3 digits are valid")
}

/// What the swarm knows about who is where, and how soon that is seen.
pub(super) struct Sight {
    trails: Vec<Trail>,
    bots: HashMap<u64, u32, BuildHasherDefault<IdHasher>>,
    /// Of entities in the near rings, since the window began.
    pub(super) near: Histogram<u64>,
    /// Of entities further away, which are sent at slower rates.
    pub(super) far: Histogram<u64>,
    /// Near ones since the last line of progress.
    pub(super) lately: Histogram<u64>,
    /// Moves of bots that no trail knows: put back, or older than a trail is long.
    pub(super) unmatched: u64,
}

impl Sight {
    pub(super) fn new(bots: usize) -> Self {
        Self {
            trails: vec![Trail::new(); bots],
            bots: HashMap::default(),
            near: latencies(),
            far: latencies(),
            lately: latencies(),
            unmatched: 0,
        }
    }

    /// A bot learned its number.
    pub(super) fn entered(&mut self, bot: usize, player: PlayerId) {
        self.bots.insert(EntityId::from(player).0, bot as u32);
    }

    /// A bot sends a step.
    pub(super) fn stepped(&mut self, bot: usize, place: Place, intended: Duration) {
        self.trails[bot].push(place, intended);
    }

    /// Whether a bot was at a place a short while ago.
    pub(super) fn been(&self, bot: usize, place: Place) -> bool {
        self.trails[bot].intended(place).is_some()
    }

    /// Forgets what was measured so far.
    pub(super) fn begin_window(&mut self) {
        self.near.reset();
        self.far.reset();
        self.unmatched = 0;
    }

    fn saw(&mut self, moved: &Moved, now: Duration) {
        // A keyframe that opens a stream tells where somebody is, not when that became known.
        if moved.kind != EntityKind::Player || !moved.in_step {
            return;
        }
        let Some(bot) = self.bots.get(&moved.entity.0) else { return };
        let Some(intended) = self.trails[*bot as usize].intended(moved.place) else {
            self.unmatched += 1;
            return;
        };
        let us = now.saturating_sub(intended).as_micros().min(u128::from(LATENCY_US_MAX)) as u64;
        if moved.near {
            self.near.saturating_record(us);
            self.lately.saturating_record(us);
        } else {
            self.far.saturating_record(us);
        }
    }
}

/// How closely a bot looks.
pub(super) enum Eyes {
    /// Decodes everything.
    Observer(Box<Replica>),
    /// Checks and counts.
    Reader(Box<Skim>),
    /// Reads nothing once it is in.
    Closed,
}

impl Eyes {
    /// Updates that were received so far.
    pub(super) fn updates(&self) -> u64 {
        match self {
            Eyes::Observer(replica) => replica.updates(),
            Eyes::Reader(skim) => skim.updates(),
            Eyes::Closed => 0,
        }
    }

    /// How many other players are seen; `None` for those who don't look.
    pub(super) fn others(&self, own: PlayerId) -> Option<usize> {
        match self {
            Eyes::Observer(replica) => {
                let others =
                    replica.entities().filter(|e| e.kind == EntityKind::Player && e.id != own.into());
                Some(others.count())
            }
            Eyes::Reader(skim) => Some(skim.others(own)),
            Eyes::Closed => None,
        }
    }
}

/// A bot that looks at what came at `now`.
pub(super) struct Looking<'a> {
    pub(super) eyes: &'a mut Eyes,
    pub(super) documents: Option<&'a mut Documents>,
    pub(super) sight: &'a mut Sight,
    pub(super) now: Duration,
}

impl View for Looking<'_> {
    fn begin(&mut self, welcome: &Welcome) {
        match self.eyes {
            Eyes::Observer(replica) => replica.begin(welcome),
            Eyes::Reader(skim) => skim.begin(welcome),
            Eyes::Closed => {}
        }
        if let Some(documents) = &mut self.documents {
            documents.begin(welcome);
        }
    }

    fn docs(&mut self, docs: Docs) -> Result<(), ReplicaError> {
        self.documents.as_mut().map_or(Ok(()), |documents| documents.take(docs))
    }

    fn frame(&mut self, header: &TickHeader, blocks: &[u8]) -> Result<(), ReplicaError> {
        if let Some(documents) = &mut self.documents {
            documents.follow(header);
        }
        match self.eyes {
            Eyes::Observer(replica) => {
                let (sight, now) = (&mut *self.sight, self.now);
                replica.apply(header, blocks, |moved| sight.saw(&moved, now))
            }
            Eyes::Reader(skim) => skim.frame(header, blocks),
            Eyes::Closed => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(entity: u64, place: Place) -> Moved {
        Moved {
            entity: EntityId(entity),
            kind: EntityKind::Player,
            place,
            heading: 0,
            near: true,
            in_step: true,
        }
    }

    #[test]
    fn latency_counts_from_the_intended_time_of_the_step_that_is_seen() {
        let mut sight = Sight::new(2);
        sight.entered(1, PlayerId(77));
        let (a, b) = (Place { x: 1, y: 1 }, Place { x: 2, y: 1 });
        sight.stepped(1, a, Duration::from_millis(100));
        sight.stepped(1, b, Duration::from_millis(200));
        sight.saw(&moved(77, a), Duration::from_millis(250));
        assert!((149_900..=150_100).contains(&sight.near.max()), "{}", sight.near.max());
        sight.saw(&Moved { near: false, ..moved(77, b) }, Duration::from_millis(250));
        assert!((49_900..=50_100).contains(&sight.far.max()));
        // Strangers, creatures and keyframes that open a stream say nothing about latency.
        sight.saw(&moved(78, b), Duration::from_millis(250));
        sight.saw(&Moved { kind: EntityKind::Creature, ..moved(77, b) }, Duration::from_millis(250));
        sight.saw(&Moved { in_step: false, ..moved(77, b) }, Duration::from_millis(250));
        assert_eq!((sight.near.len(), sight.far.len(), sight.unmatched), (1, 1, 0));
        sight.saw(&moved(77, Place { x: 9, y: 9 }), Duration::from_millis(250));
        assert_eq!(sight.unmatched, 1);
    }

    #[test]
    fn trails_forget_the_oldest_steps() {
        let mut sight = Sight::new(1);
        let place = |n: usize| Place { x: n as i32, y: 0 };
        for n in 0..=TRAIL_STEPS {
            sight.stepped(0, place(n), Duration::from_millis(n as u64));
        }
        assert!(!sight.been(0, place(0)) && sight.been(0, place(1)) && sight.been(0, place(TRAIL_STEPS)));
        assert!(!Sight::new(1).been(0, Place::default()), "an empty trail knows no place");
    }
}
