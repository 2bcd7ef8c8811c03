//! The whole cluster as its players and its enemies meet it: real processes, real sockets, a real Redis, clients
//! built on the client core. Each test starts a cluster of its own and ends it, also when it fails.
//!
//! * [`crowd`]: everybody sees everybody, whoever doesn't read harms nobody;
//! * [`nodes`]: a node stops, dies, comes back, leaves; the others' clients don't notice;
//! * [`hostile`]: what strangers send to doors, nodes and the channel, while good players go on;
//! * [`lasting`]: what is still there after a crash;
//! * [`settling`]: settlers find what they were told is done, though nodes were killed;
//! * [`store`]: the store is away for a while;
//! * [`stores`]: settlers find what they were told is done, though the store was stopped, full, slow, killed, replaced;
//! * [`tickets`]: one ticket, one entry; one name, one session.

mod crowd;
mod hostile;
mod lasting;
mod nodes;
mod player;
mod players;
mod processes;
mod raw;
mod redis_server;
mod settlers;
mod settling;
mod store;
mod stores;
mod tickets;
mod town;

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks at `condition` until it gives something. Panics with what it last said when that takes too long.
pub(crate) fn eventually<T>(
    what: &str,
    within: Duration,
    mut condition: impl FnMut() -> Result<T, String>,
) -> T {
    let until = Instant::now() + within;
    loop {
        match condition() {
            Ok(found) => return found,
            Err(why) if Instant::now() >= until => panic!("not within {within:?}: {what}\n{why}"),
            Err(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}

/// Looks at `check` for the whole of `time`; it panics when something is wrong.
pub(crate) fn throughout(time: Duration, mut check: impl FnMut()) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        check();
        std::thread::sleep(LOOK_EVERY);
    }
}
