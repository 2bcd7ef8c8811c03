//! The task that empties the store's ledger into a sink, page by page, and lets the auditor follow. Started and ended by
//! the books; it removes nothing from the store that is not kept.

use std::collections::BTreeMap;
use std::time::Instant;

use chunk_sync::store::{
    DamagedLedgerEntry, LEDGER_PAGE_ENTRIES_MAX, LedgerCursor, LedgerEntry, LedgerPage, Shard, StoreFault,
};
use chunk_sync_io::store::StoreHandle;
use metrics::{counter, gauge};
use tokio::sync::watch;

use super::limits::{COUNT_EVERY, COUNT_MAX, DRAIN_EVERY, SNAPSHOT_EVERY};
use super::sink::{LedgerSink, SinkError};
use super::{Shown, Status};
use crate::audit::complete::clock;
use crate::audit::watch::Watch;

/// What a thread works on: the files, and the auditor that follows them.
type Work = (Box<dyn LedgerSink>, Watch);

/// The task.
pub(super) struct Drain {
    store: StoreHandle,
    /// Sink and auditor; away while a thread works on them, and for good when that thread failed.
    work: Option<Work>,
    status: Status,
    pub(super) shown: Shown,
    snapshot_due: Instant,
    /// Entries that the newest snapshot covers.
    snapshot_entries: Option<u64>,
    count_due: Instant,
    store_away: bool,
}

impl Drain {
    /// One that has yet to run.
    pub(super) fn new(store: StoreHandle, sink: Box<dyn LedgerSink>, watch: Watch, status: Status) -> Self {
        Self {
            store,
            work: Some((sink, watch)),
            status,
            shown: Shown::default(),
            snapshot_due: Instant::now() + SNAPSHOT_EVERY,
            snapshot_entries: None,
            count_due: Instant::now(),
            store_away: false,
        }
    }

