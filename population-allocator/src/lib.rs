//! The population allocator: who plays on which island, and through which nodes.
//!
//! [`core`] decides, purely: seats, tickets, islands, and why. [`queue`] keeps, as purely, who waits for a seat. [`service`] gives it sockets, the mesh, the store
//! and a clock. It knows no world-node code: what the two say to each other is in `chunk-sync`.

pub mod core;
pub mod limits;
pub mod queue;
pub mod service;
