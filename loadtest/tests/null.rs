//! `loadtest null` as its users run it: the real binary, its own server process, real sockets.
//!
//! Nothing here depends on how fast the machine is: a starved run has fewer ticks, but every frame still
//! arrives.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn loadtest(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(args: &[&str]) -> Output {
    // Reads to the end of stderr, which the server process shares: when this returns, both have ended.
    loadtest(args).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs with a report file and returns the report.
fn report(args: &[&str]) -> Value {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("null.json");
    let path = path.to_str().expect("temporary paths are UTF-8");
    let output = run(&[args, &["--json", path]].concat());
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).starts_with("null server: "), "{}", text(&output.stdout));
    serde_json::from_slice(&std::fs::read(path).expect("the report was written")).expect("valid JSON")
}

fn count(report: &Value, key: &str) -> u64 {
    report[key].as_u64().unwrap_or_else(|| panic!("{key} is a count in {report:#}"))
}

fn figure(report: &Value, key: &str) -> f64 {
    report[key].as_f64().unwrap_or_else(|| panic!("{key} is a number in {report:#}"))
}

#[test]
fn twenty_bots_get_every_byte_of_every_tick() {
    const BYTES: u64 = 1_000;
    let report = report(&["null", "--bots", "20", "--bytes", "1000", "--seconds", "1"]);
    let ticks = count(&report, "ticks");
    // Each sample comes less than two ticks after its intended time, however full the machine is.
    let due = figure(&report, "seconds") * 10.0;
    assert!(
        due >= 8.0 && (due - (ticks + count(&report, "ticks_skipped")) as f64).abs() <= 2.0,
        "{report:#}"
    );
    assert_eq!(count(&report, "frames_sent") + count(&report, "frames_skipped"), ticks * 20, "{report:#}");
    assert_eq!(count(&report, "bytes_sent"), count(&report, "frames_sent") * BYTES, "{report:#}");
    assert!(count(&report, "frames_received") > 0 && count(&report, "moves_received") > 0, "{report:#}");
    for none in ["errors", "disconnects"] {
        assert_eq!(count(&report, none), 0, "{report:#}");
    }
    assert_eq!(report["lost_bytes"].as_i64(), Some(0), "{report:#}");

    let cpu_s = figure(&report, "server_cpu_s");
    let per_client_tick = figure(&report, "us_per_client_tick");
    assert!(cpu_s > 0.0 && figure(&report, "client_cpu_s") > 0.0, "{report:#}");
    assert!((per_client_tick - cpu_s * 1e6 / (ticks * 20) as f64).abs() < 1e-6, "{report:#}");
    assert_eq!(report["interrupted"], false);
    assert!(report["saturated"].is_boolean() && report["late"].is_boolean());
    assert!(report["machine"]["kernel"].as_str().is_some_and(|kernel| kernel.starts_with("Linux")));
}

#[test]
fn frames_larger_than_a_sockets_buffer_arrive_whole_over_several_ticks() {
    let report = report(&[
        "null",
        "--bots",
        "3",
        "--bytes",
        "1048576",
        "--hz",
        "50",
        "--seconds",
        "1",
        "--warm-up",
        "0",
    ]);
    assert!(count(&report, "frames_sent") > 0, "{report:#}");
    assert_eq!(
        count(&report, "frames_sent") + count(&report, "frames_skipped"),
        count(&report, "ticks") * 3,
        "{report:#}"
    );
    assert_eq!(report["lost_bytes"].as_i64(), Some(0), "{report:#}");
}

#[test]
fn bad_arguments_end_with_code_2_and_name_what_is_wrong() {
    let good = ["null", "--bots", "5", "--bytes", "100", "--seconds", "1"];
    for (flag, value) in [
        ("--bots", "0"),
        ("--bots", "25001"),
        ("--bots", "many"),
        ("--bytes", "15"),
        ("--bytes", "1048577"),
        ("--hz", "0"),
        ("--seconds", "0"),
        ("--json", "/nonexistent/folder/null.json"),
    ] {
        let mut args: Vec<&str> = good.to_vec();
        match args.iter().position(|arg| *arg == flag) {
            Some(at) => args[at + 1] = value,
            None => args.extend([flag, value]),
        }
        let output = run(&args);
        assert_eq!(output.status.code(), Some(2), "{flag} {value}: {}", text(&output.stderr));
        let message = text(&output.stderr);
        assert!(message.contains(flag) && message.contains(value), "{flag} {value}: {message}");
    }
    let output = run(&["null", "--bots", "5"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--bytes"), "{}", text(&output.stderr));
}

#[test]
fn more_bots_than_open_files_is_said_before_anything_starts() {
    let binary = env!("CARGO_BIN_EXE_loadtest");
    // Both limits down to 50, which even root may only raise with CAP_SYS_RESOURCE; without it the run must
    // refuse.
    let script = format!("ulimit -n 50 && exec {binary} null --bots 100 --bytes 100 --seconds 1 --warm-up 0");
    let output = Command::new("sh").args(["-c", &script]).output().expect("sh runs");
    let message = text(&output.stderr);
    match output.status.code() {
        Some(0) => assert!(text(&output.stdout).contains("100 clients"), "raised by itself: {message}"),
        code => {
            assert_eq!(code, Some(2), "{message}");
            assert!(message.contains("164 open files") && message.contains("hard limit is 50"), "{message}");
        }
    }
}

/// A run that would last a minute, with its stderr up to and including the line that says it measures.
fn measuring_run() -> (Child, impl BufRead) {
    let mut child = loadtest(&["null", "--bots", "5", "--bytes", "100", "--seconds", "60", "--warm-up", "0"])
        .spawn()
        .expect("it starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("stderr is a pipe"));
    let mut line = String::new();
    while !line.contains("measuring") {
        line.clear();
        assert!(stderr.read_line(&mut line).expect("stderr is text") > 0, "it ended before it measured");
    }
    (child, stderr)
}

#[test]
fn a_server_that_dies_ends_the_run_with_a_reason() {
    let (child, mut stderr) = measuring_run();
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    let server = Pid::from_raw(children.trim().parse().expect("one child")).unwrap();
    kill_process(server, Signal::KILL).unwrap();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(1));
    assert!(rest.contains("server's process ended early"), "{rest}");
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

#[test]
fn ctrl_c_ends_the_window_early_and_both_processes() {
    for signal in [Signal::INT, Signal::TERM] {
        let (mut child, mut stderr) = measuring_run();
        kill_process(pid(&child), signal).unwrap();
        let (mut out, mut rest) = (String::new(), String::new());
        child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        stderr.read_to_string(&mut rest).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
        assert!(out.contains("interrupted"), "{out}");
        assert_eq!(rest, "", "nothing goes wrong on the way");
    }
}

#[test]
fn the_server_ends_when_its_parent_is_killed() {
    let (mut child, mut stderr) = measuring_run();
    kill_process(pid(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    // The end of stderr comes when the server, its other holder, has ended too.
    stderr.read_to_string(&mut String::new()).unwrap();
}
