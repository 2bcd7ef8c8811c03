//! The node core against clients and other cores, in virtual time.

mod acts;
mod coming_back;
mod creatures;
mod homes;
mod late_and_lost;
mod suspended;
mod town;

use chunk_sync::ids::Source;
use chunk_sync::interest::Interest;
use chunk_sync::limits::*;
use chunk_sync::mesh_wire::{Direct, Topic, encode};
use chunk_sync::place::Place;
use chunk_sync::terrain::{LANDING, Terrain};
use chunk_sync::wire::{Move, RejectCode, frame, kind};
use std::collections::BTreeSet;
use town::{ISLAND, Town, key, player};
use world_node::core::{Phase, Standing};

const STEP: i32 = 60;

fn code(town: &Town, at: usize, conn: u32) -> Option<RejectCode> {
    town.seen(at, conn).reject.as_ref().and_then(|r| RejectCode::from_code(r.code))
}

#[test]
fn everybody_sees_everybody_whichever_node_they_are_on() {
    let mut town = Town::new(3);
    for player in 1..=30u64 {
        town.enter(player as usize % 3, player as u32, player);
    }
    town.run(30);
    let all: BTreeSet<u64> = (1..=30).collect();
    for player in 1..=30u32 {
        let seen = town.seen(player as usize % 3, player);
        assert_eq!(seen.players(), all, "what player {player} sees");
        assert_eq!(seen.lands, 25);
    }
    // One walks; the others see where it ends, to the quantum.
    let mut place = town.place(0, 3);
    for sequence in 1..=20 {
        place.x += if place.x < LANDING.middle().x { STEP } else { -STEP };
        town.walk(0, 3, sequence, place);
        town.run(1);
    }
    town.run(3);
    for conn in 1..=30u32 {
        let replica = town.seen(conn as usize % 3, conn).replica.as_ref().unwrap();
        assert_eq!(replica.get(player(3).into()).unwrap().place, place, "as player {conn} sees it");
    }
    assert_eq!(town.seen(0, 3).ack, 20);
}

#[test]
fn the_phases_run_in_their_order() {
    let mut town = Town::new(1);
    town.nodes[0].clients.phases.clear();
    town.run(1);
    assert_eq!(town.nodes[0].clients.phases, Phase::ALL);
}

#[test]
fn views_follow_over_chunk_borders_without_a_gap() {
    let mut town = Town::new(2);
    town.enter(0, 1, 1);
    town.enter(1, 2, 2);
    town.run(20);
    let terrain = Terrain::new(5, ISLAND);
    let mut place = town.place(0, 1);
    let mut told = BTreeSet::new();
    let mut heading = (1, 0);
    for sequence in 1..4_000u16 {
        let step = |(dx, dy): (i32, i32)| Place { x: place.x + dx * STEP, y: place.y + dy * STEP };
        let ways = [heading, (0, 1), (1, 0), (0, -1), (-1, 0)];
        heading = ways.into_iter().find(|way| terrain.tile(step(*way)).is_walkable()).unwrap();
        if sequence % 400 == 0 {
            heading = ways[1 + (usize::from(sequence) / 400) % 4];
        }
        if !terrain.tile(step(heading)).is_walkable() {
            continue;
        }
        place = step(heading);
        town.walk(0, 1, sequence, place);
        town.run(1);
        told.insert(place.chunk());
        let seen = town.seen(0, 1);
        assert_eq!(seen.correction, None, "at {place:?}");
        assert_eq!(seen.replica.as_ref().unwrap().get(player(1).into()).unwrap().place, place);
        // The other sees the walker exactly while it is in its view (a tick or a far rate later).
    }
    assert!(told.len() > 8, "the walk led over {} chunks only", told.len());
    town.run(8);
    let near = Interest::at(town.place(1, 2)).rate(place.chunk()).is_some();
    assert_eq!(town.seen(1, 2).players().contains(&1), near);
}

