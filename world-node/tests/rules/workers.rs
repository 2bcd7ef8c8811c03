//! Workers that do one thing at a time, so that a test can run any number of them in any order, twice, or not to
//! their end: those that do acts, those that finish transfers, those that forget decisions.

use super::store::{Loaded, Outcome, Store};
use super::town::Town;
use chunk_sync::records::{decode, encode};
use chunk_sync::time::Tick;
use std::collections::BTreeSet;
use world_node::rules::transfer::{
    Cleared, Decision, FENCE_READS, Fence, Settled, Transfer, clear, clear_reads, fence, forget,
    forget_reads, settle, settle_reads,
};
use world_node::rules::{
    Action, Actor, CommitSet, DocName, Effects, Partition, ReadSet, RuleReject, TransferId, View, decide,
    home, reads,
};

/// What a step of a worker came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// There is more to do.
    More,
    /// It has ended.
    Ended,
}

/// Does one act: ask the memory of its home, read, decide, commit, again on conflict.
#[derive(Clone)]
pub(super) struct Doer {
    pub(super) actor: Actor,
    pub(super) action: Action,
    ready: Option<(Loaded, Effects)>,
    tries: u32,
    pub(super) refused: Option<RuleReject>,
    pub(super) done: Option<Outcome>,
    pub(super) effects: Option<Effects>,
}

impl Doer {
    pub(super) fn new(actor: Actor, action: Action) -> Self {
        Self { actor, action, ready: None, tries: 0, refused: None, done: None, effects: None }
    }

    pub(super) fn step(&mut self, town: &mut Town) -> Step {
        let Some((seen, effects)) = self.ready.take() else { return self.look(town) };
        match town.store.commit(&effects.commit, &seen, Some(self.actor.act)) {
            Outcome::Conflict if self.tries < 50 => Step::More,
            outcome => {
                self.done = Some(outcome);
                self.effects = Some(effects);
                Step::Ended
            }
        }
    }

    fn look(&mut self, town: &Town) -> Step {
        self.tries += 1;
        let own = home(self.actor.act, &self.action);
        if town.store.remembers(own, self.actor.act) {
            self.done = Some(Outcome::Repeated);
            return Step::Ended;
        }
        let declared = reads(&self.actor, &self.action);
        let seen = town.load(&declared, self.actor.island);
        match decide(&self.actor, &self.action, &seen.view) {
            Ok(effects) => {
                if self.actor.act.act.is_multiple_of(16) {
                    assert_plain(&(self.actor, &self.action), &seen.view, &effects);
                }
                assert_eq!(effects.commit.partition, own, "an act stays at home");
                assert!(effects.commit.reads.is_subset(&declared.docs[&own]), "only what was declared");
                let sent = effects.commit.writes.keys().filter(|name| matches!(name, DocName::Out(_)));
                assert!(sent.count() <= 1, "one transfer at most");
                self.ready = Some((seen, effects));
                Step::More
            }
            Err(why) => {
                assert_ne!(why, RuleReject::Unread, "{:?} was not given what it declared", self.action);
                self.refused = Some(why);
                Step::Ended
            }
        }
    }
}

/// Whether all that a rule takes and gives survives being written down and read back.
fn assert_plain(request: &(Actor, &Action), view: &View, effects: &Effects) {
    assert_eq!(decode::<Actor>(&encode(&request.0)).as_ref(), Some(&request.0));
    assert_eq!(decode::<Action>(&encode(request.1)).as_ref(), Some(request.1));
    assert_eq!(decode::<View>(&encode(view)).as_ref(), Some(view));
    assert_eq!(decode::<Effects>(&encode(effects)).as_ref(), Some(effects));
    let declared = reads(&request.0, request.1);
    assert_eq!(decode::<ReadSet>(&encode(&declared)), Some(declared));
}

/// Where a finisher is.
#[derive(Clone)]
enum Finish {
    /// About to read the fence of the decider.
    Fence,
    /// About to see whether it is still pending.
    Pending(Fence),
    /// About to read the decider and judge.
    Judge(Fence),
    /// About to commit the decision.
    Settle(Fence, Loaded, CommitSet),
    /// About to read the sender and clear.
    Look(Decision),
    /// About to commit the clearing.
    Clear(Decision, Loaded, CommitSet),
}

/// Brings one transfer from pending to cleared, in single reads and commits.
#[derive(Clone)]
pub(super) struct Finisher {
    pub(super) id: TransferId,
    transfer: Transfer,
    at: Finish,
    /// Reads in the wrong order: a mistake that the checks must see.
    careless: bool,
}

fn docs(partition: Partition, names: impl IntoIterator<Item = DocName>) -> ReadSet {
    ReadSet::default().docs(partition, names)
}

impl Finisher {
    pub(super) fn new(id: TransferId, transfer: Transfer) -> Self {
        Self { id, transfer, at: Finish::Fence, careless: false }
    }

