//! One partition inside the transaction of a batch, as a commit needs it: plain reads and writes of rows. All rules
//! are in `chunk_sync::store::apply`.

use std::collections::BTreeMap;

use bytes::Bytes;
use chunk_sync::store::{
    ActorMemory, Cas, LOG_COMMITS_MAX, Lease, LoggedCommit, Name, PartitionKey, PartitionState, RecentTokens,
    Shard, Token,
};
use redb::{ReadableTable, Table, WriteTransaction};

use super::engine::{Failure, read_head};
use super::file::{ACTORS, INDEX, INDEX_SIZES, LEDGER, LEDGER_HEADS, LOG, ROWS};
use super::ledger;
use super::rows::{self, Head};
use crate::store::limits::FULL_PARTITIONS_KNOWN_MAX;

type Rows<'t> = Table<'t, &'static [u8], &'static [u8]>;

/// The tables of one transaction.
pub(super) struct Tables<'t> {
    pub(super) rows: Rows<'t>,
    pub(super) log: Rows<'t>,
    actors: Rows<'t>,
    index: Rows<'t>,
    index_sizes: Rows<'t>,
    pub(super) ledger: Rows<'t>,
    pub(super) ledger_heads: Rows<'t>,
    idlest: &'t mut Idlest,
}

/// Of partitions that are full of actors: a moment before which none of theirs was seen last. It saves looking at all
/// of them for each newcomer. Grows only, since nobody is ever seen earlier; who undoes a transaction forgets it all.
#[derive(Default)]
pub(super) struct Idlest {
    seen_ms: BTreeMap<Vec<u8>, u64>,
}

impl Idlest {
    pub(super) fn forget(&mut self) {
        self.seen_ms.clear();
    }

    fn learn(&mut self, prefix: &[u8], seen_ms: u64) {
        if self.seen_ms.len() >= FULL_PARTITIONS_KNOWN_MAX {
            self.seen_ms.clear();
        }
        self.seen_ms.insert(prefix.to_vec(), seen_ms);
    }
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction, idlest: &'t mut Idlest) -> Result<Self, Failure> {
        Ok(Self {
            rows: transaction.open_table(ROWS)?,
            log: transaction.open_table(LOG)?,
            actors: transaction.open_table(ACTORS)?,
            index: transaction.open_table(INDEX)?,
            index_sizes: transaction.open_table(INDEX_SIZES)?,
            ledger: transaction.open_table(LEDGER)?,
            ledger_heads: transaction.open_table(LEDGER_HEADS)?,
            idlest,
        })
    }
}

/// One partition inside the batch's transaction.
pub(super) struct Partition<'p, 't> {
    tables: &'p mut Tables<'t>,
    key: &'p PartitionKey,
    prefix: Vec<u8>,
    shard: Shard,
    head: Head,
    wrote: bool,
}

impl<'p, 't> Partition<'p, 't> {
    /// The partition with its head read.
    pub(super) fn open(tables: &'p mut Tables<'t>, partition: &'p PartitionKey) -> Result<Self, Failure> {
        let prefix = rows::prefix(partition);
        let head = read_head(&tables.rows, &prefix)?;
        Ok(Self { tables, key: partition, prefix, shard: partition.shard(), head, wrote: false })
    }

    /// Whether nobody ever committed to it.
    pub(super) fn is_absent(&self) -> bool {
        self.head == Head::default()
    }

    /// Whether anything was written.
    pub(super) fn wrote(&self) -> bool {
        self.wrote
    }

    /// Removes everything that it has, its log too; what follows writes it anew.
    pub(super) fn clear(&mut self) -> Result<(), Failure> {
        self.wrote = true;
        let (first, end) =
            (rows::key(&self.prefix, rows::KIND_HEAD, ""), rows::key(&self.prefix, rows::KIND_END, ""));
        self.tables.rows.retain_in(first.as_slice()..end.as_slice(), |_, _| false)?;
        let (first, last) = (rows::numbered_key(&self.prefix, 0), rows::numbered_key(&self.prefix, u64::MAX));
        self.tables.log.retain_in(first.as_slice()..=last.as_slice(), |_, _| false)?;
        self.tables.actors.retain_in(first.as_slice()..=last.as_slice(), |_, _| false)?;
        self.tables.actors.remove(self.prefix.as_slice())?;
        // Who is remembered from now on may have been seen earlier than those before.
        self.tables.idlest.seen_ms.remove(&self.prefix);
        (self.head.rows, self.head.log_first) = (0, self.head.log_next);
        Ok(())
    }

    fn count_actors(&mut self, actors: u32) -> Result<(), Failure> {
        self.wrote = true;
        let counted = rows::seal_count(&self.prefix, actors);
        self.tables.actors.insert(self.prefix.as_slice(), counted.as_slice())?;
        Ok(())
    }

