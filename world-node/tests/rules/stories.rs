//! Each act alone: what it does, what it costs, and why it is refused.

use super::audit::{unfinished, wrong};
use super::town::{CHUNKS, CORNER, ISLAND, Town, middle, tile};
use super::workers::{Finisher, Step, finish_all};
use chunk_sync::ids::{IslandId, PlayerId};
use chunk_sync::place::ChunkPos;
use chunk_sync::time::Tick;
use world_node::rules::documents::{Doc, Right, StructureState};
use world_node::rules::items::{ItemKind, Items};
use world_node::rules::limits::{
    BAG_SLOTS, GROUND_STACKS_PER_CELL_MAX, OFFER_STAMINA, STAMINA_MAX, TRAVEL_STAMINA,
};
use world_node::rules::recipes::Recipe;
use world_node::rules::resources::ResourceKind;
use world_node::rules::site::TilePos;
use world_node::rules::structures::StructureKind;
use world_node::rules::transfer::{Cargo, Transfer};
use world_node::rules::{ActId, Action, Actor, DocName, Event, Partition, RuleReject, Sender, decide, reads};

const ME: PlayerId = PlayerId(1);
const YOU: PlayerId = PlayerId(2);

fn at_peace(town: &Town) {
    assert_eq!(wrong(&town.store).or_else(|| unfinished(&town.store)), None);
}

fn build(kind: StructureKind, place: TilePos) -> Action {
    Action::Build { kind, place, turned: false }
}

/// A tile near the corner from which a hall reaches into all four chunks.
fn crossing(town: &Town) -> TilePos {
    let free =
        |at: &TilePos| (0..12).all(|n| town.is_buildable(TilePos { x: at.x + n % 4, y: at.y + n / 4 }));
    let mut candidates = (1..4).flat_map(|x| (1..3).map(move |y| tile(-x, -y)));
    candidates.find(free).expect("free ground around the corner")
}

fn standing(town: &Town) -> Vec<ActId> {
    let all = town.store.all().into_iter().filter_map(|(_, _, doc)| match doc {
        Doc::Structure(record) if record.state == StructureState::Standing => Some(record.site.id),
        _ => None,
    });
    all.collect()
}

#[test]
fn gathering_fills_the_bag_empties_the_resource_and_it_grows_back() {
    let mut town = Town::new(2);
    let (chunk, bush) = town.grown(|growth| growth.kind == ResourceKind::Bush)[0];
    let gather = Action::Gather { chunk, resource: bush.tile };
    let spec = ResourceKind::Bush.spec();
    town.stand(1, TilePos::in_chunk(chunk, bush.tile));
    for taken in 1..=spec.units_max {
        town.act_out(1, gather.clone()).unwrap();
        assert_eq!(town.count(1, ItemKind::Berry), taken);
    }
    assert_eq!(town.act_out(1, gather.clone()), Err(RuleReject::Exhausted));
    assert_eq!(town.bag(ME).stamina.now(town.now), STAMINA_MAX - spec.units_max * spec.stamina);
    town.now = Tick(town.now.0 + spec.regrow_ticks);
    town.act_out(1, gather.clone()).unwrap();
    assert_eq!(town.act_out(1, gather.clone()), Err(RuleReject::Exhausted));
    // Whole again, only what differs is kept.
    town.now = Tick(town.now.0 + spec.regrow_ticks * u64::from(spec.units_max) * 2);
    let all: u32 = (0..20).filter(|_| town.act_out(1, gather.clone()).is_ok()).count() as u32;
    assert_eq!(all, spec.units_max, "never more than the maximum");
    at_peace(&town);
}

