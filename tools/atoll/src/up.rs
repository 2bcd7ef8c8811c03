//! `atoll up`: a whole cluster in one process. Allocator and nodes share nothing but the store's contract, the
//! channel on loopback and this process's life.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use chunk_sync::ids::NodeId;
use chunk_sync_io::store::StoreHandle;
use metrics_exporter_prometheus::PrometheusHandle;
use population_allocator::service::{AllocatorHandle, AllocatorOptions};
use tokio::task::JoinSet;
use world_node::shell::{NodeEnd, NodeOptions};

use crate::books::{self, Books};
use crate::config::{UpConfig, probe};
use crate::desk::Desk;
use crate::failure::Failure;
use crate::http::{Admin, Observed};
use crate::islands::Archives;
use crate::limits::{RESTART_PAUSE, RESTARTS_MAX};
use crate::nodes::{self, Nodes};
use crate::own::Own;
use crate::process::Process;
use crate::seats::{self, Reports};
use crate::storage::Storage;
use crate::{figures, storage};

/// A whole cluster.
pub(crate) struct Cluster {
    config: UpConfig,
    prometheus: PrometheusHandle,
    seen: Arc<Seen>,
    admin: Option<Admin>,
    storage: Option<Storage>,
    books: Option<Books>,
    allocator: Option<AllocatorHandle>,
    happenings: JoinSet<Happening>,
    restarts: Vec<u32>,
}

/// What the cluster waits for while it serves.
enum Happening {
    /// A node's thread ended.
    Ended(NodeId, NodeEnd),
    /// A node that failed may be tried again.
    RestartDue(NodeId),
}

impl Cluster {
    /// A cluster that has yet to be started.
    pub(crate) fn new(config: UpConfig, prometheus: PrometheusHandle) -> Self {
        let nodes = Nodes::new((1..=config.nodes).map(|number| NodeId(number.into())));
        let seen = Seen {
            nodes,
            reports: Reports::default(),
            own: Own::new("up"),
            books: books::Status::default(),
            desk: Desk::default(),
            ready: AtomicBool::new(false),
        };
        Self {
            restarts: vec![0; config.nodes.into()],
            config,
            prometheus,
            seen: Arc::new(seen),
            admin: None,
            storage: None,
            books: None,
            allocator: None,
            happenings: JoinSet::new(),
        }
    }

    /// Everything that is wrong with ports and folder, told together.
    async fn probe(&mut self) -> Result<StoreHandle, Failure> {
        let config = &self.config;
        let mut wanted =
            vec![("http".to_owned(), config.common.http), ("the allocator".to_owned(), config.listen(0))];
        wanted.extend((1..=config.nodes).map(|number| (format!("node {number}"), config.listen(number))));
        let mut faults = probe::ports(&wanted);
        if let Some(fault) = probe::folder(&config.common.store) {
            faults.push(fault);
            return Err(Failure::Setup(faults));
        }
        match storage::open(&config.common.store).await {
            Ok(store) if faults.is_empty() => Ok(store),
            Ok(store) => {
                storage::close(store).await;
                Err(Failure::Setup(faults))
            }
            Err(Failure::Setup(more)) => {
                faults.extend(more);
                Err(Failure::Setup(faults))
            }
            Err(failure) if faults.is_empty() => Err(failure),
            Err(Failure::Run(_)) => Err(Failure::Setup(faults)),
        }
    }

    async fn start_node(&mut self, node: NodeId) -> Result<(), Failure> {
        let Some(storage) = &self.storage else { return Err(Failure::run("the store is closed")) };
        let (store, clock) = (storage.store.clone(), storage.clock.clone());
        let options = NodeOptions {
            node,
            listen: self.config.listen(u16::try_from(node.0).unwrap_or(u16::MAX)),
            advertise: None,
            mesh_listen: "tcp://127.0.0.1:0".to_owned(),
        };
        let started = self.seen.nodes.start(options, store, clock).await;
        let handle = started.map_err(|error| nodes::refused(&error))?;
        self.happenings.spawn(async move { Happening::Ended(node, handle.ended().await) });
        Ok(())
    }

    /// A node's thread ended: it is tried again, unless another process took its place or it failed too often.
    fn node_ended(&mut self, node: NodeId, end: &NodeEnd) {
        let why = nodes::end_text(end);
        tracing::error!("node {node} ended: {why}");
        self.seen.nodes.note_end(node, why);
        if matches!(end, NodeEnd::Failed(_)) {
            self.try_again_later(node);
        }
    }

    fn try_again_later(&mut self, node: NodeId) {
        let tries = &mut self.restarts[node.0 as usize - 1];
        if *tries == RESTARTS_MAX {
            tracing::error!("node {node} failed {RESTARTS_MAX} times; it stays down");
            return;
        }
        *tries += 1;
        self.happenings.spawn(async move {
            tokio::time::sleep(RESTART_PAUSE).await;
            Happening::RestartDue(node)
        });
    }

