//! News that comes late or never: what a node makes of messages that waited, and how it finds out by itself what
//! nobody told it. Node cores in virtual time, as in the file above.

use crate::code;
use crate::town::{ISLAND, Town, key, player};
use chunk_sync::ids::{ConnId, Epoch, Source};
use chunk_sync::limits::{
    FRAME_AGE_TICKS_MAX, LINK_SUSPECT_MS, NODE_LEASE_MS, NODE_RENEW_MS, PAUSE_MS_MAX, SILENT_MS_MAX, TICK_MS,
};
use chunk_sync::mesh_wire::{Heartbeat, Topic, encode as encode_message};
use chunk_sync::records::{DOC_SESSION, EPOCH_SESSION, SESSION_SCHEMA, SessionRecord, encode};
use chunk_sync::store::{
    Commit, CommitOutcome, EpochStep, LeaseStep, MemoryFault, PartitionKey, Refusal, StoreAnswer, StoreFault,
    StoreOp, Token,
};
use chunk_sync::time::Tick;
use chunk_sync::wire::{RejectCode, frame, kind};
use std::collections::BTreeSet;
use world_node::core::Standing;
use world_node::limits::CHECKPOINT_EVERY_MS;

/// How long after a session was taken elsewhere its old node has noticed without being told: a round, spread over
/// ticks, and the one before that had just begun.
const NOTICED_TICKS: u32 = 2 * 60 + 10;

/// Ticks of so long a time.
fn ticks(ms: u64) -> u32 {
    (ms / TICK_MS) as u32
}

fn ping(town: &mut Town, at: usize, conn: u32) {
    town.send(at, conn, &frame(kind::PING, b""));
}

#[test]
fn what_a_dead_node_left_is_looked_for_within_a_second() {
    let mut town = Town::new(3);
    let sweepers = |town: &Town| town.nodes.iter().filter(|node| node.core.is_sweeper()).count();
    assert!(town.nodes[0].core.is_sweeper(), "the oldest");
    assert_eq!(sweepers(&town), 1);
    drop(town.nodes.remove(0));
    // It is listed as alive for a lease and longer.
    town.run((LINK_SUSPECT_MS / TICK_MS) as u32 + 2);
    assert!(town.nodes[0].core.is_sweeper());
    assert_eq!(sweepers(&town), 1);
}

#[test]
fn what_a_dead_node_said_long_ago_keeps_it_no_longer_alive() {
    let mut town = Town::new(2);
    town.enter(0, 1, 1);
    town.enter(1, 2, 2);
    town.run(20);
    assert_eq!(town.seen(1, 2).players(), BTreeSet::from([1, 2]));
    let heartbeat = Heartbeat {
        source: Source(1),
        tick: Tick::at_ms(town.now_ms),
        wants: Vec::new(),
        newest: Vec::new(),
        claims: Vec::new(),
    };
    // It dies. What it said last sat in a queue on the way, and comes out of it bit by bit.
    drop(town.nodes.remove(0));
    for tick in 0..NODE_LEASE_MS / TICK_MS + 150 {
        ping(&mut town, 0, 2);
        if tick > FRAME_AGE_TICKS_MAX {
            town.inject(0, Source(1), &Topic::Heartbeat.bytes(), encode_message(&heartbeat));
        }
        town.run(1);
    }
    assert_eq!(town.nodes[0].core.counters().takeovers, 1);
    assert_eq!(town.seen(0, 2).players(), BTreeSet::from([2]));
}

/// Whether it is a renewal of node 1's lease.
fn renews_the_first(op: &StoreOp) -> bool {
    let renews = |step: &LeaseStep| matches!(step, LeaseStep::Renew { holder: 1, .. });
    matches!(op, StoreOp::Commit(commit) if commit.leases.iter().any(renews))
}

#[test]
fn who_comes_back_to_the_store_has_time_to_say_that_it_lives() {
    let mut town = Town::new(1);
    town.store.set_fault(MemoryFault::Away);
    town.run(ticks(2 * NODE_LEASE_MS + NODE_RENEW_MS));
    town.store.set_fault(MemoryFault::None);
    // A node that starts now hears nothing of it, and finds its lease long over.
    town.slow = Some(renews_the_first);
    town.start(2, 2);
    town.deaf = Some(1);
    town.run(ticks(NODE_RENEW_MS + LINK_SUSPECT_MS));
    town.catch_up();
    town.run(ticks(2 * NODE_LEASE_MS));
    assert_eq!(town.nodes[1].core.counters().takeovers, 0);
    assert!(town.nodes.iter().all(|node| node.core.standing() == Standing::Serving));
}

