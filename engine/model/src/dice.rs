//! Random numbers from a seed, for the tests of every crate: the same on every machine.

use crate::ids::mix;

/// A generator whose numbers depend on the seed alone.
pub struct Dice(pub u64);

impl Dice {
    /// From 0 to below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(1);
        (mix(self.0) % end as u64) as usize
    }

    /// Any of them.
    pub fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}