#[test]
fn gathering_is_refused_with_a_reason_and_costs_nothing() {
    let mut town = Town::new(2);
    let (chunk, rock) = town.grown(|growth| growth.kind == ResourceKind::Rock)[0];
    let gather = Action::Gather { chunk, resource: rock.tile };
    town.stand(1, TilePos::in_chunk(chunk, rock.tile));
    assert_eq!(town.act_out(1, gather.clone()), Err(RuleReject::NoTool));
    town.endow(ME, &Items::of(ItemKind::Pick, BAG_SLOTS as u32));
    assert_eq!(town.act_out(1, gather.clone()), Err(RuleReject::BagFull));
    town.endow(YOU, &Items::of(ItemKind::Pick, 1));
    assert_eq!(town.act_out(2, gather.clone()), Err(RuleReject::TooFar));
    town.stand(2, TilePos::in_chunk(chunk, rock.tile));
    town.act_out(2, gather).unwrap();
    let bare = (0..=255).find(|number| town.land_of(chunk).growth(*number).is_none()).unwrap();
    let nothing = Action::Gather { chunk, resource: bare };
    assert_eq!(town.act_out(2, nothing), Err(RuleReject::NotThere));
    let off = Action::Gather { chunk: ChunkPos::new(-1, 40), resource: 0 };
    assert_eq!(town.act_out(2, off), Err(RuleReject::NotThere));
    assert_eq!(town.bag(ME).stamina.now(town.now), STAMINA_MAX);
    at_peace(&town);
}

#[test]
fn a_bag_that_filled_up_meanwhile_sends_the_goods_back_to_grow_on() {
    let mut town = Town::new(1);
    let (chunk, bush) = town.grown(|growth| growth.kind == ResourceKind::Bush)[0];
    let gather = Action::Gather { chunk, resource: bush.tile };
    town.stand(1, TilePos::in_chunk(chunk, bush.tile));
    let (actor, _) = town.act(1, gather.clone()).unwrap();
    let resource = (Partition::Chunk(ISLAND, chunk), DocName::Resource(bush.tile));
    assert!(town.store.get(resource.0, resource.1).is_some());
    town.endow(ME, &Items::of(ItemKind::Pick, BAG_SLOTS as u32));
    finish_all(&mut town);
    let ended = Event::Ended { act: actor.act, refused: Some(RuleReject::BagFull) };
    assert!(town.store.events.iter().any(|(_, event)| *event == ended));
    assert_eq!(town.store.get(resource.0, resource.1), None, "whole again");
    assert_eq!(town.bag(ME).stamina.now(town.now), STAMINA_MAX);
    at_peace(&town);
}

#[test]
fn crafting_uses_up_what_it_needs() {
    let mut town = Town::new(1);
    assert_eq!(town.act_out(1, Action::Craft { recipe: Recipe::Plank }), Err(RuleReject::Lacking));
    town.endow(ME, &Items::from(&[(ItemKind::Wood, 5), (ItemKind::Fibre, 9)][..]));
    town.act_out(1, Action::Craft { recipe: Recipe::Plank }).unwrap();
    town.act_out(1, Action::Craft { recipe: Recipe::Rope }).unwrap();
    town.act_out(1, Action::Craft { recipe: Recipe::Pick }).unwrap();
    let left = [(ItemKind::Wood, 1), (ItemKind::Fibre, 5), (ItemKind::Plank, 2), (ItemKind::Pick, 1)];
    assert_eq!(town.bag(ME).items, Items::from(&left[..]));
    town.endow(ME, &Items::of(ItemKind::Pick, BAG_SLOTS as u32 - 4));
    assert_eq!(town.act_out(1, Action::Craft { recipe: Recipe::Rope }), Err(RuleReject::BagFull));
    at_peace(&town);
}

#[test]
fn a_tired_player_rests_first() {
    let mut town = Town::new(1);
    town.endow(ME, &Items::of(ItemKind::Wood, 500));
    let crafted = (0..100).take_while(|_| town.act_out(1, Action::Craft { recipe: Recipe::Plank }).is_ok());
    assert_eq!(crafted.count() as u32, STAMINA_MAX / Recipe::Plank.spec().stamina);
    assert_eq!(town.act_out(1, Action::Craft { recipe: Recipe::Plank }), Err(RuleReject::Tired));
    town.now = Tick(town.now.0 + 100);
    town.act_out(1, Action::Craft { recipe: Recipe::Plank }).unwrap();
    at_peace(&town);
}

