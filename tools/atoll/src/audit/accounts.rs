//! The books' balances: who holds what by the ledger alone. Entries are applied in the order in which each shard wrote
//! them; what can't be right is a finding. Used by the task that follows the ledger and by the complete audit. It
//! reads nothing and knows no rule of the game.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use chunk_sync::store::{LedgerEntry, SHARD_COUNT};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::finding::Finding;
use super::limits::GAPS_MAX;
use super::part::chunk_of;
use super::record::{Chunk, Holder, Line, RECORD_VERSION, Record, STRUCTURES_SINCE};

/// Items of one holder; none of the counts is 0.
pub(crate) type Held = BTreeMap<String, i64>;

/// A transfer that holds items, or paid out what it never took in.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Open {
    held: Held,
    /// The store's clock when it took them in.
    since_ms: u64,
    /// Whether it took something in.
    took: bool,
    /// It holds less than nothing since this pass: the entry that filled it may be in a shard that was read before.
    short_since: Option<u64>,
    told: bool,
}

/// Names of things that happened once, as many as there is room for; the oldest are forgotten first.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Remembered {
    order: VecDeque<u128>,
    #[serde(skip)]
    known: BTreeSet<u128>,
}

impl Remembered {
    /// As it goes on after it was read.
    pub(crate) fn restored(mut self) -> Self {
        self.known = self.order.iter().copied().collect();
        self
    }

    /// Notes a name; false when it was there.
    pub(crate) fn note(&mut self, name: u128, max: usize) -> bool {
        if !self.known.insert(name) {
            return false;
        }
        self.order.push_back(name);
        while self.order.len() > max {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
        true
    }

    /// Forgets a name.
    pub(crate) fn forget(&mut self, name: u128) {
        if self.known.remove(&name) {
            self.order.retain(|known| *known != name);
        }
    }

    fn has(&self, name: u128) -> bool {
        self.known.contains(&name)
    }
}

/// Numbers of a shard that were left out, and may come yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Gap {
    shard: u16,
    first: u64,
    last: u64,
    /// The pass that found it.
    since: u64,
    told: bool,
}

/// How much may be kept in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Room {
    /// Holders with something in their hands.
    pub(crate) holders: usize,
    /// Acts, and ended transfers.
    pub(crate) remembered: usize,
}

/// All balances.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Accounts {
    held: BTreeMap<Holder, Held>,
    open: BTreeMap<String, Open>,
    acts: Remembered,
    ended: Remembered,
    highest: Vec<u64>,
    gaps: Vec<Gap>,
    /// Structures that older records booked as used up when they stood, by what was paid for them.
    built_before: BTreeMap<Holder, Held>,
    /// The books were opened by a build that knew nothing of structures: of those that stood then nothing is known.
    opened_before: bool,
    made: BTreeMap<String, u64>,
    used_up: BTreeMap<String, u64>,
    entries: u64,
    newest_ms: u64,
    passes: u64,
    /// There were more holders than there is room for: from then on nothing is followed.
    full: bool,
}

impl Accounts {
    /// Nobody holds anything.
    pub(crate) fn new() -> Self {
        Self {
            held: BTreeMap::new(),
            open: BTreeMap::new(),
            acts: Remembered::default(),
            ended: Remembered::default(),
            highest: vec![0; SHARD_COUNT.into()],
            gaps: Vec::new(),
            built_before: BTreeMap::new(),
            opened_before: false,
            made: BTreeMap::new(),
            used_up: BTreeMap::new(),
            entries: 0,
            newest_ms: 0,
            passes: 0,
            full: false,
        }
    }

    /// As they go on after they were read; `None` when they are not ours.
    pub(crate) fn restored(mut self) -> Option<Self> {
        (self.acts, self.ended) = (self.acts.restored(), self.ended.restored());
        (self.highest.len() == usize::from(SHARD_COUNT)).then_some(self)
    }

    /// Entries that were applied.
    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    /// Whether there was no room to follow all holders.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// What was made of each kind, and what was used up.
    pub(crate) fn turnover(&self) -> (&BTreeMap<String, u64>, &BTreeMap<String, u64>) {
        (&self.made, &self.used_up)
    }

    /// What a holder has.
    pub(crate) fn held(&self, holder: &Holder) -> Held {
        match holder {
            Holder::Transfer(id) => self.open.get(id).map(|open| open.held.clone()).unwrap_or_default(),
            holder => self.held.get(holder).cloned().unwrap_or_default(),
        }
    }

