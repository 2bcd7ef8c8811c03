//! Whole nodes: the shell with the real core, real TCP, the real channel and an embedded store, once Redis.

mod redis_server;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use chunk_sync::ids::{IslandId, NodeId, PlayerId};
use chunk_sync::limits::{CLIENT_FRAMES_PER_TICK_MAX, SERVER_FRAME_BYTES_MAX, TICKET_MS};
use chunk_sync::place::Place;
use chunk_sync::records::{
    CLUSTER_PLAN, CLUSTER_REGISTRY, DOC_PLAN, IslandRecord, NodeRecord, PlanRecord, WORLD, WorldRecord,
    decode, encode, node_doc,
};
use chunk_sync::store::{Commit, CommitOutcome, PartitionKey, StoreAnswer, StoreOp, Token};
use chunk_sync::ticket::{Ticket, TicketKey};
use chunk_sync::wire::{
    Framer, Hello, MOVE_BODY_BYTES, Move, Reject, RejectCode, TickHeader, Welcome, control, control_frame,
    frame, kind,
};
use chunk_sync_io::store::{StoreHandle, StoreUrl};
use chunk_sync_io::world::{WorldClock, open_world};
use redis_server::RedisServer;
use world_node::core::Standing;
use world_node::shell::{NodeEnd, NodeError, NodeHandle, NodeOptions, start};

/// Long enough for a machine that does much else; nothing waits this long when all is well.
const DEADLINE: Duration = Duration::from_secs(30);
const ISLAND: IslandId = IslandId(1);

