//! Waits until replicas and disks have what was committed, for many commits at once.
//!
//! Redis is asked with `WAIT` or `WAITAOF` on the connection that carried the commits; the answer covers everything
//! that was answered there before it. So whoever asks while one is under way shares the next one: group commit.

use std::sync::Arc;

use redis::RedisError;
use redis::aio::MultiplexedConnection;
use tokio::sync::{mpsc, oneshot};

use super::server::Confirm;
use crate::store::limits::{CONFIRM_WAIT_MS, IN_FLIGHT_UNITS_MAX};

/// Why it isn't known whether a commit is safe.
#[derive(Clone, Debug)]
pub(super) enum Unsafe {
    /// Too few replicas, or disks, said in time that they have it.
    TooFew,
    /// The connection failed, or the server refused to wait.
    Failed(Arc<RedisError>),
}

type Answer = Result<(), Unsafe>;
type Ask = (Confirm, oneshot::Sender<Answer>);

/// Asks for one connection; its task ends with the last copy.
#[derive(Clone)]
pub(super) struct Confirmer {
    asks: mpsc::Sender<Ask>,
}

impl Confirmer {
    /// For commits that go over `connection`.
    pub(super) fn new(connection: MultiplexedConnection) -> Self {
        let (asks, asked) = mpsc::channel(IN_FLIGHT_UNITS_MAX as usize);
        tokio::spawn(serve(connection, asked));
        Self { asks }
    }

    /// Returns once everything that was answered on the connection before this call is safe.
    pub(super) async fn confirm(&self, confirm: Confirm) -> Answer {
        if confirm == Confirm::Nothing {
            return Ok(());
        }
        let (answer, answered) = oneshot::channel();
        if self.asks.send((confirm, answer)).await.is_err() {
            return Err(Unsafe::TooFew);
        }
        answered.await.unwrap_or(Err(Unsafe::TooFew))
    }
}

async fn serve(mut connection: MultiplexedConnection, mut asked: mpsc::Receiver<Ask>) {
    while let Some(first) = asked.recv().await {
        let mut group = vec![first];
        while let Ok(next) = asked.try_recv() {
            group.push(next);
        }
        // Everybody in a group waits for the most that one of them needs.
        let disks = group.iter().any(|(confirm, _)| matches!(confirm, Confirm::Disks(_)));
        let replicas = group.iter().map(|(confirm, _)| needed(*confirm)).max().unwrap_or(0);
        let said = wait(&mut connection, disks, replicas).await;
        for (_, answer) in group {
            let _ = answer.send(said.clone());
        }
    }
}

fn needed(confirm: Confirm) -> u8 {
    match confirm {
        Confirm::Nothing => 0,
        Confirm::Replicas(replicas) | Confirm::Disks(replicas) => replicas,
    }
}

async fn wait(connection: &mut MultiplexedConnection, disks: bool, replicas: u8) -> Answer {
    let enough = if disks {
        let mut command = redis::cmd("WAITAOF");
        command.arg(1).arg(replicas).arg(CONFIRM_WAIT_MS);
        let said: Result<(u32, u32), _> = command.query_async(connection).await;
        said.map(|(here, there)| here >= 1 && there >= u32::from(replicas))
    } else {
        let mut command = redis::cmd("WAIT");
        command.arg(replicas).arg(CONFIRM_WAIT_MS);
        let said: Result<u32, _> = command.query_async(connection).await;
        said.map(|there| there >= u32::from(replicas))
    };
    match enough {
        Ok(true) => Ok(()),
        Ok(false) => Err(Unsafe::TooFew),
        Err(error) => Err(Unsafe::Failed(Arc::new(error))),
    }
}
