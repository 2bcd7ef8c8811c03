//! One act, from the player's word to the answer. Part of the executor.
//!
//! What an act's home remembers comes first: of an act that may have been done before (its player asks again after a
//! lost session) the home is asked before anything is decided, and a refusal of such an act is itself remembered, so
//! that an older node which still has the act under way can't do it after all.

mod answered;
mod ending;

use super::commit::{ActResult, LEDGER_SCHEMA, LedgerRecord, commit_of, guarded, show, touched, unreadable};
use super::limits::{ACT_AGAIN_MS_MAX, RETRY_MS, SAY_WAITING_MS};
use super::{Answer, Ask, Executor, Key, Port, key_of, number_of};
use crate::rules::documents::Doc;
use crate::rules::transfer::{FENCE_READS, Fence, Transfer, fence};
use crate::rules::view::Presence;
use crate::rules::{
    ActId, Action, Actor, DocName, Effects, Event, Partition, RuleReject, TransferId, View, decide, home,
    reads,
};
use bytes::Bytes;
use chunk_sync::ids::{Epoch, IslandId, PlayerId};
use chunk_sync::limits::ACT_WAIT_MS;
use chunk_sync::records::{DOC_SUSPENDED, EPOCH_SESSION, encode};
use chunk_sync::store::{Act, Commit, EpochStep, StoreOp};
use chunk_sync::wire::{ActNumber, RejectCode};

/// What a player wants done.
#[derive(Clone, Debug)]
pub struct NewAct {
    /// Who, where, in which session; the tick is filled in when it is decided.
    pub actor: Actor,
    /// What.
    pub action: Action,
    /// The player has the answers to all acts up to this one.
    pub answered: ActNumber,
}

/// What came of an act.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is done; the player set out for this island just now, if it was a journey.
    Done(Option<IslandId>),
    /// It came to nothing.
    Refused(Why),
    /// It is over; what came of it nobody remembers.
    Over,
    /// The store has yet to tell; another verdict follows.
    Waiting,
    /// The session that asked isn't the player's any more.
    Fenced,
}

/// Why an act came to nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// The game says no.
    Rule(RuleReject),
    /// The server can't.
    Host(RejectCode),
}

impl Why {
    /// Stable number, stable label, a sentence for the player.
    pub fn words(self) -> (u16, &'static str, &'static str) {
        match self {
            Why::Rule(reject) => (reject.code(), reject.label(), reject.text()),
            Why::Host(code) => (code as u16, code.label(), code.text()),
        }
    }

    fn from_code(code: u16) -> Option<Why> {
        RuleReject::from_code(code).map(Why::Rule).or_else(|| RejectCode::from_code(code).map(Why::Host))
    }
}

/// A commit that the store has yet to answer.
#[derive(Debug)]
struct Underway {
    commit: Commit,
    /// What it does; nothing when only a refusal is to be remembered, or memory is asked.
    effects: Option<Effects>,
    result: ActResult,
    fence: Option<Fence>,
    /// The store didn't answer an earlier sending: it may be done.
    unknown: bool,
    /// It is not on its way now, but waits to be sent again.
    resting: bool,
    /// It changes nothing, and only makes sure of an estate that was read.
    proves: bool,
}

#[derive(Debug)]
enum Stage {
    /// The memory of its home is to be asked.
    Ask,
    /// To be decided on readings of at least this number, where nothing keeps a partition current.
    Read(u64),
    /// On its way to the store.
    Commit(Box<Underway>),
    /// Done; it ends when its transfer is decided.
    Carried,
    /// Done, as memory says; whether its transfer has ended is seen in a reading of its home of at least this number.
    Recalled(ActResult, u64),
    /// Done; it ends when the estate of its home has this version everywhere.
    Settling(ActId, u32),
}

/// An act that is under way.
#[derive(Debug)]
pub(super) struct OpenAct {
    actor: Actor,
    action: Action,
    answered: ActNumber,
    stage: Stage,
    /// It may have been done before.
    again: bool,
    tries: u32,
    begun_ms: u64,
    said_waiting: bool,
    /// When it is looked at again whatever comes; 0 when no timer runs.
    timer_ms: u64,
}

