//! Who waits for a seat: numbers, lanes, parties, positions, and what a waiter is told. Pure: no I/O, no clock, no chance;
//! the allocator calls it with the time, and writes down what it gives ([`Delta`]).
//!
//! **Numbers.** A party gets a number once, when it joins; numbers rise and are never given again. Who is served, gives up or doesn't
//! return is gone, and comes back with a new number. A player waits at one place at most.
//!
//! **Order.** Each [`Lane`] is served by number; [`LaneShares`] say whose turn it is while several wait. A lane that has the turn
//! and nobody who fits is passed over, and keeps the turn. Within a lane, a party is admitted before an older one only if that one
//! doesn't fit, and within the bounds that [`Passing`]'s module states; so the inversions of a waiter's lane are those of parties that
//! don't fit. Whether so many players fit, the caller says; if a number of them do, fewer must too.
//!
//! **Position.** What [`Position`] promises is stated there. In one lane of single players it is the familiar one: number − served − gone
//! before it.
//!
//! **A place** is kept while its holder is away: it is told when to return, and may be late by `QUEUE_GRACE_MS`. So a waiter needs no connection.
//!
//! **Cost.** Everything is O(log n) in the parties that wait, for `PARTY_MAX` sizes and two lanes: ordered maps and a tree of counts; nothing
//! scans, and nothing is rebuilt now and then. A waiting player takes about 125 bytes (`docs/benchmarks.md`).
//!
//! **Why a tree of our own** (`queue/ranks.rs`): ordered sets with ranks (`wabi_tree`, `indexset`) count entries, where parties weigh as much as
//! they have players, and would be a dependency of everything that a waiter relies on. Fenwick trees (`fenwick`, `ftree`) add up weights over a
//! fixed range of indices: numbers only grow, so the range has to be moved, and gaps that those leave who give up have to be squeezed
//! out, which is the larger part of the work and comes in bursts.

mod lanes;
mod line;
mod pacing;
mod party;
mod passing;
mod ranks;
mod rates;
mod record;

pub use lanes::{Lane, LaneShares, SharesError};
pub use pacing::return_after_ms;
pub use party::{Party, PartyError};
pub use passing::Passing;
pub use rates::{Eta, Rates};
pub use record::{Delta, LaneRecord, Run, Snapshot, SnapshotError, TurnsRecord, WaiterRecord};

use crate::limits::{
    CHANGES_PER_DELTA_MAX, EXPIRED_PER_CALL_MAX, PARTY_MAX, QUEUE_GRACE_MS, QUEUE_MAX, RETURN_MAX_MS,
};
use chunk_sync::ids::PlayerId;
use lanes::Turns;
use line::{Line, Waiter};
use record::Journal;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use thiserror::Error;

/// Number of a party in the queue, given once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct QueueNumber(pub u64);

impl fmt::Display for QueueNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "number {}", self.0)
    }
}

/// Where a party stands, in players who are admitted before it. All of it holds for parties that fit when it is their turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// Those of its own lane. It never grows: whoever comes later is behind.
    pub in_lane: u64,
    /// All, if nobody came and nobody left from now on. Exact for single players; where parties wait in the other lane, up to `PARTY_MAX - 1` more, since the
    /// last of them goes whole. It grows when somebody comes who goes before by the lanes' shares.
    pub ahead: u64,
    /// All, whoever comes from now on; `None` if the other lane goes before as long as anybody waits there.
    pub at_most: Option<u64>,
}

/// What a waiter is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its number.
    pub number: QueueNumber,
    /// Its lane.
    pub lane: Lane,
    /// Where it stands.
    pub position: Position,
    /// When it will be admitted, once that can be said.
    pub eta: Option<Eta>,
    /// When it shall return; the place is kept until `QUEUE_GRACE_MS` after that.
    pub return_after_ms: u64,
}

/// What came of joining.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Joined {
    /// A new number.
    New(Place),
    /// All of the party wait already, at this place; they keep it.
    Kept(Place),
}

impl Joined {
    /// Where the party waits.
    pub fn place(&self) -> &Place {
        match self {
            Joined::New(place) | Joined::Kept(place) => place,
        }
    }
}

/// Expected refusals.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum QueueRefusal {
    /// As many wait as can.
    #[error("the queue is full")]
    Full,
    /// One of the party waits elsewhere, alone or with others; it has to give that up first.
    #[error("player {0} waits already, with {1}")]
    Waits(PlayerId, QueueNumber),
    /// There is no such place, or it is somebody else's: it was served, given up, or not returned to.
    #[error("{0} is not the player's place")]
    NoPlace(QueueNumber),
}

