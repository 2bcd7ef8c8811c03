//! By what right this allocator seats players: its registration, its lease, the fence against older allocators,
//! the ticket numbers that it may use and how many unused tickets it may have given out. Used by the core only.
//!
//! The newest allocator wins: it raises an epoch of the registry to its source, and an older one learns so at its
//! next renewal. In between nobody seats: an allocator may seat for `AUTHORITY_MS` after it sent a renewal that was
//! confirmed, and a successor waits as long. Before a ticket is given, the store knows a number above it and a count
//! that includes it; so a successor never repeats a number and keeps the seats free that it can't see.

use super::ports::Counters;
use super::requests::{Asked, Requests};
use crate::limits::{
    ALLOCATOR_LEASE_MS, AUTHORITY_MS, HOLD_SLACK_MS, REGISTRY_EVERY_MS, STORE_RETRY_MS, TICKET_NUMBER_SHIFT,
    TICKETS_AHEAD_MS,
};
use chunk_sync::ids::{IslandId, Source};
use chunk_sync::limits::TICKET_MS;
use chunk_sync::records::{
    AllocatorRecord, CLUSTER_REGISTRY, DOC_TICKETS, EPOCH_ALLOCATOR, EPOCH_TICKETS, TicketsRecord, WORLD,
    allocator_doc, decode, encode, lease_name,
};
use chunk_sync::store::{
    Commit, CommitOutcome, EpochStep, LeaseStep, PARTITION_ROWS_MAX, PartitionKey, PartitionView, Refusal,
    StoreAnswer, StoreFault, StoreOp, WRITES_PER_COMMIT_MAX,
};
use std::collections::BTreeMap;

const ALLOCATOR_PREFIX: &str = "allocator/";
/// Predecessors that one registration clears away: each is a write, and each may have a lease to release.
const CLEARED_MAX: usize = 8;
const _: () = assert!(CLEARED_MAX + 2 <= WRITES_PER_COMMIT_MAX && CLEARED_MAX < 16 && PARTITION_ROWS_MAX > 64);

/// How far the right has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Right {
    /// Not registered yet.
    None,
    /// Registered.
    Held,
    /// A newer allocator is there.
    Fenced,
    /// Given back.
    Left,
}

/// A commit of ours that is under way.
#[derive(Debug)]
struct Sent {
    at_ms: u64,
    reserved: u64,
    promised: BTreeMap<IslandId, u32>,
    inherited: BTreeMap<IslandId, u32>,
}

#[derive(Debug)]
pub(super) struct Authority {
    source: Source,
    record: AllocatorRecord,
    right: Right,
    sent: Option<Sent>,
    leaving: bool,
    succeeds: bool,
    reading: bool,
    read_ms: u64,
    write_ms: u64,
    confirmed_until_ms: u64,
    serve_from_ms: u64,
    last_number: u64,
    reserved: u64,
    promised: BTreeMap<IslandId, u32>,
    wanted: BTreeMap<IslandId, u32>,
    inherited: BTreeMap<IslandId, u32>,
    inherited_until_ms: u64,
}

impl Authority {
    pub(super) fn new(source: Source, record: AllocatorRecord) -> Self {
        Self {
            source,
            record,
            right: Right::None,
            sent: None,
            leaving: false,
            succeeds: false,
            reading: false,
            read_ms: 0,
            write_ms: 0,
            confirmed_until_ms: 0,
            serve_from_ms: 0,
            last_number: 0,
            reserved: 0,
            promised: BTreeMap::new(),
            wanted: BTreeMap::new(),
            inherited: BTreeMap::new(),
            inherited_until_ms: 0,
        }
    }

    pub(super) fn right(&self) -> Right {
        self.right
    }

    /// Whether players may be seated now.
    pub(super) fn may_seat(&self, now_ms: u64) -> bool {
        self.right == Right::Held && now_ms >= self.serve_from_ms && now_ms < self.confirmed_until_ms
    }

