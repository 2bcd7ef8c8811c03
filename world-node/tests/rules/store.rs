//! A tiny store of partitions with optimistic concurrency: documents as packed bytes with versions, acts done once,
//! every commit held to the real store's limits. It keeps the ledger and watches each transfer's life.

use chunk_sync::store as limits;
use std::collections::{BTreeMap, BTreeSet};
use world_node::rules::documents::{Doc, EstateRecord, Right, StructureState};
use world_node::rules::limits::BAG_SLOTS;
use world_node::rules::transfer::{Decision, Transfer};
use world_node::rules::{ActId, CommitSet, DocName, Event, LedgerLine, Partition, ReadSet, TransferId, View};

/// Documents as they were read, with their versions.
#[derive(Clone, Default)]
pub(super) struct Loaded {
    pub(super) view: View,
    versions: BTreeMap<(Partition, DocName), Option<u64>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    Done,
    Conflict,
    /// The act was done before.
    Repeated,
}

#[derive(Default)]
pub(super) struct Store {
    docs: BTreeMap<(Partition, DocName), (u64, Vec<u8>)>,
    version: u64,
    acts: BTreeSet<(Partition, ActId)>,
    pub(super) ledger: Vec<LedgerLine>,
    pub(super) events: Vec<(Partition, Event)>,
    /// How often each transfer became pending, was decided, was cleared, was forgotten.
    pub(super) lives: BTreeMap<TransferId, [u32; 4]>,
    /// Estates in their last settled version and all newer ones.
    estates: BTreeMap<ActId, Vec<EstateRecord>>,
    pub(super) conflicts: u32,
}

impl Store {
    pub(super) fn get(&self, partition: Partition, name: DocName) -> Option<Doc> {
        let (_, bytes) = self.docs.get(&(partition, name))?;
        Some(Doc::unpack(name, bytes).expect("what was packed here"))
    }

    /// Puts a document there without a rule: the start of a test.
    pub(super) fn put(&mut self, partition: Partition, name: DocName, doc: &Doc) {
        self.version += 1;
        self.docs.insert((partition, name), (self.version, doc.pack()));
    }

    /// Whether a partition remembers an act: what a host asks before anything else.
    pub(super) fn remembers(&self, partition: Partition, act: ActId) -> bool {
        self.acts.contains(&(partition, act))
    }

    /// Acts that were done in more than one partition, each as something else.
    pub(super) fn reused(&self) -> usize {
        let mut homes: BTreeMap<ActId, usize> = BTreeMap::new();
        self.acts.iter().for_each(|(_, act)| *homes.entry(*act).or_default() += 1);
        homes.values().filter(|homes| **homes > 1).count()
    }

    pub(super) fn load(&self, reads: &ReadSet) -> Loaded {
        let mut loaded = Loaded::default();
        for (partition, names) in &reads.docs {
            for name in names {
                let version = self.docs.get(&(*partition, *name)).map(|(version, _)| *version);
                loaded.versions.insert((*partition, *name), version);
                loaded.view.insert(*partition, *name, self.get(*partition, *name));
            }
        }
        loaded
    }

    /// Documents whose name is wanted; the others aren't unpacked.
    pub(super) fn named(&self, wanted: fn(&DocName) -> bool) -> Vec<(Partition, DocName, Doc)> {
        let found = self.docs.iter().filter(|((_, name), _)| wanted(name));
        found
            .map(|((partition, name), (_, bytes))| {
                (*partition, *name, Doc::unpack(*name, bytes).expect("what was packed here"))
            })
            .collect()
    }

    pub(super) fn all(&self) -> Vec<(Partition, DocName, Doc)> {
        self.named(|_| true)
    }

    /// All pending transfers, as a sweeper finds them.
    pub(super) fn pending(&self) -> Vec<(TransferId, Transfer)> {
        let pending = self.named(|name| matches!(name, DocName::Out(_)));
        let pending = pending.into_iter().filter_map(|(_, name, doc)| match (name, doc) {
            (DocName::Out(id), Doc::Out(transfer)) => Some((id, transfer)),
            _ => None,
        });
        pending.collect()
    }

    /// All decisions that are remembered.
    pub(super) fn decided(&self) -> Vec<(Partition, TransferId, Decision)> {
        let decided = self.named(|name| matches!(name, DocName::In(_)));
        let decided = decided.into_iter().filter_map(|(partition, name, doc)| match (name, doc) {
            (DocName::In(id), Doc::In(decision)) => Some((partition, id, decision)),
            _ => None,
        });
        decided.collect()
    }

