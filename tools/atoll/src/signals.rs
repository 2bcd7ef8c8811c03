//! Ctrl-C, SIGTERM and SIGHUP (its terminal is gone): the first one closes cleanly, a later one ends the process at
//! once.

use std::time::Instant;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::limits::SIGNAL_REPEAT;

/// The signals that ask a process to end.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// `None` where whoever started the process wants it to outlive its terminal (`nohup`).
    hangup: Option<Signal>,
    last: Option<Instant>,
}

impl Signals {
    /// Takes the signals over from the system's default, which would end the process.
    pub(crate) fn take() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: if ignores_hangups() { None } else { Some(signal(SignalKind::hangup())?) },
            last: None,
        })
    }

    /// The next one, by name. One that follows another at once is the same: supervisors tell a process and then its
    /// group.
    pub(crate) async fn next(&mut self) -> &'static str {
        loop {
            let name = tokio::select! {
                _ = self.interrupt.recv() => "Ctrl-C",
                _ = self.terminate.recv() => "SIGTERM",
                () = hung_up(self.hangup.as_mut()) => "SIGHUP",
            };
            if self.last.is_none_or(|last| last.elapsed() >= SIGNAL_REPEAT) {
                self.last = Some(Instant::now());
                return name;
            }
        }
    }
}

async fn hung_up(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether SIGHUP is ignored in this process from its start.
fn ignores_hangups() -> bool {
    const SIGHUP_BIT: u64 = 1;
    let status = procfs::process::Process::myself().and_then(|process| process.status());
    status.is_ok_and(|status| status.sigign & SIGHUP_BIT != 0)
}
