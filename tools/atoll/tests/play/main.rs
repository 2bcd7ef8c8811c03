//! `atoll play` as its player meets it: the real program on a pseudo-terminal, in a real cluster, with keys pressed
//! and the screen read. `script` (util-linux, part of every Debian) makes the pseudo-terminal.

mod cluster;
mod screen;
mod terminal;

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use cluster::Cluster;
use terminal::Terminal;

const UP: &str = "\x1b[A";
const RIGHT: &str = "\x1b[C";
const CTRL_C: &str = "\x03";
/// Everything that a screen is waited for comes within this, also on a busy machine.
const WAIT: Duration = Duration::from_secs(30);

/// East and north, in metres, as the panel says.
fn position(screen: &str) -> Option<(f32, f32)> {
    let (_, value) = screen.split_once("Position ")?;
    let mut words = value.split_whitespace();
    let (x, _, y) = (words.next()?, words.next()?, words.next()?);
    Some((x.parse().ok()?, y.parse().ok()?))
}

#[test]
fn a_player_sees_walks_and_leaves_the_terminal_as_it_was() {
    let cluster = Cluster::start();
    let mut mara = Terminal::play(&["--join", cluster.join(), "--name", "Mara"]);
    mara.wait("Mara is in", WAIT, |screen| {
        (screen.contains("Mara") && screen.contains("● connected") && screen.contains("@→")).then_some(())
    });
    mara.wait("the land is there", WAIT, |screen| screen.contains("Ground      grass").then_some(()));
    let start = mara.wait("a position", WAIT, position);
    mara.wait("the round trip was measured", WAIT, |screen| screen.contains(" ms").then_some(()));

    mara.press(RIGHT);
    let east = mara.wait("a step east", WAIT, |screen| {
        position(screen).filter(|(x, _)| *x > start.0 && screen.contains("@→"))
    });
    mara.press(UP);
    mara.wait("a step north", WAIT, |screen| {
        position(screen).filter(|(x, y)| *x >= east.0 && *y > start.1 && screen.contains("@↑"))
    });

    let mut bo = Terminal::play(&["--join", cluster.join(), "--name", "Bo"]);
    bo.wait("Bo sees Mara", WAIT, |screen| screen.contains("1 besides you").then_some(()));
    mara.wait("Mara sees Bo", WAIT, |screen| {
        (screen.contains("1 besides you") && screen.contains("Nearest") && screen.contains("Bo "))
            .then_some(())
    });
    bo.press(CTRL_C);
    bo.ended_well();
    mara.wait("Bo has left", WAIT, |screen| screen.contains("0 besides you").then_some(()));
    let screen = mara.screen();
    assert!(screen.contains("Corrections 0"), "an honest walker was put back:\n{screen}");
    mara.press("q");
    mara.ended_well();
}

#[test]
fn whoever_is_thrown_out_is_told_why_and_may_come_back() {
    let cluster = Cluster::start();
    let inside = |screen: &str| screen.contains("● connected").then_some(());
    let mut first = Terminal::play(&["--target", cluster.join(), "--name", "Twice"]);
    first.wait("the first one is in", WAIT, inside);
    let mut second = Terminal::play(&["--join", cluster.join(), "--name", "Twice"]);
    second.wait("the second one is in", WAIT, inside);
    let told = |screen: &str| {
        let told = ["You entered from somewhere else.", "r reconnect   q quit", "● disconnected"];
        told.iter().all(|told| screen.contains(told)).then_some(())
    };
    first.wait("the first one is told", WAIT, told);
    first.press("r");
    first.wait("the first one is back", WAIT, inside);
    second.wait("the second one is told", WAIT, told);
    second.press("\x1b");
    second.ended_well();

    // The terminal comes back after a signal too.
    first.signal(Signal::TERM);
    first.ended_well();
}

#[test]
fn an_island_that_is_not_open_is_refused_on_the_screen() {
    let cluster = Cluster::start();
    let mut lost = Terminal::play(&["--join", cluster.join(), "--island", "77"]);
    lost.wait("the refusal", WAIT, |screen| {
        (screen.contains("That island is not open.") && screen.contains("guest-")).then_some(())
    });
    lost.press("q");
    lost.ended_well();
}

#[test]
fn without_anybody_to_let_one_in_the_terminal_is_left_alone() {
    // A port that was free a moment ago.
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").port();
    let join = format!("127.0.0.1:{port}");
    let mut play = Terminal::play(&["--join", &join]);
    let raw = play.end(1);
    let expected = format!("error: nobody lets players in at {join}: Connection refused");
    assert!(raw.contains(&expected), "{raw}");
    assert!(!raw.contains("\x1b[?1049h"), "the screen was taken over: {raw:?}");
}

#[test]
fn without_a_terminal_it_says_so() {
    let run = |arguments: &[&str]| -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atoll"));
        command.arg("play").args(arguments).stdin(Stdio::null()).output().expect("atoll starts")
    };
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "error: `atoll play` needs a terminal: its input and output can't be files or pipes\n"
    );
    assert!(output.stdout.is_empty(), "{output:?}");

    let output = run(&["--join", "nowhere", "--name", "not a name", "--island", "first"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(told.lines().filter(|line| line.starts_with("error: ")).count(), 4, "all at once: {told}");
}
