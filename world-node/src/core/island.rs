//! An island as a node holds it: its chunks, each with the node's own entities, everybody else's ghosts, who looks
//! at it, and this tick's blocks.

use super::claims::Claim;
use super::creatures::Creature;
use crate::rules::ChunkLand;
use bytes::Bytes;
use chunk_sync::blocks::StreamId;
use chunk_sync::ids::{IslandId, Source};
use chunk_sync::interest::{Change, Interest, Rate};
use chunk_sync::limits::{CREATURES_PER_CHUNK, ISLAND_CHUNKS};
use chunk_sync::place::{ChunkPos, Place};
use chunk_sync::sync::{Follower, Publisher};
use chunk_sync::terrain::{ChunkTiles, Terrain, Tile, tile_in_chunk};
use chunk_sync::time::Tick;

/// One chunk of one island on this node.
pub(super) struct Chunk {
    pub pos: ChunkPos,
    pub own: Publisher,
    /// Other sources' entities, by source.
    pub ghosts: Vec<Follower>,
    /// Clients of this node that look at it, by rate.
    pub viewers: [u32; 4],
    /// Players of this node in it.
    pub players: u32,
    /// Streams that other nodes take, by node.
    pub remote: Vec<(Source, u8)>,
    /// Streams that somebody must get a keyframe of.
    pub forced: u8,
    /// Streams that this node takes from the others.
    pub taken: u8,
    /// What came and what was published since the last fan-out, in order.
    pub blocks: Vec<(StreamId, Bytes)>,
    pub claim: Claim,
    /// Clients of this node that see its documents.
    pub docs_viewers: u32,
    /// Its documents are kept current.
    pub followed: bool,
    /// Frames of what changed in its documents since the last fan-out.
    pub docs_news: Vec<Bytes>,
    /// More changed than can be said so: everybody gets all of them.
    pub docs_void: bool,
    /// Frames of all of them, while nothing changes.
    pub docs_whole: Option<Vec<Bytes>>,
    land: Option<Box<ChunkLand>>,
    pub creatures: [Creature; CREATURES_PER_CHUNK],
    tiles: Option<Box<ChunkTiles>>,
}

impl Chunk {
    fn new(source: Source, island: IslandId, index: usize) -> Self {
        let pos = ChunkPos::from_index(index);
        Self {
            pos,
            own: Publisher::new(source, pos),
            ghosts: Vec::new(),
            viewers: [0; 4],
            players: 0,
            remote: Vec::new(),
            forced: 0,
            taken: 0,
            blocks: Vec::new(),
            claim: Claim::default(),
            docs_viewers: 0,
            followed: false,
            docs_news: Vec::new(),
            docs_void: false,
            docs_whole: None,
            land: None,
            creatures: std::array::from_fn(|nth| Creature::born(island, index, nth)),
            tiles: None,
        }
    }

    /// Streams that clients of this node look at.
    pub(super) fn local(&self) -> u8 {
        let motion = Rate::ALL.iter().filter(|rate| self.viewers[**rate as usize] > 0);
        let mask = motion.fold(0, |mask, rate| mask | StreamId::Motion(*rate).bit());
        if mask == 0 { 0 } else { mask | StreamId::Roster.bit() }
    }

    /// Streams that other nodes take.
    pub(super) fn remote_mask(&self) -> u8 {
        self.remote.iter().fold(0, |mask, (_, streams)| mask | streams)
    }

    /// Where the ghosts of `source` are, or would be.
    pub(super) fn ghost_at(&self, source: Source) -> Result<usize, usize> {
        self.ghosts.binary_search_by_key(&source, Follower::source)
    }

    /// Blocks that a newcomer at `rate` needs: every source's roster, then its positions.
    pub(super) fn snapshot(&mut self, rate: Rate, now: Tick, parts: &mut Vec<Bytes>) {
        parts.push(self.own.roster_snapshot(now));
        parts.extend(self.own.motion_snapshot(rate, now));
        for ghost in &mut self.ghosts {
            if let Some(roster) = ghost.roster_snapshot(now) {
                parts.push(roster);
                parts.extend(ghost.motion_snapshot(rate, now));
            }
        }
    }

    /// Blocks for somebody who had the roster and now wants the positions at `rate`.
    pub(super) fn retune(&mut self, rate: Rate, now: Tick, parts: &mut Vec<Bytes>) {
        parts.extend(
            self.blocks.iter().filter(|(s, _)| *s == StreamId::Roster).map(|(_, bytes)| bytes.clone()),
        );
        parts.extend(self.own.motion_snapshot(rate, now));
        for ghost in &mut self.ghosts {
            parts.extend(ghost.motion_snapshot(rate, now));
        }
    }

    /// This tick's blocks for somebody who sees the chunk at `rate` and has been following.
    pub(super) fn news(&self, rate: Rate) -> impl Iterator<Item = &Bytes> {
        let wanted = StreamId::Roster.bit() | StreamId::Motion(rate).bit();
        self.blocks.iter().filter(move |(stream, _)| stream.bit() & wanted != 0).map(|(_, bytes)| bytes)
    }
}

