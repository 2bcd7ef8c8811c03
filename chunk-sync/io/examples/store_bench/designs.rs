//! The two designs that every team tries first, side by side on one Redis: each act reads the chunk as one document,
//! changes it and writes it back ("remote cache"); or each node keeps the chunk in memory and commits what changed, with
//! an event that tells the others ("local state"). Several actors act on one chunk, each on structures of its own.

use std::error::Error;
use std::time::{Duration, Instant};

use chunk_sync::ids::{IslandId, WorldId};
use chunk_sync::place::ChunkPos;
use chunk_sync::store::{
    Cas, Commit, CommitOutcome, PartitionKey, StoreAnswer, StoreOp, Token, WRITES_PER_COMMIT_MAX,
};
use chunk_sync_io::store::StoreHandle;

use crate::DISK;
use crate::process::RedisProcess;

/// Structures of the chunk.
const STRUCTURES: [u64; 4] = [10, 100, 1_000, 10_000];
/// Bytes of one of them.
const STRUCTURE_BYTES: usize = 150;
/// Nodes that act on the chunk at once, one act at a time each.
const ACTORS: u64 = 8;

/// Writes the document if it is still as it was read.
const SWAP: &str = "local v = redis.call('HGET', KEYS[1], 'v') \
    if v ~= ARGV[1] then return 0 end \
    redis.call('HSET', KEYS[1], 'v', ARGV[1] + 1, 'd', ARGV[2]) return 1";

/// What the acts of one actor took.
#[derive(Default)]
struct Acts {
    micros: Vec<u32>,
    /// Times that somebody else was faster.
    again: u64,
}

/// Prints the table.
pub(crate) async fn measure(run_for: Duration) -> Result<(), Box<dyn Error>> {
    println!(
        "\n{:<14} {:>10} {:>9} {:>9} {:>9} {:>11} {:>12} {:>12} {:>11}",
        "design",
        "structures",
        "acts/s",
        "p50 ms",
        "p99 ms",
        "again/act",
        "net in B/act",
        "out B/act",
        "server us"
    );
    for structures in STRUCTURES {
        let server = RedisProcess::start(&DISK)?;
        remote(&server, structures).await?;
        report("remote cache", &server, structures, run_for, |actor, end| {
            remote_acts(server.url(true), structures, actor, end)
        })
        .await?;
        let server = RedisProcess::start(&DISK)?;
        let store = StoreHandle::open(&server.url(true).parse()?).await?;
        local(&store, structures).await?;
        report("local state", &server, structures, run_for, |actor, end| {
            local_acts(store.clone(), structures, actor, end)
        })
        .await?;
    }
    Ok(())
}

async fn report<Acting: Future<Output = Result<Acts, String>> + Send + 'static>(
    name: &str,
    server: &RedisProcess,
    structures: u64,
    run_for: Duration,
    act: impl Fn(u64, Instant) -> Acting,
) -> Result<(), Box<dyn Error>> {
    let net = async || {
        let into = server.info("total_net_input_bytes").await?;
        let out = server.info("total_net_output_bytes").await?;
        Ok::<_, Box<dyn Error>>((into, out))
    };
    let (before, cpu, began) = (net().await?, server.cpu_micros()?, Instant::now());
    let actors: Vec<_> = (0..ACTORS).map(|actor| tokio::spawn(act(actor, began + run_for))).collect();
    let mut all = Acts::default();
    for actor in actors {
        let Acts { micros, again } = actor.await??;
        all.micros.extend(micros);
        all.again += again;
    }
    let (took, after, cpu) = (began.elapsed(), net().await?, server.cpu_micros()? - cpu);
    all.micros.sort_unstable();
    let count = all.micros.len().max(1) as f64;
    let quantile = |share: f64| {
        let at = ((count * share) as usize).min(all.micros.len().saturating_sub(1));
        f64::from(all.micros.get(at).copied().unwrap_or(0)) / 1_000.0
    };
    println!(
        "{name:<14} {structures:>10} {:>9.0} {:>9.2} {:>9.2} {:>11.2} {:>12.0} {:>12.0} {:>11.1}",
        all.micros.len() as f64 / took.as_secs_f64(),
        quantile(0.50),
        quantile(0.99),
        all.again as f64 / count,
        (after.0 - before.0) as f64 / count,
        (after.1 - before.1) as f64 / count,
        cpu as f64 / count,
    );
    Ok(())
}

