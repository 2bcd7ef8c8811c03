//! The subscribing side: one SUB socket and one task for each remote publisher.
//!
//! `ZmqMesh` starts a link and drains its inbox. A link reconciles its subscriptions with the list it sees,
//! checks each message, and hands over batches. Whatever its publisher does costs this peer only.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use omq_tokio::{
    DisconnectReason, Endpoint, Error, Message, MonitorEvent, MonitorRecvError, Socket, SocketType,
};
use tokio::sync::{mpsc, watch};

use super::door::socket_options;
use super::limits::{
    COPY_BODY_BELOW_BYTES, FRAME_COST_BYTES, INBOX_BATCHES_MAX, INBOX_BYTES_MAX, MESH_BODY_BYTES_MAX,
    RECEIVE_BATCH_MESSAGES_MAX, RECONNECT_MAX_MS,
};
use super::stats::LinkCounters;
use super::topics::{TopicList, difference};
use super::{MeshFrame, MeshTopic, PeerId};

/// What a received body counts in an inbox, in bytes.
pub(super) fn inbox_cost(body: &Bytes) -> usize {
    body.len() + FRAME_COST_BYTES
}

/// The reading end of a link; dropping it ends the link.
pub(super) struct Link {
    frames: mpsc::Receiver<Vec<MeshFrame>>,
    pending_bytes: Arc<AtomicUsize>,
    task: tokio::task::AbortHandle,
}

impl Link {
    /// Starts a link to `endpoint`.
    pub(super) fn start(
        runtime: &tokio::runtime::Handle,
        peer: PeerId,
        endpoint: Endpoint,
        topics: watch::Receiver<TopicList>,
        counters: Arc<LinkCounters>,
    ) -> Self {
        let (sender, frames) = mpsc::channel(INBOX_BATCHES_MAX);
        let pending_bytes = Arc::new(AtomicUsize::new(0));
        let inbox = Inbox { peer, sender, pending_bytes: pending_bytes.clone(), counters };
        let task = runtime.spawn(run(endpoint, topics, inbox)).abort_handle();
        Self { frames, pending_bytes, task }
    }

    /// Appends what has arrived by now; what arrives meanwhile waits for the next call.
    pub(super) fn drain(&mut self, into: &mut Vec<MeshFrame>) {
        for _ in 0..self.frames.len() {
            let Ok(mut batch) = self.frames.try_recv() else {
                return;
            };
            let bytes = batch.iter().map(|frame| inbox_cost(&frame.body)).sum();
            self.pending_bytes.fetch_sub(bytes, Relaxed);
            into.append(&mut batch);
        }
    }

    /// Bytes that wait to be drained.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending_bytes.load(Relaxed)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The writing end of a link.
struct Inbox {
    peer: PeerId,
    sender: mpsc::Sender<Vec<MeshFrame>>,
    pending_bytes: Arc<AtomicUsize>,
    counters: Arc<LinkCounters>,
}

impl Inbox {
    /// Checks `messages`, keeps what is good and fits, and hands it over as one batch. Leaves `messages` empty.
    fn accept(&self, messages: &mut Vec<Message>) {
        let room = INBOX_BYTES_MAX.saturating_sub(self.pending_bytes.load(Relaxed));
        let (mut cost, mut body_bytes, mut full) = (0, 0, 0);
        let mut frames = Vec::with_capacity(messages.len());
        for message in messages.drain(..) {
            let Some((topic, body)) = parse(&message) else {
                self.counters.errors.fetch_add(1, Relaxed);
                continue;
            };
            if cost + inbox_cost(&body) > room {
                full += 1;
                continue;
            }
            cost += inbox_cost(&body);
            body_bytes += body.len() as u64;
            frames.push(MeshFrame { peer: self.peer, topic, body });
        }
        self.counters.dropped_in.fetch_add(full, Relaxed);
        if !frames.is_empty() {
            self.hand_over(frames, cost, body_bytes);
        }
    }

