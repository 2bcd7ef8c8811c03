//! A town, built by real clients on a real cluster: land is claimed and shared, things are made, built, taken down and
//! traded. Both auditors find nothing, while it happens and afterwards.

use chunk_sync::place::ChunkPos;
use chunk_sync::terrain::LANDING;
use clap::Parser;
use loadtest::cli::{Cli, Command, Ending};
use loadtest::swarm;
use world_node::rules::Action;
use world_node::rules::documents::Right;
use world_node::rules::items::{ItemKind, Items};
use world_node::rules::recipes::Recipe;
use world_node::rules::structures::StructureKind;

use crate::http::state;
use crate::process::{Atoll, wait_for};
use crate::settlers::Settlers;
use crate::tool::audit;
use crate::world::World;

const ANNA: usize = 0;
const BERT: usize = 1;

/// Waits until the auditor beside the cluster has gone through everything after this, and found nothing.
fn is_clean_beside(admin: &str) {
    let now = |admin: &str| state(admin)["audit"].clone();
    let before = now(admin)["last_ok"].as_u64().unwrap();
    let began = wait_for("a walk", || now(admin)["walks"].as_u64());
    let shown = wait_for("a whole walk in which nothing is found", || {
        let audit = now(admin);
        assert_eq!(audit["findings"], 0, "{audit}");
        let walked = audit["walks"].as_u64()? > began + 1;
        (walked && audit["last_ok"].as_u64()? > before).then_some(audit)
    });
    assert_eq!(shown["full"], false, "{shown}");
}

#[test]
fn a_town_of_estates_trades_and_demolitions_leaves_the_books_clean() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path();
    let mut up = Atoll::up(folder, 2, &[]);
    let settlers = Settlers::enter(up.ready().value("join"), 2, 21);
    up.stops();
    let players = [ANNA, BERT].map(|who| settlers.whereabouts(who).0);
    drop(settlers);
    let mut world = World::open(&folder.join("data"));
    players.into_iter().for_each(|player| world.stock(player));
    drop(world);
    let mut up = Atoll::up(folder, 2, &[]);
    let ready = up.ready();
    let page = ready.value("page").to_owned();
    let mut town = Settlers::enter(ready.value("join"), 2, 22);
    // Who lands near the border of a chunk may put the totem beyond it, and not stand on the estate then; what one of
    // two reaches who stand apart may be too far for the other.
    [ANNA, BERT].into_iter().for_each(|who| town.goes_to(who, LANDING.middle()));
    let ((anna, home), (bert, _)) = (town.whereabouts(ANNA), town.whereabouts(BERT));

    // Land, shared and taken back.
    let next = ChunkPos::new(home.x + 1, home.y);
    let estate = town.does_nearby(ANNA, |place| Action::ClaimEstate { place, chunks: vec![next] });
    let home = town.chunk_of(ANNA, estate);
    let rights = vec![Right::Build, Right::Demolish];
    let permit = Action::Permit { chunk: home, estate, player: bert, rights };
    town.does(ANNA, &permit).expect("it is hers");
    let fence = |place| Action::Build { kind: StructureKind::Fence, place, turned: false };
    town.does_nearby(BERT, fence);
    audit(folder, &["--http", &page], 0);
    let hut = town.does_nearby(BERT, |place| Action::Build { kind: StructureKind::Hut, place, turned: true });
    town.does(ANNA, &Action::Revoke { chunk: home, estate, player: bert }).expect("it is hers");

    // Somebody's work is made, and taken down by the owner; the refund comes to her.
    town.does(ANNA, &Action::Craft { recipe: Recipe::Plank }).expect("she has wood");
    let chunk = town.chunk_of(ANNA, hut);
    town.does(ANNA, &Action::Demolish { chunk, structure: hut }).expect("it is on her estate");

    // One trade that is made, one that is called off.
    let (give, want) = (Items::of(ItemKind::Plank, 1), Items::of(ItemKind::Stone, 2));
    let offer = Action::Offer { to: bert, give: give.clone(), want: want.clone() };
    let trade = town.does(ANNA, &offer).expect("she has it");
    town.does(BERT, &Action::Accept { trade }).expect("he has what she wants");
    let offer = Action::Offer { to: anna, give: want, want: give };
    let trade = town.does(BERT, &offer).expect("he has it");
    town.does(BERT, &Action::Cancel { trade }).expect("nobody took it");
    town.rest();
    audit(folder, &["--http", &page], 0);
    is_clean_beside(ready.admin());
    let bags = town.bags();
    drop(town);
    up.stops();

    let report = audit(folder, &["--data", "data"], 0);
    assert_eq!((&report["estates"], &report["pending"]), (&1.into(), &0.into()), "{report}");
    assert_eq!(report["items"]["totem"]["structures"], 1, "{report}");
    assert!(report["items"]["wood"]["structures"].as_i64().unwrap() >= 2, "the fence: {report}");
    assert!(bags[&bert].count(ItemKind::Plank) >= 1, "he traded for it: {bags:?}");
}

#[test]
fn settlers_of_every_sort_leave_the_books_clean() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path();
    let mut up = Atoll::up(folder, 2, &[]);
    let ready = up.ready();
    let page = ready.value("page").to_owned();
    let line = format!(
        "loadtest swarm --target {} --bots 16 --seconds 25 --behaviour settle --name-prefix town- --observers 2 \
         --warm-up 0",
        ready.value("join")
    );
    let swarm = std::thread::spawn(move || {
        let cli = Cli::try_parse_from(line.split(' ').filter(|word| !word.is_empty())).unwrap();
        let Command::Swarm(args) = cli.command else { panic!("a swarm") };
        swarm::run(&args)
    });
    // In the middle of it, again and again.
    let mut audits = 0;
    while !swarm.is_finished() {
        audit(folder, &["--http", &page], 0);
        audits += 1;
    }
    assert_eq!(swarm.join().unwrap().unwrap_or_else(|error| panic!("{error}")), Ending::Done);
    is_clean_beside(ready.admin());
    up.stops();
    let report = audit(folder, &["--data", "data"], 0);
    assert!(audits > 1 && report["structures"].as_u64().unwrap() > 0, "{audits} audits: {report}");
}
