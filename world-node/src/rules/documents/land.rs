//! Documents of a chunk's partition: resources, structures, occupancy, estates, what lies on the ground.

use super::Record;
use crate::rules::items::ItemKind;
use crate::rules::names::ActId;
use crate::rules::resources::Units;
use crate::rules::site::{Site, TilePos};
use chunk_sync::ids::PlayerId;
use chunk_sync::place::{ChunkPos, Place};
use chunk_sync::time::Tick;
use serde::{Deserialize, Serialize};

/// A resource that is not whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ResourceRecord {
    /// Schema version.
    pub v: u16,
    /// Units at the tick.
    pub left: u32,
    /// The tick.
    pub at: Tick,
}

impl ResourceRecord {
    /// The units.
    pub fn units(&self) -> Units {
        Units { left: self.left, at: self.at }
    }
}

impl From<Units> for ResourceRecord {
    fn from(units: Units) -> Self {
        Self { v: Self::VERSION, left: units.left, at: units.at }
    }
}

/// A structure, in the partition of its anchor chunk.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StructureRecord {
    /// Schema version.
    pub v: u16,
    /// What and where.
    pub site: Site,
    /// How far it is.
    pub state: StructureState,
    /// The version of the estate that allowed it, if it stands on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<EstateVersion>,
    /// Number of the next transfer that it, or its estate, sends.
    pub steps: u32,
}

/// How far a structure is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StructureState {
    /// Other chunks are asked one after the other; its ground is taken, but it doesn't stand.
    Raising {
        /// Chunks that are to be asked, the next one first; a transfer to it is under way.
        left: Vec<ChunkPos>,
        /// Chunks that agreed.
        held: Vec<ChunkPos>,
    },
    /// It stands.
    Standing,
    /// It still stands; what demolishing gives back is on its way.
    Leaving,
    /// It is gone; other chunks are told one after the other.
    Falling {
        /// Chunks that still hold ground for it, the next one first; a transfer to it is under way.
        left: Vec<ChunkPos>,
    },
}

/// Which estate, and which of its versions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EstateVersion {
    /// The estate.
    pub id: ActId,
    /// The version.
    pub version: u32,
}

/// What covers the tiles of a cell.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CellRecord {
    /// Schema version.
    pub v: u16,
    /// Covered tiles, by number.
    pub tiles: Vec<Covered>,
}

/// A covered tile.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Covered {
    /// Number of the tile in its cell.
    pub tile: u8,
    /// The structure.
    pub by: ActId,
    /// The chunk that has the structure's document.
    pub anchor: ChunkPos,
}

impl Default for CellRecord {
    fn default() -> Self {
        Self { v: Self::VERSION, tiles: Vec::new() }
    }
}

impl CellRecord {
    /// What covers a tile of the cell.
    pub fn covered(&self, tile: TilePos) -> Option<&Covered> {
        self.tiles.iter().find(|covered| covered.tile == tile.in_cell())
    }

    /// Notes that `site` covers a tile, which must be free.
    pub fn cover(&mut self, tile: TilePos, site: &Site) {
        let covered = Covered { tile: tile.in_cell(), by: site.id, anchor: site.anchor() };
        let at = self.tiles.partition_point(|other| other.tile < covered.tile);
        self.tiles.insert(at, covered);
    }

    /// Frees every tile that a structure covers.
    pub fn uncover(&mut self, structure: ActId) {
        self.tiles.retain(|covered| covered.by != structure);
    }
}

/// What an estate's owner can allow others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// Taking from its resources.
    Gather,
    /// Building on it.
    Build,
    /// Taking structures down.
    Demolish,
}

/// What one player may do on an estate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Permission {
    /// The player.
    pub player: PlayerId,
    /// The rights, in order.
    pub rights: Vec<Right>,
}

/// An estate, as each of its chunks holds it. The totem's chunk has the newest copy first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EstateRecord {
    /// Schema version.
    pub v: u16,
    /// The estate; also the name of its totem.
    pub id: ActId,
    /// Its owner.
    pub owner: PlayerId,
    /// The totem's chunk.
    pub home: ChunkPos,
    /// Its other chunks.
    pub others: Vec<ChunkPos>,
    /// Grows with every change of the permissions.
    pub version: u32,
    /// What others may do, by player.
    pub permissions: Vec<Permission>,
    /// In the totem's chunk: chunks whose copy is older. A change is done when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub behind: Vec<ChunkPos>,
}

impl EstateRecord {
    /// The estate that a totem claims.
    pub fn claimed_by(totem: &Site) -> Self {
        Self {
            v: Self::VERSION,
            id: totem.id,
            owner: totem.builder(),
            home: totem.anchor(),
            others: totem.claims.clone(),
            version: 1,
            permissions: Vec::new(),
            behind: Vec::new(),
        }
    }

    /// Whether a player may do this here.
    pub fn allows(&self, player: PlayerId, right: Right) -> bool {
        let listed = self.permissions.iter().find(|permission| permission.player == player);
        player == self.owner || listed.is_some_and(|permission| permission.rights.contains(&right))
    }

    /// Sets what a player may do, in a new version that every other chunk has yet to get.
    pub fn permit(&mut self, player: PlayerId, rights: &[Right]) {
        self.permissions.retain(|permission| permission.player != player);
        if !rights.is_empty() {
            let mut rights = rights.to_vec();
            rights.sort_unstable();
            rights.dedup();
            let at = self.permissions.partition_point(|permission| permission.player < player);
            self.permissions.insert(at, Permission { player, rights });
        }
        self.version += 1;
        self.behind = self.others.clone();
    }

    /// Which version of which estate this is.
    pub fn named(&self) -> EstateVersion {
        EstateVersion { id: self.id, version: self.version }
    }

    /// What other chunks get.
    pub fn copy(&self) -> Self {
        Self { behind: Vec::new(), ..self.clone() }
    }
}

/// What lies on the ground of a cell.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroundRecord {
    /// Schema version.
    pub v: u16,
    /// The stacks, in the order in which they came.
    pub stacks: Vec<GroundStack>,
}

/// A stack on the ground.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroundStack {
    /// The act that dropped it.
    pub id: ActId,
    /// What.
    pub item: ItemKind,
    /// How many.
    pub count: u32,
    /// How many were picked up and are not cleared; their room is kept, so that they can come back.
    pub held: u32,
    /// Where it lies.
    pub place: Place,
}

impl Default for GroundRecord {
    fn default() -> Self {
        Self { v: Self::VERSION, stacks: Vec::new() }
    }
}

impl GroundRecord {
    /// A stack of this cell.
    pub fn stack(&mut self, id: ActId) -> Option<&mut GroundStack> {
        self.stacks.iter_mut().find(|stack| stack.id == id)
    }

    /// Drops what is used up.
    pub fn tidy(&mut self) {
        self.stacks.retain(|stack| stack.count > 0 || stack.held > 0);
    }
}
