//! What only the embedded store can get wrong: its file, its thread, and what is left after `kill -9`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chunk_sync::ids::{PlayerId, WorldId};
use chunk_sync::store::{
    Act, Commit, CommitOutcome, Durability, LedgerCursor, PartitionKey, Refusal, Shard, StoreAnswer,
    StoreFault, StoreOp, Token,
};
use chunk_sync_io::store::{OpenError, StoreHandle, StoreOptions, StoreUrl};

const CHILD_FOLDER: &str = "ATOLL_TEST_STORE_FOLDER";
const CHILD_ROUND: &str = "ATOLL_TEST_STORE_ROUND";
/// Commits under way at once in the child.
const WRITERS: u64 = 8;

fn key() -> PartitionKey {
    PartitionKey::cluster(WorldId(1), "keys")
}

async fn open(folder: &std::path::Path) -> Result<StoreHandle, OpenError> {
    StoreHandle::open(&StoreUrl::Embedded(folder.into())).await
}

async fn load(store: &StoreHandle, partition: PartitionKey) -> chunk_sync::store::PartitionView {
    match store.call(StoreOp::Load { partition }).await {
        StoreAnswer::Loaded(view) => view,
        other => panic!("{other:?}"),
    }
}

async fn put(store: &StoreHandle, token: u64, doc: &str, value: &str) -> StoreAnswer {
    let value = Bytes::copy_from_slice(value.as_bytes());
    store.call(StoreOp::Commit(Commit::new(key(), Token(token)).put(doc, value))).await
}

#[tokio::test]
async fn what_was_committed_is_there_after_closing() {
    let folder = tempfile::tempdir().unwrap();
    let nested = folder.path().join("made/on/the/way");
    let store = open(&nested).await.unwrap();
    assert!(matches!(put(&store, 1, "a", "1").await, StoreAnswer::Committed(CommitOutcome::Done { .. })));
    let before_ms = load(&store, key()).await.store_ms;
    drop(store);
    let store = open(&nested).await.unwrap();
    let view = load(&store, key()).await;
    assert_eq!((view.doc("a"), view.token), (Some(&Bytes::from("1")), Token(1)));
    assert!(view.store_ms >= before_ms, "the store's clock never goes back");
}

