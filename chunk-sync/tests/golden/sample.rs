//! Typed values of everything that travels, encoded and decoded by the code under test. Called by the golden tests;
//! it never builds bytes that the library has an encoder for.

use chunk_sync::blocks::{
    Block, FrameNumber, HEADER_BYTES, Header, RosterRecord, StreamId, WIRE_LEVEL, encode_move, moves,
    split_block,
};
use chunk_sync::ids::{NodeId, Source};
use chunk_sync::limits::SERVER_FRAME_BYTES_MAX;
use chunk_sync::place::{ChunkPos, Pose};
use chunk_sync::terrain::ChunkTiles;
use chunk_sync::ticket::{Ticket, TicketKey};
use chunk_sync::wire::{
    Act, Acted, Docs, Framer, Hello, Move, Reject, RejectCode, Seat, TICK_HEADER_BYTES_MAX, TickHeader,
    Welcome, control, control_frame, decode_land, frame, kind, land_frame,
};
use serde::de::DeserializeOwned;
use std::ops::ControlFlow;

/// Something that travels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sample {
    Hello(Hello),
    Seat(Seat),
    Welcome(Welcome),
    Reject(RejectCode),
    Act(Act),
    Acted(Acted),
    Docs(Docs),
    Move(Move),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Bye,
    Land(ChunkPos, Box<ChunkTiles>),
    Tick(TickHeader, Vec<BlockSample>),
    Block(BlockSample),
    Ticket(Ticket),
}

/// A block.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BlockSample {
    pub(crate) stream: StreamId,
    pub(crate) keyframe: bool,
    pub(crate) source: u32,
    pub(crate) chunk: ChunkPos,
    pub(crate) number: u16,
    pub(crate) tick: u16,
    pub(crate) rests_on: u16,
    pub(crate) optional: Option<Vec<u8>>,
    pub(crate) content: Content,
}

/// The payload of a block.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    Roster(Vec<RosterRecord<'static>>),
    Motion(Vec<(u16, Pose)>),
}

/// The key of the ticket example.
pub(crate) fn ticket_key() -> TicketKey {
    TicketKey { id: 1, secret: std::array::from_fn(|at| at as u8) }
}

impl Sample {
    /// Whether it is a frame rather than a part of one.
    pub(crate) fn is_frame(&self) -> bool {
        !matches!(self, Sample::Block(_) | Sample::Ticket(_))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Sample::Hello(hello) => control_frame(kind::HELLO, hello),
            Sample::Seat(seat) => control_frame(kind::SEAT, seat),
            Sample::Welcome(welcome) => control_frame(kind::WELCOME, welcome),
            Sample::Reject(code) => code.frame(),
            Sample::Act(act) => act.frame(),
            Sample::Acted(acted) => acted.frame(),
            Sample::Docs(docs) => docs.frame(),
            Sample::Move(step) => step.frame().to_vec(),
            Sample::Ping(body) => frame(kind::PING, body),
            Sample::Pong(body) => frame(kind::PONG, body),
            Sample::Bye => frame(kind::BYE, &[]),
            Sample::Land(chunk, tiles) => land_frame(*chunk, tiles),
            Sample::Tick(header, blocks) => {
                let blocks: Vec<u8> = blocks.iter().flat_map(BlockSample::encode).collect();
                let mut out = [0; TICK_HEADER_BYTES_MAX];
                let used = header.encode(blocks.len(), &mut out);
                [&out[..used], &blocks].concat()
            }
            Sample::Block(block) => block.encode(),
            Sample::Ticket(ticket) => ticket.sign(&ticket_key()),
        }
    }

    /// What `bytes` say, read as what `self` is.
    pub(crate) fn decode_like(&self, bytes: &[u8]) -> Sample {
        self.try_decode_like(bytes).expect("an example can be read")
    }

    /// Whether `bytes` are taken for one whole thing of this kind.
    pub(crate) fn accepts(&self, bytes: &[u8]) -> bool {
        self.try_decode_like(bytes).is_some()
    }

    fn try_decode_like(&self, bytes: &[u8]) -> Option<Sample> {
        match self {
            Sample::Block(_) => {
                let (block, rest) = split_block(bytes).ok()?;
                rest.is_empty().then(|| Sample::Block(BlockSample::read(block)))
            }
            Sample::Ticket(ticket) => {
                let node = *ticket.nodes.first().unwrap_or(&NodeId(0));
                Ticket::check(bytes, &[ticket_key()], ticket.expires_ms, node).ok().map(Sample::Ticket)
            }
            _ => {
                let (kind, body) = only_frame(bytes)?;
                decode_frame(kind, &body)
            }
        }
    }
}

