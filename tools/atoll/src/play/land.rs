//! The land as far as the server has told it: tiles by their number, and where one can walk. Filled by the game,
//! read by the walk and the map. It generates nothing itself.

use std::collections::BTreeMap;

use chunk_sync::limits::{QUANTA_PER_M, TILE_M, TILES_PER_CHUNK_EDGE};
use chunk_sync::place::{ChunkPos, Place};
use chunk_sync::terrain::{ChunkTiles, Tile};

const TILE_QUANTA: i32 = TILE_M as i32 * QUANTA_PER_M;

/// A tile, counted in tiles from the island's south-west corner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct TilePos {
    /// Tiles east.
    pub(crate) x: i32,
    /// Tiles north.
    pub(crate) y: i32,
}

impl TilePos {
    /// The tile that holds the place.
    pub(crate) fn of(place: Place) -> Self {
        Self { x: place.x.div_euclid(TILE_QUANTA), y: place.y.div_euclid(TILE_QUANTA) }
    }

    /// The chunk that holds the tile, if it is on the island.
    pub(crate) fn chunk(self) -> Option<ChunkPos> {
        let part = |tile: i32| i16::try_from(tile.div_euclid(TILES_PER_CHUNK_EDGE as i32)).ok();
        let chunk = ChunkPos::new(part(self.x)?, part(self.y)?);
        chunk.index().map(|_| chunk)
    }
}

/// What is known of an island's land; at most the island's own chunks.
#[derive(Debug, Default)]
pub(crate) struct Land {
    chunks: BTreeMap<ChunkPos, Box<ChunkTiles>>,
}

impl Land {
    /// Forgets everything: another island may come.
    pub(crate) fn clear(&mut self) {
        self.chunks.clear();
    }

    /// Keeps the tiles of a chunk of the island.
    pub(crate) fn learn(&mut self, chunk: ChunkPos, tiles: Box<ChunkTiles>) {
        if chunk.index().is_some() {
            self.chunks.insert(chunk, tiles);
        }
    }

    /// The tile, if it is known. Everything off the island is water.
    pub(crate) fn tile(&self, at: TilePos) -> Option<Tile> {
        let Some(chunk) = at.chunk() else { return Some(Tile::Water) };
        let edge = TILES_PER_CHUNK_EDGE as i32;
        let (x, y) = (at.x.rem_euclid(edge) as usize, at.y.rem_euclid(edge) as usize);
        self.chunks.get(&chunk).map(|tiles| tiles[y * TILES_PER_CHUNK_EDGE + x])
    }

    /// Whether a step may end at `to`. Where the land is not known yet, the node will say.
    pub(crate) fn can_stand(&self, to: Place) -> bool {
        self.tile(TilePos::of(to)).is_none_or(Tile::is_walkable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chunk_sync::ids::IslandId;
    use chunk_sync::limits::ISLAND_CHUNKS;
    use chunk_sync::terrain::Terrain;

    #[test]
    fn what_was_learned_is_what_the_terrain_says() {
        let terrain = Terrain::new(7, IslandId(3));
        let mut land = Land::default();
        for chunk in (0..ISLAND_CHUNKS).map(ChunkPos::from_index) {
            land.learn(chunk, Box::new(terrain.chunk_tiles(chunk)));
        }
        for n in 0..20_000 {
            let place = Place { x: (n * 7_919) % 70_000 - 2_000, y: (n * 104_729) % 70_000 - 2_000 };
            assert_eq!(land.tile(TilePos::of(place)), Some(terrain.tile(place)), "{place:?}");
            assert_eq!(land.can_stand(place), terrain.tile(place).is_walkable(), "{place:?}");
        }
    }

    #[test]
    fn unknown_land_is_unknown_and_the_sea_is_known() {
        let mut land = Land::default();
        assert_eq!(land.tile(TilePos { x: 5, y: 5 }), None);
        assert!(land.can_stand(Place { x: 1_000, y: 1_000 }));
        for at in [TilePos { x: -1, y: 0 }, TilePos { x: 256, y: 0 }, TilePos { x: i32::MAX, y: i32::MIN }] {
            assert_eq!(land.tile(at), Some(Tile::Water), "{at:?}");
        }
        land.learn(ChunkPos::new(-1, 0), Box::new([Tile::Grass; 256]));
        assert_eq!(land.tile(TilePos { x: -1, y: 0 }), Some(Tile::Water), "nothing off the island is kept");
    }
}
