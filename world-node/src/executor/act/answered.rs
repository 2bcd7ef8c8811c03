//! What the store's answer means for an act: done, decided anew, refused, or still unknown. Part of the executor.

use super::{ActKey, OpenAct, Stage, Turn, Underway, Verdict, Why};
use crate::executor::commit::{ActResult, is_suspended};
use crate::executor::limits::TRIES_MAX;
use crate::executor::{Executor, Key, Port, number_of};
use crate::rules::documents::Doc;
use crate::rules::transfer::Fence;
use crate::rules::{DocName, Effects, Event, RuleReject};
use chunk_sync::ids::IslandId;
use chunk_sync::records::decode;
use chunk_sync::store::{CommitOutcome, Refusal, StoreAnswer, StoreFault, Token};
use chunk_sync::wire::{ActNumber, RejectCode};

impl Executor {
    pub(in crate::executor) fn act_answered(
        &mut self,
        key: ActKey,
        answer: StoreAnswer,
        port: &mut dyn Port,
    ) {
        let Some(mut act) = self.acts.remove(&key) else { return };
        let Stage::Commit(underway) = std::mem::replace(&mut act.stage, Stage::Ask) else {
            self.acts.insert(key, act);
            return;
        };
        // Also when it has to be sent again: nobody else waits for a store that doesn't answer.
        self.unlock(act.home(), Key::Act(key.0, key.1));
        let turn = self.judged(&mut act, *underway, answer, port);
        self.go_on(key, act, turn, port);
    }

    fn judged(
        &mut self,
        act: &mut OpenAct,
        mut underway: Underway,
        answer: StoreAnswer,
        port: &mut dyn Port,
    ) -> Turn {
        let host = |code: RejectCode| Turn::End(Verdict::Refused(Why::Host(code)));
        let refusal = match answer {
            StoreAnswer::Committed(CommitOutcome::Done { token, previous, .. }) => {
                return self.act_done(act, underway, (previous, token), port);
            }
            StoreAnswer::Committed(CommitOutcome::Refused(refusal)) => refusal,
            StoreAnswer::Failed(StoreFault::Full) if !underway.unknown && !act.again => {
                return host(RejectCode::StoreFull);
            }
            StoreAnswer::Failed(StoreFault::Away) if !underway.unknown && !act.again => {
                return host(RejectCode::StoreAway);
            }
            // It may be done, and this store can't tell; nobody waits for it for ever.
            StoreAnswer::Failed(StoreFault::Broken { .. }) if act.has_waited(port.now_ms()) => {
                self.counters.faults += 1;
                return Turn::End(Verdict::Over);
            }
            StoreAnswer::Failed(StoreFault::Invalid(_)) if !underway.unknown => {
                self.counters.faults += 1;
                return host(RejectCode::BadAct);
            }
            fault => {
                underway.unknown |= !matches!(fault, StoreAnswer::Failed(StoreFault::Away));
                underway.resting = true;
                act.stage = Stage::Commit(Box::new(underway));
                return Turn::Wait;
            }
        };
        // A copy of it may still be on its way to the store: a refusal must be remembered there from now on.
        act.again |= underway.unknown;
        self.refused_by_store(act, &underway, refusal, port)
    }

