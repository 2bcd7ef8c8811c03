//! Wandering creatures: two are born with every chunk. One node owns each: the one that rendezvous picks among the
//! chunk's claimants. It gets it by release from the owner before, or takes it when nobody who could own it is left;
//! its right is the claim epoch, in which only one node is ever picked, so two owners in one epoch can't be.

use super::NodeCore;
use super::ports::Standing;
use chunk_sync::blocks::EntityKind;
use chunk_sync::ids::{EntityId, Epoch, IslandId, Source};
use chunk_sync::limits::*;
use chunk_sync::mesh_wire::{CreatureState, Direct, Topic};
use chunk_sync::place::{ChunkPos, Place, Pose};
use chunk_sync::random::{RngExt, hash, rendezvous};
use chunk_sync::records::WORLD;
use chunk_sync::sync::Who;
use chunk_sync::terrain::{ChunkTiles, tile_in_chunk};
use chunk_sync::time::Tick;

/// Ticks that a creature without an owner stands still before it may be taken.
const UNOWNED_TICKS: u64 = 15;
/// Ticks between two tellings of a release.
const RELEASE_EVERY_TICKS: u64 = 5;
/// Ticks between two looks at a creature of somebody else.
const LOOK_EVERY_TICKS: u64 = 10;
/// Creatures walk a metre a second.
const STEP_QUANTA: f32 = QUANTA_PER_M as f32 * TICK_MS as f32 / 1000.0;

/// Whose a creature is, as far as this node knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    /// Nobody's, since then.
    Unowned(Tick),
    /// This node's, in this slot.
    Mine(u16),
    /// That source's.
    Theirs(Source),
    /// Given to that source, said last then; not seen there yet. It stands still in this slot until it is: a listing
    /// of the new owner has a higher epoch and counts before this one, so nobody sees it nowhere.
    Releasing(Source, Tick, u16),
}

/// One creature of a chunk.
#[derive(Clone, Debug)]
pub(super) struct Creature {
    entity: EntityId,
    state: CreatureState,
    /// Highest epoch of an owner that this node knows of.
    epoch: Epoch,
    role: Role,
}

impl Creature {
    /// The creature as it is when nobody ever saw it.
    pub(super) fn born(island: IslandId, index: usize, nth: usize) -> Self {
        let entity = EntityId::born_with_land(WORLD, island, index, nth);
        let place = hash(entity.0, b"birthplace");
        let at = |bits: u64| QUANTA_PER_CHUNK / 4 + (bits as i32 & (QUANTA_PER_CHUNK / 2 - 1));
        let pose = Pose::new(Place { x: at(place), y: at(place >> 16) }, (place >> 32) as u8);
        let state = CreatureState { pose, ..CreatureState::default() };
        Self { entity, state, epoch: Epoch(0), role: Role::Unowned(Tick(0)) }
    }

    /// Whether this node owns it or has yet to see its release arrive.
    pub(super) fn is_bound(&self) -> bool {
        self.slot().is_some()
    }

    /// Where this node lists it.
    fn slot(&self) -> Option<u16> {
        match self.role {
            Role::Mine(slot) | Role::Releasing(.., slot) => Some(slot),
            Role::Unowned(_) | Role::Theirs(_) => None,
        }
    }
}

/// The pose, unless it is in water or on a cliff and the chunk has a place to stand: then one of those, the same on
/// every node.
fn on_land(tiles: &ChunkTiles, pose: Pose, entity: EntityId) -> Pose {
    let at = pose.place(ChunkPos::new(0, 0));
    let walkable = || (0..tiles.len()).filter(|tile| tiles[*tile].is_walkable());
    let count = walkable().count();
    if count == 0 || tile_in_chunk(tiles, at).is_walkable() {
        return pose;
    }
    let nth = hash(entity.0, b"landfall") % count as u64;
    let Some(tile) = walkable().nth(nth as usize) else { return pose };
    let middle = |tile: usize| (tile as i32 * 2 + 1) * TILE_M as i32 * QUANTA_PER_M / 2;
    let place = Place { x: middle(tile % TILES_PER_CHUNK_EDGE), y: middle(tile / TILES_PER_CHUNK_EDGE) };
    Pose::new(place, pose.heading())
}

