//! Acts through whole nodes: what clients ask for, what they are told, which documents they see, and what nodes tell
//! each other of it. How acts are done is `tests/executor`'s.

use crate::code;
use crate::town::{ISLAND, Town, player};
use chunk_sync::ids::{Epoch, IslandId};
use chunk_sync::limits::{ACTS_OPEN_MAX, LINK_SUSPECT_MS, TICK_MS};
use chunk_sync::place::{ChunkPos, Place};
use chunk_sync::records::{DOC_PLACE, PLACE_SCHEMA, PlaceRecord, WORLD, decode, encode};
use chunk_sync::store::{Commit, MemoryFault, PartitionKey, StoreAnswer, StoreOp, Token};
use chunk_sync::terrain::{LANDING, Terrain};
use chunk_sync::time::Tick;
use chunk_sync::wire::{Act, ActNumber, ActOutcome, Acted, RejectCode, frame, kind};
use world_node::executor::limits::{COMPARE_EVERY_MS, SAY_WAITING_MS};
use world_node::rules::documents::{BagRecord, Doc, GroundRecord, Record};
use world_node::rules::items::{ItemKind, Items};
use world_node::rules::recipes::Recipe;
use world_node::rules::resources::Growth;
use world_node::rules::site::TilePos;
use world_node::rules::{Action, ChunkLand, DocName, RuleReject};

/// The seed of the town's land.
pub(crate) const SEED: u64 = 5;

/// Puts documents into a player's partition before it enters.
pub(crate) fn endow(town: &mut Town, n: u64, place: Place, items: &[(ItemKind, u32)]) {
    let record =
        PlaceRecord { v: PLACE_SCHEMA, island: ISLAND, x: place.x, y: place.y, heading: 0, tick: Tick(1) };
    let mut bag = BagRecord::default();
    bag.items.add_all(&Items::from(items));
    let commit = Commit::new(PartitionKey::player(player(n)), Token(9_000 + n))
        .put(DOC_PLACE, encode(&record))
        .put("bag", bag.wrap().pack());
    let now_ms = town.now_ms;
    town.store.call(now_ms, &StoreOp::Commit(commit));
}

fn land() -> ChunkLand {
    ChunkLand::generate(SEED, ISLAND, LANDING, &Terrain::new(SEED, ISLAND))
}

pub(crate) fn middle(tile: u8) -> Place {
    let TilePos { x, y } = TilePos::in_chunk(LANDING, tile);
    Place { x: x * 256 + 128, y: y * 256 + 128 }
}

/// A resource of the landing chunk that needs no tool.
fn growth() -> Growth {
    *land().grown.iter().find(|growth| growth.kind.spec().tool.is_none()).expect("something grows there")
}

/// Somewhere in the landing chunk where one can stand.
pub(crate) fn spot() -> Place {
    middle((0..=255).find(|tile| land().is_buildable(*tile)).expect("a meadow"))
}

/// Asks for the `number`th act of a session in `epoch`.
pub(crate) fn ask(
    town: &mut Town,
    client: (usize, u32),
    epoch: u32,
    number: u32,
    action: &Action,
) -> ActNumber {
    ask_on(town, client, (epoch, ISLAND), number, action)
}

/// The same of a session on this island.
pub(crate) fn ask_on(
    town: &mut Town,
    (at, conn): (usize, u32),
    (epoch, island): (u32, IslandId),
    number: u32,
    action: &Action,
) -> ActNumber {
    let id = ActNumber::new(Epoch(epoch), number);
    let answered = ActNumber::new(Epoch(epoch), number - 1);
    let act = Act { id, answered, island: island.0, action: encode(action) };
    town.send(at, conn, &act.frame());
    id
}

pub(crate) fn answers(town: &Town, (at, conn): (usize, u32), id: ActNumber) -> Vec<&Acted> {
    town.seen(at, conn).acted.iter().filter(|acted| acted.id == id).collect()
}

/// The only answer to an act.
pub(crate) fn answer(town: &Town, client: (usize, u32), id: ActNumber) -> (ActOutcome, u16) {
    match answers(town, client, id)[..] {
        [acted] => (acted.outcome, acted.code),
        ref other => panic!("{other:?}"),
    }
}

