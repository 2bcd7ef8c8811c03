//! Demand: how many seats will be wanted by the time that an island which is decided on now is open. From counted arrivals,
//! never from who is inside: what gets in is what was let in. Called by the planner and the launch simulator; reads no clock.
//!
//! The arrivals are followed by Holt's method with a damped trend (Gardner and McKenzie 1985). A jump (an opening, a
//! streamer, the end of an outage) starts it anew, since smoothing would take minutes to believe it.

use crate::policy::Policy;
use std::collections::VecDeque;

/// Weight of the newest bin in the level.
const LEVEL_WEIGHT: f64 = 0.5;
/// Weight of the newest step in the trend.
const TREND_WEIGHT: f64 = 0.3;
/// What is left of the trend with each bin that is looked ahead.
const DAMPING: f64 = 0.85;
/// A jump is a change of more than so many times the usual one…
const JUMP_OF_USUAL: f64 = 3.0;
/// …of more than this share of the level…
const JUMP_OF_LEVEL: f64 = 0.04;
/// …and of more than so many standard deviations of counts that only scatter.
const JUMP_OF_SCATTER: f64 = 4.0;
/// Weight of the newest bin in what is usual, and in how arrivals scatter.
const USUAL_WEIGHT: f64 = 0.1;
/// The least and the most that arrivals scatter, as variance of counts over their mean; 1 is chance alone.
const DISPERSION: (f64, f64) = (1.0, 5.0);
/// How many standard deviations of what may come are provided for.
const SAFETY_SIGMAS: f64 = 3.0;
/// Largest share of those who will leave meanwhile whose seats are counted on, when demand doesn't grow.
const REUSED_SHARE: f64 = 0.5;
/// By how much the number of players may grow, as a share of it each minute: on calm days, and around an opening.
const GROWTH_PER_MIN: (f64, f64) = (0.004, 0.027);

/// Arrivals of those who need land, and where they tend. Rates are per second.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// Length of a bin, ms.
    bin_ms: u64,
    /// The bin that is being counted, and what was counted in it.
    bin: u64,
    count: u64,
    left: u64,
    bins: u64,
    level: f64,
    /// Change of the level with each bin.
    trend: f64,
    last: f64,
    usual_jump: f64,
    dispersion: f64,
    departures: f64,
}

/// What the planner knows besides arrivals.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outlook {
    /// Players who wait for a seat that needs land, and found none.
    pub queue: u64,
    /// Players inside.
    pub inside: u64,
    /// How long it takes until an island that is decided on now can be used, and until it is decided again, ms.
    pub horizon_ms: u64,
    /// An opening was announced for about now.
    pub opening: bool,
    /// Seats that operators want to be there, whatever comes.
    pub scheduled: u64,
}

/// The seats that will be wanted within the horizon, and why so many.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Demand {
    /// Who waits already.
    pub queue: f64,
    /// Who will come at the pace of now.
    pub arrivals: f64,
    /// Who will come beyond that, as the pace grows.
    pub growth: f64,
    /// Whose seats can be given again.
    pub reused: f64,
    /// What is provided for because counts scatter.
    pub safety: f64,
    /// The least that is provided for: a share of who is inside, or what operators want.
    pub floor: f64,
    /// All of it: seats.
    pub seats: u64,
}

impl Forecast {
    /// Nobody came yet; arrivals are counted together over `bin_ms`, about as often as is decided.
    pub fn new(bin_ms: u64) -> Self {
        Self {
            bin_ms: bin_ms.max(1),
            bin: 0,
            count: 0,
            left: 0,
            bins: 0,
            level: 0.0,
            trend: 0.0,
            last: 0.0,
            usual_jump: 0.0,
            dispersion: DISPERSION.0,
            departures: 0.0,
        }
    }

    fn bin_s(&self) -> f64 {
        self.bin_ms as f64 / 1_000.0
    }

    /// So many players came who need land.
    pub fn arrive(&mut self, count: u64, now_ms: u64) {
        self.advance(now_ms);
        self.count += count;
    }

    /// So many players left.
    pub fn leave(&mut self, count: u64, now_ms: u64) {
        self.advance(now_ms);
        self.left += count;
    }

    /// Closes the bins that are over.
    pub fn advance(&mut self, now_ms: u64) {
        let bin = now_ms / self.bin_ms;
        if self.bins == 0 && self.count == 0 && self.left == 0 {
            self.bin = bin;
        }
        // After a long silence nothing is left of what was before; it needn't be counted down bin by bin.
        let skipped = (bin.saturating_sub(self.bin)).saturating_sub(SILENT_BINS_MAX);
        self.bin += skipped;
        while self.bin < bin {
            self.close();
            self.bin += 1;
        }
    }

