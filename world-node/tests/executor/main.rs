//! The executor, proven: many of them on one faulty store in virtual time. Each thing that can happen has its story;
//! then everything at once, from seeds.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod book;
mod chaos;
mod client;
mod node;
mod stored;
mod stories;
mod town;
mod wishes;
mod world;
