//! Players: the Python client of the documentation, as a process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A player who walks about; killed when dropped.
pub(crate) struct Player {
    child: Option<Child>,
    name: String,
}

impl Player {
    /// Enters the cluster at `join` and stays for `seconds`.
    pub(crate) fn enter(join: &str, name: &str, seconds: u32) -> Self {
        let made = Command::new(root().join("tools/python-env")).output().unwrap();
        assert!(made.status.success(), "no Python environment: {}", String::from_utf8_lossy(&made.stderr));
        let python = String::from_utf8(made.stdout).unwrap().trim().to_owned();
        let child = Command::new(python)
            .arg(root().join("docs/examples/client.py"))
            .args([join, "--name", name, "--seconds", &seconds.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child: Some(child), name: name.to_owned() }
    }

    /// Stops the process where it is: it neither reads nor closes anything any more.
    pub(crate) fn pause(&mut self) {
        let pid = Pid::from_child(self.child.as_ref().unwrap());
        kill_process(pid, Signal::STOP).unwrap();
    }

    /// Waits until the player has left: exit code and everything that was said.
    pub(crate) fn left(mut self) -> (i32, String) {
        let output = self.child.take().unwrap().wait_with_output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), format!("{}:\n{}", self.name, String::from_utf8_lossy(&text)))
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
