//! What each durability promises, on real servers: refused where it can't be kept, waited for where it can.

use std::time::{Duration, Instant};

use chunk_sync::ids::{PlayerId, WorldId};
use chunk_sync::store::{
    Act, Commit, CommitOutcome, Durability, PartitionKey, Refusal, RestoreError, StoreAnswer, StoreFault,
    StoreOp, Token,
};
use chunk_sync_io::store::{StoreHandle, StoreOptions, StoreUrl};

use crate::proxy::Proxy;
use crate::redis_faults::answered;
use crate::redis_server::RedisServer;

fn key() -> PartitionKey {
    PartitionKey::cluster(WorldId(1), "keys")
}

fn put(token: u64, durability: Durability) -> Commit {
    Commit::new(key(), Token(token)).put("doc", token.to_be_bytes().to_vec()).durability(durability)
}

/// For what is about whether it is done, on a machine that may be busy.
const PATIENT: StoreOptions =
    StoreOptions { lease_guard_ms: 0, call_wait_ms: 10_000, actor_idle_ms: chunk_sync::store::ACTOR_IDLE_MS };

fn is_done(answer: &StoreAnswer) -> bool {
    matches!(answer, StoreAnswer::Committed(CommitOutcome::Done { .. }))
}

fn url(server: &RedisServer, query: &str) -> StoreUrl {
    format!("redis://127.0.0.1:{}/0{query}", server.port()).parse().expect("a URL")
}

async fn token_on(server: &RedisServer) -> Option<String> {
    let name = format!("{{s{}}}:{}", key().shard().0, key());
    let recent: Option<String> = server.ask(&["HGET", &name, "t"]).await;
    recent.map(|recent| recent[..16].trim_start_matches('0').to_owned())
}

#[tokio::test]
async fn what_a_server_cannot_keep_is_refused_at_the_start() {
    let forgetful = RedisServer::start_with(&["--appendonly", "no"]);
    let sometimes = RedisServer::start_with(&["--appendfsync", "everysec"]);
    let waitaof: Vec<redis::Value> = sometimes.ask(&["COMMAND", "INFO", "WAITAOF"]).await;
    let newer = waitaof != [redis::Value::Nil];
    for (server, query, wanted) in [
        (&forgetful, "", Some("appendonly no")),
        (&forgetful, "?durability=persisted", Some("appendfsync always")),
        (&forgetful, "?durability=accepted", None),
        (&sometimes, "", if newer { None } else { Some("appendfsync not always") }),
        (&sometimes, "?durability=accepted", None),
        (&forgetful, "?durability=replicated&replicas=1", Some("replicas=1 is asked, 0 follow it")),
        (&sometimes, "?durability=accepted&replicas=2", Some("replicas=2 is asked, 0 follow it")),
    ] {
        match (StoreHandle::open(&url(server, query)).await, wanted) {
            (Ok(store), None) => {
                assert!(is_done(&store.call(StoreOp::Commit(put(1, Durability::Persisted))).await))
            }
            (Err(error), Some(wanted)) => {
                assert!(error.to_string().contains(wanted), "{query}: {error}");
                assert!(error.to_string().contains("redis://127.0.0.1"), "{error}");
            }
            (Ok(_), Some(wanted)) => panic!("{query}: opens, though {wanted}"),
            (Err(error), None) => panic!("{query}: {error}"),
        }
    }
}

/// Servers before 7.2 don't tell of their disk, and are refused where nothing else makes them keep what they answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_is_waited_for_where_the_server_tells_of_it() {
    let server = RedisServer::start_with(&["--appendfsync", "everysec"]);
    let known: Vec<redis::Value> = server.ask(&["COMMAND", "INFO", "WAITAOF"]).await;
    let opened = StoreHandle::open_with(&url(&server, ""), PATIENT).await;
    if known == [redis::Value::Nil] {
        return assert!(opened.is_err());
    }
    let store = opened.expect("opens");
    assert!(is_done(&store.call(StoreOp::Commit(put(1, Durability::Accepted))).await));
    assert_eq!(server.calls("waitaof").await, 0);
    let commits: Vec<_> = (0..100u64)
        .map(|player| {
            let store = store.clone();
            let commit = Commit::new(PartitionKey::player(PlayerId(player)), Token(1)).put("doc", "x");
            tokio::spawn(async move { store.call(StoreOp::Commit(commit)).await })
        })
        .collect();
    for commit in commits {
        assert!(is_done(&commit.await.unwrap()));
    }
    assert!((1..50).contains(&server.calls("waitaof").await));
    // Nothing is left to be written when the last one was answered.
    let info: String = server.ask(&["INFO", "persistence"]).await;
    assert!(info.contains("aof_pending_bio_fsync:0") && info.contains("aof_last_write_status:ok"), "{info}");
}

