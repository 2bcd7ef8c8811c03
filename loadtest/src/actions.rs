//! Names of actions, for whoever counts them: the swarm and the simulation.

use world_node::rules::Action;

/// The name of an action, as it travels.
pub(crate) fn name_of(action: &Action) -> &'static str {
    match action {
        Action::Gather { .. } => "gather",
        Action::Craft { .. } => "craft",
        Action::Build { .. } => "build",
        Action::Demolish { .. } => "demolish",
        Action::ClaimEstate { .. } => "claim_estate",
        Action::Permit { .. } => "permit",
        Action::Revoke { .. } => "revoke",
        Action::Drop { .. } => "drop",
        Action::PickUp { .. } => "pick_up",
        Action::Give { .. } => "give",
        Action::Offer { .. } => "offer",
        Action::Accept { .. } => "accept",
        Action::Cancel { .. } => "cancel",
        Action::Collect { .. } => "collect",
        Action::Travel { .. } => "travel",
    }
}
