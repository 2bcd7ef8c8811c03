//! `atoll allocator`: an allocator as a process of its own, on a store that the cluster shares.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use population_allocator::service::{AllocatorHandle, AllocatorOptions};

use crate::books::{self, Books};
use crate::config::{AllocatorConfig, probe};
use crate::desk::Desk;
use crate::failure::Failure;
use crate::http::{Admin, Observed};
use crate::islands::Archives;
use crate::own::Own;
use crate::process::Process;
use crate::seats::{self, Reports};
use crate::storage::Storage;
use crate::{figures, storage};

/// An allocator process.
pub(crate) struct Allocator {
    config: AllocatorConfig,
    prometheus: PrometheusHandle,
    seen: Arc<Seen>,
    admin: Option<Admin>,
    storage: Option<Storage>,
    books: Option<Books>,
    allocator: Option<AllocatorHandle>,
}

impl Allocator {
    /// An allocator that has yet to be started.
    pub(crate) fn new(config: AllocatorConfig, prometheus: PrometheusHandle) -> Self {
        let seen = Arc::new(Seen {
            reports: Reports::default(),
            own: Own::new("allocator"),
            books: books::Status::default(),
            desk: Desk::default(),
        });
        Self { config, prometheus, seen, admin: None, storage: None, books: None, allocator: None }
    }
}

impl Process for Allocator {
    async fn start(&mut self) -> Result<(), Failure> {
        let (common, addresses) = (&self.config.common, &self.config.addresses);
        let wanted = [("http".to_owned(), common.http), ("the allocator".to_owned(), addresses.listen)];
        let faults = probe::ports(&wanted);
        if !faults.is_empty() {
            return Err(Failure::Setup(faults));
        }
        let seen: Arc<dyn Observed> = Arc::<Seen>::clone(&self.seen);
        self.admin = Some(Admin::open(common.http, seen, self.prometheus.clone()).await?);
        let store = storage::open(&common.store).await?;
        let storage = self.storage.insert(Storage::start(store).await?);
        let (store, clock) = (storage.store.clone(), storage.clock.clone());
        let ledger = books::folder_of(self.config.ledger.as_ref(), &common.store);
        let archives = Archives::new(None, &common.store);
        self.books =
            books::open(&store, ledger.as_deref(), archives, &self.seen.books, &self.seen.desk).await?;
        let options = AllocatorOptions {
            listen: addresses.listen,
            advertise: addresses.advertise.clone(),
            mesh_listen: addresses.mesh_listen,
            policy: self.config.policy,
        };
        let started = population_allocator::service::start(options, store, clock).await;
        let allocator = started.map_err(|error| seats::refused(&error))?;
        let advertised = addresses.advertise.clone().unwrap_or_else(|| allocator.address().to_string());
        self.seen.own.note_join(advertised);
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
        format!("ready join={join} page={page}")
    }

    async fn serve(&mut self) -> Failure {
        match &mut self.allocator {
            Some(allocator) => seats::ended(allocator.ended().await),
            None => Failure::run("there is no allocator"),
        }
    }

    async fn close(&mut self) {
        if let Some(allocator) = self.allocator.take() {
            let end = allocator.shutdown().await;
            tracing::debug!(?end, "allocator ended");
        }
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

/// What the admin port shows of the allocator.
struct Seen {
    reports: Reports,
    own: Own,
    books: books::Status,
    desk: Desk,
}

impl Observed for Seen {
    fn waits_for(&self) -> Option<String> {
        self.reports.waits_for()
    }

    fn note_ready(&self) {}

    fn unready(&self) -> Option<String> {
        self.reports.unready()
    }

    fn state(&self) -> Option<String> {
        let report = self.reports.newest()?;
        // Of other processes only what nodes report is known: the time of their own threads.
        let nodes_cpu_s = report.state.nodes.iter().filter(|node| node.alive).map(|node| node.cpu_s).sum();
        self.own.complete(&report.state, nodes_cpu_s, self.unready(), self.books.newest().as_ref())
    }

    fn desk(&self) -> Option<&Desk> {
        Some(&self.desk)
    }

    fn measure(&self) {
        self.own.measure();
        if let Some(report) = self.reports.newest() {
            figures::allocator(&report);
        }
    }
}
