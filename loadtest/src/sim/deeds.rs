//! What the bots of a simulated cluster do to the lasting world, and what they were told of it: every act is written
//! down with its answer, for `books` to compare with what the store has.
//!
//! Part of the cluster. Which acts make sense is guessed from what the bot sees; the rules say what comes of them.

use super::bot::Habit;
use super::cluster::Cluster;
use super::limits::{ACT_EVERY_MS, WALK_ON_MS};
use chunk_sync::ids::{IslandId, PlayerId};
use chunk_sync::limits::{ISLAND_EDGE_CHUNKS, TILES_PER_CHUNK_EDGE};
use chunk_sync::place::{ChunkPos, Place};
use chunk_sync::random::{RngExt, Stream};
use chunk_sync::records::encode;
use chunk_sync::terrain::Terrain;
use chunk_sync::wire::{ActNumber, ActOutcome, Acted};
use std::collections::BTreeMap;
use world_node::rules::documents::{BagRecord, Doc, Right, StructureRecord};
use world_node::rules::items::{ItemKind, Items};
use world_node::rules::recipes::Recipe;
use world_node::rules::site::TilePos;
use world_node::rules::structures::StructureKind;
use world_node::rules::{ActId, Action, ChunkLand, DocName};

/// One act, as its bot knows it.
#[derive(Clone, Debug)]
pub(super) struct Deed {
    pub action: Action,
    pub asked_ms: u64,
    /// The final answer, if it was heard.
    pub answer: Option<(ActOutcome, u16)>,
}

/// All acts of a run.
#[derive(Debug, Default)]
pub(super) struct Deeds {
    pub asked: BTreeMap<(PlayerId, ActNumber), Deed>,
    /// Trades that somebody offered and was told done, with both players.
    trades: Vec<(ActId, PlayerId, PlayerId)>,
    lands: BTreeMap<(IslandId, ChunkPos), ChunkLand>,
}

/// What a bot knows when it chooses.
struct Surroundings<'a> {
    island: IslandId,
    player: PlayerId,
    place: Place,
    bag: BagRecord,
    near: Vec<PlayerId>,
    structures: Vec<StructureRecord>,
    stacks: Vec<(ChunkPos, u8, ActId, u32)>,
    land: &'a ChunkLand,
    trades: &'a [(ActId, PlayerId, PlayerId)],
}

impl Cluster {
    /// A bot may do something now.
    pub(super) fn maybe_act(&mut self, at: usize) {
        let now_ms = self.now_ms;
        if !self.setup.acts || now_ms >= self.end_ms + WALK_ON_MS || now_ms < self.bots[at].acts_ms {
            return;
        }
        let wait_ms = self.bots[at].random.random_range(ACT_EVERY_MS.0..ACT_EVERY_MS.1);
        self.bots[at].acts_ms = now_ms + wait_ms;
        if self.bots[at].inside.is_none() || self.bots[at].habit == Habit::NeverReads {
            return;
        }
        let Some((player, action)) = self.choose(at) else { return };
        let bytes = encode(&action);
        let mut asked = None;
        self.with_client(at, |client, _, now_ms| {
            asked = client.act(bytes, now_ms).ok();
        });
        if let Some(id) = asked {
            self.totals.acts += 1;
            self.deeds.asked.insert((player, id), Deed { action, asked_ms: now_ms, answer: None });
        }
    }

    /// A bot heard what came of an act.
    pub(super) fn act_answered(&mut self, at: usize, acted: &Acted) {
        let Some(player) = self.bots[at].player else { return };
        if acted.outcome == ActOutcome::Waiting {
            self.totals.acts_waited += 1;
            return;
        }
        let name = format!("{} (bot {at})", self.bots[at].name);
        let Some(deed) = self.deeds.asked.get_mut(&(player, acted.id)) else {
            return self.watch.fail(format!("{name} is told of an act that it never asked for: {acted:?}"));
        };
        if let Some(before) = deed.answer.replace((acted.outcome, acted.code)) {
            let action = &deed.action;
            self.watch.fail(format!("{name} is told twice of {action:?}: {before:?}, then {acted:?}"));
            return;
        }
        match acted.outcome {
            ActOutcome::Done => self.totals.acts_done += 1,
            ActOutcome::Refused => *self.totals.acts_refused.entry(acted.reason.clone()).or_default() += 1,
            ActOutcome::Over | ActOutcome::Waiting => self.totals.acts_over += 1,
        }
        if let (ActOutcome::Done, Action::Travel { island }) = (acted.outcome, &deed.action) {
            let island = *island;
            self.with_client(at, |client, _, _| client.set_island(Some(island)));
            return;
        }
        if let (ActOutcome::Done, Action::Offer { to, .. }) = (acted.outcome, &deed.action) {
            let (epoch, act) = (acted.id.epoch(), u64::from(acted.id.number()));
            let island = self.bots[at].island().unwrap_or(IslandId(0));
            self.deeds.trades.push((ActId { player, epoch, island, act }, player, *to));
        }
    }

