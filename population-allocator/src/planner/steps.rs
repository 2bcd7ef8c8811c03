//! The steps of the planner, in their order. Each says what it did, or why it did nothing.

use super::Draft;
use crate::islands::{Island, Islands};
use crate::limits::{OPENED_PER_PLAN_MAX, PLAN_NODES_MAX};
use crate::policy::Policy;
use chunk_sync::ids::{IslandId, NodeId};
use chunk_sync::random::hash;
use chunk_sync::records::{IslandKind, IslandPhase, IslandRecord};

/// Free design populations that must be left over, in quarters, before an island is closed.
const CLOSED_SPARE_QUARTERS: u64 = 5;

/// Seats for settlers on an island while it is open.
fn seats_on(islands: &Islands, island: &IslandRecord) -> u64 {
    let bears = islands.bears(island.design);
    let (taken, residents) = islands.get(island.island).map_or((0, 0), |of| (of.taken(), of.residents));
    u64::from(island.design.saturating_sub(taken).min(bears.saturating_sub(residents)))
}

/// What operators changed reaches islands that exist.
pub(super) fn policy(draft: &mut Draft<'_>) -> String {
    let Policy { design, cap, minimum, .. } = *draft.situation.policy;
    let mut changed = 0;
    for island in &mut draft.islands {
        if (island.design, island.cap, island.minimum) != (design, cap, minimum) {
            (island.design, island.cap, island.minimum) = (design, cap, minimum);
            changed += 1;
        }
    }
    match changed {
        0 => format!("policy: nothing, all islands have design {design}, cap {cap}, minimum {minimum}"),
        _ => format!("policy: {changed} islands get design {design}, cap {cap}, minimum {minimum}"),
    }
}

/// Islands that got ready take players from now on.
pub(super) fn open(draft: &mut Draft<'_>) -> String {
    let (mut opened, mut waiting, mut longest_ms) = (0, 0, 0);
    for island in draft.islands.iter_mut().filter(|island| island.phase == IslandPhase::Warming) {
        if (draft.situation.is_ready)(island.island) {
            island.phase = IslandPhase::Open;
            opened += 1;
        } else {
            waiting += 1;
            longest_ms = longest_ms.max(draft.situation.now_ms.saturating_sub(island.since_ms));
        }
    }
    match (opened, waiting) {
        (0, 0) => "open: nothing, no island is getting ready".to_owned(),
        (0, _) => format!("open: nothing, {waiting} are getting ready, for {} s at most", longest_ms / 1_000),
        _ => format!("open: opens {opened} that are ready, {waiting} are not yet"),
    }
}

/// Islands that are always wanted.
pub(super) fn start(draft: &mut Draft<'_>) -> String {
    let (wanted, there) = (draft.situation.policy.islands as usize, draft.islands.len());
    let missing = wanted.saturating_sub(there);
    draft.found(missing as u64);
    match missing {
        0 => format!("start: nothing, {there} islands are there and {wanted} are always wanted"),
        _ => format!("start: decides on {missing}, {wanted} islands are always wanted"),
    }
}

/// The seats that will be wanted: nothing changes here, but everything behind it rests on it.
pub(super) fn demand(draft: &Draft<'_>) -> String {
    let demand = &draft.situation.demand;
    format!(
        "demand: {} seats ({:.0} waiting, {:.0} coming, {:.0} more as the pace grows, {:.0} for safety, {:.0} leave; floor {:.0})",
        demand.seats,
        demand.queue,
        demand.arrivals,
        demand.growth,
        demand.safety,
        demand.reused,
        demand.floor
    )
}

/// The seats that are there, or will be without a decision.
pub(super) fn supply(draft: &mut Draft<'_>) -> String {
    let islands = draft.situation.islands;
    let settled = || draft.islands.iter().filter(|island| island.kind == IslandKind::Settled);
    let free: u64 = settled()
        .filter(|island| island.phase == IslandPhase::Open)
        .map(|island| seats_on(islands, island))
        .sum();
    let warming = settled().filter(|island| island.phase == IslandPhase::Warming).count() as u64;
    draft.supply = free + warming * draft.yields();
    format!("supply: {} seats ({free} free up to design, {warming} islands getting ready)", draft.supply)
}

