//! The `loadtest` binary: reads the command line, hands over to the library. It decides nothing itself.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    loadtest::cli::run(loadtest::cli::Cli::parse())
}
