//! The books of a settling swarm: what every act that was asked for brings about if it is done, what came of it, and so
//! what must be found in the world at the end.
//!
//! Pure. Kept for all bots together, since gifts and trades move things from one bot to another. An act whose outcome
//! nobody heard stands as "either": what it would have changed may be found changed or not.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chunk_sync::place::ChunkPos;
use chunk_sync::wire::{ActNumber, ActOutcome};
use world_node::rules::ActId;
use world_node::rules::items::{ItemKind, Items};
use world_node::rules::site::TilePos;
use world_node::rules::structures::StructureKind;

pub(super) use self::leave::Leave;
use super::ground::Resource;
use super::plan;
use crate::swarm::limits::{BOOKED_THINGS_MAX, CLOSED_DEALS_KEPT, UNKNOWN_ACTS_MAX, UNKNOWN_ACTS_TRIED_MAX};

/// How far an act is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was asked for.
    Asked,
    /// It was acknowledged: it must be found.
    Done,
    /// It was refused: it must not be found.
    Refused,
    /// Nobody heard, or it is over: it may be found or not.
    Unknown,
}

impl From<ActOutcome> for Fate {
    fn from(outcome: ActOutcome) -> Self {
        match outcome {
            ActOutcome::Done => Fate::Done,
            ActOutcome::Refused => Fate::Refused,
            ActOutcome::Over => Fate::Unknown,
            ActOutcome::Waiting => Fate::Asked,
        }
    }
}

/// What changes in a bag, by kind.
pub(super) type Change = BTreeMap<ItemKind, i64>;

/// What comes into a bag (`sign` 1) or leaves it (-1).
pub(super) fn change(items: &Items, sign: i64) -> Change {
    items.iter().map(|(kind, count)| (kind, sign * i64::from(count))).collect()
}

pub(super) fn add(to: &mut Change, more: &Change) {
    more.iter().for_each(|(kind, count)| *to.entry(*kind).or_default() += count);
}

/// A structure that a bot asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Built {
    /// The bot.
    pub bot: usize,
    /// What it is.
    pub kind: StructureKind,
    /// The island.
    pub island: u32,
    /// Its south-west tile.
    pub corner: TilePos,
    /// Whether it is turned.
    pub turned: bool,
    /// Of a totem: all chunks that it claims.
    pub claims: Vec<ChunkPos>,
    /// Whether it was built.
    pub raised: Fate,
    /// Whether it was demolished; `None` if nobody tried, or all who did were refused.
    pub felled: Option<Fate>,
}

/// A stack that a bot laid down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Laid {
    /// The bot that sees whether it lies there.
    pub bot: usize,
    /// The island.
    pub island: u32,
    /// Where the bot stood.
    pub chunk: ChunkPos,
    /// What.
    pub item: ItemKind,
    /// How many.
    pub count: u32,
    /// Whether it was laid down.
    pub laid: Fate,
    /// How many were picked up.
    pub lifted: u32,
    /// How many may have been picked up, by act.
    pub maybe_lifted: Vec<u32>,
}

/// A trade that a bot offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Deal {
    /// Who offers.
    pub from: usize,
    /// To whom.
    pub to: usize,
    /// What is offered.
    pub give: Items,
    /// What is wanted.
    pub want: Items,
    /// It can be accepted.
    pub open: bool,
}

/// What an act does to a thing in the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Work {
    /// Nothing: bags only.
    None,
    /// Builds.
    Raise(Built),
    /// Demolishes.
    Fell(ActId),
    /// Lays a stack down.
    Lay(Laid),
    /// Picks up from a stack.
    Lift(ActId, u32),
    /// Offers a trade.
    Offer(Deal),
    /// Accepts a trade or calls it off.
    Close(ActId),
    /// Allows a bot to build on an estate, or no more.
    Allow(ActId, usize, Leave),
}

