//! Many nodes on one store, in virtual time from a seed: what is asked, answered and told travels through a queue that
//! delays, loses, repeats and reorders; nodes stand still and die; players come and go.

use super::book::Book;
use super::client::{Client, Session};
use super::node::{BEGAN_MS, Input, Node, Places};
use super::town::{CHUNKS, home, middle};
use bytes::Bytes;
use chunk_sync::ids::{Epoch, PlayerId};
use chunk_sync::limits::TICK_MS;
use chunk_sync::random::{RngExt, Stream, stream};
use chunk_sync::records::EPOCH_SESSION;
use chunk_sync::store::{
    Commit, CommitOutcome, EpochStep, MemoryFault, MemoryStore, StoreAnswer, StoreFault, StoreOp, Token,
};
use chunk_sync::wire::ActNumber;
use std::collections::BTreeMap;
use world_node::executor::{Answer, Ask, Told, Verdict, key_of};
use world_node::rules::documents::{BagRecord, Doc};
use world_node::rules::items::ItemKind;
use world_node::rules::site::TilePos;
use world_node::rules::{Action, DocName, Partition};

/// How the network behaves. Chances are of a thousand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Net {
    /// Longest way to the store, one way.
    pub(super) store_ms: u64,
    /// Questions whose answers are lost.
    pub(super) answers_lost: u32,
    /// Of those, the ones that are done later all the same take up to this long.
    pub(super) late_ms: u64,
    /// Longest way to another node.
    pub(super) told_ms: u64,
    pub(super) told_lost: u32,
    pub(super) told_twice: u32,
}

/// A network that only takes a moment.
pub(super) const CALM: Net =
    Net { store_ms: 3, answers_lost: 0, late_ms: 0, told_ms: 20, told_lost: 0, told_twice: 0 };

/// How long a node waits for the store's answer.
const TIMEOUT_MS: u64 = 1_000;

enum Flight {
    /// A question on its way to the store, from a node's incarnation; `heard`: the answer finds its way back.
    Op {
        node: usize,
        source: u32,
        ask: Ask,
        op: StoreOp,
        heard: bool,
    },
    To {
        node: usize,
        source: u32,
        input: Input,
    },
}

pub(super) struct World {
    pub(super) store: MemoryStore,
    pub(super) book: Book,
    /// The book of what the store's replica has, while that is behind.
    replicated: Option<Book>,
    pub(super) now_ms: u64,
    pub(super) net: Net,
    pub(super) nodes: Vec<Option<Node>>,
    /// The incarnation of each node.
    pub(super) sources: Vec<u32>,
    pub(super) clients: BTreeMap<PlayerId, Client>,
    /// What was said to sessions that are over.
    pub(super) unheard: Vec<(ActNumber, Verdict)>,
    pub(super) places: Places,
    pub(super) random: Stream,
    /// What the store answers no longer arrives; it does what it is asked.
    pub(super) deaf: Option<StoreFault>,
    /// What this node asks the store is held back.
    pub(super) held: Option<usize>,
    holding: Vec<Flight>,
    queue: BTreeMap<(u64, u64), Flight>,
    queued: u64,
    tokens: u64,
}

impl World {
    /// `nodes` nodes that follow the four chunks, and nobody there.
    pub(super) fn new(seed: u64, nodes: usize) -> Self {
        let mut world = Self {
            store: MemoryStore::new(BEGAN_MS),
            book: Book::default(),
            replicated: None,
            now_ms: 0,
            net: CALM,
            nodes: Vec::new(),
            sources: Vec::new(),
            clients: BTreeMap::new(),
            unheard: Vec::new(),
            places: Places::default(),
            random: stream(seed, "executor world"),
            deaf: None,
            held: None,
            holding: Vec::new(),
            queue: BTreeMap::new(),
            queued: 0,
            tokens: 0,
        };
        for node in 0..nodes {
            world.nodes.push(None);
            world.sources.push(0);
            world.start(node);
        }
        world
    }

    /// The store misbehaves from now on as told.
    pub(super) fn set_fault(&mut self, fault: MemoryFault) {
        if fault != MemoryFault::StaleReplica {
            self.replicated = None;
        } else if self.replicated.is_none() {
            self.replicated = Some(self.book.clone());
        }
        self.store.set_fault(fault);
    }

    /// Whether the store's replica knows less than the store.
    pub(super) fn is_behind(&self) -> bool {
        self.replicated.is_some()
    }

    /// The store's replica takes over, which may have heard nothing for a while; nodes are told to doubt.
    pub(super) fn fail_over(&mut self) {
        self.store.fail_over(BEGAN_MS + self.now_ms);
        self.book = self.replicated.take().unwrap_or_else(|| self.book.clone());
        (0..self.nodes.len()).for_each(|node| self.post(node, 0, Input::Doubt));
    }

