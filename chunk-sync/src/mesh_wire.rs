//! What members of a cluster say to each other: topics, heartbeats, direct messages, census. Stream blocks travel
//! on chunk topics exactly as `blocks` makes them; everything here is MessagePack maps with string keys.

use crate::blocks::{FrameNumber, StreamId};
use crate::ids::{EntityId, Epoch, IslandId, NodeId, PlayerId, Source};
use crate::limits::MESH_TOPIC_BYTES;
use crate::place::{ChunkPos, Pose};
use crate::random::hash;
use crate::time::Tick;
use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A topic: hash byte · island u32 · x i16 · y i16 · stream u8. All have one length, so none is another's prefix.
pub type TopicBytes = [u8; MESH_TOPIC_BYTES];

/// Island number of topics that belong to no island.
const NO_ISLAND: u32 = u32::MAX;
const STREAM_DIRECT: u8 = 0xf0;
const STREAM_HEARTBEAT: u8 = 0xf1;
const STREAM_CENSUS: u8 = 0xf2;

/// What a topic is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Topic {
    /// One stream of a chunk.
    Chunk(IslandId, ChunkPos, StreamId),
    /// Messages for one source.
    Direct(Source),
    /// Heartbeats, for every member.
    Heartbeat,
    /// Census, for allocators.
    Census,
}

impl Topic {
    /// The bytes that are subscribed to and published on.
    pub fn bytes(self) -> TopicBytes {
        let (island, x, y, stream) = match self {
            Topic::Chunk(island, chunk, stream) => (island.0, chunk.x, chunk.y, stream.index()),
            Topic::Direct(source) => {
                (NO_ISLAND, (source.0 >> 16) as i16, source.0 as u16 as i16, STREAM_DIRECT)
            }
            Topic::Heartbeat => (NO_ISLAND, 0, 0, STREAM_HEARTBEAT),
            Topic::Census => (NO_ISLAND, 0, 0, STREAM_CENSUS),
        };
        let mut out = [0; MESH_TOPIC_BYTES];
        out[1..5].copy_from_slice(&island.to_be_bytes());
        out[5..7].copy_from_slice(&x.to_be_bytes());
        out[7..9].copy_from_slice(&y.to_be_bytes());
        out[9] = stream;
        // Spread by chunk, not by stream, so that one chunk stays on one link.
        out[0] = hash(0, &out[1..9]) as u8;
        out
    }

    /// The topic with these bytes, if it is one of ours.
    pub fn parse(bytes: &[u8]) -> Option<Topic> {
        let bytes: &TopicBytes = bytes.try_into().ok()?;
        let island = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
        let x = i16::from_be_bytes([bytes[5], bytes[6]]);
        let y = i16::from_be_bytes([bytes[7], bytes[8]]);
        let topic = match (island, bytes[9]) {
            (NO_ISLAND, STREAM_HEARTBEAT) => Topic::Heartbeat,
            (NO_ISLAND, STREAM_CENSUS) => Topic::Census,
            (NO_ISLAND, STREAM_DIRECT) => {
                Topic::Direct(Source::new(u32::from(x as u16) << 16 | u32::from(y as u16))?)
            }
            (NO_ISLAND, _) => return None,
            (island, stream) => {
                Topic::Chunk(IslandId(island), ChunkPos::new(x, y), StreamId::from_index(stream)?)
            }
        };
        (topic.bytes() == *bytes).then_some(topic)
    }
}

/// The streams of a chunk that a member takes from all others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Want {
    /// Island.
    pub i: IslandId,
    /// The chunk.
    pub c: ChunkPos,
    /// Streams, a bit each (`StreamId::bit`).
    pub m: u8,
}

/// The newest number of a stream that its source publishes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Newest {
    /// Island.
    pub i: IslandId,
    /// The chunk.
    pub c: ChunkPos,
    /// Stream number.
    pub s: u8,
    /// Frame number.
    pub n: u16,
}

impl Newest {
    /// The frame number.
    pub fn number(&self) -> FrameNumber {
        FrameNumber(self.n)
    }
}

/// Said by every node at 4 Hz and whenever its wants change: I am here, this is what I take, this is how far my
/// streams are. It restates everything, so a lost one is mended by the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Who speaks.
    pub source: Source,
    /// When.
    pub tick: Tick,
    /// All streams that the speaker takes.
    pub wants: Vec<Want>,
    /// Streams of the speaker that changed within the last second.
    pub newest: Vec<Newest>,
    /// Chunks whose claimant list the speaker changed within the last seconds.
    #[serde(default)]
    pub claims: Vec<ClaimNotice>,
}

/// News of a chunk's claimant list; the list itself is in the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClaimNotice {
    /// Island.
    pub i: IslandId,
    /// The chunk.
    pub c: ChunkPos,
    /// Epoch of the list.
    pub e: u64,
}

