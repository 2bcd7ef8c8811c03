//! By what right this allocator seats players: its registration, its lease, the fence against older allocators,
//! the ticket numbers that it may use and how many unused tickets it may have given out. Used by the core only.
//!
//! The newest allocator wins: it raises an epoch of the registry to its source, and an older one learns so at its next
//! renewal, or stops for lack of one after `AUTHORITY_MS`. What the older one may still give until then is known:
//! before a ticket is given, the store holds a number above it and a count that includes it. The successor reads both
//! in the state in which it fences, begins above the number, and keeps as many seats free until those tickets are
//! void. So it can serve at once, even beside one that has not noticed yet.

use super::ledger::Ledger;
use super::members::Members;
use super::ports::Counters;
use super::requests::{Asked, Requests};
use crate::limits::{
    ALLOCATOR_LEASE_MS, AUTHORITY_MS, HOLD_SLACK_MS, PRESENT_ROWS_MAX, REGISTRY_EVERY_MS, STORE_RETRY_MS,
    TICKET_NUMBER_SHIFT, TICKETS_AHEAD_MS,
};
use chunk_sync::ids::{IslandId, Source};
use chunk_sync::limits::{RESUME_GRACE_MS, TICKET_MS};
use chunk_sync::records::{
    AllocatorRecord, CLUSTER_REGISTRY, DOC_SEATS, EPOCH_ALLOCATOR, EPOCH_TICKETS, SeatsRecord, WORLD,
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
/// Tickets that are promised at once for an island without a free seat.
const FULL_ISLAND_TICKETS: u32 = 8;
const _: () =
    assert!(CLEARED_MAX + 2 <= WRITES_PER_COMMIT_MAX && CLEARED_MAX < 16 && PARTITION_ROWS_MAX > 64);

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
    inherited: SeatsRecord,
}

#[derive(Debug)]
pub(super) struct Authority {
    source: Source,
    record: AllocatorRecord,
    right: Right,
    sent: Option<Sent>,
    leaving: bool,
    reading: bool,
    read_ms: u64,
    write_ms: u64,
    /// A store that just failed is left alone until then, whoever waits.
    retry_ms: u64,
    confirmed_until_ms: u64,
    last_number: u64,
    reserved: u64,
    promised: BTreeMap<IslandId, u32>,
    wanted: BTreeMap<IslandId, u32>,
    legacy: Legacy,
}

/// What an earlier allocator left that can't be seen yet.
#[derive(Debug, Default)]
struct Legacy {
    seats: SeatsRecord,
    held_until_ms: u64,
    present_until_ms: u64,
    by_island: BTreeMap<IslandId, u32>,
}

impl Legacy {
    /// Forgets what is over: tickets once they have expired and every node has spoken since, players once their node
    /// has spoken or was replaced; everything once a grace is over.
    fn refresh(&mut self, now_ms: u64, members: &Members) {
        if self.seats == SeatsRecord::default() {
            return;
        }
        let waits = now_ms < self.present_until_ms;
        if !waits || (now_ms >= self.held_until_ms && members.all_spoke_since(self.held_until_ms)) {
            self.seats.held.clear();
        }
        self.seats.present.retain(|(source, ..)| waits && members.is_unheard(*source));
        self.by_island.clear();
        let present = self.seats.present.iter().map(|(_, island, count)| (island, count));
        for (island, count) in self.seats.held.iter().map(|(island, count)| (island, count)).chain(present) {
            let sum = self.by_island.entry(*island).or_default();
            *sum = sum.saturating_add(*count);
        }
    }
}

impl Authority {
    pub(super) fn new(source: Source, record: AllocatorRecord) -> Self {
        Self {
            source,
            record,
            right: Right::None,
            sent: None,
            leaving: false,
            reading: false,
            read_ms: 0,
            write_ms: 0,
            retry_ms: 0,
            confirmed_until_ms: 0,
            last_number: 0,
            reserved: 0,
            promised: BTreeMap::new(),
            wanted: BTreeMap::new(),
            legacy: Legacy::default(),
        }
    }

    pub(super) fn right(&self) -> Right {
        self.right
    }

    /// Whether players may be seated now.
    pub(super) fn may_seat(&self, now_ms: u64) -> bool {
        self.right == Right::Held && self.is_confirmed(now_ms)
    }

