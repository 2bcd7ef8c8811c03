//! Bots that settle: they gather, craft, build, let each other build on estates, drop and pick up, give and trade, and
//! keep books of what they were told.
//! At the end the books are compared with what they see: every acknowledged act is there, none twice.
//!
//! Called by the engine. Pure: places, documents, answers and the time are handed in, what to do comes out. One swarm
//! settles on an island at a time: what it counts on being left of a resource, nobody else may take.

mod books;
mod check;
mod figures;
mod ground;
mod plan;
mod sight;

use std::collections::{BTreeMap, BTreeSet};

use chunk_sync::client::Documents;
use chunk_sync::ids::{IslandId, PlayerId};
use chunk_sync::limits::QUANTA_PER_CHUNK;
use chunk_sync::place::{ChunkPos, Place};
use chunk_sync::random::{self, RngExt, Stream};
use chunk_sync::records::encode;
use chunk_sync::terrain::LANDING;
use chunk_sync::time::Tick;
use chunk_sync::wire::{ActNumber, ActOutcome, Acted, Welcome};
use world_node::rules::items::Items;
use world_node::rules::structures::StructureKind;
use world_node::rules::{ActId, Action};

pub use self::check::Findings;
pub use self::figures::{AnswerMs, Settled};

use self::books::{Books, Built, Change, Deal, Entry, Fate, Laid, Leave, Work, change};
use self::check::Seen;
use self::figures::Figures;
use self::ground::Ground;
use self::plan::{Neighbour, Situation, Wish};
use super::limits::{
    ACT_PAUSE_MS, CAMP_BOTS, CAMP_QUANTA, CAMP_RING_MAX, CAMP_WALK_MS_MAX, CLAIMS_ONE_IN, HASTY_ONE_IN,
    NEIGHBOUR_QUANTA, SETTLER_OPEN_MAX, WISH_WALK_MS_MAX,
};

/// An action that is none: a byte that MessagePack never uses.
const GARBLED: [u8; 1] = [0xc1];

/// What a settler does next.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Turn {
    /// It stands.
    Rest,
    /// It walks on towards a place.
    Walk(Place),
    /// It asks for this; [`Settlers::asked`] wants to know under which number.
    Ask(Asking),
}

/// An act that a settler is about to ask for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asking {
    wish: Wish,
    /// The action as it travels.
    pub(super) bytes: Vec<u8>,
}

/// Where a settler is and what its client knows.
#[derive(Clone, Copy)]
pub(super) struct Here<'a> {
    pub(super) place: Place,
    /// Every step was acknowledged: the node knows it there.
    pub(super) still: bool,
    /// Low bits of the newest tick that its client heard of.
    pub(super) tick: u32,
    pub(super) now_ms: u64,
    pub(super) documents: &'a Documents,
}

/// While a settler is inside.
#[derive(Debug, Clone, Copy)]
struct Inside {
    player: PlayerId,
    node: u32,
    island: u32,
    seed: u64,
    /// The tick of its entry.
    tick: Tick,
}

/// One settling bot.
struct Settler {
    draws: Stream,
    inside: Option<Inside>,
    /// Where it lives; chosen when it comes in first.
    camp: Option<Place>,
    came_ms: u64,
    at_camp: bool,
    place: Place,
    /// What it carried when it last looked.
    bag: Items,
    wish: Option<(Wish, u64)>,
    pause_until_ms: u64,
}

/// All of them.
pub(super) struct Settlers {
    seed: u64,
    settlers: Vec<Settler>,
    books: Books,
    grounds: BTreeMap<(u64, u32), Ground>,
    figures: Figures,
    asking: bool,
}

impl Settlers {
    pub(super) fn new(seed: u64, bots: usize) -> Self {
        let settler = |bot: usize| Settler {
            draws: random::stream(seed, &format!("settle {bot}")),
            inside: None,
            camp: None,
            came_ms: 0,
            at_camp: false,
            place: Place::default(),
            bag: Items::default(),
            wish: None,
            pause_until_ms: 0,
        };
        Self {
            seed,
            settlers: (0..bots).map(settler).collect(),
            books: Books::new(bots),
            grounds: BTreeMap::new(),
            figures: Figures::new(),
            asking: true,
        }
    }

