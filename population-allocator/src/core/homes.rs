//! Where players are at home: each join of a known player reads that player's partition, by its key, so that whoever
//! comes back comes back there. Nothing is remembered: a journey may have ended a moment ago. Used by the core only.

use super::ports::{Counters, RequestNo};
use super::requests::{Asked, Requests};
use crate::limits::{JOIN_TRIES_MAX, PENDING_JOINS_MAX};
use chunk_sync::ids::{IslandId, PlayerId};
use chunk_sync::records::Whereabouts;
use chunk_sync::store::{PartitionKey, StoreAnswer, StoreFault, StoreOp};
use chunk_sync::wire::RejectCode;
use std::collections::BTreeMap;

/// Questions on their way, and which joins wait for each.
#[derive(Debug, Default)]
pub(super) struct Homes {
    open: BTreeMap<PlayerId, Lookup>,
}

#[derive(Debug, Default)]
struct Lookup {
    waiting: Vec<RequestNo>,
    tries: u32,
}

/// What an answer of the store settles: who waited, and the home; `None` of one who was nowhere yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Located {
    pub(super) waiting: Vec<RequestNo>,
    pub(super) home: Result<Option<IslandId>, RejectCode>,
}

impl Homes {
    /// Asks where `player` is at home, for a join; whether there was room for the question.
    #[must_use]
    pub(super) fn ask(
        &mut self,
        player: PlayerId,
        request: RequestNo,
        requests: &mut Requests,
        now_ms: u64,
    ) -> bool {
        if let Some(lookup) = self.open.get_mut(&player) {
            lookup.waiting.push(request);
            return true;
        }
        if self.open.len() >= PENDING_JOINS_MAX {
            return false;
        }
        requests.ask(Asked::Whereabouts(player), read(player), now_ms);
        self.open.insert(player, Lookup { waiting: vec![request], tries: 0 });
        true
    }

    /// Takes the answer to `Asked::Whereabouts`.
    pub(super) fn handle_read(
        &mut self,
        player: PlayerId,
        answer: StoreAnswer,
        requests: &mut Requests,
        counters: &mut Counters,
        now_ms: u64,
    ) -> Option<Located> {
        let home = match answer {
            StoreAnswer::Loaded(view) => match Whereabouts::read(&view) {
                Ok(known) => Ok(known.map(Whereabouts::island)),
                Err(_) => {
                    // Never taken for a newcomer: an allocator of a newer build may be able to read it.
                    counters.records_malformed += 1;
                    Err(RejectCode::Busy)
                }
            },
            StoreAnswer::Failed(StoreFault::TimedOut) if self.may_again(player) => {
                requests.ask(Asked::Whereabouts(player), read(player), now_ms);
                return None;
            }
            _ => Err(RejectCode::StoreAway),
        };
        let Lookup { waiting, .. } = self.open.remove(&player)?;
        Some(Located { waiting, home })
    }

    fn may_again(&mut self, player: PlayerId) -> bool {
        let Some(lookup) = self.open.get_mut(&player) else { return false };
        lookup.tries += 1;
        lookup.tries < JOIN_TRIES_MAX
    }
}

fn read(player: PlayerId) -> StoreOp {
    StoreOp::Load { partition: PartitionKey::player(player) }
}
