//! The Redis store: one function for a commit, the shard as hash tag, a few multiplexed connections to each master.
//!
//! Redis runs one function at a time, so a commit is atomic without locks; its `TIME` is the store's clock. What
//! each durability can lose is written in `docs/durability.md`. Used through `StoreHandle` only, which puts a limit
//! on the time that each call takes.

mod carry;
mod cluster;
mod codec;
mod confirm;
mod find;
mod link;
mod listing;
mod ops;
mod server;

use std::sync::Arc;
use std::time::Duration;

use chunk_sync::store::{Commit, Durability, SHARD_COUNT, Shard, StoreAnswer, StoreFault, StoreOp};
use redis::{RedisError, Value};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use self::cluster::Cluster;
use self::confirm::Unsafe;
use self::find::Place;
use self::link::{Link, Links};
use self::listing::Listing;
use self::ops::Replicas;
use super::limits::{CONFIRM_GRACE_MS, CONFIRM_MARGIN_MS, CONFIRM_WAIT_MS};
use super::masters::Masters;
use super::url::{Asked, RedisKind, RedisUrl};
use super::{OpenError, StoreOptions};

/// How long it may take until it is known whether a commit is safe: its own wait, and the way there and back.
const CONFIRMED_BY: Duration = Duration::from_millis(CONFIRM_WAIT_MS + CONFIRM_GRACE_MS);

/// Redis as a store.
pub(super) struct RedisStore {
    route: Route,
    asked: Asked,
    options: StoreOptions,
    replicas: Replicas,
    listing: Listing,
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
        if asked.replicas == 0 && *url.kind() != RedisKind::Servers {
            tracing::warn!(
                store = %url,
                "redis store: replicas are promoted by themselves there, and replicas=0 lets one that lacks \
                 acknowledged commits take over; add ?replicas=1 to the URL"
            );
        }
        let route = if *url.kind() == RedisKind::Cluster {
            Route::Cluster(Cluster::open(url.clone(), masters).await.map_err(failed)?)
        } else {
            let connected = move |run| masters.served((0..SHARD_COUNT).map(Shard), run);
            let links = Links::open(Place::Url(url.clone()), asked, Box::new(connected)).await;
            Route::One(Arc::new(links.map_err(failed)?))
        };
        let replicas = Replicas::new(url.clone(), matches!(route, Route::Cluster(_)));
        Ok(Self { route, asked, options, replicas, listing: Listing::default() })
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
                let commands = [codec::load_command(partition), redis::cmd("TIME")];
                match link.ask_master(&commands).await? {
                    Some(reply) => codec::read_load(reply).map(StoreAnswer::Loaded),
                    None => Some(StoreAnswer::Failed(self.demoted(link, partition.shard()))),
                }
            }
            StoreOp::Commit(commit) => self.commit(link, commit).await?,
            StoreOp::Tail { partition, after } => {
                match link
                    .ask_master(&[codec::tail_command(partition, *after)])
                    .await?
                    .map(|mut all| all.pop())
                {
                    Some(reply) => reply.and_then(codec::read_tail).map(StoreAnswer::Tailed),
                    None => Some(StoreAnswer::Failed(self.demoted(link, partition.shard()))),
                }
            }
        })
    }

    async fn commit(&self, link: &mut Link, commit: &Commit) -> Result<Option<StoreAnswer>, RedisError> {
        let confirm = link.server.confirm(commit.durability, self.asked);
        let command = |confirm| codec::commit_command(commit, self.options, confirm);
        let confirmer = link.confirmer.as_ref().filter(|_| confirm != server::Confirm::Nothing);
        let Some(confirmer) = confirmer else {
            let reply: Value = command(false).query_async(&mut link.reads).await?;
            return Ok(codec::read_commit(commit, reply).map(StoreAnswer::Committed));
        };
        let until_ms = self.options.call_wait_ms.saturating_sub(CONFIRM_MARGIN_MS);
        let ends = Instant::now() + Duration::from_millis(until_ms);
        let mut lane = confirmer.lane();
        let reply: Value = command(true).query_async(&mut lane.connection).await?;
        let Some(outcome) = codec::read_commit(commit, reply) else { return Ok(None) };
        if outcome.settled() {
            let by = ends.min(Instant::now() + CONFIRMED_BY);
            if let Err(fault) = confirmer.confirm(&lane, confirm, by).await {
                // It is done, but not as safe as asked: sent again, it is only waited for.
                self.unconfirmed(link, commit.partition.shard(), fault);
                return Ok(Some(StoreAnswer::Failed(StoreFault::TimedOut)));
            }
        }
        Ok(Some(StoreAnswer::Committed(outcome)))
    }

    /// Waits until everything that this master has done up to now is as safe as the store keeps anything.
    async fn settle(&self, link: &Link, shard: Shard) -> Result<(), StoreFault> {
        let confirm = link.server.confirm(Durability::Persisted, self.asked);
        let confirmer = link.confirmer.as_ref().filter(|_| confirm != server::Confirm::Nothing);
        let Some(confirmer) = confirmer else { return Ok(()) };
        let mut lane = confirmer.lane();
        // A wait covers what was written before on its own connection, and with that all before it.
        let marked = carry::mark_command(shard).query_async::<()>(&mut lane.connection).await;
        marked.map_err(|error| self.ops_fault(link, shard, &error))?;
        let by = Instant::now() + CONFIRMED_BY;
        confirmer.confirm(&lane, confirm, by).await.map_err(|fault| {
            self.unconfirmed(link, shard, fault);
            StoreFault::TimedOut
        })
    }

    fn unconfirmed(&self, link: &Link, shard: Shard, fault: Unsafe) {
        if let Unsafe::Failed(reason) = fault {
            tracing::warn!(%reason, "redis store: replicas or disks can't be waited for");
            self.links(shard).inspect(|links| links.suspect(link.number));
            self.suspect_map();
        }
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