    /// Figures count from here.
    pub(super) fn begin_window(&mut self) {
        self.figures.begin_window();
    }

    /// The window is over: no settler asks for anything more.
    pub(super) fn stop_asking(&mut self) {
        self.asking = false;
    }

    /// Acts that have no final answer.
    pub(super) fn open(&self) -> usize {
        self.books.open()
    }

    /// Nobody waits any longer: what is open was never answered.
    pub(super) fn give_up(&mut self) {
        for bot in 0..self.settlers.len() {
            self.figures.never_answered += self.books.give_up(bot) as u64;
        }
    }

    /// A bot is in; its client asks again for `again` acts.
    pub(super) fn entered(&mut self, bot: usize, welcome: &Welcome, again: usize, now_ms: u64) {
        self.figures.resends += again as u64;
        let (seed, island) = (welcome.seed, welcome.island);
        let ground =
            self.grounds.entry((seed, island)).or_insert_with(|| Ground::new(seed, IslandId(island)));
        let settlers = self.settlers.len();
        let settler = &mut self.settlers[bot];
        settler.inside = Some(Inside {
            player: PlayerId(welcome.player),
            node: welcome.node,
            island,
            seed,
            tick: Tick(welcome.tick),
        });
        (settler.place, settler.wish) = (Place { x: welcome.x, y: welcome.y }, None);
        if settler.camp.is_none() {
            settler.camp = Some(camp(self.seed, bot, settlers, ground));
            settler.came_ms = now_ms;
        }
    }

    /// A bot is out, for now.
    pub(super) fn left(&mut self, bot: usize) {
        (self.settlers[bot].inside, self.settlers[bot].wish) = (None, None);
    }

    /// A bot has given up for good: what it asked for will never be answered.
    pub(super) fn ended(&mut self, bot: usize) {
        self.left(bot);
        self.figures.never_answered += self.books.give_up(bot) as u64;
    }

    /// What came of an act.
    pub(super) fn acted(&mut self, bot: usize, acted: &Acted, now_ms: u64) {
        if acted.outcome == ActOutcome::Waiting {
            self.figures.waits += 1;
            return;
        }
        let forbidden = self.books.is_forbidden_act(bot, acted.id);
        let Some(entry) = self.books.answer(bot, acted.id, Fate::from(acted.outcome)) else { return };
        self.figures.answered(acted, now_ms.saturating_sub(entry.asked_ms));
        if acted.outcome == ActOutcome::Done
            && let Some(feat) = self.feat(&entry)
        {
            self.figures.did(feat);
        }
        if forbidden && acted.outcome == ActOutcome::Refused {
            self.figures.did("buildings refused after a revocation");
        }
        if let Some((at, units)) = entry.taken {
            let refused = acted.outcome == ActOutcome::Refused;
            let grounds = self.grounds.iter_mut().filter(|((_, island), _)| *island == entry.id.island.0);
            grounds.for_each(|(_, ground)| ground.answered(at, units, refused, now_ms));
        }
    }

