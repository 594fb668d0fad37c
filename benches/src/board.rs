//! The fakémon that are targets now: a fixed number of slots, each holding one, and a reserve of fakémon that are in
//! the world already and wait for a slot. Threads share it without a lock.

use crate::world::Nth;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A place on the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub u32);

/// The slots and the reserve. Relaxed: the numbers guard no other data, and a stale one only costs an attempt.
#[derive(Debug)]
pub struct Board {
    slots: Box<[AtomicU32]>,
    /// Fakémon below this number have been put into slots.
    taken: AtomicU32,
    /// Fakémon below this number are in the world.
    spawned: AtomicU32,
}

impl Board {
    /// A board of at least one slot; slot n starts with the nth fakémon, which must be in the world before the first
    /// attempt.
    pub fn new(slots: u32) -> Board {
        let slots = slots.max(1);
        Board {
            slots: (0..slots).map(AtomicU32::new).collect(),
            taken: AtomicU32::new(slots),
            spawned: AtomicU32::new(0),
        }
    }

    /// The number of slots.
    pub fn slots(&self) -> u32 {
        u32::try_from(self.slots.len()).expect("made from a u32")
    }

    /// The fakémon in a slot.
    #[inline]
    pub fn at(&self, slot: Slot) -> Nth {
        Nth(self.slots[slot.0 as usize].load(Relaxed))
    }

    /// The nth fakémon has been caught: the next of the reserve takes its slot. While the reserve is empty the caught
    /// one stays, and attempts at it fail.
    pub fn caught(&self, slot: Slot, nth: Nth) {
        let slot = &self.slots[slot.0 as usize];
        if slot.load(Relaxed) != nth.0 {
            return;
        }
        let take = |taken: u32| (taken < self.spawned.load(Relaxed)).then(|| taken + 1);
        if let Ok(next) = self.taken.fetch_update(Relaxed, Relaxed, take) {
            // Two threads that learn of it together take two from the reserve; the one without a slot stays wild,
            // which does no harm.
            let _ = slot.compare_exchange(nth.0, next, Relaxed, Relaxed);
        }
    }

    /// `count` fakémon are in the world now.
    pub fn spawned(&self, count: u32) {
        self.spawned.store(count, Relaxed);
    }

    /// The number of fakémon in the world.
    pub fn spawned_count(&self) -> u32 {
        self.spawned.load(Relaxed)
    }

    /// The number of fakémon that wait for a slot.
    pub fn reserve(&self) -> u32 {
        self.spawned.load(Relaxed).saturating_sub(self.taken.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_moves_on_only_to_what_is_in_the_world() {
        let board = Board::new(2);
        board.spawned(3);
        assert_eq!((board.at(Slot(0)), board.at(Slot(1)), board.reserve()), (Nth(0), Nth(1), 1));
        board.caught(Slot(1), Nth(1));
        board.caught(Slot(1), Nth(1));
        assert_eq!((board.at(Slot(1)), board.reserve()), (Nth(2), 0));
        board.caught(Slot(0), Nth(0));
        assert_eq!(board.at(Slot(0)), Nth(0));
        board.spawned(4);
        board.caught(Slot(0), Nth(0));
        assert_eq!(board.at(Slot(0)), Nth(3));
    }
}