#[test]
fn steps_too_long_or_into_water_are_put_back() {
    let mut town = Town::new(1);
    town.enter(0, 1, 1);
    town.run(5);
    let start = town.place(0, 1);
    let far = Place { x: start.x + 20 * QUANTA_PER_M, y: start.y };
    town.walk(0, 1, 1, far);
    town.run(1);
    assert_eq!(town.seen(0, 1).correction, Some(start));
    assert_eq!(town.seen(0, 1).ack, 1);
    // A sprint at twice the walking speed is stopped once the saved time is used up.
    let mut at = start;
    let mut corrected = false;
    for sequence in 2..40 {
        let next =
            Place { x: if at.x < LANDING.middle().x { at.x + 2 * 64 } else { at.x - 2 * 64 }, y: at.y };
        town.walk(0, 1, sequence, next);
        town.run(1);
        match town.seen(0, 1).correction {
            Some(back) if back != start => {
                corrected = true;
                at = back;
            }
            _ => at = next,
        }
    }
    assert!(corrected);
    let off = Place { x: -1, y: -1 };
    town.walk(0, 1, 50, off);
    town.run(1);
    assert!(town.seen(0, 1).correction.is_some_and(Place::on_island));
}

#[test]
fn a_correction_names_the_place_after_all_moves_that_are_acknowledged() {
    let mut town = Town::new(1);
    town.enter(0, 1, 1);
    town.run(5);
    let from = town.place(0, 1);
    let good = Place { x: from.x, y: from.y + STEP };
    town.walk(0, 1, 1, Place { x: from.x + 4_000, ..from });
    town.walk(0, 1, 2, good);
    town.run(2);
    assert_eq!((town.seen(0, 1).ack, town.seen(0, 1).correction), (2, Some(good)));
    let shown = town.nodes[0].core.owned().find(|(_, _, entity, ..)| *entity == player(1).into());
    let (_, chunk, .., pose) = shown.unwrap();
    assert_eq!(pose.place(chunk), good);
}

#[test]
fn water_stops_a_walker() {
    let mut town = Town::new(1);
    town.enter(0, 1, 1);
    town.run(5);
    let terrain = Terrain::new(5, ISLAND);
    let mut place = town.place(0, 1);
    let mut sequence = 0;
    while terrain.tile(Place { x: place.x + STEP, ..place }).is_walkable() {
        place.x += STEP;
        sequence += 1;
        town.walk(0, 1, sequence, place);
        town.run(1);
    }
    assert_eq!(town.seen(0, 1).correction, None);
    town.walk(0, 1, sequence + 1, Place { x: place.x + STEP, ..place });
    town.run(1);
    assert_eq!(town.seen(0, 1).correction, Some(place));
}

#[test]
fn tickets_are_checked_and_good_for_one_entry() {
    let mut town = Town::new(2);
    let ticket = town.ticket(1, "mara");
    let good = ticket.sign(&key());
    town.hello(0, 1, &good);
    town.run(3);
    assert!(town.seen(0, 1).welcome.is_some());
    town.hello(1, 1, &good);
    town.hello(0, 2, &good);
    let mut forged = good.clone();
    forged[20] ^= 1;
    town.hello(0, 3, &forged);
    let mut late = town.ticket(2, "ben");
    late.expires_ms = town.now_ms - 1_000;
    town.hello(0, 4, &late.sign(&key()));
    let mut elsewhere = town.ticket(3, "cy");
    elsewhere.island = chunk_sync::ids::IslandId(9);
    town.hello(0, 5, &elsewhere.sign(&key()));
    town.run(3);
    assert_eq!(code(&town, 1, 1), Some(RejectCode::TicketUsed));
    assert_eq!(code(&town, 0, 2), Some(RejectCode::TicketUsed));
    assert_eq!(code(&town, 0, 3), Some(RejectCode::TicketForged));
    assert_eq!(code(&town, 0, 4), Some(RejectCode::TicketExpired));
    // The ticket is good here, so the allocator knows a plan that this node has yet to read.
    assert_eq!(code(&town, 0, 5), Some(RejectCode::Busy));
    assert!(town.seen(0, 2).closed && town.seen(0, 3).closed);
    assert_eq!(town.nodes[0].core.sessions(), 1);
}

