//! Processes of the cluster: started with free ports, asked for their state, signalled, and always ended.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::eventually;
use crate::redis_server::RedisServer;

/// How long a process may take to serve.
pub(crate) const READY_WAIT: Duration = Duration::from_secs(60);
/// How long a process may take to end after SIGTERM.
const EXIT_WAIT: Duration = Duration::from_secs(15);
/// How long the admin port may take to answer.
const HTTP_WAIT: Duration = Duration::from_secs(5);
/// Lines of a process's log that are kept for the report of a failed test.
const LOG_LINES: usize = 60;
/// Open files that processes start with, as most systems give them.
const OPEN_FILES: &str = "1024";

/// A process of `atoll`, killed when it is dropped.
pub(crate) struct Process {
    what: String,
    child: Child,
    lines: Receiver<String>,
    said: BTreeMap<String, String>,
    log: Arc<Mutex<VecDeque<String>>>,
}

impl Process {
    /// Starts `atoll` with these arguments, without waiting.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new("sh");
        // Nobody's own settings get in.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ATOLL_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args([
                "-c",
                &format!("ulimit -Sn {OPEN_FILES}; exec \"$0\" \"$@\""),
                env!("CARGO_BIN_EXE_atoll"),
            ])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("atoll starts");
        let (sender, lines) = channel();
        let stdout = child.stdout.take().expect("it is piped");
        let log = Arc::<Mutex<VecDeque<String>>>::default();
        let (stderr, kept) = (child.stderr.take().expect("it is piped"), Arc::clone(&log));
        let process =
            Self { what: arguments.join(" "), child, lines, said: BTreeMap::new(), log: Arc::clone(&log) };
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.push_back(line);
                if kept.len() > LOG_LINES {
                    kept.pop_front();
                }
            }
        });
        process
    }

    /// Waits until it says that it serves.
    pub(crate) fn ready(mut self) -> Self {
        let until = Instant::now() + READY_WAIT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some(said) = line.strip_prefix("ready ") {
                        let pairs = said.split(' ').filter_map(|pair| pair.split_once('='));
                        self.said = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
                        return self;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("{} is not ready in {READY_WAIT:?}", self.what),
                Err(RecvTimeoutError::Disconnected) => panic!("{} ended before it was ready", self.what),
            }
        }
    }

    /// A value of its `ready` line.
    pub(crate) fn said(&self, key: &str) -> &str {
        self.said.get(key).unwrap_or_else(|| panic!("no {key} in {:?} of {}", self.said, self.what))
    }

    /// Its number.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it is there");
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// Waits for its end.
    pub(crate) fn exit(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.what);
        eventually(&what, EXIT_WAIT, || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?}")),
        })
    }

    /// What `/api/state` says.
    pub(crate) fn state(&self) -> Value {
        serde_json::from_str(&self.page("/api/state")).expect("JSON")
    }

    /// The sum of a metric over its rows that have this label.
    pub(crate) fn metric(&self, name: &str, label: &str) -> u64 {
        let page = self.page("/metrics");
        let rows = page.lines().filter(|row| row.starts_with(name) && row.contains(label));
        rows.filter_map(|row| row.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// What the admin port has at a path.
    fn page(&self, path: &str) -> String {
        let page = self.said("page");
        let address = page.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = TcpStream::connect(address).expect("the admin port is open");
        stream.set_read_timeout(Some(HTTP_WAIT)).expect("a time");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer in time");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        body.to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            let lines = log.iter().map(String::as_str).collect::<Vec<_>>().join("\n  ");
            eprintln!("--- {} said:\n  {lines}", self.what);
        }
    }
}

/// Everything in one process, as `atoll up` starts it.
pub(crate) struct Up {
    pub(crate) process: Process,
    data: TempDir,
}

impl Up {
    /// Three nodes on free ports.
    pub(crate) fn start() -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        Self { process: Self::process(&data), data }
    }

    fn process(data: &TempDir) -> Process {
        let folder = data.path().to_str().expect("temporary paths are UTF-8");
        let arguments = ["up", "--nodes", "3", "--port-base", "0", "--http", "127.0.0.1:0", "--data", folder];
        Process::start(&arguments).ready()
    }

    /// Ends it as a crash would, and starts it again on the same data.
    pub(crate) fn crash_and_start(&mut self) {
        self.process.kill();
        self.process = Self::process(&self.data);
    }

    /// The allocator's address.
    pub(crate) fn join(&self) -> &str {
        self.process.said("join")
    }
}

