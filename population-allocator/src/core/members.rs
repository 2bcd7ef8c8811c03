//! The nodes of the cluster, as registry, heartbeats and census show them: who is there, who has fallen silent,
//! who was replaced, and how busy each is. Used by the core only; seats are the ledger's.

use super::ports::Counters;
use crate::limits::NODE_SILENT_MS;
use chunk_sync::ids::{IslandId, NodeId, PlayerId, Source};
use chunk_sync::limits::{FRAME_AHEAD_TICKS_MAX, LINK_REMAKE_MS, NODE_LEASE_MS};
use chunk_sync::mesh_wire::{Census, ChunkCensus};
use chunk_sync::ports::MeshCommand;
use chunk_sync::records::{NodeRecord, decode, lease_name, node_doc};
use chunk_sync::store::PartitionView;
use chunk_sync::time::Tick;
use std::collections::BTreeMap;

/// What a node last said about itself.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    /// When it said so, by its own world clock.
    pub tick: Tick,
    /// Sessions.
    pub sessions: u32,
    /// Population and claims.
    pub chunks: Vec<ChunkCensus>,
    /// Entities of others that it shows.
    pub ghosts: u32,
    /// CPU seconds of its thread.
    pub cpu_s: f64,
    /// Tick length, median and 99th percentile, milliseconds.
    pub tick_ms: (f32, f32),
    /// Whether it lets newcomers in.
    pub open: bool,
    /// Islands that it serves, in ascending order.
    pub serves: Vec<IslandId>,
}

/// A node that the registry names.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Its record.
    pub record: NodeRecord,
    /// Its last census.
    pub heard: Option<Heard>,
    /// Whether its lease ran when the registry was last read.
    leased: bool,
    /// When it last said anything, by our clock.
    word_ms: Option<u64>,
    /// When its link was made or remade.
    linked_ms: Option<u64>,
    /// Whom its last census listed, in ascending order.
    listed: Vec<PlayerId>,
    /// Its sessions were put in grace.
    lost: bool,
}

impl Member {
    fn new(record: NodeRecord) -> Self {
        Member {
            record,
            heard: None,
            leased: false,
            word_ms: None,
            linked_ms: None,
            listed: Vec::new(),
            lost: false,
        }
    }

    fn spoke_within(&self, ms: u64, now_ms: u64) -> bool {
        self.word_ms.is_some_and(|word_ms| now_ms.saturating_sub(word_ms) <= ms)
    }

    /// Whether players may be sent to it.
    pub(super) fn is_live(&self, now_ms: u64) -> bool {
        self.record.alive && self.heard.is_some() && self.spoke_within(NODE_SILENT_MS, now_ms)
    }

    /// Whether it should be there: it holds a lease, or spoke within one.
    pub(super) fn is_expected(&self, now_ms: u64) -> bool {
        self.record.alive && (self.leased || self.spoke_within(NODE_LEASE_MS, now_ms))
    }

    /// Whether newcomers to the island may be sent to it: it is live, lets players in, and has read that there is
    /// such an island.
    pub(super) fn takes(&self, island: IslandId, now_ms: u64) -> bool {
        let ready = |heard: &Heard| heard.open && heard.serves.binary_search(&island).is_ok();
        self.is_live(now_ms) && self.heard.as_ref().is_some_and(ready)
    }

    /// Sessions that it last told.
    pub(super) fn sessions(&self) -> u32 {
        self.heard.as_ref().map_or(0, |heard| heard.sessions)
    }
}

/// An incarnation that can't be counted on any more, and whom it listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Lost {
    /// The incarnation.
    pub source: Source,
    /// Its players.
    pub listed: Vec<PlayerId>,
}

/// All nodes that the registry names.
#[derive(Debug, Default)]
pub(super) struct Members {
    nodes: BTreeMap<NodeId, Member>,
    known: bool,
}

impl Members {
    /// Whether the registry was read at all.
    pub(super) fn known(&self) -> bool {
        self.known
    }

