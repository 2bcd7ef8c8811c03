//! The process of a simulated node: the very core that runs for real, with what a shell keeps for it: a door, client
//! sockets, a bounded inbox from each member, answers of the store. Ticked by the cluster.

use super::events::WireNo;
use super::limits::{HIDDEN_MS_MAX, INBOX_BYTES_MAX};
use super::sockets::Sockets;
use bytes::Bytes;
use chunk_sync::ids::{ConnId, EntityId, Epoch, IslandId, Source};
use chunk_sync::limits::{CLIENT_READ_BYTES_PER_TICK_MAX, HELLO_BYTES_MAX, PAUSE_MS_MAX};
use chunk_sync::mesh_wire::{Heartbeat, Topic, TopicBytes, Want, decode};
use chunk_sync::place::{ChunkPos, Pose};
use chunk_sync::ports::{MeshCommand, RequestId};
use chunk_sync::store::{StoreAnswer, StoreOp};
use chunk_sync::wire::{LENGTH_BYTES, kind};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use world_node::core::NodeCore;
use world_node::core::ports::Standing;

/// An entity as its owner has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Owned {
    pub entity: EntityId,
    pub epoch: Epoch,
    pub island: IslandId,
    pub chunk: ChunkPos,
    pub pose: Pose,
}

/// A connection that has not said `Hello` whole.
#[derive(Debug)]
struct Knocking {
    wire: WireNo,
    bytes: Vec<u8>,
}

#[derive(Debug, Default)]
struct Inbox {
    messages: VecDeque<(TopicBytes, Bytes)>,
    bytes: usize,
}

/// One start of a node.
pub(super) struct Host {
    pub core: NodeCore,
    pub sockets: Sockets,
    /// What it owned at the end of its last tick, by entity.
    pub owned: Vec<Owned>,
    /// What it said last that it takes of the others.
    pub wants: Vec<Want>,
    /// When its farewells are over whatever happens; set once it ends.
    pub ends_ms: Option<u64>,
    knocking: Vec<Knocking>,
    inboxes: BTreeMap<Source, Inbox>,
    answers: VecDeque<(RequestId, StoreAnswer)>,
    /// Messages of others that found the inbox full.
    pub dropped: u64,
    /// When it last stepped, by its clock.
    stepped_ms: Option<u64>,
    /// It woke late and has yet to ask the store who it is.
    unsure: bool,
    /// When it last took something of each source, or was excused from listening.
    heard_ms: BTreeMap<Source, u64>,
}

/// What the first half of a tick led to.
#[derive(Default)]
pub(super) struct Stepped {
    pub mesh: Vec<MeshCommand>,
    pub asked: Vec<(u64, StoreOp)>,
    /// Why the tick breaks a rule, if it does.
    pub broken: Option<String>,
}

impl Host {
    pub(super) fn new(core: NodeCore) -> Self {
        Self {
            core,
            sockets: Sockets::default(),
            owned: Vec::new(),
            wants: Vec::new(),
            ends_ms: None,
            knocking: Vec::new(),
            inboxes: BTreeMap::new(),
            answers: VecDeque::new(),
            dropped: 0,
            stepped_ms: None,
            unsure: false,
            heard_ms: BTreeMap::new(),
        }
    }

    /// A client connected.
    pub(super) fn knock(&mut self, wire: WireNo) {
        self.knocking.push(Knocking { wire, bytes: Vec::new() });
    }

    /// Bytes of a client came.
    pub(super) fn receive(&mut self, wire: WireNo, bytes: &[u8]) {
        if !self.sockets.receive(wire, bytes)
            && let Some(knocking) = self.knocking.iter_mut().find(|k| k.wire == wire)
        {
            knocking.bytes.extend_from_slice(bytes);
        }
    }

    /// A client's side ended.
    pub(super) fn hang_up(&mut self, wire: WireNo) {
        if !self.sockets.end(wire) {
            self.knocking.retain(|k| k.wire != wire);
        }
    }

    /// A message of another member came.
    pub(super) fn hear(&mut self, peer: Source, topic: TopicBytes, body: Bytes) {
        let inbox = self.inboxes.entry(peer).or_default();
        if inbox.bytes + body.len() > INBOX_BYTES_MAX {
            self.dropped += 1;
            return;
        }
        inbox.bytes += body.len();
        inbox.messages.push_back((topic, body));
    }

    pub(super) fn answer(&mut self, id: u64, answer: StoreAnswer) {
        self.answers.push_back((RequestId(id), answer));
    }

    /// The first half of a tick: takes everything in, steps the world, gives out what others are to have.
    pub(super) fn step(&mut self, now_ms: u64) -> Stepped {
        self.wake(now_ms);
        self.sockets.begin_tick(now_ms);
        self.take_connections(now_ms);
        for conn in (0..self.sockets.numbers()).map(ConnId) {
            let Some((bytes, ended)) = self.sockets.read(conn, CLIENT_READ_BYTES_PER_TICK_MAX) else {
                continue;
            };
            if !bytes.is_empty() {
                self.core.handle_client_bytes(conn, &bytes, now_ms);
            }
            if ended {
                self.core.handle_client_closed(conn, now_ms);
            }
        }
        self.read_mesh(now_ms);
        for (id, answer) in self.answers.drain(..) {
            self.core.handle_answer(id, answer, now_ms);
        }
        self.core.step_world(now_ms, &mut self.sockets);
        let mut stepped = Stepped::default();
        self.core.drain_mesh(&mut |command| stepped.mesh.push(command));
        self.core.drain_requests(&mut |id, op| stepped.asked.push((id.0, op)));
        self.listen(&mut stepped);
        stepped
    }