    fn refused_by_store(
        &mut self,
        act: &mut OpenAct,
        underway: &Underway,
        refusal: Refusal,
        port: &mut dyn Port,
    ) -> Turn {
        let host = |code: RejectCode| Turn::End(Verdict::Refused(Why::Host(code)));
        if is_suspended(&refusal) {
            self.is_old(act.home());
            return act.suspended();
        }
        if let Some(named) = underway.result.settles.filter(|_| underway.proves) {
            self.is_old(act.home());
            return self.look_at_estate(act, named, port);
        }
        match refusal {
            Refusal::Repeated { result, .. } => {
                let result = decode::<ActResult>(&result).unwrap_or_default();
                act.stage = Stage::Recalled(result, self.next_reading());
                self.recall(act, port)
            }
            // Memory was asked: the act was never done.
            Refusal::TooLate { .. } if underway.effects.is_none() && underway.result.refused.is_none() => {
                self.decide_anew(act, port)
            }
            Refusal::TooLate { .. } => self.refuse(act, Why::Host(RejectCode::StoreAway), port),
            Refusal::Conflict { .. } => {
                self.counters.conflicts += 1;
                act.tries += 1;
                if act.tries > TRIES_MAX {
                    return self.refuse(act, Why::Host(RejectCode::Contested), port);
                }
                // The home is old here: it is read anew, and the rule asked again.
                self.is_old(act.home());
                self.decide_anew(act, port)
            }
            // A later session has asked than the one that the commit was made for.
            Refusal::EpochMismatch { .. } | Refusal::ActFenced { .. }
                if underway.epoch() < act.actor.epoch =>
            {
                self.ask_memory(act, port)
            }
            Refusal::EpochMismatch { .. } | Refusal::ActFenced { .. } => Turn::End(Verdict::Fenced),
            // A later session, of a client that waits for nothing of earlier ones.
            Refusal::ActForgotten { forgotten } if ActNumber(forgotten).epoch() > act.actor.epoch => {
                Turn::End(Verdict::Fenced)
            }
            Refusal::ActForgotten { .. } if act.again => Turn::End(Verdict::Over),
            Refusal::ActForgotten { .. } => host(RejectCode::ActForgotten),
            Refusal::ActsFull => host(RejectCode::TooManyActs),
            Refusal::LedgerFull => self.refuse(act, Why::Host(RejectCode::StoreFull), port),
            Refusal::PartitionFull | Refusal::IndexFull { .. } => {
                self.refuse(act, Why::Host(RejectCode::NoRoom), port)
            }
            Refusal::LeaseHeld { .. }
            | Refusal::LeaseLost { .. }
            | Refusal::NotExpired { .. }
            | Refusal::StoreYoung => {
                self.counters.faults += 1;
                host(RejectCode::StoreAway)
            }
        }
    }

    /// The commit is done: others are told, its transfer goes on its way.
    fn act_done(
        &mut self,
        act: &mut OpenAct,
        underway: Underway,
        tokens: (Token, Token),
        port: &mut dyn Port,
    ) -> Turn {
        let event = underway.commit.events.first().cloned().unwrap_or_default();
        let home = act.home();
        self.committed(home, tokens, event, port);
        if underway.proves {
            return Turn::End(Verdict::Done(None));
        }
        // A session that began since then began where the journey led.
        let is_its = underway.epoch() == act.actor.epoch;
        let Some(effects) = underway.effects else {
            let why = underway.result.refused.and_then(Why::from_code);
            return Turn::End(Verdict::Refused(why.unwrap_or(Why::Rule(RuleReject::Unread))));
        };
        let key = (act.actor.player, number_of(act.actor.act));
        self.awaiting.extend(effects.transfer.map(|id| (id, key)));
        self.send_off(&effects, underway.fence);
        if effects.transfer.is_some() {
            act.stage = Stage::Carried;
            return Turn::Wait;
        }
        if let Some(named) = underway.result.settles {
            return self.look_at_estate(act, named, port);
        }
        Turn::End(Verdict::Done(journey(&effects).filter(|_| is_its)))
    }

    /// Transfers that a commit left pending go on their way. The one that an act itself sent knows its fence.
    fn send_off(&mut self, effects: &Effects, mut fence: Option<Fence>) {
        for (name, doc) in &effects.commit.writes {
            if let (DocName::Out(id), Some(Doc::Out(transfer))) = (name, doc) {
                let known = if effects.transfer == Some(*id) { fence.take() } else { None };
                self.carry(*id, transfer.clone(), known);
            }
        }
    }
}

/// Where an act's player set out for.
fn journey(effects: &Effects) -> Option<IslandId> {
    effects.commit.events.iter().find_map(|event| match event {
        Event::Travelled { island, .. } => Some(*island),
        _ => None,
    })
}