    pub(super) fn commit(&mut self, set: &CommitSet, seen: &Loaded, act: Option<ActId>) -> Outcome {
        if act.is_some_and(|act| self.remembers(set.partition, act)) {
            return Outcome::Repeated;
        }
        for name in &set.reads {
            let read = seen.versions.get(&(set.partition, *name));
            let read = read.unwrap_or_else(|| panic!("{name} of {} was not declared", set.partition));
            if *read != self.docs.get(&(set.partition, *name)).map(|(version, _)| *version) {
                self.conflicts += 1;
                return Outcome::Conflict;
            }
        }
        assert!(set.reads.len() <= limits::PRECONDITIONS_PER_COMMIT_MAX);
        assert!(set.writes.len() <= limits::WRITES_PER_COMMIT_MAX);
        assert!(set.events.len() <= limits::EVENTS_PER_COMMIT_MAX);
        self.acts.extend(act.map(|act| (set.partition, act)));
        self.watch_builds(set);
        self.version += 1;
        for (name, doc) in &set.writes {
            self.note_life(set.partition, *name, doc.is_some());
            if let (DocName::Out(id), Some(Doc::Out(transfer))) = (name, doc) {
                assert_eq!((transfer.from, id.sent_by()), (set.partition, set.partition), "{name}");
            }
            match doc {
                None => drop(self.docs.remove(&(set.partition, *name))),
                Some(doc) => {
                    let bytes = doc.pack();
                    assert!(bytes.len() <= limits::DOCUMENT_MAX_BYTES);
                    assert_eq!(Doc::unpack(*name, &bytes).as_ref(), Ok(doc));
                    check(doc);
                    self.docs.insert((set.partition, *name), (self.version, bytes));
                }
            }
        }
        self.ledger.extend(set.ledger.iter().copied());
        self.events.extend(set.events.iter().map(|event| (set.partition, event.clone())));
        self.watch_estates(set);
        Outcome::Done
    }

    fn note_life(&mut self, partition: Partition, name: DocName, there: bool) {
        let was = self.docs.contains_key(&(partition, name));
        let (id, stage) = match (name, was, there) {
            (DocName::Out(id), false, true) => (id, 0),
            (DocName::In(id), false, true) => (id, 1),
            (DocName::Out(id), true, false) => (id, 2),
            (DocName::In(id), true, false) => (id, 3),
            (DocName::Out(_) | DocName::In(_), true, true) => panic!("{name} is written twice"),
            _ => return,
        };
        self.lives.entry(id).or_default()[stage] += 1;
    }

    /// Whoever lets a structure stand must be allowed by what was last settled, or by something newer.
    fn watch_builds(&self, set: &CommitSet) {
        for (name, doc) in &set.writes {
            let (DocName::Structure(id), Some(Doc::Structure(new))) = (name, doc) else { continue };
            let was_up = matches!(self.get(set.partition, DocName::Structure(*id)),
                Some(Doc::Structure(old)) if !matches!(old.state, StructureState::Raising { .. }));
            if new.state != StructureState::Standing || was_up || new.site.kind.spec().claims {
                continue;
            }
            for chunk in std::iter::once(new.site.anchor()).chain(new.site.others()) {
                let copy = self.get(new.site.partition(chunk), DocName::Estate);
                let Some(Doc::Estate(copy)) = copy else { continue };
                let versions = self.estates.get(&copy.id).map_or(&[][..], Vec::as_slice);
                let builder = new.site.builder();
                assert!(
                    versions.is_empty()
                        || versions.iter().any(|version| version.allows(builder, Right::Build)),
                    "{builder} built {:?} after the revocation in version {} was done",
                    new.site,
                    versions[0].version,
                );
            }
        }
    }

    fn watch_estates(&mut self, set: &CommitSet) {
        let Partition::Chunk(island, here) = set.partition else { return };
        match set.writes.get(&DocName::Estate) {
            Some(Some(Doc::Estate(home))) if home.home == here => {
                self.estates.entry(home.id).or_default().push(home.clone());
            }
            _ => {}
        }
        for event in &set.events {
            match event {
                // The totem falls; nothing is revoked by that, and its ground is anybody's from here on.
                Event::Estate { estate, version: 0 } => drop(self.estates.remove(estate)),
                Event::EstateSettled { estate, version } => {
                    let versions = self.estates.get_mut(estate).expect("it has been written");
                    versions.drain(..versions.len() - 1);
                    let home = versions[0].clone();
                    assert_eq!((home.id, home.version), (*estate, *version));
                    for chunk in &home.others {
                        let copy = self.get(Partition::Chunk(island, *chunk), DocName::Estate);
                        assert_eq!(
                            copy,
                            Some(Doc::Estate(home.copy())),
                            "a copy is behind a settled version"
                        );
                    }
                }
                _ => {}
            }
        }
    }
}

/// What must be true of every document at every moment.
fn check(doc: &Doc) {
    match doc {
        Doc::Bag(bag) => {
            assert!(bag.slots() <= BAG_SLOTS, "a bag holds more than it can: {bag:?}");
            assert!(bag.stamina.value <= world_node::rules::limits::STAMINA_MAX);
        }
        Doc::Ground(ground) => {
            let room = world_node::rules::limits::GROUND_STACKS_PER_CELL_MAX;
            assert!(ground.stacks.len() <= room);
            assert!(ground.stacks.iter().all(|lying| lying.count + lying.held <= lying.item.spec().stack));
        }
        Doc::Cell(cell) => {
            assert!(cell.tiles.is_sorted_by(|a, b| a.tile < b.tile), "a tile is covered twice: {cell:?}");
        }
        _ => {}
    }
}
