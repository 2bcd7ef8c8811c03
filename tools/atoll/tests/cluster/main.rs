//! The whole cluster as operators and players meet it: real processes of the built binary, real sockets, the Python
//! client, a Redis of the test's own, the page in a headless browser.
#![allow(clippy::unwrap_used, reason = "a test fails where something is not as it should be")]

mod browser;
mod config;
mod http;
mod page;
mod players;
mod process;
mod redis;
mod scripted;
mod separate;
mod up;