    /// A fresh incarnation of a node; the old one, if there was one, is dead.
    pub(super) fn start(&mut self, node: usize) {
        let source = 1 + self.sources.iter().max().copied().unwrap_or(0);
        self.sources[node] = source;
        let mut fresh = Node::new(source, self.places.clone());
        fresh.inbox.extend(CHUNKS.map(|chunk| Input::Follow(home(chunk))));
        self.nodes[node] = Some(fresh);
    }

    /// A node dies: what it knew is gone, what it sent is on its way.
    pub(super) fn kill(&mut self, node: usize) {
        self.nodes[node] = None;
        for client in self.clients.values_mut() {
            if client.session.is_some_and(|session| session.node == node) {
                client.session = None;
            }
        }
    }

    /// A node dies, and what it sent dies with it.
    pub(super) fn cut(&mut self, node: usize) {
        self.kill(node);
        self.queue.retain(|_, flight| !matches!(flight, Flight::Op { node: from, .. } if *from == node));
    }

    /// What was held back goes to the store now.
    pub(super) fn release(&mut self) {
        self.held = None;
        for flight in std::mem::take(&mut self.holding) {
            self.queue(0, flight);
        }
    }

    /// The node gives up waiting for what is held back, and sends again; the first copies come later.
    pub(super) fn time_out_held(&mut self) {
        self.held = None;
        let holding = std::mem::take(&mut self.holding);
        for mut flight in holding {
            if let Flight::Op { node, ask, heard, .. } = &mut flight {
                *heard = false;
                self.post(*node, 0, Input::Answer(*ask, StoreAnswer::Failed(StoreFault::TimedOut)));
            }
            self.holding.push(flight);
        }
    }

    /// Whether something is held back.
    pub(super) fn is_holding(&self) -> bool {
        !self.holding.is_empty()
    }

    /// A node stands still for a while.
    pub(super) fn pause(&mut self, node: usize, for_ms: u64) {
        let until_ms = self.now_ms + for_ms;
        if let Some(node) = &mut self.nodes[node] {
            node.paused_until_ms = until_ms;
        }
    }

    pub(super) fn node(&mut self, node: usize) -> &mut Node {
        self.nodes[node].as_mut().expect("it lives")
    }

    pub(super) fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    /// Another part of a node saves something of its own in a partition, without a word to others.
    pub(super) fn save(&mut self, node: usize, at: Partition, name: &str) {
        let (token, value) = (self.token(), Bytes::from(self.now_ms.to_string()));
        let commit = Commit::new(key_of(at), token).put(name, value.clone());
        let answer = self.store.call(BEGAN_MS + self.now_ms, &StoreOp::Commit(commit));
        let StoreAnswer::Committed(CommitOutcome::Done { previous, .. }) = answer else { return };
        let delay_ms = self.delay(self.net.store_ms);
        self.post(node, delay_ms, Input::Own(at, [previous, token], vec![(name.into(), Some(value))]));
    }

    pub(super) fn stand(&mut self, player: u64, tile: TilePos) {
        self.places.borrow_mut().insert(PlayerId(player), middle(tile));
    }

    /// A player comes in at a node, as soon as the store lets it.
    pub(super) fn enter(&mut self, player: u64, node: usize) {
        self.client(player).enters = Some(node);
        self.let_in(PlayerId(player));
    }

    pub(super) fn client(&mut self, player: u64) -> &mut Client {
        self.clients.get_mut(&PlayerId(player)).expect("it plays")
    }

    /// One commit takes the session; the connection to the old holder ends, and that hears of it some time.
    fn let_in(&mut self, player: PlayerId) {
        let Some(client) = self.clients.get_mut(&player) else { return };
        let Some(node) = client.enters.filter(|node| self.nodes[*node].is_some()) else { return };
        let home = Partition::Player(player);
        if let Some(old) = client.session.take() {
            let delay_ms = self.delay(self.net.told_ms);
            self.post(old.node, delay_ms, Input::EndSession(player, old.epoch));
            self.post(old.node, delay_ms, Input::Unfollow(home));
        }
        let (to, token) = (Epoch(self.clients[&player].epoch.0 + 1), self.token());
        let raise = EpochStep::Raise { name: EPOCH_SESSION.into(), to: u64::from(to.0) };
        let commit = Commit::new(key_of(home), token).epoch(raise);
        let answer = self.store.call(BEGAN_MS + self.now_ms, &StoreOp::Commit(commit));
        let client = self.clients.get_mut(&player).expect("it plays");
        match answer {
            StoreAnswer::Committed(CommitOutcome::Done { .. }) => {}
            StoreAnswer::Committed(CommitOutcome::Refused(_)) => return client.epoch = to,
            _ => return,
        }
        (client.epoch, client.enters) = (to, None);
        client.session = Some(Session { node, epoch: to });
        let open = client.open();
        self.post(node, 0, Input::Follow(home));
        open.into_iter().for_each(|number| self.say(player, number));
    }

