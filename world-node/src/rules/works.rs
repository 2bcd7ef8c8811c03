//! Works over several chunks: raising a structure, taking one down, spreading an estate's new version. The anchor
//! chunk asks or tells the others one after the other, each by a transfer of its own; every step here writes the
//! documents of the anchor only.

use super::documents::{EstateRecord, EstateVersion, Record, Right, StructureRecord, StructureState};
use super::effects::{Draft, Event, Holder};
use super::ground;
use super::names::{ActId, DocName, Sender, TransferId};
use super::reject::RuleReject;
use super::site::Site;
use super::transfer::{Back, Cargo, Decision};
use chunk_sync::place::ChunkPos;

/// What became of a site at its anchor.
pub(super) enum Raised {
    /// It stands.
    Standing,
    /// Other chunks are being asked.
    Raising,
}

/// The name of the next transfer of a structure or its estate.
fn next_step(record: &mut StructureRecord) -> Result<TransferId, RuleReject> {
    // No site has an anchor that isn't on its island.
    let sender = Sender::chunk(record.site.anchor()).ok_or(RuleReject::Unread)?;
    let id = TransferId { act: record.site.id, sender, step: record.steps };
    record.steps += 1;
    Ok(id)
}

fn put(draft: &mut Draft<'_>, record: StructureRecord) {
    draft.put(DocName::Structure(record.site.id), record);
}

/// Takes the anchor's ground for a paid site and asks the first of the other chunks, if there are any.
///
/// # Errors
/// Why the anchor doesn't give its ground.
pub(super) fn begin(draft: &mut Draft<'_>, site: &Site) -> Result<Raised, RuleReject> {
    if draft.structure(site.id)?.is_some() {
        return Ok(Raised::Raising);
    }
    let anchor = site.anchor();
    let estate = ground::may_take(draft, site, anchor)?;
    ground::take(draft, site, anchor)?;
    let mut allowed = estate.as_ref().map(EstateRecord::named);
    if site.kind.spec().claims {
        let estate = EstateRecord::claimed_by(site);
        allowed = Some(estate.named());
        draft.event(Event::Estate { estate: estate.id, version: estate.version });
        draft.put(DocName::Estate, estate);
    }
    let state = StructureState::Raising { left: site.others(), held: Vec::new() };
    let record =
        StructureRecord { v: StructureRecord::VERSION, site: site.clone(), state, allowed, steps: 1 };
    draft.event(Event::Raising { site: site.clone() });
    ask_next(draft, record)
}

/// Asks the next chunk, or lets the structure stand when all agreed.
fn ask_next(draft: &mut Draft<'_>, mut record: StructureRecord) -> Result<Raised, RuleReject> {
    let StructureState::Raising { left, .. } = &record.state else { return Err(RuleReject::Unread) };
    let Some(next) = left.first().copied() else { return stand(draft, record) };
    let id = next_step(&mut record)?;
    let on = record.allowed.filter(|_| !record.site.kind.spec().claims).map(|allowed| allowed.id);
    let cargo = Cargo::Reserve { site: record.site.clone(), on };
    draft.send(id, record.site.partition(next), cargo, Back::Raise { site: record.site.clone() });
    put(draft, record);
    Ok(Raised::Raising)
}

/// The last step of raising. The right is looked at again: while other chunks were asked it may have been revoked,
/// and nothing may stand up after a revocation is done.
fn stand(draft: &mut Draft<'_>, mut record: StructureRecord) -> Result<Raised, RuleReject> {
    if let Some(estate) = draft.estate()? {
        if !estate.allows(record.site.builder(), Right::Build) {
            return Err(RuleReject::Forbidden);
        }
        record.allowed = Some(estate.named());
    }
    let site = record.site.clone();
    draft.moved(&site.paid, Holder::Transfer(site.paid_by()), Holder::structure(&site));
    record.state = StructureState::Standing;
    put(draft, record);
    draft.event(Event::Standing { site });
    Ok(Raised::Standing)
}

