//! What must be true of the store's documents: after every commit, and once everything has ended.

use super::book::{Book, Writing};
use super::town::home;
use std::collections::BTreeMap;
use world_node::rules::documents::{Doc, Right, StructureState};
use world_node::rules::items::{ItemKind, Items};
use world_node::rules::limits::BAG_SLOTS;
use world_node::rules::recipes::Recipe;
use world_node::rules::site::TilePos;
use world_node::rules::transfer::Back;
use world_node::rules::{ActId, DocName, Event, Holder, Partition};

type Sums = BTreeMap<ItemKind, i64>;

fn add(sums: &mut Sums, items: &Items, sign: i64) {
    for (kind, count) in items.iter() {
        *sums.entry(kind).or_default() += sign * i64::from(count);
    }
    sums.retain(|_, count| *count != 0);
}

/// Items that are held in a document.
fn held(doc: &Doc) -> Items {
    match doc {
        Doc::Bag(bag) => bag.items.clone(),
        Doc::Ground(ground) => ground.stacks.iter().fold(Items::default(), |mut all, lying| {
            all.add_all(&Items::of(lying.item, lying.count));
            all
        }),
        Doc::Trade(trade) => trade.holds(),
        Doc::Structure(record) => match record.state {
            StructureState::Standing => record.site.paid.clone(),
            StructureState::Leaving => {
                let mut kept = record.site.paid.clone();
                assert!(kept.take(&Items::from(record.site.kind.spec().refund)), "{record:?}");
                kept
            }
            StructureState::Raising { .. } | StructureState::Falling { .. } => Items::default(),
        },
        _ => Items::default(),
    }
}

/// A commit creates and destroys what the game says, and nothing else: what is gathered, what is left of a structure
/// after its refund, what a recipe turns into something else.
pub(super) fn items_conserved(book: &Book, writing: &Writing) {
    let (mut change, mut due) = (Sums::new(), Sums::new());
    for (name, doc) in &writing.docs {
        let before = book.get(writing.at, *name);
        before.into_iter().for_each(|doc| add(&mut change, &held(doc), -1));
        doc.iter().for_each(|doc| add(&mut change, &held(doc), 1));
        match (name, doc) {
            (DocName::Out(_), Some(Doc::Out(transfer))) => {
                add(&mut change, &transfer.items(), 1);
                if matches!(transfer.back, Back::Resource { .. }) {
                    add(&mut due, &transfer.items(), 1);
                }
            }
            (DocName::Out(id), None) if book.decisions[id].is_some() => {
                let transfer = &book.transfers[id];
                add(&mut change, &transfer.items(), -1);
                if matches!(transfer.back, Back::Resource { .. }) {
                    add(&mut due, &transfer.items(), -1);
                }
            }
            (DocName::Out(id), None) => {
                let transfer = &book.transfers[id];
                if let Back::Demolish { site } = &transfer.back {
                    add(&mut due, &site.paid, -1);
                    add(&mut due, &transfer.items(), 1);
                }
            }
            (DocName::In(id), Some(Doc::In(decision))) if decision.refused.is_none() => {
                add(&mut change, &book.transfers[id].items(), -1);
            }
            _ => {}
        }
    }
    let crafted = |recipe: &Recipe| {
        let spec = recipe.spec();
        let mut sums = Sums::new();
        add(&mut sums, &Items::from(spec.needs), -1);
        add(&mut sums, &Items::from(spec.gives), 1);
        sums == change
    };
    let is_craft = writing.is_act && due.is_empty() && Recipe::ALL.iter().any(crafted);
    assert!(change == due || is_craft, "items came or went: {change:?}, due: {due:?}, at {}", writing.at);
}

/// Who holds what of the items that a document is about.
fn holder(at: Partition, doc: &Doc) -> Option<Holder> {
    match (at, doc) {
        (Partition::Player(player), Doc::Bag(_)) => Some(Holder::Player(player)),
        (Partition::Chunk(island, chunk), Doc::Ground(_)) => Some(Holder::Ground(island, chunk)),
        (Partition::Trade(trade), Doc::Trade(_)) => Some(Holder::Trade(trade)),
        (Partition::Chunk(island, chunk), Doc::Structure(record)) => {
            Some(Holder::Structure(island, chunk, record.site.id))
        }
        _ => None,
    }
}

/// The ledger entry of a commit tells who gained and who lost by it, and nothing else.
pub(super) fn ledger_tells_all(book: &Book, writing: &Writing) {
    let mut sums: BTreeMap<(Holder, ItemKind), i64> = BTreeMap::new();
    let mut change = |holder: Holder, items: &Items, sign: i64| {
        for (kind, count) in items.iter() {
            *sums.entry((holder, kind)).or_default() += sign * i64::from(count);
        }
    };
    for (name, doc) in &writing.docs {
        let before = book.get(writing.at, *name);
        for (doc, sign) in before.map(|doc| (doc, -1)).into_iter().chain(doc.as_ref().map(|doc| (doc, 1))) {
            if let Some(holder) = holder(writing.at, doc) {
                change(holder, &held(doc), sign);
            }
        }
        match (name, doc) {
            (DocName::Out(id), Some(Doc::Out(transfer))) => {
                change(Holder::Transfer(*id), &transfer.items(), 1)
            }
            (DocName::Out(id), None) if book.decisions[id].is_some() => {
                change(Holder::Transfer(*id), &book.transfers[id].items(), -1);
            }
            (DocName::In(id), Some(Doc::In(decision))) if decision.refused.is_none() => {
                change(Holder::Transfer(*id), &book.transfers[id].items(), -1);
            }
            _ => {}
        }
    }
    for line in &writing.ledger {
        *sums.entry((line.from, line.kind)).or_default() += i64::from(line.count);
        *sums.entry((line.to, line.kind)).or_default() -= i64::from(line.count);
    }
    sums.retain(|(holder, _), sum| *holder != Holder::Nobody && *sum != 0);
    assert!(sums.is_empty(), "the ledger says otherwise: {sums:?} at {}", writing.at);
}

