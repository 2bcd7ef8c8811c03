//! The allocator as a running service: one task that owns the core, the client door, the mesh endpoint and the
//! way to the store, and carries between them. Started by whoever wires a process together.
//!
//! Everything is decided in the core; here is only waiting, with a bound on each wait.

mod replies;

use crate::core::{AllocatorConfig, AllocatorCore, ClusterState, ConfigError, Counters, RequestNo, Standing};
use crate::limits::{SHUTDOWN_MS, STATE_EVERY_MS, STORE_INBOX_MAX, TICK_EVERY_MS};
use crate::policy::Policy;
use chunk_sync::ids::Source;
use chunk_sync::ports::RequestId;
use chunk_sync::records::WORLD;
use chunk_sync::store::{MinterError, StoreAnswer};
use chunk_sync::wire::{Hello, RejectCode, control, control_frame, kind};
use chunk_sync_io::door::{Arrival, Door, DoorError};
use chunk_sync_io::mesh::{Mesh, MeshError, MeshFrame, ZmqMesh};
use chunk_sync_io::store::{StoreHandle, lease_minter};
use chunk_sync_io::world::{WorldClock, WorldError, open_world};
use replies::Replies;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

/// How an allocator is started.
#[derive(Clone, Debug)]
pub struct AllocatorOptions {
    /// Where clients connect; port 0: any free one.
    pub listen: SocketAddr,
    /// What clients are told instead of the listening address (`host:port`).
    pub advertise: Option<String>,
    /// Where members of the cluster subscribe, a private address; port 0: any free one.
    pub mesh_listen: SocketAddr,
    /// What operators want.
    pub policy: Policy,
}

