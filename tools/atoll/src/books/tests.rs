//! The drain on a real embedded store.

#[path = "../../tests/books/spoil.rs"]
mod spoil;

use std::time::Duration;

use chunk_sync::ids::PlayerId;
use chunk_sync::store::{DamagedLedgerEntry, LEDGER_PAGE_ENTRIES_MAX, LedgerEntry, SHARD_COUNT};
use chunk_sync_io::store::StoreUrl;

use super::sink::LedgerSink;
use super::*;
use crate::audit::complete::read_books;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

async fn store(folder: &Path) -> StoreHandle {
    StoreHandle::open(&StoreUrl::Embedded(folder.join("data"))).await.unwrap()
}

/// Commits with one ledger entry each, in as many partitions.
async fn write(store: &StoreHandle, from: u64, count: u64) {
    for number in from..from + count {
        let key = PartitionKey::player(PlayerId(number % 40));
        let commit = Commit::new(key, Token(number + 1))
            .put("x", vec![1])
            .ledger(b"\x82\xa1v\x01\xa5lines\x90".to_vec());
        let answer = store.call(StoreOp::Commit(commit)).await;
        assert!(matches!(answer, StoreAnswer::Committed(CommitOutcome::Done { .. })), "{answer:?}");
    }
}

async fn waiting(store: &StoreHandle) -> Vec<LedgerEntry> {
    store.ops().ledger_page(None, LEDGER_PAGE_ENTRIES_MAX).await.unwrap().entries
}

/// Waits until nothing is in the store's ledger.
async fn drained(store: &StoreHandle, status: &Status) {
    let wait = async {
        while !waiting(store).await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("not drained: {:?}", status.newest()));
}

#[derive(Default)]
struct Seen(Vec<(u16, u64)>, Vec<String>);

impl Reader for Seen {
    fn restore(&mut self, _accounts: &[u8]) -> bool {
        false
    }

    fn page(&mut self, page: Page) {
        if let Page::Entry(entry) = page {
            self.0.push((entry.shard.0, entry.sequence));
        }
    }

    fn damage(&mut self, text: String) {
        self.1.push(text);
    }
}

