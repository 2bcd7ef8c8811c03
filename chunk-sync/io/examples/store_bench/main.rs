//! Measures the stores: commits per second, latency and CPU per commit, with 1, 16 and 64 in flight.
//!
//! `cargo run --release -p chunk-sync-io --example store_bench -- [SECONDS] [embedded|redis|growth|designs|URL…]` prints a table.
//! `redis` starts a redis-server of its own that answers from its disk, one with a replica that is waited for too,
//! and one that keeps nothing; `growth` prints another table instead: what a change of a chunk writes and how long it
//! takes to load, from 10 to 10,000 structures; `designs` compares two ways of keeping a chunk; an URL measures the store that it names, which gets keys of players. Beside them stand the bare floors of this machine: raw
//! fsyncs of a file, and raw calls of a function by `redis-benchmark`. Nothing here is used by the store itself.

#![allow(clippy::print_stdout, reason = "a table on the terminal is what it is for")]

mod designs;
mod floor;
mod growth;
mod process;

use std::error::Error;
use std::time::{Duration, Instant};

use chunk_sync::ids::PlayerId;
use chunk_sync::store::{Act, Commit, CommitOutcome, Durability, PartitionKey, StoreAnswer, StoreOp, Token};
use chunk_sync_io::store::{StoreHandle, StoreUrl};

use crate::process::{OwnCpu, RedisProcess};

const IN_FLIGHT: [u64; 3] = [1, 16, 64];
const SECONDS_DEFAULT: u64 = 3;
/// Partitions that the commits are spread over.
const PLAYERS: u64 = 4096;
/// A document of an inventory's size.
const DOCUMENT_BYTES: usize = 300;
const EVENT_BYTES: usize = 60;
/// A ledger entry that says who did what to which thing.
const LEDGER_BYTES: usize = 120;

const DISK: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];
const MEMORY: [&str; 4] = ["--appendonly", "no", "--appendfsync", "no"];
/// How long a replica may take to follow its master.
const FOLLOW_WAIT: Duration = Duration::from_secs(30);

/// What the commits of one row are.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    durability: Durability,
    index: bool,
    act: bool,
    ledger: bool,
}

const PLAIN: Kind =
    Kind { name: "document", durability: Durability::Persisted, index: false, act: false, ledger: false };
const KINDS: [Kind; 6] = [
    PLAIN,
    Kind { name: "document, index entry", index: true, ..PLAIN },
    Kind { name: "document, ledger entry", ledger: true, ..PLAIN },
    Kind { name: "document, index, act", index: true, act: true, ..PLAIN },
    Kind { name: "the same, ledger entry", index: true, act: true, ledger: true, ..PLAIN },
    Kind { name: "document, accepted", durability: Durability::Accepted, ..PLAIN },
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1).peekable();
    let seconds = match words.peek().and_then(|word| word.parse().ok()) {
        Some(seconds) => {
            words.next();
            seconds
        }
        None => SECONDS_DEFAULT,
    };
    let run_for = Duration::from_secs(seconds);
    let mut stores: Vec<String> = words.collect();
    if stores.is_empty() {
        stores = vec!["embedded".into(), "redis".into()];
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if stores != ["growth"] && stores != ["designs"] {
        println!(
            "{:<28} {:<24} {:>4} {:>9} {:>9} {:>9} {:>11} {:>12}",
            "store", "commits", "at", "per s", "p50 ms", "p99 ms", "CPU us/each", "server us"
        );
    }
    for store in stores {
        match store.as_str() {
            "embedded" => {
                let folder = tempfile::tempdir()?;
                floor::fsyncs(folder.path(), run_for)?;
                let url = StoreUrl::Embedded(folder.path().join("store"));
                runtime.block_on(measure("embedded", &url, None, true, run_for))?;
            }
            "redis" => {
                for (name, settings) in [("redis, disk", DISK), ("redis, memory only", MEMORY)] {
                    let server = RedisProcess::start(&settings)?;
                    runtime.block_on(floor::calls(name, &server, run_for))?;
                    let keeps = settings[1] == "yes";
                    let url = server.url(keeps).parse()?;
                    runtime.block_on(measure(name, &url, Some(&server), keeps, run_for))?;
                }
                let master = RedisProcess::start(&DISK)?;
                let port = master.port().to_string();
                let _replica =
                    RedisProcess::start(&[&DISK[..], &["--replicaof", "127.0.0.1", &port]].concat())?;
                let url = format!("redis://127.0.0.1:{port}/0?replicas=1").parse()?;
                runtime.block_on(measure("redis, disk and replica", &url, Some(&master), true, run_for))?;
            }
            "growth" => runtime.block_on(growth::measure())?,
            "designs" => runtime.block_on(designs::measure(run_for))?,
            url => runtime.block_on(measure(url, &url.parse()?, None, true, run_for))?,
        }
    }
    Ok(())
}

