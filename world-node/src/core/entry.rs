//! Entry: `Hello`, ticket, the commit that takes the session, and the paced way into the world.

use super::NodeCore;
use super::checkpoints::{LastPlace, Saved};
use super::ports::Standing;
use super::session::{Session, Stage, Wants};
use super::store::Ask;
use crate::executor::Change;
use crate::rules::Partition;
use chunk_sync::blocks::{EntityKind, WIRE_LEVEL};
use chunk_sync::ids::{ConnId, EntityId, Epoch, PlayerId, Source};
use chunk_sync::interest::Interest;
use chunk_sync::limits::*;
use chunk_sync::mesh_wire::{Direct, Topic};
use chunk_sync::place::{Place, Pose};
use chunk_sync::random::RngExt;
use chunk_sync::records::{
    DOC_PLACE, DOC_PLACEMENT, DOC_SESSION, EPOCH_SESSION, EPOCH_TICKET, PlacementRecord, SESSION_SCHEMA,
    SessionRecord, Whereabouts, decode, encode,
};
use chunk_sync::store::{CommitOutcome, EpochStep, PartitionKey, Refusal, StoreAnswer};
use chunk_sync::sync::Who;
use chunk_sync::terrain::LANDING;
use chunk_sync::ticket::{Ticket, TicketError};
use chunk_sync::time::Tick;
use chunk_sync::wire::{
    FEATURE_DOCS, FEATURE_LAND, Hello, RejectCode, Welcome, control, control_frame, kind,
};

/// How often a session's commit is tried again when another changed the partition in between.
const TAKE_RETRIES_MAX: u8 = 3;

impl NodeCore {
    /// Takes the first frame of a new connection.
    pub fn handle_hello(&mut self, conn: ConnId, body: &[u8], now_ms: u64) {
        match self.check_hello(body) {
            Ok((ticket, island, wants)) => {
                let (player, number) = (ticket.player, ticket.number);
                self.sessions.insert(conn, Session::new(ticket, island, wants, now_ms));
                self.store.load(Ask::Player(conn, player, number), PartitionKey::player(player));
            }
            Err(code) => self.reject(conn, code),
        }
    }

    fn check_hello(&mut self, body: &[u8]) -> Result<(Ticket, usize, Wants), RejectCode> {
        match self.standing {
            Standing::Serving => (),
            Standing::Starting | Standing::Revalidating => return Err(RejectCode::Busy),
            Standing::Fenced => return Err(RejectCode::NodeLost),
            Standing::Stopping => return Err(RejectCode::Closing),
        }
        let hello: Hello = control(kind::HELLO, body).map_err(|_| RejectCode::Malformed)?;
        let protocol = hello.version().ok_or(RejectCode::Version)?;
        if !hello.reads_level(WIRE_LEVEL) {
            return Err(RejectCode::Version);
        }
        let bytes = hello.ticket.as_deref().ok_or(RejectCode::TicketForged)?;
        let ticket =
            Ticket::check(bytes, &self.config.keys, self.now_ms, self.config.node).map_err(|error| {
                match error {
                    TicketError::Forged => RejectCode::TicketForged,
                    TicketError::Expired => RejectCode::TicketExpired,
                    TicketError::Elsewhere => RejectCode::TicketElsewhere,
                }
            })?;
        let Some(island) = self.island_at(ticket.island) else {
            // The allocator knows a newer plan than this node.
            self.register.read_now();
            return Err(RejectCode::Busy);
        };
        let asks = |feature: &str| hello.features.iter().any(|f| f == feature);
        let wants = Wants { protocol, land: asks(FEATURE_LAND), docs: asks(FEATURE_DOCS) };
        Ok((ticket, island, wants))
    }

