//! `atoll export` and `atoll import`: a whole world in one file, from any store to any empty one.

mod command;
mod export;
pub(crate) mod format;
mod import;
pub(crate) mod limits;

pub(crate) use command::{Options, command_export, command_import, options, run};
pub(crate) use export::is_live;
pub(crate) use import::refuse_unfinished;

#[cfg(test)]
mod tests;
