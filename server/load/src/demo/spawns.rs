//! Keeps the city populated: replaces fakémon that were caught or have expired, by the weights of the species table
//! and, for species of the day or of the night, by the hour.

use super::{City, DemoOptions, WILD_MAX};
use fakemon_capture::command::Spawn;
use fakemon_engine::{Client, Engine};
use fakemon_model::ids::Token;
use fakemon_model::species::Species;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::time::Duration;

/// Interval of counts of the city.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// Spawns fakémon in the city.
pub(super) struct Spawns {
    engine: Engine,
    client: Client,
    city: City,
    population: usize,
    per_second: f64,
    next_count: Duration,
    missing: usize,
    /// Fakémon due to appear; the whole part is spawned.
    due: f64,
}

impl Spawns {
    pub(super) fn new(engine: Engine, city: City, options: &DemoOptions) -> anyhow::Result<Spawns> {
        Ok(Spawns {
            client: engine.client()?,
            engine,
            city,
            population: options.wild.min(WILD_MAX),
            per_second: options.spawns_per_second,
            next_count: Duration::ZERO,
            missing: 0,
            due: 0.0,
        })
    }

    pub(super) fn step(&mut self, now: Duration, passed: Duration, rng: &mut ChaCha8Rng) {
        if now >= self.next_count {
            let there = self.engine.look(self.city.centre, self.city.radius_m * 1.1).len();
            // A fresh city is filled at once, so that the map is never empty.
            if now == Duration::ZERO || self.next_count == Duration::ZERO {
                self.due = self.population.saturating_sub(there) as f64 / 2.0;
            }
            self.missing = self.population.saturating_sub(there);
            self.next_count = now + COUNT_EVERY;
        }
        self.due = (self.due + passed.as_secs_f64() * self.per_second).min(self.population as f64);
        while self.due >= 1.0 && self.missing > 0 {
            self.due -= 1.0;
            self.missing -= 1;
            self.spawn(rng);
        }
        if self.missing == 0 {
            self.due = self.due.min(1.0);
        }
        self.client.flush();
        self.client.poll(&mut Vec::new());
    }

    fn spawn(&mut self, rng: &mut ChaCha8Rng) {
        let hour = self.city.hour();
        let species: Vec<&Species> =
            self.engine.options().species.iter().filter(|species| is_active(species, hour)).collect();
        let Some(species) = pick(&species, rng) else { return };
        let spawn = Spawn {
            fakemon_id: None,
            species: species.name.clone(),
            place: self.city.somewhere(rng),
            lifetime_s: None,
            catch_rate: None,
        };
        if let Err(error) = self.client.spawn(Token(0), &spawn) {
            tracing::debug!(%error, "the demo cannot spawn");
        }
    }
}

/// A random species, by weight.
fn pick<'a>(species: &[&'a Species], rng: &mut ChaCha8Rng) -> Option<&'a Species> {
    let sum: u64 = species.iter().map(|species| u64::from(species.weight)).sum();
    let mut left = if sum == 0 {
        return None;
    } else {
        rng.random_range(0..sum)
    };
    species.iter().copied().find(|species| {
        let weight = u64::from(species.weight);
        let found = left < weight;
        left = left.saturating_sub(weight);
        found
    })
}

/// Whether a species is active at this hour. Hours may wrap past midnight: `20-6`.
fn is_active(species: &Species, hour: u8) -> bool {
    match species.active {
        None => true,
        Some((from, to)) if from <= to => (from..to).contains(&hour),
        Some((from, to)) => hour >= from || hour < to,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fakemon_model::species::SpeciesTable;
    use rand::SeedableRng;

    #[test]
    fn hours_may_wrap_past_midnight() {
        let table = SpeciesTable::default();
        let by_night = table.named("noctowisp").unwrap();
        assert!([20, 23, 0, 5].iter().all(|hour| is_active(by_night, *hour)));
        assert!([6, 12, 19].iter().all(|hour| !is_active(by_night, *hour)));
        let by_day = table.named("leaflet").unwrap();
        assert!(is_active(by_day, 6) && is_active(by_day, 19) && !is_active(by_day, 20) && !is_active(by_day, 5));
    }

    #[test]
    fn heavier_species_come_more_often() {
        let table = SpeciesTable::default();
        let all: Vec<&Species> = table.iter().collect();
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut count = |name: &str| (0..5_000).filter(|_| pick(&all, &mut rng).unwrap().name == name).count();
        assert!(count("sparkit") > 4 * count("frostine"));
        assert!(count("aurorix") > 0);
        assert!(pick(&[], &mut rng).is_none());
    }
}
