//! Whole screens as text: what is drawn where is to be read in `golden/`; colours are checked where they carry meaning.

use chunk_sync::blocks::EntityKind;
use chunk_sync::client::Entity;
use chunk_sync::ids::{EntityId, Epoch};
use chunk_sync::limits::{TILES_PER_CHUNK, TILES_PER_CHUNK_EDGE};
use chunk_sync::place::{ChunkPos, Place};
use chunk_sync::terrain::{LANDING, Tile};
use chunk_sync::time::Tick;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;

use super::*;
use crate::play::land::Land;
use crate::play::scene::Here;

/// Landing: grass; a pond in it east of the middle, forest in its north, a cliff in its south-west. West of it sand,
/// the rest is unknown.
fn land() -> Land {
    let tiles = std::array::from_fn(|at| {
        let (x, y) = (at % TILES_PER_CHUNK_EDGE, at / TILES_PER_CHUNK_EDGE);
        match (x, y) {
            (11..=13, 6..=8) => Tile::Water,
            (_, 12..) => Tile::Forest,
            (..=2, ..=5) => Tile::Cliff,
            _ => Tile::Grass,
        }
    });
    let mut land = Land::default();
    land.learn(LANDING, Box::new(tiles));
    land.learn(ChunkPos::new(LANDING.x - 1, LANDING.y), Box::new([Tile::Sand; TILES_PER_CHUNK]));
    land
}

/// Metres from the landing's middle.
fn at(east_m: f32, north_m: f32) -> Place {
    let (x, y) = LANDING.middle().to_m();
    Place::from_m(x + east_m, y + north_m)
}

