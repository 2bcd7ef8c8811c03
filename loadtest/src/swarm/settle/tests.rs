//! Settlers against a world that answers as each test wants, in virtual time.

use super::*;
use crate::swarm::limits::{CARRIED_MAX, NEAR_QUANTA};
use chunk_sync::wire::Docs;
use serde_bytes::ByteBuf;
use world_node::rules::DocName;
use world_node::rules::documents::{BagRecord, Record};
use world_node::rules::items::ItemKind;

const BOTS: usize = 10;
const STEP_MS: u64 = 100;
/// What a bot walks in a step, quanta.
const STEP_QUANTA: i32 = 60;

fn welcome(bot: usize) -> Welcome {
    let middle = LANDING.middle();
    Welcome {
        protocol: 1,
        level: 0,
        features: Vec::new(),
        node: 1,
        player: 100 + bot as u64,
        epoch: 1,
        island: 1,
        seed: 3,
        tick: 5_000,
        tick_ms: 100,
        island_chunks: 16,
        near_ring: 1,
        far_ring: 4,
        walk_mm_per_s: 5_000,
        keep_alive_ms: 5_000,
        x: middle.x,
        y: middle.y,
    }
}

/// What a bot is told: a bag with some of everything, and chunks in which nothing happened yet.
fn told(bot: usize) -> Documents {
    let mut documents = Documents::default();
    documents.begin(&welcome(bot));
    let some = |kind: &ItemKind| (*kind, CARRIED_MAX[*kind as usize].div_ceil(2));
    let items: Vec<_> = ItemKind::ALL.iter().map(some).collect();
    let bag = BagRecord { items: Items::from(&items[..]), ..BagRecord::default() };
    let bag = ByteBuf::from(bag.wrap().pack());
    let own = Docs { chunk: None, whole: true, docs: [(DocName::Bag.to_string(), Some(bag))].into() };
    documents.take(own).unwrap();
    for chunk in LANDING.around(4) {
        documents.take(Docs { chunk: Some(chunk), whole: true, ..Docs::default() }).unwrap();
    }
    documents
}

struct World {
    settlers: Settlers,
    documents: Vec<Documents>,
    places: Vec<Place>,
    numbers: Vec<u32>,
    now_ms: u64,
    answers: fn(&Asking) -> ActOutcome,
}

impl World {
    fn new(seed: u64, answers: fn(&Asking) -> ActOutcome) -> Self {
        let mut settlers = Settlers::new(seed, BOTS);
        for bot in 0..BOTS {
            settlers.entered(bot, &welcome(bot), 0, 0);
        }
        let (places, numbers) = (vec![LANDING.middle(); BOTS], vec![0; BOTS]);
        let documents = (0..BOTS).map(told).collect();
        Self { settlers, documents, places, numbers, now_ms: 0, answers }
    }

    /// All bots act, or walk as if there was no water.
    fn live(&mut self, seconds: u64) {
        for _ in 0..seconds * 1_000 / STEP_MS {
            self.now_ms += STEP_MS;
            for bot in 0..BOTS {
                let (place, documents) = (self.places[bot], &self.documents[bot]);
                let tick = 5_000 + (self.now_ms / STEP_MS) as u32;
                let here = Here { place, still: true, tick, now_ms: self.now_ms, documents };
                match self.settlers.turn(bot, here) {
                    Turn::Rest => {}
                    Turn::Walk(goal) => {
                        let axis = |from: i32, to: i32| from + (to - from).clamp(-STEP_QUANTA, STEP_QUANTA);
                        self.places[bot] = Place { x: axis(place.x, goal.x), y: axis(place.y, goal.y) };
                    }
                    Turn::Ask(asking) => self.ask(bot, &asking),
                }
            }
        }
    }

