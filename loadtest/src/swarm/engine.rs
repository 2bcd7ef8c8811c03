//! The loop that all bots live in: one thread, one epoll, woken once per slot. In each slot it starts the bots whose
//! turn it is, sends the steps that are due and reads what has come.
//!
//! A wake-up per frame instead would be charged to the server, whose sends do the waking. Driven by the run; it
//! decides neither when the window begins nor when the run ends.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use chunk_sync::client::{Client, ClientEvent, ClientOutput};
use chunk_sync::ids::PlayerId;
use chunk_sync::wire::Welcome;
use mio::event::Event;
use mio::{Events, Poll, Token};

use super::bot::{Bot, Entered, roles};
use super::land::Lands;
use super::limits::{ADDRESSES_MAX, LEAVE_MS_MAX, STALL_MS, STEP_LATE_MS_MAX};
use super::link::{Link, Received};
use super::settle::{Findings, Here, Settled, Settlers, Turn};
use super::sight::{Eyes, Looking, Sight};
use super::tally::{Tally, explained};
use super::walk::Behaviour;
use super::{SwarmArgs, SwarmError};
use crate::limits::{CLIENT_READ_BYTES, CLIENT_SLOT_US, EVENTS_PER_POLL, MOVE_PERIOD_MS};
use crate::pace::{Lateness, Pacer};

/// Counts that only grow.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Traffic {
    pub(super) bytes_received: u64,
    pub(super) moves_sent: u64,
    /// Steps left out: too late, or the socket was full.
    pub(super) moves_left_out: u64,
}

/// All bots.
pub(super) struct Engine {
    args: SwarmArgs,
    poll: Poll,
    bots: Vec<Bot>,
    /// Bots that were started.
    started: usize,
    inside: usize,
    pacer: Pacer,
    began: Instant,
    wake: Duration,
    leaving: bool,
    lands: Lands,
    addresses: BTreeMap<String, SocketAddr>,
    settlers: Option<Settlers>,
    pub(super) sight: Sight,
    pub(super) tally: Tally,
    pub(super) traffic: Traffic,
    /// Since the window began.
    pub(super) lateness: Lateness,
    /// Since the last line of progress.
    pub(super) lately: Lateness,
}

/// What a loop borrows besides the engine.
pub(super) struct Scratch {
    events: Events,
    buffer: Vec<u8>,
}

impl Scratch {
    pub(super) fn new() -> Self {
        Self { events: Events::with_capacity(EVENTS_PER_POLL), buffer: vec![0; CLIENT_READ_BYTES] }
    }
}

impl Engine {
    pub(super) fn new(args: &SwarmArgs, prefix: &str, target: SocketAddr) -> Result<Self, SwarmError> {
        let roles = roles(args).into_iter().enumerate();
        let bots: Vec<Bot> = roles.map(|(number, role)| Bot::new(args, prefix, number, role)).collect();
        Ok(Self {
            poll: Poll::new().map_err(SwarmError::io("open epoll"))?,
            started: 0,
            inside: 0,
            pacer: Pacer::new(args.bots, Duration::from_millis(MOVE_PERIOD_MS)),
            began: Instant::now(),
            wake: Duration::ZERO,
            leaving: false,
            lands: Lands::default(),
            addresses: BTreeMap::from([(args.target.clone(), target)]),
            settlers: (args.behaviour == Behaviour::Settle).then(|| Settlers::new(args.seed, bots.len())),
            sight: Sight::new(bots.len()),
            tally: Tally::default(),
            traffic: Traffic::default(),
            lateness: Lateness::new(),
            lately: Lateness::new(),
            bots,
            args: args.clone(),
        })
    }

    /// Time since the engine was made.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Bots that are in.
    pub(super) fn inside(&self) -> usize {
        self.inside
    }

    /// Whether every bot was started and is in, or has given up.
    pub(super) fn is_settled(&self) -> bool {
        self.started == self.bots.len() && !self.bots.iter().any(Bot::is_on_its_way)
    }

    /// Whether nobody is in and all that was heard says that nobody will be.
    pub(super) fn is_hopeless(&self) -> bool {
        self.tally.is_hopeless(self.bots.len(), self.started, self.elapsed())
    }

    /// Updates received by all bots so far.
    pub(super) fn updates(&self) -> u64 {
        self.bots.iter().map(|bot| bot.eyes.updates()).sum()
    }

    /// Bots that are in, with the island, number and what they see.
    pub(super) fn bots_inside(&self) -> impl Iterator<Item = (&Bot, &Entered)> {
        self.bots.iter().filter_map(|bot| Some((bot, bot.entered.as_ref()?)))
    }

