//! The yardstick: an island is there the moment somebody needs it. Nobody waits, and no policy that packs the same way can do
//! with fewer islands unless it lets players wait.

use super::super::allocation::Terms;
use super::first_fit::{FirstFit, Rule, View};

/// Opens what the queue needs, with no lead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clairvoyant;

/// The yardstick at its start.
pub(super) fn policy(terms: Terms) -> FirstFit<Clairvoyant> {
    FirstFit::new(terms, Clairvoyant)
}

impl Rule for Clairvoyant {
    const LABEL: &'static str = "clairvoyant";
    const EXPLAINED: &'static str = "The yardstick: it knows everything and an island is there the moment it is needed, so nobody waits. No real policy can do that.";
    const HAS_NO_LEAD: bool = true;

    /// Asked after everybody was seated who could be: whoever waits needs a new island, also when there are single seats
    /// left that a party can't use.
    fn islands_to_open(&self, view: View) -> u64 {
        view.waiting.div_ceil(u64::from(view.design))
    }
}
