//! A small cluster in virtual time around one allocator core: the in-memory store, and nodes that do no more than
//! an allocator can see of them (registry record, lease, ticket check, sessions, census). One step is 10 ms.

use bytes::Bytes;
use chunk_sync::ids::{IslandId, NodeId, PlayerId, Source};
use chunk_sync::limits::{CENSUS_EVERY_TICKS, NODE_LEASE_MS, TICK_MS};
use chunk_sync::mesh_wire::{self, Census, Topic};
use chunk_sync::ports::{MeshCommand, RequestId};
use chunk_sync::random::{RngExt, Stream};
use chunk_sync::records::{
    self, CLUSTER_PLAN, CLUSTER_REGISTRY, DOC_PLAN, NodeRecord, PlanRecord, WORLD, lease_name, node_doc,
};
use chunk_sync::store::{
    Commit, LeaseStep, MemoryStore, PartitionKey, StoreAnswer, StoreFault, StoreOp, Token,
};
use chunk_sync::ticket::{Ticket, TicketKey};
use chunk_sync::time::Tick;
use chunk_sync::wire::{Hello, PROTOCOL_VERSIONS, RejectCode, Seat};
use population_allocator::core::{AllocatorConfig, AllocatorCore, RequestNo};
use population_allocator::policy::Policy;
use std::collections::BTreeMap;

pub(crate) const STEP_MS: u64 = 10;
/// How often a node reads the plan.
const PLAN_READ_EVERY_MS: u64 = 1_000;
/// When the world began, by the store's clock.
const BEGAN_MS: u64 = 1_700_000_000_000;
/// World time at which every story starts.
pub(crate) const START_MS: u64 = 1_000_000;

/// A node as the allocator can see it.
#[derive(Debug)]
pub(crate) struct FakeNode {
    pub(crate) source: Source,
    /// The process lives; what is in `sessions` is inside.
    pub(crate) runs: bool,
    /// The process is scheduled: it talks and takes tickets.
    pub(crate) awake: bool,
    /// Census messages reach the allocator.
    pub(crate) reachable: bool,
    pub(crate) open: bool,
    /// It reads the plan, once a second as real ones do.
    pub(crate) reads_plan: bool,
    pub(crate) serves: Vec<IslandId>,
    pub(crate) sessions: BTreeMap<PlayerId, (u64, IslandId)>,
}

/// How unkind the surroundings are.
pub(crate) struct Weather {
    pub(crate) stream: Stream,
    /// Longest way of a store operation, of its answer, of a mesh message.
    pub(crate) delay_ms: u64,
    /// One of this many store operations gets no true answer, one of this many census messages is lost.
    pub(crate) loss_one_in: u64,
}

#[derive(Debug)]
enum Event {
    Do(Source, RequestId, StoreOp),
    Answer(Source, RequestId, StoreAnswer),
    Mesh(Source, Bytes),
    Fenced(u32, PlayerId, u64),
}

pub(crate) struct Cluster {
    pub(crate) core: AllocatorCore,
    /// An allocator that was succeeded without noticing: it still hears nodes, answers clients and asks the store.
    pub(crate) old: Option<(Source, AllocatorCore)>,
    pub(crate) store: MemoryStore,
    pub(crate) store_away: bool,
    pub(crate) now_ms: u64,
    pub(crate) policy: Policy,
    pub(crate) key: TicketKey,
    pub(crate) allocator: Source,
    pub(crate) nodes: BTreeMap<u32, FakeNode>,
    pub(crate) links: BTreeMap<Source, String>,
    pub(crate) subscribed: Vec<[u8; 10]>,
    pub(crate) answers: BTreeMap<RequestNo, Result<Seat, RejectCode>>,
    /// Seats that the succeeded allocator gave.
    pub(crate) old_seats: Vec<Seat>,
    pub(crate) weather: Option<Weather>,
    /// The newest ticket that each player used.
    used: BTreeMap<PlayerId, u64>,
    events: BTreeMap<(u64, u64), Event>,
    event: u64,
    sources: u32,
    token: u64,
    request: u64,
}

