//! Walking by key: a press sets a direction, which goes on for a moment after the key's last repeat, because
//! terminals don't tell when a key is let go. Driven by the game, which sends what comes out. Pure.

use chunk_sync::limits::QUANTA_PER_M;
use chunk_sync::place::Place;

use super::land::Land;
use super::limits::{HOLD_MS, STEP_EVERY_MS, STEP_QUANTA_MAX, TAP_MS};

/// Where a key walks to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    /// Up on the map.
    North,
    /// Right on the map.
    East,
    /// Down on the map.
    South,
    /// Left on the map.
    West,
}

impl Direction {
    /// The heading, 256 steps a turn from the east, counter-clockwise.
    pub(crate) fn heading(self) -> u8 {
        match self {
            Self::East => 0,
            Self::North => 64,
            Self::West => 128,
            Self::South => 192,
        }
    }

    /// The place `quanta` further on.
    fn ahead(self, from: Place, quanta: i32) -> Place {
        let Place { x, y } = from;
        // A server may put the player anywhere, at the edge of the numbers too.
        match self {
            Self::East => Place { x: x.saturating_add(quanta), y },
            Self::North => Place { x, y: y.saturating_add(quanta) },
            Self::West => Place { x: x.saturating_sub(quanta), y },
            Self::South => Place { x, y: y.saturating_sub(quanta) },
        }
    }
}

/// A walk, or a stand.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    going: Option<(Direction, u64)>,
    next_step_ms: u64,
    step_quanta: i32,
}

impl Walk {
    /// A player who stands and may walk at this speed.
    pub(crate) fn at_speed(walk_mm_per_s: u32) -> Self {
        let quanta = u64::from(walk_mm_per_s) * QUANTA_PER_M as u64 * STEP_EVERY_MS / 1_000_000;
        Self { step_quanta: quanta.min(STEP_QUANTA_MAX) as i32, ..Self::default() }
    }

    /// A key was pressed, or repeats.
    pub(crate) fn press(&mut self, direction: Direction, now_ms: u64) {
        let until_ms = match self.going {
            Some((same, until_ms)) if same == direction && now_ms < until_ms => {
                until_ms.max(now_ms + HOLD_MS)
            }
            _ => now_ms + TAP_MS,
        };
        self.going = Some((direction, until_ms));
    }

    /// Stands still.
    pub(crate) fn stop(&mut self) {
        self.going = None;
    }

