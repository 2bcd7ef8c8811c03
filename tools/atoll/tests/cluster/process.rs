//! A process of the binary, killed when the test is over however it ends.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take before a test gives up: far more than it ever does on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A running `atoll`.
pub(crate) struct Atoll {
    child: Child,
    lines: Receiver<String>,
    stderr: PathBuf,
}

impl Atoll {
    /// Starts it with these arguments; it logs into `folder`.
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Self {
        Self::start_with(folder, arguments, &[])
    }

    /// As `start`, with these environment variables.
    pub(crate) fn start_with(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let stderr = (0..).map(|n| folder.join(format!("stderr-{n}"))).find(|path| !path.exists()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_atoll"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ATOLL_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args(arguments)
            .envs(variables.iter().copied())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = sync_channel(16);
        // Ends with the process's stdout, or with the test.
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, lines, stderr }
    }

    /// A cluster of `nodes` on free ports, with its data in `folder`.
    pub(crate) fn up(folder: &Path, nodes: u16, more: &[&str]) -> Self {
        let nodes = nodes.to_string();
        let arguments =
            ["up", "--port-base", "0", "--http", "127.0.0.1:0", "--data", "data", "--nodes", &nodes];
        Self::start(folder, &[&arguments[..], more].concat())
    }

    /// Waits for the line that says that it serves.
    pub(crate) fn ready(&self) -> Ready {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Ready(line),
            Err(error) => panic!("never ready ({error}):\n{}", self.logged()),
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Sends it a signal once more; whether that found it ended.
    pub(crate) fn signal_until_ended(&mut self, signal: Signal) -> bool {
        let ended = self.child.try_wait().unwrap().is_some();
        if !ended {
            self.signal(signal);
        }
        ended
    }

    /// Waits for its end; what it had said on stdout after `ready` comes with it.
    pub(crate) fn ended(&mut self) -> (ExitStatus, Vec<String>) {
        let deadline = Instant::now() + PATIENCE;
        let mut rest = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => rest.push(line),
                Err(RecvTimeoutError::Disconnected) => return (self.child.wait().unwrap(), rest),
                Err(RecvTimeoutError::Timeout) => panic!("it doesn't end:\n{}", self.logged()),
            }
        }
    }

    /// Waits for its end and wants this exit code.
    pub(crate) fn ends_with(&mut self, code: i32) -> String {
        let (status, rest) = self.ended();
        let logged = self.logged();
        assert_eq!(status.code(), Some(code), "{status}:\n{logged}");
        assert_eq!(rest, Vec::<String>::new(), "nothing but `ready` is said on stdout");
        logged
    }

    /// Asks it to end, which it does cleanly.
    pub(crate) fn stops(&mut self) -> String {
        self.signal(Signal::TERM);
        self.ends_with(0)
    }

    /// What it wrote to stderr so far.
    pub(crate) fn logged(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap()
    }
}

impl Drop for Atoll {
    fn drop(&mut self) {
        // It may have ended; otherwise a stopped process dies as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The line that a process says when it serves.
#[derive(Debug)]
pub(crate) struct Ready(pub(crate) String);

impl Ready {
    /// The value of `name=`.
    pub(crate) fn value(&self, name: &str) -> &str {
        let words = self.0.split(' ').filter_map(|word| word.split_once('='));
        let found = words.filter(|(key, _)| *key == name).map(|(_, value)| value).next();
        found.unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// The admin port's address.
    pub(crate) fn admin(&self) -> &str {
        let page = self.value("page");
        page.strip_prefix("http://").and_then(|rest| rest.strip_suffix('/')).unwrap()
    }
}

/// The lines that tell what was wrong.
pub(crate) fn errors(logged: &str) -> Vec<&str> {
    logged.lines().filter_map(|line| line.strip_prefix("error: ")).collect()
}

/// Looks until `look` finds something, with an end to patience.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        // Between two looks, so as not to take the machine from whom is looked at.
        std::thread::sleep(Duration::from_millis(50));
    }
}