    /// The player's partition came: commit to the session, or say why not.
    pub(super) fn player_loaded(&mut self, conn: ConnId, entry: (PlayerId, u64), answer: StoreAnswer) {
        let Some(session) = self.sessions.get_mut(conn).filter(|s| s.is_taking(entry)) else { return };
        let player = entry.0;
        let StoreAnswer::Loaded(view) = answer else { return self.end(conn, Some(RejectCode::StoreAway)) };
        if view.epoch(EPOCH_TICKET) >= session.ticket_number {
            return self.end(conn, Some(RejectCode::TicketUsed));
        }
        let epoch = view.epoch(EPOCH_SESSION) + 1;
        let (number, ticketed) = (session.ticket_number, self.islands[session.island].id);
        // What this build can't read it must not overwrite: another node may be newer.
        let Ok(whereabouts) = Whereabouts::read(&view) else {
            return self.end(conn, Some(RejectCode::Busy));
        };
        let home = whereabouts.map(Whereabouts::island).filter(|home| *home != ticketed);
        // A ticket of before a journey, or one that the allocator gave before it knew of the player, leads elsewhere.
        if !session.guest_ticket && home.is_some_and(|home| self.register.is_planned(home)) {
            return self.end(conn, Some(RejectCode::Travelled));
        }
        let last = match whereabouts {
            _ if home.is_some() => None,
            Some(Whereabouts::Saved(p)) => Some(LastPlace {
                island: p.island,
                place: Place { x: p.x, y: p.y },
                heading: p.heading,
                tick: p.tick,
                saved: true,
            }),
            Some(Whereabouts::Placed(PlacementRecord { island, place: Some(place), tick, .. })) => {
                Some(LastPlace { island, place, heading: 0, tick, saved: false })
            }
            Some(Whereabouts::Placed(_) | Whereabouts::Entered(_)) | None => None,
        };
        let Some(session) = self.sessions.get_mut(conn) else { return };
        session.epoch = Epoch(epoch as u32);
        (session.last, session.home) = (last, home);
        let record = SessionRecord {
            v: SESSION_SCHEMA,
            source: self.config.source,
            epoch: session.epoch,
            island: self.islands[session.island].id,
            home,
        };
        let older =
            view.doc(DOC_SESSION).and_then(|doc| decode::<SessionRecord>(doc)).map(|record| record.source);
        let older = older.filter(|source| *source != self.config.source);
        self.store.commit(
            Ask::TakeSession(conn, player, number, older),
            PartitionKey::player(player),
            |commit| {
                let commit = commit
                    .put(DOC_SESSION, encode(&record))
                    .epoch(EpochStep::Raise { name: EPOCH_TICKET.into(), to: number })
                    .epoch(EpochStep::Raise { name: EPOCH_SESSION.into(), to: epoch });
                // A checkpoint or a journey of the holder before, made since this was read, is not to be missed.
                [DOC_SESSION, DOC_PLACE, DOC_PLACEMENT].into_iter().fold(commit, |commit, name| {
                    match view.cas(name) {
                        Some(cas) => commit.expect(name, cas),
                        None => commit.absent(name),
                    }
                })
            },
        );
    }

