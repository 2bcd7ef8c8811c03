//! One partition as the auditor sees it: who holds what by its documents, what is pending, what stands where; and what
//! is wrong in it alone. Made from serialised documents by `record`; asks nobody.

use std::collections::BTreeMap;

use chunk_sync::store::{Document, Name, PartitionKey};
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::Xxh3;

use super::accounts::Held;
use super::finding::Finding;
use super::record::{
    Back, Bag, Cell, Chunk, Covered, Decided, Estate, Ground, Holder, Items, Out, Site, State, Structure,
    Suspended, Tile, Trade, Versioned, edges_of, version_of,
};

/// A transfer that left and is not cleared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pending {
    /// Its name.
    pub(crate) id: String,
    /// Where it goes.
    pub(crate) to: String,
    /// What it brings.
    pub(crate) items: Held,
}

/// A structure of its anchor chunk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Standing {
    /// Its name.
    pub(crate) id: String,
    /// Its kind.
    pub(crate) kind: String,
    /// How far it is.
    pub(crate) state: State,
    /// The tiles that it covers: chunk, cell, tile in it. None of a kind that isn't known here.
    pub(crate) tiles: Vec<(Chunk, u8, u8)>,
    /// What was paid for it.
    paid: Held,
}

/// What matters of a partition.
#[derive(Default)]
pub(crate) struct Part {
    /// Changes with every change of a document that matters.
    pub(crate) print: u128,
    /// Who holds what here, transfers left out.
    pub(crate) held: Option<(Holder, Held)>,
    /// Whether all of it but this is in an archive.
    pub(crate) suspended: bool,
    /// What is in the structures that stand here.
    pub(crate) built: Vec<(Holder, Held)>,
    /// Transfers that left here.
    pub(crate) pending: Vec<Pending>,
    /// Decisions that are remembered here, by name, and whether each was accepted.
    pub(crate) decided: BTreeMap<String, bool>,
    /// Structures that are anchored here.
    pub(crate) structures: Vec<Standing>,
    /// Covered tiles: cell, and what covers which of its tiles.
    pub(crate) covered: Vec<(u8, Covered)>,
    /// The chunk's copy of its estate.
    pub(crate) estate: Option<Estate>,
    /// What is wrong with it alone.
    pub(crate) wrong: Vec<Finding>,
}

impl Part {
    /// Everybody who holds something here, transfers left out.
    pub(crate) fn holders(&self) -> impl Iterator<Item = &(Holder, Held)> {
        self.held.iter().chain(&self.built)
    }
}

/// The place of a game's partition: its key without the world; `None` for what is not the game's.
pub(crate) fn place_of(key: &PartitionKey) -> Option<String> {
    let text = key.to_string();
    let (_, place) = text.split_once('/')?;
    let sort = place.split_once('/')?.0;
    matches!(sort, "player" | "chunk" | "trade").then(|| place.to_owned())
}

/// The island and position of a chunk's place.
pub(crate) fn chunk_of(place: &str) -> Option<(u32, Chunk)> {
    let mut parts = place.strip_prefix("chunk/")?.splitn(3, '/');
    let island = parts.next()?.parse().ok()?;
    Some((island, Chunk { x: parts.next()?.parse().ok()?, y: parts.next()?.parse().ok()? }))
}

/// The place of a chunk.
pub(crate) fn place_of_chunk(island: u32, chunk: Chunk) -> String {
    format!("chunk/{island}/{}/{}", chunk.x, chunk.y)
}

/// Tiles along a chunk's edge and a cell's.
const CHUNK_TILES: i32 = 16;
const CELL_TILES: i32 = 4;

/// The cell of a chunk that a tile is in, and the tile's number there.
fn cell_of(tile: Tile) -> (u8, u8) {
    let (x, y) = (tile.x.rem_euclid(CHUNK_TILES), tile.y.rem_euclid(CHUNK_TILES));
    let cell = y / CELL_TILES * (CHUNK_TILES / CELL_TILES) + x / CELL_TILES;
    (cell as u8, (y % CELL_TILES * CELL_TILES + x % CELL_TILES) as u8)
}

/// The chunk that a tile is in.
fn chunk_under(tile: Tile) -> Chunk {
    Chunk { x: tile.x.div_euclid(CHUNK_TILES) as i16, y: tile.y.div_euclid(CHUNK_TILES) as i16 }
}

/// The tiles that a site covers.
fn tiles_of(site: &Site) -> Vec<(Chunk, u8, u8)> {
    let (east, north) = match (edges_of(&site.kind).unwrap_or((0, 0)), site.turned) {
        ((east, north), false) => (east, north),
        ((east, north), true) => (north, east),
    };
    let tiles = (0..north).flat_map(|y| (0..east).map(move |x| (x, y)));
    let tile = |(x, y)| {
        let at = Tile { x: site.corner.x.saturating_add(x), y: site.corner.y.saturating_add(y) };
        let (cell, tile) = cell_of(at);
        (chunk_under(at), cell, tile)
    };
    tiles.map(tile).collect()
}