/// A message to one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direct {
    /// Publish keyframes of these streams of yours again: I have a gap.
    Repair {
        /// Who asks.
        from: Source,
        /// Island.
        island: IslandId,
        /// The chunk.
        chunk: ChunkPos,
        /// Streams, a bit each.
        streams: u8,
    },
    /// I hold the player's session now.
    Took {
        /// Who speaks.
        from: Source,
        /// The player.
        player: PlayerId,
        /// Epoch of the new session.
        epoch: Epoch,
    },
    /// Somebody else's commit changed the partition of a player whose session you hold.
    Changed {
        /// Who speaks.
        from: Source,
        /// The player.
        player: PlayerId,
        /// A `ChunkCommit`.
        #[serde(with = "serde_bytes")]
        commit: Vec<u8>,
    },
    /// The creature is yours now; repeated until it is seen in your roster with this epoch.
    Release {
        /// Who gives it away.
        from: Source,
        /// The creature.
        entity: EntityId,
        /// Epoch of the receiver's right to it: the claim epoch of its home chunk.
        epoch: Epoch,
        /// Island.
        island: IslandId,
        /// Its home chunk.
        chunk: ChunkPos,
        /// Its whole logic state.
        state: CreatureState,
    },
}

/// A commit, told to those who follow its partition: on the roster topic of a chunk, among blocks, which never begin
/// with its mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkCommit {
    /// The partition's token before.
    pub previous: u64,
    /// The commit.
    pub token: u64,
    /// Its event, as the store's log has it.
    pub event: Bytes,
}

/// First byte of a `ChunkCommit`; a block with it would be of a stream that nobody has.
const COMMIT_MARK: u8 = 0xff;

impl ChunkCommit {
    /// Whether a message of a roster topic is one.
    pub fn is_one(body: &[u8]) -> bool {
        body.first() == Some(&COMMIT_MARK)
    }

    /// The bytes of the message.
    pub fn bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(1 + 16 + self.event.len());
        out.push(COMMIT_MARK);
        out.extend_from_slice(&self.previous.to_be_bytes());
        out.extend_from_slice(&self.token.to_be_bytes());
        out.extend_from_slice(&self.event);
        out.into()
    }

    /// The message in these bytes, if it is one.
    pub fn read(body: &Bytes) -> Option<Self> {
        let (_, numbers) = body.split_first().filter(|(mark, _)| **mark == COMMIT_MARK)?;
        let (previous, rest) = numbers.split_first_chunk::<8>()?;
        let (token, _) = rest.split_first_chunk::<8>()?;
        Some(Self {
            previous: u64::from_be_bytes(*previous),
            token: u64::from_be_bytes(*token),
            event: body.slice(17..),
        })
    }
}

/// Everything that a creature's next owner must know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatureState {
    /// Where it is.
    pub pose: Pose,
    /// Tick at which it changes its mind.
    pub until: Tick,
    /// Whether it walks rather than rests.
    pub walking: bool,
}

/// What a node tells the allocators about itself; it restates everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Census {
    /// The node.
    pub node: NodeId,
    /// Its incarnation.
    pub source: Source,
    /// When.
    pub tick: Tick,
    /// Every session: player, ticket number, island.
    pub sessions: Vec<(PlayerId, u64, IslandId)>,
    /// Population and claim of every chunk that the node serves or has players in.
    pub chunks: Vec<ChunkCensus>,
    /// Entities of other nodes that it shows.
    pub ghosts: u32,
    /// CPU seconds of the node's thread since its start.
    pub cpu_s: f64,
    /// Length of a tick over the last 10 s: median and 99th percentile, milliseconds.
    pub tick_ms: (f32, f32),
    /// Whether it lets newcomers in.
    pub open: bool,
    /// Islands that it has read of in the plan and serves.
    #[serde(default)]
    pub serves: Vec<IslandId>,
}

/// A chunk in a census.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkCensus {
    /// Island.
    pub i: IslandId,
    /// The chunk.
    pub c: ChunkPos,
    /// Players of this node in it.
    pub n: u32,
    /// Whether the node claims it.
    pub claimed: bool,
}

/// The bytes of a message between members.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(message).expect("mesh messages are plain data")
}

/// The message in these bytes, if it is one.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    rmp_serde::from_slice(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::MINTER_MAX;
    use crate::interest::Rate;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn topics_come_back(island in 0u32..u32::MAX, x: i16, y: i16, stream in 0u8..5, source in 1u32..MINTER_MAX) {
            let stream = StreamId::from_index(stream).unwrap();
            for topic in [Topic::Chunk(IslandId(island), ChunkPos::new(x, y), stream), Topic::Direct(Source(source)),
                          Topic::Heartbeat, Topic::Census] {
                prop_assert_eq!(Topic::parse(&topic.bytes()), Some(topic));
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = Topic::parse(&bytes);
            let _ = decode::<Heartbeat>(&bytes);
            let _ = decode::<Direct>(&bytes);
            let _ = decode::<Census>(&bytes);
            let _ = ChunkCommit::read(&Bytes::from(bytes));
        }
    }

    #[test]
    fn streams_of_a_chunk_share_the_hash_byte() {
        let topic = |stream| Topic::Chunk(IslandId(1), ChunkPos::new(3, 4), stream).bytes()[0];
        assert_eq!(topic(StreamId::Roster), topic(StreamId::Motion(Rate::R4)));
    }
}
