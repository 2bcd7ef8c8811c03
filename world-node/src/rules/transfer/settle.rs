//! The second step: the partition that a transfer goes to decides on it, once.

use super::{Cargo, Decision, FENCE_READS, Fence, Goods, Transfer};
use crate::rules::documents::{EstateRecord, GroundStack, Record, TradeRecord, TradeState};
use crate::rules::effects::{CommitSet, Draft, Event, Holder};
use crate::rules::ground;
use crate::rules::items::Items;
use crate::rules::limits::GROUND_STACKS_PER_CELL_MAX;
use crate::rules::names::{ActId, DocName, Partition, Sender, TransferId};
use crate::rules::reject::RuleReject;
use crate::rules::site::Site;
use crate::rules::view::View;
use crate::rules::works::{Raised, begin, drop_estate};
use chunk_sync::ids::PlayerId;
use chunk_sync::time::Tick;
use std::collections::BTreeSet;

/// What settling comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Settled {
    /// Commit this, then look again.
    Commit(CommitSet),
    /// It is decided.
    Decided(Decision),
    /// The partition has begun and waits for transfers of its own; they are in its pending documents.
    Waiting,
    /// A decision was forgotten since the fence was read, perhaps this one: begin again with the fence.
    Stale,
}

/// Documents that [`settle`] wants of `transfer.to`.
pub fn settle_reads(id: TransferId, transfer: &Transfer) -> BTreeSet<DocName> {
    let mut docs = BTreeSet::from([DocName::In(id)]);
    docs.extend(FENCE_READS);
    let cells = |site: &Site| match transfer.to.chunk_pos() {
        Some(chunk) => site.cells_in(chunk).into_iter().map(DocName::Cell).collect(),
        None => Vec::new(),
    };
    match &transfer.cargo {
        Cargo::Goods(_) => docs.extend([DocName::Bag]),
        Cargo::Stack { cell, .. } => docs.extend([DocName::Ground(*cell)]),
        Cargo::Site { site } => {
            docs.extend([DocName::Structure(site.id), DocName::Estate]);
            docs.extend(cells(site));
        }
        Cargo::Reserve { site, .. } | Cargo::Release { site } => {
            docs.extend([DocName::Estate]);
            docs.extend(cells(site));
        }
        Cargo::Estate { .. } => docs.extend([DocName::Estate]),
        Cargo::Offer { .. } | Cargo::Payment { .. } => docs.extend([DocName::Trade]),
    }
    docs
}

/// Decides on a transfer that was seen pending after `before` was read; `view` has the documents of `transfer.to`.
///
/// # Errors
/// `Unread` when something that was declared wasn't loaded. `Foreign` when the transfer, or a decision under its name,
/// came from elsewhere than the name says; then nothing is changed.
pub fn settle(
    view: &View,
    id: TransferId,
    transfer: &Transfer,
    before: Fence,
    now: Tick,
) -> Result<Settled, RuleReject> {
    let mut draft = Draft::new(view, transfer.to);
    let decision = draft.get::<Decision>(DocName::In(id))?;
    if transfer.from != id.sent_by() {
        return Err(RuleReject::Foreign);
    }
    if let Some(decision) = decision {
        return if decision.is_on(id) { Ok(Settled::Decided(decision)) } else { Err(RuleReject::Foreign) };
    }
    // Read through the draft, so that the commit rests on it: a decision that is forgotten between now and then
    // spoils the commit.
    if Fence::of(draft.get(DocName::Forgets)?) != before {
        return Ok(Settled::Stale);
    }
    let refused = match take_in(&mut draft, id, transfer, now) {
        Ok(Raised::Standing) => None,
        Ok(Raised::Raising) => {
            let set = draft.done();
            return Ok(if set.writes.is_empty() { Settled::Waiting } else { Settled::Commit(set) });
        }
        Err(RuleReject::Unread) => return Err(RuleReject::Unread),
        Err(why) => {
            draft.undo();
            Some(why)
        }
    };
    draft.put(DocName::In(id), Decision { v: Decision::VERSION, from: transfer.from, refused });
    Ok(Settled::Commit(draft.done()))
}