async fn measure(
    name: &str,
    url: &StoreUrl,
    server: Option<&RedisProcess>,
    keeps: bool,
    run_for: Duration,
) -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    let store = loop {
        match StoreHandle::open(url).await {
            Ok(store) => break store,
            // A master whose replica has not found it yet is refused.
            Err(_) if server.is_some() && began.elapsed() < FOLLOW_WAIT => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(error.into()),
        }
    };
    let mut run = getrandom::u32()?;
    // Where nothing is kept, all are accepted only.
    let kinds = if keeps { &KINDS[..] } else { &KINDS[..KINDS.len() - 1] };
    for kind in kinds.iter().copied() {
        for in_flight in IN_FLIGHT {
            run = run.wrapping_add(1);
            let own = OwnCpu::now();
            let theirs = server.map(RedisProcess::cpu_micros).transpose()?;
            let began = Instant::now();
            let tasks: Vec<_> = (0..in_flight)
                .map(|task| {
                    tokio::spawn(commits(store.clone(), kind, run, (task, in_flight), began + run_for))
                })
                .collect();
            let mut micros = Vec::new();
            for task in tasks {
                micros.extend(task.await??);
            }
            let took = began.elapsed();
            let each = |cpu_micros: u64| cpu_micros as f64 / micros.len().max(1) as f64;
            let own = each(own.micros_since());
            let theirs = match (theirs, server) {
                (Some(before), Some(server)) => format!("{:.1}", each(server.cpu_micros()? - before)),
                _ => "-".to_owned(),
            };
            row(name, kind.name, in_flight, &mut micros, took, own, &theirs);
        }
    }
    Ok(())
}

/// One line of the table; `micros` are the latencies of all calls.
pub(crate) fn row(
    store: &str,
    kind: &str,
    in_flight: u64,
    micros: &mut [u32],
    took: Duration,
    own: f64,
    theirs: &str,
) {
    micros.sort_unstable();
    let quantile = |share: f64| {
        let at = ((micros.len() as f64 * share) as usize).min(micros.len().saturating_sub(1));
        f64::from(micros.get(at).copied().unwrap_or(0)) / 1000.0
    };
    println!(
        "{store:<28} {kind:<24} {in_flight:>4} {:>9.0} {:>9.3} {:>9.3} {own:>11.1} {theirs:>12}",
        micros.len() as f64 / took.as_secs_f64(),
        quantile(0.50),
        quantile(0.99),
    );
}

/// Commits one after the other until the end; answers with the latency of each in µs.
async fn commits(
    store: StoreHandle,
    kind: Kind,
    run: u32,
    (task, of): (u64, u64),
    end: Instant,
) -> Result<Vec<u32>, String> {
    let mut micros = Vec::new();
    let document = vec![7; DOCUMENT_BYTES];
    for at in 1u64.. {
        let asked = Instant::now();
        if asked >= end {
            break;
        }
        let player = (at * of + task) % PLAYERS;
        let token = Token(u64::from(run) << 40 | task << 32 | at);
        let mut commit = Commit::new(PartitionKey::player(PlayerId(player)), token)
            .put("inventory", document.clone())
            .event(vec![1; EVENT_BYTES])
            .durability(kind.durability);
        if kind.index {
            commit = commit.index_put("players", format!("{player:016x}"), "somewhere");
        }
        if kind.ledger {
            commit = commit.ledger(vec![3; LEDGER_BYTES]);
        }
        if kind.act {
            let id = u64::from(run) << 32 | at;
            let result = vec![2; EVENT_BYTES].into();
            commit = commit.act(Act { actor: player, session_epoch: 1, id, confirmed: id - 1, result });
        }
        match store.call(StoreOp::Commit(commit)).await {
            StoreAnswer::Committed(CommitOutcome::Done { .. }) => {}
            other => return Err(format!("{other:?}")),
        }
        micros.push(u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    Ok(micros)
}
