//! A program on a pseudo-terminal: `script` makes it, a shell in it notes how the terminal was set before and after.
//!
//! The reader thread ends with the program; whoever drops a terminal ends both.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::screen::Screen;

pub(crate) const COLUMNS: usize = 100;
pub(crate) const ROWS: usize = 30;
const END_WAIT: Duration = Duration::from_secs(10);
/// What runs in the terminal. The marks are read from what the program leaves on it.
const INSIDE: &str = r#"
    stty rows "$PLAY_ROWS" cols "$PLAY_COLUMNS"
    echo "<before:$(stty -g)>"
    sh -c 'echo "<pid:$$>"; eval "exec $PLAY_COMMAND"'
    code=$?
    echo "<after:$(stty -g)>"
    echo "<code:$code>"
"#;

/// A terminal with `atoll play` in it.
pub(crate) struct Terminal {
    child: Child,
    keys: ChildStdin,
    bytes: Receiver<Vec<u8>>,
    raw: Vec<u8>,
}

impl Terminal {
    /// Starts `atoll play` with these arguments, none of which holds a quote.
    pub(crate) fn play(arguments: &[&str]) -> Self {
        let words = [env!("CARGO_BIN_EXE_atoll"), "play"].into_iter().chain(arguments.iter().copied());
        let command: Vec<String> = words.map(|word| format!("'{word}'")).collect();
        let mut child = Command::new("script")
            .args(["--quiet", "--flush", "--command", INSIDE, "/dev/null"])
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm-256color")
            .env("PLAY_COMMAND", command.join(" "))
            .env("PLAY_ROWS", ROWS.to_string())
            .env("PLAY_COLUMNS", COLUMNS.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("these tests need 'script' on the PATH (Debian: apt-get install bsdutils)");
        let keys = child.stdin.take().expect("it is piped");
        let mut stdout = child.stdout.take().expect("it is piped");
        let (sender, bytes) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            while let Ok(received @ 1..) = stdout.read(&mut buffer) {
                if sender.send(buffer[..received].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keys, bytes, raw: Vec::new() }
    }

    /// Presses keys, as the bytes that a terminal sends for them.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keys
            .write_all(keys.as_bytes())
            .and_then(|()| self.keys.flush())
            .expect("the terminal takes keys");
    }

    /// What the screen shows now.
    pub(crate) fn screen(&self) -> String {
        Screen::after(&self.raw).text()
    }

    /// Waits until the screen gives what is looked for.
    pub(crate) fn wait<T>(&mut self, what: &str, within: Duration, look: impl Fn(&str) -> Option<T>) -> T {
        let until = Instant::now() + within;
        loop {
            if let Some(found) = look(&self.screen()) {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.bytes.recv_timeout(left) {
                Ok(bytes) => self.raw.extend(bytes),
                Err(error) => panic!("{what}: {error}; the screen shows\n{}", self.screen()),
            }
        }
    }

    /// Sends the program a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let number: i32 = self.mark("pid").parse().expect("a process number");
        kill_process(Pid::from_raw(number).expect("not 0"), signal).expect("it runs");
    }

    /// Waits for the program's end, which has to have this exit code; gives back all that it wrote.
    pub(crate) fn end(&mut self, code: i32) -> String {
        let until = Instant::now() + END_WAIT;
        loop {
            match self.bytes.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.raw.extend(bytes),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("it doesn't end; the screen shows\n{}", self.screen())
                }
            }
        }
        assert_eq!(self.mark("code"), code.to_string(), "{}", self.screen());
        String::from_utf8_lossy(&self.raw).into_owned()
    }

    /// Waits for a clean end, with the terminal as it was: same settings, first screen, cursor to be seen.
    pub(crate) fn ended_well(&mut self) {
        let raw = self.end(0);
        assert_eq!(self.mark("after"), self.mark("before"), "the terminal's settings");
        let last = |of: &str| raw.rfind(of).unwrap_or_else(|| panic!("no {of:?} in {raw:?}"));
        assert!(last("\x1b[?1049l") > last("\x1b[?1049h"), "it left its own screen");
        assert!(last("\x1b[?25h") > last("\x1b[?25l"), "the cursor is back");
    }

    /// What stands between `<NAME:` and `>` in what was written.
    fn mark(&self, name: &str) -> String {
        let raw = String::from_utf8_lossy(&self.raw);
        let marked = raw.split_once(&format!("<{name}:")).and_then(|(_, rest)| rest.split_once('>'));
        marked.map(|(value, _)| value.to_owned()).unwrap_or_else(|| panic!("no <{name}:> in {raw:?}"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The end of the pseudo-terminal hangs up on the program in it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
