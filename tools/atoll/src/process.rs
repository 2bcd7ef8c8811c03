//! The life of every role: start, say `ready`, serve until a signal or an end, close; each with a bound.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use crate::failure::Failure;
use crate::http::Observed;
use crate::limits::{CLOSE_WAIT, START_LOOK, START_SAY, START_WAIT};
use crate::signals::Signals;

/// Exit code after a second Ctrl-C, as shells report it.
const EXIT_INTERRUPTED: i32 = 130;

/// What a role does at each stage of its life. A stage may be left in the middle for the last one: `close` undoes
/// whatever there is by then.
pub(crate) trait Process {
    /// Starts everything; it need not serve yet.
    async fn start(&mut self) -> Result<(), Failure>;

    /// What shows how far it is.
    fn observed(&self) -> Arc<dyn Observed>;

    /// The line that tells scripts where it serves; asked for once it has started.
    fn ready_line(&self) -> String;

    /// Goes on until it can't.
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
    let (observed, line) = (process.observed(), process.ready_line());
    let say = async {
        match serving(observed.as_ref()).await {
            Ok(()) => {
                say_ready(&line);
                std::future::pending().await
            }
            Err(failure) => failure,
        }
    };
    tokio::select! {
        failure = process.serve() => failure,
        failure = say => failure,
    }
}

/// Waits until everything serves.
async fn serving(observed: &dyn Observed) -> Result<(), Failure> {
    let began = Instant::now();
    let mut look = tokio::time::interval(START_LOOK);
    let mut said = false;
    while let Some(waits_for) = observed.waits_for() {
        if began.elapsed() > START_WAIT {
            let secs = START_WAIT.as_secs();
            return Err(Failure::run(format!("doesn't serve after {secs} s; still waiting: {waits_for}")));
        }
        if !said && began.elapsed() > START_SAY {
            said = true;
            tracing::info!("still waiting: {waits_for}");
        }
        look.tick().await;
    }
    observed.note_ready();
    Ok(())
}

fn say_ready(line: &str) {
    let mut out = std::io::stdout().lock();
    // Whoever started it without a stdout reads the port some other way.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
