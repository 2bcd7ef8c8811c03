//! A client against a scripted allocator and scripted nodes.

mod acts;

use super::*;
use crate::client::{Replica, ReplicaError};
use crate::place::ChunkPos;
use crate::wire::TICK_HEADER_BYTES_MAX;

/// A reader that only counts.
#[derive(Default)]
struct Counts {
    begun: usize,
    frames: usize,
    lands: usize,
    docs: usize,
    breaks: bool,
}

impl View for Counts {
    fn begin(&mut self, _: &Welcome) {
        self.begun += 1;
    }

    fn frame(&mut self, _: &TickHeader, _: &[u8]) -> Result<(), ReplicaError> {
        self.frames += 1;
        let chunk = ChunkPos::new(0, 0);
        if self.breaks { Err(ReplicaError::OutsideView { chunk }) } else { Ok(()) }
    }

    fn land(&mut self, _: ChunkPos, _: Box<crate::terrain::ChunkTiles>) {
        self.lands += 1;
    }

    fn docs(&mut self, _: Docs) -> Result<(), ReplicaError> {
        self.docs += 1;
        if self.breaks { Err(ReplicaError::TooMuch { what: "documents", max: 0 }) } else { Ok(()) }
    }
}

fn outputs(client: &mut Client) -> Vec<ClientOutput> {
    std::iter::from_fn(|| client.poll_output()).collect()
}

fn events(client: &mut Client) -> Vec<ClientEvent> {
    let events = outputs(client).into_iter().filter_map(|output| match output {
        ClientOutput::Event(event) => Some(event),
        _ => None,
    });
    events.collect()
}

fn dialled(client: &mut Client) -> Option<String> {
    outputs(client).into_iter().find_map(|output| match output {
        ClientOutput::Dial(address) => Some(address),
        _ => None,
    })
}

fn hello(client: &mut Client, now_ms: u64) -> Hello {
    client.handle_connected(now_ms);
    let sent = outputs(client);
    let [ClientOutput::Send(bytes)] = &sent[..] else { panic!("one hello, not {sent:?}") };
    assert_eq!(bytes[4], kind::HELLO);
    control(kind::HELLO, &bytes[5..]).unwrap()
}

fn seat(nodes: &[&str]) -> Vec<u8> {
    let nodes = nodes.iter().map(|n| (*n).to_owned()).collect();
    let seat = Seat { protocol: 1, player: 9, island: 2, nodes, ticket: vec![7; 60], ticket_ms: 30_000 };
    control_frame(kind::SEAT, &seat)
}

fn welcome() -> Welcome {
    Welcome {
        protocol: 1,
        level: 0,
        features: Vec::new(),
        node: 1,
        player: 9,
        epoch: 1,
        island: 2,
        seed: 1,
        tick: 100,
        tick_ms: 100,
        island_chunks: 16,
        near_ring: 1,
        far_ring: 2,
        walk_mm_per_s: 5_000,
        keep_alive_ms: 5_000,
        x: 32_000,
        y: 33_000,
    }
}

fn tick_frame(header: TickHeader) -> Vec<u8> {
    let mut out = [0; TICK_HEADER_BYTES_MAX];
    let used = header.encode(0, &mut out);
    out[..used].to_vec()
}

fn starting() -> Client {
    Client::new(ClientConfig::new("door:7000", "Mara"), 0)
}

/// A client that is inside at second 1.
fn inside(config: ClientConfig) -> Client {
    let mut client = Client::new(config, 0);
    client.handle_connected(0);
    client.handle_bytes(&seat(&["n1:1", "n2:1"]), 0, &mut Counts::default());
    client.handle_connected(0);
    client.handle_bytes(&control_frame(kind::WELCOME, &welcome()), 1_000, &mut Counts::default());
    outputs(&mut client);
    assert_eq!(client.phase(), Phase::Inside);
    client
}

#[test]
fn through_the_allocator_to_a_node_and_in() {
    let mut client = starting();
    let mut view = Counts::default();
    assert_eq!(outputs(&mut client), [ClientOutput::Dial("door:7000".to_owned())]);
    assert_eq!(client.phase(), Phase::Allocator);
    let first = hello(&mut client, 5);
    assert_eq!(
        (first.name.as_deref(), first.ticket.is_none(), first.version()),
        (Some("Mara"), true, Some(1))
    );
    // Byte by byte, as a slow network would bring it.
    seat(&["n1:1", "n2:1"]).iter().for_each(|byte| client.handle_bytes(&[*byte], 6, &mut view));
    assert_eq!((dialled(&mut client).as_deref(), client.phase()), (Some("n1:1"), Phase::Node));
    let second = hello(&mut client, 7);
    assert_eq!((second.name, second.ticket), (None, Some(vec![7; 60])));
    // The answer and the first ticks may come in one piece.
    let mut bytes = control_frame(kind::WELCOME, &welcome());
    bytes.extend(tick_frame(TickHeader { tick: 101, ..TickHeader::default() }));
    bytes.extend(crate::wire::land_frame(ChunkPos::new(1, 1), &[crate::terrain::Tile::Grass; 256]));
    client.handle_bytes(&bytes, 8, &mut view);
    assert_eq!((client.phase(), view.begun, view.frames, view.lands), (Phase::Inside, 1, 1, 1));
    assert_eq!((client.place(), client.tick()), (Place { x: 32_000, y: 33_000 }, 101));
    assert!(matches!(&events(&mut client)[..], [ClientEvent::Entered(w)] if w.player == 9));
}

