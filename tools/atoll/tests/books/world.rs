//! A store opened by the test itself, while no process has it: documents put there as the game writes them.

use std::collections::BTreeMap;
use std::path::Path;

use chunk_sync::ids::{Epoch, IslandId, PlayerId};
use chunk_sync::place::ChunkPos;
use chunk_sync::records::{WORLD, encode};
use chunk_sync::store::{
    Commit, CommitOutcome, PARTITIONS_PAGE_MAX, PartitionKey, StoreAnswer, StoreOp, Token,
};
use chunk_sync_io::store::{StoreHandle, StoreUrl};
use world_node::executor::{LEDGER_SCHEMA, LedgerRecord};
use world_node::rules::documents::{
    BagRecord, CellRecord, Covered, EstateRecord, Record, StructureRecord, StructureState,
};
use world_node::rules::items::{ItemKind, Items};
use world_node::rules::site::{Site, TilePos};
use world_node::rules::structures::StructureKind;
use world_node::rules::transfer::{Back, Cargo, Decision, Transfer};
use world_node::rules::{ActId, Holder, LedgerLine, Partition, Sender, TransferId};

/// A player of the first world.
pub(crate) fn player(number: u64) -> PlayerId {
    PlayerId((1 << 54) | (9 << 32) | number)
}

/// An act of one.
pub(crate) fn act(player: PlayerId, number: u64) -> ActId {
    ActId { player, epoch: Epoch(1), island: IslandId(1), act: number }
}

/// An open store.
pub(crate) struct World {
    runtime: tokio::runtime::Runtime,
    store: Option<StoreHandle>,
    token: u64,
}

impl World {
    /// Opens the store of a data folder.
    pub(crate) fn open(data: &Path) -> Self {
        Self::open_at(&StoreUrl::Embedded(data.to_owned()))
    }

