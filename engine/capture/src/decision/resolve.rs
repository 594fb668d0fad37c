//! Who catches what. [`resolve`] is the whole judgement: a function of its arguments, without clock, randomness or
//! environment, so that live traffic, recovery, replay and verification decide alike, bit for bit.

use crate::population::{Fakemon, Fate};
use fakemon_model::event::{CaptureAttempt, Outcome};
use fakemon_model::ids::mix;

/// The settings that decide. They are journaled whenever the engine opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Decides dodge rolls, together with the ids of the attempt.
    pub world_seed: u64,
    /// How far an attempt reaches, in millimetres.
    pub reach_mm: u32,
}

/// Decides an attempt at `fakemon`, which is `None` if there never was one of that id.
#[inline]
pub fn resolve(rules: Rules, fakemon: Option<&Fakemon>, attempt: &CaptureAttempt) -> Outcome {
    let Some(fakemon) = fakemon else {
        return Outcome::UnknownFakemon;
    };
    match fakemon.fate() {
        Fate::Captured(_) => return Outcome::AlreadyCaptured,
        Fate::Vanished => return Outcome::Vanished,
        Fate::Wild => {}
    }
    if attempt.received_at >= fakemon.vanishes_at {
        return Outcome::Vanished;
    }
    let reach_m = f64::from(rules.reach_mm) / 1000.0;
    if fakemon.place.distance_m_squared(attempt.place) > reach_m * reach_m {
        return Outcome::OutOfReach;
    }
    if roll(rules.world_seed, attempt) >= fakemon.catch_rate.basis_points() {
        return Outcome::Dodged;
    }
    Outcome::Captured
}

/// The dodge roll of an attempt, 0 to 9,999: below the catch rate, the ball holds.
pub fn roll(world_seed: u64, attempt: &CaptureAttempt) -> u16 {
    let parts = [attempt.fakemon_id.0, u64::from(attempt.player.0), attempt.attempt_id.0];
    let hash = parts.into_iter().fold(world_seed, |hash, part| mix(hash ^ mix(part)));
    u16::try_from(((hash >> 32) * 10_000) >> 32).expect("a 32-bit fraction of 10,000 is below 10,000")
}

#[cfg(test)]
mod tests {
    use super::*;
    use fakemon_model::ids::{AttemptId, FakemonId, PlayerId, SpeciesId, Timestamp};
    use fakemon_model::place::Place;
    use fakemon_model::species::CatchRate;

    const RULES: Rules = Rules { world_seed: 7, reach_mm: 50_000 };

    fn fakemon(catch_rate: f64) -> Fakemon {
        let place = Place::from_degrees(40.4168, -3.7038).unwrap();
        let catch_rate = CatchRate::from_fraction(catch_rate).unwrap();
        Fakemon::wild(FakemonId(1), SpeciesId(0), place, catch_rate, Timestamp(1_000))
    }

    fn attempt(attempt: u64, north_m: f64, at: u64) -> CaptureAttempt {
        CaptureAttempt {
            player: PlayerId(3),
            attempt_id: AttemptId(attempt),
            fakemon_id: FakemonId(1),
            place: fakemon(1.0).place.moved(north_m, 0.0),
            received_at: Timestamp(at),
        }
    }

    #[test]
    fn each_reason_has_its_case() {
        let wild = fakemon(1.0);
        let [mut taken, mut gone] = [wild, wild];
        taken.capture(PlayerId(9));
        gone.vanish();
        for (target, attempt, outcome) in [
            (Some(&wild), attempt(1, 0.0, 999), Outcome::Captured),
            (Some(&wild), attempt(1, 49.9, 999), Outcome::Captured),
            (Some(&wild), attempt(1, 50.1, 999), Outcome::OutOfReach),
            (Some(&wild), attempt(1, 0.0, 1_000), Outcome::Vanished),
            (Some(&gone), attempt(1, 0.0, 1), Outcome::Vanished),
            (Some(&taken), attempt(1, 9_999.0, 9_999), Outcome::AlreadyCaptured),
            (Some(&fakemon(0.0)), attempt(1, 0.0, 999), Outcome::Dodged),
            (None, attempt(1, 0.0, 999), Outcome::UnknownFakemon),
        ] {
            assert_eq!(resolve(RULES, target, &attempt), outcome);
        }
    }

    #[test]
    fn dodging_follows_the_catch_rate_and_only_the_arguments() {
        let target = fakemon(0.3);
        let decide = |id| resolve(RULES, Some(&target), &attempt(id, 0.0, 1));
        let caught = (0..20_000).filter(|attempt| decide(*attempt) == Outcome::Captured).count();
        assert!((5_700..6_300).contains(&caught), "{caught} of 20,000 at a rate of 0.3");
        assert!((0..100).all(|attempt| decide(attempt) == decide(attempt)));
    }
}
