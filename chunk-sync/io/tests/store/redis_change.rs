//! Changes of master, on real servers: promoted by hand, by Sentinel, by a cluster; each noticed and survived.

use std::time::{Duration, Instant};

use chunk_sync::ids::{PlayerId, WorldId};
use chunk_sync::store::{
    Commit, CommitOutcome, Durability, LEASE_TTL_MAX_MS, LeaseStep, LedgerCursor, PartitionKey, Refusal,
    Shard, StoreAnswer, StoreFault, StoreOp, Tail, Token,
};
use chunk_sync_io::store::{StoreHandle, StoreOptions, StoreUrl};

use crate::proxy::Proxy;
use crate::redis_faults::answered;
use crate::redis_server::{RedisServer, free_port};

fn key() -> PartitionKey {
    PartitionKey::cluster(WorldId(1), "keys")
}

fn put(token: u64) -> StoreOp {
    StoreOp::Commit(Commit::new(key(), Token(token)).put("doc", token.to_be_bytes().to_vec()))
}

fn is_done(answer: &StoreAnswer) -> bool {
    matches!(answer, StoreAnswer::Committed(CommitOutcome::Done { .. }))
}

async fn token(store: &StoreHandle) -> Token {
    match answered(store, StoreOp::Load { partition: key() }).await {
        StoreAnswer::Loaded(view) => view.token,
        other => panic!("{other:?}"),
    }
}

fn either(a: &RedisServer, b: &RedisServer, query: &str) -> StoreUrl {
    format!("redis://127.0.0.1:{},127.0.0.1:{}/0{query}", a.port(), b.port()).parse().expect("a URL")
}

/// A master and a replica that has caught up.
async fn pair() -> (RedisServer, RedisServer) {
    let master = RedisServer::start_with(&[]);
    let replica = RedisServer::start_replica_of(&master);
    master.until_followed().await;
    // Its master calls it online as soon as everything is on its way to it.
    replica.until("master_link_status", "up").await;
    (master, replica)
}

