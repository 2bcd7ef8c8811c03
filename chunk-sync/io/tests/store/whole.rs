//! Whole partitions, case by case: each is listed once, and a world that is restored from them goes on.

use std::collections::BTreeMap;

use bytes::Bytes;
use chunk_sync::ids::{PlayerId, WorldId};
use chunk_sync::store::*;

use crate::subject::Subject;

fn player(player: u64) -> PartitionKey {
    PartitionKey::player(PlayerId(player))
}

/// Every partition, read in pages of this size.
async fn scan(store: &Subject, page: usize) -> Vec<RawPartition> {
    let mut found: Vec<RawPartition> = Vec::new();
    let mut after = None;
    loop {
        let page_of = store.partitions(after.as_ref(), page).await;
        assert!(page_of.partitions.len() <= page);
        found.extend(page_of.partitions);
        match page_of.next {
            Some(next) => {
                assert_eq!(Some(&next.key), found.last().map(|raw| &raw.key));
                after = Some(next);
            }
            None => return found,
        }
    }
}

fn act(actor: u64, id: u64) -> Act {
    Act { actor, session_epoch: 3, id, confirmed: id / 2, result: Bytes::from(format!("{actor} did {id}")) }
}

/// A partition with something of everything.
async fn furnish(store: &Subject, key: PartitionKey, at: u64) {
    let commit = |token| Commit::new(key.clone(), Token(token));
    let every_byte: Bytes = (0..=255u8).collect();
    store.done(commit(at + 1).put("a", every_byte).put("ä/\0", "").put("gone", "x").event("made")).await;
    let lease = |name: &str, ttl_ms| LeaseStep::Take { name: name.into(), holder: u64::MAX - at, ttl_ms };
    let raise = EpochStep::Raise { name: "session".into(), to: u64::MAX - at };
    let leased = commit(at + 2).epoch(raise).lease(lease("node", LEASE_TTL_MAX_MS)).lease(lease("over", 0));
    store.done(leased.remove("gone")).await;
    for id in 1..=3 {
        store.done(commit(at + 2 + id).act(act(u64::MAX - id, id)).event("acted")).await;
        store.done(commit(at + 12 + id).act(act(8, id * 10)).put("b", id.to_string())).await;
    }
}

/// Of what the contract shows, everything but the moment.
async fn seen(store: &Subject, key: &PartitionKey) -> PartitionView {
    PartitionView { store_ms: 0, ..store.load(key).await }
}

fn as_view(raw: &RawPartition) -> PartitionView {
    PartitionView {
        token: raw.token(),
        docs: raw.docs.clone(),
        epochs: raw.epochs.clone(),
        leases: raw.leases.clone(),
        store_ms: 0,
    }
}

