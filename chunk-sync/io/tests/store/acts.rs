//! The contract of acts, case by case: done once, answered as before, forgotten when confirmed.

use std::sync::Arc;

use bytes::Bytes;
use chunk_sync::ids::{IslandId, WorldId};
use chunk_sync::place::ChunkPos;
use chunk_sync::store::*;

use crate::subject::Subject;

fn chunk() -> PartitionKey {
    PartitionKey::chunk(WorldId(1), IslandId(1), ChunkPos::new(7, -7))
}

fn act(actor: u64, id: u64) -> Act {
    Act { actor, session_epoch: 1, id, confirmed: 0, result: Bytes::from(format!("{actor} did {id}")) }
}

fn commit(token: u64, act: Act) -> Commit {
    Commit::new(chunk(), Token(token)).act(act)
}

fn repeated(token: u64, act: &Act) -> Refusal {
    Refusal::Repeated { token: Token(token), result: act.result.clone() }
}

pub(crate) async fn an_act_is_done_once_and_answered_as_before(store: Subject) {
    let odd = Act { result: (0..=255u8).chain([0, 13, 10]).collect(), ..act(u64::MAX, u64::MAX) };
    let first = act(7, 1);
    store.done(commit(1, first.clone()).put("a", "1").event("made")).await;
    store.done(commit(2, odd.clone())).await;
    store.done(commit(3, Act { result: Bytes::new(), ..act(8, 1) })).await;
    // Whatever it says now: another result, what would be refused, what would be too late.
    let late = commit(9, Act { result: "other".into(), ..first.clone() }).put("a", "2").event("again");
    let late = late.absent("a").epoch(EpochStep::Require { name: "e".into(), value: 9 }).not_after(1);
    let mut store = store;
    for _ in 0..2 {
        assert_eq!(store.refused(late.clone()).await, repeated(1, &first));
        assert_eq!(store.refused(commit(9, odd.clone())).await, repeated(2, &odd));
        let nothing = Refusal::Repeated { token: Token(3), result: Bytes::new() };
        assert_eq!(store.refused(commit(9, act(8, 1))).await, nothing);
        store = store.into_restarted().await;
    }
    // Another actor's act of the same number is another act, and so is the same one in another partition.
    store.done(commit(4, act(9, 1))).await;
    let elsewhere = PartitionKey::chunk(WorldId(1), IslandId(1), ChunkPos::new(7, -8));
    store.done(Commit::new(elsewhere, Token(1)).act(first)).await;
    assert_eq!(store.load(&chunk()).await.doc("a"), Some(&Bytes::from("1")));
}

pub(crate) async fn confirmed_acts_are_forgotten_and_never_done_again(store: Subject) {
    for id in 1..=5 {
        store.done(commit(id, act(7, id * 10))).await;
    }
    store.done(commit(6, Act { confirmed: 30, ..act(7, 60) })).await;
    let mut store = store;
    for _ in 0..2 {
        // Also what never came here: nobody can tell any more.
        for id in [1, 10, 25, 30] {
            let late = store.refused(commit(9, act(7, id)).put("a", "again")).await;
            assert_eq!(late, Refusal::ActForgotten { forgotten: 30 }, "{id}");
        }
        for id in [40, 50] {
            assert_eq!(store.refused(commit(9, act(7, id))).await, repeated(id / 10, &act(7, id)));
        }
        store = store.into_restarted().await;
    }
    // Between those that are remembered there is still room for one that was slow.
    store.done(commit(7, Act { confirmed: 5, ..act(7, 35) })).await;
    assert_eq!(store.refused(commit(9, act(7, 30))).await, Refusal::ActForgotten { forgotten: 30 });
    store.done(commit(8, act(8, 1))).await;
}

pub(crate) async fn an_older_session_is_fenced(store: Subject) {
    let of = |session_epoch, id| Act { session_epoch, ..act(7, id) };
    store.done(commit(1, of(3, 1))).await;
    store.done(commit(2, of(u32::MAX, 2))).await;
    let mut store = store;
    for _ in 0..2 {
        let fenced = Refusal::ActFenced { newest: u32::MAX };
        assert_eq!(store.refused(commit(9, of(3, 3)).put("a", "old")).await, fenced);
        assert_eq!(store.refused(commit(9, of(u32::MAX - 1, 3))).await, fenced);
        // What it did before it was fenced is still answered.
        assert_eq!(store.refused(commit(9, of(3, 1))).await, repeated(1, &of(3, 1)));
        store = store.into_restarted().await;
    }
    store.done(commit(3, of(u32::MAX, 3))).await;
    store.done(commit(4, Act { session_epoch: 0, ..act(8, 1) })).await;
}

pub(crate) async fn refused_commits_remember_nothing(store: Subject) {
    let newer = Act { session_epoch: 9, confirmed: 4, ..act(7, 5) };
    store.done(commit(1, act(7, 1))).await;
    store.refused(commit(2, newer.clone()).expect("a", Cas(1))).await;
    store.refused(commit(2, newer).not_after(1)).await;
    // Neither its epoch, nor what it confirmed, nor itself.
    store.done(commit(2, act(7, 2))).await;
    assert_eq!(store.refused(commit(9, act(7, 1))).await, repeated(1, &act(7, 1)));
    store.done(commit(3, act(7, 5))).await;
    // A refused first act of an actor leaves nothing of it.
    store.refused(commit(4, Act { session_epoch: 5, ..act(8, 1) }).expect("a", Cas(1))).await;
    store.done(commit(4, act(8, 1))).await;
}

