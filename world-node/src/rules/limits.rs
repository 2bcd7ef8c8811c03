//! Named limits and numbers of the game, with the relations between them. What each kind of item, resource or
//! structure costs and gives is in its table.

use chunk_sync::limits::{
    CELL_M, CHUNK_M, ISLAND_CHUNKS, QUANTA_PER_M, TICK_HZ, TILE_M, TILES_PER_CHUNK, TILES_PER_CHUNK_EDGE,
};
use chunk_sync::store::{
    DOCUMENT_MAX_BYTES, NAME_MAX_BYTES, PRECONDITIONS_PER_COMMIT_MAX, WRITES_PER_COMMIT_MAX,
};

/// Slots of a bag; each holds one stack of one kind.
pub const BAG_SLOTS: u64 = 24;
/// Largest count of one kind that an action may name.
pub const COUNT_MAX: u32 = 10_000;

/// Stamina of a rested player.
pub const STAMINA_MAX: u32 = 100;
/// Ticks in which one point of stamina comes back.
pub const STAMINA_REGEN_TICKS: u64 = TICK_HZ;
/// Stamina that a journey to another island costs.
pub const TRAVEL_STAMINA: u32 = 20;
/// Stamina that an offer of a trade costs, taken up or not: each leaves a partition behind for good, which remembers that
/// the trade is over.
pub const OFFER_STAMINA: u32 = 5;

/// How far an actor's hands reach: to a resource, a building site, a stack on the ground.
pub const REACH_M: i32 = 5;
/// The same in quanta.
pub const REACH_QUANTA: i32 = REACH_M * QUANTA_PER_M;
/// How near two players stand who give or trade.
pub const HAND_OVER_M: i32 = 8;
/// The same in quanta.
pub const HAND_OVER_QUANTA: i32 = HAND_OVER_M * QUANTA_PER_M;

/// Resources that grow in one chunk.
pub const RESOURCES_PER_CHUNK_MAX: usize = 48;
/// Stacks that lie on the ground of one cell, with those that are just being picked up.
pub const GROUND_STACKS_PER_CELL_MAX: usize = 16;

/// Quanta along the edge of a tile.
pub const TILE_QUANTA: i32 = TILE_M as i32 * QUANTA_PER_M;
/// Tiles along the edge of a cell.
pub const TILES_PER_CELL_EDGE: usize = (CELL_M / TILE_M) as usize;
/// Tiles of a cell.
pub const TILES_PER_CELL: usize = TILES_PER_CELL_EDGE * TILES_PER_CELL_EDGE;
/// Cells along the edge of a chunk.
pub const CELLS_PER_CHUNK_EDGE: usize = (CHUNK_M / CELL_M) as usize;
/// Cells of a chunk.
pub const CELLS_PER_CHUNK: usize = CELLS_PER_CHUNK_EDGE * CELLS_PER_CHUNK_EDGE;
/// Longest edge of a structure, in tiles.
pub const FOOTPRINT_EDGE_TILES_MAX: u8 = 4;

/// Chunks of one estate, the totem's with them.
pub const ESTATE_CHUNKS_MAX: usize = 9;
/// How many rings around the totem's chunk an estate may reach.
pub const ESTATE_RING_MAX: i16 = 1;
/// Players that an estate's owner can give rights to.
pub const ESTATE_PERMISSIONS_MAX: usize = 64;

/// Kinds of items on one side of a trade.
pub const TRADE_KINDS_MAX: usize = 8;

/// Decisions that one commit forgets.
pub const FORGETS_PER_COMMIT_MAX: usize = 32;

const _: () = assert!(TILES_PER_CHUNK <= 256, "a tile's number in its chunk is a u8");
const _: () = assert!(RESOURCES_PER_CHUNK_MAX <= TILES_PER_CHUNK);
const _: () = assert!(TILES_PER_CELL_EDGE * CELLS_PER_CHUNK_EDGE == TILES_PER_CHUNK_EDGE);
const _: () = assert!(
    (FOOTPRINT_EDGE_TILES_MAX as usize) < TILES_PER_CHUNK_EDGE,
    "a footprint touches at most two chunks along an axis"
);
const _: () = assert!(ESTATE_CHUNKS_MAX == ((2 * ESTATE_RING_MAX + 1) * (2 * ESTATE_RING_MAX + 1)) as usize);
const _: () = assert!(
    CELLS_PER_CHUNK + 8 <= PRECONDITIONS_PER_COMMIT_MAX,
    "a claim names every cell, the estate and the transfer"
);
const _: () = assert!(
    FORGETS_PER_COMMIT_MAX < PRECONDITIONS_PER_COMMIT_MAX && FORGETS_PER_COMMIT_MAX < WRITES_PER_COMMIT_MAX,
    "each decision, and their count"
);
const _: () = assert!(OFFER_STAMINA > 0 && OFFER_STAMINA <= STAMINA_MAX);
const _: () = assert!(TRAVEL_STAMINA <= STAMINA_MAX && REACH_QUANTA <= HAND_OVER_QUANTA);
const _: () = assert!(ESTATE_PERMISSIONS_MAX * 128 < DOCUMENT_MAX_BYTES);
/// Bytes of the longest name of an act: player in hex, then epoch, island and number in base 36, and the dots.
pub const ACT_NAME_MAX_BYTES: usize = 16 + 1 + 7 + 1 + 7 + 1 + 13;
/// Bytes of the longest name of a transfer: the act, the sender, the step in base 36, and the dots.
pub const TRANSFER_NAME_MAX_BYTES: usize = ACT_NAME_MAX_BYTES + 1 + 3 + 1 + 7;
const _: () = assert!("out/".len() + TRANSFER_NAME_MAX_BYTES <= NAME_MAX_BYTES);
const _: () = assert!("structure/".len() + ACT_NAME_MAX_BYTES <= NAME_MAX_BYTES);
const _: () = assert!(ISLAND_CHUNKS <= 256, "a sender's chunk is a u8");
