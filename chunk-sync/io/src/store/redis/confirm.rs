//! Waits until replicas and disks have what was committed, for many commits at once.
//!
//! Redis is asked with `WAIT` or `WAITAOF` on the connection that carried the commits; the answer covers everything
//! that was answered there before it. So whoever asks while one is under way shares the next one: group commit.
//! Redis does nothing else on a connection while it waits there, so there are two: while one waits, commits go over
//! the other, and none is kept from being done by a replica that is slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::server::Confirm;
use crate::store::limits::{CONFIRM_GRACE_MS, CONFIRM_WAIT_MS, IN_FLIGHT_UNITS_MAX};

const LANES: usize = 2;

/// Why it isn't known whether a commit is safe.
#[derive(Clone, Debug)]
pub(super) enum Unsafe {
    /// Too few replicas, or disks, said in time that they have it.
    TooFew,
    /// The connection failed, or the server refused to wait.
    Failed(Arc<str>),
}

type Answer = Result<(), Unsafe>;

struct Ask {
    lane: usize,
    confirm: Confirm,
    answer: oneshot::Sender<Answer>,
}

/// Asks for the connections of one moment; its task ends with the last copy.
#[derive(Clone)]
pub(super) struct Confirmer {
    lanes: [MultiplexedConnection; LANES],
    free: Arc<AtomicUsize>,
    asks: mpsc::Sender<Ask>,
}

/// A connection for what is to be confirmed.
pub(super) struct Lane {
    number: usize,
    pub(super) connection: MultiplexedConnection,
}

impl Confirmer {
    /// For writes that go over these connections.
    pub(super) fn new(lanes: [MultiplexedConnection; LANES]) -> Self {
        let (asks, asked) = mpsc::channel(IN_FLIGHT_UNITS_MAX as usize);
        let free = Arc::new(AtomicUsize::new(0));
        tokio::spawn(serve(lanes.clone(), Arc::clone(&free), asked));
        Self { lanes, free, asks }
    }

    /// The connection on which nobody waits now.
    pub(super) fn lane(&self) -> Lane {
        let number = self.free.load(Ordering::SeqCst);
        Lane { number, connection: self.lanes[number].clone() }
    }

    /// Returns once everything that was answered on the lane before this call is safe, or at `by`.
    pub(super) async fn confirm(&self, lane: &Lane, confirm: Confirm, by: Instant) -> Answer {
        if confirm == Confirm::Nothing {
            return Ok(());
        }
        let (answer, answered) = oneshot::channel();
        let asked = self.asks.send(Ask { lane: lane.number, confirm, answer }).await;
        match timeout_at(by, answered).await {
            Err(_) if asked.is_ok() => Err(Unsafe::TooFew),
            Ok(Ok(answer)) => answer,
            _ => Err(Unsafe::Failed("the server gave no answer to an earlier wait".into())),
        }
    }
}

/// Ends when a wait fails: then the connections are no good, and whoever asks hears it.
async fn serve(
    mut lanes: [MultiplexedConnection; LANES],
    free: Arc<AtomicUsize>,
    mut asked: mpsc::Receiver<Ask>,
) {
    let mut asks: [Vec<Ask>; LANES] = Default::default();
    let mut open = 0;
    loop {
        if asks.iter().all(Vec::is_empty) {
            let Some(first) = asked.recv().await else { return };
            asks[first.lane].push(first);
        }
        while let Ok(next) = asked.try_recv() {
            asks[next.lane].push(next);
        }
        // Those of the other lane were answered there just before it was waited on, and asked just after.
        let other = (open + 1) % LANES;
        let lane = if asks[other].is_empty() { open } else { other };
        if lane == open {
            open = other;
            free.store(open, Ordering::SeqCst);
        }
        let mut group = std::mem::take(&mut asks[lane]);
        // Whoever gave up by itself needs no wait.
        group.retain(|ask| !ask.answer.is_closed());
        if group.is_empty() {
            continue;
        }
        let said = wait(&mut lanes[lane], &group).await;
        let failed = matches!(said, Err(Unsafe::Failed(_)));
        for ask in group {
            let _ = ask.answer.send(said.clone());
        }
        if failed {
            return;
        }
    }
}

/// Everybody in a group waits for the most that one of them needs.
async fn wait(connection: &mut MultiplexedConnection, group: &[Ask]) -> Answer {
    let disks = group.iter().any(|ask| matches!(ask.confirm, Confirm::Disks(_)));
    let replicas = group.iter().map(|ask| needed(ask.confirm)).max().unwrap_or(0);
    let asked = async {
        if disks {
            let mut command = redis::cmd("WAITAOF");
            command.arg(1).arg(replicas).arg(CONFIRM_WAIT_MS);
            let said: Result<(u32, u32), _> = command.query_async(connection).await;
            said.map(|(here, there)| here >= 1 && there >= u32::from(replicas))
        } else {
            let mut command = redis::cmd("WAIT");
            command.arg(replicas).arg(CONFIRM_WAIT_MS);
            let said: Result<u32, _> = command.query_async(connection).await;
            said.map(|there| there >= u32::from(replicas))
        }
    };
    match timeout(Duration::from_millis(CONFIRM_WAIT_MS + CONFIRM_GRACE_MS), asked).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(Unsafe::TooFew),
        Ok(Err(error)) => Err(Unsafe::Failed(error.to_string().into())),
        Err(_) => Err(Unsafe::Failed("the server did not answer a wait in time".into())),
    }
}

fn needed(confirm: Confirm) -> u8 {
    match confirm {
        Confirm::Nothing => 0,
        Confirm::Replicas(replicas) | Confirm::Disks(replicas) => replicas,
    }
}
