//! One ticket is one entry, at whichever of its nodes; one name is one session, the newest.

use std::time::Duration;

use chunk_sync::wire::{Hello, RejectCode, kind};

use crate::players::Players;
use crate::processes::Up;
use crate::raw::{ANSWER_WAIT, Answer, Raw, hello, seat};

/// How often two nodes are shown the same ticket at once.
const ROUNDS: usize = 12;
/// How soon everybody is to see who entered and who left.
const SETTLE: Duration = Duration::from_secs(5);

#[test]
fn a_ticket_that_two_nodes_are_shown_at_once_lets_one_in() {
    let up = Up::start();
    for round in 0..ROUNDS {
        let seat = seat(up.join(), &format!("twice-{round}"));
        assert_eq!(seat.nodes.len(), 3, "{:?}", seat.nodes);
        let shown = hello(&Hello { ticket: Some(seat.ticket.clone()), ..Hello::default() });
        let (first, second) = (round % 3, (round + 1 + round / 3 % 2) % 3);
        let mut both = [Raw::connect(&seat.nodes[first]), Raw::connect(&seat.nodes[second])];
        for raw in &mut both {
            raw.send(&shown);
        }
        let answers = both.each_mut().map(|raw| raw.welcome().map(|welcome| welcome.player));
        let inside = answers.iter().position(Result::is_ok).expect("one of them is let in");
        assert_eq!(answers[inside], Ok(seat.player), "round {round}");
        assert_eq!(answers[1 - inside], Err(RejectCode::TicketUsed), "round {round}");
        // Whoever comes later is refused too, everywhere, and harms the one inside in no way.
        for node in &seat.nodes {
            assert_eq!(Raw::connect(node).show(&seat.ticket), Err(RejectCode::TicketUsed), "round {round}");
        }
        still_inside(&mut both[inside]);
    }
}

#[test]
fn entering_again_ends_the_older_session_wherever_it_is() {
    let up = Up::start();
    let players = Players::new();
    let watcher = players.enter(up.join(), "watcher", false);
    let again = players.send(up.join(), "again", false);
    players.await_inside(again);
    let entity = players.look()[again].entity;
    players.await_seen(&[watcher], &[watcher, again], SETTLE);
    let mut older: Option<Raw> = None;
    // Twice at each node: over from another node, and on the same one.
    for node in [0, 0, 1, 1, 2, 2] {
        let mut seat = seat(up.join(), "aGAIN");
        assert_eq!(seat.player, entity.0, "upper and lower case are the same player");
        seat.nodes.sort();
        let mut newer = Raw::connect(&seat.nodes[node]);
        let welcome = newer.show(&seat.ticket).expect("a new ticket opens the door");
        assert_eq!(welcome.player, entity.0);
        match &mut older {
            Some(older) => assert_eq!(older.refused(), RejectCode::Replaced),
            None => crate::eventually("the first session is told", SETTLE, || {
                let events = &players.look()[again].events;
                let told = events.iter().any(|event| {
                    matches!(event, chunk_sync::client::ClientEvent::Rejected { code, .. }
                        if *code == RejectCode::Replaced as u16)
                });
                if told { Ok(()) } else { Err(format!("{events:?}")) }
            }),
        }
        still_inside(&mut newer);
        // The name is seen once, in the newest session.
        crate::eventually("the watcher sees the newest session", SETTLE, || {
            let players = players.look();
            let seen = players[watcher].replica.get(entity).map(|entity| entity.epoch.0);
            if seen == Some(welcome.epoch) { Ok(()) } else { Err(format!("{seen:?} of {welcome:?}")) }
        });
        players.await_seen(&[watcher], &[watcher, again], SETTLE);
        older = Some(newer);
    }
    players.are_well(&[watcher]);
}

/// The session answers.
fn still_inside(raw: &mut Raw) {
    raw.send(&chunk_sync::wire::frame(kind::PING, b"there?"));
    assert_eq!(raw.wait_for(kind::PONG).as_deref(), Ok(b"there?".as_slice()));
    assert!(matches!(raw.answer(ANSWER_WAIT), Answer::Frame(kind::TICK, _)), "it is served");
}
