//! The source's half of a chunk's streams: takes enters, leaves and steps, gives numbered frames.

use super::slots::{Slots, Who};
use crate::blocks::{FrameNumber, HEADER_BYTES, Header, RosterRecord, StreamId, encode_move};
use crate::ids::Source;
use crate::interest::Rate;
use crate::limits::{FRAME_AGE_TICKS_MAX, KEYFRAME_EVERY_TICKS, SLOT_REST_TICKS, SLOTS_PER_CHUNK_MAX};
use crate::place::{ChunkPos, Pose};
use crate::time::Tick;
use bytes::Bytes;
use std::collections::VecDeque;

/// A block that a publisher gives out.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its stream.
    pub stream: StreamId,
    /// Header and payload.
    pub bytes: Bytes,
}

/// One motion stream.
#[derive(Clone, Copy, Debug, Default)]
struct Motion {
    number: FrameNumber,
    /// Encoded at present, since somebody takes it.
    active: bool,
    last: Tick,
    last_keyframe: Tick,
    /// Something was said since the last keyframe.
    stale_keyframe: bool,
}

/// What one source publishes of its entities in one chunk.
#[derive(Debug)]
pub struct Publisher {
    slots: Slots,
    /// Tick of the last step, by slot.
    moved: Vec<Tick>,
    /// Freed slots at rest, oldest first.
    resting: VecDeque<(u16, Tick)>,
    roster: FrameNumber,
    records: Vec<u8>,
    motions: [Motion; 4],
    last_step: Tick,
    cached_roster: Option<(FrameNumber, Tick, Bytes)>,
    cached_motion: [Option<(FrameNumber, FrameNumber, Tick, Bytes)>; 4],
}

impl Publisher {
    /// A publisher of `source` in `chunk`, with nobody in it.
    pub fn new(source: Source, chunk: ChunkPos) -> Self {
        Self {
            slots: Slots::new(source, chunk),
            moved: Vec::new(),
            resting: VecDeque::new(),
            roster: FrameNumber::default(),
            records: Vec::new(),
            motions: [Motion::default(); 4],
            last_step: Tick::default(),
            cached_roster: None,
            cached_motion: [const { None }; 4],
        }
    }

    /// The state behind the streams.
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// The newest number of a stream.
    pub fn number(&self, stream: StreamId) -> FrameNumber {
        match stream {
            StreamId::Roster => self.roster,
            StreamId::Motion(rate) => self.motions[rate as usize].number,
        }
    }

    /// Puts an entity into a slot. `None` when the chunk is full for this source.
    pub fn enter(&mut self, who: Who, pose: Pose, now: Tick) -> Option<u16> {
        let rested = self.resting.front().is_some_and(|(_, freed)| now.since(*freed) >= SLOT_REST_TICKS);
        let slot = match self.resting.pop_front_if(|_| rested) {
            Some((slot, _)) => slot,
            None if self.slots.width() < SLOTS_PER_CHUNK_MAX => self.slots.width() as u16,
            None => return None,
        };
        who.record(slot, pose).encode(&mut self.records);
        self.slots.put(slot, who, pose);
        self.moved.resize(self.slots.width(), Tick::default());
        self.moved[usize::from(slot)] = Tick::default();
        Some(slot)
    }

    /// Frees a slot; it rests before it is used again.
    pub fn leave(&mut self, slot: u16, now: Tick) -> Option<Who> {
        let who = self.slots.take(slot)?;
        self.moved[usize::from(slot)] = Tick::default();
        RosterRecord::Leave { slot }.encode(&mut self.records);
        self.resting.push_back((slot, now));
        Some(who)
    }

    /// Moves the entity of a slot.
    pub fn step(&mut self, slot: u16, pose: Pose, now: Tick) {
        let at = usize::from(slot);
        if let Some(old) = self.slots.poses_mut().get_mut(at) {
            *old = pose;
            self.moved[at] = now;
            self.last_step = now;
        }
    }

