//! What the planner is told, and when: arrivals, seats by island, how long openings take. The part of the core that decides
//! and has plans written down.

use super::AllocatorCore;
use super::seating::applicant;
use crate::demand::{Demand, Forecast, Outlook, Peak};
use crate::islands::{Island, Islands};
use crate::limits::{LEAD_MS_MAX, LEADS_REMEMBERED_MAX, MEAN_SESSION_MS, SPARE_SEATS};
use crate::planner::{Situation, decide};
use crate::policy::Policy;
use chunk_sync::ids::IslandId;
use chunk_sync::records::{IslandPhase, IslandRecord, PlanRecord};
use std::collections::{BTreeMap, VecDeque};

/// What is known for the next decision.
#[derive(Debug)]
pub(super) struct Planning {
    forecast: Forecast,
    peak: Peak,
    islands: Islands,
    leads: Leads,
    demand: Demand,
    reasons: Vec<String>,
    due_ms: u64,
}

/// How long the last openings took.
#[derive(Debug, Default)]
struct Leads {
    /// When each island that gets ready was decided on, or when there first was a node to serve it.
    began: BTreeMap<IslandId, u64>,
    took_ms: VecDeque<u64>,
}

impl Leads {
    /// Notes which islands of a plan get ready, and how long those took that have.
    fn note(&mut self, plan: &PlanRecord, any_node: bool, now_ms: u64) {
        let warms = |id: &IslandId| {
            let at = plan.islands.binary_search_by_key(id, |island| island.island);
            at.is_ok()
        };
        self.began.retain(|id, _| warms(id));
        for island in &plan.islands {
            match island.phase {
                IslandPhase::Warming if any_node => {
                    // What was decided by an allocator before this one, or before there was a node, began now.
                    self.began.entry(island.island).or_insert(now_ms);
                }
                IslandPhase::Warming => {}
                IslandPhase::Open | IslandPhase::Closed => {
                    let Some(began_ms) = self.began.remove(&island.island) else { continue };
                    self.took_ms.push_back(now_ms.saturating_sub(began_ms).min(LEAD_MS_MAX));
                    if self.took_ms.len() > LEADS_REMEMBERED_MAX {
                        self.took_ms.pop_front();
                    }
                }
            }
        }
    }

    /// The time within which nineteen of twenty were open.
    fn p95_ms(&self) -> Option<u64> {
        let mut sorted: Vec<u64> = self.took_ms.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get((sorted.len() * 19).div_ceil(20).saturating_sub(1)).copied()
    }
}

impl Planning {
    pub(super) fn new(policy: &Policy) -> Self {
        Self {
            forecast: Forecast::new(policy.plan_every_ms),
            peak: Peak::default(),
            islands: Islands::new(policy.residents_permille),
            leads: Leads::default(),
            demand: Demand::default(),
            reasons: Vec::new(),
            due_ms: 0,
        }
    }

    /// Somebody came who needs land.
    pub(super) fn arrive(&mut self, now_ms: u64) {
        self.forecast.arrive(1, now_ms);
    }

    /// What each step did when it was last decided, or why it did nothing.
    pub(super) fn reasons(&self) -> &[String] {
        &self.reasons
    }

    /// Decide at the next step, however short ago the last decision is.
    pub(super) fn hurry(&mut self) {
        self.due_ms = 0;
    }

    /// A node spoke: it may serve an island by now that everybody waits for.
    pub(super) fn hurry_if_warming(&mut self) {
        if self.islands.warming() > 0 {
            self.hurry();
        }
    }

    /// A plan holds from now on.
    pub(super) fn follow(&mut self, plan: &PlanRecord, any_node: bool, now_ms: u64) {
        self.leads.note(plan, any_node, now_ms);
        let planned = |id: IslandId| plan.islands.binary_search_by_key(&id, |island| island.island).is_ok();
        self.islands.retain(|island| planned(island.id));
        for record in &plan.islands {
            if self.islands.get(record.island).is_none() {
                self.islands.add(island_of(record));
            }
            self.islands.change(record.island, |island| {
                (island.phase, island.kind) = (record.phase, record.kind);
                (island.design, island.cap, island.minimum) = (record.design, record.cap, record.minimum);
            });
        }
    }
}

fn island_of(record: &IslandRecord) -> Island {
    Island {
        id: record.island,
        kind: record.kind,
        phase: record.phase,
        design: record.design,
        cap: record.cap,
        minimum: record.minimum,
        since_ms: record.since_ms,
        inside: 0,
        held: 0,
        residents: 0,
        // Nobody counts them yet: there may be some on each.
        estates: 1,
    }
}

impl AllocatorCore {
    /// Lets the planner look when it is time, and writes down what it decides. Only who may seat decides.
    pub(super) fn plan(&mut self, now_ms: u64) {
        self.planning.forecast.advance(now_ms);
        if now_ms < self.planning.due_ms
            || !self.book.is_settled()
            || !self.members.known()
            || !self.authority.may_seat(now_ms)
        {
            return;
        }
        let Some(parent) = self.book.plan() else { return };
        let policy = &self.config.policy;
        self.planning.due_ms = now_ms + policy.plan_every_ms;
        let nodes = self.members.expected(now_ms);
        self.planning.follow(parent, !nodes.is_empty(), now_ms);
        for island in &parent.islands {
            let (id, taken) = (island.island, self.taken(island.island));
            let held = self.ledger.held().get(&id).copied().unwrap_or(0).min(taken);
            self.planning.islands.change(id, |island| (island.inside, island.held) = (taken - held, held));
        }
        let applicants = self.joins.iter().filter_map(|(_, join)| applicant(Some(join)));
        let waiting = applicants.filter(|applicant| self.roams(*applicant)).count() as u64;
        let planning = &mut self.planning;
        let lead_ms = planning.leads.p95_ms().unwrap_or(policy.lead_ms);
        let outlook = Outlook {
            queue: waiting,
            inside: planning.islands.inside(),
            horizon_ms: lead_ms + 2 * policy.plan_every_ms,
            opening: false,
            scheduled: SPARE_SEATS,
        };
        planning.demand = planning.forecast.demand(&outlook);
        let peak = planning.peak.note(planning.demand.seats, now_ms, 2 * MEAN_SESSION_MS);
        let members = &self.members;
        let is_ready = |island: IslandId| {
            let mut serving = nodes.iter().filter_map(|node| members.get(*node));
            serving.any(|member| member.takes(island, now_ms))
        };
        let decision = decide(
            parent,
            &Situation {
                policy,
                now_ms,
                nodes: &nodes,
                islands: &planning.islands,
                is_ready: &is_ready,
                demand: planning.demand,
                peak,
            },
        );
        planning.reasons = decision.reasons;
        if let Some(plan) = decision.plan {
            self.book.write(plan, &mut self.requests, now_ms);
        }
    }

    /// Seats on the island, and those that an earlier allocator may have given away there.
    pub fn taken(&self, island: IslandId) -> u32 {
        self.ledger.population(island).saturating_add(self.authority.inherited(island))
    }
}
