//! One story for each thing that can happen.

mod again;
mod calm;
mod crowds;
mod deaths;
mod faults;
mod knowing;
mod suspended;
mod unreadable;

use super::book::Book;
use super::town::{first, home};
use super::world::World;
use chunk_sync::ids::PlayerId;
use chunk_sync::wire::{ActNumber, RejectCode};
use world_node::executor::{Verdict, Why};
use world_node::rules::recipes::Recipe;
use world_node::rules::resources::ResourceKind;
use world_node::rules::site::TilePos;
use world_node::rules::{Action, Partition, RuleReject};

const DONE: Verdict = Verdict::Done(None);
const PLANK: Action = Action::Craft { recipe: Recipe::Plank };

const fn no(why: RuleReject) -> Verdict {
    Verdict::Refused(Why::Rule(why))
}

const fn cannot(code: RejectCode) -> Verdict {
    Verdict::Refused(Why::Host(code))
}

const fn bag_of(player: u64) -> Partition {
    Partition::Player(PlayerId(player))
}

/// The player goes to a resource of a kind; taking from it.
fn gather(world: &mut World, player: u64, kind: ResourceKind) -> Action {
    let (chunk, growth) = first(kind);
    world.stand(player, TilePos::in_chunk(chunk, growth.tile));
    Action::Gather { chunk, resource: growth.tile }
}

/// Where a resource grows.
fn grows_in(kind: ResourceKind) -> Partition {
    home(first(kind).0)
}

/// How far the only transfer of a story is.
fn life(book: &Book) -> [u32; 4] {
    book.lives.values().next().copied().unwrap_or_default()
}

/// Asks, and runs until the act is at the door of the store and held there.
fn ask_and_hold(world: &mut World, player: u64, action: Action) -> ActNumber {
    let node = world.client(player).session.expect("the player is in").node;
    world.run(500);
    world.held = Some(node);
    let number = world.ask(player, action).expect("the player is in");
    assert!(world.run_until(5_000, World::is_holding));
    number
}
