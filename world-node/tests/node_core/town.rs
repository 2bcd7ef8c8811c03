//! A few node cores in one thread: a store in memory, a channel that honours subscriptions, clients that decode
//! everything they get. Faultless; the cluster simulation of `loadtest` does the faults.

use bytes::Bytes;
use chunk_sync::client::{Replica, View};
use chunk_sync::ids::{ConnId, IslandId, NodeId, PlayerId, Source};
use chunk_sync::limits::{CLIENT_BACKLOG_BYTES_MAX, SERVER_FRAME_BYTES_MAX, TICK_MS};
use chunk_sync::place::Place;
use chunk_sync::ports::{MeshCommand, RequestId};
use chunk_sync::records::{CLUSTER_PLAN, DOC_PLAN, IslandPhase, IslandRecord, PlanRecord, WORLD, encode};
use chunk_sync::store::{
    Commit, CommitOutcome, MemoryStore, PartitionKey, PartitionView, StoreAnswer, StoreOp, Token,
};
use chunk_sync::ticket::{Ticket, TicketKey};
use chunk_sync::wire::{
    Acted, Framer, Hello, Move, Reject, TickHeader, Welcome, control, control_frame, kind,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use world_node::core::{Backlog, ClientSink, NodeConfig, NodeCore, Phase, Standing};

/// What a client has got so far.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) welcome: Option<Welcome>,
    pub(crate) reject: Option<Reject>,
    pub(crate) replica: Option<Replica>,
    pub(crate) correction: Option<Place>,
    pub(crate) ack: u16,
    pub(crate) resets: u32,
    pub(crate) bytes: usize,
    pub(crate) ticks: u32,
    pub(crate) lands: usize,
    /// Frames of documents.
    pub(crate) docs: usize,
    pub(crate) acted: Vec<Acted>,
    pub(crate) pongs: u32,
    pub(crate) closed: bool,
    /// Pretends that nothing of what is sent is read any more.
    pub(crate) stuck: bool,
    backlog: usize,
    stalled_since_ms: u64,
    framer: Option<Framer>,
}

impl Seen {
    fn take(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        let mut framer = self.framer.take().unwrap_or_else(|| Framer::new(SERVER_FRAME_BYTES_MAX));
        let done = framer.feed(bytes, |kind, body| {
            self.frame(kind, body);
            ControlFlow::Continue(())
        });
        done.expect("a node sends whole frames");
        self.framer = Some(framer);
    }

    fn frame(&mut self, kind: u8, body: &[u8]) {
        match kind {
            kind::WELCOME => {
                self.welcome = Some(control(kind, body).expect("a welcome"));
                self.begin();
            }
            kind::REJECT => self.reject = Some(control(kind, body).expect("a reject")),
            kind::LAND => self.lands += 1,
            kind::PONG => self.pongs += 1,
            kind::ACTED => self.acted.push(control(kind, body).expect("an answer")),
            kind::DOCS => {
                self.docs += 1;
                let replica = self.replica.get_or_insert_with(Replica::new);
                replica.docs(control(kind, body).expect("documents")).expect("not too many");
            }
            kind::TICK => {
                let (header, blocks) = TickHeader::split(body).expect("a tick");
                self.ticks += 1;
                self.resets += u32::from(header.reset);
                self.ack = header.ack;
                self.correction = header.correction.or(self.correction);
                let replica = self.replica.get_or_insert_with(Replica::new);
                replica.apply(&header, blocks, |_| ()).expect("blocks in order");
            }
            other => panic!("frame of kind {other:#x}"),
        }
    }

    /// Knows nothing but that it is in.
    fn begin(&mut self) {
        let mut replica = Replica::new();
        self.welcome.iter().for_each(|welcome| replica.begin(welcome));
        self.replica = Some(replica);
    }

    /// It reads nothing any more, and more than it may lag behind waits for it.
    pub(crate) fn lag(&mut self) {
        (self.stuck, self.backlog) = (true, CLIENT_BACKLOG_BYTES_MAX + 1);
        self.stalled_since_ms = u64::MAX;
    }

