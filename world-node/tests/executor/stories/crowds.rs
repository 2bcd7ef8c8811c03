//! Many at once, and what nobody tells of.

use super::{DONE, PLANK, ask_and_hold, bag_of, gather, no};
use crate::node::Input;
use crate::town::{CHUNKS, CORNER, first, home, land_of, spot, tile};
use crate::world::{Net, World};
use chunk_sync::ids::PlayerId;
use world_node::executor::Verdict;
use world_node::executor::limits::{COMPARED_WITHIN_MS, GAP_WAIT_MS};
use world_node::rules::documents::{Doc, Right};
use world_node::rules::items::ItemKind;
use world_node::rules::resources::ResourceKind;
use world_node::rules::site::TilePos;
use world_node::rules::structures::StructureKind;
use world_node::rules::{Action, DocName, RuleReject};

const CROWD: u64 = 20;

/// A crowd on three nodes that asks for the same in the same moment. How it ended for each.
fn all_at_once(
    goods: &[(ItemKind, u32)],
    action: impl Fn(&mut World, u64) -> Action,
) -> (World, Vec<Verdict>) {
    let mut world = World::new(8, 3);
    for player in 1..=CROWD {
        world.settle(player, goods);
        world.enter(player, player as usize % 3);
    }
    world.run(500);
    world.net.store_ms = 80;
    let acts: Vec<_> = (1..=CROWD)
        .map(|player| {
            let action = action(&mut world, player);
            (player, world.ask(player, action).unwrap())
        })
        .collect();
    let ends = acts.into_iter().map(|(player, act)| world.hear(player, act)).collect();
    assert!(world.run_until(10_000, World::is_swept));
    assert_eq!(world.book.unfinished(), None);
    (world, ends)
}

#[test]
fn as_many_gather_as_there_are_units() {
    let units = first(ResourceKind::Bush).1.kind.spec().units_max;
    let (world, ends) = all_at_once(&[], |world, player| gather(world, player, ResourceKind::Bush));
    let done = ends.iter().filter(|end| **end == DONE).count() as u32;
    let empty = ends.iter().filter(|end| **end == no(RuleReject::Exhausted)).count() as u32;
    assert_eq!((done, empty), (units, CROWD as u32 - units), "{ends:?}");
    let gathered: u32 = (1..=CROWD).map(|player| world.count(player, ItemKind::Berry)).sum();
    assert_eq!(gathered, units);
}

#[test]
fn one_builds_on_a_spot() {
    for chunks in [1, 2] {
        let place = spot(StructureKind::Fence, CHUNKS[0], chunks);
        let (world, ends) = all_at_once(&[(ItemKind::Wood, 2)], |world, player| {
            world.stand(player, place);
            Action::Build { kind: StructureKind::Fence, place, turned: false }
        });
        let done = ends.iter().filter(|end| **end == DONE).count();
        let late = ends.iter().filter(|end| **end == no(RuleReject::Occupied)).count() as u64;
        assert_eq!((done, late), (1, CROWD - 1), "{ends:?}");
        let wood: u32 = (1..=CROWD).map(|player| world.count(player, ItemKind::Wood)).sum();
        assert_eq!(wood, 2 * (CROWD as u32 - 1));
    }
}

#[test]
fn one_builds_on_a_spot_that_two_chunks_decide_about() {
    // Half of the crowd builds over the border, decided by the chunk on this side; the others beyond it, by that one.
    let fence = StructureKind::Fence;
    let free = |tile: TilePos| land_of(tile.chunk()).is_buildable(tile.number());
    let row = (-8..0).find(|y| (-1..=1).all(|x| free(tile(x, *y)))).expect("a free row");
    let (over, beyond) = (tile(-1, row), tile(0, row));
    assert_ne!(over.chunk(), beyond.chunk());
    let (world, ends) = all_at_once(&[(ItemKind::Wood, 2)], |world, player| {
        let place = if player % 2 == 0 { over } else { beyond };
        world.stand(player, place);
        Action::Build { kind: fence, place, turned: false }
    });
    let done = ends.iter().filter(|end| **end == DONE).count();
    let late = ends.iter().filter(|end| **end == no(RuleReject::Occupied)).count() as u64;
    assert_eq!((done, late), (1, CROWD - 1), "{ends:?}");
    let wood: u32 = (1..=CROWD).map(|player| world.count(player, ItemKind::Wood)).sum();
    assert_eq!(wood, 2 * (CROWD as u32 - 1));
}

