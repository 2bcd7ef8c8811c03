//! The allocator from outside: the pure core over the in-memory store in virtual time, and the service over real
//! sockets.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod chaos;
mod cluster;
mod door;
mod homes;
mod membership;
mod seats;
mod stories;
