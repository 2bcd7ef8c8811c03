//! Named limits of the door; those that clients can notice are in `chunk_sync::limits`.

use chunk_sync::limits::{HELLO_BYTES_MAX, HELLO_WAIT_MS};
use chunk_sync::wire::LENGTH_BYTES;

/// Connections that the system completes before they are accepted. The system may lower it (`somaxconn`).
pub const LISTEN_BACKLOG: u32 = 4_096;
/// Connections that said `Hello` and wait to be taken.
pub const ARRIVALS_MAX: usize = 1_024;
/// How long a connection that said `Hello` waits for room among those; then it is refused with `busy`.
pub const ARRIVAL_WAIT_MS: u64 = 5_000;
/// Pause after the system could not accept (no file descriptors, no memory).
pub const ACCEPT_BACKOFF_MS: u64 = 100;
/// Bytes that a connection gets for its `Hello` before its length is known.
pub const HELLO_FIRST_BYTES: usize = 512;
/// Bytes read behind a `Hello` at most; the rest stays in the socket.
pub const LEFTOVER_BYTES_MAX: usize = HELLO_FIRST_BYTES;
/// How long the peer of a refused connection may take to read why and close.
pub const REFUSED_LINGER_MS: u64 = 1_000;
/// Bytes that a refused peer may still send and have thrown away before the connection is cut.
pub const REFUSED_DISCARD_BYTES_MAX: usize = 256 * 1024;

const _: () = assert!(HELLO_FIRST_BYTES > LENGTH_BYTES + 1 && HELLO_FIRST_BYTES <= HELLO_BYTES_MAX);
const _: () =
    assert!(REFUSED_LINGER_MS <= HELLO_WAIT_MS, "a refused connection doesn't outstay a silent one");
