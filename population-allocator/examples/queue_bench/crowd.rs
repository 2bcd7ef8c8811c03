//! A queue with many in it, and one operation of each kind.

use chunk_sync::ids::PlayerId;
use chunk_sync::random::{RngExt, Stream, stream};
use population_allocator::queue::{Lane, LaneShares, Party, Queue, QueueNumber};

/// Who waits, with what is needed to pick one of them at random.
pub(crate) struct Crowd {
    queue: Queue,
    draw: Stream,
    now_ms: u64,
    players: u64,
    /// Numbers and one player of each; some of them have gone meanwhile.
    list: Vec<(QueueNumber, PlayerId)>,
    picked: (QueueNumber, PlayerId),
}

impl Crowd {
    /// So many parties, half of which returned at random, as they do.
    pub(crate) fn new(waiting: u64, seed: u64) -> Self {
        let mut crowd = Self::empty(seed);
        (0..waiting).for_each(|_| crowd.one_more());
        for _ in 0..waiting / 2 {
            crowd.pick();
            crowd.touch();
        }
        // What is written first is everybody; from then on only what changes.
        crowd.drain();
        crowd
    }

    /// The same, without the list and the returns: for memory.
    pub(crate) fn without_list(waiting: u64, seed: u64) -> Self {
        let mut crowd = Self::empty(seed);
        for _ in 0..waiting {
            crowd.join();
            crowd.list.clear();
        }
        crowd.list = Vec::new();
        crowd
    }

    fn empty(seed: u64) -> Self {
        let queue = Queue::new(LaneShares::default(), 0);
        let picked = (QueueNumber(0), PlayerId(0));
        Self { queue, draw: stream(seed, "crowd"), now_ms: 0, players: 0, list: Vec::new(), picked }
    }

    pub(crate) fn players(&self) -> u64 {
        Lane::ALL.into_iter().map(|lane| self.queue.players_in(lane)).sum()
    }

    /// Picks somebody who waits, for the operations on one that waits.
    pub(crate) fn pick(&mut self) {
        while !self.list.is_empty() {
            let at = self.draw.random_range(0..self.list.len());
            self.picked = self.list[at];
            if self.queue.number_of(self.picked.1) == Some(self.picked.0) {
                break;
            }
            self.list.swap_remove(at);
        }
    }

    fn party(&mut self) -> (Lane, Party) {
        let lane = if self.draw.random_bool(0.4) { Lane::Homecoming } else { Lane::Newcomer };
        let size = if self.draw.random_bool(0.9) { 1 } else { self.draw.random_range(2..=8) };
        // Ids that are spread as hashed ones would be.
        let id = |nth: u64| PlayerId(nth.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let players: Vec<PlayerId> = (self.players..self.players + size).map(id).collect();
        self.players += size;
        (lane, Party::new(&players).unwrap_or(Party::alone(id(self.players))))
    }

    pub(crate) fn one_less(&mut self) {
        self.now_ms += 1;
        self.serve();
    }

    pub(crate) fn one_more(&mut self) {
        self.now_ms += 1;
        self.join();
    }

    pub(crate) fn one_more_and_pick(&mut self) {
        self.one_more();
        self.pick();
    }

    pub(crate) fn hundred(&mut self) {
        (0..100).for_each(|_| self.one_more());
        for _ in 0..100 {
            self.serve();
        }
    }

    pub(crate) fn join(&mut self) -> u64 {
        let (lane, party) = self.party();
        let leader = party.players().next();
        if let (Ok(joined), Some(leader)) = (self.queue.join(lane, party, self.now_ms), leader) {
            self.list.push((joined.place().number, leader));
        }
        0
    }

    pub(crate) fn position(&mut self) -> u64 {
        let (number, _) = self.picked;
        self.queue.place(number).map_or(0, |place| place.position.ahead)
    }

    pub(crate) fn touch(&mut self) -> u64 {
        let (number, player) = self.picked;
        self.queue.touch(number, player, self.now_ms).map_or(0, |place| place.return_after_ms)
    }

    pub(crate) fn cancel(&mut self) -> u64 {
        let (number, _) = self.picked;
        self.queue.cancel(number, self.now_ms).map_or(0, |party| party.len() as u64)
    }

    pub(crate) fn serve(&mut self) -> u64 {
        self.queue.serve_next(self.now_ms, |_, _| true).map_or(0, |served| served.party.len() as u64)
    }

    pub(crate) fn drain(&mut self) -> u64 {
        std::iter::from_fn(|| self.queue.drain_changes()).map(|delta| delta.put.len() as u64).sum()
    }
}
