//! Telling clients their answer: one frame, then a half-close, then the client closes or time is up. Used by the
//! service only.

use crate::limits::{ANSWER_WRITE_MS, LINGER_MS, REPLIES_MAX};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

/// Bytes that a client may still send after its answer before it is cut off.
const IGNORED_BYTES_MAX: u64 = 64 * 1024;

/// Answers on their way.
#[derive(Debug, Default)]
pub(super) struct Replies {
    tasks: JoinSet<()>,
}

impl Replies {
    /// Sends `frame` and closes.
    pub(super) fn send(&mut self, stream: TcpStream, frame: Vec<u8>) {
        if self.tasks.len() >= REPLIES_MAX {
            self.reap();
        }
        if self.tasks.len() >= REPLIES_MAX {
            // Fits any fresh socket's buffer; a client whose socket takes nothing goes without.
            let _ = stream.try_write(&frame);
            return;
        }
        self.tasks.spawn(reply(stream, frame));
    }

    /// Forgets those that are done.
    pub(super) fn reap(&mut self) {
        while self.tasks.try_join_next().is_some() {}
    }

    /// Waits for those that are under way.
    pub(super) async fn finish(&mut self, until: Instant) {
        while let Ok(Some(_)) = timeout_at(until, self.tasks.join_next()).await {}
    }
}

async fn reply(mut stream: TcpStream, frame: Vec<u8>) {
    let told = async {
        stream.write_all(&frame).await?;
        stream.shutdown().await
    };
    if !matches!(timeout(Duration::from_millis(ANSWER_WRITE_MS), told).await, Ok(Ok(()))) {
        return;
    }
    // Closing while unread bytes wait would reset the connection, and the answer could be lost with it.
    let mut rest = stream.take(IGNORED_BYTES_MAX);
    let mut ignored = [0; 512];
    let drain = async { while matches!(rest.read(&mut ignored).await, Ok(read) if read > 0) {} };
    let _ = timeout(Duration::from_millis(LINGER_MS), drain).await;
}
