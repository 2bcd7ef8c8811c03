//! Who comes back comes back to the island where it was last; what the store says of that decides.

use crate::cluster::{Cluster, small};
use chunk_sync::ids::{Epoch, IslandId, PlayerId, Source};
use chunk_sync::records::{
    DOC_PLACE, DOC_PLACEMENT, DOC_SESSION, PLACE_SCHEMA, PlaceRecord, PlacementRecord, SessionRecord, encode,
};
use chunk_sync::store::{MemoryFault, PartitionKey};
use chunk_sync::time::Tick;
use chunk_sync::wire::RejectCode;
use population_allocator::core::Policy;

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

/// A player of this name who was last at a saved place on `island`.
fn saved(cluster: &mut Cluster, name: &str, island: IslandId, tick: u64) -> u64 {
    let player = cluster.seat(name).player;
    let place = PlaceRecord { v: PLACE_SCHEMA, island, x: 1, y: 2, heading: 0, tick: Tick(tick) };
    write(cluster, player, DOC_PLACE, encode(&place));
    player
}

fn travelled(cluster: &mut Cluster, player: u64, island: IslandId, tick: u64) {
    let placed = PlacementRecord { v: 1, island, place: None, tick: Tick(tick), epoch: Epoch(1) };
    write(cluster, player, DOC_PLACEMENT, encode(&placed));
}

#[test]
fn who_comes_back_is_seated_where_it_was_last_whatever_it_wishes() {
    let mut cluster = cluster();
    saved(&mut cluster, "a", TWO, 10);
    assert_eq!(cluster.seat("a").island, TWO.0, "not on the first island that has room");
    assert_eq!(cluster.answer("a", Some(ONE.0)).unwrap().island, TWO.0, "a wish is no journey");
    assert_eq!(cluster.seat("A").island, TWO.0, "names are the same in both cases");
}

#[test]
fn a_journey_leads_to_its_island_until_a_place_was_saved_there() {
    let mut cluster = cluster();
    let player = saved(&mut cluster, "a", ONE, 10);
    travelled(&mut cluster, player, TWO, 11);
    assert_eq!(cluster.seat("a").island, TWO.0);
    let place = PlaceRecord { v: PLACE_SCHEMA, island: ONE, x: 1, y: 2, heading: 0, tick: Tick(12) };
    write(&mut cluster, player, DOC_PLACE, encode(&place));
    assert_eq!(cluster.seat("a").island, ONE.0, "it came back since then");
    travelled(&mut cluster, player, TWO, 13);
    assert_eq!(cluster.seat("a").island, TWO.0, "nothing is remembered from one join to the next");
}

#[test]
fn who_entered_and_never_was_saved_is_on_the_island_of_its_session() {
    let mut cluster = cluster();
    let player = cluster.seat("a").player;
    let session = SessionRecord { source: Source(9), epoch: Epoch(1), island: TWO };
    write(&mut cluster, player, DOC_SESSION, encode(&session));
    assert_eq!(cluster.seat("a").island, TWO.0);
}

#[test]
fn a_home_that_is_no_more_or_full_is_told_from_one_with_room() {
    let mut cluster = cluster();
    saved(&mut cluster, "lost", THREE, 10);
    assert_eq!(cluster.answer("lost", Some(TWO.0)).unwrap().island, TWO.0, "its island isn't open");
    saved(&mut cluster, "late", TWO, 10);
    for n in 0..5 {
        let seat = cluster.answer(&format!("p{n}"), Some(TWO.0));
        assert!(seat.is_ok() || n == 4, "{n}: {seat:?}");
    }
    assert_eq!(cluster.answer("late", None), Err(RejectCode::Full), "at the cap its home has no room");
    assert_eq!(cluster.seat("p3").island, TWO.0, "who has a seat there needs no other");
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
