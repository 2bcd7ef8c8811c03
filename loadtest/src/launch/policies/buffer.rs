//! A fixed buffer: so many free seats are always kept ready. Its known failure: a buffer that is refilled only as it is used up
//! gives a fixed number of seats per lead time, whatever comes; and in calm it costs what it costs.

use super::super::allocation::Terms;
use super::super::limits::BUFFER_ISLANDS;
use super::first_fit::{FirstFit, Rule, View};

/// Keeps [`BUFFER_ISLANDS`] islands' worth of seats free or on the way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buffer;

/// The policy at its start.
pub(super) fn policy(terms: Terms) -> FirstFit<Buffer> {
    FirstFit::new(terms, Buffer)
}

impl Rule for Buffer {
    const LABEL: &'static str = "buffer";
    const EXPLAINED: &'static str = "Keeps five islands' worth of free seats, whatever comes. Each lead time brings five islands and no more: a crowd that is faster than that waits.";

    fn islands_to_open(&self, view: View) -> u64 {
        let design = u64::from(view.design);
        let coming = view.free + u64::from(view.warming) * design;
        (u64::from(BUFFER_ISLANDS) * design).saturating_sub(coming).div_ceil(design)
    }
}
