//! What only Redis can do to us: be away, slow, full, restarted, wiped.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chunk_sync::ids::WorldId;
use chunk_sync::store::{Commit, CommitOutcome, PartitionKey, StoreAnswer, StoreFault, StoreOp, Token};
use chunk_sync_io::store::{OpenError, StoreHandle, StoreOptions};

use crate::proxy::Proxy;
use crate::redis_server::RedisServer;

fn key() -> PartitionKey {
    PartitionKey::cluster(WorldId(1), "keys")
}

fn load() -> StoreOp {
    StoreOp::Load { partition: key() }
}

fn put(token: u64) -> StoreOp {
    StoreOp::Commit(Commit::new(key(), Token(token)).put("doc", token.to_be_bytes().to_vec()).event("put"))
}

fn done(answer: &StoreAnswer) -> bool {
    matches!(answer, StoreAnswer::Committed(CommitOutcome::Done { .. }))
}

/// Asks until it is answered, as a caller that waits for the store to come back does.
pub(crate) async fn answered(store: &StoreHandle, op: StoreOp) -> StoreAnswer {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match store.call(op.clone()).await {
            StoreAnswer::Failed(StoreFault::Away | StoreFault::TimedOut) => {
                assert!(Instant::now() < deadline, "the store does not come back");
                // Only paces the asking.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            answer => return answer,
        }
    }
}

#[tokio::test]
async fn over_tcp_and_in_another_database() {
    let server = RedisServer::start_with_tcp();
    let store = StoreHandle::open(&server.tcp_url()).await.unwrap();
    assert!(done(&store.call(put(1)).await));
    let other = StoreHandle::open(&server.url()).await.unwrap();
    let StoreAnswer::Loaded(view) = other.call(load()).await else { panic!() };
    assert_eq!(view.token, Token::NONE, "database 0 is another store than database 3");
}

#[tokio::test]
async fn nobody_there_is_said_clearly() {
    let mut server = RedisServer::start_with_tcp();
    server.kill();
    for url in [server.url(), server.tcp_url()] {
        let error = StoreHandle::open(&url).await.err().expect("is refused");
        assert!(matches!(error, OpenError::Redis { .. }), "{error:?}");
        assert!(error.to_string().contains("redis://"), "{error}");
    }
}

#[tokio::test]
async fn a_restart_is_waited_for_and_loses_nothing() {
    let mut server = RedisServer::start();
    let store = StoreHandle::open(&server.url()).await.unwrap();
    for round in 1..=3 {
        assert!(done(&answered(&store, put(round)).await));
        server.kill();
        let asked = Instant::now();
        let StoreAnswer::Failed(fault) = store.call(put(100 + round)).await else {
            panic!("nobody is there")
        };
        assert!(matches!(fault, StoreFault::Away | StoreFault::TimedOut), "{fault:?}");
        assert!(asked.elapsed() < Duration::from_secs(5), "an answer comes in time");
        server.restart();
        let StoreAnswer::Loaded(view) = answered(&store, load()).await else { panic!("not loaded") };
        let kept = round.to_be_bytes();
        assert_eq!((view.token, view.doc("doc")), (Token(round), Some(&Bytes::copy_from_slice(&kept))));
    }
}

#[tokio::test]
async fn a_server_that_hangs_costs_one_wait_and_is_found_again() {
    let server = RedisServer::start();
    let options = StoreOptions { call_wait_ms: 200, ..StoreOptions::default() };
    let store = StoreHandle::open_with(&server.url(), options).await.unwrap();
    assert!(done(&answered(&store, put(1)).await));
    server.signal("STOP");
    let asked = Instant::now();
    assert_eq!(store.call(put(2)).await, StoreAnswer::Failed(StoreFault::TimedOut));
    assert!(asked.elapsed() < Duration::from_secs(2));
    server.signal("CONT");
    // The outcome was unknown; sent again with its token it is done once, whichever it was.
    assert!(done(&answered(&store, put(2)).await));
    let StoreOp::Commit(second) = put(2) else { unreachable!() };
    let tail = StoreOp::Tail { partition: second.partition, after: Token(1) };
    let StoreAnswer::Tailed(chunk_sync::store::Tail::Events(logged)) = answered(&store, tail).await else {
        panic!("the log is whole")
    };
    assert_eq!(logged.len(), 1, "{logged:?}");
}