    fn close(&mut self) {
        let bin_s = self.bin_s();
        let rate = self.count as f64 / bin_s;
        let left = self.left as f64 / bin_s;
        (self.count, self.left) = (0, 0);
        self.departures = if self.bins == 0 { left } else { mix(self.departures, left, USUAL_WEIGHT) };
        let change = rate - self.last;
        let expected = self.level + DAMPING * self.trend;
        let dispersion = self.dispersion.clamp(DISPERSION.0, DISPERSION.1);
        let scatter = (2.0 * dispersion * self.level.max(rate) / bin_s).sqrt();
        let is_first = self.bins == 0;
        let jump =
            (JUMP_OF_USUAL * self.usual_jump).max(JUMP_OF_LEVEL * self.level).max(JUMP_OF_SCATTER * scatter);
        if is_first {
            // Whoever begins to count in the middle of a day sees no jump.
            (self.level, self.trend) = (rate, 0.0);
        } else if change.abs() > jump {
            (self.level, self.trend) = (rate, change.max(0.0));
        } else {
            let before = self.level;
            self.level = mix(expected, rate, LEVEL_WEIGHT);
            self.trend = mix(DAMPING * self.trend, self.level - before, TREND_WEIGHT);
            // What scatters is told from what only grows by its distance from the forecast.
            let surprise = (rate - expected) * bin_s;
            let scattered =
                (surprise * surprise / (expected.max(0.0) * bin_s).max(1.0)).min(DISPERSION.1 * 4.0);
            self.dispersion = mix(self.dispersion, scattered, USUAL_WEIGHT);
        }
        self.usual_jump = if self.bins == 0 { 0.0 } else { mix(self.usual_jump, change.abs(), USUAL_WEIGHT) };
        (self.last, self.bins) = (rate, self.bins + 1);
    }

    /// Arrivals a second, as they are now.
    pub fn rate(&self) -> f64 {
        self.level.max(0.0)
    }

    /// How much faster they come with each second.
    pub fn trend(&self) -> f64 {
        self.trend / self.bin_s()
    }

    /// Who will come within this time, if it goes on like this.
    pub fn within(&self, ms: u64) -> f64 {
        self.steady(ms) + self.growth(ms)
    }

    fn steady(&self, ms: u64) -> f64 {
        self.rate() * ms as f64 / 1_000.0
    }

    /// The damped trend, summed up over the bins of a time; only upwards, since seats that turn out to be free cost little.
    fn growth(&self, ms: u64) -> f64 {
        let bins = ms as f64 / self.bin_ms as f64;
        let slope = DAMPING / (1.0 - DAMPING);
        let summed = slope * (bins - slope * (1.0 - DAMPING.powf(bins)));
        self.trend.max(0.0) * summed.max(0.0) * self.bin_s()
    }

    /// The seats that will be wanted.
    pub fn demand(&self, outlook: &Outlook) -> Demand {
        let horizon_s = outlook.horizon_ms as f64 / 1_000.0;
        let queue = outlook.queue as f64;
        let (arrivals, growth) = (self.steady(outlook.horizon_ms), self.growth(outlook.horizon_ms));
        let dispersion = self.dispersion.clamp(DISPERSION.0, DISPERSION.1);
        let safety = SAFETY_SIGMAS * (dispersion * (arrivals + growth)).sqrt();
        // A trend within what chance makes of counts is none.
        let surges = growth > safety || outlook.queue > 0 || outlook.opening;
        let reused = if surges { 0.0 } else { REUSED_SHARE * self.departures * horizon_s };
        let expected = (queue + arrivals + growth - reused).max(0.0);
        let (calm, opening) = GROWTH_PER_MIN;
        let growth_per_min = if outlook.opening { opening } else { calm };
        let floor = (growth_per_min * outlook.inside as f64 * horizon_s / 60.0).max(outlook.scheduled as f64);
        let seats = (expected + safety).max(floor).ceil() as u64;
        Demand { queue, arrivals, growth, reused, safety, floor, seats }
    }
}

/// An opening that operators announce: the doors open, an event begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Announcement {
    /// When, world milliseconds.
    pub opens_ms: u64,
    /// The most players a second that are expected.
    pub peak_per_s: f64,
    /// For how long they come that fast, ms.
    pub burst_ms: u64,
}

