//! The state of a shard: all fakémon it owns, wild, captured and vanished. [`Population::apply`] is the only mutator;
//! applying a change twice is the same as applying it once, so that recovery may start from rows that are ahead.

pub mod arena; // memory for fakémon

use crate::population::arena::Arena;
use fakemon_model::ids::{FakemonId, PlayerId, mix};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

pub use fakemon_model::fakemon::{Fakemon, Fate};
pub use fakemon_model::state_hash::StateHash;

/// A change of a population.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// A fakémon appeared.
    Appeared(Fakemon),
    /// A player caught it.
    Captured(FakemonId, PlayerId),
    /// It expired.
    Vanished(FakemonId),
}

/// All fakémon of a shard, in an arena, with a table from ids to slots. The table holds only numbers, so its spare
/// room costs little: about 40 bytes a fakémon in all, however full it is.
#[derive(Default)]
pub struct Population {
    index: HashTable<u32>,
    arena: Arena<Fakemon>,
    wild: usize,
}

fn slot_hash(id: FakemonId) -> u64 {
    // The owner was chosen by the upper bits of `mix(id)`, which are therefore alike inside a shard: mix a second
    // time.
    mix(id.0 ^ 0x5851_F42D_4C95_7F2D)
}

impl Population {
    /// The fakémon of this id, wild or not.
    #[inline]
    pub fn get(&self, id: FakemonId) -> Option<&Fakemon> {
        let slot = self.index.find(slot_hash(id), |slot| self.arena[*slot].id == id)?;
        Some(&self.arena[*slot])
    }

    /// Applies a change.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Appeared(fakemon) => self.appear(fakemon),
            Change::Captured(id, player) => self.end(id, |fakemon| fakemon.capture(player)),
            Change::Vanished(id) => self.end(id, Fakemon::vanish),
        }
    }

    fn appear(&mut self, fakemon: Fakemon) {
        let arena = &self.arena;
        let same = |slot: &u32| arena[*slot].id == fakemon.id;
        let hash = |slot: &u32| slot_hash(arena[*slot].id);
        if let Entry::Vacant(vacant) = self.index.entry(slot_hash(fakemon.id), same, hash) {
            vacant.insert(arena.next_slot());
            self.arena.push(fakemon);
            self.wild += usize::from(fakemon.fate() == Fate::Wild);
        }
    }

    fn end(&mut self, id: FakemonId, end: impl FnOnce(&mut Fakemon)) {
        let slot = self.index.find(slot_hash(id), |slot| self.arena[*slot].id == id);
        let slot = *slot.expect("only a fakémon that appeared is captured or vanishes");
        let fakemon = &mut self.arena[slot];
        self.wild -= usize::from(fakemon.fate() == Fate::Wild);
        end(fakemon);
    }

    /// The number of wild fakémon.
    pub fn wild(&self) -> usize {
        self.wild
    }

    /// The number of fakémon, wild or not.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there never was a fakémon.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// All fakémon, in the order in which they appeared.
    pub fn iter(&self) -> impl Iterator<Item = &Fakemon> {
        self.arena.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fakemon_model::ids::{SpeciesId, Timestamp};
    use fakemon_model::place::Place;
    use fakemon_model::species::CatchRate;

    fn wild(id: u64) -> Fakemon {
        let place = Place { lat_e7: 1, lon_e7: -1 };
        Fakemon::wild(FakemonId(id), SpeciesId(0), place, CatchRate::ALWAYS, Timestamp(9))
    }

    #[test]
    fn applying_twice_is_applying_once() {
        let mut population = Population::default();
        for _ in 0..2 {
            (1..=3).for_each(|id| population.apply(Change::Appeared(wild(id))));
            population.apply(Change::Captured(FakemonId(1), PlayerId(5)));
            population.apply(Change::Vanished(FakemonId(2)));
        }
        let fates = [1, 2, 3].map(|id| population.get(FakemonId(id)).unwrap().fate());
        assert_eq!(fates, [Fate::Captured(PlayerId(5)), Fate::Vanished, Fate::Wild]);
        assert_eq!((population.wild(), population.len()), (1, 3));
    }

    #[test]
    #[should_panic(expected = "captured at most once")]
    fn a_second_winner_stops_everything() {
        let mut population = Population::default();
        population.apply(Change::Appeared(wild(1)));
        population.apply(Change::Captured(FakemonId(1), PlayerId(5)));
        population.apply(Change::Captured(FakemonId(1), PlayerId(6)));
    }
}
