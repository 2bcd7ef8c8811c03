//! How fast a lane moves, measured, and what follows for whoever waits in it. Used by the queue.
//!
//! Players who were admitted and players who left are counted in bins of `RATE_BIN_MS` and smoothed, mean and variance.
//! A bin in which the lane was empty at any time says how fast people come, not how fast they are admitted, and isn't
//! counted.
//!
//! **ETA.** With μ players admitted a second, and each waiting player leaving at the observed rate δ (those who left per second
//! ÷ those who waited), a waiter with `a` players up to and including its party waits t = ln(1 + δa/μ)/δ, or a/μ where
//! nobody leaves: the solution of da/dt = −μ − δa. If the other lane runs empty before that, as it does at the rate at which more go from there
//! than come, the lane gets from then on what the other one was admitted beyond its arrivals.
//!
//! The bounds are two standard deviations of the players who will have gone by then (counts that scatter as they did, and
//! rates that are known only from so many bins), at the speed of the head, and a bin more; at least `MARGIN` of the
//! whole. They hold while rates stay what they are: nothing here foresees a change of them.

use crate::limits::{ETA_MAX_MS, RATE_BIN_MS, RATE_BINS, RATE_BINS_MIN};
use serde::{Deserialize, Serialize};

/// Least distance of the bounds from the ETA, as a part of it.
const MARGIN: f64 = 0.05;
/// Standard deviations between the ETA and its bounds.
const DEVIATIONS: f64 = 2.0;
/// After so many empty bins nothing of what was before is left.
const BINS_FORGOTTEN: u64 = 20 * RATE_BINS as u64;

/// When a waiter will be admitted, counted from now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Eta {
    /// The best guess.
    pub eta_ms: u64,
    /// Hardly sooner.
    pub low_ms: u64,
    /// Hardly later.
    pub high_ms: u64,
}

/// Mean and variance of what was counted per bin, the newest bins first in weight.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
struct Smoothed {
    mean: f64,
    variance: f64,
}

impl Smoothed {
    fn fold(&mut self, value: f64, weight: f64) {
        let off = value - self.mean;
        self.mean += weight * off;
        self.variance = (1.0 - weight) * (self.variance + weight * off * off);
    }

    /// Variance of what is counted in so many bins, from a mean that is known from `known` of them.
    fn scatter(&self, bins: f64, known: f64) -> f64 {
        self.variance * bins * (1.0 + bins / known)
    }
}

/// What was measured of one lane.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Rates {
    /// The bin that is being counted.
    bin: u64,
    /// Whether the lane had somebody waiting in all of it.
    busy: bool,
    admitted_in_bin: u64,
    left_in_bin: u64,
    came_in_bin: u64,
    /// Bins in which the lane was busy, and all bins; no more than the weights need.
    bins: u32,
    bins_in_all: u32,
    admitted: Smoothed,
    left: Smoothed,
    waiting: Smoothed,
    /// Those who were admitted, less those who came; of all bins.
    surplus: Smoothed,
}

impl Rates {
    /// Players came.
    pub(super) fn note_came(&mut self, players: usize) {
        self.came_in_bin += players as u64;
    }

    /// Players were admitted.
    pub(super) fn note_admitted(&mut self, players: usize) {
        self.admitted_in_bin += players as u64;
    }

    /// Players gave up, or didn't return.
    pub(super) fn note_left(&mut self, players: usize) {
        self.left_in_bin += players as u64;
    }

    /// Nobody waits in the lane.
    pub(super) fn emptied(&mut self) {
        self.busy = false;
    }

    /// Time went on, while so many wait: closes the bins that are over.
    pub(super) fn advance(&mut self, now_ms: u64, waiting: u64) {
        let bin = now_ms / RATE_BIN_MS;
        for _ in 0..bin.saturating_sub(self.bin).min(BINS_FORGOTTEN) {
            let (admitted, left) = (self.admitted_in_bin as f64, self.left_in_bin as f64);
            if self.busy {
                let weight = weight_of_next(&mut self.bins);
                self.admitted.fold(admitted, weight);
                self.left.fold(left, weight);
                self.waiting.fold(waiting as f64, weight);
            }
            let weight = weight_of_next(&mut self.bins_in_all);
            self.surplus.fold(admitted - self.came_in_bin as f64, weight);
            (self.admitted_in_bin, self.left_in_bin, self.came_in_bin) = (0, 0, 0);
            self.busy = waiting > 0;
        }
        self.bin = self.bin.max(bin);
    }

    /// Nothing was measured yet.
    pub(super) fn new(now_ms: u64) -> Self {
        Self::default().on_clock(now_ms)
    }

    /// The same on another clock.
    pub(super) fn on_clock(self, now_ms: u64) -> Self {
        let (bin, busy) = (now_ms / RATE_BIN_MS, false);
        Self { bin, busy, admitted_in_bin: 0, left_in_bin: 0, came_in_bin: 0, ..self }
    }

    /// Players who are admitted per second, once that is known.
    pub fn admitted_per_second(&self) -> Option<f64> {
        (self.bins >= RATE_BINS_MIN).then_some(self.admitted.mean * 1_000.0 / RATE_BIN_MS as f64)
    }

