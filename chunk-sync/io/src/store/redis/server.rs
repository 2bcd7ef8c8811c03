//! What a Redis server says of itself, and whether it can do what is asked of it.

use std::collections::BTreeMap;

use chunk_sync::store::Durability;
use redis::aio::MultiplexedConnection;
use redis::{RedisError, Value};
use xxhash_rust::xxh3::xxh3_64;

use crate::store::url::Asked;

/// The first version that can be asked whether a disk has what was written.
const WAITAOF_SINCE: (u32, u32) = (7, 2);

/// A server at the moment when it was connected to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Server {
    /// A hash of the name that its process gave itself when it started, and of the one that its data have since it
    /// was made a master: a server that was a replica for a while is another one.
    pub(super) run: u64,
    /// Whether it takes commits.
    pub(super) master: bool,
    /// Whether it is a replica that hears its master.
    pub(super) follows: bool,
    /// Replicas that follow it; those that are still being copied to are connected too, and acknowledge nothing.
    replicas: u32,
    version: (u32, u32),
    /// Whether it keeps a log on disk.
    log: bool,
    /// When that log is on disk.
    synced: Synced,
    eviction: Eviction,
    /// Whether it says whether it is a master to whoever we are.
    pub(super) tells_its_role: bool,
}

/// What a server does to our keys when its memory is full.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
enum Eviction {
    /// Nothing; it takes no more. Policies that look at keys which expire are this too, as none of ours does.
    #[default]
    Never,
    /// It would throw them away by this policy, once it has a limit.
    Unlimited(String),
    /// It throws them away by this policy.
    Always(String),
}

impl Eviction {
    fn read(policy: &str, maxmemory: &str) -> Self {
        match (policy, maxmemory) {
            ("noeviction" | "", _) => Eviction::Never,
            (policy, _) if policy.starts_with("volatile-") => Eviction::Never,
            (policy, "0" | "") => Eviction::Unlimited(policy.to_owned()),
            (policy, _) => Eviction::Always(policy.to_owned()),
        }
    }
}

/// How a commit becomes as safe as asked, once the server has done it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Confirm {
    /// It is, when it is answered.
    Nothing,
    /// This many replicas have to have it.
    Replicas(u8),
    /// The server's disk and those of this many replicas have to have it.
    Disks(u8),
}

/// When a server's log reaches its disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Synced {
    /// Before it answers.
    Always,
    /// Before it answers, but not while it rewrites the log.
    NotWhileRewriting,
    /// Some time later.
    Later,
    /// Whenever the system likes.
    Never,
    /// It doesn't say.
    #[default]
    Unknown,
}

impl Synced {
    fn read(settings: &BTreeMap<String, String>) -> Self {
        let is = |name: &str, value: &str| settings.get(name).is_some_and(|set| set == value);
        match settings.get("appendfsync").map(String::as_str) {
            Some("always") if is("no-appendfsync-on-rewrite", "yes") => Synced::NotWhileRewriting,
            Some("always") => Synced::Always,
            Some("no") => Synced::Never,
            Some(_) => Synced::Later,
            None => Synced::Unknown,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Synced::Always => "always",
            Synced::NotWhileRewriting => "always, but no-appendfsync-on-rewrite yes",
            Synced::Later => "not always",
            Synced::Never => "no",
            Synced::Unknown => "unknown",
        }
    }
}

impl Server {
    /// Asks a server; all at once, so that one that is slow is asked within the time for one step.
    pub(super) async fn ask(connection: &mut MultiplexedConnection) -> Result<Self, RedisError> {
        let (mut of_config, mut of_role) = (connection.clone(), connection.clone());
        let mut config = redis::cmd("CONFIG");
        config.arg("GET").arg("appendfsync").arg("no-appendfsync-on-rewrite");
        let (info, role) = (redis::cmd("INFO"), redis::cmd("ROLE"));
        let (info, settings, role) = tokio::join!(
            info.query_async::<String>(connection),
            config.query_async::<BTreeMap<String, String>>(&mut of_config),
            role.query_async::<Value>(&mut of_role),
        );
        // Hosted servers don't let everybody read their configuration.
        let synced = match settings {
            Ok(settings) => Synced::read(&settings),
            Err(error) if error.is_io_error() => return Err(error),
            Err(_) => Synced::Unknown,
        };
        let tells_its_role = match role {
            Err(error) if error.is_io_error() => return Err(error),
            said => said.is_ok(),
        };
        Ok(Self { tells_its_role, ..Self::read(&info?, synced) })
    }

    /// Asks a server who it is, and nothing else.
    pub(super) async fn identify(connection: &mut MultiplexedConnection) -> Result<Self, RedisError> {
        let mut info = redis::cmd("INFO");
        info.arg("server").arg("replication");
        let info: String = info.query_async(connection).await?;
        Ok(Self::read(&info, Synced::Unknown))
    }