/// A party whose turn came. It is no longer in the queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Served {
    /// Its number.
    pub number: QueueNumber,
    /// The lane that it waited in.
    pub lane: Lane,
    /// Who they are.
    pub party: Party,
    /// When they joined.
    pub joined_ms: u64,
}

/// What happened since the beginning of the queue, over all allocators.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Parties that were served.
    pub served: u64,
    /// Players of those.
    pub admitted: u64,
    /// Parties that gave up.
    pub cancelled: u64,
    /// Parties that did not return.
    pub expired: u64,
}

/// Who waits for a seat.
#[derive(Debug)]
pub struct Queue {
    turns: Turns,
    lines: [Line; 2],
    players: BTreeMap<PlayerId, QueueNumber>,
    due: BTreeSet<(u64, QueueNumber)>,
    next: u64,
    now_ms: u64,
    counts: Counts,
    journal: Journal,
}

impl Queue {
    /// An empty queue, which begins with number 1.
    pub fn new(shares: LaneShares, now_ms: u64) -> Self {
        Self {
            turns: Turns { shares, owed: 0 },
            lines: [Line::new(now_ms), Line::new(now_ms)],
            players: BTreeMap::new(),
            due: BTreeSet::new(),
            next: 1,
            now_ms,
            counts: Counts::default(),
            journal: Journal::new(1),
        }
    }

    /// The queue as the store has it. Nobody could return while no allocator served, so every place is kept for the
    /// longest time from now.
    pub fn restore(snapshot: Snapshot, shares: LaneShares, now_ms: u64) -> Result<Self, SnapshotError> {
        let TurnsRecord { next, owed, lanes, counts } = snapshot.turns.clone();
        let mut queue = Queue { counts, next: next.max(1), ..Self::new(shares, now_ms) };
        queue.turns = Turns::resumed(shares, owed);
        queue.journal = Journal::new(queue.next);
        let due_ms = now_ms + RETURN_MAX_MS + QUEUE_GRACE_MS;
        for (number, lane, joined_ms, party) in snapshot.parties()? {
            queue.insert(number, lane, Waiter { party, joined_ms, due_ms });
        }
        for (line, lane) in queue.lines.iter_mut().zip(lanes) {
            line.rates = lane.rates.on_clock(now_ms);
            line.passing = lane.passing.filter(|passing| line.has(passing.head));
            line.passing = line.passing.map(|passing| passing.on_clock(now_ms));
        }
        Ok(queue)
    }

    /// Another policy. What newcomers are owed under the old one is forgotten.
    pub fn set_shares(&mut self, shares: LaneShares) {
        if self.turns.shares != shares {
            self.turns = Turns { shares, owed: 0 };
            self.journal.turned();
        }
    }

