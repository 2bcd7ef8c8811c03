//! The panel beside the map: where the player is, who is near, how the connection does.

use chunk_sync::blocks::EntityKind;
use chunk_sync::terrain::Tile;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Padding, Paragraph};

use super::arrow;
use crate::play::land::TilePos;
use crate::play::scene::{Here, Scene, Standing, distance_m, heading_to};

/// Columns of what the values are called.
const WORD_COLUMNS: usize = 12;
const FINE: Style = Style::new().fg(Color::Green);
const WORRYING: Style = Style::new().fg(Color::Yellow);
const BAD: Style = Style::new().fg(Color::Red);
const QUIET: Style = Style::new().add_modifier(Modifier::DIM);
const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);

/// Draws the panel.
pub(super) fn draw(scene: &Scene<'_>, area: Rect, frame: &mut Frame<'_>) {
    let block = Block::new().borders(Borders::LEFT).padding(Padding::horizontal(1));
    let rows = usize::from(block.inner(area).height);
    let mut lines = vec![
        Line::styled(scene.name.to_owned(), STRONG),
        standing_line(scene.standing),
        Line::default(),
        row("Island", scene.here.map(|here| here.island.to_string())),
        row("Node", scene.here.map(|here| here.node.to_string())),
        row("Position", scene.here.map(|here| position(&here))),
        row("Chunk", scene.here.map(|here| chunk(&here))),
        row("Ground", scene.here.map(|here| ground(scene, &here).to_owned())),
        Line::default(),
        row("Players", scene.here.map(|_| count(scene, EntityKind::Player))),
        row("Creatures", scene.here.map(|_| count(scene, EntityKind::Creature))),
        Line::default(),
        row("Round trip", scene.round_trip_ms.map(|ms| format!("{ms} ms"))),
        row("Tick", scene.here.map(|_| scene.tick.to_string())),
        row("Corrections", scene.here.map(|_| scene.corrections.to_string())),
    ];
    if rows > lines.len() + 2 {
        nearest(scene, rows - lines.len(), &mut lines);
    }
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// The same in one line, for narrow terminals.
pub(super) fn one_line(scene: &Scene<'_>) -> Line<'static> {
    let mut spans = vec![Span::raw(" "), Span::styled(scene.name.to_owned(), STRONG), Span::raw("  ")];
    if let Some(here) = &scene.here {
        spans.push(Span::raw(format!("{}  ", position(here))));
    }
    spans.extend(standing_line(scene.standing).spans);
    Line::from(spans)
}

fn row(word: &str, value: Option<String>) -> Line<'static> {
    let value = value.unwrap_or_else(|| "-".to_owned());
    Line::from(vec![Span::styled(format!("{word:WORD_COLUMNS$}"), QUIET), Span::raw(value)])
}

fn standing_line(standing: Standing) -> Line<'static> {
    let (style, text) = match standing {
        Standing::Asking => (WORRYING, "asking for a seat".to_owned()),
        Standing::Entering => (WORRYING, "entering".to_owned()),
        Standing::Inside { silent_s: None } => (FINE, "connected".to_owned()),
        Standing::Inside { silent_s: Some(silent_s) } => (WORRYING, format!("no news for {silent_s} s")),
        Standing::Waiting => (WORRYING, "trying again soon".to_owned()),
        Standing::Out => (BAD, "disconnected".to_owned()),
    };
    Line::from(vec![Span::styled("● ", style), Span::raw(text)])
}

fn position(here: &Here) -> String {
    let (x, y) = here.place.to_m();
    format!("{x:.1} E {y:.1} N")
}

fn chunk(here: &Here) -> String {
    let chunk = here.place.chunk();
    format!("{}, {}", chunk.x, chunk.y)
}

fn ground(scene: &Scene<'_>, here: &Here) -> &'static str {
    match scene.land.tile(TilePos::of(here.place)) {
        None => "unknown",
        Some(Tile::Water) => "water",
        Some(Tile::Sand) => "sand",
        Some(Tile::Grass) => "grass",
        Some(Tile::Forest) => "forest",
        Some(Tile::Cliff) => "cliff",
    }
}

fn count(scene: &Scene<'_>, kind: EntityKind) -> String {
    let count = scene.others.iter().filter(|entity| entity.kind == kind).count();
    match kind {
        EntityKind::Player => format!("{count} besides you"),
        EntityKind::Creature => count.to_string(),
    }
}

/// The nearest players, with the way to them; at most so many lines.
fn nearest(scene: &Scene<'_>, rows: usize, lines: &mut Vec<Line<'static>>) {
    let Some(here) = scene.here else { return };
    let players = scene.others.iter().filter(|entity| entity.kind == EntityKind::Player);
    let mut near = players
        .take(rows - 2)
        .map(|player| {
            let metres = distance_m(here.place, player.place);
            let arrow = arrow(heading_to(here.place, player.place));
            // A line of 28 columns: the longest name leaves no room for more than an ellipsis.
            let name: String = player.name.chars().take(18).collect();
            Line::from(format!("{name:18} {metres:4.0} m {arrow}"))
        })
        .peekable();
    if near.peek().is_some() {
        lines.extend([Line::default(), Line::styled("Nearest", QUIET)]);
        lines.extend(near);
    }
}
