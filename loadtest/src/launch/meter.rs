//! What is measured: sums over time, waits, forecasts; and the figures and curves that come of it.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::allocation::{Forecast, Second};
use super::islands::{Islands, Spread, Sums};
use super::limits::{PLAN_EVERY_S, WAIT_S_MAX};

/// Waits, seconds.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Waits {
    /// Half waited at most so long.
    pub p50: f64,
    /// 90 % did.
    pub p90: f64,
    /// 99 % did.
    pub p99: f64,
}

/// How far forecasts were off, players.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct ForecastError {
    /// Mean distance.
    pub mae: f64,
    /// 99 % of the forecasts fell short by this at most.
    pub p99_under: f64,
}

/// What became of every arrival.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Fates {
    /// All of them.
    pub arrivals: u64,
    /// Still in the queue.
    pub waiting: u64,
    /// Let in and not inside yet, or no longer: the seat is held.
    pub held: u64,
    /// Inside.
    pub inside: u64,
    /// Were inside and left.
    pub left: u64,
    /// Left the queue for lack of patience.
    pub gave_up: u64,
    /// Lost their connection in the queue: let in, never came.
    pub vanished: u64,
}

impl Fates {
    /// Whether everybody is somewhere, once.
    pub fn is_whole(&self) -> bool {
        self.arrivals == self.waiting + self.held + self.inside + self.left + self.gave_up + self.vanished
    }
}

/// The figures of one policy.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Figures {
    /// Share of player-minutes in islands above the cap, per cent.
    pub over_cap_pct: f64,
    /// In islands above the design population.
    pub over_design_pct: f64,
    /// In islands under the minimum that have been open for over 10 minutes.
    pub sparse_pct: f64,
    /// From joining to being let in; of those who still wait, what they have waited so far.
    pub wait_s: Waits,
    /// Share of the arrivals that lost patience.
    pub gave_up_pct: f64,
    /// Most islands that were open at once.
    pub islands: u32,
    /// The same against the clairvoyant policy's.
    pub islands_vs_clairvoyant: f64,
    /// Seats up to the design population that nobody had, times minutes.
    pub spare_seat_minutes: f64,
    /// Residents who found their home full and were let in elsewhere.
    pub guests: u64,
    /// Parties whose members are on different islands.
    pub split_parties: u64,
    /// Players who were let in while somebody of their kind waited longer.
    pub order_inversions: u64,
    /// Of policies that forecast.
    pub forecast_error: Option<ForecastError>,
    /// Most players who waited at once.
    pub peak_waiting: u64,
    /// Most players inside at once.
    pub peak_inside: u64,
    /// Most players that were ever inside one island.
    pub fullest_island: u32,
    /// Players with a home, at the end.
    pub residents: u64,
    /// Sessions that lost their node.
    pub node_losses: u64,
    /// What became of everybody.
    pub fates: Fates,
}

/// One moment of a run.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Point {
    /// When.
    pub at_s: Second,
    /// Players a second who joined the queue since the point before.
    pub joined_per_s: f64,
    /// Homeless players a second that the policy expects until its horizon, if it forecasts.
    pub forecast_per_s: Option<f64>,
    /// How many came in that time.
    pub came_per_s: Option<f64>,
    /// In the queue.
    pub waiting: u64,
    /// Sums over islands.
    pub sums: Sums,
    /// How players are spread.
    pub spread: Spread,
}

/// Collects all that.
#[derive(Debug)]
pub struct Meter {
    waits: Histogram<u64>,
    player_s: u64,
    over_cap_s: u64,
    over_design_s: u64,
    sparse_s: u64,
    spare_s: u64,
    peak_inside: u64,
    peak_waiting: u64,
    open_max: u32,
    /// Homeless players who joined until each second.
    joined: Vec<u64>,
    forecasts: Vec<(Second, Forecast)>,
    point_every_s: Second,
    /// The curves so far.
    pub points: Vec<Point>,
}

impl Meter {
    /// At the start; with a point so often.
    pub fn new(point_every_s: Second) -> Self {
        Self {
            waits: Histogram::new_with_bounds(1, WAIT_S_MAX, 3).expect("the bounds are constants that fit"),
            player_s: 0,
            over_cap_s: 0,
            over_design_s: 0,
            sparse_s: 0,
            spare_s: 0,
            peak_inside: 0,
            peak_waiting: 0,
            open_max: 0,
            joined: Vec::new(),
            forecasts: Vec::new(),
            point_every_s,
            points: Vec::new(),
        }
    }

    /// Somebody's wait is over, or so long so far.
    pub fn waited(&mut self, seconds: Second) {
        self.waits.saturating_record(seconds.into());
    }

    /// What a policy expects now.
    pub fn forecast(&mut self, forecast: Forecast, now: Second) {
        self.forecasts.push((now, forecast));
    }

