//! Which world a tool looks at: a store that nobody else has open, a shared one, or a running process that is asked
//! over HTTP. The flags are the same for all tools.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use chunk_sync_io::store::{OpenError, StoreHandle, StoreUrl};
use clap::{Arg, ArgMatches, Command};

use crate::books;
use crate::failure::Failure;
use crate::islands::Archives;
use crate::limits::{ANSWER_BYTES_MAX, ANSWER_WAIT};

/// The files of an embedded store. One that has lost the first is there, and is said to be incomplete when it is opened.
const STORE_FILES: [&str; 2] = ["store.redb", "store.made"];

/// Where a tool looks, as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Source {
    store: Option<String>,
    data: String,
    ledger: Option<PathBuf>,
    archive: Option<PathBuf>,
    http: Option<String>,
}

/// Adds the flags; `--http` only where a running process can answer.
pub(crate) fn flags(command: Command, http: bool) -> Command {
    let arg = |name, shape, help| Arg::new(name).long(name).value_name(shape).help(help);
    let command = command
        .arg(arg(
            "data",
            "FOLDER",
            "folder of an embedded store that no process has open [default: ./atoll-data]",
        ))
        .arg(
            arg("store", "URL", "redis://…, redis-sentinel://… or redis-cluster://… instead")
                .conflicts_with("data"),
        )
        .arg(arg("ledger", "FOLDER", "the ledger's files [default: `ledger` beside an embedded store]"));
    if http {
        command.arg(
            arg("http", "URL", "ask a running `atoll up` or `atoll allocator`, like http://127.0.0.1:8080")
                .conflicts_with_all(["data", "store", "ledger"]),
        )
    } else {
        command
    }
}

/// Adds the flag of those who write or read archives.
pub(crate) fn archive_flag(command: Command) -> Command {
    let archive = Arg::new("archive").long("archive").value_name("FOLDER");
    command.arg(archive.help("archives of suspended islands [default: `archive` beside an embedded store]"))
}

/// What the flags say, or the variables that the roles read too.
pub(crate) fn read(matches: &ArgMatches) -> Source {
    let flag = |name: &str| matches.try_get_one::<String>(name).ok().flatten().cloned();
    let variable = |name: &str| std::env::var(format!("ATOLL_{}", name.to_uppercase())).ok();
    // A flag says which store is meant, whatever the variables say.
    let (store, data) = match (flag("store"), flag("data")) {
        (None, None) => (variable("store"), variable("data")),
        given => given,
    };
    Source {
        store,
        data: data.unwrap_or_else(|| "./atoll-data".to_owned()),
        ledger: flag("ledger").or_else(|| variable("ledger")).map(PathBuf::from),
        archive: flag("archive").map(PathBuf::from),
        http: flag("http"),
    }
}

/// A store that a tool opened.
pub(crate) struct Opened {
    /// The store.
    pub(crate) store: StoreHandle,
    /// Where its ledger is, if that is known.
    pub(crate) ledger: Option<PathBuf>,
    /// Where archives are.
    pub(crate) archives: Archives,
}

impl Source {
    /// The running process that is to be asked, if one is.
    pub(crate) fn http(&self) -> Option<&str> {
        self.http.as_deref()
    }

    /// Where it is, without passwords.
    pub(crate) fn url(&self) -> Result<StoreUrl, Failure> {
        match &self.store {
            Some(url) => url.parse().map_err(Failure::setup),
            None => Ok(StoreUrl::Embedded(PathBuf::from(&self.data))),
        }
    }

    /// Where the ledger is, if that is known.
    ///
    /// # Errors
    /// When the store's URL can't be read.
    pub(crate) fn ledger(&self) -> Result<Option<PathBuf>, Failure> {
        Ok(books::folder_of(self.ledger.as_ref(), &self.url()?))
    }

    /// Opens a store that is there.
    ///
    /// # Errors
    /// When there is none, or another process has it.
    pub(crate) async fn open(&self) -> Result<Opened, Failure> {
        let url = self.url()?;
        if let StoreUrl::Embedded(folder) = &url
            && !STORE_FILES.iter().any(|file| folder.join(file).try_exists().unwrap_or(true))
        {
            let folder = folder.display();
            return Err(Failure::setup(format!(
                "there is no store in {folder}; give --data FOLDER or --store URL"
            )));
        }
        self.open_any().await
    }

    /// Opens a store; an embedded one that isn't there is made.
    ///
    /// # Errors
    /// When it can't be opened.
    pub(crate) async fn open_any(&self) -> Result<Opened, Failure> {
        let url = self.url()?;
        let store = StoreHandle::open(&url).await.map_err(|error| match error {
            OpenError::InUse { .. } => Failure::setup(format!(
                "{error}. Stop it first, or ask it where it can answer: --http http://ADDRESS:PORT (its page)"
            )),
            error => Failure::setup(error),
        })?;
        let archives = Archives::new(self.archive.clone(), &url);
        Ok(Opened { store, ledger: self.ledger()?, archives })
    }
}

/// Runs a tool on a runtime of its own.
pub(crate) fn run<T>(tool: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(
            std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".to_owned()),
        ))
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::run(format!("the system gives no threads: {error}")))?;
    let done = runtime.block_on(tool);
    runtime.shutdown_timeout(crate::limits::RUNTIME_WAIT);
    done
}

/// Asks a running process for a page; answers status and body.
///
/// # Errors
/// When there is nobody, or what answers is no HTTP.
pub(crate) fn ask(url: &str, path: &str) -> Result<(u16, String), Failure> {
    let address = url.trim_end_matches('/');
    let address = address.strip_prefix("http://").unwrap_or(address);
    if address.is_empty() || address.contains('/') {
        return Err(Failure::setup(format!("--http {url}: expected http://ADDRESS:PORT")));
    }
    let failed = |error: std::io::Error| Failure::setup(format!("--http {url}: {error}"));
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    stream.set_read_timeout(Some(ANSWER_WAIT)).map_err(failed)?;
    stream.set_write_timeout(Some(Duration::from_secs(5))).map_err(failed)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).map_err(failed)?;
    let text = String::from_utf8_lossy(&answer);
    let parts = text.split_once("\r\n\r\n").and_then(|(head, body)| {
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    });
    parts.ok_or_else(|| Failure::setup(format!("--http {url}: it does not answer as an admin port does")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_that_lost_its_file_is_not_said_to_be_none() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().display().to_string();
        let source = Source { store: None, data, ledger: None, archive: None, http: None };
        let said = async || source.open().await.err().expect("is refused").lines().join("; ");
        assert!(said().await.contains("there is no store"), "{}", said().await);
        std::fs::write(folder.path().join("store.made"), "00000000000000000007").unwrap();
        assert!(said().await.contains("store.redb is missing, though store.made says"), "{}", said().await);
    }
}
