//! Acts against a scripted node: their ids, what is resent, what is told and what is not.

use super::*;
use crate::client::limits::TEXT_CHARS_MAX;
use crate::client::{ActError, OpenAct};
use crate::ids::{Epoch, IslandId};
use crate::limits::{ACT_RESENT_MS_MAX, ACTION_BYTES_MAX, ACTS_OPEN_MAX};
use crate::wire::{Act, ActNumber, ActOutcome, Acted, Docs};

fn id(epoch: u32, number: u32) -> ActNumber {
    ActNumber::new(Epoch(epoch), number)
}

fn acted(id: ActNumber, outcome: ActOutcome) -> Acted {
    Acted { id, outcome, code: 0, reason: String::new(), text: String::new() }
}

/// The acts among what the client sends, and what it tells.
fn drained(client: &mut Client) -> (Vec<Act>, Vec<Acted>) {
    let (mut sent, mut told) = (Vec::new(), Vec::new());
    for output in outputs(client) {
        match output {
            ClientOutput::Send(bytes) if bytes[4] == kind::ACT => {
                sent.push(control(kind::ACT, &bytes[5..]).unwrap());
            }
            ClientOutput::Event(ClientEvent::Acted(acted)) => told.push(acted),
            _ => {}
        }
    }
    assert!(sent.iter().all(Act::is_sound), "{sent:?}");
    (sent, told)
}

fn hear(client: &mut Client, answers: &[Acted]) -> Vec<Acted> {
    let bytes: Vec<u8> = answers.iter().flat_map(Acted::frame).collect();
    client.handle_bytes(&bytes, 1_500, &mut Counts::default());
    drained(client).1
}

/// Loses the session and comes in again as the node's welcome says.
fn come_back(client: &mut Client, welcome: &Welcome) -> (Vec<Act>, Vec<Acted>) {
    client.handle_closed(2_000);
    assert_eq!(client.phase(), Phase::Waiting);
    client.handle_timer(client.next_timer_ms().unwrap());
    through_the_door(client, welcome)
}

fn through_the_door(client: &mut Client, welcome: &Welcome) -> (Vec<Act>, Vec<Acted>) {
    client.handle_connected(4_000);
    client.handle_bytes(&seat(&["n1:1"]), 4_000, &mut Counts::default());
    client.handle_connected(4_000);
    client.handle_bytes(&control_frame(kind::WELCOME, welcome), 4_000, &mut Counts::default());
    assert_eq!(client.phase(), Phase::Inside);
    drained(client)
}

fn rejoining() -> Client {
    inside(ClientConfig { rejoin: true, ..ClientConfig::new("door:7000", "Mara") })
}

#[test]
fn ids_grow_and_answered_rises_to_the_oldest_open_act() {
    let mut client = rejoining();
    for number in 1..=3u8 {
        assert_eq!(client.act(vec![number], 1_100), Ok(id(1, u32::from(number))));
    }
    let (sent, _) = drained(&mut client);
    assert_eq!(
        sent.iter().map(|act| (act.id, act.answered)).collect::<Vec<_>>(),
        [(id(1, 1), id(1, 0)), (id(1, 2), id(1, 0)), (id(1, 3), id(1, 0))]
    );
    assert!(sent.iter().all(|act| act.island == 2));
    // The second one is answered first: the oldest open act still holds everything.
    hear(&mut client, &[acted(id(1, 2), ActOutcome::Done)]);
    client.act(vec![4], 1_200).unwrap();
    assert_eq!(drained(&mut client).0[0].answered, id(1, 0));
    hear(&mut client, &[acted(id(1, 1), ActOutcome::Refused)]);
    client.act(vec![5], 1_300).unwrap();
    assert_eq!(drained(&mut client).0[0].answered, id(1, 2));
    hear(&mut client, &[3, 4, 5].map(|number| acted(id(1, number), ActOutcome::Done)));
    client.act(vec![6], 1_400).unwrap();
    let (sent, _) = drained(&mut client);
    assert_eq!((sent[0].id, sent[0].answered), (id(1, 6), id(1, 5)));
}

#[test]
fn answers_are_told_once_and_only_of_what_was_asked() {
    let mut client = rejoining();
    client.act(vec![1], 1_100).unwrap();
    client.act(vec![2], 1_100).unwrap();
    drained(&mut client);
    let waiting = acted(id(1, 1), ActOutcome::Waiting);
    assert_eq!(hear(&mut client, &vec![waiting.clone(); 500]), std::slice::from_ref(&waiting));
    assert_eq!(client.open_acts().map(|act| act.waits).collect::<Vec<_>>(), [true, false]);
    let refused = Acted {
        code: 202,
        reason: "not_there".to_owned(),
        text: "x".repeat(10 * TEXT_CHARS_MAX),
        ..acted(id(1, 1), ActOutcome::Refused)
    };
    let cut = Acted { text: "x".repeat(TEXT_CHARS_MAX), ..refused.clone() };
    assert_eq!(hear(&mut client, &[refused.clone(), refused, waiting]), [cut]);
    let strangers = [id(1, 7), id(9, 2), id(0, 0)].map(|id| acted(id, ActOutcome::Done));
    assert_eq!(hear(&mut client, &strangers), []);
    assert_eq!(client.open_acts().map(|act| act.id).collect::<Vec<_>>(), [id(1, 2)]);
    assert_eq!(client.phase(), Phase::Inside);
}

