//! What must be true of a whole world: documents against books, transfers against decisions, land against structures,
//! indexes against documents. Pure functions over what one round of the complete audit read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use super::accounts::{Held, shown};
use super::complete::World;
use super::finding::Finding;
use super::part::{Part, Standing, chunk_of, place_of_chunk, sent_by};
use super::record::{Chunk, Covered, Estate, Holder, State};

/// Something that can't be right, and the partitions that it rests on.
pub(super) struct Found {
    /// What, with names.
    pub(super) finding: Finding,
    /// Where: it counts only when none of these changed meanwhile.
    pub(super) rests_on: RestsOn,
}

/// What a finding rests on.
pub(super) enum RestsOn {
    /// These partitions.
    Places(Vec<String>),
    /// All of them.
    Everything,
}

impl Found {
    /// Whether it could be seen in a round in which these partitions changed.
    pub(super) fn is_seen(&self, moving: &BTreeSet<String>) -> bool {
        match &self.rests_on {
            RestsOn::Places(places) => !places.iter().any(|place| moving.contains(place)),
            RestsOn::Everything => moving.is_empty(),
        }
    }
}

/// The kind of structure that claims land.
const TOTEM: &str = "totem";

/// Everything that is wrong with partitions that hold still.
pub(super) fn check(world: &World) -> Vec<Found> {
    let mut checks = Checks { world, found: Vec::new() };
    for finding in world.books.iter().chain(&world.damaged) {
        checks.note(finding.clone(), RestsOn::Places(Vec::new()));
    }
    for (place, part) in &world.parts {
        for finding in &part.wrong {
            checks.note(finding.clone(), RestsOn::Places(vec![place.clone()]));
        }
    }
    checks.holders();
    checks.transfers();
    checks.totals();
    for (place, part) in &world.parts {
        if let Some((island, chunk)) = chunk_of(place) {
            checks.tiles(place, island, chunk, part);
            checks.estate_of_chunk(place, island, chunk, part);
            for structure in &part.structures {
                checks.ground(place, island, chunk, structure);
                checks.totem(place, island, chunk, part, structure);
            }
        }
    }
    checks.indexes();
    checks.found
}

struct Checks<'a> {
    world: &'a World,
    found: Vec<Found>,
}

