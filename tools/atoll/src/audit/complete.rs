//! The complete audit: all ledger files, what the store has yet to give, and all partitions, compared with each other.
//!
//! It is meant for a world that nobody changes, and made to be right about one that changes: partitions are
//! fingerprinted before the ledger is read and read after it, and only those that are the same both times are compared.
//! What can't be right is looked at again; only what is wrong each time is told. It changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;
use chunk_sync::records::{CLUSTER_WORLD, WORLD};
use chunk_sync::store::{LedgerEntry, Name, PartitionKey, RawPartition, StoreAnswer, StoreFault, StoreOp};
use chunk_sync_io::store::StoreHandle;

use super::accounts::{Accounts, Room};
use super::checks::{Found, check};
use super::limits::{FINDINGS_TOLD_MAX, OPEN_MS_MAX, PAGE, ROUND_PAUSE, ROUNDS};
use super::part::{self, Part};
use super::report::{Kind, Open, Report};
use crate::books::frame::Page;
use crate::books::{
    self,
    files::{self, Reader},
};
use crate::islands::{Archives, Away, mark_of};

/// Why a complete audit could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuditError {
    /// The store doesn't answer.
    #[error("{0}")]
    Store(#[from] StoreFault),
    /// The ledger's files can't be read.
    #[error("ledger folder {0}")]
    Ledger(String),
}

/// The whole world as one round of reading saw it.
pub(super) struct World {
    /// Partitions by place.
    pub(super) parts: BTreeMap<String, Part>,
    /// Those that changed while it was read: nothing is said of them.
    pub(super) moving: BTreeSet<String>,
    /// The books.
    pub(super) accounts: Accounts,
    /// What is wrong with the books alone.
    pub(super) books: Vec<String>,
    /// The index of pending transfers, and that of estates: key, value.
    pub(super) pending: Vec<(String, String)>,
    /// As above.
    pub(super) estates: Vec<(String, String)>,
    /// Entries that were in the store still.
    pub(super) undrained: u64,
    /// The store's clock, Unix time in ms.
    pub(super) now_ms: u64,
    /// Islands that are suspended.
    pub(super) suspended: Vec<u32>,
    /// Those whose archives can't be read, and why: what stands there isn't known.
    pub(super) unread: BTreeMap<u32, String>,
}

/// Audits a world.
///
/// # Errors
/// When it can't be read.
pub(crate) async fn audit(
    store: &StoreHandle,
    ledger: Option<&Path>,
    archives: &Archives,
) -> Result<Report, AuditError> {
    let mut rounds: Vec<(BTreeMap<String, Found>, BTreeSet<String>)> = Vec::new();
    loop {
        let world = read(store, ledger, archives).await?;
        let found = check(&world);
        let calm = found.is_empty() && world.moving.is_empty();
        rounds.push((
            found.into_iter().map(|found| (found.text.clone(), found)).collect(),
            world.moving.clone(),
        ));
        if calm || rounds.len() == ROUNDS as usize {
            return Ok(report(&world, &rounds));
        }
        drop(world);
        tokio::time::sleep(ROUND_PAUSE).await;
    }
}

/// What was wrong in every round in which it could be seen, and partitions that could not be seen in any.
fn settled(rounds: &[(BTreeMap<String, Found>, BTreeSet<String>)]) -> (Vec<String>, usize) {
    let mut texts = BTreeSet::new();
    for found in rounds.iter().flat_map(|(found, _)| found.values()) {
        let stays = rounds.iter().all(|(found_then, moving)| {
            found_then.contains_key(&found.text) || found.places.iter().any(|place| moving.contains(place))
        });
        if stays {
            texts.insert(found.text.clone());
        }
    }
    let moving = rounds.iter().map(|(_, moving)| moving.clone()).reduce(|all, more| &all & &more);
    (texts.into_iter().collect(), moving.map_or(0, |moving| moving.len()))
}

