//! [`Mesh`] over ZeroMQ: what the node's thread holds of it.
//!
//! The shell opens one per node or allocator. It owns no socket itself: the door's and the links' tasks run on
//! the given tokio runtime and end when this is dropped.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use omq_tokio::Endpoint;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::door::{self, Batch, Outgoing};
use super::limits::{INBOX_BYTES_MAX, LINKS_MAX, MESH_BODY_BYTES_MAX, OUTBOX_BATCHES_MAX, OUTBOX_BYTES_MAX};
use super::link::{Link, inbox_cost};
use super::stats::{DoorCounters, LinkCounters, LinkStats, MeshStats, OutStats, PeerStats};
use super::topics::{TopicCounts, TopicList};
use super::{Mesh, MeshError, MeshFrame, MeshTopic, PeerId};

/// A mesh endpoint that speaks ZeroMQ: one PUB socket bound, one SUB socket for each peer.
pub struct ZmqMesh {
    runtime: Handle,
    endpoint: String,
    /// Published and not yet flushed.
    outbox: Batch,
    batches: mpsc::Sender<Batch>,
    counters: Arc<DoorCounters>,
    dropped_out: u64,
    topics: TopicCounts,
    wanted: watch::Sender<TopicList>,
    peers: BTreeMap<PeerId, Peer>,
    /// Counters of peers that were disconnected.
    departed: LinkStats,
    peers_refused: u64,
    watcher: tokio::task::AbortHandle,
}

/// One peer as the node's thread knows it.
struct Peer {
    address: String,
    /// None while the address can't be parsed.
    link: Option<Link>,
    /// What an earlier link had received and wasn't drained yet.
    held: Vec<MeshFrame>,
    held_bytes: usize,
    counters: Arc<LinkCounters>,
}

impl ZmqMesh {
    /// Opens an endpoint on `address` (port 0: any free one), its tasks on `runtime`.
    ///
    /// Blocks until the port is bound, so it must not be called from a task; see [`ZmqMesh::open`].
    ///
    /// # Errors
    /// [`MeshError`] if the address isn't private or can't be bound.
    pub fn bind(runtime: Handle, address: SocketAddr) -> Result<Self, MeshError> {
        let entered = runtime.clone();
        entered.block_on(Self::open(runtime, address))
    }

    /// [`ZmqMesh::bind`] for callers that are tasks themselves.
    ///
    /// # Errors
    /// [`MeshError`] if the address isn't private or can't be bound.
    pub async fn open(runtime: Handle, address: SocketAddr) -> Result<Self, MeshError> {
        let counters = Arc::new(DoorCounters::default());
        let (socket, endpoint) = door::open(address, &counters).await?;
        let (batches, receiver) = mpsc::channel(OUTBOX_BATCHES_MAX);
        let watcher = runtime.spawn(door::watch(socket.clone(), counters.clone())).abort_handle();
        runtime.spawn(door::publish(socket, receiver, counters.clone()));
        Ok(Self {
            runtime,
            endpoint,
            outbox: Batch::new(),
            batches,
            counters,
            dropped_out: 0,
            topics: TopicCounts::default(),
            wanted: watch::Sender::new(TopicList::default()),
            peers: BTreeMap::new(),
            departed: LinkStats::default(),
            peers_refused: 0,
            watcher,
        })
    }

    fn start_link(&self, peer: PeerId, address: &str, counters: &Arc<LinkCounters>) -> Option<Link> {
        match address.parse::<Endpoint>() {
            Ok(endpoint @ Endpoint::Tcp { .. }) => {
                let topics = self.wanted.subscribe();
                Some(Link::start(&self.runtime, peer, endpoint, topics, counters.clone()))
            }
            refused => {
                counters.errors.fetch_add(1, Relaxed);
                let reason = refused.err().map_or_else(|| "not tcp".into(), |error| error.to_string());
                tracing::warn!(peer = peer.0, address, %reason, "mesh address refused");
                None
            }
        }
    }
}

impl Mesh for ZmqMesh {
    fn publish(&mut self, topic: &[u8], body: Bytes) {
        let Ok(topic) = MeshTopic::try_from(topic) else {
            self.dropped_out += 1;
            return;
        };
        let too_long = body.len() > MESH_BODY_BYTES_MAX;
        let outgoing = Outgoing { topic, body };
        let waiting = self.counters.outbox_bytes.load(Relaxed);
        if too_long || waiting + outgoing.cost() > OUTBOX_BYTES_MAX {
            self.dropped_out += 1;
            return;
        }
        self.counters.outbox_bytes.fetch_add(outgoing.cost(), Relaxed);
        self.outbox.push(outgoing);
    }