    /// Parties that wait.
    pub fn len(&self) -> usize {
        self.due.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    /// Players who wait in the lane.
    pub fn players_in(&self, lane: Lane) -> u64 {
        self.lines[lane.index()].players()
    }

    /// How fast the lane moves.
    pub fn rates(&self, lane: Lane) -> &Rates {
        &self.lines[lane.index()].rates
    }

    /// For how many players the lane is held, if it is: seats that several lanes could take should be left to gather for them.
    pub fn held_for(&self, lane: Lane) -> Option<usize> {
        self.lines[lane.index()].held_for()
    }

    /// What happened since the beginning.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The number with which the player waits.
    pub fn number_of(&self, player: PlayerId) -> Option<QueueNumber> {
        self.players.get(&player).copied()
    }

    /// A party wants in. Who waits already keeps the older place, and is taken to have returned to it.
    pub fn join(&mut self, lane: Lane, party: Party, now_ms: u64) -> Result<Joined, QueueRefusal> {
        self.advance(now_ms);
        let waits = party.players().find_map(|player| Some((player, self.number_of(player)?)));
        if let Some((player, number)) = waits {
            let together = party.players().all(|player| self.number_of(player) == Some(number));
            let kept = if together { self.keep(number, false) } else { None };
            return kept.map(Joined::Kept).ok_or(QueueRefusal::Waits(player, number));
        }
        if self.len() >= QUEUE_MAX {
            return Err(QueueRefusal::Full);
        }
        let number = QueueNumber(self.next);
        self.next += 1;
        self.journal.turned();
        self.lines[lane.index()].rates.note_came(party.len());
        self.insert(number, lane, Waiter { party, joined_ms: self.now_ms, due_ms: self.now_ms });
        self.keep(number, true).map(Joined::New).ok_or(QueueRefusal::NoPlace(number))
    }

    /// A waiter returns with its number: its place is kept on.
    pub fn touch(
        &mut self,
        number: QueueNumber,
        player: PlayerId,
        now_ms: u64,
    ) -> Result<Place, QueueRefusal> {
        self.advance(now_ms);
        let kept = if self.number_of(player) == Some(number) { self.keep(number, false) } else { None };
        kept.ok_or(QueueRefusal::NoPlace(number))
    }

    /// Where the number stands, without its holder having returned.
    pub fn place(&self, number: QueueNumber) -> Option<Place> {
        self.told(number, false)
    }

    /// The whole party gives up.
    pub fn cancel(&mut self, number: QueueNumber, now_ms: u64) -> Option<Party> {
        self.advance(now_ms);
        let (lane, waiter) = self.remove(number)?;
        self.lines[lane.index()].rates.note_left(waiter.party.len());
        self.counts.cancelled += 1;
        Some(waiter.party)
    }

    /// One player gives up; those that it was with keep the place. Whether it waited.
    pub fn leave(&mut self, player: PlayerId, now_ms: u64) -> bool {
        self.advance(now_ms);
        let Some(number) = self.number_of(player) else { return false };
        let Some(lane) = self.lane_of(number) else { return false };
        let line = &mut self.lines[lane.index()];
        if !line.shrink(number, player) {
            return self.cancel(number, now_ms).is_some();
        }
        line.rates.note_left(1);
        self.players.remove(&player);
        self.journal.shrunk(number);
        true
    }

    /// The party that is to be admitted now, which leaves the queue; `None` while nobody may be. `room` says whether so many
    /// players of the lane could be admitted together; it is asked `PARTY_MAX` times for each lane at most.
    pub fn serve_next(&mut self, now_ms: u64, mut room: impl FnMut(Lane, usize) -> bool) -> Option<Served> {
        self.advance(now_ms);
        let both_wait = self.lines.iter().all(|line| !line.is_empty());
        let turn = self.turns.lane();
        for lane in [turn, turn.other()] {
            let line = &mut self.lines[lane.index()];
            let passing = line.passing;
            let chosen = line.choose(self.now_ms, |players| room(lane, players));
            if line.passing != passing {
                self.journal.turned();
            }
            let Some(number) = chosen else { continue };
            let Some((_, Waiter { party, joined_ms, .. })) = self.remove(number) else { continue };
            self.lines[lane.index()].rates.note_admitted(party.len());
            self.counts.served += 1;
            self.counts.admitted += party.len() as u64;
            if both_wait && lane == turn {
                self.turns.charge(lane, party.len());
            }
            return Some(Served { number, lane, party, joined_ms });
        }
        None
    }

    /// Ends the places whose holders did not return, at most `EXPIRED_PER_CALL_MAX` of them; call it in each step.
    pub fn expire(&mut self, now_ms: u64) -> Vec<QueueNumber> {
        self.advance(now_ms);
        let mut expired = Vec::new();
        while let Some(&(due_ms, number)) = self.due.first()
            && due_ms <= self.now_ms
            && expired.len() < EXPIRED_PER_CALL_MAX
        {
            let Some((lane, waiter)) = self.remove(number) else { break };
            self.lines[lane.index()].rates.note_left(waiter.party.len());
            self.counts.expired += 1;
            expired.push(number);
        }
        expired
    }

    /// What changed since the last call, to be stored; call it until it gives nothing.
    pub fn drain_changes(&mut self) -> Option<Delta> {
        if self.journal.is_clean() {
            return None;
        }
        let (shrunk, gone) = self.journal.take();
        let mut put: Vec<_> = shrunk.into_iter().filter_map(|number| self.record(number)).collect();
        // Who came may be who left another place before: that has to be written first.
        let room = if self.journal.is_behind() { 0 } else { CHANGES_PER_DELTA_MAX - put.len() };
        let from = self.journal.unsaved_from;
        // One more than there is room for, to know from where the next delta goes on.
        let came = self.lines.iter().flat_map(|line| line.from(from, room + 1));
        let mut came: Vec<QueueNumber> = came.map(|(number, _)| number).collect();
        came.sort_unstable();
        let more = came.get(room).copied();
        came.truncate(room);
        put.extend(came.into_iter().filter_map(|number| self.record(number)));
        self.journal.unsaved_from = more.unwrap_or(QueueNumber(self.next));
        if more.is_some() {
            self.journal.turned();
        }
        Some(Delta { turns: self.turns_record(), put, gone })
    }

    /// The whole queue, to be stored; deltas go on from it only if there was nothing left to drain.
    pub fn snapshot(&self) -> Snapshot {
        let lanes = Lane::ALL.into_iter().zip(&self.lines);
        let all = |(lane, line): (Lane, &Line)| -> Vec<(QueueNumber, WaiterRecord)> {
            let parties = line.from(QueueNumber(0), usize::MAX);
            parties.map(|(number, waiter)| (number, WaiterRecord::new(lane, waiter))).collect()
        };
        Snapshot { turns: self.turns_record(), waiting: lanes.flat_map(all).collect() }
    }

    fn turns_record(&self) -> TurnsRecord {
        TurnsRecord::new(self.next, self.turns.owed, &self.lines, self.counts)
    }

    fn record(&self, number: QueueNumber) -> Option<(QueueNumber, WaiterRecord)> {
        let lane = self.lane_of(number)?;
        Some((number, WaiterRecord::new(lane, self.lines[lane.index()].get(number)?)))
    }

    fn lane_of(&self, number: QueueNumber) -> Option<Lane> {
        Lane::ALL.into_iter().find(|lane| self.lines[lane.index()].has(number))
    }

    /// Time went on. A clock that goes back is taken to stand still.
    fn advance(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        for line in &mut self.lines {
            let waiting = line.players();
            line.rates.advance(self.now_ms, waiting);
        }
    }

    fn insert(&mut self, number: QueueNumber, lane: Lane, waiter: Waiter) {
        self.players.extend(waiter.party.players().map(|player| (player, number)));
        self.due.insert((waiter.due_ms, number));
        self.lines[lane.index()].add(number, waiter);
    }

    /// The one way out.
    fn remove(&mut self, number: QueueNumber) -> Option<(Lane, Waiter)> {
        let lane = self.lane_of(number)?;
        let waiter = self.lines[lane.index()].remove(number)?;
        self.due.remove(&(waiter.due_ms, number));
        for player in waiter.party.players() {
            self.players.remove(&player);
        }
        self.journal.gone(number);
        Some((lane, waiter))
    }

    /// The holder is here: what it is told, and until when its place is kept.
    fn keep(&mut self, number: QueueNumber, is_first: bool) -> Option<Place> {
        let place = self.told(number, is_first)?;
        let due_ms = self.now_ms + place.return_after_ms + QUEUE_GRACE_MS;
        let waiter = self.lines[place.lane.index()].get_mut(number)?;
        self.due.remove(&(waiter.due_ms, number));
        waiter.due_ms = due_ms;
        self.due.insert((due_ms, number));
        Some(place)
    }

    fn told(&self, number: QueueNumber, is_first: bool) -> Option<Place> {
        let lane = self.lane_of(number)?;
        let (line, other) = (&self.lines[lane.index()], &self.lines[lane.other().index()]);
        let in_lane = line.before(number);
        let others = self.turns.others_before(lane, in_lane);
        let ahead = in_lane + others.map_or(other.players(), |others| others.min(other.players()));
        let at_most = others.map(|others| in_lane + others + PARTY_MAX as u64 - 1);
        let own = line.get(number)?.party.len() as u64;
        Some(Place {
            number,
            lane,
            position: Position { in_lane, ahead, at_most },
            eta: line.rates.eta(in_lane + own, &other.rates, other.players()),
            return_after_ms: pacing::return_after_ms(number, ahead, self.len() as u64, is_first, self.now_ms),
        })
    }

    /// What must hold after every step; for tests and simulation.
    ///
    /// # Panics
    /// When it doesn't.
    pub fn invariants(&self) {
        let mut players = BTreeMap::new();
        let mut due = BTreeSet::new();
        for line in &self.lines {
            line.invariants();
            for (number, waiter) in line.from(QueueNumber(0), usize::MAX) {
                assert!(number.0 < self.next, "{number} was not given");
                due.insert((waiter.due_ms, number));
                for player in waiter.party.players() {
                    assert_eq!(players.insert(player, number), None, "player {player} waits twice");
                }
            }
        }
        assert_eq!(players, self.players, "who waits, and with which number");
        assert_eq!(due, self.due, "whoever waits has a date");
        assert!(self.len() <= QUEUE_MAX, "the queue is bounded");
        self.journal.invariants(|number| self.lane_of(number).is_some());
    }
}
