//! Who gets which seat, and when a seat ends.

use crate::cluster::{Cluster, first_node, small};
use chunk_sync::ids::{IslandId, NodeId, PlayerId};
use chunk_sync::limits::{RESUME_GRACE_MS, TICKET_MS};
use chunk_sync::mesh_wire::Topic;
use chunk_sync::ticket::Ticket;
use chunk_sync::wire::{Hello, RejectCode};
use population_allocator::limits::{HOLD_SLACK_MS, JOIN_WAIT_MS, NODE_SILENT_MS};
use population_allocator::policy::{Policy, Seating};

const ONE: IslandId = IslandId(1);
const TWO: IslandId = IslandId(2);

#[test]
fn an_island_fills_to_design_then_the_next_opens_then_both_fill_to_the_cap() {
    let mut cluster = Cluster::serving(small(), 2);
    let islands: Vec<u32> = (0..10).map(|n| cluster.play(&format!("p{n}")).island).collect();
    assert_eq!(islands, [1, 1, 1, 2, 2, 2, 1, 2, 1, 2]);
    assert_eq!(cluster.answer("late", None), Err(RejectCode::Full));
    assert_eq!((cluster.core.population(ONE), cluster.core.population(TWO)), (5, 5));
    cluster.run(200);
    let state = cluster.core.state(cluster.now_ms);
    assert!(state.plan.reasons.iter().any(|reason| reason.contains("all 2 islands are there")));
}

#[test]
fn a_crowd_at_once_is_seated_without_overfilling() {
    let policy = Policy { design: 50, cap: 60, minimum: 2, islands_max: 16, ..small() };
    let mut cluster = Cluster::serving(policy, 3);
    for n in 0..500 {
        cluster.join(&format!("p{n}"));
    }
    cluster.run(4_000);
    let mut seated = std::collections::BTreeMap::<u32, u32>::new();
    for answer in cluster.answers.values() {
        *seated.entry(answer.as_ref().unwrap().island).or_default() += 1;
    }
    assert_eq!(seated.values().sum::<u32>(), 500);
    assert!(seated.values().all(|count| *count == 50), "{seated:?}");
}

#[test]
fn an_island_takes_players_once_a_node_has_read_of_it() {
    let mut cluster = Cluster::serving(small(), 2);
    cluster.nodes.values_mut().for_each(|fake| fake.reads_plan = false);
    (0..3).for_each(|n| assert_eq!(cluster.play(&format!("p{n}")).island, 1));
    let newcomer = cluster.join("p3");
    cluster.run(500);
    let wishful = cluster.join_with("p4", Some(2));
    cluster.run(1_500);
    assert!(cluster.core.plan_record().unwrap().islands.len() > 1, "the next island is in the plan");
    assert!(cluster.answers.is_empty(), "{:?}", cluster.answers);
    cluster.nodes.get_mut(&2).unwrap().reads_plan = true;
    cluster.run(2_000);
    for request in [newcomer, wishful] {
        let seat = cluster.answers[&request].as_ref().unwrap();
        assert_eq!((seat.island, first_node(seat)), (2, 2), "only the node that has read of it is listed");
        assert_eq!(seat.nodes.len(), 1);
    }
}

#[test]
fn a_wish_is_honoured_up_to_the_cap() {
    let mut cluster = Cluster::serving(Policy { islands: 2, ..small() }, 1);
    for n in 0..5 {
        assert_eq!(cluster.answer(&format!("p{n}"), Some(2)).unwrap().island, 2);
    }
    assert_eq!(cluster.answer("p5", Some(2)), Err(RejectCode::Full));
    assert_eq!(cluster.answer("p5", Some(3)), Err(RejectCode::NoIsland));
    assert_eq!(cluster.answer("p3", Some(2)).unwrap().island, 2, "who has a seat gets it again");
}

