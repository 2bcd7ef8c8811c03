//! Documents of a newer build: refused, left as they are, nothing lost around them.

use super::{PLANK, bag_of, gather, grows_in, life, no};
use crate::world::World;
use chunk_sync::ids::PlayerId;
use chunk_sync::records::encode;
use serde::Serialize;
use world_node::executor::Verdict;
use world_node::rules::documents::{BagRecord, Doc};
use world_node::rules::items::ItemKind;
use world_node::rules::resources::ResourceKind;
use world_node::rules::{Action, DocName, RuleReject};

#[derive(Serialize)]
struct Newer {
    v: u16,
    all_new: u8,
}

fn newer() -> Vec<u8> {
    encode(&Newer { v: 99, all_new: 1 })
}

fn two_players() -> World {
    let mut world = World::new(7, 2);
    for player in [1, 2] {
        world.settle(player, &[(ItemKind::Wood, 5)]);
        world.enter(player, player as usize - 1);
    }
    world
}

#[test]
fn an_act_on_one_is_refused() {
    let mut world = two_players();
    world.write_bytes(bag_of(1), DocName::Bag, newer());
    world.run(300);
    let tree = gather(&mut world, 1, ResourceKind::Tree);
    assert_eq!(world.act(1, PLANK), no(RuleReject::Unread));
    assert_eq!(world.act(1, tree), no(RuleReject::Unread));
    assert_eq!(world.stored(bag_of(1))["bag"].value, newer());
    assert!(!world.stored(grows_in(ResourceKind::Tree)).keys().any(|name| name.as_str().starts_with("out/")));
    assert!(world.node(0).executor.counters().faults > 0);
}

#[test]
fn what_is_on_its_way_to_one_waits_for_a_build_that_reads_it() {
    let mut world = two_players();
    world.run(300);
    world.write_bytes(bag_of(2), DocName::Bag, newer());
    let gift = Action::Give { to: PlayerId(2), item: ItemKind::Wood, count: 5 };
    assert_eq!(world.act(1, gift), Verdict::Over);
    for _ in 0..3 {
        world.sweep(1);
        world.run(1_000);
    }
    assert_eq!(life(&world.book), [1, 0, 0, 0]);
    assert_eq!(world.stored(bag_of(2))["bag"].value, newer());
    world.write(bag_of(2), DocName::Bag, &Doc::Bag(BagRecord::default()));
    world.run(6_000);
    world.sweep(1);
    assert!(world.run_until(6_000, World::is_swept));
    assert_eq!(world.book.unfinished(), None);
    assert_eq!(world.count(2, ItemKind::Wood), 5);
}

#[test]
fn a_decision_is_kept_while_what_it_is_about_can_not_be_read() {
    let mut world = two_players();
    world.run(300);
    let action = gather(&mut world, 1, ResourceKind::Tree);
    world.ask(1, action);
    assert!(world.run_until(5_000, |world| life(&world.book) == [1, 1, 0, 0]));
    world.cut(0);
    let (id, at) = (*world.book.lives.keys().next().unwrap(), grows_in(ResourceKind::Tree));
    let pending = world.book.get(at, DocName::Out(id)).unwrap().clone();
    world.write_bytes(at, DocName::Out(id), newer());
    for _ in 0..3 {
        world.sweep(1);
        world.run(3_000);
    }
    assert_eq!(life(&world.book), [1, 1, 0, 0], "only the decision keeps it from being done twice");
    world.write(at, DocName::Out(id), &pending);
    world.run(6_000);
    world.sweep(1);
    assert!(world.run_until(6_000, World::is_swept));
    assert_eq!(world.count(1, ItemKind::Wood), 7);
}
