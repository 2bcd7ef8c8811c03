//! The land of an island, generated from a seed: tiles of two metres, some of which stop you.

use crate::ids::IslandId;
use crate::limits::{ISLAND_EDGE_CHUNKS, QUANTA_PER_M, TILE_M, TILES_PER_CHUNK, TILES_PER_CHUNK_EDGE};
use crate::place::{ChunkPos, Place};
use crate::random::hash;
use fastnoise_lite::{FastNoiseLite, FractalType, NoiseType};

/// The chunk where newcomers land; it is always meadow.
pub const LANDING: ChunkPos = ChunkPos::new(ISLAND_EDGE_CHUNKS / 2, ISLAND_EDGE_CHUNKS / 2);

/// What a tile is made of. The numbers travel in `Land` messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Tile {
    /// Stops you.
    Water = 0,
    /// Beach.
    Sand = 1,
    /// Meadow.
    Grass = 2,
    /// Forest floor.
    Forest = 3,
    /// Too steep: stops you.
    Cliff = 4,
}

impl Tile {
    /// Whether one can stand on it.
    pub fn is_walkable(self) -> bool {
        !matches!(self, Tile::Water | Tile::Cliff)
    }

    /// The tile with this number.
    pub fn from_byte(byte: u8) -> Option<Tile> {
        [Tile::Water, Tile::Sand, Tile::Grass, Tile::Forest, Tile::Cliff].get(usize::from(byte)).copied()
    }
}

/// The tiles of a chunk, row by row from the south-west.
pub type ChunkTiles = [Tile; TILES_PER_CHUNK];

/// The generator of one island's land. The same seed and island give the same land everywhere.
pub struct Terrain {
    height: FastNoiseLite,
    growth: FastNoiseLite,
}

impl Terrain {
    /// The land of `island` in the world of `seed`.
    pub fn new(seed: u64, island: IslandId) -> Self {
        let noise = |name: &str, frequency: f32| {
            let mut noise =
                FastNoiseLite::with_seed(hash(seed ^ u64::from(island.0), name.as_bytes()) as i32);
            noise.set_noise_type(Some(NoiseType::OpenSimplex2));
            noise.set_fractal_type(Some(FractalType::FBm));
            noise.set_fractal_octaves(Some(3));
            noise.set_frequency(Some(frequency));
            noise
        };
        Self { height: noise("height", 0.012), growth: noise("growth", 0.03) }
    }

    /// The tile at tile coordinates (counted in tiles from the island's south-west corner).
    fn tile_at(&self, tx: i32, ty: i32) -> Tile {
        let edge = TILES_PER_CHUNK_EDGE as i32;
        let chunk = ChunkPos::new((tx.div_euclid(edge)) as i16, (ty.div_euclid(edge)) as i16);
        if chunk == LANDING {
            return Tile::Grass;
        }
        let half = (i32::from(ISLAND_EDGE_CHUNKS) * edge / 2) as f32;
        let (fx, fy) = ((tx as f32 + 0.5 - half) / half, (ty as f32 + 0.5 - half) / half);
        // Round island: the land sinks towards the rim, noise draws the coast.
        let rim = (fx * fx + fy * fy).sqrt();
        let (mx, my) = ((tx as f32 + 0.5) * TILE_M as f32, (ty as f32 + 0.5) * TILE_M as f32);
        let height = self.height.get_noise_2d(mx, my) * 0.55 + (0.82 - rim) * 1.4;
        if rim > 0.95 {
            return Tile::Water;
        }
        // Quantised before it is compared, so that the last bit of a float can't move a coast.
        match (height * 64.0).floor() as i32 {
            i32::MIN..=-1 => Tile::Water,
            0..=5 => Tile::Sand,
            h if h > 88 && rim > 0.18 => Tile::Cliff,
            _ if (self.growth.get_noise_2d(mx, my) * 64.0).floor() as i32 > 8 => Tile::Forest,
            _ => Tile::Grass,
        }
    }

    /// The tile under `place`; everything off the island is water.
    pub fn tile(&self, place: Place) -> Tile {
        if !place.on_island() {
            return Tile::Water;
        }
        let tile = TILE_M as i32 * QUANTA_PER_M;
        self.tile_at(place.x.div_euclid(tile), place.y.div_euclid(tile))
    }

    /// All tiles of a chunk.
    pub fn chunk_tiles(&self, chunk: ChunkPos) -> ChunkTiles {
        let edge = TILES_PER_CHUNK_EDGE as i32;
        std::array::from_fn(|i| {
            let (dx, dy) = (i as i32 % edge, i as i32 / edge);
            self.tile_at(i32::from(chunk.x) * edge + dx, i32::from(chunk.y) * edge + dy)
        })
    }
}

/// The tile of `tiles` (the chunk that holds `place`) under `place`.
pub fn tile_in_chunk(tiles: &ChunkTiles, place: Place) -> Tile {
    let tile = TILE_M as i32 * QUANTA_PER_M;
    let edge = TILES_PER_CHUNK_EDGE as i32;
    let (tx, ty) = (place.x.div_euclid(tile).rem_euclid(edge), place.y.div_euclid(tile).rem_euclid(edge));
    tiles[(ty * edge + tx) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ISLAND_CHUNKS;

    #[test]
    fn the_same_seed_gives_the_same_land_and_another_gives_another() {
        let tiles = |seed, island| Terrain::new(seed, IslandId(island)).chunk_tiles(ChunkPos::new(4, 5));
        assert_eq!(tiles(1, 1), tiles(1, 1));
        let all = |seed| {
            let terrain = Terrain::new(seed, IslandId(1));
            (0..ISLAND_CHUNKS).flat_map(|i| terrain.chunk_tiles(ChunkPos::from_index(i))).collect::<Vec<_>>()
        };
        assert_ne!(all(1), all(2));
    }

    #[test]
    fn every_island_is_land_with_a_shore() {
        for seed in 0..20 {
            let terrain = Terrain::new(seed, IslandId(1));
            let all: Vec<Tile> =
                (0..ISLAND_CHUNKS).flat_map(|i| terrain.chunk_tiles(ChunkPos::from_index(i))).collect();
            let walkable = all.iter().filter(|t| t.is_walkable()).count() * 100 / all.len();
            assert!((25..85).contains(&walkable), "seed {seed}: {walkable} % can be walked");
            assert!(terrain.chunk_tiles(LANDING).iter().all(|t| t.is_walkable()));
            for edge in 0..ISLAND_EDGE_CHUNKS {
                let tiles = terrain.chunk_tiles(ChunkPos::new(edge, 0));
                assert!(!tiles[0].is_walkable(), "seed {seed}: the rim is water");
            }
        }
    }

    #[test]
    fn single_tiles_agree_with_whole_chunks() {
        let terrain = Terrain::new(3, IslandId(9));
        for i in 0..1000 {
            let place = Place { x: i * 61, y: (i * 97) % 65_536 };
            let tiles = terrain.chunk_tiles(place.chunk());
            if place.on_island() {
                assert_eq!(tile_in_chunk(&tiles, place), terrain.tile(place));
            }
        }
    }
}
