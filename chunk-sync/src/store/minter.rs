//! Minters: numbers, leased once and never again, from which a process makes ids and tokens that are unique in
//! its world without asking anybody ([`Minter`](crate::ids::Minter) makes them). This is the leasing, as a pure
//! flow: it emits store operations and takes their answers. It never asks for a number to be given back.

use bytes::Bytes;

use super::commit::{Commit, Token};
use super::key::PartitionKey;
use super::op::{StoreAnswer, StoreFault, StoreOp};
use super::outcome::CommitOutcome;
use crate::ids::{MINTER_MAX, Source, WorldId};

/// The document that holds the last leased number.
const LAST: &str = "last";
/// How often a lost race for the next number is run again.
const RACES_MAX: u32 = 64;

/// Why no number could be leased.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MinterError {
    /// All numbers of this world were given out.
    #[error("world {} has leased all of its {MINTER_MAX} minters", .world.0)]
    Exhausted {
        /// Which world.
        world: WorldId,
    },
    /// The store gave no answer, even when asked again.
    #[error("leasing a minter: {0}")]
    Store(#[from] StoreFault),
    /// Too many others leased at the same moment.
    #[error("leasing a minter: lost {RACES_MAX} races in a row")]
    Raced,
    /// The document or the answer is not what it must be.
    #[error("leasing a minter: unexpected {what}")]
    Unexpected {
        /// What was found.
        what: &'static str,
    },
}

/// What the driver of a [`MinterFlow`] does next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MinterStep {
    /// Ask the store this and hand the answer to [`MinterFlow::handle_answer`].
    Ask(StoreOp),
    /// The leased number; each is larger than all before it.
    Leased(Source),
}

/// One leasing of a minter's number: read the last one, commit the next one, run again after a lost race.
#[derive(Clone, Debug)]
pub struct MinterFlow {
    world: WorldId,
    token: Token,
    races: u32,
    resends: u32,
    asked: Option<(Source, Commit)>,
}

impl MinterFlow {
    /// A flow for `world`. As its asker has no minter yet, `seed` must be random: the commits' tokens come from
    /// it.
    pub fn new(world: WorldId, seed: u64) -> Self {
        Self { world, token: Token(seed), races: 0, resends: 0, asked: None }
    }

    /// The first question.
    pub fn start(&self) -> StoreOp {
        StoreOp::Load { partition: self.partition() }
    }

    /// Takes the answer to the last question.
    pub fn handle_answer(&mut self, answer: StoreAnswer) -> Result<MinterStep, MinterError> {
        match (answer, self.asked.take()) {
            (StoreAnswer::Loaded(view), None) => {
                let last = view.doc(LAST).map_or(Ok(0), decode)?;
                let next = last
                    .checked_add(1)
                    .and_then(Source::new)
                    .ok_or(MinterError::Exhausted { world: self.world })?;
                let commit = Commit::new(self.partition(), self.next_token())
                    .put(LAST, Bytes::copy_from_slice(&next.0.to_be_bytes()));
                let commit = match view.cas(LAST) {
                    None => commit.absent(LAST),
                    Some(cas) => commit.expect(LAST, cas),
                };
                self.asked = Some((next, commit.clone()));
                Ok(MinterStep::Ask(StoreOp::Commit(commit)))
            }
            (StoreAnswer::Committed(CommitOutcome::Done { .. }), Some((leased, _))) => {
                Ok(MinterStep::Leased(leased))
            }
            (StoreAnswer::Committed(CommitOutcome::Refused(_)), Some(_)) => {
                self.races += 1;
                if self.races >= RACES_MAX {
                    return Err(MinterError::Raced);
                }
                Ok(MinterStep::Ask(self.start()))
            }
            // The outcome is unknown: the same commit again is safe, and a number that nobody uses costs little.
            (StoreAnswer::Failed(StoreFault::TimedOut), Some((number, commit))) if self.resends == 0 => {
                self.resends += 1;
                self.asked = Some((number, commit.clone()));
                Ok(MinterStep::Ask(StoreOp::Commit(commit)))
            }
            (StoreAnswer::Failed(fault), _) => Err(MinterError::Store(fault)),
            _ => Err(MinterError::Unexpected { what: "answer" }),
        }
    }