    /// Whether the store confirmed us lately.
    pub(super) fn is_confirmed(&self, now_ms: u64) -> bool {
        now_ms < self.confirmed_until_ms
    }

    /// Seats on the island that may be taken though the ledger doesn't know: an earlier allocator gave them.
    pub(super) fn inherited(&self, island: IslandId) -> u32 {
        self.legacy.by_island.get(&island).copied().unwrap_or(0)
    }

    /// Forgets what an earlier allocator left once it can be seen.
    pub(super) fn refresh_inherited(&mut self, members: &Members, now_ms: u64) {
        self.legacy.refresh(now_ms, members);
    }

    /// Whether the store knows of one more unused ticket than the `held` ones for this island. If it doesn't, it will
    /// be told of as many as `waiting` joins could want.
    pub(super) fn may_issue(&mut self, island: IslandId, held: u32, waiting: usize) -> bool {
        let promised = |of: &BTreeMap<IslandId, u32>| of.get(&island).copied().unwrap_or(0);
        let confirmed = promised(&self.promised);
        let sure = self.sent.as_ref().map_or(confirmed, |sent| confirmed.min(promised(&sent.promised)));
        let wanted = self.wanted.entry(island).or_default();
        if held < sure {
            *wanted += 1;
            return true;
        }
        *wanted = (*wanted).max(u32::try_from(waiting).unwrap_or(u32::MAX));
        false
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
        commit = commit.lease(self.lease(|name, holder| LeaseStep::Take {
            name,
            holder,
            ttl_ms: ALLOCATOR_LEASE_MS,
        }));
        let own = allocator_doc(self.source);
        let others = view
            .docs
            .keys()
            .filter(|name| name.as_str().starts_with(ALLOCATOR_PREFIX) && name.as_str() != own);
        for name in others.take(CLEARED_MAX) {
            commit = commit.remove(name.clone());
            let source = name.as_str()[ALLOCATOR_PREFIX.len()..].parse().map(Source);
            let lease = source.ok().map(lease_name);
            if let Some((name, lease)) = lease.and_then(|name| view.leases.get_key_value(name.as_str())) {
                commit = commit.lease(LeaseStep::Release { name: name.clone(), holder: lease.holder });
            }
        }
        // What the predecessor may have given out, read in the same state in which it is fenced.
        commit = match view.cas(DOC_SEATS) {
            None => commit.absent(DOC_SEATS),
            Some(cas) => commit.expect(DOC_SEATS, cas),
        };
        let seats = view.doc(DOC_SEATS).map(|value| decode::<SeatsRecord>(value));
        counters.records_malformed += u64::from(seats == Some(None));
        let inherited = seats.flatten().unwrap_or_default();
        self.last_number = self.last_number.max(view.epoch(EPOCH_TICKETS));
        let reserved = self.reserve(now_ms);
        commit = commit.epoch(EpochStep::Raise { name: EPOCH_TICKETS.into(), to: reserved });
        self.sent = Some(Sent { at_ms: now_ms, reserved, promised: BTreeMap::new(), inherited });
        requests.ask(Asked::Membership, StoreOp::Commit(commit), now_ms);
    }

    /// Renews when it is time, or when a ticket waits for a promise; `room` says how many more an island can seat.
    pub(super) fn renew(
        &mut self,
        ledger: &Ledger,
        room: impl Fn(IslandId) -> u32,
        requests: &mut Requests,
        now_ms: u64,
    ) {
        let held = ledger.held();
        let short = self.wanted.keys().any(|island| self.is_short(*island, held));
        let due = now_ms >= self.retry_ms && (now_ms >= self.write_ms || short);
        if self.right != Right::Held || self.sent.is_some() || !due {
            return;
        }
        let Some(token) = requests.token() else { return };
        // Twice what was wanted since the last time, so that a storm is not stopped at each ticket; calm days promise
        // nothing. Who is counted on a full island already may still want another ticket for it.
        let mut promised = held.clone();
        for (island, wanted) in std::mem::take(&mut self.wanted) {
            let more = wanted.saturating_mul(2).min(room(island).max(FULL_ISLAND_TICKETS));
            let promised = promised.entry(island).or_default();
            *promised = promised.saturating_add(more);
        }
        let mut commit = self
            .put_seats(Commit::new(registry(), token), &promised, ledger)
            .epoch(self.require())
            .lease(self.lease(|name, holder| LeaseStep::Renew { name, holder, ttl_ms: ALLOCATOR_LEASE_MS }));
        let reserved = self.reserve(now_ms);
        if reserved > self.reserved {
            commit = commit.epoch(EpochStep::Raise { name: EPOCH_TICKETS.into(), to: reserved });
        }
        self.write_ms = now_ms + REGISTRY_EVERY_MS;
        self.sent = Some(Sent { at_ms: now_ms, reserved, promised, inherited: SeatsRecord::default() });
        requests.ask(Asked::Membership, StoreOp::Commit(commit), now_ms);
    }

