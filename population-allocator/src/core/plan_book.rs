//! The plan as the store has it: read once, then written whenever the planner changes it, by CAS and a numbered
//! epoch. Whoever loses a race reads again and decides anew. Used by the core only.

use super::ports::Counters;
use super::requests::{Asked, Requests};
use crate::limits::STORE_RETRY_MS;
use chunk_sync::records::{CLUSTER_PLAN, DOC_PLAN, PlanRecord, WORLD, decode, encode};
use chunk_sync::store::{
    Cas, Commit, CommitOutcome, EpochStep, PartitionKey, StoreAnswer, StoreFault, StoreOp,
};

#[derive(Debug)]
struct Known {
    plan: PlanRecord,
    cas: Option<Cas>,
}

/// The plan that holds, and the one that is being written.
#[derive(Debug, Default)]
pub(super) struct PlanBook {
    known: Option<Known>,
    continued: bool,
    asked: bool,
    retry_ms: u64,
    writing: Option<(PlanRecord, Commit)>,
}

impl PlanBook {
    /// The plan that holds.
    pub(super) fn plan(&self) -> Option<&PlanRecord> {
        self.known.as_ref().map(|known| &known.plan)
    }

    /// Whether the world was planned before this start.
    pub(super) fn continued(&self) -> bool {
        self.continued
    }

    /// Whether the planner may decide: the plan is known and none is on its way.
    pub(super) fn is_settled(&self) -> bool {
        self.known.is_some() && self.writing.is_none()
    }

    /// Asks what has to be asked.
    pub(super) fn tick(&mut self, requests: &mut Requests, now_ms: u64) {
        if self.asked || now_ms < self.retry_ms {
            return;
        }
        if let Some((_, commit)) = &self.writing {
            requests.ask(Asked::PlanWrite, StoreOp::Commit(commit.clone()), now_ms);
            self.asked = true;
        } else if self.known.is_none() {
            let partition = PartitionKey::cluster(WORLD, CLUSTER_PLAN);
            requests.ask(Asked::PlanRead, StoreOp::Load { partition }, now_ms);
            self.asked = true;
        }
    }

    /// Writes the next plan.
    pub(super) fn write(&mut self, plan: PlanRecord, requests: &mut Requests, now_ms: u64) {
        let Some(known) = self.known.as_ref().filter(|_| self.writing.is_none()) else { return };
        let Some(token) = requests.token() else { return };
        let commit = Commit::new(PartitionKey::cluster(WORLD, CLUSTER_PLAN), token)
            .put(DOC_PLAN, encode(&plan))
            .epoch(EpochStep::Raise { name: DOC_PLAN.into(), to: plan.number });
        let commit = match known.cas {
            None => commit.absent(DOC_PLAN),
            Some(cas) => commit.expect(DOC_PLAN, cas),
        };
        self.writing = Some((plan, commit));
        self.tick(requests, now_ms);
    }

    /// Takes the answer to `Asked::PlanRead`; whether the plan is known now.
    pub(super) fn handle_read(&mut self, answer: StoreAnswer, counters: &mut Counters, now_ms: u64) -> bool {
        self.asked = false;
        self.retry_ms = now_ms + STORE_RETRY_MS;
        let StoreAnswer::Loaded(view) = answer else { return false };
        let plan = match view.doc(DOC_PLAN) {
            None => PlanRecord { number: view.epoch(DOC_PLAN), ..PlanRecord::default() },
            Some(value) => {
                let Some(plan) = decode::<PlanRecord>(value) else {
                    // A plan that can't be read is never overwritten: islands would be lost.
                    counters.records_malformed += 1;
                    return false;
                };
                plan
            }
        };
        self.continued |= !plan.islands.is_empty();
        self.known = Some(Known { plan, cas: view.cas(DOC_PLAN) });
        self.retry_ms = now_ms;
        true
    }

    /// Takes the answer to `Asked::PlanWrite`; whether a new plan holds now.
    pub(super) fn handle_write(&mut self, answer: StoreAnswer, counters: &mut Counters, now_ms: u64) -> bool {
        self.asked = false;
        self.retry_ms = now_ms + STORE_RETRY_MS;
        match answer {
            StoreAnswer::Committed(CommitOutcome::Done { token, .. }) => {
                let Some((plan, _)) = self.writing.take() else { return false };
                counters.plans += 1;
                self.known = Some(Known { plan, cas: Some(Cas::from(token)) });
                self.retry_ms = now_ms;
                true
            }
            StoreAnswer::Committed(CommitOutcome::Refused(_)) => {
                self.writing = None;
                self.known = None;
                self.retry_ms = now_ms;
                false
            }
            // Unknown: the same commit again, until the store tells.
            StoreAnswer::Failed(StoreFault::TimedOut) => false,
            // Nothing was changed: the planner decides anew on what is true by then.
            _ => {
                self.writing = None;
                false
            }
        }
    }
}