#[test]
fn a_hall_stands_over_four_chunks_and_leaves_them_free_again() {
    let mut town = Town::new(2);
    town.endow(ME, &Items::from(&[(ItemKind::Plank, 40), (ItemKind::Stone, 20), (ItemKind::Wood, 20)][..]));
    town.endow(YOU, &Items::of(ItemKind::Stone, 20));
    let place = crossing(&town);
    let hall = town.act_out(1, build(StructureKind::Hall, place)).unwrap();
    assert_eq!(town.count(1, ItemKind::Plank), 20);
    assert_eq!(standing(&town), [hall]);
    at_peace(&town);
    // Its last tile lies in the north-eastern chunk, its anchor in the south-western one.
    let last = TilePos { x: place.x + 3, y: place.y + 2 };
    assert_eq!((place.chunk(), last.chunk()), (CHUNKS[0], CHUNKS[3]));
    assert_eq!(town.act_out(2, build(StructureKind::Hearth, last)), Err(RuleReject::Occupied));
    let demolish = Action::Demolish { chunk: CHUNKS[0], structure: hall };
    assert_eq!(town.act_out(2, demolish.clone()), Err(RuleReject::NotYours));
    town.stand(1, tile(10, 10));
    assert_eq!(town.act_out(1, demolish.clone()), Err(RuleReject::TooFar));
    town.stand(1, CORNER);
    town.act_out(1, demolish.clone()).unwrap();
    assert_eq!(town.count(1, ItemKind::Plank), 30);
    assert_eq!(town.act_out(1, demolish), Err(RuleReject::NotThere));
    town.act_out(2, build(StructureKind::Hearth, last)).unwrap();
    at_peace(&town);
}

#[test]
fn ground_that_was_lost_while_others_were_asked_is_given_back_with_the_materials() {
    let mut town = Town::new(2);
    town.endow(ME, &Items::from(&[(ItemKind::Plank, 20), (ItemKind::Stone, 10)][..]));
    town.endow(YOU, &Items::of(ItemKind::Stone, 4));
    let place = crossing(&town);
    // Both decide on the same view; the hearth's commit arrives first, in the chunk that is asked last.
    let (hall, _) = town.act(1, build(StructureKind::Hall, place)).unwrap();
    let last = TilePos { x: place.x + 3, y: place.y + 2 };
    town.act_out(2, build(StructureKind::Hearth, last)).unwrap();
    finish_all(&mut town);
    let ended = Event::Ended { act: hall.act, refused: Some(RuleReject::Occupied) };
    assert!(town.store.events.iter().any(|(_, event)| *event == ended));
    assert_eq!((town.count(1, ItemKind::Plank), town.count(1, ItemKind::Stone)), (20, 10));
    assert_eq!(town.bag(ME).stamina.now(town.now), STAMINA_MAX);
    assert_eq!(standing(&town).len(), 1);
    at_peace(&town);
}

#[test]
fn a_border_that_was_drawn_while_others_were_asked_stops_a_build() {
    let mut town = Town::new(1);
    town.endow(ME, &Items::from(&[(ItemKind::Plank, 20), (ItemKind::Stone, 10), (ItemKind::Totem, 1)][..]));
    let (hall, _) = town.act(1, build(StructureKind::Hall, crossing(&town))).unwrap();
    // The builder's own estate, on one of the four chunks only.
    let free = (0..=255).map(|number| TilePos::in_chunk(CHUNKS[3], number));
    let place = free.rev().find(|at| town.is_buildable(*at)).unwrap();
    town.stand(1, place);
    assert!(town.act_alone(1, Action::ClaimEstate { place, chunks: vec![] }));
    finish_all(&mut town);
    assert!(was_refused(&town, hall.act, RuleReject::Border));
    assert_eq!(town.count(1, ItemKind::Plank), 20);
    at_peace(&town);
}

