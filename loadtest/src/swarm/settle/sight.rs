//! What a settler reads from the documents that its node told it: its bag, resources, structures, stacks, estates.
//!
//! Pure. Bytes that are no document of the game count as absent; a server that sends such is found out by the check.

use chunk_sync::client::Documents;
use chunk_sync::place::{ChunkPos, Place};
use chunk_sync::time::Tick;
use world_node::rules::documents::{
    BagRecord, Doc, EstateRecord, GroundRecord, GroundStack, Record, ResourceRecord, StructureRecord,
};
use world_node::rules::resources::ResourceKind;
use world_node::rules::{ActId, DocName};

fn read<R: Record + Clone>(name: DocName, bytes: Option<&Vec<u8>>) -> Option<R> {
    let doc = Doc::unpack(name, bytes?).ok()?;
    R::of(&doc).cloned()
}

/// The player's bag; empty and rested without a document. `None` until the player's own documents were told.
pub(super) fn bag(documents: &Documents) -> Option<BagRecord> {
    let own = documents.own()?;
    Some(read(DocName::Bag, own.get("bag")).unwrap_or_default())
}

/// Units of a resource that are surely there at `tick`, or `None` if it is whole. The outer `None`: the chunk isn't known.
pub(super) fn units(
    documents: &Documents,
    (chunk, tile): (ChunkPos, u8),
    kind: ResourceKind,
    tick: Tick,
) -> Option<Option<u32>> {
    let name = DocName::Resource(tile);
    let record: Option<ResourceRecord> = read(name, documents.chunk(chunk)?.get(&name.to_string()));
    Some(record.map(|record| record.units().now(kind, tick)))
}

/// Stacks that lie in the cell of a place.
pub(super) fn stacks_at(documents: &Documents, place: Place) -> Vec<GroundStack> {
    let name = DocName::Ground(place.cell());
    let shelf = documents.chunk(place.chunk());
    let record: Option<GroundRecord> = read(name, shelf.and_then(|shelf| shelf.get(&name.to_string())));
    record.map(|record| record.stacks).unwrap_or_default()
}

/// A structure of a chunk.
pub(super) fn structure(documents: &Documents, chunk: ChunkPos, id: ActId) -> Option<StructureRecord> {
    let name = DocName::Structure(id);
    read(name, documents.chunk(chunk)?.get(&name.to_string()))
}

/// The estate that a chunk belongs to.
pub(super) fn estate(documents: &Documents, chunk: ChunkPos) -> Option<EstateRecord> {
    read(DocName::Estate, documents.chunk(chunk)?.get("estate"))
}

/// Names of all structures of a chunk.
pub(super) fn structures(documents: &Documents, chunk: ChunkPos) -> impl Iterator<Item = ActId> {
    let names = documents.chunk(chunk).into_iter().flat_map(|shelf| shelf.keys());
    names.filter_map(|name| match name.parse() {
        Ok(DocName::Structure(id)) => Some(id),
        _ => None,
    })
}

/// All stacks of a chunk.
pub(super) fn stacks(documents: &Documents, chunk: ChunkPos) -> impl Iterator<Item = GroundStack> {
    let shelf = documents.chunk(chunk).into_iter().flat_map(|shelf| shelf.iter());
    let grounds = shelf.filter_map(|(name, bytes)| match name.parse() {
        Ok(name @ DocName::Ground(_)) => read::<GroundRecord>(name, Some(bytes)),
        _ => None,
    });
    grounds.flat_map(|ground| ground.stacks)
}
