//! The store's in-memory twin: the same contract, deterministic, with the time as an argument and with faults
//! that a test can switch on. The simulation and the cores' tests run on it; nothing of it lasts.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;

use bytes::Bytes;

use super::acts::ActorMemory;
use super::apply::{PartitionState, StoreClock, apply};
use super::commit::{Cas, Token};
use super::durability::Durability;
use super::key::{PartitionKey, Shard};
use super::ledger::LedgerEntry;
use super::limits::{ACTOR_IDLE_MS, LEASE_GUARD_MS, LOG_COMMITS_MAX};
use super::name::Name;
use super::op::{StoreAnswer, StoreFault, StoreOp};
use super::raw::RawPartition;
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
    /// It can't be reached until its clock shows this, and is well again from then on.
    Gone {
        /// Unix time in ms.
        until_ms: u64,
    },
    /// It has no room: commits fail with [`StoreFault::Full`], reads work.
    Full,
    /// It takes no commits ([`StoreFault::Away`]), reads work: a master that lost its replicas, or its office.
    RefusesCommits,
    /// It does what it is asked, but every answer is lost ([`StoreFault::TimedOut`]).
    LosesAnswers,
    /// It does what it is asked, and answers late: the carrier asks [`MemoryStore::answer_after_ms`].
    Slow {
        /// How late, in ms.
        by_ms: u64,
    },
    /// Its replica has heard nothing since this was set. Index pages are read there, so they are old; a commit that
    /// has to be on the replica is done and not acknowledged ([`StoreFault::TimedOut`]). See
    /// [`MemoryStore::fail_over`].
    StaleReplica,
}

/// A whole store in memory.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    master: Image,
    replica: Option<Image>,
    started_ms: u64,
    lease_guard_ms: u64,
    actor_idle_ms: u64,
    fault: MemoryFault,
}

/// Everything that the store holds.
#[derive(Clone, Debug, Default)]
struct Image {
    partitions: BTreeMap<PartitionKey, Partition>,
    indexes: Indexes,
    ledgers: Ledgers,
}

type Indexes = BTreeMap<(Name, Shard), BTreeMap<Bytes, Bytes>>;
type Ledgers = BTreeMap<Shard, Ledger>;

/// The ledger of one shard.
#[derive(Clone, Debug, Default)]
struct Ledger {
    /// The number of the last entry that was ever written.
    last: u64,
    entries: VecDeque<LedgerEntry>,
}

impl MemoryStore {
    /// An empty store that starts at `started_ms` (Unix time) of its own clock.
    pub fn new(started_ms: u64) -> Self {
        Self {
            master: Image::default(),
            replica: None,
            started_ms,
            lease_guard_ms: LEASE_GUARD_MS,
            actor_idle_ms: ACTOR_IDLE_MS,
            fault: MemoryFault::None,
        }
    }

    /// Another guard than [`LEASE_GUARD_MS`] against takeovers after a start.
    #[must_use]
    pub fn with_lease_guard(mut self, lease_guard_ms: u64) -> Self {
        self.lease_guard_ms = lease_guard_ms;
        self
    }

    /// Another time than [`ACTOR_IDLE_MS`] after which a full partition may forget an actor.
    #[must_use]
    pub fn with_actor_idle(mut self, actor_idle_ms: u64) -> Self {
        self.actor_idle_ms = actor_idle_ms;
        self
    }

    /// As if the store's process had ended and started again: nothing is lost, but it is young.
    pub fn restart(&mut self, now_ms: u64) {
        self.started_ms = now_ms;
    }

    /// Misbehaves from now on as told.
    pub fn set_fault(&mut self, fault: MemoryFault) {
        match fault {
            MemoryFault::StaleReplica if self.replica.is_none() => self.replica = Some(self.master.clone()),
            MemoryFault::StaleReplica => {}
            // Reached again, the replica gets what it missed.
            _ => self.replica = None,
        }
        self.fault = fault;
    }

    /// The master dies at `now_ms` and its replica takes over: what a stale one never heard of is lost, which no
    /// commit was that had been acknowledged as replicated. The store is young and well.
    pub fn fail_over(&mut self, now_ms: u64) {
        if let Some(replica) = self.replica.take() {
            self.master = replica;
        }
        self.fault = MemoryFault::None;
        self.started_ms = now_ms;
    }

    /// How much later than usual the carrier brings the answers of now.
    pub fn answer_after_ms(&self) -> u64 {
        match self.fault {
            MemoryFault::Slow { by_ms } => by_ms,
            _ => 0,
        }
    }

