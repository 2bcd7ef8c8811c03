//! Where a player goes: first fit by age among islands below design, and the order of an island's nodes in a
//! ticket. Pure functions over what the core knows; used by the core only.

use super::ledger::Ledger;
use super::members::Members;
use super::ports::Seating;
use crate::limits::PACK_NODE_SESSIONS_MAX;
use chunk_sync::ids::{IslandId, NodeId, PlayerId};
use chunk_sync::limits::TICKET_NODES_MAX;
use chunk_sync::records::{IslandRecord, PlanRecord};

/// What keeps a player from a seat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Obstacle {
    /// All islands are full up to design, and the planner may still open one.
    OpensSoon,
    /// All islands are at their cap, or the wished one is.
    Full,
    /// The wished island isn't open.
    NoIsland,
}

/// Who wants a seat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Applicant {
    /// The player.
    pub player: PlayerId,
    /// The island where the player was last; only a journey changes that.
    pub home: Option<IslandId>,
    /// The island that the player asks for: of who was never in the world.
    pub wish: Option<IslandId>,
}

/// Picks the island; `inherited` are seats that may be taken without the ledger's knowledge, `ready` says whether a
/// node takes newcomers to an island.
pub(super) fn island<'p>(
    plan: &'p PlanRecord,
    ledger: &Ledger,
    inherited: impl Fn(IslandId) -> u32,
    ready: impl Fn(&IslandRecord) -> bool,
    islands_max: u32,
    applicant: Applicant,
) -> Result<&'p IslandRecord, Obstacle> {
    let taken =
        |island: &IslandRecord| ledger.population(island.island).saturating_add(inherited(island.island));
    let seat = ledger.seat(applicant.player);
    let counted = |island: IslandId| seat.is_some_and(|seat| seat.is_on(island));
    let find = |wanted: IslandId| plan.islands.iter().find(|island| island.island == wanted);
    let admit = |island: &'p IslandRecord| {
        let fits = counted(island.island) || taken(island) < island.cap;
        if fits { Ok(island) } else { Err(Obstacle::Full) }
    };
    // An island that is no more is nobody's home.
    if let Some(home) = applicant.home.and_then(find) {
        return admit(home);
    }
    if let Some(wish) = applicant.wish {
        return admit(find(wish).ok_or(Obstacle::NoIsland)?);
    }
    // Who has a seat comes back to it: that takes no other.
    if let Some(island) = seat.and_then(|seat| seat.island()).and_then(find) {
        return Ok(island);
    }
    // An island that opened just now is passed over until a node has read of it; if there is no other, it is waited for.
    let below_design = || plan.islands.iter().filter(|island| taken(island) < island.design);
    if let Some(island) = below_design().find(|island| ready(island)).or_else(|| below_design().next()) {
        return Ok(island);
    }
    if (plan.islands.len() as u64) < u64::from(islands_max) {
        return Err(Obstacle::OpensSoon);
    }
    // Every island is crowded: the least crowded first, so that none reaches its cap long before the others.
    let roomy = plan.islands.iter().filter(|island| taken(island) < island.cap);
    roomy.min_by_key(|island| (taken(island), island.island)).ok_or(Obstacle::Full)
}

/// The nodes of an island that a ticket lists, the best first; none when no live node lets newcomers in.
pub(super) fn nodes(
    island: &IslandRecord,
    members: &Members,
    ledger: &Ledger,
    seating: Seating,
    now_ms: u64,
) -> Vec<(NodeId, String)> {
    let mut ranked: Vec<_> = island
        .nodes
        .iter()
        .filter_map(|node| Some((*node, members.get(*node)?)))
        .filter(|(_, member)| member.takes(island.island, now_ms))
        .map(|(node, member)| {
            let load = member.sessions().saturating_add(ledger.sent_to(node));
            // Smaller is better: by room first, then by load in the wanted direction, then by number.
            let rank = match seating {
                Seating::Spread => (false, u64::from(load)),
                Seating::Pack if load < PACK_NODE_SESSIONS_MAX => (false, u64::MAX - u64::from(load)),
                Seating::Pack => (true, u64::from(load)),
            };
            (rank, node, member.record.address.clone())
        })
        .collect();
    ranked.sort();
    ranked.into_iter().take(TICKET_NODES_MAX).map(|(_, node, address)| (node, address)).collect()
}
