//! One simulated player: looks around, walks to the nearest fakémon, makes an attempt when it is near enough, another
//! one when it dodged, and runs when a rare one is reported.

use super::City;
use super::socket::{Heard, Sighting, Socket};
use fakemon_model::place::Place;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

const NAMES: [&str; 40] = [
    "ada", "amir", "ana", "bea", "bruno", "chen", "clara", "dario", "diego", "elena", "emre", "fatima", "farid",
    "gala", "hana", "hugo", "ines", "ivan", "jana", "joel", "kira", "koji", "lena", "luca", "mara", "mateo", "nadia",
    "nils", "olga", "omar", "paula", "pablo", "rosa", "ravi", "sara", "sven", "tara", "tomas", "vera", "yuki",
];
/// How far players look, in metres.
const SIGHT_M: f64 = 200.0;
/// Species that make people run.
const RARE: [&str; 3] = ["aurorix", "quartzel", "frostine"];
const WALK_M_PER_S: f64 = 2.5;
const RUN_M_PER_S: f64 = 7.0;
/// Fakémon that a player remembers.
const KNOWN_MAX: usize = 200;

/// The rare fakémon that all players know of.
#[derive(Clone, Debug, Default)]
pub(super) struct Rumour {
    goal: Option<Goal>,
    /// Counts rumours, so that each player makes up their mind once.
    number: u64,
}

impl Rumour {
    fn start(&mut self, goal: Goal) {
        if self.goal.as_ref().is_none_or(|old| old.fakemon_id != goal.fakemon_id) {
            self.goal = Some(goal);
            self.number += 1;
        }
    }

    fn end(&mut self, fakemon_id: &str) {
        self.goal.take_if(|goal| goal.fakemon_id == fakemon_id);
    }
}

/// A fakémon that a walker goes for.
#[derive(Clone, Debug, PartialEq)]
struct Goal {
    fakemon_id: String,
    place: Place,
    rare: bool,
}

impl Goal {
    fn seen(sighting: &Sighting) -> Option<Goal> {
        Some(Goal {
            fakemon_id: sighting.fakemon_id.clone(),
            place: Place::from_degrees(sighting.lat, sighting.lon).ok()?,
            rare: RARE.contains(&sighting.species.as_str()),
        })
    }
}

/// A player.
pub(super) struct Walker {
    name: String,
    play: SocketAddr,
    socket: Option<Socket>,
    city: City,
    place: Place,
    reach_m: f64,
    /// Where the player walks while no fakémon is near.
    stroll: Place,
    known: BTreeMap<String, Goal>,
    goal: Option<Goal>,
    heard_rumour: u64,
    next_attempt: u64,
    waiting: bool,
    next_connect: Duration,
    next_look: Duration,
    next_attempt_at: Duration,
    next_collection: Duration,
}

impl Walker {
    pub(super) fn new(number: usize, play: SocketAddr, city: City, reach_m: f64) -> Walker {
        let round = number / NAMES.len();
        let suffix = if round == 0 { String::new() } else { format!("-{}", round + 1) };
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Walker {
            name: format!("demo-{}{suffix}", NAMES[number % NAMES.len()]),
            play,
            socket: None,
            place: city.centre,
            stroll: city.centre,
            city,
            reach_m,
            known: BTreeMap::new(),
            goal: None,
            heard_rumour: 0,
            // The same players come back after a restart; their attempts must not reuse earlier ids.
            next_attempt: since.map_or(1, |since| since.as_micros() as u64),
            waiting: false,
            // Players connect one after the other, not all together.
            next_connect: Duration::from_millis(50 * number as u64),
            next_look: Duration::ZERO,
            next_attempt_at: Duration::ZERO,
            next_collection: Duration::from_secs(20 + number as u64),
        }
    }

    /// One step of the player: a tenth of a second.
    pub(super) fn step(&mut self, now: Duration, passed: Duration, rumour: &mut Rumour, rng: &mut ChaCha8Rng) {
        if self.socket.is_none() && !self.arrive(now, rng) {
            return;
        }
        let Some(mut socket) = self.socket.take() else { return };
        match self.play(&mut socket, now, passed, rumour, rng) {
            Ok(()) => self.socket = Some(socket),
            Err(error) => {
                tracing::debug!(player = self.name, %error, "a demo player lost the connection");
                self.next_connect = now + seconds(rng, 1.0, 3.0);
            }
        }
    }

    /// Disconnects.
    pub(super) fn leave(&mut self) {
        if let Some(mut socket) = self.socket.take() {
            socket.close();
        }
    }

