//! What a rule reads: declared before anything is loaded, then handed over whole. The host loads exactly what was
//! declared and notes the version of each document of the home partition, as the commit's preconditions.

use super::documents::{Doc, Record};
use super::names::{DocName, Partition};
use super::reject::RuleReject;
use super::resources::{Growth, generate};
use chunk_sync::ids::{IslandId, PlayerId};
use chunk_sync::place::{ChunkPos, Place};
use chunk_sync::terrain::{Terrain, Tile};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a rule wants to know.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReadSet {
    /// Documents, by partition. Those of the home partition hold when the act is committed; those of others are
    /// looked at only to refuse early, and may be as old as a copy in memory.
    pub docs: BTreeMap<Partition, BTreeSet<DocName>>,
    /// Players whose place is wanted, as the node sees them now; it answers those of the actor's island.
    pub players: BTreeSet<PlayerId>,
    /// Chunks whose land is wanted.
    pub land: BTreeSet<Partition>,
}

impl ReadSet {
    /// Adds a document.
    #[must_use]
    pub fn doc(mut self, partition: Partition, doc: DocName) -> Self {
        self.docs.entry(partition).or_default().insert(doc);
        self
    }

    /// Adds documents of one partition.
    #[must_use]
    pub fn docs(self, partition: Partition, docs: impl IntoIterator<Item = DocName>) -> Self {
        docs.into_iter().fold(self, |reads, doc| reads.doc(partition, doc))
    }

    /// Adds a player's place.
    #[must_use]
    pub fn player(mut self, player: PlayerId) -> Self {
        self.players.insert(player);
        self
    }

    /// Adds a chunk's land.
    #[must_use]
    pub fn land(mut self, chunk: Partition) -> Self {
        self.land.insert(chunk);
        self
    }
}

/// What a rule was given.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct View {
    /// Documents, by partition and name; absent ones are there, as `None`.
    pub docs: BTreeMap<Partition, BTreeMap<DocName, Option<Doc>>>,
    /// Where players are; those that were not found are missing.
    pub players: Vec<Presence>,
    /// Land, by chunk.
    pub land: BTreeMap<Partition, ChunkLand>,
}

/// Where a player is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Presence {
    /// The player.
    pub player: PlayerId,
    /// The place, on the actor's island.
    pub place: Place,
}

/// A chunk as it was made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChunkLand {
    /// Numbers of its tiles, row by row from the south-west.
    pub tiles: Vec<u8>,
    /// What grows there, by tile.
    pub grown: Vec<Growth>,
}

impl ChunkLand {
    /// The land of a chunk, from the world's seed and the island's terrain of the same seed.
    pub fn generate(seed: u64, island: IslandId, chunk: ChunkPos, terrain: &Terrain) -> Self {
        let tiles = terrain.chunk_tiles(chunk);
        let grown = generate(seed, island, chunk, &tiles);
        Self { tiles: tiles.iter().map(|tile| *tile as u8).collect(), grown }
    }

    /// What grows on a tile.
    pub fn growth(&self, tile: u8) -> Option<Growth> {
        self.grown.iter().copied().find(|growth| growth.tile == tile)
    }

    /// Whether something can be built on a tile: one can stand there and nothing grows.
    pub fn is_buildable(&self, tile: u8) -> bool {
        let made_of = self.tiles.get(usize::from(tile)).and_then(|byte| Tile::from_byte(*byte));
        made_of.is_some_and(Tile::is_walkable) && self.growth(tile).is_none()
    }
}

impl View {
    /// Notes a document as it was found.
    pub fn insert(&mut self, partition: Partition, name: DocName, doc: Option<Doc>) {
        self.docs.entry(partition).or_default().insert(name, doc);
    }

    /// A document; `None` when it is absent.
    ///
    /// # Errors
    /// `Unread` when it was not loaded, or is of another sort than its name says.
    pub fn get<R: Record + Clone>(
        &self,
        partition: Partition,
        name: DocName,
    ) -> Result<Option<R>, RuleReject> {
        match self.docs.get(&partition).and_then(|docs| docs.get(&name)) {
            None => Err(RuleReject::Unread),
            Some(None) => Ok(None),
            Some(Some(doc)) => R::of(doc).cloned().map(Some).ok_or(RuleReject::Unread),
        }
    }

    /// Where a player is.
    pub fn place_of(&self, player: PlayerId) -> Option<Place> {
        self.players.iter().find(|presence| presence.player == player).map(|presence| presence.place)
    }

    /// The land of a chunk.
    ///
    /// # Errors
    /// `Unread` when it was not handed over.
    pub fn land_of(&self, chunk: Partition) -> Result<&ChunkLand, RuleReject> {
        self.land.get(&chunk).ok_or(RuleReject::Unread)
    }
}
