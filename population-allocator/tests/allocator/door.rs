//! The service over real TCP, a real mesh and an embedded store.

use bytes::Bytes;
use chunk_sync::ids::{IslandId, NodeId, PlayerId, Source};
use chunk_sync::limits::{NODE_LEASE_MS, TICK_MS};
use chunk_sync::mesh_wire::{self, Census, Topic};
use chunk_sync::records::{self, CLUSTER_REGISTRY, NodeRecord, WORLD, lease_name, node_doc};
use chunk_sync::store::{Commit, CommitOutcome, LeaseStep, PartitionKey, StoreAnswer, StoreOp, Token};
use chunk_sync::ticket::Ticket;
use chunk_sync::time::Tick;
use chunk_sync::wire::{Framer, Hello, Reject, RejectCode, Seat, control, control_frame, kind};
use chunk_sync_io::mesh::{Mesh, ZmqMesh};
use chunk_sync_io::store::{StoreHandle, StoreUrl, lease_minter};
use chunk_sync_io::world::{WorldClock, open_world};
use population_allocator::core::Standing;
use population_allocator::limits::ISLANDS_MAX;
use population_allocator::policy::Policy;
use population_allocator::service::{
    AllocatorEnd, AllocatorHandle, AllocatorOptions, Report, StartError, start,
};
use std::ops::ControlFlow;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

async fn store(folder: &tempfile::TempDir) -> StoreHandle {
    StoreHandle::open(&StoreUrl::Embedded(folder.path().join("data"))).await.unwrap()
}

fn options(policy: Policy) -> AllocatorOptions {
    let any = "127.0.0.1:0".parse().unwrap();
    AllocatorOptions { listen: any, advertise: None, mesh_listen: any, policy }
}

async fn begin(options: AllocatorOptions, store: &StoreHandle) -> Result<AllocatorHandle, StartError> {
    let (_, clock) = open_world(store).await.unwrap();
    start(options, store.clone(), clock).await
}

/// A node as the allocator sees it: a record, and a census from a real publisher until it is dropped.
struct Speaker {
    source: Source,
    task: JoinHandle<()>,
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn speaker(
    store: &StoreHandle,
    clock: WorldClock,
    sessions: Vec<(PlayerId, u64, IslandId)>,
) -> Speaker {
    let node = NodeId(1);
    let source = lease_minter(store, WORLD).await.unwrap();
    let runtime = tokio::runtime::Handle::current();
    let mut mesh = ZmqMesh::open(runtime, "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let record =
        NodeRecord { node, source, address: "127.0.0.1:7001".to_owned(), mesh: mesh.endpoint(), alive: true };
    let lease = LeaseStep::Take {
        name: lease_name(source).into(),
        holder: u64::from(source.0),
        ttl_ms: NODE_LEASE_MS,
    };
    let commit =
        Commit::new(PartitionKey::cluster(WORLD, CLUSTER_REGISTRY), Token(u64::from(source.0) << 32))
            .put(node_doc(node), records::encode(&record))
            .lease(lease);
    let done = store.call(StoreOp::Commit(commit)).await;
    assert!(matches!(done, StoreAnswer::Committed(CommitOutcome::Done { .. })), "{done:?}");
    let task = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(TICK_MS));
        loop {
            ticks.tick().await;
            let census = Census {
                node,
                source,
                tick: Tick::at_ms(clock.now_ms()),
                sessions: sessions.clone(),
                open: true,
                serves: (1..=ISLANDS_MAX).map(IslandId).collect(),
                ..Census::default()
            };
            mesh.publish(&Topic::Census.bytes(), Bytes::from(mesh_wire::encode(&census)));
            mesh.flush();
        }
    });
    Speaker { source, task }
}

async fn until(handle: &AllocatorHandle, what: impl Fn(&Report) -> bool) {
    let mut reports = handle.reports();
    let reached = timeout(PATIENCE, reports.wait_for(|report| what(report))).await;
    assert!(matches!(reached, Ok(Ok(_))), "not reached: {:?}", handle.report());
}

