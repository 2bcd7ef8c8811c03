//! How soon a waiter returns to ask how things stand. Used by the queue, which tells it with every place.
//!
//! A waiter with `ahead` players before it, of `waiting` parties, returns after `min(I, ahead/ρ)`, but not before `RETURN_MIN_MS`: the nearer,
//! the sooner. I is what keeps the returns of all within `RETURNS_STEADY_PER_SECOND`. Those who return sooner than I are ranked
//! by `ahead`, no two alike, so that they return ρ·(1 + ln(I / RETURN_MIN_MS)) times a second in all, and ρ is chosen to
//! make that `RETURNS_NEAR_PER_SECOND`. While fewer than ρ a second are admitted (900 with two million waiting, 1,600 with a hundred
//! thousand), every waiter returns at least once more before it is admitted, or within twice `RETURN_MIN_MS`. If more are
//! admitted, the ticket of some waits for them.
//!
//! The first return is anywhere within twice I (and `ahead/ρ`, with ρ of the longest queue), by the number: the queue may be growing. Later ones are up to an eighth
//! early, by number and time: whoever came together doesn't return together, and an outage that brought returns together wears off.

use super::QueueNumber;
use crate::limits::{
    RETURN_EARLY_PART, RETURN_MAX_MS, RETURN_MIN_MS, RETURNS_NEAR_PER_SECOND, RETURNS_STEADY_PER_SECOND,
};
use chunk_sync::random::hash;

/// After how long the holder of `number` returns: `ahead` players are before it, `waiting` parties wait in all.
/// `is_first`: it just joined.
pub fn return_after_ms(number: QueueNumber, ahead: u64, waiting: u64, is_first: bool, now_ms: u64) -> u64 {
    let longest_ms = (waiting * 1_000 / RETURNS_STEADY_PER_SECOND).max(RETURN_MIN_MS);
    let by_rank_ms = |longest_ms| (ahead as f64 * 1_000.0 / ranks_per_second(longest_ms)) as u64;
    let (after_ms, off_most_ms) = if is_first {
        let after_ms = by_rank_ms(RETURN_MAX_MS / 2).min(2 * longest_ms).max(2 * RETURN_MIN_MS);
        (after_ms, after_ms - RETURN_MIN_MS)
    } else {
        // Even an eighth early it isn't too soon.
        let soonest_ms = RETURN_MIN_MS + RETURN_MIN_MS / (RETURN_EARLY_PART - 1) + 1;
        let after_ms = by_rank_ms(longest_ms).min(longest_ms).max(soonest_ms);
        (after_ms, after_ms / RETURN_EARLY_PART)
    };
    let draw = hash(if is_first { 0 } else { now_ms }, &number.0.to_be_bytes());
    // Multiplied in 128 bits, the draw's share of what may be taken off is exact.
    after_ms - ((u128::from(draw) * u128::from(off_most_ms + 1)) >> 64) as u64
}

/// ρ: players by whom a waiter must be nearer to return a second sooner.
fn ranks_per_second(longest_ms: u64) -> f64 {
    RETURNS_NEAR_PER_SECOND as f64 / (1.0 + (longest_ms as f64 / RETURN_MIN_MS as f64).ln())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{QUEUE_MAX, RETURNS_PER_SECOND_MAX};

    #[test]
    fn returns_of_all_stay_within_their_bound() {
        for waiting in [1_000, 30_000, 100_000, 1_000_000, QUEUE_MAX as u64] {
            let each = |ahead| return_after_ms(QueueNumber(ahead), ahead, waiting, false, 77);
            let per_second: f64 = (0..waiting).map(|ahead| 1_000.0 / each(ahead) as f64).sum();
            assert!(
                per_second <= RETURNS_PER_SECOND_MAX as f64,
                "{waiting} return {per_second} times a second"
            );
            assert!((0..waiting).step_by(997).all(|ahead| each(ahead) <= RETURN_MAX_MS));
        }
    }

    #[test]
    fn whoever_is_near_returns_before_it_is_admitted() {
        for (waiting, admitted) in [(100_000, 1_600), (1_000_000, 1_000), (QUEUE_MAX as u64, 900)] {
            for ahead in (0..waiting).step_by(331) {
                let after_ms = return_after_ms(QueueNumber(ahead), ahead, waiting, false, 5);
                let admitted_ms = ahead * 1_000 / admitted;
                assert!(after_ms <= admitted_ms.max(2 * RETURN_MIN_MS), "{ahead} of {waiting}");
            }
        }
    }

    #[test]
    fn who_came_together_returns_spread() {
        let waiting = 300_000;
        let longest_ms = 2 * waiting * 1_000 / RETURNS_STEADY_PER_SECOND;
        let mut per_tenth = [0u32; 10];
        for number in 0..waiting {
            let after_ms = return_after_ms(QueueNumber(number), 10_000_000, waiting, true, 9);
            assert!((RETURN_MIN_MS..=longest_ms).contains(&after_ms));
            per_tenth[((after_ms - 1) * 10 / longest_ms) as usize] += 1;
        }
        let even = waiting as u32 / 10;
        assert!(per_tenth.iter().all(|count| count.abs_diff(even) < even / 8), "{per_tenth:?}");
    }
}
