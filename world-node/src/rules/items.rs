//! Items: their kinds, and a count of each as bags, stacks, trades and transfers hold them.

use super::table::table;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What there is to know of a kind of item.
#[derive(Debug)]
pub struct ItemSpec {
    /// Largest count that fits one slot of a bag, or one stack on the ground.
    pub stack: u32,
}

const fn item(stack: u32) -> ItemSpec {
    ItemSpec { stack }
}

table! {
    /// A kind of item.
    ItemKind: ItemSpec {
        /// From trees.
        Wood = "wood" => item(50);
        /// From rocks.
        Stone = "stone" => item(50);
        /// From reeds.
        Fibre = "fibre" => item(100);
        /// From bushes.
        Berry = "berry" => item(20);
        /// Twisted fibre.
        Rope = "rope" => item(20);
        /// Split wood.
        Plank = "plank" => item(50);
        /// Breaks rocks; needed, not used up.
        Pick = "pick" => item(1);
        /// Claims land once it stands.
        Totem = "totem" => item(1);
    }
}

/// Items without places: a count of each kind, none of them zero.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(from = "BTreeMap<ItemKind, u32>", into = "BTreeMap<ItemKind, u32>")]
pub struct Items(BTreeMap<ItemKind, u32>);

impl From<BTreeMap<ItemKind, u32>> for Items {
    fn from(mut counts: BTreeMap<ItemKind, u32>) -> Self {
        counts.retain(|_, count| *count > 0);
        Self(counts)
    }
}

impl From<Items> for BTreeMap<ItemKind, u32> {
    fn from(items: Items) -> Self {
        items.0
    }
}

impl From<&[(ItemKind, u32)]> for Items {
    fn from(rows: &[(ItemKind, u32)]) -> Self {
        let mut items = Items::default();
        rows.iter().for_each(|(kind, count)| items.add(*kind, *count));
        items
    }
}

impl Items {
    /// `count` of one kind.
    pub fn of(kind: ItemKind, count: u32) -> Self {
        Self::from(&[(kind, count)][..])
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many of a kind there are.
    pub fn count(&self, kind: ItemKind) -> u32 {
        self.0.get(&kind).copied().unwrap_or(0)
    }

    /// Kinds and counts, in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = (ItemKind, u32)> {
        self.0.iter().map(|(kind, count)| (*kind, *count))
    }

    /// Number of kinds.
    pub fn kinds(&self) -> usize {
        self.0.len()
    }

    /// Adds `count` of a kind.
    pub fn add(&mut self, kind: ItemKind, count: u32) {
        if count > 0 {
            let held = self.0.entry(kind).or_default();
            // Everything that is held came through a bag, which holds far less.
            *held = held.checked_add(count).expect("fewer than 2^32 of a kind in one place");
        }
    }

    /// Adds everything of `others`.
    pub fn add_all(&mut self, others: &Items) {
        others.iter().for_each(|(kind, count)| self.add(kind, count));
    }

    /// Whether everything of `others` is here.
    pub fn has(&self, others: &Items) -> bool {
        others.iter().all(|(kind, count)| self.count(kind) >= count)
    }

    /// Of each kind at most as many as `others` has.
    pub fn capped(self, others: &Items) -> Items {
        let counts = self.iter().map(|(kind, count)| (kind, count.min(others.count(kind))));
        Items::from(counts.collect::<BTreeMap<_, _>>())
    }

    /// Takes everything of `others` out, or nothing and answers false.
    #[must_use]
    pub fn take(&mut self, others: &Items) -> bool {
        if !self.has(others) {
            return false;
        }
        for (kind, count) in others.iter() {
            let left = self.count(kind) - count;
            if left == 0 {
                self.0.remove(&kind);
            } else {
                self.0.insert(kind, left);
            }
        }
        true
    }

    /// Slots that these and `others` would fill together.
    pub fn slots_with(&self, others: &[&Items]) -> u64 {
        ItemKind::ALL
            .iter()
            .map(|kind| {
                let counts = others.iter().map(|items| u64::from(items.count(*kind)));
                let count = u64::from(self.count(*kind)) + counts.sum::<u64>();
                count.div_ceil(u64::from(kind.spec().stack))
            })
            .sum()
    }
}

const _: () = {
    let mut row = 0;
    while row < ItemKind::ALL.len() {
        assert!(ItemKind::ALL[row].spec().stack > 0);
        row += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_count_begun_stacks_of_everything_together() {
        let wood = Items::of(ItemKind::Wood, 30);
        assert_eq!(wood.slots_with(&[]), 1);
        assert_eq!(wood.slots_with(&[&wood]), 2);
        assert_eq!(wood.slots_with(&[&Items::of(ItemKind::Wood, 20)]), 1);
        assert_eq!(wood.slots_with(&[&Items::of(ItemKind::Pick, 3)]), 4);
    }

    #[test]
    fn taking_is_all_or_nothing_and_leaves_no_zeros() {
        let mut items = Items::from(&[(ItemKind::Wood, 5), (ItemKind::Rope, 1)][..]);
        assert!(!items.take(&Items::from(&[(ItemKind::Wood, 1), (ItemKind::Rope, 2)][..])));
        assert_eq!(items.count(ItemKind::Wood), 5);
        assert!(items.take(&Items::of(ItemKind::Wood, 5)));
        assert_eq!(items, Items::of(ItemKind::Rope, 1));
    }
}
