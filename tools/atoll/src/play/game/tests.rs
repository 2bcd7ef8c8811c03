//! The game against a scripted allocator and node that speak the real wire.

use super::*;
use chunk_sync::blocks::EntityKind;
use chunk_sync::client::ClientConfig;
use chunk_sync::ids::{Epoch, Source};
use chunk_sync::limits::{QUANTA_PER_M, TILES_PER_CHUNK};
use chunk_sync::place::Pose;
use chunk_sync::sync::{Publisher, Who};
use chunk_sync::terrain::{LANDING, Tile};
use chunk_sync::time::Tick;
use chunk_sync::wire::{
    Hello, Move, RejectCode, Seat, TICK_HEADER_BYTES_MAX, control, control_frame, land_frame,
};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use crate::play::draw::draw;
use crate::play::land::TilePos;

const ME: u64 = 9;

fn welcome(place: Place) -> Welcome {
    Welcome {
        protocol: 1,
        level: 0,
        features: vec!["land".to_owned()],
        node: 3,
        player: ME,
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
        x: place.x,
        y: place.y,
    }
}

fn tick(header: TickHeader, blocks: &[u8]) -> Vec<u8> {
    let mut out = [0; TICK_HEADER_BYTES_MAX];
    let used = header.encode(blocks.len(), &mut out);
    [&out[..used], blocks].concat()
}

/// What a node says first: the landing, the player, another one 6 m east and a creature 2 m south.
fn first_view() -> Vec<u8> {
    let middle = LANDING.middle();
    let mut publisher = Publisher::new(Source(5), LANDING);
    for (id, name, kind, east_m, north_m) in [
        (ME, "Mara", EntityKind::Player, 0, 0),
        (10, "Bo", EntityKind::Player, 6, 0),
        (11, "", EntityKind::Creature, 0, -2),
    ] {
        let (epoch, entity) = (Epoch(1), EntityId(id));
        let who = Who { entity, epoch, name: name.to_owned().into(), kind, ..Who::default() };
        let place = Place { x: middle.x + east_m * QUANTA_PER_M, y: middle.y + north_m * QUANTA_PER_M };
        assert!(publisher.enter(who, Pose::new(place, 0), Tick(101)).is_some());
    }
    let header = TickHeader { tick: 101, reset: true, ..TickHeader::default() };
    let land = land_frame(LANDING, &[Tile::Grass; TILES_PER_CHUNK]);
    [tick(header, &publisher.roster_snapshot(Tick(101))), land].concat()
}

fn starting() -> Game {
    let config = ClientConfig {
        features: vec!["land".to_owned()],
        island: Some(chunk_sync::ids::IslandId(2)),
        ..ClientConfig::new("door:7000", "Mara")
    };
    Game::new(config, 0)
}

fn acts(game: &mut Game) -> Vec<Act> {
    std::iter::from_fn(|| game.poll()).collect()
}

fn hello(game: &mut Game, now_ms: u64) -> Hello {
    game.handle_connected(now_ms);
    let sent = acts(game);
    let [Act::Send(bytes)] = &sent[..] else { panic!("one hello, not {sent:?}") };
    control(kind::HELLO, &bytes[5..]).unwrap()
}

fn seated(game: &mut Game) {
    let nodes = vec!["n1:1".to_owned()];
    let seat = Seat { protocol: 1, player: ME, island: 2, nodes, ticket: vec![7; 60], ticket_ms: 30_000 };
    game.handle_bytes(&control_frame(kind::SEAT, &seat), 0);
}

/// A game that entered at second 1, with everything it wanted sent by then.
fn inside_at(place: Place) -> Game {
    let mut game = starting();
    game.handle_connected(0);
    seated(&mut game);
    game.handle_connected(0);
    game.handle_bytes(&control_frame(kind::WELCOME, &welcome(place)), 1_000);
    game.handle_bytes(&first_view(), 1_000);
    game.handle_time(1_000);
    acts(&mut game);
    game
}

