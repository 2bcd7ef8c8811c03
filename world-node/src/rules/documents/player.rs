//! Documents of a player's partition.

use super::Record;
use crate::rules::items::Items;
use crate::rules::limits::BAG_SLOTS;
use crate::rules::reject::RuleReject;
use crate::rules::stamina::Stamina;
use crate::rules::transfer::Goods;
use chunk_sync::records::decode;
use chunk_sync::time::Tick;
use serde::{Deserialize, Serialize};

/// What a player carries. A player without this document is new: an empty bag, rested.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BagRecord {
    /// Schema version.
    pub v: u16,
    /// What is in it.
    pub items: Items,
    /// What was sent off and is not cleared. It isn't the player's any more, but its room is kept, so that it can
    /// come back.
    pub held: Items,
    /// The player's stamina.
    pub stamina: Stamina,
}

impl Default for BagRecord {
    fn default() -> Self {
        Self { v: Self::VERSION, items: Items::default(), held: Items::default(), stamina: Stamina::RESTED }
    }
}

impl BagRecord {
    /// Slots in use.
    pub fn slots(&self) -> u64 {
        self.items.slots_with(&[&self.held])
    }

    /// Whether `more` fits beside everything that is in it or may come back.
    pub fn fits(&self, more: &Items) -> bool {
        self.items.slots_with(&[&self.held, more]) <= BAG_SLOTS
    }

    /// The bag after an act's goods came in and its stamina was spent at `now`.
    ///
    /// # Errors
    /// `NoTool`, `Tired` or `BagFull`.
    pub fn received(&self, goods: &Goods, now: Tick) -> Result<Self, RuleReject> {
        if goods.tool.is_some_and(|tool| self.items.count(tool) == 0) {
            return Err(RuleReject::NoTool);
        }
        let stamina = self.stamina.spend(goods.stamina, now).ok_or(RuleReject::Tired)?;
        if !self.fits(&goods.items) {
            return Err(RuleReject::BagFull);
        }
        let mut bag = Self { stamina, ..self.clone() };
        bag.items.add_all(&goods.items);
        Ok(bag)
    }

    /// Takes `items` out and keeps their room; false, and nothing happens, if they are not all there.
    #[must_use]
    pub fn send(&mut self, items: &Items) -> bool {
        let sent = self.items.take(items);
        if sent {
            self.held.add_all(items);
        }
        sent
    }
}

/// Version 1 had neither stamina nor held items.
#[derive(Deserialize)]
struct BagRecord1 {
    items: Items,
}

/// Reads the older versions of a bag.
pub(super) fn older_bag(v: u16, bytes: &[u8]) -> Option<BagRecord> {
    match v {
        1 => decode(bytes).map(|BagRecord1 { items }| BagRecord { items, ..BagRecord::default() }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::items::ItemKind;

    #[test]
    fn what_was_sent_off_keeps_its_room() {
        let mut bag = BagRecord::default();
        bag.items.add(ItemKind::Pick, BAG_SLOTS as u32);
        assert!(!bag.fits(&Items::of(ItemKind::Wood, 1)));
        assert!(bag.send(&Items::of(ItemKind::Pick, 1)));
        assert!(!bag.send(&Items::of(ItemKind::Pick, BAG_SLOTS as u32)));
        assert!(!bag.fits(&Items::of(ItemKind::Wood, 1)), "it may come back");
        assert_eq!(bag.slots(), BAG_SLOTS);
    }
}
