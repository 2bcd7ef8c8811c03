//! The two halves of a stream: `Publisher` (what a source says of its entities in a chunk) and `Follower` (what
//! another member makes of it). Both keep the state in `Slots`, so that either can give a newcomer a snapshot
//! without asking anybody.
//!
//! Frame *n* of a stream leads to state *n*. A delta *n* applies to state *n* − 1 and nothing else; a keyframe *n*
//! is state *n*, so whoever is there already drops it and whoever has lost the thread picks it up.

mod follower;
mod publisher;
mod slots;

pub use follower::{Follower, Verdict};
pub use publisher::{Frame, Publisher};
pub use slots::{Slots, Who};
