//! Where a structure stands: tiles of two metres, the cells and chunks that they are in. Pure arithmetic, asked by
//! the rules for building, demolishing and claiming.

use super::items::Items;
use super::limits::{CELLS_PER_CHUNK, CELLS_PER_CHUNK_EDGE, TILE_QUANTA, TILES_PER_CELL_EDGE};
use super::names::{ActId, Partition, Sender, TransferId};
use super::structures::StructureKind;
use chunk_sync::ids::{IslandId, PlayerId};
use chunk_sync::limits::{ISLAND_EDGE_CHUNKS, TILES_PER_CHUNK_EDGE};
use chunk_sync::place::{ChunkPos, Place};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A tile of an island, counted from its south-west corner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct TilePos {
    /// Tiles east.
    pub x: i32,
    /// Tiles north.
    pub y: i32,
}

const CHUNK_TILES: i32 = TILES_PER_CHUNK_EDGE as i32;
const CELL_TILES: i32 = TILES_PER_CELL_EDGE as i32;
const ISLAND_TILES: i32 = ISLAND_EDGE_CHUNKS as i32 * CHUNK_TILES;

impl TilePos {
    /// The tile under a place.
    pub fn under(place: Place) -> Self {
        Self { x: place.x.div_euclid(TILE_QUANTA), y: place.y.div_euclid(TILE_QUANTA) }
    }

    /// The tile with this number in a chunk.
    pub fn in_chunk(chunk: ChunkPos, tile: u8) -> Self {
        let tile = i32::from(tile);
        Self {
            x: i32::from(chunk.x) * CHUNK_TILES + tile % CHUNK_TILES,
            y: i32::from(chunk.y) * CHUNK_TILES + tile / CHUNK_TILES,
        }
    }

    /// Whether the island's grid has the tile.
    pub fn on_island(self) -> bool {
        (0..ISLAND_TILES).contains(&self.x) && (0..ISLAND_TILES).contains(&self.y)
    }

    /// The chunk of a tile on the island.
    pub fn chunk(self) -> ChunkPos {
        ChunkPos::new(self.x.div_euclid(CHUNK_TILES) as i16, self.y.div_euclid(CHUNK_TILES) as i16)
    }

    /// The tile's number in its chunk, row by row.
    pub fn number(self) -> u8 {
        (self.y.rem_euclid(CHUNK_TILES) * CHUNK_TILES + self.x.rem_euclid(CHUNK_TILES)) as u8
    }

    /// Number of the tile's cell in its chunk.
    pub fn cell(self) -> u8 {
        let cell = |tiles: i32| tiles.rem_euclid(CHUNK_TILES) / CELL_TILES;
        (cell(self.y) * CELLS_PER_CHUNK_EDGE as i32 + cell(self.x)) as u8
    }

    /// The tile's number in its cell.
    pub fn in_cell(self) -> u8 {
        (self.y.rem_euclid(CELL_TILES) * CELL_TILES + self.x.rem_euclid(CELL_TILES)) as u8
    }

    /// Whether `place` is within `reach` quanta of the rectangle of `edges` tiles whose south-west corner this is.
    pub fn reached_from(self, edges: (u8, u8), place: Place, reach: i32) -> bool {
        let gap = |tile: i32, edge: u8, quanta: i32| {
            let low = i64::from(tile) * i64::from(TILE_QUANTA);
            let high = low + i64::from(edge) * i64::from(TILE_QUANTA);
            (low - i64::from(quanta)).max(i64::from(quanta) - high).max(0)
        };
        let (dx, dy) = (gap(self.x, edges.0, place.x), gap(self.y, edges.1, place.y));
        dx.max(dy) <= i64::from(reach) && dx * dx + dy * dy <= i64::from(reach) * i64::from(reach)
    }
}

/// A structure's name, kind and ground. It never changes, and travels with everything that concerns the structure.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Site {
    /// The act that built it; its player is the builder.
    pub id: ActId,
    /// What it is.
    pub kind: StructureKind,
    /// The island, which is the act's.
    pub island: IslandId,
    /// Its south-west tile.
    pub corner: TilePos,
    /// Whether it is turned by a quarter.
    pub turned: bool,
    /// Chunks that it claims besides its own, in order.
    #[serde(default)]
    pub claims: Vec<ChunkPos>,
    /// What was paid for it.
    pub paid: Items,
}

impl Site {
    /// The site that an act asks for, paid as the table says.
    pub fn new(
        id: ActId,
        kind: StructureKind,
        island: IslandId,
        corner: TilePos,
        turned: bool,
        claims: &[ChunkPos],
    ) -> Self {
        let mut claims = claims.to_vec();
        claims.sort_unstable();
        claims.dedup();
        Self { id, kind, island, corner, turned, claims, paid: Items::from(kind.spec().materials) }
    }

