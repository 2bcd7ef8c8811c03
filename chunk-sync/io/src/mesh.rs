//! The channel between nodes: one publisher of our own, one subscription link for each remote publisher.
//!
//! A node's shell calls this from the node's own thread: every call takes or gives what is ready and returns,
//! none waits. Allocators use it the same way. ZeroMQ stays below this page: nothing of its library shows
//! in the trait, and a backend can be exchanged.
//!
//! The mesh never decides anything: it doesn't know chunks or streams, keeps no frame for later, and repairs
//! no gap. It may lose messages (at a slow reader, over a reconnect); it never reorders those of one peer and
//! never delivers one twice over the same link.

use std::net::SocketAddr;

use bytes::Bytes;
use chunk_sync::mesh_wire::TopicBytes;
use chunk_sync::ports::MeshCommand;

mod door;
pub mod limits;
mod link;
mod stats;
mod topics;
mod zmq;

pub use stats::{LinkStats, MeshStats, OutStats, PeerStats};
pub use zmq::ZmqMesh;

/// The source number of a mesh member, as its frames carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u32);

/// A topic: fixed length, always subscribed whole.
pub type MeshTopic = TopicBytes;

/// One message from a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshFrame {
    /// Whose publisher sent it (by the link it came on, not by what it claims).
    pub peer: PeerId,
    /// The topic it was published under.
    pub topic: MeshTopic,
    /// Its body, at most [`limits::MESH_BODY_BYTES_MAX`] bytes.
    pub body: Bytes,
}

/// What a node's shell needs of the channel. No call waits.
pub trait Mesh: Send {
    /// Puts one message into the outbox; [`Mesh::flush`] sends it. When the outbox is full
    /// ([`limits::OUTBOX_BYTES_MAX`]), the topic isn't a [`MeshTopic`] long or the body exceeds
    /// [`limits::MESH_BODY_BYTES_MAX`], the message is dropped and counted.
    fn publish(&mut self, topic: &[u8], body: Bytes);

    /// Hands subscription changes, then everything published since the last flush, to the network. Call it
    /// once a tick, after publishing.
    fn flush(&mut self);

    /// One more wants `topic`, from every peer there is or will be; takes effect with the next flush. Refused
    /// and counted when the topic has the wrong length or [`limits::TOPICS_MAX`] are wanted already.
    fn subscribe(&mut self, topic: &[u8]);

    /// One fewer wants `topic`; with the last one gone the next flush ends the subscription. Frames already
    /// on their way may still come.
    fn unsubscribe(&mut self, topic: &[u8]);

    /// Links to the publisher of `peer` at `endpoint` (`tcp://host:port`) and keeps dialling for as long as the
    /// link exists. The same endpoint again changes nothing; another one replaces the link. An endpoint
    /// that can't be parsed is counted as an error of that peer; a peer beyond [`limits::LINKS_MAX`] is refused and
    /// counted.
    fn connect(&mut self, peer: PeerId, endpoint: &str);

    /// Ends the link to `peer`; what it sent and wasn't drained is gone.
    fn disconnect(&mut self, peer: PeerId);

    /// Tears the link to `peer` down and builds it anew, subscriptions included. What had arrived stays.
    fn remake(&mut self, peer: PeerId);

    /// Appends everything received so far to `into`: each peer's frames in the order sent, peers by rising
    /// number. Beyond [`limits::INBOX_BYTES_MAX`] per peer the newest had been dropped and counted.
    fn drain(&mut self, into: &mut Vec<MeshFrame>);

    /// Does what a core wants done.
    fn obey(&mut self, command: MeshCommand) {
        match command {
            MeshCommand::Connect(source, endpoint) => self.connect(PeerId(source.0), &endpoint),
            MeshCommand::Disconnect(source) => self.disconnect(PeerId(source.0)),
            MeshCommand::Remake(source) => self.remake(PeerId(source.0)),
            MeshCommand::Subscribe(topic) => self.subscribe(&topic),
            MeshCommand::Unsubscribe(topic) => self.unsubscribe(&topic),
            MeshCommand::Publish(topic, body) => self.publish(&topic, body),
        }
    }

    /// The counters as they are now.
    fn stats(&self) -> MeshStats;

    /// Where peers connect to: `tcp://address:port` with the real port.
    fn endpoint(&self) -> String;
}

/// Why a mesh endpoint could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// The mesh has no authentication: it serves private networks only.
    #[error("{0} is not a private address: the mesh binds loopback, private and link-local addresses only")]
    NotPrivate(SocketAddr),
    /// The address can't be bound.
    #[error("the mesh can't listen on {address}: {cause}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// What the operating system or the library said.
        cause: String,
    },
}
