//! Players who gather, drop, pick up, give, build and demolish, or do what they are told: the client core on real sockets, in the test's own thread. Each act's
//! answer is noted.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use chunk_sync::client::{Client, ClientConfig, ClientEvent, ClientOutput, Phase, Replica};
use chunk_sync::ids::{IslandId, PlayerId};
use chunk_sync::limits::{QUANTA_PER_CHUNK, QUANTA_PER_M, TILES_PER_CHUNK_EDGE};
use chunk_sync::place::{ChunkPos, Place};
use chunk_sync::random::{RngExt, Stream, stream};
use chunk_sync::records::{decode, encode};
use chunk_sync::wire::{ActNumber, ActOutcome, Acted};
use world_node::rules::documents::{BagRecord, GroundRecord};
use world_node::rules::items::{ItemKind, Items};
use world_node::rules::site::TilePos;
use world_node::rules::structures::StructureKind;
use world_node::rules::{ActId, Action};

use crate::process::PATIENCE;

const TURN: Duration = Duration::from_millis(5);
const BUFFER_BYTES: usize = 64 * 1024;
/// Acts refused in a row before a settler looks for a better place: nothing may grow where it stands.
const REFUSED_MAX: u32 = 10;
/// How far it walks then: longer than its reach.
const WALK_STEPS: u32 = 30;
const STEP_EVERY_MS: u64 = 100;

/// One of them.
struct Settler {
    client: Client,
    replica: Replica,
    link: Option<TcpStream>,
    unsent: Vec<u8>,
    random: Stream,
    asked: Option<ActNumber>,
    /// The last answer to what was asked.
    answer: Option<Acted>,
    /// Refused since the last one that was done.
    refused: u32,
    /// Steps to go, and when the next is due.
    walk: (u32, u64),
    heading: u8,
    /// Where it walks, if it was told to.
    goal: Option<Place>,
    /// The island and player of each act that was answered as done.
    done: Vec<ActId>,
}

/// A few of them.
pub(crate) struct Settlers {
    all: Vec<Settler>,
    began: Instant,
    buffer: Vec<u8>,
}

impl Settlers {
    /// Lets `count` of them in, by the same names each time.
    pub(crate) fn enter(allocator: &str, count: usize, seed: u64) -> Self {
        let settler = |number: usize| {
            let name = format!("settler-{number}");
            let mut config = ClientConfig::new(allocator, &name);
            config.features = vec!["docs".to_owned(), "land".to_owned()];
            Settler {
                client: Client::new(config, 0),
                replica: Replica::new(),
                link: None,
                unsent: Vec::new(),
                random: stream(seed, &name),
                asked: None,
                answer: None,
                refused: 0,
                walk: (0, 0),
                heading: 0,
                goal: None,
                done: Vec::new(),
            }
        };
        let mut settlers = Self {
            all: (0..count).map(settler).collect(),
            began: Instant::now(),
            buffer: vec![0; BUFFER_BYTES],
        };
        settlers.drive(PATIENCE, false, |all| all.iter().all(Settler::knows_itself));
        settlers
    }

    /// Lets them act until so many acts of all of them are done.
    pub(crate) fn act_until(&mut self, done: usize) {
        self.drive(PATIENCE, true, |all| all.iter().map(|settler| settler.done.len()).sum::<usize>() >= done);
    }

    /// Lets one of them do this.
    ///
    /// # Errors
    /// The answer, when it is another one than that it is done.
    pub(crate) fn does(&mut self, who: usize, action: &Action) -> Result<ActId, Acted> {
        // A session that was lost comes back.
        self.drive(PATIENCE, false, |all| all[who].knows_itself());
        let now_ms = self.began.elapsed().as_millis() as u64;
        let settler = &mut self.all[who];
        let asked = settler.client.act(encode(action), now_ms).unwrap();
        settler.asked = Some(asked);
        // Whoever travels is nowhere by the time when it is answered.
        let act = settler.named(asked).unwrap();
        self.drive(PATIENCE, false, |all| all[who].asked.is_none());
        let answer = self.all[who].answer.take().unwrap();
        if answer.outcome == ActOutcome::Done { Ok(act) } else { Err(answer) }
    }

