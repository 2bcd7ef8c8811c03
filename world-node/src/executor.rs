//! The executor: does players' acts. It loads what a rule declares, asks the rule, commits what comes of it, carries
//! transfers to their ends, and keeps what it knows of partitions current. Pure: operations for the store go out,
//! answers and other nodes' commits come in; the node core drives it, tests drive many of them on one store.
//!
//! It decides nothing about the game (that is `rules`) and nothing about what lasts (that is the store): whatever it
//! believes may be old, and every commit names the versions that it rests on.

mod act;
mod carry;
mod commit;
mod forget;
pub mod limits;
mod reading;
mod replica;

pub use act::{NewAct, Verdict, Why};
pub use commit::{
    ActResult, Change, INDEX_DECIDED, INDEX_ESTATES, INDEX_PENDING, LEDGER_SCHEMA, LedgerRecord, key_of,
    number_of,
};
pub use replica::Writes;

use crate::rules::{ChunkLand, DocName, Partition, TransferId};
use act::OpenAct;
use bytes::Bytes;
use carry::Carry;
use chunk_sync::ids::{Epoch, IslandId, PlayerId};
use chunk_sync::place::{ChunkPos, Place};
use chunk_sync::store::{Document, Name, StoreAnswer, StoreOp, Token};
use chunk_sync::time::Tick;
use chunk_sync::wire::ActNumber;
use forget::Forgets;
use limits::{ACTS_OF_NODE_MAX, CARRIES_MAX};
use replica::{Replica, Step};
use std::collections::{BTreeMap, BTreeSet};

/// Something that is under way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Key {
    /// An act of a player.
    Act(PlayerId, ActNumber),
    /// A transfer.
    Carry(TransferId),
    /// Decisions of a partition that can be forgotten.
    Forget(Partition),
}

/// What a question to the store was for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// A reading of this number.
    Read(Partition, u64),
    /// A commit of this.
    Commit(Key),
}

/// The executor's surroundings.
pub trait Port {
    /// World milliseconds.
    fn now_ms(&self) -> u64;
    /// The tick.
    fn tick(&self) -> Tick;
    /// A fresh token.
    fn token(&mut self) -> Token;
    /// Asks the store.
    fn send(&mut self, ask: Ask, op: StoreOp);
    /// Until when, by the store's clock (Unix ms), a commit of an act may be done: soon, and while this node surely
    /// holds its lease. `None` when the store has not been heard yet.
    fn act_deadline_ms(&self) -> Option<u64>;
    /// The land of a chunk; `None` when there is no such island or chunk.
    fn land(&mut self, island: IslandId, chunk: ChunkPos) -> Option<ChunkLand>;
    /// Whether there is such an island.
    fn is_planned(&self, _island: IslandId) -> bool {
        true
    }
    /// Whether somebody who lives on `home` may travel to an island.
    fn takes_travellers(&self, _island: IslandId, _home: IslandId) -> bool {
        true
    }
    /// Where a player is that is somewhere around `near`.
    fn place_of(&self, island: IslandId, near: Place, player: PlayerId) -> Option<Place>;
}

/// What came of an act.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Who acted.
    pub player: PlayerId,
    /// The session that asked.
    pub epoch: Epoch,
    /// The act.
    pub number: ActNumber,
    /// What came of it.
    pub verdict: Verdict,
}

/// A commit of this node, for the others that follow the partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// The partition.
    pub partition: Partition,
    /// Its token before.
    pub previous: Token,
    /// The commit.
    pub token: Token,
    /// Its event.
    pub event: Bytes,
}

/// What an executor counted since its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ExecutorCounters {
    /// Acts that were done.
    pub done: u64,
    /// Acts that were refused.
    pub refused: u64,
    /// Acts of earlier sessions that were over.
    pub over: u64,
    /// Commits that were decided anew since something had changed.
    pub conflicts: u64,
    /// Commits of acts and transfers.
    pub commits: u64,
    /// Readings of partitions.
    pub readings: u64,
    /// Readings of everything, of partitions that were known.
    pub reloads: u64,
    /// Transfers brought to their ends.
    pub carried: u64,
    /// Decisions forgotten.
    pub forgotten: u64,
    /// Commits of others that were missed at first.
    pub gaps: u64,
    /// Times that another server answered for the store, and everything known was read anew.
    pub doubts: u64,
    /// Documents that can't be read, and steps that no rule allows: something is damaged.
    pub faults: u64,
}

