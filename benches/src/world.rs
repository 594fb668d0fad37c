//! The nth fakémon of a seed: a pure function of seed and number. Nothing is stored, so a generator can aim at the
//! millionth fakémon without having kept the others.

use crate::scenario::Scenario;
use fakemon_capture::command::Spawn;
use fakemon_model::ids::{FakemonId, mix};
use fakemon_model::place::Place;
use fakemon_model::species::{CatchRate, SpeciesTable};

/// A fakémon of a run, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nth(pub u32);

/// Longer than any run, so that no fakémon expires while it is a target.
const LIFETIME_S: u64 = 86_400;
/// Half the width of the world, in metres. It lies around Point Nemo, farthest from all land, so that other players
/// of the same server do not meet its fakémon.
const HALF_WIDTH_M: f64 = 3_000.0;

/// All fakémon of a run.
#[derive(Clone, Debug)]
pub struct World {
    seed: u64,
    scenario: Scenario,
    first_id: u64,
    centre: Place,
    species: Box<[(String, u32)]>,
    weight: u32,
}

impl World {
    /// The world of a seed. Its fakémon get the ids from `first_id` on.
    pub fn new(seed: u64, scenario: Scenario, first_id: FakemonId) -> World {
        let table = SpeciesTable::default();
        let species: Box<[_]> = table.iter().map(|species| (species.name.clone(), species.weight)).collect();
        World {
            seed,
            scenario,
            first_id: first_id.0,
            centre: Place::from_degrees(-48.8767, -123.3933).expect("Point Nemo is a place"),
            weight: species.iter().map(|(_, weight)| weight).sum(),
            species,
        }
    }

    /// The scenario it is for.
    pub fn scenario(&self) -> Scenario {
        self.scenario
    }

    /// The seed it comes from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The id of the nth.
    #[inline]
    pub fn id(&self, nth: Nth) -> FakemonId {
        FakemonId(self.first_id + u64::from(nth.0))
    }

    /// The fakémon with this id, if it is of this world.
    #[inline]
    pub fn nth(&self, id: FakemonId) -> Option<Nth> {
        let nth = id.0.checked_sub(self.first_id)?;
        u32::try_from(nth).ok().map(Nth)
    }

    /// The place of the nth.
    #[inline]
    pub fn place(&self, nth: Nth) -> Place {
        let bits = mix(self.seed ^ mix(u64::from(nth.0)));
        let metres = |bits: u64| (bits & 0xFFFF) as f64 / 65_536.0 * 2.0 * HALF_WIDTH_M - HALF_WIDTH_M;
        self.centre.moved(metres(bits), metres(bits >> 16))
    }

    /// The spawn of the nth.
    pub fn spawn(&self, nth: Nth) -> Spawn {
        Spawn {
            fakemon_id: Some(self.id(nth)),
            species: self.species_of(nth).to_owned(),
            place: self.place(nth),
            lifetime_s: Some(LIFETIME_S),
            catch_rate: self.scenario.shape().catch_rate.and_then(CatchRate::from_fraction),
        }
    }

    fn species_of(&self, nth: Nth) -> &str {
        let bits = mix(self.seed.rotate_left(32) ^ mix(u64::from(nth.0)));
        let mut left = u32::try_from(bits % u64::from(self.weight.max(1))).expect("below a u32");
        for (name, weight) in &self.species {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return name,
            }
        }
        &self.species[0].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_all_and_another_seed_says_something_else() {
        let world = |seed| World::new(seed, Scenario::Realistic, FakemonId(1_000));
        for nth in (0..1_000).map(Nth) {
            let (a, b) = (world(7).spawn(nth), world(7).spawn(nth));
            assert_eq!((a.place, &a.species), (b.place, &b.species));
            assert_eq!(world(7).nth(a.fakemon_id.unwrap()), Some(nth));
        }
        assert_ne!(world(7).place(Nth(1)), world(8).place(Nth(1)));
        assert_eq!(world(7).nth(FakemonId(999)), None);
    }

    #[test]
    fn species_come_by_their_weight() {
        let world = World::new(1, Scenario::Realistic, FakemonId(1));
        let count = |name| (0..10_000).filter(|nth| world.species_of(Nth(*nth)) == name).count();
        assert!(count("leaflet") > 3 * count("frostine"));
        assert!(count("aurorix") > 0);
    }
}
