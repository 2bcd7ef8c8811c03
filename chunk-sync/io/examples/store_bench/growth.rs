//! What one change of a chunk writes, and how long the chunk takes to load, as it grows from a few structures to very
//! many. Both must not depend on what is not touched: the first at all, the second by more than its size.

use std::error::Error;
use std::time::{Duration, Instant};

use chunk_sync::ids::{IslandId, WorldId};
use chunk_sync::place::ChunkPos;
use chunk_sync::store::{
    Commit, CommitOutcome, PartitionKey, StoreAnswer, StoreOp, Token, WRITES_PER_COMMIT_MAX,
};
use chunk_sync_io::store::{StoreHandle, StoreUrl};

use crate::process::{RedisProcess, own_written_bytes};
use crate::{DISK, EVENT_BYTES};

/// Structures of the chunk, one document each.
const STRUCTURES: [u64; 5] = [10, 100, 1_000, 3_000, 10_000];
/// A document of a structure's size.
const STRUCTURE_BYTES: usize = 150;
/// Changes that are measured at each size, one after the other.
const CHANGES: u64 = 500;
const LOADS: usize = 50;
/// A number without a common divisor with the sizes, so that the changes are all over the chunk.
const STRIDE: u64 = 7_919;

/// What a store has written up to now.
struct Written {
    disk_bytes: u64,
    net_bytes: Option<u64>,
}

impl Written {
    async fn now(server: Option<&RedisProcess>) -> Result<Self, Box<dyn Error>> {
        let Some(server) = server else {
            return Ok(Self { disk_bytes: own_written_bytes()?, net_bytes: None });
        };
        let disk_bytes = server.info("aof_current_size").await?;
        Ok(Self { disk_bytes, net_bytes: Some(server.info("total_net_input_bytes").await?) })
    }
}

/// Prints the table for an embedded store and for a Redis that answers from its disk.
pub(crate) async fn measure() -> Result<(), Box<dyn Error>> {
    println!(
        "\n{:<12} {:>10} {:>14} {:>14} {:>10} {:>10} {:>12}",
        "store", "documents", "disk B/change", "net B/change", "load p50", "load max", "first load"
    );
    let folder = tempfile::tempdir()?;
    let url = StoreUrl::Embedded(folder.path().join("store"));
    grow("embedded", &url, None).await?;
    let server = RedisProcess::start(&DISK)?;
    grow("redis, disk", &server.url(true).parse()?, Some(&server)).await
}

async fn grow(name: &str, url: &StoreUrl, server: Option<&RedisProcess>) -> Result<(), Box<dyn Error>> {
    let key = PartitionKey::chunk(WorldId(1), IslandId(1), ChunkPos::new(3, -4));
    let mut store = StoreHandle::open(url).await?;
    let (mut there, mut token) = (0, 0);
    for size in STRUCTURES {
        while there < size {
            token += 1;
            let until = size.min(there + WRITES_PER_COMMIT_MAX as u64);
            let commit = Commit::new(key.clone(), Token(token));
            done(&store, (there..until).fold(commit, |commit, at| put(commit, at, token))).await?;
            there = until;
        }
        let before = Written::now(server).await?;
        for change in 0..CHANGES {
            token += 1;
            let commit = put(Commit::new(key.clone(), Token(token)), change * STRIDE % size, token);
            done(&store, commit.event(vec![1; EVENT_BYTES])).await?;
        }
        let after = Written::now(server).await?;
        let each = |from: u64, to: u64| (to.saturating_sub(from)) as f64 / CHANGES as f64;
        let net = match (before.net_bytes, after.net_bytes) {
            (Some(from), Some(to)) => format!("{:.0}", each(from, to)),
            _ => "-".to_owned(),
        };
        // Closed and opened again, so that nothing of it is in this process's memory.
        drop(store);
        store = StoreHandle::open(url).await?;
        let first = load(&store, &key, size).await?;
        let mut loads = Vec::new();
        for _ in 0..LOADS {
            loads.push(load(&store, &key, size).await?);
        }
        loads.sort_unstable();
        println!(
            "{name:<12} {size:>10} {:>14.0} {net:>14} {:>7.2} ms {:>7.2} ms {:>9.2} ms",
            each(before.disk_bytes, after.disk_bytes),
            ms(loads[loads.len() / 2]),
            ms(loads[loads.len() - 1]),
            ms(first),
        );
    }
    Ok(())
}

fn put(commit: Commit, structure: u64, token: u64) -> Commit {
    let mut value = vec![7; STRUCTURE_BYTES];
    value[..8].copy_from_slice(&token.to_be_bytes());
    commit.put(format!("structure/{structure}"), value)
}

async fn done(store: &StoreHandle, commit: Commit) -> Result<(), String> {
    match store.call(StoreOp::Commit(commit)).await {
        StoreAnswer::Committed(CommitOutcome::Done { .. }) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

async fn load(store: &StoreHandle, key: &PartitionKey, size: u64) -> Result<Duration, String> {
    let asked = Instant::now();
    match store.call(StoreOp::Load { partition: key.clone() }).await {
        StoreAnswer::Loaded(view) if view.docs.len() as u64 == size => Ok(asked.elapsed()),
        StoreAnswer::Loaded(view) => Err(format!("{} documents of {size}", view.docs.len())),
        other => Err(format!("{other:?}")),
    }
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}
