//! The embedded store's work: a batch of operations is one transaction, answered after it is on disk. Runs on
//! the store's own thread; the rule of what a commit does is `chunk_sync::store::apply`.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chunk_sync::store::{
    Cas, Commit, LOG_COMMITS_MAX, Lease, LoggedCommit, Name, PartitionKey, PartitionState, PartitionView,
    RecentTokens, StoreAnswer, StoreFault, StoreOp, Tail, Token, apply, tail_of_log,
};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, Table};

use super::clock::Clock;
use super::file::{self, LOG, META, META_CLOCK_MS, ROWS};
use super::rows::{self, Damaged, Head};
use crate::store::OpenError;
use crate::store::limits::REOPEN_EVERY_MS;

type Rows<'t> = Table<'t, &'static [u8], &'static [u8]>;

/// The file and its clock.
pub(super) struct Engine {
    folder: PathBuf,
    database: Option<Database>,
    clock: Clock,
    tried: Instant,
}

/// Why an operation, or a whole batch, failed.
enum Failure {
    /// One row is damaged: that operation's own trouble.
    Damaged(Damaged),
    /// The file can't be used.
    Redb(redb::Error),
}

impl From<Damaged> for Failure {
    fn from(damaged: Damaged) -> Self {
        Failure::Damaged(damaged)
    }
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Redb(error.into())
    }
}

impl Failure {
    fn fault(&self) -> StoreFault {
        match self {
            Failure::Damaged(Damaged { row }) => StoreFault::Broken { text: format!("damaged row {row}") },
            Failure::Redb(redb::Error::Io(error))
                if matches!(
                    error.kind(),
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
                ) =>
            {
                StoreFault::Full
            }
            Failure::Redb(error) => StoreFault::Broken { text: error.to_string() },
        }
    }
}

impl Engine {
    /// Opens or makes the file in `folder`.
    pub(super) fn open(folder: PathBuf, lease_guard_ms: u64) -> Result<Self, OpenError> {
        let (database, last_ms) = file::open(&folder)?;
        let clock = Clock::start(last_ms, lease_guard_ms);
        Ok(Self { folder, database: Some(database), clock, tried: Instant::now() })
    }

    /// Does a batch and answers each operation, in order. When this returns, the answered commits are on disk.
    pub(super) fn run<'o>(
        &mut self,
        ops: impl ExactSizeIterator<Item = &'o StoreOp> + Clone,
    ) -> Vec<StoreAnswer> {
        let Some(database) = self.database.as_ref() else {
            self.reopen();
            return vec![StoreAnswer::Failed(StoreFault::Away); ops.len()];
        };
        let mut committing = false;
        let done = if ops.clone().any(|op| matches!(op, StoreOp::Commit(_))) {
            write_batch(database, &self.clock, ops.clone(), &mut committing)
        } else {
            read_batch(database, &self.clock, ops.clone())
        };
        done.unwrap_or_else(|failure| {
            tracing::error!(fault = %failure.fault(), "embedded store: a batch failed");
            if matches!(failure, Failure::Redb(_)) {
                // redb wants its file reopened after any I/O error.
                self.database = None;
                self.reopen();
            }
            let fault = |op: &StoreOp| match op {
                // The disk failed while it took the batch: what of it lasts shows when the file is read again.
                StoreOp::Commit(_) if committing => StoreFault::TimedOut,
                _ => failure.fault(),
            };
            ops.map(|op| StoreAnswer::Failed(fault(op))).collect()
        })
    }

    fn reopen(&mut self) {
        if self.tried.elapsed() < Duration::from_millis(REOPEN_EVERY_MS) {
            return;
        }
        self.tried = Instant::now();
        match file::open(&self.folder) {
            Ok((database, _)) => {
                tracing::info!("embedded store: the file is open again");
                self.database = Some(database);
            }
            Err(error) => tracing::error!(%error, "embedded store: cannot open the file again"),
        }
    }
}

fn read_batch<'o>(
    database: &Database,
    clock: &Clock,
    ops: impl Iterator<Item = &'o StoreOp>,
) -> Result<Vec<StoreAnswer>, Failure> {
    let transaction = database.begin_read()?;
    let (rows, log) = (transaction.open_table(ROWS)?, transaction.open_table(LOG)?);
    ops.map(|op| or_fault(read(&rows, &log, clock, op))).collect()
}

