//! The publishing side: one PUB socket, the task that feeds it and the task that watches who subscribes.
//!
//! `ZmqMesh` opens it and sends it batches; nobody else does. It never waits for a subscriber: one that
//! doesn't read loses messages, one that breaks a rule loses its connection.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use chunk_sync::limits::MESH_TOPIC_BYTES;
use omq_tokio::options::ReconnectPolicy;
use omq_tokio::{
    DisconnectReason, Message, MonitorEvent, MonitorRecvError, MonitorStream, Options, PeerSubscriptions,
    Socket, SocketType, TrySendError,
};
use tokio::sync::mpsc;

use super::limits::{
    FRAME_COST_BYTES, HANDSHAKE_TIMEOUT_MS, HEARTBEAT_INTERVAL_MS, HEARTBEAT_TIMEOUT_MS, HIGH_WATER_MESSAGES,
    LINGER_MS, MESH_BODY_BYTES_MAX, MESH_ENVELOPE_BYTES, MONITOR_EVENTS_MAX, PENDING_HANDSHAKES_MAX,
    RECONNECT_MAX_MS, RECONNECT_MIN_MS, STALLED_CONNECTION_MS, SUBSCRIBER_BACKLOG_BYTES_MAX,
    SUBSCRIBER_TOPICS_MAX, SUBSCRIBERS_MAX,
};
use super::stats::DoorCounters;
use super::{MeshError, MeshTopic};

/// One message on its way out.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) topic: MeshTopic,
    pub(super) body: Bytes,
}

impl Outgoing {
    /// What it counts in the outbox, in bytes.
    pub(super) fn cost(&self) -> usize {
        self.body.len() + FRAME_COST_BYTES
    }
}

/// What one flush hands over.
pub(super) type Batch = Vec<Outgoing>;

/// Settings that publishers and links share.
pub(super) fn socket_options() -> Options {
    let hwm = u32::try_from(HIGH_WATER_MESSAGES).expect("a constant far below u32::MAX");
    Options::default()
        .send_hwm(hwm)
        .recv_hwm(hwm)
        .max_message_size(MESH_BODY_BYTES_MAX + MESH_ENVELOPE_BYTES)
        .transmit_slot_cap(SUBSCRIBER_BACKLOG_BYTES_MAX)
        .heartbeat_interval(Duration::from_millis(HEARTBEAT_INTERVAL_MS))
        .heartbeat_timeout(Duration::from_millis(HEARTBEAT_TIMEOUT_MS))
        .heartbeat_ttl(Duration::from_millis(HEARTBEAT_TIMEOUT_MS))
        .handshake_timeout(Duration::from_millis(HANDSHAKE_TIMEOUT_MS))
        .max_pending_handshakes(PENDING_HANDSHAKES_MAX)
        .tcp_user_timeout(Duration::from_millis(STALLED_CONNECTION_MS))
        .linger(Duration::from_millis(LINGER_MS))
        .monitor_capacity(MONITOR_EVENTS_MAX)
        .reconnect(ReconnectPolicy::Exponential {
            min: Duration::from_millis(RECONNECT_MIN_MS),
            max: Duration::from_millis(RECONNECT_MAX_MS),
        })
}

/// Binds the publisher and returns it with the address that peers connect to.
pub(super) async fn open(
    address: SocketAddr,
    counters: &Arc<DoorCounters>,
) -> Result<(Socket, String), MeshError> {
    if !is_private(address.ip()) {
        return Err(MeshError::NotPrivate(address));
    }
    let refused = counters.clone();
    let options = socket_options().subscription_admission(move |request| {
        let whole = request.prefix.len() == MESH_TOPIC_BYTES;
        if !whole {
            refused.topics_refused.fetch_add(1, Relaxed);
        }
        whole
    });
    let bind = async {
        let socket = Socket::try_new(SocketType::Pub, options)?;
        let endpoint = socket.bind(format!("tcp://{address}").as_str()).await?;
        Ok::<_, omq_tokio::Error>((socket, endpoint.to_string()))
    };
    bind.await.map_err(|error| MeshError::Bind { address, cause: error.to_string() })
}

