//! The one rule of what a commit does, over the small trait that a backend's partition implements. Used by the
//! in-memory twin and the embedded store; the Redis function repeats it line by line.
//!
//! It checks everything first and writes afterwards: a refused commit has touched nothing.

use bytes::Bytes;

use super::acts::ActorMemory;
use super::commit::{Cas, Commit, EpochStep, LeaseStep, Precondition, Token};
use super::index::IndexStep;
use super::limits::{
    ACTOR_IDLE_MS, ACTORS_FORGOTTEN_TOGETHER_MAX, ACTORS_PER_PARTITION_MAX, INDEX_ENTRIES_PER_SHARD_MAX,
    LEASE_GUARD_MS, LEDGER_ENTRIES_PER_SHARD_MAX, PARTITION_ROWS_MAX,
};
use super::name::Name;
use super::outcome::{CommitOutcome, Refusal};
use super::tail::{LoggedCommit, RecentTokens};
use super::view::Lease;

/// The store's own time, as a commit is judged by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreClock {
    /// Unix time in ms.
    pub now_ms: u64,
    /// How long the store has served since its last start.
    pub served_ms: u64,
    /// How long it must have served before an expired lease may be taken over.
    pub lease_guard_ms: u64,
    /// How long an actor must have been idle before a full partition may forget it.
    pub actor_idle_ms: u64,
}

impl StoreClock {
    /// The clock of a store that started at `started_ms`, with the usual [`LEASE_GUARD_MS`] and [`ACTOR_IDLE_MS`].
    pub fn new(now_ms: u64, started_ms: u64) -> Self {
        Self {
            now_ms,
            served_ms: now_ms.saturating_sub(started_ms),
            lease_guard_ms: LEASE_GUARD_MS,
            actor_idle_ms: ACTOR_IDLE_MS,
        }
    }

    fn young(&self) -> bool {
        self.served_ms < self.lease_guard_ms
    }

    /// The latest moment of an actor's last act at which it counts as idle now, if there is one.
    fn idle_since_ms(&self) -> Option<u64> {
        self.now_ms.checked_sub(self.actor_idle_ms)
    }
}

/// One partition of a backend, as a commit needs it. The methods are plain reads and writes of rows; all rules
/// are in [`apply`].
pub trait PartitionState {
    /// Why a row couldn't be read or written.
    type Error;

    /// The newest tokens.
    fn recent(&mut self) -> Result<RecentTokens, Self::Error>;
    /// How many documents, epochs and leases there are.
    fn rows(&mut self) -> Result<u32, Self::Error>;
    /// The version of a document.
    fn doc_cas(&mut self, doc: &Name) -> Result<Option<Cas>, Self::Error>;
    /// An epoch, if it was ever raised.
    fn epoch(&mut self, name: &Name) -> Result<Option<u64>, Self::Error>;
    /// A lease, expired or not.
    fn lease(&mut self, name: &Name) -> Result<Option<Lease>, Self::Error>;
    /// What is remembered of an actor.
    fn actor(&mut self, actor: u64) -> Result<Option<ActorMemory>, Self::Error>;
    /// Of how many actors something is remembered.
    fn actors(&mut self) -> Result<u32, Self::Error>;
    /// Up to `most` actors last seen at `since_ms` or before, longest idle first, then by number.
    fn idle_actors(&mut self, since_ms: u64, most: usize) -> Result<Vec<u64>, Self::Error>;
    /// How many entries an index has in this partition's shard.
    fn index_entries(&mut self, index: &Name) -> Result<u32, Self::Error>;
    /// Whether an index has this entry in this partition's shard.
    fn has_index_entry(&mut self, index: &Name, key: &Bytes) -> Result<bool, Self::Error>;

    /// How many entries the ledger of this partition's shard has.
    fn ledger_entries(&mut self) -> Result<u32, Self::Error>;

