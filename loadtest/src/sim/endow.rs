//! What players of a simulated cluster have before it begins: names of their own and bags, put into the store with
//! ledger entries, so that the books are right from the first moment.
//!
//! Part of the cluster; called once, before anything happens.

use super::arbiter::Arbiter;
use chunk_sync::ids::{Minter, PlayerId, Source};
use chunk_sync::random::{RngExt, Stream, stream};
use chunk_sync::records::{DOC_NAME, NameRecord, WORLD, encode};
use chunk_sync::store::{Commit, PartitionKey, Token};
use std::collections::BTreeSet;
use world_node::executor::{LEDGER_SCHEMA, LedgerRecord};
use world_node::rules::documents::{BagRecord, Record};
use world_node::rules::items::{ItemKind, Items};
use world_node::rules::limits::BAG_SLOTS;
use world_node::rules::{DocName, Holder, LedgerLine};

/// A number that no process of a run ever leases.
const SOURCE: Source = Source(chunk_sync::ids::MINTER_MAX);

/// Enough of everything for a while.
const RICH: &[(ItemKind, u32)] = &[
    (ItemKind::Wood, 60),
    (ItemKind::Stone, 40),
    (ItemKind::Fibre, 20),
    (ItemKind::Rope, 8),
    (ItemKind::Plank, 40),
    (ItemKind::Pick, 1),
    (ItemKind::Totem, 1),
];
/// Hardly any room.
const FULL: &[(ItemKind, u32)] = &[
    (ItemKind::Pick, BAG_SLOTS as u32 - 4),
    (ItemKind::Wood, 20),
    (ItemKind::Fibre, 8),
    (ItemKind::Totem, 1),
];

/// Gives everybody of these names a player of its own, and most of them something.
pub(super) fn endow(seed: u64, names: &[String], store: &mut Arbiter, now_ms: u64) {
    let (mut random, mut minter) = (stream(seed, "endowment"), Minter::new(WORLD, SOURCE));
    let names: BTreeSet<&String> = names.iter().collect();
    for name in names {
        let mut mint = || minter.mint().unwrap_or_else(|| panic!("more players than numbers"));
        let (player, tokens) = (PlayerId(mint()), [Token(mint()), Token(mint())]);
        let named = Commit::new(PartitionKey::name(WORLD, name), tokens[0])
            .put(DOC_NAME, encode(&NameRecord { player }));
        store.endow(named, now_ms);
        let items = goods(&mut random);
        if items.is_empty() {
            continue;
        }
        let (from, to) = (Holder::Nobody, Holder::Player(player));
        let lines = items.iter().map(|(kind, count)| LedgerLine { kind, count, from, to }).collect();
        let record = LedgerRecord { v: LEDGER_SCHEMA, tick: 0, act: None, lines };
        let bag = BagRecord { items, ..BagRecord::default() };
        let bag = Commit::new(PartitionKey::player(player), tokens[1])
            .put(DocName::Bag.to_string(), bag.wrap().pack())
            .ledger(encode(&record));
        store.endow(bag, now_ms);
    }
}

fn goods(random: &mut Stream) -> Items {
    match random.random_range(0..10) {
        0..7 => Items::from(RICH),
        7..9 => Items::from(FULL),
        _ => Items::default(),
    }
}
