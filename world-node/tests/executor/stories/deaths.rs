//! A node dies in the middle of a transfer; another one, given what the indexes say, brings it to its end.

use super::{DONE, bag_of, gather, life};
use crate::town::{CHUNKS, home, spot};
use crate::world::World;
use chunk_sync::ids::PlayerId;
use world_node::executor::{INDEX_DECIDED, INDEX_PENDING, Verdict};
use world_node::rules::items::{ItemKind, Items};
use world_node::rules::resources::ResourceKind;
use world_node::rules::structures::StructureKind;
use world_node::rules::{Action, RuleReject};

/// A gathering whose node dies when its transfer is as far as `stage`.
fn dies_at(stage: [u32; 4]) -> World {
    let mut world = World::new(3, 2);
    world.settle(1, &[]);
    world.enter(1, 0);
    world.run(300);
    let action = gather(&mut world, 1, ResourceKind::Tree);
    world.ask(1, action);
    // Each step takes a tick and more.
    assert!(world.run_until(5_000, |world| life(&world.book) == stage), "{:?}", life(&world.book));
    world.cut(0);
    world.run(3_000);
    assert_eq!(life(&world.book), stage, "the dead do nothing");
    world
}

fn swept(world: &mut World) {
    world.sweep(1);
    assert!(world.run_until(5_000, World::is_swept), "{:?}", life(&world.book));
    assert_eq!(world.book.unfinished(), None);
    assert_eq!(world.count(1, ItemKind::Wood), 2);
    world.run(500);
    assert_eq!(world.node(1).executor.under_way(), (0, 0, 0));
}

#[test]
fn between_debit_and_decision() {
    let mut world = dies_at([1, 0, 0, 0]);
    assert_eq!((world.index(INDEX_PENDING).len(), world.index(INDEX_DECIDED).len()), (1, 0));
    assert_eq!(world.index(INDEX_PENDING)[0].1, bag_of(1));
    swept(&mut world);
}

#[test]
fn between_decision_and_clearing() {
    let mut world = dies_at([1, 1, 0, 0]);
    assert_eq!((world.index(INDEX_PENDING).len(), world.index(INDEX_DECIDED).len()), (1, 1));
    swept(&mut world);
}

#[test]
fn between_clearing_and_forgetting() {
    let mut world = dies_at([1, 1, 1, 0]);
    assert_eq!((world.index(INDEX_PENDING).len(), world.index(INDEX_DECIDED).len()), (0, 1));
    swept(&mut world);
}

#[test]
fn the_player_who_resumes_is_answered_and_the_transfer_goes_on() {
    for (stage, verdict) in [([1, 0, 0, 0], DONE), ([1, 1, 0, 0], DONE), ([1, 1, 1, 0], Verdict::Over)] {
        let mut world = dies_at(stage);
        let number = world.client(1).open().pop();
        world.enter(1, 1);
        if let Some(number) = number {
            assert_eq!(world.hear(1, number), verdict);
        }
        assert_eq!(world.count(1, ItemKind::Wood), 2);
        swept(&mut world);
    }
}

#[test]
fn a_hall_over_four_chunks_is_finished_or_given_back_whatever_node_dies() {
    let goods = [(ItemKind::Plank, 20), (ItemKind::Stone, 10)];
    for steps in 1..12 {
        let mut world = World::new(4, 2);
        world.settle(1, &goods);
        world.enter(1, 0);
        world.run(300);
        let place = spot(StructureKind::Hut, CHUNKS[0], 4);
        world.stand(1, place);
        world.settle(2, &[(ItemKind::Wood, 6), (ItemKind::Rope, 1)]);
        world.stand(2, place);
        world.enter(2, 0);
        world.run(300);
        let hut = world.ask(2, Action::Build { kind: StructureKind::Hut, place, turned: false });
        let commits = move |world: &World| world.book.tokens.len() >= steps;
        if !world.run_until(5_000, commits) {
            break;
        }
        world.cut(0);
        world.enter(2, 1);
        world.sweep(1);
        let verdict = world.hear(2, hut.unwrap());
        assert!([DONE, Verdict::Over].contains(&verdict), "{verdict:?}");
        // What steps leave behind is carried on by the node that finds it.
        for _ in 0..4 {
            world.sweep(1);
            world.run(1_500);
        }
        assert!(world.is_swept());
        assert_eq!(world.book.unfinished(), None);
        assert_eq!(world.count(2, ItemKind::Wood), 0);
        assert!(CHUNKS.into_iter().all(|chunk| world.is_same(1, home(chunk))));
    }
}

#[test]
fn two_finishers_and_a_full_bag_end_it_once() {
    let mut world = World::new(5, 3);
    let full = world_node::rules::limits::BAG_SLOTS as u32;
    world.settle(1, &[(ItemKind::Wood, 3)]);
    world.settle(2, &[(ItemKind::Pick, full)]);
    world.enter(1, 0);
    world.enter(2, 1);
    world.run(300);
    world.ask(1, Action::Give { to: PlayerId(2), item: ItemKind::Wood, count: 3 });
    assert!(world.run_until(5_000, |world| life(&world.book) == [1, 0, 0, 0]));
    world.cut(0);
    let number = world.client(1).open()[0];
    world.sweep(1);
    world.sweep(2);
    world.enter(1, 2);
    assert_eq!(world.hear(1, number), super::no(RuleReject::BagFull));
    assert!(world.run_until(10_000, World::is_swept));
    assert_eq!(world.book.unfinished(), None);
    assert_eq!(world.bag(1).items, Items::of(ItemKind::Wood, 3));
}
