//! `atoll inspect`: what the store has of a player, a chunk, an island, a holder's estates, transfers under way. For
//! support; it changes nothing. Indexes are read on a replica where there is one, partitions on their master.

mod command;
mod question;
mod table;

pub(crate) use command::{Options, command, options, run};
pub(crate) use question::{Asked, Unanswered, answer};

/// Entries of a page when nobody says.
pub(crate) const PAGE_DEFAULT: usize = 50;
/// Most entries of a page.
pub(crate) const PAGE_MAX: usize = 1_000;
/// Pages of an index that one question reads at most; the answer says where to go on.
pub(crate) const PAGES_READ_MAX: usize = 64;
