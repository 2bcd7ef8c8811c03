//! What once failed: an island counts as full by the users who were active on it over a day, of whom only a small share is
//! expected to be online at once. That holds in quiet weeks. On a launch day everybody is online, and nothing looks at how many
//! are inside.

use std::collections::VecDeque;

use chunk_sync::ids::IslandId;
use population_allocator::islands::FirstFit;

use super::super::allocation::{Admission, Allocation, Decision, Entry, Notice, Second, Terms};
use super::super::limits::{ACTIVITY_FULL, ACTIVITY_WINDOW_S, ONLINE_SHARE};
use super::super::queue::Queue;

/// Fills islands by active users.
#[derive(Clone, Debug)]
pub(super) struct ActivityWindow {
    /// Users that an island is thought to bear.
    users_max: u32,
    /// Active users of each island, by its number.
    users: Vec<u32>,
    places: FirstFit,
    /// Users who left, until they don't count any more.
    left: VecDeque<(Second, IslandId)>,
    queue: Queue,
    active: u64,
    open: u32,
    warming: u32,
}

impl ActivityWindow {
    /// Without an island.
    pub(super) fn new(terms: Terms) -> Self {
        Self {
            users_max: (f64::from(terms.design) / ONLINE_SHARE).ceil() as u32,
            users: Vec::new(),
            places: FirstFit::default(),
            left: VecDeque::new(),
            queue: Queue::default(),
            active: 0,
            open: 0,
            warming: 0,
        }
    }

    fn opened(&mut self, island: IslandId) {
        let nth = island.0 as usize;
        if nth >= self.users.len() {
            self.users.resize(nth + 1, 0);
        }
        self.open += 1;
        self.places.set(nth, self.users_max);
    }

    fn forget_the_inactive(&mut self, now: Second) {
        while let Some((_, island)) = self.left.pop_front_if(|(at, _)| *at + ACTIVITY_WINDOW_S <= now) {
            self.active -= 1;
            let nth = island.0 as usize;
            self.users[nth] -= 1;
            self.places.set(nth, self.users_max.saturating_sub(self.users[nth]));
        }
    }
}

impl Allocation for ActivityWindow {
    fn label(&self) -> &'static str {
        "activity-window"
    }

    fn explained(&self) -> &'static str {
        "Counts the users who were active on an island within a day and expects 15 % of them to be online at once. On a launch \
         day all of them are, and nothing looks at how many are inside."
    }

    fn notice(&mut self, notice: &Notice, now: Second) {
        match notice {
            Notice::Joined(waiter) => self.queue.join(*waiter),
            Notice::GaveUp(first) => self.queue.cancel(*first),
            Notice::SeatFreed(_, island) => self.left.push_back((now, *island)),
            Notice::Warming(_) => self.warming += 1,
            Notice::Opened(island) => {
                self.warming -= 1;
                self.opened(*island);
            }
            Notice::Entered(..)
            | Notice::Settled(..)
            | Notice::Lost(..)
            | Notice::Resumed(..)
            | Notice::Retired(_)
            | Notice::NodeDied(_) => {}
        }
    }

    fn admit(&mut self, now: Second, admitted: &mut Vec<Admission>) {
        self.forget_the_inactive(now);
        let Self { queue, users, users_max, places, active, .. } = self;
        queue.serve(|waiter| {
            let home = match waiter.entry {
                Entry::Homecoming(home) => Some(home),
                Entry::Homeless => places.first(waiter.size).map(|nth| IslandId(nth as u32)),
            };
            let Some(island) = home else { return false };
            let nth = island.0 as usize;
            users[nth] += waiter.size;
            *active += u64::from(waiter.size);
            places.set(nth, users_max.saturating_sub(users[nth]));
            admitted.extend(waiter.members().map(|arrival| Admission { arrival, island, guest: false }));
            true
        });
    }

    fn plan(&mut self, _now: Second) -> Decision {
        let wanted = (self.active as f64 / (ACTIVITY_FULL * f64::from(self.users_max))).ceil() as u32;
        Decision { open: wanted.max(1).saturating_sub(self.open + self.warming), retire: Vec::new() }
    }

    fn restored(&self) -> Box<dyn Allocation> {
        Box::new(self.clone())
    }
}