impl NewAct {
    /// Whether it may have been done before: it was asked for in an earlier session.
    pub(super) fn is_again(&self) -> bool {
        self.actor.act.epoch < self.actor.epoch
    }
}

impl OpenAct {
    pub(super) fn new(act: NewAct, reading: u64, now_ms: u64) -> Self {
        let again = act.is_again();
        Self {
            actor: act.actor,
            action: act.action,
            answered: act.answered,
            stage: if again { Stage::Ask } else { Stage::Read(reading + 1) },
            again,
            tries: 0,
            begun_ms: now_ms,
            said_waiting: false,
            timer_ms: 0,
        }
    }

    /// A later session asks for the same act.
    pub(super) fn asked_by(&mut self, epoch: Epoch) {
        self.again |= epoch > self.actor.epoch;
        self.actor.epoch = self.actor.epoch.max(epoch);
        self.said_waiting = false;
    }

    /// Whether nothing of it was sent to the store for the session of `epoch`.
    pub(super) fn is_idle(&self, epoch: Epoch) -> bool {
        self.actor.epoch == epoch && matches!(self.stage, Stage::Ask | Stage::Read(_))
    }

    /// What was read of fences may have been lost.
    pub(super) fn doubt(&mut self) {
        if let Stage::Commit(underway) = &mut self.stage {
            underway.fence = None;
        }
    }

    /// Whether it was asked for in an earlier session.
    fn is_resent(&self) -> bool {
        self.actor.act.epoch < self.actor.epoch
    }

    /// Whether it has waited for as long as an act may.
    fn has_waited(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.begun_ms) > ACT_WAIT_MS
    }

    fn home(&self) -> Partition {
        home(self.actor.act, &self.action)
    }

    /// How it ends when its home is in an archive, and with it the memory of what was done there.
    fn suspended(&self) -> Turn {
        if self.again {
            Turn::End(Verdict::Over)
        } else {
            Turn::End(Verdict::Refused(Why::Host(RejectCode::NoIsland)))
        }
    }

    fn store_act(&self, result: &ActResult) -> Act {
        let id = number_of(self.actor.act).0;
        Act {
            actor: self.actor.player.0,
            session_epoch: self.actor.epoch.0,
            id,
            confirmed: self.answered.0.min(id - 1),
            result: Bytes::from(encode(result)),
        }
    }

    /// What an act's commit says besides what it does: who, once, for which session, until when.
    fn dress(&self, commit: Commit, result: &ActResult) -> Commit {
        let commit = commit.act(self.store_act(result));
        match self.home() {
            Partition::Player(player) if player == self.actor.player => {
                let value = u64::from(self.actor.epoch.0);
                commit.epoch(EpochStep::Require { name: EPOCH_SESSION.into(), value })
            }
            _ => commit,
        }
    }
}

/// What a step of an act leads to.
enum Turn {
    /// It goes on when something comes.
    Wait,
    /// It has ended.
    End(Verdict),
}

type ActKey = (PlayerId, ActNumber);

impl Executor {
    pub(super) fn step_act(&mut self, key: ActKey, port: &mut dyn Port) {
        let Some(mut act) = self.acts.remove(&key) else { return };
        let turn = match &act.stage {
            Stage::Ask => self.ask_memory(&mut act, port),
            Stage::Read(_) => self.try_act(&mut act, port),
            Stage::Commit(_) => self.send_again(&mut act, port),
            Stage::Carried => Turn::Wait,
            Stage::Recalled(..) => self.recall(&mut act, port),
            Stage::Settling(estate, version) => {
                let named = (*estate, *version);
                self.look_at_estate(&mut act, named, port)
            }
        };
        self.go_on(key, act, turn, port);
    }

