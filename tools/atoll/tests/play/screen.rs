//! As much of a terminal as `atoll play` needs: characters, cursor positions, clearing, two screens' switch. Colours
//! are read over.

use crate::terminal::{COLUMNS, ROWS};

/// The cells of a screen.
pub(crate) struct Screen {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
}

impl Screen {
    /// The screen after these bytes. A sequence that is cut off at the end is left out.
    pub(crate) fn after(bytes: &[u8]) -> Self {
        let mut screen = Self { rows: vec![vec![' '; COLUMNS]; ROWS], row: 0, column: 0 };
        let text = String::from_utf8_lossy(bytes);
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match character {
                '\x1b' => screen.escape(&mut characters),
                '\r' => screen.column = 0,
                '\n' => screen.row = (screen.row + 1).min(ROWS - 1),
                character if !character.is_control() => screen.put(character),
                _ => {}
            }
        }
        screen
    }

    fn put(&mut self, character: char) {
        if let Some(cell) = self.rows[self.row].get_mut(self.column) {
            *cell = character;
            self.column += 1;
        }
    }

    fn escape(&mut self, characters: &mut impl Iterator<Item = char>) {
        if characters.next() != Some('[') {
            return;
        }
        let mut parameters = String::new();
        for character in characters {
            match character {
                '0'..='9' | ';' | '?' => parameters.push(character),
                end => return self.control(&parameters, end),
            }
        }
    }

    fn control(&mut self, parameters: &str, end: char) {
        match (end, parameters) {
            ('H', _) => {
                let mut numbers = parameters.split(';').map(|n| n.parse().unwrap_or(1usize).max(1) - 1);
                self.row = numbers.next().unwrap_or(0).min(ROWS - 1);
                self.column = numbers.next().unwrap_or(0).min(COLUMNS);
            }
            ('J', "2") | ('h' | 'l', "?1049") => self.rows.iter_mut().for_each(|row| row.fill(' ')),
            // Colours, cursor visibility and the like.
            ('m' | 'h' | 'l', _) => {}
            (end, parameters) => panic!("a terminal sequence that this test doesn't know: {parameters}{end}"),
        }
    }

    /// The screen as lines of text.
    pub(crate) fn text(&self) -> String {
        self.rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned() + "\n").collect()
    }
}
