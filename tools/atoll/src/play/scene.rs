//! What there is to draw at one moment, borrowed from the game; made by it, read by the drawing only.

use chunk_sync::client::Entity;
use chunk_sync::place::{ChunkPos, Place};

use super::land::Land;

/// How the player stands to the world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// At the allocator's door.
    Asking,
    /// At a node's door.
    Entering,
    /// In the world; the server has said nothing for so many seconds if there are any.
    Inside {
        /// Whole seconds of silence worth telling.
        silent_s: Option<u64>,
    },
    /// Between two attempts to get in.
    Waiting,
    /// Out, until the player says so.
    Out,
}

/// Where the player is or was last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Here {
    /// The island.
    pub(crate) island: u32,
    /// The node.
    pub(crate) node: u32,
    /// The player's own place.
    pub(crate) place: Place,
    /// The player's own heading, 256 steps a turn.
    pub(crate) heading: u8,
    /// The chunk in the middle of the view.
    pub(crate) centre: ChunkPos,
    /// Rings of chunks around it in which everybody is seen.
    pub(crate) far_ring: i16,
}

/// Everything on the screen.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    /// The player's name.
    pub(crate) name: &'a str,
    /// Where the player asks to be let in.
    pub(crate) allocator: &'a str,
    /// How the player stands to the world.
    pub(crate) standing: Standing,
    /// What the player has to be told; may be empty.
    pub(crate) notice: &'a str,
    /// Where the player is; `None` before the first time inside.
    pub(crate) here: Option<Here>,
    /// The land.
    pub(crate) land: &'a Land,
    /// Everybody else in view, the nearest first.
    pub(crate) others: Vec<Entity<'a>>,
    /// The last round trip.
    pub(crate) round_trip_ms: Option<u64>,
    /// The newest tick.
    pub(crate) tick: u64,
    /// How often the player was put back.
    pub(crate) corrections: u64,
}

/// Metres between two places.
pub(crate) fn distance_m(from: Place, to: Place) -> f64 {
    let part = |a: i32, b: i32| (f64::from(a) - f64::from(b)) / f64::from(chunk_sync::limits::QUANTA_PER_M);
    part(from.x, to.x).hypot(part(from.y, to.y))
}

/// The heading from one place to another, 256 steps a turn.
pub(crate) fn heading_to(from: Place, to: Place) -> u8 {
    let (dx, dy) = (f64::from(to.x) - f64::from(from.x), f64::from(to.y) - f64::from(from.y));
    (dy.atan2(dx) / std::f64::consts::TAU * 256.0).round().rem_euclid(256.0) as u8
}