    /// Lets one of them walk to a place, until it stands right there.
    pub(crate) fn goes_to(&mut self, who: usize, goal: Place) {
        self.all[who].goal = Some(goal);
        self.drive(PATIENCE, false, |all| all[who].client.place() == goal);
        self.all[who].goal = None;
    }

    /// Lets one of them try this on the tiles around it until it is done on one of them.
    pub(crate) fn does_nearby(&mut self, who: usize, action: impl Fn(TilePos) -> Action) -> ActId {
        let here = TilePos::under(self.all[who].client.place());
        let off = (-3..=2).flat_map(|y| (-3..=2).map(move |x| (x, y)));
        let mut refused = Vec::new();
        for tile in off.map(|(x, y)| TilePos { x: here.x + x, y: here.y + y }) {
            match self.does(who, &action(tile)) {
                Ok(act) => return act,
                Err(acted) if acted.outcome == ActOutcome::Refused => refused.push(acted.reason),
                Err(acted) => panic!("{acted:?}"),
            }
        }
        panic!("no ground is good for it: {refused:?}")
    }

    /// The player of one of them, and the chunk that it is in.
    pub(crate) fn whereabouts(&self, who: usize) -> (PlayerId, ChunkPos) {
        (self.all[who].player().unwrap(), self.all[who].chunk())
    }

    /// The chunk in which one of them sees this structure.
    pub(crate) fn chunk_of(&mut self, who: usize, structure: ActId) -> ChunkPos {
        let (_, here) = self.whereabouts(who);
        let name = format!("structure/{structure}");
        let mut found = None;
        self.drive(PATIENCE, false, |all| {
            let sees = |chunk: &ChunkPos| {
                all[who].replica.chunk_docs(*chunk).is_some_and(|docs| docs.contains_key(&name))
            };
            found = here.around(1).find(sees);
            found.is_some()
        });
        found.unwrap()
    }

    /// Acts that were answered as done.
    pub(crate) fn done(&self) -> Vec<ActId> {
        self.all.iter().flat_map(|settler| settler.done.iter().copied()).collect()
    }

    /// What each has in its bag, by player.
    pub(crate) fn bags(&self) -> BTreeMap<PlayerId, Items> {
        let bags = self.all.iter().filter_map(|settler| Some((settler.player()?, settler.bag()?.items)));
        bags.collect()
    }

    /// The island that each is on.
    pub(crate) fn islands(&self) -> Vec<u32> {
        self.all.iter().filter_map(|settler| Some(settler.client.welcome()?.island)).collect()
    }

    /// Waits until one of them is on this island, and knows what it carries.
    pub(crate) fn arrives(&mut self, who: usize, island: u32) {
        self.drive(PATIENCE, false, |all| {
            let settler = &all[who];
            settler.knows_itself() && settler.client.welcome().is_some_and(|welcome| welcome.island == island)
        });
    }

    /// Waits until nothing that they see is under way.
    pub(crate) fn rest(&mut self) {
        self.drive(PATIENCE, false, |all| {
            all.iter().all(|settler| {
                settler.client.open_acts().next().is_none()
                    && settler.bag().is_some_and(|bag| bag.held == Items::default())
            })
        });
    }

    fn drive(&mut self, within: Duration, act: bool, mut until: impl FnMut(&[Settler]) -> bool) {
        let deadline = Instant::now() + within;
        while !until(&self.all) {
            assert!(
                Instant::now() < deadline,
                "{:?}",
                self.all.iter().map(Settler::shown).collect::<Vec<_>>()
            );
            let now_ms = self.began.elapsed().as_millis() as u64;
            let players: Vec<PlayerId> = self.all.iter().filter_map(Settler::player).collect();
            for settler in &mut self.all {
                settler.turn(now_ms, &mut self.buffer);
                if let Some(goal) = settler.goal {
                    settler.step_towards(goal, now_ms);
                } else if act {
                    settler.act(now_ms, &players);
                }
            }
            // Between two turns, so as not to take the machine from who is asked.
            std::thread::sleep(TURN);
        }
    }
}

impl Settler {
    fn shown(&self) -> String {
        let (phase, place) = (self.client.phase(), self.client.place());
        format!("{phase:?} at {place:?}, {} done, open {:?}", self.done.len(), self.asked)
    }

    fn player(&self) -> Option<PlayerId> {
        self.client.welcome().map(|welcome| PlayerId(welcome.player))
    }

