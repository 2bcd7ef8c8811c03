//! Players: the Python client of the documentation, as a process.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A player who walks about; killed when dropped.
pub(crate) struct Player {
    child: Option<Child>,
    name: String,
    stdout: BufReader<ChildStdout>,
    said: String,
}

impl Player {
    /// Enters the cluster at `join` and stays for `seconds`.
    pub(crate) fn enter(join: &str, name: &str, seconds: u32) -> Self {
        let made = Command::new(root().join("tools/python-env")).output().unwrap();
        assert!(made.status.success(), "no Python environment: {}", String::from_utf8_lossy(&made.stderr));
        let python = String::from_utf8(made.stdout).unwrap().trim().to_owned();
        let mut child = Command::new(python)
            .arg(root().join("docs/examples/client.py"))
            .args([join, "--name", name, "--seconds", &seconds.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child: Some(child), name: name.to_owned(), stdout, said: String::new() }
    }

    /// Waits until the player says a line with this in it; the player ends by itself, so this does too.
    pub(crate) fn says(&mut self, wanted: &str) {
        let mut line = String::new();
        while !line.contains(wanted) {
            line.clear();
            let bytes = self.stdout.read_line(&mut line).unwrap();
            assert!(bytes > 0, "{} never said {wanted:?}:\n{}", self.name, self.said);
            self.said.push_str(&line);
        }
    }

    /// Stops the process where it is: it neither reads nor closes anything any more.
    pub(crate) fn pause(&mut self) {
        let pid = Pid::from_child(self.child.as_ref().unwrap());
        kill_process(pid, Signal::STOP).unwrap();
    }

    /// Waits until the player has left: exit code and everything that was said.
    pub(crate) fn left(mut self) -> (i32, String) {
        self.stdout.read_to_string(&mut self.said).unwrap();
        let output = self.child.take().unwrap().wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().unwrap_or(-1), format!("{}:\n{}{errors}", self.name, self.said))
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
