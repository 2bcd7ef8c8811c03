//! How bots walk: never faster than allowed, never twice at one place in a short while (so that an observer can tell
//! which step it sees), never into water when they can help it.
//!
//! Called by the engine once per bot and period. Pure: the land and a seeded random stream are handed in.

use chunk_sync::limits::{QUANTA_PER_CHUNK, QUANTA_PER_M, TICK_HZ};
use chunk_sync::place::Place;
use chunk_sync::random::{RngExt, Stream};
use chunk_sync::terrain::LANDING;
use clap::ValueEnum;

use super::land::Land;

/// What bots do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Behaviour {
    /// Walk off in all directions.
    Roam,
    /// Gather in the landing chunk and mill about there.
    Crowd,
    /// Stand still.
    Still,
    /// Gather, craft, build and trade, each near a camp; at the end, everything that was acknowledged must be there.
    Settle,
}

impl Behaviour {
    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Roam => "roam",
            Self::Crowd => "crowd",
            Self::Still => "still",
            Self::Settle => "settle",
        }
    }
}

/// Distance that a crowd keeps from its chunk's border.
const MARGIN_QUANTA: i32 = QUANTA_PER_M;
/// Rounding may lengthen a step by this much.
const ROUNDING_QUANTA: u32 = 2;
/// Headings tried before a bot stays where it is.
const TURNS_MAX: u8 = 16;
const QUARTER_TURN: u8 = 64;
/// Steps that a settler keeps the way around an obstacle.
const DETOUR_STEPS: u32 = 6;

/// One bot's walk.
#[derive(Debug)]
pub(super) struct Walker {
    behaviour: Behaviour,
    random: Stream,
    heading: u8,
    /// Steps until it turns.
    turns_in: u32,
    /// Longest step.
    reach_quanta: u32,
    /// Where a settler goes.
    goal: Option<Place>,
}

impl Walker {
    pub(super) fn new(behaviour: Behaviour, mut random: Stream) -> Self {
        let heading = random.random();
        Self { behaviour, random, heading, turns_in: 0, reach_quanta: 0, goal: None }
    }

    /// Sets the speed that is allowed, as the node says it.
    pub(super) fn set_speed(&mut self, walk_mm_per_s: u32) {
        let quanta = u64::from(walk_mm_per_s) * QUANTA_PER_M as u64 / (1_000 * TICK_HZ);
        // A step stays below a tile whatever a node says.
        self.reach_quanta = (quanta.min(QUANTA_PER_M as u64) as u32).saturating_sub(ROUNDING_QUANTA);
    }

    /// Look for another way: the last one was refused.
    pub(super) fn turn(&mut self) {
        self.turns_in = 0;
    }

    /// Where a settler goes from now on; `None`: it stands.
    pub(super) fn set_goal(&mut self, goal: Option<Place>) {
        if goal != self.goal {
            (self.goal, self.turns_in) = (goal, 0);
        }
    }

    /// The next step from `from`, and the heading; `None` when it stays. `been` knows the places of the last steps.
    pub(super) fn step(
        &mut self,
        from: Place,
        land: &Land,
        been: impl Fn(Place) -> bool,
    ) -> Option<(Place, u8)> {
        let stands = match self.behaviour {
            Behaviour::Still => true,
            Behaviour::Settle => self.goal.is_none(),
            Behaviour::Roam | Behaviour::Crowd => false,
        };
        if stands || self.reach_quanta < 8 {
            return None;
        }
        self.maybe_turn(from);
        let slowest = if self.behaviour == Behaviour::Crowd {
            self.reach_quanta / 3
        } else {
            self.reach_quanta * 3 / 4
        };
        let length = self.random.random_range(slowest..=self.reach_quanta);
        for turn in 0..TURNS_MAX {
            // 0, 16 left, 16 right, 32 left, …
            let away = turn.div_ceil(2).wrapping_mul(QUARTER_TURN / 4);
            let heading =
                if turn % 2 == 0 { self.heading.wrapping_sub(away) } else { self.heading.wrapping_add(away) };
            let to = ahead(from, heading, length);
            if self.may_stand(from, to) && land.can_walk(from, to) && !been(to) {
                self.heading = heading;
                if self.behaviour == Behaviour::Settle && turn > 0 {
                    // Along the obstacle for a while, instead of into it again.
                    self.turns_in = DETOUR_STEPS;
                }
                return Some((to, heading));
            }
        }
        None
    }

    fn maybe_turn(&mut self, from: Place) {
        if self.turns_in > 0 {
            self.turns_in -= 1;
            return;
        }
        let homewards = self.behaviour == Behaviour::Crowd && !in_crowd(from);
        self.heading = match self.behaviour {
            _ if homewards => towards(from, LANDING.middle()),
            Behaviour::Crowd => self.random.random(),
            Behaviour::Settle => self.goal.map_or(self.heading, |goal| towards(from, goal)),
            // The way off is kept in the main.
            _ => self
                .heading
                .wrapping_add(self.random.random_range(0..QUARTER_TURN))
                .wrapping_sub(QUARTER_TURN / 2),
        };
        self.turns_in = match self.behaviour {
            Behaviour::Settle => 0,
            _ if homewards => 5,
            _ => self.random.random_range(20..100),
        };
    }

