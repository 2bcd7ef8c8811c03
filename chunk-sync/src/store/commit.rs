//! A commit: everything that changes in one partition in one step, and what must hold for it.
//!
//! Built by the cores and by tools, judged by [`apply`](super::apply()). Sizes are checked in one place,
//! [`Commit::check`]; past it no backend checks them again.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::acts::Act;
use super::durability::Durability;
use super::index::IndexStep;
use super::key::PartitionKey;
use super::limits::*;
use super::name::Name;
use super::outcome::StoreError;

/// The unique name of a commit, minted by the client; compared for equality, never by order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Token(pub u64);

impl Token {
    /// What a partition without commits has; no commit may use it.
    pub const NONE: Token = Token(0);
}

/// The version of one document: the token of the commit that wrote it; compared for equality, never by order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Cas(pub u64);

impl From<Token> for Cas {
    fn from(token: Token) -> Self {
        Cas(token.0)
    }
}

/// What must be true of a document, also of one that is only read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Precondition {
    /// The document does not exist.
    Absent {
        /// Which document.
        doc: Name,
    },
    /// The document exists and has exactly this version.
    Cas {
        /// Which document.
        doc: Name,
        /// The version it must have.
        cas: Cas,
    },
}

/// One document written, or removed when `value` is `None`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// Which document.
    pub doc: Name,
    /// Its new value; `None` removes it (removing what is absent is no error).
    pub value: Option<Bytes>,
}

/// A demand on an epoch of the partition, or its next value. An epoch that was never raised is 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EpochStep {
    /// The epoch must have exactly this value.
    Require {
        /// Which epoch.
        name: Name,
        /// The value it must have.
        value: u64,
    },
    /// The epoch becomes `to`, which must be greater than it is now.
    Raise {
        /// Which epoch.
        name: Name,
        /// Its new value.
        to: u64,
    },
}

/// A demand on a lease of the partition, or a change of it; "expired" is judged by the store's own clock.
/// Expiry alone does nothing: an expired lease is its holder's until somebody else takes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LeaseStep {
    /// Take the lease: it is absent, the holder's own, or expired (then only of a store that is not young).
    Take {
        /// Which lease.
        name: Name,
        /// Who takes it.
        holder: u64,
        /// For how long, from the store's now.
        ttl_ms: u64,
    },
    /// Hold it for longer; fine as long as nobody else took it, even when expired.
    Renew {
        /// Which lease.
        name: Name,
        /// Who holds it.
        holder: u64,
        /// For how long, from the store's now.
        ttl_ms: u64,
    },
    /// Give it up; it must be the holder's.
    Release {
        /// Which lease.
        name: Name,
        /// Who holds it.
        holder: u64,
    },
    /// It must still be the holder's, expired or not.
    RequireHeld {
        /// Which lease.
        name: Name,
        /// Who must hold it.
        holder: u64,
    },
    /// It must be absent or expired (then only of a store that is not young).
    RequireExpired {
        /// Which lease.
        name: Name,
    },
}

/// One atomic change of one partition. All demands are judged against the state before the commit, in the order
/// act, `not_after_ms`, preconditions, epochs, leases, room; the first that fails refuses the whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Commit {
    /// The partition that it changes.
    pub partition: PartitionKey,
    /// Its unique name. Sent again with the same token it is not done again but answered as before, as long as
    /// fewer than [`RESEND_COMMITS_MAX`] commits came after it.
    pub token: Token,
    /// What must hold of documents.
    pub preconditions: Vec<Precondition>,
    /// Documents written and removed.
    pub writes: Vec<Write>,
    /// Demands on epochs, and raises.
    pub epochs: Vec<EpochStep>,
    /// Demands on leases, and changes.
    pub leases: Vec<LeaseStep>,
    /// What is announced to followers of the partition. A commit without events is not in the log: who followed
    /// up to the commit before it reloads.
    pub events: Vec<Bytes>,
    /// Refused when the store's clock (Unix time, ms) is past this.
    pub not_after_ms: Option<u64>,
    /// What it does for an actor, exactly once.
    pub act: Option<Act>,
    /// Index entries of the shard, written in the same step.
    pub index: Vec<IndexStep>,
    /// What it has to say to the ledger, appended to the stream of the shard in the same step.
    pub ledger: Option<Bytes>,
    /// How safe it must be before it is answered.
    pub durability: Durability,
}