impl Checks<'_> {
    fn note(&mut self, finding: Finding, rests_on: RestsOn) {
        let found = Found { finding, rests_on };
        // Of what can't be read nothing else is said.
        let is_read = found.is_seen(&self.world.unread) && !self.may_be_unread(&found);
        if found.is_seen(&self.world.moving) && is_read {
            self.found.push(found);
        }
    }

    /// Whether it rests on a partition that isn't there, while one that can't be read has no name left and may be it.
    fn may_be_unread(&self, found: &Found) -> bool {
        let RestsOn::Places(places) = &found.rests_on else { return false };
        self.world.unread.contains("") && !places.iter().all(|place| self.world.parts.contains_key(place))
    }

    /// Tells what `check` says of `about`.
    fn tell(&mut self, check: &str, about: impl Display, text: String, places: impl Into<Vec<String>>) {
        self.note(Finding::new(check, about, text), RestsOn::Places(places.into()));
    }

    /// Everybody holds what the books say, and is there.
    fn holders(&mut self) {
        let mut seen = BTreeSet::new();
        for (place, part) in &self.world.parts {
            for (holder, held) in part.holders() {
                seen.insert(holder.clone());
                let booked = self.world.accounts.held(holder);
                if booked != *held && !self.is_unbooked(holder) {
                    let (held, booked) = (shown(held), shown(&booked));
                    let text = format!("{holder} holds {held}; by the books it is {booked}");
                    self.tell("holds", holder, text, [place.clone()]);
                }
            }
        }
        for (holder, booked) in self.world.accounts.holders() {
            if let Some(place) = holder.partition()
                && !seen.contains(&holder)
                && !booked.is_empty()
            {
                let text = format!("{holder} is not there; by the books it holds {}", shown(booked));
                self.tell("is there", holder, text, [place]);
            }
        }
    }

    fn is_unbooked(&self, holder: &Holder) -> bool {
        matches!(holder, Holder::Structure(..)) && self.world.accounts.is_unbooked(holder)
    }

    /// A pending transfer holds its items until it is accepted; one that is not pending holds none.
    fn transfers(&mut self) {
        let mut pending = BTreeSet::new();
        for (place, part) in &self.world.parts {
            for out in &part.pending {
                pending.insert(out.id.as_str());
                let taken = self.world.is_taken(&out.id, &out.to);
                let held = if taken { Held::new() } else { out.items.clone() };
                let booked = self.world.accounts.held(&Holder::Transfer(out.id.clone()));
                if held != booked {
                    let (held, booked) = (shown(&held), shown(&booked));
                    let text = format!("transfer {} holds {held}; by the books it is {booked}", out.id);
                    self.tell("carries", &out.id, text, [place.clone(), out.to.clone()]);
                }
            }
        }
        for (holder, booked) in self.world.accounts.holders() {
            if let Holder::Transfer(id) = &holder
                && !pending.contains(id.as_str())
                && !booked.is_empty()
            {
                let text = format!("transfer {id} is over; by the books it still holds {}", shown(booked));
                let places: Vec<String> = sent_by(id).into_iter().collect();
                self.tell("is over", id, text, places);
            }
        }
    }

    /// What was made and not used up is held by somebody.
    fn totals(&mut self) {
        let mut held = Held::new();
        let mut add = |items: &Held| {
            items.iter().for_each(|(kind, count)| *held.entry(kind.clone()).or_default() += count);
        };
        for part in self.world.parts.values() {
            let booked = part.holders().filter(|(holder, _)| !self.is_unbooked(holder));
            booked.for_each(|(_, items)| add(items));
            let waits = part.pending.iter().filter(|out| !self.world.is_taken(&out.id, &out.to));
            waits.for_each(|out| add(&out.items));
        }
        let (made, used_up) = self.world.accounts.turnover();
        let kinds: BTreeSet<&String> = made.keys().chain(used_up.keys()).chain(held.keys()).collect();
        let count = |of: &BTreeMap<String, u64>, kind: &String| of.get(kind).copied().unwrap_or(0) as i64;
        let mut found = Vec::new();
        for kind in kinds {
            let (made, used_up) = (count(made, kind), count(used_up, kind));
            let there = held.get(kind).copied().unwrap_or(0);
            if made - used_up != there {
                let text = format!("{kind}: {made} made, {used_up} used up, but {there} are there");
                found.push(Finding::new("total", kind, text));
            }
        }
        found.into_iter().for_each(|finding| self.note(finding, RestsOn::Everything));
    }

    /// Each covered tile belongs to a structure that is there, and that has it.
    fn tiles(&mut self, place: &str, island: u32, chunk: Chunk, part: &Part) {
        for (cell, covered) in &part.covered {
            let anchor = place_of_chunk(island, covered.anchor);
            let owner = self.world.parts.get(&anchor);
            let owner = owner.and_then(|owner| owner.structures.iter().find(|there| there.id == covered.by));
            let why = match owner {
                None => "which isn't there",
                Some(owner) if !owner.tiles.contains(&(chunk, *cell, covered.tile)) => "which isn't so large",
                Some(_) => continue,
            };
            let Covered { tile, by, .. } = covered;
            let text = format!(
                "{place}: tile {tile} of cell {cell} is covered by structure {by} of {anchor}, {why}"
            );
            let about = format!("{place} {cell} {tile}");
            self.tell("covered", about, text, [place.to_owned(), anchor]);
        }
    }

    /// A structure covers its ground, also over a chunk's border: all of it while it stands, in the chunks that agreed
    /// while it is raised.
    fn ground(&mut self, place: &str, island: u32, chunk: Chunk, structure: &Standing) {
        let taken = |tile: &Chunk| match &structure.state {
            State::Standing | State::Leaving => true,
            State::Raising { held } => *tile == chunk || held.contains(tile),
            State::Falling {} => false,
        };
        let chunks: BTreeSet<Chunk> =
            structure.tiles.iter().map(|(chunk, ..)| *chunk).filter(taken).collect();
        for there in chunks {
            let other = place_of_chunk(island, there);
            let covered = self.world.parts.get(&other).map_or(&[][..], |part| &part.covered);
            let is_bare = |(at, cell, tile): &&(Chunk, u8, u8)| {
                let by_it = |(of, covered): &(u8, Covered)| {
                    (*of, covered.tile) == (*cell, *tile) && covered.by == structure.id
                };
                *at == there && !covered.iter().any(by_it)
            };
            let bare = structure.tiles.iter().filter(is_bare).count();
            if bare > 0 {
                let id = &structure.id;
                let text =
                    format!("{place}: structure {id} does not cover {bare} tiles of its ground in {other}");
                self.tell("ground", format!("{id} {other}"), text, [place.to_owned(), other.clone()]);
            }
        }
    }

    /// A totem has its estate in every chunk of it.
    fn totem(&mut self, place: &str, island: u32, chunk: Chunk, part: &Part, structure: &Standing) {
        if !matches!(structure.state, State::Standing | State::Leaving) {
            return;
        }
        let id = &structure.id;
        if structure.kind != TOTEM {
            return;
        }
        let Some(estate) = part.estate.as_ref().filter(|estate| estate.id == *id && estate.home == chunk)
        else {
            let text = format!("{place}: totem {id} stands without its estate");
            return self.tell("estate", id, text, [place.to_owned()]);
        };
        for other in &estate.others {
            let there = place_of_chunk(island, *other);
            let copy = self.world.parts.get(&there).and_then(|part| part.estate.as_ref());
            if let Some(text) = copy_wrong(estate, *other, copy) {
                let about = format!("{id} {there}");
                self.tell("copy", about, format!("{there}: {text}"), [place.to_owned(), there.clone()]);
            }
        }
    }

    /// A chunk's copy of an estate belongs to a totem that is there and claims the chunk.
    fn estate_of_chunk(&mut self, place: &str, island: u32, chunk: Chunk, part: &Part) {
        let Some(estate) = &part.estate else { return };
        let home = place_of_chunk(island, estate.home);
        let totem =
            self.world.parts.get(&home).and_then(|part| part.structures.iter().find(|s| s.id == estate.id));
        let claimed = chunk == estate.home || estate.others.contains(&chunk);
        if totem.is_none_or(|totem| totem.kind != TOTEM) || !claimed {
            let text = format!("{place}: belongs to estate {}, whose totem does not claim it", estate.id);
            self.tell("claimed", place, text, [place.to_owned(), home]);
        }
    }

    /// The indexes say what the documents say.
    fn indexes(&mut self) {
        let mut pending = BTreeMap::new();
        let mut totems = BTreeMap::new();
        for (place, part) in &self.world.parts {
            pending.extend(part.pending.iter().map(|out| (out.id.clone(), place.clone())));
            let claims = part.structures.iter().filter(|structure| structure.kind == TOTEM);
            totems.extend(claims.map(|totem| (totem.id.clone(), place.clone())));
        }
        let world = self.world;
        for (what, index, docs) in
            [("pending", &world.pending, &pending), ("estates", &world.estates, &totems)]
        {
            let listed: BTreeSet<&String> = index.iter().map(|(key, _)| key).collect();
            for (name, place) in docs.iter().filter(|(name, _)| !listed.contains(name)) {
                let text = format!("the index {what} lacks {name} of {place}");
                self.tell(what, name, text, [place.clone()]);
            }
            for (name, value) in index.iter().filter(|(name, _)| !docs.contains_key(name)) {
                let place = if what == "pending" { sent_by(name) } else { Some(value.clone()) };
                let places: Vec<String> = place.into_iter().collect();
                self.tell(what, name, format!("the index {what} has {name}, which isn't there"), places);
            }
        }
    }
}

fn copy_wrong(estate: &Estate, chunk: Chunk, copy: Option<&Estate>) -> Option<String> {
    let id = &estate.id;
    let Some(copy) = copy.filter(|copy| copy.id == *id) else {
        return Some(format!("estate {id} claims it, but it has no copy"));
    };
    if copy.owner != estate.owner {
        return Some(format!("its copy of estate {id} has another owner"));
    }
    let behind = estate.behind.contains(&chunk);
    (copy.version > estate.version || (copy.version < estate.version && !behind))
        .then(|| format!("its copy of estate {id} is of version {}, not {}", copy.version, estate.version))
}
