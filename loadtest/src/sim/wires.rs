//! Client connections of a simulated cluster, and the bots at their ends. Like TCP they lose nothing and keep the
//! order, but take their time, stand still, arrive in other pieces than they were sent in, and end.
//!
//! Part of the cluster.

use super::bot::{Habit, Inside};
use super::cluster::Cluster;
use super::events::{Event, Process, Start, WireNo};
use super::limits::WALK_ON_MS;
use bytes::Bytes;
use chunk_sync::client::{ClientEvent, ClientOutput, EndReason};
use chunk_sync::limits::TICK_MS;
use chunk_sync::random::RngExt;
use chunk_sync::wire::RejectCode;

/// A client's connection.
#[derive(Debug)]
pub(super) struct Wire {
    pub bot: usize,
    pub host: Start,
    /// The client's side still listens.
    client_open: bool,
    /// The server's side was told of the connection and not of its end.
    server_open: bool,
    delay_ms: u64,
    /// When the last bytes arrive, to the server and to the client.
    last_ms: (u64, u64),
    stalled_until_ms: u64,
    /// It was cut by a fault.
    cut: bool,
}

impl Cluster {
    fn dial(&mut self, bot: usize, address: &str) {
        self.hang_up(bot);
        let process = match address.strip_prefix("node-").and_then(|number| number.parse::<usize>().ok()) {
            Some(number) if (1..=self.nodes.len()).contains(&number) => Process::Node(number - 1),
            _ => Process::Allocator,
        };
        let nth = match process {
            Process::Node(at) => self.nodes[at].nth,
            Process::Allocator => self.door_nth,
        };
        let delay_ms = self.random.random_range(1..60);
        let (now_ms, wire) = (self.now_ms, self.wires.len());
        self.wires.push(Wire {
            bot,
            host: Start { process, nth },
            client_open: true,
            server_open: false,
            delay_ms,
            last_ms: (now_ms, now_ms),
            stalled_until_ms: 0,
            cut: false,
        });
        self.bots[bot].wire = Some(wire);
        self.events.plan(now_ms + 2 * delay_ms, Event::Opened(wire));
    }

    /// The client's side closes.
    fn hang_up(&mut self, bot: usize) {
        let Some(wire) = self.bots[bot].wire.take() else { return };
        self.wires[wire].client_open = false;
        let at_ms = self.arrival(wire, true);
        self.events.plan(at_ms, Event::EndAtServer(wire));
    }

    /// When something sent now arrives: never before what was sent earlier.
    fn arrival(&mut self, wire: WireNo, to_server: bool) -> u64 {
        let jitter_ms = if self.random.random_bool(0.05) { self.random.random_range(0..80) } else { 0 };
        let wire = &mut self.wires[wire];
        let last_ms = if to_server { &mut wire.last_ms.0 } else { &mut wire.last_ms.1 };
        *last_ms = (*last_ms).max(self.now_ms + wire.delay_ms + jitter_ms).max(wire.stalled_until_ms);
        *last_ms
    }

    pub(super) fn send_to_client(&mut self, wire: WireNo, mut bytes: Bytes) {
        if bytes.len() > 1 && self.random.random_bool(0.1) {
            let first = bytes.split_to(self.random.random_range(1..bytes.len()));
            let at_ms = self.arrival(wire, false);
            self.events.plan(at_ms, Event::ToClient(wire, first));
        }
        let at_ms = self.arrival(wire, false);
        self.events.plan(at_ms, Event::ToClient(wire, bytes));
    }

    pub(super) fn send_end_to_client(&mut self, wire: WireNo) {
        let at_ms = self.arrival(wire, false);
        self.events.plan(at_ms, Event::EndAtClient(wire));
    }

    /// The connection that a client asked for is there, or nobody listens.
    pub(super) fn opened(&mut self, wire: WireNo) {
        let Wire { bot, host, client_open, .. } = self.wires[wire];
        if !client_open {
            return;
        }
        if !self.runs(host) {
            self.wires[wire].client_open = false;
            self.bots[bot].wire = None;
            return self.with_client(bot, |client, _, now_ms| client.handle_closed(now_ms));
        }
        self.wires[wire].server_open = true;
        match host.process {
            Process::Node(at) => {
                if let Some(host) = &mut self.nodes[at].host {
                    host.knock(wire);
                }
            }
            Process::Allocator => {
                if let Some(door) = &mut self.door {
                    door.knock(wire);
                }
            }
        }
        self.with_client(bot, |client, _, now_ms| client.handle_connected(now_ms));
    }

    pub(super) fn to_server(&mut self, wire: WireNo, bytes: &[u8]) {
        let Wire { host, server_open, .. } = self.wires[wire];
        if !server_open || !self.runs(host) {
            return;
        }
        match host.process {
            Process::Node(at) => {
                if let Some(host) = &mut self.nodes[at].host {
                    host.receive(wire, bytes);
                }
            }
            Process::Allocator => {
                if let Some(door) = &mut self.door {
                    door.receive(wire, bytes);
                }
            }
        }
    }

