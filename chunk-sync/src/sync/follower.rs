//! The taker's half of a chunk's streams: checks every block before anybody else sees it, keeps the state, knows
//! what is missing.

use super::slots::{Slots, Who};
use crate::blocks::{Block, BlockError, FrameNumber, RosterRecord, StreamId, moves};
use crate::ids::Source;
use crate::interest::Rate;
use crate::place::ChunkPos;
use crate::time::Tick;
use bytes::Bytes;

/// What to do with a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// New and in order: it was applied; pass it on.
    Pass,
    /// Known already, or of a stream that waits for a keyframe: drop it.
    Drop,
    /// Something before it is missing: drop it and ask for keyframes of these streams.
    Gap(u8),
}

/// How far a stream is.
#[derive(Clone, Copy, Debug, Default)]
struct Position {
    number: FrameNumber,
    /// The state is the one after `number`; else it waits for a keyframe.
    synced: bool,
}

/// What a member knows of another source's entities in one chunk: ghosts, read-only, never saved.
#[derive(Debug)]
pub struct Follower {
    slots: Slots,
    roster: Position,
    motions: [Position; 4],
    /// The source is silent: it is kept for resume but shown to nobody.
    hidden: bool,
    /// A roster was taken since the beginning or since it was hidden: whoever joins now is told one, even while it
    /// waits to be mended, so that all who look follow the same streams.
    known: bool,
    /// Low bits of the tick of the newest frame that was applied.
    shown_tick: u16,
    /// Ticks at which keyframes were asked for last.
    asked: Tick,
    cached_roster: Option<(FrameNumber, Bytes)>,
    cached_motion: [Option<(FrameNumber, Tick, Bytes)>; 4],
}

impl Follower {
    /// A follower of `source` in `chunk` that has heard nothing yet.
    pub fn new(source: Source, chunk: ChunkPos, now: Tick) -> Self {
        Self {
            slots: Slots::new(source, chunk),
            roster: Position::default(),
            motions: [Position::default(); 4],
            hidden: false,
            known: false,
            shown_tick: 0,
            asked: now,
            cached_roster: None,
            cached_motion: [const { None }; 4],
        }
    }

    /// Whose streams these are.
    pub fn source(&self) -> Source {
        self.slots.source
    }

    /// The entities as far as they are known, also while hidden.
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Whether the ghosts are kept but not shown.
    pub fn is_hidden(&self) -> bool {
        self.hidden
    }

    /// Whether the roster is known to be whole up to its number.
    pub fn is_synced(&self) -> bool {
        self.roster.synced
    }

    /// The number that a stream is at, if it is in step.
    pub fn number(&self, stream: StreamId) -> Option<FrameNumber> {
        let position = self.position(stream);
        position.synced.then_some(position.number)
    }

    fn position(&self, stream: StreamId) -> Position {
        match stream {
            StreamId::Roster => self.roster,
            StreamId::Motion(rate) => self.motions[rate as usize],
        }
    }

    /// Takes a block of this source and chunk. `entered` hears of everybody who takes a slot.
    ///
    /// # Errors
    /// When the payload is malformed; nothing of it was applied, and the stream waits for a keyframe.
    pub fn follow(&mut self, block: &Block<'_>, entered: impl FnMut(&Who)) -> Result<Verdict, BlockError> {
        debug_assert_eq!((block.header.source, block.header.chunk), (self.slots.source, self.slots.chunk));
        let verdict = match block.header.stream {
            StreamId::Roster => self.follow_roster(block, entered),
            StreamId::Motion(rate) => self.follow_motion(rate, block),
        };
        if verdict == Ok(Verdict::Pass) {
            self.shown_tick = block.header.tick;
        }
        verdict
    }

    /// The tick up to which the poses are followed, its low bits; `None` while they are not: hidden, without a roster,
    /// or with no motion stream in step.
    pub fn follows_poses(&self) -> Option<u16> {
        let follows = !self.hidden && self.roster.synced && self.motions.iter().any(|motion| motion.synced);
        follows.then_some(self.shown_tick)
    }