    /// Does one operation at `now_ms` of the store's clock.
    pub fn call(&mut self, now_ms: u64, op: &StoreOp) -> StoreAnswer {
        if let Err(error) = op.check() {
            return StoreAnswer::Failed(StoreFault::Invalid(error));
        }
        if let MemoryFault::Gone { until_ms } = self.fault
            && now_ms >= until_ms
        {
            self.fault = MemoryFault::None;
        }
        match (self.fault, op) {
            (MemoryFault::Away | MemoryFault::Gone { .. }, _)
            | (MemoryFault::RefusesCommits, StoreOp::Commit(_)) => {
                return StoreAnswer::Failed(StoreFault::Away);
            }
            (MemoryFault::Full, StoreOp::Commit(_)) => return StoreAnswer::Failed(StoreFault::Full),
            _ => {}
        }
        let answer = self.answer(now_ms, op);
        let settled = matches!(&answer, StoreAnswer::Committed(outcome) if outcome.settled());
        match (self.fault, op) {
            (MemoryFault::LosesAnswers, _) => StoreAnswer::Failed(StoreFault::TimedOut),
            (MemoryFault::StaleReplica, StoreOp::Commit(commit))
                if commit.durability >= Durability::Replicated && settled =>
            {
                StoreAnswer::Failed(StoreFault::TimedOut)
            }
            _ => answer,
        }
    }