    /// Writes a document, new or not.
    fn put_doc(&mut self, doc: &Name, cas: Cas, value: &Bytes) -> Result<(), Self::Error>;
    /// Removes a document, if it is there.
    fn remove_doc(&mut self, doc: &Name) -> Result<(), Self::Error>;
    /// Writes an epoch.
    fn put_epoch(&mut self, name: &Name, value: u64) -> Result<(), Self::Error>;
    /// Writes a lease.
    fn put_lease(&mut self, name: &Name, lease: Lease) -> Result<(), Self::Error>;
    /// Removes a lease.
    fn remove_lease(&mut self, name: &Name) -> Result<(), Self::Error>;
    /// Remembers an actor.
    fn put_actor(&mut self, actor: u64, memory: ActorMemory) -> Result<(), Self::Error>;
    /// Forgets an actor, if it is there.
    fn remove_actor(&mut self, actor: u64) -> Result<(), Self::Error>;
    /// Writes an index entry of the shard.
    fn put_index_entry(&mut self, index: &Name, key: &Bytes, value: &Bytes) -> Result<(), Self::Error>;
    /// Removes an index entry of the shard, if it is there.
    fn remove_index_entry(&mut self, index: &Name, key: &Bytes) -> Result<(), Self::Error>;
    /// Appends to the ledger of the shard, with the next number and this partition's key.
    fn append_ledger(&mut self, token: Token, store_ms: u64, entry: &Bytes) -> Result<(), Self::Error>;
    /// Appends to the log and forgets what is over its limit.
    fn append_log(&mut self, entry: LoggedCommit) -> Result<(), Self::Error>;
    /// Remembers the newest tokens, after everything else of the commit was written.
    fn put_recent(&mut self, recent: RecentTokens) -> Result<(), Self::Error>;
}

/// Judges `commit` (which passed [`Commit::check`]) and, if nothing speaks against it, does it.
pub fn apply<S: PartitionState>(
    state: &mut S,
    commit: &Commit,
    clock: StoreClock,
) -> Result<CommitOutcome, S::Error> {
    let recent = state.recent()?;
    let store_ms = clock.now_ms;
    if let Some(previous) = recent.previous_of(commit.token) {
        return Ok(CommitOutcome::Done { token: commit.token, previous, store_ms });
    }
    let memory = match &commit.act {
        Some(act) => state.actor(act.actor)?,
        None => None,
    };
    let refusal = match judge_act(memory.as_ref(), commit) {
        None => judge(state, commit, memory.as_ref(), clock)?,
        known => known,
    };
    if let Some(refusal) = refusal {
        return Ok(CommitOutcome::Refused(refusal));
    }
    let previous = recent.newest();
    write(state, commit, clock)?;
    write_act(state, commit, memory, clock)?;
    write_index(state, commit)?;
    if let Some(entry) = &commit.ledger {
        state.append_ledger(commit.token, store_ms, entry)?;
    }
    if !commit.events.is_empty() {
        let events = commit.events.clone();
        state.append_log(LoggedCommit { previous, token: commit.token, events })?;
    }
    let mut recent = recent;
    recent.push(commit.token);
    state.put_recent(recent)?;
    Ok(CommitOutcome::Done { token: commit.token, previous, store_ms })
}

/// A repeat is known before anything else is judged: it is answered, whatever else it says by now.
fn judge_act(memory: Option<&ActorMemory>, commit: &Commit) -> Option<Refusal> {
    memory?.judge(commit.act.as_ref()?)
}

