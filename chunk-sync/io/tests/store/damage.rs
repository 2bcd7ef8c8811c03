//! A damaged, missing or emptied file of the embedded store: found and reported, and never taken for data.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chunk_sync::ids::PlayerId;
use chunk_sync::random::{RngExt, stream};
use chunk_sync::store::{
    Act, Commit, CommitOutcome, EpochStep, IndexPage, LeaseStep, LedgerPage, PartitionKey, PartitionView,
    Refusal, StoreAnswer, StoreFault, StoreOp, Token,
};
use chunk_sync_io::store::{OpenError, StoreHandle, StoreUrl};

const FILE: &str = "store.redb";
const PLAYERS: u64 = 90;
/// Bytes at the start of the file that say where everything else lies: every bit of them is flipped.
const HEADER_BYTES: u64 = 320;
const FLIPS: usize = 1_500;
const CUTS: usize = 100;
/// Of how many players one is asked for after each, beginning with the last, who is in the newest batch.
const ASKED_OF: usize = 9;

async fn open(folder: &Path) -> Result<StoreHandle, OpenError> {
    StoreHandle::open(&StoreUrl::Embedded(folder.into())).await
}

fn key(player: u64) -> PartitionKey {
    PartitionKey::player(PlayerId(player))
}

fn act(player: u64) -> Act {
    Act { actor: player, session_epoch: 1, id: 7, confirmed: 0, result: "did".into() }
}

fn first(player: u64) -> Commit {
    Commit::new(key(player), Token(2 * player + 1))
        .put("bag", vec![player as u8; 300])
        .put("where", "there")
        .epoch(EpochStep::Raise { name: "session".into(), to: player + 1 })
        .lease(LeaseStep::Take { name: "l".into(), holder: player, ttl_ms: 60_000 })
        .act(act(player))
        .index_put("players", player.to_string(), "x")
        .ledger("made")
}

fn second(player: u64) -> Commit {
    Commit::new(key(player), Token(2 * player + 2)).put("bag", vec![player as u8 + 1; 300]).event("bag")
}

/// What a store says, without its clock.
#[derive(Debug, PartialEq)]
struct Said {
    views: BTreeMap<u64, PartitionView>,
    index: IndexPage,
    ledger: LedgerPage,
}

async fn load(store: &StoreHandle, player: u64) -> Result<PartitionView, StoreFault> {
    match store.call(StoreOp::Load { partition: key(player) }).await {
        StoreAnswer::Loaded(view) => Ok(PartitionView { store_ms: 0, ..view }),
        StoreAnswer::Failed(fault) => Err(fault),
        other => panic!("{other:?}"),
    }
}

async fn filled(folder: &Path) -> Said {
    fill(folder).await.0
}

/// Fills a store and leaves it open.
async fn fill(folder: &Path) -> (Said, StoreHandle) {
    let store = open(folder).await.expect("opens");
    for commit in (0..PLAYERS).map(first).chain((0..PLAYERS).map(second)) {
        let said = store.call(StoreOp::Commit(commit)).await;
        assert!(matches!(said, StoreAnswer::Committed(CommitOutcome::Done { .. })), "{said:?}");
    }
    let mut views = BTreeMap::new();
    for player in 0..PLAYERS {
        views.insert(player, load(&store, player).await.expect("loads"));
    }
    let index = store.ops().index_page(&"players".into(), None, 1000).await.expect("a page");
    let ledger = store.ops().ledger_page(None, 1000).await.expect("a page");
    assert_eq!((index.entries.len(), ledger.entries.len()), (PLAYERS as usize, PLAYERS as usize));
    (Said { views, index, ledger }, store)
}

/// Whether an answer is right, or says what is wrong; never anything between. Answers whether it is right.
fn judged<T: PartialEq + std::fmt::Debug>(what: &str, said: Result<T, StoreFault>, wanted: &T) -> bool {
    match said {
        Ok(said) => {
            assert!(said == *wanted, "{what}: {said:?}");
            true
        }
        Err(StoreFault::Broken { text }) => {
            assert!(text.contains("damaged"), "{what}: {text}");
            false
        }
        Err(other) => panic!("{what}: {other:?}"),
    }
}

