//! The game between keys, server and screen: one client core, what it sees, and the player's walk. Driven by the
//! loop of `play`. Keys, bytes and the time go in; what to dial, send and draw comes out. It opens no socket, reads
//! no clock and draws nothing.

use std::collections::VecDeque;

use chunk_sync::client::{
    Client, ClientConfig, ClientEvent, ClientOutput, EndReason, Phase, Replica, ReplicaError, View,
};
use chunk_sync::ids::EntityId;
use chunk_sync::interest::Interest;
use chunk_sync::place::{ChunkPos, Place};
use chunk_sync::terrain::ChunkTiles;
use chunk_sync::wire::{TickHeader, Welcome, frame, kind};

use super::land::Land;
use super::limits::{PING_EVERY_MS, SILENT_AFTER_MS};
use super::scene::{Here, Scene, Standing, distance_m};
use super::walk::{Direction, Walk};

/// What the player wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wish {
    /// Walk there.
    Walk(Direction),
    /// Get in again.
    Reconnect,
    /// Leave.
    Quit,
}

/// What the loop shall do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    /// Close the connection, if there is one, and open one to this address.
    Dial(String),
    /// Send these bytes.
    Send(Vec<u8>),
    /// Close the connection after what was sent.
    Hangup,
}

/// What the player sees.
#[derive(Debug, Default)]
struct Sight {
    replica: Replica,
    land: Land,
    centre: ChunkPos,
    /// News that came since the game looked.
    fresh: bool,
}

impl View for Sight {
    fn begin(&mut self, welcome: &Welcome) {
        self.replica.begin(welcome);
        self.land.clear();
        self.centre = Interest::at(Place { x: welcome.x, y: welcome.y }).centre;
        self.fresh = true;
    }

    fn frame(&mut self, header: &TickHeader, blocks: &[u8]) -> Result<(), ReplicaError> {
        self.fresh = true;
        self.centre = header.view.unwrap_or(self.centre);
        self.replica.frame(header, blocks)
    }

    fn land(&mut self, chunk: ChunkPos, tiles: Box<ChunkTiles>) {
        self.fresh = true;
        self.land.learn(chunk, tiles);
    }
}

/// What the last welcome said, and where the player was last.
#[derive(Clone, Copy, Debug)]
struct Entered {
    me: EntityId,
    here: Here,
}

/// The game.
#[derive(Debug)]
pub(crate) struct Game {
    config: ClientConfig,
    client: Client,
    sight: Sight,
    walk: Walk,
    entered: Option<Entered>,
    notice: String,
    corrections: u64,
    round_trip_ms: Option<u64>,
    heard_ms: u64,
    pinged_ms: u64,
    /// Emptied by the loop after everything that it puts in.
    acts: VecDeque<Act>,
    over: bool,
    changed: bool,
}

impl Game {
    /// A player on the way to the allocator.
    pub(crate) fn new(config: ClientConfig, now_ms: u64) -> Self {
        let mut game = Self {
            client: Client::new(config.clone(), now_ms),
            config,
            sight: Sight::default(),
            walk: Walk::default(),
            entered: None,
            notice: String::new(),
            corrections: 0,
            round_trip_ms: None,
            heard_ms: now_ms,
            pinged_ms: now_ms,
            acts: VecDeque::new(),
            over: false,
            changed: true,
        };
        game.settle(now_ms);
        game
    }

