//! What grows: resources of a chunk, made from the world's seed alone, and how they come back.

use super::items::ItemKind;
use super::limits::{RESOURCES_PER_CHUNK_MAX, STAMINA_MAX};
use super::table::table;
use chunk_sync::ids::IslandId;
use chunk_sync::limits::TICK_HZ;
use chunk_sync::place::ChunkPos;
use chunk_sync::random::{RngExt, stream};
use chunk_sync::terrain::{ChunkTiles, Tile};
use chunk_sync::time::Tick;
use serde::{Deserialize, Serialize};

/// What there is to know of a kind of resource.
#[derive(Debug)]
pub struct ResourceSpec {
    /// What it gives; a unit is one of these.
    pub item: ItemKind,
    /// Units when it is whole.
    pub units_max: u32,
    /// Units that one act takes at most.
    pub units_per_act: u32,
    /// Ticks in which one unit grows back.
    pub regrow_ticks: u64,
    /// Stamina that one act costs.
    pub stamina: u32,
    /// What one must carry.
    pub tool: Option<ItemKind>,
    /// Tiles that it grows on.
    pub tile: Tile,
    /// Of a thousand such tiles, how many have it.
    pub per_mille: u32,
}

table! {
    /// A kind of resource.
    ResourceKind: ResourceSpec {
        /// Wood, in forests.
        Tree = "tree" => ResourceSpec {
            item: ItemKind::Wood, units_max: 20, units_per_act: 2, regrow_ticks: 60 * TICK_HZ,
            stamina: 3, tool: None, tile: Tile::Forest, per_mille: 300,
        };
        /// Stone, in meadows.
        Rock = "rock" => ResourceSpec {
            item: ItemKind::Stone, units_max: 30, units_per_act: 2, regrow_ticks: 120 * TICK_HZ,
            stamina: 4, tool: Some(ItemKind::Pick), tile: Tile::Grass, per_mille: 30,
        };
        /// Wood, fallen in meadows.
        Deadwood = "deadwood" => ResourceSpec {
            item: ItemKind::Wood, units_max: 6, units_per_act: 1, regrow_ticks: 40 * TICK_HZ,
            stamina: 2, tool: None, tile: Tile::Grass, per_mille: 30,
        };
        /// Berries, in meadows.
        Bush = "bush" => ResourceSpec {
            item: ItemKind::Berry, units_max: 8, units_per_act: 1, regrow_ticks: 30 * TICK_HZ,
            stamina: 1, tool: None, tile: Tile::Grass, per_mille: 40,
        };
        /// Fibre, in meadows.
        Flax = "flax" => ResourceSpec {
            item: ItemKind::Fibre, units_max: 12, units_per_act: 3, regrow_ticks: 20 * TICK_HZ,
            stamina: 1, tool: None, tile: Tile::Grass, per_mille: 40,
        };
        /// Fibre, on beaches.
        Reed = "reed" => ResourceSpec {
            item: ItemKind::Fibre, units_max: 16, units_per_act: 4, regrow_ticks: 20 * TICK_HZ,
            stamina: 1, tool: None, tile: Tile::Sand, per_mille: 80,
        };
    }
}

const _: () = {
    let mut row = 0;
    while row < ResourceKind::ALL.len() {
        let spec = ResourceKind::ALL[row].spec();
        assert!(spec.units_per_act > 0 && spec.units_per_act <= spec.units_max);
        assert!(spec.regrow_ticks > 0 && spec.stamina <= STAMINA_MAX && spec.per_mille <= 1000);
        row += 1;
    }
};

/// A resource as the land was made with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Growth {
    /// Number of its tile in the chunk; also its name.
    pub tile: u8,
    /// What it is.
    pub kind: ResourceKind,
}

/// What grows in a chunk, by tile: the same for ever for the same seed, island and chunk.
pub fn generate(seed: u64, island: IslandId, chunk: ChunkPos, tiles: &ChunkTiles) -> Vec<Growth> {
    let mut draws = stream(seed, &format!("resources/{island}/{}/{}", chunk.x, chunk.y));
    let mut grown = Vec::new();
    for (number, tile) in tiles.iter().enumerate() {
        // One draw for every tile, so that a change of the coast moves nothing else.
        let mut draw: u32 = draws.random_range(0..1000);
        if !tile.is_walkable() || grown.len() == RESOURCES_PER_CHUNK_MAX {
            continue;
        }
        for kind in ResourceKind::ALL.iter().filter(|kind| kind.spec().tile == *tile) {
            if draw < kind.spec().per_mille {
                grown.push(Growth { tile: number as u8, kind: *kind });
                break;
            }
            draw -= kind.spec().per_mille;
        }
    }
    grown
}

/// Units of a resource, as they were at a tick.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Units {
    /// Units at that tick.
    pub left: u32,
    /// The tick.
    pub at: Tick,
}