#[test]
fn tickets_are_good_at_the_nodes_that_they_list() {
    let mut cluster = Cluster::serving(small(), 3);
    let seat = cluster.seat("Mara_1");
    assert_eq!(seat.nodes, ["node1:7000", "node2:7000", "node3:7000"]);
    assert_eq!((seat.protocol, seat.ticket_ms), (1, TICKET_MS));
    let ticket =
        Ticket::check(&seat.ticket, std::slice::from_ref(&cluster.key), cluster.now_ms, NodeId(3)).unwrap();
    assert_eq!(
        (ticket.player.0, ticket.island.0, ticket.name.as_str()),
        (seat.player, seat.island, "Mara_1")
    );
    assert_eq!(ticket.expires_ms, cluster.now_ms + TICKET_MS);
}

#[test]
fn spread_and_pack_order_the_nodes() {
    let policy = Policy { design: 50, cap: 60, ..small() };
    let mut spread = Cluster::serving(policy, 3);
    let nodes: Vec<u32> = (0..6).map(|n| first_node(&spread.play(&format!("p{n}")))).collect();
    assert_eq!(nodes, [1, 2, 3, 1, 2, 3]);
    let mut pack = Cluster::serving(Policy { seating: Seating::Pack, ..policy }, 3);
    let nodes: Vec<u32> = (0..6).map(|n| first_node(&pack.play(&format!("p{n}")))).collect();
    assert_eq!(nodes, [1; 6]);
}

#[test]
fn a_node_that_lets_nobody_in_gets_nobody() {
    let mut cluster = Cluster::serving(small(), 2);
    cluster.nodes.get_mut(&1).unwrap().open = false;
    cluster.run(1_000);
    assert_eq!(cluster.seat("a").nodes, ["node2:7000"]);
    cluster.nodes.get_mut(&2).unwrap().open = false;
    cluster.run(1_000);
    assert_eq!(cluster.answer("b", None), Err(RejectCode::Busy));
}

#[test]
fn an_unused_ticket_keeps_its_seat_until_it_has_expired() {
    let mut cluster = Cluster::serving(small(), 1);
    let seat = cluster.seat("a");
    cluster.run(TICKET_MS);
    assert_eq!(cluster.core.population(ONE), 1);
    cluster.run(HOLD_SLACK_MS + 1_000);
    assert_eq!(cluster.core.population(ONE), 0);
    assert!(!cluster.enter(&seat, 1), "the node refuses it as well");
}

#[test]
fn a_ticket_that_a_silent_node_may_have_taken_keeps_its_seat() {
    let mut cluster = Cluster::serving(small(), 2);
    let seat = cluster.seat("a");
    assert!(cluster.enter(&seat, 1));
    cluster.nodes.get_mut(&1).unwrap().awake = false;
    cluster.run(TICKET_MS + HOLD_SLACK_MS + 10_000);
    assert_eq!(cluster.core.population(ONE), 1, "nobody can tell whether node 1 has the player");
    cluster.nodes.get_mut(&1).unwrap().awake = true;
    cluster.run(5_000);
    assert!(cluster.core.player_seat(PlayerId(seat.player)).unwrap().presence.is_some());
}

#[test]
fn leaving_frees_the_seat_and_a_missing_census_does_not() {
    let mut cluster = Cluster::serving(small(), 2);
    let (a, b) = (cluster.play("a"), cluster.play("b"));
    assert_eq!((first_node(&a), first_node(&b)), (1, 2));
    cluster.run(1_000);
    cluster.leave(a.player);
    cluster.run(1_000);
    assert_eq!(cluster.core.population(ONE), 1);
    cluster.nodes.get_mut(&2).unwrap().reachable = false;
    cluster.run(60_000);
    assert_eq!(cluster.core.population(ONE), 1);
    assert_eq!(cluster.seat("c").nodes, ["node1:7000"], "nobody is sent to a silent node");
}

#[test]
fn the_seats_of_a_dead_node_last_for_the_grace_and_resumed_ones_longer() {
    let mut cluster = Cluster::serving(small(), 2);
    let (a, b) = (cluster.play("a"), cluster.play("b"));
    cluster.run(1_000);
    assert_eq!((first_node(&a), first_node(&b)), (1, 2));
    cluster.kill_node(1);
    cluster.kill_node(2);
    cluster.start_node(1);
    cluster.run(NODE_SILENT_MS + 2_000);
    assert_eq!(cluster.core.population(ONE), 2);
    let again = cluster.play("a");
    assert_eq!((again.player, again.island), (a.player, 1));
    cluster.run(RESUME_GRACE_MS - 20_000);
    assert_eq!(cluster.core.population(ONE), 2);
    cluster.run(20_000);
    assert_eq!(cluster.core.population(ONE), 1, "b never came back, a did");
}

