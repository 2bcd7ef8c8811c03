//! Getting in and staying in: from the allocator's door through a node's to the frames of every tick. Driven by a
//! bot, the terminal client or the simulation; it asks for connections and never opens one.

mod acts;
mod answers;
mod events;

pub use self::acts::{ActError, OpenAct};
pub use self::events::{ClientConfig, ClientEvent, ClientOutput, EndReason, Phase};

use self::acts::Acts;
use self::answers::{Cure, checked_seat, cure, short};
use super::View;
use super::limits::{
    ANSWER_WAIT_MS, KEEP_ALIVE_MS_MIN, OUTPUTS_MAX, RETRY_FIRST_MS, RETRY_MS_MAX, SERVER_SILENT_MS_MAX,
};
use crate::ids::IslandId;
use crate::limits::{ISLAND_EDGE_CHUNKS, SERVER_FRAME_BYTES_MAX};
use crate::place::Place;
use crate::random::hash;
use crate::wire::{
    ActNumber, ActOutcome, Acted, Docs, Framer, Hello, LENGTH_BYTES, MOVE_BODY_BYTES, Move,
    PROTOCOL_VERSIONS, Reject, RejectCode, Seat, TickHeader, Welcome, control, control_frame, decode_land,
    frame, kind,
};
use std::collections::VecDeque;
use std::ops::ControlFlow;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// A connection is asked for.
    Dialing {
        since_ms: u64,
    },
    /// `Hello` was sent.
    Greeting {
        since_ms: u64,
    },
    Inside,
    Waiting {
        until_ms: u64,
    },
    Ended,
}

/// The client's half of the protocol.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    state: State,
    /// The allocator's answer, and how many of its nodes were tried.
    seat: Option<(Seat, usize)>,
    welcome: Option<Box<Welcome>>,
    attempts: u32,
    /// A node's door sent it back to the allocator since it was last inside.
    detoured: bool,
    framer: Framer,
    outputs: VecDeque<ClientOutput>,
    place: Place,
    heading: u8,
    sequence: u16,
    acknowledged: u16,
    tick: u32,
    keep_alive_ms: u64,
    sent_ms: u64,
    heard_ms: u64,
    round_trip_ms: Option<u64>,
    acts: Acts,
}

/// What a frame led to, when it ends a connection.
enum Turn {
    Seated(Seat),
    Rejected(Reject),
    Broken(String),
}

/// Bytes of a `MOVE` frame.
pub type MoveFrame = [u8; LENGTH_BYTES + 1 + MOVE_BODY_BYTES];

impl Client {
    /// A client on its way to the allocator.
    pub fn new(config: ClientConfig, now_ms: u64) -> Self {
        let mut client = Self {
            config,
            state: State::Ended,
            seat: None,
            welcome: None,
            attempts: 0,
            detoured: false,
            framer: Framer::new(SERVER_FRAME_BYTES_MAX),
            outputs: VecDeque::new(),
            place: Place::default(),
            heading: 0,
            sequence: 0,
            acknowledged: 0,
            tick: 0,
            keep_alive_ms: u64::MAX,
            sent_ms: now_ms,
            heard_ms: now_ms,
            round_trip_ms: None,
            acts: Acts::default(),
        };
        client.start_over(now_ms);
        client
    }

