//! Seating: from a join whose player is known to a seat, a wait, or a refusal. The part of the core that gives
//! tickets; everything that a ticket rests on is looked at here, in one order.

use super::admission::{Entrant, Join};
use super::authority::Right;
use super::ledger::Hold;
use super::placement::{self, Applicant, Obstacle, Seats};
use super::{AllocatorCore, Answer, RequestNo};
use chunk_sync::ids::{IslandId, NodeId, PlayerId};
use chunk_sync::limits::TICKET_MS;
use chunk_sync::records::IslandRecord;
use chunk_sync::ticket::Ticket;
use chunk_sync::wire::{RejectCode, Seat};

/// What comes of a try to seat a join.
enum Outcome {
    Seated(Seat),
    /// Later perhaps; this is said when it takes too long.
    Waits(RejectCode),
    Refused(RejectCode),
}

/// Where somebody can be seated.
struct Place {
    island: IslandId,
    guest: bool,
    /// Nodes that serve it, the best first.
    nodes: Vec<(NodeId, String)>,
}

/// Who a join is for, once that was found out.
pub(super) fn applicant(join: Option<&Join>) -> Option<Applicant> {
    let Join { entrant, wish, .. } = join?;
    let Entrant { player, home } = (*entrant)?;
    Some(Applicant { player, home, wish: *wish })
}

impl AllocatorCore {
    /// Tries to seat one join; a join that must wait stays.
    pub(super) fn seat(&mut self, request: RequestNo, now_ms: u64) -> Option<RejectCode> {
        match self.try_seat(request, now_ms) {
            Outcome::Seated(seat) => {
                self.joins.remove(request);
                self.counters.seated += 1;
                self.answers.push_back(Answer { request, outcome: Ok(seat) });
                None
            }
            Outcome::Waits(code) => {
                if let Some(join) = self.joins.get_mut(request) {
                    join.obstacle = code;
                }
                Some(code)
            }
            Outcome::Refused(code) => {
                self.refuse(request, code);
                None
            }
        }
    }

    pub(super) fn refuse(&mut self, request: RequestNo, code: RejectCode) {
        self.joins.remove(request);
        *self.counters.rejected.entry(code.label()).or_default() += 1;
        self.answers.push_back(Answer { request, outcome: Err(code) });
    }

    pub(super) fn refuse_overdue(&mut self, now_ms: u64) {
        for (request, code) in self.joins.overdue(now_ms) {
            self.refuse(request, code);
        }
    }

    /// Tries all joins that wait for a seat, in the order they came.
    pub(super) fn retry_joins(&mut self, now_ms: u64) {
        let ready: Vec<(RequestNo, bool)> = self
            .joins
            .iter()
            .filter_map(|(request, join)| {
                let applicant = applicant(Some(join))?;
                Some((request, self.roams(applicant)))
            })
            .collect();
        // What stops one for whom any island will do stops all behind it as well.
        let mut stopped = None;
        for (request, roams) in ready {
            match (roams, stopped) {
                (true, Some(code)) => {
                    if let Some(join) = self.joins.get_mut(request) {
                        join.obstacle = code;
                    }
                }
                (true, None) => stopped = self.seat(request, now_ms),
                (false, _) => {
                    self.seat(request, now_ms);
                }
            }
        }
    }

    /// Whether it is known who is inside: every node of a world that went on without us was heard, or had the time.
    pub(super) fn counted(&self, now_ms: u64) -> bool {
        let waited = self.settled_ms.is_some_and(|settled_ms| now_ms >= settled_ms);
        self.book.plan().is_some()
            && self.members.known()
            && (!self.book.continued() || waited || self.members.all_heard(now_ms))
    }