impl Commit {
    /// A commit that demands and changes nothing yet.
    pub fn new(partition: PartitionKey, token: Token) -> Self {
        Self {
            partition,
            token,
            preconditions: Vec::new(),
            writes: Vec::new(),
            epochs: Vec::new(),
            leases: Vec::new(),
            events: Vec::new(),
            not_after_ms: None,
            act: None,
            index: Vec::new(),
            ledger: None,
            durability: Durability::default(),
        }
    }

    /// Adds the demand that `doc` does not exist.
    #[must_use]
    pub fn absent(mut self, doc: impl Into<Name>) -> Self {
        self.preconditions.push(Precondition::Absent { doc: doc.into() });
        self
    }

    /// Adds the demand that `doc` has the version `cas`.
    #[must_use]
    pub fn expect(mut self, doc: impl Into<Name>, cas: Cas) -> Self {
        self.preconditions.push(Precondition::Cas { doc: doc.into(), cas });
        self
    }

    /// Writes `doc`.
    #[must_use]
    pub fn put(mut self, doc: impl Into<Name>, value: impl Into<Bytes>) -> Self {
        self.writes.push(Write { doc: doc.into(), value: Some(value.into()) });
        self
    }

    /// Removes `doc`.
    #[must_use]
    pub fn remove(mut self, doc: impl Into<Name>) -> Self {
        self.writes.push(Write { doc: doc.into(), value: None });
        self
    }

    /// Adds an epoch step.
    #[must_use]
    pub fn epoch(mut self, step: EpochStep) -> Self {
        self.epochs.push(step);
        self
    }

    /// Adds a lease step.
    #[must_use]
    pub fn lease(mut self, step: LeaseStep) -> Self {
        self.leases.push(step);
        self
    }

    /// Announces an event.
    #[must_use]
    pub fn event(mut self, event: impl Into<Bytes>) -> Self {
        self.events.push(event.into());
        self
    }

    /// Refuses the commit once the store's clock is past `at_ms`.
    #[must_use]
    pub fn not_after(mut self, at_ms: u64) -> Self {
        self.not_after_ms = Some(at_ms);
        self
    }

    /// Does it once for an actor, and remembers the result.
    #[must_use]
    pub fn act(mut self, act: Act) -> Self {
        self.act = Some(act);
        self
    }

