//! Where a thing lives in the store: the typed key of its partition, and the shard that the key falls into.
//!
//! Every key begins with the world that the thing came from, so that worlds merge without renaming. Callers
//! build keys with the constructors only; backends read the bytes.

use std::fmt;
use std::fmt::Write as _;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::limits::{KEY_MAX_BYTES, SHARD_COUNT};
use crate::ids::{IslandId, PlayerId, WorldId};
use crate::place::ChunkPos;

/// Bits of an id below its world of origin (22 bits of minter, 32 of counter).
const ID_WORLD_SHIFT: u32 = 54;

/// One of the store's fixed hash buckets, the unit of placement.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Shard(pub u16);

/// The name of a partition, the unit of atomic commit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey(Bytes);

impl PartitionKey {
    /// The partition of one player; its world of origin is in the id.
    pub fn player(player: PlayerId) -> Self {
        Self::build(format_args!("w{}/player/{player}", player.0 >> ID_WORLD_SHIFT))
    }

    /// The partition of one player name; names are compared without case.
    pub fn name(world: WorldId, name: &str) -> Self {
        Self::build(format_args!("w{}/name/{}", world.0, name.to_lowercase()))
    }

    /// The partition of one trade, by its name; its world of origin is that of the player who offered it.
    pub fn trade(offerer: PlayerId, trade: impl fmt::Display) -> Self {
        Self::build(format_args!("w{}/trade/{trade}", offerer.0 >> ID_WORLD_SHIFT))
    }

    /// The partition of one chunk of an island.
    pub fn chunk(world: WorldId, island: IslandId, chunk: ChunkPos) -> Self {
        Self::build(format_args!("w{}/chunk/{island}/{}/{}", world.0, chunk.x, chunk.y))
    }

    /// The partition of one node, by the id or the name that operators gave it.
    pub fn node(world: WorldId, node: impl fmt::Display) -> Self {
        Self::build(format_args!("w{}/node/{node}", world.0))
    }

    /// A partition of the cluster as a whole: `keys`, `plan`, `registry`, `minter`, `clock`…
    pub fn cluster(world: WorldId, name: &str) -> Self {
        Self::build(format_args!("w{}/cluster/{name}", world.0))
    }

    /// The key that has these bytes, as backends keep them: it begins with a world and is no longer than a key may
    /// be; else it is none.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (world, rest) = text.strip_prefix('w')?.split_once('/')?;
        let digits = !world.is_empty() && world.bytes().all(|digit| digit.is_ascii_digit());
        let fits = digits && !rest.is_empty() && bytes.len() <= KEY_MAX_BYTES;
        fits.then(|| Self(Bytes::copy_from_slice(bytes)))
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The shard of this key: the same for ever, on every machine.
    pub fn shard(&self) -> Shard {
        let bucket = xxh3_64(&self.0) % u64::from(SHARD_COUNT);
        Shard(u16::try_from(bucket).expect("a remainder of SHARD_COUNT, which is a u16"))
    }

    fn build(text: fmt::Arguments<'_>) -> Self {
        let mut key = String::with_capacity(40);
        key.write_fmt(text).expect("writing to a String cannot fail");
        Self(Bytes::from(key.into_bytes()))
    }
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartitionKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;

    const WORLD: WorldId = WorldId(1);

    #[test]
    fn keys_begin_with_their_world_and_are_spelled_as_promised() {
        let player = PlayerId((7u64 << ID_WORLD_SHIFT) | 0x2a);
        let corner = ChunkPos::new(-32768, 32767);
        let spelled = [
            (PartitionKey::player(player), "w7/player/01c000000000002a"),
            (PartitionKey::player(PlayerId(u64::MAX)), "w1023/player/ffffffffffffffff"),
            (PartitionKey::name(WORLD, "AnnA_1"), "w1/name/anna_1"),
            (PartitionKey::trade(player, "x.1"), "w7/trade/x.1"),
            (PartitionKey::chunk(WORLD, IslandId(9), corner), "w1/chunk/9/-32768/32767"),
            (PartitionKey::node(WorldId(3), "n1"), "w3/node/n1"),
            (PartitionKey::node(WorldId(3), NodeId(1)), "w3/node/1"),
            (PartitionKey::cluster(WorldId(0), "minter"), "w0/cluster/minter"),
        ];
        for (key, text) in spelled {
            assert_eq!(key.to_string(), text);
            assert_eq!(key.as_bytes(), text.as_bytes());
        }
    }

    #[test]
    fn keys_are_read_back_and_nothing_else_is() {
        let player = PartitionKey::player(PlayerId(u64::MAX));
        for key in [player, PartitionKey::name(WORLD, "ä"), PartitionKey::cluster(WorldId(0), "minter")] {
            assert_eq!(PartitionKey::read(key.as_bytes()), Some(key));
        }
        let long = format!("w1/name/{}", "x".repeat(KEY_MAX_BYTES));
        for wrong in ["", "w", "w1", "w1/", "w/name/x", "wx/name/x", "log:w1/name/x", &long] {
            assert_eq!(PartitionKey::read(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(PartitionKey::read(b"w1/name/\xff"), None);
    }

    /// The hash must never change: a changed shard loses every partition that was ever written.
    #[test]
    fn shards_are_fixed_for_ever() {
        let shards = [
            PartitionKey::player(PlayerId(1)),
            PartitionKey::name(WORLD, "anna"),
            PartitionKey::chunk(WORLD, IslandId(1), ChunkPos::new(0, 0)),
            PartitionKey::cluster(WORLD, "minter"),
        ]
        .map(|key| key.shard().0);
        assert_eq!(shards, [1339, 1980, 3380, 1079]);
    }

    #[test]
    fn shards_spread_evenly() {
        let mut used = vec![0u32; usize::from(SHARD_COUNT)];
        for x in 0..256i16 {
            for y in 0..256i16 {
                let key = PartitionKey::chunk(WORLD, IslandId(1), ChunkPos::new(x, y));
                used[usize::from(key.shard().0)] += 1;
            }
        }
        // 65,536 keys over 4,096 shards: 16 each on average; none empty, none more than three times that.
        assert!(used.iter().all(|&count| (1..=48).contains(&count)), "{used:?}");
    }
}
