//! Everything a player can do, on a store that works.

use crate::town::first;
use crate::world::World;
use world_node::executor::Verdict;
use world_node::rules::Action;
use world_node::rules::items::ItemKind;
use world_node::rules::resources::ResourceKind;
use world_node::rules::site::TilePos;

const DONE: Verdict = Verdict::Done(None);

#[test]
fn what_is_gathered_is_in_the_bag() {
    let mut world = World::new(1, 2);
    world.settle(1, &[]);
    world.enter(1, 0);
    let (chunk, tree) = first(ResourceKind::Tree);
    world.stand(1, TilePos::in_chunk(chunk, tree.tile));
    assert_eq!(world.act(1, Action::Gather { chunk, resource: tree.tile }), DONE);
    assert_eq!(world.count(1, ItemKind::Wood), 2);
}