    /// One that looks at the sender first and takes the fence from its last read of the decider.
    pub(super) fn careless(id: TransferId, transfer: Transfer) -> Self {
        Self { careless: true, ..Self::new(id, transfer) }
    }

    pub(super) fn step(&mut self, store: &mut Store, now: Tick) -> Step {
        let (from, to) = (self.transfer.from, self.transfer.to);
        self.at = match std::mem::replace(&mut self.at, Finish::Fence) {
            Finish::Fence => {
                let seen = store.load(&docs(to, FENCE_READS));
                Finish::Pending(fence(&seen.view, to).expect("loaded"))
            }
            Finish::Pending(before) => {
                if store.get(from, DocName::Out(self.id)).is_none() {
                    return Step::Ended;
                }
                Finish::Judge(before)
            }
            Finish::Judge(before) => return self.judge(store, before, now),
            Finish::Settle(before, seen, set) => {
                // Done or not: it was seen pending after this fence was read, so judging again is as good.
                store.commit(&set, &seen, None);
                Finish::Judge(before)
            }
            Finish::Look(decision) => {
                let seen = store.load(&docs(from, clear_reads(self.id, &self.transfer)));
                match clear(&seen.view, self.id, from, &decision, now).expect("loaded") {
                    Cleared::Already => return Step::Ended,
                    Cleared::Commit(set) => Finish::Clear(decision, seen, set),
                }
            }
            Finish::Clear(decision, seen, set) => match store.commit(&set, &seen, None) {
                Outcome::Done => return Step::Ended,
                _ => Finish::Look(decision),
            },
        };
        Step::More
    }

    fn judge(&mut self, store: &Store, before: Fence, now: Tick) -> Step {
        let to = self.transfer.to;
        let seen = store.load(&docs(to, settle_reads(self.id, &self.transfer)));
        let before = if self.careless { fence(&seen.view, to).expect("loaded") } else { before };
        self.at = match settle(&seen.view, self.id, &self.transfer, before, now).expect("loaded") {
            Settled::Commit(set) => Finish::Settle(before, seen, set),
            Settled::Decided(decision) => Finish::Look(decision),
            Settled::Stale => Finish::Fence,
            // Its own transfers are found by the sweep; this one comes back later.
            Settled::Waiting => return Step::Ended,
        };
        Step::More
    }
}

/// Forgets the cleared decisions of one partition.
#[derive(Clone)]
pub(super) struct Forgetter {
    to: Partition,
    decided: Vec<(TransferId, Decision)>,
    ready: Option<(Loaded, CommitSet)>,
}

impl Forgetter {
    /// Sees the decisions of a partition.
    pub(super) fn new(store: &Store, to: Partition) -> Self {
        let decided = store.decided().into_iter().filter(|(partition, ..)| *partition == to);
        Self { to, decided: decided.map(|(_, id, decision)| (id, decision)).collect(), ready: None }
    }

    pub(super) fn step(&mut self, store: &mut Store) -> Step {
        if let Some((seen, set)) = self.ready.take() {
            store.commit(&set, &seen, None);
            return Step::Ended;
        }
        let seen = store.load(&forget_reads(self.to, &self.decided));
        match forget(&seen.view, self.to, &self.decided).expect("loaded") {
            None => Step::Ended,
            Some(set) => {
                self.ready = Some((seen, set));
                Step::More
            }
        }
    }
}

/// Any of them.
#[derive(Clone)]
pub(super) enum Worker {
    Do(Doer),
    Finish(Finisher),
    Forget(Forgetter),
}

impl Worker {
    pub(super) fn step(&mut self, town: &mut Town) -> Step {
        let now = town.now;
        match self {
            Worker::Do(doer) => doer.step(town),
            Worker::Finish(finisher) => finisher.step(&mut town.store, now),
            Worker::Forget(forgetter) => forgetter.step(&mut town.store),
        }
    }
}

/// Finishes every pending transfer and forgets every decision, one worker after the other.
pub(super) fn finish_all(town: &mut Town) {
    for round in 0.. {
        assert!(round < 200, "transfers don't end: {:?}", town.store.pending());
        let pending = town.store.pending();
        let deciders: BTreeSet<Partition> =
            town.store.decided().into_iter().map(|(partition, ..)| partition).collect();
        if pending.is_empty() && deciders.is_empty() {
            return;
        }
        let finishers = pending.into_iter().map(|(id, transfer)| Worker::Finish(Finisher::new(id, transfer)));
        let mut workers: Vec<Worker> = finishers.collect();
        workers.extend(deciders.into_iter().map(|to| Worker::Forget(Forgetter::new(&town.store, to))));
        for mut worker in workers {
            let mut steps = 0;
            while worker.step(town) == Step::More {
                steps += 1;
                assert!(steps < 100, "a worker alone comes to its end");
            }
        }
    }
}
