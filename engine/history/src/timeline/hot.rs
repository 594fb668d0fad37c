//! The ids with the most attempts, in bounded memory. Counts are exact as long as there are not too many different
//! ids; beyond that the rare half is dropped again and again, and the greatest possible error of a count is known.

use hashbrown::HashMap;
use std::hash::Hash;

/// How many different ids are counted at a time.
const COUNTED_MAX: usize = 1 << 17;

/// How often an id was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hot<Id> {
    pub id: Id,
    /// Attempts counted: a lower bound.
    pub attempts: u64,
    /// Captures among them.
    pub captured: u64,
}

/// The ids that were met most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hottest<Id> {
    /// The most frequent first.
    pub top: Vec<Hot<Id>>,
    /// How many different ids there are; none if there were too many to count.
    pub different: Option<u64>,
    /// How much every count may be too low; 0: all are exact.
    pub missed_max: u64,
}

pub(super) struct Tally<Id> {
    counts: HashMap<Id, (u64, u64)>,
    counted_max: usize,
    missed: u64,
}

impl<Id: Copy + Eq + Hash + Ord> Tally<Id> {
    pub(super) fn new() -> Tally<Id> {
        Tally::of(COUNTED_MAX)
    }

    fn of(counted_max: usize) -> Tally<Id> {
        Tally { counts: HashMap::new(), counted_max, missed: 0 }
    }

    #[inline]
    pub(super) fn add(&mut self, id: Id, captured: bool) {
        let count = self.counts.entry(id).or_default();
        count.0 += 1;
        count.1 += u64::from(captured);
        if self.counts.len() > self.counted_max {
            self.let_go();
        }
    }

    /// Drops the rarer half of all ids, and reduces all other counts by the highest dropped one: no id that was met
    /// more often than that is dropped.
    fn let_go(&mut self) {
        let mut counts: Vec<u64> = self.counts.values().map(|(attempts, _)| *attempts).collect();
        let middle = counts.len() / 2;
        let (_, median, _) = counts.select_nth_unstable(middle);
        let median = *median;
        self.counts.retain(|_, (attempts, captured)| {
            *attempts -= median.min(*attempts);
            *captured = (*captured).min(*attempts);
            *attempts > 0
        });
        self.missed += median;
    }

    pub(super) fn finish(self, top: usize) -> Hottest<Id> {
        let different = (self.missed == 0).then_some(self.counts.len() as u64);
        let counts = self.counts.into_iter();
        let mut all: Vec<_> = counts.map(|(id, (attempts, captured))| Hot { id, attempts, captured }).collect();
        all.sort_unstable_by_key(|hot| (std::cmp::Reverse(hot.attempts), hot.id));
        all.truncate(top);
        Hottest { top: all, different, missed_max: self.missed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_counted_exactly() {
        let mut tally = Tally::of(10);
        (1..=9u64).for_each(|id| (0..id).for_each(|attempt| tally.add(id, attempt == 0)));
        let hottest = tally.finish(2);
        assert_eq!((hottest.different, hottest.missed_max), (Some(9), 0));
        let of = |id, attempts| Hot { id, attempts, captured: 1 };
        assert_eq!(hottest.top, [of(9, 9), of(8, 8)]);
    }

    #[test]
    fn the_frequent_are_found_among_very_many_and_the_error_is_known() {
        let mut tally = Tally::of(100);
        for step in 0..200_000u64 {
            tally.add(if step % 10 == 0 { 7 } else { 1_000 + step }, false);
        }
        assert!(tally.counts.len() <= 100);
        let hottest = tally.finish(3);
        let first = hottest.top[0];
        assert_eq!((first.id, hottest.different), (7, None));
        assert!(first.attempts <= 20_000 && first.attempts + hottest.missed_max >= 20_000, "{hottest:?}");
        assert!(hottest.missed_max <= 200_000 / 50, "{hottest:?}");
    }
}
