//! Interest as a value: which chunks somebody sees, each at which rate, and what changes when they move.

use crate::limits::{FAR_RING, NEAR_RING, QUANTA_PER_M, TETHER_M};
use crate::place::{ChunkPos, Place};
use serde::{Deserialize, Serialize};

/// How often a stream sends: every so many ticks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Rate {
    /// Every tick.
    R1 = 0,
    /// Every 2 ticks.
    R2 = 1,
    /// Every 4 ticks.
    R4 = 2,
    /// Every 8 ticks.
    R8 = 3,
}

impl Rate {
    /// All rates, fastest first.
    pub const ALL: [Rate; 4] = [Rate::R1, Rate::R2, Rate::R4, Rate::R8];

    /// Ticks between two frames.
    pub fn ticks(self) -> u64 {
        1 << self as u8
    }

    /// The rate with this number (0 to 3).
    pub fn from_index(index: u8) -> Option<Rate> {
        Self::ALL.get(usize::from(index)).copied()
    }
}

/// What somebody sees: the chunks around a centre, near ones at every tick, far ones at a slower rate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Interest {
    /// The chunk in the middle.
    pub centre: ChunkPos,
}

/// What happened to one chunk of a view.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Newly seen, at this rate.
    Enter(ChunkPos, Rate),
    /// Seen as before.
    Stay(ChunkPos, Rate),
    /// Still seen, at another rate.
    Retune(ChunkPos, Rate),
    /// No longer seen.
    Leave(ChunkPos),
}

impl Interest {
    /// The view of somebody who stands at `place`.
    pub fn at(place: Place) -> Self {
        Self { centre: place.chunk() }
    }

    /// The view after a step to `place`. It stays where it was until the place is further than the tether outside
    /// the centre chunk, so that walking along a border does not flap.
    #[must_use]
    pub fn follow(self, place: Place) -> Self {
        if place.outside(self.centre) > TETHER_M as i32 * QUANTA_PER_M { Self::at(place) } else { self }
    }

    /// The rate at which `chunk` is seen, if it is.
    pub fn rate(self, chunk: ChunkPos) -> Option<Rate> {
        match self.centre.ring(chunk) {
            ring if ring <= NEAR_RING => Some(Rate::R1),
            ring if ring <= FAR_RING => Some(Rate::R4),
            _ => None,
        }
    }

    /// The chunks of the island that are seen, row by row, with their rates.
    pub fn chunks(self) -> impl Iterator<Item = (ChunkPos, Rate)> {
        self.centre.around(FAR_RING).filter_map(move |chunk| Some((chunk, self.rate(chunk)?)))
    }

    /// What changes from `before` to this view: every chunk of either view exactly once, what is left last.
    pub fn diff(self, before: Option<Interest>) -> impl Iterator<Item = Change> {
        let now = self.chunks().map(move |(chunk, rate)| match before.and_then(|b| b.rate(chunk)) {
            None => Change::Enter(chunk, rate),
            Some(old) if old == rate => Change::Stay(chunk, rate),
            Some(_) => Change::Retune(chunk, rate),
        });
        let gone = before
            .into_iter()
            .flat_map(|b| b.chunks())
            .filter(move |(chunk, _)| self.rate(*chunk).is_none())
            .map(|(chunk, _)| Change::Leave(chunk));
        now.chain(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn diff_leads_from_one_view_to_the_other(ax in 0i16..16, ay in 0i16..16, bx in 0i16..16, by in 0i16..16) {
            let (a, b) = (Interest { centre: ChunkPos::new(ax, ay) }, Interest { centre: ChunkPos::new(bx, by) });
            let mut view: BTreeMap<_, _> = a.chunks().collect();
            for change in b.diff(Some(a)) {
                match change {
                    Change::Enter(c, r) => prop_assert!(view.insert(c, r).is_none()),
                    Change::Stay(c, r) => prop_assert_eq!(view.get(&c), Some(&r)),
                    Change::Retune(c, r) => prop_assert_ne!(view.insert(c, r), Some(r)),
                    Change::Leave(c) => prop_assert!(view.remove(&c).is_some()),
                }
            }
            prop_assert_eq!(view, b.chunks().collect());
        }
    }

    #[test]
    fn near_is_three_by_three_and_far_five_by_five() {
        let view = Interest { centre: ChunkPos::new(8, 8) };
        assert_eq!(view.chunks().filter(|(_, r)| *r == Rate::R1).count(), 9);
        assert_eq!(view.chunks().filter(|(_, r)| *r == Rate::R4).count(), 16);
    }

    #[test]
    fn the_tether_holds_until_eight_metres_outside() {
        let view = Interest { centre: ChunkPos::new(1, 1) };
        assert_eq!(view.follow(Place::from_m(71.9, 40.0)).centre, ChunkPos::new(1, 1));
        assert_eq!(view.follow(Place::from_m(72.1, 40.0)).centre, ChunkPos::new(2, 1));
    }
}
