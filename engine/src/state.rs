//! What a shard knows: all fakémon it owns, wild, captured and vanished. [`Population::apply`] is the only mutator;
//! applying a change twice is the same as applying it once, so that recovery may start from rows that are ahead.

use crate::arena::Arena;
use crate::ids::{AttemptId, FakemonId, PlayerId, SpeciesId, Timestamp, mix};
use crate::model::Outcome;
use crate::place::Place;
use crate::species::CatchRate;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// A fakémon in 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fakemon {
    /// Which.
    pub id: FakemonId,
    /// Until when it stays.
    pub vanishes_at: Timestamp,
    /// Where.
    pub place: Place,
    /// 0: wild; `u32::MAX`: vanished; else the winner.
    winner: u32,
    /// Its species.
    pub species: SpeciesId,
    /// How easily it is caught.
    pub catch_rate: CatchRate,
}

const _: () = assert!(size_of::<Fakemon>() == 32, "a slot of the table is half a cache line");

/// What has become of a fakémon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Still there.
    Wild,
    /// This player has it, for ever.
    Captured(PlayerId),
    /// Its time was over before anyone caught it.
    Vanished,
}

impl Fakemon {
    /// One that has just appeared.
    pub fn wild(id: FakemonId, species: SpeciesId, place: Place, rate: CatchRate, vanishes_at: Timestamp) -> Fakemon {
        Fakemon { id, vanishes_at, place, winner: 0, species, catch_rate: rate }
    }

    /// With the fate that a row of the snapshot says.
    pub fn with_fate(mut self, fate: Fate) -> Fakemon {
        match fate {
            Fate::Wild => {}
            Fate::Captured(player) => self.capture(player),
            Fate::Vanished => self.vanish(),
        }
        self
    }

    /// What has become of it.
    #[inline]
    pub fn fate(&self) -> Fate {
        match self.winner {
            0 => Fate::Wild,
            u32::MAX => Fate::Vanished,
            player => Fate::Captured(PlayerId(player)),
        }
    }

    /// The first winner stays the winner.
    pub(crate) fn capture(&mut self, player: PlayerId) {
        assert!(player.0 != 0 && player.0 != u32::MAX, "no player has this number");
        assert!(self.winner == 0 || self.winner == player.0, "a fakémon is captured at most once");
        self.winner = player.0;
    }

    pub(crate) fn vanish(&mut self) {
        assert!(self.winner == 0 || self.winner == u32::MAX, "who is captured does not vanish");
        self.winner = u32::MAX;
    }
}

/// A change of a population.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// A fakémon appeared.
    Appeared(Fakemon),
    /// Somebody has it now.
    Captured(FakemonId, PlayerId),
    /// Its time is over.
    Vanished(FakemonId),
}

/// All fakémon of a shard: the fakémon in an arena, their places in it by id. The table holds only numbers, so its
/// spare room costs little: about 40 bytes a fakémon in all, however full it is.
#[derive(Default)]
pub struct Population {
    index: HashTable<u32>,
    arena: Arena<Fakemon>,
    wild: usize,
}

fn slot_hash(id: FakemonId) -> u64 {
    // The owner was chosen by the upper bits of `mix(id)`: inside a shard those are alike, so mix once more.
    mix(id.0 ^ 0x5851_F42D_4C95_7F2D)
}

impl Population {
    /// The fakémon of this id, whatever has become of it.
    #[inline]
    pub fn get(&self, id: FakemonId) -> Option<&Fakemon> {
        let slot = self.index.find(slot_hash(id), |slot| self.arena[*slot].id == id)?;
        Some(&self.arena[*slot])
    }

    /// Makes a change come true.
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

    /// How many are wild.
    pub fn wild(&self) -> usize {
        self.wild
    }

    /// How many there are or were.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there never was one.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// All of them, in the order in which they appeared.
    pub fn iter(&self) -> impl Iterator<Item = &Fakemon> {
        self.arena.iter()
    }
}

/// A hash of everything the engine knows, the same for any number of shards: the sum of the hashes of all facts, so
/// that each shard can say what its turn adds. Blocks of the journal carry it; verification computes it anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateHash(pub u64);

impl StateHash {
    /// Adds the facts that another hash stands for.
    #[inline]
    pub fn add(&mut self, facts: StateHash) {
        self.0 = self.0.wrapping_add(facts.0);
    }

    #[inline]
    fn of(kind: u64, parts: [u64; 4]) -> StateHash {
        StateHash(parts.into_iter().fold(kind, |hash, part| mix(hash ^ part)))
    }

    /// That a throw was answered so.
    #[inline]
    pub fn answered(player: PlayerId, attempt: AttemptId, fakemon: FakemonId, outcome: Outcome) -> StateHash {
        StateHash::of(1, [u64::from(player.0), attempt.0, fakemon.0, outcome as u64])
    }

    /// That a fakémon appeared.
    pub fn appeared(fakemon: &Fakemon) -> StateHash {
        let place = (fakemon.place.lat_e7 as u32 as u64) << 32 | fakemon.place.lon_e7 as u32 as u64;
        let kind = u64::from(fakemon.species.0) << 16 | u64::from(fakemon.catch_rate.basis_points());
        StateHash::of(2, [fakemon.id.0, fakemon.vanishes_at.0, place, kind])
    }

    /// That a fakémon vanished.
    pub fn vanished(fakemon: FakemonId) -> StateHash {
        StateHash::of(3, [fakemon.0, 0, 0, 0])
    }

    /// That a name has this number: a player's or a species'.
    pub fn named(number: u64, name: &str) -> StateHash {
        StateHash::of(4, [number, text_hash(name), 0, 0])
    }

    /// That a resource of the bus was changed to this value, or taken away.
    pub fn changed(key: &str, value: Option<&str>) -> StateHash {
        StateHash::of(5, [text_hash(key), u64::from(value.is_some()), value.map_or(0, text_hash), 0])
    }
}

fn text_hash(text: &str) -> u64 {
    let chunk = |bytes: &[u8]| bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    text.as_bytes().chunks(8).fold(text.len() as u64, |hash, bytes| mix(hash ^ chunk(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
