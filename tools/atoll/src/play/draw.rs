//! The drawing: a scene in, cells of the terminal out. Called by the screen at every change. It reads nothing else
//! and keeps nothing.

mod map;
mod notice;
mod panel;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::limits::{PANEL_COLUMNS, SCREEN_MIN, WIDE_COLUMNS_MIN};
use super::scene::{Scene, Standing};

/// Draws everything.
pub(crate) fn draw(scene: &Scene<'_>, frame: &mut Frame<'_>) {
    let whole = frame.area();
    if whole.width < SCREEN_MIN.0 || whole.height < SCREEN_MIN.1 {
        let text = format!("A terminal of {} by {} is needed. q quits.", SCREEN_MIN.0, SCREEN_MIN.1);
        frame.render_widget(Paragraph::new(text).wrap(ratatui::widgets::Wrap { trim: true }), whole);
        return;
    }
    let [main, help] = Layout::vertical([Constraint::Min(0), Constraint::Length(1)]).areas(whole);
    frame.render_widget(help_line(scene.standing), help);
    let map = if whole.width >= WIDE_COLUMNS_MIN {
        let [map, side] =
            Layout::horizontal([Constraint::Min(0), Constraint::Length(PANEL_COLUMNS)]).areas(main);
        panel::draw(scene, side, frame);
        map
    } else {
        let [status, map] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(main);
        frame.render_widget(panel::one_line(scene), status);
        map
    };
    map::draw(scene, map, frame.buffer_mut());
    if !matches!(scene.standing, Standing::Inside { .. }) {
        notice::draw(scene, map, frame);
    }
}

fn help_line(standing: Standing) -> Line<'static> {
    let key = |name| Span::styled(name, Style::new().add_modifier(Modifier::BOLD));
    match standing {
        Standing::Inside { .. } => {
            Line::from(vec![" ".into(), key("arrows WASD hjkl"), " walk   ".into(), key("q"), " quit".into()])
        }
        Standing::Out => {
            Line::from(vec![" ".into(), key("r"), " reconnect   ".into(), key("q"), " quit".into()])
        }
        _ => Line::from(vec![" ".into(), key("q"), " quit".into()]),
    }
}

/// An arrow along a heading, 256 steps a turn.
fn arrow(heading: u8) -> char {
    const ARROWS: [char; 8] = ['→', '↗', '↑', '↖', '←', '↙', '↓', '↘'];
    ARROWS[usize::from(heading.wrapping_add(16) / 32)]
}

#[cfg(test)]
mod tests;
