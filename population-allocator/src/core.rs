//! The allocator's core: joins, census and store answers go in; answers, store operations and mesh commands come
//! out. The service and the simulation drive it with a clock of theirs.
//!
//! It does no I/O, reads no clock, draws no random number, and everything it walks through is in order: the same
//! inputs give the same decisions, tickets included.

mod admission;
mod authority;
mod homes;
mod ledger;
mod members;
mod names;
mod placement;
mod plan_book;
mod planning;
mod ports;
mod requests;
mod seating;
mod state;

pub use ledger::{Hold, Presence, Seat};
pub use ports::{AllocatorConfig, Answer, ConfigError, Counters, RequestNo, Standing};
pub use state::{ChunkState, ClusterState, IslandState, NodeState, PlanState, QueueState, TickState};

use crate::limits::FIRST_CENSUS_MS;
use admission::{Entrant, Joins};
use authority::{Authority, Right};
use chunk_sync::ids::{IslandId, NodeId, PlayerId, Source};
use chunk_sync::limits::RESUME_GRACE_MS;
use chunk_sync::mesh_wire::{Census, Heartbeat, Topic, decode};
use chunk_sync::ports::{MeshCommand, RequestId};
use chunk_sync::records::{AllocatorRecord, PlanRecord};
use chunk_sync::store::{StoreAnswer, StoreFault, StoreOp};
use chunk_sync::wire::{Hello, RejectCode, is_name};
use homes::{Homes, Located};
use ledger::{Ledger, Report};
use members::{Lost, Members};
use names::{Found, Names, Settled};
use plan_book::PlanBook;
use planning::Planning;
use requests::{Asked, Requests};
use seating::applicant;
use std::collections::{BTreeMap, VecDeque};

/// The allocator, pure.
#[derive(Debug)]
pub struct AllocatorCore {
    config: AllocatorConfig,
    authority: Authority,
    members: Members,
    ledger: Ledger,
    names: Names,
    homes: Homes,
    joins: Joins,
    book: PlanBook,
    planning: Planning,
    requests: Requests,
    /// When the wait for the first census ends.
    settled_ms: Option<u64>,
    linked: BTreeMap<Source, String>,
    mesh: VecDeque<MeshCommand>,
    answers: VecDeque<Answer>,
    counters: Counters,
}

impl AllocatorCore {
    /// An allocator that starts at `now_ms` (world milliseconds).
    ///
    /// # Errors
    /// When the policy contradicts itself or there is no ticket key.
    pub fn new(config: AllocatorConfig, now_ms: u64) -> Result<Self, ConfigError> {
        let faults = config.policy.faults();
        if !faults.is_empty() {
            return Err(ConfigError::Policy(faults));
        }
        if config.keys.is_empty() {
            return Err(ConfigError::NoKey);
        }
        let record = AllocatorRecord {
            source: config.source,
            address: config.address.clone(),
            mesh: config.mesh.clone(),
        };
        let mut core = AllocatorCore {
            authority: Authority::new(config.source, record),
            requests: Requests::new(config.source),
            planning: Planning::new(&config.policy),
            config,
            members: Members::default(),
            ledger: Ledger::default(),
            names: Names::default(),
            homes: Homes::default(),
            joins: Joins::default(),
            book: PlanBook::default(),
            settled_ms: None,
            linked: BTreeMap::new(),
            mesh: VecDeque::from([MeshCommand::Subscribe(Topic::Census.bytes())]),
            answers: VecDeque::new(),
            counters: Counters::default(),
        };
        core.tick(now_ms);
        Ok(core)
    }

    /// A client said `hello` and wants a seat. `request` is larger than any before; its answer comes from
    /// `drain_answers`, at once or within `JOIN_WAIT_MS`.
    pub fn handle_join(&mut self, request: RequestNo, hello: Hello, now_ms: u64) {
        self.counters.joins += 1;
        if matches!(self.authority.right(), Right::Fenced | Right::Left) {
            return self.refuse(request, RejectCode::Closing);
        }
        let Some(protocol) = hello.version() else { return self.refuse(request, RejectCode::Version) };
        let Some(name) = hello.name.filter(|name| is_name(name)) else {
            return self.refuse(request, RejectCode::BadName);
        };
        if self.joins.is_full() {
            return self.refuse(request, RejectCode::Busy);
        }
        let found = self.names.find(&name, request, &mut self.requests, now_ms);
        if found == Found::Busy {
            return self.refuse(request, RejectCode::Busy);
        }
        self.joins.add(request, name, protocol, hello.island, now_ms);
        if let Found::Known(player) = found {
            self.locate(request, player, now_ms);
        }
    }

    /// The client went away before it was answered.
    pub fn handle_gone(&mut self, request: RequestNo) {
        self.joins.remove(request);
    }

