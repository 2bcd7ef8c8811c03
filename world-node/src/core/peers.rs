//! The other members: what they publish comes in here, what this node publishes and takes goes out here.

use super::NodeCore;
use super::island::Chunk;
use super::ports::Standing;
use crate::rules::Partition;
use bytes::Bytes;
use chunk_sync::blocks::{EntityKind, StreamId, split_block};
use chunk_sync::ids::{EntityId, Epoch, IslandId, PlayerId, Source};
use chunk_sync::limits::*;
use chunk_sync::mesh_wire::{
    ChunkCommit, ClaimNotice, CreatureState, Direct, Heartbeat, Newest, Topic, Want, decode, encode,
};
use chunk_sync::place::ChunkPos;
use chunk_sync::ports::MeshCommand;
use chunk_sync::sync::{Follower, Verdict};
use chunk_sync::time::Tick;

/// Ticks for which a change is restated in heartbeats: longer than a source may be unheard without being hidden, so
/// that whoever missed the change hears of it or starts anew.
const RESTATE_TICKS: u64 = 20;
const _: () = assert!((RESTATE_TICKS - 2 * HEARTBEAT_EVERY_TICKS) * TICK_MS > GHOST_HIDE_MS);
/// Entries of a heartbeat's wants.
const WANTS_MAX: usize = 64 * ISLAND_CHUNKS;

/// Another node.
pub(super) struct Peer {
    pub source: Source,
    pub mesh: String,
    /// World milliseconds of the last fresh message.
    heard_ms: u64,
    remade_ms: u64,
    wants: Vec<Want>,
    /// It has been silent for longer than a live member is.
    suspect: bool,
    hidden: bool,
}

/// What another node said that may end this node's right to something, or give it one. It is kept until the next
/// step: between publishing and fan-out nothing of this node's may change, since snapshots are of published states.
#[derive(Clone, Debug)]
enum News {
    /// Its roster lists somebody new, in a chunk by island and chunk number.
    Entered(usize, usize, EntityId, Epoch, EntityKind),
    /// It holds a session.
    Took(PlayerId, Epoch),
    /// It gives a creature away.
    Released(usize, usize, EntityId, Epoch, CreatureState),
}

/// How a message of another member that was understood counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Word {
    /// Said just now.
    Fresh,
    /// Said long ago, or by a clock that is far off; dropped.
    Stale,
    /// It doesn't say when it was said.
    Undated,
}

/// All other nodes, by source.
#[derive(Default)]
pub(super) struct Peers {
    list: Vec<Peer>,
    /// Silence before that is nobody's fault.
    forgiven_ms: u64,
    /// Some chunk's audience or claim changed: what this node takes must be worked out anew.
    pub wants_changed: bool,
    /// A heartbeat goes out this tick whatever the rhythm.
    say_now: bool,
    /// Claimant lists that this node changed lately.
    pub notices: Vec<(ClaimNotice, Tick)>,
    /// News since the last step, and whose; bounded by what the shell's inboxes hold.
    news: Vec<(Source, News)>,
    /// Streams that were published lately: island and chunk number, stream, when.
    changed: Vec<(usize, usize, StreamId, Tick)>,
}

impl Peers {
    pub(super) fn get(&self, source: Source) -> Option<&Peer> {
        let at = self.list.binary_search_by_key(&source, |p| p.source).ok()?;
        Some(&self.list[at])
    }

    fn get_mut(&mut self, source: Source) -> Option<&mut Peer> {
        let at = self.list.binary_search_by_key(&source, |p| p.source).ok()?;
        Some(&mut self.list[at])
    }

    /// For how long a member has said nothing, this node's own sleep left out.
    pub(super) fn silent_ms(&self, peer: &Peer, now_ms: u64) -> u64 {
        now_ms.saturating_sub(peer.heard_ms.max(self.forgiven_ms))
    }

    /// Whether the member was heard within the suspect limit.
    pub(super) fn is_live(&self, source: Source, now_ms: u64) -> bool {
        self.get(source).is_some_and(|p| self.silent_ms(p, now_ms) <= LINK_SUSPECT_MS)
    }

    /// Whether any member was heard within the suspect limit.
    pub(super) fn any_live(&self, now_ms: u64) -> bool {
        self.list.iter().any(|p| self.silent_ms(p, now_ms) <= LINK_SUSPECT_MS)
    }

    /// Nobody is to blame for silence that this node slept through.
    pub(super) fn forgive(&mut self, now_ms: u64) {
        self.forgiven_ms = now_ms;
    }