    /// The second half: what came of the others meanwhile, and what clients get of it all. Says what is wrong with it.
    pub(super) fn send_out(&mut self, now_ms: u64, stops: bool) -> Option<String> {
        self.read_mesh(now_ms);
        self.core.send_out(now_ms, &mut self.sockets);
        if stops {
            self.core.shutdown(now_ms, &mut self.sockets);
        }
        self.sockets.sweep();
        self.core.invariants();
        self.owned.clear();
        let owned = self.core.owned();
        self.owned.extend(owned.map(|(island, chunk, entity, epoch, pose)| Owned {
            entity,
            epoch,
            island,
            chunk,
            pose,
        }));
        self.owned.sort_unstable();
        if self.is_mute() && self.sockets.tick_frames > 0 {
            return Some(format!(
                "it is {:?} and showed clients something all the same",
                self.core.standing()
            ));
        }
        if let Some(stale) = self.stale_ghost(now_ms) {
            return Some(stale);
        }
        let twice = self.owned.windows(2).find(|pair| pair[0].entity == pair[1].entity)?;
        Some(format!("it owns entity {} twice: {twice:?}", twice[0].entity))
    }

    /// Notes whether it was away for longer than it may without asking, and forgives the others that silence.
    fn wake(&mut self, now_ms: u64) {
        let away_ms = self.stepped_ms.replace(now_ms).map_or(0, |before| now_ms.saturating_sub(before));
        self.unsure = away_ms > PAUSE_MS_MAX;
        if self.unsure {
            self.heard_ms.clear();
        }
    }

    fn read_mesh(&mut self, now_ms: u64) {
        for (peer, inbox) in &mut self.inboxes {
            if !inbox.messages.is_empty() {
                self.heard_ms.insert(*peer, now_ms);
            }
            inbox.bytes = 0;
            for (topic, body) in inbox.messages.drain(..) {
                self.core.handle_mesh(*peer, &topic, body, now_ms);
            }
        }
    }

    /// Whether it may show nothing to anybody: it is not this node's turn, or it has just woken and can't know.
    fn is_mute(&self) -> bool {
        self.unsure
            || matches!(self.core.standing(), Standing::Fenced | Standing::Revalidating | Standing::Starting)
    }

    /// A source that fell silent long ago and whose ghosts are shown all the same.
    fn stale_ghost(&mut self, now_ms: u64) -> Option<String> {
        // Silence is looked at by a step; a node that was held up after it can't know better yet.
        let looked_ms = self.stepped_ms.unwrap_or(now_ms);
        if self.core.standing() != Standing::Serving {
            // Whoever asks the store who it is forgives the others once more when the answer comes.
            self.heard_ms.clear();
            return None;
        }
        let sources: BTreeSet<Source> = self.core.shown().map(|(_, _, source, ..)| source).collect();
        sources.into_iter().find_map(|source| {
            let heard_ms = *self.heard_ms.entry(source).or_insert(now_ms);
            let silent_ms = looked_ms.saturating_sub(heard_ms);
            (silent_ms > HIDDEN_MS_MAX)
                .then(|| format!("it shows ghosts of {source}, silent for {silent_ms} ms"))
        })
    }

    /// Listens in on what the node says.
    fn listen(&mut self, stepped: &mut Stepped) {
        let mut spoke = false;
        for command in &stepped.mesh {
            let MeshCommand::Publish(topic, body) = command else { continue };
            match Topic::parse(topic) {
                Some(Topic::Chunk(..)) => spoke = true,
                Some(Topic::Heartbeat) => {
                    spoke = true;
                    self.wants =
                        decode::<Heartbeat>(body).map(|heartbeat| heartbeat.wants).unwrap_or_default();
                }
                _ => (),
            }
        }
        if spoke && self.is_mute() {
            stepped.broken =
                Some(format!("it is {:?} and told others something all the same", self.core.standing()));
        }
    }

    fn take_connections(&mut self, now_ms: u64) {
        let mut at = 0;
        while let Some(knocking) = self.knocking.get(at) {
            let Some(end) = hello_end(&knocking.bytes) else {
                at += 1;
                continue;
            };
            let Knocking { wire, bytes } = self.knocking.remove(at);
            let conn = self.sockets.adopt(wire);
            self.core.handle_hello(conn, &bytes[LENGTH_BYTES + 1..end], now_ms);
            if bytes.len() > end {
                self.core.handle_client_bytes(conn, &bytes[end..], now_ms);
            }
        }
    }

    /// The wires of all its clients.
    pub(super) fn wires(&self) -> Vec<WireNo> {
        let mut wires = self.sockets.wires();
        wires.extend(self.knocking.iter().map(|k| k.wire));
        wires
    }
}

/// Where the `Hello` frame at the start of `bytes` ends, once it is whole.
pub(super) fn hello_end(bytes: &[u8]) -> Option<usize> {
    let prefix = bytes.first_chunk::<LENGTH_BYTES>()?;
    let end = LENGTH_BYTES + (u32::from_be_bytes(*prefix) as usize).min(HELLO_BYTES_MAX);
    (bytes.len() >= end && bytes.get(LENGTH_BYTES) == Some(&kind::HELLO)).then_some(end)
}
