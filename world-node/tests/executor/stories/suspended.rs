//! Chunks whose documents went to an archive: nothing is done there, whatever somebody still knows of them.

use super::{DONE, ask_and_hold, cannot, gather, grows_in};
use crate::town::first;
use crate::world::World;
use chunk_sync::records::{DOC_SUSPENDED, SUSPENDED_SCHEMA, SuspendedRecord, encode};
use chunk_sync::store::{Cas, Document, PARTITIONS_PAGE_MAX, RawPartition, StoreFault, Token};
use chunk_sync::wire::RejectCode;
use std::collections::BTreeMap;
use world_node::executor::{Verdict, key_of};
use world_node::rules::items::ItemKind;
use world_node::rules::resources::ResourceKind;
use world_node::rules::site::TilePos;
use world_node::rules::{Action, DocName, Partition};

fn one_player() -> World {
    let mut world = World::new(2, 2);
    world.settle(1, &[(ItemKind::Wood, 9)]);
    world.enter(1, 0);
    world.run(300);
    world
}

impl World {
    fn whole(&mut self, at: Partition) -> RawPartition {
        let page = self.store.partitions_page(None, PARTITIONS_PAGE_MAX);
        page.partitions.into_iter().find(|raw| raw.key == key_of(at)).expect("it is there")
    }

    /// Puts the mark over a chunk, as `atoll suspend` does; answers what was there.
    fn suspend(&mut self, at: Partition) -> RawPartition {
        let (whole, token) = (self.whole(at), self.token());
        let record = SuspendedRecord { v: SUSPENDED_SCHEMA, sum: 7, holds: BTreeMap::new() };
        let mark = Document { cas: Cas::from(token), value: encode(&record).into() };
        let (mut stub, over) = (whole.clone(), whole.token());
        stub.recent.push(token);
        (stub.docs, stub.actors) = (BTreeMap::from([(DOC_SUSPENDED.into(), mark)]), BTreeMap::new());
        self.store.replace_partition(&stub, over).expect("is replaced");
        whole
    }

    /// Puts back what was there.
    fn resume(&mut self, at: Partition, whole: &RawPartition) {
        let (over, token): (Token, Token) = (self.whole(at).token(), self.token());
        let mut back = whole.clone();
        back.recent.push(token);
        self.store.replace_partition(&back, over).expect("is replaced");
    }

    fn names_in(&mut self, at: Partition) -> Vec<String> {
        self.stored(at).keys().map(ToString::to_string).collect()
    }
}

#[test]
fn what_was_decided_before_a_chunk_was_suspended_is_refused_and_done_after_it_is_resumed() {
    let mut world = one_player();
    let at = grows_in(ResourceKind::Tree);
    world.save(0, at, "claims");
    let action = gather(&mut world, 1, ResourceKind::Tree);
    let act = ask_and_hold(&mut world, 1, action.clone());
    let whole = world.suspend(at);
    world.release();
    assert_eq!(world.hear(1, act), cannot(RejectCode::NoIsland));
    assert_eq!(world.names_in(at), [DOC_SUSPENDED]);
    // Now it is known, and said at once.
    world.run(1_000);
    assert_eq!(world.act(1, action.clone()), cannot(RejectCode::NoIsland));
    assert_eq!((world.count(1, ItemKind::Wood), world.book.lives.len()), (9, 0));
    world.resume(at, &whole);
    world.run(10_000);
    assert_eq!(world.act(1, action), DONE);
    world.run(5_000);
    assert_eq!(world.count(1, ItemKind::Wood), 11);
    assert_eq!(world.node(0).executor.under_way(), (0, 0, 0));
}

#[test]
fn nothing_is_sent_to_a_chunk_that_is_suspended() {
    let mut world = one_player();
    let at = grows_in(ResourceKind::Tree);
    let (chunk, growth) = first(ResourceKind::Tree);
    world.save(0, at, "claims");
    world.stand(1, TilePos::in_chunk(chunk, growth.tile));
    let drop = Action::Drop { item: ItemKind::Wood, count: 3 };
    // The debit is at the player's, and is done; what it sends waits outside until the chunk is back.
    let act = ask_and_hold(&mut world, 1, drop.clone());
    let whole = world.suspend(at);
    world.release();
    world.run(8_000);
    assert!(matches!(world.verdict(1, act), None | Some(Verdict::Waiting)), "{:?}", world.verdict(1, act));
    assert_eq!((world.count(1, ItemKind::Wood), world.names_in(at)), (6, vec![DOC_SUSPENDED.to_owned()]));
    assert!(world.node(0).executor.counters().conflicts < 100, "it doesn't ask all the while");
    // Who knows that the chunk is suspended sends nothing.
    assert_eq!(world.act(1, drop), cannot(RejectCode::NoIsland));
    world.resume(at, &whole);
    assert_eq!(world.hear(1, act), DONE);
    assert!(world.names_in(at).iter().any(|name| name.starts_with("ground/")));
}

#[test]
fn an_act_whose_memory_is_in_the_archive_is_over_and_not_refused() {
    let mut world = one_player();
    let at = grows_in(ResourceKind::Tree);
    let action = gather(&mut world, 1, ResourceKind::Tree);
    let act = ask_and_hold(&mut world, 1, action);
    world.deaf = Some(StoreFault::TimedOut);
    world.release();
    assert!(world.run_until(5_000, |world| !world.book.deeds.is_empty()));
    world.kill(0);
    world.deaf = None;
    // Another node brings what it sent to its end, and forgets it.
    for _ in 0..10 {
        world.sweep(1);
        world.run(3_000);
    }
    assert!(world.is_swept());
    let whole = world.suspend(at);
    world.run(10_000);
    world.enter(1, 1);
    assert_eq!(world.hear(1, act), Verdict::Over);
    assert_eq!(world.names_in(at), [DOC_SUSPENDED]);
    assert_eq!(world.whole(at).actors, BTreeMap::new(), "nothing is remembered in a chunk that is away");
    world.resume(at, &whole);
    assert!(world.whole(at).actors.contains_key(&1), "what was remembered is back");
    let name = DocName::Resource(first(ResourceKind::Tree).1.tile).to_string();
    assert!(world.names_in(at).contains(&name));
}
