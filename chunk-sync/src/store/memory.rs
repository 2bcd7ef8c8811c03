//! The store's in-memory twin: the same contract, deterministic, with the time as an argument and with faults
//! that a test can switch on. The simulation and the cores' tests run on it; nothing of it lasts.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;

use bytes::Bytes;

use super::apply::{PartitionState, StoreClock, apply};
use super::commit::Cas;
use super::key::PartitionKey;
use super::limits::{LEASE_GUARD_MS, LOG_COMMITS_MAX};
use super::name::Name;
use super::op::{StoreAnswer, StoreFault, StoreOp};
use super::tail::{LoggedCommit, RecentTokens, tail_of_log};
use super::view::{Document, Lease, PartitionView};

/// How the twin misbehaves, for tests of what callers do then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MemoryFault {
    /// It doesn't.
    #[default]
    None,
    /// It can't be reached: everything fails with [`StoreFault::Away`].
    Away,
    /// It has no room: commits fail with [`StoreFault::Full`], reads work.
    Full,
    /// It does what it is asked, but every answer is lost ([`StoreFault::TimedOut`]).
    LosesAnswers,
}

/// A whole store in memory.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    partitions: BTreeMap<PartitionKey, Partition>,
    started_ms: u64,
    lease_guard_ms: u64,
    fault: MemoryFault,
}

impl MemoryStore {
    /// An empty store that starts at `started_ms` (Unix time) of its own clock.
    pub fn new(started_ms: u64) -> Self {
        Self {
            partitions: BTreeMap::new(),
            started_ms,
            lease_guard_ms: LEASE_GUARD_MS,
            fault: MemoryFault::None,
        }
    }

    /// Another guard than [`LEASE_GUARD_MS`] against takeovers after a start.
    #[must_use]
    pub fn with_lease_guard(mut self, lease_guard_ms: u64) -> Self {
        self.lease_guard_ms = lease_guard_ms;
        self
    }

    /// As if the store's process had ended and started again: nothing is lost, but it is young.
    pub fn restart(&mut self, now_ms: u64) {
        self.started_ms = now_ms;
    }

    /// Misbehaves from now on as told.
    pub fn set_fault(&mut self, fault: MemoryFault) {
        self.fault = fault;
    }

    /// Does one operation at `now_ms` of the store's clock.
    pub fn call(&mut self, now_ms: u64, op: &StoreOp) -> StoreAnswer {
        if let Err(error) = op.check() {
            return StoreAnswer::Failed(StoreFault::Invalid(error));
        }
        match (self.fault, op) {
            (MemoryFault::Away, _) => return StoreAnswer::Failed(StoreFault::Away),
            (MemoryFault::Full, StoreOp::Commit(_)) => return StoreAnswer::Failed(StoreFault::Full),
            _ => {}
        }
        let answer = self.answer(now_ms, op);
        match self.fault {
            MemoryFault::LosesAnswers => StoreAnswer::Failed(StoreFault::TimedOut),
            _ => answer,
        }
    }