    fn read(info: &str, synced: Synced) -> Self {
        let field = |name: &str| {
            info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or("")
        };
        let online = info.lines().filter(|line| line.starts_with("slave") && line.contains(",state=online,"));
        let mut version = field("redis_version").split('.').map(|part| part.parse().unwrap_or(0));
        Self {
            run: xxh3_64([field("run_id"), field("master_replid")].join(" ").as_bytes()),
            master: field("role") == "master",
            follows: field("role") == "slave" && field("master_link_status") == "up",
            replicas: u32::try_from(online.count()).unwrap_or(u32::MAX),
            version: (version.next().unwrap_or(0), version.next().unwrap_or(0)),
            log: field("aof_enabled") == "1",
            synced,
            eviction: Eviction::read(field("maxmemory_policy"), field("maxmemory")),
            tells_its_role: false,
        }
    }

    fn answers_from_disk(&self) -> bool {
        self.log && self.synced == Synced::Always
    }

    fn tells_of_its_disk(&self) -> bool {
        // One that never syncs would be waited for in vain.
        self.log && self.synced != Synced::Never && self.version >= WAITAOF_SINCE
    }

    /// Whether it can do what is asked; else why not, and what to do about it.
    pub(super) fn check(&self, asked: Asked) -> Result<(), String> {
        if !self.master {
            return Err("it is a replica, not a master".into());
        }
        if let Eviction::Always(policy) = &self.eviction {
            return Err(format!(
                "it throws keys away when its memory is full (maxmemory-policy {policy}), and with them what it \
                 acknowledged: set maxmemory-policy noeviction"
            ));
        }
        if self.replicas < u32::from(asked.replicas) {
            return Err(format!("replicas={} is asked, {} follow it", asked.replicas, self.replicas));
        }
        if asked.durability == Durability::Persisted && !self.answers_from_disk() && !self.tells_of_its_disk()
        {
            let (major, minor) = self.version;
            return Err(format!(
                "durability=persisted is asked, which this server (Redis {major}.{minor}, appendonly {}, \
                 appendfsync {}) can't keep: set appendonly yes and appendfsync always (from Redis 7.2 on, \
                 appendonly yes with appendfsync everysec will do), or ask for less with ?durability=accepted",
                if self.log { "yes" } else { "no" },
                self.synced.name(),
            ));
        }
        Ok(())
    }

    /// What has to follow a commit that asks for `durability`.
    pub(super) fn confirm(&self, durability: Durability, asked: Asked) -> Confirm {
        let durability = durability.min(asked.durability);
        match (durability, asked.replicas) {
            (Durability::Accepted, _) => Confirm::Nothing,
            (Durability::Replicated, replicas @ 1..) => Confirm::Replicas(replicas),
            (Durability::Replicated | Durability::Persisted, 0) if self.answers_from_disk() => {
                Confirm::Nothing
            }
            (_, replicas) if self.tells_of_its_disk() => Confirm::Disks(replicas),
            (_, replicas) => Confirm::Replicas(replicas),
        }
    }

    /// A server that evicts keys when its memory is full loses what players own.
    pub(super) fn warn(&self) {
        if let Eviction::Unlimited(policy) = &self.eviction {
            tracing::warn!(
                policy,
                "redis store: the server would throw away what must last, if its memory had a limit; set \
                 maxmemory-policy noeviction"
            );
        }
    }
}

/// Whether a server that answers `ROLE` with this is a master.
pub(super) fn leads(role: &Value) -> bool {
    let Value::Array(parts) = role else { return false };
    matches!(parts.first(), Some(Value::BulkString(word)) if word == b"master")
}

/// Whether a server that answers `ROLE` with this is a replica that hears its master.
pub(super) fn follows(role: &Value) -> bool {
    let Value::Array(parts) = role else { return false };
    let is =
        |at: usize, wanted: &[u8]| matches!(parts.get(at), Some(Value::BulkString(word)) if word == wanted);
    is(0, b"slave") && is(3, b"connected")
}

