//! The sample of a turn: the first event of each type, up to the limit of types, and some more of common types,
//! because rare members occur in only some of their events. So the turn is bounded, and rare types are not lost among
//! common ones.

use fakemon_model::limits::SCHEMAS_MAX;
use hashbrown::{DefaultHashBuilder, HashMap};
use std::hash::BuildHasher;

/// Events of a turn, besides the first of each type.
const MORE_MAX: u64 = 1_000;
/// Of these, events of one type; so at least eight types get their share.
const MORE_OF_ONE_MAX: u32 = 125;
/// Types of a turn whose first event is taken: all that can be known, and as many new ones.
const TYPES_MAX: usize = 2 * SCHEMAS_MAX;

/// One turn.
#[derive(Default)]
pub(super) struct Share {
    /// Events taken, by the hash of their type; the hash is seeded at random, so that clients cannot force
    /// collisions.
    of_type: HashMap<u64, u32>,
    more: u64,
    hashes: DefaultHashBuilder,
}

impl Share {
    /// Whether to learn from an event of this type; counts it if so.
    pub(super) fn take(&mut self, source: &str, detail_type: &str) -> bool {
        let of = self.hashes.hash_one((source, detail_type));
        let Some(taken) = self.of_type.get_mut(&of) else {
            let is_taken = self.of_type.len() < TYPES_MAX;
            if is_taken {
                self.of_type.insert(of, 1);
            }
            return is_taken;
        };
        let is_taken = self.more < MORE_MAX && *taken <= MORE_OF_ONE_MAX;
        if is_taken {
            (*taken, self.more) = (*taken + 1, self.more + 1);
        }
        is_taken
    }

    /// Events taken so far.
    pub(super) fn taken(&self) -> u64 {
        self.more + self.of_type.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rare_is_not_lost_among_what_is_common() {
        let mut share = Share::default();
        let common = (0..40_000).filter(|_| share.take("load", "A")).count();
        assert_eq!(common, 1 + MORE_OF_ONE_MAX as usize);
        for number in 0..SCHEMAS_MAX {
            assert!(share.take("rare", &number.to_string()), "{number}");
            share.take("load", "A");
        }
        // Even with too many types the turn is bounded.
        for number in 0..100_000 {
            share.take("flood", &(number % 50_000).to_string());
        }
        assert_eq!(share.taken(), MORE_MAX + TYPES_MAX as u64);
    }
}
