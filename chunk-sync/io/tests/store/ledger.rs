//! The contract of the ledger, case by case: written with its commit, numbered for ever, drained by ops tools.

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

/// Everything in the ledger, read in pages of this size.
async fn scan(store: &Subject, page: usize) -> Vec<LedgerEntry> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page_of = store.ledger(after, page).await;
        assert!(page_of.entries.len() <= page);
        assert!(page_of.next.is_none() || page_of.entries.len() == page, "only the last page is short");
        found.extend(page_of.entries);
        match page_of.next {
            Some(next) => after = Some(next),
            None => return found,
        }
    }
}

fn said(entries: &[LedgerEntry]) -> Vec<(u64, u64, Bytes)> {
    entries.iter().map(|entry| (entry.sequence, entry.token.0, entry.bytes.clone())).collect()
}

pub(crate) async fn entries_are_written_with_their_commit_and_numbered(store: Subject) {
    assert_eq!(scan(&store, 10).await, []);
    let before_ms = store.now_ms().await;
    let every_byte: Bytes = (0..=255u8).collect();
    let act = |id| Act { actor: 7, session_epoch: 1, id, confirmed: 0, result: "did".into() };
    let first = commit(9).put("a", "1").act(act(1)).ledger(every_byte.clone());
    store.done(first.clone()).await;
    store.done(commit(4).ledger("")).await;
    store.done(commit(5).put("a", "2")).await;
    // Neither what is refused, nor a resend, nor a repeated act says anything.
    store.refused(commit(6).expect("a", Cas(1)).ledger("no")).await;
    store.refused(commit(6).not_after(1).ledger("no")).await;
    store.done(first.clone().ledger("no")).await;
    store.refused(commit(6).act(act(1)).ledger("no")).await;
    store.done(commit(u64::MAX).act(act(2)).ledger("last").index_put("lots", "k", "v").event("e")).await;
    let wanted = [(1, 9, every_byte), (2, 4, Bytes::new()), (3, u64::MAX, Bytes::from_static(b"last"))];
    let mut store = store;
    for _ in 0..2 {
        let found = scan(&store, 10).await;
        assert_eq!(said(&found), wanted);
        for entry in &found {
            assert_eq!((entry.shard, &entry.partition), (player(1).shard(), &player(1)));
            assert!((before_ms..=store.now_ms().await).contains(&entry.store_ms), "{entry:?}");
        }
        store = store.into_restarted().await;
    }
    // Readers of the partition see nothing of it.
    assert_eq!(store.load(&player(1)).await.docs.len(), 1);
    assert!(matches!(store.tail(&player(1), Token(5)).await, Tail::Events(logged) if logged.len() == 1));
}

pub(crate) async fn pages_of_the_ledger_are_whole_and_in_order(store: Subject) {
    let mut wanted: BTreeMap<Shard, Vec<(PartitionKey, Token)>> = BTreeMap::new();
    for at in 0..200u64 {
        // Some shards have many entries, most have one or none.
        let partition = player(if at % 3 == 0 { at } else { at % 5 });
        let durability = if at < 199 { Durability::Accepted } else { Durability::Persisted };
        wanted.entry(partition.shard()).or_default().push((partition.clone(), Token(at + 1)));
        let commit = Commit::new(partition, Token(at + 1)).durability(durability);
        store.done(commit.ledger(format!("{at}"))).await;
    }
    let wanted: Vec<_> = wanted
        .into_iter()
        .flat_map(|(shard, of)| {
            (1u64..).zip(of).map(move |(sequence, (key, token))| (shard, sequence, key, token))
        })
        .collect();
    for page in [1, 7, wanted.len() - 1, wanted.len(), wanted.len() + 1, usize::MAX] {
        let found = scan(&store, page).await.into_iter();
        let found: Vec<_> =
            found.map(|entry| (entry.shard, entry.sequence, entry.partition, entry.token)).collect();
        assert!(found == wanted, "pages of {page}: {} entries, not {}", found.len(), wanted.len());
    }
    // Reading goes on where it was, also when that entry is gone, and from where there never was one.
    let (shard, sequence, ..) = wanted[100];
    let after = LedgerCursor { shard, sequence };
    store.trim(shard, sequence).await;
    let rest = store.ledger(Some(after), 5).await.entries;
    let places: Vec<_> = rest.iter().map(|entry| (entry.shard, entry.sequence)).collect();
    assert_eq!(places, wanted[101..106].iter().map(|of| (of.0, of.1)).collect::<Vec<_>>());
    let end = LedgerCursor { shard: Shard(SHARD_COUNT - 1), sequence: u64::MAX };
    assert_eq!(store.ledger(Some(end), 5).await, LedgerPage::default());
}

