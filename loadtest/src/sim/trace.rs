//! What happened: a hash over everything, so that two runs of one seed can be compared, and a story of what matters.
//!
//! Written by the cluster. It decides nothing.

use super::limits::STORY_LINES_MAX;
use chunk_sync::random::hash;
use std::collections::VecDeque;

/// Hash and story of one run.
#[derive(Debug, Default)]
pub(super) struct Trace {
    hash: u64,
    began_ms: u64,
    story: VecDeque<String>,
}

impl Trace {
    pub(super) fn new(began_ms: u64) -> Self {
        Self { hash: 0, began_ms, story: VecDeque::new() }
    }

    /// Takes an event of kind `kind` into the hash.
    pub(super) fn fold(&mut self, now_ms: u64, kind: u8, what: u64, bytes: &[u8]) {
        let mut head = [kind; 17];
        head[1..9].copy_from_slice(&now_ms.to_be_bytes());
        head[9..].copy_from_slice(&what.to_be_bytes());
        self.hash = hash(hash(self.hash, &head), bytes);
    }

    /// Adds a line to the story (and with it to the hash).
    pub(super) fn tell(&mut self, now_ms: u64, line: &str) {
        self.fold(now_ms, 0, 0, line.as_bytes());
        if self.story.len() >= STORY_LINES_MAX {
            self.story.pop_front();
        }
        let ms = now_ms - self.began_ms;
        self.story.push_back(format!("{:>4}.{:03} {line}", ms / 1_000, ms % 1_000));
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn take_story(&mut self) -> Vec<String> {
        std::mem::take(&mut self.story).into()
    }
}