    /// The next thing to do.
    pub(crate) fn poll(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    /// Whether the player has left.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Whether there is something new to draw since the last call.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The connection that was asked for is there.
    pub(crate) fn handle_connected(&mut self, now_ms: u64) {
        self.client.handle_connected(now_ms);
        self.settle(now_ms);
    }

    /// The connection ended, or couldn't be made.
    pub(crate) fn handle_closed(&mut self, now_ms: u64) {
        self.client.handle_closed(now_ms);
        self.settle(now_ms);
    }

    /// Takes what the server sent.
    pub(crate) fn handle_bytes(&mut self, bytes: &[u8], now_ms: u64) {
        self.client.handle_bytes(bytes, now_ms, &mut self.sight);
        if std::mem::take(&mut self.sight.fresh) {
            self.heard_ms = now_ms;
            self.changed = true;
        }
        self.settle(now_ms);
    }

    /// Takes what the player wants.
    pub(crate) fn handle_wish(&mut self, wish: Wish, now_ms: u64) {
        match wish {
            Wish::Walk(direction) if self.client.phase() == Phase::Inside => {
                self.walk.press(direction, now_ms);
            }
            Wish::Reconnect if self.client.phase() == Phase::Ended => {
                self.client = Client::new(self.config.clone(), now_ms);
                self.notice.clear();
            }
            Wish::Quit => {
                self.client.leave();
                self.over = true;
            }
            Wish::Walk(_) | Wish::Reconnect => {}
        }
        self.settle(now_ms);
    }

    /// Does what is due by now; called often.
    pub(crate) fn handle_time(&mut self, now_ms: u64) {
        self.client.handle_timer(now_ms);
        self.settle(now_ms);
        if self.client.phase() != Phase::Inside {
            return;
        }
        let (place, heading) = (self.client.place(), self.client.heading());
        if let Some((to, heading)) = self.walk.step(place, heading, &self.sight.land, now_ms) {
            let step = self.client.step_to(to, heading, now_ms);
            self.acts.extend(step.map(|step| Act::Send(step.to_vec())));
            self.changed = true;
        }
        if now_ms >= self.pinged_ms + PING_EVERY_MS {
            self.pinged_ms = now_ms;
            self.acts.push_back(Act::Send(frame(kind::PING, &now_ms.to_be_bytes())));
        }
        self.settle(now_ms);
    }

    /// Passes on what the client core wants done, and learns what happened to it.
    fn settle(&mut self, now_ms: u64) {
        while let Some(output) = self.client.poll_output() {
            self.changed = true;
            match output {
                ClientOutput::Dial(address) => self.acts.push_back(Act::Dial(address)),
                ClientOutput::Send(bytes) => self.acts.push_back(Act::Send(bytes)),
                ClientOutput::Hangup => self.acts.push_back(Act::Hangup),
                ClientOutput::Event(event) => self.happened(event, now_ms),
            }
        }
        if let (Phase::Inside, Some(entered)) = (self.client.phase(), &mut self.entered) {
            entered.here.place = self.client.place();
            entered.here.heading = self.client.heading();
            entered.here.centre = self.sight.centre;
            self.round_trip_ms = self.client.round_trip_ms();
        }
    }

    fn happened(&mut self, event: ClientEvent, now_ms: u64) {
        match event {
            ClientEvent::Entered(welcome) => self.enter(&welcome, now_ms),
            ClientEvent::Corrected(_) => self.corrections += 1,
            ClientEvent::Rejected { text, .. } => self.tell(&text),
            ClientEvent::Unreachable(door) => self.tell(&format!("No answer from {door}.")),
            ClientEvent::Lost => self.tell("The connection was lost."),
            ClientEvent::ProtocolError(why) => self.tell(&format!("The server can't be understood: {why}.")),
            ClientEvent::Ended(EndReason::NoWayIn) => self.notice.push_str(" Gave up."),
            // It asks for no acts.
            ClientEvent::Acted(_) | ClientEvent::Ended(_) => {}
        }
    }

    fn enter(&mut self, welcome: &Welcome, now_ms: u64) {
        let here = Here {
            island: welcome.island,
            node: welcome.node,
            place: self.client.place(),
            heading: self.client.heading(),
            centre: self.sight.centre,
            far_ring: i16::from(welcome.far_ring),
        };
        self.entered = Some(Entered { me: EntityId(welcome.player), here });
        self.walk = Walk::at_speed(welcome.walk_mm_per_s);
        self.notice.clear();
        (self.corrections, self.round_trip_ms) = (0, None);
        // The first round trip is measured at once.
        (self.heard_ms, self.pinged_ms) = (now_ms, now_ms.saturating_sub(PING_EVERY_MS));
    }

    /// Texts of servers may hold anything; the screen gets one plain line.
    fn tell(&mut self, text: &str) {
        self.notice = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    }

    /// What there is to draw.
    pub(crate) fn scene(&self, now_ms: u64) -> Scene<'_> {
        let silent_ms = now_ms.saturating_sub(self.heard_ms);
        let standing = match self.client.phase() {
            Phase::Allocator => Standing::Asking,
            Phase::Node => Standing::Entering,
            Phase::Inside => {
                Standing::Inside { silent_s: (silent_ms >= SILENT_AFTER_MS).then_some(silent_ms / 1_000) }
            }
            Phase::Waiting => Standing::Waiting,
            Phase::Ended => Standing::Out,
        };
        let mut others = Vec::new();
        if let Some(Entered { me, here }) = &self.entered {
            others = self.sight.replica.entities().filter(|entity| entity.id != *me).collect();
            others.sort_by(|a, b| {
                let distance = |place| distance_m(here.place, place);
                distance(a.place).total_cmp(&distance(b.place)).then(a.id.cmp(&b.id))
            });
        }
        Scene {
            name: &self.config.name,
            allocator: &self.config.allocator,
            standing,
            notice: &self.notice,
            here: self.entered.map(|entered| entered.here),
            land: &self.sight.land,
            others,
            round_trip_ms: self.round_trip_ms,
            tick: self.sight.replica.now().0,
            corrections: self.corrections,
        }
    }
}

#[cfg(test)]
mod tests;