    /// Bots that decode everything.
    pub(super) fn observers(&self) -> usize {
        self.bots.iter().filter(|bot| matches!(bot.eyes, Eyes::Observer(_))).count()
    }

    /// Bots that never read.
    pub(super) fn never_readers(&self) -> usize {
        self.bots.iter().filter(|bot| !bot.reads()).count()
    }

    /// Lateness and latencies count from here.
    pub(super) fn begin_window(&mut self) {
        self.lateness = Lateness::new();
        self.sight.begin_window();
        self.settlers.iter_mut().for_each(Settlers::begin_window);
    }

    /// One slot: waits for it, then does what is due.
    ///
    /// # Errors
    /// When epoll fails.
    pub(super) fn slot(&mut self, scratch: &mut Scratch) -> Result<(), SwarmError> {
        std::thread::sleep(self.wake.saturating_sub(self.elapsed()));
        self.forgive_if_late();
        self.start_due();
        self.send_due();
        self.read_all(scratch)?;
        self.forgive_if_late();
        // Slots that a long one ran over are left out; what was due in them goes in the next.
        self.wake = (self.wake + Duration::from_micros(CLIENT_SLOT_US)).max(self.elapsed());
        Ok(())
    }

    /// After a slot that began or ended far too late no server is blamed for silence: what a bot heard at its beginning
    /// is old by its end, and what came meanwhile is yet to be read. The report calls such a run late.
    fn forgive_if_late(&mut self) {
        if self.elapsed().saturating_sub(self.wake).as_millis() as u64 > STALL_MS {
            let now_ms = self.now_ms();
            let clients = self.bots.iter_mut().filter_map(|bot| bot.client.as_mut());
            clients.for_each(|client| client.forgive_silence(now_ms));
        }
    }

    /// Lets every bot say goodbye and waits, briefly, until the server has closed.
    ///
    /// # Errors
    /// When epoll fails.
    pub(super) fn leave(&mut self, scratch: &mut Scratch) -> Result<(), SwarmError> {
        self.leaving = true;
        for number in 0..self.bots.len() {
            if let Some(client) = &mut self.bots[number].client {
                client.leave();
            }
            self.pump(number);
        }
        let deadline = self.elapsed() + Duration::from_millis(LEAVE_MS_MAX);
        while self.elapsed() < deadline && self.bots.iter().any(|bot| bot.link.is_some()) {
            std::thread::sleep(Duration::from_micros(CLIENT_SLOT_US));
            self.read_all(scratch)?;
        }
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        self.elapsed().as_millis() as u64
    }

    fn start_due(&mut self) {
        let due = (self.elapsed().as_secs_f64() * f64::from(self.args.join_rate)) as usize;
        while self.started < due.min(self.bots.len()) {
            let now_ms = self.now_ms();
            self.bots[self.started].start(&self.args, now_ms);
            self.pump(self.started);
            self.started += 1;
        }
    }

    fn send_due(&mut self) {
        // The time is read for every send: in a long slot the last one is later than the first.
        loop {
            let now = self.elapsed();
            let Some(due) = self.pacer.take_due(now) else { return };
            let Some(client) = &mut self.bots[due.bot].client else { continue };
            client.handle_timer(now.as_millis() as u64);
            self.pump(due.bot);
            if self.bots[due.bot].is_inside() {
                self.lateness.record(due.intended, now);
                self.lately.record(due.intended, now);
                self.settle(due.bot, now);
                self.step(due.bot, due.intended, now);
            }
        }
    }

    /// A settler walks somewhere, or asks for an act.
    fn settle(&mut self, number: usize, now: Duration) {
        let Self { bots, settlers: Some(settlers), .. } = self else { return };
        let Bot { client: Some(client), link: Some(link), walker, documents: Some(documents), .. } =
            &mut bots[number]
        else {
            return;
        };
        let now_ms = now.as_millis() as u64;
        let (place, still) = (client.place(), client.unacknowledged() == 0);
        let here = Here { place, still, tick: client.tick(), now_ms, documents };
        match settlers.turn(number, here) {
            Turn::Rest => walker.set_goal(None),
            Turn::Walk(goal) => walker.set_goal(Some(goal)),
            Turn::Ask(asking) => {
                walker.set_goal(None);
                if link.has_room()
                    && let Ok(act) = client.act(asking.bytes.clone(), now_ms)
                {
                    settlers.asked(number, act, &asking, now_ms);
                }
                self.pump(number);
            }
        }
    }

