//! One node of the tests: an executor, what has come for it, and its surroundings.

use super::town::{ISLAND, land_of};
use chunk_sync::ids::{Epoch, IslandId, Minter, PlayerId, Source};
use chunk_sync::limits::TICK_MS;
use chunk_sync::place::{ChunkPos, Place};
use chunk_sync::records::WORLD;
use chunk_sync::store::{StoreAnswer, StoreOp, Token};
use chunk_sync::time::Tick;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use world_node::executor::{Ask, Change, Executor, NewAct, Port, Told, Writes};
use world_node::rules::{ChunkLand, Partition, TransferId};

/// Unix time at the beginning of each test, by the store's clock.
pub(super) const BEGAN_MS: u64 = 1_700_000_000_000;
/// How long a commit of an act may take, as nodes of the tests see it.
pub(super) const DEADLINE_MS: u64 = 6_000;

pub(super) type Places = Rc<RefCell<BTreeMap<PlayerId, Place>>>;

/// What comes to a node; it is taken at the next tick.
#[derive(Clone, Debug)]
pub(super) enum Input {
    Answer(Ask, StoreAnswer),
    Told(Told),
    /// A commit of another part of this node.
    Own(Partition, [Token; 2], Writes),
    Begin(NewAct),
    EndSession(PlayerId, Epoch),
    Follow(Partition),
    Unfollow(Partition),
    Finish(TransferId, Option<Partition>),
    Doubt,
}

/// What the executor sees of its surroundings.
pub(super) struct Side {
    minter: Minter,
    pub(super) now_ms: u64,
    places: Places,
    pub(super) sent: Vec<(Ask, StoreOp)>,
}

impl Side {
    pub(super) fn new(source: u32, places: Places) -> Self {
        Self { minter: Minter::new(WORLD, Source(source)), now_ms: 0, places, sent: Vec::new() }
    }
}

impl Port for Side {
    fn now_ms(&self) -> u64 {
        self.now_ms
    }

    fn tick(&self) -> Tick {
        Tick(100_000 + self.now_ms / TICK_MS)
    }

    fn token(&mut self) -> Token {
        Token(self.minter.mint().expect("tests are short"))
    }

    fn send(&mut self, ask: Ask, op: StoreOp) {
        op.check().expect("an executor asks only what a store takes");
        self.sent.push((ask, op));
    }

    fn act_deadline_ms(&self) -> Option<u64> {
        Some(BEGAN_MS + self.now_ms + DEADLINE_MS)
    }

    fn land(&mut self, island: IslandId, chunk: ChunkPos) -> Option<ChunkLand> {
        (island == ISLAND && chunk.index().is_some()).then(|| land_of(chunk))
    }

    fn place_of(&self, island: IslandId, _near: Place, player: PlayerId) -> Option<Place> {
        self.places.borrow().get(&player).copied().filter(|_| island == ISLAND)
    }
}

pub(super) struct Node {
    pub(super) executor: Executor,
    pub(super) side: Side,
    pub(super) inbox: Vec<Input>,
    /// It stands still until then.
    pub(super) paused_until_ms: u64,
}

impl Node {
    pub(super) fn new(source: u32, places: Places) -> Self {
        let side = Side::new(source, places);
        Self { executor: Executor::default(), side, inbox: Vec::new(), paused_until_ms: 0 }
    }

    /// One tick: takes what has come, then does what can be done.
    pub(super) fn tick(&mut self, now_ms: u64) {
        self.side.now_ms = now_ms;
        for input in std::mem::take(&mut self.inbox) {
            self.take(input);
        }
        self.executor.run(&mut self.side);
    }

    fn take(&mut self, input: Input) {
        let (executor, side) = (&mut self.executor, &mut self.side);
        match input {
            Input::Answer(ask, answer) => executor.answer(ask, answer, side),
            Input::Told(Told { partition, previous, token, event }) => {
                let writes = Change::read(&event).expect("an executor packed it").writes();
                executor.take(partition, previous, token, writes, side);
            }
            Input::Own(partition, [previous, token], writes) => {
                executor.take(partition, previous, token, writes, side);
            }
            Input::Begin(act) => executor.begin(act, side),
            Input::EndSession(player, epoch) => executor.end_session(player, epoch),
            Input::Follow(partition) => executor.follow(partition, side),
            Input::Unfollow(partition) => executor.unfollow(partition, side),
            Input::Finish(id, decided) => executor.finish(id, decided),
            Input::Doubt => executor.doubt(side),
        }
    }
}