#[test]
fn a_node_that_wakes_up_within_the_grace_keeps_its_players() {
    let mut cluster = Cluster::serving(small(), 2);
    let (a, b) = (cluster.play("a"), cluster.play("b"));
    cluster.run(1_000);
    cluster.nodes.get_mut(&first_node(&a)).unwrap().awake = false;
    cluster.run(10_000);
    let grace = |cluster: &Cluster, player| {
        cluster.core.player_seat(PlayerId(player)).unwrap().presence.unwrap().grace_until_ms
    };
    assert!(grace(&cluster, a.player).is_some() && grace(&cluster, b.player).is_none());
    cluster.nodes.get_mut(&first_node(&a)).unwrap().awake = true;
    cluster.run(5_000);
    assert_eq!(grace(&cluster, a.player), None);
    cluster.run(RESUME_GRACE_MS);
    assert_eq!(cluster.core.population(ONE), 2);
}

#[test]
fn who_joins_twice_has_one_seat_and_the_newer_ticket_wins() {
    let mut cluster = Cluster::serving(small(), 2);
    let (first, second) = (cluster.seat("Mara"), cluster.seat("mara"));
    assert_eq!((first.player, first.island), (second.player, second.island), "names have no case");
    assert_eq!(cluster.core.population(ONE), 1);
    assert!(cluster.enter(&second, 2) && !cluster.enter(&first, 1), "the older ticket is void");
    cluster.run(1_000);
    let third = cluster.seat("MARA");
    assert!(cluster.enter(&third, 1));
    cluster.run(1_000);
    assert_eq!(cluster.core.population(ONE), 1);
    let presence = cluster.core.player_seat(PlayerId(third.player)).unwrap().presence.unwrap();
    assert_eq!(presence.node, NodeId(1), "the session moved");
}

#[test]
fn of_two_nodes_that_list_a_player_the_one_with_the_newer_ticket_counts() {
    let mut cluster = Cluster::serving(Policy { islands: 2, ..small() }, 2);
    let player = PlayerId(77);
    let sources = [cluster.nodes[&1].source, cluster.nodes[&2].source];
    let list = |cluster: &mut Cluster, node: u32, number: u64, island: IslandId| {
        cluster.now_ms += 100;
        let mut census = cluster.census(node);
        census.sessions = vec![(player, number, island)];
        cluster.say(sources[node as usize - 1], &census);
        cluster.core.player_seat(player).unwrap().presence.unwrap().node
    };
    assert_eq!(list(&mut cluster, 1, 10, ONE), NodeId(1));
    assert_eq!(list(&mut cluster, 2, 11, TWO), NodeId(2));
    assert_eq!(list(&mut cluster, 1, 10, ONE), NodeId(2), "an older session is on its way out");
    assert_eq!((cluster.core.population(ONE), cluster.core.population(TWO)), (0, 1));
}

#[test]
fn two_joins_of_a_new_name_at_once_are_one_player() {
    let mut cluster = Cluster::serving(small(), 1);
    let requests = [cluster.join("twin"), cluster.join("Twin")];
    cluster.run(1_000);
    let players = requests.map(|request| cluster.answers[&request].as_ref().unwrap().player);
    assert_eq!(players[0], players[1]);
    assert_eq!(cluster.core.population(ONE), 1);
}

#[test]
fn a_second_island_counts_on_both_until_one_ticket_is_used() {
    let mut cluster = Cluster::serving(Policy { islands: 2, ..small() }, 1);
    let first = cluster.seat("a");
    let second = cluster.answer("a", Some(2)).unwrap();
    assert_eq!((cluster.core.population(ONE), cluster.core.population(TWO)), (1, 1));
    assert!(cluster.enter(&first, 1), "a ticket can't be taken back");
    cluster.run(1_000);
    assert_eq!((cluster.core.population(ONE), cluster.core.population(TWO)), (1, 1));
    assert!(cluster.enter(&second, 1));
    cluster.run(1_000);
    assert_eq!((cluster.core.population(ONE), cluster.core.population(TWO)), (0, 1));
}

