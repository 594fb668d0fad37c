//! `kill -9` at random moments under load, again and again on the same directory: no acknowledged answer is lost.
//!
//! `make crash DURATION=600` does it for ten minutes.

use crate::dice::Dice;
use crate::player::{SOL, number};
use crate::racer::Racer;
use crate::server::{Server, answer, fresh_data};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const RACERS: usize = 4;
const LIVES: usize = 8;

/// All answers given, in all runs of the server.
struct Told {
    racers: Vec<Racer>,
    /// Position by fakémon.
    spawned: BTreeMap<u64, u64>,
}

/// How long a campaign takes, if this is one.
pub(crate) fn campaign() -> Option<Duration> {
    let seconds = std::env::var("FAKEMON_CRASH_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    seconds.map(Duration::from_secs)
}

#[test]
fn what_was_told_outlives_every_kill() {
    let mut dice = Dice::new();
    let campaign = campaign();
    let racers = (0..RACERS).map(|index| Racer::new(&format!("racer-{index}"))).collect();
    let mut told = Told { racers, spawned: BTreeMap::new() };
    let (data, begun, mut lives) = (fresh_data(), Instant::now(), 0);
    while campaign.map_or(lives < LIVES, |campaign| begun.elapsed() < campaign) {
        let server = Server::start(data.path(), &["--cores", ["1", "2", "3"][lives % 3]]);
        told.racers.iter_mut().for_each(|racer| racer.is_told_the_same(server.play, &mut dice));
        told.grow_until_killed(server, Duration::from_millis(50 + dice.below(350) as u64));
        told.agrees_with_journal(data.path());
        lives += 1;
        if campaign.is_some() {
            eprintln!("life {lives}: {} answers, {} spawns", told.answers(), told.spawned.len());
        }
    }
    assert!(told.answers() > 100 && told.spawned.len() > 10, "{} {}", told.answers(), told.spawned.len());
    let server = Server::start(data.path(), &[]);
    told.racers.iter_mut().for_each(|racer| racer.is_told_the_same(server.play, &mut dice));
    assert!(server.stop().success());
    told.agrees_with_journal(data.path());
}

impl Told {
    fn answers(&self) -> usize {
        self.racers.iter().map(|racer| racer.answers.len()).sum()
    }

    /// Players race for fakémon that appear one after another, until the server is killed.
    fn grow_until_killed(&mut self, server: Server, lifetime: Duration) {
        let (newest, play) = (AtomicU64::new(0), server.play);
        let spawned = std::thread::scope(|scope| {
            for racer in &mut self.racers {
                let newest = &newest;
                scope.spawn(move || racer.race(play, || newest.load(Ordering::Relaxed)));
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

    /// The journal verifies, and agrees with the answers.
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
        for racer in &self.racers {
            for won in racer.captures() {
                let expected = (json!(racer.name), number(won, "position"));
                assert_eq!(winners.get(&number(won, "fakemon_id")), Some(&expected));
            }
        }
    }
}

/// Spawns one fakémon after another; returns those that were acknowledged.
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