    /// Gives the right back: nobody is seated any more, and a successor need not wait.
    pub(super) fn leave(&mut self, ledger: &Ledger, requests: &mut Requests, now_ms: u64) {
        let was = std::mem::replace(&mut self.right, Right::Left);
        let Some(token) = (was == Right::Held).then(|| requests.token()).flatten() else { return };
        let commit = self
            .put_seats(Commit::new(registry(), token), ledger.held(), ledger)
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
    pub(super) fn handle_commit(&mut self, answer: &StoreAnswer, members: &Members, now_ms: u64) {
        let Some(sent) = self.sent.take() else { return };
        if matches!(answer, StoreAnswer::Failed(_)) {
            self.retry_ms = now_ms + STORE_RETRY_MS;
            self.write_ms = self.retry_ms;
        }
        match answer {
            StoreAnswer::Committed(CommitOutcome::Done { .. }) => self.confirm(sent, members, now_ms),
            StoreAnswer::Committed(CommitOutcome::Refused(refusal)) => self.refused(refusal),
            StoreAnswer::Failed(StoreFault::TimedOut) => {
                // It may have been done: what it took back must not be relied on.
                for (island, promised) in &mut self.promised {
                    *promised = (*promised).min(sent.promised.get(island).copied().unwrap_or(0));
                }
            }
            // Nothing was changed.
            _ => {}
        }
    }

    fn confirm(&mut self, sent: Sent, members: &Members, now_ms: u64) {
        if self.right == Right::None {
            self.right = Right::Held;
            self.legacy = Legacy {
                seats: sent.inherited,
                held_until_ms: now_ms + AUTHORITY_MS + TICKET_MS + HOLD_SLACK_MS,
                present_until_ms: now_ms + RESUME_GRACE_MS,
                by_island: BTreeMap::new(),
            };
            self.legacy.refresh(now_ms, members);
            self.write_ms = now_ms;
        }
        self.reserved = self.reserved.max(sent.reserved);
        self.promised = sent.promised;
        self.confirmed_until_ms = self.confirmed_until_ms.max(sent.at_ms + AUTHORITY_MS);
    }

    fn refused(&mut self, refusal: &Refusal) {
        let own = u64::from(self.source.0);
        match refusal {
            Refusal::EpochMismatch { name, current }
                if name.as_str() == EPOCH_ALLOCATOR && *current > own =>
            {
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

    fn put_seats(&self, commit: Commit, held: &BTreeMap<IslandId, u32>, ledger: &Ledger) -> Commit {
        let mut all = held.clone();
        for (island, count) in &self.legacy.seats.held {
            *all.entry(*island).or_default() += count;
        }
        let held = all.into_iter().filter(|(_, count)| *count > 0).collect();
        let counted = ledger.present().iter().map(|((source, island), count)| (*source, *island, *count));
        let mut present: Vec<_> = counted.chain(self.legacy.seats.present.iter().copied()).collect();
        if present.len() > PRESENT_ROWS_MAX {
            present.sort_unstable_by_key(|(source, island, count)| {
                (std::cmp::Reverse(*count), *source, *island)
            });
            present.truncate(PRESENT_ROWS_MAX);
        }
        commit.put(DOC_SEATS, encode(&SeatsRecord { held, present }))
    }
}

fn registry() -> PartitionKey {
    PartitionKey::cluster(WORLD, CLUSTER_REGISTRY)
}