/// Whoever lets a structure stand must be allowed by what was last settled, or by something newer.
pub(super) fn no_build_after_revocation(book: &Book, writing: &Writing) {
    for (name, doc) in &writing.docs {
        let (DocName::Structure(id), Some(Doc::Structure(new))) = (name, doc) else { continue };
        let before = book.get(writing.at, DocName::Structure(*id));
        let was_up = matches!(before,
            Some(Doc::Structure(old)) if !matches!(old.state, StructureState::Raising { .. }));
        if new.state != StructureState::Standing || was_up || new.site.kind.spec().claims {
            continue;
        }
        for chunk in std::iter::once(new.site.anchor()).chain(new.site.others()) {
            let Some(Doc::Estate(copy)) = book.get(home(chunk), DocName::Estate) else { continue };
            let versions = book.estates.get(&copy.id).map_or(&[][..], Vec::as_slice);
            let builder = new.site.builder();
            let allowed = versions.iter().any(|version| version.allows(builder, Right::Build));
            assert!(versions.is_empty() || allowed, "{builder} built after a revocation was done");
        }
    }
}

/// Notes the versions of estates; one that is settled is everywhere.
pub(super) fn watch_estates(book: &mut Book, writing: &Writing) {
    for (name, doc) in &writing.docs {
        if let (DocName::Estate, Some(Doc::Estate(estate))) = (name, doc)
            && home(estate.home) == writing.at
        {
            book.estates.entry(estate.id).or_default().push(estate.clone());
        }
    }
    for event in &writing.events {
        match event {
            Event::Estate { estate, version: 0 } => drop(book.estates.remove(estate)),
            Event::EstateSettled { estate, version } => {
                let versions = book.estates.get_mut(estate).expect("it has been written");
                versions.drain(..versions.len() - 1);
                let newest = versions[0].clone();
                assert_eq!((newest.id, newest.version), (*estate, *version));
                for chunk in &newest.others {
                    let copy = book.get(home(*chunk), DocName::Estate);
                    assert_eq!(copy, Some(&Doc::Estate(newest.copy())), "a copy is behind a settled version");
                }
                book.settled.insert(*estate, *version);
            }
            _ => {}
        }
    }
}

/// Every covered tile has its structure, every standing structure all of its tiles, and no tile has two.
fn land_wrong(book: &Book) -> Option<String> {
    let mut covered: BTreeMap<TilePos, ActId> = BTreeMap::new();
    for (at, name, doc) in book.named(|name| matches!(name, DocName::Cell(_))) {
        let (Partition::Chunk(island, chunk), DocName::Cell(cell), Doc::Cell(record)) = (at, name, doc)
        else {
            continue;
        };
        for tile in &record.tiles {
            let place = tile_of(chunk, cell, tile.tile);
            if let Some(other) = covered.insert(place, tile.by) {
                return Some(format!("{place:?} is covered by {other} and {}", tile.by));
            }
            if book.get(Partition::Chunk(island, tile.anchor), DocName::Structure(tile.by)).is_none() {
                return Some(format!("{place:?} is covered by {}, which isn't there", tile.by));
            }
        }
    }
    for (_, _, doc) in book.named(|name| matches!(name, DocName::Structure(_))) {
        let Doc::Structure(record) = doc else { continue };
        if !matches!(record.state, StructureState::Standing | StructureState::Leaving) {
            continue;
        }
        if let Some(bare) = record.site.tiles().find(|tile| covered.get(tile) != Some(&record.site.id)) {
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

/// What must be true once everything has ended.
pub(super) fn unfinished(book: &Book) -> Option<String> {
    let open = book.lives.iter().find(|(_, life)| **life != [1; 4]);
    if let Some((id, life)) = open {
        return Some(format!("{id} has not ended: {life:?}"));
    }
    let left = book.docs.iter().find_map(|((at, name), doc)| match doc {
        Doc::Structure(record) if record.state != StructureState::Standing => {
            Some(format!("{name} of {at} is still {:?}", record.state))
        }
        Doc::Estate(estate) if !estate.behind.is_empty() => {
            Some(format!("{name} of {at} is still spreading"))
        }
        Doc::Bag(bag) if !bag.held.is_empty() => Some(format!("{at} still holds room: {bag:?}")),
        Doc::Bag(bag) if bag.slots() > BAG_SLOTS => Some(format!("{at} holds more than it can: {bag:?}")),
        Doc::Ground(ground) if ground.stacks.iter().any(|lying| lying.held > 0) => {
            Some(format!("{name} of {at} still holds room"))
        }
        Doc::Trade(trade) if trade.sending > 0 => Some(format!("{at} is still sending")),
        _ => None,
    });
    left.or_else(|| land_wrong(book))
}