impl Announcement {
    /// Islands that must be open when the doors open: for what comes before one that is decided on then is open, and for
    /// what comes faster than islands can get ready, `warm_parallel` at once in `lead_ms` each.
    pub fn islands(&self, policy: &Policy, lead_ms: u64) -> u64 {
        let (design, lead_s) = (f64::from(policy.design.max(1)), lead_ms as f64 / 1_000.0);
        let opened_per_s = f64::from(policy.warm_parallel) * design / lead_s.max(0.001);
        let beyond = (self.peak_per_s - opened_per_s).max(0.0) * self.burst_ms as f64 / 1_000.0;
        ((beyond / design).ceil() + (self.peak_per_s * lead_s / design).ceil()) as u64
    }

    /// The seats that must be there now: from as early as it takes to get all of those islands ready until the burst is over.
    pub fn seats(&self, policy: &Policy, lead_ms: u64, now_ms: u64) -> Option<u64> {
        let islands = self.islands(policy, lead_ms);
        let rounds = islands.div_ceil(u64::from(policy.warm_parallel.max(1))) + 1;
        let from_ms = self.opens_ms.saturating_sub(rounds * (lead_ms + 2 * policy.plan_every_ms));
        // Once the doors are open, what is taken of them is demand that was met.
        (from_ms..self.opens_ms).contains(&now_ms).then(|| islands * u64::from(policy.design))
    }

    /// Whether the doors have just opened: more may come than ever before.
    pub fn is_on(&self, now_ms: u64) -> bool {
        (self.opens_ms..self.opens_ms + self.burst_ms).contains(&now_ms)
    }
}

/// The largest demand of a while: what was wanted lately may be wanted again, so that long nothing is given up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peak {
    /// When the first one was noted.
    began_ms: Option<u64>,
    /// Demands that no later one reaches, with their times: falling.
    falling: VecDeque<(u64, u64)>,
}

impl Peak {
    /// What is wanted now; the largest of the last `within_ms`, once so long was watched.
    pub fn note(&mut self, seats: u64, now_ms: u64, within_ms: u64) -> Option<u64> {
        let began_ms = *self.began_ms.get_or_insert(now_ms);
        while self.falling.back().is_some_and(|(_, before)| *before <= seats) {
            self.falling.pop_back();
        }
        // A thousand in that while are enough to know, and bound them.
        let step_ms = (within_ms / PEAKS_MAX).max(1);
        let is_late = |(at_ms, _): &(u64, u64)| now_ms / step_ms > at_ms / step_ms;
        if self.falling.back().is_none_or(is_late) {
            self.falling.push_back((now_ms, seats));
        }
        while self.falling.front().is_some_and(|(at_ms, _)| at_ms + within_ms < now_ms) {
            self.falling.pop_front();
        }
        let most = self.falling.front().map_or(seats, |(_, most)| *most);
        (now_ms >= began_ms + within_ms).then_some(most)
    }
}

/// Demands that are remembered to know the largest.
const PEAKS_MAX: u64 = 1_000;
/// Bins without anybody after which nothing is left of the level.
const SILENT_BINS_MAX: u64 = 64;

fn mix(old: f64, new: f64, weight: f64) -> f64 {
    weight * new + (1.0 - weight) * old
}

#[cfg(test)]
mod tests {
    use super::*;

    const BIN_MS: u64 = 5_000;
    const BIN_S: f64 = 5.0;
    const HORIZON_MS: u64 = 100_000;

    /// Arrivals at these rates a second, one a bin.
    fn after(rates: &[f64]) -> Forecast {
        let mut forecast = Forecast::new(BIN_MS);
        for (bin, rate) in rates.iter().enumerate() {
            forecast.arrive((rate * BIN_S) as u64, bin as u64 * BIN_MS);
        }
        forecast.advance(rates.len() as u64 * BIN_MS);
        forecast
    }

    fn outlook() -> Outlook {
        Outlook { horizon_ms: HORIZON_MS, ..Outlook::default() }
    }

    #[test]
    fn nobody_wants_nothing() {
        assert_eq!(after(&[]).demand(&outlook()).seats, 0);
        assert_eq!(after(&[0.0; 9]).demand(&outlook()).seats, 0);
    }

