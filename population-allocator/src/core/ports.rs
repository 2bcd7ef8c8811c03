//! The core's edges: what it is told at its start, what it asks its surroundings to do, what it answers. The
//! service carries these to real sockets and stores, the simulation to its own.

use crate::policy::{Policy, PolicyError};
use chunk_sync::ids::Source;
use chunk_sync::ticket::TicketKey;
use chunk_sync::wire::{RejectCode, Seat};
use std::collections::BTreeMap;
use thiserror::Error;

/// What an allocator core is told at its start.
#[derive(Clone, Debug)]
pub struct AllocatorConfig {
    /// Number of this start.
    pub source: Source,
    /// What operators want.
    pub policy: Policy,
    /// Keys that sign tickets, the newest first.
    pub keys: Vec<TicketKey>,
    /// Where clients connect (`host:port`), as the registry shall say it.
    pub address: String,
    /// Where members of the cluster subscribe, as the registry shall say it.
    pub mesh: String,
}

/// Why a core can't be made.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ConfigError {
    /// The policy contradicts itself; all faults at once.
    #[error("the allocator's policy can't be used: {}", listed(.0))]
    Policy(Vec<PolicyError>),
    /// Nothing to sign tickets with.
    #[error("the world has no ticket key")]
    NoKey,
}

fn listed(errors: &[PolicyError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Number of one client's join; given by the carrier, in rising order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestNo(pub u64);

/// What a client is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Whose join.
    pub request: RequestNo,
    /// A seat, or why there is none.
    pub outcome: Result<Seat, RejectCode>,
}

/// How an allocator is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Not yet allowed to seat anybody: registering, reading the plan, or hearing the first census.
    Starting,
    /// Serves.
    Serving,
    /// The store has not confirmed it lately: joins wait.
    Unconfirmed,
    /// A newer allocator took over; everybody is told to reconnect. The process should end.
    Fenced,
    /// Asked to stop.
    Stopping,
}

/// What happened since the start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Joins that came.
    pub joins: u64,
    /// Joins that got a ticket.
    pub seated: u64,
    /// Those of them to an island that isn't the player's home, which had no room.
    pub guests: u64,
    /// Joins that were refused, by the label of the reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Mesh messages that are none of ours or can't be read.
    pub mesh_malformed: u64,
    /// Mesh messages of sources that the registry doesn't (or no longer) name.
    pub mesh_unknown: u64,
    /// Census messages of incarnations that were replaced or declared dead.
    pub census_fenced: u64,
    /// Census messages that repeat, come out of order or from a clock far ahead.
    pub census_stale: u64,
    /// Registry or plan documents that can't be read.
    pub records_malformed: u64,
    /// Questions that the store didn't answer.
    pub store_faults: u64,
    /// Plans written.
    pub plans: u64,
}
