//! The server process as its parent sees it, and the lines that they exchange: `ready PORT` from the server
//! once it listens, `serving` once all clients are in; `sample` or `stop` to it; a [`ServerSample`] in JSON
//! as its answer to either.
//!
//! Called by [`super::run`] (the parent's half) and [`super::server`] (the words). Never outlives its
//! parent: the server ends when its input does.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{NullArgs, NullError};
use crate::limits::{
    CHECK_MS, NULL_ANSWER_MS_MAX, NULL_CONNECT_MS_MAX, NULL_FINISH_MS_MAX, NULL_LINE_BYTES_MAX,
    NULL_LINES_MAX,
};

pub(super) const READY: &str = "ready";
pub(super) const SERVING: &str = "serving";
pub(super) const SAMPLE: &str = "sample";
pub(super) const STOP: &str = "stop";

/// The server's counts since its start. The difference of two is a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ServerSample {
    /// User + system time of the server process, seconds.
    pub(super) cpu_s: f64,
    /// Wall time since the server's start, seconds.
    pub(super) elapsed_s: f64,
    pub(super) ticks: u64,
    /// Ticks left out because the server was more than one behind.
    pub(super) ticks_skipped: u64,
    /// Frames begun.
    pub(super) frames_sent: u64,
    /// Frames not sent because the client hadn't taken the one before.
    pub(super) frames_skipped: u64,
    pub(super) bytes_sent: u64,
    pub(super) move_bytes_received: u64,
    /// Clients that closed, or whose connection failed, before the end.
    pub(super) disconnects: u64,
}

impl ServerSample {
    pub(super) fn to_line(self) -> String {
        serde_json::to_string(&self).expect("a struct of numbers is always valid JSON")
    }

    /// What happened between `earlier` and this sample.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        Self {
            cpu_s: self.cpu_s - earlier.cpu_s,
            elapsed_s: self.elapsed_s - earlier.elapsed_s,
            ticks: self.ticks - earlier.ticks,
            ticks_skipped: self.ticks_skipped - earlier.ticks_skipped,
            frames_sent: self.frames_sent - earlier.frames_sent,
            frames_skipped: self.frames_skipped - earlier.frames_skipped,
            bytes_sent: self.bytes_sent - earlier.bytes_sent,
            move_bytes_received: self.move_bytes_received - earlier.move_bytes_received,
            disconnects: self.disconnects - earlier.disconnects,
        }
    }
}

/// The running server process. Dropping it ends it.
pub(super) struct ServerProcess {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    port: u16,
}

impl ServerProcess {
    /// Starts the server and waits until it listens.
    pub(super) fn start(args: &NullArgs) -> Result<Self, NullError> {
        // The running image, also when its file was replaced by a new build meanwhile. A group of its own:
        // Ctrl-C reaches the parent, who then ends the server in order.
        let mut child = Command::new("/proc/self/exe")
            .arg0("loadtest")
            .arg("null-server")
            .args(["--bots", &args.bots.to_string()])
            .args(["--bytes", &args.bytes.to_string()])
            .args(["--hz", &args.hz.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(NullError::io("start the server process"))?;
        let input = child.stdin.take();
        let output = child.stdout.take().expect("stdout was asked to be a pipe");
        let lines = lines_of(output)?;
        let mut server = Self { child, input, lines, port: 0 };
        let ready = server.line(Duration::from_millis(NULL_ANSWER_MS_MAX))?;
        let port = ready.strip_prefix(READY).and_then(|rest| rest.trim().parse().ok());
        server.port = port.ok_or(NullError::ServerTalk(ready))?;
        Ok(server)
    }

    /// The port of 127.0.0.1 that the server listens on.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Waits until the server has taken all clients in and ticks.
    pub(super) fn wait_serving(&mut self) -> Result<(), NullError> {
        let line = self.line(Duration::from_millis(NULL_CONNECT_MS_MAX))?;
        if line == SERVING { Ok(()) } else { Err(NullError::ServerTalk(line)) }
    }

    /// The server's counts at the start of its next tick.
    pub(super) fn sample(&mut self) -> Result<ServerSample, NullError> {
        self.ask(SAMPLE)?;
        // A tick takes at most a second, or as long as the machine makes it.
        self.answer(Duration::from_millis(NULL_ANSWER_MS_MAX))
    }

    /// Whether the server ended without being told to.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends the server in order; its last counts.
    pub(super) fn stop(mut self) -> Result<ServerSample, NullError> {
        self.ask(STOP)?;
        let last = self.answer(Duration::from_millis(NULL_ANSWER_MS_MAX + NULL_FINISH_MS_MAX))?;
        self.input = None;
        let status = self.child.wait().map_err(NullError::io("wait for the server process"))?;
        if status.success() { Ok(last) } else { Err(NullError::ServerEnded) }
    }

    fn ask(&mut self, word: &str) -> Result<(), NullError> {
        // A few bytes into an empty pipe: never waits.
        let input = self.input.as_mut().ok_or(NullError::ServerEnded)?;
        writeln!(input, "{word}").map_err(|_| NullError::ServerEnded)
    }

    fn answer(&mut self, patience: Duration) -> Result<ServerSample, NullError> {
        let line = self.line(patience)?;
        serde_json::from_str(&line).map_err(|_| NullError::ServerTalk(line))
    }

    fn line(&mut self, patience: Duration) -> Result<String, NullError> {
        self.lines.recv_timeout(patience).map_err(|error| match error {
            RecvTimeoutError::Timeout => NullError::ServerSilent,
            RecvTimeoutError::Disconnected => NullError::ServerEnded,
        })
    }
}

impl Drop for ServerProcess {
    /// Only a run that failed comes here with a live server; it said why on stderr, or is told to stop now.
    fn drop(&mut self) {
        self.input = None;
        let deadline = Instant::now() + Duration::from_millis(NULL_FINISH_MS_MAX);
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(Some(_)) => return,
                Ok(None) => std::thread::sleep(Duration::from_millis(CHECK_MS)),
                Err(_) => break,
            }
        }
        // Either it is gone already, or this makes it so.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the server's lines on a thread that ends with the server.
fn lines_of(output: ChildStdout) -> Result<Receiver<String>, NullError> {
    let (to_parent, lines) = sync_channel(NULL_LINES_MAX);
    let read_lines = move || {
        let mut output = BufReader::new(output);
        while let Ok(Some(line)) = read_line(&mut output) {
            if to_parent.send(line).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("null-answers".to_owned())
        .spawn(read_lines)
        .map_err(NullError::io("start a thread"))?;
    Ok(lines)
}

fn read_line(output: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    output.take(NULL_LINE_BYTES_MAX).read_line(&mut line)?;
    Ok(line.strip_suffix('\n').map(str::to_owned))
}
