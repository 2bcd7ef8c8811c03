//! What the process knows of itself: CPU time, memory, age.

use std::sync::OnceLock;
use std::time::Instant;

use chunk_sync::limits::TICK_MS;
use metrics::gauge;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::audit::watch::Audit;
use crate::books::Shown;

/// The process's own figures, counted from when this was made.
#[derive(Debug)]
pub(crate) struct Own {
    began: Instant,
    role: &'static str,
    join: OnceLock<String>,
}

impl Own {
    /// Begins to count.
    pub(crate) fn new(role: &'static str) -> Self {
        Self { began: Instant::now(), role, join: OnceLock::new() }
    }

    /// Where clients ask for a seat; only the first time counts.
    pub(crate) fn note_join(&self, address: String) {
        self.join.get_or_init(|| address);
    }

    /// Where clients ask for a seat, once that is known.
    pub(crate) fn join(&self) -> Option<&str> {
        self.join.get().map(String::as_str)
    }

    /// A cluster's state as JSON, with what belongs to the server: `server_cpu_s` is this process's CPU time and
    /// `other_cpu_s`, what is known of other processes'; `unready` says why nobody can play, if so; `books`, how the
    /// ledger is.
    pub(crate) fn complete(
        &self,
        cluster: &impl Serialize,
        other_cpu_s: f64,
        unready: Option<String>,
        books: Option<&Shown>,
    ) -> Option<String> {
        let whole = Whole {
            cluster,
            books,
            audit: books.map(|books| &books.audit),
            ready: unready.is_none(),
            unready,
            server_cpu_s: rounded(cpu_s() + other_cpu_s),
            server_rss_bytes: resident_bytes(),
            uptime_s: rounded(self.began.elapsed().as_secs_f64()),
            tick_budget_ms: TICK_MS,
            join: self.join(),
            role: self.role,
            version: env!("CARGO_PKG_VERSION"),
        };
        serde_json::to_string(&whole).inspect_err(|error| tracing::error!(%error, "writing the state")).ok()
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

/// What `/api/state` says.
#[derive(Serialize)]
struct Whole<'a, C: Serialize> {
    #[serde(flatten)]
    cluster: &'a C,
    #[serde(skip_serializing_if = "Option::is_none")]
    books: Option<&'a Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit: Option<&'a Audit>,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    unready: Option<String>,
    server_cpu_s: f64,
    server_rss_bytes: Option<u64>,
    uptime_s: f64,
    tick_budget_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    join: Option<&'a str>,
    role: &'static str,
    version: &'static str,
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
