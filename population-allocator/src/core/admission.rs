//! Joins that wait for their answer: what each asked, until when it may wait, and what it waits for. Used by the
//! core only; names, seats and tickets are decided elsewhere.

use super::ports::RequestNo;
use crate::limits::{JOIN_WAIT_MS, PENDING_JOINS_MAX};
use chunk_sync::ids::{IslandId, PlayerId};
use chunk_sync::wire::RejectCode;
use std::collections::BTreeMap;

/// Who wants to come in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entrant {
    pub(super) player: PlayerId,
    /// The island where the player is at home.
    pub(super) home: Option<IslandId>,
}

/// A join that has no answer yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Join {
    /// The name, as it was typed.
    pub(super) name: String,
    /// The protocol version that both sides speak.
    pub(super) protocol: u16,
    /// The island that was asked for.
    pub(super) wish: Option<IslandId>,
    /// Who it is, once that was found out.
    pub(super) entrant: Option<Entrant>,
    /// When it is refused.
    pub(super) deadline_ms: u64,
    /// What it is refused with then.
    pub(super) obstacle: RejectCode,
}

/// All joins without an answer, in the order they came.
#[derive(Debug, Default)]
pub(super) struct Joins {
    waiting: BTreeMap<RequestNo, Join>,
}

impl Joins {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= PENDING_JOINS_MAX
    }

    pub(super) fn add(
        &mut self,
        request: RequestNo,
        name: String,
        protocol: u16,
        wish: Option<u32>,
        now_ms: u64,
    ) {
        let join = Join {
            name,
            protocol,
            wish: wish.map(IslandId),
            entrant: None,
            deadline_ms: now_ms + JOIN_WAIT_MS,
            obstacle: RejectCode::StoreAway,
        };
        self.waiting.insert(request, join);
    }

    pub(super) fn get(&self, request: RequestNo) -> Option<&Join> {
        self.waiting.get(&request)
    }

    pub(super) fn get_mut(&mut self, request: RequestNo) -> Option<&mut Join> {
        self.waiting.get_mut(&request)
    }

    /// Those of `requests` that wait still.
    pub(super) fn still(&self, mut requests: Vec<RequestNo>) -> Vec<RequestNo> {
        requests.retain(|request| self.waiting.contains_key(request));
        requests
    }

    pub(super) fn remove(&mut self, request: RequestNo) -> Option<Join> {
        self.waiting.remove(&request)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (RequestNo, &Join)> {
        self.waiting.iter().map(|(request, join)| (*request, join))
    }

    /// Joins past their deadline; numbers rise with time, so the oldest come first.
    pub(super) fn overdue(&self, now_ms: u64) -> Vec<(RequestNo, RejectCode)> {
        let over = self.waiting.iter().take_while(|(_, join)| join.deadline_ms <= now_ms);
        over.map(|(request, join)| (*request, join.obstacle)).collect()
    }
}
