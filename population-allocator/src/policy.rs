//! What operators want of islands and seats. Called by the core, the planner and the launch simulator.

use crate::limits::{CAP_MAX, ISLANDS_MAX, OPEN_LEAD_MS, PLAN_EVERY_MS, WARM_PARALLEL};
use chunk_sync::limits::{CAP_POPULATION, DESIGN_POPULATION, MINIMUM_POPULATION};
use thiserror::Error;

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
    /// Islands that may get ready at once.
    pub warm_parallel: u32,
    /// Islands whose seats are kept free, beyond all that is expected.
    pub spare_islands: u32,
    /// How often is decided at least, ms.
    pub plan_every_ms: u64,
    /// How long it takes to open an island, until it was measured, ms.
    pub lead_ms: u64,
    /// Residents that an island bears for each thousand of its design population, at most: as many as its design
    /// population, until it is known how many of them are there at once.
    pub residents_permille: u32,
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
            warm_parallel: WARM_PARALLEL,
            spare_islands: 0,
            plan_every_ms: PLAN_EVERY_MS,
            lead_ms: OPEN_LEAD_MS,
            residents_permille: 1_000,
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
    /// Nothing could ever open.
    #[error("warm_parallel is 0: no island could ever get ready")]
    NothingWarms,
    /// Nothing would ever be decided.
    #[error("plan_every_ms is 0: demand is counted over that time")]
    NeverPlans,
    /// Nobody could ever settle.
    #[error("residents_permille {0} is below 1000: an island bears at least its design population")]
    FewResidents(u32),
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
            (self.warm_parallel == 0, PolicyError::NothingWarms),
            (self.plan_every_ms == 0, PolicyError::NeverPlans),
            (self.residents_permille < 1_000, PolicyError::FewResidents(self.residents_permille)),
        ];
        rules.into_iter().filter_map(|(broken, error)| broken.then_some(error)).collect()
    }
}
