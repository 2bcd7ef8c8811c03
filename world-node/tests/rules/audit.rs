//! The checks over everything: they read documents and ledger only, and know no rule.

use super::store::Store;
use super::town::ISLAND;
use std::collections::BTreeMap;
use world_node::rules::documents::{Doc, StructureRecord, StructureState};
use world_node::rules::items::{ItemKind, Items};
use world_node::rules::site::TilePos;
use world_node::rules::{ActId, DocName, Holder, Partition};

type Balance = BTreeMap<(Holder, ItemKind), i64>;

fn held(store: &Store) -> Balance {
    let mut held = Balance::new();
    let mut count = |holder: Holder, items: &Items| {
        for (kind, count) in items.iter() {
            *held.entry((holder, kind)).or_default() += i64::from(count);
        }
    };
    for (partition, name, doc) in store.all() {
        match (partition, name, doc) {
            (Partition::Player(player), _, Doc::Bag(bag)) => count(Holder::Player(player), &bag.items),
            (Partition::Chunk(island, chunk), _, Doc::Ground(ground)) => {
                for lying in &ground.stacks {
                    count(Holder::Ground(island, chunk), &Items::of(lying.item, lying.count));
                }
            }
            (Partition::Trade(trade), _, Doc::Trade(record)) => count(Holder::Trade(trade), &record.holds()),
            (Partition::Chunk(island, chunk), _, Doc::Structure(record)) => {
                count(Holder::Structure(island, chunk, record.site.id), &kept_in(&record));
            }
            (_, DocName::Out(id), Doc::Out(transfer)) => {
                // What B took in is B's already, though A still lists it.
                let decision = store.get(transfer.to, DocName::In(id));
                let taken = matches!(decision, Some(Doc::In(decision)) if decision.refused.is_none());
                if !taken {
                    count(Holder::Transfer(id), &transfer.items());
                }
            }
            _ => {}
        }
    }
    held
}

/// What is in a structure: all that was paid for it, less what is on its way back.
fn kept_in(record: &StructureRecord) -> Items {
    let mut kept = match record.state {
        StructureState::Standing | StructureState::Leaving => record.site.paid.clone(),
        StructureState::Raising { .. } | StructureState::Falling { .. } => Items::default(),
    };
    if record.state == StructureState::Leaving {
        assert!(kept.take(&Items::from(record.site.kind.spec().refund)), "{record:?}");
    }
    kept
}

fn booked(store: &Store) -> Balance {
    let mut booked = Balance::new();
    for line in &store.ledger {
        *booked.entry((line.from, line.kind)).or_default() -= i64::from(line.count);
        *booked.entry((line.to, line.kind)).or_default() += i64::from(line.count);
    }
    booked.retain(|(holder, _), count| *holder != Holder::Nobody && *count != 0);
    booked
}

/// What is wrong with the items, if anything is.
pub(super) fn items_wrong(store: &Store) -> Option<String> {
    let (held, booked) = (held(store), booked(store));
    (held != booked).then(|| format!("held:   {held:?}\nbooked: {booked:?}"))
}

/// What is wrong with the life of a transfer, if anything is. Each happens at most once, in this order.
pub(super) fn lives_wrong(store: &Store) -> Option<String> {
    let fine = |life: &[u32; 4]| life.iter().all(|count| *count <= 1) && life.is_sorted_by(|a, b| a >= b);
    let wrong = store.lives.iter().find(|(_, life)| !fine(life))?;
    Some(format!("pending, decided, cleared, forgotten of {}: {:?}", wrong.0, wrong.1))
}

/// Every covered tile has its structure, every standing structure all of its tiles, and no tile has two.
pub(super) fn land_wrong(store: &Store) -> Option<String> {
    let mut covered: BTreeMap<TilePos, ActId> = BTreeMap::new();
    for (partition, name, doc) in store.all() {
        let (Partition::Chunk(island, chunk), DocName::Cell(cell), Doc::Cell(record)) =
            (partition, name, doc)
        else {
            continue;
        };
        for tile in &record.tiles {
            let at = tile_of(chunk, cell, tile.tile);
            if let Some(other) = covered.insert(at, tile.by) {
                return Some(format!("{at:?} is covered by {other} and {}", tile.by));
            }
            let anchor = Partition::Chunk(island, tile.anchor);
            if store.get(anchor, DocName::Structure(tile.by)).is_none() {
                return Some(format!("{at:?} is covered by {}, which isn't there", tile.by));
            }
        }
    }
    for (_, _, doc) in store.all() {
        let Doc::Structure(record) = doc else { continue };
        if !matches!(record.state, StructureState::Standing | StructureState::Leaving) {
            continue;
        }
        assert_eq!(record.site.island, ISLAND);
        let bare = record.site.tiles().find(|tile| covered.get(tile) != Some(&record.site.id));
        if let Some(bare) = bare {
            return Some(format!("{:?} stands but doesn't cover {bare:?}", record.site));
        }
    }
    None
}

fn tile_of(chunk: chunk_sync::place::ChunkPos, cell: u8, tile: u8) -> TilePos {
    let (cell, tile) = (i32::from(cell), i32::from(tile));
    TilePos {
        x: i32::from(chunk.x) * 16 + cell % 4 * 4 + tile % 4,
        y: i32::from(chunk.y) * 16 + cell / 4 * 4 + tile / 4,
    }
}

/// All of it, at any moment.
pub(super) fn wrong(store: &Store) -> Option<String> {
    items_wrong(store).or_else(|| lives_wrong(store)).or_else(|| land_wrong(store))
}

/// What must be true besides once everything has ended.
pub(super) fn unfinished(store: &Store) -> Option<String> {
    let open = store.lives.iter().find(|(_, life)| **life != [1; 4]);
    if let Some((id, life)) = open {
        return Some(format!("{id} has not ended: {life:?}"));
    }
    store.all().into_iter().find_map(|(partition, name, doc)| match doc {
        Doc::Structure(record) if record.state != StructureState::Standing => {
            Some(format!("{name} of {partition} is still {:?}", record.state))
        }
        Doc::Bag(bag) if !bag.held.is_empty() => Some(format!("{partition} still holds room: {bag:?}")),
        Doc::Ground(ground) if ground.stacks.iter().any(|lying| lying.held > 0) => {
            Some(format!("{name} of {partition} still holds room"))
        }
        Doc::Trade(trade) if trade.sending > 0 => Some(format!("{partition} is still sending")),
        _ => None,
    })
}