    #[test]
    fn a_steady_pace_is_provided_for_with_some_safety() {
        let demand = after(&[20.0; 60]).demand(&outlook());
        assert!((demand.arrivals - 2_000.0).abs() < 1.0, "{demand:?}");
        assert!(demand.growth < 1.0 && (100.0..400.0).contains(&demand.safety), "{demand:?}");
        let queued = after(&[20.0; 60]).demand(&Outlook { queue: 500, ..outlook() });
        assert_eq!(queued.seats, demand.seats + 500);
    }

    #[test]
    fn a_jump_is_believed_at_once_and_grows_no_further_by_itself() {
        let mut rates = vec![1.0; 60];
        rates.push(30.0);
        let at_once = after(&rates);
        assert!((at_once.rate() - 30.0).abs() < 0.01, "{at_once:?}");
        assert!(at_once.within(HORIZON_MS) > 3_000.0);
        rates.extend([30.0; 12]);
        let later = after(&rates).within(HORIZON_MS);
        assert!((2_900.0..3_100.0).contains(&later), "{later}");
    }

    #[test]
    fn a_rising_pace_is_followed_beyond_where_it_is() {
        let rates: Vec<f64> = (0..60).map(f64::from).collect();
        let forecast = after(&rates);
        // One a second in five; what is damped when it is looked ahead is estimated lower, too.
        assert!((0.13..0.21).contains(&forecast.trend()), "{}", forecast.trend());
        let ahead = forecast.within(HORIZON_MS) / (HORIZON_MS as f64 / 1_000.0);
        assert!(ahead > 60.0, "{ahead} a second on average");
    }

    #[test]
    fn a_falling_pace_frees_seats_but_is_not_trusted() {
        let rates: Vec<f64> = (0..60).rev().map(|rate| f64::from(rate) + 5.0).collect();
        let mut forecast = after(&rates);
        let falling = forecast.demand(&outlook());
        assert_eq!(falling.growth, 0.0, "{falling:?}");
        forecast.leave(1_000, rates.len() as u64 * BIN_MS);
        forecast.advance((rates.len() as u64 + 1) * BIN_MS);
        assert!(forecast.demand(&outlook()).reused > 0.0);
        let queued = forecast.demand(&Outlook { queue: 1, ..outlook() });
        assert_eq!(queued.reused, 0.0, "no seat is counted on twice while somebody waits");
    }

    #[test]
    fn who_is_inside_sets_a_floor_and_so_do_operators() {
        let calm = after(&[0.0; 9]).demand(&Outlook { inside: 60_000, ..outlook() });
        assert_eq!(calm.seats, 400);
        let opening = after(&[0.0; 9]).demand(&Outlook { inside: 60_000, opening: true, ..outlook() });
        assert_eq!(opening.seats, 2_700);
        assert_eq!(after(&[]).demand(&Outlook { scheduled: 7_000, ..outlook() }).seats, 7_000);
    }

    #[test]
    fn an_announced_opening_has_its_islands_ready_when_the_doors_open() {
        // Figures of a reopening three times the usual: 95 players a second, islands of 200, forty at once in 90 s.
        let policy = Policy { design: 200, warm_parallel: 40, plan_every_ms: 5_000, ..Policy::default() };
        let opening = Announcement { opens_ms: 3_600_000, peak_per_s: 95.0, burst_ms: 300_000 };
        assert_eq!(opening.islands(&policy, 90_000), 10 + 43);
        let slow = Announcement { peak_per_s: 31.0, ..opening };
        assert_eq!(slow.islands(&policy, 90_000), 14, "islands get ready faster than players come");
        let seats = |now_ms| opening.seats(&policy, 90_000, now_ms);
        assert_eq!([seats(0), seats(3_599_000), seats(3_600_000)], [None, Some(53 * 200), None]);
        assert_eq!(seats(3_600_000 - 200_000), Some(53 * 200), "there is time for two rounds");
        assert!(opening.is_on(3_600_000) && !opening.is_on(3_900_000));
    }

    #[test]
    fn the_peak_of_a_while_is_remembered_for_that_while() {
        let mut peak = Peak::default();
        let mut note = |seats, bin| peak.note(seats, bin * BIN_MS, 10 * BIN_MS);
        assert_eq!([note(5, 0), note(9, 1), note(7, 2), note(1, 3)], [None; 4], "not known yet");
        assert_eq!([note(1, 11), note(1, 12), note(1, 13)], [Some(9), Some(7), Some(1)]);
    }

    #[test]
    fn a_long_silence_is_no_long_work() {
        let mut forecast = after(&[20.0; 9]);
        forecast.advance(u64::MAX / 2);
        assert!(forecast.rate() < 0.01, "{forecast:?}");
    }
}