impl NodeCore {
    /// Phase 3: own creatures walk; those that are another's by now are given away; those without owner are taken.
    pub(super) fn step_creatures(&mut self) {
        if self.standing != Standing::Serving {
            return;
        }
        let mut releases = RELEASES_PER_TICK_MAX;
        for island in 0..self.islands.len() {
            for index in 0..self.islands[island].chunks.len() {
                let chunk = &self.islands[island].chunks[index];
                if !chunk.claim.is_held() && !chunk.creatures.iter().any(Creature::is_bound) {
                    continue;
                }
                for nth in 0..CREATURES_PER_CHUNK {
                    self.tend_creature(island, index, nth, &mut releases);
                }
            }
        }
    }

    fn tend_creature(&mut self, island: usize, index: usize, nth: usize, releases: &mut usize) {
        let (me, now) = (self.config.source, self.now);
        let chunk = &self.islands[island].chunks[index];
        let creature = &chunk.creatures[nth];
        let winner = rendezvous(creature.entity.0, chunk.claim.claimants.iter().map(|s| s.0)).map(Source);
        match (creature.role, winner) {
            // It came with a list that this node has yet to read: who is picked by an older one means nothing.
            (Role::Mine(_), _) if u64::from(creature.epoch.0) > chunk.claim.epoch => (),
            (Role::Mine(_), Some(winner)) if winner == me => self.walk_creature(island, index, nth),
            (Role::Mine(_), Some(winner)) if *releases > 0 => {
                *releases -= 1;
                self.say_release(island, index, nth, winner);
                self.counters.released += 1;
            }
            (Role::Mine(_), None) => self.drop_creature(island, index, nth, Role::Unowned(now)),
            (Role::Releasing(to, ..), Some(winner)) if winner != to && winner == me => {
                // Picked again, in an epoch that is newer than any in which it was given away.
                let epoch = Epoch(chunk.claim.epoch as u32);
                self.adopt_creature(island, index, nth, epoch, creature.state);
            }
            (Role::Releasing(to, ..), Some(winner)) if winner != to => {
                self.say_release(island, index, nth, winner);
            }
            (Role::Releasing(to, said, _), Some(_)) if now.since(said) >= RELEASE_EVERY_TICKS => {
                self.say_release(island, index, nth, to);
            }
            (Role::Releasing(..), None) => self.drop_creature(island, index, nth, Role::Unowned(now)),
            (Role::Releasing(..), Some(_)) => (),
            (Role::Theirs(source), _) if now.0.is_multiple_of(LOOK_EVERY_TICKS) => {
                self.look_at_creature(island, index, nth, source);
            }
            (Role::Unowned(since), Some(winner)) if winner == me => {
                let alone = chunk.claim.claimants.len() == 1;
                if chunk.claim.is_held()
                    && (alone || now.since(since) >= UNOWNED_TICKS && self.nobody_has(island, index, nth))
                {
                    let state = self.islands[island].chunks[index].creatures[nth].state;
                    let epoch = Epoch(self.islands[island].chunks[index].claim.epoch as u32);
                    self.adopt_creature(island, index, nth, epoch, state);
                }
            }
            _ => (),
        }
    }

    /// Whether every other claimant's roster is known whole and lists the creature nowhere.
    fn nobody_has(&self, island: usize, index: usize, nth: usize) -> bool {
        let chunk = &self.islands[island].chunks[index];
        let entity = chunk.creatures[nth].entity;
        chunk.claim.claimants.iter().filter(|s| **s != self.config.source).all(|source| {
            chunk.ghost_at(*source).is_ok_and(|at| {
                let ghost = &chunk.ghosts[at];
                ghost.is_synced() && !ghost.slots().iter().any(|(_, who, _)| who.entity == entity)
            })
        })
    }

