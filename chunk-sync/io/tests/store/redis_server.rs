//! A redis-server of the test's own: on a socket in a folder of its own, gone when the test ends.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use chunk_sync_io::store::StoreUrl;
use tempfile::TempDir;

pub(crate) struct RedisServer {
    child: Child,
    folder: TempDir,
    port: u16,
    settings: Vec<String>,
}

impl RedisServer {
    /// Starts one that listens on a Unix socket and keeps what it acknowledged.
    pub(crate) fn start() -> Self {
        Self::start_on(0, &[])
    }

    /// Starts one that also listens on a free TCP port of this machine.
    pub(crate) fn start_with_tcp() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with TCP and with settings of its own (`--name`, `value`…), which override the usual ones.
    pub(crate) fn start_with(settings: &[&str]) -> Self {
        Self::start_on(free_port(), settings)
    }

    /// Starts one that copies another.
    pub(crate) fn start_replica_of(master: &RedisServer) -> Self {
        Self::start_with(&["--replicaof", "127.0.0.1", &master.port.to_string()])
    }

    fn start_on(port: u16, settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let settings: Vec<String> = settings.iter().map(|word| (*word).to_owned()).collect();
        let child = spawn(folder.path(), port, &settings);
        Self { child, folder, port, settings }
    }

    /// Starts a Sentinel that watches the server on a port of this machine and decides alone.
    pub(crate) fn start_sentinel(name: &str, watched_port: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let settings = format!(
            "port {port}\nbind 127.0.0.1\nunixsocket redis.sock\nsentinel monitor {name} 127.0.0.1 {watched_port} 1\n\
             sentinel down-after-milliseconds {name} 500\nsentinel failover-timeout {name} 3000\n"
        );
        std::fs::write(folder.path().join("sentinel.conf"), settings).expect("a file of settings");
        let mut command = Command::new("redis-server");
        command.args(["sentinel.conf", "--sentinel"]).current_dir(folder.path());
        let child = until_said(command, &["+monitor master"]);
        Self { child, folder, port, settings: Vec::new() }
    }

    /// Waits until a Sentinel has found a master's replicas.
    pub(crate) async fn until_sentinel_knows_replicas(&self, name: &str, replicas: usize) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let known: Vec<redis::Value> = self.ask(&["SENTINEL", "REPLICAS", name]).await;
            if known.len() == replicas {
                return;
            }
            assert!(Instant::now() < deadline, "knows {} replicas", known.len());
            // Only paces the asking.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Its TCP port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The URL of its socket.
    pub(crate) fn url(&self) -> StoreUrl {
        let socket = self.folder.path().join("redis.sock");
        format!("redis+unix://{}", socket.display()).parse().expect("a store URL")
    }

    /// The URL of its TCP port.
    pub(crate) fn tcp_url(&self) -> StoreUrl {
        assert_ne!(self.port, 0);
        format!("redis://127.0.0.1:{}/3", self.port).parse().expect("a store URL")
    }

    /// Kills it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// Starts it again after [`kill`](Self::kill), on the same data.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(self.folder.path(), self.port, &self.settings);
    }

    /// As [`restart`](Self::restart), with other settings.
    pub(crate) fn restart_with(&mut self, settings: &[&str]) {
        self.settings = settings.iter().map(|word| (*word).to_owned()).collect();
        self.restart();
    }

    /// Sends it a signal (`STOP`, `CONT`).
    pub(crate) fn signal(&self, signal: &str) {
        let done = Command::new("kill").arg(format!("-{signal}")).arg(self.child.id().to_string()).status();
        assert!(done.expect("kill runs").success());
    }

    /// Runs a command on a connection of its own.
    pub(crate) async fn run(&self, words: &[&str]) {
        let _: redis::Value = self.ask(words).await;
    }

    /// Waits until a field of `INFO` has this value.
    pub(crate) async fn until(&self, field: &str, value: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let wanted = format!("{field}:{value}");
        loop {
            let info: String = self.ask(&["INFO", "everything"]).await;
            if info.lines().any(|line| line == wanted) {
                return;
            }
            assert!(Instant::now() < deadline, "never {wanted}: {info}");
            // Only paces the asking.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until a replica follows it.
    pub(crate) async fn until_followed(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let info: String = self.ask(&["INFO", "replication"]).await;
            if info.lines().any(|line| line.starts_with("slave0:") && line.contains(",state=online,")) {
                return;
            }
            assert!(Instant::now() < deadline, "never followed: {info}");
            // Only paces the asking.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// How often it did a command.
    pub(crate) async fn calls(&self, command: &str) -> u64 {
        let info: String = self.ask(&["INFO", "commandstats"]).await;
        let prefix = format!("cmdstat_{command}:calls=");
        let calls = info.lines().find_map(|line| line.strip_prefix(&prefix)?.split(',').next()?.parse().ok());
        calls.unwrap_or(0)
    }

    /// Runs a command on a connection of its own and reads the answer.
    pub(crate) async fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let socket = self.folder.path().join("redis.sock");
        let client = redis::Client::open(format!("redis+unix://{}", socket.display())).expect("a URL");
        let mut connection = client.get_multiplexed_async_connection().await.expect("connects");
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(word);
        }
        command.query_async(&mut connection).await.expect("the command is done")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody uses now, nor the one of its cluster bus, 10,000 above. Both are below those that the system
/// gives to outgoing connections, so that none of a test beside this one takes it meanwhile. Processes whose numbers are
/// near begin far from each other, so that two which run the same test don't both find the same port free.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = (std::process::id() % 90) as u16 * 100;
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        let port = 12_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
}

fn spawn(folder: &Path, port: u16, settings: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--unixsocket", "redis.sock", "--save", "", "--appendonly", "yes"])
        .args(["--appendfsync", "always", "--daemonize", "no", "--dir"])
        .arg(folder)
        .args(settings)
        .current_dir(folder);
    // Of the socket, which it opens last: as versions before 7.2 say it, and as they do since.
    until_said(command, &["accept connections at", "accept connections unix"])
}

/// Starts a server and waits until it says one of these.
fn until_said(mut command: Command, said: &[&str]) -> Child {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect(
        "these tests need redis-server 7 or newer on the PATH (Debian: apt-get install redis-server)",
    );
    let mut lines = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
    let ready = lines.by_ref().map_while(Result::ok).any(|line| said.iter().any(|said| line.contains(said)));
    if !ready {
        let _ = child.kill();
        let _ = child.wait();
        panic!("redis-server ended before it was ready");
    }
    // Keeps its output from filling the pipe.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    child
}
