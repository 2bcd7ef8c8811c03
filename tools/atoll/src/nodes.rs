//! The nodes that run in this process: one in `atoll node`, several in `atoll up`. The role starts and ends them;
//! the admin port looks at them.

use std::sync::{Arc, PoisonError, RwLock};

use chunk_sync::ids::NodeId;
use chunk_sync_io::store::StoreHandle;
use chunk_sync_io::world::WorldClock;
use world_node::core::ports::Standing;
use world_node::shell::{NodeEnd, NodeError, NodeHandle, NodeOptions};

use crate::failure::Failure;

/// This process's nodes, by number.
#[derive(Debug)]
pub(crate) struct Nodes {
    slots: RwLock<Vec<Slot>>,
}

#[derive(Debug)]
struct Slot {
    node: NodeId,
    handle: Option<Arc<NodeHandle>>,
    /// How its last run ended.
    trouble: Option<String>,
}

impl Nodes {
    /// Nodes that have yet to be started.
    pub(crate) fn new(nodes: impl Iterator<Item = NodeId>) -> Self {
        let slots = nodes.map(|node| Slot { node, handle: None, trouble: None });
        Self { slots: RwLock::new(slots.collect()) }
    }

    /// Starts one of them.
    pub(crate) async fn start(
        &self,
        options: NodeOptions,
        store: StoreHandle,
        clock: WorldClock,
    ) -> Result<Arc<NodeHandle>, NodeError> {
        let node = options.node;
        let handle = Arc::new(world_node::shell::start(options, store, clock).await?);
        tracing::info!(%node, address = handle.advertised(), source = handle.source().0, "node started");
        self.change(node, |slot| (slot.handle, slot.trouble) = (Some(Arc::clone(&handle)), None));
        Ok(handle)
    }

    /// One of them ended, or couldn't be started again.
    pub(crate) fn note_end(&self, node: NodeId, trouble: String) {
        self.change(node, |slot| (slot.handle, slot.trouble) = (None, Some(trouble)));
    }

    fn change(&self, node: NodeId, act: impl FnOnce(&mut Slot)) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        slots.iter_mut().find(|slot| slot.node == node).map(act);
    }

    /// Those that run.
    pub(crate) fn running(&self) -> Vec<Arc<NodeHandle>> {
        self.read(|slots| slots.iter().filter_map(|slot| slot.handle.clone()).collect())
    }

    /// Whether any of them serves.
    pub(crate) fn any_serves(&self) -> bool {
        self.running().iter().any(|handle| handle.standing() == Standing::Serving)
    }

    /// What the first that doesn't serve is at.
    pub(crate) fn waits_for(&self) -> Option<String> {
        self.read(|slots| slots.iter().find_map(Slot::waits_for))
    }

    fn read<T>(&self, look: impl FnOnce(&[Slot]) -> T) -> T {
        look(&self.slots.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends all of them, side by side.
    pub(crate) async fn close(&self) {
        let mut ends = tokio::task::JoinSet::new();
        for handle in self.running() {
            ends.spawn(async move { (handle.node(), handle.shutdown().await) });
        }
        while let Some(ended) = ends.join_next().await {
            match ended {
                Ok((node, end)) => self.note_end(node, end_text(&end)),
                Err(error) => tracing::error!(%error, "closing a node"),
            }
        }
    }
}

impl Slot {
    fn waits_for(&self) -> Option<String> {
        let node = self.node;
        let Some(handle) = &self.handle else {
            let trouble = self.trouble.as_deref().unwrap_or("starting");
            return Some(format!("node {node}: {trouble}"));
        };
        let at = match handle.standing() {
            Standing::Serving if handle.stats().islands > 0 => return None,
            Standing::Serving => "waits for an island in the plan",
            Standing::Starting => "registering with the store",
            Standing::Revalidating => "asking the store whether it is still itself",
            Standing::Fenced => "a newer process took its place",
            Standing::Stopping => "stopping",
        };
        Some(format!("node {node}: {at}"))
    }
}

/// How a node ended, for people.
pub(crate) fn end_text(end: &NodeEnd) -> String {
    match end {
        NodeEnd::Stopped => "stopped".to_owned(),
        NodeEnd::Fenced => "a newer process took its place".to_owned(),
        NodeEnd::Failed(why) => why.clone(),
    }
}

/// Why a node couldn't be started: what the configuration names, or the world around.
pub(crate) fn refused(error: &NodeError) -> Failure {
    match error {
        NodeError::Door { .. }
        | NodeError::Advertise { .. }
        | NodeError::MeshAddress { .. }
        | NodeError::Mesh { .. } => Failure::setup(error),
        NodeError::World { .. } | NodeError::Number { .. } | NodeError::System { .. } => Failure::run(error),
    }
}
