//! What a roster says of an entity, as a replica keeps it.
//!
//! Called by the replica only. It knows neither feeds nor other listings.

use super::super::feeds::Feed;
use super::NONE;
use crate::blocks::EntityKind;
use crate::ids::{EntityId, Epoch};
use crate::limits::NAME_BYTES_MAX;
use crate::place::{ChunkPos, Place, Pose};
use crate::time::Tick;

/// An entity in view.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entity<'a> {
    /// The entity.
    pub id: EntityId,
    /// Epoch of its owner's right to it.
    pub epoch: Epoch,
    /// What it is.
    pub kind: EntityKind,
    /// How it looks; the game's own number.
    pub look: u8,
    /// Its name; may be empty.
    pub name: &'a str,
    /// Where it is.
    pub place: Place,
    /// The heading, 256 steps a turn.
    pub heading: u8,
    /// The tick in which it was there.
    pub tick: Tick,
}

/// An entity in view turned up at another place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moved {
    /// The entity.
    pub entity: EntityId,
    /// What it is.
    pub kind: EntityKind,
    /// Where it is now.
    pub place: Place,
    /// The heading, 256 steps a turn.
    pub heading: u8,
    /// It is in the near rings of the view.
    pub near: bool,
    /// The news came in step; else a keyframe told it that opened the stream or jumped ahead, and it may be old.
    pub in_step: bool,
}

/// One listing of an entity in one roster.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    pub(super) entity: EntityId,
    /// The newest enter wins between equal epochs.
    pub(super) entered: u64,
    pub(super) tick: Tick,
    pub(super) epoch: Epoch,
    pub(super) pose: Pose,
    pub(super) chunk: ChunkPos,
    pub(super) slot: u16,
    pub(super) feed: u16,
    /// The entity's next listing.
    pub(super) next: u32,
    /// The listing that counts for its entity.
    pub(super) wins: bool,
    /// Named by the keyframe that is being applied.
    pub(super) named: bool,
    pub(super) kind: EntityKind,
    pub(super) look: u8,
    pub(super) name_bytes: u8,
    pub(super) name: [u8; NAME_BYTES_MAX],
}

/// All listings of one entity.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    pub(super) first: u32,
    pub(super) winner: u32,
}

/// What an `enter` record says.
#[derive(Clone, Copy)]
pub(super) struct Enter<'a> {
    pub(super) slot: u16,
    pub(super) entity: EntityId,
    pub(super) epoch: Epoch,
    pub(super) pose: Pose,
    pub(super) kind: EntityKind,
    pub(super) look: u8,
    pub(super) name: &'a str,
    /// Said by a keyframe.
    pub(super) keyframe: bool,
}

impl Listing {
    pub(super) fn new(entity: EntityId, at: u16, feed: &Feed<Vec<u32>>, entered: u64) -> Self {
        Self {
            entity,
            entered,
            tick: Tick(0),
            epoch: Epoch(0),
            pose: Pose(0),
            chunk: feed.chunk,
            slot: 0,
            feed: at,
            next: NONE,
            wins: false,
            named: false,
            kind: EntityKind::Player,
            look: 0,
            name_bytes: 0,
            name: [0; NAME_BYTES_MAX],
        }
    }

    /// Takes over what a record says.
    pub(super) fn say(&mut self, enter: &Enter<'_>, tick: Tick) {
        (self.slot, self.epoch, self.pose, self.tick) = (enter.slot, enter.epoch, enter.pose, tick);
        (self.kind, self.look, self.named) = (enter.kind, enter.look, enter.keyframe);
        // The record's name was measured when it was read.
        let name_bytes = enter.name.len().min(NAME_BYTES_MAX);
        self.name[..name_bytes].copy_from_slice(&enter.name.as_bytes()[..name_bytes]);
        self.name_bytes = name_bytes as u8;
    }

    pub(super) fn entity(&self) -> Entity<'_> {
        Entity {
            id: self.entity,
            epoch: self.epoch,
            kind: self.kind,
            look: self.look,
            name: std::str::from_utf8(&self.name[..usize::from(self.name_bytes)]).unwrap_or_default(),
            place: self.pose.place(self.chunk),
            heading: self.pose.heading(),
            tick: self.tick,
        }
    }
}
