//! What ops queries ask of Redis: something of every shard, in one pipeline for each master; pages of indexes from a
//! replica of each master where there is one that can be reached (or from masters, as asked), the ledger from masters. Never used by a core.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chunk_sync::store::{
    IndexCursor, IndexPage, LedgerCursor, LedgerPage, Name, SHARD_COUNT, Shard, StoreFault,
};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError, Value};
use tokio::time::timeout;

use super::link::{Link, open, within};
use super::server::{Server, follows, replicas_of};
use super::{RedisStore, carry, codec, judge};
use crate::store::limits::{
    CONNECT_WAIT_MS, OPS_SHARDS_TOGETHER, REDIS_MASTERS_MAX, REPLICA_AGAIN_MS, REPLICA_WAIT_MS,
};
use crate::store::ops::IndexSource;
use crate::store::url::RedisUrl;

/// Connections to replicas, one for each master's run.
pub(super) struct Replicas {
    url: RedisUrl,
    cluster: bool,
    known: Mutex<BTreeMap<u64, Known>>,
}

/// What is known of a master's replicas.
#[derive(Clone)]
enum Known {
    /// One that answered last time.
    Good(MultiplexedConnection),
    /// None was any good, and none is tried before this.
    Bad { until: Instant },
}

/// Who is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// A replica where there is one, else its master.
    Replicas,
    /// Masters only.
    Masters,
}

impl Replicas {
    pub(super) fn new(url: RedisUrl, cluster: bool) -> Self {
        Self { url, cluster, known: Mutex::new(BTreeMap::new()) }
    }

    /// Asks a replica of the master of `link`, if one can be had that follows it and answers in time.
    async fn ask(&self, link: &mut Link, commands: &[Cmd]) -> Option<Vec<Value>> {
        let known = self.known().get(&link.server.run).cloned();
        let mut replica = match known {
            Some(Known::Good(replica)) => replica,
            Some(Known::Bad { until }) if Instant::now() < until => return None,
            // However many there are that hang.
            _ => match timeout(Duration::from_millis(CONNECT_WAIT_MS), self.find(link)).await {
                Ok(Some(replica)) => replica,
                _ => return self.none_is_good(link),
            },
        };
        let mut asked = redis::pipe();
        // One that has lost its master may lack anything.
        asked.cmd("ROLE");
        for command in commands {
            asked.add_command(command.clone());
        }
        let wait = Duration::from_millis(REPLICA_WAIT_MS);
        let reason = match timeout(wait, asked.query_async::<Vec<Value>>(&mut replica)).await {
            Ok(Ok(mut values)) if values.first().is_some_and(follows) => {
                self.know(link, Known::Good(replica));
                return Some(values.split_off(1));
            }
            Ok(Ok(_)) => "it does not follow its master now".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {REPLICA_WAIT_MS} ms"),
        };
        tracing::debug!(reason, "redis store: a replica fails, asking its master");
        self.none_is_good(link)
    }

