//! Building, claiming and demolishing. The materials leave the bag here; whether the ground is given is decided in
//! the chunks.

use super::{Actor, effects, from_chunk, send_from_bag};
use crate::rules::documents::{Right, StructureState};
use crate::rules::effects::{Draft, Effects, Holder};
use crate::rules::ground::may_take;
use crate::rules::items::Items;
use crate::rules::limits::{ESTATE_CHUNKS_MAX, ESTATE_RING_MAX, REACH_QUANTA};
use crate::rules::names::{ActId, DocName};
use crate::rules::reject::RuleReject;
use crate::rules::site::{Site, TilePos};
use crate::rules::transfer::{Back, Cargo, Goods};
use crate::rules::view::{ReadSet, View};
use chunk_sync::place::ChunkPos;

/// The site's chunks, the anchor first; none when it is not all on the island.
fn chunks(site: &Site) -> Vec<ChunkPos> {
    let on_island = site.tiles().all(TilePos::on_island);
    let claims = site.claims.len() < ESTATE_CHUNKS_MAX
        && site.claims.iter().all(|chunk| {
            chunk.index().is_some() && *chunk != site.anchor() && chunk.ring(site.anchor()) <= ESTATE_RING_MAX
        });
    if !on_island || !claims {
        return Vec::new();
    }
    [site.anchor()].into_iter().chain(site.others()).collect()
}

pub(super) fn reads(actor: &Actor, site: &Site) -> ReadSet {
    let own = ReadSet::default().doc(actor.own(), DocName::Bag);
    chunks(site).into_iter().fold(own, |reads, chunk| {
        let partition = site.partition(chunk);
        let cells = site.cells_in(chunk).into_iter().map(DocName::Cell);
        let reads = reads.docs(partition, cells.chain([DocName::Estate]));
        if site.tiles_in(chunk).next().is_some() { reads.land(partition) } else { reads }
    })
}

/// The ground is asked for early here, for a quick no; each chunk decides for itself when it is asked.
pub(super) fn decide(actor: &Actor, site: &Site, view: &View) -> Result<Effects, RuleReject> {
    let chunks = chunks(site);
    if chunks.is_empty() {
        return Err(RuleReject::BadGround);
    }
    if !site.corner.reached_from(site.edges(), actor.place, REACH_QUANTA) {
        return Err(RuleReject::TooFar);
    }
    for tile in site.tiles() {
        if !view.land_of(site.partition(tile.chunk()))?.is_buildable(tile.number()) {
            return Err(RuleReject::BadGround);
        }
    }
    let mut on = None;
    for (nth, chunk) in chunks.iter().enumerate() {
        let partition = site.partition(*chunk);
        let estate = may_take(&mut Draft::new(view, partition), site, *chunk)?.map(|estate| estate.id);
        if nth > 0 && estate != on {
            return Err(RuleReject::Border);
        }
        on = estate;
    }
    let stamina = site.kind.spec().stamina;
    let cargo = Cargo::Site { site: site.clone() };
    send_from_bag(actor, view, site.partition(site.anchor()), &site.paid, stamina, cargo)
}

pub(super) fn demolish_reads(actor: &Actor, chunk: ChunkPos, structure: ActId) -> ReadSet {
    ReadSet::default()
        .docs(actor.chunk(chunk), [DocName::Structure(structure), DocName::Estate])
        .doc(actor.own(), DocName::Bag)
}

/// The structure stays until what it gives back has arrived.
pub(super) fn demolish(
    actor: &Actor,
    chunk: ChunkPos,
    structure: ActId,
    view: &View,
) -> Result<Effects, RuleReject> {
    let mut draft = Draft::new(view, actor.chunk(chunk));
    let mut record = draft.structure(structure)?.ok_or(RuleReject::NotThere)?;
    let site = record.site.clone();
    if !site.corner.reached_from(site.edges(), actor.place, REACH_QUANTA) {
        return Err(RuleReject::TooFar);
    }
    let estate = draft.estate()?;
    record.allowed = estate.as_ref().map(|estate| estate.named());
    match &estate {
        _ if site.kind.spec().claims && site.builder() != actor.player => return Err(RuleReject::NotYours),
        Some(estate) if !estate.allows(actor.player, Right::Demolish) => return Err(RuleReject::Forbidden),
        None if site.builder() != actor.player => return Err(RuleReject::NotYours),
        _ => {}
    }
    let spreading = estate.is_some_and(|estate| estate.id == structure && !estate.behind.is_empty());
    if record.state != StructureState::Standing || spreading {
        return Err(RuleReject::Busy);
    }
    // Never more than was paid, whatever structures of its kind cost by now.
    let goods = Goods::from(Items::from(site.kind.spec().refund).capped(&site.paid));
    Draft::new(view, actor.own()).bag()?.received(&goods, actor.tick)?;
    record.state = StructureState::Leaving;
    draft.put(DocName::Structure(structure), record);
    let id = from_chunk(actor, chunk)?;
    draft.moved(&goods.items, Holder::structure(&site), Holder::Transfer(id));
    draft.send(id, actor.own(), Cargo::Goods(goods), Back::Demolish { site });
    Ok(effects(draft, Some(id)))
}
