//! Names of acts, transfers, partitions and documents. Each has exactly one spelling, which is how it is stored and
//! how it is serialised, so that it can be a key anywhere.

use super::limits::CELLS_PER_CHUNK;
use chunk_sync::ids::{Epoch, IslandId, PlayerId};
use chunk_sync::place::ChunkPos;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Write};
use std::str::FromStr;
use thiserror::Error;

/// A text that is no name of the wanted sort.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("not a name: {text:?}")]
pub struct NameError {
    /// The text.
    pub text: String,
}

/// One act of one player. It also names the one thing that the act may bring into being (a structure, a stack on the
/// ground, an estate, a trade), so that a resent act makes the same thing.
///
/// Epoch, island and number are the client's word: it says on every resend where it first asked. Only the partition
/// that remembers acts keeps them apart, so an id is unique in the act's home and not beyond. All acts that name things
/// have the player's partition as home, so these names are unique; a transfer's name needs its sender besides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ActId {
    /// Who acted.
    pub player: PlayerId,
    /// Epoch of the session in which the player first asked for it.
    pub epoch: Epoch,
    /// The island on which the player first asked for it. Chunks that the act speaks of are there.
    pub island: IslandId,
    /// The act's number in the session.
    pub act: u64,
}

/// One transfer. Step 0 is the act's own; higher ones are those that a structure, an estate or a trade sends on.
///
/// The sender is part of the name: a client may use one act id in two partitions that don't know of each other, and
/// what one of them sent must not be taken for what the other one did.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TransferId {
    /// The act that it belongs to, or that made the thing which sends it.
    pub act: ActId,
    /// The partition that sends it, as the act sees it.
    pub sender: Sender,
    /// Counts what that thing sent.
    pub step: u32,
}

/// Which partition sends a transfer. The act tells the rest, so that a name stays short: see [`TransferId::sent_by`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Sender {
    /// The player's who acted.
    Player,
    /// The chunk's with this number on the act's island.
    Chunk(u8),
    /// That of the trade which the act offered.
    Trade,
}

/// A partition of the game: the unit of atomic commit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Partition {
    /// A player's.
    Player(PlayerId),
    /// A chunk's.
    Chunk(IslandId, ChunkPos),
    /// A trade's, named by the act that offered it.
    Trade(ActId),
}

/// A document of a partition; the name tells what is in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum DocName {
    /// A player's inventory and stamina.
    Bag,
    /// Where a journey took a player.
    Placement,
    /// A resource of a chunk, by the number of its tile.
    Resource(u8),
    /// A structure, in its anchor chunk.
    Structure(ActId),
    /// What covers the tiles of a cell.
    Cell(u8),
    /// The chunk's copy of the estate that it belongs to.
    Estate,
    /// What lies on the ground of a cell.
    Ground(u8),
    /// A trade.
    Trade,
    /// A transfer that left here and is not cleared.
    Out(TransferId),
    /// What was decided here on a transfer.
    In(TransferId),
    /// How many decisions were forgotten here.
    Forgets,
}

impl fmt::Display for ActId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [epoch, island] = [self.epoch.0, self.island.0].map(|number| Short(u64::from(number)));
        write!(f, "{}.{epoch}.{island}.{}", self.player, Short(self.act))
    }
}

/// A number with the digits 0 to 9 and a to z: in decimal the longest names would not fit the store.
struct Short(u64);

const SHORT_RADIX: u32 = 36;

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let radix = u64::from(SHORT_RADIX);
        if self.0 >= radix {
            Short(self.0 / radix).fmt(f)?;
        }
        let digit = char::from_digit((self.0 % radix) as u32, SHORT_RADIX).ok_or(fmt::Error)?;
        f.write_char(digit)
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sender::Player => f.write_str("p"),
            Sender::Chunk(chunk) => write!(f, "{chunk}"),
            Sender::Trade => f.write_str("t"),
        }
    }
}

impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.act, self.sender, Short(u64::from(self.step)))
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Partition::Player(player) => write!(f, "player/{player}"),
            Partition::Chunk(island, chunk) => write!(f, "chunk/{island}/{}/{}", chunk.x, chunk.y),
            Partition::Trade(trade) => write!(f, "trade/{trade}"),
        }
    }
}

impl fmt::Display for DocName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DocName::Bag => f.write_str("bag"),
            DocName::Placement => f.write_str("placement"),
            DocName::Resource(tile) => write!(f, "resource/{tile}"),
            DocName::Structure(structure) => write!(f, "structure/{structure}"),
            DocName::Cell(cell) => write!(f, "cell/{cell}"),
            DocName::Estate => f.write_str("estate"),
            DocName::Ground(cell) => write!(f, "ground/{cell}"),
            DocName::Trade => f.write_str("trade"),
            DocName::Out(transfer) => write!(f, "out/{transfer}"),
            DocName::In(transfer) => write!(f, "in/{transfer}"),
            DocName::Forgets => f.write_str("forgets"),
        }
    }
}

fn short(text: &str) -> Option<u32> {
    u32::from_str_radix(text, SHORT_RADIX).ok()
}

fn act(text: &str) -> Option<ActId> {
    let mut parts = text.splitn(4, '.');
    Some(ActId {
        player: PlayerId(u64::from_str_radix(parts.next()?, 16).ok()?),
        epoch: Epoch(short(parts.next()?)?),
        island: IslandId(short(parts.next()?)?),
        act: u64::from_str_radix(parts.next()?, SHORT_RADIX).ok()?,
    })
}

fn transfer(text: &str) -> Option<TransferId> {
    let mut parts = text.rsplitn(3, '.');
    let step = short(parts.next()?)?;
    let sender = match parts.next()? {
        "p" => Sender::Player,
        "t" => Sender::Trade,
        chunk => Sender::Chunk(chunk.parse().ok()?),
    };
    Some(TransferId { act: act(parts.next()?)?, sender, step })
}

fn partition(text: &str) -> Option<Partition> {
    let (sort, rest) = text.split_once('/')?;
    Some(match sort {
        "player" => Partition::Player(PlayerId(u64::from_str_radix(rest, 16).ok()?)),
        "chunk" => {
            let mut parts = rest.splitn(3, '/');
            let island = IslandId(parts.next()?.parse().ok()?);
            let (x, y) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            Partition::Chunk(island, ChunkPos::new(x, y))
        }
        "trade" => Partition::Trade(act(rest)?),
        _ => return None,
    })
}

fn doc_name(text: &str) -> Option<DocName> {
    let cell = |rest: &str| rest.parse().ok().filter(|cell| usize::from(*cell) < CELLS_PER_CHUNK);
    Some(match text.split_once('/').unwrap_or((text, "")) {
        ("bag", "") => DocName::Bag,
        ("placement", "") => DocName::Placement,
        ("resource", tile) => DocName::Resource(tile.parse().ok()?),
        ("structure", id) => DocName::Structure(act(id)?),
        ("cell", rest) => DocName::Cell(cell(rest)?),
        ("estate", "") => DocName::Estate,
        ("ground", rest) => DocName::Ground(cell(rest)?),
        ("trade", "") => DocName::Trade,
        ("out", id) => DocName::Out(transfer(id)?),
        ("in", id) => DocName::In(transfer(id)?),
        ("forgets", "") => DocName::Forgets,
        _ => return None,
    })
}

macro_rules! spelled {
    ($($name:ident by $parse:ident;)*) => {$(
        impl FromStr for $name {
            type Err = NameError;

            /// Takes the one spelling only: what parses is written the same way again.
            fn from_str(text: &str) -> Result<Self, NameError> {
                let parsed = $parse(text).filter(|name| name.to_string() == text);
                parsed.ok_or_else(|| NameError { text: text.to_owned() })
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.to_string()
            }
        }
    )*};
}

spelled! {
    ActId by act;
    TransferId by transfer;
    Partition by partition;
    DocName by doc_name;
}