    fn try_seat(&mut self, request: RequestNo, now_ms: u64) -> Outcome {
        let Some(applicant) = applicant(self.joins.get(request)) else {
            return Outcome::Waits(RejectCode::StoreAway);
        };
        let player = applicant.player;
        if self.authority.right() == Right::Fenced {
            return Outcome::Refused(RejectCode::Closing);
        }
        if !self.authority.may_seat(now_ms) {
            return Outcome::Waits(RejectCode::StoreAway);
        }
        if !self.counted(now_ms) {
            return Outcome::Waits(RejectCode::NoNode);
        }
        let Place { island, guest, nodes } = match self.place(applicant, now_ms) {
            Ok(place) => place,
            Err(outcome) => return outcome,
        };
        if !self.ledger.may_hold(player, island) {
            return Outcome::Refused(RejectCode::Busy);
        }
        let held = self.ledger.held().get(&island).copied().unwrap_or(0);
        if !self.authority.may_issue(island, held, self.joins.len()) {
            return Outcome::Waits(RejectCode::StoreAway);
        }
        let Some(number) = self.authority.next_number(now_ms) else {
            return Outcome::Waits(RejectCode::StoreAway);
        };
        match self.issue(request, player, Place { island, guest, nodes }, number, now_ms) {
            Some(seat) => {
                self.counters.guests += u64::from(guest);
                Outcome::Seated(seat)
            }
            None => Outcome::Refused(RejectCode::StoreAway),
        }
    }

    fn seats(&self) -> Seats<'_, impl Fn(IslandId) -> u32> {
        Seats { ledger: &self.ledger, inherited: |island| self.authority.inherited(island) }
    }

    /// Whether a seat on whichever island will do.
    pub(super) fn roams(&self, applicant: Applicant) -> bool {
        self.book.plan().is_some_and(|plan| placement::roams(plan, &self.seats(), applicant))
    }

    /// Picks island and nodes.
    fn place(&self, applicant: Applicant, now_ms: u64) -> Result<Place, Outcome> {
        let Some(plan) = self.book.plan() else { return Err(Outcome::Waits(RejectCode::StoreAway)) };
        let ready = |island: &IslandRecord| {
            let members = island.nodes.iter().filter_map(|node| self.members.get(*node));
            members.into_iter().any(|member| member.takes(island.island, now_ms))
        };
        let islands_max = self.config.policy.islands_max;
        let placement::Pick { island, guest } =
            match placement::island(plan, &self.seats(), ready, islands_max, applicant) {
                Ok(pick) => pick,
                // The first plan is still to be written, or the next one.
                Err(Obstacle::OpensSoon) => {
                    let any = self.members.iter().any(|(_, member)| member.is_live(now_ms));
                    return Err(Outcome::Waits(if any { RejectCode::Full } else { RejectCode::NoNode }));
                }
                Err(Obstacle::NoIsland) if plan.islands.is_empty() => {
                    return Err(Outcome::Waits(RejectCode::NoIsland));
                }
                Err(Obstacle::NoIsland) => return Err(Outcome::Refused(RejectCode::NoIsland)),
                Err(Obstacle::Full) => return Err(Outcome::Refused(RejectCode::Full)),
            };
        let seating = self.config.policy.seating;
        let nodes = placement::nodes(island, &self.members, &self.ledger, seating, now_ms);
        if nodes.is_empty() {
            let live = island.nodes.iter().any(|node| self.is_live(*node, now_ms));
            return Err(Outcome::Waits(if live { RejectCode::Busy } else { RejectCode::NoNode }));
        }
        Ok(Place { island: island.island, guest, nodes })
    }

    /// Gives the ticket and counts it.
    fn issue(
        &mut self,
        request: RequestNo,
        player: PlayerId,
        Place { island, guest, nodes }: Place,
        number: u64,
        now_ms: u64,
    ) -> Option<Seat> {
        let join = self.joins.get(request)?;
        let key = self.config.keys.first()?;
        let (ids, addresses): (Vec<NodeId>, Vec<String>) = nodes.into_iter().unzip();
        let expires_ms = now_ms + TICKET_MS;
        let (name, nodes) = (join.name.clone(), ids.clone());
        let ticket = Ticket { player, island, number, expires_ms, nodes, name, guest };
        let seat = Seat {
            protocol: join.protocol,
            player: player.0,
            island: island.0,
            nodes: addresses,
            ticket: ticket.sign(key),
            ticket_ms: TICKET_MS,
        };
        self.ledger.hold(player, Hold { island, number, expires_ms, nodes: ids });
        Some(seat)
    }
}
