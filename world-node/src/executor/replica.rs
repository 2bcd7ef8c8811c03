//! What a node knows of the partitions that it works on: their documents, kept current by the commits that it hears
//! of, by its own, and by asking the store. Reading something that is here costs no I/O.
//!
//! Each commit names the one before it, so a missed one is seen as soon as the next comes; the store then gives what
//! lies between, or everything. What nobody follows is only as new as it was last read, and is let go after a while.
//! Part of the executor; it sends nothing itself.

use super::Key;
use super::limits::{AHEAD_MAX, RECENT_TOKENS};
use crate::rules::DocName;
use bytes::Bytes;
use chunk_sync::store::{Document, Name, PartitionView, Token};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Documents that a commit wrote (`None`: removed).
pub type Writes = Vec<(Name, Option<Bytes>)>;

/// What a commit did to a partition.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub previous: Token,
    pub token: Token,
    pub writes: Writes,
}

/// A partition as this node knows it.
#[derive(Default, Debug)]
pub(super) struct Replica {
    token: Token,
    docs: BTreeMap<Name, Document>,
    /// Whether it was ever read.
    loaded: bool,
    /// Number of the reading that it is at least as new as.
    pub fresh: u64,
    /// The reading that is under way, and whether it asks for everything.
    pub asked: Option<(u64, bool)>,
    /// A reading of at least this number is wanted.
    pub wanted: u64,
    /// What is here is known to be old, until a reading of at least this number.
    pub must: u64,
    /// Not before this time, since the last one failed.
    pub retry_ms: u64,
    /// When it was last read.
    pub read_ms: u64,
    /// When something last worked on it.
    pub used_ms: u64,
    /// It is kept current whether or not somebody waits for it.
    pub followed: bool,
    /// It is current from the reading of this number on.
    pub followed_from: u64,
    /// Its newest tokens, the newest last.
    recent: VecDeque<Token>,
    /// Commits whose predecessor has not come.
    ahead: Vec<Step>,
    /// Since when there are some.
    pub gap_since_ms: Option<u64>,
    /// Who goes on when it changes.
    pub waiters: BTreeSet<Key>,
    /// Documents that this node is about to write.
    locks: Vec<(Key, BTreeSet<DocName>)>,
}

/// What became of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Taken {
    /// The replica changed.
    Applied,
    /// It was known.
    Known,
    /// Something before it is missing.
    Ahead,
}

impl Replica {
    /// Whether its documents can be read.
    pub(super) fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// The token up to which it is known.
    pub(super) fn token(&self) -> Token {
        self.token
    }

    /// Whether it is at this token, or past it.
    pub(super) fn has_seen(&self, token: Token) -> bool {
        token == self.token || self.is_known(token)
    }

    /// A document.
    pub(super) fn doc(&self, name: &str) -> Option<&Document> {
        self.docs.get(name)
    }

    /// All documents, by name.
    pub(super) fn docs(&self) -> &BTreeMap<Name, Document> {
        &self.docs
    }

    /// Takes a whole reading of number `number`. Names that changed go to `changed`; `None` when it is older than what
    /// is here.
    pub(super) fn load(
        &mut self,
        number: u64,
        view: PartitionView,
        changed: &mut BTreeSet<Name>,
    ) -> Option<()> {
        if self.loaded && (number < self.fresh || (view.token != self.token && self.is_known(view.token))) {
            // Something newer is here: a later reading, or commits that were done since this one was made.
            self.fresh = self.fresh.max(number);
            return None;
        }
        for (name, document) in &view.docs {
            if self.docs.get(name).is_none_or(|old| old.cas != document.cas) {
                changed.insert(name.clone());
            }
        }
        changed.extend(self.docs.keys().filter(|name| !view.docs.contains_key(*name)).cloned());
        (self.loaded, self.fresh) = (true, self.fresh.max(number));
        self.docs = view.docs;
        self.arrive(view.token);
        self.drain_ahead(changed);
        Some(())
    }

    /// Takes what a commit did.
    pub(super) fn take(&mut self, step: Step, changed: &mut BTreeSet<Name>) -> Taken {
        if !self.loaded {
            // The reading that is under way may have been made before it.
            if self.asked.is_some() {
                self.put_ahead(step);
            }
            return Taken::Known;
        }
        if step.token == self.token || self.is_known(step.token) {
            return Taken::Known;
        }
        if step.previous != self.token {
            self.put_ahead(step);
            return Taken::Ahead;
        }
        self.apply(step, changed);
        self.drain_ahead(changed);
        Taken::Applied
    }

    fn put_ahead(&mut self, step: Step) {
        if self.ahead.len() < AHEAD_MAX && self.ahead.iter().all(|other| other.token != step.token) {
            self.ahead.push(step);
        }
    }

    /// Whether commits wait for one that has not come.
    pub(super) fn has_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    fn apply(&mut self, step: Step, changed: &mut BTreeSet<Name>) {
        for (name, value) in step.writes {
            match value {
                Some(value) => {
                    self.docs.insert(name.clone(), Document { cas: step.token.into(), value });
                }
                None => drop(self.docs.remove(&name)),
            }
            changed.insert(name);
        }
        self.arrive(step.token);
    }

    fn arrive(&mut self, token: Token) {
        if self.token != token {
            self.recent.push_back(self.token);
            if self.recent.len() > RECENT_TOKENS {
                self.recent.pop_front();
            }
            self.token = token;
        }
    }

    fn is_known(&self, token: Token) -> bool {
        self.recent.contains(&token)
    }

