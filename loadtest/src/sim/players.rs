//! What the bots of a simulated cluster do, and which ends of their sessions are in order.
//!
//! Part of the cluster.

use super::bot::{Habit, Inside};
use super::cluster::Cluster;
use super::events::{Event, Process};
use super::eyes::Eyes;
use super::limits::{LINGER_MS, PAUSE_SURE_MS, STORE_CALL_MS, WALK_ON_MS};
use bytes::Bytes;
use chunk_sync::client::limits::SERVER_SILENT_MS_MAX;
use chunk_sync::client::{Client, ClientEvent, ClientOutput};
use chunk_sync::ids::{Epoch, IslandId, PlayerId};
use chunk_sync::limits::TICK_MS;
use chunk_sync::terrain::Terrain;
use chunk_sync::wire::RejectCode;

/// How far back a node's hindrances count when it is fenced.
const HINDERED_WITHIN_MS: u64 = 60_000;

impl Cluster {
    /// A bot lives on: timers, coming, leaving, walking.
    pub(super) fn step_bot(&mut self, at: usize) {
        let now_ms = self.now_ms;
        self.events.plan(now_ms + TICK_MS, Event::Bot(at));
        let bot = &mut self.bots[at];
        let acts = now_ms < self.end_ms + WALK_ON_MS;
        if bot.client.is_none() && now_ms >= bot.wakes_ms && acts {
            bot.wake(now_ms);
        }
        if acts && now_ms >= bot.leaves_ms && bot.inside.is_some() {
            (bot.inside, bot.leaves_ms) = (None, u64::MAX);
            let name = bot.name.clone();
            self.tell(&format!("{name} (bot {at}) leaves"));
            self.with_client(at, |client, _, _| client.leave());
        } else {
            self.with_client(at, |client, _, now_ms| client.handle_timer(now_ms));
        }
        if acts {
            self.walk(at);
            self.maybe_act(at);
        }
        if let Some(broken) = self.bots[at].eyes.broken.take() {
            self.watch.fail(format!("{} (bot {at}): {broken}", self.bots[at].name));
        }
    }

    fn walk(&mut self, at: usize) {
        let (now_ms, seed) = (self.now_ms, self.land_seed());
        let bot = &mut self.bots[at];
        let Some(island) = bot.inside.and(bot.island()) else { return };
        let terrain = self.terrains.entry(island).or_insert_with(|| Terrain::new(seed, island));
        let Some((to, heading)) = bot.next_step(terrain) else { return };
        let frame = bot.client.as_mut().and_then(|client| client.step_to(to, heading, now_ms));
        if let Some(frame) = frame {
            self.send_to_server(at, Bytes::copy_from_slice(&frame));
        }
    }

    /// Lets a bot's client do something, and does what it then wants done.
    pub(super) fn with_client(&mut self, at: usize, act: impl FnOnce(&mut Client, &mut Eyes, u64)) {
        let bot = &mut self.bots[at];
        let Some(client) = &mut bot.client else { return };
        act(client, &mut bot.eyes, self.now_ms);
        while let Some(output) = self.bots[at].client.as_mut().and_then(Client::poll_output) {
            match output {
                ClientOutput::Dial(address) => self.dial(at, &address),
                ClientOutput::Send(bytes) => self.send_to_server(at, bytes.into()),
                ClientOutput::Hangup => self.hang_up(at),
                ClientOutput::Event(event) => self.client_event(at, event),
            }
        }
    }

