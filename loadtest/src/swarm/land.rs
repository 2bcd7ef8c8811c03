//! Where one can walk on an island, generated from the seed that the node names, once per island.
//!
//! Called by the engine when a bot enters. It never asks a server.

use std::collections::BTreeMap;
use std::sync::Arc;

use chunk_sync::ids::IslandId;
use chunk_sync::limits::{ISLAND_CHUNKS, QUANTA_PER_M, TILE_M, TILES_PER_CHUNK_EDGE};
use chunk_sync::place::{ChunkPos, Place};
use chunk_sync::terrain::Terrain;

use super::limits::ISLAND_EDGE_TILES;

const TILE_QUANTA: i32 = TILE_M as i32 * QUANTA_PER_M;

/// The walkable tiles of an island.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Land {
    walkable: Vec<bool>,
}

impl Land {
    pub(super) fn new(seed: u64, island: IslandId) -> Self {
        let terrain = Terrain::new(seed, island);
        let mut walkable = vec![false; ISLAND_EDGE_TILES * ISLAND_EDGE_TILES];
        for index in 0..ISLAND_CHUNKS {
            let chunk = ChunkPos::from_index(index);
            for (tile, kind) in terrain.chunk_tiles(chunk).iter().enumerate() {
                let x = chunk.x as usize * TILES_PER_CHUNK_EDGE + tile % TILES_PER_CHUNK_EDGE;
                let y = chunk.y as usize * TILES_PER_CHUNK_EDGE + tile / TILES_PER_CHUNK_EDGE;
                walkable[y * ISLAND_EDGE_TILES + x] = kind.is_walkable();
            }
        }
        Self { walkable }
    }

    fn is_walkable_tile(&self, x: i32, y: i32) -> bool {
        let edge = 0..ISLAND_EDGE_TILES as i32;
        edge.contains(&x) && edge.contains(&y) && self.walkable[y as usize * ISLAND_EDGE_TILES + x as usize]
    }

    /// Whether one can go straight from `from` to `to`, which is less than a tile away. Corners are not cut.
    pub(super) fn can_walk(&self, from: Place, to: Place) -> bool {
        let tile = |place: Place| (place.x.div_euclid(TILE_QUANTA), place.y.div_euclid(TILE_QUANTA));
        let ((fx, fy), (tx, ty)) = (tile(from), tile(to));
        let straight = fx == tx || fy == ty;
        self.is_walkable_tile(tx, ty)
            && (straight || (self.is_walkable_tile(fx, ty) && self.is_walkable_tile(tx, fy)))
    }
}

/// The lands of all islands that bots are on.
#[derive(Debug, Default)]
pub(super) struct Lands {
    known: BTreeMap<(u64, u32), Arc<Land>>,
}

impl Lands {
    /// The land of an island; generated at the first call, some milliseconds long.
    pub(super) fn get(&mut self, seed: u64, island: u32) -> Arc<Land> {
        let land = || Arc::new(Land::new(seed, IslandId(island)));
        Arc::clone(self.known.entry((seed, island)).or_insert_with(land))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chunk_sync::terrain::LANDING;

    #[test]
    fn land_agrees_with_the_terrain() {
        let (land, terrain) = (Land::new(5, IslandId(2)), Terrain::new(5, IslandId(2)));
        for n in 0..20_000 {
            let place = Place { x: (n * 7_919) % 65_536, y: (n * 104_729) % 65_536 };
            assert_eq!(land.can_walk(place, place), terrain.tile(place).is_walkable(), "{place:?}");
        }
    }

    #[test]
    fn nobody_walks_off_the_grid() {
        let land = Land::new(5, IslandId(2));
        let corner = Place { x: 0, y: 0 };
        assert!(!land.can_walk(corner, Place { x: -1, y: 0 }));
        assert!(land.can_walk(LANDING.middle(), LANDING.middle()));
    }

    #[test]
    fn an_island_is_generated_once() {
        let mut lands = Lands::default();
        assert!(Arc::ptr_eq(&lands.get(1, 1), &lands.get(1, 1)));
        assert_ne!(lands.get(1, 1), lands.get(1, 2));
    }
}
