//! The control policies' queue: first come, first served, residents before newcomers. Cancelling costs O(1): who has left is
//! skipped when the turn comes.

use std::collections::{HashMap, VecDeque};

use super::allocation::{ArrivalId, Entry, Waiter};

/// Who waits.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    homecomers: VecDeque<Waiter>,
    homeless: VecDeque<Waiter>,
    sizes: HashMap<ArrivalId, (u32, Entry)>,
    players: u64,
    homeless_players: u64,
}

impl Queue {
    /// Takes somebody in, at the end.
    pub fn join(&mut self, waiter: Waiter) {
        self.players += u64::from(waiter.size);
        self.sizes.insert(waiter.first, (waiter.size, waiter.entry));
        match waiter.entry {
            Entry::Homeless => {
                self.homeless_players += u64::from(waiter.size);
                self.homeless.push_back(waiter);
            }
            Entry::Homecoming(_) => self.homecomers.push_back(waiter),
        }
    }

    /// Forgets whoever gave up.
    pub fn cancel(&mut self, first: ArrivalId) {
        if let Some((size, entry)) = self.sizes.remove(&first) {
            self.players -= u64::from(size);
            self.homeless_players -= if entry == Entry::Homeless { u64::from(size) } else { 0 };
        }
    }

    /// Those of them who have no home yet.
    pub fn homeless(&self) -> u64 {
        self.homeless_players
    }

    /// Players who wait.
    pub fn players(&self) -> u64 {
        self.players
    }

    /// Hands the first of each kind to `seat` while that says that it has let them in.
    pub fn serve(&mut self, mut seat: impl FnMut(&Waiter) -> bool) {
        for line in [&mut self.homecomers, &mut self.homeless] {
            while let Some(waiter) = line.front() {
                if self.sizes.contains_key(&waiter.first) {
                    if !seat(waiter) {
                        break;
                    }
                    self.sizes.remove(&waiter.first);
                    self.players -= u64::from(waiter.size);
                    self.homeless_players -=
                        if waiter.entry == Entry::Homeless { u64::from(waiter.size) } else { 0 };
                }
                line.pop_front();
            }
        }
    }
}
