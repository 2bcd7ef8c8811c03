//! What a bot of a simulated cluster wants: some act of every sort with some chance, guessed from what it sees. Much of
//! it works; enough of it must be refused.
//!
//! Pure; asked by the cluster. It knows nothing of the store and keeps no books.

use super::deeds::Deal;
use chunk_sync::ids::{IslandId, PlayerId};
use chunk_sync::limits::{ISLAND_EDGE_CHUNKS, TILES_PER_CHUNK_EDGE};
use chunk_sync::place::{ChunkPos, Place};
use chunk_sync::random::{RngExt, Stream};
use world_node::rules::documents::{BagRecord, EstateRecord, GroundStack, Right, StructureRecord};
use world_node::rules::items::{ItemKind, Items};
use world_node::rules::limits::{HAND_OVER_QUANTA, REACH_QUANTA};
use world_node::rules::recipes::Recipe;
use world_node::rules::site::TilePos;
use world_node::rules::structures::StructureKind;
use world_node::rules::{Action, ChunkLand};

/// How near somebody is of whom a bot thinks; a little further than hands reach.
pub(super) const NEAR_QUANTA: i64 = HAND_OVER_QUANTA as i64 * 5 / 4;
/// One act in so many isn't thought over: it is likely refused.
const RASH_ONE_IN: u32 = 8;
/// Trades of its own that a bot thinks of, the newest.
const TRADES_THOUGHT_OF: usize = 3;

/// What a bot knows when it chooses.
pub(super) struct Surroundings<'a> {
    pub island: IslandId,
    pub player: PlayerId,
    pub place: Place,
    pub bag: BagRecord,
    pub near: Vec<PlayerId>,
    pub structures: Vec<StructureRecord>,
    /// Estates, each once, as its home has it.
    pub estates: Vec<EstateRecord>,
    pub stacks: Vec<(ChunkPos, u8, GroundStack)>,
    pub land: &'a ChunkLand,
    pub trades: &'a [Deal],
}

/// An act.
pub(super) fn choose(now: &Surroundings<'_>, random: &mut Stream) -> Action {
    match random.random_range(0..100) {
        0..18 => now.gather(random),
        18..26 => Action::Craft { recipe: *pick(random, Recipe::ALL).unwrap_or(&Recipe::Rope) },
        26..46 => now.build(random),
        46..53 => now.demolish(random),
        53..58 => {
            let (item, count) = now.some_item(random);
            Action::Drop { item, count }
        }
        58..66 => now.pick_up(random),
        66..73 if now.has_company(random) => {
            let (item, count) = now.some_item(random);
            Action::Give { to: now.somebody(random), item, count: count.min(9) }
        }
        66..73 => now.build(random),
        73..80 if now.has_company(random) => now.offer(random),
        73..80 => now.gather(random),
        80..89 => now.trade(random),
        89..97 => now.estate(random),
        _ => Action::Travel { island: IslandId(3 - now.island.0.clamp(1, 2)) },
    }
}

