//! Nodes that stop, die, come back and leave, as processes of their own on a shared Redis. Whoever plays on another
//! node notices nothing but that some players vanish and return.

use std::time::{Duration, Instant};

use chunk_sync::client::{ClientEvent, EndReason};
use chunk_sync::wire::RejectCode;
use rustix::process::Signal;

use crate::town::{SETTLE, Town};
use crate::{eventually, raw, throughout};

/// How long a node is stopped.
const STOPPED: Duration = Duration::from_secs(10);
/// How soon players of a silent node are to vanish: they are hidden after 1.5 s.
const VANISH: Duration = Duration::from_secs(4);
/// How long a later look is taken, that nothing goes wrong after all.
const WATCH: Duration = Duration::from_secs(3);

#[test]
fn a_node_that_was_stopped_goes_on_where_it_was() {
    let town = Town::start();
    let (players, all) = (&town.players, &town.all);
    let (own, others) = town.split(1);
    town.cluster.node(1).signal(Signal::STOP);
    let since = Instant::now();
    players.await_seen(&others, &others, VANISH);
    players.are_well(&others);
    town.cluster.await_live(&[2, 3]);
    throughout(STOPPED.saturating_sub(since.elapsed()), || players.are_well(&others));

    town.cluster.node(1).signal(Signal::CONT);
    players.await_seen(all, all, SETTLE);
    town.cluster.await_live(&[1, 2, 3]);
    eventually("the stopped node's players are served again", SETTLE, || {
        let players = players.look();
        let silent = own.iter().map(|at| &players[*at]).find(|p| p.heard.elapsed() > Duration::from_secs(1));
        silent.map_or(Ok(()), |player| Err(format!("{} hears nothing", player.name)))
    });
    throughout(WATCH, || players.are_well(all));
    players.await_agreement(all, SETTLE);
    eventually("everybody is counted where they were", SETTLE, || {
        let state = town.cluster.allocator.state();
        let population = state["islands"][0]["population"].as_u64();
        if population == Some(all.len() as u64) { Ok(()) } else { Err(format!("{state:#}")) }
    });
}

#[test]
fn a_killed_node_takes_only_its_own_players_with_it_and_may_come_back() {
    let mut town = Town::start();
    let (own, others) = town.split(2);
    let address = town.cluster.node(2).said("address").to_owned();
    town.cluster.node_mut(2).kill();
    let players = &town.players;
    players.await_seen(&others, &others, VANISH);
    players.are_well(&others);
    eventually("its own players have noticed", SETTLE, || {
        let players = players.look();
        let lost = |at: &usize| players[*at].events.contains(&ClientEvent::Ended(EndReason::Lost));
        if own.iter().all(lost) { Ok(()) } else { Err("some have not".to_owned()) }
    });

    town.cluster.await_live(&[1, 3]);
    let seat = raw::seat(town.cluster.join(), "asks");
    assert!(seat.nodes.len() == 2 && !seat.nodes.contains(&address), "{:?} of {address}", seat.nodes);
    // Those who were thrown out come back under their names, as the same players.
    let mut inside = others.clone();
    for at in &own {
        let (name, entity) = {
            let all = players.look();
            (all[*at].name.clone(), all[*at].entity)
        };
        let again = players.enter(town.cluster.join(), &name, false);
        assert_eq!(players.look()[again].entity, entity, "{name} is another player now");
        inside.push(again);
    }
    assert!(inside.iter().all(|at| players.look()[*at].node != 2));
    players.await_seen(&inside, &inside, SETTLE);

    town.cluster.restart(2);
    town.cluster.await_live(&[1, 2, 3]);
    let players = &town.players;
    let newcomer = players.enter(town.cluster.join(), "newcomer", true);
    assert_eq!(players.look()[newcomer].node, 2, "the empty node is the first choice");
    inside.push(newcomer);
    players.await_seen(&inside, &inside, SETTLE);
    throughout(WATCH, || players.are_well(&inside));
    players.await_agreement(&inside, SETTLE);
}

#[test]
fn a_node_that_is_asked_to_leave_says_so() {
    let mut town = Town::start();
    let (own, others) = town.split(3);
    town.cluster.node(3).signal(Signal::TERM);
    let status = town.cluster.node_mut(3).exit();
    assert_eq!(status.code(), Some(0), "{status}");
    let players = &town.players;
    for at in own {
        let all = players.look();
        let codes: Vec<u16> = all[at]
            .events
            .iter()
            .filter_map(|event| match event {
                ClientEvent::Rejected { code, .. } => Some(*code),
                _ => None,
            })
            .collect();
        assert_eq!(codes, [RejectCode::Closing as u16], "{}: {:?}", all[at].name, all[at].events);
    }
    players.await_seen(&others, &others, VANISH);
    town.cluster.await_live(&[1, 2]);
    throughout(WATCH, || players.are_well(&others));
    players.await_agreement(&others, SETTLE);
}