fn report(world: &World, rounds: &[(BTreeMap<String, Found>, BTreeSet<String>)]) -> Report {
    let (findings, moving) = settled(rounds);
    let (made, used_up) = world.accounts.turnover();
    let mut kinds: BTreeMap<String, Kind> = BTreeMap::new();
    for (kind, count) in made {
        kinds.entry(kind.clone()).or_default().made = *count;
    }
    for (kind, count) in used_up {
        kinds.entry(kind.clone()).or_default().used_up = *count;
    }
    let count = |sort: &str| world.parts.keys().filter(|place| place.starts_with(sort)).count() as u64;
    for (place, part) in &world.parts {
        for (kind, count) in part.held.iter().flat_map(|(_, held)| held) {
            let row = kinds.entry(kind.clone()).or_default();
            let sort = place.split('/').next().unwrap_or_default();
            *match sort {
                "player" => &mut row.players,
                "chunk" => &mut row.ground,
                _ => &mut row.trades,
            } += count;
        }
        for (kind, count) in world.under_way(part) {
            kinds.entry(kind).or_default().transfers += count;
        }
    }
    let pending = || world.parts.values().flat_map(|part| &part.pending);
    let age = |id: &str| world.accounts.opened_ms(id).map(|since| world.now_ms.saturating_sub(since));
    let waiting = pending().filter_map(|pending| {
        age(&pending.id).filter(|age| *age > OPEN_MS_MAX).map(|age| Open {
            transfer: pending.id.clone(),
            to: pending.to.clone(),
            open_s: age / 1_000,
        })
    });
    Report {
        clean: findings.is_empty(),
        players: count("player/"),
        chunks: count("chunk/"),
        trades: count("trade/"),
        structures: world.parts.values().map(|part| part.structures.len() as u64).sum(),
        estates: world.estates.len() as u64,
        entries: world.accounts.entries(),
        undrained: world.undrained,
        items: kinds,
        pending: pending().count() as u64,
        open_long: waiting.take(FINDINGS_TOLD_MAX).collect(),
        suspended: world.suspended.clone(),
        not_compared: moving as u64,
        rounds: rounds.len() as u32,
        findings_total: findings.len() as u64,
        findings: findings.into_iter().take(FINDINGS_TOLD_MAX).collect(),
    }
}

impl World {
    /// Items that are under way from a partition: what was taken in already is somebody else's.
    fn under_way(&self, part: &Part) -> Vec<(String, i64)> {
        let waits = part.pending.iter().filter(|pending| !self.is_taken(&pending.id, &pending.to));
        waits.flat_map(|pending| pending.items.clone()).collect()
    }

    /// Whether a transfer was accepted where it goes.
    pub(super) fn is_taken(&self, id: &str, to: &str) -> bool {
        self.parts.get(to).and_then(|part| part.decided.get(id)).copied().unwrap_or(false)
    }
}

async fn read(store: &StoreHandle, ledger: Option<&Path>, archives: &Archives) -> Result<World, AuditError> {
    let away = Away::read(store, archives).await?;
    let mut unread = away.wrong();
    let mut before: BTreeMap<String, u128> = BTreeMap::new();
    each_partition(store, |raw| {
        before.extend(part::place_of(&raw.key).map(|place| (place, part::print_of(&raw.docs))));
    })
    .await?;
    let books = read_books(store, ledger).await?;
    // Between the two readings, as the ledger: what doesn't change from one to the other agrees with them.
    let pending = index(store, "pending").await?;
    let estates = index(store, "estates").await?;
    let mut parts = BTreeMap::new();
    each_partition(store, |raw| {
        if let Some(place) = part::place_of(&raw.key) {
            let part = look(&place, &raw, &away, &mut unread);
            parts.insert(place, part);
        }
    })
    .await?;
    let changed = |place: &&String| before.get(*place) != parts.get(*place).map(|part: &Part| &part.print);
    let moving = before.keys().chain(parts.keys()).filter(changed).cloned().collect();
    let now_ms = clock(store).await?;
    let undrained = books.undrained.len() as u64;
    let (accounts, books) = (books.accounts, books.wrong);
    let suspended = away.islands().collect();
    Ok(World { parts, moving, accounts, books, pending, estates, undrained, now_ms, suspended, unread })
}

/// Looks at a partition; at what the archive has of it, if it is suspended. What is wrong with archives goes to
/// `unread`, by island.
fn look(place: &str, raw: &RawPartition, away: &Away, unread: &mut BTreeMap<u32, String>) -> Part {
    let mark = part::look(place, &raw.docs);
    let Some(record) = mark_of(&raw.docs) else { return mark };
    match away.chunk(&raw.key, &record) {
        Ok(archived) => {
            let mut part = part::look(place, &archived.docs);
            if part.held != mark.held {
                part.wrong.push(format!("{place}: its mark and its archive differ in what it holds"));
            }
            part.wrong.extend(mark.wrong);
            // That is what changes when it changes.
            part.print = mark.print;
            part
        }
        Err(why) => {
            let island = part::chunk_of(place).map_or(0, |(island, _)| island);
            unread.entry(island).or_insert(why);
            mark
        }
    }
}

