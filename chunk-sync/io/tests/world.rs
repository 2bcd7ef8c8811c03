//! Opening the world: everybody who opens it agrees on its record and, within a call's time, on its clock.

use chunk_sync_io::store::{StoreHandle, StoreUrl};
use chunk_sync_io::world::open_world;

async fn open(folder: &tempfile::TempDir) -> StoreHandle {
    let url: StoreUrl = format!("embedded:{}", folder.path().display()).parse().expect("a URL");
    StoreHandle::open(&url).await.expect("a writable folder")
}

#[tokio::test]
async fn those_who_open_a_new_world_at_once_agree() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(&folder).await;
    let opening: Vec<_> = (0..16)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { open_world(&store).await.expect("opened") })
        })
        .collect();
    let mut opened = Vec::new();
    for one in opening {
        opened.push(one.await.expect("no panic"));
    }
    let (record, _) = &opened[0];
    assert_eq!(record.keys.len(), 1);
    assert_ne!(record.keys[0].secret, [0; 32]);
    assert!(opened.iter().all(|(other, _)| other == record));
    let shown: Vec<u64> = opened.iter().map(|(_, clock)| clock.now_ms()).collect();
    let apart_ms = shown.iter().max().expect("16") - shown.iter().min().expect("16");
    // One clock, read through calls of a few milliseconds; seconds apart would be another base.
    assert!(apart_ms < 1_000, "clocks are {apart_ms} ms apart");
}

#[tokio::test]
async fn a_world_stays_the_same_and_its_clock_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, shown_ms) = {
        let store = open(&folder).await;
        let (record, clock) = open_world(&store).await.expect("opened");
        (record, clock.now_ms())
    };
    let store = open(&folder).await;
    let (second, clock) = open_world(&store).await.expect("opened again");
    assert_eq!(first, second);
    assert!(clock.now_ms() >= shown_ms);
    let other = open_world(&open(&tempfile::tempdir().expect("a folder")).await).await.expect("opened");
    assert_ne!(other.0.seed, first.seed);
    assert_ne!(other.0.keys, first.keys);
}
