//! `loadtest null`: the null server with its own clients, the floor that every CPU figure is a ratio of.
//!
//! The server is the cheapest thing that can serve such a crowd: a thread that sleeps to the tick, receives
//! the clients' moves and sends each client one ready-made buffer. What a real server costs beyond it is
//! its own doing. The server runs as a process of its own and counts its own CPU time; this process runs
//! the clients. Called by the command line and by `tools/bench`; never judges another server.

mod child;
mod clients;
mod frame;
mod report;
mod server;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::RangedU64ValueParser;

use self::child::ServerProcess;
use self::clients::{ClientCounts, ClientEnd, Clients};
pub use self::report::Report;
use self::report::{Snapshot, Totals};
pub use self::server::serve;
use crate::cli::Ending;
use crate::limits::{
    CHECK_MS, MEASURE_S_MAX, NULL_BOTS_MAX, NULL_FRAME_BYTES_MAX, NULL_FRAME_BYTES_MIN, NULL_TICK_HZ_MAX,
    WARM_UP_S_MAX,
};
use crate::{cpu, interrupt, open_files};

/// Arguments of `loadtest null`.
#[derive(Debug, Clone, Args)]
pub struct NullArgs {
    /// Clients; each sends one 15-byte move per 100 ms and reads everything.
    #[arg(long, value_parser = within(1, NULL_BOTS_MAX))]
    pub bots: u32,
    /// Bytes that the server sends each client per tick, the 13-byte personal header included.
    #[arg(long, value_parser = within(NULL_FRAME_BYTES_MIN, NULL_FRAME_BYTES_MAX))]
    pub bytes: u32,
    /// Server ticks a second.
    #[arg(long, default_value_t = 10, value_parser = within(1, NULL_TICK_HZ_MAX))]
    pub hz: u32,
    /// Length of the measured window.
    #[arg(long, value_parser = within(1, MEASURE_S_MAX))]
    pub seconds: u32,
    /// Seconds of the same load before the measured window.
    #[arg(long, default_value_t = 2, value_parser = within(0, WARM_UP_S_MAX))]
    pub warm_up: u32,
    /// Also write the report to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Arguments of the server process, given by [`run`].
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// Clients to wait for.
    #[arg(long, value_parser = within(1, NULL_BOTS_MAX))]
    pub bots: u32,
    /// Bytes per client and tick, personal header included.
    #[arg(long, value_parser = within(NULL_FRAME_BYTES_MIN, NULL_FRAME_BYTES_MAX))]
    pub bytes: u32,
    /// Ticks a second.
    #[arg(long, value_parser = within(1, NULL_TICK_HZ_MAX))]
    pub hz: u32,
}

fn within(min: u32, max: u32) -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(u64::from(min)..=u64::from(max))
}