/// Waits until a replica has heard everything that its master has done.
async fn hears_everything(replica: &RedisServer, master: &RedisServer) {
    let offset = async |server: &RedisServer, name: &str| -> u64 {
        let info: String = server.ask(&["INFO", "replication"]).await;
        let said = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.parse().ok());
        said.expect("an offset")
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    let done = offset(master, "master_repl_offset").await;
    // A master that has nothing to say says even that every few seconds.
    while offset(replica, "slave_repl_offset").await < done {
        assert!(Instant::now() < deadline, "never hears {done}");
        // Only paces the asking.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The replica becomes the master by hand when it has heard everything, and its master follows it.
async fn change_places(master: &RedisServer, replica: &RedisServer) {
    hears_everything(replica, master).await;
    replica.run(&["REPLICAOF", "NO", "ONE"]).await;
    master.run(&["REPLICAOF", "127.0.0.1", &replica.port().to_string()]).await;
}

#[tokio::test]
async fn a_promoted_replica_has_what_was_acknowledged_and_is_noticed() {
    let (mut master, replica) = pair().await;
    let store = StoreHandle::open(&either(&master, &replica, "?replicas=1")).await.unwrap();
    let mut changes = store.master_changes();
    for token in 1..=50 {
        assert!(is_done(&store.call(put(token)).await));
    }
    assert_eq!((store.master_epoch(key().shard()), changes.has_changed().unwrap()), (0, false));
    master.kill();
    let StoreAnswer::Failed(StoreFault::Away | StoreFault::TimedOut) = store.call(put(51)).await else {
        panic!("nobody is there")
    };
    replica.run(&["REPLICAOF", "NO", "ONE"]).await;
    // As long as it has no replica of its own, what is asked can't be kept and nothing is taken.
    master.restart_with(&["--replicaof", "127.0.0.1", &replica.port().to_string()]);
    assert_eq!(token(&store).await, Token(50), "all that was acknowledged, and no more");
    changes.changed().await.unwrap();
    assert_eq!((store.master_epoch(key().shard()), store.master_epoch(Shard(0))), (1, 1));
    assert!(is_done(&answered(&store, put(52)).await));
}

/// Whether the store has noticed already, as it does within a second or so: on a busy machine before it is called.
fn finds_out_by_itself(store: &StoreHandle) -> bool {
    store.master_epoch(key().shard()) > 0
}

#[tokio::test]
async fn a_demoted_master_is_left_for_its_successor() {
    let (master, replica) = pair().await;
    let store = StoreHandle::open(&either(&replica, &master, "")).await.unwrap();
    assert!(is_done(&store.call(put(1)).await));
    change_places(&master, &replica).await;
    if !finds_out_by_itself(&store) {
        let refused = store.call(put(2)).await;
        assert_eq!(
            refused,
            StoreAnswer::Failed(StoreFault::Away),
            "it says that it is no master and did nothing"
        );
    }
    assert!(is_done(&answered(&store, put(2)).await));
    assert_eq!(store.master_epoch(key().shard()), 1);
    master.until("master_link_status", "up").await;
}

/// Demoted by hand, a server keeps its connections and goes on answering: who only reads notices it too.
#[tokio::test]
async fn a_demoted_master_is_not_read() {
    let (master, replica) = pair().await;
    let store = StoreHandle::open(&either(&replica, &master, "")).await.unwrap();
    assert!(is_done(&store.call(put(1)).await));
    change_places(&master, &replica).await;
    if !finds_out_by_itself(&store) {
        let said = store.call(StoreOp::Load { partition: key() }).await;
        assert_eq!(said, StoreAnswer::Failed(StoreFault::Away), "it is no master any more");
    }
    assert_eq!(token(&store).await, Token(1));
    assert_eq!(store.master_epoch(key().shard()), 1);
}

/// There and back again, without a restart and without a call in between: what the other one took meanwhile, or what
/// was lost on the way, is not what is in memory.
#[tokio::test]
async fn a_master_that_was_a_replica_for_a_while_is_another_one() {
    let (master, replica) = pair().await;
    let store = StoreHandle::open(&either(&master, &replica, "")).await.unwrap();
    assert!(is_done(&store.call(put(1)).await));
    let mut changes = store.master_changes();
    change_places(&master, &replica).await;
    master.until("master_link_status", "up").await;
    change_places(&replica, &master).await;
    tokio::time::timeout(Duration::from_secs(30), changes.changed()).await.expect("is noticed").unwrap();
    assert!(store.master_epoch(key().shard()) >= 1);
    assert_eq!(token(&store).await, Token(1));
}

/// A replica that had not heard of the newest commits takes over: what it has is served, whoever holds more in memory is
/// told, and what is sent again is done once.
#[tokio::test]
async fn a_replica_that_is_behind_takes_over_with_what_it_has() {
    let (mut master, replica) = pair().await;
    let store = StoreHandle::open(&either(&master, &replica, "?replicas=1")).await.unwrap();
    let commit = |token: u64| Commit::new(key(), Token(token)).put(format!("{token}"), "x").event("put");
    assert!(is_done(&store.call(StoreOp::Commit(commit(1))).await));
    replica.signal("STOP");
    // Or what is on its way to the replica would be read when it goes on.
    master.run(&["CLIENT", "KILL", "TYPE", "replica"]).await;
    assert!(is_done(&store.call(StoreOp::Commit(commit(2).durability(Durability::Accepted))).await));
    let unknown = store.call(StoreOp::Commit(commit(3))).await;
    assert_eq!(unknown, StoreAnswer::Failed(StoreFault::TimedOut));
    assert_eq!(token(&store).await, Token(3), "what is read may be ahead of what is safe");
    let mut changes = store.master_changes();
    let before = store.master_epoch(key().shard());

    master.kill();
    replica.signal("CONT");
    replica.run(&["REPLICAOF", "NO", "ONE"]).await;
    master.restart_with(&["--replicaof", "127.0.0.1", &replica.port().to_string()]);
    assert_eq!(token(&store).await, Token(1), "the older state, as nothing more was acknowledged as safe");
    changes.changed().await.unwrap();
    assert!(store.master_epoch(key().shard()) > before);
    for _ in 0..2 {
        let said = answered(&store, StoreOp::Commit(commit(3))).await;
        let StoreAnswer::Committed(CommitOutcome::Done { token, previous, .. }) = said else {
            panic!("{said:?}")
        };
        assert_eq!((token, previous), (Token(3), Token(1)));
    }
    let tail = StoreOp::Tail { partition: key(), after: Token(1) };
    let StoreAnswer::Tailed(Tail::Events(logged)) = answered(&store, tail).await else {
        panic!("the log is whole")
    };
    assert_eq!(logged.iter().map(|logged| logged.token).collect::<Vec<_>>(), [Token(3)]);
    let StoreAnswer::Loaded(view) = answered(&store, StoreOp::Load { partition: key() }).await else {
        panic!()
    };
    assert_eq!(view.docs.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["1", "3"]);
}

/// A page of the ledger that was read of one master while another one took over: it is not for the new one to say that it
/// is safe, as it may never have heard of what is in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_the_ledger_is_safe_where_it_was_read() {
    let (old, new) = pair().await;
    let its_replica = RedisServer::start_replica_of(&new);
    new.until_followed().await;
    let way = Proxy::to(old.port()).await;
    let url = format!("redis://127.0.0.1:{},127.0.0.1:{}/0?replicas=1", way.port(), new.port());
    let store = StoreHandle::open(&url.parse().unwrap()).await.unwrap();
    // Both of what is waited for and of what isn't.
    assert!(is_done(&store.call(put(1)).await));
    new.run(&["REPLICAOF", "NO", "ONE"]).await;
    // Among the last shards, so that the page is read in few steps.
    let mut players = (0..).map(|player| PartitionKey::player(PlayerId(player)));
    let late = players.find(|key| key.shard() >= Shard(3_900)).expect("there is one");
    let before = LedgerCursor { shard: Shard(late.shard().0 - 1), sequence: 0 };
    let booked = Commit::new(late, Token(2)).ledger("lost").durability(Durability::Accepted);
    assert!(is_done(&store.call(StoreOp::Commit(booked)).await));

    way.slow(2_500);
    way.refuse();
    let ops = store.ops();
    let reading = tokio::spawn(async move { ops.ledger_page(Some(before), 10).await });
    let deadline = Instant::now() + Duration::from_secs(30);
    while old.calls("xrange").await == 0 {
        assert!(Instant::now() < deadline, "nobody reads");
    }
    // The answer is under way over one connection, and the others are lost, which whoever commits finds out.
    let list: String = old.ask(&["CLIENT", "LIST", "TYPE", "normal"]).await;
    for line in list
        .lines()
        .filter(|line| !["role", "info", "xrange"].iter().any(|cmd| line.contains(&format!("cmd={cmd} "))))
    {
        let id = line.split(' ').find_map(|field| field.strip_prefix("id=")).expect("has an id");
        old.run(&["CLIENT", "KILL", "ID", id]).await;
    }
    assert!(is_done(&answered(&store, put(3)).await));
    assert_eq!(store.master_epoch(key().shard()), 1);
    let page = reading.await.unwrap().expect("a page");
    assert_eq!(page.entries, [], "what the new master never heard of is not safe");
    drop(its_replica);
}

/// A Sentinel that was cut off names an old master; the next one knows better.
#[tokio::test]
async fn the_next_sentinel_is_asked_when_the_named_master_is_none() {
    let (master, replica) = pair().await;
    let nobody = free_port().to_string();
    let sentinel = |port: &str| RedisServer::start_sentinel("main", port);
    let (of_nobody, of_replica) = (sentinel(&nobody), sentinel(&replica.port().to_string()));
    let right = sentinel(&master.port().to_string());
    for wrong in [&of_nobody, &of_replica] {
        let url = format!("redis-sentinel://127.0.0.1:{},127.0.0.1:{}/main/0", wrong.port(), right.port());
        let store = StoreHandle::open(&url.parse().unwrap()).await.expect("the second one tells");
        assert!(matches!(store.call(StoreOp::Load { partition: key() }).await, StoreAnswer::Loaded(_)));
    }
}

#[tokio::test]
async fn of_two_masters_neither_is_believed() {
    let (one, other) = (RedisServer::start_with(&[]), RedisServer::start_with(&[]));
    let error = StoreHandle::open(&either(&one, &other, "")).await.err().expect("is refused").to_string();
    assert!(error.contains("both") && error.contains("say that they are the master"), "{error}");
    let (master, replica) = pair().await;
    drop((master, one));
    let error =
        StoreHandle::open(&either(&replica, &replica, "")).await.err().expect("is refused").to_string();
    assert!(error.contains("no master among them") && error.contains("is a replica"), "{error}");
}

#[tokio::test]
async fn a_promoted_master_gives_every_holder_a_lease_to_come_back() {
    let (mut master, replica) = pair().await;
    let options = StoreOptions { lease_guard_ms: 1_500, ..StoreOptions::default() };
    let store = StoreHandle::open_with(&either(&master, &replica, ""), options).await.unwrap();
    let lease = |token: u64, holder: u64, ttl_ms: u64| {
        let step = LeaseStep::Take { name: "node".into(), holder, ttl_ms };
        StoreOp::Commit(Commit::new(key(), Token(token)).lease(step))
    };
    assert!(is_done(&store.call(lease(1, 7, 0)).await));
    // Both servers have served for longer than the guard: its own start is no reason to wait any more.
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_done(&store.call(lease(2, 8, 0)).await) {
        assert!(Instant::now() < deadline, "never old enough");
    }
    hears_everything(&replica, &master).await;
    master.kill();
    replica.run(&["REPLICAOF", "NO", "ONE"]).await;
    let said = answered(&store, lease(3, 7, 0)).await;
    assert_eq!(said, StoreAnswer::Committed(CommitOutcome::Refused(Refusal::StoreYoung)));
    assert!(is_done(&store.call(lease(4, 8, 0)).await), "the holder comes back");
    while !is_done(&answered(&store, lease(5, 7, LEASE_TTL_MAX_MS)).await) {
        assert!(Instant::now() < deadline, "never old enough again");
    }
}

#[tokio::test]
async fn sentinel_tells_of_the_new_master() {
    let (mut master, replica) = pair().await;
    let watched = master.port().to_string();
    let sentinel = RedisServer::start_sentinel("main", &watched);
    sentinel.until_sentinel_knows_replicas("main", 1).await;
    let url = format!("redis-sentinel://127.0.0.1:{}/main/0", sentinel.port());
    let store = StoreHandle::open(&url.parse().unwrap()).await.unwrap();
    assert!(is_done(&store.call(put(1)).await));
    let before = store.master_epoch(key().shard());
    master.kill();
    assert!(is_done(&answered(&store, put(2)).await));
    assert_eq!(store.master_epoch(key().shard()), before + 1);
    let role: String = replica
        .ask::<Vec<redis::Value>>(&["ROLE"])
        .await
        .into_iter()
        .next()
        .map(|role| redis::from_redis_value(role).unwrap())
        .unwrap();
    assert_eq!(role, "master");

    let nobody = format!("redis-sentinel://127.0.0.1:{}/other/0", sentinel.port());
    let error = StoreHandle::open(&nobody.parse().unwrap()).await.err().expect("is refused").to_string();
    assert!(error.contains("knows no master \"other\""), "{error}");
}

#[tokio::test]
async fn ops_queries_go_to_a_replica_while_there_is_one() {
    let (master, mut replica) = pair().await;
    let store = StoreHandle::open(&either(&master, &replica, "?replicas=1")).await.unwrap();
    for player in 0..20u64 {
        let commit = Commit::new(PartitionKey::player(PlayerId(player)), Token(1)).index_put(
            "lots",
            format!("{player}"),
            "x",
        );
        assert!(is_done(&store.call(StoreOp::Commit(commit)).await));
    }
    let ops = store.ops();
    // A commit counts entries too.
    let counted = master.calls("zcard").await;
    assert_eq!(ops.index_page(&"lots".into(), None, 100).await.unwrap().entries.len(), 20);
    assert_eq!(ops.index_entries(&"lots".into()).await, Ok(20));
    assert_eq!((master.calls("fcall_ro").await, master.calls("zcard").await), (0, counted), "left alone");
    assert_eq!(replica.calls("fcall_ro").await, 20);
    // Who compares an index with what is there asks masters.
    assert_eq!(ops.index_page_of_masters(&"lots".into(), None, 100).await.unwrap().entries.len(), 20);
    assert_eq!((master.calls("fcall_ro").await, replica.calls("fcall_ro").await), (20, 20));
    replica.kill();
    assert_eq!(ops.index_page(&"lots".into(), None, 100).await.unwrap().entries.len(), 20);
    assert!(master.calls("fcall_ro").await >= 40);
}

/// A replica that hangs, or has lost its master, is no source: what is asked comes from the master, and in time.
#[tokio::test]
async fn ops_queries_leave_a_replica_that_is_no_good() {
    let (master, replica) = pair().await;
    let store = StoreHandle::open(&either(&master, &replica, "")).await.unwrap();
    let ops = store.ops();
    let entries = async |wanted: usize| {
        let token = Token(wanted as u64);
        let commit = Commit::new(PartitionKey::player(PlayerId(7)), token);
        assert!(is_done(
            &store.call(StoreOp::Commit(commit.index_put("lots", format!("{wanted}"), ""))).await
        ));
    };
    entries(1).await;
    replica.until("master_link_status", "up").await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while ops.index_entries(&"lots".into()).await != Ok(1) || replica.calls("zcard").await < 4_096 {
        assert!(Instant::now() < deadline, "the replica is never asked");
    }
    replica.signal("STOP");
    entries(2).await;
    let asked = Instant::now();
    assert_eq!(ops.index_page(&"lots".into(), None, 10).await.unwrap().entries.len(), 2);
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    replica.signal("CONT");
    // It is known again, then loses its master without a word and keeps what it has.
    while replica.calls("fcall_ro").await == 0 {
        assert_eq!(ops.index_page(&"lots".into(), None, 10).await.unwrap().entries.len(), 2);
        assert!(Instant::now() < deadline, "the replica is never asked again");
    }
    replica.run(&["REPLICAOF", "127.0.0.1", "1"]).await;
    entries(3).await;
    assert_eq!(ops.index_page(&"lots".into(), None, 10).await.unwrap().entries.len(), 3);
}

/// Writers that are cut off in the middle of everything: what they were told is there, on whichever server is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_killed_under_load_loses_nothing_that_was_acknowledged() {
    const WRITERS: u64 = 8;
    const ACKNOWLEDGED_BEFORE: usize = 400;
    let (mut master, replica) = pair().await;
    let store = StoreHandle::open(&either(&master, &replica, "?replicas=1")).await.unwrap();
    let (acknowledge, mut acknowledged) = tokio::sync::mpsc::channel::<(u64, u64)>(10_000);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, acknowledge) = (store.clone(), acknowledge.clone());
            tokio::spawn(async move {
                for at in 1u64.. {
                    let commit = Commit::new(PartitionKey::player(PlayerId(writer)), Token(at))
                        .put(format!("{at}"), "x")
                        .index_put("players", format!("{writer}"), at.to_string())
                        .durability([Durability::Replicated, Durability::Persisted][(at % 2) as usize]);
                    match store.call(StoreOp::Commit(commit)).await {
                        StoreAnswer::Committed(CommitOutcome::Done { .. }) => {
                            acknowledge.send((writer, at)).await.expect("somebody listens");
                        }
                        StoreAnswer::Failed(StoreFault::Away | StoreFault::TimedOut) => return,
                        other => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    drop(acknowledge);
    let mut told = Vec::new();
    while let Some(one) = acknowledged.recv().await {
        told.push(one);
        if told.len() == ACKNOWLEDGED_BEFORE {
            master.kill();
        }
    }
    for writer in writers {
        writer.await.expect("no writer panics");
    }
    assert!(told.len() >= ACKNOWLEDGED_BEFORE);
    replica.run(&["REPLICAOF", "NO", "ONE"]).await;
    master.restart_with(&["--replicaof", "127.0.0.1", &replica.port().to_string()]);
    for writer in 0..WRITERS {
        let load = StoreOp::Load { partition: PartitionKey::player(PlayerId(writer)) };
        let StoreAnswer::Loaded(view) = answered(&store, load).await else { panic!("{writer}") };
        for (_, at) in told.iter().filter(|(by, _)| *by == writer) {
            assert!(view.doc(&at.to_string()).is_some(), "{at} of {writer} is lost");
        }
    }
    let index = store.ops().index_page(&"players".into(), None, 100).await;
    let mut entries = index.expect("a page").entries.into_iter().map(|entry| entry.value);
    assert!(entries.len() == WRITERS as usize && entries.all(|value| !value.is_empty()));
}