    /// The commit came back: the session is this node's, or somebody was faster.
    pub(super) fn session_taken(
        &mut self,
        conn: ConnId,
        entry: (PlayerId, u64),
        older: Option<Source>,
        answer: StoreAnswer,
    ) {
        let Some(session) = self.sessions.get_mut(conn).filter(|s| s.is_taking(entry)) else { return };
        let player = entry.0;
        match answer {
            StoreAnswer::Committed(CommitOutcome::Done { token, previous, .. }) => {
                session.stage = Stage::Waiting;
                let (epoch, at, saved) = (session.epoch, session.island, session.last);
                if let Some(seen) = self.seen_before(player, epoch, at, saved.map(|last| last.tick)) {
                    self.sessions.get_mut(conn).into_iter().for_each(|session| session.last = Some(seen));
                }
                if let Some(older) = older {
                    // It hears on its direct topic who has the player now; the roster says it again.
                    let took = Direct::Took { from: self.config.source, player, epoch };
                    self.say_direct(Topic::Direct(older), &took);
                }
                if let Some(other) = self.sessions.of_player(player) {
                    if self.sessions.get(other).is_some_and(|s| s.epoch > epoch) {
                        return self.end(conn, Some(RejectCode::Replaced));
                    }
                    self.end(other, Some(RejectCode::Replaced));
                }
                self.sessions.set_player(player, conn);
                self.note_commit(Partition::Player(player), previous, token, Change::default());
                self.follow_player(player);
                self.sessions.waiting.push_back(conn);
            }
            StoreAnswer::Committed(CommitOutcome::Refused(Refusal::EpochMismatch { name, .. }))
                if name.as_str() == EPOCH_TICKET =>
            {
                self.end(conn, Some(RejectCode::TicketUsed));
            }
            StoreAnswer::Committed(CommitOutcome::Refused(_)) if session.retries < TAKE_RETRIES_MAX => {
                session.retries += 1;
                self.store.load(Ask::Player(conn, player, entry.1), PartitionKey::player(player));
            }
            StoreAnswer::Committed(_) => self.end(conn, Some(RejectCode::Busy)),
            _ => self.end(conn, Some(RejectCode::StoreAway)),
        }
    }

    /// Where a player is whose session before the one of `epoch` has yet to leave, if that is known and newer than its
    /// checkpoint of tick `saved`: this node's own session, or a ghost whose poses are being followed.
    fn seen_before(
        &self,
        player: PlayerId,
        epoch: Epoch,
        island: usize,
        saved: Option<Tick>,
    ) -> Option<LastPlace> {
        let before = Epoch(epoch.0.checked_sub(1)?);
        let seen = |place, heading| LastPlace {
            island: self.islands[island].id,
            place,
            heading,
            tick: self.now,
            saved: false,
        };
        let here = self.sessions.of_player(player).and_then(|conn| self.sessions.get(conn));
        if let Some(session) =
            here.filter(|s| (s.stage, s.epoch, s.island) == (Stage::Inside, before, island))
        {
            return Some(seen(session.place, session.heading));
        }
        let is_newer = |tick: u16| saved.is_none_or(|saved| (tick.wrapping_sub(saved.wire()) as i16) > 0);
        let chunks = self.islands[island].chunks.iter();
        let mut ghosts = chunks.flat_map(|chunk| chunk.ghosts.iter().map(move |ghost| (chunk.pos, ghost)));
        ghosts.find_map(|(pos, ghost)| {
            let mut listed = ghost.slots().iter();
            let (.., pose) = listed.find(|(_, who, _)| (who.entity, who.epoch) == (player.into(), before))?;
            let fresh = ghost.follows_poses().is_some_and(is_newer);
            fresh.then(|| seen(pose.place(pos), pose.heading()))
        })
    }

    /// Phase 4: as many of the waiting as a tick may let in.
    pub(super) fn admit(&mut self) {
        if self.standing != Standing::Serving {
            return;
        }
        for _ in 0..ADMISSIONS_PER_TICK_MAX {
            let Some(conn) = self.sessions.waiting.pop_front() else { return };
            self.enter_world(conn);
        }
    }