    /// Wants must be applied again, since there is a new island.
    pub(super) fn forget_wants(&mut self) {
        self.list.iter_mut().for_each(|p| p.wants.clear());
        self.wants_changed = true;
    }
}

impl NodeCore {
    pub(super) fn say(&mut self, topic: Topic, body: Bytes) {
        self.mesh.push(MeshCommand::Publish(topic.bytes(), body));
    }

    pub(super) fn say_direct(&mut self, topic: Topic, message: &Direct) {
        self.say(topic, encode(message).into());
    }

    /// Takes the registry's word on who the other nodes are: source and where to subscribe.
    pub(super) fn set_peers(&mut self, live: &[(Source, String)]) {
        let gone: Vec<Source> =
            self.peers.list.iter().map(|p| p.source).filter(|s| !live.iter().any(|(l, _)| l == s)).collect();
        for source in gone {
            self.forget_peer(source);
        }
        for (source, mesh) in live.iter().take(PEERS_MAX) {
            if let Err(at) = self.peers.list.binary_search_by_key(source, |p| p.source) {
                let peer = Peer {
                    source: *source,
                    mesh: mesh.clone(),
                    heard_ms: self.now_ms,
                    remade_ms: self.now_ms,
                    wants: Vec::new(),
                    suspect: false,
                    hidden: false,
                };
                self.mesh.push(MeshCommand::Connect(*source, peer.mesh.clone()));
                self.peers.list.insert(at, peer);
                self.peers.say_now = true;
                let now = self.now;
                self.each_chunk(|chunk| {
                    if chunk.taken != 0 {
                        await_source(chunk, *source, now);
                    }
                });
            }
        }
    }

    fn each_chunk(&mut self, act: impl FnMut(&mut Chunk)) {
        self.islands.iter_mut().flat_map(|i| &mut i.chunks).for_each(act);
    }

    /// A member left or was superseded: its ghosts and its wants end.
    fn forget_peer(&mut self, source: Source) {
        let now = self.now;
        self.doubt_chunks_of(source);
        self.peers.list.retain(|p| p.source != source);
        self.mesh.push(MeshCommand::Disconnect(source));
        self.each_chunk(|chunk| {
            chunk.remote.retain(|(s, _)| *s != source);
            if let Ok(at) = chunk.ghost_at(source) {
                hide_ghost(chunk, at, now);
                chunk.ghosts.remove(at);
            }
        });
    }

    /// A member has fallen silent: what it committed last it may never have told. The chunks where it was at work are
    /// compared with the store now, not when their turn comes.
    fn doubt_chunks_of(&mut self, source: Source) {
        let chunks =
            self.islands.iter().flat_map(|island| island.chunks.iter().map(|chunk| (island.id, chunk)));
        let shared = chunks.filter(|(_, chunk)| chunk.followed && chunk.is_served_by(source));
        let shared: Vec<Partition> =
            shared.map(|(island, chunk)| Partition::Chunk(island, chunk.pos)).collect();
        shared.into_iter().for_each(|partition| self.executor.compare_soon(partition));
    }

    /// Phase 1, second part: silence, links, gaps.
    pub(super) fn tend_peers(&mut self) {
        if self.standing != Standing::Serving {
            return;
        }
        let (now, now_ms) = (self.now, self.now_ms);
        for at in 0..self.peers.list.len() {
            let silent_ms = self.peers.silent_ms(&self.peers.list[at], now_ms);
            let peer = &mut self.peers.list[at];
            let source = peer.source;
            if silent_ms > LINK_REMAKE_MS && now_ms.saturating_sub(peer.remade_ms) > LINK_REMAKE_MS {
                peer.remade_ms = now_ms;
                peer.wants.clear();
                self.mesh.push(MeshCommand::Remake(source));
                self.each_chunk(|chunk| chunk.remote.retain(|(s, _)| *s != source));
            }
            let peer = &mut self.peers.list[at];
            let was_suspect = std::mem::replace(&mut peer.suspect, silent_ms > LINK_SUSPECT_MS);
            if peer.suspect && !was_suspect {
                self.doubt_chunks_of(source);
            }
            let peer = &mut self.peers.list[at];
            let hide = silent_ms > GHOST_HIDE_MS && !peer.hidden;
            peer.hidden = silent_ms > GHOST_HIDE_MS;
            if hide {
                self.each_chunk(|chunk| {
                    if let Ok(at) = chunk.ghost_at(source) {
                        hide_ghost(chunk, at, now);
                    }
                });
            }
        }
        self.ask_for_gaps();
    }