    fn follow_roster(
        &mut self,
        block: &Block<'_>,
        mut entered: impl FnMut(&Who),
    ) -> Result<Verdict, BlockError> {
        let (number, at) = (block.header.number, self.roster);
        if at.synced && !number.is_after(at.number) {
            return Ok(Verdict::Drop);
        }
        if !block.header.keyframe && !at.synced {
            return Ok(Verdict::Drop);
        }
        if !block.header.keyframe && number != at.number.next() {
            self.roster.synced = false;
            return Ok(Verdict::Gap(StreamId::Roster.bit()));
        }
        if let Err(error) = self.check_roster(block) {
            self.roster.synced = false;
            return Err(error);
        }
        if block.header.keyframe {
            self.slots.clear();
        }
        let mut left = block.payload;
        while !left.is_empty() {
            let (record, rest) = RosterRecord::split(left)?;
            match record {
                RosterRecord::Enter { slot, entity, epoch, pose, kind, look, name } => {
                    let who = Who { entity, epoch, kind, look, name: name.into() };
                    entered(&who);
                    self.slots.put(slot, who, pose);
                }
                RosterRecord::Leave { slot } => drop(self.slots.take(slot)),
            }
            left = rest;
        }
        self.roster = Position { number, synced: true };
        (self.hidden, self.known) = (false, true);
        Ok(Verdict::Pass)
    }

    /// Whether every record can be applied, so that garbage is neither applied in part nor passed on.
    fn check_roster(&self, block: &Block<'_>) -> Result<(), BlockError> {
        let mut left = block.payload;
        while !left.is_empty() {
            let (record, rest) = RosterRecord::split(left)?;
            match record {
                RosterRecord::Leave { .. } if block.header.keyframe => return Err(BlockError::BadPayload),
                _ => left = rest,
            }
        }
        Ok(())
    }

    fn follow_motion(&mut self, rate: Rate, block: &Block<'_>) -> Result<Verdict, BlockError> {
        let (number, at) = (block.header.number, self.motions[rate as usize]);
        if !self.roster.synced || (at.synced && !number.is_after(at.number)) {
            return Ok(Verdict::Drop);
        }
        if block.header.rests_on != self.roster.number {
            if !block.header.rests_on.is_after(self.roster.number) {
                return Ok(Verdict::Drop);
            }
            self.roster.synced = false;
            self.motions[rate as usize].synced = false;
            return Ok(Verdict::Gap(StreamId::Roster.bit() | StreamId::Motion(rate).bit()));
        }
        if !block.header.keyframe && !at.synced {
            return Ok(Verdict::Drop);
        }
        if !block.header.keyframe && number != at.number.next() {
            self.motions[rate as usize].synced = false;
            return Ok(Verdict::Gap(StreamId::Motion(rate).bit()));
        }
        if !moves(block.payload).all(|(slot, _)| self.slots.who(slot).is_some()) {
            self.motions[rate as usize].synced = false;
            return Err(BlockError::BadPayload);
        }
        let poses = self.slots.poses_mut();
        for (slot, pose) in moves(block.payload) {
            poses[usize::from(slot)] = pose;
        }
        self.motions[rate as usize] = Position { number, synced: true };
        Ok(Verdict::Pass)
    }

    /// Notes the source's own word on how far a stream is; a stream that is behind waits for a keyframe from now on.
    /// Frames may be on their way, so the caller compares with a heartbeat's delay in mind.
    pub fn note_newest(&mut self, stream: StreamId, newest: FrameNumber) {
        let position = match stream {
            StreamId::Roster => &mut self.roster,
            StreamId::Motion(rate) => &mut self.motions[rate as usize],
        };
        if position.synced && newest.is_after(position.number) {
            position.synced = false;
        }
    }

    /// Forgets the thread of streams that are no longer taken.
    pub fn untake(&mut self, streams: u8) {
        for stream in StreamId::ALL {
            if streams & stream.bit() != 0 {
                match stream {
                    StreamId::Roster => self.roster.synced = false,
                    StreamId::Motion(rate) => self.motions[rate as usize].synced = false,
                }
            }
        }
    }

