//! What a settler wants next: something that works now and then, something that somebody else may have got first, and
//! now and then something that must be refused.
//!
//! Pure: what it knows and a seeded random stream are handed in. It asks nobody and keeps no books.

use chunk_sync::client::Documents;
use chunk_sync::ids::{IslandId, PlayerId};
use chunk_sync::place::{ChunkPos, Place};
use chunk_sync::random::{RngExt, Stream};
use chunk_sync::time::Tick;
use world_node::rules::documents::{BagRecord, Right};
use world_node::rules::items::{ItemKind, Items};
use world_node::rules::limits::{REACH_QUANTA, TILE_QUANTA};
use world_node::rules::recipes::Recipe;
use world_node::rules::resources::{Growth, ResourceKind};
use world_node::rules::site::TilePos;
use world_node::rules::structures::StructureKind;
use world_node::rules::{ActId, Action};

use super::books::{Books, Fate, Leave};
use super::ground::Ground;
use super::sight;
use crate::swarm::limits::{
    BUILT_PER_BOT_MAX, CAMP_QUANTA, CARRIED_MAX, NEAR_QUANTA, STACK_DROPPED_MAX, STAMINA_KEPT,
};

/// What a settler wants.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wish {
    /// What.
    pub action: Action,
    /// Where it must stand for it, or anywhere.
    pub near: Option<Place>,
    /// No rule may ever allow it.
    pub absurd: bool,
    /// It travels as bytes that no rule understands.
    pub garbled: bool,
}

impl Wish {
    fn here(action: Action) -> Self {
        Self { action, near: None, absurd: false, garbled: false }
    }

    fn at(action: Action, near: Place) -> Self {
        Self { action, near: Some(near), absurd: false, garbled: false }
    }
}

/// Another bot that stands near.
#[derive(Debug, Clone)]
pub(super) struct Neighbour {
    /// The bot.
    pub bot: usize,
    /// Its player.
    pub player: PlayerId,
    /// What it carried when it last looked.
    pub bag: Items,
}

/// What a settler knows when it chooses.
pub(super) struct Situation<'a> {
    pub bot: usize,
    pub island: u32,
    pub place: Place,
    pub camp: Place,
    pub tick: Tick,
    pub now_ms: u64,
    pub bag: BagRecord,
    /// It saves for a totem.
    pub claims: bool,
    pub documents: &'a Documents,
    pub neighbours: Vec<Neighbour>,
    pub books: &'a mut Books,
    pub ground: &'a mut Ground,
}

/// The middle of a tile.
pub(super) fn middle(tile: TilePos) -> Place {
    let axis = |tile: i32| tile * TILE_QUANTA + TILE_QUANTA / 2;
    Place { x: axis(tile.x), y: axis(tile.y) }
}

fn is_near(a: Place, b: Place, quanta: i32) -> bool {
    a.distance_squared(b) <= i64::from(quanta) * i64::from(quanta)
}

/// One of several, if there are any.
fn any_of<T>(draws: &mut Stream, mut some: Vec<T>) -> Option<T> {
    if some.is_empty() { None } else { Some(some.swap_remove(draws.random_range(0..some.len()))) }
}

type Choice = fn(&mut Situation<'_>, &mut Stream) -> Option<Wish>;

/// What can be wanted, and how much.
const CHOICES: [(u32, Choice); 13] = [
    (40, gather),
    (24, craft),
    (20, build),
    (6, demolish),
    (8, lay_down),
    (12, pick_up),
    (8, give),
    (8, offer),
    (16, close_deal),
    (3, collect),
    (4, claim),
    (6, allow),
    (6, absurd),
];

impl Situation<'_> {
    fn has(&self, kind: ItemKind) -> u32 {
        self.bag.items.count(kind)
    }

    /// Room for more of a kind, by what a settler wants to carry: bags never fill up.
    fn lacks(&self, kind: ItemKind) -> u32 {
        carried_max(kind).saturating_sub(self.has(kind))
    }

    fn stamina(&self) -> u32 {
        self.bag.stamina.now(self.tick)
    }

    fn affords(&self, cost: u32) -> bool {
        self.stamina() >= cost + STAMINA_KEPT
    }
}

fn carried_max(kind: ItemKind) -> u32 {
    CARRIED_MAX[kind as usize]
}

/// What it wants next; `None` when nothing of what came to its mind can be done.
pub(super) fn choose(now: &mut Situation<'_>, draws: &mut Stream) -> Option<Wish> {
    let total: u32 = CHOICES.iter().map(|(weight, _)| weight).sum();
    for _ in 0..CHOICES.len() {
        let mut draw = draws.random_range(0..total);
        for (weight, choice) in CHOICES {
            if draw < weight {
                if let Some(wish) = choice(now, draws) {
                    return Some(wish);
                }
                break;
            }
            draw -= weight;
        }
    }
    None
}

