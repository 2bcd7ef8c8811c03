//! Documents as a node tells them, and as a hostile one would.

use super::*;
use crate::client::{Replica, View};
use crate::random::{RngExt, stream};
use proptest::prelude::*;
use serde_bytes::ByteBuf;

const HOME: ChunkPos = ChunkPos::new(5, 5);

fn welcome() -> Welcome {
    let middle = HOME.middle();
    Welcome {
        protocol: 1,
        level: 0,
        features: Vec::new(),
        node: 1,
        player: 1,
        epoch: 1,
        island: 1,
        seed: 1,
        tick: 70_000,
        tick_ms: 100,
        island_chunks: 16,
        near_ring: 1,
        far_ring: 2,
        walk_mm_per_s: 5_000,
        keep_alive_ms: 5_000,
        x: middle.x,
        y: middle.y,
    }
}

fn begun() -> Documents {
    let mut documents = Documents::default();
    documents.begin(&welcome());
    documents
}

fn docs(chunk: Option<ChunkPos>, whole: bool, told: &[(&str, Option<&[u8]>)]) -> Docs {
    let told = told.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.map(ByteBuf::from)));
    Docs { chunk, whole, docs: told.collect() }
}

fn view(centre: ChunkPos, reset: bool) -> TickHeader {
    TickHeader { tick: 70_001, view: Some(centre), reset, ..TickHeader::default() }
}

#[test]
fn documents_are_told_whole_then_piece_by_piece() {
    let mut known = begun();
    assert_eq!((known.own(), known.chunk(HOME)), (None, None));
    // A piece of what was never told whole says nothing about the rest.
    known.take(docs(None, false, &[("bag", Some(b"1"))])).unwrap();
    known.take(docs(Some(HOME), false, &[("estate", Some(b"1"))])).unwrap();
    assert_eq!((known.own(), known.chunk(HOME)), (None, None));
    known.take(docs(Some(HOME), true, &[("estate", Some(b"1")), ("ground/3", Some(b"2"))])).unwrap();
    known.take(docs(Some(HOME), false, &[("estate", None), ("ground/3", Some(b"33"))])).unwrap();
    known.take(docs(Some(HOME), false, &[("ground/9", None)])).unwrap();
    let shelf = known.chunk(HOME).unwrap();
    assert_eq!(
        shelf.iter().map(|(n, d)| (n.as_str(), &d[..])).collect::<Vec<_>>(),
        [("ground/3", &b"33"[..])]
    );
    known.take(docs(None, true, &[("bag", Some(b"7"))])).unwrap();
    known.take(docs(None, true, &[])).unwrap();
    assert!(known.own().unwrap().is_empty() && known.chunk(HOME).is_some(), "scopes are apart");
    known.invariants();
}

#[test]
fn what_leaves_the_view_is_forgotten_and_a_reset_voids_nothing() {
    let mut known = begun();
    let (near, far) = (ChunkPos::new(5, 6), ChunkPos::new(3, 5));
    for chunk in [HOME, near, far] {
        known.take(docs(Some(chunk), true, &[("estate", Some(b"1"))])).unwrap();
    }
    known.take(docs(None, true, &[("bag", Some(b"1"))])).unwrap();
    known.take(docs(Some(ChunkPos::new(9, 5)), true, &[("estate", Some(b"1"))])).unwrap();
    assert_eq!(known.chunks().collect::<Vec<_>>(), [far, HOME, near], "one is out of view");
    known.follow(&TickHeader { reset: true, ..TickHeader::default() });
    known.follow(&view(HOME, true));
    assert_eq!(known.chunks().count(), 3);
    known.follow(&view(ChunkPos::new(6, 5), false));
    assert_eq!(known.chunks().collect::<Vec<_>>(), [HOME, near]);
    // It comes back whole or not at all.
    known.follow(&view(HOME, false));
    known.take(docs(Some(far), false, &[("estate", Some(b"2"))])).unwrap();
    assert_eq!(known.chunk(far), None);
    known.invariants();
    known.begin(&welcome());
    assert!(known.own().is_none() && known.chunks().next().is_none(), "a new session knows nothing");
    known.invariants();
}