    /// No settler asks for anything more.
    pub(super) fn stop_asking(&mut self) {
        self.settlers.iter_mut().for_each(Settlers::stop_asking);
    }

    /// Whether every act has its final answer.
    pub(super) fn is_answered(&self) -> bool {
        self.settlers.as_ref().is_none_or(|settlers| settlers.open() == 0)
    }

    /// Nobody waits for answers any longer.
    pub(super) fn give_up_acts(&mut self) {
        self.settlers.iter_mut().for_each(Settlers::give_up);
    }

    /// Compares what settlers were told with what they see.
    pub(super) fn check(&self) -> Option<Findings> {
        let documents = self.bots.iter().enumerate();
        let documents = documents.filter_map(|(number, bot)| Some((number, bot.documents.as_deref()?)));
        self.settlers.as_ref().map(|settlers| settlers.check(documents))
    }

    /// What came of all acts.
    pub(super) fn settled(&self, seconds: f64, findings: Option<Findings>) -> Option<Settled> {
        self.settlers.as_ref().map(|settlers| settlers.settled(seconds, findings))
    }

    /// Sends a bot's next step, unless it stands still.
    fn step(&mut self, number: usize, intended: Duration, now: Duration) {
        let Self { bots, sight, traffic, .. } = self;
        let bot = &mut bots[number];
        let (Some(client), Some(link), Some(entered)) = (&mut bot.client, &mut bot.link, &bot.entered) else {
            return;
        };
        if now.saturating_sub(intended).as_millis() as u64 > STEP_LATE_MS_MAX {
            traffic.moves_left_out += 1;
            return;
        }
        if !link.has_room() {
            traffic.moves_left_out += 1;
            return;
        }
        let been = |place| sight.been(number, place);
        let Some((place, heading)) = bot.walker.step(client.place(), &entered.land, been) else { return };
        let Some(frame) = client.step_to(place, heading, now.as_millis() as u64) else { return };
        match link.send(&frame) {
            Ok(()) => {
                traffic.moves_sent += 1;
                sight.stepped(number, place, intended);
            }
            Err(_) => self.closed(number),
        }
    }

    fn read_all(&mut self, scratch: &mut Scratch) -> Result<(), SwarmError> {
        loop {
            match self.poll.poll(&mut scratch.events, Some(Duration::ZERO)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
                polled => polled.map_err(SwarmError::io("wait for epoll"))?,
            }
            let mut taken = 0;
            for event in &scratch.events {
                taken += 1;
                self.handle(event, &mut scratch.buffer);
            }
            if taken < EVENTS_PER_POLL {
                return Ok(());
            }
        }
    }

    fn handle(&mut self, event: &Event, buffer: &mut [u8]) {
        let number = event.token().0;
        let Some(link) = self.bots.get_mut(number).and_then(|bot| bot.link.as_mut()) else { return };
        match link.finish_connecting() {
            Ok(false) => {}
            Ok(true) => {
                let now_ms = self.now_ms();
                if let Some(client) = &mut self.bots[number].client {
                    client.handle_connected(now_ms);
                }
                self.pump(number);
            }
            Err(_) => return self.closed(number),
        }
        let Some(link) = self.bots[number].link.as_mut().filter(|link| link.is_connected()) else { return };
        if event.is_writable() && link.flush().is_err() {
            return self.closed(number);
        }
        let ends = event.is_read_closed() || event.is_error();
        if !self.leaving && !self.bots[number].reads() && self.bots[number].is_inside() {
            // It doesn't read, but it notices its end.
            if ends {
                self.closed(number);
            }
        } else if event.is_readable() || ends {
            self.read(number, buffer, ends);
        }
    }

    /// Reads what has come. A short read has emptied the socket, unless the end of the stream is behind it.
    fn read(&mut self, number: usize, buffer: &mut [u8], to_the_end: bool) {
        loop {
            let link = self.bots[number].link.as_mut().filter(|link| link.is_connected());
            let Some(link) = link else { return };
            let received = match link.receive(buffer) {
                Received::Bytes(received) => received,
                Received::Nothing => return,
                Received::Closed => return self.closed(number),
            };
            self.traffic.bytes_received += received as u64;
            let now = self.began.elapsed();
            let Self { bots, sight, .. } = self;
            let Bot { client: Some(client), eyes, documents, .. } = &mut bots[number] else { return };
            let documents = documents.as_deref_mut();
            client.handle_bytes(
                &buffer[..received],
                now.as_millis() as u64,
                &mut Looking { eyes, documents, sight, now },
            );
            self.pump(number);
            let bot = &self.bots[number];
            let stops_reading = bot.is_inside() && !bot.reads() && !self.leaving;
            if stops_reading || (received < buffer.len() && !to_the_end) {
                return;
            }
        }
    }

