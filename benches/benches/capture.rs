//! Cost of each step of an attempt: decide, route, hand over, encode, commit, end to end. Beside the commits, the
//! time of RocksDB alone and of the disk alone for the same bytes.
//!
//! `cargo bench --profile dev --bench capture` (the dev profile is the optimised one that is compiled already).

#[path = "shared/in_process.rs"]
mod in_process;
#[path = "shared/yardstick.rs"]
mod yardstick;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fakemon_capture::commit::commit_queue::CommitQueue;
use fakemon_capture::decision::resolve::{Rules, resolve};
use fakemon_capture::decision::turn::ClientId;
use fakemon_capture::population::{Change, Fakemon, Population};
use fakemon_capture::shard::{AttemptCommand, Shard};
use fakemon_engine::{Engine, Options};
use fakemon_fbs::journal::{self, BlockHead, BlockWriter, SectionDraft};
use fakemon_model::event::{CaptureAttempt, Outcome, PlayerName};
use fakemon_model::ids::{AttemptId, FakemonId, PlayerId, ShardId, SpeciesId, Timestamp, Token, owner};
use fakemon_model::species::CatchRate;
use fakemon_sync::mailbox::Mailbox;
use fakemon_workload::{Act, Attempts, Board, Nth, Scenario, World};
use in_process::InProcess;
use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::time::Duration;

const RULES: Rules = Rules { world_seed: 1, reach_mm: 50_000 };
const ATTEMPTS: usize = 65_536;
/// Attempts in a typical group under load.
const GROUP: usize = 2_048;

/// Attempts of a scenario, as a shard gets them, and their fakémon.
fn prepared(scenario: Scenario) -> (Vec<CaptureAttempt>, Vec<Fakemon>) {
    let world = World::new(1, scenario, FakemonId(1));
    let slots = scenario.shape().slots;
    let (board, mut attempts) = (Board::new(slots), Attempts::new(world.clone(), 0, slots));
    let mut prepared = Vec::with_capacity(ATTEMPTS);
    while prepared.len() < ATTEMPTS {
        let contender = attempts.contender(1_000);
        if let Act::Attempt(attempt) = attempts.next(contender, &board) {
            prepared.push(CaptureAttempt {
                player: PlayerId(contender.0 + 1),
                attempt_id: AttemptId(prepared.len() as u64),
                fakemon_id: world.id(attempt.nth),
                place: attempt.place,
                received_at: Timestamp(1),
            });
        }
    }
    let rate = CatchRate::from_fraction(0.5).expect("a fraction");
    let wild = |nth| Fakemon::wild(world.id(nth), SpeciesId(0), world.place(nth), rate, Timestamp(u64::MAX));
    (prepared, (0..slots).map(Nth).map(wild).collect())
}

fn population(fakemon: &[Fakemon]) -> Population {
    let mut population = Population::default();
    fakemon.iter().for_each(|fakemon| population.apply(Change::Appeared(*fakemon)));
    population
}

#[inline]
fn decide(population: &mut Population, attempt: &CaptureAttempt) -> Outcome {
    let outcome = resolve(RULES, population.get(attempt.fakemon_id), attempt);
    if outcome == Outcome::Captured {
        population.apply(Change::Captured(attempt.fakemon_id, attempt.player));
    }
    outcome
}

