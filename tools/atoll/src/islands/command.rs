//! The subcommands `suspend` and `resume`: flags, what is printed, exit codes (2 for what can't be done as things are,
//! 1 for what failed on the way).

use std::io::Write;
use std::time::Instant;

use chunk_sync::ids::IslandId;
use clap::{Arg, ArgMatches, Command, value_parser};

use super::resume::{Resumed, resume};
use super::suspend::{Suspended, suspend};
use super::{Archives, IslandError};
use crate::failure::Failure;
use crate::source::{self, Source};
use crate::storage;

/// What was asked.
#[derive(Debug)]
pub(crate) struct Options {
    source: Source,
    island: IslandId,
    suspend: bool,
}

fn island() -> Arg {
    let island = Arg::new("island").value_name("ISLAND").required(true).help("the island's number");
    island.value_parser(value_parser!(u32))
}

/// `atoll suspend`.
pub(crate) fn command_suspend() -> Command {
    let command =
        Command::new("suspend").about("Put an island that nobody needs into a file, out of the store");
    source::flags(source::archive_flag(command.arg(island())), false)
}

/// `atoll resume`.
pub(crate) fn command_resume() -> Command {
    let command = Command::new("resume").about("Put a suspended island back into the store");
    source::flags(source::archive_flag(command.arg(island())), false)
}

/// What the matches mean.
pub(crate) fn options(matches: &ArgMatches, suspend: bool) -> Options {
    let island = matches.get_one::<u32>("island").copied().unwrap_or_default();
    Options { source: source::read(matches), island: IslandId(island), suspend }
}

/// Does it.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let text = source::run(done(options))?;
    // A closed stdout leaves nobody to tell; the exit code still says it.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}

async fn done(options: &Options) -> Result<String, Failure> {
    let opened = options.source.open().await?;
    let began = Instant::now();
    let archives: &Archives = &opened.archives;
    let done = match options.suspend {
        true => {
            suspend(&opened.store, options.island, archives).await.map(|done| told(options.island, &done))
        }
        false => {
            resume(&opened.store, options.island, archives).await.map(|done| back(options.island, &done))
        }
    };
    let took_ms = began.elapsed().as_millis();
    storage::close(opened.store).await;
    match done {
        Ok(text) => Ok(format!("{text}took {took_ms} ms\n")),
        Err(error) => Err(failure(&error)),
    }
}

pub(super) fn failure(error: &IslandError) -> Failure {
    match error {
        IslandError::Unread(_) | IslandError::Store(_) => Failure::run(error),
        IslandError::Refused(_)
        | IslandError::Archive(_)
        | IslandError::Damaged(_)
        | IslandError::Stuck(_) => Failure::setup(error),
    }
}

fn told(island: IslandId, done: &Suspended) -> String {
    let mut text = format!(
        "island {} is suspended{}: {}\n{} chunks, {} structures, {} residents\n{} bytes in the store before, {} bytes in \
         the archive, {} bytes of marks left",
        island.0,
        if done.finished { " (an earlier try had begun it)" } else { "" },
        done.path.display(),
        done.partitions,
        done.structures,
        done.residents,
        done.bytes,
        done.archive_bytes,
        done.mark_bytes,
    );
    if let (Some(archived), Some(left)) =
        (done.archive_bytes.checked_div(done.residents), done.mark_bytes.checked_div(done.residents))
    {
        text += &format!("; {archived} bytes archived and {left} left for each resident");
    }
    text + "\n"
}

fn back(island: IslandId, done: &Resumed) -> String {
    let kept = match done.kept {
        0 => String::new(),
        kept => format!(", {kept} were there"),
    };
    format!(
        "island {} is back: {} chunks written{kept}\nits archive is now {} and may be deleted\n",
        island.0,
        done.written,
        done.path.display()
    )
}
