//! The planner: from policy, islands, demand, nodes and the plan before it to the next plan, with what each step did or why it
//! did nothing. A pure function, called by the core and by the launch simulator; writing a plan down is others' business.
//!
//! The steps are the functions of `steps`, in the order in which `decide` lists them. Each changes the draft of the plan, or
//! leaves it as it is, and says why.

mod steps;

use crate::demand::Demand;
use crate::islands::Islands;
use crate::limits::{REASON_BYTES_MAX, REASONS_MAX};
use crate::policy::Policy;
use chunk_sync::ids::{IslandId, NodeId};
use chunk_sync::records::{IslandPhase, IslandRecord, PlanRecord};

/// What the planner looks at besides the plan before.
#[derive(Clone, Copy)]
pub struct Situation<'a> {
    /// What operators want.
    pub policy: &'a Policy,
    /// World milliseconds.
    pub now_ms: u64,
    /// Nodes that should be there, in ascending order.
    pub nodes: &'a [NodeId],
    /// Who is where. Islands that are not in the plan before don't count.
    pub islands: &'a Islands,
    /// Whether an island that warms has somebody who serves it by now.
    pub is_ready: &'a dyn Fn(IslandId) -> bool,
    /// The seats that will be wanted by the time that what is decided now is open.
    pub demand: Demand,
    /// The most that was wanted lately (two mean sessions), once so long was watched.
    pub peak: Option<u64>,
}

/// What the planner says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// The next plan, if anything changes.
    pub plan: Option<PlanRecord>,
    /// What each step did, or why it did nothing.
    pub reasons: Vec<String>,
}

/// The plan that is being made.
struct Draft<'a> {
    islands: Vec<IslandRecord>,
    last: u32,
    /// Seats for settlers on islands that are open or will be, as the steps so far leave it.
    supply: u64,
    situation: &'a Situation<'a>,
}

/// Decides.
pub fn decide(parent: &PlanRecord, situation: &Situation<'_>) -> Decision {
    let mut draft = Draft::new(parent, situation);
    let mut reasons = vec![
        steps::policy(&mut draft),
        steps::open(&mut draft),
        steps::start(&mut draft),
        steps::demand(&draft),
        steps::supply(&mut draft),
        steps::reopen(&mut draft),
        steps::spawn(&mut draft),
        steps::close(&mut draft),
        steps::retire(&mut draft),
        steps::place(&mut draft),
    ];
    reasons.truncate(REASONS_MAX);
    reasons.iter_mut().for_each(|reason| reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX)));
    let (islands, last) = (draft.islands, draft.last);
    let plan = (islands != parent.islands).then(|| PlanRecord {
        number: parent.number + 1,
        islands,
        suspended: parent.suspended.clone(),
        last_island: last,
        reasons: reasons.clone(),
    });
    Decision { plan, reasons }
}

impl<'a> Draft<'a> {
    fn new(parent: &PlanRecord, situation: &'a Situation<'a>) -> Self {
        let open = parent.islands.iter().map(|island| island.island.0);
        let suspended = parent.suspended.iter().map(|island| island.island.0);
        let last = open.chain(suspended).max().unwrap_or(0).max(parent.last_island);
        Self { islands: parent.islands.clone(), last, supply: 0, situation }
    }

    /// Islands that were decided on and that nobody can enter yet.
    fn warming(&self) -> usize {
        self.islands.iter().filter(|island| island.phase == IslandPhase::Warming).count()
    }

    /// Adds islands that get ready, with numbers that no island ever had.
    fn found(&mut self, count: u64) {
        let policy = self.situation.policy;
        for _ in 0..count {
            self.last += 1;
            self.islands.push(IslandRecord {
                phase: IslandPhase::Warming,
                since_ms: self.situation.now_ms,
                ..IslandRecord::open(
                    IslandId(self.last),
                    [policy.design, policy.cap, policy.minimum],
                    Vec::new(),
                )
            });
        }
    }

    /// Seats that are kept free beyond all that is expected.
    fn spare(&self) -> u64 {
        u64::from(self.situation.policy.spare_islands) * self.yields()
    }

    /// Seats that shall be there.
    fn wanted(&self) -> u64 {
        self.situation.demand.seats.saturating_add(self.spare())
    }

