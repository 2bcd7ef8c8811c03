//! Ledger records and documents as the auditor reads them: from their serialised form alone. It shares no type and no
//! rule with what writes them, so that a mistake there isn't made here too; fields that nobody needs here are left out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The newest ledger record that is understood.
pub(crate) const RECORD_VERSION: u16 = 2;
/// The version since which structures hold what was paid for them. In older records that is used up, and what
/// demolishing gives back is made.
pub(crate) const STRUCTURES_SINCE: u16 = 2;

/// A chunk's position on its island.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct Chunk {
    /// Chunks east.
    pub(crate) x: i16,
    /// Chunks north.
    pub(crate) y: i16,
}

/// Who holds items.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Holder {
    /// Nobody.
    Nobody,
    /// A player's bag.
    Player(u64),
    /// The ground of a chunk.
    Ground(u32, Chunk),
    /// A trade, by its name.
    Trade(String),
    /// A transfer that is under way, by its name.
    Transfer(String),
    /// A structure of a chunk, by its name.
    Structure(u32, Chunk, String),
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Holder::Nobody => f.write_str("nobody"),
            Holder::Player(player) => write!(f, "player {player:016x}"),
            Holder::Ground(island, chunk) => {
                write!(f, "the ground of chunk {island}/{}/{}", chunk.x, chunk.y)
            }
            Holder::Trade(trade) => write!(f, "trade {trade}"),
            Holder::Transfer(id) => write!(f, "transfer {id}"),
            Holder::Structure(island, chunk, name) => {
                write!(f, "structure {name} of chunk {island}/{}/{}", chunk.x, chunk.y)
            }
        }
    }
}

impl Holder {
    /// The partition, without its world, that has the holder's items in its documents; a transfer may be in any.
    pub(crate) fn partition(&self) -> Option<String> {
        match self {
            Holder::Nobody | Holder::Transfer(_) => None,
            Holder::Player(player) => Some(format!("player/{player:016x}")),
            Holder::Ground(island, chunk) | Holder::Structure(island, chunk, _) => {
                Some(format!("chunk/{island}/{}/{}", chunk.x, chunk.y))
            }
            Holder::Trade(trade) => Some(format!("trade/{trade}")),
        }
    }
}

/// Items that changed hands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    /// What.
    pub(crate) kind: String,
    /// How many.
    pub(crate) count: u32,
    /// From whom.
    pub(crate) from: Holder,
    /// To whom.
    pub(crate) to: Holder,
}

/// What a ledger entry says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Schema version.
    pub(crate) v: u16,
    /// The act whose commit it was, if it was one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) act: Option<String>,
    /// Items that changed hands.
    pub(crate) lines: Vec<Line>,
}

/// A count of each kind of item.
pub(crate) type Items = BTreeMap<String, u32>;

/// The part of every document that tells which form it has.
#[derive(Deserialize)]
pub(crate) struct Versioned {
    pub(crate) v: u16,
}

/// A player's bag. `items` are the player's; `held` is room kept for what may come back.
#[derive(Deserialize)]
pub(crate) struct Bag {
    pub(crate) items: Items,
    /// Version 1 had none.
    #[serde(default)]
    pub(crate) held: Items,
}

/// What lies on a cell.
#[derive(Deserialize)]
pub(crate) struct Ground {
    pub(crate) stacks: Vec<Stack>,
}

/// A stack on the ground; `held` of it were picked up and are not cleared.
#[derive(Deserialize)]
pub(crate) struct Stack {
    pub(crate) item: String,
    pub(crate) count: u32,
    pub(crate) held: u32,
}

/// A trade: an open one holds what is offered, a closed one what it still owes.
#[derive(Deserialize)]
pub(crate) struct Trade {
    pub(crate) give: Items,
    pub(crate) state: String,
    pub(crate) owed: Vec<Owed>,
    pub(crate) sending: u32,
}

/// What a closed trade still owes.
#[derive(Deserialize)]
pub(crate) struct Owed {
    pub(crate) items: Items,
}

/// A pending transfer.
#[derive(Deserialize)]
pub(crate) struct Out {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) cargo: Cargo,
    pub(crate) back: Back,
}

