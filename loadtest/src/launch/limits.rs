//! The launch simulator's named limits and assumed numbers, units in their names.

use std::ops::RangeInclusive;

use chunk_sync::limits::{RESUME_GRACE_MS, TICKET_MS};
use population_allocator::limits::ALLOCATOR_LEASE_MS;

/// Design population, hard cap and minimum of an island, unless told otherwise.
pub const DESIGN: u32 = 200;
/// See above.
pub const CAP: u32 = 300;
/// See above.
pub const MINIMUM: u32 = 60;
/// 95th percentile of the time from decision to an open island, unless told otherwise.
pub const LEAD_S: u32 = 90;
/// Islands that may warm at once, unless told otherwise.
pub const WARM_PARALLEL: u32 = 40;
/// Players who are inside at once at the height of the launch at ×1, unless told otherwise.
pub const PEAK: u32 = 67_000;
/// Hours that doors are open on a day, unless told otherwise.
pub const HOURS: f64 = 4.0;

/// Most players an island may be made for.
pub const CAP_MAX: u32 = 100_000;
/// Longest lead.
pub const LEAD_S_MAX: u32 = 3_600;
/// Most islands that may warm at once, or be open at the start.
pub const ISLANDS_MAX: u32 = 100_000;
/// Highest peak, after scaling.
pub const PEAK_MAX: f64 = 5_000_000.0;
/// Largest scale.
pub const SCALE_MAX: f64 = 1_000.0;
/// Shortest and longest day.
pub const HOURS_ALLOWED: RangeInclusive<f64> = 0.1..=24.0;
/// Longest day that leaves a night before another.
pub const DAY_HOURS_BEFORE_ANOTHER_MAX: f64 = 18.0;
/// Most days.
pub const DAYS_MAX: u32 = 2;
/// Most arrivals of one run: each takes some 100 bytes.
pub const ARRIVALS_MAX: f64 = 20_000_000.0;
/// Most deaths of a kind.
pub const DEATHS_MAX: u32 = 1_000;
/// Largest file of arrivals.
pub const ARRIVALS_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Faults of a file of arrivals that are told.
pub const FILE_FAULTS_MAX: usize = 10;

/// Length of a day.
pub const DAY_S: u32 = 86_400;
/// Time between two planning steps.
pub const PLAN_EVERY_S: u32 = 5;
/// Arrivals are derived from a curve in steps of this length.
pub const BIN_S: u32 = 10;
/// How long before the doors open an announced opening is known.
pub const ANNOUNCED_S: u32 = 7_200;
/// How long the rush at the doors lasts, and how long the announced rate is expected to hold.
pub const RUSH_S: u32 = 300;

/// Players a minute at ×1 in the first minutes of a reopening: drawn between these for each seed.
pub const RUSH_PER_MINUTE: (f64, f64) = (1_200.0, 1_900.0);
/// Time constant of a reopening, minutes: drawn between these for each seed.
pub const TAU_MINUTES: (f64, f64) = (70.0, 94.0);
/// Time constant of the rush on top of it.
pub const RUSH_TAU_S: f64 = 420.0;
/// How much larger a step's later rate of arrivals is than its first.
pub const STEP_TIMES: f64 = 3.0;
/// Share of the day at which it steps.
pub const STEP_AT: f64 = 0.5;
/// After the doors' hours of a day that isn't the last, arrivals halve this often until the next.
pub const NIGHT_HALF_LIFE_S: f64 = 1_800.0;

/// Mean session, minutes, unless told otherwise.
pub const SESSION_MEAN_MINUTES: f64 = 60.0;
/// Shape of the Weibull law of sessions, unless told otherwise.
pub const SESSION_SHAPE: f64 = 0.55;
/// Median patience in the queue, minutes, unless told otherwise.
pub const PATIENCE_MINUTES: f64 = 20.0;
/// Sigma of the log-normal law of patience.
pub const PATIENCE_SIGMA: f64 = 1.0;
/// Sigma of the log-normal law of the time until an island is open.
pub const LEAD_SIGMA: f64 = 0.2;
/// The normal distribution's 95th percentile.
pub const NORMAL_P95: f64 = 1.6449;
/// Shortest session and patience.
pub const STAY_S_MIN: f64 = 1.0;
/// Longest session and patience, for the length of the calendar.
pub const STAY_S_MAX: f64 = 4.0 * DAY_S as f64;

/// Share of newcomers who come with friends, unless told otherwise.
pub const PARTY_SHARE: f64 = 0.2;
/// Smallest and largest party.
pub const PARTY_SIZES: (u32, u32) = (2, 5);
/// Share of newcomers who make a home where they landed, unless told otherwise.
pub const RESIDENT_SHARE: f64 = 0.15;
/// Share of the second day's arrivals who were there on the first, unless told otherwise.
pub const RETURN_SHARE: f64 = 0.7;
/// Share of connections that are lost instead of ended, unless told otherwise.
pub const LOST_SHARE: f64 = 0.02;

/// Longest time from being let in to being inside.
pub const ENTRY_S_MAX: u32 = 4;
/// How long a ticket is good for; then the seat is free again.
pub const TICKET_S: u32 = (TICKET_MS / 1_000) as u32;
/// How long the seat of a lost session is held.
pub const GRACE_S: u32 = (RESUME_GRACE_MS / 1_000) as u32;
/// How long a dead allocator's place is empty.
pub const ALLOCATOR_PAUSE_S: u32 = (ALLOCATOR_LEASE_MS as u32).div_ceil(1_000);
/// Islands that one node serves.
pub const NODE_ISLANDS: u32 = 8;
/// Sessions of a dead node that don't resume.
pub const NODE_DEATH_LOST_SHARE: f64 = 0.1;
/// Shortest and longest time until a session of a dead node resumes.
pub const RESUME_S: (u32, u32) = (5, 60);
/// Deaths happen this long after the doors opened at the earliest.
pub const DEATHS_FROM_S: u32 = 600;

/// Age from which an island under the minimum counts as sparse.
pub const SPARSE_AGE_S: u32 = 600;
/// Longest wait that is told apart.
pub const WAIT_S_MAX: u64 = STAY_S_MAX as u64;
/// Points of a curve in the report.
pub const POINTS_MAX: u32 = 480;

/// Share of the seats at which `utilisation` opens more.
pub const UTILISATION: f64 = 0.8;
/// Islands' worth of free seats that `buffer` keeps.
pub const BUFFER_ISLANDS: u32 = 5;
/// Share of an island's active users that `activity-window` expects to be inside.
pub const ONLINE_SHARE: f64 = 0.15;
/// Length of its window.
pub const ACTIVITY_WINDOW_S: u32 = DAY_S;
/// Share of the places, by its count, at which `activity-window` opens more.
pub const ACTIVITY_FULL: f64 = 0.8;

const _: () = {
    assert!(RESUME_S.1 < GRACE_S, "who resumes finds the seat held");
    assert!(ENTRY_S_MAX < TICKET_S, "who comes in has a ticket");
    assert!(RUSH_S.is_multiple_of(BIN_S) && DAY_S.is_multiple_of(BIN_S));
    assert!(PLAN_EVERY_S <= BIN_S);
};
