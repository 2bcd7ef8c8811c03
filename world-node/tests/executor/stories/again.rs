//! Acts that are asked for again: their answers were lost, or their sessions.

use super::{DONE, PLANK, ask_and_hold, gather, grows_in, no};
use crate::town::{CORNER, first, grown};
use crate::world::World;
use chunk_sync::limits::ACT_WAIT_MS;
use chunk_sync::place::ChunkPos;
use chunk_sync::store::{MemoryFault, StoreFault};
use world_node::executor::limits::ACT_AGAIN_MS_MAX;
use world_node::executor::{Port, Verdict};
use world_node::rules::documents::{Record, ResourceRecord};
use world_node::rules::items::ItemKind;
use world_node::rules::resources::{Growth, ResourceKind};
use world_node::rules::site::TilePos;
use world_node::rules::{Action, DocName, RuleReject};

fn one_player() -> World {
    let mut world = World::new(2, 2);
    world.settle(1, &[(ItemKind::Wood, 9)]);
    world.enter(1, 0);
    world.run(300);
    world
}

#[test]
fn an_act_whose_answer_is_lost_is_done_once_and_answered() {
    for fault in [StoreFault::TimedOut, StoreFault::Broken { text: "garbled".into() }] {
        let mut world = one_player();
        let act = ask_and_hold(&mut world, 1, PLANK);
        world.deaf = Some(fault);
        world.release();
        assert!(world.run_until(5_000, |world| !world.book.deeds.is_empty()));
        world.run(3_000);
        assert_eq!(world.verdict(1, act), None, "nobody knows yet");
        world.deaf = None;
        assert_eq!(world.hear(1, act), DONE);
        assert_eq!((world.count(1, ItemKind::Wood), world.count(1, ItemKind::Plank)), (8, 2));
    }
}

#[test]
fn nobody_waits_for_ever_for_a_store_that_is_broken() {
    let mut world = one_player();
    let act = ask_and_hold(&mut world, 1, PLANK);
    world.deaf = Some(StoreFault::Broken { text: "garbled".into() });
    world.release();
    assert_eq!(world.hear(1, act), Verdict::Over);
    assert!(world.now_ms > ACT_WAIT_MS);
    assert_eq!(world.node(0).executor.under_way(), (0, 0, 0));
}

#[test]
fn an_act_under_way_on_a_node_that_stands_still_is_done_once_elsewhere() {
    for late in [false, true] {
        let mut world = one_player();
        let action = gather(&mut world, 1, ResourceKind::Tree);
        let act = ask_and_hold(&mut world, 1, action);
        world.pause(0, 20_000);
        if !late {
            world.release();
            world.run(300);
        }
        world.enter(1, 1);
        assert_eq!(world.hear(1, act), DONE);
        world.release();
        world.run(30_000);
        assert_eq!(world.count(1, ItemKind::Wood), 11);
        assert_eq!(world.book.lives.len(), 1);
        assert_eq!(world.node(0).executor.under_way(), (0, 0, 0));
    }
}

#[test]
fn what_was_refused_elsewhere_is_never_done_later() {
    let mut world = one_player();
    let action = gather(&mut world, 1, ResourceKind::Tree);
    let act = ask_and_hold(&mut world, 1, action);
    world.pause(0, 3_000);
    // The player walks away, and comes in elsewhere.
    world.stand(1, CORNER);
    world.enter(1, 1);
    assert_eq!(world.hear(1, act), no(RuleReject::TooFar));
    world.release();
    world.run(10_000);
    assert_eq!(world.count(1, ItemKind::Wood), 9);
    assert!(world.book.lives.is_empty(), "nothing was taken");
}

#[test]
fn what_was_refused_is_not_done_by_a_copy_that_comes_late() {
    let mut world = one_player();
    let action = gather(&mut world, 1, ResourceKind::Tree);
    let act = ask_and_hold(&mut world, 1, action);
    world.time_out_held();
    // The second copy meets a change, and the rule says no.
    let at = grows_in(ResourceKind::Tree);
    let name = DocName::Resource(first(ResourceKind::Tree).1.tile);
    let empty = ResourceRecord { v: ResourceRecord::VERSION, left: 0, at: world.node(0).side.tick() };
    world.write(at, name, &empty.wrap());
    assert_eq!(world.hear(1, act), no(RuleReject::Exhausted));
    // The land is as it was: only the act's own memory stops the first copy.
    world.erase(at, name);
    world.release();
    world.run(3_000);
    assert!(world.book.lives.is_empty(), "a refused act took something");
}

