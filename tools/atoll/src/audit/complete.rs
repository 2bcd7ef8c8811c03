//! The complete audit: all ledger files, what the store has yet to give, and all partitions, compared with each other.
//!
//! It is meant for a world that nobody changes, and made to be right about one that changes: partitions are
//! fingerprinted before the ledger is read and read after it, and only those that are the same both times are compared.
//! What can't be right is looked at again; only what is wrong each time is told. It changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;
use chunk_sync::records::{CLUSTER_WORLD, WORLD};
use chunk_sync::store::{
    DamagedPartition, LedgerCursor, LedgerEntry, Name, PartitionKey, RawPartition, StoreAnswer, StoreFault,
    StoreOp,
};
use chunk_sync_io::store::StoreHandle;

use super::accounts::{Accounts, Room};
use super::checks::{Found, check};
use super::finding::Finding;
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
    pub(super) books: Vec<Finding>,
    /// Partitions and entries of indexes that can't be read.
    pub(super) damaged: Vec<Finding>,
    /// Where these partitions are: nothing else is said of them.
    pub(super) unread: BTreeSet<String>,
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
}

/// What one round found, by name, and what changed while it was read.
struct Round {
    found: BTreeMap<String, Found>,
    moving: BTreeSet<String>,
}

impl Round {
    fn of(found: Vec<Found>, moving: BTreeSet<String>) -> Self {
        let found = found.into_iter().map(|found| (found.finding.name.clone(), found)).collect();
        Self { found, moving }
    }
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
    let mut rounds: Vec<Round> = Vec::new();
    loop {
        let world = read(store, ledger, archives).await?;
        let found = check(&world);
        let calm = found.is_empty() && world.moving.is_empty();
        rounds.push(Round::of(found, world.moving.clone()));
        if calm || rounds.len() == ROUNDS as usize {
            return Ok(report(&world, &rounds));
        }
        drop(world);
        tokio::time::sleep(ROUND_PAUSE).await;
    }
}

/// What was wrong in every round in which it could be seen, as it was the last time, and partitions that could not be
/// seen in any. Counts in the texts may change from round to round: a finding is known by its name.
fn settled(rounds: &[Round]) -> (Vec<String>, usize) {
    let newest: BTreeMap<&String, &Found> = rounds.iter().flat_map(|round| &round.found).collect();
    let stays = |(name, found): &(&String, &Found)| {
        rounds.iter().all(|round| round.found.contains_key(*name) || !found.is_seen(&round.moving))
    };
    let texts: BTreeSet<&String> =
        newest.into_iter().filter(stays).map(|(_, found)| &found.finding.text).collect();
    let moving = rounds.iter().map(|round| round.moving.clone()).reduce(|all, more| &all & &more);
    (texts.into_iter().cloned().collect(), moving.map_or(0, |moving| moving.len()))
}

