//! Raises the process's limit of open files (`RLIMIT_NOFILE`) to what a run needs.
//!
//! Called by every command that opens a socket per bot, before it opens the first. It never lowers a limit.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::OPEN_FILES_SPARE;

/// The machine doesn't allow as many open files as the run needs.
#[derive(Debug, thiserror::Error)]
#[error(
    "{connections} connections need {needed} open files per process, the hard limit is {hard}: \
     raise it (`ulimit -Hn {needed}` as root, or LimitNOFILE in the service) or ask for fewer bots"
)]
pub struct TooFewOpenFiles {
    /// Connections that were asked for.
    pub connections: u64,
    /// Open files that they need.
    pub needed: u64,
    /// The hard limit in force.
    pub hard: u64,
}

/// Makes room for `connections` sockets besides the process's own few files.
///
/// # Errors
/// When the hard limit is lower and may not be raised.
pub fn raise_for(connections: u64) -> Result<(), TooFewOpenFiles> {
    let needed = connections.saturating_add(OPEN_FILES_SPARE);
    let limit = getrlimit(Resource::Nofile);
    // `None` means unlimited.
    if limit.current.is_none_or(|soft| soft >= needed) {
        return Ok(());
    }
    // Only a privileged process may raise the hard limit too; the kernel decides.
    let maximum = limit.maximum.map(|hard| hard.max(needed));
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum }).map_err(|_| TooFewOpenFiles {
        connections,
        needed,
        hard: limit.maximum.unwrap_or(u64::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_and_never_taken_away() {
        let before = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        raise_for(1).expect("a socket more fits everywhere");
        let after = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        assert!(after >= before);
    }

    #[test]
    fn more_than_the_kernel_ever_allows_is_a_clear_error() {
        // fs.nr_open bounds even root, and is never near 2^60.
        let error = raise_for(1 << 60).expect_err("no kernel allows this");
        assert!(error.to_string().contains("hard limit is"), "{error}");
    }
}