pub(crate) const DONE: (ActOutcome, u16) = (ActOutcome::Done, 0);

pub(crate) fn refused(why: RuleReject) -> (ActOutcome, u16) {
    (ActOutcome::Refused, why.code())
}

pub(crate) fn bag(town: &Town, at: usize, conn: u32) -> Items {
    let docs = town.seen(at, conn).replica.as_ref().and_then(|replica| replica.own_docs());
    match Doc::unpack(DocName::Bag, docs.expect("told")["bag"].as_slice()) {
        Ok(Doc::Bag(bag)) => bag.items,
        other => panic!("{other:?}"),
    }
}

/// Stacks that a client sees in a chunk.
pub(crate) fn stacks(town: &Town, at: usize, conn: u32, chunk: ChunkPos) -> usize {
    let docs = town.seen(at, conn).replica.as_ref().and_then(|replica| replica.chunk_docs(chunk));
    let ground = docs.into_iter().flatten().filter(|(name, _)| name.starts_with("ground/"));
    let read = |(name, bytes): (&String, &Vec<u8>)| {
        let Ok(Doc::Ground(GroundRecord { stacks, .. })) = Doc::unpack(name.parse().expect("a name"), bytes)
        else {
            panic!("{name}")
        };
        stacks.len()
    };
    ground.map(read).sum()
}

#[test]
fn a_player_gathers_crafts_and_drops_and_sees_what_came_of_it() {
    let mut town = Town::new(1);
    let growth = growth();
    endow(&mut town, 1, middle(growth.tile), &[(ItemKind::Fibre, 4)]);
    town.enter_for_docs(0, 1, 1);
    town.run(5);
    let gather = Action::Gather { chunk: LANDING, resource: growth.tile };
    let gathered = ask(&mut town, (0, 1), 1, 1, &gather);
    let crafted = ask(&mut town, (0, 1), 1, 2, &Action::Craft { recipe: Recipe::Rope });
    let again = ask(&mut town, (0, 1), 1, 3, &Action::Craft { recipe: Recipe::Rope });
    town.run(5);
    assert_eq!(answer(&town, (0, 1), gathered), DONE);
    assert_eq!(answer(&town, (0, 1), crafted), DONE);
    assert_eq!(answer(&town, (0, 1), again), refused(RuleReject::Lacking));
    let spec = growth.kind.spec();
    let items = bag(&town, 0, 1);
    assert_eq!((items.count(ItemKind::Rope), items.count(spec.item)), (1, spec.units_per_act));
    let name = DocName::Resource(growth.tile).to_string();
    let seen = town.seen(0, 1).replica.as_ref().and_then(|replica| replica.chunk_docs(LANDING));
    assert!(seen.expect("told").contains_key(&name), "the resource is no longer whole");
    let dropped = ask(&mut town, (0, 1), 1, 4, &Action::Drop { item: ItemKind::Rope, count: 1 });
    town.run(5);
    assert_eq!(answer(&town, (0, 1), dropped), DONE);
    assert_eq!((bag(&town, 0, 1).count(ItemKind::Rope), stacks(&town, 0, 1, LANDING)), (0, 1));
}

#[test]
fn everybody_who_wants_documents_sees_what_happens_whichever_node_did_it() {
    let mut town = Town::new(2);
    endow(&mut town, 1, spot(), &[(ItemKind::Wood, 3)]);
    town.enter_for_docs(0, 1, 1);
    town.enter_for_docs(1, 2, 2);
    town.enter(1, 3, 3);
    town.run(20);
    let dropped = ask(&mut town, (0, 1), 1, 1, &Action::Drop { item: ItemKind::Wood, count: 1 });
    town.run(6);
    assert_eq!(answer(&town, (0, 1), dropped), DONE);
    assert_eq!([(0, 1), (1, 2)].map(|(at, conn)| stacks(&town, at, conn, LANDING)), [1, 1]);
    assert_eq!(town.seen(1, 3).docs, 0, "who didn't ask gets none");
    // Who comes later gets all of it.
    town.enter_for_docs(1, 4, 4);
    town.run(5);
    assert_eq!(stacks(&town, 1, 4, LANDING), 1);
    // What a node wasn't told, it finds by comparing with the store.
    town.deaf = Some(1);
    ask(&mut town, (0, 1), 1, 2, &Action::Drop { item: ItemKind::Wood, count: 1 });
    town.run(6);
    assert_eq!([(0, 1), (1, 2)].map(|(at, conn)| stacks(&town, at, conn, LANDING)), [2, 1]);
    town.run((COMPARE_EVERY_MS / 100) as u32 + 10);
    assert_eq!(stacks(&town, 1, 2, LANDING), 2);
}