    /// A message of `peer`'s publisher. What can't be read, isn't for an allocator or comes from an incarnation that
    /// the registry doesn't name changes nothing.
    pub fn handle_mesh(&mut self, peer: Source, topic: &[u8], body: &[u8], now_ms: u64) {
        match Topic::parse(topic) {
            Some(Topic::Census) => match decode::<Census>(body) {
                Some(census) if census.source == peer => self.handle_census(census, now_ms),
                _ => self.counters.mesh_malformed += 1,
            },
            Some(Topic::Heartbeat) => match decode::<Heartbeat>(body) {
                Some(heartbeat) if heartbeat.source == peer => {
                    self.members.hear(peer, now_ms, &mut self.counters);
                }
                _ => self.counters.mesh_malformed += 1,
            },
            _ => self.counters.mesh_malformed += 1,
        }
    }

    fn handle_census(&mut self, mut census: Census, now_ms: u64) {
        let Some(node) = self.members.hear(census.source, now_ms, &mut self.counters) else { return };
        if census.node != node {
            self.counters.mesh_malformed += 1;
            return;
        }
        let source = census.source;
        let Some(before) = self.members.census(node, &mut census, now_ms, &mut self.counters) else { return };
        self.ledger.report(Report { node, source, sessions: &census.sessions, before: &before });
        self.planning.hurry_if_warming();
        self.refresh_inherited(now_ms);
    }

    /// The store's answer to a question from `drain_requests`.
    pub fn handle_answer(&mut self, id: RequestId, answer: StoreAnswer, now_ms: u64) {
        let Some(asked) = self.requests.answered(id) else { return };
        self.handle_asked(asked, answer, now_ms);
    }

    fn handle_asked(&mut self, asked: Asked, answer: StoreAnswer, now_ms: u64) {
        self.counters.store_faults += u64::from(matches!(answer, StoreAnswer::Failed(_)));
        match asked {
            Asked::Registry => self.handle_registry(answer, now_ms),
            Asked::Membership => {
                self.authority.handle_commit(&answer, &self.members, now_ms);
                self.retry_joins(now_ms);
                self.renew(now_ms);
            }
            Asked::Leave => self.authority.handle_leave(),
            Asked::PlanRead => {
                if self.book.handle_read(answer, &mut self.counters, now_ms) {
                    self.plan(now_ms);
                }
            }
            Asked::PlanWrite => {
                if self.book.handle_write(answer, &mut self.counters, now_ms) {
                    self.retry_joins(now_ms);
                    self.renew(now_ms);
                }
            }
            Asked::NameRead(name) => {
                let settled =
                    self.names.handle_read(&name, answer, &mut self.requests, &mut self.counters, now_ms);
                self.handle_name(settled, now_ms);
            }
            Asked::NameWrite(name) => {
                let settled = self.names.handle_write(&name, answer, &mut self.requests, now_ms);
                self.handle_name(settled, now_ms);
            }
            Asked::Whereabouts(player) => {
                let located =
                    self.homes.handle_read(player, answer, &mut self.requests, &mut self.counters, now_ms);
                let Some(Located { waiting, home }) = located else { return };
                for request in self.joins.still(waiting) {
                    match home {
                        Ok(home) => self.found(request, Entrant { player, home }, now_ms),
                        Err(code) => self.refuse(request, code),
                    }
                }
            }
        }
    }

    fn handle_registry(&mut self, answer: StoreAnswer, now_ms: u64) {
        let view = match answer {
            StoreAnswer::Loaded(view) => Some(view),
            _ => None,
        };
        self.authority.handle_registry(view.as_ref(), &mut self.requests, &mut self.counters, now_ms);
        if let Some(view) = view {
            let lost = self.members.refresh(&view, &mut self.counters);
            self.lose(lost, now_ms);
            self.refresh_inherited(now_ms);
            self.settled_ms.get_or_insert(now_ms + FIRST_CENSUS_MS);
        }
    }

    fn handle_name(&mut self, settled: Option<Settled>, now_ms: u64) {
        let Some(Settled { waiting, player, is_new }) = settled else { return };
        for request in self.joins.still(waiting) {
            match player {
                Some(player) if is_new => self.found(request, Entrant { player, home: None }, now_ms),
                Some(player) => self.locate(request, player, now_ms),
                None => self.refuse(request, RejectCode::StoreAway),
            }
        }
    }

    /// The join's player is known now, and must be found.
    fn locate(&mut self, request: RequestNo, player: PlayerId, now_ms: u64) {
        if !self.homes.ask(player, request, &mut self.requests, now_ms) {
            self.refuse(request, RejectCode::Busy);
        }
    }

    /// It is known who joins, and where that player is at home: a seat at once, if there is one.
    fn found(&mut self, request: RequestNo, entrant: Entrant, now_ms: u64) {
        let Some(join) = self.joins.get_mut(request) else { return };
        join.entrant = Some(entrant);
        let newcomer = entrant.home.is_none() && self.ledger.seat(entrant.player).is_none();
        let applicant = applicant(self.joins.get(request));
        // Who comes home needs no new land, as long as there is room.
        if newcomer || applicant.is_some_and(|applicant| self.roams(applicant)) {
            self.planning.arrive(now_ms);
        }
        if self.seat(request, now_ms) == Some(RejectCode::Full) {
            // Somebody waits: the next step decides, however short ago the last decision is.
            self.planning.hurry();
        }
        self.renew(now_ms);
    }

