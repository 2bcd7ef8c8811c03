//! The life of every role: start, say `ready`, serve until a signal or an end, close; each with a bound.

use std::io::Write;
use std::time::Instant;

use crate::failure::Failure;
use crate::limits::{CLOSE_WAIT, START_LOOK, START_SAY, START_WAIT};
use crate::signals::Signals;

/// Exit code after a second Ctrl-C, as shells report it.
const EXIT_INTERRUPTED: i32 = 130;

/// What a role does at each stage of its life. A stage may be left in the middle for the next one: `close` undoes
/// whatever there is by then.
pub(crate) trait Process {
    /// Starts everything; it need not serve yet.
    async fn start(&mut self) -> Result<(), Failure>;

    /// What it still waits for before it serves all that it was started for.
    fn waits_for(&self) -> Option<String>;

    /// The line that tells scripts where it serves.
    fn ready_line(&self) -> String;

    /// Serves until it can't go on.
    async fn serve(&mut self) -> Failure;

    /// Ends everything that was started, telling those whom it concerns.
    async fn close(&mut self);
}

/// Lives through all stages.
pub(crate) async fn live(mut process: impl Process) -> Result<(), Failure> {
    let cannot = |error| Failure::run(format!("can't listen for signals: {error}"));
    let mut signals = Signals::take().map_err(cannot)?;
    let served = tokio::select! {
        biased;
        signal = signals.next() => {
            tracing::info!("{signal}: closing; once more ends at once");
            Ok(())
        }
        failure = run(&mut process) => Err(failure),
    };
    let closed = tokio::select! {
        () = process.close() => Ok(()),
        signal = signals.next() => {
            tracing::warn!("{signal} again: ending at once");
            std::process::exit(EXIT_INTERRUPTED)
        }
        () = tokio::time::sleep(CLOSE_WAIT) => {
            Err(Failure::run(format!("closing took longer than {} s; ended all the same", CLOSE_WAIT.as_secs())))
        }
    };
    served.and(closed)
}

async fn run(process: &mut impl Process) -> Failure {
    if let Err(failure) = process.start().await {
        return failure;
    }
    tokio::select! {
        failure = process.serve() => return failure,
        // `serve` is polled on from here once it is known that everything serves.
        else => {}
    }
    Failure::run("unreachable")
}
