//! A redis-server of the test's own: on a socket in a folder of its own, gone when the test ends.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use chunk_sync_io::store::StoreUrl;
use tempfile::TempDir;

pub(crate) struct RedisServer {
    child: Child,
    folder: TempDir,
    port: u16,
}

impl RedisServer {
    /// Starts one that listens on a Unix socket and keeps what it acknowledged.
    pub(crate) fn start() -> Self {
        Self::start_on(0)
    }

    /// Starts one that also listens on a free TCP port of this machine.
    pub(crate) fn start_with_tcp() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("its address").port();
        drop(free);
        Self::start_on(port)
    }

    fn start_on(port: u16) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let child = spawn(folder.path(), port);
        Self { child, folder, port }
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
        self.child = spawn(self.folder.path(), self.port);
    }

    /// Sends it a signal (`STOP`, `CONT`).
    pub(crate) fn signal(&self, signal: &str) {
        let done = Command::new("kill").arg(format!("-{signal}")).arg(self.child.id().to_string()).status();
        assert!(done.expect("kill runs").success());
    }

    /// Runs a command on a connection of its own.
    pub(crate) async fn run(&self, words: &[&str]) {
        let socket = self.folder.path().join("redis.sock");
        let client = redis::Client::open(format!("redis+unix://{}", socket.display())).expect("a URL");
        let mut connection = client.get_multiplexed_async_connection().await.expect("connects");
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(word);
        }
        let _: redis::Value = command.query_async(&mut connection).await.expect("the command is done");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path, port: u16) -> Child {
    let mut child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--unixsocket", "redis.sock", "--save", "", "--appendonly", "yes"])
        .args(["--appendfsync", "always", "--daemonize", "no", "--dir"])
        .arg(folder)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect(
            "these tests need redis-server 7 or newer on the PATH (Debian: apt-get install redis-server)",
        );
    let mut lines = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
    let ready =
        lines.by_ref().map_while(Result::ok).any(|line| line.contains("ready to accept connections at"));
    if !ready {
        let _ = child.kill();
        let _ = child.wait();
        panic!("redis-server ended before it was ready");
    }
    // Keeps its output from filling the pipe.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    child
}
