//! One connection inside the door: read its first frame, hand it on or say why not.
//!
//! Spawned by the accepting task for each connection; ends with it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::BytesMut;
use chunk_sync::limits::HELLO_BYTES_MAX;
use chunk_sync::wire::{LENGTH_BYTES, RejectCode, kind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::limits::{
    ARRIVAL_WAIT_MS, HELLO_FIRST_BYTES, LEFTOVER_BYTES_MAX, REFUSED_DISCARD_BYTES_MAX, REFUSED_LINGER_MS,
};
use super::{Arrival, DoorStats};

/// Why a connection doesn't get in.
enum Refusal {
    /// Its first bytes are no `Hello` frame.
    Malformed,
    /// It ended without having said a word.
    Left,
}

/// Takes one connection through the door; `spoke` is set as soon as it has said `Hello` or is told why not.
pub(super) async fn greet(
    mut stream: TcpStream,
    peer: SocketAddr,
    hello_wait: Duration,
    spoke: Arc<AtomicBool>,
    arrivals: mpsc::Sender<Arrival>,
    stats: Arc<DoorStats>,
) {
    // Fails only on a connection that is gone already; reading it will tell.
    let _ = stream.set_nodelay(true);
    let read = timeout(hello_wait, read_hello(&mut stream)).await;
    spoke.store(true, Relaxed);
    let mut bytes = match read {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(Refusal::Left)) => {
            stats.left.fetch_add(1, Relaxed);
            return;
        }
        Ok(Err(Refusal::Malformed)) => {
            stats.malformed.fetch_add(1, Relaxed);
            return refuse(stream, RejectCode::Malformed).await;
        }
        Err(_) => {
            stats.timed_out.fetch_add(1, Relaxed);
            return refuse(stream, RejectCode::HelloTimeout).await;
        }
    };
    stats.hellos.fetch_add(1, Relaxed);
    let hello_end = LENGTH_BYTES + claimed_bytes(&bytes).unwrap_or(0);
    let hello = bytes.split_to(hello_end).split_off(LENGTH_BYTES + 1).freeze();
    match timeout(Duration::from_millis(ARRIVAL_WAIT_MS), arrivals.reserve()).await {
        Ok(Ok(place)) => {
            stats.arrived.fetch_add(1, Relaxed);
            place.send(Arrival { stream, peer, hello, leftover: bytes.freeze() });
        }
        // Nobody takes arrivals any more, or not fast enough.
        Ok(Err(_)) => refuse(stream, RejectCode::Closing).await,
        Err(_) => {
            stats.busy.fetch_add(1, Relaxed);
            refuse(stream, RejectCode::Busy).await;
        }
    }
}

/// What the length prefix at the start of `bytes` says, if it is there.
fn claimed_bytes(bytes: &[u8]) -> Option<usize> {
    bytes.first_chunk::<LENGTH_BYTES>().map(|prefix| u32::from_be_bytes(*prefix) as usize)
}

/// Reads until the first frame is whole; what it returns begins with a whole `HELLO` frame.
async fn read_hello(stream: &mut TcpStream) -> Result<BytesMut, Refusal> {
    // A connection that says nothing costs no buffer.
    stream.readable().await.map_err(|_| Refusal::Left)?;
    let mut bytes = BytesMut::with_capacity(HELLO_FIRST_BYTES);
    let mut room_bytes = HELLO_FIRST_BYTES;
    loop {
        let wanted = (room_bytes - bytes.len()) as u64;
        match (&mut *stream).take(wanted).read_buf(&mut bytes).await {
            Ok(0) if bytes.is_empty() => return Err(Refusal::Left),
            // Half a frame, then the end of what it sends: it may still listen.
            Ok(0) => return Err(Refusal::Malformed),
            Ok(_) => {}
            Err(_) => return Err(Refusal::Left),
        }
        if let Some(claimed) = claimed_bytes(&bytes) {
            if claimed == 0 || claimed > HELLO_BYTES_MAX {
                return Err(Refusal::Malformed);
            }
            if bytes.get(LENGTH_BYTES).is_some_and(|first| *first != kind::HELLO) {
                return Err(Refusal::Malformed);
            }
            if bytes.len() >= LENGTH_BYTES + claimed {
                return Ok(bytes);
            }
            room_bytes = LENGTH_BYTES + claimed + LEFTOVER_BYTES_MAX;
        }
    }
}

/// Says why, then waits for the peer to close: closing first, with bytes of the peer unread, would make the
/// system throw the reason away.
async fn refuse(mut stream: TcpStream, code: RejectCode) {
    let farewell = async {
        stream.write_all(&code.frame()).await?;
        stream.shutdown().await?;
        let mut discard = [0; 512];
        let mut discarded_bytes = 0;
        while discarded_bytes < REFUSED_DISCARD_BYTES_MAX {
            match stream.read(&mut discard).await? {
                0 => break,
                some => discarded_bytes += some,
            }
        }
        Ok::<(), io::Error>(())
    };
    // Late or broken: there is nothing more to do for it.
    let _ = timeout(Duration::from_millis(REFUSED_LINGER_MS), farewell).await;
}