fn refused(answer: StoreAnswer) -> Result<Refusal, StoreFault> {
    match answer {
        StoreAnswer::Committed(CommitOutcome::Refused(refusal)) => Ok(refusal),
        StoreAnswer::Failed(fault) => Err(fault),
        other => panic!("a second one stands: {other:?}"),
    }
}

/// Asks a store everything that it was told. Answers how many answers were right, and how many reported damage.
async fn asked(what: &str, store: &StoreHandle, wanted: &Said) -> (usize, usize) {
    let mut counts = (0, 0);
    let mut count = |right: bool| if right { counts.0 += 1 } else { counts.1 += 1 };
    for (player, view) in wanted.views.iter().rev().step_by(ASKED_OF) {
        count(judged(what, load(store, *player).await, view));
        let again = Commit::new(key(*player), Token(1 << 40)).absent("bag").put("bag", "another");
        let conflict = Refusal::Conflict { doc: "bag".into(), current: view.cas("bag") };
        count(judged(what, refused(store.call(StoreOp::Commit(again)).await), &conflict));
        let again = Commit::new(key(*player), Token(1 << 41)).act(act(*player)).put("bag", "another");
        let repeated = Refusal::Repeated { token: first(*player).token, result: "did".into() };
        count(judged(what, refused(store.call(StoreOp::Commit(again)).await), &repeated));
    }
    let ops = store.ops();
    count(judged(what, ops.index_page(&"players".into(), None, 1000).await, &wanted.index));
    count(judged(what, ops.ledger_page(None, 1000).await, &wanted.ledger));
    counts
}

/// A copy of a folder whose file was damaged.
fn copied(folder: &Path, bytes: &[u8]) -> tempfile::TempDir {
    // In memory where there is such a folder: thousands of them need no disk.
    let memory = tempfile::tempdir_in("/dev/shm");
    let copy = memory.or_else(|_| tempfile::tempdir()).expect("a folder");
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        if entry.file_name() != FILE {
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("is copied");
        }
    }
    std::fs::write(copy.path().join(FILE), bytes).expect("is written");
    copy
}