    /// Players in view.
    pub(crate) fn players(&self) -> BTreeSet<u64> {
        let replica = self.replica.iter().flat_map(Replica::entities);
        replica.filter(|e| !e.id.is_born_with_land()).map(|e| e.id.0 - player(0).0).collect()
    }
}

/// One node's clients.
#[derive(Default)]
pub(crate) struct Clients {
    pub(crate) seen: BTreeMap<u32, Seen>,
    pub(crate) phases: Vec<Phase>,
    now_ms: u64,
}

impl ClientSink for Clients {
    fn backlog(&self, conn: ConnId) -> Backlog {
        let seen = &self.seen[&conn.0];
        Backlog { bytes: seen.backlog, stalled_since_ms: seen.stalled_since_ms }
    }

    fn send(&mut self, conn: ConnId, header: &[u8], shared: &[Bytes]) {
        let seen = self.seen.entry(conn.0).or_default();
        assert!(!seen.closed, "nothing is sent after a close");
        if seen.stuck {
            if seen.backlog == 0 {
                seen.stalled_since_ms = self.now_ms;
            }
            seen.backlog += header.len() + shared.iter().map(Bytes::len).sum::<usize>();
            return;
        }
        seen.take(header);
        shared.iter().for_each(|part| seen.take(part));
    }

    fn close(&mut self, conn: ConnId) {
        self.seen.entry(conn.0).or_default().closed = true;
    }

    fn phase_done(&mut self, phase: Phase) {
        self.phases.push(phase);
    }
}

impl Clients {
    /// The client reads again: what waited is gone, as if it had been read at once but not looked at.
    pub(crate) fn unstick(&mut self, conn: u32) {
        let seen = self.seen.get_mut(&conn).expect("known client");
        (seen.stuck, seen.backlog) = (false, 0);
        seen.begin();
    }
}

pub(crate) struct Node {
    pub(crate) core: NodeCore,
    pub(crate) clients: Clients,
    subscribed: BTreeSet<Vec<u8>>,
    connected: BTreeSet<Source>,
    inbox: Vec<(Source, Vec<u8>, Bytes)>,
}

/// The whole town.
pub(crate) struct Town {
    pub(crate) now_ms: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) store: MemoryStore,
    /// A node that hears nothing of the others, by place in the list.
    pub(crate) deaf: Option<usize>,
    /// What the store is slow to do, and which questions of which nodes wait for that.
    pub(crate) slow: Option<fn(&StoreOp) -> bool>,
    pub(crate) held: Vec<(usize, RequestId, StoreOp)>,
    tickets: u64,
    plans: u64,
    puts: u64,
}

pub(crate) fn key() -> TicketKey {
    TicketKey { id: 1, secret: [7; 32] }
}

/// The `n`th player of these tests, with a number as an allocator would mint it.
pub(crate) fn player(n: u64) -> PlayerId {
    PlayerId(1 << 54 | 9 << 32 | n)
}

pub(crate) const ISLAND: IslandId = IslandId(1);

impl Town {
    /// `count` nodes that serve one island, up and knowing each other.
    pub(crate) fn new(count: u32) -> Self {
        let mut town = Self {
            now_ms: 1_000_000,
            nodes: Vec::new(),
            store: MemoryStore::new(0),
            deaf: None,
            slow: None,
            held: Vec::new(),
            tickets: 0,
            plans: 0,
            puts: 0,
        };
        town.plan(&[ISLAND], count);
        (1..=count).for_each(|n| town.start(n, n));
        town.run(40);
        assert!(town.nodes.iter().all(|n| n.core.standing() == Standing::Serving));
        town
    }

    /// The next plan: these islands are open, on nodes 1 to `nodes`. Nodes read it within a second.
    pub(crate) fn plan(&mut self, islands: &[IslandId], nodes: u32) {
        let open: Vec<_> = islands.iter().map(|island| (*island, IslandPhase::Open)).collect();
        self.plan_phases(&open, nodes);
    }

