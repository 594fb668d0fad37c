//! Chance with a seed, for tests: the same numbers on every machine.

use crate::ids::mix;

pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// From 0 to below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(1);
        (mix(self.0) % end as u64) as usize
    }

    pub(crate) fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}
