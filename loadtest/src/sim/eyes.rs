//! What a bot sees: the client core's own replica, and beside it a plain list of who is listed where, kept without
//! the replica's help, so that somebody who is listed twice for too long shows up.
//!
//! Fed by the client core. It never corrects what it sees.

use super::limits::{DOUBLE_MS_MAX, SUPERSEDED_MS_MAX};
use chunk_sync::blocks::{RosterRecord, StreamId, split_block};
use chunk_sync::client::{Replica, ReplicaError, View};
use chunk_sync::ids::{EntityId, Epoch, Source};
use chunk_sync::interest::Interest;
use chunk_sync::limits::{FAR_RING, TICK_MS};
use chunk_sync::place::{ChunkPos, Place};
use chunk_sync::wire::{Docs, TickHeader, Welcome};
use std::collections::BTreeMap;

/// Time between two frames that counts at most: a client whose node was stopped has no newer view to judge.
const STEP_MS_MAX: u64 = 2 * TICK_MS;

/// Ticks between two checks of the replica's own invariants.
const INVARIANTS_EVERY_TICKS: u32 = 10;

/// An entity that is listed more than once.
#[derive(Clone, Copy, Debug, Default)]
struct Double {
    /// In one epoch, at present.
    same: bool,
    /// How long in one epoch.
    same_ms: u64,
    /// How long at all.
    any_ms: u64,
}

/// The view of one bot.
#[derive(Debug)]
pub(super) struct Eyes {
    pub replica: Replica,
    /// The chunk in the middle of the view, as the node said it last.
    pub centre: ChunkPos,
    /// Nothing happens to the network at present, so that nobody may be listed twice for long.
    pub calm: bool,
    /// Somebody was listed twice for too long.
    pub broken: Option<String>,
    listed: BTreeMap<(Source, ChunkPos), BTreeMap<u16, (EntityId, Epoch)>>,
    doubles: BTreeMap<EntityId, Double>,
    tick: u32,
    /// Somebody was listed or left since the doubles were worked out.
    changed: bool,
}

impl Eyes {
    pub(super) fn new() -> Self {
        Self {
            replica: Replica::new(),
            centre: ChunkPos::default(),
            calm: false,
            broken: None,
            listed: BTreeMap::new(),
            doubles: BTreeMap::new(),
            tick: 0,
            changed: false,
        }
    }

    fn list(&mut self, mut left: &[u8]) {
        // The replica refuses what is malformed; here the rest is left out.
        while let Ok((block, rest)) = split_block(left) {
            left = rest;
            if block.header.stream == StreamId::Roster {
                self.changed = true;
                let slots = self.listed.entry((block.header.source, block.header.chunk)).or_default();
                if block.header.keyframe {
                    slots.clear();
                }
                let mut records = block.payload;
                while let Ok((record, rest)) = RosterRecord::split(records) {
                    if let RosterRecord::Enter { slot, entity, epoch, .. } = record {
                        slots.insert(slot, (entity, epoch));
                    } else if let RosterRecord::Leave { slot } = record {
                        slots.remove(&slot);
                    }
                    records = rest;
                }
            }
            if left.is_empty() {
                return;
            }
        }
    }

    /// Works out who is listed more than once.
    fn find_doubles(&mut self) {
        let all = self.listed.iter().flat_map(|((source, chunk), slots)| {
            slots.values().map(|(entity, epoch)| (*entity, *epoch, *source, *chunk))
        });
        let mut all: Vec<_> = all.collect();
        all.sort_unstable();
        let before = std::mem::take(&mut self.doubles);
        for listings in all.chunk_by(|a, b| a.0 == b.0).filter(|listings| listings.len() > 1) {
            let old = before.get(&listings[0].0).copied().unwrap_or_default();
            let same = listings.windows(2).any(|pair| pair[0].1 == pair[1].1);
            let same_ms = if same { old.same_ms } else { 0 };
            self.doubles.insert(listings[0].0, Double { same, same_ms, any_ms: old.any_ms });
        }
    }

    fn judge(&mut self, passed_ms: u64) {
        if std::mem::take(&mut self.changed) {
            self.find_doubles();
        }
        for (entity, double) in self.doubles.iter_mut().filter(|_| self.calm) {
            double.any_ms += passed_ms;
            double.same_ms += if double.same { passed_ms } else { 0 };
            if double.same_ms > DOUBLE_MS_MAX || double.any_ms > SUPERSEDED_MS_MAX {
                let listed = self.listed.iter().filter(|(_, slots)| slots.values().any(|(e, _)| e == entity));
                let places: Vec<&(Source, ChunkPos)> = listed.map(|(place, _)| place).collect();
                self.broken.get_or_insert(format!(
                    "entity {entity} is listed several times for too long: {places:?}"
                ));
            }
        }
    }
}

impl View for Eyes {
    fn begin(&mut self, welcome: &Welcome) {
        self.replica.begin(welcome);
        self.centre = Interest::at(Place { x: welcome.x, y: welcome.y }).centre;
        self.tick = welcome.tick as u32;
        self.listed.clear();
        self.doubles.clear();
    }

    fn docs(&mut self, docs: Docs) -> Result<(), ReplicaError> {
        self.replica.docs(docs)
    }

    fn frame(&mut self, header: &TickHeader, blocks: &[u8]) -> Result<(), ReplicaError> {
        if header.reset {
            self.listed.clear();
            self.changed = true;
        }
        if let Some(centre) = header.view {
            self.centre = centre;
            self.listed.retain(|(_, chunk), _| chunk.ring(centre) <= FAR_RING);
            self.changed = true;
        }
        self.list(blocks);
        let passed_ms = u64::from(header.tick.wrapping_sub(self.tick)) * TICK_MS;
        self.tick = header.tick;
        self.judge(passed_ms.min(STEP_MS_MAX));
        let done = self.replica.frame(header, blocks);
        if header.tick.is_multiple_of(INVARIANTS_EVERY_TICKS) {
            self.replica.invariants();
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chunk_sync::place::Pose;
    use chunk_sync::sync::{Publisher, Who};
    use chunk_sync::time::Tick;

    /// Two sources that list one entity, tick after tick.
    fn watched(epochs: [u32; 2], calm: bool, ticks: u32) -> Option<String> {
        let mut eyes = Eyes::new();
        eyes.calm = calm;
        for (nth, epoch) in epochs.into_iter().enumerate() {
            let mut publisher = Publisher::new(Source(nth as u32 + 1), ChunkPos::default());
            let who = Who { entity: EntityId(7), epoch: Epoch(epoch), ..Who::default() };
            publisher.enter(who, Pose::default(), Tick(1));
            publisher.publish(Tick(1), 0, |_| ());
            eyes.frame(&TickHeader::default(), &publisher.roster_snapshot(Tick(1))).unwrap();
        }
        for tick in 1..=ticks {
            eyes.frame(&TickHeader { tick, ..TickHeader::default() }, &[]).unwrap();
        }
        eyes.broken
    }

    #[test]
    fn whoever_is_listed_twice_in_one_epoch_for_more_than_a_second_is_noticed() {
        assert_eq!(watched([3, 3], true, 10), None);
        assert!(watched([3, 3], true, 11).is_some());
        assert_eq!(watched([3, 3], false, 100), None, "a network under faults has no such limit");
    }

    #[test]
    fn a_superseded_epoch_may_be_listed_until_its_source_is_hidden() {
        assert_eq!(watched([3, 4], true, 30), None);
        assert!(watched([3, 4], true, 31).is_some());
    }
}
