//! Which streams a client follows and how far each is: the number rules of the protocol, in one place for every
//! kind of reader. It looks at block headers only; what a payload means is the reader's.

use super::ReplicaError;
use super::limits::FEEDS_MAX;
use crate::blocks::{FrameNumber, Header, StreamId};
use crate::ids::Source;
use crate::limits::ISLAND_CHUNKS;
use crate::place::ChunkPos;

const NONE: u16 = u16::MAX;

/// How a block follows what came before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// The very next frame of a stream that was followed already.
    Continued,
    /// A keyframe that opens the stream or jumps ahead in it.
    Joined,
}

/// The streams of one source in one chunk, and what the reader keeps for them.
#[derive(Debug)]
pub(super) struct Feed<K> {
    pub(super) source: Source,
    pub(super) chunk: ChunkPos,
    /// What the reader keeps by slot.
    pub(super) kept: K,
    numbers: [FrameNumber; StreamId::ALL.len()],
    /// Bits of the streams that are followed; the roster is from the start.
    known: u8,
    /// The next feed of the same chunk.
    next: u16,
    live: bool,
}

impl<K> Feed<K> {
    /// The newest roster number.
    pub(super) fn roster(&self) -> FrameNumber {
        self.numbers[usize::from(StreamId::Roster.index())]
    }

    fn accept(&mut self, header: &Header) -> Result<Step, ReplicaError> {
        let stream = header.stream;
        let number = &mut self.numbers[usize::from(stream.index())];
        let known = self.known & stream.bit() != 0;
        let next = known && header.number == number.next();
        if !next && !header.keyframe {
            let have = known.then_some(number.0);
            let (from_source, chunk, got) = (header.source.0, header.chunk, header.number.0);
            return Err(ReplicaError::Gap { stream, from_source, chunk, have, got });
        }
        *number = header.number;
        self.known |= stream.bit();
        if header.rests_on.is_after(self.roster()) {
            let (have, rests_on) = (self.roster().0, header.rests_on.0);
            let (from_source, chunk) = (header.source.0, header.chunk);
            return Err(ReplicaError::RestsOnUnknown { from_source, chunk, have, rests_on });
        }
        Ok(if next { Step::Continued } else { Step::Joined })
    }
}

/// All feeds of a client. Lookup is two steps through dense arrays; nothing is allocated once the view has filled.
#[derive(Debug)]
pub(super) struct Feeds<K> {
    /// The first feed of each chunk.
    first: Box<[u16; ISLAND_CHUNKS]>,
    feeds: Vec<Feed<K>>,
    free: Vec<u16>,
    /// Centre of the view and its far ring.
    view: Option<(ChunkPos, i16)>,
}

impl<K: Default> Feeds<K> {
    pub(super) fn new() -> Self {
        Self { first: Box::new([NONE; ISLAND_CHUNKS]), feeds: Vec::new(), free: Vec::new(), view: None }
    }

    /// Rings from the view's centre to `chunk`; 0 while there is no view.
    pub(super) fn ring(&self, chunk: ChunkPos) -> i16 {
        self.view.map_or(0, |(centre, _)| centre.ring(chunk))
    }

    pub(super) fn set_view(&mut self, centre: ChunkPos, far_ring: i16) {
        self.view = Some((centre, far_ring));
    }

    /// Moves the view; the far ring stays.
    pub(super) fn set_centre(&mut self, centre: ChunkPos) {
        if let Some((old, _)) = &mut self.view {
            *old = centre;
        }
    }

    pub(super) fn get(&self, at: usize) -> &Feed<K> {
        &self.feeds[at]
    }

    pub(super) fn get_mut(&mut self, at: usize) -> &mut Feed<K> {
        &mut self.feeds[at]
    }

    /// Numbers of the feeds there are.
    pub(super) fn live(&self) -> impl Iterator<Item = usize> {
        self.feeds.iter().enumerate().filter(|(_, feed)| feed.live).map(|(at, _)| at)
    }

    /// A feed outside the view, if there is one left.
    pub(super) fn outside_view(&self) -> Option<usize> {
        let (centre, far_ring) = self.view?;
        self.live().find(|at| centre.ring(self.feeds[*at].chunk) > far_ring)
    }

    /// Notes a block's header; says which feed it belongs to and how it follows.
    ///
    /// # Errors
    /// When the number rules forbid it.
    pub(super) fn accept(&mut self, header: &Header) -> Result<(usize, Step), ReplicaError> {
        let outside = ReplicaError::OutsideView { chunk: header.chunk };
        let chunk = header.chunk.index().ok_or(outside.clone())?;
        if self.view.is_some_and(|(centre, far_ring)| centre.ring(header.chunk) > far_ring) {
            return Err(outside);
        }
        let at = match self.find(chunk, header.source) {
            Some(at) => at,
            None if header.stream == StreamId::Roster && header.keyframe => self.add(chunk, header)?,
            None => {
                let (stream, from_source, got) = (header.stream, header.source.0, header.number.0);
                return Err(ReplicaError::Gap { stream, from_source, chunk: header.chunk, have: None, got });
            }
        };
        Ok((at, self.feeds[at].accept(header)?))
    }

    fn find(&self, chunk: usize, source: Source) -> Option<usize> {
        let mut at = self.first[chunk];
        while at != NONE {
            let feed = &self.feeds[usize::from(at)];
            if feed.source == source {
                return Some(usize::from(at));
            }
            at = feed.next;
        }
        None
    }

    fn add(&mut self, chunk: usize, header: &Header) -> Result<usize, ReplicaError> {
        let feed = Feed {
            source: header.source,
            chunk: header.chunk,
            kept: K::default(),
            numbers: [FrameNumber::default(); StreamId::ALL.len()],
            known: 0,
            next: self.first[chunk],
            live: true,
        };
        let at = match self.free.pop() {
            Some(at) => {
                self.feeds[usize::from(at)] = feed;
                at
            }
            None if self.feeds.len() < FEEDS_MAX => {
                self.feeds.push(feed);
                (self.feeds.len() - 1) as u16
            }
            None => return Err(ReplicaError::TooMuch { what: "feeds", max: FEEDS_MAX }),
        };
        self.first[chunk] = at;
        Ok(usize::from(at))
    }

    /// Forgets a feed; gives back what the reader kept for it.
    pub(super) fn remove(&mut self, at: usize) -> K {
        let feed = &mut self.feeds[at];
        let (next, kept) = (feed.next, std::mem::take(&mut feed.kept));
        feed.live = false;
        // A feed was added under its chunk's index, so there is one.
        let chunk = feed.chunk.index().unwrap_or(0);
        let (mut before, mut here) = (NONE, self.first[chunk]);
        while usize::from(here) != at && here != NONE {
            (before, here) = (here, self.feeds[usize::from(here)].next);
        }
        match self.feeds.get_mut(usize::from(before)) {
            Some(feed) => feed.next = next,
            None => self.first[chunk] = next,
        }
        self.free.push(at as u16);
        kept
    }

    /// Forgets all feeds; the view stays.
    pub(super) fn clear(&mut self) {
        self.first.fill(NONE);
        self.feeds.clear();
        self.free.clear();
    }
}