fn entity(id: u64, kind: EntityKind, name: &'static str, place: Place, heading: u8) -> Entity<'static> {
    Entity { id: EntityId(id), epoch: Epoch(1), kind, look: 0, name, place, heading, tick: Tick(1) }
}

fn player(id: u64, name: &'static str, place: Place, heading: u8) -> Entity<'static> {
    entity(id, EntityKind::Player, name, place, heading)
}

/// Mara at the landing's middle, others around her.
fn scene(land: &Land) -> Scene<'_> {
    Scene {
        name: "Mara",
        allocator: "127.0.0.1:7000",
        standing: Standing::Inside { silent_s: None },
        notice: "",
        here: Some(Here {
            island: 1,
            node: 2,
            place: at(0.5, 0.5),
            heading: 64,
            centre: LANDING,
            far_ring: 2,
        }),
        land,
        others: vec![
            player(10, "Bo", at(2.5, 2.5), 128),
            entity(11, EntityKind::Creature, "", at(-3.5, -1.5), 224),
            player(12, "Cleo", at(4.5, -5.5), 0),
            player(13, "Dai", at(4.5, -5.5), 0),
            player(14, "eve", at(-10.5, 4.5), 192),
            player(15, "Faraway", at(60.0, 0.0), 0),
        ],
        round_trip_ms: Some(54),
        tick: 12_345,
        corrections: 1,
    }
}

fn drawn(scene: &Scene<'_>, columns: u16, rows: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| draw(scene, frame)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let row = |y| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..buffer.area.height).map(|y| format!("{}\n", row(y).trim_end())).collect()
}

#[track_caller]
fn assert_screen(scene: &Scene<'_>, columns: u16, rows: u16, expected: &str) {
    let got = text(&drawn(scene, columns, rows));
    assert!(got == expected, "it shows\n{got}\ninstead of\n{expected}");
}

#[test]
fn a_wide_terminal_shows_the_land_everybody_and_the_panel() {
    assert_screen(&scene(&land()), 76, 21, include_str!("golden/wide.txt"));
}

#[test]
fn a_narrow_terminal_shows_the_land_and_one_line() {
    assert_screen(&scene(&land()), 40, 12, include_str!("golden/narrow.txt"));
}

#[test]
fn a_refusal_is_shown_over_the_last_view_with_the_keys_that_help() {
    let (land, notice) = (land(), chunk_sync::wire::RejectCode::Replaced.text());
    let refused = Scene { standing: Standing::Out, notice, ..scene(&land) };
    assert_screen(&refused, 76, 15, include_str!("golden/refused.txt"));
}

#[test]
fn the_way_in_is_shown_before_there_is_anything_to_see() {
    let land = Land::default();
    let asking = Scene {
        standing: Standing::Asking,
        here: None,
        others: Vec::new(),
        round_trip_ms: None,
        ..scene(&land)
    };
    assert_screen(&asking, 76, 12, include_str!("golden/asking.txt"));
    let waiting = Scene { standing: Standing::Waiting, notice: "No answer from 127.0.0.1:7000.", ..asking };
    let shown = text(&drawn(&waiting, 76, 12));
    assert!(shown.contains("│ No answer from 127.0.0.1:7000. Trying      ││"), "{shown}");
    assert!(shown.contains("● trying again soon"), "{shown}");
}

#[test]
fn silence_shows_in_the_panel_and_hides_nothing() {
    let land = land();
    let silent = Scene { standing: Standing::Inside { silent_s: Some(7) }, ..scene(&land) };
    let shown = text(&drawn(&silent, 76, 21));
    assert!(shown.contains("● no news for 7 s") && shown.contains("@↑"), "{shown}");
}

/// Where a text begins on the screen.
fn cell_of(buffer: &Buffer, wanted: &str) -> (u16, u16) {
    let whole = text(buffer);
    let at = |(y, line): (usize, &str)| {
        let (before, _) = line.split_once(wanted)?;
        Some((before.chars().count() as u16, y as u16))
    };
    whole.lines().enumerate().find_map(at).unwrap_or_else(|| panic!("no {wanted} in\n{whole}"))
}

#[test]
fn you_others_creatures_and_land_differ_in_colour() {
    let buffer = drawn(&scene(&land()), 76, 21);
    let colours: Vec<Color> =
        ["@↑", "B←", "&↘", "♣", "▲", "~", "Bo"].map(|text| buffer[cell_of(&buffer, text)].bg).into();
    for (n, colour) in colours.iter().enumerate() {
        assert!(!colours[..n].contains(colour), "{colours:?}");
    }
}

#[test]
fn land_out_of_view_is_grey() {
    let (mut land, far) = (land(), ChunkPos::new(LANDING.x - 3, LANDING.y));
    for x in [far.x, far.x + 1] {
        land.learn(ChunkPos::new(x, LANDING.y), Box::new([Tile::Grass; TILES_PER_CHUNK]));
    }
    let buffer = drawn(&scene(&land), 200, 21);
    // The map's middle column is a tile of the landing's west half; a tile is two columns.
    let middle = cell_of(&buffer, "@↑").0;
    let tiles_to_far = 8 + 2 * TILES_PER_CHUNK_EDGE as u16;
    let (seen, remembered) = (middle - 2 * tiles_to_far, middle - 2 * tiles_to_far - 2);
    assert_eq!(buffer[(seen, 10)].bg, Color::Indexed(64));
    assert_eq!(buffer[(remembered, 10)].bg, Color::Indexed(235));
}

#[test]
fn whoever_shares_a_tile_shares_a_marker() {
    let land = land();
    let place = at(2.5, 0.5);
    let crowd = vec![
        entity(20, EntityKind::Creature, "", place, 0),
        player(21, "Ann", place, 0),
        entity(22, EntityKind::Creature, "", place, 0),
        player(23, "Bea", place, 0),
    ];
    let shown = text(&drawn(&Scene { others: crowd, ..scene(&land) }, 76, 21));
    assert!(shown.contains("@↑A+Ann"), "a player goes before a creature, the nearest first: {shown}");
}

#[test]
fn every_size_is_drawn_and_hostile_names_stay_text() {
    let land = land();
    let mut crowd: Vec<Entity<'_>> = (0..60u64)
        .map(|n| player(n, "a\x1b[31m\u{7}\n名\u{200b}", at(n as f32 - 30.0, 30.0 - n as f32), n as u8))
        .collect();
    crowd.push(player(99, "", at(1.0, 1.0), 9));
    let notice = "word ".repeat(40) + &"x".repeat(400);
    for standing in [Standing::Inside { silent_s: None }, Standing::Waiting, Standing::Out] {
        let scene = Scene { standing, notice: &notice, others: crowd.clone(), ..scene(&land) };
        for columns in (0..100).step_by(3) {
            for rows in 0..24 {
                let buffer = drawn(&scene, columns, rows);
                let control = buffer.content.iter().find(|cell| cell.symbol().contains(char::is_control));
                assert!(control.is_none(), "{columns}×{rows}: {control:?}");
            }
        }
    }
}

#[test]
fn arrows_point_where_headings_do() {
    let pointed: String = (0..=255u8).step_by(16).map(arrow).collect();
    assert_eq!(pointed, "→↗↗↑↑↖↖←←↙↙↓↓↘↘→");
}
