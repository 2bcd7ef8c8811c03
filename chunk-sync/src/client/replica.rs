//! The decoded view: who is in sight and where, from the tick frames of a node.
//!
//! An entity is listed by (source, chunk, slot). When it changes chunk or node, two rosters may list it for a moment:
//! the listing with the higher epoch wins, between equal epochs the newest, and a leave takes only its own listing
//! away. Whether somebody vanished is judged at the end of a frame, so that nobody flickers at a border.

mod listing;

pub use self::listing::{Entity, Moved};

use self::listing::{Enter, Listed, Listing};
use super::documents::Documents;
use super::feeds::{Feeds, Step};
use super::limits::{FEED_SLOTS_MAX, LISTINGS_PER_ENTITY_MAX};
use super::{ReplicaError, View};
use crate::blocks::{Block, Header, RosterRecord, StreamId, moves, split_block};
use crate::ids::EntityId;
use crate::interest::Interest;
use crate::limits::NEAR_RING;
use crate::place::{ChunkPos, Place};
use crate::time::Tick;
use crate::wire::{Docs, TickHeader, Welcome};
use std::collections::BTreeMap;

const NONE: u32 = u32::MAX;

/// What a client sees.
#[derive(Debug)]
pub struct Replica {
    feeds: Feeds<Vec<u32>>,
    listings: Vec<Listing>,
    free: Vec<u32>,
    entities: BTreeMap<EntityId, Listed>,
    /// Slots kept over all feeds.
    slots: usize,
    entered: u64,
    now: Tick,
    near_ring: i16,
    updates: u64,
    /// Who lost the last listing in the current frame; afterwards, who is gone.
    vanished: Vec<EntityId>,
    documents: Documents,
}

/// The centre of the view that a session begins with.
pub(super) fn first_centre(welcome: &Welcome) -> ChunkPos {
    Interest::at(Place { x: welcome.x, y: welcome.y }).centre
}

impl Replica {
    /// A view of nothing.
    pub fn new() -> Self {
        Self {
            feeds: Feeds::new(),
            listings: Vec::new(),
            free: Vec::new(),
            entities: BTreeMap::new(),
            slots: 0,
            entered: 0,
            now: Tick(0),
            near_ring: NEAR_RING,
            updates: 0,
            vanished: Vec::new(),
            documents: Documents::default(),
        }
    }

