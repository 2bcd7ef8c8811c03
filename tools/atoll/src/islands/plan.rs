//! The plan as suspending and resuming change it: what the allocator and the nodes read when they start.

use chunk_sync::ids::IslandId;
use chunk_sync::records::{
    CLUSTER_PLAN, DOC_PLAN, IslandRecord, PlanRecord, SuspendedIsland, WORLD, decode, encode,
};
use chunk_sync::store::{
    Cas, Commit, CommitOutcome, EpochStep, PartitionKey, StoreAnswer, StoreFault, StoreOp, Token,
};
use chunk_sync_io::store::StoreHandle;
use population_allocator::limits::ISLANDS_MAX;

use super::IslandError;
use super::limits::TRIES_MAX;
use crate::books::token;

/// The plan that holds, and its version.
pub(super) struct Known {
    pub(super) plan: PlanRecord,
    cas: Cas,
}

/// Reads it.
pub(super) async fn known(store: &StoreHandle) -> Result<Known, IslandError> {
    let view = match store.call(StoreOp::Load { partition: partition() }).await {
        StoreAnswer::Loaded(view) => view,
        StoreAnswer::Failed(fault) => return Err(fault.into()),
        StoreAnswer::Committed(_) | StoreAnswer::Tailed(_) => return Err(StoreFault::TimedOut.into()),
    };
    let (Some(bytes), Some(cas)) = (view.doc(DOC_PLAN), view.cas(DOC_PLAN)) else {
        return Err(IslandError::Refused("this world has no islands yet".to_owned()));
    };
    let plan = decode(bytes).ok_or_else(|| IslandError::Refused("the plan can't be read".to_owned()))?;
    Ok(Known { plan, cas })
}

/// The islands that are suspended.
///
/// # Errors
/// When the store doesn't answer.
pub(crate) async fn suspended_islands(store: &StoreHandle) -> Result<Vec<SuspendedIsland>, StoreFault> {
    Ok(stored(store).await?.map(|plan| plan.suspended).unwrap_or_default())
}

async fn stored(store: &StoreHandle) -> Result<Option<PlanRecord>, StoreFault> {
    match store.call(StoreOp::Load { partition: partition() }).await {
        StoreAnswer::Loaded(view) => Ok(view.doc(DOC_PLAN).and_then(|bytes| decode::<PlanRecord>(bytes))),
        StoreAnswer::Failed(fault) => Err(fault),
        StoreAnswer::Committed(_) | StoreAnswer::Tailed(_) => Err(StoreFault::TimedOut),
    }
}

/// Writes the next plan over the one that was read.
pub(super) async fn write(store: &StoreHandle, known: &Known, next: &PlanRecord) -> Result<(), IslandError> {
    let commit = Commit::new(partition(), Token(token()))
        .expect(DOC_PLAN, known.cas)
        .put(DOC_PLAN, encode(next))
        .epoch(EpochStep::Raise { name: DOC_PLAN.into(), to: next.number });
    let mut tries = 0;
    loop {
        tries += 1;
        // Asked again under the same token, it is known when it was done.
        return match store.call(StoreOp::Commit(commit.clone())).await {
            StoreAnswer::Committed(CommitOutcome::Done { .. }) => Ok(()),
            StoreAnswer::Failed(StoreFault::TimedOut | StoreFault::Away) if tries < TRIES_MAX => continue,
            StoreAnswer::Failed(fault) => Err(IslandError::Store(fault.to_string())),
            answer => Err(IslandError::Store(format!("the plan changed meanwhile ({answer:?})"))),
        };
    }
}

/// The plan in which an island is suspended.
pub(super) fn suspended(plan: &PlanRecord, island: SuspendedIsland) -> PlanRecord {
    let reason = format!("suspend: island {} is in an archive now, as an operator wants", island.island.0);
    let mut next = PlanRecord { number: plan.number + 1, reasons: vec![reason], ..plan.clone() };
    next.islands.retain(|open| open.island != island.island);
    next.suspended.push(island);
    next
}

/// The plan in which a suspended island is open again. The allocator gives it nodes when it starts.
pub(super) fn resumed(plan: &PlanRecord, island: IslandId) -> PlanRecord {
    let reason = format!("resume: island {} is open again, as an operator wants", island.0);
    let mut next = PlanRecord { number: plan.number + 1, reasons: vec![reason], ..plan.clone() };
    next.suspended.retain(|away| away.island != island);
    open(&mut next.islands, island);
    next
}

/// The plan of a world in which nothing is in archives; or why there can't be one.
pub(crate) fn all_open(plan: &PlanRecord) -> Result<PlanRecord, String> {
    let mut next = PlanRecord { suspended: Vec::new(), ..plan.clone() };
    plan.suspended.iter().for_each(|away| open(&mut next.islands, away.island));
    if next.islands.len() <= ISLANDS_MAX as usize {
        return Ok(next);
    }
    Err(format!(
        "{} islands are open and {} suspended, and no more than {ISLANDS_MAX} may ever be open: to keep this world, copy \
         the store's own files and the archives",
        plan.islands.len(),
        plan.suspended.len()
    ))
}

/// Why there can't be a file that has all islands of a store open, if so.
///
/// # Errors
/// When the store doesn't answer.
pub(crate) async fn too_many(store: &StoreHandle) -> Result<Option<String>, StoreFault> {
    Ok(stored(store).await?.and_then(|plan| all_open(&plan).err()))
}

fn open(islands: &mut Vec<IslandRecord>, island: IslandId) {
    // All islands are planned alike; the allocator sets right what differs.
    let numbers = islands.first().map_or([0, 0, 0], |like| [like.design, like.cap, like.minimum]);
    if let Err(at) = islands.binary_search_by_key(&island, |open| open.island) {
        islands.insert(at, IslandRecord::open(island, numbers, Vec::new()));
    }
}

fn partition() -> PartitionKey {
    PartitionKey::cluster(WORLD, CLUSTER_PLAN)
}
