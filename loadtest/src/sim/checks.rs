//! What must be true: all the time (one owner, caps), and once the last fault is over and settled (everybody agrees).
//!
//! Part of the cluster. It looks into every core and changes none.

use super::bot::Habit;
use super::cluster::Cluster;
use super::events::{Event, Process, Start};
use super::host::Owned;
use super::limits::{DISAGREE_MS_MAX, LOOK_EVERY_MS, NAMED_MAX, SETTLE_ACTS_MS, SETTLE_MS, WATCH_MS};
use chunk_sync::blocks::StreamId;
use chunk_sync::ids::{EntityId, Epoch, IslandId, Source};
use chunk_sync::interest::Rate;
use chunk_sync::limits::{CREATURES_PER_CHUNK, ISLAND_CHUNKS, NEAR_RING, QUANTA_PER_M};
use chunk_sync::place::{ChunkPos, Place};
use chunk_sync::random::rendezvous;
use chunk_sync::records::{ClaimsRecord, DOC_CLAIMS, WORLD, decode};
use chunk_sync::store::{PartitionKey, StoreAnswer, StoreOp};
use std::collections::{BTreeMap, BTreeSet};
use world_node::core::ports::Standing;

/// How long the world may still be disturbed after its last fault, by nodes that were fenced and start again.
const AFTERMATH_MS_MAX: u64 = 60_000;
/// A creature walks on while its steps travel: so far may two replicas be apart.
const CREATURE_DRIFT_QUANTA: i64 = 2 * QUANTA_PER_M as i64;
/// Who stands still is where its owner says.
const PLAYER_DRIFT_QUANTA: i64 = 0;

/// An entity of somebody's in some epoch.
type Listing = (Source, EntityId, Epoch);
/// Who owns what, everywhere.
type Owners = BTreeMap<(IslandId, ChunkPos), Vec<(Source, Owned)>>;

/// What was found so far.
#[derive(Debug)]
pub(super) struct Watch {
    pub broken: Option<String>,
    pub done: bool,
    settle_from_ms: u64,
    last_ms: u64,
    calm_from_ms: u64,
    /// Disagreements, and since when.
    open: BTreeMap<String, u64>,
    agreed_ms: Option<u64>,
}

impl Watch {
    pub(super) fn new(end_ms: u64) -> Self {
        Self {
            broken: None,
            done: false,
            settle_from_ms: end_ms,
            last_ms: end_ms + AFTERMATH_MS_MAX,
            calm_from_ms: 0,
            open: BTreeMap::new(),
            agreed_ms: None,
        }
    }

    /// A property broke; the first one counts.
    pub(super) fn fail(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    /// A process started or ended: settling begins again, if the faults are over.
    pub(super) fn disturbed(&mut self, now_ms: u64) {
        if now_ms > self.settle_from_ms {
            self.settle_from_ms = now_ms;
            self.agreed_ms = None;
        }
        self.unsettle(now_ms);
    }

    /// Members are not in step until then, and for the time that mending takes.
    pub(super) fn unsettle(&mut self, until_ms: u64) {
        self.calm_from_ms = self.calm_from_ms.max(until_ms + SETTLE_MS);
    }

    /// Whether nothing has disturbed the members for a while.
    pub(super) fn is_calm(&self, now_ms: u64) -> bool {
        now_ms >= self.calm_from_ms
    }
}

impl Cluster {
    /// After a node's tick: nothing of its has another owner in the same epoch, and no island is over its cap.
    pub(super) fn check_owners(&mut self, at: usize) {
        let Some(host) = &self.nodes[at].host else { return };
        for (other, slot) in self.nodes.iter().enumerate().filter(|(other, _)| *other != at) {
            let Some(theirs) = &slot.host else { continue };
            for own in &host.owned {
                let key = |o: &Owned| (o.entity, o.epoch);
                if let Ok(found) = theirs.owned.binary_search_by_key(&key(own), key) {
                    let (node, other) = (Process::Node(at), Process::Node(other));
                    let found = theirs.owned[found];
                    return self
                        .watch
                        .fail(format!("two owners in one epoch: {node} has {own:?}, {other} has {found:?}"));
                }
            }
        }
        let hosts = self.nodes.iter().filter_map(|slot| slot.host.as_ref());
        let mut players: Vec<(IslandId, EntityId)> = hosts
            .flat_map(|host| &host.owned)
            .filter(|own| !own.entity.is_born_with_land())
            .map(|own| (own.island, own.entity))
            .collect();
        players.sort_unstable();
        players.dedup();
        for island in players.chunk_by(|a, b| a.0 == b.0) {
            self.totals.most_on_an_island = self.totals.most_on_an_island.max(island.len());
            if island.len() > self.policy.cap as usize {
                let (count, cap, island) = (island.len(), self.policy.cap, island[0].0);
                return self.watch.fail(format!("{count} players on island {island}, its cap is {cap}"));
            }
        }
    }

