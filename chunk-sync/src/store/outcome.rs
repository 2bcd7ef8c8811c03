//! What came of a commit: done, refused with the reason, or not even a commit.

use bytes::Bytes;

use super::commit::{Cas, Token};
use super::limits::*;
use super::name::Name;

/// A commit or key that no store would take: a mistake of the caller, found before anything is sent.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoreError {
    /// Something is longer or more than its named limit.
    #[error("too large: {size} {what}, at most {max}")]
    TooLarge {
        /// What was counted.
        what: &'static str,
        /// How much there was.
        size: usize,
        /// How much may be.
        max: usize,
    },
    /// The token is [`Token::NONE`].
    #[error("a commit needs a token other than 0")]
    NoToken,
    /// A document, epoch, lease, index or index entry has an empty name.
    #[error("empty name of a document, epoch, lease or index entry")]
    NoName,
    /// One commit changes the same thing twice.
    #[error("{name} is changed twice in one commit")]
    Twice {
        /// What is changed twice.
        name: Name,
    },
    /// An act that its own actor has confirmed already.
    #[error("act {id} confirms acts up to {confirmed}, itself among them")]
    ActOutOfOrder {
        /// The act's id.
        id: u64,
        /// Up to which it confirms.
        confirmed: u64,
    },
    /// A lease is asked for longer than [`LEASE_TTL_MAX_MS`].
    #[error("a lease of {ttl_ms} ms, at most {LEASE_TTL_MAX_MS} ms")]
    LeaseTooLong {
        /// What was asked for.
        ttl_ms: u64,
    },
}

/// What came of a commit that the store judged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommitOutcome {
    /// It is done, and as durable as it asked to be.
    Done {
        /// The commit's own token, now the partition's.
        token: Token,
        /// The partition's token before it: followers that have another one reload.
        previous: Token,
        /// The store's clock, Unix time in ms.
        store_ms: u64,
    },
    /// Nothing was changed.
    Refused(Refusal),
}

impl CommitOutcome {
    /// Whether what was asked is done: now, by an earlier try, or as the same act by another commit. Only then does
    /// durability matter; a refusal changed nothing that could be lost.
    pub fn settled(&self) -> bool {
        matches!(self, CommitOutcome::Done { .. } | CommitOutcome::Refused(Refusal::Repeated { .. }))
    }
}

/// Why a commit was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// A document is not in the demanded version; `current` is the one it has.
    Conflict {
        /// Which document.
        doc: Name,
        /// Its version; `None` when it is absent.
        current: Option<Cas>,
    },
    /// An epoch is not the demanded one, or not below the one it was to be raised to.
    EpochMismatch {
        /// Which epoch.
        name: Name,
        /// Its value.
        current: u64,
    },
    /// A lease is somebody else's and has not expired.
    LeaseHeld {
        /// Which lease.
        name: Name,
        /// Who holds it.
        holder: u64,
        /// Until when, by the store's clock.
        until_ms: u64,
    },
    /// A lease is not, or no longer, the holder's.
    LeaseLost {
        /// Which lease.
        name: Name,
    },
    /// A lease that had to be expired is not.
    NotExpired {
        /// Which lease.
        name: Name,
        /// Until when, by the store's clock.
        until_ms: u64,
    },
    /// A lease is expired, but the store has not served for [`LEASE_GUARD_MS`] since its start: ask again later.
    StoreYoung,
    /// The store's clock is past `not_after_ms`.
    TooLate {
        /// The store's clock, Unix time in ms.
        store_ms: u64,
    },
    /// The actor's act was done already, by the commit `token`: this one changed nothing, whatever else it said.
    /// The asker takes `result` for its answer; what the first commit announced is in the log.
    Repeated {
        /// The commit that did the act.
        token: Token,
        /// What it remembered.
        result: Bytes,
    },
    /// The act is at or below what this partition has forgotten of its actor: it was done and confirmed, or it
    /// never came here and comes too late.
    ActForgotten {
        /// Up to which id acts of this actor are forgotten here.
        forgotten: u64,
    },
    /// The act is of an older session than one whose acts this partition has seen.
    ActFenced {
        /// The newest session epoch of that actor.
        newest: u32,
    },
    /// The act could not be remembered: the actor has [`ACTS_PER_ACTOR_MAX`] unconfirmed ones here, or the
    /// partition remembers [`ACTORS_PER_PARTITION_MAX`] actors and none is idle.
    ActsFull,
    /// The index has [`INDEX_ENTRIES_PER_SHARD_MAX`] entries in this shard.
    IndexFull {
        /// Which index.
        index: Name,
    },
    /// The shard's ledger has [`LEDGER_ENTRIES_PER_SHARD_MAX`] entries that nobody has drained.
    LedgerFull,
    /// The partition would hold more than [`PARTITION_ROWS_MAX`] documents, epochs and leases.
    PartitionFull,
}
