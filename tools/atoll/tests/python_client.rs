//! `docs/examples/client.py` in a whole cluster: `atoll up` with three nodes, two Python clients that see each other,
//! and one that is refused. Needs `python3` with `venv`; `tools/python-env` makes the environment under `target/`.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const READY_WAIT: Duration = Duration::from_secs(60);
const BAD_NAME: &str = "A name has 1 to 24 letters, digits, hyphens or underscores.";

/// A running cluster on free ports, with its data in a folder of its own; both end with the test.
struct Cluster {
    child: Child,
    data: PathBuf,
    join: String,
}

impl Cluster {
    fn start() -> Cluster {
        let data =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("python-client-{}", std::process::id()));
        let mut child = Command::new(env!("CARGO_BIN_EXE_atoll"))
            .args(["up", "--nodes", "3", "--port-base", "0", "--http", "127.0.0.1:0", "--data"])
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("atoll starts");
        let lines = lines_of(child.stdout.take().expect("it is piped"));
        // The guard comes before anything that may fail, so that the child never outlives the test.
        let mut cluster = Cluster { child, data, join: String::new() };
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
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// Passes the lines on, so that they can be waited for with a deadline; ends with the process that writes them.
fn lines_of(stdout: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    lines
}

/// A running client; killed if the test ends before it does.
struct Client(Child);

impl Client {
    fn start(join: &str, arguments: &[&str]) -> Client {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("..");
        let made = Command::new(root.join("tools/python-env")).env("CARGO_TARGET_DIR", target).output();
        let made = made.expect("tools/python-env starts");
        assert!(made.status.success(), "no Python environment: {}", String::from_utf8_lossy(&made.stderr));
        let python = String::from_utf8(made.stdout).expect("a path");
        let child = Command::new(python.trim())
            .arg(root.join("docs/examples/client.py"))
            .arg(join)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Client(child.expect("the client starts"))
    }

    /// Waits for its end; what it prints is far less than a pipe holds.
    fn output(mut self) -> Output {
        let status = self.0.wait().expect("the client ends");
        let mut output = Output { status, stdout: Vec::new(), stderr: Vec::new() };
        self.0.stdout.take().expect("it is piped").read_to_end(&mut output.stdout).expect("readable");
        self.0.stderr.take().expect("it is piped").read_to_end(&mut output.stderr).expect("readable");
        output
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn python_clients_walk_and_see_each_other() {
    let cluster = Cluster::start();
    let ann = Client::start(&cluster.join, &["--name", "Ann", "--seconds", "6"]);
    let bo = Client::start(&cluster.join, &["--name", "Bo", "--seconds", "6"]);
    for (client, other) in [(ann, "Bo"), (bo, "Ann")] {
        let output = client.output();
        let (told, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{told}\n{errors}");
        assert!(told.lines().any(|line| line == format!("+ {other}")), "nobody saw {other} come: {told}");
        assert!(told.contains("players in sight: 1, creatures: "), "{told}");
        assert!(told.contains(&format!(", nearest: {other} ")), "{told}");
        let walked = told.lines().filter(|line| line.starts_with("at (")).map(|line| line.split(')').next());
        assert!(walked.collect::<std::collections::BTreeSet<_>>().len() > 1, "it stood still: {told}");
        assert!(told.contains("corrected 0 times"), "an honest walker was put back: {told}");
    }

    let refused = Client::start(&cluster.join, &["--name", "not a name", "--seconds", "6"]).output();
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains(BAD_NAME), "{refused:?}");
}
