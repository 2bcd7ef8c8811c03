//! The bottom of Atoll: the words every part shares and the machines that keep copies in step.
//!
//! Nothing in here waits, reads a clock or draws a random number that was not handed in. Sockets, stores and
//! clocks live in `chunk-sync-io`; game and policy live above.

pub mod blocks;
pub mod client;
pub mod ids;
pub mod interest;
pub mod limits;
pub mod mesh_wire;
pub mod place;
pub mod ports;
pub mod random;
pub mod records;
pub mod store;
pub mod sync;
pub mod terrain;
pub mod ticket;
pub mod time;
pub mod wire;