impl Cluster {
    pub(crate) fn new(policy: Policy) -> Self {
        let key = TicketKey { id: 1, secret: [7; 32] };
        let allocator = Source(1);
        Cluster {
            core: core(allocator, policy, &key, START_MS),
            old: None,
            store: MemoryStore::new(BEGAN_MS),
            store_away: false,
            now_ms: START_MS,
            policy,
            key,
            allocator,
            nodes: BTreeMap::new(),
            links: BTreeMap::new(),
            subscribed: Vec::new(),
            answers: BTreeMap::new(),
            old_seats: Vec::new(),
            weather: None,
            used: BTreeMap::new(),
            events: BTreeMap::new(),
            event: 0,
            sources: 1,
            token: 1 << 60,
            request: 0,
        }
    }

    /// A cluster whose allocator and `nodes` nodes serve.
    pub(crate) fn serving(policy: Policy, nodes: u32) -> Self {
        let mut cluster = Self::new(policy);
        (1..=nodes).for_each(|node| cluster.start_node(node));
        cluster.run(3_000);
        cluster
    }

    // The allocator's process.

    /// The process dies, a new one starts. What it had asked of the store may still arrive there, or not.
    pub(crate) fn restart_allocator(&mut self) {
        if self.weather.is_some() {
            let dead = self.allocator;
            let asked: Vec<(u64, u64)> = self
                .events
                .iter()
                .filter(|(_, event)| matches!(event, Event::Do(source, ..) if *source == dead))
                .map(|(at, _)| *at)
                .collect();
            for at in asked {
                if self.is_lost_half() {
                    self.events.remove(&at);
                }
            }
        }
        self.start_allocator();
    }

    /// A second process is started while the first still runs.
    pub(crate) fn succeed_allocator(&mut self) {
        let source = self.allocator;
        self.start_allocator_as(|cluster, old| cluster.old = Some((source, old)));
    }

    fn start_allocator(&mut self) {
        self.start_allocator_as(|_, _| {});
    }

    fn start_allocator_as(&mut self, keep: impl FnOnce(&mut Self, AllocatorCore)) {
        self.sources += 1;
        self.allocator = Source(self.sources);
        self.links.clear();
        self.subscribed.clear();
        let new = core(self.allocator, self.policy, &self.key, self.now_ms);
        let old = std::mem::replace(&mut self.core, new);
        keep(self, old);
        self.carry();
    }

    /// The process is asked to stop and does; a new one starts.
    pub(crate) fn replace_allocator(&mut self) {
        self.core.shutdown(self.now_ms);
        for _ in 0..100 {
            self.now_ms += STEP_MS;
            self.carry();
            if self.core.has_left() {
                break;
            }
        }
        self.start_allocator();
    }

    // Nodes.

    pub(crate) fn start_node(&mut self, node: u32) {
        self.sources += 1;
        let source = Source(self.sources);
        let fake = FakeNode {
            source,
            runs: true,
            awake: true,
            reachable: true,
            open: true,
            reads_plan: true,
            serves: Vec::new(),
            sessions: BTreeMap::new(),
        };
        self.nodes.insert(node, fake);
        self.register_node(node);
    }

    fn register_node(&mut self, node: u32) {
        let source = self.nodes[&node].source;
        let record = NodeRecord {
            node: NodeId(node),
            source,
            address: format!("node{node}:7000"),
            mesh: format!("tcp://mesh{node}:{}", source.0),
            alive: true,
        };
        let lease = LeaseStep::Take {
            name: lease_name(source).into(),
            holder: u64::from(source.0),
            ttl_ms: NODE_LEASE_MS,
        };
        let doc = node_doc(NodeId(node));
        self.commit_registry(|commit| commit.put(doc, records::encode(&record)).lease(lease));
    }

    /// The node's process dies and nobody says so.
    pub(crate) fn kill_node(&mut self, node: u32) {
        let fake = self.nodes.get_mut(&node).unwrap();
        (fake.runs, fake.awake) = (false, false);
        fake.sessions.clear();
    }