    pub(super) fn end_at_server(&mut self, wire: WireNo) {
        let Wire { host, server_open, .. } = self.wires[wire];
        self.wires[wire].server_open = false;
        if !server_open || !self.runs(host) {
            return;
        }
        match host.process {
            Process::Node(at) => {
                if let Some(host) = &mut self.nodes[at].host {
                    host.hang_up(wire);
                }
            }
            Process::Allocator => {
                if let Some(door) = &mut self.door {
                    door.hang_up(wire);
                }
            }
        }
    }

    pub(super) fn to_client(&mut self, wire: WireNo, bytes: &Bytes) {
        let Wire { bot, host, client_open, .. } = self.wires[wire];
        if client_open && self.bots[bot].habit == Habit::NeverReads && self.bots[bot].inside.is_some() {
            // It stays in the client's socket for good.
            return;
        }
        if let Process::Node(at) = host.process
            && self.runs(host)
            && let Some(host) = &mut self.nodes[at].host
        {
            host.sockets.taken(wire, bytes.len(), self.now_ms + self.nodes[at].skew_ms);
            for out in std::mem::take(&mut host.sockets.outgoing) {
                match out {
                    super::sockets::Outgoing::Bytes(wire, bytes) => self.send_to_client(wire, bytes),
                    super::sockets::Outgoing::End(wire) => self.send_end_to_client(wire),
                }
            }
        }
        if client_open {
            self.bots[bot].eyes.calm = self.watch.is_calm(self.now_ms);
            self.with_client(bot, |client, eyes, now_ms| client.handle_bytes(bytes, now_ms, eyes));
        }
    }

    pub(super) fn end_at_client(&mut self, wire: WireNo) {
        let Wire { bot, client_open, .. } = self.wires[wire];
        self.wires[wire].client_open = false;
        if client_open {
            self.bots[bot].wire = None;
            // The system closes the other side as well once the program does.
            let at_ms = self.arrival(wire, true);
            self.events.plan(at_ms, Event::EndAtServer(wire));
            self.with_client(bot, |client, _, now_ms| client.handle_closed(now_ms));
        }
    }

    /// Cuts a bot's connection: both sides see it end.
    pub(super) fn cut_wire(&mut self, bot: usize) {
        let Some(wire) = self.bots[bot].wire else { return };
        self.wires[wire].cut = true;
        self.send_end_to_client(wire);
        let at_ms = self.arrival(wire, true);
        self.events.plan(at_ms, Event::EndAtServer(wire));
    }

    /// Nothing gets through for a while.
    pub(super) fn stall_wire(&mut self, bot: usize, until_ms: u64) {
        if let Some(wire) = self.bots[bot].wire {
            self.wires[wire].stalled_until_ms = until_ms;
        }
    }

    /// Whether a bot's connection stands still.
    pub(super) fn is_stalled(&self, bot: usize) -> bool {
        self.bots[bot].wire.is_some_and(|wire| self.wires[wire].stalled_until_ms > self.now_ms)
    }

    /// A bot lives on: timers, leaving, coming, walking.
    pub(super) fn step_bot(&mut self, at: usize) {
        let now_ms = self.now_ms;
        self.events.plan(now_ms + TICK_MS, Event::Bot(at));
        let bot = &mut self.bots[at];
        let acts = now_ms < self.end_ms + WALK_ON_MS;
        if bot.client.is_none() && now_ms >= bot.wakes_ms && acts {
            bot.wake(now_ms);
        }
        if acts && now_ms >= bot.leaves_ms && bot.inside.is_some() {
            bot.inside = None;
            bot.leaves_ms = u64::MAX;
            let name = bot.name.clone();
            self.tell(&format!("{name} leaves"));
            self.with_client(at, |client, _, _| client.leave());
        } else {
            self.with_client(at, |client, _, now_ms| client.handle_timer(now_ms));
        }
        if acts {
            self.walk(at);
        }
        if let Some(broken) = self.bots[at].eyes.broken.take() {
            self.watch.fail(format!("{} (bot {at}): {broken}", self.bots[at].name));
        }
    }

    fn walk(&mut self, at: usize) {
        let Some(island) = self.bots[at].island().filter(|_| self.bots[at].inside.is_some()) else { return };
        let mut bot = std::mem::replace(&mut self.bots[at].client, None);
        std::mem::swap(&mut self.bots[at].client, &mut bot);
        // The land is this cluster's and the bot too: the step is worked out between the two.
        self.terrain(island);
        let Some((terrain, bot)) = self.terrain_and_bot(island, at) else { return };
        let Some((to, heading)) = bot.next_step(terrain) else { return };
        self.with_client(at, |client, _, now_ms| client.step_to(to, heading, now_ms).map(Bytes::copy_from_slice_of));
    }
}