/// An act that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its name in the world.
    pub id: ActId,
    /// When it was first asked for.
    pub asked_ms: u64,
    /// What it changes in bags, by bot: all of it at once, as it is done whole or not at all.
    pub moves: BTreeMap<usize, Change>,
    /// What it does besides.
    pub work: Work,
    /// Units that it takes from a resource.
    pub taken: Option<(Resource, u32)>,
    /// No rule may ever allow it.
    pub absurd: bool,
}

/// What must be in a bot's bag.
#[derive(Debug, Clone, Default)]
pub(super) struct Account {
    /// What it had when the swarm first saw it.
    pub start: Option<Items>,
    /// What acknowledged acts changed since.
    pub certain: Change,
    /// What acts changed of which nobody knows whether they were done.
    pub unknown: Vec<(ActId, Change)>,
    /// There are more of those than are kept: nothing can be said of this bag.
    pub lost_count: bool,
}

/// Everything that the bots were told.
#[derive(Debug, Default)]
pub(super) struct Books {
    open: BTreeMap<(usize, ActNumber), Entry>,
    pub(super) accounts: Vec<Account>,
    pub(super) built: BTreeMap<ActId, Built>,
    pub(super) laid: BTreeMap<ActId, Laid>,
    pub(super) deals: BTreeMap<ActId, Deal>,
    /// Which structure covers a tile, or shall.
    taken: BTreeMap<(u32, TilePos), ActId>,
    /// Trades that were closed lately, by bot.
    closed: Vec<VecDeque<ActId>>,
    leaves: leave::Leaves,
    /// Structures that surely stand, by bot.
    standing: Vec<BTreeSet<ActId>>,
    /// Acts that were done although no rule allows them, or not once more.
    pub(super) undue: Vec<ActId>,
}

impl Books {
    pub(super) fn new(bots: usize) -> Self {
        Self {
            accounts: vec![Account::default(); bots],
            closed: vec![VecDeque::new(); bots],
            standing: vec![BTreeSet::new(); bots],
            ..Self::default()
        }
    }

    /// Whether more things can be put down in the books.
    pub(super) fn has_room(&self) -> bool {
        self.built.len() + self.laid.len() < BOOKED_THINGS_MAX
    }

    /// Structures of a bot that surely stand.
    pub(super) fn standing(&self, bot: usize) -> impl ExactSizeIterator<Item = (ActId, &Built)> {
        self.standing[bot].iter().map(|id| (*id, &self.built[id]))
    }

    /// Acts of a bot that have no final answer.
    pub(super) fn open_of(&self, bot: usize) -> usize {
        self.open.range((bot, ActNumber(0))..=(bot, ActNumber(u64::MAX))).count()
    }

    /// Acts that have no final answer.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// Whether a structure of this swarm covers a tile, or shall.
    pub(super) fn is_taken(&self, island: u32, tile: TilePos) -> bool {
        self.taken.contains_key(&(island, tile))
    }

    fn free(&mut self, structure: ActId) {
        let Some(built) = self.built.get(&structure) else { return };
        for tile in plan::tiles(built.kind, built.corner, built.turned) {
            if self.taken.get(&(built.island, tile)) == Some(&structure) {
                self.taken.remove(&(built.island, tile));
            }
        }
    }

    /// Puts down an act that is being asked for.
    pub(super) fn ask(&mut self, bot: usize, number: ActNumber, entry: Entry) {
        match &entry.work {
            Work::Raise(built) => {
                for tile in plan::tiles(built.kind, built.corner, built.turned) {
                    self.taken.entry((built.island, tile)).or_insert(entry.id);
                }
                self.raise_asked(entry.id, built);
                self.built.insert(entry.id, built.clone());
            }
            Work::Lay(laid) => drop(self.laid.insert(entry.id, laid.clone())),
            Work::Offer(deal) => drop(self.deals.insert(entry.id, deal.clone())),
            Work::Allow(estate, bot, _) => self.leave_asked(*estate, *bot),
            Work::None | Work::Fell(_) | Work::Lift(..) | Work::Close(_) => {}
        }
        self.open.insert((bot, number), entry);
    }