/// Takes from a resource not far from the camp, of which surely a whole act's worth is left.
fn gather(now: &mut Situation<'_>, draws: &mut Stream) -> Option<Wish> {
    // Now and then it tries what may be used up.
    let dares = draws.random_range(0..20) == 0;
    let mut near: Vec<(i64, ChunkPos, Growth)> = Vec::new();
    for chunk in now.place.chunk().around(1) {
        for growth in now.ground.grown(chunk) {
            let spec = growth.kind.spec();
            let place = middle(TilePos::in_chunk(chunk, growth.tile));
            let wanted = now.lacks(spec.item) >= spec.units_per_act && now.affords(spec.stamina);
            let tool = spec.tool.is_none_or(|tool| now.has(tool) > 0);
            if wanted && tool && is_near(place, now.camp, CAMP_QUANTA) && is_left(now, chunk, growth, dares) {
                near.push((now.place.distance_squared(place), chunk, growth));
            }
        }
    }
    near.sort_unstable_by_key(|(distance, chunk, growth)| (*distance, *chunk, growth.tile));
    near.truncate(4);
    let (_, chunk, growth) = any_of(draws, near)?;
    let place = middle(TilePos::in_chunk(chunk, growth.tile));
    Some(Wish::at(Action::Gather { chunk, resource: growth.tile }, place))
}

fn is_left(now: &mut Situation<'_>, chunk: ChunkPos, growth: Growth, dares: bool) -> bool {
    let at = (chunk, growth.tile);
    let Some(seen) = sight::units(now.documents, at, growth.kind, now.tick) else { return false };
    let wanted = if dares { least(growth.kind) } else { growth.kind.spec().units_per_act };
    now.ground.left(at, growth.kind, seen, now.now_ms) >= wanted
}

/// Units of a resource that must surely be left, so that it is known what an act gives. Where an act gives one or
/// nothing, the last one is anybody's.
pub(super) fn least(kind: ResourceKind) -> u32 {
    match kind.spec().units_per_act {
        1 => 0,
        units => units,
    }
}

/// The kind that grows at a tile.
pub(super) fn kind_at(ground: &mut Ground, (chunk, tile): (ChunkPos, u8)) -> Option<ResourceKind> {
    ground.grown(chunk).iter().find(|growth| growth.tile == tile).map(|growth| growth.kind)
}

fn craft(now: &mut Situation<'_>, draws: &mut Stream) -> Option<Wish> {
    let wanted = |recipe: &Recipe| {
        let spec = recipe.spec();
        let room = spec.gives.iter().all(|(kind, count)| now.lacks(*kind) >= *count);
        let saves = now.claims || *recipe != Recipe::Totem;
        room && saves && now.affords(spec.stamina) && now.bag.items.has(&Items::from(spec.needs))
    };
    let recipes: Vec<Recipe> = Recipe::ALL.iter().copied().filter(wanted).collect();
    let best = recipes.iter().copied().find(|recipe| matches!(recipe, Recipe::Totem | Recipe::Pick));
    best.or_else(|| any_of(draws, recipes)).map(|recipe| Wish::here(Action::Craft { recipe }))
}

/// Builds within reach; sometimes over a chunk border, sometimes where something stands already.
fn build(now: &mut Situation<'_>, draws: &mut Stream) -> Option<Wish> {
    if !now.books.has_room() || now.books.standing(now.bot).len() >= BUILT_PER_BOT_MAX {
        return None;
    }
    let kinds = [StructureKind::Hearth, StructureKind::Fence, StructureKind::Hut, StructureKind::Hall];
    // Who saves for a totem keeps wood and stone.
    let kept = if now.claims && now.has(ItemKind::Totem) == 0 { TOTEM_SAVINGS } else { &[] };
    let mut spare = now.bag.items.clone();
    let _ = spare.take(&Items::from(kept));
    let affordable = |kind: &StructureKind| {
        let spec = kind.spec();
        spare.has(&Items::from(spec.materials)) && now.affords(spec.stamina)
    };
    let kind = any_of(draws, kinds.into_iter().filter(affordable).collect())?;
    let turned = draws.random();
    let crowded = draws.random_range(0..8) == 0;
    let here = TilePos::under(now.place);
    for _ in 0..6 {
        let corner =
            TilePos { x: here.x + draws.random_range(-2..=1), y: here.y + draws.random_range(-2..=1) };
        let mut tiles = tiles(kind, corner, turned);
        if crowded || tiles.all(|tile| now.ground.is_buildable(tile) && !now.books.is_taken(now.island, tile))
        {
            return Some(Wish::here(Action::Build { kind, place: corner, turned }));
        }
    }
    None
}