#[tokio::test]
async fn a_replica_is_waited_for_and_a_stale_one_not_believed() {
    let master = RedisServer::start_with(&[]);
    let replica = RedisServer::start_replica_of(&master);
    master.until_followed().await;
    let store = StoreHandle::open_with(&url(&master, "?replicas=1"), PATIENT).await.unwrap();
    for (token, durability) in [(1, Durability::Replicated), (2, Durability::Persisted)] {
        assert!(is_done(&store.call(StoreOp::Commit(put(token, durability))).await));
        assert_eq!(token_on(&replica).await, Some(token.to_string()), "it is there when it is acknowledged");
    }

    replica.signal("STOP");
    assert!(is_done(&store.call(StoreOp::Commit(put(3, Durability::Accepted))).await));
    let act = Act { actor: 7, session_epoch: 1, id: 1, confirmed: 0, result: "did".into() };
    let acting = put(4, Durability::Replicated).act(act.clone());
    let asked = Instant::now();
    let said = store.call(StoreOp::Commit(acting.clone())).await;
    assert_eq!(said, StoreAnswer::Failed(StoreFault::TimedOut), "it is done and not acknowledged");
    assert!(asked.elapsed() < Duration::from_secs(5));
    // Sent again, under its own token or another, it is as little acknowledged; a refusal needs no replica.
    let again = Commit { token: Token(5), ..acting.clone() };
    for resend in [acting.clone(), again.clone()] {
        let said = store.call(StoreOp::Commit(resend)).await;
        assert_eq!(said, StoreAnswer::Failed(StoreFault::TimedOut));
    }
    let refused = store.call(StoreOp::Commit(put(6, Durability::Replicated).absent("doc"))).await;
    assert!(matches!(refused, StoreAnswer::Committed(CommitOutcome::Refused(Refusal::Conflict { .. }))));
    // Reads are kept waiting by none of this.
    let asked = Instant::now();
    let StoreAnswer::Loaded(view) = store.call(StoreOp::Load { partition: key() }).await else { panic!() };
    assert!(view.token == Token(4) && asked.elapsed() < Duration::from_millis(900));

    replica.signal("CONT");
    assert!(is_done(&answered(&store, StoreOp::Commit(acting)).await));
    let repeated = Refusal::Repeated { token: Token(4), result: act.result };
    let said = answered(&store, StoreOp::Commit(again)).await;
    assert_eq!(said, StoreAnswer::Committed(CommitOutcome::Refused(repeated)));
    assert_eq!(token_on(&replica).await, Some("4".into()));
}

async fn is_on(server: &RedisServer, token: u64) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while token_on(server).await != Some(token.to_string()) {
        assert!(Instant::now() < deadline, "{token} is never there");
    }
}

/// While one commit waits for a replica that is slow, others are done beside it, and are safe as soon as it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_replica_keeps_no_commit_from_being_done() {
    let master = RedisServer::start_with(&[]);
    let replica = RedisServer::start_replica_of(&master);
    master.until_followed().await;
    let store = StoreHandle::open_with(&url(&master, "?replicas=1"), PATIENT).await.unwrap();
    replica.signal("STOP");
    let mut waiting: Vec<tokio::task::JoinHandle<StoreAnswer>> = Vec::new();
    for token in 1..=6 {
        let (store, commit) = (store.clone(), put(token, Durability::Persisted));
        waiting.push(tokio::spawn(async move { store.call(StoreOp::Commit(commit)).await }));
        is_on(&master, token).await;
        assert!(!waiting[0].is_finished(), "{token} had to wait for the first");
    }
    replica.signal("CONT");
    for commit in waiting {
        let said = commit.await.unwrap();
        assert!(is_done(&said), "{said:?}");
    }
}