#[test]
fn a_gift_reaches_a_player_of_another_node() {
    let mut town = Town::new(2);
    endow(&mut town, 1, spot(), &[(ItemKind::Wood, 3)]);
    endow(&mut town, 2, spot(), &[]);
    town.enter_for_docs(0, 1, 1);
    town.enter_for_docs(1, 2, 2);
    town.run(20);
    let give = Action::Give { to: player(2), item: ItemKind::Wood, count: 2 };
    let given = ask(&mut town, (0, 1), 1, 1, &give);
    town.run(8);
    assert_eq!(answer(&town, (0, 1), given), DONE);
    assert_eq!(bag(&town, 0, 1).count(ItemKind::Wood), 1);
    assert_eq!(bag(&town, 1, 2).count(ItemKind::Wood), 2, "the node that holds the session was told");
}

#[test]
fn what_makes_no_sense_is_refused_and_what_lies_ends_the_session() {
    let mut town = Town::new(1);
    endow(&mut town, 1, spot(), &[(ItemKind::Wood, 20)]);
    town.enter_for_docs(0, 1, 1);
    town.run(5);
    let id = ActNumber::new(Epoch(1), 1);
    let act = Act { id, answered: ActNumber(0), island: ISLAND.0, action: b"\x81\xa4fish\x80".to_vec() };
    town.send(0, 1, &act.frame());
    let nowhere = ask(&mut town, (0, 1), 1, 2, &Action::Travel { island: IslandId(77) });
    town.run(2);
    let many: Vec<ActNumber> = (3..=3 + ACTS_OPEN_MAX as u32)
        .map(|number| ask(&mut town, (0, 1), 1, number, &Action::Drop { item: ItemKind::Wood, count: 1 }))
        .collect();
    // The same again, in the same session: it has its answer or will get it.
    ask(&mut town, (0, 1), 1, 3, &Action::Drop { item: ItemKind::Wood, count: 1 });
    town.run(40);
    assert_eq!(answer(&town, (0, 1), id), (ActOutcome::Refused, RejectCode::BadAct as u16));
    assert_eq!(answer(&town, (0, 1), nowhere), refused(RuleReject::NoJourney));
    let (last, first) = many.split_last().expect("several");
    assert!(first.iter().all(|id| answer(&town, (0, 1), *id) == DONE));
    assert_eq!(answer(&town, (0, 1), *last), (ActOutcome::Refused, RejectCode::TooManyActs as u16));
    assert_eq!(bag(&town, 0, 1).count(ItemKind::Wood), 20 - ACTS_OPEN_MAX as u32);
    // An act of a session that was never.
    ask(&mut town, (0, 1), 9, 1, &Action::Craft { recipe: Recipe::Rope });
    town.run(2);
    assert_eq!(code(&town, 0, 1), Some(RejectCode::Malformed));
}

#[test]
fn while_the_store_is_away_acts_are_refused_and_everything_else_goes_on() {
    let mut town = Town::new(1);
    endow(&mut town, 1, spot(), &[(ItemKind::Wood, 2)]);
    town.enter_for_docs(0, 1, 1);
    town.run(5);
    town.store.set_fault(MemoryFault::Away);
    let drop = Action::Drop { item: ItemKind::Wood, count: 1 };
    let refused = ask(&mut town, (0, 1), 1, 1, &drop);
    town.run(20);
    assert_eq!(answer(&town, (0, 1), refused), (ActOutcome::Refused, RejectCode::StoreAway as u16));
    assert_eq!((town.nodes[0].core.sessions(), bag(&town, 0, 1).count(ItemKind::Wood)), (1, 2));
    town.store.set_fault(MemoryFault::None);
    let done = ask(&mut town, (0, 1), 1, 2, &drop);
    town.run(20);
    assert_eq!(answer(&town, (0, 1), done), DONE);
    assert_eq!((bag(&town, 0, 1).count(ItemKind::Wood), stacks(&town, 0, 1, LANDING)), (1, 1));
}