/// What a totem takes besides rope.
const TOTEM_SAVINGS: &[(ItemKind, u32)] = &[(ItemKind::Wood, 10), (ItemKind::Stone, 5)];

/// The tiles that a structure covers.
pub(super) fn tiles(kind: StructureKind, corner: TilePos, turned: bool) -> impl Iterator<Item = TilePos> {
    let (east, north) = kind.spec().tiles;
    let (east, north) = if turned { (north, east) } else { (east, north) };
    (0..i32::from(north))
        .flat_map(move |y| (0..i32::from(east)).map(move |x| TilePos { x: corner.x + x, y: corner.y + y }))
}

fn demolish(now: &mut Situation<'_>, draws: &mut Stream) -> Option<Wish> {
    let many = now.books.standing(now.bot).len();
    if many == 0 || (many < BUILT_PER_BOT_MAX && draws.random_range(0..3) > 0) {
        return None;
    }
    let here = now.books.standing(now.bot).filter(|(_, built)| built.island == now.island);
    let own: Vec<_> = here.map(|(id, built)| (id, built.corner, built.kind)).collect();
    let room = |(_, _, kind): &(ActId, TilePos, StructureKind)| {
        kind.spec().refund.iter().all(|(item, count)| now.lacks(*item) >= *count)
    };
    let (structure, corner, _) = any_of(draws, own.into_iter().filter(room).collect())?;
    Some(Wish::at(Action::Demolish { chunk: corner.chunk(), structure }, middle(corner)))
}

fn lay_down(now: &mut Situation<'_>, draws: &mut Stream) -> Option<Wish> {
    if !now.books.has_room() || sight::stacks_at(now.documents, now.place).len() > 8 {
        return None;
    }
    let (item, held) = any_of(draws, now.bag.items.iter().collect())?;
    let count = draws.random_range(1..=held.min(STACK_DROPPED_MAX).min(item.spec().stack));
    Some(Wish::here(Action::Drop { item, count }))
}

/// Picks up what bots of this swarm have dropped; what others lost is theirs.
fn pick_up(now: &mut Situation<'_>, draws: &mut Stream) -> Option<Wish> {
    let stacks = sight::stacks_at(now.documents, now.place);
    let wanted = stacks.into_iter().filter(|stack| {
        let ours = now.books.laid.get(&stack.id).is_some_and(|laid| laid.laid == Fate::Done);
        ours && stack.count > 0 && now.lacks(stack.item) > 0 && is_near(stack.place, now.place, REACH_QUANTA)
    });
    let stack = any_of(draws, wanted.collect())?;
    let count = draws.random_range(1..=stack.count.min(now.lacks(stack.item)));
    let (chunk, cell) = (now.place.chunk(), now.place.cell());
    Some(Wish::here(Action::PickUp { chunk, cell, stack: stack.id, count }))
}

/// Something that one has and another has room for.
fn to_spare(from: &Items, to: &Items, draws: &mut Stream) -> Option<(ItemKind, u32)> {
    let wanted = from.iter().filter_map(|(kind, count)| {
        let most = count.min(carried_max(kind).saturating_sub(to.count(kind))).min(3);
        (most > 0).then_some((kind, most))
    });
    let (kind, most) = any_of(draws, wanted.collect())?;
    Some((kind, draws.random_range(1..=most)))
}

fn give(now: &mut Situation<'_>, draws: &mut Stream) -> Option<Wish> {
    let other = any_of(draws, now.neighbours.clone())?;
    let (item, count) = to_spare(&now.bag.items, &other.bag, draws)?;
    Some(Wish::here(Action::Give { to: other.player, item, count }))
}

fn offer(now: &mut Situation<'_>, draws: &mut Stream) -> Option<Wish> {
    if now.books.deals.values().filter(|deal| deal.from == now.bot).count() >= 2 {
        return None;
    }
    let other = any_of(draws, now.neighbours.clone())?;
    let (item, count) = to_spare(&now.bag.items, &other.bag, draws)?;
    let give = Items::of(item, count);
    // Sometimes it is a present.
    let want = to_spare(&other.bag, &now.bag.items, draws).map(|(kind, count)| Items::of(kind, count));
    Some(Wish::here(Action::Offer { to: other.player, give, want: want.unwrap_or_default() }))
}

/// Accepts a trade, or calls one off; both sides may do so at once.
fn close_deal(now: &mut Situation<'_>, draws: &mut Stream) -> Option<Wish> {
    let mine =
        now.books.deals.iter().filter(|(_, deal)| deal.open && (deal.from == now.bot || deal.to == now.bot));
    let (trade, mine) = any_of(draws, mine.map(|(id, deal)| (*id, deal.from == now.bot)).collect())?;
    let accepts = !mine && draws.random_range(0..4) > 0;
    // Whoever offered waits a little, on the average.
    if mine && draws.random_range(0..3) > 0 {
        return None;
    }
    Some(Wish::here(if accepts { Action::Accept { trade } } else { Action::Cancel { trade } }))
}

