//! The auditor that runs beside a cluster: follows what the ledger's task drains, and compares a few partitions at a
//! time with the balances. Owned by that task; findings go to the log, to a metric and to `/api/state`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use chunk_sync::store::{
    LedgerEntry, PARTITIONS_PAGE_MAX, PartitionCursor, PartitionKey, StoreAnswer, StoreFault, StoreOp,
};
use chunk_sync_io::store::StoreHandle;
use serde::{Deserialize, Serialize};

use super::accounts::{Accounts, Room, shown};
use super::limits::{
    COMPARED_TOGETHER, FINDINGS_KEPT_MAX, HOLDERS_MAX, OPEN_MS_MAX, READINGS, REMEMBERED_MAX, WALK_EVERY,
};
use super::part;
use super::record::Holder;

const ROOM: Room = Room { holders: HOLDERS_MAX, remembered: REMEMBERED_MAX };

/// A partition that is being compared, as it was read first.
struct Compared {
    key: PartitionKey,
    print: u128,
    /// Readings that disagreed with the books, all of the same documents.
    disagreed: u32,
}

/// The auditor's state.
pub(crate) struct Watch {
    accounts: Accounts,
    findings: VecDeque<String>,
    findings_total: u64,
    /// Partitions that are next, and where the list goes on.
    next: VecDeque<PartitionKey>,
    walk: Option<PartitionCursor>,
    /// When the next walk may begin.
    walk_due: Option<Instant>,
    comparing: BTreeMap<String, Compared>,
    /// What was told of partitions: which, and which version of it.
    told: BTreeSet<(String, u128)>,
    told_open: BTreeSet<String>,
    told_full: bool,
    compared: u64,
    walks: u64,
    last_ok_ms: u64,
}

/// What survives a restart.
#[derive(Serialize, Deserialize)]
struct Kept {
    accounts: Accounts,
    findings: VecDeque<String>,
    findings_total: u64,
}

/// What `/api/state` says of the auditor.
#[derive(Clone, Default, Debug, Serialize)]
pub(crate) struct Audit {
    /// Ledger entries that were followed.
    pub(crate) checked: u64,
    /// Times that a partition was compared and agreed.
    pub(crate) compared: u64,
    /// Times that all partitions were gone through.
    pub(crate) walks: u64,
    /// Transfers that hold items for too long.
    pub(crate) open_long: u64,
    /// How much was found since the books were opened.
    pub(crate) findings: u64,
    /// The last of it.
    pub(crate) last_findings: Vec<String>,
    /// Whether there were too many holders to follow.
    pub(crate) full: bool,
    /// The store's clock when everything that it had was looked at last and nothing new was found, Unix time in ms.
    pub(crate) last_ok: u64,
}

impl Watch {
    /// One that knows nothing.
    pub(crate) fn new() -> Self {
        Self {
            accounts: Accounts::new(),
            findings: VecDeque::new(),
            findings_total: 0,
            next: VecDeque::new(),
            walk: None,
            walk_due: None,
            comparing: BTreeMap::new(),
            told: BTreeSet::new(),
            told_open: BTreeSet::new(),
            told_full: false,
            compared: 0,
            walks: 0,
            last_ok_ms: 0,
        }
    }

    /// Goes on from what was written; false when it can't be read.
    pub(crate) fn restore(&mut self, bytes: &[u8]) -> bool {
        let Ok(kept) = rmp_serde::from_slice::<Kept>(bytes) else { return false };
        let Some(accounts) = kept.accounts.restored() else { return false };
        (self.accounts, self.findings, self.findings_total) = (accounts, kept.findings, kept.findings_total);
        true
    }

    /// As it is written.
    pub(crate) fn pack(&self) -> Result<Vec<u8>, String> {
        let kept = Kept {
            accounts: self.accounts.clone(),
            findings: self.findings.clone(),
            findings_total: self.findings_total,
        };
        rmp_serde::to_vec_named(&kept).map_err(|error| error.to_string())
    }

    /// Takes what books were opened with.
    pub(crate) fn open_books(&mut self, opening: &Bytes) {
        if !self.accounts.open_books(opening) {
            self.found("what the books were opened with can't be read".to_owned());
        }
    }

    /// Follows an entry.
    pub(crate) fn follow(&mut self, entry: &LedgerEntry) {
        let mut found = Vec::new();
        self.accounts.apply(entry, ROOM, &mut |text| found.push(text));
        found.into_iter().for_each(|text| self.found(text));
        if self.accounts.is_full() && !self.told_full {
            self.told_full = true;
            tracing::error!(
                "auditor: more than {HOLDERS_MAX} holders; it follows no longer. Use `atoll audit`"
            );
        }
    }

    /// Notes something that can't be right.
    pub(crate) fn found(&mut self, text: String) {
        tracing::error!("audit: {text}");
        self.findings_total += 1;
        self.findings.push_back(text);
        if self.findings.len() > FINDINGS_KEPT_MAX {
            self.findings.pop_front();
        }
    }