#[test]
fn entering_again_fences_the_older_session_on_whichever_node() {
    let mut town = Town::new(2);
    town.enter(0, 1, 1);
    town.enter(1, 2, 2);
    town.run(10);
    town.enter(1, 3, 1);
    town.run(10);
    assert_eq!(code(&town, 0, 1), Some(RejectCode::Replaced));
    assert_eq!((town.nodes[0].core.sessions(), town.nodes[1].core.sessions()), (0, 2));
    assert_eq!(town.seen(1, 2).players(), BTreeSet::from([1, 2]));
    town.enter(1, 4, 1);
    town.run(10);
    assert_eq!(code(&town, 1, 3), Some(RejectCode::Replaced));
    assert_eq!(town.seen(1, 4).players(), BTreeSet::from([1, 2]));
}

#[test]
fn garbage_floods_and_silence_end_only_their_own_session() {
    let mut town = Town::new(1);
    for conn in 1..=6 {
        town.enter(0, conn, u64::from(conn));
    }
    town.run(5);
    town.send(0, 1, &[0xff; 64]);
    town.send(0, 2, &frame(0x7f, b"what"));
    town.send(0, 3, &frame(kind::HELLO, b""));
    let flood: Vec<u8> = (0..CLIENT_FRAMES_PER_TICK_MAX + 1).flat_map(|_| frame(kind::PING, b"x")).collect();
    town.send(0, 4, &flood);
    town.send(0, 5, &frame(kind::BYE, b""));
    town.run(1);
    assert_eq!(code(&town, 0, 1), Some(RejectCode::Malformed));
    assert_eq!(code(&town, 0, 2), Some(RejectCode::Malformed));
    assert_eq!(code(&town, 0, 3), Some(RejectCode::Unexpected));
    assert_eq!(code(&town, 0, 4), Some(RejectCode::Flood));
    assert!(town.seen(0, 5).closed && town.seen(0, 5).reject.is_none());
    assert_eq!(town.seen(0, 6).players(), BTreeSet::from([6]));
    town.run((SILENT_MS_MAX / TICK_MS) as u32 + 20);
    assert_eq!(code(&town, 0, 6), Some(RejectCode::Silent));
    assert_eq!(town.nodes[0].core.sessions(), 0);
}

#[test]
fn a_slow_reader_is_skipped_to_keyframes_and_its_backlog_stays_bounded() {
    let mut town = Town::new(1);
    for conn in 1..=40 {
        town.enter(0, conn, u64::from(conn));
    }
    town.run(10);
    town.nodes[0].clients.seen.get_mut(&1).unwrap().stuck = true;
    let places: Vec<Place> =
        (0..=40).map(|c| if c == 0 { Place::default() } else { town.place(0, c) }).collect();
    let walk = |town: &mut Town, from: u16, to: u16| {
        for sequence in from..to {
            for conn in 1..=40u32 {
                let mut place = places[conn as usize];
                place.x += i32::from(sequence % 2) * 32;
                town.walk(0, conn, sequence, place);
            }
            town.run(1);
        }
    };
    walk(&mut town, 1, 1_200);
    assert_eq!(town.nodes[0].core.counters().skips, 1);
    let bytes = town.seen(0, 1).bytes;
    town.nodes[0].clients.unstick(1);
    walk(&mut town, 1_200, 1_210);
    assert_eq!(town.seen(0, 1).resets, 2, "once at entry, once after the skip");
    assert_eq!(town.seen(0, 1).players().len(), 40);
    assert!(town.seen(0, 1).bytes > bytes);
    town.nodes[0].clients.seen.get_mut(&2).unwrap().stuck = true;
    walk(&mut town, 1_210, 1_210 + (CLIENT_STALLED_MS_MAX / TICK_MS) as u16 + 20);
    assert!(town.seen(0, 2).closed, "who reads nothing for long is dropped");
    assert_eq!(town.nodes[0].core.sessions(), 39);
}

