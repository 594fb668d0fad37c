//! `kill -9` at random moments under load, life after life on the same directory: what was told stays told.
//!
//! `make crash DURATION=600` does it for ten minutes.

use crate::dice::Dice;
use crate::player::{Player, SOL, number, throw};
use crate::server::{Server, answer, fresh_data};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const RACERS: usize = 4;
/// Throws of a racer that wait for their answer.
const IN_FLIGHT: usize = 8;
const LIVES: usize = 8;
/// Answers of a racer that are asked for again after every life.
const SAMPLE: usize = 30;

/// Everything that anybody was told, in all lives.
#[derive(Default)]
struct Told {
    racers: [Racer; RACERS],
    /// Position by fakémon.
    spawned: BTreeMap<u64, u64>,
}

/// What a player was told, by attempt.
#[derive(Default)]
struct Racer {
    next_attempt: u64,
    answers: BTreeMap<u64, Value>,
}

#[test]
fn what_was_told_outlives_every_kill() {
    let mut dice = Dice::new();
    let seconds = std::env::var("FAKEMON_CRASH_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let campaign = seconds.map(Duration::from_secs);
    let (data, begun, mut told, mut lives) = (fresh_data(), Instant::now(), Told::default(), 0);
    while campaign.map_or(lives < LIVES, |campaign| begun.elapsed() < campaign) {
        let server = Server::start(data.path(), &["--cores", ["1", "2", "3"][lives % 3]]);
        told.is_still_true(&server, &mut dice);
        told.grow_until_killed(server, Duration::from_millis(50 + dice.below(350) as u64));
        told.agrees_with_journal(data.path());
        lives += 1;
        if campaign.is_some() {
            eprintln!("life {lives}: {} answers, {} spawns", told.answers(), told.spawned.len());
        }
    }
    assert!(told.answers() > 100 && told.spawned.len() > 10, "{} {}", told.answers(), told.spawned.len());
    let server = Server::start(data.path(), &[]);
    told.is_still_true(&server, &mut dice);
    assert!(server.stop().success());
    told.agrees_with_journal(data.path());
}

impl Told {
    fn answers(&self) -> usize {
        self.racers.iter().map(|racer| racer.answers.len()).sum()
    }

    /// Throws that are sent again get the first answer; what was won is in the collection.
    fn is_still_true(&self, server: &Server, dice: &mut Dice) {
        for (index, racer) in self.racers.iter().enumerate() {
            let mut player = Player::connect(server.play, &name(index)).expect("it listens");
            let all: Vec<_> = racer.answers.iter().collect();
            let newest = all.iter().rev().take(SAMPLE).copied();
            let some: Vec<_> = newest.chain((0..SAMPLE.min(all.len())).map(|_| *dice.one_of(&all))).collect();
            for (attempt, first) in some {
                // The id decides, not the fakémon.
                let again = player.throw(*attempt, 1).expect("it answers");
                assert_eq!(again, *first);
            }
            let collection = player.ask(&json!({ "type": "collection" })).expect("it answers");
            let items = collection["items"].as_array().expect("items");
            let kept: HashMap<u64, u64> =
                items.iter().map(|item| (number(item, "fakemon_id"), number(item, "position"))).collect();
            let oldest = kept.values().min().copied().unwrap_or(0); // a page is not the whole collection
            for won in racer.answers.values().filter(|answer| answer["outcome"] == "captured") {
                let (fakemon, position) = (number(won, "fakemon_id"), number(won, "position"));
                let held = kept.get(&fakemon) == Some(&position) || (items.len() >= 10_000 && position < oldest);
                assert!(held, "{} misses {won}", name(index));
            }
        }
    }

    /// Players race for fakémon that appear one after another, until the server is killed.
    fn grow_until_killed(&mut self, server: Server, lifetime: Duration) {
        let (newest, play) = (AtomicU64::new(0), server.play);
        let spawned = std::thread::scope(|scope| {
            for (index, racer) in self.racers.iter_mut().enumerate() {
                let newest = &newest;
                scope.spawn(move || racer.race(play, &name(index), newest));
            }
            let spawns = scope.spawn(|| spawn_until_killed(&server, &newest));
            std::thread::sleep(lifetime);
            rustix::process::kill_process(server.pid(), rustix::process::Signal::KILL).expect("it still runs");
            spawns.join().expect("spawning does not panic")
        });
        drop(server);
        for (fakemon, position) in spawned {
            assert_eq!(self.spawned.insert(fakemon, position), None, "fakémon {fakemon} was given twice");
        }
    }

    /// The journal verifies, and says what was told.
    fn agrees_with_journal(&self, data: &Path) {
        let data = data.to_str().expect("temporary paths are UTF-8");
        let report: Value = serde_json::from_str(&answer(&["verify", "--data", data, "--json"])).expect("JSON");
        assert_eq!(report["ok"], true, "{report}");
        let (mut appeared, mut winners) = (HashMap::new(), HashMap::new());
        for detail in details(data, "appeared") {
            appeared.insert(number(&detail, "fakemon_id"), number(&detail, "position"));
        }
        for detail in details(data, "capture_succeeded") {
            let fakemon = number(&detail, "fakemon_id");
            let second = winners.insert(fakemon, (detail["player"].clone(), number(&detail, "position")));
            assert_eq!(second, None, "a second winner of {fakemon}");
        }
        for (fakemon, position) in &self.spawned {
            assert_eq!(appeared.get(fakemon), Some(position), "fakémon {fakemon} was spawned");
        }
        for (index, racer) in self.racers.iter().enumerate() {
            for won in racer.answers.values().filter(|answer| answer["outcome"] == "captured") {
                let expected = (json!(name(index)), number(won, "position"));
                assert_eq!(winners.get(&number(won, "fakemon_id")), Some(&expected));
            }
        }
    }
}

impl Racer {
    /// Throws at the newest fakémon and notes every answer, until the connection breaks.
    fn race(&mut self, play: std::net::SocketAddr, name: &str, newest: &AtomicU64) {
        let Some(mut player) = Player::connect(play, name) else { return };
        let mut in_flight = 0;
        loop {
            while in_flight < IN_FLIGHT {
                self.next_attempt += 1;
                if player.say(&throw(self.next_attempt, newest.load(Ordering::Relaxed))).is_none() {
                    // What was answered before the end is still in the socket.
                    in_flight = usize::MAX;
                    break;
                }
                in_flight += 1;
            }
            let Some(answer) = player.hear() else { return };
            in_flight = in_flight.saturating_sub(1);
            let told_twice = self.answers.insert(number(&answer, "attempt_id"), answer);
            assert_eq!(told_twice, None);
        }
    }
}

/// Puts one fakémon after another into the world; those that were acknowledged.
fn spawn_until_killed(server: &Server, newest: &AtomicU64) -> Vec<(u64, u64)> {
    let mut spawned = Vec::new();
    let detail = json!({ "species": "sparkit", "lat": SOL.0, "lon": SOL.1, "catch_rate": 1 });
    while let Some((fakemon, position)) = server.try_spawn(&detail) {
        newest.store(fakemon, Ordering::Relaxed);
        spawned.push((fakemon, position));
    }
    spawned
}

fn details(data: &str, kind: &str) -> Vec<Value> {
    let text = answer(&["log", "--data", data, "--kind", kind]);
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("lines are JSON"));
    lines.map(|line| line["detail"].clone()).collect()
}

fn name(index: usize) -> String {
    format!("racer-{index}")
}
