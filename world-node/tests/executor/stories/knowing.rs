//! What one executor knows, driven by hand: readings that cross other things on their way, and acts that don't get in
//! each other's way.

use super::{DONE, PLANK, gather};
use crate::node::{Places, Side};
use crate::town::{CHUNKS, home};
use crate::world::World;
use bytes::Bytes;
use chunk_sync::store::{Cas, Document, PartitionView, StoreAnswer, StoreOp, Token};
use world_node::executor::{Ask, Executor};
use world_node::rules::Partition;
use world_node::rules::items::ItemKind;
use world_node::rules::resources::ResourceKind;

const HERE: Partition = home(CHUNKS[0]);

fn loaded(token: u64, name: &str) -> StoreAnswer {
    let document = Document { cas: Cas(token), value: Bytes::from_static(b"x") };
    let docs = [(name.into(), document)].into();
    StoreAnswer::Loaded(PartitionView { token: Token(token), docs, ..PartitionView::default() })
}

/// The only question that was asked since the last time: a whole reading.
fn asked(side: &mut Side) -> Ask {
    match &std::mem::take(&mut side.sent)[..] {
        [(ask, StoreOp::Load { .. })] => *ask,
        other => panic!("{other:?}"),
    }
}

fn names(executor: &Executor) -> Vec<String> {
    let docs = executor.docs(HERE).expect("it was read");
    docs.keys().map(|name| name.as_str().to_owned()).collect()
}

#[test]
fn a_reading_from_before_a_doubt_is_not_believed() {
    let (mut executor, mut side) = (Executor::default(), Side::new(1, Places::default()));
    executor.follow(HERE, &mut side);
    let before = asked(&mut side);
    executor.doubt(&mut side);
    let after = asked(&mut side);
    executor.answer(before, loaded(9, "lost"), &mut side);
    assert!(executor.docs(HERE).is_none() && !executor.is_current(HERE));
    executor.answer(after, loaded(5, "kept"), &mut side);
    assert!(executor.is_current(HERE));
    assert_eq!(names(&executor), ["kept"]);
}

#[test]
fn what_is_told_while_the_first_reading_is_on_its_way_is_not_missed() {
    let (mut executor, mut side) = (Executor::default(), Side::new(1, Places::default()));
    executor.follow(HERE, &mut side);
    let first = asked(&mut side);
    let write = |name: &str| vec![(name.into(), Some(Bytes::from_static(b"y")))];
    // One that the reading has seen, and one that it has not.
    executor.take(HERE, Token(3), Token(5), write("a"), &mut side);
    executor.take(HERE, Token(5), Token(7), write("b"), &mut side);
    executor.answer(first, loaded(5, "a"), &mut side);
    assert_eq!(names(&executor), ["a", "b"]);
}

#[test]
fn acts_on_the_same_documents_wait_for_each_other_on_one_node() {
    let mut world = World::new(10, 1);
    world.settle(1, &[(ItemKind::Wood, 9)]);
    world.enter(1, 0);
    world.run(500);
    let tree = gather(&mut world, 1, ResourceKind::Tree);
    let acts = [PLANK, tree.clone(), PLANK, tree, PLANK].map(|action| world.ask(1, action).unwrap());
    acts.into_iter().for_each(|act| assert_eq!(world.hear(1, act), DONE));
    world.run(5_000);
    assert_eq!(world.count(1, ItemKind::Plank), 6);
    assert_eq!(world.node(0).executor.counters().conflicts, 0);
}
