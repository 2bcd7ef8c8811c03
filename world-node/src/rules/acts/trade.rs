//! Trading: an offer brings its escrow into a partition of its own, where accepting and calling off meet and one of
//! them wins.

use super::bag::{give_reads, is_near};
use super::{Actor, counted, effects, send_from_bag};
use crate::rules::documents::{TradeRecord, TradeState};
use crate::rules::effects::{Draft, Effects};
use crate::rules::items::Items;
use crate::rules::limits::{OFFER_STAMINA, TRADE_KINDS_MAX};
use crate::rules::names::{ActId, DocName, Partition};
use crate::rules::reject::RuleReject;
use crate::rules::transfer::{Cargo, pay_out};
use crate::rules::view::{ReadSet, View};
use chunk_sync::ids::PlayerId;

pub(super) fn offer(
    actor: &Actor,
    to: PlayerId,
    give: &Items,
    want: &Items,
    view: &View,
) -> Result<Effects, RuleReject> {
    is_near(actor, to, view)?;
    // An open trade always holds something of its offerer's, so there are never more than bags could fill.
    if give.is_empty() || give.kinds().max(want.kinds()) > TRADE_KINDS_MAX {
        return Err(RuleReject::BadCount);
    }
    give.iter().chain(want.iter()).try_for_each(|(_, count)| counted(count).map(|_| ()))?;
    let cargo = Cargo::Offer { to, give: give.clone(), want: want.clone() };
    send_from_bag(actor, view, Partition::Trade(actor.act), give, OFFER_STAMINA, cargo)
}

pub(super) fn reads(trade: ActId) -> ReadSet {
    ReadSet::default().doc(Partition::Trade(trade), DocName::Trade)
}

pub(super) fn accept_reads(actor: &Actor, trade: ActId) -> ReadSet {
    give_reads(actor, trade.player).doc(Partition::Trade(trade), DocName::Trade)
}

pub(super) fn accept(actor: &Actor, id: ActId, view: &View) -> Result<Effects, RuleReject> {
    let trade = view.get::<TradeRecord>(Partition::Trade(id), DocName::Trade)?;
    let open = trade.filter(|trade| trade.state == TradeState::Open && trade.to == actor.player);
    let trade = open.ok_or(RuleReject::TradeClosed)?;
    is_near(actor, trade.from, view)?;
    let cargo = Cargo::Payment { items: trade.want.clone() };
    send_from_bag(actor, view, Partition::Trade(id), &trade.want, 0, cargo)
}

/// Either of the two may call an open trade off.
pub(super) fn cancel(actor: &Actor, id: ActId, view: &View) -> Result<Effects, RuleReject> {
    let mut draft = Draft::new(view, Partition::Trade(id));
    let trade = draft.get::<TradeRecord>(DocName::Trade)?;
    let open = trade
        .filter(|trade| trade.state == TradeState::Open && [trade.from, trade.to].contains(&actor.player));
    let mut trade = open.ok_or(RuleReject::TradeClosed)?;
    let (from, give) = (trade.from, trade.give.clone());
    trade.state = TradeState::Cancelled;
    trade.owe(from, &give);
    pay_out(&mut draft, id, &mut trade, from);
    draft.put_trade(id, trade);
    Ok(effects(draft, None))
}

pub(super) fn collect(actor: &Actor, id: ActId, view: &View) -> Result<Effects, RuleReject> {
    let mut draft = Draft::new(view, Partition::Trade(id));
    let mut trade = draft.get::<TradeRecord>(DocName::Trade)?.ok_or(RuleReject::TradeClosed)?;
    if trade.owed.iter().all(|owed| owed.player != actor.player) {
        return Err(RuleReject::NotThere);
    }
    pay_out(&mut draft, id, &mut trade, actor.player);
    draft.put_trade(id, trade);
    Ok(effects(draft, None))
}
