//! How many players come when: named curves and files of numbers become expected arrivals, span by span.
//!
//! A curve of players inside says little about arrivals until the session law takes the leavers out: that is
//! [`Kernel::arrivals_for`]. Called by the setup; it draws nothing but a reopening's own two numbers.

use chunk_sync::random::{self, RngExt};
use clap::ValueEnum;
use serde::Serialize;

use super::laws::Sessions;
use super::limits::{
    BIN_S, DAY_S, NIGHT_HALF_LIFE_S, PEAK, RUSH_PER_MINUTE, RUSH_S, RUSH_TAU_S, STEP_AT, STEP_TIMES,
    TAU_MINUTES,
};

/// Points at which a survival curve is averaged over one bin.
const KERNEL_POINTS: u32 = 32;
/// Length of the window whose busiest counts as the peak rate.
const PEAK_WINDOW_S: usize = 60;

/// The shape of a day.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Curve {
    /// A reopening: a rush at the doors, then players inside grow like 1 − e^(−t/τ).
    Reopen,
    /// The same rate of arrivals all day.
    Steady,
    /// A rate of arrivals that triples in the middle of the day.
    Step,
    /// A rate of arrivals that grows from nothing, evenly.
    Ramp,
}

/// A reopening's two numbers.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Reopening {
    /// Time constant of the growth, minutes.
    pub tau_minutes: f64,
    /// Players a minute in the first five minutes, for a peak of 67,000.
    pub rush_per_minute: f64,
}

impl Reopening {
    /// Those of a seed, unless given.
    pub fn drawn(seed: u64, tau_minutes: Option<f64>, rush_per_minute: Option<f64>) -> Self {
        let mut random = random::stream(seed, "launch curve");
        let mut between = |(least, most): (f64, f64)| least + (most - least) * random.random::<f64>();
        let (tau, rush) = (between(TAU_MINUTES), between(RUSH_PER_MINUTE));
        Self { tau_minutes: tau_minutes.unwrap_or(tau), rush_per_minute: rush_per_minute.unwrap_or(rush) }
    }
}

/// Players who come in a span of time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Span {
    /// First second.
    pub from_s: u32,
    /// The second after the last.
    pub to_s: u32,
    /// How many come.
    pub players: f64,
}

/// Everybody who is expected, in order of time, spans that don't overlap.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Expected {
    /// When how many.
    pub spans: Vec<Span>,
    /// The numbers are counts of what really came, not means.
    pub counted: bool,
}

impl Expected {
    /// The day of a named curve, for this many inside at its height.
    pub fn of_curve(curve: Curve, peak: f64, day_s: u32, reopening: Reopening, sessions: &Sessions) -> Self {
        let bins = day_s.div_ceil(BIN_S) as usize;
        let kernel = Kernel::new(sessions, bins);
        let bin_rate = |nth: usize| match curve {
            Curve::Step if nth as f64 >= STEP_AT * bins as f64 => STEP_TIMES,
            Curve::Ramp => (nth as f64 + 0.5) / bins as f64,
            Curve::Steady | Curve::Step | Curve::Reopen => 1.0,
        };
        let arrivals = match curve {
            Curve::Reopen => reopen(peak, bins, reopening, &kernel),
            _ => {
                let arrivals: Vec<f64> = (0..bins).map(bin_rate).collect();
                let most = kernel.inside(&arrivals).into_iter().fold(f64::MIN_POSITIVE, f64::max);
                arrivals.into_iter().map(|players| players * peak / most).collect()
            }
        };
        Self::of_bins(&arrivals)
    }

    /// A day at the end of whose bins so many are inside.
    pub fn of_inside(inside: &[f64], sessions: &Sessions) -> Self {
        Self::of_bins(&Kernel::new(sessions, inside.len()).arrivals_for(inside))
    }

    fn of_bins(arrivals: &[f64]) -> Self {
        let span = |(nth, players): (usize, &f64)| {
            let from_s = nth as u32 * BIN_S;
            Span { from_s, to_s: from_s + BIN_S, players: *players }
        };
        Self { spans: arrivals.iter().enumerate().map(span).collect(), counted: false }
    }

