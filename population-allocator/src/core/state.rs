//! The state as operators see it, in the shape of `GET /api/state` (the server adds its own CPU time). Made from
//! what the core knows at one moment; nothing is decided by it.

use super::ledger::Ledger;
use super::members::Members;
use chunk_sync::ids::IslandId;
use chunk_sync::place::ChunkPos;
use chunk_sync::records::{IslandKind, IslandPhase, IslandRecord, PlanRecord};
use serde::Serialize;
use std::collections::BTreeMap;

/// The cluster, whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ClusterState {
    /// Nodes that the registry names, by number.
    pub nodes: Vec<NodeState>,
    /// Islands of the plan, by age.
    pub islands: Vec<IslandState>,
    /// Who waits.
    pub queue: QueueState,
    /// What was decided.
    pub plan: PlanState,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeState {
    /// Its number.
    pub id: u32,
    /// Where clients connect.
    pub address: String,
    /// Sessions.
    pub sessions: u32,
    /// Length of its ticks over the last 10 s.
    pub tick_ms: TickState,
    /// CPU seconds of its thread since its start.
    pub cpu_s: f64,
    /// Entities of other nodes that it shows.
    pub ghosts: u32,
    /// Chunks that it claims.
    pub chunks_claimed: u32,
    /// Whether players are sent to it.
    pub alive: bool,
}

/// Tick lengths in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct TickState {
    /// Median.
    pub p50: f32,
    /// 99th percentile.
    pub p99: f32,
}

/// An island.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IslandState {
    /// Its number.
    pub id: u32,
    /// What it is for: `settled` or `frontier`.
    pub kind: &'static str,
    /// How far it is: `warming`, `open` or `closed`.
    pub state: &'static str,
    /// Seats: people inside, tickets on their way, sessions in grace.
    pub population: u32,
    /// Wanted population.
    pub design: u32,
    /// Hard maximum.
    pub cap: u32,
    /// Population under which it feels dead.
    pub minimum: u32,
    /// Players who live there; nobody can settle yet.
    pub residents: u32,
    /// Nodes that serve it.
    pub nodes: Vec<u32>,
    /// Chunks that somebody is in or serves, south-west first.
    pub chunks: Vec<ChunkState>,
}

/// A chunk.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ChunkState {
    /// Chunks east.
    pub x: i16,
    /// Chunks north.
    pub y: i16,
    /// Players in it.
    pub population: u32,
    /// Nodes that claim it.
    pub claimants: Vec<u32>,
}

/// Who waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct QueueState {
    /// Joins without an answer.
    pub waiting: u64,
}

/// The plan that holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PlanState {
    /// Its number.
    pub number: u64,
    /// What each step of the planner did when it last looked, or why it did nothing.
    pub reasons: Vec<String>,
}

type Chunks = BTreeMap<(i16, i16), ChunkState>;

/// The state at `now_ms`.
pub(super) fn state(
    members: &Members,
    ledger: &Ledger,
    plan: Option<&PlanRecord>,
    reasons: &[String],
    waiting: usize,
    now_ms: u64,
) -> ClusterState {
    let mut chunks = chunks(members, now_ms);
    let islands = plan.map_or(&[][..], |plan| &plan.islands);
    ClusterState {
        nodes: nodes(members, now_ms),
        islands: islands.iter().map(|record| island(record, ledger, chunks.remove(&record.island))).collect(),
        queue: QueueState { waiting: waiting as u64 },
        plan: PlanState { number: plan.map_or(0, |plan| plan.number), reasons: reasons.to_vec() },
    }
}

fn nodes(members: &Members, now_ms: u64) -> Vec<NodeState> {
    let node = |(id, member): (chunk_sync::ids::NodeId, &super::members::Member)| {
        let heard = member.heard.as_ref();
        NodeState {
            id: id.0,
            address: member.record.address.clone(),
            sessions: member.sessions(),
            tick_ms: heard.map_or(TickState::default(), |heard| TickState {
                p50: heard.tick_ms.0,
                p99: heard.tick_ms.1,
            }),
            cpu_s: heard.map_or(0.0, |heard| heard.cpu_s),
            ghosts: heard.map_or(0, |heard| heard.ghosts),
            chunks_claimed: heard
                .map_or(0, |heard| heard.chunks.iter().filter(|chunk| chunk.claimed).count() as u32),
            alive: member.is_live(now_ms),
        }
    };
    members.iter().map(node).collect()
}

/// What the live nodes say of chunks, added up.
fn chunks(members: &Members, now_ms: u64) -> BTreeMap<IslandId, Chunks> {
    let mut islands: BTreeMap<IslandId, Chunks> = BTreeMap::new();
    for (id, member) in members.iter().filter(|(_, member)| member.is_live(now_ms)) {
        for census in member.heard.iter().flat_map(|heard| &heard.chunks) {
            let ChunkPos { x, y } = census.c;
            let chunk = islands.entry(census.i).or_default().entry((y, x)).or_default();
            (chunk.x, chunk.y) = (x, y);
            chunk.population = chunk.population.saturating_add(census.n);
            if census.claimed && chunk.claimants.last() != Some(&id.0) {
                chunk.claimants.push(id.0);
            }
        }
    }
    islands
}

fn island(record: &IslandRecord, ledger: &Ledger, chunks: Option<Chunks>) -> IslandState {
    IslandState {
        id: record.island.0,
        kind: match record.kind {
            IslandKind::Settled => "settled",
            IslandKind::Frontier => "frontier",
        },
        state: match record.phase {
            IslandPhase::Warming => "warming",
            IslandPhase::Open => "open",
            IslandPhase::Closed => "closed",
        },
        population: ledger.population(record.island),
        design: record.design,
        cap: record.cap,
        minimum: record.minimum,
        residents: 0,
        nodes: record.nodes.iter().map(|node| node.0).collect(),
        chunks: chunks.unwrap_or_default().into_values().collect(),
    }
}