#[test]
fn demolishing_waits_for_room_in_the_bag() {
    let mut town = Town::new(1);
    town.endow(ME, &Items::of(ItemKind::Stone, 4));
    let place = (0..16).map(|n| tile(n % 4, n / 4)).find(|at| town.is_buildable(*at)).unwrap();
    town.stand(1, place);
    let hearth = town.act_out(1, build(StructureKind::Hearth, place)).unwrap();
    let demolish = Action::Demolish { chunk: place.chunk(), structure: hearth };
    town.act(1, demolish.clone()).unwrap();
    assert_eq!(town.act(1, demolish.clone()).err(), Some(RuleReject::Busy));
    town.endow(ME, &Items::of(ItemKind::Pick, BAG_SLOTS as u32));
    finish_all(&mut town);
    assert_eq!(standing(&town), [hearth]);
    assert_eq!(town.act_out(1, demolish), Err(RuleReject::BagFull));
    at_peace(&town);
}

#[test]
fn nothing_is_built_on_water_on_resources_off_the_island_or_out_of_reach() {
    let mut town = Town::new(1);
    town.endow(ME, &Items::of(ItemKind::Stone, 40));
    let hearth = |place| build(StructureKind::Hearth, place);
    let water = TilePos { x: 0, y: 0 };
    let (chunk, growth) = town.grown(|_| true)[0];
    let bush = TilePos::in_chunk(chunk, growth.tile);
    for bad in [water, bush, TilePos { x: -1, y: 3 }, TilePos { x: i32::MAX, y: i32::MIN }] {
        if bad.on_island() {
            town.stand(1, bad);
        }
        assert_eq!(town.act_out(1, hearth(bad)), Err(RuleReject::BadGround), "{bad:?}");
    }
    town.stand(1, tile(40, 0));
    let free = (0..16).map(|n| tile(n % 4, n / 4)).find(|at| town.is_buildable(*at)).unwrap();
    assert_eq!(town.act_out(1, hearth(free)), Err(RuleReject::TooFar));
    at_peace(&town);
}

#[test]
fn an_estate_keeps_others_out_until_they_are_allowed_and_again_after() {
    let mut town = Town::new(3);
    town.endow(ME, &Items::from(&[(ItemKind::Totem, 2), (ItemKind::Stone, 8)][..]));
    town.endow(YOU, &Items::from(&[(ItemKind::Stone, 40), (ItemKind::Totem, 1), (ItemKind::Plank, 80)][..]));
    let free: Vec<TilePos> =
        (0..64).map(|n| tile(n % 8 - 4, n / 8 - 4)).filter(|at| town.is_buildable(*at)).collect();
    let in_chunk = |chunk: ChunkPos| free.iter().copied().find(|at| at.chunk() == chunk).unwrap();
    let (home, east) = (in_chunk(CHUNKS[0]), in_chunk(CHUNKS[1]));
    let claim = |place: TilePos, chunks: &[ChunkPos]| Action::ClaimEstate { place, chunks: chunks.to_vec() };
    town.stand(1, home);
    assert_eq!(town.act_out(1, claim(home, &[ChunkPos::new(3, 3)])), Err(RuleReject::BadGround));
    let estate = town.act_out(1, claim(home, &[CHUNKS[1], CHUNKS[2]])).unwrap();
    at_peace(&town);
    town.stand(2, east);
    let hearth = build(StructureKind::Hearth, east);
    assert_eq!(town.act_out(2, hearth.clone()), Err(RuleReject::Forbidden));
    town.stand(2, in_chunk(CHUNKS[2]));
    assert_eq!(town.act_out(2, claim(in_chunk(CHUNKS[2]), &[])), Err(RuleReject::Claimed));
    town.stand(2, east);
    let chunk = CHUNKS[0];
    let permit = Action::Permit { chunk, estate, player: YOU, rights: vec![Right::Build] };
    assert_eq!(town.act_out(2, permit.clone()), Err(RuleReject::NotYours));
    town.act_out(1, permit).unwrap();
    let built = town.act_out(2, hearth).unwrap();
    let demolish = Action::Demolish { chunk: CHUNKS[1], structure: built };
    assert_eq!(town.act_out(2, demolish.clone()), Err(RuleReject::Forbidden), "that right wasn't given");
    // The hall would cross from the estate into free land.
    town.stand(2, CORNER);
    assert_eq!(town.act_out(2, build(StructureKind::Hall, crossing(&town))), Err(RuleReject::Border));
    town.act_out(1, Action::Revoke { chunk, estate, player: YOU }).unwrap();
    let settled = Event::EstateSettled { estate, version: 3 };
    assert!(town.store.events.iter().any(|(_, event)| *event == settled));
    let other = free.iter().copied().find(|at| at.chunk() == CHUNKS[1] && *at != east).unwrap();
    town.stand(2, other);
    assert_eq!(town.act_out(2, build(StructureKind::Hearth, other)), Err(RuleReject::Forbidden));
    town.stand(1, east);
    town.act_out(1, demolish).unwrap();
    // The totem falls, and with it the estate, everywhere.
    town.stand(1, home);
    town.act_out(1, Action::Demolish { chunk, structure: estate }).unwrap();
    town.act_out(2, build(StructureKind::Hearth, other)).unwrap();
    let copies = town.store.all().into_iter().filter(|(_, name, _)| *name == DocName::Estate);
    assert_eq!(copies.count(), 0);
    // Now somebody else has built there.
    assert_eq!(town.act_out(1, claim(home, &[CHUNKS[1]])), Err(RuleReject::Settled));
    at_peace(&town);
}

