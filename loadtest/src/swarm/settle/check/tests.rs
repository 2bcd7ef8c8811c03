//! The check against documents as a node would tell them, right and wrong.

use super::*;
use crate::swarm::settle::books::{Change, Entry, Work};
use chunk_sync::ids::{Epoch, IslandId, PlayerId};
use chunk_sync::place::Place;
use chunk_sync::wire::{ActNumber, Docs, Welcome};
use serde_bytes::ByteBuf;
use world_node::rules::DocName;
use world_node::rules::documents::{
    BagRecord, EstateRecord, GroundRecord, GroundStack, Record, StructureRecord,
};
use world_node::rules::items::{ItemKind, Items};
use world_node::rules::site::{Site, TilePos};
use world_node::rules::structures::StructureKind;

const HOME: ChunkPos = ChunkPos::new(8, 8);
const EAST: ChunkPos = ChunkPos::new(9, 8);

fn id(act: u64) -> ActId {
    ActId { player: PlayerId(9), epoch: Epoch(1), island: IslandId(1), act }
}

fn site(act: u64, kind: StructureKind, claims: &[ChunkPos]) -> Site {
    Site::new(id(act), kind, IslandId(1), TilePos { x: 130, y: 130 }, false, claims)
}

/// A bot's documents: its bag, and documents of two chunks.
fn told(wood: u32, home: &[(DocName, Vec<u8>)], east: &[(DocName, Vec<u8>)]) -> Documents {
    let middle = HOME.middle();
    let welcome = Welcome {
        protocol: 1,
        level: 0,
        features: Vec::new(),
        node: 1,
        player: 9,
        epoch: 1,
        island: 1,
        seed: 1,
        tick: 1,
        tick_ms: 100,
        island_chunks: 16,
        near_ring: 1,
        far_ring: 2,
        walk_mm_per_s: 5_000,
        keep_alive_ms: 5_000,
        x: middle.x,
        y: middle.y,
    };
    let mut documents = Documents::default();
    documents.begin(&welcome);
    let bag = BagRecord { items: Items::of(ItemKind::Wood, wood), ..BagRecord::default() };
    let bag = [(DocName::Bag, bag.wrap().pack())];
    for (chunk, docs) in [(None, &bag[..]), (Some(HOME), home), (Some(EAST), east)] {
        let docs = docs.iter().map(|(name, bytes)| (name.to_string(), Some(ByteBuf::from(bytes.clone()))));
        documents.take(Docs { chunk, whole: true, docs: docs.collect() }).unwrap();
    }
    documents
}

fn structure(act: u64, state: StructureState) -> (DocName, Vec<u8>) {
    let site = site(act, StructureKind::Hut, &[]);
    let record = StructureRecord { v: StructureRecord::VERSION, site, state, allowed: None, steps: 1 };
    (DocName::Structure(id(act)), record.wrap().pack())
}

fn ground(cell: u8, stacks: &[(u64, u32)]) -> (DocName, Vec<u8>) {
    let place = Place { x: 1, y: 1 };
    let stacks = stacks.iter().map(|(act, count)| GroundStack {
        id: id(*act),
        item: ItemKind::Wood,
        count: *count,
        held: 0,
        place,
    });
    (DocName::Ground(cell), GroundRecord { v: GroundRecord::VERSION, stacks: stacks.collect() }.wrap().pack())
}

/// Books of one bot that began with ten wood and asked for these.
fn books(acts: Vec<(Work, Change, Fate)>) -> Books {
    let mut books = Books::new(1);
    books.accounts[0].start = Some(Items::of(ItemKind::Wood, 10));
    for (at, (work, change, fate)) in acts.into_iter().enumerate() {
        let (act, number) = (at as u64 + 1, ActNumber::new(Epoch(1), at as u32 + 1));
        let moves = [(0, change)].into();
        books.ask(0, number, Entry { id: id(act), asked_ms: 0, moves, work, taken: None, absurd: false });
        assert!(books.answer(0, number, fate).is_some());
    }
    books
}

fn raise(kind: StructureKind, claims: Vec<ChunkPos>) -> Work {
    let corner = TilePos { x: 130, y: 130 };
    let (raised, felled) = (Fate::Asked, None);
    Work::Raise(Built { bot: 0, kind, island: 1, corner, turned: false, claims, raised, felled })
}

fn hut(fate: Fate) -> (Work, Change, Fate) {
    (raise(StructureKind::Hut, Vec::new()), Change::new(), fate)
}

fn fell(act: u64, fate: Fate) -> (Work, Change, Fate) {
    (Work::Fell(id(act)), Change::new(), fate)
}

fn lay(count: u32, fate: Fate) -> (Work, Change, Fate) {
    let (laid, lifted, maybe_lifted) = (Fate::Asked, 0, Vec::new());
    let (chunk, item) = (HOME, ItemKind::Wood);
    let laid = Laid { bot: 0, island: 1, chunk, item, count, laid, lifted, maybe_lifted };
    (Work::Lay(laid), Change::new(), fate)
}

/// (lost, doubled, undue) of one bot's books against what it sees.
fn found(books: &Books, documents: &Documents) -> (u64, u64, u64) {
    let findings = check(books, &[Seen { bot: 0, island: 1, documents }]);
    assert_eq!(findings.is_clean(), findings.texts.is_empty(), "{findings:?}");
    assert_eq!((findings.bags, findings.unseen), (1, 0));
    (findings.lost, findings.doubled, findings.undue)
}