    fn answer(&mut self, now_ms: u64, op: &StoreOp) -> StoreAnswer {
        match op {
            StoreOp::Load { partition } => {
                let view = self.partitions.get(partition).map(|partition| partition.view(now_ms));
                StoreAnswer::Loaded(
                    view.unwrap_or_else(|| PartitionView { store_ms: now_ms, ..PartitionView::default() }),
                )
            }
            StoreOp::Commit(commit) => {
                let clock = StoreClock {
                    lease_guard_ms: self.lease_guard_ms,
                    ..StoreClock::new(now_ms, self.started_ms)
                };
                let mut partition = self.partitions.remove(&commit.partition).unwrap_or_default();
                let Ok(outcome) = apply(&mut partition, commit, clock);
                if partition != Partition::default() {
                    self.partitions.insert(commit.partition.clone(), partition);
                }
                StoreAnswer::Committed(outcome)
            }
            StoreOp::Tail { partition, after } => {
                let (newest, log) = self
                    .partitions
                    .get(partition)
                    .map(|partition| (partition.recent.newest(), partition.log.iter().cloned().collect()))
                    .unwrap_or_default();
                StoreAnswer::Tailed(tail_of_log(newest, log, *after))
            }
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Partition {
    recent: RecentTokens,
    docs: BTreeMap<Name, Document>,
    epochs: BTreeMap<Name, u64>,
    leases: BTreeMap<Name, Lease>,
    log: VecDeque<LoggedCommit>,
}

impl Partition {
    fn view(&self, store_ms: u64) -> PartitionView {
        PartitionView {
            token: self.recent.newest(),
            docs: self.docs.clone(),
            epochs: self.epochs.clone(),
            leases: self.leases.clone(),
            store_ms,
        }
    }
}

impl PartitionState for Partition {
    type Error = Infallible;

    fn recent(&mut self) -> Result<RecentTokens, Infallible> {
        Ok(self.recent.clone())
    }

    fn rows(&mut self) -> Result<u32, Infallible> {
        let rows = self.docs.len() + self.epochs.len() + self.leases.len();
        Ok(u32::try_from(rows).unwrap_or(u32::MAX))
    }

    fn doc_cas(&mut self, doc: &Name) -> Result<Option<Cas>, Infallible> {
        Ok(self.docs.get(doc).map(|document| document.cas))
    }

    fn epoch(&mut self, name: &Name) -> Result<Option<u64>, Infallible> {
        Ok(self.epochs.get(name).copied())
    }

    fn lease(&mut self, name: &Name) -> Result<Option<Lease>, Infallible> {
        Ok(self.leases.get(name).copied())
    }

    fn put_doc(&mut self, doc: &Name, cas: Cas, value: &Bytes) -> Result<(), Infallible> {
        self.docs.insert(doc.clone(), Document { cas, value: value.clone() });
        Ok(())
    }

    fn remove_doc(&mut self, doc: &Name) -> Result<(), Infallible> {
        self.docs.remove(doc);
        Ok(())
    }

    fn put_epoch(&mut self, name: &Name, value: u64) -> Result<(), Infallible> {
        self.epochs.insert(name.clone(), value);
        Ok(())
    }

    fn put_lease(&mut self, name: &Name, lease: Lease) -> Result<(), Infallible> {
        self.leases.insert(name.clone(), lease);
        Ok(())
    }

    fn remove_lease(&mut self, name: &Name) -> Result<(), Infallible> {
        self.leases.remove(name);
        Ok(())
    }

    fn append_log(&mut self, entry: LoggedCommit) -> Result<(), Infallible> {
        self.log.push_back(entry);
        while self.log.len() > LOG_COMMITS_MAX {
            self.log.pop_front();
        }
        Ok(())
    }

    fn put_recent(&mut self, recent: RecentTokens) -> Result<(), Infallible> {
        self.recent = recent;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::WorldId;
    use crate::store::{Commit, CommitOutcome, Token};

    #[test]
    fn faults_are_what_they_say() {
        let key = || PartitionKey::cluster(WorldId(1), "keys");
        let put = |token| StoreOp::Commit(Commit::new(key(), Token(token)).put("doc", "value"));
        let load = StoreOp::Load { partition: key() };
        let mut store = MemoryStore::new(0);
        let mut newest = |fault, op: &StoreOp| {
            store.set_fault(fault);
            let said = store.call(5, op);
            store.set_fault(MemoryFault::None);
            match store.call(5, &load) {
                StoreAnswer::Loaded(view) => (said, view.token),
                other => panic!("{other:?}"),
            }
        };
        let failed = StoreAnswer::Failed;
        assert_eq!(newest(MemoryFault::Away, &put(1)), (failed(StoreFault::Away), Token::NONE));
        assert_eq!(newest(MemoryFault::Full, &put(1)), (failed(StoreFault::Full), Token::NONE));
        assert_eq!(newest(MemoryFault::LosesAnswers, &put(1)), (failed(StoreFault::TimedOut), Token(1)));
        assert_eq!(newest(MemoryFault::Away, &load).0, failed(StoreFault::Away));
        assert!(matches!(newest(MemoryFault::Full, &load).0, StoreAnswer::Loaded(_)));
        // The lost answer is had by asking again.
        let done = CommitOutcome::Done { token: Token(1), previous: Token::NONE, store_ms: 5 };
        assert_eq!(newest(MemoryFault::None, &put(1)).0, StoreAnswer::Committed(done));
    }
}