/// Sends bytes and reads all frames until the server closes.
async fn ask(handle: &AllocatorHandle, bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut stream = TcpStream::connect(handle.address()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut got = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut got)).await.expect("an answer in time").unwrap();
    let mut frames = Vec::new();
    let mut framer = Framer::new(1 << 20);
    framer
        .feed(&got, |kind, body| {
            frames.push((kind, body.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(framer.pending_bytes(), 0, "half a frame");
    frames
}

fn hello(name: &str) -> Hello {
    Hello { min: 1, max: 1, name: Some(name.to_owned()), client: "test".to_owned(), ..Hello::default() }
}

async fn join(handle: &AllocatorHandle, hello: &Hello) -> Result<Seat, RejectCode> {
    let frames = ask(handle, &control_frame(kind::HELLO, hello)).await;
    let [(kind, body)] = &frames[..] else { panic!("{} frames", frames.len()) };
    match *kind {
        kind::SEAT => Ok(control(kind::SEAT, body).unwrap()),
        kind::REJECT => {
            Err(RejectCode::from_code(control::<Reject>(kind::REJECT, body).unwrap().code).unwrap())
        }
        other => panic!("kind {other:#x}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_get_seats_and_clear_refusals() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let (world, clock) = open_world(&store).await.unwrap();
    let handle = begin(options(Policy::default()), &store).await.unwrap();
    let speaker = speaker(&store, clock.clone(), Vec::new()).await;
    until(&handle, |report| report.state.nodes.iter().any(|node| node.alive)).await;

    let seat = join(&handle, &hello("Mara")).await.unwrap();
    assert_eq!((seat.island, &seat.nodes[..]), (1, &["127.0.0.1:7001".to_owned()][..]));
    let keys: Vec<_> = world.keys.iter().map(Into::into).collect();
    let ticket = Ticket::check(&seat.ticket, &keys, clock.now_ms(), NodeId(1)).unwrap();
    assert_eq!(ticket.name, "Mara");
    assert_eq!(join(&handle, &hello("mara")).await.unwrap().player, seat.player);
    assert_eq!(join(&handle, &hello("no good")).await, Err(RejectCode::BadName));
    assert_eq!(join(&handle, &Hello { island: Some(9), ..hello("a") }).await, Err(RejectCode::NoIsland));
    assert_eq!(join(&handle, &Hello { min: 7, max: 8, ..hello("a") }).await, Err(RejectCode::Version));
    let garbage = ask(&handle, &chunk_sync::wire::frame(kind::HELLO, b"\xc1nonsense")).await;
    let refusal: Reject = control(kind::REJECT, &garbage[0].1).unwrap();
    assert_eq!(refusal.code, RejectCode::Malformed as u16);

    until(&handle, |report| report.state.islands[0].population == 1 && report.counters.seated == 2).await;
    assert_eq!(handle.report().standing, Standing::Serving);
    assert_ne!(handle.source(), speaker.source);
    assert_eq!(handle.shutdown().await, AllocatorEnd::Stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_the_door_is_seated_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let (_, clock) = open_world(&store).await.unwrap();
    let handle = begin(options(Policy { design: 50, cap: 60, minimum: 10, ..Policy::default() }), &store)
        .await
        .unwrap();
    let _speaker = speaker(&store, clock.clone(), Vec::new()).await;
    until(&handle, |report| report.state.nodes.iter().any(|node| node.alive)).await;
    let joins = (0..400).map(|n| {
        let address = handle.address();
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&control_frame(kind::HELLO, &hello(&format!("bot-{n}")))).await.unwrap();
            let mut got = Vec::new();
            stream.read_to_end(&mut got).await.unwrap();
            assert_eq!(got[4], kind::SEAT, "{}", String::from_utf8_lossy(&got));
        })
    });
    for join in joins.collect::<Vec<_>>() {
        timeout(PATIENCE, join).await.unwrap().unwrap();
    }
    until(&handle, |report| report.counters.seated == 400).await;
    let report = handle.report();
    assert!(report.state.islands.iter().all(|island| island.population <= 50), "{:?}", report.state.plan);
    assert_eq!(report.state.islands.iter().map(|island| island.population).sum::<u32>(), 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_on_the_same_folder_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let player = {
        let store = store(&folder).await;
        let (_, clock) = open_world(&store).await.unwrap();
        let handle = begin(options(Policy::default()), &store).await.unwrap();
        let _speaker = speaker(&store, clock.clone(), Vec::new()).await;
        let seat = join(&handle, &hello("Mara")).await.unwrap();
        assert_eq!(handle.shutdown().await, AllocatorEnd::Stopped);
        seat.player
    };
    // The old store's thread ends with its last handle; until then the folder is in use.
    let store = timeout(PATIENCE, async {
        loop {
            match StoreHandle::open(&StoreUrl::Embedded(folder.path().join("data"))).await {
                Ok(store) => break store,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await
    .unwrap();
    let (_, clock) = open_world(&store).await.unwrap();
    let handle = begin(options(Policy::default()), &store).await.unwrap();
    let inside = vec![(PlayerId(player), 1, IslandId(1))];
    let _speaker = speaker(&store, clock.clone(), inside).await;
    let seat = join(&handle, &hello("MARA")).await.unwrap();
    assert_eq!((seat.player, seat.island), (player, 1));
    until(&handle, |report| report.state.plan.number >= 1 && report.state.nodes[0].sessions == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_allocator_takes_over_and_the_first_ends() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let mut first = begin(options(Policy::default()), &store).await.unwrap();
    until(&first, |report| report.standing == Standing::Serving).await;
    let second = begin(options(Policy::default()), &store).await.unwrap();
    assert_eq!(timeout(PATIENCE, first.ended()).await, Ok(AllocatorEnd::Fenced));
    until(&second, |report| report.standing == Standing::Serving).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_in_the_way_is_said_clearly() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap();
    let error = begin(AllocatorOptions { listen: port, ..options(Policy::default()) }, &store).await;
    let text = error.unwrap_err().to_string();
    assert!(text.contains(&port.port().to_string()) && text.contains("taken"), "{text}");
    let policy = Policy { design: 0, islands: 0, ..Policy::default() };
    let text = begin(options(policy), &store).await.unwrap_err().to_string();
    assert!(text.contains("design is 0") && text.contains("islands is 0"), "{text}");
}

#[test]
fn the_state_has_the_promised_shape() {
    let mut cluster = crate::cluster::Cluster::serving(crate::cluster::small(), 1);
    let seat = cluster.play("a");
    cluster.run(1_000);
    let source = cluster.nodes[&1].source;
    let mut census = cluster.census(1);
    census.tick.0 += 1;
    (census.cpu_s, census.ghosts, census.tick_ms) = (1.5, 7, (2.0, f32::NAN));
    census.chunks = vec![
        mesh_wire::ChunkCensus {
            i: IslandId(1),
            c: chunk_sync::place::ChunkPos::new(3, 4),
            n: 1,
            claimed: true,
        },
        mesh_wire::ChunkCensus {
            i: IslandId(1),
            c: chunk_sync::place::ChunkPos::new(-3, 4),
            n: 1,
            claimed: true,
        },
    ];
    cluster.say(source, &census);
    let state = serde_json::to_value(cluster.core.state(cluster.now_ms)).unwrap();
    assert_eq!(seat.island, 1);
    let node = serde_json::json!({
        "id": 1, "address": "node1:7000", "sessions": 1, "tick_ms": { "p50": 2.0, "p99": 0.0 }, "cpu_s": 1.5,
        "ghosts": 7, "chunks_claimed": 1, "alive": true,
    });
    let island = serde_json::json!({
        "id": 1, "kind": "settled", "state": "open", "population": 1, "design": 3, "cap": 5, "minimum": 1,
        "residents": 0, "nodes": [1], "chunks": [{ "x": 3, "y": 4, "population": 1, "claimants": [1] }],
    });
    assert_eq!(state["nodes"], serde_json::json!([node]));
    assert_eq!(state["islands"], serde_json::json!([island]));
    assert_eq!(state["queue"], serde_json::json!({ "waiting": 0 }));
    assert_eq!(state["plan"]["reasons"].as_array().unwrap().len(), 10);
    assert!(state["plan"]["number"].as_u64().unwrap() >= 1);
}
