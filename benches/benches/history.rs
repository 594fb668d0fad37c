//! The tools of an incident on a long journal, each figure with its goal beside it: explaining an attempt in a fresh
//! process with nothing of the journal in memory, the state at any position, scanning, Parquet; and the cost of the
//! index for captures.
//!
//! `make bench ARGS="--bench history -- 100000000"`: events of the journal (default 5,000,000). With a directory
//! after it, the journal is kept there, and used again if it is there.

#![expect(clippy::print_stdout, reason = "the table is the result")]

#[path = "shared/in_process.rs"]
mod in_process;

use fakemon_engine::{Durability, Options};
use fakemon_history::archive::Archive;
use fakemon_model::envelope::{EventKey, Facet};
use fakemon_model::event::Event;
use fakemon_model::ids::{Position, mix};
use fakemon_workload::Scenario;
use in_process::InProcess;
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const EVENTS: u64 = 5_000_000;
/// Longest journal, in events, on which states are measured: the goal is defined for it.
const STATE_EVENTS: u64 = 10_000_000;
/// Attempts explained in each way.
const EXPLAINED: u64 = 15;
/// Attempts between two checks whether enough fakémon are left, and how many are spawned then.
const ROUND: u64 = 500_000;
const APPEAR: u32 = 40_000;
/// Attempts in flight; below what one mailbox holds.
const IN_FLIGHT: usize = 16_000;
/// Runs with and without the index, and the length of each.
const TURNS: usize = 7;
const TURN: Duration = Duration::from_secs(4);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let events = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(EVENTS);
    let kept = arguments.iter().find(|argument| argument.contains('/')).map(PathBuf::from);
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory beside the build");
    let dir = kept.unwrap_or_else(|| scratch.path().to_owned());
    let (long, short) = (dir.join(format!("{events}")), dir.join(format!("{}", events.min(STATE_EVENTS))));
    for (dir, events) in [(&long, events), (&short, events.min(STATE_EVENTS))] {
        if !dir.exists() {
            make(dir, events);
        }
    }
    let archive = Archive::open(&long).expect("it was just closed");
    let end = archive.end_position();
    println!("\n{:<44} {:>12}   {:>10}", format!("{} events", end.0 - 1), "measured", "goal");
    explain(&long, &archive);
    scan(&archive);
    drop(archive);
    state(&short);
    parquet(&long, scratch.path());
    index_cost(scratch.path());
}

fn row(what: &str, measured: String, goal: &str) {
    println!("{what:<44} {measured:>12}   {goal:>10}");
}

/// Makes a journal of at least `events` events.
fn make(dir: &Path, events: u64) {
    let begun = Instant::now();
    let options = Options {
        cores: 1,
        pin: false,
        world_seed: Some(1),
        durability: Durability::Unsynced, // only to be made faster
        ..Options::default()
    };
    let mut engine = InProcess::open_with(dir, Scenario::Realistic, options);
    let mut spawned = 0;
    while engine.engine.position().0 <= events {
        spawned += APPEAR;
        engine.spawn_until(spawned);
        let left = events + 1 - engine.engine.position().0.min(events);
        attempt_at(&mut engine, ROUND.min(left), Duration::MAX);
    }
    let made = engine.engine.position().0 - 1;
    engine.engine.close();
    println!("made {made} events in {:.1} s", begun.elapsed().as_secs_f64());
}

/// Full load for `time`; returns attempts per second.
fn attempt_at(engine: &mut InProcess, events: u64, time: Duration) -> f64 {
    let (begun, mut answered) = (Instant::now(), 0);
    while answered < events && begun.elapsed() < time {
        for _ in 0..2_048 {
            if engine.in_flight() >= IN_FLIGHT || !engine.attempt(0) {
                break;
            }
        }
        let full = engine.in_flight() >= IN_FLIGHT;
        answered += engine.settle(if full { Duration::from_millis(5) } else { Duration::ZERO }, |_| {}) as u64;
    }
    let rate = answered as f64 / begun.elapsed().as_secs_f64();
    engine.drain();
    rate
}

