//! The documents that a node told a client: those of chunks in view and the player's own. Part of the replica, or used
//! by a light reader on its own.
//!
//! What they say is the game's business. It never makes up a document: what it shows of a chunk began with a message
//! that voided everything before, and is forgotten when the chunk leaves the view.

use super::ReplicaError;
use super::limits::{DOCUMENT_COST_BYTES, DOCUMENTS_BYTES_MAX};
use super::replica::first_centre;
use crate::place::ChunkPos;
use crate::wire::{Docs, TickHeader, Welcome};
use std::collections::BTreeMap;

type Shelf = BTreeMap<String, Vec<u8>>;

/// What a client knows of the lasting world.
#[derive(Debug, Default)]
pub struct Documents {
    own: Option<Shelf>,
    chunks: BTreeMap<ChunkPos, Shelf>,
    /// Centre of the view and its far ring.
    view: Option<(ChunkPos, i16)>,
    /// Bytes of everything that is kept, counted as in [`cost`].
    bytes: usize,
}

/// What keeping a document costs, in bytes: name, content, and what there is around them.
fn cost(name: &str, content: &[u8]) -> usize {
    name.len() + content.len() + DOCUMENT_COST_BYTES
}

fn cost_of(shelf: &Shelf) -> usize {
    shelf.iter().map(|(name, content)| cost(name, content)).sum::<usize>() + DOCUMENT_COST_BYTES
}

impl Documents {
    /// A session begins: nothing of an earlier one holds.
    pub fn begin(&mut self, welcome: &Welcome) {
        self.clear();
        self.view = Some((first_centre(welcome), i16::from(welcome.far_ring)));
    }

    /// Follows the view: what leaves it is forgotten. A reset of the streams voids no document.
    pub fn follow(&mut self, header: &TickHeader) {
        let (Some(centre), Some((old, ring))) = (header.view, &mut self.view) else { return };
        *old = centre;
        let (ring, bytes) = (*ring, &mut self.bytes);
        self.chunks.retain(|chunk, shelf| {
            let stays = centre.ring(*chunk) <= ring;
            if !stays {
                *bytes -= cost_of(shelf);
            }
            stays
        });
    }

    /// Takes what a node told. Of a chunk that is not in view, and of one (or of the player) that was never told
    /// whole, nothing is kept.
    ///
    /// # Errors
    /// `TooMuch` when that is more than a client keeps; nothing is known then.
    pub fn take(&mut self, told: Docs) -> Result<(), ReplicaError> {
        if told.chunk.is_some_and(|chunk| !self.sees(chunk)) {
            return Ok(());
        }
        if told.whole {
            self.empty_shelf(told.chunk);
        }
        let shelf = match told.chunk {
            None => self.own.as_mut(),
            Some(chunk) => self.chunks.get_mut(&chunk),
        };
        let Some(shelf) = shelf else { return Ok(()) };
        for (name, content) in told.docs {
            let more = content.as_ref().map_or(0, |content| cost(&name, content));
            let before = match content {
                Some(content) => {
                    // The key stays when there is one; it costs the same.
                    let name_bytes = name.len();
                    shelf.insert(name, content.into_vec()).map(|old| (name_bytes, old))
                }
                None => shelf.remove(&name).map(|old| (name.len(), old)),
            };
            let less = before.map_or(0, |(name, old)| name + old.len() + DOCUMENT_COST_BYTES);
            self.bytes = self.bytes + more - less;
            if self.bytes > DOCUMENTS_BYTES_MAX {
                break;
            }
        }
        if self.bytes > DOCUMENTS_BYTES_MAX {
            self.clear();
            return Err(ReplicaError::TooMuch { what: "bytes of documents", max: DOCUMENTS_BYTES_MAX });
        }
        Ok(())
    }

    /// The player's own documents by name; `None` until they were told.
    pub fn own(&self) -> Option<&BTreeMap<String, Vec<u8>>> {
        self.own.as_ref()
    }

    /// The documents of a chunk in view by name; `None` until they were told.
    pub fn chunk(&self, chunk: ChunkPos) -> Option<&BTreeMap<String, Vec<u8>>> {
        self.chunks.get(&chunk)
    }

    /// Chunks whose documents were told.
    pub fn chunks(&self) -> impl Iterator<Item = ChunkPos> {
        self.chunks.keys().copied()
    }

    fn sees(&self, chunk: ChunkPos) -> bool {
        chunk.index().is_some() && self.view.is_some_and(|(centre, ring)| centre.ring(chunk) <= ring)
    }

    /// Begins a scope anew.
    fn empty_shelf(&mut self, chunk: Option<ChunkPos>) {
        let before = match chunk {
            None => self.own.replace(Shelf::new()),
            Some(chunk) => self.chunks.insert(chunk, Shelf::new()),
        };
        self.bytes -= before.as_ref().map_or(0, cost_of);
        self.bytes += DOCUMENT_COST_BYTES;
    }

    fn clear(&mut self) {
        (self.own, self.bytes) = (None, 0);
        self.chunks.clear();
    }

    /// Checks what must always hold; for tests and the simulation.
    ///
    /// # Panics
    /// When it doesn't.
    pub fn invariants(&self) {
        let counted: usize = self.own.iter().chain(self.chunks.values()).map(cost_of).sum();
        assert_eq!(counted, self.bytes, "every byte is counted once");
        assert!(self.bytes <= DOCUMENTS_BYTES_MAX);
        assert!(self.chunks.keys().all(|chunk| self.sees(*chunk)), "only what is in view");
    }
}

#[cfg(test)]
mod tests;