fn only_frame(bytes: &[u8]) -> Option<(u8, Vec<u8>)> {
    let (mut framer, mut frames) = (Framer::new(SERVER_FRAME_BYTES_MAX), Vec::new());
    framer
        .feed(bytes, |kind, body| {
            frames.push((kind, body.to_vec()));
            ControlFlow::Continue(())
        })
        .ok()?;
    assert!(frames.len() <= 1, "an example is one frame");
    frames.pop().filter(|_| framer.pending_bytes() == 0)
}

fn decode_frame(frame_kind: u8, body: &[u8]) -> Option<Sample> {
    fn message<T: DeserializeOwned>(kind: u8, body: &[u8]) -> T {
        control(kind, body).expect("a control message")
    }
    Some(match frame_kind {
        kind::HELLO => Sample::Hello(message(frame_kind, body)),
        kind::SEAT => Sample::Seat(message(frame_kind, body)),
        kind::WELCOME => Sample::Welcome(message(frame_kind, body)),
        kind::REJECT => {
            let reject: Reject = message(frame_kind, body);
            let code = RejectCode::from_code(reject.code)?;
            assert_eq!((reject.reason.as_str(), reject.text.as_str()), (code.label(), code.text()));
            Sample::Reject(code)
        }
        kind::ACT => Sample::Act(message(frame_kind, body)),
        kind::ACTED => Sample::Acted(message(frame_kind, body)),
        kind::DOCS => Sample::Docs(message(frame_kind, body)),
        kind::MOVE => Sample::Move(Move::decode(body).ok()?),
        kind::PING => Sample::Ping(body.to_vec()),
        kind::PONG => Sample::Pong(body.to_vec()),
        kind::BYE => {
            assert!(body.is_empty());
            Sample::Bye
        }
        kind::LAND => {
            let (chunk, tiles) = decode_land(body).ok()?;
            Sample::Land(chunk, tiles)
        }
        kind::TICK => {
            let (header, mut rest) = TickHeader::split(body).ok()?;
            let mut blocks = Vec::new();
            while !rest.is_empty() {
                let (block, behind) = split_block(rest).ok()?;
                blocks.push(BlockSample::read(block));
                rest = behind;
            }
            Sample::Tick(header, blocks)
        }
        other => panic!("kind 0x{other:02x} can't be read here"),
    })
}

impl BlockSample {
    fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        if let Some(skipped) = &self.optional {
            payload.extend_from_slice(&(skipped.len() as u16).to_be_bytes());
            payload.extend_from_slice(skipped);
        }
        match &self.content {
            Content::Roster(records) => records.iter().for_each(|record| record.encode(&mut payload)),
            Content::Motion(moves) => {
                moves.iter().for_each(|(slot, pose)| encode_move(*slot, *pose, &mut payload))
            }
        }
        let mut out = Vec::new();
        let header = Header {
            stream: self.stream,
            keyframe: self.keyframe,
            level: WIRE_LEVEL,
            optional: self.optional.is_some(),
            source: Source(self.source),
            chunk: self.chunk,
            number: FrameNumber(self.number),
            tick: self.tick,
            rests_on: FrameNumber(self.rests_on),
            payload_bytes: payload.len() as u32,
        };
        header.encode(&mut out);
        assert_eq!(out.len(), HEADER_BYTES);
        out.extend_from_slice(&payload);
        out
    }

    fn read(block: Block<'_>) -> BlockSample {
        let header = block.header;
        assert_eq!(header.level, WIRE_LEVEL);
        let content = match header.stream {
            StreamId::Motion(_) => Content::Motion(moves(block.payload).collect()),
            StreamId::Roster => {
                let (mut records, mut rest) = (Vec::new(), block.payload);
                while !rest.is_empty() {
                    let (record, behind) = RosterRecord::split(rest).expect("a record");
                    records.push(with_static_name(record));
                    rest = behind;
                }
                Content::Roster(records)
            }
        };
        let skipped = block.bytes.len() - HEADER_BYTES - block.payload.len();
        let optional =
            header.optional.then(|| block.bytes[HEADER_BYTES + 2..HEADER_BYTES + skipped].to_vec());
        BlockSample {
            stream: header.stream,
            keyframe: header.keyframe,
            source: header.source.0,
            chunk: header.chunk,
            number: header.number.0,
            tick: header.tick,
            rests_on: header.rests_on.0,
            optional,
            content,
        }
    }
}

/// The record with its name kept for the rest of the test run.
fn with_static_name(record: RosterRecord<'_>) -> RosterRecord<'static> {
    match record {
        RosterRecord::Leave { slot } => RosterRecord::Leave { slot },
        RosterRecord::Enter { slot, entity, epoch, pose, kind, look, name } => {
            let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
            RosterRecord::Enter { slot, entity, epoch, pose, kind, look, name }
        }
    }
}