    /// Gives the frames of this tick for the streams in `audience` (a bit each). Streams nobody takes are not
    /// encoded; their numbers go on, so that whoever takes them later knows what is missing.
    pub fn publish(&mut self, now: Tick, audience: u8, mut give: impl FnMut(Frame)) {
        if !self.records.is_empty() {
            self.roster = self.roster.next();
            if audience & StreamId::Roster.bit() != 0 {
                give(self.roster_delta(now));
            }
            self.records.clear();
        }
        for rate in Rate::ALL {
            let taken = audience & StreamId::Motion(rate).bit() != 0;
            let due = (now.0 + self.phase()).is_multiple_of(rate.ticks());
            if !taken {
                self.motions[rate as usize].active = false;
            } else if (due || !self.motions[rate as usize].active)
                && let Some(frame) = self.motion(rate, now)
            {
                give(frame);
            }
        }
    }

    /// Spreads the slow rates of neighbouring chunks over the ticks.
    fn phase(&self) -> u64 {
        (self.slots.chunk.x as u16 as u64) * 3 + self.slots.chunk.y as u16 as u64
    }

    fn roster_delta(&self, now: Tick) -> Frame {
        let mut out = Vec::with_capacity(HEADER_BYTES + self.records.len());
        self.slots.header(StreamId::Roster, self.roster, self.roster, now).encode(&mut out);
        out.extend_from_slice(&self.records);
        Header::patch_length(&mut out, 0, StreamId::Roster);
        Frame { stream: StreamId::Roster, bytes: out.into() }
    }

    /// This tick's frame of a motion stream, if there is anything to say.
    fn motion(&mut self, rate: Rate, now: Tick) -> Option<Frame> {
        let stream = StreamId::Motion(rate);
        let motion = &mut self.motions[rate as usize];
        let first = !motion.active;
        let keyframe_due = motion.stale_keyframe && now.since(motion.last_keyframe) >= KEYFRAME_EVERY_TICKS;
        let stepped = self.last_step > motion.last;
        if !(first || keyframe_due || stepped) {
            return None;
        }
        let since = motion.last;
        motion.number = motion.number.next();
        motion.active = true;
        motion.last = now;
        motion.stale_keyframe = true;
        let number = motion.number;
        if first || keyframe_due {
            motion.last_keyframe = now;
            motion.stale_keyframe = false;
            return Some(Frame { stream, bytes: self.slots.motion_keyframe(rate, number, self.roster, now) });
        }
        let mut out = Vec::with_capacity(HEADER_BYTES + self.slots.len() * 6);
        self.slots.header(stream, number, self.roster, now).encode(&mut out);
        for ((slot, moved), pose) in self.moved.iter().enumerate().zip(self.slots.poses()) {
            if *moved > since {
                encode_move(slot as u16, *pose, &mut out);
            }
        }
        Header::patch_length(&mut out, 0, stream);
        Some(Frame { stream, bytes: out.into() })
    }

    /// The state of the roster, for somebody who has none; made once per number, and anew before its tick is so old
    /// that other members would drop it.
    pub fn roster_snapshot(&mut self, now: Tick) -> Bytes {
        match &self.cached_roster {
            Some((number, made, bytes))
                if *number == self.roster && now.since(*made) < FRAME_AGE_TICKS_MAX / 2 =>
            {
                bytes.clone()
            }
            _ => {
                let bytes = self.slots.roster_keyframe(self.roster, now);
                self.cached_roster = Some((self.roster, now, bytes.clone()));
                bytes
            }
        }
    }

    /// The state of a motion stream, for somebody who has none; made once per tick. `None` while the stream is not
    /// encoded: it will open with a keyframe of its own.
    pub fn motion_snapshot(&mut self, rate: Rate, now: Tick) -> Option<Bytes> {
        let motion = self.motions[rate as usize];
        if !motion.active {
            return None;
        }
        if let Some((number, roster, tick, bytes)) = &self.cached_motion[rate as usize]
            && (*number, *roster, *tick) == (motion.number, self.roster, now)
        {
            return Some(bytes.clone());
        }
        let bytes = self.slots.motion_keyframe(rate, motion.number, self.roster, now);
        self.cached_motion[rate as usize] = Some((motion.number, self.roster, now, bytes.clone()));
        Some(bytes)
    }

    /// Checks what must always hold.
    pub fn invariants(&self) {
        assert!(self.slots.width() <= SLOTS_PER_CHUNK_MAX, "more slots than the wire can name");
        assert_eq!(
            self.slots.width(),
            self.slots.len() + self.resting.len(),
            "every slot is used or at rest"
        );
        assert_eq!(self.moved.len(), self.slots.width(), "columns of one length");
    }
}
