//! The books' balances: who holds what by the ledger alone. Entries are applied in the order in which each shard wrote
//! them; what can't be right is a finding. Used by the task that follows the ledger and by the complete audit. It
//! reads nothing and knows no rule of the game.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use chunk_sync::store::{LedgerEntry, SHARD_COUNT};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::record::{Holder, RECORD_VERSION, Record};

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
struct Remembered {
    order: VecDeque<u128>,
    #[serde(skip)]
    known: BTreeSet<u128>,
}

impl Remembered {
    /// Notes a name; false when it was there.
    fn note(&mut self, name: u128, max: usize) -> bool {
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

    fn has(&self, name: u128) -> bool {
        self.known.contains(&name)
    }
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
        for remembered in [&mut self.acts, &mut self.ended] {
            remembered.known = remembered.order.iter().copied().collect();
        }
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
    pub(crate) fn apply(&mut self, entry: &LedgerEntry, room: Room, tell: &mut dyn FnMut(String)) {
        if self.full || !self.in_order(entry, tell) {
            return;
        }
        self.entries += 1;
        self.newest_ms = self.newest_ms.max(entry.store_ms);
        let place = format!("ledger entry {}/{} of {}", entry.shard.0, entry.sequence, entry.partition);
        let record = match rmp_serde::from_slice::<Record>(&entry.bytes) {
            Ok(record) if record.v <= RECORD_VERSION => record,
            Ok(record) => return tell(format!("{place} has version {}, which is not known here", record.v)),
            Err(_) => return tell(format!("{place} can't be read")),
        };
        if let Some(act) = &record.act
            && !self.acts.note(name_of(&format!("{}/{act}", entry.partition)), room.remembered)
        {
            tell(format!("{place}: act {act} was done there before"));
        }
        self.take_in(&record, &place, entry.store_ms, tell);
        for line in &record.lines {
            self.line(entry, &place, line, tell);
        }
        self.look_at(&record, &place, room, tell);
        if self.held.len() + self.open.len() > room.holders {
            self.full = true;
        }
    }

    /// Ends a pass over all shards: whoever was short before it began, and still is, took out what it never had.
    pub(crate) fn end_pass(&mut self, tell: &mut dyn FnMut(String)) {
        for (id, open) in &mut self.open {
            if open.short_since.is_some_and(|since| since < self.passes) && !open.told {
                open.told = true;
                tell(format!("transfer {id} paid out more than it took in: {}", shown(&open.held)));
            }
        }
        self.passes += 1;
    }

    /// Whether an entry is the next of its shard. One that was applied before is left out.
    fn in_order(&mut self, entry: &LedgerEntry, tell: &mut dyn FnMut(String)) -> bool {
        let highest = &mut self.highest[usize::from(entry.shard.0)];
        if entry.sequence <= *highest {
            tell(format!("ledger entry {}/{} came again or too late", entry.shard.0, entry.sequence));
            return false;
        }
        let next = *highest + 1;
        *highest = entry.sequence;
        if entry.sequence > next {
            tell(format!(
                "the ledger of shard {} lacks the entries {next} to {}",
                entry.shard.0,
                entry.sequence - 1
            ));
        }
        true
    }

    /// Transfers that a record fills: each is filled once in its life.
    fn take_in(&mut self, record: &Record, place: &str, store_ms: u64, tell: &mut dyn FnMut(String)) {
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
                tell(format!("{place}: transfer {id} took something in a second time"));
            }
            let open = self.open.entry(id.clone()).or_default();
            (open.took, open.since_ms) = (true, store_ms);
        }
    }

    fn line(
        &mut self,
        entry: &LedgerEntry,
        place: &str,
        line: &super::record::Line,
        tell: &mut dyn FnMut(String),
    ) {
        let key = entry.partition.to_string();
        let inside = key.split_once('/').map_or("", |(_, rest)| rest);
        for holder in [&line.from, &line.to] {
            if holder.partition().is_some_and(|partition| partition != inside) {
                tell(format!("{place} moves {} {} of {holder}, who is not there", line.count, line.kind));
            }
        }
        let count = i64::from(line.count);
        if line.from == Holder::Nobody {
            *self.made.entry(line.kind.clone()).or_default() += u64::from(line.count);
        }
        if line.to == Holder::Nobody {
            *self.used_up.entry(line.kind.clone()).or_default() += u64::from(line.count);
        }
        self.change(&line.from, &line.kind, -count, entry.store_ms);
        self.change(&line.to, &line.kind, count, entry.store_ms);
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
    fn look_at(&mut self, record: &Record, place: &str, room: Room, tell: &mut dyn FnMut(String)) {
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
                        tell(format!("{place}: {holder} gave away more than it had: {}", shown(held)));
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

/// What books are opened with: what everybody held then.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Opening {
    /// The store's clock then.
    pub(crate) store_ms: u64,
    /// Holders and their items.
    pub(crate) held: Vec<(Holder, Held)>,
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