    async fn restart(&mut self, node: NodeId) {
        match self.start_node(node).await {
            Ok(()) => tracing::info!("node {node} runs again"),
            Err(failure) => {
                let why = failure.lines().join("; ");
                tracing::error!("node {node} can't be started again: {why}");
                self.seen.nodes.note_end(node, why);
                self.try_again_later(node);
            }
        }
    }
}

impl Process for Cluster {
    async fn start(&mut self) -> Result<(), Failure> {
        let store = self.probe().await?;
        let seen: Arc<dyn Observed> = Arc::<Seen>::clone(&self.seen);
        self.admin = Some(Admin::open(self.config.common.http, seen, self.prometheus.clone()).await?);
        let storage = self.storage.insert(Storage::start(store).await?);
        let (store, clock) = (storage.store.clone(), storage.clock.clone());
        let ledger = books::folder_of(self.config.ledger.as_ref(), &self.config.common.store);
        let archives = Archives::new(None, &self.config.common.store);
        self.books =
            books::open(&store, ledger.as_deref(), archives, &self.seen.books, &self.seen.desk).await?;
        for number in 1..=self.config.nodes {
            self.start_node(NodeId(number.into())).await?;
        }
        let options = AllocatorOptions {
            listen: self.config.listen(0),
            advertise: None,
            mesh_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            policy: self.config.policy,
        };
        let started = population_allocator::service::start(options, store, clock).await;
        let allocator = started.map_err(|error| seats::refused(&error))?;
        self.seen.own.note_join(allocator.address().to_string());
        self.seen.reports.follow(allocator.reports());
        self.allocator = Some(allocator);
        Ok(())
    }

    fn observed(&self) -> Arc<dyn Observed> {
        Arc::<Seen>::clone(&self.seen)
    }

    fn ready_line(&self) -> String {
        let join = self.seen.own.join().unwrap_or_default();
        let page = self.admin.as_ref().map(Admin::page).unwrap_or_default();
        format!("ready join={join} page={page} nodes={}", self.config.nodes)
    }

    async fn serve(&mut self) -> Failure {
        loop {
            let Some(allocator) = &mut self.allocator else { return Failure::run("there is no allocator") };
            let happening = tokio::select! {
                end = allocator.ended() => return seats::ended(end),
                happening = self.happenings.join_next() => happening,
            };
            match happening {
                Some(Ok(Happening::Ended(node, end))) => self.node_ended(node, &end),
                Some(Ok(Happening::RestartDue(node))) => self.restart(node).await,
                Some(Err(error)) => tracing::error!(%error, "watching a node"),
                None => return Failure::run("no node is left"),
            }
        }
    }

    async fn close(&mut self) {
        // Watching ends first: what closes now was asked to.
        self.happenings.shutdown().await;
        let allocator = self.allocator.take();
        let seats = async {
            if let Some(allocator) = allocator {
                let end = allocator.shutdown().await;
                tracing::debug!(?end, "allocator ended");
            }
        };
        tokio::join!(seats, self.seen.nodes.close());
        // After the nodes: what they did last is in the files too.
        if let Some(books) = self.books.take() {
            books.close().await;
        }
        self.seen.desk.close().await;
        if let Some(storage) = self.storage.take() {
            storage.close().await;
            // What never got so far has nothing to say of its end.
            tracing::info!("closed");
        }
        self.admin = None;
    }
}

/// What the admin port shows of the cluster.
struct Seen {
    nodes: Nodes,
    reports: Reports,
    own: Own,
    books: books::Status,
    desk: Desk,
    ready: AtomicBool,
}

impl Observed for Seen {
    fn waits_for(&self) -> Option<String> {
        self.nodes.waits_for().or_else(|| self.reports.waits_for()).or_else(|| {
            let report = self.reports.newest()?;
            let ids = self.nodes.running().into_iter().map(|handle| handle.node());
            let unused = ids.into_iter().find(|node| !seats::is_used(&report.state, node.0));
            unused.map(|node| format!("allocator: node {node} is not in the plan yet"))
        })
    }

    fn note_ready(&self) {
        self.ready.store(true, Relaxed);
    }

    fn unready(&self) -> Option<String> {
        if !self.ready.load(Relaxed) {
            return Some(self.waits_for().unwrap_or_else(|| "starting".to_owned()));
        }
        let no_node = (!self.nodes.any_serves()).then(|| "no node serves".to_owned());
        no_node.or_else(|| self.reports.unready())
    }

    fn state(&self) -> Option<String> {
        let report = self.reports.newest()?;
        self.own.complete(&report.state, 0.0, self.unready(), self.books.newest().as_ref())
    }

    fn desk(&self) -> Option<&Desk> {
        Some(&self.desk)
    }

    fn measure(&self) {
        self.own.measure();
        self.nodes.running().iter().for_each(|handle| figures::node(handle));
        if let Some(report) = self.reports.newest() {
            figures::allocator(&report);
        }
    }
}
