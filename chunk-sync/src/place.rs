//! Where things are: places on an island, chunks, and the packed pose that travels.

use crate::limits::{
    CELL_M, ISLAND_CHUNKS, ISLAND_EDGE_CHUNKS, POSITION_BITS, QUANTA_PER_CHUNK, QUANTA_PER_M,
};
use serde::{Deserialize, Serialize};

/// A chunk of an island, counted from the island's south-west corner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct ChunkPos {
    /// Chunks east.
    pub x: i16,
    /// Chunks north.
    pub y: i16,
}

impl ChunkPos {
    /// A chunk by its two coordinates.
    pub const fn new(x: i16, y: i16) -> Self {
        Self { x, y }
    }

    /// The chunk's number on its island, row by row, or `None` when it is not on the island.
    pub fn index(self) -> Option<usize> {
        let on = (0..ISLAND_EDGE_CHUNKS).contains(&self.x) && (0..ISLAND_EDGE_CHUNKS).contains(&self.y);
        on.then(|| self.y as usize * ISLAND_EDGE_CHUNKS as usize + self.x as usize)
    }

    /// The chunk with this number; numbers past the island wrap.
    pub fn from_index(index: usize) -> Self {
        let index = index % ISLAND_CHUNKS;
        let edge = ISLAND_EDGE_CHUNKS as usize;
        Self::new((index % edge) as i16, (index / edge) as i16)
    }

    /// Rings between the two chunks (0 = the same, 1 = touching).
    pub fn ring(self, other: ChunkPos) -> i16 {
        let dx = i32::from(self.x) - i32::from(other.x);
        let dy = i32::from(self.y) - i32::from(other.y);
        dx.abs().max(dy.abs()).min(i32::from(i16::MAX)) as i16
    }

    /// The chunks of the island within `ring` rings, row by row.
    pub fn around(self, ring: i16) -> impl Iterator<Item = ChunkPos> {
        let (x, y) = (self.x, self.y);
        (y.saturating_sub(ring)..=y.saturating_add(ring))
            .flat_map(move |cy| {
                (x.saturating_sub(ring)..=x.saturating_add(ring)).map(move |cx| ChunkPos::new(cx, cy))
            })
            .filter(|chunk| chunk.index().is_some())
    }

    /// The place at the middle of the chunk.
    pub fn middle(self) -> Place {
        let half = QUANTA_PER_CHUNK / 2;
        Place {
            x: i32::from(self.x) * QUANTA_PER_CHUNK + half,
            y: i32::from(self.y) * QUANTA_PER_CHUNK + half,
        }
    }
}

/// A place on an island, in quanta (1/128 m) from its south-west corner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Place {
    /// Quanta east.
    pub x: i32,
    /// Quanta north.
    pub y: i32,
}

impl Place {
    /// The place nearest to these metres.
    pub fn from_m(x: f32, y: f32) -> Self {
        let q = |m: f32| (m * QUANTA_PER_M as f32).round() as i32;
        Place { x: q(x), y: q(y) }
    }

    /// Metres east and north.
    pub fn to_m(self) -> (f32, f32) {
        let m = |q: i32| q as f32 / QUANTA_PER_M as f32;
        (m(self.x), m(self.y))
    }

    /// The chunk that holds the place, on the island or not.
    pub fn chunk(self) -> ChunkPos {
        let chunk = |q: i32| (q >> POSITION_BITS).clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
        ChunkPos::new(chunk(self.x), chunk(self.y))
    }

    /// Whether the place is on the island's grid at all.
    pub fn on_island(self) -> bool {
        self.chunk().index().is_some()
    }

    /// Number of the cell (0 to 15, row by row) inside the chunk.
    pub fn cell(self) -> u8 {
        let cell = CELL_M as i32 * QUANTA_PER_M;
        let per_edge = (QUANTA_PER_CHUNK / cell) as u8;
        let part = |q: i32| (q.rem_euclid(QUANTA_PER_CHUNK) / cell) as u8;
        part(self.y) * per_edge + part(self.x)
    }

    /// Square of the distance, in quanta².
    pub fn distance_squared(self, other: Place) -> i64 {
        let dx = i64::from(self.x) - i64::from(other.x);
        let dy = i64::from(self.y) - i64::from(other.y);
        dx * dx + dy * dy
    }

    /// How far outside `chunk` the place is, in quanta along the worse axis (0 inside).
    pub fn outside(self, chunk: ChunkPos) -> i32 {
        let axis = |q: i32, c: i16| {
            let low = i32::from(c) * QUANTA_PER_CHUNK;
            (low - q).max(q - (low + QUANTA_PER_CHUNK - 1)).max(0)
        };
        axis(self.x, chunk.x).max(axis(self.y, chunk.y))
    }
}

/// Position inside a chunk and heading, packed as they travel: x 12 bits · y 12 bits · heading 8 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Pose(pub u32);

impl Pose {
    /// The pose of something at `place` that looks along `heading` (256 steps a turn, 0 = east, counter-clockwise).
    pub fn new(place: Place, heading: u8) -> Self {
        let local = |q: i32| q.rem_euclid(QUANTA_PER_CHUNK) as u32;
        Pose(local(place.x) << 20 | local(place.y) << 8 | u32::from(heading))
    }

    /// The place, given the chunk it is in.
    pub fn place(self, chunk: ChunkPos) -> Place {
        let axis = |c: i16, local: u32| i32::from(c) * QUANTA_PER_CHUNK + local as i32;
        Place { x: axis(chunk.x, self.0 >> 20), y: axis(chunk.y, self.0 >> 8 & 0xfff) }
    }

    /// The heading, 256 steps a turn.
    pub fn heading(self) -> u8 {
        self.0 as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn poses_keep_place_and_heading(x in -100_000i32..100_000, y in -100_000i32..100_000, heading: u8) {
            let place = Place { x, y };
            let pose = Pose::new(place, heading);
            prop_assert_eq!(pose.place(place.chunk()), place);
            prop_assert_eq!(pose.heading(), heading);
            prop_assert_eq!(place.outside(place.chunk()), 0);
        }
    }

    #[test]
    fn indices_name_every_chunk_once() {
        for index in 0..ISLAND_CHUNKS {
            assert_eq!(ChunkPos::from_index(index).index(), Some(index));
        }
        assert_eq!(ChunkPos::new(-1, 0).index(), None);
        assert_eq!(ChunkPos::new(0, ISLAND_EDGE_CHUNKS).index(), None);
    }

    #[test]
    fn rings_stop_at_the_shore() {
        assert_eq!(ChunkPos::new(8, 8).around(1).count(), 9);
        assert_eq!(ChunkPos::new(0, 0).around(2).count(), 9);
        assert_eq!(ChunkPos::new(1, 5).ring(ChunkPos::new(4, 4)), 3);
    }

    #[test]
    fn cells_count_row_by_row() {
        assert_eq!(Place::from_m(0.5, 0.5).cell(), 0);
        assert_eq!(Place::from_m(31.0, 0.5).cell(), 3);
        assert_eq!(Place::from_m(33.0, 31.0).cell(), 12);
    }

    #[test]
    fn outside_is_measured_along_the_worse_axis() {
        let chunk = ChunkPos::new(1, 1);
        assert_eq!(Place::from_m(40.0, 40.0).outside(chunk), 0);
        assert_eq!(Place::from_m(31.0, 70.0).outside(chunk), 6 * QUANTA_PER_M + 1);
    }
}
