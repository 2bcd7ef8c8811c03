//! `loadtest swarm` as its users run it: the real binary and real sockets, against a world that behaves or
//! misbehaves as each test wants.
//!
//! Nothing here depends on how fast the machine is, beyond that twenty bots are no load.

mod world;

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};

use chunk_sync::wire::RejectCode;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use world::{Fault, Running};

fn swarm(target: &str, args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.args(["swarm", "--target", target]).args(args.split(' '));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(target: &str, args: &str) -> Output {
    swarm(target, args).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs against a world and returns the report.
fn report(fault: Fault, args: &str) -> Value {
    report_and_summary(fault, args).0
}

/// Runs against a world and returns the report, as JSON and as it is printed.
fn report_and_summary(fault: Fault, args: &str) -> (Value, String) {
    let world = Running::start(fault);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("swarm.json");
    let path = path.to_str().expect("temporary paths are UTF-8");
    let output = run(&world.address.to_string(), &format!("{args} --json {path}"));
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).starts_with("swarm: "), "{}", text(&output.stdout));
    let json = std::fs::read(path).expect("the report was written");
    (serde_json::from_slice(&json).expect("valid JSON"), text(&output.stdout))
}

fn count(report: &Value, key: &str) -> u64 {
    report[key].as_u64().unwrap_or_else(|| panic!("{key} is a count in {report:#}"))
}

#[test]
fn twenty_bots_see_each_other_and_know_how_soon() {
    let args = "--bots 20 --seconds 2 --behaviour crowd --observers 4 --warm-up 1";
    let (report, summary) = report_and_summary(Fault::None, args);
    assert_eq!((count(&report, "bots"), count(&report, "connected")), (20, 20), "{report:#}");
    for none in ["errors", "disconnects", "never_reader_disconnects", "corrections"] {
        assert_eq!(count(&report, none), 0, "{none}: {report:#}");
    }
    assert_eq!(report["seen_per_bot"]["min"], 19, "{report:#}");
    assert_eq!(report["seen_per_bot"]["p50"], 19, "{report:#}");
    assert_eq!((count(&report, "islands"), count(&report, "chunks")), (1, 1), "{report:#}");
    assert_eq!(count(&report, "nodes"), 2, "{report:#}");
    for line in ["spread       1 island, 1 chunk, 2 nodes\n", "move to see  near: p50 ", "   far:  –\n"] {
        assert!(summary.contains(line), "{line}: {summary}");
    }
    // 20 entities × 20 bots × 10 a second, give or take the ticks at the window's ends.
    let due = 4_000.0 * report["seconds"].as_f64().expect("seconds");
    let updates = count(&report, "updates_received") as f64;
    assert!((updates - due).abs() < due * 0.2, "{updates} of {due}: {report:#}");
    assert!(count(&report, "bytes_received") as f64 > updates * 6.0, "{report:#}");
    // Steps wait for the next tick: half a tick on average, a tick at most, and what the machine adds.
    let latency = |key: &str| report["move_to_see_ms"][key].as_f64().expect("a latency");
    assert!((10.0..120.0).contains(&latency("p50")), "{report:#}");
    assert!(latency("p50") <= latency("p95") && latency("p99") <= latency("max"), "{report:#}");
    assert!(count(&report, "moves_seen") > 1_000 && count(&report, "moves_unmatched") == 0, "{report:#}");
    assert!(report["client_cpu_s"].as_f64().expect("CPU") > 0.0);
    assert!(report["valid"].is_boolean() && report["late_ms"]["p99"].is_number(), "{report:#}");
}

#[test]
fn bots_that_never_read_are_seen_and_do_not_count_as_readers() {
    let args = "--bots 20 --seconds 2 --behaviour crowd --observers 20 --never-read 50 --warm-up 0";
    let (report, summary) = report_and_summary(Fault::None, args);
    assert!(summary.contains("sessions     0 lost (0 more of 10 never-readers), 0 protocol"), "{summary}");
    assert_eq!((count(&report, "never_readers"), count(&report, "observers")), (10, 10), "{report:#}");
    assert_eq!((count(&report, "connected"), count(&report, "disconnects")), (20, 0), "{report:#}");
    assert_eq!(report["seen_per_bot"]["min"], 19, "{report:#}");
    let updates = count(&report, "updates_received") as f64;
    assert!(
        updates < 2_600.0 * report["seconds"].as_f64().expect("seconds"),
        "half of them read: {report:#}"
    );
}