impl Surroundings<'_> {
    fn gather(&self, random: &mut Stream) -> Action {
        let chunk = self.place.chunk();
        let reached =
            |tile: u8| TilePos::in_chunk(chunk, tile).reached_from((1, 1), self.place, REACH_QUANTA);
        let near: Vec<u8> = self.land.grown.iter().map(|g| g.tile).filter(|tile| reached(*tile)).collect();
        let resource = pick(random, &near).copied().unwrap_or_else(|| random.random());
        Action::Gather { chunk, resource }
    }

    fn tile(&self, random: &mut Stream) -> TilePos {
        let here = TilePos::under(self.place);
        TilePos { x: here.x + random.random_range(-2..=2), y: here.y + random.random_range(-2..=2) }
    }

    /// Now and then over the nearest border of a chunk, if hands reach so far.
    fn build(&self, random: &mut Stream) -> Action {
        let kinds = [StructureKind::Fence, StructureKind::Hut, StructureKind::Hearth, StructureKind::Hall];
        let rash = is_rash(random);
        let afford = |kind: &&StructureKind| rash || self.bag.items.has(&kind.spec().materials.into());
        let kinds: Vec<&StructureKind> = kinds.iter().filter(afford).collect();
        let Some(&&kind) = pick(random, &kinds) else { return self.gather(random) };
        let mut place = self.tile(random);
        if random.random_bool(0.4) {
            let edge = TILES_PER_CHUNK_EDGE as i32;
            let before = |tile: i32| (tile + edge / 2).div_euclid(edge) * edge - 1;
            let near = |tile: i32| (before(tile) - tile).abs() <= 3;
            match (near(place.x), near(place.y)) {
                (true, _) => place.x = before(place.x),
                (_, true) => place.y = before(place.y),
                _ => (),
            }
        }
        Action::Build { kind, place, turned: random.random() }
    }

    fn pick_up(&self, random: &mut Stream) -> Action {
        let reach = i64::from(REACH_QUANTA);
        let near = |lying: &GroundStack| self.place.distance_squared(lying.place) <= reach * reach;
        let rash = is_rash(random);
        let stacks: Vec<_> =
            self.stacks.iter().filter(|(.., lying)| rash || (lying.count > 0 && near(lying))).collect();
        match pick(random, &stacks) {
            Some((chunk, cell, lying)) => {
                let (chunk, cell, stack) = (*chunk, *cell, lying.id);
                Action::PickUp { chunk, cell, stack, count: random.random_range(1..=lying.count.max(1)) }
            }
            None => self.gather(random),
        }
    }

    /// Somebody is near, or it doesn't matter.
    fn has_company(&self, random: &mut Stream) -> bool {
        !self.near.is_empty() || is_rash(random)
    }

    fn demolish(&self, random: &mut Stream) -> Action {
        let rash = is_rash(random);
        let near = |record: &&StructureRecord| {
            let (site, mine) = (&record.site, record.site.builder() == self.player);
            rash || (site.corner.reached_from(site.edges(), self.place, REACH_QUANTA) && mine)
        };
        let near: Vec<&StructureRecord> = self.structures.iter().filter(near).collect();
        match pick(random, &near) {
            Some(record) => Action::Demolish { chunk: record.site.anchor(), structure: record.site.id },
            None => self.build(random),
        }
    }

    fn some_item(&self, random: &mut Stream) -> (ItemKind, u32) {
        let held: Vec<(ItemKind, u32)> = self.bag.items.iter().collect();
        pick(random, &held)
            .map_or((ItemKind::Wood, 1), |(kind, count)| (*kind, random.random_range(1..=*count)))
    }

    fn somebody(&self, random: &mut Stream) -> PlayerId {
        pick(random, &self.near).copied().unwrap_or(PlayerId(self.player.0 + 1))
    }

    fn offer(&self, random: &mut Stream) -> Action {
        let (item, count) = self.some_item(random);
        let wanted = [ItemKind::Wood, ItemKind::Fibre, ItemKind::Stone, ItemKind::Totem];
        let wanted = *pick(random, &wanted).unwrap_or(&ItemKind::Wood);
        let want = if random.random_bool(0.3) { Items::default() } else { Items::of(wanted, 1) };
        Action::Offer { to: self.somebody(random), give: Items::of(item, count.min(9)), want }
    }

    fn trade(&self, random: &mut Stream) -> Action {
        let rash = is_rash(random);
        let mine = |deal: &&Deal| [deal.from, deal.to].contains(&self.player);
        let mine: Vec<&Deal> = self.trades.iter().rev().filter(mine).collect();
        let (open, closed): (Vec<&Deal>, Vec<&Deal>) = mine.iter().partition(|deal| deal.open || rash);
        let looks_after = random.random_range(0..4) == 0;
        let of = if looks_after { closed } else { open };
        match pick(random, &of[..of.len().min(TRADES_THOUGHT_OF)]) {
            Some(deal) if looks_after => Action::Collect { trade: deal.id },
            Some(deal) if deal.from != self.player && self.near.contains(&deal.from) => {
                Action::Accept { trade: deal.id }
            }
            Some(deal) if random.random_range(0..3) == 0 => Action::Cancel { trade: deal.id },
            _ if self.has_company(random) => self.offer(random),
            _ => self.gather(random),
        }
    }

    fn estate(&self, random: &mut Stream) -> Action {
        let (rash, here) = (is_rash(random), self.place.chunk());
        let can = |estate: &&EstateRecord| {
            let stands_on = estate.home == here || estate.others.contains(&here);
            rash || (estate.owner == self.player && stands_on)
        };
        let estates: Vec<&EstateRecord> = self.estates.iter().filter(can).collect();
        let Some(estate) = pick(random, &estates) else {
            return if rash || self.bag.items.count(ItemKind::Totem) > 0 {
                self.claim(random)
            } else {
                self.build(random)
            };
        };
        let (chunk, id) = (estate.home, estate.id);
        match pick(random, &estate.permissions) {
            Some(permission) if random.random() => {
                Action::Revoke { chunk, estate: id, player: permission.player }
            }
            _ => {
                let rights = vec![Right::Build, Right::Gather, Right::Demolish];
                Action::Permit { chunk, estate: id, player: self.somebody(random), rights }
            }
        }
    }

    fn claim(&self, random: &mut Stream) -> Action {
        let (here, edge) = (self.place.chunk(), 0..ISLAND_EDGE_CHUNKS);
        let fits = |c: &ChunkPos| *c != here && edge.contains(&c.x) && edge.contains(&c.y);
        let around: Vec<ChunkPos> = here.around(1).filter(fits).collect();
        let wanted = random.random_range(0..4);
        let chunks = (0..wanted).filter_map(|_| pick(random, &around).copied()).collect();
        Action::ClaimEstate { place: self.tile(random), chunks }
    }
}

fn is_rash(random: &mut Stream) -> bool {
    random.random_range(0..RASH_ONE_IN) == 0
}

fn pick<'a, T>(random: &mut Stream, from: &'a [T]) -> Option<&'a T> {
    (!from.is_empty()).then(|| &from[random.random_range(0..from.len())])
}
