//! Transfers: how something leaves one partition and arrives in another exactly once, as pure data and functions.
//!
//! Four steps, each a commit of one partition:
//!
//! 1. *debit*, at A: an act or a work takes the cargo out and writes it down as pending (`out/…`), in one commit;
//! 2. [`settle`], at B: the cargo is taken in or refused, and the decision is remembered (`in/…`), in one commit.
//!    This is the only decision;
//! 3. [`clear`], at A: the pending document goes; if B refused, the cargo comes back;
//! 4. [`forget`], at B: the decision goes.
//!
//! Anybody may run any step at any time, again or beside others: what was done already is answered as done. Two
//! orders of *reading* make that safe, and only they matter to whoever runs the steps:
//!
//! - before [`settle`], B's [`fence`] is read *before* A is seen to hold the pending document. If the transfer ended
//!   in between, its forgetting has moved the fence, and the commit fails. A node that read the fence before its own
//!   debit was committed needs no second look at A;
//! - before [`forget`], A is read *after* B was seen to hold the decision. Pending was there first, so its absence
//!   then means that it was cleared.
//!
//! No step begins before the last one is as durable as it was asked to be.
//!
//! A transfer's name tells which partition sent it. Acts are numbered by clients and remembered by each home for
//! itself, so B may hold decisions on one act's transfers from several homes: each step refuses a decision whose sender
//! is not the one in the name.

mod clear;
mod settle;

pub(super) use clear::write_units;
pub use clear::{Cleared, clear, clear_reads};
pub(super) use settle::pay_out;
pub use settle::{Settled, settle, settle_reads};

use super::documents::{EstateRecord, ForgetsRecord, Record};
use super::effects::{CommitSet, Draft};
use super::items::{ItemKind, Items};
use super::limits::FORGETS_PER_COMMIT_MAX;
use super::names::{ActId, DocName, Partition, TransferId};
use super::reject::RuleReject;
use super::resources::ResourceKind;
use super::site::Site;
use super::view::{ReadSet, View};
use chunk_sync::ids::PlayerId;
use chunk_sync::place::{ChunkPos, Place};
use serde::{Deserialize, Serialize};

/// A pending transfer, in the partition that it left.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Transfer {
    /// Schema version.
    pub v: u16,
    /// The partition that it left.
    pub from: Partition,
    /// The partition that decides.
    pub to: Partition,
    /// What is brought.
    pub cargo: Cargo,
    /// What happens in `from` once it is decided.
    pub back: Back,
}

/// What a transfer brings.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cargo {
    /// Items for a player's bag.
    Goods(Goods),
    /// A stack for the ground of a cell, named by the act.
    Stack {
        /// The cell.
        cell: u8,
        /// What.
        item: ItemKind,
        /// How many.
        count: u32,
        /// Where it lies.
        place: Place,
    },
    /// A paid site for its anchor chunk.
    Site {
        /// What and where.
        site: Site,
    },
    /// A wish for ground in another chunk than the anchor.
    Reserve {
        /// What and where.
        site: Site,
        /// The anchor's estate; a structure doesn't cross an estate's border.
        on: Option<ActId>,
    },
    /// The ground of a structure that is gone.
    Release {
        /// What and where.
        site: Site,
    },
    /// A newer version of an estate.
    Estate {
        /// The copy.
        copy: EstateRecord,
    },
    /// The escrow of a new trade.
    Offer {
        /// Who it is offered to.
        to: PlayerId,
        /// What is offered.
        give: Items,
        /// What is wanted.
        want: Items,
    },
    /// The other side's payment in a trade.
    Payment {
        /// What is paid.
        items: Items,
    },
}

/// Items that come to a player, and what the player's act costs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Goods {
    /// What comes.
    pub items: Items,
    /// Stamina that it costs.
    pub stamina: u32,
    /// What the player must carry.
    pub tool: Option<ItemKind>,
}

impl From<Items> for Goods {
    fn from(items: Items) -> Self {
        Self { items, stamina: 0, tool: None }
    }
}

