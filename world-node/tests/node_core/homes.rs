//! Where players are at home: a journey counts whatever was saved around it, a visit moves nothing, and what can't be
//! read is left alone.

use crate::acts::{DONE, answer, ask, ask_on, endow, is_act, refused, spot};
use crate::code;
use crate::town::{ISLAND, Town};
use chunk_sync::ids::{Epoch, IslandId, Source};
use chunk_sync::limits::TICK_MS;
use chunk_sync::place::Place;
use chunk_sync::records::{
    DOC_PLACE, DOC_PLACEMENT, DOC_SESSION, IslandPhase, PLACEMENT_SCHEMA, PlaceRecord, PlacementRecord,
    SessionRecord, decode, encode,
};
use chunk_sync::store::StoreOp;
use chunk_sync::terrain::LANDING;
use chunk_sync::time::Tick;
use chunk_sync::wire::{RejectCode, frame, kind};
use world_node::limits::CHECKPOINT_EVERY_MS;
use world_node::rules::{Action, RuleReject};

const OTHER: IslandId = IslandId(2);
const THIRD: IslandId = IslandId(3);
const STEP: i32 = 60;
const TRAVEL: Action = Action::Travel { island: OTHER };

/// A town of one node with three islands.
fn town() -> Town {
    let mut town = Town::new(1);
    town.plan(&[ISLAND, OTHER, THIRD], 1);
    town.run(20);
    town
}

/// Player 1 gets in on `island` with a new connection, and only there.
fn assert_at_home_on(town: &mut Town, island: IslandId) {
    for (conn, door) in [(91, ISLAND), (92, OTHER), (93, THIRD)] {
        if door != island {
            town.enter_on(0, conn, 1, door);
            town.run(3);
            assert_eq!(code(town, 0, conn), Some(RejectCode::Travelled), "at the door of {door}");
        }
    }
    town.enter_on(0, 99, 1, island);
    town.run(5);
    assert_eq!(town.seen(0, 99).welcome.as_ref().map(|welcome| welcome.island), Some(island.0));
}

fn saved(town: &mut Town) -> Option<PlaceRecord> {
    decode(town.partition(1).doc(DOC_PLACE)?)
}

#[test]
fn a_checkpoint_around_a_journey_undoes_nothing() {
    let due = (CHECKPOINT_EVERY_MS / TICK_MS) as u32;
    let mut same = 0;
    for ticks in due - 3..due + 8 {
        let mut town = town();
        endow(&mut town, 1, spot(), &[]);
        town.enter_for_docs(0, 1, 1);
        town.run(3);
        // It walks, so that a checkpoint falls due.
        let place = town.place(0, 1);
        town.walk(0, 1, 1, Place { y: place.y + STEP, ..place });
        town.run(ticks - 3);
        let travelled = ask(&mut town, (0, 1), 1, 1, &TRAVEL);
        town.run(4);
        assert_eq!(answer(&town, (0, 1), travelled), DONE);
        let placed: PlacementRecord =
            decode(town.partition(1).doc(DOC_PLACEMENT).expect("it travelled")).expect("readable");
        same += u32::from(saved(&mut town).is_some_and(|place| place.tick >= placed.tick));
        assert_at_home_on(&mut town, OTHER);
    }
    assert!(same > 0, "no checkpoint fell on the tick of a journey: nothing was tested");
}

#[test]
fn who_leaves_while_its_journey_is_under_way_has_travelled() {
    let mut town = town();
    endow(&mut town, 1, spot(), &[]);
    town.enter_for_docs(0, 1, 1);
    town.run(5);
    town.slow = Some(is_act);
    ask(&mut town, (0, 1), 1, 1, &TRAVEL);
    town.run(20);
    assert!(town.waits());
    // Its place on the old island is saved long after the journey was decided, and before it is done.
    town.send(0, 1, &frame(kind::BYE, b""));
    town.run(5);
    town.catch_up();
    town.run(5);
    assert!(saved(&mut town).is_some_and(|place| place.island == ISLAND && place.tick > Tick(1)));
    assert_at_home_on(&mut town, OTHER);
}

