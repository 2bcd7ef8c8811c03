//! `loadtest swarm`: thousands of bots in one process, built on the client core. They enter through the allocator
//! like anybody else, walk, check every frame that they get and measure how soon steps are seen.
//!
//! All bots live in one loop on the calling thread. Called by the command line; it starts no server.

mod bot;
mod engine;
mod land;
pub mod limits;
mod link;
mod progress;
mod report;
mod server;
mod settle;
mod sight;
mod tally;
mod walk;

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;

use self::engine::{Engine, Scratch};
use self::limits::{
    AGREE_EVERY_MS, AGREE_MS_MAX, JOIN_MS_MAX, JOIN_RATE, JOIN_RATE_MAX, LAST_ANSWERS_MS_MAX, OBSERVERS,
    SWARM_BOTS_MAX, TARGET_CONNECT_MS_MAX, WARM_UP_S,
};
use self::progress::Progress;
use self::report::Snapshot;
pub use self::report::{LatencyMs, Report, SeenPerBot, ServerCpu};
use self::server::Question;
pub use self::settle::{AnswerMs, Findings, Settled};
pub use self::walk::Behaviour;
use crate::cli::Ending;
use crate::limits::{MEASURE_S_MAX, WARM_UP_S_MAX};
use crate::pace::Lateness;
use crate::{cpu, interrupt, open_files};

