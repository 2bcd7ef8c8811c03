//! The client's own core: how to get in ([`Client`]), and two readers of what a node then sends: [`Replica`] keeps
//! the whole view, [`Skim`] only checks and counts. Bots, the terminal client and the simulation are built on it.
//!
//! Bytes and the time go in, bytes and events come out. It opens no socket and reads no clock, and whatever a
//! hostile server sends, what it keeps stays within the limits of [`limits`].

mod documents;
mod feeds;
pub mod limits;
mod replica;
mod session;
mod skim;

pub use documents::Documents;
pub use replica::{Entity, Moved, Replica};
pub use session::{
    ActError, Client, ClientConfig, ClientEvent, ClientOutput, EndReason, MoveFrame, OpenAct, Phase,
};
pub use skim::Skim;

use crate::blocks::{BlockError, StreamId};
use crate::place::ChunkPos;
use crate::terrain::ChunkTiles;
use crate::wire::{Docs, TickHeader, Welcome};
use thiserror::Error;

/// Something that reads what a node sends once a client is inside.
pub trait View {
    /// A session begins: forget everything.
    fn begin(&mut self, welcome: &Welcome);

    /// Takes what one tick brought.
    ///
    /// # Errors
    /// When the frame breaks the protocol; nothing that was seen before holds any longer.
    fn frame(&mut self, header: &TickHeader, blocks: &[u8]) -> Result<(), ReplicaError>;

    /// Takes the tiles of a chunk; they come only to those who asked for the feature `land`.
    fn land(&mut self, _chunk: ChunkPos, _tiles: Box<ChunkTiles>) {}

    /// Takes documents; they come only to those who asked for the feature `docs`.
    ///
    /// # Errors
    /// When they are more than the reader keeps.
    fn docs(&mut self, _docs: Docs) -> Result<(), ReplicaError> {
        Ok(())
    }
}

/// How a server broke the stream rules.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReplicaError {
    /// Bytes that are no block, or a block that is malformed.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// A frame that neither follows the last one nor restates everything.
    #[error("gap in {stream:?} of source {from_source} in chunk {},{}: have {have:?}, got {got}", chunk.x, chunk.y)]
    Gap {
        /// The stream.
        stream: StreamId,
        /// Number of the source.
        from_source: u32,
        /// The chunk.
        chunk: ChunkPos,
        /// The last number, if the stream was followed.
        have: Option<u16>,
        /// The number that came.
        got: u16,
    },
    /// Motion whose slots mean a roster that has not come yet.
    #[error("motion of source {from_source} in chunk {},{} rests on roster {rests_on}, have {have}", chunk.x, chunk.y)]
    RestsOnUnknown {
        /// Number of the source.
        from_source: u32,
        /// The chunk.
        chunk: ChunkPos,
        /// The newest roster number.
        have: u16,
        /// The roster number that the motion names.
        rests_on: u16,
    },
    /// A step or a leave of a slot that nobody has.
    #[error("slot {slot} of source {from_source} in chunk {},{} is empty", chunk.x, chunk.y)]
    EmptySlot {
        /// Number of the source.
        from_source: u32,
        /// The chunk.
        chunk: ChunkPos,
        /// The slot.
        slot: u16,
    },
    /// A block about a chunk that is not in view.
    #[error("chunk {},{} is not in view", chunk.x, chunk.y)]
    OutsideView {
        /// The chunk.
        chunk: ChunkPos,
    },
    /// More than a client keeps.
    #[error("more than {max} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
    },
}
