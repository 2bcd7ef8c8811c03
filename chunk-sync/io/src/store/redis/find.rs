//! Where the master is: the named server, the one of several that says so, the one that Sentinel names, or a node
//! of a cluster. Asked anew at every connecting, since that is what a change of master looks like from here.

use std::fmt;

use redis::aio::MultiplexedConnection;
use redis::{ConnectionInfo, RedisConnectionInfo};
use tokio::task::JoinSet;

use super::link::{open, within};
use super::server::Server;
use crate::store::url::{RedisKind, RedisUrl};

/// Something that has one master at a time.
#[derive(Clone)]
pub(super) enum Place {
    /// What an URL names, other than a cluster.
    Url(RedisUrl),
    /// One node of a cluster.
    Node(ConnectionInfo),
}

type Found = (ConnectionInfo, MultiplexedConnection, Server);

impl Place {
    /// Connects to its master, as far as it can be told; the caller checks that it is one.
    pub(super) async fn master(&self) -> Result<Found, String> {
        match self {
            Place::Node(info) => greet(info.clone()).await,
            Place::Url(url) => match url.kind() {
                RedisKind::Sentinel(master) => named_by_sentinels(url, master).await,
                RedisKind::Servers | RedisKind::Cluster => match url.hosts() {
                    [only] => greet(only.clone()).await,
                    several => the_one_master(several).await,
                },
            },
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Url(url) => url.fmt(f),
            Place::Node(info) => info.addr().fmt(f),
        }
    }
}

async fn greet(info: ConnectionInfo) -> Result<Found, String> {
    let mut connection = open(&info).await?;
    let server = within(Server::ask(&mut connection)).await?;
    Ok((info, connection, server))
}

/// Of several servers the only one that says that it is the master. Two are a cluster that was torn apart, or an
/// old master that came back: which of them has what was acknowledged is not for us to guess.
async fn the_one_master(hosts: &[ConnectionInfo]) -> Result<Found, String> {
    let mut greetings = JoinSet::new();
    for host in hosts {
        let host = host.clone();
        greetings.spawn(async move { (host.addr().to_string(), greet(host).await) });
    }
    let mut masters = Vec::new();
    let mut said = Vec::new();
    while let Some(greeting) = greetings.join_next().await {
        match greeting.map_err(|error| error.to_string())? {
            (_, Ok(found)) if found.2.master => masters.push(found),
            (host, Ok(_)) => said.push(format!("{host} is a replica")),
            (host, Err(reason)) => said.push(format!("{host}: {reason}")),
        }
    }
    match (masters.pop(), masters.first()) {
        (Some(master), None) => Ok(master),
        (Some(one), Some(other)) => Err(format!(
            "both {} and {} say that they are the master; make one a replica of the other",
            one.0.addr(),
            other.0.addr()
        )),
        (None, _) => Err(format!("no master among them ({})", said.join("; "))),
    }
}

/// The first master that a Sentinel names and that is one: a Sentinel that was cut off may name an old one.
async fn named_by_sentinels(url: &RedisUrl, master: &str) -> Result<Found, String> {
    let mut said = Vec::new();
    for sentinel in url.hosts() {
        let (host, port) = match ask_sentinel(sentinel, master).await {
            Ok(Some(address)) => address,
            Ok(None) => {
                said.push(format!("{} knows no master {master:?}", sentinel.addr()));
                continue;
            }
            Err(reason) => {
                said.push(format!("{}: {reason}", sentinel.addr()));
                continue;
            }
        };
        let why = match greet(url.at(&host, port)).await {
            Ok(found) if found.2.master => return Ok(found),
            Ok(_) => "it is a replica".to_owned(),
            Err(reason) => reason,
        };
        said.push(format!("{} names {host}:{port}: {why}", sentinel.addr()));
    }
    Err(format!("no Sentinel tells where the master is ({})", said.join("; ")))
}

async fn ask_sentinel(sentinel: &ConnectionInfo, master: &str) -> Result<Option<(String, u16)>, String> {
    // Sentinel has neither the databases nor, as a rule, the users of the servers that it watches.
    let mut connection = open(&sentinel.clone().set_redis_settings(RedisConnectionInfo::default())).await?;
    let mut command = redis::cmd("SENTINEL");
    command.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    within(command.query_async(&mut connection)).await
}
