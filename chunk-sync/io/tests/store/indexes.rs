//! The contract of index entries, case by case: written with their commit, read in whole pages.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chunk_sync::ids::PlayerId;
use chunk_sync::store::*;

use crate::subject::Subject;

fn player(player: u64) -> PartitionKey {
    PartitionKey::player(PlayerId(player))
}

fn commit(token: u64) -> Commit {
    Commit::new(player(1), Token(token))
}

/// Everything in an index, read in pages of this size.
async fn scan(store: &Subject, index: &str, page: usize) -> Vec<IndexEntry> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page_of = store.page(&index.into(), after.as_ref(), page).await;
        assert!(page_of.entries.len() <= page);
        assert!(page_of.next.is_none() || page_of.entries.len() == page, "only the last page is short");
        found.extend(page_of.entries);
        match page_of.next {
            Some(next) => after = Some(next),
            None => return found,
        }
    }
}

pub(crate) async fn entries_change_with_their_commit_or_not_at_all(store: Subject) {
    let read = async |store: &Subject, index: &str| -> Vec<(Bytes, Bytes)> {
        let found = scan(store, index, 10).await;
        assert_eq!(store.entries(&index.into()).await, found.len() as u64);
        found.into_iter().map(|entry| (entry.key, entry.value)).collect()
    };
    let pair = |key: &'static [u8], value: &'static [u8]| (Bytes::from(key), Bytes::from(value));
    assert_eq!(read(&store, "lots").await, []);
    let every_byte: Bytes = (0..=255u8).collect();
    let first =
        commit(1).index_put("lots", "b", "1").index_put("lots", &b"\0\r\n\xff"[..], every_byte.clone());
    store.done(first.clone().index_put("homes", "b", "").index_put("homes:b", "x", "y")).await;
    store.refused(commit(2).absent("a").expect("a", Cas(1)).index_put("lots", "c", "no")).await;
    store.refused(commit(2).not_after(1).index_remove("lots", "b")).await;
    // A resend changes nothing either.
    store.done(first.index_put("lots", "d", "no")).await;
    let odd = (Bytes::from_static(b"\0\r\n\xff"), every_byte);
    let mut store = store;
    for _ in 0..2 {
        assert_eq!(read(&store, "lots").await, [odd.clone(), pair(b"b", b"1")]);
        assert_eq!(read(&store, "homes").await, [pair(b"b", b"")]);
        assert_eq!(read(&store, "homes:b").await, [pair(b"x", b"y")]);
        store = store.into_restarted().await;
    }
    let second =
        commit(3).index_put("lots", "b", "2").index_put("lots", "bb", "3").index_remove("homes", "b");
    store.done(second.index_remove("homes", "never there").index_remove("none", "x")).await;
    assert_eq!(read(&store, "lots").await, [odd.clone(), pair(b"b", b"2"), pair(b"bb", b"3")]);
    assert_eq!((read(&store, "homes").await, read(&store, "none").await), (vec![], vec![]));
    store.done(commit(4).index_remove("lots", odd.0).index_put("lots", "a", "0")).await;
    assert_eq!(read(&store, "lots").await, [pair(b"a", b"0"), pair(b"b", b"2"), pair(b"bb", b"3")]);
    // No partition has become a document larger by it.
    assert!(store.load(&player(1)).await.docs.is_empty());
}

pub(crate) async fn pages_are_whole_and_in_order(store: Subject) {
    let mut wanted = BTreeMap::new();
    for at in 0..300u64 {
        // Some shards have many entries, most have one or none.
        let partition = player(if at % 3 == 0 { at } else { at % 5 });
        // The last one is on disk when it is answered, and with it all before: from there they are read.
        let durability = if at < 299 { Durability::Accepted } else { Durability::Persisted };
        let mut commit = Commit::new(partition.clone(), Token(at + 1)).durability(durability);
        for entry in 0..at % 4 {
            let key = Bytes::from(format!("{:03}/{entry}", (at * 7919) % 1000));
            wanted.insert((partition.shard(), key.clone()), Bytes::from(format!("{at}")));
            commit = commit.index_put("lots", key, format!("{at}"));
        }
        store.done(commit.index_put("other", "same key for all", "")).await;
    }
    let wanted: Vec<IndexEntry> =
        wanted.into_iter().map(|((shard, key), value)| IndexEntry { shard, key, value }).collect();
    assert!(wanted.len() > 400, "{}", wanted.len());
    for page in [1, 7, wanted.len() - 1, wanted.len(), wanted.len() + 1, usize::MAX] {
        let found = scan(&store, "lots", page).await;
        assert!(found == wanted, "pages of {page}: {} entries, not {}", found.len(), wanted.len());
    }
    assert_eq!(store.entries(&"lots".into()).await, wanted.len() as u64);
    // A scan goes on where it was, also when that entry is gone.
    let cursor = IndexCursor { shard: wanted[100].shard, key: wanted[100].key.clone() };
    let between = IndexCursor { key: [&cursor.key[..], b"0"].concat().into(), ..cursor };
    let rest = store.page(&"lots".into(), Some(&between), 5).await;
    assert_eq!(rest.entries, wanted[101..106]);
    let end = IndexCursor { shard: Shard(SHARD_COUNT - 1), key: vec![255; INDEX_KEY_MAX_BYTES].into() };
    assert_eq!(store.page(&"lots".into(), Some(&end), 5).await, IndexPage::default());
}