fn write_batch<'o>(
    database: &Database,
    clock: &Clock,
    ops: impl Iterator<Item = &'o StoreOp>,
    committing: &mut bool,
) -> Result<Vec<StoreAnswer>, Failure> {
    let mut transaction = database.begin_write()?;
    transaction
        .set_durability(Durability::Immediate)
        .expect("nothing in this file uses savepoints, the only reason for a refusal");
    let mut changed = false;
    let mut answers = Vec::new();
    {
        let (mut rows, mut log) = (transaction.open_table(ROWS)?, transaction.open_table(LOG)?);
        for op in ops {
            answers.push(match op {
                StoreOp::Commit(commit) => or_fault(write(&mut rows, &mut log, clock, commit, &mut changed))?,
                _ => or_fault(read(&rows, &log, clock, op))?,
            });
        }
        if changed {
            transaction.open_table(META)?.insert(META_CLOCK_MS, clock.now().now_ms)?;
        }
    }
    if changed {
        *committing = true;
        transaction.commit()?;
    } else {
        transaction.abort()?;
    }
    Ok(answers)
}

/// A damaged row fails its own operation; everything else fails the batch.
fn or_fault(done: Result<StoreAnswer, Failure>) -> Result<StoreAnswer, Failure> {
    match done {
        Err(failure @ Failure::Damaged(_)) => Ok(StoreAnswer::Failed(failure.fault())),
        other => other,
    }
}

fn write<'t>(
    rows: &mut Rows<'t>,
    log: &mut Rows<'t>,
    clock: &Clock,
    commit: &Commit,
    changed: &mut bool,
) -> Result<StoreAnswer, Failure> {
    let prefix = rows::prefix(&commit.partition);
    let head = read_head(rows, &prefix)?;
    let mut partition = Partition { rows, log, prefix, head, wrote: false };
    let outcome = apply(&mut partition, commit, clock.now());
    let wrote = partition.wrote;
    *changed |= wrote;
    match outcome {
        Ok(outcome) => Ok(StoreAnswer::Committed(outcome)),
        // Rows are judged before the first is written; half a commit must never be answered, let alone kept.
        Err(Failure::Damaged(damaged)) if wrote => Err(Failure::Redb(redb::Error::Corrupted(damaged.row))),
        Err(failure) => Err(failure),
    }
}

fn read(
    rows: &impl ReadableTable<&'static [u8], &'static [u8]>,
    log: &impl ReadableTable<&'static [u8], &'static [u8]>,
    clock: &Clock,
    op: &StoreOp,
) -> Result<StoreAnswer, Failure> {
    match op {
        StoreOp::Load { partition } => {
            let mut view = load(rows, partition)?;
            view.store_ms = clock.now().now_ms;
            Ok(StoreAnswer::Loaded(view))
        }
        StoreOp::Tail { partition, after } => Ok(StoreAnswer::Tailed(tail(rows, log, partition, *after)?)),
        StoreOp::Commit(_) => Err(Failure::Redb(redb::Error::Corrupted("a commit among reads".into()))),
    }
}

fn read_head(
    rows: &impl ReadableTable<&'static [u8], &'static [u8]>,
    prefix: &[u8],
) -> Result<Head, Failure> {
    let key = rows::key(prefix, rows::KIND_HEAD, "");
    Ok(match rows.get(key.as_slice())? {
        Some(sealed) => Head::open(&key, sealed.value())?,
        None => Head::default(),
    })
}

