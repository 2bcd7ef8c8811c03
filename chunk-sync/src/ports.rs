//! What a pure core asks of whoever runs it, where node and allocator ask the same: the mesh, the store. Shells carry
//! it to real sockets and stores, the simulation to its own.

use bytes::Bytes;

use crate::ids::Source;
use crate::mesh_wire::TopicBytes;

/// Number of a question to the store, for its answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// What a core wants done on the mesh.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MeshCommand {
    /// Follow this member.
    Connect(Source, String),
    /// Stop following it.
    Disconnect(Source),
    /// Tear its link down and make it anew.
    Remake(Source),
    /// Take this topic from everybody.
    Subscribe(TopicBytes),
    /// No longer take it.
    Unsubscribe(TopicBytes),
    /// Say this.
    Publish(TopicBytes, Bytes),
}