/// A hall of player 2 over four chunks of player 1's estate, its anchor asked and nothing else yet.
fn raised_on_an_estate(town: &mut Town) -> (ActId, ActId) {
    town.endow(ME, &Items::of(ItemKind::Totem, 1));
    town.endow(YOU, &Items::from(&[(ItemKind::Plank, 20), (ItemKind::Stone, 10)][..]));
    let place = crossing(town);
    let covers =
        |at: &TilePos| (place.x..place.x + 4).contains(&at.x) && (place.y..place.y + 3).contains(&at.y);
    let mut free = (0..64).map(|n| tile(n % 8 - 6, n / 8 - 6));
    let home = free.find(|at| town.is_buildable(*at) && at.chunk() == CHUNKS[0] && !covers(at)).unwrap();
    town.stand(1, home);
    let claim = Action::ClaimEstate { place: home, chunks: CHUNKS[1..].to_vec() };
    let estate = town.act_out(1, claim).unwrap();
    let (chunk, rights) = (CHUNKS[0], vec![Right::Build]);
    town.act_out(1, Action::Permit { chunk, estate, player: YOU, rights }).unwrap();
    let (hall, _) = town.act(2, build(StructureKind::Hall, place)).unwrap();
    finish_only(town, |transfer| matches!(transfer.cargo, Cargo::Site { .. }));
    (estate, hall.act)
}

/// Runs one finisher for each pending transfer that is wanted.
fn finish_only(town: &mut Town, wanted: fn(&Transfer) -> bool) {
    for (id, transfer) in town.store.pending().into_iter().filter(|(_, transfer)| wanted(transfer)) {
        let mut worker = Finisher::new(id, transfer);
        while worker.step(&mut town.store, town.now) == Step::More {}
    }
}

fn is_reserve(transfer: &Transfer) -> bool {
    matches!(transfer.cargo, Cargo::Reserve { .. })
}

fn is_spread(transfer: &Transfer) -> bool {
    matches!(transfer.cargo, Cargo::Estate { .. })
}

fn was_refused(town: &Town, act: ActId, why: RuleReject) -> bool {
    let ended = Event::Ended { act, refused: Some(why) };
    town.store.events.iter().any(|(_, event)| *event == ended)
}

#[test]
fn a_revocation_meets_a_build_before_the_next_chunk_is_asked() {
    let mut town = Town::new(2);
    let (estate, hall) = raised_on_an_estate(&mut town);
    town.act(1, Action::Revoke { chunk: CHUNKS[0], estate, player: YOU }).unwrap();
    for _ in 0..3 {
        finish_only(&mut town, is_spread);
    }
    assert_eq!(town.store.events.last().unwrap().1, Event::EstateSettled { estate, version: 3 });
    finish_all(&mut town);
    assert!(was_refused(&town, hall, RuleReject::Forbidden));
    assert_eq!(town.count(2, ItemKind::Plank), 20);
    assert_eq!(standing(&town), [estate]);
    at_peace(&town);
}