    fn flush(&mut self) {
        if let Some(list) = self.topics.take_changed() {
            self.wanted.send_replace(list);
        }
        if self.outbox.is_empty() {
            return;
        }
        let next = Batch::with_capacity(self.outbox.len());
        let batch = std::mem::replace(&mut self.outbox, next);
        if let Err(refused) = self.batches.try_send(batch) {
            // The task is behind (or gone): the outbox keeps its order and its bound.
            self.outbox = refused.into_inner();
        }
    }

    fn subscribe(&mut self, topic: &[u8]) {
        let accepted = MeshTopic::try_from(topic).is_ok_and(|topic| self.topics.add(topic));
        if !accepted {
            self.counters.topics_refused.fetch_add(1, Relaxed);
        }
    }

    fn unsubscribe(&mut self, topic: &[u8]) {
        let known = MeshTopic::try_from(topic).is_ok_and(|topic| self.topics.remove(&topic));
        if !known {
            self.counters.topics_refused.fetch_add(1, Relaxed);
        }
    }

    fn connect(&mut self, peer: PeerId, endpoint: &str) {
        if let Some(known) = self.peers.get_mut(&peer) {
            if known.address != endpoint {
                known.address = endpoint.to_owned();
                self.remake(peer);
            }
        } else if self.peers.len() >= LINKS_MAX {
            self.peers_refused += 1;
            tracing::warn!(peer = peer.0, limit = LINKS_MAX, "a mesh peer is refused: too many");
        } else {
            let counters = Arc::new(LinkCounters::default());
            let link = self.start_link(peer, endpoint, &counters);
            let address = endpoint.to_owned();
            self.peers.insert(peer, Peer { address, link, held: Vec::new(), held_bytes: 0, counters });
        }
    }

    fn disconnect(&mut self, peer: PeerId) {
        if let Some(gone) = self.peers.remove(&peer) {
            self.departed += gone.counters.read();
        }
    }

    fn remake(&mut self, peer: PeerId) {
        let Some(mut known) = self.peers.remove(&peer) else {
            return;
        };
        if let Some(old) = known.link.take() {
            known.hold(old);
        }
        known.link = self.start_link(peer, &known.address, &known.counters);
        self.peers.insert(peer, known);
    }

    fn drain(&mut self, into: &mut Vec<MeshFrame>) {
        for peer in self.peers.values_mut() {
            into.append(&mut peer.held);
            peer.held_bytes = 0;
            if let Some(link) = &mut peer.link {
                link.drain(into);
            }
        }
    }

    fn stats(&self) -> MeshStats {
        let peers = self.peers.iter().map(|(&peer, known)| known.stats(peer)).collect::<Vec<_>>();
        let mut total_in = self.departed;
        for peer in &peers {
            total_in += peer.link;
        }
        let out = OutStats {
            frames: self.counters.frames.load(Relaxed),
            bytes: self.counters.bytes.load(Relaxed),
            dropped: self.dropped_out,
            outbox_bytes: self.counters.outbox_bytes.load(Relaxed) as u64,
            subscribers: self.counters.subscribers.load(Relaxed),
            errors: self.counters.errors.load(Relaxed),
            topics_refused: self.counters.topics_refused.load(Relaxed),
        };
        MeshStats { out, peers, total_in, peers_refused: self.peers_refused }
    }

    fn endpoint(&self) -> String {
        self.endpoint.clone()
    }
}

impl Peer {
    /// Ends `old` and keeps what it had received, inside one inbox's bound.
    fn hold(&mut self, mut old: Link) {
        let mut frames = Vec::new();
        old.drain(&mut frames);
        drop(old);
        for frame in frames {
            let cost = inbox_cost(&frame.body);
            if self.held_bytes + cost > INBOX_BYTES_MAX {
                self.counters.dropped_in.fetch_add(1, Relaxed);
            } else {
                self.held_bytes += cost;
                self.held.push(frame);
            }
        }
        self.counters.connected.store(false, Relaxed);
    }

    fn stats(&self, peer: PeerId) -> PeerStats {
        let pending = self.link.as_ref().map_or(0, Link::pending_bytes);
        PeerStats {
            peer,
            connected: self.counters.connected.load(Relaxed),
            inbox_bytes: (self.held_bytes + pending) as u64,
            link: self.counters.read(),
        }
    }
}

impl Drop for ZmqMesh {
    /// Hands over what was published, then lets go: the publishing task sends the rest within the linger time.
    fn drop(&mut self) {
        self.flush();
        self.watcher.abort();
    }
}
