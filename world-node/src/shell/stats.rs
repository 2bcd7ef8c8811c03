//! What a node's thread measures of itself, and where everybody else reads it.
//!
//! The thread writes once a tick; metrics, the admin page and the census read whenever they like. Counters are
//! totals since the start. Nothing here decides anything.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use chunk_sync_io::mesh::MeshStats;
use rustix::time::{ClockId, clock_gettime};

use super::sockets::{PhaseTimes, SocketCounters};
use crate::core::ports::Phase;
use crate::core::{Counters, NodeCore};
use crate::limits::TICK_WINDOW;

macro_rules! node_stats {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Where the thread leaves its figures.
        #[derive(Debug, Default)]
        pub(super) struct SharedStats {
            $(pub(super) $name: AtomicU64,)*
            phase_ns: [AtomicU64; Phase::ALL.len()],
            tick_ms: AtomicU64,
            cpu_s: AtomicU64,
            mesh: Mutex<MeshStats>,
            counters: Mutex<Counters>,
        }

        /// A node's own figures at one moment.
        #[derive(Clone, PartialEq, Debug, Default)]
        pub struct NodeStats {
            $($(#[$doc])* pub $name: u64,)*
            /// Nanoseconds spent in each phase of the core's tick, in the order of `Phase::ALL`.
            pub phase_ns: [u64; Phase::ALL.len()],
            /// Length of a tick over the last 10 s, milliseconds: median and 99th percentile.
            pub tick_ms: (f32, f32),
            /// CPU seconds of the node's thread since its start.
            pub cpu_s: f64,
            /// The channel's counters, up to a second old.
            pub mesh: MeshStats,
            /// The core's counters, up to a second old.
            pub counters: Counters,
        }

        impl SharedStats {
            /// The figures as they are now.
            pub(super) fn read(&self) -> NodeStats {
                NodeStats {
                    $($name: self.$name.load(Relaxed),)*
                    phase_ns: std::array::from_fn(|phase| self.phase_ns[phase].load(Relaxed)),
                    tick_ms: unpack(self.tick_ms.load(Relaxed)),
                    cpu_s: f64::from_bits(self.cpu_s.load(Relaxed)),
                    mesh: self.mesh.lock().map(|mesh| mesh.clone()).unwrap_or_default(),
                    counters: self.counters.lock().map(|counters| counters.clone()).unwrap_or_default(),
                }
            }
        }
    };
}

node_stats! {
    /// Ticks run.
    ticks,
    /// Ticks left out because the one before took too long.
    ticks_skipped,
    /// The longest tick since the start, microseconds.
    tick_max_us,
    /// Microseconds spent taking in: new connections, client sockets, channel, answers of the store.
    take_in_us,
    /// Microseconds spent in the core's tick, sending to clients included.
    core_us,
    /// Microseconds spent handing out: channel and store.
    hand_out_us,
    /// Client connections now, closing ones included.
    connections,
    /// Client connections taken from the door.
    connections_taken,
    /// Client connections refused because the node has too many.
    connections_refused,
    /// Client connections that ended without the core's asking.
    connections_lost,
    /// Closed connections that didn't close their side in time.
    connections_cut,
    /// Bytes that clients sent.
    bytes_in,
    /// Bytes that client sockets took.
    bytes_out,
    /// Sends to clients.
    sends,
    /// Sends of which something had to wait.
    sends_waited,
    /// Operations that the store has yet to answer.
    store_in_flight,
    /// Operations that were not given to the store because too many were under way.
    store_refused,
    /// Islands of the plan that the node serves.
    islands,
    /// Sessions that are inside.
    sessions,
    /// Entities of other nodes that are shown here.
    ghosts,
    /// Chunks that the node claims.
    chunks_claimed,
}

impl SharedStats {
    /// Leaves the sockets' counters.
    pub(super) fn put_sockets(&self, counters: SocketCounters) {
        for (cell, value) in [
            (&self.connections, counters.open),
            (&self.connections_taken, counters.adopted),
            (&self.connections_lost, counters.lost),
            (&self.connections_cut, counters.cut),
            (&self.bytes_in, counters.bytes_in),
            (&self.bytes_out, counters.bytes_out),
            (&self.sends, counters.sends),
            (&self.sends_waited, counters.sends_waited),
        ] {
            cell.store(value, Relaxed);
        }
    }

    /// Leaves the time that the core's phases took.
    pub(super) fn put_phases(&self, phases: &PhaseTimes) {
        for (cell, total_ns) in self.phase_ns.iter().zip(phases.total_ns) {
            cell.store(total_ns, Relaxed);
        }
    }

    /// Leaves the thread's load.
    pub(super) fn put_load(&self, cpu_s: f64, tick_ms: (f32, f32)) {
        self.cpu_s.store(cpu_s.to_bits(), Relaxed);
        self.tick_ms.store(pack(tick_ms), Relaxed);
    }

    /// Leaves the channel's counters; when somebody reads them just now, the next time will do.
    pub(super) fn put_mesh(&self, stats: MeshStats) {
        if let Ok(mut mesh) = self.mesh.try_lock() {
            *mesh = stats;
        }
    }

    /// Leaves what the core says of itself; its counters like the channel's.
    pub(super) fn put_core(&self, core: &NodeCore) {
        for (cell, value) in [
            (&self.sessions, core.sessions()),
            (&self.ghosts, core.ghosts()),
            (&self.chunks_claimed, core.chunks_claimed()),
        ] {
            cell.store(value.into(), Relaxed);
        }
        if let Ok(mut counters) = self.counters.try_lock() {
            counters.clone_from(core.counters());
        }
    }
}

/// Both in one cell, so that a reader never sees halves of two moments.
fn pack((p50, p99): (f32, f32)) -> u64 {
    u64::from(p50.to_bits()) << 32 | u64::from(p99.to_bits())
}

fn unpack(cell: u64) -> (f32, f32) {
    (f32::from_bits((cell >> 32) as u32), f32::from_bits(cell as u32))
}

/// Lengths of the last [`TICK_WINDOW`] ticks.
#[derive(Debug)]
pub(super) struct TickTimes {
    ring: [f32; TICK_WINDOW],
    used: usize,
    next: usize,
}

impl TickTimes {
    pub(super) fn new() -> Self {
        Self { ring: [0.0; TICK_WINDOW], used: 0, next: 0 }
    }

    /// Adds one, over the oldest when the ring is full.
    pub(super) fn push(&mut self, length: Duration) {
        self.ring[self.next] = length.as_secs_f32() * 1_000.0;
        self.next = (self.next + 1) % TICK_WINDOW;
        self.used = (self.used + 1).min(TICK_WINDOW);
    }

    /// Median and 99th percentile in milliseconds (nearest rank); zero before the first tick.
    pub(super) fn percentiles(&self) -> (f32, f32) {
        let mut sorted = self.ring;
        let sorted = &mut sorted[..self.used];
        sorted.sort_unstable_by(f32::total_cmp);
        let rank = |percent: usize| {
            let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
            sorted.get(at).copied().unwrap_or(0.0)
        };
        (rank(50), rank(99))
    }
}

/// CPU seconds of the calling thread so far.
pub(super) fn own_thread_cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_window() {
        let mut times = TickTimes::new();
        assert_eq!(times.percentiles(), (0.0, 0.0));
        for _ in 0..TICK_WINDOW {
            times.push(Duration::from_secs(9));
        }
        for ms in 1..=TICK_WINDOW as u64 {
            times.push(Duration::from_millis(ms));
        }
        let (p50, p99) = times.percentiles();
        assert_eq!((p50.round() as usize, p99.round() as usize), (TICK_WINDOW / 2, TICK_WINDOW * 99 / 100));
    }

    #[test]
    fn both_percentiles_come_back() {
        let stats = SharedStats::default();
        stats.put_load(1.5, (0.25, f32::MAX));
        let read = stats.read();
        assert_eq!((read.cpu_s, read.tick_ms), (1.5, (0.25, f32::MAX)));
    }
}