    fn key(&self, kind: u8, name: &Name) -> Vec<u8> {
        rows::key(&self.prefix, kind, name.as_str())
    }

    fn put(&mut self, key: &[u8], sealed: &[u8]) -> Result<(), Failure> {
        self.wrote = true;
        if self.tables.rows.insert(key, sealed)?.is_none() {
            self.head.rows += 1;
        }
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), Failure> {
        self.wrote = true;
        if self.tables.rows.remove(key)?.is_some() {
            self.head.rows = self.head.rows.saturating_sub(1);
        }
        Ok(())
    }
}

/// Writes an entry of an index into a shard, new or not.
pub(super) fn put_index_entry(
    tables: &mut Tables<'_>,
    index: &Name,
    shard: Shard,
    key: &[u8],
    value: &[u8],
) -> Result<(), Failure> {
    let prefix = rows::index_prefix(index);
    let key = rows::index_key(&prefix, shard, key);
    let sealed = rows::seal_bytes(&key, value);
    let new = tables.index.insert(key.as_slice(), sealed.as_slice())?.is_none();
    if new {
        let entries = counted_entries(tables, &prefix, shard)?;
        count_entries(tables, &prefix, shard, entries + 1)?;
    }
    Ok(())
}

fn counted_entries(tables: &Tables<'_>, index: &[u8], shard: Shard) -> Result<u32, Failure> {
    let key = rows::index_key(index, shard, b"");
    let row = tables.index_sizes.get(key.as_slice())?;
    Ok(row.map(|sealed| rows::open_count(&key, sealed.value())).transpose()?.unwrap_or(0))
}

fn count_entries(tables: &mut Tables<'_>, index: &[u8], shard: Shard, entries: u32) -> Result<(), Failure> {
    let key = rows::index_key(index, shard, b"");
    tables.index_sizes.insert(key.as_slice(), rows::seal_count(&key, entries).as_slice())?;
    Ok(())
}

impl PartitionState for Partition<'_, '_> {
    type Error = Failure;

    fn recent(&mut self) -> Result<RecentTokens, Failure> {
        Ok(self.head.recent.clone())
    }

    fn rows(&mut self) -> Result<u32, Failure> {
        Ok(self.head.rows)
    }

    fn doc_cas(&mut self, doc: &Name) -> Result<Option<Cas>, Failure> {
        let key = self.key(rows::KIND_DOCUMENT, doc);
        let row = self.tables.rows.get(key.as_slice())?;
        Ok(row.map(|sealed| rows::open_cas(&key, sealed.value())).transpose()?)
    }

    fn epoch(&mut self, name: &Name) -> Result<Option<u64>, Failure> {
        let key = self.key(rows::KIND_EPOCH, name);
        let row = self.tables.rows.get(key.as_slice())?;
        Ok(row.map(|sealed| rows::open_epoch(&key, sealed.value())).transpose()?)
    }

    fn lease(&mut self, name: &Name) -> Result<Option<Lease>, Failure> {
        let key = self.key(rows::KIND_LEASE, name);
        let row = self.tables.rows.get(key.as_slice())?;
        Ok(row.map(|sealed| rows::open_lease(&key, sealed.value())).transpose()?)
    }

    fn put_doc(&mut self, doc: &Name, cas: Cas, value: &Bytes) -> Result<(), Failure> {
        let key = self.key(rows::KIND_DOCUMENT, doc);
        self.put(&key, &rows::seal_document(&key, cas, value))
    }

    fn remove_doc(&mut self, doc: &Name) -> Result<(), Failure> {
        let key = self.key(rows::KIND_DOCUMENT, doc);
        self.remove(&key)
    }

    fn put_epoch(&mut self, name: &Name, value: u64) -> Result<(), Failure> {
        let key = self.key(rows::KIND_EPOCH, name);
        self.put(&key, &rows::seal_epoch(&key, value))
    }

    fn put_lease(&mut self, name: &Name, lease: Lease) -> Result<(), Failure> {
        let key = self.key(rows::KIND_LEASE, name);
        self.put(&key, &rows::seal_lease(&key, lease))
    }

    fn remove_lease(&mut self, name: &Name) -> Result<(), Failure> {
        let key = self.key(rows::KIND_LEASE, name);
        self.remove(&key)
    }

    fn append_log(&mut self, entry: LoggedCommit) -> Result<(), Failure> {
        self.wrote = true;
        let key = rows::numbered_key(&self.prefix, self.head.log_next);
        self.tables.log.insert(key.as_slice(), rows::seal_logged(&key, &entry).as_slice())?;
        self.head.log_next += 1;
        while self.head.log_next - self.head.log_first > LOG_COMMITS_MAX as u64 {
            self.tables.log.remove(rows::numbered_key(&self.prefix, self.head.log_first).as_slice())?;
            self.head.log_first += 1;
        }
        Ok(())
    }

