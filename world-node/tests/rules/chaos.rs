//! Many players, many nodes, no order: acts race, are sent twice and die in the middle; finishers run beside each
//! other and die too. Whatever happens, the checks of `audit` hold at every moment and everything ends.

use super::audit::{unfinished, wrong};
use super::town::{CHUNKS, CORNER, ISLAND, Town, tile};
use super::workers::{Doer, Finisher, Forgetter, Step, Worker, finish_all};
use chunk_sync::ids::PlayerId;
use chunk_sync::random::{RngExt, Stream, stream};
use chunk_sync::time::Tick;
use proptest::prelude::*;
use std::collections::BTreeMap;
use world_node::rules::documents::{Doc, EstateRecord, Right, TradeState};
use world_node::rules::items::{ItemKind, Items};
use world_node::rules::limits::BAG_SLOTS;
use world_node::rules::recipes::Recipe;
use world_node::rules::site::TilePos;
use world_node::rules::structures::StructureKind;
use world_node::rules::{ActId, Action, DocName, Event, Partition};

const PLAYERS: u64 = 5;
const WORKERS_MAX: usize = 14;
const SEEDS: u64 = 100;
const STEPS: usize = 2_500;

/// Where the next choice comes from.
pub(super) trait Choices {
    /// One of `n`.
    fn pick(&mut self, n: usize) -> usize;
}

impl Choices for Stream {
    fn pick(&mut self, n: usize) -> usize {
        self.random_range(0..n)
    }
}

/// Choices that were written down; when they are used up, the first of everything.
struct Written(std::vec::IntoIter<u16>);

impl Choices for Written {
    fn pick(&mut self, n: usize) -> usize {
        self.0.next().map_or(0, |choice| usize::from(choice) % n)
    }
}

fn one<T: Clone>(of: &[T], choices: &mut dyn Choices) -> Option<T> {
    (!of.is_empty()).then(|| of[choices.pick(of.len())].clone())
}

/// A town whose people have what it takes; the last one's bag has a single free slot.
fn settled_town() -> Town {
    let mut town = Town::new(PLAYERS);
    let goods = [
        (ItemKind::Wood, 60),
        (ItemKind::Stone, 30),
        (ItemKind::Plank, 40),
        (ItemKind::Rope, 6),
        (ItemKind::Fibre, 20),
        (ItemKind::Totem, 1),
        (ItemKind::Pick, 1),
    ];
    for player in 1..PLAYERS {
        town.endow(PlayerId(player), &Items::from(&goods[..]));
    }
    let picks = Items::of(ItemKind::Pick, BAG_SLOTS as u32 - 3);
    town.endow(PlayerId(PLAYERS), &picks);
    town.endow(PlayerId(PLAYERS), &Items::from(&[(ItemKind::Wood, 20), (ItemKind::Totem, 1)][..]));
    town
}

fn estates(town: &Town) -> Vec<EstateRecord> {
    let mut estates: Vec<EstateRecord> = Vec::new();
    for chunk in CHUNKS {
        if let Some(Doc::Estate(estate)) = town.store.get(Partition::Chunk(ISLAND, chunk), DocName::Estate)
            && estate.home == chunk
        {
            estates.push(estate);
        }
    }
    estates
}

fn trades(town: &Town, wanted: impl Fn(TradeState) -> bool) -> Vec<(ActId, [u64; 2])> {
    let trades = town.store.named(|name| *name == DocName::Trade).into_iter();
    let wanted = trades.filter_map(|(partition, _, doc)| match (partition, doc) {
        (Partition::Trade(id), Doc::Trade(trade)) if wanted(trade.state) => {
            Some((id, [trade.from.0, trade.to.0]))
        }
        _ => None,
    });
    wanted.collect()
}

/// Who does it, and what.
type Wish = Option<(u64, Action)>;

/// A random act that has some chance; `None` when there is nothing of the sort to do.
fn random_act(town: &mut Town, choices: &mut dyn Choices) -> Wish {
    let player = 1 + choices.pick(PLAYERS as usize) as u64;
    let other = PlayerId(1 + (player + choices.pick(PLAYERS as usize - 1) as u64) % PLAYERS);
    match choices.pick(16) {
        0 | 1 => {
            let (chunk, growth) = one(&town.grown(|_| true), choices)?;
            town.stand(player, TilePos::in_chunk(chunk, growth.tile));
            Some((player, Action::Gather { chunk, resource: growth.tile }))
        }
        2 => Some((player, Action::Craft { recipe: one(Recipe::ALL, choices)? })),
        3..=5 => build(town, player, choices),
        6 => demolish(town, player, choices),
        7 => claim(town, player, choices),
        8 | 9 => permit(town, other, choices),
        10 => pick_up(town, player, choices),
        11 | 12 => close_trade(town, choices),
        _ => Some(hand_over(town, player, other, choices)),
    }
}

