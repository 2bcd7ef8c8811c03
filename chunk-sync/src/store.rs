//! The store contract: what lasts, said once, for every backend and for the cores that ask.
//!
//! A *partition* (one player, one name, one chunk, one node…) holds small documents, epochs, leases, the token
//! of its last commit and a bounded log of events. Only a [`Commit`] changes it, whole or not at all, and only
//! when everything that the commit demands holds; else it changes nothing and says which demand failed.
//! [`apply`] is that rule; the in-memory twin and the embedded store run it, the Redis function repeats it, and
//! one conformance suite holds the three to the same answers.
//!
//! The pure cores emit [`StoreOp`]s and take [`StoreAnswer`]s; the shells carry them to a backend of
//! `chunk-sync-io`. Nothing here does I/O, reads a clock or draws a random number: the time is the *store's*
//! and comes in as an argument. There is no query in this contract: every operation names its partition.

mod acts;
mod apply;
mod commit;
mod durability;
mod index;
mod key;
mod ledger;
mod limits;
mod memory;
mod minter;
mod name;
mod op;
mod outcome;
mod raw;
mod tail;
mod view;

pub use acts::{Act, ActorMemory, RememberedAct};
pub use apply::{PartitionState, StoreClock, apply};
pub use commit::{Cas, Commit, EpochStep, LeaseStep, Precondition, Token, Write};
pub use durability::Durability;
pub use index::{IndexCursor, IndexEntry, IndexPage, IndexStep};
pub use key::{PartitionKey, Shard};
pub use ledger::{DamagedLedgerEntry, LedgerCursor, LedgerEntry, LedgerPage};
pub use limits::*;
pub use memory::{MemoryFault, MemoryStore};
pub use minter::{MinterError, MinterFlow, MinterStep};
pub use name::Name;
pub use op::{StoreAnswer, StoreFault, StoreOp};
pub use outcome::{CommitOutcome, Refusal, StoreError};
pub use raw::{DamagedPartition, PartitionCursor, PartitionsPage, RawPartition, RestoreError};
pub use tail::{LoggedCommit, RecentTokens, Tail, tail_of_log};
pub use view::{Document, Lease, PartitionView};
