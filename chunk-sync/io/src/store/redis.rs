//! The Redis store: one multiplexed connection, one function for a commit, the shard as hash tag.
//!
//! Redis runs one function at a time, so a commit is atomic without locks; its `TIME` is the store's clock. How
//! much of what was acknowledged survives a crash of the server is set there (`appendfsync always` for all).
//! Used through `StoreHandle` only, which puts a limit on the time that each call takes.

mod codec;
mod link;

use chunk_sync::store::{StoreAnswer, StoreFault, StoreOp};
use redis::aio::MultiplexedConnection;
use redis::{Client, RedisError, Value};
use tokio::sync::OwnedSemaphorePermit;

use self::link::Links;
use super::OpenError;
use super::url::RedisUrl;

/// A Redis server as a store.
pub(super) struct RedisStore {
    links: Links,
    lease_guard_ms: u64,
}

impl RedisStore {
    /// Connects; a server that can't be reached at the start is an error, later it is waited for.
    pub(super) async fn open(url: &RedisUrl, lease_guard_ms: u64) -> Result<Self, OpenError> {
        let failed = |reason: String| OpenError::Redis { url: url.to_string(), reason };
        let client = Client::open(url.info()).map_err(|error| failed(error.to_string()))?;
        let links = Links::open(client).await.map_err(failed)?;
        Ok(Self { links, lease_guard_ms })
    }

    /// Does one operation. Dropped before its answer, the operation is done or not.
    pub(super) async fn call(&self, op: StoreOp, _room: OwnedSemaphorePermit) -> StoreAnswer {
        let Some(mut link) = self.links.newest() else { return StoreAnswer::Failed(StoreFault::Away) };
        let answer = match self.ask(&mut link.connection, &op).await {
            Ok(Some(answer)) => answer,
            Ok(None) => {
                StoreAnswer::Failed(StoreFault::Broken { text: format!("bad reply for {}", op.partition()) })
            }
            Err(error) => {
                let (fault, reconnect) = judge(&error, matches!(op, StoreOp::Commit(_)));
                if reconnect {
                    self.links.suspect(link.number);
                }
                StoreAnswer::Failed(fault)
            }
        };
        if let StoreAnswer::Failed(StoreFault::Broken { text }) = &answer {
            tracing::error!(text, "redis store: a call failed");
        }
        answer
    }

    /// The connection that a call made now would use, by number.
    pub(super) fn newest_link(&self) -> Option<u64> {
        self.links.newest().map(|link| link.number)
    }

    /// A call over the connection of this number took too long: it may be dead without knowing it.
    pub(super) fn suspect(&self, number: u64) {
        self.links.suspect(number);
    }

    async fn ask(
        &self,
        connection: &mut MultiplexedConnection,
        op: &StoreOp,
    ) -> Result<Option<StoreAnswer>, RedisError> {
        Ok(match op {
            StoreOp::Load { partition } => {
                let mut both = redis::pipe();
                both.add_command(codec::load_command(partition)).cmd("TIME");
                let reply: Vec<Value> = both.query_async(connection).await?;
                codec::read_load(reply).map(StoreAnswer::Loaded)
            }
            StoreOp::Commit(commit) => {
                let command = codec::commit_command(commit, self.lease_guard_ms);
                let reply: Value = command.query_async(connection).await?;
                codec::read_commit(commit.token, reply).map(StoreAnswer::Committed)
            }
            StoreOp::Tail { partition, after } => {
                let reply: Value = codec::tail_command(partition, *after).query_async(connection).await?;
                codec::read_tail(reply).map(StoreAnswer::Tailed)
            }
        })
    }
}

/// What an error means for the asker, and whether the connection has to be made again.
fn judge(error: &RedisError, commit: bool) -> (StoreFault, bool) {
    match error.code() {
        // The server said no and did nothing.
        Some("OOM") => return (StoreFault::Full, false),
        Some("LOADING" | "BUSY" | "TRYAGAIN" | "NOREPLICAS" | "MISCONF") => return (StoreFault::Away, false),
        // It is not, or no longer, a server that takes commits: ask the address again.
        Some("READONLY" | "MASTERDOWN" | "CLUSTERDOWN" | "MOVED" | "NOAUTH") => {
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
