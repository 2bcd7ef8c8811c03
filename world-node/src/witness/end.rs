//! What must be true once everything has ended: no transfer is open, nothing is half built or half spread, no room is
//! held, and the ground belongs to what stands on it.

use super::Witness;
use crate::rules::documents::{Doc, StructureState};
use crate::rules::limits::{BAG_SLOTS, CELLS_PER_CHUNK_EDGE, TILES_PER_CELL_EDGE};
use crate::rules::site::TilePos;
use crate::rules::{ActId, DocName, Partition};
use chunk_sync::ids::IslandId;
use chunk_sync::limits::TILES_PER_CHUNK_EDGE;
use chunk_sync::place::ChunkPos;
use std::collections::BTreeMap;

pub(super) fn unfinished(seen: &Witness) -> Option<String> {
    let open = seen.lives.iter().find(|(_, life)| **life != [1; 4]);
    if let Some((id, life)) = open {
        return Some(format!("{id} has not ended: {life:?}"));
    }
    let left = seen.docs.iter().find_map(|((at, name), doc)| match doc {
        Doc::Structure(record) if record.state != StructureState::Standing => {
            Some(format!("{name} of {at} is still {:?}", record.state))
        }
        Doc::Estate(estate) if !estate.behind.is_empty() => {
            Some(format!("{name} of {at} is still spreading"))
        }
        Doc::Bag(bag) if !bag.held.is_empty() => Some(format!("{at} still holds room: {bag:?}")),
        Doc::Bag(bag) if bag.slots() > BAG_SLOTS => Some(format!("{at} holds more than it can: {bag:?}")),
        Doc::Ground(ground) if ground.stacks.iter().any(|lying| lying.held > 0) => {
            Some(format!("{name} of {at} still holds room"))
        }
        Doc::Trade(trade) if trade.sending > 0 => Some(format!("{at} is still sending")),
        _ => None,
    });
    left.or_else(|| land_wrong(seen))
}

/// Every covered tile has its structure, every standing structure all of its tiles, and no tile has two.
fn land_wrong(seen: &Witness) -> Option<String> {
    let mut covered: BTreeMap<(IslandId, TilePos), ActId> = BTreeMap::new();
    for (at, name, doc) in seen.named(|name| matches!(name, DocName::Cell(_))) {
        let (Partition::Chunk(island, chunk), DocName::Cell(cell), Doc::Cell(record)) = (at, name, doc)
        else {
            continue;
        };
        for tile in &record.tiles {
            let place = tile_of(chunk, cell, tile.tile);
            if let Some(other) = covered.insert((island, place), tile.by) {
                return Some(format!("{place:?} is covered by {other} and {}", tile.by));
            }
            if seen.get(Partition::Chunk(island, tile.anchor), DocName::Structure(tile.by)).is_none() {
                return Some(format!("{place:?} is covered by {}, which isn't there", tile.by));
            }
        }
    }
    for (at, _, doc) in seen.named(|name| matches!(name, DocName::Structure(_))) {
        let (Partition::Chunk(island, _), Doc::Structure(record)) = (at, doc) else { continue };
        if !matches!(record.state, StructureState::Standing | StructureState::Leaving) {
            continue;
        }
        let bare = |tile: &TilePos| covered.get(&(island, *tile)) != Some(&record.site.id);
        if let Some(bare) = record.site.tiles().find(bare) {
            return Some(format!("{:?} stands but doesn't cover {bare:?}", record.site));
        }
    }
    None
}

fn tile_of(chunk: ChunkPos, cell: u8, tile: u8) -> TilePos {
    const CHUNK: i32 = TILES_PER_CHUNK_EDGE as i32;
    const CELL: i32 = TILES_PER_CELL_EDGE as i32;
    const CELLS: i32 = CELLS_PER_CHUNK_EDGE as i32;
    let (cell, tile) = (i32::from(cell), i32::from(tile));
    TilePos {
        x: i32::from(chunk.x) * CHUNK + cell % CELLS * CELL + tile % CELL,
        y: i32::from(chunk.y) * CHUNK + cell / CELLS * CELL + tile / CELL,
    }
}
