//! How an act ends that is done: with its transfer, with its estate's new version, or as it is remembered. Part of the
//! executor.

use super::{OpenAct, Stage, Turn, Underway, Verdict, Why};
use crate::executor::commit::{ActResult, commit_of};
use crate::executor::{Executor, Key, Port, number_of};
use crate::rules::documents::Doc;
use crate::rules::{ActId, CommitSet, DocName, RuleReject, TransferId};
use std::collections::{BTreeMap, BTreeSet};

impl Executor {
    /// What a remembered act came to.
    pub(super) fn recall(&mut self, act: &mut OpenAct, port: &mut dyn Port) -> Turn {
        let Stage::Recalled(result, min) = act.stage else { return Turn::Wait };
        let key = Key::Act(act.actor.player, number_of(act.actor.act));
        if let Some(code) = result.refused {
            let why = Why::from_code(code).unwrap_or(Why::Rule(RuleReject::Unread));
            return Turn::End(Verdict::Refused(why));
        }
        let home = act.home();
        if result.transfer.is_none() && result.settles.is_none() {
            // A journey that is remembered was known when this session began: it leads nowhere any more.
            return Turn::End(Verdict::Done(None));
        }
        if !self.is_ready(home, min, key, port) {
            return Turn::Wait;
        }
        if let Some(named) = result.settles {
            return self.look_at_estate(act, named, port);
        }
        let Some(id) = result.transfer else { return Turn::End(Verdict::Over) };
        match self.pending(home, id) {
            Ok(Some(transfer)) => {
                self.awaiting.insert(id, (act.actor.player, number_of(act.actor.act)));
                self.carry(id, transfer, None);
                act.stage = Stage::Carried;
                Turn::Wait
            }
            Ok(None) | Err(_) => Turn::End(Verdict::Over),
        }
    }

    /// Whether a version of an estate is everywhere, or the estate is gone and with it all that was allowed on it. What
    /// is read may be ahead of what is safe, so the store is asked to do nothing if it is so: then nobody loses it.
    pub(super) fn look_at_estate(
        &mut self,
        act: &mut OpenAct,
        (estate, version): (ActId, u32),
        port: &mut dyn Port,
    ) -> Turn {
        let (home, key) = (act.home(), Key::Act(act.actor.player, number_of(act.actor.act)));
        act.stage = Stage::Settling(estate, version);
        if !self.is_ready(home, 0, key, port) {
            return Turn::Wait;
        }
        let Some(replica) = self.replicas.get_mut(&home) else { return Turn::Wait };
        let document = replica.doc(&DocName::Estate.to_string());
        let record = document.and_then(|document| Doc::unpack(DocName::Estate, &document.value).ok());
        if let Some(Doc::Estate(record)) = record
            && record.id == estate
            && (record.version < version || !record.behind.is_empty())
        {
            replica.waiters.insert(key);
            return Turn::Wait;
        }
        let (writes, events, ledger) = (BTreeMap::new(), Vec::new(), Vec::new());
        let set =
            CommitSet { partition: home, reads: BTreeSet::from([DocName::Estate]), writes, events, ledger };
        let commit = commit_of(&set, replica, port.token());
        let result = ActResult { settles: Some((estate, version)), ..ActResult::default() };
        // It is done: whatever the store says now, nobody may call it refused.
        act.again = true;
        self.send_commit(act, Underway { proves: true, ..Underway::new(commit, None, result, None) }, port)
    }

    /// A transfer was decided: the act that sent it has ended.
    pub(in crate::executor) fn decided(&mut self, id: TransferId, refused: Option<RuleReject>) {
        let Some(key) = self.awaiting.remove(&id) else { return };
        let Some(act) = self.acts.remove(&key) else { return };
        let verdict = match refused {
            None => Verdict::Done(None),
            Some(why) => Verdict::Refused(Why::Rule(why)),
        };
        match verdict {
            Verdict::Done(_) => self.counters.done += 1,
            _ => self.counters.refused += 1,
        }
        self.say(key, act.actor.epoch, verdict);
    }

    /// A transfer ended where nobody here saw how: so did the act that sent it.
    pub(in crate::executor) fn ended_unseen(&mut self, id: TransferId) {
        let Some(key) = self.awaiting.remove(&id) else { return };
        let Some(act) = self.acts.remove(&key) else { return };
        self.counters.over += 1;
        self.say(key, act.actor.epoch, Verdict::Over);
    }
}