pub(crate) async fn every_partition_is_listed_once_and_whole(store: Subject) {
    assert_eq!(scan(&store, 10).await, []);
    let mut wanted: BTreeMap<PartitionCursor, PartitionView> = BTreeMap::new();
    for at in 0..60u64 {
        let key = match at % 3 {
            0 => player(at),
            1 => PartitionKey::name(WorldId(2), &format!("a name that is longer {at}")),
            _ => PartitionKey::cluster(WorldId(1), &format!("{at}")),
        };
        if at % 7 == 0 {
            furnish(&store, key.clone(), at * 100).await;
        } else {
            store.done(Commit::new(key.clone(), Token(at + 1)).put("doc", at.to_string())).await;
        }
        wanted.insert(PartitionCursor::of(key.clone()), seen(&store, &key).await);
    }
    // What was refused left no partition, and what lies beside partitions is none.
    store.refused(Commit::new(player(999), Token(1)).expect("a", Cas(1))).await;
    store.done(Commit::new(player(0), Token(77_777)).index_put("lots", "k", "v").ledger("said")).await;
    let again = PartitionCursor::of(player(0));
    wanted.insert(again, seen(&store, &player(0)).await);
    let mut store = store;
    for page in [1, 7, 59, 60, 61, usize::MAX] {
        let found = scan(&store, page).await;
        let places: Vec<_> = found.iter().map(|raw| PartitionCursor::of(raw.key.clone())).collect();
        assert_eq!(places, wanted.keys().cloned().collect::<Vec<_>>(), "pages of {page}");
        for raw in &found {
            raw.check().expect("within all limits");
            assert_eq!(as_view(raw), wanted[&PartitionCursor::of(raw.key.clone())]);
        }
        if page == 7 {
            store = store.into_restarted().await;
        }
    }
    // What is remembered of the actors is there too.
    let found = scan(&store, 100).await;
    let furnished = found.iter().find(|raw| raw.key == player(21)).expect("is listed");
    assert_eq!(furnished.recent.newest_first().len(), 8);
    let memory = &furnished.actors[&8];
    assert_eq!((memory.session_epoch, memory.forgotten, furnished.actors.len()), (3, 15, 4));
    assert_eq!(memory.acts.iter().map(|act| act.id).collect::<Vec<_>>(), [20, 30]);
    assert_eq!(memory.acts[1].result, act(8, 30).result);
    assert!(furnished.actors.values().all(|memory| memory.seen_ms > 0));
    // A listing goes on from any place, also from one where nothing is.
    let at = places_after(&found, 30);
    let nowhere = PartitionCursor::of(player(999));
    let rest = store.partitions(Some(&at), 3).await.partitions;
    assert_eq!(rest, found[31..34]);
    let behind = found.iter().filter(|raw| PartitionCursor::of(raw.key.clone()) > nowhere).count();
    assert_eq!(store.partitions(Some(&nowhere), 100).await.partitions.len(), behind);
}

fn places_after(found: &[RawPartition], at: usize) -> PartitionCursor {
    PartitionCursor::of(found[at].key.clone())
}

pub(crate) async fn a_large_partition_ends_its_page(store: Subject) {
    let value = Bytes::from(vec![7; DOCUMENT_MAX_BYTES]);
    let each = WRITES_PER_COMMIT_MAX_BYTES / DOCUMENT_MAX_BYTES;
    let commits = PARTITIONS_PAGE_BYTES / WRITES_PER_COMMIT_MAX_BYTES;
    for at in 0..3 {
        for part in 0..commits {
            let commit = Commit::new(player(at), Token(part as u64 + 1));
            store.done((0..each).fold(commit, |c, doc| c.put(format!("{part}/{doc}"), value.clone()))).await;
        }
    }
    let mut after = None;
    for last in [false, false, true] {
        let page = store.partitions(after.as_ref(), 100).await;
        assert_eq!((page.partitions.len(), page.next.is_none()), (1, last));
        assert_eq!(page.partitions[0].docs.len(), commits * each);
        after = page.next;
    }
}

pub(crate) async fn a_restored_world_goes_on_where_it_was(store: Subject) {
    for at in 0..5 {
        furnish(&store, player(at), at * 100).await;
    }
    let exported = scan(&store, 2).await;
    let target = store.another().await;
    for raw in &exported {
        target.restore(raw).await.expect("is restored");
    }
    let mut target = target;
    for _ in 0..2 {
        assert_eq!(scan(&target, 100).await, exported);
        for raw in &exported {
            assert_eq!(seen(&target, &raw.key).await, as_view(raw));
        }
        target = target.into_restarted().await;
    }
    let commit = |token| Commit::new(player(0), Token(token));
    // Acts and commits are known again, sessions and leases are as they were.
    let repeated = Refusal::Repeated { token: Token(15), result: act(8, 30).result };
    assert_eq!(target.refused(commit(900).act(act(8, 30))).await, repeated);
    let fenced = Refusal::ActFenced { newest: 3 };
    assert_eq!(target.refused(commit(900).act(Act { session_epoch: 2, ..act(8, 40) })).await, fenced);
    assert_eq!(target.done(commit(15).put("b", "again")).await, target.done(commit(15)).await);
    assert_eq!(target.load(&player(0)).await.doc("b"), Some(&Bytes::from("3")));
    let steal = LeaseStep::Take { name: "node".into(), holder: 5, ttl_ms: 1 };
    assert!(matches!(target.refused(commit(900).lease(steal)).await, Refusal::LeaseHeld { .. }));
    let lower = EpochStep::Raise { name: "session".into(), to: u64::MAX };
    assert!(matches!(target.refused(commit(900).epoch(lower)).await, Refusal::EpochMismatch { .. }));
    // Who followed the log reloads; from here on it is followed.
    assert_eq!(target.tail(&player(0), Token(1)).await, Tail::Reload);
    assert_eq!(target.tail(&player(0), Token(15)).await, Tail::Events(vec![]));
    let version = target.load(&player(0)).await.cas("a").expect("is there");
    assert_eq!(target.done(commit(901).expect("a", version).put("a", "on").event("on")).await, Token(15));
    let Tail::Events(logged) = target.tail(&player(0), Token(15)).await else { panic!("is followed") };
    assert_eq!((logged.len(), logged[0].token), (1, Token(901)));
    target.done(commit(902).act(Act { session_epoch: 4, ..act(8, 40) })).await;
}