    /// Whether the store confirmed us lately.
    pub(super) fn is_confirmed(&self, now_ms: u64) -> bool {
        now_ms < self.confirmed_until_ms
    }

    /// Seats on the island that tickets of an earlier allocator may still take.
    pub(super) fn inherited(&self, island: IslandId, now_ms: u64) -> u32 {
        if now_ms >= self.inherited_until_ms { 0 } else { self.inherited.get(&island).copied().unwrap_or(0) }
    }

    /// Whether the store knows of one more unused ticket than the `held` ones for this island; if it doesn't, it
    /// will be told.
    pub(super) fn may_issue(&mut self, island: IslandId, held: u32) -> bool {
        let promised = |of: &BTreeMap<IslandId, u32>| of.get(&island).copied().unwrap_or(0);
        let confirmed = promised(&self.promised);
        let sure = self.sent.as_ref().map_or(confirmed, |sent| confirmed.min(promised(&sent.promised)));
        *self.wanted.entry(island).or_default() += 1;
        held < sure
    }

    /// The next ticket number, if the store knows a larger one.
    pub(super) fn next_number(&mut self, now_ms: u64) -> Option<u64> {
        let number = (self.last_number + 1).max(now_ms << TICKET_NUMBER_SHIFT);
        (number <= self.reserved).then(|| {
            self.last_number = number;
            number
        })
    }

    /// Reads the registry when it is time.
    pub(super) fn read(&mut self, requests: &mut Requests, now_ms: u64) {
        if !self.reading && now_ms >= self.read_ms && self.right != Right::Left {
            self.reading = true;
            self.read_ms = now_ms + REGISTRY_EVERY_MS;
            requests.ask(Asked::Registry, StoreOp::Load { partition: registry() }, now_ms);
        }
    }

    /// Takes the registry as it is now, and registers in it if that is still to be done.
    pub(super) fn handle_registry(
        &mut self,
        view: Option<&PartitionView>,
        requests: &mut Requests,
        counters: &mut Counters,
        now_ms: u64,
    ) {
        self.reading = false;
        let Some(view) = view else {
            self.read_ms = now_ms + STORE_RETRY_MS;
            return;
        };
        if view.epoch(EPOCH_ALLOCATOR) > u64::from(self.source.0) {
            self.right = Right::Fenced;
        }
        if self.right == Right::None && self.sent.is_none() {
            self.register(view, requests, counters, now_ms);
        }
    }

    fn register(
        &mut self,
        view: &PartitionView,
        requests: &mut Requests,
        counters: &mut Counters,
        now_ms: u64,
    ) {
        let Some(token) = requests.token() else { return };
        let mut commit = self.put_record(Commit::new(registry(), token));
        if view.epoch(EPOCH_ALLOCATOR) < u64::from(self.source.0) {
            let to = u64::from(self.source.0);
            commit = commit.epoch(EpochStep::Raise { name: EPOCH_ALLOCATOR.into(), to });
        }
        commit = commit.lease(self.lease(|name, holder| LeaseStep::Take { name, holder, ttl_ms: ALLOCATOR_LEASE_MS }));
        let own = allocator_doc(self.source);
        let others = view.docs.keys().filter(|name| name.as_str().starts_with(ALLOCATOR_PREFIX) && name.as_str() != own);
        for name in others.take(CLEARED_MAX) {
            // Remembered, since a registration whose answer was lost leaves no trace of them.
            self.succeeds = true;
            commit = commit.remove(name.clone());
            let source = name.as_str()[ALLOCATOR_PREFIX.len()..].parse().map(Source);
            let lease = source.ok().map(lease_name);
            if let Some((name, lease)) = lease.and_then(|name| view.leases.get_key_value(name.as_str())) {
                commit = commit.lease(LeaseStep::Release { name: name.clone(), holder: lease.holder });
            }
        }
        // What the predecessor may have given out, read in the same state in which it is fenced.
        commit = match view.cas(DOC_TICKETS) {
            None => commit.absent(DOC_TICKETS),
            Some(cas) => commit.expect(DOC_TICKETS, cas),
        };
        let tickets = view.doc(DOC_TICKETS).map(|value| decode::<TicketsRecord>(value));
        counters.records_malformed += u64::from(tickets == Some(None));
        let inherited = tickets.flatten().unwrap_or_default().held.into_iter().collect();
        self.last_number = self.last_number.max(view.epoch(EPOCH_TICKETS));
        let reserved = self.reserve(now_ms);
        commit = commit.epoch(EpochStep::Raise { name: EPOCH_TICKETS.into(), to: reserved });
        self.sent = Some(Sent { at_ms: now_ms, reserved, promised: BTreeMap::new(), inherited });
        requests.ask(Asked::Membership, StoreOp::Commit(commit), now_ms);
    }