    /// Seats that a new island will have for settlers.
    fn yields(&self) -> u64 {
        let policy = self.situation.policy;
        u64::from(policy.design.min(self.situation.islands.bears(policy.design)).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::islands::founded;
    use crate::limits::{ISLANDS_MAX, PLAN_NODES_MAX, SUSPENDED_FOLDER_MAX_BYTES, SUSPENDED_MAX};
    use chunk_sync::records::{SuspendedIsland, encode};
    use chunk_sync::store::DOCUMENT_MAX_BYTES;

    const POLICY: Policy = Policy {
        design: 10,
        cap: 15,
        minimum: 3,
        islands: 1,
        islands_max: 6,
        warm_parallel: 2,
        spare_islands: 0,
        seating: crate::policy::Seating::Spread,
        plan_every_ms: 1_000,
        lead_ms: 2_000,
        residents_permille: 1_000,
    };

    /// A world that is decided on again and again.
    struct World {
        policy: Policy,
        plan: PlanRecord,
        islands: Islands,
        ready: bool,
        peak: Option<u64>,
        /// Estates on each island.
        estates: u32,
        nodes: Vec<NodeId>,
    }

    impl World {
        fn new(policy: Policy) -> Self {
            let (plan, islands) = (PlanRecord::default(), Islands::new(1_000));
            Self { policy, plan, islands, ready: true, peak: Some(0), estates: 1, nodes: vec![NodeId(1)] }
        }

        /// Decides for so many seats, and lets the plan hold.
        fn decide(&mut self, seats: u64) -> Decision {
            let situation = Situation {
                policy: &self.policy,
                now_ms: 1_000,
                nodes: &self.nodes,
                islands: &self.islands,
                is_ready: &|_| self.ready,
                demand: Demand { seats, ..Demand::default() },
                peak: self.peak.map(|peak| peak.max(seats)),
            };
            let decision = decide(&self.plan, &situation);
            if let Some(plan) = &decision.plan {
                self.plan = plan.clone();
                self.islands.retain(|island| plan.islands.iter().any(|of| of.island == island.id));
                for record in &plan.islands {
                    self.islands.add(founded(record.island, &self.policy, 0));
                    self.islands.change(record.island, |island| {
                        (island.phase, island.estates) = (record.phase, self.estates);
                    });
                }
            }
            decision
        }

        fn settle(&mut self, island: u32, inside: u32) {
            self.islands.change(IslandId(island), |island| island.inside = inside);
        }

        fn phases(&self) -> String {
            let sign = |island: &IslandRecord| match island.phase {
                IslandPhase::Warming => 'w',
                IslandPhase::Open => 'o',
                IslandPhase::Closed => 'c',
            };
            self.plan.islands.iter().map(sign).collect()
        }
    }

    #[test]
    fn a_plan_that_changes_nothing_is_no_plan() {
        let mut world = World::new(POLICY);
        assert_eq!((world.decide(0).plan.unwrap().number, world.phases().as_str()), (1, "w"));
        assert_eq!((world.decide(0).plan.unwrap().number, world.phases().as_str()), (2, "o"));
        let again = world.decide(0);
        assert_eq!((again.plan, again.reasons.len()), (None, 10), "every step explains itself");
    }

    #[test]
    fn missing_seats_are_opened_ahead_and_few_at_once() {
        let mut world = World::new(POLICY);
        world.decide(0);
        world.decide(0);
        world.settle(1, 4);
        world.ready = false;
        assert_eq!(world.decide(6).plan, None, "there is room");
        world.decide(7);
        assert_eq!(world.phases(), "ow");
        assert_eq!(world.decide(16).plan, None, "what gets ready counts");
        let decision = world.decide(60);
        assert_eq!(world.phases(), "oww", "two at once: {:?}", decision.reasons);
        assert!(world.decide(60).reasons[6].starts_with("spawn: nothing of 4, 2 get ready"), "{decision:?}");
        world.ready = true;
        world.decide(60);
        assert_eq!(world.phases(), "oooww");
        world.decide(60);
        world.decide(1_000);
        assert_eq!(world.phases(), "oooooo");
        let full = world.decide(1_000);
        assert!(full.reasons[6].contains("all 6 islands are there"), "{full:?}");
    }

    #[test]
    fn an_island_is_kept_for_the_first_of_a_surge() {
        let mut world = World::new(Policy { spare_islands: 1, ..POLICY });
        world.decide(0);
        world.decide(0);
        assert_eq!(world.phases(), "o", "it is empty itself");
        world.settle(1, 1);
        world.decide(0);
        assert_eq!(world.phases(), "ow");
        world.ready = true;
        world.decide(0);
        assert_eq!((world.decide(0).plan, world.phases().as_str()), (None, "oo"), "and stays");
    }

    #[test]
    fn islands_close_when_nobody_wanted_them_for_long_and_reopen_first() {
        let mut world = World::new(POLICY);
        (0..6).for_each(|_| drop(world.decide(30)));
        assert_eq!(world.phases(), "ooo");
        [(1, 2), (2, 1), (3, 5)].into_iter().for_each(|(island, inside)| world.settle(island, inside));
        world.peak = None;
        assert_eq!(world.decide(0).plan, None, "nobody knows what was wanted before");
        world.peak = Some(10);
        assert_eq!(world.decide(0).plan, None, "22 seats are free, 22 are kept");
        world.peak = Some(8);
        world.decide(0);
        assert_eq!(world.phases(), "oco", "the emptiest");
        assert_eq!(world.decide(0).plan, None);
        world.decide(20);
        assert_eq!(world.phases(), "ooo", "before anything new");
        world.peak = Some(0);
        (1..=3).for_each(|island| world.settle(island, 0));
        world.decide(0);
        assert_eq!(world.phases(), "ooc", "the youngest of the empty");
        world.decide(0);
        assert_eq!(world.phases(), "occ");
        assert_eq!(world.decide(0).plan, None, "what is left is kept");
    }

    #[test]
    fn a_closed_island_is_retired_when_nobody_and_nothing_is_left() {
        let mut world = World::new(POLICY);
        (0..6).for_each(|_| drop(world.decide(30)));
        world.settle(3, 1);
        world.estates = 0;
        world.decide(0);
        assert_eq!(world.phases(), "oco", "the emptiest");
        world.settle(2, 1);
        world.decide(0);
        assert_eq!(world.phases(), "occ");
        world.settle(3, 0);
        world.decide(0);
        assert_eq!(world.phases(), "oc");
        world.islands.change(IslandId(2), |island| (island.inside, island.estates) = (0, 1));
        world.estates = 1;
        assert_eq!(world.decide(0).plan, None, "somebody's land is there");
    }

    #[test]
    fn a_number_is_never_given_twice() {
        let mut world = World::new(POLICY);
        (0..6).for_each(|_| drop(world.decide(30)));
        let gone = world.plan.islands.pop().unwrap();
        let suspended = SuspendedIsland { island: gone.island, sum: 7, folder: "archive".to_owned() };
        world.plan.suspended.push(suspended.clone());
        world.plan.islands.pop();
        world.decide(30);
        let numbers: Vec<u32> = world.plan.islands.iter().map(|island| island.island.0).collect();
        assert_eq!(numbers, [1, 4, 5], "not of the suspended one, nor of the one that is gone");
        assert_eq!((&world.plan.suspended, world.plan.last_island), (&vec![suspended], 5));
    }

    #[test]
    fn a_change_of_policy_reaches_islands_that_exist() {
        let mut world = World::new(POLICY);
        world.decide(0);
        world.policy = Policy { design: 4_000, cap: 4_500, ..POLICY };
        world.decide(0);
        let island = &world.plan.islands[0];
        assert_eq!((island.design, island.cap, world.plan.number), (4_000, 4_500, 2));
    }

    #[test]
    fn the_largest_plan_fits_a_document() {
        let mut world = World::new(Policy {
            islands: ISLANDS_MAX,
            islands_max: ISLANDS_MAX,
            design: 100_000,
            cap: 100_000,
            ..POLICY
        });
        world.nodes = (0..1_000).map(|n| NodeId(u32::MAX - 1_000 + n)).collect();
        let suspended = (0..SUSPENDED_MAX).map(|nth| SuspendedIsland {
            island: IslandId(u32::MAX - 100 - nth as u32),
            sum: u64::MAX,
            folder: "x".repeat(SUSPENDED_FOLDER_MAX_BYTES),
        });
        world.plan =
            PlanRecord { number: u64::MAX - 1, suspended: suspended.collect(), ..PlanRecord::default() };
        let mut plan = world.decide(u64::MAX / 2).plan.unwrap();
        assert_eq!((plan.islands.len(), plan.islands[0].nodes.len()), (ISLANDS_MAX as usize, PLAN_NODES_MAX));
        plan.reasons = vec!["x".repeat(REASON_BYTES_MAX); REASONS_MAX];
        plan.islands.iter_mut().for_each(|island| island.since_ms = u64::MAX);
        assert!(encode(&plan).len() <= DOCUMENT_MAX_BYTES, "{}", encode(&plan).len());
    }
}
