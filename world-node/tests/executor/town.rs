//! The land of the tests: an island, and the corner on it where four chunks meet, all of them land.

use chunk_sync::ids::{Epoch, IslandId, PlayerId};
use chunk_sync::place::{ChunkPos, Place};
use chunk_sync::terrain::Terrain;
use std::cell::RefCell;
use std::collections::BTreeMap;
use world_node::rules::limits::TILE_QUANTA;
use world_node::rules::resources::{Growth, ResourceKind};
use world_node::rules::site::{Site, TilePos};
use world_node::rules::structures::StructureKind;
use world_node::rules::{ActId, ChunkLand, Partition};

pub(super) const ISLAND: IslandId = IslandId(1);
const SEED: u64 = 5;
/// The tile at whose south-west corner four chunks meet.
pub(super) const CORNER: TilePos = TilePos { x: 128, y: 128 };
pub(super) const CHUNKS: [ChunkPos; 4] =
    [ChunkPos::new(7, 7), ChunkPos::new(8, 7), ChunkPos::new(7, 8), ChunkPos::new(8, 8)];

/// The partition of a chunk.
pub(super) const fn home(chunk: ChunkPos) -> Partition {
    Partition::Chunk(ISLAND, chunk)
}

/// The middle of a tile.
pub(super) fn middle(tile: TilePos) -> Place {
    Place { x: tile.x * TILE_QUANTA + TILE_QUANTA / 2, y: tile.y * TILE_QUANTA + TILE_QUANTA / 2 }
}

/// A tile, counted from the corner.
pub(super) fn tile(x: i32, y: i32) -> TilePos {
    TilePos { x: CORNER.x + x, y: CORNER.y + y }
}

thread_local! {
    static LAND: RefCell<BTreeMap<ChunkPos, ChunkLand>> = RefCell::default();
}

/// The land of a chunk, as it was made.
pub(super) fn land_of(chunk: ChunkPos) -> ChunkLand {
    LAND.with_borrow_mut(|known| {
        let made = || ChunkLand::generate(SEED, ISLAND, chunk, &Terrain::new(SEED, ISLAND));
        known.entry(chunk).or_insert_with(made).clone()
    })
}

/// All that grows in the four chunks.
pub(super) fn grown() -> Vec<(ChunkPos, Growth)> {
    let of = |chunk: ChunkPos| land_of(chunk).grown.into_iter().map(move |growth| (chunk, growth));
    CHUNKS.into_iter().flat_map(of).collect()
}

/// The first resource of a kind in the four chunks.
pub(super) fn first(kind: ResourceKind) -> (ChunkPos, Growth) {
    grown().into_iter().find(|(_, growth)| growth.kind == kind).expect("it grows there")
}

/// A free spot near the corner where a structure of a kind lies in `chunks` chunks, which begin with `anchor`.
pub(super) fn spot(kind: StructureKind, anchor: ChunkPos, chunks: usize) -> TilePos {
    let id = ActId { player: PlayerId(0), epoch: Epoch(0), island: ISLAND, act: 0 };
    let fits = |place: &TilePos| {
        let site = Site::new(id, kind, ISLAND, *place, false, &[]);
        let free = site.tiles().all(|tile| land_of(tile.chunk()).is_buildable(tile.number()));
        free && site.anchor() == anchor && 1 + site.others().len() == chunks
    };
    let mut spots = (-8..8).flat_map(|y| (-8..8).map(move |x| tile(x, y)));
    spots.find(fits).expect("there is one")
}
