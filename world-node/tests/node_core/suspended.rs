//! Chunks that are in an archive: no node becomes a claimant there, whatever it read before.

use crate::town::{ISLAND, Town};
use chunk_sync::limits::{ISLAND_CHUNKS, TICK_MS};
use chunk_sync::place::ChunkPos;
use chunk_sync::records::{DOC_SUSPENDED, EPOCH_CLAIMS, WORLD};
use chunk_sync::store::{Commit, MemoryStore, PartitionKey, StoreAnswer, StoreOp, Token};

fn chunks() -> impl Iterator<Item = PartitionKey> {
    (0..ISLAND_CHUNKS).map(|index| PartitionKey::chunk(WORLD, ISLAND, ChunkPos::from_index(index)))
}

fn mark_all(town: &mut Town) {
    for key in chunks() {
        let commit = Commit::new(key, Token(1 << 60)).put(DOC_SUSPENDED, "mark");
        town.store.call(town.now_ms, &StoreOp::Commit(commit));
    }
}

fn nobody_wrote(town: &mut Town) {
    for key in chunks() {
        match town.store.call(town.now_ms, &StoreOp::Load { partition: key.clone() }) {
            StoreAnswer::Loaded(view) => {
                let names: Vec<&str> = view.docs.keys().map(|name| name.as_str()).collect();
                assert_eq!((names, view.epoch(EPOCH_CLAIMS)), (vec![DOC_SUSPENDED], 0), "{key}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_node_claims_no_chunk_that_is_suspended() {
    let mut town = Town::new(1);
    mark_all(&mut town);
    town.enter(0, 1, 1);
    town.run(100);
    nobody_wrote(&mut town);
}

#[test]
fn what_was_read_before_an_island_was_suspended_is_no_ground_for_a_claim() {
    let mut town = Town::new(1);
    let mut before: MemoryStore = town.store.clone();
    mark_all(&mut town);
    town.enter(0, 1, 1);
    for _ in 0..100 {
        town.now_ms += TICK_MS;
        let (now_ms, node) = (town.now_ms, &mut town.nodes[0]);
        node.core.tick(now_ms, &mut node.clients);
        loop {
            let mut asked = Vec::new();
            node.core.drain_requests(&mut |id, op| asked.push((id, op)));
            if asked.is_empty() {
                break;
            }
            for (id, op) in asked {
                // Chunks are read as they were.
                let old = matches!(&op, StoreOp::Load { partition } if chunks().any(|key| key == *partition));
                let store = if old { &mut before } else { &mut town.store };
                node.core.handle_answer(id, store.call(now_ms, &op), now_ms);
            }
        }
    }
    nobody_wrote(&mut town);
}