/// Every chunk has given its ground; only the last step is missing when the revocation is done.
#[test]
fn a_revocation_meets_a_build_before_its_last_step() {
    let mut town = Town::new(2);
    let (estate, hall) = raised_on_an_estate(&mut town);
    finish_only(&mut town, is_reserve);
    finish_only(&mut town, is_reserve);
    let last = town.store.pending().into_iter().find(|(_, transfer)| is_reserve(transfer)).unwrap();
    let mut worker = Finisher::new(last.0, last.1);
    while town.store.lives[&last.0][1] == 0 {
        assert_eq!(worker.step(&mut town.store, town.now), Step::More);
    }
    town.act(1, Action::Revoke { chunk: CHUNKS[0], estate, player: YOU }).unwrap();
    for _ in 0..3 {
        finish_only(&mut town, is_spread);
    }
    assert_eq!(town.store.events.last().unwrap().1, Event::EstateSettled { estate, version: 3 });
    assert_eq!(town.store.lives[&hall.transfer(Sender::Player)], [1, 0, 0, 0], "not decided yet");
    finish_all(&mut town);
    assert!(was_refused(&town, hall, RuleReject::Forbidden));
    assert_eq!(town.count(2, ItemKind::Plank), 20);
    assert_eq!(standing(&town), [estate]);
    at_peace(&town);
}

#[test]
fn what_is_dropped_lies_there_and_can_be_picked_up_in_parts() {
    let mut town = Town::new(2);
    town.endow(ME, &Items::from(&[(ItemKind::Wood, 60), (ItemKind::Pick, 20)][..]));
    let drop = |item, count| Action::Drop { item, count };
    assert_eq!(town.act_out(1, drop(ItemKind::Wood, 51)), Err(RuleReject::BadCount));
    assert_eq!(town.act_out(1, drop(ItemKind::Wood, 0)), Err(RuleReject::BadCount));
    assert_eq!(town.act_out(1, drop(ItemKind::Rope, 1)), Err(RuleReject::Lacking));
    let stack = town.act_out(1, drop(ItemKind::Wood, 50)).unwrap();
    let (chunk, cell) = (CORNER.chunk(), middle(CORNER).cell());
    let pick_up = |count| Action::PickUp { chunk, cell, stack, count };
    assert_eq!(town.act_out(2, pick_up(51)), Err(RuleReject::BadCount));
    town.act_out(2, pick_up(20)).unwrap();
    town.act_out(1, pick_up(30)).unwrap();
    assert_eq!((town.count(1, ItemKind::Wood), town.count(2, ItemKind::Wood)), (40, 20));
    assert_eq!(town.act_out(2, pick_up(1)), Err(RuleReject::NotThere));
    let elsewhere = Action::PickUp { chunk, cell: 200, stack, count: 1 };
    assert_eq!(town.act_out(2, elsewhere), Err(RuleReject::NotThere));
    for _ in 0..GROUND_STACKS_PER_CELL_MAX {
        town.act_out(1, drop(ItemKind::Pick, 1)).unwrap();
    }
    assert_eq!(town.act_out(1, drop(ItemKind::Pick, 1)), Err(RuleReject::TooMany));
    assert_eq!(town.count(1, ItemKind::Pick), 20 - GROUND_STACKS_PER_CELL_MAX as u32);
    at_peace(&town);
}

#[test]
fn giving_needs_somebody_near_with_room() {
    let mut town = Town::new(2);
    town.endow(ME, &Items::of(ItemKind::Pick, 3));
    let give = |to, count| Action::Give { to: PlayerId(to), item: ItemKind::Pick, count };
    assert_eq!(town.act_out(1, give(1, 1)), Err(RuleReject::NoPartner));
    assert_eq!(town.act_out(1, give(9, 1)), Err(RuleReject::NoPartner));
    assert_eq!(town.act_out(1, give(2, 4)), Err(RuleReject::Lacking));
    town.act_out(1, give(2, 1)).unwrap();
    town.endow(YOU, &Items::of(ItemKind::Pick, BAG_SLOTS as u32 - 1));
    assert_eq!(town.act_out(1, give(2, 1)), Err(RuleReject::BagFull));
    assert_eq!(town.count(1, ItemKind::Pick), 2);
    town.stand(2, tile(30, 0));
    assert_eq!(town.act_out(1, give(2, 1)), Err(RuleReject::TooFar));
    at_peace(&town);
}

