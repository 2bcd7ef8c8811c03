//! The seat ledger: which player has a seat on which island, and by what right.
//!
//! A seat rests on a *hold* (an unused ticket) or a *presence* (a session that a census listed). A hold ends with
//! its ticket, a presence when the node that listed the player lists it no longer, or when the grace is over that
//! begins once that node is lost. A census that is merely missing ends nothing. A player is counted once on an
//! island however many rights it has there; a ticket can't be taken back, so whoever asks for a second island is
//! counted on both until one of the two is void.
//!
//! Used by the core only. It knows neither plan nor policy and decides nothing.

use crate::limits::{HOLD_RECHECK_MS, HOLD_SLACK_MS, HOLDS_PER_PLAYER_MAX};
use chunk_sync::ids::{IslandId, NodeId, PlayerId, Source};
use chunk_sync::limits::RESUME_GRACE_MS;
use std::collections::{BTreeMap, BTreeSet};

/// A seat that an unused ticket keeps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hold {
    /// Where.
    pub island: IslandId,
    /// The ticket.
    pub number: u64,
    /// World milliseconds after which nodes refuse the ticket.
    pub expires_ms: u64,
    /// Nodes that the ticket is good at, in its order, then those of older tickets for the island.
    pub nodes: Vec<NodeId>,
}

impl Hold {
    /// When a node that took the ticket at its last moment has surely said so, if it could speak.
    pub fn told_ms(&self) -> u64 {
        self.expires_ms + HOLD_SLACK_MS
    }

    /// When the hold ends whatever happens.
    pub fn ends_ms(&self) -> u64 {
        self.expires_ms + RESUME_GRACE_MS
    }
}

/// A seat that a session has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Presence {
    /// Where.
    pub island: IslandId,
    /// The ticket that the session was taken with.
    pub number: u64,
    /// The node.
    pub node: NodeId,
    /// Its incarnation.
    pub source: Source,
    /// Set while that incarnation is lost: when the seat ends.
    pub grace_until_ms: Option<u64>,
}

/// All rights of one player.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Seat {
    /// Its session, if it has one.
    pub presence: Option<Presence>,
    /// Its unused tickets, the newest last; one an island.
    pub holds: Vec<Hold>,
}

impl Seat {
    /// Where a rejoin leads: where the newest ticket is for.
    pub fn island(&self) -> Option<IslandId> {
        let hold = self.holds.last().map(|hold| (hold.number, hold.island));
        let presence = self.presence.map(|presence| (presence.number, presence.island));
        hold.max(presence).map(|(_, island)| island)
    }

    /// Whether the player is counted on `island`.
    pub fn is_on(&self, island: IslandId) -> bool {
        self.presence.is_some_and(|presence| presence.island == island)
            || self.holds.iter().any(|hold| hold.island == island)
    }

    fn islands(&self) -> impl Iterator<Item = IslandId> + '_ {
        let present = self.presence.map(|presence| presence.island);
        let held = self.holds.iter().map(|hold| hold.island).filter(move |island| Some(*island) != present);
        present.into_iter().chain(held)
    }

    fn next_due_ms(&self) -> Option<u64> {
        let grace = self.presence.and_then(|presence| presence.grace_until_ms);
        let hold = self.holds.iter().map(Hold::told_ms).min();
        grace.into_iter().chain(hold).min()
    }
}

/// What a node's census says about sessions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report<'a> {
    /// The node.
    pub node: NodeId,
    /// Its incarnation.
    pub source: Source,
    /// Every session: player, ticket number, island.
    pub sessions: &'a [(PlayerId, u64, IslandId)],
    /// Whom the same incarnation listed the last time, in ascending order.
    pub before: &'a [PlayerId],
}

/// All seats, and how many there are where.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    seats: BTreeMap<PlayerId, Seat>,
    population: BTreeMap<IslandId, u32>,
    held: BTreeMap<IslandId, u32>,
    sent_to: BTreeMap<NodeId, u32>,
    present: BTreeMap<(Source, IslandId), u32>,
    due: BTreeSet<(u64, PlayerId)>,
}

