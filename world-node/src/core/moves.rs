//! Walking: checks each step of a client (speed, land), applies the good ones, puts the others back.

use super::NodeCore;
use super::ports::Standing;
use super::session::Stage;
use chunk_sync::ids::ConnId;
use chunk_sync::limits::{QUANTA_PER_M, WALK_MM_PER_S, WALK_SAVED_MS_MAX, WALK_TOLERANCE_PERCENT};
use chunk_sync::place::{Place, Pose};
use chunk_sync::wire::Move;

/// Thousandths of quanta that may be walked in `ms`, tolerance included.
pub(super) fn credit(ms: u64) -> i64 {
    let mm_per_s = i64::from(WALK_MM_PER_S) * i64::from(100 + WALK_TOLERANCE_PERCENT) / 100;
    // mm/s · ms = µm; a quantum is 1 / QUANTA_PER_M of a metre.
    mm_per_s * ms as i64 * i64::from(QUANTA_PER_M) / 1000
}

/// The length of a step, in thousandths of quanta, rounded down.
fn length(from: Place, to: Place) -> i64 {
    let squared = from.distance_squared(to).unsigned_abs().min(1 << 40);
    (squared * 1_000_000).isqrt() as i64
}

impl NodeCore {
    /// Takes a step of a client: it counts at the next tick, or the client is put back.
    pub(super) fn step(&mut self, conn: ConnId, step: Move) {
        let now_ms = self.now_ms;
        let Some(session) = self.sessions.get_mut(conn) else { return };
        session.ack = step.sequence;
        let saved = session.credit + credit(now_ms.saturating_sub(session.credit_ms));
        session.credit = saved.min(credit(WALK_SAVED_MS_MAX));
        session.credit_ms = now_ms;
        let (from, island) = (session.place, session.island);
        let length = length(from, step.place);
        if length > session.credit || !self.is_path_open(island, from, step.place) {
            self.counters.corrections += 1;
            if let Some(session) = self.sessions.get_mut(conn) {
                session.put_back = true;
            }
            return;
        }
        if let Some(session) = self.sessions.get_mut(conn) {
            session.credit -= length;
            session.place = step.place;
            session.heading = step.heading;
            if !session.moved {
                session.moved = true;
                self.sessions.stepped.push(conn);
            }
        }
    }

    /// Whether one can walk from one place straight to another, both ends and every metre between.
    fn is_path_open(&mut self, island: usize, from: Place, to: Place) -> bool {
        let (dx, dy) = (i64::from(to.x) - i64::from(from.x), i64::from(to.y) - i64::from(from.y));
        let steps = (dx.abs().max(dy.abs()) / i64::from(QUANTA_PER_M)) + 1;
        // The speed check came first, so there are few steps.
        (1..=steps).all(|n| {
            let place = Place {
                x: (i64::from(from.x) + dx * n / steps) as i32,
                y: (i64::from(from.y) + dy * n / steps) as i32,
            };
            self.islands[island].tile(place).is_walkable()
        })
    }

    /// Phase 6, first half: views follow those who walked.
    pub(super) fn follow_views(&mut self) {
        let mut walked = std::mem::take(&mut self.sessions.walked);
        for conn in walked.drain(..) {
            let Some(session) = self.sessions.get_mut(conn).filter(|s| s.stage == Stage::Inside) else {
                continue;
            };
            let view = session.interest.follow(session.place);
            if view != session.interest {
                let docs = session.docs.as_mut().map(|told| told.complete = false).is_some();
                let before = std::mem::replace(&mut session.interest, view);
                let changed = self.islands[session.island].view(Some(view), Some(before), docs);
                self.peers.wants_changed |= changed;
            }
        }
        self.sessions.walked = walked;
        self.settle_wants();
    }

    /// Phase 2: every player that stepped stands where it went.
    pub(super) fn apply_moves(&mut self) {
        if self.standing != Standing::Serving {
            // They wait, each player's newest one, until the node may speak again.
            return;
        }
        for conn in std::mem::take(&mut self.sessions.stepped) {
            let Some(session) = self.sessions.get_mut(conn) else { continue };
            session.moved = false;
            self.sessions.walked.push(conn);
            let Some(session) = self.sessions.get_mut(conn) else { continue };
            if session.stage != Stage::Inside {
                continue;
            }
            let Some(to) = session.place.chunk().index() else { continue };
            let pose = Pose::new(session.place, session.heading);
            let island = &mut self.islands[session.island];
            if to == session.chunk {
                island.chunks[to].own.step(session.slot, pose, self.now);
                continue;
            }
            let Some(who) = island.chunks[session.chunk].own.slots().who(session.slot).cloned() else {
                continue;
            };
            // The new chunk first: nobody may see the player nowhere. A full chunk lets nobody in.
            if let Some(slot) = island.chunks[to].own.enter(who, pose, self.now) {
                island.chunks[session.chunk].own.leave(session.slot, self.now);
                island.chunks[session.chunk].players -= 1;
                island.chunks[to].players += 1;
                (session.chunk, session.slot) = (to, slot);
            } else {
                let back = island.chunks[session.chunk].own.slots().pose(session.slot);
                if let Some(back) = back {
                    session.place = back.place(island.chunks[session.chunk].pos);
                }
                session.put_back = true;
            }
        }
    }
}