    /// When the last of `ahead` players will have gone in, while `others` wait in the other lane; `None` if too little is
    /// known, or it would be too long.
    pub(super) fn eta(&self, ahead: u64, other: &Rates, others: u64) -> Option<Eta> {
        let (ahead, admitted) = (ahead as f64, self.admitted.mean);
        if self.bins < RATE_BINS_MIN || admitted <= 0.0 {
            return None;
        }
        let leaving = self.left.mean / self.waiting.mean.max(1.0);
        let known = f64::from(self.bins);
        let (surplus, drain) = (other.surplus.mean, other.surplus.mean + other.left.mean);
        let alone = bins_until(ahead, admitted, leaving);
        let emptied = if others == 0 { 0.0 } else { others as f64 / drain.max(f64::MIN_POSITIVE) };
        let (bins, speed, mut variance) = if emptied < alone && surplus > 0.0 {
            let then = ahead - gone_after(emptied, ahead, admitted, leaving);
            let faster = bins_until(then, admitted + surplus, leaving);
            (emptied + faster, admitted + surplus, other.surplus.scatter(faster, known))
        } else {
            (alone, admitted, 0.0)
        };
        variance += self.admitted.scatter(bins, known);
        if self.left.mean > 0.0 {
            // Of those who leave, the part that is ahead.
            let part = (ahead - admitted * bins).max(0.0) / (self.left.mean * bins.max(1.0));
            variance += part.min(1.0) * self.left.scatter(bins, known);
        }
        let margin = (DEVIATIONS * variance.sqrt() / speed + 1.0).max(MARGIN * bins);
        let ms = |bins: f64| (bins.max(0.0) * RATE_BIN_MS as f64) as u64;
        let (eta_ms, low_ms, high_ms) = (ms(bins), ms(bins - margin), ms(bins + margin));
        (eta_ms <= ETA_MAX_MS).then_some(Eta { eta_ms, low_ms, high_ms })
    }
}

/// The weight of one more bin: all alike until there are enough of them.
fn weight_of_next(bins: &mut u32) -> f64 {
    *bins = (*bins + 1).min(2 * RATE_BINS - 1);
    1.0 / f64::from((*bins).min(RATE_BINS))
}

/// Bins until `ahead` players are gone.
fn bins_until(ahead: f64, admitted: f64, leaving: f64) -> f64 {
    let by_leaving = leaving * ahead / admitted;
    if by_leaving > 1e-6 { by_leaving.ln_1p() / leaving } else { ahead / admitted }
}

/// How many of `ahead` players are gone after so many bins.
fn gone_after(bins: f64, ahead: f64, admitted: f64, leaving: f64) -> f64 {
    let left = -(-leaving * bins).exp_m1();
    if left > 1e-9 { left * (ahead + admitted / leaving) } else { admitted * bins }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(admitted: u64, left: u64, waiting: u64, bins: u64) -> Rates {
        let mut rates = Rates::new(1_000_000);
        // Nobody knows whether the first bin was a busy one; the others are.
        for bin in 1..=bins + 1 {
            rates.note_admitted(admitted as usize);
            rates.note_left(left as usize);
            rates.advance(1_000_000 + bin * RATE_BIN_MS, waiting);
        }
        rates
    }

    #[test]
    fn an_eta_is_players_by_rate_and_sooner_where_people_leave() {
        let eta = measured(50, 0, 10_000, 60).eta(5_000, &Rates::default(), 0).unwrap();
        assert_eq!(eta, Eta { eta_ms: 100_000, low_ms: 95_000, high_ms: 105_000 });
        // 1 % a second leave: ln(1 + 0.01 × 5,000 / 50) ÷ 0.01.
        let eta = measured(50, 100, 10_000, 60).eta(5_000, &Rates::default(), 0).unwrap();
        assert!(eta.eta_ms.abs_diff(69_315) <= 10, "{eta:?}");
    }

    #[test]
    fn an_eta_counts_on_what_the_other_lane_will_leave() {
        // 30 a second are admitted there, and nobody comes any more: after 100 s they are gone.
        let other = measured(30, 0, 3_000, 60);
        let eta = |ahead, others| measured(10, 0, 10_000, 60).eta(ahead, &other, others).unwrap().eta_ms;
        assert_eq!(eta(1_000, 3_000), 100_000);
        assert_eq!(eta(3_000, 3_000), 150_000);
        assert_eq!(eta(3_000, 0), 75_000);
    }

    #[test]
    fn nothing_is_told_of_what_isnt_known() {
        assert_eq!(measured(50, 0, 10_000, u64::from(RATE_BINS_MIN) - 1).eta(10, &Rates::default(), 0), None);
        assert_eq!(measured(0, 0, 10_000, 60).eta(10, &Rates::default(), 0), None, "nobody is admitted");
        assert_eq!(
            measured(1, 0, 10_000, 60).eta(10_000_000, &Rates::default(), 0),
            None,
            "longer than anybody waits"
        );
    }

    #[test]
    fn bins_without_a_queue_tell_nothing_of_its_speed() {
        let mut rates = measured(50, 0, 10_000, 60);
        let before = rates.eta(5_000, &Rates::default(), 0);
        for bin in 61..=200 {
            // One comes and is let in at once.
            rates.note_admitted(1);
            rates.emptied();
            rates.advance(1_000_000 + bin * RATE_BIN_MS, 0);
        }
        assert_eq!(rates.eta(5_000, &Rates::default(), 0), before);
    }
}