    /// Islands that the plan in the store gives to the node.
    fn plan_of(&mut self, node: NodeId) -> Vec<IslandId> {
        let key = PartitionKey::cluster(WORLD, CLUSTER_PLAN);
        let answer = self.store.call(BEGAN_MS + self.now_ms, &StoreOp::Load { partition: key });
        let StoreAnswer::Loaded(view) = answer else { panic!("{answer:?}") };
        let plan: PlanRecord = view.doc(DOC_PLAN).and_then(|doc| records::decode(doc)).unwrap_or_default();
        plan.islands.iter().filter(|i| i.nodes.contains(&node)).map(|i| i.island).collect()
    }

    pub(crate) fn commit_registry(&mut self, build: impl FnOnce(Commit) -> Commit) {
        self.commit(PartitionKey::cluster(WORLD, CLUSTER_REGISTRY), build);
    }

    /// Somebody else's commit.
    pub(crate) fn commit(&mut self, partition: PartitionKey, build: impl FnOnce(Commit) -> Commit) {
        self.token += 1;
        let commit = build(Commit::new(partition, Token(self.token)));
        let answer = self.store.call(BEGAN_MS + self.now_ms, &StoreOp::Commit(commit));
        let done = matches!(answer, StoreAnswer::Committed(chunk_sync::store::CommitOutcome::Done { .. }));
        assert!(done, "{answer:?}");
    }

    /// Shows the ticket to a node, as a client would; whether the node takes the session.
    pub(crate) fn enter(&mut self, seat: &Seat, node: u32) -> bool {
        let Some(fake) = self.nodes.get_mut(&node).filter(|fake| fake.runs && fake.awake) else {
            return false;
        };
        let Ok(ticket) =
            Ticket::check(&seat.ticket, std::slice::from_ref(&self.key), self.now_ms, NodeId(node))
        else {
            return false;
        };
        let used = self.used.entry(ticket.player).or_default();
        if ticket.number <= *used {
            return false;
        }
        *used = ticket.number;
        fake.sessions.insert(ticket.player, (ticket.number, ticket.island));
        // The older session's node hears of it a little later.
        let others: Vec<u32> = self.nodes.keys().copied().filter(|other| *other != node).collect();
        for other in others {
            self.at(300, Event::Fenced(other, ticket.player, ticket.number));
        }
        true
    }

    pub(crate) fn leave(&mut self, player: u64) {
        for fake in self.nodes.values_mut().filter(|fake| fake.awake) {
            fake.sessions.remove(&PlayerId(player));
        }
    }

    /// Who is truly inside: of a player's sessions only that of the newest ticket counts.
    pub(crate) fn inside(&self, island: IslandId) -> usize {
        let sessions = self.nodes.values().filter(|fake| fake.runs).flat_map(|fake| &fake.sessions);
        sessions.filter(|(player, (number, at))| *at == island && self.used[player] == *number).count()
    }

    pub(crate) fn census(&self, node: u32) -> Census {
        let fake = &self.nodes[&node];
        Census {
            node: NodeId(node),
            source: fake.source,
            tick: Tick::at_ms(self.now_ms),
            sessions: fake
                .sessions
                .iter()
                .map(|(player, (number, island))| (*player, *number, *island))
                .collect(),
            open: fake.open,
            serves: fake.serves.clone(),
            ..Census::default()
        }
    }

    pub(crate) fn say(&mut self, source: Source, census: &Census) {
        let body = mesh_wire::encode(census);
        self.core.handle_mesh(source, &Topic::Census.bytes(), &body, self.now_ms);
        self.carry();
    }

    // Clients.

    pub(crate) fn join(&mut self, name: &str) -> RequestNo {
        self.join_with(name, None)
    }

    pub(crate) fn join_with(&mut self, name: &str, island: Option<u32>) -> RequestNo {
        let (min, max) = PROTOCOL_VERSIONS;
        self.hello(Hello { min, max, name: Some(name.to_owned()), island, ..Hello::default() })
    }

    pub(crate) fn hello(&mut self, hello: Hello) -> RequestNo {
        let request = self.say_hello(hello);
        self.carry();
        request
    }

    fn say_hello(&mut self, hello: Hello) -> RequestNo {
        self.request += 1;
        let request = RequestNo(self.request);
        self.core.handle_join(request, hello, self.now_ms);
        request
    }

