//! One transfer, from pending to cleared. Part of the executor.
//!
//! The steps are `rules::transfer`'s; here is the order in which things are read. The fence of the deciding partition
//! is read before the sender is seen to hold the transfer, and a node that read it before its own debit was committed
//! needs no second look.
//!
//! What is read may be ahead of what is safe: a commit that another node still waits for can be lost. So what this node
//! didn't do itself is *proven* before a step rests on it: by a commit of the same partition that changes nothing and
//! demands that it is still so. Once that is done, so is what it saw.

use super::commit::{LEDGER_SCHEMA, LedgerRecord, commit_of, is_suspended, show, touched, with_ledger};
use super::limits::{CARRIES_MAX, RETRY_MS};
use super::{Ask, Executor, Key, Port};
use crate::rules::documents::Doc;
use crate::rules::transfer::{
    Cleared, Decision, Fence, Settled, Transfer, clear, clear_reads, settle, settle_reads,
};
use crate::rules::{CommitSet, DocName, Partition, TransferId, View};
use chunk_sync::store::{Commit, CommitOutcome, Refusal, StoreAnswer, StoreFault, StoreOp};
use std::collections::{BTreeMap, BTreeSet};

/// A step that the store has yet to answer.
#[derive(Debug)]
struct Underway {
    set: CommitSet,
    commit: Commit,
    on: On,
    resting: bool,
    /// What it rests on was read before a change of master: once it is answered, the fence is read anew.
    doubted: bool,
}

/// What a step is, and what it rests on.
#[derive(Clone, Debug)]
enum On {
    /// It settles behind this fence.
    Fence(Fence),
    /// It clears what was decided so.
    Decision(Decision),
    /// It proves that the transfer is pending; the fence was read before.
    Pending(Fence),
    /// It proves the decision.
    Decided(Decision),
    /// It proves that the transfer is cleared, so that the decision of this partition can be forgotten.
    Gone(Partition, Decision),
}

#[derive(Debug)]
enum At {
    /// Somebody saw it pending: its sender is read.
    Found(u64),
    /// Somebody saw its decision at this partition: that is read.
    FoundDecided(Partition, u64),
    /// The fence of the decider is to be read.
    Fence,
    /// Whether it is pending is to be seen in a reading of at least this number.
    Look(Fence, u64),
    /// The decider is to be asked.
    Judge(Fence),
    /// A step is on its way to the store.
    Commit(Box<Underway>),
    /// The decider waits for transfers of its own.
    Parked(Fence),
    /// It is decided; whether it is pending still is to be seen in a reading of at least this number.
    LookDecided(Partition, Decision, u64),
    /// It is decided, and to be cleared.
    Clear(Decision),
}

/// A transfer on its way.
#[derive(Debug)]
pub(super) struct Carry {
    /// Unknown until its sender was read.
    transfer: Option<Transfer>,
    /// That it was sent is safe.
    sent: bool,
    /// What was decided is safe.
    decided: bool,
    at: At,
    timer_ms: u64,
}

impl Carry {
    /// One that somebody found; it is believed once it is seen in a reading of at least number `min`.
    pub(super) fn found(decided: Option<Partition>, min: u64) -> Self {
        let at = match decided {
            Some(partition) => At::FoundDecided(partition, min),
            None => At::Found(min),
        };
        Self { transfer: None, sent: false, decided: false, at, timer_ms: 0 }
    }

    /// What was read of fences may have been lost: that begins anew.
    pub(super) fn doubt(&mut self) {
        match &mut self.at {
            At::Look(..) | At::Judge(_) | At::Parked(_) => self.at = At::Fence,
            At::Commit(underway) => underway.doubted = true,
            _ => (),
        }
    }
}

/// What a step leads to.
enum Turn {
    /// It goes on at once.
    More(At),
    /// It goes on when something comes.
    Wait(At),
    /// It is cleared, or was never there.
    End,
}

impl Executor {
    /// Sends a transfer on its way that a commit of this node left pending; with the fence of its decider, if that was
    /// read before the commit was sent. One that an act waits for always goes: acts have a limit of their own.
    pub(super) fn carry(&mut self, id: TransferId, transfer: Transfer, fence: Option<Fence>) {
        let has_room = self.carries.len() < CARRIES_MAX || self.awaiting.contains_key(&id);
        if !has_room && !self.carries.contains_key(&id) {
            return;
        }
        let at = fence.map_or(At::Fence, At::Judge);
        let fresh = Carry { transfer: Some(transfer), sent: true, decided: false, at, timer_ms: 0 };
        self.carries.entry(id).or_insert(fresh);
        self.runnable.insert(Key::Carry(id));
    }