    /// Everybody who has something.
    pub(crate) fn holders(&self) -> impl Iterator<Item = (Holder, &Held)> {
        let open = self.open.iter().map(|(id, open)| (Holder::Transfer(id.clone()), &open.held));
        self.held.iter().map(|(holder, held)| (holder.clone(), held)).chain(open)
    }

    /// Structures that a chunk has by the books.
    pub(crate) fn structures_at(&self, island: u32, chunk: Chunk) -> impl Iterator<Item = (&Holder, &Held)> {
        let first = Holder::Structure(island, chunk, String::new());
        let here = move |(holder, _): &(&Holder, &Held)| matches!(holder, Holder::Structure(of, at, _) if (*of, *at) == (island, chunk));
        self.held.range(first..).take_while(here)
    }

    /// Whether a structure was built when nobody booked what is in them: the books don't say what it holds.
    pub(crate) fn is_unbooked(&self, holder: &Holder) -> bool {
        self.built_before.contains_key(holder) || (self.opened_before && !self.held.contains_key(holder))
    }

    /// Structures that are not booked, with what was paid for them.
    pub(crate) fn built_before(&self) -> impl Iterator<Item = (&Holder, &Held)> {
        self.built_before.iter()
    }

    /// Whether the books began before structures held anything.
    pub(crate) fn opened_before(&self) -> bool {
        self.opened_before
    }

    /// Transfers that hold something.
    pub(crate) fn open(&self) -> impl Iterator<Item = (&str, &Held)> {
        self.open.iter().map(|(id, open)| (id.as_str(), &open.held)).filter(|(_, held)| !held.is_empty())
    }

    /// The store's clock when a transfer took its items in.
    pub(crate) fn opened_ms(&self, transfer: &str) -> Option<u64> {
        self.open.get(transfer).map(|open| open.since_ms)
    }

    /// Transfers that were open for longer than `ms` at `now_ms`.
    pub(crate) fn open_longer(&self, ms: u64, now_ms: u64) -> impl Iterator<Item = (&str, u64)> {
        let ages =
            self.open.iter().map(move |(id, open)| (id.as_str(), now_ms.saturating_sub(open.since_ms)));
        ages.filter(move |(_, age)| *age > ms)
    }

    /// Takes what books were opened with; false when it can't be read.
    pub(crate) fn open_books(&mut self, opening: &Bytes) -> bool {
        let Some(opening) = Opening::unpack(opening) else { return false };
        self.opened_before |= opening.v < STRUCTURES_SINCE || opening.opened_before;
        self.built_before.extend(opening.built_before);
        for (holder, held) in opening.held {
            for (kind, count) in held {
                if count > 0 {
                    *self.made.entry(kind.clone()).or_default() += count.unsigned_abs();
                }
                self.change(&holder, &kind, count, opening.store_ms);
            }
            if let Holder::Transfer(id) = holder
                && let Some(open) = self.open.get_mut(&id)
            {
                open.took = true;
            }
        }
        self.newest_ms = self.newest_ms.max(opening.store_ms);
        true
    }

    /// Applies an entry; what is wrong with it is told.
    pub(crate) fn apply(&mut self, entry: &LedgerEntry, room: Room, tell: &mut dyn FnMut(Finding)) {
        if self.full || !self.in_order(entry, tell) {
            return;
        }
        self.entries += 1;
        self.newest_ms = self.newest_ms.max(entry.store_ms);
        let place = format!("ledger entry {}/{} of {}", entry.shard.0, entry.sequence, entry.partition);
        let record = match rmp_serde::from_slice::<Record>(&entry.bytes) {
            Ok(record) if record.v <= RECORD_VERSION => record,
            Ok(record) => {
                let text = format!("{place} has version {}, which is not known here", record.v);
                return tell(Finding::plain(text));
            }
            Err(_) => return tell(Finding::plain(format!("{place} can't be read"))),
        };
        if let Some(act) = &record.act
            && !self.acts.note(name_of(&format!("{}/{act}", entry.partition)), room.remembered)
        {
            tell(Finding::plain(format!("{place}: act {act} was done there before")));
        }
        self.take_in(&record, &place, entry.store_ms, tell);
        for line in &record.lines {
            self.line(entry, &place, record.v, line, tell);
        }
        self.look_at(&record, &place, room, tell);
        if self.held.len() + self.open.len() > room.holders {
            self.full = true;
        }
    }

