//! Measures the queue: what each operation takes, how many are admitted per second, and memory, with 1,000 to a million
//! waiting.
//!
//! `cargo run --release -p population-allocator --example queue_bench -- [OPERATIONS] [WAITING…]` prints a table in
//! Markdown. Each operation is timed alone, on a queue of that many parties of which one in ten is a party of two to eight, in both lanes, and who
//! came back at random; what it takes away or adds is put back or served, untimed, so that as many wait all the time.

#![allow(clippy::print_stdout, reason = "a table on the terminal is what it is for")]

mod crowd;

use crowd::Crowd;
use std::error::Error;
use std::time::Instant;

const OPERATIONS_DEFAULT: usize = 20_000;
const WAITING: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Parties over which memory is measured: small queues are measured as many at once.
const MEASURED_PARTIES: u64 = 1_000_000;

/// The first argument of a process that measures memory only.
const MEMORY: &str = "memory";

/// One operation, by name: what it does before (untimed), and itself; it gives how many players it admitted.
type Operation = (&'static str, fn(&mut Crowd), fn(&mut Crowd) -> u64);

const OPERATIONS: [Operation; 6] = [
    ("join", Crowd::one_less, Crowd::join),
    ("position and ETA", Crowd::pick, Crowd::position),
    ("return", Crowd::pick, Crowd::touch),
    ("cancel", Crowd::one_more_and_pick, Crowd::cancel),
    ("serve next", Crowd::one_more, Crowd::serve),
    ("drain changes of 100 admissions", Crowd::hundred, Crowd::drain),
];

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [MEMORY, waiting] = words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        println!("{}", bytes_per_player(waiting.parse()?)?);
        return Ok(());
    }
    let numbers = words.iter().map(|word| word.parse()).collect::<Result<Vec<u64>, _>>()?;
    let operations = numbers.first().map_or(Ok(OPERATIONS_DEFAULT), |count| usize::try_from(*count))?;
    let sizes = if numbers.len() > 1 { &numbers[1..] } else { &WAITING[..] };
    println!("Machine: {}; `queue_bench {}`\n", machine(), words.join(" "));
    println!("| parties waiting | operation | p50 ns | p99 ns | max ns | per second |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for waiting in sizes {
        for operation in OPERATIONS {
            measure(*waiting, operation, operations);
        }
    }
    println!("\n| parties waiting | players admitted per second | bytes per player |");
    println!("| --- | --- | --- |");
    for waiting in sizes {
        // In a process of its own: what this one freed would hide what a queue takes.
        let own = std::process::Command::new(std::env::current_exe()?);
        let memory = { own }.args([MEMORY, &waiting.to_string()]).output()?;
        let bytes = String::from_utf8(memory.stdout)?;
        println!("| {waiting} | {:.0} | {} |", admitted_per_second(*waiting), bytes.trim());
    }
    Ok(())
}

fn measure(waiting: u64, (name, before, operation): Operation, operations: usize) {
    let mut crowd = Crowd::new(waiting, 7);
    let mut nanos: Vec<u128> = (0..operations)
        .map(|_| {
            before(&mut crowd);
            let began = Instant::now();
            let done = operation(&mut crowd);
            let took = began.elapsed().as_nanos();
            std::hint::black_box(done);
            took
        })
        .collect();
    nanos.sort_unstable();
    let quantile = |share: usize| nanos[(nanos.len() - 1) * share / 100];
    let per_second = nanos.len() as f64 * 1e9 / nanos.iter().sum::<u128>().max(1) as f64;
    let (p50, p99, max) = (quantile(50), quantile(99), quantile(100));
    println!("| {waiting} | {name} | {p50} | {p99} | {max} | {per_second:.0} |");
}

/// Everybody is admitted, one party after the other, and what changed is drained every hundred.
fn admitted_per_second(waiting: u64) -> f64 {
    let mut crowd = Crowd::new(waiting, 7);
    let (began, mut admitted) = (Instant::now(), 0);
    loop {
        let served: u64 = (0..100).map(|_| crowd.serve()).sum();
        crowd.drain();
        admitted += served;
        if served == 0 {
            return admitted as f64 / began.elapsed().as_secs_f64();
        }
    }
}

/// What queues of so many parties take, per player.
fn bytes_per_player(waiting: u64) -> Result<u64, Box<dyn Error>> {
    let before = resident_bytes()?;
    let crowds: Vec<Crowd> =
        (0..(MEASURED_PARTIES / waiting).max(1)).map(|seed| Crowd::without_list(waiting, seed)).collect();
    let players: u64 = crowds.iter().map(Crowd::players).sum();
    Ok(resident_bytes()?.saturating_sub(before) / players.max(1))
}

/// Memory of this process, as `/proc/self/status` has it.
fn resident_bytes() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1_024)
}

/// Cores and processor.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!("{cores} cores, {}", model.map_or("unknown processor", |(_, name)| name))
}
