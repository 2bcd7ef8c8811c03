//! The land and the people of a test: an island, players around the corner where four chunks meet, their acts.

use super::store::{Loaded, Outcome, Store};
use super::workers::{Doer, Finisher, Step, finish_all};
use chunk_sync::ids::{Epoch, IslandId, PlayerId};
use chunk_sync::place::{ChunkPos, Place};
use chunk_sync::terrain::Terrain;
use chunk_sync::time::Tick;
use std::cell::RefCell;
use std::collections::BTreeMap;
use world_node::rules::documents::{BagRecord, Doc, Record};
use world_node::rules::items::{ItemKind, Items};
use world_node::rules::limits::TILE_QUANTA;
use world_node::rules::resources::Growth;
use world_node::rules::site::TilePos;
use world_node::rules::view::Presence;
use world_node::rules::{
    ActId, Action, Actor, ChunkLand, DocName, Effects, Holder, LedgerLine, Partition, ReadSet, RuleReject,
    Sender,
};

pub(super) const ISLAND: IslandId = IslandId(1);
pub(super) const SEED: u64 = 5;
/// The tile at whose south-west corner four chunks meet, all of them land.
pub(super) const CORNER: TilePos = TilePos { x: 128, y: 128 };
pub(super) const CHUNKS: [ChunkPos; 4] =
    [ChunkPos::new(7, 7), ChunkPos::new(8, 7), ChunkPos::new(7, 8), ChunkPos::new(8, 8)];

pub(super) struct Town {
    pub(super) store: Store,
    pub(super) now: Tick,
    pub(super) places: BTreeMap<PlayerId, Place>,
    /// Those who are on another island than `ISLAND`.
    pub(super) islands: BTreeMap<PlayerId, IslandId>,
    acts: u64,
    terrain: Terrain,
    land: RefCell<BTreeMap<Partition, ChunkLand>>,
}

/// The middle of a tile.
pub(super) fn middle(tile: TilePos) -> Place {
    Place { x: tile.x * TILE_QUANTA + TILE_QUANTA / 2, y: tile.y * TILE_QUANTA + TILE_QUANTA / 2 }
}

/// A tile, counted from the corner.
pub(super) fn tile(x: i32, y: i32) -> TilePos {
    TilePos { x: CORNER.x + x, y: CORNER.y + y }
}

impl Town {
    /// Players 1 to `players`, rested, with empty bags, at the corner.
    pub(super) fn new(players: u64) -> Self {
        let mut town = Self {
            store: Store::default(),
            now: Tick(100_000),
            places: BTreeMap::new(),
            islands: BTreeMap::new(),
            acts: 0,
            terrain: Terrain::new(SEED, ISLAND),
            land: RefCell::default(),
        };
        for player in 1..=players {
            town.places.insert(PlayerId(player), middle(CORNER));
        }
        town
    }

    /// Puts items into a bag, as created.
    pub(super) fn endow(&mut self, player: PlayerId, items: &Items) {
        let home = Partition::Player(player);
        let mut bag = self.bag(player);
        bag.items.add_all(items);
        self.store.put(home, DocName::Bag, &bag.wrap());
        let to = Holder::Player(player);
        let lines = items.iter().map(|(kind, count)| LedgerLine { kind, count, from: Holder::Nobody, to });
        self.store.ledger.extend(lines);
    }

    pub(super) fn bag(&self, player: PlayerId) -> BagRecord {
        match self.store.get(Partition::Player(player), DocName::Bag) {
            Some(Doc::Bag(bag)) => bag,
            _ => BagRecord::default(),
        }
    }

    pub(super) fn count(&self, player: u64, kind: ItemKind) -> u32 {
        self.bag(PlayerId(player)).items.count(kind)
    }

    pub(super) fn land_of(&self, chunk: ChunkPos) -> ChunkLand {
        let key = Partition::Chunk(ISLAND, chunk);
        let mut known = self.land.borrow_mut();
        let land =
            known.entry(key).or_insert_with(|| ChunkLand::generate(SEED, ISLAND, chunk, &self.terrain));
        land.clone()
    }