#[test]
fn bots_that_stand_still_stay_in() {
    let report = report(Fault::None, "--bots 5 --seconds 3 --behaviour still --warm-up 0");
    assert_eq!((count(&report, "connected"), count(&report, "moves_sent")), (5, 0), "{report:#}");
    assert_eq!(count(&report, "errors") + count(&report, "disconnects"), 0, "{report:#}");
}

#[test]
fn the_summary_of_one_bot_has_no_plurals_and_no_figures_of_nothing() {
    let (report, summary) =
        report_and_summary(Fault::None, "--bots 1 --seconds 1 --behaviour still --warm-up 0");
    for line in [
        "sessions     0 lost, 0 protocol errors, 0 corrections\n",
        "spread       1 island, 1 chunk, 1 node\n",
        "move to see  near: –\n",
        "seen by 1 observer,",
        "swarm's CPU  ",
    ] {
        assert!(summary.contains(line), "{line}: {summary}");
    }
    let latency = report["move_to_see_far_ms"].as_object().expect("latencies");
    assert_eq!(latency.keys().collect::<Vec<_>>(), ["max", "p50", "p95", "p99"], "{report:#}");
    assert!(latency.values().all(|ms| ms == 0.0), "{report:#}");
}

#[test]
fn a_lost_frame_is_noticed_by_observers_and_readers() {
    for observers in [0, 10] {
        let args = format!("--bots 10 --seconds 2 --behaviour crowd --observers {observers} --warm-up 1");
        let report = report(Fault::LosesFrame(15), &args);
        assert_eq!((count(&report, "errors"), count(&report, "disconnects")), (1, 1), "{report:#}");
        let told = report["error_texts"][0].as_str().expect("a text");
        assert!(told.starts_with("gap in Motion(R1) of source 5 in chunk 8,8"), "{told}");
        assert_eq!(
            (count(&report, "connected"), report["seen_per_bot"]["min"].as_u64()),
            (9, Some(8)),
            "{report:#}"
        );
    }
}

#[test]
fn a_lost_session_is_counted_and_can_be_taken_up_again() {
    let args = "--bots 10 --seconds 3 --behaviour crowd --warm-up 0";
    let once = report(Fault::ClosesOne(12), args);
    assert_eq!((count(&once, "disconnects"), count(&once, "connected")), (1, 9), "{once:#}");
    let again = report(Fault::ClosesOne(12), &format!("{args} --rejoin"));
    assert_eq!((count(&again, "disconnects"), count(&again, "connected")), (1, 10), "{again:#}");
    assert_eq!(again["seen_per_bot"]["min"], 9, "{again:#}");
}

#[test]
fn corrections_are_obeyed() {
    let report = report(Fault::PutsBack, "--bots 10 --seconds 2 --behaviour crowd --warm-up 0");
    assert!(count(&report, "corrections") > 5, "{report:#}");
    assert_eq!(count(&report, "errors") + count(&report, "disconnects"), 0, "{report:#}");
}

#[test]
fn settlers_take_no_for_an_answer() {
    let args = "--bots 5 --seconds 10 --behaviour settle --warm-up 0 --observers 1";
    let (report, summary) = report_and_summary(Fault::RefusesActs, args);
    let settle = &report["settle"];
    let (acts, check) = (count(settle, "acts"), &settle["check"]);
    assert!(acts > 0 && settle["outcomes"]["refused not_there"] == acts, "{report:#}");
    assert_eq!((count(check, "bags"), count(check, "unseen")), (5, 0), "{report:#}");
    for none in ["lost", "doubled", "undue"] {
        assert_eq!(count(check, none), 0, "{report:#}");
    }
    assert!(summary.contains("0 never answered, 0 asked for again"), "{summary}");
}

#[test]
fn a_world_that_acknowledges_what_it_does_not_do_is_found_out() {
    let world = Running::start(Fault::Lies);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("swarm.json");
    let json = path.to_str().expect("temporary paths are UTF-8");
    let args = "--bots 5 --seconds 10 --behaviour settle --warm-up 0 --observers 1";
    let output = run(&world.address.to_string(), &format!("{args} --json {json}"));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    let told = text(&output.stderr);
    assert!(told.contains("error: the world isn't as the bots were told: "), "{told}");
    let report = std::fs::read(&path).expect("the report was written all the same");
    let report: Value = serde_json::from_slice(&report).expect("valid JSON");
    let settle = &report["settle"];
    assert_eq!(count(settle, "acts"), count(&settle["outcomes"], "done"), "{report:#}");
    assert!(count(&settle["check"], "lost") > 0, "{report:#}");
    assert!(text(&output.stdout).contains("  finding      bot "), "{}", text(&output.stdout));
}

