//! Claims: which chunks this node serves. The list of claimants and its epoch are the store's; this is a reconciler
//! that reads what is needed, compares, and commits the difference.
//!
//! What is read may be ahead of what is safe: a list that nobody has said is done can be lost with its master, and its
//! epoch be given out once more. It is believed once a commit that rests on it is done.

use super::NodeCore;
use super::creatures::Creature;
use super::island::Chunk;
use super::ports::Standing;
use super::store::Ask;
use crate::executor::{Change, Told};
use crate::rules::Partition;
use bytes::Bytes;
use chunk_sync::ids::Source;
use chunk_sync::limits::*;
use chunk_sync::mesh_wire::ClaimNotice;
use chunk_sync::records::{ClaimsRecord, DOC_CLAIMS, DOC_SUSPENDED, EPOCH_CLAIMS, WORLD, decode, encode};
use chunk_sync::store::{CommitOutcome, EpochStep, PartitionKey, StoreAnswer};
use serde_bytes::ByteBuf;

/// How often a claimed chunk's list is compared with the store.
const CHECK_EVERY_MS: u64 = 5_000;
/// How often needs are worked out.
const NEEDS_EVERY_TICKS: u64 = 5;
/// How soon a claimant that seems dead is looked at again.
const SUSPECT_MS: u64 = 1_500;

/// This node's knowledge of a chunk's claimants.
#[derive(Default, Debug)]
pub(super) struct Claim {
    pub epoch: u64,
    pub claimants: Vec<Source>,
    held: bool,
    busy: bool,
    needed_until_ms: u64,
    next_check_ms: u64,
    /// Claimants that the registry doesn't call alive, and when they were first seen so.
    suspects: Vec<Source>,
    suspects_ms: u64,
    /// The newest epoch of which somebody said that it is done.
    noticed: u64,
    /// The newest epoch that was known to be done when the list was last asked for.
    known_when_asked: u64,
    /// The list under way to the store, and its epoch.
    proposed: (u64, Vec<Source>),
    /// What the others are told of it.
    event: Bytes,
}

impl Claim {
    /// Whether this node is a claimant.
    pub(super) fn is_held(&self) -> bool {
        self.held
    }

    /// The list is read again at once: there is a newer one.
    pub(super) fn check_now(&mut self) {
        self.next_check_ms = 0;
    }
}

impl Chunk {
    /// Whether another member claims the chunk, has somebody in it, or shows it to somebody.
    pub(super) fn is_served_by(&self, source: Source) -> bool {
        self.claim.claimants.contains(&source)
            || self.ghost_at(source).is_ok()
            || self.remote.iter().any(|(taker, _)| *taker == source)
    }

    /// Whether the others' rosters are needed here even when no client looks: to see whose creatures there are.
    pub(super) fn needs_roster(&self) -> bool {
        self.claim.held || self.claim.busy || self.creatures.iter().any(Creature::is_bound)
    }
}

impl NodeCore {
    /// Phase 1, third part: claims follow the players.
    pub(super) fn tend_claims(&mut self) {
        if self.standing != Standing::Serving || !self.now.0.is_multiple_of(NEEDS_EVERY_TICKS) {
            return;
        }
        let now_ms = self.now_ms;
        for at in 0..self.islands.len() {
            let island = &mut self.islands[at];
            for index in 0..island.chunks.len() {
                if island.chunks[index].players > 0 {
                    for near in island.chunks[index].pos.around(CLAIM_AHEAD_RING).filter_map(|p| p.index()) {
                        island.chunks[near].claim.needed_until_ms = now_ms + CLAIM_LINGER_MS;
                    }
                }
            }
            let mut due = Vec::new();
            let under_way = island.chunks.iter().filter(|c| c.claim.busy).count();
            for (index, chunk) in island.chunks.iter_mut().enumerate() {
                // Who gives a creature away has to know whose it is by now, also after its own claim has ended.
                let follows = chunk.claim.held || chunk.creatures.iter().any(Creature::is_bound);
                let claim = &mut chunk.claim;
                let needed = claim.needed_until_ms > now_ms;
                let check = follows && now_ms >= claim.next_check_ms;
                if !claim.busy && (needed != claim.held || check) && due.len() + under_way < CLAIM_COMMITS_MAX
                {
                    claim.busy = true;
                    claim.known_when_asked = claim.epoch.max(claim.noticed);
                    due.push((index, PartitionKey::chunk(WORLD, island.id, chunk.pos)));
                }
            }
            for (index, partition) in due {
                self.store.load(Ask::LoadClaims(at, index), partition);
            }
        }
    }

