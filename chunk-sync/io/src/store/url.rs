//! Where a store is, as an operator writes it. Parsed here once; shown without the password.
//!
//! `embedded:FOLDER`; `redis://HOST[:PORT][,HOST[:PORT]…]/DB`, one server, or several of which one is the master;
//! `redis+unix:///SOCKET?db=DB`; `redis-sentinel://HOST[:PORT],…/MASTER[/DB]`, where Sentinel says which is the
//! master; `redis-cluster://HOST[:PORT],…`, any nodes of a cluster. All Redis forms take `USER:PASSWORD@` and, after
//! a `?`, `replicas=N` (how many replicas must have a commit) and `durability=accepted|replicated|persisted` (the
//! most that is asked of the server; what commits ask beyond it is lowered to it).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use chunk_sync::store::Durability;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use super::limits::{REDIS_HOSTS_MAX, REPLICAS_MAX};

const SENTINEL_PORT: u16 = 26_379;
const REDIS_PORT: u16 = 6379;

/// Where a store is.
#[derive(Clone, Debug)]
pub enum StoreUrl {
    /// A folder of this machine, used by one process at a time.
    Embedded(PathBuf),
    /// One or several Redis servers.
    Redis(RedisUrl),
}

/// A checked URL of Redis.
#[derive(Clone)]
pub struct RedisUrl {
    kind: RedisKind,
    /// The servers that it names: of the data, of Sentinel, or some of the cluster.
    hosts: Vec<ConnectionInfo>,
    asked: Asked,
}

/// How the master of a shard is found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum RedisKind {
    /// It is that of the named servers which says so.
    Servers,
    /// Sentinel knows, by this name.
    Sentinel(String),
    /// The cluster's slots tell.
    Cluster,
}

/// What the operator asks of the servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Asked {
    /// How many replicas must have what is replicated.
    pub(super) replicas: u8,
    /// The most that commits get.
    pub(super) durability: Durability,
}

impl RedisUrl {
    pub(super) fn kind(&self) -> &RedisKind {
        &self.kind
    }

    pub(super) fn hosts(&self) -> &[ConnectionInfo] {
        &self.hosts
    }

    pub(super) fn asked(&self) -> Asked {
        self.asked
    }

    /// How to connect to another server of the same operator: the same user, password and database.
    pub(super) fn at(&self, host: &str, port: u16) -> ConnectionInfo {
        let like = &self.hosts[0];
        like.clone().set_addr(ConnectionAddr::Tcp(host.to_owned(), port))
    }
}

/// Why a text isn't a store's URL.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoreUrlError {
    /// It names no kind of store that there is.
    #[error("store URL {text:?}: expected embedded:FOLDER or redis://HOST:PORT/DB")]
    Kind {
        /// What was written, up to the kind of store.
        text: String,
    },
    /// `embedded:` without a folder.
    #[error("store URL \"embedded:\" names no folder")]
    NoFolder,
    /// A Redis URL that can't be read.
    #[error(
        "store URL: {reason}; expected redis://[USER:PASSWORD@]HOST[:PORT][,HOST…][/DB][?replicas=N], \
         redis-sentinel://HOST[:PORT],…/MASTER[/DB] or redis-cluster://HOST[:PORT],…"
    )]
    Redis {
        /// What is wrong with it.
        reason: String,
    },
}

impl FromStr for StoreUrl {
    type Err = StoreUrlError;

    fn from_str(text: &str) -> Result<Self, StoreUrlError> {
        if let Some(folder) = text.strip_prefix("embedded:") {
            if folder.is_empty() {
                return Err(StoreUrlError::NoFolder);
            }
            return Ok(StoreUrl::Embedded(PathBuf::from(folder)));
        }
        let (scheme, rest) = text.split_once("://").unwrap_or((text, ""));
        let known = ["redis", "redis+unix", "redis-sentinel", "redis-cluster"];
        if !known.contains(&scheme) || !text.contains("://") {
            // What follows a colon may be a password.
            let kind = text.split_once(':').map_or(text, |(kind, _)| kind);
            return Err(StoreUrlError::Kind { text: kind.chars().take(80).collect() });
        }
        redis_url(scheme, rest).map(StoreUrl::Redis).map_err(|reason| StoreUrlError::Redis { reason })
    }
}

fn redis_url(scheme: &str, rest: &str) -> Result<RedisUrl, String> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (asked, others) = read_query(query)?;
    if scheme == "redis+unix" {
        let query = others.join("&");
        let info = format!("redis+unix://{place}?{query}");
        let info = info.into_connection_info().map_err(|error| error.to_string())?;
        return Ok(RedisUrl { kind: RedisKind::Servers, hosts: vec![info], asked });
    }
    if let Some(other) = others.first() {
        let name = other.split_once('=').map_or(*other, |(name, _)| name);
        return Err(format!("unknown setting {name:?}"));
    }
    let (authority, path) = place.split_once('/').unwrap_or((place, ""));
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (format!("{login}@"), hosts),
        None => (String::new(), authority),
    };
    let (kind, db, port) = match scheme {
        "redis-sentinel" => {
            let (master, db) = path.split_once('/').unwrap_or((path, ""));
            if master.is_empty() {
                return Err("Sentinel needs the name of a master".into());
            }
            (RedisKind::Sentinel(master.to_owned()), db, SENTINEL_PORT)
        }
        "redis-cluster" if !matches!(path, "" | "0") => {
            return Err("a cluster has no databases but 0".into());
        }
        "redis-cluster" => (RedisKind::Cluster, "", REDIS_PORT),
        _ => (RedisKind::Servers, path, REDIS_PORT),
    };
    let hosts = hosts.split(',').map(|host| server(&login, host, port, db)).collect::<Result<Vec<_>, _>>()?;
    if hosts.len() > REDIS_HOSTS_MAX {
        return Err(format!("{} hosts, at most {REDIS_HOSTS_MAX}", hosts.len()));
    }
    Ok(RedisUrl { kind, hosts, asked })
}

