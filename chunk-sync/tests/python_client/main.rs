//! `docs/examples/client.py`, a client that shares no code with this crate, against a scripted server: every byte it
//! gets was made here from typed values, every byte it sends is read here. Real sockets on free ports; the whole
//! cluster is tried with it in the tests of `tools/atoll`.

mod script;

use chunk_sync::ids::Epoch;
use chunk_sync::place::{ChunkPos, Place};
use chunk_sync::wire::{ActNumber, ActOutcome, Acted, Hello, RejectCode, TickHeader, frame, kind};
use script::{ME, Nobody, Peer, Server, WALK_UP_M, client, enter, land_around, leave, moved, tick, welcome};

const HOME: ChunkPos = ChunkPos::new(8, 8);

#[test]
fn it_enters_walks_and_tells_who_comes_and_goes() {
    let server = Server::start();
    let nobody = Nobody::there();
    let (allocator, nodes) = (server.address(), vec![nobody.address(), server.address()]);
    let run = client(&allocator, &["--name", "Mara", "--seconds", "2.5", "--island", "7"]);

    let (mut door, hello) = server.accept();
    let expected = Hello { name: Some("Mara".to_owned()), island: Some(7), ..script::plain_hello() };
    assert_eq!(hello, expected);
    door.seat(nodes);

    // The first address refuses connections, so it comes here with the same ticket.
    let (mut node, hello) = server.accept();
    assert_eq!(hello, Hello { ticket: Some(script::TICKET.to_vec()), ..script::plain_hello() });
    let start = HOME.middle();
    node.send(&welcome(start));
    let reset = TickHeader { tick: 70_000, reset: true, view: Some(HOME), ..TickHeader::default() };
    node.send(&tick(
        reset,
        &[enter(5, HOME, 65_535, true, &[(0, ME, 1, start, "Mara"), (3, 900, 1, start, "Bo")])],
    ));
    land_around(HOME).iter().for_each(|land| node.send(land));

    let first = node.next_move();
    assert_eq!(first.sequence, 1);
    assert!(
        first.place.distance_squared(start) <= WALK_UP_M * WALK_UP_M,
        "{first:?} is too far from {start:?}"
    );

    // Bo passes to another source with a higher epoch, and only in the next frame leaves the old one; Ann enters.
    // The number wraps.
    let east = ChunkPos::new(9, 8);
    let header = |tick, ack| TickHeader { tick, ack, ..TickHeader::default() };
    let ann = (0, 901, 4, east.middle(), "Ann");
    let bo = (1, 900, 2, east.middle(), "Bo");
    node.send(&tick(header(70_001, 1), &[enter(6, east, 9, true, &[ann, bo])]));
    node.send(&tick(header(70_002, 1), &[leave(5, HOME, 0, 3)]));
    node.send(&tick(header(70_003, 1), &[moved(6, east, 40, true, 9, &[(0, east.middle())])]));

    // A correction: what it sends after it has read it goes on from there.
    let back = Place { x: start.x + 1_000, y: start.y - 1_000 };
    let correction = TickHeader { correction: Some(back), ..header(70_004, first.sequence) };
    node.send(&tick(correction, &[]));
    let after = node.next_move_within(back, 2 * WALK_UP_M);
    assert!(after.sequence > first.sequence);

    node.send(&tick(header(70_005, after.sequence), &[leave(6, east, 10, 0)]));
    let moves = node.moves_until_bye(after);
    assert!(moves >= 5, "only {moves} moves in two seconds");

    let output = run.output();
    assert_eq!(output.code, 0, "{output:?}");
    let told: Vec<&str> = output.stdout.lines().filter(|l| l.starts_with(['+', '-'])).collect();
    assert_eq!(told, ["+ Bo", "+ Ann", "- Ann"], "{output:?}");
    assert!(output.stdout.contains("players in sight: 1, creatures: 0, nearest: Bo "), "{output:?}");
    assert!(output.stdout.contains("corrected 1 times"), "{output:?}");
}

