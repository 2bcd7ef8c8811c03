//! The land that settlers stand on: what can be walked and built on, what grows there, and how much of it is surely
//! left. Generated from the seed that the node names, chunk by chunk as bots come near.
//!
//! Called by the settlers' plans. Pure: it never asks a server. How much is left is counted from what the swarm itself
//! took, so that a bot knows exactly what an act gives: a resource that somebody else may have emptied is left alone.

use std::collections::BTreeMap;

use chunk_sync::ids::IslandId;
use chunk_sync::place::ChunkPos;
use chunk_sync::terrain::Terrain;
use world_node::rules::ChunkLand;
use world_node::rules::resources::{Growth, ResourceKind};
use world_node::rules::site::TilePos;

use crate::swarm::limits::RESOURCE_REST_MS;

/// A resource: its chunk and the number of its tile.
pub(super) type Resource = (ChunkPos, u8);

/// Units that are surely there.
#[derive(Debug, Clone, Copy)]
struct Stock {
    units: u32,
    /// Acts that were asked for and not answered.
    open: u32,
    /// When the last one was answered.
    answered_ms: u64,
}

/// The land of one island.
pub(super) struct Ground {
    seed: u64,
    island: IslandId,
    terrain: Terrain,
    chunks: BTreeMap<ChunkPos, ChunkLand>,
    stocks: BTreeMap<Resource, Stock>,
}

impl Ground {
    pub(super) fn new(seed: u64, island: IslandId) -> Self {
        let terrain = Terrain::new(seed, island);
        Self { seed, island, terrain, chunks: BTreeMap::new(), stocks: BTreeMap::new() }
    }

    fn chunk(&mut self, chunk: ChunkPos) -> &ChunkLand {
        let (seed, island, terrain) = (self.seed, self.island, &self.terrain);
        self.chunks.entry(chunk).or_insert_with(|| ChunkLand::generate(seed, island, chunk, terrain))
    }

    /// What grows in a chunk.
    pub(super) fn grown(&mut self, chunk: ChunkPos) -> Vec<Growth> {
        if chunk.index().is_none() { Vec::new() } else { self.chunk(chunk).grown.clone() }
    }

    /// Whether a tile can be built on, as the land was made.
    pub(super) fn is_buildable(&mut self, tile: TilePos) -> bool {
        tile.on_island() && self.chunk(tile.chunk()).is_buildable(tile.number())
    }

    /// Units that are surely there. `seen` is what the documents show now: units, or `None` for a whole resource.
    pub(super) fn left(&mut self, at: Resource, kind: ResourceKind, seen: Option<u32>, now_ms: u64) -> u32 {
        let seen = seen.unwrap_or(kind.spec().units_max);
        let stock = self.stocks.entry(at).or_insert(Stock { units: seen, open: 0, answered_ms: now_ms });
        // What it grew since is believed only when every document that an act changed has surely come.
        if stock.open == 0 && now_ms >= stock.answered_ms + RESOURCE_REST_MS {
            (stock.units, stock.answered_ms) = (seen, now_ms);
        }
        stock.units
    }

    /// An act that takes `units` is asked for.
    pub(super) fn take(&mut self, at: Resource, units: u32) {
        if let Some(stock) = self.stocks.get_mut(&at) {
            stock.units = stock.units.saturating_sub(units);
            stock.open += 1;
        }
    }

    /// It was answered; when it was refused, nothing was taken.
    pub(super) fn answered(&mut self, at: Resource, units: u32, refused: bool, now_ms: u64) {
        if let Some(stock) = self.stocks.get_mut(&at) {
            stock.open = stock.open.saturating_sub(1);
            stock.answered_ms = now_ms;
            if refused {
                stock.units += units;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chunk_sync::terrain::LANDING;

    #[test]
    fn what_was_taken_is_believed_before_what_is_seen() {
        let mut ground = Ground::new(3, IslandId(1));
        let (at, kind) = ((LANDING, 7), ResourceKind::Tree);
        assert_eq!(ground.left(at, kind, None, 0), 20);
        ground.take(at, 2);
        ground.take(at, 2);
        assert_eq!(
            ground.left(at, kind, None, RESOURCE_REST_MS * 2),
            16,
            "an act is open: documents may be old"
        );
        ground.answered(at, 2, false, RESOURCE_REST_MS * 2);
        ground.answered(at, 2, true, RESOURCE_REST_MS * 2);
        assert_eq!(ground.left(at, kind, Some(19), RESOURCE_REST_MS * 2 + 5), 18);
        assert_eq!(ground.left(at, kind, Some(19), RESOURCE_REST_MS * 3), 19, "by now it is as it is seen");
    }

    #[test]
    fn the_land_is_that_of_the_rules() {
        let mut ground = Ground::new(3, IslandId(1));
        let grown = ground.grown(LANDING);
        assert!(!grown.is_empty());
        for growth in grown {
            assert!(!ground.is_buildable(TilePos::in_chunk(LANDING, growth.tile)), "something grows there");
        }
        assert!((0..=255).any(|tile| ground.is_buildable(TilePos::in_chunk(LANDING, tile))));
        assert!(
            !ground.is_buildable(TilePos { x: -1, y: 0 }) && ground.grown(ChunkPos::new(-1, 0)).is_empty()
        );
    }
}