pub(crate) async fn an_act_outlives_its_token(store: Subject) {
    let first = commit(1, act(7, 1)).put("a", "1");
    store.done(first.clone()).await;
    assert_eq!(store.done(first.clone()).await, Token::NONE, "a resend with its token is answered as done");
    for token in 2..=RESEND_COMMITS_MAX as u64 + 5 {
        store.done(Commit::new(chunk(), Token(token)).put("a", "2")).await;
    }
    assert_eq!(store.refused(first).await, repeated(1, &act(7, 1)));
    assert_eq!(store.load(&chunk()).await.doc("a"), Some(&Bytes::from("2")));
}

pub(crate) async fn sixteen_senders_of_one_act_do_it_once(store: Subject) {
    let store = Arc::new(store);
    let senders: Vec<_> = (1..=16u64)
        .map(|token| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let act = Act { result: token.to_be_bytes().to_vec().into(), ..act(7, 1) };
                (token, store.commit(commit(token, act).put("a", token.to_string()).event("done")).await)
            })
        })
        .collect();
    let (mut done, mut answers) = (Vec::new(), Vec::new());
    for sender in senders {
        match sender.await.expect("no sender panics") {
            (token, CommitOutcome::Done { .. }) => done.push(token),
            (_, CommitOutcome::Refused(Refusal::Repeated { token, result })) => {
                answers.push((token.0, result));
            }
            (_, other) => panic!("{other:?}"),
        }
    }
    let [once] = done[..] else { panic!("done by {done:?}") };
    let answer = (once, Bytes::copy_from_slice(&once.to_be_bytes()));
    assert_eq!(answers, vec![answer; 15]);
    assert_eq!(store.load(&chunk()).await.doc("a"), Some(&Bytes::from(once.to_string())));
    let Tail::Events(logged) = store.tail(&chunk(), Token::NONE).await else { panic!("one is in the log") };
    assert_eq!(logged.len(), 1);
}

pub(crate) async fn an_actor_has_a_most_of_unconfirmed_acts(store: Subject) {
    let most = ACTS_PER_ACTOR_MAX as u64;
    let largest = |id| Act { result: Bytes::from(vec![id as u8; ACT_RESULT_MAX_BYTES]), ..act(7, id) };
    for id in 1..=most {
        store.done(commit(id, largest(id))).await;
    }
    let over = commit(most + 1, largest(most + 1));
    assert_eq!(store.refused(over.clone()).await, Refusal::ActsFull);
    store.done(commit(most + 2, act(8, 1))).await;
    for id in 1..=most {
        assert_eq!(store.refused(commit(999, act(7, id))).await, repeated(id, &largest(id)));
    }
    // What it confirms makes room for itself.
    store.done(commit(most + 1, Act { confirmed: 1, ..largest(most + 1) })).await;
    assert_eq!(store.refused(commit(999, act(7, most + 2))).await, Refusal::ActsFull);
}

pub(crate) async fn a_partition_remembers_a_most_of_actors(store: Subject) {
    let most = u64::from(ACTORS_PER_PARTITION_MAX);
    store.done(commit(1, act(1, 1))).await;
    store.pass_until(store.now_ms().await + 2).await;
    let store = Arc::new(store);
    let fillers: Vec<_> = (0..16u64)
        .map(|filler| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for actor in (2..=most).filter(|actor| actor % 16 == filler) {
                    store.done(commit(actor, act(actor, 1)).durability(Durability::Accepted)).await;
                }
            })
        })
        .collect();
    for filler in fillers {
        filler.await.expect("no filler fails");
    }
    let store = Arc::into_inner(store).expect("all others are gone");
    assert_eq!(store.refused(commit(9_999, act(1, 1))).await, repeated(1, &act(1, 1)));
    // Nobody has been idle for long, so there is no room; those that are remembered go on.
    let store = store.into_young().await;
    assert_eq!(store.refused(commit(9_999, act(most + 1, 1)).put("a", "1")).await, Refusal::ActsFull);
    store.pass_until(store.now_ms().await + 2).await;
    store.done(commit(8_001, act(2, 2))).await;
    // Where everybody counts as idle at once, the longest idle make room: one, then room for as many as went.
    let store = store.into_restarted().await;
    for new in 1..=ACTORS_FORGOTTEN_TOGETHER_MAX as u64 {
        store.done(commit(10_000 + new, act(most + new, 1))).await;
        assert_eq!(store.refused(commit(9_999, act(2, 2))).await, repeated(8_001, &act(2, 2)));
    }
    store.done(commit(8_002, act(1, 1)).put("a", "forgotten, so done again")).await;
    let mut forgotten = 0;
    for actor in 3..=most {
        let said = store.commit(commit(9_999, act(actor, 1)).expect("b", Cas(1))).await;
        forgotten += u64::from(matches!(said, CommitOutcome::Refused(Refusal::Conflict { .. })));
    }
    // Of actor 1, of as many others as go with it, and once more for the last new one.
    assert_eq!(forgotten, 2 * ACTORS_FORGOTTEN_TOGETHER_MAX as u64 - 1);
}

pub(crate) async fn what_is_no_act_is_refused(store: Subject) {
    for faulty in [
        act(7, 0),
        Act { confirmed: 5, ..act(7, 5) },
        Act { confirmed: 9, ..act(7, 5) },
        Act { result: Bytes::from(vec![0; ACT_RESULT_MAX_BYTES + 1]), ..act(7, 1) },
    ] {
        let said = store.call(StoreOp::Commit(commit(1, faulty))).await;
        assert!(matches!(said, StoreAnswer::Failed(StoreFault::Invalid(_))), "{said:?}");
    }
    assert_eq!(store.load(&chunk()).await.token, Token::NONE);
}
