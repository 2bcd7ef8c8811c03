//! The bare floors: what this machine's disk and its Redis do with nothing of ours in between.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::{OwnCpu, RedisProcess};
use crate::{IN_FLIGHT, row};

/// Bytes of one raw write, as much as one small commit writes.
const WRITE_BYTES: usize = 4096;

/// Raw writes of a page, each with its fsync.
pub(crate) fn fsyncs(folder: &Path, run_for: Duration) -> Result<(), Box<dyn Error>> {
    let mut file = std::fs::File::create(folder.join("floor"))?;
    let own = OwnCpu::now();
    let began = Instant::now();
    let mut micros = Vec::new();
    while began.elapsed() < run_for {
        let asked = Instant::now();
        file.write_all(&[7; WRITE_BYTES])?;
        file.sync_data()?;
        micros.push(u32::try_from(asked.elapsed().as_micros())?);
    }
    let each = own.micros_since() as f64 / micros.len().max(1) as f64;
    row("floor: disk", "raw fsync", 1, &mut micros, began.elapsed(), each, "-");
    Ok(())
}

/// A function that does what every commit must at least: write one field.
const FLOOR: &str = "#!lua name=floor
redis.register_function('floor', function(keys, args) return redis.call('HSET', keys[1], 'f', args[1]) end)";
/// Calls a second that `redis-benchmark` is given to do, at each number in flight; it ends when they are done.
const CALLS_PER_SECOND: [u64; 3] = [3_000, 25_000, 50_000];

/// Raw calls of that function by `redis-benchmark`: on as many connections as are in flight, and pipelined on one.
pub(crate) async fn calls(
    name: &str,
    server: &RedisProcess,
    run_for: Duration,
) -> Result<(), Box<dyn Error>> {
    let client = redis::Client::open(server.url(true))?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    redis::cmd("FUNCTION").arg("LOAD").arg("REPLACE").arg(FLOOR).query_async::<()>(&mut connection).await?;
    let value = "7".repeat(300);
    for (in_flight, calls) in IN_FLIGHT.into_iter().zip(CALLS_PER_SECOND) {
        let calls = calls * run_for.as_secs().max(1);
        let ways = [("connections", in_flight, 1), ("pipelined", 1, in_flight)];
        for (way, connections, pipelined) in ways.into_iter().take(if in_flight == 1 { 1 } else { 2 }) {
            let before = server.cpu_micros()?;
            let out = Command::new("redis-benchmark")
                .args(["-p", &server.port().to_string(), "--csv", "-r", "4096", "-n", &calls.to_string()])
                .args(["-c", &connections.to_string(), "-P", &pipelined.to_string()])
                .args(["FCALL", "floor", "1", "floor:__rand_int__", &value])
                .output()?;
            let out = String::from_utf8(out.stdout)?;
            let each = (server.cpu_micros()? - before) as f64 / calls as f64;
            let (per_second, p50, p99) =
                figures(&out).ok_or_else(|| format!("redis-benchmark said {out:?}"))?;
            println!(
                "{:<28} {:<24} {in_flight:>4} {per_second:>9.0} {p50:>9.3} {p99:>9.3} {:>11} {each:>12.1}",
                format!("floor: {name}"),
                format!("raw call, {way}"),
                "-",
            );
        }
    }
    Ok(())
}

/// Calls a second, and the middle and the 99th hundredth of their times in ms, of what `--csv` prints.
fn figures(csv: &str) -> Option<(f64, f64, f64)> {
    let (head, line) = csv.lines().zip(csv.lines().skip(1)).find(|(head, _)| head.contains("\"rps\""))?;
    // The name of the test comes first and is the only field with commas in it; all others are counted from the end.
    let (head, line): (Vec<_>, Vec<_>) = (head.rsplit(',').collect(), line.rsplit(',').collect());
    let field = |name: &str| {
        let at = head.iter().position(|field| field.trim_matches('"') == name)?;
        line.get(at)?.trim_matches('"').parse().ok()
    };
    Some((field("rps")?, field("p50_latency_ms")?, field("p99_latency_ms")?))
}