/// Loopback, private, shared, link-local or unique local: what a network's edge doesn't route.
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            let shared = first == 100 && second & 0b1100_0000 == 64;
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || shared
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Feeds the socket until the mesh is dropped; then what is left gets the linger time to leave.
pub(super) async fn publish(socket: Socket, mut batches: mpsc::Receiver<Batch>, counters: Arc<DoorCounters>) {
    while let Some(batch) = batches.recv().await {
        for outgoing in batch {
            let (cost, body_bytes) = (outgoing.cost(), outgoing.body.len() as u64);
            let message = Message::multipart([Bytes::copy_from_slice(&outgoing.topic), outgoing.body]);
            // An error here means that the socket is gone; the batch can only be counted off.
            if send(&socket, message).await {
                counters.frames.fetch_add(1, Relaxed);
                counters.bytes.fetch_add(body_bytes, Relaxed);
            } else {
                counters.errors.fetch_add(1, Relaxed);
            }
            counters.outbox_bytes.fetch_sub(cost, Relaxed);
        }
    }
    if let Err(error) = socket.close().await {
        tracing::debug!(%error, "mesh publisher closed");
    }
}

/// Hands one message to the library, waiting while its own first queue is full (which the outbox bounds).
async fn send(socket: &Socket, mut message: Message) -> bool {
    loop {
        match socket.try_send(message) {
            Ok(()) => return true,
            Err(TrySendError::Full(returned)) => message = returned,
            Err(TrySendError::Closed | TrySendError::Error(_)) => return false,
        }
        socket.wait_send_ready().await;
    }
}

/// Keeps the gauge of subscribers, counts what fails, and closes subscribers that are too many or ask for too
/// many topics.
pub(super) async fn watch(socket: Socket, counters: Arc<DoorCounters>) {
    // Each turn starts from a snapshot: at the beginning, and whenever events were lost.
    while let Ok((events, snapshot)) = socket.monitor_with_subscriptions().await {
        let mut watched = Watched::new(&snapshot);
        let lost_events = watched.follow(events, &socket, &counters).await;
        if !lost_events {
            return;
        }
    }
}

/// Topics held by each connection, by the library's connection number.
struct Watched {
    topics: BTreeMap<u64, usize>,
}

impl Watched {
    fn new(snapshot: &[PeerSubscriptions]) -> Self {
        let topics = snapshot.iter().map(|peer| (peer.peer.connection_id, peer.prefixes.len())).collect();
        Self { topics }
    }

    /// True when events were lost and a new snapshot is due; false at the socket's end.
    async fn follow(&mut self, mut events: MonitorStream, socket: &Socket, counters: &DoorCounters) -> bool {
        loop {
            counters.subscribers.store(self.topics.len() as u64, Relaxed);
            match events.recv().await {
                Ok(event) => {
                    if let Some((unwanted, why)) = self.take(event, counters) {
                        counters.errors.fetch_add(1, Relaxed);
                        tracing::warn!(why, "a mesh subscriber is disconnected");
                        // It may have gone by itself.
                        let _ = socket.disconnect_peer(unwanted).await;
                    }
                }
                Err(MonitorRecvError::Lagged(_)) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Takes in one event; names a connection that went over a limit, and which.
    fn take(&mut self, event: MonitorEvent, counters: &DoorCounters) -> Option<(u64, &'static str)> {
        match event {
            MonitorEvent::HandshakeSucceeded { peer, .. } => {
                self.topics.entry(peer.connection_id).or_default();
                let too_many = self.topics.len() > SUBSCRIBERS_MAX;
                return too_many.then_some((peer.connection_id, "too many subscribers"));
            }
            MonitorEvent::HandshakeFailed { reason, .. } => {
                counters.errors.fetch_add(1, Relaxed);
                tracing::debug!(%reason, "mesh handshake failed");
            }
            MonitorEvent::Disconnected { peer, reason, .. } => {
                self.topics.remove(&peer.connection_id);
                if let DisconnectReason::Error(reason) = reason {
                    counters.errors.fetch_add(1, Relaxed);
                    tracing::debug!(%reason, "mesh subscriber lost");
                }
            }
            MonitorEvent::SubscribeReceived { connection_id, .. } => {
                let held = self.topics.entry(connection_id).or_default();
                *held += 1;
                return (*held > SUBSCRIBER_TOPICS_MAX).then_some((connection_id, "too many topics"));
            }
            MonitorEvent::UnsubscribeReceived { connection_id, .. } => {
                let held = self.topics.entry(connection_id).or_default();
                *held = held.saturating_sub(1);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_private_addresses_are_bound() {
        for private in ["127.0.0.1", "10.1.2.3", "192.168.0.9", "172.16.0.1", "100.64.0.1", "::1", "fd00::1"]
        {
            assert!(is_private(private.parse().expect("an address")), "{private}");
        }
        for public in ["0.0.0.0", "8.8.8.8", "100.128.0.1", "::", "2001:4860::8888", "::ffff:8.8.8.8"] {
            assert!(!is_private(public.parse().expect("an address")), "{public}");
        }
    }
}
