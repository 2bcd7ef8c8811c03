//! The world's own facts and its clock: what every process of a cluster reads (the first one writes) at its start.
//!
//! Called by the shells of nodes and allocators before anything else. The record is never changed here once it
//! is there.

use std::time::{Duration, Instant};

mod clock;

pub use clock::{ClockKeeper, WorldClock};

use chunk_sync::records::{CLUSTER_WORLD, DOC_WORLD, KeyRecord, WORLD, WorldRecord, decode, encode};
use chunk_sync::store::{
    Commit, CommitOutcome, PartitionKey, Refusal, StoreAnswer, StoreFault, StoreOp, Token,
};

use crate::store::StoreHandle;

/// How often opening the world is tried when others write it at the same time or an outcome stays unknown.
const OPEN_TRIES_MAX: u32 = 8;
/// Readings of the store's clock, of which the one with the shortest way counts.
const CLOCK_READINGS: u32 = 3;
/// Number of the first ticket key.
const FIRST_KEY: u8 = 1;

/// Why the world could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// The store gave no answer.
    #[error("reading the world from the store: {0}")]
    Store(#[from] StoreFault),
    /// The store holds something else where the world's record should be.
    #[error("the store's record of the world can't be read; it may be of a newer version")]
    Unreadable,
    /// The store refuses to keep it.
    #[error("the store refuses the world's record: {0:?}")]
    Refused(Refusal),
    /// The store answered another question than was asked.
    #[error("the store gave an answer of the wrong kind")]
    WrongAnswer,
    /// No agreement with others who write it.
    #[error("the world's record could not be settled in {OPEN_TRIES_MAX} tries")]
    Unsettled,
    /// The system has no randomness to give.
    #[error("no random numbers for a new world: {0}")]
    Random(#[from] getrandom::Error),
}

/// Reads the world's record, writes it if there is none yet, and sets the world's clock by the store's.
///
/// # Errors
/// [`WorldError`] if the store doesn't answer or holds something unreadable.
pub async fn open_world(store: &StoreHandle) -> Result<(WorldRecord, WorldClock), WorldError> {
    let record = open_record(store).await?;
    let reading = read_clock(store).await?;
    let clock = WorldClock::new(reading.store_ms.saturating_sub(record.began_ms), reading.at);
    Ok((record, clock))
}

/// What the store's clock showed.
#[derive(Clone, Copy, Debug)]
struct Reading {
    store_ms: u64,
    /// When it showed that, as well as can be known.
    at: Instant,
    /// How long the question took; half of it is the reading's error at worst.
    way: Duration,
}

/// The best of a few readings of the store's clock.
async fn read_clock(store: &StoreHandle) -> Result<Reading, WorldError> {
    let mut best: Option<Reading> = None;
    for _ in 0..CLOCK_READINGS {
        let asked = Instant::now();
        let (_, store_ms) = load(store).await?;
        let way = asked.elapsed();
        if best.is_none_or(|best| way < best.way) {
            best = Some(Reading { store_ms, at: asked + way / 2, way });
        }
    }
    best.ok_or(WorldError::Unsettled)
}

async fn open_record(store: &StoreHandle) -> Result<WorldRecord, WorldError> {
    for _ in 0..OPEN_TRIES_MAX {
        let (record, store_ms) = load(store).await?;
        if let Some(record) = record {
            return Ok(record);
        }
        let record = new_record(store_ms)?;
        let commit = Commit::new(partition(), new_token()?).absent(DOC_WORLD).put(DOC_WORLD, encode(&record));
        match store.call(StoreOp::Commit(commit)).await {
            StoreAnswer::Committed(CommitOutcome::Done { .. }) => return Ok(record),
            // Somebody else was first, or nobody knows who was: read again.
            StoreAnswer::Committed(CommitOutcome::Refused(Refusal::Conflict { .. }))
            | StoreAnswer::Failed(StoreFault::TimedOut) => {}
            StoreAnswer::Committed(CommitOutcome::Refused(refusal)) => {
                return Err(WorldError::Refused(refusal));
            }
            StoreAnswer::Failed(fault) => return Err(fault.into()),
            StoreAnswer::Loaded(_) | StoreAnswer::Tailed(_) => return Err(WorldError::WrongAnswer),
        }
    }
    Err(WorldError::Unsettled)
}

/// The record, if there is one, and the store's clock.
async fn load(store: &StoreHandle) -> Result<(Option<WorldRecord>, u64), WorldError> {
    match store.call(StoreOp::Load { partition: partition() }).await {
        StoreAnswer::Loaded(view) => {
            let record =
                view.doc(DOC_WORLD).map(|value| decode(value).ok_or(WorldError::Unreadable)).transpose()?;
            Ok((record, view.store_ms))
        }
        StoreAnswer::Failed(fault) => Err(fault.into()),
        StoreAnswer::Committed(_) | StoreAnswer::Tailed(_) => Err(WorldError::WrongAnswer),
    }
}

fn partition() -> PartitionKey {
    PartitionKey::cluster(WORLD, CLUSTER_WORLD)
}

/// A world that begins now, with land and a key that nobody can guess.
fn new_record(store_ms: u64) -> Result<WorldRecord, getrandom::Error> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    let keys = vec![KeyRecord { id: FIRST_KEY, secret }];
    Ok(WorldRecord { seed: getrandom::u64()?, began_ms: store_ms, keys })
}

/// A token before there is a minter: random, and never the reserved one.
fn new_token() -> Result<Token, getrandom::Error> {
    Ok(Token(getrandom::u64()?.max(Token::NONE.0 + 1)))
}
