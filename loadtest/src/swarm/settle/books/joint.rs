//! Acts of unknown outcome that touch several bags: a gift is in both bags or in neither. Pure; asked by the check.

use super::{Books, Change};
use crate::swarm::limits::UNKNOWN_ACTS_SHARED_MAX;
use std::collections::{BTreeMap, BTreeSet};
use world_node::rules::ActId;
use world_node::rules::items::Items;

/// What an act may have changed, by bot.
type Shared<'a> = BTreeMap<usize, &'a Change>;

impl Books {
    /// Groups of bots whose bags no choice of the acts that they share explains; bags that nobody sees, and groups that
    /// share too many acts, are left out.
    pub(in crate::swarm::settle) fn torn(&self, bags: &BTreeMap<usize, Items>) -> Vec<BTreeSet<usize>> {
        let known = |bot: &usize| !self.accounts[*bot].lost_count && self.accounts[*bot].start.is_some();
        let mut acts: BTreeMap<ActId, Shared<'_>> = BTreeMap::new();
        for bot in bags.keys().copied().filter(known) {
            for (id, change) in &self.accounts[bot].unknown {
                acts.entry(*id).or_default().insert(bot, change);
            }
        }
        let groups = groups(acts.values());
        groups.into_iter().filter(|group| !self.explains(group, bags, &acts)).collect()
    }

    fn explains(
        &self,
        group: &BTreeSet<usize>,
        bags: &BTreeMap<usize, Items>,
        acts: &BTreeMap<ActId, Shared<'_>>,
    ) -> bool {
        let of_group = |shared: &&Shared<'_>| shared.keys().any(|bot| group.contains(bot));
        let acts: Vec<&Shared<'_>> = acts.values().filter(of_group).collect();
        let left = group.iter().map(|bot| (*bot, self.accounts[*bot].left(&bags[bot])));
        acts.len() > UNKNOWN_ACTS_SHARED_MAX || tried(&mut left.collect(), &acts)
    }
}

/// Bots that are bound to each other by acts that touch more than one of them.
fn groups<'a>(acts: impl Iterator<Item = &'a Shared<'a>>) -> Vec<BTreeSet<usize>> {
    let mut groups: Vec<BTreeSet<usize>> = Vec::new();
    for shared in acts.filter(|shared| shared.len() > 1) {
        let bots: BTreeSet<usize> = shared.keys().copied().collect();
        let (bound, apart) =
            groups.into_iter().partition(|group: &BTreeSet<usize>| !group.is_disjoint(&bots));
        groups = apart;
        groups.push(bound.into_iter().fold(bots, |all: BTreeSet<usize>, more: BTreeSet<usize>| &all | &more));
    }
    groups
}

/// Whether some of `acts`, each whole or not at all, come to what is left of all bags.
fn tried(left: &mut BTreeMap<usize, Change>, acts: &[&Shared<'_>]) -> bool {
    let Some((first, rest)) = acts.split_first() else {
        return left.values().flat_map(|change| change.values()).all(|count| *count == 0);
    };
    if tried(left, rest) {
        return true;
    }
    book(left, first, -1);
    let found = tried(left, rest);
    book(left, first, 1);
    found
}

fn book(left: &mut BTreeMap<usize, Change>, act: &Shared<'_>, sign: i64) {
    for (bot, change) in act {
        let Some(of_bot) = left.get_mut(bot) else { continue };
        change.iter().for_each(|(kind, count)| *of_bot.entry(*kind).or_default() += sign * count);
    }
}
