//! The whole cluster as operators and players meet it: real processes of the built binary, real sockets, the Python
//! client, a Redis of the test's own, the page in a headless browser.

mod browser;
mod config;
mod http;
mod page;
mod players;
mod process;
mod redis;
mod separate;
mod up;
