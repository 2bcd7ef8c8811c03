//! How many players wait before a number: a tree of counts over the numbers. Used by a lane's line only.
//!
//! A leaf holds the sizes of the parties of 64 consecutive numbers, a node above it the sums of 64 leaves, and so on;
//! each level is an ordered map, in which only what isn't empty exists. So a number costs what its level costs, at
//! any distance from the others: nothing is ever moved, rebased or compacted, however many in between are gone.

use super::QueueNumber;
use std::collections::BTreeMap;

const BITS: u32 = 6;
const FAN: usize = 1 << BITS;
/// Levels above the leaves. All of them span 2³⁶ numbers; the few nodes of the last are walked through.
const LEVELS: usize = 5;

/// Sizes of waiting parties by number, with their sums.
#[derive(Debug, Default)]
pub(super) struct Ranks {
    leaves: BTreeMap<u64, [u8; FAN]>,
    levels: [BTreeMap<u64, [u32; FAN]>; LEVELS],
    total: u64,
}

impl Ranks {
    /// Players in all.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The size of the party with this number; 0 if it isn't here.
    pub(super) fn size(&self, number: QueueNumber) -> usize {
        let leaf = self.leaves.get(&(number.0 >> BITS));
        leaf.map_or(0, |sizes| usize::from(sizes[slot(number.0)]))
    }

    /// Players with numbers before this one.
    pub(super) fn before(&self, number: QueueNumber) -> u64 {
        let mut at = number.0;
        let leaf = self.leaves.get(&(at >> BITS));
        let mut sum = leaf.map_or(0, |sizes| sizes[..slot(at)].iter().map(|size| u32::from(*size)).sum());
        for level in &self.levels {
            at >>= BITS;
            sum += level.get(&(at >> BITS)).map_or(0, |counts| counts[..slot(at)].iter().sum());
        }
        let older = self.levels[LEVELS - 1].range(..at >> BITS);
        u64::from(sum + older.map(|(_, counts)| counts.iter().sum::<u32>()).sum::<u32>())
    }

    /// The number's party has more players.
    pub(super) fn add(&mut self, number: QueueNumber, players: u8) {
        let mut at = number.0;
        self.leaves.entry(at >> BITS).or_insert([0; FAN])[slot(at)] += players;
        for level in &mut self.levels {
            at >>= BITS;
            level.entry(at >> BITS).or_insert([0; FAN])[slot(at)] += u32::from(players);
        }
        self.total += u64::from(players);
    }

    /// The number's party has fewer players, or none. It must have had so many.
    pub(super) fn subtract(&mut self, number: QueueNumber, players: u8) {
        let mut at = number.0;
        if let Some(sizes) = self.leaves.get_mut(&(at >> BITS)) {
            sizes[slot(at)] -= players;
            if *sizes == [0; FAN] {
                self.leaves.remove(&(at >> BITS));
            }
        }
        for level in &mut self.levels {
            at >>= BITS;
            if let Some(counts) = level.get_mut(&(at >> BITS)) {
                counts[slot(at)] -= u32::from(players);
                if *counts == [0; FAN] {
                    level.remove(&(at >> BITS));
                }
            }
        }
        self.total -= u64::from(players);
    }

    /// What must hold after every step: each count is the sum of what is below it, and nothing is empty.
    ///
    /// # Panics
    /// When it doesn't.
    pub(super) fn invariants(&self) {
        let mut sums: BTreeMap<u64, u32> =
            self.leaves.iter().map(|(key, sizes)| (*key, total(sizes))).collect();
        for level in &self.levels {
            let mut above: BTreeMap<u64, u32> = BTreeMap::new();
            let counted = level.values().flatten().filter(|count| **count > 0).count();
            assert_eq!(counted, sums.len(), "a count without its node");
            for (key, sum) in sums {
                assert!(sum > 0, "node {key} is empty");
                assert_eq!(level[&(key >> BITS)][slot(key)], sum, "count of node {key}");
                *above.entry(key >> BITS).or_default() += sum;
            }
            sums = above;
        }
        assert_eq!(sums.values().map(|sum| u64::from(*sum)).sum::<u64>(), self.total, "players in all");
    }
}

fn slot(at: u64) -> usize {
    at as usize & (FAN - 1)
}

fn total(sizes: &[u8; FAN]) -> u32 {
    sizes.iter().map(|size| u32::from(*size)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chunk_sync::random::{RngExt, stream};

    #[test]
    fn counts_are_those_of_a_list_at_any_distance() {
        for seed in 0..40 {
            let mut draw = stream(seed, "ranks");
            let (mut ranks, mut list, mut next) = (Ranks::default(), BTreeMap::new(), 1u64);
            for _ in 0..600 {
                if draw.random_bool(0.6) || list.is_empty() {
                    // Mostly one after the other, at times far beyond everything that any level spans.
                    next += if draw.random_bool(0.9) { 1 } else { 1 << draw.random_range(0..40) };
                    let size = draw.random_range(1..=8);
                    ranks.add(QueueNumber(next), size);
                    list.insert(next, size);
                } else {
                    let nth = draw.random_range(0..list.len());
                    let number = *list.keys().nth(nth).unwrap();
                    let size = list[&number];
                    let fewer = draw.random_range(1..=size);
                    ranks.subtract(QueueNumber(number), fewer);
                    list.insert(number, size - fewer);
                    list.retain(|_, size| *size > 0);
                }
                let asked = draw.random_range(0..=next + 1);
                let before: u64 = list.range(..asked).map(|(_, size)| u64::from(*size)).sum();
                assert_eq!(ranks.before(QueueNumber(asked)), before, "seed {seed}");
                let size = list.get(&asked).copied().unwrap_or(0);
                assert_eq!(ranks.size(QueueNumber(asked)), usize::from(size), "seed {seed}");
                ranks.invariants();
            }
        }
    }
}
