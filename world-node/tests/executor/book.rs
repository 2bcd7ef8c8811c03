//! What the store was made to do, as seen at its door: every commit that was done, what each act was, and the witness
//! of all laws. It shares nothing with the executor but the documents' format.

use chunk_sync::records::decode;
use chunk_sync::store::{Commit, Token};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use world_node::executor::{ActResult, key_of};
use world_node::rules::{Event, Partition};
use world_node::witness::{Witness, Writing};

/// An act that was done, or refused for ever.
#[derive(Clone, Debug)]
pub(super) struct Deed {
    pub(super) at: Partition,
    pub(super) result: ActResult,
    pub(super) times: u32,
}

#[derive(Clone, Default)]
pub(super) struct Book {
    seen: Witness,
    pub(super) tokens: BTreeSet<Token>,
    /// By actor and number.
    pub(super) deeds: BTreeMap<(u64, u64), Deed>,
    pub(super) events: Vec<(Partition, Event)>,
}

impl Deref for Book {
    type Target = Witness;

    fn deref(&self) -> &Witness {
        &self.seen
    }
}

impl DerefMut for Book {
    fn deref_mut(&mut self) -> &mut Witness {
        &mut self.seen
    }
}

impl Book {
    /// Notes a commit that the store did just now.
    pub(super) fn note(&mut self, at: Partition, commit: &Commit) {
        assert!(self.tokens.insert(commit.token), "a commit is done once");
        assert_eq!(key_of(at), commit.partition);
        if let Some(act) = &commit.act {
            let result = decode(&act.result).expect("an executor packed it");
            let deed = self.deeds.entry((act.actor, act.id)).or_insert(Deed { at, result, times: 0 });
            deed.times += 1;
            assert_eq!((deed.times, deed.at), (1, at), "an act is done once: {commit:?}");
        }
        let writing = Writing::read(at, commit).unwrap_or_else(|why| panic!("an executor packed it: {why}"));
        self.seen.note(&writing).unwrap_or_else(|why| panic!("{why}"));
        self.events.extend(writing.events.into_iter().map(|event| (at, event)));
    }
}
