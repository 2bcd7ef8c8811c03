//! A redis-server of the test's own, in a folder of its own, on a socket; gone when the test ends.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A running redis-server.
pub(crate) struct RedisServer {
    child: Child,
    folder: TempDir,
}

impl RedisServer {
    /// Starts one and waits until it serves.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { child: spawn(folder.path()), folder }
    }

    /// Another run of it takes its place, with what the first one kept.
    pub(crate) fn restart(&mut self) {
        self.end();
        self.child = spawn(self.folder.path());
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.folder.path().join("redis.sock").display())
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path) -> Child {
    let mut child = Command::new("redis-server")
        .args(["--port", "0", "--unixsocket", "redis.sock", "--save", "", "--appendonly", "yes"])
        .args(["--appendfsync", "always", "--dir"])
        .arg(folder)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect(
            "these tests need redis-server 7 or newer on the PATH (Debian: apt-get install redis-server)",
        );
    let stdout = child.stdout.take().expect("its output is piped");
    let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
    if !lines.any(|line| line.contains("ready to accept connections at")) {
        let _ = child.kill();
        let _ = child.wait();
        panic!("redis-server ended before it was ready");
    }
    // Keeps its output from filling the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.end();
    }
}
