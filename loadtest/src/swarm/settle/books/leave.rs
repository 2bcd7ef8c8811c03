//! Leave to build on another's estate, as far as answers tell: once a revocation is acknowledged, no build that is asked
//! for after it may be done. Pure; part of the books.

use super::{Books, Built, Fate, Work};
use crate::swarm::settle::plan;
use chunk_sync::wire::ActNumber;
use std::collections::BTreeMap;
use world_node::rules::ActId;
use world_node::rules::site::TilePos;
use world_node::rules::structures::StructureKind;

/// How far it is known whether a bot may build on an estate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::swarm::settle) enum Leave {
    /// It is being changed.
    Asked,
    /// It was given, or nobody could take it again.
    Given,
    /// It was given and is revoked, everywhere.
    Revoked,
    /// Nobody heard what came of a change; it is never asked for again.
    Unknown,
}

/// What the bots were told of it.
#[derive(Debug, Default)]
pub(super) struct Leaves {
    /// By estate and bot, each with how often it was asked for.
    known: BTreeMap<(ActId, usize), (Leave, u32)>,
    /// Builds that are forbidden since before they were asked for: by which estate, and how often leave had been asked
    /// for then.
    forbidden: BTreeMap<ActId, (ActId, u32)>,
}

impl Books {
    /// Whether a bot may build on an estate; `None` if nobody ever asked for it.
    pub(in crate::swarm::settle) fn leave(&self, estate: ActId, bot: usize) -> Option<Leave> {
        self.leaves.known.get(&(estate, bot)).map(|(leave, _)| *leave)
    }

    /// Whether a building stands on an estate on which its bot may build.
    pub(in crate::swarm::settle) fn is_by_leave(&self, built: &Built) -> bool {
        self.leave_for(built, Leave::Given).is_some()
    }

    /// Whether an act that is open must be refused: see [`Books::is_forbidden`].
    pub(in crate::swarm::settle) fn is_forbidden_act(&self, bot: usize, number: ActNumber) -> bool {
        self.open.get(&(bot, number)).is_some_and(|entry| self.is_forbidden(entry.id))
    }

    /// Whether a building must be refused: its bot's leave had been revoked when it asked.
    fn is_forbidden(&self, id: ActId) -> bool {
        let forbidden = self.leaves.forbidden.get(&id).zip(self.built.get(&id));
        forbidden.is_some_and(|(before, built)| {
            self.stands(before.0)
                && self.leaves.known.get(&(before.0, built.bot)) == Some(&(Leave::Revoked, before.1))
        })
    }

    pub(super) fn leave_asked(&mut self, estate: ActId, bot: usize) {
        let (leave, times) = self.leaves.known.entry((estate, bot)).or_insert((Leave::Asked, 0));
        (*leave, *times) = (Leave::Asked, *times + 1);
    }

    /// What came of a change to `meant`; one that was refused leaves leave given, for all that is known.
    pub(super) fn leave_answered(&mut self, at: (ActId, usize), meant: Leave, fate: Fate) {
        if let Some((leave, _)) = self.leaves.known.get_mut(&at) {
            *leave = match fate {
                Fate::Done => meant,
                Fate::Refused => Leave::Given,
                Fate::Unknown | Fate::Asked => Leave::Unknown,
            };
        }
    }

    pub(super) fn raise_asked(&mut self, id: ActId, built: &Built) {
        let forbidden = self.leave_for(built, Leave::Revoked);
        self.leaves.forbidden.extend(forbidden.map(|forbidden| (id, forbidden)));
    }

    pub(super) fn raise_answered(&mut self, id: ActId, fate: Fate) {
        if fate == Fate::Done && self.is_forbidden(id) {
            self.undue.push(id);
        }
        self.leaves.forbidden.remove(&id);
    }

    /// An estate that a building would stand on, where its bot's leave is known to be this.
    fn leave_for(&self, built: &Built, wanted: Leave) -> Option<(ActId, u32)> {
        let of_bot =
            self.leaves.known.iter().filter(|((_, bot), (leave, _))| (*bot, *leave) == (built.bot, wanted));
        let mut here = of_bot.filter(|((estate, _), _)| {
            let claims = |tile: TilePos| {
                self.built
                    .get(estate)
                    .is_some_and(|totem| totem.island == built.island && totem.claims.contains(&tile.chunk()))
            };
            self.stands(*estate) && plan::tiles(built.kind, built.corner, built.turned).any(claims)
        });
        here.next().map(|((estate, _), (_, times))| (*estate, *times))
    }

    /// Whether an estate surely stands, and nobody is about to demolish it.
    fn stands(&self, estate: ActId) -> bool {
        let falls = || self.open.values().any(|entry| entry.work == Work::Fell(estate));
        self.built.get(&estate).is_some_and(|totem| {
            totem.kind == StructureKind::Totem && totem.raised == Fate::Done && totem.felled.is_none()
        }) && !falls()
    }
}