    fn answer(&mut self, now_ms: u64, op: &StoreOp) -> StoreAnswer {
        match op {
            StoreOp::Load { partition } => {
                let view = self.master.partitions.get(partition).map(|partition| partition.view(now_ms));
                StoreAnswer::Loaded(
                    view.unwrap_or_else(|| PartitionView { store_ms: now_ms, ..PartitionView::default() }),
                )
            }
            StoreOp::Commit(commit) => {
                let clock = StoreClock {
                    lease_guard_ms: self.lease_guard_ms,
                    actor_idle_ms: self.actor_idle_ms,
                    ..StoreClock::new(now_ms, self.started_ms)
                };
                let Image { partitions, indexes, ledgers } = &mut self.master;
                let mut partition = partitions.remove(&commit.partition).unwrap_or_default();
                let key = &commit.partition;
                let mut place =
                    Place { partition: &mut partition, indexes, ledgers, key, shard: key.shard() };
                let Ok(outcome) = apply(&mut place, commit, clock);
                if partition != Partition::default() {
                    partitions.insert(commit.partition.clone(), partition);
                }
                StoreAnswer::Committed(outcome)
            }
            StoreOp::Tail { partition, after } => {
                let (newest, log) = self
                    .master
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
    actors: BTreeMap<u64, ActorMemory>,
}

impl Partition {
    fn of(raw: &RawPartition) -> Self {
        Self {
            recent: raw.recent.clone(),
            docs: raw.docs.clone(),
            epochs: raw.epochs.clone(),
            leases: raw.leases.clone(),
            log: VecDeque::new(),
            actors: raw.actors.clone(),
        }
    }

    fn raw(&self, key: PartitionKey) -> RawPartition {
        RawPartition {
            key,
            recent: self.recent.clone(),
            docs: self.docs.clone(),
            epochs: self.epochs.clone(),
            leases: self.leases.clone(),
            actors: self.actors.clone(),
        }
    }

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

/// A partition with the indexes and the ledger of its shard.
struct Place<'a> {
    partition: &'a mut Partition,
    indexes: &'a mut Indexes,
    ledgers: &'a mut Ledgers,
    key: &'a PartitionKey,
    shard: Shard,
}

impl Place<'_> {
    fn index(&self, index: &Name) -> Option<&BTreeMap<Bytes, Bytes>> {
        self.indexes.get(&(index.clone(), self.shard))
    }
}

impl PartitionState for Place<'_> {
    type Error = Infallible;

    fn recent(&mut self) -> Result<RecentTokens, Infallible> {
        Ok(self.partition.recent.clone())
    }

    fn rows(&mut self) -> Result<u32, Infallible> {
        let rows = self.partition.docs.len() + self.partition.epochs.len() + self.partition.leases.len();
        Ok(u32::try_from(rows).unwrap_or(u32::MAX))
    }

    fn doc_cas(&mut self, doc: &Name) -> Result<Option<Cas>, Infallible> {
        Ok(self.partition.docs.get(doc).map(|document| document.cas))
    }

    fn epoch(&mut self, name: &Name) -> Result<Option<u64>, Infallible> {
        Ok(self.partition.epochs.get(name).copied())
    }

    fn lease(&mut self, name: &Name) -> Result<Option<Lease>, Infallible> {
        Ok(self.partition.leases.get(name).copied())
    }

    fn put_doc(&mut self, doc: &Name, cas: Cas, value: &Bytes) -> Result<(), Infallible> {
        self.partition.docs.insert(doc.clone(), Document { cas, value: value.clone() });
        Ok(())
    }

    fn remove_doc(&mut self, doc: &Name) -> Result<(), Infallible> {
        self.partition.docs.remove(doc);
        Ok(())
    }

    fn put_epoch(&mut self, name: &Name, value: u64) -> Result<(), Infallible> {
        self.partition.epochs.insert(name.clone(), value);
        Ok(())
    }

    fn put_lease(&mut self, name: &Name, lease: Lease) -> Result<(), Infallible> {
        self.partition.leases.insert(name.clone(), lease);
        Ok(())
    }

    fn remove_lease(&mut self, name: &Name) -> Result<(), Infallible> {
        self.partition.leases.remove(name);
        Ok(())
    }

    fn append_log(&mut self, entry: LoggedCommit) -> Result<(), Infallible> {
        self.partition.log.push_back(entry);
        while self.partition.log.len() > LOG_COMMITS_MAX {
            self.partition.log.pop_front();
        }
        Ok(())
    }

    fn put_recent(&mut self, recent: RecentTokens) -> Result<(), Infallible> {
        self.partition.recent = recent;
        Ok(())
    }

    fn actor(&mut self, actor: u64) -> Result<Option<ActorMemory>, Infallible> {
        Ok(self.partition.actors.get(&actor).cloned())
    }

    fn actors(&mut self) -> Result<u32, Infallible> {
        Ok(u32::try_from(self.partition.actors.len()).unwrap_or(u32::MAX))
    }

    fn idle_actors(&mut self, since_ms: u64, most: usize) -> Result<Vec<u64>, Infallible> {
        let idle = self.partition.actors.iter().filter(|(_, memory)| memory.seen_ms <= since_ms);
        let mut idle: Vec<(u64, u64)> = idle.map(|(actor, memory)| (memory.seen_ms, *actor)).collect();
        idle.sort_unstable();
        Ok(idle.into_iter().take(most).map(|(_, actor)| actor).collect())
    }

    fn index_entries(&mut self, index: &Name) -> Result<u32, Infallible> {
        let entries = self.index(index).map_or(0, BTreeMap::len);
        Ok(u32::try_from(entries).unwrap_or(u32::MAX))
    }

    fn has_index_entry(&mut self, index: &Name, key: &Bytes) -> Result<bool, Infallible> {
        Ok(self.index(index).is_some_and(|entries| entries.contains_key(key)))
    }

    fn ledger_entries(&mut self) -> Result<u32, Infallible> {
        let entries = self.ledgers.get(&self.shard).map_or(0, |ledger| ledger.entries.len());
        Ok(u32::try_from(entries).unwrap_or(u32::MAX))
    }

    fn append_ledger(&mut self, token: Token, store_ms: u64, entry: &Bytes) -> Result<(), Infallible> {
        let ledger = self.ledgers.entry(self.shard).or_default();
        ledger.last += 1;
        ledger.entries.push_back(LedgerEntry {
            shard: self.shard,
            sequence: ledger.last,
            token,
            partition: self.key.clone(),
            store_ms,
            bytes: entry.clone(),
        });
        Ok(())
    }

    fn put_actor(&mut self, actor: u64, memory: ActorMemory) -> Result<(), Infallible> {
        self.partition.actors.insert(actor, memory);
        Ok(())
    }

    fn remove_actor(&mut self, actor: u64) -> Result<(), Infallible> {
        self.partition.actors.remove(&actor);
        Ok(())
    }

    fn put_index_entry(&mut self, index: &Name, key: &Bytes, value: &Bytes) -> Result<(), Infallible> {
        let entries = self.indexes.entry((index.clone(), self.shard)).or_default();
        entries.insert(key.clone(), value.clone());
        Ok(())
    }

    fn remove_index_entry(&mut self, index: &Name, key: &Bytes) -> Result<(), Infallible> {
        let place = (index.clone(), self.shard);
        if let Some(entries) = self.indexes.get_mut(&place) {
            entries.remove(key);
            if entries.is_empty() {
                self.indexes.remove(&place);
            }
        }
        Ok(())
    }
}

mod ops;
#[cfg(test)]
mod tests;