pub(crate) async fn what_was_trimmed_is_gone_and_its_numbers_with_it(store: Subject) {
    let shard = player(1).shard();
    let other = (2..).map(player).find(|key| key.shard() != shard).expect("there is another shard");
    for token in 1..=5 {
        store.done(commit(token).ledger(format!("{token}"))).await;
    }
    store.done(Commit::new(other.clone(), Token(1)).ledger("other")).await;
    let numbers = async |store: &Subject| -> Vec<u64> {
        let found = scan(store, 100).await.into_iter();
        found.filter(|entry| entry.shard == shard).map(|entry| entry.sequence).collect()
    };
    store.trim(shard, 0).await;
    assert_eq!(numbers(&store).await, [1, 2, 3, 4, 5]);
    for up_to in [2, 2, 1, 0] {
        store.trim(shard, up_to).await;
        assert_eq!(numbers(&store).await, [3, 4, 5]);
    }
    store.done(commit(6).ledger("6")).await;
    assert_eq!(numbers(&store).await, [3, 4, 5, 6]);
    // Everything, and more than there is; what was never written has its number still to come.
    let mut store = store;
    for (token, up_to, next) in [(7, 6, 7), (8, 99, 8), (9, u64::MAX, 9)] {
        store.trim(shard, up_to).await;
        assert_eq!(numbers(&store).await, [0u64; 0]);
        store = store.into_restarted().await;
        store.done(commit(token).ledger("next")).await;
        assert_eq!(numbers(&store).await, [next], "after a trim up to {up_to} and a restart");
    }
    // A shard that has no ledger is none the worse.
    let empty =
        (2..).map(player).map(|key| key.shard()).find(|empty| ![shard, other.shard()].contains(empty));
    store.trim(empty.expect("a third shard"), 7).await;
    assert_eq!(scan(&store, 100).await.len(), 2, "one here, and that of the other shard");
}

pub(crate) async fn a_full_ledger_refuses_what_has_an_entry(store: Subject) {
    const SENDERS: u64 = 64;
    let most = u64::from(LEDGER_ENTRIES_PER_SHARD_MAX);
    let store = Arc::new(store);
    let fillers: Vec<_> = (0..SENDERS)
        .map(|filler| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for token in (1..most).filter(|token| token % SENDERS == filler) {
                    store.done(commit(token).durability(Durability::Accepted).ledger("x")).await;
                }
            })
        })
        .collect();
    for filler in fillers {
        filler.await.expect("no filler fails");
    }
    store.done(commit(most).ledger("the last that fits")).await;
    let act = Act { actor: 7, session_epoch: 1, id: 1, confirmed: 0, result: Bytes::new() };
    let over = commit(most + 1).put("a", "1").act(act).index_put("lots", "k", "v").ledger("x");
    assert_eq!(store.refused(over.clone()).await, Refusal::LedgerFull);
    assert_eq!(store.entries(&"lots".into()).await, 0);
    // Others of the shard go on, other shards too, and a resend is still answered.
    store.done(commit(most + 2).put("b", "1")).await;
    store.done(commit(most).ledger("again")).await;
    let other = (2..).map(player).find(|key| key.shard() != player(1).shard()).expect("another shard");
    store.done(Commit::new(other, Token(1)).ledger("x")).await;
    store.trim(player(1).shard(), 1).await;
    store.done(over).await;
    assert_eq!(store.refused(commit(most + 3).ledger("x")).await, Refusal::LedgerFull);
    store.trim(player(1).shard(), u64::MAX).await;
    store.done(commit(most + 4).ledger("x")).await;
    let found = scan(&store, 10).await;
    let last = found.iter().find(|entry| entry.shard == player(1).shard()).expect("one entry");
    assert_eq!((found.len(), last.sequence), (2, most + 2));
}

pub(crate) async fn what_is_no_entry_is_refused(store: Subject) {
    let said = store.call(StoreOp::Commit(commit(1).ledger(vec![0; LEDGER_ENTRY_MAX_BYTES + 1]))).await;
    assert!(matches!(said, StoreAnswer::Failed(StoreFault::Invalid(_))), "{said:?}");
    let largest = Bytes::from(vec![255; LEDGER_ENTRY_MAX_BYTES]);
    store.done(commit(1).ledger(largest.clone())).await;
    assert_eq!(said_once(&store).await, largest);
}

async fn said_once(store: &Subject) -> Bytes {
    let [only] = &scan(store, 10).await[..] else { panic!("not one entry") };
    only.bytes.clone()
}
