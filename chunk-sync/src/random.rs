//! Seeded random streams: one per subsystem, so that a draw in one never shifts another.

use rand::SeedableRng;
pub use rand::{Rng, RngExt};
pub use rand_chacha::ChaCha8Rng as Stream;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The random stream of subsystem `name` under `seed`; the same two always give the same stream.
pub fn stream(seed: u64, name: &str) -> Stream {
    Stream::seed_from_u64(hash(seed, name.as_bytes()))
}

/// A stable 64-bit hash of `bytes` under `seed`.
pub fn hash(seed: u64, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, seed)
}

/// Rendezvous: the one of `candidates` that scores highest for `key`; adding or removing one moves only the keys
/// that it wins or held.
pub fn rendezvous(key: u64, candidates: impl IntoIterator<Item = u32>) -> Option<u32> {
    candidates.into_iter().max_by_key(|candidate| (hash(key, &candidate.to_be_bytes()), *candidate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ_by_name() {
        let draw = |seed, name| stream(seed, name).random::<u64>();
        assert_eq!(draw(7, "creatures"), draw(7, "creatures"));
        assert_ne!(draw(7, "creatures"), draw(7, "network"));
        assert_ne!(draw(7, "creatures"), draw(8, "creatures"));
    }

    #[test]
    fn rendezvous_moves_only_what_it_must() {
        for key in 0..200 {
            let two = rendezvous(key, [1, 2]).unwrap();
            let three = rendezvous(key, [3, 2, 1]).unwrap();
            assert!(three == two || three == 3);
        }
        assert_eq!(rendezvous(1, []), None);
    }
}
