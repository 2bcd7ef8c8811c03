//! When each bot of a load generator sends: every bot once per period, phases spread evenly over it.
//!
//! The schedule never moves: a send that comes late stays due at its intended time, so lateness is
//! measured instead of hidden (coordinated omission). Pure: the time since the start is an argument.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// One send that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Which bot sends, `0..bots`.
    pub bot: usize,
    /// The intended time, since the schedule's start.
    pub intended: Duration,
}

/// The send schedule of `bots` bots.
#[derive(Debug, Clone)]
pub struct Pacer {
    bots: u64,
    period_ns: u64,
    next: u64,
}

impl Pacer {
    /// A schedule where each of `bots` bots (at least one) sends once per `period`.
    #[must_use]
    pub fn new(bots: u32, period: Duration) -> Self {
        let period_ns = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        Self { bots: u64::from(bots.max(1)), period_ns, next: 0 }
    }

    /// Takes the next send whose intended time is not after `now` (time since the start).
    pub fn take_due(&mut self, now: Duration) -> Option<Due> {
        let intended = self.intended(self.next);
        if intended > now {
            return None;
        }
        let bot = (self.next % self.bots) as usize;
        self.next += 1;
        Some(Due { bot, intended })
    }

    fn intended(&self, send: u64) -> Duration {
        let (round, phase) = (send / self.bots, send % self.bots);
        let phase_ns = u128::from(phase) * u128::from(self.period_ns) / u128::from(self.bots);
        // A phase is below one period, which is a u64.
        Duration::from_nanos(round.saturating_mul(self.period_ns).saturating_add(phase_ns as u64))
    }
}

/// How late a generator was itself, as recorded by [`Lateness`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LateMs {
    /// Median, milliseconds.
    pub p50: f64,
    /// 99th percentile, milliseconds.
    pub p99: f64,
    /// Largest, milliseconds.
    pub max: f64,
}

/// Collects by how much sends missed their intended times: 1 µs to 60 s in three digits.
#[derive(Debug, Clone)]
pub struct Lateness {
    micros: Histogram<u64>,
}

impl Lateness {
    const MAX_US: u64 = 60_000_000;

    /// An empty collection.
    #[must_use]
    pub fn new() -> Self {
        let micros =
            Histogram::new_with_bounds(1, Self::MAX_US, 3).expect("1 < 60,000,000 and 3 digits are valid");
        Self { micros }
    }

    /// Records one send that happened at `now` instead of `intended` (both since the start).
    pub fn record(&mut self, intended: Duration, now: Duration) {
        let late_us = now.saturating_sub(intended).as_micros().min(u128::from(Self::MAX_US));
        self.micros.saturating_record(late_us as u64);
    }

    /// The figures so far, zero when nothing was recorded.
    #[must_use]
    pub fn summary(&self) -> LateMs {
        let ms = |us: u64| us as f64 / 1_000.0;
        LateMs {
            p50: ms(self.micros.value_at_quantile(0.5)),
            p99: ms(self.micros.value_at_quantile(0.99)),
            max: ms(self.micros.max()),
        }
    }
}

impl Default for Lateness {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_due(pacer: &mut Pacer, now_ms: u64) -> Vec<(usize, u64)> {
        std::iter::from_fn(|| pacer.take_due(Duration::from_millis(now_ms)))
            .map(|due| (due.bot, due.intended.as_millis() as u64))
            .collect()
    }

    #[test]
    fn phases_are_spread_evenly_and_repeat_each_period() {
        let mut pacer = Pacer::new(4, Duration::from_millis(100));
        assert_eq!(all_due(&mut pacer, 0), [(0, 0)]);
        assert_eq!(all_due(&mut pacer, 24), []);
        assert_eq!(all_due(&mut pacer, 75), [(1, 25), (2, 50), (3, 75)]);
        assert_eq!(all_due(&mut pacer, 100), [(0, 100)]);
    }

    #[test]
    fn a_generator_that_slept_owes_every_send_at_its_intended_time() {
        let mut pacer = Pacer::new(2, Duration::from_millis(100));
        let owed = all_due(&mut pacer, 260);
        assert_eq!(owed, [(0, 0), (1, 50), (0, 100), (1, 150), (0, 200), (1, 250)]);
    }

    #[test]
    fn a_day_of_the_largest_crowd_neither_drifts_nor_overflows() {
        let bots = crate::limits::NULL_BOTS_MAX;
        let mut pacer = Pacer::new(bots, Duration::from_millis(100));
        pacer.next = u64::from(bots) * 864_000;
        let due = pacer.take_due(Duration::from_secs(86_400)).expect("due at the full day");
        assert_eq!(due, Due { bot: 0, intended: Duration::from_secs(86_400) });
    }

    #[test]
    fn lateness_counts_from_the_intended_time() {
        let mut lateness = Lateness::new();
        for late_ms in 1..=100 {
            lateness.record(Duration::from_millis(500), Duration::from_millis(500 + late_ms));
        }
        let summary = lateness.summary();
        assert!((summary.p50 - 50.0).abs() < 0.1, "{summary:?}");
        assert!((summary.p99 - 99.0).abs() < 0.1, "{summary:?}");
        assert!((summary.max - 100.0).abs() < 0.1, "{summary:?}");
        lateness.record(Duration::from_millis(500), Duration::from_millis(400));
        assert!(lateness.summary().max < 100.1, "early counts as on time");
    }
}
