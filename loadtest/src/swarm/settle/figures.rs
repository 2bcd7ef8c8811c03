//! Counts and times of a settling swarm's acts, and the report made of them.
//!
//! Called by the settlers. Servers choose the words of refusals, so their number is limited.

use std::collections::BTreeMap;
use std::fmt;

use chunk_sync::wire::{ActOutcome, Acted};
use hdrhistogram::Histogram;
use serde::Serialize;
use world_node::rules::Action;

use super::check::Findings;
use crate::actions::name_of;
use crate::swarm::limits::{ACT_ANSWER_US_MAX, REASONS_MAX};

/// What settlers count.
pub(super) struct Figures {
    /// Acts asked for, whole run, by action.
    actions: BTreeMap<&'static str, u64>,
    /// Final answers, whole run, by outcome.
    outcomes: BTreeMap<String, u64>,
    /// Final answers since the window began.
    answered: u64,
    /// From the first ask to the final answer, µs, since the window began.
    times: Histogram<u64>,
    /// What is rare and was done, whole run.
    feats: BTreeMap<&'static str, u64>,
    pub(super) never_answered: u64,
    pub(super) resends: u64,
    pub(super) waits: u64,
}

/// Times from the first ask for an act to its final answer, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct AnswerMs {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

/// What settlers did and heard. Counts and findings are those of the whole run, rates and times those of the window.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Settled {
    /// Acts asked for.
    pub acts: u64,
    /// The same by action.
    pub actions: BTreeMap<&'static str, u64>,
    /// Final answers by outcome, refusals by reason.
    pub outcomes: BTreeMap<String, u64>,
    /// What was done that is harder than the rest: gifts and trades between nodes, buildings over a chunk border or by leave;
    /// and buildings that were refused after a revocation.
    pub feats: BTreeMap<&'static str, u64>,
    /// Final answers a second.
    pub acts_per_s: f64,
    /// From ask to answer.
    pub answer_ms: AnswerMs,
    /// Acts that nobody answered.
    pub never_answered: u64,
    /// Acts that were asked for again after a lost session.
    pub resends: u64,
    /// Times that a node said that the store has yet to tell.
    pub waits: u64,
    /// What the comparison at the end found; nothing when the run was interrupted before it.
    pub check: Option<Findings>,
}

/// Times to answers in µs, three digits: an act is asked for again until it is answered, over lost sessions.
fn answers() -> Histogram<u64> {
    Histogram::new_with_bounds(1, ACT_ANSWER_US_MAX, 3).expect("1 < 600,000,000 and 3 digits are valid")
}

impl Figures {
    pub(super) fn new() -> Self {
        Self {
            actions: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            answered: 0,
            times: answers(),
            feats: BTreeMap::new(),
            never_answered: 0,
            resends: 0,
            waits: 0,
        }
    }

    pub(super) fn begin_window(&mut self) {
        self.answered = 0;
        self.times.reset();
    }

    pub(super) fn did(&mut self, feat: &'static str) {
        *self.feats.entry(feat).or_default() += 1;
    }

    pub(super) fn asked(&mut self, action: &Action) {
        *self.actions.entry(name_of(action)).or_default() += 1;
    }

    /// A final answer after so many milliseconds.
    pub(super) fn answered(&mut self, acted: &Acted, after_ms: u64) {
        let outcome = match acted.outcome {
            ActOutcome::Done => "done".to_owned(),
            ActOutcome::Over => "over".to_owned(),
            ActOutcome::Refused | ActOutcome::Waiting => format!("refused {}", acted.reason),
        };
        let fits = self.outcomes.len() < REASONS_MAX || self.outcomes.contains_key(&outcome);
        *self.outcomes.entry(if fits { outcome } else { "refused other".to_owned() }).or_default() += 1;
        self.answered += 1;
        self.times.saturating_record(after_ms.saturating_mul(1_000));
    }

    pub(super) fn settled(&self, seconds: f64, check: Option<Findings>) -> Settled {
        let ms = |us: u64| us as f64 / 1_000.0;
        let at = |q| ms(self.times.value_at_quantile(q));
        Settled {
            acts: self.actions.values().sum(),
            actions: self.actions.clone(),
            outcomes: self.outcomes.clone(),
            feats: self.feats.clone(),
            acts_per_s: self.answered as f64 / seconds,
            answer_ms: AnswerMs { p50: at(0.5), p99: at(0.99), max: ms(self.times.max()) },
            never_answered: self.never_answered,
            resends: self.resends,
            waits: self.waits,
            check,
        }
    }
}

fn listed<'a>(counts: impl Iterator<Item = (&'a str, &'a u64)>) -> String {
    counts.map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AnswerMs { p50, p99, max } = self.answer_ms;
        writeln!(
            f,
            "  acts         {} asked for, {} never answered, {} asked for again, {} told to wait",
            self.acts, self.never_answered, self.resends, self.waits
        )?;
        writeln!(f, "               {}", listed(self.actions.iter().map(|(name, count)| (*name, count))))?;
        writeln!(
            f,
            "  answers      {:.1} a second, p50 {p50:.0} ms, p99 {p99:.0} ms, max {max:.0} ms",
            self.acts_per_s
        )?;
        let outcomes = self.outcomes.iter().map(|(name, count)| (name.as_str(), count));
        writeln!(f, "               {}", listed(outcomes))?;
        writeln!(f, "               {}", listed(self.feats.iter().map(|(name, count)| (*name, count))))?;
        let Some(found) = &self.check else { return writeln!(f, "  check        none: interrupted") };
        let Findings { bags, structures, stacks, unseen, lost, doubled, undue, texts } = found;
        writeln!(
            f,
            "  check        {bags} bags, {structures} structures, {stacks} stacks, {unseen} unseen: \
             {lost} lost, {doubled} doubled, {undue} undue"
        )?;
        texts.iter().try_for_each(|text| writeln!(f, "  finding      {text}"))
    }
}
