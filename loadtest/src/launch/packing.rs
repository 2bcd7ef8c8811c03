//! First fit by age: which is the oldest open island with room for so many?
//!
//! Used by the control policies and the yardstick, which all pack alike and differ in when they open islands.

use chunk_sync::ids::IslandId;
use population_allocator::islands::FirstFit;

use super::allocation::Terms;

/// What is known of an island.
#[derive(Clone, Copy, Debug, Default)]
struct Seats {
    is_open: bool,
    taken: u32,
    residents: u32,
}

/// The seats of all islands.
#[derive(Clone, Debug)]
pub struct Packing {
    terms: Terms,
    islands: Vec<Seats>,
    room: FirstFit,
    room_of_sparse: FirstFit,
    taken: u64,
    free: u64,
    open: u32,
}

impl Packing {
    /// Without an island.
    pub fn new(terms: Terms) -> Self {
        let (room, room_of_sparse) = (FirstFit::default(), FirstFit::default());
        Self { terms, islands: Vec::new(), room, room_of_sparse, taken: 0, free: 0, open: 0 }
    }

    /// Seats that are taken, by players inside and by those on their way.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Seats that newcomers can have.
    pub fn free(&self) -> u64 {
        self.free
    }

    /// Open islands.
    pub fn open(&self) -> u32 {
        self.open
    }

    /// An island opened.
    pub fn opened(&mut self, island: IslandId) {
        self.open += 1;
        self.change(island, |seats| seats.is_open = true);
    }

    /// A seat was taken.
    pub fn take(&mut self, island: IslandId) {
        self.taken += 1;
        self.change(island, |seats| seats.taken += 1);
    }

    /// A seat is free again.
    pub fn give_back(&mut self, island: IslandId) {
        self.taken -= 1;
        self.change(island, |seats| seats.taken -= 1);
    }

    /// Somebody made a home.
    pub fn settle(&mut self, island: IslandId) {
        self.change(island, |seats| seats.residents += 1);
    }

    /// Where `size` newcomers can be together: open islands under the minimum first, then all, the oldest first.
    pub fn place(&self, size: u32) -> Option<IslandId> {
        self.room_of_sparse.first(size).or_else(|| self.room.first(size)).map(|nth| IslandId(nth as u32))
    }

    /// Whether a resident of this island can go home.
    pub fn has_room_at_home(&self, home: IslandId) -> bool {
        self.islands.get(home.0 as usize).is_some_and(|seats| seats.is_open && seats.taken < self.terms.cap)
    }

    fn change(&mut self, island: IslandId, how: impl FnOnce(&mut Seats)) {
        let nth = island.0 as usize;
        if nth >= self.islands.len() {
            self.islands.resize(nth + 1, Seats::default());
        }
        let before = self.room_on(nth);
        how(&mut self.islands[nth]);
        let room = self.room_on(nth);
        self.free = self.free + u64::from(room) - u64::from(before);
        let is_sparse = self.islands[nth].taken < self.terms.minimum;
        self.room.set(nth, room);
        self.room_of_sparse.set(nth, if is_sparse { room } else { 0 });
    }

    fn room_on(&self, nth: usize) -> u32 {
        let (seats, design) = (self.islands[nth], self.terms.design);
        match seats.is_open {
            true => design.saturating_sub(seats.taken).min(design.saturating_sub(seats.residents)),
            false => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparse_islands_fill_first_then_the_oldest() {
        let terms = Terms { design: 4, cap: 6, minimum: 2, ..Terms::default() };
        let mut packing = Packing::new(terms);
        for island in 1..=3 {
            packing.opened(IslandId(island));
        }
        let mut placed = Vec::new();
        while let Some(island) = packing.place(1) {
            packing.take(island);
            placed.push(island.0);
        }
        assert_eq!(placed, [1, 1, 2, 2, 3, 3, 1, 1, 2, 2, 3, 3]);
        assert_eq!((packing.free(), packing.taken()), (0, 12));
        packing.give_back(IslandId(2));
        assert_eq!((packing.place(1), packing.place(2)), (Some(IslandId(2)), None));
        assert!(packing.has_room_at_home(IslandId(1)), "residents have the seats up to the cap");
        (0..4).for_each(|_| packing.settle(IslandId(2)));
        assert_eq!(packing.place(1), None, "an island that is all residents takes nobody else");
    }
}