    fn go_on(&mut self, key: ActKey, mut act: OpenAct, turn: Turn, port: &mut dyn Port) {
        match turn {
            Turn::Wait => {
                let waited_ms = port.now_ms().saturating_sub(act.begun_ms);
                if waited_ms >= SAY_WAITING_MS && !act.said_waiting {
                    act.said_waiting = true;
                    self.say(key, act.actor.epoch, Verdict::Waiting);
                }
                self.set_timer(key, &mut act, port.now_ms());
                self.acts.insert(key, act);
            }
            Turn::End(verdict) => {
                match verdict {
                    Verdict::Done(_) => self.counters.done += 1,
                    Verdict::Refused(_) => self.counters.refused += 1,
                    Verdict::Over => self.counters.over += 1,
                    Verdict::Waiting | Verdict::Fenced => (),
                }
                self.say(key, act.actor.epoch, verdict);
            }
        }
    }

    /// One timer runs for an act, the earliest that it needs.
    fn set_timer(&mut self, key: ActKey, act: &mut OpenAct, now_ms: u64) {
        if act.timer_ms <= now_ms {
            act.timer_ms = 0;
        }
        let rests = matches!(&act.stage, Stage::Commit(underway) if underway.resting);
        let due_ms = if rests || act.said_waiting { now_ms + RETRY_MS } else { now_ms + SAY_WAITING_MS };
        if act.timer_ms == 0 || due_ms < act.timer_ms {
            act.timer_ms = due_ms;
            self.later(due_ms, Key::Act(key.0, key.1));
        }
    }

    fn say(&mut self, (player, number): ActKey, epoch: Epoch, verdict: Verdict) {
        self.answers.push(Answer { player, epoch, number, verdict });
    }

    /// Asks the home whether it remembers the act, by a commit that can't be done.
    fn ask_memory(&mut self, act: &mut OpenAct, port: &mut dyn Port) -> Turn {
        let result = ActResult::default();
        let commit = Commit::new(key_of(act.home()), port.token());
        let commit = commit.act(act.store_act(&result)).not_after(0);
        self.send_commit(act, Underway::new(commit, None, result, None), port)
    }

    fn send_commit(&mut self, act: &mut OpenAct, underway: Underway, port: &mut dyn Port) -> Turn {
        let key = Key::Act(act.actor.player, number_of(act.actor.act));
        port.send(Ask::Commit(key), StoreOp::Commit(underway.commit.clone()));
        act.stage = Stage::Commit(Box::new(underway));
        Turn::Wait
    }

    /// A commit whose answer didn't come is sent again as it was.
    fn send_again(&mut self, act: &mut OpenAct, port: &mut dyn Port) -> Turn {
        let key = Key::Act(act.actor.player, number_of(act.actor.act));
        if let Stage::Commit(underway) = &mut act.stage
            && underway.resting
        {
            underway.resting = false;
            if underway.proves {
                // What changes nothing could be done a second time, long after the first: under another name.
                underway.commit.token = port.token();
            }
            port.send(Ask::Commit(key), StoreOp::Commit(underway.commit.clone()));
        }
        Turn::Wait
    }

    /// Decides the act, if everything that its rule wants to know is here.
    fn try_act(&mut self, act: &mut OpenAct, port: &mut dyn Port) -> Turn {
        let Stage::Read(min) = act.stage else { return Turn::Wait };
        let key = Key::Act(act.actor.player, number_of(act.actor.act));
        if act.has_waited(port.now_ms()) && !act.again {
            return Turn::End(Verdict::Refused(Why::Host(RejectCode::StoreAway)));
        }
        if act.again && port.now_ms().saturating_sub(act.begun_ms) > ACT_AGAIN_MS_MAX {
            return Turn::End(Verdict::Over);
        }
        act.actor.tick = port.tick();
        let view = match self.view_for(act, min, key, port) {
            Ok(Some(view)) => view,
            Ok(None) => return Turn::Wait,
            Err(why) => return self.refuse(act, Why::Rule(why), port),
        };
        if self.is_suspended(act.home()) {
            return act.suspended();
        }
        if let Action::Travel { island } = act.action
            && !port.takes_travellers(island, act.actor.home)
        {
            return self.refuse(act, Why::Rule(RuleReject::NoJourney), port);
        }
        let effects = match decide(&act.actor, &act.action, &view) {
            Ok(effects) => effects,
            Err(why) => return self.refuse(act, Why::Rule(why), port),
        };
        let fence = match self.fence_for(&effects, min, key, port) {
            Ok(Some(fence)) => fence,
            Ok(None) => return Turn::Wait,
            Err(why) => return self.refuse(act, why, port),
        };
        let home = effects.commit.partition;
        if self.is_locked(home, &touched(&effects.commit), key) {
            return Turn::Wait;
        }
        let Some(replica) = self.replicas.get(&home) else { return Turn::Wait };
        let result = result_of(act, &effects);
        let mut commit = act.dress(commit_of(&effects.commit, replica, port.token()), &result);
        // Who resends may have an older node at work on the same: the store's memory of acts keeps them apart.
        commit.not_after_ms = port.act_deadline_ms();
        if !effects.commit.ledger.is_empty() {
            let lines = effects.commit.ledger.clone();
            let record =
                LedgerRecord { v: LEDGER_SCHEMA, tick: port.tick().0, act: Some(act.actor.act), lines };
            commit = super::commit::with_ledger(commit, &record);
        }
        self.lock(home, key, effects.commit.writes.keys().copied().collect());
        self.send_commit(act, Underway::new(commit, Some(effects), result, fence), port)
    }

