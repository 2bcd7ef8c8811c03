//! What the bots of a simulated cluster do to the lasting world, and what they were told of it: every act is written
//! down with its answer, for `books` to compare with what the store has.
//!
//! Part of the cluster. What a bot wants is in `wishes`; the rules say what comes of it.

use super::bot::{Bot, Habit};
use super::cluster::Cluster;
use super::limits::{ACT_EVERY_MS, WALK_ON_MS};
use super::wishes::{self, NEAR_QUANTA, Surroundings};
use chunk_sync::ids::{Epoch, IslandId, PlayerId};
use chunk_sync::place::ChunkPos;
use chunk_sync::random::RngExt;
use chunk_sync::records::encode;
use chunk_sync::terrain::Terrain;
use chunk_sync::wire::{ActNumber, ActOutcome, Acted};
use std::collections::BTreeMap;
use world_node::rules::documents::{BagRecord, Doc};
use world_node::rules::{ActId, Action, ChunkLand, DocName};

/// One act, as its bot knows it.
#[derive(Clone, Debug)]
pub(super) struct Deed {
    /// The client that asked.
    pub bot: usize,
    pub action: Action,
    pub asked_ms: u64,
    /// The final answer, if it was heard.
    pub answer: Option<Answer>,
}

/// What a bot was told of an act in the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    pub outcome: ActOutcome,
    pub code: u16,
    /// In a later session than the one that asked.
    pub later: bool,
}

/// A trade that somebody offered and was told done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deal {
    pub id: ActId,
    pub from: PlayerId,
    pub to: PlayerId,
    /// Nobody was told that it is closed.
    pub open: bool,
}

/// All acts of a run.
#[derive(Debug, Default)]
pub(super) struct Deeds {
    pub asked: BTreeMap<(PlayerId, ActNumber), Deed>,
    trades: Vec<Deal>,
    lands: BTreeMap<(IslandId, ChunkPos), ChunkLand>,
}

impl Cluster {
    /// A bot may do something now.
    pub(super) fn maybe_act(&mut self, at: usize) {
        let now_ms = self.now_ms;
        if !self.setup.acts || now_ms >= self.end_ms + WALK_ON_MS || now_ms < self.bots[at].acts_ms {
            return;
        }
        let wait_ms = self.bots[at].random.random_range(ACT_EVERY_MS.0..ACT_EVERY_MS.1);
        self.bots[at].acts_ms = now_ms + wait_ms;
        if self.bots[at].inside.is_none() || self.bots[at].habit == Habit::NeverReads {
            return;
        }
        let Some((player, action)) = self.choose(at) else { return };
        let bytes = encode(&action);
        let mut asked = None;
        self.with_client(at, |client, _, now_ms| {
            asked = client.act(bytes, now_ms).ok();
        });
        if let Some(id) = asked {
            self.totals.acts += 1;
            self.totals.action(&action).asked += 1;
            self.deeds.asked.insert((player, id), Deed { bot: at, action, asked_ms: now_ms, answer: None });
        }
    }

    /// A bot heard what came of an act.
    pub(super) fn act_answered(&mut self, at: usize, acted: &Acted) {
        let Some(player) = self.bots[at].player else { return };
        if acted.outcome == ActOutcome::Waiting {
            self.totals.acts_waited += 1;
            return;
        }
        let name = format!("{} (bot {at})", self.bots[at].name);
        let Some(deed) = self.deeds.asked.get_mut(&(player, acted.id)) else {
            return self.watch.fail(format!("{name} is told of an act that it never asked for: {acted:?}"));
        };
        let session = self.bots[at].client.as_ref().and_then(|client| client.welcome());
        let later = session.is_some_and(|welcome| acted.id.epoch() < Epoch(welcome.epoch));
        let answer = Answer { outcome: acted.outcome, code: acted.code, later };
        if let Some(before) = deed.answer.replace(answer) {
            let action = &deed.action;
            self.watch.fail(format!("{name} is told twice of {action:?}: {before:?}, then {acted:?}"));
            return;
        }
        let action = deed.action.clone();
        let tally = self.totals.action(&action);
        match acted.outcome {
            ActOutcome::Done => tally.done += 1,
            ActOutcome::Refused => tally.refused += 1,
            ActOutcome::Over | ActOutcome::Waiting => tally.over += 1,
        }
        match acted.outcome {
            ActOutcome::Done => {
                self.totals.acts_done += 1;
                self.totals.acts_done_later += u64::from(later);
            }
            ActOutcome::Refused => *self.totals.acts_refused.entry(acted.reason.clone()).or_default() += 1,
            ActOutcome::Over | ActOutcome::Waiting if later => self.totals.acts_over_later += 1,
            ActOutcome::Over | ActOutcome::Waiting => self.totals.acts_over_elsewhere += 1,
        }
        if acted.outcome == ActOutcome::Done {
            self.did(at, player, acted.id, &action);
        }
    }

