//! The connections to one master: made at the start, with our functions loaded, and made again with growing waits
//! whenever a call says that they are no good. Owned by one task, which ends when nobody can use them any more.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, RedisError};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::codec::{LIBRARY, library_code};
use super::confirm::Confirmer;
use super::find::Place;
use super::server::{Confirm, Server};
use crate::store::limits::{
    CONNECT_WAIT_MS, IN_FLIGHT_UNITS_MAX, RECONNECT_MS_MAX, RECONNECT_MS_MIN, REDIS_CONNECTIONS_PER_MASTER,
    SILENCE_MS_MAX,
};
use crate::store::url::Asked;

/// Told the run of the server that was connected to, each time.
pub(super) type Connected = Box<dyn Fn(u64) + Send + Sync>;

/// The connections of one moment; the number tells bad ones from their successors.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) number: u64,
    pub(super) server: Server,
    /// Of reads, and of commits that nobody waits for any further: it is never kept waiting.
    pub(super) reads: MultiplexedConnection,
    /// Of what replicas or disks are waited for.
    pub(super) confirmer: Option<Confirmer>,
}

const _: () =
    assert!(REDIS_CONNECTIONS_PER_MASTER == 3, "one for reads, two for commits that are waited for");

/// The newest connections, if there are any now, and the way to say that they are bad.
pub(super) struct Links {
    newest: watch::Receiver<Option<Link>>,
    suspects: mpsc::Sender<u64>,
}

impl Links {
    /// Connects once, and from then on keeps connected.
    pub(super) async fn open(place: Place, asked: Asked, connected: Connected) -> Result<Self, String> {
        let link = connect(&place, asked, 0).await?;
        link.server.warn();
        connected(link.server.run);
        Ok(Self::keep(place, asked, connected, Some(link)))
    }

    /// Connects in its own time.
    pub(super) fn later(place: Place, asked: Asked, connected: Connected) -> Self {
        Self::keep(place, asked, connected, None)
    }

    fn keep(place: Place, asked: Asked, connected: Connected, link: Option<Link>) -> Self {
        let down = link.is_none();
        let (publish, newest) = watch::channel(link);
        let (suspects, suspected) = mpsc::channel(1);
        if down {
            // There is room for one, and this is the first.
            let _ = suspects.try_send(0);
        }
        tokio::spawn(keep(Keeper { place, asked, connected, publish }, suspected));
        Self { newest, suspects }
    }

    /// The connections to use now.
    pub(super) fn newest(&self) -> Option<Link> {
        self.newest.borrow().clone()
    }

    /// The run of the server that is connected now.
    pub(super) fn run(&self) -> Option<u64> {
        self.newest.borrow().as_ref().map(|link| link.server.run)
    }

    /// Says that the connections of this number are no good.
    pub(super) fn suspect(&self, number: u64) {
        // Full means that somebody has said so already.
        let _ = self.suspects.try_send(number);
    }
}

struct Keeper {
    place: Place,
    asked: Asked,
    connected: Connected,
    publish: watch::Sender<Option<Link>>,
}

async fn keep(keeper: Keeper, mut suspected: mpsc::Receiver<u64>) {
    let Keeper { place, asked, connected, publish } = keeper;
    let mut number = 0;
    // Ends when the store was dropped, and with it the other ends of both channels.
    while let Some(suspect) = suspected.recv().await {
        if suspect != number {
            continue;
        }
        publish.send_replace(None);
        tracing::warn!(%place, "redis store: not connected, connecting");
        number += 1;
        let mut wait_ms = RECONNECT_MS_MIN;
        let link = loop {
            match connect(&place, asked, number).await {
                Ok(link) => break link,
                Err(reason) => tracing::warn!(%place, reason, wait_ms, "redis store: cannot connect"),
            }
            tokio::select! {
                () = publish.closed() => return,
                () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
            }
            wait_ms = (wait_ms * 2).min(RECONNECT_MS_MAX);
        };
        let run = link.server.run;
        publish.send_replace(Some(link));
        tracing::info!(%place, "redis store: connected");
        connected(run);
    }
}

/// Finds the master, makes the connections to it and loads the functions, so that a server which lost them (a new
/// one, a wiped one) has them again.
async fn connect(place: &Place, asked: Asked, number: u64) -> Result<Link, String> {
    let (info, mut reads, server) = place.master().await?;
    server.check(asked)?;
    let load = async {
        let mut load = redis::cmd("FUNCTION");
        load.arg("LOAD").arg("REPLACE").arg(library_code());
        load.query_async::<String>(&mut reads).await
    };
    let loaded = within(load).await.map_err(|reason| {
        if reason.contains("unknown command") {
            return format!("the server has no functions; Redis 7.0 or newer is needed ({reason})");
        }
        reason
    })?;
    if loaded != LIBRARY {
        return Err(format!("the server loaded {loaded:?}, not {LIBRARY}"));
    }
    let waits = asked.replicas > 0 || server.confirm(asked.durability, asked) != Confirm::Nothing;
    let confirmer = match waits {
        true => Some(Confirmer::new([open(&info).await?, open(&info).await?])),
        false => None,
    };
    Ok(Link { number, server, reads, confirmer })
}

/// One connection, made within the time that connecting may take.
pub(super) async fn open(info: &ConnectionInfo) -> Result<MultiplexedConnection, String> {
    // What hangs without a word is found by the system, also on a connection that nobody waits on.
    let silence = Duration::from_millis(SILENCE_MS_MAX);
    let probes = TcpKeepalive::new().with_time(silence / 2).with_interval(silence / 4);
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(probes).set_user_timeout(silence);
    let client = Client::open(info.clone().set_tcp_settings(settings)).map_err(|error| error.to_string())?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_millis(CONNECT_WAIT_MS)))
        .set_response_timeout(None)
        .set_concurrency_limit(IN_FLIGHT_UNITS_MAX as usize);
    within(client.get_multiplexed_async_connection_with_config(&config)).await
}

/// A call that belongs to connecting, within the time that this may take.
pub(super) async fn within<T>(call: impl Future<Output = Result<T, RedisError>>) -> Result<T, String> {
    match timeout(Duration::from_millis(CONNECT_WAIT_MS), call).await {
        Err(_) => Err(format!("no answer within {CONNECT_WAIT_MS} ms")),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(value)) => Ok(value),
    }
}