    /// Ends a pass over all shards: whoever was short before it began, and still is, took out what it never had.
    pub(crate) fn end_pass(&mut self, tell: &mut dyn FnMut(Finding)) {
        for (id, open) in &mut self.open {
            if open.short_since.is_some_and(|since| since < self.passes) && !open.told {
                open.told = true;
                let text = format!("transfer {id} paid out more than it took in: {}", shown(&open.held));
                tell(Finding::new("paid out", id, text));
            }
        }
        for gap in self.gaps.iter_mut().filter(|gap| gap.since < self.passes && !gap.told) {
            gap.told = true;
            tell(gap.finding());
        }
        self.passes += 1;
    }

    /// Whether an entry is to be applied: the next of its shard, or one that was left out before. One that was applied
    /// is not.
    fn in_order(&mut self, entry: &LedgerEntry, tell: &mut dyn FnMut(Finding)) -> bool {
        let (shard, sequence) = (entry.shard.0, entry.sequence);
        let highest = &mut self.highest[usize::from(shard)];
        if sequence > *highest {
            let gap = Gap { shard, first: *highest + 1, last: sequence - 1, since: self.passes, told: false };
            *highest = sequence;
            self.leave_out(gap, tell);
            return true;
        }
        let late = self.gaps.iter().position(|gap| gap.has(shard, sequence));
        let Some(late) = late else {
            let text = format!("ledger entry {shard}/{sequence} came again or too late");
            tell(Finding::plain(text));
            return false;
        };
        let gap = self.gaps.swap_remove(late);
        self.leave_out(Gap { last: sequence - 1, ..gap }, tell);
        self.leave_out(Gap { first: sequence + 1, ..gap }, tell);
        true
    }

    /// Remembers a gap, if it is one; what doesn't fit is told at once.
    fn leave_out(&mut self, gap: Gap, tell: &mut dyn FnMut(Finding)) {
        if gap.first > gap.last {
            return;
        }
        if self.gaps.len() < GAPS_MAX {
            self.gaps.push(gap);
        } else if !gap.told {
            tell(gap.finding());
        }
    }

    /// Transfers that a record fills: each is filled once in its life.
    fn take_in(&mut self, record: &Record, place: &str, store_ms: u64, tell: &mut dyn FnMut(Finding)) {
        let filled: BTreeSet<&String> = record
            .lines
            .iter()
            .filter_map(|line| match &line.to {
                Holder::Transfer(id) => Some(id),
                _ => None,
            })
            .collect();
        for id in filled {
            let again = self.ended.has(name_of(id)) || self.open.get(id).is_some_and(|open| open.took);
            if again {
                tell(Finding::plain(format!("{place}: transfer {id} took something in a second time")));
            }
            let open = self.open.entry(id.clone()).or_default();
            (open.took, open.since_ms) = (true, store_ms);
        }
    }

    fn line(
        &mut self,
        entry: &LedgerEntry,
        place: &str,
        version: u16,
        line: &Line,
        tell: &mut dyn FnMut(Finding),
    ) {
        let key = entry.partition.to_string();
        let inside = key.split_once('/').map_or("", |(_, rest)| rest);
        for holder in [&line.from, &line.to] {
            if holder.partition().is_some_and(|partition| partition != inside) {
                let text =
                    format!("{place} moves {} {} of {holder}, who is not there", line.count, line.kind);
                tell(Finding::plain(text));
            }
        }
        let count = i64::from(line.count);
        if version < STRUCTURES_SINCE
            && let Some(structure) = built_by(line, inside)
        {
            let paid = self.built_before.entry(structure).or_default();
            *paid.entry(line.kind.clone()).or_default() += count;
        }
        let (from, to) = (self.booked(&line.from, line), self.booked(&line.to, line));
        if from == Holder::Nobody {
            *self.made.entry(line.kind.clone()).or_default() += u64::from(line.count);
        }
        if to == Holder::Nobody {
            *self.used_up.entry(line.kind.clone()).or_default() += u64::from(line.count);
        }
        self.change(&from, &line.kind, -count, entry.store_ms);
        self.change(&to, &line.kind, count, entry.store_ms);
    }

    /// Who that is in these books. A structure that was built before structures held anything gets what was paid for it
    /// when it is first heard of; one of which nothing is known is nobody.
    fn booked(&mut self, holder: &Holder, line: &Line) -> Holder {
        let Holder::Structure(_, _, name) = holder else { return holder.clone() };
        if let Some(paid) = self.built_before.remove(holder) {
            for (kind, count) in &paid {
                let used_up = self.used_up.entry(kind.clone()).or_default();
                *used_up = used_up.saturating_sub(count.unsigned_abs());
            }
            self.held.insert(holder.clone(), paid);
        }
        let is_built = matches!(&line.from, Holder::Transfer(id) if *id == paid_by(name));
        if self.opened_before && !is_built && !self.held.contains_key(holder) {
            return Holder::Nobody;
        }
        holder.clone()
    }