#[tokio::test]
async fn a_full_server_is_full_and_still_read() {
    let server = RedisServer::start();
    let store = StoreHandle::open(&server.url()).await.unwrap();
    assert!(done(&store.call(put(1)).await));
    server.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_eq!(store.call(put(2)).await, StoreAnswer::Failed(StoreFault::Full));
    let StoreAnswer::Loaded(view) = store.call(load()).await else { panic!("reads still work") };
    assert_eq!(view.token, Token(1));
    let tail = StoreOp::Tail { partition: key(), after: Token::NONE };
    assert!(matches!(store.call(tail).await, StoreAnswer::Tailed(_)));
    server.run(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert!(done(&store.call(put(2)).await));
}

/// Whoever has to connect to a full server anew reads it as before, and is told that it is full.
#[tokio::test]
async fn a_full_server_is_connected_to_again() {
    let server = RedisServer::start();
    let store = StoreHandle::open(&server.url()).await.unwrap();
    assert!(done(&store.call(put(1)).await));
    server.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    server.run(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    let StoreAnswer::Loaded(view) = answered(&store, load()).await else { panic!("is not read") };
    assert_eq!(view.token, Token(1));
    assert_eq!(answered(&store, put(2)).await, StoreAnswer::Failed(StoreFault::Full));
    let another = StoreHandle::open(&server.url()).await.expect("opens, as the functions are there");
    assert!(matches!(another.call(load()).await, StoreAnswer::Loaded(_)));
    server.run(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert!(done(&store.call(put(2)).await));
}

/// A server that throws away what it has when its memory is full is not one to keep anything on.
#[tokio::test]
async fn a_server_that_evicts_is_refused_at_the_start_and_later() {
    let server = RedisServer::start_with(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let error = StoreHandle::open(&server.url()).await.err().expect("is refused").to_string();
    assert!(error.contains("maxmemory-policy allkeys-lru") && error.contains("noeviction"), "{error}");
    // What looks only at keys that expire leaves ours alone.
    server.run(&["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]).await;
    let store = StoreHandle::open(&server.url()).await.unwrap();
    assert!(done(&store.call(put(1)).await));
    server.run(&["CONFIG", "SET", "maxmemory-policy", "allkeys-random"]).await;
    server.run(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    let away = Instant::now();
    while away.elapsed() < Duration::from_secs(2) {
        let said = store.call(put(2)).await;
        assert!(matches!(said, StoreAnswer::Failed(StoreFault::Away | StoreFault::TimedOut)), "{said:?}");
        tokio::task::yield_now().await;
    }
    server.run(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    assert!(done(&answered(&store, put(2)).await));
}

/// Two and a half seconds on the way are slow, and nothing else: everything is done, over the connections that there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_server_is_waited_for() {
    let server = RedisServer::start_with_tcp();
    let way = Proxy::to(server.port()).await;
    let url = format!("redis://127.0.0.1:{}/3", way.port());
    let store = StoreHandle::open(&url.parse().unwrap()).await.unwrap();
    assert!(done(&store.call(put(1)).await));
    let before = way.accepted();
    way.slow(2_500);
    for token in 2..=4 {
        let (load, commit) = tokio::join!(store.call(load()), store.call(put(token)));
        assert!(matches!(load, StoreAnswer::Loaded(_)) && done(&commit), "{load:?} {commit:?}");
    }
    assert_eq!(way.accepted(), before, "a slow server loses no connection");
    // Also whoever connects to it anew.
    server.run(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    assert!(done(&answered(&store, put(5)).await));
    way.slow(0);
    assert!(done(&store.call(put(6)).await));
}

#[tokio::test]
async fn lost_functions_are_loaded_again() {
    let server = RedisServer::start();
    let store = StoreHandle::open(&server.url()).await.unwrap();
    server.run(&["FUNCTION", "FLUSH"]).await;
    assert_eq!(store.call(put(1)).await, StoreAnswer::Failed(StoreFault::Away));
    assert!(done(&answered(&store, put(1)).await));
}

#[tokio::test]
async fn a_foreign_value_under_our_key_is_reported_and_not_served() {
    let server = RedisServer::start();
    let store = StoreHandle::open(&server.url()).await.unwrap();
    assert!(done(&store.call(put(1)).await));
    let name = format!("{{s{}}}:{}", key().shard().0, key());
    server.run(&["HSET", &name, "d:doc", "short"]).await;
    let StoreAnswer::Failed(StoreFault::Broken { text }) = store.call(load()).await else { panic!("served") };
    assert!(text.contains("w1/cluster/keys"), "{text}");
    server.run(&["SET", &name, "not a hash"]).await;
    for op in [load(), put(2)] {
        let said = store.call(op).await;
        assert!(matches!(said, StoreAnswer::Failed(StoreFault::Broken { .. })), "{said:?}");
    }
}

/// The server writes its log anew from what it has in memory: an empty stream has to keep its last number there.
#[tokio::test]
async fn numbers_of_the_ledger_outlive_a_rewritten_log() {
    let mut server = RedisServer::start();
    let store = StoreHandle::open(&server.url()).await.unwrap();
    let booked = |token: u64| StoreOp::Commit(Commit::new(key(), Token(token)).ledger("said"));
    for token in 1..=5 {
        assert!(done(&store.call(booked(token)).await));
    }
    store.ops().ledger_trim(key().shard(), 5).await.unwrap();
    server.run(&["BGREWRITEAOF"]).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let info: String = server.ask(&["INFO", "persistence"]).await;
        let field = |line: &str| info.lines().any(|known| known == line);
        if field("aof_rewrite_in_progress:0") && !field("aof_last_rewrite_time_sec:-1") {
            break;
        }
        assert!(Instant::now() < deadline, "never rewritten: {info}");
    }
    server.kill();
    server.restart();
    assert!(done(&answered(&store, booked(6)).await));
    let page = store.ops().ledger_page(None, 10).await.unwrap();
    assert_eq!(page.entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [6]);
}

/// What lies under a key of ours and isn't ours is said by its key, and not listed; what is behind it is.
#[tokio::test]
async fn a_foreign_value_among_whole_partitions_is_reported() {
    let server = RedisServer::start();
    let store = StoreHandle::open(&server.url()).await.unwrap();
    assert!(done(&store.call(put(1)).await));
    server.run(&["SET", "{s1}:w1/player/1", "another shard's"]).await;
    server.run(&["SET", "something else", "x"]).await;
    assert_eq!(store.ops().partitions_page(None, 10).await.unwrap().partitions.len(), 1);
    let name = format!("{{s{}}}:actors:{}", key().shard().0, key());
    server.run(&["HSET", &name, "0000000000000001", "short"]).await;
    let behind = Commit::new(chunk_sync::store::PartitionKey::player(chunk_sync::ids::PlayerId(1)), Token(2));
    assert!(done(&store.call(StoreOp::Commit(behind.put("a", "1").ledger("sound"))).await));
    let page = store.ops().partitions_page(None, 10).await.unwrap();
    assert_eq!((page.partitions.len(), page.damaged.len()), (1, 1), "{page:?}");
    assert_eq!(page.damaged[0].key, Some(key()));
    assert!(page.damaged[0].to_string().contains("w1/cluster/keys"), "{page:?}");
    let one_by_one = store.ops().partitions_page(None, 1).await.unwrap();
    let rest = store.ops().partitions_page(one_by_one.next.as_ref(), 1).await.unwrap();
    assert_eq!((one_by_one.partitions.len() + rest.partitions.len(), rest.next), (1, None));
    let ledger = format!("{{s{}}}:ledger", key().shard().0);
    server.run(&["XADD", &ledger, "0-*", "e", "short"]).await;
    let page = store.ops().ledger_page(None, 10).await.unwrap();
    assert_eq!((page.entries.len(), page.damaged.len(), page.next), (1, 1, None), "{page:?}");
    assert_eq!((page.damaged[0].at.shard, &page.damaged[0].raw[..]), (key().shard(), &b"short"[..]));
}
