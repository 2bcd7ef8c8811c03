//! What went wrong, and how often: refusals by reason, lost sessions, broken protocol.
//!
//! Called by the engine. Servers choose the words, so both their number and their length are limited.

use std::collections::BTreeMap;
use std::time::Duration;

use chunk_sync::limits::SERVER_FRAME_BYTES_MAX;
use chunk_sync::wire::WireError;

use super::limits::{ERROR_TEXTS_MAX, ONLY_ERRORS_MS_MAX, REASONS_MAX, SAME_ERRORS_PER_BOT_MAX};

/// What kept a bot out, or threw it out.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Trouble {
    /// A refusal, by label.
    Refused(String),
    /// A server that broke the protocol.
    Error(String),
    /// A door that didn't answer.
    Unanswered(String),
}

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
    /// Errors on end that had the same text, with no refusal in between.
    same_errors: u64,
    /// The text of those.
    last_error: String,
    /// When the first error came.
    first_error_at: Option<Duration>,
    /// Refusals by label.
    pub(super) rejected: BTreeMap<String, u64>,
    /// Doors that didn't answer.
    pub(super) unreachable: u64,
    /// The last of those.
    pub(super) last_unreachable: Option<String>,
    /// Moves that were put back.
    pub(super) corrections: u64,
    /// The last trouble that nobody was told of.
    latest: Option<Trouble>,
}

impl Tally {
    /// A server broke the protocol at `now`, counted from the run's start.
    pub(super) fn error(&mut self, text: String, now: Duration) {
        self.errors += 1;
        self.first_error_at.get_or_insert(now);
        self.same_errors = if text == self.last_error { self.same_errors + 1 } else { 1 };
        if self.error_texts.len() < ERROR_TEXTS_MAX {
            self.error_texts.push(text.clone());
        }
        self.latest = Some(Trouble::Error(text.clone()));
        self.last_error = text;
    }

    pub(super) fn rejected(&mut self, reason: String) {
        let fits = self.rejected.len() < REASONS_MAX || self.rejected.contains_key(&reason);
        let reason = if fits { reason } else { "other".to_owned() };
        *self.rejected.entry(reason.clone()).or_default() += 1;
        self.same_errors = 0;
        self.latest = Some(Trouble::Refused(reason));
    }

    pub(super) fn unreachable(&mut self, door: String) {
        self.unreachable += 1;
        self.latest = Some(Trouble::Unanswered(door.clone()));
        self.last_unreachable = Some(door);
    }

    pub(super) fn lost(&mut self, reads: bool) {
        if reads {
            self.disconnects += 1;
        } else {
            self.unread_disconnects += 1;
        }
    }

    /// The last trouble since this was asked before, and how often it has come so far.
    pub(super) fn take_latest(&mut self) -> Option<String> {
        Some(match self.latest.take()? {
            Trouble::Refused(label) => {
                let count = self.rejected.get(&label).copied().unwrap_or_default();
                format!("refused {count} × {label}")
            }
            Trouble::Error(text) => format!("error: {text}"),
            Trouble::Unanswered(door) => format!("unanswered {} ×, last by {door}", self.unreachable),
        })
    }

