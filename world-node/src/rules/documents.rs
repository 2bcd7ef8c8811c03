//! The documents that partitions hold: small MessagePack maps with string keys, each with its schema version `v`.
//!
//! Older versions are upgraded as they are read and written in the new form when they next change; newer ones are
//! refused, never guessed at. Bytes become values here and nowhere else, but for the documents that say where a player is:
//! allocators read those too, by the same rules (`chunk_sync::records::Whereabouts`).

mod land;
mod player;
mod trade;

pub use chunk_sync::records::PlacementRecord;
pub use land::{
    CellRecord, Covered, EstateRecord, EstateVersion, GroundRecord, GroundStack, Permission, ResourceRecord,
    Right, StructureRecord, StructureState,
};
pub use player::BagRecord;
pub use trade::{Owed, TradeRecord, TradeState};

use super::names::DocName;
use super::transfer::{Decision, Transfer};
use chunk_sync::records::{decode, encode};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why bytes are no document of ours.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum DocError {
    /// Not a map with a version, or not what its version promises.
    #[error("document {doc} is damaged")]
    Damaged {
        /// Which document.
        doc: DocName,
    },
    /// Written by a newer build.
    #[error("document {doc} has version {found}, this build reads up to {known}")]
    Newer {
        /// Which document.
        doc: DocName,
        /// Its version.
        found: u16,
        /// The newest that this build reads.
        known: u16,
    },
}

/// How many decisions were forgotten in a partition. It grows with each, so that a finisher which looked before one
/// was forgotten can't decide again after it.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ForgetsRecord {
    /// Schema version.
    pub v: u16,
    /// The count.
    pub count: u64,
}

/// One sort of document.
pub trait Record: Sized + Serialize {
    /// The version that this build writes.
    const VERSION: u16;
    /// The document around it.
    fn wrap(self) -> Doc;
    /// What is in a document, if it is of this sort.
    fn of(doc: &Doc) -> Option<&Self>;
    /// Reads the older version `v`; `None` if there never was one.
    fn upgrade(_v: u16, _bytes: &[u8]) -> Option<Self> {
        None
    }
}

/// The part of a document that every version has.
#[derive(Deserialize)]
struct Versioned {
    v: u16,
}

macro_rules! documents {
    ($($(#[$doc:meta])* $sort:ident($record:ty), version $version:literal at ($names:pat) $(, upgrade $upgrade:path)?;)*) => {
        /// The content of a document.
        #[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Doc { $($(#[$doc])* $sort($record),)* }

        $(impl Record for $record {
            const VERSION: u16 = $version;
            fn wrap(self) -> Doc {
                Doc::$sort(self)
            }
            fn of(doc: &Doc) -> Option<&Self> {
                match doc {
                    Doc::$sort(record) => Some(record),
                    _ => None,
                }
            }
            $(fn upgrade(v: u16, bytes: &[u8]) -> Option<Self> {
                $upgrade(v, bytes)
            })?
        })*

        impl Doc {
            /// The bytes, as they are stored.
            pub fn pack(&self) -> Vec<u8> {
                match self { $(Doc::$sort(record) => encode(record),)* }
            }

            /// The document `name` in these bytes.
            ///
            /// # Errors
            /// When they are damaged, or newer than this build.
            pub fn unpack(name: DocName, bytes: &[u8]) -> Result<Doc, DocError> {
                match name { $($names => Ok(Doc::$sort(read(name, bytes)?)),)* }
            }
        }
    };
}

fn read<R: Record + for<'a> Deserialize<'a>>(doc: DocName, bytes: &[u8]) -> Result<R, DocError> {
    let damaged = DocError::Damaged { doc };
    let Some(Versioned { v }) = decode(bytes) else { return Err(damaged) };
    let record = match v {
        v if v > R::VERSION => return Err(DocError::Newer { doc, found: v, known: R::VERSION }),
        v if v == R::VERSION => decode(bytes),
        v => R::upgrade(v, bytes),
    };
    record.ok_or(damaged)
}

documents! {
    /// A player's inventory and stamina.
    Bag(BagRecord), version 2 at (DocName::Bag), upgrade player::older_bag;
    /// Where a journey took a player.
    Placement(PlacementRecord), version 1 at (DocName::Placement);
    /// A resource that is not as the land was made.
    Resource(ResourceRecord), version 1 at (DocName::Resource(_));
    /// A structure.
    Structure(StructureRecord), version 1 at (DocName::Structure(_));
    /// What covers a cell.
    Cell(CellRecord), version 1 at (DocName::Cell(_));
    /// A chunk's copy of its estate.
    Estate(EstateRecord), version 1 at (DocName::Estate);
    /// What lies on a cell.
    Ground(GroundRecord), version 1 at (DocName::Ground(_));
    /// A trade.
    Trade(TradeRecord), version 1 at (DocName::Trade);
    /// A pending transfer.
    Out(Transfer), version 1 at (DocName::Out(_));
    /// A decision.
    In(Decision), version 1 at (DocName::In(_));
    /// The count of forgotten decisions.
    Forgets(ForgetsRecord), version 1 at (DocName::Forgets);
}
