//! Whole partitions of the file: read one after the other for export, and written where they are absent for import,
//! or over what is there for an archive.
//! What it takes of a batch's transaction is the store's thread's; what it reads is what was on disk last.

use std::collections::BTreeMap;

use chunk_sync::store::{
    ActorMemory, DamagedPartition, IndexEntry, Name, PARTITIONS_PAGE_BYTES, PartitionCursor, PartitionKey,
    PartitionState, PartitionsPage, RawPartition, RestoreError, Shard, Token,
};
use redb::ReadableTable;

use super::engine::{Failure, read_rows};
use super::partition::{Partition, Tables};
use super::rows::{self, Damaged, damaged};

/// A change that ops tools make, beside the commits.
pub(in crate::store) enum Change {
    /// Removes a shard's ledger entries up to and including a number.
    TrimLedger { shard: Shard, up_to: u64 },
    /// Writes a partition that is absent.
    Partition(RawPartition),
    /// Writes a partition over the one whose newest token is this.
    Replace(RawPartition, Token),
    /// Writes entries of an index.
    Index { index: Name, entries: Vec<IndexEntry> },
}

/// Does a change inside a transaction; answers whether it wrote anything.
pub(super) fn change(
    tables: &mut Tables<'_>,
    change: &Change,
) -> Result<Result<bool, RestoreError>, Failure> {
    match change {
        Change::TrimLedger { shard, up_to } => Ok(Ok(super::ledger::trim(tables, *shard, *up_to)?)),
        Change::Partition(raw) => restore(tables, raw),
        Change::Replace(raw, over) => replace(tables, raw, *over),
        Change::Index { index, entries } => {
            // Entries lie in the shard that they came from, whichever partition wrote them.
            for entry in entries {
                super::partition::put_index_entry(tables, index, entry.shard, &entry.key, &entry.value)?;
            }
            Ok(Ok(!entries.is_empty()))
        }
    }
}

fn restore(tables: &mut Tables<'_>, raw: &RawPartition) -> Result<Result<bool, RestoreError>, Failure> {
    let mut partition = Partition::open(tables, &raw.key)?;
    if !partition.is_absent() {
        return Ok(Err(RestoreError::Present { key: raw.key.clone() }));
    }
    fill(&mut partition, raw)?;
    Ok(Ok(true))
}

fn replace(
    tables: &mut Tables<'_>,
    raw: &RawPartition,
    over: Token,
) -> Result<Result<bool, RestoreError>, Failure> {
    let mut partition = Partition::open(tables, &raw.key)?;
    let newest = partition.recent()?.newest();
    if newest == raw.token() {
        return Ok(Ok(false));
    }
    if newest != over {
        return Ok(Err(RestoreError::Changed { key: raw.key.clone(), newest }));
    }
    partition.clear()?;
    fill(&mut partition, raw)?;
    Ok(Ok(true))
}

fn fill(partition: &mut Partition<'_, '_>, raw: &RawPartition) -> Result<(), Failure> {
    for (name, document) in &raw.docs {
        partition.put_doc(name, document.cas, &document.value)?;
    }
    for (name, epoch) in &raw.epochs {
        partition.put_epoch(name, *epoch)?;
    }
    for (name, lease) in &raw.leases {
        partition.put_lease(name, *lease)?;
    }
    for (actor, memory) in &raw.actors {
        partition.put_actor(*actor, memory.clone())?;
    }
    partition.put_recent(raw.recent.clone())
}

