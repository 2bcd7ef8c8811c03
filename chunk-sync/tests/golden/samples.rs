//! The values behind the worked examples of `docs/protocol.md`, by the name that the page gives them.

use crate::acts::act_messages;
use crate::sample::{BlockSample, Content, Sample};
use chunk_sync::blocks::{EntityKind, RosterRecord, StreamId};
use chunk_sync::ids::{EntityId, Epoch, IslandId, Minter, NodeId, PlayerId, Source};
use chunk_sync::interest::Rate;
use chunk_sync::limits::TILES_PER_CHUNK_EDGE;
use chunk_sync::place::{ChunkPos, Place, Pose};
use chunk_sync::records::WORLD;
use chunk_sync::terrain::Tile;
use chunk_sync::ticket::Ticket;
use chunk_sync::wire::{FEATURE_LAND, Hello, Move, RejectCode, Seat, TickHeader, Welcome};

const HOME: ChunkPos = ChunkPos::new(8, 8);
const START: Place = Place { x: 34_900, y: 34_700 };
const SHORT_TICKET: [u8; 4] = [1, 1, 0xab, 0xcd];
const NORTH: u8 = 64;
const WEST: u8 = 128;
const SOUTH: u8 = 192;

/// All of them.
pub(crate) fn all() -> Vec<(&'static str, Sample)> {
    let mut all = control_messages();
    all.extend(act_messages());
    all.extend(packed_messages());
    all.extend(ticks());
    all.extend(blocks().into_iter().map(|(name, block)| (name, Sample::Block(block))));
    all
}

/// Number of the first player minted by source 1.
pub(crate) fn mara() -> u64 {
    Minter::new(WORLD, Source(1)).mint().expect("the first number")
}

fn control_messages() -> Vec<(&'static str, Sample)> {
    let hello = Hello {
        min: 1,
        max: 1,
        features: vec![FEATURE_LAND.to_owned()],
        client: "example/1".to_owned(),
        ..Hello::default()
    };
    vec![
        ("hello-allocator", Sample::Hello(Hello { name: Some("Mara".to_owned()), ..hello.clone() })),
        (
            "hello-island",
            Sample::Hello(Hello {
                min: 1,
                max: 2,
                levels: vec![0, 1],
                name: Some("Mara".to_owned()),
                island: Some(7),
                ..Hello::default()
            }),
        ),
        ("hello-node", Sample::Hello(Hello { ticket: Some(SHORT_TICKET.to_vec()), ..hello })),
        (
            "seat",
            Sample::Seat(Seat {
                protocol: 1,
                player: mara(),
                island: 1,
                nodes: vec!["127.0.0.1:7001".to_owned(), "127.0.0.1:7002".to_owned()],
                ticket: SHORT_TICKET.to_vec(),
                ticket_ms: 30_000,
            }),
        ),
        (
            "welcome",
            Sample::Welcome(Welcome {
                protocol: 1,
                level: 0,
                features: vec![FEATURE_LAND.to_owned()],
                node: 2,
                player: mara(),
                epoch: 3,
                island: 1,
                seed: 0x1122_3344_5566_7788,
                tick: 70_000,
                tick_ms: 100,
                island_chunks: 16,
                near_ring: 1,
                far_ring: 2,
                walk_mm_per_s: 5_000,
                keep_alive_ms: 5_000,
                x: START.x,
                y: START.y,
            }),
        ),
        ("reject", Sample::Reject(RejectCode::Full)),
        (
            "ticket",
            Sample::Ticket(Ticket {
                player: PlayerId(mara()),
                island: IslandId(1),
                number: 1_024_000,
                expires_ms: 45_000,
                nodes: vec![NodeId(1), NodeId(2)],
                name: "Mara".to_owned(),
                guest: false,
            }),
        ),
    ]
}

fn packed_messages() -> Vec<(&'static str, Sample)> {
    let row = |row: usize| match row {
        0..=5 => Tile::Water,
        6..=7 => Tile::Sand,
        8..=12 => Tile::Grass,
        13..=14 => Tile::Forest,
        _ => Tile::Cliff,
    };
    let tiles = Box::new(std::array::from_fn(|at| row(at / TILES_PER_CHUNK_EDGE)));
    vec![
        ("move", Sample::Move(Move { sequence: 258, place: START, heading: NORTH })),
        (
            "move-west",
            Sample::Move(Move { sequence: 65_535, place: Place { x: -1, y: 3 * 4096 }, heading: WEST }),
        ),
        ("ping", Sample::Ping(vec![1, 2, 3, 4])),
        ("pong", Sample::Pong(vec![1, 2, 3, 4])),
        ("bye", Sample::Bye),
        ("land", Sample::Land(ChunkPos::new(4, 5), tiles)),
    ]
}

