//! Where a store is, as an operator writes it: `embedded:FOLDER` or `redis://HOST:PORT/DB`. Parsed here once;
//! shown without the password.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use redis::IntoConnectionInfo;

/// Where a store is.
#[derive(Clone, Debug)]
pub enum StoreUrl {
    /// A folder of this machine, used by one process at a time.
    Embedded(PathBuf),
    /// A Redis server.
    Redis(RedisUrl),
}

/// A checked `redis://` or `redis+unix://` URL.
#[derive(Clone)]
pub struct RedisUrl {
    info: redis::ConnectionInfo,
}

impl RedisUrl {
    pub(super) fn info(&self) -> redis::ConnectionInfo {
        self.info.clone()
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
    #[error("store URL: {reason}; expected redis://[USER:PASSWORD@]HOST[:PORT][/DB]")]
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
        if !["redis://", "redis+unix://"].iter().any(|kind| text.starts_with(kind)) {
            // What follows a colon may be a password.
            let kind = text.split_once(':').map_or(text, |(kind, _)| kind);
            return Err(StoreUrlError::Kind { text: kind.chars().take(80).collect() });
        }
        let info = text
            .into_connection_info()
            .map_err(|error| StoreUrlError::Redis { reason: error.to_string() })?;
        Ok(StoreUrl::Redis(RedisUrl { info }))
    }
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
        write!(f, "redis://{}/{}", self.info.addr(), self.info.redis_settings().db())
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
        let shown = |text: &str| text.parse::<StoreUrl>().map(|url| url.to_string());
        assert_eq!(shown("embedded:./atoll-data").as_deref(), Ok("embedded:./atoll-data"));
        assert_eq!(shown("redis://127.0.0.1:6380/2").as_deref(), Ok("redis://127.0.0.1:6380/2"));
        assert_eq!(shown("redis://db").as_deref(), Ok("redis://db:6379/0"));
        assert_eq!(shown("redis://me:secret@db:1/0").as_deref(), Ok("redis://db:1/0"));
        assert_eq!(shown("redis+unix:///run/r.sock?db=1").as_deref(), Ok("redis:///run/r.sock/1"));
        let debug = format!("{:?}", "redis://me:secret@db:1/0".parse::<StoreUrl>());
        assert!(!debug.contains("secret"), "{debug}");
    }

    #[test]
    fn what_is_no_url_is_refused_with_a_reason() {
        for text in [
            "",
            "redis",
            "postgres://me:secret@db",
            "embedded:",
            "redis://",
            "redis://h:99999/0",
            "redis://h/x",
        ] {
            let error = text.parse::<StoreUrl>().expect_err(text).to_string();
            assert!(error.contains("store URL") && !error.contains("secret"), "{text}: {error}");
        }
    }
}