#[test]
fn a_journey_asked_for_again_where_it_led_is_done_and_nobody_is_thrown_out() {
    let mut town = town();
    endow(&mut town, 1, spot(), &[]);
    town.enter_for_docs(0, 1, 1);
    town.run(5);
    town.slow = Some(is_act);
    ask(&mut town, (0, 1), 1, 1, &TRAVEL);
    town.run(2);
    town.send(0, 1, &frame(kind::BYE, b""));
    town.catch_up();
    town.run(5);
    town.enter_on(0, 2, 1, OTHER);
    town.run(5);
    let again = ask(&mut town, (0, 2), 1, 1, &TRAVEL);
    town.run(10);
    assert_eq!(answer(&town, (0, 2), again), DONE);
    assert_eq!((code(&town, 0, 2), town.seen(0, 2).closed), (None, false));
    assert_eq!(town.nodes[0].core.sessions(), 1);
}

/// Whether an operation is the commit that takes a session.
fn takes_session(op: &StoreOp) -> bool {
    let StoreOp::Commit(commit) = op else { return false };
    commit.writes.iter().any(|write| write.doc.as_str() == DOC_SESSION)
}

#[test]
fn a_journey_made_between_reading_a_player_and_taking_its_session_is_not_missed() {
    let mut town = town();
    endow(&mut town, 1, spot(), &[]);
    town.slow = Some(takes_session);
    town.enter_for_docs(0, 1, 1);
    town.run(3);
    assert!(town.waits());
    let (island, tick) = (OTHER, Tick(town.now_ms / TICK_MS));
    let placed = PlacementRecord { v: PLACEMENT_SCHEMA, island, place: None, tick, epoch: Epoch(1) };
    town.put(1, DOC_PLACEMENT, encode(&placed));
    town.catch_up();
    town.run(5);
    assert_eq!(code(&town, 0, 1), Some(RejectCode::Travelled));
    assert!(town.seen(0, 1).welcome.is_none());
}

#[test]
fn a_guest_looks_around_and_comes_home_to_where_it_was() {
    let mut town = town();
    endow(&mut town, 1, spot(), &[]);
    let before = saved(&mut town);
    town.visit(0, 1, 1, OTHER);
    town.run(5);
    let place = town.place(0, 1);
    assert_eq!((town.seen(0, 1).welcome.as_ref().map(|w| w.island), place.chunk()), (Some(OTHER.0), LANDING));
    // It walks about for longer than places go unsaved, and leaves.
    for sequence in 1..=(CHECKPOINT_EVERY_MS / TICK_MS) as u16 + 20 {
        let y = place.y + STEP * i32::from(sequence % 2);
        town.walk(0, 1, sequence, Place { y, ..place });
        town.run(1);
    }
    town.send(0, 1, &frame(kind::BYE, b""));
    town.run(5);
    assert_eq!(saved(&mut town), before);
    assert_eq!(town.nodes[0].core.counters().checkpoints, 0);
    assert_at_home_on(&mut town, ISLAND);
    assert_eq!(town.place(0, 99), spot());
}

#[test]
fn a_visit_moves_no_home_even_of_who_was_never_saved() {
    let mut town = town();
    let record = SessionRecord { v: 1, source: Source(9), epoch: Epoch(1), island: ISLAND, home: None };
    town.put(1, DOC_SESSION, encode(&record));
    for conn in [1, 2] {
        town.visit(0, conn, 1, OTHER);
        town.run(5);
        assert!(town.seen(0, conn).welcome.is_some());
        town.send(0, conn, &frame(kind::BYE, b""));
        town.run(2);
    }
    assert_at_home_on(&mut town, ISLAND);
}

#[test]
fn a_guests_ticket_home_is_that_of_who_lives_there() {
    let mut town = town();
    endow(&mut town, 1, spot(), &[]);
    town.visit(0, 1, 1, ISLAND);
    town.run(5);
    assert_eq!(town.place(0, 1), spot());
    let place = town.place(0, 1);
    town.walk(0, 1, 1, Place { y: place.y + STEP, ..place });
    town.run(2);
    town.send(0, 1, &frame(kind::BYE, b""));
    town.run(2);
    assert_eq!(saved(&mut town).map(|place| place.y), Some(place.y + STEP));
}