    /// Joins, and leaves what the allocator asks of the store to the caller.
    pub(crate) fn ask_for(&mut self, name: &str) -> RequestNo {
        let (min, max) = PROTOCOL_VERSIONS;
        self.say_hello(Hello { min, max, name: Some(name.to_owned()), ..Hello::default() })
    }

    /// The only question that the allocator has for the store just now.
    pub(crate) fn asked(&mut self) -> Option<RequestId> {
        let mut asked = Vec::new();
        self.core.drain_requests(&mut |id, _| asked.push(id));
        assert!(asked.len() < 2, "{asked:?}");
        asked.pop()
    }

    /// Joins at the allocator that was succeeded, if it still runs.
    pub(crate) fn join_old(&mut self, name: &str, island: Option<u32>) {
        let (min, max) = PROTOCOL_VERSIONS;
        let hello = Hello { min, max, name: Some(name.to_owned()), island, ..Hello::default() };
        self.request += 1;
        if let Some((_, old)) = &mut self.old {
            old.handle_join(RequestNo(self.request), hello, self.now_ms);
        }
        self.carry();
    }

    /// Joins and waits for the answer.
    pub(crate) fn answer(&mut self, name: &str, island: Option<u32>) -> Result<Seat, RejectCode> {
        let request = self.join_with(name, island);
        for _ in 0..1_000 {
            if let Some(answer) = self.answers.remove(&request) {
                return answer;
            }
            self.run(STEP_MS);
        }
        panic!("{name} got no answer");
    }

    pub(crate) fn seat(&mut self, name: &str) -> Seat {
        self.answer(name, None).unwrap()
    }

    /// Joins and enters at the best node.
    pub(crate) fn play(&mut self, name: &str) -> Seat {
        let seat = self.seat(name);
        assert!(self.enter(&seat, first_node(&seat)), "{name} can't enter");
        seat
    }

    // Time.

    pub(crate) fn run(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(STEP_MS) {
            self.step();
        }
    }

    pub(crate) fn step(&mut self) {
        self.now_ms += STEP_MS;
        self.carry();
        let nodes: Vec<u32> = self.nodes.keys().copied().collect();
        for node in nodes {
            let fake = &self.nodes[&node];
            let (source, talks) = (fake.source, fake.runs && fake.awake && fake.reachable);
            let reads_plan = fake.reads_plan;
            let phase = self.now_ms + u64::from(node) * STEP_MS;
            if talks && phase.is_multiple_of(4_000) {
                let lease = LeaseStep::Take {
                    name: lease_name(source).into(),
                    holder: u64::from(source.0),
                    ttl_ms: NODE_LEASE_MS,
                };
                self.commit_registry(|commit| commit.lease(lease));
            }
            if talks && reads_plan && phase.is_multiple_of(PLAN_READ_EVERY_MS) {
                let serves = self.plan_of(NodeId(node));
                self.nodes.get_mut(&node).unwrap().serves = serves;
            }
            if talks && phase.is_multiple_of(CENSUS_EVERY_TICKS * TICK_MS) && self.links.contains_key(&source)
            {
                let body = Bytes::from(mesh_wire::encode(&self.census(node)));
                if !self.is_lost() {
                    self.at(self.delay_max(), Event::Mesh(source, body));
                }
            }
        }
        if self.now_ms.is_multiple_of(100) {
            self.core.tick(self.now_ms);
            if let Some((_, old)) = &mut self.old {
                old.tick(self.now_ms);
            }
        }
        self.carry();
        self.core.invariants();
    }

    fn delay_max(&self) -> u64 {
        self.weather.as_ref().map_or(0, |weather| weather.delay_ms)
    }

    fn is_lost(&mut self) -> bool {
        self.weather.as_mut().is_some_and(|weather| weather.stream.random_range(0..weather.loss_one_in) == 0)
    }

    /// An event within `ms` from now.
    fn at(&mut self, ms: u64, event: Event) {
        let delay = match &mut self.weather {
            Some(weather) if ms > 0 => weather.stream.random_range(0..=ms),
            _ => 0,
        };
        self.event += 1;
        self.events.insert((self.now_ms + delay, self.event), event);
    }

