//! The comparison at the end: is everything there that the swarm was told is done, once, and nothing that was refused?
//!
//! Pure: the books on one side, on the other what the bots' nodes told them of the world. What nobody sees is counted
//! as unseen and says nothing.

use std::collections::{BTreeMap, BTreeSet};

use chunk_sync::client::Documents;
use chunk_sync::place::ChunkPos;
use serde::Serialize;
use world_node::rules::ActId;
use world_node::rules::documents::StructureState;

use super::books::{Books, Built, Fate, Laid};
use super::sight;
use crate::swarm::limits::FINDING_TEXTS_MAX;

/// What was compared, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Bags that were compared.
    pub bags: u64,
    /// Structures that were compared.
    pub structures: u64,
    /// Stacks on the ground that were compared.
    pub stacks: u64,
    /// Bags, structures and stacks that no bot sees, or of which too much is unknown.
    pub unseen: u64,
    /// Acknowledged acts, or items of them, that are not found.
    pub lost: u64,
    /// What is there more often than it was acknowledged.
    pub doubled: u64,
    /// What was refused and is there all the same, or was done though no rule allows it.
    pub undue: u64,
    /// The first few of these, in words.
    pub texts: Vec<String>,
}

impl Findings {
    /// Whether everything that was seen is as it must be.
    pub fn is_clean(&self) -> bool {
        self.lost + self.doubled + self.undue == 0
    }

    /// Whether it is, and everything was seen.
    pub fn is_whole(&self) -> bool {
        self.is_clean() && self.unseen == 0
    }

    /// Whether nobody was there any more to see anything.
    pub fn is_blind(&self) -> bool {
        self.bags == 0 && self.unseen > 0
    }

    fn say(&mut self, text: impl FnOnce() -> String) {
        if self.texts.len() < FINDING_TEXTS_MAX {
            self.texts.push(text());
        }
    }
}

/// What one bot sees.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    /// The bot.
    pub bot: usize,
    /// The island that it is on.
    pub island: u32,
    /// What its node told it.
    pub documents: &'a Documents,
}

/// Everything that bots see together.
struct World<'a> {
    /// Who sees a chunk, by island.
    chunks: BTreeMap<(u32, ChunkPos), &'a Documents>,
    /// Chunks that have a structure of this name.
    structures: BTreeMap<ActId, BTreeSet<(u32, ChunkPos)>>,
    /// How many lie there, over all stacks of this name, and how many such stacks there are.
    stacks: BTreeMap<ActId, (u32, u32)>,
}

