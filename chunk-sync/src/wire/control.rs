//! Control messages of the client protocol (MessagePack maps with string keys): who comes, where it shall go, what it
//! finds, why it is refused. Used through `wire`.

use super::{PROTOCOL_VERSIONS, control_frame, kind};
use crate::limits::NAME_BYTES_MAX;
use serde::{Deserialize, Serialize};

/// First message of a client, to allocator and node alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Oldest protocol version that the client speaks.
    pub min: u16,
    /// Newest protocol version that the client speaks.
    pub max: u16,
    /// Features that the client wants; unknown ones are ignored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// Wire levels of streams that the client reads; missing means level 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<u8>,
    /// What the client is, for logs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub client: String,
    /// To the allocator: the player's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// To the allocator: an island that the player asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub island: Option<u32>,
    /// To a node: the ticket.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "serde_bytes")]
    pub ticket: Option<Vec<u8>>,
}

impl Hello {
    /// The newest version that both sides speak.
    pub fn version(&self) -> Option<u16> {
        let version = self.max.min(PROTOCOL_VERSIONS.1);
        (version >= self.min && version >= PROTOCOL_VERSIONS.0).then_some(version)
    }

    /// Whether the client reads streams of this wire level.
    pub fn reads_level(&self, level: u8) -> bool {
        if self.levels.is_empty() { level == 0 } else { self.levels.contains(&level) }
    }
}

/// The allocator's answer: where to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// Protocol version chosen.
    pub protocol: u16,
    /// The player's number.
    pub player: u64,
    /// The island.
    pub island: u32,
    /// Nodes that serve it, the best first; the ticket is good at any of them.
    pub nodes: Vec<String>,
    /// The ticket, to be shown to a node as it is.
    #[serde(with = "serde_bytes")]
    pub ticket: Vec<u8>,
    /// Milliseconds that the ticket stays good.
    pub ticket_ms: u64,
}

/// The node's answer: you are in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Protocol version chosen.
    pub protocol: u16,
    /// Wire level of the streams.
    pub level: u8,
    /// Features that are on.
    pub features: Vec<String>,
    /// The node, as operators name it.
    pub node: u32,
    /// The player's number; also the number of the player's entity.
    pub player: u64,
    /// Epoch of the session.
    pub epoch: u32,
    /// The island.
    pub island: u32,
    /// The world's seed, for clients that generate the land themselves.
    pub seed: u64,
    /// Current tick.
    pub tick: u64,
    /// Milliseconds of a tick.
    pub tick_ms: u32,
    /// Chunks along the edge of the island.
    pub island_chunks: u16,
    /// Rings of chunks seen at every tick.
    pub near_ring: u8,
    /// Rings of chunks seen at all.
    pub far_ring: u8,
    /// Walking speed, millimetres a second.
    pub walk_mm_per_s: u32,
    /// Send something at least this often.
    pub keep_alive_ms: u32,
    /// Where you stand: quanta (1/128 m) east.
    pub x: i32,
    /// Where you stand: quanta (1/128 m) north.
    pub y: i32,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    /// Stable number.
    pub code: u16,
    /// Stable label, as in metrics.
    pub reason: String,
    /// A sentence for the player.
    pub text: String,
}

macro_rules! reject_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $label:literal, $text:literal;)*) => {
        /// Why somebody is refused: number, label and text in one place.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u16)]
        pub enum RejectCode { $($(#[$doc])* $name = $code,)* }

        impl RejectCode {
            /// All codes.
            pub const ALL: &[RejectCode] = &[$(RejectCode::$name,)*];

            /// The label in metrics and in the message.
            pub fn label(self) -> &'static str {
                match self { $(RejectCode::$name => $label,)* }
            }

            /// The sentence for the player.
            pub fn text(self) -> &'static str {
                match self { $(RejectCode::$name => $text,)* }
            }
        }
    };
}