/// What the files have, shard by shard, without gaps and doubles.
fn kept(folder: &Path) -> usize {
    let mut seen = Seen::default();
    files::read_all(&folder.join("ledger"), &mut seen).unwrap();
    assert_eq!(seen.1, Vec::<String>::new());
    let mut next = vec![1; SHARD_COUNT.into()];
    for (shard, sequence) in &seen.0 {
        assert_eq!(*sequence, next[usize::from(*shard)], "shard {shard}");
        next[usize::from(*shard)] += 1;
    }
    seen.0.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_are_moved_from_the_store_to_files_once() {
    let folder = tempfile::tempdir().unwrap();
    let (store, ledger) = (store(folder.path()).await, folder.path().join("ledger"));
    write(&store, 0, 100).await;
    let status = Status::default();
    let books = Books::start(store.clone(), &ledger, status.clone()).await.unwrap();
    drained(&store, &status).await;
    write(&store, 100, 50).await;
    books.close().await;
    assert_eq!((waiting(&store).await.len(), kept(folder.path())), (0, 150), "closing drains");
    let shown = status.newest().unwrap();
    assert_eq!((shown.written, shown.undrained, shown.trouble), (150, 0, None));
    assert_eq!((shown.audit.checked, shown.audit.findings), (150, 0), "{:?}", shown.audit);

    // Its auditor goes on from its snapshot: nothing of the files is read again.
    let mut watch = Watch::new();
    let mut reading = Reading { watch, entries: 0 };
    drop(LedgerFiles::open(&ledger, &mut reading).unwrap());
    watch = reading.watch;
    assert_eq!((reading.entries, watch.shown().checked), (0, 150));
    let books = Books::start(store.clone(), &ledger, status.clone()).await.unwrap();
    write(&store, 150, 10).await;
    books.close().await;
    assert_eq!((status.newest().unwrap().audit.checked, kept(folder.path())), (160, 160));
    storage(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_but_not_trimmed_before_a_crash_is_in_the_files_once() {
    let folder = tempfile::tempdir().unwrap();
    let (store, ledger) = (store(folder.path()).await, folder.path().join("ledger"));
    write(&store, 0, 60).await;
    let mut files = LedgerFiles::open(&ledger, &mut Seen::default()).unwrap();
    assert!(claim_folder(&store, &ledger).await.is_ok());
    // Half of them are in the files, and the crash came.
    files.keep(waiting(&store).await[..30].to_vec()).unwrap();
    drop(files);
    let status = Status::default();
    let books = Books::start(store.clone(), &ledger, status.clone()).await.unwrap();
    drained(&store, &status).await;
    books.close().await;
    assert_eq!(kept(folder.path()), 60);
    let shown = status.newest().unwrap();
    assert_eq!((shown.written, shown.audit.checked, shown.audit.findings), (30, 60, 0), "{shown:?}");
    storage(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_of_another_store_is_not_written_on() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger");
    let first = store(&folder.path().join("first")).await;
    write(&first, 0, 10).await;
    let status = Status::default();
    let books = Books::start(first.clone(), &ledger, status.clone()).await.unwrap();
    drained(&first, &status).await;
    books.close().await;
    // A new store numbers its entries from the start: here they would be taken for the first one's.
    let second = store(&folder.path().join("second")).await;
    write(&second, 0, 10).await;
    assert!(Books::start(second.clone(), &ledger, status.clone()).await.is_err());
    assert_eq!(waiting(&second).await.len(), 10, "none is taken for known");
    // And who audits it with the wrong books is told.
    assert_eq!(kept_elsewhere(&first, Some(&ledger)).await, Ok(None));
    assert!(kept_elsewhere(&first, Some(folder.path())).await.unwrap().is_some());
    assert!(kept_elsewhere(&first, None).await.unwrap().is_some());
    storage(first).await;
    storage(second).await;
}

/// A sink whose disk is full for a while.
struct Full(LedgerFiles, Arc<std::sync::atomic::AtomicBool>);

impl LedgerSink for Full {
    fn keep(&mut self, entries: Vec<LedgerEntry>) -> Result<Vec<LedgerEntry>, SinkError> {
        if self.1.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(SinkError("no space is left".to_owned()));
        }
        self.0.keep(entries)
    }

    fn keep_damaged(&mut self, entries: &[DamagedLedgerEntry]) -> Result<(), SinkError> {
        self.0.keep_damaged(entries)
    }

    fn keep_snapshot(&mut self, accounts: &[u8]) -> Result<(), SinkError> {
        self.0.keep_snapshot(accounts)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_entries_stay_in_the_store_and_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let files = LedgerFiles::open(&folder.path().join("ledger"), &mut Seen::default()).unwrap();
    let full = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let mut drain =
        Drain::new(store.clone(), Box::new(Full(files, Arc::clone(&full))), Watch::new(), Status::default());
    write(&store, 0, 25).await;
    drain.pass(false).await;
    assert_eq!(drain.shown.trouble.as_deref(), Some("no space is left"));
    assert_eq!((drain.shown.undrained, waiting(&store).await.len()), (25, 25));
    full.store(false, std::sync::atomic::Ordering::Relaxed);
    drain.pass(false).await;
    assert_eq!((drain.shown.trouble.clone(), drain.shown.undrained, drain.shown.written), (None, 0, 25));
    assert_eq!((waiting(&store).await.len(), kept(folder.path())), (0, 25));
    drop(drain);
    storage(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stores_ledger_is_not_spread_over_two_folders() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let start =
        async |name: &str| Books::start(store.clone(), &folder.path().join(name), Status::default()).await;
    start("ledger").await.unwrap_or_else(|failure| panic!("{failure:?}")).close().await;
    let Err(Failure::Setup(lines)) = start("other").await.map(|_| ()) else { panic!("it is kept elsewhere") };
    assert!(lines[0].contains("is kept in another folder") && lines[0].contains("/ledger"), "{lines:?}");
    start("ledger").await.unwrap_or_else(|failure| panic!("{failure:?}")).close().await;
    storage(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_older_store_has_under_known_numbers_is_neither_taken_for_known_nor_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (data, copy, ledger) =
        (folder.path().join("data"), folder.path().join("copy"), folder.path().join("ledger"));
    let status = Status::default();
    let first = store(folder.path()).await;
    let books = Books::start(first.clone(), &ledger, status.clone()).await.unwrap();
    books.close().await;
    storage(first).await;
    std::fs::create_dir(&copy).unwrap();
    std::fs::copy(data.join("store.redb"), copy.join("store.redb")).unwrap();
    let first = store(folder.path()).await;
    let books = Books::start(first.clone(), &ledger, status.clone()).await.unwrap();
    write(&first, 0, 60).await;
    drained(&first, &status).await;
    books.close().await;
    storage(first).await;

    std::fs::copy(copy.join("store.redb"), data.join("store.redb")).unwrap();
    // Whoever goes back on purpose says so.
    std::fs::remove_file(data.join("store.made")).unwrap();
    let older = store(folder.path()).await;
    write(&older, 1_000, 30).await;
    // Neither from what is remembered, nor from what the files say after a start.
    for _ in 0..2 {
        let mut files = LedgerFiles::open(&ledger, &mut Seen::default()).unwrap();
        let Err(error) = files.keep(waiting(&older).await) else { panic!("it is known by number only") };
        assert!(error.0.contains("the store is older than its ledger"), "{error}");
    }
    let books = Books::start(older.clone(), &ledger, status.clone()).await.unwrap();
    books.close().await;
    let shown = status.newest().unwrap();
    assert!(shown.trouble.is_some_and(|why| why.contains("the store is older than its ledger")));
    assert_eq!((shown.undrained, shown.written), (30, 0));
    assert_eq!((waiting(&older).await.len(), kept(folder.path())), (30, 60), "nothing is lost");
    let read = read_books(&older, Some(&ledger)).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(read.wrong.iter().any(|finding| finding.text.contains("is older than its ledger")));
    storage(older).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_entry_is_told_once_and_those_behind_it_are_drained() {
    let folder = tempfile::tempdir().unwrap();
    let (first, ledger) = (store(folder.path()).await, folder.path().join("ledger"));
    let mark = b"\x83\xa1v\x01\xa5lines\x90\xa4hit!\x01";
    write(&first, 0, 40).await;
    let key = PartitionKey::player(PlayerId(7));
    let shard = key.shard();
    let commit = Commit::new(key, Token(500)).put("x", vec![2]).ledger(mark.to_vec());
    assert!(matches!(
        first.call(StoreOp::Commit(commit)).await,
        StoreAnswer::Committed(CommitOutcome::Done { .. })
    ));
    write(&first, 1_000, 40).await;
    storage(first).await;
    spoil::spoil(&folder.path().join("data/store.redb"), mark);
    let store = store(folder.path()).await;
    let status = Status::default();
    for _ in 0..2 {
        let books = Books::start(store.clone(), &ledger, status.clone()).await.unwrap();
        drained(&store, &status).await;
        books.close().await;
    }
    let shown = status.newest().unwrap();
    assert_eq!((shown.undrained, shown.trouble), (0, None));
    let told = format!("ledger entry {}/2 can't be read: its row in the store is damaged", shard.0);
    assert_eq!(
        shown.audit.last_findings.iter().filter(|text| **text == told).count(),
        1,
        "{:?}",
        shown.audit
    );
    let mut seen = Seen::default();
    files::read_all(&ledger, &mut seen).unwrap();
    assert_eq!(seen.0.len(), 80, "all others");
    let raw = std::fs::read_to_string(ledger.join("damaged")).unwrap();
    assert!(raw.starts_with(&format!("{}/2 ", shard.0)) && raw.lines().count() == 1, "{raw}");
    storage(store).await;
}

async fn storage(store: StoreHandle) {
    crate::storage::close(store).await;
}
