//! Ctrl-C and SIGTERM as a flag that the measuring commands look at between steps.
//!
//! Commands call [`watch`] once at their start. It never ends the process on the first signal; a second
//! one does at once, for a run that hangs.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::cli::EXIT_INTERRUPTED;

/// A flag that the first SIGINT or SIGTERM sets; the second ends the process with exit code 130.
///
/// # Errors
/// When the kernel refuses the handlers.
pub fn watch() -> io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the shutdown looks at the flag before this signal has set it.
        flag::register_conditional_shutdown(signal, EXIT_INTERRUPTED.into(), Arc::clone(&interrupted))?;
        flag::register(signal, Arc::clone(&interrupted))?;
    }
    Ok(interrupted)
}