    fn put_recent(&mut self, recent: RecentTokens) -> Result<(), Failure> {
        self.wrote = true;
        self.head.recent = recent;
        let key = rows::key(&self.prefix, rows::KIND_HEAD, "");
        self.tables.rows.insert(key.as_slice(), self.head.seal(&key).as_slice())?;
        Ok(())
    }

    fn actor(&mut self, actor: u64) -> Result<Option<ActorMemory>, Failure> {
        let key = rows::numbered_key(&self.prefix, actor);
        let row = self.tables.actors.get(key.as_slice())?;
        Ok(row.map(|sealed| rows::open_actor(&key, sealed.value())).transpose()?)
    }

    fn actors(&mut self) -> Result<u32, Failure> {
        let row = self.tables.actors.get(self.prefix.as_slice())?;
        Ok(row.map(|sealed| rows::open_count(&self.prefix, sealed.value())).transpose()?.unwrap_or(0))
    }

    fn idle_actors(&mut self, since_ms: u64, most: usize) -> Result<Vec<u64>, Failure> {
        if self.tables.idlest.seen_ms.get(&self.prefix).is_some_and(|seen_ms| *seen_ms > since_ms) {
            return Ok(Vec::new());
        }
        let (first, last) = (rows::numbered_key(&self.prefix, 0), rows::numbered_key(&self.prefix, u64::MAX));
        let mut idle = Vec::new();
        let mut oldest_ms = u64::MAX;
        for row in self.tables.actors.range(first.as_slice()..=last.as_slice())? {
            let (key, sealed) = row?;
            let memory = rows::open_actor(key.value(), sealed.value())?;
            oldest_ms = oldest_ms.min(memory.seen_ms);
            if memory.seen_ms <= since_ms {
                idle.push((memory.seen_ms, rows::number_in(key.value(), &self.prefix)?));
            }
        }
        self.tables.idlest.learn(&self.prefix, oldest_ms);
        idle.sort_unstable();
        Ok(idle.into_iter().take(most).map(|(_, actor)| actor).collect())
    }

    fn index_entries(&mut self, index: &Name) -> Result<u32, Failure> {
        counted_entries(self.tables, &rows::index_prefix(index), self.shard)
    }

    fn has_index_entry(&mut self, index: &Name, key: &Bytes) -> Result<bool, Failure> {
        let key = rows::index_key(&rows::index_prefix(index), self.shard, key);
        Ok(self.tables.index.get(key.as_slice())?.is_some())
    }

    fn ledger_entries(&mut self) -> Result<u32, Failure> {
        Ok(ledger::head(&self.tables.ledger_heads, self.shard)?.entries())
    }

    fn append_ledger(&mut self, token: Token, store_ms: u64, entry: &Bytes) -> Result<(), Failure> {
        self.wrote = true;
        ledger::append(self.tables, self.key, token, store_ms, entry)
    }

    fn put_actor(&mut self, actor: u64, memory: ActorMemory) -> Result<(), Failure> {
        self.wrote = true;
        let key = rows::numbered_key(&self.prefix, actor);
        let sealed = rows::seal_actor(&key, &memory);
        let new = self.tables.actors.insert(key.as_slice(), sealed.as_slice())?.is_none();
        if new {
            let actors = self.actors()?;
            self.count_actors(actors + 1)?;
        }
        Ok(())
    }

    fn remove_actor(&mut self, actor: u64) -> Result<(), Failure> {
        self.wrote = true;
        let key = rows::numbered_key(&self.prefix, actor);
        let known = self.tables.actors.remove(key.as_slice())?.is_some();
        if known {
            let actors = self.actors()?;
            self.count_actors(actors.saturating_sub(1))?;
        }
        Ok(())
    }

    fn put_index_entry(&mut self, index: &Name, key: &Bytes, value: &Bytes) -> Result<(), Failure> {
        self.wrote = true;
        put_index_entry(self.tables, index, self.shard, key, value)
    }

    fn remove_index_entry(&mut self, index: &Name, key: &Bytes) -> Result<(), Failure> {
        self.wrote = true;
        let prefix = rows::index_prefix(index);
        let key = rows::index_key(&prefix, self.shard, key);
        let known = self.tables.index.remove(key.as_slice())?.is_some();
        if known {
            let entries = counted_entries(self.tables, &prefix, self.shard)?;
            count_entries(self.tables, &prefix, self.shard, entries.saturating_sub(1))?;
        }
        Ok(())
    }
}