#[test]
fn a_join_storm_is_paced() {
    let mut town = Town::new(1);
    let storm = 3 * ADMISSIONS_PER_TICK_MAX as u32;
    (1..=storm).for_each(|conn| town.enter(0, conn, u64::from(conn)));
    let mut inside = vec![0];
    while *inside.last().unwrap() < storm {
        town.run(1);
        inside.push(town.nodes[0].core.sessions());
        assert!(inside.len() < 20);
    }
    assert!(inside.windows(2).all(|w| w[1] - w[0] <= ADMISSIONS_PER_TICK_MAX as u32), "{inside:?}");
    town.run(2);
    assert_eq!(town.seen(0, storm).players().len(), storm as usize);
}

#[test]
fn hostile_bytes_on_a_channel_harm_nobody() {
    let mut town = Town::new(2);
    town.enter(0, 1, 1);
    town.enter(1, 2, 2);
    town.run(20);
    let source = Source(2);
    let roster = Topic::Chunk(ISLAND, LANDING, chunk_sync::blocks::StreamId::Roster).bytes();
    town.inject(0, source, &roster, vec![0xff; 300]);
    town.inject(0, source, &roster, Vec::new());
    town.inject(0, source, b"short", vec![1]);
    town.inject(0, source, &Topic::Heartbeat.bytes(), vec![0xc1; 40]);
    town.inject(0, source, &Topic::Direct(Source(1)).bytes(), vec![0x93; 40]);
    // Somebody speaks in another's name.
    let took = Direct::Took { from: Source(9), player: player(1), epoch: chunk_sync::ids::Epoch(99) };
    town.inject(0, source, &Topic::Direct(Source(1)).bytes(), encode(&took));
    town.inject(0, Source(77), &Topic::Direct(Source(1)).bytes(), encode(&took));
    town.run(20);
    assert_eq!(town.nodes[0].core.counters().garbage, 6);
    assert_eq!(town.seen(0, 1).players(), BTreeSet::from([1, 2]));
    assert_eq!(town.seen(1, 2).players(), BTreeSet::from([1, 2]));
}

#[test]
fn a_node_that_slept_asks_who_it_is_before_it_speaks() {
    let mut town = Town::new(2);
    town.enter(0, 1, 1);
    town.enter(1, 2, 2);
    town.run(20);
    // Node 1 sleeps for ten seconds; node 2 goes on and hides its ghosts.
    for _ in 0..100 {
        town.now_ms += TICK_MS;
        town.send(1, 2, &frame(kind::PING, b""));
        town.tick(1);
    }
    assert_eq!(town.seen(1, 2).players(), BTreeSet::from([2]));
    town.run(1);
    assert_eq!(town.nodes[0].core.counters().pauses, 1);
    town.run(20);
    assert_eq!(town.nodes[0].core.standing(), Standing::Serving);
    assert_eq!(town.nodes[0].core.sessions(), 1);
    assert_eq!(town.seen(1, 2).players(), BTreeSet::from([1, 2]));
    assert_eq!(town.seen(0, 1).players(), BTreeSet::from([1, 2]));
}

#[test]
fn a_newer_incarnation_fences_the_older() {
    let mut town = Town::new(2);
    town.enter(0, 1, 1);
    town.enter(1, 2, 2);
    town.run(20);
    town.start(1, 3);
    town.run(60);
    assert_eq!(town.nodes[0].core.standing(), Standing::Fenced);
    assert_eq!(code(&town, 0, 1), Some(RejectCode::NodeLost));
    assert_eq!(town.nodes[2].core.standing(), Standing::Serving);
    assert_eq!(town.seen(1, 2).players(), BTreeSet::from([2]));
}

#[test]
fn a_dead_node_is_taken_over_and_its_creatures_with_it() {
    let mut town = Town::new(2);
    town.enter(0, 1, 1);
    town.enter(1, 2, 2);
    town.run(100);
    let dead = town.nodes.remove(0);
    drop(dead);
    for _ in 0..(NODE_LEASE_MS / TICK_MS + 150) {
        town.send(0, 2, &frame(kind::PING, b""));
        town.run(1);
    }
    assert_eq!(town.nodes[0].core.counters().takeovers, 1);
    assert_eq!(town.seen(0, 2).players(), BTreeSet::from([2]));
    let creatures = town.nodes[0].core.owned().filter(|(_, _, e, ..)| e.is_born_with_land()).count();
    assert_eq!(creatures, 9 * CREATURES_PER_CHUNK);
}

