//! What a null run measured: two snapshots, their difference, the report as text and as JSON.
//!
//! Called by [`super::run`]. It computes and formats; the numbers are taken by whom they belong to.

use std::fmt;
use std::sync::atomic::Ordering;

use serde::Serialize;

use super::child::{ServerProcess, ServerSample};
use super::clients::ClientCounts;
use super::{NullArgs, NullError};
use crate::cpu::{self, Machine, MachineCpu};
use crate::limits::{LATE_P99_MAX_MS, MOVE_BYTES};
use crate::pace::LateMs;

/// Everything that counts, at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Snapshot {
    server: ServerSample,
    client_cpu_s: f64,
    machine: MachineCpu,
    frames_received: u64,
    bytes_received: u64,
    moves_sent: u64,
}

impl Snapshot {
    /// Takes the server's counts at its next tick, then the rest at once.
    pub(super) fn take(server: &mut ServerProcess, counts: &ClientCounts) -> Result<Self, NullError> {
        let server = server.sample()?;
        Ok(Self {
            server,
            client_cpu_s: cpu::own_process_cpu_s(),
            machine: cpu::machine_cpu()?,
            frames_received: counts.frames_received.load(Ordering::Relaxed),
            bytes_received: counts.bytes_received.load(Ordering::Relaxed),
            moves_sent: counts.moves_sent.load(Ordering::Relaxed),
        })
    }
}

/// What must be zero over the whole run, from the first tick to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) errors: u64,
    pub(super) disconnects: u64,
    pub(super) lost_bytes: i64,
}

impl Totals {
    /// From the counts of both sides after the last connection has ended.
    pub(super) fn new(server: &ServerSample, clients: &ClientCounts, errors: u64) -> Self {
        let received = clients.bytes_received.load(Ordering::Relaxed);
        Self {
            errors,
            disconnects: server.disconnects,
            lost_bytes: server.bytes_sent as i64 - received as i64,
        }
    }

    pub(super) fn is_broken(&self) -> bool {
        *self != Self { errors: 0, disconnects: 0, lost_bytes: 0 }
    }
}

/// The result of a null run. Counts and CPU times are those of the measured window, which holds whole
/// server ticks; what clients received and sent is counted a moment later, so it may differ from the
/// server's by a tick.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Clients.
    pub bots: u32,
    /// Bytes per client and tick, personal header included.
    pub bytes: u32,
    /// Server ticks a second that were asked for.
    pub hz: u32,
    /// Length of the window by the server's clock, seconds.
    pub seconds: f64,
    /// Ticks done.
    pub ticks: u64,
    /// Ticks left out because the server was more than one behind.
    pub ticks_skipped: u64,
    /// User + system time of the server process, seconds.
    pub server_cpu_s: f64,
    /// The same as cores: CPU seconds a second.
    pub server_cpu_cores: f64,
    /// The server's CPU time per client and tick, µs: one receive and one send.
    pub us_per_client_tick: f64,
    /// The server's CPU time per client and second, µs.
    pub us_per_client_second: f64,
    /// User + system time of the clients' process, seconds.
    pub client_cpu_s: f64,
    /// What the whole machine did meanwhile, cores, everybody's processes and stolen time included.
    pub machine_busy_cores: f64,
    /// The part of it that the hypervisor took away.
    pub steal_cores: f64,
    /// Frames that the server began.
    pub frames_sent: u64,
    /// Frames not sent because the client hadn't taken the one before.
    pub frames_skipped: u64,
    /// Bytes that the server's sockets took.
    pub bytes_sent: u64,
    /// Whole frames that the clients received and checked.
    pub frames_received: u64,
    /// Bytes that the clients received.
    pub bytes_received: u64,
    /// Moves that the clients sent.
    pub moves_sent: u64,
    /// Moves that the server received.
    pub moves_received: u64,
    /// How late the clients' sends were against their intended times.
    pub late_ms: LateMs,
    /// The clients were too slow themselves (99th percentile over 10 ms): the figures are doubtful.
    pub late: bool,
    /// The machine was full (over 0.9 of its cores): the figures aren't comparable.
    pub saturated: bool,
    /// Whole run: connections that failed or carried something else than the server's frames.
    pub errors: u64,
    /// Whole run: clients that the server lost before the end.
    pub disconnects: u64,
    /// Whole run: bytes sent and not received.
    pub lost_bytes: i64,
    /// Ctrl-C ended the window early.
    pub interrupted: bool,
    /// Where it was measured.
    pub machine: Machine,
}

