//! A player's client: numbers its acts, asks again what was not answered when it comes back, remembers what it heard.

use super::town::ISLAND;
use chunk_sync::ids::{Epoch, PlayerId};
use chunk_sync::place::Place;
use chunk_sync::time::Tick;
use chunk_sync::wire::ActNumber;
use std::collections::BTreeMap;
use world_node::executor::{NewAct, Verdict, number_of};
use world_node::rules::{ActId, Action, Actor};

/// Where a player's session is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Session {
    pub(super) node: usize,
    pub(super) epoch: Epoch,
}

/// What a client knows of one of its acts.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) id: ActId,
    pub(super) action: Action,
    /// It waits, as the client was told.
    pub(super) waiting: bool,
    /// How it ended.
    pub(super) verdict: Option<Verdict>,
}

pub(super) struct Client {
    pub(super) player: PlayerId,
    pub(super) session: Option<Session>,
    /// The epoch that the store gave out last.
    pub(super) epoch: Epoch,
    /// It wants to come in at this node.
    pub(super) enters: Option<usize>,
    pub(super) acts: BTreeMap<ActNumber, Asked>,
    next: u64,
}

impl Client {
    pub(super) fn new(player: PlayerId) -> Self {
        Self { player, session: None, epoch: Epoch(0), enters: None, acts: BTreeMap::new(), next: 1 }
    }

    /// A new act of the session.
    pub(super) fn ask(&mut self, action: Action) -> Option<ActNumber> {
        let session = self.session?;
        let id = ActId { player: self.player, epoch: session.epoch, island: ISLAND, act: self.next };
        self.next += 1;
        let number = number_of(id);
        self.acts.insert(number, Asked { id, action, waiting: false, verdict: None });
        Some(number)
    }

    pub(super) fn open(&self) -> Vec<ActNumber> {
        let open = self.acts.iter().filter(|(_, asked)| asked.verdict.is_none());
        open.map(|(number, _)| *number).collect()
    }

    /// All acts up to this one are answered; all of earlier sessions, for all that a client knows which has none.
    fn answered(&self) -> ActNumber {
        match self.open().first() {
            Some(first) => ActNumber(first.0 - 1),
            None => self.acts.last_key_value().map_or(ActNumber::new(self.epoch, 0), |(number, _)| *number),
        }
    }

    /// An act as its session's node hears of it.
    pub(super) fn said(&self, number: ActNumber, place: Place) -> Option<NewAct> {
        let (session, asked) = (self.session?, &self.acts[&number]);
        let actor = Actor {
            player: self.player,
            epoch: session.epoch,
            act: asked.id,
            island: ISLAND,
            home: ISLAND,
            place,
            tick: Tick(0),
        };
        Some(NewAct { actor, action: asked.action.clone(), answered: self.answered() })
    }
}
