//! What happens at the head of a lane whose oldest party doesn't fit: others pass it, but only so many; then the lane is
//! held for it. Used by a lane's line only.
//!
//! Others may pass until `PASSED_MAX` players have; then nobody of the lane is admitted but that party, for as long as
//! the passing took (at least `HOLD_MIN_MS`, at most `HOLD_MAX_MS`): about as many seats come free for it as others took. If it doesn't
//! fit then either, twice as many pass and the hold is twice as long, up to `PASSED_DOUBLINGS_MAX` times. So a party that fits
//! nowhere costs its lane about half of its seats and never all of them, and one that fits as soon as some seats come
//! free together is passed by few.

use super::QueueNumber;
use crate::limits::{HOLD_MAX_MS, HOLD_MIN_MS, PASSED_DOUBLINGS_MAX, PASSED_MAX};
use serde::{Deserialize, Serialize};

/// How the passing of one party stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Passing {
    /// The party that is passed.
    pub head: QueueNumber,
    /// Players who passed it since the last hold.
    pub passed: u32,
    /// When the first of them did.
    pub since_ms: u64,
    /// Until when the lane is held for it.
    pub hold_until_ms: Option<u64>,
    /// Holds that were in vain.
    pub holds: u32,
}

impl Passing {
    pub(super) fn new(head: QueueNumber, now_ms: u64) -> Self {
        Self { head, passed: 0, since_ms: now_ms, hold_until_ms: None, holds: 0 }
    }

    /// Whether there is anything to remember.
    pub(super) fn is_noted(&self) -> bool {
        self.passed > 0 || self.holds > 0 || self.hold_until_ms.is_some()
    }

    /// Whether the lane is held; a hold that is over ends here.
    pub(super) fn holds(&mut self, now_ms: u64) -> bool {
        if self.hold_until_ms.is_some_and(|until_ms| until_ms <= now_ms) {
            *self = Self { holds: self.holds.saturating_add(1), ..Self::new(self.head, now_ms) };
        }
        self.hold_until_ms.is_some()
    }

    /// So many players want to pass: whether they may. If not, the hold begins.
    pub(super) fn pass(&mut self, players: usize, now_ms: u64) -> bool {
        let passed = self.passed + players as u32;
        if passed > PASSED_MAX << self.holds.min(PASSED_DOUBLINGS_MAX) {
            let took_ms = now_ms.saturating_sub(self.since_ms);
            self.hold_until_ms = Some(now_ms + took_ms.clamp(HOLD_MIN_MS, HOLD_MAX_MS));
            return false;
        }
        if self.passed == 0 {
            self.since_ms = now_ms;
        }
        self.passed = passed;
        true
    }

    /// The same on a clock that says `now_ms`: no hold lasts longer than any may.
    pub(super) fn on_clock(self, now_ms: u64) -> Self {
        let until_ms = self.hold_until_ms.map(|until_ms| until_ms.min(now_ms + HOLD_MAX_MS));
        Self { hold_until_ms: until_ms, since_ms: self.since_ms.min(now_ms), ..self }
    }
}
