//! Who this node is to the cluster: registration, lease, fencing, the registry of the others, the plan.

use super::NodeCore;
use super::island::Island;
use super::ports::Standing;
use super::session::Stage;
use super::store::Ask;
use crate::executor::limits::COMPARE_EVERY_MS;
use chunk_sync::ids::{ConnId, IslandId, NodeId, PlayerId, Source};
use chunk_sync::limits::{ACT_WAIT_MS, LINK_REMAKE_MS, NODE_LEASE_MS, NODE_RENEW_MS, TICK_MS};
use chunk_sync::records::*;
use chunk_sync::store::{
    CommitOutcome, EpochStep, Lease, LeaseStep, PartitionKey, PartitionView, Refusal, StoreAnswer,
};
use chunk_sync::wire::RejectCode;

/// How often registry and plan are read again.
const REGISTRY_EVERY_MS: u64 = 1_000;
/// How often every session is compared with the store: news of a session that was taken by another node may be lost,
/// or die with that node. The same reading shows whether the node's copy of the player's documents is old, and spares the
/// executor one of its own.
const SESSION_CHECK_MS: u64 = 4_000;
const _: () = assert!(SESSION_CHECK_MS < COMPARE_EVERY_MS);
/// Sessions that are looked up per tick after a pause.
const RECHECKS_PER_TICK: usize = 16;
/// How long a node must be silent to be declared dead when its lease ended a whole lease ago. It is time enough to be
/// heard after a start, and to renew the lease after the store was away.
const UNHEARD_MS: u64 = 2 * NODE_RENEW_MS;
const _: () = {
    assert!(UNHEARD_MS > NODE_RENEW_MS + RETRY_MS && UNHEARD_MS > 2 * LINK_REMAKE_MS);
    assert!(UNHEARD_MS < NODE_LEASE_MS);
};
/// How long after its end the lease of an unlisted incarnation is cleared away.
const SWEEP_AFTER_MS: u64 = 10 * NODE_LEASE_MS;
/// How soon a failed question about the own standing is asked again.
const RETRY_MS: u64 = 500;

/// What a question about the registry was for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RegisterAsk {
    /// Registering.
    Register,
    /// Renewing the lease, in the course of things.
    Renew,
    /// Renewing it after the pause of this number; the node publishes nothing until the answer.
    Revalidate(u64),
    /// Clearing away the lease of an incarnation that ended long ago.
    Sweep,
    /// Reading the registry; asked at this time.
    Registry(u64),
    /// Reading the plan.
    Plan,
    /// Taking over a dead incarnation.
    Takeover(Source),
    /// Leaving.
    Leave,
}

/// The node's knowledge of the cluster.
#[derive(Default)]
pub(super) struct Register {
    busy: bool,
    /// It has served: others may know it.
    served: bool,
    retry_ms: u64,
    renew_ms: u64,
    registry_ms: u64,
    plan_number: u64,
    /// Islands of the plan, whoever serves them, and how far each is.
    islands: Vec<(IslandId, IslandPhase)>,
    /// Alive nodes, this one included.
    alive: Vec<(NodeId, Source)>,
    /// When the newest registry that was read was asked for.
    pub asked_ms: u64,
    /// The store's clock at the last grant of the lease, and the world's when that was heard.
    lease: Option<(u64, u64)>,
    /// Sessions that are still to be looked up in this round, how many of them a tick, and when the next one begins.
    recheck: Vec<(ConnId, PlayerId, u64)>,
    recheck_share: usize,
    recheck_ms: u64,
}

impl Register {
    /// Registry and plan are read at the next step.
    pub(super) fn read_now(&mut self) {
        self.registry_ms = 0;
    }

    /// Until when, by the store's clock, a commit for a player may be done that is sent now.
    pub(super) fn act_deadline_ms(&self, now_ms: u64) -> Option<u64> {
        let (store_ms, heard_ms) = self.lease?;
        let store_now_ms = store_ms + now_ms.saturating_sub(heard_ms);
        Some((store_now_ms + ACT_WAIT_MS).min(store_ms + NODE_LEASE_MS))
    }

    /// Whether there is such an island.
    pub(super) fn is_planned(&self, island: IslandId) -> bool {
        self.phase(island).is_some()
    }

    /// Whether somebody who lives on `home` may travel to an island: not while it gets ready, and once it takes no
    /// newcomers only home.
    pub(super) fn takes_travellers(&self, island: IslandId, home: IslandId) -> bool {
        self.phase(island).is_some_and(|phase| match phase {
            IslandPhase::Warming => false,
            IslandPhase::Open => true,
            IslandPhase::Closed => island == home,
        })
    }

    fn phase(&self, island: IslandId) -> Option<IslandPhase> {
        self.islands.iter().find(|(planned, _)| *planned == island).map(|(_, phase)| *phase)
    }

