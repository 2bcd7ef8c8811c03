//! The world's clock: this machine's monotonic clock, set by the store's and kept in step with it.
//!
//! The clocks of hosts drift apart by seconds in a week. A keeper compares with the store now and then and makes
//! the world's clock run a little faster or slower until they agree. It never goes back: ticks are numbers of this
//! clock. It steps forward only when it is so far behind that the host must have stood still; the node then finds
//! itself late, as after any pause.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use chunk_sync::limits::PAUSE_MS_MAX;

use super::{Reading, WorldError, read_clock};
use crate::store::StoreHandle;

/// How much faster or slower than this machine's the world's clock may run: a hundredth.
const SLEW_PPM_MAX: i64 = 10_000;
/// How often the clock is compared with the store's.
const COMPARE_EVERY: Duration = Duration::from_secs(10);
/// A difference that is told to operators: nodes that are further apart drop each other's frames.
const APART_MS_MAX: i64 = 1_000;
/// A clock that is further behind steps forward: its host stood still, clock and all.
const BEHIND_US_MAX: i64 = PAUSE_MS_MAX as i64 * 1_000;

/// The world's clock: milliseconds since the world began. Copies are the same clock.
#[derive(Clone, Debug)]
pub struct WorldClock {
    line: Arc<RwLock<Line>>,
}

/// World time as a line over this machine's monotonic time.
#[derive(Clone, Copy, Debug)]
struct Line {
    from: Instant,
    from_us: u64,
    /// Parts per million by which it is faster than this machine's clock, for so long; then it keeps pace.
    ppm: i64,
    bends: Duration,
}

impl Line {
    fn at(&self, instant: Instant) -> u64 {
        let elapsed = instant.saturating_duration_since(self.from);
        let bent_us = elapsed.min(self.bends).as_micros() as i64;
        self.from_us + (elapsed.as_micros() as i64 + bent_us * self.ppm / 1_000_000) as u64
    }

    fn instant_at(&self, world_us: u64) -> Instant {
        let bent = self.from + self.bends;
        let bent_us = self.at(bent);
        if world_us > bent_us {
            return bent + Duration::from_micros(world_us - bent_us);
        }
        let ahead_us = i128::from(world_us.saturating_sub(self.from_us));
        let rate = i128::from(1_000_000 + self.ppm);
        // Rounded up: at that instant the clock shows this time, not a moment less.
        let elapsed_us = (ahead_us * 1_000_000 + rate - 1) / rate;
        self.from + Duration::from_micros(u64::try_from(elapsed_us).unwrap_or(0))
    }

    /// The line from `now` on that is right after `within`, if the slew allows it; then it goes straight on.
    fn bent(&self, now: Instant, error_us: i64, within: Duration) -> Line {
        if error_us > BEHIND_US_MAX {
            return Line {
                from: now,
                from_us: self.at(now) + error_us as u64,
                ppm: 0,
                bends: Duration::ZERO,
            };
        }
        let within_us = i64::try_from(within.as_micros()).unwrap_or(i64::MAX).max(1);
        let ppm = i128::from(error_us) * 1_000_000 / i128::from(within_us);
        let ppm = ppm.clamp(-i128::from(SLEW_PPM_MAX), i128::from(SLEW_PPM_MAX)) as i64;
        Line { from: now, from_us: self.at(now), ppm, bends: within }
    }
}

impl WorldClock {
    /// A clock that shows `world_ms` at the moment `at`.
    pub fn new(world_ms: u64, at: Instant) -> Self {
        let line = Line { from: at, from_us: world_ms * 1_000, ppm: 0, bends: Duration::ZERO };
        Self { line: Arc::new(RwLock::new(line)) }
    }

    fn line(&self) -> Line {
        *self.line.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// World milliseconds now, rounded down.
    pub fn now_ms(&self) -> u64 {
        self.line().at(Instant::now()) / 1_000
    }

    /// The moment at which the clock shows `world_ms`, as far as is known now; a time that is past for long is
    /// some moment in the past.
    pub fn instant_at(&self, world_ms: u64) -> Instant {
        self.line().instant_at(world_ms * 1_000)
    }

    /// Runs faster or slower from now on, so as to agree with a clock that showed `world_ms` at `reading.at` by the
    /// next comparison. Returns by how much it was behind, µs.
    fn steer(&self, world_ms: u64, reading: &Reading) -> i64 {
        let mut line = self.line.write().unwrap_or_else(PoisonError::into_inner);
        // The store counts whole milliseconds: half of one is the better guess.
        let error_us = (world_ms * 1_000 + 500) as i64 - line.at(reading.at) as i64;
        let doubt_us = (reading.way.as_micros() / 2) as i64 + 500;
        let aim_us = if error_us.abs() <= doubt_us { 0 } else { error_us };
        *line = line.bent(Instant::now(), aim_us, COMPARE_EVERY);
        error_us
    }
}

/// Keeps a clock in step with the store's until it is stopped or dropped.
#[derive(Debug)]
pub struct ClockKeeper {
    task: tokio::task::JoinHandle<()>,
}

impl ClockKeeper {
    /// Starts to keep `clock`, of a world that began at `began_ms` of the store's clock. Must be called on a tokio
    /// runtime.
    pub fn start(clock: WorldClock, began_ms: u64, store: StoreHandle) -> Self {
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(COMPARE_EVERY).await;
                compare(&clock, began_ms, &store).await;
            }
        });
        Self { task }
    }

    /// Ends it; its handle of the store is dropped when this returns.
    pub async fn stop(mut self) {
        self.task.abort();
        // An abort is what was asked for.
        let _ = (&mut self.task).await;
    }
}

