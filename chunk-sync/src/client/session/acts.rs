//! The acts of a client that wait for an answer: their ids, and what is asked again after a lost session. Called by
//! the session; what an action says it never looks at.

use crate::ids::{Epoch, PlayerId};
use crate::limits::{ACT_RESENT_MS_MAX, ACTION_BYTES_MAX, ACTS_OPEN_MAX};
use crate::wire::{Act, ActNumber, ActOutcome, Acted, Welcome};
use std::collections::VecDeque;
use thiserror::Error;

/// An act whose outcome is not known yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenAct {
    /// Its name.
    pub id: ActNumber,
    /// The island on which it was first asked for.
    pub island: u32,
    /// What to do, as the caller put it.
    pub action: Vec<u8>,
    /// The newest tick that was heard when it was first asked for, its low bits.
    pub tick: u32,
    /// The node said that it waits for the store.
    pub waits: bool,
}

/// Why an act is not asked for.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ActError {
    /// The client is not in the world.
    #[error("not in the world")]
    NotInside,
    /// As many acts are under way as one player may have.
    #[error("{ACTS_OPEN_MAX} acts are under way; one of them must end first")]
    TooMany,
    /// The action is longer than one message may say.
    #[error("an action of {bytes} bytes, at most {ACTION_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The session has no number left.
    #[error("the session has no number left for an act")]
    NoNumber,
}

/// What was asked for and is not answered, and where counting is.
#[derive(Debug, Default)]
pub(super) struct Acts {
    /// By id, which is the order in which they were asked for.
    open: VecDeque<OpenAct>,
    /// Whose they are.
    player: PlayerId,
    epoch: Epoch,
    /// Numbers given in this epoch.
    given: u32,
}

impl Acts {
    /// Names and keeps a new act.
    pub(super) fn ask(&mut self, action: Vec<u8>, island: u32, tick: u32) -> Result<Act, ActError> {
        if self.open.len() >= ACTS_OPEN_MAX {
            return Err(ActError::TooMany);
        }
        if action.len() > ACTION_BYTES_MAX {
            return Err(ActError::TooLong { bytes: action.len() });
        }
        self.given = self.given.checked_add(1).ok_or(ActError::NoNumber)?;
        let id = ActNumber::new(self.epoch, self.given);
        let act = OpenAct { id, island, action, tick, waits: false };
        self.open.push_back(act.clone());
        Ok(self.message(&act))
    }

    /// A session begins. The acts that it can't ask for again come back: those that were first asked for too long ago, by
    /// the world's clock (one's own may have stood still), and all of them when the server knows the player by another
    /// number, or counts sessions from an earlier one, so that it is another world.
    pub(super) fn enter(&mut self, welcome: &Welcome) -> Vec<ActNumber> {
        let (player, epoch) = (PlayerId(welcome.player), Epoch(welcome.epoch));
        let same_world = player == self.player && epoch >= self.epoch;
        if !same_world || epoch != self.epoch {
            self.given = 0;
        }
        (self.player, self.epoch) = (player, epoch);
        self.open.iter_mut().for_each(|act| act.waits = false);
        let over = |act: &OpenAct| {
            // A node whose clock is a little behind has not gone back in time.
            let ticks = (welcome.tick as u32).wrapping_sub(act.tick) as i32;
            u64::from(ticks.max(0).unsigned_abs()) * u64::from(welcome.tick_ms) > ACT_RESENT_MS_MAX
        };
        let (lost, open): (Vec<_>, Vec<_>) = self.open.drain(..).partition(|act| !same_world || over(act));
        self.open = open.into();
        lost.into_iter().map(|act| act.id).collect()
    }

    /// Everything that is open, as it is asked for again.
    pub(super) fn again(&self) -> impl Iterator<Item = Act> {
        self.open.iter().map(|act| self.message(act))
    }

    /// Notes an answer; whether it is news.
    pub(super) fn answer(&mut self, acted: &Acted) -> bool {
        let Some(at) = self.open.iter().position(|act| act.id == acted.id) else { return false };
        if acted.outcome == ActOutcome::Waiting {
            return !std::mem::replace(&mut self.open[at].waits, true);
        }
        self.open.remove(at);
        true
    }

    pub(super) fn open(&self) -> impl Iterator<Item = &OpenAct> {
        self.open.iter()
    }

    /// All acts below the oldest open one are answered.
    fn message(&self, act: &OpenAct) -> Act {
        let oldest = self.open.front().map_or(act.id, |oldest| oldest.id);
        // Numbers begin at 1, so one below any id names an act, or none, of the same session.
        let answered = ActNumber(oldest.0.saturating_sub(1));
        Act { id: act.id, answered, island: act.island, action: act.action.clone() }
    }
}