#[test]
fn a_node_that_stood_still_is_fenced() {
    let mut world = one_player();
    let mine = gather(&mut world, 1, ResourceKind::Tree);
    world.pause(0, 5_000);
    world.ask(1, PLANK);
    world.ask(1, mine);
    world.run(300);
    // Another client of the same player, which knows nothing of that.
    world.client(1).acts.clear();
    world.enter(1, 1);
    let other = gather(&mut world, 1, ResourceKind::Tree);
    assert_eq!(world.act(1, other), DONE);
    world.run(10_000);
    assert_eq!(world.count(1, ItemKind::Plank), 0, "fenced by the session's epoch");
    assert_eq!(world.count(1, ItemKind::Wood), 11, "fenced by what the chunk has seen of the player");
    assert_eq!(world.node(0).executor.under_way(), (0, 0, 0));
    assert_eq!(world.book.deeds.len(), 1);
}

#[test]
fn a_session_that_comes_back_is_not_fenced_by_what_it_asked_before() {
    // The player's own partition knows the new epoch; once the store answers between two returns.
    for returns in 1..=2 {
        let mut world = one_player();
        let act = ask_and_hold(&mut world, 1, PLANK);
        world.enter(1, 0);
        world.run(300);
        world.set_fault(MemoryFault::Slow { by_ms: 1_000 });
        world.release();
        world.run(200);
        if returns == 2 {
            world.enter(1, 0);
        }
        assert_eq!(world.hear(1, act), DONE);
        assert_eq!(world.count(1, ItemKind::Plank), 2);
    }
    // A chunk knows it from another act.
    let mut world = one_player();
    let action = gather(&mut world, 1, ResourceKind::Tree);
    let act = ask_and_hold(&mut world, 1, action);
    world.held = None;
    world.enter(1, 0);
    let tree = first(ResourceKind::Tree);
    let other = |(chunk, growth): &(ChunkPos, Growth)| {
        *chunk == tree.0 && growth.kind == tree.1.kind && *growth != tree.1
    };
    let (chunk, growth) = grown().into_iter().find(other).unwrap();
    world.stand(1, TilePos::in_chunk(chunk, growth.tile));
    assert_eq!(world.act(1, Action::Gather { chunk, resource: growth.tile }), DONE);
    assert_eq!(world.verdict(1, act), None);
    world.release();
    assert_eq!(world.hear(1, act), DONE);
    assert_eq!(world.count(1, ItemKind::Wood), 13);
}

#[test]
fn what_was_resent_is_over_long_before_its_home_may_have_forgotten_it() {
    let mut world = one_player();
    let act = ask_and_hold(&mut world, 1, PLANK);
    world.cut(0);
    world.release();
    world.held = Some(1);
    world.enter(1, 1);
    assert!(world.run_until(5_000, World::is_holding), "memory is asked");
    world.run(ACT_AGAIN_MS_MAX + 1_000);
    // The store says now that it doesn't remember the act. By then that need not mean that it was never done.
    world.release();
    assert_eq!(world.hear(1, act), Verdict::Over);
    world.run(3_000);
    assert_eq!(world.count(1, ItemKind::Plank), 0);
    assert_eq!(world.act(1, PLANK), DONE);
}

/// A second client of a player knows nothing of what the first one waits for: what homes remember of it is given up.
#[test]
fn a_newer_client_of_the_player_ends_the_older_ones_session_and_gives_up_its_acts() {
    for unknown in [false, true] {
        let mut world = one_player();
        let act = ask_and_hold(&mut world, 1, PLANK);
        if unknown {
            // The node asks again, and that is held back too.
            world.time_out_held();
            world.held = Some(0);
            world.run(1_000);
        }
        let first = std::mem::take(&mut world.client(1).acts);
        world.enter(1, 1);
        assert_eq!(world.act(1, PLANK), DONE);
        world.release();
        let said = |world: &World| {
            world.unheard.iter().any(|(of, verdict)| *of == act && *verdict != Verdict::Waiting)
        };
        assert!(world.run_until(5_000, said));
        assert_eq!(world.unheard.last(), Some(&(act, Verdict::Fenced)), "unknown before: {unknown}");
        // The first client comes back, and nobody can tell it any more.
        world.client(1).acts.extend(first);
        world.enter(1, 0);
        assert_eq!(world.hear(1, act), Verdict::Over);
        world.run(3_000);
        assert_eq!(world.count(1, ItemKind::Plank), 2);
    }
}
