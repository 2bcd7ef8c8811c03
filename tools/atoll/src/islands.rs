//! `atoll suspend` and `atoll resume`: an island leaves the store for a file, and comes back. What was there is a mark in
//! each of its chunks, which every commit to a chunk demands the absence of; the plan says that the island isn't open.
//!
//! The auditor, exports and `inspect` learn here what is away, and where it is.

mod away;
mod command;
mod file;
pub(crate) mod limits;
mod plan;
mod resume;
mod suspend;

use std::path::{Path, PathBuf};

use chunk_sync::ids::IslandId;
use chunk_sync::records::SuspendedIsland;
use chunk_sync::store::StoreFault;
use chunk_sync_io::store::StoreUrl;

pub(crate) use away::{Away, mark_of};
pub(crate) use command::{Options, command_resume, command_suspend, options, run};
pub(crate) use plan::{all_open, suspended_islands, too_many};

/// The folder of archives in an embedded store's data folder.
const FOLDER: &str = "archive";

/// Where archives are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Archives {
    asked: Option<PathBuf>,
    beside: Option<PathBuf>,
}

impl Archives {
    /// In the folder that was asked for, else beside an embedded store.
    pub(crate) fn new(asked: Option<PathBuf>, store: &StoreUrl) -> Self {
        let beside = match store {
            StoreUrl::Embedded(data) => Some(data.join(FOLDER)),
            StoreUrl::Redis(_) => None,
        };
        Self { asked, beside }
    }

    /// Where a new one is written to, if that is known.
    fn folder(&self) -> Option<&Path> {
        self.asked.as_deref().or(self.beside.as_deref())
    }

    /// Where an island's is: in the folder that was asked for; else beside the store, if it is there; else where it was
    /// when it was written.
    pub(crate) fn path(&self, island: &SuspendedIsland) -> PathBuf {
        let name = name_of(island.island, island.sum);
        if let Some(asked) = &self.asked {
            return asked.join(name);
        }
        let beside = self.beside.as_ref().map(|folder| folder.join(&name)).filter(|path| path.is_file());
        beside.unwrap_or_else(|| Path::new(&island.folder).join(name))
    }
}

/// The name of an archive's file. The sum of what is in it is part of it, so that no other archive has the name.
fn name_of(island: IslandId, sum: u64) -> String {
    format!("island-{}-{sum:016x}.atoll", island.0)
}

/// Why an island was not suspended, or not resumed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IslandError {
    /// It can't be done as things are. Nothing was changed.
    #[error("{0}; nothing was changed")]
    Refused(String),
    /// The archive can't be used. Nothing was changed.
    #[error("{0}; nothing was changed")]
    Archive(#[from] file::ArchiveError),
    /// The store can't be read. Nothing was changed.
    #[error("{0}; nothing was changed")]
    Unread(StoreFault),
    /// The store has what can't be read, whenever it is asked. Nothing was changed.
    #[error("{0}; nothing was changed. Put the store back from a copy")]
    Damaged(String),
    /// The store failed on the way. Whatever was done so far, doing it again finishes it.
    #[error("{0}; do it again to finish it")]
    Store(String),
    /// It was begun, and doing it again doesn't finish it.
    #[error("{0}")]
    Stuck(String),
}

/// Of reading, which comes before anything is changed.
impl From<StoreFault> for IslandError {
    fn from(fault: StoreFault) -> Self {
        match fault {
            StoreFault::Broken { text } => Self::Damaged(text),
            fault => Self::Unread(fault),
        }
    }
}

#[cfg(test)]
mod tests;
