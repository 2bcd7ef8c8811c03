//! Messages of acts: what a client wants done to the lasting world, what came of it, and the documents that the client
//! may see of it. What an action and a document say is the game's business; here they are bytes. Used through `wire`.

use super::{control_frame, kind};
use crate::ids::Epoch;
use crate::limits::{ACTION_BYTES_MAX, DOCS_FRAME_BYTES_MAX};
use crate::place::ChunkPos;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;

/// Names an act of a player: the epoch of the session in which it was first asked for, and its number in that session,
/// from 1. Later acts have greater ids, also over sessions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActNumber(pub u64);

impl ActNumber {
    /// The `number`th act of the session of `epoch`.
    pub fn new(epoch: Epoch, number: u32) -> Self {
        Self(u64::from(epoch.0) << 32 | u64::from(number))
    }

    /// The session in which it was first asked for.
    pub fn epoch(self) -> Epoch {
        Epoch((self.0 >> 32) as u32)
    }

    /// Its number in that session; 0 names none.
    pub fn number(self) -> u32 {
        self.0 as u32
    }
}

/// What a client wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// Its name, the same on every resend.
    pub id: ActNumber,
    /// The client has the answers to all its acts up to this one; less than `id`.
    pub answered: ActNumber,
    /// The island on which it was first asked for.
    pub island: u32,
    /// What to do; the game reads it.
    #[serde(with = "serde_bytes")]
    pub action: Vec<u8>,
}

impl Act {
    /// Whether its parts can be true together, whatever it wants.
    pub fn is_sound(&self) -> bool {
        self.id.number() > 0 && self.answered < self.id && self.action.len() <= ACTION_BYTES_MAX
    }

    /// The whole frame.
    pub fn frame(&self) -> Vec<u8> {
        control_frame(kind::ACT, self)
    }
}

/// What came of an act.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActOutcome {
    /// It is done, and stays.
    Done,
    /// It came to nothing; `reason` says why.
    Refused,
    /// It is over, and this node didn't see how (it was asked for in an earlier session, or ended elsewhere): what came
    /// of it is to be seen in the documents.
    Over,
    /// The store has yet to tell. Another answer follows.
    Waiting,
}

/// The node's answer to an act. `Waiting` may come before another; the others are final.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acted {
    /// The act.
    pub id: ActNumber,
    /// What came of it.
    pub outcome: ActOutcome,
    /// Of a refusal, or of what an act waits for: its stable number; else 0.
    #[serde(default)]
    pub code: u16,
    /// Of the same: its stable label, as in metrics.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Of the same: a sentence for the player.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

impl Acted {
    /// The whole frame.
    pub fn frame(&self) -> Vec<u8> {
        control_frame(kind::ACTED, self)
    }
}

/// Documents of a chunk in view, or the player's own; they come only to who asked for the feature `docs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Docs {
    /// The chunk; missing when they are the player's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk: Option<ChunkPos>,
    /// Everything known of the chunk or the player before is void.
    pub whole: bool,
    /// Documents by name; a null removes one.
    pub docs: BTreeMap<String, Option<ByteBuf>>,
}

impl Docs {
    /// The whole frame.
    pub fn frame(&self) -> Vec<u8> {
        control_frame(kind::DOCS, self)
    }

    /// Frames that bring all of these documents; the first one voids what was known before.
    pub fn frames_of_all(
        chunk: Option<ChunkPos>,
        all: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut now = Docs { chunk, whole: true, ..Docs::default() };
        let mut bytes = 0;
        for (name, value) in all {
            // Name, value and the few bytes that say how long they are.
            bytes += name.len() + value.len() + 16;
            if bytes > DOCS_FRAME_BYTES_MAX && !now.docs.is_empty() {
                frames.push(now.frame());
                now = Docs { chunk, ..Docs::default() };
                bytes = name.len() + value.len() + 16;
            }
            now.docs.insert(name, Some(ByteBuf::from(value)));
        }
        frames.push(now.frame());
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::DOCUMENT_MAX_BYTES;
    use crate::wire::{LENGTH_BYTES, control};

    #[test]
    fn ids_grow_over_sessions() {
        let [first, later, next] =
            [(1, 1), (1, u32::MAX), (2, 1)].map(|(epoch, number)| ActNumber::new(Epoch(epoch), number));
        assert!(first < later && later < next);
        assert_eq!((later.epoch(), later.number()), (Epoch(1), u32::MAX));
    }

    #[test]
    fn many_documents_come_in_frames_that_pass() {
        let all = (0..400).map(|n| (format!("structure/{n}"), vec![7; DOCUMENT_MAX_BYTES / 16]));
        let frames = Docs::frames_of_all(Some(ChunkPos::new(1, 2)), all);
        let mut names = std::collections::BTreeSet::new();
        for (at, frame) in frames.iter().enumerate() {
            assert!(frame.len() <= crate::limits::SERVER_FRAME_BYTES_MAX);
            let docs: Docs = control(kind::DOCS, &frame[LENGTH_BYTES + 1..]).unwrap();
            assert_eq!((docs.whole, docs.chunk), (at == 0, Some(ChunkPos::new(1, 2))));
            names.extend(docs.docs.into_keys());
        }
        assert_eq!(names.len(), 400);
        assert!(frames.len() > 1);
        assert_eq!(Docs::frames_of_all(None, []).len(), 1, "nothing is said too");
    }
}
