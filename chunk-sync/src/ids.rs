//! Ids: one type per noun, so that two kinds can't be mixed.
//!
//! A 64-bit id is world of origin (10 bits) · minter (22 bits) · counter (32 bits). A minter number is leased from
//! the store at every start of a process and never given twice, so ids never collide and worlds can merge.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Bits of the minter number.
pub const MINTER_BITS: u32 = 22;
/// Largest minter number; 0 names what was born with the land.
pub const MINTER_MAX: u32 = (1 << MINTER_BITS) - 1;
const COUNTER_BITS: u32 = 32;

/// The world that an id was minted in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct WorldId(pub u16);

/// Number of one start of one process (its minter number and its incarnation at once). It grows with every start,
/// so of two incarnations of a node the one with the larger number is the newer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Source(pub u32);

impl Source {
    /// The source with this number, if the number is in range (1 to `MINTER_MAX`).
    pub fn new(number: u32) -> Option<Self> {
        (1..=MINTER_MAX).contains(&number).then_some(Self(number))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

macro_rules! id64 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }
    };
}

macro_rules! id32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
        pub struct $name(pub u32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

id64!(
    /// A player, for life.
    PlayerId
);
id64!(
    /// A live thing in the world. A player's entity has the player's number.
    EntityId
);
id32!(
    /// A node as operators name it; it keeps the number over restarts.
    NodeId
);
id32!(
    /// An island.
    IslandId
);
id32!(
    /// Number that grows with each grant of a session, a claim or a creature, and fences older holders.
    Epoch
);

/// One connection of one process; given by the shell, reused after the connection was closed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId(pub u32);

impl From<PlayerId> for EntityId {
    fn from(player: PlayerId) -> Self {
        EntityId(player.0)
    }
}

impl EntityId {
    /// The `nth` creature born with a chunk of an island: the same on every node, without asking anybody.
    pub fn born_with_land(world: WorldId, island: IslandId, chunk_index: usize, nth: usize) -> Self {
        let counter =
            (u64::from(island.0) & 0xffff) << 16 | (chunk_index as u64 & 0xff) << 8 | (nth as u64 & 0xff);
        EntityId(u64::from(world.0) << (MINTER_BITS + COUNTER_BITS) | counter)
    }

    /// Whether the entity was born with the land (a creature) rather than minted.
    pub fn is_born_with_land(self) -> bool {
        (self.0 >> COUNTER_BITS) as u32 & MINTER_MAX == 0
    }
}

/// Gives ids of one world under one leased minter number.
#[derive(Debug, Clone)]
pub struct Minter {
    prefix: u64,
    next: u32,
}

impl Minter {
    /// A minter for `source` in `world`; counting starts at 1.
    pub fn new(world: WorldId, source: Source) -> Self {
        let prefix =
            u64::from(world.0 & 0x3ff) << (MINTER_BITS + COUNTER_BITS) | u64::from(source.0) << COUNTER_BITS;
        Self { prefix, next: 1 }
    }

    /// The next unused number. `None` after 2³² − 1 of them; the process then needs a new minter number.
    pub fn mint(&mut self) -> Option<u64> {
        let counter = self.next;
        self.next = counter.checked_add(1)?;
        Some(self.prefix | u64::from(counter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_world_minter_and_counter() {
        let mut minter = Minter::new(WorldId(3), Source(0x2a));
        assert_eq!(minter.mint(), Some(0x00c0_002a_0000_0001));
        assert_eq!(minter.mint(), Some(0x00c0_002a_0000_0002));
    }

    #[test]
    fn creatures_of_neighbouring_chunks_differ_and_are_recognised() {
        let a = EntityId::born_with_land(WorldId(1), IslandId(1), 0, 1);
        let b = EntityId::born_with_land(WorldId(1), IslandId(1), 1, 0);
        assert_ne!(a, b);
        assert!(a.is_born_with_land() && b.is_born_with_land());
        assert!(!EntityId(Minter::new(WorldId(1), Source(1)).mint().unwrap()).is_born_with_land());
    }

    #[test]
    fn sources_out_of_range_are_refused() {
        assert_eq!(Source::new(0), None);
        assert_eq!(Source::new(MINTER_MAX + 1), None);
        assert_eq!(Source::new(MINTER_MAX), Some(Source(MINTER_MAX)));
    }
}
