//! How a command fails: what the caller can set right, and what went wrong while it ran. `main` turns one into
//! lines and an exit code; nobody prints a `Debug` form or a backtrace.

/// Exit code of what fails at run time.
const EXIT_RUN: u8 = 1;
/// Exit code of a configuration that can't be used here (clap uses the same).
const EXIT_SETUP: u8 = 2;

/// Why a command failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The configuration, or what it names, can't be used: everything that is wrong, a line each.
    Setup(Vec<String>),
    /// It started, and couldn't go on.
    Run(String),
}

impl Failure {
    /// One thing that is wrong with the configuration.
    pub(crate) fn setup(line: impl ToString) -> Self {
        Self::Setup(vec![line.to_string()])
    }

    /// What went wrong.
    pub(crate) fn run(line: impl ToString) -> Self {
        Self::Run(line.to_string())
    }

    /// What the user is told, a line each.
    pub(crate) fn lines(&self) -> &[String] {
        match self {
            Self::Setup(lines) => lines,
            Self::Run(line) => std::slice::from_ref(line),
        }
    }

    /// The process's exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Setup(_) => EXIT_SETUP,
            Self::Run(_) => EXIT_RUN,
        }
    }
}
