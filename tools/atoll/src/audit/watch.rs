//! The auditor that runs beside a cluster: follows what the ledger's task drains, and compares a few partitions at a
//! time with the balances. Owned by that task; findings go to the log, to a metric and to `/api/state`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use chunk_sync::store::{
    DamagedPartition, Document, LedgerCursor, LedgerEntry, Name, PARTITIONS_PAGE_MAX, PartitionCursor,
    PartitionKey, StoreAnswer, StoreFault, StoreOp,
};
use chunk_sync_io::store::StoreHandle;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::accounts::{Accounts, Held, Remembered, Room, shown};
use super::complete::{damaged_entry, damaged_partition};
use super::finding::Finding;
use super::limits::{
    COMPARED_TOGETHER, FINDINGS_KEPT_MAX, HOLDERS_MAX, OPEN_MS_MAX, READINGS, REMEMBERED_MAX, WALK_EVERY,
};
use super::part::{self, Part, chunk_of, sent_by};
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
    /// The store's clock when this walk began; 0 before there is one.
    walk_ms: u64,
    /// Whether this walk, or an entry since it began, found something, or could not look at something.
    walk_wrong: bool,
    /// Whether partitions of this walk are yet to be compared.
    walking: bool,
    comparing: BTreeMap<String, Compared>,
    /// What was told already.
    told: Remembered,
    /// Of that, what was told of a partition that was compared, which ends when it agrees.
    told_at: BTreeSet<(String, u128)>,
    told_open: BTreeSet<String>,
    told_full: bool,
    compared: u64,
    walks: u64,
    /// The store's clock when the newest pass over the ledger began.
    pass_ms: u64,
    last_ok_ms: u64,
}