/// A commit that no replica takes ends as unknown, and takes nothing with it: neither the connections nor others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_replica_costs_no_connection() {
    let master = RedisServer::start_with(&[]);
    let replica = RedisServer::start_replica_of(&master);
    master.until_followed().await;
    let store = StoreHandle::open(&url(&master, "?replicas=1")).await.unwrap();
    assert!(is_done(&store.call(StoreOp::Commit(put(1, Durability::Persisted))).await));
    // By their lines' first word, without the asker's own.
    let connections = async || -> Vec<String> {
        let list: String = master.ask(&["CLIENT", "LIST", "TYPE", "normal"]).await;
        let others = list.lines().filter(|line| !line.contains("cmd=client"));
        others.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    };
    let before = connections().await;
    assert_eq!(before.len(), chunk_sync_io::store::REDIS_CONNECTIONS_PER_MASTER);
    replica.signal("STOP");
    let mut waiting = Vec::new();
    for player in 0..12u64 {
        let partition = PartitionKey::player(PlayerId(player));
        let (asker, began) = (store.clone(), Instant::now());
        let commit = Commit::new(partition.clone(), Token(1)).put("doc", "x");
        waiting.push(tokio::spawn(async move {
            let said = asker.call(StoreOp::Commit(commit)).await;
            (said, began.elapsed())
        }));
        // Each begins while others are at every stage of their waiting; reads only pace it.
        let paced = Instant::now();
        while paced.elapsed() < Duration::from_millis(250) {
            let read = store.call(StoreOp::Load { partition: partition.clone() }).await;
            assert!(matches!(read, StoreAnswer::Loaded(_)), "{read:?}");
        }
    }
    for waited in waiting {
        let (said, took) = waited.await.unwrap();
        assert_eq!(said, StoreAnswer::Failed(StoreFault::TimedOut));
        assert!(took >= Duration::from_millis(1_400), "it was given up after {took:?}");
    }
    assert_eq!((connections().await, store.master_epoch(key().shard())), (before, 0));
    replica.signal("CONT");
    assert!(is_done(&answered(&store, StoreOp::Commit(put(2, Durability::Persisted))).await));
}

/// A server that stops in the middle of a wait answers it never: the connections are made anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_that_is_never_answered_ends() {
    let master = RedisServer::start_with(&[]);
    let replica = RedisServer::start_replica_of(&master);
    master.until_followed().await;
    let store = StoreHandle::open(&url(&master, "?replicas=1")).await.unwrap();
    replica.signal("STOP");
    let (waiting, commit) = (store.clone(), put(1, Durability::Persisted));
    let waiting = tokio::spawn(async move { waiting.call(StoreOp::Commit(commit)).await });
    is_on(&master, 1).await;
    master.signal("STOP");
    assert_eq!(waiting.await.unwrap(), StoreAnswer::Failed(StoreFault::TimedOut));
    // Long enough for the wait to count as lost.
    let hung = Instant::now();
    while hung.elapsed() < Duration::from_secs(6) {
        let said = store.call(StoreOp::Commit(put(2, Durability::Persisted))).await;
        assert!(matches!(said, StoreAnswer::Failed(StoreFault::TimedOut | StoreFault::Away)), "{said:?}");
        tokio::task::yield_now().await;
    }
    master.signal("CONT");
    replica.signal("CONT");
    assert!(is_done(&answered(&store, StoreOp::Commit(put(3, Durability::Persisted))).await));
    assert_eq!(token_on(&replica).await, Some("3".into()));
}

/// What a drain has read is there after any failover: the page waits for the replicas, whoever wrote it how.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_shows_only_what_is_safe() {
    let mut master = RedisServer::start_with(&[]);
    let replica = RedisServer::start_replica_of(&master);
    master.until_followed().await;
    let either = format!("redis://127.0.0.1:{},127.0.0.1:{}/0", master.port(), replica.port());
    let store = StoreHandle::open(&format!("{either}?replicas=1").parse().unwrap()).await.unwrap();
    let ops = store.ops();
    replica.signal("STOP");
    for token in 1..=3 {
        let commit = put(token, Durability::Accepted).ledger(format!("{token}"));
        assert!(is_done(&store.call(StoreOp::Commit(commit)).await));
    }
    assert_eq!(ops.ledger_page(None, 10).await, Err(StoreFault::TimedOut));
    replica.signal("CONT");
    let deadline = Instant::now() + Duration::from_secs(30);
    let read = loop {
        match ops.ledger_page(None, 10).await {
            Ok(page) => break page.entries,
            Err(fault) => assert!(Instant::now() < deadline, "{fault}"),
        }
    };
    master.kill();
    replica.run(&["REPLICAOF", "NO", "ONE"]).await;
    let promoted = StoreHandle::open(&url(&replica, "")).await.unwrap();
    assert_eq!(promoted.ops().ledger_page(None, 10).await.unwrap().entries, read);
    assert_eq!(read.len(), 3);
    // The numbers go on there, also after everything was drained.
    promoted.ops().ledger_trim(key().shard(), 3).await.unwrap();
    assert!(is_done(&promoted.call(StoreOp::Commit(put(4, Durability::Accepted).ledger("4"))).await));
    assert_eq!(promoted.ops().ledger_page(None, 10).await.unwrap().entries[0].sequence, 4);
}

