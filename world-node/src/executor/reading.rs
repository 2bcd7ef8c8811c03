//! How replicas stay current: readings of the store, commits of others, gaps, comparisons. Part of the executor.

use super::commit::Change;
use super::limits::{
    COMPARE_EVERY_MS, COMPARE_ROUND_TICKS, COMPARES_PER_TICK_MIN, GAP_WAIT_MS, LOOSE_KEPT_MS, RETRY_MS,
};
use super::replica::{Replica, Step, Taken};
use super::{Ask, Executor, Key, Port, key_of};
use crate::rules::Partition;
use chunk_sync::store::{LoggedCommit, Name, StoreAnswer, StoreFault, StoreOp, Tail, Token};
use std::collections::BTreeSet;
use std::ops::Bound;

impl Executor {
    /// Whether a partition can be read here as it was at a reading of at least number `min`; if not, it is being read
    /// and `key` goes on when it has come.
    pub(super) fn is_ready(&mut self, partition: Partition, min: u64, key: Key, port: &mut dyn Port) -> bool {
        let replica = self.replicas.entry(partition).or_default();
        replica.used_ms = port.now_ms();
        let from = if replica.followed { replica.followed_from } else { 0 };
        let min = min.max(replica.must).max(from);
        if replica.is_loaded() && replica.fresh >= min {
            return true;
        }
        replica.waiters.insert(key);
        replica.wanted = replica.wanted.max(min).max(1);
        self.read(partition, port);
        false
    }

    /// What is here of a partition was too old for a commit: it is read anew before anything more is decided on it.
    pub(super) fn is_old(&mut self, partition: Partition) {
        let newer = self.next_reading();
        if let Some(replica) = self.replicas.get_mut(&partition) {
            replica.must = newer;
            replica.wanted = replica.wanted.max(newer);
        }
    }

    /// The number of the first reading that begins from now on.
    pub(super) fn next_reading(&self) -> u64 {
        self.readings + 1
    }

    /// Reads a partition, unless it is being read or the store asked for patience.
    pub(super) fn read(&mut self, partition: Partition, port: &mut dyn Port) {
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        if replica.asked.is_some() {
            return;
        }
        if port.now_ms() < replica.retry_ms {
            self.rereads.insert(partition);
            return;
        }
        // The log of a player has gaps (places are saved without a word), so that only its own node can follow it.
        let whole = !replica.is_loaded() || !matches!(partition, Partition::Chunk(..));
        self.ask(partition, whole, port);
    }

    fn ask(&mut self, partition: Partition, whole: bool, port: &mut dyn Port) {
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        self.readings += 1;
        self.counters.readings += 1;
        replica.asked = Some((self.readings, whole));
        let key = key_of(partition);
        let op = if whole {
            StoreOp::Load { partition: key }
        } else {
            StoreOp::Tail { partition: key, after: replica.token() }
        };
        port.send(Ask::Read(partition, self.readings), op);
    }

    pub(super) fn read_answered(
        &mut self,
        partition: Partition,
        number: u64,
        answer: StoreAnswer,
        port: &mut dyn Port,
    ) {
        let now_ms = port.now_ms();
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        if replica.asked.is_none_or(|(asked, _)| asked != number) {
            return;
        }
        replica.asked = None;
        let mut changed = BTreeSet::new();
        match answer {
            StoreAnswer::Loaded(view) => {
                replica.load(number, view, &mut changed);
                replica.read_ms = now_ms;
                if replica.followed && replica.has_ahead() && replica.gap_since_ms.is_none() {
                    replica.gap_since_ms = Some(now_ms);
                    self.rereads.insert(partition);
                }
            }
            StoreAnswer::Tailed(tail) => {
                let followed = match tail {
                    Tail::Events(commits) => follow(replica, commits, &mut changed),
                    Tail::Reload => false,
                };
                if !followed {
                    self.counters.reloads += 1;
                    self.note_changed(partition, changed);
                    return self.ask(partition, true, port);
                }
                replica.fresh = replica.fresh.max(number);
                replica.read_ms = now_ms;
            }
            answer => {
                replica.retry_ms = now_ms + RETRY_MS;
                self.rereads.insert(partition);
                if matches!(answer, StoreAnswer::Failed(StoreFault::Away)) {
                    self.refuse_waiting(partition, port);
                }
                return;
            }
        }
        self.note_changed(partition, changed);
        self.wake(partition);
        self.read_on(partition, port);
    }

    /// Reads again if something newer is wanted.
    fn read_on(&mut self, partition: Partition, port: &mut dyn Port) {
        if self.replicas.get(&partition).is_some_and(|r| r.wanted > r.fresh || !r.is_loaded()) {
            self.read(partition, port);
        }
    }

