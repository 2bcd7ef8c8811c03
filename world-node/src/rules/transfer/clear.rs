//! The third step: the partition that a transfer left takes the decision in, and the pending document goes.

use super::{Back, Decision, Transfer};
use crate::rules::documents::{ResourceRecord, StructureState, TradeRecord};
use crate::rules::effects::{CommitSet, Draft, Event, Holder};
use crate::rules::items::Items;
use crate::rules::names::{ActId, DocName, Partition, TransferId};
use crate::rules::reject::RuleReject;
use crate::rules::resources::{ResourceKind, Units};
use crate::rules::site::Site;
use crate::rules::view::View;
use crate::rules::works;
use chunk_sync::ids::PlayerId;
use chunk_sync::time::Tick;
use std::collections::BTreeSet;

/// What clearing comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cleared {
    /// Commit this; then it is cleared.
    Commit(CommitSet),
    /// It was cleared before.
    Already,
}

/// Documents that [`clear`] wants of `transfer.from`.
pub fn clear_reads(id: TransferId, transfer: &Transfer) -> BTreeSet<DocName> {
    let mut docs = BTreeSet::from([DocName::Out(id)]);
    let anchor = |site: &Site| {
        let cells = site.cells_in(site.anchor()).into_iter().map(DocName::Cell);
        cells.chain([DocName::Structure(site.id), DocName::Estate]).collect::<Vec<_>>()
    };
    match &transfer.back {
        Back::Bag { .. } => docs.extend([DocName::Bag]),
        Back::Resource { tile, .. } => docs.extend([DocName::Resource(*tile)]),
        Back::Ground { cell, .. } => docs.extend([DocName::Ground(*cell)]),
        Back::Demolish { site } | Back::Raise { site } => docs.extend(anchor(site)),
        Back::Fall { site } => docs.extend([DocName::Structure(site.id)]),
        Back::Spread { estate, .. } => docs.extend([DocName::Structure(*estate), DocName::Estate]),
        Back::Trade { .. } => docs.extend([DocName::Trade]),
    }
    docs
}

/// Clears a transfer that `from` sent and that was decided; `view` has the documents of `from`.
///
/// # Errors
/// `Unread` when something that was declared wasn't loaded. `Foreign` when the decision is on what another partition
/// sent, or `from` isn't who the name says; then nothing is changed.
pub fn clear(
    view: &View,
    id: TransferId,
    from: Partition,
    decision: &Decision,
    now: Tick,
) -> Result<Cleared, RuleReject> {
    if from != id.sent_by() || !decision.is_on(id) {
        return Err(RuleReject::Foreign);
    }
    let mut draft = Draft::new(view, from);
    let Some(transfer) = draft.get::<Transfer>(DocName::Out(id))? else { return Ok(Cleared::Already) };
    draft.remove(DocName::Out(id));
    let refused = decision.refused;
    let items = transfer.items();
    match (&transfer.back, from) {
        (Back::Bag { stamina }, Partition::Player(player)) => {
            let stamina = refused.map(|_| *stamina);
            open_bag(&mut draft, id, player, &items, stamina, now)?;
        }
        (Back::Resource { tile, kind }, _) if refused.is_some() => {
            grow_on(&mut draft, *tile, *kind, &items, now)?;
            draft.moved(&items, Holder::Transfer(id), Holder::Nobody);
        }
        (Back::Resource { .. }, _) => {}
        (Back::Ground { cell, stack }, Partition::Chunk(island, chunk)) => {
            put_back(&mut draft, *cell, *stack, &items, refused.is_some())?;
            if refused.is_some() {
                draft.moved(&items, Holder::Transfer(id), Holder::Ground(island, chunk));
            }
        }
        (Back::Demolish { site }, _) => demolished(&mut draft, id, site, &items, refused.is_some())?,
        (Back::Raise { site }, _) => works::answered(&mut draft, site, refused)?,
        (Back::Fall { site }, _) => works::told(&mut draft, site)?,
        (Back::Spread { estate, chunk, version }, _) => {
            works::spread(&mut draft, *estate, *chunk, *version)?;
        }
        (Back::Trade { player }, Partition::Trade(trade)) => {
            paid_out(&mut draft, trade, *player, &items, refused.is_some())?;
            if refused.is_some() {
                draft.moved(&items, Holder::Transfer(id), Holder::Trade(trade));
            }
        }
        // No such partition sends this.
        (Back::Bag { .. } | Back::Ground { .. } | Back::Trade { .. }, _) => return Err(RuleReject::Unread),
    }
    if id.step == 0 {
        draft.event(Event::Ended { act: id.act, refused });
    }
    Ok(Cleared::Commit(draft.done()))
}

