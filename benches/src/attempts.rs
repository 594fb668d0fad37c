//! An endless stream of attempts. Their targets depend on the board alone, so the same seed over the same captures
//! gives the same attempts.

use crate::board::{Board, Slot};
use crate::scenario::Choice;
use crate::world::{Nth, World};
use fakemon_model::ids::mix;
use fakemon_model::place::Place;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Zipf};

/// A player of a run, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Contender(pub u32);

/// An attempt at a fakémon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedAttempt {
    /// The slot in which the fakémon was.
    pub slot: Slot,
    /// The fakémon.
    pub nth: Nth,
    /// The player's place.
    pub place: Place,
}

/// The next action of a player.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Makes a new attempt.
    Attempt(PlannedAttempt),
    /// Retries an earlier attempt, like a client that has lost its connection.
    Repeat,
}

/// Distance of players within reach, in metres: well below the default reach of 50.
const NEAR_M: f64 = 30.0;
/// Distance of players out of reach, in metres.
const FAR_M: f64 = 400.0;
/// Squares of the city around which players live.
const SQUARES: u32 = 64;

/// The stream of one thread.
#[derive(Clone, Debug)]
pub struct Attempts {
    world: World,
    rng: ChaCha8Rng,
    choice: Chooser,
    out_of_reach_of_10_000: u32,
    repeated_of_10_000: u32,
}

#[derive(Clone, Debug)]
enum Chooser {
    Uniform,
    Zipf(Zipf<f64>),
}

impl Attempts {
    /// The stream number `lane` of a world with `slots` slots; lanes are independent of each other.
    pub fn new(world: World, lane: u64, slots: u32) -> Attempts {
        let mut rng = ChaCha8Rng::seed_from_u64(world.seed());
        rng.set_stream(lane);
        let shape = world.scenario().shape();
        let choice = match shape.choice {
            Choice::Uniform => Chooser::Uniform,
            Choice::Zipf(exponent) => Chooser::Zipf(
                Zipf::new(f64::from(slots.max(1)), exponent).expect("one slot or more, a finite exponent"),
            ),
        };
        Attempts {
            world,
            rng,
            choice,
            out_of_reach_of_10_000: shape.out_of_reach_of_10_000,
            repeated_of_10_000: shape.repeated_of_10_000,
        }
    }

    /// The world of its targets.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// One of `players` players, with equal probability.
    pub fn contender(&mut self, players: u32) -> Contender {
        Contender(self.rng.random_range(0..players.max(1)))
    }

    /// The next action of this player.
    #[inline]
    pub fn next(&mut self, contender: Contender, board: &Board) -> Act {
        if self.happens(self.repeated_of_10_000) {
            return Act::Repeat;
        }
        let slot = self.slot(contender, board.slots());
        let nth = board.at(slot);
        let away_m = if self.happens(self.out_of_reach_of_10_000) { FAR_M } else { NEAR_M };
        Act::Attempt(PlannedAttempt { slot, nth, place: self.standing(nth, away_m) })
    }

    /// An attempt at this fakémon from within reach.
    pub fn at(&mut self, slot: Slot, nth: Nth) -> PlannedAttempt {
        let place = self.standing(nth, NEAR_M);
        PlannedAttempt { slot, nth, place }
    }

    #[inline]
    fn slot(&mut self, contender: Contender, slots: u32) -> Slot {
        match &self.choice {
            Chooser::Uniform if slots == 1 => Slot(0),
            Chooser::Uniform => Slot(self.rng.random_range(0..slots)),
            Chooser::Zipf(zipf) => {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to `slots`")]
                let rank = zipf.sample(&mut self.rng) as u64 - 1;
                // Half of all attempts are at the city's favourites, half at fakémon near home.
                let home = match rank & 1 {
                    0 => 0,
                    _ => mix(u64::from(contender.0)) % u64::from(SQUARES) * u64::from(slots.div_ceil(SQUARES)),
                };
                Slot(u32::try_from((rank + home) % u64::from(slots)).expect("below a u32"))
            }
        }
    }

    /// A place about `away_m` metres from the fakémon. Diagonally: four places are as good as a circle here and cost
    /// less.
    #[inline]
    fn standing(&mut self, nth: Nth, away_m: f64) -> Place {
        let bits = self.rng.random::<u32>();
        let leg = away_m * std::f64::consts::FRAC_1_SQRT_2 * (0.5 + f64::from(bits >> 8) / f64::from(1u32 << 25));
        let (north, east) = (if bits & 1 == 0 { leg } else { -leg }, if bits & 2 == 0 { leg } else { -leg });
        self.world.place(nth).moved(north, east)
    }

    #[inline]
    fn happens(&mut self, of_10_000: u32) -> bool {
        of_10_000 > 0 && self.rng.random_range(0..10_000) < of_10_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;
    use fakemon_model::ids::FakemonId;

    fn attempts(seed: u64, scenario: Scenario, count: usize) -> Vec<Act> {
        let shape = scenario.shape();
        let board = Board::new(shape.slots);
        let mut attempts = Attempts::new(World::new(seed, scenario, FakemonId(1)), 0, shape.slots);
        let mut next = || {
            let contender = attempts.contender(100);
            attempts.next(contender, &board)
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_attempts() {
        for scenario in Scenario::ALL {
            assert_eq!(attempts(1, scenario, 1_000), attempts(1, scenario, 1_000));
            assert_ne!(attempts(1, scenario, 1_000), attempts(2, scenario, 1_000), "{scenario}");
        }
    }

    #[test]
    fn attempts_are_within_reach_or_clearly_not() {
        let world = World::new(3, Scenario::Realistic, FakemonId(1));
        let (mut near, mut far, mut repeated) = (0, 0, 0);
        for act in attempts(3, Scenario::Realistic, 10_000) {
            let Act::Attempt(attempt) = act else {
                repeated += 1;
                continue;
            };
            let metres = world.place(attempt.nth).distance_m_squared(attempt.place).sqrt();
            match metres {
                ..31.0 => near += 1,
                199.0.. => far += 1,
                _ => panic!("{metres} m is neither near nor far"),
            }
        }
        assert!(near > 9_000 && (150..500).contains(&far) && (50..200).contains(&repeated));
    }

    #[test]
    fn a_realistic_world_is_crowded_in_a_few_places() {
        let mut counts = vec![0u32; Scenario::Realistic.shape().slots as usize];
        for act in attempts(4, Scenario::Realistic, 100_000) {
            if let Act::Attempt(attempt) = act {
                counts[attempt.slot.0 as usize] += 1;
            }
        }
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let crowded: u32 = counts[..100].iter().sum();
        assert!(crowded > 40_000 && counts[1_000] > 0, "{crowded}");
    }
}