#[test]
fn a_store_that_is_away_refuses_entry_and_closes_nobody() {
    use chunk_sync::store::MemoryFault;
    let mut town = Town::new(1);
    town.enter(0, 1, 1);
    town.run(5);
    town.store.set_fault(MemoryFault::Away);
    town.enter(0, 2, 2);
    for _ in 0..100 {
        town.send(0, 1, &frame(kind::PING, b""));
        town.run(1);
    }
    assert_eq!(code(&town, 0, 2), Some(RejectCode::StoreAway));
    assert_eq!(town.nodes[0].core.sessions(), 1);
    town.store.set_fault(MemoryFault::None);
    town.enter(0, 3, 2);
    town.run(5);
    assert_eq!(town.seen(0, 3).players(), BTreeSet::from([1, 2]));
    assert!(town.seen(0, 1).pongs > 0);
    let step = Move { sequence: 1, place: town.place(0, 1), heading: 1 };
    town.send(0, 1, &step.frame()[..7]);
    town.send(0, 1, &step.frame()[7..]);
    town.run(1);
    assert_eq!(town.seen(0, 1).ack, 1);
}

#[test]
fn dropping_a_slow_client_disturbs_nobody_who_joins_in_that_tick() {
    let mut town = Town::new(1);
    for conn in 1..=20 {
        town.enter(0, conn, u64::from(conn));
    }
    town.run(5);
    town.nodes[0].clients.seen.get_mut(&1).unwrap().stuck = true;
    let mut next = 21;
    // Somebody with a higher number enters in every tick around the drop, and follows the streams from then on.
    for tick in 0..CLIENT_STALLED_MS_MAX / TICK_MS + 30 {
        for conn in 1..next {
            if !town.seen(0, conn).closed && tick % 10 == 0 {
                town.send(0, conn, &frame(kind::PING, b""));
            }
        }
        if tick + 40 > CLIENT_STALLED_MS_MAX / TICK_MS {
            town.enter(0, next, u64::from(next));
            next += 1;
        }
        town.run(1);
    }
    assert!(town.seen(0, 1).closed);
    let all: BTreeSet<u64> = (2..u64::from(next)).collect();
    town.run(3);
    for conn in 2..next {
        assert_eq!(town.seen(0, conn).players(), all, "what {conn} sees");
    }
}

#[test]
fn bytes_that_never_make_a_frame_are_silence() {
    let mut town = Town::new(1);
    town.enter(0, 1, 1);
    town.run(5);
    town.send(0, 1, &[0, 0, 0xff, 0]);
    for _ in 0..SILENT_MS_MAX / 1_000 + 2 {
        town.send(0, 1, &[kind::PING]);
        town.run(10);
    }
    assert_eq!(code(&town, 0, 1), Some(RejectCode::Silent));
}

#[test]
fn a_node_that_may_not_speak_for_long_keeps_its_clients_and_little_else() {
    use chunk_sync::store::MemoryFault;
    let mut town = Town::new(2);
    for conn in 1..=30 {
        town.enter(conn as usize % 2, conn, u64::from(conn));
    }
    town.run(20);
    let places: Vec<Place> = (1..=30u32).map(|c| town.place(c as usize % 2, c)).collect();
    // Node 0 sleeps and wakes to a store that is away.
    town.now_ms += 3_000;
    town.store.set_fault(MemoryFault::Away);
    for sequence in 1..1_500u16 {
        for conn in 1..=30u32 {
            let mut place = places[conn as usize - 1];
            place.x += i32::from(sequence % 2) * 32;
            town.walk(conn as usize % 2, conn, sequence, place);
        }
        town.run(1);
    }
    assert_eq!(town.nodes[0].core.standing(), Standing::Revalidating);
    town.store.set_fault(MemoryFault::None);
    town.run(30);
    assert_eq!(town.nodes[0].core.standing(), Standing::Serving);
    let all: BTreeSet<u64> = (1..=30).collect();
    for conn in 1..=30u32 {
        assert_eq!(town.seen(conn as usize % 2, conn).players(), all, "what {conn} sees");
        assert!(!town.seen(conn as usize % 2, conn).closed);
    }
}