    fn client_event(&mut self, at: usize, event: ClientEvent) {
        let name = format!("{} (bot {at})", self.bots[at].name);
        match event {
            ClientEvent::Entered(welcome) => {
                let Some(wire) = self.bots[at].wire else { return };
                self.totals.entered += 1;
                self.bots[at].inside = Some(Inside { host: self.wires[wire].host, wire });
                self.bots[at].player = Some(PlayerId(welcome.player));
                self.bots[at].entered(self.now_ms);
                let (node, epoch, island) = (welcome.node, welcome.epoch, welcome.island);
                self.tell(&format!("{name} is in: node {node}, island {island}, epoch {epoch}"));
                self.check_journey(at, PlayerId(welcome.player), Epoch(epoch), IslandId(island));
            }
            ClientEvent::Rejected { code, reason, .. } => {
                self.tell(&format!("{name} hears {reason}"));
                match self.bots[at].inside {
                    Some(inside) => self.session_over(at, inside, Some(code)),
                    None => self.turned_away(at, code, &reason),
                }
            }
            ClientEvent::Corrected(_) => {
                self.totals.corrections += 1;
                self.bots[at].turn();
            }
            ClientEvent::Acted(acted) => self.act_answered(at, &acted),
            ClientEvent::Unreachable(door) => self.tell(&format!("{name} can't reach {door}")),
            ClientEvent::Lost => {
                self.tell(&format!("{name} lost its connection"));
                if let Some(inside) = self.bots[at].inside {
                    self.session_over(at, inside, None);
                }
            }
            ClientEvent::ProtocolError(why) => self.watch.fail(format!("{name} was sent nonsense: {why}")),
            ClientEvent::Ended(reason) => {
                self.tell(&format!("{name} is done: {reason:?}"));
                self.hang_up(at);
                self.bots[at].inside = None;
                self.bots[at].ended(self.now_ms);
            }
        }
    }

    /// Refused at a door: fine, unless the reason would be the bot's own fault.
    fn turned_away(&mut self, at: usize, code: u16, reason: &str) {
        use RejectCode as C;
        self.totals.refused += 1;
        let own_fault =
            [C::Malformed, C::Version, C::Unexpected, C::Flood, C::BadName, C::NoIsland, C::TicketForged];
        if RejectCode::from_code(code).is_none_or(|code| own_fault.contains(&code)) {
            self.watch.fail(format!(
                "{} (bot {at}) did nothing wrong and was refused: {reason}",
                self.bots[at].name
            ));
        }
    }

    /// A session ended although its bot wanted to stay: only a fault that hit this very session may do that.
    fn session_over(&mut self, at: usize, inside: Inside, code: Option<u16>) {
        self.bots[at].inside = None;
        self.totals.sessions_lost += 1;
        let process = inside.host.process;
        let (stops, paused_ms) = match process {
            Process::Node(node) => (self.nodes[node].stops, self.hindered_ms(process, HINDERED_WITHIN_MS)),
            Process::Allocator => (false, 0),
        };
        // Two faults in a row may keep a node silent for longer than a client waits.
        let silent_ms = self.hindered_ms(process, SERVER_SILENT_MS_MAX + 2 * TICK_MS);
        let given_up = silent_ms + STORE_CALL_MS >= SERVER_SILENT_MS_MAX;
        let code = code.and_then(RejectCode::from_code);
        let mute = self.wires[inside.wire].stalled_until_ms + LINGER_MS >= self.now_ms;
        let in_order = match code {
            // Who doesn't read never learns why.
            _ if self.bots[at].habit == Habit::NeverReads => true,
            // The connection just ended: it was cut, or its node is no more, or what the node had to say didn't get
            // through in time.
            None if self.wires[inside.wire].cut || !self.runs(inside.host) => true,
            None => given_up || (mute && self.bots[at].shares_name),
            Some(RejectCode::Travelled) => true,
            Some(RejectCode::Replaced) => self.bots[at].shares_name,
            // It may have ended before its farewell got through.
            Some(RejectCode::Closing) => stops || !self.runs(inside.host),
            // Fenced: its lease ran out, so something must have kept it from the store for that long.
            // Or its name was lost with the store's master, on which it had begun to serve.
            Some(RejectCode::NodeLost) => paused_ms >= PAUSE_SURE_MS || self.is_unlisted(process),
            _ => false,
        };
        if !in_order {
            let why = code.map_or("the connection ended", RejectCode::label);
            self.watch.fail(format!(
                "{} (bot {at}) lost its session at {process} for no reason: {why}",
                self.bots[at].name
            ));
        }
    }
}