    /// After the last fault: compares everybody with everybody, and ends the run once that was watched for a while.
    pub(super) fn look(&mut self) {
        let (now_ms, from_ms) = (self.now_ms, self.watch.settle_from_ms);
        self.events.plan(now_ms + LOOK_EVERY_MS, Event::Look);
        let found = self.disagreements();
        if found.is_empty() {
            self.watch.agreed_ms.get_or_insert(now_ms);
        }
        let settle_ms = if self.setup.acts { SETTLE_ACTS_MS } else { SETTLE_MS };
        let settled = now_ms >= from_ms + settle_ms;
        let before = std::mem::take(&mut self.watch.open);
        for what in found {
            let since_ms = if settled { before.get(&what).copied().unwrap_or(now_ms) } else { now_ms };
            self.watch.open.insert(what, since_ms);
        }
        let lasting = self.watch.open.iter().filter(|(_, since)| now_ms - **since >= DISAGREE_MS_MAX);
        let lasting: Vec<&str> = lasting.map(|(what, _)| what.as_str()).collect();
        if !lasting.is_empty() {
            let (count, named) = (lasting.len(), lasting[..lasting.len().min(NAMED_MAX)].join("\n  "));
            return self.watch.fail(format!("{count} disagreements outlast the settling:\n  {named}"));
        }
        if now_ms >= from_ms + settle_ms + WATCH_MS {
            if let Some(wrong) = self.audit() {
                return self.watch.fail(wrong);
            }
            self.watch.done = true;
            let took_ms = self.watch.agreed_ms.unwrap_or(now_ms).saturating_sub(from_ms);
            self.totals.agreed_ms.push(took_ms);
            self.tell(&format!("all agree; it took {took_ms} ms"));
            self.last_counts();
        } else if now_ms > self.watch.last_ms {
            self.watch.fail("the cluster does not come to rest".to_owned());
        }
    }

    fn last_counts(&mut self) {
        for at in 0..self.nodes.len() {
            if let Some(host) = &self.nodes[at].host {
                self.totals.take_node(host.core.counters(), host.dropped);
            }
        }
    }

    fn disagreements(&mut self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let owners = self.owners();
        self.compare_nodes(&owners, &mut found);
        self.compare_clients(&owners, &mut found);
        self.compare_sessions(&mut found);
        self.compare_claims(&owners, &mut found);
        self.compare_documents(&mut found);
        found
    }

    fn owners(&self) -> Owners {
        let mut owners = Owners::new();
        for slot in &self.nodes {
            let Some(host) = slot.host.as_ref().filter(|host| host.core.standing() == Standing::Serving)
            else {
                continue;
            };
            for own in &host.owned {
                owners.entry((own.island, own.chunk)).or_default().push((slot.source, *own));
            }
        }
        owners
    }

    /// What a node shows of the others in the chunks that it takes is what they own there.
    fn compare_nodes(&self, owners: &Owners, found: &mut BTreeSet<String>) {
        for (at, slot) in self.nodes.iter().enumerate() {
            let Some(host) = &slot.host else { continue };
            let node = Process::Node(at);
            if host.core.standing() != Standing::Serving {
                found.insert(format!("{node} is {:?}", host.core.standing()));
                continue;
            }
            let mut shown: BTreeMap<(IslandId, ChunkPos), BTreeMap<Listing, Place>> = BTreeMap::new();
            for (island, chunk, source, entity, epoch, pose) in host.core.shown() {
                shown.entry((island, chunk)).or_default().insert((source, entity, epoch), pose.place(chunk));
            }
            for want in &host.wants {
                let seen = shown.remove(&(want.i, want.c)).unwrap_or_default();
                let there = owners.get(&(want.i, want.c)).map_or(&[][..], Vec::as_slice);
                let there: BTreeMap<Listing, Place> = there
                    .iter()
                    .filter(|(source, _)| *source != slot.source)
                    .map(|(source, own)| ((*source, own.entity, own.epoch), own.pose.place(own.chunk)))
                    .collect();
                let chunk = (want.i, want.c);
                let exact = want.m & StreamId::Motion(Rate::R1).bit() != 0;
                compare(&format!("{node} in {chunk:?}"), &seen, &there, |key| key.1, exact, found);
            }
            for (chunk, left) in shown.iter().filter(|(_, left)| !left.is_empty()) {
                found.insert(format!(
                    "{node} shows {:?} in {chunk:?}, which it doesn't take",
                    left.keys().next()
                ));
            }
        }
    }

    /// What a client sees near it is what there is.
    fn compare_clients(&self, owners: &Owners, found: &mut BTreeSet<String>) {
        for (at, bot) in self.bots.iter().enumerate() {
            let Some(island) = bot.inside.and(bot.island()).filter(|_| bot.habit != Habit::NeverReads) else {
                continue;
            };
            if self.is_stalled(at) {
                continue;
            }
            let near = |chunk: ChunkPos| bot.eyes.centre.ring(chunk) <= NEAR_RING;
            let seen: BTreeMap<(EntityId, Epoch), Place> = bot
                .eyes
                .replica
                .entities()
                .filter(|entity| near(entity.place.chunk()))
                .map(|entity| ((entity.id, entity.epoch), entity.place))
                .collect();
            let there: BTreeMap<(EntityId, Epoch), Place> = owners
                .iter()
                .filter(|((i, chunk), _)| *i == island && near(*chunk))
                .flat_map(|(_, all)| all)
                .map(|(_, own)| ((own.entity, own.epoch), own.pose.place(own.chunk)))
                .collect();
            compare(&format!("{} (bot {at})", bot.name), &seen, &there, |key| key.0, true, found);
        }
    }