    pub(super) fn step_carry(&mut self, id: TransferId, port: &mut dyn Port) {
        let Some(mut carry) = self.carries.remove(&id) else { return };
        let mut at = std::mem::replace(&mut carry.at, At::Fence);
        loop {
            match self.carry_on(id, &mut carry, at, port) {
                Turn::More(next) => at = next,
                Turn::Wait(next) => {
                    carry.at = next;
                    return self.rest(id, carry, port);
                }
                Turn::End => {
                    self.counters.carried += 1;
                    return self.ended_unseen(id);
                }
            }
        }
    }

    fn rest(&mut self, id: TransferId, mut carry: Carry, port: &dyn Port) {
        let now_ms = port.now_ms();
        let resting = matches!(&carry.at, At::Commit(underway) if underway.resting);
        if resting && carry.timer_ms <= now_ms {
            carry.timer_ms = now_ms + RETRY_MS;
            self.later(carry.timer_ms, Key::Carry(id));
        }
        self.carries.insert(id, carry);
    }

    fn carry_on(&mut self, id: TransferId, carry: &mut Carry, at: At, port: &mut dyn Port) -> Turn {
        let key = Key::Carry(id);
        let from = id.sent_by();
        match at {
            At::Found(min) => {
                if !self.is_ready(from, min, key, port) {
                    return Turn::Wait(At::Found(min));
                }
                carry.transfer = self.pending(from, id).unwrap_or_default();
                if carry.transfer.is_some() { Turn::More(At::Fence) } else { Turn::End }
            }
            At::FoundDecided(partition, min) => self.look_at_decision(id, partition, min, port),
            At::LookDecided(to, decision, min) => {
                if !self.is_ready(from, min, key, port) {
                    return Turn::Wait(At::LookDecided(to, decision, min));
                }
                match self.pending(from, id) {
                    Ok(Some(transfer)) => {
                        carry.transfer = Some(transfer);
                        if carry.decided {
                            return Turn::More(At::Clear(decision));
                        }
                        self.prove(id, (to, DocName::In(id)), On::Decided(decision), port)
                    }
                    Ok(None) => self.prove(id, (from, DocName::Out(id)), On::Gone(to, decision), port),
                    // It is there, whatever it says: nothing may be forgotten of it.
                    Err(_) => Turn::End,
                }
            }
            At::Fence => self.find_fence(carry, key, port),
            At::Look(fence, min) => {
                if !self.is_ready(from, min, key, port) {
                    return Turn::Wait(At::Look(fence, min));
                }
                match self.pending(from, id) {
                    Ok(Some(_)) if carry.sent => Turn::More(At::Judge(fence)),
                    Ok(Some(_)) => self.prove(id, (from, DocName::Out(id)), On::Pending(fence), port),
                    Ok(None) | Err(_) => Turn::End,
                }
            }
            At::Judge(fence) | At::Parked(fence) => self.judge(id, carry, fence, port),
            At::Commit(mut underway) => {
                if underway.resting && port.now_ms() >= carry.timer_ms {
                    underway.resting = false;
                    if underway.set.writes.is_empty() {
                        // What changes nothing could be done a second time, long after the first: under another name.
                        underway.commit.token = port.token();
                    }
                    port.send(Ask::Commit(key), StoreOp::Commit(underway.commit.clone()));
                }
                Turn::Wait(At::Commit(underway))
            }
            At::Clear(decision) => self.clear(id, carry, decision, port),
        }
    }

    fn find_fence(&mut self, carry: &Carry, key: Key, port: &mut dyn Port) -> Turn {
        let Some(to) = carry.transfer.as_ref().map(|transfer| transfer.to) else { return Turn::End };
        if !self.is_ready(to, 0, key, port) {
            return Turn::Wait(At::Fence);
        }
        match self.read_fence(to) {
            Ok(Some(fence)) => Turn::More(At::Look(fence, self.next_reading())),
            Ok(None) => Turn::Wait(At::Fence),
            // Left as it is: somebody has to look at it.
            Err(_) => Turn::End,
        }
    }

    /// What a partition remembers of a transfer whose decision was seen there.
    fn look_at_decision(&mut self, id: TransferId, at: Partition, min: u64, port: &mut dyn Port) -> Turn {
        if !self.is_ready(at, min, Key::Carry(id), port) {
            return Turn::Wait(At::FoundDecided(at, min));
        }
        let name = DocName::In(id);
        let document = self.replicas.get(&at).and_then(|replica| replica.doc(&name.to_string()));
        let Some(document) = document else { return Turn::End };
        let Ok(Doc::In(decision)) = Doc::unpack(name, &document.value) else {
            self.counters.faults += 1;
            return Turn::End;
        };
        // Read from here on: what is not pending then was cleared.
        Turn::More(At::LookDecided(at, decision, self.next_reading()))
    }

