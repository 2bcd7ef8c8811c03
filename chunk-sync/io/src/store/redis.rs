//! The Redis store: one function for a commit, the shard as hash tag, two multiplexed connections for each master.
//!
//! Redis runs one function at a time, so a commit is atomic without locks; its `TIME` is the store's clock. What
//! each durability can lose is written in `docs/durability.md`. Used through `StoreHandle` only, which puts a limit
//! on the time that each call takes.

mod cluster;
mod codec;
mod confirm;
mod find;
mod link;
mod ops;
mod server;

use std::sync::Arc;

use chunk_sync::store::{Commit, SHARD_COUNT, Shard, StoreAnswer, StoreFault, StoreOp};
use redis::{RedisError, Value};
use tokio::sync::OwnedSemaphorePermit;

use self::cluster::Cluster;
use self::confirm::Unsafe;
use self::find::Place;
use self::link::{Link, Links};
use self::ops::Replicas;
use super::masters::Masters;
use super::url::{Asked, RedisKind, RedisUrl};
use super::{OpenError, StoreOptions};

/// Redis as a store.
pub(super) struct RedisStore {
    route: Route,
    asked: Asked,
    options: StoreOptions,
    replicas: Replicas,
}

enum Route {
    One(Arc<Links>),
    Cluster(Cluster),
}

/// The connections that a call uses, so that it can say that they are bad.
pub(super) struct Used {
    links: Arc<Links>,
    number: u64,
}

impl Used {
    /// A call over these connections took too long: they may be dead without knowing it.
    pub(super) fn suspect(&self) {
        self.links.suspect(self.number);
    }
}

impl RedisStore {
    /// Connects; a server that can't be reached at the start is an error, later it is waited for.
    pub(super) async fn open(
        url: &RedisUrl,
        options: StoreOptions,
        masters: Arc<Masters>,
    ) -> Result<Self, OpenError> {
        let failed = |reason: String| OpenError::Redis { url: url.to_string(), reason };
        let asked = url.asked();
        let route = if *url.kind() == RedisKind::Cluster {
            Route::Cluster(Cluster::open(url.clone(), masters).await.map_err(failed)?)
        } else {
            let connected = move |run| masters.served((0..SHARD_COUNT).map(Shard), run);
            let links = Links::open(Place::Url(url.clone()), asked, Box::new(connected)).await;
            Route::One(Arc::new(links.map_err(failed)?))
        };
        let replicas = Replicas::new(url.clone(), matches!(route, Route::Cluster(_)));
        Ok(Self { route, asked, options, replicas })
    }

    /// Does one operation. Dropped before its answer, the operation is done or not.
    pub(super) async fn call(&self, op: StoreOp, _room: OwnedSemaphorePermit) -> StoreAnswer {
        let links = self.links(op.partition().shard());
        let Some((links, mut link)) = links.and_then(|links| links.newest().map(|link| (links, link))) else {
            self.suspect_map();
            return StoreAnswer::Failed(StoreFault::Away);
        };
        let answer = match self.ask(&mut link, &op).await {
            Ok(Some(answer)) => answer,
            Ok(None) => {
                StoreAnswer::Failed(StoreFault::Broken { text: format!("bad reply for {}", op.partition()) })
            }
            Err(error) => {
                let (fault, reconnect) = judge(&error, matches!(op, StoreOp::Commit(_)));
                if matches!(error.code(), Some("MOVED" | "ASK" | "CLUSTERDOWN")) || reconnect {
                    self.suspect_map();
                }
                if reconnect {
                    links.suspect(link.number);
                }
                StoreAnswer::Failed(fault)
            }
        };
        if let StoreAnswer::Failed(StoreFault::Broken { text }) = &answer {
            tracing::error!(text, "redis store: a call failed");
        }
        answer
    }

    /// The connections that a call for this shard would use now.
    pub(super) fn used(&self, shard: Shard) -> Option<Used> {
        let links = self.links(shard)?;
        let number = links.newest()?.number;
        Some(Used { links, number })
    }