    /// The full name of an act that was asked for on the island where this one is.
    fn named(&self, asked: ActNumber) -> Option<ActId> {
        let welcome = self.client.welcome()?;
        let (player, island) = (PlayerId(welcome.player), IslandId(welcome.island));
        Some(ActId { player, epoch: asked.epoch(), island, act: asked.number().into() })
    }

    fn knows_itself(&self) -> bool {
        self.client.phase() == Phase::Inside && self.replica.own_docs().is_some()
    }

    /// A new player has no document yet, and an empty bag.
    fn bag(&self) -> Option<BagRecord> {
        let docs = self.replica.own_docs()?;
        Some(docs.get("bag").map_or_else(BagRecord::default, |bytes| decode(bytes).unwrap()))
    }

    fn act(&mut self, now_ms: u64, players: &[PlayerId]) {
        if self.asked.is_some() || !self.knows_itself() {
            return;
        }
        if self.refused > REFUSED_MAX {
            (self.refused, self.walk.0) = (0, WALK_STEPS);
            self.heading = self.random.random();
        }
        if self.walk.0 > 0 {
            return self.step(now_ms);
        }
        let Some(action) = self.wish(players) else { return };
        self.asked = self.client.act(encode(&action), now_ms).ok();
    }

    fn step_towards(&mut self, goal: Place, now_ms: u64) {
        let from = self.client.place();
        let angle = ((goal.y - from.y) as f32).atan2((goal.x - from.x) as f32);
        self.heading = (angle / std::f32::consts::TAU * 256.0) as i32 as u8;
        self.walk.0 = self.walk.0.max(1);
        self.step(now_ms);
    }

    fn step(&mut self, now_ms: u64) {
        if now_ms < self.walk.1 {
            return;
        }
        self.walk = (self.walk.0 - 1, now_ms + STEP_EVERY_MS);
        let walk_mm_per_s = self.client.welcome().map_or(0, |welcome| welcome.walk_mm_per_s);
        let quanta = u64::from(walk_mm_per_s) * STEP_EVERY_MS * QUANTA_PER_M as u64 / 1_000_000 * 3 / 4;
        let (from, angle) = (self.client.place(), f32::from(self.heading) / 256.0 * std::f32::consts::TAU);
        let along = |part: f32| (part * quanta as f32) as i32;
        let ahead = Place { x: from.x + along(angle.cos()), y: from.y + along(angle.sin()) };
        let is_near = |goal: &Place| from.distance_squared(*goal) <= (quanta * quanta) as i64;
        let to = self.goal.filter(is_near).unwrap_or(ahead);
        if let Some(frame) = self.client.step_to(to, self.heading, now_ms) {
            self.unsent.extend(frame);
        }
    }

    /// Something that may well be possible.
    fn wish(&mut self, players: &[PlayerId]) -> Option<Action> {
        let bag = self.bag()?;
        let carried: Vec<ItemKind> = bag.items.iter().map(|(kind, _)| kind).collect();
        let pick = |random: &mut Stream, of: usize| random.random_range(0..of);
        match (self.random.random_range(0..8), carried.len()) {
            (0, some) if some > 0 => {
                let item = carried[pick(&mut self.random, some)];
                Some(Action::Drop { item, count: 1 })
            }
            (1 | 2, some) if some > 0 => {
                let item = carried[pick(&mut self.random, some)];
                let others: Vec<PlayerId> =
                    players.iter().copied().filter(|player| Some(*player) != self.player()).collect();
                let to = others[pick(&mut self.random, others.len())];
                Some(Action::Give { to, item, count: 1 })
            }
            (3, _) => self.lying().or_else(|| self.gather()),
            (4, _) => self.standing().or_else(|| self.gather()),
            (5 | 6, _) if bag.items.count(ItemKind::Wood) >= 2 => Some(self.fence()),
            _ => self.gather(),
        }
    }

    fn chunk(&self) -> ChunkPos {
        let place = self.client.place();
        let along = |quanta: i32| quanta.div_euclid(QUANTA_PER_CHUNK) as i16;
        ChunkPos::new(along(place.x), along(place.y))
    }

