//! The command line of `loadtest`: one variant of [`Command`] per thing it can run.
//!
//! Called by `main`. It maps how a command ended to an exit code and never measures anything itself. To add
//! a command: a variant with its `Args`, an arm in [`dispatch`], a `From` for its error in [`Failure`].

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{launch, null, sim, swarm};

/// Exit code of a run that measured, but failed on the way.
const EXIT_FAILED: u8 = 1;
/// Exit code of bad arguments or a setting that this machine can't satisfy (clap uses the same).
const EXIT_BAD_INPUT: u8 = 2;
/// Exit code after Ctrl-C or SIGTERM, as shells report it.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Load generators and baselines for Atoll.
#[derive(Debug, Parser)]
#[command(name = "loadtest", version, about)]
pub struct Cli {
    /// What to run.
    #[command(subcommand)]
    pub command: Command,
}

/// What `loadtest` can run.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The null server with its own clients: the floor that every CPU figure is a ratio of.
    Null(null::NullArgs),
    /// Thousands of bots in one process: they enter, walk, check every frame and measure how soon steps are seen.
    Swarm(swarm::SwarmArgs),
    /// A whole cluster in one thread, from a seed: real cores, simulated network, store, faults and time.
    Sim(sim::SimArgs),
    /// A launch day in virtual time: policies that open islands and let players in, side by side.
    Launch(launch::LaunchArgs),
    /// The server half of `null`, started by it as a process of its own.
    #[command(hide = true)]
    NullServer(null::ServerArgs),
}

/// How a command that didn't fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It ran to its end.
    Done,
    /// Ctrl-C or SIGTERM ended it early, cleanly.
    Interrupted,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The null server or its clients.
    #[error(transparent)]
    Null(#[from] null::NullError),
    /// The swarm.
    #[error(transparent)]
    Swarm(#[from] swarm::SwarmError),
    /// The simulation.
    #[error(transparent)]
    Sim(#[from] sim::SimError),
    /// The launch day.
    #[error(transparent)]
    Launch(#[from] launch::LaunchError),
}

impl Failure {
    /// Whether the caller can fix it by other arguments or a roomier machine.
    fn is_bad_input(&self) -> bool {
        match self {
            Self::Null(error) => error.is_bad_input(),
            Self::Swarm(error) => error.is_bad_input(),
            Self::Sim(error) => error.is_bad_input(),
            Self::Launch(error) => error.is_bad_input(),
        }
    }
}

/// Runs the command and says how it ended; errors go to stderr in one line.
pub fn run(cli: Cli) -> ExitCode {
    match dispatch(cli.command) {
        Ok(Ending::Done) => ExitCode::SUCCESS,
        Ok(Ending::Interrupted) => ExitCode::from(EXIT_INTERRUPTED),
        Err(failure) => {
            // A closed stderr leaves nobody to tell; the exit code still says it.
            let _ = writeln!(std::io::stderr(), "error: {failure}");
            ExitCode::from(if failure.is_bad_input() { EXIT_BAD_INPUT } else { EXIT_FAILED })
        }
    }
}

fn dispatch(command: Command) -> Result<Ending, Failure> {
    match command {
        Command::Null(args) => Ok(null::run(&args)?),
        Command::Swarm(args) => Ok(swarm::run(&args)?),
        Command::Sim(args) => Ok(sim::run(&args)?),
        Command::Launch(args) => Ok(launch::run(&args)?),
        Command::NullServer(args) => {
            null::serve(&args)?;
            Ok(Ending::Done)
        }
    }
}
