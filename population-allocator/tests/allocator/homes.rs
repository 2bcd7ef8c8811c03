//! Who comes back comes home, wherever the store says that is; who finds no room there is seated elsewhere as a guest.

use crate::cluster::{Cluster, first_node, small};
use chunk_sync::ids::{Epoch, IslandId, NodeId, PlayerId, Source};
use chunk_sync::records::{
    DOC_PLACE, DOC_PLACEMENT, DOC_SESSION, PLACE_SCHEMA, PLACEMENT_SCHEMA, PlaceRecord, PlacementRecord,
    SESSION_SCHEMA, SessionRecord, encode,
};
use chunk_sync::store::{MemoryFault, PartitionKey, StoreAnswer, StoreFault};
use chunk_sync::ticket::Ticket;
use chunk_sync::time::Tick;
use chunk_sync::wire::{RejectCode, Seat};
use population_allocator::limits::JOIN_TRIES_MAX;
use population_allocator::policy::Policy;

const ONE: IslandId = IslandId(1);
const TWO: IslandId = IslandId(2);
const THREE: IslandId = IslandId(3);

/// Two open islands with room.
fn cluster() -> Cluster {
    Cluster::serving(Policy { islands: 2, ..small() }, 1)
}

fn write(cluster: &mut Cluster, player: u64, doc: &str, value: Vec<u8>) {
    cluster.commit(PartitionKey::player(PlayerId(player)), |commit| commit.put(doc, value));
}

fn place(island: IslandId, tick: u64) -> PlaceRecord {
    PlaceRecord { v: PLACE_SCHEMA, island, x: 1, y: 2, heading: 0, tick: Tick(tick) }
}

fn session(island: IslandId, home: Option<IslandId>) -> SessionRecord {
    SessionRecord { v: SESSION_SCHEMA, source: Source(9), epoch: Epoch(1), island, home }
}

/// A player of this name who was last at a saved place on `island`.
fn saved(cluster: &mut Cluster, name: &str, island: IslandId, tick: u64) -> u64 {
    let player = cluster.seat(name).player;
    write(cluster, player, DOC_PLACE, encode(&place(island, tick)));
    player
}

fn travelled(cluster: &mut Cluster, player: u64, island: IslandId, tick: u64) {
    let placed =
        PlacementRecord { v: PLACEMENT_SCHEMA, island, place: None, tick: Tick(tick), epoch: Epoch(1) };
    write(cluster, player, DOC_PLACEMENT, encode(&placed));
}

/// The island, and whether the ticket is a guest's.
fn seated(cluster: &Cluster, seat: &Seat) -> (u32, bool) {
    let keys = std::slice::from_ref(&cluster.key);
    let node = NodeId(first_node(seat));
    let ticket = Ticket::check(&seat.ticket, keys, cluster.now_ms, node).expect("of now, for this node");
    assert_eq!(ticket.island.0, seat.island);
    (seat.island, ticket.guest)
}

fn seat(cluster: &mut Cluster, name: &str) -> (u32, bool) {
    let seat = cluster.seat(name);
    seated(cluster, &seat)
}

/// Five people fill an island to its cap.
fn fill(cluster: &mut Cluster, island: IslandId) -> Vec<u64> {
    let enter = |n| {
        let seat = cluster.answer(&format!("{island}-{n}"), Some(island.0)).expect("room");
        assert!(cluster.enter(&seat, 1));
        seat.player
    };
    (0..5).map(enter).collect()
}

/// Homes of people who hold no seat any more.
fn settlers(cluster: &mut Cluster, homes: &[(&str, IslandId)]) {
    for (name, island) in homes {
        saved(cluster, name, *island, 10);
    }
    // Their tickets, and the seats with them, expire.
    cluster.run(60_000);
}

#[test]
fn who_comes_back_is_seated_at_home_whatever_it_wishes() {
    let mut cluster = cluster();
    saved(&mut cluster, "a", TWO, 10);
    assert_eq!(seat(&mut cluster, "a"), (2, false), "not on the first island that has room");
    assert_eq!(cluster.answer("a", Some(ONE.0)).unwrap().island, TWO.0, "a wish is no journey");
    assert_eq!(cluster.seat("A").island, TWO.0, "names are the same in both cases");
}

#[test]
fn only_a_journey_leads_to_another_island() {
    let mut cluster = cluster();
    let player = saved(&mut cluster, "a", ONE, 10);
    travelled(&mut cluster, player, TWO, 11);
    assert_eq!(seat(&mut cluster, "a"), (2, false));
    // The session of before saved its place late: that was on its way when it travelled.
    write(&mut cluster, player, DOC_PLACE, encode(&place(ONE, 12)));
    assert_eq!(seat(&mut cluster, "a"), (2, false));
    travelled(&mut cluster, player, ONE, 13);
    assert_eq!(seat(&mut cluster, "a"), (1, false), "nothing is remembered from one join to the next");
}

#[test]
fn who_entered_and_never_was_saved_is_at_home_on_the_island_of_its_session() {
    let mut cluster = cluster();
    let player = cluster.seat("a").player;
    write(&mut cluster, player, DOC_SESSION, encode(&session(TWO, None)));
    assert_eq!(seat(&mut cluster, "a"), (2, false));
    write(&mut cluster, player, DOC_SESSION, encode(&session(ONE, Some(TWO))));
    assert_eq!(seat(&mut cluster, "a"), (2, false), "a visit moves no home");
}

