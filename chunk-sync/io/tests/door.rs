//! The door over real TCP: who gets in, who is told why not, and what a crowd at the door can't do.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use chunk_sync::limits::HELLO_BYTES_MAX;
use chunk_sync::wire::{Reject, RejectCode, control, frame, kind};
use chunk_sync_io::door::limits::LEFTOVER_BYTES_MAX;
use chunk_sync_io::door::{Door, DoorError, DoorOptions};
use tokio::io::AsyncReadExt;

/// Long enough for a machine that does much else; nothing waits this long when all is well.
const DEADLINE: Duration = Duration::from_secs(30);
const CHILD: &str = "DOOR_TEST_FEW_FILES";

fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the door listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a live socket");
    stream
}

/// Everything that comes until the other side ends, in a thread that may wait.
async fn read_to_end(mut stream: TcpStream) -> Vec<u8> {
    let read = move || {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("an orderly end, not a reset");
        all
    };
    tokio::task::spawn_blocking(read).await.expect("no panic")
}

fn assert_refused(bytes: &[u8], code: RejectCode) {
    assert_eq!(bytes, code.frame());
    let reject: Reject = control(kind::REJECT, &bytes[5..]).expect("a reject");
    assert_eq!(reject.code, code as u16);
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < DEADLINE, "{what}");
        tokio::task::yield_now().await;
    }
}

async fn next(door: &mut Door) -> chunk_sync_io::door::Arrival {
    tokio::time::timeout(DEADLINE, door.next()).await.expect("in time").expect("the door is open")
}

fn impatient(hello_wait_ms: u64) -> DoorOptions {
    DoorOptions { hello_wait: Duration::from_millis(hello_wait_ms), ..DoorOptions::default() }
}

#[tokio::test]
async fn a_hello_arrives_with_what_came_behind_it() {
    let mut door = Door::open(any_port()).await.expect("a free port");
    let mut client = connect(door.address());
    let mut sent = frame(kind::HELLO, b"let me in");
    sent.extend_from_slice(b"and this");
    client.write_all(&sent).expect("written");
    let mut arrival = next(&mut door).await;
    assert_eq!(&arrival.hello[..], b"let me in");
    assert_eq!(arrival.peer, client.local_addr().expect("bound"));
    assert!(arrival.stream.nodelay().expect("a live socket"));
    client.write_all(b" too").expect("written");
    let mut all = arrival.leftover.to_vec();
    while all.len() < 12 {
        let mut more = [0; 64];
        let read = tokio::time::timeout(DEADLINE, arrival.stream.read(&mut more)).await;
        all.extend_from_slice(&more[..read.expect("in time").expect("alive")]);
    }
    assert_eq!(all, b"and this too");
}

#[tokio::test]
async fn the_longest_hello_gets_in_byte_by_byte_and_nothing_behind_it_is_lost() {
    let mut door = Door::open(any_port()).await.expect("a free port");
    let body = vec![9; HELLO_BYTES_MAX - 1];
    let mut sent = frame(kind::HELLO, &body);
    let behind: Vec<u8> = (0..4 * LEFTOVER_BYTES_MAX).map(|n| n as u8).collect();
    sent.extend_from_slice(&behind);
    let mut client = connect(door.address());
    client.set_nodelay(true).expect("a live socket");
    let (slow, fast) = sent.split_at(64);
    for byte in slow {
        client.write_all(&[*byte]).expect("written");
        tokio::task::yield_now().await;
    }
    client.write_all(fast).expect("written");
    let mut arrival = next(&mut door).await;
    assert_eq!(arrival.hello, body);
    assert!(arrival.leftover.len() <= LEFTOVER_BYTES_MAX);
    let mut rest = vec![0; behind.len() - arrival.leftover.len()];
    let read = tokio::time::timeout(DEADLINE, arrival.stream.read_exact(&mut rest)).await;
    read.expect("in time").expect("alive");
    assert_eq!([&arrival.leftover[..], &rest].concat(), behind);
}