    /// Puts down the final answer to an act; gives it back, if it was waited for.
    pub(super) fn answer(&mut self, bot: usize, number: ActNumber, fate: Fate) -> Option<Entry> {
        let entry = self.open.remove(&(bot, number))?;
        if fate == Fate::Done && entry.absurd {
            self.undue.push(entry.id);
        }
        for (whose, change) in &entry.moves {
            let account = &mut self.accounts[*whose];
            match fate {
                Fate::Done => add(&mut account.certain, change),
                Fate::Refused => {}
                Fate::Unknown | Fate::Asked if account.unknown.len() < UNKNOWN_ACTS_MAX => {
                    account.unknown.push((entry.id, change.clone()));
                }
                Fate::Unknown | Fate::Asked => account.lost_count = true,
            }
        }
        self.work_answered(&entry, fate);
        Some(entry)
    }

    fn work_answered(&mut self, entry: &Entry, fate: Fate) {
        match &entry.work {
            Work::None => {}
            Work::Raise(_) => {
                self.raise_answered(entry.id, fate);
                let Some(built) = self.built.get_mut(&entry.id) else { return };
                built.raised = fate;
                if fate == Fate::Done {
                    self.standing[built.bot].insert(entry.id);
                } else if fate == Fate::Refused {
                    self.free(entry.id);
                }
            }
            Work::Fell(structure) => {
                let Some(built) = self.built.get_mut(structure) else { return };
                if fate == Fate::Done && built.felled == Some(Fate::Done) {
                    self.undue.push(entry.id);
                }
                built.felled = later(built.felled, fate);
                if fate != Fate::Refused {
                    self.standing[built.bot].remove(structure);
                    self.free(*structure);
                }
            }
            Work::Lay(_) => {
                if let Some(laid) = self.laid.get_mut(&entry.id) {
                    laid.laid = fate;
                }
            }
            Work::Lift(stack, count) => {
                if let Some(laid) = self.laid.get_mut(stack) {
                    match fate {
                        Fate::Done => laid.lifted += count,
                        Fate::Refused => {}
                        Fate::Unknown | Fate::Asked => laid.maybe_lifted.push(*count),
                    }
                }
            }
            Work::Offer(_) if fate == Fate::Done => {
                if let Some(deal) = self.deals.get_mut(&entry.id) {
                    deal.open = true;
                }
            }
            Work::Offer(_) => drop(self.deals.remove(&entry.id)),
            Work::Close(trade) => self.deal_closed(entry, *trade, fate),
            Work::Allow(estate, bot, leave) => self.leave_answered((*estate, *bot), *leave, fate),
        }
    }

    fn deal_closed(&mut self, entry: &Entry, trade: ActId, fate: Fate) {
        if fate == Fate::Refused {
            return;
        }
        // One that may be closed can't be taken up again, but the answer to another try may still tell.
        let deal = self.deals.get_mut(&trade).map(|deal| {
            deal.open = false;
            deal.clone()
        });
        if fate == Fate::Done && self.deals.remove(&trade).is_none() {
            self.undue.push(entry.id);
        }
        let Some(deal) = deal else { return };
        for bot in [deal.from, deal.to] {
            let closed = &mut self.closed[bot];
            closed.push_back(trade);
            if closed.len() > CLOSED_DEALS_KEPT {
                closed.pop_front();
            }
        }
    }

    /// A trade that was closed lately, which the bot has not looked after yet.
    pub(super) fn take_closed(&mut self, bot: usize) -> Option<ActId> {
        self.closed[bot].pop_front()
    }

    /// Acts of a bot that nobody will answer any more; how many there were.
    pub(super) fn give_up(&mut self, bot: usize) -> usize {
        let of_bot = (bot, ActNumber(0))..=(bot, ActNumber(u64::MAX));
        let numbers: Vec<ActNumber> = self.open.range(of_bot).map(|((_, number), _)| *number).collect();
        numbers.iter().for_each(|number| drop(self.answer(bot, *number, Fate::Unknown)));
        numbers.len()
    }
}

