//! The embedded store's work: a batch of operations is one transaction, answered after it is on disk. Runs on
//! the store's own thread; the rule of what a commit does is `chunk_sync::store::apply`.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chunk_sync::store::{
    Commit, Durability, PartitionKey, PartitionView, RestoreError, StoreAnswer, StoreFault, StoreOp, Tail,
    Token, apply, tail_of_log,
};
use redb::{Database, ReadableDatabase, ReadableTable};

use super::blocks::Blocks;
use super::clock::Clock;
use super::file::{self, LOG, META, META_BATCH, META_CLOCK_MS, Opened, ROWS};
use super::partition::{Idlest, Partition, Tables};
use super::room;
use super::rows::{self, Damaged, Head};
use super::shelf::Shelf;
use super::whole::{self, Change};
use super::witness::Witness;
use crate::store::limits::{REOPEN_EVERY_MS, REOPENING_SHARE, ROOM_WANTED_MS_MAX};
use crate::store::masters::Masters;
use crate::store::{OpenError, StoreOptions};

/// The file and its clock.
pub(super) struct Engine {
    folder: PathBuf,
    file: Held,
    shelf: Arc<Shelf>,
    masters: Arc<Masters>,
    clock: Clock,
    idlest: Idlest,
    /// While writing fails: how, and when it is tried again.
    refused: Option<Refused>,
    /// What was said of the last failure, while it fails.
    failing: Option<StoreFault>,
}

/// The file as it is held now.
enum Held {
    Open {
        database: Arc<Database>,
        blocks: Blocks,
        witness: Witness,
    },
    /// It can't be opened at the moment.
    Closed {
        tried: Instant,
    },
    /// It isn't what was written, or not there any more. Nothing of it is served until somebody has looked at it.
    Broken {
        text: String,
    },
}

impl Held {
    fn opened(&mut self) -> Result<(&Database, &mut Witness), StoreFault> {
        match self {
            Held::Open { database, witness, .. } => Ok((database, witness)),
            Held::Closed { .. } => Err(StoreFault::Away),
            Held::Broken { text } => Err(StoreFault::Broken { text: text.clone() }),
        }
    }
}

/// Commits are answered with this until then: each try that fails costs a repair of the file, and reads wait for it.
struct Refused {
    fault: StoreFault,
    until: Instant,
    /// When it is tried even if there seems to be no room.
    anyway: Instant,
    /// A length that the file can't have at the moment; 0 if there is none.
    too_long: u64,
}

