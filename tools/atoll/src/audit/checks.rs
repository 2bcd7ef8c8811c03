//! What must be true of a whole world: documents against books, transfers against decisions, land against structures,
//! indexes against documents. Pure functions over what one round of the complete audit read.

use std::collections::{BTreeMap, BTreeSet};

use super::accounts::{Held, shown};
use super::complete::World;
use super::part::{Part, Standing, chunk_of, place_of_chunk, sent_by};
use super::record::{Chunk, Estate, Holder, State};

/// Something that can't be right, and the partitions that it rests on.
pub(super) struct Found {
    /// What, with names.
    pub(super) text: String,
    /// Where: it counts only when none of these changed meanwhile.
    pub(super) places: Vec<String>,
}

/// The kind of structure that claims land.
const TOTEM: &str = "totem";

/// Everything that is wrong with partitions that hold still.
pub(super) fn check(world: &World) -> Vec<Found> {
    let mut checks = Checks { world, found: Vec::new() };
    for text in &world.books {
        checks.tell(text.clone(), []);
    }
    for (island, why) in &world.unread {
        checks.tell(
            format!("island {island} is suspended, and what stands there can't be looked at: {why}"),
            [],
        );
    }
    for (place, part) in &world.parts {
        for text in &part.wrong {
            checks.tell(text.clone(), [place.clone()]);
        }
    }
    checks.holders();
    checks.transfers();
    checks.totals();
    for (place, part) in &world.parts {
        if let Some((island, chunk)) = chunk_of(place) {
            checks.tiles(place, island, part);
            checks.estate_of_chunk(place, island, chunk, part);
            part.structures
                .iter()
                .for_each(|structure| checks.structure(place, island, chunk, part, structure));
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
    fn tell(&mut self, text: String, places: impl Into<Vec<String>>) {
        let places = places.into();
        if !places.iter().any(|place| self.world.moving.contains(place)) {
            self.found.push(Found { text, places });
        }
    }

    /// Each holder has in documents what the books say.
    fn holders(&mut self) {
        let mut seen = BTreeSet::new();
        for (place, part) in &self.world.parts {
            let Some((holder, held)) = &part.held else { continue };
            let booked = self.world.accounts.held(holder);
            seen.insert(holder.clone());
            if booked != *held {
                let (held, booked) = (shown(held), shown(&booked));
                self.tell(format!("{holder} holds {held}; by the books it is {booked}"), [place.clone()]);
            }
        }
        for (holder, booked) in self.world.accounts.holders() {
            if let Some(place) = holder.partition()
                && !seen.contains(&holder)
                && !booked.is_empty()
            {
                self.tell(format!("{holder} is not there; by the books it holds {}", shown(booked)), [place]);
            }
        }
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
                    self.tell(text, [place.clone(), out.to.clone()]);
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
                self.tell(text, places);
            }
        }
    }

    /// What was made and not used up is held by somebody.
    fn totals(&mut self) {
        if !self.world.moving.is_empty() {
            return;
        }
        let mut held = Held::new();
        let mut add = |items: &Held| {
            items.iter().for_each(|(kind, count)| *held.entry(kind.clone()).or_default() += count);
        };
        for part in self.world.parts.values() {
            part.held.iter().for_each(|(_, items)| add(items));
            let waits = part.pending.iter().filter(|out| !self.world.is_taken(&out.id, &out.to));
            waits.for_each(|out| add(&out.items));
        }
        let (made, used_up) = self.world.accounts.turnover();
        let kinds: BTreeSet<&String> = made.keys().chain(used_up.keys()).chain(held.keys()).collect();
        let count = |of: &BTreeMap<String, u64>, kind: &String| of.get(kind).copied().unwrap_or(0) as i64;
        let mut texts = Vec::new();
        for kind in kinds {
            let (made, used_up) = (count(made, kind), count(used_up, kind));
            let there = held.get(kind).copied().unwrap_or(0);
            if made - used_up != there {
                texts.push(format!("{kind}: {made} made, {used_up} used up, but {there} are there"));
            }
        }
        texts.into_iter().for_each(|text| self.tell(text, []));
    }

    /// Each covered tile belongs to a structure that is there.
    fn tiles(&mut self, place: &str, island: u32, part: &Part) {
        for (cell, covered) in &part.covered {
            let anchor = place_of_chunk(island, covered.anchor);
            let owner = self.world.parts.get(&anchor);
            if !owner.is_some_and(|owner| owner.structures.iter().any(|there| there.id == covered.by)) {
                let text = format!(
                    "{place}: tile {} of cell {cell} is covered by structure {} of {anchor}, which isn't there",
                    covered.tile, covered.by
                );
                self.tell(text, [place.to_owned(), anchor]);
            }
        }
    }

    /// A structure that stands covers the tile of its corner; a totem has its estate in every chunk of it.
    fn structure(&mut self, place: &str, island: u32, chunk: Chunk, part: &Part, structure: &Standing) {
        if !matches!(structure.state, State::Standing | State::Leaving) {
            return;
        }
        let id = &structure.id;
        let covers = |(cell, covered): &(u8, super::record::Covered)| {
            (*cell, covered.tile) == structure.corner && covered.by == *id
        };
        if !part.covered.iter().any(covers) {
            self.tell(
                format!("{place}: structure {id} stands, but does not cover its ground"),
                [place.to_owned()],
            );
        }
        if structure.kind != TOTEM {
            return;
        }
        let Some(estate) = part.estate.as_ref().filter(|estate| estate.id == *id && estate.home == chunk)
        else {
            return self.tell(format!("{place}: totem {id} stands without its estate"), [place.to_owned()]);
        };
        for other in &estate.others {
            let there = place_of_chunk(island, *other);
            let copy = self.world.parts.get(&there).and_then(|part| part.estate.as_ref());
            if let Some(text) = copy_wrong(estate, *other, copy) {
                self.tell(format!("{there}: {text}"), [place.to_owned(), there]);
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
            self.tell(text, [place.to_owned(), home]);
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
                self.tell(format!("the index {what} lacks {name} of {place}"), [place.clone()]);
            }
            for (name, value) in index.iter().filter(|(name, _)| !docs.contains_key(name)) {
                let place = if what == "pending" { sent_by(name) } else { Some(value.clone()) };
                let island = place.as_deref().and_then(chunk_of).map(|(island, _)| island);
                if island.is_some_and(|island| world.unread.contains_key(&island)) {
                    continue;
                }
                let places: Vec<String> = place.into_iter().collect();
                self.tell(format!("the index {what} has {name}, which isn't there"), places);
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
