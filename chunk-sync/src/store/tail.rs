//! The short memory of a partition: its newest tokens, by which a resend is known, and the log of events, by
//! which a follower catches up. Backends keep both; the rules over them are here.

use bytes::Bytes;

use super::commit::Token;
use super::limits::RESEND_COMMITS_MAX;

/// A commit with events, as the log keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoggedCommit {
    /// The partition's token before it.
    pub previous: Token,
    /// Its own token.
    pub token: Token,
    /// What it announced.
    pub events: Vec<Bytes>,
}

/// What a follower has to do to be where the partition is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tail {
    /// Take these commits in order; empty when nothing happened.
    Events(Vec<LoggedCommit>),
    /// The log doesn't reach back without a gap: load the partition.
    Reload,
}

/// What brings a follower from `after` to `newest`, given the partition's log in order: an unbroken chain, or
/// [`Tail::Reload`].
pub fn tail_of_log(newest: Token, log: Vec<LoggedCommit>, after: Token) -> Tail {
    let mut wanted = newest;
    let mut from = log.len();
    while wanted != after {
        if from == 0 || log[from - 1].token != wanted {
            return Tail::Reload;
        }
        from -= 1;
        wanted = log[from].previous;
    }
    Tail::Events(log.into_iter().skip(from).collect())
}

/// The newest tokens of a partition, newest first: the last commits and the token before the oldest of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecentTokens(Vec<Token>);

impl RecentTokens {
    /// From what a backend kept: newest first; what is beyond the limit is forgotten.
    pub fn from_newest_first(tokens: impl IntoIterator<Item = Token>) -> Self {
        Self(tokens.into_iter().take(RESEND_COMMITS_MAX + 1).collect())
    }

    /// What a backend keeps: newest first.
    pub fn newest_first(&self) -> &[Token] {
        &self.0
    }

    /// The token of the last commit, [`Token::NONE`] before the first.
    pub fn newest(&self) -> Token {
        self.0.first().copied().unwrap_or(Token::NONE)
    }

    /// If `token` is one of the last commits: the token that was before it.
    pub fn previous_of(&self, token: Token) -> Option<Token> {
        let place = self.0.iter().take(RESEND_COMMITS_MAX).position(|&known| known == token)?;
        Some(self.0.get(place + 1).copied().unwrap_or(Token::NONE))
    }

    /// Remembers a commit as the newest.
    pub fn push(&mut self, token: Token) {
        self.0.insert(0, token);
        self.0.truncate(RESEND_COMMITS_MAX + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(previous: u64, token: u64) -> LoggedCommit {
        LoggedCommit {
            previous: Token(previous),
            token: Token(token),
            events: vec![Bytes::from_static(b"e")],
        }
    }

    #[test]
    fn a_tail_is_an_unbroken_chain_or_a_reload() {
        let log = vec![logged(0, 5), logged(5, 3), logged(9, 4)];
        let tail = |newest, after| tail_of_log(Token(newest), log.clone(), Token(after));
        assert_eq!(tail(4, 4), Tail::Events(vec![]));
        assert_eq!(tail(4, 9), Tail::Events(vec![logged(9, 4)]));
        // Between 3 and 4 the commit 9 had no events: nobody may step over it.
        assert_eq!(tail(4, 3), Tail::Reload);
        assert_eq!(tail(4, 0), Tail::Reload);
        // The newest commit had no events.
        assert_eq!(tail(11, 4), Tail::Reload);
        assert_eq!(tail_of_log(Token(3), log[..2].to_vec(), Token(0)), Tail::Events(log[..2].to_vec()));
        assert_eq!(tail_of_log(Token::NONE, vec![], Token::NONE), Tail::Events(vec![]));
        assert_eq!(tail_of_log(Token::NONE, vec![], Token(7)), Tail::Reload);
    }

    #[test]
    fn recent_tokens_know_the_last_commits_and_what_was_before_each() {
        let mut recent = RecentTokens::default();
        assert_eq!(recent.newest(), Token::NONE);
        for token in 1..=RESEND_COMMITS_MAX as u64 + 4 {
            recent.push(Token(token));
            assert_eq!(recent.newest(), Token(token));
            assert_eq!(recent.previous_of(Token(token)), Some(Token(token - 1)));
        }
        let last = RESEND_COMMITS_MAX as u64 + 4;
        assert_eq!(recent.previous_of(Token(5)), Some(Token(4)), "the oldest that is known");
        assert_eq!(recent.previous_of(Token(4)), None);
        assert_eq!(recent.previous_of(Token(last + 1)), None);
        assert_eq!(RecentTokens::from_newest_first(recent.newest_first().to_vec()), recent);
    }
}