async fn remote(server: &RedisProcess, structures: u64) -> Result<(), Box<dyn Error>> {
    let mut connection = redis::Client::open(server.url(true))?.get_multiplexed_async_connection().await?;
    let chunk = vec![7u8; structures as usize * STRUCTURE_BYTES];
    redis::cmd("HSET")
        .arg("chunk")
        .arg("v")
        .arg(0)
        .arg("d")
        .arg(chunk)
        .query_async::<()>(&mut connection)
        .await?;
    Ok(())
}

async fn remote_acts(url: String, structures: u64, actor: u64, end: Instant) -> Result<Acts, String> {
    let said = |error: redis::RedisError| error.to_string();
    let client = redis::Client::open(url).map_err(said)?;
    let mut connection = client.get_multiplexed_async_connection().await.map_err(said)?;
    let mut acts = Acts::default();
    for at in 0u64.. {
        let asked = Instant::now();
        if asked >= end {
            break;
        }
        let structure = ((at * ACTORS + actor) % structures) as usize * STRUCTURE_BYTES;
        loop {
            let mut read = redis::cmd("HMGET");
            read.arg("chunk").arg("v").arg("d");
            let (version, mut chunk): (u64, Vec<u8>) =
                read.query_async(&mut connection).await.map_err(said)?;
            chunk[structure..structure + 8].copy_from_slice(&at.to_be_bytes());
            let mut swap = redis::cmd("EVAL");
            swap.arg(SWAP).arg(1).arg("chunk").arg(version).arg(chunk);
            if swap.query_async::<u64>(&mut connection).await.map_err(said)? == 1 {
                break;
            }
            acts.again += 1;
            if Instant::now() >= end {
                return Ok(acts);
            }
        }
        acts.micros.push(u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    Ok(acts)
}

fn chunk() -> PartitionKey {
    PartitionKey::chunk(WorldId(1), IslandId(1), ChunkPos::new(3, 4))
}

fn structure(value: u64) -> Vec<u8> {
    let mut bytes = vec![7; STRUCTURE_BYTES];
    bytes[..8].copy_from_slice(&value.to_be_bytes());
    bytes
}

async fn local(store: &StoreHandle, structures: u64) -> Result<(), Box<dyn Error>> {
    let mut at = 0;
    while at < structures {
        let until = structures.min(at + WRITES_PER_COMMIT_MAX as u64);
        // One token for many documents: their first version.
        let commit = Commit::new(chunk(), Token(1 + at));
        let commit =
            (at..until).fold(commit, |commit, at| commit.put(format!("structure/{at}"), structure(0)));
        match store.call(StoreOp::Commit(commit)).await {
            StoreAnswer::Committed(CommitOutcome::Done { .. }) => at = until,
            other => return Err(format!("{other:?}").into()),
        }
    }
    Ok(())
}

async fn local_acts(store: StoreHandle, structures: u64, actor: u64, end: Instant) -> Result<Acts, String> {
    let mut acts = Acts::default();
    let first = |at: u64| Cas(1 + at / WRITES_PER_COMMIT_MAX as u64 * WRITES_PER_COMMIT_MAX as u64);
    // What a node has in memory: the version of each structure that this actor works on.
    let own: Vec<u64> = (0..structures).filter(|at| at % ACTORS == actor).collect();
    let mut versions: Vec<Cas> = own.iter().map(|at| first(*at)).collect();
    for at in 0u64.. {
        let asked = Instant::now();
        if asked >= end {
            break;
        }
        let nth = at as usize % own.len();
        let (name, token) = (format!("structure/{}", own[nth]), Token(1 << 40 | actor << 32 | (at + 1)));
        let value = structure(at);
        let commit = Commit::new(chunk(), token).expect(name.as_str(), versions[nth]);
        let commit = commit.put(name, value.clone()).event(value);
        match store.call(StoreOp::Commit(commit)).await {
            StoreAnswer::Committed(CommitOutcome::Done { .. }) => versions[nth] = token.into(),
            other => return Err(format!("{other:?}")),
        }
        acts.micros.push(u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    Ok(acts)
}
