//! Allocators that come and go, nodes that are replaced, and what the store remembers between them.

use crate::cluster::{Cluster, first_node, small};
use chunk_sync::ids::{IslandId, NodeId, PlayerId, Source};
use chunk_sync::mesh_wire::Topic;
use chunk_sync::records::{
    self, CLUSTER_REGISTRY, DOC_SEATS, EPOCH_ALLOCATOR, NodeRecord, SeatsRecord, WORLD, lease_name, node_doc,
};
use chunk_sync::store::{EpochStep, LeaseStep, MemoryStore, PartitionKey, StoreAnswer, StoreFault, StoreOp};
use chunk_sync::ticket::Ticket;
use chunk_sync::wire::{Hello, RejectCode};
use population_allocator::core::{AllocatorConfig, AllocatorCore, ConfigError, RequestNo, Standing};
use population_allocator::limits::{FIRST_CENSUS_MS, REGISTRY_EVERY_MS};
use population_allocator::policy::Policy;

fn number(cluster: &Cluster, seat: &chunk_sync::wire::Seat) -> u64 {
    let node = NodeId(first_node(seat));
    Ticket::check(&seat.ticket, std::slice::from_ref(&cluster.key), cluster.now_ms, node).unwrap().number
}

#[test]
fn a_restart_continues_the_plan_and_never_repeats_a_ticket_number() {
    let mut cluster = Cluster::serving(small(), 2);
    let seats: Vec<_> = (0..5).map(|n| cluster.play(&format!("p{n}"))).collect();
    let plan = cluster.core.plan_record().unwrap().clone();
    assert_eq!(plan.islands.len(), 2);
    let mut last = seats.iter().map(|seat| number(&cluster, seat)).max().unwrap();
    for clean in [true, false, false, true] {
        if clean {
            cluster.replace_allocator();
        } else {
            cluster.restart_allocator();
        }
        let again = cluster.seat("p4");
        assert_eq!(
            (again.player, again.island),
            (seats[4].player, seats[4].island),
            "names and seats are kept"
        );
        assert!(number(&cluster, &again) > last);
        last = number(&cluster, &again);
        let continued = cluster.core.plan_record().unwrap();
        assert_eq!((continued.number, &continued.islands), (plan.number, &plan.islands));
        cluster.run(1_000);
        assert_eq!((cluster.core.population(IslandId(1)), cluster.core.population(IslandId(2))), (3, 2));
    }
}

#[test]
fn a_restart_serves_as_soon_as_it_knows_who_is_inside() {
    let mut cluster = Cluster::serving(small(), 1);
    cluster.play("a");
    cluster.run(1_000);
    for clean in [true, false] {
        if clean {
            cluster.replace_allocator();
        } else {
            cluster.restart_allocator();
        }
        assert_eq!(cluster.core.standing(cluster.now_ms), Standing::Starting);
        cluster.run(1_000);
        assert_eq!(cluster.core.standing(cluster.now_ms), Standing::Serving);
        assert_eq!(cluster.core.population(IslandId(1)), 1);
    }
    cluster.nodes.get_mut(&1).unwrap().awake = false;
    cluster.restart_allocator();
    cluster.run(FIRST_CENSUS_MS - 500);
    assert_eq!(cluster.core.standing(cluster.now_ms), Standing::Starting);
    cluster.run(1_000);
    assert_eq!(cluster.core.standing(cluster.now_ms), Standing::Serving, "it doesn't wait for ever");
}