/// Closed islands come first when more is needed: they are there already.
pub(super) fn reopen(draft: &mut Draft<'_>) -> String {
    let closed = |island: &IslandRecord| island.phase == IslandPhase::Closed;
    let all = draft.islands.iter().filter(|island| closed(island)).count();
    let (wanted, mut supply, mut reopened) = (draft.wanted(), draft.supply, 0);
    for island in draft.islands.iter_mut().filter(|island| closed(island)) {
        if supply >= wanted {
            break;
        }
        island.phase = IslandPhase::Open;
        supply += seats_on(draft.situation.islands, island);
        reopened += 1;
    }
    draft.supply = supply;
    match (reopened, all) {
        (0, 0) => "reopen: nothing, no island is closed".to_owned(),
        (0, _) => format!("reopen: nothing, {all} stay closed, no seat is missing"),
        _ => format!("reopen: {reopened} of {all} that were closed"),
    }
}

/// New islands, for the seats that are missing.
pub(super) fn spawn(draft: &mut Draft<'_>) -> String {
    let policy = draft.situation.policy;
    let (wanted, supply) = (draft.wanted(), draft.supply);
    let needed = wanted.saturating_sub(supply).div_ceil(draft.yields());
    if needed == 0 {
        return format!("spawn: nothing, {supply} seats for {wanted}");
    }
    let room = (policy.islands_max as usize).saturating_sub(draft.islands.len()) as u64;
    let lanes = (policy.warm_parallel as usize).saturating_sub(draft.warming()) as u64;
    let count = needed.min(room).min(lanes).min(u64::from(OPENED_PER_PLAN_MAX));
    draft.found(count);
    draft.supply += count * draft.yields();
    let why = format!("{supply} seats for {wanted}");
    match (count, room, lanes) {
        (0, 0, _) => {
            format!("spawn: nothing of {needed}, all {} islands are there; {why}", draft.islands.len())
        }
        (0, ..) => {
            format!("spawn: nothing of {needed}, {} get ready at once already; {why}", draft.warming())
        }
        _ => format!("spawn: decides on {count} of {needed}; {why}"),
    }
}

/// The youngest and emptiest island takes no newcomers any more, when demand has been low for long.
pub(super) fn close(draft: &mut Draft<'_>) -> String {
    let Policy { design, islands, .. } = *draft.situation.policy;
    let Some(peak) = draft.situation.peak else {
        return "close: nothing, it isn't known for long enough what is wanted".to_owned();
    };
    let kept = peak + draft.spare() + u64::from(design) * CLOSED_SPARE_QUARTERS / 4;
    if draft.supply <= kept {
        return format!("close: nothing, {} seats, {kept} are kept for what was wanted lately", draft.supply);
    }
    let taken = |island: &IslandRecord| draft.situation.islands.get(island.island).map_or(0, |of| of.taken());
    let open = |island: &&mut IslandRecord| island.phase == IslandPhase::Open;
    // Not the islands that are always wanted: they are the oldest.
    let candidates = draft.islands.iter_mut().skip(islands as usize).filter(open);
    let emptiest = candidates.min_by_key(|island| (taken(island), std::cmp::Reverse(island.island)));
    let Some(island) = emptiest else {
        return "close: nothing, the islands that are there are always wanted".to_owned();
    };
    island.phase = IslandPhase::Closed;
    let (id, people) = (island.island, taken(island));
    let seats = seats_on(draft.situation.islands, island);
    draft.supply -= seats.min(draft.supply);
    format!("close: island {id} takes no newcomers, {people} are there; {kept} seats are kept")
}

/// Closed islands on which nobody is and nothing stands are gone.
pub(super) fn retire(draft: &mut Draft<'_>) -> String {
    let islands = draft.situation.islands;
    let closed = |island: &IslandRecord| island.phase == IslandPhase::Closed;
    let all = draft.islands.iter().filter(|island| closed(island)).count();
    let deserted = |id: IslandId| islands.get(id).is_some_and(Island::is_deserted);
    // One that was closed just now may have been given to somebody while this was decided.
    let was_closed = |id: IslandId| islands.get(id).is_some_and(|of| of.phase == IslandPhase::Closed);
    draft.islands.retain(|island| !(closed(island) && was_closed(island.island) && deserted(island.island)));
    let left = draft.islands.iter().filter(|island| closed(island)).count();
    match (all, all - left) {
        (0, _) => "retire: nothing, no island is closed".to_owned(),
        (_, 0) => format!("retire: nothing, somebody or somebody's land is on the {all} that are closed"),
        (_, gone) => format!("retire: {gone} of {all} that were closed"),
    }
}

/// Which nodes serve which island.
pub(super) fn place(draft: &mut Draft<'_>) -> String {
    let nodes = draft.situation.nodes;
    let mut changed = 0;
    for island in &mut draft.islands {
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