#[test]
fn a_building_under_way_on_another_node_does_not_slip_past_a_revocation() {
    let mut world = World::new(8, 2);
    for player in [1, 2] {
        world.settle(player, &[(ItemKind::Totem, 1), (ItemKind::Stone, 8)]);
        world.enter(player, player as usize - 1);
    }
    world.run(500);
    let (chunk, player) = (CHUNKS[0], PlayerId(2));
    let place = spot(StructureKind::Totem, chunk, 1);
    world.stand(1, place);
    assert_eq!(world.act(1, Action::ClaimEstate { place, chunks: CHUNKS[1..].to_vec() }), DONE);
    world.run(1_000);
    let Some(Doc::Estate(estate)) = world.book.get(home(chunk), DocName::Estate).cloned() else { panic!() };
    let permit = Action::Permit { chunk, estate: estate.id, player, rights: vec![Right::Build] };
    assert_eq!(world.act(1, permit), DONE);
    world.run(1_000);
    // The node of player 2 has decided that it may build, and is about to say so.
    let place = spot(StructureKind::Hearth, CHUNKS[3], 1);
    world.stand(2, place);
    let built =
        ask_and_hold(&mut world, 2, Action::Build { kind: StructureKind::Hearth, place, turned: false });
    assert_eq!(world.act(1, Action::Revoke { chunk, estate: estate.id, player }), DONE);
    world.release();
    assert_eq!(world.hear(2, built), no(RuleReject::Forbidden));
    assert!(world.run_until(10_000, World::is_swept));
    assert_eq!(world.count(2, ItemKind::Stone), 8, "what was paid came back");
    // In the same moment, either may be first; nothing is built twice or by halves.
    world.net.store_ms = 80;
    let (mut done, mut late) = (0, 0);
    for _ in 0..12 {
        let permit = Action::Permit { chunk, estate: estate.id, player, rights: vec![Right::Build] };
        assert_eq!(world.act(1, permit), DONE);
        world.run(1_000);
        let build = Action::Build { kind: StructureKind::Hearth, place, turned: false };
        let wait = u64::from(world.chance(500)) * 100;
        let first = world.ask(1, Action::Revoke { chunk, estate: estate.id, player }).unwrap();
        world.run(wait);
        let then = world.ask(2, build).unwrap();
        assert_eq!(world.hear(1, first), DONE);
        match world.hear(2, then) {
            DONE => done += 1,
            end => {
                assert_eq!(end, no(RuleReject::Forbidden));
                late += 1;
            }
        }
        if done > 0 {
            break;
        }
    }
    println!("{done} were built before the revocation, {late} came after it");
    assert!(world.run_until(10_000, World::is_swept));
    assert_eq!(world.book.unfinished(), None);
}

#[test]
fn decisions_that_pile_up_are_forgotten_as_fast_as_they_come() {
    let mut world = World::new(10, 1);
    // Each in a cell of its own, so that one drop doesn't wait for another.
    let cell = |player: u64| TilePos {
        x: CORNER.x + 1 + 4 * (player as i32 % 4),
        y: CORNER.y + 1 + 4 * (player as i32 / 4 % 4),
    };
    for player in 1..=16 {
        world.settle(player, &[(ItemKind::Wood, 9)]);
        world.enter(player, 0);
        world.stand(player, cell(player));
    }
    world.run(500);
    world.net.store_ms = 150;
    let drop = Action::Drop { item: ItemKind::Wood, count: 1 };
    let acts: Vec<_> = (0..6)
        .flat_map(|_| 1..=16)
        .map(|player| (player, world.ask(player, drop.clone()).unwrap()))
        .collect();
    for (player, act) in acts {
        assert_eq!(world.hear(player, act), DONE);
    }
    assert!(world.run_until(4_000, World::is_swept), "sixteen every two seconds would take longer");
}

