//! The laws of a single commit: items are conserved, the ledger tells all, nobody builds after a revocation, a settled
//! estate is everywhere.

use super::{Witness, Writing};
use crate::rules::documents::{Doc, Right, StructureRecord, StructureState};
use crate::rules::items::{ItemKind, Items};
use crate::rules::recipes::Recipe;
use crate::rules::transfer::Back;
use crate::rules::{DocName, Event, Holder, Partition};
use chunk_sync::place::ChunkPos;
use std::collections::BTreeMap;

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
        Doc::Structure(record) => kept_in(record),
        _ => Items::default(),
    }
}

/// What is in a structure: all that was paid for it, less what is on its way back.
pub fn kept_in(record: &StructureRecord) -> Items {
    let mut kept = match record.state {
        StructureState::Standing | StructureState::Leaving => record.site.paid.clone(),
        StructureState::Raising { .. } | StructureState::Falling { .. } => Items::default(),
    };
    // One that gives back more than was paid for it keeps everything, and the sums tell.
    if record.state == StructureState::Leaving {
        let _ = kept.take(&Items::from(record.site.kind.spec().refund));
    }
    kept
}

/// A commit creates and destroys what the game says, and nothing else: what is gathered, what is left of a structure
/// after its refund, what a recipe turns into something else.
pub(super) fn items_conserved(seen: &Witness, writing: &Writing) -> Result<(), String> {
    let (mut change, mut due) = (Sums::new(), Sums::new());
    for (name, doc) in &writing.docs {
        let before = seen.get(writing.at, *name);
        before.into_iter().for_each(|doc| add(&mut change, &held(doc), -1));
        doc.iter().for_each(|doc| add(&mut change, &held(doc), 1));
        let (transfer, sign) = match (name, doc) {
            (DocName::Out(_), Some(Doc::Out(transfer))) => (Some(transfer), 1),
            (DocName::Out(id), None) if matches!(seen.decisions.get(id), Some(Some(_))) => {
                (seen.transfers.get(id), -1)
            }
            (DocName::Out(id), None) => {
                let sent = seen.transfers.get(id);
                if let Some(Back::Demolish { site }) = sent.map(|sent| &sent.back) {
                    add(&mut due, &site.paid, -1);
                    sent.into_iter().for_each(|sent| add(&mut due, &sent.items(), 1));
                }
                continue;
            }
            (DocName::In(id), Some(Doc::In(decision))) if decision.refused.is_none() => {
                seen.transfers.get(id).into_iter().for_each(|sent| add(&mut change, &sent.items(), -1));
                continue;
            }
            _ => continue,
        };
        let Some(transfer) = transfer else { continue };
        add(&mut change, &transfer.items(), sign);
        if matches!(transfer.back, Back::Resource { .. }) {
            add(&mut due, &transfer.items(), sign);
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
    if change == due || is_craft {
        return Ok(());
    }
    Err(format!("items came or went: {change:?}, due: {due:?}, at {}", writing.at))
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
pub(super) fn ledger_tells_all(seen: &Witness, writing: &Writing) -> Result<(), String> {
    let mut sums: BTreeMap<(Holder, ItemKind), i64> = BTreeMap::new();
    let mut change = |holder: Holder, items: &Items, sign: i64| {
        for (kind, count) in items.iter() {
            *sums.entry((holder, kind)).or_default() += sign * i64::from(count);
        }
    };
    for (name, doc) in &writing.docs {
        let before = seen.get(writing.at, *name);
        for (doc, sign) in before.map(|doc| (doc, -1)).into_iter().chain(doc.as_ref().map(|doc| (doc, 1))) {
            if let Some(holder) = holder(writing.at, doc) {
                change(holder, &held(doc), sign);
            }
        }
        let (id, sent, sign) = match (name, doc) {
            (DocName::Out(id), Some(Doc::Out(transfer))) => (id, Some(transfer), 1),
            (DocName::Out(id), None) if matches!(seen.decisions.get(id), Some(Some(_))) => {
                (id, seen.transfers.get(id), -1)
            }
            (DocName::In(id), Some(Doc::In(decision))) if decision.refused.is_none() => {
                (id, seen.transfers.get(id), -1)
            }
            _ => continue,
        };
        sent.into_iter().for_each(|sent| change(Holder::Transfer(*id), &sent.items(), sign));
    }
    for line in &writing.ledger {
        *sums.entry((line.from, line.kind)).or_default() += i64::from(line.count);
        *sums.entry((line.to, line.kind)).or_default() -= i64::from(line.count);
    }
    sums.retain(|(holder, _), sum| *holder != Holder::Nobody && *sum != 0);
    if sums.is_empty() {
        Ok(())
    } else {
        Err(format!("the ledger says otherwise: {sums:?} at {}", writing.at))
    }
}

/// A chunk of the same island.
fn beside(at: Partition, chunk: ChunkPos) -> Partition {
    match at {
        Partition::Chunk(island, _) => Partition::Chunk(island, chunk),
        other => other,
    }
}

/// Whoever lets a structure stand must be allowed by what was last settled, or by something newer.
pub(super) fn no_build_after_revocation(seen: &Witness, writing: &Writing) -> Result<(), String> {
    for (name, doc) in &writing.docs {
        let (DocName::Structure(id), Some(Doc::Structure(new))) = (name, doc) else { continue };
        let before = seen.get(writing.at, DocName::Structure(*id));
        let was_up = matches!(before,
            Some(Doc::Structure(old)) if !matches!(old.state, StructureState::Raising { .. }));
        if new.state != StructureState::Standing || was_up || new.site.kind.spec().claims {
            continue;
        }
        for chunk in std::iter::once(new.site.anchor()).chain(new.site.others()) {
            let Some(Doc::Estate(copy)) = seen.get(beside(writing.at, chunk), DocName::Estate) else {
                continue;
            };
            let versions = seen.estates.get(&copy.id).map_or(&[][..], Vec::as_slice);
            let builder = new.site.builder();
            let allowed = versions.iter().any(|version| version.allows(builder, Right::Build));
            if !versions.is_empty() && !allowed {
                return Err(format!("{builder} built {id} after a revocation was done"));
            }
        }
    }
    Ok(())
}

/// Notes the versions of estates; one that is settled is everywhere.
pub(super) fn watch_estates(seen: &mut Witness, writing: &Writing) -> Result<(), String> {
    for (name, doc) in &writing.docs {
        if let (DocName::Estate, Some(Doc::Estate(estate))) = (name, doc)
            && beside(writing.at, estate.home) == writing.at
        {
            seen.estates.entry(estate.id).or_default().push(estate.clone());
        }
    }
    for event in &writing.events {
        match event {
            Event::Estate { estate, version: 0 } => drop(seen.estates.remove(estate)),
            Event::EstateSettled { estate, version } => {
                let versions = seen.estates.get_mut(estate);
                let newest = versions.and_then(|versions| {
                    versions.drain(..versions.len().saturating_sub(1));
                    versions.first().cloned()
                });
                let newest = newest.filter(|newest| (newest.id, newest.version) == (*estate, *version));
                let Some(newest) = newest else {
                    return Err(format!(
                        "version {version} of estate {estate} is settled, and is not the newest"
                    ));
                };
                let copy = Doc::Estate(newest.copy());
                let behind = newest
                    .others
                    .iter()
                    .find(|chunk| seen.get(beside(writing.at, **chunk), DocName::Estate) != Some(&copy));
                if let Some(chunk) = behind {
                    return Err(format!("{chunk:?}'s copy of estate {estate} is behind a settled version"));
                }
                seen.settled.insert(*estate, *version);
            }
            _ => {}
        }
    }
    Ok(())
}