    /// The second after the last span.
    pub fn end_s(&self) -> u32 {
        self.spans.last().map_or(0, |span| span.to_s)
    }

    /// All players together.
    pub fn total(&self) -> f64 {
        self.spans.iter().map(|span| span.players).sum()
    }

    /// The same day again a day later, with a night of fewer and fewer in between.
    pub fn twice(mut self) -> Self {
        let (day, end_s) = (self.spans.clone(), self.end_s());
        let last = day.last().map_or(0.0, |span| span.players / f64::from(span.to_s - span.from_s));
        let mut from_s = end_s;
        while from_s < DAY_S {
            let to_s = (from_s + BIN_S).min(DAY_S);
            let faded = 0.5_f64.powf(f64::from(from_s - end_s) / NIGHT_HALF_LIFE_S);
            self.spans.push(Span { from_s, to_s, players: last * faded * f64::from(to_s - from_s) });
            from_s = to_s;
        }
        self.spans.extend(day.iter().map(|span| Span {
            from_s: span.from_s + DAY_S,
            to_s: span.to_s + DAY_S,
            ..*span
        }));
        self
    }

    /// Expected players of each second.
    fn by_second(&self) -> Vec<f64> {
        let mut by_second = vec![0.0; self.end_s() as usize];
        for span in &self.spans {
            let each = span.players / f64::from(span.to_s - span.from_s);
            by_second[span.from_s as usize..span.to_s as usize].fill(each);
        }
        by_second
    }

    /// Players a second in the busiest minute.
    pub fn peak_per_s(&self) -> f64 {
        let by_second = self.by_second();
        let window = PEAK_WINDOW_S.min(by_second.len()).max(1);
        by_second.windows(window).map(|some| some.iter().sum::<f64>() / window as f64).fold(0.0, f64::max)
    }

    /// Players who come in the first five minutes.
    pub fn rush(&self) -> f64 {
        self.by_second().iter().take(RUSH_S as usize).sum()
    }
}

/// A reopening. Both parts of the curve are linear in their arrivals, so the share of the rush that brings the wanted number
/// through the doors in the first minutes has a closed form.
fn reopen(peak: f64, bins: usize, reopening: Reopening, kernel: &Kernel) -> Vec<f64> {
    let rush_bins = (RUSH_S / BIN_S) as usize;
    let saturating = |tau_s: f64| -> Vec<f64> {
        let grown = |nth: usize| 1.0 - (-(nth as f64) * f64::from(BIN_S) / tau_s).exp();
        kernel.arrivals_for(&(1..=bins).map(|nth| peak * grown(nth) / grown(bins)).collect::<Vec<_>>())
    };
    let (slow, quick) = (saturating(reopening.tau_minutes * 60.0), saturating(RUSH_TAU_S));
    let first = |arrivals: &[f64]| arrivals.iter().take(rush_bins).sum::<f64>();
    let wanted = reopening.rush_per_minute * f64::from(RUSH_S) / 60.0 * peak / f64::from(PEAK);
    let share = ((wanted - first(&slow)) / (first(&quick) - first(&slow))).clamp(0.0, 1.0);
    slow.iter().zip(&quick).map(|(slow, quick)| slow * (1.0 - share) + quick * share).collect()
}

/// The share of a bin's arrivals that is still inside at the end of that bin, of the next, and so on.
struct Kernel {
    stays: Vec<f64>,
}

impl Kernel {
    fn new(sessions: &Sessions, bins: usize) -> Self {
        let point = |nth: usize, part: u32| {
            let into_bin = (f64::from(part) + 0.5) / f64::from(KERNEL_POINTS);
            sessions.survival((nth as f64 + into_bin) * f64::from(BIN_S))
        };
        let mean =
            |nth| (0..KERNEL_POINTS).map(|part| point(nth, part)).sum::<f64>() / f64::from(KERNEL_POINTS);
        Self { stays: (0..bins).map(mean).collect() }
    }