#[test]
fn who_slept_through_the_silence_of_a_member_starts_anew_with_it() {
    // Ticks of hearing nothing before the node stands still, those of standing still, and those after it woke.
    for (before, asleep, after) in [(0, ticks(PAUSE_MS_MAX) + 20, 4), (14, ticks(PAUSE_MS_MAX) - 1, 0)] {
        let mut town = Town::new(3);
        (0..3).for_each(|at| town.enter(at, at as u32 + 1, at as u64 + 1));
        town.run(80);
        // One of three has none of the two creatures there: its player's leaving is the last that its streams tell.
        let landing = town.place(0, 1).chunk();
        let quiet = (0..3).find(|at| {
            let mut there = town.nodes[*at].core.owned().filter(|(_, chunk, ..)| *chunk == landing);
            there.all(|(_, _, entity, ..)| !entity.is_born_with_land())
        });
        let quiet = quiet.expect("two creatures have at most two owners");
        let sleeper = (quiet + 1) % 3;
        town.deaf = Some(sleeper);
        town.send(quiet, quiet as u32 + 1, &frame(kind::BYE, b""));
        town.run(before);
        for left in (0..asleep).rev() {
            if after == 0 && left < 4 {
                // The first word comes before it looks for silence.
                town.deaf = None;
            }
            town.now_ms += TICK_MS;
            (0..3).filter(|at| *at != sleeper).for_each(|at| town.tick(at));
        }
        town.run(after);
        town.deaf = None;
        town.run(20);
        let left: BTreeSet<u64> = (0..3).filter(|at| *at != quiet).map(|at| at as u64 + 1).collect();
        assert_eq!(town.seen(sleeper, sleeper as u32 + 1).players(), left, "{before}, {asleep}, {after}");
    }
}

#[test]
fn a_session_taken_elsewhere_ends_though_nobody_said_so() {
    let mut town = Town::new(1);
    town.enter(0, 1, 1);
    town.enter(0, 2, 2);
    // Their places are saved and they stand still: no checkpoint will be refused, and tell by that.
    let saved_after = (CHECKPOINT_EVERY_MS / TICK_MS) as u32 + 15;
    town.run(saved_after);
    let checkpoints = town.nodes[0].core.counters().checkpoints;
    assert_eq!(checkpoints, 2);
    // Another node takes player 1 and dies before it has said a word.
    let record =
        SessionRecord { v: SESSION_SCHEMA, source: Source(9), epoch: Epoch(2), island: ISLAND, home: None };
    let commit = Commit::new(PartitionKey::player(player(1)), Token(77))
        .put(DOC_SESSION, encode(&record))
        .epoch(EpochStep::Raise { name: EPOCH_SESSION.into(), to: 2 });
    let now_ms = town.now_ms;
    let taken = town.store.call(now_ms, &StoreOp::Commit(commit));
    assert!(matches!(taken, StoreAnswer::Committed(CommitOutcome::Done { .. })), "{taken:?}");
    for _ in 0..NOTICED_TICKS {
        (1..=2).for_each(|conn| ping(&mut town, 0, conn));
        town.run(1);
    }
    assert_eq!((code(&town, 0, 1), code(&town, 0, 2)), (Some(RejectCode::Replaced), None));
    assert_eq!(town.nodes[0].core.counters().checkpoints, checkpoints + 1, "none but that of its leaving");
    assert_eq!(town.seen(0, 2).players(), BTreeSet::from([2]));
}

#[test]
fn a_pause_of_the_node_is_no_silence_of_its_clients() {
    for between_halves in [false, true] {
        let mut town = Town::new(1);
        town.enter(0, 1, 1);
        town.run(ticks(SILENT_MS_MAX / 2));
        // Its host stood still, or its clock was put forward, for as long as a client may be silent.
        if between_halves {
            town.now_ms += TICK_MS;
            let node = &mut town.nodes[0];
            node.core.step_world(town.now_ms, &mut node.clients);
            node.core.send_out(town.now_ms + SILENT_MS_MAX, &mut node.clients);
        }
        town.now_ms += SILENT_MS_MAX;
        town.run(ticks(SILENT_MS_MAX / 4));
        assert_eq!(town.nodes[0].core.sessions(), 1, "{between_halves}");
        town.run(ticks(SILENT_MS_MAX / 2));
        assert_eq!((town.nodes[0].core.sessions(), code(&town, 0, 1)), (0, Some(RejectCode::Silent)));
    }
}

