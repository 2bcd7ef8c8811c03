//! The store is away, slow, gone, full, or not the one that it was.

use super::{DONE, PLANK, ask_and_hold, bag_of, cannot, gather, grows_in, life};
use crate::node::{BEGAN_MS, Input};
use crate::town::{CHUNKS, home};
use crate::world::World;
use chunk_sync::store::MemoryFault;
use chunk_sync::wire::RejectCode;
use world_node::executor::limits::COMPARED_WITHIN_MS;
use world_node::rules::items::ItemKind;
use world_node::rules::resources::ResourceKind;

fn one_player() -> World {
    let mut world = World::new(6, 2);
    world.settle(1, &[(ItemKind::Wood, 9)]);
    world.enter(1, 0);
    world.run(300);
    world
}

#[test]
fn away_is_said_at_once_and_heals() {
    for fault in [MemoryFault::Away, MemoryFault::RefusesCommits] {
        let mut world = one_player();
        // Also where the act's home would have to be read first.
        world.post(0, 0, Input::Unfollow(grows_in(ResourceKind::Tree)));
        world.run(15_000);
        let tree = gather(&mut world, 1, ResourceKind::Tree);
        world.set_fault(fault);
        let acts = [world.ask(1, PLANK).unwrap(), world.ask(1, tree.clone()).unwrap()];
        world.run(500);
        for act in acts {
            assert_eq!(world.verdict(1, act), Some(cannot(RejectCode::StoreAway)));
        }
        world.run(5_000);
        world.set_fault(MemoryFault::None);
        assert_eq!(world.act(1, PLANK), DONE);
        assert_eq!(world.act(1, tree), DONE);
        assert_eq!((world.count(1, ItemKind::Wood), world.count(1, ItemKind::Plank)), (10, 2));
    }
}

#[test]
fn slow_means_waiting_then_done() {
    let mut world = one_player();
    world.set_fault(MemoryFault::Slow { by_ms: 2_000 });
    let act = world.ask(1, PLANK).unwrap();
    assert_eq!(world.hear(1, act), DONE);
    assert!(world.client(1).acts[&act].waiting);
    world.set_fault(MemoryFault::None);
    let quick = world.ask(1, PLANK).unwrap();
    assert_eq!(world.hear(1, quick), DONE);
    assert!(!world.client(1).acts[&quick].waiting);
}

#[test]
fn what_is_under_way_outlives_ten_seconds_without_a_store() {
    let mut world = one_player();
    let action = gather(&mut world, 1, ResourceKind::Tree);
    let tree = world.ask(1, action).unwrap();
    assert!(world.run_until(5_000, |world| life(&world.book) == [1, 0, 0, 0]));
    // And one of which nobody knows whether it is done.
    let plank = ask_and_hold(&mut world, 1, PLANK);
    world.time_out_held();
    let until_ms = BEGAN_MS + world.now_ms + 10_000;
    world.set_fault(MemoryFault::Gone { until_ms });
    world.run(9_500);
    assert_eq!(world.verdict(1, plank), None, "nothing is said that isn't known");
    world.release();
    let end = world.hear(1, plank);
    assert!([DONE, cannot(RejectCode::StoreAway)].contains(&end), "{end:?}");
    assert_eq!(world.hear(1, tree), DONE);
    assert_eq!(world.count(1, ItemKind::Plank), if end == DONE { 2 } else { 0 });
    assert!(world.run_until(10_000, World::is_swept));
    assert_eq!(world.book.unfinished(), None);
    assert!(CHUNKS.into_iter().all(|chunk| world.is_same(0, home(chunk))));
}

