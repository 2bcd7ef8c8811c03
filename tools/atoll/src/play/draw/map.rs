//! The map: the player's tile in the middle, north up, a tile two columns wide and one row high. Everybody stands on
//! their tile; the nearest have their names beside them where there is room.

use std::collections::BTreeMap;

use chunk_sync::blocks::EntityKind;
use chunk_sync::client::Entity;
use chunk_sync::terrain::Tile;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Color, Modifier, Style};

use super::arrow;
use crate::play::land::TilePos;
use crate::play::limits::LABELS_MAX;
use crate::play::scene::{Here, Scene};

const TILE_COLUMNS: u16 = 2;
const SELF_STYLE: Style =
    Style::new().fg(Color::Indexed(160)).bg(Color::Indexed(231)).add_modifier(Modifier::BOLD);
const CREATURE_STYLE: Style =
    Style::new().fg(Color::Indexed(223)).bg(Color::Indexed(94)).add_modifier(Modifier::BOLD);
const LABEL_STYLE: Style = Style::new().fg(Color::Indexed(231)).bg(Color::Indexed(16));
/// What players' markers look like on; dark letters stand on all of them.
const PLAYER_COLOURS: [u8; 10] = [208, 220, 51, 201, 213, 117, 159, 229, 120, 183];

/// Where tiles are on the screen.
#[derive(Clone, Copy)]
struct Camera {
    area: Rect,
    middle: TilePos,
}

impl Camera {
    /// The first of a tile's cells, if the tile is on the map.
    fn cell(self, tile: TilePos) -> Option<Position> {
        let columns = i64::from(self.area.width / TILE_COLUMNS);
        let rows = i64::from(self.area.height);
        let column = columns / 2 + i64::from(tile.x) - i64::from(self.middle.x);
        let row = rows / 2 - (i64::from(tile.y) - i64::from(self.middle.y));
        ((0..columns).contains(&column) && (0..rows).contains(&row))
            .then(|| Position::new(self.area.x + column as u16 * TILE_COLUMNS, self.area.y + row as u16))
    }

    /// All tiles on the map with their first cells.
    fn tiles(self) -> impl Iterator<Item = (TilePos, Position)> {
        let (columns, rows) = (i32::from(self.area.width / TILE_COLUMNS), i32::from(self.area.height));
        (0..rows).flat_map(move |row| {
            (0..columns).filter_map(move |column| {
                let tile = TilePos {
                    x: self.middle.x.saturating_add(column - columns / 2),
                    y: self.middle.y.saturating_add(rows / 2 - row),
                };
                self.cell(tile).map(|cell| (tile, cell))
            })
        })
    }
}

/// Draws the map, if the player has been anywhere.
pub(super) fn draw(scene: &Scene<'_>, area: Rect, buffer: &mut Buffer) {
    let Some(here) = scene.here else { return };
    let camera = Camera { area, middle: TilePos::of(here.place) };
    for (tile, cell) in camera.tiles() {
        let (text, style) = ground(scene.land.tile(tile), tile, is_in_view(tile, &here));
        put(buffer, area, cell, text, style);
    }
    let standing = markers(scene, camera);
    for (cell, marker) in &standing {
        put(buffer, area, Position::new(cell.1, cell.0), &marker.text, marker.style);
    }
    if let Some(cell) = camera.cell(camera.middle) {
        put(buffer, area, cell, &format!("@{}", arrow(here.heading)), SELF_STYLE);
    }
    labels(scene, camera, buffer);
}

fn put(buffer: &mut Buffer, area: Rect, cell: Position, text: &str, style: Style) {
    let room = usize::from(area.right().saturating_sub(cell.x));
    buffer.set_stringn(cell.x, cell.y, text, room, style);
}

/// Whether the server tells who stands on this tile.
fn is_in_view(tile: TilePos, here: &Here) -> bool {
    tile.chunk().is_none_or(|chunk| here.centre.ring(chunk) <= here.far_ring)
}