    /// The next plan: these islands are as far as this, on nodes 1 to `nodes`.
    pub(crate) fn plan_phases(&mut self, islands: &[(IslandId, IslandPhase)], nodes: u32) {
        self.plans += 1;
        let nodes: Vec<NodeId> = (1..=nodes).map(NodeId).collect();
        let record = |(island, phase): &(IslandId, IslandPhase)| IslandRecord {
            phase: *phase,
            ..IslandRecord::open(*island, [200, 300, 60], nodes.clone())
        };
        let islands = islands.iter().map(record).collect();
        let plan = PlanRecord { number: self.plans, islands, ..PlanRecord::default() };
        let commit = Commit::new(PartitionKey::cluster(WORLD, CLUSTER_PLAN), Token(self.plans));
        self.store.call(self.now_ms, &StoreOp::Commit(commit.put(DOC_PLAN, encode(&plan))));
    }

    /// The store does what it was slow to do, and is slow no more.
    pub(crate) fn catch_up(&mut self) {
        self.slow = None;
        for (at, id, op) in std::mem::take(&mut self.held) {
            let answer = self.store.call(self.now_ms, &op);
            let now_ms = self.now_ms;
            self.nodes[at].core.handle_answer(id, answer, now_ms);
        }
    }

    /// Whether something waits for the slow store.
    pub(crate) fn waits(&self) -> bool {
        !self.held.is_empty()
    }

    /// A player's partition.
    pub(crate) fn partition(&mut self, n: u64) -> PartitionView {
        let op = StoreOp::Load { partition: PartitionKey::player(player(n)) };
        match self.store.call(self.now_ms, &op) {
            StoreAnswer::Loaded(view) => view,
            other => panic!("{other:?}"),
        }
    }

    /// Somebody writes a document of a player's.
    pub(crate) fn put(&mut self, n: u64, doc: &str, value: Vec<u8>) {
        self.puts += 1;
        let commit = Commit::new(PartitionKey::player(player(n)), Token(1 << 40 | self.puts)).put(doc, value);
        let answer = self.store.call(self.now_ms, &StoreOp::Commit(commit));
        assert!(matches!(answer, StoreAnswer::Committed(CommitOutcome::Done { .. })), "{answer:?}");
    }

    /// Starts node `node` as incarnation `source`.
    pub(crate) fn start(&mut self, node: u32, source: u32) {
        let config = NodeConfig {
            node: NodeId(node),
            source: Source(source),
            seed: 5,
            keys: vec![key()],
            address: format!("node-{node}:1"),
            mesh: format!("mesh-{source}"),
        };
        let core = NodeCore::new(config, self.now_ms);
        self.nodes.push(Node {
            core,
            clients: Clients::default(),
            subscribed: BTreeSet::new(),
            connected: BTreeSet::new(),
            inbox: Vec::new(),
        });
    }

    pub(crate) fn ticket(&mut self, player: u64, name: &str) -> Ticket {
        self.tickets += 1;
        Ticket {
            player: self::player(player),
            island: ISLAND,
            number: self.tickets,
            expires_ms: self.now_ms + 30_000,
            nodes: (1..=8).map(NodeId).collect(),
            name: name.to_owned(),
            guest: false,
        }
    }

    /// A client of node `at` (by place in the list) with connection `conn` says `Hello` with this ticket.
    pub(crate) fn hello(&mut self, at: usize, conn: u32, ticket: &[u8]) {
        self.hello_for(at, conn, ticket, &["land"]);
    }

    fn hello_for(&mut self, at: usize, conn: u32, ticket: &[u8], features: &[&str]) {
        let hello = Hello {
            min: 1,
            max: 1,
            features: features.iter().map(|feature| (*feature).to_owned()).collect(),
            ticket: Some(ticket.to_vec()),
            ..Hello::default()
        };
        let frame = control_frame(kind::HELLO, &hello);
        self.nodes[at].clients.seen.insert(conn, Seen::default());
        let now_ms = self.now_ms;
        self.nodes[at].core.handle_hello(ConnId(conn), &frame[5..], now_ms);
    }

    /// Player `player` enters at a node and is inside after a few ticks.
    pub(crate) fn enter(&mut self, at: usize, conn: u32, player: u64) {
        let ticket = self.ticket(player, &format!("p{player}")).sign(&key());
        self.hello(at, conn, &ticket);
    }

