//! A client that gives several acts one number, at homes that don't know of each other: each is an act of its own,
//! and nothing is gained or lost by it.

use super::audit::{unfinished, wrong};
use super::store::Outcome;
use super::town::{CHUNKS, ISLAND, Town, middle, tile};
use super::workers::{Doer, Finisher, Forgetter, Step, Worker, finish_all};
use chunk_sync::ids::PlayerId;
use chunk_sync::place::ChunkPos;
use proptest::prelude::*;
use world_node::rules::documents::{Doc, Record};
use world_node::rules::items::{ItemKind, Items};
use world_node::rules::limits::BAG_SLOTS;
use world_node::rules::resources::{Growth, ResourceKind};
use world_node::rules::site::TilePos;
use world_node::rules::structures::StructureKind;
use world_node::rules::transfer::{
    Decision, FENCE_READS, Transfer, clear, clear_reads, fence, forget, forget_reads, settle, settle_reads,
};
use world_node::rules::{Action, DocName, Partition, ReadSet, RuleReject, TransferId};

const ME: PlayerId = PlayerId(1);
const NUMBER: u64 = 7_000;

fn ask(town: &mut Town, number: u64, action: Action) -> Option<Outcome> {
    let mut doer = Doer::new(town.actor_with(ME, number), action);
    while doer.step(town) == Step::More {}
    doer.done
}

fn sent_by(town: &Town, from: Partition) -> (TransferId, Transfer) {
    town.store.pending().into_iter().find(|(_, transfer)| transfer.from == from).expect("it sent something")
}

fn finish(town: &mut Town, (id, transfer): (TransferId, Transfer)) {
    let mut finisher = Finisher::new(id, transfer);
    while finisher.step(&mut town.store, town.now) == Step::More {}
}

fn forget_at(town: &mut Town, to: Partition) {
    let mut forgetter = Forgetter::new(&town.store, to);
    while forgetter.step(&mut town.store) == Step::More {}
}

/// Three planks on the ground beside somebody, in another chunk than the bush.
fn planks_lie(town: &mut Town) -> (Partition, Action) {
    let here = tile(-1, 0);
    town.endow(ME, &Items::of(ItemKind::Plank, 3));
    town.stand(1, here);
    let stack = town.act_out(1, Action::Drop { item: ItemKind::Plank, count: 3 }).unwrap();
    let pick_up = Action::PickUp { chunk: here.chunk(), cell: middle(here).cell(), stack, count: 3 };
    (Partition::Chunk(ISLAND, here.chunk()), pick_up)
}

fn bush(town: &Town, besides: Partition) -> (ChunkPos, Growth) {
    let mut bushes = town.grown(|growth| growth.kind == ResourceKind::Bush).into_iter();
    bushes.find(|(chunk, _)| Partition::Chunk(ISLAND, *chunk) != besides).expect("a bush elsewhere")
}

/// Gathering and picking up under one number, both pending; then the bag is filled, if it is to be.
fn both_pending(full: bool) -> (Town, Partition, Partition) {
    let mut town = Town::new(1);
    let (lying, pick_up) = planks_lie(&mut town);
    let (chunk, bush) = bush(&town, lying);
    assert_eq!(ask(&mut town, NUMBER, pick_up), Some(Outcome::Done));
    town.stand(1, TilePos::in_chunk(chunk, bush.tile));
    assert_eq!(ask(&mut town, NUMBER, Action::Gather { chunk, resource: bush.tile }), Some(Outcome::Done));
    if full {
        town.endow(ME, &Items::of(ItemKind::Pick, BAG_SLOTS as u32));
    }
    (town, Partition::Chunk(ISLAND, chunk), lying)
}

#[test]
fn one_number_at_two_chunks_loses_nothing() {
    let (mut town, grown, lying) = both_pending(false);
    let (gathered, picked_up) = (sent_by(&town, grown), sent_by(&town, lying));
    finish(&mut town, gathered);
    // The player's partition still knows how the gathering ended.
    finish(&mut town, picked_up);
    assert_eq!((town.count(1, ItemKind::Berry), town.count(1, ItemKind::Plank)), (1, 3));
    finish_all(&mut town);
    assert_eq!(wrong(&town.store).or_else(|| unfinished(&town.store)), None);
}