#[test]
fn there_are_limits_to_asking() {
    let mut client = starting();
    assert_eq!(client.act(vec![1], 0), Err(ActError::NotInside));
    let mut client = rejoining();
    let bytes = ACTION_BYTES_MAX + 1;
    assert_eq!(client.act(vec![0; bytes], 1_100), Err(ActError::TooLong { bytes }));
    for _ in 0..ACTS_OPEN_MAX {
        client.act(vec![0; ACTION_BYTES_MAX], 1_100).unwrap();
    }
    assert_eq!(client.act(vec![1], 1_100), Err(ActError::TooMany));
    assert_eq!(drained(&mut client).0.len(), ACTS_OPEN_MAX);
    hear(&mut client, &[acted(id(1, 1), ActOutcome::Waiting)]);
    assert_eq!(client.act(vec![1], 1_100), Err(ActError::TooMany), "what waits is under way");
    hear(&mut client, &[acted(id(1, 1), ActOutcome::Done)]);
    // What was not asked for took no number.
    assert_eq!(client.act(vec![1], 1_100), Ok(id(1, ACTS_OPEN_MAX as u32 + 1)));
}

#[test]
fn unanswered_acts_are_asked_again_under_their_old_names() {
    let mut client = rejoining();
    for number in 1..=4 {
        client.act(vec![number], 1_100).unwrap();
    }
    drained(&mut client);
    hear(&mut client, &[acted(id(1, 2), ActOutcome::Done), acted(id(1, 3), ActOutcome::Waiting)]);
    client.handle_closed(2_000);
    assert_eq!(client.act(vec![9], 2_100), Err(ActError::NotInside));
    client.handle_timer(client.next_timer_ms().unwrap());
    // On another island, in a later session.
    let (again, told) = through_the_door(&mut client, &Welcome { epoch: 5, island: 3, ..welcome() });
    let seen: Vec<_> = again.iter().map(|act| (act.id, act.answered, act.island, act.action[0])).collect();
    assert_eq!(seen, [(id(1, 1), id(1, 0), 2, 1), (id(1, 3), id(1, 0), 2, 3), (id(1, 4), id(1, 0), 2, 4)]);
    assert_eq!(told, []);
    assert_eq!(client.act(vec![10], 4_100), Ok(id(5, 1)));
    let (sent, _) = drained(&mut client);
    assert_eq!((sent[0].id, sent[0].answered, sent[0].island), (id(5, 1), id(1, 0), 3));
    // It waits again, in this session, and is told again.
    let answers = [
        acted(id(1, 3), ActOutcome::Waiting),
        acted(id(1, 1), ActOutcome::Over),
        acted(id(1, 3), ActOutcome::Done),
        acted(id(1, 4), ActOutcome::Over),
    ];
    assert_eq!(hear(&mut client, &answers), answers);
    client.act(vec![11], 4_200).unwrap();
    assert_eq!(drained(&mut client).0[0].answered, id(5, 0), "everything earlier is answered");
    // A second loss leaves the two of this session.
    let (again, _) = come_back(&mut client, &Welcome { epoch: 6, ..welcome() });
    assert_eq!(again.iter().map(|act| act.id).collect::<Vec<_>>(), [id(5, 1), id(5, 2)]);
}

#[test]
fn what_was_never_heard_of_is_known_in_the_end() {
    let mut client = inside(ClientConfig::new("door:7000", "Mara"));
    client.act(vec![1], 1_100).unwrap();
    client.act(vec![2], 1_100).unwrap();
    hear(&mut client, &[acted(id(1, 1), ActOutcome::Done)]);
    client.handle_closed(2_000);
    assert_eq!(client.phase(), Phase::Ended);
    let left: Vec<OpenAct> = client.open_acts().cloned().collect();
    assert_eq!(
        left,
        [OpenAct { id: id(1, 2), island: 2, action: vec![2], tick: welcome().tick as u32, waits: false }]
    );
}

