//! Lines of progress on stderr, written by a thread of their own: a terminal that stops must not stop the bots.
//!
//! Called by the run once a second. Lines that a slow terminal doesn't take are left out.

use std::io::{self, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::limits::PROGRESS_LINES_MAX;

/// Where progress goes.
pub(super) struct Progress {
    lines: Option<SyncSender<String>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    pub(super) fn start() -> io::Result<Self> {
        let (lines, said) = sync_channel::<String>(PROGRESS_LINES_MAX);
        let write_all = move || {
            for line in said {
                // Progress that nobody can read is no reason to stop.
                let _ = writeln!(io::stderr().lock(), "{line}");
            }
        };
        let thread = std::thread::Builder::new().name("swarm-progress".to_owned()).spawn(write_all)?;
        Ok(Self { lines: Some(lines), thread: Some(thread) })
    }

    /// Says a line, or leaves it out.
    pub(super) fn say(&self, line: String) {
        if let Some(lines) = &self.lines {
            let _ = lines.try_send(line);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.lines = None;
        if let Some(thread) = self.thread.take() {
            // It only writes; it has no failure to report.
            let _ = thread.join();
        }
    }
}
