//! The rule of thumb of server fleets: grow when 80 % of the seats are taken. Its known failure: while there is a queue, taken
//! seats are what the gate lets in, not what players want, so it grows by a quarter per lead time, however many wait.

use super::super::allocation::Terms;
use super::super::limits::UTILISATION;
use super::first_fit::{FirstFit, Rule, View};

/// Keeps the share of taken seats at [`UTILISATION`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Utilisation;

/// The policy at its start.
pub(super) fn policy(terms: Terms) -> FirstFit<Utilisation> {
    FirstFit::new(terms, Utilisation)
}

impl Rule for Utilisation {
    const LABEL: &'static str = "utilisation";
    const EXPLAINED: &'static str = "Opens islands when 80 % of the seats are taken. While there is a queue, taken seats only show what the gate lets in, so it grows by a quarter per lead time, however many wait.";

    fn islands_to_open(&self, view: View) -> u64 {
        let wanted = (view.taken as f64 / (UTILISATION * f64::from(view.design))).ceil() as u64;
        wanted.max(1).saturating_sub(u64::from(view.open + view.warming))
    }
}