    /// The taken streams that wait for a keyframe and should be asked for now; at most once every `wait` ticks.
    pub fn ask(&mut self, taken: u8, now: Tick, wait: u64) -> u8 {
        let mut missing = 0;
        for stream in StreamId::ALL {
            if taken & stream.bit() != 0 && !self.position(stream).synced {
                missing |= stream.bit();
            }
        }
        if missing == 0 {
            self.asked = now;
            return 0;
        }
        if now.since(self.asked) < wait {
            return 0;
        }
        self.asked = now;
        missing
    }

    /// The source fell silent: its ghosts are kept for resume, and what clients must hear (an empty roster) comes
    /// back. `None` when they were hidden before.
    pub fn hide(&mut self, now: Tick) -> Option<Bytes> {
        if self.hidden {
            return None;
        }
        (self.hidden, self.known) = (true, false);
        self.untake(u8::MAX);
        self.cached_roster = None;
        let nobody = Slots::new(self.slots.source, self.slots.chunk);
        Some(nobody.roster_keyframe(self.roster.number, now))
    }

    /// The roster for a newcomer; made once per number. `None` when there is nothing to show.
    pub fn roster_snapshot(&mut self, now: Tick) -> Option<Bytes> {
        if !self.known {
            return None;
        }
        match &self.cached_roster {
            Some((number, bytes)) if *number == self.roster.number && self.roster.synced => {
                Some(bytes.clone())
            }
            _ => {
                let bytes = self.slots.roster_keyframe(self.roster.number, now);
                self.cached_roster = Some((self.roster.number, bytes.clone()));
                Some(bytes)
            }
        }
    }

