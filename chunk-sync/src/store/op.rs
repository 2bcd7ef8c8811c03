//! Store operations and answers as plain data: the cores emit and take them, shells and the simulation carry
//! them. An answer belongs to the operation that asked; the carrier keeps the request id beside both.

use super::commit::{Commit, Token, check_key};
use super::key::PartitionKey;
use super::outcome::{CommitOutcome, StoreError};
use super::tail::Tail;
use super::view::PartitionView;

/// What can be asked of the store; each names its one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreOp {
    /// Read a whole partition.
    Load {
        /// Which.
        partition: PartitionKey,
    },
    /// Change one.
    Commit(Commit),
    /// What happened after a commit that the asker knows.
    Tail {
        /// Which partition.
        partition: PartitionKey,
        /// The token up to which the asker knows it.
        after: Token,
    },
}

impl StoreOp {
    /// The partition that is asked.
    pub fn partition(&self) -> &PartitionKey {
        match self {
            StoreOp::Load { partition } | StoreOp::Tail { partition, .. } => partition,
            StoreOp::Commit(commit) => &commit.partition,
        }
    }

    /// Checks the named limits, before anything is sent.
    pub fn check(&self) -> Result<(), StoreError> {
        match self {
            StoreOp::Load { partition } | StoreOp::Tail { partition, .. } => check_key(partition),
            StoreOp::Commit(commit) => commit.check(),
        }
    }
}

/// What the store said, or why it didn't.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreAnswer {
    /// To [`StoreOp::Load`].
    Loaded(PartitionView),
    /// To [`StoreOp::Commit`].
    Committed(CommitOutcome),
    /// To [`StoreOp::Tail`].
    Tailed(Tail),
    /// To any of them: no answer could be had.
    Failed(StoreFault),
}

/// Why there is no answer. A player never reads any of these.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoreFault {
    /// The store can't be reached, or too much waits for it already. Nothing was changed.
    #[error("the store is away")]
    Away,
    /// It didn't answer in time: a commit may have happened or not. Send it again with the same token.
    #[error("the store did not answer in time; the outcome is unknown")]
    TimedOut,
    /// No room is left. Nothing was changed.
    #[error("the store is full")]
    Full,
    /// The operation breaks a named limit: a mistake of the caller. Nothing was changed.
    #[error("not an operation that a store takes: {0}")]
    Invalid(#[from] StoreError),
    /// The store answered something that can't be right, or its data is damaged.
    #[error("the store is broken: {text}")]
    Broken {
        /// What was wrong, for the operator.
        text: String,
    },
}