pub(crate) async fn what_is_there_is_not_restored_over(store: Subject) {
    furnish(&store, player(1), 0).await;
    let [raw] = &scan(&store, 10).await[..] else { panic!("not one partition") };
    let present = Err(RestoreError::Present { key: player(1) });
    assert_eq!(store.restore(raw).await, present);
    let other = RawPartition { docs: BTreeMap::new(), ..raw.clone() };
    assert_eq!(store.restore(&other).await, present);
    assert_eq!(scan(&store, 10).await, std::slice::from_ref(raw));
    // What no store could hold is refused before anything is sent.
    let empty = RawPartition { recent: RecentTokens::default(), key: player(2), ..raw.clone() };
    let document = Document { cas: Cas(1), value: Bytes::from(vec![0; DOCUMENT_MAX_BYTES + 1]) };
    let docs = BTreeMap::from([(Name::from("a"), document)]);
    let large = RawPartition { key: player(2), docs, ..raw.clone() };
    for faulty in [empty, large] {
        let said = store.restore(&faulty).await;
        assert!(matches!(said, Err(RestoreError::Store(StoreFault::Invalid(_)))), "{said:?}");
    }
    assert_eq!(scan(&store, 10).await.len(), 1);
    // As large as a partition's rows may be.
    let document = Document { cas: Cas(1), value: Bytes::from_static(b"x") };
    let docs = (0..PARTITION_ROWS_MAX).map(|at| (Name::from(format!("{at}")), document.clone())).collect();
    let full = RawPartition {
        key: player(3),
        docs,
        epochs: BTreeMap::new(),
        leases: BTreeMap::new(),
        ..raw.clone()
    };
    store.restore(&full).await.expect("is restored");
    assert_eq!(seen(&store, &player(3)).await, as_view(&full));
    let over = Commit::new(player(3), Token(900)).put("over", "");
    assert_eq!(store.refused(over).await, Refusal::PartitionFull);
}