impl Units {
    /// Units of a resource of `kind` at `now`; never more than when it was whole.
    pub fn now(self, kind: ResourceKind, now: Tick) -> u32 {
        let grown = now.since(self.at) / kind.spec().regrow_ticks;
        u64::from(self.left).saturating_add(grown).min(u64::from(kind.spec().units_max)) as u32
    }

    /// With `change` units more or fewer at `now`; `None` when that many are not there.
    pub fn changed(self, kind: ResourceKind, change: i64, now: Tick) -> Option<Self> {
        let spec = kind.spec();
        let before = self.now(kind, now);
        // A unit that has begun to grow goes on growing, unless the resource was whole.
        let at = if before == spec.units_max {
            now.max(self.at)
        } else {
            Tick(self.at.0 + u64::from(before - self.left.min(before)) * spec.regrow_ticks)
        };
        let left = i64::from(before) + change;
        (left >= 0).then(|| Self { left: left.min(i64::from(spec.units_max)) as u32, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chunk_sync::limits::ISLAND_CHUNKS;
    use chunk_sync::random::hash;
    use chunk_sync::terrain::{LANDING, Terrain};
    use proptest::prelude::*;

    #[test]
    fn the_same_land_grows_the_same_and_only_where_one_can_walk() {
        let island = IslandId(4);
        let terrain = Terrain::new(11, island);
        let mut kinds = std::collections::BTreeSet::new();
        for index in 0..ISLAND_CHUNKS {
            let chunk = ChunkPos::from_index(index);
            let tiles = terrain.chunk_tiles(chunk);
            let grown = generate(11, island, chunk, &tiles);
            assert_eq!(grown, generate(11, island, chunk, &tiles));
            assert!(grown.len() <= RESOURCES_PER_CHUNK_MAX);
            assert!(grown.is_sorted_by(|a, b| a.tile < b.tile), "one on a tile");
            for growth in &grown {
                assert!(tiles[usize::from(growth.tile)].is_walkable());
                assert_eq!(tiles[usize::from(growth.tile)], growth.kind.spec().tile);
                kinds.insert(growth.kind);
            }
        }
        assert_eq!(kinds.len(), ResourceKind::ALL.len(), "an island has everything: {kinds:?}");
        let landing =
            |seed, island| generate(seed, island, LANDING, &Terrain::new(seed, island).chunk_tiles(LANDING));
        assert_ne!(landing(11, island), landing(12, island));
        assert_ne!(landing(11, island), landing(11, IslandId(5)));
    }

    /// Land is never written (decision 0013): whoever changes these numbers changes every world that there is.
    #[test]
    fn land_and_growth_are_the_same_for_ever() {
        let of = |seed: u64, island: IslandId| {
            let terrain = Terrain::new(seed, island);
            let mut bytes = Vec::new();
            for index in 0..ISLAND_CHUNKS {
                let chunk = ChunkPos::from_index(index);
                let tiles = terrain.chunk_tiles(chunk);
                bytes.extend(tiles.iter().map(|tile| *tile as u8));
                let grown = generate(seed, island, chunk, &tiles);
                bytes.extend(grown.iter().flat_map(|growth| [growth.tile, growth.kind as u8]));
            }
            hash(0, &bytes)
        };
        let pinned = [of(1, IslandId(1)), of(0xfeed, IslandId(20))];
        assert_eq!(pinned, [0, 0]);
    }

    proptest! {
        #[test]
        fn regrowth_never_exceeds_the_maximum_and_loses_no_time(
            row in 0..ResourceKind::ALL.len(),
            steps in proptest::collection::vec((0u64..3_000, 0i64..6, any::<bool>()), 1..60),
        ) {
            let kind = ResourceKind::ALL[row];
            let max = kind.spec().units_max;
            let mut units = Units { left: max, at: Tick(0) };
            let mut now = Tick(0);
            for (wait, count, back) in steps {
                now = Tick(now.0 + wait);
                let before = units.now(kind, now);
                let change = if back { count } else { -count };
                if let Some(changed) = units.changed(kind, change, now) {
                    prop_assert_eq!(i64::from(changed.now(kind, now)), (i64::from(before) + change).min(i64::from(max)));
                    units = changed;
                } else {
                    prop_assert!(i64::from(before) + change < 0);
                }
                prop_assert!(units.left <= max && units.now(kind, Tick(u64::MAX)) == max);
                // Asked at any moment in between or only at the end, it is the same.
                let later = Tick(now.0 + wait / 2);
                let asked = units.changed(kind, 0, later).unwrap();
                prop_assert_eq!(asked.now(kind, Tick(now.0 + 9_999)), units.now(kind, Tick(now.0 + 9_999)));
            }
        }
    }
}