#[test]
fn a_trade_is_accepted_or_called_off_once() {
    let mut town = Town::new(3);
    town.endow(ME, &Items::of(ItemKind::Pick, 2));
    town.endow(YOU, &Items::of(ItemKind::Wood, 30));
    let offer =
        Action::Offer { to: YOU, give: Items::of(ItemKind::Pick, 1), want: Items::of(ItemKind::Wood, 10) };
    let nothing = Action::Offer { to: YOU, give: Items::default(), want: Items::of(ItemKind::Wood, 1) };
    assert_eq!(town.act_out(1, nothing), Err(RuleReject::BadCount));
    let trade = town.act_out(1, offer.clone()).unwrap();
    assert_eq!(town.count(1, ItemKind::Pick), 1);
    assert_eq!(town.act_out(3, Action::Accept { trade }), Err(RuleReject::TradeClosed));
    assert_eq!(town.act_out(3, Action::Cancel { trade }), Err(RuleReject::TradeClosed));
    town.act_out(2, Action::Accept { trade }).unwrap();
    assert_eq!((town.count(1, ItemKind::Wood), town.count(2, ItemKind::Pick)), (10, 1));
    assert_eq!(town.act_out(2, Action::Accept { trade }), Err(RuleReject::TradeClosed));
    // Accepting and calling off at once: the payment comes too late and goes back.
    let trade = town.act_out(1, offer).unwrap();
    let (late, _) = town.act(2, Action::Accept { trade }).unwrap();
    town.act_out(1, Action::Cancel { trade }).unwrap();
    let ended = Event::Ended { act: late.act, refused: Some(RuleReject::TradeClosed) };
    assert!(town.store.events.iter().any(|(_, event)| *event == ended));
    assert_eq!((town.count(1, ItemKind::Pick), town.count(2, ItemKind::Wood)), (1, 20));
    assert!(town.store.get(Partition::Trade(trade), DocName::Trade).is_none(), "a trade that is over goes");
    at_peace(&town);
}

#[test]
fn offers_that_come_to_nothing_tire_all_the_same() {
    let mut town = Town::new(2);
    town.endow(ME, &Items::of(ItemKind::Pick, 1));
    let offer = Action::Offer { to: YOU, give: Items::of(ItemKind::Pick, 1), want: Items::default() };
    let offered = std::iter::from_fn(|| {
        let trade = town.act_out(1, offer.clone()).ok()?;
        town.act_out(1, Action::Cancel { trade }).ok()
    });
    assert_eq!(offered.take(100).count() as u32, STAMINA_MAX / OFFER_STAMINA);
    assert_eq!(town.act_out(1, offer), Err(RuleReject::Tired));
    assert_eq!(town.count(1, ItemKind::Pick), 1);
    at_peace(&town);
}

#[test]
fn a_trade_keeps_what_a_full_bag_refuses_until_it_is_fetched() {
    let mut town = Town::new(2);
    town.endow(ME, &Items::of(ItemKind::Pick, 1));
    town.endow(YOU, &Items::of(ItemKind::Totem, BAG_SLOTS as u32));
    let (give, want) = (Items::of(ItemKind::Pick, 1), Items::default());
    let trade = town.act_out(1, Action::Offer { to: YOU, give, want }).unwrap();
    town.act_out(2, Action::Accept { trade }).unwrap();
    assert_eq!(town.count(2, ItemKind::Pick), 0);
    at_peace(&town);
    town.act_out(2, Action::Drop { item: ItemKind::Totem, count: 1 }).unwrap();
    assert_eq!(town.act_out(1, Action::Collect { trade }), Err(RuleReject::NotThere));
    town.act_out(2, Action::Collect { trade }).unwrap();
    assert_eq!(town.count(2, ItemKind::Pick), 1);
    assert_eq!(town.act_out(2, Action::Collect { trade }), Err(RuleReject::TradeClosed));
    at_peace(&town);
}

