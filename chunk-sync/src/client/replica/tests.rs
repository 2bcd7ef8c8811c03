//! The readers against real publishers, and by hand where a rule is to be seen alone.

use super::*;
use crate::blocks::{BlockError, EntityKind, FrameNumber};
use crate::client::Skim;
use crate::ids::{Epoch, PlayerId, Source};
use crate::interest::Rate;
use crate::place::Pose;
use crate::random::{RngExt, Stream, stream};
use crate::sync::{Publisher, Who};

const CENTRE: ChunkPos = ChunkPos::new(5, 5);
const CHUNKS: [ChunkPos; 3] = [CENTRE, ChunkPos::new(5, 6), ChunkPos::new(4, 5)];
const SOURCES: [Source; 3] = [Source(3), Source(7), Source(8)];
const TAKEN: u8 = 0b0_0011;

fn welcome() -> Welcome {
    let middle = CENTRE.middle();
    Welcome {
        protocol: 1,
        level: 0,
        features: Vec::new(),
        node: 1,
        player: 1,
        epoch: 1,
        island: 1,
        seed: 1,
        tick: 70_000,
        tick_ms: 100,
        island_chunks: 16,
        near_ring: 1,
        far_ring: 2,
        walk_mm_per_s: 5_000,
        keep_alive_ms: 5_000,
        x: middle.x,
        y: middle.y,
    }
}

/// A source's word on one chunk, frame by frame.
struct Desk {
    publisher: Publisher,
    now: Tick,
}

impl Desk {
    fn new(source: Source, chunk: ChunkPos) -> Self {
        Self { publisher: Publisher::new(source, chunk), now: Tick(70_000) }
    }

    fn enter(&mut self, id: u64, epoch: u32, place: Place) -> u16 {
        let who = Who {
            entity: EntityId(id),
            epoch: Epoch(epoch),
            name: format!("p{id}").into(),
            ..Who::default()
        };
        self.publisher.enter(who, Pose::new(place, 0), self.now).unwrap()
    }

    fn publish(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.publisher.publish(self.now, TAKEN, |f| out.extend_from_slice(&f.bytes));
        out
    }

    fn snapshot(&mut self) -> Vec<u8> {
        // A snapshot shows what was published; what was said already is not said again.
        self.publish();
        let mut out = self.publisher.roster_snapshot(self.now).to_vec();
        out.extend(self.publisher.motion_snapshot(Rate::R1, self.now).unwrap_or_default());
        out
    }
}

fn at(chunk: ChunkPos, x: i32, y: i32) -> Place {
    Pose::new(Place { x, y }, 0).place(chunk)
}

fn header(tick: u64) -> TickHeader {
    TickHeader { tick: tick as u32, ..TickHeader::default() }
}

fn begun() -> (Replica, Skim) {
    let (mut replica, mut skim) = (Replica::new(), Skim::new());
    replica.begin(&welcome());
    skim.begin(&welcome());
    (replica, skim)
}

/// An entity as the model knows it.
#[derive(Clone, Debug)]
struct Being {
    id: u64,
    epoch: u32,
    desk: usize,
    slot: u16,
    place: Place,
}