/// Looks whether a closed trade still holds something.
fn collect(now: &mut Situation<'_>, _: &mut Stream) -> Option<Wish> {
    now.books.take_closed(now.bot).map(|trade| Wish::here(Action::Collect { trade }))
}

fn claim(now: &mut Situation<'_>, draws: &mut Stream) -> Option<Wish> {
    if now.has(ItemKind::Totem) == 0
        || !now.affords(StructureKind::Totem.spec().stamina)
        || !now.books.has_room()
    {
        return None;
    }
    let here = TilePos::under(now.place);
    let place = TilePos { x: here.x + draws.random_range(-1..=1), y: here.y + draws.random_range(-1..=1) };
    let around = place.chunk().around(1).filter(|chunk| *chunk != place.chunk());
    let chunks = around.filter(|_| draws.random_range(0..4) == 0).collect();
    now.ground.is_buildable(place).then(|| Wish::here(Action::ClaimEstate { place, chunks }))
}

/// Lets a neighbour build on its estate, or no more.
fn allow(now: &mut Situation<'_>, draws: &mut Stream) -> Option<Wish> {
    let totems = now.books.standing(now.bot);
    let totems = totems.filter(|(_, built)| built.kind == StructureKind::Totem && built.island == now.island);
    let (estate, corner) = any_of(draws, totems.map(|(id, built)| (id, built.corner)).collect())?;
    let (chunk, other) = (corner.chunk(), any_of(draws, now.neighbours.clone())?);
    let player = other.player;
    let action = match now.books.leave(estate, other.bot) {
        None | Some(Leave::Revoked) => Action::Permit { chunk, estate, player, rights: vec![Right::Build] },
        Some(Leave::Given) => Action::Revoke { chunk, estate, player },
        Some(Leave::Asked | Leave::Unknown) => return None,
    };
    Some(Wish::at(action, middle(corner)))
}

/// Something that no rule allows, whatever the world is like.
fn absurd(now: &mut Situation<'_>, draws: &mut Stream) -> Option<Wish> {
    let (player, epoch, island) = (PlayerId(0), chunk_sync::ids::Epoch(1), IslandId(now.island));
    let nothing = ActId { player, epoch, island, act: 1 };
    let chunk = now.place.chunk();
    let off = TilePos { x: -3, y: 9_999 };
    let far = Items::of(ItemKind::Berry, 1);
    if let Some(wish) = far_or_foreign(now, draws) {
        return Some(wish);
    }
    let action = match draws.random_range(0..10) {
        0 => Action::Drop { item: ItemKind::Wood, count: 0 },
        1 => Action::Cancel { trade: nothing },
        2 => Action::Accept { trade: nothing },
        3 => Action::Demolish { chunk, structure: nothing },
        4 => Action::PickUp { chunk, cell: now.place.cell(), stack: nothing, count: 1 },
        5 => Action::Gather { chunk: ChunkPos::new(-1, 3), resource: 0 },
        6 => Action::Build { kind: StructureKind::Hearth, place: off, turned: false },
        7 => Action::Give { to: player, item: ItemKind::Berry, count: 1 },
        8 => Action::Offer { to: player, give: far, want: Items::default() },
        _ => {
            return Some(Wish {
                absurd: true,
                garbled: true,
                ..Wish::here(Action::Craft { recipe: Recipe::Rope })
            });
        }
    };
    Some(Wish { absurd: true, ..Wish::here(action) })
}

/// Now and then: a resource that is too far away, a structure that is another's.
fn far_or_foreign(now: &mut Situation<'_>, draws: &mut Stream) -> Option<Wish> {
    let action = match draws.random_range(0..4) {
        0 => {
            let chunk = now.place.chunk();
            let far = |growth: &Growth| {
                !is_near(middle(TilePos::in_chunk(chunk, growth.tile)), now.place, 4 * REACH_QUANTA)
            };
            let growth = any_of(draws, now.ground.grown(chunk).into_iter().filter(far).collect())?;
            Action::Gather { chunk, resource: growth.tile }
        }
        // On an estate of one's own it would be allowed.
        1 if !now.claims => {
            let other = any_of(draws, now.neighbours.clone())?;
            let theirs = now.books.standing(other.bot).map(|(id, built)| (id, built.corner));
            let (structure, corner) = any_of(draws, theirs.collect())?;
            Action::Demolish { chunk: corner.chunk(), structure }
        }
        _ => return None,
    };
    Some(Wish { absurd: true, ..Wish::here(action) })
}

/// Whether one stands near enough to a wish's place.
pub(super) fn is_there(place: Place, near: Place) -> bool {
    is_near(place, near, NEAR_QUANTA)
}
