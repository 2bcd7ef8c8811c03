//! `atoll`: a whole cluster or one role of it. Reads the configuration, starts the role, turns its end into an
//! exit code: 0 after a clean close, 2 for a configuration that can't be used, 1 for what fails at run time.

mod allocator;
mod archive;
mod audit;
mod books;
mod cli;
mod config;
mod desk;
mod failure;
mod figures;
mod http;
mod inspect;
mod islands;
mod limits;
mod node;
mod nodes;
mod open_files;
mod own;
mod play;
mod process;
mod seats;
mod signals;
mod source;
mod storage;
mod up;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use metrics_exporter_prometheus::PrometheusHandle;
use tracing_subscriber::EnvFilter;

use cli::Wanted;
use config::keys::Role;
use config::sources::Sources;
use failure::Failure;
use limits::RUNTIME_WAIT;
use process::Process;

fn main() -> ExitCode {
    let done = match cli::wanted(&cli::command().get_matches()) {
        Wanted::Play(options) => play::run(options),
        Wanted::Archive(wanted) => archive::run(&wanted),
        Wanted::Island(wanted) => islands::run(&wanted),
        Wanted::Audit(wanted) => audit::command::run(wanted),
        Wanted::Inspect(wanted) => inspect::run(&wanted),
        Wanted::Config => print(&config::print::config_file()),
        Wanted::Run(role, flags, file) => run(role, flags, file),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let mut err = std::io::stderr().lock();
            for line in failure.lines() {
                // A closed stderr leaves nobody to tell; the exit code still says it.
                let _ = writeln!(err, "error: {line}");
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::run(error)),
        _ => Ok(()),
    }
}

fn run(role: Role, flags: BTreeMap<String, String>, file: Option<PathBuf>) -> Result<(), Failure> {
    let mut faults = Vec::new();
    let sources = Sources::gather(role, flags, variables(), file, &mut faults);
    match role {
        Role::Up => {
            let config = config::up(&sources, faults).map_err(Failure::Setup)?;
            begin(&config.common.log.clone(), |prometheus| up::Cluster::new(config, prometheus))
        }
        Role::Allocator => {
            let config = config::allocator(&sources, faults).map_err(Failure::Setup)?;
            begin(&config.common.log.clone(), |prometheus| allocator::Allocator::new(config, prometheus))
        }
        Role::Node => {
            let config = config::node(&sources, faults).map_err(Failure::Setup)?;
            begin(&config.common.log.clone(), |prometheus| node::Node::new(config, prometheus))
        }
    }
}

/// The environment, without what is no text.
fn variables() -> BTreeMap<String, String> {
    let texts = std::env::vars_os().map(|(name, value)| (name.into_string(), value.into_string()));
    texts.filter_map(|(name, value)| Some((name.ok()?, value.ok()?))).collect()
}

/// Logs, metrics and a runtime, then the role on it.
fn begin<P: Process>(log: &str, process: impl FnOnce(PrometheusHandle) -> P) -> Result<(), Failure> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(log))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    open_files::raise();
    let prometheus = http::install_recorder()?;
    figures::describe();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("atoll").build();
    let runtime = runtime.map_err(|error| Failure::run(format!("the system gives no threads: {error}")))?;
    let ended = runtime.block_on(process::live(process(prometheus)));
    runtime.shutdown_timeout(RUNTIME_WAIT);
    ended
}
