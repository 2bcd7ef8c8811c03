//! The planner: from policy, nodes, seats, arrivals and the plan before it to the next plan, with the reason of
//! every step, also of those that do nothing. A pure function; writing the plan down is the plan book's.
//!
//! First cut: islands are opened by seats and arrivals and never closed, and every node serves every island (up
//! to `PLAN_NODES_MAX`, picked by rendezvous).

use super::ports::Policy;
use crate::limits::{OPENED_PER_PLAN_MAX, PLAN_NODES_MAX, REASON_BYTES_MAX, REASONS_MAX, SPARE_SEATS};
use chunk_sync::ids::{IslandId, NodeId};
use chunk_sync::random::hash;
use chunk_sync::records::{IslandRecord, PlanRecord, SuspendedIsland};

/// What the planner looks at besides the plan before.
#[derive(Clone, Debug)]
pub(super) struct Situation<'a> {
    /// What operators want.
    pub policy: &'a Policy,
    /// Nodes that should be there, in ascending order.
    pub nodes: &'a [NodeId],
    /// Seats on each island of the plan before, in its order.
    pub population: &'a [u32],
    /// Players who wait for a seat on any island.
    pub waiting: u64,
    /// Arrivals of the last window.
    pub arrivals: u64,
    /// Arrivals to expect until an island that is opened now can take players.
    pub expected: u64,
}

/// What the planner says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Decision {
    /// The next plan, if anything changes.
    pub plan: Option<PlanRecord>,
    /// What each step did, or why it did nothing.
    pub reasons: Vec<String>,
}

/// Seats up to design that are free on an island with this population.
pub(super) fn free_seats(design: u32, population: u32) -> u64 {
    u64::from(design.saturating_sub(population))
}

/// Decides.
pub(super) fn decide(parent: &PlanRecord, situation: &Situation<'_>) -> Decision {
    let mut islands = parent.islands.clone();
    let mut reasons = vec![
        apply_policy(&mut islands, situation.policy),
        open_first(&mut islands, &parent.suspended, situation.policy),
        open_for_demand(&mut islands, &parent.suspended, situation),
        assign_nodes(&mut islands, situation.nodes),
        "close: nothing, islands stay open once they are".to_owned(),
    ];
    reasons.truncate(REASONS_MAX);
    reasons.iter_mut().for_each(|reason| reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX)));
    let changed = islands != parent.islands;
    let plan = changed.then(|| PlanRecord {
        number: parent.number + 1,
        islands,
        suspended: parent.suspended.clone(),
        reasons: reasons.clone(),
    });
    Decision { plan, reasons }
}

fn apply_policy(islands: &mut [IslandRecord], policy: &Policy) -> String {
    let wanted = (policy.design, policy.cap, policy.minimum);
    let mut changed = 0;
    for island in islands {
        if (island.design, island.cap, island.minimum) != wanted {
            (island.design, island.cap, island.minimum) = wanted;
            changed += 1;
        }
    }
    let Policy { design, cap, minimum, .. } = policy;
    match changed {
        0 => format!("policy: nothing, all islands have design {design}, cap {cap}, minimum {minimum}"),
        _ => format!("policy: {changed} islands get design {design}, cap {cap}, minimum {minimum}"),
    }
}

fn open_first(islands: &mut Vec<IslandRecord>, suspended: &[SuspendedIsland], policy: &Policy) -> String {
    let missing = (policy.islands as usize).saturating_sub(islands.len());
    open(islands, suspended, policy, missing as u32);
    match missing {
        0 => format!(
            "start: nothing, {} islands are open and {} are always wanted",
            islands.len(),
            policy.islands
        ),
        _ => format!("start: opens {missing}, {} islands are always wanted", policy.islands),
    }
}

fn open_for_demand(
    islands: &mut Vec<IslandRecord>,
    suspended: &[SuspendedIsland],
    situation: &Situation<'_>,
) -> String {
    let Situation { policy, population, waiting, arrivals, expected, .. } = situation;
    let people = |at: usize| population.get(at).copied().unwrap_or(0);
    let free: u64 =
        islands.iter().enumerate().map(|(at, island)| free_seats(island.design, people(at))).sum();
    let needed = waiting + expected + u64::from(SPARE_SEATS);
    let why = format!(
        "{free} seats free up to design, {needed} needed ({waiting} waiting, {expected} expected of {arrivals} lately, {SPARE_SEATS} spare)"
    );
    if free >= needed {
        return format!("open: nothing, {why}");
    }
    let room = (policy.islands_max as usize).saturating_sub(islands.len());
    if room == 0 {
        return format!("open: nothing, all {} islands are open; {why}", islands.len());
    }
    let wanted = (needed - free).div_ceil(u64::from(policy.design.max(1)));
    let opened = wanted.min(u64::from(OPENED_PER_PLAN_MAX)).min(room as u64) as u32;
    open(islands, suspended, policy, opened);
    format!("open: opens {opened} of {wanted} wanted, {why}")
}

/// Opens islands with new numbers: that of a suspended one is its own when it comes back.
fn open(islands: &mut Vec<IslandRecord>, suspended: &[SuspendedIsland], policy: &Policy, count: u32) {
    let archived = suspended.iter().map(|island| island.island.0).max().unwrap_or(0);
    for _ in 0..count {
        let last = islands.iter().map(|island| island.island.0).max().unwrap_or(0).max(archived);
        islands.push(IslandRecord {
            island: IslandId(last + 1),
            design: policy.design,
            cap: policy.cap,
            minimum: policy.minimum,
            nodes: Vec::new(),
        });
    }
}

