//! Documents as clients see them: what is built, grows and lies about in the chunks in view, and what the player
//! carries. A change is packed once for everybody who sees the chunk.

use super::NodeCore;
use super::ports::ClientSink;
use super::session::Stage;
use crate::rules::Partition;
use bytes::Bytes;
use chunk_sync::ids::ConnId;
use chunk_sync::limits::{CLIENT_BACKLOG_BYTES_MAX, ISLAND_CHUNKS};
use chunk_sync::store::{Document, Name};
use chunk_sync::wire::Docs;
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet};

/// Names of documents of a chunk that everybody sees.
const CHUNK_DOCS: [&str; 4] = ["resource/", "structure/", "ground/", "estate"];
/// Names of documents that a player sees of itself.
const OWN_DOCS: [&str; 1] = ["bag"];

/// A set of an island's chunks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct ChunkSet([u64; ISLAND_CHUNKS.div_ceil(64)]);

impl ChunkSet {
    pub(super) fn has(&self, index: usize) -> bool {
        self.0[index / 64] & 1 << (index % 64) != 0
    }

    pub(super) fn add(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    fn remove(&mut self, index: usize) {
        self.0[index / 64] &= !(1 << (index % 64));
    }

    /// Keeps those that are in both.
    pub(super) fn keep(&mut self, others: &ChunkSet) {
        self.0.iter_mut().zip(others.0).for_each(|(word, other)| *word &= other);
    }
}

/// What a session with the feature `docs` was told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DocsTold {
    /// Chunks whose documents it has.
    pub chunks: ChunkSet,
    /// It has all of its view.
    pub complete: bool,
    /// It has its own.
    pub own: bool,
}

fn is_public(partition: Partition, name: &str) -> bool {
    match partition {
        Partition::Chunk(..) => CHUNK_DOCS.iter().any(|prefix| name.starts_with(prefix)),
        Partition::Player(_) => OWN_DOCS.contains(&name),
        Partition::Trade(_) => false,
    }
}

fn news(partition: Partition, names: &BTreeSet<Name>, docs: &BTreeMap<Name, Document>) -> Option<Docs> {
    let public = names.iter().filter(|name| is_public(partition, name.as_str()));
    let docs: BTreeMap<String, Option<ByteBuf>> = public
        .map(|name| {
            let value = docs.get(name).map(|document| ByteBuf::from(document.value.to_vec()));
            (name.as_str().to_owned(), value)
        })
        .collect();
    (!docs.is_empty()).then(|| Docs { chunk: partition.chunk_pos(), whole: false, docs })
}

fn whole(partition: Partition, docs: &BTreeMap<Name, Document>) -> Vec<Bytes> {
    let public = docs.iter().filter(|(name, _)| is_public(partition, name.as_str()));
    let all = public.map(|(name, document)| (name.as_str().to_owned(), document.value.to_vec()));
    Docs::frames_of_all(partition.chunk_pos(), all).into_iter().map(Bytes::from).collect()
}

impl NodeCore {
    /// What changed in partitions that are kept current becomes what clients get this tick.
    pub(super) fn note_changed_docs(&mut self) {
        for (partition, names) in self.executor.drain_changed() {
            let Some(docs) = self.executor.docs(partition) else {
                self.executor.changed_again(partition, names);
                continue;
            };
            let Some(news) = news(partition, &names, docs) else { continue };
            match partition {
                Partition::Chunk(island, pos) => {
                    let (Some(at), Some(index)) = (self.island_at(island), pos.index()) else { continue };
                    let chunk = &mut self.islands[at].chunks[index];
                    chunk.docs_whole = None;
                    if chunk.docs_viewers > 0 {
                        // A large change comes as a whole.
                        let frame = Bytes::from(news.frame());
                        let fits = frame.len() <= chunk_sync::limits::SERVER_FRAME_BYTES_MAX;
                        if fits {
                            chunk.docs_news.push(frame);
                        } else {
                            chunk.docs_void = true;
                        }
                        self.islands[at].docs_changed = true;
                    }
                }
                Partition::Player(player) => {
                    let Some(conn) = self.sessions.of_player(player) else { continue };
                    let Some(session) = self.sessions.get(conn) else { continue };
                    if session.docs.is_some_and(|told| told.own) && session.stage == Stage::Inside {
                        self.sessions.mail(conn, news.frame());
                    }
                }
                Partition::Trade(_) => (),
            }
        }
    }

    /// Gives a client the documents that it lacks, after it got its tick.
    pub(super) fn serve_docs(&mut self, conn: ConnId, clients: &mut dyn ClientSink, join_bytes: &mut usize) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let Some(mut told) = session.docs.filter(|_| session.stage == Stage::Inside) else { return };
        let (player, view, island) = (session.player, session.told, session.island);
        if !told.own {
            let own = Partition::Player(player);
            let docs = self.executor.is_current(own).then(|| self.executor.docs(own)).flatten();
            for frame in docs.map(|docs| whole(own, docs)).unwrap_or_default() {
                clients.send(conn, &[], &[frame]);
                told.own = true;
            }
        }
        let Some(view) = view else {
            // It can take nothing now: chunks of which something is new are told whole once it can.
            for (index, chunk) in self.islands[island].chunks.iter().enumerate() {
                if chunk.docs_void || !chunk.docs_news.is_empty() {
                    told.chunks.remove(index);
                }
            }
            told.complete = false;
            return self.told_docs(conn, told);
        };
        if told.complete && !self.islands[island].docs_changed {
            return self.told_docs(conn, told);
        }
        let mut seen = ChunkSet::default();
        told.complete = true;
        for (pos, _) in view.chunks() {
            let Some(index) = pos.index() else { continue };
            seen.add(index);
            if self.islands[island].chunks[index].docs_void {
                told.chunks.remove(index);
            }
            let chunk = &mut self.islands[island].chunks[index];
            if told.chunks.has(index) {
                chunk.docs_news.iter().for_each(|news| clients.send(conn, &[], std::slice::from_ref(news)));
                continue;
            }
            let partition = Partition::Chunk(self.islands[island].id, pos);
            // Not so much at once that the client would be skipped for it, and get it all again.
            let waiting = clients.backlog(conn).bytes > CLIENT_BACKLOG_BYTES_MAX / 2;
            if waiting || *join_bytes == 0 || !self.executor.is_current(partition) {
                told.complete = false;
                continue;
            }
            let (chunk, executor) = (&mut self.islands[island].chunks[index], &self.executor);
            let frames = chunk.docs_whole.get_or_insert_with(|| {
                executor.docs(partition).map(|docs| whole(partition, docs)).unwrap_or_default()
            });
            for frame in frames.iter() {
                *join_bytes = join_bytes.saturating_sub(frame.len());
                clients.send(conn, &[], std::slice::from_ref(frame));
            }
            told.chunks.add(index);
        }
        told.chunks.keep(&seen);
        self.told_docs(conn, told);
    }

    fn told_docs(&mut self, conn: ConnId, told: DocsTold) {
        if let Some(session) = self.sessions.get_mut(conn) {
            session.docs = Some(told);
        }
    }
}