    /// Sends an act to the session's node.
    fn say(&mut self, player: PlayerId, number: ActNumber) {
        let (client, place) = (&self.clients[&player], self.places.borrow()[&player]);
        let Some((act, session)) = client.said(number, place).zip(client.session) else { return };
        self.post(session.node, 0, Input::Begin(act));
    }

    /// A player begins an act; nothing happens when the player is outside.
    pub(super) fn ask(&mut self, player: u64, action: Action) -> Option<ActNumber> {
        let number = self.client(player).ask(action)?;
        self.say(PlayerId(player), number);
        Some(number)
    }

    /// A player acts and hears how it ends, within 30 s.
    pub(super) fn act(&mut self, player: u64, action: Action) -> Verdict {
        let number = self.ask(player, action).expect("the player is in");
        self.hear(player, number)
    }

    /// Runs until an act has ended.
    pub(super) fn hear(&mut self, player: u64, number: ActNumber) -> Verdict {
        let ended = |world: &World| world.verdict(player, number).is_some();
        assert!(
            self.run_until(30_000, ended),
            "no answer to {:?}",
            self.clients[&PlayerId(player)].acts[&number]
        );
        self.verdict(player, number).expect("it ended")
    }

    pub(super) fn verdict(&self, player: u64, number: ActNumber) -> Option<Verdict> {
        self.clients[&PlayerId(player)].acts[&number].verdict
    }

    pub(super) fn bag(&self, player: u64) -> BagRecord {
        match self.book.get(Partition::Player(PlayerId(player)), DocName::Bag) {
            Some(Doc::Bag(bag)) => bag.clone(),
            _ => BagRecord::default(),
        }
    }

    pub(super) fn count(&self, player: u64, kind: ItemKind) -> u32 {
        self.bag(player).items.count(kind)
    }

    /// Up to `most` ms; a few more ticks until the next one that begins.
    fn delay(&mut self, most_ms: u64) -> u64 {
        self.random.random_range(0..=most_ms)
    }

    pub(super) fn chance(&mut self, per_mille: u32) -> bool {
        self.random.random_range(0..1_000) < per_mille
    }

    /// Sends something to a node.
    pub(super) fn post(&mut self, node: usize, delay_ms: u64, input: Input) {
        let source = self.sources[node];
        self.queue(delay_ms, Flight::To { node, source, input });
    }

    fn queue(&mut self, delay_ms: u64, flight: Flight) {
        self.queued += 1;
        self.queue.insert((self.now_ms + delay_ms, self.queued), flight);
    }

    pub(super) fn run(&mut self, for_ms: u64) {
        self.run_until(for_ms, |_| false);
    }

    /// Runs until something is so; false if it isn't within a time.
    pub(super) fn run_until(&mut self, within_ms: u64, is_so: impl Fn(&World) -> bool) -> bool {
        let end_ms = self.now_ms + within_ms;
        while self.now_ms < end_ms {
            if is_so(self) {
                return true;
            }
            self.tick();
        }
        is_so(self)
    }