#[test]
fn waiting_to_be_let_in_is_no_silence() {
    let mut town = Town::new(1);
    town.enter(0, 1, 1);
    town.run(1);
    // The session is taken, but the node slept and may let nobody in before the store has answered.
    town.now_ms += PAUSE_MS_MAX + 1_000;
    town.store.set_fault(MemoryFault::Away);
    town.run(ticks(SILENT_MS_MAX * 3 / 4));
    assert!(town.seen(0, 1).welcome.is_none());
    town.store.set_fault(MemoryFault::None);
    town.run(ticks(SILENT_MS_MAX / 2));
    assert!(town.seen(0, 1).welcome.is_some() && town.seen(0, 1).reject.is_none());
    assert_eq!(town.nodes[0].core.sessions(), 1, "its silence counts from its entry");
    town.run(ticks(SILENT_MS_MAX));
    assert_eq!(town.nodes[0].core.sessions(), 0);
}

#[test]
fn a_registration_whose_answer_was_lost_serves_all_the_same() {
    let mut town = Town::new(1);
    town.store.set_fault(MemoryFault::LosesAnswers);
    town.start(2, 2);
    town.run(1);
    town.store.set_fault(MemoryFault::None);
    town.run(20);
    assert_eq!(town.nodes[1].core.standing(), Standing::Serving);
}

#[test]
fn an_answer_of_the_store_belongs_to_the_connection_that_asked() {
    let mut town = Town::new(1);
    let first = town.ticket(1, "mara").sign(&key());
    let second = town.ticket(1, "mara").sign(&key());
    town.hello(0, 1, &first);
    // The connection ends before the store has answered, and its number is used again by the same player.
    let now_ms = town.now_ms;
    town.nodes[0].core.handle_client_closed(ConnId(1), now_ms);
    town.hello(0, 1, &second);
    town.run(5);
    assert!(town.seen(0, 1).welcome.as_ref().is_some_and(|w| w.epoch > 0));
    town.hello(0, 2, &second);
    town.run(5);
    assert_eq!(code(&town, 0, 2), Some(RejectCode::TicketUsed));
    assert_eq!(town.nodes[0].core.sessions(), 1);
}

/// Whether an operation registers a node, and whether it holds a lease for longer.
fn registers(op: &StoreOp) -> bool {
    let StoreOp::Commit(commit) = op else { return false };
    commit.leases.iter().any(|step| matches!(step, LeaseStep::Take { .. }))
}

fn renews(op: &StoreOp) -> bool {
    let StoreOp::Commit(commit) = op else { return false };
    commit.leases.iter().any(|step| matches!(step, LeaseStep::Renew { .. }))
}

/// A town, and the place of a node in it that is registered and was told that the store didn't answer.
fn registered_without_an_answer() -> (Town, usize) {
    let mut town = Town::new(1);
    town.slow = Some(registers);
    town.start(2, 9);
    town.run(1);
    let (at, id, op) = town.held.pop().expect("it registers");
    town.store.call(town.now_ms, &op);
    let now_ms = town.now_ms;
    town.nodes[at].core.handle_answer(id, StoreAnswer::Failed(StoreFault::TimedOut), now_ms);
    (town, at)
}

/// A refusal is no commit: the master that knows of the registration may be about to lose it with all that its replicas never
/// heard of.
#[test]
fn a_registration_whose_answer_was_lost_is_confirmed_by_a_commit_before_anybody_is_let_in() {
    let (mut town, at) = registered_without_an_answer();
    town.slow = Some(renews);
    town.run(20);
    let asks = |town: &Town| town.held.iter().any(|(of, ..)| *of == at);
    assert!(asks(&town), "it asks to be confirmed");
    assert_eq!(town.nodes[at].core.standing(), Standing::Revalidating);
    // The registration is lost after all: it registers anew, as nobody knows it yet.
    let lost = StoreAnswer::Committed(CommitOutcome::Refused(Refusal::EpochMismatch {
        name: "node/2".into(),
        current: 0,
    }));
    let asked = town.held.iter().position(|(of, ..)| *of == at).expect("it asks");
    let (_, id, _) = town.held.remove(asked);
    let now_ms = town.now_ms;
    town.nodes[at].core.handle_answer(id, lost, now_ms);
    assert_eq!(town.nodes[at].core.standing(), Standing::Starting);
    town.run(20);
    assert!(asks(&town), "it is registered, and asks once more");
    town.catch_up();
    town.run(1);
    assert_eq!(town.nodes[at].core.standing(), Standing::Serving);
}

#[test]
fn a_node_that_stops_before_it_served_stays_stopped_whatever_comes_late() {
    let (mut town, at) = registered_without_an_answer();
    town.run(20);
    assert!(town.waits(), "it registers again");
    let node = &mut town.nodes[at];
    node.core.shutdown(town.now_ms, &mut node.clients);
    town.catch_up();
    town.run(5);
    assert_eq!(town.nodes[at].core.standing(), Standing::Stopping);
}