    /// Carries what the core gave out, and does what is due.
    pub(crate) fn carry(&mut self) {
        loop {
            let mut ops = Vec::new();
            self.core.drain_requests(&mut |id, op| ops.push((self.allocator, id, op)));
            if let Some((source, old)) = &mut self.old {
                old.drain_requests(&mut |id, op| ops.push((*source, id, op)));
            }
            for (source, id, op) in ops {
                self.at(self.delay_max(), Event::Do(source, id, op));
            }
            let due = self.events.first_key_value().map(|(at, _)| *at).filter(|(due, _)| *due <= self.now_ms);
            let Some(event) = due.and_then(|due| self.events.remove(&due)) else { break };
            self.happen(event);
        }
        if let Some((_, old)) = &mut self.old {
            let seats = &mut self.old_seats;
            old.drain_answers(&mut |answer| seats.extend(answer.outcome));
            old.drain_mesh(&mut |_| {});
        }
        let (answers, links, subscribed) = (&mut self.answers, &mut self.links, &mut self.subscribed);
        self.core.drain_answers(&mut |answer| {
            assert_eq!(answers.insert(answer.request, answer.outcome), None, "one answer a join");
        });
        self.core.drain_mesh(&mut |command| match command {
            MeshCommand::Connect(source, mesh) => {
                links.insert(source, mesh);
            }
            MeshCommand::Disconnect(source) => {
                assert!(links.remove(&source).is_some(), "a link that isn't there is ended");
            }
            MeshCommand::Remake(source) => {
                assert!(links.contains_key(&source), "a link that isn't there is remade")
            }
            MeshCommand::Subscribe(topic) => subscribed.push(topic),
            MeshCommand::Unsubscribe(_) | MeshCommand::Publish(..) => panic!("allocators only listen"),
        });
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Do(source, id, op) => {
                let answer = if self.store_away {
                    StoreAnswer::Failed(StoreFault::Away)
                } else if self.is_lost() {
                    // Half of the lost ones were done.
                    if self.is_lost_half() {
                        self.store.call(BEGAN_MS + self.now_ms, &op);
                    }
                    StoreAnswer::Failed(StoreFault::TimedOut)
                } else {
                    self.store.call(BEGAN_MS + self.now_ms, &op)
                };
                self.at(self.delay_max(), Event::Answer(source, id, answer));
            }
            Event::Answer(source, id, answer) if source == self.allocator => {
                self.core.handle_answer(id, answer, self.now_ms);
            }
            Event::Answer(source, id, answer) => {
                if let Some((_, old)) = self.old.as_mut().filter(|(old, _)| *old == source) {
                    old.handle_answer(id, answer, self.now_ms);
                }
            }
            Event::Mesh(source, body) => {
                if let Some((_, old)) = &mut self.old {
                    old.handle_mesh(source, &Topic::Census.bytes(), &body, self.now_ms);
                }
                if self.links.contains_key(&source) {
                    self.core.handle_mesh(source, &Topic::Census.bytes(), &body, self.now_ms);
                }
            }
            Event::Fenced(node, player, number) => {
                if let Some(fake) = self.nodes.get_mut(&node)
                    && fake.sessions.get(&player).is_some_and(|(older, _)| *older < number)
                {
                    fake.sessions.remove(&player);
                }
            }
        }
    }

    fn is_lost_half(&mut self) -> bool {
        self.weather.as_mut().is_some_and(|weather| weather.stream.random_range(0..2u32) == 0)
    }
}

fn core(source: Source, policy: Policy, key: &TicketKey, now_ms: u64) -> AllocatorCore {
    let config = AllocatorConfig {
        source,
        policy,
        keys: vec![key.clone()],
        address: "allocator:7000".to_owned(),
        mesh: "tcp://allocator:9".to_owned(),
    };
    AllocatorCore::new(config, now_ms).unwrap()
}

/// The node that the seat lists first.
pub(crate) fn first_node(seat: &Seat) -> u32 {
    node_of(&seat.nodes[0])
}

pub(crate) fn node_of(address: &str) -> u32 {
    address.strip_prefix("node").and_then(|rest| rest.strip_suffix(":7000")).unwrap().parse().unwrap()
}

/// A small world: three people are an island.
pub(crate) fn small() -> Policy {
    Policy { design: 3, cap: 5, minimum: 1, islands: 1, islands_max: 2, ..Policy::default() }
}