fn inside() -> Game {
    inside_at(LANDING.middle())
}

fn screen(game: &Game, now_ms: u64) -> String {
    let mut terminal = Terminal::new(TestBackend::new(90, 24)).unwrap();
    terminal.draw(|frame| draw(&game.scene(now_ms), frame)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn the_way_in_ends_with_everybody_in_view() {
    let mut game = starting();
    assert_eq!(acts(&mut game), [Act::Dial("door:7000".to_owned())]);
    assert_eq!(game.scene(0).standing, Standing::Asking);
    let asked = hello(&mut game, 0);
    assert_eq!((asked.name.as_deref(), asked.island), (Some("Mara"), Some(2)));
    assert_eq!(asked.features, ["land"]);

    seated(&mut game);
    assert_eq!(acts(&mut game), [Act::Dial("n1:1".to_owned())]);
    assert_eq!(game.scene(0).standing, Standing::Entering);
    assert_eq!(hello(&mut game, 0).ticket, Some(vec![7; 60]));

    game.handle_bytes(&control_frame(kind::WELCOME, &welcome(LANDING.middle())), 1_000);
    game.handle_bytes(&first_view(), 1_050);
    let scene = game.scene(1_100);
    assert_eq!(scene.standing, Standing::Inside { silent_s: None });
    let here = scene.here.unwrap();
    assert_eq!((here.island, here.node, here.place), (2, 3, LANDING.middle()));
    let others: Vec<_> = scene.others.iter().map(|entity| (entity.id.0, entity.name)).collect();
    assert_eq!(others, [(11, ""), (10, "Bo")], "the nearest first, the player not among them");
    assert_eq!(scene.land.tile(TilePos::of(here.place)), Some(Tile::Grass));
    assert_eq!(scene.tick, 101);
}

#[test]
fn the_round_trip_is_measured_at_once_and_every_second() {
    let mut game = starting();
    game.handle_connected(0);
    seated(&mut game);
    game.handle_connected(0);
    game.handle_bytes(&control_frame(kind::WELCOME, &welcome(LANDING.middle())), 1_000);
    acts(&mut game);
    game.handle_time(1_000);
    let ping = frame(kind::PING, &1_000u64.to_be_bytes());
    assert_eq!(acts(&mut game), [Act::Send(ping)]);
    game.handle_bytes(&frame(kind::PONG, &1_000u64.to_be_bytes()), 1_042);
    assert_eq!(game.scene(1_042).round_trip_ms, Some(42));
    for now_ms in 1_043..2_000 {
        game.handle_time(now_ms);
    }
    assert_eq!(acts(&mut game), []);
    game.handle_time(2_000);
    assert_eq!(acts(&mut game).len(), 1);
}

#[test]
fn a_key_walks_at_once_and_a_correction_puts_back() {
    let mut game = inside();
    assert!(game.take_changed());
    game.handle_wish(Wish::Walk(Direction::North), 1_500);
    game.handle_time(1_500);
    let sent = acts(&mut game);
    let [Act::Send(bytes)] = &sent[..] else { panic!("one step, not {sent:?}") };
    let step = Move::decode(&bytes[5..]).unwrap();
    let start = LANDING.middle();
    assert_eq!((step.place.x, step.place.y - start.y), (start.x, QUANTA_PER_M / 2));
    assert_eq!(
        game.scene(1_500).here.unwrap().place,
        step.place,
        "the own marker moves before the node says so"
    );
    assert!(game.take_changed(), "and it is drawn");

    let header = TickHeader { tick: 102, ack: 1, correction: Some(start), ..TickHeader::default() };
    game.handle_bytes(&tick(header, &[]), 1_550);
    let scene = game.scene(1_550);
    assert_eq!((scene.here.unwrap().place, scene.corrections), (start, 1));
}

#[test]
fn nobody_walks_or_pings_outside() {
    let mut game = starting();
    acts(&mut game);
    game.handle_wish(Wish::Walk(Direction::East), 100);
    game.handle_time(5_000);
    assert_eq!(acts(&mut game), []);
}

#[test]
fn a_reject_is_told_and_the_way_back_is_open() {
    let mut game = inside();
    game.handle_wish(Wish::Reconnect, 1_900);
    assert_eq!(acts(&mut game), [], "whoever is inside has nowhere to reconnect to");
    game.handle_bytes(&RejectCode::Replaced.frame(), 2_000);
    assert_eq!(acts(&mut game), [Act::Hangup]);
    let scene = game.scene(2_000);
    assert_eq!((scene.standing, scene.notice), (Standing::Out, RejectCode::Replaced.text()));
    assert!(scene.here.is_some(), "the last view stays behind the notice");

    game.handle_wish(Wish::Reconnect, 3_000);
    assert_eq!(acts(&mut game), [Act::Dial("door:7000".to_owned())]);
    let scene = game.scene(3_000);
    assert_eq!((scene.standing, scene.notice), (Standing::Asking, ""));
}

#[test]
fn a_lost_connection_is_told() {
    let mut game = inside();
    game.handle_closed(2_000);
    let scene = game.scene(2_000);
    assert_eq!((scene.standing, scene.notice), (Standing::Out, "The connection was lost."));
}

#[test]
fn attempts_to_get_in_come_to_an_end() {
    let mut game = starting();
    let (mut now_ms, mut dialled) = (0, 0);
    while game.scene(now_ms).standing != Standing::Out {
        for act in acts(&mut game) {
            assert_eq!(act, Act::Dial("door:7000".to_owned()));
            dialled += 1;
            game.handle_closed(now_ms);
        }
        now_ms += 50;
        game.handle_time(now_ms);
        assert!(now_ms < 120_000, "it never gives up");
    }
    assert_eq!(dialled, chunk_sync::client::limits::ATTEMPTS_MAX);
    assert_eq!(game.scene(now_ms).notice, "No answer from door:7000. Gave up.");
}

#[test]
fn leaving_says_so() {
    let mut game = inside();
    game.handle_wish(Wish::Quit, 2_000);
    assert!(game.is_over());
    assert_eq!(acts(&mut game), [Act::Send(frame(kind::BYE, &[])), Act::Hangup]);
}

#[test]
fn silence_is_told_and_ends_with_the_next_news() {
    let mut game = inside();
    assert_eq!(game.scene(2_000).standing, Standing::Inside { silent_s: None });
    assert_eq!(game.scene(4_100).standing, Standing::Inside { silent_s: Some(3) });
    game.handle_bytes(&tick(TickHeader { tick: 130, ..TickHeader::default() }, &[]), 4_200);
    assert_eq!(game.scene(4_200).standing, Standing::Inside { silent_s: None });
}

#[test]
fn what_a_hostile_server_says_stays_in_its_place() {
    let mut game = inside();
    let text = format!("\x1b[2J\u{7}{}", "far too long ".repeat(1_000));
    let reject =
        chunk_sync::wire::Reject { code: RejectCode::Replaced as u16, reason: "\n\n".to_owned(), text };
    game.handle_bytes(&control_frame(kind::REJECT, &reject), 2_000);
    assert!(!game.scene(2_000).notice.contains(char::is_control));
    assert!(screen(&game, 2_000).contains("far too long"));

    for place in [Place { x: i32::MAX, y: i32::MIN }, Place { x: i32::MIN, y: i32::MAX }] {
        let mut game = inside_at(place);
        for (n, direction) in [Direction::East, Direction::North, Direction::West].into_iter().enumerate() {
            let now_ms = 2_000 + n as u64 * 1_000;
            game.handle_wish(Wish::Walk(direction), now_ms);
            game.handle_time(now_ms);
            let header = TickHeader { tick: 150, correction: Some(place), ..TickHeader::default() };
            game.handle_bytes(&tick(header, &[]), now_ms + 1);
            assert!(screen(&game, now_ms).contains("Mara"));
        }
    }
}