    /// What is harder than the rest, of what was done.
    fn feat(&self, entry: &Entry) -> Option<&'static str> {
        let nodes = entry.moves.keys().filter_map(|bot| Some(self.settlers[*bot].inside?.node));
        let apart = nodes.collect::<BTreeSet<u32>>().len() > 1;
        match &entry.work {
            Work::None if apart => Some("gifts between nodes"),
            Work::Close(_) if apart => Some("trades between nodes"),
            Work::Raise(built) if self.books.is_by_leave(built) => Some("buildings by leave of an owner"),
            Work::Raise(built) => {
                let mut tiles = plan::tiles(built.kind, built.corner, built.turned);
                tiles.any(|tile| tile.chunk() != built.corner.chunk()).then_some("buildings over a border")
            }
            _ => None,
        }
    }

    /// What a bot that is inside does next.
    pub(super) fn turn(&mut self, bot: usize, here: Here<'_>) -> Turn {
        self.settlers[bot].place = here.place;
        let (Some(inside), Some(bag)) = (self.settlers[bot].inside, sight::bag(here.documents)) else {
            return Turn::Rest;
        };
        self.books.accounts[bot].start.get_or_insert_with(|| bag.items.clone());
        if !self.asking {
            return Turn::Rest;
        }
        self.settlers[bot].bag = bag.items.clone();
        if let Some(camp) = self.camp_ahead(bot, here) {
            return Turn::Walk(camp);
        }
        let camp = self.settlers[bot].camp.unwrap_or(here.place);
        if here.now_ms >= self.settlers[bot].pause_until_ms && self.settlers[bot].wish.is_none() {
            let neighbours = self.neighbours(bot, inside.island, here.place);
            let Self { settlers, books, grounds, .. } = self;
            let Some(ground) = grounds.get_mut(&(inside.seed, inside.island)) else { return Turn::Rest };
            let (place, now_ms, documents) = (here.place, here.now_ms, here.documents);
            let ahead = here.tick.wrapping_sub(inside.tick.0 as u32);
            let tick = Tick(inside.tick.0 + u64::from(ahead));
            let mut situation = Situation {
                bot,
                island: inside.island,
                place,
                camp,
                tick,
                now_ms,
                bag,
                claims: bot.is_multiple_of(CLAIMS_ONE_IN),
                documents,
                neighbours,
                books,
                ground,
            };
            let settler = &mut settlers[bot];
            settler.wish = plan::choose(&mut situation, &mut settler.draws).map(|wish| (wish, now_ms));
            if settler.wish.is_none() {
                settler.pause(now_ms);
            }
        }
        self.pursue(bot, here, camp)
    }

    /// The camp, while a bot is on its way there; one that can't get there settles where it is.
    fn camp_ahead(&mut self, bot: usize, here: Here<'_>) -> Option<Place> {
        let settler = &mut self.settlers[bot];
        let camp = settler.camp.filter(|_| !settler.at_camp)?;
        let near = i64::from(CAMP_QUANTA / 2);
        if here.place.distance_squared(camp) <= near * near {
            settler.at_camp = true;
            return None;
        }
        if here.now_ms >= settler.came_ms + CAMP_WALK_MS_MAX {
            (settler.camp, settler.at_camp) = (Some(here.place), true);
            return None;
        }
        Some(camp)
    }

    /// Goes after what it wants.
    fn pursue(&mut self, bot: usize, here: Here<'_>, camp: Place) -> Turn {
        let open = self.books.open_of(bot);
        let settler = &mut self.settlers[bot];
        let Some((wish, since_ms)) = &settler.wish else {
            // It strolls back while it has nothing to do.
            return if plan::is_there(here.place, camp) { Turn::Rest } else { Turn::Walk(camp) };
        };
        match wish.near {
            Some(near) if !plan::is_there(here.place, near) => {
                if here.now_ms < since_ms + WISH_WALK_MS_MAX {
                    return Turn::Walk(near);
                }
                settler.wish = None;
                settler.pause(here.now_ms);
                Turn::Rest
            }
            _ if !here.still || open >= SETTLER_OPEN_MAX => Turn::Rest,
            _ => {
                let Some((wish, _)) = settler.wish.take() else { return Turn::Rest };
                settler.pause(here.now_ms);
                if !wish.absurd && self.is_gone(bot, &wish.action) {
                    return Turn::Rest;
                }
                let bytes = if wish.garbled { GARBLED.to_vec() } else { encode(&wish.action) };
                Turn::Ask(Asking { bytes, wish })
            }
        }
    }

    /// Whether somebody else took meanwhile what a bot walked to.
    fn is_gone(&mut self, bot: usize, action: &Action) -> bool {
        let (Action::Gather { chunk, resource }, Some(inside)) = (action, self.settlers[bot].inside) else {
            return false;
        };
        let Some(ground) = self.grounds.get_mut(&(inside.seed, inside.island)) else { return true };
        let at = (*chunk, *resource);
        plan::kind_at(ground, at).is_none_or(|kind| ground.still_left(at) < plan::least(kind))
    }

    /// A settler's client took what it asks for, under this number.
    pub(super) fn asked(&mut self, bot: usize, number: ActNumber, asking: &Asking, now_ms: u64) {
        let Some(inside) = self.settlers[bot].inside else { return };
        let Wish { action, absurd, .. } = &asking.wish;
        let act = u64::from(number.number());
        let id = ActId { player: inside.player, epoch: number.epoch(), island: IslandId(inside.island), act };
        let mut entry = Entry {
            id,
            asked_ms: now_ms,
            moves: BTreeMap::new(),
            work: Work::None,
            taken: None,
            absurd: *absurd,
        };
        if !absurd {
            self.put_down(bot, inside, action, &mut entry);
        }
        self.figures.asked(action);
        self.books.ask(bot, number, entry);
    }

    /// What an action brings about if it is done.
    fn put_down(&mut self, bot: usize, inside: Inside, action: &Action, entry: &mut Entry) {
        let island = inside.island;
        let mut moves =
            |whose: usize, change: Change| books::add(entry.moves.entry(whose).or_default(), &change);
        match action {
            Action::Gather { chunk, resource } => {
                let Some(ground) = self.grounds.get_mut(&(inside.seed, island)) else { return };
                let at = (*chunk, *resource);
                let Some(kind) = plan::kind_at(ground, at) else { return };
                let units = kind.spec().units_per_act;
                ground.take(at, units);
                moves(bot, change(&Items::of(kind.spec().item, units), 1));
                entry.taken = Some((at, units));
            }
            Action::Craft { recipe } => {
                moves(bot, change(&recipe.spec().needs.into(), -1));
                moves(bot, change(&recipe.spec().gives.into(), 1));
            }
            Action::Build { kind, place, turned } => {
                moves(bot, change(&kind.spec().materials.into(), -1));
                let (kind, corner, turned, claims) = (*kind, *place, *turned, Vec::new());
                entry.work = Work::Raise(built(bot, island, kind, corner, turned, claims));
            }
            Action::ClaimEstate { place, chunks } => {
                let kind = StructureKind::Totem;
                moves(bot, change(&kind.spec().materials.into(), -1));
                let claims = chunks.iter().copied().chain([place.chunk()]).collect();
                entry.work = Work::Raise(built(bot, island, kind, *place, false, claims));
            }
            Action::Demolish { structure, .. } => {
                let kind = self.books.built.get(structure).map(|built| built.kind);
                kind.iter().for_each(|kind| moves(bot, change(&kind.spec().refund.into(), 1)));
                entry.work = Work::Fell(*structure);
            }
            Action::Drop { item, count } => {
                moves(bot, change(&Items::of(*item, *count), -1));
                let chunk = self.settlers[bot].place.chunk();
                let (count, laid, lifted, maybe_lifted) = (*count, Fate::Asked, 0, Vec::new());
                entry.work =
                    Work::Lay(Laid { bot, island, chunk, item: *item, count, laid, lifted, maybe_lifted });
            }
            Action::PickUp { stack, count, .. } => {
                let item = self.books.laid.get(stack).map(|laid| laid.item);
                item.iter().for_each(|item| moves(bot, change(&Items::of(*item, *count), 1)));
                entry.work = Work::Lift(*stack, *count);
            }
            Action::Give { to, item, count } => {
                moves(bot, change(&Items::of(*item, *count), -1));
                let to = self.bot_of(*to);
                to.iter().for_each(|to| moves(*to, change(&Items::of(*item, *count), 1)));
            }
            Action::Offer { to, give, want } => {
                moves(bot, change(give, -1));
                if let Some(to) = self.bot_of(*to) {
                    let (give, want) = (give.clone(), want.clone());
                    entry.work = Work::Offer(Deal { from: bot, to, give, want, open: false });
                }
            }
            Action::Accept { trade } | Action::Cancel { trade } => {
                let Some(deal) = self.books.deals.get(trade) else { return };
                if matches!(action, Action::Accept { .. }) {
                    moves(deal.to, change(&deal.want, -1));
                    moves(deal.to, change(&deal.give, 1));
                    moves(deal.from, change(&deal.want, 1));
                } else {
                    moves(deal.from, change(&deal.give, 1));
                }
                entry.work = Work::Close(*trade);
            }
            Action::Permit { estate, player, .. } | Action::Revoke { estate, player, .. } => {
                let gives = matches!(action, Action::Permit { .. });
                let meant = if gives { Leave::Given } else { Leave::Revoked };
                let to = self.bot_of(*player);
                to.iter().for_each(|to| entry.work = Work::Allow(*estate, *to, meant));
            }
            Action::Collect { .. } | Action::Travel { .. } => {}
        }
    }

    fn bot_of(&self, player: PlayerId) -> Option<usize> {
        self.settlers.iter().position(|settler| settler.inside.is_some_and(|inside| inside.player == player))
    }

    /// Bots near enough to give something to, whose bags are known from their start on.
    fn neighbours(&self, bot: usize, island: u32, place: Place) -> Vec<Neighbour> {
        let near = i64::from(NEIGHBOUR_QUANTA);
        let others = self.settlers.iter().enumerate().filter_map(|(other, settler)| {
            let inside = settler.inside.filter(|inside| inside.island == island && other != bot)?;
            let is_near = settler.place.distance_squared(place) <= near * near;
            let known = self.books.accounts[other].start.is_some();
            let (player, bag) = (inside.player, &settler.bag);
            (is_near && known).then(|| Neighbour { bot: other, player, bag: bag.clone() })
        });
        others.collect()
    }

    /// Compares the books with what the bots see.
    pub(super) fn check<'a>(&self, documents: impl Iterator<Item = (usize, &'a Documents)>) -> Findings {
        let seen = documents.filter_map(|(bot, documents)| {
            let island = self.settlers[bot].inside?.island;
            Some(Seen { bot, island, documents })
        });
        check::check(&self.books, &seen.collect::<Vec<_>>())
    }

    /// What came of it all.
    pub(super) fn settled(&self, seconds: f64, findings: Option<Findings>) -> Settled {
        self.figures.settled(seconds, findings)
    }
}

