//! The core's edges: what it is told at its start, what it asks its surroundings to do, what it answers. The
//! service carries these to real sockets and stores, the simulation to its own.

use crate::limits::{CAP_MAX, ISLANDS_MAX};
use chunk_sync::ids::Source;
use chunk_sync::limits::{CAP_POPULATION, DESIGN_POPULATION, MINIMUM_POPULATION};
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

/// What operators want of islands and seats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Wanted population of an island.
    pub design: u32,
    /// Most that an island ever holds.
    pub cap: u32,
    /// Population under which an island feels dead.
    pub minimum: u32,
    /// Islands that are open from the start.
    pub islands: u32,
    /// Islands that are ever open.
    pub islands_max: u32,
    /// Which node of an island comes first.
    pub seating: Seating,
}

const _: () = assert!(Policy::cap_of(DESIGN_POPULATION) == CAP_POPULATION);
const _: () = assert!(Policy::minimum_of(DESIGN_POPULATION) == MINIMUM_POPULATION);

impl Default for Policy {
    fn default() -> Self {
        Policy {
            design: DESIGN_POPULATION,
            cap: Self::cap_of(DESIGN_POPULATION),
            minimum: Self::minimum_of(DESIGN_POPULATION),
            islands: 1,
            islands_max: ISLANDS_MAX,
            seating: Seating::Spread,
        }
    }
}

/// Which of an island's nodes a ticket lists first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Seating {
    /// The one with the fewest sessions.
    #[default]
    Spread,
    /// The one with the most sessions that still has room.
    Pack,
}

/// What is wrong with a policy; the text names the setting.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum PolicyError {
    /// Nobody could play.
    #[error("design is 0: an island needs at least one seat")]
    NoSeats,
    /// The order of the three populations is wrong.
    #[error("design {design} is above cap {cap}")]
    DesignAboveCap {
        /// The design population.
        design: u32,
        /// The cap.
        cap: u32,
    },
    /// The order of the three populations is wrong.
    #[error("minimum {minimum} is above design {design}")]
    MinimumAboveDesign {
        /// The minimum.
        minimum: u32,
        /// The design population.
        design: u32,
    },
    /// More than one island can be asked to hold.
    #[error("cap {0} is above {CAP_MAX}, the most of any island")]
    CapTooLarge(u32),
    /// A world without islands.
    #[error("islands is 0: a world needs at least one")]
    NoIslands,
    /// More islands at the start than are allowed.
    #[error("islands {islands} is above the most that are allowed, {islands_max}")]
    TooManyIslands {
        /// Islands at the start.
        islands: u32,
        /// Islands ever.
        islands_max: u32,
    },
    /// More islands than a plan can hold.
    #[error("at most {ISLANDS_MAX} islands can be allowed, not {0}")]
    IslandsMaxTooLarge(u32),
}

impl Policy {
    /// The cap of islands of this design population, where nobody sets one: half as many again.
    pub const fn cap_of(design: u32) -> u32 {
        design.saturating_add(design / 2)
    }

    /// The minimum of islands of this design population, where nobody sets one: three tenths.
    pub const fn minimum_of(design: u32) -> u32 {
        (design as u64 * 3 / 10) as u32
    }

    /// Everything that is wrong with this policy; nothing, when it can be used.
    pub fn faults(&self) -> Vec<PolicyError> {
        let Policy { design, cap, minimum, islands, islands_max, .. } = *self;
        let rules = [
            (design == 0, PolicyError::NoSeats),
            (design > cap, PolicyError::DesignAboveCap { design, cap }),
            (minimum > design, PolicyError::MinimumAboveDesign { minimum, design }),
            (cap > CAP_MAX, PolicyError::CapTooLarge(cap)),
            (islands == 0, PolicyError::NoIslands),
            (islands > islands_max, PolicyError::TooManyIslands { islands, islands_max }),
            (islands_max > ISLANDS_MAX, PolicyError::IslandsMaxTooLarge(islands_max)),
        ];
        rules.into_iter().filter_map(|(broken, error)| broken.then_some(error)).collect()
    }
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
