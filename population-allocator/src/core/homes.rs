//! Where players were last: each join of a known player reads that player's partition, by its key, so that whoever
//! comes back comes back there. Nothing is remembered: a journey may have ended a moment ago. Used by the core only.

use super::ports::RequestNo;
use super::requests::{Asked, Requests};
use crate::limits::PENDING_JOINS_MAX;
use chunk_sync::ids::{IslandId, PlayerId};
use chunk_sync::records::Whereabouts;
use chunk_sync::store::{PartitionKey, StoreAnswer, StoreOp};
use std::collections::BTreeMap;

/// Questions on their way, and which joins wait for each.
#[derive(Debug, Default)]
pub(super) struct Homes {
    open: BTreeMap<PlayerId, Vec<RequestNo>>,
}

/// The store doesn't tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Untold;

impl Homes {
    /// Asks where `player` is, for a join; whether there was room for the question.
    #[must_use]
    pub(super) fn ask(
        &mut self,
        player: PlayerId,
        request: RequestNo,
        requests: &mut Requests,
        now_ms: u64,
    ) -> bool {
        if let Some(waiting) = self.open.get_mut(&player) {
            waiting.push(request);
            return true;
        }
        if self.open.len() >= PENDING_JOINS_MAX {
            return false;
        }
        let partition = PartitionKey::player(player);
        requests.ask(Asked::Whereabouts(player), StoreOp::Load { partition }, now_ms);
        self.open.insert(player, vec![request]);
        true
    }

    /// Takes the answer to `Asked::Whereabouts`: who waited, and the island; `None` of one who was nowhere yet.
    pub(super) fn handle_read(
        &mut self,
        player: PlayerId,
        answer: StoreAnswer,
    ) -> (Vec<RequestNo>, Result<Option<IslandId>, Untold>) {
        let waiting = self.open.remove(&player).unwrap_or_default();
        match answer {
            StoreAnswer::Loaded(view) => (waiting, Ok(Whereabouts::read(&view).map(Whereabouts::island))),
            _ => (waiting, Err(Untold)),
        }
    }
}
