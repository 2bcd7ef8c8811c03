//! Stamina: what acts cost, computed from its value at a tick; nobody writes while it comes back.

use super::limits::{STAMINA_MAX, STAMINA_REGEN_TICKS};
use chunk_sync::time::Tick;
use serde::{Deserialize, Serialize};

/// A player's stamina, as it was at a tick.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stamina {
    /// Points at that tick.
    pub value: u32,
    /// The tick.
    pub at: Tick,
}

impl Stamina {
    /// A rested player's.
    pub const RESTED: Stamina = Stamina { value: STAMINA_MAX, at: Tick(0) };

    /// Points at `now`. A tick before the last change (two nodes' clocks differ) gives none back and takes none.
    pub fn now(self, now: Tick) -> u32 {
        let gained = now.since(self.at) / STAMINA_REGEN_TICKS;
        u64::from(self.value).saturating_add(gained).min(u64::from(STAMINA_MAX)) as u32
    }

    /// The same stamina, told as of the last whole point before `now`, so that no begun point is lost.
    fn settled(self, now: Tick) -> Self {
        let value = self.now(now);
        let at = if value == STAMINA_MAX {
            now.max(self.at)
        } else {
            Tick(self.at.0 + u64::from(value - self.value) * STAMINA_REGEN_TICKS)
        };
        Self { value, at }
    }

    /// What is left after `cost` was spent at `now`, or `None` if there is not enough.
    pub fn spend(self, cost: u32, now: Tick) -> Option<Self> {
        let settled = self.settled(now);
        Some(Self { value: settled.value.checked_sub(cost)?, ..settled })
    }

    /// With `points` given back at `now`, never above the maximum.
    pub fn give_back(self, points: u32, now: Tick) -> Self {
        let settled = self.settled(now);
        Self { value: settled.value.saturating_add(points).min(STAMINA_MAX), ..settled }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn begun_points_are_kept_over_many_small_acts() {
        let mut stamina = Stamina { value: 50, at: Tick(0) };
        for tick in 1..=STAMINA_REGEN_TICKS * 20 {
            stamina = stamina.spend(0, Tick(tick)).unwrap();
        }
        assert_eq!(stamina.now(Tick(STAMINA_REGEN_TICKS * 20)), 70);
    }

    proptest! {
        #[test]
        fn it_never_leaves_its_range_whatever_the_clock_does(
            steps in proptest::collection::vec((0u64..5_000, 0u32..150, any::<bool>()), 1..50),
        ) {
            let mut stamina = Stamina::RESTED;
            for (tick, points, back) in steps {
                let before = stamina.now(Tick(tick));
                if back {
                    stamina = stamina.give_back(points, Tick(tick));
                    prop_assert_eq!(stamina.now(Tick(tick)), (before + points).min(STAMINA_MAX));
                } else if let Some(spent) = stamina.spend(points, Tick(tick)) {
                    prop_assert_eq!(spent.now(Tick(tick)), before - points);
                    stamina = spent;
                } else {
                    prop_assert!(points > before);
                }
                prop_assert!(stamina.now(Tick(u64::MAX)) <= STAMINA_MAX);
            }
        }
    }
}