impl Report {
    pub(super) fn new(
        args: &NullArgs,
        before: &Snapshot,
        after: &Snapshot,
        totals: &Totals,
        late_ms: LateMs,
        interrupted: bool,
    ) -> Self {
        let server = after.server.since(&before.server);
        let machine = cpu::machine();
        // Two samples of one server are at least a tick apart.
        let seconds = server.elapsed_s;
        let client_cpu_s = after.client_cpu_s - before.client_cpu_s;
        let machine_busy_cores = (after.machine.busy_s - before.machine.busy_s) / seconds;
        let used_cores = ((server.cpu_s + client_cpu_s) / seconds).max(machine_busy_cores);
        let us = server.cpu_s * 1e6;
        Self {
            bots: args.bots,
            bytes: args.bytes,
            hz: args.hz,
            seconds,
            ticks: server.ticks,
            ticks_skipped: server.ticks_skipped,
            server_cpu_s: server.cpu_s,
            server_cpu_cores: server.cpu_s / seconds,
            us_per_client_tick: us / (server.ticks as f64 * f64::from(args.bots)),
            us_per_client_second: us / (seconds * f64::from(args.bots)),
            client_cpu_s,
            machine_busy_cores,
            steal_cores: (after.machine.steal_s - before.machine.steal_s) / seconds,
            frames_sent: server.frames_sent,
            frames_skipped: server.frames_skipped,
            bytes_sent: server.bytes_sent,
            frames_received: after.frames_received - before.frames_received,
            bytes_received: after.bytes_received - before.bytes_received,
            moves_sent: after.moves_sent - before.moves_sent,
            moves_received: server.move_bytes_received / MOVE_BYTES as u64,
            late_ms,
            late: late_ms.p99 > LATE_P99_MAX_MS,
            saturated: cpu::is_saturated(used_cores, machine.cores),
            errors: totals.errors,
            disconnects: totals.disconnects,
            lost_bytes: totals.lost_bytes,
            interrupted,
            machine,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let client_cores = self.client_cpu_s / self.seconds;
        writeln!(f, "null server: {} clients, {} bytes a tick, {} Hz", self.bots, self.bytes, self.hz)?;
        writeln!(
            f,
            "  window       {:.2} s, {} ticks, {} left out",
            self.seconds, self.ticks, self.ticks_skipped
        )?;
        writeln!(f, "  server CPU   {:.3} s = {:.4} cores", self.server_cpu_s, self.server_cpu_cores)?;
        writeln!(
            f,
            "               {:.2} µs per client and tick, {:.1} µs per client and second",
            self.us_per_client_tick, self.us_per_client_second
        )?;
        writeln!(f, "  clients' CPU {:.3} s = {client_cores:.4} cores", self.client_cpu_s)?;
        writeln!(
            f,
            "  machine      {:.2} cores busy, {:.2} of them stolen",
            self.machine_busy_cores, self.steal_cores
        )?;
        writeln!(
            f,
            "  sent         {} frames, {} skipped, {} bytes; received {} frames",
            self.frames_sent, self.frames_skipped, self.bytes_sent, self.frames_received
        )?;
        writeln!(f, "  moves        {} sent, {} received", self.moves_sent, self.moves_received)?;
        let LateMs { p50, p99, max } = self.late_ms;
        writeln!(f, "  sends late   p50 {p50:.2} ms, p99 {p99:.2} ms, max {max:.2} ms")?;
        for (is_so, doubt) in [
            (self.interrupted, "interrupted: the window is shorter than asked for"),
            (self.saturated, "saturated: the machine was full, the figures aren't comparable"),
            (self.late, "late: the clients were too slow themselves, the figures are doubtful"),
        ] {
            if is_so {
                writeln!(f, "  {doubt}")?;
            }
        }
        Ok(())
    }
}