    /// Opens a store.
    pub(crate) fn open_at(url: &StoreUrl) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let store = runtime.block_on(StoreHandle::open(url)).unwrap();
        // Tokens are never used twice, also not by the next one who opens it.
        let token = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0) | 1;
        Self { runtime, store: Some(store), token }
    }

    /// The documents of all partitions of players, chunks and trades.
    pub(crate) fn game(&self) -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
        let is_game = |key: &str| matches!(key.split('/').nth(1).unwrap(), "player" | "chunk" | "trade");
        self.all().into_iter().filter(|(key, _)| is_game(key)).collect()
    }

    /// The documents of all partitions.
    pub(crate) fn all(&self) -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
        let store = self.store.as_ref().unwrap();
        let (mut all, mut after) = (BTreeMap::new(), None);
        loop {
            let page = self
                .runtime
                .block_on(store.ops().partitions_page(after.as_ref(), PARTITIONS_PAGE_MAX))
                .unwrap();
            for raw in page.partitions {
                let named = raw.docs.iter().map(|(name, doc)| (name.to_string(), doc.value.to_vec()));
                all.insert(raw.key.to_string(), named.collect());
            }
            after = page.next;
            if after.is_none() {
                return all;
            }
        }
    }

    /// Commits in a player's partition what `fill` puts into the commit, and tells the ledger these lines.
    pub(crate) fn commit(
        &mut self,
        player: PlayerId,
        act: Option<ActId>,
        lines: &[(ItemKind, u32, Holder, Holder)],
        fill: impl FnOnce(Commit) -> Commit,
    ) {
        self.commit_in(PartitionKey::player(player), act, lines, fill);
    }

    /// Commits in any partition.
    pub(crate) fn commit_in(
        &mut self,
        partition: PartitionKey,
        act: Option<ActId>,
        lines: &[(ItemKind, u32, Holder, Holder)],
        fill: impl FnOnce(Commit) -> Commit,
    ) {
        self.token = self.token.wrapping_add(2);
        let commit = fill(Commit::new(partition, Token(self.token)));
        let line =
            |&(kind, count, from, to): &(ItemKind, u32, Holder, Holder)| LedgerLine { kind, count, from, to };
        let record = LedgerRecord { v: LEDGER_SCHEMA, tick: 1, act, lines: lines.iter().map(line).collect() };
        let commit = if lines.is_empty() { commit } else { commit.ledger(encode(&record)) };
        let answer = self.runtime.block_on(self.store.as_ref().unwrap().call(StoreOp::Commit(commit)));
        assert!(matches!(answer, StoreAnswer::Committed(CommitOutcome::Done { .. })), "{answer:?}");
    }

    /// A player gets wood from nowhere, as by gathering.
    pub(crate) fn make(&mut self, player: PlayerId, number: u64, wood: u32) {
        let lines = [(ItemKind::Wood, wood, Holder::Nobody, Holder::Player(player))];
        self.commit(player, Some(act(player, number)), &lines, |commit| commit.put("bag", bag(wood, 0)));
    }

    /// Gives a player who has nothing what a builder needs.
    pub(crate) fn stock(&mut self, player: PlayerId) {
        let of = [(ItemKind::Totem, 1), (ItemKind::Wood, 40), (ItemKind::Rope, 4), (ItemKind::Stone, 12)];
        let items = Items::from(BTreeMap::from(of));
        let lines = of.map(|(kind, count)| (kind, count, Holder::Nobody, Holder::Player(player)));
        let bag = encode(&BagRecord { items, ..BagRecord::default() });
        self.commit(player, Some(act(player, 900)), &lines, |commit| commit.put("bag", bag));
    }

    /// The first step of a gift of `sent` of the `had` wood that the giver has.
    pub(crate) fn debit(
        &mut self,
        giver: PlayerId,
        taker: PlayerId,
        number: u64,
        had: u32,
        sent: u32,
    ) -> TransferId {
        let id = act(giver, number).transfer(Sender::Player);
        let (from, to) = (Partition::Player(giver), Partition::Player(taker));
        let cargo = Cargo::Goods(Items::of(ItemKind::Wood, sent).into());
        let transfer = Transfer { v: Transfer::VERSION, from, to, cargo, back: Back::Bag { stamina: 0 } };
        let lines = [(ItemKind::Wood, sent, Holder::Player(giver), Holder::Transfer(id))];
        self.commit(giver, Some(act(giver, number)), &lines, |commit| {
            let commit = commit.put("bag", bag(had - sent, sent)).put(format!("out/{id}"), encode(&transfer));
            commit.index_put("pending", id.to_string(), to.to_string())
        });
        id
    }

    /// The second step: the taker, who had `had`, has `got` more.
    pub(crate) fn credit(&mut self, id: TransferId, taker: PlayerId, had: u32, got: u32) {
        let decision = Decision { v: Decision::VERSION, from: id.sent_by(), refused: None };
        let lines = [(ItemKind::Wood, got, Holder::Transfer(id), Holder::Player(taker))];
        self.commit(taker, None, &lines, |commit| {
            commit.put("bag", bag(had + got, 0)).put(format!("in/{id}"), encode(&decision))
        });
    }

    /// Land that doesn't fit together: a covered tile without a structure, one covered twice, an estate without a
    /// totem, and an index entry for it.
    pub(crate) fn spoil_land(&mut self) {
        let (island, chunk) = (IslandId(1), ChunkPos::new(3, 4));
        let gone = act(player(1), 9);
        let covered = |tile| Covered { tile, by: gone, anchor: chunk };
        let cell = CellRecord { v: CellRecord::VERSION, tiles: vec![covered(1), covered(1)] };
        let estate = EstateRecord {
            v: EstateRecord::VERSION,
            id: gone,
            owner: player(1),
            home: chunk,
            others: Vec::new(),
            version: 1,
            permissions: Vec::new(),
            behind: Vec::new(),
        };
        self.token = self.token.wrapping_add(2);
        let commit = Commit::new(PartitionKey::chunk(WORLD, island, chunk), Token(self.token));
        let commit = commit.put("cell/2", encode(&cell)).put("estate", encode(&estate));
        let commit =
            commit.index_put("estates", gone.to_string(), Partition::Chunk(island, chunk).to_string());
        let answer = self.runtime.block_on(self.store.as_ref().unwrap().call(StoreOp::Commit(commit)));
        assert!(matches!(answer, StoreAnswer::Committed(CommitOutcome::Done { .. })), "{answer:?}");
    }

    /// What an import that doesn't end leaves behind.
    pub(crate) fn mark_import(&mut self) {
        self.token = self.token.wrapping_add(2);
        let commit =
            Commit::new(PartitionKey::cluster(WORLD, "import"), Token(self.token)).put("import", vec![1]);
        let answer = self.runtime.block_on(self.store.as_ref().unwrap().call(StoreOp::Commit(commit)));
        assert!(matches!(answer, StoreAnswer::Committed(CommitOutcome::Done { .. })), "{answer:?}");
    }

    /// The third step, after which the giver has `has`.
    pub(crate) fn clear(&mut self, id: TransferId, giver: PlayerId, has: u32) {
        self.commit(giver, None, &[], |commit| {
            let commit = commit.put("bag", bag(has, 0)).remove(format!("out/{id}"));
            commit.index_remove("pending", id.to_string())
        });
    }
}

