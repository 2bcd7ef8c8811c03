//! Sessions of this node: one per connection that said `Hello`, from the ticket to the last byte.

use super::NodeCore;
use super::checkpoints::{LastPlace, Saved};
use super::docs::DocsTold;
use super::island::Island;
use crate::limits::ACTS_SAVED_MAX;
use chunk_sync::ids::{ConnId, Epoch, IslandId, PlayerId};
use chunk_sync::interest::Interest;
use chunk_sync::limits::{
    CLIENT_FRAMES_PER_TICK_MAX, CLIENT_FRAMES_SAVED_PER_TICK, SILENT_MS_MAX, TICK_MS, WALK_SAVED_MS_MAX,
};
use chunk_sync::place::Place;
use chunk_sync::store::Durability;
use chunk_sync::ticket::Ticket;
use chunk_sync::time::Tick;
use chunk_sync::wire::{Framer, Move, RejectCode, WireError, kind};
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

/// How far a session is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// The store is asked for it.
    Taking,
    /// It is this node's; waits to be let in.
    Waiting,
    /// In the world.
    Inside,
    /// Told to go; nothing more is read or sent.
    Gone,
}

/// What a client's `Hello` asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wants {
    pub protocol: u16,
    pub land: bool,
    pub docs: bool,
}

/// One session.
pub(super) struct Session {
    pub stage: Stage,
    pub player: PlayerId,
    pub name: Box<str>,
    pub ticket_number: u64,
    pub epoch: Epoch,
    pub land: bool,
    /// What it was told of documents, if it wants them.
    pub docs: Option<DocsTold>,
    /// Number of its last act in this session.
    pub last_act: u32,
    /// Acts that it may ask for at once, and when that was counted.
    pub acts_saved: u32,
    pub acts_tick: Tick,
    /// Acts of earlier sessions that it asked for again.
    pub acts_again: u32,
    /// It set out for another island.
    pub travelled: bool,
    /// The ticket is a guest's.
    pub guest_ticket: bool,
    /// Of a guest: the home, on another island.
    pub home: Option<IslandId>,
    pub protocol: u16,
    pub retries: u8,
    /// Number of the island in `NodeCore::islands`.
    pub island: usize,
    pub place: Place,
    pub heading: u8,
    /// Number of the chunk whose slot it has.
    pub chunk: usize,
    pub slot: u16,
    pub moved: bool,
    pub ack: u16,
    pub ack_sent: u16,
    /// A step of it was refused; it has yet to hear where it stands.
    pub put_back: bool,
    /// Walking distance saved up, in thousandths of quanta, and when it was last counted.
    pub credit: i64,
    pub credit_ms: u64,
    pub interest: Interest,
    /// The view that the client was told; `None` while it needs everything.
    pub told: Option<Interest>,
    pub skipping: bool,
    /// Where the player was when it was last inside, if that is known.
    pub last: Option<LastPlace>,
    pub saved: Saved,
    framer: Framer,
    /// World milliseconds of the client's last whole frame, or of its entry.
    pub heard_ms: u64,
    /// World milliseconds of its last bytes.
    bytes_ms: u64,
    frames: usize,
    frames_ms: u64,
    /// Frames beyond a tick's share that it may still send, since it was not heard for long.
    frames_saved: usize,
}

impl Session {
    pub(super) fn new(ticket: Ticket, island: usize, wants: Wants, now_ms: u64) -> Self {
        Self {
            stage: Stage::Taking,
            player: ticket.player,
            name: ticket.name.into(),
            ticket_number: ticket.number,
            epoch: Epoch(0),
            land: wants.land,
            docs: wants.docs.then(DocsTold::default),
            last_act: 0,
            acts_saved: ACTS_SAVED_MAX,
            acts_tick: Tick::at_ms(now_ms),
            acts_again: 0,
            travelled: false,
            guest_ticket: ticket.guest,
            home: None,
            protocol: wants.protocol,
            retries: 0,
            island,
            place: Place::default(),
            heading: 0,
            chunk: 0,
            slot: 0,
            moved: false,
            ack: 0,
            ack_sent: 0,
            put_back: false,
            credit: super::moves::credit(WALK_SAVED_MS_MAX),
            credit_ms: now_ms,
            interest: Interest::at(Place::default()),
            told: None,
            skipping: false,
            last: None,
            saved: Saved::default(),
            framer: Framer::for_clients(),
            heard_ms: now_ms,
            bytes_ms: now_ms,
            frames: 0,
            frames_ms: now_ms,
            frames_saved: 0,
        }
    }
}

impl Session {
    /// Whether the store is being asked for this player with this ticket, and for no other.
    pub(super) fn is_taking(&self, entry: (PlayerId, u64)) -> bool {
        self.stage == Stage::Taking && (self.player, self.ticket_number) == entry
    }