/// A fingerprint of the documents that matter.
pub(crate) fn print_of(docs: &BTreeMap<Name, Document>) -> u128 {
    let mut hash = Xxh3::new();
    for (name, document) in docs {
        let text = name.as_str();
        if version_of(text.split('/').next().unwrap_or(text)).is_some() {
            hash.update(text.as_bytes());
            hash.update(&[0]);
            hash.update(&document.cas.0.to_le_bytes());
        }
    }
    hash.digest128()
}

struct Look<'a> {
    place: &'a str,
    part: Part,
    bag_room: Held,
    ground_room: Held,
    sending: u32,
    /// What pending transfers say that room is kept for.
    bag_kept: Held,
    ground_kept: Held,
    /// What is on its way back from structures that leave.
    refunds: BTreeMap<String, Held>,
}

/// Looks at the documents of a game's partition.
pub(crate) fn look(place: &str, docs: &BTreeMap<Name, Document>) -> Part {
    let part = Part { print: print_of(docs), ..Part::default() };
    let mut look = Look {
        place,
        part,
        bag_room: Held::new(),
        ground_room: Held::new(),
        sending: 0,
        bag_kept: Held::new(),
        ground_kept: Held::new(),
        refunds: BTreeMap::new(),
    };
    look.part.held = holder_of(place).map(|holder| (holder, Held::new()));
    for (name, document) in docs {
        look.document(name.as_str(), &document.value);
    }
    look.rooms();
    look.built();
    look.part
}

fn holder_of(place: &str) -> Option<Holder> {
    if let Some((island, chunk)) = chunk_of(place) {
        return Some(Holder::Ground(island, chunk));
    }
    match place.split_once('/')? {
        ("player", player) => u64::from_str_radix(player, 16).ok().map(Holder::Player),
        ("trade", trade) => Some(Holder::Trade(trade.to_owned())),
        _ => None,
    }
}

fn add(held: &mut Held, items: &Items) {
    for (kind, count) in items.iter().filter(|(_, count)| **count > 0) {
        *held.entry(kind.clone()).or_default() += i64::from(*count);
    }
}