#[test]
fn nobody_in_is_a_failure_with_its_reason() {
    let world = Running::start(Fault::Refuses(RejectCode::NoIsland));
    let output = run(&world.address.to_string(), "--bots 3 --seconds 1 --behaviour crowd --island 9");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("no bot got in: refused (no_island 3×)"),
        "{}",
        text(&output.stderr)
    );

    let port = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address");
    let output = run(&port.to_string(), "--bots 3 --seconds 1 --behaviour crowd");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("can't reach the allocator at 127.0.0.1:"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_web_server_is_recognized_and_given_up_early() {
    let world = Running::start(Fault::SpeaksHttp);
    let output = run(&world.address.to_string(), "--bots 3 --seconds 1 --behaviour crowd");
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("no bot got in: protocol error: the answer is HTTP"), "{told}");
    assert!(told.contains("the address after `join=`"), "{told}");
    // Bots alone give up after eight attempts each.
    for line in told.lines().filter(|line| line.contains("joining")) {
        let errors = line.split("errors ").nth(1).and_then(|rest| rest.split(',').next());
        let errors: u32 = errors.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{line}"));
        assert!(errors <= 12, "{told}");
    }
}

#[test]
fn joining_lines_say_what_is_in_the_way() {
    let world = Running::start(Fault::Refuses(RejectCode::StoreAway));
    let args = "--bots 3 --seconds 1 --behaviour crowd";
    let mut child = Ended(swarm(&world.address.to_string(), args).spawn().expect("the binary runs"));
    let mut progress = BufReader::new(child.0.stderr.take().expect("stderr is piped")).lines();
    let line = progress.find_map(|line| line.ok().filter(|line| line.contains(", refused ")));
    let line = line.expect("the reason is told while it joins");
    assert!(line.contains(" 0/3 in") && line.contains("see p99 –, "), "{line}");
    let count = line.split(", refused ").nth(1).and_then(|rest| rest.strip_suffix(" × store_away"));
    assert!(count.and_then(|n| n.parse().ok()).is_some_and(|n: u32| n >= 1), "{line}");
}

#[test]
fn bad_arguments_are_told_before_anything_happens() {
    for (args, named) in [
        ("--bots 0 --seconds 1 --behaviour crowd", "--bots"),
        ("--bots 1 --seconds 0 --behaviour crowd", "--seconds"),
        ("--bots 1 --seconds 1 --behaviour dance", "--behaviour"),
        ("--bots 1 --seconds 1 --behaviour crowd --never-read 101", "--never-read"),
        ("--bots 1 --seconds 1 --behaviour crowd --join-rate 0", "--join-rate"),
        ("--bots 1 --seconds 1 --behaviour crowd --name-prefix a.b", "--name-prefix"),
        ("--bots 1 --seconds 1 --behaviour crowd --state nowhere", "--state"),
        ("--bots 1 --seconds 1 --behaviour crowd --json /nowhere/at/all.json", "/nowhere/at/all.json"),
    ] {
        let output = run("127.0.0.1:9", args);
        assert_eq!(output.status.code(), Some(2), "{args}");
        assert!(text(&output.stderr).contains(named), "{args}: {}", text(&output.stderr));
    }
    let output = run("no port", "--bots 1 --seconds 1 --behaviour crowd");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
}

/// Ends the swarm if the test doesn't.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_interrupt_ends_it_with_the_summary() {
    let world = Running::start(Fault::None);
    let mut child = Ended(
        swarm(&world.address.to_string(), "--bots 5 --seconds 600 --behaviour crowd --warm-up 0")
            .spawn()
            .expect("the binary runs"),
    );
    let mut progress = BufReader::new(child.0.stderr.take().expect("stderr is piped"));
    let mut line = String::new();
    while !line.contains("measure") {
        line.clear();
        assert!(progress.read_line(&mut line).expect("readable") > 0, "it ended before it measured");
    }
    let pid = Pid::from_raw(i32::try_from(child.0.id()).expect("a pid")).expect("a pid");
    kill_process(pid, Signal::INT).expect("it runs");
    let mut summary = String::new();
    child.0.stdout.take().expect("stdout is piped").read_to_string(&mut summary).expect("readable");
    assert!(child.0.wait().expect("it ended").success());
    assert!(summary.starts_with("swarm: 5 of 5 bots in") && summary.contains("interrupted"), "{summary}");
}
