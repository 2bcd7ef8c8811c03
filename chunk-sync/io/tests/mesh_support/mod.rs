//! What the mesh's tests share: meshes on a runtime of their own, waiting with a deadline, and a peer that
//! speaks raw ZMTP 3.0 so that it can misbehave.
#![allow(dead_code, reason = "each test binary uses a part of this")]
#![allow(unreachable_pub, reason = "a module of several test binaries")]
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chunk_sync_io::mesh::{Mesh, MeshFrame, MeshTopic, PeerId, PeerStats, ZmqMesh};
use tokio::runtime::{Builder, Runtime};

pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub fn mesh(runtime: &Runtime) -> ZmqMesh {
    ZmqMesh::bind(runtime.handle().clone(), loopback(0)).unwrap()
}

pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

pub fn port(mesh: &ZmqMesh) -> u16 {
    mesh.endpoint().rsplit_once(':').unwrap().1.parse().unwrap()
}

pub fn topic(number: u16) -> MeshTopic {
    let mut topic = *b"..test....";
    topic[..2].copy_from_slice(&number.to_be_bytes());
    topic
}

pub fn number(value: u64) -> Bytes {
    Bytes::copy_from_slice(&value.to_be_bytes())
}

pub fn stats_of(mesh: &ZmqMesh, peer: PeerId) -> PeerStats {
    mesh.stats().peers.into_iter().find(|stats| stats.peer == peer).unwrap()
}

/// Polls until `condition` holds; fails after [`PATIENCE`].
#[track_caller]
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for: {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Publishes a marker under `topic` until `to` has drained one: from then on the subscription stands. Leaves no
/// marker behind.
#[track_caller]
pub fn prove_subscription(from: &mut ZmqMesh, to: &mut ZmqMesh, topic: MeshTopic) {
    let mut sent = 0_u64;
    let mut inbox = Vec::new();
    wait_for("a marker to arrive", || {
        from.publish(&topic, Bytes::from(format!("marker {sent}")));
        from.flush();
        sent += 1;
        to.drain(&mut inbox);
        inbox.iter().any(|frame| frame.topic == topic)
    });
    let last = format!("marker {}", sent - 1);
    wait_for("the last marker to arrive", || {
        to.drain(&mut inbox);
        inbox.iter().any(|frame| frame.topic == topic && frame.body == last.as_bytes())
    });
}

/// Drains until `count` frames came.
#[track_caller]
pub fn drain_count(mesh: &mut ZmqMesh, count: usize) -> Vec<MeshFrame> {
    let mut frames = Vec::new();
    wait_for("frames to arrive", || {
        mesh.drain(&mut frames);
        frames.len() >= count
    });
    frames
}

/// A seeded stream of bytes for garbage (SplitMix64).
pub struct Garbage(pub u64);

impl Garbage {
    pub fn from_entropy() -> Self {
        use std::hash::BuildHasher;
        let seed = std::hash::RandomState::new().hash_one("garbage");
        eprintln!("garbage seed {seed}");
        Self(seed)
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// One end of a raw ZMTP 3.0 connection.
pub struct RawPeer(pub TcpStream);

impl RawPeer {
    /// Dials and shakes hands as a subscriber.
    pub fn subscriber(port: u16) -> Self {
        let stream = TcpStream::connect(loopback(port)).unwrap();
        Self::shake_hands(stream, "SUB").unwrap()
    }

    /// Shakes hands as `socket_type` on an open stream.
    pub fn shake_hands(mut stream: TcpStream, socket_type: &str) -> std::io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&greeting())?;
        stream.read_exact(&mut [0; 64])?;
        let mut ready = b"\x05READY\x0bSocket-Type".to_vec();
        ready.extend_from_slice(&u32::try_from(socket_type.len()).unwrap().to_be_bytes());
        ready.extend_from_slice(socket_type.as_bytes());
        let mut peer = Self(stream);
        peer.frame(0x04, &ready)?;
        let (flags, body) = peer.read_frame()?;
        assert!(flags & 0x04 != 0 && body.starts_with(b"\x05READY"), "unexpected answer {body:?}");
        Ok(peer)
    }

    /// Writes one frame: flags 0x01 more, 0x04 command.
    pub fn frame(&mut self, flags: u8, body: &[u8]) -> std::io::Result<()> {
        let mut bytes = Vec::with_capacity(body.len() + 9);
        if let Ok(short) = u8::try_from(body.len()) {
            bytes.extend_from_slice(&[flags, short]);
        } else {
            bytes.push(flags | 0x02);
            bytes.extend_from_slice(&(body.len() as u64).to_be_bytes());
        }
        bytes.extend_from_slice(body);
        self.0.write_all(&bytes)
    }

    pub fn message(&mut self, parts: &[&[u8]]) -> std::io::Result<()> {
        for (index, part) in parts.iter().enumerate() {
            self.frame(u8::from(index + 1 < parts.len()), part)?;
        }
        Ok(())
    }

    pub fn subscribe(&mut self, prefix: &[u8]) -> std::io::Result<()> {
        self.frame(0, &[&[1], prefix].concat())
    }

    /// A frame header that claims 2^47 bytes, and nothing after it.
    pub fn claim_huge_frame(&mut self) -> std::io::Result<()> {
        let mut header = vec![0x02];
        header.extend_from_slice(&(1_u64 << 47).to_be_bytes());
        self.0.write_all(&header)
    }

    pub fn read_frame(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.0.read_exact(&mut head)?;
        let length = if head[0] & 0x02 == 0 {
            u64::from(head[1])
        } else {
            let mut long = [head[1]; 8];
            self.0.read_exact(&mut long[1..])?;
            u64::from_be_bytes(long)
        };
        let mut body = vec![0; usize::try_from(length).unwrap()];
        self.0.read_exact(&mut body)?;
        Ok((head[0], body))
    }

    /// Answers pings and swallows the rest until the other side closes.
    pub fn serve_until_closed(mut self) {
        loop {
            match self.read_frame() {
                Ok((flags, body)) if flags & 0x04 != 0 && body.starts_with(b"\x04PING") => {
                    let pong = [b"\x04PONG", &body[7..]].concat();
                    if self.frame(0x04, &pong).is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    assert!(error.kind() != ErrorKind::WouldBlock, "the other side never closed");
                    return;
                }
            }
        }
    }
}

/// Dials `port`, writes `bytes` and waits until the other side hangs up.
pub fn poke(port: u16, bytes: &[u8]) {
    let mut stream = TcpStream::connect(loopback(port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The other side may hang up in the middle: that is an answer.
    let _ = stream.write_all(bytes);
    let mut sink = [0; 1024];
    loop {
        match stream.read(&mut sink) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                assert!(error.kind() != ErrorKind::WouldBlock, "a garbage connection was never closed");
                return;
            }
        }
    }
}

pub fn greeting() -> [u8; 64] {
    let mut greeting = [0; 64];
    greeting[0] = 0xff;
    greeting[9] = 0x7f;
    greeting[10] = 3;
    greeting[12..16].copy_from_slice(b"NULL");
    greeting
}

pub fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind(loopback(0)).unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    (listener, endpoint)
}
