//! The node's shell: gives a pure core its thread, its client sockets, its channel and its store.
//!
//! `atoll` calls [`start`] for each node and keeps the [`NodeHandle`]. The shell decides nothing about the game;
//! it carries bytes and answers, keeps time, and bounds what waits.

use std::any::Any;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use chunk_sync::ids::{NodeId, Source};
use chunk_sync::records::WORLD;
use chunk_sync::store::MinterError;
use chunk_sync::ticket::TicketKey;
use chunk_sync_io::door::{Door, DoorError, DoorStats};
use chunk_sync_io::mesh::{Mesh, MeshError, ZmqMesh};
use chunk_sync_io::store::{StoreHandle, lease_minter};
use chunk_sync_io::world::{WorldClock, WorldError, open_world};
use tokio::sync::watch;

mod connection;
mod outbox;
mod sockets;
mod stats;
mod sweep;
mod thread;

pub use stats::NodeStats;

use crate::core::NodeCore;
use crate::core::ports::{NodeConfig, Standing};
use crate::limits::STOP_WAIT_MS;
use sockets::Sockets;
use stats::SharedStats;
use thread::{NodeThread, Parts};

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The node, as operators name it.
    pub node: NodeId,
    /// Where clients connect; port 0 takes any free one.
    pub listen: SocketAddr,
    /// What clients are told to connect to (`host:port`), when it isn't the address listened on.
    pub advertise: Option<String>,
    /// Where other members of the cluster subscribe (`tcp://host:port`); port 0 takes any free one.
    pub mesh_listen: String,
}

/// Why a node could not be started.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The clients' port.
    #[error("node {node}: {cause}")]
    Door {
        /// The node.
        node: NodeId,
        /// What is wrong.
        cause: DoorError,
    },
    /// Clients can't connect to "any address".
    #[error("node {node} listens on {listen}, which tells clients nothing: say what address to advertise")]
    Advertise {
        /// The node.
        node: NodeId,
        /// What it listens on.
        listen: SocketAddr,
    },
    /// The channel's address is none.
    #[error("node {node}: {address:?} is not a channel address (tcp://ADDRESS:PORT)")]
    MeshAddress {
        /// The node.
        node: NodeId,
        /// What was given.
        address: String,
    },
    /// The channel's port.
    #[error("node {node}: {cause}")]
    Mesh {
        /// The node.
        node: NodeId,
        /// What is wrong.
        cause: MeshError,
    },
    /// The world's record.
    #[error("node {node}: {cause}")]
    World {
        /// The node.
        node: NodeId,
        /// What is wrong.
        cause: WorldError,
    },
    /// The number of this start.
    #[error("node {node}: {cause}")]
    Number {
        /// The node.
        node: NodeId,
        /// What is wrong.
        cause: MinterError,
    },
    /// The system gives no thread or no epoll.
    #[error("node {node}: the system gives no {what}: {cause}")]
    System {
        /// The node.
        node: NodeId,
        /// What was asked for.
        what: &'static str,
        /// What it said.
        cause: std::io::Error,
    },
}

/// How a node came to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NodeEnd {
    /// It was asked to.
    Stopped,
    /// A newer incarnation took its place; it has told its clients to go there.
    Fenced,
    /// It could not go on: the process should end with an error.
    Failed(String),
}

/// A running node. Dropping it asks the node to stop, without waiting.
#[derive(Debug)]
pub struct NodeHandle {
    node: NodeId,
    source: Source,
    address: SocketAddr,
    advertised: String,
    mesh: String,
    stop: Arc<AtomicBool>,
    stats: Arc<SharedStats>,
    door_stats: Arc<DoorStats>,
    standing: watch::Receiver<Standing>,
    end: watch::Receiver<Option<NodeEnd>>,
}

impl NodeHandle {
    /// The node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The number of this start.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Where it listens for clients, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What clients are told to connect to.
    pub fn advertised(&self) -> &str {
        &self.advertised
    }