    /// Everybody in view, by number.
    pub fn entities(&self) -> impl Iterator<Item = Entity<'_>> {
        self.entities.values().map(|listed| self.listings[listed.winner as usize].entity())
    }

    /// An entity, if it is in view.
    pub fn get(&self, id: EntityId) -> Option<Entity<'_>> {
        self.entities.get(&id).map(|listed| self.listings[listed.winner as usize].entity())
    }

    /// How many are in view.
    pub fn len(&self) -> usize {
        self.entities.len()
    }

    /// Whether nobody is in view.
    pub fn is_empty(&self) -> bool {
        self.entities.is_empty()
    }

    /// The tick of the last frame.
    pub fn now(&self) -> Tick {
        self.now
    }

    /// Updates (one entity's position each) that have come so far.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Who was in view before the last frame, or entered in it, and is not any more.
    pub fn vanished(&self) -> &[EntityId] {
        &self.vanished
    }

    /// The player's own documents by name; `None` until they were told.
    pub fn own_docs(&self) -> Option<&BTreeMap<String, Vec<u8>>> {
        self.documents.own()
    }

    /// The documents of a chunk in view by name; `None` until they were told.
    pub fn chunk_docs(&self, chunk: ChunkPos) -> Option<&BTreeMap<String, Vec<u8>>> {
        self.documents.chunk(chunk)
    }

    /// Takes what one tick brought; `on_move` hears of everybody in view who turns up at another place.
    ///
    /// # Errors
    /// When the frame breaks the protocol; the view is empty then.
    pub fn apply(
        &mut self,
        header: &TickHeader,
        blocks: &[u8],
        mut on_move: impl FnMut(Moved),
    ) -> Result<(), ReplicaError> {
        self.vanished.clear();
        let ahead = header.tick.wrapping_sub(self.now.0 as u32) as i32;
        self.now = Tick(self.now.0.saturating_add_signed(i64::from(ahead)));
        if header.reset {
            self.clear();
        }
        self.documents.follow(header);
        if let Some(centre) = header.view {
            self.feeds.set_centre(centre);
            while let Some(at) = self.feeds.outside_view() {
                self.drop_feed(at);
            }
        }
        let done = self.blocks(blocks, &mut on_move);
        if done.is_err() {
            self.clear();
        }
        let Self { vanished, entities, .. } = self;
        vanished.retain(|id| !entities.contains_key(id));
        vanished.sort_unstable();
        vanished.dedup();
        done
    }

    fn blocks(&mut self, mut left: &[u8], on_move: &mut impl FnMut(Moved)) -> Result<(), ReplicaError> {
        while !left.is_empty() {
            let (block, rest) = split_block(left)?;
            let (feed, step) = self.feeds.accept(&block.header)?;
            let in_step = step == Step::Continued;
            match block.header.stream {
                StreamId::Roster => self.roster(feed, &block, in_step, on_move)?,
                StreamId::Motion(_) => self.motion(feed, &block, in_step, on_move)?,
            }
            left = rest;
        }
        Ok(())
    }

    fn motion(
        &mut self,
        feed: usize,
        block: &Block<'_>,
        in_step: bool,
        on_move: &mut impl FnMut(Moved),
    ) -> Result<(), ReplicaError> {
        let chunk = block.header.chunk;
        let near = self.feeds.ring(chunk) <= self.near_ring;
        let tick = self.now.nearest(block.header.tick);
        let feed = self.feeds.get(feed);
        // Motion that rests on an older roster may name a slot whose entity has left since.
        let strict = block.header.rests_on == feed.roster();
        for (slot, pose) in moves(block.payload) {
            self.updates += 1;
            let at = feed.kept.get(usize::from(slot)).copied().unwrap_or(NONE);
            let Some(listing) = self.listings.get_mut(at as usize) else {
                if strict {
                    return Err(empty_slot(&block.header, slot));
                }
                continue;
            };
            let moved = listing.pose != pose;
            (listing.pose, listing.tick) = (pose, tick);
            if moved && listing.wins {
                let (entity, kind) = (listing.entity, listing.kind);
                on_move(Moved {
                    entity,
                    kind,
                    place: pose.place(chunk),
                    heading: pose.heading(),
                    near,
                    in_step,
                });
            }
        }
        Ok(())
    }

    fn roster(
        &mut self,
        feed: usize,
        block: &Block<'_>,
        in_step: bool,
        on_move: &mut impl FnMut(Moved),
    ) -> Result<(), ReplicaError> {
        let tick = self.now.nearest(block.header.tick);
        let near = self.feeds.ring(block.header.chunk) <= self.near_ring;
        let mut left = block.payload;
        while !left.is_empty() {
            let (record, rest) = RosterRecord::split(left)?;
            match record {
                RosterRecord::Enter { slot, entity, epoch, pose, kind, look, name } => {
                    let before = self.get(entity).map(|e| e.place);
                    let keyframe = block.header.keyframe;
                    self.enter(feed, tick, Enter { slot, entity, epoch, pose, kind, look, name, keyframe })?;
                    let after = self.get(entity).map(|e| (e.place, e.heading));
                    if let (Some(before), Some((place, heading))) = (before, after)
                        && before != place
                    {
                        on_move(Moved { entity, kind, place, heading, near, in_step });
                    }
                }
                RosterRecord::Leave { slot } => {
                    let at = self.feeds.get(feed).kept.get(usize::from(slot)).copied().unwrap_or(NONE);
                    if at == NONE {
                        return Err(empty_slot(&block.header, slot));
                    }
                    self.unlist(feed, at);
                }
            }
            left = rest;
        }
        if block.header.keyframe {
            self.drop_unnamed(feed);
        }
        Ok(())
    }

    /// Lists an entity in a slot, or refreshes its listing there.
    fn enter(&mut self, feed: usize, tick: Tick, enter: Enter<'_>) -> Result<(), ReplicaError> {
        let slot = usize::from(enter.slot);
        let kept = &mut self.feeds.get_mut(feed).kept;
        if slot >= kept.len() {
            self.slots += slot + 1 - kept.len();
            if self.slots > FEED_SLOTS_MAX {
                return Err(ReplicaError::TooMuch { what: "slots", max: FEED_SLOTS_MAX });
            }
            kept.resize(slot + 1, NONE);
        }
        let there = kept[slot];
        if let Some(listing) = self.listings.get_mut(there as usize) {
            if listing.entity == enter.entity {
                listing.say(&enter, tick);
                self.judge(enter.entity);
                return Ok(());
            }
            self.unlist(feed, there);
        }
        self.entered += 1;
        let mut listing = Listing::new(enter.entity, feed as u16, self.feeds.get(feed), self.entered);
        listing.say(&enter, tick);
        let listed = self.entities.entry(enter.entity).or_insert(Listed { first: NONE, winner: NONE });
        listing.next = listed.first;
        let at = match self.free.pop() {
            Some(at) => {
                self.listings[at as usize] = listing;
                at
            }
            None => {
                self.listings.push(listing);
                (self.listings.len() - 1) as u32
            }
        };
        listed.first = at;
        self.feeds.get_mut(feed).kept[slot] = at;
        if self.judge(enter.entity) > LISTINGS_PER_ENTITY_MAX {
            return Err(ReplicaError::TooMuch {
                what: "listings of one entity",
                max: LISTINGS_PER_ENTITY_MAX,
            });
        }
        Ok(())
    }

    /// Decides which listing of an entity counts; says how many there are.
    fn judge(&mut self, entity: EntityId) -> usize {
        let Some(listed) = self.entities.get_mut(&entity) else { return 0 };
        let (mut at, mut best, mut count) = (listed.first, listed.first, 0);
        while at != NONE {
            count += 1;
            let (here, there) = (&self.listings[at as usize], &self.listings[best as usize]);
            if (here.epoch, here.entered) > (there.epoch, there.entered) {
                best = at;
            }
            at = here.next;
        }
        if let Some(old) = self.listings.get_mut(listed.winner as usize) {
            old.wins = false;
        }
        self.listings[best as usize].wins = true;
        listed.winner = best;
        count
    }

    /// Takes a listing away; its entity stays if it is listed elsewhere.
    fn unlist(&mut self, feed: usize, at: u32) {
        let Listing { entity, next, slot, .. } = self.listings[at as usize];
        self.feeds.get_mut(feed).kept[usize::from(slot)] = NONE;
        self.forget(entity, at, next);
    }

    fn forget(&mut self, entity: EntityId, at: u32, next: u32) {
        self.listings[at as usize].wins = false;
        self.free.push(at);
        let Some(listed) = self.entities.get_mut(&entity) else { return };
        if listed.winner == at {
            listed.winner = NONE;
        }
        let (mut before, mut here) = (NONE, listed.first);
        while here != at && here != NONE {
            (before, here) = (here, self.listings[here as usize].next);
        }
        match self.listings.get_mut(before as usize) {
            Some(listing) => listing.next = next,
            None => listed.first = next,
        }
        if listed.first == NONE {
            self.entities.remove(&entity);
            self.vanished.push(entity);
        } else {
            self.judge(entity);
        }
    }

    /// After a roster keyframe: whom it didn't name is not there.
    fn drop_unnamed(&mut self, feed: usize) {
        for slot in 0..self.feeds.get(feed).kept.len() {
            let at = self.feeds.get(feed).kept[slot];
            if let Some(listing) = self.listings.get_mut(at as usize)
                && !std::mem::take(&mut listing.named)
            {
                self.unlist(feed, at);
            }
        }
    }

    fn drop_feed(&mut self, feed: usize) {
        let kept = self.feeds.remove(feed);
        self.slots -= kept.len();
        for at in kept {
            if let Some(Listing { entity, next, .. }) = self.listings.get(at as usize) {
                let (entity, next) = (*entity, *next);
                self.forget(entity, at, next);
            }
        }
    }

    fn clear(&mut self) {
        self.vanished.extend(self.entities.keys());
        self.feeds.clear();
        self.listings.clear();
        self.free.clear();
        self.entities.clear();
        self.slots = 0;
    }

    /// Checks what must always hold; for tests and the simulation.
    ///
    /// # Panics
    /// When it doesn't.
    pub fn invariants(&self) {
        self.documents.invariants();
        let mut listed = 0;
        for at in self.feeds.live() {
            let feed = self.feeds.get(at);
            for (slot, listing) in feed.kept.iter().enumerate().filter(|(_, l)| **l != NONE) {
                let listing = &self.listings[*listing as usize];
                assert_eq!(
                    (usize::from(listing.feed), usize::from(listing.slot)),
                    (at, slot),
                    "slots know listings"
                );
                assert_eq!(listing.chunk, feed.chunk, "a listing is in its feed's chunk");
                assert!(!listing.named, "marks don't outlive a keyframe");
                listed += 1;
            }
        }
        assert_eq!(listed + self.free.len(), self.listings.len(), "every listing is used or free");
        assert_eq!(self.slots, self.feeds.live().map(|at| self.feeds.get(at).kept.len()).sum::<usize>());
        let winners = self.listings.iter().filter(|l| l.wins).count();
        assert_eq!(winners, self.entities.len(), "one listing counts for each entity");
        for (id, chain) in &self.entities {
            let winner = &self.listings[chain.winner as usize];
            assert!(winner.wins && winner.entity == *id, "the winner is a listing of its entity");
            let mut at = chain.first;
            while let Some(listing) = self.listings.get(at as usize) {
                assert!(listing.epoch <= winner.epoch, "no listing of a newer epoch loses");
                at = listing.next;
            }
        }
    }
}

impl Default for Replica {
    fn default() -> Self {
        Self::new()
    }
}

impl View for Replica {
    fn begin(&mut self, welcome: &Welcome) {
        self.clear();
        self.vanished.clear();
        self.now = Tick(welcome.tick);
        self.near_ring = i16::from(welcome.near_ring);
        self.feeds.set_view(first_centre(welcome), i16::from(welcome.far_ring));
        self.documents.begin(welcome);
    }

    fn frame(&mut self, header: &TickHeader, blocks: &[u8]) -> Result<(), ReplicaError> {
        self.apply(header, blocks, |_| ())
    }

    fn docs(&mut self, docs: Docs) -> Result<(), ReplicaError> {
        self.documents.take(docs)
    }
}

fn empty_slot(header: &Header, slot: u16) -> ReplicaError {
    ReplicaError::EmptySlot { from_source: header.source.0, chunk: header.chunk, slot }
}

#[cfg(test)]
mod tests;