    fn walk_creature(&mut self, island: usize, index: usize, nth: usize) {
        let now = self.now;
        let chunk = &self.islands[island].chunks[index];
        let (pos, creature) = (chunk.pos, &chunk.creatures[nth]);
        let Role::Mine(slot) = creature.role else { return };
        let mut state = creature.state;
        if now >= state.until {
            state.walking = self.random.random_bool(0.5);
            state.until = Tick(now.0 + self.random.random_range(10..50));
            state.pose = Pose::new(state.pose.place(pos), self.random.random());
        } else if !state.walking {
            return;
        }
        if state.walking {
            let from = state.pose.place(pos);
            let angle = f32::from(state.pose.heading()) * std::f32::consts::TAU / 256.0;
            let (dx, dy) =
                ((angle.cos() * STEP_QUANTA).round() as i32, (angle.sin() * STEP_QUANTA).round() as i32);
            let to = Place { x: from.x + dx, y: from.y + dy };
            // It stays in the chunk it was born with, and on land unless there is none.
            let swims = !self.islands[island].tile(from).is_walkable();
            if to.chunk() == pos && (swims || self.islands[island].tile(to).is_walkable()) {
                state.pose = Pose::new(to, state.pose.heading());
            } else {
                state.until = now;
            }
        }
        let chunk = &mut self.islands[island].chunks[index];
        if chunk.creatures[nth].state.pose != state.pose {
            chunk.own.step(slot, state.pose, now);
        }
        chunk.creatures[nth].state = state;
    }

    /// Makes the creature this node's.
    fn adopt_creature(
        &mut self,
        island: usize,
        index: usize,
        nth: usize,
        epoch: Epoch,
        mut state: CreatureState,
    ) {
        let entity = self.islands[island].chunks[index].creatures[nth].entity;
        state.pose = on_land(self.islands[island].tiles(index), state.pose, entity);
        let chunk = &mut self.islands[island].chunks[index];
        let creature = &mut chunk.creatures[nth];
        let who = Who {
            entity: creature.entity,
            epoch,
            kind: EntityKind::Creature,
            look: nth as u8,
            name: "".into(),
        };
        if let Some(slot) = creature.slot() {
            chunk.own.leave(slot, self.now);
        }
        let Some(slot) = chunk.own.enter(who, state.pose, self.now) else {
            creature.role = Role::Unowned(self.now);
            return;
        };
        (creature.epoch, creature.state, creature.role) = (epoch, state, Role::Mine(slot));
        self.counters.adopted += 1;
        self.peers.wants_changed = true;
    }

    /// Takes the creature out of the own slots.
    fn drop_creature(&mut self, island: usize, index: usize, nth: usize, role: Role) {
        let chunk = &mut self.islands[island].chunks[index];
        if let Some(slot) = chunk.creatures[nth].slot() {
            chunk.own.leave(slot, self.now);
        }
        chunk.creatures[nth].role = role;
        self.peers.wants_changed = true;
    }

    /// Gives the creature to another source, or says so again.
    fn say_release(&mut self, island: usize, index: usize, nth: usize, to: Source) {
        let chunk = &self.islands[island].chunks[index];
        let creature = &chunk.creatures[nth];
        let Some(slot) = creature.slot() else { return };
        let epoch = Epoch(chunk.claim.epoch as u32);
        let message = Direct::Release {
            from: self.config.source,
            entity: creature.entity,
            epoch,
            island: self.islands[island].id,
            chunk: chunk.pos,
            state: creature.state,
        };
        self.say_direct(Topic::Direct(to), &message);
        let role = Role::Releasing(to, self.now, slot);
        self.islands[island].chunks[index].creatures[nth].role = role;
    }

    /// Somebody gave a creature to this node.
    pub(super) fn creature_released(
        &mut self,
        island: usize,
        index: usize,
        entity: EntityId,
        epoch: Epoch,
        state: CreatureState,
    ) {
        let me = self.config.source;
        let chunk = &self.islands[island].chunks[index];
        let Some(nth) = chunk.creatures.iter().position(|c| c.entity == entity) else { return };
        let creature = &chunk.creatures[nth];
        if matches!(creature.role, Role::Mine(_)) || epoch < creature.epoch || !chunk.claim.is_held() {
            return;
        }
        // In the epoch that the giver names, this node is the one picked. If a later list is known that picks
        // another, the giver will learn of it and give it there.
        let picked = rendezvous(entity.0, chunk.claim.claimants.iter().map(|s| s.0)) == Some(me.0);
        if u64::from(epoch.0) != chunk.claim.epoch || picked {
            if u64::from(epoch.0) < chunk.claim.epoch && !picked {
                return;
            }
            self.adopt_creature(island, index, nth, epoch, state);
            let claim = &mut self.islands[island].chunks[index].claim;
            if u64::from(epoch.0) > claim.epoch {
                claim.check_now();
            }
        }
    }