fn load(
    rows: &impl ReadableTable<&'static [u8], &'static [u8]>,
    partition: &PartitionKey,
) -> Result<PartitionView, Failure> {
    let prefix = rows::prefix(partition);
    let mut view = PartitionView::default();
    let (first, end) = (rows::key(&prefix, rows::KIND_HEAD, ""), rows::key(&prefix, rows::KIND_END, ""));
    let mut found = 0;
    let mut said = 0;
    for row in rows.range(first.as_slice()..end.as_slice())? {
        let (key, sealed) = row?;
        let (key, sealed) = (key.value(), sealed.value());
        found += 1;
        match key.get(prefix.len()) {
            Some(&rows::KIND_HEAD) => {
                let head = Head::open(key, sealed)?;
                view.token = head.recent.newest();
                said = head.rows;
                found -= 1;
            }
            Some(&rows::KIND_DOCUMENT) => {
                view.docs.insert(rows::name_in(key, &prefix)?, rows::open_document(key, sealed)?);
            }
            Some(&rows::KIND_EPOCH) => {
                view.epochs.insert(rows::name_in(key, &prefix)?, rows::open_epoch(key, sealed)?);
            }
            Some(&rows::KIND_LEASE) => {
                view.leases.insert(rows::name_in(key, &prefix)?, rows::open_lease(key, sealed)?);
            }
            _ => return Err(Damaged { row: key.escape_ascii().to_string() }.into()),
        }
    }
    if found != said {
        return Err(Damaged { row: format!("{partition}: {found} rows of {said}") }.into());
    }
    Ok(view)
}

fn tail(
    rows: &impl ReadableTable<&'static [u8], &'static [u8]>,
    log: &impl ReadableTable<&'static [u8], &'static [u8]>,
    partition: &PartitionKey,
    after: Token,
) -> Result<Tail, Failure> {
    let prefix = rows::prefix(partition);
    let head = read_head(rows, &prefix)?;
    let mut entries = Vec::new();
    if head.recent.newest() != after {
        let (first, end) = (rows::log_key(&prefix, head.log_first), rows::log_key(&prefix, head.log_next));
        for row in log.range(first.as_slice()..end.as_slice())? {
            let (key, sealed) = row?;
            entries.push(rows::open_logged(key.value(), sealed.value())?);
        }
    }
    Ok(tail_of_log(head.recent.newest(), entries, after))
}

/// One partition inside the batch's transaction.
struct Partition<'p, 't> {
    rows: &'p mut Rows<'t>,
    log: &'p mut Rows<'t>,
    prefix: Vec<u8>,
    head: Head,
    wrote: bool,
}

impl Partition<'_, '_> {
    fn key(&self, kind: u8, name: &Name) -> Vec<u8> {
        rows::key(&self.prefix, kind, name.as_str())
    }

    fn put(&mut self, key: &[u8], sealed: &[u8]) -> Result<(), Failure> {
        self.wrote = true;
        if self.rows.insert(key, sealed)?.is_none() {
            self.head.rows += 1;
        }
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), Failure> {
        self.wrote = true;
        if self.rows.remove(key)?.is_some() {
            self.head.rows = self.head.rows.saturating_sub(1);
        }
        Ok(())
    }
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
        let row = self.rows.get(key.as_slice())?;
        Ok(row.map(|sealed| rows::open_cas(&key, sealed.value())).transpose()?)
    }

    fn epoch(&mut self, name: &Name) -> Result<Option<u64>, Failure> {
        let key = self.key(rows::KIND_EPOCH, name);
        let row = self.rows.get(key.as_slice())?;
        Ok(row.map(|sealed| rows::open_epoch(&key, sealed.value())).transpose()?)
    }

    fn lease(&mut self, name: &Name) -> Result<Option<Lease>, Failure> {
        let key = self.key(rows::KIND_LEASE, name);
        let row = self.rows.get(key.as_slice())?;
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
        let key = rows::log_key(&self.prefix, self.head.log_next);
        self.log.insert(key.as_slice(), rows::seal_logged(&key, &entry).as_slice())?;
        self.head.log_next += 1;
        while self.head.log_next - self.head.log_first > LOG_COMMITS_MAX as u64 {
            self.log.remove(rows::log_key(&self.prefix, self.head.log_first).as_slice())?;
            self.head.log_first += 1;
        }
        Ok(())
    }

    fn put_recent(&mut self, recent: RecentTokens) -> Result<(), Failure> {
        self.wrote = true;
        self.head.recent = recent;
        let key = rows::key(&self.prefix, rows::KIND_HEAD, "");
        self.rows.insert(key.as_slice(), self.head.seal(&key).as_slice())?;
        Ok(())
    }
}
