//! What comes of a rule: the change of one partition, what it announces, what the ledger is told.

use super::documents::{
    BagRecord, CellRecord, Doc, EstateRecord, GroundRecord, Record, StructureRecord, TradeRecord,
};
use super::items::{ItemKind, Items};
use super::names::{ActId, DocName, Partition, TransferId};
use super::reject::RuleReject;
use super::site::Site;
use super::transfer::{Back, Cargo, Transfer};
use super::view::View;
use chunk_sync::ids::{IslandId, PlayerId};
use chunk_sync::place::ChunkPos;
use chunk_sync::time::Tick;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// An atomic change of one partition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CommitSet {
    /// The partition.
    pub partition: Partition,
    /// Documents that it rests on: each must still be as it was read, absent ones absent.
    pub reads: BTreeSet<DocName>,
    /// Documents written; `None` removes.
    pub writes: BTreeMap<DocName, Option<Doc>>,
    /// What is announced to those who follow the partition.
    pub events: Vec<Event>,
    /// What the ledger is told.
    pub ledger: Vec<LedgerLine>,
}

/// What an act does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Effects {
    /// The change of the act's home, as one commit that carries the act's id.
    pub commit: CommitSet,
    /// The transfer that it sends off, if it needs one; the act has ended when that is cleared. It is among the
    /// writes, as a pending document.
    pub transfer: Option<TransferId>,
}

/// Something that happened in a partition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A player's bag or stamina changed.
    Bag {
        /// The player.
        player: PlayerId,
    },
    /// An act that sent a transfer has ended.
    Ended {
        /// The act.
        act: ActId,
        /// Why it came to nothing, if it did.
        refused: Option<RuleReject>,
    },
    /// A player left for another island.
    Travelled {
        /// The player.
        player: PlayerId,
        /// Where to.
        island: IslandId,
    },
    /// Units of a resource changed.
    Resource {
        /// Its tile.
        tile: u8,
        /// Units at the tick.
        left: u32,
        /// The tick.
        at: Tick,
    },
    /// A structure is being built: its ground is taken.
    Raising {
        /// What and where.
        site: Site,
    },
    /// A structure stands.
    Standing {
        /// What and where.
        site: Site,
    },
    /// A structure is gone, or was not built after all.
    Gone {
        /// The structure.
        structure: ActId,
    },
    /// What lies on a cell changed.
    Ground {
        /// The cell.
        cell: u8,
    },
    /// The chunk's copy of its estate changed; a version of 0 means that it belongs to none any more.
    Estate {
        /// The estate.
        estate: ActId,
        /// The version of the copy.
        version: u32,
    },
    /// Every chunk of an estate has this version: a revocation in it is done.
    EstateSettled {
        /// The estate.
        estate: ActId,
        /// The version.
        version: u32,
    },
    /// A trade changed.
    Trade {
        /// The trade.
        trade: ActId,
        /// Both players of it.
        players: [PlayerId; 2],
    },
}

/// Who holds items.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// Nobody: what comes from here is created, what goes there destroyed.
    Nobody,
    /// A player's bag.
    Player(PlayerId),
    /// The ground of a chunk.
    Ground(IslandId, ChunkPos),
    /// A trade.
    Trade(ActId),
    /// A transfer that is under way.
    Transfer(TransferId),
    /// A structure that stands, in its anchor chunk: what was paid for it, less what demolishing gave back.
    Structure(IslandId, ChunkPos, ActId),
}

impl Holder {
    /// The structure of a site.
    pub(super) fn structure(site: &Site) -> Self {
        Self::Structure(site.island, site.anchor(), site.id)
    }
}

/// Items that changed hands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LedgerLine {
    /// What.
    pub kind: ItemKind,
    /// How many.
    pub count: u32,
    /// From whom.
    pub from: Holder,
    /// To whom.
    pub to: Holder,
}

/// A commit in the making: what is read through it becomes what the commit rests on.
pub(super) struct Draft<'a> {
    view: &'a View,
    set: CommitSet,
}

impl<'a> Draft<'a> {
    /// An empty change of `partition`.
    pub(super) fn new(view: &'a View, partition: Partition) -> Self {
        let (reads, writes) = (BTreeSet::new(), BTreeMap::new());
        Self { view, set: CommitSet { partition, reads, writes, events: Vec::new(), ledger: Vec::new() } }
    }

