//! The lanes of the queue, and whose turn it is.

use crate::limits::{LANE_SHARE_MAX, PARTY_MAX};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A queue of its own beside the others. A party stays in the lane that it joined.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Residents who come home.
    Homecoming,
    /// Everybody else.
    Newcomer,
}

impl Lane {
    /// All of them, in the order of their indices.
    pub const ALL: [Lane; 2] = [Lane::Homecoming, Lane::Newcomer];

    /// Its place in an array of one thing per lane.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The other one.
    pub const fn other(self) -> Lane {
        match self {
            Lane::Homecoming => Lane::Newcomer,
            Lane::Newcomer => Lane::Homecoming,
        }
    }
}

/// How seats are shared while both lanes wait: of `homecoming + newcomers` admitted players so many are of each. A lane
/// with share 0 is served only while nobody waits in the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneShares {
    homecoming: u32,
    newcomers: u32,
}

/// Shares that can't be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum SharesError {
    /// Nobody would ever be admitted.
    #[error("both lanes have share 0: nobody would be admitted")]
    Nobody,
    /// A share that is out of range.
    #[error("share {0} is above {LANE_SHARE_MAX}")]
    TooLarge(u32),
}

impl LaneShares {
    /// Residents first, whoever else waits.
    pub const RESIDENTS_FIRST: Self = Self { homecoming: 1, newcomers: 0 };

    /// So many of each.
    pub fn new(homecoming: u32, newcomers: u32) -> Result<Self, SharesError> {
        match homecoming.max(newcomers) {
            0 => Err(SharesError::Nobody),
            largest if largest > LANE_SHARE_MAX => Err(SharesError::TooLarge(largest)),
            _ => Ok(Self { homecoming, newcomers }),
        }
    }

    fn of(self) -> (i64, i64) {
        (i64::from(self.homecoming), i64::from(self.newcomers))
    }
}

impl Default for LaneShares {
    /// Three who come home for one newcomer: homes fill first, and nobody starves.
    fn default() -> Self {
        Self { homecoming: 3, newcomers: 1 }
    }
}

/// Whose turn it is, as one number: what newcomers are owed. Each resident who is admitted while newcomers wait adds the
/// newcomers' share, each newcomer who is admitted while residents wait takes the residents' share; newcomers have
/// the turn when they are owed at least that. Whoever is admitted while the other lane is empty owes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Turns {
    pub(super) shares: LaneShares,
    pub(super) owed: i64,
}

impl Turns {
    /// What was owed, as far as it can be under these shares.
    pub(super) fn resumed(shares: LaneShares, owed: i64) -> Self {
        let ((homecoming, newcomers), party) = (shares.of(), PARTY_MAX as i64);
        Self { shares, owed: owed.clamp(-party * homecoming, homecoming + party * newcomers) }
    }

    /// The lane that has the turn while both wait.
    pub(super) fn lane(self) -> Lane {
        if self.owed >= self.shares.of().0 { Lane::Newcomer } else { Lane::Homecoming }
    }

    /// So many of the lane were admitted in its turn, while the other one waited.
    pub(super) fn charge(&mut self, lane: Lane, players: usize) {
        let ((homecoming, newcomers), players) = (self.shares.of(), players as i64);
        self.owed += match lane {
            Lane::Homecoming => players * newcomers,
            Lane::Newcomer => -players * homecoming,
        };
    }

    /// How many of the other lane go before a party of `lane` that has `ahead` players before it in its own, if those
    /// always wait; `None` if all of them do, however many come.
    pub(super) fn others_before(self, lane: Lane, ahead: u64) -> Option<u64> {
        let ((homecoming, newcomers), ahead) = (self.shares.of(), ahead as i64);
        let others = match lane {
            // After so many, newcomers are owed less than the residents' share.
            Lane::Homecoming if homecoming > 0 => (self.owed + ahead * newcomers).div_euclid(homecoming),
            // After so many, newcomers are owed the residents' share for each of them and for the party.
            Lane::Newcomer if newcomers > 0 => {
                let missing = (ahead + 1) * homecoming - self.owed;
                (missing + newcomers - 1).div_euclid(newcomers)
            }
            _ => return None,
        };
        Some(u64::try_from(others).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(homecoming: u32, newcomers: u32, sizes: [usize; 2]) -> String {
        let mut turns = Turns { shares: LaneShares::new(homecoming, newcomers).unwrap(), owed: 0 };
        let served = (0..12).map(|_| {
            let lane = turns.lane();
            turns.charge(lane, sizes[lane.index()]);
            if lane == Lane::Homecoming { 'h' } else { 'n' }
        });
        served.collect()
    }

    #[test]
    fn lanes_take_turns_by_their_shares() {
        assert_eq!(order(3, 1, [1, 1]), "hhhnhhhnhhhn");
        assert_eq!(order(1, 1, [1, 1]), "hnhnhnhnhnhn");
        assert_eq!(order(1, 0, [1, 1]), "hhhhhhhhhhhh");
        assert_eq!(order(0, 1, [1, 1]), "nnnnnnnnnnnn");
        assert_eq!(order(1, 1, [1, 4]), "hnhhhhnhhhhn", "a party has as many turns as players");
    }

    #[test]
    fn shares_that_admit_nobody_are_refused() {
        assert_eq!(LaneShares::new(0, 0), Err(SharesError::Nobody));
        assert_eq!(LaneShares::new(1, LANE_SHARE_MAX + 1), Err(SharesError::TooLarge(LANE_SHARE_MAX + 1)));
    }
}