#[test]
fn nobody_hoards_islands() {
    let mut cluster = Cluster::serving(Policy { islands: 4, islands_max: 4, ..small() }, 1);
    assert!(cluster.answer("a", Some(1)).is_ok() && cluster.answer("a", Some(2)).is_ok());
    assert_eq!(cluster.answer("a", Some(3)), Err(RejectCode::Busy));
    assert!(cluster.answer("a", Some(2)).is_ok());
}

#[test]
fn bad_names_and_versions_are_refused_at_once() {
    let mut cluster = Cluster::serving(small(), 1);
    for name in ["", "a b", "ä", &"x".repeat(25)] {
        assert_eq!(cluster.answer(name, None), Err(RejectCode::BadName));
    }
    let nameless = cluster.hello(Hello { min: 1, max: 1, ..Hello::default() });
    assert_eq!(cluster.answers[&nameless], Err(RejectCode::BadName));
    let future = cluster.hello(Hello { min: 9, max: 12, name: Some("a".to_owned()), ..Hello::default() });
    assert_eq!(cluster.answers[&future], Err(RejectCode::Version));
    assert_eq!(cluster.core.counters().rejected["bad_name"], 5);
}

#[test]
fn without_a_node_a_join_waits_for_one_then_is_told() {
    let mut cluster = Cluster::serving(small(), 0);
    let request = cluster.join("a");
    cluster.run(JOIN_WAIT_MS - 500);
    assert!(!cluster.answers.contains_key(&request));
    cluster.run(1_000);
    assert_eq!(cluster.answers[&request], Err(RejectCode::NoNode));
    let request = cluster.join("a");
    cluster.start_node(1);
    cluster.run(2_500);
    assert!(cluster.answers[&request].is_ok());
}

#[test]
fn a_store_that_is_away_refuses_joins_in_time_and_no_seat_is_lost() {
    let mut cluster = Cluster::serving(small(), 1);
    cluster.play("a");
    cluster.run(1_000);
    cluster.store_away = true;
    assert_eq!(cluster.answer("b", None), Err(RejectCode::StoreAway));
    cluster.run(10_000);
    assert_eq!(cluster.answer("a", None), Err(RejectCode::StoreAway));
    assert_eq!(cluster.core.population(ONE), 1);
    cluster.store_away = false;
    cluster.run(2_000);
    assert!(cluster.answer("b", None).is_ok());
}

#[test]
fn garbage_on_the_mesh_changes_nothing() {
    let mut cluster = Cluster::serving(small(), 1);
    let a = cluster.play("a");
    cluster.run(1_000);
    let source = cluster.nodes[&1].source;
    let before = cluster.core.state(cluster.now_ms);
    let census = chunk_sync::mesh_wire::encode(&cluster.census(1));
    let now_ms = cluster.now_ms;
    for (topic, body) in [
        (&b"short"[..], &census[..]),
        (&Topic::Direct(source).bytes(), &census),
        (&Topic::Census.bytes(), b""),
        (&Topic::Census.bytes(), &[0xff; 64]),
        (&Topic::Census.bytes(), &census[..census.len() - 1]),
        (&Topic::Heartbeat.bytes(), &census),
    ] {
        cluster.core.handle_mesh(source, topic, body, now_ms);
    }
    assert_eq!(cluster.core.counters().mesh_malformed, 6);
    // Words of somebody else, of another node, of the far future, of the past.
    let mut lies = cluster.census(1);
    lies.sessions.clear();
    cluster.say(chunk_sync::ids::Source(77), &lies);
    lies.node = NodeId(2);
    cluster.say(source, &lies);
    lies.node = NodeId(1);
    lies.tick.0 += 1_000_000;
    cluster.say(source, &lies);
    lies.tick.0 = 3;
    cluster.say(source, &lies);
    let counters = cluster.core.counters();
    assert_eq!((counters.mesh_malformed, counters.census_stale), (8, 2));
    assert_eq!(cluster.core.state(cluster.now_ms), before);
    assert!(cluster.core.player_seat(PlayerId(a.player)).unwrap().presence.is_some());
}