    /// Whether the player comes back to where it stands: not a guest, who comes home, nor who travels on.
    pub(super) fn saves_place(&self) -> bool {
        self.home.is_none() && !self.travelled
    }

    /// Whether the session is inside or about to be.
    pub(super) fn holds_seat(&self) -> bool {
        self.stage != Stage::Gone
    }
}

/// All sessions, by connection.
#[derive(Default)]
pub(super) struct Sessions {
    by_conn: Vec<Option<Session>>,
    by_player: BTreeMap<PlayerId, ConnId>,
    /// Taken, waiting to be let in, first come first.
    pub waiting: VecDeque<ConnId>,
    /// Whole frames to be sent before this tick's.
    pub mails: Vec<(ConnId, Vec<u8>)>,
    /// Connections to end after this tick's sending.
    pub closing: Vec<ConnId>,
    /// Sessions with a step to apply.
    pub stepped: Vec<ConnId>,
    /// Sessions that were moved this tick and whose view may follow.
    pub walked: Vec<ConnId>,
    /// Sessions to be ended at the next step, since they read nothing for too long.
    pub too_slow: Vec<ConnId>,
    /// Number of the connection that the next fan-out begins with.
    pub first_served: u32,
    /// Number of the connection whose place is looked at next for saving.
    pub next_saved: u32,
    pub inside: u32,
}

