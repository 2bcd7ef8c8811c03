//! The world node: a pure core and the thread that runs it.

pub mod core;
pub mod executor;
pub mod limits;
pub mod rules;
pub mod shell;
pub mod witness;