/// Nine desks (three sources in three chunks), beings that wander, cross borders and change source.
struct World {
    random: Stream,
    desks: Vec<Desk>,
    beings: Vec<Being>,
    /// (desk, slot, tick) of listings that an old source still holds.
    stale: Vec<(usize, u16, u64)>,
    next: u64,
    tick: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let desks = SOURCES.iter().flat_map(|s| CHUNKS.map(|c| Desk::new(*s, c))).collect();
        Self {
            random: stream(seed, "world"),
            desks,
            beings: Vec::new(),
            stale: Vec::new(),
            next: 1,
            tick: 70_000,
        }
    }

    fn somewhere(&mut self, desk: usize) -> Place {
        at(CHUNKS[desk % 3], self.random.random_range(0..4096), self.random.random_range(0..4096))
    }

    fn step(&mut self) {
        self.tick += 1;
        self.desks.iter_mut().for_each(|d| d.now = Tick(self.tick));
        let due = self.tick;
        let (gone, left): (Vec<_>, Vec<_>) = self.stale.drain(..).partition(|(_, _, t)| *t <= due);
        self.stale = left;
        for (desk, slot, _) in gone {
            self.desks[desk].publisher.leave(slot, Tick(due));
        }
        if self.random.random_bool(0.4) {
            let desk = self.random.random_range(0..9);
            let place = self.somewhere(desk);
            let slot = self.desks[desk].enter(self.next, 1, place);
            self.beings.push(Being { id: self.next, epoch: 1, desk, slot, place });
            self.next += 1;
        }
        let mut beings = std::mem::take(&mut self.beings);
        beings.retain_mut(|being| self.act(being));
        self.beings = beings;
    }

    /// Lets one being do something; false when it leaves the world.
    fn act(&mut self, being: &mut Being) -> bool {
        let now = Tick(self.tick);
        let what = self.random.random_range(0..100);
        if what < 60 {
            being.place = self.somewhere(being.desk);
            self.desks[being.desk].publisher.step(being.slot, Pose::new(being.place, 0), now);
        } else if what < 66 {
            // Over a border, or to another source with a newer epoch; the old one may be slow to hear of it.
            let other = self.random.random_range(0..9);
            let (desk, slot) = (being.desk, being.slot);
            let changes_source = other / 3 != desk / 3;
            if other == desk {
                return true;
            }
            being.epoch += u32::from(changes_source);
            being.desk = other;
            being.place = self.somewhere(other);
            let late = if changes_source { self.random.random_range(0..4) } else { 0 };
            if late == 0 {
                self.desks[desk].publisher.leave(slot, now);
            } else {
                self.stale.push((desk, slot, self.tick + late));
            }
            being.slot = self.desks[other].enter(being.id, being.epoch, being.place);
        } else if what < 68 && !self.stale.iter().any(|_| true) {
            self.desks[being.desk].publisher.leave(being.slot, now);
            return false;
        }
        true
    }

    fn frames(&mut self) -> Vec<u8> {
        self.desks.iter_mut().flat_map(Desk::publish).collect()
    }

    fn snapshots(&mut self) -> Vec<u8> {
        self.desks.iter_mut().flat_map(Desk::snapshot).collect()
    }

    fn expected(&self) -> BTreeMap<u64, (u32, Place)> {
        self.beings.iter().map(|b| (b.id, (b.epoch, b.place))).collect()
    }
}

#[test]
fn readers_agree_with_the_sources_after_every_frame() {
    for seed in 0..120 {
        let mut world = World::new(seed);
        let (mut replica, mut skim) = begun();
        let mut joined = false;
        for _ in 0..160 {
            world.step();
            let frames = world.frames();
            // Now and then the server skips ahead: keyframes instead of what the reader missed.
            let skip = !joined || world.random.random_bool(0.05);
            let restated = skip && world.random.random_bool(0.5);
            let head = TickHeader { reset: restated, ..header(world.tick) };
            let bytes = if skip { world.snapshots() } else { frames };
            let mut told = Vec::new();
            replica.apply(&head, &bytes, |m| told.push(m)).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            skim.frame(&head, &bytes).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            joined = true;
            replica.invariants();
            let seen: BTreeMap<_, _> = replica.entities().map(|e| (e.id.0, (e.epoch.0, e.place))).collect();
            assert_eq!(seen, world.expected(), "seed {seed} tick {}", world.tick);
            assert_eq!(skim.others(PlayerId(0)), replica.len(), "seed {seed} tick {}", world.tick);
            assert_eq!(skim.updates(), replica.updates(), "seed {seed}");
            for moved in told {
                // Whoever crossed a border in this frame may be heard of twice; the last word is the truth.
                assert!(replica.get(moved.entity).is_some(), "seed {seed}: a move of nobody");
                assert!(moved.near && (!skip || !moved.in_step || !restated), "seed {seed}");
            }
        }
    }
}

#[test]
fn any_cut_or_flipped_byte_is_an_error_or_a_view_but_never_a_panic() {
    let mut world = World::new(9);
    (0..40).for_each(|_| world.step());
    world.frames();
    let good = world.snapshots();
    for at in 0..good.len() {
        for (mut replica, mut skim) in [begun(), begun()] {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            let _ = (replica.frame(&header(70_001), &bad), skim.frame(&header(70_001), &bad));
            replica.invariants();
            let cut = &good[..at];
            let (by_replica, by_skim) =
                (replica.frame(&header(70_001), cut), skim.frame(&header(70_001), cut));
            assert_eq!(by_replica.is_ok(), by_skim.is_ok());
            replica.invariants();
        }
    }
}

