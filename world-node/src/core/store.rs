//! Questions to the store that are under way: what each was for, so that its answer finds its place.

use super::NodeCore;
use crate::core::checkpoints::Checkpoint;
use crate::core::standing::RegisterAsk;
use chunk_sync::ids::{ConnId, Minter, PlayerId, Source};
use chunk_sync::ports::RequestId;
use chunk_sync::store::{Commit, PartitionKey, StoreAnswer, StoreOp, Token};
use std::collections::BTreeMap;

/// What a question was for.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// Lease, registry, plan.
    Register(RegisterAsk),
    /// The player's partition, before the session is taken with this ticket number.
    Player(ConnId, PlayerId, u64),
    /// The commit that takes the session with this ticket number, from another source if one held it.
    TakeSession(ConnId, PlayerId, u64, Option<Source>),
    /// Whether a session is still this node's.
    CheckSession(ConnId, PlayerId, u64),
    /// A chunk's claimant list, by island and chunk number.
    LoadClaims(usize, usize),
    /// The commit that changes it.
    CommitClaims(usize, usize),
    /// One of the executor's.
    Executor(crate::executor::Ask),
    /// A player's checkpoint.
    SavePlace(Checkpoint),
}

/// The node's side of the store.
pub(super) struct Store {
    minter: Minter,
    next: u64,
    pending: BTreeMap<RequestId, Ask>,
    out: Vec<(RequestId, StoreOp)>,
}

impl Store {
    pub(super) fn new(minter: Minter) -> Self {
        Self { minter, next: 0, pending: BTreeMap::new(), out: Vec::new() }
    }

    pub(super) fn send(&mut self, ask: Ask, op: StoreOp) {
        self.next += 1;
        self.pending.insert(RequestId(self.next), ask);
        self.out.push((RequestId(self.next), op));
    }

    pub(super) fn load(&mut self, ask: Ask, partition: PartitionKey) {
        self.send(ask, StoreOp::Load { partition });
    }

    /// A fresh token.
    pub(super) fn token(&mut self) -> Token {
        // 2³² tokens last a start for years; past them the node could not write any more, so it must not wrap.
        Token(self.minter.mint().expect("a start commits less than 2^32 times"))
    }

    /// Sends the commit that `build` makes for a fresh token.
    pub(super) fn commit(&mut self, ask: Ask, partition: PartitionKey, build: impl FnOnce(Commit) -> Commit) {
        let token = self.token();
        self.send(ask, StoreOp::Commit(build(Commit::new(partition, token))));
    }
}

impl NodeCore {
    /// Gives the questions for the store.
    pub fn drain_requests(&mut self, take: &mut dyn FnMut(RequestId, StoreOp)) {
        self.store.out.drain(..).for_each(|(id, op)| take(id, op));
    }

    /// Takes an answer of the store. Answers may come in any order; one that nobody waits for is dropped.
    pub fn handle_answer(&mut self, id: RequestId, answer: StoreAnswer, _now_ms: u64) {
        let Some(ask) = self.store.pending.remove(&id) else { return };
        match ask {
            Ask::Register(ask) => self.register_answer(ask, answer),
            Ask::Player(conn, player, ticket) => self.player_loaded(conn, (player, ticket), answer),
            Ask::TakeSession(conn, player, ticket, older) => {
                self.session_taken(conn, (player, ticket), older, answer)
            }
            Ask::CheckSession(conn, player, ticket) => self.session_checked(conn, (player, ticket), answer),
            Ask::LoadClaims(island, chunk) => self.claims_loaded(island, chunk, answer),
            Ask::CommitClaims(island, chunk) => self.claims_committed(island, chunk, answer),
            Ask::Executor(ask) => self.executor_answered(ask, answer),
            Ask::SavePlace(checkpoint) => self.place_saved(checkpoint, answer),
        }
    }
}