/// Why a null run failed.
#[derive(Debug, thiserror::Error)]
pub enum NullError {
    /// Too few file descriptors for this many bots.
    #[error(transparent)]
    OpenFiles(#[from] open_files::TooFewOpenFiles),
    /// The report can't be written where it was asked for.
    #[error("can't write --json {}: {source}", path.display())]
    Json {
        /// The file that was named.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A system call that a run can't do without.
    #[error("null: can't {what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// CPU figures can't be read.
    #[error(transparent)]
    Cpu(#[from] cpu::CpuError),
    /// Not all clients connected in time.
    #[error("null server: only {came} of {asked} clients connected in time")]
    ClientsMissing {
        /// Clients that are connected.
        came: u32,
        /// Clients that were to come.
        asked: u32,
    },
    /// The server process ended before it was told to; unless it was killed, it said why on stderr.
    #[error("the null server's process ended early")]
    ServerEnded,
    /// The server process doesn't answer.
    #[error("the null server's process doesn't answer")]
    ServerSilent,
    /// The server process said something that it never says.
    #[error("the null server's process said {0:?}")]
    ServerTalk(String),
    /// All connections were lost while the server lived on, or the clients' thread panicked (stderr says so).
    #[error("the clients all ended early")]
    ClientsEnded,
    /// Not everything sent arrived as sent; the report is written all the same.
    #[error("invalid run: {errors} failed connections, {disconnects} lost clients, {lost_bytes} lost bytes")]
    Broken {
        /// Connections that failed or carried something else than the server's frames.
        errors: u64,
        /// Clients that the server lost.
        disconnects: u64,
        /// Bytes sent and not received.
        lost_bytes: i64,
    },
}

impl NullError {
    /// Whether other arguments or a roomier machine would help, as opposed to a run that broke.
    pub(crate) fn is_bad_input(&self) -> bool {
        matches!(self, Self::OpenFiles(_) | Self::Json { .. })
    }

    fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

/// Runs server and clients, measures, prints the summary, writes the JSON file.
///
/// # Errors
/// When the run can't start, breaks off, or delivered something else than what was sent.
pub fn run(args: &NullArgs) -> Result<Ending, NullError> {
    if let Some(path) = &args.json {
        check_writable(path)?;
    }
    open_files::raise_for(u64::from(args.bots))?;
    let interrupted = interrupt::watch().map_err(NullError::io("watch for Ctrl-C"))?;

    let mut server = ServerProcess::start(args)?;
    let counts = Arc::new(ClientCounts::default());
    let Some(clients) = Clients::connect(args, server.port(), &counts, &interrupted)? else {
        return Ok(Ending::Interrupted);
    };
    server.wait_serving()?;
    let clients = RunningClients::start(clients, &counts)?;
    note(&format!("null: {} clients connected, warming up for {} s", args.bots, args.warm_up));
    wait(Duration::from_secs(args.warm_up.into()), &interrupted, &mut server, &clients)?;
    if interrupted.load(Ordering::Relaxed) {
        return Ok(Ending::Interrupted);
    }

    note(&format!("null: measuring for {} s", args.seconds));
    let before = Snapshot::take(&mut server, &counts)?;
    counts.measuring.store(true, Ordering::Relaxed);
    wait(Duration::from_secs(args.seconds.into()), &interrupted, &mut server, &clients)?;
    counts.measuring.store(false, Ordering::Relaxed);
    let after = Snapshot::take(&mut server, &counts)?;

    let last = server.stop()?;
    let end = clients.join()?;
    let totals = Totals::new(&last, &counts, end.errors);
    let interrupted = interrupted.load(Ordering::Relaxed);
    let report = Report::new(args, &before, &after, &totals, end.late_ms, interrupted);
    publish(&report, args)?;
    if totals.is_broken() {
        let Totals { errors, disconnects, lost_bytes } = totals;
        return Err(NullError::Broken { errors, disconnects, lost_bytes });
    }
    Ok(if interrupted { Ending::Interrupted } else { Ending::Done })
}

/// The clients on their thread. Dropping it, on a run that failed or was interrupted, ends them.
struct RunningClients {
    thread: Option<JoinHandle<Result<ClientEnd, NullError>>>,
    counts: Arc<ClientCounts>,
}

impl RunningClients {
    fn start(clients: Clients, counts: &Arc<ClientCounts>) -> Result<Self, NullError> {
        let thread = std::thread::Builder::new()
            .name("null-clients".to_owned())
            .spawn(move || clients.run())
            .map_err(NullError::io("start a thread"))?;
        Ok(Self { thread: Some(thread), counts: Arc::clone(counts) })
    }

    fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until the server has ended every connection.
    fn join(mut self) -> Result<ClientEnd, NullError> {
        let thread = self.thread.take().ok_or(NullError::ClientsEnded)?;
        thread.join().map_err(|_| NullError::ClientsEnded)?
    }
}

impl Drop for RunningClients {
    fn drop(&mut self) {
        self.counts.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The run failed for a reason of its own, which is what gets reported.
            let _ = thread.join();
        }
    }
}

/// Waits for `time`, or less when interrupted. A server or clients that ended meanwhile end the run.
fn wait(
    time: Duration,
    interrupted: &AtomicBool,
    server: &mut ServerProcess,
    clients: &RunningClients,
) -> Result<(), NullError> {
    let end = Instant::now() + time;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || interrupted.load(Ordering::Relaxed) {
            return Ok(());
        }
        if server.has_ended() {
            return Err(NullError::ServerEnded);
        }
        if clients.is_finished() {
            return Err(NullError::ClientsEnded);
        }
        std::thread::sleep(left.min(Duration::from_millis(CHECK_MS)));
    }
}

/// Finds out before the run whether the report can be written after it.
fn check_writable(path: &Path) -> Result<(), NullError> {
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
    opened.map(drop).map_err(|source| NullError::Json { path: path.to_owned(), source })
}

fn publish(report: &Report, args: &NullArgs) -> Result<(), NullError> {
    if let Some(path) = &args.json {
        let mut json = serde_json::to_string_pretty(report).expect("a report has only string keys");
        json.push('\n');
        std::fs::write(path, json).map_err(|source| NullError::Json { path: path.clone(), source })?;
    }
    write!(io::stdout().lock(), "{report}").map_err(NullError::io("print the summary"))
}

/// Says on stderr how far the run is.
fn note(line: &str) {
    // Progress that nobody can read is no reason to stop.
    let _ = writeln!(io::stderr().lock(), "{line}");
}