    /// How many are inside at the end of each bin.
    fn inside(&self, arrivals: &[f64]) -> Vec<f64> {
        let at = |nth: usize| (0..=nth).map(|earlier| arrivals[earlier] * self.stays[nth - earlier]).sum();
        (0..arrivals.len()).map(at).collect()
    }

    /// Who must come in each bin so that this many are inside at its end. Nobody comes where the curve falls faster
    /// than players leave.
    fn arrivals_for(&self, inside: &[f64]) -> Vec<f64> {
        let mut arrivals: Vec<f64> = Vec::with_capacity(inside.len());
        for (nth, wanted) in inside.iter().enumerate() {
            let left: f64 = arrivals.iter().zip(self.stays[1..=nth].iter().rev()).map(|(a, s)| a * s).sum();
            arrivals.push(((wanted - left) / self.stays[0]).max(0.0));
        }
        arrivals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::limits::{SESSION_MEAN_MINUTES, SESSION_SHAPE};

    fn sessions() -> Sessions {
        Sessions::new(SESSION_MEAN_MINUTES * 60.0, SESSION_SHAPE)
    }

    #[test]
    fn arrivals_for_a_curve_give_the_curve_back() {
        let kernel = Kernel::new(&sessions(), 200);
        let wanted: Vec<f64> =
            (1..=200).map(|nth| 1_000.0 * (1.0 - (-f64::from(nth) / 50.0).exp())).collect();
        for (got, wanted) in kernel.inside(&kernel.arrivals_for(&wanted)).iter().zip(&wanted) {
            assert!((got - wanted).abs() < 1e-6);
        }
    }

    #[test]
    fn nobody_comes_where_a_curve_falls_faster_than_players_leave() {
        let arrivals = Kernel::new(&sessions(), 4).arrivals_for(&[100.0, 100.0, 0.0, 0.0]);
        assert!(arrivals[0] > 100.0 && arrivals[1] > 0.0);
        assert_eq!(arrivals[2..], [0.0, 0.0]);
    }

    #[test]
    fn every_curve_reaches_its_peak() {
        let kernel = Kernel::new(&sessions(), 1_440);
        for curve in [Curve::Reopen, Curve::Steady, Curve::Step, Curve::Ramp] {
            let reopening = Reopening::drawn(1, None, None);
            let expected = Expected::of_curve(curve, 67_000.0, 14_400, reopening, &sessions());
            let arrivals: Vec<f64> = expected.spans.iter().map(|span| span.players).collect();
            let most = kernel.inside(&arrivals).into_iter().fold(0.0, f64::max);
            assert!((most / 67_000.0 - 1.0).abs() < 1e-6, "{curve:?}: {most}");
        }
    }

    #[test]
    fn a_reopening_begins_with_the_rush_that_was_asked_for() {
        for (seed, peak) in [(1, 67_000.0), (2, 201_000.0), (3, 670.0)] {
            let reopening = Reopening::drawn(seed, None, None);
            let expected = Expected::of_curve(Curve::Reopen, peak, 14_400, reopening, &sessions());
            let per_minute = expected.rush() / 5.0 * 67_000.0 / peak;
            assert!((per_minute - reopening.rush_per_minute).abs() < 1.0, "seed {seed}: {per_minute}");
            // The busiest minute isn't far above the first five: a rush, not a spike.
            assert!(expected.peak_per_s() * 60.0 * 67_000.0 / peak < per_minute * 1.15, "seed {seed}");
        }
    }

    #[test]
    fn the_second_day_is_the_first_again() {
        let reopening = Reopening::drawn(1, None, None);
        let day = Expected::of_curve(Curve::Ramp, 1_000.0, 7_200, reopening, &sessions());
        let days = day.clone().twice();
        assert_eq!(days.end_s(), DAY_S + 7_200);
        assert!(days.spans.windows(2).all(|pair| pair[0].to_s == pair[1].from_s));
        assert!(days.total() > day.total() * 2.0);
    }
}
