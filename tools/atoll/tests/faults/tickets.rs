//! One ticket is one entry, at whichever of its nodes; one name is one session, the newest.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chunk_sync::ids::EntityId;
use chunk_sync::wire::{Hello, RejectCode, Welcome, kind};

use crate::eventually;
use crate::players::Players;
use crate::processes::Up;
use crate::raw::{ANSWER_WAIT, Answer, Raw, hello, seat};

/// How often two nodes are shown the same ticket at once.
const ROUNDS: usize = 12;
/// How soon the older session is to end. The nodes tell each other; that each asks the store now and then takes longer.
const PROMPT: Duration = Duration::from_secs(2);
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
    let mut older: Option<(Raw, Welcome)> = None;
    // Twice at each node: over from another node, and on the same one.
    for (node, name) in
        [(0, "again"), (0, "aGAIN"), (1, "again"), (1, "AGAIN"), (2, "Again"), (2, "again"), (0, "again")]
    {
        let mut seat = seat(up.join(), name);
        seat.nodes.sort();
        let mut newer = Raw::connect(&seat.nodes[node]);
        let welcome = newer.show(&seat.ticket).expect("a new ticket opens the door");
        if let Some((mut older, before)) = older {
            let entered = Instant::now();
            assert_eq!(older.refused(), RejectCode::Replaced);
            assert!(entered.elapsed() < PROMPT, "it took {:?}", entered.elapsed());
            assert_eq!(welcome.player, before.player, "upper and lower case are the same player");
            assert!(welcome.epoch > before.epoch, "{welcome:?} after {before:?}");
        }
        still_inside(&mut newer);
        // The player is seen once, in the newest session.
        let entity = EntityId(welcome.player);
        eventually("the watcher sees the newest session", SETTLE, || {
            let watcher = &players.look()[watcher];
            let seen = watcher.replica.get(entity).map(|entity| entity.epoch.0);
            let both = watcher.seen() == BTreeSet::from([watcher.entity, entity]);
            if both && seen == Some(welcome.epoch) { Ok(()) } else { Err(format!("{seen:?} of {welcome:?}")) }
        });
        older = Some((newer, welcome));
    }
    players.are_well(&[watcher]);
}

/// The session answers.
fn still_inside(raw: &mut Raw) {
    raw.send(&chunk_sync::wire::frame(kind::PING, b"there?"));
    assert_eq!(raw.wait_for(kind::PONG).as_deref(), Ok(b"there?".as_slice()));
    assert!(matches!(raw.answer(ANSWER_WAIT), Answer::Frame(kind::TICK, _)), "it is served");
}
