//! The one connection to Redis: made at the start, with our functions loaded, and made again with growing waits
//! whenever a call says that it is no good. Owned by one task, which ends when nobody can use it any more.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::codec::{LIBRARY, library_code};
use crate::store::limits::{CONNECT_WAIT_MS, IN_FLIGHT_UNITS_MAX, RECONNECT_MS_MAX, RECONNECT_MS_MIN};

/// One connection; the number tells a bad one from its successor.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) number: u64,
    pub(super) connection: MultiplexedConnection,
}

/// The newest connection, if there is one now, and the way to say that it is bad.
pub(super) struct Links {
    newest: watch::Receiver<Option<Link>>,
    suspects: mpsc::Sender<u64>,
}

impl Links {
    /// Connects once, and from then on keeps connected.
    pub(super) async fn open(client: Client) -> Result<Self, String> {
        let connection = connect(&client).await?;
        warn_of_eviction(connection.clone()).await;
        let (publish, newest) = watch::channel(Some(Link { number: 0, connection }));
        let (suspects, suspected) = mpsc::channel(1);
        tokio::spawn(keep(client, publish, suspected));
        Ok(Self { newest, suspects })
    }

    /// The connection to use now.
    pub(super) fn newest(&self) -> Option<Link> {
        self.newest.borrow().clone()
    }

    /// Says that connection `number` is no good.
    pub(super) fn suspect(&self, number: u64) {
        // Full means that somebody has said so already.
        let _ = self.suspects.try_send(number);
    }
}

async fn keep(client: Client, publish: watch::Sender<Option<Link>>, mut suspected: mpsc::Receiver<u64>) {
    let mut number = 0;
    // Ends when the store was dropped, and with it the other ends of both channels.
    while let Some(suspect) = suspected.recv().await {
        if suspect != number {
            continue;
        }
        publish.send_replace(None);
        tracing::warn!("redis store: connection lost, connecting again");
        let mut wait_ms = RECONNECT_MS_MIN;
        let connection = loop {
            match connect(&client).await {
                Ok(connection) => break connection,
                Err(reason) => tracing::warn!(reason, wait_ms, "redis store: cannot connect"),
            }
            tokio::select! {
                () = publish.closed() => return,
                () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
            }
            wait_ms = (wait_ms * 2).min(RECONNECT_MS_MAX);
        };
        number += 1;
        publish.send_replace(Some(Link { number, connection }));
        tracing::info!("redis store: connected again");
    }
}

/// Connects and loads the functions, so that a server which lost them (a new one, a wiped one) has them again.
async fn connect(client: &Client) -> Result<MultiplexedConnection, String> {
    let wait = Duration::from_millis(CONNECT_WAIT_MS);
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(wait))
        .set_response_timeout(None)
        .set_concurrency_limit(IN_FLIGHT_UNITS_MAX as usize);
    let connected = async {
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut load = redis::cmd("FUNCTION");
        load.arg("LOAD").arg("REPLACE").arg(library_code());
        let loaded: String = load.query_async(&mut connection).await?;
        Ok::<_, RedisError>((connection, loaded))
    };
    match timeout(wait, connected).await {
        Err(_) => Err(format!("no answer within {CONNECT_WAIT_MS} ms")),
        Ok(Err(error)) if error.to_string().contains("unknown command") => {
            Err(format!("the server has no functions; Redis 7.0 or newer is needed ({error})"))
        }
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok((_, loaded))) if loaded != LIBRARY => {
            Err(format!("the server loaded {loaded:?}, not {LIBRARY}"))
        }
        Ok(Ok((connection, _))) => Ok(connection),
    }
}

/// A server that evicts keys when its memory is full loses what players own; said once, at the start.
async fn warn_of_eviction(mut connection: MultiplexedConnection) {
    let mut info = redis::cmd("INFO");
    info.arg("memory");
    let asked = timeout(Duration::from_millis(CONNECT_WAIT_MS), info.query_async::<String>(&mut connection));
    let Ok(Ok(memory)) = asked.await else { return };
    let policy = memory.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"));
    if let Some(policy) = policy.filter(|policy| *policy != "noeviction") {
        tracing::warn!(
            policy,
            "redis store: the server may evict what must last; set maxmemory-policy noeviction"
        );
    }
}