#[tokio::test]
async fn what_is_no_hello_is_told_so() {
    let door = Door::open(any_port()).await.expect("a free port");
    let too_long = HELLO_BYTES_MAX as u32 + 1;
    let cases: [(&str, Vec<u8>); 6] = [
        ("garbage", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("4 GB", vec![0xff; 4]),
        ("empty frame", vec![0; 4]),
        ("one too long", too_long.to_be_bytes().to_vec()),
        ("another kind", frame(kind::PING, b"")),
        ("a flood", vec![0xee; 100_000]),
    ];
    for (what, bytes) in cases {
        let mut client = connect(door.address());
        // A flood may be cut while it is still being written.
        let _ = client.write_all(&bytes);
        assert_eq!(read_to_end(client).await, RejectCode::Malformed.frame(), "{what}");
    }
    let mut half = connect(door.address());
    half.write_all(&frame(kind::HELLO, b"let me in")[..7]).expect("written");
    half.shutdown(std::net::Shutdown::Write).expect("a live socket");
    assert_refused(&read_to_end(half).await, RejectCode::Malformed);
    assert_eq!(door.stats().malformed.load(Relaxed), 7);
}

#[tokio::test]
async fn who_is_too_slow_is_told_so_however_busily_he_trickles() {
    let door = Door::open_with(any_port(), impatient(300)).await.expect("a free port");
    let silent = connect(door.address());
    let mut trickling = connect(door.address());
    trickling.set_nodelay(true).expect("a live socket");
    let mut writer = trickling.try_clone().expect("a live socket");
    let trickle = tokio::task::spawn_blocking(move || {
        let began = Instant::now();
        for byte in frame(kind::HELLO, &[1; 4_000]) {
            // Ends when the door cuts the connection.
            if writer.write_all(&[byte]).is_err() || began.elapsed() > DEADLINE {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert_refused(&read_to_end(silent).await, RejectCode::HelloTimeout);
    let read_reason = move || {
        let mut told = vec![0; RejectCode::HelloTimeout.frame().len()];
        trickling.read_exact(&mut told).expect("told before the cut");
        told
    };
    let told = tokio::task::spawn_blocking(read_reason).await.expect("no panic");
    assert_refused(&told, RejectCode::HelloTimeout);
    trickle.await.expect("no panic");
    assert_eq!(door.stats().timed_out.load(Relaxed), 2);
}

#[tokio::test]
async fn a_crowd_without_a_word_keeps_nobody_out() {
    const INSIDE: usize = 50;
    const CROWD: usize = 400;
    let options =
        DoorOptions { pending_max: INSIDE, hello_wait: Duration::from_secs(600), ..DoorOptions::default() };
    let mut door = Door::open_with(any_port(), options).await.expect("a free port");
    let stats = door.stats();
    let address = door.address();
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        crowd.push(connect(address));
        assert!(stats.pending.load(Relaxed) <= INSIDE);
        tokio::task::yield_now().await;
    }
    until("the oldest make room", || stats.displaced.load(Relaxed) == (CROWD - INSIDE) as u64).await;
    assert_eq!((stats.pending.load(Relaxed), stats.refused_full.load(Relaxed)), (INSIDE, 0));
    // Nobody of the crowd has left, and who speaks gets in.
    connect(address).write_all(&frame(kind::HELLO, b"me")).expect("written");
    assert_eq!(&next(&mut door).await.hello[..], b"me");
    drop(crowd);
    until("everybody has left", || stats.pending.load(Relaxed) == 0).await;
    assert_eq!(stats.left.load(Relaxed), INSIDE as u64 - 1);
}

#[tokio::test]
async fn who_has_said_hello_is_not_displaced() {
    const INSIDE: usize = 4;
    const TAKEN: usize = 8;
    let options = DoorOptions { pending_max: INSIDE, arrivals_max: TAKEN, ..DoorOptions::default() };
    let door = Door::open_with(any_port(), options).await.expect("a free port");
    let stats = door.stats();
    // Nobody takes them: the queue behind the door fills up, and these wait inside.
    let mut guests = Vec::new();
    for _ in 0..TAKEN + INSIDE {
        let mut guest = connect(door.address());
        guest.write_all(&frame(kind::HELLO, b"guest")).expect("written");
        guests.push(guest);
        until("its hello is read", || stats.hellos.load(Relaxed) == guests.len() as u64).await;
    }
    until("the last wait inside", || stats.pending.load(Relaxed) == INSIDE).await;
    guests.push(connect(door.address()));
    until("the next is refused", || stats.refused_full.load(Relaxed) == 1).await;
    assert_eq!(stats.displaced.load(Relaxed), 0);
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = TcpListener::bind(any_port()).expect("a free port");
    let address = taken.local_addr().expect("bound");
    let error = Door::open(address).await.expect_err("the port is taken");
    assert!(matches!(error, DoorError::Taken(_)));
    assert_eq!(
        error.to_string(),
        format!("port {} on 127.0.0.1 is taken by another program", address.port())
    );
}

#[tokio::test]
async fn a_closed_door_lets_go_of_everybody() {
    let door = Door::open(any_port()).await.expect("a free port");
    let address = door.address();
    let (waiting, stats) = (connect(address), door.stats());
    until("inside", || stats.pending.load(Relaxed) == 1).await;
    drop(door);
    assert_eq!(read_to_end(waiting).await, b"");
    let again = Door::open(address).await.expect("the port is free again");
    assert_eq!(again.address(), address);
}

/// A line to the parent; begun anew, since the test harness leaves one unfinished.
fn say(line: &str) {
    writeln!(std::io::stdout(), "\n{line}").expect("the parent listens");
}

/// Runs in a process of its own, which may open few files; see the next test.
fn serve_with_few_files() {
    let few = rustix::process::Rlimit { current: Some(48), maximum: Some(48) };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, few).expect("lowering is allowed");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut door = Door::open(any_port()).await.expect("a free port");
        say(&format!("port {}", door.address().port()));
        let stats = door.stats();
        until("files run out", || stats.accept_errors.load(Relaxed) > 0).await;
        say("starved");
        let arrival = next(&mut door).await;
        say(&format!("arrived {}", String::from_utf8_lossy(&arrival.hello)));
    });
}

#[test]
fn without_file_descriptors_it_waits_and_goes_on() {
    if std::env::var_os(CHILD).is_some() {
        return serve_with_few_files();
    }
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "without_file_descriptors_it_waits_and_goes_on", "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test runs again");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("piped")));
    let mut line_after = |word: &str| {
        let found = lines.find_map(|line| line.ok()?.strip_prefix(word).map(str::to_owned));
        found.unwrap_or_else(|| panic!("the child ended without saying {word:?}"))
    };
    let port: u16 = line_after("port ").parse().expect("a port");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let crowd: Vec<TcpStream> = (0..100).map(|_| connect(address)).collect();
    // Behind all of them in the backlog, so it is accepted only once the crowd has made room.
    let mut client = connect(address);
    client.write_all(&frame(kind::HELLO, b"patient")).expect("written");
    line_after("starved");
    drop(crowd);
    assert_eq!(line_after("arrived "), "patient");
    assert!(child.wait().expect("a child").success());
}
