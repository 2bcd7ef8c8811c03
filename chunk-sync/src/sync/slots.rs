//! Who of one source is in a chunk, and where: dense arrays by slot, and the keyframes made of them.

use crate::blocks::{
    ENTER_BYTES_MAX, EntityKind, FrameNumber, HEADER_BYTES, Header, MOVE_BYTES, RosterRecord, StreamId,
    WIRE_LEVEL, encode_move,
};
use crate::ids::{EntityId, Epoch, Source};
use crate::interest::Rate;
use crate::place::{ChunkPos, Pose};
use crate::time::Tick;
use bytes::Bytes;

/// What a roster says of an entity, position apart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Who {
    /// The entity.
    pub entity: EntityId,
    /// Epoch of its owner's right to it.
    pub epoch: Epoch,
    /// What it is.
    pub kind: EntityKind,
    /// How it looks.
    pub look: u8,
    /// Its name; at most `NAME_BYTES_MAX` bytes.
    pub name: Box<str>,
}

/// The entities of one source in one chunk.
#[derive(Clone, Debug)]
pub struct Slots {
    /// Whose they are.
    pub source: Source,
    /// Where.
    pub chunk: ChunkPos,
    who: Vec<Option<Who>>,
    poses: Vec<Pose>,
    live: usize,
}

impl Slots {
    /// Empty slots of `source` in `chunk`.
    pub fn new(source: Source, chunk: ChunkPos) -> Self {
        Self { source, chunk, who: Vec::new(), poses: Vec::new(), live: 0 }
    }

    /// Number of entities.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Slots that were ever used, free ones included.
    pub fn width(&self) -> usize {
        self.who.len()
    }

    /// Who has the slot.
    pub fn who(&self, slot: u16) -> Option<&Who> {
        self.who.get(usize::from(slot))?.as_ref()
    }

    /// The pose of the slot's entity; of a free slot, the last one.
    pub fn pose(&self, slot: u16) -> Option<Pose> {
        self.poses.get(usize::from(slot)).copied()
    }

    /// Everybody, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &Who, Pose)> {
        let rows = self.who.iter().zip(&self.poses).enumerate();
        rows.filter_map(|(slot, (who, pose))| Some((slot as u16, who.as_ref()?, *pose)))
    }

    /// Poses by slot; a free slot's means nothing.
    pub(super) fn poses(&self) -> &[Pose] {
        &self.poses
    }

    pub(super) fn poses_mut(&mut self) -> &mut [Pose] {
        &mut self.poses
    }

    pub(super) fn put(&mut self, slot: u16, who: Who, pose: Pose) {
        let at = usize::from(slot);
        if self.who.len() <= at {
            self.who.resize(at + 1, None);
            self.poses.resize(at + 1, Pose::default());
        }
        if self.who[at].replace(who).is_none() {
            self.live += 1;
        }
        self.poses[at] = pose;
    }

    pub(super) fn take(&mut self, slot: u16) -> Option<Who> {
        let who = self.who.get_mut(usize::from(slot))?.take();
        self.live -= usize::from(who.is_some());
        who
    }

    pub(super) fn clear(&mut self) {
        self.who.clear();
        self.poses.clear();
        self.live = 0;
    }

    /// A header of these slots with the payload's length still open.
    pub(super) fn header(
        &self,
        stream: StreamId,
        number: FrameNumber,
        rests_on: FrameNumber,
        tick: Tick,
    ) -> Header {
        Header {
            stream,
            keyframe: false,
            level: WIRE_LEVEL,
            optional: false,
            source: self.source,
            chunk: self.chunk,
            number,
            tick: tick.wire(),
            rests_on,
            payload_bytes: 0,
        }
    }

    /// State `number` of the roster as a block.
    pub fn roster_keyframe(&self, number: FrameNumber, tick: Tick) -> Bytes {
        let mut out = Vec::with_capacity(HEADER_BYTES + self.live * (ENTER_BYTES_MAX - 8));
        let header = self.header(StreamId::Roster, number, number, tick);
        Header { keyframe: true, ..header }.encode(&mut out);
        for (slot, who, pose) in self.iter() {
            who.record(slot, pose).encode(&mut out);
        }
        Header::patch_length(&mut out, 0, StreamId::Roster);
        out.into()
    }

    /// State `number` of a motion stream as a block.
    pub fn motion_keyframe(&self, rate: Rate, number: FrameNumber, roster: FrameNumber, tick: Tick) -> Bytes {
        let stream = StreamId::Motion(rate);
        let mut out = Vec::with_capacity(HEADER_BYTES + self.live * MOVE_BYTES);
        let header = self.header(stream, number, roster, tick);
        Header { keyframe: true, ..header }.encode(&mut out);
        for (slot, _, pose) in self.iter() {
            encode_move(slot, pose, &mut out);
        }
        Header::patch_length(&mut out, 0, stream);
        out.into()
    }
}

impl Who {
    /// The roster record by which the entity takes `slot`.
    pub fn record(&self, slot: u16, pose: Pose) -> RosterRecord<'_> {
        RosterRecord::Enter {
            slot,
            entity: self.entity,
            epoch: self.epoch,
            pose,
            kind: self.kind,
            look: self.look,
            name: &self.name,
        }
    }
}
