//! Random sequences of operations on all three stores at once: whatever is asked, they must say the same.

use std::sync::atomic::{AtomicU64, Ordering};

use chunk_sync::ids::WorldId;
use chunk_sync::store::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::subject::Subject;

/// A token and a version are picked among few, so that resends, matches and mismatches are frequent.
fn version() -> impl Strategy<Value = u64> {
    prop_oneof![1..12u64, Just(u64::MAX), Just(1 << 53)]
}

fn name() -> impl Strategy<Value = Name> {
    prop_oneof![Just("a"), Just("b"), Just("ä/\0"), Just("d:a")].prop_map(Name::from)
}

fn precondition() -> impl Strategy<Value = Precondition> {
    prop_oneof![
        name().prop_map(|doc| Precondition::Absent { doc }),
        (name(), version()).prop_map(|(doc, cas)| Precondition::Cas { doc, cas: Cas(cas) }),
    ]
}

fn write() -> impl Strategy<Value = Write> {
    let value = proptest::option::weighted(0.7, proptest::collection::vec(any::<u8>(), 0..40));
    (name(), value).prop_map(|(doc, value)| Write { doc, value: value.map(Into::into) })
}

fn epoch() -> impl Strategy<Value = EpochStep> {
    prop_oneof![
        (name(), 0..3u64).prop_map(|(name, value)| EpochStep::Require { name, value }),
        (name(), version()).prop_map(|(name, to)| EpochStep::Raise { name, to }),
    ]
}

/// Leases end at once or not during the test, so that all three clocks judge the same.
fn lease() -> impl Strategy<Value = LeaseStep> {
    let ttl = prop_oneof![Just(0), Just(LEASE_TTL_MAX_MS)];
    (0..5, name(), 0..3u64, ttl).prop_map(|(kind, name, holder, ttl_ms)| match kind {
        0 => LeaseStep::Take { name, holder, ttl_ms },
        1 => LeaseStep::Renew { name, holder, ttl_ms },
        2 => LeaseStep::Release { name, holder },
        3 => LeaseStep::RequireHeld { name, holder },
        _ => LeaseStep::RequireExpired { name },
    })
}

/// Acts of few actors, sessions and numbers, so that repeats, forgotten and fenced ones are frequent, and so are
/// those for which an actor that begins with many has no room.
fn act() -> impl Strategy<Value = Act> {
    let result = proptest::collection::vec(any::<u8>(), 0..6);
    let id = prop_oneof![1..8u64, BEFORE_FIRST..BEFORE_FIRST + 24];
    let confirmed = prop_oneof![4 => 0..4u64, 1 => BEFORE_FIRST..BEFORE_FIRST + 4];
    (1..3u64, 0..3u32, id, confirmed, result).prop_map(|(actor, session_epoch, id, confirmed, result)| Act {
        actor,
        session_epoch,
        id,
        confirmed: confirmed.min(id - 1),
        result: result.into(),
    })
}

/// The number of the first act that was done before a case begins.
const BEFORE_FIRST: u64 = 100;

/// How many acts of actor 1 are remembered when a case begins: none, or about as many as may be.
fn before() -> impl Strategy<Value = u64> {
    let most = ACTS_PER_ACTOR_MAX as u64;
    prop_oneof![Just(0), most - 2..=most]
}

fn ledger() -> impl Strategy<Value = Option<bytes::Bytes>> {
    let entry = proptest::collection::vec(any::<u8>(), 0..20);
    proptest::option::weighted(0.5, entry.prop_map(bytes::Bytes::from))
}

/// Steps on two indexes, each entry at most once, as a commit demands.
fn index() -> impl Strategy<Value = Vec<IndexStep>> {
    let step = (0..2u8, 0..4u8, proptest::option::weighted(0.6, any::<u8>()));
    proptest::collection::vec(step, 0..3).prop_map(|steps| {
        let once: std::collections::BTreeMap<_, _> =
            steps.into_iter().map(|(index, key, value)| ((index, key), value)).collect();
        let step = |((index, key), value): ((u8, u8), Option<u8>)| {
            let (index, key) = (Name::from(format!("index {index}")), vec![key, 0, 255].into());
            match value {
                Some(value) => IndexStep::Put { index, key, value: vec![value].into() },
                None => IndexStep::Remove { index, key },
            }
        };
        once.into_iter().map(step).collect()
    })
}

#[derive(Clone, Debug)]
enum Ask {
    Load,
    Tail(u64),
    Commit(Commit),
}

fn ask() -> impl Strategy<Value = Ask> {
    let few = 0..3usize;
    let commit = (
        version(),
        proptest::collection::vec(precondition(), 0..2),
        proptest::collection::vec(write(), few.clone()),
        proptest::collection::vec(epoch(), 0..2),
        proptest::collection::vec(lease(), 0..2),
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), few),
        proptest::option::weighted(0.1, prop_oneof![Just(1), Just(u64::MAX)]),
        proptest::option::weighted(0.5, act()),
        (index(), ledger()),
    );
    let commit = commit.prop_map(
        |(token, preconditions, writes, epochs, leases, events, not_after_ms, act, (index, ledger))| Commit {
            preconditions,
            writes,
            epochs,
            leases,
            events: events.into_iter().map(Into::into).collect(),
            not_after_ms,
            act,
            index,
            ledger,
            ..Commit::new(PartitionKey::cluster(WorldId(0), "replaced"), Token(token))
        },
    );
    prop_oneof![
        2 => Just(Ask::Load),
        2 => prop_oneof![Just(0), version()].prop_map(Ask::Tail),
        8 => commit.prop_map(Ask::Commit),
    ]
}