/// The kept room becomes free; with `back`, the items and that much stamina come back into it.
fn open_bag(
    draft: &mut Draft<'_>,
    id: TransferId,
    player: PlayerId,
    items: &Items,
    back: Option<u32>,
    now: Tick,
) -> Result<(), RuleReject> {
    let mut bag = draft.bag()?;
    if !bag.held.take(items) {
        return Err(RuleReject::Unread);
    }
    if let Some(stamina) = back {
        bag.items.add_all(items);
        bag.stamina = bag.stamina.give_back(stamina, now);
        draft.moved(items, Holder::Transfer(id), Holder::Player(player));
    }
    draft.put_bag(player, bag);
    Ok(())
}

fn grow_on(
    draft: &mut Draft<'_>,
    tile: u8,
    kind: ResourceKind,
    items: &Items,
    now: Tick,
) -> Result<(), RuleReject> {
    let name = DocName::Resource(tile);
    // Without a document it has grown back meanwhile; what comes back changes nothing.
    let Some(record) = draft.get::<ResourceRecord>(name)? else { return Ok(()) };
    let back = i64::from(items.count(kind.spec().item));
    let units = record.units().changed(kind, back, now).ok_or(RuleReject::Unread)?;
    write_units(draft, tile, kind, units, now);
    Ok(())
}

/// Writes a resource; one that is whole needs no document.
pub(in crate::rules) fn write_units(
    draft: &mut Draft<'_>,
    tile: u8,
    kind: ResourceKind,
    units: Units,
    now: Tick,
) {
    let name = DocName::Resource(tile);
    if units.now(kind, now) == kind.spec().units_max {
        draft.remove(name);
    } else {
        draft.put(name, ResourceRecord::from(units));
    }
    draft.event(Event::Resource { tile, left: units.left, at: units.at });
}

fn put_back(
    draft: &mut Draft<'_>,
    cell: u8,
    id: ActId,
    items: &Items,
    refused: bool,
) -> Result<(), RuleReject> {
    let mut ground = draft.ground(cell)?;
    let stack = ground.stack(id).ok_or(RuleReject::Unread)?;
    let count = items.count(stack.item);
    stack.held = stack.held.checked_sub(count).ok_or(RuleReject::Unread)?;
    if refused {
        stack.count += count;
    }
    draft.put_ground(cell, ground);
    Ok(())
}

fn demolished(
    draft: &mut Draft<'_>,
    id: TransferId,
    site: &Site,
    items: &Items,
    refused: bool,
) -> Result<(), RuleReject> {
    let mut record = draft.structure(site.id)?.ok_or(RuleReject::Unread)?;
    if refused {
        record.state = StructureState::Standing;
        draft.put(DocName::Structure(site.id), record);
        draft.event(Event::Standing { site: site.clone() });
        draft.moved(items, Holder::Transfer(id), Holder::structure(site));
        return Ok(());
    }
    let mut used_up = site.paid.clone();
    if !used_up.take(items) {
        return Err(RuleReject::Unread);
    }
    draft.moved(&used_up, Holder::structure(site), Holder::Nobody);
    works::fall(draft, record, site.others())
}

fn paid_out(
    draft: &mut Draft<'_>,
    id: ActId,
    player: PlayerId,
    items: &Items,
    refused: bool,
) -> Result<(), RuleReject> {
    let mut trade = draft.get::<TradeRecord>(DocName::Trade)?.ok_or(RuleReject::Unread)?;
    trade.sending = trade.sending.checked_sub(1).ok_or(RuleReject::Unread)?;
    if refused {
        trade.owe(player, items);
    }
    draft.put_trade(id, trade);
    Ok(())
}
