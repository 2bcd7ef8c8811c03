//! Players come back to where they were: what is saved, when, and by whom.

use crate::code;
use crate::town::{ISLAND, Town, player};
use chunk_sync::ids::{Epoch, IslandId};
use chunk_sync::limits::TICK_MS;
use chunk_sync::place::Place;
use chunk_sync::records::{DOC_PLACE, EPOCH_SESSION, PLACE_SCHEMA, PlaceRecord, decode, encode};
use chunk_sync::store::{Commit, EpochStep, MemoryFault, PartitionKey, StoreAnswer, StoreOp, Token};
use chunk_sync::time::Tick;
use chunk_sync::wire::{RejectCode, frame, kind};
use world_node::limits::CHECKPOINT_EVERY_MS;

const STEP: i32 = 60;
/// Ticks in which a checkpoint that is due is made for certain.
const SAVED_TICKS: u32 = (CHECKPOINT_EVERY_MS / TICK_MS) as u32 + 10;

fn saved(town: &mut Town, n: u64) -> Option<Place> {
    let now_ms = town.now_ms;
    let op = StoreOp::Load { partition: PartitionKey::player(player(n)) };
    let StoreAnswer::Loaded(view) = town.store.call(now_ms, &op) else { return None };
    let record: PlaceRecord = decode(view.doc(DOC_PLACE)?)?;
    Some(Place { x: record.x, y: record.y })
}

/// Walks north for some ticks; returns where that led.
fn walk_north(town: &mut Town, at: usize, conn: u32, ticks: u16) -> Place {
    let mut place = town.place(at, conn);
    for sequence in 1..=ticks {
        place.y += STEP;
        town.walk(at, conn, sequence, place);
        town.run(1);
    }
    assert_eq!(town.seen(at, conn).correction, None);
    place
}

#[test]
fn a_player_that_leaves_comes_back_to_the_spot_on_whichever_node() {
    let mut town = Town::new(2);
    town.enter(0, 1, 1);
    town.run(5);
    let spot = walk_north(&mut town, 0, 1, 7);
    town.send(0, 1, &frame(kind::BYE, b""));
    town.run(2);
    town.enter(1, 2, 1);
    town.run(5);
    assert_eq!(town.place(1, 2), spot);
    let shown = town.nodes[1].core.owned().find(|(_, _, entity, ..)| *entity == player(1).into());
    let (.., pose) = shown.expect("inside");
    assert_eq!(pose.heading(), 9, "it looks where it looked");
}

#[test]
fn a_player_whose_node_died_comes_back_to_the_last_checkpoint() {
    let mut town = Town::new(2);
    town.enter(0, 1, 1);
    town.run(5);
    let spot = walk_north(&mut town, 0, 1, 7);
    town.run(SAVED_TICKS);
    assert_eq!(saved(&mut town, 1), Some(spot));
    // Nobody who stands still is saved again and again.
    let checkpoints = town.nodes[0].core.counters().checkpoints;
    for _ in 0..3 {
        town.send(0, 1, &frame(kind::PING, b""));
        town.run(SAVED_TICKS);
    }
    assert_eq!(town.nodes[0].core.counters().checkpoints, checkpoints);
    drop(town.nodes.remove(0));
    town.enter(0, 2, 1);
    town.run(5);
    assert_eq!(town.place(0, 2), spot);
}

#[test]
fn who_lost_the_session_writes_nothing_and_ends() {
    let mut town = Town::new(1);
    town.enter(0, 1, 1);
    town.run(5);
    // Another node takes the session and saves a place; nobody tells this one.
    let elsewhere = PlaceRecord { v: PLACE_SCHEMA, island: ISLAND, x: 5, y: 6, heading: 0, tick: Tick(1) };
    let commit = Commit::new(PartitionKey::player(player(1)), Token(77))
        .put(DOC_PLACE, encode(&elsewhere))
        .epoch(EpochStep::Raise { name: EPOCH_SESSION.into(), to: u64::from(Epoch(2).0) });
    let now_ms = town.now_ms;
    town.store.call(now_ms, &StoreOp::Commit(commit));
    walk_north(&mut town, 0, 1, 7);
    town.run(SAVED_TICKS);
    assert_eq!(saved(&mut town, 1), Some(Place { x: 5, y: 6 }));
    assert_eq!(code(&town, 0, 1), Some(RejectCode::Replaced));
}

