//! Creatures: whose they are, where they may be, and that nobody sees one vanish while it changes hands.

use crate::town::{ISLAND, Town};
use chunk_sync::ids::EntityId;
use chunk_sync::limits::{CREATURES_PER_CHUNK, NODE_LEASE_MS, PAUSE_MS_MAX, TICK_MS};
use chunk_sync::terrain::Terrain;
use chunk_sync::wire::{frame, kind};
use std::collections::BTreeSet;

fn creatures_seen(town: &Town, at: usize, conn: u32) -> BTreeSet<EntityId> {
    let replica = town.seen(at, conn).replica.as_ref().expect("inside");
    replica.entities().map(|entity| entity.id).filter(|id| id.is_born_with_land()).collect()
}

#[test]
fn a_creature_that_changes_hands_is_never_out_of_sight() {
    let mut town = Town::new(3);
    town.enter(0, 1, 1);
    town.run(60);
    let all = creatures_seen(&town, 0, 1);
    assert_eq!(all.len(), 9 * CREATURES_PER_CHUNK);
    // The other nodes begin to claim the same chunks, one after the other, then give them up again.
    for node in [1, 2] {
        town.enter(node, node as u32 + 1, node as u64 + 1);
        for _ in 0..60 {
            (0..=node).for_each(|at| town.send(at, at as u32 + 1, &frame(kind::PING, b"")));
            town.run(1);
            assert_eq!(creatures_seen(&town, 0, 1), all);
        }
    }
    let released = |town: &Town| town.nodes.iter().map(|n| n.core.counters().released).sum::<u64>();
    assert!(released(&town) >= 6, "hardly any changed hands: {}", released(&town));
    for node in [1, 2] {
        town.send(node, node as u32 + 1, &frame(kind::BYE, b""));
    }
    let before = released(&town);
    for _ in 0..400 {
        town.send(0, 1, &frame(kind::PING, b""));
        town.run(1);
        assert_eq!(creatures_seen(&town, 0, 1), all);
    }
    assert!(released(&town) > before, "they came back");
}

#[test]
fn a_creature_whose_next_owner_dies_is_taken_back_without_a_gap() {
    let mut town = Town::new(2);
    town.enter(0, 1, 1);
    town.run(60);
    let all = creatures_seen(&town, 0, 1);
    assert_eq!(all.len(), 9 * CREATURES_PER_CHUNK);
    // The other node claims the same chunks and dies in the moment in which creatures are given to it.
    town.enter(1, 2, 2);
    let released = |town: &Town| town.nodes[0].core.counters().released;
    let mut ticks = 0;
    loop {
        town.now_ms += TICK_MS;
        town.tick(0);
        if released(&town) > 0 {
            break;
        }
        town.tick(1);
        ticks += 1;
        assert!(ticks < 100, "nothing is given away");
    }
    drop(town.nodes.remove(1));
    for _ in 0..(NODE_LEASE_MS / TICK_MS + 150) {
        town.send(0, 1, &frame(kind::PING, b""));
        town.run(1);
        assert_eq!(creatures_seen(&town, 0, 1), all);
    }
    assert_eq!(town.nodes[0].core.counters().takeovers, 1);
}

#[test]
fn creatures_of_a_dead_node_are_taken_though_nobody_hears_it_silent_for_a_whole_lease() {
    for starts_anew in [false, true] {
        let mut town = Town::new(2);
        (0..2).for_each(|at| town.enter(at, 1, at as u64 + 1));
        town.run(60);
        let all = creatures_seen(&town, 0, 1);
        assert_eq!(all.len(), 9 * CREATURES_PER_CHUNK);
        drop(town.nodes.remove(1));
        // The other one stands still, or starts again, before a lease has passed.
        for round in 0..4 {
            if starts_anew {
                drop(town.nodes.remove(0));
                town.start(1, 3 + round);
                town.run(20);
                town.enter(0, 1, 1);
            } else {
                town.now_ms += PAUSE_MS_MAX + TICK_MS;
            }
            for _ in 0..NODE_LEASE_MS * 3 / 4 / TICK_MS {
                town.send(0, 1, &frame(kind::PING, b""));
                town.run(1);
            }
        }
        assert_eq!(creatures_seen(&town, 0, 1), all, "starts anew: {starts_anew}");
    }
}

#[test]
fn each_creature_has_one_owner_and_changes_hands_by_release() {
    let mut town = Town::new(2);
    town.enter(0, 1, 1);
    town.run(60);
    let creatures = |town: &Town, at: usize| {
        let owned = town.nodes[at].core.owned().filter(|(_, _, e, ..)| e.is_born_with_land());
        owned.map(|(_, _, e, epoch, _)| (e, epoch)).collect::<BTreeSet<_>>()
    };
    let before = creatures(&town, 0);
    assert_eq!(before.len(), 9 * CREATURES_PER_CHUNK, "two a claimed chunk");
    town.enter(1, 2, 2);
    for _ in 0..100 {
        town.run(1);
        let (a, b) = (creatures(&town, 0), creatures(&town, 1));
        assert!(a.is_disjoint(&b), "two owners in one epoch");
    }
    let (a, b) = (creatures(&town, 0), creatures(&town, 1));
    let entities = |set: &BTreeSet<_>| set.iter().map(|(e, _)| *e).collect::<BTreeSet<EntityId>>();
    assert!(!b.is_empty(), "logic is shared");
    assert!(entities(&a).is_disjoint(&entities(&b)));
    assert_eq!(a.len() + b.len(), before.len());
    assert_eq!(town.nodes[0].core.counters().released as usize, b.len());
    // Both clients see all of them, once.
    for (at, conn) in [(0, 1), (1, 2)] {
        let replica = town.seen(at, conn).replica.as_ref().expect("inside");
        assert_eq!(replica.entities().filter(|e| e.id.is_born_with_land()).count(), before.len());
    }
}

#[test]
fn creatures_live_on_land_where_there_is_some() {
    let mut town = Town::new(1);
    let terrain = Terrain::new(5, ISLAND);
    town.enter(0, 1, 1);
    let mut seen = BTreeSet::new();
    for _ in 0..300 {
        town.send(0, 1, &frame(kind::PING, b""));
        town.run(1);
        for (_, chunk, entity, _, pose) in town.nodes[0].core.owned() {
            let dry = terrain.chunk_tiles(chunk).iter().any(|tile| tile.is_walkable());
            assert!(!dry || terrain.tile(pose.place(chunk)).is_walkable(), "{entity:?} in {chunk:?}");
            seen.extend(entity.is_born_with_land().then_some(entity));
        }
    }
    assert_eq!(seen.len(), 9 * CREATURES_PER_CHUNK);
}
