//! Whose name it is: a bounded memory before the name's partition in the store. A name that nobody has gets a
//! player of its own by a commit that demands its absence; the loser of a race reads again. Used by the core only.

use super::ports::{Counters, RequestNo};
use super::requests::{Asked, Requests};
use crate::limits::{JOIN_TRIES_MAX, NAMES_REMEMBERED_MAX, PENDING_JOINS_MAX};
use chunk_sync::ids::PlayerId;
use chunk_sync::records::{DOC_NAME, NameRecord, WORLD, decode, encode};
use chunk_sync::store::{Commit, CommitOutcome, PartitionKey, StoreAnswer, StoreFault, StoreOp};
use std::collections::{BTreeMap, VecDeque};

/// What is known of a name at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// The player.
    Known(PlayerId),
    /// The store was asked.
    Asked,
    /// Too many questions are open.
    Busy,
}

/// What an answer of the store settles: who waited, and the player unless the store failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Settled {
    pub(super) waiting: Vec<RequestNo>,
    pub(super) player: Option<PlayerId>,
    /// Nobody had the name until now.
    pub(super) is_new: bool,
}

#[derive(Debug, Default)]
struct Lookup {
    waiting: Vec<RequestNo>,
    tries: u32,
    commit: Option<(PlayerId, Commit)>,
}

/// Names that are remembered, and those that are asked for.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: BTreeMap<String, PlayerId>,
    order: VecDeque<String>,
    lookups: BTreeMap<String, Lookup>,
}

impl Names {
    /// Finds the player with this name (compared without case) for a join.
    pub(super) fn find(
        &mut self,
        name: &str,
        request: RequestNo,
        requests: &mut Requests,
        now_ms: u64,
    ) -> Found {
        let name = name.to_lowercase();
        if let Some(player) = self.known.get(&name) {
            return Found::Known(*player);
        }
        if let Some(lookup) = self.lookups.get_mut(&name) {
            lookup.waiting.push(request);
            return Found::Asked;
        }
        if self.lookups.len() >= PENDING_JOINS_MAX {
            return Found::Busy;
        }
        requests.ask(Asked::NameRead(name.clone()), read(&name), now_ms);
        self.lookups.insert(name, Lookup { waiting: vec![request], ..Lookup::default() });
        Found::Asked
    }

    /// Takes the answer to `Asked::NameRead`.
    pub(super) fn handle_read(
        &mut self,
        name: &str,
        answer: StoreAnswer,
        requests: &mut Requests,
        counters: &mut Counters,
        now_ms: u64,
    ) -> Option<Settled> {
        let view = match answer {
            StoreAnswer::Loaded(view) => view,
            StoreAnswer::Failed(StoreFault::TimedOut) => return self.again(name, requests, now_ms),
            _ => return self.settle(name, None, false),
        };
        let Some(value) = view.doc(DOC_NAME) else {
            let minted = requests.player().zip(requests.token());
            let Some((player, token)) = minted else { return self.settle(name, None, false) };
            let commit = Commit::new(PartitionKey::name(WORLD, name), token)
                .absent(DOC_NAME)
                .put(DOC_NAME, encode(&NameRecord { player }));
            if let Some(lookup) = self.lookups.get_mut(name) {
                lookup.commit = Some((player, commit.clone()));
            }
            requests.ask(Asked::NameWrite(name.to_owned()), StoreOp::Commit(commit), now_ms);
            return None;
        };
        let record = decode::<NameRecord>(value);
        counters.records_malformed += u64::from(record.is_none());
        self.settle(name, record.map(|record| record.player), false)
    }

    /// Takes the answer to `Asked::NameWrite`.
    pub(super) fn handle_write(
        &mut self,
        name: &str,
        answer: StoreAnswer,
        requests: &mut Requests,
        now_ms: u64,
    ) -> Option<Settled> {
        let committed = self.lookups.get(name).and_then(|lookup| lookup.commit.as_ref());
        let player = committed.map(|(player, _)| *player);
        match answer {
            StoreAnswer::Committed(CommitOutcome::Done { .. }) => self.settle(name, player, true),
            StoreAnswer::Committed(CommitOutcome::Refused(_)) => {
                if let Some(lookup) = self.lookups.get_mut(name) {
                    lookup.commit = None;
                }
                self.again(name, requests, now_ms)
            }
            // Unknown: the same commit again is answered as the first one was.
            StoreAnswer::Failed(StoreFault::TimedOut) => self.again(name, requests, now_ms),
            _ => self.settle(name, None, false),
        }
    }

    fn again(&mut self, name: &str, requests: &mut Requests, now_ms: u64) -> Option<Settled> {
        let lookup = self.lookups.get_mut(name)?;
        lookup.tries += 1;
        if lookup.tries >= JOIN_TRIES_MAX {
            return self.settle(name, None, false);
        }
        match &lookup.commit {
            Some((_, commit)) => {
                requests.ask(Asked::NameWrite(name.to_owned()), StoreOp::Commit(commit.clone()), now_ms);
            }
            None => requests.ask(Asked::NameRead(name.to_owned()), read(name), now_ms),
        }
        None
    }

    fn settle(&mut self, name: &str, player: Option<PlayerId>, is_new: bool) -> Option<Settled> {
        let lookup = self.lookups.remove(name)?;
        if let Some(player) = player
            && self.known.insert(name.to_owned(), player).is_none()
        {
            self.order.push_back(name.to_owned());
            if self.order.len() > NAMES_REMEMBERED_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
        Some(Settled { waiting: lookup.waiting, player, is_new })
    }
}

fn read(name: &str) -> StoreOp {
    StoreOp::Load { partition: PartitionKey::name(WORLD, name) }
}