/// Goes on after a chunk agreed or refused. When the last one agreed, or one refused, this decides the builder's own
/// transfer.
pub(super) fn answered(
    draft: &mut Draft<'_>,
    site: &Site,
    refused: Option<RuleReject>,
) -> Result<(), RuleReject> {
    let mut record = draft.structure(site.id)?.ok_or(RuleReject::Unread)?;
    let StructureState::Raising { left, held } = &mut record.state else { return Err(RuleReject::Unread) };
    if left.is_empty() {
        return Err(RuleReject::Unread);
    }
    let asked = left.remove(0);
    if refused.is_none() {
        held.push(asked);
    }
    let held = held.clone();
    let refused = match refused {
        Some(why) => Some(why),
        None => match ask_next(draft, record.clone()) {
            Ok(Raised::Raising) => return Ok(()),
            Ok(Raised::Standing) => None,
            Err(RuleReject::Unread) => return Err(RuleReject::Unread),
            Err(why) => Some(why),
        },
    };
    if refused.is_some() {
        fall(draft, record, held)?;
    }
    let id = site.paid_by();
    draft.put(DocName::In(id), Decision { v: Decision::VERSION, from: id.sent_by(), refused });
    Ok(())
}

/// Takes a structure away: its ground here at once, that of `others` one after the other.
pub(super) fn fall(
    draft: &mut Draft<'_>,
    record: StructureRecord,
    others: Vec<ChunkPos>,
) -> Result<(), RuleReject> {
    ground::free(draft, &record.site, record.site.anchor())?;
    drop_estate(draft, &record.site)?;
    draft.event(Event::Gone { structure: record.site.id });
    tell_next(draft, record, others)
}

/// Removes a chunk's copy of the estate that `totem` claimed, if it is one.
pub(super) fn drop_estate(draft: &mut Draft<'_>, totem: &Site) -> Result<(), RuleReject> {
    if totem.kind.spec().claims && draft.estate()?.is_some_and(|estate| estate.id == totem.id) {
        draft.remove(DocName::Estate);
        draft.event(Event::Estate { estate: totem.id, version: 0 });
    }
    Ok(())
}

fn tell_next(
    draft: &mut Draft<'_>,
    mut record: StructureRecord,
    left: Vec<ChunkPos>,
) -> Result<(), RuleReject> {
    let Some(next) = left.first().copied() else {
        draft.remove(DocName::Structure(record.site.id));
        return Ok(());
    };
    let id = next_step(&mut record)?;
    let site = record.site.clone();
    draft.send(id, site.partition(next), Cargo::Release { site: site.clone() }, Back::Fall { site });
    record.state = StructureState::Falling { left };
    put(draft, record);
    Ok(())
}

/// Goes on after a chunk was told that a structure is gone.
pub(super) fn told(draft: &mut Draft<'_>, site: &Site) -> Result<(), RuleReject> {
    let record = draft.structure(site.id)?.ok_or(RuleReject::Unread)?;
    let StructureState::Falling { left } = &record.state else { return Err(RuleReject::Unread) };
    let left = left.get(1..).ok_or(RuleReject::Unread)?.to_vec();
    tell_next(draft, record, left)
}

/// Writes an estate's new version and starts to spread it, unless an older one is still on its way: then that goes
/// on with this one.
pub(super) fn change_estate(
    draft: &mut Draft<'_>,
    record: StructureRecord,
    estate: EstateRecord,
    running: bool,
) -> Result<(), RuleReject> {
    draft.event(Event::Estate { estate: estate.id, version: estate.version });
    if running {
        draft.put(DocName::Estate, estate);
        return Ok(());
    }
    spread_next(draft, record, estate)
}

fn spread_next(
    draft: &mut Draft<'_>,
    mut record: StructureRecord,
    estate: EstateRecord,
) -> Result<(), RuleReject> {
    let EstateVersion { id, version } = estate.named();
    match estate.behind.first().copied() {
        None => draft.event(Event::EstateSettled { estate: id, version }),
        Some(chunk) => {
            let step = next_step(&mut record)?;
            let back = Back::Spread { estate: id, chunk, version };
            draft.send(step, record.site.partition(chunk), Cargo::Estate { copy: estate.copy() }, back);
            put(draft, record);
        }
    }
    draft.put(DocName::Estate, estate);
    Ok(())
}

/// Goes on after `chunk` got an estate's copy of `version`.
pub(super) fn spread(
    draft: &mut Draft<'_>,
    estate: ActId,
    chunk: ChunkPos,
    version: u32,
) -> Result<(), RuleReject> {
    let record = draft.structure(estate)?.ok_or(RuleReject::Unread)?;
    let current = draft.estate()?.filter(|current| current.id == estate);
    let mut current = current.ok_or(RuleReject::Unread)?;
    if current.version == version {
        current.behind.retain(|behind| *behind != chunk);
    }
    spread_next(draft, record, current)
}
