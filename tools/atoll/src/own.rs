//! What the process knows of itself: CPU time, memory, age.

use std::time::Instant;

use chunk_sync::limits::TICK_MS;
use metrics::gauge;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// The process's own figures, counted from when this was made.
#[derive(Debug)]
pub(crate) struct Own {
    began: Instant,
    role: &'static str,
}

impl Own {
    /// Begins to count.
    pub(crate) fn new(role: &'static str) -> Self {
        Self { began: Instant::now(), role }
    }

    /// Adds to a cluster's state what belongs to the server: `server_cpu_s` is this process's CPU time and
    /// `other_cpu_s`, what is known of other processes'.
    pub(crate) fn complete(&self, mut state: Value, other_cpu_s: f64) -> Value {
        if let Value::Object(fields) = &mut state {
            fields.insert("server_cpu_s".to_owned(), json!(rounded(cpu_s() + other_cpu_s)));
            fields.insert("server_rss_bytes".to_owned(), json!(resident_bytes()));
            fields.insert("uptime_s".to_owned(), json!(rounded(self.began.elapsed().as_secs_f64())));
            fields.insert("tick_budget_ms".to_owned(), json!(TICK_MS));
            fields.insert("role".to_owned(), json!(self.role));
            fields.insert("version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
        }
        state
    }

    /// Brings the process's metrics up to date.
    pub(crate) fn measure(&self) {
        gauge!("atoll_process_cpu_seconds").set(cpu_s());
        gauge!("atoll_process_uptime_seconds").set(self.began.elapsed().as_secs_f64());
        if let Some(bytes) = resident_bytes() {
            gauge!("atoll_process_resident_bytes").set(bytes as f64);
        }
        gauge!("atoll_info", "version" => env!("CARGO_PKG_VERSION"), "role" => self.role).set(1.0);
    }
}

/// CPU seconds of all threads of this process since its start.
fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn resident_bytes() -> Option<u64> {
    let statm = procfs::process::Process::myself().ok()?.statm().ok()?;
    Some(statm.resident * procfs::page_size())
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 1_000.0).round() / 1_000.0
}
