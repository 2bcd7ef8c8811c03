//! Raises the process's soft limit of open files (`RLIMIT_NOFILE`) to its hard one: each client is an open file, and
//! most systems start processes with room for a thousand. Called once, before anything is opened; never lowers it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Takes as much room as the system allows.
pub(crate) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    // `None` means unlimited.
    let Some(soft) = limit.current else { return };
    if limit.maximum.is_some_and(|hard| hard <= soft) {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, soft, "the limit of open files stays as it is");
    }
}