    /// Writes an index entry.
    #[must_use]
    pub fn index_put(
        mut self,
        index: impl Into<Name>,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Self {
        self.index.push(IndexStep::Put { index: index.into(), key: key.into(), value: value.into() });
        self
    }

    /// Removes an index entry.
    #[must_use]
    pub fn index_remove(mut self, index: impl Into<Name>, key: impl Into<Bytes>) -> Self {
        self.index.push(IndexStep::Remove { index: index.into(), key: key.into() });
        self
    }

    /// Appends an entry to the ledger.
    #[must_use]
    pub fn ledger(mut self, entry: impl Into<Bytes>) -> Self {
        self.ledger = Some(entry.into());
        self
    }

    /// Asks for another durability than [`Durability::Persisted`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Checks every named limit; the only place where sizes are checked. Names what is wrong first.
    pub fn check(&self) -> Result<(), StoreError> {
        if self.token == Token::NONE {
            return Err(StoreError::NoToken);
        }
        check_key(&self.partition)?;
        at_most("preconditions", self.preconditions.len(), PRECONDITIONS_PER_COMMIT_MAX)?;
        at_most("writes", self.writes.len(), WRITES_PER_COMMIT_MAX)?;
        at_most("epoch steps", self.epochs.len(), EPOCH_STEPS_PER_COMMIT_MAX)?;
        at_most("lease steps", self.leases.len(), LEASE_STEPS_PER_COMMIT_MAX)?;
        at_most("events", self.events.len(), EVENTS_PER_COMMIT_MAX)?;
        at_most("event bytes", self.events.iter().map(Bytes::len).sum(), EVENTS_PER_COMMIT_MAX_BYTES)?;
        at_most("ledger bytes", self.ledger.as_ref().map_or(0, Bytes::len), LEDGER_ENTRY_MAX_BYTES)?;
        for precondition in &self.preconditions {
            let (Precondition::Absent { doc } | Precondition::Cas { doc, .. }) = precondition;
            check_name(doc)?;
        }
        self.check_writes()?;
        self.check_epochs()?;
        self.check_leases()?;
        self.check_act()?;
        self.check_index()
    }

    fn check_act(&self) -> Result<(), StoreError> {
        let Some(act) = &self.act else { return Ok(()) };
        at_most("result bytes", act.result.len(), ACT_RESULT_MAX_BYTES)?;
        if act.id <= act.confirmed {
            return Err(StoreError::ActOutOfOrder { id: act.id, confirmed: act.confirmed });
        }
        Ok(())
    }

    fn check_index(&self) -> Result<(), StoreError> {
        at_most("index steps", self.index.len(), INDEX_STEPS_PER_COMMIT_MAX)?;
        let mut seen = BTreeSet::new();
        for step in &self.index {
            check_name(step.index())?;
            check_index_key(step.key())?;
            if let IndexStep::Put { value, .. } = step {
                at_most("index value bytes", value.len(), INDEX_VALUE_MAX_BYTES)?;
            }
            if !seen.insert((step.index(), step.key())) {
                return Err(StoreError::Twice { name: step.index().clone() });
            }
        }
        Ok(())
    }

    fn check_writes(&self) -> Result<(), StoreError> {
        let mut seen = BTreeSet::new();
        let mut total_bytes = 0;
        for write in &self.writes {
            check_name(&write.doc)?;
            once(&mut seen, &write.doc)?;
            let size = write.value.as_ref().map_or(0, Bytes::len);
            at_most("document bytes", size, DOCUMENT_MAX_BYTES)?;
            total_bytes += size;
        }
        at_most("written bytes", total_bytes, WRITES_PER_COMMIT_MAX_BYTES)
    }

    fn check_epochs(&self) -> Result<(), StoreError> {
        let mut raised = BTreeSet::new();
        for step in &self.epochs {
            match step {
                EpochStep::Require { name, .. } => check_name(name)?,
                EpochStep::Raise { name, .. } => {
                    check_name(name)?;
                    once(&mut raised, name)?;
                }
            }
        }
        Ok(())
    }

    fn check_leases(&self) -> Result<(), StoreError> {
        let mut changed = BTreeSet::new();
        for step in &self.leases {
            match step {
                LeaseStep::Take { name, ttl_ms, .. } | LeaseStep::Renew { name, ttl_ms, .. } => {
                    check_name(name)?;
                    once(&mut changed, name)?;
                    if *ttl_ms > LEASE_TTL_MAX_MS {
                        return Err(StoreError::LeaseTooLong { ttl_ms: *ttl_ms });
                    }
                }
                LeaseStep::Release { name, .. } => {
                    check_name(name)?;
                    once(&mut changed, name)?;
                }
                LeaseStep::RequireHeld { name, .. } | LeaseStep::RequireExpired { name } => check_name(name)?,
            }
        }
        Ok(())
    }
}

/// Checks the length of a partition key, also of the operations that only read.
pub(super) fn check_key(key: &PartitionKey) -> Result<(), StoreError> {
    at_most("key bytes", key.as_bytes().len(), KEY_MAX_BYTES)
}

pub(super) fn check_index_key(key: &Bytes) -> Result<(), StoreError> {
    if key.is_empty() {
        return Err(StoreError::NoName);
    }
    at_most("index key bytes", key.len(), INDEX_KEY_MAX_BYTES)
}

pub(super) fn check_name(name: &Name) -> Result<(), StoreError> {
    if name.as_str().is_empty() {
        return Err(StoreError::NoName);
    }
    at_most("name bytes", name.as_str().len(), NAME_MAX_BYTES)
}

pub(super) fn at_most(what: &'static str, size: usize, max: usize) -> Result<(), StoreError> {
    if size > max { Err(StoreError::TooLarge { what, size, max }) } else { Ok(()) }
}

fn once<'a>(seen: &mut BTreeSet<&'a Name>, name: &'a Name) -> Result<(), StoreError> {
    if seen.insert(name) { Ok(()) } else { Err(StoreError::Twice { name: name.clone() }) }
}