/// Reads whole partitions after a place, until there are `partitions_max` or they are large. What is damaged is named,
/// and the page goes on behind it.
pub(super) fn page(
    rows: &impl ReadableTable<&'static [u8], &'static [u8]>,
    actors: &impl ReadableTable<&'static [u8], &'static [u8]>,
    after: Option<&PartitionCursor>,
    partitions_max: usize,
) -> Result<PartitionsPage, Failure> {
    let mut page = PartitionsPage::default();
    let mut carried_bytes = 0;
    let mut from = after.map_or_else(Vec::new, |after| end_of(&after.key));
    while let Some(first) = first_row(rows, &from)? {
        let (key, sound) = match partition_of(&first) {
            Some(key) => {
                // A row in another's place, or of a partition without a head.
                let sound = rows::key(&rows::prefix(&key), rows::KIND_HEAD, "") == first;
                (key, sound)
            }
            None => {
                page.damaged.push(DamagedPartition { key: None, why: damaged_row(damaged(&first)) });
                from = next_after(&first);
                continue;
            }
        };
        if page.partitions.len() + page.damaged.len() >= partitions_max
            || carried_bytes >= PARTITIONS_PAGE_BYTES
        {
            break;
        }
        let read = if sound { read(rows, actors, &key) } else { Err(damaged(&first).into()) };
        match read {
            Ok(raw) => {
                carried_bytes += raw.carried_bytes();
                page.partitions.push(raw);
            }
            Err(Failure::Damaged(row)) => {
                page.damaged.push(DamagedPartition { key: Some(key.clone()), why: damaged_row(row) });
            }
            Err(failure) => return Err(failure),
        }
        if !first.starts_with(&rows::prefix(&key)) {
            from = next_after(&first);
            continue;
        }
        from = end_of(&key);
        page.next = Some(PartitionCursor::of(key));
    }
    if first_row(rows, &from)?.is_none() {
        page.next = None;
    }
    Ok(page)
}

fn damaged_row(Damaged { row }: Damaged) -> String {
    format!("damaged row {row}")
}

fn end_of(key: &PartitionKey) -> Vec<u8> {
    rows::key(&rows::prefix(key), rows::KIND_END, "")
}

/// A key can't be followed more closely than by itself and a zero byte.
fn next_after(row: &[u8]) -> Vec<u8> {
    [row, &[0]].concat()
}

/// The key of the first row from these bytes on.
fn first_row(
    rows: &impl ReadableTable<&'static [u8], &'static [u8]>,
    from: &[u8],
) -> Result<Option<Vec<u8>>, Failure> {
    let Some(row) = rows.range(from..)?.next() else { return Ok(None) };
    let row = row?.0.value().to_vec();
    // In a file whose order is spoilt, nobody can go on behind anything.
    if row.as_slice() < from { Err(damaged(&row).into()) } else { Ok(Some(row)) }
}

/// The partition whose row this is.
fn partition_of(row: &[u8]) -> Option<PartitionKey> {
    let key = row.get(2).and_then(|length| row.get(3..3 + usize::from(*length)));
    key.and_then(PartitionKey::read)
}

fn read(
    rows: &impl ReadableTable<&'static [u8], &'static [u8]>,
    actors: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &PartitionKey,
) -> Result<RawPartition, Failure> {
    let (head, view) = read_rows(rows, key)?;
    Ok(RawPartition {
        key: key.clone(),
        recent: head.recent,
        docs: view.docs,
        epochs: view.epochs,
        leases: view.leases,
        actors: read_actors(actors, key)?,
    })
}

fn read_actors(
    actors: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &PartitionKey,
) -> Result<BTreeMap<u64, ActorMemory>, Failure> {
    let prefix = rows::prefix(key);
    let (first, last) = (rows::numbered_key(&prefix, 0), rows::numbered_key(&prefix, u64::MAX));
    let mut found = BTreeMap::new();
    for row in actors.range(first.as_slice()..=last.as_slice())? {
        let (row, sealed) = row?;
        let memory = rows::open_actor(row.value(), sealed.value())?;
        found.insert(rows::number_in(row.value(), &prefix)?, memory);
    }
    let counted = actors.get(prefix.as_slice())?;
    let counted = counted.map(|sealed| rows::open_count(&prefix, sealed.value())).transpose()?;
    if found.len() != counted.unwrap_or(0) as usize {
        return Err(Damaged { row: format!("{key}: {} actors of {counted:?}", found.len()) }.into());
    }
    Ok(found)
}
