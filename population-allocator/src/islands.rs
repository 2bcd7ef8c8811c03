//! The islands of the world as the allocator counts them: who is inside, who holds a ticket, who lives there, and where
//! the next one fits. Called by the core and by the launch simulator; it decides nothing and reads no clock.
//!
//! Nothing here walks over all islands when one seat changes: places are found in trees over islands by age, sums are kept.

mod first_fit;

use crate::policy::Policy;
use chunk_sync::ids::IslandId;
use chunk_sync::records::{IslandKind, IslandPhase};
pub use first_fit::FirstFit;
use std::collections::BTreeMap;

/// One island.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Island {
    /// Its number.
    pub id: IslandId,
    /// Whether people live there, or only visit.
    pub kind: IslandKind,
    /// How far it is.
    pub phase: IslandPhase,
    /// Wanted population.
    pub design: u32,
    /// Hard maximum.
    pub cap: u32,
    /// Population under which it feels dead.
    pub minimum: u32,
    /// When it was decided on, world milliseconds.
    pub since_ms: u64,
    /// Sessions.
    pub inside: u32,
    /// Tickets that were issued and not used yet.
    pub held: u32,
    /// Players whose home it is.
    pub residents: u32,
    /// Estates that stand on it.
    pub estates: u32,
}

impl Island {
    /// Seats that are taken.
    pub fn taken(&self) -> u32 {
        self.inside.saturating_add(self.held)
    }

    /// Whether nobody is there, comes there or keeps land there.
    pub fn is_deserted(&self) -> bool {
        self.taken() == 0 && self.estates == 0
    }

    /// Seats for those who settle: below design, and below the residents that it bears.
    fn free(&self, bears: u32) -> u32 {
        if self.phase != IslandPhase::Open {
            return 0;
        }
        let seats = self.design.saturating_sub(self.taken());
        match self.kind {
            IslandKind::Settled => seats.min(bears.saturating_sub(self.residents)),
            IslandKind::Frontier => seats,
        }
    }
}

/// All islands, by age.
#[derive(Clone, Debug, Default)]
pub struct Islands {
    all: Vec<Island>,
    at: BTreeMap<IslandId, usize>,
    /// Seats for settlers, by age.
    room: FirstFit,
    /// The same of islands that are under their minimum: those are filled first.
    lonely: FirstFit,
    /// Seats up to design on frontier islands, by age.
    frontier: FirstFit,
    free: u64,
    inside: u64,
    held: u64,
    warming: u32,
    /// Residents for each thousand of design population that a settled island bears.
    bears_permille: u32,
}

impl Islands {
    /// No islands, each of which will bear so many residents for each thousand of its design population.
    pub fn new(bears_permille: u32) -> Self {
        Self { bears_permille, ..Self::default() }
    }

    /// All of them, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Island> {
        self.all.iter()
    }

    /// One of them.
    pub fn get(&self, id: IslandId) -> Option<&Island> {
        self.at.get(&id).map(|at| &self.all[*at])
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Seats for settlers that are free now.
    pub fn free(&self) -> u64 {
        self.free
    }

    /// Sessions on all islands.
    pub fn inside(&self) -> u64 {
        self.inside
    }

    /// Unused tickets for all islands.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Islands that were decided on and don't take anybody yet.
    pub fn warming(&self) -> u32 {
        self.warming
    }

    /// Residents that an island of this design population bears.
    pub fn bears(&self, design: u32) -> u32 {
        u32::try_from(u64::from(design) * u64::from(self.bears_permille) / 1_000).unwrap_or(u32::MAX)
    }

    /// From now on islands bear so many residents for each thousand of design population.
    pub fn set_bears(&mut self, permille: u32) {
        if permille != self.bears_permille {
            self.bears_permille = permille;
            self.rebuild();
        }
    }

    /// A new island, younger than all others; nothing if there is one with its number.
    pub fn add(&mut self, island: Island) {
        if self.at.contains_key(&island.id) {
            return;
        }
        let at = self.all.len();
        self.at.insert(island.id, at);
        self.all.push(island);
        self.count(at, true);
    }

    /// Changes one island; nothing if there is none with this number.
    pub fn change(&mut self, id: IslandId, change: impl FnOnce(&mut Island)) {
        let Some(at) = self.at.get(&id).copied() else { return };
        self.count(at, false);
        change(&mut self.all[at]);
        self.count(at, true);
    }

    /// Forgets the islands that `keep` doesn't want.
    pub fn retain(&mut self, keep: impl FnMut(&Island) -> bool) {
        let before = self.all.len();
        self.all.retain(keep);
        if self.all.len() != before {
            self.rebuild();
        }
    }

    /// Where a party of so many settles: the oldest island under its minimum with room for all of them, else the oldest.
    pub fn for_settlers(&self, party: u32) -> Option<IslandId> {
        let at = self.lonely.first(party).or_else(|| self.room.first(party))?;
        Some(self.all[at].id)
    }

    /// Where a party of so many visits the frontier: the oldest island with room.
    pub fn for_travellers(&self, party: u32) -> Option<IslandId> {
        self.frontier.first(party).map(|at| self.all[at].id)
    }

    /// Whether so many may come home to an island: the seats up to its cap are for those who live there.
    pub fn takes_home(&self, id: IslandId, party: u32) -> bool {
        self.get(id).is_some_and(|island| {
            island.phase != IslandPhase::Warming && island.cap.saturating_sub(island.taken()) >= party
        })
    }

    fn rebuild(&mut self) {
        self.at = self.all.iter().enumerate().map(|(at, island)| (island.id, at)).collect();
        (self.room, self.lonely, self.frontier) =
            (FirstFit::default(), FirstFit::default(), FirstFit::default());
        (self.free, self.inside, self.held, self.warming) = (0, 0, 0, 0);
        (0..self.all.len()).for_each(|at| self.count(at, true));
    }

    /// Takes an island into the sums and trees, or out of the sums.
    fn count(&mut self, at: usize, is_in: bool) {
        let island = &self.all[at];
        let free = island.free(self.bears(island.design));
        let is_warming = u32::from(island.phase == IslandPhase::Warming);
        let (inside, held) = (u64::from(island.inside), u64::from(island.held));
        let settles = if island.kind == IslandKind::Settled { free } else { 0 };
        if !is_in {
            self.free -= u64::from(settles);
            self.inside -= inside;
            self.held -= held;
            self.warming -= is_warming;
            return;
        }
        self.free += u64::from(settles);
        self.inside += inside;
        self.held += held;
        self.warming += is_warming;
        let is_lonely = island.taken() < island.minimum;
        self.room.set(at, settles);
        self.lonely.set(at, if is_lonely { settles } else { 0 });
        self.frontier.set(at, free - settles);
    }

    /// What must always hold; for tests and simulation.
    ///
    /// # Panics
    /// When it doesn't.
    pub fn invariants(&self) {
        let fresh = {
            let mut fresh = self.clone();
            fresh.rebuild();
            fresh
        };
        let sums = |of: &Islands| (of.free, of.inside, of.held, of.warming);
        assert_eq!(sums(self), sums(&fresh), "sums are kept");
        for party in [1, 2, 7] {
            assert_eq!(self.for_settlers(party), fresh.for_settlers(party), "trees are kept");
        }
        for island in &self.all {
            assert!(island.taken() <= island.cap, "nobody above the cap: {island:?}");
        }
    }
}