/// One island on this node.
pub(super) struct Island {
    pub id: IslandId,
    pub chunks: Vec<Chunk>,
    terrain: Terrain,
    /// What everybody whose view is centred on a chunk gets this tick; made when the first of them is served.
    bundles: Vec<Option<Bytes>>,
    bundled: Vec<usize>,
    /// Chunks that clients of this node look at.
    pub viewed: Vec<bool>,
    /// Documents of some chunk changed since the last fan-out.
    pub docs_changed: bool,
}

impl Island {
    pub(super) fn new(source: Source, id: IslandId, seed: u64) -> Self {
        Self {
            id,
            chunks: (0..ISLAND_CHUNKS).map(|index| Chunk::new(source, id, index)).collect(),
            terrain: Terrain::new(seed, id),
            bundles: vec![None; ISLAND_CHUNKS],
            bundled: Vec::new(),
            viewed: vec![false; ISLAND_CHUNKS],
            docs_changed: false,
        }
    }

    /// The tiles of a chunk, generated once.
    pub(super) fn tiles(&mut self, index: usize) -> &ChunkTiles {
        let chunk = &mut self.chunks[index];
        chunk.tiles.get_or_insert_with(|| Box::new(self.terrain.chunk_tiles(chunk.pos)))
    }

    /// The land of a chunk as the rules see it, generated once.
    pub(super) fn land(&mut self, index: usize, seed: u64) -> &ChunkLand {
        let (id, terrain, chunk) = (self.id, &self.terrain, &mut self.chunks[index]);
        let pos = chunk.pos;
        chunk.land.get_or_insert_with(|| Box::new(ChunkLand::generate(seed, id, pos, terrain)))
    }

    /// The tile under a place; off the island it is water.
    pub(super) fn tile(&mut self, place: Place) -> Tile {
        match place.chunk().index() {
            Some(index) => tile_in_chunk(self.tiles(index), place),
            None => Tile::Water,
        }
    }

    /// Counts a view in or out, with its documents or without. Returns whether any chunk's audience changed.
    pub(super) fn view(&mut self, now: Option<Interest>, before: Option<Interest>, docs: bool) -> bool {
        let mut changed = false;
        let gone = Interest { centre: ChunkPos::new(i16::MIN / 2, i16::MIN / 2) };
        for change in now.unwrap_or(gone).diff(before) {
            let (pos, rate) = match change {
                Change::Stay(..) => continue,
                Change::Enter(pos, rate) => (pos, Some(rate)),
                Change::Retune(pos, rate) => (pos, Some(rate)),
                Change::Leave(pos) => (pos, None),
            };
            let Some(index) = pos.index() else { continue };
            let chunk = &mut self.chunks[index];
            let before_mask = chunk.local();
            if docs {
                let (seen, saw) = (rate.is_some(), before.is_some_and(|b| b.rate(pos).is_some()));
                chunk.docs_viewers = chunk.docs_viewers + u32::from(seen) - u32::from(saw);
            }
            if let Some(rate) = rate {
                chunk.viewers[rate as usize] += 1;
            }
            if let Some(old) = before.and_then(|b| b.rate(pos)) {
                chunk.viewers[old as usize] -= 1;
            }
            let mask = chunk.local();
            self.viewed[index] = mask != 0;
            changed |= mask != before_mask;
        }
        changed
    }

    /// What everybody gets this tick whose view is centred on `centre` and has been following.
    pub(super) fn bundle(&mut self, centre: ChunkPos) -> Bytes {
        let Some(index) = centre.index() else { return Bytes::new() };
        if let Some(bundle) = &self.bundles[index] {
            return bundle.clone();
        }
        let view = Interest { centre };
        let news = |chunks: &[Chunk], mut take: &mut dyn FnMut(&Bytes)| {
            for (pos, rate) in view.chunks() {
                if let Some(index) = pos.index() {
                    chunks[index].news(rate).for_each(&mut take);
                }
            }
        };
        let (mut count, mut bytes) = (0, 0);
        let mut only = Bytes::new();
        news(&self.chunks, &mut |block| {
            count += 1;
            bytes += block.len();
            only = block.clone();
        });
        let bundle = if count <= 1 {
            only
        } else {
            let mut all = Vec::with_capacity(bytes);
            news(&self.chunks, &mut |block| all.extend_from_slice(block));
            all.into()
        };
        self.bundles[index] = Some(bundle.clone());
        self.bundled.push(index);
        bundle
    }

    /// Bytes of blocks that no client got yet.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.chunks.iter().flat_map(|c| &c.blocks).map(|(_, bytes)| bytes.len()).sum()
    }

    /// Forgets this tick's blocks.
    pub(super) fn end_tick(&mut self) {
        for index in self.bundled.drain(..) {
            self.bundles[index] = None;
        }
        self.docs_changed = false;
        for chunk in &mut self.chunks {
            chunk.blocks.clear();
            chunk.docs_news.clear();
            chunk.docs_void = false;
        }
    }

    pub(super) fn invariants(&self) {
        for chunk in &self.chunks {
            chunk.own.invariants();
            assert!(chunk.ghosts.is_sorted_by_key(Follower::source), "ghosts are sorted by source");
            let players =
                chunk.own.slots().iter().filter(|(_, who, _)| !who.entity.is_born_with_land()).count();
            assert_eq!(players, chunk.players as usize, "players are counted as they stand");
        }
    }
}
