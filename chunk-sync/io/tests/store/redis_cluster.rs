//! A real Redis cluster of three masters: every shard has its place, and a lost or a new master is found.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use chunk_sync::ids::PlayerId;
use chunk_sync::store::{
    Act, Commit, CommitOutcome, Durability, PartitionKey, Refusal, Shard, StoreAnswer, StoreFault, StoreOp,
    Tail, Token,
};
use chunk_sync_io::store::{StoreHandle, StoreUrl};

use crate::redis_faults::answered;
use crate::redis_server::{RedisServer, free_port};

const SETTINGS: [&str; 8] = [
    "--cluster-enabled",
    "yes",
    "--cluster-node-timeout",
    "1000",
    "--cluster-require-full-coverage",
    "no",
    "--repl-diskless-sync-delay",
    "0",
];

fn node() -> RedisServer {
    let bus = free_port().to_string();
    RedisServer::start_with(&[&SETTINGS[..], &["--cluster-port", &bus]].concat())
}

fn cli(words: &[&str]) {
    let said = Command::new("redis-cli").args(words).output().expect("redis-cli runs");
    let out = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "{words:?}: {out}{}", String::from_utf8_lossy(&said.stderr));
}

fn address(server: &RedisServer) -> String {
    format!("127.0.0.1:{}", server.port())
}