/// Where structures are put by hand.
pub(crate) const ISLAND: IslandId = IslandId(1);
pub(crate) const CHUNK: ChunkPos = ChunkPos { x: 3, y: 4 };

/// The partition of that chunk.
pub(crate) fn ground() -> PartitionKey {
    PartitionKey::chunk(WORLD, ISLAND, CHUNK)
}

/// The site of a fence that this act builds: two tiles, the first one this far from the chunk's western edge.
pub(crate) fn fence(act: ActId, east: i32) -> Site {
    let corner = TilePos { x: i32::from(CHUNK.x) * 16 + east, y: i32::from(CHUNK.y) * 16 + 1 };
    Site::new(act, StructureKind::Fence, ISLAND, corner, false, &[])
}

/// Who holds what was paid for a site.
pub(crate) fn holder(site: &Site) -> Holder {
    Holder::Structure(site.island, site.anchor(), site.id)
}

/// A structure's document.
pub(crate) fn structure(site: &Site, state: StructureState) -> Vec<u8> {
    let site = site.clone();
    encode(&StructureRecord { v: StructureRecord::VERSION, site, state, allowed: None, steps: 1 })
}

/// The documents of the cells that a site covers in a chunk; with its covered tiles, or none.
fn cells(commit: Commit, site: &Site, chunk: ChunkPos) -> Commit {
    site.cells_in(chunk).into_iter().fold(commit, |commit, number| {
        let mut cell = CellRecord::default();
        site.tiles_in(chunk).filter(|tile| tile.cell() == number).for_each(|tile| cell.cover(tile, site));
        commit.put(format!("cell/{number}"), encode(&cell))
    })
}

impl World {
    /// Somebody who has `had` wood pays two of it for a fence, which stands.
    pub(crate) fn build(&mut self, site: &Site, had: u32) {
        let (builder, paid) = (site.builder(), site.paid_by());
        let lines = [(ItemKind::Wood, 2, Holder::Player(builder), Holder::Transfer(paid))];
        self.commit(builder, Some(site.id), &lines, |commit| commit.put("bag", bag(had - 2, 0)));
        let lines = [(ItemKind::Wood, 2, Holder::Transfer(paid), holder(site))];
        self.commit_in(ground(), None, &lines, |commit| {
            let commit =
                commit.put(format!("structure/{}", site.id), structure(site, StructureState::Standing));
            cells(commit, site, site.anchor())
        });
        for chunk in site.others() {
            let key = PartitionKey::chunk(WORLD, ISLAND, chunk);
            self.commit_in(key, None, &[], |commit| cells(commit, site, chunk));
        }
    }

    /// A refund of one wood leaves a fence and comes to `to`, who `had` so much; `falls` says whether the fence goes
    /// then, as it should.
    pub(crate) fn refund(&mut self, site: &Site, number: u64, had: u32, falls: bool) {
        let to = site.builder();
        let act = act(to, number);
        let id = act.transfer(Sender::chunk(site.anchor()).unwrap());
        let mut lines = vec![(ItemKind::Wood, 1, holder(site), Holder::Transfer(id))];
        lines.extend(falls.then_some((ItemKind::Wood, 1, holder(site), Holder::Nobody)));
        self.commit_in(ground(), Some(act), &lines, |commit| {
            let gone = site.cells_in(site.anchor()).into_iter();
            let commit = gone.fold(commit, |commit, cell| commit.remove(format!("cell/{cell}")));
            commit.remove(format!("structure/{}", site.id))
        });
        let lines = [(ItemKind::Wood, 1, Holder::Transfer(id), Holder::Player(to))];
        self.commit(to, None, &lines, |commit| commit.put("bag", bag(had + 1, 0)));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Dropping the last handle closes the file, which may wait.
        drop(self.store.take());
    }
}

/// The bytes of a bag.
pub(crate) fn bag(wood: u32, held: u32) -> Vec<u8> {
    let (items, held) = (Items::of(ItemKind::Wood, wood), Items::of(ItemKind::Wood, held));
    encode(&BagRecord { items, held, ..BagRecord::default() })
}
