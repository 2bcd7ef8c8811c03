//! The embedded store's work: a batch of operations is one transaction, answered after it is on disk. Runs on
//! the store's own thread; the rule of what a commit does is `chunk_sync::store::apply`.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chunk_sync::store::{
    Commit, Durability, PartitionKey, PartitionView, RestoreError, StoreAnswer, StoreFault, StoreOp, Tail,
    Token, apply, tail_of_log,
};
use redb::{Database, ReadableDatabase, ReadableTable};

use super::clock::Clock;
use super::file::{self, LOG, META, META_CLOCK_MS, ROWS};
use super::partition::{Idlest, Partition, Tables};
use super::rows::{self, Damaged, Head};
use super::shelf::Shelf;
use super::whole::{self, Change};
use crate::store::limits::REOPEN_EVERY_MS;
use crate::store::masters::Masters;
use crate::store::{OpenError, StoreOptions};

/// The file and its clock.
pub(super) struct Engine {
    folder: PathBuf,
    database: Option<Arc<Database>>,
    shelf: Arc<Shelf>,
    masters: Arc<Masters>,
    clock: Clock,
    idlest: Idlest,
    tried: Instant,
    /// What was said of the last failure, while it fails.
    failing: Option<String>,
}

/// Why an operation, or a whole batch, failed.
pub(super) enum Failure {
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
    pub(super) fn fault(&self) -> StoreFault {
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
    pub(super) fn open(
        folder: PathBuf,
        options: StoreOptions,
        shelf: Arc<Shelf>,
        masters: Arc<Masters>,
    ) -> Result<Self, OpenError> {
        let (database, last_ms) = file::open(&folder)?;
        let database = Arc::new(database);
        shelf.put(&database);
        let clock = Clock::start(last_ms, options);
        Ok(Self {
            folder,
            database: Some(database),
            shelf,
            masters,
            clock,
            idlest: Idlest::default(),
            tried: Instant::now(),
            failing: None,
        })
    }

    /// Does a batch and answers each operation, in order. When this returns, the answered commits are on disk;
    /// `accepted` is told the place and the answer of those that need not wait for that, before they are. (The
    /// same place is answered again by what is returned, and nobody listens any more.)
    pub(super) fn run<'o>(
        &mut self,
        ops: impl ExactSizeIterator<Item = &'o StoreOp> + Clone,
        accepted: impl FnMut(usize, &StoreAnswer),
    ) -> Vec<StoreAnswer> {
        let Some(database) = self.database.as_ref() else {
            self.reopen();
            return vec![StoreAnswer::Failed(StoreFault::Away); ops.len()];
        };
        let mut committing = false;
        let writes = ops.clone().any(|op| matches!(op, StoreOp::Commit(_)));
        let done = if writes {
            write_batch(database, &self.clock, &mut self.idlest, ops.clone(), accepted, &mut committing)
        } else {
            read_batch(database, &self.clock, ops.clone())
        };
        if done.is_ok() && writes && self.failing.take().is_some() {
            tracing::info!(folder = %self.folder.display(), "embedded store: it works again");
        }
        done.unwrap_or_else(|failure| {
            self.failed(&failure);
            let fault = |op: &StoreOp| match op {
                // The disk failed while it took the batch: what of it lasts shows when the file is read again.
                StoreOp::Commit(_) if committing => StoreFault::TimedOut,
                _ => failure.fault(),
            };
            ops.map(|op| StoreAnswer::Failed(fault(op))).collect()
        })
    }

    /// Makes a change of ops tools, on disk when this returns.
    pub(super) fn change(&mut self, change: &Change) -> Result<(), RestoreError> {
        let Some(database) = self.database.as_ref() else {
            self.reopen();
            return Err(StoreFault::Away.into());
        };
        let mut committing = false;
        let done = change_alone(database, &mut self.idlest, change, &mut committing);
        done.unwrap_or_else(|failure| {
            self.failed(&failure);
            Err(if committing { StoreFault::TimedOut } else { failure.fault() }.into())
        })
    }

    fn failed(&mut self, failure: &Failure) {
        let fault = failure.fault().to_string();
        if self.failing.as_ref() != Some(&fault) {
            // Said once for as long as it stays the same.
            tracing::error!(folder = %self.folder.display(), %fault, "embedded store: it fails");
            self.failing = Some(fault);
        }
        if matches!(failure, Failure::Redb(_)) {
            // redb wants its file reopened after any I/O error.
            self.database = None;
            self.idlest.forget();
            self.shelf.clear();
            self.reopen();
        }
    }