    /// The state of a motion stream for a newcomer. `None` while it waits for a keyframe, which will be passed on.
    pub fn motion_snapshot(&mut self, rate: Rate, now: Tick) -> Option<Bytes> {
        let position = self.motions[rate as usize];
        if !self.known || !position.synced {
            return None;
        }
        if let Some((number, tick, bytes)) = &self.cached_motion[rate as usize]
            && (*number, *tick) == (position.number, now)
        {
            return Some(bytes.clone());
        }
        let bytes = self.slots.motion_keyframe(rate, position.number, self.roster.number, now);
        self.cached_motion[rate as usize] = Some((position.number, now, bytes.clone()));
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::split_block;
    use crate::ids::EntityId;
    use crate::place::{Place, Pose};
    use crate::random::{RngExt, stream};
    use crate::sync::{Frame, Publisher};

    const ALL_STREAMS: u8 = 0b1_1111;

    fn who(n: u64) -> Who {
        Who { entity: EntityId(n), name: format!("p{n}").into(), ..Who::default() }
    }

    fn same(publisher: &Publisher, follower: &Follower) -> bool {
        publisher.slots().iter().eq(follower.slots().iter())
    }

    /// Both ends against each other: a lossy link, repair by keyframes, agreement once the loss ends.
    #[test]
    fn a_follower_agrees_after_any_loss() {
        for seed in 0..300u64 {
            let mut random = stream(seed, "link");
            let chunk = ChunkPos::new(2, 3);
            let mut publisher = Publisher::new(Source(5), chunk);
            let mut follower = Follower::new(Source(5), chunk, Tick(0));
            let mut slots = Vec::new();
            let (mut next, mut wanted) = (1, 0u8);
            for tick in 1..400u64 {
                let now = Tick(tick);
                let quiet = tick > 360;
                if !quiet && random.random_bool(0.3) {
                    slots.extend(publisher.enter(who(next), Pose::default(), now));
                    next += 1;
                }
                if !quiet && !slots.is_empty() && random.random_bool(0.2) {
                    let gone = slots.swap_remove(random.random_range(0..slots.len()));
                    publisher.leave(gone, now);
                }
                for slot in &slots {
                    if !quiet && random.random_bool(0.5) {
                        let place =
                            Place { x: random.random_range(0..4096), y: random.random_range(0..4096) };
                        publisher.step(*slot, Pose::new(place, 0), now);
                    }
                }
                let mut frames: Vec<Frame> = Vec::new();
                publisher.publish(now, ALL_STREAMS, |f| frames.push(f));
                if wanted & 1 != 0 {
                    frames.push(Frame { stream: StreamId::Roster, bytes: publisher.roster_snapshot(now) });
                }
                for rate in Rate::ALL {
                    if wanted & StreamId::Motion(rate).bit() != 0
                        && let Some(bytes) = publisher.motion_snapshot(rate, now)
                    {
                        frames.push(Frame { stream: StreamId::Motion(rate), bytes });
                    }
                }
                for frame in frames {
                    if tick < 350 && random.random_bool(0.2) {
                        continue;
                    }
                    let (block, rest) = split_block(&frame.bytes).unwrap();
                    assert!(rest.is_empty());
                    follower.follow(&block, |_| ()).unwrap();
                    publisher.invariants();
                }
                wanted = follower.ask(ALL_STREAMS, now, 3);
                if quiet {
                    for stream in StreamId::ALL {
                        follower.note_newest(stream, publisher.number(stream));
                    }
                }
            }
            assert!(follower.is_synced(), "seed {seed}");
            assert!(same(&publisher, &follower), "seed {seed}");
        }
    }

    #[test]
    fn streams_nobody_takes_cost_nothing_and_start_with_a_keyframe() {
        let mut publisher = Publisher::new(Source(5), ChunkPos::new(0, 0));
        let slot = publisher.enter(who(1), Pose::default(), Tick(1)).unwrap();
        publisher.publish(Tick(1), 0, |f| panic!("nobody asked for {f:?}"));
        publisher.step(slot, Pose(7 << 20), Tick(2));
        let mut frames = Vec::new();
        publisher.publish(Tick(2), StreamId::Motion(Rate::R1).bit(), |f| frames.push(f));
        let (block, _) = split_block(&frames[0].bytes).unwrap();
        assert!(block.header.keyframe && frames.len() == 1);
        assert_eq!(block.header.rests_on, FrameNumber(1));
    }

    #[test]
    fn slots_rest_before_they_are_used_again() {
        use crate::limits::SLOT_REST_TICKS;
        let mut publisher = Publisher::new(Source(5), ChunkPos::new(0, 0));
        let first = publisher.enter(who(1), Pose::default(), Tick(1)).unwrap();
        publisher.leave(first, Tick(1));
        assert_ne!(publisher.enter(who(2), Pose::default(), Tick(SLOT_REST_TICKS)), Some(first));
        assert_eq!(publisher.enter(who(3), Pose::default(), Tick(1 + SLOT_REST_TICKS)), Some(first));
    }

    #[test]
    fn garbage_is_neither_applied_nor_passed_on() {
        let mut publisher = Publisher::new(Source(5), ChunkPos::new(0, 0));
        publisher.enter(who(1), Pose::default(), Tick(1));
        let good = publisher.roster_snapshot(Tick(1)).to_vec();
        for at in 16..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            let mut follower = Follower::new(Source(5), ChunkPos::new(0, 0), Tick(0));
            let (block, _) = split_block(&bad).unwrap();
            match follower.follow(&block, |_| ()) {
                Ok(_) => assert!(follower.is_synced()),
                Err(_) => assert!(!follower.is_synced() && follower.slots().is_empty()),
            }
        }
    }

    #[test]
    fn hidden_ghosts_are_kept_but_shown_to_nobody() {
        let mut publisher = Publisher::new(Source(5), ChunkPos::new(0, 0));
        publisher.enter(who(1), Pose::default(), Tick(1));
        publisher.publish(Tick(1), ALL_STREAMS, |_| ());
        let roster = publisher.roster_snapshot(Tick(1));
        let mut follower = Follower::new(Source(5), ChunkPos::new(0, 0), Tick(0));
        assert_eq!(follower.follow(&split_block(&roster).unwrap().0, |_| ()), Ok(Verdict::Pass));
        assert!(follower.hide(Tick(9)).is_some() && follower.hide(Tick(9)).is_none());
        assert_eq!((follower.slots().len(), follower.roster_snapshot(Tick(9))), (1, None));
        assert_eq!(follower.follow(&split_block(&roster).unwrap().0, |_| ()), Ok(Verdict::Pass));
        assert!(!follower.is_hidden());
    }
}