    fn lying(&self) -> Option<Action> {
        let chunk = self.chunk();
        let docs = self.replica.chunk_docs(chunk)?;
        let grounds = docs.iter().filter_map(|(name, bytes)| Some((name.strip_prefix("ground/")?, bytes)));
        grounds.into_iter().find_map(|(cell, bytes)| {
            let ground: GroundRecord = decode(bytes)?;
            let stack = ground.stacks.iter().find(|stack| stack.count > 0)?;
            Some(Action::PickUp { chunk, cell: cell.parse().ok()?, stack: stack.id, count: 1 })
        })
    }

    fn fence(&mut self) -> Action {
        let here = TilePos::under(self.client.place());
        let mut off = || self.random.random_range(-2..=1);
        let place = TilePos { x: here.x + off(), y: here.y + off() };
        Action::Build { kind: StructureKind::Fence, place, turned: self.random.random_range(0..2) == 0 }
    }

    /// Something that this one has built here.
    fn standing(&self) -> Option<Action> {
        let (chunk, player) = (self.chunk(), self.player()?);
        let docs = self.replica.chunk_docs(chunk)?;
        let structures = docs.keys().filter_map(|name| name.strip_prefix("structure/")?.parse().ok());
        let structure = structures.into_iter().find(|id: &ActId| id.player == player)?;
        Some(Action::Demolish { chunk, structure })
    }

    /// A tile within reach; something may grow there.
    fn gather(&mut self) -> Option<Action> {
        let (chunk, place) = (self.chunk(), self.client.place());
        let edge = TILES_PER_CHUNK_EDGE as i32;
        let tile =
            |quanta: i32, off: i32| quanta.rem_euclid(QUANTA_PER_CHUNK) * edge / QUANTA_PER_CHUNK + off;
        let mut off = || self.random.random_range(-2..=2);
        let (x, y) = (tile(place.x, off()), tile(place.y, off()));
        let on = (0..edge).contains(&x) && (0..edge).contains(&y);
        on.then(|| Action::Gather { chunk, resource: (y * edge + x) as u8 })
    }

    fn turn(&mut self, now_ms: u64, buffer: &mut [u8]) {
        self.obey(now_ms);
        self.receive(now_ms, buffer);
        self.client.handle_timer(now_ms);
        self.obey(now_ms);
        self.flush();
    }

    fn obey(&mut self, now_ms: u64) {
        while let Some(output) = self.client.poll_output() {
            match output {
                ClientOutput::Dial(address) => self.dial(&address, now_ms),
                ClientOutput::Send(bytes) => self.unsent.extend(bytes),
                ClientOutput::Hangup => {
                    self.flush();
                    self.link = None;
                }
                ClientOutput::Event(ClientEvent::Acted(acted)) if acted.outcome != ActOutcome::Waiting => {
                    self.refused = if acted.outcome == ActOutcome::Done { 0 } else { self.refused + 1 };
                    if acted.outcome == ActOutcome::Done {
                        self.done.extend(self.named(acted.id));
                    }
                    if self.asked == Some(acted.id) {
                        self.asked = None;
                        self.answer = Some(acted);
                    }
                }
                // Water, or the shore of the world: another way.
                ClientOutput::Event(ClientEvent::Corrected(_)) => self.heading = self.random.random(),
                ClientOutput::Event(_) => {}
            }
        }
    }

    fn dial(&mut self, address: &str, now_ms: u64) {
        self.unsent.clear();
        let opened = TcpStream::connect(address).and_then(|stream| {
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        });
        self.link = opened.ok();
        match self.link {
            Some(_) => self.client.handle_connected(now_ms),
            None => self.client.handle_closed(now_ms),
        }
    }

    fn receive(&mut self, now_ms: u64, buffer: &mut [u8]) {
        while let Some(link) = &mut self.link {
            match link.read(buffer) {
                Ok(some) if some > 0 => {
                    self.client.handle_bytes(&buffer[..some], now_ms, &mut self.replica);
                    self.obey(now_ms);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => {
                    self.link = None;
                    self.client.handle_closed(now_ms);
                    self.obey(now_ms);
                }
            }
        }
    }

    fn flush(&mut self) {
        while let Some(link) = &mut self.link
            && !self.unsent.is_empty()
        {
            match link.write(&self.unsent) {
                Ok(some) => drop(self.unsent.drain(..some)),
                // A broken connection is noticed by reading it.
                Err(_) => return,
            }
        }
    }
}