    /// What the rule of an act wants to know; `None` while something is being read.
    fn view_for(
        &mut self,
        act: &OpenAct,
        min: u64,
        key: Key,
        port: &mut dyn Port,
    ) -> Result<Option<View>, RuleReject> {
        let declared = reads(&act.actor, &act.action);
        let mut ready = self.is_fit(act.home(), min, key, port);
        for partition in declared.docs.keys() {
            ready &= self.is_fit(*partition, min, key, port);
        }
        if !ready {
            return Ok(None);
        }
        let mut view = View::default();
        for (partition, names) in &declared.docs {
            let Some(replica) = self.replicas.get(partition) else { return Ok(None) };
            for name in names {
                show(&mut view, *partition, replica, *name).map_err(|error| {
                    self.counters.faults += 1;
                    unreadable(&error)
                })?;
            }
        }
        for player in &declared.players {
            if let Some(place) = port.place_of(act.actor.island, act.actor.place, *player) {
                view.players.push(Presence { player: *player, place });
            }
        }
        for partition in &declared.land {
            let Partition::Chunk(island, chunk) = partition else { return Err(RuleReject::NotThere) };
            let land = port.land(*island, *chunk).ok_or(RuleReject::NotThere)?;
            view.land.insert(*partition, land);
        }
        Ok(Some(view))
    }

    /// Whether a partition can be read here: kept current, or read since the act began.
    fn is_fit(&mut self, partition: Partition, min: u64, key: Key, port: &mut dyn Port) -> bool {
        let followed = self.replicas.get(&partition).is_some_and(|replica| replica.followed);
        self.is_ready(partition, if followed { 0 } else { min }, key, port)
    }

    /// The fence of where an act's transfer goes, read before the act is committed; `None` while it is being read.
    fn fence_for(
        &mut self,
        effects: &Effects,
        min: u64,
        key: Key,
        port: &mut dyn Port,
    ) -> Result<Option<Option<Fence>>, Why> {
        let Some(id) = effects.transfer else { return Ok(Some(None)) };
        let Some(Some(Doc::Out(transfer))) = effects.commit.writes.get(&DocName::Out(id)) else {
            return Err(Why::Rule(RuleReject::Unread));
        };
        if !self.is_fit(transfer.to, min, key, port) {
            return Ok(None);
        }
        if self.is_suspended(transfer.to) {
            return Err(Why::Host(RejectCode::NoIsland));
        }
        self.read_fence(transfer.to).map(Some).map_err(Why::Rule)
    }

    /// Whether a partition's documents are in an archive, as it is known here.
    fn is_suspended(&self, partition: Partition) -> bool {
        self.replicas.get(&partition).is_some_and(|replica| replica.doc(DOC_SUSPENDED).is_some())
    }

    /// The fence of a partition, if it is here.
    pub(super) fn read_fence(&mut self, to: Partition) -> Result<Option<Fence>, RuleReject> {
        let Some(replica) = self.replicas.get(&to).filter(|replica| replica.is_loaded()) else {
            return Ok(None);
        };
        let mut view = View::default();
        for name in FENCE_READS {
            if let Err(error) = show(&mut view, to, replica, name) {
                self.counters.faults += 1;
                return Err(unreadable(&error));
            }
        }
        fence(&view, to).map(Some)
    }

