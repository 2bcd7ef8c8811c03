//! The door: accepts TCP connections and lets in those that say `Hello` in time and in few enough bytes.
//!
//! Nodes and allocators open one each on the tokio runtime and take [`Arrival`]s from it, a node from its own
//! thread by [`Door::try_next`]. What fails the door's checks is told why and closed here. The door never looks
//! inside a `Hello`, never reads on behind it on purpose, and never holds more than its limits say: connections,
//! bytes of each, and time.

mod greet;
pub mod limits;
mod stats;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use chunk_sync::limits::{HELLO_PENDING_MAX, HELLO_WAIT_MS};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use limits::{ACCEPT_BACKOFF_MS, ARRIVALS_MAX, LISTEN_BACKLOG};
pub use stats::DoorStats;

/// Why a door could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Somebody else listens there.
    #[error("port {} on {} is taken by another program", .0.port(), .0.ip())]
    Taken(SocketAddr),
    /// Anything else that the system refuses.
    #[error("can't listen on {address}: {cause}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
}

/// How a door keeps its limits, where the usual is not wanted.
#[derive(Clone, Copy, Debug)]
pub struct DoorOptions {
    /// How long a connection may take to send its whole `Hello`.
    pub hello_wait: Duration,
    /// Connections inside the door at once. Beyond, the one that has been silent for longest makes room.
    pub pending_max: usize,
    /// Connections that said `Hello` and wait to be taken.
    pub arrivals_max: usize,
}

impl Default for DoorOptions {
    fn default() -> Self {
        Self {
            hello_wait: Duration::from_millis(HELLO_WAIT_MS),
            pending_max: HELLO_PENDING_MAX,
            arrivals_max: ARRIVALS_MAX,
        }
    }
}

/// A connection that said `Hello`.
#[derive(Debug)]
pub struct Arrival {
    /// The socket, `TCP_NODELAY` on.
    pub stream: TcpStream,
    /// Whose it is.
    pub peer: SocketAddr,
    /// Body of the `Hello` frame (no length, no kind byte), at most `HELLO_BYTES_MAX - 1` bytes; unread so far.
    pub hello: Bytes,
    /// What came behind the `Hello` with it: the beginning of the stream that the socket continues.
    pub leftover: Bytes,
}

/// An open door. Dropping it closes the listener and every connection that is still inside.
#[derive(Debug)]
pub struct Door {
    address: SocketAddr,
    arrivals: mpsc::Receiver<Arrival>,
    stats: Arc<DoorStats>,
    task: AbortHandle,
}

impl Door {
    /// Opens a door on `listen` (port 0: any free one). Must be called on a tokio runtime, which then runs it.
    ///
    /// # Errors
    /// [`DoorError`] if the address is taken or can't be bound.
    pub async fn open(listen: SocketAddr) -> Result<Self, DoorError> {
        Self::open_with(listen, DoorOptions::default()).await
    }

    /// Opens a door with other than the usual options.
    ///
    /// # Errors
    /// [`DoorError`] if the address is taken or can't be bound.
    pub async fn open_with(listen: SocketAddr, options: DoorOptions) -> Result<Self, DoorError> {
        let bound = bind(listen).and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = bound.map_err(|cause| match cause.kind() {
            io::ErrorKind::AddrInUse => DoorError::Taken(listen),
            _ => DoorError::Bind { address: listen, cause },
        })?;
        let (sender, arrivals) = mpsc::channel(options.arrivals_max);
        let stats = Arc::new(DoorStats::default());
        let task = tokio::spawn(accept(listener, options, sender, Arc::clone(&stats))).abort_handle();
        Ok(Self { address, arrivals, stats, task })
    }

    /// Where it listens, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it counts.
    pub fn stats(&self) -> Arc<DoorStats> {
        Arc::clone(&self.stats)
    }

    /// The next connection that said `Hello`. `None` only if the runtime ended the door.
    pub async fn next(&mut self) -> Option<Arrival> {
        self.arrivals.recv().await
    }

    /// The next connection that said `Hello`, if one is there already; from any thread.
    pub fn try_next(&mut self) -> Option<Arrival> {
        self.arrivals.try_recv().ok()
    }

    /// Closes the listener and what is still inside. Who had arrived can still be taken.
    pub fn close(&self) {
        self.task.abort();
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    let socket = if listen.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the old process's connections to time out; a live listener still excludes us.
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    socket.listen(LISTEN_BACKLOG)
}

/// Connections inside that have yet to say `Hello`, oldest first. Who speaks at once gets in however many come to
/// be silent: a crowd without a word only drives out itself.
#[derive(Default)]
struct Silent {
    oldest_first: VecDeque<(AbortHandle, Arc<AtomicBool>)>,
}

impl Silent {
    fn push(&mut self, task: AbortHandle, spoke: Arc<AtomicBool>, pending_max: usize) {
        if self.oldest_first.len() >= 2 * pending_max {
            self.oldest_first.retain(|(task, spoke)| !task.is_finished() && !spoke.load(Relaxed));
        }
        self.oldest_first.push_back((task, spoke));
    }

    /// Ends the connection that has been silent for longest; `false` when there is none.
    fn end_oldest(&mut self) -> bool {
        while let Some((task, spoke)) = self.oldest_first.pop_front() {
            if !task.is_finished() && !spoke.load(Relaxed) {
                task.abort();
                return true;
            }
        }
        false
    }
}

/// Accepts for ever; owns everybody who is inside, so that ending it ends them.
async fn accept(
    listener: TcpListener,
    options: DoorOptions,
    arrivals: mpsc::Sender<Arrival>,
    stats: Arc<DoorStats>,
) {
    let mut inside = JoinSet::new();
    let mut silent = Silent::default();
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = inside.join_next() => {
                stats.pending.store(inside.len(), Relaxed);
                continue;
            }
        };
        match accepted {
            Ok((stream, peer)) => {
                failing = false;
                while inside.try_join_next().is_some() {}
                if inside.len() >= options.pending_max {
                    // No answer: telling each of a flood why would cost what the flood is after.
                    if !silent.end_oldest() {
                        stats.refused_full.fetch_add(1, Relaxed);
                        continue;
                    }
                    stats.displaced.fetch_add(1, Relaxed);
                    // The ended one is gone before the next comes in.
                    while inside.try_join_next().is_none() {
                        tokio::task::yield_now().await;
                    }
                }
                stats.accepted.fetch_add(1, Relaxed);
                let spoke = Arc::new(AtomicBool::new(false));
                let visit = greet::greet(
                    stream,
                    peer,
                    options.hello_wait,
                    Arc::clone(&spoke),
                    arrivals.clone(),
                    Arc::clone(&stats),
                );
                silent.push(inside.spawn(visit), spoke, options.pending_max);
                stats.pending.store(inside.len(), Relaxed);
            }
            Err(error) => {
                stats.accept_errors.fetch_add(1, Relaxed);
                if is_one_connections(&error) {
                    continue;
                }
                // Out of file descriptors or memory: the connection stays in the backlog. Say so once, not
                // for every try, and give others time to close something.
                if !failing {
                    tracing::warn!(%error, "can't accept connections for now");
                    failing = true;
                }
                tokio::time::sleep(Duration::from_millis(ACCEPT_BACKOFF_MS)).await;
            }
        }
    }
}

/// Whether an error of `accept` is about the one connection that was to be accepted (accept(2) passes pending
/// network errors of the new socket on).
fn is_one_connections(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, NetworkDown,
        NetworkUnreachable, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | TimedOut
    )
}