/// A full master with replicas: nothing is taken, and the ledger gets out of it, which is what makes room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_of_a_full_server_can_be_drained() {
    let master = RedisServer::start_with(&[]);
    let replica = RedisServer::start_replica_of(&master);
    master.until_followed().await;
    let store = StoreHandle::open_with(&url(&master, "?replicas=1"), PATIENT).await.unwrap();
    for token in 1..=3 {
        let commit = put(token, Durability::Persisted).ledger(format!("{token}"));
        assert!(is_done(&store.call(StoreOp::Commit(commit)).await));
    }
    master.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let full = store.call(StoreOp::Commit(put(4, Durability::Persisted))).await;
    assert_eq!(full, StoreAnswer::Failed(StoreFault::Full));
    let ops = store.ops();
    assert_eq!(ops.ledger_page(None, 10).await.expect("a page").entries.len(), 3);
    ops.ledger_trim(key().shard(), 3).await.expect("trimmed");
    assert_eq!(ops.ledger_page(None, 10).await.expect("a page").entries, []);
    // It is still the replica that is waited for.
    replica.signal("STOP");
    master.run(&["CONFIG", "SET", "maxmemory", "0"]).await;
    let commit = put(4, Durability::Accepted).ledger("4");
    assert!(is_done(&store.call(StoreOp::Commit(commit)).await));
    master.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_eq!(ops.ledger_page(None, 10).await, Err(StoreFault::TimedOut));
    replica.signal("CONT");
}

/// Also an import that finds a partition there, perhaps from its own first try, says so only once it is safe.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_is_there_is_one_that_is_safe() {
    let (from, master) = (RedisServer::start(), RedisServer::start_with(&[]));
    let source = StoreHandle::open(&from.url()).await.unwrap();
    assert!(is_done(&source.call(StoreOp::Commit(put(1, Durability::Persisted))).await));
    let raw = source.ops().partitions_page(None, 10).await.unwrap().partitions.remove(0);
    let replica = RedisServer::start_replica_of(&master);
    master.until_followed().await;
    let store = StoreHandle::open_with(&url(&master, "?replicas=1"), PATIENT).await.unwrap();
    replica.signal("STOP");
    for _ in 0..2 {
        let said = store.ops().restore_partition(&raw).await;
        assert_eq!(said, Err(RestoreError::Store(StoreFault::TimedOut)));
    }
    replica.signal("CONT");
    let deadline = Instant::now() + Duration::from_secs(30);
    while store.ops().restore_partition(&raw).await != Err(RestoreError::Present { key: key() }) {
        assert!(Instant::now() < deadline, "never safe");
    }
    assert_eq!(token_on(&replica).await, Some("1".into()));
}

/// A way of two seconds to a master whose replica is waited for: the commit and the wait both fit into one call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_of_a_slow_master_are_waited_for() {
    let master = RedisServer::start_with(&[]);
    let replica = RedisServer::start_replica_of(&master);
    master.until_followed().await;
    let way = Proxy::to(master.port()).await;
    let slow = format!("redis://127.0.0.1:{}/0?replicas=1", way.port());
    let store = StoreHandle::open(&slow.parse().unwrap()).await.unwrap();
    let before = way.accepted();
    way.slow(2_000);
    for token in 1..=2 {
        assert!(is_done(&store.call(StoreOp::Commit(put(token, Durability::Persisted))).await));
        assert_eq!(token_on(&replica).await, Some(token.to_string()));
    }
    assert_eq!(way.accepted(), before, "a slow server loses no connection");
}