/// Measures the three ways to find an attempt, each in a process of its own.
fn explain(dir: &Path, archive: &Archive) {
    let (mut by_attempt, mut by_position, mut by_id) = (Vec::new(), Vec::new(), Vec::new());
    let mut attempts = Vec::new();
    for number in 0.. {
        let position = Position(1 + mix(number) % (archive.end_position().0 - 1));
        let recorded = archive.event(position).expect("a sound journal").expect("it is kept");
        if let Event::Attempt(attempt) = &recorded.event {
            let attempt_id = attempt.attempt_id;
            let player = archive.player_name(attempt.player).expect("players have names").to_owned();
            attempts.push((
                position.to_string(),
                EventKey::new(position, Facet::Happened).id(),
                player,
                attempt_id.to_string(),
            ));
        }
        if attempts.len() as u64 == EXPLAINED {
            break;
        }
    }
    for (position, id, player, attempt) in &attempts {
        by_attempt.push(cold(dir, &["explain", "--json", "--player", player, "--attempt", attempt]));
        by_position.push(cold(dir, &["explain", "--json", position]));
        by_id.push(cold(dir, &["explain", "--json", id]));
    }
    for (way, mut took) in [("player and attempt", by_attempt), ("position", by_position), ("event id", by_id)] {
        took.sort();
        let [median, slowest] = [took[took.len() / 2], took[took.len() - 1]].map(|took| took.as_secs_f64() * 1e3);
        row(&format!("explain, cold, by {way}: median"), format!("{median:.1} ms"), "50 ms");
        row("  the slowest", format!("{slowest:.1} ms"), "");
    }
}

/// Measures the state at some positions, the last one too.
fn state(dir: &Path) {
    let end = Archive::open(dir).expect("it was just closed").end_position();
    let until = |fraction: f64| ((end.0 - 1) as f64 * fraction) as u64;
    for fraction in [0.1, 0.5, 1.0] {
        let took = cold(dir, &["replay", "--json", "--until", &until(fraction).to_string()]);
        let what = format!("replay --until {}, cold", until(fraction));
        row(&what, format!("{:.2} s", took.as_secs_f64()), "2 s");
    }
}

/// Scans every event, on one thread.
fn scan(archive: &Archive) {
    let (begun, mut events) = (Instant::now(), 0u64);
    let mut count = |_: &_| {
        events += 1;
        ControlFlow::Continue(())
    };
    archive.for_each(Position(1), &mut count).expect("a sound journal");
    row("scan, one core", rate(events, begun.elapsed()), "2 M/s");
}

fn parquet(dir: &Path, scratch: &Path) {
    let events = Archive::open(dir).expect("it was just closed").end_position().0 - 1;
    let file = scratch.join("events.parquet");
    let out = file.to_str().expect("paths of builds are UTF-8");
    let took = cold(dir, &["export", "--format", "parquet", "--out", out]);
    row("export --format parquet", rate(events, took), "1 M/s");
    std::fs::remove_file(file).expect("it was just made");
}

fn rate(events: u64, took: Duration) -> String {
    format!("{:.2} M/s", events as f64 / took.as_secs_f64() / 1e6)
}

/// Measures captures with the index and without, by turns.
fn index_cost(scratch: &Path) {
    let dir = scratch.join("captures");
    let open = |index: bool| match index {
        true => InProcess::open(&dir, Scenario::Spread, 1),
        false => {
            let options = Options { cores: 1, world_seed: Some(1), index, ..Options::default() };
            InProcess::open_with(&dir, Scenario::Spread, options)
        }
    };
    let mut rates = [Vec::new(), Vec::new()];
    for turn in 0..2 * TURNS {
        let index = (turn / 2 + turn) % 2 == 0; // each kind comes first as often as second
        let mut engine = open(index);
        rates[usize::from(index)].push(attempt_at(&mut engine, u64::MAX, TURN));
        engine.engine.close();
        drop(engine);
        std::fs::remove_dir_all(&dir).expect("it was just closed");
    }
    let [without, with] = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    });
    row("captures a second without the index", format!("{:.2} M/s", without / 1e6), "");
    row("  with it", format!("{:.2} M/s", with / 1e6), "");
    row("  what it costs", format!("{:.1} %", 100.0 * (1.0 - with / without)), "5 %");
}

/// Time of a command in a process of its own, with nothing of the data directory in memory.
fn cold(dir: &Path, arguments: &[&str]) -> Duration {
    let built = std::env::current_exe().expect("this program is a file");
    let fakemon = built.ancestors().map(|folder| folder.join("fakemon")).find(|file| file.is_file());
    let fakemon = fakemon.expect("the binary beside this bench: `make build` makes it");
    let _ = File::open(&fakemon).map(|mut file| std::io::copy(&mut file, &mut std::io::sink())); // the program itself may be cached
    forget(dir);
    let mut command = Command::new(fakemon);
    command.args(arguments).arg("--data").arg(dir).stdout(Stdio::null());
    let begun = Instant::now();
    let status = command.status().expect("the binary can be started");
    let took = begun.elapsed();
    assert!(status.success(), "{arguments:?}");
    took
}

/// Drops the files of a folder from the page cache.
fn forget(dir: &Path) {
    for entry in std::fs::read_dir(dir).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            forget(&path);
        } else {
            let file = File::open(&path).expect("it is there");
            file.sync_all().expect("a disk that works"); // dirty pages would stay cached
            fadvise(&file, 0, None, Advice::DontNeed).expect("a file on a disk");
        }
    }
}