    fn links(&self, shard: Shard) -> Option<Arc<Links>> {
        match &self.route {
            Route::One(links) => Some(Arc::clone(links)),
            Route::Cluster(cluster) => cluster.links(shard),
        }
    }

    /// A cluster's map may be why something fails.
    fn suspect_map(&self) {
        if let Route::Cluster(cluster) = &self.route {
            cluster.suspect();
        }
    }

    async fn ask(&self, link: &mut Link, op: &StoreOp) -> Result<Option<StoreAnswer>, RedisError> {
        Ok(match op {
            StoreOp::Load { partition } => {
                let mut both = redis::pipe();
                both.add_command(codec::load_command(partition)).cmd("TIME");
                let reply: Vec<Value> = both.query_async(&mut link.reads).await?;
                codec::read_load(reply).map(StoreAnswer::Loaded)
            }
            StoreOp::Commit(commit) => self.commit(link, commit).await?,
            StoreOp::Tail { partition, after } => {
                let reply: Value =
                    codec::tail_command(partition, *after).query_async(&mut link.reads).await?;
                codec::read_tail(reply).map(StoreAnswer::Tailed)
            }
        })
    }

    async fn commit(&self, link: &mut Link, commit: &Commit) -> Result<Option<StoreAnswer>, RedisError> {
        let confirm = link.server.confirm(commit.durability, self.asked);
        let confirmer = link.confirmer.as_ref().filter(|_| confirm != server::Confirm::Nothing);
        let connection = if confirmer.is_some() { &mut link.commits } else { &mut link.reads };
        let command = codec::commit_command(commit, self.options, confirmer.is_some());
        let reply: Value = command.query_async(connection).await?;
        let Some(outcome) = codec::read_commit(commit, reply) else { return Ok(None) };
        if let Some(confirmer) = confirmer.filter(|_| outcome.settled()) {
            match confirmer.confirm(confirm).await {
                Ok(()) => {}
                // It is done, but not as safe as asked: sent again, it is only waited for.
                Err(Unsafe::TooFew) => return Ok(Some(StoreAnswer::Failed(StoreFault::TimedOut))),
                Err(Unsafe::Failed(error)) => {
                    tracing::warn!(%error, "redis store: replicas or disks can't be waited for");
                    self.links(commit.partition.shard()).inspect(|links| links.suspect(link.number));
                    self.suspect_map();
                    return Ok(Some(StoreAnswer::Failed(StoreFault::TimedOut)));
                }
            }
        }
        Ok(Some(StoreAnswer::Committed(outcome)))
    }
}

/// What an error means for the asker, and whether the connection has to be made again.
fn judge(error: &RedisError, commit: bool) -> (StoreFault, bool) {
    match error.code() {
        // The server said no and did nothing.
        Some("OOM") => return (StoreFault::Full, false),
        // What moved is found by the cluster's map; the server that says so is well.
        Some(
            "LOADING" | "BUSY" | "TRYAGAIN" | "NOREPLICAS" | "MISCONF" | "ASK" | "MOVED" | "CLUSTERDOWN",
        ) => {
            return (StoreFault::Away, false);
        }
        // It is not, or no longer, a server that takes commits: ask the address again.
        Some("READONLY" | "MASTERDOWN" | "NOAUTH") => {
            return (StoreFault::Away, true);
        }
        Some(_) if error.to_string().contains("Function not found") => return (StoreFault::Away, true),
        Some(_) => return (StoreFault::Broken { text: error.to_string() }, false),
        None => {}
    }
    if error.is_connection_refusal() {
        return (StoreFault::Away, true);
    }
    if error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error() {
        // The connection broke after the commit was sent, or before: nobody knows.
        let fault = if commit { StoreFault::TimedOut } else { StoreFault::Away };
        return (fault, true);
    }
    (StoreFault::Broken { text: error.to_string() }, true)
}