/// Both ends are asked again after the connection was made anew: the first try's write lies before it.
#[tokio::test]
async fn a_resend_over_a_new_connection_waits_for_the_first_try() {
    let master = RedisServer::start_with(&[]);
    let replica = RedisServer::start_replica_of(&master);
    master.until_followed().await;
    let first = StoreHandle::open_with(&url(&master, "?replicas=1"), PATIENT).await.unwrap();
    let second = StoreHandle::open_with(&url(&master, "?replicas=1"), PATIENT).await.unwrap();
    replica.signal("STOP");
    let commit = put(1, Durability::Replicated);
    for store in [&first, &second] {
        let said = store.call(StoreOp::Commit(commit.clone())).await;
        assert_eq!(said, StoreAnswer::Failed(StoreFault::TimedOut));
    }
    replica.signal("CONT");
    assert!(is_done(&answered(&second, StoreOp::Commit(commit)).await));
    assert_eq!(token_on(&replica).await, Some("1".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_commits_share_one_wait() {
    let master = RedisServer::start_with(&[]);
    let replica = RedisServer::start_replica_of(&master);
    master.until_followed().await;
    let store = StoreHandle::open_with(&url(&master, "?replicas=1"), PATIENT).await.unwrap();
    let commits: Vec<_> = (0..512u64)
        .map(|player| {
            let store = store.clone();
            let commit = Commit::new(PartitionKey::player(PlayerId(player)), Token(1)).put("doc", "x");
            tokio::spawn(async move { store.call(StoreOp::Commit(commit)).await })
        })
        .collect();
    for commit in commits {
        assert!(is_done(&commit.await.unwrap()));
    }
    let waits = master.calls("wait").await + master.calls("waitaof").await;
    assert!((1..256).contains(&waits), "{waits} waits for 512 commits");
    let kept: u64 = replica.ask(&["DBSIZE"]).await;
    assert_eq!(kept, 512);
}

#[tokio::test]
async fn a_handle_has_few_connections_whatever_its_load() {
    let master = RedisServer::start_with(&[]);
    let replica = RedisServer::start_replica_of(&master);
    master.until_followed().await;
    let connected = async |server: &RedisServer| -> usize {
        let list: String = server.ask(&["CLIENT", "LIST", "TYPE", "normal"]).await;
        list.lines().count() - 1
    };
    let store = StoreHandle::open_with(&url(&master, "?replicas=1"), PATIENT).await.unwrap();
    let calls: Vec<_> = (0..200u64)
        .map(|player| {
            let store = store.clone();
            let commit = Commit::new(PartitionKey::player(PlayerId(player)), Token(1)).put("doc", "x");
            tokio::spawn(async move {
                store.ops().index_entries(&"lots".into()).await.expect("a count");
                store.call(StoreOp::Commit(commit)).await
            })
        })
        .collect();
    for call in calls {
        assert!(is_done(&call.await.unwrap()));
    }
    let most = chunk_sync_io::store::REDIS_CONNECTIONS_PER_MASTER;
    assert_eq!((connected(&master).await, connected(&replica).await), (most, 1));
}

/// What is not waited for comes before what is, from the same batch.
#[tokio::test]
async fn the_embedded_store_answers_what_is_accepted_before_it_writes() {
    let folder = tempfile::tempdir().unwrap();
    let store = StoreHandle::open(&StoreUrl::Embedded(folder.path().into())).await.unwrap();
    let (mut first, rounds) = (0, 100u64);
    for round in 1..=rounds {
        let at = async |durability: Durability, player: u64| {
            let partition = PartitionKey::player(PlayerId(player));
            let commit =
                Commit::new(partition, Token(round)).put("doc", vec![7; 4096]).durability(durability);
            assert!(is_done(&store.call(StoreOp::Commit(commit)).await));
            Instant::now()
        };
        // The first keeps the store's thread busy while the others get into one batch.
        let (_, written, accepted) = tokio::join!(
            at(Durability::Persisted, 1),
            at(Durability::Persisted, 2),
            at(Durability::Accepted, 3)
        );
        first += u64::from(accepted < written);
    }
    // Without an early answer it would never be first: the one that is written is looked at before it.
    assert!(first > 0, "never in {rounds} rounds");
}
