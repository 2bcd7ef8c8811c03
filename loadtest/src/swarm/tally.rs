//! What went wrong, and how often: refusals by reason, lost sessions, broken protocol.
//!
//! Called by the engine. Servers choose the words, so both their number and their length are limited.

use std::collections::BTreeMap;

use super::limits::{ERROR_TEXTS_MAX, REASONS_MAX};

/// Counts over the whole run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Times that a bot got in.
    pub(super) entries: u64,
    /// Sessions of reading bots that ended before the swarm left.
    pub(super) disconnects: u64,
    /// The same of bots that never read.
    pub(super) unread_disconnects: u64,
    /// Times that a server broke the protocol.
    pub(super) errors: u64,
    /// The first few texts of those.
    pub(super) error_texts: Vec<String>,
    /// Refusals by label.
    pub(super) rejected: BTreeMap<String, u64>,
    /// Doors that didn't answer.
    pub(super) unreachable: u64,
    /// The last of those.
    pub(super) last_unreachable: Option<String>,
    /// Moves that were put back.
    pub(super) corrections: u64,
}

impl Tally {
    pub(super) fn error(&mut self, text: String) {
        self.errors += 1;
        if self.error_texts.len() < ERROR_TEXTS_MAX {
            self.error_texts.push(text);
        }
    }

    pub(super) fn rejected(&mut self, reason: String) {
        let fits = self.rejected.len() < REASONS_MAX || self.rejected.contains_key(&reason);
        let reason = if fits { reason } else { "other".to_owned() };
        *self.rejected.entry(reason).or_default() += 1;
    }

    pub(super) fn unreachable(&mut self, door: String) {
        self.unreachable += 1;
        self.last_unreachable = Some(door);
    }

    pub(super) fn lost(&mut self, reads: bool) {
        if reads {
            self.disconnects += 1;
        } else {
            self.unread_disconnects += 1;
        }
    }

    /// Why nobody got in, in a few words.
    pub(super) fn why_nobody(&self) -> String {
        let mut why = Vec::new();
        if !self.rejected.is_empty() {
            let reasons: Vec<String> =
                self.rejected.iter().map(|(label, n)| format!("{label} {n}×")).collect();
            why.push(format!("refused ({})", reasons.join(", ")));
        }
        if let Some(door) = &self.last_unreachable {
            why.push(format!("no answer from {door}"));
        }
        if let Some(text) = self.error_texts.first() {
            why.push(format!("protocol error: {text}"));
        }
        if why.is_empty() { "no answer in time".to_owned() } else { why.join("; ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_talkative_server_fills_nothing() {
        let mut tally = Tally::default();
        for n in 0..1_000 {
            tally.rejected(format!("reason {n}"));
            tally.error(format!("error {n}"));
        }
        assert!(tally.rejected.len() <= REASONS_MAX + 1 && tally.error_texts.len() == ERROR_TEXTS_MAX);
        assert_eq!((tally.rejected.values().sum::<u64>(), tally.errors), (1_000, 1_000));
    }

    #[test]
    fn nobody_got_in_has_a_reason() {
        assert_eq!(Tally::default().why_nobody(), "no answer in time");
        let mut tally = Tally::default();
        tally.rejected("full".to_owned());
        tally.unreachable("n1:1".to_owned());
        assert_eq!(tally.why_nobody(), "refused (full 1×); no answer from n1:1");
    }
}