    /// Everything that the store had when the pass began was followed.
    pub(crate) fn end_pass(&mut self, now_ms: u64) {
        let before = self.findings_total;
        let mut found = Vec::new();
        self.accounts.end_pass(&mut |text| found.push(text));
        found.into_iter().for_each(|text| self.found(text));
        let long: BTreeSet<String> = self
            .accounts
            .open_longer(OPEN_MS_MAX, now_ms)
            .map(|(id, _)| id.to_owned())
            .take(FINDINGS_KEPT_MAX)
            .collect();
        for id in long.difference(&self.told_open) {
            tracing::warn!("audit: transfer {id} is open for longer than {} s", OPEN_MS_MAX / 1_000);
        }
        self.told_open = long;
        if self.findings_total == before && !self.accounts.is_full() {
            self.last_ok_ms = now_ms;
        }
    }

    /// Compares the partitions that were read before the last pass, and reads the next ones.
    ///
    /// # Errors
    /// When the store doesn't answer; it goes on the next time.
    pub(crate) async fn compare(&mut self, store: &StoreHandle) -> Result<(), StoreFault> {
        if self.accounts.is_full() {
            return Ok(());
        }
        for (place, mut compared) in std::mem::take(&mut self.comparing) {
            if self.agrees(store, &place, &mut compared).await? {
                self.compared += 1;
            } else if compared.disagreed > 0 {
                self.comparing.insert(place, compared);
            }
        }
        if self.next.is_empty() && self.walk_due.is_none_or(|due| Instant::now() >= due) {
            self.list(store).await?;
        }
        while self.comparing.len() < COMPARED_TOGETHER {
            let Some(key) = self.next.pop_front() else { return Ok(()) };
            let Some(place) = part::place_of(&key) else { continue };
            let docs = load(store, &key).await?;
            let print = part::print_of(&docs);
            self.comparing.insert(place, Compared { key, print, disagreed: 0 });
        }
        Ok(())
    }

    /// Whether a partition has what the books say. One that changed meanwhile is left for the next walk.
    async fn agrees(
        &mut self,
        store: &StoreHandle,
        place: &str,
        compared: &mut Compared,
    ) -> Result<bool, StoreFault> {
        let docs = load(store, &compared.key).await?;
        let part = part::look(place, &docs);
        if part.print != compared.print {
            compared.disagreed = 0;
            return Ok(false);
        }
        let mut wrong = part.wrong;
        if let Some((holder, held)) = &part.held {
            let booked = self.accounts.held(holder);
            if booked != *held {
                wrong.push(format!("{holder} holds {}; by the books it is {}", shown(held), shown(&booked)));
            }
        }
        for out in part.pending {
            // Whether it was taken in already is for another partition to say.
            let booked = self.accounts.held(&Holder::Transfer(out.id.clone()));
            if booked != out.items && !booked.is_empty() {
                let (items, booked) = (shown(&out.items), shown(&booked));
                wrong.push(format!("transfer {} brings {items}; by the books it holds {booked}", out.id));
            }
        }
        if wrong.is_empty() {
            return Ok(true);
        }
        compared.disagreed += 1;
        if compared.disagreed >= READINGS {
            compared.disagreed = 0;
            if self.told.insert((place.to_owned(), part.print)) {
                wrong.into_iter().for_each(|text| self.found(text));
            }
            if self.told.len() > FINDINGS_KEPT_MAX {
                self.told.pop_first();
            }
        }
        Ok(false)
    }

    /// Lists the next partitions.
    async fn list(&mut self, store: &StoreHandle) -> Result<(), StoreFault> {
        let page = store.ops().partitions_page(self.walk.as_ref(), PARTITIONS_PAGE_MAX).await?;
        self.next = page.partitions.into_iter().map(|raw| raw.key).collect();
        self.walk = page.next;
        if self.walk.is_none() {
            self.walks += 1;
            self.walk_due = Some(Instant::now() + WALK_EVERY);
        }
        Ok(())
    }

    /// What is told of it.
    pub(crate) fn shown(&self) -> Audit {
        Audit {
            checked: self.accounts.entries(),
            compared: self.compared,
            walks: self.walks,
            open_long: self.told_open.len() as u64,
            findings: self.findings_total,
            last_findings: self.findings.iter().rev().take(5).cloned().collect(),
            full: self.accounts.is_full(),
            last_ok: self.last_ok_ms,
        }
    }
}

type Docs = BTreeMap<chunk_sync::store::Name, chunk_sync::store::Document>;

async fn load(store: &StoreHandle, key: &PartitionKey) -> Result<Docs, StoreFault> {
    match store.call(StoreOp::Load { partition: key.clone() }).await {
        StoreAnswer::Loaded(view) => Ok(view.docs),
        StoreAnswer::Failed(fault) => Err(fault),
        StoreAnswer::Committed(_) | StoreAnswer::Tailed(_) => Err(StoreFault::TimedOut),
    }
}
