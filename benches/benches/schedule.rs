//! Cost and accuracy of the scheduler: a hundred thousand schedules that wait, the delay of a firing, and ten
//! thousand that are due at once.
//!
//! `cargo bench --profile dev --bench schedule`

#![expect(clippy::print_stdout, reason = "the table is the result")]

use fakemon_capture::command::Completion;
use fakemon_engine::{Client, Engine, Options};
use fakemon_history::archive::Archive as Reader;
use fakemon_model::event::Event;
use fakemon_model::ids::{Position, Timestamp, Token};
use fakemon_resource::resource::{Change, Resource, Schedule};
use hdrhistogram::Histogram;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Schedules that only wait.
const WAITING: usize = 100_000;
/// Schedules that are due one after the other,
const APART: usize = 2_000;
/// this many nanoseconds apart.
const GAP_NS: u64 = 2_000_003;
/// Schedules that are due at once.
const STORM: usize = 10_000;
/// Pause after making schedules, until the router and a snapshot have caught up.
const SETTLING: Duration = Duration::from_secs(2);
/// Schedules made in one batch.
const AT_ONCE: usize = 500;

fn main() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory beside the build");
    let options = Options { cores: 1, pin: false, ..Options::default() };
    let engine = Engine::open(&dir.path().join("data"), options.clone()).expect("a new directory");
    let mut client = engine.client().expect("one client");
    let idle_alone = cpu_of(Duration::from_secs(3));
    let before = resident_bytes();
    let waiting = |number| schedule("waiting", number, "cron(0 12 ? JAN MON#1 2199)", None);
    let rates: Vec<f64> =
        (0..10).map(|tenth| make(&engine, &mut client, tenth * WAITING / 10, WAITING / 10, waiting)).collect();
    let grown = resident_bytes().saturating_sub(before) as f64 / WAITING as f64;
    println!("schedules made, first tenth {:>11.0} a second", rates[0]);
    println!("  last tenth                {:>11.0} a second", rates[9]);
    println!("memory                      {grown:>11.0} bytes for each");
    println!("processor while all wait    {:>11.2} ms a second", cpu_of(Duration::from_secs(3)));
    println!("  without any               {idle_alone:>11.2} ms a second");

    let delivered = count(&engine);
    let first = engine.now().plus_ns(1_000_000_000);
    let due = move |number: usize| first.plus_ns(number as u64 * GAP_NS);
    make(&engine, &mut client, 0, APART, |number| schedule("apart", number, "rate(1 day)", Some(due(number))));
    wait_for(&delivered, APART);
    let at = engine.now().plus_ns(3_000_000_000);
    make(&engine, &mut client, 0, STORM, |number| schedule("storm", number, "rate(1 day)", Some(at)));
    wait_for(&delivered, APART + STORM);
    let all_delivered = engine.now().ns_since(at);
    println!("{STORM} due at once, delivered {:>8.1} ms after they were due", all_delivered as f64 / 1e6);
    drop(client);
    engine.close();
    drop(engine);
    let begun = Instant::now();
    let engine = Engine::open(&dir.path().join("data"), options).expect("a sound directory");
    println!("opened again with all       {:>11.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    engine.close();
    drop(engine);
    let (apart, storm) = lateness(&dir.path().join("data"), at);
    let ms = |ns: u64| ns as f64 / 1e6;
    let [p50, p99] = [0.5, 0.99].map(|q| ms(apart.value_at_quantile(q)));
    println!("in the journal after due    {p50:>11.3} ms p50, {p99:.3} ms p99, {:.3} ms the latest", ms(apart.max()));
    println!("  of {STORM} at once         {:>11.3} ms the last", ms(storm.max()));
}

fn schedule(group: &str, number: usize, expression: &str, start: Option<Timestamp>) -> Resource {
    let target = r#"{"Arn":"arn:aws:fakemon:local:123456789012:function/count","Input":"{\"wave\":1}",
                     "RetryPolicy":{"MaximumEventAgeInSeconds":86400,"MaximumRetryAttempts":185}}"#;
    Resource::Schedule(Schedule {
        group: group.into(),
        name: format!("s{number}"),
        expression: expression.into(),
        zone: "Europe/Madrid".into(),
        start,
        end: None,
        window_minutes: 0,
        enabled: true,
        description: None,
        kms_key_arn: None,
        target: target.into(),
        delete_when_over: false,
        region: "local".into(),
        created_at: Timestamp(0),
        modified_at: Timestamp(0),
        client_token: None,
    })
}

/// Makes `count` schedules; returns schedules per second, until the timetable knows them all.
fn make(engine: &Engine, client: &mut Client, from: usize, count: usize, one: impl Fn(usize) -> Resource) -> f64 {
    let begun = Instant::now();
    let numbers: Vec<usize> = (from..from + count).collect();
    for numbers in numbers.chunks(AT_ONCE) {
        let changes = numbers.iter().map(|number| Change::Put(one(*number))).collect();
        client.change(Token(0), changes).expect("there is room");
        let mut done = Vec::new();
        while !done.iter().any(|completion| matches!(completion, Completion::Written { .. })) {
            client.wait(&mut done, Duration::from_millis(100));
        }
    }
    while engine.routed_position() < engine.position() {
        std::thread::sleep(Duration::from_millis(1));
    }
    count as f64 / begun.elapsed().as_secs_f64()
}

/// A target that counts.
fn count(engine: &Engine) -> Arc<AtomicU64> {
    let delivered = Arc::new(AtomicU64::new(0));
    let counts = delivered.clone();
    engine
        .on_events("count", move |_| {
            counts.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
        .expect("it is set once");
    delivered
}

fn wait_for(delivered: &AtomicU64, count: usize) {
    while delivered.load(Ordering::Relaxed) < count as u64 {
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// Delay of each firing, from due to handed to the journal: those apart, and those at once.
fn lateness(dir: &std::path::Path, storm: Timestamp) -> (Histogram<u64>, Histogram<u64>) {
    let histogram = || Histogram::<u64>::new(3).expect("constant digits");
    let (mut apart, mut at_once) = (histogram(), histogram());
    let each = &mut |recorded: &fakemon_history::archive::Recorded| {
        if let Event::Put(put) = &recorded.event
            && put.schedule.is_some()
        {
            let late = if put.time == storm { &mut at_once } else { &mut apart };
            late.record(recorded.committed_at.ns_since(put.time)).expect("it grows with its values");
        }
        ControlFlow::Continue(())
    };
    Reader::open(dir).expect("a sound journal").for_each(Position(1), each).expect("a sound journal");
    assert_eq!((apart.len(), at_once.len()), (APART as u64, STORM as u64), "each fired exactly once");
    (apart, at_once)
}

/// Processor time of all threads in milliseconds per second, after a pause of `SETTLING`.
fn cpu_of(time: Duration) -> f64 {
    std::thread::sleep(SETTLING);
    let nanoseconds = || -> f64 {
        let tasks = std::fs::read_dir("/proc/self/task").expect("this is Linux");
        let figures = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
        figures.filter_map(|figures| figures.split(' ').next()?.parse::<f64>().ok()).sum()
    };
    let before = nanoseconds();
    std::thread::sleep(time);
    (nanoseconds() - before) / 1e6 / time.as_secs_f64()
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says it");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1_024
}