/// Separate processes on a Redis of their own: an allocator and nodes 1 to 3.
pub(crate) struct Cluster {
    pub(crate) allocator: Process,
    nodes: Vec<Process>,
    ledger: TempDir,
    store: String,
    // Last: processes end before their store does.
    redis: RedisServer,
}

/// Nodes of a [`Cluster`].
pub(crate) const NODES: usize = 3;

impl Cluster {
    /// Starts all of them and waits until the allocator sends players to each node.
    pub(crate) fn start() -> Self {
        let redis = RedisServer::start();
        let store = redis.url();
        Self::start_on(redis, store)
    }

    /// The same on a store that is not just this server.
    pub(crate) fn start_on(redis: RedisServer, store: String) -> Self {
        let ledger = tempfile::tempdir().expect("a temporary folder");
        let folder = ledger.path().to_str().expect("temporary paths are UTF-8");
        let doors = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];
        let allocator = [&["allocator", "--store", &store, "--ledger", folder], &doors[..]].concat();
        let allocator = Process::start(&allocator);
        let nodes: Vec<Process> = (1..=NODES).map(|number| start_node(&store, number)).collect();
        let nodes = nodes.into_iter().map(Process::ready).collect();
        let cluster = Self { allocator: allocator.ready(), nodes, ledger, store, redis };
        cluster.await_live(&[1, 2, 3]);
        cluster
    }

    /// The allocator's address.
    pub(crate) fn join(&self) -> &str {
        self.allocator.said("join")
    }

    /// A node by its number.
    pub(crate) fn node(&self, number: usize) -> &Process {
        &self.nodes[number - 1]
    }

    /// What they all share.
    pub(crate) fn store(&self) -> &RedisServer {
        &self.redis
    }

    /// The same, to do something to it.
    pub(crate) fn store_mut(&mut self) -> &mut RedisServer {
        &mut self.redis
    }

    /// Players inside, over all nodes that the allocator hears of.
    pub(crate) fn sessions(&self) -> u64 {
        let state = self.allocator.state();
        let nodes = state["nodes"].as_array().expect("nodes");
        nodes.iter().filter_map(|node| node["sessions"].as_u64()).sum()
    }

    /// Ends everything in good order and audits what is in the store and in the ledger.
    pub(crate) fn end_and_audit(mut self) {
        for node in &mut self.nodes {
            node.signal(Signal::TERM);
            node.exit();
        }
        self.allocator.signal(Signal::TERM);
        self.allocator.exit();
        let folder = self.ledger.path().to_str().expect("temporary paths are UTF-8");
        let audit = Command::new(env!("CARGO_BIN_EXE_atoll"))
            .args(["audit", "--json", "--store", &self.store, "--ledger", folder])
            .output()
            .expect("atoll starts");
        let said = String::from_utf8_lossy(&audit.stdout);
        assert_eq!(audit.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&audit.stderr));
        let report: Value = serde_json::from_str(&said).expect("JSON");
        assert!(report["entries"].as_u64().is_some_and(|entries| entries > 0), "an empty ledger: {report:#}");
    }

    /// A node by its number.
    pub(crate) fn node_mut(&mut self, number: usize) -> &mut Process {
        &mut self.nodes[number - 1]
    }

    /// Starts a node that ended once more.
    pub(crate) fn restart(&mut self, number: usize) {
        self.nodes[number - 1] = start_node(&self.store, number).ready();
    }

    /// Waits until the allocator takes exactly these nodes for alive, and the island's plan names them.
    pub(crate) fn await_live(&self, wanted: &[u64]) {
        eventually(&format!("the allocator sends players to nodes {wanted:?}"), READY_WAIT, || {
            let state = self.allocator.state();
            let rows = state["nodes"].as_array().expect("nodes");
            let live: Vec<u64> =
                rows.iter().filter(|n| n["alive"] == true).filter_map(|n| n["id"].as_u64()).collect();
            let planned: Vec<u64> = state["islands"][0]["nodes"]
                .as_array()
                .map_or_else(Vec::new, |nodes| nodes.iter().filter_map(Value::as_u64).collect());
            let served = wanted.iter().all(|node| planned.contains(node));
            if live == wanted && served { Ok(()) } else { Err(format!("live {live:?}, planned {planned:?}")) }
        });
    }
}

fn start_node(store: &str, number: usize) -> Process {
    let id = number.to_string();
    Process::start(&[
        "node",
        "--store",
        store,
        "--id",
        &id,
        "--listen",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
    ])
}
