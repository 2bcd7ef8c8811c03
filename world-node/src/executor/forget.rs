//! Decisions whose senders have cleared them are forgotten, several at once. Part of the executor.

use super::commit::commit_of;
use super::limits::{FORGET_AFTER_MS, FORGETS_TOGETHER_MAX, FORGETS_WAITING_MAX, RETRY_MS};
use super::{Ask, Executor, Key, Port};
use crate::rules::transfer::{Decision, FENCE_READS, forget};
use crate::rules::{DocName, Partition, TransferId};
use chunk_sync::store::{Commit, CommitOutcome, StoreAnswer, StoreOp};
use std::collections::BTreeSet;

/// Decisions of one partition that can be forgotten: each was seen before its sender was seen without the transfer.
#[derive(Default, Debug)]
pub(super) struct Forgets {
    decided: Vec<(TransferId, Decision)>,
    /// On its way to the store: how many of the first, and the commit.
    underway: Option<(usize, Commit)>,
    /// Not before.
    due_ms: u64,
}

impl Executor {
    /// Notes that a decision can be forgotten.
    pub(super) fn forget_later(
        &mut self,
        at: Partition,
        id: TransferId,
        decision: Decision,
        port: &dyn Port,
    ) {
        if self.forgets.values().map(|forgets| forgets.decided.len()).sum::<usize>() >= FORGETS_WAITING_MAX {
            return;
        }
        let key = Key::Forget(at);
        let forgets = self.forgets.entry(at).or_default();
        if forgets.decided.iter().any(|(known, _)| *known == id) {
            return;
        }
        forgets.decided.push((id, decision));
        if forgets.decided.len() == 1 {
            forgets.due_ms = port.now_ms() + FORGET_AFTER_MS;
            self.timers.insert((forgets.due_ms, key));
        } else if forgets.decided.len() >= FORGETS_TOGETHER_MAX {
            forgets.due_ms = 0;
            self.runnable.insert(key);
        }
    }

    pub(super) fn step_forget(&mut self, at: Partition, port: &mut dyn Port) {
        let key = Key::Forget(at);
        let Some(forgets) = self.forgets.get(&at) else { return };
        if forgets.underway.is_some() || port.now_ms() < forgets.due_ms {
            return;
        }
        let together = forgets.decided.len().min(FORGETS_TOGETHER_MAX);
        let decided = forgets.decided[..together].to_vec();
        if !self.is_ready(at, 0, key, port) {
            return;
        }
        let names: BTreeSet<DocName> =
            decided.iter().map(|(id, _)| DocName::In(*id)).chain(FENCE_READS).collect();
        if self.is_locked(at, &names, key) {
            return;
        }
        let Some(mut view) = self.show_all(at, names) else {
            self.forgets.remove(&at);
            return;
        };
        for (id, decision) in &decided {
            // Cleared, as was seen after it was decided.
            view.insert(decision.from, DocName::Out(*id), None);
        }
        match forget(&view, at, &decided) {
            Ok(Some(set)) => {
                let Some(replica) = self.replicas.get(&at) else { return };
                let commit = commit_of(&set, replica, port.token());
                self.lock(at, key, set.writes.keys().copied().collect());
                port.send(Ask::Commit(key), StoreOp::Commit(commit.clone()));
                if let Some(forgets) = self.forgets.get_mut(&at) {
                    forgets.underway = Some((together, commit));
                }
            }
            Ok(None) => self.forgotten(at, together, port),
            Err(_) => {
                self.counters.faults += 1;
                self.forgotten(at, together, port);
            }
        }
    }

    /// The first `count` are done with.
    fn forgotten(&mut self, at: Partition, count: usize, port: &dyn Port) {
        let Some(forgets) = self.forgets.get_mut(&at) else { return };
        forgets.decided.drain(..count);
        if forgets.decided.is_empty() {
            self.forgets.remove(&at);
            return;
        }
        // What came meanwhile and fills a commit goes at once: else a partition that had one slow commit would stay behind.
        let full = forgets.decided.len() >= FORGETS_TOGETHER_MAX;
        forgets.due_ms = if full { 0 } else { port.now_ms() + FORGET_AFTER_MS };
        let due_ms = forgets.due_ms.max(port.now_ms());
        self.later(due_ms, Key::Forget(at));
    }

    pub(super) fn forget_answered(&mut self, at: Partition, answer: StoreAnswer, port: &mut dyn Port) {
        let Some(forgets) = self.forgets.get_mut(&at) else { return };
        let Some((count, commit)) = forgets.underway.take() else { return };
        self.unlock(at, Key::Forget(at));
        match answer {
            StoreAnswer::Committed(CommitOutcome::Done { token, previous, .. }) => {
                let event = commit.events.first().cloned().unwrap_or_default();
                self.committed(at, (previous, token), event, port);
                self.counters.forgotten += count as u64;
                self.forgotten(at, count, port);
            }
            answer => {
                // Somebody else was faster, or the store is away: look again in a while.
                if matches!(answer, StoreAnswer::Committed(_)) {
                    self.counters.conflicts += 1;
                }
                self.is_old(at);
                self.read(at, port);
                let Some(forgets) = self.forgets.get_mut(&at) else { return };
                forgets.due_ms = port.now_ms() + RETRY_MS;
                let due_ms = forgets.due_ms;
                self.later(due_ms, Key::Forget(at));
            }
        }
    }
}