    /// A crowd stays together.
    fn may_stand(&self, from: Place, to: Place) -> bool {
        self.behaviour != Behaviour::Crowd || in_crowd(to) || !in_crowd(from)
    }
}

/// Whether the place is in the landing chunk, off its border.
fn in_crowd(place: Place) -> bool {
    let inside = |q: i32, chunk: i16| {
        let low = i32::from(chunk) * QUANTA_PER_CHUNK;
        (low + MARGIN_QUANTA..low + QUANTA_PER_CHUNK - MARGIN_QUANTA).contains(&q)
    };
    inside(place.x, LANDING.x) && inside(place.y, LANDING.y)
}

fn ahead(from: Place, heading: u8, length: u32) -> Place {
    let angle = f32::from(heading) / 256.0 * std::f32::consts::TAU;
    let along = |part: f32| (part * length as f32).round() as i32;
    Place { x: from.x + along(angle.cos()), y: from.y + along(angle.sin()) }
}

fn towards(from: Place, to: Place) -> u8 {
    let angle = ((to.y - from.y) as f32).atan2((to.x - from.x) as f32);
    (angle / std::f32::consts::TAU * 256.0).rem_euclid(256.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use chunk_sync::ids::IslandId;
    use chunk_sync::limits::WALK_MM_PER_S;
    use chunk_sync::random::stream;
    use std::collections::VecDeque;

    /// Walks `steps` steps; checks speed, ground and distinctness on the way.
    fn walked(behaviour: Behaviour, seed: u64, start: Place, steps: usize) -> Vec<Place> {
        let land = Land::new(seed, IslandId(1));
        let mut walker = Walker::new(behaviour, stream(seed, "walk"));
        walker.set_speed(WALK_MM_PER_S);
        let mut trail = VecDeque::from([start]);
        let (mut at, mut all) = (start, vec![start]);
        for _ in 0..steps {
            let Some((to, _)) = walker.step(at, &land, |p| trail.contains(&p)) else { continue };
            let most = i64::from(WALK_MM_PER_S) * i64::from(QUANTA_PER_M) / 10_000;
            assert!(at.distance_squared(to) <= most * most, "seed {seed}: {at:?} to {to:?} is too fast");
            assert!(land.can_walk(at, to) && !trail.contains(&to), "seed {seed}: {to:?}");
            trail.push_back(to);
            if trail.len() > 64 {
                trail.pop_front();
            }
            all.push(to);
            at = to;
        }
        all
    }

    #[test]
    fn a_crowd_stays_in_its_chunk_and_off_its_border() {
        for seed in 0..20 {
            let all = walked(Behaviour::Crowd, seed, LANDING.middle(), 3_000);
            assert_eq!(all.len(), 3_001, "seed {seed}: a crowd always finds a step");
            assert!(all.iter().all(|p| p.chunk() == LANDING && in_crowd(*p)), "seed {seed}");
        }
    }

    #[test]
    fn whoever_is_outside_walks_to_the_crowd() {
        for seed in 0..20 {
            let middle = LANDING.middle();
            let start = Place { x: middle.x + QUANTA_PER_CHUNK * 3 / 4, y: middle.y };
            if !Land::new(seed, IslandId(1)).can_walk(start, start) {
                continue;
            }
            let all = walked(Behaviour::Crowd, seed, start, 600);
            assert!(in_crowd(all[all.len() - 1]), "seed {seed}: {:?}", all.last());
        }
    }

    #[test]
    fn roamers_get_far_and_keep_their_feet_dry() {
        let far = (0..20).filter(|seed| {
            let all = walked(Behaviour::Roam, *seed, LANDING.middle(), 1_200);
            all.iter().any(|p| p.chunk().ring(LANDING) >= 3)
        });
        assert!(far.count() >= 15, "most leave the landing's surroundings in two minutes");
    }

    #[test]
    fn still_is_still_and_a_world_without_speed_too() {
        let land = Land::new(1, IslandId(1));
        let mut still = Walker::new(Behaviour::Still, stream(1, "walk"));
        still.set_speed(WALK_MM_PER_S);
        assert_eq!(still.step(LANDING.middle(), &land, |_| false), None);
        let mut stuck = Walker::new(Behaviour::Roam, stream(1, "walk"));
        stuck.set_speed(0);
        assert_eq!(stuck.step(LANDING.middle(), &land, |_| false), None);
    }

    #[test]
    fn headings_point_where_they_should() {
        let from = Place { x: 100, y: 100 };
        for (to, heading) in [((200, 100), 0), ((100, 200), 64), ((0, 100), 128), ((100, 0), 192)] {
            assert_eq!(towards(from, Place { x: to.0, y: to.1 }), heading);
        }
        assert_eq!(ahead(from, 64, 10), Place { x: 100, y: 110 });
    }
}