/// Why an operation, or a whole batch, failed.
pub(super) enum Failure {
    /// One row is damaged: that operation's own trouble.
    Damaged(Damaged),
    /// The file can't be used.
    Redb(redb::Error),
    /// What reads and writes the file panicked: it met what can't be in a sound one.
    Panic(String),
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
            Failure::Redb(redb::Error::Io(error)) if room::is_full(error) => StoreFault::Full,
            Failure::Redb(redb::Error::Io(error))
                if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
            {
                StoreFault::Broken { text: file::damaged(&error.to_string()) }
            }
            Failure::Redb(error) => StoreFault::Broken { text: error.to_string() },
            Failure::Panic(text) => StoreFault::Broken { text: file::damaged(text) },
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
        let Opened { database, blocks, witness, last_ms } = file::open(&folder)?;
        shelf.put(&database);
        let clock = Clock::start(last_ms, options);
        Ok(Self {
            folder,
            file: Held::Open { database, blocks, witness },
            shelf,
            masters,
            clock,
            idlest: Idlest::default(),
            refused: None,
            failing: None,
        })
    }

    /// Does a batch and answers each operation, in order. When this returns, the answered commits are on disk;
    /// `accepted` is told the place and the answer of those that need not wait for that, before they are. (The
    /// same place is answered again by what is returned, and nobody listens any more.)
    pub(super) fn run<'o>(
        &mut self,
        ops: impl ExactSizeIterator<Item = &'o StoreOp> + Clone,
        mut accepted: impl FnMut(usize, &StoreAnswer),
    ) -> Vec<StoreAnswer> {
        self.reopen_now_and_then();
        let writes = ops.clone().any(|op| matches!(op, StoreOp::Commit(_)));
        let refused = if writes { self.refuses() } else { None };
        let (database, witness) = match self.file.opened() {
            Ok(opened) => opened,
            Err(fault) => return ops.map(|_| StoreAnswer::Failed(fault.clone())).collect(),
        };
        let mut committing = false;
        let done = no_panic(|| match &refused {
            Some(fault) => read_batch(database, &self.clock, ops.clone(), Some(fault)),
            None if !writes => read_batch(database, &self.clock, ops.clone(), None),
            None => {
                let (clock, idlest) = (&self.clock, &mut self.idlest);
                write_batch(database, clock, idlest, witness, ops.clone(), &mut accepted, &mut committing)
            }
        });
        if done.is_ok() && writes && refused.is_none() {
            self.works_again();
        }
        done.unwrap_or_else(|failure| {
            self.failed(&failure);
            // The disk failed while it took the batch: what of it lasts shows when the file is read again.
            let fault = if committing { StoreFault::TimedOut } else { failure.fault() };
            self.read_anyway(ops, &fault)
        })
    }

    /// What is only read needs no disk that can be written.
    fn read_anyway<'o>(
        &self,
        ops: impl ExactSizeIterator<Item = &'o StoreOp> + Clone,
        fault: &StoreFault,
    ) -> Vec<StoreAnswer> {
        let read = match &self.file {
            Held::Open { database, .. } => {
                no_panic(|| read_batch(database, &self.clock, ops.clone(), Some(fault)))
            }
            _ => Ok(ops.clone().map(|_| StoreAnswer::Failed(fault.clone())).collect()),
        };
        // Whatever is wrong with it, the next one to ask finds out.
        read.unwrap_or_else(|failure| ops.map(|_| StoreAnswer::Failed(failure.fault())).collect())
    }

    /// Makes a change of ops tools, on disk when this returns.
    pub(super) fn change(&mut self, change: &Change) -> Result<(), RestoreError> {
        self.reopen_now_and_then();
        let refused = self.refuses();
        let (database, witness) = self.file.opened()?;
        if let Some(fault) = refused {
            return Err(fault.into());
        }
        let mut committing = false;
        let done = no_panic(|| change_alone(database, &mut self.idlest, witness, change, &mut committing));
        if done.is_ok() {
            self.works_again();
        }
        done.unwrap_or_else(|failure| {
            self.failed(&failure);
            Err(if committing { StoreFault::TimedOut } else { failure.fault() }.into())
        })
    }

    /// What writing is answered with for now. A disk that was full is asked beside the file first.
    fn refuses(&mut self) -> Option<StoreFault> {
        let refused = self.refused.as_mut()?;
        let now = Instant::now();
        let asks = refused.fault == StoreFault::Full && (refused.until..refused.anyway).contains(&now);
        if asks && !room::is_there(&self.folder, refused.too_long) {
            refused.until = Instant::now() + Duration::from_millis(REOPEN_EVERY_MS);
        }
        (Instant::now() < refused.until).then(|| refused.fault.clone())
    }

    fn works_again(&mut self) {
        self.refused = None;
        if self.failing.take().is_some() {
            tracing::info!(folder = %self.folder.display(), "embedded store: it works again");
        }
    }

    fn reopen_now_and_then(&mut self) {
        if let Held::Closed { tried } = self.file
            && tried.elapsed() >= Duration::from_millis(REOPEN_EVERY_MS)
        {
            self.reopen();
        }
    }

    fn failed(&mut self, failure: &Failure) {
        let fault = failure.fault();
        if self.failing.as_ref() != Some(&fault) {
            // Said once for as long as it stays the same.
            tracing::error!(folder = %self.folder.display(), %fault, "embedded store: it fails");
            self.failing = Some(fault.clone());
        }
        if matches!(failure, Failure::Damaged(_)) {
            return;
        }
        // redb wants its file reopened after any I/O error; that also finds out whether the file is sound. At once,
        // since what was committed can still be read.
        self.shelf.clear();
        self.idlest.forget();
        let began = Instant::now();
        let held = std::mem::replace(&mut self.file, Held::Closed { tried: began });
        let mut too_long = 0;
        if let Held::Open { database, blocks, .. } = held {
            too_long = blocks.too_long();
            if matches!(failure, Failure::Panic(_)) {
                blocks.seal();
            }
            let closed = no_panic(|| {
                drop(database);
                Ok(())
            });
            if closed.is_err() {
                tracing::error!("embedded store: the file can't be closed in order");
            }
        }
        self.reopen();
        let wait = Duration::from_millis(REOPEN_EVERY_MS).max(began.elapsed() * REOPENING_SHARE);
        let until = Instant::now() + wait;
        let anyway = until + Duration::from_millis(ROOM_WANTED_MS_MAX);
        self.refused = Some(Refused { fault, until, anyway, too_long });
    }

    fn reopen(&mut self) {
        self.file = match file::open_existing(&self.folder) {
            Ok(Opened { database, blocks, witness, .. }) => {
                tracing::debug!("embedded store: the file is open again");
                self.shelf.put(&database);
                // What was accepted and not yet on disk is gone: who has it in memory loads again.
                self.masters.all_changed();
                Held::Open { database, blocks, witness }
            }
            Err(error @ OpenError::Unreadable { .. }) => {
                tracing::error!(%error, "embedded store: nothing of it is served any more");
                Held::Broken { text: error.to_string() }
            }
            Err(error) => {
                tracing::error!(%error, "embedded store: cannot open the file again");
                Held::Closed { tried: Instant::now() }
            }
        };
        if let Held::Broken { text } = &self.file {
            self.shelf.broken(text);
        }
    }
}