    fn ask(&mut self, bot: usize, asking: &Asking) {
        self.numbers[bot] += 1;
        let id = ActNumber::new(chunk_sync::ids::Epoch(1), self.numbers[bot]);
        if let Some(near) = asking.wish.near {
            let near = near.distance_squared(self.places[bot]);
            assert!(near <= i64::from(NEAR_QUANTA) * i64::from(NEAR_QUANTA), "it acts where it meant to");
        }
        self.settlers.asked(bot, id, asking, self.now_ms);
        let (outcome, reason) = ((self.answers)(asking), "no".to_owned());
        let acted = Acted { id, outcome, code: 1, reason, text: String::new() };
        self.settlers.acted(bot, &acted, self.now_ms + 50);
    }

    fn check(&mut self) -> Findings {
        self.settlers.give_up();
        self.settlers.check(self.documents.iter().enumerate())
    }
}

fn refused(_: &Asking) -> ActOutcome {
    ActOutcome::Refused
}

/// As a world would that does everything but what no rule allows.
fn done(asking: &Asking) -> ActOutcome {
    if asking.wish.absurd { ActOutcome::Refused } else { ActOutcome::Done }
}

#[test]
fn settlers_do_a_bit_of_everything_and_what_was_refused_is_not_missed() {
    for seed in 1..4 {
        let mut world = World::new(seed, done);
        world.live(240);
        let settled = world.settlers.settled(240.0, None);
        for action in [
            "accept",
            "build",
            "cancel",
            "claim_estate",
            "collect",
            "craft",
            "demolish",
            "drop",
            "gather",
            "give",
            "offer",
            "permit",
            "revoke",
        ] {
            assert!(settled.actions.get(action).is_some_and(|count| *count > 0), "seed {seed}: {settled:?}");
        }
        assert!(settled.acts > 1_000 && settled.answer_ms.p50 > 49.0, "seed {seed}: {settled:?}");
        // None of it was really done: this world's documents never change.
        let found = world.check();
        assert!(found.lost > 0 && found.doubled > 0 && !found.is_clean(), "seed {seed}: {found:?}");

        let mut world = World::new(seed, refused);
        world.live(60);
        let found = world.check();
        assert!(found.is_clean() && found.bags == BOTS as u64, "seed {seed}: {found:?}");
        assert!(found.structures > 0 && found.stacks > 0, "seed {seed}: what was refused must not be there");
    }
}

#[test]
fn what_is_over_or_never_answered_may_be_so_or_so() {
    for outcome in [(|_| ActOutcome::Over) as fn(&Asking) -> ActOutcome, |_| ActOutcome::Waiting] {
        let mut world = World::new(7, outcome);
        world.live(60);
        let found = world.check();
        assert!(found.is_clean(), "{found:?}");
        let settled = world.settlers.settled(60.0, Some(found));
        assert!(settled.acts > 0);
        assert_eq!(settled.waits, settled.never_answered, "{settled:?}");
        assert_eq!(settled.acts, settled.never_answered + settled.outcomes.get("over").copied().unwrap_or(0));
    }
}

/// What a settler asks for and nobody ever answers, in a world where everybody began with these bags.
fn never_answered(bags: &[Items], asked: &[(usize, Action)]) -> World {
    let mut world = World::new(7, |_| ActOutcome::Waiting);
    for (bot, bag) in bags.iter().enumerate() {
        world.settlers.books.accounts[bot].start = Some(bag.clone());
    }
    for (bot, action) in asked {
        ask_alone(&mut world, *bot, action.clone());
    }
    assert_eq!(world.settlers.open(), asked.len());
    world.settlers.give_up();
    assert_eq!(world.settlers.open(), 0);
    world
}

fn ask_alone(world: &mut World, bot: usize, action: Action) -> ActId {
    let wish = Wish { action, near: None, absurd: false, garbled: false };
    world.ask(bot, &Asking { bytes: encode(&wish.action), wish });
    let (player, epoch) = (PlayerId(welcome(bot).player), chunk_sync::ids::Epoch(1));
    ActId { player, epoch, island: IslandId(1), act: world.numbers[bot].into() }
}

