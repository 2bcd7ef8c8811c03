//! The bare floors: what this machine's disk and its Redis do with nothing of ours in between.

use std::error::Error;
use std::io::Write;
use std::path::Path;
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

/// Raw calls of a script that writes one field, over one connection.
pub(crate) async fn scripts(
    name: &str,
    server: &RedisProcess,
    run_for: Duration,
) -> Result<(), Box<dyn Error>> {
    let client = redis::Client::open(server.url(true))?;
    let connection = client.get_multiplexed_async_connection().await?;
    for in_flight in IN_FLIGHT {
        let own = OwnCpu::now();
        let theirs = server.cpu_micros()?;
        let began = Instant::now();
        let tasks: Vec<_> = (0..in_flight)
            .map(|task| {
                let mut connection = connection.clone();
                tokio::spawn(async move {
                    let mut micros = Vec::new();
                    while began.elapsed() < run_for {
                        let asked = Instant::now();
                        let mut script = redis::cmd("EVAL");
                        script.arg("return redis.call('HSET', KEYS[1], 'f', ARGV[1])");
                        script.arg(1).arg(task).arg(&[7; 300][..]);
                        script.query_async::<()>(&mut connection).await?;
                        micros.push(u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX));
                    }
                    Ok::<_, redis::RedisError>(micros)
                })
            })
            .collect();
        let mut micros = Vec::new();
        for task in tasks {
            micros.extend(task.await??);
        }
        let took = began.elapsed();
        let each = |cpu: u64| cpu as f64 / micros.len().max(1) as f64;
        let (own, theirs) = (each(own.micros_since()), each(server.cpu_micros()? - theirs));
        row(
            &format!("floor: {name}"),
            "raw script",
            in_flight,
            &mut micros,
            took,
            own,
            &format!("{theirs:.1}"),
        );
    }
    Ok(())
}