fn judge<S: PartitionState>(
    state: &mut S,
    commit: &Commit,
    memory: Option<&ActorMemory>,
    clock: StoreClock,
) -> Result<Option<Refusal>, S::Error> {
    if commit.not_after_ms.is_some_and(|not_after_ms| clock.now_ms > not_after_ms) {
        return Ok(Some(Refusal::TooLate { store_ms: clock.now_ms }));
    }
    for precondition in &commit.preconditions {
        let (doc, wanted) = match precondition {
            Precondition::Absent { doc } => (doc, None),
            Precondition::Cas { doc, cas } => (doc, Some(*cas)),
        };
        let current = state.doc_cas(doc)?;
        if current != wanted {
            return Ok(Some(Refusal::Conflict { doc: doc.clone(), current }));
        }
    }
    for step in &commit.epochs {
        let (EpochStep::Require { name, .. } | EpochStep::Raise { name, .. }) = step;
        let current = state.epoch(name)?.unwrap_or(0);
        let fits = match step {
            EpochStep::Require { value, .. } => current == *value,
            EpochStep::Raise { to, .. } => *to > current,
        };
        if !fits {
            return Ok(Some(Refusal::EpochMismatch { name: name.clone(), current }));
        }
    }
    for step in &commit.leases {
        if let Some(refusal) = judge_lease(state, step, clock)? {
            return Ok(Some(refusal));
        }
    }
    if let Some(refusal) = judge_room(state, commit)? {
        return Ok(Some(refusal));
    }
    if let Some(refusal) = judge_act_room(state, commit, memory, clock)? {
        return Ok(Some(refusal));
    }
    if let Some(refusal) = judge_index_room(state, commit)? {
        return Ok(Some(refusal));
    }
    let full = commit.ledger.is_some() && state.ledger_entries()? >= LEDGER_ENTRIES_PER_SHARD_MAX;
    Ok(full.then_some(Refusal::LedgerFull))
}

/// Whether the act can be remembered: beside the actor's others, or as the first of a new actor.
fn judge_act_room<S: PartitionState>(
    state: &mut S,
    commit: &Commit,
    memory: Option<&ActorMemory>,
    clock: StoreClock,
) -> Result<Option<Refusal>, S::Error> {
    let Some(act) = &commit.act else { return Ok(None) };
    let room = match memory {
        Some(memory) => memory.has_room(act),
        None if state.actors()? < ACTORS_PER_PARTITION_MAX => true,
        None => match clock.idle_since_ms() {
            Some(since_ms) => !state.idle_actors(since_ms, 1)?.is_empty(),
            None => false,
        },
    };
    Ok((!room).then_some(Refusal::ActsFull))
}

/// Whether the indexes have room for the entries that this commit adds; looks closer only when one is nearly full.
fn judge_index_room<S: PartitionState>(state: &mut S, commit: &Commit) -> Result<Option<Refusal>, S::Error> {
    let steps = u32::try_from(commit.index.len()).unwrap_or(u32::MAX);
    for (at, step) in commit.index.iter().enumerate() {
        // Read for removals too: a count that can't be read is found before anything is written.
        let entries = state.index_entries(step.index())?;
        let IndexStep::Put { index, key, .. } = step else { continue };
        if entries.saturating_add(steps) <= INDEX_ENTRIES_PER_SHARD_MAX
            || state.has_index_entry(index, key)?
        {
            continue;
        }
        let mut added = 1;
        for earlier in &commit.index[..at] {
            if let IndexStep::Put { index: other, key, .. } = earlier
                && other == index
            {
                added += u32::from(!state.has_index_entry(index, key)?);
            }
        }
        if entries + added > INDEX_ENTRIES_PER_SHARD_MAX {
            return Ok(Some(Refusal::IndexFull { index: index.clone() }));
        }
    }
    Ok(None)
}

fn judge_lease<S: PartitionState>(
    state: &mut S,
    step: &LeaseStep,
    clock: StoreClock,
) -> Result<Option<Refusal>, S::Error> {
    let (LeaseStep::Take { name, .. }
    | LeaseStep::Renew { name, .. }
    | LeaseStep::Release { name, .. }
    | LeaseStep::RequireHeld { name, .. }
    | LeaseStep::RequireExpired { name }) = step;
    let lease = state.lease(name)?;
    let name = name.clone();
    Ok(match (step, lease) {
        (LeaseStep::Take { .. } | LeaseStep::RequireExpired { .. }, None) => None,
        (LeaseStep::Take { holder, .. }, Some(lease)) if lease.holder == *holder => None,
        (LeaseStep::Take { .. } | LeaseStep::RequireExpired { .. }, Some(lease))
            if lease.expired(clock.now_ms) =>
        {
            clock.young().then_some(Refusal::StoreYoung)
        }
        (LeaseStep::Take { .. }, Some(Lease { holder, until_ms })) => {
            Some(Refusal::LeaseHeld { name, holder, until_ms })
        }
        (LeaseStep::RequireExpired { .. }, Some(Lease { until_ms, .. })) => {
            Some(Refusal::NotExpired { name, until_ms })
        }
        (
            LeaseStep::Renew { holder, .. }
            | LeaseStep::Release { holder, .. }
            | LeaseStep::RequireHeld { holder, .. },
            lease,
        ) => {
            let held = lease.is_some_and(|lease| lease.holder == *holder);
            (!held).then_some(Refusal::LeaseLost { name })
        }
    })
}