#[test]
fn another_world_is_asked_nothing_of_the_last_one() {
    for other in [
        Welcome { player: 10, epoch: 8, ..welcome() },
        Welcome { player: 10, ..welcome() },
        Welcome { epoch: 0, ..welcome() },
    ] {
        let mut client = rejoining();
        client.act(vec![1], 1_100).unwrap();
        drained(&mut client);
        let (again, told) = come_back(&mut client, &other);
        assert_eq!((again, told), (Vec::new(), vec![acted(id(1, 1), ActOutcome::Over)]));
        assert_eq!(client.act(vec![2], 4_100), Ok(id(other.epoch, 1)));
    }
    // The same epoch again counts on, so that no id names two acts.
    let mut client = rejoining();
    client.act(vec![1], 1_100).unwrap();
    drained(&mut client);
    let (again, _) = come_back(&mut client, &welcome());
    assert_eq!((again.len(), client.act(vec![2], 4_100)), (1, Ok(id(1, 2))));
}

#[test]
fn what_was_asked_for_too_long_ago_is_over_and_not_asked_again() {
    let mut client = rejoining();
    client.act(vec![1], 1_100).unwrap();
    let header = TickHeader { tick: welcome().tick as u32 + 50, ..TickHeader::default() };
    client.handle_bytes(&tick_frame(header), 1_200, &mut Counts::default());
    client.act(vec![2], 1_300).unwrap();
    drained(&mut client);
    // The client's own clock stood still meanwhile, the world's did not: the first act is a tick too old.
    let ticks = ACT_RESENT_MS_MAX / u64::from(welcome().tick_ms) + 1;
    let late = Welcome { tick: welcome().tick + ticks, epoch: 2, ..welcome() };
    let (again, told) = come_back(&mut client, &late);
    assert_eq!(again.iter().map(|act| act.id).collect::<Vec<_>>(), [id(1, 2)]);
    assert_eq!(told, [acted(id(1, 1), ActOutcome::Over)]);
    // A node whose clock is behind makes nothing old.
    let (again, _) = come_back(&mut client, &Welcome { tick: welcome().tick - 1, epoch: 3, ..welcome() });
    assert_eq!(again.iter().map(|act| act.id).collect::<Vec<_>>(), [id(1, 2)]);
}

#[test]
fn a_ticket_of_before_a_journey_leads_back_to_the_allocator_at_once() {
    let mut client = starting();
    client.handle_connected(0);
    for (round, goes_at_once) in [(1, true), (2, false)] {
        client.handle_bytes(&seat(&["n1:1", "n2:1"]), 10 * round, &mut Counts::default());
        client.handle_connected(10 * round);
        outputs(&mut client);
        client.handle_bytes(&RejectCode::Travelled.frame(), 10 * round, &mut Counts::default());
        let phase = if goes_at_once { Phase::Allocator } else { Phase::Waiting };
        assert_eq!(client.phase(), phase, "round {round}");
        client.handle_connected(10 * round);
    }
}

#[test]
fn a_traveller_goes_on_to_the_other_island_at_once() {
    // Also one who would not come back after a loss.
    let mut client = inside(ClientConfig::new("door:7000", "Mara"));
    client.act(vec![1], 1_100).unwrap();
    client.set_island(Some(IslandId(7)));
    let mut bytes = acted(id(1, 1), ActOutcome::Done).frame();
    bytes.extend(RejectCode::Travelled.frame());
    client.handle_bytes(&bytes, 1_200, &mut Counts::default());
    assert_eq!((dialled(&mut client).as_deref(), client.phase()), (Some("door:7000"), Phase::Allocator));
    assert_eq!(hello(&mut client, 1_300).island, Some(7));
}

#[test]
fn documents_go_to_the_view_and_too_many_end_it() {
    let mut client = rejoining();
    let mut view = Counts::default();
    let docs = Docs { chunk: Some(ChunkPos::new(7, 8)), whole: true, ..Docs::default() };
    client.handle_bytes(&docs.frame(), 1_100, &mut view);
    assert_eq!((view.docs, client.phase()), (1, Phase::Inside));
    view.breaks = true;
    client.handle_bytes(&docs.frame(), 1_100, &mut view);
    assert_eq!(client.phase(), Phase::Waiting);
}

#[test]
fn answers_and_documents_are_a_nodes_and_well_formed() {
    let answers = [acted(id(1, 1), ActOutcome::Done).frame(), Docs::default().frame()];
    for bytes in &answers {
        let mut client = starting();
        client.handle_connected(0);
        client.handle_bytes(bytes, 1, &mut Counts::default());
        assert_eq!(client.phase(), Phase::Waiting);
    }
    for kind in [kind::ACTED, kind::DOCS] {
        let mut client = rejoining();
        client.handle_bytes(&frame(kind, &[0xc1]), 1_100, &mut Counts::default());
        assert_eq!(client.phase(), Phase::Waiting);
    }
    let mut client = rejoining();
    client.handle_bytes(&frame(kind::ACT, &[0x80]), 1_100, &mut Counts::default());
    assert_eq!(client.phase(), Phase::Waiting, "a client's message");
}