    fn change(&mut self, holder: &Holder, kind: &str, by: i64, store_ms: u64) {
        let held = match holder {
            Holder::Nobody => return,
            Holder::Transfer(id) => {
                let open = self.open.entry(id.clone()).or_default();
                if open.since_ms == 0 {
                    open.since_ms = store_ms;
                }
                &mut open.held
            }
            holder => self.held.entry(holder.clone()).or_default(),
        };
        let count = held.get(kind).copied().unwrap_or(0).saturating_add(by);
        if count == 0 {
            held.remove(kind);
        } else {
            held.insert(kind.to_owned(), count);
        }
    }

    /// Looks at everybody in a record after it was applied.
    fn look_at(&mut self, record: &Record, place: &str, room: Room, tell: &mut dyn FnMut(Finding)) {
        let holders: BTreeSet<&Holder> =
            record.lines.iter().flat_map(|line| [&line.from, &line.to]).collect();
        for holder in holders {
            match holder {
                Holder::Nobody => {}
                Holder::Transfer(id) => self.look_at_transfer(id, room),
                holder => {
                    let Some(held) = self.held.get_mut(holder) else { continue };
                    // Told when an entry brings it below nothing, not at each entry after that.
                    let short = record.lines.iter().any(|line| {
                        line.from == *holder && held.get(&line.kind).is_some_and(|count| *count < 0)
                    });
                    if short {
                        let text = format!("{place}: {holder} gave away more than it had: {}", shown(held));
                        tell(Finding::plain(text));
                    }
                    if held.is_empty() {
                        self.held.remove(holder);
                    }
                }
            }
        }
    }

    fn look_at_transfer(&mut self, id: &str, room: Room) {
        let Some(open) = self.open.get_mut(id) else { return };
        if open.held.is_empty() && open.took {
            self.open.remove(id);
            self.ended.note(name_of(id), room.remembered);
        } else if open.held.values().any(|count| *count < 0) {
            open.short_since.get_or_insert(self.passes);
        }
    }
}

impl Gap {
    fn has(&self, shard: u16, sequence: u64) -> bool {
        self.shard == shard && (self.first..=self.last).contains(&sequence)
    }

    fn finding(&self) -> Finding {
        let Self { shard, first, last, .. } = self;
        Finding::plain(format!("the ledger of shard {shard} lacks the entries {first} to {last}"))
    }
}

/// The transfer that brings what is paid for a structure.
fn paid_by(structure: &str) -> String {
    format!("{structure}.p.0")
}

/// The structure that stood when an older record booked this as used up: nothing else that a player sent ends so.
fn built_by(line: &Line, place: &str) -> Option<Holder> {
    let (Holder::Transfer(id), Holder::Nobody) = (&line.from, &line.to) else { return None };
    let name = id.strip_suffix(".p.0")?;
    let (island, chunk) = chunk_of(place)?;
    Some(Holder::Structure(island, chunk, name.to_owned()))
}

/// What books are opened with: what everybody held then.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Opening {
    /// As of which version of ledger records; the oldest had none.
    #[serde(default)]
    pub(crate) v: u16,
    /// The store's clock then.
    pub(crate) store_ms: u64,
    /// Holders and their items.
    pub(crate) held: Vec<(Holder, Held)>,
    /// Structures that were built before they held anything, by what was paid for them.
    #[serde(default)]
    pub(crate) built_before: Vec<(Holder, Held)>,
    /// Whether there may be others of which nothing is known.
    #[serde(default)]
    pub(crate) opened_before: bool,
}

impl Opening {
    /// As it is kept.
    pub(crate) fn pack(&self) -> Bytes {
        rmp_serde::to_vec_named(self).unwrap_or_default().into()
    }

    fn unpack(bytes: &[u8]) -> Option<Self> {
        rmp_serde::from_slice(bytes).ok()
    }
}

/// Items for people.
pub(crate) fn shown(held: &Held) -> String {
    if held.is_empty() {
        return "nothing".to_owned();
    }
    held.iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ")
}

fn name_of(text: &str) -> u128 {
    xxh3_128(text.as_bytes())
}

#[cfg(test)]
mod tests;
