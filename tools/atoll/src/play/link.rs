//! The client's one TCP connection: made on a thread of its own, then read and written without waiting. Used by the
//! loop of `play`. It knows nothing of frames.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Instant;

use super::limits::{ADDRESSES_MAX, CONNECT_WAIT, FAREWELL_WAIT, UNSENT_BYTES_MAX};

/// What happened on the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum News {
    /// Nothing for now.
    Nothing,
    /// It was made.
    Connected,
    /// So many bytes came.
    Bytes(usize),
    /// It ended, or couldn't be made.
    Closed,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    None,
    Dialing(Receiver<io::Result<TcpStream>>),
    Open(TcpStream),
}

/// A connection, or none.
#[derive(Debug, Default)]
pub(crate) struct Link {
    state: State,
    unsent: Vec<u8>,
}

/// Connects to `HOST:PORT`, trying the addresses of the host in turn; waits until that is done.
///
/// # Errors
/// Why the last address couldn't be reached.
pub(crate) fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in address.to_socket_addrs()?.take(ADDRESSES_MAX) {
        match TcpStream::connect_timeout(&address, CONNECT_WAIT) {
            Ok(stream) => {
                // Without it a step waits for the acknowledgement of the one before.
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Link {
    /// Begins to connect; an older connection is dropped, and nothing of it is heard any more.
    pub(crate) fn dial(&mut self, address: String) {
        let (sender, receiver) = sync_channel(1);
        std::thread::spawn(move || {
            // Nobody listens any more if the link was dropped or dialled elsewhere.
            let _ = sender.send(connect(&address));
        });
        *self = Self { state: State::Dialing(receiver), unsent: Vec::new() };
    }

    /// Takes over a connection that was made elsewhere; it is told as if it had been dialled.
    pub(crate) fn adopt(&mut self, stream: TcpStream) {
        let (sender, receiver) = sync_channel(1);
        let _ = sender.send(Ok(stream));
        *self = Self { state: State::Dialing(receiver), unsent: Vec::new() };
    }

    /// Sends the bytes, or keeps them while the socket is full.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        // A server that takes nothing for so long is found out by the silence rule; until then steps are lost.
        if matches!(self.state, State::Open(_)) && self.unsent.len() + bytes.len() <= UNSENT_BYTES_MAX {
            self.unsent.extend_from_slice(bytes);
            self.flush();
        }
    }

    /// Ends the connection so that the other side gets what was sent last: closing with unread bytes would reset it.
    pub(crate) fn hangup(&mut self) {
        self.flush();
        if let State::Open(stream) = std::mem::take(&mut self.state) {
            let began = Instant::now();
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.set_nonblocking(false).and_then(|()| stream.set_read_timeout(Some(FAREWELL_WAIT)));
            let mut bin = [0; 4096];
            while began.elapsed() < FAREWELL_WAIT && matches!((&stream).read(&mut bin), Ok(1..)) {}
        }
        self.unsent.clear();
    }

    /// What happened next; bytes are put at the start of `buffer`.
    pub(crate) fn poll(&mut self, buffer: &mut [u8]) -> News {
        match &mut self.state {
            State::None => News::Nothing,
            State::Dialing(receiver) => match receiver.try_recv() {
                Err(TryRecvError::Empty) => News::Nothing,
                Ok(Ok(stream)) => {
                    self.state = State::Open(stream);
                    News::Connected
                }
                Ok(Err(_)) | Err(TryRecvError::Disconnected) => self.closed(),
            },
            State::Open(stream) => match stream.read(buffer) {
                Ok(0) => self.closed(),
                Ok(received) => {
                    self.flush();
                    News::Bytes(received)
                }
                Err(error) if is_wait(&error) => {
                    self.flush();
                    News::Nothing
                }
                Err(_) => self.closed(),
            },
        }
    }

    fn closed(&mut self) -> News {
        *self = Self::default();
        News::Closed
    }

    /// Writes what the socket takes. An error is left for the next read to find: what was received before it counts.
    fn flush(&mut self) {
        let State::Open(stream) = &mut self.state else { return };
        while !self.unsent.is_empty() {
            match stream.write(&self.unsent) {
                Ok(written @ 1..) => drop(self.unsent.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return,
            }
        }
    }
}

fn is_wait(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