#[test]
fn a_world_as_it_was_told_is_clean() {
    let acts =
        vec![hut(Fate::Done), hut(Fate::Done), fell(2, Fate::Done), lay(3, Fate::Done), hut(Fate::Refused)];
    let home = [structure(1, StructureState::Standing), ground(5, &[(4, 3), (77, 9)])];
    let findings = check(&books(acts), &[Seen { bot: 0, island: 1, documents: &told(10, &home, &[]) }]);
    assert!(findings.is_clean(), "{findings:?}");
    assert_eq!((findings.bags, findings.structures, findings.stacks), (1, 3, 1));
}

#[test]
fn structures_must_stand_once_or_be_gone() {
    let standing = structure(1, StructureState::Standing);
    let raising = structure(1, StructureState::Raising { left: vec![EAST], held: Vec::new() });
    let shown = |fates: Vec<(Work, Change, Fate)>,
                 home: &[(DocName, Vec<u8>)],
                 east: &[(DocName, Vec<u8>)]| { found(&books(fates), &told(10, home, east)) };
    let there = std::slice::from_ref(&standing);
    assert_eq!(shown(vec![hut(Fate::Done)], &[], &[]), (1, 0, 0), "it is nowhere");
    assert_eq!(shown(vec![hut(Fate::Done)], &[raising], &[]), (1, 0, 0), "it doesn't stand");
    assert_eq!(shown(vec![hut(Fate::Done)], there, there), (0, 1, 0), "it stands twice");
    assert_eq!(shown(vec![hut(Fate::Refused)], there, &[]), (0, 0, 1));
    assert_eq!(shown(vec![hut(Fate::Done), fell(1, Fate::Done)], there, &[]), (1, 0, 0), "it came back");
    for fates in [vec![hut(Fate::Unknown)], vec![hut(Fate::Done), fell(1, Fate::Unknown)]] {
        assert_eq!(shown(fates.clone(), there, &[]), (0, 0, 0));
        assert_eq!(shown(fates, &[], &[]), (0, 0, 0));
    }
}

#[test]
fn stacks_must_lie_there_once() {
    let shown = |count: u32, fate: Fate, grounds: &[(DocName, Vec<u8>)]| {
        found(&books(vec![lay(count, fate)]), &told(10, grounds, &[]))
    };
    assert_eq!(shown(3, Fate::Done, &[ground(5, &[(1, 3)])]), (0, 0, 0));
    assert_eq!(shown(3, Fate::Done, &[]), (3, 0, 0));
    assert_eq!(shown(3, Fate::Done, &[ground(5, &[(1, 2)])]), (1, 0, 0));
    assert_eq!(shown(3, Fate::Done, &[ground(5, &[(1, 3)]), ground(6, &[(1, 3)])]), (0, 3, 0));
    assert_eq!(shown(3, Fate::Refused, &[ground(5, &[(1, 3)])]), (0, 0, 1));
    assert_eq!(shown(3, Fate::Unknown, &[]), (0, 0, 0));
}

#[test]
fn estates_must_be_claimed_everywhere() {
    let work = || raise(StructureKind::Totem, vec![HOME, EAST]);
    let totem = site(1, StructureKind::Totem, &[EAST]);
    let estate = EstateRecord::claimed_by(&totem);
    let (steps, state, allowed) = (1, StructureState::Standing, None);
    let record = StructureRecord { v: StructureRecord::VERSION, site: totem, state, allowed, steps };
    let home =
        [(DocName::Structure(id(1)), record.wrap().pack()), (DocName::Estate, estate.clone().wrap().pack())];
    let books = books(vec![(work(), Change::new(), Fate::Done)]);
    assert_eq!(
        found(&books, &told(10, &home, &[(DocName::Estate, estate.clone().wrap().pack())])),
        (0, 0, 0)
    );
    assert_eq!(found(&books, &told(10, &home, &[])), (1, 0, 0));
    let other = EstateRecord { id: id(44), ..estate };
    assert_eq!(found(&books, &told(10, &home, &[(DocName::Estate, other.wrap().pack())])), (1, 0, 0));
}

#[test]
fn bags_must_hold_what_the_acts_came_to() {
    let books = books(vec![(Work::None, [(ItemKind::Wood, -4)].into(), Fate::Done)]);
    assert_eq!(
        [6, 10, 2].map(|wood| found(&books, &told(wood, &[], &[]))),
        [(0, 0, 0), (0, 4, 0), (4, 0, 0)]
    );
}

#[test]
fn what_nobody_sees_is_unseen_and_clean() {
    let far = Built {
        corner: TilePos { x: 1, y: 1 },
        ..match raise(StructureKind::Hut, Vec::new()) {
            Work::Raise(built) => built,
            _ => panic!("it builds"),
        }
    };
    let books = books(vec![(Work::Raise(far), Change::new(), Fate::Done), lay(3, Fate::Done)]);
    let findings = check(&books, &[]);
    assert_eq!((findings.unseen, findings.bags, findings.structures, findings.stacks), (3, 0, 0, 0));
    assert!(findings.is_clean());
    let documents = told(10, &[ground(5, &[(2, 3)])], &[]);
    let findings = check(&books, &[Seen { bot: 0, island: 1, documents: &documents }]);
    assert_eq!((findings.unseen, findings.stacks), (1, 1), "the hut is out of view");
    let elsewhere = check(&books, &[Seen { bot: 0, island: 2, documents: &documents }]);
    assert_eq!(elsewhere.structures, 0, "another island");
}