/// All that is under way on one node.
#[derive(Default)]
pub struct Executor {
    replicas: BTreeMap<Partition, Replica>,
    /// Those whose next reading must wait.
    rereads: BTreeSet<Partition>,
    acts: BTreeMap<(PlayerId, ActNumber), OpenAct>,
    carries: BTreeMap<TransferId, Carry>,
    /// Which act ends with a transfer.
    awaiting: BTreeMap<TransferId, (PlayerId, ActNumber)>,
    forgets: BTreeMap<Partition, Forgets>,
    runnable: BTreeSet<Key>,
    timers: BTreeSet<(u64, Key)>,
    /// Number of the newest reading.
    readings: u64,
    /// Partition that is compared next.
    compared: Option<Partition>,
    answers: Vec<Answer>,
    told: Vec<Told>,
    changed: BTreeMap<Partition, BTreeSet<Name>>,
    counters: ExecutorCounters,
}

impl Executor {
    /// What it counted.
    pub fn counters(&self) -> &ExecutorCounters {
        &self.counters
    }

    /// Acts, transfers and partitions with decisions to forget that are under way.
    pub fn under_way(&self) -> (usize, usize, usize) {
        (self.acts.len(), self.carries.len(), self.forgets.len())
    }

    /// Keeps a partition current from now on.
    pub fn follow(&mut self, partition: Partition, port: &mut dyn Port) {
        let replica = self.replicas.entry(partition).or_default();
        if !replica.followed {
            replica.followed = true;
            // What was known of it loosely may be old.
            replica.followed_from = self.readings + 1;
            replica.wanted = self.readings + 1;
            self.read(partition, port);
        }
    }

    /// No longer keeps it current.
    pub fn unfollow(&mut self, partition: Partition, port: &dyn Port) {
        if let Some(replica) = self.replicas.get_mut(&partition) {
            replica.followed = false;
            replica.used_ms = port.now_ms();
        }
    }

    /// Whether a partition's documents are here and kept current.
    pub fn is_current(&self, partition: Partition) -> bool {
        let current = |replica: &Replica| replica.is_loaded() && replica.fresh >= replica.followed_from;
        self.replicas.get(&partition).is_some_and(|replica| replica.followed && current(replica))
    }

    /// Documents of a partition, as they are known here.
    pub fn docs(&self, partition: Partition) -> Option<&BTreeMap<Name, Document>> {
        self.replicas.get(&partition).filter(|replica| replica.is_loaded()).map(Replica::docs)
    }

    /// How many acts of a player are under way.
    pub fn open_acts(&self, player: PlayerId) -> usize {
        self.acts.range((player, ActNumber(0))..=(player, ActNumber(u64::MAX))).count()
    }

    /// Whether an act is under way.
    pub fn is_open(&self, player: PlayerId, number: ActNumber) -> bool {
        self.acts.contains_key(&(player, number))
    }

    /// Begins an act. One that is under way already is answered to the session that asked last. When too much is under
    /// way, a new act is refused; of one that may have been done before nobody can say so.
    pub fn begin(&mut self, act: NewAct, port: &dyn Port) {
        let (player, number, epoch) = (act.actor.player, number_of(act.actor.act), act.actor.epoch);
        if let Some(open) = self.acts.get_mut(&(player, number)) {
            open.asked_by(epoch);
            return;
        }
        if self.acts.len() >= ACTS_OF_NODE_MAX {
            let refused = Verdict::Refused(Why::Host(chunk_sync::wire::RejectCode::Busy));
            let verdict = if act.is_again() { Verdict::Over } else { refused };
            self.answers.push(Answer { player, epoch, number, verdict });
            return;
        }
        self.acts.insert((player, number), OpenAct::new(act, self.readings, port.now_ms()));
        self.runnable.insert(Key::Act(player, number));
    }

    /// A session ended: what of its acts was not begun, is not.
    pub fn end_session(&mut self, player: PlayerId, epoch: Epoch) {
        let range = (player, ActNumber(0))..=(player, ActNumber(u64::MAX));
        let idle = self.acts.range(range).filter(|(_, act)| act.is_idle(epoch)).map(|(key, _)| *key);
        for key in idle.collect::<Vec<_>>() {
            self.acts.remove(&key);
        }
    }

    /// Somebody found this transfer pending at its sender, or its decision remembered at `decided`.
    pub fn finish(&mut self, id: TransferId, decided: Option<Partition>) {
        if self.carries.len() < CARRIES_MAX && !self.carries.contains_key(&id) {
            self.carries.insert(id, Carry::found(decided, self.readings + 1));
            self.runnable.insert(Key::Carry(id));
        }
    }