    pub(super) fn claims_loaded(&mut self, at: usize, index: usize, answer: StoreAnswer) {
        let (me, now_ms) = (self.config.source, self.now_ms);
        let chunk = &mut self.islands[at].chunks[index];
        let StoreAnswer::Loaded(view) = answer else {
            chunk.claim.busy = false;
            chunk.claim.next_check_ms = now_ms + CHECK_EVERY_MS;
            return;
        };
        if view.doc(DOC_SUSPENDED).is_some() {
            // Its island is in an archive: nobody serves it.
            chunk.claim.busy = false;
            chunk.claim.next_check_ms = now_ms + CHECK_EVERY_MS;
            return;
        }
        let record: ClaimsRecord = view.doc(DOC_CLAIMS).and_then(|doc| decode(doc)).unwrap_or_default();
        let epoch = view.epoch(EPOCH_CLAIMS);
        // What was heard since then may be of another master, with another list of the same epoch.
        let known = chunk.claim.known_when_asked;
        if epoch <= known {
            self.learn_claims(at, index, epoch, record.claimants.clone());
        }
        let claim = &mut self.islands[at].chunks[index].claim;
        claim.next_check_ms = now_ms + CHECK_EVERY_MS;
        let unknown: Vec<Source> =
            record.claimants.iter().copied().filter(|s| *s != me && !self.register.is_alive(*s)).collect();
        let mut wanted = record.claimants.clone();
        if unknown.is_empty() {
            claim.suspects.clear();
        } else if claim.suspects == unknown && self.register.asked_ms > claim.suspects_ms {
            // The registry was read after they were seen here, and knows none of them: they are dead.
            wanted.retain(|s| !unknown.contains(s));
            claim.suspects.clear();
        } else {
            claim.suspects = unknown;
            claim.suspects_ms = now_ms;
            claim.next_check_ms = now_ms + SUSPECT_MS;
        }
        let needed = claim.needed_until_ms > now_ms;
        match wanted.binary_search(&me) {
            Err(at) if needed && wanted.len() < CLAIMANTS_MAX => wanted.insert(at, me),
            Ok(at) if !needed => drop(wanted.remove(at)),
            _ => (),
        }
        let changes = wanted != record.claimants;
        if !changes && epoch <= known {
            claim.busy = false;
            self.peers.wants_changed = true;
            return;
        }
        claim.proposed = (epoch + u64::from(changes), wanted.clone());
        let record = encode(&ClaimsRecord { claimants: wanted });
        // Whoever follows the chunk's documents must not lose the thread for a list of claimants.
        let written = changes.then(|| (DOC_CLAIMS.to_owned(), Some(ByteBuf::from(record.clone()))));
        let event = Change { docs: written.into_iter().collect(), events: Vec::new() }.pack();
        claim.event = event.clone();
        let partition = PartitionKey::chunk(WORLD, self.islands[at].id, self.islands[at].chunks[index].pos);
        self.store.commit(Ask::CommitClaims(at, index), partition, |commit| {
            let name = EPOCH_CLAIMS.into();
            let commit = commit.absent(DOC_SUSPENDED).event(event);
            let commit = match changes {
                true => commit.put(DOC_CLAIMS, record).epoch(EpochStep::Raise { name, to: epoch + 1 }),
                // It changes nothing: once it is done, so is what was read.
                false => commit.epoch(EpochStep::Require { name, value: epoch }),
            };
            match view.cas(DOC_CLAIMS) {
                Some(cas) => commit.expect(DOC_CLAIMS, cas),
                None => commit.absent(DOC_CLAIMS),
            }
        });
        // A claimant must hear the others before its list says so.
        self.peers.wants_changed = true;
    }

    pub(super) fn claims_committed(&mut self, at: usize, index: usize, answer: StoreAnswer) {
        let claim = &mut self.islands[at].chunks[index].claim;
        claim.busy = false;
        self.peers.wants_changed = true;
        let (epoch, proposed) = std::mem::take(&mut claim.proposed);
        let event = std::mem::take(&mut claim.event);
        if let StoreAnswer::Committed(CommitOutcome::Done { token, previous, .. }) = answer {
            self.learn_claims(at, index, epoch, proposed);
            let notice =
                ClaimNotice { i: self.islands[at].id, c: self.islands[at].chunks[index].pos, e: epoch };
            self.peers.notices.push((notice, self.now));
            let partition = Partition::Chunk(self.islands[at].id, self.islands[at].chunks[index].pos);
            self.note_commit(partition, previous, token, Change::read(&event).unwrap_or_default());
            self.executor.tell(Told { partition, previous, token, event });
        } else {
            // Somebody was faster, or the outcome is unknown: read it again.
            claim.next_check_ms = 0;
        }
    }

    fn learn_claims(&mut self, at: usize, index: usize, epoch: u64, claimants: Vec<Source>) {
        let me = self.config.source;
        let claim = &mut self.islands[at].chunks[index].claim;
        if epoch < claim.epoch {
            return;
        }
        (claim.epoch, claim.claimants) = (epoch, claimants);
        claim.held = claim.claimants.contains(&me);
    }

    /// Another node changed a list: whoever knows an older one reads it again.
    pub(super) fn claims_noticed(&mut self, notice: &ClaimNotice) {
        let (Some(at), Some(index)) = (self.island_at(notice.i), notice.c.index()) else { return };
        let chunk = &mut self.islands[at].chunks[index];
        // Also who gives a creature away: it may have to go to somebody else.
        let follows = chunk.claim.held || chunk.creatures.iter().any(Creature::is_bound);
        let claim = &mut chunk.claim;
        claim.noticed = claim.noticed.max(notice.e);
        if follows && notice.e > claim.epoch {
            claim.check_now();
        }
    }
}