async fn opened_or_refused(what: &str, folder: &Path, wanted: &Said) -> bool {
    let limit = Duration::from_secs(60);
    let opened = tokio::time::timeout(limit, open(folder)).await.unwrap_or_else(|_| panic!("{what}: hangs"));
    match opened {
        Ok(store) => {
            let asked = tokio::time::timeout(limit, asked(what, &store, wanted)).await;
            asked.unwrap_or_else(|_| panic!("{what}: hangs"));
            true
        }
        Err(OpenError::Unreadable { reason, .. }) => {
            assert!(reason.contains("store.redb"), "{what}: {reason}");
            false
        }
        Err(other) => panic!("{what}: {other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_anywhere_is_found_when_the_file_is_opened() {
    let seed: u64 = std::env::var("ATOLL_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    println!("ATOLL_SEED={seed}");
    let mut random = stream(seed, "damage");
    let folder = tempfile::tempdir().expect("a folder");
    let wanted = filled(folder.path()).await;
    let whole = std::fs::read(folder.path().join(FILE)).expect("reads");
    let (mut served, mut refused) = (0, 0);
    let header = 0..HEADER_BYTES * 8;
    let others: Vec<u64> =
        (0..FLIPS).map(|_| random.random_range(header.end..whole.len() as u64 * 8)).collect();
    for bit in header.chain(others) {
        let mut damaged = whole.clone();
        damaged[(bit / 8) as usize] ^= 1 << (bit % 8);
        let copy = copied(folder.path(), &damaged);
        match opened_or_refused(&format!("seed {seed}, bit {bit}"), copy.path(), &wanted).await {
            true => served += 1,
            false => refused += 1,
        }
    }
    // Much of a file is room that nothing lies in.
    assert!(served > 100 && refused > 300, "{served} served, {refused} refused");
    for _ in 0..CUTS {
        let length = random.random_range(1..whole.len());
        let copy = copied(folder.path(), &whole[..length]);
        let what = format!("seed {seed}, {length} of {} bytes", whole.len());
        assert!(!opened_or_refused(&what, copy.path(), &wanted).await, "{what}: is served");
    }
    let copy = copied(folder.path(), &whole);
    assert!(opened_or_refused("as it was", copy.path(), &wanted).await);
}

/// The same of a file that was not closed, as after `kill -9`: also the newest batch is there, or damage is reported.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_is_found_in_a_file_that_was_not_closed() {
    let seed: u64 = std::env::var("ATOLL_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    println!("ATOLL_SEED={seed}");
    let mut random = stream(seed, "damage of what was not closed");
    let folder = tempfile::tempdir().expect("a folder");
    let (wanted, store) = fill(folder.path()).await;
    let whole = std::fs::read(folder.path().join(FILE)).expect("reads");
    let left = copied(folder.path(), &whole);
    drop(store);
    let (mut served, mut refused) = (0, 0);
    let header = 0..HEADER_BYTES * 8;
    let others: Vec<u64> =
        (0..FLIPS).map(|_| random.random_range(header.end..whole.len() as u64 * 8)).collect();
    for bit in header.step_by(3).chain(others) {
        let mut damaged = whole.clone();
        damaged[(bit / 8) as usize] ^= 1 << (bit % 8);
        let copy = copied(left.path(), &damaged);
        match opened_or_refused(&format!("seed {seed}, bit {bit}"), copy.path(), &wanted).await {
            true => served += 1,
            false => refused += 1,
        }
    }
    assert!(served > 100 && refused > 100, "{served} served, {refused} refused");
}

/// An older copy in its place is not taken for the newest, unless somebody says so.
#[tokio::test]
async fn an_older_copy_is_said_to_be_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let wanted = filled(folder.path()).await;
    let older = std::fs::read(folder.path().join(FILE)).expect("reads");
    let store = open(folder.path()).await.expect("opens");
    let later = Commit::new(key(1), Token(1 << 50)).put("bag", Bytes::from("x"));
    let said = store.call(StoreOp::Commit(later)).await;
    assert!(matches!(said, StoreAnswer::Committed(CommitOutcome::Done { .. })), "{said:?}");
    drop(store);
    std::fs::write(folder.path().join(FILE), older).expect("is written");
    let error = open(folder.path()).await.err().expect("is refused").to_string();
    assert!(error.contains("was acknowledged") && error.contains("remove store.made"), "{error}");
    std::fs::remove_file(folder.path().join("store.made")).expect("was there");
    assert!(opened_or_refused("the older one", folder.path(), &wanted).await);
}

/// Refusing a file changes nothing in it: whoever looks at it afterwards finds what there was.
#[tokio::test]
async fn a_refused_file_is_left_as_it_is_and_refused_again() {
    let folder = tempfile::tempdir().expect("a folder");
    filled(folder.path()).await;
    let mut bytes = std::fs::read(folder.path().join(FILE)).expect("reads");
    let at = bytes.windows(7).position(|word| word == b"session").expect("a name in a key");
    bytes[at] ^= 1;
    std::fs::write(folder.path().join(FILE), &bytes).expect("is written");
    for _ in 0..2 {
        let error = open(folder.path()).await.err().expect("is refused").to_string();
        assert!(error.contains("damaged") && error.contains("import a copy"), "{error}");
        assert!(std::fs::read(folder.path().join(FILE)).expect("reads") == bytes, "it was changed");
    }
}

/// The disk loses what it was given while the store runs: every answer is right, or says that the file is damaged, and
/// says so from then on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_under_a_running_store_is_found_by_whoever_reads_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let wanted = filled(folder.path()).await;
    let store = open(folder.path()).await.expect("opens");
    let file = OpenOptions::new().read(true).write(true).open(folder.path().join(FILE)).expect("opens");
    let blocks = file.metadata().expect("is there").len() / 4096;
    for block in 1..blocks {
        let mut bytes = [0; 4096];
        file.read_exact_at(&mut bytes, block * 4096).expect("reads");
        bytes.iter_mut().for_each(|byte| *byte ^= 0x10);
        file.write_all_at(&bytes, block * 4096).expect("is damaged");
    }
    let (_, reported) = asked("first", &store, &wanted).await;
    assert!(reported > 0, "nothing was read from the disk");
    let Err(StoreFault::Broken { text }) = load(&store, 1).await else { panic!("is served") };
    assert!(text.contains("store.redb") && text.contains("import a copy"), "{text}");
    assert_eq!(asked("afterwards", &store, &wanted).await.0, 0, "all of it is broken from then on");
}

#[tokio::test]
async fn a_file_that_is_missing_or_empty_is_no_new_world() {
    let folder = tempfile::tempdir().expect("a folder");
    let wanted = filled(folder.path()).await;
    let (file, aside) = (folder.path().join(FILE), folder.path().join("aside"));
    std::fs::rename(&file, &aside).expect("is moved");
    let missing = open(folder.path()).await.err().expect("is refused");
    assert!(matches!(missing, OpenError::Unreadable { .. }) && !file.exists(), "{missing}");
    assert!(missing.to_string().contains("store.redb is missing, though store.made says"), "{missing}");
    std::fs::write(&file, "").expect("is written");
    for marker in [true, false] {
        if !marker {
            std::fs::remove_file(folder.path().join("store.made")).expect("was there");
        }
        let empty = open(folder.path()).await.err().expect("is refused");
        assert!(matches!(empty, OpenError::Unreadable { .. }), "{empty}");
        assert!(empty.to_string().contains("store.redb is empty"), "{empty}");
    }
    // One of before there were markers gets one.
    std::fs::rename(&aside, &file).expect("is moved back");
    assert!(opened_or_refused("as it was", folder.path(), &wanted).await);
    assert!(folder.path().join("store.made").exists());
}

/// Whoever removes the file of a running store, or moves it away, gets no second one in its place, and nothing is written
/// to what was moved.
#[tokio::test]
async fn a_file_that_goes_while_it_is_used_ends_the_store() {
    for moved in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        filled(folder.path()).await;
        let store = open(folder.path()).await.expect("opens");
        let (file, aside) = (folder.path().join(FILE), folder.path().join("aside"));
        match moved {
            true => std::fs::rename(&file, aside).expect("is moved"),
            false => std::fs::remove_file(&file).expect("was there"),
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        let text = loop {
            let commit = Commit::new(key(1), Token(1 << 50)).put("bag", Bytes::from("x"));
            match store.call(StoreOp::Commit(commit)).await {
                StoreAnswer::Failed(StoreFault::Broken { text }) => break text,
                StoreAnswer::Failed(StoreFault::TimedOut | StoreFault::Away) => {}
                other => panic!("moved {moved}: {other:?}"),
            }
            assert!(Instant::now() < deadline, "nobody says what is wrong");
        };
        assert!(text.contains("store.redb is missing"), "{text}");
        assert!(!file.exists(), "a new world began");
        assert!(matches!(load(&store, 1).await, Err(StoreFault::Broken { .. })));
    }
}

/// What lies beside the file is of use, and nobody needs it: without it the store is read and written, and it is written
/// as soon as it can be.
#[tokio::test]
async fn a_store_that_cannot_say_how_far_it_goes_is_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let wanted = filled(folder.path()).await;
    let witness = folder.path().join("store.made");
    let batch = || std::fs::read_to_string(&witness).expect("reads")[..20].parse::<u64>().expect("a number");
    let before = batch();
    std::fs::remove_file(&witness).expect("was there");
    std::fs::create_dir(&witness).expect("is in its way");
    let store = open(folder.path()).await.expect("opens");
    assert_eq!(asked("without it", &store, &wanted).await.1, 0);
    for token in [1, 2] {
        let commit = Commit::new(key(1), Token(token << 50)).put("bag", Bytes::from("x"));
        let said = store.call(StoreOp::Commit(commit)).await;
        assert!(matches!(said, StoreAnswer::Committed(CommitOutcome::Done { .. })), "{said:?}");
        if token == 1 {
            std::fs::remove_dir(&witness).expect("is empty");
        }
    }
    drop(store);
    assert!(batch() >= before + 2, "{} after {before}", batch());
}