#[test]
fn nodes_are_tried_in_order_then_the_allocator_again() {
    let mut client = starting();
    client.handle_connected(0);
    client.handle_bytes(&seat(&["n1:1", "n2:1", "n3:1"]), 0, &mut Replica::new());
    assert_eq!(dialled(&mut client).as_deref(), Some("door:7000"));
    client.handle_closed(10);
    assert_eq!(dialled(&mut client).as_deref(), Some("n2:1"));
    client.handle_connected(11);
    client.handle_bytes(&RejectCode::Busy.frame(), 12, &mut Replica::new());
    let out = outputs(&mut client);
    assert!(out.contains(&ClientOutput::Dial("n3:1".to_owned())), "{out:?}");
    // The last one accepts and says nothing.
    client.handle_connected(13);
    outputs(&mut client);
    assert_eq!(client.next_timer_ms(), Some(13 + ANSWER_WAIT_MS));
    client.handle_timer(13 + ANSWER_WAIT_MS);
    assert_eq!(client.phase(), Phase::Waiting);
    let again = client.next_timer_ms().unwrap();
    client.handle_timer(again - 1);
    assert_eq!(dialled(&mut client), None);
    client.handle_timer(again);
    assert_eq!((dialled(&mut client).as_deref(), client.phase()), (Some("door:7000"), Phase::Allocator));
}

#[test]
fn attempts_end_and_take_longer_each_time() {
    let mut client =
        Client::new(ClientConfig { attempts_max: 5, ..ClientConfig::new("door:7000", "Mara") }, 0);
    let (mut now, mut waits) = (0, Vec::new());
    while client.phase() != Phase::Ended {
        client.handle_closed(now);
        if let Some(due) = client.next_timer_ms() {
            waits.push(due - now);
            now = due;
            client.handle_timer(now);
        }
    }
    assert_eq!(waits.len(), 4);
    assert!(waits.iter().enumerate().all(|(n, w)| (250 << n..750 << n).contains(w)), "{waits:?}");
    assert_eq!(events(&mut client).last(), Some(&ClientEvent::Ended(EndReason::NoWayIn)));
}

#[test]
fn refusals_end_it_or_bring_it_back() {
    for code in RejectCode::ALL {
        let mut client = starting();
        client.handle_connected(0);
        client.handle_bytes(&code.frame(), 1, &mut Replica::new());
        let hopeless = cure(*code) == Cure::None;
        assert_eq!(client.phase(), if hopeless { Phase::Ended } else { Phase::Waiting }, "{}", code.label());
        let got = events(&mut client);
        assert!(matches!(&got[0], ClientEvent::Rejected { code: c, .. } if *c == *code as u16));
        assert_eq!(got.contains(&ClientEvent::Ended(EndReason::Rejected(*code as u16))), hopeless);
    }
    // Whoever was replaced must not fight for the place, even if it would rejoin.
    let mut client = inside(ClientConfig { rejoin: true, ..ClientConfig::new("door:7000", "Mara") });
    client.handle_bytes(&RejectCode::Replaced.frame(), 2_000, &mut Replica::new());
    assert_eq!(client.phase(), Phase::Ended);
    let mut client = inside(ClientConfig { rejoin: true, ..ClientConfig::new("door:7000", "Mara") });
    client.handle_bytes(&RejectCode::Closing.frame(), 2_000, &mut Replica::new());
    assert_eq!(client.phase(), Phase::Waiting);
}

#[test]
fn steps_count_up_and_corrections_put_it_back() {
    let mut client = inside(ClientConfig::new("door:7000", "Mara"));
    let mut view = Counts::default();
    let place = Place { x: 32_050, y: 33_000 };
    let sent = client.step_to(place, 3, 1_100).unwrap();
    assert_eq!(Move::decode(&sent[5..]), Ok(Move { sequence: 1, place, heading: 3 }));
    assert!(client.step_to(Place { x: 32_100, y: 33_000 }, 3, 1_200).is_some());
    assert_eq!((client.unacknowledged(), client.place().x), (2, 32_100));
    let put_back = TickHeader { tick: 102, ack: 2, correction: Some(place), ..TickHeader::default() };
    let flood: Vec<u8> = std::iter::repeat_n(tick_frame(put_back), 500).flatten().collect();
    client.handle_bytes(&flood, 1_300, &mut view);
    assert_eq!((client.unacknowledged(), client.place(), view.frames), (0, place, 500));
    assert_eq!(events(&mut client), [ClientEvent::Corrected(place)]);
}

