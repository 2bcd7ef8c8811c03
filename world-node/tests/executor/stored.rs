//! What is in the store: put there at the beginning of a story, looked at at its end, found by a sweeper.

use super::client::Client;
use super::node::{BEGAN_MS, Input};
use super::town::{CORNER, middle};
use super::world::World;
use chunk_sync::ids::PlayerId;
use chunk_sync::store::{Commit, CommitOutcome, Document, IndexCursor, Name, StoreAnswer, StoreOp};
use std::collections::BTreeMap;
use world_node::executor::{INDEX_DECIDED, INDEX_PENDING, key_of};
use world_node::rules::documents::{BagRecord, Doc, Record};
use world_node::rules::items::{ItemKind, Items};
use world_node::rules::{DocName, Partition, TransferId};

impl World {
    /// A new player with these items, at the corner, outside.
    pub(super) fn settle(&mut self, player: u64, items: &[(ItemKind, u32)]) {
        let player = PlayerId(player);
        let mut bag = BagRecord::default();
        bag.items.add_all(&Items::from(items));
        self.write(Partition::Player(player), DocName::Bag, &bag.wrap());
        self.places.borrow_mut().insert(player, middle(CORNER));
        self.clients.insert(player, Client::new(player));
    }

    /// Writes a document past every rule: how a story begins.
    pub(super) fn write(&mut self, at: Partition, name: DocName, doc: &Doc) {
        self.write_bytes(at, name, doc.pack());
        self.book.docs.insert((at, name), doc.clone());
    }

    /// Removes one the same way.
    pub(super) fn erase(&mut self, at: Partition, name: DocName) {
        let token = self.token();
        self.force(Commit::new(key_of(at), token).remove(name.to_string()));
        self.book.docs.remove(&(at, name));
    }

    /// Writes bytes that need be no document of this build.
    pub(super) fn write_bytes(&mut self, at: Partition, name: DocName, bytes: Vec<u8>) {
        let token = self.token();
        self.force(Commit::new(key_of(at), token).put(name.to_string(), bytes));
    }

    fn force(&mut self, commit: Commit) {
        let answer = self.store.call(BEGAN_MS + self.now_ms, &StoreOp::Commit(commit));
        assert!(matches!(answer, StoreAnswer::Committed(CommitOutcome::Done { .. })));
    }

    /// Entries of an index.
    pub(super) fn index(&self, index: &str) -> Vec<(TransferId, Partition)> {
        let (name, mut found, mut after) = (Name::from(index), Vec::new(), None::<IndexCursor>);
        loop {
            let page = self.store.index_page(&name, after.as_ref(), 16);
            found.extend(page.entries.into_iter().map(|entry| {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("a name");
                let id = text(&entry.key).parse().expect("a transfer's name");
                (id, text(&entry.value).parse().expect("a partition's name"))
            }));
            match page.next {
                Some(next) => after = Some(next),
                None => return found,
            }
        }
    }

    /// A sweeper gives everything that has not ended to a node.
    pub(super) fn sweep(&mut self, node: usize) {
        for (id, _) in self.index(INDEX_PENDING) {
            self.post(node, 0, Input::Finish(id, None));
        }
        for (id, at) in self.index(INDEX_DECIDED) {
            self.post(node, 0, Input::Finish(id, Some(at)));
        }
    }

    pub(super) fn is_swept(&self) -> bool {
        self.index(INDEX_PENDING).is_empty() && self.index(INDEX_DECIDED).is_empty()
    }

    /// What the store has of a partition.
    pub(super) fn stored(&mut self, at: Partition) -> BTreeMap<Name, Document> {
        let load = StoreOp::Load { partition: key_of(at) };
        match self.store.call(BEGAN_MS + self.now_ms, &load) {
            StoreAnswer::Loaded(view) => view.docs,
            other => panic!("{other:?}"),
        }
    }

    /// Whether a node has of a partition what the store has.
    pub(super) fn is_same(&mut self, node: usize, at: Partition) -> bool {
        let stored = self.stored(at);
        let executor = &self.node(node).executor;
        executor.is_current(at) && executor.docs(at) == Some(&stored)
    }
}