    fn partition(&self) -> PartitionKey {
        PartitionKey::cluster(self.world, "minter")
    }

    fn next_token(&mut self) -> Token {
        loop {
            self.token = Token(self.token.0.wrapping_add(1));
            if self.token != Token::NONE {
                return self.token;
            }
        }
    }
}

fn decode(value: &Bytes) -> Result<u32, MinterError> {
    let bytes = <[u8; 4]>::try_from(&value[..])
        .map_err(|_| MinterError::Unexpected { what: "length of the last number" })?;
    Ok(u32::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::super::memory::{MemoryFault, MemoryStore};
    use super::*;

    const WORLD: WorldId = WorldId(1);

    fn lease(store: &mut MemoryStore, seed: u64) -> Result<Source, MinterError> {
        let mut flow = MinterFlow::new(WORLD, seed);
        let mut op = flow.start();
        loop {
            match flow.handle_answer(store.call(0, &op))? {
                MinterStep::Ask(next) => op = next,
                MinterStep::Leased(number) => return Ok(number),
            }
        }
    }

    #[test]
    fn numbers_start_at_one_and_never_repeat() {
        let mut store = MemoryStore::new(0);
        for wanted in 1..=20 {
            assert_eq!(lease(&mut store, u64::from(wanted) << 32), Ok(Source(wanted)));
        }
    }

    #[test]
    fn a_lost_race_is_run_again() {
        let mut store = MemoryStore::new(0);
        let mut slow = MinterFlow::new(WORLD, 77);
        let Ok(MinterStep::Ask(late)) = slow.handle_answer(store.call(0, &slow.start())) else { panic!() };
        assert_eq!(lease(&mut store, 1000), Ok(Source(1)));
        let Ok(MinterStep::Ask(again)) = slow.handle_answer(store.call(0, &late)) else { panic!() };
        let Ok(MinterStep::Ask(commit)) = slow.handle_answer(store.call(0, &again)) else { panic!() };
        assert_eq!(slow.handle_answer(store.call(0, &commit)), Ok(MinterStep::Leased(Source(2))));
    }

    #[test]
    fn a_lost_answer_is_asked_again_and_leases_once() {
        let mut store = MemoryStore::new(0);
        let mut flow = MinterFlow::new(WORLD, 77);
        let Ok(MinterStep::Ask(commit)) = flow.handle_answer(store.call(0, &flow.start())) else { panic!() };
        store.set_fault(MemoryFault::LosesAnswers);
        let Ok(MinterStep::Ask(again)) = flow.handle_answer(store.call(0, &commit)) else { panic!() };
        assert_eq!(again, commit);
        store.set_fault(MemoryFault::None);
        assert_eq!(flow.handle_answer(store.call(0, &again)), Ok(MinterStep::Leased(Source(1))));
        assert_eq!(lease(&mut store, 1), Ok(Source(2)));
        store.set_fault(MemoryFault::Away);
        assert_eq!(lease(&mut store, 2), Err(MinterError::Store(StoreFault::Away)));
    }

    #[test]
    fn the_last_number_is_the_last() {
        let mut store = MemoryStore::new(0);
        let partition = PartitionKey::cluster(WORLD, "minter");
        let full = Commit::new(partition, Token(9))
            .put(LAST, Bytes::copy_from_slice(&(MINTER_MAX - 1).to_be_bytes()));
        store.call(0, &StoreOp::Commit(full));
        assert_eq!(lease(&mut store, 100), Ok(Source(MINTER_MAX)));
        assert_eq!(lease(&mut store, 200), Err(MinterError::Exhausted { world: WORLD }));
    }
}