#[test]
fn it_stays_heard_and_notices_silence() {
    let mut client = inside(ClientConfig::new("door:7000", "Mara"));
    assert_eq!(client.next_timer_ms(), Some(6_000));
    client.step_to(client.place(), 0, 2_000);
    client.handle_timer(6_000);
    assert_eq!(outputs(&mut client), [], "a move is as good as a ping");
    client.handle_timer(7_000);
    let ping = outputs(&mut client);
    let [ClientOutput::Send(ping)] = &ping[..] else { panic!("{ping:?}") };
    assert_eq!(ping[4], kind::PING);
    client.handle_bytes(&frame(kind::PONG, &ping[5..]), 7_030, &mut Replica::new());
    assert_eq!(client.round_trip_ms(), Some(30));
    let mut now = 7_030;
    while client.phase() == Phase::Inside {
        now = client.next_timer_ms().unwrap();
        client.handle_timer(now);
    }
    assert_eq!(now, 7_030 + SERVER_SILENT_MS_MAX);
    assert!(events(&mut client).ends_with(&[ClientEvent::Lost, ClientEvent::Ended(EndReason::Lost)]));
    let mut slept = inside(ClientConfig::new("door:7000", "Mara"));
    slept.forgive_silence(10 * SERVER_SILENT_MS_MAX);
    slept.handle_timer(10 * SERVER_SILENT_MS_MAX);
    assert_eq!(slept.phase(), Phase::Inside);
    slept.handle_timer(11 * SERVER_SILENT_MS_MAX);
    assert_eq!(slept.phase(), Phase::Ended);
    let mut deaf = inside(ClientConfig { minds_silence: false, ..ClientConfig::new("door:7000", "Mara") });
    deaf.handle_timer(10 * SERVER_SILENT_MS_MAX);
    assert_eq!(deaf.phase(), Phase::Inside);
}

#[test]
fn broken_servers_are_given_up() {
    let mut wrong_world = welcome();
    wrong_world.island_chunks = 17;
    let outside_first: [(&str, Vec<u8>); 8] = [
        ("garbage", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("a length of nothing", vec![0; 4]),
        ("a client's message", frame(kind::MOVE, &[0; 10])),
        ("a tick before the welcome", tick_frame(TickHeader::default())),
        ("a welcome from the allocator", control_frame(kind::WELCOME, &welcome())),
        ("no nodes", seat(&[])),
        ("an endless address", seat(&[&"x".repeat(10_000)])),
        ("a seat that is none", frame(kind::SEAT, &[0xc1])),
    ];
    for (what, bytes) in outside_first {
        let mut client = starting();
        client.handle_connected(0);
        client.handle_bytes(&bytes, 1, &mut Replica::new());
        assert_eq!(client.phase(), Phase::Waiting, "{what}");
        assert!(events(&mut client).iter().any(|e| matches!(e, ClientEvent::ProtocolError(_))), "{what}");
    }
    let mut client = starting();
    client.handle_connected(0);
    client.handle_bytes(&seat(&["n1:1"]), 1, &mut Replica::new());
    client.handle_connected(2);
    client.handle_bytes(&control_frame(kind::WELCOME, &wrong_world), 3, &mut Replica::new());
    assert_eq!(client.phase(), Phase::Waiting);
    for bytes in [seat(&["n1:1"]), frame(kind::TICK, &[1]), frame(kind::PONG, &[1]), frame(kind::LAND, &[])] {
        let mut client = inside(ClientConfig::new("door:7000", "Mara"));
        client.handle_bytes(&bytes, 2_000, &mut Replica::new());
        assert!(events(&mut client).ends_with(&[ClientEvent::Ended(EndReason::Protocol)]));
    }
    let mut client = inside(ClientConfig::new("door:7000", "Mara"));
    let mut view = Counts { breaks: true, ..Counts::default() };
    client.handle_bytes(&tick_frame(TickHeader::default()), 2_000, &mut view);
    assert_eq!(client.phase(), Phase::Ended);
    // What a newer server says besides is skipped.
    let mut client = inside(ClientConfig::new("door:7000", "Mara"));
    client.handle_bytes(&frame(0xee, b"news"), 2_000, &mut Replica::new());
    assert_eq!((client.phase(), outputs(&mut client)), (Phase::Inside, Vec::new()));
}

#[test]
fn leaving_says_bye() {
    let mut client = inside(ClientConfig::new("door:7000", "Mara"));
    client.leave();
    let bye = ClientOutput::Send(frame(kind::BYE, &[]));
    let ended = ClientOutput::Event(ClientEvent::Ended(EndReason::Left));
    assert_eq!(outputs(&mut client), [bye, ClientOutput::Hangup, ended]);
    client.leave();
    client.handle_closed(9_000);
    assert_eq!((outputs(&mut client), client.step_to(Place::default(), 0, 9_000)), (Vec::new(), None));
}