    /// A second is over.
    pub fn second(
        &mut self,
        now: Second,
        islands: &Islands,
        joined_homeless: u64,
        joined: u64,
        waiting: u64,
    ) {
        let sums = islands.sums;
        self.player_s += sums.inside;
        self.over_cap_s += sums.over_cap;
        self.over_design_s += sums.over_design;
        self.spare_s += sums.spare;
        self.peak_inside = self.peak_inside.max(sums.inside);
        self.peak_waiting = self.peak_waiting.max(waiting);
        self.open_max = self.open_max.max(sums.open);
        self.joined.push(self.joined.last().copied().unwrap_or(0) + joined_homeless);
        if now.is_multiple_of(PLAN_EVERY_S) {
            self.sparse_s += islands.sparse(now) * u64::from(PLAN_EVERY_S);
        }
        self.point(now, islands, joined, waiting);
    }

    fn point(&mut self, now: Second, islands: &Islands, joined: u64, waiting: u64) {
        let every_s = self.point_every_s;
        let share = joined as f64 / f64::from(every_s);
        if now.is_multiple_of(every_s) {
            let forecast = self.forecasts.last().filter(|(at_s, _)| *at_s == now);
            self.points.push(Point {
                at_s: now,
                joined_per_s: share,
                forecast_per_s: forecast.map(|(_, one)| one.homeless / f64::from(one.horizon_s.max(1))),
                came_per_s: None,
                waiting,
                sums: islands.sums,
                spread: islands.spread(),
            });
        } else if let Some(point) = self.points.last_mut() {
            // The rate stands at the point where it begins.
            point.joined_per_s += share;
        }
    }

    /// The run is over: what can be known only now.
    pub fn finish(&mut self, end_s: Second) {
        let Self { points, forecasts, joined, .. } = self;
        if let Some(last) = points.last_mut() {
            // Its interval was cut short.
            last.joined_per_s *= f64::from(self.point_every_s) / f64::from(end_s - last.at_s);
        }
        for point in points.iter_mut().filter(|point| point.forecast_per_s.is_some()) {
            let made = forecasts.binary_search_by_key(&point.at_s, |(at_s, _)| *at_s);
            let horizon_s = made.map_or(1, |nth| forecasts[nth].1.horizon_s.max(1));
            point.came_per_s = came(joined, point.at_s, horizon_s).map(|came| came / f64::from(horizon_s));
        }
    }

    fn forecast_error(&self) -> Option<ForecastError> {
        let off = |(now, forecast): &(Second, Forecast)| {
            Some(came(&self.joined, *now, forecast.horizon_s)? - forecast.homeless)
        };
        let mut off: Vec<f64> = self.forecasts.iter().filter_map(off).collect();
        if off.is_empty() {
            return None;
        }
        off.sort_unstable_by(f64::total_cmp);
        let mae = off.iter().map(|off| off.abs()).sum::<f64>() / off.len() as f64;
        let p99 = off[(off.len() * 99 / 100).min(off.len() - 1)];
        Some(ForecastError { mae: tenths(mae), p99_under: tenths(p99.max(0.0)) })
    }

    /// The figures; those that need more than the meter knows are left at 0.
    pub fn figures(&self, islands: &Islands, fates: Fates) -> Figures {
        let of_players = |part_s: u64| per_cent(part_s, self.player_s);
        let wait = |quantile| match self.waits.is_empty() {
            true => 0.0,
            false => self.waits.value_at_quantile(quantile) as f64,
        };
        Figures {
            over_cap_pct: of_players(self.over_cap_s),
            over_design_pct: of_players(self.over_design_s),
            sparse_pct: of_players(self.sparse_s),
            wait_s: Waits { p50: wait(0.5), p90: wait(0.9), p99: wait(0.99) },
            gave_up_pct: per_cent(fates.gave_up, fates.arrivals),
            islands: self.open_max,
            spare_seat_minutes: (self.spare_s as f64 / 60.0).round(),
            forecast_error: self.forecast_error(),
            peak_inside: self.peak_inside,
            peak_waiting: self.peak_waiting,
            fullest_island: islands.sums.fullest,
            residents: islands.sums.residents,
            fates,
            ..Figures::default()
        }
    }
}

/// Homeless players who came within so many seconds, if the run was long enough.
fn came(joined: &[u64], now: Second, horizon_s: Second) -> Option<f64> {
    let until = joined.get((now + horizon_s) as usize)?;
    Some((until - joined[now as usize]) as f64)
}

fn per_cent(part: u64, whole: u64) -> f64 {
    let share = part as f64 / (whole as f64).max(1.0) * 100.0;
    // Rounded up from nothing: a share that isn't zero never reads as zero.
    let rounded = (share * 1_000.0).round() / 1_000.0;
    if part > 0 { rounded.max(0.001) } else { 0.0 }
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
