//! Permissions on an estate: a new version, which goes to every chunk of it.

use super::{Actor, effects};
use crate::rules::documents::{EstateRecord, Right, StructureState};
use crate::rules::effects::{Draft, Effects};
use crate::rules::limits::ESTATE_PERMISSIONS_MAX;
use crate::rules::names::{ActId, DocName};
use crate::rules::reject::RuleReject;
use crate::rules::view::{ReadSet, View};
use crate::rules::works::change_estate;
use chunk_sync::ids::PlayerId;
use chunk_sync::place::ChunkPos;

pub(super) fn reads(actor: &Actor, chunk: ChunkPos, estate: ActId) -> ReadSet {
    ReadSet::default().docs(actor.chunk(chunk), [DocName::Estate, DocName::Structure(estate)])
}

/// The owner must stand on the estate. Without rights, the player may do nothing any more.
pub(super) fn decide(
    actor: &Actor,
    chunk: ChunkPos,
    estate: ActId,
    (player, rights): (PlayerId, &[Right]),
    view: &View,
) -> Result<Effects, RuleReject> {
    let mut draft = Draft::new(view, actor.chunk(chunk));
    let here = |found: &EstateRecord| found.id == estate && found.home == chunk;
    let mut current = draft.estate()?.filter(here).ok_or(RuleReject::NotThere)?;
    if current.owner != actor.player || player == current.owner {
        return Err(RuleReject::NotYours);
    }
    let stands_on = actor.place.chunk();
    if stands_on != current.home && !current.others.contains(&stands_on) {
        return Err(RuleReject::TooFar);
    }
    let totem = draft.structure(estate)?.ok_or(RuleReject::NotThere)?;
    if totem.state != StructureState::Standing {
        return Err(RuleReject::Busy);
    }
    let known = current.permissions.iter().any(|permission| permission.player == player);
    if !known && rights.is_empty() {
        return Err(RuleReject::NotThere);
    }
    if !known && current.permissions.len() >= ESTATE_PERMISSIONS_MAX {
        return Err(RuleReject::TooMany);
    }
    let running = !current.behind.is_empty();
    current.permit(player, rights);
    change_estate(&mut draft, totem, current, running)?;
    Ok(effects(draft, None))
}