    /// Where other members of the cluster subscribe, with the real port.
    pub fn mesh_endpoint(&self) -> &str {
        &self.mesh
    }

    /// How the core says it is.
    pub fn standing(&self) -> Standing {
        *self.standing.borrow()
    }

    /// The thread's own figures.
    pub fn stats(&self) -> NodeStats {
        self.stats.read()
    }

    /// What the door for clients counts.
    pub fn door_stats(&self) -> &DoorStats {
        &self.door_stats
    }

    /// Waits until the node serves. How long is the caller's to bound.
    ///
    /// # Errors
    /// How it ended, if it ends before that.
    pub async fn serving(&self) -> Result<(), NodeEnd> {
        let mut standing = self.standing.clone();
        match standing.wait_for(|standing| *standing == Standing::Serving).await {
            Ok(_) => Ok(()),
            // The thread is gone: how it ended is being said.
            Err(_) => Err(self.ended().await),
        }
    }

    /// Waits for the node's end, whatever its cause. May be awaited by many, also after the end.
    pub async fn ended(&self) -> NodeEnd {
        let mut end = self.end.clone();
        match end.wait_for(Option::is_some).await {
            Ok(said) => said.clone().unwrap_or(NodeEnd::Stopped),
            Err(_) => NodeEnd::Failed("the node's thread vanished".to_owned()),
        }
    }

    /// Asks the node to stop: clients are told that it closes, the store that it leaves. Waits for it, a few
    /// seconds at most.
    pub async fn shutdown(&self) -> NodeEnd {
        self.stop.store(true, Relaxed);
        match tokio::time::timeout(Duration::from_millis(STOP_WAIT_MS), self.ended()).await {
            Ok(end) => end,
            Err(_) => NodeEnd::Failed("the node's thread didn't stop in time".to_owned()),
        }
    }
}

