//! Everything that waits: TCP doors, the ZeroMQ mesh, the stores, the clock.

pub mod door;
pub mod mesh;
pub mod store;
pub mod world;
