//! Looks for transfers that nobody brings to their ends, because the node that did died: what the indexes list in two
//! looks in a row goes to the core, which finishes it. One node of the cluster does this at a time; two would only do
//! some of it twice.
//!
//! A task of the shell's tokio side. It reads indexes and nothing else; the core can't.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use chunk_sync::store::{INDEX_PAGE_ENTRIES_MAX, IndexEntry, Name, StoreFault};
use chunk_sync_io::store::{OpsStore, StoreHandle};
use tokio::sync::mpsc;

use crate::executor::{INDEX_DECIDED, INDEX_PENDING};
use crate::limits::{SWEEP_BEGIN_MS, SWEEP_EVERY_MS, SWEEP_FOUND_MAX, SWEEP_LISTED_MAX};
use crate::rules::{Partition, TransferId};

/// A transfer that is pending, or whose decision is remembered at a partition.
pub(super) type Found = (TransferId, Option<Partition>);

/// The thread's end of the task.
pub(super) struct Sweep {
    /// What was found.
    pub(super) found: mpsc::Receiver<Found>,
    /// Whether this node is to look.
    pub(super) on: Arc<AtomicBool>,
}

/// Starts looking; it ends when the thread's end is dropped.
pub(super) fn start(store: &StoreHandle) -> Sweep {
    let (sender, found) = mpsc::channel(SWEEP_FOUND_MAX);
    let on = Arc::new(AtomicBool::new(false));
    tokio::spawn(look(store.ops(), sender, Arc::clone(&on)));
    Sweep { found, on }
}

async fn look(ops: OpsStore, found: mpsc::Sender<Found>, on: Arc<AtomicBool>) {
    let mut seen = BTreeSet::new();
    let mut due = Instant::now();
    let mut last = None;
    loop {
        tokio::time::sleep(Duration::from_millis(SWEEP_BEGIN_MS)).await;
        if found.is_closed() {
            return;
        }
        if !on.load(Relaxed) {
            seen.clear();
            due = Instant::now();
            continue;
        }
        if Instant::now() < due {
            continue;
        }
        due = Instant::now() + Duration::from_millis(SWEEP_EVERY_MS);
        match list(&ops).await {
            Ok(listed) => {
                for item in in_turn(listed.intersection(&seen).copied().collect(), last) {
                    // What finds no room comes first the next time.
                    if found.try_send(item).is_err() {
                        break;
                    }
                    last = Some(item);
                }
                seen = listed;
            }
            Err(fault) => tracing::debug!(%fault, "the sweep waits for the store"),
        }
    }
}

/// Those after the last one that was handed over, then the others: some that can't be finished, since a newer build wrote
/// them, keep none of the rest from their turn.
fn in_turn(mut items: Vec<Found>, last: Option<Found>) -> Vec<Found> {
    let first = items.partition_point(|item| last.is_some_and(|last| *item <= last));
    items.rotate_left(first);
    items
}

/// What both indexes list, at most so much that it can be handed over.
async fn list(ops: &OpsStore) -> Result<BTreeSet<Found>, StoreFault> {
    let mut listed = BTreeSet::new();
    for (index, decided) in [(INDEX_PENDING, false), (INDEX_DECIDED, true)] {
        let index = Name::from(index);
        let mut after = None;
        loop {
            let page = ops.index_page(&index, after.as_ref(), INDEX_PAGE_ENTRIES_MAX).await?;
            listed.extend(page.entries.iter().filter_map(|entry| read(entry, decided)));
            after = page.next;
            if after.is_none() || listed.len() >= SWEEP_LISTED_MAX {
                break;
            }
        }
    }
    Ok(listed)
}

fn read(entry: &IndexEntry, decided: bool) -> Option<Found> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    let id: TransferId = text(&entry.key)?.parse().ok()?;
    let at: Partition = text(&entry.value)?.parse().ok()?;
    Some((id, decided.then_some(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_transfer_has_its_turn() {
        let found: Vec<Found> = (1..=3)
            .map(|number| {
                let id = format!("0040000100000001.1.1.{number}.p.0").parse().expect("a transfer's name");
                (id, None)
            })
            .collect();
        assert_eq!(in_turn(found.clone(), None), found);
        let from_second = in_turn(found.clone(), Some(found[0]));
        assert_eq!(from_second, [found[1], found[2], found[0]]);
        assert_eq!(in_turn(found.clone(), Some(found[2])), found, "and again from the first");
    }
}