#[test]
fn tickets_of_a_dead_allocator_keep_their_seats() {
    let policy = Policy { islands_max: 1, ..small() };
    let mut cluster = Cluster::serving(policy, 1);
    let seats: Vec<_> = (0..4).map(|n| cluster.seat(&format!("p{n}"))).collect();
    cluster.restart_allocator();
    cluster.run(4_000);
    assert_eq!(cluster.core.standing(cluster.now_ms), Standing::Serving);
    let mut admitted = 0;
    while cluster.answer(&format!("new{admitted}"), None).is_ok() {
        admitted += 1;
    }
    assert!(admitted <= 1, "{admitted} newcomers and four unknown tickets on a cap of five");
    assert!(seats.iter().all(|seat| cluster.enter(seat, 1)), "the old tickets are still good");
    cluster.run(60_000);
    assert_eq!(cluster.core.population(IslandId(1)), 4);
    assert!(cluster.answer("later", None).is_ok(), "what was kept for them is given back");
}

#[test]
fn a_used_ticket_of_a_dead_allocator_keeps_its_seat_while_its_node_sleeps() {
    let policy = Policy { cap: 3, islands_max: 1, ..small() };
    let mut cluster = Cluster::serving(policy, 2);
    let seat = cluster.seat("a");
    assert!(cluster.enter(&seat, 1));
    cluster.nodes.get_mut(&1).unwrap().awake = false;
    cluster.restart_allocator();
    cluster.run(60_000);
    let newcomers = (0..3).filter(|n| cluster.answer(&format!("n{n}"), None).is_ok()).count();
    assert!(newcomers < 3, "nobody has heard yet whether node 1 took the ticket");
    cluster.nodes.get_mut(&1).unwrap().awake = true;
    cluster.run(5_000);
    assert_eq!(cluster.core.population(IslandId(1)), 1 + newcomers as u32);
}

#[test]
fn a_clock_that_went_back_repeats_no_ticket_number() {
    let mut cluster = Cluster::serving(small(), 1);
    let seat = cluster.seat("a");
    let last = number(&cluster, &seat);
    for _ in 0..3 {
        cluster.now_ms -= 8_000;
        cluster.replace_allocator();
        cluster.run(1_000);
        let again = cluster.seat("a");
        assert!(number(&cluster, &again) > last);
    }
}

#[test]
fn no_ticket_is_given_before_the_store_knows_of_it() {
    let policy = Policy { islands_max: 1, ..small() };
    let mut cluster = Cluster::serving(policy, 1);
    for n in 0..5 {
        cluster.seat(&format!("p{n}"));
    }
    cluster.run(60_000);
    assert_eq!((cluster.core.population(IslandId(1)), held(&cluster.store, cluster.now_ms)), (0, 0));
    // Everybody is known and every seat is free, but a process that died now would take the tickets with it.
    for n in 0..5 {
        let hello = Hello { min: 1, max: 1, name: Some(format!("p{n}")), ..Hello::default() };
        cluster.core.handle_join(RequestNo(1_000 + n), hello, cluster.now_ms);
    }
    cluster.core.drain_answers(&mut |answer| panic!("{answer:?}"));
    cluster.carry();
    assert_eq!(cluster.answers.values().filter(|answer| answer.is_ok()).count(), 5);
    assert!(held(&cluster.store, cluster.now_ms) >= 5);
}

/// Found by chaos seed 1044: a join that waited for a promise had the failed renewal sent again at each answer.
#[test]
fn a_store_that_fails_at_once_is_not_asked_in_a_loop() {
    for fault in [StoreFault::Away, StoreFault::Full, StoreFault::TimedOut] {
        let mut cluster = Cluster::serving(small(), 1);
        let home = PartitionKey::player(PlayerId(cluster.seat("a").player));
        cluster.run(60_000);
        let hello = Hello { min: 1, max: 1, name: Some("a".to_owned()), ..Hello::default() };
        cluster.core.handle_join(RequestNo(1_000), hello, cluster.now_ms);
        let mut asked = 0;
        for step in 0..100 {
            let now_ms = cluster.now_ms + step * 10;
            if step.is_multiple_of(10) {
                cluster.core.tick(now_ms);
            }
            for _ in 0..20 {
                let mut ops = Vec::new();
                cluster.core.drain_requests(&mut |id, op| ops.push((id, op)));
                for (id, op) in ops {
                    // Where the player is was read a moment before.
                    let failed = StoreAnswer::Failed(fault.clone());
                    let answer = match &op {
                        StoreOp::Load { partition } if *partition == home => cluster.store.call(now_ms, &op),
                        _ => failed,
                    };
                    asked += usize::from(matches!(answer, StoreAnswer::Failed(_)));
                    cluster.core.handle_answer(id, answer, now_ms);
                }
            }
        }
        assert!((2..=8).contains(&asked), "{asked} questions in a second to a store that says {fault}");
    }
}

