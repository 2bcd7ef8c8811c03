//! What the suite runs against: the in-memory twin with a clock that the test sets, or a real store.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use chunk_sync::store::{
    Commit, CommitOutcome, IndexCursor, IndexEntry, IndexPage, LedgerCursor, LedgerPage, MemoryStore, Name,
    PartitionCursor, PartitionKey, PartitionView, PartitionsPage, RawPartition, Refusal, RestoreError, Shard,
    StoreAnswer, StoreOp, Tail, Token,
};
use chunk_sync_io::store::{OpsStore, StoreHandle, StoreOptions, StoreUrl};
use tempfile::TempDir;

use crate::redis_cluster;
use crate::redis_server::RedisServer;

/// The twin's first moment.
const MEMORY_START_MS: u64 = 1_000_000;

/// A fresh store that lets expired leases be taken over and actors be forgotten at once, and a second view of it
/// that doesn't.
pub(crate) struct Subject {
    kind: Kind,
}

enum Kind {
    Memory(Mutex<(MemoryStore, u64)>),
    Embedded { handle: Mutex<Option<StoreHandle>>, folder: TempDir },
    Redis { handle: StoreHandle, server: RedisServer },
    Cluster { handle: StoreHandle, nodes: [RedisServer; 3] },
    Lent { handle: StoreHandle, url: StoreUrl },
}

const OLD: StoreOptions = StoreOptions { lease_guard_ms: 0, call_wait_ms: 10_000, actor_idle_ms: 0 };

impl Subject {
    pub(crate) fn memory() -> Self {
        let store = MemoryStore::new(MEMORY_START_MS).with_lease_guard(0).with_actor_idle(0);
        Self { kind: Kind::Memory(Mutex::new((store, MEMORY_START_MS))) }
    }