/// A world with one island, and what is needed to start nodes in it and to write tickets for them.
struct World {
    _folder: Option<tempfile::TempDir>,
    store: StoreHandle,
    record: WorldRecord,
    clock: WorldClock,
    tickets: u64,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("embedded:{}", folder.path().display());
        Self { _folder: Some(folder), ..Self::on(&url).await }
    }

    async fn on(url: &str) -> Self {
        let url: StoreUrl = url.parse().expect("a URL");
        let store = StoreHandle::open(&url).await.expect("a store that can be opened");
        let (record, clock) = open_world(&store).await.expect("opened");
        let nodes = (1..=3).map(NodeId).collect();
        let island = IslandRecord::open(ISLAND, [200, 300, 60], nodes);
        let plan = PlanRecord { number: 1, islands: vec![island], ..PlanRecord::default() };
        let commit = Commit::new(PartitionKey::cluster(WORLD, CLUSTER_PLAN), Token(1));
        let answer = store.call(StoreOp::Commit(commit.put(DOC_PLAN, encode(&plan)))).await;
        assert!(matches!(answer, StoreAnswer::Committed(CommitOutcome::Done { .. })), "{answer:?}");
        Self { _folder: None, store, record, clock, tickets: 0 }
    }

    fn options(node: u32) -> NodeOptions {
        NodeOptions {
            node: NodeId(node),
            listen: "127.0.0.1:0".parse().expect("an address"),
            advertise: None,
            mesh_listen: "tcp://127.0.0.1:0".to_owned(),
        }
    }

    async fn start(&self, options: NodeOptions) -> Result<NodeHandle, NodeError> {
        start(options, self.store.clone(), self.clock.clone()).await
    }

    async fn serving(&self, node: u32) -> NodeHandle {
        let handle = self.start(Self::options(node)).await.expect("started");
        tokio::time::timeout(DEADLINE, handle.serving()).await.expect("in time").expect("serves");
        handle
    }

    fn ticket(&mut self, player: u64) -> Vec<u8> {
        self.tickets += 1;
        let ticket = Ticket {
            player: PlayerId(player),
            island: ISLAND,
            number: self.tickets,
            expires_ms: self.clock.now_ms() + TICKET_MS,
            nodes: (1..=3).map(NodeId).collect(),
            name: format!("player{player}"),
            guest: false,
        };
        ticket.sign(&TicketKey::from(&self.record.keys[0]))
    }

    /// Enters, as often as it takes until the node has read the plan.
    async fn enter(&mut self, node: &NodeHandle, player: u64) -> (Client, Welcome) {
        let began = Instant::now();
        loop {
            let mut client = Client::hello(node.address(), self.ticket(player));
            let (kind, body) = client.next();
            if kind == kind::WELCOME {
                return (client, control(kind, &body).expect("a welcome"));
            }
            let reject: Reject = control(kind, &body).expect("a welcome or a refusal");
            assert_eq!(reject.code, RejectCode::Busy as u16, "{reject:?}");
            assert!(began.elapsed() < DEADLINE, "the node never read the plan");
            tokio::task::yield_now().await;
        }
    }

    async fn registered(&self, node: u32) -> NodeRecord {
        let partition = PartitionKey::cluster(WORLD, CLUSTER_REGISTRY);
        match self.store.call(StoreOp::Load { partition }).await {
            StoreAnswer::Loaded(view) => {
                decode(view.doc(&node_doc(NodeId(node))).expect("registered")).expect("a record")
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A client that waits for what it wants.
struct Client {
    stream: TcpStream,
    framer: Framer,
    frames: VecDeque<(u8, Vec<u8>)>,
}

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the node listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a live socket");
        Self { stream, framer: Framer::new(SERVER_FRAME_BYTES_MAX), frames: VecDeque::new() }
    }

    fn hello(address: SocketAddr, ticket: Vec<u8>) -> Self {
        let mut client = Self::connect(address);
        let hello = Hello { min: 1, max: 1, ticket: Some(ticket), ..Hello::default() };
        client.send(&control_frame(kind::HELLO, &hello));
        client
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("connected");
    }

    /// The next frame, or `None` when the node ended the connection in order.
    fn try_next(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut buffer = [0; 16 * 1024];
        while self.frames.is_empty() {
            let read = self.stream.read(&mut buffer).expect("bytes or an orderly end in time");
            if read == 0 {
                return None;
            }
            let frames = &mut self.frames;
            let fed = self.framer.feed(&buffer[..read], |kind, body| {
                frames.push_back((kind, body.to_vec()));
                ControlFlow::Continue(())
            });
            fed.expect("whole frames");
        }
        self.frames.pop_front()
    }

    fn next(&mut self) -> (u8, Vec<u8>) {
        self.try_next().expect("the node goes on")
    }

    /// Reads on to the next tick's header.
    fn tick(&mut self) -> TickHeader {
        loop {
            let (kind, body) = self.next();
            if kind == kind::TICK {
                return TickHeader::split(&body).expect("a tick").0;
            }
        }
    }

    /// Reads to the end; the last frame must be a refusal with this code.
    fn assert_rejected(mut self, code: RejectCode) {
        let mut last = None;
        while let Some(frame) = self.try_next() {
            last = Some(frame);
        }
        let (kind, body) = last.expect("a reason");
        assert_eq!(kind, kind::REJECT);
        let reject: Reject = control(kind, &body).expect("a refusal");
        assert_eq!(reject.code, code as u16, "{reject:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_enters_walks_and_is_acknowledged() {
    let mut world = World::new().await;
    let node = world.serving(1).await;
    let (mut client, welcome) = world.enter(&node, 7).await;
    assert_eq!((welcome.node, welcome.player, welcome.seed), (1, 7, world.record.seed));
    let place = Place { x: welcome.x + 10, y: welcome.y };
    client.send(&Move { sequence: 41, place, heading: 3 }.frame());
    let mut header = client.tick();
    let mut ticks = 0;
    while header.ack != 41 {
        let next = client.tick();
        assert!(next.tick > header.tick);
        header = next;
        ticks += 1;
        assert!(ticks < 100, "never acknowledged");
    }
    assert_eq!(header.correction, None);
    client.send(&frame(kind::PING, b"echo"));
    while client.next() != (kind::PONG, b"echo".to_vec()) {}
    let stats = node.stats();
    assert!(stats.ticks > 0 && stats.connections >= 1 && stats.bytes_in > 0 && stats.bytes_out > 0);
    assert!(stats.phase_ns.iter().sum::<u64>() > 0);
    assert_eq!(node.shutdown().await, NodeEnd::Stopped);
    client.assert_rejected(RejectCode::Closing);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_answered_and_harms_nobody_else() {
    let mut world = World::new().await;
    let node = world.serving(1).await;
    let (mut witness, _) = world.enter(&node, 1).await;
    witness.tick();

    let mut forged = world.ticket(2);
    *forged.last_mut().expect("bytes") ^= 1;
    Client::hello(node.address(), forged).assert_rejected(RejectCode::TicketForged);
    let mut garbled = Client::connect(node.address());
    garbled.send(&frame(kind::HELLO, &[0xc1; 40]));
    garbled.assert_rejected(RejectCode::Malformed);
    let mut garbage = Client::connect(node.address());
    garbage.send(b"\xff\xff\xff\xff\xff");
    garbage.assert_rejected(RejectCode::Malformed);

    let ticket = world.ticket(3);
    let used = Client::hello(node.address(), ticket.clone());
    let (mut huge, _) = world.enter(&node, 3).await;
    drop(used);
    Client::hello(node.address(), ticket).assert_rejected(RejectCode::TicketUsed);
    huge.send(&[0xff; 4]);
    huge.assert_rejected(RejectCode::Malformed);
    let (mut unknown, _) = world.enter(&node, 4).await;
    unknown.send(&frame(0x7e, b"what?"));
    unknown.assert_rejected(RejectCode::Malformed);
    let (mut flood, _) = world.enter(&node, 5).await;
    flood.send(&frame(kind::PING, b"").repeat(4 * CLIENT_FRAMES_PER_TICK_MAX));
    flood.assert_rejected(RejectCode::Flood);
    let (mut silent, _) = world.enter(&node, 6).await;
    silent.send(&frame(kind::MOVE, &[0; MOVE_BODY_BYTES])[..9]);

    witness.send(&frame(kind::PING, b"still?"));
    while witness.next() != (kind::PONG, b"still?".to_vec()) {}
    assert_eq!(node.standing(), Standing::Serving);
    assert_eq!(node.door_stats().malformed.load(Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_start_of_a_node_fences_the_first() {
    let mut world = World::new().await;
    let first = world.serving(1).await;
    let (client, _) = world.enter(&first, 7).await;
    let second = world.serving(1).await;
    assert!(second.source() > first.source());
    assert_eq!(tokio::time::timeout(DEADLINE, first.ended()).await.expect("in time"), NodeEnd::Fenced);
    assert_eq!(first.standing(), Standing::Fenced);
    client.assert_rejected(RejectCode::NodeLost);
    let record = world.registered(1).await;
    assert_eq!((record.source, record.alive), (second.source(), true));
    let (mut client, _) = world.enter(&second, 7).await;
    client.tick();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_node_has_left_and_freed_its_port() {
    let mut world = World::new().await;
    let node = world.serving(2).await;
    let (client, _) = world.enter(&node, 7).await;
    assert_eq!(node.shutdown().await, NodeEnd::Stopped);
    client.assert_rejected(RejectCode::Closing);
    assert!(!world.registered(2).await.alive);
    assert_eq!(node.ended().await, NodeEnd::Stopped);
    drop(TcpListener::bind(node.address()).expect("the port is free again"));
    let again = NodeOptions { listen: node.address(), ..World::options(2) };
    let again = world.start(again).await.expect("started again");
    tokio::time::timeout(DEADLINE, again.serving()).await.expect("in time").expect("serves");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_another_server_answers_for_the_store_the_core_is_told() {
    let mut redis = RedisServer::start();
    let world = World::on(&redis.url()).await;
    let node = world.serving(1).await;
    assert_eq!(node.stats().counters.acts.doubts, 0);
    redis.restart();
    let began = Instant::now();
    while node.stats().counters.acts.doubts == 0 {
        assert!(began.elapsed() < DEADLINE, "what the core knows of the store that was is believed still");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_handle_stops_the_node() {
    let mut world = World::new().await;
    let node = world.serving(1).await;
    let (mut client, _) = world.enter(&node, 1).await;
    drop(node);
    while client.try_next().is_some() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_in_the_way_of_a_start_is_said_plainly() {
    let world = World::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound");
    let cases = [
        (
            NodeOptions { listen: address, ..World::options(1) },
            format!("node 1: port {} on 127.0.0.1 is taken by another program", address.port()),
        ),
        (
            NodeOptions { listen: "0.0.0.0:0".parse().expect("an address"), ..World::options(1) },
            "say what address to advertise".to_owned(),
        ),
        (
            NodeOptions { mesh_listen: "udp://127.0.0.1:0".to_owned(), ..World::options(1) },
            "is not a channel address (tcp://ADDRESS:PORT)".to_owned(),
        ),
        (
            NodeOptions { mesh_listen: format!("tcp://{address}"), ..World::options(1) },
            format!("the mesh can't listen on {address}"),
        ),
    ];
    for (options, expected) in cases {
        let error = world.start(options).await.expect_err("can't start").to_string();
        assert!(error.contains(&expected), "{error}");
    }
}
