//! What a swarm measured: the window's figures as JSON and as a summary.
//!
//! Called by the run. It computes and formats; the numbers are taken by whom they belong to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use chunk_sync::limits::TICK_HZ;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::bot::{Bot, Entered};
use super::engine::{Engine, Traffic};
use super::limits::LATE_P99_MS_MAX;
use super::settle::Settled;
use super::{SwarmArgs, SwarmError};
use crate::cpu::{self, Machine, MachineCpu};
use crate::pace::LateMs;

/// What an empty window counts as, seconds.
const SHORTEST_S: f64 = 0.001;

/// Everything that grows, at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Snapshot {
    pub(super) at: Duration,
    pub(super) updates: u64,
    pub(super) traffic: Traffic,
    pub(super) cpu_s: f64,
    machine: MachineCpu,
}

impl Snapshot {
    pub(super) fn take(engine: &Engine) -> Result<Self, SwarmError> {
        Ok(Self {
            at: engine.elapsed(),
            updates: engine.updates(),
            traffic: engine.traffic,
            cpu_s: cpu::own_process_cpu_s(),
            machine: cpu::machine_cpu()?,
        })
    }
}

/// Latencies in milliseconds, from the intended send of a step to its sight.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LatencyMs {
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
    /// Sights that were timed; without any the others are 0 and mean nothing.
    #[serde(skip)]
    pub sights: u64,
}

impl LatencyMs {
    fn of(us: &Histogram<u64>) -> Self {
        let ms = |us: u64| us as f64 / 1_000.0;
        let at = |q| ms(us.value_at_quantile(q));
        Self { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: ms(us.max()), sights: us.len() }
    }
}

impl fmt::Display for LatencyMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p95, p99, max, sights } = self;
        if *sights == 0 {
            return f.write_str("–");
        }
        write!(f, "p50 {p50:.1} ms, p95 {p95:.1} ms, p99 {p99:.1} ms, max {max:.1} ms")
    }
}

/// How many other players the reading bots see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SeenPerBot {
    /// By the bot that sees the fewest.
    pub min: usize,
    /// By the median bot.
    pub p50: usize,
}

impl SeenPerBot {
    fn of(mut seen: Vec<usize>) -> Self {
        seen.sort_unstable();
        let min = seen.first().copied().unwrap_or(0);
        let p50 = seen.get(seen.len() / 2).copied().unwrap_or(0);
        Self { min, p50 }
    }
}

/// What the servers spent over the window, as their page tells it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ServerCpu {
    /// User + system time of all server processes, seconds.
    pub server_cpu_s: f64,
    /// The same as cores.
    pub server_cpu_cores: f64,
    /// The same per bot and tick, µs.
    pub server_us_per_client_tick: f64,
}

impl ServerCpu {
    pub(super) fn new(server_cpu_s: f64, seconds: f64, bots: usize) -> Self {
        let client_ticks = (bots.max(1) as f64) * seconds * TICK_HZ as f64;
        Self {
            server_cpu_s,
            server_cpu_cores: server_cpu_s / seconds,
            server_us_per_client_tick: server_cpu_s * 1e6 / client_ticks,
        }
    }
}

