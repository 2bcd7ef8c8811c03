//! The embedded store's clock: Unix time that never goes back, neither while it runs nor over a restart.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use chunk_sync::store::StoreClock;

use crate::store::StoreOptions;

/// Starts at the system's time, or at the last time that the file remembers if that is later, and then runs
/// with the monotonic clock: setting the system's clock neither ends nor lengthens a lease.
pub(super) struct Clock {
    base_ms: u64,
    started: Instant,
    options: StoreOptions,
}

impl Clock {
    /// A clock for a store that starts now and was last seen at `last_ms`.
    pub(super) fn start(last_ms: u64, options: StoreOptions) -> Self {
        let system = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let system_ms = u64::try_from(system.as_millis()).unwrap_or(u64::MAX);
        Self { base_ms: system_ms.max(last_ms), started: Instant::now(), options }
    }

    /// The time as a commit is judged by.
    pub(super) fn now(&self) -> StoreClock {
        let served_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        StoreClock {
            now_ms: self.base_ms.saturating_add(served_ms),
            served_ms,
            lease_guard_ms: self.options.lease_guard_ms,
            actor_idle_ms: self.options.actor_idle_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_never_starts_before_it_stopped() {
        let start = |last_ms| Clock::start(last_ms, StoreOptions::default());
        let now = start(0).now();
        assert!(now.now_ms > 1_700_000_000_000 && now.served_ms < 10_000);
        let ahead = now.now_ms + 1_000_000;
        assert!(start(ahead).now().now_ms >= ahead);
        assert_eq!(start(u64::MAX).now().now_ms, u64::MAX);
    }
}