    fn ask_for_gaps(&mut self) {
        let mut asks = Vec::new();
        for island in &mut self.islands {
            for chunk in island.chunks.iter_mut().filter(|c| c.taken != 0) {
                for ghost in &mut chunk.ghosts {
                    let source = ghost.source();
                    if !self.peers.is_live(source, self.now_ms) {
                        continue;
                    }
                    let streams = ghost.ask(chunk.taken, self.now, REPAIR_WAIT_TICKS);
                    if streams != 0 {
                        let message = Direct::Repair {
                            from: self.config.source,
                            island: island.id,
                            chunk: chunk.pos,
                            streams,
                        };
                        asks.push((Topic::Direct(source), message));
                    }
                }
            }
        }
        for (topic, message) in asks {
            self.counters.repairs += 1;
            self.say_direct(topic, &message);
        }
    }

    /// Takes a message of another member, whatever it is. Garbage is counted and dropped.
    pub(super) fn take_mesh(&mut self, peer: Source, topic: &[u8], body: &Bytes, now_ms: u64) {
        if !matches!(self.standing, Standing::Serving | Standing::Revalidating)
            || self.peers.get(peer).is_none()
        {
            return;
        }
        let now = Tick::at_ms(now_ms);
        let understood = match Topic::parse(topic) {
            Some(Topic::Chunk(island, chunk, stream)) => {
                self.take_block(peer, (island, chunk, stream), body, now)
            }
            Some(Topic::Heartbeat) => self.take_heartbeat(peer, body, now),
            Some(Topic::Direct(source)) if source == self.config.source => self.take_direct(peer, body),
            Some(Topic::Census) => Some(Word::Undated),
            _ => None,
        };
        match understood {
            // What was said long ago doesn't show that anybody is there now.
            Some(Word::Stale) => self.counters.frames_dropped += 1,
            Some(Word::Undated) => (),
            Some(Word::Fresh) => self.heard(peer, now_ms),
            None => self.counters.garbage += 1,
        }
    }

    /// A member said something just now. In a silence for which it was not hidden, since this node slept through it,
    /// it may have told changes that are restated no more: all its streams wait for keyframes.
    fn heard(&mut self, source: Source, now_ms: u64) {
        let Some(peer) = self.peers.get_mut(source) else { return };
        let silent_ms = now_ms.saturating_sub(peer.heard_ms);
        peer.heard_ms = peer.heard_ms.max(now_ms);
        let was_hidden = std::mem::replace(&mut peer.hidden, false);
        if silent_ms > GHOST_HIDE_MS && !was_hidden {
            self.each_chunk(|chunk| {
                if let Ok(at) = chunk.ghost_at(source) {
                    chunk.ghosts[at].untake(u8::MAX);
                }
            });
        }
    }

    /// A block of another source. `None` when it is malformed or not that source's to send.
    fn take_block(
        &mut self,
        peer: Source,
        (island, pos, stream): (IslandId, ChunkPos, StreamId),
        body: &Bytes,
        now: Tick,
    ) -> Option<Word> {
        if stream == StreamId::Roster && ChunkCommit::is_one(body) {
            return self.hear_commit(Partition::Chunk(island, pos), body).map(|()| Word::Undated);
        }
        let (block, rest) = split_block(body).ok()?;
        let header = block.header;
        if !rest.is_empty() || (header.source, header.chunk, header.stream) != (peer, pos, stream) {
            return None;
        }
        let (island, index) = (self.island_at(island)?, pos.index()?);
        let chunk = &mut self.islands[island].chunks[index];
        if !now.accepts(header.tick) {
            return Some(Word::Stale);
        }
        if chunk.taken & stream.bit() == 0 {
            self.counters.frames_dropped += 1;
            return Some(Word::Fresh);
        }
        let at = await_source(chunk, peer, now);
        let mut entered: Vec<(EntityId, Epoch, EntityKind)> = Vec::new();
        let verdict = chunk.ghosts[at].follow(&block, |who| entered.push((who.entity, who.epoch, who.kind)));
        match verdict {
            Ok(Verdict::Pass) => {
                self.counters.frames_in += 1;
                self.counters.frame_bytes_in += body.len() as u64;
                if chunk.local() & stream.bit() != 0 {
                    chunk.blocks.push((stream, body.clone()));
                }
            }
            Ok(Verdict::Drop) => self.counters.frames_dropped += 1,
            Ok(Verdict::Gap(_)) => self.counters.gaps += 1,
            Err(_) => return None,
        }
        let entered = entered
            .into_iter()
            .map(|(entity, epoch, kind)| News::Entered(island, index, entity, epoch, kind));
        self.peers.news.extend(entered.map(|news| (peer, news)));
        Some(Word::Fresh)
    }

