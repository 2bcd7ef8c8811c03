//! What the simple policies have in common: one queue, seats in a ledger, the oldest island first. They differ in their
//! [`Rule`]: when islands open.

use super::super::allocation::{Admission, Allocation, Decision, Entry, Notice, Second, Terms, Waiter};
use super::super::packing::Packing;
use super::super::queue::Queue;

/// What a rule may look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// Seats taken.
    pub(super) taken: u64,
    /// Seats that newcomers can have.
    pub(super) free: u64,
    /// Open islands.
    pub(super) open: u32,
    /// Islands that warm.
    pub(super) warming: u32,
    /// Players who wait.
    pub(super) waiting: u64,
    /// Players that an island is made for.
    pub(super) design: u32,
}

/// When islands open.
pub(super) trait Rule: Clone + Send + 'static {
    /// The policy's name.
    const LABEL: &'static str;
    /// What it does, for readers of the report.
    const EXPLAINED: &'static str;
    /// Whether its islands open at once.
    const HAS_NO_LEAD: bool = false;

    /// How many islands to open now.
    fn islands_to_open(&self, view: View) -> u64;
}

/// A policy that packs by first fit and opens islands by its rule.
#[derive(Clone, Debug)]
pub(super) struct FirstFit<R> {
    rule: R,
    terms: Terms,
    packing: Packing,
    queue: Queue,
    warming: u32,
}

impl<R: Rule> FirstFit<R> {
    /// Without an island.
    pub(super) fn new(terms: Terms, rule: R) -> Self {
        Self { rule, terms, packing: Packing::new(terms), queue: Queue::default(), warming: 0 }
    }
}

impl<R: Rule> Allocation for FirstFit<R> {
    fn label(&self) -> &'static str {
        R::LABEL
    }

    fn explained(&self) -> &'static str {
        R::EXPLAINED
    }

    fn notice(&mut self, notice: &Notice, _now: Second) {
        match notice {
            Notice::Joined(waiter) => self.queue.join(*waiter),
            Notice::GaveUp(first) => self.queue.cancel(*first),
            Notice::Settled(_, island) => self.packing.settle(*island),
            Notice::SeatFreed(_, island) => self.packing.give_back(*island),
            Notice::Warming(_) => self.warming += 1,
            Notice::Opened(island) => {
                self.warming -= 1;
                self.packing.opened(*island);
            }
            Notice::Entered(..)
            | Notice::Lost(..)
            | Notice::Resumed(..)
            | Notice::Retired(_)
            | Notice::NodeDied(_) => {}
        }
    }

    fn admit(&mut self, _now: Second, admitted: &mut Vec<Admission>) {
        let (packing, design) = (&mut self.packing, self.terms.design);
        self.queue.serve(|waiter| seat(packing, design, waiter, admitted));
    }

    fn plan(&mut self, _now: Second) -> Decision {
        let view = View {
            taken: self.packing.taken(),
            free: self.packing.free(),
            open: self.packing.open(),
            warming: self.warming,
            waiting: self.queue.players(),
            design: self.terms.design,
        };
        let open = self.rule.islands_to_open(view).try_into().unwrap_or(u32::MAX);
        Decision { open, retire: Vec::new() }
    }

    fn has_no_lead(&self) -> bool {
        R::HAS_NO_LEAD
    }

    fn restored(&self) -> Box<dyn Allocation> {
        Box::new(self.clone())
    }
}

/// Finds seats for everybody who waits together; whether it did. Only a party that no island could hold is split.
fn seat(packing: &mut Packing, design: u32, waiter: &Waiter, admitted: &mut Vec<Admission>) -> bool {
    if let Entry::Homecoming(home) = waiter.entry
        && packing.has_room_at_home(home)
    {
        packing.take(home);
        admitted.push(Admission { arrival: waiter.first, island: home, guest: false });
        return true;
    }
    let guest = matches!(waiter.entry, Entry::Homecoming(_));
    let together = waiter.size.min(design);
    if packing.free() < u64::from(waiter.size) {
        return false;
    }
    let Some(island) = packing.place(together) else { return false };
    for (nth, arrival) in waiter.members().enumerate() {
        let island = if nth < together as usize { Some(island) } else { packing.place(1) };
        // There are as many free seats as members.
        let Some(island) = island else { return true };
        packing.take(island);
        admitted.push(Admission { arrival, island, guest });
    }
    true
}
