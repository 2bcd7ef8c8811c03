//! Acts: takes them from clients, lets the executor do them, tells clients what came of them, and tells other nodes
//! what this one committed. What an act means is the rules' business, how it is done the executor's.

use super::NodeCore;
use super::island::Island;
use super::ports::Standing;
use super::session::{Sessions, Stage};
use super::standing::Register;
use super::store::{self, Store};
use crate::executor::{Answer, Ask, Change, Executor, NewAct, Port, Told, Verdict, Why};
use crate::limits::{ACT_RING, ACTS_SAVED_MAX};
use crate::rules::{ActId, Action, Actor, ChunkLand, Partition, RuleReject, home};
use bytes::Bytes;
use chunk_sync::blocks::StreamId;
use chunk_sync::ids::{ConnId, EntityId, IslandId, PlayerId, Source};
use chunk_sync::limits::ACTS_OPEN_MAX;
use chunk_sync::mesh_wire::{ChunkCommit, Direct, Topic};
use chunk_sync::place::{ChunkPos, Place};
use chunk_sync::records::{DOC_SESSION, SessionRecord, decode};
use chunk_sync::store::{PartitionView, StoreAnswer, StoreOp, Token};
use chunk_sync::time::Tick;
use chunk_sync::wire::{Act, ActNumber, ActOutcome, Acted, RejectCode, control, kind};

/// What the executor sees of the node.
struct Surroundings<'a> {
    now_ms: u64,
    now: Tick,
    deadline_ms: Option<u64>,
    seed: u64,
    store: &'a mut Store,
    islands: &'a mut Vec<Island>,
    sessions: &'a Sessions,
    register: &'a Register,
}

impl Port for Surroundings<'_> {
    fn now_ms(&self) -> u64 {
        self.now_ms
    }

    fn tick(&self) -> Tick {
        self.now
    }

    fn token(&mut self) -> Token {
        self.store.token()
    }

    fn send(&mut self, ask: Ask, op: StoreOp) {
        self.store.send(store::Ask::Executor(ask), op);
    }

    fn act_deadline_ms(&self) -> Option<u64> {
        self.deadline_ms
    }

    fn land(&mut self, island: IslandId, chunk: ChunkPos) -> Option<ChunkLand> {
        let island = self.islands.iter_mut().find(|i| i.id == island)?;
        Some(island.land(chunk.index()?, self.seed).clone())
    }

    fn is_planned(&self, island: IslandId) -> bool {
        self.register.is_planned(island)
    }

    fn takes_travellers(&self, island: IslandId, home: IslandId) -> bool {
        self.register.takes_travellers(island, home)
    }

    fn place_of(&self, island: IslandId, near: Place, player: PlayerId) -> Option<Place> {
        let here = self.sessions.of_player(player).and_then(|conn| self.sessions.get(conn));
        let found = self.islands.iter().position(|i| i.id == island)?;
        if let Some(session) = here.filter(|s| (s.stage, s.island) == (Stage::Inside, found)) {
            return Some(session.place);
        }
        let chunks = near.chunk().around(1).filter_map(|pos| pos.index());
        let mut ghosts = chunks.flat_map(|index| {
            let chunk = &self.islands[found].chunks[index];
            chunk.ghosts.iter().filter(|ghost| !ghost.is_hidden()).map(move |ghost| (chunk.pos, ghost))
        });
        let entity = EntityId::from(player);
        ghosts.find_map(|(pos, ghost)| {
            let mut listed = ghost.slots().iter();
            listed.find(|(_, who, _)| who.entity == entity).map(|(.., pose)| pose.place(pos))
        })
    }
}

impl NodeCore {
    /// Lets the executor work.
    pub(super) fn with_executor<R>(&mut self, work: impl FnOnce(&mut Executor, &mut dyn Port) -> R) -> R {
        let mut port = Surroundings {
            now_ms: self.now_ms,
            now: self.now,
            deadline_ms: self.register.act_deadline_ms(self.now_ms),
            seed: self.config.seed,
            store: &mut self.store,
            islands: &mut self.islands,
            sessions: &self.sessions,
            register: &self.register,
        };
        work(&mut self.executor, &mut port)
    }

    /// What was counted of acts, transfers and readings.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Another server answers for the store by now, and may lack what was read from the one before.
    pub fn handle_store_changed(&mut self) {
        self.with_executor(|executor, port| executor.doubt(port));
    }

    /// Transfers that somebody saw pending, and decisions that somebody saw remembered at a partition: this node brings
    /// them to their ends.
    pub fn handle_unfinished(&mut self, found: &[(crate::rules::TransferId, Option<Partition>)]) {
        for (id, decided) in found {
            self.executor.finish(*id, *decided);
        }
    }

