//! `serve --demo`: a living world around a city centre. Fakémon appear by species and hour, and simulated players
//! walk, look and make attempts, each through a real websocket: they can do nothing that other players cannot.
//!
//! All of it runs on one thread with a step every tenth of a second, so that it costs next to nothing.

mod socket;
mod walker;
mod spawns;

use anyhow::Context;
use fakemon_engine::Engine;
use fakemon_model::ids::mix;
use fakemon_model::place::Place;
use jiff::tz::{Offset, TimeZone};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use spawns::Spawns;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use walker::{Rumour, Walker};

const STEP: Duration = Duration::from_millis(100);
/// Players, at most: more would crowd the map, and cost too much.
pub const PLAYERS_MAX: usize = 1_000;
/// A look from the centre must see the whole city.
pub const RADIUS_M: RangeInclusive<f64> = 50.0..=fakemon_model::limits::LOOK_RADIUS_M_MAX;
/// A look must be able to count them.
pub const WILD_MAX: usize = fakemon_model::limits::LOOK_FAKEMON_MAX - 100;
/// More would not be caught.
pub const SPAWNS_PER_SECOND: RangeInclusive<f64> = 0.0..=100.0;

/// Settings of the demo.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// The centre of the city.
    pub centre: Place,
    /// The radius of the city, in metres: 50 to 5,000.
    pub radius_m: f64,
    /// Simulated players; at most 1,000.
    pub players: usize,
    /// Wild fakémon while none is caught; at most 900.
    pub wild: usize,
    /// Spawns per second, at most.
    pub spawns_per_second: f64,
    /// Time zone for species that are active by day or by night, as `Europe/Madrid`; none: by longitude.
    pub time_zone: Option<String>,
}

impl Default for DemoOptions {
    /// Forty players around the Puerta del Sol in Madrid.
    fn default() -> DemoOptions {
        DemoOptions {
            centre: Place::from_degrees(40.4168, -3.7038).expect("a place on the map"),
            radius_m: 600.0,
            players: 40,
            wild: 80,
            spawns_per_second: 3.0,
            time_zone: None,
        }
    }
}

/// A running demo. It stops when dropped.
#[derive(Debug)]
pub struct Demo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Starts spawning, and players who connect to `play`, which must be in open mode and without TLS.
pub fn start(engine: Engine, play: SocketAddr, options: DemoOptions) -> anyhow::Result<Demo> {
    let city = City::check(&options)?;
    let seed = mix(engine.world_seed() ^ engine.now().0);
    let spawns = Spawns::new(engine.clone(), city.clone(), &options)?;
    let reach_m = engine.options().reach_m;
    let walkers = (0..options.players.min(PLAYERS_MAX))
        .map(|number| Walker::new(number, play, city.clone(), reach_m))
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let world = LivingWorld { spawns, walkers, rumour: Rumour::default(), rng: ChaCha8Rng::seed_from_u64(seed) };
    let stopped = stop.clone();
    let asked = stop.clone();
    let thread = engine.spawn_thread("demo", move || asked.load(Relaxed), move || world.live(&stopped));
    let thread = thread.context("cannot start the demo's thread")?;
    Ok(Demo { stop, thread: Some(thread) })
}

impl Demo {
    /// Disconnects all players.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic is a failure of the engine, and was reported as one
        }
    }
}

/// The world of one thread.
struct LivingWorld {
    spawns: Spawns,
    walkers: Vec<Walker>,
    rumour: Rumour,
    rng: ChaCha8Rng,
}

impl LivingWorld {
    fn live(mut self, stop: &AtomicBool) {
        let start = Instant::now();
        let mut before = Duration::ZERO;
        while !stop.load(Relaxed) {
            let now = start.elapsed();
            let passed = now - before;
            self.spawns.step(now, passed, &mut self.rng);
            for walker in &mut self.walkers {
                walker.step(now, passed, &mut self.rumour, &mut self.rng);
            }
            before = now;
            std::thread::sleep(STEP.saturating_sub(start.elapsed() - now));
        }
        self.walkers.iter_mut().for_each(Walker::leave);
    }
}

/// The city of the demo.
#[derive(Clone, Debug)]
struct City {
    centre: Place,
    radius_m: f64,
    time_zone: TimeZone,
}

impl City {
    fn check(options: &DemoOptions) -> anyhow::Result<City> {
        anyhow::ensure!(
            RADIUS_M.contains(&options.radius_m),
            "the demo's radius_m must be from {} to {}",
            RADIUS_M.start(),
            RADIUS_M.end()
        );
        anyhow::ensure!(
            SPAWNS_PER_SECOND.contains(&options.spawns_per_second),
            "the demo's spawns_per_second must be from 0 to 100"
        );
        let time_zone = match &options.time_zone {
            Some(name) => TimeZone::get(name)
                .with_context(|| format!("the demo's time_zone `{name}` is unknown: give one as Europe/Madrid"))?,
            None => solar_zone(options.centre.lon()),
        };
        Ok(City { centre: options.centre, radius_m: options.radius_m, time_zone })
    }

    /// The hour of the day, 0 to 23.
    fn hour(&self) -> u8 {
        let now = jiff::Timestamp::now().to_zoned(self.time_zone.clone());
        u8::try_from(now.hour()).expect("0 to 23")
    }

    /// A random place in the city; more likely near the centre.
    fn somewhere(&self, rng: &mut ChaCha8Rng) -> Place {
        use rand::RngExt;
        let (turn, far) = (rng.random::<f64>() * std::f64::consts::TAU, rng.random::<f64>() * self.radius_m);
        self.centre.moved(far * turn.sin(), far * turn.cos())
    }
}

/// The zone in which the sun is highest at about noon.
fn solar_zone(lon: f64) -> TimeZone {
    #[expect(clippy::cast_possible_truncation, reason = "-12 to 12")]
    let hours = (lon / 15.0).round() as i8;
    Offset::from_hours(hours).map_or(TimeZone::UTC, TimeZone::fixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_make_no_sense_are_refused_with_the_remedy() {
        let check = |change: fn(&mut DemoOptions)| {
            let mut options = DemoOptions::default();
            change(&mut options);
            City::check(&options).map_err(|error| error.to_string())
        };
        assert!(check(|_| {}).is_ok());
        assert!(check(|options| options.time_zone = Some("Europe/Madrid".into())).is_ok());
        let wrong = check(|options| options.time_zone = Some("Mars/Olympus".into())).unwrap_err();
        assert!(wrong.contains("give one as Europe/Madrid"), "{wrong}");
        assert!(check(|options| options.radius_m = f64::NAN).unwrap_err().contains("radius_m"));
        assert!(check(|options| options.spawns_per_second = -1.0).unwrap_err().contains("spawns_per_second"));
    }

    #[test]
    fn places_are_within_the_city() {
        let city = City::check(&DemoOptions::default()).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..1_000 {
            let far = city.centre.distance_m_squared(city.somewhere(&mut rng)).sqrt();
            assert!(far < city.radius_m * 1.01);
        }
        assert!(city.hour() < 24);
    }
}