    /// One step; call it ten times a second.
    pub fn tick(&mut self, now_ms: u64) {
        while let Some(asked) = self.requests.give_up(now_ms) {
            self.handle_asked(asked, StoreAnswer::Failed(StoreFault::TimedOut), now_ms);
        }
        self.authority.read(&mut self.requests, now_ms);
        let silent = self.members.silent(now_ms);
        self.lose(silent, now_ms);
        let commands = self.members.links(&mut self.linked, now_ms);
        self.mesh.extend(commands);
        let members = &self.members;
        self.ledger.expire(now_ms, |node| members.spoke_ms(node));
        self.refresh_inherited(now_ms);
        self.book.tick(&mut self.requests, now_ms);
        self.plan(now_ms);
        self.retry_joins(now_ms);
        self.refuse_overdue(now_ms);
        self.renew(now_ms);
    }

    fn lose(&mut self, lost: Vec<Lost>, now_ms: u64) {
        for Lost { source, listed } in lost {
            self.ledger.lose(source, &listed, now_ms + RESUME_GRACE_MS);
        }
    }

    fn refresh_inherited(&mut self, now_ms: u64) {
        self.authority.refresh_inherited(&self.members, now_ms);
    }

    fn renew(&mut self, now_ms: u64) {
        let (ledger, book) = (&self.ledger, &self.book);
        let room = |wanted: IslandId| {
            let island =
                book.plan().and_then(|plan| plan.islands.iter().find(|island| island.island == wanted));
            island.map_or(0, |island| island.cap.saturating_sub(ledger.population(wanted)))
        };
        self.authority.renew(ledger, room, &mut self.requests, now_ms);
    }

    /// Asked to stop: waiting joins are refused, and the store is told that the right to seat is free. Keep carrying
    /// store operations until `has_left`, or for as long as there is time.
    pub fn shutdown(&mut self, now_ms: u64) {
        let waiting: Vec<RequestNo> = self.joins.iter().map(|(request, _)| request).collect();
        for request in waiting {
            self.refuse(request, RejectCode::Closing);
        }
        self.authority.leave(&self.ledger, &mut self.requests, now_ms);
    }

    /// Whether nothing is left to be done after `shutdown`.
    pub fn has_left(&self) -> bool {
        self.authority.has_left()
    }

    /// Gives every answer that is ready.
    pub fn drain_answers(&mut self, take: &mut dyn FnMut(Answer)) {
        self.answers.drain(..).for_each(take);
    }

    /// Gives every question to the store; each wants a `handle_answer`.
    pub fn drain_requests(&mut self, take: &mut dyn FnMut(RequestId, StoreOp)) {
        self.requests.drain(take);
    }

    /// Gives everything to be done on the mesh.
    pub fn drain_mesh(&mut self, take: &mut dyn FnMut(MeshCommand)) {
        self.mesh.drain(..).for_each(take);
    }

    /// How the allocator is.
    pub fn standing(&self, now_ms: u64) -> Standing {
        match self.authority.right() {
            Right::Fenced => Standing::Fenced,
            Right::Left => Standing::Stopping,
            Right::None => Standing::Starting,
            Right::Held if self.counted(now_ms) && self.authority.may_seat(now_ms) => Standing::Serving,
            Right::Held if self.authority.is_confirmed(now_ms) => Standing::Starting,
            Right::Held => Standing::Unconfirmed,
        }
    }

    /// The cluster as operators see it.
    pub fn state(&self, now_ms: u64) -> ClusterState {
        state::state(
            &self.members,
            &self.ledger,
            self.book.plan(),
            self.planning.reasons(),
            self.joins.len(),
            now_ms,
        )
    }

    /// What happened since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The plan that holds, once it is known.
    pub fn plan_record(&self) -> Option<&PlanRecord> {
        self.book.plan()
    }

    /// The player's seat.
    pub fn player_seat(&self, player: PlayerId) -> Option<&Seat> {
        self.ledger.seat(player)
    }

    /// Seats on the island.
    pub fn population(&self, island: IslandId) -> u32 {
        self.ledger.population(island)
    }

    /// Whether players are sent to this node.
    pub fn is_live(&self, node: NodeId, now_ms: u64) -> bool {
        self.members.get(node).is_some_and(|member| member.is_live(now_ms))
    }

    /// What must hold after every step; for tests and simulation.
    ///
    /// # Panics
    /// When it doesn't.
    pub fn invariants(&self) {
        self.ledger.invariants();
        assert!(self.joins.len() <= crate::limits::PENDING_JOINS_MAX, "joins are bounded");
        if let Some(plan) = self.book.plan() {
            assert!(plan.islands.is_sorted_by_key(|island| island.island), "islands are by age");
        }
    }
}