    fn arrive(&mut self, now: Duration, rng: &mut ChaCha8Rng) -> bool {
        if now < self.next_connect {
            return false;
        }
        self.next_connect = now + seconds(rng, 2.0, 6.0);
        match Socket::open(self.play, &self.name) {
            Ok(socket) => {
                self.socket = Some(socket);
                self.place = self.city.somewhere(rng);
                self.stroll = self.city.somewhere(rng);
                self.known.clear();
                self.goal = None;
                self.waiting = false;
                self.next_look = now;
                true
            }
            Err(error) => {
                tracing::debug!(player = self.name, %error, "a demo player cannot connect");
                false
            }
        }
    }

    fn play(
        &mut self,
        socket: &mut Socket,
        now: Duration,
        passed: Duration,
        rumour: &mut Rumour,
        rng: &mut ChaCha8Rng,
    ) -> Result<(), tungstenite::Error> {
        for heard in socket.listen()? {
            self.hear(heard, now, rumour, rng);
        }
        if now >= self.next_look {
            self.next_look = now + seconds(rng, 8.0, 15.0);
            socket.say(self.look())?;
        }
        self.choose(rumour, rng);
        self.walk(passed, rng);
        if now >= self.next_attempt_at
            && !self.waiting
            && let Some(attempt) = self.attempt(now, rng)
        {
            socket.say(attempt)?;
        }
        if now >= self.next_collection {
            self.next_collection = now + seconds(rng, 60.0, 120.0);
            socket.say(r#"{"type":"collection"}"#.to_owned())?;
        }
        Ok(())
    }

    fn hear(&mut self, heard: Heard, now: Duration, rumour: &mut Rumour, rng: &mut ChaCha8Rng) {
        match heard {
            Heard::World { fakemon } => {
                self.known.clear();
                fakemon.iter().for_each(|sighting| self.notice(sighting, rumour));
            }
            Heard::Appeared(sighting) => self.notice(&sighting, rumour),
            Heard::Vanished { fakemon_id } => self.forget(&fakemon_id, rumour),
            Heard::Result { fakemon_id, outcome, reason } => {
                self.waiting = false;
                self.next_attempt_at = now + seconds(rng, 0.8, 2.5);
                // A dodge or a miss by distance is worth another attempt; any other result ends it.
                let again = ["dodged", "out_of_reach", "throttled"];
                if outcome == "captured" || !reason.is_some_and(|reason| again.contains(&reason.as_str())) {
                    self.forget(&fakemon_id, rumour);
                }
            }
            Heard::Collection {} => {}
            Heard::Error { message } => {
                self.waiting = false;
                tracing::debug!(player = self.name, message, "a demo player was told off");
            }
        }
    }

    fn notice(&mut self, sighting: &Sighting, rumour: &mut Rumour) {
        let Some(goal) = Goal::seen(sighting) else { return };
        if goal.rare {
            rumour.start(goal.clone());
        }
        if self.known.len() < KNOWN_MAX {
            self.known.insert(goal.fakemon_id.clone(), goal);
        }
    }

    fn forget(&mut self, fakemon_id: &str, rumour: &mut Rumour) {
        self.known.remove(fakemon_id);
        self.goal.take_if(|goal| goal.fakemon_id == fakemon_id);
        rumour.end(fakemon_id);
    }

    /// Half of the players who learn of a rare one run there; the others keep to the nearest.
    fn choose(&mut self, rumour: &Rumour, rng: &mut ChaCha8Rng) {
        if self.heard_rumour != rumour.number {
            self.heard_rumour = rumour.number;
            if rng.random_bool(0.5)
                && let Some(rare) = &rumour.goal
            {
                self.goal = Some(rare.clone());
            }
        }
        let chases_nothing = self.goal.as_ref().is_some_and(|goal| {
            // Another walker has removed it from the city already.
            goal.rare && rumour.goal.is_none() && !self.known.contains_key(&goal.fakemon_id)
        });
        if self.goal.is_none() || chases_nothing {
            let far = |goal: &&Goal| self.place.distance_m_squared(goal.place);
            self.goal = self.known.values().min_by(|a, b| far(a).total_cmp(&far(b))).cloned();
        }
    }

    fn walk(&mut self, passed: Duration, rng: &mut ChaCha8Rng) {
        let (to, speed, near_m) = match &self.goal {
            Some(goal) if goal.rare => (goal.place, RUN_M_PER_S, self.reach_m * 0.5),
            Some(goal) => (goal.place, WALK_M_PER_S, self.reach_m * 0.8),
            None => (self.stroll, WALK_M_PER_S, 5.0),
        };
        let away_m = self.place.distance_m_squared(to).sqrt();
        if away_m <= near_m {
            if self.goal.is_none() {
                self.stroll = self.city.somewhere(rng);
            }
            return;
        }
        let step_m = (speed * passed.as_secs_f64()).min(away_m - near_m + 0.1);
        // The same geometry that measures the distance also leads there: north first, then east along that parallel.
        let north = Place { lat_e7: to.lat_e7, lon_e7: self.place.lon_e7 };
        let north_m =
            self.place.distance_m_squared(north).sqrt() * f64::from((to.lat_e7 - self.place.lat_e7).signum());
        let east_m = (away_m * away_m - north_m * north_m).max(0.0).sqrt() * east_sign(self.place, to);
        self.place = self.place.moved(north_m * step_m / away_m, east_m * step_m / away_m);
    }

    /// An attempt at a fakémon that is near enough. Some players are impatient and try from too far away.
    fn attempt(&mut self, now: Duration, rng: &mut ChaCha8Rng) -> Option<String> {
        let goal = self.goal.as_ref()?;
        let patience = if rng.random_bool(0.02) { 1.5 } else { 0.95 };
        if self.place.distance_m_squared(goal.place).sqrt() > self.reach_m * patience {
            return None;
        }
        let attempt_id = self.next_attempt;
        self.next_attempt += 1;
        self.waiting = true;
        self.next_attempt_at = now + Duration::from_secs(5);
        Some(format!(
            r#"{{"type":"attempt","attempt_id":"{attempt_id}","fakemon_id":"{}","lat":{},"lon":{}}}"#,
            goal.fakemon_id,
            self.place.lat(),
            self.place.lon()
        ))
    }

    fn look(&self) -> String {
        let (lat, lon) = (self.place.lat(), self.place.lon());
        format!(r#"{{"type":"look","lat":{lat},"lon":{lon},"radius_m":{SIGHT_M}}}"#)
    }
}

/// 1 if the short way from `from` to `to` leads east, -1 if it leads west.
fn east_sign(from: Place, to: Place) -> f64 {
    let east = i64::from(to.lon_e7) - i64::from(from.lon_e7);
    let over_the_date_line = east.abs() > 1_800_000_000;
    if (east >= 0) != over_the_date_line { 1.0 } else { -1.0 }
}

fn seconds(rng: &mut ChaCha8Rng, from: f64, to: f64) -> Duration {
    Duration::from_secs_f64(rng.random_range(from..to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::DemoOptions;
    use rand::SeedableRng;

    fn walker(centre: Place) -> Walker {
        let options = DemoOptions { centre, ..Default::default() };
        Walker::new(3, "127.0.0.1:1".parse().unwrap(), City::check(&options).unwrap(), 50.0)
    }

    fn sighting(id: &str, species: &str, place: Place) -> Sighting {
        Sighting { fakemon_id: id.into(), species: species.into(), lat: place.lat(), lon: place.lon() }
    }

    #[test]
    fn a_player_walks_to_the_nearest_and_attempts_from_within_reach() {
        for (lat, lon) in [(40.4168, -3.7038), (-33.9, 18.4), (0.0, 179.9999)] {
            let centre = Place::from_degrees(lat, lon).unwrap();
            let (mut walker, mut rumour, mut rng) = (walker(centre), Rumour::default(), ChaCha8Rng::seed_from_u64(1));
            let near = centre.moved(-60.0, 80.0);
            let world = vec![sighting("1", "leaflet", centre.moved(150.0, 0.0)), sighting("2", "leaflet", near)];
            walker.hear(Heard::World { fakemon: world }, Duration::ZERO, &mut rumour, &mut rng);
            let mut attempts = None;
            for tenth in 1..600 {
                walker.choose(&rumour, &mut rng);
                walker.walk(Duration::from_millis(100), &mut rng);
                attempts = walker.attempt(Duration::from_millis(100 * tenth), &mut rng);
                if attempts.is_some() {
                    break;
                }
            }
            let attempt: serde_json::Value = serde_json::from_str(&attempts.expect("a minute is enough")).unwrap();
            assert_eq!(attempt["fakemon_id"], "2");
            assert!(walker.place.distance_m_squared(near).sqrt() <= 75.0);
        }
    }

    #[test]
    fn word_of_a_rare_one_goes_round_and_dies_with_it() {
        let centre = DemoOptions::default().centre;
        let (mut rumour, mut rng) = (Rumour::default(), ChaCha8Rng::seed_from_u64(2));
        let mut finder = walker(centre);
        finder.hear(Heard::Appeared(sighting("9", "aurorix", centre)), Duration::ZERO, &mut rumour, &mut rng);
        let mut crowd: Vec<Walker> = (0..100).map(|_| walker(centre.moved(500.0, 0.0))).collect();
        crowd.iter_mut().for_each(|walker| walker.choose(&rumour, &mut rng));
        let running = |crowd: &[Walker]| crowd.iter().filter(|walker| walker.goal.is_some()).count();
        assert!((30..70).contains(&running(&crowd)));
        finder.hear(Heard::Vanished { fakemon_id: "9".into() }, Duration::ZERO, &mut rumour, &mut rng);
        crowd.iter_mut().for_each(|walker| walker.choose(&rumour, &mut rng));
        assert_eq!(running(&crowd), 0);
    }
}