#[test]
fn a_checkpoint_that_failed_is_made_again() {
    let mut town = Town::new(1);
    town.enter(0, 1, 1);
    town.run(5);
    let spot = walk_north(&mut town, 0, 1, 7);
    town.store.set_fault(MemoryFault::Away);
    for _ in 0..3 {
        town.send(0, 1, &frame(kind::PING, b""));
        town.run(SAVED_TICKS);
    }
    town.store.set_fault(MemoryFault::None);
    assert_eq!(saved(&mut town, 1), None);
    town.send(0, 1, &frame(kind::PING, b""));
    town.run(SAVED_TICKS);
    assert_eq!(saved(&mut town, 1), Some(spot));
    assert_eq!(town.nodes[0].core.sessions(), 1);
}

#[test]
fn who_enters_again_before_the_older_session_has_left_stands_where_that_one_is() {
    for other_node in [false, true] {
        let mut town = Town::new(2);
        town.enter(0, 1, 1);
        town.enter(1, 9, 9);
        town.run(5);
        let spot = walk_north(&mut town, 0, 1, 7);
        town.run(2);
        assert_eq!(saved(&mut town, 1), None, "the checkpoint isn't due yet");
        let at = usize::from(other_node);
        town.enter(at, 2, 1);
        town.run(5);
        assert_eq!((town.place(at, 2), code(&town, 0, 1)), (spot, Some(RejectCode::Replaced)));
    }
}

#[test]
fn a_ghost_that_is_followed_no_longer_says_nothing_about_where_its_player_is() {
    let mut town = Town::new(2);
    town.enter(0, 1, 1);
    town.enter(1, 9, 9);
    town.run(5);
    // The other node stops hearing of it, the player walks on, and leaves.
    town.deaf = Some(1);
    let spot = walk_north(&mut town, 0, 1, 60);
    town.send(0, 1, &frame(kind::BYE, b""));
    town.run(2);
    assert_eq!(saved(&mut town, 1), Some(spot));
    town.send(1, 9, &frame(kind::PING, b""));
    town.enter(1, 2, 1);
    town.run(5);
    assert_eq!(town.place(1, 2), spot);
}

#[test]
fn who_comes_in_where_the_store_does_not_have_it_is_saved_there() {
    let mut town = Town::new(1);
    town.enter(0, 1, 1);
    town.run(5);
    let place = town.place(0, 1);
    town.run(SAVED_TICKS);
    assert_eq!(saved(&mut town, 1), Some(place), "a newcomer that never walks");
}

#[test]
fn a_place_in_water_or_on_another_island_is_the_landing() {
    let mut town = Town::new(1);
    for (n, island, x) in [(1, ISLAND, 5), (2, IslandId(9), 34_900), (3, ISLAND, -70_000)] {
        let record = PlaceRecord { v: PLACE_SCHEMA, island, x, y: 34_700, heading: 0, tick: Tick(1) };
        let partition = PartitionKey::player(player(n));
        let commit = Commit::new(partition, Token(70 + n)).put(DOC_PLACE, encode(&record));
        let now_ms = town.now_ms;
        town.store.call(now_ms, &StoreOp::Commit(commit));
        // The second one's home isn't open: the allocator gives it a guest's ticket.
        if n == 2 {
            town.visit(0, 2, n, ISLAND)
        } else {
            town.enter(0, n as u32, n)
        }
        town.run(5);
        let place = town.place(0, n as u32);
        assert_eq!(place.chunk(), chunk_sync::terrain::LANDING, "{n}");
    }
}
