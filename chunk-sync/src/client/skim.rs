//! The light reader: checks framing and numbers of every block, counts updates from headers and keeps only which
//! players the rosters name. For bots by the thousand that needn't know where everybody stands.

use super::feeds::Feeds;
use super::limits::FEED_SLOTS_MAX;
use super::{ReplicaError, View};
use crate::blocks::{EntityKind, MOVE_BYTES, RosterRecord, StreamId, split_block};
use crate::ids::{EntityId, PlayerId};
use crate::place::ChunkPos;
use crate::wire::{TickHeader, Welcome};

/// Players by slot; 0 is nobody.
type Players = Vec<u64>;

/// What the light reader keeps.
#[derive(Debug)]
pub struct Skim {
    feeds: Feeds<Players>,
    slots: usize,
    updates: u64,
}

impl Skim {
    /// A reader that has seen nothing.
    pub fn new() -> Self {
        Self { feeds: Feeds::new(), slots: 0, updates: 0 }
    }

    /// Updates (one entity's position each) that have come so far.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// How many different players other than `own` the rosters name.
    pub fn others(&self, own: PlayerId) -> usize {
        let own = EntityId::from(own).0;
        let slots = self.feeds.live().flat_map(|at| &self.feeds.get(at).kept);
        let mut players: Vec<u64> = slots.copied().filter(|id| *id != 0 && *id != own).collect();
        players.sort_unstable();
        players.dedup();
        players.len()
    }

    fn clear(&mut self) {
        self.feeds.clear();
        self.slots = 0;
    }

    fn move_view(&mut self, centre: ChunkPos) {
        self.feeds.set_centre(centre);
        while let Some(at) = self.feeds.outside_view() {
            self.slots -= self.feeds.remove(at).len();
        }
    }

    fn blocks(&mut self, mut left: &[u8]) -> Result<(), ReplicaError> {
        while !left.is_empty() {
            let (block, rest) = split_block(left)?;
            let (at, _) = self.feeds.accept(&block.header)?;
            match block.header.stream {
                StreamId::Roster => self.roster(at, block.header.keyframe, block.payload)?,
                StreamId::Motion(_) => self.updates += (block.payload.len() / MOVE_BYTES) as u64,
            }
            left = rest;
        }
        Ok(())
    }

    fn roster(&mut self, at: usize, keyframe: bool, mut left: &[u8]) -> Result<(), ReplicaError> {
        let players = &mut self.feeds.get_mut(at).kept;
        if keyframe {
            players.fill(0);
        }
        while !left.is_empty() {
            let (record, rest) = RosterRecord::split(left)?;
            let (slot, player) = match record {
                RosterRecord::Enter { slot, entity, kind: EntityKind::Player, .. } => {
                    (usize::from(slot), entity.0)
                }
                RosterRecord::Enter { slot, .. } | RosterRecord::Leave { slot } => (usize::from(slot), 0),
            };
            if slot >= players.len() && player != 0 {
                let more = slot + 1 - players.len();
                self.slots += more;
                if self.slots > FEED_SLOTS_MAX {
                    return Err(ReplicaError::TooMuch { what: "slots", max: FEED_SLOTS_MAX });
                }
                players.resize(slot + 1, 0);
            }
            if let Some(kept) = players.get_mut(slot) {
                *kept = player;
            }
            left = rest;
        }
        Ok(())
    }
}

impl Default for Skim {
    fn default() -> Self {
        Self::new()
    }
}

impl View for Skim {
    fn begin(&mut self, welcome: &Welcome) {
        self.clear();
        self.feeds.set_view(super::replica::first_centre(welcome), i16::from(welcome.far_ring));
    }

    fn frame(&mut self, header: &TickHeader, blocks: &[u8]) -> Result<(), ReplicaError> {
        if header.reset {
            self.clear();
        }
        if let Some(centre) = header.view {
            self.move_view(centre);
        }
        self.blocks(blocks).inspect_err(|_| self.clear())
    }
}
