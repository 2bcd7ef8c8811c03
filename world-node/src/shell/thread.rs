//! The node's own thread: sleeps to the tick, takes everything in, runs the core, hands everything out.
//!
//! Started by the shell. It alone touches the core and the client sockets; what tokio does for it (door, mesh,
//! store) meets it in bounded queues that it only looks into. It waits for nothing but the next tick.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use chunk_sync::ids::{ConnId, Source};
use chunk_sync::ports::RequestId;
use chunk_sync::store::{StoreAnswer, StoreFault, StoreOp};
use chunk_sync::time::Tick;
use chunk_sync::wire::RejectCode;
use chunk_sync_io::door::{Arrival, Door};
use chunk_sync_io::mesh::{Mesh, MeshFrame};
use chunk_sync_io::store::StoreHandle;
use chunk_sync_io::world::WorldClock;
use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::watch;

use super::NodeEnd;
use super::sockets::{Received, Sockets};
use super::stats::{SharedStats, TickTimes, own_thread_cpu_s};
use super::sweep::Sweep;
use crate::core::NodeCore;
use crate::core::ports::Standing;
use crate::limits::{
    ARRIVALS_PER_TICK_MAX, GHOST_WAIT_MS, LOAD_EVERY_TICKS, MESH_STATS_EVERY_TICKS, STOP_MS_MAX,
    STORE_IN_FLIGHT_MAX,
};

/// What the thread is given.
pub(super) struct Parts {
    pub(super) core: NodeCore,
    pub(super) door: Door,
    pub(super) sockets: Sockets,
    pub(super) mesh: Box<dyn Mesh>,
    pub(super) store: StoreHandle,
    pub(super) clock: WorldClock,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) stats: Arc<SharedStats>,
    pub(super) standing: watch::Sender<Standing>,
    pub(super) sweep: Sweep,
}

/// The thread's state.
pub(super) struct NodeThread {
    parts: Parts,
    answers: Answers,
    masters: watch::Receiver<u64>,
    times: TickTimes,
    /// Reused from tick to tick.
    frames: Vec<MeshFrame>,
    requests: Vec<(RequestId, StoreOp)>,
    /// World milliseconds until which the thread goes on although it is to end.
    last_ms: Option<u64>,
}

/// Answers of the store on their way to the thread. There is room for one to every operation under way, so none
/// is ever lost.
struct Answers {
    sender: Sender<(RequestId, StoreAnswer)>,
    receiver: Receiver<(RequestId, StoreAnswer)>,
    in_flight: usize,
}

impl NodeThread {
    pub(super) fn new(parts: Parts) -> Self {
        let (sender, receiver) = bounded(STORE_IN_FLIGHT_MAX);
        Self {
            masters: parts.store.master_changes(),
            parts,
            answers: Answers { sender, receiver, in_flight: 0 },
            times: TickTimes::new(),
            frames: Vec::new(),
            requests: Vec::new(),
            last_ms: None,
        }
    }

    /// Ticks until the node was asked to stop or is fenced, and has said its farewells.
    pub(super) fn run(mut self) -> NodeEnd {
        let mut due = Tick::at_ms(self.parts.clock.now_ms());
        loop {
            due = self.sleep_to_next(due);
            // A clock that was slowed down meanwhile may show a moment before the tick; no tick runs twice for that.
            let now_ms = self.parts.clock.now_ms().max(due.start_ms());
            let busy = match self.tick(now_ms) {
                Ok(busy) => busy,
                Err(error) => return NodeEnd::Failed(format!("reading client sockets: {error}")),
            };
            self.measure(due, busy);
            if let Some(end) = self.end(now_ms) {
                return end;
            }
        }
    }

