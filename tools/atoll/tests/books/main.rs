//! The books as an operator meets them: real processes of the built binary that keep a ledger, are killed, audited,
//! exported and imported; real stores, also with mistakes put into them by hand.
#![allow(clippy::unwrap_used, reason = "a test fails where something is not as it should be")]

mod crash;
mod forged;
#[allow(dead_code, reason = "shared with the tests of the cluster, which ask for more")]
#[path = "../cluster/http.rs"]
mod http;
mod inspected;
mod journey;
mod kept;
mod moved;
#[allow(dead_code, reason = "shared with the tests of the cluster, which ask for more")]
#[path = "../cluster/process.rs"]
mod process;
#[allow(dead_code, reason = "shared with the tests of faults, which ask for more")]
#[path = "../faults/redis_server.rs"]
mod redis_server;
mod settlers;
mod spoil;
mod suspended;
mod tool;
mod town;
mod world;
