//! A cluster to play in: `atoll up` on free ports, with its data in a folder of its own; both end with the test.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use tempfile::TempDir;

const READY_WAIT: Duration = Duration::from_secs(60);

/// A running cluster.
pub(crate) struct Cluster {
    child: Child,
    join: String,
    _data: TempDir,
}

impl Cluster {
    /// Starts one and waits until it serves.
    pub(crate) fn start() -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        let mut child = Command::new(env!("CARGO_BIN_EXE_atoll"))
            .args(["up", "--nodes", "2", "--port-base", "0", "--http", "127.0.0.1:0", "--data"])
            .arg(data.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("atoll starts");
        let stdout = child.stdout.take().expect("it is piped");
        // The guard comes before anything that may fail, so that the child never outlives the test.
        let mut cluster = Self { child, join: String::new(), _data: data };
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let until = Instant::now() + READY_WAIT;
        while cluster.join.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            let line = lines.recv_timeout(left).expect("a line that begins with 'ready' within a minute");
            if let Some(rest) = line.strip_prefix("ready join=") {
                cluster.join = rest.split(' ').next().unwrap_or_default().to_owned();
            }
        }
        cluster
    }

    /// Where players are let in.
    pub(crate) fn join(&self) -> &str {
        &self.join
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
