//! Where a policy sits: after its death, what happens is kept for the successor, who is there after a lease.

use super::allocation::{Allocation, Notice, Second};
use super::limits::ALLOCATOR_PAUSE_S;

/// A policy, and what it hasn't heard yet.
pub(super) struct Desk {
    policy: Box<dyn Allocation>,
    empty_until: Option<Second>,
    missed: Vec<(Notice, Second)>,
}

impl Desk {
    pub(super) fn new(policy: Box<dyn Allocation>) -> Self {
        Self { policy, empty_until: None, missed: Vec::new() }
    }

    /// The policy, unless it is dead.
    pub(super) fn policy(&mut self) -> Option<&mut dyn Allocation> {
        match self.empty_until {
            Some(_) => None,
            None => Some(&mut *self.policy),
        }
    }

    /// Tells it, now or when there is somebody to tell.
    pub(super) fn tell(&mut self, notice: Notice, now: Second) {
        match self.empty_until {
            Some(_) => self.missed.push((notice, now)),
            None => self.policy.notice(&notice, now),
        }
    }

    /// It dies; the successor has what is stored. One that dies before it began changes nothing.
    pub(super) fn die(&mut self, now: Second) {
        if self.empty_until.is_none() {
            self.policy = self.policy.restored();
            self.empty_until = Some(now + ALLOCATOR_PAUSE_S);
        }
    }

    /// Whether the successor's time has come.
    pub(super) fn wake(&mut self, now: Second) {
        if self.empty_until.is_some_and(|until| until <= now) {
            self.empty_until = None;
            for (notice, at_s) in self.missed.drain(..) {
                self.policy.notice(&notice, at_s);
            }
        }
    }
}