impl Drop for NodeHandle {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

/// Starts a node: opens its ports, takes a number from the store, and spawns its thread. It registers and serves
/// from there on by itself. Must be called on a tokio runtime, which then does its waiting.
///
/// # Errors
/// [`NodeError`], naming the node and what stands in the way; nothing is left running then.
pub async fn start(
    options: NodeOptions,
    store: StoreHandle,
    clock: WorldClock,
) -> Result<NodeHandle, NodeError> {
    let node = options.node;
    let mesh_address = parse_mesh_address(&options)?;
    let door = Door::open(options.listen).await.map_err(|cause| NodeError::Door { node, cause })?;
    let advertised = advertised(&options, door.address())?;
    let runtime = tokio::runtime::Handle::current();
    let mesh = ZmqMesh::open(runtime, mesh_address).await.map_err(|cause| NodeError::Mesh { node, cause })?;
    let (world, _) = open_world(&store).await.map_err(|cause| NodeError::World { node, cause })?;
    let source = lease_minter(&store, WORLD).await.map_err(|cause| NodeError::Number { node, cause })?;
    let config = NodeConfig {
        node,
        source,
        seed: world.seed,
        keys: world.keys.iter().map(TicketKey::from).collect(),
        address: advertised.clone(),
        mesh: mesh.endpoint(),
    };
    let core = NodeCore::new(config, clock.now_ms());
    let (standing, standing_seen) = watch::channel(core.standing());
    let (end, end_seen) = watch::channel(None);
    let sockets = Sockets::new().map_err(|cause| NodeError::System { node, what: "epoll", cause })?;
    let handle = NodeHandle {
        node,
        source,
        address: door.address(),
        advertised,
        mesh: mesh.endpoint(),
        stop: Arc::new(AtomicBool::new(false)),
        stats: Arc::new(SharedStats::default()),
        door_stats: door.stats(),
        standing: standing_seen,
        end: end_seen,
    };
    let (stop, stats) = (Arc::clone(&handle.stop), Arc::clone(&handle.stats));
    let sweep = sweep::start(&store);
    let mesh = Box::new(mesh);
    let parts = Parts { core, door, sockets, mesh, store, clock, stop, stats, standing, sweep };
    spawn(node, parts, end).map_err(|cause| NodeError::System { node, what: "thread", cause })?;
    Ok(handle)
}

/// Runs the node on a thread of its own. Whatever happens there ends there, and is said.
fn spawn(node: NodeId, parts: Parts, end: watch::Sender<Option<NodeEnd>>) -> std::io::Result<()> {
    let body = move || {
        let ended = std::panic::catch_unwind(AssertUnwindSafe(|| NodeThread::new(parts).run()));
        let ended = ended.unwrap_or_else(|panic| NodeEnd::Failed(format!("panic: {}", panic_text(&*panic))));
        match &ended {
            NodeEnd::Stopped => tracing::info!(%node, "node stopped"),
            NodeEnd::Fenced => tracing::warn!(%node, "node fenced: a newer one took its place"),
            NodeEnd::Failed(why) => tracing::error!(%node, %why, "node failed"),
        }
        end.send_replace(Some(ended));
    };
    std::thread::Builder::new().name(format!("node-{node}")).spawn(body).map(drop)
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("of unknown kind")
}

fn parse_mesh_address(options: &NodeOptions) -> Result<SocketAddr, NodeError> {
    let parsed = options.mesh_listen.strip_prefix("tcp://").and_then(|address| address.parse().ok());
    parsed.ok_or_else(|| NodeError::MeshAddress { node: options.node, address: options.mesh_listen.clone() })
}

fn advertised(options: &NodeOptions, bound: SocketAddr) -> Result<String, NodeError> {
    match &options.advertise {
        Some(address) => Ok(address.clone()),
        None if bound.ip().is_unspecified() => {
            Err(NodeError::Advertise { node: options.node, listen: bound })
        }
        None => Ok(bound.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use chunk_sync_io::mesh::{MeshFrame, MeshStats, PeerId};
    use chunk_sync_io::store::StoreUrl;

    /// A channel with a defect.
    struct Defective;

    impl Mesh for Defective {
        fn publish(&mut self, _: &[u8], _: Bytes) {}
        fn flush(&mut self) {}
        fn subscribe(&mut self, _: &[u8]) {}
        fn unsubscribe(&mut self, _: &[u8]) {}
        fn connect(&mut self, _: PeerId, _: &str) {}
        fn disconnect(&mut self, _: PeerId) {}
        fn remake(&mut self, _: PeerId) {}
        fn drain(&mut self, _: &mut Vec<MeshFrame>) {
            panic!("defect {}", 7)
        }
        fn stats(&self) -> MeshStats {
            MeshStats::default()
        }
        fn endpoint(&self) -> String {
            String::new()
        }
    }

    #[tokio::test]
    async fn a_panic_of_the_thread_is_reported_as_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let url: StoreUrl = format!("embedded:{}", folder.path().display()).parse().unwrap();
        let store = StoreHandle::open(&url).await.unwrap();
        let (_, clock) = open_world(&store).await.unwrap();
        let (node, source) = (NodeId(1), Source(1));
        let config =
            NodeConfig { node, source, seed: 1, keys: vec![], address: String::new(), mesh: String::new() };
        let (standing, _) = watch::channel(Standing::Starting);
        let (end, mut said) = watch::channel(None);
        let sweep = sweep::start(&store);
        let parts = Parts {
            core: NodeCore::new(config, clock.now_ms()),
            door: Door::open(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap(),
            sockets: Sockets::new().unwrap(),
            mesh: Box::new(Defective),
            store,
            clock,
            stop: Arc::default(),
            stats: Arc::default(),
            standing,
            sweep,
        };
        spawn(node, parts, end).unwrap();
        let said = said.wait_for(Option::is_some).await.unwrap().clone();
        assert_eq!(said, Some(NodeEnd::Failed("panic: defect 7".to_owned())));
    }
}
