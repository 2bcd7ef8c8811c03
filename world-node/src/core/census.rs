//! What the node counts and reports: counters for metrics, the census for the allocators.

use super::NodeCore;
use crate::executor::ExecutorCounters;
use chunk_sync::limits::CENSUS_EVERY_TICKS;
use chunk_sync::mesh_wire::{Census, ChunkCensus, Topic, encode};
use chunk_sync::wire::RejectCode;
use std::collections::BTreeMap;

/// Counts since the start.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Counters {
    /// Ticks that ran.
    pub ticks: u64,
    /// Players let in.
    pub entered: u64,
    /// Steps that were refused and put back.
    pub corrections: u64,
    /// Clients skipped to keyframes.
    pub skips: u64,
    /// Snapshots of whole views that were sent.
    pub snapshots: u64,
    /// Stream frames published on channels.
    pub frames_out: u64,
    /// Their bytes.
    pub frame_bytes_out: u64,
    /// Stream frames taken from channels and passed on.
    pub frames_in: u64,
    /// Their bytes.
    pub frame_bytes_in: u64,
    /// Stream frames that were known already or came too late.
    pub frames_dropped: u64,
    /// Gaps found in streams.
    pub gaps: u64,
    /// Keyframes asked of other sources.
    pub repairs: u64,
    /// Messages of other members that were refused as malformed.
    pub garbage: u64,
    /// Creatures given to others.
    pub released: u64,
    /// Creatures taken from others or from nobody.
    pub adopted: u64,
    /// Times that the node found itself late and asked the store who it is.
    pub pauses: u64,
    /// Places of players that were given to the store.
    pub checkpoints: u64,
    /// Commits to chunks that other nodes were told of.
    pub commits_told: u64,
    /// Dead incarnations that this node took over.
    pub takeovers: u64,
    /// Of acts, transfers and readings.
    pub acts: ExecutorCounters,
    rejects: BTreeMap<RejectCode, u64>,
}

impl Counters {
    pub(super) fn reject(&mut self, code: RejectCode) {
        *self.rejects.entry(code).or_default() += 1;
    }

    /// Refusals, by code.
    pub fn rejects(&self) -> impl Iterator<Item = (RejectCode, u64)> {
        self.rejects.iter().map(|(code, count)| (*code, *count))
    }
}

/// What the shell measured.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    cpu_s: f64,
    tick_ms: (f32, f32),
}

impl NodeCore {
    /// Notes the shell's measurements: CPU seconds of the node's thread, median and 99th percentile of a tick in
    /// milliseconds over the last 10 s.
    pub fn note_load(&mut self, cpu_s: f64, tick_ms: (f32, f32)) {
        self.load = Load { cpu_s, tick_ms };
    }

    /// Sessions that are inside.
    pub fn sessions(&self) -> u32 {
        self.sessions.inside
    }

    /// Islands of the plan that this node serves.
    pub fn islands_served(&self) -> u32 {
        self.islands.len() as u32
    }

    /// Entities of other nodes that are shown here.
    pub fn ghosts(&self) -> u32 {
        let chunks = self.islands.iter().flat_map(|i| &i.chunks);
        let shown = chunks.flat_map(|c| &c.ghosts).filter(|g| !g.is_hidden());
        shown.map(|g| g.slots().len() as u32).sum()
    }

    /// Chunks that this node claims.
    pub fn chunks_claimed(&self) -> u32 {
        let chunks = self.islands.iter().flat_map(|i| &i.chunks);
        chunks.filter(|c| c.claim.is_held()).count() as u32
    }

    /// Phase 8, second half: the census, every few ticks.
    pub(super) fn say_census(&mut self) {
        if !self.now.0.is_multiple_of(CENSUS_EVERY_TICKS) {
            return;
        }
        let sessions = self.sessions.iter().filter(|(_, s)| s.holds_seat());
        let census = Census {
            node: self.config.node,
            source: self.config.source,
            tick: self.now,
            sessions: sessions.map(|(_, s)| (s.player, s.ticket_number, self.islands[s.island].id)).collect(),
            chunks: self.chunk_census(),
            ghosts: self.ghosts(),
            cpu_s: self.load.cpu_s,
            tick_ms: self.load.tick_ms,
            open: true,
            serves: self.islands.iter().map(|island| island.id).collect(),
        };
        self.say(Topic::Census, encode(&census).into());
    }

    fn chunk_census(&self) -> Vec<ChunkCensus> {
        let mut out = Vec::new();
        for island in &self.islands {
            let busy = island.chunks.iter().filter(|c| c.players > 0 || c.claim.is_held());
            out.extend(busy.map(|c| ChunkCensus {
                i: island.id,
                c: c.pos,
                n: c.players,
                claimed: c.claim.is_held(),
            }));
        }
        out
    }
}