impl Settler {
    fn pause(&mut self, now_ms: u64) {
        if self.draws.random_range(0..HASTY_ONE_IN) == 0 {
            return;
        }
        let (shortest, longest) = ACT_PAUSE_MS;
        self.pause_until_ms = now_ms + self.draws.random_range(shortest..=longest);
    }
}

fn built(
    bot: usize,
    island: u32,
    kind: StructureKind,
    corner: world_node::rules::site::TilePos,
    turned: bool,
    claims: Vec<ChunkPos>,
) -> Built {
    Built { bot, kind, island, corner, turned, claims, raised: Fate::Asked, felled: None }
}

/// Where a bot's camp is: somewhere around the landing where one can stand, often near a border between chunks.
fn camp(seed: u64, bot: usize, bots: usize, ground: &mut Ground) -> Place {
    let camps = bots.div_ceil(CAMP_BOTS);
    let mut draws = random::stream(seed, &format!("camp {}", bot / CAMP_BOTS));
    let ring = (1..CAMP_RING_MAX).find(|ring| ((2 * ring + 1) * (2 * ring + 1)) as usize >= camps);
    let reach = i32::from(ring.unwrap_or(CAMP_RING_MAX)) * QUANTA_PER_CHUNK;
    let middle = LANDING.middle();
    for _ in 0..64 {
        let mut axis = |middle: i32| middle + draws.random_range(-reach..=reach);
        let place = Place { x: axis(middle.x), y: axis(middle.y) };
        if ground.is_buildable(world_node::rules::site::TilePos::under(place)) {
            return place;
        }
    }
    middle
}

#[cfg(test)]
mod tests;