impl Ledger {
    /// Seats on the island.
    pub(super) fn population(&self, island: IslandId) -> u32 {
        self.population.get(&island).copied().unwrap_or(0)
    }

    /// Unused tickets, by island.
    pub(super) fn held(&self) -> &BTreeMap<IslandId, u32> {
        &self.held
    }

    /// Players that node incarnations listed, in grace or not, by incarnation and island.
    pub(super) fn present(&self) -> &BTreeMap<(Source, IslandId), u32> {
        &self.present
    }

    /// Unused tickets that name this node first.
    pub(super) fn sent_to(&self, node: NodeId) -> u32 {
        self.sent_to.get(&node).copied().unwrap_or(0)
    }

    /// The player's seat.
    pub(super) fn seat(&self, player: PlayerId) -> Option<&Seat> {
        self.seats.get(&player)
    }

    /// Whether one more ticket for `island` may be given to the player.
    pub(super) fn may_hold(&self, player: PlayerId, island: IslandId) -> bool {
        self.seats.get(&player).is_none_or(|seat| {
            seat.holds.len() < HOLDS_PER_PLAYER_MAX || seat.holds.iter().any(|hold| hold.island == island)
        })
    }

    /// Counts a new ticket; it replaces the player's older one for the same island. The caller looked at
    /// `may_hold` and at the island's free seats.
    pub(super) fn hold(&mut self, player: PlayerId, mut hold: Hold) {
        self.change(player, |seat| {
            if let Some(at) = seat.holds.iter().position(|old| old.island == hold.island) {
                // The older ticket may have been used already, at a node that the new one doesn't list.
                let old = seat.holds.remove(at);
                let more: Vec<NodeId> =
                    old.nodes.into_iter().filter(|node| !hold.nodes.contains(node)).collect();
                hold.nodes.extend(more);
            }
            seat.holds.push(hold);
        });
    }

    /// Takes what a node says about its sessions: who is in, and who was and is no longer.
    pub(super) fn report(&mut self, report: Report<'_>) {
        for &(player, number, island) in report.sessions {
            let said =
                Presence { island, number, node: report.node, source: report.source, grace_until_ms: None };
            let seat = self.seats.get(&player);
            let present = seat.and_then(|seat| seat.presence);
            // Two nodes list the player: the session with the newer ticket fenced the other.
            let newer = present.is_none_or(|present| present.number <= number && present != said);
            let used = seat.is_some_and(|seat| seat.holds.iter().any(|hold| hold.number <= number));
            if newer || used {
                self.change(player, |seat| {
                    if newer {
                        seat.presence = Some(said);
                    }
                    // A ticket that was used, or is older than one that was, opens no door any more.
                    seat.holds.retain(|hold| hold.number > number);
                });
            }
        }
        let mut listed: Vec<PlayerId> = report.sessions.iter().map(|(player, ..)| *player).collect();
        listed.sort_unstable();
        for player in report.before {
            if listed.binary_search(player).is_err() && self.is_at(*player, report.source) {
                self.change(*player, |seat| seat.presence = None);
            }
        }
    }

    /// The incarnation is lost: the seats of whom it listed are kept until `until_ms`.
    pub(super) fn lose(&mut self, source: Source, listed: &[PlayerId], until_ms: u64) {
        for player in listed.iter().filter(|player| self.is_at(**player, source)).copied().collect::<Vec<_>>()
        {
            self.change(player, |seat| {
                if let Some(presence) = &mut seat.presence {
                    presence.grace_until_ms.get_or_insert(until_ms);
                }
            });
        }
    }

    /// Ends what is over at `now_ms`. `spoke_ms` tells when a node's last census was made, `None` when its
    /// incarnation is gone: a hold of an expired ticket waits for the word of all its nodes.
    pub(super) fn expire(&mut self, now_ms: u64, spoke_ms: impl Fn(NodeId) -> Option<u64>) {
        while let Some(&(due_ms, player)) = self.due.first()
            && due_ms <= now_ms
        {
            self.due.pop_first();
            let over = |hold: &Hold| {
                let told = |node: &NodeId| spoke_ms(*node).is_none_or(|ms| ms >= hold.told_ms());
                now_ms >= hold.ends_ms() || (now_ms >= hold.told_ms() && hold.nodes.iter().all(told))
            };
            self.change(player, |seat| {
                seat.holds.retain(|hold| !over(hold));
                let in_time =
                    |presence: &Presence| presence.grace_until_ms.is_none_or(|until| until > now_ms);
                seat.presence = seat.presence.filter(in_time);
            });
            // What is due and stays is waiting for a silent node.
            if self.seats.get(&player).and_then(Seat::next_due_ms).is_some_and(|due_ms| due_ms <= now_ms) {
                self.due.insert((now_ms + HOLD_RECHECK_MS, player));
            }
        }
    }

