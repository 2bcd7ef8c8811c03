//! Leasing a minter's number from a real store: drives the pure flow. Every process does it once at its start.

use chunk_sync::ids::{Source, WorldId};
use chunk_sync::store::{MinterError, MinterFlow, MinterStep};

use super::StoreHandle;

/// Leases the next minter's number of `world`; a number is never given twice and grows with every lease.
pub async fn lease_minter(store: &StoreHandle, world: WorldId) -> Result<Source, MinterError> {
    // Without a minter there is nothing yet to make unique tokens from, so these start at random.
    let seed = getrandom::u64()
        .map_err(|_| MinterError::Unexpected { what: "failure of the system's random source" })?;
    let mut flow = MinterFlow::new(world, seed);
    let mut op = flow.start();
    loop {
        match flow.handle_answer(store.call(op).await)? {
            MinterStep::Ask(next) => op = next,
            MinterStep::Leased(source) => return Ok(source),
        }
    }
}