#[test]
fn a_hole_in_any_stream_is_a_gap() {
    let mut desk = Desk::new(SOURCES[0], CENTRE);
    let slot = desk.enter(1, 1, at(CENTRE, 1, 1));
    let opening = desk.publish();
    let mut lost = Vec::new();
    for (tick, x) in [(70_001, 2), (70_002, 3)] {
        desk.now = Tick(tick);
        desk.publisher.step(slot, Pose::new(at(CENTRE, x, 1), 0), desk.now);
        lost.push(desk.publish());
    }
    for readers in [begun(), begun()] {
        let (mut replica, mut skim) = readers;
        // A delta of a roster that nobody ever stated.
        assert!(matches!(
            replica.frame(&header(70_000), &opening),
            Err(ReplicaError::Gap { have: None, .. })
        ));
        assert!(matches!(skim.frame(&header(70_000), &opening), Err(ReplicaError::Gap { have: None, .. })));
        let snapshot = Desk::snapshot(&mut desk);
        replica.frame(&header(70_002), &snapshot).unwrap();
        skim.frame(&header(70_002), &snapshot).unwrap();
        // Known already, then one that skips a number.
        for (frame, stream) in
            [(&lost[1], StreamId::Motion(Rate::R1)), (&lost[0], StreamId::Motion(Rate::R1))]
        {
            let mut again = Replica::new();
            again.begin(&welcome());
            again.frame(&header(70_002), &snapshot).unwrap();
            let error = again.frame(&header(70_003), frame).unwrap_err();
            assert!(matches!(error, ReplicaError::Gap { stream: s, .. } if s == stream), "{error}");
            assert!(again.is_empty() && again.vanished() == [EntityId(1)]);
        }
        assert!(matches!(skim.frame(&header(70_003), &lost[1]), Err(ReplicaError::Gap { .. })));
    }
}

#[test]
fn motion_may_rest_on_an_older_roster_but_not_on_a_later_one() {
    let block = |stream: StreamId, keyframe: bool, number: u16, rests_on: u16, payload: &[u8]| {
        let header = Header {
            stream,
            keyframe,
            level: 0,
            optional: false,
            source: SOURCES[0],
            chunk: CENTRE,
            number: FrameNumber(number),
            tick: Tick(70_000).wire(),
            rests_on: FrameNumber(rests_on),
            payload_bytes: payload.len() as u32,
        };
        let mut out = Vec::new();
        header.encode(&mut out);
        out.extend_from_slice(payload);
        out
    };
    let mut step = Vec::new();
    crate::blocks::encode_move(4, Pose(9 << 20), &mut step);
    let motion = StreamId::Motion(Rate::R1);
    let roster = block(StreamId::Roster, true, 5, 5, &[]);
    for (rests_on, fits) in [(4, true), (5, false), (6, false)] {
        let (mut replica, mut skim) = begun();
        let bytes = [roster.clone(), block(motion, true, 1, rests_on, &step)].concat();
        assert_eq!(replica.frame(&header(70_000), &bytes).is_ok(), fits, "resting on {rests_on}");
        assert_eq!(skim.frame(&header(70_000), &bytes).is_ok(), rests_on <= 5);
    }
    let (mut replica, _) = begun();
    let leave = block(StreamId::Roster, false, 6, 6, &{
        let mut out = Vec::new();
        RosterRecord::Leave { slot: 1 }.encode(&mut out);
        out
    });
    let bytes = [roster, leave].concat();
    assert!(matches!(replica.frame(&header(70_000), &bytes), Err(ReplicaError::EmptySlot { slot: 1, .. })));
}

#[test]
fn the_newer_epoch_wins_then_the_newest_enter_and_a_leave_takes_only_its_own() {
    let (mut replica, _) = begun();
    let (mut a, mut b) = (Desk::new(SOURCES[0], CENTRE), Desk::new(SOURCES[1], CENTRE));
    let old = a.enter(1, 1, at(CENTRE, 10, 10));
    replica.frame(&header(70_000), &a.snapshot()).unwrap();
    // The same epoch elsewhere, later: the newest counts.
    let new = b.enter(1, 1, at(CENTRE, 20, 20));
    replica.frame(&header(70_000), &b.snapshot()).unwrap();
    let seen = |replica: &Replica| replica.get(EntityId(1)).map(|e| (e.place, e.epoch.0));
    assert_eq!(seen(&replica), Some((at(CENTRE, 20, 20), 1)));
    // The older listing comes back with a newer epoch.
    b.publish();
    a.publisher.leave(old, a.now);
    let risen = a.enter(1, 2, at(CENTRE, 30, 30));
    replica.frame(&header(70_000), &a.snapshot()).unwrap();
    assert_eq!((seen(&replica), replica.len()), (Some((at(CENTRE, 30, 30), 2)), 1));
    // A leave of the loser changes nothing, a leave of the winner shows nobody.
    b.publisher.leave(new, b.now);
    replica.frame(&header(70_000), &b.snapshot()).unwrap();
    assert_eq!(seen(&replica), Some((at(CENTRE, 30, 30), 2)));
    a.publisher.leave(risen, a.now);
    replica.frame(&header(70_000), &a.snapshot()).unwrap();
    assert_eq!((seen(&replica), replica.vanished()), (None, &[EntityId(1)][..]));
    replica.invariants();
}