/// Arguments of `loadtest swarm`.
#[derive(Debug, Clone, Args)]
pub struct SwarmArgs {
    /// The allocator's address, HOST:PORT.
    #[arg(long, value_name = "ALLOCATOR")]
    pub target: String,
    /// Bots.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(SWARM_BOTS_MAX)))]
    pub bots: u32,
    /// Length of the measured window, which begins once all bots are in.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(MEASURE_S_MAX)))]
    pub seconds: u32,
    /// What the bots do.
    #[arg(long, value_enum)]
    pub behaviour: Behaviour,
    /// The island that all of them ask for; the allocator chooses otherwise.
    #[arg(long, value_name = "ID")]
    pub island: Option<u32>,
    /// Percentage of the bots that never read once they are in.
    #[arg(long, value_name = "PCT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub never_read: u32,
    /// Bots that decode everything and give the latencies; the others check framing, numbers and rosters.
    #[arg(long, default_value_t = OBSERVERS)]
    pub observers: u32,
    /// Bots started a second.
    #[arg(long, default_value_t = JOIN_RATE, value_parser = clap::value_parser!(u32).range(1..=i64::from(JOIN_RATE_MAX)))]
    pub join_rate: u32,
    /// Seconds of the same load between the last entry and the window.
    #[arg(long, default_value_t = WARM_UP_S, value_parser = clap::value_parser!(u32).range(0..=i64::from(WARM_UP_S_MAX)))]
    pub warm_up: u32,
    /// The servers' page (HOST:PORT): their CPU time over the window is asked there and reported too.
    #[arg(long, value_name = "PAGE", value_parser = server::parse_page)]
    pub state: Option<String>,
    /// Bots that lose their session enter again; settlers do so anyway.
    #[arg(long)]
    pub rejoin: bool,
    /// What the bots' names begin with; a number follows. Two swarms at a time need different ones.
    #[arg(long, value_parser = parse_prefix)]
    pub name_prefix: Option<String>,
    /// Seed of the walks.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Also write the report to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Digits that follow a name's prefix at most.
const NUMBER_BYTES_MAX: usize = 5;
const _: () = assert!(SWARM_BOTS_MAX <= 100_000, "a bot's number has five digits");

fn parse_prefix(prefix: &str) -> Result<String, String> {
    let longest = format!("{prefix}{}", "9".repeat(NUMBER_BYTES_MAX));
    if chunk_sync::wire::is_name(&longest) {
        Ok(prefix.to_owned())
    } else {
        Err("a prefix has at most 19 letters, digits, hyphens or underscores".to_owned())
    }
}

/// Why a swarm failed.
#[derive(Debug, thiserror::Error)]
pub enum SwarmError {
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
    /// A target that is no address.
    #[error("--target {target} is no HOST:PORT that can be found: {source}")]
    BadTarget {
        /// What was named.
        target: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Nobody listens at the target.
    #[error("can't reach the allocator at {target}: {source}")]
    Unreachable {
        /// What was named.
        target: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Not one bot got in.
    #[error("no bot got in: {why}")]
    NobodyIn {
        /// What the doors said.
        why: String,
    },
    /// The servers' page doesn't say their CPU time.
    #[error("the page given by --state doesn't tell the servers' CPU time: {source}")]
    NoState {
        /// What went wrong.
        source: io::Error,
    },
    /// The world isn't as the bots were told.
    #[error("the world isn't as the bots were told: {lost} lost, {doubled} doubled, {undue} undue")]
    Unsettled {
        /// Acknowledged acts, or items of them, that are not found.
        lost: u64,
        /// What is there too often.
        doubled: u64,
        /// What was refused or can't be, and is there.
        undue: u64,
    },
    /// Settlers were left without answers, or nobody saw what became of something.
    #[error("{never_answered} acts were never answered, and {unseen} things were seen by nobody at the end")]
    Open {
        /// Acts without a final answer.
        never_answered: u64,
        /// Bags, structures and stacks that nobody saw.
        unseen: u64,
    },
    /// No settler was inside at the end, so nothing could be compared.
    #[error("no bot was in at the end to see what became of {unseen} things")]
    Blind {
        /// What nobody saw.
        unseen: u64,
    },
    /// A system call that a run can't do without.
    #[error("swarm: can't {what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// CPU figures can't be read.
    #[error(transparent)]
    Cpu(#[from] cpu::CpuError),
}

impl SwarmError {
    /// Whether other arguments or a roomier machine would help, as opposed to a run that broke.
    pub(crate) fn is_bad_input(&self) -> bool {
        matches!(self, Self::OpenFiles(_) | Self::Json { .. } | Self::BadTarget { .. })
    }

    fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

/// Runs the bots, measures, prints the summary, writes the JSON file. Ctrl-C ends it early, summary and all.
///
/// # Errors
/// When the run can't start, or not one bot gets in; when settlers don't find at the end what they were told.
pub fn run(args: &SwarmArgs) -> Result<Ending, SwarmError> {
    if let Some(path) = &args.json {
        let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
        opened.map_err(|source| SwarmError::Json { path: path.clone(), source })?;
    }
    open_files::raise_for(u64::from(args.bots))?;
    let target = find_target(&args.target)?;
    if let Some(page) = &args.state {
        Question::ask(page).and_then(Question::answer).map_err(|source| SwarmError::NoState { source })?;
    }
    let interrupted = interrupt::watch().map_err(SwarmError::io("watch for Ctrl-C"))?;
    // Two swarms at a time must not throw each other out.
    let prefix = args.name_prefix.clone().unwrap_or_else(|| format!("bot{}-", std::process::id()));

    let mut run = Run {
        engine: Engine::new(args, &prefix, target)?,
        scratch: Scratch::new(),
        progress: Progress::start().map_err(SwarmError::io("start a thread"))?,
        interrupted,
        args,
    };
    let report = run.measure()?;
    drop(run);
    publish(&report, args)?;
    report.settle.map_or(Ok(()), |settled| judge(&settled))?;
    Ok(Ending::Done)
}

/// Whether settlers found what they were told, all of it.
fn judge(settled: &Settled) -> Result<(), SwarmError> {
    let Some(found) = &settled.check else { return Ok(()) };
    let (never_answered, unseen) = (settled.never_answered, found.unseen);
    match found {
        Findings { lost, doubled, undue, .. } if !found.is_clean() => {
            Err(SwarmError::Unsettled { lost: *lost, doubled: *doubled, undue: *undue })
        }
        found if found.is_blind() => Err(SwarmError::Blind { unseen }),
        _ if never_answered + unseen > 0 => Err(SwarmError::Open { never_answered, unseen }),
        _ => Ok(()),
    }
}

/// A swarm under way.
struct Run<'a> {
    engine: Engine,
    scratch: Scratch,
    progress: Progress,
    interrupted: Arc<AtomicBool>,
    args: &'a SwarmArgs,
}

impl Run<'_> {
    /// Joins, warms up, measures, leaves.
    fn measure(&mut self) -> Result<Report, SwarmError> {
        let starting = Duration::from_secs_f64(f64::from(self.args.bots) / f64::from(self.args.join_rate));
        let over = |engine: &Engine| engine.is_settled() || engine.is_hopeless();
        self.drive("joining", starting + Duration::from_millis(JOIN_MS_MAX), over)?;
        if self.engine.inside() == 0 && self.engine.tally.entries == 0 {
            return Err(SwarmError::NobodyIn { why: self.engine.tally.why_nobody() });
        }
        self.drive("warm-up", Duration::from_secs(self.args.warm_up.into()), |_| false)?;
        self.engine.begin_window();
        let (before, asked) = (Snapshot::take(&self.engine)?, self.ask_servers()?);
        self.drive("measure", Duration::from_secs(self.args.seconds.into()), |_| false)?;
        let (after, asked_again) = (Snapshot::take(&self.engine)?, self.ask_servers()?);
        let mut report = Report::new(self.args, &self.engine, &before, &after, self.is_interrupted());
        let found = self.settle_up()?;
        report.settle = self.engine.settled(report.seconds, found);
        self.engine.leave(&mut self.scratch)?;
        match asked.zip(asked_again).map(|(first, last)| Ok(last.answer()? - first.answer()?)) {
            Some(Ok(cpu_s)) => report.server = Some(ServerCpu::new(cpu_s, report.seconds, report.connected)),
            // It answered before the run; the rest of the report is none the worse.
            Some(Err::<f64, io::Error>(source)) => {
                self.progress.say(SwarmError::NoState { source }.to_string())
            }
            None => {}
        }
        Ok(report)
    }

    /// Lets settlers hear the last answers, then compares what they were told with what they see, until it agrees or
    /// time is up. `None` when there is nothing to compare, or no time.
    fn settle_up(&mut self) -> Result<Option<Findings>, SwarmError> {
        self.engine.stop_asking();
        self.drive("answers", Duration::from_millis(LAST_ANSWERS_MS_MAX), Engine::is_answered)?;
        self.engine.give_up_acts();
        let end = self.engine.elapsed() + Duration::from_millis(AGREE_MS_MAX);
        loop {
            if self.is_interrupted() {
                return Ok(None);
            }
            let found = self.engine.check();
            if self.engine.elapsed() >= end || found.as_ref().is_none_or(Findings::is_whole) {
                return Ok(found);
            }
            self.drive("check", Duration::from_millis(AGREE_EVERY_MS), |_| false)?;
        }
    }

    /// Asks the servers' page for their CPU time, if it is known.
    fn ask_servers(&self) -> Result<Option<Question>, SwarmError> {
        let asked = self.args.state.as_deref().map(Question::ask).transpose();
        asked.map_err(SwarmError::io("start a thread"))
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Runs slots for `time`, or until `done`, or until Ctrl-C; says every second how it goes.
    fn drive(&mut self, stage: &str, time: Duration, done: fn(&Engine) -> bool) -> Result<(), SwarmError> {
        let second = Duration::from_secs(1);
        let end = self.engine.elapsed() + time;
        let mut last = Snapshot::take(&self.engine)?;
        while self.engine.elapsed() < end && !self.is_interrupted() && !done(&self.engine) {
            self.engine.slot(&mut self.scratch)?;
            if self.engine.elapsed() >= last.at + second {
                let now = Snapshot::take(&self.engine)?;
                self.say(stage, &last, &now);
                last = now;
            }
        }
        Ok(())
    }

    fn say(&mut self, stage: &str, last: &Snapshot, now: &Snapshot) {
        let seconds = (now.at - last.at).as_secs_f64();
        let engine = &mut self.engine;
        let see = match &engine.sight.lately {
            none if none.is_empty() => "–".to_owned(),
            some => format!("{:.1} ms", some.value_at_quantile(0.99) as f64 / 1_000.0),
        };
        let trouble = engine.tally.take_latest().map(|what| format!(", {what}")).unwrap_or_default();
        self.progress.say(format!(
            "{:5.0} s {stage:8} {}/{} in, {:.2} M updates/s, {:.1} MB/s, see p99 {see}, late p99 {:.1} ms, \
             swarm's CPU {:.2}, lost {}, errors {}{trouble}",
            now.at.as_secs_f64(),
            engine.inside(),
            self.args.bots,
            (now.updates - last.updates) as f64 / seconds / 1e6,
            (now.traffic.bytes_received - last.traffic.bytes_received) as f64 / seconds / 1e6,
            engine.lately.summary().p99,
            (now.cpu_s - last.cpu_s) / seconds,
            engine.tally.disconnects,
            engine.tally.errors,
        ));
        engine.sight.lately.reset();
        engine.lately = Lateness::new();
    }
}

/// Looks the target up and knocks once, so that a wrong address is told at once and not by every bot.
fn find_target(target: &str) -> Result<SocketAddr, SwarmError> {
    let bad = |source| SwarmError::BadTarget { target: target.to_owned(), source };
    let found = target.to_socket_addrs().map_err(bad)?.collect::<Vec<_>>();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in &found {
        match TcpStream::connect_timeout(address, Duration::from_millis(TARGET_CONNECT_MS_MAX)) {
            Ok(_) => return Ok(*address),
            Err(error) => last = error,
        }
    }
    if found.is_empty() {
        Err(bad(last))
    } else {
        Err(SwarmError::Unreachable { target: target.to_owned(), source: last })
    }
}

fn publish(report: &Report, args: &SwarmArgs) -> Result<(), SwarmError> {
    if let Some(path) = &args.json {
        let mut json = serde_json::to_string_pretty(report).expect("a report has only string keys");
        json.push('\n');
        std::fs::write(path, json).map_err(|source| SwarmError::Json { path: path.clone(), source })?;
    }
    write!(io::stdout().lock(), "{report}").map_err(SwarmError::io("print the summary"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(never_answered: u64, check: Option<Findings>) -> Result<(), SwarmError> {
        judge(&Settled { never_answered, check, ..Settled::default() })
    }

    #[test]
    fn settlers_must_be_answered_and_see_everything_as_they_were_told() {
        let seen = Findings { bags: 5, structures: 2, ..Findings::default() };
        assert!(judged(0, Some(seen.clone())).is_ok());
        assert!(judged(3, None).is_ok(), "interrupted: nobody waited for the answers, nothing was compared");
        for (never_answered, unseen) in [(1, 0), (0, 1), (2, 3)] {
            let open = judged(never_answered, Some(Findings { unseen, ..seen.clone() })).unwrap_err();
            let told = format!(
                "{never_answered} acts were never answered, and {unseen} things were seen by nobody at the end"
            );
            assert!(matches!(open, SwarmError::Open { .. }) && open.to_string() == told, "{open}");
        }
        let blind = judged(1, Some(Findings { unseen: 7, ..Findings::default() })).unwrap_err();
        assert!(matches!(blind, SwarmError::Blind { unseen: 7 }), "{blind}");
        // What is wrong is said before what is open.
        for (lost, doubled, undue) in [(1, 0, 0), (0, 1, 0), (0, 0, 1)] {
            let found = Findings { lost, doubled, undue, unseen: 7, ..seen.clone() };
            let unsettled = judged(1, Some(found)).unwrap_err();
            let told = format!(
                "the world isn't as the bots were told: {lost} lost, {doubled} doubled, {undue} undue"
            );
            assert_eq!(unsettled.to_string(), told);
        }
    }
}