reject_codes! {
    /// Bytes that are no frame or no message of ours.
    Malformed = 100, "malformed", "Your game sent something that this server can't read. Please update it.";
    /// No common protocol version.
    Version = 101, "version", "Your game is too old or too new for this server. Please update it.";
    /// No whole `Hello` in time.
    HelloTimeout = 102, "hello_timeout", "The connection was opened, but your game said nothing.";
    /// A message that is not allowed at this point.
    Unexpected = 103, "unexpected", "Your game sent something at the wrong moment. Please reconnect.";
    /// More frames a tick than any game needs.
    Flood = 104, "flood", "Your game sent far too much at once and was disconnected.";
    /// Nothing heard for too long.
    Silent = 105, "silent", "The connection was lost.";
    /// Nothing read for too long.
    TooSlow = 106, "too_slow", "Your connection is too slow to keep up.";
    /// A name outside the rules.
    BadName = 110, "bad_name", "A name has 1 to 24 letters, digits, hyphens or underscores.";
    /// No free seat.
    Full = 111, "full", "Every island is full right now. Please try again in a moment.";
    /// The wished island doesn't exist or is not open.
    NoIsland = 112, "no_island", "That island is not open.";
    /// No node is there to serve.
    NoNode = 113, "no_node", "The world is just starting up. Please try again in a moment.";
    /// A ticket that is not ours.
    TicketForged = 120, "ticket_forged", "Your ticket is not valid. Please log in again.";
    /// A ticket past its time.
    TicketExpired = 121, "ticket_expired", "Your ticket has expired. Please log in again.";
    /// A ticket that was used, or is older than one that was.
    TicketUsed = 122, "ticket_used", "Your ticket was used already. Please log in again.";
    /// A ticket for another island or node.
    TicketElsewhere = 123, "ticket_elsewhere", "Your ticket is for another place. Please log in again.";
    /// Somebody entered under the same name.
    Replaced = 130, "replaced", "You entered from somewhere else.";
    /// The node leaves; come back through another.
    Closing = 131, "closing", "This server is closing. Please reconnect.";
    /// The node was fenced or lost its store.
    NodeLost = 132, "node_lost", "This server lost touch with the world. Please reconnect.";
    /// The node can take nobody more right now.
    Busy = 133, "busy", "This server is busy. Please try again in a moment.";
    /// The player set out for another island, or has since the ticket was given; come back through the allocator.
    Travelled = 134, "travelled", "Your way leads to another island.";
    /// The store can't answer right now.
    StoreAway = 140, "store_away", "The world can't be reached right now. Please try again in a moment.";
    /// The store has no room left.
    StoreFull = 141, "store_full", "The world can't keep anything new right now. Please try again later.";
    /// The store has yet to answer; the act waits for it.
    StoreSlow = 142, "store_slow", "The world is slow to answer right now. This may take a moment.";
    /// An act that no rule understands.
    BadAct = 150, "bad_act", "Your game asked for something that this server doesn't know. Please update it.";
    /// More acts under way than one player may have.
    TooManyActs = 151, "too_many_acts", "One thing after the other, please.";
    /// An act that is too old to be known, or out of order.
    ActForgotten = 152, "act_forgotten", "That was too long ago.";
    /// Many want the same at once.
    Contested = 153, "contested", "Somebody else was faster. Please try again.";
    /// No room is left for it here.
    NoRoom = 154, "no_room", "There is no room for more here.";
}

impl RejectCode {
    /// The whole frame.
    pub fn frame(self) -> Vec<u8> {
        let message =
            Reject { code: self as u16, reason: self.label().to_owned(), text: self.text().to_owned() };
        control_frame(kind::REJECT, &message)
    }

    /// The code with this number.
    pub fn from_code(code: u16) -> Option<RejectCode> {
        Self::ALL.iter().copied().find(|c| *c as u16 == code)
    }
}

/// Whether a player may be called this (development names: 1–24 of `[A-Za-z0-9_-]`).
pub fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
