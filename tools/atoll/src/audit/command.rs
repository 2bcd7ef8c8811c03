//! `atoll audit`: the complete audit of a world, printed. Exit code 0 when it is clean, 1 with findings, 2 when it
//! could not be read.

use std::io::Write;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::complete::audit;
use super::report::Report;
use crate::failure::Failure;
use crate::source::{self, Source};
use crate::storage;

/// What was asked.
#[derive(Debug)]
pub(crate) struct Options {
    source: Source,
    json: bool,
}

/// The subcommand.
pub(crate) fn command() -> Command {
    let command = Command::new("audit")
        .about("Compare ledger and documents of a whole world; 0: clean, 1: findings, 2: could not be read")
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("print the report as JSON"));
    source::flags(source::archive_flag(command), true)
}

/// What the matches mean.
pub(crate) fn options(matches: &ArgMatches) -> Options {
    Options { source: source::read(matches), json: matches.get_flag("json") }
}

/// Audits and prints.
pub(crate) fn run(options: Options) -> Result<(), Failure> {
    let report = match options.source.http() {
        Some(url) => asked(url)?,
        None => source::run(read(&options.source))?,
    };
    let text = if options.json {
        serde_json::to_string_pretty(&report).map_err(Failure::setup)? + "\n"
    } else {
        report.table()
    };
    // A closed stdout leaves nobody to tell; the exit code still says it.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    match report.findings_total {
        0 => Ok(()),
        1 => Err(Failure::run("1 finding")),
        many => Err(Failure::run(format!("{many} findings"))),
    }
}

async fn read(source: &Source) -> Result<Report, Failure> {
    let opened = source.open().await?;
    let read = audit(&opened.store, opened.ledger.as_deref(), &opened.archives).await;
    storage::close(opened.store).await;
    read.map_err(Failure::setup)
}

fn asked(url: &str) -> Result<Report, Failure> {
    match source::ask(url, "/api/audit")? {
        (200, body) => serde_json::from_str(&body)
            .map_err(|error| Failure::setup(format!("--http {url}: not an audit's report: {error}"))),
        (_, why) => Err(Failure::setup(format!("--http {url}: {}", why.trim()))),
    }
}