/// Whether the partition has room for the rows that this commit adds; looks closer only when it is nearly full.
fn judge_room<S: PartitionState>(state: &mut S, commit: &Commit) -> Result<Option<Refusal>, S::Error> {
    let touched = commit.writes.len() + commit.epochs.len() + commit.leases.len();
    let rows = state.rows()? as usize;
    if rows + touched <= PARTITION_ROWS_MAX as usize {
        return Ok(None);
    }
    let mut added = 0;
    for write in commit.writes.iter().filter(|write| write.value.is_some()) {
        added += usize::from(state.doc_cas(&write.doc)?.is_none());
    }
    for step in &commit.epochs {
        if let EpochStep::Raise { name, .. } = step {
            added += usize::from(state.epoch(name)?.is_none());
        }
    }
    for step in &commit.leases {
        if let LeaseStep::Take { name, .. } = step {
            added += usize::from(state.lease(name)?.is_none());
        }
    }
    let full = added > 0 && rows + added > PARTITION_ROWS_MAX as usize;
    Ok(full.then_some(Refusal::PartitionFull))
}

fn write<S: PartitionState>(state: &mut S, commit: &Commit, clock: StoreClock) -> Result<(), S::Error> {
    let cas = Cas::from(commit.token);
    for write in &commit.writes {
        match &write.value {
            Some(value) => state.put_doc(&write.doc, cas, value)?,
            None => state.remove_doc(&write.doc)?,
        }
    }
    for step in &commit.epochs {
        if let EpochStep::Raise { name, to } = step {
            state.put_epoch(name, *to)?;
        }
    }
    for step in &commit.leases {
        match step {
            LeaseStep::Take { name, holder, ttl_ms } | LeaseStep::Renew { name, holder, ttl_ms } => {
                let until_ms = clock.now_ms.saturating_add(*ttl_ms);
                state.put_lease(name, Lease { holder: *holder, until_ms })?;
            }
            LeaseStep::Release { name, .. } => state.remove_lease(name)?,
            LeaseStep::RequireHeld { .. } | LeaseStep::RequireExpired { .. } => {}
        }
    }
    Ok(())
}

fn write_act<S: PartitionState>(
    state: &mut S,
    commit: &Commit,
    memory: Option<ActorMemory>,
    clock: StoreClock,
) -> Result<(), S::Error> {
    let Some(act) = &commit.act else { return Ok(()) };
    if memory.is_none()
        && state.actors()? >= ACTORS_PER_PARTITION_MAX
        && let Some(since_ms) = clock.idle_since_ms()
    {
        for idle in state.idle_actors(since_ms, ACTORS_FORGOTTEN_TOGETHER_MAX)? {
            state.remove_actor(idle)?;
        }
    }
    let mut memory = memory.unwrap_or_default();
    memory.remember(act, commit.token, clock.now_ms);
    state.put_actor(act.actor, memory)
}

fn write_index<S: PartitionState>(state: &mut S, commit: &Commit) -> Result<(), S::Error> {
    for step in &commit.index {
        match step {
            IndexStep::Put { index, key, value } => state.put_index_entry(index, key, value)?,
            IndexStep::Remove { index, key } => state.remove_index_entry(index, key)?,
        }
    }
    Ok(())
}
