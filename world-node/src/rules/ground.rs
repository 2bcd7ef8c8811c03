//! The ground under structures: who may take it, taking and freeing it, one chunk at a time. The rule for building
//! asks early on a view; a transfer asks again on the chunk's own documents, and that answer counts.

use super::documents::{EstateRecord, Right};
use super::effects::Draft;
use super::reject::RuleReject;
use super::site::Site;
use chunk_sync::place::ChunkPos;
use std::collections::BTreeSet;

/// Whether `site` may have its ground in `chunk`, whose partition the draft is of. Answers the chunk's estate.
///
/// # Errors
/// `Claimed`, `Forbidden`, `Settled`, `Occupied`; `Unread` when a document wasn't loaded.
pub(super) fn may_take(
    draft: &mut Draft<'_>,
    site: &Site,
    chunk: ChunkPos,
) -> Result<Option<EstateRecord>, RuleReject> {
    let claims = site.kind.spec().claims;
    let estate = draft.estate()?;
    match &estate {
        Some(_) if claims => return Err(RuleReject::Claimed),
        Some(estate) if !estate.allows(site.builder(), Right::Build) => return Err(RuleReject::Forbidden),
        _ => {}
    }
    if claims {
        for cell in site.cells_in(chunk) {
            if draft.cell(cell)?.tiles.iter().any(|covered| covered.by.player != site.builder()) {
                return Err(RuleReject::Settled);
            }
        }
    }
    for tile in site.tiles_in(chunk) {
        if draft.cell(tile.cell())?.covered(tile).is_some() {
            return Err(RuleReject::Occupied);
        }
    }
    Ok(estate)
}

/// Takes the ground of `site` in `chunk`.
pub(super) fn take(draft: &mut Draft<'_>, site: &Site, chunk: ChunkPos) -> Result<(), RuleReject> {
    for tile in site.tiles_in(chunk) {
        let mut cell = draft.cell(tile.cell())?;
        cell.cover(tile, site);
        draft.put_cell(tile.cell(), cell);
    }
    Ok(())
}

/// Frees the ground of `site` in `chunk`; what it doesn't cover stays as it is.
pub(super) fn free(draft: &mut Draft<'_>, site: &Site, chunk: ChunkPos) -> Result<(), RuleReject> {
    let cells: BTreeSet<u8> = site.tiles_in(chunk).map(|tile| tile.cell()).collect();
    for number in cells {
        let mut cell = draft.cell(number)?;
        cell.uncover(site.id);
        draft.put_cell(number, cell);
    }
    Ok(())
}