    pub(super) fn tick(&mut self) {
        let next_ms = self.now_ms + TICK_MS;
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= next_ms) {
            let ((due_ms, _), flight) = entry.remove_entry();
            self.now_ms = self.now_ms.max(due_ms);
            self.arrive(flight);
        }
        self.now_ms = next_ms;
        for player in self.clients.keys().copied().collect::<Vec<_>>() {
            self.let_in(player);
        }
        for node in 0..self.nodes.len() {
            self.tick_node(node);
        }
    }

    fn arrive(&mut self, flight: Flight) {
        match flight {
            // The player has come back meanwhile: a node knows that by the epoch.
            Flight::To { node, input: Input::Unfollow(Partition::Player(player)), .. }
                if self.clients[&player].session.is_some_and(|session| session.node == node) => {}
            Flight::To { node, source, input } if self.sources[node] == source => {
                self.nodes[node].iter_mut().for_each(|node| node.inbox.push(input.clone()));
            }
            Flight::To { .. } => {}
            Flight::Op { node, source, ask, op, heard } => {
                let late_ms = self.store.answer_after_ms();
                let answer = self.call(&op);
                if let Some(fault) = self.deaf.clone().filter(|_| heard) {
                    let input = Input::Answer(ask, StoreAnswer::Failed(fault));
                    return self.queue(TIMEOUT_MS, Flight::To { node, source, input });
                }
                if heard {
                    let delay_ms = self.delay(self.net.store_ms) + late_ms;
                    let input = Input::Answer(ask, answer);
                    self.queue(delay_ms, Flight::To { node, source, input });
                }
            }
        }
    }

    /// The store does something, and what it did is written down.
    fn call(&mut self, op: &StoreOp) -> StoreAnswer {
        let store_ms = BEGAN_MS + self.now_ms;
        let StoreOp::Commit(commit) = op else { return self.store.call(store_ms, op) };
        let before = self.newest(commit);
        let answer = self.store.call(store_ms, op);
        // Also when it doesn't say so it may have done it.
        let after = self.newest(commit);
        if before != after && after == Some(commit.token) {
            let at = self.partition_of(commit);
            self.book.note(at, commit);
        }
        answer
    }

    /// The newest token of a commit's partition, when the store can be reached.
    fn newest(&mut self, commit: &Commit) -> Option<Token> {
        let load = StoreOp::Load { partition: commit.partition.clone() };
        match self.store.call(BEGAN_MS + self.now_ms, &load) {
            StoreAnswer::Loaded(view) => Some(view.token),
            _ => None,
        }
    }

    fn partition_of(&self, commit: &Commit) -> Partition {
        let players = self.clients.keys().copied().map(Partition::Player);
        let trades = self.clients.values().flat_map(|client| client.acts.values());
        let trades = trades.map(|asked| Partition::Trade(asked.id));
        let known = players.chain(CHUNKS.map(home)).chain(trades).find(|at| key_of(*at) == commit.partition);
        known.unwrap_or_else(|| panic!("nobody works on {:?}", commit.partition))
    }

    fn tick_node(&mut self, at: usize) {
        let now_ms = self.now_ms;
        let Some(node) = self.nodes[at].as_mut().filter(|node| node.paused_until_ms <= now_ms) else {
            return;
        };
        node.tick(now_ms);
        let (sent, answers) = (std::mem::take(&mut node.side.sent), node.executor.drain_answers());
        let told = node.executor.drain_told();
        node.executor.drain_changed();
        for (ask, op) in sent {
            self.send(at, ask, op);
        }
        for answer in answers {
            self.answered(at, answer);
        }
        for told in told {
            self.tell(at, &told);
        }
    }

    fn send(&mut self, node: usize, ask: Ask, op: StoreOp) {
        let source = self.sources[node];
        if self.held == Some(node) {
            return self.holding.push(Flight::Op { node, source, ask, op, heard: true });
        }
        let heard = !self.chance(self.net.answers_lost);
        let delay_ms = self.delay(self.net.store_ms);
        if heard {
            return self.queue(delay_ms, Flight::Op { node, source, ask, op, heard });
        }
        let input = Input::Answer(ask, StoreAnswer::Failed(StoreFault::TimedOut));
        self.queue(TIMEOUT_MS, Flight::To { node, source, input });
        // It never arrived, or was done and nobody heard, or is done some time later.
        let late_ms = self.delay(self.net.late_ms);
        match self.random.random_range(0..3) {
            0 => {}
            1 => self.queue(delay_ms, Flight::Op { node, source, ask, op, heard }),
            _ => self.queue(late_ms, Flight::Op { node, source, ask, op, heard }),
        }
    }

    fn tell(&mut self, from: usize, told: &Told) {
        for to in (0..self.nodes.len()).filter(|to| *to != from) {
            let lost = self.chance(self.net.told_lost);
            let times = if lost { 0 } else { 1 + u32::from(self.chance(self.net.told_twice)) };
            for _ in 0..times {
                let delay_ms = self.delay(self.net.told_ms);
                self.post(to, delay_ms, Input::Told(told.clone()));
            }
        }
    }

    /// What a node says of an act reaches the client only while its session is there.
    fn answered(&mut self, node: usize, answer: Answer) {
        let Answer { player, epoch, number, verdict } = answer;
        let client = self.clients.get_mut(&player).expect("it plays");
        if client.session != Some(Session { node, epoch }) {
            return self.unheard.push((number, verdict));
        }
        let asked = client.acts.get_mut(&number).expect("it was asked");
        assert_eq!(asked.verdict, None, "an act is answered once: {number:?} of {player}, {verdict:?}");
        match verdict {
            Verdict::Waiting => asked.waiting = true,
            Verdict::Fenced => panic!("the newest session is fenced at {number:?} of {player}"),
            ended => asked.verdict = Some(ended),
        }
    }
}
