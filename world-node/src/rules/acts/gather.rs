//! Gathering: units leave a resource, goods go to the bag; one that is full sends them back to grow on.

use super::{Actor, effects, from_chunk};
use crate::rules::documents::{ResourceRecord, Right};
use crate::rules::effects::{Draft, Effects, Holder};
use crate::rules::items::Items;
use crate::rules::limits::REACH_QUANTA;
use crate::rules::names::DocName;
use crate::rules::reject::RuleReject;
use crate::rules::resources::Units;
use crate::rules::site::TilePos;
use crate::rules::transfer::{Back, Cargo, Goods, write_units};
use crate::rules::view::{ReadSet, View};
use chunk_sync::place::ChunkPos;

pub(super) fn reads(actor: &Actor, chunk: ChunkPos, tile: u8) -> ReadSet {
    let home = actor.chunk(chunk);
    ReadSet::default()
        .docs(home, [DocName::Resource(tile), DocName::Estate])
        .doc(actor.own(), DocName::Bag)
        .land(home)
}

pub(super) fn decide(actor: &Actor, chunk: ChunkPos, tile: u8, view: &View) -> Result<Effects, RuleReject> {
    let home = actor.chunk(chunk);
    chunk.index().ok_or(RuleReject::NotThere)?;
    let kind = view.land_of(home)?.growth(tile).ok_or(RuleReject::NotThere)?.kind;
    if !TilePos::in_chunk(chunk, tile).reached_from((1, 1), actor.place, REACH_QUANTA) {
        return Err(RuleReject::TooFar);
    }
    let mut draft = Draft::new(view, home);
    if draft.estate()?.is_some_and(|estate| !estate.allows(actor.player, Right::Gather)) {
        return Err(RuleReject::Forbidden);
    }
    let spec = kind.spec();
    let whole = Units { left: spec.units_max, at: actor.tick };
    let units = draft.get::<ResourceRecord>(DocName::Resource(tile))?.map_or(whole, |record| record.units());
    let count = spec.units_per_act.min(units.now(kind, actor.tick));
    if count == 0 {
        return Err(RuleReject::Exhausted);
    }
    let items = Items::of(spec.item, count);
    let goods = Goods { items: items.clone(), stamina: spec.stamina, tool: spec.tool };
    // Asked early, for a quick no; the bag decides when the goods arrive.
    Draft::new(view, actor.own()).bag()?.received(&goods, actor.tick)?;
    let left = units.changed(kind, -i64::from(count), actor.tick).ok_or(RuleReject::Exhausted)?;
    write_units(&mut draft, tile, kind, left, actor.tick);
    let id = from_chunk(actor, chunk)?;
    draft.moved(&items, Holder::Nobody, Holder::Transfer(id));
    draft.send(id, actor.own(), Cargo::Goods(goods), Back::Resource { tile, kind });
    Ok(effects(draft, Some(id)))
}