    fn reopen(&mut self) {
        if self.tried.elapsed() < Duration::from_millis(REOPEN_EVERY_MS) {
            return;
        }
        self.tried = Instant::now();
        match file::open(&self.folder) {
            Ok((database, _)) => {
                tracing::debug!("embedded store: the file is open again");
                let database = Arc::new(database);
                self.shelf.put(&database);
                self.database = Some(database);
                // What was accepted and not yet on disk is gone: who has it in memory loads again.
                self.masters.all_changed();
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
    idlest: &mut Idlest,
    ops: impl Iterator<Item = &'o StoreOp> + Clone,
    mut accepted: impl FnMut(usize, &StoreAnswer),
    committing: &mut bool,
) -> Result<Vec<StoreAnswer>, Failure> {
    let mut transaction = database.begin_write()?;
    transaction
        .set_durability(redb::Durability::Immediate)
        .expect("nothing in this file uses savepoints, the only reason for a refusal");
    let mut changed = false;
    let mut answers = Vec::new();
    {
        let mut tables = Tables::open(&transaction, idlest)?;
        for op in ops.clone() {
            answers.push(match op {
                StoreOp::Commit(commit) => or_fault(write(&mut tables, clock, commit, &mut changed))?,
                _ => or_fault(read(&tables.rows, &tables.log, clock, op))?,
            });
        }
        if changed {
            transaction.open_table(META)?.insert(META_CLOCK_MS, clock.now().now_ms)?;
        }
    }
    for (at, (op, answer)) in ops.zip(&answers).enumerate() {
        if matches!(op, StoreOp::Commit(commit) if commit.durability == Durability::Accepted) {
            accepted(at, answer);
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

fn change_alone(
    database: &Database,
    idlest: &mut Idlest,
    change: &Change,
    committing: &mut bool,
) -> Result<Result<(), RestoreError>, Failure> {
    let transaction = database.begin_write()?;
    let made = whole::change(&mut Tables::open(&transaction, idlest)?, change)?;
    if made == Ok(true) {
        *committing = true;
        transaction.commit()?;
    } else {
        transaction.abort()?;
    }
    Ok(made.map(|_| ()))
}

/// A damaged row fails its own operation; everything else fails the batch.
fn or_fault(done: Result<StoreAnswer, Failure>) -> Result<StoreAnswer, Failure> {
    match done {
        Err(failure @ Failure::Damaged(_)) => Ok(StoreAnswer::Failed(failure.fault())),
        other => other,
    }
}

fn write(
    tables: &mut Tables<'_>,
    clock: &Clock,
    commit: &Commit,
    changed: &mut bool,
) -> Result<StoreAnswer, Failure> {
    let mut partition = Partition::open(tables, &commit.partition)?;
    let outcome = apply(&mut partition, commit, clock.now());
    let wrote = partition.wrote();
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
            let (_, mut view) = read_rows(rows, partition)?;
            view.store_ms = clock.now().now_ms;
            Ok(StoreAnswer::Loaded(view))
        }
        StoreOp::Tail { partition, after } => Ok(StoreAnswer::Tailed(tail(rows, log, partition, *after)?)),
        StoreOp::Commit(_) => Err(Failure::Redb(redb::Error::Corrupted("a commit among reads".into()))),
    }
}

pub(super) fn read_head(
    rows: &impl ReadableTable<&'static [u8], &'static [u8]>,
    prefix: &[u8],
) -> Result<Head, Failure> {
    let key = rows::key(prefix, rows::KIND_HEAD, "");
    Ok(match rows.get(key.as_slice())? {
        Some(sealed) => Head::open(&key, sealed.value())?,
        None => Head::default(),
    })
}

/// A partition's head and everything that its followers see; the clock is the caller's.
pub(super) fn read_rows(
    rows: &impl ReadableTable<&'static [u8], &'static [u8]>,
    partition: &PartitionKey,
) -> Result<(Head, PartitionView), Failure> {
    let prefix = rows::prefix(partition);
    let mut view = PartitionView::default();
    let (first, end) = (rows::key(&prefix, rows::KIND_HEAD, ""), rows::key(&prefix, rows::KIND_END, ""));
    let mut found = 0;
    let mut head = Head::default();
    for row in rows.range(first.as_slice()..end.as_slice())? {
        let (key, sealed) = row?;
        let (key, sealed) = (key.value(), sealed.value());
        found += 1;
        match key.get(prefix.len()) {
            Some(&rows::KIND_HEAD) => {
                head = Head::open(key, sealed)?;
                view.token = head.recent.newest();
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
    if found != head.rows {
        return Err(Damaged { row: format!("{partition}: {found} rows of {}", head.rows) }.into());
    }
    Ok((head, view))
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
        let (first, end) =
            (rows::numbered_key(&prefix, head.log_first), rows::numbered_key(&prefix, head.log_next));
        for row in log.range(first.as_slice()..end.as_slice())? {
            let (key, sealed) = row?;
            entries.push(rows::open_logged(key.value(), sealed.value())?);
        }
    }
    Ok(tail_of_log(head.recent.newest(), entries, after))
}
