//! A world of one chunk that behaves, or misbehaves, exactly as a test wants: allocator and node at one address,
//! the real wire, the real stream publisher. What the real servers never do on purpose can only be shown with it.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chunk_sync::blocks::StreamId;
use chunk_sync::ids::{EntityId, Epoch, Source};
use chunk_sync::interest::Rate;
use chunk_sync::limits::CLIENT_BACKLOG_BYTES_MAX;
use chunk_sync::place::{Place, Pose};
use chunk_sync::sync::{Publisher, Who};
use chunk_sync::terrain::LANDING;
use chunk_sync::time::Tick;
use chunk_sync::wire::{
    Act, ActOutcome, Acted, Docs, FEATURE_DOCS, Framer, Hello, Move, RejectCode, Seat, TICK_HEADER_BYTES_MAX,
    TickHeader, Welcome, control, control_frame, frame, kind,
};

const TICK: Duration = Duration::from_millis(100);
const STREAMS: u8 = 0b0_0011;

/// What the world does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Everybody is refused at the allocator.
    Refuses(RejectCode),
    /// It is a web server.
    SpeaksHttp,
    /// After this many ticks one player misses a frame of motion.
    LosesFrame(u64),
    /// After this many ticks one player's connection is closed.
    ClosesOne(u64),
    /// Every tenth move is put back to the landing's middle.
    PutsBack,
    /// Acts are refused.
    RefusesActs,
    /// Acts are acknowledged, and nothing comes of them.
    Lies,
}

struct Player {
    stream: TcpStream,
    framer: Framer,
    out: VecDeque<u8>,
    slot: Option<u16>,
    ack: u16,
    joined: bool,
    put_back: Option<Place>,
    gone: bool,
}

struct World {
    listener: TcpListener,
    address: SocketAddr,
    fault: Fault,
    players: Vec<Player>,
    publisher: Publisher,
    now: Tick,
    started: u64,
    entered: u64,
    moves: u64,
}

/// A world that runs until it is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("non-blocking");
        let address = listener.local_addr().expect("an address");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut world = World {
            listener,
            address,
            fault,
            players: Vec::new(),
            publisher: Publisher::new(Source(5), LANDING),
            now: Tick(70_000),
            started: 70_000,
            entered: 0,
            moves: 0,
        };
        let thread = std::thread::spawn(move || {
            let mut due = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                world.tick();
                due += TICK;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "the world broke");
    }
}

impl World {
    fn tick(&mut self) {
        self.now = Tick(self.now.0 + 1);
        while let Ok((stream, _)) = self.listener.accept() {
            stream.set_nonblocking(true).expect("non-blocking");
            stream.set_nodelay(true).expect("no delay");
            let (framer, out) = (Framer::for_clients(), VecDeque::new());
            let player = Player {
                stream,
                framer,
                out,
                slot: None,
                ack: 0,
                joined: false,
                put_back: None,
                gone: false,
            };
            self.players.push(player);
        }
        let mut players = std::mem::take(&mut self.players);
        players.iter_mut().for_each(|player| self.read(player));
        for player in players.iter().filter(|player| player.gone) {
            player.slot.and_then(|slot| self.publisher.leave(slot, self.now));
        }
        players.retain(|player| !player.gone);
        self.publish(&mut players);
        players.retain(|player| !player.gone);
        self.players = players;
    }