    /// Whether the registry names this incarnation as alive.
    pub(super) fn is_alive(&self, source: Source) -> bool {
        self.alive.iter().any(|(_, s)| *s == source)
    }
}

fn registry() -> PartitionKey {
    PartitionKey::cluster(WORLD, CLUSTER_REGISTRY)
}

impl NodeCore {
    /// Phase 1, first part: what is due.
    pub(super) fn tend_register(&mut self) {
        let now_ms = self.now_ms;
        match self.standing {
            Standing::Fenced | Standing::Stopping => return,
            Standing::Starting => {
                if !self.register.busy && now_ms >= self.register.retry_ms {
                    self.register.busy = true;
                    self.register();
                }
                return;
            }
            Standing::Revalidating => {
                if !self.register.busy && now_ms >= self.register.retry_ms {
                    self.register.busy = true;
                    self.renew(RegisterAsk::Revalidate(self.counters.pauses));
                }
            }
            Standing::Serving => {
                if now_ms >= self.register.renew_ms {
                    self.register.renew_ms = now_ms + NODE_RENEW_MS;
                    self.renew(RegisterAsk::Renew);
                }
            }
        }
        if now_ms >= self.register.registry_ms {
            self.register.registry_ms = now_ms + REGISTRY_EVERY_MS;
            self.store.load(Ask::Register(RegisterAsk::Registry(now_ms)), registry());
            self.store.load(Ask::Register(RegisterAsk::Plan), PartitionKey::cluster(WORLD, CLUSTER_PLAN));
        }
        if now_ms >= self.register.recheck_ms {
            self.recheck_sessions();
        }
        for _ in 0..self.register.recheck_share {
            let Some((conn, player, ticket)) = self.register.recheck.pop() else { break };
            self.store.load(Ask::CheckSession(conn, player, ticket), PartitionKey::player(player));
        }
    }

    fn record(&self, alive: bool) -> NodeRecord {
        NodeRecord {
            node: self.config.node,
            source: self.config.source,
            address: self.config.address.clone(),
            mesh: self.config.mesh.clone(),
            alive,
        }
    }

    fn register(&mut self) {
        let (source, doc, record) = (self.config.source, node_doc(self.config.node), self.record(true));
        self.store.commit(Ask::Register(RegisterAsk::Register), registry(), |commit| {
            commit
                .put(doc.clone(), encode(&record))
                .epoch(EpochStep::Raise { name: doc.into(), to: u64::from(source.0) })
                .lease(LeaseStep::Take {
                    name: lease_name(source).into(),
                    holder: u64::from(source.0),
                    ttl_ms: NODE_LEASE_MS,
                })
        });
    }

    /// Holds the lease for longer, if the incarnation is still the newest and nobody took it over.
    fn renew(&mut self, ask: RegisterAsk) {
        let (source, doc) = (self.config.source, node_doc(self.config.node));
        self.store.commit(Ask::Register(ask), registry(), |commit| {
            commit.epoch(EpochStep::Require { name: doc.into(), value: u64::from(source.0) }).lease(
                LeaseStep::Renew {
                    name: lease_name(source).into(),
                    holder: u64::from(source.0),
                    ttl_ms: NODE_LEASE_MS,
                },
            )
        });
    }

    /// The node says that it leaves, so that nobody waits for its lease to end.
    pub(super) fn deregister(&mut self) {
        let (source, doc, record) = (self.config.source, node_doc(self.config.node), self.record(false));
        self.store.commit(Ask::Register(RegisterAsk::Leave), registry(), |commit| {
            commit
                .put(doc.clone(), encode(&record))
                .epoch(EpochStep::Require { name: doc.into(), value: u64::from(source.0) })
                .lease(LeaseStep::Release { name: lease_name(source).into(), holder: u64::from(source.0) })
        });
    }

    /// The node was away for longer than it may without asking: nothing is published until the store has said that
    /// it is still who it was.
    pub(super) fn revalidate(&mut self, late_ms: u64) {
        self.peers.forgive(self.now_ms);
        self.sessions.forgive(late_ms, self.now_ms);
        if matches!(self.standing, Standing::Serving | Standing::Revalidating) {
            self.standing = Standing::Revalidating;
            self.register.busy = false;
            self.register.retry_ms = 0;
            self.counters.pauses += 1;
        }
    }

    /// Somebody else is this node now: every session goes, nothing is published any more.
    fn fence(&mut self) {
        self.end_all(RejectCode::NodeLost);
        self.standing = Standing::Fenced;
    }