    /// Resources of the four chunks, those of one kind.
    pub(super) fn grown(&self, wanted: impl Fn(&Growth) -> bool) -> Vec<(ChunkPos, Growth)> {
        let of = |chunk: ChunkPos| self.land_of(chunk).grown.into_iter().map(move |growth| (chunk, growth));
        CHUNKS.into_iter().flat_map(of).filter(|(_, growth)| wanted(growth)).collect()
    }

    /// Whether a tile can be built on.
    pub(super) fn is_buildable(&self, tile: TilePos) -> bool {
        self.land_of(tile.chunk()).is_buildable(tile.number())
    }

    /// What a rule declared: documents, people, land.
    pub(super) fn load(&self, declared: &ReadSet, island: IslandId) -> Loaded {
        let mut loaded = self.store.load(declared);
        for player in &declared.players {
            if let Some(place) = self.places.get(player).filter(|_| island == ISLAND) {
                loaded.view.players.push(Presence { player: *player, place: *place });
            }
        }
        for key in &declared.land {
            let Partition::Chunk(_, chunk) = key else { panic!("land of {key}") };
            loaded.view.land.insert(*key, self.land_of(*chunk));
        }
        loaded
    }

    /// A player's next act.
    pub(super) fn actor(&mut self, player: PlayerId) -> Actor {
        self.acts += 1;
        self.actor_with(player, self.acts)
    }

    /// A player with an act of this number, which may be one that was used before.
    pub(super) fn actor_with(&self, player: PlayerId, number: u64) -> Actor {
        let epoch = Epoch(1);
        let island = self.islands.get(&player).copied().unwrap_or(ISLAND);
        let act = ActId { player, epoch, island, act: number };
        Actor { player, epoch, act, island, home: island, place: self.places[&player], tick: self.now }
    }

    /// The number of the newest act.
    pub(super) fn newest(&self) -> u64 {
        self.acts
    }

    /// Does an act alone, to the end of its own commit.
    pub(super) fn act(&mut self, player: u64, action: Action) -> Result<(Actor, Effects), RuleReject> {
        let actor = self.actor(PlayerId(player));
        let mut doer = Doer::new(actor, action);
        while doer.step(self) == Step::More {}
        if let Some(why) = doer.refused {
            return Err(why);
        }
        assert_eq!(doer.done, Some(Outcome::Done));
        Ok((actor, doer.effects.expect("done")))
    }

    /// Does an act alone and finishes whatever it sent off. Answers how it ended.
    pub(super) fn act_out(&mut self, player: u64, action: Action) -> Result<ActId, RuleReject> {
        let (actor, effects) = self.act(player, action)?;
        finish_all(self);
        if effects.transfer.is_none() {
            return Ok(actor.act);
        }
        let ended = self.store.events.iter().rev().find_map(|(_, event)| match event {
            world_node::rules::Event::Ended { act, refused } if *act == actor.act => Some(*refused),
            _ => None,
        });
        match ended.expect("a finished act has ended") {
            None => Ok(actor.act),
            Some(why) => Err(why),
        }
    }

    /// Does an act that begins in the player's bag and finishes what it sent, and nothing else that is pending. Answers
    /// whether it was accepted.
    pub(super) fn act_alone(&mut self, player: u64, action: Action) -> bool {
        let (actor, _) = match self.act(player, action) {
            Ok(acted) => acted,
            Err(_) => return false,
        };
        let id = actor.act.transfer(Sender::Player);
        let sent =
            self.store.pending().into_iter().find(|(pending, _)| *pending == id).expect("it sent something");
        let to = sent.1.to;
        let mut finisher = Finisher::new(sent.0, sent.1);
        while finisher.step(&mut self.store, self.now) == Step::More {}
        let decided = self.store.decided().into_iter().find(|(at, of, _)| *at == to && *of == id);
        decided.expect("a site in one chunk is decided at once").2.refused.is_none()
    }

    pub(super) fn stand(&mut self, player: u64, tile: TilePos) {
        self.places.insert(PlayerId(player), middle(tile));
    }
}