#[test]
fn a_client_that_was_skipped_gets_the_documents_whole() {
    let mut town = Town::new(1);
    endow(&mut town, 1, spot(), &[(ItemKind::Wood, 2)]);
    town.enter_for_docs(0, 1, 1);
    town.enter_for_docs(0, 2, 2);
    town.run(5);
    town.nodes[0].clients.seen.get_mut(&2).expect("there").lag();
    town.run(2);
    ask(&mut town, (0, 1), 1, 1, &Action::Drop { item: ItemKind::Wood, count: 1 });
    town.run(6);
    town.nodes[0].clients.unstick(2);
    town.run(6);
    assert_eq!(stacks(&town, 0, 2, LANDING), 1);
}

#[test]
fn a_journey_ends_the_session_and_leads_to_the_landing_of_the_other_island() {
    let mut town = Town::new(1);
    let other = IslandId(2);
    town.plan(&[ISLAND, other], 1);
    let away = Place { x: 34_000, y: 34_000 };
    endow(&mut town, 1, away, &[(ItemKind::Wood, 2)]);
    town.enter_for_docs(0, 1, 1);
    town.run(20);
    let travelled = ask(&mut town, (0, 1), 1, 1, &Action::Travel { island: other });
    town.run(5);
    assert_eq!(answer(&town, (0, 1), travelled), DONE);
    assert_eq!(code(&town, 0, 1), Some(RejectCode::Travelled));
    // Where it stood no longer counts, not even on the island that it left.
    let view = town.partition(1);
    let place: PlaceRecord = decode(view.doc(DOC_PLACE).expect("endowed")).expect("a place");
    assert_eq!(place.tick, Tick(1), "no place is saved after the journey");
    // A ticket of before the journey is good for nothing, and takes no session.
    town.enter_on(0, 3, 1, ISLAND);
    town.run(5);
    assert_eq!((code(&town, 0, 3), town.seen(0, 3).closed), (Some(RejectCode::Travelled), true));
    assert!(town.seen(0, 3).welcome.is_none());
    town.enter_on(0, 2, 1, other);
    town.run(5);
    assert_eq!(town.seen(0, 2).welcome.as_ref().map(|welcome| welcome.island), Some(other.0));
    assert_eq!(town.place(0, 2).chunk(), LANDING);
    assert_eq!(bag(&town, 0, 2).count(ItemKind::Wood), 2, "the bag came along");
}

#[test]
fn who_waits_for_a_slow_store_is_told_why() {
    let mut town = Town::new(1);
    endow(&mut town, 1, spot(), &[(ItemKind::Wood, 1)]);
    town.enter_for_docs(0, 1, 1);
    town.run(5);
    town.slow = Some(is_act);
    let dropped = ask(&mut town, (0, 1), 1, 1, &Action::Drop { item: ItemKind::Wood, count: 1 });
    town.run((SAY_WAITING_MS / TICK_MS) as u32 + 5);
    let [waits] = answers(&town, (0, 1), dropped)[..] else { panic!("it waits") };
    let slow = RejectCode::StoreSlow;
    assert_eq!(
        (waits.outcome, waits.code, waits.reason.as_str(), waits.text.as_str()),
        (ActOutcome::Waiting, slow as u16, slow.label(), slow.text())
    );
    town.catch_up();
    town.run(10);
    assert_eq!(answers(&town, (0, 1), dropped).last().map(|acted| acted.outcome), Some(ActOutcome::Done));
}

/// Whether an operation is the commit of an act.
pub(crate) fn is_act(op: &StoreOp) -> bool {
    matches!(op, StoreOp::Commit(commit) if commit.act.is_some())
}

