//! What the store was made to do, as seen at its door: every commit that was done, the documents that came of it, the
//! life of each transfer, what each act was. It shares nothing with the executor but the documents' format.

use super::audit;
use bytes::Bytes;
use chunk_sync::records::decode;
use chunk_sync::store::{Commit, Token};
use std::collections::{BTreeMap, BTreeSet};
use world_node::executor::{ActResult, Change, LedgerRecord, key_of};
use world_node::rules::documents::{Doc, EstateRecord};
use world_node::rules::transfer::Transfer;
use world_node::rules::{ActId, DocName, Event, LedgerLine, Partition, RuleReject, TransferId};

/// An act that was done, or refused for ever.
#[derive(Clone, Debug)]
pub(super) struct Deed {
    pub(super) at: Partition,
    pub(super) result: ActResult,
    pub(super) times: u32,
}

/// What a commit wrote, read.
pub(super) struct Writing {
    pub(super) at: Partition,
    pub(super) docs: Vec<(DocName, Option<Doc>)>,
    pub(super) events: Vec<Event>,
    pub(super) is_act: bool,
    pub(super) ledger: Vec<LedgerLine>,
}

#[derive(Clone, Default)]
pub(super) struct Book {
    pub(super) docs: BTreeMap<(Partition, DocName), Doc>,
    pub(super) tokens: BTreeSet<Token>,
    /// By actor and number.
    pub(super) deeds: BTreeMap<(u64, u64), Deed>,
    /// How often each transfer became pending, was decided, was cleared, was forgotten.
    pub(super) lives: BTreeMap<TransferId, [u32; 4]>,
    pub(super) transfers: BTreeMap<TransferId, Transfer>,
    pub(super) decisions: BTreeMap<TransferId, Option<RuleReject>>,
    /// Estates in their last settled version and all newer ones.
    pub(super) estates: BTreeMap<ActId, Vec<EstateRecord>>,
    /// The newest version of each estate that was settled.
    pub(super) settled: BTreeMap<ActId, u32>,
    pub(super) events: Vec<(Partition, Event)>,
}

impl Book {
    pub(super) fn get(&self, at: Partition, name: DocName) -> Option<&Doc> {
        self.docs.get(&(at, name))
    }

    /// Documents whose name is wanted.
    pub(super) fn named(
        &self,
        wanted: fn(&DocName) -> bool,
    ) -> impl Iterator<Item = (Partition, DocName, &Doc)> {
        let found = self.docs.iter().filter(move |((_, name), _)| wanted(name));
        found.map(|((at, name), doc)| (*at, *name, doc))
    }

    /// Notes a commit that the store did just now.
    pub(super) fn note(&mut self, at: Partition, commit: &Commit) {
        assert!(self.tokens.insert(commit.token), "a commit is done once");
        assert_eq!(key_of(at), commit.partition);
        let read = |(name, bytes): (DocName, Option<&Bytes>)| {
            let doc = bytes.map(|bytes| Doc::unpack(name, bytes).expect("an executor packed it"));
            (name, doc)
        };
        let named = commit
            .writes
            .iter()
            .filter_map(|write| Some((write.doc.as_str().parse().ok()?, write.value.as_ref())));
        let docs: Vec<_> = named.map(read).collect();
        let change = commit.events.first().and_then(|event| Change::read(event)).unwrap_or_default();
        let record =
            commit.ledger.as_ref().map(|entry| decode::<LedgerRecord>(entry).expect("an executor packed it"));
        let ledger = record.map(|record| record.lines).unwrap_or_default();
        let writing = Writing { at, docs, events: change.events, is_act: commit.act.is_some(), ledger };
        if let Some(act) = &commit.act {
            let result = decode(&act.result).expect("an executor packed it");
            let deed = self.deeds.entry((act.actor, act.id)).or_insert(Deed { at, result, times: 0 });
            deed.times += 1;
            assert_eq!((deed.times, deed.at), (1, at), "an act is done once: {commit:?}");
        }
        self.note_lives(&writing);
        audit::no_build_after_revocation(self, &writing);
        audit::items_conserved(self, &writing);
        audit::ledger_tells_all(self, &writing);
        for (name, doc) in &writing.docs {
            match doc {
                Some(doc) => drop(self.docs.insert((at, *name), doc.clone())),
                None => drop(self.docs.remove(&(at, *name))),
            }
        }
        audit::watch_estates(self, &writing);
        self.events.extend(writing.events.into_iter().map(|event| (at, event)));
    }

    fn note_lives(&mut self, writing: &Writing) {
        for (name, doc) in &writing.docs {
            let was = self.docs.contains_key(&(writing.at, *name));
            let (id, stage) = match (name, was, doc) {
                (DocName::Out(id), false, Some(Doc::Out(transfer))) => {
                    assert_eq!(transfer.from, writing.at);
                    self.transfers.insert(*id, transfer.clone());
                    (id, 0)
                }
                (DocName::In(id), false, Some(Doc::In(decision))) => {
                    self.decisions.insert(*id, decision.refused);
                    (id, 1)
                }
                (DocName::Out(id), true, None) => (id, 2),
                (DocName::In(id), true, None) => (id, 3),
                (DocName::Out(_) | DocName::In(_), ..) => panic!("{name} is written twice or removed twice"),
                _ => continue,
            };
            let life = self.lives.entry(*id).or_default();
            life[stage] += 1;
            let fine = life.iter().all(|count| *count <= 1) && life.is_sorted_by(|a, b| a >= b);
            assert!(fine, "pending, decided, cleared, forgotten of {id}: {life:?}");
        }
    }
}