/// Takes a panic of redb for what it says of the file.
fn no_panic<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(Failure::Panic(file::panic_text(panic.as_ref()))))
}

fn read_batch<'o>(
    database: &Database,
    clock: &Clock,
    ops: impl Iterator<Item = &'o StoreOp>,
    refused: Option<&StoreFault>,
) -> Result<Vec<StoreAnswer>, Failure> {
    let transaction = database.begin_read()?;
    let (rows, log) = (transaction.open_table(ROWS)?, transaction.open_table(LOG)?);
    let answer = |op: &StoreOp| match (op, refused) {
        (StoreOp::Commit(_), Some(fault)) => Ok(StoreAnswer::Failed(fault.clone())),
        _ => or_fault(read(&rows, &log, clock, op)),
    };
    ops.map(answer).collect()
}

fn write_batch<'o>(
    database: &Database,
    clock: &Clock,
    idlest: &mut Idlest,
    witness: &mut Witness,
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
            let mut meta = transaction.open_table(META)?;
            meta.insert(META_CLOCK_MS, clock.now().now_ms)?;
            meta.insert(META_BATCH, witness.next())?;
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
        witness.saw();
    } else {
        transaction.abort()?;
    }
    Ok(answers)
}

fn change_alone(
    database: &Database,
    idlest: &mut Idlest,
    witness: &mut Witness,
    change: &Change,
    committing: &mut bool,
) -> Result<Result<(), RestoreError>, Failure> {
    let transaction = database.begin_write()?;
    let made = whole::change(&mut Tables::open(&transaction, idlest)?, change)?;
    if made == Ok(true) {
        transaction.open_table(META)?.insert(META_BATCH, witness.next())?;
        *committing = true;
        transaction.commit()?;
        witness.saw();
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
