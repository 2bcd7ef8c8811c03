//! Processes of a simulated cluster: how they start, step, stand still, stop and die.
//!
//! Part of the cluster; does what a supervisor and the shells do for real.

use super::arbiter::StoreWeather;
use super::audit::listed;
use super::cluster::Cluster;
use super::door::Door;
use super::events::{Event, Process, Start};
use super::host::Host;
use super::limits::STOP_MS_MAX;
use bytes::Bytes;
use chunk_sync::ids::Source;
use chunk_sync::limits::TICK_MS;
use chunk_sync::mesh_wire::TopicBytes;
use chunk_sync::ports::MeshCommand;
use chunk_sync::random::RngExt;
use chunk_sync::store::StoreAnswer;
use population_allocator::core::{AllocatorConfig, AllocatorCore, Standing as DoorStanding};
use std::collections::BTreeSet;
use world_node::core::NodeCore;
use world_node::core::ports::{NodeConfig, Standing};
use world_node::executor::{INDEX_DECIDED, INDEX_PENDING};
use world_node::limits::{GHOST_WAIT_MS, SWEEP_EVERY_MS};

/// How long a process waits before it tries to start again.
const BOOT_AGAIN_MS: u64 = 500;
/// How late a thread wakes.
const WAKE_LATE_MS_MAX: u64 = 12;

impl Cluster {
    /// Starts a process that is down.
    pub(super) fn boot(&mut self, process: Process) {
        let down = match process {
            Process::Node(at) => self.nodes[at].host.is_none() && !self.nodes[at].gone,
            Process::Allocator => self.door.is_none(),
        };
        if !down {
            return;
        }
        let Some(source) = self.store.lease_source(process, self.now_ms) else {
            return self.events.plan(self.now_ms + BOOT_AGAIN_MS, Event::Boot(process));
        };
        self.tell(&format!("{process} starts as {source}"));
        self.watch.disturbed(self.now_ms);
        self.mesh.join(source, process);
        match process {
            Process::Node(at) => self.boot_node(at, source),
            Process::Allocator => self.boot_door(source),
        }
    }

    fn boot_node(&mut self, at: usize, source: Source) {
        let (seed, keys) = (self.land_seed(), self.keys());
        let slot = &mut self.nodes[at];
        let address = format!("node-{}", slot.node.0);
        let config =
            NodeConfig { node: slot.node, source, seed, keys, mesh: format!("mesh://{address}"), address };
        slot.host = Some(Host::new(NodeCore::new(config, self.now_ms + slot.skew_ms)));
        (slot.source, slot.stops, slot.paused_until_ms) = (source, false, 0);
        let nth = slot.nth;
        self.plan_tick(at, nth);
    }

    fn boot_door(&mut self, source: Source) {
        let config = AllocatorConfig {
            source,
            policy: self.policy,
            keys: self.keys(),
            address: "allocator".to_owned(),
            mesh: "mesh://allocator".to_owned(),
        };
        match AllocatorCore::new(config, self.now_ms) {
            Ok(core) => {
                self.door = Some(Door::new(core));
                self.door_source = source;
                let start = Start { process: Process::Allocator, nth: self.door_nth };
                self.events.plan(self.now_ms, Event::Tick(start));
            }
            Err(error) => self.watch.fail(format!("the allocator can't start: {error}")),
        }
    }

    /// Does what the shell of the sweeping node does: what the indexes list twice in a row goes to its core.
    pub(super) fn sweep(&mut self) {
        self.events.plan(self.now_ms + SWEEP_EVERY_MS, Event::Sweep);
        let looks = |at: &usize| {
            let host = self.nodes[*at].host.as_ref();
            let asleep = self.nodes[*at].paused_until_ms > self.now_ms;
            let cut_off = self.store.cut_off.contains(&Process::Node(*at));
            !asleep && !cut_off && host.is_some_and(|host| host.core.is_sweeper())
        };
        let sweepers: Vec<usize> = (0..self.nodes.len()).filter(looks).collect();
        let before = std::mem::take(&mut self.swept);
        if sweepers.is_empty() || self.store.weather == StoreWeather::Away {
            return;
        }
        let store = self.store.twin();
        let pending = listed(store, INDEX_PENDING).into_iter().map(|(id, _)| (id, None));
        let decided = listed(store, INDEX_DECIDED).into_iter().map(|(id, at)| (id, Some(at)));
        let listed: BTreeSet<_> = pending.chain(decided).collect();
        for at in sweepers {
            let start = Start { process: Process::Node(at), nth: self.nodes[at].nth };
            let seen = before.get(&start);
            let found: Vec<_> =
                seen.map_or_else(Vec::new, |seen| listed.intersection(seen).copied().collect());
            self.swept.insert(start, listed.clone());
            self.totals.swept += found.len() as u64;
            if let Some(host) = &mut self.nodes[at].host {
                host.core.handle_unfinished(&found);
            }
        }
    }

