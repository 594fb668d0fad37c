//! Durable figures, each beside its yardstick from the same run: attempts per second that the engine decides and
//! makes durable in process, latency at half of that load, speed of verification, memory of a wild fakémon. Medians
//! of several runs.
//!
//! `cargo bench --profile dev --bench durable` (the dev profile is the optimised one that is compiled already), with
//! arguments after `--` if wanted: seconds of each run (3), names of scenarios (all).

#![expect(clippy::print_stdout, reason = "the table is the result")]

#[path = "shared/in_process.rs"]
mod in_process;
#[path = "shared/yardstick.rs"]
mod yardstick;

use fakemon_history::verify::verify;
use fakemon_workload::Scenario;
use hdrhistogram::Histogram;
use in_process::InProcess;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Runs; the median counts.
const RUNS: usize = 3;
/// Attempts in flight at full load; below what one mailbox holds.
const IN_FLIGHT: usize = 16_000;
/// Wild fakémon when their memory is measured.
const WILD: u32 = 1_000_000;
/// The disk's yardstick: small writes through a preallocated file, each with `fdatasync`.
const SYNC_BYTES: usize = 4_096;
const FILE_BYTES: u64 = 16 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, mode, dir] = &arguments[..]
        && mode == "--resident"
    {
        return println!("{}", resident_after_opening(Path::new(dir)));
    }
    let seconds = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(3.0);
    let time = Duration::from_secs_f64(seconds);
    let asked: Vec<Scenario> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let scenarios = if asked.is_empty() { Scenario::ALL.to_vec() } else { asked };
    for scenario in scenarios {
        let mut runs: Vec<Run> = (0..RUNS).map(|_| Run::measure(scenario, time)).collect();
        print(scenario, &mut runs);
    }
    print_memory();
}

/// Results of one run.
struct Run {
    rate: f64,
    group: Group,
    bare_rate: f64,
    p50_ns: u64,
    p99_ns: u64,
    sync_p50_ns: u64,
    sync_p99_ns: u64,
    verify_rate: f64,
}

impl Run {
    fn measure(scenario: Scenario, time: Duration) -> Run {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory beside the build");
        let journal = dir.path().join("journal");
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut sync = sync_ns(dir.path(), time / 4);
        let mut engine = InProcess::open(&journal, scenario, cores);
        let (rate, group) = at_full_load(&mut engine, time);
        let latency_ns = at_rate(&mut engine, rate / 2.0, time);
        engine.engine.close();
        drop(engine);
        sync.add(sync_ns(dir.path(), time / 4)).expect("the same bounds");
        let bare_rate = bare_writer(&dir.path().join("bare"), group, time / 2);
        let start = Instant::now();
        let verified = verify(&journal, &mut |_, _| {}).expect("what was just written can be verified");
        Run {
            rate,
            group,
            bare_rate,
            p50_ns: latency_ns.value_at_quantile(0.5),
            p99_ns: latency_ns.value_at_quantile(0.99),
            sync_p50_ns: sync.value_at_quantile(0.5),
            sync_p99_ns: sync.value_at_quantile(0.99),
            verify_rate: verified.events as f64 / start.elapsed().as_secs_f64(),
        }
    }
}

/// Runs at full load; returns the rate, and the average group commit.
fn at_full_load(engine: &mut InProcess, time: Duration) -> (f64, Group) {
    let before = engine.engine.metrics();
    let (start, mut answered) = (Instant::now(), 0);
    while start.elapsed() < time {
        for _ in 0..2_048 {
            if engine.in_flight() >= IN_FLIGHT || !engine.attempt(0) {
                break;
            }
        }
        let full = engine.in_flight() >= IN_FLIGHT;
        let wait = if full { Duration::from_millis(5) } else { Duration::ZERO };
        answered += engine.settle(wait, |_| {});
    }
    let rate = answered as f64 / start.elapsed().as_secs_f64();
    engine.drain();
    let after = engine.engine.metrics();
    let groups = (after.group_events.len() - before.group_events.len()).max(1);
    let events = after.position.0 - before.position.0;
    let bytes = after.group_bytes - before.group_bytes;
    let group = Group { events: events as f64 / groups as f64, bytes: (bytes / groups) as usize };
    (rate, group)
}

/// Attempts at a planned rate: the time from the planned send to the durable answer.
fn at_rate(engine: &mut InProcess, rate: f64, time: Duration) -> Histogram<u64> {
    let mut latency_ns = histogram();
    let interval_ns = 1e9 / rate;
    let (start, mut planned, mut refused) = (Instant::now(), 0u64, 0u64);
    let now_ns = || start.elapsed().as_nanos() as u64;
    while start.elapsed() < time {
        let due = now_ns();
        loop {
            let planned_ns = (planned as f64 * interval_ns) as u64;
            if planned_ns > due {
                break;
            }
            if !engine.attempt(planned_ns) {
                refused += 1;
                break;
            }
            planned += 1;
        }
        engine.settle(Duration::ZERO, |planned_ns| latency_ns.saturating_record(now_ns() - planned_ns));
        std::thread::sleep(Duration::from_micros(20));
    }
    engine.drain();
    if refused > 0 {
        println!("  (the engine was full {refused} times at half load)");
    }
    latency_ns
}