    /// Sleeps to the start of the next tick after `last` that has not begun yet, and returns it. After an overrun
    /// ticks are left out: running after them would only make the next ones late.
    fn sleep_to_next(&mut self, last: Tick) -> Tick {
        let clock = &self.parts.clock;
        let next = Tick((last.0 + 1).max(Tick::at_ms(clock.now_ms()).0));
        let skipped = next.0 - last.0 - 1;
        self.parts.stats.ticks_skipped.fetch_add(skipped, Relaxed);
        let wait = clock.instant_at(next.start_ms()).saturating_duration_since(Instant::now());
        std::thread::sleep(wait);
        next
    }

    /// One tick: take in, step the world, hand out; then, when others' entities are shown here, a moment for their
    /// half of the same tick to arrive, and the clients' share. Returns how long the thread was at work.
    fn tick(&mut self, now_ms: u64) -> std::io::Result<Duration> {
        let stats = Arc::clone(&self.parts.stats);
        let began = Instant::now();
        self.take_connections(now_ms);
        self.read_clients(now_ms)?;
        self.read_mesh(now_ms);
        self.read_store(now_ms);
        let taken_in = Instant::now();
        self.parts.sockets.begin_phases();
        self.parts.core.step_world(now_ms, &mut self.parts.sockets);
        let stepped = Instant::now();
        self.hand_to_mesh();
        self.hand_to_store(now_ms);
        let handed_out = Instant::now();
        if self.parts.core.shows_ghosts() {
            std::thread::sleep(Duration::from_millis(GHOST_WAIT_MS));
        }
        let awake = Instant::now();
        let now_ms = self.parts.clock.now_ms();
        self.read_mesh(now_ms);
        self.parts.sockets.begin_phases();
        self.parts.core.send_out(now_ms, &mut self.parts.sockets);
        self.parts.sockets.sweep();
        let sent = Instant::now();
        let micros = |from: Instant, to: Instant| to.duration_since(from).as_micros() as u64;
        stats.take_in_us.fetch_add(micros(began, taken_in), Relaxed);
        stats.core_us.fetch_add(micros(taken_in, stepped) + micros(awake, sent), Relaxed);
        stats.hand_out_us.fetch_add(micros(stepped, handed_out), Relaxed);
        Ok(sent.duration_since(awake) + handed_out.duration_since(began))
    }

    /// Connections that said `Hello`.
    fn take_connections(&mut self, now_ms: u64) {
        for _ in 0..ARRIVALS_PER_TICK_MAX {
            let Some(arrival) = self.parts.door.try_next() else { return };
            let Arrival { stream, hello, leftover, peer } = arrival;
            match adopt(&mut self.parts.sockets, stream) {
                Ok(conn) => {
                    self.parts.core.handle_hello(conn, &hello, now_ms);
                    if !leftover.is_empty() {
                        self.parts.core.handle_client_bytes(conn, &leftover, now_ms);
                    }
                }
                Err(error) => {
                    self.parts.stats.connections_refused.fetch_add(1, Relaxed);
                    tracing::debug!(%peer, %error, "connection refused");
                }
            }
        }
    }

    /// What clients sent since the last tick, straight from the one read buffer into the core.
    fn read_clients(&mut self, now_ms: u64) -> std::io::Result<()> {
        let Parts { core, sockets, .. } = &mut self.parts;
        sockets.receive(now_ms, |conn, received| match received {
            Received::Bytes(bytes) => core.handle_client_bytes(conn, bytes, now_ms),
            Received::Closed => core.handle_client_closed(conn, now_ms),
        })
    }

    fn read_mesh(&mut self, now_ms: u64) {
        self.parts.mesh.drain(&mut self.frames);
        for MeshFrame { peer, topic, body } in self.frames.drain(..) {
            self.parts.core.handle_mesh(Source(peer.0), &topic, body, now_ms);
        }
    }