/// Takes the cargo in. Everything but a site over several chunks is in at once.
fn take_in(
    draft: &mut Draft<'_>,
    id: TransferId,
    transfer: &Transfer,
    now: Tick,
) -> Result<Raised, RuleReject> {
    let (to, from) = (transfer.to, transfer.from);
    match (&transfer.cargo, to) {
        (Cargo::Site { site }, Partition::Chunk(..)) => return begin(draft, site),
        (Cargo::Goods(goods), Partition::Player(player)) => receive(draft, id, player, goods, now)?,
        (Cargo::Stack { cell, item, count, place }, Partition::Chunk(island, chunk)) => {
            let stack = GroundStack { id: id.act, item: *item, count: *count, held: 0, place: *place };
            lay_down(draft, *cell, stack)?;
            draft.moved(&transfer.items(), Holder::Transfer(id), Holder::Ground(island, chunk));
        }
        (Cargo::Reserve { site, on }, Partition::Chunk(..)) => reserve(draft, site, *on)?,
        (Cargo::Release { site }, Partition::Chunk(_, chunk)) => {
            ground::free(draft, site, chunk)?;
            drop_estate(draft, site)?;
            draft.event(Event::Gone { structure: site.id });
        }
        (Cargo::Estate { copy }, Partition::Chunk(..)) => replace_copy(draft, copy)?,
        (Cargo::Offer { to, give, want }, Partition::Trade(trade)) => {
            let Partition::Player(offerer) = from else { return Err(RuleReject::NoPartner) };
            open_trade(draft, trade, TradeRecord::open(offerer, *to, give.clone(), want.clone()))?;
            draft.moved(give, Holder::Transfer(id), Holder::Trade(trade));
        }
        (Cargo::Payment { items }, Partition::Trade(trade)) => {
            let Partition::Player(payer) = from else { return Err(RuleReject::NoPartner) };
            draft.moved(items, Holder::Transfer(id), Holder::Trade(trade));
            take_payment(draft, trade, payer, items)?;
        }
        // A cargo at the wrong door: nobody sends one, and it goes back to where it came from.
        _ => return Err(RuleReject::NotThere),
    }
    Ok(Raised::Standing)
}

fn receive(
    draft: &mut Draft<'_>,
    id: TransferId,
    player: PlayerId,
    goods: &Goods,
    now: Tick,
) -> Result<(), RuleReject> {
    let bag = draft.bag()?.received(goods, now)?;
    draft.put_bag(player, bag);
    draft.moved(&goods.items, Holder::Transfer(id), Holder::Player(player));
    Ok(())
}

fn lay_down(draft: &mut Draft<'_>, cell: u8, stack: GroundStack) -> Result<(), RuleReject> {
    let mut ground = draft.ground(cell)?;
    if ground.stacks.len() >= GROUND_STACKS_PER_CELL_MAX {
        return Err(RuleReject::TooMany);
    }
    ground.stacks.push(stack);
    draft.put_ground(cell, ground);
    Ok(())
}

fn reserve(draft: &mut Draft<'_>, site: &Site, on: Option<ActId>) -> Result<(), RuleReject> {
    let chunk = draft.partition().chunk_pos().ok_or(RuleReject::NotThere)?;
    let estate = ground::may_take(draft, site, chunk)?;
    if estate.map(|estate| estate.id) != on {
        return Err(RuleReject::Border);
    }
    ground::take(draft, site, chunk)?;
    if site.kind.spec().claims {
        let copy = EstateRecord::claimed_by(site);
        draft.event(Event::Estate { estate: copy.id, version: copy.version });
        draft.put(DocName::Estate, copy);
    }
    draft.event(Event::Raising { site: site.clone() });
    Ok(())
}

/// Writes an estate's copy, unless the chunk has the same or a newer one.
fn replace_copy(draft: &mut Draft<'_>, copy: &EstateRecord) -> Result<(), RuleReject> {
    let current = draft.estate()?.filter(|current| current.id == copy.id).ok_or(RuleReject::NotThere)?;
    if current.version < copy.version {
        draft.put(DocName::Estate, copy.clone());
        draft.event(Event::Estate { estate: copy.id, version: copy.version });
    }
    Ok(())
}

fn open_trade(draft: &mut Draft<'_>, id: ActId, trade: TradeRecord) -> Result<(), RuleReject> {
    if draft.get::<TradeRecord>(DocName::Trade)?.is_some() {
        return Err(RuleReject::TradeClosed);
    }
    draft.put_trade(id, trade);
    Ok(())
}

fn take_payment(draft: &mut Draft<'_>, id: ActId, payer: PlayerId, items: &Items) -> Result<(), RuleReject> {
    let trade = draft.get::<TradeRecord>(DocName::Trade)?;
    let open =
        trade.filter(|trade| trade.state == TradeState::Open && trade.to == payer && trade.want == *items);
    let mut trade = open.ok_or(RuleReject::TradeClosed)?;
    trade.state = TradeState::Done;
    let (from, give, want) = (trade.from, trade.give.clone(), trade.want.clone());
    trade.owe(payer, &give);
    trade.owe(from, &want);
    pay_out(draft, id, &mut trade, payer);
    pay_out(draft, id, &mut trade, from);
    draft.put_trade(id, trade);
    Ok(())
}

/// Sends a player what a closed trade owes.
pub(in crate::rules) fn pay_out(draft: &mut Draft<'_>, id: ActId, trade: &mut TradeRecord, player: PlayerId) {
    let Some(items) = trade.take_owed(player) else { return };
    let step = TransferId { act: id, sender: Sender::Trade, step: trade.steps };
    trade.steps += 1;
    trade.sending += 1;
    draft.moved(&items, Holder::Trade(id), Holder::Transfer(step));
    draft.send(step, Partition::Player(player), Cargo::Goods(items.into()), super::Back::Trade { player });
}