    fn hand_over(&self, frames: Vec<MeshFrame>, cost: usize, body_bytes: u64) {
        let count = frames.len() as u64;
        // Counted before it is sent: the reader may subtract at once.
        self.pending_bytes.fetch_add(cost, Relaxed);
        if self.sender.try_send(frames).is_ok() {
            self.counters.frames_in.fetch_add(count, Relaxed);
            self.counters.bytes_in.fetch_add(body_bytes, Relaxed);
        } else {
            self.pending_bytes.fetch_sub(cost, Relaxed);
            self.counters.dropped_in.fetch_add(count, Relaxed);
        }
    }
}

/// Two parts, the first a topic, the second a body that isn't too long; anything else is nothing.
fn parse(message: &Message) -> Option<(MeshTopic, Bytes)> {
    if message.len() != 2 {
        return None;
    }
    let topic = message.part_slice(0)?.try_into().ok()?;
    let body = message.part_slice(1)?;
    let body = match body.len() {
        too_long if too_long > MESH_BODY_BYTES_MAX => return None,
        short if short < COPY_BODY_BELOW_BYTES => Bytes::copy_from_slice(body),
        _ => message.part_bytes(1)?,
    };
    Some((topic, body))
}

/// Why a session ended.
enum End {
    /// The mesh is gone.
    Closed,
    /// The socket can't go on; a new one may.
    Broken,
}

/// Keeps a socket to `endpoint` for as long as the link exists.
async fn run(endpoint: Endpoint, mut topics: watch::Receiver<TopicList>, inbox: Inbox) {
    loop {
        let end = session(&endpoint, &mut topics, &inbox).await;
        inbox.counters.connected.store(false, Relaxed);
        match end {
            Ok(End::Closed) => return,
            Ok(End::Broken) => {}
            Err(error) => {
                inbox.counters.errors.fetch_add(1, Relaxed);
                tracing::warn!(peer = inbox.peer.0, %error, "mesh link broke; it will be rebuilt");
            }
        }
        tokio::time::sleep(Duration::from_millis(RECONNECT_MAX_MS)).await;
    }
}

/// One socket's life. The library redials by itself; it keeps the subscriptions over that.
async fn session(
    endpoint: &Endpoint,
    topics: &mut watch::Receiver<TopicList>,
    inbox: &Inbox,
) -> Result<End, Error> {
    let socket = Socket::try_new(SocketType::Sub, socket_options())?;
    let mut events = socket.monitor();
    let mut applied = topics.borrow_and_update().clone();
    for topic in applied.iter() {
        socket.subscribe(Bytes::copy_from_slice(topic)).await?;
    }
    socket.connect(endpoint).await?;
    let mut messages = Vec::with_capacity(RECEIVE_BATCH_MESSAGES_MAX);
    loop {
        tokio::select! {
            received = socket.recv_many_into(RECEIVE_BATCH_MESSAGES_MAX, &mut messages) => {
                let full_batch = received? == RECEIVE_BATCH_MESSAGES_MAX;
                inbox.accept(&mut messages);
                if full_batch {
                    // A flooding peer must leave this thread's other tasks their turns.
                    tokio::task::yield_now().await;
                }
            }
            changed = topics.changed() => {
                if changed.is_err() {
                    return Ok(End::Closed);
                }
                let wanted = topics.borrow_and_update().clone();
                resubscribe(&socket, &applied, &wanted).await?;
                applied = wanted;
            }
            event = events.recv() => {
                if let Some(end) = observe(event, inbox) {
                    return Ok(end);
                }
            }
        }
    }
}

/// Turns the socket's subscriptions from `applied` into `wanted`: new ones first.
async fn resubscribe(socket: &Socket, applied: &[MeshTopic], wanted: &[MeshTopic]) -> Result<(), Error> {
    let change = difference(applied, wanted);
    for topic in change.added {
        socket.subscribe(Bytes::copy_from_slice(&topic)).await?;
    }
    for topic in change.removed {
        socket.unsubscribe(Bytes::copy_from_slice(&topic)).await?;
    }
    Ok(())
}

/// Counts what happens to the connection; says when the library has given up on it.
fn observe(event: Result<MonitorEvent, MonitorRecvError>, inbox: &Inbox) -> Option<End> {
    let counters = &inbox.counters;
    match event {
        Ok(MonitorEvent::HandshakeSucceeded { .. }) => {
            counters.handshakes.fetch_add(1, Relaxed);
            counters.connected.store(true, Relaxed);
        }
        Ok(MonitorEvent::HandshakeFailed { reason, .. }) => {
            counters.errors.fetch_add(1, Relaxed);
            tracing::debug!(peer = inbox.peer.0, %reason, "mesh handshake failed");
        }
        Ok(MonitorEvent::Disconnected { reason, .. }) => {
            counters.connected.store(false, Relaxed);
            if let DisconnectReason::Error(reason) = reason {
                counters.errors.fetch_add(1, Relaxed);
                tracing::debug!(peer = inbox.peer.0, %reason, "mesh link lost");
            }
        }
        // A handshake refusal stops the library's redials for good; whoever answered there may be gone later.
        Ok(MonitorEvent::ConnectStopped { .. }) | Err(MonitorRecvError::Closed) => return Some(End::Broken),
        Ok(_) | Err(_) => {}
    }
    None
}
