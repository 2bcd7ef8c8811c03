//! Acts that are sent again after the player came to another island: their home is where they were asked first.

use super::audit::wrong;
use super::store::Outcome;
use super::town::{CORNER, ISLAND, Town};
use super::workers::{Doer, Step, finish_all};
use chunk_sync::ids::{Epoch, IslandId, PlayerId};
use world_node::rules::items::{ItemKind, Items};
use world_node::rules::resources::ResourceKind;
use world_node::rules::site::TilePos;
use world_node::rules::structures::StructureKind;
use world_node::rules::{Action, Actor, Partition, ReadSet, RuleReject, View, decide, home, reads};

const ME: PlayerId = PlayerId(1);
const AWAY: IslandId = IslandId(2);

fn run(town: &mut Town, actor: Actor, action: Action) -> Doer {
    let mut doer = Doer::new(actor, action);
    while doer.step(town) == Step::More {}
    doer
}

/// The same act as a newer session brings it: the node says anew where the player is, the act's name stays.
fn resent(actor: Actor, island: IslandId) -> Actor {
    Actor { epoch: Epoch(actor.epoch.0 + 1), island, home: island, ..actor }
}

/// Somebody at a bush who gathers.
fn gatherer() -> (Town, Actor, Action) {
    let mut town = Town::new(1);
    let (chunk, bush) = town.grown(|growth| growth.kind == ResourceKind::Bush)[0];
    town.stand(1, TilePos::in_chunk(chunk, bush.tile));
    let actor = town.actor(ME);
    (town, actor, Action::Gather { chunk, resource: bush.tile })
}

#[test]
fn an_act_that_was_done_before_a_journey_is_remembered_after_it() {
    let (mut town, gather, bush) = gatherer();
    assert_eq!(run(&mut town, gather, bush.clone()).done, Some(Outcome::Done));
    let journey = town.actor(ME);
    assert_eq!(run(&mut town, journey, Action::Travel { island: AWAY }).done, Some(Outcome::Done));
    // The node dies with both answers unsent; the client resumes where the journey took it and sends both again.
    town.islands.insert(ME, AWAY);
    let again = run(&mut town, resent(gather, AWAY), bush);
    assert_eq!((again.done, again.refused), (Some(Outcome::Repeated), None), "gathering");
    let again = run(&mut town, resent(journey, AWAY), Action::Travel { island: AWAY });
    assert_eq!((again.done, again.refused), (Some(Outcome::Repeated), None), "the journey");
    finish_all(&mut town);
    assert_eq!(town.count(1, ItemKind::Berry), 1);
    assert_eq!(wrong(&town.store), None);
}

#[test]
fn an_act_that_was_not_done_before_a_journey_is_refused_after_it() {
    let (mut town, gather, bush) = gatherer();
    town.endow(ME, &Items::of(ItemKind::Wood, 40));
    let build = Action::Build { kind: StructureKind::Fence, place: CORNER, turned: false };
    let drop = Action::Drop { item: ItemKind::Wood, count: 1 };
    town.islands.insert(ME, AWAY);
    for action in [bush, build, drop, Action::Travel { island: ISLAND }] {
        let late = run(&mut town, resent(gather, AWAY), action);
        assert_eq!((late.done, late.refused), (None, Some(RuleReject::OtherIsland)), "{:?}", late.action);
    }
    // Asked anew, it is an act of this island.
    let anew = town.actor(ME);
    assert_eq!(
        run(&mut town, anew, Action::Drop { item: ItemKind::Wood, count: 1 }).done,
        Some(Outcome::Done)
    );
    finish_all(&mut town);
    assert_eq!(town.count(1, ItemKind::Wood), 39);
    assert_eq!(wrong(&town.store), None);
}

#[test]
fn a_home_does_not_move_with_the_actor() {
    let (_, here, bush) = gatherer();
    let Action::Gather { chunk, .. } = bush else { panic!("{bush:?}") };
    assert_eq!(home(here.act, &bush), Partition::Chunk(ISLAND, chunk));
    let there = resent(here, AWAY);
    assert_eq!(home(there.act, &bush), home(here.act, &bush));
    assert_eq!(reads(&there, &bush), ReadSet::default(), "nothing needs to be loaded to refuse it");
    assert_eq!(decide(&there, &bush, &View::default()), Err(RuleReject::OtherIsland));
    let stranger = Actor { player: PlayerId(2), ..here };
    assert_eq!(decide(&stranger, &bush, &View::default()), Err(RuleReject::NotYours));
}