#[test]
fn a_guest_may_travel_and_the_journey_moves_its_home() {
    let mut town = town();
    endow(&mut town, 1, spot(), &[]);
    town.visit(0, 1, 1, OTHER);
    town.run(5);
    let travelled = ask_on(&mut town, (0, 1), (1, OTHER), 1, &Action::Travel { island: THIRD });
    town.run(5);
    assert_eq!(answer(&town, (0, 1), travelled), DONE);
    assert_eq!(code(&town, 0, 1), Some(RejectCode::Travelled));
    assert_at_home_on(&mut town, THIRD);
}

#[test]
fn a_journey_leads_to_islands_that_take_newcomers_and_home() {
    use IslandPhase::{Closed, Open, Warming};
    let mut town = town();
    endow(&mut town, 1, spot(), &[]);
    town.visit(0, 1, 1, OTHER);
    town.run(5);
    let travels = |town: &mut Town, act, island| {
        let asked = ask_on(town, (0, 1), (1, OTHER), act, &Action::Travel { island });
        town.run(5);
        answer(town, (0, 1), asked)
    };
    town.plan_phases(&[(ISLAND, Warming), (OTHER, Open), (THIRD, Warming)], 1);
    town.run(20);
    assert_eq!(travels(&mut town, 1, THIRD), refused(RuleReject::NoJourney), "nobody is there yet");
    town.plan_phases(&[(ISLAND, Closed), (OTHER, Open), (THIRD, Closed)], 1);
    town.run(20);
    assert_eq!(travels(&mut town, 2, THIRD), refused(RuleReject::NoJourney), "it takes no newcomers");
    assert_eq!(travels(&mut town, 3, ISLAND), DONE, "it is home");
}

#[test]
fn a_guest_that_goes_home_stands_where_it_was_there() {
    let mut town = town();
    endow(&mut town, 1, spot(), &[]);
    town.visit(0, 1, 1, OTHER);
    town.run(5);
    let home = ask_on(&mut town, (0, 1), (1, OTHER), 1, &Action::Travel { island: ISLAND });
    town.run(5);
    assert_eq!(answer(&town, (0, 1), home), DONE);
    assert_eq!(code(&town, 0, 1), Some(RejectCode::Travelled), "it is on its way");
    assert_at_home_on(&mut town, ISLAND);
    assert_eq!(town.place(0, 99), spot());
}

#[test]
fn a_guest_may_settle_where_it_is() {
    let mut town = town();
    endow(&mut town, 1, spot(), &[]);
    town.visit(0, 1, 1, OTHER);
    town.run(5);
    let place = town.place(0, 1);
    let here = ask_on(&mut town, (0, 1), (1, OTHER), 1, &Action::Travel { island: OTHER });
    town.run(5);
    assert_eq!(answer(&town, (0, 1), here), DONE);
    assert_at_home_on(&mut town, OTHER);
    assert_eq!(town.place(0, 99), place);
}

#[test]
fn what_a_newer_build_wrote_is_refused_and_stays_as_it_is() {
    let newer = [
        (DOC_PLACE, encode(&PlaceRecord { v: 99, island: ISLAND, x: 1, y: 2, heading: 0, tick: Tick(1) })),
        (
            DOC_PLACEMENT,
            encode(&PlacementRecord { v: 99, island: OTHER, place: None, tick: Tick(1), epoch: Epoch(1) }),
        ),
        (
            DOC_SESSION,
            encode(&SessionRecord { v: 99, source: Source(9), epoch: Epoch(1), island: ISLAND, home: None }),
        ),
        (DOC_PLACE, vec![0xc1]),
    ];
    for (doc, bytes) in newer {
        let mut town = town();
        endow(&mut town, 1, spot(), &[]);
        town.put(1, doc, bytes.clone());
        let before = town.partition(1);
        town.enter(0, 1, 1);
        town.visit(0, 2, 1, OTHER);
        town.run(5);
        // Another node may be newer.
        assert_eq!([1, 2].map(|conn| code(&town, 0, conn)), [Some(RejectCode::Busy); 2], "{doc}");
        let after = town.partition(1);
        assert_eq!(
            (after.doc(doc).map(|doc| &doc[..]), after.token),
            (Some(&bytes[..]), before.token),
            "{doc}"
        );
    }
}