/// The replicas that a master names, by host and port.
pub(super) async fn replicas_of(
    connection: &mut MultiplexedConnection,
) -> Result<Vec<(String, u16)>, RedisError> {
    let role: Value = redis::cmd("ROLE").query_async(connection).await?;
    let Value::Array(parts) = role else { return Ok(Vec::new()) };
    let Some(Value::Array(replicas)) = parts.into_iter().nth(2) else { return Ok(Vec::new()) };
    let read = |replica| -> Option<(String, u16)> {
        let (host, port, _): (String, u16, i64) = redis::from_redis_value(replica).ok()?;
        Some((host, port))
    };
    Ok(replicas.into_iter().filter_map(read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n# Persistence\r\naof_enabled:1\r\n\
                        # Replication\r\nrole:master\r\nconnected_slaves:2\r\n\
                        slave0:ip=::1,port=7,state=online,offset=9,lag=0\r\n\
                        slave1:ip=::1,port=8,state=send_bulk,offset=0,lag=0\r\nmaxmemory_policy:noeviction\r\n";

    #[test]
    fn what_a_server_cannot_keep_is_refused_and_says_why() {
        let asked = |replicas, durability| Asked { replicas, durability };
        let always = Server::read(INFO, Synced::Always);
        let sometimes = Server::read(INFO, Synced::Later);
        let newer = Server::read(&INFO.replace("7.0.15", "7.2.0"), Synced::Unknown);
        let forgetful = Server::read(&INFO.replace("aof_enabled:1", "aof_enabled:0"), Synced::Always);
        let rewriting = Server::read(INFO, Synced::NotWhileRewriting);
        let never = Server::read(&INFO.replace("7.0.15", "7.2.0"), Synced::Never);
        let replica = Server::read(&INFO.replace("role:master", "role:slave"), Synced::Always);
        let policy = |policy: &str, maxmemory: &str| {
            let set = INFO.replace("maxmemory_policy:noeviction", &format!("maxmemory_policy:{policy}"));
            Server::read(&format!("{set}maxmemory:{maxmemory}\r\n"), Synced::Always)
        };
        let evicting = policy("allkeys-lru", "1000000");
        let unlimited = policy("allkeys-lru", "0");
        let of_others = policy("volatile-ttl", "1000000");
        for (server, replicas, durability, fine) in [
            (&always, 1, Durability::Persisted, true),
            (&always, 2, Durability::Persisted, false),
            (&sometimes, 0, Durability::Persisted, false),
            (&sometimes, 1, Durability::Replicated, true),
            (&sometimes, 0, Durability::Accepted, true),
            (&newer, 1, Durability::Persisted, true),
            (&rewriting, 0, Durability::Persisted, false),
            (&never, 0, Durability::Persisted, false),
            (&forgetful, 0, Durability::Persisted, false),
            (&forgetful, 0, Durability::Accepted, true),
            (&replica, 0, Durability::Accepted, false),
            (&evicting, 0, Durability::Accepted, false),
            (&unlimited, 0, Durability::Persisted, true),
            (&of_others, 0, Durability::Persisted, true),
        ] {
            assert_eq!(server.check(asked(replicas, durability)).is_ok(), fine, "{server:?} {durability:?}");
        }
        let why = forgetful.check(asked(0, Durability::Persisted)).expect_err("is refused");
        assert!(why.contains("appendonly no") && why.contains("appendfsync always"), "{why}");
    }

    #[test]
    fn settings_are_read() {
        let settings = |fsync: &str, rewrite: &str| {
            let pairs = [("appendfsync", fsync), ("no-appendfsync-on-rewrite", rewrite)];
            Synced::read(&pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
        };
        assert_eq!(settings("always", "no"), Synced::Always);
        assert_eq!(settings("always", "yes"), Synced::NotWhileRewriting);
        assert_eq!(settings("everysec", "no"), Synced::Later);
        assert_eq!(settings("no", "no"), Synced::Never);
        assert_eq!(Synced::read(&BTreeMap::new()), Synced::Unknown);
    }

    #[test]
    fn what_follows_a_commit_is_what_it_needs_and_no_more() {
        let always = Server::read(INFO, Synced::Always);
        let newer = Server::read(&INFO.replace("7.0.15", "8.0.1"), Synced::Later);
        let asked = |replicas| Asked { replicas, durability: Durability::Persisted };
        use Durability::{Accepted, Persisted, Replicated};
        for (server, replicas, durability, confirm) in [
            (&always, 0, Persisted, Confirm::Nothing),
            (&always, 0, Replicated, Confirm::Nothing),
            (&always, 2, Accepted, Confirm::Nothing),
            (&always, 2, Replicated, Confirm::Replicas(2)),
            (&always, 2, Persisted, Confirm::Replicas(2)),
            (&newer, 0, Accepted, Confirm::Nothing),
            (&newer, 0, Replicated, Confirm::Disks(0)),
            (&newer, 0, Persisted, Confirm::Disks(0)),
            (&newer, 1, Replicated, Confirm::Replicas(1)),
            (&newer, 1, Persisted, Confirm::Disks(1)),
        ] {
            assert_eq!(server.confirm(durability, asked(replicas)), confirm, "{replicas} {durability:?}");
        }
        let lowered = Asked { replicas: 1, durability: Replicated };
        assert_eq!(newer.confirm(Persisted, lowered), Confirm::Replicas(1));
    }
}
