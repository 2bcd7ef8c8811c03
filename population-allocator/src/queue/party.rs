//! Who is admitted together: one to `PARTY_MAX` players.

use crate::limits::PARTY_MAX;
use chunk_sync::ids::PlayerId;
use thiserror::Error;

/// Players who come in together or not at all; often one alone. Whoever holds one knows that its size is in range
/// and that nobody is in it twice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Party {
    first: PlayerId,
    others: Box<[PlayerId]>,
}

/// Why players aren't a party.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum PartyError {
    /// Nobody.
    #[error("a party has at least one player")]
    Empty,
    /// More than are admitted together.
    #[error("a party has at most {PARTY_MAX} players, not {0}")]
    TooLarge(usize),
    /// The same player twice.
    #[error("player {0} is in the party twice")]
    Twice(PlayerId),
}

impl Party {
    /// One player.
    pub fn alone(player: PlayerId) -> Self {
        Self { first: player, others: Box::default() }
    }

    /// These players, the one who leads them first.
    pub fn new(players: &[PlayerId]) -> Result<Self, PartyError> {
        let (first, others) = players.split_first().ok_or(PartyError::Empty)?;
        if players.len() > PARTY_MAX {
            return Err(PartyError::TooLarge(players.len()));
        }
        for (at, player) in others.iter().enumerate() {
            if players[..=at].contains(player) {
                return Err(PartyError::Twice(*player));
            }
        }
        Ok(Self { first: *first, others: others.into() })
    }

    /// How many they are.
    #[allow(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        1 + self.others.len()
    }

    /// Seats that it takes: its size, in the width that is stored.
    pub(super) fn seats(&self) -> u8 {
        u8::try_from(self.len()).expect("a party has at most PARTY_MAX players")
    }

    /// All of them, the one who leads them first.
    pub fn players(&self) -> impl Iterator<Item = PlayerId> {
        std::iter::once(self.first).chain(self.others.iter().copied())
    }

    /// The party without the player; `None` if nobody is left.
    pub(super) fn without(&self, player: PlayerId) -> Option<Self> {
        let left: Vec<PlayerId> = self.players().filter(|member| *member != player).collect();
        Self::new(&left).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_has_one_to_eight_different_players() {
        let players: Vec<PlayerId> = (1..=9).map(PlayerId).collect();
        assert_eq!(Party::new(&[]), Err(PartyError::Empty));
        assert_eq!(Party::new(&players), Err(PartyError::TooLarge(9)));
        assert_eq!(Party::new(&players[..8]).map(|party| party.len()), Ok(8));
        assert_eq!(Party::new(&[PlayerId(3), PlayerId(4), PlayerId(3)]), Err(PartyError::Twice(PlayerId(3))));
        let pair = Party::new(&players[..2]).unwrap();
        assert_eq!(pair.without(PlayerId(1)), Some(Party::alone(PlayerId(2))));
        assert_eq!(Party::alone(PlayerId(1)).without(PlayerId(1)), None);
    }
}