    fn plan_tick(&mut self, at: usize, nth: u32) {
        let slot = &self.nodes[at];
        let clock_ms = self.now_ms + slot.skew_ms;
        let next_ms = (clock_ms / TICK_MS + 1) * TICK_MS - slot.skew_ms;
        let late_ms = self.random.random_range(0..WAKE_LATE_MS_MAX);
        self.events.plan(next_ms + late_ms, Event::Tick(Start { process: Process::Node(at), nth }));
    }

    /// A node steps, unless it stands still.
    pub(super) fn tick_node(&mut self, at: usize, nth: u32) {
        let slot = &mut self.nodes[at];
        if slot.nth != nth {
            return;
        }
        if slot.paused_until_ms > self.now_ms {
            let again = Event::Tick(Start { process: Process::Node(at), nth });
            return self.events.plan(slot.paused_until_ms, again);
        }
        let Some(host) = &mut slot.host else { return };
        let before = host.core.standing();
        let stepped = host.step(self.now_ms + slot.skew_ms);
        let (standing, source, waits) = (host.core.standing(), slot.source, host.core.shows_ghosts());
        self.totals.ticks += 1;
        if standing != before {
            if standing == Standing::Serving {
                slot.serves_ms = self.now_ms;
            }
            self.tell(&format!("{} ({source}) was {before:?}, is {standing:?}", Process::Node(at)));
        }
        if let Some(broken) = stepped.broken {
            self.watch.fail(format!("{} ({source}): {broken}", Process::Node(at)));
        }
        self.obey(source, stepped.mesh);
        let start = Start { process: Process::Node(at), nth };
        for (id, op) in stepped.asked {
            self.store.ask(start, id, op, self.now_ms, &mut self.events);
        }
        if waits {
            self.events.plan(self.now_ms + GHOST_WAIT_MS, Event::SendOut(start));
        } else {
            self.finish_tick(at, nth);
        }
    }

    /// The second half of a node's tick, unless it stands still.
    pub(super) fn finish_tick(&mut self, at: usize, nth: u32) {
        let slot = &mut self.nodes[at];
        if slot.nth != nth {
            return;
        }
        if slot.paused_until_ms > self.now_ms {
            let again = Event::SendOut(Start { process: Process::Node(at), nth });
            return self.events.plan(slot.paused_until_ms, again);
        }
        let Some(host) = &mut slot.host else { return };
        let stops = slot.stops && host.core.standing() != Standing::Stopping;
        let broken = host.send_out(self.now_ms + slot.skew_ms, stops);
        let (standing, source) = (host.core.standing(), slot.source);
        let outgoing = std::mem::take(&mut host.sockets.outgoing);
        if stops {
            self.tell(&format!("{} ({source}) is {standing:?}", Process::Node(at)));
        }
        if let Some(broken) = broken {
            self.watch.fail(format!("{} ({source}): {broken}", Process::Node(at)));
        }
        self.send_out(outgoing);
        self.check_owners(at);
        self.plan_tick(at, nth);
        if matches!(standing, Standing::Fenced | Standing::Stopping) {
            self.end_node(at);
        }
    }

    /// A node that is fenced or stopped says its farewells and ends; a fenced one is started anew.
    fn end_node(&mut self, at: usize) {
        let now_ms = self.now_ms;
        let Some(host) = &mut self.nodes[at].host else { return };
        let fenced = host.core.standing() == Standing::Fenced;
        let ends_ms = *host.ends_ms.get_or_insert(now_ms + STOP_MS_MAX);
        if now_ms < ends_ms && !host.sockets.is_empty() {
            return;
        }
        self.kill_node(at, "ends");
        if fenced {
            self.totals.fenced += 1;
            self.watch.disturbed(now_ms);
            let at_ms = now_ms + self.random.random_range(500..3_000);
            self.events.plan(at_ms, Event::Boot(Process::Node(at)));
        }
    }

