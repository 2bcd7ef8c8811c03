//! Laying things down and picking them up.

use super::{Actor, counted, effects, from_chunk, send_from_bag};
use crate::rules::effects::{Draft, Effects, Holder};
use crate::rules::items::{ItemKind, Items};
use crate::rules::limits::{CELLS_PER_CHUNK, REACH_QUANTA};
use crate::rules::names::{ActId, DocName};
use crate::rules::reject::RuleReject;
use crate::rules::transfer::{Back, Cargo, Goods};
use crate::rules::view::{ReadSet, View};
use chunk_sync::place::ChunkPos;

pub(super) fn drop_reads(actor: &Actor) -> ReadSet {
    ReadSet::default().doc(actor.own(), DocName::Bag)
}

pub(super) fn lay_down(
    actor: &Actor,
    item: ItemKind,
    count: u32,
    view: &View,
) -> Result<Effects, RuleReject> {
    if counted(count)? > item.spec().stack {
        return Err(RuleReject::BadCount);
    }
    if !actor.place.on_island() {
        return Err(RuleReject::BadGround);
    }
    let cargo = Cargo::Stack { cell: actor.place.cell(), item, count, place: actor.place };
    let to = actor.chunk(actor.place.chunk());
    send_from_bag(actor, view, to, &Items::of(item, count), 0, cargo)
}

pub(super) fn pick_up_reads(actor: &Actor, chunk: ChunkPos, cell: u8) -> ReadSet {
    let reads = ReadSet::default().doc(actor.own(), DocName::Bag);
    if usize::from(cell) >= CELLS_PER_CHUNK {
        return reads;
    }
    reads.doc(actor.chunk(chunk), DocName::Ground(cell))
}

pub(super) fn pick_up(
    actor: &Actor,
    (chunk, cell): (ChunkPos, u8),
    stack: ActId,
    count: u32,
    view: &View,
) -> Result<Effects, RuleReject> {
    if usize::from(cell) >= CELLS_PER_CHUNK {
        return Err(RuleReject::NotThere);
    }
    let mut draft = Draft::new(view, actor.chunk(chunk));
    let mut ground = draft.ground(cell)?;
    let lying = ground.stack(stack).filter(|lying| lying.count > 0).ok_or(RuleReject::NotThere)?;
    let reach = i64::from(REACH_QUANTA);
    if actor.place.distance_squared(lying.place) > reach * reach {
        return Err(RuleReject::TooFar);
    }
    lying.count = lying.count.checked_sub(counted(count)?).ok_or(RuleReject::BadCount)?;
    lying.held += count;
    let items = Items::of(lying.item, count);
    let goods = Goods::from(items.clone());
    Draft::new(view, actor.own()).bag()?.received(&goods, actor.tick)?;
    let id = from_chunk(actor, chunk)?;
    draft.put_ground(cell, ground);
    draft.moved(&items, Holder::Ground(actor.island, chunk), Holder::Transfer(id));
    draft.send(id, actor.own(), Cargo::Goods(goods), Back::Ground { cell, stack });
    Ok(effects(draft, Some(id)))
}
