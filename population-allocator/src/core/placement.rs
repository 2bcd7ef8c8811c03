//! Where a player goes: first fit by age among islands below design, and the order of an island's nodes in a
//! ticket. Pure functions over what the core knows; used by the core only.

use super::ledger::Ledger;
use super::members::Members;
use crate::limits::PACK_NODE_SESSIONS_MAX;
use crate::policy::Seating;
use chunk_sync::ids::{IslandId, NodeId, PlayerId};
use chunk_sync::limits::TICKET_NODES_MAX;
use chunk_sync::records::{IslandPhase, IslandRecord, PlanRecord};

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
    /// The island where the player is at home; only a journey changes that.
    pub home: Option<IslandId>,
    /// The island that the player asks for: of who was never in the world.
    pub wish: Option<IslandId>,
}

/// An island with room for somebody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pick<'p> {
    pub island: &'p IslandRecord,
    /// It isn't the player's home, which has no room or isn't open.
    pub guest: bool,
}

/// The players' seats, and those that may be taken without the ledger's knowledge.
pub(super) struct Seats<'l, I: Fn(IslandId) -> u32> {
    pub ledger: &'l Ledger,
    pub inherited: I,
}

impl<I: Fn(IslandId) -> u32> Seats<'_, I> {
    fn taken(&self, island: &IslandRecord) -> u32 {
        self.ledger.population(island.island).saturating_add((self.inherited)(island.island))
    }

    /// Whether the island has room for this player, or has the player already; one that is closed only has for its own.
    fn fits(&self, island: &IslandRecord, applicant: Applicant) -> bool {
        let counted = self.ledger.seat(applicant.player).is_some_and(|seat| seat.is_on(island.island));
        let takes = match island.phase {
            IslandPhase::Warming => false,
            IslandPhase::Open => true,
            IslandPhase::Closed => applicant.home == Some(island.island),
        };
        counted || (takes && self.taken(island) < island.cap)
    }
}

/// The island that is the applicant's before all others, if there is one and it has room: the home, or the wish of who
/// has none.
fn own<'p, I: Fn(IslandId) -> u32>(
    plan: &'p PlanRecord,
    seats: &Seats<'_, I>,
    applicant: Applicant,
) -> Option<&'p IslandRecord> {
    let wanted = applicant.home.or(applicant.wish)?;
    let island = plan.islands.iter().find(|island| island.island == wanted)?;
    seats.fits(island, applicant).then_some(island)
}

/// Whether a seat on whichever island will do: of newcomers without a wish, and of homecomers whose home has no room.
pub(super) fn roams<I: Fn(IslandId) -> u32>(
    plan: &PlanRecord,
    seats: &Seats<'_, I>,
    applicant: Applicant,
) -> bool {
    let wishes = applicant.home.is_none() && applicant.wish.is_some();
    !wishes && seats.ledger.seat(applicant.player).is_none() && own(plan, seats, applicant).is_none()
}

/// Picks the island; `ready` says whether a node takes newcomers to an island.
pub(super) fn island<'p, I: Fn(IslandId) -> u32>(
    plan: &'p PlanRecord,
    seats: &Seats<'_, I>,
    ready: impl Fn(&IslandRecord) -> bool,
    islands_max: u32,
    applicant: Applicant,
) -> Result<Pick<'p>, Obstacle> {
    let find = |wanted: IslandId| plan.islands.iter().find(|island| island.island == wanted);
    if let Some(island) = own(plan, seats, applicant) {
        return Ok(Pick { island, guest: false });
    }
    let guest = applicant.home.is_some();
    if let (false, Some(wish)) = (guest, applicant.wish) {
        return Err(find(wish).map_or(Obstacle::NoIsland, |island| match island.phase {
            IslandPhase::Warming => Obstacle::OpensSoon,
            IslandPhase::Open | IslandPhase::Closed => Obstacle::Full,
        }));
    }
    // Who has a seat comes back to it: that takes no other.
    let seat = seats.ledger.seat(applicant.player);
    if let Some(island) = seat.and_then(|seat| seat.island()).and_then(find) {
        return Ok(Pick { island, guest });
    }
    first_fit(plan, |island| seats.taken(island), ready, islands_max).map(|island| Pick { island, guest })
}

/// The oldest open island under its minimum, or else below design.
fn first_fit(
    plan: &PlanRecord,
    taken: impl Fn(&IslandRecord) -> u32,
    ready: impl Fn(&IslandRecord) -> bool,
    islands_max: u32,
) -> Result<&IslandRecord, Obstacle> {
    let open = || plan.islands.iter().filter(|island| island.phase == IslandPhase::Open);
    // One whose nodes are all silent is passed over; if there is no other, it is waited for.
    let below_design = || open().filter(|island| taken(island) < island.design);
    let lonely = below_design().filter(|island| taken(island) < island.minimum);
    let found = lonely.chain(below_design()).find(|island| ready(island));
    if let Some(island) = found.or_else(|| below_design().next()) {
        return Ok(island);
    }
    let more_come = plan.islands.iter().any(|island| island.phase != IslandPhase::Open);
    if more_come || (plan.islands.len() as u64) < u64::from(islands_max) {
        return Err(Obstacle::OpensSoon);
    }
    // Every island is crowded: the least crowded first, so that none reaches its cap long before the others.
    let roomy = open().filter(|island| taken(island) < island.cap);
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