#[test]
fn it_acts_and_tells_what_came_of_it() {
    let server = Server::start();
    let acts = ["--act", r#"{"craft": {"recipe": "rope"}}"#, "--act", r#"{"cancel": {"trade": "1.1.1"}}"#];
    let run = client(&server.address(), &[&["--name", "Mara", "--seconds", "2"][..], &acts[..]].concat());
    let (mut door, _) = server.accept();
    door.seat(vec![server.address()]);
    let (mut node, _) = server.accept();
    node.send(&welcome(HOME.middle()));

    let first = node.next_act();
    let id = |number| ActNumber::new(Epoch(1), number);
    assert_eq!((first.id, first.answered, first.island), (id(1), id(0), 7));
    // {"craft": {"recipe": "rope"}}
    assert_eq!(first.action, b"\x81\xa5craft\x81\xa6recipe\xa4rope");
    let answer = |id, outcome| Acted { id, outcome, code: 0, reason: String::new(), text: String::new() };
    let foreign = answer(id(9), ActOutcome::Done);
    for told in [foreign, answer(first.id, ActOutcome::Waiting), answer(first.id, ActOutcome::Done)] {
        node.send(&told.frame());
    }
    let second = node.next_act();
    assert_eq!((second.id, second.answered), (id(2), id(1)));
    let (code, reason, text) = (219, "trade_closed".to_owned(), "That trade is over.".to_owned());
    node.send(&Acted { code, reason, text, ..answer(second.id, ActOutcome::Refused) }.frame());

    node.read_until_bye();
    let output = run.output();
    let told: Vec<&str> = output.stdout.lines().filter(|line| line.starts_with("act")).collect();
    assert_eq!(
        told,
        [
            "act 1 (craft): waiting",
            "act 1 (craft): done",
            "act 2 (cancel): refused (trade_closed): That trade is over."
        ],
        "{output:?}"
    );
    assert_eq!(client("127.0.0.1:1", &["--name", "Mara", "--act", "[]"]).output().code, 2);
}

#[test]
fn it_shows_the_text_of_a_refusal() {
    let server = Server::start();
    let run = client(&server.address(), &["--name", "Mara"]);
    let (mut door, _) = server.accept();
    door.send(&RejectCode::Full.frame());
    let output = run.output();
    assert_eq!(output.code, 4, "{output:?}");
    assert!(output.stderr.contains(RejectCode::Full.text()), "{output:?}");
}

#[test]
fn it_tries_the_next_node_when_one_is_busy_and_hears_a_refusal_inside() {
    let server = Server::start();
    let run = client(&server.address(), &["--name", "Mara"]);
    let (mut door, _) = server.accept();
    door.seat(vec![server.address(), server.address()]);
    let (mut busy, _) = server.accept();
    busy.send(&RejectCode::Busy.frame());
    let (mut node, hello) = server.accept();
    assert_eq!(hello.ticket.as_deref(), Some(&script::TICKET[..]));
    node.send(&welcome(HOME.middle()));
    node.send(&RejectCode::Replaced.frame());
    let output = run.output();
    assert_eq!(output.code, 4, "{output:?}");
    assert!(output.stderr.contains(RejectCode::Replaced.text()), "{output:?}");
}

/// Lets a client in and hands it these frames.
fn inside(send: impl FnOnce(&mut Peer)) -> script::Output {
    let server = Server::start();
    let run = client(&server.address(), &["--name", "Mara"]);
    let (mut door, _) = server.accept();
    door.seat(vec![server.address()]);
    let (mut node, _) = server.accept();
    node.send(&welcome(HOME.middle()));
    send(&mut node);
    run.output()
}

#[test]
fn it_notices_when_the_protocol_is_broken() {
    let header = TickHeader { tick: 1, reset: true, view: Some(HOME), ..TickHeader::default() };
    let roster = enter(5, HOME, 7, true, &[(0, ME, 1, HOME.middle(), "Mara")]);
    let with = |block: Vec<u8>| tick(header, &[roster.clone(), block]);
    let faults: Vec<(&str, Vec<u8>)> = vec![
        ("a gap in the roster", with(leave(5, HOME, 9, 0))),
        ("a delta before any keyframe", with(moved(5, HOME, 3, false, 7, &[]))),
        ("motion that rests on a newer roster", with(moved(5, HOME, 3, true, 8, &[]))),
        ("motion without a roster", with(moved(6, HOME, 3, true, 8, &[]))),
        ("a block cut short", tick(header, &[roster[..roster.len() - 1].to_vec()])),
        ("a tick cut short", frame(kind::TICK, &[0, 0, 0])),
        ("a frame that is too long", vec![0xff, 0xff, 0xff, 0xff, kind::TICK]),
    ];
    for (what, bytes) in faults {
        let output = inside(|node| node.send(&bytes));
        assert_eq!(output.code, 3, "{what}: {output:?}");
        assert!(output.stderr.contains("broke the protocol"), "{what}: {output:?}");
    }
}

#[test]
fn it_says_when_the_connection_is_lost_or_cannot_be_made() {
    let output = inside(Peer::close);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("closed the connection") || output.stderr.contains("lost"), "{output:?}");
    let output = client(&Nobody::there().address(), &["--name", "Mara"]).output();
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("no connection to"), "{output:?}");
    for wrong in
        [&["--name"][..], &[], &["--name", "Mara", "--seconds", "0"], &["--name", "x", "--island", "y"]]
    {
        assert_eq!(client("127.0.0.1:1", wrong).output().code, 2, "{wrong:?}");
    }
    assert_eq!(client("nowhere", &["--name", "Mara"]).output().code, 2);
}