    /// Who is inside has a session, every session has somebody inside, and nobody has two.
    fn compare_sessions(&self, found: &mut BTreeSet<String>) {
        let mut sessions: BTreeMap<EntityId, Vec<(Start, Epoch)>> = BTreeMap::new();
        for (at, slot) in self.nodes.iter().enumerate() {
            let Some(host) = &slot.host else { continue };
            let start = Start { process: Process::Node(at), nth: slot.nth };
            for own in host.owned.iter().filter(|own| !own.entity.is_born_with_land()) {
                sessions.entry(own.entity).or_default().push((start, own.epoch));
            }
        }
        let mut inside: BTreeSet<EntityId> = BTreeSet::new();
        for (at, bot) in self.bots.iter().enumerate() {
            let Some((place, client)) = bot.inside.zip(bot.client.as_ref()) else { continue };
            let Some(welcome) = client.welcome() else { continue };
            let entity = EntityId(welcome.player);
            let theirs = sessions.get(&entity).map_or(&[][..], Vec::as_slice);
            if !inside.insert(entity) || theirs != [(place.host, Epoch(welcome.epoch))] {
                let (host, epoch, name) = (place.host, welcome.epoch, &bot.name);
                found.insert(format!(
                    "{name} (bot {at}) is in at {host:?} with epoch {epoch}; sessions: {theirs:?}"
                ));
            }
        }
        for (entity, theirs) in sessions.iter().filter(|(entity, _)| !inside.contains(entity)) {
            found.insert(format!("nobody is behind the session of {entity}: {theirs:?}"));
        }
    }

    /// Every creature of a claimed chunk is there once, and belongs to the claimant that rendezvous picks.
    fn compare_claims(&mut self, owners: &Owners, found: &mut BTreeSet<String>) {
        let islands: BTreeSet<IslandId> = owners.keys().map(|(island, _)| *island).collect();
        let alive: BTreeSet<Source> =
            self.nodes.iter().filter(|slot| slot.host.is_some()).map(|slot| slot.source).collect();
        for island in islands {
            for index in 0..ISLAND_CHUNKS {
                let chunk = ChunkPos::from_index(index);
                let claimants = self.claimants(island, chunk);
                // What only the dead claim waits for the next who needs it.
                if !claimants.is_empty() && claimants.iter().all(|source| !alive.contains(source)) {
                    continue;
                }
                let there = owners.get(&(island, chunk)).map_or(&[][..], Vec::as_slice);
                for dead in claimants.iter().filter(|source| !alive.contains(source)) {
                    found.insert(format!("{dead} is gone and still claims {chunk:?} of island {island}"));
                }
                for nth in 0..CREATURES_PER_CHUNK {
                    let entity = EntityId::born_with_land(WORLD, island, index, nth);
                    let wanted = rendezvous(entity.0, claimants.iter().map(|source| source.0)).map(Source);
                    let has: Vec<Source> =
                        there.iter().filter(|(_, o)| o.entity == entity).map(|(s, _)| *s).collect();
                    if has != wanted.into_iter().collect::<Vec<_>>() {
                        found.insert(format!(
                            "creature {entity} of {chunk:?} should be {wanted:?}'s and is {has:?}'s"
                        ));
                    }
                }
            }
        }
    }

    fn claimants(&mut self, island: IslandId, chunk: ChunkPos) -> Vec<Source> {
        let op = StoreOp::Load { partition: PartitionKey::chunk(WORLD, island, chunk) };
        match self.store.peek(&op, self.now_ms) {
            StoreAnswer::Loaded(view) => {
                let record = view.doc(DOC_CLAIMS).and_then(|doc| decode::<ClaimsRecord>(doc));
                record.unwrap_or_default().claimants
            }
            _ => Vec::new(),
        }
    }
}

/// Notes in what `seen` differs from what is `there`: who, and if `exact` also where.
fn compare<K: Ord + std::fmt::Debug>(
    whose: &str,
    seen: &BTreeMap<K, Place>,
    there: &BTreeMap<K, Place>,
    entity: impl Fn(&K) -> EntityId,
    exact: bool,
    found: &mut BTreeSet<String>,
) {
    for key in seen.keys().filter(|key| !there.contains_key(key)) {
        found.insert(format!("{whose} sees {key:?}, which isn't there"));
    }
    for (key, place) in there {
        let Some(other) = seen.get(key) else {
            found.insert(format!("{whose} doesn't see {key:?}"));
            continue;
        };
        let drift = if entity(key).is_born_with_land() { CREATURE_DRIFT_QUANTA } else { PLAYER_DRIFT_QUANTA };
        if exact && place.distance_squared(*other) > drift * drift {
            found.insert(format!("{whose} sees {key:?} at another place"));
        }
    }
}
