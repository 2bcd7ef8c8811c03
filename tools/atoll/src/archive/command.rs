//! The subcommands `export` and `import`: flags, what is printed, exit codes (2 for what they can't use, 1 for what
//! failed on the way).

use std::io::Write;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command};

use super::export::{ExportError, Exported, export};
use super::format::Counts;
use super::import::{ImportError, Imported, import};
use crate::failure::Failure;
use crate::source::{self, Source};
use crate::storage;

/// What was asked.
#[derive(Debug)]
pub(crate) struct Options {
    source: Source,
    file: PathBuf,
    export: bool,
}

fn file() -> Arg {
    Arg::new("file").value_name("FILE").required(true).help("the world's file")
}

/// `atoll export`.
pub(crate) fn command_export() -> Command {
    let command = Command::new("export").about("Write a whole world into one file, as it is at one moment");
    source::flags(source::archive_flag(command.arg(file())), false)
}

/// `atoll import`.
pub(crate) fn command_import() -> Command {
    let command = Command::new("import").about("Write a file's world into an empty store");
    source::flags(command.arg(file()), false)
}

/// What the matches mean.
pub(crate) fn options(matches: &ArgMatches, export: bool) -> Options {
    let file = matches.get_one::<String>("file").map(PathBuf::from).unwrap_or_default();
    Options { source: source::read(matches), file, export }
}

/// Does it.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let text =
        if options.export { source::run(run_export(options))? } else { source::run(run_import(options))? };
    // A closed stdout leaves nobody to tell; the exit code still says it.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}

async fn run_export(options: &Options) -> Result<String, Failure> {
    let shown = options.file.display().to_string();
    if options.file.exists() {
        return Err(Failure::setup(format!("{shown} is there already")));
    }
    let opened = options.source.open().await?;
    let done = export(&opened.store, opened.ledger.as_deref(), &opened.archives, &options.file).await;
    storage::close(opened.store).await;
    match done {
        Ok(exported) => Ok(told(&shown, &exported)),
        Err(ExportError::Write(error)) => Err(Failure::setup(format!("{shown}: {error}"))),
        Err(error @ ExportError::Archive(_)) => Err(Failure::setup(error)),
        Err(error) => Err(Failure::run(error)),
    }
}

fn told(shown: &str, exported: &Exported) -> String {
    let Counts { partitions, residents, index_entries, ledger_entries, .. } = &exported.counts;
    let mut text = format!(
        "{shown}: {partitions} partitions, {residents} residents, {index_entries} index entries, {ledger_entries} \
         undrained ledger entries; {} bytes",
        exported.bytes
    );
    if let Some(each) = exported.bytes.checked_div(*residents) {
        text += &format!(", {each} a resident");
    }
    text.push('\n');
    if exported.live {
        text += "a cluster is at work on this store: this is how its world was at one moment, not at a barrier; \
                 what players do after it is not in the file\n";
    }
    if exported.pending > 0 {
        text += &format!(
            "{} transfers under way are in it; they end by themselves after an import\n",
            exported.pending
        );
    }
    for island in &exported.islands {
        text += &format!(
            "island {island} is suspended: its chunks are in it as the archive has them, open again\n"
        );
    }
    for wrong in &exported.wrong {
        text += &format!("warning: {wrong}\n");
    }
    text
}

async fn run_import(options: &Options) -> Result<String, Failure> {
    let shown = options.file.display().to_string();
    if !options.file.is_file() {
        return Err(Failure::setup(format!("there is no file {shown}")));
    }
    let Some(ledger) = options.source.ledger()? else {
        return Err(Failure::setup("the imported world's books are opened in files: give --ledger FOLDER"));
    };
    let opened = options.source.open_any().await?;
    let done = import(&opened.store, &ledger, &options.file).await;
    storage::close(opened.store).await;
    match done {
        Ok(Imported { about, counts }) => Ok(format!(
            "{shown}, written by version {}: {} partitions, {} residents, {} index entries; books opened in {}\n",
            about.program,
            counts.partitions,
            counts.residents,
            counts.index_entries,
            ledger.display()
        )),
        Err(error @ (ImportError::File(_) | ImportError::NotEmpty(_))) => {
            Err(Failure::setup(format!("{shown}: {error}")))
        }
        Err(error) => Err(Failure::run(format!("{shown}: {error}"))),
    }
}