/// Unused tickets on all islands, as a successor would read them.
fn held(store: &MemoryStore, now_ms: u64) -> u32 {
    let partition = PartitionKey::cluster(WORLD, CLUSTER_REGISTRY);
    let StoreAnswer::Loaded(view) = store.clone().call(now_ms, &StoreOp::Load { partition }) else {
        panic!()
    };
    let seats: SeatsRecord = records::decode(view.doc(DOC_SEATS).unwrap()).unwrap();
    seats.held.iter().map(|(_, count)| count).sum()
}

#[test]
fn players_on_a_node_that_sleeps_over_the_restart_keep_their_seats() {
    let policy = Policy { islands_max: 1, ..small() };
    let mut cluster = Cluster::serving(policy, 2);
    for n in 0..4 {
        cluster.play(&format!("p{n}"));
    }
    cluster.run(2_000);
    assert_eq!(cluster.nodes[&1].sessions.len(), 2);
    cluster.nodes.get_mut(&1).unwrap().awake = false;
    cluster.restart_allocator();
    cluster.run(50_000);
    assert!(cluster.answer("n0", None).is_ok());
    assert_eq!(cluster.answer("n1", None), Err(RejectCode::Full));
    cluster.nodes.get_mut(&1).unwrap().awake = true;
    cluster.run(5_000);
    assert_eq!(cluster.core.population(IslandId(1)), 5);
}

#[test]
fn a_newer_allocator_fences_the_older() {
    let mut cluster = Cluster::serving(small(), 1);
    let raise = EpochStep::Raise { name: EPOCH_ALLOCATOR.into(), to: 1_000 };
    cluster.commit_registry(|commit| commit.epoch(raise));
    cluster.run(2 * REGISTRY_EVERY_MS);
    assert_eq!(cluster.core.standing(cluster.now_ms), Standing::Fenced);
    assert_eq!(cluster.answer("a", None), Err(RejectCode::Closing));
}

#[test]
fn a_paused_allocator_asks_before_it_seats() {
    let mut cluster = Cluster::serving(small(), 1);
    cluster.seat("a");
    let raise = EpochStep::Raise { name: EPOCH_ALLOCATOR.into(), to: 1_000 };
    cluster.commit_registry(|commit| commit.epoch(raise));
    cluster.now_ms += 20_000;
    assert_eq!(cluster.answer("a", None), Err(RejectCode::Closing), "not a ticket from an old hand");
}

#[test]
fn a_census_of_a_replaced_incarnation_is_ignored() {
    let mut cluster = Cluster::serving(small(), 2);
    let a = cluster.play("a");
    let node = first_node(&a);
    cluster.run(1_000);
    let old = cluster.census(node);
    cluster.kill_node(node);
    cluster.start_node(node);
    cluster.run(2_000);
    let new = cluster.nodes[&node].source;
    assert!(cluster.links.contains_key(&new) && !cluster.links.contains_key(&old.source));
    let mut lies = old.clone();
    lies.tick = chunk_sync::time::Tick::at_ms(cluster.now_ms);
    lies.sessions = vec![(chunk_sync::ids::PlayerId(99), u64::MAX, IslandId(1))];
    cluster.say(old.source, &lies);
    assert_eq!(cluster.core.counters().mesh_unknown, 1);
    assert_eq!(cluster.core.population(IslandId(1)), 1);
}