#[test]
fn one_number_at_two_chunks_doubles_nothing() {
    let (mut town, grown, lying) = both_pending(true);
    let (gathered, picked_up) = (sent_by(&town, grown), sent_by(&town, lying));
    // The gathering is refused, but not cleared yet.
    let mut first = Finisher::new(gathered.0, gathered.1.clone());
    while town.store.decided().is_empty() {
        assert_eq!(first.step(&mut town.store, town.now), Step::More);
    }
    // Somebody looks at what was decided on the picking up, and falls asleep.
    let mut sleeper = Finisher::new(picked_up.0, picked_up.1.clone());
    (0..3).for_each(|_| assert_eq!(sleeper.step(&mut town.store, town.now), Step::More));
    finish(&mut town, gathered);
    forget_at(&mut town, Partition::Player(ME));
    // Now there is room, and another one settles it.
    let picks = Items::of(ItemKind::Pick, BAG_SLOTS as u32);
    let mut bag = town.bag(ME);
    assert!(bag.items.take(&picks));
    town.store.put(Partition::Player(ME), DocName::Bag, &Doc::Bag(bag));
    town.store.ledger.retain(|line| line.kind != ItemKind::Pick);
    let mut other = Finisher::new(picked_up.0, picked_up.1);
    while town.count(1, ItemKind::Plank) == 0 {
        assert_eq!(other.step(&mut town.store, town.now), Step::More);
    }
    while sleeper.step(&mut town.store, town.now) == Step::More {}
    while other.step(&mut town.store, town.now) == Step::More {}
    assert_eq!(wrong(&town.store), None);
    finish_all(&mut town);
    assert_eq!(wrong(&town.store).or_else(|| unfinished(&town.store)), None);
    assert_eq!(town.count(1, ItemKind::Plank), 3);
}

#[test]
fn one_number_at_a_chunk_and_at_the_player_are_two_acts() {
    let mut town = Town::new(1);
    let (lying, pick_up) = planks_lie(&mut town);
    town.endow(ME, &Items::of(ItemKind::Wood, 5));
    assert_eq!(ask(&mut town, NUMBER, pick_up.clone()), Some(Outcome::Done));
    let drop = Action::Drop { item: ItemKind::Wood, count: 5 };
    assert_eq!(ask(&mut town, NUMBER, drop.clone()), Some(Outcome::Done));
    assert_eq!(ask(&mut town, NUMBER, pick_up), Some(Outcome::Repeated));
    assert_eq!(ask(&mut town, NUMBER, drop), Some(Outcome::Repeated));
    let names: Vec<TransferId> = town.store.pending().into_iter().map(|(id, _)| id).collect();
    assert_ne!(names[0], names[1], "a transfer's name tells who sends it");
    for from in [lying, Partition::Player(ME)] {
        let sent = sent_by(&town, from);
        finish(&mut town, sent);
    }
    assert_eq!((town.count(1, ItemKind::Wood), town.count(1, ItemKind::Plank)), (0, 3));
    finish_all(&mut town);
    assert_eq!(wrong(&town.store).or_else(|| unfinished(&town.store)), None);
}

/// What the player's partition decided on the gathering, put down under the name of the picking up.
fn mislaid() -> (Town, (TransferId, Transfer), Decision) {
    let (mut town, grown, lying) = both_pending(false);
    let (gathered, picked_up) = (sent_by(&town, grown), sent_by(&town, lying));
    finish(&mut town, gathered.clone());
    let decision = town.store.decided()[0].2.clone();
    town.store.put(Partition::Player(ME), DocName::In(picked_up.0), &decision.clone().wrap());
    (town, picked_up, decision)
}

#[test]
fn no_step_takes_a_decision_on_what_another_partition_sent() {
    let (town, (id, transfer), decision) = mislaid();
    let me = Partition::Player(ME);
    let of = |partition, docs| town.store.load(&ReadSet::default().docs(partition, docs)).view;
    let before = fence(&of(me, FENCE_READS.into()), me).unwrap();
    let view = of(me, settle_reads(id, &transfer));
    assert_eq!(settle(&view, id, &transfer, before, town.now), Err(RuleReject::Foreign));
    let view = of(transfer.from, clear_reads(id, &transfer));
    assert_eq!(clear(&view, id, transfer.from, &decision, town.now), Err(RuleReject::Foreign));
    let decided = [(id, decision)];
    let view = town.store.load(&forget_reads(me, &decided)).view;
    assert_eq!(forget(&view, me, &decided), Ok(None));
}