    pub(super) fn register_answer(&mut self, ask: RegisterAsk, answer: StoreAnswer) {
        let outcome = match &answer {
            StoreAnswer::Committed(CommitOutcome::Done { .. }) => Some(true),
            StoreAnswer::Committed(CommitOutcome::Refused(_)) => Some(false),
            _ => None,
        };
        if let (
            RegisterAsk::Register | RegisterAsk::Renew | RegisterAsk::Revalidate(_),
            StoreAnswer::Committed(CommitOutcome::Done { store_ms, .. }),
        ) = (ask, &answer)
        {
            self.register.lease = Some((*store_ms, self.now_ms));
        }
        match (ask, outcome, answer) {
            (RegisterAsk::Register, Some(true), _) => self.serve(),
            // The first try was done, only its answer was lost. That it was is no commit, and a master may say so which is
            // about to lose it: a commit has to confirm it.
            (RegisterAsk::Register, Some(false), answer) if self.is_registered(&answer) => {
                self.begin_again(Standing::Starting, Standing::Revalidating);
            }
            // It was lost with its master, and nobody came in yet: it registers anew.
            (RegisterAsk::Revalidate(_), Some(false), answer)
                if !self.register.served && self.is_unregistered(&answer) =>
            {
                self.begin_again(Standing::Revalidating, Standing::Starting);
            }
            (RegisterAsk::Revalidate(pause), Some(true), _)
                if pause == self.counters.pauses && self.standing == Standing::Revalidating =>
            {
                self.serve();
                self.recheck_sessions();
                self.register.recheck_share = self.register.recheck_share.max(RECHECKS_PER_TICK);
            }
            (RegisterAsk::Register | RegisterAsk::Renew | RegisterAsk::Revalidate(_), Some(false), _) => {
                self.fence()
            }
            (RegisterAsk::Register | RegisterAsk::Revalidate(_), None, _) => {
                self.register.busy = false;
                self.register.retry_ms = self.now_ms + RETRY_MS;
            }
            (RegisterAsk::Renew, None, _) => self.register.renew_ms = self.now_ms + RETRY_MS,
            (RegisterAsk::Registry(asked_ms), _, StoreAnswer::Loaded(view)) => {
                self.registry_loaded(asked_ms, &view)
            }
            (RegisterAsk::Plan, _, StoreAnswer::Loaded(view)) => self.plan_loaded(&view),
            (RegisterAsk::Takeover(source), Some(true), _) => {
                self.counters.takeovers += 1;
                self.register.alive.retain(|(_, s)| *s != source);
            }
            _ => (),
        }
    }

    /// Whether a registration was refused since this very incarnation is registered.
    fn is_registered(&self, answer: &StoreAnswer) -> bool {
        matches!(answer, StoreAnswer::Committed(CommitOutcome::Refused(Refusal::EpochMismatch { current, .. }))
            if *current == u64::from(self.config.source.0))
    }

    /// Asks the store anew in another standing; not when the node is stopping, or fenced, by now.
    fn begin_again(&mut self, from: Standing, to: Standing) {
        if self.standing == from {
            self.standing = to;
            self.register.busy = false;
            self.register.retry_ms = self.now_ms;
        }
    }

    /// Whether a commit was refused since no incarnation as new as this one is registered.
    fn is_unregistered(&self, answer: &StoreAnswer) -> bool {
        matches!(answer, StoreAnswer::Committed(CommitOutcome::Refused(Refusal::EpochMismatch { current, .. }))
            if *current < u64::from(self.config.source.0))
    }

    fn serve(&mut self) {
        if matches!(self.standing, Standing::Starting | Standing::Revalidating) {
            self.standing = Standing::Serving;
            self.register.served = true;
            self.register.busy = false;
            self.register.renew_ms = self.now_ms + NODE_RENEW_MS;
            self.peers.forgive(self.now_ms);
        }
    }

    /// Begins a round: which sessions were taken by others? Asked a few a tick.
    fn recheck_sessions(&mut self) {
        let inside = self.sessions.iter().filter(|(_, s)| s.stage == Stage::Inside);
        self.register.recheck = inside.map(|(conn, s)| (conn, s.player, s.ticket_number)).collect();
        // Spread over the round, with a little to spare.
        let ticks = (SESSION_CHECK_MS / TICK_MS) as usize * 3 / 4;
        self.register.recheck_share = self.register.recheck.len().div_ceil(ticks);
        self.register.recheck_ms = self.now_ms + SESSION_CHECK_MS;
    }

