//! `tools/rehearse` on days that are worse than it means: processes that don't start, or a swarm that dies. It says so in
//! time and leaves nothing running. The store is a real Redis; node, allocator and swarm are scripts that misbehave.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// How long a rehearsal that fails may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it waits for a process to be ready.
const READY_S: &str = "2";

/// Node and allocator are ready, and serve until they are ended; each writes its id down.
const ATOLL: &str = "#!/bin/sh
case \"$*\" in audit*) echo audited; exit 0 ;; esac
echo $$ >> processes
@FAULT@
echo \"ready join=127.0.0.1:1 page=http://@PAGE@/\"
exec sleep 120
";

struct Said {
    status: ExitStatus,
    text: String,
}

fn script(path: &Path, text: &str) {
    fs::write(path, text).expect("a script");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it can be run");
}

/// Says that two bots are in, and from then on the file `asked` is there.
fn page(folder: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let asked = folder.join("asked");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let body = r#"{"nodes": [{"sessions": 2}]}"#;
            let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}", body.len());
            let _ = write!(stream, "{head}\r\n\r\n{body}");
            let _ = fs::write(&asked, "");
        }
    });
    address
}

/// A rehearsal with two nodes and two bots.
fn rehearse(fault: &str, swarm: &str) -> Said {
    rehearse_until(fault, swarm, false)
}

/// The same; ended from outside as soon as everybody is in, if that is wanted.
fn rehearse_until(fault: &str, swarm: &str, ended: bool) -> Said {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let atoll = ATOLL.replace("@FAULT@", fault).replace("@PAGE@", &page(folder));
    script(&folder.join("atoll"), &atoll);
    script(&folder.join("loadtest"), &format!("#!/bin/sh\n{swarm}\n"));
    let log = |name: &str| fs::File::create(folder.join(name)).expect("a file");
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/rehearse");
    let mut command = Command::new(tool);
    command.args(["--built", ".", "--keep", ".", "--nodes", "2", "--bots", "2", "--seconds", "5"]);
    command.args(["--ready", READY_S]).current_dir(folder).stdout(log("out")).stderr(log("err"));
    let mut child = command.spawn().expect("it runs");
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().expect("it is ours") {
            Some(status) => break Some(status),
            None if begun.elapsed() > PATIENCE => break None,
            None => thread::sleep(Duration::from_millis(20)),
        }
        if ended && folder.join("asked").exists() {
            let _ = Command::new("kill").arg(child.id().to_string()).status();
        }
    };
    if status.is_none() {
        child.kill().and_then(|()| child.wait()).expect("it is ours");
    }
    let left = end_all(folder);
    let text = ["out", "err"].map(|name| fs::read_to_string(folder.join(name)).unwrap_or_default()).concat();
    let status = status.unwrap_or_else(|| panic!("it hangs: {text}"));
    assert!(left.is_empty(), "{left:?} are left: {text}");
    assert!(!text.contains("Traceback"), "{text}");
    Said { status, text }
}

/// Ends what runs still, and says what did.
fn end_all(folder: &Path) -> Vec<String> {
    let written = fs::read_to_string(folder.join("processes")).unwrap_or_default();
    let runs = |id: &&str| Path::new("/proc").join(id).exists();
    let mut left: Vec<String> = written.lines().filter(runs).map(str::to_owned).collect();
    for id in &left {
        let _ = Command::new("kill").arg(id).status();
    }
    if let Ok(mut redis) = UnixStream::connect(folder.join("redis.sock")) {
        let _ = redis.write_all(b"SHUTDOWN NOSAVE\r\n").and_then(|()| redis.read(&mut [0; 64]));
        left.push("redis-server".to_owned());
    }
    left
}

#[test]
fn a_node_that_ends_at_once_ends_it_all() {
    let said = rehearse("case \"$*\" in *'--id 2') exit 1 ;; esac", "exit 0");
    assert_eq!(said.status.code(), Some(1), "{}", said.text);
    assert!(said.text.contains("node-2 ended before it was ready; see "), "{}", said.text);
}

#[test]
fn a_node_that_is_never_ready_is_not_waited_for() {
    let said = rehearse("case \"$*\" in *'--id 2') exec sleep 120 ;; esac", "exit 0");
    assert_eq!(said.status.code(), Some(1), "{}", said.text);
    assert!(said.text.contains("node-2 isn't ready in time; see "), "{}", said.text);
}

#[test]
fn a_swarm_that_dies_is_told() {
    let (alive, wait) = ("for last; do :; done; : > \"$last\"", "while [ ! -e asked ]; do sleep 0.05; done");
    let said = rehearse("", &format!("{alive}; {wait}; exit 3"));
    assert_eq!(said.status.code(), Some(1), "{}", said.text);
    assert!(said.text.contains("audited\nNOT WELL: swarm 3, without a report; audit 0"), "{}", said.text);
}

#[test]
fn ended_from_outside_it_ends_what_it_started() {
    let said = rehearse_until("", "echo $$ >> processes; exec sleep 120", true);
    assert_eq!(said.status.code(), Some(143), "{}", said.text);
}