#[test]
fn the_replica_keeps_them_with_its_view() {
    let mut replica = Replica::new();
    replica.begin(&welcome());
    replica.docs(docs(Some(HOME), true, &[("estate", Some(b"1"))])).unwrap();
    replica.docs(docs(None, true, &[("bag", Some(b"2"))])).unwrap();
    assert_eq!(replica.chunk_docs(HOME).unwrap()["estate"], b"1");
    assert_eq!(replica.own_docs().unwrap()["bag"], b"2");
    replica.frame(&view(ChunkPos::new(9, 9), true), &[]).unwrap();
    assert_eq!(replica.chunk_docs(HOME), None);
    assert!(replica.own_docs().is_some());
    replica.invariants();
}

#[test]
fn a_hostile_server_fills_nothing() {
    let mut known = begun();
    let large = vec![0; 1024 * 1024];
    let mut refused = 0;
    for n in 0..3 * DOCUMENTS_BYTES_MAX / large.len() {
        let name = format!("structure/{n}");
        let chunk = HOME.around(2).nth(n % 25).unwrap();
        let whole = known.chunk(chunk).is_none();
        refused += usize::from(known.take(docs(Some(chunk), whole, &[(&name, Some(&large))])).is_err());
        known.invariants();
    }
    assert_eq!(refused, 3, "each time it is full, everything is given up");
    // Nor do names without content, or empty chunks.
    let names: Vec<String> = (0..DOCUMENTS_BYTES_MAX / DOCUMENT_COST_BYTES).map(|n| n.to_string()).collect();
    let told: Vec<(&str, Option<&[u8]>)> = names.iter().map(|n| (n.as_str(), Some(&b""[..]))).collect();
    assert!(matches!(known.take(docs(None, true, &told)), Err(ReplicaError::TooMuch { .. })));
    for index in 0..10_000 {
        let outside = ChunkPos::new(index, -index);
        known.take(docs(Some(outside), true, &[("estate", Some(b"1"))])).unwrap();
    }
    assert!(known.chunks().count() <= 1);
    known.invariants();
}

proptest! {
    #[test]
    fn any_sequence_keeps_what_a_plain_map_would(seed: u64) {
        let mut draws = stream(seed, "documents");
        let mut known = begun();
        let mut plain: BTreeMap<Option<ChunkPos>, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
        let mut centre = HOME;
        for _ in 0..200 {
            if draws.random_range(0..10) == 0 {
                centre = ChunkPos::new(draws.random_range(3..8), draws.random_range(3..8));
                known.follow(&view(centre, draws.random()));
                plain.retain(|scope, _| scope.is_none_or(|chunk| centre.ring(chunk) <= 2));
                continue;
            }
            let chunk = ChunkPos::new(draws.random_range(3..8), draws.random_range(3..8));
            let scope = Some(chunk).filter(|_| draws.random_range(0..4) > 0);
            let whole = draws.random_range(0..4) == 0;
            let told: Vec<(String, Option<Vec<u8>>)> = (0..draws.random_range(0..4))
                .map(|_| {
                    let content = vec![7; draws.random_range(0..9)];
                    (format!("ground/{}", draws.random_range(0..6)), Some(content).filter(|_| draws.random()))
                })
                .collect();
            let borrowed: Vec<_> = told.iter().map(|(n, d)| (n.as_str(), d.as_deref())).collect();
            known.take(docs(scope, whole, &borrowed)).unwrap();
            if scope.is_some_and(|chunk| centre.ring(chunk) > 2) {
                continue;
            }
            if whole {
                plain.insert(scope, BTreeMap::new());
            }
            let Some(shelf) = plain.get_mut(&scope) else { continue };
            // As a map of the message does it: the last of two with one name counts.
            let told: BTreeMap<_, _> = told.into_iter().collect();
            for (name, content) in told {
                match content {
                    Some(content) => drop(shelf.insert(name, content)),
                    None => drop(shelf.remove(&name)),
                }
            }
        }
        known.invariants();
        prop_assert_eq!(known.own(), plain.get(&None));
        for index in 0..crate::limits::ISLAND_CHUNKS {
            let chunk = ChunkPos::from_index(index);
            prop_assert_eq!(known.chunk(chunk), plain.get(&Some(chunk)));
        }
    }
}