    /// Refuses an act; one that may have been done before only together with its home.
    fn refuse(&mut self, act: &mut OpenAct, why: Why, port: &mut dyn Port) -> Turn {
        if !act.again {
            return Turn::End(Verdict::Refused(why));
        }
        if act.is_resent() && !self.is_worth_remembering(act.home(), port) {
            return Turn::End(Verdict::Over);
        }
        let result = ActResult { refused: Some(why.words().0), ..ActResult::default() };
        let commit = guarded(Commit::new(key_of(act.home()), port.token()), act.home());
        let commit = act.dress(commit, &result);
        // Followers needn't reload for it.
        let commit = commit.event(super::Change::default().pack());
        self.send_commit(act, Underway::new(commit, None, result, None), port)
    }

    /// Whether a refusal may be written where an act has its home. Whoever makes up acts of long ago may name any island
    /// and any trade, and must not fill the store with them.
    fn is_worth_remembering(&self, home: Partition, port: &dyn Port) -> bool {
        match home {
            Partition::Player(_) => true,
            Partition::Chunk(island, _) => port.is_planned(island),
            Partition::Trade(_) => self.replicas.get(&home).is_some_and(|trade| !trade.docs().is_empty()),
        }
    }

    fn decide_anew(&mut self, act: &mut OpenAct, port: &mut dyn Port) -> Turn {
        act.stage = Stage::Read(self.next_reading());
        self.try_act(act, port)
    }

    /// A transfer that is pending at a partition, as it is known here.
    ///
    /// # Errors
    /// `Unread` when something is there that this build can't read.
    pub(super) fn pending(&mut self, at: Partition, id: TransferId) -> Result<Option<Transfer>, RuleReject> {
        let name = DocName::Out(id);
        let document = self.replicas.get(&at).and_then(|replica| replica.doc(&name.to_string()));
        let Some(document) = document else { return Ok(None) };
        match Doc::unpack(name, &document.value) {
            Ok(Doc::Out(transfer)) => Ok(Some(transfer)),
            _ => {
                self.counters.faults += 1;
                Err(RuleReject::Unread)
            }
        }
    }

    /// The store is away, and this partition can't be read: new acts that wait for it are refused at once.
    pub(super) fn refuse_waiting(&mut self, partition: Partition, port: &mut dyn Port) {
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        for key in std::mem::take(&mut replica.waiters) {
            let Key::Act(player, number) = key else {
                self.replicas.entry(partition).or_default().waiters.insert(key);
                continue;
            };
            let is_new = |act: &OpenAct| !act.again && matches!(act.stage, Stage::Read(_));
            match self.acts.remove(&(player, number)) {
                Some(act) if is_new(&act) => {
                    let verdict = Verdict::Refused(Why::Host(RejectCode::StoreAway));
                    self.go_on((player, number), act, Turn::End(verdict), port);
                }
                Some(act) => {
                    self.acts.insert((player, number), act);
                    self.replicas.entry(partition).or_default().waiters.insert(key);
                }
                None => {}
            }
        }
    }
}

impl Underway {
    fn new(commit: Commit, effects: Option<Effects>, result: ActResult, fence: Option<Fence>) -> Self {
        Self { commit, effects, result, fence, unknown: false, resting: false, proves: false }
    }

    /// The session that it was made for.
    fn epoch(&self) -> Epoch {
        Epoch(self.commit.act.as_ref().map_or(0, |act| act.session_epoch))
    }
}

/// What an act's home is to remember of it.
fn result_of(act: &OpenAct, effects: &Effects) -> ActResult {
    let settles = match act.action {
        Action::Permit { estate, .. } | Action::Revoke { estate, .. } => {
            effects.commit.events.iter().find_map(|event| match event {
                Event::Estate { estate: changed, version } if *changed == estate => Some((estate, *version)),
                _ => None,
            })
        }
        _ => None,
    };
    ActResult { refused: None, transfer: effects.transfer, settles }
}