/// Why an allocator could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings contradict themselves.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The world could not be read from the store.
    #[error(transparent)]
    World(#[from] WorldError),
    /// No number for this start.
    #[error(transparent)]
    Minter(#[from] MinterError),
    /// Clients can't be listened for.
    #[error("the allocator's door: {0}")]
    Door(#[from] DoorError),
    /// Members can't be spoken to.
    #[error(transparent)]
    Mesh(#[from] MeshError),
}

/// Why an allocator's task ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AllocatorEnd {
    /// It was asked to.
    Stopped,
    /// A newer allocator took over; the process should end.
    Fenced,
    /// It failed; the process should end with an error.
    Failed(String),
}

/// What an allocator shows of itself, twice a second.
#[derive(Clone, Debug)]
pub struct Report {
    /// The cluster as operators see it.
    pub state: ClusterState,
    /// How the allocator is.
    pub standing: Standing,
    /// What happened since its start.
    pub counters: Counters,
}

/// A running allocator. Dropping it ends the task without signing off.
#[derive(Debug)]
pub struct AllocatorHandle {
    address: SocketAddr,
    source: Source,
    reports: watch::Receiver<Arc<Report>>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<AllocatorEnd>,
    end: Option<AllocatorEnd>,
}

impl AllocatorHandle {
    /// Where clients connect, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Number of this start.
    pub fn source(&self) -> Source {
        self.source
    }

    /// The newest report.
    pub fn report(&self) -> Arc<Report> {
        self.reports.borrow().clone()
    }

    /// Reports as they come.
    pub fn reports(&self) -> watch::Receiver<Arc<Report>> {
        self.reports.clone()
    }

    /// Waits until the allocator has ended, and says why.
    pub async fn ended(&mut self) -> AllocatorEnd {
        if let Some(end) = &self.end {
            return end.clone();
        }
        let end = (&mut self.task).await.unwrap_or_else(|error| AllocatorEnd::Failed(error.to_string()));
        self.end.insert(end).clone()
    }

    /// Signs off and ends, within `SHUTDOWN_MS`.
    pub async fn shutdown(mut self) -> AllocatorEnd {
        if let Some(stop) = self.stop.take() {
            // Fails only if the task has ended by itself.
            let _ = stop.send(());
        }
        match timeout(Duration::from_millis(2 * SHUTDOWN_MS), self.ended()).await {
            Ok(end) => end,
            Err(_) => AllocatorEnd::Failed("the allocator did not stop in time".to_owned()),
        }
    }
}

impl Drop for AllocatorHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts an allocator over `store`, by the world's `clock`. Must be called on a tokio runtime, which then runs it.
///
/// # Errors
/// [`StartError`] if a setting, an address or the store stands in the way.
pub async fn start(
    options: AllocatorOptions,
    store: StoreHandle,
    clock: WorldClock,
) -> Result<AllocatorHandle, StartError> {
    let faults = options.policy.faults();
    if !faults.is_empty() {
        return Err(ConfigError::Policy(faults).into());
    }
    let door = Door::open(options.listen).await?;
    let mesh = ZmqMesh::open(tokio::runtime::Handle::current(), options.mesh_listen).await?;
    let (world, _) = open_world(&store).await?;
    let source = lease_minter(&store, WORLD).await?;
    let address = door.address();
    let config = AllocatorConfig {
        source,
        policy: options.policy,
        keys: world.keys.iter().map(Into::into).collect(),
        address: options.advertise.unwrap_or_else(|| address.to_string()),
        mesh: mesh.endpoint(),
    };
    let core = AllocatorCore::new(config, clock.now_ms())?;
    let (report, reports) = watch::channel(Arc::new(report(&core, clock.now_ms())));
    let (stop, stopped) = oneshot::channel();
    let (answered, answers) = mpsc::channel(STORE_INBOX_MAX);
    let service = Service {
        core,
        clock,
        door,
        mesh,
        frames: Vec::new(),
        store,
        answered,
        answers,
        clients: BTreeMap::new(),
        next: 1,
        replies: Replies::default(),
        report,
        fenced: false,
    };
    tracing::info!(%address, source = source.0, "allocator started");
    let task = tokio::spawn(service.run(stopped));
    Ok(AllocatorHandle { address, source, reports, stop: Some(stop), task, end: None })
}

fn report(core: &AllocatorCore, now_ms: u64) -> Report {
    Report { state: core.state(now_ms), standing: core.standing(now_ms), counters: core.counters().clone() }
}

struct Service {
    core: AllocatorCore,
    clock: WorldClock,
    door: Door,
    mesh: ZmqMesh,
    frames: Vec<MeshFrame>,
    store: StoreHandle,
    answered: mpsc::Sender<(RequestId, StoreAnswer)>,
    answers: mpsc::Receiver<(RequestId, StoreAnswer)>,
    /// Who waits for an answer; bounded by the core's joins.
    clients: BTreeMap<RequestNo, TcpStream>,
    next: u64,
    replies: Replies,
    report: watch::Sender<Arc<Report>>,
    fenced: bool,
}

impl Service {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) -> AllocatorEnd {
        let mut ticks = interval(Duration::from_millis(TICK_EVERY_MS));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut reports = interval(Duration::from_millis(STATE_EVERY_MS));
        reports.set_missed_tick_behavior(MissedTickBehavior::Skip);
        self.carry();
        while !self.fenced {
            tokio::select! {
                // Answers and ticks first: a crowd at the door must not keep the lease from being renewed.
                biased;
                _ = &mut stopped => break,
                Some((id, answer)) = self.answers.recv() => self.core.handle_answer(id, answer, self.clock.now_ms()),
                _ = ticks.tick() => self.tick(),
                _ = reports.tick() => self.publish_report(),
                arrival = self.door.next() => match arrival {
                    Some(arrival) => self.handle_arrival(arrival),
                    None => return AllocatorEnd::Failed("the allocator's door closed".to_owned()),
                },
            }
            self.carry();
        }
        self.finish().await
    }

    fn tick(&mut self) {
        let now_ms = self.clock.now_ms();
        self.mesh.drain(&mut self.frames);
        for frame in self.frames.drain(..) {
            self.core.handle_mesh(Source(frame.peer.0), &frame.topic, &frame.body, now_ms);
        }
        self.core.tick(now_ms);
        self.replies.reap();
        if self.core.standing(now_ms) == Standing::Fenced {
            tracing::error!("a newer allocator took over; this one ends");
            self.fenced = true;
        }
    }

    fn handle_arrival(&mut self, arrival: Arrival) {
        let request = RequestNo(self.next);
        self.next += 1;
        match control::<Hello>(kind::HELLO, &arrival.hello) {
            Ok(hello) => {
                self.clients.insert(request, arrival.stream);
                self.core.handle_join(request, hello, self.clock.now_ms());
            }
            Err(error) => {
                tracing::debug!(peer = %arrival.peer, %error, "hello refused");
                self.replies.send(arrival.stream, RejectCode::Malformed.frame());
            }
        }
    }

    /// Carries what the core gave out to where it belongs.
    fn carry(&mut self) {
        let Service { core, mesh, store, answered, clients, replies, .. } = self;
        core.drain_answers(&mut |answer| {
            let Some(stream) = clients.remove(&answer.request) else { return };
            let frame = match answer.outcome {
                Ok(seat) => control_frame(kind::SEAT, &seat),
                Err(code) => code.frame(),
            };
            replies.send(stream, frame);
        });
        core.drain_requests(&mut |id, op| {
            let answered = answered.clone();
            store.submit(op, move |answer| {
                if answered.try_send((id, answer)).is_err() {
                    tracing::warn!("a store answer found no room or no allocator");
                }
            });
        });
        core.drain_mesh(&mut |command| mesh.obey(command));
        mesh.flush();
    }

    fn publish_report(&self) {
        self.report.send_replace(Arc::new(report(&self.core, self.clock.now_ms())));
    }

    /// Refuses who waits, signs off in the store, and lets answers reach their clients; each with a bound.
    async fn finish(mut self) -> AllocatorEnd {
        let until = Instant::now() + Duration::from_millis(SHUTDOWN_MS);
        self.door.close();
        self.core.shutdown(self.clock.now_ms());
        self.carry();
        while !self.core.has_left() {
            match timeout_at(until, self.answers.recv()).await {
                Ok(Some((id, answer))) => self.core.handle_answer(id, answer, self.clock.now_ms()),
                Ok(None) | Err(_) => {
                    tracing::warn!("the store did not confirm that the allocator left");
                    break;
                }
            }
            self.carry();
        }
        self.publish_report();
        self.replies.finish(until).await;
        if self.fenced { AllocatorEnd::Fenced } else { AllocatorEnd::Stopped }
    }
}