fn report(world: &World, rounds: &[Round]) -> Report {
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
        let booked = part.built.iter().filter(|(holder, _)| !world.accounts.is_unbooked(holder));
        for (kind, count) in booked.flat_map(|(_, held)| held) {
            kinds.entry(kind.clone()).or_default().structures += count;
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
    let (mut no_archive, mut in_none) = (away.wrong(), BTreeSet::new());
    let mut before: BTreeMap<String, u128> = BTreeMap::new();
    let mut unread = each_partition(store, |raw| {
        before.extend(part::place_of(&raw.key).map(|place| (place, part::print_of(&raw.docs))));
    })
    .await?;
    let books = read_books(store, ledger).await?;
    // Between the two readings, as the ledger: what doesn't change from one to the other agrees with them.
    let (pending, damaged) = index(store, "pending").await?;
    let (estates, more) = index(store, "estates").await?;
    let mut damaged: Vec<Finding> = damaged.into_iter().chain(more).map(Finding::plain).collect();
    let mut parts = BTreeMap::new();
    let again = each_partition(store, |raw| {
        if let Some(place) = part::place_of(&raw.key) {
            let (part, without) = look(&place, &raw, &away);
            if let Some(why) = without {
                let island = part::chunk_of(&place).map_or(0, |(island, _)| island);
                no_archive.entry(island).or_insert(why);
                in_none.insert(place.clone());
            }
            parts.insert(place, part);
        }
    })
    .await?;
    unread.extend(again);
    damaged.extend(unread.iter().map(damaged_partition));
    damaged.extend(no_archive.iter().map(|(island, why)| {
        let text = format!("island {island} is suspended, and what stands there can't be looked at: {why}");
        Finding::new("archive", island, text)
    }));
    let mut unread: BTreeSet<String> =
        unread.into_iter().filter_map(|unread| unread_place(&unread)).collect();
    unread.extend(in_none);
    let changed = |place: &&String| before.get(*place) != parts.get(*place).map(|part: &Part| &part.print);
    let moving = before.keys().chain(parts.keys()).filter(changed).cloned().collect();
    let now_ms = clock(store).await?;
    let undrained = books.undrained.len() as u64;
    let (accounts, books) = (books.accounts, books.wrong);
    let suspended = away.islands().collect();
    Ok(World {
        parts,
        moving,
        accounts,
        books,
        damaged,
        unread,
        pending,
        estates,
        undrained,
        now_ms,
        suspended,
    })
}

/// Looks at a partition; at what the archive has of it, if it is suspended. If the archive can't be used: at the mark
/// alone, and why.
fn look(place: &str, raw: &RawPartition, away: &Away) -> (Part, Option<String>) {
    let mark = part::look(place, &raw.docs);
    let Some(record) = mark_of(&raw.docs) else { return (mark, None) };
    let archived = match away.chunk(&raw.key, &record) {
        Ok(archived) => archived,
        Err(why) => return (mark, Some(why)),
    };
    let mut part = part::look(place, &archived.docs);
    if part.held != mark.held {
        let text = format!("{place}: its mark and its archive differ in what it holds");
        part.wrong.push(Finding::new(place, "mark", text));
    }
    part.wrong.extend(mark.wrong);
    // That is what changes when it changes.
    part.print = mark.print;
    (part, None)
}

/// What is told of a partition that can't be read.
pub(crate) fn damaged_partition(damaged: &DamagedPartition) -> Finding {
    let about = damaged.key.as_ref().map_or_else(|| damaged.why.clone(), ToString::to_string);
    Finding::new("damaged", about, damaged.to_string())
}

/// Where a partition of the game is that can't be read; of one without a name all that is known is that it may be any.
fn unread_place(damaged: &DamagedPartition) -> Option<String> {
    match &damaged.key {
        Some(key) => part::place_of(key),
        None => Some(String::new()),
    }
}

/// Reads all partitions, page by page; answers what can't be read.
pub(crate) async fn each_partition(
    store: &StoreHandle,
    mut take: impl FnMut(RawPartition),
) -> Result<Vec<DamagedPartition>, StoreFault> {
    let (ops, mut after, mut damaged) = (store.ops(), None, Vec::new());
    loop {
        let page = ops.partitions_page(after.as_ref(), PAGE).await?;
        page.partitions.into_iter().for_each(&mut take);
        damaged.extend(page.damaged);
        after = page.next;
        if after.is_none() {
            return Ok(damaged);
        }
    }
}

/// Entries of an index: key, value.
type Entries = Vec<(String, String)>;

/// Reads a whole index, as masters have it, and tells what can't be read of it.
async fn index(store: &StoreHandle, name: &str) -> Result<(Entries, Vec<String>), StoreFault> {
    let (ops, index, mut after) = (store.ops(), Name::from(name), None);
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let (mut entries, mut damaged) = (Vec::new(), Vec::new());
    loop {
        let page = ops.index_page_of_masters(&index, after.as_ref(), PAGE).await?;
        entries.extend(page.entries.iter().map(|entry| (text(&entry.key), text(&entry.value))));
        let told =
            page.damaged.iter().map(|row| format!("an entry of the index {name} can't be read: {row}"));
        damaged.extend(told);
        after = page.next;
        if after.is_none() {
            return Ok((entries, damaged));
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
    let mut damaged = Vec::new();
    let (ops, mut after) = (store.ops(), None);
    loop {
        let page = ops.ledger_page(after, PAGE).await?;
        damaged.extend(page.damaged.iter().map(|damaged| damaged_entry(damaged.at)));
        undrained.extend(page.entries.into_iter().map(|entry| ((entry.shard.0, entry.sequence), entry)));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let folder = ledger.map(Path::to_owned);
    let read = tokio::task::spawn_blocking(move || {
        let mut books = Books { accounts: Accounts::new(), undrained, wrong: damaged.clone(), damaged };
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
    pub(crate) wrong: Vec<Finding>,
    /// Of that, entries that the store can't read.
    pub(crate) damaged: Vec<Finding>,
}

/// What is told of an entry of the store's ledger that can't be read.
pub(crate) fn damaged_entry(at: LedgerCursor) -> Finding {
    Finding::plain(format!(
        "ledger entry {}/{} can't be read: its row in the store is damaged",
        at.shard.0, at.sequence
    ))
}

/// What is told of an entry of the store whose number the files gave to another.
pub(crate) fn another_entry(entry: &LedgerEntry) -> Finding {
    Finding::plain(format!(
        "ledger entry {}/{} of the store is another than the files have under this number: the store is older than its \
         ledger, as one that was restored from a copy is",
        entry.shard.0, entry.sequence
    ))
}

impl Books {
    fn apply(&mut self, entry: &LedgerEntry) {
        let wrong = &mut self.wrong;
        self.accounts.apply(entry, ROOM, &mut |finding| wrong.push(finding));
    }

    fn close(&mut self) {
        let undrained = std::mem::take(&mut self.undrained);
        undrained.values().for_each(|entry| self.apply(entry));
        self.undrained = undrained;
        // Whoever is short when everything was read is short.
        for _ in 0..2 {
            let wrong = &mut self.wrong;
            self.accounts.end_pass(&mut |finding| wrong.push(finding));
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
                let place = (entry.shard.0, entry.sequence);
                if let Some(waits) = self.undrained.remove(&place)
                    && waits.token != entry.token
                {
                    self.wrong.push(another_entry(&waits));
                    self.undrained.insert(place, waits);
                }
                self.apply(&entry);
            }
            Page::Opening(bytes) => {
                if !self.accounts.open_books(&bytes) {
                    self.wrong.push(Finding::plain("what the books were opened with can't be read"));
                }
            }
        }
    }

    fn damage(&mut self, text: String) {
        self.wrong.push(Finding::plain(text));
    }
}

#[cfg(test)]
mod tests {
    use super::super::accounts::{Held, Opening};
    use super::super::checks::RestsOn;
    use super::super::record::{Holder, RECORD_VERSION};
    use super::*;

    fn round(found: &[(&str, &str, RestsOn)], moving: &[&str]) -> Round {
        let found = found.iter().map(|(name, text, rests_on)| {
            let rests_on = match rests_on {
                RestsOn::Places(places) => RestsOn::Places(places.clone()),
                RestsOn::Everything => RestsOn::Everything,
            };
            let finding = Finding { name: (*name).to_owned(), text: (*text).to_owned() };
            Found { finding, rests_on }
        });
        Round::of(found.collect(), moving.iter().map(|place| (*place).to_owned()).collect())
    }

    fn at(place: &str) -> RestsOn {
        RestsOn::Places(vec![place.to_owned()])
    }

    #[test]
    fn what_stays_wrong_is_told_also_while_its_counts_change() {
        let rounds = [
            round(
                &[("holds: anna", "anna holds 3", at("anna")), ("holds: bert", "bert holds 1", at("bert"))],
                &[],
            ),
            round(&[("holds: anna", "anna holds 4", at("anna"))], &[]),
            round(&[("holds: anna", "anna holds 5", at("anna"))], &["carl"]),
        ];
        assert_eq!(settled(&rounds), (vec!["anna holds 5".to_owned()], 0), "bert was right once");
    }

    #[test]
    fn a_damaged_partition_without_a_name_may_be_any_that_is_not_there() {
        let held = vec![
            (Holder::Player(1), Held::from([("wood".to_owned(), 3)])),
            (Holder::Player(2), Held::from([("wood".to_owned(), 4)])),
        ];
        let opening =
            Opening { v: RECORD_VERSION, store_ms: 1, held, built_before: Vec::new(), opened_before: false };
        let mut accounts = Accounts::new();
        assert!(accounts.open_books(&opening.pack()));
        let there = "player/0000000000000002";
        let mut world = World {
            parts: BTreeMap::from([(there.to_owned(), part::look(there, &BTreeMap::new()))]),
            moving: BTreeSet::new(),
            accounts,
            books: Vec::new(),
            damaged: Vec::new(),
            unread: BTreeSet::new(),
            pending: Vec::new(),
            estates: Vec::new(),
            undrained: 0,
            now_ms: 1,
            suspended: Vec::new(),
        };
        let names = |world: &World| -> Vec<String> {
            let names = check(world).into_iter().map(|found| found.finding.name);
            names.filter(|name| !name.starts_with("total")).collect()
        };
        let (holds, is_there) = ("holds: player 0000000000000002", "is there: player 0000000000000001");
        assert_eq!(names(&world), [holds, is_there]);
        world.unread.insert(String::new());
        assert_eq!(names(&world), [holds]);
    }

    #[test]
    fn a_round_in_which_it_can_not_be_seen_says_nothing_of_it() {
        let rounds = [
            round(
                &[("total: wood", "7 wood", RestsOn::Everything), ("holds: anna", "anna", at("anna"))],
                &[],
            ),
            round(&[], &["anna"]),
            round(&[("total: wood", "8 wood", RestsOn::Everything)], &["anna"]),
        ];
        assert_eq!(settled(&rounds).0, ["8 wood", "anna"]);
        assert_eq!(settled(&rounds[1..]).1, 1, "anna could not be seen");
    }
}
