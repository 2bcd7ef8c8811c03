//! How fast players come: counted arrivals, never inferred from who is in. Used by the core only.

use crate::limits::{ARRIVALS_WINDOW_MS, OPEN_LEAD_MS};
use std::collections::VecDeque;

const BIN_MS: u64 = 1_000;
const BINS: u64 = ARRIVALS_WINDOW_MS / BIN_MS;

/// Arrivals of the last `ARRIVALS_WINDOW_MS`, in bins of a second.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    bins: VecDeque<(u64, u64)>,
}

impl Arrivals {
    /// One more player who needs a seat.
    pub(super) fn note(&mut self, now_ms: u64) {
        let bin = now_ms / BIN_MS;
        match self.bins.back_mut() {
            Some((last, count)) if *last >= bin => *count += 1,
            _ => self.bins.push_back((bin, 1)),
        }
        self.forget(now_ms);
    }

    /// Forgets what is older than the window.
    pub(super) fn forget(&mut self, now_ms: u64) {
        while self.bins.front().is_some_and(|(bin, _)| bin + BINS <= now_ms / BIN_MS) {
            self.bins.pop_front();
        }
    }

    /// Arrivals in the window.
    pub(super) fn counted(&self) -> u64 {
        self.bins.iter().map(|(_, count)| count).sum()
    }

    /// Arrivals to expect until an island that is decided on now is open.
    pub(super) fn expected(&self) -> u64 {
        (self.counted() * OPEN_LEAD_MS).div_ceil(ARRIVALS_WINDOW_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_averaged_and_forgotten() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.expected(), 0);
        for ms in 0..2_000 {
            arrivals.note(ms);
        }
        assert_eq!((arrivals.counted(), arrivals.expected()), (2_000, 200));
        arrivals.forget(10_500);
        assert_eq!(arrivals.counted(), 1_000);
        arrivals.forget(11_000);
        assert_eq!(arrivals.expected(), 0);
    }
}
