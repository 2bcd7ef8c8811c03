//! Client sockets of a simulated node: what the core sends goes out in windows, what a client doesn't take waits.
//!
//! Used by the node's host. It gives numbers to connections as the real table does: the last one freed first.

use super::events::WireNo;
use super::limits::{BACKLOG_BYTES_MAX, LINGER_MS, WINDOW_BYTES};
use bytes::{Buf, Bytes, BytesMut};
use chunk_sync::ids::ConnId;
use chunk_sync::wire::{LENGTH_BYTES, kind};
use std::collections::VecDeque;
use world_node::core::ports::{Backlog, ClientSink, Phase};

/// One connection at the node's side.
#[derive(Debug)]
struct Socket {
    wire: WireNo,
    outbox: VecDeque<Bytes>,
    waiting: usize,
    /// Bytes that the client has yet to take.
    under_way: usize,
    stalled_since_ms: u64,
    /// What came and was not read yet.
    inbox: BytesMut,
    /// The client's side ended.
    ended: bool,
    /// Closed by the core: until when it may linger.
    closing_ms: Option<u64>,
    /// The client was told that nothing more comes.
    said_end: bool,
}

/// What is to be done on the network.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// Bytes for the client.
    Bytes(WireNo, Bytes),
    /// Nothing more comes.
    End(WireNo),
}

/// All client sockets of a node.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    slots: Vec<Option<Socket>>,
    free: Vec<u32>,
    now_ms: u64,
    pub outgoing: Vec<Outgoing>,
    /// Frames of ticks that were sent in this tick.
    pub tick_frames: u64,
}

impl Sockets {
    /// A connection said `Hello`.
    pub(super) fn adopt(&mut self, wire: WireNo) -> ConnId {
        let socket = Socket {
            wire,
            outbox: VecDeque::new(),
            waiting: 0,
            under_way: 0,
            stalled_since_ms: self.now_ms,
            inbox: BytesMut::new(),
            ended: false,
            closing_ms: None,
            said_end: false,
        };
        match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = Some(socket);
                ConnId(index)
            }
            None => {
                self.slots.push(Some(socket));
                ConnId(self.slots.len() as u32 - 1)
            }
        }
    }

    pub(super) fn begin_tick(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.tick_frames = 0;
    }

    /// Connections, by number.
    pub(super) fn numbers(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }

    fn get_mut(&mut self, conn: ConnId) -> Option<&mut Socket> {
        self.slots.get_mut(conn.0 as usize)?.as_mut()
    }

    fn of_wire(&mut self, wire: WireNo) -> Option<&mut Socket> {
        self.slots.iter_mut().flatten().find(|socket| socket.wire == wire)
    }

    /// Bytes came; whether the connection is known.
    pub(super) fn receive(&mut self, wire: WireNo, bytes: &[u8]) -> bool {
        let Some(socket) = self.of_wire(wire) else { return false };
        socket.inbox.extend_from_slice(bytes);
        true
    }

    /// The client's side ended; whether the connection is known.
    pub(super) fn end(&mut self, wire: WireNo) -> bool {
        let Some(socket) = self.of_wire(wire) else { return false };
        socket.ended = true;
        true
    }

    /// What the core is to hear of this connection now: bytes (at most `max`) and whether it ended.
    pub(super) fn read(&mut self, conn: ConnId, max: usize) -> Option<(Bytes, bool)> {
        let socket = self.get_mut(conn)?;
        let bytes = socket.inbox.split_to(socket.inbox.len().min(max)).freeze();
        if socket.closing_ms.is_some() {
            return None;
        }
        let ended = socket.ended && socket.inbox.is_empty();
        if ended {
            self.remove(conn);
        }
        Some((bytes, ended))
    }

    fn remove(&mut self, conn: ConnId) {
        if let Some(socket) = self.slots.get_mut(conn.0 as usize).and_then(Option::take) {
            self.free.push(conn.0);
            if !socket.said_end {
                self.outgoing.push(Outgoing::End(socket.wire));
            }
        }
    }

    /// The client took bytes.
    pub(super) fn taken(&mut self, wire: WireNo, bytes: usize, now_ms: u64) {
        let at =
            self.slots.iter().position(|socket| socket.as_ref().is_some_and(|socket| socket.wire == wire));
        let Some(at) = at else { return };
        if let Some(socket) = &mut self.slots[at] {
            socket.under_way = socket.under_way.saturating_sub(bytes);
            socket.stalled_since_ms = now_ms;
        }
        self.pump(at);
    }

    /// Hands over as much as the window allows.
    fn pump(&mut self, at: usize) {
        let Some(Some(socket)) = self.slots.get_mut(at) else { return };
        let room = WINDOW_BYTES.saturating_sub(socket.under_way);
        let take = room.min(socket.waiting);
        if take > 0 {
            let mut bytes = BytesMut::with_capacity(take);
            while bytes.len() < take {
                let Some(first) = socket.outbox.front_mut() else { break };
                let part = first.len().min(take - bytes.len());
                bytes.extend_from_slice(&first[..part]);
                first.advance(part);
                if first.is_empty() {
                    socket.outbox.pop_front();
                }
            }
            socket.waiting -= bytes.len();
            socket.under_way += bytes.len();
            self.outgoing.push(Outgoing::Bytes(socket.wire, bytes.freeze()));
        }
        if socket.waiting == 0 && socket.closing_ms.is_some() && !socket.said_end {
            socket.said_end = true;
            self.outgoing.push(Outgoing::End(socket.wire));
        }
    }

    /// Ends closing connections that are done or late.
    pub(super) fn sweep(&mut self) {
        for index in 0..self.numbers() {
            let now_ms = self.now_ms;
            let done = self.get_mut(ConnId(index)).is_some_and(|socket| {
                socket
                    .closing_ms
                    .is_some_and(|until| now_ms >= until || (socket.ended && socket.waiting == 0))
            });
            if done {
                self.remove(ConnId(index));
            }
        }
    }

    /// The wires of all connections.
    pub(super) fn wires(&self) -> Vec<WireNo> {
        self.slots.iter().flatten().map(|socket| socket.wire).collect()
    }
}

impl ClientSink for Sockets {
    fn backlog(&self, conn: ConnId) -> Backlog {
        let socket = self.slots.get(conn.0 as usize).and_then(Option::as_ref);
        socket.map_or_else(Backlog::default, |socket| Backlog {
            bytes: socket.waiting,
            stalled_since_ms: socket.stalled_since_ms,
        })
    }

    fn send(&mut self, conn: ConnId, header: &[u8], shared: &[Bytes]) {
        if header.get(LENGTH_BYTES) == Some(&kind::TICK) {
            self.tick_frames += 1;
        }
        let now_ms = self.now_ms;
        let Some(socket) = self.get_mut(conn).filter(|socket| socket.closing_ms.is_none()) else { return };
        let mut bytes = BytesMut::from(header);
        shared.iter().for_each(|part| bytes.extend_from_slice(part));
        if socket.waiting == 0 {
            socket.stalled_since_ms = now_ms;
        }
        socket.waiting += bytes.len();
        socket.outbox.push_back(bytes.freeze());
        assert!(socket.waiting <= BACKLOG_BYTES_MAX, "{} bytes wait for one client", socket.waiting);
        self.pump(conn.0 as usize);
    }

    fn close(&mut self, conn: ConnId) {
        let until_ms = self.now_ms + LINGER_MS;
        if let Some(socket) = self.get_mut(conn) {
            socket.closing_ms.get_or_insert(until_ms);
            self.pump(conn.0 as usize);
        }
    }

    fn phase_done(&mut self, _phase: Phase) {}
}
