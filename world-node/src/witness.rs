//! What must be true of every commit that acts and transfers make, whoever makes it, and of the documents once
//! everything has ended: as seen at the store's door, by documents, events and ledger entries alone.
//!
//! For tests and simulations, which show it each commit that a store did, in order. No server asks it, and it shares
//! nothing with the executor but the formats.

mod end;
mod laws;

pub use laws::kept_in;

use crate::executor::{ActResult, Change, LedgerRecord};
use crate::rules::documents::{Doc, EstateRecord};
use crate::rules::transfer::Transfer;
use crate::rules::{ActId, DocName, Event, LedgerLine, Partition, RuleReject, TransferId};
use chunk_sync::records::decode;
use chunk_sync::store::Commit;
use std::collections::BTreeMap;

/// What a commit wrote, read.
#[derive(Clone, Debug)]
pub struct Writing {
    /// The partition.
    pub at: Partition,
    /// The game's documents in it; `None` where one is removed.
    pub docs: Vec<(DocName, Option<Doc>)>,
    /// What the game says of it.
    pub events: Vec<Event>,
    /// Whether it is an act's own commit.
    pub is_act: bool,
    /// Items that changed hands.
    pub ledger: Vec<LedgerLine>,
}

impl Writing {
    /// Reads a commit of this partition.
    ///
    /// # Errors
    /// What of it is not as an executor packs it.
    pub fn read(at: Partition, commit: &Commit) -> Result<Self, String> {
        let mut docs = Vec::new();
        for write in &commit.writes {
            let Ok(name) = write.doc.as_str().parse::<DocName>() else { continue };
            let doc = write.value.as_ref().map(|bytes| Doc::unpack(name, bytes)).transpose();
            docs.push((name, doc.map_err(|error| format!("{name} of {at}: {error}"))?));
        }
        let change = commit.events.first().and_then(|event| Change::read(event)).unwrap_or_default();
        let record = commit.ledger.as_ref().map(|entry| {
            decode::<LedgerRecord>(entry).ok_or_else(|| format!("a ledger entry of {at} can't be read"))
        });
        let ledger = record.transpose()?.map(|record| record.lines).unwrap_or_default();
        Ok(Self { at, docs, events: change.events, is_act: commit.act.is_some(), ledger })
    }
}

/// All that was seen: the documents as they are, and the life of each transfer and estate.
#[derive(Clone, Debug, Default)]
pub struct Witness {
    /// The documents.
    pub docs: BTreeMap<(Partition, DocName), Doc>,
    /// How often each transfer became pending, was decided, was cleared, was forgotten.
    pub lives: BTreeMap<TransferId, [u32; 4]>,
    /// Each transfer, as it became pending.
    pub transfers: BTreeMap<TransferId, Transfer>,
    /// How each was decided: refused for this reason, or taken.
    pub decisions: BTreeMap<TransferId, Option<RuleReject>>,
    /// Estates in their last settled version and all newer ones.
    pub estates: BTreeMap<ActId, Vec<EstateRecord>>,
    /// The newest version of each estate that was settled.
    pub settled: BTreeMap<ActId, u32>,
}

impl Witness {
    /// A document.
    pub fn get(&self, at: Partition, name: DocName) -> Option<&Doc> {
        self.docs.get(&(at, name))
    }

    /// Documents whose name is wanted.
    pub fn named(&self, wanted: fn(&DocName) -> bool) -> impl Iterator<Item = (Partition, DocName, &Doc)> {
        let found = self.docs.iter().filter(move |((_, name), _)| wanted(name));
        found.map(|((at, name), doc)| (*at, *name, doc))
    }

    /// Sees a commit that the store did just now, once.
    ///
    /// # Errors
    /// The law that it breaks.
    pub fn note(&mut self, writing: &Writing) -> Result<(), String> {
        self.note_lives(writing)?;
        laws::no_build_after_revocation(self, writing)?;
        laws::items_conserved(self, writing)?;
        laws::ledger_tells_all(self, writing)?;
        for (name, doc) in &writing.docs {
            match doc {
                Some(doc) => drop(self.docs.insert((writing.at, *name), doc.clone())),
                None => drop(self.docs.remove(&(writing.at, *name))),
            }
        }
        laws::watch_estates(self, writing)
    }

    fn note_lives(&mut self, writing: &Writing) -> Result<(), String> {
        for (name, doc) in &writing.docs {
            let was = self.docs.contains_key(&(writing.at, *name));
            let (id, stage) = match (name, was, doc) {
                (DocName::Out(id), false, Some(Doc::Out(transfer))) if transfer.from == writing.at => {
                    self.transfers.insert(*id, transfer.clone());
                    (id, 0)
                }
                (DocName::In(id), false, Some(Doc::In(decision))) => {
                    self.decisions.insert(*id, decision.refused);
                    (id, 1)
                }
                (DocName::Out(id), true, None) => (id, 2),
                (DocName::In(id), true, None) => (id, 3),
                (DocName::Out(_) | DocName::In(_), ..) => {
                    return Err(format!(
                        "{name} of {} is written twice, removed twice or misplaced",
                        writing.at
                    ));
                }
                _ => continue,
            };
            let life = self.lives.entry(*id).or_default();
            life[stage] += 1;
            if life.iter().any(|count| *count > 1) || !life.is_sorted_by(|a, b| a >= b) {
                return Err(format!("pending, decided, cleared, forgotten of {id}: {life:?}"));
            }
        }
        Ok(())
    }

    /// Whether an act of which its home remembers this is done for good: not refused, and what it sent was taken.
    pub fn is_done(&self, result: &ActResult) -> bool {
        let taken = |id: TransferId| self.decisions.get(&id) == Some(&None);
        result.refused.is_none() && result.transfer.is_none_or(taken)
    }

    /// Whether the version of an estate that an act made is everywhere, or the estate is gone.
    pub fn is_settled(&self, result: &ActResult) -> bool {
        result.settles.is_none_or(|(estate, version)| {
            let settled = self.settled.get(&estate).copied().unwrap_or(0);
            settled >= version || !self.estates.contains_key(&estate)
        })
    }

    /// What is not as it must be once everything has ended.
    pub fn unfinished(&self) -> Option<String> {
        end::unfinished(self)
    }
}
