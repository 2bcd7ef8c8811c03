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
    hangup: Signal,
    last: Option<Instant>,
}

impl Signals {
    /// Takes the signals over from the system's default, which would end the process.
    pub(crate) fn take() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
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
                _ = self.hangup.recv() => "SIGHUP",
            };
            if self.last.is_none_or(|last| last.elapsed() >= SIGNAL_REPEAT) {
                self.last = Some(Instant::now());
                return name;
            }
        }
    }
}