/// Reads all partitions, page by page.
pub(crate) async fn each_partition(
    store: &StoreHandle,
    mut take: impl FnMut(RawPartition),
) -> Result<(), StoreFault> {
    let (ops, mut after) = (store.ops(), None);
    loop {
        let page = ops.partitions_page(after.as_ref(), PAGE).await?;
        page.partitions.into_iter().for_each(&mut take);
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Reads a whole index.
pub(crate) async fn index(store: &StoreHandle, name: &str) -> Result<Vec<(String, String)>, StoreFault> {
    let (ops, index, mut after) = (store.ops(), Name::from(name), None);
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let mut entries = Vec::new();
    loop {
        let page = ops.index_page(&index, after.as_ref(), PAGE).await?;
        entries.extend(page.entries.iter().map(|entry| (text(&entry.key), text(&entry.value))));
        after = page.next;
        if after.is_none() {
            return Ok(entries);
        }
    }
}

/// The store's clock, Unix time in ms.
pub(crate) async fn clock(store: &StoreHandle) -> Result<u64, StoreFault> {
    match store.call(StoreOp::Load { partition: PartitionKey::cluster(WORLD, CLUSTER_WORLD) }).await {
        StoreAnswer::Loaded(view) => Ok(view.store_ms),
        StoreAnswer::Failed(fault) => Err(fault),
        StoreAnswer::Committed(_) | StoreAnswer::Tailed(_) => Err(StoreFault::TimedOut),
    }
}

/// Reads the books: the store's undrained entries first, the files after them, so that an entry which moves from one
/// to the other meanwhile is in both, never in neither.
pub(crate) async fn read_books(store: &StoreHandle, ledger: Option<&Path>) -> Result<Books, AuditError> {
    if let Some(folder) = books::kept_elsewhere(store, ledger).await? {
        return Err(AuditError::Ledger(format!(
            "it is kept in {folder}: give --ledger with that folder, or a copy of it"
        )));
    }
    let mut undrained: BTreeMap<(u16, u64), LedgerEntry> = BTreeMap::new();
    let (ops, mut after) = (store.ops(), None);
    loop {
        let page = ops.ledger_page(after, PAGE).await?;
        undrained.extend(page.entries.into_iter().map(|entry| ((entry.shard.0, entry.sequence), entry)));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let folder = ledger.map(Path::to_owned);
    let read = tokio::task::spawn_blocking(move || {
        let mut books = Books { accounts: Accounts::new(), undrained, wrong: Vec::new() };
        match folder.as_deref() {
            Some(folder) if folder.is_dir() => {
                let failed = |error| AuditError::Ledger(format!("{}: {error}", folder.display()));
                files::read_all(folder, &mut books).map_err(failed)?;
            }
            _ => {}
        }
        books.close();
        Ok(books)
    });
    read.await.unwrap_or_else(|error| Err(AuditError::Ledger(format!("reading it failed: {error}"))))
}

/// Everything is kept: the complete audit reads each entry once and forgets it.
const ROOM: Room = Room { holders: usize::MAX, remembered: usize::MAX };

/// The books as they were read.
pub(crate) struct Books {
    /// Balances of everybody.
    pub(crate) accounts: Accounts,
    /// Entries that are not in the files.
    pub(crate) undrained: BTreeMap<(u16, u64), LedgerEntry>,
    /// What is wrong with the books alone.
    pub(crate) wrong: Vec<String>,
}

impl Books {
    fn apply(&mut self, entry: &LedgerEntry) {
        let wrong = &mut self.wrong;
        self.accounts.apply(entry, ROOM, &mut |text| wrong.push(text));
    }

    fn close(&mut self) {
        let undrained = std::mem::take(&mut self.undrained);
        undrained.values().for_each(|entry| self.apply(entry));
        self.undrained = undrained;
        // Whoever is short when everything was read is short.
        for _ in 0..2 {
            let wrong = &mut self.wrong;
            self.accounts.end_pass(&mut |text| wrong.push(text));
        }
    }
}

impl Reader for Books {
    fn restore(&mut self, _accounts: &[u8]) -> bool {
        false
    }

    fn page(&mut self, page: Page) {
        match page {
            Page::Entry(entry) => {
                self.undrained.remove(&(entry.shard.0, entry.sequence));
                self.apply(&entry);
            }
            Page::Opening(bytes) => {
                if !self.accounts.open_books(&bytes) {
                    self.wrong.push("what the books were opened with can't be read".to_owned());
                }
            }
        }
    }

    fn damage(&mut self, text: String) {
        self.wrong.push(text);
    }
}