impl ActId {
    /// The act's own transfer, sent by its home.
    pub fn transfer(self, sender: Sender) -> TransferId {
        TransferId { act: self, sender, step: 0 }
    }
}

impl TransferId {
    /// The partition that sends it.
    pub fn sent_by(self) -> Partition {
        match self.sender {
            Sender::Player => Partition::Player(self.act.player),
            Sender::Chunk(chunk) => {
                Partition::Chunk(self.act.island, ChunkPos::from_index(usize::from(chunk)))
            }
            Sender::Trade => Partition::Trade(self.act),
        }
    }
}

impl Sender {
    /// A chunk of the act's island; `None` when the island has no such chunk.
    pub fn chunk(chunk: ChunkPos) -> Option<Self> {
        chunk.index().and_then(|index| u8::try_from(index).ok()).map(Sender::Chunk)
    }
}

impl Partition {
    /// The chunk's position, if it is a chunk's.
    pub fn chunk_pos(self) -> Option<ChunkPos> {
        match self {
            Partition::Chunk(_, chunk) => Some(chunk),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::limits::TRANSFER_NAME_MAX_BYTES;
    use chunk_sync::store::NAME_MAX_BYTES;

    const LONGEST: ActId = ActId {
        player: PlayerId(u64::MAX),
        epoch: Epoch(u32::MAX),
        island: IslandId(u32::MAX),
        act: u64::MAX,
    };

    #[test]
    fn names_are_read_back_and_fit_the_store() {
        let id = TransferId { act: LONGEST, sender: Sender::Chunk(u8::MAX), step: u32::MAX };
        let names = [
            DocName::Bag,
            DocName::Placement,
            DocName::Resource(255),
            DocName::Structure(LONGEST),
            DocName::Cell(15),
            DocName::Estate,
            DocName::Ground(0),
            DocName::Trade,
            DocName::Out(id),
            DocName::In(id),
            DocName::Out(TransferId { sender: Sender::Player, step: 35, ..id }),
            DocName::In(TransferId { sender: Sender::Trade, step: 36, ..id }),
            DocName::Forgets,
        ];
        for name in names {
            assert_eq!(name.to_string().parse(), Ok(name));
            assert!(name.to_string().len() <= NAME_MAX_BYTES, "{name}");
        }
        assert_eq!(DocName::Out(id).to_string().len(), "out/".len() + TRANSFER_NAME_MAX_BYTES);
        let partitions = [
            Partition::Player(PlayerId(7)),
            Partition::Chunk(IslandId(3), ChunkPos::new(-1, 15)),
            Partition::Trade(LONGEST),
        ];
        for partition in partitions {
            assert_eq!(partition.to_string().parse(), Ok(partition));
        }
    }

    #[test]
    fn a_transfers_name_tells_its_sender() {
        let chunk = ChunkPos::new(3, 12);
        let of = |sender: Sender| LONGEST.transfer(sender).sent_by();
        let sender = Sender::chunk(chunk).expect("on the island");
        assert_eq!(of(sender), Partition::Chunk(LONGEST.island, chunk));
        assert_eq!(of(Sender::Player), Partition::Player(LONGEST.player));
        assert_eq!(of(Sender::Trade), Partition::Trade(LONGEST));
        assert_eq!(Sender::chunk(ChunkPos::new(-1, 0)), None);
    }

    #[test]
    fn there_is_one_spelling() {
        let transfers = ["1.2.3", "0000000000000001.1.1.A.p.0", "0000000000000001.1.1.a.256.0"];
        let transfers = transfers.map(|text| format!("out/{text}"));
        let others = ["cell/16", "cell/+1", "cell/01", "cell/", "bag/", "bag/1", "", "/", "in/x"];
        for text in others.into_iter().chain(transfers.iter().map(String::as_str)) {
            assert!(text.parse::<DocName>().is_err(), "{text}");
        }
        for text in ["player/7", "chunk/1/2", "chunk/1/2/3/4", "trade/", "player/000000000000000A"] {
            assert!(text.parse::<Partition>().is_err(), "{text}");
        }
    }
}
