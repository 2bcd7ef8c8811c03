//! The documents that the cluster keeps in the store, and where: one place for partition, document and epoch names.

use crate::ids::{Epoch, IslandId, NodeId, PlayerId, Source, WorldId};
use crate::place::Place;
use crate::store::PartitionView;
use crate::ticket::TicketKey;
use crate::time::Tick;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;

/// The world that this build mints in; worlds are told apart once they meet.
pub const WORLD: WorldId = WorldId(1);

/// Cluster partition of the world's own facts (`WorldRecord` in `DOC_WORLD`).
pub const CLUSTER_WORLD: &str = "world";
/// Cluster partition of members (`NodeRecord` in `node_doc`, `AllocatorRecord` in `allocator_doc`, their leases).
pub const CLUSTER_REGISTRY: &str = "registry";
/// Cluster partition of the plan (`PlanRecord` in `DOC_PLAN`).
pub const CLUSTER_PLAN: &str = "plan";

/// Document of `WorldRecord`.
pub const DOC_WORLD: &str = "world";
/// Document of `PlanRecord`; also the epoch that numbers it.
pub const DOC_PLAN: &str = "plan";
/// Document of `SessionRecord` in a player's partition.
pub const DOC_SESSION: &str = "session";
/// Document of `PlaceRecord` in a player's partition.
pub const DOC_PLACE: &str = "place";
/// Document of `PlacementRecord` in a player's partition.
pub const DOC_PLACEMENT: &str = "placement";
/// Schema of the `PlaceRecord`s that this build writes.
pub const PLACE_SCHEMA: u16 = 1;
/// Epoch of a player's session.
pub const EPOCH_SESSION: &str = "session";
/// Number of the last ticket that was used, as an epoch of the player's partition.
pub const EPOCH_TICKET: &str = "ticket";
/// Document of `NameRecord` in a name's partition.
pub const DOC_NAME: &str = "player";
/// Document of `ClaimsRecord` in a chunk's partition.
pub const DOC_CLAIMS: &str = "claims";
/// Document of `SuspendedRecord`, the only one of a suspended chunk. Every commit to a chunk demands its absence, so that
/// nothing is done to a chunk whose documents are in an archive.
pub const DOC_SUSPENDED: &str = "suspended";
/// Schema of the `SuspendedRecord`s that this build writes.
pub const SUSPENDED_SCHEMA: u16 = 1;
/// Epoch of a chunk's claimant list.
pub const EPOCH_CLAIMS: &str = "claims";

/// Epoch of the registry that fences older allocators (value: the source).
pub const EPOCH_ALLOCATOR: &str = "allocator";
/// Epoch of the registry below which every ticket number counts as given.
pub const EPOCH_TICKETS: &str = "tickets";
/// Document of `SeatsRecord` in the registry.
pub const DOC_SEATS: &str = "seats";

/// Document of a node in the registry; also the epoch that fences its older incarnations (value: the source).
pub fn node_doc(node: NodeId) -> String {
    format!("node/{}", node.0)
}

/// Document of an allocator in the registry.
pub fn allocator_doc(source: Source) -> String {
    format!("allocator/{}", source.0)
}

/// Lease of an incarnation in the registry.
pub fn lease_name(source: Source) -> String {
    format!("s{}", source.0)
}

/// Facts that hold for the whole world, written once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorldRecord {
    /// Seed of all land.
    pub seed: u64,
    /// The store's clock when the world began: tick 0.
    pub began_ms: u64,
    /// Keys that sign tickets, the newest first.
    pub keys: Vec<KeyRecord>,
}

/// A ticket key at rest.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Its number.
    pub id: u8,
    /// The secret.
    pub secret: [u8; 32],
}

impl std::fmt::Debug for KeyRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyRecord({})", self.id)
    }
}

impl From<&KeyRecord> for TicketKey {
    fn from(record: &KeyRecord) -> Self {
        TicketKey { id: record.id, secret: record.secret }
    }
}

/// A node as the others find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The node.
    pub node: NodeId,
    /// Its current incarnation.
    pub source: Source,
    /// Where clients connect (`host:port`).
    pub address: String,
    /// Where members of the cluster subscribe.
    pub mesh: String,
    /// False once the incarnation was taken over (it died) or left.
    pub alive: bool,
}

