//! Crafting and giving: rules that begin in the actor's bag.

use super::{Actor, counted, effects, send_from_bag};
use crate::rules::effects::{Draft, Effects, Holder};
use crate::rules::items::{ItemKind, Items};
use crate::rules::limits::HAND_OVER_QUANTA;
use crate::rules::names::{DocName, Partition};
use crate::rules::recipes::Recipe;
use crate::rules::reject::RuleReject;
use crate::rules::transfer::Cargo;
use crate::rules::view::{ReadSet, View};
use chunk_sync::ids::PlayerId;

pub(super) fn craft_reads(actor: &Actor) -> ReadSet {
    ReadSet::default().doc(actor.own(), DocName::Bag)
}

/// Crafting stays in one bag: no transfer.
pub(super) fn craft(actor: &Actor, recipe: Recipe, view: &View) -> Result<Effects, RuleReject> {
    let spec = recipe.spec();
    let (needs, gives) = (Items::from(spec.needs), Items::from(spec.gives));
    let mut draft = Draft::new(view, actor.own());
    let mut bag = draft.bag()?;
    bag.stamina = bag.stamina.spend(spec.stamina, actor.tick).ok_or(RuleReject::Tired)?;
    if !bag.items.take(&needs) {
        return Err(RuleReject::Lacking);
    }
    if !bag.fits(&gives) {
        return Err(RuleReject::BagFull);
    }
    bag.items.add_all(&gives);
    draft.put_bag(actor.player, bag);
    draft.moved(&needs, Holder::Player(actor.player), Holder::Nobody);
    draft.moved(&gives, Holder::Nobody, Holder::Player(actor.player));
    Ok(effects(draft, None))
}

pub(super) fn give_reads(actor: &Actor, to: PlayerId) -> ReadSet {
    craft_reads(actor).player(to)
}

/// Whether another player stands near enough to hand something over.
pub(super) fn is_near(actor: &Actor, other: PlayerId, view: &View) -> Result<(), RuleReject> {
    let reach = i64::from(HAND_OVER_QUANTA);
    let place = view.place_of(other).filter(|_| other != actor.player);
    match place {
        Some(place) if actor.place.distance_squared(place) <= reach * reach => Ok(()),
        Some(_) => Err(RuleReject::TooFar),
        None => Err(RuleReject::NoPartner),
    }
}

pub(super) fn give(
    actor: &Actor,
    to: PlayerId,
    item: ItemKind,
    count: u32,
    view: &View,
) -> Result<Effects, RuleReject> {
    is_near(actor, to, view)?;
    let items = Items::of(item, counted(count)?);
    let cargo = Cargo::Goods(items.clone().into());
    send_from_bag(actor, view, Partition::Player(to), &items, 0, cargo)
}
