//! Checkpoints: where a player is goes to its partition every few seconds and when it leaves, so that it comes back
//! to the spot. Each commit demands the session's epoch: who lost the session can't overwrite what its new holder wrote.
//! A guest saves nothing: its place is the one at home.

use super::NodeCore;
use super::ports::Standing;
use super::session::{Session, Stage};
use super::store::Ask;
use crate::executor::Change;
use crate::limits::{CHECKPOINT_EVERY_MS, CHECKPOINTS_PER_TICK_MAX};
use crate::rules::Partition;
use chunk_sync::ids::{ConnId, Epoch, IslandId, PlayerId};
use chunk_sync::place::Place;
use chunk_sync::records::{DOC_PLACE, EPOCH_SESSION, PLACE_SCHEMA, PlaceRecord, encode};
use chunk_sync::store::{CommitOutcome, Durability, EpochStep, PartitionKey, Refusal, StoreAnswer};
use chunk_sync::time::Tick;
use chunk_sync::wire::RejectCode;

/// Ticks in which every session is looked at once.
const CHECKPOINT_ROUND_TICKS: u32 = 5;

/// What a session has saved of its place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Saved {
    /// The place that the store has, or is being told; `None` when that is another one, or nobody knows.
    place: Option<Place>,
    /// World milliseconds of the last try.
    tried_ms: u64,
    /// The store has yet to answer.
    busy: bool,
}

impl Saved {
    /// Of a player who comes in where the store has it, or somewhere else.
    pub(super) fn new(place: Option<Place>, now_ms: u64) -> Self {
        Self { place, tried_ms: now_ms, busy: false }
    }
}

/// Where a player was when it was last inside.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastPlace {
    pub island: IslandId,
    pub place: Place,
    pub heading: u8,
    /// When it was there.
    pub tick: Tick,
    /// The store has it so; else it was seen there.
    pub saved: bool,
}

/// Whose checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Checkpoint {
    conn: ConnId,
    player: PlayerId,
    epoch: Epoch,
    island: IslandId,
    place: Place,
    heading: u8,
    tick: Tick,
}

impl NodeCore {
    /// Phase 1, fourth part: checkpoints that are due, a few a tick. A round goes over all sessions in turn, so that
    /// nobody is passed over when there are too many.
    pub(super) fn save_places(&mut self) {
        if self.standing != Standing::Serving {
            return;
        }
        let conns = self.sessions.conns();
        let share = conns.div_ceil(CHECKPOINT_ROUND_TICKS).min(conns);
        let mut saved = 0;
        for _ in 0..share {
            if saved == CHECKPOINTS_PER_TICK_MAX {
                return;
            }
            let conn = self.sessions.next_saved % conns;
            self.sessions.next_saved = (conn + 1) % conns;
            saved += usize::from(self.save_place(ConnId(conn)));
        }
    }

    /// Saves a session's place if that is due; whether it was.
    fn save_place(&mut self, conn: ConnId) -> bool {
        let now_ms = self.now_ms;
        let inside = |session: &&mut Session| session.stage == Stage::Inside && session.saves_place();
        let Some(session) = self.sessions.get_mut(conn).filter(inside) else { return false };
        let saved = &mut session.saved;
        let due = now_ms.saturating_sub(saved.tried_ms) >= CHECKPOINT_EVERY_MS && !saved.busy;
        if !due || saved.place == Some(session.place) {
            return false;
        }
        *saved = Saved { place: Some(session.place), tried_ms: now_ms, busy: true };
        // A few seconds more or less: what is lost with the store's memory is walked again.
        self.commit_place(conn, Durability::Accepted);
        true
    }

    /// Tells the store where the session's player is now.
    pub(super) fn commit_place(&mut self, conn: ConnId, durability: Durability) {
        let Some(session) = self.sessions.get(conn) else { return };
        let checkpoint = Checkpoint {
            conn,
            player: session.player,
            epoch: session.epoch,
            island: self.islands[session.island].id,
            place: session.place,
            heading: session.heading,
            tick: self.now,
        };
        self.counters.checkpoints += 1;
        let record = PlaceRecord {
            v: PLACE_SCHEMA,
            island: checkpoint.island,
            x: checkpoint.place.x,
            y: checkpoint.place.y,
            heading: checkpoint.heading,
            tick: checkpoint.tick,
        };
        let epoch = u64::from(checkpoint.epoch.0);
        self.store.commit(Ask::SavePlace(checkpoint), PartitionKey::player(checkpoint.player), |commit| {
            commit
                .durability(durability)
                .put(DOC_PLACE, encode(&record))
                .epoch(EpochStep::Require { name: EPOCH_SESSION.into(), value: epoch })
        });
    }

    pub(super) fn place_saved(&mut self, checkpoint: Checkpoint, answer: StoreAnswer) {
        if let StoreAnswer::Committed(CommitOutcome::Done { token, previous, .. }) = answer {
            self.note_commit(Partition::Player(checkpoint.player), previous, token, Change::default());
        }
        let session = self.sessions.get_mut(checkpoint.conn);
        let same = session.filter(|s| (s.player, s.epoch) == (checkpoint.player, checkpoint.epoch));
        let Some(session) = same.filter(|s| s.stage == Stage::Inside) else { return };
        session.saved.busy = false;
        match answer {
            StoreAnswer::Committed(CommitOutcome::Done { .. }) => (),
            StoreAnswer::Committed(CommitOutcome::Refused(Refusal::EpochMismatch { .. })) => {
                // Another node has the player.
                self.end(checkpoint.conn, Some(RejectCode::Replaced));
            }
            // Not written, or nobody knows: it is made again when the next one is due.
            _ => session.saved.place = None,
        }
    }
}
