//! The document of a trade's partition: two escrows and one decision.

use super::Record;
use crate::rules::items::Items;
use chunk_sync::ids::PlayerId;
use serde::{Deserialize, Serialize};

/// A trade between two players.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TradeRecord {
    /// Schema version.
    pub v: u16,
    /// Who offers.
    pub from: PlayerId,
    /// To whom.
    pub to: PlayerId,
    /// What is offered; it is in here from the start.
    pub give: Items,
    /// What is wanted for it.
    pub want: Items,
    /// How far it is.
    pub state: TradeState,
    /// What a closed trade still holds for either of them.
    pub owed: Vec<Owed>,
    /// Transfers that left here and are not cleared.
    pub sending: u32,
    /// Number of the next transfer.
    pub steps: u32,
}

/// How far a trade is. It leaves `Open` once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TradeState {
    /// It can be accepted or cancelled.
    Open,
    /// Both sides paid.
    Done,
    /// It was called off.
    Cancelled,
}

/// What a trade holds for a player whose bag had no room.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Owed {
    /// The player.
    pub player: PlayerId,
    /// The items.
    pub items: Items,
}

impl TradeRecord {
    /// An open trade.
    pub fn open(from: PlayerId, to: PlayerId, give: Items, want: Items) -> Self {
        let (state, owed) = (TradeState::Open, Vec::new());
        Self { v: Self::VERSION, from, to, give, want, state, owed, sending: 0, steps: 1 }
    }

    /// Notes that a player is owed more.
    pub fn owe(&mut self, player: PlayerId, items: &Items) {
        if items.is_empty() {
            return;
        }
        match self.owed.iter_mut().find(|owed| owed.player == player) {
            Some(owed) => owed.items.add_all(items),
            None => self.owed.push(Owed { player, items: items.clone() }),
        }
    }

    /// Takes out what a player is owed.
    pub fn take_owed(&mut self, player: PlayerId) -> Option<Items> {
        let at = self.owed.iter().position(|owed| owed.player == player)?;
        Some(self.owed.remove(at).items)
    }

    /// Whether nothing is left to do.
    pub fn is_over(&self) -> bool {
        self.state != TradeState::Open && self.owed.is_empty() && self.sending == 0
    }

    /// Items that are in here: the escrow of an open trade, what a closed one owes.
    pub fn holds(&self) -> Items {
        let mut items = Items::default();
        if self.state == TradeState::Open {
            items.add_all(&self.give);
        }
        self.owed.iter().for_each(|owed| items.add_all(&owed.items));
        items
    }
}