fn spot(choices: &mut dyn Choices) -> TilePos {
    tile(choices.pick(7) as i32 - 4, choices.pick(7) as i32 - 4)
}

fn build(town: &mut Town, player: u64, choices: &mut dyn Choices) -> Wish {
    let kinds = [StructureKind::Hall, StructureKind::Hut, StructureKind::Fence, StructureKind::Hearth];
    let (kind, place, turned) = (one(&kinds, choices)?, spot(choices), choices.pick(2) == 1);
    town.stand(player, place);
    Some((player, Action::Build { kind, place, turned }))
}

fn demolish(town: &mut Town, player: u64, choices: &mut dyn Choices) -> Wish {
    let built = town.store.named(|name| matches!(name, DocName::Structure(_)));
    let Doc::Structure(record) = one(&built, choices)?.2 else { return None };
    let site = record.site;
    let by = if choices.pick(3) == 0 { player } else { site.builder().0 };
    town.stand(by, site.corner);
    Some((by, Action::Demolish { chunk: site.anchor(), structure: site.id }))
}

fn claim(town: &mut Town, player: u64, choices: &mut dyn Choices) -> Wish {
    let place = spot(choices);
    let others = CHUNKS.into_iter().filter(|chunk| *chunk != place.chunk());
    let chunks = others.filter(|_| choices.pick(3) > 0).collect();
    town.stand(player, place);
    Some((player, Action::ClaimEstate { place, chunks }))
}

fn permit(town: &mut Town, player: PlayerId, choices: &mut dyn Choices) -> Wish {
    let EstateRecord { home: chunk, id: estate, owner, permissions, .. } = one(&estates(town), choices)?;
    town.places.insert(owner, chunk.middle());
    let action = match choices.pick(3) {
        0 => Action::Permit { chunk, estate, player, rights: vec![Right::Build] },
        1 => {
            let rights = vec![Right::Demolish, Right::Build, Right::Gather];
            Action::Permit { chunk, estate, player, rights }
        }
        _ => Action::Revoke { chunk, estate, player: one(&permissions, choices)?.player },
    };
    Some((owner.0, action))
}

fn pick_up(town: &mut Town, player: u64, choices: &mut dyn Choices) -> Wish {
    let lying = town.store.named(|name| matches!(name, DocName::Ground(_)));
    let (Partition::Chunk(_, chunk), DocName::Ground(cell), Doc::Ground(ground)) = one(&lying, choices)?
    else {
        return None;
    };
    let lying = one(&ground.stacks, choices)?;
    town.places.insert(PlayerId(player), lying.place);
    let count = lying.count.min(1 + choices.pick(9) as u32);
    Some((player, Action::PickUp { chunk, cell, stack: lying.id, count }))
}

fn close_trade(town: &mut Town, choices: &mut dyn Choices) -> Wish {
    if choices.pick(3) == 0 {
        let (trade, sides) = one(&trades(town, |state| state != TradeState::Open), choices)?;
        return Some((one(&sides, choices)?, Action::Collect { trade }));
    }
    let (trade, [from, to]) = one(&trades(town, |state| state == TradeState::Open), choices)?;
    town.stand(to, CORNER);
    town.stand(from, CORNER);
    Some(match choices.pick(4) {
        0 => (from, Action::Cancel { trade }),
        1 => (to, Action::Cancel { trade }),
        _ => (to, Action::Accept { trade }),
    })
}

/// What is done at hand is done where everybody meets.
fn hand_over(town: &mut Town, player: u64, to: PlayerId, choices: &mut dyn Choices) -> (u64, Action) {
    town.stand(player, CORNER);
    town.stand(to.0, CORNER);
    let item = [ItemKind::Wood, ItemKind::Stone, ItemKind::Pick, ItemKind::Plank][choices.pick(4)];
    let count = 1 + choices.pick(9) as u32;
    let action = match choices.pick(3) {
        0 => Action::Drop { item, count },
        1 => Action::Give { to, item, count },
        _ => {
            let (give, want) = (Items::of(item, count), Items::of(ItemKind::Wood, choices.pick(3) as u32));
            Action::Offer { to, give, want }
        }
    };
    (player, action)
}