    /// Ends a node's process whatever it is doing: its sockets close, all it knew is gone.
    pub(super) fn kill_node(&mut self, at: usize, how: &str) {
        let slot = &mut self.nodes[at];
        let Some(host) = slot.host.take() else { return };
        let source = slot.source;
        slot.nth += 1;
        let counters = host.core.counters();
        self.totals.take_node(counters, host.dropped);
        let (acts, carries, _) = host.core.executor().under_way();
        let died =
            [("node ended with acts under way", acts), ("node ended with transfers under way", carries)];
        for (what, _) in died.into_iter().filter(|(_, many)| *many > 0) {
            *self.totals.feats.entry(what).or_default() += 1;
        }
        self.tell(&format!("{} ({source}) {how}", Process::Node(at)));
        self.mesh.leave(source, self.now_ms, &mut self.events);
        host.wires().into_iter().for_each(|wire| self.send_end_to_client(wire));
    }

    /// Ends the allocator's process.
    pub(super) fn kill_door(&mut self, how: &str) {
        let Some(door) = self.door.take() else { return };
        self.door_nth += 1;
        self.tell(&format!("allocator ({}) {how}", self.door_source));
        self.mesh.leave(self.door_source, self.now_ms, &mut self.events);
        door.wires().into_iter().for_each(|wire| self.send_end_to_client(wire));
    }

    /// The allocator steps.
    pub(super) fn tick_door(&mut self, nth: u32) {
        if self.door_nth != nth {
            return;
        }
        let Some(door) = &mut self.door else { return };
        let before = door.core.standing(self.now_ms);
        let ticked = door.tick(self.now_ms);
        let standing = door.core.standing(self.now_ms);
        if standing != before {
            self.tell(&format!("allocator ({}) was {before:?}, is {standing:?}", self.door_source));
        }
        let mesh = ticked.mesh;
        self.obey(self.door_source, mesh);
        let start = Start { process: Process::Allocator, nth };
        for (id, op) in ticked.asked {
            self.store.ask(start, id, op, self.now_ms, &mut self.events);
        }
        for seated in ticked.seated {
            self.seated.insert((seated.player, seated.island), seated);
        }
        for (wire, frame) in ticked.told {
            self.send_to_client(wire, frame);
            self.send_end_to_client(wire);
        }
        self.events.plan(self.now_ms + TICK_MS, Event::Tick(start));
        if standing == DoorStanding::Fenced {
            self.kill_door("ends");
            self.events.plan(self.now_ms + BOOT_AGAIN_MS, Event::Boot(Process::Allocator));
        }
    }

    fn obey(&mut self, member: Source, commands: Vec<MeshCommand>) {
        let now_ms = self.now_ms;
        let mut topics: Vec<(TopicBytes, bool)> = Vec::new();
        let mut said: Vec<(TopicBytes, Bytes)> = Vec::new();
        for command in commands {
            match command {
                MeshCommand::Connect(peer, _) | MeshCommand::Remake(peer) => {
                    self.mesh.connect(peer, member, now_ms, &mut self.events);
                }
                MeshCommand::Disconnect(peer) => self.mesh.disconnect(peer, member),
                MeshCommand::Subscribe(topic) => topics.push((topic, true)),
                MeshCommand::Unsubscribe(topic) => topics.push((topic, false)),
                MeshCommand::Publish(topic, body) => said.push((topic, body)),
            }
        }
        // As a real mesh does at its flush: first what is taken, then what is said.
        if !topics.is_empty() {
            self.mesh.subscribe(member, &topics, now_ms, &mut self.events);
        }
        for (topic, body) in said {
            self.mesh.publish(member, topic, &body, now_ms, &mut self.events);
        }
    }

    /// An answer of the store reaches who asked, if it still runs.
    pub(super) fn answered(&mut self, start: Start, id: u64, answer: StoreAnswer) {
        self.store.settled(start);
        if !self.runs(start) {
            return;
        }
        match start.process {
            Process::Node(at) => {
                if let Some(host) = &mut self.nodes[at].host {
                    host.answer(id, answer);
                }
            }
            Process::Allocator => {
                if let Some(door) = &mut self.door {
                    door.answer(id, answer);
                }
            }
        }
    }
}
