//! Every limit of the mesh, by name and unit, with the relations between them.
//!
//! Used by the mesh alone; nothing here is read from a configuration. What every member must agree on (the length
//! of topics, the largest message) comes from `chunk_sync::limits`.

use chunk_sync::limits::{LINK_REMAKE_MS, MESH_TOPIC_BYTES, PEERS_MAX};

/// Largest body of one message, in bytes. A longer one is refused when published and, when a peer sends it,
/// costs that peer its connection.
pub const MESH_BODY_BYTES_MAX: usize = chunk_sync::limits::MESH_MESSAGE_BYTES_MAX;

/// What the library charges a message beside its body: the topic and one slot of 64 bytes for each part,
/// with room to spare.
pub const MESH_ENVELOPE_BYTES: usize = 256;

/// Messages of a tick that all queues take without loss; a member that publishes more risks gaps, which are repaired.
pub const TICK_BURST_MESSAGES_MAX: usize = 2_048;

/// Most bytes that one member publishes in a tick.
pub const TICK_BURST_BYTES_MAX: usize = 2 * 1024 * 1024;

/// High-water mark of every ZeroMQ queue, in messages. Beyond it the publisher drops what that one subscriber
/// would have got; a subscriber stops reading its socket.
pub const HIGH_WATER_MESSAGES: usize = 8_192;

/// Encoded bytes that the publisher keeps for one subscriber that doesn't read. Beyond it that subscriber
/// loses messages; nobody else notices.
pub const SUBSCRIBER_BACKLOG_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes between `publish` and the ZeroMQ socket. Beyond it `publish` drops and counts.
pub const OUTBOX_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Flushed batches between the node's thread and the publishing task. While it is full a flush keeps its
/// messages for the next one, inside [`OUTBOX_BYTES_MAX`].
pub const OUTBOX_BATCHES_MAX: usize = 64;

/// Bytes received from one peer and not yet drained. Beyond it the newest messages are dropped and counted.
pub const INBOX_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Batches received from one peer and not yet drained. Beyond it the newest batch is dropped and counted.
pub const INBOX_BATCHES_MAX: usize = 8_192;

/// Most messages taken from a ZeroMQ socket at once.
pub const RECEIVE_BATCH_MESSAGES_MAX: usize = 256;

/// What a queued message costs beside its body, in bytes: topic, handles, allocation.
pub const FRAME_COST_BYTES: usize = 128;

/// Received bodies shorter than this are copied out of the socket's read buffer, so that a small message
/// which lives long (a keyframe) doesn't pin a buffer of 128 KiB.
pub const COPY_BODY_BELOW_BYTES: usize = 4 * 1024;

/// Topics that one member subscribes to, on every link: 21 islands seen whole (roster and two rates of 256 chunks).
/// Further ones are refused and counted; how many islands a node serves must stay below.
pub const TOPICS_MAX: usize = 16_384;

/// Topics that one remote subscriber may hold here. One that asks for more loses its connection.
pub const SUBSCRIBER_TOPICS_MAX: usize = 2 * TOPICS_MAX;

/// Peers that one member links to. Further ones are refused and counted.
pub const LINKS_MAX: usize = 128;

/// Remote subscribers served at once. Further ones lose their connection; they dial again.
pub const SUBSCRIBERS_MAX: usize = 2 * LINKS_MAX;

/// Lifecycle events kept for the mesh's own bookkeeping, per socket. When it overflows the publisher's door
/// takes a snapshot, so nothing drifts.
pub const MONITOR_EVENTS_MAX: usize = 1_024;

/// ZeroMQ PING interval, in milliseconds.
pub const HEARTBEAT_INTERVAL_MS: u64 = 500;

/// A connection silent for this long is closed and dialled again, in milliseconds.
pub const HEARTBEAT_TIMEOUT_MS: u64 = 1_500;

/// From dialling to READY, in milliseconds.
pub const HANDSHAKE_TIMEOUT_MS: u64 = 2_000;

/// Connections of a publisher that may be between accept and READY. Further ones are turned away and dial
/// again.
pub const PENDING_HANDSHAKES_MAX: usize = 128;

/// First wait before a redial, in milliseconds; it doubles up to [`RECONNECT_MAX_MS`].
pub const RECONNECT_MIN_MS: u64 = 100;

/// Longest wait before a redial, in milliseconds.
pub const RECONNECT_MAX_MS: u64 = 1_000;

/// A subscriber whose machine takes no byte for this long loses its connection, in milliseconds.
pub const STALLED_CONNECTION_MS: u64 = 5_000;

/// How long a closing publisher waits for its last messages to leave, in milliseconds.
pub const LINGER_MS: u64 = 200;

const _: () = assert!(MESH_TOPIC_BYTES <= 20, "longer topics cost the publisher's matching dearly");
const _: () = assert!(LINKS_MAX >= 2 * PEERS_MAX, "all nodes of an island, while each is being replaced");
const _: () = assert!(HIGH_WATER_MESSAGES >= 4 * TICK_BURST_MESSAGES_MAX);
const _: () = assert!(SUBSCRIBER_BACKLOG_BYTES_MAX >= 4 * TICK_BURST_BYTES_MAX);
const _: () = assert!(OUTBOX_BYTES_MAX >= 4 * TICK_BURST_BYTES_MAX);
const _: () = assert!(INBOX_BYTES_MAX >= 4 * TICK_BURST_BYTES_MAX);
const _: () = assert!(INBOX_BYTES_MAX >= 2 * (MESH_BODY_BYTES_MAX + FRAME_COST_BYTES));
const _: () = assert!(OUTBOX_BYTES_MAX >= 2 * (MESH_BODY_BYTES_MAX + FRAME_COST_BYTES));
const _: () = assert!(INBOX_BATCHES_MAX >= 4 * TICK_BURST_MESSAGES_MAX, "one message a batch must fit too");
const _: () = assert!(HEARTBEAT_TIMEOUT_MS >= 3 * HEARTBEAT_INTERVAL_MS);
const _: () = assert!(STALLED_CONNECTION_MS > LINK_REMAKE_MS, "the subscriber's own remake comes first");
const _: () =
    assert!(HANDSHAKE_TIMEOUT_MS + RECONNECT_MAX_MS <= LINK_REMAKE_MS, "a remake isn't needed sooner");
const _: () = assert!(RECONNECT_MIN_MS < RECONNECT_MAX_MS);
const _: () = assert!(SUBSCRIBER_TOPICS_MAX >= 2 * TOPICS_MAX, "a resubscription overlaps what it replaces");
