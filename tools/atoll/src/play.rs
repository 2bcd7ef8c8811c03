//! `atoll play`: the world on a terminal, to walk about in. Called by `main`. One loop on one thread: what the server
//! sent, what the time brings, what the player pressed, a drawing when something changed. It needs nothing of the
//! server but its address.

mod draw;
mod game;
mod land;
mod limits;
mod link;
mod options;
mod scene;
mod screen;
mod walk;

use std::net::TcpStream;
use std::time::Instant;

use game::{Act, Game};
use limits::{DRAW_AGAIN_MS, DRAW_EVERY_MS, LOOK_EVERY, READ_BYTES, READS_PER_LOOK_MAX};
use link::{Link, News};
use screen::Screen;

use crate::failure::Failure;
pub(crate) use options::{Options, command, options};

/// Plays until the player leaves.
///
/// # Errors
/// When the options can't be used, nobody answers where players are let in, or the terminal is gone.
pub(crate) fn run(options: Options) -> Result<(), Failure> {
    let config = options.checked().map_err(Failure::Setup)?;
    // Before the screen is taken over: a wrong address is best told where it was typed.
    let door = link::connect(&config.allocator).map_err(|error| {
        let join = &config.allocator;
        Failure::run(format!("nobody lets players in at {join}: {error} (is `atoll up` running there?)"))
    })?;
    let began = Instant::now();
    let mut screen = Screen::open().map_err(gone)?;
    let mut table = Table { game: Game::new(config, 0), link: Link::default(), door: Some(door), began };
    table.play(&mut screen)
}

fn gone(error: std::io::Error) -> Failure {
    Failure::run(format!("the terminal can't be used: {error}"))
}

/// The game, its connection and its clock.
struct Table {
    game: Game,
    link: Link,
    /// The connection that was made first, to the allocator, until it is used.
    door: Option<TcpStream>,
    began: Instant,
}

impl Table {
    fn play(&mut self, screen: &mut Screen) -> Result<(), Failure> {
        let mut buffer = vec![0; READ_BYTES];
        let (mut drawn_ms, mut changed) = (None, true);
        loop {
            self.act();
            self.listen(&mut buffer);
            self.game.handle_time(self.now_ms());
            self.act();
            if self.game.is_over() {
                return Ok(());
            }
            changed |= self.game.take_changed();
            let now_ms = self.now_ms();
            let wait_ms = if changed { DRAW_EVERY_MS } else { DRAW_AGAIN_MS };
            if drawn_ms.is_none_or(|drawn_ms| now_ms >= drawn_ms + wait_ms) {
                screen.draw(&self.game.scene(now_ms)).map_err(gone)?;
                (drawn_ms, changed) = (Some(now_ms), false);
            }
            let input = screen.input(LOOK_EVERY).map_err(gone)?;
            changed |= input.resized;
            for wish in input.wishes {
                self.game.handle_wish(wish, self.now_ms());
            }
        }
    }

    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Hears what the server said.
    fn listen(&mut self, buffer: &mut [u8]) {
        for _ in 0..READS_PER_LOOK_MAX {
            match self.link.poll(buffer) {
                News::Nothing => return,
                News::Connected => self.game.handle_connected(self.now_ms()),
                News::Bytes(received) => self.game.handle_bytes(&buffer[..received], self.now_ms()),
                News::Closed => self.game.handle_closed(self.now_ms()),
            }
            self.act();
        }
    }

    /// Does what the game wants done.
    fn act(&mut self) {
        while let Some(act) = self.game.poll() {
            match (act, self.door.take()) {
                (Act::Dial(_), Some(door)) => self.link.adopt(door),
                (Act::Dial(address), None) => self.link.dial(address),
                (Act::Send(bytes), _) => self.link.send(&bytes),
                (Act::Hangup, _) => self.link.hangup(),
            }
        }
    }
}