pub(crate) async fn an_index_has_a_most_of_entries(store: Subject) {
    let most = u64::from(INDEX_ENTRIES_PER_SHARD_MAX);
    let each = INDEX_STEPS_PER_COMMIT_MAX as u64;
    let store = Arc::new(store);
    let fillers: Vec<_> = (0..16u64)
        .map(|filler| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for token in (1..most / each).filter(|token| token % 16 == filler) {
                    let mut commit = commit(token).durability(Durability::Accepted);
                    for at in 0..each {
                        commit = commit.index_put("lots", format!("{token}/{at}"), "");
                    }
                    store.done(commit).await;
                }
            })
        })
        .collect();
    for filler in fillers {
        filler.await.expect("no filler fails");
    }
    let fill = |token: u64, new: u64| {
        let known = (new..each).fold(commit(token), |c, at| c.index_put("lots", format!("1/{at}"), "known"));
        (0..new).fold(known, |c, at| c.index_put("lots", format!("{token}/{at}"), "new"))
    };
    store.done(fill(most, each - 1)).await;
    assert_eq!(store.entries(&"lots".into()).await, most - 1);
    let full = Refusal::IndexFull { index: "lots".into() };
    assert_eq!(store.refused(fill(most + 1, 2).put("a", "1")).await, full);
    store.done(fill(most + 1, 1)).await;
    assert_eq!(store.entries(&"lots".into()).await, most);
    for new in 1..=2 {
        assert_eq!(store.refused(fill(most + 2, new)).await, full);
    }
    // What adds nothing still goes, so do other indexes, and room that was made can be used.
    store.done(fill(most + 2, 0)).await;
    store.done(commit(most + 6).index_put("a", "x", "").index_put("z", "x", "")).await;
    store.done(commit(most + 3).index_remove("lots", "2/0")).await;
    store.done(commit(most + 4).index_put("lots", "2/0", "")).await;
    assert_eq!(store.refused(commit(most + 5).index_put("lots", "new", "")).await, full);
    let both = commit(most + 5).index_put("a", "y", "").index_put("lots", "new", "");
    assert_eq!(store.refused(both).await, full);
}

pub(crate) async fn what_is_no_index_step_is_refused(store: Subject) {
    let many =
        (0..=INDEX_STEPS_PER_COMMIT_MAX).fold(commit(1), |c, at| c.index_put("i", format!("{at}"), ""));
    for faulty in [
        commit(1).index_put("", "key", ""),
        commit(1).index_put("i", "", ""),
        commit(1).index_put("i".repeat(NAME_MAX_BYTES + 1), "key", ""),
        commit(1).index_put("i", "k".repeat(INDEX_KEY_MAX_BYTES + 1), ""),
        commit(1).index_put("i", "key", vec![0; INDEX_VALUE_MAX_BYTES + 1]),
        commit(1).index_put("i", "key", "").index_remove("i", "key"),
        many,
    ] {
        let said = store.call(StoreOp::Commit(faulty)).await;
        assert!(matches!(said, StoreAnswer::Failed(StoreFault::Invalid(_))), "{said:?}");
    }
    let name = "i".repeat(NAME_MAX_BYTES);
    let largest =
        commit(1).index_put(name.clone(), "k".repeat(INDEX_KEY_MAX_BYTES), vec![0; INDEX_VALUE_MAX_BYTES]);
    store.done(largest).await;
    assert_eq!(scan(&store, &name, 10).await.len(), 1);
}