pub(crate) async fn a_partition_is_replaced_over_the_state_that_was_read_and_no_other(store: Subject) {
    furnish(&store, player(1), 0).await;
    furnish(&store, player(2), 100).await;
    let [first, second] = &scan(&store, 10).await[..] else { panic!("not two partitions") };
    let (raw, other) = if first.key == player(1) { (first, second) } else { (second, first) };
    let mut recent = raw.recent.clone();
    recent.push(Token(700));
    let stub = RawPartition {
        recent: recent.clone(),
        docs: BTreeMap::from([(Name::from("s"), Document { cas: Cas(700), value: Bytes::from("stub") })]),
        leases: BTreeMap::new(),
        actors: BTreeMap::new(),
        ..raw.clone()
    };
    let changed = |newest| Err(RestoreError::Changed { key: player(1), newest });
    for over in [Token::NONE, Token(5), Token(699)] {
        assert_eq!(store.replace(&stub, over).await, changed(raw.token()));
    }
    assert_eq!(store.replace(&RawPartition { key: player(9), ..stub.clone() }, Token(5)).await, {
        Err(RestoreError::Changed { key: player(9), newest: Token::NONE })
    });
    assert_eq!(scan(&store, 10).await, [first.clone(), second.clone()]);
    let mut store = store;
    for _ in 0..2 {
        // The second time, after a restart, it is seen to be done.
        store.replace(&stub, raw.token()).await.expect("is replaced");
        let found = scan(&store, 10).await;
        assert_eq!(found.iter().find(|found| found.key == player(1)), Some(&stub));
        assert_eq!(found.iter().find(|found| found.key == player(2)), Some(other), "nothing else");
        assert_eq!(seen(&store, &player(1)).await, as_view(&stub));
        store = store.into_restarted().await;
    }
    // Who followed it reloads; commits of before are known, acts are not, epochs stand.
    let commit = |token| Commit::new(player(1), Token(token));
    assert_eq!(store.tail(&player(1), raw.token()).await, Tail::Reload);
    assert_eq!(store.done(commit(15).put("b", "again")).await, store.done(commit(15)).await);
    let lower = EpochStep::Raise { name: "session".into(), to: 4 };
    assert!(matches!(store.refused(commit(900).epoch(lower)).await, Refusal::EpochMismatch { .. }));
    assert!(matches!(store.refused(commit(900).absent("s")).await, Refusal::Conflict { .. }));
    store.done(commit(901).put("late", "1").event("late").act(act(44, 1))).await;
    assert_eq!(store.replace(&stub, raw.token()).await, changed(Token(901)));
    // And back, over what it is now, with all that was remembered.
    recent.push(Token(902));
    let back = RawPartition { recent, ..raw.clone() };
    store.replace(&back, Token(901)).await.expect("is replaced");
    assert_eq!(scan(&store, 10).await.iter().find(|found| found.key == player(1)), Some(&back));
    let repeated = Refusal::Repeated { token: Token(15), result: act(8, 30).result };
    assert_eq!(store.refused(commit(903).act(act(8, 30))).await, repeated);
    store.done(commit(904).act(act(45, 1)).event("on")).await;
    let Tail::Events(logged) = store.tail(&player(1), Token(902)).await else { panic!("is followed") };
    assert_eq!(logged.len(), 1);
    // Where nothing is, it is written over nothing.
    let new = RawPartition { key: player(3), ..back };
    store.replace(&new, Token::NONE).await.expect("is written");
    assert_eq!(scan(&store, 10).await.iter().find(|found| found.key == player(3)), Some(&new));
}

pub(crate) async fn index_entries_go_back_to_their_shards(store: Subject) {
    assert_eq!(store.index_names().await, Vec::<Name>::new());
    for at in 0..40u64 {
        let commit = Commit::new(player(at), Token(1)).index_put("lots", format!("{at}"), vec![at as u8]);
        store.done(if at % 4 == 0 { commit.index_put("a:b", format!("{at}"), "") } else { commit }).await;
    }
    store.done(Commit::new(player(0), Token(2)).index_put("over", "x", "").index_put("z", "x", "")).await;
    store.done(Commit::new(player(0), Token(3)).index_remove("over", "x")).await;
    let names = store.index_names().await;
    assert_eq!(names, ["a:b", "lots", "z"].map(Name::from));
    let target = store.another().await;
    for name in &names {
        let entries = store.page(name, None, 100).await.entries;
        for _ in 0..2 {
            target.restore_index(name, &entries).await;
            assert_eq!(target.page(name, None, 100).await.entries, entries);
            assert_eq!(target.entries(name).await, entries.len() as u64);
        }
    }
    assert_eq!(target.index_names().await, names);
    // They are removed as if they had been written here.
    let target = target.into_restarted().await;
    target.done(Commit::new(player(7), Token(1)).index_remove("lots", "7")).await;
    assert_eq!(target.entries(&"lots".into()).await, 39);
}