    /// What follows from an act that is done.
    fn did(&mut self, at: usize, player: PlayerId, id: ActNumber, action: &Action) {
        let (to, what) = match action {
            Action::Travel { island } => {
                let island = *island;
                return self.with_client(at, |client, _, _| client.set_island(Some(island)));
            }
            Action::Offer { to, .. } => {
                let (epoch, act) = (id.epoch(), u64::from(id.number()));
                let island = self.bots[at].island().unwrap_or(IslandId(0));
                let id = ActId { player, epoch, island, act };
                return self.deeds.trades.push(Deal { id, from: player, to: *to, open: true });
            }
            Action::Give { to, .. } => (*to, "gift between nodes"),
            Action::Accept { trade } => {
                self.closed(*trade);
                (trade.player, "trade between nodes")
            }
            Action::Cancel { trade } => return self.closed(*trade),
            _ => return,
        };
        let host = |bot: &Bot| bot.inside.map(|inside| inside.host.process);
        let other = self.bots.iter().find(|bot| bot.player == Some(to)).and_then(host);
        if other.is_some_and(|other| Some(other) != host(&self.bots[at])) {
            *self.totals.feats.entry(what).or_default() += 1;
        }
    }

    fn closed(&mut self, trade: ActId) {
        let closed = self.deeds.trades.iter_mut().filter(|deal| deal.id == trade);
        closed.for_each(|deal| deal.open = false);
    }

    fn choose(&mut self, at: usize) -> Option<(PlayerId, Action)> {
        let seed = self.land_seed();
        let bot = &self.bots[at];
        let island = bot.island()?;
        let client = bot.client.as_ref()?;
        let (place, player) = (client.place(), PlayerId(client.welcome()?.player));
        let replica = &bot.eyes.replica;
        let read = |name: DocName, bytes: &[u8]| Doc::unpack(name, bytes).ok();
        let bag = replica.own_docs()?.get("bag").and_then(|bytes| read(DocName::Bag, bytes));
        let bag = match bag {
            Some(Doc::Bag(bag)) => bag,
            _ => BagRecord::default(),
        };
        let here = place.chunk();
        let (mut structures, mut stacks, mut estates) = (Vec::new(), Vec::new(), Vec::new());
        for chunk in here.around(1) {
            for (name, bytes) in replica.chunk_docs(chunk).into_iter().flatten() {
                let Ok(name) = name.parse::<DocName>() else { continue };
                match (name, read(name, bytes)) {
                    (DocName::Structure(_), Some(Doc::Structure(record))) => structures.push(record),
                    (DocName::Estate, Some(Doc::Estate(estate))) if estate.home == chunk => {
                        estates.push(estate)
                    }
                    (DocName::Ground(cell), Some(Doc::Ground(ground))) => {
                        stacks.extend(ground.stacks.into_iter().map(|lying| (chunk, cell, lying)));
                    }
                    _ => (),
                }
            }
        }
        let near = replica.entities().filter(|e| !e.id.is_born_with_land() && e.id.0 != player.0);
        let near = near.filter(|e| e.place.distance_squared(place) < NEAR_QUANTA * NEAR_QUANTA);
        let near = near.map(|e| PlayerId(e.id.0)).collect();
        let terrain = self.terrains.entry(island).or_insert_with(|| Terrain::new(seed, island));
        let land = self.deeds.lands.entry((island, here));
        let land = land.or_insert_with(|| ChunkLand::generate(seed, island, here, terrain));
        let trades = &self.deeds.trades;
        let known =
            Surroundings { island, player, place, bag, near, structures, estates, stacks, land, trades };
        Some((player, wishes::choose(&known, &mut self.bots[at].random)))
    }
}
