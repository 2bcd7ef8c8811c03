//! Whatever a client asks for, with numbers from anywhere: a rule answers, and what it declares can be loaded.

use super::town::{ISLAND, Town, middle, tile};
use chunk_sync::ids::{Epoch, IslandId, PlayerId};
use chunk_sync::place::ChunkPos;
use chunk_sync::terrain::Terrain;
use proptest::prelude::*;
use world_node::rules::documents::Right;
use world_node::rules::items::{ItemKind, Items};
use world_node::rules::recipes::Recipe;
use world_node::rules::site::TilePos;
use world_node::rules::structures::StructureKind;
use world_node::rules::view::Presence;
use world_node::rules::{ActId, Action, ChunkLand, Partition, RuleReject, View, decide, home, reads};

/// Numbers of an action, most of them from the edges of what their type can say.
fn number() -> impl Strategy<Value = i64> {
    prop_oneof![
        3 => -2i64..20,
        2 => 120i64..140,
        1 => Just(i64::from(u32::MAX)),
        1 => Just(i64::from(i32::MAX)),
        1 => Just(i64::from(i32::MIN)),
        1 => any::<i64>(),
    ]
}

fn action(row: u8, n: &[i64; 6]) -> Action {
    let chunk = ChunkPos::new(n[0] as i16, n[1] as i16);
    let place = TilePos { x: n[0] as i32, y: n[1] as i32 };
    let player = PlayerId(n[2] as u64);
    let (epoch, island) = (Epoch(n[3] as u32), IslandId(n[5] as u32));
    let id = ActId { player, epoch, island, act: n[4] as u64 };
    let item = ItemKind::ALL[n[3].rem_euclid(ItemKind::ALL.len() as i64) as usize];
    let kind = StructureKind::ALL[n[3].rem_euclid(StructureKind::ALL.len() as i64) as usize];
    let (count, small) = (n[4] as u32, n[5] as u8);
    match row {
        0 => Action::Gather { chunk, resource: small },
        1 => Action::Craft { recipe: Recipe::ALL[n[3].rem_euclid(Recipe::ALL.len() as i64) as usize] },
        2 => Action::Build { kind, place, turned: n[5] % 2 == 0 },
        3 => Action::Demolish { chunk, structure: id },
        4 => {
            let chunks = (0..n[5].rem_euclid(12)).map(|m| ChunkPos::new((n[2] + m % 4) as i16, n[3] as i16));
            Action::ClaimEstate { place, chunks: chunks.collect() }
        }
        5 => Action::Permit { chunk, estate: id, player, rights: vec![Right::Build; usize::from(small)] },
        6 => Action::Revoke { chunk, estate: id, player },
        7 => Action::Drop { item, count },
        8 => Action::PickUp { chunk, cell: small, stack: id, count },
        9 => Action::Give { to: player, item, count },
        10 => Action::Offer { to: player, give: Items::of(item, count), want: Items::of(item, n[5] as u32) },
        11 => Action::Accept { trade: id },
        12 => Action::Cancel { trade: id },
        13 => Action::Collect { trade: id },
        _ => Action::Travel { island: IslandId(n[5] as u32) },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_action_gets_an_answer(
        row in 0u8..15,
        numbers in proptest::array::uniform6(number()),
        rich: bool,
        elsewhere in proptest::option::weighted(0.1, any::<u32>()),
        number: u64,
    ) {
        let mut town = Town::new(2);
        if rich {
            let stock = [(ItemKind::Wood, 200), (ItemKind::Plank, 40), (ItemKind::Stone, 40), (ItemKind::Totem, 1)];
            town.endow(PlayerId(1), &Items::from(&stock[..]));
        }
        let action = action(row, &numbers);
        let mut actor = town.actor_with(PlayerId(1), number);
        actor.place = middle(tile(0, 0));
        actor.act.island = elsewhere.map_or(ISLAND, IslandId);
        let declared = reads(&actor, &action);
        let mut view: View = town.store.load(&declared).view;
        for key in &declared.land {
            let Partition::Chunk(_, chunk) = key else { panic!("land of {key}") };
            view.land.insert(*key, ChunkLand::generate(5, ISLAND, *chunk, &Terrain::new(5, ISLAND)));
        }
        view.players = declared.players.iter().map(|player| Presence { player: *player, place: actor.place }).collect();
        for (partition, names) in &declared.docs {
            prop_assert_eq!(partition.to_string().parse(), Ok(*partition));
            for name in names {
                prop_assert_eq!(name.to_string().parse(), Ok(*name));
            }
        }
        let own = home(actor.act, &action);
        prop_assert_eq!(own.to_string().parse(), Ok(own));
        let lost = actor.act.island != ISLAND;
        match decide(&actor, &action, &view) {
            Err(why) => {
                prop_assert_ne!(why, RuleReject::Unread);
                prop_assert_eq!(why == RuleReject::OtherIsland, lost);
            }
            Ok(effects) => {
                prop_assert!(!lost);
                prop_assert_eq!(effects.commit.partition, own);
                prop_assert!(effects.transfer.is_none_or(|id| id.sent_by() == own));
            }
        }
    }
}