    fn enter_world(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn).filter(|s| s.stage == Stage::Waiting) else { return };
        let (last, at) = (session.last, session.island);
        let (place, heading, is_saved) = self.entry_place(at, last);
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let Some(index) = place.chunk().index() else { return };
        let who = Who {
            entity: EntityId::from(session.player),
            epoch: session.epoch,
            kind: EntityKind::Player,
            look: 0,
            name: session.name.clone(),
        };
        let island = &mut self.islands[session.island];
        let Some(slot) = island.chunks[index].own.enter(who, Pose::new(place, heading), self.now) else {
            return self.end(conn, Some(RejectCode::Busy));
        };
        island.chunks[index].players += 1;
        session.stage = Stage::Inside;
        (session.place, session.chunk, session.slot) = (place, index, slot);
        session.heading = heading;
        session.saved = Saved::new(is_saved.then_some(place), self.now_ms);
        session.interest = Interest::at(place);
        let docs = session.docs.is_some();
        session.credit_ms = self.now_ms;
        // Who waited to be let in had nothing to say; its silence counts from now on.
        session.heard_ms = self.now_ms;
        self.sessions.inside += 1;
        if island.view(Some(Interest::at(place)), None, docs) {
            self.peers.wants_changed = true;
        }
        self.counters.entered += 1;
        self.welcome(conn);
    }

    /// Where a player stands when it comes in, where it looks, and whether the store has it so: where it was last if
    /// that was on this island and can be stood on, else at the landing.
    fn entry_place(&mut self, island: usize, last: Option<LastPlace>) -> (Place, u8, bool) {
        let last = last.filter(|last| last.island == self.islands[island].id);
        match last.filter(|last| self.islands[island].tile(last.place).is_walkable()) {
            Some(last) => (last.place, last.heading, last.saved),
            None => (landing_place(&mut self.random), 0, false),
        }
    }

    fn welcome(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get(conn) else { return };
        let welcome = Welcome {
            protocol: session.protocol,
            level: WIRE_LEVEL,
            features: features(session),
            node: self.config.node.0,
            player: session.player.0,
            epoch: session.epoch.0,
            island: self.islands[session.island].id.0,
            seed: self.config.seed,
            tick: self.now.0,
            tick_ms: TICK_MS as u32,
            island_chunks: ISLAND_EDGE_CHUNKS as u16,
            near_ring: NEAR_RING as u8,
            far_ring: FAR_RING as u8,
            walk_mm_per_s: WALK_MM_PER_S,
            keep_alive_ms: KEEP_ALIVE_MS as u32,
            x: session.place.x,
            y: session.place.y,
        };
        let frame = control_frame(kind::WELCOME, &welcome);
        self.sessions.mail(conn, frame);
    }

    /// A session's partition came: if somebody else holds it now, ours ends.
    pub(super) fn session_checked(&mut self, conn: ConnId, entry: (PlayerId, u64), answer: StoreAnswer) {
        let StoreAnswer::Loaded(view) = answer else { return };
        let inside = self.sessions.get(conn).filter(|s| s.stage == Stage::Inside);
        let Some(session) = inside.filter(|s| (s.player, s.ticket_number) == entry) else { return };
        if view.epoch(EPOCH_SESSION) > u64::from(session.epoch.0) {
            return self.end(conn, Some(RejectCode::Replaced));
        }
        self.compare_partition(Partition::Player(entry.0), &view);
    }

    /// Ends the own session of `player` if it is older than `epoch`: somebody else took it.
    pub(super) fn fence_player(&mut self, player: PlayerId, epoch: Epoch) {
        let Some(conn) = self.sessions.of_player(player) else { return };
        if self.sessions.get(conn).is_some_and(|s| s.epoch < epoch) {
            self.end(conn, Some(RejectCode::Replaced));
        }
    }
}

/// Features that are on for a session.
fn features(session: &Session) -> Vec<String> {
    let on = [(session.land, FEATURE_LAND), (session.docs.is_some(), FEATURE_DOCS)];
    on.into_iter().filter(|(on, _)| *on).map(|(_, name)| name.to_owned()).collect()
}

/// Somewhere in the landing chunk, at least two metres from its border.
fn landing_place(random: &mut chunk_sync::random::Stream) -> Place {
    let margin = 2 * QUANTA_PER_M;
    let middle = LANDING.middle();
    let half = QUANTA_PER_CHUNK / 2 - margin;
    Place { x: middle.x + random.random_range(-half..half), y: middle.y + random.random_range(-half..half) }
}