fn ticks() -> Vec<(&'static str, Sample)> {
    let block = |wanted: &str| {
        let (_, block) =
            blocks().into_iter().find(|(name, _)| *name == wanted).expect("a sample of that name");
        block
    };
    let joining = TickHeader { tick: 70_000, reset: true, view: Some(HOME), ..TickHeader::default() };
    let plain = TickHeader { tick: 70_001, ack: 258, ..TickHeader::default() };
    let corrected = TickHeader {
        tick: 70_003,
        ack: 259,
        reset: true,
        view: Some(ChunkPos::new(0, -2)),
        correction: Some(Place { x: 34_900, y: -128 }),
    };
    vec![
        ("tick-join", Sample::Tick(joining, vec![block("roster-keyframe"), block("motion-keyframe")])),
        ("tick-plain", Sample::Tick(plain, vec![block("motion-delta")])),
        ("tick-empty", Sample::Tick(TickHeader { tick: 70_002, ..plain }, Vec::new())),
        ("tick-correction", Sample::Tick(corrected, Vec::new())),
    ]
}

fn roster(keyframe: bool, number: u16, tick: u16, records: Vec<RosterRecord<'static>>) -> BlockSample {
    BlockSample {
        stream: StreamId::Roster,
        keyframe,
        source: 42,
        chunk: HOME,
        number,
        tick,
        rests_on: number,
        optional: None,
        content: Content::Roster(records),
    }
}

fn motion(
    rate: Rate,
    keyframe: bool,
    number: u16,
    tick: u16,
    rests_on: u16,
    moves: Vec<(u16, Pose)>,
) -> BlockSample {
    BlockSample {
        stream: StreamId::Motion(rate),
        keyframe,
        source: 42,
        chunk: HOME,
        number,
        tick,
        rests_on,
        optional: None,
        content: Content::Motion(moves),
    }
}

fn blocks() -> Vec<(&'static str, BlockSample)> {
    let pose = |x, y, heading| Pose::new(Place { x, y }, heading);
    let (start, den) = (Pose::new(START, NORTH), pose(1_000, 3_000, 0));
    let everybody = vec![
        RosterRecord::Enter {
            slot: 0,
            entity: EntityId(mara()),
            epoch: Epoch(3),
            pose: start,
            kind: EntityKind::Player,
            look: 5,
            name: "Mara",
        },
        RosterRecord::Enter {
            slot: 1,
            entity: EntityId::born_with_land(WORLD, IslandId(1), HOME.index().expect("on the island"), 0),
            epoch: Epoch(9),
            pose: den,
            kind: EntityKind::Creature,
            look: 0,
            name: "",
        },
    ];
    let newcomer = RosterRecord::Enter {
        slot: 2,
        entity: EntityId(mara() + 1),
        epoch: Epoch(1),
        pose: pose(100, 4_000, SOUTH),
        kind: EntityKind::Player,
        look: 0,
        name: "Bo",
    };
    let slow = |rate| motion(rate, true, 100, 4_472, 8, vec![(2, pose(110, 3_900, 200))]);
    let with_optional = motion(Rate::R1, false, 2, 4_467, 8, vec![(0, pose(2_132, 2_048, NORTH))]);
    vec![
        ("roster-keyframe", roster(true, 7, 4_464, everybody)),
        ("roster-delta", roster(false, 8, 4_465, vec![newcomer, RosterRecord::Leave { slot: 1 }])),
        ("roster-empty", roster(true, 12, 4_480, Vec::new())),
        ("motion-keyframe", motion(Rate::R1, true, 65_535, 4_464, 7, vec![(0, start), (1, den)])),
        ("motion-delta", motion(Rate::R1, false, 0, 4_465, 8, vec![(0, pose(2_132, 1_990, NORTH))])),
        ("motion-quiet", motion(Rate::R1, false, 1, 4_466, 8, Vec::new())),
        ("motion-2", BlockSample { chunk: ChunkPos::new(6, 8), ..slow(Rate::R2) }),
        ("motion-4", BlockSample { chunk: ChunkPos::new(6, 8), ..slow(Rate::R4) }),
        ("motion-8", BlockSample { chunk: ChunkPos::new(6, -1), ..slow(Rate::R8) }),
        ("motion-optional", BlockSample { optional: Some(vec![0xaa, 0xbb, 0xcc]), ..with_optional }),
    ]
}