    pub(crate) async fn embedded() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let handle =
            StoreHandle::open_with(&StoreUrl::Embedded(folder.path().into()), OLD).await.expect("opens");
        Self { kind: Kind::Embedded { handle: Mutex::new(Some(handle)), folder } }
    }

    pub(crate) async fn redis() -> Self {
        let server = RedisServer::start();
        let handle = StoreHandle::open_with(&server.url(), OLD).await.expect("opens");
        Self { kind: Kind::Redis { handle, server } }
    }

    pub(crate) async fn cluster() -> Self {
        let nodes = redis_cluster::three().await;
        let handle = StoreHandle::open_with(&redis_cluster::url(&nodes[0], ""), OLD).await.expect("opens");
        Self { kind: Kind::Cluster { handle, nodes } }
    }

    /// On servers that others use before and after: they go on when everything else of it restarts.
    pub(crate) async fn lent(url: &StoreUrl) -> Self {
        let handle = StoreHandle::open_with(url, OLD).await.expect("opens");
        Self { kind: Kind::Lent { handle, url: url.clone() } }
    }

    /// The real store behind it, if it is one.
    pub(crate) fn handle(&self) -> Option<StoreHandle> {
        match &self.kind {
            Kind::Memory(_) => None,
            Kind::Embedded { handle, .. } => handle.lock().expect("unpoisoned").clone(),
            Kind::Redis { handle, .. } | Kind::Cluster { handle, .. } | Kind::Lent { handle, .. } => {
                Some(handle.clone())
            }
        }
    }

    /// The same store after a crash of its process.
    pub(crate) async fn into_restarted(self) -> Self {
        let kind = match self.kind {
            Kind::Memory(store) => {
                let (store, now_ms) = store.into_inner().expect("unpoisoned");
                let mut store = store.with_lease_guard(0).with_actor_idle(0);
                store.restart(now_ms);
                Kind::Memory(Mutex::new((store, now_ms)))
            }
            Kind::Embedded { handle, folder } => {
                drop(handle);
                let url = StoreUrl::Embedded(folder.path().into());
                let handle = StoreHandle::open_with(&url, OLD).await.expect("opens again");
                Kind::Embedded { handle: Mutex::new(Some(handle)), folder }
            }
            Kind::Redis { mut server, handle } => {
                server.kill();
                server.restart();
                drop(handle);
                let handle = StoreHandle::open_with(&server.url(), OLD).await.expect("opens again");
                Kind::Redis { handle, server }
            }
            Kind::Lent { handle, url } => {
                drop(handle);
                return Self::lent(&url).await;
            }
            Kind::Cluster { mut nodes, handle } => {
                drop(handle);
                nodes.iter_mut().for_each(RedisServer::kill);
                nodes.iter_mut().for_each(RedisServer::restart);
                redis_cluster::until_well(&nodes).await;
                let url = redis_cluster::url(&nodes[0], "");
                let handle = StoreHandle::open_with(&url, OLD).await.expect("opens again");
                Kind::Cluster { handle, nodes }
            }
        };
        Self { kind }
    }

    /// The same store with the usual guards, just started.
    pub(crate) async fn into_young(self) -> Self {
        let kind = match self.kind {
            Kind::Memory(store) => {
                let (store, now_ms) = store.into_inner().expect("unpoisoned");
                let usual = StoreOptions::default();
                let mut store =
                    store.with_lease_guard(usual.lease_guard_ms).with_actor_idle(usual.actor_idle_ms);
                store.restart(now_ms);
                Kind::Memory(Mutex::new((store, now_ms)))
            }
            Kind::Embedded { handle, folder } => {
                drop(handle);
                let url = StoreUrl::Embedded(folder.path().into());
                let handle = StoreHandle::open(&url).await.expect("opens again");
                Kind::Embedded { handle: Mutex::new(Some(handle)), folder }
            }
            Kind::Redis { server, .. } => {
                Kind::Redis { handle: StoreHandle::open(&server.url()).await.expect("opens again"), server }
            }
            Kind::Lent { .. } => panic!("these servers are not young"),
            Kind::Cluster { nodes, .. } => {
                let url = redis_cluster::url(&nodes[0], "");
                Kind::Cluster { handle: StoreHandle::open(&url).await.expect("opens again"), nodes }
            }
        };
        Self { kind }
    }

    pub(crate) async fn call(&self, op: StoreOp) -> StoreAnswer {
        match &self.kind {
            Kind::Memory(store) => {
                let (store, now_ms) = &mut *store.lock().expect("unpoisoned");
                store.call(*now_ms, &op)
            }
            _ => self.handle().expect("a real store").call(op).await,
        }
    }

    /// Reads a page of an index, as ops tools do.
    pub(crate) async fn page(
        &self,
        index: &Name,
        after: Option<&IndexCursor>,
        entries_max: usize,
    ) -> IndexPage {
        match &self.kind {
            Kind::Memory(store) => store.lock().expect("unpoisoned").0.index_page(index, after, entries_max),
            _ => self.ops().index_page(index, after, entries_max).await.expect("a page"),
        }
    }

    /// Counts the entries of an index, as ops tools do.
    pub(crate) async fn entries(&self, index: &Name) -> u64 {
        match &self.kind {
            Kind::Memory(store) => store.lock().expect("unpoisoned").0.index_entries(index),
            _ => self.ops().index_entries(index).await.expect("a count"),
        }
    }

    /// The names of all indexes.
    pub(crate) async fn index_names(&self) -> Vec<Name> {
        match &self.kind {
            Kind::Memory(store) => store.lock().expect("unpoisoned").0.index_names(),
            _ => self.ops().index_names().await.expect("names"),
        }
    }

    /// Writes index entries as they were read.
    pub(crate) async fn restore_index(&self, index: &Name, entries: &[IndexEntry]) {
        match &self.kind {
            Kind::Memory(store) => {
                store.lock().expect("unpoisoned").0.restore_index(index, entries).expect("valid")
            }
            _ => self.ops().restore_index(index, entries).await.expect("restored"),
        }
    }

    /// Reads a page of the ledger.
    pub(crate) async fn ledger(&self, after: Option<LedgerCursor>, entries_max: usize) -> LedgerPage {
        match &self.kind {
            Kind::Memory(store) => store.lock().expect("unpoisoned").0.ledger_page(after, entries_max),
            _ => self.ops().ledger_page(after, entries_max).await.expect("a page"),
        }
    }

    /// Trims the ledger of a shard.
    pub(crate) async fn trim(&self, shard: Shard, up_to: u64) {
        match &self.kind {
            Kind::Memory(store) => store.lock().expect("unpoisoned").0.ledger_trim(shard, up_to),
            _ => self.ops().ledger_trim(shard, up_to).await.expect("trimmed"),
        }
    }

    /// Reads a page of whole partitions.
    pub(crate) async fn partitions(
        &self,
        after: Option<&PartitionCursor>,
        partitions_max: usize,
    ) -> PartitionsPage {
        match &self.kind {
            Kind::Memory(store) => store.lock().expect("unpoisoned").0.partitions_page(after, partitions_max),
            _ => self.ops().partitions_page(after, partitions_max).await.expect("a page"),
        }
    }

    /// Writes a whole partition.
    pub(crate) async fn restore(&self, raw: &RawPartition) -> Result<(), RestoreError> {
        match &self.kind {
            Kind::Memory(store) => store.lock().expect("unpoisoned").0.restore_partition(raw),
            _ => self.ops().restore_partition(raw).await,
        }
    }

    /// Writes a whole partition over another state of it.
    pub(crate) async fn replace(&self, raw: &RawPartition, over: Token) -> Result<(), RestoreError> {
        match &self.kind {
            Kind::Memory(store) => store.lock().expect("unpoisoned").0.replace_partition(raw, over),
            _ => self.ops().replace_partition(raw, over).await,
        }
    }

    /// A fresh store of the same kind.
    pub(crate) async fn another(&self) -> Self {
        match &self.kind {
            Kind::Memory(_) => Self::memory(),
            Kind::Embedded { .. } => Self::embedded().await,
            Kind::Redis { .. } => Self::redis().await,
            Kind::Cluster { .. } | Kind::Lent { .. } => Self::cluster().await,
        }
    }

    fn ops(&self) -> OpsStore {
        self.handle().expect("a real store").ops()
    }

    /// Lets the store's clock get to `at_ms`.
    pub(crate) async fn pass_until(&self, at_ms: u64) {
        if let Kind::Memory(store) = &self.kind {
            let now_ms = &mut store.lock().expect("unpoisoned").1;
            *now_ms = at_ms.max(*now_ms);
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.now_ms().await < at_ms {
            assert!(Instant::now() < deadline, "the store's clock stands still");
        }
    }

    pub(crate) async fn now_ms(&self) -> u64 {
        self.load(&PartitionKey::cluster(chunk_sync::ids::WorldId(1), "clock")).await.store_ms
    }

    pub(crate) async fn load(&self, partition: &PartitionKey) -> PartitionView {
        match self.call(StoreOp::Load { partition: partition.clone() }).await {
            StoreAnswer::Loaded(view) => view,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn tail(&self, partition: &PartitionKey, after: Token) -> Tail {
        match self.call(StoreOp::Tail { partition: partition.clone(), after }).await {
            StoreAnswer::Tailed(tail) => tail,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn commit(&self, commit: Commit) -> CommitOutcome {
        match self.call(StoreOp::Commit(commit)).await {
            StoreAnswer::Committed(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    /// Does a commit that must succeed; answers with the token before it.
    pub(crate) async fn done(&self, commit: Commit) -> Token {
        let asked = commit.token;
        match self.commit(commit).await {
            CommitOutcome::Done { token, previous, store_ms } => {
                assert_eq!(token, asked);
                assert!(store_ms > 0);
                previous
            }
            CommitOutcome::Refused(refusal) => panic!("refused: {refusal:?}"),
        }
    }

    /// Does a commit that must be refused, and checks that it changed nothing.
    pub(crate) async fn refused(&self, commit: Commit) -> Refusal {
        let partition = commit.partition.clone();
        let before = self.load(&partition).await;
        let refusal = match self.commit(commit).await {
            CommitOutcome::Refused(refusal) => refusal,
            done @ CommitOutcome::Done { .. } => panic!("{done:?}"),
        };
        let after = self.load(&partition).await;
        assert_eq!(PartitionView { store_ms: before.store_ms, ..after }, before, "{refusal:?}");
        refusal
    }
}