#[test]
fn an_act_of_unknown_outcome_is_done_whole_or_not_at_all() {
    use ItemKind::{Fibre, Plank, Rope, Wood};
    use world_node::rules::recipes::Recipe;
    let items = |rows: &[(ItemKind, u32)]| Items::from(rows);
    // A rope for four fibre; two planks for a wood.
    let crafts = [Recipe::Rope, Recipe::Plank].map(|recipe| (0, Action::Craft { recipe }));
    let world = never_answered(&[items(&[(Wood, 5), (Fibre, 4)])], &crafts);
    let account = &world.settlers.books.accounts[0];
    let allowed = |rows: &[(ItemKind, u32)]| account.difference(&items(rows)) == (0, 0);
    assert!(allowed(&[(Wood, 5), (Fibre, 4)]) && allowed(&[(Wood, 5), (Rope, 1)]));
    assert!(allowed(&[(Wood, 4), (Plank, 2), (Fibre, 4)]) && allowed(&[(Wood, 4), (Plank, 2), (Rope, 1)]));
    assert!(!allowed(&[(Wood, 4), (Fibre, 4)]), "half of one");
    assert!(!allowed(&[(Wood, 5), (Rope, 1), (Fibre, 4)]), "a rope for nothing");
    assert_eq!(account.difference(&items(&[(Wood, 5), (Rope, 2)])), (0, 1), "a rope too many");
}

#[test]
fn a_trade_of_unknown_outcome_is_in_both_bags_whole_or_in_neither() {
    use ItemKind::{Stone, Wood};
    let mut world = World::new(7, |asking| match asking.wish.action {
        Action::Accept { .. } => ActOutcome::Over,
        _ => ActOutcome::Done,
    });
    for (bot, kind) in [(0, Wood), (1, Stone)] {
        world.settlers.books.accounts[bot].start = Some(Items::of(kind, 10));
    }
    let (give, want) = (Items::of(Wood, 3), Items::of(Stone, 2));
    let trade = ask_alone(&mut world, 0, Action::Offer { to: PlayerId(welcome(1).player), give, want });
    ask_alone(&mut world, 1, Action::Accept { trade });
    let torn = |mine: [u32; 2], theirs: [u32; 2]| {
        let bags = [(0, mine), (1, theirs)]
            .map(|(bot, [wood, stone])| (bot, Items::from(&[(Wood, wood), (Stone, stone)][..])));
        world.settlers.books.torn(&bags.into()).len()
    };
    assert_eq!([torn([7, 0], [0, 10]), torn([7, 2], [3, 8])], [0; 2], "open still, or accepted");
    assert_eq!(torn([7, 0], [3, 10]), 1, "got the goods, paid nothing");
    assert_eq!(torn([7, 2], [0, 8]), 1, "paid, got nothing");
    assert_eq!(torn([7, 2], [3, 10]), 1, "paid with what it kept");
}

#[test]
fn what_no_rule_allows_must_not_be_done() {
    let mut world =
        World::new(7, |asking| if asking.wish.absurd { ActOutcome::Done } else { ActOutcome::Refused });
    world.live(60);
    let found = world.check();
    assert!(found.undue > 0 && found.lost + found.doubled == 0, "{found:?}");
}

#[test]
fn nobody_acts_while_it_walks_or_before_it_knows_its_bag() {
    let mut world = World::new(7, refused);
    world.live(60);
    let (known, unknown) = (told(0), Documents::default());
    for (still, documents) in [(false, &known), (true, &unknown)] {
        for _ in 0..600 {
            world.now_ms += STEP_MS;
            let (place, tick, now_ms) = (world.places[0], 9_000, world.now_ms);
            let turn = world.settlers.turn(0, Here { place, still, tick, now_ms, documents });
            assert!(!matches!(turn, Turn::Ask(_)), "still: {still}");
        }
    }
}

#[test]
fn bots_of_a_camp_live_together_and_camps_apart() {
    let mut ground = Ground::new(3, IslandId(1));
    let camps: Vec<Place> = (0..4 * CAMP_BOTS).map(|bot| camp(1, bot, 4 * CAMP_BOTS, &mut ground)).collect();
    assert!(camps.chunks(CAMP_BOTS).all(|party| party.iter().all(|place| *place == party[0])));
    let apart: std::collections::BTreeSet<Place> = camps.into_iter().collect();
    assert_eq!(apart.len(), 4);
}