    fn read(&mut self, player: &mut Player) {
        let mut buffer = [0; 4096];
        loop {
            match player.stream.read(&mut buffer) {
                Ok(0) => return player.gone = true,
                Ok(received) => self.take(player, &buffer[..received]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(_) => return player.gone = true,
            }
        }
    }

    fn take(&mut self, player: &mut Player, bytes: &[u8]) {
        let mut framer = std::mem::replace(&mut player.framer, Framer::for_clients());
        let fed = framer.feed(bytes, |kind, body| {
            match kind {
                kind::HELLO => self.hello(player, control(kind, body).expect("a hello")),
                kind::MOVE => self.step(player, Move::decode(body).expect("a move")),
                kind::ACT => self.act(player, &control(kind, body).expect("an act")),
                kind::PING => player.out.extend(frame(kind::PONG, body)),
                kind::BYE => player.gone = true,
                other => panic!("message 0x{other:02x}"),
            }
            ControlFlow::Continue(())
        });
        fed.expect("the swarm speaks the protocol");
        player.framer = framer;
    }

    fn hello(&mut self, player: &mut Player, hello: Hello) {
        if let Fault::Refuses(code) = self.fault {
            player.out.extend(code.frame());
        } else if self.fault == Fault::SpeaksHttp {
            player.out.extend(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        } else if let Some(ticket) = hello.ticket.clone() {
            self.enter(player, &hello, String::from_utf8(ticket).expect("the ticket is the name"));
        } else {
            let name = hello.name.expect("a name or a ticket");
            let nodes = vec![self.address.to_string()];
            let seat = Seat {
                protocol: 1,
                player: 0,
                island: 1,
                nodes,
                ticket: name.into_bytes(),
                ticket_ms: 30_000,
            };
            player.out.extend(control_frame(kind::SEAT, &seat));
        }
    }

    fn enter(&mut self, player: &mut Player, hello: &Hello, name: String) {
        self.entered += 1;
        let number = 7 << 32 | self.entered;
        let middle = LANDING.middle();
        let who = Who { entity: EntityId(number), epoch: Epoch(1), name: name.into(), ..Who::default() };
        player.slot = self.publisher.enter(who, Pose::new(middle, 0), self.now);
        let welcome = Welcome {
            protocol: 1,
            level: 0,
            features: Vec::new(),
            // It passes for two nodes that take turns.
            node: (self.entered % 2) as u32,
            player: number,
            epoch: 1,
            island: 1,
            seed: 3,
            tick: self.now.0,
            tick_ms: 100,
            island_chunks: 16,
            near_ring: 1,
            far_ring: 2,
            walk_mm_per_s: 5_000,
            keep_alive_ms: 1_000,
            x: middle.x,
            y: middle.y,
        };
        player.out.extend(control_frame(kind::WELCOME, &welcome));
        if hello.features.iter().any(|feature| feature == FEATURE_DOCS) {
            Self::nothing(player);
        }
    }

    /// An empty bag, and chunks around with nothing in them.
    fn nothing(player: &mut Player) {
        let chunks = LANDING.around(2).map(Some).chain([None]);
        let docs = chunks.map(|chunk| Docs { chunk, whole: true, ..Docs::default() });
        docs.for_each(|docs| player.out.extend(docs.frame()));
    }

    fn act(&mut self, player: &mut Player, act: &Act) {
        assert!(act.is_sound(), "{act:?}");
        let (id, outcome, code) = match self.fault {
            Fault::Lies => (act.id, ActOutcome::Done, 0),
            Fault::RefusesActs => (act.id, ActOutcome::Refused, 202),
            other => panic!("an act in a world that is {other:?}"),
        };
        let reason = if code == 0 { String::new() } else { "not_there".to_owned() };
        player.out.extend(Acted { id, outcome, code, reason, text: String::new() }.frame());
    }

    fn step(&mut self, player: &mut Player, step: Move) {
        let slot = player.slot.expect("moves come from inside");
        player.ack = step.sequence;
        if matches!(self.fault, Fault::Lies | Fault::RefusesActs) {
            // Settlers go where they like; nobody looks.
            return;
        }
        assert_eq!(step.place.chunk(), LANDING, "a crowd stays in its chunk");
        self.moves += 1;
        let from = self.publisher.slots().pose(slot).expect("the slot is taken").place(LANDING);
        // A second's worth of saved walking, and half a step for where the quanta fall.
        let too_fast = from.distance_squared(step.place) > 672 * 672;
        if self.fault == Fault::PutsBack && (too_fast || self.moves.is_multiple_of(10)) {
            player.put_back = Some(LANDING.middle());
            self.publisher.step(slot, Pose::new(LANDING.middle(), step.heading), self.now);
            return;
        }
        assert!(!too_fast, "{from:?} to {:?} is too fast", step.place);
        self.publisher.step(slot, Pose::new(step.place, step.heading), self.now);
    }

    fn publish(&mut self, players: &mut [Player]) {
        let mut frames = Vec::new();
        self.publisher.publish(self.now, STREAMS, |frame| frames.push(frame));
        let roster = self.publisher.roster_snapshot(self.now);
        let motion = self.publisher.motion_snapshot(Rate::R1, self.now).unwrap_or_default();
        let snapshot = [&roster[..], &motion[..]].concat();
        let age = self.now.0 - self.started;
        for (number, player) in players.iter_mut().filter(|player| player.slot.is_some()).enumerate() {
            let loses = number == 0 && self.fault == Fault::LosesFrame(age);
            let keep = |stream| !(loses && stream != StreamId::Roster);
            let behind = player.out.len() > CLIENT_BACKLOG_BYTES_MAX;
            if !behind {
                let new: Vec<u8> =
                    frames.iter().filter(|f| keep(f.stream)).flat_map(|f| f.bytes.clone()).collect();
                let blocks = if player.joined { &new } else { &snapshot };
                let (tick, correction) = (self.now.0 as u32, player.put_back.take());
                let header = TickHeader {
                    tick,
                    ack: player.ack,
                    reset: !player.joined,
                    correction,
                    ..TickHeader::default()
                };
                let mut head = [0; TICK_HEADER_BYTES_MAX];
                let used = header.encode(blocks.len(), &mut head);
                player.out.extend(&head[..used]);
                player.out.extend(blocks);
            }
            // Whoever is behind gets everything anew once there is room.
            player.joined = !behind;
            if number == 1 && self.fault == Fault::ClosesOne(age) {
                player.gone = true;
            }
        }
        players.iter_mut().for_each(flush);
        for player in players.iter().filter(|player| player.gone) {
            player.slot.and_then(|slot| self.publisher.leave(slot, self.now));
        }
    }
}

fn flush(player: &mut Player) {
    while !player.out.is_empty() {
        let (waiting, _) = player.out.as_slices();
        match player.stream.write(waiting) {
            Ok(written) => drop(player.out.drain(..written)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
            Err(_) => return player.gone = true,
        }
    }
}