#[test]
fn travelling_is_a_durable_placement() {
    let mut town = Town::new(1);
    assert_eq!(town.act_out(1, Action::Travel { island: ISLAND }), Err(RuleReject::NoJourney));
    town.act_out(1, Action::Travel { island: IslandId(7) }).unwrap();
    let Some(Doc::Placement(placement)) = town.store.get(Partition::Player(ME), DocName::Placement) else {
        panic!("no placement")
    };
    assert_eq!((placement.island, placement.place, placement.tick), (IslandId(7), None, town.now));
    assert_eq!(town.bag(ME).stamina.now(town.now), STAMINA_MAX - TRAVEL_STAMINA);
    town.now = Tick(town.now.0 - 1);
    let late = town.act_out(1, Action::Travel { island: IslandId(8) });
    assert_eq!(late, Err(RuleReject::NoJourney), "an older tick doesn't move a player back");
}

#[test]
fn a_guest_goes_home_or_settles_where_it_is() {
    let guest = |town: &mut Town| Actor { home: IslandId(7), ..town.actor(ME) };
    let placed = |town: &Town| match town.store.get(Partition::Player(ME), DocName::Placement) {
        Some(Doc::Placement(placement)) => Some((placement.island, placement.place)),
        _ => None,
    };
    let mut town = Town::new(1);
    let actor = guest(&mut town);
    let decide_on = |town: &Town, island: IslandId| {
        let action = Action::Travel { island };
        let view = town.load(&reads(&actor, &action), ISLAND).view;
        decide(&actor, &action, &view).unwrap()
    };
    let home = decide_on(&town, IslandId(7));
    assert!(!home.commit.writes.contains_key(&DocName::Placement), "its saved place at home stays");
    assert!(home.commit.writes.contains_key(&DocName::Bag), "it is tired by it");
    assert_eq!(placed(&town), None);
    let here = decide_on(&town, ISLAND);
    let Some(Some(Doc::Placement(placement))) = here.commit.writes.get(&DocName::Placement) else {
        panic!("no placement")
    };
    assert_eq!((placement.island, placement.place), (ISLAND, Some(actor.place)));
}

#[test]
fn a_view_that_lacks_a_declared_document_is_noticed_not_guessed() {
    let mut town = Town::new(2);
    let trade = ActId { player: YOU, epoch: chunk_sync::ids::Epoch(1), island: ISLAND, act: 1 };
    let (chunk, cell) = (CORNER.chunk(), 0);
    let growth = town.grown(|_| true)[0];
    let resource = growth.1.tile;
    town.endow(ME, &Items::of(ItemKind::Wood, 10));
    let fence = Action::Build { kind: StructureKind::Fence, place: CORNER, turned: false };
    let actions = [
        (CORNER, fence),
        (CORNER, Action::Craft { recipe: Recipe::Plank }),
        (CORNER, Action::Accept { trade }),
        (CORNER, Action::Cancel { trade }),
        (CORNER, Action::PickUp { chunk, cell, stack: trade, count: 1 }),
        (CORNER, Action::Travel { island: IslandId(3) }),
        (TilePos::in_chunk(growth.0, resource), Action::Gather { chunk: growth.0, resource }),
    ];
    for (at, action) in actions {
        town.stand(1, at);
        let actor = town.actor(ME);
        let declared = world_node::rules::reads(&actor, &action);
        let whole = town.load(&declared, ISLAND).view;
        let answer = world_node::rules::decide(&actor, &action, &whole);
        assert_ne!(answer.err(), Some(RuleReject::Unread), "{action:?}");
        let mut noticed = 0;
        let all =
            declared.docs.iter().flat_map(|(partition, names)| names.iter().map(move |n| (partition, n)));
        for (partition, name) in all {
            let mut view = whole.clone();
            view.docs.get_mut(partition).unwrap().remove(name);
            let answer = world_node::rules::decide(&actor, &action, &view);
            noticed += usize::from(answer == Err(RuleReject::Unread));
        }
        assert!(noticed > 0, "{action:?}");
    }
}