    /// Phase 1: what others said since the last step.
    pub(super) fn take_news(&mut self) {
        let mut all = std::mem::take(&mut self.peers.news);
        for (from, news) in all.drain(..) {
            match news {
                News::Entered(.., entity, epoch, EntityKind::Player) => {
                    self.fence_player(PlayerId(entity.0), epoch)
                }
                News::Entered(island, index, entity, epoch, EntityKind::Creature) => {
                    self.creature_seen(island, index, entity, epoch, from);
                }
                News::Took(player, epoch) => self.fence_player(player, epoch),
                News::Released(island, index, entity, epoch, state) => {
                    self.creature_released(island, index, entity, epoch, state);
                }
            }
        }
        self.peers.news = all;
    }

    fn take_heartbeat(&mut self, from: Source, body: &[u8], now: Tick) -> Option<Word> {
        let heartbeat: Heartbeat = decode(body)?;
        let wants = &heartbeat.wants;
        if heartbeat.source != from || wants.len() > WANTS_MAX || !wants.is_sorted_by_key(|w| (w.i, w.c)) {
            return None;
        }
        if !now.accepts(heartbeat.tick.wire()) || heartbeat.tick.0.abs_diff(now.0) > 1_000 {
            return Some(Word::Stale);
        }
        for newest in &heartbeat.newest {
            let (Some(island), Some(index)) = (self.island_at(newest.i), newest.c.index()) else { continue };
            let chunk = &mut self.islands[island].chunks[index];
            if let (Ok(at), Some(stream)) = (chunk.ghost_at(from), StreamId::from_index(newest.s)) {
                chunk.ghosts[at].note_newest(stream, newest.number());
            }
        }
        for notice in &heartbeat.claims {
            self.claims_noticed(notice);
        }
        self.take_wants(from, heartbeat.wants);
        Some(Word::Fresh)
    }

    /// Applies what a member takes; streams that it newly takes get a keyframe at the next publishing.
    fn take_wants(&mut self, from: Source, wants: Vec<Want>) {
        let Some(peer) = self.peers.get_mut(from) else { return };
        if peer.wants == wants {
            return;
        }
        let before = std::mem::replace(&mut peer.wants, wants.clone());
        for want in before {
            if let Some(chunk) = self.chunk_mut(want.i, want.c)
                && wants.binary_search_by_key(&(want.i, want.c), |w| (w.i, w.c)).is_err()
            {
                chunk.remote.retain(|(s, _)| *s != from);
            }
        }
        for want in wants {
            let Some(chunk) = self.chunk_mut(want.i, want.c) else { continue };
            match chunk.remote.iter_mut().find(|(s, _)| *s == from) {
                Some((_, mask)) => {
                    let old = std::mem::replace(mask, want.m);
                    chunk.forced |= want.m & !old;
                }
                None => {
                    chunk.remote.push((from, want.m));
                    chunk.forced |= want.m;
                }
            }
        }
    }

    fn chunk_mut(&mut self, island: IslandId, pos: ChunkPos) -> Option<&mut Chunk> {
        let (island, index) = (self.island_at(island)?, pos.index()?);
        Some(&mut self.islands[island].chunks[index])
    }

    fn take_direct(&mut self, peer: Source, body: &[u8]) -> Option<Word> {
        match decode(body)? {
            Direct::Repair { from, island, chunk, streams } if from == peer => {
                self.chunk_mut(island, chunk)?.forced |= streams;
            }
            Direct::Took { from, player, epoch } if from == peer => {
                self.peers.news.push((peer, News::Took(player, epoch)));
            }
            Direct::Release { from, entity, epoch, island, chunk, state } if from == peer => {
                let (island, index) = (self.island_at(island)?, chunk.index()?);
                self.peers.news.push((peer, News::Released(island, index, entity, epoch, state)));
            }
            Direct::Changed { from, player, commit } => self.hear_changed(from, peer, player, commit)?,
            _ => return None,
        }
        Some(Word::Undated)
    }