fn server(login: &str, host: &str, port: u16, db: &str) -> Result<ConnectionInfo, String> {
    if host.is_empty() {
        return Err("a host is missing".into());
    }
    let info = format!("redis://{login}{host}/{db}");
    let info = info.as_str().into_connection_info().map_err(|error| error.to_string())?;
    // The library fills in the port of a data server.
    let named = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let addr = match info.addr() {
        ConnectionAddr::Tcp(host, _) if !named => Some(ConnectionAddr::Tcp(host.clone(), port)),
        _ => None,
    };
    Ok(match addr {
        Some(addr) => info.set_addr(addr),
        None => info,
    })
}

/// What is ours of a URL's settings, and the rest.
fn read_query(query: &str) -> Result<(Asked, Vec<&str>), String> {
    let mut asked = Asked::default();
    let mut others = Vec::new();
    for setting in query.split('&').filter(|setting| !setting.is_empty()) {
        match setting.split_once('=') {
            Some(("replicas", count)) => {
                let count = count.parse().ok().filter(|count| *count <= REPLICAS_MAX);
                asked.replicas = count.ok_or(format!("replicas is a number from 0 to {REPLICAS_MAX}"))?;
            }
            Some(("durability", "accepted")) => asked.durability = Durability::Accepted,
            Some(("durability", "replicated")) => asked.durability = Durability::Replicated,
            Some(("durability", "persisted")) => asked.durability = Durability::Persisted,
            Some(("durability", _)) => {
                return Err("durability is accepted, replicated or persisted".into());
            }
            _ => others.push(setting),
        }
    }
    if asked.durability == Durability::Replicated && asked.replicas == 0 {
        return Err("durability=replicated needs replicas=1 or more".into());
    }
    Ok((asked, others))
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreUrl::Embedded(folder) => write!(f, "embedded:{}", folder.display()),
            StoreUrl::Redis(url) => url.fmt(f),
        }
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, path) = match &self.kind {
            RedisKind::Servers => ("redis", String::new()),
            RedisKind::Sentinel(master) => ("redis-sentinel", format!("/{master}")),
            RedisKind::Cluster => ("redis-cluster", String::new()),
        };
        let hosts: Vec<String> = self.hosts.iter().map(|host| host.addr().to_string()).collect();
        write!(f, "{scheme}://{}{path}/{}", hosts.join(","), self.hosts[0].redis_settings().db())
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_shown_without_their_password() {
        for (text, wanted) in [
            ("embedded:./atoll-data", "embedded:./atoll-data"),
            ("redis://127.0.0.1:6380/2", "redis://127.0.0.1:6380/2"),
            ("redis://db", "redis://db:6379/0"),
            ("redis://me:secret@db:1/0", "redis://db:1/0"),
            ("redis+unix:///run/r.sock?db=1&replicas=2", "redis:///run/r.sock/1"),
            ("redis://me:secret@a:1,b/3?replicas=1", "redis://a:1,b:6379/3"),
            ("redis-sentinel://:secret@a,b:7/main/4", "redis-sentinel://a:26379,b:7/main/4"),
            ("redis-cluster://a,b:7/0", "redis-cluster://a:6379,b:7/0"),
        ] {
            let url = text.parse::<StoreUrl>().expect(text);
            assert_eq!(url.to_string(), wanted);
            assert!(!format!("{url:?}").contains("secret"), "{url:?}");
        }
    }

    #[test]
    fn what_is_asked_of_the_servers_is_read() {
        let asked = |text: &str| match text.parse::<StoreUrl>().expect(text) {
            StoreUrl::Redis(url) => url.asked(),
            StoreUrl::Embedded(_) => panic!("{text}"),
        };
        assert_eq!(asked("redis://db"), Asked { replicas: 0, durability: Durability::Persisted });
        let replicated = Asked { replicas: 2, durability: Durability::Replicated };
        assert_eq!(asked("redis-cluster://db?replicas=2&durability=replicated"), replicated);
        let accepted = Asked { replicas: 0, durability: Durability::Accepted };
        assert_eq!(asked("redis+unix:///run/r.sock?durability=accepted&db=3"), accepted);
    }

    #[test]
    fn what_is_no_url_is_refused_with_a_reason() {
        for text in [
            "",
            "redis",
            "redis:",
            "postgres://me:secret@db",
            "embedded:",
            "redis://",
            "redis://h:99999/0",
            "redis://h/x",
            "redis://h,/0",
            "redis://h?replicas=99",
            "redis://h?durability=always",
            "redis://h?durability=replicated",
            "redis://me:secret@h?color=secret",
            "redis-sentinel://h",
            "redis-cluster://h/2",
            "redis-cluster://a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q",
        ] {
            let error = text.parse::<StoreUrl>().expect_err(text).to_string();
            assert!(error.contains("store URL") && !error.contains("secret"), "{text}: {error}");
        }
    }
}
