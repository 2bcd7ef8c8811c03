//! Suspends an island: its chunks into a file, the plan that says so, a mark in place of each chunk. In this order, each
//! step whole before the next: whatever ends it in between, doing it again finishes it, and resuming undoes it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chunk_sync::ids::IslandId;
use chunk_sync::records::{
    DOC_SUSPENDED, SUSPENDED_SCHEMA, SuspendedIsland, SuspendedRecord, Whereabouts, encode,
};
use chunk_sync::store::{Cas, Document, PartitionView, RawPartition, RestoreError, StoreFault, Token};
use chunk_sync_io::store::StoreHandle;
use population_allocator::limits::{SUSPENDED_FOLDER_MAX_BYTES, SUSPENDED_MAX};

use super::file::{self, Chunks};
use super::limits::TRIES_MAX;
use super::plan::{self, Known};
use super::{Archives, IslandError, mark_of};
use crate::archive::is_live;
use crate::audit::complete::{clock, each_partition};
use crate::audit::part::{self, chunk_of, place_of};
use crate::books::token;

/// What suspending an island came to.
#[derive(Debug, Default)]
pub(super) struct Suspended {
    /// The file.
    pub(super) path: PathBuf,
    /// Its bytes.
    pub(super) archive_bytes: u64,
    /// Chunks in it.
    pub(super) partitions: u64,
    /// Structures in those.
    pub(super) structures: u64,
    /// Players who are at home on the island.
    pub(super) residents: u64,
    /// Bytes that the chunks carried in the store.
    pub(super) bytes: u64,
    /// Bytes that the marks carry there now.
    pub(super) mark_bytes: u64,
    /// An earlier try had begun it.
    pub(super) finished: bool,
}

/// What of the store is the island's business.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) chunks: Chunks,
    residents: u64,
    /// Transfers from or to it that have not ended.
    pending: Vec<String>,
}

fn refused(text: impl Into<String>) -> IslandError {
    IslandError::Refused(text.into())
}

/// Refuses to go on while somebody may be at work.
pub(super) async fn refuse_live(store: &StoreHandle) -> Result<(), IslandError> {
    if is_live(store).await? {
        return Err(refused(
            "a cluster is at work on this store: stop its nodes and its allocator first (one that was killed counts for \
             20 seconds more)",
        ));
    }
    Ok(())
}

/// Suspends an island.
pub(super) async fn suspend(
    store: &StoreHandle,
    island: IslandId,
    archives: &Archives,
) -> Result<Suspended, IslandError> {
    let known = plan::known(store).await?;
    refuse_live(store).await?;
    let seen = look(store, island).await?;
    let marked = known.plan.suspended.iter().find(|away| away.island == island).cloned();
    let (away, chunks, finished) = match marked {
        Some(away) => {
            let chunks = file::read(&archives.path(&away), island, away.sum)?.0;
            if chunks.keys().all(|key| seen.chunks.get(key).is_some_and(|raw| mark_of(&raw.docs).is_some())) {
                return Err(refused(format!("island {} is suspended already", island.0)));
            }
            (away, chunks, true)
        }
        None => {
            refuse(&known, island, &seen)?;
            let away = archive(store, island, archives, &seen.chunks).await?;
            // Compressing takes a while.
            refuse_live(store).await?;
            plan::write(store, &known, &plan::suspended(&known.plan, away.clone())).await?;
            (away, seen.chunks.clone(), false)
        }
    };
    let marks = marks(&chunks, &seen.chunks, away.sum)?;
    for (mark, over) in &marks {
        replace(store, mark, *over).await?;
    }
    let path = archives.path(&away);
    let archive_bytes = path.metadata().map_or(0, |data| data.len());
    let mark_of = |raw: &RawPartition| mark(raw, away.sum).carried_bytes() as u64;
    Ok(Suspended {
        path,
        archive_bytes,
        partitions: chunks.len() as u64,
        structures: chunks.values().map(structures).sum(),
        residents: seen.residents,
        bytes: chunks.values().map(|raw| raw.carried_bytes() as u64).sum(),
        mark_bytes: chunks.values().map(mark_of).sum(),
        finished,
    })
}

fn structures(raw: &RawPartition) -> u64 {
    raw.docs.keys().filter(|name| name.as_str().starts_with("structure/")).count() as u64
}

/// Looks at everything in the store once.
pub(super) async fn look(store: &StoreHandle, island: IslandId) -> Result<Seen, StoreFault> {
    let mut seen = Seen::default();
    let prefix = format!("chunk/{}/", island.0);
    let damaged = each_partition(store, |raw| {
        let Some(place) = place_of(&raw.key) else { return };
        let is_its = chunk_of(&place).is_some_and(|(of, _)| of == island.0);
        let pending = part::look(&place, &raw.docs).pending.into_iter();
        let pending = pending.filter(|out| is_its || out.to.starts_with(&prefix));
        seen.pending.extend(pending.map(|out| out.id));
        if is_its {
            seen.chunks.insert(raw.key.clone(), raw);
        } else if place.starts_with("player/") {
            seen.residents += u64::from(is_resident(raw, island));
        }
    })
    .await?;
    // Whatever can't be read may be of this island, or on its way to it.
    match damaged.first() {
        Some(damaged) => Err(StoreFault::Broken { text: damaged.to_string() }),
        None => Ok(seen),
    }
}

