//! What ops queries read of Redis: pages of indexes over all shards, from a replica of each master where there is
//! one that can be reached, else from the master. Never used by a core.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use chunk_sync::store::{IndexCursor, IndexPage, Name, SHARD_COUNT, Shard, StoreFault};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Value};

use super::link::{Link, open, within};
use super::server::{Server, replicas_of};
use super::{RedisStore, codec};
use crate::store::limits::{OPS_SHARDS_TOGETHER, REDIS_MASTERS_MAX};
use crate::store::url::RedisUrl;

/// Connections to replicas, one for each master's run.
pub(super) struct Replicas {
    url: RedisUrl,
    cluster: bool,
    known: Mutex<BTreeMap<u64, MultiplexedConnection>>,
}

impl Replicas {
    pub(super) fn new(url: RedisUrl, cluster: bool) -> Self {
        Self { url, cluster, known: Mutex::new(BTreeMap::new()) }
    }

    /// A replica of the master of `link`, if one can be had.
    async fn of(&self, link: &mut Link) -> Option<MultiplexedConnection> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&link.server.run).cloned();
        if known.is_some() {
            return known;
        }
        for (host, port) in within(replicas_of(&mut link.reads)).await.ok()? {
            match self.connect(&host, port).await {
                Ok(connection) => {
                    let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                    if known.len() >= REDIS_MASTERS_MAX {
                        // Those of masters that are long gone; the others are made again.
                        known.clear();
                    }
                    known.insert(link.server.run, connection.clone());
                    return Some(connection);
                }
                Err(reason) => tracing::debug!(host, port, reason, "redis store: no use of a replica"),
            }
        }
        None
    }

    async fn connect(&self, host: &str, port: u16) -> Result<MultiplexedConnection, String> {
        let mut connection = open(&self.url.at(host, port)).await?;
        let server = within(Server::ask(&mut connection)).await?;
        if !server.follows {
            return Err("it does not follow its master now".into());
        }
        if self.cluster {
            within(redis::cmd("READONLY").query_async::<()>(&mut connection)).await?;
        }
        Ok(connection)
    }

    fn forget(&self, run: u64) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&run);
    }
}

impl RedisStore {
    /// Reads a page of an index.
    pub(in crate::store) async fn index_page(
        &self,
        index: &Name,
        after: Option<&IndexCursor>,
        entries_max: usize,
    ) -> Result<IndexPage, StoreFault> {
        let mut found = Vec::new();
        let first = after.map_or(0, |cursor| cursor.shard.0);
        for block in (first..SHARD_COUNT).step_by(usize::from(OPS_SHARDS_TOGETHER)) {
            let shards: Vec<Shard> =
                (block..SHARD_COUNT.min(block.saturating_add(OPS_SHARDS_TOGETHER))).map(Shard).collect();
            let mut counts = self.counts(&shards, index).await?.into_iter().peekable();
            while found.len() <= entries_max && counts.peek().is_some() {
                let wanted = entries_max + 1 - found.len();
                // Only as many shards as are needed, so that a reply is bounded by the page.
                let mut expected = 0;
                let mut asked = Vec::new();
                while expected < wanted
                    && let Some((shard, entries)) = counts.next()
                {
                    if entries > 0 {
                        asked.push(shard);
                        let known_rest = after.is_none_or(|cursor| cursor.shard != shard);
                        expected += if known_rest { entries } else { 0 };
                    }
                }
                let replies = self.fan_out(&asked, |shard| {
                    let after = after.filter(|cursor| cursor.shard == shard).map(|cursor| &cursor.key);
                    codec::index_page_command(shard, index, after, wanted)
                });
                for (shard, reply) in replies.await? {
                    found.extend(codec::read_index_page(shard, reply).ok_or_else(|| unreadable(index))?);
                }
            }
            if found.len() > entries_max {
                break;
            }
        }
        Ok(IndexPage::cut(found, entries_max))
    }

    /// Counts the entries of an index.
    pub(in crate::store) async fn index_entries(&self, index: &Name) -> Result<u64, StoreFault> {
        let mut entries = 0;
        for block in (0..SHARD_COUNT).step_by(usize::from(OPS_SHARDS_TOGETHER)) {
            let shards: Vec<Shard> =
                (block..SHARD_COUNT.min(block.saturating_add(OPS_SHARDS_TOGETHER))).map(Shard).collect();
            entries +=
                self.counts(&shards, index).await?.into_iter().map(|(_, count)| count as u64).sum::<u64>();
        }
        Ok(entries)
    }

    async fn counts(&self, shards: &[Shard], index: &Name) -> Result<Vec<(Shard, usize)>, StoreFault> {
        let replies = self.fan_out(shards, |shard| codec::index_entries_command(shard, index)).await?;
        let read = |(shard, reply)| Some((shard, redis::from_redis_value(reply).ok()?));
        replies.into_iter().map(read).collect::<Option<Vec<_>>>().ok_or_else(|| unreadable(index))
    }

    /// Asks something of each shard, in one pipeline for each master; the replies are in the order of shards.
    async fn fan_out(
        &self,
        shards: &[Shard],
        command: impl Fn(Shard) -> Cmd,
    ) -> Result<BTreeMap<Shard, Value>, StoreFault> {
        let mut by_run: BTreeMap<u64, (Link, Vec<Shard>)> = BTreeMap::new();
        for shard in shards {
            let link = self.links(*shard).and_then(|links| links.newest());
            let Some(link) = link else {
                self.suspect_map();
                return Err(StoreFault::Away);
            };
            by_run.entry(link.server.run).or_insert_with(|| (link, Vec::new())).1.push(*shard);
        }
        let mut replies = BTreeMap::new();
        for (run, (mut link, shards)) in by_run {
            let mut pipeline = redis::pipe();
            for shard in &shards {
                pipeline.add_command(command(*shard));
            }
            let mut said: Option<Vec<Value>> = None;
            if let Some(mut replica) = self.replicas.of(&mut link).await {
                match pipeline.query_async(&mut replica).await {
                    Ok(values) => said = Some(values),
                    Err(error) => {
                        tracing::debug!(%error, "redis store: a replica fails, asking its master");
                        self.replicas.forget(run);
                    }
                }
            }
            let values = match said {
                Some(values) => values,
                None => pipeline.query_async(&mut link.reads).await.map_err(|error| {
                    tracing::warn!(%error, "redis store: an ops query failed");
                    let first = shards.first().and_then(|shard| self.links(*shard));
                    first.inspect(|links| links.suspect(link.number));
                    self.suspect_map();
                    StoreFault::Away
                })?,
            };
            replies.extend(shards.into_iter().zip(values));
        }
        Ok(replies)
    }
}

fn unreadable(index: &Name) -> StoreFault {
    StoreFault::Broken { text: format!("bad reply for index {index}") }
}
