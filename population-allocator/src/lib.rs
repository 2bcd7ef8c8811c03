//! The population allocator: who plays on which island, and through which nodes.
//!
//! [`core`] decides, purely: seats, tickets, islands, and why; how much is wanted is said by [`demand`], who is where by
//! [`islands`], who waits by [`queue`], what follows by [`planner`], which the launch simulator runs as well. [`service`] gives
//! the core sockets, the mesh, the store and a clock. It knows no world-node code: what the two say to each other is in
//! `chunk-sync`.

pub mod core;
pub mod demand;
pub mod islands;
pub mod limits;
pub mod planner;
pub mod policy;
pub mod queue;
pub mod service;
