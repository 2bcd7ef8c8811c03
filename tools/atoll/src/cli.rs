//! The command line, made from the table of keys. Values stay texts here: they are parsed together with those of
//! the environment and the file, so that all faults are told at once.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command};

use crate::archive;
use crate::audit;
use crate::config::keys::{Role, keys_of};
use crate::inspect;
use crate::islands;
use crate::play;

/// What the user asked for.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// Run a role with these flags and this configuration file.
    Run(Role, BTreeMap<String, String>, Option<PathBuf>),
    /// Walk about in the world.
    Play(play::Options),
    /// Export or import a world.
    Archive(archive::Options),
    /// Suspend or resume an island.
    Island(islands::Options),
    /// Audit a world.
    Audit(audit::command::Options),
    /// Look at what the store has.
    Inspect(inspect::Options),
    /// Print the configuration.
    Config,
}

/// The command line as clap knows it.
pub(crate) fn command() -> Command {
    let about = |role| match role {
        Role::Up => "Run a whole cluster in this process: allocator, nodes, store, page",
        Role::Allocator => "Run an allocator as a process of its own, on a shared store",
        Role::Node => "Run a world node as a process of its own, on a shared store",
    };
    let subcommand = |role: Role| {
        let command = Command::new(role.name()).about(about(role)).arg(config_arg());
        keys_of(role).fold(command, |command, key| {
            let text = match (&key.default, key.unit) {
                (Some(default), "") => format!("{} [default: {default}]", key.meaning),
                (Some(default), unit) => format!("{} [default: {default} {unit}]", key.meaning),
                (None, _) => key.meaning.to_owned(),
            };
            let help = format!("{text} [env: {}]", key.variable());
            let arg = Arg::new(key.name).long(key.name).value_name(key.shape).help(help);
            command.arg(arg.allow_hyphen_values(true))
        })
    };
    Command::new("atoll")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A server cluster for sandbox MMOs: a world of islands, served by any number of nodes")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(Role::ALL.map(subcommand))
        .subcommand(play::command())
        .subcommand(audit::command::command())
        .subcommand(inspect::command())
        .subcommand(archive::command_export())
        .subcommand(archive::command_import())
        .subcommand(islands::command_suspend())
        .subcommand(islands::command_resume())
        .subcommand(Command::new("config").about("Print every configuration key: default, unit, meaning"))
}

fn config_arg() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("FILE")
        .help("configuration file; `atoll config` prints one [env: ATOLL_CONFIG]")
}

/// What the matches mean.
pub(crate) fn wanted(matches: &ArgMatches) -> Wanted {
    if let Some(("play", rest)) = matches.subcommand() {
        return Wanted::Play(play::options(rest));
    }
    match matches.subcommand() {
        Some(("audit", rest)) => return Wanted::Audit(audit::command::options(rest)),
        Some((name @ ("export" | "import"), rest)) => {
            return Wanted::Archive(archive::options(rest, name == "export"));
        }
        Some((name @ ("suspend" | "resume"), rest)) => {
            return Wanted::Island(islands::options(rest, name == "suspend"));
        }
        Some(("inspect", rest)) => return Wanted::Inspect(inspect::options(rest)),
        _ => {}
    }
    let role = |name: &str| Role::ALL.into_iter().find(|role| role.name() == name);
    let Some((role, matches)) = matches.subcommand().and_then(|(name, rest)| Some((role(name)?, rest)))
    else {
        return Wanted::Config;
    };
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let flags = keys_of(role).filter_map(|key| Some((key.name.to_owned(), text(key.name)?))).collect();
    Wanted::Run(role, flags, text("config").map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn flags_are_kept_as_they_were_written() {
        let matches = command().get_matches_from(["atoll", "up", "--port-base", "-1", "--nodes", "many"]);
        let Wanted::Run(Role::Up, flags, None) = wanted(&matches) else { panic!("{matches:?}") };
        let expected = [("nodes", "many"), ("port-base", "-1")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(flags, expected.into());
    }
}