/// `resolve` and `apply`, from the first attempt at fresh fakémon on.
fn resolve_and_apply(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("resolve_and_apply");
    group.throughput(Throughput::Elements(ATTEMPTS as u64));
    for scenario in Scenario::ALL {
        let (attempts, fakemon) = prepared(scenario);
        group.bench_function(scenario.name(), |bencher| {
            bencher.iter_batched_ref(
                || population(&fakemon),
                |population| {
                    attempts.iter().filter(|attempt| decide(population, attempt) == Outcome::Captured).count()
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// Finds the shard of a fakémon.
fn route(criterion: &mut Criterion) {
    let (attempts, _) = prepared(Scenario::Spread);
    let mut group = criterion.benchmark_group("route");
    group.throughput(Throughput::Elements(ATTEMPTS as u64));
    group.bench_function("owner", |bencher| {
        bencher.iter(|| {
            attempts.iter().map(|attempt| usize::from(owner(attempt.fakemon_id, black_box(8)).0)).sum::<usize>()
        });
    });
    group.finish();
}

/// Into a mailbox and out again, one batch at a time.
fn mailbox(criterion: &mut Criterion) {
    let (attempts, _) = prepared(Scenario::Hot);
    let mailbox = Mailbox::for_thread(16_384);
    let mut taken = Vec::with_capacity(GROUP);
    let mut group = criterion.benchmark_group("mailbox");
    group.throughput(Throughput::Elements(GROUP as u64));
    group.bench_function("push_and_take", |bencher| {
        bencher.iter(|| {
            for attempt in &attempts[..GROUP] {
                assert!(mailbox.push(*attempt).is_ok(), "the mailbox is emptied each time");
            }
            mailbox.ring();
            taken.clear();
            mailbox.take(GROUP, &mut taken)
        });
    });
    group.finish();
}

/// One hot fakémon on one core, everything but the journal: through the mailbox, decided by the shard, answers and
/// records ready to be written.
fn hot_without_journal(criterion: &mut Criterion) {
    let (attempts, fakemon) = prepared(Scenario::Hot);
    let dir = tempfile::tempdir().expect("a directory for the player's name");
    let engine = Engine::open(dir.path(), Options { cores: 1, ..Options::default() }).expect("an empty directory");
    let client = engine.client().expect("the first client");
    let player = client.register(&PlayerName::new("ash").expect("a name")).expect("the first player");
    let mailbox = Mailbox::for_thread(16_384);
    let mut shard = Shard::new(ShardId(0), RULES, population(&fakemon));
    let (desk, mut turns) = (CommitQueue::new(), Vec::new());
    let mut taken = Vec::with_capacity(GROUP);
    let mut group = criterion.benchmark_group("hot_without_journal");
    group.throughput(Throughput::Elements(GROUP as u64));
    group.bench_function("one_core", |bencher| {
        bencher.iter(|| {
            for attempt in &attempts[..GROUP] {
                let command = AttemptCommand::new(*attempt, player.clone(), Token(0), 1_000, ClientId(0));
                assert!(mailbox.push(command).is_ok(), "the mailbox is emptied each time");
            }
            mailbox.take(GROUP, &mut taken);
            let place = desk.reserve().expect("the desk is emptied each time");
            let events = shard.decide(place, &mut taken, Timestamp(2_000));
            turns.clear();
            desk.take(1, &mut turns);
            events
        });
    });
    group.finish();
}

fn record(attempt: &CaptureAttempt, outcome: Outcome) -> journal::Attempt {
    let outcome = journal::Outcome(outcome as u8);
    journal::Attempt::new(
        attempt.attempt_id.0,
        attempt.fakemon_id.0,
        attempt.received_at.0,
        attempt.player.0,
        attempt.place.lat_e7,
        attempt.place.lon_e7,
        1_000,
        2_000,
        0,
        outcome,
    )
}

fn head(count: usize) -> BlockHead {
    BlockHead {
        first_position: 1,
        count: u32::try_from(count).expect("a small group"),
        committed_ns: 1,
        previous_sync_ns: 1,
        state_hash: 1,
        ..BlockHead::default()
    }
}

/// A block of a group: written, and read again.
fn encode(criterion: &mut Criterion) {
    let (attempts, _) = prepared(Scenario::Hot);
    let sections = || {
        let mut section = SectionDraft::new(0, GROUP);
        attempts[..GROUP].iter().for_each(|attempt| section.push_attempt(record(attempt, Outcome::AlreadyCaptured)));
        [section]
    };
    let mut writer = BlockWriter::default();
    let block = writer.write(head(GROUP), &sections()).to_vec();
    let mut group = criterion.benchmark_group("block");
    group.throughput(Throughput::Elements(GROUP as u64));
    group.bench_function("write", |bencher| {
        bencher.iter_batched_ref(
            sections,
            |sections| writer.write(head(GROUP), sections).len(),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("read", |bencher| {
        bencher.iter(|| {
            let mut attempts = 0;
            let reader = journal::BlockReader::new(&block).expect("just written");
            reader.for_each(|_, _, event| attempts += u64::from(matches!(event, journal::Event::Attempt(_))));
            attempts
        });
    });
    group.finish();
}

/// One group, durable: through the engine, with RocksDB alone, with the disk alone.
fn commit(criterion: &mut Criterion) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory beside the build");
    let mut engine = InProcess::open(&dir.path().join("journal"), Scenario::Hot, 1);
    let bare = yardstick::open_bare(&dir.path().join("bare"));
    let file = File::create(dir.path().join("file")).expect("a directory that can be written");
    file.write_all_at(&vec![0; 16 << 20], 0).expect("room for 16 MiB");
    file.sync_all().expect("a disk that works");
    let mut position = 0;
    for attempts in [1, 64, GROUP] {
        let record = vec![0x5A; attempts * size_of::<journal::Attempt>() + 200];
        let mut group = criterion.benchmark_group(format!("commit_{attempts}"));
        group.throughput(Throughput::Elements(attempts as u64)).sample_size(20);
        group.measurement_time(Duration::from_secs(4));
        group.bench_function("engine", |bencher| {
            bencher.iter(|| {
                while engine.in_flight() < attempts {
                    assert!(engine.attempt(0), "one group fits into the mailbox");
                }
                engine.drain();
            });
        });
        group.bench_function("bare_rocksdb", |bencher| {
            bencher.iter(|| {
                position += 1;
                yardstick::write_bare(&bare, position, &record);
            });
        });
        group.bench_function("fdatasync", |bencher| {
            bencher.iter(|| {
                file.write_all_at(&record, 0).expect("written before");
                file.sync_data().expect("a disk that works");
            });
        });
        group.finish();
    }
}

/// From submit to durable answer, with as many attempts in flight as one mailbox holds.
fn end_to_end(criterion: &mut Criterion) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory beside the build");
    let mut group = criterion.benchmark_group("end_to_end");
    group.sample_size(20).measurement_time(Duration::from_secs(8));
    const BATCH: usize = 65_536;
    const IN_FLIGHT: usize = 16_000;
    group.throughput(Throughput::Elements(BATCH as u64));
    for scenario in Scenario::ALL {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut engine = InProcess::open(&dir.path().join(scenario.name()), scenario, cores);
        group.bench_function(scenario.name(), |bencher| {
            bencher.iter(|| {
                let mut answered = 0;
                while answered < BATCH {
                    for _ in 0..GROUP {
                        if engine.in_flight() >= IN_FLIGHT || !engine.attempt(0) {
                            break;
                        }
                    }
                    let full = engine.in_flight() >= IN_FLIGHT;
                    let wait = if full { Duration::from_millis(5) } else { Duration::ZERO };
                    answered += engine.settle(wait, |_| {});
                }
            });
        });
        engine.drain();
    }
    group.finish();
}

criterion_group!(steps, resolve_and_apply, route, mailbox, hot_without_journal, encode);
criterion_group!(durable, commit, end_to_end);
criterion_main!(steps, durable);
