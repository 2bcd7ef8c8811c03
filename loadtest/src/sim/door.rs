//! The process of the simulated allocator: its core, and the door that clients knock at first. Ticked by the cluster.

use super::events::WireNo;
use super::host::hello_end;
use bytes::Bytes;
use chunk_sync::ids::{IslandId, PlayerId, Source};
use chunk_sync::mesh_wire::TopicBytes;
use chunk_sync::ports::{MeshCommand, RequestId};
use chunk_sync::store::{StoreAnswer, StoreOp};
use chunk_sync::wire::{Hello, LENGTH_BYTES, RejectCode, control, control_frame, kind};
use population_allocator::core::{AllocatorCore, RequestNo};
use std::collections::BTreeMap;

/// One start of the allocator.
pub(super) struct Door {
    pub core: AllocatorCore,
    knocking: BTreeMap<WireNo, Vec<u8>>,
    joining: BTreeMap<RequestNo, (WireNo, u64)>,
    requests: u64,
    /// What came since the last tick.
    heard: Vec<(Source, TopicBytes, Bytes)>,
    answers: Vec<(RequestId, StoreAnswer)>,
}

/// What a tick led to.
#[derive(Default)]
pub(super) struct Ticked {
    pub mesh: Vec<MeshCommand>,
    pub asked: Vec<(u64, StoreOp)>,
    /// What clients are told; their connections end with it.
    pub told: Vec<(WireNo, Bytes)>,
    pub seated: Vec<Seated>,
}

/// Somebody got a ticket.
#[derive(Debug)]
pub(super) struct Seated {
    pub player: PlayerId,
    pub island: IslandId,
    /// Islands that had room, as the allocator counted then.
    pub roomy: Vec<IslandId>,
    /// When the player asked for it.
    pub joined_ms: u64,
    /// The ticket.
    pub ticket: Vec<u8>,
}

impl Door {
    pub(super) fn new(core: AllocatorCore) -> Self {
        Self {
            core,
            knocking: BTreeMap::new(),
            joining: BTreeMap::new(),
            requests: 0,
            heard: Vec::new(),
            answers: Vec::new(),
        }
    }

    pub(super) fn knock(&mut self, wire: WireNo) {
        self.knocking.insert(wire, Vec::new());
    }

    pub(super) fn receive(&mut self, wire: WireNo, bytes: &[u8]) {
        if let Some(knocking) = self.knocking.get_mut(&wire) {
            knocking.extend_from_slice(bytes);
        }
    }

    pub(super) fn hang_up(&mut self, wire: WireNo) {
        self.knocking.remove(&wire);
        let request =
            self.joining.iter().find(|(_, (joining, _))| *joining == wire).map(|(request, _)| *request);
        if let Some(request) = request {
            self.joining.remove(&request);
            self.core.handle_gone(request);
        }
    }

    pub(super) fn hear(&mut self, peer: Source, topic: TopicBytes, body: Bytes) {
        self.heard.push((peer, topic, body));
    }

    pub(super) fn answer(&mut self, id: u64, answer: StoreAnswer) {
        self.answers.push((RequestId(id), answer));
    }

    pub(super) fn tick(&mut self, now_ms: u64) -> Ticked {
        let mut ticked = Ticked::default();
        for (peer, topic, body) in self.heard.drain(..) {
            self.core.handle_mesh(peer, &topic, &body, now_ms);
        }
        for (id, answer) in std::mem::take(&mut self.answers) {
            self.core.handle_answer(id, answer, now_ms);
            self.take_outcomes(&mut ticked);
        }
        self.take_joins(now_ms, &mut ticked);
        self.take_outcomes(&mut ticked);
        self.core.tick(now_ms);
        self.core.invariants();
        self.take_outcomes(&mut ticked);
        self.core.drain_mesh(&mut |command| ticked.mesh.push(command));
        self.core.drain_requests(&mut |id, op| ticked.asked.push((id.0, op)));
        ticked
    }

    /// What was decided just now, while the allocator's counts are what it was decided on.
    fn take_outcomes(&mut self, ticked: &mut Ticked) {
        let mut answers = Vec::new();
        self.core.drain_answers(&mut |answer| answers.push(answer));
        for answer in answers {
            let Some((wire, joined_ms)) = self.joining.remove(&answer.request) else { continue };
            let frame = match &answer.outcome {
                Ok(seat) => {
                    let plan = self.core.plan_record().into_iter().flat_map(|plan| &plan.islands);
                    let roomy = plan.filter(|island| self.core.taken(island.island) < island.cap);
                    ticked.seated.push(Seated {
                        player: PlayerId(seat.player),
                        island: IslandId(seat.island),
                        roomy: roomy.map(|island| island.island).collect(),
                        joined_ms,
                        ticket: seat.ticket.to_vec(),
                    });
                    control_frame(kind::SEAT, seat)
                }
                Err(code) => code.frame(),
            };
            ticked.told.push((wire, frame.into()));
        }
    }

    fn take_joins(&mut self, now_ms: u64, ticked: &mut Ticked) {
        let whole = self.knocking.iter().filter_map(|(wire, bytes)| Some((*wire, hello_end(bytes)?)));
        for (wire, end) in whole.collect::<Vec<_>>() {
            let Some(bytes) = self.knocking.remove(&wire) else { continue };
            match control::<Hello>(kind::HELLO, &bytes[LENGTH_BYTES + 1..end]) {
                Ok(hello) => {
                    self.requests += 1;
                    self.joining.insert(RequestNo(self.requests), (wire, now_ms));
                    self.core.handle_join(RequestNo(self.requests), hello, now_ms);
                }
                Err(_) => ticked.told.push((wire, RejectCode::Malformed.frame().into())),
            }
        }
    }

    /// The wires of all its clients.
    pub(super) fn wires(&self) -> Vec<WireNo> {
        let joining = self.joining.values().map(|(wire, _)| wire);
        self.knocking.keys().chain(joining).copied().collect()
    }
}