/// What survives a restart.
#[derive(Serialize, Deserialize)]
struct Kept {
    accounts: Accounts,
    findings: VecDeque<String>,
    findings_total: u64,
    told: Remembered,
    #[serde(default)]
    told_at: BTreeSet<(String, u128)>,
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
    /// The store's clock when the newest walk through everything began that found nothing wrong, Unix time in ms.
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
            walk_ms: 0,
            walk_wrong: false,
            walking: false,
            comparing: BTreeMap::new(),
            told: Remembered::default(),
            told_at: BTreeSet::new(),
            told_open: BTreeSet::new(),
            told_full: false,
            compared: 0,
            walks: 0,
            pass_ms: 0,
            last_ok_ms: 0,
        }
    }

    /// Goes on from what was written; false when it can't be read.
    pub(crate) fn restore(&mut self, bytes: &[u8]) -> bool {
        let Ok(kept) = rmp_serde::from_slice::<Kept>(bytes) else { return false };
        let Some(accounts) = kept.accounts.restored() else { return false };
        (self.accounts, self.findings, self.findings_total) = (accounts, kept.findings, kept.findings_total);
        self.told = kept.told.restored();
        self.told_at = kept.told_at;
        true
    }

    /// As it is written.
    pub(crate) fn pack(&self) -> Result<Vec<u8>, String> {
        let kept = Kept {
            accounts: self.accounts.clone(),
            findings: self.findings.clone(),
            findings_total: self.findings_total,
            told: self.told.clone(),
            told_at: self.told_at.clone(),
        };
        rmp_serde::to_vec_named(&kept).map_err(|error| error.to_string())
    }

    /// Takes what books were opened with.
    pub(crate) fn open_books(&mut self, opening: &Bytes) {
        if !self.accounts.open_books(opening) {
            self.found(Finding::plain("what the books were opened with can't be read"));
        }
    }

    /// Follows an entry.
    pub(crate) fn follow(&mut self, entry: &LedgerEntry) {
        let mut found = Vec::new();
        self.accounts.apply(entry, ROOM, &mut |finding| found.push(finding));
        found.into_iter().for_each(|finding| self.found(finding));
        if self.accounts.is_full() && !self.told_full {
            self.told_full = true;
            tracing::error!(
                "auditor: more than {HOLDERS_MAX} holders; it follows no longer. Use `atoll audit`"
            );
        }
    }

    /// Notes an entry of the store's ledger that can't be read.
    pub(crate) fn unreadable(&mut self, at: LedgerCursor) {
        self.found(damaged_entry(at));
    }

    /// Notes something that can't be right, and tells it if it wasn't told before.
    pub(crate) fn found(&mut self, finding: Finding) {
        self.walk_wrong = true;
        if !self.told.note(xxh3_128(finding.name.as_bytes()), REMEMBERED_MAX) {
            return;
        }
        tracing::error!("audit: {}", finding.text);
        self.findings_total += 1;
        self.findings.push_back(finding.text);
        if self.findings.len() > FINDINGS_KEPT_MAX {
            self.findings.pop_front();
        }
    }

    /// Notes something that can't be right in a partition that was looked at.
    fn found_at(&mut self, place: &str, finding: Finding) {
        // What is beyond this stays told for good.
        if self.told_at.len() < REMEMBERED_MAX {
            self.told_at.insert((place.to_owned(), xxh3_128(finding.name.as_bytes())));
        }
        self.found(finding);
    }

    /// A partition agrees: what was told of it is over, and is told again when it comes again.
    fn agrees(&mut self, place: &str) {
        self.compared += 1;
        let at = (place.to_owned(), u128::MIN)..=(place.to_owned(), u128::MAX);
        for over in self.told_at.extract_if(at, |_| true) {
            self.told.forget(over.1);
        }
    }

    /// Everything that the store had when the pass began was followed.
    pub(crate) fn end_pass(&mut self, now_ms: u64) {
        let mut found = Vec::new();
        self.accounts.end_pass(&mut |finding| found.push(finding));
        found.into_iter().for_each(|finding| self.found(finding));
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
        self.pass_ms = now_ms;
    }

    /// Compares the partitions that were read before the last pass, and reads the next ones.
    ///
    /// # Errors
    /// When the store doesn't answer; it goes on the next time.
    pub(crate) async fn compare(&mut self, store: &StoreHandle) -> Result<(), StoreFault> {
        if self.accounts.is_full() {
            return Ok(());
        }
        let compared = self.compare_next(store).await;
        // What was not looked at for that is looked at by the next walk.
        self.walk_wrong |= compared.is_err();
        compared
    }

    async fn compare_next(&mut self, store: &StoreHandle) -> Result<(), StoreFault> {
        let mut sent = self.sent_from_compared();
        for (place, mut compared) in std::mem::take(&mut self.comparing) {
            let Some(docs) = self.load(store, &compared.key).await? else { continue };
            let part = part::look(&place, &docs);
            if part.print != compared.print {
                // It changed meanwhile, and is left for the next walk.
                continue;
            }
            let wrong = self.wrong_with(&place, part, &sent.remove(&place).unwrap_or_default());
            if wrong.is_empty() {
                self.agrees(&place);
                continue;
            }
            compared.disagreed += 1;
            if compared.disagreed < READINGS {
                self.comparing.insert(place, compared);
            } else {
                wrong.into_iter().for_each(|finding| self.found_at(&place, finding));
            }
        }
        if self.next.is_empty() && self.comparing.is_empty() && self.walk.is_none() {
            self.end_walk();
        }
        if self.next.is_empty() && self.walk_due.is_none_or(|due| Instant::now() >= due) {
            self.list(store).await?;
        }
        while self.comparing.len() < COMPARED_TOGETHER {
            let Some(key) = self.next.pop_front() else { return Ok(()) };
            let Some(place) = part::place_of(&key) else { continue };
            let Some(docs) = self.load(store, &key).await? else { continue };
            let print = part::print_of(&docs);
            self.comparing.insert(place, Compared { key, print, disagreed: 0 });
        }
        Ok(())
    }

    /// Transfers that hold something by the books, by the partition that sent them, of those that are compared now.
    fn sent_from_compared(&self) -> BTreeMap<String, Vec<(String, Held)>> {
        let mut sent: BTreeMap<String, Vec<(String, Held)>> = BTreeMap::new();
        for (id, held) in self.accounts.open() {
            let sender = sent_by(id).filter(|place| self.comparing.contains_key(place));
            if let Some(place) = sender {
                sent.entry(place).or_default().push((id.to_owned(), held.clone()));
            }
        }
        sent
    }

    /// What of a partition is not as the books say.
    fn wrong_with(&self, place: &str, part: Part, sent: &[(String, Held)]) -> Vec<Finding> {
        let mut wrong = Vec::new();
        for (holder, held) in part.holders() {
            let booked = self.accounts.held(holder);
            let unbooked = matches!(holder, Holder::Structure(..)) && self.accounts.is_unbooked(holder);
            if booked != *held && !unbooked {
                let text = format!("{holder} holds {}; by the books it is {}", shown(held), shown(&booked));
                wrong.push(Finding::new("holds", holder, text));
            }
        }
        // What stands in a suspended chunk is for the complete audit, which reads archives.
        if let Some((island, chunk)) = chunk_of(place).filter(|_| !part.suspended) {
            for (holder, booked) in self.accounts.structures_at(island, chunk) {
                let is_there = part.built.iter().any(|(there, _)| there == holder);
                if !is_there && !booked.is_empty() {
                    let text = format!("{holder} is not there; by the books it holds {}", shown(booked));
                    wrong.push(Finding::new("is there", holder, text));
                }
            }
        }
        for out in &part.pending {
            // Whether it was taken in already is for another partition to say.
            let booked = self.accounts.held(&Holder::Transfer(out.id.clone()));
            if booked != out.items && !booked.is_empty() {
                let (items, booked) = (shown(&out.items), shown(&booked));
                let text = format!("transfer {} brings {items}; by the books it holds {booked}", out.id);
                wrong.push(Finding::new("carries", &out.id, text));
            }
        }
        for (id, held) in sent.iter().filter(|(id, _)| !part.pending.iter().any(|out| out.id == *id)) {
            let text = format!("transfer {id} is over; by the books it still holds {}", shown(held));
            wrong.push(Finding::new("is over", id, text));
        }
        wrong.extend(part.wrong);
        wrong
    }

    /// A partition's documents; `None` of one that can't be read, which is a finding.
    async fn load(&mut self, store: &StoreHandle, key: &PartitionKey) -> Result<Option<Docs>, StoreFault> {
        match store.call(StoreOp::Load { partition: key.clone() }).await {
            StoreAnswer::Loaded(view) => Ok(Some(view.docs)),
            StoreAnswer::Failed(StoreFault::Broken { text }) => {
                self.damaged(&DamagedPartition { key: Some(key.clone()), why: text });
                Ok(None)
            }
            StoreAnswer::Failed(fault) => Err(fault),
            StoreAnswer::Committed(_) | StoreAnswer::Tailed(_) => Err(StoreFault::TimedOut),
        }
    }

    fn damaged(&mut self, damaged: &DamagedPartition) {
        match damaged.key.as_ref().and_then(part::place_of) {
            Some(place) => self.found_at(&place, damaged_partition(damaged)),
            None => self.found(damaged_partition(damaged)),
        }
    }

    /// Lists the next partitions.
    async fn list(&mut self, store: &StoreHandle) -> Result<(), StoreFault> {
        if self.walk.is_none() {
            (self.walking, self.walk_wrong, self.walk_ms) = (true, false, self.pass_ms);
        }
        let page = store.ops().partitions_page(self.walk.as_ref(), PARTITIONS_PAGE_MAX).await?;
        page.damaged.iter().for_each(|damaged| self.damaged(damaged));
        self.next = page.partitions.into_iter().map(|raw| raw.key).collect();
        self.walk = page.next;
        if self.walk.is_none() {
            self.walks += 1;
            self.walk_due = Some(Instant::now() + WALK_EVERY);
        }
        Ok(())
    }

    /// Everything was listed and compared.
    fn end_walk(&mut self) {
        if std::mem::take(&mut self.walking) && !self.walk_wrong {
            self.last_ok_ms = self.walk_ms;
        }
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

type Docs = BTreeMap<Name, Document>;

#[cfg(test)]
mod tests {
    use chunk_sync::ids::PlayerId;
    use chunk_sync::store::{Commit, CommitOutcome, Token};
    use chunk_sync_io::store::StoreUrl;

    use super::*;

    #[tokio::test]
    async fn a_fault_that_was_mended_is_told_when_it_comes_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = StoreHandle::open(&StoreUrl::Embedded(folder.path().into())).await.unwrap();
        let mut watch = Watch::new();
        for (token, wrong, findings) in [(1, true, 1), (2, false, 1), (3, true, 2), (4, true, 2)] {
            let commit = Commit::new(PartitionKey::player(PlayerId(5)), Token(token));
            let commit = if wrong { commit.put("bag", "garbage") } else { commit.remove("bag") };
            let said = store.call(StoreOp::Commit(commit.put("x", format!("{token}")))).await;
            assert!(matches!(said, StoreAnswer::Committed(CommitOutcome::Done { .. })), "{said:?}");
            // Listed, and read as often as it takes.
            for _ in 0..READINGS + 1 {
                watch.compare(&store).await.unwrap();
            }
            assert_eq!(watch.shown().findings, findings, "after {token}");
            // A restart changes nothing.
            let packed = watch.pack().unwrap();
            watch = Watch::new();
            assert!(watch.restore(&packed));
        }
    }
}
