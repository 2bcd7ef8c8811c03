//! Documents at rest: recorded bytes of every version that was ever written are read, what is newer or damaged is
//! said so.

use chunk_sync::ids::{Epoch, IslandId, PlayerId};
use chunk_sync::place::{ChunkPos, Place};
use chunk_sync::records::encode;
use chunk_sync::time::Tick;
use serde::Serialize;
use std::fmt::Write;
use world_node::rules::documents::*;
use world_node::rules::items::{ItemKind, Items};
use world_node::rules::limits::{BAG_SLOTS, STAMINA_MAX};
use world_node::rules::site::{Site, TilePos};
use world_node::rules::stamina::Stamina;
use world_node::rules::structures::StructureKind;
use world_node::rules::transfer::{Back, Cargo, Decision, Goods, Transfer};
use world_node::rules::{ActId, DocName, Partition, RuleReject, Sender};

/// One document of every sort in its current version.
fn samples() -> Vec<(DocName, Doc)> {
    let (player, island) = (PlayerId(0x0040_0001_0000_0007), IslandId(2));
    let act = ActId { player, epoch: Epoch(3), island, act: 41 };
    let (chunk, other) = (ChunkPos::new(7, 8), ChunkPos::new(8, 8));
    let corner = TilePos { x: 127, y: 130 };
    let site = Site::new(act, StructureKind::Fence, island, corner, false, &[]);
    let items = Items::from(&[(ItemKind::Wood, 70), (ItemKind::Totem, 1)][..]);
    let stamina = Stamina { value: 64, at: Tick(90_000) };
    let bag = BagRecord { v: 2, items: items.clone(), held: Items::of(ItemKind::Rope, 2), stamina };
    let place = Some(Place { x: 1, y: -2 });
    let placement = PlacementRecord { v: 1, island: IslandId(2), place, tick: Tick(5), epoch: Epoch(3) };
    let state = StructureState::Raising { left: vec![other], held: vec![] };
    let allowed = Some(EstateVersion { id: act, version: 4 });
    let structure = StructureRecord { v: 1, site: site.clone(), state, allowed, steps: 2 };
    let covered = Covered { tile: 11, by: act, anchor: chunk };
    let mut estate = EstateRecord::claimed_by(&Site { claims: vec![other], ..site.clone() });
    estate.permit(PlayerId(9), &[Right::Gather, Right::Build]);
    let lying =
        GroundStack { id: act, item: ItemKind::Berry, count: 3, held: 1, place: Place { x: 400, y: 500 } };
    let mut trade = TradeRecord::open(PlayerId(1), PlayerId(2), items.clone(), Items::default());
    trade.state = TradeState::Done;
    trade.owe(PlayerId(2), &items);
    let sent = act.transfer(Sender::chunk(chunk).unwrap());
    let (from, to) = (sent.sent_by(), Partition::Player(PlayerId(2)));
    let goods = Goods { items, stamina: 3, tool: Some(ItemKind::Pick) };
    let back = Back::Ground { cell: 5, stack: act };
    let transfer = Transfer { v: 1, from, to, cargo: Cargo::Goods(goods), back };
    let decision = Decision { v: 1, from, refused: Some(RuleReject::BagFull) };
    vec![
        (DocName::Bag, Doc::Bag(bag)),
        (DocName::Placement, Doc::Placement(placement)),
        (DocName::Resource(200), Doc::Resource(ResourceRecord { v: 1, left: 3, at: Tick(77) })),
        (DocName::Structure(act), Doc::Structure(structure)),
        (DocName::Cell(7), Doc::Cell(CellRecord { v: 1, tiles: vec![covered] })),
        (DocName::Estate, Doc::Estate(estate)),
        (DocName::Ground(5), Doc::Ground(GroundRecord { v: 1, stacks: vec![lying] })),
        (DocName::Trade, Doc::Trade(trade)),
        (DocName::Out(sent), Doc::Out(transfer)),
        (DocName::In(sent), Doc::In(decision)),
        (DocName::Forgets, Doc::Forgets(ForgetsRecord { v: 1, count: 300 })),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// A change of these bytes is a new version: then the old line stays, and a test says how it is read.
#[test]
fn every_document_is_written_as_recorded_and_read_back() {
    let recorded: Vec<&str> = include_str!("documents.golden").lines().collect();
    let written: Vec<String> =
        samples().iter().map(|(name, doc)| format!("{name} {}", hex(&doc.pack()))).collect();
    assert_eq!(recorded, written, "as written now:\n{}\n", written.join("\n"));
    for (line, (name, doc)) in recorded.iter().zip(samples()) {
        let bytes = unhex(line.split_once(' ').unwrap().1);
        assert_eq!(Doc::unpack(name, &bytes), Ok(doc));
    }
}

#[test]
fn a_bag_of_version_1_is_read_as_a_rested_players() {
    // {"v": 1, "items": {"wood": 60, "pick": 1}}, as the first version was written.
    let recorded = unhex("82a17601a56974656d7382a4776f6f643ca47069636b01");
    let Ok(Doc::Bag(bag)) = Doc::unpack(DocName::Bag, &recorded) else { panic!("not a bag") };
    assert_eq!(bag.items, Items::from(&[(ItemKind::Wood, 60), (ItemKind::Pick, 1)][..]));
    assert_eq!((bag.v, bag.held.is_empty()), (2, true), "it is of the new version when it is written next");
    assert_eq!(bag.stamina.now(Tick(0)), STAMINA_MAX);
    assert!(bag.slots() <= BAG_SLOTS);
    let rewritten = Doc::Bag(bag.clone()).pack();
    assert_eq!(Doc::unpack(DocName::Bag, &rewritten), Ok(Doc::Bag(bag)));
}

#[derive(Serialize)]
struct Other {
    v: u16,
    something: &'static str,
}

#[test]
fn newer_unknown_and_damaged_documents_are_refused() {
    for (name, doc) in samples() {
        let newer = encode(&Other { v: 99, something: "else" });
        let refused = Doc::unpack(name, &newer);
        assert!(matches!(refused, Err(DocError::Newer { found: 99, .. })), "{name}: {refused:?}");
        let never = encode(&Other { v: 0, something: "else" });
        assert_eq!(Doc::unpack(name, &never), Err(DocError::Damaged { doc: name }));
        let whole = doc.pack();
        for cut in 0..whole.len() {
            assert_eq!(Doc::unpack(name, &whole[..cut]), Err(DocError::Damaged { doc: name }), "{cut}");
        }
    }
    let strange = encode(&Other { v: 2, something: "else" });
    assert_eq!(Doc::unpack(DocName::Bag, &strange), Err(DocError::Damaged { doc: DocName::Bag }));
}

#[test]
fn additional_fields_of_a_later_build_are_ignored() {
    #[derive(Serialize)]
    struct Later {
        v: u16,
        left: u32,
        at: u64,
        season: &'static str,
    }
    let bytes = encode(&Later { v: 1, left: 4, at: 9, season: "spring" });
    let read = Doc::unpack(DocName::Resource(1), &bytes);
    assert_eq!(read, Ok(Doc::Resource(ResourceRecord { v: 1, left: 4, at: Tick(9) })));
}

#[test]
fn items_without_a_count_are_not_kept() {
    let zeros: Vec<u8> = unhex("82a17601a56974656d7381a4776f6f6400");
    let Ok(Doc::Bag(bag)) = Doc::unpack(DocName::Bag, &zeros) else { panic!("not a bag") };
    assert!(bag.items.is_empty());
}
