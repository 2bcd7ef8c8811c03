//! A whole cluster in one thread: the cores that run for real, on a virtual clock, over a seeded network. One event
//! after the other; nothing but the seed decides what happens.
//!
//! Driven by `sim::run_seed`. What processes, connections, faults and checks do is in the modules beside.

use super::arbiter::{Arbiter, StoreWeather};
use super::bot::Bot;
use super::checks::Watch;
use super::deeds::Deeds;
use super::door::{Door, Seated};
use super::endow::endow;
use super::events::{Event, Events, Process, Start};
use super::faults::{self, Planned};
use super::host::Host;
use super::limits::{LOOK_EVERY_MS, SKEW_MS_MAX, WIDE_SKEW_MS_MAX};
use super::mesh::{MeshNet, Weather};
use super::trace::Trace;
use super::wires::Wire;
use super::{Setup, Totals};
use chunk_sync::ids::{IslandId, NodeId, PlayerId, Source};
use chunk_sync::limits::TICK_MS;
use chunk_sync::random::{RngExt, Stream, stream};
use chunk_sync::terrain::Terrain;
use chunk_sync::ticket::TicketKey;
use population_allocator::policy::Policy;
use std::collections::{BTreeMap, BTreeSet};
use world_node::limits::SWEEP_EVERY_MS;
use world_node::rules::{Partition, TransferId};

/// A node over all its starts.
pub(super) struct Slot {
    pub node: NodeId,
    pub host: Option<Host>,
    pub source: Source,
    /// Number of the start that runs, or runs next.
    pub nth: u32,
    /// How far its clock is ahead.
    pub skew_ms: u64,
    pub paused_until_ms: u64,
    /// Since when it serves.
    pub serves_ms: u64,
    /// It was told to stop.
    pub stops: bool,
    /// It stays away for good.
    pub gone: bool,
}

/// Everything there is.
pub(super) struct Cluster {
    pub setup: Setup,
    pub seed: u64,
    pub now_ms: u64,
    pub began_ms: u64,
    /// When the last fault is over.
    pub end_ms: u64,
    pub events: Events,
    pub trace: Trace,
    pub mesh: MeshNet,
    pub fair: Weather,
    pub store: Arbiter,
    pub nodes: Vec<Slot>,
    pub door: Option<Door>,
    pub door_source: Source,
    pub door_nth: u32,
    /// How it was when this player got its newest ticket for that island.
    pub seated: BTreeMap<(PlayerId, IslandId), Seated>,
    pub policy: Policy,
    pub wires: Vec<Wire>,
    pub bots: Vec<Bot>,
    pub faults: Vec<Planned>,
    /// Faults that go on now.
    pub active: BTreeSet<usize>,
    /// Faults that wait for the store to do something.
    pub armed: Vec<usize>,
    pub watch: Watch,
    pub totals: Totals,
    pub random: Stream,
    pub terrains: BTreeMap<IslandId, Terrain>,
    pub deeds: Deeds,
    /// What the last look at the indexes listed, and who looked.
    pub swept: BTreeMap<Start, BTreeSet<(TransferId, Option<Partition>)>>,
}

impl Cluster {
    /// The cluster of a seed, before anything happened.
    pub(super) fn new(seed: u64, setup: Setup) -> Self {
        let mut random = stream(seed, "cluster");
        // Half of the runs pass the moment at which the sixteen bits of a tick wrap.
        let wrap_ticks = 65_536 * random.random_range(1u64..4);
        let before = if random.random_bool(0.5) {
            random.random_range(50..500)
        } else {
            random.random_range(2_000..60_000)
        };
        let began_ms = (wrap_ticks - before) * TICK_MS;
        let end_ms = began_ms + setup.seconds * 1_000;
        let fair = faults::fair_weather(&mut random);
        let mut cluster = Self {
            seed,
            now_ms: began_ms,
            began_ms,
            end_ms,
            events: Events::default(),
            trace: Trace::new(began_ms),
            mesh: MeshNet::new(seed, fair),
            fair,
            store: Arbiter::new(seed, began_ms),
            nodes: Vec::new(),
            door: None,
            door_source: Source(0),
            door_nth: 0,
            seated: BTreeMap::new(),
            policy: draw_policy(&mut random, setup, seed),
            wires: Vec::new(),
            bots: Vec::new(),
            faults: Vec::new(),
            active: BTreeSet::new(),
            armed: Vec::new(),
            watch: Watch::new(end_ms),
            totals: Totals::default(),
            random,
            terrains: BTreeMap::new(),
            deeds: Deeds::default(),
            swept: BTreeMap::new(),
            setup,
        };
        cluster.populate();
        cluster
    }

