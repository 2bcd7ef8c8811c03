//! `atoll node`: a world node as a process of its own, on a store that the cluster shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use chunk_sync::ids::NodeId;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use world_node::shell::{NodeHandle, NodeOptions};

use crate::config::{NodeConfig, probe};
use crate::failure::Failure;
use crate::http::{Admin, Observed};
use crate::nodes::{self, Nodes};
use crate::own::Own;
use crate::process::Process;
use crate::storage::Storage;
use crate::{figures, storage};

/// A node process.
pub(crate) struct Node {
    config: NodeConfig,
    prometheus: PrometheusHandle,
    seen: Arc<Seen>,
    admin: Option<Admin>,
    storage: Option<Storage>,
}

impl Node {
    /// A node that has yet to be started.
    pub(crate) fn new(config: NodeConfig, prometheus: PrometheusHandle) -> Self {
        let nodes = Nodes::new(std::iter::once(config.node));
        let seen = Seen { node: config.node, nodes, own: Own::new("node"), ready: AtomicBool::new(false) };
        Self { config, prometheus, seen: Arc::new(seen), admin: None, storage: None }
    }
}

impl Process for Node {
    async fn start(&mut self) -> Result<(), Failure> {
        let (common, addresses) = (&self.config.common, &self.config.addresses);
        let node = self.config.node;
        let wanted = [("http".to_owned(), common.http), (format!("node {node}"), addresses.listen)];
        let faults = probe::ports(&wanted);
        if !faults.is_empty() {
            return Err(Failure::Setup(faults));
        }
        let seen: Arc<dyn Observed> = Arc::<Seen>::clone(&self.seen);
        self.admin = Some(Admin::open(common.http, seen, self.prometheus.clone()).await?);
        let store = storage::open(&common.store).await?;
        let storage = self.storage.insert(Storage::start(store).await?);
        let (store, clock) = (storage.store.clone(), storage.clock.clone());
        let options = NodeOptions {
            node,
            listen: addresses.listen,
            advertise: addresses.advertise.clone(),
            mesh_listen: format!("tcp://{}", addresses.mesh_listen),
        };
        self.seen.nodes.start(options, store, clock).await.map_err(|error| nodes::refused(&error))?;
        Ok(())
    }

    fn observed(&self) -> Arc<dyn Observed> {
        Arc::<Seen>::clone(&self.seen)
    }

    fn ready_line(&self) -> String {
        let running = self.seen.nodes.running();
        let address = running.first().map(|handle| handle.advertised().to_owned()).unwrap_or_default();
        let page = self.admin.as_ref().map(Admin::page).unwrap_or_default();
        format!("ready node={} address={address} page={page}", self.config.node)
    }

    async fn serve(&mut self) -> Failure {
        let Some(handle) = self.seen.nodes.running().pop() else { return Failure::run("there is no node") };
        let end = handle.ended().await;
        let why = nodes::end_text(&end);
        self.seen.nodes.note_end(self.config.node, why.clone());
        Failure::run(format!("node {} ended: {why}", self.config.node))
    }

    async fn close(&mut self) {
        self.seen.nodes.close().await;
        if let Some(storage) = self.storage.take() {
            storage.close().await;
            // What never got so far has nothing to say of its end.
            tracing::info!("closed");
        }
        self.admin = None;
    }
}

/// What the admin port shows of the node.
struct Seen {
    node: NodeId,
    nodes: Nodes,
    own: Own,
    ready: AtomicBool,
}

impl Seen {
    /// The node's part of the cluster's state, in the same shape.
    fn part(&self, handle: &NodeHandle) -> Value {
        let stats = handle.stats();
        json!({
            "nodes": [{
                "id": self.node.0,
                "address": handle.advertised(),
                "sessions": stats.sessions,
                "tick_ms": { "p50": stats.tick_ms.0, "p99": stats.tick_ms.1 },
                "cpu_s": stats.cpu_s,
                "ghosts": stats.ghosts,
                "chunks_claimed": stats.chunks_claimed,
                "alive": self.nodes.any_serves(),
            }],
        })
    }
}

impl Observed for Seen {
    fn waits_for(&self) -> Option<String> {
        // A node that no plan names yet serves all the same: the plan may come later.
        (!self.nodes.any_serves()).then(|| self.nodes.waits_for()).flatten()
    }

    fn note_ready(&self) {
        self.ready.store(true, Relaxed);
    }

    fn unready(&self) -> Option<String> {
        let ready = self.ready.load(Relaxed);
        self.waits_for().or_else(|| (!ready).then(|| "starting".to_owned()))
    }

    fn state(&self) -> Option<String> {
        let handle = self.nodes.running().pop()?;
        self.own.complete(&self.part(&handle), 0.0, self.unready(), None)
    }

    fn measure(&self) {
        self.own.measure();
        self.nodes.running().iter().for_each(|handle| figures::node(handle));
    }
}