    fn none_is_good(&self, link: &Link) -> Option<Vec<Value>> {
        self.know(link, Known::Bad { until: Instant::now() + Duration::from_millis(REPLICA_AGAIN_MS) });
        None
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<u64, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn know(&self, link: &Link, what: Known) {
        let mut known = self.known();
        if known.len() >= REDIS_MASTERS_MAX && !known.contains_key(&link.server.run) {
            // Those of masters that are long gone; the others are made again.
            known.clear();
        }
        known.insert(link.server.run, what);
    }

    /// Connects to a replica of the master of `link`, if there is one that is any good.
    async fn find(&self, link: &mut Link) -> Option<MultiplexedConnection> {
        for (host, port) in within(replicas_of(&mut link.reads)).await.ok()? {
            match self.connect(&host, port).await {
                Ok(connection) => return Some(connection),
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
}

impl RedisStore {
    /// Reads a page of an index.
    pub(in crate::store) async fn index_page(
        &self,
        index: &Name,
        source: IndexSource,
        after: Option<&IndexCursor>,
        entries_max: usize,
    ) -> Result<IndexPage, StoreFault> {
        let rest = |shard: Shard| after.filter(|cursor| cursor.shard == shard).map(|cursor| &cursor.key);
        let walk = Walk {
            from: match source {
                IndexSource::Replicas => From::Replicas,
                IndexSource::Masters => From::Masters,
            },
            first: after.map_or(Shard(0), |cursor| cursor.shard),
            begun: after.is_some(),
            entries_max,
        };
        let found = self.walk(
            walk,
            |shard| codec::index_entries_command(shard, index),
            |shard, wanted| codec::index_page_command(shard, index, rest(shard), wanted),
            codec::read_index_page,
        );
        Ok(IndexPage::cut(found.await?.0, entries_max))
    }

    /// Counts the entries of an index.
    pub(in crate::store) async fn index_entries(&self, index: &Name) -> Result<u64, StoreFault> {
        let mut entries = 0;
        for shards in blocks(Shard(0)) {
            let counts =
                self.counts(From::Replicas, &shards, |shard| codec::index_entries_command(shard, index));
            entries += counts.await?.into_iter().map(|(_, count)| count as u64).sum::<u64>();
        }
        Ok(entries)
    }

    /// Reads a page of the ledger from the masters, and waits until what it shows is safe.
    pub(in crate::store) async fn ledger_page(
        &self,
        after: Option<LedgerCursor>,
        entries_max: usize,
    ) -> Result<LedgerPage, StoreFault> {
        let rest =
            |shard: Shard| after.filter(|after| after.shard == shard).map_or(0, |after| after.sequence);
        let walk = Walk {
            from: From::Masters,
            first: after.map_or(Shard(0), |cursor| cursor.shard),
            begun: after.is_some(),
            entries_max,
        };
        let found = self.walk(
            walk,
            carry::ledger_entries_command,
            |shard, wanted| carry::ledger_page_command(shard, rest(shard), wanted),
            carry::read_ledger,
        );
        let (found, asked) = found.await?;
        let mut page = LedgerPage::default();
        let mut last = None;
        for read in found {
            if page.entries.len() + page.damaged.len() == entries_max {
                page.next = last;
                break;
            }
            let at = match &read {
                Ok(entry) => LedgerCursor { shard: entry.shard, sequence: entry.sequence },
                Err(damaged) => damaged.at,
            };
            last = Some(at);
            match read {
                Ok(entry) => page.entries.push(entry),
                Err(damaged) => page.damaged.push(damaged),
            }
        }
        // Of those that it was read from: who answers for their shards by now may never have had it.
        for (link, shard) in asked {
            self.settle(&link, shard).await?;
        }
        Ok(page)
    }

    /// Removes a shard's ledger entries up to and including a number.
    pub(in crate::store) async fn ledger_trim(&self, shard: Shard, up_to: u64) -> Result<(), StoreFault> {
        let mut link = self.link(shard)?;
        let trimmed = carry::ledger_trim_command(shard, up_to).query_async::<Value>(&mut link.reads).await;
        trimmed.map(|_| ()).map_err(|error| self.ops_fault(&link, shard, &error))
    }

    /// Reads what there is of every shard, in their order, until there is one more than `entries_max`; answers with the
    /// masters that were asked for it too, each with one of its shards.
    async fn walk<T>(
        &self,
        walk: Walk,
        count: impl Fn(Shard) -> Cmd,
        page: impl Fn(Shard, usize) -> Cmd,
        read: impl Fn(Shard, Value) -> Option<Vec<T>>,
    ) -> Result<(Vec<T>, Vec<(Link, Shard)>), StoreFault> {
        let Walk { from, first, begun, entries_max } = walk;
        let mut found = Vec::new();
        let mut masters: Vec<(Link, Shard)> = Vec::new();
        for shards in blocks(first) {
            let mut counts = self.counts(from, &shards, &count).await?.into_iter().peekable();
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
                        // How much of the first is behind the cursor isn't known.
                        expected += if begun && shard == first { 0 } else { entries };
                    }
                }
                let (replies, links) = self.fan_out(from, &asked, |shard| page(shard, wanted)).await?;
                for (shard, reply) in replies {
                    found.extend(read(shard, reply).ok_or_else(unreadable)?);
                }
                for (link, shard) in links {
                    if masters.iter().all(|(known, _)| !known.is_same(&link)) {
                        masters.push((link, shard));
                    }
                }
            }
            if found.len() > entries_max {
                break;
            }
        }
        Ok((found, masters))
    }

    async fn counts(
        &self,
        from: From,
        shards: &[Shard],
        count: impl Fn(Shard) -> Cmd,
    ) -> Result<Vec<(Shard, usize)>, StoreFault> {
        let (replies, _) = self.fan_out(from, shards, count).await?;
        let read = |(shard, reply)| Some((shard, redis::from_redis_value(reply).ok()?));
        replies.into_iter().map(read).collect::<Option<Vec<_>>>().ok_or_else(unreadable)
    }

    /// Asks something of each shard, in one pipeline for each master; the replies are in the order of shards. Answers
    /// with the masters' connections too, each with one of its shards.
    async fn fan_out(
        &self,
        from: From,
        shards: &[Shard],
        command: impl Fn(Shard) -> Cmd,
    ) -> Result<(BTreeMap<Shard, Value>, Vec<(Link, Shard)>), StoreFault> {
        let mut replies = BTreeMap::new();
        let mut links = Vec::new();
        for (mut link, shards) in self.by_master(shards)?.into_values() {
            let commands: Vec<Cmd> = shards.iter().map(|shard| command(*shard)).collect();
            let said = match from {
                From::Replicas => self.replicas.ask(&mut link, &commands).await,
                From::Masters => None,
            };
            let values: Vec<Value> = match said {
                Some(values) => values,
                None => {
                    let said = link.ask_master(&commands).await;
                    let said = said.map_err(|error| self.ops_fault(&link, shards[0], &error))?;
                    said.ok_or_else(|| self.demoted(&link, shards[0]))?
                }
            };
            links.push((link, shards[0]));
            replies.extend(shards.into_iter().zip(values));
        }
        Ok((replies, links))
    }

    /// These shards by the master that answers for them now, each with at least one.
    pub(super) fn by_master(
        &self,
        shards: &[Shard],
    ) -> Result<BTreeMap<u64, (Link, Vec<Shard>)>, StoreFault> {
        let mut by_run: BTreeMap<u64, (Link, Vec<Shard>)> = BTreeMap::new();
        for shard in shards {
            let link = self.link(*shard)?;
            by_run.entry(link.server.run).or_insert_with(|| (link, Vec::new())).1.push(*shard);
        }
        Ok(by_run)
    }

    /// The connections to the master of a shard.
    pub(super) fn link(&self, shard: Shard) -> Result<Link, StoreFault> {
        self.links(shard).and_then(|links| links.newest()).ok_or_else(|| {
            self.suspect_map();
            StoreFault::Away
        })
    }

    /// The server of these connections is a replica by now.
    pub(super) fn demoted(&self, link: &Link, shard: Shard) -> StoreFault {
        self.links(shard).inspect(|links| links.suspect(link.number));
        self.suspect_map();
        StoreFault::Away
    }

    /// What an error on the connection to a shard's master means for an ops call that may be asked again.
    pub(super) fn ops_fault(&self, link: &Link, shard: Shard, error: &RedisError) -> StoreFault {
        self.ops_error(link, shard, error, false)
    }

    /// The same, of a call that is `once` done or not.
    pub(super) fn ops_error(&self, link: &Link, shard: Shard, error: &RedisError, once: bool) -> StoreFault {
        tracing::warn!(%error, "redis store: an ops call failed");
        let (fault, reconnect) = judge(error, once);
        if reconnect {
            self.links(shard).inspect(|links| links.suspect(link.number));
        }
        self.suspect_map();
        fault
    }
}

/// Which entries of which shards are read.
struct Walk {
    from: From,
    first: Shard,
    /// Whether some of the first shard were read before.
    begun: bool,
    entries_max: usize,
}

/// All shards from one on, as many at a time as are asked together.
fn blocks(first: Shard) -> impl Iterator<Item = Vec<Shard>> {
    let blocks = (first.0..SHARD_COUNT).step_by(usize::from(OPS_SHARDS_TOGETHER));
    blocks
        .map(|block| (block..SHARD_COUNT.min(block.saturating_add(OPS_SHARDS_TOGETHER))).map(Shard).collect())
}

pub(super) fn unreadable() -> StoreFault {
    StoreFault::Broken { text: "a reply to an ops call that can't be right".into() }
}