    fn is_at(&self, player: PlayerId, source: Source) -> bool {
        let presence = self.seats.get(&player).and_then(|seat| seat.presence);
        presence.is_some_and(|presence| presence.source == source)
    }

    /// The one way in which a seat changes, so that the counts can't part from it.
    fn change(&mut self, player: PlayerId, act: impl FnOnce(&mut Seat)) {
        let mut seat = self.seats.remove(&player).unwrap_or_default();
        for island in seat.islands() {
            subtract(&mut self.population, island);
        }
        for hold in &seat.holds {
            subtract(&mut self.held, hold.island);
            hold.nodes.first().into_iter().for_each(|node| subtract(&mut self.sent_to, *node));
        }
        if let Some(presence) = &seat.presence {
            subtract(&mut self.present, (presence.source, presence.island));
        }
        let due_before = seat.next_due_ms();
        act(&mut seat);
        let due = seat.next_due_ms();
        if due != due_before {
            if let Some(due_ms) = due_before {
                self.due.remove(&(due_ms, player));
            }
            if let Some(due_ms) = due {
                self.due.insert((due_ms, player));
            }
        }
        for island in seat.islands() {
            *self.population.entry(island).or_default() += 1;
        }
        for hold in &seat.holds {
            *self.held.entry(hold.island).or_default() += 1;
            hold.nodes.first().into_iter().for_each(|node| *self.sent_to.entry(*node).or_default() += 1);
        }
        if let Some(presence) = &seat.presence {
            *self.present.entry((presence.source, presence.island)).or_default() += 1;
        }
        if seat.presence.is_some() || !seat.holds.is_empty() {
            self.seats.insert(player, seat);
        }
    }

    /// What must hold after every step: the counts are those of the seats, and whatever ends has a date.
    ///
    /// # Panics
    /// When it doesn't.
    pub(super) fn invariants(&self) {
        let mut population: BTreeMap<IslandId, u32> = BTreeMap::new();
        let mut held: BTreeMap<IslandId, u32> = BTreeMap::new();
        let mut sent_to: BTreeMap<NodeId, u32> = BTreeMap::new();
        let mut present: BTreeMap<(Source, IslandId), u32> = BTreeMap::new();
        let dated: BTreeSet<PlayerId> = self.due.iter().map(|(_, player)| *player).collect();
        for (player, seat) in &self.seats {
            assert!(seat.presence.is_some() || !seat.holds.is_empty(), "{player} has an empty seat");
            assert!(seat.holds.len() <= HOLDS_PER_PLAYER_MAX, "{player} has too many tickets");
            assert!(seat.holds.is_sorted_by_key(|hold| hold.number), "{player}'s tickets are out of order");
            for island in seat.islands() {
                *population.entry(island).or_default() += 1;
            }
            for hold in &seat.holds {
                *held.entry(hold.island).or_default() += 1;
                hold.nodes.first().into_iter().for_each(|node| *sent_to.entry(*node).or_default() += 1);
            }
            if let Some(presence) = &seat.presence {
                *present.entry((presence.source, presence.island)).or_default() += 1;
            }
            if seat.next_due_ms().is_some() {
                assert!(dated.contains(player), "{player}'s seat would never end");
            }
        }
        assert_eq!(population, self.population, "seats per island");
        assert_eq!(held, self.held, "unused tickets per island");
        assert_eq!(present, self.present, "players per incarnation");
        assert_eq!(sent_to, self.sent_to, "tickets per node");
    }
}

fn subtract<K: Ord>(counts: &mut BTreeMap<K, u32>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}