    /// Renews when it is time, or when a ticket waits for a promise; `held` are the unused tickets per island, `room`
    /// says how many more an island can seat.
    pub(super) fn renew(
        &mut self,
        held: &BTreeMap<IslandId, u32>,
        room: impl Fn(IslandId) -> u32,
        requests: &mut Requests,
        now_ms: u64,
    ) {
        let short = self.wanted.iter().any(|(island, _)| self.is_short(*island, held));
        if self.right != Right::Held || self.sent.is_some() || (now_ms < self.write_ms && !short) {
            return;
        }
        let Some(token) = requests.token() else { return };
        // Twice what was asked for since the last time: a storm pays a commit per doubling, calm days promise nothing.
        let mut promised = held.clone();
        for (island, wanted) in std::mem::take(&mut self.wanted) {
            // Who is counted on the island already needs no room for another ticket.
            let more = wanted.saturating_add(wanted.min(room(island)));
            let promised = promised.entry(island).or_default();
            *promised = promised.saturating_add(more);
        }
        let mut commit = self
            .put_tickets(Commit::new(registry(), token), &promised, now_ms)
            .epoch(self.require())
            .lease(self.lease(|name, holder| LeaseStep::Renew { name, holder, ttl_ms: ALLOCATOR_LEASE_MS }));
        let reserved = self.reserve(now_ms);
        if reserved > self.reserved {
            commit = commit.epoch(EpochStep::Raise { name: EPOCH_TICKETS.into(), to: reserved });
        }
        self.write_ms = now_ms + REGISTRY_EVERY_MS;
        self.sent = Some(Sent { at_ms: now_ms, reserved, promised, inherited: BTreeMap::new() });
        requests.ask(Asked::Membership, StoreOp::Commit(commit), now_ms);
    }

    /// Gives the right back: nobody is seated any more, and a successor need not wait.
    pub(super) fn leave(&mut self, held: &BTreeMap<IslandId, u32>, requests: &mut Requests, now_ms: u64) {
        let was = std::mem::replace(&mut self.right, Right::Left);
        let Some(token) = (was == Right::Held).then(|| requests.token()).flatten() else { return };
        let commit = self
            .put_tickets(Commit::new(registry(), token), held, now_ms)
            .remove(allocator_doc(self.source))
            .epoch(self.require())
            .lease(self.lease(|name, holder| LeaseStep::Release { name, holder }));
        self.leaving = true;
        requests.ask(Asked::Leave, StoreOp::Commit(commit), now_ms);
    }

    /// Takes the answer to `Asked::Leave`, whatever it is: an allocator that can't sign off just ends.
    pub(super) fn handle_leave(&mut self) {
        self.leaving = false;
    }

    /// Whether nothing is under way any more after `leave`.
    pub(super) fn has_left(&self) -> bool {
        self.right == Right::Left && !self.leaving
    }

