//! The contract, case by case; each takes a fresh store of any kind.

use std::sync::Arc;

use bytes::Bytes;
use chunk_sync::ids::{IslandId, PlayerId, Source, WorldId};
use chunk_sync::place::ChunkPos;
use chunk_sync::store::*;
use chunk_sync_io::store::lease_minter;

use crate::subject::Subject;

const WORLD: WorldId = WorldId(1);
const LONG_MS: u64 = LEASE_TTL_MAX_MS;

fn chunk() -> PartitionKey {
    PartitionKey::chunk(WORLD, IslandId(1), ChunkPos::new(-3, 4))
}

fn commit(token: u64) -> Commit {
    Commit::new(chunk(), Token(token))
}

fn take(name: &str, holder: u64, ttl_ms: u64) -> LeaseStep {
    LeaseStep::Take { name: name.into(), holder, ttl_ms }
}

fn renew(name: &str, holder: u64, ttl_ms: u64) -> LeaseStep {
    LeaseStep::Renew { name: name.into(), holder, ttl_ms }
}

fn release(name: &str, holder: u64) -> LeaseStep {
    LeaseStep::Release { name: name.into(), holder }
}

fn held(name: &str, holder: u64) -> LeaseStep {
    LeaseStep::RequireHeld { name: name.into(), holder }
}

fn expired(name: &str) -> LeaseStep {
    LeaseStep::RequireExpired { name: name.into() }
}

fn require(name: &str, value: u64) -> EpochStep {
    EpochStep::Require { name: name.into(), value }
}

fn raise(name: &str, to: u64) -> EpochStep {
    EpochStep::Raise { name: name.into(), to }
}

fn lost(name: &str) -> Refusal {
    Refusal::LeaseLost { name: name.into() }
}

pub(crate) async fn an_unknown_partition_is_empty(store: Subject) {
    let view = store.load(&chunk()).await;
    assert_eq!(view, PartitionView { store_ms: view.store_ms, ..PartitionView::default() });
    assert!(view.store_ms > 0);
    assert_eq!(store.tail(&chunk(), Token::NONE).await, Tail::Events(vec![]));
    assert_eq!(store.tail(&chunk(), Token(5)).await, Tail::Reload);
    store.refused(commit(1).expect("doc", Cas(1))).await;
    assert_eq!(store.load(&chunk()).await.token, Token::NONE);
}

pub(crate) async fn documents_are_written_removed_and_versioned(store: Subject) {
    assert_eq!(store.done(commit(9).put("a", "one").put("b", "two")).await, Token::NONE);
    assert_eq!(store.done(commit(4).put("b", "three").put("c", "")).await, Token(9));
    let view = store.load(&chunk()).await;
    assert_eq!(view.token, Token(4));
    let rows: Vec<_> =
        view.docs.iter().map(|(name, doc)| (name.as_str(), doc.cas.0, &doc.value[..])).collect();
    assert_eq!(rows, [("a", 9, &b"one"[..]), ("b", 4, b"three"), ("c", 4, b"")]);

    assert_eq!(store.done(commit(2).remove("b").remove("never there")).await, Token(4));
    let view = store.load(&chunk()).await;
    assert_eq!((view.doc("a"), view.doc("b")), (Some(&Bytes::from("one")), None));
    assert_eq!((view.cas("a"), view.cas("b"), view.token), (Some(Cas(9)), None, Token(2)));
}

pub(crate) async fn preconditions_hold_or_refuse_the_whole_commit(store: Subject) {
    store.done(commit(1).absent("a").put("a", "1")).await;
    let conflict = |current: Option<u64>| Refusal::Conflict { doc: "a".into(), current: current.map(Cas) };
    assert_eq!(store.refused(commit(2).absent("a").put("b", "x")).await, conflict(Some(1)));
    assert_eq!(store.refused(commit(2).expect("a", Cas(7)).put("b", "x")).await, conflict(Some(1)));
    store.done(commit(2).expect("a", Cas(1)).put("a", "2")).await;
    assert_eq!(store.refused(commit(3).expect("a", Cas(1)).put("a", "lost")).await, conflict(Some(2)));
    // Also of what is only read.
    store.done(commit(3).expect("a", Cas(2)).absent("b").put("c", "x")).await;
    store.done(commit(4).expect("a", Cas(2)).remove("a")).await;
    assert_eq!(store.refused(commit(5).expect("a", Cas(2)).put("a", "x")).await, conflict(None));
    // A refused commit's token is not used up.
    store.done(commit(5).absent("a").put("a", "again")).await;
}

