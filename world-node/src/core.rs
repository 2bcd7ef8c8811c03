//! The world node, pure: takes clients' bytes, channel messages, store answers and the time; gives frames, channel
//! messages and store questions. The shell runs it on real sockets, the simulation on a seeded network. It reads no
//! clock, draws only from its own seeded streams and iterates nothing in hash order.

mod acts;
mod census;
mod checkpoints;
mod claims;
mod creatures;
mod docs;
mod entry;
mod fanout;
mod island;
mod moves;
mod peers;
pub mod ports;
mod session;
mod standing;
mod store;

pub use census::Counters;
pub use ports::{Backlog, ClientSink, NodeConfig, Phase, Standing};

use crate::executor::Executor;
use bytes::Bytes;
use chunk_sync::ids::{ConnId, IslandId, Minter, NodeId, Source};
use chunk_sync::limits::PAUSE_MS_MAX;
use chunk_sync::ports::MeshCommand;
use chunk_sync::random::{Stream, stream};
use chunk_sync::records::WORLD;
use chunk_sync::time::Tick;
use island::Island;
use peers::Peers;
use session::Sessions;
use standing::Register;
use store::Store;

/// One world node.
pub struct NodeCore {
    config: NodeConfig,
    now_ms: u64,
    now: Tick,
    standing: Standing,
    register: Register,
    store: Store,
    islands: Vec<Island>,
    sessions: Sessions,
    peers: Peers,
    mesh: Vec<MeshCommand>,
    executor: Executor,
    random: Stream,
    counters: Counters,
    load: census::Load,
}

impl NodeCore {
    /// A node that has yet to register with the store. `now_ms` is the world clock.
    pub fn new(config: NodeConfig, now_ms: u64) -> Self {
        let minter = Minter::new(WORLD, config.source);
        let random = stream(config.seed ^ u64::from(config.source.0), "node");
        Self {
            now_ms,
            now: Tick::at_ms(now_ms),
            standing: Standing::Starting,
            register: Register::default(),
            store: Store::new(minter),
            islands: Vec::new(),
            sessions: Sessions::default(),
            peers: Peers::default(),
            mesh: vec![
                MeshCommand::Subscribe(chunk_sync::mesh_wire::Topic::Heartbeat.bytes()),
                MeshCommand::Subscribe(chunk_sync::mesh_wire::Topic::Direct(config.source).bytes()),
            ],
            executor: Executor::default(),
            random,
            counters: Counters::default(),
            load: census::Load::default(),
            config,
        }
    }

    /// The node.
    pub fn node(&self) -> NodeId {
        self.config.node
    }

    /// Number of this start.
    pub fn source(&self) -> Source {
        self.config.source
    }

    /// How the node is.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// What it counted since its start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// One step of the world and what clients get of it, without a pause between.
    pub fn tick(&mut self, now_ms: u64, clients: &mut dyn ClientSink) {
        self.step_world(now_ms, clients);
        self.send_out(now_ms, clients);
    }

    /// The first half of a tick: one step of the world, up to what other members get of it. What came in since the
    /// last tick was handed to the `handle_*` functions before.
    pub fn step_world(&mut self, now_ms: u64, clients: &mut dyn ClientSink) {
        let late_ms = now_ms.saturating_sub(self.now_ms);
        self.now_ms = now_ms.max(self.now_ms);
        self.now = Tick::at_ms(self.now_ms);
        self.counters.ticks += 1;
        if late_ms > PAUSE_MS_MAX {
            self.revalidate(late_ms);
        }
        if self.now.0.is_multiple_of(10) {
            self.drop_silent();
        }
        self.drop_slow();
        self.take_news();
        self.tend_register();
        self.tend_peers();
        self.tend_claims();
        self.save_places();
        clients.phase_done(Phase::Store);
        self.apply_moves();
        clients.phase_done(Phase::Moves);
        self.step_creatures();
        clients.phase_done(Phase::Creatures);
        self.run_acts();
        clients.phase_done(Phase::Acts);
        self.admit();
        clients.phase_done(Phase::Admission);
        if self.standing == Standing::Serving {
            self.publish();
            clients.phase_done(Phase::Publish);
            self.follow_views();
            clients.phase_done(Phase::Interest);
            self.say_heartbeat();
            self.say_census();
            clients.phase_done(Phase::Census);
        }
    }

    /// Whether others publish something that clients of this node see, so that it is worth waiting for their half
    /// of the tick before this node's clients get theirs.
    pub fn shows_ghosts(&self) -> bool {
        self.standing == Standing::Serving && self.sessions.inside > 0 && self.peers.any_live(self.now_ms)
    }

    /// The second half of a tick: what clients get. Frames that other members published in their first half and that
    /// came meanwhile are in it.
    pub fn send_out(&mut self, now_ms: u64, clients: &mut dyn ClientSink) {
        let late_ms = now_ms.saturating_sub(self.now_ms);
        if late_ms > PAUSE_MS_MAX {
            // Stopped between the halves: what is left of this tick is as old as the rest.
            self.now_ms = now_ms;
            self.revalidate(late_ms);
        }
        self.fan_out(clients);
        clients.phase_done(Phase::FanOut);
    }

    /// Gives what is to be done on the mesh, in order.
    pub fn drain_mesh(&mut self, take: &mut dyn FnMut(MeshCommand)) {
        self.mesh.drain(..).for_each(take);
    }

    /// Takes a message from the mesh; `peer` is whose link it came by.
    pub fn handle_mesh(&mut self, peer: Source, topic: &[u8], body: Bytes, now_ms: u64) {
        self.take_mesh(peer, topic, &body, now_ms);
    }

    /// Tells every session to come back elsewhere, and the cluster that this node leaves.
    pub fn shutdown(&mut self, now_ms: u64, clients: &mut dyn ClientSink) {
        self.now_ms = now_ms.max(self.now_ms);
        if self.standing != Standing::Fenced {
            self.standing = Standing::Stopping;
            self.deregister();
        }
        self.end_all(chunk_sync::wire::RejectCode::Closing);
        self.fan_out(clients);
    }

    fn island_at(&self, island: IslandId) -> Option<usize> {
        self.islands.iter().position(|i| i.id == island)
    }

    fn reject(&mut self, conn: ConnId, code: chunk_sync::wire::RejectCode) {
        self.counters.reject(code);
        self.sessions.mail(conn, code.frame());
        self.sessions.close(conn);
    }

    /// Checks what must hold after every tick.
    pub fn invariants(&self) {
        for island in &self.islands {
            island.invariants();
        }
        self.sessions.invariants(&self.islands);
    }
}