    /// Takes an act of a client that is inside. An error ends the session with that code.
    pub(super) fn take_act(&mut self, conn: ConnId, body: &[u8]) -> Result<(), RejectCode> {
        let act: Act = control(kind::ACT, body).map_err(|_| RejectCode::Malformed)?;
        let Some(session) = self.sessions.get_mut(conn) else { return Ok(()) };
        let island = self.islands[session.island].id;
        let epoch = act.id.epoch();
        if !act.is_sound() || epoch > session.epoch || (epoch == session.epoch && act.island != island.0) {
            return Err(RejectCode::Malformed);
        }
        if epoch == session.epoch {
            if act.id.number() <= session.last_act {
                // Asked twice in one session: the first answer holds, or is on its way.
                return Ok(());
            }
            session.last_act = act.id.number();
        }
        let (player, session_epoch, place) = (session.player, session.epoch, session.place);
        let home = session.home.unwrap_or(island);
        let name = ActId { player, epoch, island: IslandId(act.island), act: u64::from(act.id.number()) };
        let actor = Actor { player, epoch: session_epoch, act: name, island, home, place, tick: self.now };
        let Some(action) = decode::<Action>(&act.action) else {
            self.say_acted(conn, act.id, Verdict::Refused(Why::Host(RejectCode::BadAct)));
            return Ok(());
        };
        if let Some(why) = self.refused_unseen(&actor, &action, act.id) {
            self.say_acted(conn, act.id, Verdict::Refused(why));
            return Ok(());
        }
        // What is under way here since an earlier session only gets another listener.
        if !self.executor.is_open(player, act.id) && self.executor.open_acts(player) >= ACTS_OPEN_MAX {
            self.say_acted(conn, act.id, Verdict::Refused(Why::Host(RejectCode::TooManyActs)));
            return Ok(());
        }
        let act = NewAct { actor, action, answered: act.answered };
        self.with_executor(|executor, port| executor.begin(act, port));
        Ok(())
    }

    /// Refuses what no rule and no store need be asked about: acts in places that there can't be, or that are far away;
    /// more acts than anybody has.
    fn refused_unseen(&mut self, actor: &Actor, action: &Action, id: ActNumber) -> Option<Why> {
        let known = self.executor.is_open(actor.player, id);
        let again = actor.act.epoch < actor.epoch;
        if let Partition::Chunk(island, chunk) = home(actor.act, action) {
            // What is asked for again may be done, on an island that this node has yet to hear of: memory is asked.
            let there = chunk.index().is_some() && (again || self.register.is_planned(island));
            if !there {
                return Some(Why::Rule(RuleReject::NotThere));
            }
            if !again && chunk.ring(actor.place.chunk()) > ACT_RING {
                return Some(Why::Rule(RuleReject::TooFar));
            }
        }
        let conn = self.sessions.of_player(actor.player)?;
        let session = self.sessions.get_mut(conn)?;
        if again {
            // An honest client had so many under way when its session was lost, and no more.
            session.acts_again += u32::from(!known);
            return (session.acts_again as usize > ACTS_OPEN_MAX)
                .then_some(Why::Host(RejectCode::TooManyActs));
        }
        let earned = self.now.since(session.acts_tick) as u32;
        session.acts_saved = session.acts_saved.saturating_add(earned).min(ACTS_SAVED_MAX);
        session.acts_tick = self.now;
        match session.acts_saved.checked_sub(1) {
            Some(left) => {
                session.acts_saved = left;
                None
            }
            None => Some(Why::Host(RejectCode::TooManyActs)),
        }
    }

    /// Phase 4, first half: acts, transfers, readings go on; what came of them is told.
    pub(super) fn run_acts(&mut self) {
        // While it may not speak nothing begins; what the store answers is taken, and told once it may.
        if self.standing != Standing::Serving {
            return;
        }
        self.follow_chunks();
        self.with_executor(|executor, port| executor.run(port));
        for told in self.executor.drain_told() {
            self.tell(told);
        }
        self.note_changed_docs();
        self.counters.acts = *self.executor.counters();
        for answer in self.executor.drain_answers() {
            self.act_answered(&answer);
        }
    }

    fn act_answered(&mut self, answer: &Answer) {
        let Some(conn) = self.sessions.of_player(answer.player) else { return };
        let inside = self.sessions.get(conn).filter(|s| s.stage == Stage::Inside && s.epoch == answer.epoch);
        if inside.is_none() {
            return;
        }
        match answer.verdict {
            Verdict::Fenced => self.end(conn, Some(RejectCode::Replaced)),
            Verdict::Done(Some(_)) => {
                self.say_acted(conn, answer.number, answer.verdict);
                // Where it stood here no longer counts.
                self.sessions.get_mut(conn).into_iter().for_each(|session| session.travelled = true);
                self.end(conn, Some(RejectCode::Travelled));
            }
            verdict => self.say_acted(conn, answer.number, verdict),
        }
    }

