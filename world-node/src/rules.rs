//! The game: what players do to the durable world, as plain functions over plain data. Called by the node core
//! (which loads what a rule declares, and commits what it answers) and by whoever finishes transfers.
//!
//! An act is decided by [`decide`] from the actor, the action and the documents that [`reads`] declared before
//! anything was loaded. It changes exactly one partition, its [`home`], which follows from the act's name and the
//! action alone and so is the same on every resend, wherever the player is by then; the home remembers the act, and is
//! asked first. What belongs elsewhere leaves as one *transfer*: [`transfer`] has the four steps that
//! bring it over exactly once, whoever runs them, however often.
//!
//! Nothing here knows a node, a store, a clock or a socket, and all of it is serialisable: a rule can run in another
//! process or a script.

mod acts;
pub mod documents;
pub mod effects;
mod ground;
pub mod items;
pub mod limits;
pub mod names;
pub mod recipes;
pub mod reject;
pub mod resources;
pub mod site;
pub mod stamina;
pub mod structures;
mod table;
pub mod transfer;
pub mod view;
mod works;

pub use acts::{Action, Actor, decide, home, reads};
pub use effects::{CommitSet, Effects, Event, Holder, LedgerLine};
pub use names::{ActId, DocName, Partition, Sender, TransferId};
pub use reject::RuleReject;
pub use view::{ChunkLand, ReadSet, View};
