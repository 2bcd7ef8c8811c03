//! The box over the map while the player is not in the world: what goes on, what the server said, what to press.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, BorderType, Clear, Padding, Paragraph, Wrap};

use crate::play::scene::{Scene, Standing};

const COLUMNS_MAX: u16 = 54;
/// Borders and padding on both sides.
const FRAME_COLUMNS: u16 = 4;
const FRAME_ROWS: u16 = 2;

/// Draws the box in the middle of `area`.
pub(super) fn draw(scene: &Scene<'_>, area: Rect, frame: &mut Frame<'_>) {
    let (title, hint) = match scene.standing {
        Standing::Out => (" Disconnected ", "r reconnect   q quit"),
        _ => (" Getting in ", "q quit"),
    };
    let colour = if scene.standing == Standing::Out { Color::Red } else { Color::Yellow };
    let text = vec![
        Line::from(sentence(scene)),
        Line::default(),
        Line::styled(hint, Style::new().add_modifier(Modifier::BOLD)),
    ];
    let columns = area.width.min(COLUMNS_MAX);
    let paragraph = Paragraph::new(text).wrap(Wrap { trim: true });
    let rows = rows(&sentence(scene), columns.saturating_sub(FRAME_COLUMNS)) + 2 + FRAME_ROWS;
    let place = area.centered(Constraint::Length(columns), Constraint::Length(rows.min(area.height)));
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(Style::new().fg(colour))
        .title(title)
        .padding(Padding::horizontal(1));
    frame.render_widget(Clear, place);
    frame.render_widget(paragraph.block(block), place);
}

fn sentence(scene: &Scene<'_>) -> String {
    let told = if scene.notice.is_empty() { String::new() } else { format!("{} ", scene.notice) };
    match scene.standing {
        Standing::Asking => format!("{told}Asking {} for a seat…", scene.allocator),
        Standing::Entering => format!("{told}Entering the island…"),
        Standing::Waiting => format!("{told}Trying again in a moment…"),
        Standing::Inside { .. } | Standing::Out => scene.notice.to_owned(),
    }
}

/// Rows that the words take; a word that is longer than a row takes several.
fn rows(text: &str, columns: u16) -> u16 {
    let columns = usize::from(columns.max(1));
    let (mut rows, mut used) = (1, 0);
    for word in text.split_whitespace().map(|word| word.chars().count()) {
        let with_space = if used == 0 { word } else { used + 1 + word };
        if with_space <= columns {
            used = with_space;
        } else {
            rows += usize::from(used > 0) + (word.max(1) - 1) / columns;
            used = (word.max(1) - 1) % columns + 1;
        }
    }
    rows.min(usize::from(u16::MAX / 2)) as u16
}