    /// Whether `bots` bots, of which `started` were started, need try no longer: not one was ever in, and the
    /// servers speak something else.
    pub(super) fn is_hopeless(&self, bots: usize, started: usize, now: Duration) -> bool {
        let Some(first) = self.first_error_at.filter(|_| self.entries == 0) else { return false };
        let only_errors = self.rejected.is_empty() && self.unreachable == 0;
        let long = now.saturating_sub(first).as_millis() >= u128::from(ONLY_ERRORS_MS_MAX);
        self.same_errors >= SAME_ERRORS_PER_BOT_MAX * bots as u64
            || (only_errors && long && self.errors >= started as u64)
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

/// A protocol error at a door, with what is known of its cause.
pub(super) fn explained(text: String) -> String {
    let claimed = u64::from(u32::from_be_bytes(*b"HTTP"));
    if text == (WireError::BadLength { claimed, max: SERVER_FRAME_BYTES_MAX }).to_string() {
        "the answer is HTTP, so this is a web server; --target wants the address after `join=`".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chunk_sync::wire::Framer;
    use std::ops::ControlFlow;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_talkative_server_fills_nothing() {
        let mut tally = Tally::default();
        for n in 0..1_000 {
            tally.rejected(format!("reason {n}"));
            tally.error(format!("error {n}"), SECOND);
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

    #[test]
    fn the_latest_trouble_is_told_once_with_its_count() {
        let mut tally = Tally::default();
        assert_eq!(tally.take_latest(), None);
        tally.error("nonsense".to_owned(), SECOND);
        (0..3).for_each(|_| tally.rejected("full".to_owned()));
        assert_eq!(tally.take_latest().as_deref(), Some("refused 3 × full"));
        assert_eq!(tally.take_latest(), None);
        tally.rejected("store_away".to_owned());
        tally.rejected("full".to_owned());
        assert_eq!(tally.take_latest().as_deref(), Some("refused 4 × full"));
        tally.error("nonsense".to_owned(), SECOND);
        assert_eq!(tally.take_latest().as_deref(), Some("error: nonsense"));
        tally.unreachable("n1:1".to_owned());
        assert_eq!(tally.take_latest().as_deref(), Some("unanswered 1 ×, last by n1:1"));
    }

    /// A tally after `errors` errors of the same text, the first of them after a second.
    fn after(errors: u64) -> Tally {
        let mut tally = Tally::default();
        (0..errors).for_each(|_| tally.error("nonsense".to_owned(), SECOND));
        tally
    }

    #[test]
    fn the_same_error_again_and_again_is_hopeless() {
        assert!(!after(29).is_hopeless(10, 10, SECOND) && after(30).is_hopeless(10, 10, SECOND));
        let mut somebody_was_in = after(30);
        somebody_was_in.entries = 1;
        assert!(!somebody_was_in.is_hopeless(10, 10, SECOND * 9));
        let mut unanswered = after(30);
        unanswered.unreachable("n1:1".to_owned());
        assert!(unanswered.is_hopeless(10, 10, SECOND), "a closed door says nothing against it");
        for other in [
            |tally: &mut Tally| tally.rejected("full".to_owned()),
            |tally: &mut Tally| {
                tally.error("other nonsense".to_owned(), SECOND);
            },
        ] {
            let mut tally = after(29);
            other(&mut tally);
            tally.error("nonsense".to_owned(), SECOND);
            assert!(!tally.is_hopeless(10, 10, SECOND), "{tally:?}");
        }
    }

    #[test]
    fn nothing_but_errors_for_a_while_is_hopeless() {
        assert!(!after(10).is_hopeless(100, 10, SECOND * 5) && after(10).is_hopeless(100, 10, SECOND * 6));
        assert!(!after(9).is_hopeless(100, 10, SECOND * 6), "somebody still waits for an answer");
        assert!(!Tally::default().is_hopeless(100, 0, SECOND * 60), "silence is no error");
        for other in [
            |tally: &mut Tally| tally.rejected("full".to_owned()),
            |tally: &mut Tally| {
                tally.unreachable("n1:1".to_owned());
            },
        ] {
            let mut tally = after(10);
            other(&mut tally);
            assert!(!tally.is_hopeless(100, 10, SECOND * 60), "{tally:?}");
        }
    }

    #[test]
    fn web_servers_are_recognized() {
        let mut framer = Framer::new(SERVER_FRAME_BYTES_MAX);
        let mut told = |bytes: &[u8]| framer.feed(bytes, |_, _| ControlFlow::Continue(()));
        assert_eq!(told(b"HT"), Ok(()));
        let text = told(b"TP/1.1 400 Bad Request").expect_err("no frame is that long").to_string();
        assert!(explained(text).contains("`join=`"));
        let other = WireError::BadLength { claimed: 0, max: SERVER_FRAME_BYTES_MAX }.to_string();
        assert_eq!(explained(other.clone()), other);
    }
}