    /// The step that is due, as place and heading. Who can't go on turns at least.
    pub(crate) fn step(&mut self, from: Place, heading: u8, land: &Land, now_ms: u64) -> Option<(Place, u8)> {
        let (direction, until_ms) = self.going?;
        if now_ms >= until_ms {
            self.stop();
            return None;
        }
        if now_ms < self.next_step_ms {
            return None;
        }
        // In step with the clock while walking; never two steps to make up for a pause.
        let late_ms = now_ms - self.next_step_ms;
        self.next_step_ms = now_ms + STEP_EVERY_MS - if late_ms < STEP_EVERY_MS { late_ms } else { 0 };
        let to = direction.ahead(from, self.step_quanta);
        if to != from && land.can_stand(to) {
            return Some((to, direction.heading()));
        }
        (heading != direction.heading()).then_some((from, direction.heading()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chunk_sync::limits::{TILES_PER_CHUNK, TILES_PER_CHUNK_EDGE, WALK_MM_PER_S};
    use chunk_sync::place::ChunkPos;
    use chunk_sync::terrain::{LANDING, Tile};

    const LOOK_MS: u64 = 15;

    /// Walks with the keys pressed at these times; returns the times and places of the steps.
    fn walk(land: &Land, from: Place, presses: &[(u64, Direction)], until_ms: u64) -> Vec<(u64, Place)> {
        let mut walk = Walk::at_speed(WALK_MM_PER_S);
        let (mut place, mut heading, mut steps) = (from, 0, Vec::new());
        for now_ms in (0..until_ms).step_by(LOOK_MS as usize).map(|ms| 10_000 + ms) {
            for (at_ms, direction) in presses {
                if (now_ms - LOOK_MS + 1..=now_ms).contains(&(10_000 + at_ms)) {
                    walk.press(*direction, now_ms);
                }
            }
            if let Some(step) = walk.step(place, heading, land, now_ms) {
                (place, heading) = step;
                steps.push((now_ms - 10_000, place));
            }
        }
        steps
    }

    #[test]
    fn a_tap_walks_one_tile_at_once_and_stops() {
        let start = LANDING.middle();
        let steps = walk(&Land::default(), start, &[(0, Direction::East)], 3_000);
        assert_eq!(steps.len(), 4);
        assert_eq!(steps[0].0, 0, "the marker moves at once");
        assert_eq!(steps[3].1, Place { x: start.x + 2 * QUANTA_PER_M, y: start.y });
    }

    #[test]
    fn a_held_key_walks_on_at_walking_speed_until_its_repeats_end() {
        let presses: Vec<_> =
            std::iter::once(0).chain((390..4_000).step_by(33)).map(|ms| (ms, Direction::North)).collect();
        let start = LANDING.middle();
        let steps = walk(&Land::default(), start, &presses, 8_000);
        let (last_ms, last) = steps[steps.len() - 1];
        assert!((4_150..=4_000 + HOLD_MS).contains(&last_ms), "{last_ms}");
        let metres = f64::from(last.y - start.y) / f64::from(QUANTA_PER_M);
        let walked_s = (last_ms + STEP_EVERY_MS) as f64 / 1_000.0;
        assert!((metres / walked_s - 5.0).abs() < 0.1, "{metres} m in {walked_s} s");
        assert_eq!(last.x, start.x);
    }

    #[test]
    fn no_step_is_made_up_for_after_a_pause() {
        let mut walk = Walk::at_speed(WALK_MM_PER_S);
        let (land, start) = (Land::default(), LANDING.middle());
        walk.press(Direction::West, 10_000);
        assert!(walk.step(start, 0, &land, 10_000).is_some());
        assert!(walk.step(start, 0, &land, 10_350).is_some());
        assert!(walk.step(start, 0, &land, 10_360).is_none());
    }

    #[test]
    fn water_stops_and_turns() {
        let mut tiles = [Tile::Grass; TILES_PER_CHUNK];
        tiles[8 * TILES_PER_CHUNK_EDGE + 10] = Tile::Water;
        let mut land = Land::default();
        land.learn(LANDING, Box::new(tiles));
        let start = LANDING.middle();
        let presses: Vec<_> = (0..20).map(|n| (n * 100, Direction::East)).collect();
        let steps = walk(&land, start, &presses, 3_000);
        let shore_m = 2 * 2;
        let last = steps[steps.len() - 1].1;
        assert!((1..=QUANTA_PER_M / 2).contains(&(start.x + shore_m * QUANTA_PER_M - last.x)), "{last:?}");

        let mut walk = Walk::at_speed(WALK_MM_PER_S);
        walk.press(Direction::East, 20_000);
        assert_eq!(walk.step(last, 64, &land, 20_000), Some((last, 0)), "who can't go on turns");
        assert_eq!(walk.step(last, 0, &land, 20_100), None);
    }

    #[test]
    fn absurd_speeds_and_places_do_no_harm() {
        let mut walk = Walk::at_speed(u32::MAX);
        for at in [Place { x: i32::MAX, y: i32::MIN }, ChunkPos::new(0, 0).middle()] {
            for direction in [Direction::North, Direction::East, Direction::South, Direction::West] {
                walk.press(direction, 50_000);
                walk.next_step_ms = 0;
                let _ = walk.step(at, 1, &Land::default(), 50_000);
            }
        }
        assert!(walk.step_quanta < 2 * QUANTA_PER_M);
        let mut still = Walk::at_speed(0);
        still.press(Direction::East, 0);
        assert_eq!(still.step(LANDING.middle(), 0, &Land::default(), 0), None);
    }
}