    /// Drains until it is told to stop, and once more then.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut due = tokio::time::interval(DRAIN_EVERY);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let last = tokio::select! {
                _ = due.tick() => false,
                _ = stop.wait_for(|stop| *stop) => true,
            };
            self.pass(last).await;
            self.show();
            if last || self.work.is_none() {
                return;
            }
        }
    }

    /// Drains everything, then lets the auditor compare.
    pub(super) async fn pass(&mut self, last: bool) {
        match self.drain().await {
            Ok(now_ms) => {
                if let Some((_, watch)) = &mut self.work {
                    watch.end_pass(now_ms);
                    if !last && let Err(fault) = watch.compare(&self.store).await {
                        tracing::warn!("audit: {fault}; it goes on the next time");
                    }
                }
                self.recovered();
                if last || Instant::now() >= self.snapshot_due {
                    self.snapshot().await;
                }
            }
            // It doesn't come back by itself: somebody has to look at the store.
            Err(Trouble::Store(fault @ StoreFault::Broken { .. })) => {
                if self.shown.trouble.is_none() {
                    tracing::error!("ledger: {fault}; what the store has from there on is not drained");
                }
                self.shown.trouble = Some(fault.to_string());
                self.count().await;
            }
            Err(Trouble::Store(fault)) => {
                if !self.store_away {
                    self.store_away = true;
                    tracing::warn!("ledger: {fault}; it is drained when the store is back");
                }
            }
            Err(Trouble::Sink(error)) => {
                if self.shown.trouble.is_none() {
                    tracing::error!("{error}; entries stay in the store until it can be written again");
                }
                self.shown.trouble = Some(error.0);
                self.count().await;
            }
            Err(Trouble::Thread) => {
                tracing::error!("ledger: a thread failed; the ledger is drained no longer");
                self.shown.trouble = Some("it failed; a restart is needed".to_owned());
            }
        }
    }

    fn recovered(&mut self) {
        if self.shown.trouble.take().is_some() {
            tracing::info!("ledger: written again");
        }
        if std::mem::take(&mut self.store_away) {
            tracing::info!("ledger: the store is back");
        }
        self.shown.undrained = 0;
    }

    /// Reads the ledger page by page; answers the store's clock before the first.
    async fn drain(&mut self) -> Result<u64, Trouble> {
        let now_ms = clock(&self.store).await?;
        let mut after: Option<LedgerCursor> = None;
        loop {
            let page = self.store.ops().ledger_page(after, LEDGER_PAGE_ENTRIES_MAX).await?;
            let trims = last_of_shards(&page);
            if !trims.is_empty() {
                self.keep(page.entries, page.damaged).await?;
                self.trim(&trims).await?;
            }
            after = page.next;
            if after.is_none() {
                return Ok(now_ms);
            }
        }
    }

    async fn keep(
        &mut self,
        entries: Vec<LedgerEntry>,
        damaged: Vec<DamagedLedgerEntry>,
    ) -> Result<(), Trouble> {
        let kept = self
            .on_disk(move |(sink, watch)| {
                if !damaged.is_empty() {
                    sink.keep_damaged(&damaged)?;
                    damaged.iter().for_each(|damaged| watch.unreadable(damaged.at));
                }
                let fresh = sink.keep(entries)?;
                fresh.iter().for_each(|entry| watch.follow(entry));
                Ok(fresh.len() as u64)
            })
            .await?;
        self.shown.written += kept;
        Ok(())
    }

    /// Does something that may wait for a disk.
    async fn on_disk<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Work) -> Result<T, SinkError> + Send + 'static,
    ) -> Result<T, Trouble> {
        let Some(mut with) = self.work.take() else { return Err(Trouble::Thread) };
        let worked = tokio::task::spawn_blocking(move || {
            let done = work(&mut with);
            (with, done)
        });
        let (with, done) = worked.await.map_err(|_| Trouble::Thread)?;
        self.work = Some(with);
        Ok(done?)
    }

    /// Removes from the store what is on disk, two shards at a time: that many calls the store takes at once.
    async fn trim(&self, trims: &BTreeMap<Shard, u64>) -> Result<(), StoreFault> {
        let ops = self.store.ops();
        let trims: Vec<(Shard, u64)> = trims.iter().map(|(shard, up_to)| (*shard, *up_to)).collect();
        for pair in trims.chunks(2) {
            let one = ops.ledger_trim(pair[0].0, pair[0].1);
            match pair.get(1) {
                Some((shard, up_to)) => {
                    let (one, two) = tokio::join!(one, ops.ledger_trim(*shard, *up_to));
                    one.and(two)?;
                }
                None => one.await?,
            }
        }
        Ok(())
    }

    async fn snapshot(&mut self) {
        self.snapshot_due = Instant::now() + SNAPSHOT_EVERY;
        let Some((_, watch)) = &self.work else { return };
        let entries = watch.shown().checked;
        if self.snapshot_entries == Some(entries) {
            return;
        }
        let written =
            self.on_disk(|(sink, watch)| sink.keep_snapshot(&watch.pack().map_err(SinkError)?)).await;
        match written {
            Ok(()) => self.snapshot_entries = Some(entries),
            Err(Trouble::Sink(error)) => tracing::warn!("{error}; the next start reads more of the ledger"),
            Err(_) => {}
        }
    }

    /// Counts what waits in the store.
    async fn count(&mut self) {
        if Instant::now() < self.count_due {
            return;
        }
        self.count_due = Instant::now() + COUNT_EVERY;
        let (mut count, mut after) = (0u64, None);
        while count < COUNT_MAX {
            let Ok(page) = self.store.ops().ledger_page(after, LEDGER_PAGE_ENTRIES_MAX).await else { return };
            count += (page.entries.len() + page.damaged.len()) as u64;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        self.shown.undrained = count;
    }

    /// Shows how it is.
    pub(super) fn show(&mut self) {
        if let Some((_, watch)) = &self.work {
            self.shown.audit = watch.shown();
        }
        gauge!("atoll_ledger_undrained").set(self.shown.undrained as f64);
        counter!("atoll_ledger_written_total").absolute(self.shown.written);
        counter!("atoll_audit_findings_total").absolute(self.shown.audit.findings);
        gauge!("atoll_audit_open_transfers").set(self.shown.audit.open_long as f64);
        self.status.set(self.shown.clone());
    }
}

/// Why a pass ended early.
enum Trouble {
    Store(StoreFault),
    Sink(SinkError),
    Thread,
}

impl From<StoreFault> for Trouble {
    fn from(fault: StoreFault) -> Self {
        Self::Store(fault)
    }
}

impl From<SinkError> for Trouble {
    fn from(error: SinkError) -> Self {
        Self::Sink(error)
    }
}

/// The last number of each shard in a page.
fn last_of_shards(page: &LedgerPage) -> BTreeMap<Shard, u64> {
    let mut last = BTreeMap::new();
    let sound = page.entries.iter().map(|entry| (entry.shard, entry.sequence));
    for (shard, sequence) in
        sound.chain(page.damaged.iter().map(|damaged| (damaged.at.shard, damaged.at.sequence)))
    {
        let up_to: &mut u64 = last.entry(shard).or_default();
        *up_to = sequence.max(*up_to);
    }
    last
}