    fn registry_loaded(&mut self, asked_ms: u64, view: &PartitionView) {
        let docs = view.docs.iter().filter(|(name, _)| name.as_str().starts_with("node/"));
        let records: Vec<NodeRecord> = docs.filter_map(|(_, doc)| decode(&doc.value)).collect();
        if view.epoch(&node_doc(self.config.node)) > u64::from(self.config.source.0) {
            return self.fence();
        }
        if asked_ms < self.register.asked_ms {
            // Answers may overtake each other; a newer one was read.
            return;
        }
        self.register.asked_ms = asked_ms;
        self.register.alive = records.iter().filter(|r| r.alive).map(|r| (r.node, r.source)).collect();
        let others = records.iter().filter(|r| r.alive && r.source != self.config.source);
        let live: Vec<(Source, String)> = others.map(|r| (r.source, r.mesh.clone())).collect();
        self.set_peers(&live);
        let me = self.config.source;
        for record in records.iter().filter(|r| r.alive && r.source != me) {
            self.take_over_if_dead(record, view);
        }
        self.sweep_leases(view);
    }

    /// A node that was silent for a whole lease, and whose lease the store calls expired, is declared dead.
    fn take_over_if_dead(&mut self, record: &NodeRecord, view: &PartitionView) {
        let lease = view.leases.get(lease_name(record.source).as_str());
        // What is heard of a silence begins anew with each start and pause of this node. Where nodes come and go faster
        // than a lease ends nobody hears a whole one, but the store goes on counting.
        let long_over = lease.is_some_and(|l| l.expired(view.store_ms.saturating_sub(NODE_LEASE_MS)));
        let silence_ms = if long_over { UNHEARD_MS } else { NODE_LEASE_MS };
        let silent = self
            .peers
            .get(record.source)
            .is_some_and(|peer| self.peers.silent_ms(peer, self.now_ms) > silence_ms);
        if self.standing != Standing::Serving || !silent || lease.is_some_and(|l| !l.expired(view.store_ms)) {
            return;
        }
        let doc = node_doc(record.node);
        let Some(cas) = view.cas(&doc) else { return };
        let dead = NodeRecord { alive: false, ..record.clone() };
        // Without its lease the incarnation can renew nothing any more: it is fenced for good.
        let name = lease_name(record.source);
        let holder = u64::from(record.source.0);
        let held = lease.is_some();
        self.store.commit(Ask::Register(RegisterAsk::Takeover(record.source)), registry(), |commit| {
            let commit = commit.expect(doc.clone(), cas).put(doc, encode(&dead));
            let commit = commit.lease(LeaseStep::RequireExpired { name: name.clone().into() });
            if held { commit.lease(LeaseStep::Release { name: name.into(), holder }) } else { commit }
        });
    }

    /// Whether this node is to look for what dead ones left: no node that it heard a moment ago began before it. A node
    /// that died is listed as alive for a lease and longer, and nothing may wait for that.
    pub fn is_sweeper(&self) -> bool {
        let own = self.config.source;
        let mut alive = self.register.alive.iter().map(|(_, source)| *source);
        self.standing == Standing::Serving
            && !alive.any(|source| source < own && self.peers.is_live(source, self.now_ms))
    }

    /// Whether no node that is listed began before this one.
    fn is_oldest(&self) -> bool {
        let oldest = self.register.alive.iter().map(|(_, source)| *source).min();
        self.standing == Standing::Serving && oldest == Some(self.config.source)
    }

    /// Leases of incarnations that are no longer listed and ended long ago are cleared away, one a reading, by the
    /// oldest node.
    fn sweep_leases(&mut self, view: &PartitionView) {
        if !self.is_oldest() {
            return;
        }
        let over = |lease: &Lease| lease.until_ms + SWEEP_AFTER_MS < view.store_ms;
        let listed =
            |holder: u64| self.register.alive.iter().any(|(_, source)| u64::from(source.0) == holder);
        let Some((name, lease)) = view.leases.iter().find(|(_, l)| over(l) && !listed(l.holder)) else {
            return;
        };
        let (name, holder) = (name.clone(), lease.holder);
        self.store.commit(Ask::Register(RegisterAsk::Sweep), registry(), |commit| {
            commit
                .lease(LeaseStep::RequireExpired { name: name.clone() })
                .lease(LeaseStep::Release { name, holder })
        });
    }

    fn plan_loaded(&mut self, view: &PartitionView) {
        let Some(plan) = view.doc(DOC_PLAN).and_then(|doc| decode::<PlanRecord>(doc)) else { return };
        if plan.number <= self.register.plan_number {
            return;
        }
        self.register.plan_number = plan.number;
        self.register.islands = plan.islands.iter().map(|island| (island.island, island.phase)).collect();
        let (before, me) = (self.islands.len(), self.config.node);
        for island in plan.islands.iter().filter(|i| i.nodes.contains(&me)) {
            if self.island_at(island.island).is_none() {
                self.islands.push(Island::new(self.config.source, island.island, self.config.seed));
            }
        }
        if self.islands.len() != before {
            self.peers.forget_wants();
        }
    }
}