    /// As `enter`, by a client that wants documents.
    pub(crate) fn enter_for_docs(&mut self, at: usize, conn: u32, player: u64) {
        self.enter_on(at, conn, player, ISLAND);
    }

    /// As `enter_for_docs`, on this island.
    pub(crate) fn enter_on(&mut self, at: usize, conn: u32, player: u64, island: IslandId) {
        let ticket = Ticket { island, ..self.ticket(player, &format!("p{player}")) }.sign(&key());
        self.hello_for(at, conn, &ticket, &["land", "docs"]);
    }

    /// As `enter_on`, by a guest.
    pub(crate) fn visit(&mut self, at: usize, conn: u32, player: u64, island: IslandId) {
        let ticket = Ticket { island, guest: true, ..self.ticket(player, &format!("p{player}")) };
        self.hello_for(at, conn, &ticket.sign(&key()), &["land", "docs"]);
    }

    pub(crate) fn send(&mut self, at: usize, conn: u32, bytes: &[u8]) {
        let now_ms = self.now_ms;
        self.nodes[at].core.handle_client_bytes(ConnId(conn), bytes, now_ms);
    }

    pub(crate) fn walk(&mut self, at: usize, conn: u32, sequence: u16, place: Place) {
        self.send(at, conn, &Move { sequence, place, heading: 9 }.frame());
    }

    pub(crate) fn seen(&self, at: usize, conn: u32) -> &Seen {
        &self.nodes[at].clients.seen[&conn]
    }

    pub(crate) fn place(&self, at: usize, conn: u32) -> Place {
        let welcome = self.seen(at, conn).welcome.as_ref().expect("inside");
        Place { x: welcome.x, y: welcome.y }
    }

    /// Runs ticks; what nodes say arrives before the next one.
    pub(crate) fn run(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.now_ms += TICK_MS;
            for at in 0..self.nodes.len() {
                self.tick(at);
            }
        }
    }

    /// One tick of one node.
    pub(crate) fn tick(&mut self, at: usize) {
        let now_ms = self.now_ms;
        let node = &mut self.nodes[at];
        node.clients.now_ms = now_ms;
        for (peer, topic, body) in std::mem::take(&mut node.inbox) {
            node.core.handle_mesh(peer, &topic, body, now_ms);
        }
        node.core.tick(now_ms, &mut node.clients);
        node.core.invariants();
        loop {
            let mut asked = Vec::new();
            node.core.drain_requests(&mut |id, op| asked.push((id, op)));
            if asked.is_empty() {
                break;
            }
            for (id, op) in asked {
                if self.slow.is_some_and(|is_slow| is_slow(&op)) {
                    self.held.push((at, id, op));
                    continue;
                }
                let answer = self.store.call(now_ms, &op);
                node.core.handle_answer(id, answer, now_ms);
            }
        }
        let mut commands = Vec::new();
        node.core.drain_mesh(&mut |command| commands.push(command));
        let from = node.core.source();
        for command in commands {
            let node = &mut self.nodes[at];
            match command {
                MeshCommand::Connect(source, _) => drop(node.connected.insert(source)),
                MeshCommand::Disconnect(source) => drop(node.connected.remove(&source)),
                MeshCommand::Remake(_) => (),
                MeshCommand::Subscribe(topic) => drop(node.subscribed.insert(topic.to_vec())),
                MeshCommand::Unsubscribe(topic) => drop(node.subscribed.remove(&topic[..])),
                MeshCommand::Publish(topic, body) => {
                    for (number, other) in self.nodes.iter_mut().enumerate() {
                        if self.deaf == Some(number) {
                            continue;
                        }
                        if other.connected.contains(&from) && other.subscribed.contains(&topic[..]) {
                            other.inbox.push((from, topic.to_vec(), body.clone()));
                        }
                    }
                }
            }
        }
    }

    /// Puts bytes into a node's inbox as if `peer` had published them.
    pub(crate) fn inject(&mut self, at: usize, peer: Source, topic: &[u8], body: Vec<u8>) {
        self.nodes[at].inbox.push((peer, topic.to_vec(), body.into()));
    }
}
