//! Throughput of the bus: events per second that a replay delivers to a function, beside a plain read of the same
//! journal; and the cost of a target that accepts nothing for all others, over a million events. Medians of several
//! runs.
//!
//! `cargo bench --profile dev --bench bus`

#![expect(clippy::print_stdout, reason = "the table is the result")]

#[path = "shared/in_process.rs"]
mod in_process;

use fakemon_capture::command::Completion;
use fakemon_delivery::{Failed, FailureCode};
use fakemon_engine::{Client, Engine};
use fakemon_history::archive::Archive as Reader;
use fakemon_model::ids::{Position, Timestamp, Token};
use fakemon_resource::resource::{Archive, Change, Replay, Resource, Retry, Rule, RuleState, Tags, Target};
use fakemon_workload::Scenario;
use in_process::InProcess;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const RUNS: usize = 3;
const EVENTS: u64 = 1_000_000;
const IN_FLIGHT: usize = 16_000;
const BUS: &str = "fakemon";
/// Matches every attempt.
const PATTERN: &str = r#"{"detail-type":["fakemon.capture_attempt"]}"#;

fn main() {
    let mut runs: Vec<Run> = (0..RUNS).map(|_| Run::measure()).collect();
    let mut median = |of: fn(&Run) -> f64| {
        runs.sort_by(|a, b| of(a).total_cmp(&of(b)));
        of(&runs[RUNS / 2])
    };
    println!("{EVENTS} throws, medians of {RUNS} runs");
    println!("replay to a function     {:>12.0} events/s", median(|run| run.replayed));
    println!("  beside a plain reading {:>12.0} events/s", median(|run| run.read));
    println!("throws, nobody listens   {:>12.0} a second", median(|run| run.alone));
    println!("  with a dead target     {:>12.0} a second", median(|run| run.beside_dead));
    println!("memory that grew         {:>12.1} bytes for each throw, nobody listens", median(|run| run.grown_alone));
    println!(
        "  with a dead target     {:>12.1} bytes for each throw, which it does not get",
        median(|run| run.grown)
    );
}

struct Run {
    replayed: f64,
    read: f64,
    alone: f64,
    beside_dead: f64,
    grown_alone: f64,
    grown: f64,
}

impl Run {
    fn measure() -> Run {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory beside the build");
        let mut game = InProcess::open(&dir.path().join("data"), Scenario::Spread, 1);
        let before = resident_bytes();
        let alone = attempt_at(&mut game);
        settle(&game.engine);
        let grown_alone = resident_bytes().saturating_sub(before) as f64 / EVENTS as f64;
        let replayed = replay(&game.engine);
        let before = resident_bytes();
        let undelivered = dead_target(&game.engine);
        let beside_dead = attempt_at(&mut game);
        settle(&game.engine);
        let grown = resident_bytes().saturating_sub(before) as f64 / EVENTS as f64;
        assert!(undelivered.load(Ordering::Relaxed) > 0, "the dead target was asked");
        game.engine.close();
        let read = read(&dir.path().join("data"));
        Run { replayed, read, alone, beside_dead, grown_alone, grown }
    }
}

/// A million attempts, as fast as possible; returns attempts per second.
fn attempt_at(game: &mut InProcess) -> f64 {
    let (start, mut made) = (Instant::now(), 0);
    while made < EVENTS {
        while made < EVENTS && game.in_flight() < IN_FLIGHT && game.attempt(0) {
            made += 1;
        }
        game.settle(Duration::from_millis(1), |_| {});
    }
    game.drain();
    EVENTS as f64 / start.elapsed().as_secs_f64()
}

/// Waits until the router has processed all events.
fn settle(engine: &Engine) {
    while engine.routed_position() < engine.position() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn change(client: &mut Client, resources: Vec<Resource>) {
    client.change(Token(0), resources.into_iter().map(Change::Put).collect()).expect("there is room");
    let mut done = Vec::new();
    while !done.iter().any(|completion| matches!(completion, Completion::Written { .. })) {
        client.wait(&mut done, Duration::from_millis(100));
    }
}

/// A rule whose only target is a function.
fn rule(name: &str) -> [Resource; 2] {
    let rule = Rule {
        bus: BUS.into(),
        name: name.into(),
        pattern: Some(PATTERN.into()),
        schedule: None,
        state: RuleState::Enabled,
        description: None,
        role_arn: None,
        region: "local".into(),
        created_at: Timestamp(0),
        tags: Tags::new(),
    };
    let target = Target {
        bus: BUS.into(),
        rule: name.into(),
        id: "function".into(),
        arn: format!("arn:aws:fakemon:local:123456789012:function/{name}"),
        input: None,
        input_path: None,
        transformer: None,
        retry: Some(Retry { attempts_max: 185, age_s_max: 86_400 }),
        dead_letter_arn: None,
        http: None,
        given: serde_json::Map::new(),
    };
    [Resource::Rule(rule), Resource::Target(target)]
}

fn replay(engine: &Engine) -> f64 {
    let heard = Arc::new(AtomicU64::new(0));
    let hears = heard.clone();
    engine
        .on_events("again", move |_| {
            hears.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
        .expect("it is set once");
    let archive = Archive {
        name: "all".into(),
        bus: BUS.into(),
        source_arn: String::new(),
        description: None,
        pattern: Some(PATTERN.into()),
        retention_days: 0,
        created_at: engine.now(),
    };
    let replay = Replay {
        name: "once-more".into(),
        description: None,
        archive: "all".into(),
        source_arn: String::new(),
        bus: BUS.into(),
        destination_arn: String::new(),
        filter_arns: Vec::new(),
        rules: vec!["again".into()],
        from: Timestamp(0),
        to: engine.now(),
        from_position: None,
        to_position: None,
        speed: 0.0,
        started_at: engine.now(),
        cancelled_at: None,
    };
    let mut client = engine.client().expect("one more client");
    let [rule, target] = rule("again");
    let start = Instant::now();
    change(&mut client, vec![rule, target, Resource::Archive(archive), Resource::Replay(replay)]);
    while engine.replays().progress("once-more").and_then(|progress| progress.ended_at).is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let rate = heard.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
    client.change(Token(0), vec![Change::Delete(format!("rule/{BUS}/again"))]).expect("there is room");
    rate
}

/// A target that never accepts an event; returns the counter of its attempts.
fn dead_target(engine: &Engine) -> Arc<AtomicU64> {
    let asked = Arc::new(AtomicU64::new(0));
    let asks = asked.clone();
    engine
        .on_events("dead", move |_| {
            asks.fetch_add(1, Ordering::Relaxed);
            Err(Failed::for_now(FailureCode::ErrorFromTarget, "never"))
        })
        .expect("it is set once");
    let mut client = engine.client().expect("one more client");
    change(&mut client, rule("dead").into());
    asked
}

/// Reads all events and drops them; returns events per second.
fn read(dir: &std::path::Path) -> f64 {
    let archive = Reader::open(dir).expect("a sound journal");
    let (start, mut events) = (Instant::now(), 0u64);
    let each = &mut |_: &_| {
        events += 1;
        ControlFlow::Continue(())
    };
    archive.for_each(Position(1), each).expect("a sound journal");
    events as f64 / start.elapsed().as_secs_f64()
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says it");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1_024
}
