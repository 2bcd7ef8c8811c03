//! One bot's TCP connection: non-blocking, with a small bounded buffer for what its socket doesn't take at once.
//!
//! Called by the engine, which sends nothing while the buffer is full. It knows nothing of frames.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use super::limits::{SEND_BACKLOG_BYTES_MAX, UNREAD_BYTES};

/// What a read gave.
pub(super) enum Received {
    /// So many bytes; there may be more.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// The connection is over.
    Closed,
}

/// Begins to connect a socket for which the kernel keeps little.
fn connect_small(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    set_socket_recv_buffer_size(&socket, UNREAD_BYTES)?;
    match connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(TcpStream::from_std(std::net::TcpStream::from(socket)))
}

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    stream: TcpStream,
    connected: bool,
    backlog: Vec<u8>,
}

impl Link {
    /// Begins to connect. One that will not `read` gets a small receive buffer, before the connection is there: a
    /// buffer that shrinks later takes back room that was promised, and the kernel then drops what the server sends
    /// with everything in it, acknowledgements too.
    ///
    /// # Errors
    /// When there is no socket to be had, or the address is refused at once.
    pub(super) fn dial(
        registry: &Registry,
        address: SocketAddr,
        token: Token,
        reads: bool,
    ) -> io::Result<Self> {
        let mut stream = if reads { TcpStream::connect(address)? } else { connect_small(address)? };
        // Without it a step waits for the acknowledgement of the one before.
        stream.set_nodelay(true)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { stream, connected: false, backlog: Vec::new() })
    }

    /// Whether the connection has just been made. `Err` when it failed.
    pub(super) fn finish_connecting(&mut self) -> io::Result<bool> {
        if self.connected {
            return Ok(false);
        }
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peer_addr() {
            Ok(_) => {
                self.connected = true;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether there is room for a frame of a client.
    pub(super) fn has_room(&self) -> bool {
        self.backlog.len() < SEND_BACKLOG_BYTES_MAX
    }

    /// Sends the bytes, or keeps them while the socket is full; look at [`Self::has_room`] first.
    ///
    /// # Errors
    /// When the connection is over.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.flush()?;
        let written = if self.backlog.is_empty() { self.write(bytes)? } else { 0 };
        self.backlog.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    /// Sends what waits.
    ///
    /// # Errors
    /// When the connection is over.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while !self.backlog.is_empty() {
            let waiting = std::mem::take(&mut self.backlog);
            let written = self.write(&waiting);
            self.backlog = waiting;
            match written? {
                0 => break,
                written => drop(self.backlog.drain(..written)),
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.stream.write(bytes) {
                Ok(0) if !bytes.is_empty() => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => return Ok(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Receives into `buffer`.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Received {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Received::Closed,
                Ok(received) => return Received::Bytes(received),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Received::Nothing,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Received::Closed,
            }
        }
    }

    /// Says that nothing more will be sent; what the server still has to say can be read.
    pub(super) fn finish_sending(&mut self) {
        // A connection that is over already needs no end.
        let _ = self.flush().and_then(|()| self.stream.shutdown(Shutdown::Write));
    }
}
