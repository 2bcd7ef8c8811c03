//! The simulator's own count of who is where. Policies keep their own books; figures are taken from these.
//!
//! Sums over islands are kept up to date with every change, so that a second costs nothing.

use chunk_sync::ids::IslandId;

use super::allocation::{ArrivalId, Second, Terms};
use super::limits::SPARSE_AGE_S;

/// An island that is or was open. The first has number 1, as in a real world.
#[derive(Clone, Debug, Default)]
pub struct Island {
    /// When it opened; `None` while it warms.
    pub opened_s: Option<Second>,
    /// It was retired.
    pub is_gone: bool,
    /// Who is inside.
    pub members: Vec<ArrivalId>,
    /// Seats of those who are on their way or lost their connection.
    pub held: u32,
    /// Who lives here.
    pub residents: u32,
}

impl Island {
    /// Players inside.
    pub fn inside(&self) -> u32 {
        self.members.len() as u32
    }

    /// Open and not gone.
    pub fn is_open(&self) -> bool {
        self.opened_s.is_some() && !self.is_gone
    }
}

/// Sums over all islands, now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sums {
    /// Players inside.
    pub inside: u64,
    /// Seats held for players who aren't inside.
    pub held: u64,
    /// Players inside islands above the cap.
    pub over_cap: u64,
    /// Players inside islands above the design population.
    pub over_design: u64,
    /// Seats up to the design population that nobody has.
    pub spare: u64,
    /// Open islands.
    pub open: u32,
    /// Islands that warm.
    pub warming: u32,
    /// Players with a home.
    pub residents: u64,
    /// Most players that were ever inside one island.
    pub fullest: u32,
}

/// How players are spread over the open islands, now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Spread {
    /// Players inside the emptiest, at the 10th, 50th and 90th percentile, inside the fullest.
    pub inside: [u32; 5],
    /// Players inside islands under the minimum, up to the design population, up to the cap, above it.
    pub players: [u64; 4],
}

/// All islands.
#[derive(Clone, Debug)]
pub struct Islands {
    terms: Terms,
    all: Vec<Island>,
    /// Sums over them.
    pub sums: Sums,
}

impl Islands {
    /// None yet.
    pub fn new(terms: Terms) -> Self {
        Self { terms, all: Vec::new(), sums: Sums::default() }
    }

    /// An island that begins to warm.
    pub fn warm(&mut self) -> IslandId {
        self.all.push(Island::default());
        self.sums.warming += 1;
        IslandId(self.all.len() as u32)
    }

    /// It is warm.
    pub fn open(&mut self, island: IslandId, now: Second) {
        self.sums.warming -= 1;
        self.sums.open += 1;
        self.change(island, |island| island.opened_s = Some(now));
    }

    /// It is gone. Whether it was open and empty.
    #[must_use]
    pub fn retire(&mut self, island: IslandId) -> bool {
        if !self.get(island).is_some_and(|island| island.is_open() && island.inside() + island.held == 0) {
            return false;
        }
        self.sums.open -= 1;
        self.change(island, |island| island.is_gone = true);
        true
    }

    /// One of them.
    pub fn get(&self, island: IslandId) -> Option<&Island> {
        self.all.get((island.0 as usize).checked_sub(1)?)
    }

    /// A seat is kept for somebody who isn't inside, or no longer.
    pub fn hold(&mut self, island: IslandId, is_held: bool) {
        match is_held {
            true => self.sums.held += 1,
            false => self.sums.held -= 1,
        }
        self.change(island, |island| match is_held {
            true => island.held += 1,
            false => island.held -= 1,
        });
    }

    /// Somebody comes in; at which place of the members.
    pub fn enter(&mut self, island: IslandId, arrival: ArrivalId) -> u32 {
        self.change(island, |island| {
            island.members.push(arrival);
            island.inside() - 1
        })
    }

    /// Whoever is at this place of the members goes; who has the place now.
    pub fn leave(&mut self, island: IslandId, place: u32) -> Option<ArrivalId> {
        self.change(island, |island| {
            island.members.swap_remove(place as usize);
            island.members.get(place as usize).copied()
        })
    }

    /// Somebody makes a home.
    pub fn settle(&mut self, island: IslandId) {
        self.sums.residents += 1;
        self.change(island, |island| island.residents += 1);
    }

    fn change<T>(&mut self, island: IslandId, how: impl FnOnce(&mut Island) -> T) -> T {
        let nth = island.0 as usize - 1;
        let before = self.part(nth);
        let answer = how(&mut self.all[nth]);
        let after = self.part(nth);
        let sums = &mut self.sums;
        let put = |sum: &mut u64, part: fn(&Part) -> u32| {
            *sum = *sum + u64::from(part(&after)) - u64::from(part(&before));
        };
        put(&mut sums.inside, |part| part.inside);
        put(&mut sums.over_cap, |part| part.over_cap);
        put(&mut sums.over_design, |part| part.over_design);
        put(&mut sums.spare, |part| part.spare);
        sums.fullest = sums.fullest.max(after.inside);
        answer
    }

    fn part(&self, nth: usize) -> Part {
        let (island, terms) = (&self.all[nth], &self.terms);
        let inside = island.inside();
        let above = |bound: u32| if inside > bound { inside } else { 0 };
        let spare = if island.is_open() { terms.design.saturating_sub(inside + island.held) } else { 0 };
        Part { inside, over_cap: above(terms.cap), over_design: above(terms.design), spare }
    }

    /// Players inside islands that are under the minimum and have been open for long. Looks at every island.
    pub fn sparse(&self, now: Second) -> u64 {
        let is_old = |island: &&Island| {
            island.is_open() && island.opened_s.is_some_and(|opened_s| opened_s + SPARSE_AGE_S < now)
        };
        let few = self.all.iter().filter(is_old).map(Island::inside).filter(|few| *few < self.terms.minimum);
        few.map(u64::from).sum()
    }

    /// How players are spread. Looks at every island.
    pub fn spread(&self) -> Spread {
        let mut inside: Vec<u32> =
            self.all.iter().filter(|island| island.is_open()).map(Island::inside).collect();
        inside.sort_unstable();
        let at = |per_cent: usize| {
            inside.get(inside.len().saturating_sub(1) * per_cent / 100).copied().unwrap_or(0)
        };
        let mut players = [0; 4];
        for few in &inside {
            let Terms { design, cap, minimum, .. } = self.terms;
            let band = [*few >= minimum, *few > design, *few > cap];
            players[band.iter().filter(|above| **above).count()] += u64::from(*few);
        }
        Spread { inside: [at(0), at(10), at(50), at(90), at(100)], players }
    }

    /// Islands from the `first` number on, `count` at most, that are open.
    pub fn open_from(&self, first: u32, count: u32) -> Vec<IslandId> {
        let is_open = |island: &IslandId| self.get(*island).is_some_and(Island::is_open);
        (first..first + count).map(IslandId).filter(is_open).collect()
    }
}

struct Part {
    inside: u32,
    over_cap: u32,
    over_design: u32,
    spare: u32,
}