/// The result of a swarm. Traffic, latencies, lateness and CPU are those of the window; disconnects, errors and
/// refusals those of the whole run; connected, islands, chunks, nodes and what is seen are taken at the window's end.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What the bots did.
    pub behaviour: &'static str,
    /// Bots that were to come.
    pub bots: u32,
    /// Bots that were in at the end.
    pub connected: usize,
    /// Sessions of reading bots that ended before the swarm left.
    pub disconnects: u64,
    /// The same of bots that never read.
    pub never_reader_disconnects: u64,
    /// Times that a server broke the protocol.
    pub errors: u64,
    /// The first few of those.
    pub error_texts: Vec<String>,
    /// Refusals by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Doors that didn't answer.
    pub unreachable: u64,
    /// Length of the window.
    pub seconds: f64,
    /// Time from the first bot's start to the window's.
    pub join_s: f64,
    /// Bots that decoded everything.
    pub observers: usize,
    /// Bots that read nothing once in.
    pub never_readers: usize,
    /// Islands that bots were on.
    pub islands: usize,
    /// Chunks that bots stood in.
    pub chunks: usize,
    /// Nodes that let them in.
    pub nodes: usize,
    /// Other players that each reading bot saw.
    pub seen_per_bot: SeenPerBot,
    /// Updates (one entity's position each) received.
    pub updates_received: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Bytes received per update.
    pub bytes_per_update: f64,
    /// From a step's intended send to its sight in the near rings.
    pub move_to_see_ms: LatencyMs,
    /// The same further away, where updates are rarer.
    pub move_to_see_far_ms: LatencyMs,
    /// Steps whose sight was timed, near and far.
    pub moves_seen: u64,
    /// Steps seen that no bot remembers: put back, or very old.
    pub moves_unmatched: u64,
    /// Steps sent.
    pub moves_sent: u64,
    /// Steps left out, because they came too late or the socket was full.
    pub moves_left_out: u64,
    /// Steps that a node put back, whole run.
    pub corrections: u64,
    /// User + system time of the swarm.
    pub client_cpu_s: f64,
    /// The same as cores.
    pub client_cpu_cores: f64,
    /// What the servers spent, if their page was named.
    #[serde(flatten)]
    pub server: Option<ServerCpu>,
    /// What settlers did and heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settle: Option<Settled>,
    /// What the whole machine did meanwhile, cores, stolen time included.
    pub machine_busy_cores: f64,
    /// How late the swarm's sends were against their intended times.
    pub late_ms: LateMs,
    /// The swarm was too slow itself (99th percentile over 20 ms).
    pub late: bool,
    /// The machine was full (over 0.9 of its cores).
    pub saturated: bool,
    /// Neither late nor saturated nor interrupted: the figures are the server's.
    pub valid: bool,
    /// Ctrl-C ended the run early.
    pub interrupted: bool,
    /// Where it was measured.
    pub machine: Machine,
}

impl Report {
    pub(super) fn new(
        args: &SwarmArgs,
        engine: &Engine,
        before: &Snapshot,
        after: &Snapshot,
        interrupted: bool,
    ) -> Self {
        let machine = cpu::machine();
        // An interrupt may leave no window at all.
        let seconds = (after.at - before.at).as_secs_f64().max(SHORTEST_S);
        let machine_busy_cores = (after.machine.busy_s - before.machine.busy_s) / seconds;
        let client_cpu_s = after.cpu_s - before.cpu_s;
        let late_ms = engine.lateness.summary();
        let late = late_ms.p99 > LATE_P99_MS_MAX;
        let saturated = cpu::is_saturated(machine_busy_cores, machine.cores);
        let updates = after.updates - before.updates;
        let bytes = after.traffic.bytes_received - before.traffic.bytes_received;
        let tally = &engine.tally;
        let seen = |(bot, entered): (&Bot, &Entered)| bot.eyes.others(entered.player);
        let islands: BTreeSet<u32> = engine.bots_inside().map(|(_, entered)| entered.island).collect();
        let nodes: BTreeSet<u32> = engine.bots_inside().map(|(_, entered)| entered.node).collect();
        let chunks: BTreeSet<_> =
            engine.bots_inside().filter_map(|(bot, e)| Some((e.island, bot.chunk()?))).collect();
        Self {
            behaviour: args.behaviour.name(),
            bots: args.bots,
            connected: engine.inside(),
            disconnects: tally.disconnects,
            never_reader_disconnects: tally.unread_disconnects,
            errors: tally.errors,
            error_texts: tally.error_texts.clone(),
            rejected: tally.rejected.clone(),
            unreachable: tally.unreachable,
            seconds,
            join_s: before.at.as_secs_f64(),
            observers: engine.observers(),
            never_readers: engine.never_readers(),
            islands: islands.len(),
            chunks: chunks.len(),
            nodes: nodes.len(),
            seen_per_bot: SeenPerBot::of(engine.bots_inside().filter_map(seen).collect()),
            updates_received: updates,
            bytes_received: bytes,
            bytes_per_update: if updates == 0 { 0.0 } else { bytes as f64 / updates as f64 },
            move_to_see_ms: LatencyMs::of(&engine.sight.near),
            move_to_see_far_ms: LatencyMs::of(&engine.sight.far),
            moves_seen: engine.sight.near.len() + engine.sight.far.len(),
            moves_unmatched: engine.sight.unmatched,
            moves_sent: after.traffic.moves_sent - before.traffic.moves_sent,
            moves_left_out: after.traffic.moves_left_out - before.traffic.moves_left_out,
            corrections: tally.corrections,
            client_cpu_s,
            client_cpu_cores: client_cpu_s / seconds,
            server: None,
            settle: None,
            machine_busy_cores,
            late_ms,
            late,
            saturated,
            valid: !late && !saturated && !interrupted,
            interrupted,
            machine,
        }
    }