fn print(scenario: Scenario, runs: &mut [Run]) {
    let ms = |ns: f64| ns / 1e6;
    let mut median = |of: fn(&Run) -> f64| {
        runs.sort_by(|a, b| of(a).total_cmp(&of(b)));
        of(&runs[runs.len() / 2])
    };
    let (rate, bare) = (median(|run| run.rate), median(|run| run.bare_rate));
    println!("\n{scenario}, durable, in process, median of {RUNS}");
    println!("  decided and durable     {:>8.2} M throws/s", rate / 1e6);
    let (events, bytes) = (median(|run| run.group.events), median(|run| run.group.bytes as f64));
    println!("    in groups of          {events:>8.0} events, {bytes:.0} bytes");
    println!(
        "  bare RocksDB writer     {:>8.2} M events/s with the same groups: {:.0} %",
        bare / 1e6,
        100.0 * rate / bare
    );
    let (p50, p99) = (median(|run| run.p50_ns as f64), median(|run| run.p99_ns as f64));
    let (sync50, sync99) = (median(|run| run.sync_p50_ns as f64), median(|run| run.sync_p99_ns as f64));
    println!("  at half load            {:>8.2} ms p50, {:.2} ms p99", ms(p50), ms(p99));
    println!("  fdatasync               {:>8.2} ms p50, {:.2} ms p99", ms(sync50), ms(sync99));
    println!("    ratio                 {:>8.1} × p50, {:.1} × p99", p50 / sync50, p99 / sync99);
    println!("  verify                  {:>8.2} M events/s", median(|run| run.verify_rate) / 1e6);
}

/// Memory of an engine that was opened on `WILD` fakémon, less that of an empty one. Each opens in a process of its
/// own, so that no memory of earlier runs is counted.
fn print_memory() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory beside the build");
    let resident = |wild: u32| {
        let dir = dir.path().join(wild.to_string());
        let mut engine = InProcess::open(&dir, Scenario::Hot, 1);
        engine.spawn_until(wild);
        engine.engine.close();
        drop(engine);
        let me = std::env::current_exe().expect("this program is a file");
        let output = Command::new(me).arg("--resident").arg(&dir).output().expect("this program can be started");
        String::from_utf8_lossy(&output.stdout).trim().parse::<f64>().expect("a number of bytes")
    };
    let few = 50_000;
    let bytes = (resident(WILD) - resident(few)) / f64::from(WILD - few);
    println!("\nmemory per wild fakémon   {bytes:>8.0} bytes ({WILD} in an engine that was opened on them)");
}

/// Bytes of memory in use after opening a data directory.
fn resident_after_opening(dir: &Path) -> u64 {
    let options = fakemon_engine::Options { cores: 1, ..Default::default() };
    let engine = fakemon_engine::Engine::open(dir, options).expect("it was just closed");
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    drop(engine);
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.expect("the kernel says how much") * 1_024
}

/// The average group commit.
#[derive(Clone, Copy, Debug)]
struct Group {
    events: f64,
    bytes: usize,
}

/// An empty histogram of nanoseconds.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("valid bounds")
}

/// Times of a small write and `fdatasync` into a preallocated file in `dir`.
fn sync_ns(dir: &Path, time: Duration) -> Histogram<u64> {
    let mut sync_ns = histogram();
    let file = File::create(dir.join("yardstick")).expect("a directory that can be written");
    let block = [0x5A; SYNC_BYTES];
    for offset in (0..FILE_BYTES).step_by(SYNC_BYTES) {
        file.write_all_at(&block, offset).expect("room for 16 MiB");
    }
    file.sync_all().expect("a disk that works");
    let (start, mut offset) = (Instant::now(), 0);
    while start.elapsed() < time {
        let before = Instant::now();
        file.write_all_at(&block, offset).expect("written before");
        file.sync_data().expect("a disk that works");
        sync_ns.saturating_record(before.elapsed().as_nanos() as u64);
        offset = (offset + SYNC_BYTES as u64) % FILE_BYTES;
    }
    sync_ns
}

/// Events per second that one thread writes with RocksDB alone, in records of the size of a group.
fn bare_writer(dir: &Path, group: Group, time: Duration) -> f64 {
    let db = yardstick::open_bare(dir);
    // Random bytes, so that no layer below can compress them.
    let mut noise = 1u64;
    let mut record: Vec<u8> = std::iter::repeat_with(|| {
        noise = fakemon_model::ids::mix(noise);
        noise as u8
    })
    .take(group.bytes.max(8))
    .collect();
    let (start, mut groups) = (Instant::now(), 0u64);
    while start.elapsed() < time {
        groups += 1;
        record[..8].copy_from_slice(&groups.to_be_bytes());
        yardstick::write_bare(&db, groups, &record);
    }
    groups as f64 * group.events / start.elapsed().as_secs_f64()
}
