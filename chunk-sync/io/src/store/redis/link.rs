//! The connections to one master: made at the start, with our functions loaded, and made again with growing waits
//! whenever a call says that they are no good. Owned by one task, which ends when nobody can use them any more.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionInfo, RedisError, Value};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::codec::{LIBRARY, library_code};
use super::confirm::Confirmer;
use super::find::Place;
use super::server::{Confirm, Server, leads};
use crate::store::limits::{
    CONNECT_WAIT_MS, IN_FLIGHT_UNITS_MAX, MASTER_CHECKED_EVERY_MS, RECONNECT_MS_MAX, RECONNECT_MS_MIN,
    REDIS_CONNECTIONS_PER_MASTER, SILENCE_MS_MAX,
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

impl Link {
    /// Whether these are the same connections.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.number, self.server.run) == (other.number, other.server.run)
    }

    /// Asks something of a master; nothing when the server has become a replica, whose answers may be old.
    pub(super) async fn ask_master(&mut self, commands: &[Cmd]) -> Result<Option<Vec<Value>>, RedisError> {
        let mut asked = redis::pipe();
        for command in commands {
            asked.add_command(command.clone());
        }
        if !self.server.tells_its_role {
            return asked.query_async(&mut self.reads).await.map(Some);
        }
        // Last, so that what was read before was read of a master.
        asked.cmd("ROLE");
        let mut replies: Vec<Value> = asked.query_async(&mut self.reads).await?;
        Ok(replies.pop().filter(leads).map(|_| replies))
    }
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
    loop {
        let newest = publish.borrow().clone();
        tokio::select! {
            suspect = suspected.recv() => match suspect {
                // The store was dropped, and with it the other ends of both channels.
                None => return,
                Some(suspect) if suspect != number => continue,
                Some(_) => {}
            },
            server = another(newest) => if server.master {
                // It was a replica for a while, and may have lost what only it knew.
                let run = server.run;
                publish.send_modify(|link| {
                    if let Some(link) = link {
                        link.server.run = run;
                    }
                });
                connected(run);
                continue;
            },
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

/// Asks the server of these connections now and then who it is, until it is another one than it was.
async fn another(link: Option<Link>) -> Server {
    let Some(mut link) = link else { return std::future::pending().await };
    loop {
        tokio::time::sleep(Duration::from_millis(MASTER_CHECKED_EVERY_MS)).await;
        // One that doesn't answer is the business of those who call it.
        let Ok(server) = within(Server::identify(&mut link.reads)).await else { continue };
        if !server.master || server.run != link.server.run {
            return server;
        }
    }
}

/// Finds the master, makes the connections to it and loads the functions, so that a server which lost them (a new
/// one, a wiped one) has them again.
async fn connect(place: &Place, asked: Asked, number: u64) -> Result<Link, String> {
    let (info, mut reads, server) = place.master().await?;
    server.check(asked)?;
    // Loading takes memory, which a full server has none of: it has to stay readable over a new connection.
    if !has_functions(&mut reads).await? {
        load_functions(&mut reads).await?;
    }
    let waits = asked.replicas > 0 || server.confirm(asked.durability, asked) != Confirm::Nothing;
    let confirmer = match waits {
        true => {
            let (one, other) = tokio::try_join!(open(&info), open(&info))?;
            Some(Confirmer::new([one, other]))
        }
        false => None,
    };
    Ok(Link { number, server, reads, confirmer })
}

/// Whether a server has our functions just as they are here.
async fn has_functions(connection: &mut MultiplexedConnection) -> Result<bool, String> {
    let list = async {
        let mut list = redis::cmd("FUNCTION");
        list.arg("LIST").arg("LIBRARYNAME").arg(LIBRARY).arg("WITHCODE");
        list.query_async::<Value>(connection).await
    };
    let listed = within(list).await.map_err(|reason| {
        if reason.contains("unknown command") {
            return format!("the server has no functions; Redis 7.0 or newer is needed ({reason})");
        }
        reason
    })?;
    Ok(names(&listed, library_code().as_bytes()))
}

/// Whether a text is somewhere in a reply.
fn names(reply: &Value, wanted: &[u8]) -> bool {
    match reply {
        Value::BulkString(text) => text == wanted,
        Value::SimpleString(text) => text.as_bytes() == wanted,
        Value::Array(parts) => parts.iter().any(|part| names(part, wanted)),
        Value::Map(parts) => parts.iter().any(|(_, part)| names(part, wanted)),
        _ => false,
    }
}

async fn load_functions(connection: &mut MultiplexedConnection) -> Result<(), String> {
    let load = async {
        let mut load = redis::cmd("FUNCTION");
        load.arg("LOAD").arg("REPLACE").arg(library_code());
        load.query_async::<String>(connection).await
    };
    match within(load).await? {
        loaded if loaded == LIBRARY => Ok(()),
        loaded => Err(format!("the server loaded {loaded:?}, not {LIBRARY}")),
    }
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