    fn judge(&mut self, id: TransferId, carry: &Carry, before: Fence, port: &mut dyn Port) -> Turn {
        let Some(transfer) = &carry.transfer else { return Turn::End };
        let (to, key) = (transfer.to, Key::Carry(id));
        if !self.is_ready(to, 0, key, port) {
            return Turn::Wait(At::Judge(before));
        }
        let Some(view) = self.show_all(to, settle_reads(id, transfer)) else { return Turn::End };
        match settle(&view, id, transfer, before, port.tick()) {
            Ok(Settled::Commit(set)) => self.send_step(id, set, On::Fence(before), port),
            Ok(Settled::Decided(decision)) if carry.decided => {
                self.decided(id, decision.refused);
                Turn::More(At::Clear(decision))
            }
            Ok(Settled::Decided(decision)) => {
                self.prove(id, (to, DocName::In(id)), On::Decided(decision), port)
            }
            Ok(Settled::Waiting) => {
                if let Some(replica) = self.replicas.get_mut(&to) {
                    replica.waiters.insert(key);
                }
                Turn::Wait(At::Parked(before))
            }
            Ok(Settled::Stale) => {
                // The fence that is here moved: look again, from the beginning.
                Turn::More(At::Fence)
            }
            Err(_) => {
                self.counters.faults += 1;
                Turn::End
            }
        }
    }

    fn clear(&mut self, id: TransferId, carry: &Carry, decision: Decision, port: &mut dyn Port) -> Turn {
        let Some(transfer) = &carry.transfer else { return Turn::End };
        let (from, to) = (transfer.from, transfer.to);
        if !self.is_ready(from, 0, Key::Carry(id), port) {
            return Turn::Wait(At::Clear(decision));
        }
        let Some(view) = self.show_all(from, clear_reads(id, transfer)) else { return Turn::End };
        match clear(&view, id, from, &decision, port.tick()) {
            Ok(Cleared::Commit(set)) => self.send_step(id, set, On::Decision(decision), port),
            // As it is known here, which may be from before it was sent: only a reading that begins now tells.
            Ok(Cleared::Already) => Turn::More(At::LookDecided(to, decision, self.next_reading())),
            Err(_) => {
                self.counters.faults += 1;
                Turn::End
            }
        }
    }

    /// Documents of one partition as a view; `None` when one can't be read.
    pub(super) fn show_all(&mut self, partition: Partition, names: BTreeSet<DocName>) -> Option<View> {
        let replica = self.replicas.get(&partition)?;
        let mut view = View::default();
        for name in names {
            if show(&mut view, partition, replica, name).is_err() {
                self.counters.faults += 1;
                return None;
            }
        }
        Some(view)
    }

    /// Makes sure of a document that was read: the store is asked to do nothing if it is so.
    fn prove(
        &mut self,
        id: TransferId,
        (at, name): (Partition, DocName),
        on: On,
        port: &mut dyn Port,
    ) -> Turn {
        let back = self.back_from(on.clone());
        if !self.is_ready(at, 0, Key::Carry(id), port) {
            return Turn::Wait(back);
        }
        let is_there = self.replicas.get(&at).is_some_and(|replica| replica.doc(&name.to_string()).is_some());
        if is_there == matches!(on, On::Gone(..)) {
            return Turn::More(back);
        }
        let (writes, events, ledger) = (BTreeMap::new(), Vec::new(), Vec::new());
        let set = CommitSet { partition: at, reads: BTreeSet::from([name]), writes, events, ledger };
        self.send_step(id, set, on, port)
    }

    /// Where a step that could not be done leaves its transfer.
    fn back_from(&self, on: On) -> At {
        match on {
            On::Fence(fence) => At::Judge(fence),
            On::Decision(decision) => At::Clear(decision),
            On::Pending(fence) => At::Look(fence, self.next_reading()),
            On::Decided(_) => At::Found(self.next_reading()),
            On::Gone(to, decision) => At::LookDecided(to, decision, self.next_reading()),
        }
    }