fn assign_nodes(islands: &mut [IslandRecord], nodes: &[NodeId]) -> String {
    let mut changed = 0;
    for island in islands {
        let wanted = nodes_of(island.island, nodes);
        if island.nodes != wanted {
            island.nodes = wanted;
            changed += 1;
        }
    }
    let count = nodes.len();
    match (changed, count) {
        (0, 0) => "nodes: nothing, no node is there".to_owned(),
        (0, _) => format!("nodes: nothing, {count} serve all islands as before"),
        _ => format!("nodes: {changed} islands are served by other nodes than before, {count} are there"),
    }
}

/// The nodes that serve an island: all, or those that score highest for it, in ascending order.
fn nodes_of(island: IslandId, nodes: &[NodeId]) -> Vec<NodeId> {
    let mut picked = nodes.to_vec();
    if picked.len() > PLAN_NODES_MAX {
        picked
            .sort_by_key(|node| std::cmp::Reverse((hash(u64::from(island.0), &node.0.to_be_bytes()), *node)));
        picked.truncate(PLAN_NODES_MAX);
        picked.sort_unstable();
    }
    picked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{ISLANDS_MAX, SUSPENDED_FOLDER_MAX_BYTES, SUSPENDED_MAX};
    use chunk_sync::records::encode;
    use chunk_sync::store::DOCUMENT_MAX_BYTES;

    fn situation<'a>(policy: &'a Policy, population: &'a [u32], waiting: u64) -> Situation<'a> {
        Situation { policy, nodes: &[NodeId(1)], population, waiting, arrivals: 0, expected: 0 }
    }

    #[test]
    fn a_plan_that_changes_nothing_is_no_plan() {
        let policy = Policy::default();
        let first = decide(&PlanRecord::default(), &situation(&policy, &[], 0)).plan.unwrap();
        assert_eq!((first.number, first.islands.len()), (1, 1));
        let again = decide(&first, &situation(&policy, &[0], 0));
        assert_eq!(again.plan, None);
        assert_eq!(again.reasons.len(), 5, "every step explains itself");
    }

    #[test]
    fn the_next_island_opens_before_the_last_seat_is_gone() {
        let policy = Policy { design: 10, cap: 12, minimum: 1, islands_max: 2, ..Policy::default() };
        let first = decide(&PlanRecord::default(), &situation(&policy, &[], 0)).plan.unwrap();
        assert_eq!(decide(&first, &situation(&policy, &[9], 0)).plan, None);
        let second = decide(&first, &situation(&policy, &[10], 0)).plan.unwrap();
        assert_eq!(second.islands.iter().map(|island| island.island.0).collect::<Vec<_>>(), [1, 2]);
        let full = decide(&second, &situation(&policy, &[10, 10], 5));
        assert_eq!(full.plan, None);
        assert!(full.reasons[2].starts_with("open: nothing, all 2 islands are open"), "{}", full.reasons[2]);
    }

    #[test]
    fn a_suspended_island_stays_so_and_keeps_its_number() {
        let policy = Policy { design: 10, cap: 12, minimum: 1, islands: 2, ..Policy::default() };
        let mut plan = decide(&PlanRecord::default(), &situation(&policy, &[], 0)).plan.unwrap();
        let gone = plan.islands.pop().unwrap();
        let suspended = SuspendedIsland { island: gone.island, sum: 7, folder: "archive".to_owned() };
        plan.suspended.push(suspended.clone());
        let next = decide(&plan, &situation(&policy, &[10], 5)).plan.unwrap();
        assert_eq!(next.suspended, [suspended]);
        let numbers: Vec<u32> = next.islands.iter().map(|island| island.island.0).collect();
        assert!(numbers.starts_with(&[1, 3]), "not island 2, which has its own players: {numbers:?}");
    }

    #[test]
    fn a_change_of_policy_reaches_islands_that_exist() {
        let old = Policy::default();
        let first = decide(&PlanRecord::default(), &situation(&old, &[], 0)).plan.unwrap();
        let new = Policy { design: 4_000, cap: 4_500, ..old };
        let second = decide(&first, &situation(&new, &[0], 0)).plan.unwrap();
        assert_eq!((second.islands[0].design, second.islands[0].cap, second.number), (4_000, 4_500, 2));
    }

    #[test]
    fn the_largest_plan_fits_a_document() {
        let policy = Policy { islands: ISLANDS_MAX, design: 100_000, cap: 100_000, ..Policy::default() };
        let nodes: Vec<NodeId> = (0..1_000).map(|n| NodeId(u32::MAX - 1_000 + n)).collect();
        let situation = Situation { nodes: &nodes, ..situation(&policy, &[], u64::MAX / 2) };
        let suspended = (0..SUSPENDED_MAX).map(|nth| SuspendedIsland {
            island: IslandId(u32::MAX - 100 - nth as u32),
            sum: u64::MAX,
            folder: "x".repeat(SUSPENDED_FOLDER_MAX_BYTES),
        });
        let parent =
            PlanRecord { number: u64::MAX - 1, suspended: suspended.collect(), ..PlanRecord::default() };
        let plan = decide(&parent, &situation).plan.unwrap();
        assert_eq!((plan.islands.len(), plan.islands[0].nodes.len()), (ISLANDS_MAX as usize, PLAN_NODES_MAX));
        assert!(encode(&plan).len() <= DOCUMENT_MAX_BYTES, "{}", encode(&plan).len());
    }
}