    /// Answers, news of other masters, and transfers that a sweep found.
    fn read_store(&mut self, now_ms: u64) {
        if self.masters.has_changed().unwrap_or(false) {
            self.masters.mark_unchanged();
            self.parts.core.handle_store_changed();
        }
        self.parts.sweep.on.store(self.parts.core.is_sweeper(), Relaxed);
        while let Ok(found) = self.parts.sweep.found.try_recv() {
            self.parts.core.handle_unfinished(&[found]);
        }
        while let Ok((id, answer)) = self.answers.receiver.try_recv() {
            self.answers.in_flight -= 1;
            self.parts.core.handle_answer(id, answer, now_ms);
        }
    }

    fn hand_to_mesh(&mut self) {
        let Parts { core, mesh, .. } = &mut self.parts;
        core.drain_mesh(&mut |command| mesh.obey(command));
        mesh.flush();
    }

    fn hand_to_store(&mut self, now_ms: u64) {
        let Self { parts, answers, requests, .. } = self;
        parts.core.drain_requests(&mut |id, op| requests.push((id, op)));
        for (id, op) in requests.drain(..) {
            if answers.in_flight >= STORE_IN_FLIGHT_MAX {
                parts.stats.store_refused.fetch_add(1, Relaxed);
                parts.core.handle_answer(id, StoreAnswer::Failed(StoreFault::Away), now_ms);
                continue;
            }
            answers.in_flight += 1;
            let sender = answers.sender.clone();
            // Never full (see `Answers`); disconnected only when the thread has ended.
            parts.store.submit(op, move |answer| drop(sender.try_send((id, answer))));
        }
        parts.stats.store_in_flight.store(answers.in_flight as u64, Relaxed);
    }

    /// Leaves figures for others, and tells the core what it costs.
    fn measure(&mut self, tick: Tick, length: Duration) {
        self.times.push(length);
        let stats = &self.parts.stats;
        stats.ticks.fetch_add(1, Relaxed);
        stats.tick_max_us.fetch_max(length.as_micros() as u64, Relaxed);
        stats.put_sockets(self.parts.sockets.counters());
        stats.put_phases(self.parts.sockets.phases());
        stats.islands.store(self.parts.core.islands_served().into(), Relaxed);
        if tick.0.is_multiple_of(LOAD_EVERY_TICKS) {
            let (cpu_s, tick_ms) = (own_thread_cpu_s(), self.times.percentiles());
            stats.put_load(cpu_s, tick_ms);
            stats.put_core(&self.parts.core);
            self.parts.core.note_load(cpu_s, tick_ms);
        }
        if tick.0.is_multiple_of(MESH_STATS_EVERY_TICKS) {
            stats.put_mesh(self.parts.mesh.stats());
        }
        let standing = self.parts.core.standing();
        self.parts.standing.send_if_modified(|told| std::mem::replace(told, standing) != standing);
    }

    /// Whether it is over, and how. The first call that finds a reason to end starts the farewells.
    fn end(&mut self, now_ms: u64) -> Option<NodeEnd> {
        let fenced = self.parts.core.standing() == Standing::Fenced;
        let stopping = self.parts.stop.load(Relaxed);
        if !fenced && !stopping {
            return None;
        }
        let Some(last_ms) = self.last_ms else {
            self.parts.door.close();
            if !fenced {
                self.parts.core.shutdown(now_ms, &mut self.parts.sockets);
            }
            self.last_ms = Some(now_ms + STOP_MS_MAX);
            return None;
        };
        let all_said = self.parts.sockets.is_empty() && self.answers.in_flight == 0;
        let end = if fenced { NodeEnd::Fenced } else { NodeEnd::Stopped };
        (all_said || now_ms >= last_ms).then_some(end)
    }
}

/// Takes a socket over from tokio.
fn adopt(sockets: &mut Sockets, stream: tokio::net::TcpStream) -> std::io::Result<ConnId> {
    let stream = stream.into_std()?;
    if sockets.is_full() {
        // One try: a socket without a byte in it takes this much, and who can't be told is closed all the same.
        let _ = std::io::Write::write(&mut &stream, &RejectCode::Busy.frame());
    }
    sockets.adopt(stream)
}
