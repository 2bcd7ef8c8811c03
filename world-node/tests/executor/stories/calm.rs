//! Everything that players do, on a store that works.

use super::{DONE, PLANK, bag_of, gather, grows_in, no};
use crate::town::{CHUNKS, CORNER, ISLAND, home, spot};
use crate::world::World;
use chunk_sync::ids::{Epoch, PlayerId};
use world_node::rules::documents::{Doc, Right};
use world_node::rules::items::{ItemKind, Items};
use world_node::rules::limits::BAG_SLOTS;
use world_node::rules::resources::ResourceKind;
use world_node::rules::site::TilePos;
use world_node::rules::structures::StructureKind;
use world_node::rules::{ActId, Action, DocName, RuleReject};

/// Two nodes; each player from 1 on comes in at the next of them with the same goods.
fn two_nodes(players: u64, goods: &[(ItemKind, u32)]) -> World {
    let mut world = World::new(1, 2);
    for player in 1..=players {
        world.settle(player, goods);
        world.enter(player, (player as usize - 1) % 2);
    }
    world.run(300);
    world
}

/// Whatever was begun ends, and both nodes know all of it.
fn ends_well(world: &mut World) {
    world.run(6_000);
    assert_eq!(world.book.unfinished(), None);
    for node in 0..2 {
        assert_eq!(world.node(node).executor.under_way(), (0, 0, 0));
        assert!(CHUNKS.into_iter().all(|chunk| world.is_same(node, home(chunk))));
    }
}

#[test]
fn what_is_gathered_is_in_the_bag() {
    let mut world = two_nodes(1, &[]);
    let act = gather(&mut world, 1, ResourceKind::Tree);
    assert_eq!(world.act(1, act), DONE);
    assert_eq!(world.count(1, ItemKind::Wood), 2);
    ends_well(&mut world);
    assert!(world.is_same(0, bag_of(1)));
}

#[test]
fn what_is_crafted_is_there_at_once() {
    let mut world = two_nodes(1, &[(ItemKind::Wood, 1)]);
    assert_eq!(world.act(1, PLANK), DONE);
    assert_eq!(world.act(1, PLANK), no(RuleReject::Lacking));
    assert_eq!((world.count(1, ItemKind::Plank), world.count(1, ItemKind::Wood)), (2, 0));
    ends_well(&mut world);
}

#[test]
fn what_is_loaded_is_read_without_asking_the_store() {
    let mut world = two_nodes(1, &[]);
    // Nothing that its node asks for arrives any more: what is answered, is answered from memory.
    world.held = Some(0);
    assert_eq!(world.act(1, PLANK), no(RuleReject::Lacking), "its own bag");
    let unknown = ActId { player: PlayerId(9), epoch: Epoch(1), island: ISLAND, act: 1 };
    let demolish = Action::Demolish { chunk: CHUNKS[0], structure: unknown };
    assert_eq!(world.act(1, demolish), no(RuleReject::NotThere), "what stands in a chunk");
    world.release();
    ends_well(&mut world);
}

#[test]
fn a_hut_stands_in_one_chunk_and_over_a_border_until_it_is_taken_down() {
    for chunks in [1, 2, 4] {
        let mut world = two_nodes(2, &[(ItemKind::Wood, 6), (ItemKind::Rope, 1)]);
        let place = spot(StructureKind::Hut, CHUNKS[0], chunks);
        world.stand(1, place);
        world.stand(2, place);
        let build = Action::Build { kind: StructureKind::Hut, place, turned: false };
        assert_eq!(world.act(1, build.clone()), DONE);
        world.run(500);
        assert_eq!(world.act(2, build), no(RuleReject::Occupied));
        assert_eq!((world.count(1, ItemKind::Wood), world.count(2, ItemKind::Wood)), (0, 6));
        ends_well(&mut world);
        let structures = world.book.named(|name| matches!(name, DocName::Structure(_)));
        let [(_, DocName::Structure(structure), _)] = structures.collect::<Vec<_>>()[..] else { panic!() };
        let demolish = Action::Demolish { chunk: CHUNKS[0], structure };
        assert_eq!(world.act(2, demolish.clone()), no(RuleReject::NotYours));
        assert_eq!(world.act(1, demolish), DONE);
        ends_well(&mut world);
        assert_eq!(world.count(1, ItemKind::Wood), 3);
        assert_eq!(world.book.named(|name| matches!(name, DocName::Cell(_))).count(), 0);
    }
}

