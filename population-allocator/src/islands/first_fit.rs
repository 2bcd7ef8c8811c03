//! The first of many places, in their order, that has room for so many: a tree of maxima, so that finding and changing take
//! the logarithm of their number.

/// Room of places 0, 1, 2 and so on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct FirstFit {
    /// A binary heap of maxima: the children of `n` are `2n` and `2n + 1`, the leaves are the second half.
    most: Vec<u32>,
}

impl FirstFit {
    fn leaves(&self) -> usize {
        self.most.len() / 2
    }

    /// The room of one place from now on; places that were never set have none.
    pub(super) fn set(&mut self, at: usize, room: u32) {
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
    pub(super) fn first(&self, wanted: u32) -> Option<usize> {
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

    #[test]
    fn the_first_place_with_room_is_found_however_many_there_are() {
        let mut fit = FirstFit::default();
        assert_eq!(fit.first(1), None);
        for at in [0, 1, 2, 63, 1_000] {
            fit.set(at, at as u32 + 1);
        }
        for (wanted, at) in
            [(0, Some(0)), (1, Some(0)), (2, Some(1)), (4, Some(63)), (65, Some(1_000)), (1_002, None)]
        {
            assert_eq!(fit.first(wanted), at, "room for {wanted}");
        }
        fit.set(1_000, 0);
        assert_eq!(fit.first(65), None);
    }
}
