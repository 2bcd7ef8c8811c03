//! The topics this member wants, reference-counted, and the difference between two such lists.
//!
//! The node's thread counts here; links reconcile their socket with the list they see. Does no I/O.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::MeshTopic;
use super::limits::TOPICS_MAX;

/// The list of wanted topics, sorted, without duplicates, shared by all links.
pub(super) type TopicList = Arc<Vec<MeshTopic>>;

/// Who wants which topic, by count.
#[derive(Debug, Default)]
pub(super) struct TopicCounts {
    counts: BTreeMap<MeshTopic, u32>,
    changed: bool,
}

impl TopicCounts {
    /// One more wants `topic`. False if the list is full and the topic isn't on it.
    pub(super) fn add(&mut self, topic: MeshTopic) -> bool {
        if let Some(count) = self.counts.get_mut(&topic) {
            *count += 1;
            return true;
        }
        if self.counts.len() >= TOPICS_MAX {
            return false;
        }
        self.counts.insert(topic, 1);
        self.changed = true;
        true
    }

    /// One fewer wants `topic`. False if nobody wanted it.
    pub(super) fn remove(&mut self, topic: &MeshTopic) -> bool {
        let Some(count) = self.counts.get_mut(topic) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            self.counts.remove(topic);
            self.changed = true;
        }
        true
    }

    /// The list, if it changed since this was last asked.
    pub(super) fn take_changed(&mut self) -> Option<TopicList> {
        std::mem::take(&mut self.changed).then(|| Arc::new(self.counts.keys().copied().collect()))
    }
}

/// What turns one list into another.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TopicChange {
    pub(super) added: Vec<MeshTopic>,
    pub(super) removed: Vec<MeshTopic>,
}

/// Compares two sorted lists.
pub(super) fn difference(old: &[MeshTopic], new: &[MeshTopic]) -> TopicChange {
    let mut change = TopicChange::default();
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        match (old.peek(), new.peek()) {
            (Some(was), Some(is)) if was == is => {
                old.next();
                new.next();
            }
            (Some(was), Some(is)) if was < is => change.removed.extend(old.next()),
            (_, Some(_)) => change.added.extend(new.next()),
            (Some(_), None) => change.removed.extend(old.next()),
            (None, None) => return change,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(number: u16) -> MeshTopic {
        let mut topic = [0; 10];
        topic[..2].copy_from_slice(&number.to_be_bytes());
        topic
    }

    #[test]
    fn a_topic_leaves_the_list_with_its_last_reference() {
        let mut counts = TopicCounts::default();
        assert!(counts.add(topic(1)));
        assert!(counts.add(topic(1)));
        assert_eq!(counts.take_changed().as_deref(), Some(&vec![topic(1)]));
        assert!(counts.remove(&topic(1)));
        assert_eq!(counts.take_changed(), None);
        assert!(counts.remove(&topic(1)));
        assert_eq!(counts.take_changed().as_deref(), Some(&vec![]));
        assert!(!counts.remove(&topic(1)));
    }

    #[test]
    fn the_list_has_an_end() {
        let mut counts = TopicCounts::default();
        let full = u16::try_from(TOPICS_MAX).expect("fits two bytes");
        assert!((0..full).all(|number| counts.add(topic(number))));
        assert!(!counts.add(topic(full)));
        assert!(counts.add(topic(0)), "a topic on the list is counted on");
    }

    #[test]
    fn difference_turns_the_old_list_into_the_new_one() {
        let old = [topic(1), topic(2), topic(5)];
        let new = [topic(0), topic(2), topic(3), topic(9)];
        let change = difference(&old, &new);
        assert_eq!(change.added, [topic(0), topic(3), topic(9)]);
        assert_eq!(change.removed, [topic(1), topic(5)]);
        assert_eq!(difference(&new, &new), TopicChange::default());
        assert_eq!(difference(&[], &new).added, new);
        assert_eq!(difference(&old, &[]).removed, old);
    }
}
