//! From what a rule decided to what the store is asked, and back: preconditions, documents, the event that tells
//! others, index entries of what is under way. Part of the executor.

use super::replica::{Replica, Writes};
use crate::rules::documents::{Doc, DocError};
use crate::rules::{ActId, CommitSet, DocName, Event, LedgerLine, Partition, RuleReject, TransferId, View};
use bytes::Bytes;
use chunk_sync::records::{DOC_SUSPENDED, WORLD, decode, encode};
use chunk_sync::store::{Commit, Name, PartitionKey, Refusal, Token};
use chunk_sync::wire::ActNumber;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::collections::BTreeSet;

/// Index of transfers that left a partition and are not cleared, by name; the value is the partition that decides.
pub const INDEX_PENDING: &str = "pending";
/// Index of decisions that are remembered, by the transfer's name; the value is the partition that decided.
pub const INDEX_DECIDED: &str = "decided";
/// Index of estates, by their names, which begin with their holders; the value is the totem's chunk.
pub const INDEX_ESTATES: &str = "estates";

/// The event of a commit: what it wrote, so that followers need not ask, and what the game says of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Documents; a null removes one.
    pub docs: Vec<(String, Option<ByteBuf>)>,
    /// What happened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
}

impl Change {
    /// Reads the event of a commit.
    pub fn read(event: &[u8]) -> Option<Change> {
        decode(event)
    }

    /// The bytes of the event.
    pub fn pack(&self) -> Bytes {
        encode(self).into()
    }

    /// What it does to a replica.
    pub fn writes(self) -> Writes {
        let bytes = |value: Option<ByteBuf>| value.map(|value| Bytes::from(value.into_vec()));
        self.docs.into_iter().map(|(name, value)| (Name::from(name), bytes(value))).collect()
    }
}

/// What a partition remembers of an act.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActResult {
    /// It was refused, once and for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<u16>,
    /// It ends when this transfer is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<TransferId>,
    /// It ends when this estate has this version everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settles: Option<(ActId, u32)>,
}

/// What goes to the ledger with a commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LedgerRecord {
    /// Schema version.
    pub v: u16,
    /// World tick.
    pub tick: u64,
    /// The act, if the commit is one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<ActId>,
    /// Items that changed hands.
    pub lines: Vec<LedgerLine>,
}

/// Schema of the `LedgerRecord`s that this build writes. In version 1 structures held nothing: what was paid for one was
/// used up when it stood, and what demolishing gave back was made.
pub const LEDGER_SCHEMA: u16 = 2;

/// Where a partition of the game is in the store.
pub fn key_of(partition: Partition) -> PartitionKey {
    match partition {
        Partition::Player(player) => PartitionKey::player(player),
        Partition::Chunk(island, chunk) => PartitionKey::chunk(WORLD, island, chunk),
        Partition::Trade(trade) => PartitionKey::trade(trade.player, trade),
    }
}

/// The number by which the store knows an act.
pub fn number_of(act: ActId) -> ActNumber {
    ActNumber(u64::from(act.epoch.0) << 32 | (act.act & u64::from(u32::MAX)))
}

/// Notes a document of a replica in a view.
pub(super) fn show(
    view: &mut View,
    partition: Partition,
    replica: &Replica,
    name: DocName,
) -> Result<(), DocError> {
    let text = name.to_string();
    let doc = match replica.doc(&text) {
        Some(document) => Some(Doc::unpack(name, &document.value)?),
        None => None,
    };
    view.insert(partition, name, doc);
    Ok(())
}

/// Documents that a commit rests on or writes.
pub(super) fn touched(set: &CommitSet) -> BTreeSet<DocName> {
    set.reads.iter().chain(set.writes.keys()).copied().collect()
}

/// The commit of a set that was decided on what `replica` has.
pub(super) fn commit_of(set: &CommitSet, replica: &Replica, token: Token) -> Commit {
    let mut commit = awake(Commit::new(key_of(set.partition), token), set, replica);
    for name in &set.reads {
        let text = name.to_string();
        commit = match replica.doc(&text) {
            Some(document) => commit.expect(text, document.cas),
            None => commit.absent(text),
        };
    }
    let mut change = Change { docs: Vec::new(), events: set.events.clone() };
    for (name, doc) in &set.writes {
        let bytes = doc.as_ref().map(Doc::pack);
        change.docs.push((name.to_string(), bytes.clone().map(ByteBuf::from)));
        commit = match bytes {
            Some(bytes) => commit.put(name.to_string(), bytes),
            None => commit.remove(name.to_string()),
        };
        commit = index(commit, set.partition, *name, doc.as_ref());
    }
    commit.event(change.pack())
}

/// Demands that a chunk isn't suspended: whatever was decided on a copy from before that is refused. What only proves
/// that something isn't there any more may rest on the mark itself, since nothing that is under way is ever archived.
fn awake(commit: Commit, set: &CommitSet, replica: &Replica) -> Commit {
    match (set.partition, replica.doc(DOC_SUSPENDED)) {
        (Partition::Chunk(..), Some(mark)) if set.writes.is_empty() => commit.expect(DOC_SUSPENDED, mark.cas),
        (partition, _) => guarded(commit, partition),
    }
}

/// The same, of any commit to a partition of the game.
pub(super) fn guarded(commit: Commit, partition: Partition) -> Commit {
    match partition {
        Partition::Chunk(..) => commit.absent(DOC_SUSPENDED),
        Partition::Player(_) | Partition::Trade(_) => commit,
    }
}

/// Whether a commit was refused since its chunk is in an archive.
pub(super) fn is_suspended(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Conflict { doc, current: Some(_) } if doc.as_str() == DOC_SUSPENDED)
}

/// Adds what the ledger is told.
pub(super) fn with_ledger(commit: Commit, record: &LedgerRecord) -> Commit {
    commit.ledger(encode(record))
}

/// Index entries follow the documents that they are about.
fn index(commit: Commit, partition: Partition, name: DocName, doc: Option<&Doc>) -> Commit {
    match (name, doc) {
        (DocName::Out(id), Some(Doc::Out(transfer))) => {
            commit.index_put(INDEX_PENDING, id.to_string(), transfer.to.to_string())
        }
        (DocName::Out(id), _) => commit.index_remove(INDEX_PENDING, id.to_string()),
        (DocName::In(id), Some(_)) => commit.index_put(INDEX_DECIDED, id.to_string(), partition.to_string()),
        (DocName::In(id), None) => commit.index_remove(INDEX_DECIDED, id.to_string()),
        (DocName::Structure(id), Some(Doc::Structure(record))) if record.site.kind.spec().claims => {
            commit.index_put(INDEX_ESTATES, id.to_string(), partition.to_string())
        }
        // Of structures that claim nothing there is no entry; removing none is no error.
        (DocName::Structure(id), None) => commit.index_remove(INDEX_ESTATES, id.to_string()),
        _ => commit,
    }
}

/// Why a document that can't be read stops a rule.
pub(super) fn unreadable(error: &DocError) -> RuleReject {
    match error {
        DocError::Damaged { .. } | DocError::Newer { .. } => RuleReject::Unread,
    }
}