impl Look<'_> {
    /// Tells what is wrong with `about`.
    fn wrong(&mut self, about: &str, text: &str) {
        let place = self.place;
        self.part.wrong.push(Finding::new(place, about, format!("{place}: {text}")));
    }

    fn holds(&mut self, items: &Items) {
        if let Some((_, held)) = &mut self.part.held {
            add(held, items);
        }
    }

    fn document(&mut self, name: &str, value: &[u8]) {
        let (sort, rest) = name.split_once('/').unwrap_or((name, ""));
        let Some(known) = version_of(sort) else { return };
        match rmp_serde::from_slice::<Versioned>(value) {
            Ok(Versioned { v }) if v <= known => {}
            Ok(Versioned { v }) => {
                return self
                    .wrong(name, &format!("document {name} has version {v}, which is not known here"));
            }
            Err(_) => return self.wrong(name, &format!("document {name} is damaged")),
        }
        if self.read(sort, rest, value).is_none() {
            self.wrong(name, &format!("document {name} is damaged"));
        }
    }

    /// Takes a document in; `None` when it isn't what its name says.
    fn read(&mut self, sort: &str, rest: &str, value: &[u8]) -> Option<()> {
        match sort {
            "bag" => {
                let bag: Bag = decode(value)?;
                self.holds(&bag.items);
                add(&mut self.bag_room, &bag.held);
            }
            "ground" => {
                let ground: Ground = decode(value)?;
                for stack in ground.stacks {
                    self.holds(&Items::from([(stack.item.clone(), stack.count)]));
                    add(
                        &mut self.ground_room,
                        &Items::from([(format!("{} on cell {rest}", stack.item), stack.held)]),
                    );
                }
            }
            "trade" => {
                let trade: Trade = decode(value)?;
                if trade.state == "open" {
                    self.holds(&trade.give);
                }
                trade.owed.iter().for_each(|owed| self.holds(&owed.items));
                self.sending = trade.sending;
            }
            "out" => self.pending(rest, decode(value)?),
            "in" => {
                let decided: Decided = decode(value)?;
                self.part.decided.insert(rest.to_owned(), decided.refused.is_none());
                if sent_by(rest).is_some_and(|sender| sender != decided.from) {
                    let text = format!("the decision on {rest} is on what {} sent", decided.from);
                    self.wrong(rest, &text);
                }
            }
            "structure" => self.structure(rest, decode(value)?),
            "cell" => {
                let (cell, record): (u8, Cell) = (rest.parse().ok()?, decode(value)?);
                for (at, covered) in record.tiles.iter().enumerate() {
                    if record.tiles[..at].iter().any(|other| other.tile == covered.tile) {
                        let text = format!("tile {} of cell {cell} is covered twice", covered.tile);
                        self.wrong(&text, &text);
                    }
                }
                self.part.covered.extend(record.tiles.into_iter().map(|covered| (cell, covered)));
            }
            "estate" => self.part.estate = Some(decode(value)?),
            "suspended" => {
                let mark: Suspended = decode(value)?;
                self.part.suspended = true;
                if let Some((_, held)) = &mut self.part.held {
                    mark.holds.into_iter().for_each(|(kind, count)| *held.entry(kind).or_default() += count);
                }
            }
            _ => {}
        }
        Some(())
    }

    fn pending(&mut self, id: &str, out: Out) {
        if out.from != self.place || sent_by(id).is_none_or(|sender| sender != self.place) {
            self.wrong(id, &format!("the pending transfer {id} was sent by {}", out.from));
        }
        let back = out.back;
        let items = out.cargo.items();
        match back {
            Back::Bag {} => add(&mut self.bag_kept, &items),
            Back::Ground { cell } => {
                let named = items.iter().map(|(kind, count)| (format!("{kind} on cell {cell}"), *count));
                add(&mut self.ground_kept, &named.collect());
            }
            Back::Demolish { site } => add(self.refunds.entry(site.id).or_default(), &items),
            _ => {}
        }
        let mut held = Held::new();
        add(&mut held, &items);
        self.part.pending.push(Pending { id: id.to_owned(), to: out.to, items: held });
    }

    fn structure(&mut self, id: &str, structure: Structure) {
        let Structure { site, state } = structure;
        if site.id != id || place_of_chunk(site.island, chunk_under(site.corner)) != self.place {
            self.wrong(id, &format!("structure {id} belongs elsewhere"));
        }
        if edges_of(&site.kind).is_none() {
            self.wrong(id, &format!("structure {id} is a {}, which is not known here", site.kind));
        }
        let tiles = tiles_of(&site);
        let mut paid = Held::new();
        add(&mut paid, &site.paid);
        self.part.structures.push(Standing { id: id.to_owned(), kind: site.kind, state, tiles, paid });
    }

    /// A structure that stands holds what was paid for it, less what is on its way back.
    fn built(&mut self) {
        let Some((island, chunk)) = chunk_of(self.place) else { return };
        for structure in &self.part.structures {
            let mut held = structure.paid.clone();
            match structure.state {
                State::Standing => {}
                State::Leaving => {
                    for (kind, count) in self.refunds.get(&structure.id).into_iter().flatten() {
                        *held.entry(kind.clone()).or_default() -= count;
                    }
                    held.retain(|_, count| *count != 0);
                }
                State::Raising { .. } | State::Falling {} => continue,
            }
            self.part.built.push((Holder::Structure(island, chunk, structure.id.clone()), held));
        }
    }

    /// Room that is kept is kept for something that is under way, and the other way round.
    fn rooms(&mut self) {
        let bag = (self.bag_room.clone(), self.bag_kept.clone());
        let ground = (self.ground_room.clone(), self.ground_kept.clone());
        for (what, (room, kept)) in [("the bag", bag), ("the ground", ground)] {
            if room != kept {
                let (room, kept) = (super::accounts::shown(&room), super::accounts::shown(&kept));
                let text = format!("{what} keeps room for {room}, but {kept} is under way from there");
                self.wrong(what, &text);
            }
        }
        let pending = self.part.pending.len();
        if self.place.starts_with("trade/") && self.sending as usize != pending {
            let text = format!("the trade counts {} transfers under way; there are {pending}", self.sending);
            self.wrong("sending", &text);
        }
    }
}

fn decode<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    rmp_serde::from_slice(value).ok()
}

/// Chunks along an island's edge, as transfers' names count them.
const ISLAND_CHUNKS: u8 = 16;

/// The partition that a transfer's name says it was sent by; `None` when it is no transfer's name.
pub(crate) fn sent_by(id: &str) -> Option<String> {
    let mut parts = id.rsplitn(3, '.');
    let (_step, sender, act) = (parts.next()?, parts.next()?, parts.next()?);
    let mut names = act.split('.');
    let (player, _epoch) = (names.next()?, names.next()?);
    match sender {
        "p" => Some(format!("player/{player}")),
        "t" => Some(format!("trade/{act}")),
        chunk => {
            let (chunk, island): (u8, u32) =
                (chunk.parse().ok()?, u32::from_str_radix(names.next()?, 36).ok()?);
            let (x, y) = (i16::from(chunk % ISLAND_CHUNKS), i16::from(chunk / ISLAND_CHUNKS));
            Some(place_of_chunk(island, Chunk { x, y }))
        }
    }
}
