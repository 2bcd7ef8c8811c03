//! One honest player: the client core on a real socket, with a whole replica of what it sees.
//!
//! Driven by `players`; it never blocks for longer than it takes to connect on this machine.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use chunk_sync::blocks::EntityKind;
use chunk_sync::client::{Client, ClientConfig, ClientEvent, ClientOutput, Phase, Replica};
use chunk_sync::ids::EntityId;
use chunk_sync::limits::{QUANTA_PER_CHUNK, QUANTA_PER_M};
use chunk_sync::place::Place;
use chunk_sync::random::{RngExt, Stream, stream};
use chunk_sync::terrain::LANDING;

/// A step of a walker: 4 m/s.
const STEP_QUANTA: f32 = QUANTA_PER_M as f32 * 0.4;
const STEP_EVERY: Duration = Duration::from_millis(100);
/// Distance that walkers keep from the landing chunk's border.
const MARGIN_QUANTA: i32 = QUANTA_PER_M;

/// A player, as the test sees it between two turns of the driver.
pub(crate) struct Player {
    pub(crate) name: String,
    pub(crate) client: Client,
    pub(crate) replica: Replica,
    /// Everything that happened to it, in order.
    pub(crate) events: Vec<ClientEvent>,
    /// When bytes came last.
    pub(crate) heard: Instant,
    /// Node and number, once it got in.
    pub(crate) node: u32,
    pub(crate) entity: EntityId,
    pub(crate) walks: bool,
    link: Option<TcpStream>,
    unsent: Vec<u8>,
    random: Stream,
    heading: u8,
    step_due: Instant,
}

impl Player {
    /// A player on its way to the allocator.
    pub(crate) fn new(allocator: &str, name: &str, walks: bool, now_ms: u64) -> Self {
        Self {
            name: name.to_owned(),
            client: Client::new(ClientConfig::new(allocator, name), now_ms),
            replica: Replica::new(),
            events: Vec::new(),
            heard: Instant::now(),
            node: 0,
            entity: EntityId(0),
            walks,
            link: None,
            unsent: Vec::new(),
            random: stream(1, name),
            heading: 0,
            step_due: Instant::now(),
        }
    }

    /// Whether it is in the world.
    pub(crate) fn is_inside(&self) -> bool {
        self.client.phase() == Phase::Inside
    }

    /// Players that it sees, itself included.
    pub(crate) fn seen(&self) -> BTreeSet<EntityId> {
        self.replica.entities().filter(|e| e.kind == EntityKind::Player).map(|e| e.id).collect()
    }

    /// What went wrong since it got in, if anything.
    pub(crate) fn trouble(&self) -> Option<&ClientEvent> {
        let entered = self.events.iter().rposition(|event| matches!(event, ClientEvent::Entered(_)));
        let since = &self.events[entered.map_or(0, |at| at + 1)..];
        since.iter().find(|event| !matches!(event, ClientEvent::Corrected(_)))
    }

    /// Does everything that can be done now.
    pub(crate) fn turn(&mut self, now_ms: u64, buffer: &mut [u8]) {
        self.obey(now_ms);
        self.receive(now_ms, buffer);
        self.client.handle_timer(now_ms);
        self.obey(now_ms);
        self.walk(now_ms);
        self.flush();
    }

    fn obey(&mut self, now_ms: u64) {
        while let Some(output) = self.client.poll_output() {
            match output {
                ClientOutput::Dial(address) => self.dial(&address, now_ms),
                ClientOutput::Send(bytes) => self.unsent.extend(bytes),
                ClientOutput::Hangup => {
                    self.flush();
                    self.link = None;
                }
                ClientOutput::Event(event) => {
                    if let ClientEvent::Entered(welcome) = &event {
                        (self.node, self.entity) = (welcome.node, EntityId(welcome.player));
                    }
                    self.events.push(event);
                }
            }
        }
    }

    fn dial(&mut self, address: &str, now_ms: u64) {
        self.unsent.clear();
        let opened = TcpStream::connect(address).and_then(|stream| {
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        });
        self.link = opened.ok();
        match self.link {
            Some(_) => self.client.handle_connected(now_ms),
            None => self.client.handle_closed(now_ms),
        }
    }

    fn receive(&mut self, now_ms: u64, buffer: &mut [u8]) {
        while let Some(link) = &mut self.link {
            match link.read(buffer) {
                Ok(0) => self.closed(now_ms),
                Ok(some) => {
                    self.heard = Instant::now();
                    self.client.handle_bytes(&buffer[..some], now_ms, &mut self.replica);
                    self.obey(now_ms);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.closed(now_ms),
            }
        }
    }

    fn closed(&mut self, now_ms: u64) {
        self.link = None;
        self.client.handle_closed(now_ms);
        self.obey(now_ms);
    }

    fn flush(&mut self) {
        while let Some(link) = &mut self.link
            && !self.unsent.is_empty()
        {
            match link.write(&self.unsent) {
                Ok(some) => drop(self.unsent.drain(..some)),
                // A broken connection is noticed by reading it.
                Err(_) => return,
            }
        }
    }

    /// A step every tenth of a second, within the landing chunk, which is meadow all over.
    fn walk(&mut self, now_ms: u64) {
        let now = Instant::now();
        if !self.walks || now < self.step_due || !self.is_inside() {
            return;
        }
        self.step_due = now + STEP_EVERY;
        if self.random.random_range(0..20) == 0 {
            self.heading = self.random.random();
        }
        let from = self.client.place();
        for _ in 0..16 {
            let to = ahead(from, self.heading);
            if is_off_the_border(to) {
                if let Some(frame) = self.client.step_to(to, self.heading, now_ms) {
                    self.unsent.extend(frame);
                }
                return;
            }
            self.heading = self.random.random();
        }
    }
}

fn ahead(from: Place, heading: u8) -> Place {
    let angle = f32::from(heading) / 256.0 * std::f32::consts::TAU;
    let along = |part: f32| (part * STEP_QUANTA).round() as i32;
    Place { x: from.x + along(angle.cos()), y: from.y + along(angle.sin()) }
}

fn is_off_the_border(place: Place) -> bool {
    let inside = |q: i32, chunk: i16| {
        let low = i32::from(chunk) * QUANTA_PER_CHUNK;
        (low + MARGIN_QUANTA..low + QUANTA_PER_CHUNK - MARGIN_QUANTA).contains(&q)
    };
    inside(place.x, LANDING.x) && inside(place.y, LANDING.y)
}
