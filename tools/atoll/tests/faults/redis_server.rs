//! A redis-server of the test's own, in a folder of its own, on a socket and a port; gone when the test ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long it may take to answer a command.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// A running redis-server.
pub(crate) struct RedisServer {
    child: Child,
    folder: TempDir,
    port: u16,
}

impl RedisServer {
    /// Starts one and waits until it serves.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with more arguments.
    pub(crate) fn start_with(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let child = spawn(&folder, port, more);
        // The guard comes before anything that may fail, so that the child never outlives the test.
        let mut server = Self { child, folder, port };
        server.await_ready();
        server
    }

    /// One that follows this one.
    pub(crate) fn start_replica(&self) -> Self {
        Self::start_with(&["--replicaof", "127.0.0.1", &self.port.to_string()])
    }

    fn await_ready(&mut self) {
        let stdout = self.child.stdout.take().expect("its output is piped");
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        assert!(
            lines.any(|line| line.contains("ready to accept connections at")),
            "redis-server ended before it was ready"
        );
        // Keeps its output from filling the pipe.
        std::thread::spawn(move || lines.for_each(drop));
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// Starts it again on its data, with more arguments.
    pub(crate) fn restart_with(&mut self, more: &[&str]) {
        self.child = spawn(&self.folder, self.port, more);
        self.await_ready();
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is there");
    }

    /// Asks it something of one line; the first piece of what it says.
    pub(crate) fn ask(&self, line: &str) -> String {
        let mut stream = UnixStream::connect(self.folder.path().join("redis.sock")).expect("it listens");
        stream.set_read_timeout(Some(ANSWER_WAIT)).expect("a time");
        stream.write_all(format!("{line}\r\n").as_bytes()).expect("it listens");
        let mut answer = [0; 4096];
        let many = stream.read(&mut answer).expect("an answer in time");
        let answer = String::from_utf8_lossy(&answer[..many]).into_owned();
        assert!(!answer.starts_with('-'), "{line}: {answer}");
        answer
    }

    /// Its address.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What `--store` takes.
    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.folder.path().join("redis.sock").display())
    }
}

fn spawn(folder: &TempDir, port: u16, more: &[&str]) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--unixsocket", "redis.sock"])
        .args(["--save", "", "--appendonly", "yes", "--appendfsync", "always"])
        .args(["--no-appendfsync-on-rewrite", "no", "--repl-diskless-sync-delay", "0", "--dir"])
        .arg(folder.path())
        .args(more)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("these tests need redis-server 7 or newer on the PATH (Debian: apt-get install redis-server)")
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