    /// Who builds or built it.
    pub fn builder(&self) -> PlayerId {
        self.id.player
    }

    /// The transfer that brings what was paid for it.
    pub fn paid_by(&self) -> TransferId {
        self.id.transfer(Sender::Player)
    }

    /// Tiles east and north.
    pub fn edges(&self) -> (u8, u8) {
        let (east, north) = self.kind.spec().tiles;
        if self.turned { (north, east) } else { (east, north) }
    }

    /// The tiles that it covers, row by row.
    pub fn tiles(&self) -> impl Iterator<Item = TilePos> {
        let (east, north) = self.edges();
        let corner = self.corner;
        (0..i32::from(north)).flat_map(move |y| {
            (0..i32::from(east))
                .map(move |x| TilePos { x: corner.x.saturating_add(x), y: corner.y.saturating_add(y) })
        })
    }

    /// The chunk that decides: the one of its south-west tile.
    pub fn anchor(&self) -> ChunkPos {
        self.corner.chunk()
    }

    /// The partition of one of the island's chunks.
    pub fn partition(&self, chunk: ChunkPos) -> Partition {
        Partition::Chunk(self.island, chunk)
    }

    /// The chunks beyond the anchor that it needs, in ascending order: others that it covers, others that it claims.
    /// Everybody asks in this order, so of two that want the same ground one is not refused; only two that want each
    /// other's anchor, which each holds already, may both be.
    pub fn others(&self) -> Vec<ChunkPos> {
        let covered = self.tiles().map(TilePos::chunk);
        let mut chunks: BTreeSet<(i16, i16)> =
            covered.chain(self.claims.iter().copied()).map(|chunk| (chunk.y, chunk.x)).collect();
        chunks.remove(&(self.anchor().y, self.anchor().x));
        chunks.into_iter().map(|(y, x)| ChunkPos::new(x, y)).collect()
    }

    /// Tiles that it covers in a chunk.
    pub fn tiles_in(&self, chunk: ChunkPos) -> impl Iterator<Item = TilePos> {
        self.tiles().filter(move |tile| tile.chunk() == chunk)
    }

    /// Cells whose occupancy it must know in a chunk: a claim looks at all of them.
    pub fn cells_in(&self, chunk: ChunkPos) -> BTreeSet<u8> {
        if self.kind.spec().claims {
            return (0..CELLS_PER_CHUNK as u8).collect();
        }
        self.tiles_in(chunk).map(TilePos::cell).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chunk_sync::ids::Epoch;

    fn hall(x: i32, y: i32, turned: bool) -> Site {
        let id = ActId { player: PlayerId(1), epoch: Epoch(1), island: IslandId(1), act: 1 };
        let corner = TilePos { x, y };
        Site::new(id, StructureKind::Hall, IslandId(1), corner, turned, &[])
    }

    #[test]
    fn a_hall_on_a_corner_needs_four_chunks() {
        let site = hall(14, 15, false);
        assert_eq!(site.anchor(), ChunkPos::new(0, 0));
        assert_eq!(site.others(), [ChunkPos::new(1, 0), ChunkPos::new(0, 1), ChunkPos::new(1, 1)]);
        let covered: usize =
            site.others().iter().chain([&site.anchor()]).map(|chunk| site.tiles_in(*chunk).count()).sum();
        assert_eq!(covered, 12);
        assert_eq!(hall(12, 12, false).others(), []);
        assert_eq!(hall(13, 12, true).others(), []);
        assert_eq!(hall(12, 13, true).others(), [ChunkPos::new(0, 1)]);
    }

    #[test]
    fn numbers_lead_back_to_the_tile() {
        for number in 0..=255u8 {
            let tile = TilePos::in_chunk(ChunkPos::new(3, 5), number);
            assert_eq!((tile.chunk(), tile.number()), (ChunkPos::new(3, 5), number));
            let place = Place { x: tile.x * TILE_QUANTA + 7, y: tile.y * TILE_QUANTA + TILE_QUANTA - 1 };
            assert_eq!((TilePos::under(place), place.cell()), (tile, tile.cell()));
            assert!(usize::from(tile.in_cell()) < crate::rules::limits::TILES_PER_CELL);
        }
    }

    #[test]
    fn reach_is_measured_to_the_nearest_edge() {
        let site = hall(10, 10, false);
        let from = |x: i32, y: i32| site.corner.reached_from(site.edges(), Place { x, y }, 100);
        let (low, high) = (10 * TILE_QUANTA, 14 * TILE_QUANTA);
        assert!(from(low - 100, low) && !from(low - 101, low));
        assert!(from(high + 100, low) && !from(high + 101, low));
        assert!(from(low + 5, low + 5) && !from(low - 80, low - 80));
        assert!(!from(i32::MIN, i32::MAX));
    }
}