    /// Where it is on its way.
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Dialing { .. } | State::Greeting { .. } if self.seat.is_some() => Phase::Node,
            State::Dialing { .. } | State::Greeting { .. } => Phase::Allocator,
            State::Inside => Phase::Inside,
            State::Waiting { .. } => Phase::Waiting,
            State::Ended => Phase::Ended,
        }
    }

    /// What the node said on entry, while inside.
    pub fn welcome(&self) -> Option<&Welcome> {
        self.welcome.as_deref()
    }

    /// Where it stands.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The heading of the last step.
    pub fn heading(&self) -> u8 {
        self.heading
    }

    /// Steps that the node has not acknowledged yet.
    pub fn unacknowledged(&self) -> u16 {
        self.sequence.wrapping_sub(self.acknowledged)
    }

    /// Low bits of the newest tick heard of.
    pub fn tick(&self) -> u32 {
        self.tick
    }

    /// Time of the last keep-alive there and back.
    pub fn round_trip_ms(&self) -> Option<u64> {
        self.round_trip_ms
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<ClientOutput> {
        self.outputs.pop_front()
    }

    /// The connection that was asked for is there.
    pub fn handle_connected(&mut self, now_ms: u64) {
        let State::Dialing { .. } = self.state else { return };
        let mut hello = Hello {
            min: PROTOCOL_VERSIONS.0,
            max: PROTOCOL_VERSIONS.1,
            features: self.config.features.clone(),
            client: self.config.software.clone(),
            ..Hello::default()
        };
        match &self.seat {
            None => {
                hello.name = Some(self.config.name.clone());
                hello.island = self.config.island.map(|island| island.0);
            }
            Some((seat, _)) => hello.ticket = Some(seat.ticket.clone()),
        }
        self.framer = Framer::new(SERVER_FRAME_BYTES_MAX);
        self.state = State::Greeting { since_ms: now_ms };
        (self.sent_ms, self.heard_ms) = (now_ms, now_ms);
        self.push(ClientOutput::Send(control_frame(kind::HELLO, &hello)));
    }

    /// The connection ended, or couldn't be made.
    pub fn handle_closed(&mut self, now_ms: u64) {
        match self.state {
            State::Dialing { .. } | State::Greeting { .. } => {
                let door = self.door();
                self.event(ClientEvent::Unreachable(door));
                self.try_next(now_ms);
            }
            State::Inside => {
                self.event(ClientEvent::Lost);
                self.lost(EndReason::Lost, now_ms);
            }
            State::Waiting { .. } | State::Ended => {}
        }
    }

    /// Takes what came; what a tick brought goes on to `view`.
    pub fn handle_bytes<V: View>(&mut self, bytes: &[u8], now_ms: u64, view: &mut V) {
        if !matches!(self.state, State::Greeting { .. } | State::Inside) {
            return;
        }
        self.heard_ms = now_ms;
        let mut framer = std::mem::replace(&mut self.framer, Framer::new(SERVER_FRAME_BYTES_MAX));
        let mut turn = None;
        let fed = framer.feed(bytes, |kind, body| match self.take(kind, body, now_ms, view) {
            Ok(()) => ControlFlow::Continue(()),
            Err(end) => {
                turn = Some(end);
                ControlFlow::Break(())
            }
        });
        match (turn, fed) {
            (None, Ok(())) => self.framer = framer,
            (None, Err(error)) => self.broken(error.to_string(), now_ms),
            (Some(Turn::Seated(seat)), _) => {
                self.seat = Some((seat, 0));
                self.dial(now_ms);
            }
            (Some(Turn::Rejected(reject)), _) => self.rejected(reject, now_ms),
            (Some(Turn::Broken(why)), _) => self.broken(why, now_ms),
        }
    }

    /// Does what is due by now; call it when [`Self::next_timer_ms`] has come, or just often.
    pub fn handle_timer(&mut self, now_ms: u64) {
        if self.next_timer_ms().is_none_or(|due| now_ms < due) {
            return;
        }
        match self.state {
            State::Waiting { .. } => self.start_over(now_ms),
            State::Dialing { .. } | State::Greeting { .. } => {
                self.push(ClientOutput::Hangup);
                self.handle_closed(now_ms);
            }
            State::Inside if now_ms >= self.silence_ends_ms() => {
                self.push(ClientOutput::Hangup);
                self.handle_closed(now_ms);
            }
            State::Inside => {
                self.sent_ms = now_ms;
                self.push(ClientOutput::Send(frame(kind::PING, &now_ms.to_be_bytes())));
            }
            State::Ended => {}
        }
    }

    /// The program itself stood still until now, and reads only now what came meanwhile: nobody is to blame for the
    /// silence that it slept through.
    pub fn forgive_silence(&mut self, now_ms: u64) {
        self.heard_ms = self.heard_ms.max(now_ms);
    }

    /// When something is due next.
    pub fn next_timer_ms(&self) -> Option<u64> {
        match self.state {
            State::Waiting { until_ms } => Some(until_ms),
            State::Dialing { since_ms } | State::Greeting { since_ms } => Some(since_ms + ANSWER_WAIT_MS),
            State::Inside => {
                Some(self.sent_ms.saturating_add(self.keep_alive_ms).min(self.silence_ends_ms()))
            }
            State::Ended => None,
        }
    }

    /// Steps to `place`: the frame to send, while inside. Whether one may walk there that fast is the node's to say;
    /// a step that it doesn't allow comes back as [`ClientEvent::Corrected`].
    pub fn step_to(&mut self, place: Place, heading: u8, now_ms: u64) -> Option<MoveFrame> {
        if self.state != State::Inside {
            return None;
        }
        self.sequence = self.sequence.wrapping_add(1);
        (self.place, self.heading, self.sent_ms) = (place, heading, now_ms);
        Some(Move { sequence: self.sequence, place, heading }.frame())
    }

    /// Asks for something to be done to the lasting world, while inside. What came of it is told as
    /// [`ClientEvent::Acted`], perhaps only after a lost session and another entry: until then it is resent by itself.
    ///
    /// # Errors
    /// When nothing is asked: not inside, too many acts under way, or too much said.
    pub fn act(&mut self, action: Vec<u8>, now_ms: u64) -> Result<ActNumber, ActError> {
        let welcome = self.welcome.as_deref().filter(|_| self.state == State::Inside);
        let island = welcome.ok_or(ActError::NotInside)?.island;
        let act = self.acts.ask(action, island, self.tick)?;
        self.sent_ms = now_ms;
        self.push(ClientOutput::Send(act.frame()));
        Ok(act.id)
    }

    /// Acts that were asked for and whose outcome is not known, the oldest first. Once the client is done for good,
    /// they are those whose outcome it never heard.
    pub fn open_acts(&self) -> impl Iterator<Item = &OpenAct> {
        self.acts.open()
    }

    /// The island to ask for from now on, at the allocator's door. A player who travels sets it before; when the node
    /// says that the journey has begun, the client goes there by itself.
    pub fn set_island(&mut self, island: Option<IslandId>) {
        self.config.island = island;
    }

    /// Leaves for good.
    pub fn leave(&mut self) {
        match self.state {
            State::Ended => return,
            State::Inside => self.push(ClientOutput::Send(frame(kind::BYE, &[]))),
            _ => {}
        }
        self.push(ClientOutput::Hangup);
        self.end(EndReason::Left);
    }

    fn silence_ends_ms(&self) -> u64 {
        if self.config.minds_silence { self.heard_ms + SERVER_SILENT_MS_MAX } else { u64::MAX }
    }

    /// Handles one frame.
    fn take<V: View>(&mut self, kind: u8, body: &[u8], now_ms: u64, view: &mut V) -> Result<(), Turn> {
        let broken = |error: crate::wire::WireError| Turn::Broken(error.to_string());
        match (kind, self.phase()) {
            (kind::TICK, Phase::Inside) => {
                let (header, blocks) = TickHeader::split(body).map_err(broken)?;
                (self.tick, self.acknowledged) = (header.tick, header.ack);
                if let Some(place) = header.correction {
                    self.place = place;
                    self.corrected(place);
                }
                view.frame(&header, blocks).map_err(|error| Turn::Broken(error.to_string()))
            }
            (kind::PONG, Phase::Inside) => {
                let sent = <[u8; 8]>::try_from(body)
                    .map_err(|_| Turn::Broken("a pong of another ping".to_owned()))?;
                self.round_trip_ms = Some(now_ms.saturating_sub(u64::from_be_bytes(sent)));
                Ok(())
            }
            (kind::LAND, Phase::Inside) => {
                let (chunk, tiles) = decode_land(body).map_err(broken)?;
                view.land(chunk, tiles);
                Ok(())
            }
            (kind::ACTED, Phase::Inside) => {
                self.answered(control(kind, body).map_err(broken)?);
                Ok(())
            }
            (kind::DOCS, Phase::Inside) => {
                let docs: Docs = control(kind, body).map_err(broken)?;
                view.docs(docs).map_err(|error| Turn::Broken(error.to_string()))
            }
            (kind::SEAT, Phase::Allocator) => Err(checked_seat(control(kind, body).map_err(broken)?)),
            (kind::WELCOME, Phase::Node) => {
                let welcome: Welcome = control(kind, body).map_err(broken)?;
                self.enter(welcome, now_ms, view)
            }
            (kind::REJECT, _) => Err(Turn::Rejected(control(kind, body).map_err(broken)?)),
            (kind::SEAT | kind::WELCOME | kind::TICK | kind::PONG | kind::LAND, phase)
            | (kind::ACTED | kind::DOCS, phase) => {
                Err(Turn::Broken(format!("message 0x{kind:02x} in phase {phase:?}")))
            }
            // What a newer server may say besides is none of our business.
            (0x80.., _) => Ok(()),
            _ => Err(Turn::Broken(format!("message 0x{kind:02x} is a client's"))),
        }
    }

    fn enter<V: View>(&mut self, welcome: Welcome, now_ms: u64, view: &mut V) -> Result<(), Turn> {
        if welcome.island_chunks != ISLAND_EDGE_CHUNKS as u16 || welcome.tick_ms == 0 {
            return Err(Turn::Broken("a world of other measures".to_owned()));
        }
        view.begin(&welcome);
        self.place = Place { x: welcome.x, y: welcome.y };
        (self.sequence, self.acknowledged, self.tick) = (0, 0, welcome.tick as u32);
        self.keep_alive_ms = u64::from(welcome.keep_alive_ms).max(KEEP_ALIVE_MS_MIN);
        (self.state, self.attempts, self.sent_ms) = (State::Inside, 0, now_ms);
        self.detoured = false;
        let welcome = Box::new(welcome);
        self.welcome = Some(welcome.clone());
        self.event(ClientEvent::Entered(welcome.clone()));
        self.resume_acts(&welcome);
        Ok(())
    }

    /// Asks again for what was not answered in earlier sessions, in order and before anything new.
    fn resume_acts(&mut self, welcome: &Welcome) {
        let lost = self.acts.enter(welcome);
        for id in lost {
            let (code, reason, text) = (0, String::new(), String::new());
            self.event(ClientEvent::Acted(Acted { id, outcome: ActOutcome::Over, code, reason, text }));
        }
        let again: Vec<Vec<u8>> = self.acts.again().map(|act| act.frame()).collect();
        again.into_iter().for_each(|frame| self.push(ClientOutput::Send(frame)));
    }

    /// Passes on what came of an act that is waited for; anything else was said before, or to nobody.
    fn answered(&mut self, acted: Acted) {
        if self.acts.answer(&acted) {
            let (reason, text) = (short(acted.reason), short(acted.text));
            self.event(ClientEvent::Acted(Acted { reason, text, ..acted }));
        }
    }

    /// The last of several corrections counts; a flood of them takes no room.
    fn corrected(&mut self, place: Place) {
        if let Some(ClientOutput::Event(ClientEvent::Corrected(last))) = self.outputs.back_mut() {
            *last = place;
        } else {
            self.event(ClientEvent::Corrected(place));
        }
    }

    fn rejected(&mut self, reject: Reject, now_ms: u64) {
        let (code, reason, text) = (reject.code, short(reject.reason), short(reject.text));
        let (known, phase) = (RejectCode::from_code(code), self.phase());
        self.event(ClientEvent::Rejected { code, reason, text });
        self.push(ClientOutput::Hangup);
        match (phase, known.map_or(Cure::None, cure)) {
            // Nothing was lost: the way goes on, to the island that the caller has set.
            (Phase::Inside, _) if known == Some(RejectCode::Travelled) => self.start_over(now_ms),
            // The ticket was given before the journey ended: the next one leads there. Once; then it is no hurry.
            (Phase::Node, _) if known == Some(RejectCode::Travelled) && !self.detoured => {
                self.detoured = true;
                self.start_over(now_ms);
            }
            (Phase::Inside, Cure::None) | (_, Cure::None) => self.end(EndReason::Rejected(code)),
            (Phase::Inside, _) => self.lost(EndReason::Rejected(code), now_ms),
            (Phase::Node, Cure::Elsewhere) => self.try_next(now_ms),
            _ => self.wait(now_ms),
        }
    }

    fn broken(&mut self, why: String, now_ms: u64) {
        self.event(ClientEvent::ProtocolError(short(why)));
        self.push(ClientOutput::Hangup);
        match self.phase() {
            Phase::Node => self.try_next(now_ms),
            Phase::Inside => self.lost(EndReason::Protocol, now_ms),
            _ => self.wait(now_ms),
        }
    }

    /// The session is over: start over, or not.
    fn lost(&mut self, reason: EndReason, now_ms: u64) {
        if self.config.rejoin { self.wait(now_ms) } else { self.end(reason) }
    }

    /// This door stays shut: try the next node, or the allocator again after a while.
    fn try_next(&mut self, now_ms: u64) {
        match &mut self.seat {
            Some((seat, tried)) if *tried + 1 < seat.nodes.len() => {
                *tried += 1;
                self.dial(now_ms);
            }
            _ => self.wait(now_ms),
        }
    }

    fn wait(&mut self, now_ms: u64) {
        self.attempts += 1;
        (self.seat, self.welcome) = (None, None);
        if self.attempts >= self.config.attempts_max {
            return self.end(EndReason::NoWayIn);
        }
        let delay_ms = (RETRY_FIRST_MS << (self.attempts - 1).min(16)).min(RETRY_MS_MAX);
        // A crowd that was turned away together does not come back together.
        let spread_ms = hash(u64::from(self.attempts), self.config.name.as_bytes()) % delay_ms;
        self.state = State::Waiting { until_ms: now_ms + delay_ms / 2 + spread_ms };
    }

    fn start_over(&mut self, now_ms: u64) {
        (self.seat, self.welcome) = (None, None);
        self.dial(now_ms);
    }

    fn dial(&mut self, now_ms: u64) {
        self.state = State::Dialing { since_ms: now_ms };
        let address = self.door();
        self.push(ClientOutput::Dial(address));
    }

    /// The address of the door it stands at.
    fn door(&self) -> String {
        let node = self.seat.as_ref().and_then(|(seat, tried)| seat.nodes.get(*tried));
        node.unwrap_or(&self.config.allocator).clone()
    }

    fn end(&mut self, reason: EndReason) {
        self.state = State::Ended;
        (self.seat, self.welcome) = (None, None);
        self.event(ClientEvent::Ended(reason));
    }

    fn event(&mut self, event: ClientEvent) {
        self.push(ClientOutput::Event(event));
    }

    fn push(&mut self, output: ClientOutput) {
        // One input leads to a handful of outputs; only a driver that never polls gets here.
        if self.outputs.len() < OUTPUTS_MAX {
            self.outputs.push_back(output);
        }
    }
}

#[cfg(test)]
mod tests;
