//! A way to a server that is slow: what it answers comes later, in order, as over a long line. Nothing is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

pub(crate) struct Proxy {
    port: u16,
    delay_ms: Arc<AtomicU64>,
    accepted: Arc<AtomicUsize>,
    listening: JoinHandle<()>,
}

impl Proxy {
    /// To a port of this machine; it ends with the test's runtime.
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let own = listener.local_addr().expect("an address").port();
        let (delay_ms, accepted) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
        let (delay, count) = (Arc::clone(&delay_ms), Arc::clone(&accepted));
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(carry(client, port, Arc::clone(&delay)));
            }
        });
        Self { port: own, delay_ms, accepted, listening }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on answers come this much later.
    pub(crate) fn slow(&self, delay_ms: u64) {
        self.delay_ms.store(delay_ms, Ordering::SeqCst);
    }

    /// From now on nobody gets through who hasn't yet.
    pub(crate) fn refuse(&self) {
        self.listening.abort();
    }

    /// How many connections were made.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

async fn carry(client: TcpStream, port: u16, delay_ms: Arc<AtomicU64>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let (mut asks, mut hears) = client.into_split();
    let (mut answers, mut told) = server.into_split();
    let asking = async move {
        let _ = tokio::io::copy(&mut asks, &mut told).await;
    };
    let (late, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    let answering = async move {
        let mut bytes = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = answers.read(&mut bytes).await {
            let at = Instant::now() + Duration::from_millis(delay_ms.load(Ordering::SeqCst));
            if late.send((at, bytes[..read].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let telling = async move {
        while let Some((at, bytes)) = due.recv().await {
            sleep_until(at).await;
            if hears.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(asking, answering, telling);
}