/// What is known of several tries at the same thing: one that was done counts, a refused one changes nothing.
fn later(before: Option<Fate>, now: Fate) -> Option<Fate> {
    match now {
        Fate::Refused => before,
        Fate::Done => Some(Fate::Done),
        Fate::Unknown | Fate::Asked => before.filter(|before| *before == Fate::Done).or(Some(Fate::Unknown)),
    }
}

impl Account {
    /// What each kind must come to, without what nobody knows.
    fn expected(&self) -> Change {
        let mut expected = self.start.as_ref().map(|start| change(start, 1)).unwrap_or_default();
        add(&mut expected, &self.certain);
        expected
    }

    /// What of a bag is left to explain by acts that nobody knows of.
    fn left(&self, bag: &Items) -> Change {
        let mut left = change(bag, 1);
        self.expected().iter().for_each(|(kind, count)| *left.entry(*kind).or_default() -= count);
        left.retain(|_, count| *count != 0);
        left
    }

    /// How a bag differs from what must be in it: (missing, surplus) items, both 0 if it may be as it is.
    pub(super) fn difference(&self, bag: &Items) -> (u64, u64) {
        let left = self.left(bag);
        if fits(&left, &self.unknown) {
            return (0, 0);
        }
        // No choice of the unknown acts explains it. What not even the best choice for each kind does is the difference.
        let (mut missing, mut surplus) = (0, 0);
        for kind in ItemKind::ALL {
            let of = |change: &Change| change.get(kind).copied().unwrap_or(0);
            let (low, high) = self
                .unknown
                .iter()
                .fold((0, 0), |(low, high), (_, may)| (low + of(may).min(0), high + of(may).max(0)));
            let left = left.get(kind).copied().unwrap_or(0);
            missing += (low - left).max(0) as u64;
            surplus += (left - high).max(0) as u64;
        }
        if missing + surplus == 0 { (1, 0) } else { (missing, surplus) }
    }
}

/// Whether some of `unknown` come to exactly `left`.
fn fits(left: &Change, unknown: &[(ActId, Change)]) -> bool {
    if left.values().all(|count| *count == 0) {
        return true;
    }
    if unknown.len() > UNKNOWN_ACTS_TRIED_MAX {
        return (0..ItemKind::ALL.len()).all(|row| within(left, unknown, ItemKind::ALL[row]));
    }
    let Some(((_, first), rest)) = unknown.split_first() else { return false };
    let mut without = left.clone();
    first.iter().for_each(|(kind, count)| *without.entry(*kind).or_default() -= count);
    fits(left, rest) || fits(&without, rest)
}

/// Whether a kind alone could come out right; too many unknown acts to try every choice.
fn within(left: &Change, unknown: &[(ActId, Change)], kind: ItemKind) -> bool {
    let of = |change: &Change| change.get(&kind).copied().unwrap_or(0);
    let low: i64 = unknown.iter().map(|(_, change)| of(change).min(0)).sum();
    let high: i64 = unknown.iter().map(|(_, change)| of(change).max(0)).sum();
    (low..=high).contains(&of(left))
}

impl Laid {
    /// How many more (+) or fewer (-) lie there than may.
    pub(super) fn difference(&self, found: u32) -> i64 {
        let most = i64::from(self.count) - i64::from(self.lifted);
        let found = i64::from(found);
        if self.laid == Fate::Refused {
            return found;
        }
        if self.laid != Fate::Done && found == 0 && self.lifted == 0 {
            return 0;
        }
        let least = most - self.maybe_lifted.iter().map(|count| i64::from(*count)).sum::<i64>();
        let least = least.max(0);
        if found > most { found - most } else { (found - least).min(0) }
    }
}

mod joint;
mod leave;
#[cfg(test)]
mod tests;