    fn drain_ahead(&mut self, changed: &mut BTreeSet<Name>) {
        while let Some(at) = self.ahead.iter().position(|step| step.previous == self.token) {
            let step = self.ahead.swap_remove(at);
            self.apply(step, changed);
        }
        let (recent, token) = (&self.recent, self.token);
        self.ahead.retain(|step| step.token != token && !recent.contains(&step.token));
        if self.ahead.is_empty() {
            self.gap_since_ms = None;
        }
    }

    /// Commits that came too early are given up: everything is read anew.
    pub(super) fn forget_ahead(&mut self) {
        self.ahead.clear();
        self.gap_since_ms = None;
    }

    /// What is here may be wrong, and is read anew before it is used again; a reading that is under way may have been
    /// made before something that was known here, and is not waited for.
    pub(super) fn spoil(&mut self) {
        self.loaded = false;
        self.asked = None;
        // A commit that was lost with its master may be sent again under its token, and is news then.
        self.token = Token::default();
        self.recent.clear();
        self.forget_ahead();
    }

    /// Whether this node is writing any of `names` already.
    pub(super) fn is_locked(&self, names: impl Iterator<Item = DocName>) -> bool {
        if self.locks.is_empty() {
            return false;
        }
        let mut names = names;
        names.any(|name| self.locks.iter().any(|(_, locked)| locked.contains(&name)))
    }

    /// Notes that `key` is about to write these.
    pub(super) fn lock(&mut self, key: Key, names: BTreeSet<DocName>) {
        self.locks.push((key, names));
    }

    /// `key` has written, or will not.
    pub(super) fn unlock(&mut self, key: &Key) {
        self.locks.retain(|(holder, _)| holder != key);
    }

    /// Whether nobody needs it.
    pub(super) fn is_idle(&self) -> bool {
        !self.followed && self.waiters.is_empty() && self.locks.is_empty() && self.asked.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chunk_sync::store::Cas;

    fn step(previous: u64, token: u64, name: &str) -> Step {
        let value = Some(Bytes::from(token.to_string()));
        Step { previous: Token(previous), token: Token(token), writes: vec![(name.into(), value)] }
    }

    fn view(token: u64, docs: &[(&str, u64)]) -> PartitionView {
        let document = |cas: u64| Document { cas: Cas(cas), value: Bytes::from(cas.to_string()) };
        let docs = docs.iter().map(|(name, cas)| ((*name).into(), document(*cas))).collect();
        PartitionView { token: Token(token), docs, ..PartitionView::default() }
    }

    fn loaded(token: u64, docs: &[(&str, u64)]) -> Replica {
        let mut replica = Replica::default();
        replica.load(1, view(token, docs), &mut BTreeSet::new()).expect("it is the first");
        replica
    }

    #[test]
    fn steps_are_taken_in_their_order_whatever_order_they_come_in() {
        let mut replica = loaded(5, &[("a", 5)]);
        let mut changed = BTreeSet::new();
        assert_eq!(replica.take(step(7, 8, "c"), &mut changed), Taken::Ahead);
        assert_eq!(replica.take(step(5, 7, "b"), &mut changed), Taken::Applied);
        assert_eq!(replica.token(), Token(8));
        assert_eq!(changed, BTreeSet::from(["b".into(), "c".into()]));
        for (previous, token) in [(7, 8), (5, 7), (4, 5)] {
            assert_eq!(replica.take(step(previous, token, "x"), &mut changed), Taken::Known);
        }
        assert!(replica.doc("x").is_none());
        assert_eq!(replica.gap_since_ms, None);
    }

    #[test]
    fn an_old_reading_takes_nothing_back() {
        let mut replica = loaded(5, &[("a", 5)]);
        let mut changed = BTreeSet::new();
        replica.take(step(5, 7, "b"), &mut changed);
        // Read before commit 7 was done, answered after it.
        assert_eq!(replica.load(2, view(5, &[("a", 5)]), &mut changed), None);
        assert_eq!((replica.token(), replica.fresh), (Token(7), 2));
        // Readings that overtake each other.
        assert_eq!(replica.load(4, view(11, &[("a", 11)]), &mut changed), Some(()));
        assert_eq!(replica.load(3, view(9, &[("a", 9)]), &mut changed), None);
        assert_eq!(replica.token(), Token(11));
    }

    #[test]
    fn a_commit_that_was_lost_with_its_master_is_news_when_it_is_done_again() {
        let (mut replica, mut changed) = (loaded(5, &[("a", 5)]), BTreeSet::new());
        assert_eq!(replica.take(step(5, 7, "b"), &mut changed), Taken::Applied);
        replica.spoil();
        replica.load(2, view(5, &[("a", 5)]), &mut changed).expect("nothing newer is here");
        assert!(replica.doc("b").is_none());
        assert_eq!(replica.take(step(5, 7, "b"), &mut changed), Taken::Applied);
        assert!(replica.doc("b").is_some());
    }

    #[test]
    fn a_reading_says_what_is_different() {
        let mut replica = loaded(5, &[("a", 5), ("b", 3), ("c", 1)]);
        let mut changed = BTreeSet::new();
        replica.load(2, view(9, &[("a", 5), ("b", 9), ("d", 8)]), &mut changed).expect("newer");
        assert_eq!(changed, BTreeSet::from(["b".into(), "c".into(), "d".into()]));
        replica.take(step(9, 10, "e"), &mut changed);
        assert_eq!(replica.token(), Token(10));
    }
}
