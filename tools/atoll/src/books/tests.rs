//! The drain on a real embedded store.

use std::time::Duration;

use chunk_sync::ids::PlayerId;
use chunk_sync::store::{LEDGER_PAGE_ENTRIES_MAX, LedgerEntry, SHARD_COUNT};
use chunk_sync_io::store::StoreUrl;

use super::sink::LedgerSink;
use super::*;

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

async fn storage(store: StoreHandle) {
    crate::storage::close(store).await;
}
