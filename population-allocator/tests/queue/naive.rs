//! The same queue, written to be read: one list in order of numbers, and a walk through it for every question.

use chunk_sync::ids::PlayerId;
use population_allocator::limits::{
    HOLD_MAX_MS, HOLD_MIN_MS, PASSED_DOUBLINGS_MAX, PASSED_MAX, QUEUE_GRACE_MS, RETURN_MAX_MS,
};
use population_allocator::queue::Lane;

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) number: u64,
    pub(crate) lane: Lane,
    pub(crate) players: Vec<PlayerId>,
    pub(crate) due_ms: u64,
}

/// Who is being passed at the head of a lane.
#[derive(Clone, Debug)]
struct Passed {
    number: u64,
    players: usize,
    since_ms: u64,
    held_until_ms: Option<u64>,
    in_vain: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Naive {
    pub(crate) shares: [i64; 2],
    pub(crate) owed: i64,
    pub(crate) next: u64,
    pub(crate) waiting: Vec<Entry>,
    passed: [Option<Passed>; 2],
}

impl Naive {
    pub(crate) fn new(homecoming: u32, newcomers: u32) -> Self {
        let shares = [i64::from(homecoming), i64::from(newcomers)];
        Self { shares, owed: 0, next: 1, waiting: Vec::new(), passed: [None, None] }
    }

    pub(crate) fn of(&self, player: PlayerId) -> Option<&Entry> {
        self.waiting.iter().find(|entry| entry.players.contains(&player))
    }

    pub(crate) fn join(&mut self, lane: Lane, players: Vec<PlayerId>) -> u64 {
        self.waiting.push(Entry { number: self.next, lane, players, due_ms: 0 });
        self.next += 1;
        self.next - 1
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<Entry> {
        let at = self.waiting.iter().position(|entry| entry.number == number)?;
        for passed in &mut self.passed {
            passed.take_if(|passed| passed.number == number);
        }
        Some(self.waiting.remove(at))
    }

    pub(crate) fn leave(&mut self, player: PlayerId) -> bool {
        let Some(number) = self.of(player).map(|entry| entry.number) else { return false };
        let entry = self.waiting.iter_mut().find(|entry| entry.number == number).unwrap();
        entry.players.retain(|member| *member != player);
        if entry.players.is_empty() {
            self.remove(number);
        }
        true
    }

    pub(crate) fn expire(&mut self, now_ms: u64) -> Vec<u64> {
        let due = self.waiting.iter().filter(|entry| entry.due_ms <= now_ms);
        let mut due: Vec<(u64, u64)> = due.map(|entry| (entry.due_ms, entry.number)).collect();
        due.sort_unstable();
        due.into_iter().filter_map(|(_, number)| self.remove(number)).map(|entry| entry.number).collect()
    }

    pub(crate) fn restored(&mut self, now_ms: u64) {
        for entry in &mut self.waiting {
            entry.due_ms = now_ms + RETURN_MAX_MS + QUEUE_GRACE_MS;
        }
    }

    /// Serves whoever is next when parties of up to `room` players fit in each lane.
    pub(crate) fn serve(&mut self, room: [usize; 2], now_ms: u64) -> Option<Entry> {
        let both = Lane::ALL.iter().all(|lane| self.waiting.iter().any(|entry| entry.lane == *lane));
        let turn = if self.owed >= self.shares[0] { Lane::Newcomer } else { Lane::Homecoming };
        for lane in [turn, turn.other()] {
            let Some(number) = self.choose(lane, room[lane.index()], now_ms) else { continue };
            let entry = self.remove(number).unwrap();
            if both && lane == turn {
                let players = entry.players.len() as i64;
                self.owed += if lane == Lane::Homecoming {
                    players * self.shares[1]
                } else {
                    -players * self.shares[0]
                };
            }
            return Some(entry);
        }
        None
    }

    fn choose(&mut self, lane: Lane, room: usize, now_ms: u64) -> Option<u64> {
        let of_lane = || self.waiting.iter().filter(|entry| entry.lane == lane);
        let head = of_lane().next()?.number;
        let fits = of_lane().find(|entry| entry.players.len() <= room);
        let (number, size) = (fits.map(|entry| entry.number), fits.map_or(0, |entry| entry.players.len()));
        if number == Some(head) {
            return number;
        }
        let fresh = Passed { number: head, players: 0, since_ms: now_ms, held_until_ms: None, in_vain: 0 };
        let passed = self.passed[lane.index()].get_or_insert(fresh.clone());
        match passed.held_until_ms {
            Some(until_ms) if now_ms < until_ms => return None,
            Some(_) => *passed = Passed { in_vain: passed.in_vain + 1, ..fresh },
            None => {}
        }
        number?;
        if passed.players == 0 {
            passed.since_ms = now_ms;
        }
        if passed.players + size > (PASSED_MAX << passed.in_vain.min(PASSED_DOUBLINGS_MAX)) as usize {
            let took_ms = now_ms - passed.since_ms;
            passed.held_until_ms = Some(now_ms + took_ms.clamp(HOLD_MIN_MS, HOLD_MAX_MS));
            return None;
        }
        passed.players += size;
        number
    }

    /// Players of the lane before the number.
    pub(crate) fn in_lane(&self, number: u64) -> u64 {
        let lane = self.waiting.iter().find(|entry| entry.number == number).unwrap().lane;
        let before = self.waiting.iter().filter(|entry| entry.lane == lane && entry.number < number);
        before.map(|entry| entry.players.len() as u64).sum()
    }

    /// Players who are in fact served before the number, when nobody comes or leaves and all fit.
    pub(crate) fn ahead(&self, number: u64) -> u64 {
        let mut queue = Naive { passed: [None, None], ..self.clone() };
        let mut ahead = 0;
        loop {
            let served = queue.serve([usize::MAX; 2], 0).unwrap();
            if served.number == number {
                return ahead;
            }
            ahead += served.players.len() as u64;
        }
    }
}