    pub(super) fn take_step(&mut self, partition: Partition, step: Step, port: &mut dyn Port) {
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        let mut changed = BTreeSet::new();
        match replica.take(step, &mut changed) {
            Taken::Known => return,
            Taken::Ahead if replica.followed => {
                if replica.gap_since_ms.is_none() {
                    replica.gap_since_ms = Some(port.now_ms());
                    self.rereads.insert(partition);
                    self.counters.gaps += 1;
                }
                return;
            }
            // Nobody tells us of this partition: what is known of it is old, and is read when it is needed.
            Taken::Ahead => {
                replica.spoil();
                return self.wake(partition);
            }
            Taken::Applied => (),
        }
        self.note_changed(partition, changed);
        self.wake(partition);
    }

    fn note_changed(&mut self, partition: Partition, changed: BTreeSet<Name>) {
        let followed = self.replicas.get(&partition).is_some_and(|replica| replica.followed);
        if followed && !changed.is_empty() {
            self.changed.entry(partition).or_default().extend(changed);
        }
    }

    /// The store said just now that a partition's token is this: one that is followed here and has another is read.
    pub fn compare_with(&mut self, partition: Partition, token: Token, port: &mut dyn Port) {
        let newer = self.next_reading();
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        if !replica.followed || !replica.is_loaded() || replica.asked.is_some() {
            return;
        }
        if replica.has_seen(token) {
            // As good as a comparison of its own.
            replica.read_ms = port.now_ms();
        } else {
            replica.wanted = replica.wanted.max(newer);
            self.read(partition, port);
        }
    }

    /// A commit to this partition may never be told: it is compared with the store within a round, whose ticks spread
    /// those that are doubted together.
    pub fn compare_soon(&mut self, partition: Partition) {
        let newer = self.next_reading();
        if let Some(replica) = self.replicas.get_mut(&partition).filter(|replica| replica.followed) {
            // Also when it is being read: that reading may have begun before.
            replica.wanted = replica.wanted.max(newer);
            replica.read_ms = 0;
        }
    }

    /// What is due: readings that had to wait, gaps, comparisons with the store, replicas that nobody needs.
    pub(super) fn tend_readings(&mut self, port: &mut dyn Port) {
        let now_ms = port.now_ms();
        for partition in std::mem::take(&mut self.rereads) {
            let newer = self.next_reading();
            let Some(replica) = self.replicas.get_mut(&partition) else { continue };
            if let Some(since_ms) = replica.gap_since_ms {
                if now_ms < since_ms + GAP_WAIT_MS {
                    self.rereads.insert(partition);
                    continue;
                }
                // What waits for its predecessor is in the log too.
                replica.forget_ahead();
                replica.wanted = replica.wanted.max(newer);
            }
            if replica.wanted > replica.fresh || !replica.is_loaded() {
                self.read(partition, port);
            }
        }
        self.compare(port);
    }

    /// Goes round all partitions, a few a tick: those that are followed, or that something waits for, are compared with
    /// the store; those that nobody needs are let go.
    fn compare(&mut self, port: &mut dyn Port) {
        let now_ms = port.now_ms();
        let from = self.compared.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.replicas.range((from, Bound::Unbounded)).map(|(partition, _)| *partition);
        // A round takes a second or two, however many there are.
        let share = COMPARES_PER_TICK_MIN.max(self.replicas.len().div_ceil(COMPARE_ROUND_TICKS));
        let next: Vec<Partition> = next.take(share).collect();
        self.compared = if next.len() < share { None } else { next.last().copied() };
        for partition in next {
            let newer = self.next_reading();
            let Some(replica) = self.replicas.get_mut(&partition) else { continue };
            if replica.is_idle() && now_ms.saturating_sub(replica.used_ms) > LOOSE_KEPT_MS {
                self.replicas.remove(&partition);
                self.changed.remove(&partition);
            } else if (replica.followed || !replica.waiters.is_empty())
                && replica.asked.is_none()
                && now_ms.saturating_sub(replica.read_ms) >= COMPARE_EVERY_MS
            {
                replica.wanted = replica.wanted.max(newer);
                self.read(partition, port);
            }
        }
    }
}

/// Takes what the log says; false when it can't be followed to its end.
fn follow(replica: &mut Replica, commits: Vec<LoggedCommit>, changed: &mut BTreeSet<Name>) -> bool {
    for commit in commits {
        let mut writes = Vec::new();
        for event in &commit.events {
            let Some(change) = Change::read(event) else { return false };
            writes.extend(change.writes());
        }
        let step = Step { previous: commit.previous, token: commit.token, writes };
        if replica.take(step, changed) == Taken::Ahead {
            return false;
        }
    }
    true
}