/// How a tile looks: it varies a little with its place, so that walking shows.
fn ground(tile: Option<Tile>, at: TilePos, in_view: bool) -> (&'static str, Style) {
    let variant = (at.x.wrapping_mul(73_856_093) ^ at.y.wrapping_mul(19_349_663)).unsigned_abs() / 7 % 4;
    let (texts, fg, bg): ([&str; 4], u8, u8) = match tile {
        None => (["  "; 4], 238, 233),
        Some(Tile::Water) => (["~ ", "  ", " ~", "  "], 74, 24),
        Some(Tile::Sand) => ([". ", "  ", " .", "  "], 137, 180),
        Some(Tile::Grass) => (["' ", "  ", " ,", "  "], 106, 64),
        Some(Tile::Forest) => (["♣ ", " ♣", "♣♣", " ♣"], 71, 22),
        Some(Tile::Cliff) => (["▲▲", "▲ ", " ▲", "▲▲"], 248, 240),
    };
    let style = Style::new().fg(Color::Indexed(fg)).bg(Color::Indexed(bg));
    // Land that is remembered, where others can't be seen any more.
    let fog = Style::new().fg(Color::Indexed(242)).bg(Color::Indexed(235));
    (texts[variant as usize], if in_view { style } else { fog })
}

/// What stands on a tile.
struct Marker {
    text: String,
    style: Style,
    kind: EntityKind,
}

/// Who stands where, by row and column. Of several on one tile the nearest player is shown, with a sign that there
/// are more.
fn markers(scene: &Scene<'_>, camera: Camera) -> BTreeMap<(u16, u16), Marker> {
    let mut markers: BTreeMap<(u16, u16), Marker> = BTreeMap::new();
    for entity in &scene.others {
        let Some(cell) = camera.cell(TilePos::of(entity.place)) else { continue };
        match markers.get_mut(&(cell.y, cell.x)) {
            Some(there) if there.kind == entity.kind => {
                let first = there.text.chars().next().unwrap_or(' ');
                there.text = format!("{first}+");
            }
            Some(there) if there.kind == EntityKind::Player => {}
            _ => drop(markers.insert((cell.y, cell.x), marker(entity))),
        }
    }
    markers
}

fn marker(entity: &Entity<'_>) -> Marker {
    let arrow = arrow(entity.heading);
    let (text, style) = match entity.kind {
        EntityKind::Creature => (format!("&{arrow}"), CREATURE_STYLE),
        EntityKind::Player => {
            let letter = entity.name.chars().find(|c| c.is_ascii_graphic()).unwrap_or('?');
            let colour = PLAYER_COLOURS[(entity.id.0 % PLAYER_COLOURS.len() as u64) as usize];
            let style =
                Style::new().fg(Color::Indexed(16)).bg(Color::Indexed(colour)).add_modifier(Modifier::BOLD);
            (format!("{}{arrow}", letter.to_ascii_uppercase()), style)
        }
    };
    Marker { text, style, kind: entity.kind }
}

/// Names of the nearest players, right or left of their markers, where nobody else stands or is named.
fn labels(scene: &Scene<'_>, camera: Camera, buffer: &mut Buffer) {
    let players = scene.others.iter().filter(|entity| entity.kind == EntityKind::Player);
    let mut named = 0;
    for (player, cell) in players.filter_map(|p| Some((p, camera.cell(TilePos::of(p.place))?))) {
        let columns = player.name.chars().count() as u16;
        let right = Rect::new(cell.x.saturating_add(TILE_COLUMNS), cell.y, columns, 1);
        let left = Rect::new(cell.x.saturating_sub(columns), cell.y, columns, 1);
        let fits = |room: &Rect| {
            camera.area.intersection(*room) == *room
                && (room.right() <= cell.x || room.x > cell.x)
                && room.positions().all(|at| buffer.cell(at).is_some_and(is_ground))
        };
        let Some(room) = [right, left].into_iter().find(fits).filter(|_| columns > 0) else { continue };
        put(buffer, camera.area, Position::new(room.x, room.y), player.name, LABEL_STYLE);
        named += 1;
        if named == LABELS_MAX {
            return;
        }
    }
}

/// Whether a cell shows land only: nothing else is drawn on the map without being bold or a label.
fn is_ground(cell: &ratatui::buffer::Cell) -> bool {
    !cell.modifier.contains(Modifier::BOLD) && LABEL_STYLE.bg != Some(cell.bg)
}