fn is_resident(raw: RawPartition, island: IslandId) -> bool {
    let token = raw.token();
    let RawPartition { docs, epochs, leases, .. } = raw;
    let view = PartitionView { token, docs, epochs, leases, store_ms: 0 };
    matches!(Whereabouts::read(&view), Ok(Some(place)) if place.island() == island)
}

/// What speaks against suspending an island that is open.
fn refuse(known: &Known, island: IslandId, seen: &Seen) -> Result<(), IslandError> {
    let plan = &known.plan;
    let number = island.0;
    if !plan.islands.iter().any(|open| open.island == island) {
        return Err(refused(format!("there is no island {number}")));
    }
    if plan.islands.len() == 1 {
        return Err(refused(format!("island {number} is the only one that is open")));
    }
    if plan.suspended.len() >= SUSPENDED_MAX {
        return Err(refused(format!("{SUSPENDED_MAX} islands are suspended, and no more may be")));
    }
    if let Some(first) = seen.pending.first() {
        return Err(refused(format!(
            "{} transfers from or to island {number} are under way ({first}): start the cluster, which finishes them \
             within seconds, and stop it again",
            seen.pending.len()
        )));
    }
    if let Some(raw) = seen.chunks.values().find(|raw| mark_of(&raw.docs).is_some()) {
        return Err(refused(format!("{} is suspended, but the plan does not say so", raw.key)));
    }
    Ok(())
}

/// Writes the archive, and reads it back.
pub(super) async fn archive(
    store: &StoreHandle,
    island: IslandId,
    archives: &Archives,
    chunks: &Chunks,
) -> Result<SuspendedIsland, IslandError> {
    let Some(folder) = archives.folder() else {
        return Err(refused("this store has no folder of its own: give --archive FOLDER"));
    };
    let shown = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()).display().to_string();
    if shown.len() > SUSPENDED_FOLDER_MAX_BYTES {
        return Err(refused(format!(
            "folder {shown}: its name is longer than {SUSPENDED_FOLDER_MAX_BYTES} bytes"
        )));
    }
    let taken_ms = clock(store).await?;
    let packed = file::pack(island, taken_ms, chunks).map_err(|error| refused(error.to_string()))?;
    let (path, _) = file::write(folder, &packed)?;
    let (again, _) = file::read(&path, island, packed.head.sum)?;
    if again != *chunks {
        return Err(refused(format!("archive {} does not have what was written to it", path.display())));
    }
    Ok(SuspendedIsland { island, sum: packed.head.sum, folder: shown })
}

/// The marks that are missing, each with the token over which it is written.
pub(super) fn marks(
    archived: &Chunks,
    stored: &Chunks,
    sum: u64,
) -> Result<Vec<(RawPartition, Token)>, IslandError> {
    let mut marks = Vec::new();
    for (key, raw) in archived {
        match stored.get(key) {
            Some(there) if mark_of(&there.docs).is_some_and(|mark| mark.sum == sum) => {}
            Some(there) if there.token() == raw.token() => marks.push((mark(raw, sum), raw.token())),
            _ => return Err(changed(key)),
        }
    }
    Ok(marks)
}

fn changed(key: &chunk_sync::store::PartitionKey) -> IslandError {
    IslandError::Stuck(format!("{key} changed after it was archived: resume the island, and suspend it anew"))
}

/// What stands in place of a chunk: it keeps its epochs, so that claims never go back, and its newest tokens, so that a
/// commit which was done is known as done.
fn mark(raw: &RawPartition, sum: u64) -> RawPartition {
    let token = Token(token());
    let place = place_of(&raw.key).unwrap_or_default();
    let held = part::look(&place, &raw.docs).held.map(|(_, held)| held).unwrap_or_default();
    let holds =
        held.into_iter().filter_map(|(kind, count)| Some((kind, u64::try_from(count).ok()?))).collect();
    let record = SuspendedRecord { v: SUSPENDED_SCHEMA, sum, holds };
    let document = Document { cas: Cas::from(token), value: encode(&record).into() };
    let mut recent = raw.recent.clone();
    recent.push(token);
    RawPartition {
        key: raw.key.clone(),
        recent,
        docs: BTreeMap::from([(DOC_SUSPENDED.into(), document)]),
        epochs: raw.epochs.clone(),
        leases: BTreeMap::new(),
        actors: BTreeMap::new(),
    }
}

/// Replaces a partition, also when an answer is lost on the way.
pub(super) async fn replace(store: &StoreHandle, raw: &RawPartition, over: Token) -> Result<(), IslandError> {
    let mut tries = 0;
    loop {
        tries += 1;
        return match store.ops().replace_partition(raw, over).await {
            Ok(()) => Ok(()),
            Err(RestoreError::Store(StoreFault::TimedOut | StoreFault::Away)) if tries < TRIES_MAX => {
                continue;
            }
            Err(RestoreError::Changed { key, .. }) => Err(changed(&key)),
            Err(RestoreError::Store(StoreFault::Broken { text })) => {
                Err(IslandError::Stuck(format!("{text}: put the store back from a copy")))
            }
            Err(error) => Err(IslandError::Store(error.to_string())),
        };
    }
}