pub(crate) async fn epochs_only_grow(store: Subject) {
    let mismatch = |current| Refusal::EpochMismatch { name: "claims".into(), current };
    store.done(commit(1).epoch(require("claims", 0)).put("a", "1")).await;
    assert_eq!(store.refused(commit(2).epoch(raise("claims", 0))).await, mismatch(0));
    store.done(commit(2).epoch(raise("claims", 5)).epoch(raise("session", 1))).await;
    assert_eq!(store.refused(commit(3).epoch(require("claims", 4)).put("a", "2")).await, mismatch(5));
    assert_eq!(store.refused(commit(3).epoch(raise("claims", 5))).await, mismatch(5));
    assert_eq!(store.refused(commit(3).epoch(raise("claims", 3))).await, mismatch(5));
    store.done(commit(3).epoch(require("claims", 5)).epoch(raise("claims", 6)).put("a", "2")).await;
    let view = store.load(&chunk()).await;
    assert_eq!((view.epoch("claims"), view.epoch("session"), view.epoch("other")), (6, 1, 0));
}

pub(crate) async fn leases_are_taken_renewed_and_released(store: Subject) {
    store.done(commit(1).lease(take("node", 7, LONG_MS))).await;
    let lease = store.load(&chunk()).await.leases["node"];
    let now_ms = store.now_ms().await;
    assert_eq!(lease.holder, 7);
    assert!(lease.until_ms <= now_ms + LONG_MS && lease.until_ms > now_ms + LONG_MS - 30_000, "{lease:?}");

    let other = Refusal::LeaseHeld { name: "node".into(), holder: 7, until_ms: lease.until_ms };
    assert_eq!(store.refused(commit(2).lease(take("node", 8, 1)).put("a", "x")).await, other);
    let unexpired = Refusal::NotExpired { name: "node".into(), until_ms: lease.until_ms };
    assert_eq!(store.refused(commit(2).lease(expired("node"))).await, unexpired);
    assert_eq!(store.refused(commit(2).lease(renew("node", 8, 1))).await, lost("node"));
    assert_eq!(store.refused(commit(2).lease(release("node", 8))).await, lost("node"));
    assert_eq!(store.refused(commit(2).lease(held("node", 8))).await, lost("node"));

    store.done(commit(2).lease(renew("node", 7, 1_000)).lease(held("node", 7))).await;
    assert!(store.load(&chunk()).await.leases["node"].until_ms <= store.now_ms().await + 1_000);
    store.done(commit(3).lease(take("node", 7, LONG_MS))).await;
    store.done(commit(4).lease(release("node", 7))).await;
    assert!(store.load(&chunk()).await.leases.is_empty());

    for step in [renew("node", 7, 1), release("node", 7), held("node", 7)] {
        assert_eq!(store.refused(commit(5).lease(step)).await, lost("node"));
    }
    store.done(commit(5).lease(expired("node")).lease(take("node", 8, 1_000))).await;
}

pub(crate) async fn expired_leases_stay_their_holders_until_taken(store: Subject) {
    store.done(commit(1).lease(take("node", 7, 20))).await;
    let ends = store.load(&chunk()).await.leases["node"].until_ms;
    store.pass_until(ends).await;
    assert!(store.load(&chunk()).await.leases["node"].expired(ends));
    store.done(commit(2).lease(held("node", 7))).await;
    store.done(commit(3).lease(expired("node")).epoch(raise("found dead", 1))).await;
    store.done(commit(4).lease(renew("node", 7, 20))).await;
    let ends = store.load(&chunk()).await.leases["node"].until_ms;
    store.pass_until(ends).await;

    store.done(commit(5).lease(take("node", 8, LONG_MS))).await;
    assert_eq!(store.refused(commit(6).lease(renew("node", 7, 20))).await, lost("node"));
    assert_eq!(store.load(&chunk()).await.leases["node"].holder, 8);
}