    fn say_acted(&mut self, conn: ConnId, id: ActNumber, verdict: Verdict) {
        let (outcome, why) = match verdict {
            Verdict::Done(_) => (ActOutcome::Done, None),
            Verdict::Refused(why) => (ActOutcome::Refused, Some(why)),
            Verdict::Over => (ActOutcome::Over, None),
            Verdict::Waiting | Verdict::Fenced => {
                (ActOutcome::Waiting, Some(Why::Host(RejectCode::StoreSlow)))
            }
        };
        let (code, reason, text) = why.map_or((0, "", ""), Why::words);
        let acted = Acted { id, outcome, code, reason: reason.to_owned(), text: text.to_owned() };
        self.sessions.mail(conn, acted.frame());
    }

    /// Tells those who follow a partition what this node committed to it.
    fn tell(&mut self, told: Told) {
        let Told { partition, previous, token, event } = told;
        match partition {
            Partition::Chunk(island, chunk) => {
                let commit = ChunkCommit { previous: previous.0, token: token.0, event };
                let topic = Topic::Chunk(island, chunk, StreamId::Roster);
                self.counters.commits_told += 1;
                self.say(topic, commit.bytes());
            }
            Partition::Player(player) => {
                let docs = self.executor.docs(partition);
                let record = docs.and_then(|docs| decode::<SessionRecord>(&docs.get(DOC_SESSION)?.value));
                if let Some(holder) = record.map(|record| record.source).filter(|s| *s != self.config.source)
                {
                    let from = self.config.source;
                    let commit = ChunkCommit { previous: previous.0, token: token.0, event };
                    let message = Direct::Changed { from, player, commit: commit.bytes().to_vec() };
                    self.say_direct(Topic::Direct(holder), &message);
                }
            }
            Partition::Trade(_) => (),
        }
    }

    /// Takes another node's word of a commit.
    pub(super) fn hear_commit(&mut self, partition: Partition, body: &Bytes) -> Option<()> {
        let commit = ChunkCommit::read(body)?;
        let change = Change::read(&commit.event)?;
        let (previous, token) = (Token(commit.previous), Token(commit.token));
        let writes = change.writes();
        self.with_executor(|executor, port| executor.take(partition, previous, token, writes, port));
        Some(())
    }

    /// This node did a commit that the executor knows nothing of.
    pub(super) fn note_commit(
        &mut self,
        partition: Partition,
        previous: Token,
        token: Token,
        change: Change,
    ) {
        let writes = change.writes();
        self.with_executor(|executor, port| executor.take(partition, previous, token, writes, port));
    }

    /// A partition was read for another reason; if it is followed and different, it is read for the executor too.
    pub(super) fn compare_partition(&mut self, partition: Partition, view: &PartitionView) {
        let token = view.token;
        self.with_executor(|executor, port| executor.compare_with(partition, token, port));
    }

    pub(super) fn executor_answered(&mut self, ask: Ask, answer: StoreAnswer) {
        self.with_executor(|executor, port| executor.answer(ask, answer, port));
    }

    /// A player's partition is kept current while this node holds the session.
    pub(super) fn follow_player(&mut self, player: PlayerId) {
        self.with_executor(|executor, port| executor.follow(Partition::Player(player), port));
    }

    pub(super) fn unfollow_player(&mut self, player: PlayerId) {
        self.with_executor(|executor, port| executor.unfollow(Partition::Player(player), port));
    }

    /// Chunks that this node serves, or whose documents its clients see, are kept current.
    fn follow_chunks(&mut self) {
        for at in 0..self.islands.len() {
            for index in 0..self.islands[at].chunks.len() {
                let island = &mut self.islands[at];
                let chunk = &mut island.chunks[index];
                let wanted = chunk.claim.is_held() || chunk.docs_viewers > 0;
                if wanted == chunk.followed {
                    continue;
                }
                chunk.followed = wanted;
                // Nobody says what changes in it while it isn't followed.
                chunk.docs_whole = None;
                let partition = Partition::Chunk(island.id, chunk.pos);
                self.with_executor(|executor, port| {
                    if wanted {
                        executor.follow(partition, port);
                    } else {
                        executor.unfollow(partition, port);
                    }
                });
            }
        }
    }

    /// Who told is known by the link that it came by; its word on a player's partition is only believed about commits.
    pub(super) fn hear_changed(
        &mut self,
        from: Source,
        peer: Source,
        player: PlayerId,
        body: Vec<u8>,
    ) -> Option<()> {
        (from == peer).then_some(())?;
        self.hear_commit(Partition::Player(player), &Bytes::from(body))
    }
}
