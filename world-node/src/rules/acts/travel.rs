//! Travelling: a durable placement on another island, or, of a guest, where it is a guest. The seat there is the
//! allocator's business.

use super::{Actor, effects};
use crate::rules::documents::{PlacementRecord, Record};
use crate::rules::effects::{Draft, Effects, Event};
use crate::rules::limits::TRAVEL_STAMINA;
use crate::rules::names::DocName;
use crate::rules::reject::RuleReject;
use crate::rules::view::{ReadSet, View};
use chunk_sync::ids::IslandId;

pub(super) fn reads(actor: &Actor) -> ReadSet {
    ReadSet::default().docs(actor.own(), [DocName::Bag, DocName::Placement])
}

pub(super) fn decide(actor: &Actor, island: IslandId, view: &View) -> Result<Effects, RuleReject> {
    if island == actor.island && island == actor.home {
        return Err(RuleReject::NoJourney);
    }
    let mut draft = Draft::new(view, actor.own());
    let before = draft.get::<PlacementRecord>(DocName::Placement)?;
    if before.is_some_and(|before| before.tick > actor.tick) {
        // A journey that was made later counts; this actor is behind it.
        return Err(RuleReject::NoJourney);
    }
    let mut bag = draft.bag()?;
    bag.stamina = bag.stamina.spend(TRAVEL_STAMINA, actor.tick).ok_or(RuleReject::Tired)?;
    draft.put_bag(actor.player, bag);
    let (tick, epoch) = (actor.tick, actor.epoch);
    // A guest's way home leads to where it was there, which is saved; who settles where it is a guest stands there already.
    if island != actor.home {
        let place = (island == actor.island).then_some(actor.place);
        let placement = PlacementRecord { v: PlacementRecord::VERSION, island, place, tick, epoch };
        draft.put(DocName::Placement, placement);
    }
    draft.event(Event::Travelled { player: actor.player, island });
    Ok(effects(draft, None))
}