    /// Phase 5: every stream with an audience.
    pub(super) fn publish(&mut self) {
        let now = self.now;
        for (at, island) in self.islands.iter_mut().enumerate() {
            let id = island.id;
            for (index, chunk) in island.chunks.iter_mut().enumerate() {
                let (local, remote) = (chunk.local(), chunk.remote_mask());
                let (blocks, mesh) = (&mut chunk.blocks, &mut self.mesh);
                let (counters, changed) = (&mut self.counters, &mut self.peers.changed);
                let mut to_mesh = |stream: StreamId, bytes: Bytes| {
                    counters.frames_out += 1;
                    counters.frame_bytes_out += bytes.len() as u64;
                    mesh.push(MeshCommand::Publish(Topic::Chunk(id, chunk.pos, stream).bytes(), bytes));
                };
                chunk.own.publish(now, local | remote, |frame| {
                    if remote & frame.stream.bit() != 0 {
                        changed.push((at, index, frame.stream, now));
                        to_mesh(frame.stream, frame.bytes.clone());
                    }
                    if local & frame.stream.bit() != 0 {
                        blocks.push((frame.stream, frame.bytes));
                    }
                });
                let forced = std::mem::take(&mut chunk.forced) & remote;
                for stream in StreamId::ALL.into_iter().filter(|s| forced & s.bit() != 0) {
                    let bytes = match stream {
                        StreamId::Roster => Some(chunk.own.roster_snapshot(now)),
                        StreamId::Motion(rate) => chunk.own.motion_snapshot(rate, now),
                    };
                    if let Some(bytes) = bytes {
                        to_mesh(stream, bytes);
                    }
                }
            }
        }
    }

    /// Phase 6, second half: what this node takes of the others follows what its clients see and what it claims.
    pub(super) fn settle_wants(&mut self) {
        if !std::mem::take(&mut self.peers.wants_changed) {
            return;
        }
        self.peers.say_now = true;
        let sources: Vec<Source> = self.peers.list.iter().map(|p| p.source).collect();
        for island in &mut self.islands {
            let id = island.id;
            for chunk in &mut island.chunks {
                let claimed = if chunk.needs_roster() { StreamId::Roster.bit() } else { 0 };
                let (wanted, had) = (chunk.local() | claimed, chunk.taken);
                if wanted == had {
                    continue;
                }
                chunk.taken = wanted;
                for stream in StreamId::ALL {
                    let topic = Topic::Chunk(id, chunk.pos, stream).bytes();
                    if wanted & !had & stream.bit() != 0 {
                        self.mesh.push(MeshCommand::Subscribe(topic));
                    } else if had & !wanted & stream.bit() != 0 {
                        self.mesh.push(MeshCommand::Unsubscribe(topic));
                    }
                }
                if wanted == 0 {
                    chunk.ghosts.clear();
                    continue;
                }
                chunk.ghosts.iter_mut().for_each(|g| g.untake(had & !wanted));
                for source in &sources {
                    await_source(chunk, *source, self.now);
                }
            }
        }
    }

    /// Phase 8, first half: the heartbeat, at its rhythm and whenever wants changed.
    pub(super) fn say_heartbeat(&mut self) {
        let now = self.now;
        if !now.0.is_multiple_of(HEARTBEAT_EVERY_TICKS) && !self.peers.say_now {
            return;
        }
        self.peers.say_now = false;
        self.peers.changed.retain(|(.., when)| now.since(*when) <= RESTATE_TICKS);
        self.peers.notices.retain(|(_, when)| now.since(*when) <= RESTATE_TICKS);
        let mut streams: Vec<(usize, usize, StreamId)> =
            self.peers.changed.iter().map(|(island, index, stream, _)| (*island, *index, *stream)).collect();
        streams.sort_unstable();
        streams.dedup();
        let newest = streams.into_iter().map(|(island, index, stream)| {
            let chunk = &self.islands[island].chunks[index];
            Newest {
                i: self.islands[island].id,
                c: chunk.pos,
                s: stream.index(),
                n: chunk.own.number(stream).0,
            }
        });
        let newest = newest.collect();
        let mut wants = Vec::new();
        for island in &self.islands {
            let taken = island.chunks.iter().filter(|c| c.taken != 0);
            wants.extend(taken.map(|c| Want { i: island.id, c: c.pos, m: c.taken }));
        }
        wants.sort_unstable();
        let claims = self.peers.notices.iter().map(|(notice, _)| *notice).collect();
        let heartbeat = Heartbeat { source: self.config.source, tick: now, wants, newest, claims };
        self.say(Topic::Heartbeat, encode(&heartbeat).into());
    }
}

/// The number of the source's ghosts in the chunk, which are made if there are none.
fn await_source(chunk: &mut Chunk, source: Source, now: Tick) -> usize {
    match chunk.ghost_at(source) {
        Ok(at) => at,
        Err(at) => {
            chunk.ghosts.insert(at, Follower::new(source, chunk.pos, now));
            at
        }
    }
}

/// Hides ghosts from clients, which hear of an empty roster.
fn hide_ghost(chunk: &mut Chunk, at: usize, now: Tick) {
    let local = chunk.local();
    if let Some(bytes) = chunk.ghosts[at].hide(now)
        && local & StreamId::Roster.bit() != 0
    {
        chunk.blocks.push((StreamId::Roster, bytes));
    }
}
