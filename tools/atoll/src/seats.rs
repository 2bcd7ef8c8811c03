//! The allocator that runs in this process, and what its reports mean: in `atoll allocator` and `atoll up`.

use std::sync::{Arc, OnceLock};

use population_allocator::core::{ClusterState, Standing};
use population_allocator::service::{AllocatorEnd, Report, StartError};
use tokio::sync::watch;

use crate::failure::Failure;

/// The allocator's reports, once there is one.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    newest: OnceLock<watch::Receiver<Arc<Report>>>,
}

impl Reports {
    /// Follows an allocator; only the first one counts.
    pub(crate) fn follow(&self, reports: watch::Receiver<Arc<Report>>) {
        self.newest.get_or_init(|| reports);
    }

    /// The newest report.
    pub(crate) fn newest(&self) -> Option<Arc<Report>> {
        self.newest.get().map(|reports| Arc::clone(&reports.borrow()))
    }

    /// What the allocator itself is at, as long as it doesn't serve.
    pub(crate) fn waits_for(&self) -> Option<String> {
        let Some(report) = self.newest() else { return Some("allocator: starting".to_owned()) };
        let at = match report.standing {
            Standing::Serving => return None,
            Standing::Starting => "registering, reading the plan, hearing the nodes",
            Standing::Unconfirmed => "the store has not confirmed it lately",
            Standing::Fenced => "a newer allocator took its place",
            Standing::Stopping => "stopping",
        };
        Some(format!("allocator: {at}"))
    }

    /// Why nobody gets a seat right now, if so.
    pub(crate) fn unready(&self) -> Option<String> {
        self.waits_for().or_else(|| {
            let report = self.newest()?;
            (!can_be_played(&report.state)).then(|| "no island has a live node".to_owned())
        })
    }
}

/// Whether there is an island that a live node serves.
fn can_be_played(state: &ClusterState) -> bool {
    let live = |id: &u32| state.nodes.iter().any(|node| node.id == *id && node.alive);
    state.islands.iter().any(|island| island.nodes.iter().any(live))
}

/// Whether the allocator sends players to this node.
pub(crate) fn is_used(state: &ClusterState, id: u32) -> bool {
    let planned = state.islands.iter().any(|island| island.nodes.contains(&id));
    planned && state.nodes.iter().any(|node| node.id == id && node.alive)
}

/// How the allocator ended, as an error: nobody gets a seat any more.
pub(crate) fn ended(end: AllocatorEnd) -> Failure {
    Failure::run(match end {
        AllocatorEnd::Stopped => "the allocator stopped by itself".to_owned(),
        AllocatorEnd::Fenced => "a newer allocator took this one's place".to_owned(),
        AllocatorEnd::Failed(why) => format!("the allocator failed: {why}"),
    })
}

/// Why the allocator couldn't be started: what the configuration names, or the world around.
pub(crate) fn refused(error: &StartError) -> Failure {
    match error {
        StartError::Config(_) | StartError::Door(_) | StartError::Mesh(_) => Failure::setup(error),
        StartError::World(_) | StartError::Minter(_) => Failure::run(error),
    }
}
