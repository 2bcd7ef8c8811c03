//! What a client is told at its start, what it asks its driver to do and what it tells.

use super::super::limits::ATTEMPTS_MAX;
use crate::ids::IslandId;
use crate::place::Place;
use crate::wire::{Acted, Welcome};

/// Who wants to get in, and where.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Address of the allocator, as the driver understands it.
    pub allocator: String,
    /// The player's name.
    pub name: String,
    /// The island asked for.
    pub island: Option<IslandId>,
    /// Features asked for.
    pub features: Vec<String>,
    /// What the client is, for the server's logs.
    pub software: String,
    /// Attempts to get in before it gives up.
    pub attempts_max: u32,
    /// Whether to start over when a session is lost.
    pub rejoin: bool,
    /// Give up a node that is silent. Off for clients that don't read.
    pub minds_silence: bool,
}

impl ClientConfig {
    /// A client called `name` that enters through `allocator`, with everything else as usual.
    pub fn new(allocator: &str, name: &str) -> Self {
        Self {
            allocator: allocator.to_owned(),
            name: name.to_owned(),
            island: None,
            features: Vec::new(),
            software: String::new(),
            attempts_max: ATTEMPTS_MAX,
            rejoin: false,
            minds_silence: true,
        }
    }
}

/// Where a client is on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// At the allocator's door.
    Allocator,
    /// At a node's door.
    Node,
    /// In the world.
    Inside,
    /// Between two attempts.
    Waiting,
    /// Done for good.
    Ended,
}

/// Why a client is done for good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EndReason {
    /// It left.
    Left,
    /// It was refused, and trying again won't help.
    Rejected(u16),
    /// No door opened in all attempts.
    NoWayIn,
    /// The session was lost.
    Lost,
    /// The server broke the protocol.
    Protocol,
}

/// What happens to a client.
#[derive(Clone, PartialEq, Debug)]
pub enum ClientEvent {
    /// It is in.
    Entered(Box<Welcome>),
    /// It was refused.
    Rejected {
        /// The stable number.
        code: u16,
        /// The stable label.
        reason: String,
        /// The sentence for the player.
        text: String,
    },
    /// A move was not allowed; it stands here.
    Corrected(Place),
    /// What came of an act that it asked for. Those that `wait` hear again.
    Acted(Acted),
    /// A door didn't answer, or its connection ended before it did.
    Unreachable(String),
    /// The session ended without a word.
    Lost,
    /// The server broke the protocol; its connection is given up.
    ProtocolError(String),
    /// Nothing more will happen.
    Ended(EndReason),
}

/// What the driver shall do.
#[derive(Clone, PartialEq, Debug)]
pub enum ClientOutput {
    /// Close the connection, if there is one, and open one to this address. Of an older connection nothing may be
    /// reported any more.
    Dial(String),
    /// Send these bytes.
    Send(Vec<u8>),
    /// Close the connection after what was sent.
    Hangup,
    /// Tell who listens.
    Event(ClientEvent),
}