/// Waits until every one of these nodes says something about the cluster.
async fn until_all(nodes: &[&RedisServer], what: &str, holds: impl Fn(&str) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    for node in nodes {
        loop {
            let (info, known): (String, String) =
                (node.ask(&["CLUSTER", "INFO"]).await, node.ask(&["CLUSTER", "NODES"]).await);
            if holds(&(info.clone() + &known)) {
                break;
            }
            assert!(Instant::now() < deadline, "never {what}: {info}{known}");
            // Only paces the asking.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Three masters that share all slots.
pub(crate) async fn three() -> [RedisServer; 3] {
    let nodes = [node(), node(), node()];
    let addresses: Vec<String> = nodes.iter().map(address).collect();
    let [a, b, c] = [&*addresses[0], &*addresses[1], &*addresses[2]];
    cli(&["--cluster", "create", a, b, c, "--cluster-yes"]);
    until_well(&nodes).await;
    nodes
}

pub(crate) async fn until_well(nodes: &[RedisServer; 3]) {
    until_all(&[&nodes[0], &nodes[1], &nodes[2]], "well", |said| said.contains("cluster_state:ok")).await;
}

pub(crate) fn url(node: &RedisServer, query: &str) -> StoreUrl {
    format!("redis-cluster://{}/{query}", address(node)).parse().expect("a URL")
}

async fn open(node: &RedisServer, query: &str) -> StoreHandle {
    StoreHandle::open(&url(node, query)).await.expect("opens")
}

fn put(player: u64, token: u64) -> Commit {
    Commit::new(PartitionKey::player(PlayerId(player)), Token(token))
        .put("doc", token.to_be_bytes().to_vec())
        .event("put")
        .index_put("players", format!("{player}"), token.to_string())
}

fn is_done(answer: &StoreAnswer) -> bool {
    matches!(answer, StoreAnswer::Committed(CommitOutcome::Done { .. }))
}

async fn done(store: &StoreHandle, commit: Commit) {
    let said = answered(store, StoreOp::Commit(commit)).await;
    assert!(is_done(&said), "{said:?}");
}

async fn token(store: &StoreHandle, player: u64) -> Token {
    let partition = PartitionKey::player(PlayerId(player));
    match answered(store, StoreOp::Load { partition }).await {
        StoreAnswer::Loaded(view) => view.token,
        other => panic!("{other:?}"),
    }
}

/// How many partitions of players a node holds, each as its rows and its log.
async fn held(node: &RedisServer) -> usize {
    let keys: Vec<String> = node.ask(&["KEYS", "*:w0/player/*"]).await;
    keys.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_masters_are_one_store() {
    let nodes = three().await;
    let store = open(&nodes[0], "").await;
    for player in 0..300 {
        let act = Act { actor: player, session_epoch: 1, id: 1, confirmed: 0, result: "did".into() };
        done(&store, put(player, 1).act(act.clone())).await;
        let again = store.call(StoreOp::Commit(put(player, 2).act(act.clone()))).await;
        let repeated = Refusal::Repeated { token: Token(1), result: act.result };
        assert_eq!(again, StoreAnswer::Committed(CommitOutcome::Refused(repeated)));
    }
    for node in &nodes {
        assert!(held(node).await > 100, "each has its part of 600 keys");
    }
    for player in 0..300 {
        assert_eq!(token(&store, player).await, Token(1));
        let tail = StoreOp::Tail { partition: PartitionKey::player(PlayerId(player)), after: Token::NONE };
        let StoreAnswer::Tailed(Tail::Events(logged)) = store.call(tail).await else { panic!("{player}") };
        assert_eq!(logged.len(), 1);
    }
    let mut found = BTreeSet::new();
    let (ops, index) = (store.ops(), "players".into());
    let mut after = None;
    loop {
        let page = ops.index_page(&index, after.as_ref(), 37).await.expect("a page");
        assert!(page.entries.is_sorted_by_key(|entry| (entry.shard, entry.key.clone())));
        found.extend(page.entries.into_iter().map(|entry| entry.key));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!((found.len(), ops.index_entries(&index).await), (300, Ok(300)));
}

/// A node that was cut off from the others, and knows that it isn't well, still says how things were.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_is_not_believed() {
    let nodes = three().await;
    let bus = free_port().to_string();
    let alone = RedisServer::start_with(&[&SETTINGS[..4], &["--cluster-port", &bus]].concat());
    alone.run(&["CLUSTER", "ADDSLOTSRANGE", "0", "8000"]).await;
    until_all(&[&alone], "not well", |said| said.contains("cluster_state:fail") && said.contains("0-8000"))
        .await;
    let error = StoreHandle::open(&url(&alone, "")).await.err().expect("is refused").to_string();
    assert!(error.contains("not well"), "{error}");
    let both = format!("redis-cluster://{},{}/", address(&alone), address(&nodes[0]));
    let store = StoreHandle::open(&both.parse().expect("a URL")).await.expect("opens");
    for player in 0..50 {
        assert!(is_done(&store.call(StoreOp::Commit(put(player, 1))).await));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_that_move_are_followed() {
    let nodes = three().await;
    let store = open(&nodes[0], "").await;
    for player in 0..120 {
        done(&store, put(player, 1)).await;
    }
    let id = async |node: &RedisServer| node.ask::<String>(&["CLUSTER", "MYID"]).await;
    let (from, to) = (id(&nodes[0]).await, id(&nodes[1]).await);
    let before = [held(&nodes[0]).await, held(&nodes[1]).await];
    let reshard = ["--cluster", "reshard", &address(&nodes[2]), "--cluster-from", &from, "--cluster-to", &to];
    let words = reshard.map(str::to_owned);
    let moving = tokio::task::spawn_blocking(move || {
        let slots = ["--cluster-slots", "2000", "--cluster-yes", "--cluster-pipeline", "100"];
        cli(&words.iter().map(String::as_str).chain(slots).collect::<Vec<_>>());
    });
    // Meanwhile everybody plays on, if after a pause.
    let mut round = 1;
    while !moving.is_finished() {
        round += 1;
        for player in 0..120 {
            done(&store, put(player, round)).await;
        }
    }
    moving.await.expect("the slots move");
    for player in 0..120 {
        assert_eq!(token(&store, player).await, Token(round));
        done(&store, put(player, round + 1)).await;
    }
    let after = [held(&nodes[0]).await, held(&nodes[1]).await];
    assert!(after[0] < before[0] && after[1] > before[1], "{before:?} {after:?}");
    // Their shards are answered for by another server now, all others by the same.
    let epochs: BTreeSet<u64> = (0..4096).map(|shard| store.master_epoch(Shard(shard))).collect();
    assert!(epochs.contains(&0) && epochs.contains(&1), "{epochs:?}");
    assert_eq!(store.ops().index_entries(&"players".into()).await, Ok(120));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_master_is_replaced_by_its_replica() {
    let mut nodes = three().await;
    let replica = node();
    let lost: String = nodes[0].ask(&["CLUSTER", "MYID"]).await;
    let follow = ["--cluster-slave", "--cluster-master-id", &lost];
    cli(&[&["--cluster", "add-node", &address(&replica), &address(&nodes[1])][..], &follow].concat());
    replica.until("master_link_status", "up").await;
    until_all(&[&nodes[0], &nodes[1], &nodes[2]], "known", |said| said.contains(" slave ")).await;
    let store = open(&nodes[1], "?durability=accepted").await;
    let mut by_epoch: BTreeMap<bool, Vec<u64>> = BTreeMap::new();
    let lost_keys = |keys: Vec<String>| -> BTreeSet<String> { keys.into_iter().collect() };
    for player in 0..120 {
        done(&store, put(player, 1).durability(Durability::Accepted)).await;
    }
    let lost_keys = lost_keys(nodes[0].ask(&["KEYS", "*:w0/player/*"]).await);
    let its = |player: u64| {
        let key = PartitionKey::player(PlayerId(player));
        lost_keys.contains(&format!("{{s{}}}:{key}", key.shard().0))
    };
    for player in 0..120 {
        by_epoch.entry(its(player)).or_default().push(player);
    }
    let copied = lost_keys.len();
    let deadline = Instant::now() + Duration::from_secs(30);
    while held(&replica).await < copied {
        assert!(Instant::now() < deadline, "the replica never catches up");
    }
    let mut changes = store.master_changes();

    nodes[0].kill();
    // The others' players notice nothing; those of the lost one are refused, until the replica takes over.
    for player in &by_epoch[&false] {
        assert!(is_done(&store.call(StoreOp::Commit(put(*player, 2))).await));
    }
    let said = store.call(StoreOp::Commit(put(by_epoch[&true][0], 2))).await;
    assert!(matches!(said, StoreAnswer::Failed(StoreFault::Away | StoreFault::TimedOut)), "{said:?}");
    for player in &by_epoch[&true] {
        done(&store, put(*player, 3)).await;
    }
    tokio::time::timeout(Duration::from_secs(30), changes.changed()).await.expect("noticed").expect("open");
    for (lost, players) in &by_epoch {
        for player in players {
            let shard = PartitionKey::player(PlayerId(*player)).shard();
            assert_eq!(store.master_epoch(shard), u64::from(*lost), "player {player}");
        }
    }
    assert_eq!(store.ops().index_entries(&"players".into()).await, Ok(120));
}
