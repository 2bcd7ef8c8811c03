//! The twin's faults.

use super::*;
use crate::ids::WorldId;
use crate::store::{Commit, CommitOutcome, Token};

#[test]
fn faults_are_what_they_say() {
    let key = || PartitionKey::cluster(WorldId(1), "keys");
    let put = |token| StoreOp::Commit(Commit::new(key(), Token(token)).put("doc", "value"));
    let load = StoreOp::Load { partition: key() };
    let mut store = MemoryStore::new(0);
    let mut newest = |fault, op: &StoreOp| {
        store.set_fault(fault);
        let said = store.call(5, op);
        store.set_fault(MemoryFault::None);
        match store.call(5, &load) {
            StoreAnswer::Loaded(view) => (said, view.token),
            other => panic!("{other:?}"),
        }
    };
    let failed = StoreAnswer::Failed;
    assert_eq!(newest(MemoryFault::Away, &put(1)), (failed(StoreFault::Away), Token::NONE));
    assert_eq!(newest(MemoryFault::Full, &put(1)), (failed(StoreFault::Full), Token::NONE));
    assert_eq!(newest(MemoryFault::LosesAnswers, &put(1)), (failed(StoreFault::TimedOut), Token(1)));
    assert_eq!(newest(MemoryFault::Away, &load).0, failed(StoreFault::Away));
    assert!(matches!(newest(MemoryFault::Full, &load).0, StoreAnswer::Loaded(_)));
    // The lost answer is had by asking again.
    let done = CommitOutcome::Done { token: Token(1), previous: Token::NONE, store_ms: 5 };
    assert_eq!(newest(MemoryFault::None, &put(1)).0, StoreAnswer::Committed(done));
}

#[test]
fn the_newer_faults_are_what_they_say() {
    let key = || PartitionKey::cluster(WorldId(1), "keys");
    let put = |token| {
        Commit::new(key(), Token(token)).put("doc", "value").index_put("docs", "doc", token.to_string())
    };
    let token =
        |store: &mut MemoryStore, now_ms| match store.call(now_ms, &StoreOp::Load { partition: key() }) {
            StoreAnswer::Loaded(view) => Ok(view.token.0),
            StoreAnswer::Failed(fault) => Err(fault),
            other => panic!("{other:?}"),
        };
    let done = |answer: StoreAnswer| matches!(answer, StoreAnswer::Committed(CommitOutcome::Done { .. }));
    let read = |store: &MemoryStore| {
        let page = store.index_page(&"docs".into(), None, 10);
        page.entries.first().map(|entry| entry.value.clone())
    };
    let mut store = MemoryStore::new(0);

    store.set_fault(MemoryFault::Gone { until_ms: 10 });
    assert_eq!(store.call(9, &StoreOp::Commit(put(1))), StoreAnswer::Failed(StoreFault::Away));
    assert_eq!(token(&mut store, 9), Err(StoreFault::Away));
    assert!(done(store.call(10, &StoreOp::Commit(put(1)))));

    store.set_fault(MemoryFault::RefusesCommits);
    assert_eq!(store.call(11, &StoreOp::Commit(put(2))), StoreAnswer::Failed(StoreFault::Away));
    assert_eq!(token(&mut store, 11), Ok(1));

    store.set_fault(MemoryFault::Slow { by_ms: 300 });
    assert!(done(store.call(12, &StoreOp::Commit(put(2)))) && store.answer_after_ms() == 300);

    // What only the master has is answered where that is enough, and lost with it.
    store.set_fault(MemoryFault::StaleReplica);
    assert!(done(store.call(13, &StoreOp::Commit(put(3).durability(Durability::Accepted)))));
    for asked in [put(4), put(3), put(5).durability(Durability::Replicated)] {
        let said = store.call(14, &StoreOp::Commit(asked));
        assert_eq!(said, StoreAnswer::Failed(StoreFault::TimedOut));
    }
    assert_eq!((token(&mut store, 14), read(&store)), (Ok(5), Some("2".into())));
    let mut caught_up = store.clone();
    caught_up.set_fault(MemoryFault::None);
    assert_eq!((token(&mut caught_up, 15), read(&caught_up)), (Ok(5), Some("5".into())));
    assert!(done(caught_up.call(15, &StoreOp::Commit(put(4)))), "the resend is acknowledged now");
    store.fail_over(15);
    assert_eq!((token(&mut store, 15), read(&store)), (Ok(2), Some("2".into())));
}

#[test]
fn the_ledger_shows_only_what_a_failover_keeps() {
    let key = || PartitionKey::cluster(WorldId(1), "keys");
    let shard = key().shard();
    let book = |store: &mut MemoryStore, token: u64| {
        let commit = Commit::new(key(), Token(token)).durability(Durability::Accepted);
        let said = store.call(5, &StoreOp::Commit(commit.ledger(token.to_string())));
        assert!(matches!(said, StoreAnswer::Committed(CommitOutcome::Done { .. })), "{said:?}");
    };
    let shown = |store: &MemoryStore| -> Vec<(u64, u64)> {
        let entries = store.ledger_page(None, 10).entries.into_iter();
        entries.map(|entry| (entry.sequence, entry.token.0)).collect()
    };
    let mut store = MemoryStore::new(0);
    book(&mut store, 1);
    book(&mut store, 2);
    store.set_fault(MemoryFault::StaleReplica);
    book(&mut store, 3);
    assert_eq!(shown(&store), [(1, 1), (2, 2)]);
    store.ledger_trim(shard, 1);
    assert_eq!(shown(&store), [(2, 2)]);
    let mut caught_up = store.clone();
    caught_up.set_fault(MemoryFault::None);
    assert_eq!(shown(&caught_up), [(2, 2), (3, 3)]);
    // The trim is lost with the master; the number that nobody was shown is given again.
    store.fail_over(6);
    book(&mut store, 4);
    assert_eq!(shown(&store), [(1, 1), (2, 2), (3, 4)]);
}