    /// The partition.
    pub(super) fn partition(&self) -> Partition {
        self.set.partition
    }

    /// The change.
    pub(super) fn done(self) -> CommitSet {
        self.set
    }

    /// Forgets what was to be written, not what was read.
    pub(super) fn undo(&mut self) {
        self.set.writes.clear();
        self.set.events.clear();
        self.set.ledger.clear();
    }

    /// A document, as this commit would leave it; `None` when it is absent.
    pub(super) fn get<R: Record + Clone>(&mut self, name: DocName) -> Result<Option<R>, RuleReject> {
        if let Some(written) = self.set.writes.get(&name) {
            return match written {
                None => Ok(None),
                Some(doc) => R::of(doc).cloned().map(Some).ok_or(RuleReject::Unread),
            };
        }
        self.set.reads.insert(name);
        self.view.get(self.set.partition, name)
    }

    /// Writes a document.
    pub(super) fn put<R: Record>(&mut self, name: DocName, record: R) {
        self.set.writes.insert(name, Some(record.wrap()));
    }

    /// Removes a document.
    pub(super) fn remove(&mut self, name: DocName) {
        self.set.writes.insert(name, None);
    }

    /// Announces something.
    pub(super) fn event(&mut self, event: Event) {
        self.set.events.push(event);
    }

    /// Tells the ledger.
    pub(super) fn moved(&mut self, items: &Items, from: Holder, to: Holder) {
        let lines = items.iter().map(|(kind, count)| LedgerLine { kind, count, from, to });
        self.set.ledger.extend(lines);
    }

    /// The bag of this partition's player; a new player's is empty.
    pub(super) fn bag(&mut self) -> Result<BagRecord, RuleReject> {
        Ok(self.get(DocName::Bag)?.unwrap_or_default())
    }

    /// Writes the bag of `player`, whose partition this is.
    pub(super) fn put_bag(&mut self, player: PlayerId, bag: BagRecord) {
        self.put(DocName::Bag, bag);
        self.event(Event::Bag { player });
    }

    /// The chunk's estate.
    pub(super) fn estate(&mut self) -> Result<Option<EstateRecord>, RuleReject> {
        self.get(DocName::Estate)
    }

    /// A structure that is anchored here.
    pub(super) fn structure(&mut self, id: ActId) -> Result<Option<StructureRecord>, RuleReject> {
        self.get(DocName::Structure(id))
    }

    /// What covers a cell.
    pub(super) fn cell(&mut self, cell: u8) -> Result<CellRecord, RuleReject> {
        Ok(self.get(DocName::Cell(cell))?.unwrap_or_default())
    }

    /// Writes what covers a cell.
    pub(super) fn put_cell(&mut self, number: u8, cell: CellRecord) {
        let name = DocName::Cell(number);
        if cell.tiles.is_empty() { self.remove(name) } else { self.put(name, cell) }
    }

    /// What lies on a cell.
    pub(super) fn ground(&mut self, cell: u8) -> Result<GroundRecord, RuleReject> {
        Ok(self.get(DocName::Ground(cell))?.unwrap_or_default())
    }

    /// Writes what lies on a cell.
    pub(super) fn put_ground(&mut self, cell: u8, mut ground: GroundRecord) {
        ground.tidy();
        let name = DocName::Ground(cell);
        if ground.stacks.is_empty() {
            self.remove(name)
        } else {
            self.put(name, ground)
        }
        self.event(Event::Ground { cell });
    }

    /// Writes a trade, or removes it when it is over.
    pub(super) fn put_trade(&mut self, id: ActId, trade: TradeRecord) {
        self.event(Event::Trade { trade: id, players: [trade.from, trade.to] });
        if trade.is_over() { self.remove(DocName::Trade) } else { self.put(DocName::Trade, trade) }
    }

    /// Sends something off: the pending document.
    pub(super) fn send(&mut self, id: TransferId, to: Partition, cargo: Cargo, back: Back) {
        let transfer = Transfer { v: Transfer::VERSION, from: self.set.partition, to, cargo, back };
        self.put(DocName::Out(id), transfer);
    }
}