    /// Another node, or another part of this one, did a commit.
    pub fn take(
        &mut self,
        partition: Partition,
        previous: Token,
        token: Token,
        writes: Writes,
        port: &mut dyn Port,
    ) {
        self.take_step(partition, Step { previous, token, writes }, port);
    }

    /// What is known may be wrong (another server answers for the store now): everything is read anew.
    pub fn doubt(&mut self, port: &mut dyn Port) {
        self.counters.doubts += 1;
        self.carries.values_mut().for_each(Carry::doubt);
        self.acts.values_mut().for_each(OpenAct::doubt);
        self.runnable.extend(self.carries.keys().copied().map(Key::Carry));
        let all: Vec<Partition> = self.replicas.keys().copied().collect();
        for partition in all {
            let newer = self.readings + 1;
            let Some(replica) = self.replicas.get_mut(&partition) else { continue };
            replica.spoil();
            replica.wanted = newer;
            if replica.followed {
                self.read(partition, port);
            }
            self.wake(partition);
        }
    }

    /// Does what can be done now. Called every tick, after the answers of the store were taken.
    pub fn run(&mut self, port: &mut dyn Port) {
        let now_ms = port.now_ms();
        while let Some(&(due_ms, key)) = self.timers.first()
            && due_ms <= now_ms
        {
            self.timers.pop_first();
            self.runnable.insert(key);
        }
        self.tend_readings(port);
        while let Some(key) = self.runnable.pop_first() {
            match key {
                Key::Act(player, number) => self.step_act((player, number), port),
                Key::Carry(id) => self.step_carry(id, port),
                Key::Forget(partition) => self.step_forget(partition, port),
            }
        }
    }

    /// Takes an answer of the store.
    pub fn answer(&mut self, ask: Ask, answer: StoreAnswer, port: &mut dyn Port) {
        match ask {
            Ask::Read(partition, number) => self.read_answered(partition, number, answer, port),
            Ask::Commit(Key::Act(player, number)) => self.act_answered((player, number), answer, port),
            Ask::Commit(Key::Carry(id)) => self.carry_answered(id, answer, port),
            Ask::Commit(Key::Forget(partition)) => self.forget_answered(partition, answer, port),
        }
    }

    /// Another part of this node did a commit that followers are to hear of.
    pub fn tell(&mut self, told: Told) {
        self.told.push(told);
    }

    /// What came of acts since the last call.
    pub fn drain_answers(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.answers)
    }

    /// This node's commits since the last call, in no particular order of partitions.
    pub fn drain_told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// Documents of partitions that changed here since the last call.
    pub fn drain_changed(&mut self) -> BTreeMap<Partition, BTreeSet<Name>> {
        std::mem::take(&mut self.changed)
    }

    /// What changed in a partition couldn't be shown, since it is being read anew: it is said again.
    pub fn changed_again(&mut self, partition: Partition, names: BTreeSet<Name>) {
        if self.replicas.get(&partition).is_some_and(|replica| replica.followed) {
            self.changed.entry(partition).or_default().extend(names);
        }
    }

    fn later(&mut self, at_ms: u64, key: Key) {
        self.timers.insert((at_ms, key));
    }

    /// A commit of this node is done: it is known here at once, and others are told.
    fn committed(
        &mut self,
        partition: Partition,
        (previous, token): (Token, Token),
        event: Bytes,
        port: &mut dyn Port,
    ) {
        self.counters.commits += 1;
        // What was packed here can be read here.
        let writes = Change::read(&event).map(Change::writes).unwrap_or_default();
        self.take_step(partition, Step { previous, token, writes }, port);
        self.told.push(Told { partition, previous, token, event });
    }

    /// Whether `names` of a partition are being written by something else of this node; if so, `key` waits.
    fn is_locked(&mut self, partition: Partition, names: &BTreeSet<DocName>, key: Key) -> bool {
        let Some(replica) = self.replicas.get_mut(&partition) else { return false };
        let locked = replica.is_locked(names.iter().copied());
        if locked {
            replica.waiters.insert(key);
        }
        locked
    }

    fn lock(&mut self, partition: Partition, key: Key, names: BTreeSet<DocName>) {
        if let Some(replica) = self.replicas.get_mut(&partition) {
            replica.lock(key, names);
        }
    }

    fn unlock(&mut self, partition: Partition, key: Key) {
        if let Some(replica) = self.replicas.get_mut(&partition) {
            replica.unlock(&key);
        }
        self.wake(partition);
    }

    fn wake(&mut self, partition: Partition) {
        if let Some(replica) = self.replicas.get_mut(&partition) {
            self.runnable.append(&mut replica.waiters);
        }
    }
}
