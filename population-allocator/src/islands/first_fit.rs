//! The first of many places, in their order, that has room for so many: a tree of maxima, so that finding and changing take
//! the logarithm of their number.

/// Room of places 0, 1, 2 and so on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FirstFit {
    /// A binary heap of maxima: the children of `n` are `2n` and `2n + 1`, the leaves are the second half.
    most: Vec<u32>,
}

impl FirstFit {
    fn leaves(&self) -> usize {
        self.most.len() / 2
    }

    /// The room of one place from now on; places that were never set have none.
    pub fn set(&mut self, at: usize, room: u32) {
        while self.leaves() <= at {
            self.grow();
        }
        let mut node = self.leaves() + at;
        self.most[node] = room;
        while node > 1 {
            node /= 2;
            self.most[node] = self.most[2 * node].max(self.most[2 * node + 1]);
        }
    }

    /// The first place with room for `wanted` (at least one).
    pub fn first(&self, wanted: u32) -> Option<usize> {
        let wanted = wanted.max(1);
        if self.most.get(1).is_none_or(|most| *most < wanted) {
            return None;
        }
        let mut node = 1;
        while node < self.leaves() {
            node = if self.most[2 * node] >= wanted { 2 * node } else { 2 * node + 1 };
        }
        Some(node - self.leaves())
    }

    /// Twice as many places.
    fn grow(&mut self) {
        let leaves = self.leaves();
        let wider = (leaves * 2).max(1);
        let mut most = vec![0; wider * 2];
        most[wider..wider + leaves].copy_from_slice(&self.most[leaves..]);
        for node in (1..wider).rev() {
            most[node] = most[2 * node].max(most[2 * node + 1]);
        }
        self.most = most;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chunk_sync::random::{RngExt, stream};

    #[test]
    fn the_first_place_with_room_is_what_a_walk_finds() {
        let (mut fit, mut row, mut random) = (FirstFit::default(), Vec::new(), stream(1, "first fit"));
        assert_eq!(fit.first(1), None);
        for _ in 0..3_000 {
            let at = random.random_range(0..=row.len());
            let room = random.random_range(0..50);
            if at == row.len() {
                row.push(0);
            }
            row[at] = room;
            fit.set(at, room);
            let wanted = random.random_range(0..60);
            assert_eq!(fit.first(wanted), row.iter().position(|room| *room >= wanted.max(1)), "{wanted}");
        }
    }
}