#[test]
fn who_finds_its_home_full_is_a_guest_elsewhere_until_there_is_room() {
    let mut cluster = cluster();
    settlers(&mut cluster, &[("late", TWO)]);
    let there = fill(&mut cluster, TWO);
    let visit = cluster.answer("late", Some(TWO.0)).expect("a seat elsewhere");
    assert_eq!(seated(&cluster, &visit), (1, true));
    assert!(cluster.enter(&visit, 1));
    cluster.run(1_000);
    assert_eq!(seat(&mut cluster, "late"), (1, true), "it has a seat there, and its home is full still");
    assert_eq!(cluster.core.population(TWO), 5, "nobody is above the cap");
    cluster.leave(there[0]);
    cluster.run(1_000);
    assert_eq!(seat(&mut cluster, "late"), (2, false), "its home has room");
    assert_eq!(cluster.core.counters().guests, 2);
}

#[test]
fn a_home_that_is_not_open_makes_guests() {
    let mut cluster = cluster();
    settlers(&mut cluster, &[("lost", THREE)]);
    assert_eq!(seat(&mut cluster, "lost"), (1, true));
}

#[test]
fn a_traveller_to_a_full_island_gets_in_as_a_guest_and_there_later() {
    let mut cluster = cluster();
    settlers(&mut cluster, &[("a", ONE)]);
    let there = fill(&mut cluster, TWO);
    let player = cluster.play("a").player;
    cluster.run(1_000);
    travelled(&mut cluster, player, TWO, 11);
    cluster.leave(player);
    cluster.run(1_000);
    let waits = cluster.answer("a", Some(TWO.0)).expect("a seat");
    assert_eq!(seated(&cluster, &waits), (1, true));
    cluster.leave(there[0]);
    cluster.run(1_000);
    assert_eq!(seat(&mut cluster, "a"), (2, false));
}

#[test]
fn when_every_island_is_at_its_cap_a_homecomer_hears_so() {
    let mut cluster = cluster();
    settlers(&mut cluster, &[("late", TWO)]);
    fill(&mut cluster, TWO);
    fill(&mut cluster, ONE);
    assert_eq!(cluster.answer("late", None), Err(RejectCode::Full));
}

#[test]
fn who_comes_home_opens_no_land_as_long_as_there_is_room() {
    let islands = |cluster: &Cluster| cluster.core.plan_record().map_or(0, |plan| plan.islands.len());
    let policy = Policy { design: 30, cap: 60, islands: 1, islands_max: 2, ..small() };
    let mut cluster = Cluster::serving(policy, 1);
    settlers(&mut cluster, &[("a", ONE)]);
    cluster.run(20_000);
    assert_eq!((islands(&cluster), seat(&mut cluster, "a")), (1, (1, false)));
    cluster.run(2_000);
    assert_eq!(islands(&cluster), 1, "nobody else is on the way");
    (0..20).for_each(|n| drop(cluster.seat(&format!("newcomer{n}"))));
    cluster.run(2_000);
    assert_eq!(islands(&cluster), 2, "who never was here is the first of many");
}

#[test]
fn new_land_opens_for_those_whose_home_is_full() {
    let mut cluster =
        Cluster::serving(Policy { design: 5, cap: 5, minimum: 0, islands_max: 2, ..small() }, 1);
    settlers(&mut cluster, &[("a", ONE), ("b", ONE)]);
    let others: Vec<u32> = (0..4).map(|n| cluster.play(&format!("p{n}")).island).collect();
    assert_eq!(others, [1; 4]);
    assert_eq!([seat(&mut cluster, "a"), seat(&mut cluster, "b")], [(1, false), (2, true)]);
}

#[test]
fn a_store_that_does_not_tell_seats_nobody_it_might_misplace() {
    let mut cluster = cluster();
    saved(&mut cluster, "a", TWO, 10);
    cluster.store.set_fault(MemoryFault::Away);
    assert_eq!(cluster.answer("a", None), Err(RejectCode::StoreAway));
    cluster.store.set_fault(MemoryFault::None);
    assert_eq!(cluster.seat("a").island, TWO.0);
}

#[test]
fn a_question_without_an_answer_is_put_again_a_few_times() {
    let mut cluster = cluster();
    saved(&mut cluster, "a", TWO, 10);
    for lost in 1..=JOIN_TRIES_MAX {
        let now_ms = cluster.now_ms;
        let request = cluster.ask_for("a");
        // Each time that the store is asked, the answer is lost; after the last time it isn't.
        for _ in 0..lost {
            let id = cluster.asked().expect("the store is asked");
            cluster.core.handle_answer(id, StoreAnswer::Failed(StoreFault::TimedOut), now_ms);
        }
        cluster.carry();
        let answer = cluster.answers.remove(&request).expect("an answer at once");
        if lost < JOIN_TRIES_MAX {
            assert_eq!(answer.expect("a seat").island, TWO.0, "{lost} answers were lost");
        } else {
            assert_eq!(answer, Err(RejectCode::StoreAway));
        }
    }
}

#[test]
fn what_a_newer_build_wrote_makes_nobody_a_newcomer() {
    let newer = [
        (DOC_PLACE, encode(&PlaceRecord { v: 99, ..place(TWO, 1) })),
        (DOC_SESSION, encode(&SessionRecord { v: 99, ..session(TWO, None) })),
        (DOC_PLACEMENT, vec![0xc1]),
    ];
    for (doc, value) in newer {
        let mut cluster = cluster();
        let player = cluster.seat("a").player;
        write(&mut cluster, player, doc, value);
        assert_eq!(cluster.answer("a", None), Err(RejectCode::Busy), "{doc}");
        assert_eq!(cluster.core.counters().records_malformed, 1);
    }
}