impl Drop for ClockKeeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One comparison. A store that is away is no reason to change anything.
async fn compare(clock: &WorldClock, began_ms: u64, store: &StoreHandle) {
    let reading: Result<Reading, WorldError> = read_clock(store).await;
    let Ok(reading) = reading else { return };
    let behind_us = clock.steer(reading.store_ms.saturating_sub(began_ms), &reading);
    if (behind_us / 1_000).abs() > APART_MS_MAX {
        tracing::warn!(behind_ms = behind_us / 1_000, "the world's clock and the store's are far apart");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_clock_finds_its_moments_again() {
        let at = Instant::now();
        let clock = WorldClock::new(5_000, at);
        assert_eq!(clock.instant_at(5_250), at + Duration::from_millis(250));
        assert_eq!(clock.instant_at(4_000), at, "before it was opened there is nothing to wait for");
        let (first, second) = (clock.now_ms(), clock.now_ms());
        assert!(5_000 <= first && first <= second);
        // What is due by its moment is due by its number.
        assert!(Instant::now() < clock.instant_at(first + 1_000));
    }

    #[test]
    fn a_clock_that_is_behind_catches_up_and_one_that_is_ahead_waits() {
        let at = Instant::now();
        for apart_ms in [40i64, -40] {
            let clock = WorldClock::new(1_000_000, at);
            let store_ms = (1_000_000 + apart_ms) as u64;
            let reading = Reading { store_ms, at, way: Duration::from_millis(1) };
            let behind_us = clock.steer(store_ms, &reading);
            assert!((behind_us - apart_ms * 1_000).abs() <= 1_000, "{behind_us}");
            let later = clock.line().from + COMPARE_EVERY;
            let right_us = (later - at).as_micros() as i64 + 1_000 * (1_000_000 + apart_ms);
            assert!((clock.line().at(later) as i64 - right_us).abs() < 1_500);
        }
    }

    #[test]
    fn a_store_that_is_away_stops_no_clock_from_keeping_pace() {
        let at = Instant::now();
        let clock = WorldClock::new(1_000_000, at);
        clock.steer(1_000_100, &Reading { store_ms: 1_000_100, at, way: Duration::from_millis(1) });
        let line = clock.line();
        assert!(line.ppm > 9_000);
        // Nobody compares for ten minutes.
        let later = line.from + Duration::from_secs(600);
        let gained_us = line.at(later) - line.from_us - 600_000_000;
        assert!((95_000..=101_000).contains(&gained_us), "{gained_us}");
        let due = line.instant_at(line.at(later) + 5_000);
        assert_eq!(due, later + Duration::from_millis(5));
    }

    #[test]
    fn a_clock_that_stood_still_with_its_host_steps_forward_and_never_back() {
        let at = Instant::now();
        let clock = WorldClock::new(1_000_000, at);
        clock.steer(1_006_000, &Reading { store_ms: 1_006_000, at, way: Duration::from_millis(1) });
        let now_us = clock.line().from_us;
        assert!(now_us >= 1_006_000_000, "{now_us}");
        clock.steer(1_000_000, &Reading { store_ms: 1_000_000, at, way: Duration::from_millis(1) });
        assert!(clock.line().from_us >= now_us && clock.line().ppm < 0);
    }

    #[test]
    fn what_may_be_the_way_alone_changes_nothing() {
        let at = Instant::now();
        let clock = WorldClock::new(1_000_000, at);
        let reading = Reading { store_ms: 0, at, way: Duration::from_millis(100) };
        clock.steer(1_000_040, &reading);
        assert_eq!(clock.line().ppm, 0);
    }

    proptest! {
        #[test]
        fn it_never_goes_back_and_never_races(
            steps in proptest::collection::vec((0u64..20_000, -100_000_000i64..BEHIND_US_MAX), 1..40),
        ) {
            let at = Instant::now();
            let mut line = Line { from: at, from_us: 5_000_000, ppm: 0, bends: Duration::ZERO };
            let (mut now, mut shown) = (at, line.at(at));
            for (wait_ms, error_us) in steps {
                let before = (now, shown);
                now += Duration::from_millis(wait_ms);
                shown = line.at(now);
                let passed_us = (now - before.0).as_micros() as u64;
                let ran_us = shown - before.1;
                prop_assert!(ran_us >= passed_us * 99 / 100 && ran_us <= passed_us * 101 / 100 + 1);
                line = line.bent(now, error_us, COMPARE_EVERY);
                prop_assert_eq!(line.at(now), shown);
                let due = line.instant_at(shown + 700_000);
                prop_assert!(line.at(due) >= shown + 700_000 && line.at(due) <= shown + 700_003);
            }
        }
    }
}