    fn write_troubles(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (reason, count) in &self.rejected {
            writeln!(f, "  refused      {count} × {reason}")?;
        }
        if self.unreachable > 0 {
            writeln!(f, "  unanswered   {}", counted(self.unreachable, "connection"))?;
        }
        for text in &self.error_texts {
            writeln!(f, "  error        {text}")?;
        }
        for (is_so, doubt) in [
            (self.interrupted, "interrupted: the window is shorter than asked for"),
            (self.saturated, "saturated: the machine was full, the figures aren't comparable"),
            (self.late, "late: the swarm was too slow itself, the figures are doubtful"),
        ] {
            if is_so {
                writeln!(f, "  {doubt}")?;
            }
        }
        Ok(())
    }
}

/// A count with its noun, which is in the plural unless there is one.
fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "swarm: {} of {} bots in, {}", self.connected, self.bots, self.behaviour)?;
        writeln!(f, "  window       {:.2} s, after {:.1} s of joining", self.seconds, self.join_s)?;
        write!(f, "  sessions     {} lost", self.disconnects)?;
        if self.never_readers > 0 {
            let (lost, all) = (self.never_reader_disconnects, self.never_readers as u64);
            write!(f, " ({lost} more of {})", counted(all, "never-reader"))?;
        }
        let errors = counted(self.errors, "protocol error");
        writeln!(f, ", {errors}, {}", counted(self.corrections, "correction"))?;
        let SeenPerBot { min, p50 } = self.seen_per_bot;
        writeln!(f, "  seen         {} at least, {p50} by the median bot", counted(min as u64, "other"))?;
        let spread = [(self.islands, "island"), (self.chunks, "chunk"), (self.nodes, "node")];
        let spread = spread.map(|(count, what)| counted(count as u64, what));
        writeln!(f, "  spread       {}", spread.join(", "))?;
        writeln!(
            f,
            "  received     {} updates, {} bytes, {:.2} bytes per update",
            self.updates_received, self.bytes_received, self.bytes_per_update
        )?;
        writeln!(f, "  move to see  near: {}", self.move_to_see_ms)?;
        writeln!(f, "               far:  {}", self.move_to_see_far_ms)?;
        let observers = counted(self.observers as u64, "observer");
        writeln!(
            f,
            "  moves        {} sent, {} left out, {} seen by {observers}, {} unmatched",
            self.moves_sent, self.moves_left_out, self.moves_seen, self.moves_unmatched
        )?;
        writeln!(
            f,
            "  swarm's CPU  {:.3} s = {:.3} cores of {:.2} busy",
            self.client_cpu_s, self.client_cpu_cores, self.machine_busy_cores
        )?;
        if let Some(ServerCpu { server_cpu_s, server_cpu_cores, server_us_per_client_tick }) = self.server {
            writeln!(
                f,
                "  servers' CPU {server_cpu_s:.3} s = {server_cpu_cores:.3} cores, \
                 {server_us_per_client_tick:.2} µs per client and tick"
            )?;
        }
        if let Some(settled) = &self.settle {
            write!(f, "{settled}")?;
        }
        let LateMs { p50, p99, max } = self.late_ms;
        writeln!(f, "  sends late   p50 {p50:.2} ms, p99 {p99:.2} ms, max {max:.2} ms")?;
        self.write_troubles(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        assert_eq!(
            [0, 1, 2].map(|n| counted(n, "node")),
            ["0 nodes", "1 node", "2 nodes"].map(str::to_owned)
        );
    }

    #[test]
    fn no_sights_are_not_soon_sights() {
        let mut us = crate::swarm::sight::latencies();
        assert_eq!(LatencyMs::of(&us).to_string(), "–");
        us.saturating_record(0);
        assert_eq!(LatencyMs::of(&us).to_string(), "p50 0.0 ms, p95 0.0 ms, p99 0.0 ms, max 0.0 ms");
    }

    #[test]
    fn seen_is_counted_over_all_who_look() {
        assert_eq!(SeenPerBot::of(vec![9, 3, 8, 7, 9]), SeenPerBot { min: 3, p50: 8 });
        assert_eq!(SeenPerBot::of(Vec::new()), SeenPerBot { min: 0, p50: 0 });
    }
}
