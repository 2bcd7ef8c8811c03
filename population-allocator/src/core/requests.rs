//! Questions to the store on their way: numbers, tokens, and what each was asked for. Used by the core only.

use crate::limits::STORE_WAIT_MS;
use chunk_sync::ids::{Minter, PlayerId, Source};
use chunk_sync::ports::RequestId;
use chunk_sync::records::WORLD;
use chunk_sync::store::{StoreOp, Token};
use std::collections::{BTreeMap, VecDeque};

/// What a question is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// The registry, each second.
    Registry,
    /// Registering or renewing.
    Membership,
    /// Signing off.
    Leave,
    /// The plan, at the start and after a lost race.
    PlanRead,
    /// A new plan.
    PlanWrite,
    /// Whose name this is.
    NameRead(String),
    /// A new name.
    NameWrite(String),
    /// Where a player is at home.
    Whereabouts(PlayerId),
}

/// Questions on their way.
#[derive(Debug)]
pub(super) struct Requests {
    minter: Minter,
    next: u64,
    out: VecDeque<(RequestId, StoreOp)>,
    open: BTreeMap<RequestId, (Asked, u64)>,
}

impl Requests {
    pub(super) fn new(source: Source) -> Self {
        Self { minter: Minter::new(WORLD, source), next: 1, out: VecDeque::new(), open: BTreeMap::new() }
    }

    /// Puts a question; each kind is asked one at a time; names and players have bounds of their own, so this is bounded.
    pub(super) fn ask(&mut self, asked: Asked, op: StoreOp, now_ms: u64) {
        let id = RequestId(self.next);
        self.next += 1;
        self.open.insert(id, (asked, now_ms));
        self.out.push_back((id, op));
    }

    /// What the question was for; `None` when it was given up.
    pub(super) fn answered(&mut self, id: RequestId) -> Option<Asked> {
        self.open.remove(&id).map(|(asked, _)| asked)
    }

    /// Gives up the oldest question that waited too long.
    pub(super) fn give_up(&mut self, now_ms: u64) -> Option<Asked> {
        let (id, (_, sent_ms)) = self.open.first_key_value()?;
        let id = (now_ms.saturating_sub(*sent_ms) > STORE_WAIT_MS).then_some(*id)?;
        self.answered(id)
    }

    pub(super) fn drain(&mut self, take: &mut dyn FnMut(RequestId, StoreOp)) {
        for (id, op) in self.out.drain(..) {
            take(id, op);
        }
    }

    /// A token for a commit; `None` after four thousand million of them.
    pub(super) fn token(&mut self) -> Option<Token> {
        self.minter.mint().map(Token)
    }

    /// A player's number, for life.
    pub(super) fn player(&mut self) -> Option<PlayerId> {
        self.minter.mint().map(PlayerId)
    }
}