/// Two nodes; player 1 is on the first, player 2 on the second, and nobody hears of what others do.
fn untold() -> World {
    let mut world = World::new(9, 2);
    world.net = Net { told_lost: 1_000, ..world.net };
    for player in [1, 2] {
        world.settle(player, &[(ItemKind::Wood, 9), (ItemKind::Totem, 1)]);
        world.enter(player, player as usize - 1);
    }
    world.run(300);
    world
}

#[test]
fn what_nobody_told_of_is_found_by_comparing() {
    let mut world = untold();
    let bush = gather(&mut world, 1, ResourceKind::Bush);
    let at = home(first(ResourceKind::Bush).0);
    assert_eq!(world.act(1, bush), DONE);
    world.stand(1, CORNER);
    assert_eq!(world.act(1, Action::Give { to: PlayerId(2), item: ItemKind::Wood, count: 1 }), DONE);
    world.run(200);
    assert!(!world.is_same(1, at) && !world.is_same(1, bag_of(2)), "nobody told of it");
    world.run(COMPARED_WITHIN_MS);
    assert!(world.is_same(1, at) && world.is_same(1, bag_of(2)));
}

#[test]
fn a_gap_is_mended_as_soon_as_the_next_commit_shows_it() {
    let mut world = untold();
    let at = home(first(ResourceKind::Bush).0);
    // Just compared, so that no comparison comes in between.
    world.post(1, 0, Input::Unfollow(at));
    world.post(1, 10, Input::Follow(at));
    world.run(300);
    let bush = gather(&mut world, 1, ResourceKind::Bush);
    let sent = world.ask(1, bush).unwrap();
    assert!(world.run_until(2_000, |world| !world.book.lives.is_empty()));
    assert!(!world.is_same(1, at));
    world.net.told_lost = 0;
    assert_eq!(world.hear(1, sent), DONE);
    // The clearing is told; what came before it was not.
    world.run(3 * GAP_WAIT_MS);
    assert!(world.is_same(1, at));
    assert_eq!(world.node(1).executor.counters().gaps, 1);
}

#[test]
fn what_is_followed_again_counts_only_once_it_is_read_again() {
    let mut world = untold();
    let at = home(first(ResourceKind::Bush).0);
    world.post(1, 0, Input::Unfollow(at));
    world.run(200);
    let bush = gather(&mut world, 1, ResourceKind::Bush);
    assert_eq!(world.act(1, bush), DONE);
    assert!(world.node(1).executor.docs(at).is_some(), "it is known still, as it was");
    world.net.store_ms = 400;
    world.post(1, 0, Input::Follow(at));
    let mut waited = 0;
    while !world.node(1).executor.is_current(at) {
        world.tick();
        waited += 1;
    }
    assert!(waited > 1);
    assert!(world.is_same(1, at));
}

#[test]
fn a_permission_ends_on_a_node_that_hears_nothing_of_its_estate() {
    let mut world = untold();
    let (chunk, player) = (CHUNKS[0], PlayerId(2));
    let place = spot(StructureKind::Totem, chunk, 1);
    world.stand(1, place);
    assert_eq!(world.act(1, Action::ClaimEstate { place, chunks: CHUNKS[1..].to_vec() }), DONE);
    world.run(3_000);
    let Some(Doc::Estate(estate)) = world.book.get(home(chunk), DocName::Estate).cloned() else { panic!() };
    let rights = vec![Right::Build];
    let permit = world.ask(1, Action::Permit { chunk, estate: estate.id, player, rights }).unwrap();
    // The version spreads from the first node, slowly; the player has gone to the second, which follows none of it.
    let begun = |world: &World| world.book.deeds.contains_key(&(1, permit.0));
    assert!(world.run_until(2_000, begun));
    CHUNKS.into_iter().for_each(|chunk| world.post(1, 0, Input::Unfollow(home(chunk))));
    world.run(100);
    world.held = Some(0);
    world.enter(1, 1);
    world.run(2_000);
    assert_eq!(world.verdict(1, permit), None, "it has not spread");
    world.release();
    assert_eq!(world.hear(1, permit), DONE);
    assert_eq!(world.book.settled.get(&estate.id), Some(&2));
    assert_eq!(world.act(1, PLANK), DONE);
}