#[tokio::test]
async fn a_folder_is_one_process_own() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path()).await.unwrap();
    let error = open(folder.path()).await.err().expect("is refused");
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("another process is using it"), "{error}");
    assert!(matches!(put(&first, 1, "a", "1").await, StoreAnswer::Committed(_)), "the first goes on");
    drop(first);
    open(folder.path()).await.expect("is free again");
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_said_clearly() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a file");
    std::fs::write(&file, "x").unwrap();
    for path in [file.clone(), file.join("below"), "/proc/atoll".into()] {
        let error = open(&path).await.err().expect("is refused");
        assert!(matches!(error, OpenError::Folder { .. }), "{error:?}");
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
    }
    std::fs::create_dir(folder.path().join("other")).unwrap();
    for garbage in [vec![7u8; 100], vec![7u8; 100_000]] {
        std::fs::write(folder.path().join("other/store.redb"), garbage).unwrap();
        let error = open(&folder.path().join("other")).await.err().expect("is refused");
        assert!(matches!(error, OpenError::Unreadable { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_closing_store_finishes_what_it_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    let (answers, answered) = mpsc::channel();
    for at in 0..200u64 {
        let op = StoreOp::Commit(Commit::new(key(), Token(at + 1)).put(format!("{at}"), "x"));
        let answers = answers.clone();
        // From a thread without a runtime, as a node's is.
        let store = store.clone();
        std::thread::spawn(move || store.submit(op, move |answer| answers.send(answer).unwrap()))
            .join()
            .unwrap();
    }
    drop((store, answers));
    let done = tokio::task::spawn_blocking(move || answered.iter().collect::<Vec<_>>()).await.unwrap();
    assert_eq!(done.len(), 200);
    assert!(done.iter().all(|answer| matches!(answer, StoreAnswer::Committed(CommitOutcome::Done { .. }))));
    // The last of those answers was sent before the thread had closed the file.
    let store = loop {
        match open(folder.path()).await {
            Err(OpenError::InUse { .. }) => tokio::task::yield_now().await,
            opened => break opened.unwrap(),
        }
    };
    assert_eq!(load(&store, key()).await.docs.len(), 200);
}

#[tokio::test]
async fn more_than_may_wait_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    let (answers, answered) = mpsc::channel();
    // 1 MiB each: 64 MiB may be in flight, and this single-threaded runtime answers none of them meanwhile.
    let value = Bytes::from(vec![1; 64 * 1024]);
    for at in 0..200u64 {
        let partition = PartitionKey::player(PlayerId(at));
        let commit =
            (0..16).fold(Commit::new(partition, Token(1)), |c, doc| c.put(format!("{doc}"), value.clone()));
        let answers = answers.clone();
        store.submit(StoreOp::Commit(commit), move |answer| answers.send((at, answer)).unwrap());
    }
    let refused: Vec<_> = answered.try_iter().collect();
    assert!(refused.len() > 100 && refused.len() < 200, "{} of 200", refused.len());
    assert!(refused.iter().all(|(_, answer)| *answer == StoreAnswer::Failed(StoreFault::Away)));
    drop(answers);
    let done = tokio::task::spawn_blocking(move || answered.iter().collect::<Vec<_>>());
    for (at, answer) in done.await.unwrap() {
        match answer {
            StoreAnswer::Committed(CommitOutcome::Done { .. }) => {
                assert_eq!(load(&store, PartitionKey::player(PlayerId(at))).await.docs.len(), 16);
            }
            // A slow disk may need longer than one call may take.
            StoreAnswer::Failed(StoreFault::TimedOut) => {}
            other => panic!("{other:?}"),
        }
    }
    for (at, _) in refused {
        assert!(load(&store, PartitionKey::player(PlayerId(at))).await.docs.is_empty());
    }
}

/// A file of the first layout has neither actors nor indexes, one of the second no ledgers; they get them, and keep
/// what they have.
#[tokio::test]
async fn files_of_older_layouts_are_brought_up_to_date() {
    for (format, lacks) in [
        (1, &["actors", "index", "index_sizes", "ledger", "ledger_heads"][..]),
        (2, &["ledger", "ledger_heads"]),
    ] {
        is_brought_up_to_date(format, lacks).await;
    }
}

async fn is_brought_up_to_date(format: u64, lacks: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path()).await.expect("opens");
    assert!(matches!(put(&store, 1, "a", "1").await, StoreAnswer::Committed(CommitOutcome::Done { .. })));
    drop(store);
    let write_format = |format: u64, wanted: &[&str]| {
        let file = redb::Database::open(folder.path().join("store.redb")).expect("opens");
        let change = file.begin_write().expect("begins");
        change
            .open_table(redb::TableDefinition::<&str, u64>::new("meta"))
            .expect("works")
            .insert("format", format)
            .expect("works");
        for table in wanted {
            let table = redb::TableDefinition::<&[u8], &[u8]>::new(table);
            assert!(change.delete_table(table).expect("a table"), "was there");
        }
        change.commit().expect("is written");
    };
    write_format(format, lacks);
    let store = open(folder.path()).await.expect("opens again");
    assert_eq!(load(&store, key()).await.doc("a"), Some(&Bytes::from("1")));
    let act = Act { actor: 1, session_epoch: 1, id: 1, confirmed: 0, result: "did".into() };
    let commit = Commit::new(key(), Token(2)).act(act).index_put("i", "k", "v").ledger("did");
    let said = store.call(StoreOp::Commit(commit)).await;
    assert!(matches!(said, StoreAnswer::Committed(CommitOutcome::Done { .. })), "{said:?}");
    let whole = store.ops().partitions_page(None, 10).await.expect("a page").partitions;
    assert_eq!((whole.len(), whole[0].token(), whole[0].actors.len()), (1, Token(2), 1));
    assert_eq!(store.ops().ledger_page(None, 10).await.expect("a page").entries[0].sequence, 1);
    drop((store, whole));
    write_format(4, &[]);
    let error = open(folder.path()).await.err().expect("is refused").to_string();
    assert!(error.contains("has format 4"), "{error}");
}

/// A partition that is full of actors takes newcomers again once some have been idle for long enough, however often
/// one was refused before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newcomers_find_room_as_soon_as_others_were_idle() {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions { actor_idle_ms: 2_000, call_wait_ms: 60_000, ..StoreOptions::default() };
    let store = StoreHandle::open_with(&StoreUrl::Embedded(folder.path().into()), options).await.unwrap();
    let acting = |actor: u64, id: u64| {
        let act = Act { actor, session_epoch: 1, id, confirmed: id - 1, result: "did".into() };
        let commit = Commit::new(key(), Token(actor << 32 | id)).act(act).durability(Durability::Accepted);
        StoreOp::Commit(commit)
    };
    let most = u64::from(chunk_sync::store::ACTORS_PER_PARTITION_MAX);
    for first in (1..=most).step_by(256) {
        let calls: Vec<_> = (first..first + 256)
            .map(|actor| {
                let (store, op) = (store.clone(), acting(actor, 1));
                tokio::spawn(async move { store.call(op).await })
            })
            .collect();
        for call in calls {
            assert!(matches!(call.await.unwrap(), StoreAnswer::Committed(CommitOutcome::Done { .. })));
        }
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut last = 1;
    for newcomer in most + 1..most + 100 {
        loop {
            // Actor 1 is never idle, and stays.
            last += 1;
            let busy = store.call(acting(1, last)).await;
            assert!(matches!(busy, StoreAnswer::Committed(CommitOutcome::Done { .. })), "{busy:?}");
            match store.call(acting(newcomer, 1)).await {
                StoreAnswer::Committed(CommitOutcome::Done { .. }) => break,
                StoreAnswer::Committed(CommitOutcome::Refused(Refusal::ActsFull)) => {}
                other => panic!("{other:?}"),
            }
            assert!(Instant::now() < deadline, "newcomer {newcomer} never finds room");
        }
    }
    let StoreAnswer::Committed(said) = store.call(acting(1, last)).await else { panic!("a commit") };
    assert!(matches!(said, CommitOutcome::Done { .. }), "a resend of what is remembered");
    let partitions = store.ops().partitions_page(None, 10).await.unwrap().partitions;
    assert!(partitions.iter().any(|raw| raw.actors.contains_key(&1) && raw.actors.len() <= most as usize));
}

/// Not a test: what the next one runs in a process of its own and kills.
#[test]
#[ignore = "run by the kill -9 test in a process of its own"]
fn child_that_commits_until_killed() {
    let folder = std::env::var(CHILD_FOLDER).expect("run by the kill -9 test");
    let round: u64 = std::env::var(CHILD_ROUND).expect("run by the kill -9 test").parse().expect("a number");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!();
    runtime.block_on(async {
        let options = StoreOptions { call_wait_ms: 60_000, ..StoreOptions::default() };
        let store = StoreHandle::open_with(&StoreUrl::Embedded(folder.into()), options).await.unwrap();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let store = store.clone();
                tokio::spawn(async move {
                    for at in 0u64.. {
                        let token = Token(round << 40 | writer << 32 | (at + 1));
                        let partition = PartitionKey::player(PlayerId(writer));
                        let act = Act {
                            actor: writer,
                            session_epoch: 1,
                            id: token.0,
                            confirmed: token.0.saturating_sub(4),
                            result: token.0.to_be_bytes().to_vec().into(),
                        };
                        // Every third may be lost, and must take nothing with it.
                        let durability =
                            if at % 3 == 0 { Durability::Accepted } else { Durability::Persisted };
                        let commit = Commit::new(partition, token)
                            .put(format!("{round}/{at}"), token.0.to_be_bytes().to_vec())
                            .event(vec![1; 100])
                            .index_put("writers", format!("{writer}"), token.0.to_string())
                            .act(act)
                            .ledger(token.0.to_be_bytes().to_vec())
                            .durability(durability);
                        match store.call(StoreOp::Commit(commit)).await {
                            StoreAnswer::Committed(CommitOutcome::Done { .. }) => {}
                            other => panic!("{other:?}"),
                        }
                        if durability == Durability::Accepted {
                            continue;
                        }
                        let mut out = std::io::stdout().lock();
                        writeln!(out, "ack {writer} {round}/{at} {}", token.0).unwrap();
                        out.flush().unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

#[tokio::test]
async fn kill_9_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for (round, kill_after) in [1usize, 40, 333, 1000].into_iter().enumerate() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "embedded::child_that_commits_until_killed", "--ignored", "--nocapture"])
            .env(CHILD_FOLDER, folder.path())
            .env(CHILD_ROUND, round.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut seen = 0;
        loop {
            let mut line = String::new();
            if said.read_line(&mut line).unwrap() == 0 {
                break;
            }
            // A line that was cut off by the kill says nothing.
            if let Some(ack) = line.strip_prefix("ack ").and_then(|ack| ack.strip_suffix('\n')) {
                let words: Vec<&str> = ack.split(' ').collect();
                let (writer, token): (u64, u64) = (words[0].parse().unwrap(), words[2].parse().unwrap());
                acknowledged.push((writer, words[1].to_owned(), token));
                seen += 1;
                if seen == kill_after {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        assert!(seen >= kill_after, "the child ended by itself after {seen} commits");

        let store = open(folder.path()).await.expect("opens after kill -9");
        let index = store.ops().index_page(&"writers".into(), None, 100).await.unwrap().entries;
        let booked = booked(&store).await;
        for writer in 0..WRITERS {
            let view = load(&store, PartitionKey::player(PlayerId(writer))).await;
            // The index and the memory of acts are as far as the documents, whatever was lost.
            let last = view.token.0.to_string();
            let entry = index.iter().find(|entry| *entry.key == *writer.to_string().as_bytes());
            if view.token != Token::NONE {
                assert_eq!(entry.map(|entry| &entry.value[..]), Some(last.as_bytes()));
                let act = Act {
                    actor: writer,
                    session_epoch: 1,
                    id: view.token.0,
                    confirmed: 0,
                    result: Bytes::new(),
                };
                let result = Bytes::copy_from_slice(&view.token.0.to_be_bytes());
                let again = Commit::new(PartitionKey::player(PlayerId(writer)), Token(u64::MAX)).act(act);
                let said = store.call(StoreOp::Commit(again)).await;
                let repeated = Refusal::Repeated { token: view.token, result };
                assert_eq!(said, StoreAnswer::Committed(CommitOutcome::Refused(repeated)));
            }
            // The ledger has every commit that is there, once and in order, and none that isn't.
            let its: Vec<u64> =
                booked.iter().filter(|(by, _)| *by == writer).map(|(_, token)| *token).collect();
            let mut kept: Vec<u64> = view.docs.values().map(|doc| doc.cas.0).collect();
            kept.sort_unstable();
            assert!(its == kept, "round {round}: {} entries of {} commits", its.len(), kept.len());
            for (_, doc, token) in acknowledged.iter().filter(|(by, ..)| *by == writer) {
                let kept =
                    view.docs.get(doc.as_str()).unwrap_or_else(|| panic!("round {round}: {doc} is lost"));
                assert_eq!((kept.cas.0, &kept.value[..]), (*token, &token.to_be_bytes()[..]));
            }
        }
    }
}

/// Writers and tokens of everything in the ledger, whose numbers have no gaps.
async fn booked(store: &StoreHandle) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let mut last = LedgerCursor { shard: Shard(0), sequence: 0 };
    let mut after = None;
    loop {
        let page = store.ops().ledger_page(after, 1000).await.expect("a page");
        for entry in page.entries {
            let before = if entry.shard == last.shard { last.sequence } else { 0 };
            assert_eq!(entry.sequence, before + 1, "in {:?}", entry.shard);
            last = LedgerCursor { shard: entry.shard, sequence: entry.sequence };
            assert_eq!(entry.bytes, entry.token.0.to_be_bytes().to_vec());
            found.push((entry.token.0 >> 32 & 0xff, entry.token.0));
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return found,
        }
    }
}

/// Not a test: what the next one runs in a process that may not write large files.
#[test]
#[ignore = "run by the full-disk test in a process of its own"]
fn child_that_fills_its_disk() {
    let folder = std::env::var(CHILD_FOLDER).expect("run by the full-disk test");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let options = StoreOptions { call_wait_ms: 60_000, ..StoreOptions::default() };
        let store = StoreHandle::open_with(&StoreUrl::Embedded(folder.into()), options).await.unwrap();
        let value = Bytes::from(vec![7; 64 * 1024]);
        let mut kept = 0;
        let fault = loop {
            let commit =
                Commit::new(PartitionKey::player(PlayerId(kept)), Token(1)).put("doc", value.clone());
            match store.call(StoreOp::Commit(commit)).await {
                StoreAnswer::Committed(CommitOutcome::Done { .. }) => kept += 1,
                StoreAnswer::Failed(fault) => break fault,
                other => panic!("{other:?}"),
            }
            assert!(kept < 10_000, "the disk has no end");
        };
        assert!(matches!(fault, StoreFault::Full | StoreFault::TimedOut), "{fault:?}");
        assert!(kept > 10, "the disk is full after {kept}");
        // As long as it is full nothing is taken, and everything is read.
        let full = Instant::now();
        let mut refused = 0;
        // Each time that the file is opened again it is read as a whole, and all of it counts as changed.
        let opened = store.master_epoch(Shard(0));
        while full.elapsed() < Duration::from_secs(3) || refused < 10 {
            let commit =
                Commit::new(PartitionKey::player(PlayerId(kept)), Token(1)).put("doc", value.clone());
            let said = store.call(StoreOp::Commit(commit)).await;
            assert!(matches!(said, StoreAnswer::Failed(StoreFault::Full | StoreFault::TimedOut)), "{said:?}");
            refused += 1;
            assert_eq!(load(&store, PartitionKey::player(PlayerId(kept - 1))).await.doc("doc"), Some(&value));
        }
        let again = store.master_epoch(Shard(0));
        assert_eq!(again, opened, "it is opened again and again while there is no room");
        let deadline = Instant::now() + Duration::from_secs(30);
        for player in 0..kept {
            let op = StoreOp::Load { partition: PartitionKey::player(PlayerId(player)) };
            let view = loop {
                match store.call(op.clone()).await {
                    StoreAnswer::Loaded(view) => break view,
                    // The file is being opened again.
                    StoreAnswer::Failed(StoreFault::Away) => tokio::task::yield_now().await,
                    other => panic!("{other:?}"),
                }
                assert!(Instant::now() < deadline, "the store does not come back");
            };
            assert_eq!(view.doc("doc"), Some(&value), "player {player} of {kept}");
        }
        // Room again.
        let limit = rustix::process::Rlimit { current: None, maximum: None };
        rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
        loop {
            let commit =
                Commit::new(PartitionKey::player(PlayerId(kept)), Token(1)).put("doc", value.clone());
            match store.call(StoreOp::Commit(commit)).await {
                StoreAnswer::Committed(CommitOutcome::Done { .. }) => break,
                StoreAnswer::Failed(StoreFault::Full | StoreFault::TimedOut) => {}
                other => panic!("{other:?}"),
            }
            assert!(Instant::now() < deadline, "nothing is taken though there is room");
        }
        for player in 0..=kept {
            assert_eq!(load(&store, PartitionKey::player(PlayerId(player))).await.doc("doc"), Some(&value));
        }
    });
}

#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    // Writing past the limit then fails instead of ending the process.
    let child = Command::new("sh")
        .args(["-c", "ulimit -S -f 32768 && trap '' XFSZ && exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "embedded::child_that_fills_its_disk", "--ignored", "--nocapture"])
        .env(CHILD_FOLDER, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&child.stderr)
    );
}

/// Flips a bit of all values of a table that have these bytes in them, and leaves the file itself as it should be.
fn spoiled(folder: &std::path::Path, table: &str, mark: &[u8]) -> usize {
    let database = redb::Database::open(folder.join("store.redb")).expect("a sound file");
    let transaction = database.begin_write().expect("a sound file");
    let mut hit = 0;
    {
        let mut rows =
            transaction.open_table(redb::TableDefinition::<&[u8], &[u8]>::new(table)).expect("a sound file");
        let all: Vec<_> =
            redb::ReadableTable::iter(&rows).expect("a sound file").map(|row| row.expect("a row")).collect();
        let all: Vec<(Vec<u8>, Vec<u8>)> =
            all.into_iter().map(|(key, value)| (key.value().to_vec(), value.value().to_vec())).collect();
        for (key, mut value) in all {
            if let Some(at) = value.windows(mark.len()).position(|bytes| bytes == mark) {
                value[at] ^= 1;
                rows.insert(&key[..], &value[..]).expect("a sound file");
                hit += 1;
            }
        }
    }
    transaction.commit().expect("a sound file");
    hit
}

/// A flipped bit costs what it hit: pages of partitions, of the ledger and of an index name it and go on behind it,
/// however small they are.
#[tokio::test]
async fn pages_name_what_is_damaged_and_go_on_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    let hit = PlayerId(3);
    for player in 0..6u64 {
        let marked =
            |what: &str| if player == hit.0 { format!("to be hit: {what}") } else { what.to_owned() };
        let commit = Commit::new(PartitionKey::player(PlayerId(player)), Token(player + 1))
            .put("doc", marked("document").into_bytes())
            .ledger(marked("entry").into_bytes())
            .index_put("lots", format!("{player}"), marked("value"));
        let answer = store.call(StoreOp::Commit(commit)).await;
        assert!(matches!(answer, StoreAnswer::Committed(CommitOutcome::Done { .. })), "{answer:?}");
    }
    drop(store);
    for name in ["rows", "ledger", "index"] {
        assert!(spoiled(folder.path(), name, b"to be hit") > 0, "{name}");
    }

    let store = open(folder.path()).await.unwrap();
    for size in [1, 2, 3, 100] {
        let (mut partitions, mut damaged, mut after) = (0, Vec::new(), None);
        loop {
            let page = store.ops().partitions_page(after.as_ref(), size).await.unwrap();
            assert!(page.partitions.len() + page.damaged.len() <= size);
            partitions += page.partitions.len();
            damaged.extend(page.damaged);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!((partitions, damaged.len()), (5, 1), "{damaged:?}");
        assert_eq!(damaged[0].key, Some(PartitionKey::player(hit)));

        let (mut entries, mut damaged, mut after) = (0, Vec::new(), None);
        loop {
            let page = store.ops().ledger_page(after, size).await.unwrap();
            entries += page.entries.len();
            damaged.extend(page.damaged);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!((entries, damaged.len()), (5, 1), "{damaged:?}");
        assert_eq!(damaged[0].at.shard, PartitionKey::player(hit).shard());

        let (mut entries, mut damaged, mut after) = (0, Vec::new(), None);
        loop {
            let page = store.ops().index_page(&"lots".into(), after.as_ref(), size).await.unwrap();
            entries += page.entries.len();
            damaged.extend(page.damaged);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!((entries, damaged.len()), (5, 1), "{damaged:?}");
    }
}
