//! The terminal: taken over while the game runs, given back however it ends (also by a panic or a signal). Keys come
//! from here as wishes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::draw::draw;
use super::game::Wish;
use super::limits::KEYS_PER_LOOK_MAX;
use super::scene::Scene;
use super::walk::Direction;

/// The terminal while it is ours.
#[derive(Debug)]
pub(crate) struct Screen {
    terminal: DefaultTerminal,
    stopped: Arc<AtomicBool>,
}

/// What came from the terminal.
#[derive(Debug, Default)]
pub(crate) struct Input {
    /// What the player wants, in order.
    pub(crate) wishes: Vec<Wish>,
    /// The screen has another size.
    pub(crate) resized: bool,
}

impl Screen {
    /// Takes the terminal over. A panic gives it back before it is told.
    ///
    /// # Errors
    /// When the terminal doesn't obey.
    pub(crate) fn open() -> io::Result<Self> {
        let stopped = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGHUP, SIGINT] {
            signal_hook::flag::register(signal, Arc::clone(&stopped))?;
        }
        Ok(Self { terminal: ratatui::try_init()?, stopped })
    }

    /// Draws the scene.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(crate) fn draw(&mut self, scene: &Scene<'_>) -> io::Result<()> {
        self.terminal.draw(|frame| draw(scene, frame)).map(drop)
    }

    /// Waits at most so long for keys, and takes those that are there. A signal counts as the wish to leave.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(crate) fn input(&mut self, wait: Duration) -> io::Result<Input> {
        let mut input = Input::default();
        let mut more = event::poll(wait)?;
        for _ in 0..KEYS_PER_LOOK_MAX {
            if !more {
                break;
            }
            match event::read()? {
                Event::Key(key) => input.wishes.extend(wish(key)),
                Event::Resize(..) => input.resized = true,
                _ => {}
            }
            more = event::poll(Duration::ZERO)?;
        }
        if self.stopped.load(Ordering::Relaxed) {
            input.wishes.push(Wish::Quit);
        }
        Ok(input)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A panic has given it back already; once more would put the cursor into the panic's message. A terminal that
        // is gone needs nothing back. The cursor is shown again when `terminal` is dropped.
        if !std::thread::panicking() {
            let _ = ratatui::try_restore();
        }
    }
}

/// What a key means.
fn wish(key: KeyEvent) -> Option<Wish> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return matches!(key.code, KeyCode::Char('c' | 'C')).then_some(Wish::Quit);
    }
    let letter = match key.code {
        KeyCode::Char(letter) => letter.to_ascii_lowercase(),
        _ => '\0',
    };
    match (key.code, letter) {
        (KeyCode::Up, _) | (_, 'w' | 'k') => Some(Wish::Walk(Direction::North)),
        (KeyCode::Right, _) | (_, 'd' | 'l') => Some(Wish::Walk(Direction::East)),
        (KeyCode::Down, _) | (_, 's' | 'j') => Some(Wish::Walk(Direction::South)),
        (KeyCode::Left, _) | (_, 'a' | 'h') => Some(Wish::Walk(Direction::West)),
        (KeyCode::Esc, _) | (_, 'q') => Some(Wish::Quit),
        (_, 'r') => Some(Wish::Reconnect),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(code: KeyCode) -> Option<Wish> {
        wish(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn four_ways_to_say_each_direction() {
        use Direction::{East, North, South, West};
        for (direction, code, letters) in [
            (North, KeyCode::Up, "wWk"),
            (East, KeyCode::Right, "dDl"),
            (South, KeyCode::Down, "sSj"),
            (West, KeyCode::Left, "aAh"),
        ] {
            assert_eq!(plain(code), Some(Wish::Walk(direction)));
            for letter in letters.chars() {
                assert_eq!(plain(KeyCode::Char(letter)), Some(Wish::Walk(direction)), "{letter}");
            }
        }
    }

    #[test]
    fn leaving_and_coming_back() {
        let control = |letter| wish(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL));
        assert_eq!(control('c'), Some(Wish::Quit));
        assert_eq!(control('d'), None, "a walk needs no Ctrl");
        assert_eq!(plain(KeyCode::Esc), Some(Wish::Quit));
        assert_eq!(plain(KeyCode::Char('q')), Some(Wish::Quit));
        assert_eq!(plain(KeyCode::Char('r')), Some(Wish::Reconnect));
        let released = KeyEvent::new_with_kind(KeyCode::Char('q'), KeyModifiers::NONE, KeyEventKind::Release);
        assert_eq!(wish(released), None);
    }
}