    fn populate(&mut self) {
        let began_ms = self.began_ms;
        let skew_ms_max = if self.random.random_bool(0.2) { WIDE_SKEW_MS_MAX } else { SKEW_MS_MAX };
        for nth in 0..self.setup.nodes {
            let slot = Slot {
                node: NodeId(nth as u32 + 1),
                host: None,
                source: Source(0),
                nth: 0,
                skew_ms: self.random.random_range(0..skew_ms_max),
                paused_until_ms: 0,
                serves_ms: 0,
                stops: false,
                gone: false,
            };
            self.nodes.push(slot);
            self.events.plan(began_ms + self.random.random_range(0..300), Event::Boot(Process::Node(nth)));
        }
        self.events.plan(began_ms, Event::Boot(Process::Allocator));
        for nth in 0..self.setup.bots {
            self.bots.push(Bot::new(self.seed, nth, began_ms, self.setup.acts));
            self.events.plan(began_ms + (nth as u64 * 37) % TICK_MS, Event::Bot(nth));
        }
        let names: Vec<String> = self.bots.iter().filter(|b| b.shares_name).map(|b| b.name.clone()).collect();
        self.bots.iter_mut().filter(|b| names.contains(&b.name)).for_each(|b| b.shares_name = true);
        if self.setup.acts {
            let names: Vec<String> = self.bots.iter().map(|bot| bot.name.clone()).collect();
            endow(self.seed, &names, &mut self.store, began_ms);
            self.store.may_be_late = true;
        }
        if self.setup.faults {
            self.faults = faults::draw(self.seed, self.setup, began_ms, self.end_ms);
        }
        for (nth, planned) in self.faults.iter().enumerate() {
            self.events.plan(planned.from_ms, Event::FaultBegins(nth));
            self.events.plan(planned.until_ms, Event::FaultEnds(nth));
        }
        self.events.plan(self.end_ms + LOOK_EVERY_MS, Event::Look);
        self.events.plan(began_ms + SWEEP_EVERY_MS, Event::Sweep);
    }

    /// Runs to the end, or to the first property that breaks.
    pub(super) fn run(&mut self) -> Result<(), String> {
        while let Some((at_ms, event)) = self.events.next() {
            self.now_ms = at_ms;
            self.totals.events += 1;
            self.step(event);
            if let Some(broken) = self.store.books.broken.take().or_else(|| self.watch.broken.take()) {
                return Err(broken);
            }
            if self.watch.done {
                self.totals.virtual_ms += self.now_ms - self.began_ms;
                self.totals.delivered += self.mesh.delivered;
                self.totals.lost += self.mesh.lost;
                self.totals.store_failures += self.store.failed;
                self.totals.late_commits += self.store.late;
                for (what, count) in &self.store.books.feats {
                    *self.totals.feats.entry(what).or_default() += count;
                }
                return Ok(());
            }
        }
        Err("nothing happens any more".to_owned())
    }