    fn closed(&mut self, number: usize) {
        self.bots[number].link = None;
        let now_ms = self.now_ms();
        if let Some(client) = &mut self.bots[number].client {
            client.handle_closed(now_ms);
        }
        self.pump(number);
    }

    /// Does what a bot's client asks for.
    fn pump(&mut self, number: usize) {
        while let Some(output) = self.bots[number].client.as_mut().and_then(|client| client.poll_output()) {
            match output {
                ClientOutput::Dial(address) => self.dial(number, &address),
                ClientOutput::Send(bytes) => {
                    if let Some(Err(_)) = self.bots[number].link.as_mut().map(|link| link.send(&bytes)) {
                        self.bots[number].link = None;
                        let now_ms = self.now_ms();
                        self.bots[number].client.iter_mut().for_each(|client| client.handle_closed(now_ms));
                    }
                }
                ClientOutput::Hangup if self.leaving => {
                    self.bots[number].link.iter_mut().for_each(Link::finish_sending);
                }
                ClientOutput::Hangup => self.bots[number].link = None,
                ClientOutput::Event(event) => self.note(number, event),
            }
        }
    }

    fn dial(&mut self, number: usize, address: &str) {
        self.bots[number].link = None;
        let (registry, reads) = (self.poll.registry(), self.bots[number].reads());
        let dialled = resolve(&mut self.addresses, address)
            .and_then(|address| Link::dial(registry, address, Token(number), reads));
        match dialled {
            Ok(link) => self.bots[number].link = Some(link),
            Err(error) => {
                self.tally.unreachable(format!("{address}: {error}"));
                let now_ms = self.now_ms();
                self.bots[number].client.iter_mut().for_each(|client| client.handle_closed(now_ms));
            }
        }
    }

    fn note(&mut self, number: usize, event: ClientEvent) {
        match event {
            ClientEvent::Entered(welcome) => self.entered(number, &welcome),
            ClientEvent::Corrected(_) => {
                self.tally.corrections += 1;
                self.bots[number].walker.turn();
            }
            ClientEvent::Rejected { reason, .. } => {
                self.tally.rejected(reason);
                self.lost(number);
            }
            ClientEvent::ProtocolError(text) => {
                let text = if self.bots[number].is_inside() { text } else { explained(text) };
                self.tally.error(text, self.elapsed());
                self.lost(number);
            }
            ClientEvent::Unreachable(door) => self.tally.unreachable(door),
            ClientEvent::Lost => self.lost(number),
            ClientEvent::Ended(_) => {
                self.lost(number);
                self.settlers.iter_mut().for_each(|settlers| settlers.ended(number));
            }
            ClientEvent::Acted(acted) => {
                let now_ms = self.now_ms();
                self.settlers.iter_mut().for_each(|settlers| settlers.acted(number, &acted, now_ms));
            }
        }
    }

    fn entered(&mut self, number: usize, welcome: &Welcome) {
        let player = PlayerId(welcome.player);
        let land = self.lands.get(welcome.seed, welcome.island);
        let bot = &mut self.bots[number];
        bot.walker.set_speed(welcome.walk_mm_per_s);
        bot.entered = Some(Entered { player, node: welcome.node, island: welcome.island, land });
        self.sight.entered(number, player);
        let again = bot.client.iter().flat_map(Client::open_acts).count();
        let now_ms = self.now_ms();
        self.settlers.iter_mut().for_each(|settlers| settlers.entered(number, welcome, again, now_ms));
        self.tally.entries += 1;
        self.inside += 1;
    }

    /// A bot is out, if it was in.
    fn lost(&mut self, number: usize) {
        if self.bots[number].entered.take().is_some() {
            self.inside -= 1;
            self.settlers.iter_mut().for_each(|settlers| settlers.left(number));
            if !self.leaving {
                self.tally.lost(self.bots[number].reads());
            }
        }
    }
}

/// The address behind a name; every name is looked up once.
fn resolve(known: &mut BTreeMap<String, SocketAddr>, address: &str) -> io::Result<SocketAddr> {
    if let Some(found) = known.get(address) {
        return Ok(*found);
    }
    let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let found = address.to_socket_addrs()?.next().ok_or_else(none)?;
    if known.len() < ADDRESSES_MAX {
        known.insert(address.to_owned(), found);
    }
    Ok(found)
}