    fn choose(&mut self, at: usize) -> Option<(PlayerId, Action)> {
        let seed = self.land_seed();
        let bot = &self.bots[at];
        let island = bot.island()?;
        let client = bot.client.as_ref()?;
        let (place, player) = (client.place(), PlayerId(client.welcome()?.player));
        let replica = &bot.eyes.replica;
        let read = |name: DocName, bytes: &[u8]| Doc::unpack(name, bytes).ok();
        let bag = replica.own_docs()?.get("bag").and_then(|bytes| read(DocName::Bag, bytes));
        let bag = match bag {
            Some(Doc::Bag(bag)) => bag,
            _ => BagRecord::default(),
        };
        let here = place.chunk();
        let (mut structures, mut stacks) = (Vec::new(), Vec::new());
        for chunk in here.around(1) {
            for (name, bytes) in replica.chunk_docs(chunk).into_iter().flatten() {
                let Ok(name) = name.parse::<DocName>() else { continue };
                match (name, read(name, bytes)) {
                    (DocName::Structure(_), Some(Doc::Structure(record))) => structures.push(record),
                    (DocName::Ground(cell), Some(Doc::Ground(ground))) => {
                        stacks.extend(ground.stacks.iter().map(|s| (chunk, cell, s.id, s.count)));
                    }
                    _ => (),
                }
            }
        }
        let near = replica.entities().filter(|e| !e.id.is_born_with_land() && e.id.0 != player.0);
        let near = near.filter(|e| e.place.distance_squared(place) < 1_000 * 1_000);
        let near = near.map(|e| PlayerId(e.id.0)).collect();
        let terrain = self.terrains.entry(island).or_insert_with(|| Terrain::new(seed, island));
        let land = self.deeds.lands.entry((island, here));
        let land = land.or_insert_with(|| ChunkLand::generate(seed, island, here, terrain));
        let trades = &self.deeds.trades;
        let known = Surroundings { island, player, place, bag, near, structures, stacks, land, trades };
        Some((player, known.choose(&mut self.bots[at].random)))
    }
}

impl Surroundings<'_> {
    fn choose(&self, random: &mut Stream) -> Action {
        match random.random_range(0..100) {
            0..38 => self.gather(random),
            38..48 => Action::Craft { recipe: *pick(random, Recipe::ALL).unwrap_or(&Recipe::Rope) },
            48..60 => self.build(random),
            60..66 => self.demolish(random),
            66..72 => {
                let (item, count) = self.some_item(random);
                Action::Drop { item, count }
            }
            72..79 => match pick(random, &self.stacks) {
                Some((chunk, cell, stack, count)) => {
                    Action::PickUp { chunk: *chunk, cell: *cell, stack: *stack, count: *count }
                }
                None => self.gather(random),
            },
            79..86 => {
                let (item, count) = self.some_item(random);
                Action::Give { to: self.somebody(random), item, count }
            }
            86..90 => {
                let (item, count) = self.some_item(random);
                let want = Items::of(*pick(random, ItemKind::ALL).unwrap_or(&ItemKind::Wood), 1);
                Action::Offer { to: self.somebody(random), give: Items::of(item, count), want }
            }
            90..96 => self.trade(random),
            96..99 => self.estate(random),
            _ => Action::Travel { island: IslandId(3 - self.island.0.clamp(1, 2)) },
        }
    }

    fn gather(&self, random: &mut Stream) -> Action {
        let chunk = self.place.chunk();
        let reached = |tile: u8| TilePos::in_chunk(chunk, tile).reached_from((1, 1), self.place, 500);
        let near: Vec<u8> = self.land.grown.iter().map(|g| g.tile).filter(|tile| reached(*tile)).collect();
        let resource = pick(random, &near).copied().unwrap_or_else(|| random.random());
        Action::Gather { chunk, resource }
    }

    fn tile(&self, random: &mut Stream) -> TilePos {
        let quanta = chunk_sync::limits::QUANTA_PER_CHUNK / TILES_PER_CHUNK_EDGE as i32;
        let mut near = |at: i32| at / quanta + random.random_range(-2..=2);
        TilePos { x: near(self.place.x), y: near(self.place.y) }
    }

    fn build(&self, random: &mut Stream) -> Action {
        let kind = *pick(random, &[StructureKind::Fence, StructureKind::Hut, StructureKind::Hearth])
            .unwrap_or(&StructureKind::Fence);
        Action::Build { kind, place: self.tile(random), turned: random.random() }
    }

    fn demolish(&self, random: &mut Stream) -> Action {
        match pick(random, &self.structures) {
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

    fn trade(&self, random: &mut Stream) -> Action {
        let mine = |(_, from, to): &&(ActId, PlayerId, PlayerId)| [*from, *to].contains(&self.player);
        let mine: Vec<_> = self.trades.iter().filter(mine).collect();
        let Some((trade, from, _)) = pick(random, &mine) else { return self.gather(random) };
        match random.random_range(0..4) {
            0..2 if *from != self.player => Action::Accept { trade: *trade },
            2 => Action::Cancel { trade: *trade },
            _ => Action::Collect { trade: *trade },
        }
    }

    fn estate(&self, random: &mut Stream) -> Action {
        let own =
            self.structures.iter().find(|s| s.site.kind.spec().claims && s.site.builder() == self.player);
        let Some(totem) = own else {
            let here = self.place.chunk();
            let edge = 0..ISLAND_EDGE_CHUNKS;
            let fits = |c: &ChunkPos| *c != here && edge.contains(&c.x) && edge.contains(&c.y);
            let others: Vec<ChunkPos> = here.around(1).filter(fits).take(random.random_range(0..4)).collect();
            return Action::ClaimEstate { place: self.tile(random), chunks: others };
        };
        let (chunk, estate, player) = (totem.site.anchor(), totem.site.id, self.somebody(random));
        if random.random() {
            Action::Permit { chunk, estate, player, rights: vec![Right::Build, Right::Gather] }
        } else {
            Action::Revoke { chunk, estate, player }
        }
    }
}

fn pick<'a, T>(random: &mut Stream, from: &'a [T]) -> Option<&'a T> {
    (!from.is_empty()).then(|| &from[random.random_range(0..from.len())])
}