pub(crate) async fn a_young_store_lets_nobody_take_over(store: Subject) {
    store.done(commit(1).lease(take("node", 7, 0)).lease(take("live", 7, LONG_MS))).await;
    let store = store.into_young().await;
    assert_eq!(store.refused(commit(2).lease(take("node", 8, LONG_MS))).await, Refusal::StoreYoung);
    assert_eq!(store.refused(commit(2).lease(expired("node"))).await, Refusal::StoreYoung);
    assert!(matches!(store.refused(commit(2).lease(take("live", 8, 1))).await, Refusal::LeaseHeld { .. }));
    // The holder comes back, and what nobody holds can be taken.
    store.done(commit(2).lease(renew("node", 7, 0)).lease(take("other", 8, 0)).lease(expired("new"))).await;
    store.done(commit(3).lease(take("node", 7, 0))).await;
}

pub(crate) async fn a_commit_is_too_late_by_the_stores_clock(store: Subject) {
    let now_ms = store.now_ms().await;
    store.done(commit(1).not_after(now_ms + 600_000).put("a", "1")).await;
    store.done(commit(2).not_after(u64::MAX).put("a", "2")).await;
    for late in [0, 1, now_ms - 1] {
        match store.refused(commit(3).not_after(late).put("a", "late")).await {
            Refusal::TooLate { store_ms } => assert!(store_ms >= now_ms),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) async fn demands_are_judged_in_the_promised_order(store: Subject) {
    store.done(commit(1).put("a", "1").epoch(raise("e", 3)).lease(take("l", 7, LONG_MS))).await;
    let all = || {
        commit(2)
            .lease(take("l", 8, 1))
            .epoch(require("e", 2))
            .absent("a")
            .expect("b", Cas(1))
            .not_after(1)
            .put("a", "no")
    };
    assert!(matches!(store.refused(all()).await, Refusal::TooLate { .. }));
    let in_time = Commit { not_after_ms: None, ..all() };
    let first = Refusal::Conflict { doc: "a".into(), current: Some(Cas(1)) };
    assert_eq!(store.refused(in_time.clone()).await, first);
    let known = Commit { preconditions: vec![], ..in_time };
    assert!(matches!(store.refused(known.clone()).await, Refusal::EpochMismatch { current: 3, .. }));
    let current = Commit { epochs: vec![], ..known };
    assert!(matches!(store.refused(current.clone()).await, Refusal::LeaseHeld { holder: 7, .. }));
    store.done(Commit { leases: vec![], ..current }).await;
}

pub(crate) async fn a_resend_is_answered_and_not_done_again(store: Subject) {
    store.done(commit(100).put("before", "")).await;
    let once = commit(1).absent("a").put("a", "1").event("made a").not_after(store.now_ms().await + 600_000);
    assert_eq!(store.done(once.clone()).await, Token(100));
    for _ in 0..3 {
        assert_eq!(store.done(once.clone()).await, Token(100));
        // Also when it would by now be refused.
        assert_eq!(store.done(Commit { not_after_ms: Some(0), ..once.clone() }).await, Token(100));
    }
    for later in 2..=RESEND_COMMITS_MAX as u64 {
        store.done(commit(later).put("a", "2")).await;
        assert_eq!(store.done(once.clone()).await, Token(100), "after {later}");
    }
    let view = store.load(&chunk()).await;
    assert_eq!((view.doc("a"), view.token), (Some(&Bytes::from("2")), Token(RESEND_COMMITS_MAX as u64)));
    store.done(commit(99).put("a", "3")).await;
    store.refused(once).await;
}

pub(crate) async fn tails_are_complete_or_a_reload(store: Subject) {
    let logged = |previous, token, events: &[&'static str]| LoggedCommit {
        previous: Token(previous),
        token: Token(token),
        events: events.iter().map(|event| Bytes::from(*event)).collect(),
    };
    store.done(commit(30).put("a", "1").event("one").event("")).await;
    store.done(commit(10).put("a", "2").event("two")).await;
    store.done(commit(20).event("three, of nothing written")).await;
    let three = [
        logged(0, 30, &["one", ""]),
        logged(30, 10, &["two"]),
        logged(10, 20, &["three, of nothing written"]),
    ];
    for (seen, after) in [0, 30, 10, 20].into_iter().enumerate() {
        assert_eq!(store.tail(&chunk(), Token(after)).await, Tail::Events(three[seen..].to_vec()));
    }
    assert_eq!(store.tail(&chunk(), Token(7)).await, Tail::Reload);
    // What was done without events can't be followed.
    store.done(commit(40).put("silent", "")).await;
    assert_eq!(store.tail(&chunk(), Token(20)).await, Tail::Reload);
    store.done(commit(50).event("four")).await;
    assert_eq!(store.tail(&chunk(), Token(20)).await, Tail::Reload);
    assert_eq!(store.tail(&chunk(), Token(40)).await, Tail::Events(vec![logged(40, 50, &["four"])]));
    assert_eq!(store.tail(&chunk(), Token(50)).await, Tail::Events(vec![]));
    // A refused commit is in no log.
    store.refused(commit(60).absent("a").event("no")).await;
    assert_eq!(store.tail(&chunk(), Token(50)).await, Tail::Events(vec![]));
}

pub(crate) async fn the_log_is_bounded(store: Subject) {
    let most = LOG_COMMITS_MAX as u64;
    for last in 1..=most + 10 {
        store.done(commit(last).event(format!("{last}"))).await;
        let oldest = last.saturating_sub(most);
        let Tail::Events(logged) = store.tail(&chunk(), Token(oldest)).await else {
            panic!("after {last}, the log keeps less than it promises")
        };
        let tokens: Vec<u64> = logged.iter().map(|entry| entry.token.0).collect();
        assert_eq!(tokens, (oldest + 1..=last).collect::<Vec<_>>());
        assert!(logged.iter().all(|entry| entry.events == [Bytes::from(entry.token.0.to_string())]));
        if oldest > 0 {
            assert_eq!(store.tail(&chunk(), Token(oldest - 1)).await, Tail::Reload);
        }
    }
}

pub(crate) async fn partitions_do_not_mix(store: Subject) {
    let partitions = [
        PartitionKey::player(PlayerId(1)),
        PartitionKey::player(PlayerId(0x10)),
        PartitionKey::name(WORLD, "anna"),
        PartitionKey::name(WORLD, "ann"),
        PartitionKey::name(WorldId(2), "anna"),
        PartitionKey::node(WORLD, "a"),
        PartitionKey::node(WORLD, "a:log"),
        PartitionKey::node(WORLD, "log:a"),
        PartitionKey::chunk(WORLD, IslandId(1), ChunkPos::new(1, 11)),
        PartitionKey::chunk(WORLD, IslandId(1), ChunkPos::new(11, 1)),
        PartitionKey::cluster(WORLD, "keys"),
    ];
    for (at, partition) in partitions.iter().enumerate() {
        let token = Token(500 + at as u64);
        let commit = Commit::new(partition.clone(), token).absent("a").put("a", partition.to_string());
        store.done(commit.event(partition.to_string()).lease(take("l", at as u64, LONG_MS))).await;
    }
    for (at, partition) in partitions.iter().enumerate() {
        let view = store.load(partition).await;
        assert_eq!(view.token, Token(500 + at as u64));
        assert_eq!(view.doc("a"), Some(&Bytes::from(partition.to_string())));
        assert_eq!((view.docs.len(), view.leases["l"].holder), (1, at as u64));
        let Tail::Events(logged) = store.tail(partition, Token::NONE).await else { panic!("{partition}") };
        assert_eq!(logged[0].events, [Bytes::from(partition.to_string())]);
    }
}

pub(crate) async fn numbers_of_64_bits_and_any_bytes_survive(store: Subject) {
    let every_byte: Bytes = (0..=255u8).chain([0, 13, 10, 0]).collect();
    let numbers = [u64::MAX, 1 << 63, (1 << 53) + 1, 1 << 53, 1 << 32, 1, u64::MAX - 1];
    let mut previous = Token::NONE;
    for number in numbers {
        let commit = commit(number)
            .put("bytes", every_byte.clone())
            .event(every_byte.clone())
            .lease(take("holder", number, LONG_MS))
            .lease(expired("nobody"));
        assert_eq!(store.done(commit).await, previous);
        let view = store.load(&chunk()).await;
        assert_eq!((view.token, view.cas("bytes")), (Token(number), Some(Cas(number))));
        assert_eq!((view.doc("bytes"), view.leases["holder"].holder), (Some(&every_byte), number));
        let Tail::Events(logged) = store.tail(&chunk(), previous).await else { panic!("{number}") };
        assert_eq!(logged[0].events, std::slice::from_ref(&every_byte));
        previous = Token(number ^ 0x5555);
        store.done(Commit::new(chunk(), previous).lease(release("holder", number))).await;
    }
    // Neighbours that a double can't tell apart.
    let (low, high) = ((1u64 << 53) + 2, (1u64 << 53) + 3);
    store.done(commit(7).epoch(raise("e", low))).await;
    let mismatch = Refusal::EpochMismatch { name: "e".into(), current: low };
    assert_eq!(store.refused(commit(8).epoch(require("e", high))).await, mismatch);
    assert_eq!(store.refused(commit(8).epoch(raise("e", low))).await, mismatch);
    store.done(commit(8).epoch(raise("e", high))).await;
    store.done(commit(9).epoch(raise("e", u64::MAX - 1))).await;
    store.done(commit(10).epoch(raise("e", u64::MAX)).put("ä/§ name\0", "x")).await;
    let view = store.load(&chunk()).await;
    assert_eq!((view.epoch("e"), view.doc("ä/§ name\0")), (u64::MAX, Some(&Bytes::from("x"))));
    let stale = Refusal::Conflict { doc: "bytes".into(), current: Some(Cas(u64::MAX - 1)) };
    assert_eq!(store.refused(commit(11).expect("bytes", Cas(u64::MAX))).await, stale);
}

pub(crate) async fn the_largest_commit_fits_and_a_larger_one_is_refused(store: Subject) {
    let name = |at: usize| format!("{at:0>width$}", width = NAME_MAX_BYTES);
    let bytes = |size: usize| Bytes::from(vec![0xa5; size]);
    let (each, events) = (
        WRITES_PER_COMMIT_MAX_BYTES / WRITES_PER_COMMIT_MAX,
        EVENTS_PER_COMMIT_MAX_BYTES / EVENTS_PER_COMMIT_MAX,
    );
    let mut largest = commit(1);
    for at in 0..WRITES_PER_COMMIT_MAX {
        largest = largest.absent(name(at)).absent(name(at + 1000)).put(name(at), bytes(each));
    }
    for at in 0..LEASE_STEPS_PER_COMMIT_MAX {
        largest = largest.lease(take(&name(at), 1, LONG_MS)).epoch(raise(&name(at), 1));
    }
    for _ in 0..EVENTS_PER_COMMIT_MAX {
        largest = largest.event(bytes(events));
    }
    assert_eq!(largest.preconditions.len(), PRECONDITIONS_PER_COMMIT_MAX);
    store.done(largest.clone()).await;
    let view = store.load(&chunk()).await;
    assert!((0..WRITES_PER_COMMIT_MAX).all(|at| view.doc(&name(at)) == Some(&bytes(each))));
    store.done(commit(2).put("large", bytes(DOCUMENT_MAX_BYTES))).await;
    assert_eq!(store.load(&chunk()).await.doc("large"), Some(&bytes(DOCUMENT_MAX_BYTES)));

    let wide = PartitionKey::cluster(WORLD, &"k".repeat(KEY_MAX_BYTES));
    let faulty = [
        commit(0),
        commit(3).put("", "no name"),
        commit(3).put("x".repeat(NAME_MAX_BYTES + 1), ""),
        commit(3).put("a", bytes(DOCUMENT_MAX_BYTES + 1)),
        commit(3).put("a", "1").remove("a"),
        commit(3).epoch(raise("e", 8)).epoch(raise("e", 9)),
        commit(3).lease(renew("l", 1, 1)).lease(release("l", 1)),
        commit(3).lease(take("l", 1, LEASE_TTL_MAX_MS + 1)),
        commit(3).event(bytes(EVENTS_PER_COMMIT_MAX_BYTES + 1)),
        largest.clone().put("one more", ""),
        largest.clone().absent("one more"),
        largest.clone().event(""),
        largest.clone().lease(held("x", 1)),
        largest.epoch(require("x", 1)),
        Commit::new(wide.clone(), Token(3)),
    ];
    for commit in faulty {
        let said = store.call(StoreOp::Commit(commit)).await;
        assert!(matches!(said, StoreAnswer::Failed(StoreFault::Invalid(_))), "{said:?}");
    }
    let said = store.call(StoreOp::Load { partition: wide.clone() }).await;
    assert!(matches!(said, StoreAnswer::Failed(StoreFault::Invalid(_))), "{said:?}");
    let said = store.call(StoreOp::Tail { partition: wide, after: Token(1) }).await;
    assert!(matches!(said, StoreAnswer::Failed(StoreFault::Invalid(_))), "{said:?}");
    assert_eq!(store.load(&chunk()).await.token, Token(2));
}

pub(crate) async fn a_partition_has_a_most_of_rows(store: Subject) {
    let most = PARTITION_ROWS_MAX as usize;
    let per_commit = WRITES_PER_COMMIT_MAX;
    for (at, first) in (0..most - per_commit).step_by(per_commit).enumerate() {
        let mut fill = commit(1 + at as u64);
        for doc in first..first + per_commit {
            fill = fill.put(format!("{doc}"), "");
        }
        store.done(fill).await;
    }
    let token = u64::from(PARTITION_ROWS_MAX);
    let mut last = commit(token).epoch(raise("e", 1)).lease(take("l", 1, LONG_MS));
    for doc in 0..per_commit - 2 {
        last = last.put(format!("last {doc}"), "");
    }
    let over = Commit { token: Token(token), ..last.clone().put("over", "") };
    assert_eq!(store.refused(over).await, Refusal::PartitionFull);
    store.done(last).await;
    let view = store.load(&chunk()).await;
    assert_eq!(view.docs.len() + view.epochs.len() + view.leases.len(), most);

    for step in [commit(token + 1).put("new", ""), commit(token + 1).epoch(raise("new", 1))] {
        assert_eq!(store.refused(step).await, Refusal::PartitionFull);
    }
    assert_eq!(store.refused(commit(token + 1).lease(take("new", 1, 1))).await, Refusal::PartitionFull);
    // What adds nothing still goes, and room that was made can be used.
    store.done(commit(token + 1).put("0", "x").epoch(raise("e", 2)).lease(renew("l", 1, 1))).await;
    store.done(commit(token + 2).remove("0").remove("not there")).await;
    store.done(commit(token + 3).put("new", "")).await;
    assert_eq!(store.refused(commit(token + 4).put("newer", "")).await, Refusal::PartitionFull);
}

pub(crate) async fn sixteen_racers_count_to_sixteen(store: Subject) {
    const RACERS: u64 = 16;
    let store = Arc::new(store);
    let racers: Vec<_> = (1..=RACERS)
        .map(|racer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for attempt in 0.. {
                    let view = store.load(&chunk()).await;
                    let count = view.doc("count").map_or(0, |value| value[0]);
                    let next =
                        commit(racer << 32 | attempt).put("count", vec![count + 1]).event(vec![count + 1]);
                    let next = match view.cas("count") {
                        None => next.absent("count"),
                        Some(cas) => next.expect("count", cas),
                    };
                    if let CommitOutcome::Done { .. } = store.commit(next).await {
                        return;
                    }
                }
            })
        })
        .collect();
    for racer in racers {
        racer.await.expect("no racer fails");
    }
    assert_eq!(store.load(&chunk()).await.doc("count"), Some(&Bytes::from(vec![RACERS as u8])));
    let Tail::Events(logged) = store.tail(&chunk(), Token::NONE).await else { panic!("all are in the log") };
    let counted: Vec<u8> = logged.iter().map(|entry| entry.events[0][0]).collect();
    assert_eq!(counted, (1..=RACERS as u8).collect::<Vec<_>>());
}

pub(crate) async fn minters_are_leased_once(store: Subject) {
    let Some(handle) = store.handle() else {
        // The flow itself is tested beside it, on the twin.
        let mut flow = MinterFlow::new(WORLD, 99);
        let mut op = flow.start();
        loop {
            match flow.handle_answer(store.call(op).await).expect("leases") {
                MinterStep::Ask(next) => op = next,
                MinterStep::Leased(source) => return assert_eq!(source, Source(1)),
            }
        }
    };
    let racers: Vec<_> = (0..8)
        .map(|_| {
            let handle = handle.clone();
            tokio::spawn(async move { lease_minter(&handle, WORLD).await })
        })
        .collect();
    let mut leased = Vec::new();
    for racer in racers {
        leased.push(racer.await.expect("no racer panics").expect("leases").0);
    }
    leased.sort_unstable();
    assert_eq!(leased, (1..=8).collect::<Vec<_>>());
    assert_eq!(lease_minter(&handle, WorldId(2)).await, Ok(Source(1)));
}