    /// All nodes, by number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        self.nodes.iter().map(|(node, member)| (*node, member))
    }

    /// The node.
    pub(super) fn get(&self, node: NodeId) -> Option<&Member> {
        self.nodes.get(&node)
    }

    /// Nodes that should be there, by number.
    pub(super) fn expected(&self, now_ms: u64) -> Vec<NodeId> {
        self.iter().filter(|(_, member)| member.is_expected(now_ms)).map(|(node, _)| node).collect()
    }

    /// Whether every node that should be there told a census.
    pub(super) fn all_heard(&self, now_ms: u64) -> bool {
        self.nodes.values().all(|member| member.heard.is_some() || !member.is_expected(now_ms))
    }

    /// Whether the incarnation may serve players though it has not said a census.
    pub(super) fn is_unheard(&self, source: Source) -> bool {
        let member = self.nodes.values().find(|member| member.record.source == source);
        !self.known || member.is_some_and(|member| member.record.alive && member.heard.is_none())
    }

    /// Whether every node that the registry counts as alive said a census that was made at `ms` or later.
    pub(super) fn all_spoke_since(&self, ms: u64) -> bool {
        let spoke = |member: &Member| member.heard.as_ref().is_some_and(|heard| heard.tick.start_ms() >= ms);
        self.nodes.values().all(|member| !member.record.alive || spoke(member))
    }

    /// When the node's last census was made; `None` when its incarnation is gone.
    pub(super) fn spoke_ms(&self, node: NodeId) -> Option<u64> {
        let member = self.nodes.get(&node).filter(|member| member.record.alive)?;
        Some(member.heard.as_ref().map_or(0, |heard| heard.tick.start_ms()))
    }

    /// Takes the registry as it is now; returns the incarnations that are no longer in it.
    pub(super) fn refresh(&mut self, view: &PartitionView, counters: &mut Counters) -> Vec<Lost> {
        self.known = true;
        let mut lost = Vec::new();
        let mut found = BTreeMap::new();
        for (name, document) in &view.docs {
            if !name.as_str().starts_with("node/") {
                continue;
            }
            match decode::<NodeRecord>(&document.value) {
                Some(record) if node_doc(record.node) == name.as_str() => {
                    found.insert(record.node, record);
                }
                _ => counters.records_malformed += 1,
            }
        }
        for (node, record) in &found {
            let leased = |record: &NodeRecord| {
                let lease = view.leases.get(lease_name(record.source).as_str());
                lease.is_some_and(|lease| !lease.expired(view.store_ms))
            };
            let member = self.nodes.entry(*node).or_insert_with(|| Member::new(record.clone()));
            if member.record.source != record.source {
                let old = std::mem::replace(member, Member::new(record.clone()));
                lost.push(Lost { source: old.record.source, listed: old.listed });
            } else if member.record.alive && !record.alive && !member.lost {
                member.lost = true;
                lost.push(Lost { source: record.source, listed: member.listed.clone() });
            }
            member.leased = leased(record);
            member.record = record.clone();
        }
        self.nodes.retain(|node, member| {
            let stays = found.contains_key(node);
            if !stays {
                lost.push(Lost { source: member.record.source, listed: std::mem::take(&mut member.listed) });
            }
            stays
        });
        lost
    }

    /// The nodes that just fell silent.
    pub(super) fn silent(&mut self, now_ms: u64) -> Vec<Lost> {
        let mut lost = Vec::new();
        for member in self.nodes.values_mut() {
            if member.heard.is_some() && !member.lost && !member.spoke_within(NODE_SILENT_MS, now_ms) {
                member.lost = true;
                lost.push(Lost { source: member.record.source, listed: member.listed.clone() });
            }
        }
        lost
    }

    /// The links that have to change: `linked` are those that stand.
    pub(super) fn links(&mut self, linked: &mut BTreeMap<Source, String>, now_ms: u64) -> Vec<MeshCommand> {
        let mut commands = Vec::new();
        let wanted: BTreeMap<Source, String> = self
            .nodes
            .values()
            .filter(|member| member.is_expected(now_ms))
            .map(|member| (member.record.source, member.record.mesh.clone()))
            .collect();
        linked.retain(|source, _| {
            let stays = wanted.contains_key(source);
            if !stays {
                commands.push(MeshCommand::Disconnect(*source));
            }
            stays
        });
        for member in self.nodes.values_mut() {
            let source = member.record.source;
            let Some(mesh) = wanted.get(&source) else { continue };
            if linked.get(&source) != Some(mesh) {
                linked.insert(source, mesh.clone());
                member.linked_ms = Some(now_ms);
                commands.push(MeshCommand::Connect(source, mesh.clone()));
                continue;
            }
            let quiet_since = member.word_ms.max(member.linked_ms).unwrap_or(now_ms);
            if now_ms.saturating_sub(quiet_since) > LINK_REMAKE_MS {
                member.linked_ms = Some(now_ms);
                commands.push(MeshCommand::Remake(source));
            }
        }
        commands
    }

    /// The source speaks: its node, if it is the current incarnation of one that the registry counts as alive.
    pub(super) fn hear(&mut self, peer: Source, now_ms: u64, counters: &mut Counters) -> Option<NodeId> {
        let Some((node, member)) = self.nodes.iter_mut().find(|(_, member)| member.record.source == peer)
        else {
            counters.mesh_unknown += 1;
            return None;
        };
        if !member.record.alive {
            counters.census_fenced += 1;
            return None;
        }
        member.word_ms = Some(now_ms);
        Some(*node)
    }

    /// Keeps the node's census; returns whom it listed before, or `None` when the census is of no use.
    pub(super) fn census(
        &mut self,
        node: NodeId,
        census: &mut Census,
        now_ms: u64,
        counters: &mut Counters,
    ) -> Option<Vec<PlayerId>> {
        let member = self.nodes.get_mut(&node)?;
        let stale = member.heard.as_ref().is_some_and(|heard| census.tick <= heard.tick);
        if stale || census.tick.since(Tick::at_ms(now_ms)) > FRAME_AHEAD_TICKS_MAX {
            counters.census_stale += 1;
            return None;
        }
        let mut chunks = std::mem::take(&mut census.chunks);
        chunks.retain(|chunk| chunk.c.index().is_some());
        let mut serves = std::mem::take(&mut census.serves);
        serves.sort_unstable();
        member.heard = Some(Heard {
            tick: census.tick,
            sessions: u32::try_from(census.sessions.len()).unwrap_or(u32::MAX),
            chunks,
            ghosts: census.ghosts,
            cpu_s: if census.cpu_s.is_finite() { census.cpu_s } else { 0.0 },
            tick_ms: (finite(census.tick_ms.0), finite(census.tick_ms.1)),
            open: census.open,
            serves,
        });
        member.lost = false;
        let mut listed: Vec<PlayerId> = census.sessions.iter().map(|(player, ..)| *player).collect();
        listed.sort_unstable();
        listed.dedup();
        Some(std::mem::replace(&mut member.listed, listed))
    }
}

fn finite(ms: f32) -> f32 {
    if ms.is_finite() { ms } else { 0.0 }
}
