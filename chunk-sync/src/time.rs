//! World ticks and how sixteen of their bits travel.

use crate::limits::{FRAME_AGE_TICKS_MAX, FRAME_AHEAD_TICKS_MAX, TICK_MS};
use serde::{Deserialize, Serialize};

/// Number of a step of the world clock, counted from the world's beginning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Tick(pub u64);

impl Tick {
    /// The tick that runs `world_ms` after the world's beginning.
    pub fn at_ms(world_ms: u64) -> Self {
        Tick(world_ms / TICK_MS)
    }

    /// Milliseconds from the world's beginning to the start of this tick.
    pub fn start_ms(self) -> u64 {
        self.0 * TICK_MS
    }

    /// The sixteen bits that go into block headers.
    pub fn wire(self) -> u16 {
        self.0 as u16
    }

    /// The tick nearest to `self` whose low bits are `wire`.
    pub fn nearest(self, wire: u16) -> Tick {
        let ahead = wire.wrapping_sub(self.wire()) as i16;
        Tick(self.0.saturating_add_signed(i64::from(ahead)))
    }

    /// Whether a frame of tick `wire` may still be used now: neither queued up too long nor from a clock far ahead.
    pub fn accepts(self, wire: u16) -> bool {
        let ahead = i64::from(wire.wrapping_sub(self.wire()) as i16);
        (-(FRAME_AGE_TICKS_MAX as i64)..=FRAME_AHEAD_TICKS_MAX as i64).contains(&ahead)
    }

    /// Ticks from `earlier` to here, zero if it is later.
    pub fn since(self, earlier: Tick) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_ticks_find_back_over_a_wrap() {
        let now = Tick(65_540);
        assert_eq!(now.nearest(Tick(65_530).wire()), Tick(65_530));
        assert_eq!(now.nearest(Tick(65_545).wire()), Tick(65_545));
    }

    #[test]
    fn old_and_far_ahead_frames_are_refused() {
        let now = Tick(100_000);
        assert!(now.accepts(Tick(100_000 - FRAME_AGE_TICKS_MAX).wire()));
        assert!(!now.accepts(Tick(99_999 - FRAME_AGE_TICKS_MAX).wire()));
        assert!(!now.accepts(Tick(100_001 + FRAME_AHEAD_TICKS_MAX).wire()));
    }
}