    /// Another source's roster lists a creature.
    pub(super) fn creature_seen(
        &mut self,
        island: usize,
        index: usize,
        entity: EntityId,
        epoch: Epoch,
        source: Source,
    ) {
        let chunk = &self.islands[island].chunks[index];
        let Some(nth) = chunk.creatures.iter().position(|c| c.entity == entity) else { return };
        let creature = &chunk.creatures[nth];
        match creature.role {
            Role::Mine(_) | Role::Releasing(..) if epoch <= creature.epoch => return,
            _ if epoch < creature.epoch => return,
            _ => (),
        }
        self.drop_creature(island, index, nth, Role::Theirs(source));
        self.islands[island].chunks[index].creatures[nth].epoch = epoch;
    }

    /// Keeps an eye on another's creature: where it is, and whether it is still there.
    fn look_at_creature(&mut self, island: usize, index: usize, nth: usize, source: Source) {
        let now = self.now;
        let chunk = &mut self.islands[island].chunks[index];
        let entity = chunk.creatures[nth].entity;
        let ghost = chunk.ghost_at(source).ok().map(|at| &chunk.ghosts[at]);
        let pose = ghost
            .and_then(|g| g.slots().iter().find(|(_, who, _)| who.entity == entity).map(|(.., pose)| pose));
        let creature = &mut chunk.creatures[nth];
        match pose {
            Some(pose) => creature.state = CreatureState { pose, ..CreatureState::default() },
            None => creature.role = Role::Unowned(now),
        }
    }

    /// Entities that this node owns, with the epoch of its right to each: for checks that nobody else does.
    pub fn owned(&self) -> impl Iterator<Item = (IslandId, ChunkPos, EntityId, Epoch, Pose)> {
        let chunks = self.islands.iter().flat_map(|i| i.chunks.iter().map(|c| (i.id, c)));
        chunks.flat_map(|(id, c)| {
            c.own.slots().iter().map(move |(_, w, pose)| (id, c.pos, w.entity, w.epoch, pose))
        })
    }

    /// Entities of others as this node shows them, with their source.
    pub fn shown(&self) -> impl Iterator<Item = (IslandId, ChunkPos, Source, EntityId, Epoch, Pose)> {
        let chunks = self.islands.iter().flat_map(|i| i.chunks.iter().map(|c| (i.id, c)));
        chunks.flat_map(|(id, c)| {
            let ghosts = c.ghosts.iter().filter(|g| !g.is_hidden());
            ghosts.flat_map(move |g| {
                g.slots().iter().map(move |(_, w, pose)| (id, c.pos, g.source(), w.entity, w.epoch, pose))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chunk_sync::limits::TILES_PER_CHUNK;
    use chunk_sync::terrain::Tile;

    #[test]
    fn births_in_water_are_moved_to_land_if_there_is_any() {
        let entity = EntityId::born_with_land(WORLD, IslandId(1), 3, 0);
        let pose = Creature::born(IslandId(1), 3, 0).state.pose;
        let at = |pose: Pose| pose.place(ChunkPos::new(0, 0));
        let mut tiles = [Tile::Water; TILES_PER_CHUNK];
        assert_eq!(on_land(&tiles, pose, entity), pose, "nowhere to go");
        for spit in [0, 15, 240, TILES_PER_CHUNK - 1] {
            tiles = [Tile::Cliff; TILES_PER_CHUNK];
            tiles[spit] = Tile::Sand;
            let moved = on_land(&tiles, pose, entity);
            assert_eq!(tile_in_chunk(&tiles, at(moved)), Tile::Sand, "tile {spit}");
            assert_eq!(moved.heading(), pose.heading());
        }
        tiles = [Tile::Grass; TILES_PER_CHUNK];
        assert_eq!(on_land(&tiles, pose, entity), pose, "it stood on land already");
    }
}
