//! Client connections of a simulated cluster. Like TCP they lose nothing and keep the order, but they take their
//! time, stand still, bring other pieces than were sent, and end.
//!
//! Part of the cluster.

use super::bot::Habit;
use super::cluster::Cluster;
use super::events::{Event, Process, Start, WireNo};
use super::sockets::Outgoing;
use bytes::Bytes;
use chunk_sync::random::RngExt;

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
    /// Nothing gets through until then.
    pub stalled_until_ms: u64,
    /// It was cut by a fault.
    pub cut: bool,
}

impl Cluster {
    /// A bot opens a connection, and closes the one it had.
    pub(super) fn dial(&mut self, bot: usize, address: &str) {
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
    pub(super) fn hang_up(&mut self, bot: usize) {
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

    pub(super) fn send_to_server(&mut self, bot: usize, bytes: Bytes) {
        let Some(wire) = self.bots[bot].wire else { return };
        let at_ms = self.arrival(wire, true);
        self.events.plan(at_ms, Event::ToServer(wire, bytes));
    }

    /// Does what a node's sockets want done.
    pub(super) fn send_out(&mut self, outgoing: Vec<Outgoing>) {
        for out in outgoing {
            match out {
                Outgoing::Bytes(wire, bytes) => self.send_to_client(wire, bytes),
                Outgoing::End(wire) => self.send_end_to_client(wire),
            }
        }
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

    /// Bytes of a client arrive.
    pub(super) fn arrive_at_server(&mut self, wire: WireNo, bytes: &[u8]) {
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

    /// Bytes for a client arrive.
    pub(super) fn arrive_at_client(&mut self, wire: WireNo, bytes: &Bytes) {
        let Wire { bot, host, client_open, .. } = self.wires[wire];
        if client_open && self.bots[bot].habit == Habit::NeverReads && self.bots[bot].inside.is_some() {
            // It stays in the client's socket for good.
            return;
        }
        if let Process::Node(at) = host.process
            && self.runs(host)
        {
            let now_ms = self.now_ms;
            let slot = &mut self.nodes[at];
            let sockets = slot.host.as_mut().map(|host| {
                host.sockets.taken(wire, bytes.len(), now_ms + slot.skew_ms);
                std::mem::take(&mut host.sockets.outgoing)
            });
            self.send_out(sockets.unwrap_or_default());
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
}