/// One step of the whole town.
fn step(town: &mut Town, workers: &mut Vec<Worker>, choices: &mut dyn Choices) {
    let room = workers.len() < WORKERS_MAX;
    match choices.pick(12) {
        0 | 1 if room => {
            town.now = Tick(town.now.0 + choices.pick(60) as u64);
            if let Some((player, action)) = random_act(town, choices) {
                let actor = match choices.pick(5) {
                    // The client counts badly, or means harm: a number that it used just now.
                    0 => {
                        let back = choices.pick(40) as u64;
                        town.actor_with(PlayerId(player), town.newest().saturating_sub(back))
                    }
                    _ => town.actor(PlayerId(player)),
                };
                let doer = Worker::Do(Doer::new(actor, action));
                if choices.pick(4) == 0 {
                    // Sent twice: the client resumed elsewhere and resent it.
                    workers.push(doer.clone());
                }
                workers.push(doer);
            }
        }
        2 | 3 if room => {
            if let Some((id, transfer)) = one(&town.store.pending(), choices) {
                workers.push(Worker::Finish(Finisher::new(id, transfer)));
            }
        }
        4 if room => {
            if let Some((to, ..)) = one(&town.store.decided(), choices) {
                workers.push(Worker::Forget(Forgetter::new(&town.store, to)));
            }
        }
        5 if !workers.is_empty() && choices.pick(4) == 0 => {
            // It dies where it is.
            let at = choices.pick(workers.len());
            workers.swap_remove(at);
        }
        _ if !workers.is_empty() => {
            let at = choices.pick(workers.len());
            if workers[at].step(town) == Step::Ended {
                workers.swap_remove(at);
            }
        }
        _ => {}
    }
}

/// Runs a town to its end and says what is wrong with it.
fn live(choices: &mut dyn Choices, steps: usize) -> Result<Town, String> {
    let mut town = settled_town();
    let mut workers = Vec::new();
    for n in 0..steps {
        step(&mut town, &mut workers, choices);
        if n % 64 == 0
            && let Some(what) = wrong(&town.store)
        {
            return Err(format!("after {n} steps: {what}"));
        }
    }
    finish_all(&mut town);
    // Those that slept through the end wake up now, and there is nothing left to do for them.
    for mut worker in workers {
        for _ in 0..20 {
            if worker.step(&mut town) == Step::Ended {
                break;
            }
        }
    }
    finish_all(&mut town);
    match wrong(&town.store).or_else(|| unfinished(&town.store)) {
        None => Ok(town),
        Some(what) => Err(format!("at the end: {what}")),
    }
}

/// What happened in a town, by name.
fn tell(town: &Town, told: &mut BTreeMap<&'static str, usize>) {
    let mut note = |what, count| *told.entry(what).or_default() += count;
    note("conflict", town.store.conflicts as usize);
    note("transfer", town.store.lives.len());
    note("reused", town.store.reused());
    for (_, event) in &town.store.events {
        match event {
            Event::Ended { refused: None, .. } => note("accepted", 1),
            Event::Ended { refused: Some(why), .. } => note(why.label(), 1),
            Event::Standing { site } if site.kind.spec().claims && !site.claims.is_empty() => {
                note("estate", 1)
            }
            Event::Standing { site } if !site.others().is_empty() => note("built over a border", 1),
            Event::EstateSettled { .. } => note("settled", 1),
            Event::Gone { .. } => note("gone", 1),
            Event::Resource { .. } => note("gathered", 1),
            Event::Trade { .. } => note("trade", 1),
            _ => {}
        }
    }
}

#[test]
fn nothing_is_lost_or_doubled_whatever_the_order() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let alone = number("ATOLL_SEED");
    let seeds = alone.map_or(0..number("ATOLL_SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1);
    let whole = seeds.end - seeds.start >= SEEDS;
    let mut told = BTreeMap::new();
    for seed in seeds {
        let story = std::panic::catch_unwind(|| live(&mut stream(seed, "chaos"), STEPS));
        match story {
            Ok(Ok(town)) => tell(&town, &mut told),
            Ok(Err(what)) => panic!("failed with seed {seed}: {what}; run it alone with ATOLL_SEED={seed}"),
            Err(_) => panic!("failed with seed {seed}; run it alone with ATOLL_SEED={seed}"),
        }
    }
    println!("{told:?}");
    // The towns were lively enough for their peace to mean something.
    let lively = [
        "conflict",
        "accepted",
        "bag_full",
        "occupied",
        "forbidden",
        "trade_closed",
        "built over a border",
        "estate",
        "settled",
        "gone",
        "gathered",
        "trade",
        "reused",
    ];
    for what in lively {
        let enough = !whole || told.get(what).is_some_and(|count| *count >= 20);
        assert!(enough, "too little of {what}: {told:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// The same with choices that shrink to the shortest story when something is wrong.
    #[test]
    fn nothing_is_lost_or_doubled_in_any_written_story(
        written in proptest::collection::vec(any::<u16>(), 500..3_000),
    ) {
        let steps = written.len();
        live(&mut Written(written.into_iter()), steps).map_err(TestCaseError::fail)?;
    }
}