/// An allocator as nodes find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocatorRecord {
    /// Its incarnation.
    pub source: Source,
    /// Where clients connect (`host:port`).
    pub address: String,
    /// Where members of the cluster subscribe.
    pub mesh: String,
}

/// What an allocator's successor can't see at once and keeps seats free for: at most this many.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeatsRecord {
    /// Unused tickets on each island, until they have expired.
    pub held: Vec<(IslandId, u32)>,
    /// Players of each node incarnation on each island, until it says a census.
    pub present: Vec<(Source, IslandId, u32)>,
}

/// The allocator's decision, whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// Its number; grows by one.
    pub number: u64,
    /// Every island that exists and is open, by age.
    pub islands: Vec<IslandRecord>,
    /// Islands that are in archives: nobody serves them, nobody is seated there, and no new island gets their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspended: Vec<SuspendedIsland>,
    /// What each step of the planner did, or why it did nothing.
    pub reasons: Vec<String>,
}

/// An island in a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IslandRecord {
    /// The island.
    pub island: IslandId,
    /// Wanted population.
    pub design: u32,
    /// Hard maximum.
    pub cap: u32,
    /// Population under which it feels dead.
    pub minimum: u32,
    /// Nodes that serve it.
    pub nodes: Vec<NodeId>,
}

/// An island in an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspendedIsland {
    /// The island.
    pub island: IslandId,
    /// The sum of what is in the archive; also part of its file's name.
    pub sum: u64,
    /// The folder of the archive, as it was when the island was suspended.
    pub folder: String,
}

/// What stands in a chunk's partition while its documents are in an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspendedRecord {
    /// Schema.
    pub v: u16,
    /// The archive's sum.
    pub sum: u64,
    /// Items that lie on the chunk's ground, by kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub holds: BTreeMap<String, u64>,
}

/// Who holds a player's session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// The holder.
    pub source: Source,
    /// Epoch of the session.
    pub epoch: Epoch,
    /// Where.
    pub island: IslandId,
}

/// Where a player was last inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceRecord {
    /// Schema.
    pub v: u16,
    /// The island.
    pub island: IslandId,
    /// Quanta east.
    pub x: i32,
    /// Quanta north.
    pub y: i32,
    /// Heading, 256 steps a turn.
    pub heading: u8,
    /// When.
    pub tick: Tick,
}

/// Where a journey took a player; no position saved before its tick counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementRecord {
    /// Schema.
    pub v: u16,
    /// The island.
    pub island: IslandId,
    /// Where on it; `None` is where newcomers land.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// When.
    pub tick: Tick,
    /// The session that travelled.
    pub epoch: Epoch,
}

/// What a player's partition says of where the player is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// At a place that was saved.
    Saved(PlaceRecord),
    /// Where a journey led, and nothing was saved since.
    Placed(PlacementRecord),
    /// Somewhere on this island: a session began there, and its place was never saved.
    Entered(IslandId),
}

impl Whereabouts {
    /// Reads them; `None` of a player who was never in the world.
    pub fn read(player: &PartitionView) -> Option<Self> {
        let place = player.doc(DOC_PLACE).and_then(|doc| decode::<PlaceRecord>(doc));
        let placed = player.doc(DOC_PLACEMENT).and_then(|doc| decode::<PlacementRecord>(doc));
        if let Some(placed) = placed.filter(|placed| place.is_none_or(|place| placed.tick > place.tick)) {
            return Some(Self::Placed(placed));
        }
        let session = || player.doc(DOC_SESSION).and_then(|doc| decode::<SessionRecord>(doc));
        place.map(Self::Saved).or_else(|| session().map(|session| Self::Entered(session.island)))
    }

    /// The island.
    pub fn island(self) -> IslandId {
        match self {
            Self::Saved(place) => place.island,
            Self::Placed(placed) => placed.island,
            Self::Entered(island) => island,
        }
    }
}

/// Who has a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRecord {
    /// The player.
    pub player: PlayerId,
}

/// Who serves a chunk, in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimsRecord {
    /// The claimants.
    pub claimants: Vec<Source>,
}

/// The bytes of a document.
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(record).expect("records are plain data")
}

/// The document in these bytes, if it is one.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    rmp_serde::from_slice(bytes).ok()
}