#[test]
fn a_node_that_was_declared_dead_is_not_listened_to() {
    let mut cluster = Cluster::serving(small(), 2);
    let source = cluster.nodes[&1].source;
    let record = NodeRecord {
        node: NodeId(1),
        source,
        address: "node1:7000".to_owned(),
        mesh: "tcp://gone:1".to_owned(),
        alive: false,
    };
    cluster.commit_registry(|commit| commit.put(node_doc(NodeId(1)), records::encode(&record)));
    cluster.run(2_000);
    let census = cluster.census(1);
    cluster.say(source, &census);
    assert_eq!(cluster.core.counters().census_fenced, 1);
    assert_eq!(cluster.seat("a").nodes, ["node2:7000"]);
    let plan = cluster.core.plan_record().unwrap();
    assert_eq!(plan.islands[0].nodes, [NodeId(2)]);
}

#[test]
fn registry_garbage_harms_nobody_else() {
    let mut cluster = Cluster::serving(small(), 1);
    let record = NodeRecord {
        node: NodeId(8),
        source: Source(500),
        address: "node8:7000".to_owned(),
        mesh: "tcp://node8:1".to_owned(),
        alive: true,
    };
    cluster.commit_registry(|commit| {
        commit.put("node/7", &b"\xff\xff"[..]).put("node/9", records::encode(&record)).put("other", &b"x"[..])
    });
    cluster.run(1_000);
    assert!(cluster.core.counters().records_malformed >= 2);
    assert_eq!(cluster.seat("a").nodes, ["node1:7000"]);
}

#[test]
fn links_follow_the_registry_and_silent_ones_are_remade() {
    let mut cluster = Cluster::serving(small(), 2);
    assert_eq!(cluster.links.len(), 2);
    assert_eq!(cluster.subscribed, [Topic::Census.bytes()]);
    let source = cluster.nodes[&1].source;
    cluster.nodes.get_mut(&1).unwrap().awake = false;
    let mut remade = 0;
    for _ in 0..1_000 {
        cluster.now_ms += 10;
        cluster.core.tick(cluster.now_ms);
        cluster.core.drain_mesh(&mut |command| {
            remade += u32::from(command == chunk_sync::ports::MeshCommand::Remake(source));
        });
        cluster.carry();
    }
    assert!((2..=4).contains(&remade), "remade {remade} times in ten seconds");
    cluster.run(60_000);
    assert_eq!(cluster.links.len(), 1, "the link of a node without a lease is given up");
    cluster.nodes.get_mut(&1).unwrap().awake = true;
    cluster.run(10_000);
    assert_eq!(cluster.links.len(), 2);
}

#[test]
fn an_allocator_whose_lease_was_taken_away_registers_again() {
    let mut cluster = Cluster::serving(small(), 1);
    let name = lease_name(cluster.allocator);
    let release = LeaseStep::Release { name: name.into(), holder: u64::from(cluster.allocator.0) };
    cluster.commit_registry(|commit| commit.lease(release));
    cluster.run(3_000);
    assert_eq!(cluster.core.standing(cluster.now_ms), Standing::Serving);
    assert!(cluster.answer("a", None).is_ok());
}

#[test]
fn a_config_that_contradicts_itself_is_refused_whole() {
    let policy = Policy { design: 9, cap: 5, minimum: 10, islands: 4, islands_max: 2, ..Policy::default() };
    let config = AllocatorConfig {
        source: Source(1),
        policy,
        keys: Vec::new(),
        address: String::new(),
        mesh: String::new(),
    };
    let Err(ConfigError::Policy(faults)) = AllocatorCore::new(config.clone(), 0) else { panic!("taken") };
    assert_eq!(faults.len(), 3, "{faults:?}");
    let config = AllocatorConfig { policy: Policy::default(), ..config };
    assert_eq!(AllocatorCore::new(config, 0).err(), Some(ConfigError::NoKey));
}