/// What a transfer brings.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cargo {
    Goods { items: Items },
    Stack { item: String, count: u32 },
    Site { site: Site },
    Reserve {},
    Release {},
    Estate {},
    Offer { give: Items },
    Payment { items: Items },
}

impl Cargo {
    /// The items in it.
    pub(crate) fn items(self) -> Items {
        match self {
            Cargo::Goods { items } | Cargo::Payment { items } => items,
            Cargo::Stack { item, count } => Items::from([(item, count)]),
            Cargo::Site { site } => site.paid,
            Cargo::Offer { give } => give,
            Cargo::Reserve {} | Cargo::Release {} | Cargo::Estate {} => Items::new(),
        }
    }
}

/// Where a refused transfer goes back to, as far as rooms are kept for it.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Back {
    Bag {},
    Resource {},
    Ground { cell: u8 },
    Demolish { site: Named },
    Raise {},
    Fall {},
    Spread {},
    Trade {},
}

/// A site of which only the name matters.
#[derive(Deserialize)]
pub(crate) struct Named {
    pub(crate) id: String,
}

/// What was decided on a transfer; `refused` is absent or null when it was accepted.
#[derive(Deserialize)]
pub(crate) struct Decided {
    pub(crate) from: String,
    #[serde(default)]
    pub(crate) refused: Option<serde::de::IgnoredAny>,
}

/// A tile of an island.
#[derive(Clone, Copy, Deserialize)]
pub(crate) struct Tile {
    pub(crate) x: i32,
    pub(crate) y: i32,
}

/// What stands where.
#[derive(Deserialize)]
pub(crate) struct Site {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) island: u32,
    pub(crate) corner: Tile,
    pub(crate) turned: bool,
    pub(crate) paid: Items,
}

/// A structure, in its anchor chunk.
#[derive(Deserialize)]
pub(crate) struct Structure {
    pub(crate) site: Site,
    pub(crate) state: State,
}

/// How far a structure is.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Raising {
        /// Chunks that agreed.
        held: Vec<Chunk>,
    },
    Standing,
    Leaving,
    Falling {},
}

/// What covers a cell.
#[derive(Deserialize)]
pub(crate) struct Cell {
    pub(crate) tiles: Vec<Covered>,
}

/// A covered tile.
#[derive(Clone, Deserialize)]
pub(crate) struct Covered {
    pub(crate) tile: u8,
    pub(crate) by: String,
    pub(crate) anchor: Chunk,
}

/// A chunk's copy of its estate.
#[derive(Clone, Deserialize)]
pub(crate) struct Estate {
    pub(crate) id: String,
    pub(crate) owner: u64,
    pub(crate) home: Chunk,
    pub(crate) others: Vec<Chunk>,
    pub(crate) version: u32,
    #[serde(default)]
    pub(crate) behind: Vec<Chunk>,
}

/// What stands in place of a chunk that is in an archive.
#[derive(Deserialize)]
pub(crate) struct Suspended {
    #[serde(default)]
    pub(crate) holds: BTreeMap<String, i64>,
}

/// Tiles east and north that a kind of structure covers before it is turned; `None` of a kind that isn't known here.
pub(crate) fn edges_of(kind: &str) -> Option<(i32, i32)> {
    match kind {
        "hearth" | "totem" => Some((1, 1)),
        "fence" => Some((2, 1)),
        "hut" => Some((2, 2)),
        "hall" => Some((4, 3)),
        _ => None,
    }
}

/// Newest version of a document that is understood, by the first word of its name.
pub(crate) fn version_of(sort: &str) -> Option<u16> {
    match sort {
        "bag" => Some(2),
        "ground" | "trade" | "out" | "in" | "structure" | "cell" | "estate" | "suspended" => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use world_node::rules::structures::StructureKind;

    use super::*;

    #[test]
    fn every_kind_of_structure_has_its_ground() {
        for kind in StructureKind::ALL {
            let (east, north) = kind.spec().tiles;
            assert_eq!(edges_of(kind.name()), Some((i32::from(east), i32::from(north))), "{kind:?}");
        }
    }
}