    /// Takes the answer to `Asked::Membership`.
    pub(super) fn handle_commit(&mut self, answer: &StoreAnswer, now_ms: u64) {
        let Some(sent) = self.sent.take() else { return };
        match answer {
            StoreAnswer::Committed(CommitOutcome::Done { .. }) => self.confirm(sent, now_ms),
            StoreAnswer::Committed(CommitOutcome::Refused(refusal)) => self.refused(refusal),
            StoreAnswer::Failed(StoreFault::TimedOut) => {
                // It may have been done: what it took back must not be relied on.
                for (island, promised) in &mut self.promised {
                    *promised = (*promised).min(sent.promised.get(island).copied().unwrap_or(0));
                }
                self.write_ms = now_ms;
            }
            _ => self.write_ms = now_ms + STORE_RETRY_MS,
        }
    }

    fn confirm(&mut self, sent: Sent, now_ms: u64) {
        if self.right == Right::None {
            self.right = Right::Held;
            self.serve_from_ms = if self.succeeds { now_ms + AUTHORITY_MS } else { now_ms };
            self.succeeds = false;
            self.inherited = sent.inherited;
            self.inherited_until_ms = now_ms + AUTHORITY_MS + TICKET_MS + HOLD_SLACK_MS;
            self.write_ms = now_ms;
        }
        self.reserved = self.reserved.max(sent.reserved);
        self.promised = sent.promised;
        self.confirmed_until_ms = self.confirmed_until_ms.max(sent.at_ms + AUTHORITY_MS);
    }

    fn refused(&mut self, refusal: &Refusal) {
        let own = u64::from(self.source.0);
        match refusal {
            Refusal::EpochMismatch { name, current } if name.as_str() == EPOCH_ALLOCATOR && *current > own => {
                self.right = Right::Fenced;
            }
            // An earlier reservation was done after all, though we never heard so.
            Refusal::EpochMismatch { name, current } if name.as_str() == EPOCH_TICKETS => {
                self.last_number = self.last_number.max(*current);
                self.write_ms = 0;
                self.read_ms = 0;
            }
            // The registry is not as it was read, or was lost: read it and register again.
            _ if self.right == Right::Held || self.right == Right::None => {
                self.right = Right::None;
                self.confirmed_until_ms = 0;
                self.promised.clear();
                self.read_ms = 0;
            }
            _ => {}
        }
    }

    /// Whether a ticket waits for the store to know of it.
    fn is_short(&self, island: IslandId, held: &BTreeMap<IslandId, u32>) -> bool {
        let of = |counts: &BTreeMap<IslandId, u32>| counts.get(&island).copied().unwrap_or(0);
        of(held) >= of(&self.promised)
    }

    fn reserve(&self, now_ms: u64) -> u64 {
        let ahead = TICKETS_AHEAD_MS << TICKET_NUMBER_SHIFT;
        (now_ms << TICKET_NUMBER_SHIFT).max(self.last_number).saturating_add(ahead)
    }

    fn require(&self) -> EpochStep {
        EpochStep::Require { name: EPOCH_ALLOCATOR.into(), value: u64::from(self.source.0) }
    }

    fn lease(&self, step: impl FnOnce(chunk_sync::store::Name, u64) -> LeaseStep) -> LeaseStep {
        step(lease_name(self.source).into(), u64::from(self.source.0))
    }

    fn put_record(&self, commit: Commit) -> Commit {
        commit.put(allocator_doc(self.source), encode(&self.record))
    }

    fn put_tickets(&self, commit: Commit, held: &BTreeMap<IslandId, u32>, now_ms: u64) -> Commit {
        let mut all = held.clone();
        for island in self.inherited.keys() {
            *all.entry(*island).or_default() += self.inherited(*island, now_ms);
        }
        let held = all.into_iter().filter(|(_, count)| *count > 0).collect();
        commit.put(DOC_TICKETS, encode(&TicketsRecord { held }))
    }
}

fn registry() -> PartitionKey {
    PartitionKey::cluster(WORLD, CLUSTER_REGISTRY)
}
