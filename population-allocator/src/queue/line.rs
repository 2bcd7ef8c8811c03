//! Who waits in one lane, in order. Used by the queue only.

use super::passing::Passing;
use super::ranks::Ranks;
use super::rates::Rates;
use super::{Party, QueueNumber};
use crate::limits::PARTY_MAX;
use chunk_sync::ids::PlayerId;
use std::collections::BTreeMap;

/// A party that waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Waiter {
    pub(super) party: Party,
    pub(super) joined_ms: u64,
    /// When its place ends, unless it returns.
    pub(super) due_ms: u64,
}

/// One lane's parties, by size and within a size by number: the oldest that fits is the oldest of one of few sizes.
#[derive(Debug, Default)]
pub(super) struct Line {
    by_size: [BTreeMap<QueueNumber, Waiter>; PARTY_MAX],
    ranks: Ranks,
    pub(super) passing: Option<Passing>,
    pub(super) rates: Rates,
}

impl Line {
    /// Nobody.
    pub(super) fn new(now_ms: u64) -> Self {
        Self { rates: Rates::new(now_ms), ..Self::default() }
    }

    /// Players in all.
    pub(super) fn players(&self) -> u64 {
        self.ranks.total()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.players() == 0
    }

    pub(super) fn has(&self, number: QueueNumber) -> bool {
        self.ranks.size(number) > 0
    }

    /// Players before the number.
    pub(super) fn before(&self, number: QueueNumber) -> u64 {
        self.ranks.before(number)
    }

    pub(super) fn get(&self, number: QueueNumber) -> Option<&Waiter> {
        self.by_size[self.ranks.size(number).checked_sub(1)?].get(&number)
    }

    pub(super) fn get_mut(&mut self, number: QueueNumber) -> Option<&mut Waiter> {
        self.by_size[self.ranks.size(number).checked_sub(1)?].get_mut(&number)
    }

    pub(super) fn add(&mut self, number: QueueNumber, waiter: Waiter) {
        self.ranks.add(number, waiter.party.seats());
        self.by_size[waiter.party.len() - 1].insert(number, waiter);
    }

    pub(super) fn remove(&mut self, number: QueueNumber) -> Option<Waiter> {
        let waiter = self.by_size[self.ranks.size(number).checked_sub(1)?].remove(&number)?;
        self.ranks.subtract(number, waiter.party.seats());
        if self.passing.is_some_and(|passing| passing.head == number) {
            self.passing = None;
        }
        if self.is_empty() {
            self.rates.emptied();
        }
        Some(waiter)
    }

    /// One of a party of several leaves it; the others keep the place. Whether there was such a party.
    pub(super) fn shrink(&mut self, number: QueueNumber, player: PlayerId) -> bool {
        let size = self.ranks.size(number);
        let left = self.get(number).and_then(|waiter| waiter.party.without(player));
        let Some(left) = left.filter(|left| left.len() < size) else { return false };
        if let Some(waiter) = self.by_size[size - 1].remove(&number) {
            self.by_size[left.len() - 1].insert(number, Waiter { party: left, ..waiter });
            self.ranks.subtract(number, 1);
        }
        true
    }

    /// The oldest party.
    fn head(&self) -> Option<QueueNumber> {
        self.oldest().into_iter().flatten().map(|(number, _)| number).min()
    }

    /// The oldest of each size, with the size.
    fn oldest(&self) -> [Option<(QueueNumber, usize)>; PARTY_MAX] {
        std::array::from_fn(|at| self.by_size[at].first_key_value().map(|(number, _)| (*number, at + 1)))
    }

    /// For how many players the lane is held.
    pub(super) fn held_for(&self) -> Option<usize> {
        let passing = self.passing.filter(|passing| passing.hold_until_ms.is_some())?;
        Some(self.ranks.size(passing.head))
    }

    /// The party to admit now, if there is one: the oldest that fits, as far as it may pass older ones.
    pub(super) fn choose(&mut self, now_ms: u64, mut fits: impl FnMut(usize) -> bool) -> Option<QueueNumber> {
        let mut oldest = self.oldest();
        oldest.sort_unstable_by_key(|party| party.map_or(QueueNumber(u64::MAX), |(number, _)| number));
        let mut oldest = oldest.into_iter().flatten();
        let (head, size) = oldest.next()?;
        if fits(size) {
            return Some(head);
        }
        let mut passing = self.passing.unwrap_or(Passing::new(head, now_ms));
        let may_pass = !passing.holds(now_ms);
        let chosen = if may_pass { oldest.find(|(_, size)| fits(*size)) } else { None };
        let chosen = chosen.filter(|(_, size)| passing.pass(*size, now_ms));
        self.passing = Some(passing).filter(Passing::is_noted);
        chosen.map(|(number, _)| number)
    }

    /// At most `max` parties from the number on, those of each size in order.
    pub(super) fn from(
        &self,
        number: QueueNumber,
        max: usize,
    ) -> impl Iterator<Item = (QueueNumber, &Waiter)> {
        self.by_size.iter().flat_map(move |parties| parties.range(number..).take(max)).map(|(n, w)| (*n, w))
    }

    /// What must hold after every step.
    ///
    /// # Panics
    /// When it doesn't.
    pub(super) fn invariants(&self) {
        self.ranks.invariants();
        let mut players = 0;
        for (at, parties) in self.by_size.iter().enumerate() {
            for (number, waiter) in parties {
                assert_eq!(waiter.party.len(), at + 1, "{number} is filed under another size");
                assert_eq!(self.ranks.size(*number), at + 1, "{number} is counted with another size");
            }
            players += parties.len() * (at + 1);
        }
        assert_eq!(players as u64, self.players(), "players who wait and players who are counted");
        if let Some(passing) = self.passing {
            assert_eq!(Some(passing.head), self.head(), "who is passed is the oldest");
        }
    }
}