#[test]
fn nobody_vanishes_at_a_border() {
    let (mut replica, _) = begun();
    let (mut a, mut b) = (Desk::new(SOURCES[0], CHUNKS[0]), Desk::new(SOURCES[0], CHUNKS[1]));
    let slot = a.enter(1, 1, at(CHUNKS[0], 10, 10));
    a.publish();
    b.publish();
    let both = [a.snapshot(), b.snapshot()].concat();
    replica.frame(&header(70_000), &both).unwrap();
    a.publisher.leave(slot, a.now);
    b.enter(1, 1, at(CHUNKS[1], 9, 9));
    let mut told = Vec::new();
    let frame = [a.publish(), b.publish()].concat();
    replica.apply(&header(70_001), &frame, |m| told.push(m.place)).unwrap();
    assert!(replica.vanished().is_empty());
    assert_eq!(replica.get(EntityId(1)).unwrap().place, at(CHUNKS[1], 9, 9));
}

#[test]
fn what_leaves_the_view_is_forgotten_and_what_is_outside_refused() {
    let (mut replica, mut skim) = begun();
    let far = ChunkPos::new(3, 5);
    let (mut a, mut b) = (Desk::new(SOURCES[0], CENTRE), Desk::new(SOURCES[1], far));
    a.enter(1, 1, at(CENTRE, 1, 1));
    b.enter(2, 1, at(far, 1, 1));
    let bytes = [a.snapshot(), b.snapshot()].concat();
    replica.frame(&header(70_000), &bytes).unwrap();
    skim.frame(&header(70_000), &bytes).unwrap();
    assert_eq!((replica.len(), skim.others(PlayerId(0)), skim.others(PlayerId(1))), (2, 2, 1));
    let walked = TickHeader { view: Some(ChunkPos::new(6, 5)), ..header(70_001) };
    replica.frame(&walked, &[]).unwrap();
    skim.frame(&walked, &[]).unwrap();
    assert_eq!((replica.len(), skim.others(PlayerId(0)), replica.vanished()), (1, 1, &[EntityId(2)][..]));
    replica.invariants();
    assert_eq!(replica.frame(&header(70_002), &b.snapshot()), Err(ReplicaError::OutsideView { chunk: far }));
    assert_eq!(skim.frame(&header(70_002), &b.snapshot()), Err(ReplicaError::OutsideView { chunk: far }));
}

#[test]
fn a_hostile_server_fills_nothing_without_end() {
    let roster = |source: u32, records: &[RosterRecord<'_>]| {
        let mut out = Vec::new();
        let header = Header {
            stream: StreamId::Roster,
            keyframe: true,
            level: 0,
            optional: false,
            source: Source(source),
            chunk: CENTRE,
            number: FrameNumber(1),
            tick: 0,
            rests_on: FrameNumber(1),
            payload_bytes: 0,
        };
        header.encode(&mut out);
        records.iter().for_each(|r| r.encode(&mut out));
        Header::patch_length(&mut out, 0, StreamId::Roster);
        out
    };
    let enter = |slot: u16, id: u64| RosterRecord::Enter {
        slot,
        entity: EntityId(id),
        epoch: Epoch(1),
        pose: Pose(0),
        kind: EntityKind::Player,
        look: 0,
        name: "",
    };
    let flood = |blocks: &dyn Fn(u32) -> Vec<u8>| {
        let (mut replica, mut skim) = begun();
        let by_replica = (1..100_000).find_map(|n| replica.frame(&header(70_000), &blocks(n)).err());
        let by_skim = (1..100_000).find_map(|n| skim.frame(&header(70_000), &blocks(n)).err());
        replica.invariants();
        (by_replica, by_skim)
    };
    let too_much = |error: &Option<ReplicaError>| matches!(error, Some(ReplicaError::TooMuch { .. }));
    let (replica, skim) = flood(&|n| roster(n, &[]));
    assert!(too_much(&replica) && too_much(&skim), "feeds are limited");
    let (replica, skim) = flood(&|n| roster(n, &[enter(9_999, u64::from(n))]));
    assert!(too_much(&replica) && too_much(&skim), "slots are limited");
    let (replica, _) = flood(&|n| roster(n, &[enter(0, 1)]));
    assert!(too_much(&replica), "listings of one entity are limited");
    let mut unknown_level = roster(1, &[]);
    unknown_level[0] |= 0xe0;
    let error = begun().0.frame(&header(70_000), &unknown_level).unwrap_err();
    assert_eq!(error, ReplicaError::Block(BlockError::UnknownLevel(7)));
}