impl<'a> World<'a> {
    fn of(seen: &[Seen<'a>]) -> Self {
        let (mut chunks, mut structures, mut stacks) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for Seen { island, documents, .. } in seen {
            for chunk in documents.chunks() {
                chunks.entry((*island, chunk)).or_insert(*documents);
            }
        }
        for ((island, chunk), documents) in &chunks {
            for id in sight::structures(documents, *chunk) {
                structures.entry(id).or_insert_with(BTreeSet::new).insert((*island, *chunk));
            }
            for stack in sight::stacks(documents, *chunk) {
                let (count, times) = stacks.entry(stack.id).or_insert((0, 0));
                (*count, *times) = (*count + stack.count, *times + 1);
            }
        }
        Self { chunks, structures, stacks }
    }
}

/// Compares the books with what the bots see.
pub(super) fn check(books: &Books, seen: &[Seen<'_>]) -> Findings {
    let mut findings = Findings::default();
    bags(books, seen, &mut findings);
    let world = World::of(seen);
    for (id, built) in &books.built {
        structure(*id, built, &world, &mut findings);
    }
    for (id, laid) in &books.laid {
        stack(*id, laid, &world, &mut findings);
    }
    for id in &books.undue {
        findings.undue += 1;
        findings.say(|| format!("act {id}, which no rule allows or not once more, was done"));
    }
    findings
}

fn bags(books: &Books, seen: &[Seen<'_>], findings: &mut Findings) {
    let mut explained = BTreeMap::new();
    let known: BTreeMap<usize, &Documents> = seen.iter().map(|seen| (seen.bot, seen.documents)).collect();
    for (bot, account) in books.accounts.iter().enumerate() {
        if account.start.is_none() {
            continue;
        }
        let bag = known.get(&bot).and_then(|documents| sight::bag(documents));
        let Some(bag) = bag.filter(|_| !account.lost_count) else {
            findings.unseen += 1;
            continue;
        };
        findings.bags += 1;
        let (missing, surplus) = account.difference(&bag.items);
        if missing + surplus == 0 {
            explained.insert(bot, bag.items.clone());
        }
        findings.lost += missing;
        findings.doubled += surplus;
        if missing + surplus > 0 {
            let (start, certain) = (account.start.as_ref(), &account.certain);
            findings.say(|| {
                format!(
                    "bot {bot}'s bag lacks {missing} and has {surplus} too many: {:?}, began with {start:?}, \
                     acts came to {certain:?} and perhaps {:?}",
                    bag.items, account.unknown
                )
            });
        }
    }
    // Each bag alone may be as it is; together they must be, too.
    for bots in books.torn(&explained) {
        findings.lost += 1;
        findings
            .say(|| format!("an act between bots {bots:?} of which nobody knows the outcome is half done"));
    }
}

fn structure(id: ActId, built: &Built, world: &World<'_>, findings: &mut Findings) {
    let anchor = built.corner.chunk();
    let Some(documents) = world.chunks.get(&(built.island, anchor)) else {
        findings.unseen += 1;
        return;
    };
    findings.structures += 1;
    let places = world.structures.get(&id).map_or(0, BTreeSet::len) as u64;
    let record = sight::structure(documents, anchor, id);
    let stands = record.as_ref().is_some_and(|record| record.state == StructureState::Standing);
    if places > 1 {
        findings.doubled += places - 1;
        findings.say(|| format!("structure {id} stands in {places} chunks"));
    }
    let wrong = match (built.raised, built.felled) {
        (Fate::Refused, _) if places > 0 => {
            findings.undue += 1;
            "was refused and is there"
        }
        (Fate::Done, None) if !stands => {
            findings.lost += 1;
            "was built and doesn't stand"
        }
        (Fate::Done, None) if built.claims.iter().any(|chunk| is_unclaimed(id, built, *chunk, world)) => {
            findings.lost += 1;
            "claimed chunks that aren't its estate"
        }
        (_, Some(Fate::Done)) if places > 0 => {
            findings.lost += 1;
            "was demolished and is there"
        }
        _ => return,
    };
    findings
        .say(|| format!("structure {id}, {}, of bot {}, {wrong}: {record:?}", built.kind.name(), built.bot));
}

/// Whether a chunk that somebody sees isn't part of the estate that it was claimed for.
fn is_unclaimed(id: ActId, built: &Built, chunk: ChunkPos, world: &World<'_>) -> bool {
    let documents = world.chunks.get(&(built.island, chunk));
    documents.is_some_and(|documents| sight::estate(documents, chunk).is_none_or(|estate| estate.id != id))
}

fn stack(id: ActId, laid: &Laid, world: &World<'_>, findings: &mut Findings) {
    let (found, times) = world.stacks.get(&id).copied().unwrap_or((0, 0));
    if times == 0 && !world.chunks.contains_key(&(laid.island, laid.chunk)) {
        findings.unseen += 1;
        return;
    }
    findings.stacks += 1;
    let difference = laid.difference(found);
    if times <= 1 && difference == 0 {
        return;
    }
    match laid.laid {
        Fate::Refused => findings.undue += 1,
        _ if difference < 0 => findings.lost += difference.unsigned_abs(),
        _ => findings.doubled += difference.unsigned_abs().max(u64::from(times.saturating_sub(1))),
    }
    findings.say(|| format!("stack {id} of bot {}: {found} lie there, {times} times: {laid:?}", laid.bot));
}

#[cfg(test)]
mod tests;