#[test]
fn what_a_node_committed_and_never_told_is_seen_soon_after_it_fell_silent() {
    // Whenever in the round of comparisons it happens.
    for wait in [0, 11, 22, 33, 44] {
        let mut town = Town::new(2);
        endow(&mut town, 1, spot(), &[(ItemKind::Wood, 1)]);
        town.enter_for_docs(0, 1, 1);
        town.enter_for_docs(1, 2, 2);
        town.run(20 + wait);
        ask(&mut town, (0, 1), 1, 1, &Action::Drop { item: ItemKind::Wood, count: 1 });
        // The stack lies in the store: what its node would say of it next, it never says.
        let chunk = PartitionKey::chunk(WORLD, ISLAND, LANDING);
        let lies = |town: &mut Town| {
            let now_ms = town.now_ms;
            match town.store.call(now_ms, &StoreOp::Load { partition: chunk.clone() }) {
                StoreAnswer::Loaded(view) => {
                    view.docs.keys().any(|name| name.as_str().starts_with("ground/"))
                }
                other => panic!("{other:?}"),
            }
        };
        for _ in 0..10 {
            if !lies(&mut town) {
                town.now_ms += TICK_MS;
                (0..2).for_each(|at| town.tick(at));
            }
        }
        assert!(lies(&mut town));
        drop(town.nodes.remove(0));
        assert_eq!(stacks(&town, 0, 2, LANDING), 0, "nobody said so");
        town.run(((LINK_SUSPECT_MS + 1_000) / TICK_MS) as u32);
        assert_eq!(stacks(&town, 0, 2, LANDING), 1, "after {wait} ticks");
    }
}

#[test]
fn an_act_asked_for_again_is_remembered_also_where_its_island_is_not_open() {
    let mut town = Town::new(1);
    let other = IslandId(2);
    town.plan(&[ISLAND, other], 1);
    town.run(20);
    let land = ChunkLand::generate(SEED, other, LANDING, &Terrain::new(SEED, other));
    let growth =
        *land.grown.iter().find(|growth| growth.kind.spec().tool.is_none()).expect("something grows");
    let place = middle(growth.tile);
    let record =
        PlaceRecord { v: PLACE_SCHEMA, island: other, x: place.x, y: place.y, heading: 0, tick: Tick(1) };
    town.put(1, DOC_PLACE, encode(&record));
    town.enter_on(0, 1, 1, other);
    town.run(5);
    town.slow = Some(is_act);
    let gather = Action::Gather { chunk: LANDING, resource: growth.tile };
    ask_on(&mut town, (0, 1), (1, other), 1, &gather);
    town.run(2);
    assert!(town.waits());
    town.send(0, 1, &frame(kind::BYE, b""));
    town.catch_up();
    town.run(40);
    // It comes in where nobody knows of that island (a node that has yet to read the plan looks the same).
    town.plan(&[ISLAND], 1);
    town.run(20);
    town.visit(0, 2, 1, ISLAND);
    town.run(5);
    let id = ask_on(&mut town, (0, 2), (1, other), 1, &gather);
    town.run(10);
    let (outcome, _) = answer(&town, (0, 2), id);
    assert!(matches!(outcome, ActOutcome::Done | ActOutcome::Over), "{outcome:?}: it is done");
    assert_eq!(bag(&town, 0, 2).count(growth.kind.spec().item), growth.kind.spec().units_per_act);
}

#[test]
fn two_sessions_of_one_player_spend_the_last_item_once() {
    let mut town = Town::new(2);
    endow(&mut town, 1, spot(), &[(ItemKind::Wood, 1)]);
    endow(&mut town, 2, spot(), &[]);
    town.enter_for_docs(0, 1, 1);
    town.enter_for_docs(1, 2, 2);
    town.run(20);
    // The older session's node is slow: its gift is under way while the player comes in elsewhere and drops it.
    town.slow = Some(is_act);
    let give = Action::Give { to: player(2), item: ItemKind::Wood, count: 1 };
    ask(&mut town, (0, 1), 1, 1, &give);
    town.run(2);
    assert!(town.waits());
    town.slow = None;
    town.enter_for_docs(1, 3, 1);
    town.run(5);
    let dropped = ask(&mut town, (1, 3), 2, 1, &Action::Drop { item: ItemKind::Wood, count: 1 });
    town.run(10);
    assert_eq!(answer(&town, (1, 3), dropped), DONE);
    town.catch_up();
    town.run(40);
    assert_eq!((bag(&town, 1, 3).count(ItemKind::Wood), bag(&town, 1, 2).count(ItemKind::Wood)), (0, 0));
    assert_eq!(stacks(&town, 1, 2, LANDING), 1);
}