    fn step(&mut self, event: Event) {
        let now_ms = self.now_ms;
        match event {
            Event::Tick(Start { process: Process::Node(at), nth }) => self.tick_node(at, nth),
            Event::Tick(Start { process: Process::Allocator, nth }) => self.tick_door(nth),
            Event::SendOut(Start { process: Process::Node(at), nth }) => self.finish_tick(at, nth),
            Event::SendOut(_) => (),
            Event::Boot(process) => self.boot(process),
            Event::LinkUp(route) => self.mesh.link_up(route, now_ms, &mut self.events),
            Event::Topics(route, change) => self.mesh.topics(route, change, now_ms, &mut self.events),
            Event::Mesh(route, topic, body) => {
                let Some(process) = self.mesh.arrive(route) else { return };
                self.trace.fold(
                    now_ms,
                    1,
                    u64::from(route.publisher.0) << 32 | u64::from(route.subscriber.0),
                    &body,
                );
                match process {
                    Process::Node(at) => {
                        if let Some(host) = &mut self.nodes[at].host {
                            host.hear(route.publisher, topic, body);
                        }
                    }
                    Process::Allocator => {
                        if let Some(door) = &mut self.door {
                            door.hear(route.publisher, topic, body);
                        }
                    }
                }
            }
            Event::Ask(start, id, op) => {
                self.trace.fold(now_ms, 2, id, op.partition().as_bytes());
                if let Some(noted) = self.store.asked(start, id, &op, now_ms, &mut self.events) {
                    self.done_for(start.process, noted);
                }
            }
            Event::Late(office, op) => {
                self.trace.fold(now_ms, 5, u64::from(office), op.partition().as_bytes());
                self.store.came_late(office, &op, now_ms);
            }
            Event::Answer(start, id, answer) => self.answered(start, id, answer),
            Event::Opened(wire) => self.opened(wire),
            Event::ToServer(wire, bytes) => {
                self.trace.fold(now_ms, 3, wire as u64, &bytes);
                self.arrive_at_server(wire, &bytes);
            }
            Event::ToClient(wire, bytes) => {
                self.trace.fold(now_ms, 4, wire as u64, &bytes);
                self.arrive_at_client(wire, &bytes);
            }
            Event::EndAtServer(wire) => self.end_at_server(wire),
            Event::EndAtClient(wire) => self.end_at_client(wire),
            Event::Bot(at) => self.step_bot(at),
            Event::FaultBegins(nth) => self.begin_fault(nth),
            Event::FaultEnds(nth) => self.end_fault(nth),
            Event::Strike(nth) => self.strike(nth),
            Event::Believers(office) => self.look_for_believers(office),
            Event::Look => self.look(),
            Event::Sweep => self.sweep(),
        }
    }

    /// Adds to the story.
    pub(super) fn tell(&mut self, line: &str) {
        self.trace.tell(self.now_ms, line);
    }

    /// The world's keys: one, made of the seed.
    pub(super) fn keys(&self) -> Vec<TicketKey> {
        vec![TicketKey { id: 1, secret: [self.seed as u8; 32] }]
    }

    /// Seed of the world's land.
    pub(super) fn land_seed(&self) -> u64 {
        self.seed
    }

    /// Whether this start still runs.
    pub(super) fn runs(&self, start: Start) -> bool {
        match start.process {
            Process::Node(at) => self.nodes[at].nth == start.nth && self.nodes[at].host.is_some(),
            Process::Allocator => self.door_nth == start.nth && self.door.is_some(),
        }
    }

    /// Whether a node began to serve on a registration that the store's replica had not heard of when it took over.
    pub(super) fn is_unlisted(&self, process: Process) -> bool {
        let Process::Node(at) = process else { return false };
        let serves_ms = self.nodes[at].serves_ms;
        let behind = |f: &&Planned| matches!(f.fault, faults::Fault::Store(StoreWeather::Behind));
        self.faults.iter().filter(behind).any(|f| (f.from_ms..=f.until_ms).contains(&serves_ms))
    }

    /// A process that something bad happens to can't tell its lease from a lost one: how long, of the last while.
    pub(super) fn hindered_ms(&self, process: Process, last_ms: u64) -> u64 {
        let (from_ms, until_ms) = (self.now_ms.saturating_sub(last_ms), self.now_ms);
        let hinders = |fault: &faults::Fault| match fault {
            faults::Fault::Pause(node) => Process::Node(*node) == process,
            faults::Fault::StoreCut(cut) => *cut == process,
            faults::Fault::Store(_) => true,
            _ => false,
        };
        self.faults.iter().filter(|f| hinders(&f.fault)).map(|f| f.overlap_ms(from_ms, until_ms)).sum()
    }
}

/// Islands small enough that their caps matter; where bots act, in half of the runs two that have room for everybody.
fn draw_policy(random: &mut Stream, setup: Setup, seed: u64) -> Policy {
    let bots = setup.bots as u32;
    let (design, cap) = match random.random_range(0..3) {
        0 => (bots + 4, bots + 8),
        1 => ((bots * 2 / 3).max(2), (bots * 2 / 3 + 1).max(3)),
        _ => ((bots / 2).max(2), bots.max(3)),
    };
    let islands = random.random_range(1..=2);
    let policy = Policy { design, cap, minimum: 1, islands, islands_max: 4, ..Policy::default() };
    if setup.acts && seed.is_multiple_of(2) {
        return Policy { design: bots * 2, cap: bots * 2 + 4, islands: 2, ..policy };
    }
    policy
}