impl Sessions {
    pub(super) fn get(&self, conn: ConnId) -> Option<&Session> {
        self.by_conn.get(conn.0 as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Session> {
        self.by_conn.get_mut(conn.0 as usize)?.as_mut()
    }

    pub(super) fn insert(&mut self, conn: ConnId, session: Session) {
        let at = conn.0 as usize;
        if self.by_conn.len() <= at {
            self.by_conn.resize_with(at + 1, || None);
        }
        self.by_conn[at] = Some(session);
    }

    pub(super) fn remove(&mut self, conn: ConnId) -> Option<Session> {
        self.by_conn.get_mut(conn.0 as usize)?.take()
    }

    pub(super) fn of_player(&self, player: PlayerId) -> Option<ConnId> {
        self.by_player.get(&player).copied()
    }

    pub(super) fn set_player(&mut self, player: PlayerId, conn: ConnId) {
        self.by_player.insert(player, conn);
    }

    pub(super) fn clear_player(&mut self, player: PlayerId, conn: ConnId) {
        if self.by_player.get(&player) == Some(&conn) {
            self.by_player.remove(&player);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnId, &Session)> {
        let rows = self.by_conn.iter().enumerate();
        rows.filter_map(|(at, session)| Some((ConnId(at as u32), session.as_ref()?)))
    }

    /// For so long nobody was listened to: that wasn't silence.
    pub(super) fn forgive(&mut self, late_ms: u64, now_ms: u64) {
        let sessions = self.by_conn.iter_mut().flatten();
        sessions.for_each(|session| session.heard_ms = (session.heard_ms + late_ms).min(now_ms));
    }

    /// Everybody on an island needs everything.
    pub(super) fn forget_told(&mut self, island: usize) {
        self.by_conn.iter_mut().flatten().filter(|s| s.island == island).for_each(|s| s.told = None);
    }

    pub(super) fn conns(&self) -> u32 {
        self.by_conn.len() as u32
    }

    pub(super) fn mail(&mut self, conn: ConnId, frame: Vec<u8>) {
        self.mails.push((conn, frame));
    }

    pub(super) fn close(&mut self, conn: ConnId) {
        self.closing.push(conn);
    }

    pub(super) fn invariants(&self, islands: &[Island]) {
        let mut inside = 0;
        for (_, session) in self.iter().filter(|(_, s)| s.stage == Stage::Inside) {
            inside += 1;
            let chunk = &islands[session.island].chunks[session.chunk];
            let who = chunk.own.slots().who(session.slot).expect("a session inside has a slot");
            assert_eq!(
                (who.entity, who.epoch),
                (session.player.into(), session.epoch),
                "the slot is the player's"
            );
            assert!(session.interest.rate(chunk.pos).is_some(), "players see where they stand");
        }
        assert_eq!(inside, self.inside);
    }
}

impl NodeCore {
    /// Takes bytes that a client sent after its `Hello`.
    pub fn handle_client_bytes(&mut self, conn: ConnId, bytes: &[u8], now_ms: u64) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        if session.stage == Stage::Gone {
            return;
        }
        let saved =
            (now_ms.saturating_sub(session.bytes_ms) / TICK_MS) as usize * CLIENT_FRAMES_SAVED_PER_TICK;
        if saved > CLIENT_FRAMES_PER_TICK_MAX {
            session.frames_saved = saved;
        }
        session.bytes_ms = now_ms;
        if session.frames_ms != self.now_ms {
            session.frames_ms = self.now_ms;
            session.frames = 0;
        }
        let mut framer = std::mem::replace(&mut session.framer, Framer::for_clients());
        let mut refused = None;
        let outcome = framer.feed(bytes, |kind, body| match self.client_frame(conn, kind, body) {
            Ok(()) => ControlFlow::Continue(()),
            Err(code) => {
                refused = Some(code);
                ControlFlow::Break(())
            }
        });
        if let Some(session) = self.sessions.get_mut(conn) {
            session.framer = framer;
        }
        match outcome {
            Ok(()) => (),
            Err(WireError::Stopped) => self.end(conn, refused),
            Err(_) => self.end(conn, Some(RejectCode::Malformed)),
        }
    }

    /// One frame of a client. An error ends the session with that code.
    fn client_frame(&mut self, conn: ConnId, frame_kind: u8, body: &[u8]) -> Result<(), RejectCode> {
        let Some(session) = self.sessions.get_mut(conn) else { return Ok(()) };
        // Whole frames count: bytes that never make one are silence.
        session.heard_ms = session.bytes_ms;
        session.frames += 1;
        if session.frames > CLIENT_FRAMES_PER_TICK_MAX {
            session.frames_saved = session.frames_saved.checked_sub(1).ok_or(RejectCode::Flood)?;
        }
        match (frame_kind, session.stage) {
            (kind::MOVE, Stage::Inside) => {
                let step = Move::decode(body).map_err(|_| RejectCode::Malformed)?;
                self.step(conn, step);
                Ok(())
            }
            (kind::ACT, Stage::Inside) => self.take_act(conn, body),
            (kind::PING, _) if body.len() <= 8 => {
                self.sessions.mail(conn, chunk_sync::wire::frame(kind::PONG, body));
                Ok(())
            }
            (kind::BYE, _) => {
                self.end(conn, None);
                Ok(())
            }
            (kind::MOVE | kind::ACT | kind::HELLO, _) => Err(RejectCode::Unexpected),
            _ => Err(RejectCode::Malformed),
        }
    }

    /// The client's socket ended.
    pub fn handle_client_closed(&mut self, conn: ConnId, _now_ms: u64) {
        self.leave_world(conn);
        self.sessions.remove(conn);
        // The number may name another connection by the time these would be sent.
        self.sessions.mails.retain(|(c, _)| *c != conn);
        self.sessions.closing.retain(|c| *c != conn);
    }

    /// Ends a session: it leaves the world, hears why if there is a reason, and its connection is closed.
    pub(super) fn end(&mut self, conn: ConnId, code: Option<RejectCode>) {
        if self.sessions.get(conn).is_none_or(|s| s.stage == Stage::Gone) {
            return;
        }
        self.leave_world(conn);
        match code {
            Some(code) => self.reject(conn, code),
            None => self.sessions.close(conn),
        }
    }

    /// Ends every session with the same reason.
    pub(super) fn end_all(&mut self, code: RejectCode) {
        for conn in 0..self.sessions.conns() {
            self.end(ConnId(conn), Some(code));
        }
    }

    /// Takes the player out of the world; the session stays as `Gone` until its connection is closed.
    fn leave_world(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let before = std::mem::replace(&mut session.stage, Stage::Gone);
        let (player, island, at, slot, view) =
            (session.player, session.island, session.chunk, session.slot, session.interest);
        let (epoch, docs, saves) = (session.epoch, session.docs.is_some(), session.saves_place());
        self.sessions.clear_player(player, conn);
        self.executor.end_session(player, epoch);
        if self.sessions.of_player(player).is_none() {
            self.unfollow_player(player);
        }
        if before == Stage::Inside {
            if saves {
                self.commit_place(conn, Durability::Persisted);
            }
            self.sessions.inside -= 1;
            let chunk = &mut self.islands[island].chunks[at];
            chunk.own.leave(slot, self.now);
            chunk.players -= 1;
            if self.islands[island].view(None, Some(view), docs) {
                self.peers.wants_changed = true;
            }
        }
    }

    /// Ends the sessions of clients that read nothing for too long.
    pub(super) fn drop_slow(&mut self) {
        for conn in std::mem::take(&mut self.sessions.too_slow) {
            self.end(conn, Some(RejectCode::TooSlow));
        }
    }

    /// Drops clients that have said nothing for too long.
    pub(super) fn drop_silent(&mut self) {
        let now_ms = self.now_ms;
        let silent: Vec<ConnId> = self
            .sessions
            .iter()
            .filter(|(_, s)| s.stage != Stage::Gone && now_ms.saturating_sub(s.heard_ms) > SILENT_MS_MAX)
            .map(|(conn, _)| conn)
            .collect();
        silent.into_iter().for_each(|conn| self.end(conn, Some(RejectCode::Silent)));
    }
}
