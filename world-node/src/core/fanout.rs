//! Phase 7: what every client gets this tick, in one gathered write each.

use super::NodeCore;
use super::ports::{ClientSink, Standing};
use super::session::{Session, Stage};
use bytes::Bytes;
use chunk_sync::ids::ConnId;
use chunk_sync::interest::{Change, Interest};
use chunk_sync::limits::*;
use chunk_sync::place::ChunkPos;
use chunk_sync::wire::{LAND_FRAME_BYTES, TICK_HEADER_BYTES_MAX, TickHeader, land_frame};

/// Blocks of one tick frame; more go into another frame of the same tick.
const FRAME_BLOCK_BYTES_MAX: usize = SERVER_FRAME_BYTES_MAX - 64;

/// Bytes of others' blocks that an island keeps for its clients while the node may not speak.
const WAITING_BLOCK_BYTES_MAX: usize = 256 * 1024;
const _: () = assert!(
    WAITING_BLOCK_BYTES_MAX * 2 < FRAME_BLOCK_BYTES_MAX,
    "what waited fits a frame with a tick's more"
);

/// What a client is due.
enum Due {
    /// Nothing new, or nothing it could take now.
    Nothing,
    /// It has been following: the bundle of its centre.
    Follow,
    /// Its view moved: a list of its own.
    Moved(Interest),
    /// It knows nothing, or was skipped: everything in view.
    Everything,
    /// It has not read for too long.
    TooSlow,
}

impl NodeCore {
    /// Sends mails, then every client its tick, then ends what is to be ended.
    pub(super) fn fan_out(&mut self, clients: &mut dyn ClientSink) {
        for (conn, frame) in std::mem::take(&mut self.sessions.mails) {
            clients.send(conn, &frame, &[]);
        }
        if self.standing == Standing::Serving {
            let mut join_bytes = JOIN_BYTES_PER_TICK_MAX;
            let mut parts = Vec::new();
            // Snapshots begin with whom the last tick's budget didn't reach, so that everybody's turn comes.
            let (conns, first) = (self.sessions.conns(), self.sessions.first_served);
            for conn in (first.min(conns)..conns).chain(0..first.min(conns)) {
                let had = join_bytes;
                self.serve_client(ConnId(conn), clients, &mut join_bytes, &mut parts);
                self.serve_docs(ConnId(conn), clients, &mut join_bytes);
                if had > 0 && join_bytes == 0 {
                    self.sessions.first_served = conn + 1;
                }
            }
            for (conn, frame) in std::mem::take(&mut self.sessions.mails) {
                clients.send(conn, &frame, &[]);
            }
            self.islands.iter_mut().for_each(super::island::Island::end_tick);
        } else {
            self.bound_waiting_blocks();
        }
        for conn in std::mem::take(&mut self.sessions.closing) {
            clients.close(conn);
            self.sessions.remove(conn);
        }
    }

    /// Others' blocks pile up while this node may not speak. Past a limit they are dropped, and the clients of that
    /// island get snapshots once it may.
    fn bound_waiting_blocks(&mut self) {
        for (at, island) in self.islands.iter_mut().enumerate() {
            if island.waiting_bytes() > WAITING_BLOCK_BYTES_MAX {
                island.end_tick();
                self.sessions.forget_told(at);
            }
        }
    }

    fn due(&mut self, conn: ConnId, clients: &dyn ClientSink, join_bytes: usize) -> Due {
        let now_ms = self.now_ms;
        let Some(session) = self.sessions.get_mut(conn).filter(|s| s.stage == Stage::Inside) else {
            return Due::Nothing;
        };
        let backlog = clients.backlog(conn);
        if backlog.bytes > 0 && now_ms.saturating_sub(backlog.stalled_since_ms) > CLIENT_STALLED_MS_MAX {
            return Due::TooSlow;
        }
        if !session.skipping && backlog.bytes > CLIENT_BACKLOG_BYTES_MAX {
            session.skipping = true;
            session.told = None;
            self.counters.skips += 1;
            return Due::Nothing;
        }
        if session.skipping {
            if backlog.bytes > 0 {
                return Due::Nothing;
            }
            session.skipping = false;
        }
        match session.told {
            None if join_bytes > 0 => Due::Everything,
            None => Due::Nothing,
            Some(told) if told == session.interest => Due::Follow,
            Some(told) => Due::Moved(told),
        }
    }

