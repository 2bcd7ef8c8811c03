//! What the store has once the run is over: it is held against its own ledger, against what nodes know and against what
//! bots see.
//!
//! Part of the cluster. It reads everything and changes nothing.

use super::bot::Habit;
use super::cluster::Cluster;
use super::events::Process;
use chunk_sync::limits::NEAR_RING;
use chunk_sync::place::ChunkPos;
use chunk_sync::records::{WORLD, decode};
use chunk_sync::store::{
    IndexCursor, MemoryStore, Name, PartitionCursor, PartitionKey, StoreAnswer, StoreOp,
};
use std::collections::{BTreeMap, BTreeSet};
use world_node::executor::{INDEX_DECIDED, INDEX_PENDING, LedgerRecord};
use world_node::rules::documents::Doc;
use world_node::rules::items::{ItemKind, Items};
use world_node::rules::{DocName, Holder, Partition, TransferId};
use world_node::witness::kept_in;

type Balance = BTreeMap<(Holder, ItemKind), i64>;
type Docs = Vec<(Partition, DocName, Doc)>;

fn all_docs(store: &MemoryStore) -> Result<Docs, String> {
    let mut docs = Docs::new();
    let mut after: Option<PartitionCursor> = None;
    loop {
        let page = store.partitions_page(after.as_ref(), 256);
        for raw in page.partitions {
            let Some((_, rest)) =
                raw.key.to_string().split_once('/').map(|(w, r)| (w.to_owned(), r.to_owned()))
            else {
                continue;
            };
            let Ok(partition) = rest.parse::<Partition>() else { continue };
            for (name, document) in &raw.docs {
                let Ok(name) = name.as_str().parse::<DocName>() else { continue };
                let doc = Doc::unpack(name, &document.value).map_err(|error| error.to_string())?;
                docs.push((partition, name, doc));
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(docs);
        }
    }
}

fn held(docs: &Docs) -> Balance {
    let taken: BTreeSet<TransferId> = docs
        .iter()
        .filter_map(|(_, name, doc)| match (name, doc) {
            (DocName::In(id), Doc::In(decision)) if decision.refused.is_none() => Some(*id),
            _ => None,
        })
        .collect();
    let mut held = Balance::new();
    let mut count = |holder: Holder, items: &Items| {
        for (kind, count) in items.iter() {
            *held.entry((holder, kind)).or_default() += i64::from(count);
        }
    };
    for (partition, name, doc) in docs {
        match (partition, name, doc) {
            (Partition::Player(player), _, Doc::Bag(bag)) => count(Holder::Player(*player), &bag.items),
            (Partition::Chunk(island, chunk), _, Doc::Ground(ground)) => {
                for lying in &ground.stacks {
                    count(Holder::Ground(*island, *chunk), &Items::of(lying.item, lying.count));
                }
            }
            (Partition::Trade(trade), _, Doc::Trade(record)) => count(Holder::Trade(*trade), &record.holds()),
            (Partition::Chunk(island, chunk), _, Doc::Structure(record)) => {
                count(Holder::Structure(*island, *chunk, record.site.id), &kept_in(record));
            }
            (_, DocName::Out(id), Doc::Out(transfer)) if !taken.contains(id) => {
                count(Holder::Transfer(*id), &transfer.items());
            }
            _ => {}
        }
    }
    held.retain(|_, count| *count != 0);
    held
}

fn booked(store: &MemoryStore) -> Balance {
    let mut booked = Balance::new();
    let mut after = None;
    loop {
        let page = store.ledger_page(after, 1_000);
        for entry in &page.entries {
            let record: LedgerRecord = decode(&entry.bytes).unwrap_or_else(|| panic!("not a ledger record"));
            for line in record.lines {
                *booked.entry((line.from, line.kind)).or_default() -= i64::from(line.count);
                *booked.entry((line.to, line.kind)).or_default() += i64::from(line.count);
            }
        }
        after = page.next;
        if after.is_none() {
            booked.retain(|(holder, _), count| *holder != Holder::Nobody && *count != 0);
            return booked;
        }
    }
}

/// Names that an index lists, with what is said of them.
pub(super) fn listed(store: &MemoryStore, index: &str) -> Vec<(TransferId, Partition)> {
    let (index, mut after, mut all) = (Name::from(index), None::<IndexCursor>, Vec::new());
    loop {
        let page = store.index_page(&index, after.as_ref(), 1_000);
        all.extend(page.entries.iter().filter_map(|entry| {
            let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
            Some((text(&entry.key)?.parse().ok()?, text(&entry.value)?.parse().ok()?))
        }));
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

impl Cluster {
    /// What is still under way, or seen wrong; it may be so for a while.
    pub(super) fn compare_documents(&mut self, found: &mut BTreeSet<String>) {
        for (index, what) in [(INDEX_PENDING, "pending"), (INDEX_DECIDED, "remembered")] {
            for (id, partition) in listed(self.store.twin(), index).into_iter().take(3) {
                found.insert(format!("{id} is still {what} ({partition})"));
            }
        }
        for at in 0..self.bots.len() {
            self.compare_seen(at, found);
            self.compare_open(at, found);
        }
        for (at, slot) in self.nodes.iter().enumerate() {
            let Some(host) = &slot.host else { continue };
            let (acts, carries, forgets) = host.core.executor().under_way();
            if acts + carries + forgets > 0 {
                let node = Process::Node(at);
                found.insert(format!("{node} has acts {acts}, transfers {carries}, forgets {forgets}"));
            }
        }
    }

    /// Whoever is inside hears how each act ended.
    fn compare_open(&self, at: usize, found: &mut BTreeSet<String>) {
        let bot = &self.bots[at];
        let Some(client) = bot.client.as_ref().filter(|_| bot.inside.is_some()) else { return };
        if bot.habit == Habit::NeverReads || self.is_stalled(at) {
            return;
        }
        if let Some(open) = client.open_acts().next() {
            let (many, name) = (client.open_acts().count(), &bot.name);
            found.insert(format!(
                "{name} (bot {at}) has {many} acts without an answer, the first is {:?}",
                open.id
            ));
        }
    }

    /// What a bot sees of documents is what the store has.
    fn compare_seen(&mut self, at: usize, found: &mut BTreeSet<String>) {
        let bot = &self.bots[at];
        let inside = bot.inside.and(bot.island()).filter(|_| bot.habit != Habit::NeverReads);
        let (Some(island), Some(player)) = (inside, bot.player) else { return };
        if self.is_stalled(at) {
            return;
        }
        let whose = format!("{} (bot {at})", bot.name);
        let centre = bot.eyes.centre;
        let near = centre.around(NEAR_RING).filter(|chunk| chunk.index().is_some());
        let chunks: Vec<ChunkPos> = near.collect();
        let of_chunk = |name: &str| {
            ["resource/", "structure/", "ground/", "estate"].iter().any(|prefix| name.starts_with(prefix))
        };
        for chunk in chunks {
            let there = self.stored(PartitionKey::chunk(WORLD, island, chunk), of_chunk);
            if self.bots[at].eyes.replica.chunk_docs(chunk) != Some(&there) {
                let seen = self.bots[at].eyes.replica.chunk_docs(chunk).map(|docs| docs.len());
                let partition = Partition::Chunk(island, chunk);
                let known = self.nodes.iter().map(|slot| {
                    let docs = slot.host.as_ref().and_then(|host| host.core.executor().docs(partition));
                    docs.map(|docs| docs.keys().filter(|name| of_chunk(name.as_str())).count())
                });
                let known: Vec<Option<usize>> = known.collect();
                found.insert(format!(
                    "{whose} sees {seen:?} documents of {chunk:?}, {} are there, nodes know {known:?}",
                    there.len()
                ));
            }
        }
        let own = self.stored(PartitionKey::player(player), |name| name == "bag");
        if self.bots[at].eyes.replica.own_docs() != Some(&own) {
            found.insert(format!("{whose} sees another bag than it has"));
        }
    }

    fn stored(&mut self, key: PartitionKey, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, Vec<u8>> {
        match self.store.peek(&StoreOp::Load { partition: key }, self.now_ms) {
            StoreAnswer::Loaded(view) => {
                let docs = view.docs.iter().filter(|(name, _)| wanted(name.as_str()));
                docs.map(|(name, doc)| (name.as_str().to_owned(), doc.value.to_vec())).collect()
            }
            _ => BTreeMap::new(),
        }
    }

    /// At the end: what is wrong with the books, if anything is.
    pub(super) fn audit(&mut self) -> Option<String> {
        let docs = match all_docs(self.store.twin()) {
            Ok(docs) => docs,
            Err(damaged) => return Some(damaged),
        };
        let (held, booked) = (held(&docs), booked(self.store.twin()));
        if held != booked {
            let wrong: Vec<String> = held
                .keys()
                .chain(booked.keys())
                .filter(|key| held.get(key) != booked.get(key))
                .map(|key| format!("{key:?}: held {:?}, booked {:?}", held.get(key), booked.get(key)))
                .collect();
            return Some(format!("items were lost or doubled: {wrong:?}"));
        }
        self.store.books.unfinished().or_else(|| self.told_wrong())
    }
}