/// What the sender does once the transfer is decided.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Back {
    /// A player sent it: the kept room becomes free, or the items come back with the stamina.
    Bag {
        /// The stamina.
        stamina: u32,
    },
    /// Gathered: refused units grow on where they were.
    Resource {
        /// The resource's tile.
        tile: u8,
        /// Its kind.
        kind: ResourceKind,
    },
    /// Picked up: a refused stack lies where it lay.
    Ground {
        /// The cell.
        cell: u8,
        /// The stack.
        stack: ActId,
    },
    /// The refund of a demolition: the structure falls, or stays when the bag has no room.
    Demolish {
        /// What and where.
        site: Site,
    },
    /// A chunk was asked for ground.
    Raise {
        /// What and where.
        site: Site,
    },
    /// A chunk was told that a structure is gone.
    Fall {
        /// What and where.
        site: Site,
    },
    /// A chunk got an estate's copy.
    Spread {
        /// The estate.
        estate: ActId,
        /// The chunk.
        chunk: ChunkPos,
        /// The copy's version.
        version: u32,
    },
    /// A trade paid out: what is refused is owed again.
    Trade {
        /// To whom.
        player: PlayerId,
    },
}

impl Transfer {
    /// The items that are under way in it; they are in nobody's hands until it is decided.
    pub fn items(&self) -> Items {
        match &self.cargo {
            Cargo::Goods(goods) => goods.items.clone(),
            Cargo::Stack { item, count, .. } => Items::of(*item, *count),
            Cargo::Site { site } => site.paid.clone(),
            Cargo::Offer { give, .. } => give.clone(),
            Cargo::Payment { items } => items.clone(),
            Cargo::Reserve { .. } | Cargo::Release { .. } | Cargo::Estate { .. } => Items::default(),
        }
    }
}

/// What was decided on a transfer, in the partition that decided.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Decision {
    /// Schema version.
    pub v: u16,
    /// The partition that the transfer left.
    pub from: Partition,
    /// Why it was refused; accepted if there is nothing.
    pub refused: Option<RuleReject>,
}

impl Decision {
    /// Whether this was decided on the transfer of this name: what another partition sent is not its.
    fn is_on(&self, id: TransferId) -> bool {
        self.from == id.sent_by()
    }
}

/// A partition's count of forgotten decisions, as a finisher saw it before it looked at the sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fence(u64);

impl Fence {
    fn of(forgets: Option<ForgetsRecord>) -> Self {
        Self(forgets.map_or(0, |forgets| forgets.count))
    }
}

/// Documents that [`fence`] wants of the deciding partition.
pub const FENCE_READS: [DocName; 1] = [DocName::Forgets];

/// The fence of a partition.
///
/// # Errors
/// `Unread` when the document wasn't loaded.
pub fn fence(view: &View, to: Partition) -> Result<Fence, RuleReject> {
    Ok(Fence::of(view.get(to, DocName::Forgets)?))
}

/// Documents that [`forget`] wants: the decisions and their count at `to`, and whether each is pending at its sender.
pub fn forget_reads(to: Partition, decided: &[(TransferId, Decision)]) -> ReadSet {
    let reads = ReadSet::default().docs(to, FENCE_READS);
    decided.iter().fold(reads, |reads, (id, decision)| {
        reads.doc(to, DocName::In(*id)).doc(decision.from, DocName::Out(*id))
    })
}

/// Forgets those of `decided` that their senders have cleared, at most `FORGETS_PER_COMMIT_MAX` at once; `None` when
/// there is nothing to forget. The senders must have been read after the decisions were seen. A decision that was made
/// on what another partition sent than its name says is left as it is.
///
/// # Errors
/// `Unread` when something that was declared wasn't loaded.
pub fn forget(
    view: &View,
    to: Partition,
    decided: &[(TransferId, Decision)],
) -> Result<Option<CommitSet>, RuleReject> {
    let mut draft = Draft::new(view, to);
    let mut forgotten = 0;
    for (id, decision) in decided.iter().take(FORGETS_PER_COMMIT_MAX) {
        let pending = view.get::<Transfer>(decision.from, DocName::Out(*id))?.is_some();
        let remembered = draft.get::<Decision>(DocName::In(*id))?;
        let theirs = decision.is_on(*id) && remembered.is_some_and(|remembered| remembered.is_on(*id));
        if !pending && theirs {
            draft.remove(DocName::In(*id));
            forgotten += 1;
        }
    }
    if forgotten == 0 {
        return Ok(None);
    }
    let Fence(before) = Fence::of(draft.get(DocName::Forgets)?);
    draft.put(DocName::Forgets, ForgetsRecord { v: ForgetsRecord::VERSION, count: before + forgotten });
    Ok(Some(draft.done()))
}