#[test]
fn a_revocation_is_done_when_every_copy_has_it() {
    let goods = [(ItemKind::Totem, 1), (ItemKind::Stone, 8)];
    let mut world = two_nodes(2, &goods);
    let place = spot(StructureKind::Totem, CHUNKS[0], 1);
    world.stand(1, place);
    let others = CHUNKS[1..].to_vec();
    assert_eq!(world.act(1, Action::ClaimEstate { place, chunks: others }), DONE);
    world.run(1_000);
    let Some(Doc::Estate(estate)) = world.book.get(home(CHUNKS[0]), DocName::Estate).cloned() else {
        panic!()
    };
    let (chunk, player, id) = (CHUNKS[0], PlayerId(2), estate.id);
    let hearth = spot(StructureKind::Hearth, CHUNKS[3], 1);
    let build = |place: TilePos| Action::Build { kind: StructureKind::Hearth, place, turned: false };
    world.stand(2, hearth);
    assert_eq!(world.act(2, build(hearth)), no(RuleReject::Forbidden));
    let permit = Action::Permit { chunk, estate: id, player, rights: vec![Right::Build] };
    assert_eq!(world.act(1, permit), DONE);
    assert_eq!(world.book.settled.get(&id), Some(&2), "it ends when every copy has it");
    world.run(300);
    assert_eq!(world.act(2, build(hearth)), DONE);
    assert_eq!(world.act(1, Action::Revoke { chunk, estate: id, player }), DONE);
    assert_eq!(world.book.settled.get(&id), Some(&3));
    let next = TilePos { x: hearth.x + 1, y: hearth.y };
    // The node of player 2 may not have heard of it yet; the chunk decides.
    assert_eq!(world.act(2, build(next)), no(RuleReject::Forbidden));
    ends_well(&mut world);
}

#[test]
fn what_one_lays_down_another_picks_up_on_another_node() {
    let mut world = two_nodes(2, &[(ItemKind::Wood, 9)]);
    assert_eq!(world.act(1, Action::Drop { item: ItemKind::Wood, count: 5 }), DONE);
    world.run(300);
    let lying = world.book.named(|name| matches!(name, DocName::Ground(_))).next();
    let Some((_, DocName::Ground(cell), Doc::Ground(ground))) = lying else { panic!() };
    let stack = ground.stacks[0].id;
    let pick_up = Action::PickUp { chunk: CORNER.chunk(), cell, stack, count: 5 };
    let (mine, theirs) = (world.ask(1, pick_up.clone()).unwrap(), world.ask(2, pick_up).unwrap());
    let ends = [world.hear(1, mine), world.hear(2, theirs)];
    assert_eq!(ends.iter().filter(|end| **end == DONE).count(), 1, "{ends:?}");
    ends_well(&mut world);
    assert_eq!(world.count(1, ItemKind::Wood) + world.count(2, ItemKind::Wood), 18);
}

#[test]
fn gifts_and_trades_reach_players_on_another_node() {
    let mut world = two_nodes(2, &[(ItemKind::Wood, 9), (ItemKind::Stone, 9)]);
    let gift = Action::Give { to: PlayerId(2), item: ItemKind::Wood, count: 4 };
    assert_eq!(world.act(1, gift), DONE);
    assert_eq!((world.count(1, ItemKind::Wood), world.count(2, ItemKind::Wood)), (5, 13));
    let (give, want) = (Items::of(ItemKind::Wood, 5), Items::of(ItemKind::Stone, 7));
    let offer = world.ask(1, Action::Offer { to: PlayerId(2), give, want }).unwrap();
    assert_eq!(world.hear(1, offer), DONE);
    let trade = world.client(1).acts[&offer].id;
    assert_eq!(world.act(2, Action::Accept { trade }), DONE);
    ends_well(&mut world);
    assert_eq!((world.count(1, ItemKind::Wood), world.count(1, ItemKind::Stone)), (0, 16));
    assert_eq!((world.count(2, ItemKind::Wood), world.count(2, ItemKind::Stone)), (18, 2));
    assert!(world.is_same(0, bag_of(1)) && world.is_same(1, bag_of(2)));
    assert_eq!(world.act(1, Action::Cancel { trade }), no(RuleReject::TradeClosed));
}

#[test]
fn what_finds_no_room_grows_on_where_it_was() {
    let mut world = two_nodes(1, &[(ItemKind::Pick, BAG_SLOTS as u32 - 1)]);
    // Both are asked for while there is room for one.
    let kinds = [ResourceKind::Tree, ResourceKind::Bush];
    let acts = kinds.map(|kind| {
        let act = gather(&mut world, 1, kind);
        world.ask(1, act).unwrap()
    });
    let ends = acts.map(|act| world.hear(1, act));
    assert!(ends.contains(&DONE) && ends.contains(&no(RuleReject::BagFull)), "{ends:?}");
    ends_well(&mut world);
    let refused = kinds[usize::from(ends[1] != DONE)];
    let touched = |kind| {
        world.book.docs.keys().any(|(at, name)| {
            *at == grows_in(kind) && *name == DocName::Resource(crate::town::first(kind).1.tile)
        })
    };
    assert!(!touched(refused), "it is whole again, as the land was made");
    assert!(touched(kinds[usize::from(ends[1] == DONE)]));
}