/// Without what rightly differs: the moments.
fn timeless(answer: StoreAnswer) -> StoreAnswer {
    use CommitOutcome::{Done, Refused};
    let whether = |until_ms: u64, store_ms: u64| u64::from(until_ms > store_ms);
    match answer {
        StoreAnswer::Loaded(mut view) => {
            for lease in view.leases.values_mut() {
                lease.until_ms = whether(lease.until_ms, view.store_ms);
            }
            view.store_ms = 0;
            StoreAnswer::Loaded(view)
        }
        StoreAnswer::Committed(Done { token, previous, .. }) => {
            StoreAnswer::Committed(Done { token, previous, store_ms: 0 })
        }
        StoreAnswer::Committed(Refused(refusal)) => StoreAnswer::Committed(Refused(match refusal {
            Refusal::LeaseHeld { name, holder, .. } => Refusal::LeaseHeld { name, holder, until_ms: 0 },
            Refusal::NotExpired { name, .. } => Refusal::NotExpired { name, until_ms: 0 },
            Refusal::TooLate { .. } => Refusal::TooLate { store_ms: 0 },
            other => other,
        })),
        other => other,
    }
}

#[test]
fn three_stores_say_the_same() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (memory, embedded, redis) =
        runtime.block_on(async { (Subject::memory(), Subject::embedded().await, Subject::redis().await) });
    let case = AtomicU64::new(0);
    let config = Config { cases: 192, failure_persistence: None, ..Config::default() };
    let full = AtomicU64::new(0);
    let asks = (before(), proptest::collection::vec(ask(), 1..30));
    let checked = TestRunner::new(config).run(&asks, |(before, asks)| {
        // Every case has a partition of its own in the same three stores.
        let partition = PartitionKey::node(WorldId(1), case.fetch_add(1, Ordering::Relaxed));
        let done_before = (BEFORE_FIRST..BEFORE_FIRST + before).map(|id| {
            let act = Act { actor: 1, session_epoch: 0, id, confirmed: 0, result: "before".into() };
            Ask::Commit(Commit::new(partition.clone(), Token(1000 + id)).act(act))
        });
        for (at, ask) in done_before.chain(asks).enumerate() {
            let op = match ask {
                Ask::Load => StoreOp::Load { partition: partition.clone() },
                Ask::Tail(after) => StoreOp::Tail { partition: partition.clone(), after: Token(after) },
                Ask::Commit(commit) => StoreOp::Commit(Commit { partition: partition.clone(), ..commit }),
            };
            let said = runtime.block_on(async {
                [memory.call(op.clone()).await, embedded.call(op.clone()).await, redis.call(op.clone()).await]
            });
            let [memory, embedded, redis] = said.map(timeless);
            if memory == StoreAnswer::Committed(CommitOutcome::Refused(Refusal::ActsFull)) {
                full.fetch_add(1, Ordering::Relaxed);
            }
            prop_assert!(memory == embedded, "{at}: {op:?}\n memory {memory:?}\n embedded {embedded:?}");
            prop_assert!(memory == redis, "{at}: {op:?}\n memory {memory:?}\n redis {redis:?}");
        }
        for index in ["index 0", "index 1"].map(Name::from) {
            let after = IndexCursor { shard: partition.shard(), key: bytes::Bytes::new() };
            let pages = runtime.block_on(async {
                let page = async |store: &Subject| store.page(&index, Some(&after), 10).await;
                [page(&memory).await, page(&embedded).await, page(&redis).await]
            });
            prop_assert!(pages[0] == pages[1] && pages[0] == pages[2], "{pages:?}");
        }
        let shard = partition.shard();
        let booked = runtime.block_on(async {
            [booked(&memory, shard).await, booked(&embedded, shard).await, booked(&redis, shard).await]
        });
        prop_assert!(booked[0] == booked[1] && booked[0] == booked[2], "{booked:?}");
        Ok(())
    });
    if let Err(failure) = checked {
        panic!("{failure}");
    }
    assert!(full.into_inner() > 0, "no act ever lacked room");
    // What is left in the end is the same too, whole.
    let [memory, embedded, redis] = [&memory, &embedded, &redis].map(|store| runtime.block_on(whole(store)));
    assert!(memory.len() > 100, "{} partitions", memory.len());
    for ((memory, embedded), redis) in memory.iter().zip(&embedded).zip(&redis) {
        assert!(memory == embedded, "\n memory {memory:?}\n embedded {embedded:?}");
        assert!(memory == redis, "\n memory {memory:?}\n redis {redis:?}");
    }
    assert_eq!((memory.len(), memory.len()), (embedded.len(), redis.len()));
}

/// What the ledger of a shard says, without the moments.
async fn booked(store: &Subject, shard: Shard) -> Vec<LedgerEntry> {
    let page = store.ledger(Some(LedgerCursor { shard, sequence: 0 }), LEDGER_PAGE_ENTRIES_MAX).await;
    let its = page.entries.into_iter().take_while(|entry| entry.shard == shard);
    its.map(|entry| LedgerEntry { store_ms: 0, ..entry }).collect()
}

/// All partitions, without the moments.
async fn whole(store: &Subject) -> Vec<RawPartition> {
    let now_ms = store.now_ms().await;
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = store.partitions(after.as_ref(), 50).await;
        for mut raw in page.partitions {
            for lease in raw.leases.values_mut() {
                lease.until_ms = u64::from(lease.until_ms > now_ms);
            }
            for memory in raw.actors.values_mut() {
                assert!(memory.seen_ms <= now_ms);
                memory.seen_ms = 0;
            }
            found.push(raw);
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return found,
        }
    }
}