#[test]
fn full_is_said_and_what_is_under_way_waits() {
    let mut world = one_player();
    let action = gather(&mut world, 1, ResourceKind::Tree);
    let tree = world.ask(1, action).unwrap();
    assert!(world.run_until(5_000, |world| life(&world.book) == [1, 0, 0, 0]));
    world.set_fault(MemoryFault::Full);
    world.run(1_000);
    // Also for a bag that a step on its way has yet to write.
    let plank = world.ask(1, PLANK).unwrap();
    world.run(500);
    assert_eq!(world.verdict(1, plank), Some(cannot(RejectCode::StoreFull)));
    world.run(5_000);
    assert_eq!(world.verdict(1, tree), None);
    world.set_fault(MemoryFault::None);
    assert_eq!(world.hear(1, tree), DONE);
    assert_eq!((world.count(1, ItemKind::Wood), world.count(1, ItemKind::Plank)), (11, 0));
}

#[test]
fn after_a_failover_everything_is_read_anew() {
    let mut world = one_player();
    assert_eq!(world.act(1, PLANK), DONE);
    world.run(6_000);
    // The replica hears nothing from here on, so that nothing is acknowledged.
    world.set_fault(MemoryFault::StaleReplica);
    let known = world.count(1, ItemKind::Plank);
    let acts = [world.ask(1, PLANK).unwrap(), world.ask(1, PLANK).unwrap()];
    world.run(4_000);
    assert!(world.count(1, ItemKind::Plank) > known, "the master did it");
    assert!(acts.iter().all(|act| world.verdict(1, *act).is_none()), "and nobody was told");
    world.fail_over();
    let done = acts.map(|act| world.hear(1, act)).into_iter().filter(|end| *end == DONE).count() as u32;
    assert_eq!(world.count(1, ItemKind::Plank), known + 2 * done);
    world.run(1_000);
    assert!(world.is_same(0, bag_of(1)));
    for chunk in CHUNKS {
        assert!((0..2).all(|node| world.is_same(node, home(chunk))));
    }
}

#[test]
fn what_was_known_of_a_lost_state_is_given_up() {
    let mut world = one_player();
    world.run(1_000);
    world.set_fault(MemoryFault::StaleReplica);
    let at = grows_in(ResourceKind::Tree);
    // A comparison finds a commit that the failover loses.
    world.save(0, at, "claims");
    world.run(COMPARED_WITHIN_MS);
    assert!(world.node(0).executor.docs(at).unwrap().contains_key("claims"));
    world.fail_over();
    world.run(300);
    assert!(!world.node(0).executor.docs(at).unwrap().contains_key("claims"));
    assert!(world.is_same(0, at));
}

#[test]
fn no_step_rests_on_one_that_a_failover_loses() {
    let stages = [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]];
    for (safe, lost) in stages.into_iter().zip(stages.into_iter().skip(1)) {
        let mut world = World::new(6, 3);
        world.settle(1, &[]);
        world.enter(1, 2);
        world.run(300);
        let action = gather(&mut world, 1, ResourceKind::Tree);
        if safe == [0; 4] {
            world.set_fault(MemoryFault::StaleReplica);
        }
        let act = world.ask(1, action).unwrap();
        assert!(world.run_until(5_000, |world| life(&world.book) == safe));
        world.set_fault(MemoryFault::StaleReplica);
        assert!(world.run_until(5_000, |world| life(&world.book) == lost));
        world.cut(2);
        // Another node sees what is not safe, and goes on from there as far as it dares.
        let id = *world.book.lives.keys().next().unwrap();
        let decided = (lost[1] == 1).then_some(bag_of(1));
        world.post(1, 0, Input::Finish(id, decided));
        world.run(4_000);
        world.fail_over();
        world.run(5_000);
        world.sweep(1);
        assert!(world.run_until(5_000, World::is_swept));
        assert_eq!(world.count(1, ItemKind::Wood), if safe == [0; 4] { 0 } else { 2 });
        world.enter(1, 1);
        if world.verdict(1, act).is_none() {
            world.hear(1, act);
        }
        assert!(world.run_until(5_000, World::is_swept));
        assert_eq!(world.book.unfinished(), None);
        assert_eq!(world.count(1, ItemKind::Wood), 2);
    }
}