#[test]
fn no_step_takes_a_transfer_from_elsewhere_than_its_name_says() {
    let (town, grown, lying) = both_pending(false);
    let ((gathered, _), (id, transfer)) = (sent_by(&town, grown), sent_by(&town, lying));
    assert_ne!(gathered, id);
    let me = Partition::Player(ME);
    let mut reads = settle_reads(gathered, &transfer);
    reads.extend(FENCE_READS);
    let view = town.store.load(&ReadSet::default().docs(me, reads)).view;
    let before = fence(&view, me).unwrap();
    assert_eq!(settle(&view, gathered, &transfer, before, town.now), Err(RuleReject::Foreign));
    let decision = Decision { v: Decision::VERSION, from: grown, refused: None };
    let view = town.store.load(&ReadSet::default().docs(lying, clear_reads(gathered, &transfer))).view;
    assert_eq!(clear(&view, gathered, lying, &decision, town.now), Err(RuleReject::Foreign));
}

/// One of the things that a client can do with a number, at places all over the four chunks.
fn deed(town: &mut Town, what: u8, which: usize) -> Action {
    match what {
        0 | 1 => {
            let grown = town.grown(|growth| growth.kind == ResourceKind::Bush);
            let (chunk, growth) = grown[which % grown.len()];
            town.stand(1, TilePos::in_chunk(chunk, growth.tile));
            Action::Gather { chunk, resource: growth.tile }
        }
        2..=4 => {
            let lying = town.store.named(|name| matches!(name, DocName::Ground(_)));
            if let Some((Partition::Chunk(_, chunk), DocName::Ground(cell), Doc::Ground(ground))) =
                lying.get(which % lying.len().max(1))
                && let Some(stack) = ground.stacks.iter().find(|stack| stack.count > 0)
            {
                town.places.insert(ME, stack.place);
                return Action::PickUp { chunk: *chunk, cell: *cell, stack: stack.id, count: 1 };
            }
            Action::Drop { item: ItemKind::Plank, count: 1 }
        }
        5 => {
            let built = town.store.named(|name| matches!(name, DocName::Structure(_)));
            if let Some((_, _, Doc::Structure(record))) = built.get(which % built.len().max(1)) {
                town.stand(1, record.site.corner);
                return Action::Demolish { chunk: record.site.anchor(), structure: record.site.id };
            }
            let place = tile(which as i32 % 6 - 3, which as i32 / 6 % 6 - 3);
            town.stand(1, place);
            Action::Build { kind: StructureKind::Hearth, place, turned: false }
        }
        _ => Action::Drop { item: ItemKind::Wood, count: 1 },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_client_that_counts_badly_gains_and_loses_nothing(
        deeds in proptest::collection::vec((0u8..16, 0usize..64, 1u64..4), 20..120),
        full: bool,
    ) {
        let mut town = Town::new(1);
        let stock = [(ItemKind::Wood, 20), (ItemKind::Stone, 20), (ItemKind::Plank, 4)];
        town.endow(ME, &Items::from(&stock[..]));
        for chunk in CHUNKS {
            town.places.insert(ME, chunk.middle());
            town.act_out(1, Action::Drop { item: ItemKind::Plank, count: 1 }).unwrap();
        }
        if full {
            let free = BAG_SLOTS - town.bag(ME).slots();
            town.endow(ME, &Items::of(ItemKind::Pick, free as u32));
        }
        let mut workers: Vec<Worker> = Vec::new();
        for (what, which, number) in deeds {
            let (pending, decided) = (town.store.pending(), town.store.decided());
            match what {
                0..8 => {
                    let action = deed(&mut town, what, which);
                    ask(&mut town, NUMBER + number, action);
                }
                8 | 9 if !pending.is_empty() => {
                    let (id, transfer) = pending[which % pending.len()].clone();
                    workers.push(Worker::Finish(Finisher::new(id, transfer)));
                }
                10 if !decided.is_empty() => {
                    let to = decided[which % decided.len()].0;
                    workers.push(Worker::Forget(Forgetter::new(&town.store, to)));
                }
                _ if !workers.is_empty() => {
                    let at = which % workers.len();
                    for _ in 0..number {
                        if workers[at].step(&mut town) == Step::Ended {
                            workers.swap_remove(at);
                            break;
                        }
                    }
                }
                _ => {}
            }
            prop_assert_eq!(wrong(&town.store), None);
        }
        finish_all(&mut town);
        for mut worker in workers {
            while worker.step(&mut town) == Step::More {}
        }
        finish_all(&mut town);
        prop_assert_eq!(wrong(&town.store).or_else(|| unfinished(&town.store)), None);
    }
}