/// A new island as the policy wants it.
pub fn founded(id: IslandId, policy: &Policy, now_ms: u64) -> Island {
    Island {
        id,
        kind: IslandKind::Settled,
        phase: IslandPhase::Warming,
        design: policy.design,
        cap: policy.cap,
        minimum: policy.minimum,
        since_ms: now_ms,
        inside: 0,
        held: 0,
        residents: 0,
        estates: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chunk_sync::random::{RngExt, stream};

    fn island(id: u32, inside: u32) -> Island {
        let policy = Policy { design: 10, cap: 15, minimum: 3, ..Policy::default() };
        Island { phase: IslandPhase::Open, inside, ..founded(IslandId(id), &policy, 0) }
    }

    fn islands(inside: &[u32]) -> Islands {
        let mut islands = Islands::new(1_000);
        for (at, inside) in inside.iter().enumerate() {
            islands.add(island(at as u32 + 1, *inside));
        }
        islands
    }

    #[test]
    fn settlers_go_to_the_oldest_island_under_its_minimum_and_then_to_the_oldest() {
        let islands_of = |inside: &[u32], party| islands(inside).for_settlers(party).map(|id| id.0);
        assert_eq!(islands_of(&[9, 4, 2, 1], 1), Some(3));
        assert_eq!(islands_of(&[9, 4, 5, 3], 1), Some(1));
        assert_eq!(islands_of(&[9, 4, 5, 3], 2), Some(2), "all of a party");
        assert_eq!(islands_of(&[9, 4, 2, 1], 9), Some(4));
        assert_eq!(islands_of(&[10, 10], 1), None, "seats above design are for those who come home");
        assert!(islands(&[10, 15]).takes_home(IslandId(1), 5));
        assert!(!islands(&[10, 15]).takes_home(IslandId(1), 6));
        assert!(!islands(&[10, 15]).takes_home(IslandId(2), 1));
    }

    #[test]
    fn residents_are_seats_that_cannot_be_given_twice() {
        let mut world = islands(&[0, 0]);
        world.change(IslandId(1), |island| island.residents = 9);
        assert_eq!((world.free(), world.for_settlers(2)), (11, Some(IslandId(2))));
        world.set_bears(2_000);
        assert_eq!((world.free(), world.for_settlers(2)), (20, Some(IslandId(1))));
    }

    #[test]
    fn sums_and_trees_are_what_a_walk_over_all_finds() {
        let seed = 4;
        let mut random = stream(seed, "islands");
        let mut world = Islands::new(1_000);
        let mut last = 0;
        for _ in 0..2_000 {
            match random.random_range(0..10) {
                0 => {
                    last += 1;
                    world.add(island(last, random.random_range(0..=15)));
                }
                1 => world.retain(|island| island.taken() > 0),
                2 => world.set_bears(random.random_range(500..3_000)),
                _ if last > 0 => world.change(IslandId(random.random_range(1..=last)), |island| {
                    island.inside = random.random_range(0..=10);
                    island.held = random.random_range(0..=5);
                    island.residents = random.random_range(0..=20);
                    island.phase = [IslandPhase::Warming, IslandPhase::Open, IslandPhase::Closed]
                        [random.random_range(0..3)];
                    island.kind = [IslandKind::Settled, IslandKind::Frontier][random.random_range(0..2)];
                }),
                _ => {}
            }
            world.invariants();
            let open = world.iter().filter(|i| i.phase == IslandPhase::Open && i.kind == IslandKind::Settled);
            let fits = |i: &&Island| {
                i.design.saturating_sub(i.taken()).min(world.bears(i.design).saturating_sub(i.residents)) >= 2
            };
            let fit: Vec<&Island> = open.filter(fits).collect();
            let lonely = fit.iter().find(|i| i.taken() < i.minimum);
            let wanted = lonely.or(fit.first()).map(|island| island.id);
            assert_eq!(world.for_settlers(2), wanted, "seed {seed}");
        }
    }
}