    fn serve_client(
        &mut self,
        conn: ConnId,
        clients: &mut dyn ClientSink,
        join_bytes: &mut usize,
        parts: &mut Vec<Bytes>,
    ) {
        parts.clear();
        let due = self.due(conn, clients, *join_bytes);
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let Some(island) = self.islands.get_mut(session.island) else { return };
        let mut header = TickHeader { tick: self.now.0 as u32, ack: session.ack, ..TickHeader::default() };
        match due {
            Due::Nothing => return,
            // Not now: between publishing and the last client nothing of this node's may change.
            Due::TooSlow => return self.sessions.too_slow.push(conn),
            Due::Follow => {
                let bundle = island.bundle(session.interest.centre);
                if bundle.is_empty() && session.ack == session.ack_sent && !session.put_back {
                    return;
                }
                parts.push(bundle);
            }
            Due::Moved(told) => {
                header.view = Some(session.interest.centre);
                for change in session.interest.diff(Some(told)) {
                    let (Change::Enter(pos, rate) | Change::Stay(pos, rate) | Change::Retune(pos, rate)) =
                        change
                    else {
                        continue;
                    };
                    let Some(index) = pos.index() else { continue };
                    match change {
                        Change::Stay(..) => parts.extend(island.chunks[index].news(rate).cloned()),
                        Change::Retune(..) => island.chunks[index].retune(rate, self.now, parts),
                        _ => island.chunks[index].snapshot(rate, self.now, parts),
                    }
                }
            }
            Due::Everything => {
                header.view = Some(session.interest.centre);
                header.reset = true;
                for (pos, rate) in session.interest.chunks() {
                    if let Some(index) = pos.index() {
                        island.chunks[index].snapshot(rate, self.now, parts);
                    }
                }
                let bytes: usize = parts.iter().map(Bytes::len).sum();
                *join_bytes = join_bytes.saturating_sub(bytes.max(1));
                self.counters.snapshots += 1;
            }
        }
        // Where it stands now, after all moves that the acknowledgement covers: one behind the refused one may have been good.
        header.correction = std::mem::take(&mut session.put_back).then_some(session.place);
        session.ack_sent = session.ack;
        let before = session.told.replace(session.interest);
        let new_land = session.land.then(|| newly_seen(session, before)).flatten();
        send_tick(conn, header, parts, clients);
        if let Some(chunks) = new_land {
            *join_bytes = join_bytes.saturating_sub(chunks.len() * LAND_FRAME_BYTES);
            self.send_land(conn, &chunks);
        }
    }

    fn send_land(&mut self, conn: ConnId, chunks: &[ChunkPos]) {
        let Some(island) = self.sessions.get(conn).map(|s| s.island) else { return };
        for pos in chunks {
            if let Some(index) = pos.index() {
                let frame = land_frame(*pos, self.islands[island].tiles(index));
                self.sessions.mail(conn, frame);
            }
        }
    }
}

/// Chunks that were not in the view told before.
fn newly_seen(session: &Session, before: Option<Interest>) -> Option<Vec<ChunkPos>> {
    let fresh = session.interest.diff(before).filter_map(|change| match change {
        Change::Enter(pos, _) => Some(pos),
        _ => None,
    });
    let fresh: Vec<ChunkPos> = fresh.collect();
    (!fresh.is_empty()).then_some(fresh)
}

/// One tick frame, or several when its blocks exceed the limit of a frame.
fn send_tick(conn: ConnId, mut header: TickHeader, parts: &[Bytes], clients: &mut dyn ClientSink) {
    let mut out = [0; TICK_HEADER_BYTES_MAX];
    let mut left = parts;
    loop {
        let mut bytes = 0;
        let fits = left
            .iter()
            .take_while(|part| {
                bytes += part.len();
                bytes <= FRAME_BLOCK_BYTES_MAX
            })
            .count();
        let (now, later) = left.split_at(fits.max(1).min(left.len()));
        let used = header.encode(now.iter().map(Bytes::len).sum(), &mut out);
        clients.send(conn, &out[..used], now);
        if later.is_empty() {
            return;
        }
        left = later;
        header = TickHeader { tick: header.tick, ack: header.ack, ..TickHeader::default() };
    }
}
