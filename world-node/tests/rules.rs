//! The game's rules: each act's story, documents of older versions, a rule in another process, and under random
//! interleavings, repeats and crashes: items conserved, every transfer ended once, no two structures on one tile, no
//! build after a revocation.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod rules {
    mod audit;
    mod chaos;
    mod documents;
    mod hostile;
    mod process;
    mod resends;
    mod reused;
    mod store;
    mod stories;
    mod town;
    mod transfers;
    mod workers;
}
