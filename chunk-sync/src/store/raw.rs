//! Whole partitions, as they are carried from one store to another, or to an archive and back: read by export, audit
//! and suspend, written by import, suspend and resume.
//!
//! A [`RawPartition`] is everything that a reader and a later commit need: a world goes on from it where it was.
//! Only the log of events is left out; who followed it reloads. No core reads or writes one: the ops store of
//! `chunk-sync-io` does, and the in-memory twin does for tests.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use super::acts::ActorMemory;
use super::commit::{Token, at_most, check_key, check_name};
use super::key::{PartitionKey, Shard};
use super::limits::{
    ACT_RESULT_MAX_BYTES, ACTORS_PER_PARTITION_MAX, ACTS_PER_ACTOR_MAX, DOCUMENT_MAX_BYTES,
    PARTITION_ROWS_MAX,
};
use super::name::Name;
use super::op::StoreFault;
use super::outcome::StoreError;
use super::tail::RecentTokens;
use super::view::{Document, Lease};

/// One partition, whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawPartition {
    /// Which.
    pub key: PartitionKey,
    /// Its newest tokens; there is at least one.
    pub recent: RecentTokens,
    /// Its documents.
    pub docs: BTreeMap<Name, Document>,
    /// Its epochs.
    pub epochs: BTreeMap<Name, u64>,
    /// Its leases, expired ones too; their ends are by the clock of the store that they were read from.
    pub leases: BTreeMap<Name, Lease>,
    /// What it remembers of actors.
    pub actors: BTreeMap<u64, ActorMemory>,
}

impl RawPartition {
    /// Checks the named limits, before it is written anywhere.
    pub fn check(&self) -> Result<(), StoreError> {
        check_key(&self.key)?;
        if self.token() == Token::NONE {
            return Err(StoreError::NoToken);
        }
        let rows = self.docs.len() + self.epochs.len() + self.leases.len();
        at_most("rows", rows, PARTITION_ROWS_MAX as usize)?;
        at_most("actors", self.actors.len(), ACTORS_PER_PARTITION_MAX as usize)?;
        for name in self.docs.keys().chain(self.epochs.keys()).chain(self.leases.keys()) {
            check_name(name)?;
        }
        for document in self.docs.values() {
            at_most("document bytes", document.value.len(), DOCUMENT_MAX_BYTES)?;
        }
        for memory in self.actors.values() {
            at_most("acts of an actor", memory.acts.len(), ACTS_PER_ACTOR_MAX)?;
            for act in &memory.acts {
                at_most("result bytes", act.result.len(), ACT_RESULT_MAX_BYTES)?;
            }
        }
        Ok(())
    }

    /// The token of its last commit.
    pub fn token(&self) -> Token {
        self.recent.newest()
    }

    /// About how many bytes it carries.
    pub fn carried_bytes(&self) -> usize {
        let docs = self.docs.iter().map(|(name, doc)| name.as_str().len() + 8 + doc.value.len());
        let epochs = self.epochs.keys().map(|name| name.as_str().len() + 8);
        let leases = self.leases.keys().map(|name| name.as_str().len() + 16);
        let acts = self.actors.values().flat_map(|memory| &memory.acts);
        let acts = acts.map(|act| 18 + act.result.len());
        self.key.as_bytes().len()
            + docs.chain(epochs).chain(leases).chain(acts).sum::<usize>()
            + 28 * self.actors.len()
    }
}

/// Where a listing goes on: after this partition. Places are ordered by shard, then by the length of the key, then by
/// its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionCursor {
    /// The shard of the last partition that was read.
    pub shard: Shard,
    /// Its key.
    pub key: PartitionKey,
}

impl Ord for PartitionCursor {
    fn cmp(&self, other: &Self) -> Ordering {
        let length = |cursor: &Self| (cursor.shard, cursor.key.as_bytes().len());
        length(self).cmp(&length(other)).then_with(|| self.key.cmp(&other.key))
    }
}

impl PartialOrd for PartitionCursor {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A page of all partitions of a store, ordered as their places are. Each partition that was there all the while is in
/// one page, each as it was at one moment, different ones at different moments.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PartitionsPage {
    /// The partitions; fewer than were asked for when they are large.
    pub partitions: Vec<RawPartition>,
    /// What can't be read among them. A page says so and goes on behind it.
    pub damaged: Vec<DamagedPartition>,
    /// Where to go on; `None` when this was the last page.
    pub next: Option<PartitionCursor>,
}

/// A partition that the store has, and can't read whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DamagedPartition {
    /// Which; `None` when not even that can be read.
    pub key: Option<PartitionKey>,
    /// What is wrong, for the operator.
    pub why: String,
}

impl Display for DamagedPartition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "partition {key} can't be read: {}", self.why),
            None => write!(f, "a partition can't be read: {}", self.why),
        }
    }
}

impl PartitionCursor {
    /// The place of a partition.
    pub fn of(key: PartitionKey) -> Self {
        Self { shard: key.shard(), key }
    }
}

/// Why a partition was not restored.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RestoreError {
    /// The store has it already. Nothing was changed.
    #[error("the store has partition {key} already")]
    Present {
        /// Which.
        key: PartitionKey,
    },
    /// It was to be written over another state of the partition than the store has. Nothing was changed.
    #[error("partition {key} changed meanwhile: its newest token is {}", newest.0)]
    Changed {
        /// Which.
        key: PartitionKey,
        /// Its newest token; [`Token::NONE`] when it is absent.
        newest: Token,
    },
    /// It can't be asked; after [`StoreFault::TimedOut`] it may be there or not.
    #[error(transparent)]
    Store(#[from] StoreFault),
}

impl From<StoreError> for RestoreError {
    fn from(error: StoreError) -> Self {
        RestoreError::Store(error.into())
    }
}