    fn send_step(&mut self, id: TransferId, set: CommitSet, on: On, port: &mut dyn Port) -> Turn {
        let key = Key::Carry(id);
        let back = self.back_from(on.clone());
        if self.is_locked(set.partition, &touched(&set), key) {
            return Turn::Wait(back);
        }
        let Some(replica) = self.replicas.get(&set.partition) else { return Turn::Wait(back) };
        let mut commit = commit_of(&set, replica, port.token());
        if !set.ledger.is_empty() {
            let lines = set.ledger.clone();
            let record = LedgerRecord { v: LEDGER_SCHEMA, tick: port.tick().0, act: None, lines };
            commit = with_ledger(commit, &record);
        }
        self.lock(set.partition, key, set.writes.keys().copied().collect());
        port.send(Ask::Commit(key), StoreOp::Commit(commit.clone()));
        Turn::Wait(At::Commit(Box::new(Underway { set, commit, on, resting: false, doubted: false })))
    }

    pub(super) fn carry_answered(&mut self, id: TransferId, answer: StoreAnswer, port: &mut dyn Port) {
        let Some(mut carry) = self.carries.remove(&id) else { return };
        let At::Commit(mut underway) = std::mem::replace(&mut carry.at, At::Fence) else {
            self.carries.insert(id, carry);
            return;
        };
        let (partition, key) = (underway.set.partition, Key::Carry(id));
        self.unlock(partition, key);
        match answer {
            StoreAnswer::Committed(CommitOutcome::Done { token, previous, .. }) => {
                let event = underway.commit.events.first().cloned().unwrap_or_default();
                self.committed(partition, (previous, token), event, port);
                self.step_done(id, carry, *underway, port);
            }
            StoreAnswer::Committed(CommitOutcome::Refused(refusal)) => {
                self.step_refused(id, carry, *underway, &refusal, port);
            }
            // No store takes it, however often: somebody has to look at it.
            StoreAnswer::Failed(StoreFault::Invalid(_)) => {
                self.counters.faults += 1;
                self.ended_unseen(id);
            }
            StoreAnswer::Failed(_) => {
                underway.resting = true;
                carry.at = At::Commit(underway);
                carry.timer_ms = 0;
                self.rest(id, carry, port);
            }
            _ => self.counters.faults += 1,
        }
    }

    fn step_done(&mut self, id: TransferId, mut carry: Carry, underway: Underway, port: &mut dyn Port) {
        for (name, doc) in &underway.set.writes {
            if let (DocName::Out(sent), Some(Doc::Out(transfer))) = (name, doc) {
                self.carry(*sent, transfer.clone(), None);
            }
            if let (DocName::In(other), Some(Doc::In(decision))) = (name, doc) {
                // Also one that a step decides for another: that of a site whose last chunk agreed.
                self.decided(*other, decision.refused);
            }
        }
        carry.at = match underway.on {
            On::Fence(fence) => {
                carry.decided |= underway.set.writes.contains_key(&DocName::In(id));
                if underway.doubted { At::Fence } else { At::Judge(fence) }
            }
            On::Pending(fence) => {
                carry.sent = true;
                if underway.doubted { At::Fence } else { At::Judge(fence) }
            }
            On::Decided(decision) => {
                carry.decided = true;
                self.decided(id, decision.refused);
                At::Clear(decision)
            }
            On::Decision(decision) => {
                let to = carry.transfer.as_ref().map(|transfer| transfer.to);
                return self.cleared(id, to, decision, port);
            }
            On::Gone(to, decision) => return self.cleared(id, Some(to), decision, port),
        };
        self.carries.insert(id, carry);
        self.runnable.insert(Key::Carry(id));
    }

    /// It is cleared for good; what was decided can be forgotten.
    fn cleared(&mut self, id: TransferId, to: Option<Partition>, decision: Decision, port: &dyn Port) {
        self.decided(id, decision.refused);
        self.counters.carried += 1;
        if let Some(to) = to {
            self.forget_later(to, id, decision, port);
        }
    }

    fn step_refused(
        &mut self,
        id: TransferId,
        mut carry: Carry,
        underway: Underway,
        refusal: &Refusal,
        port: &mut dyn Port,
    ) {
        self.counters.conflicts += 1;
        carry.at = self.back_from(underway.on);
        if is_suspended(refusal) {
            self.is_old(underway.set.partition);
        }
        if is_suspended(refusal) || !matches!(refusal, Refusal::Conflict { .. }) {
            // No room in the partition, its index or the ledger, or the chunk is in an archive: it waits until that ends.
            carry.timer_ms = port.now_ms() + RETRY_MS;
            self.later(carry.timer_ms, Key::Carry(id));
            self.carries.insert(id, carry);
            return;
        }
        self.is_old(underway.set.partition);
        self.carries.insert(id, carry);
        self.runnable.insert(Key::Carry(id));
    }
}
