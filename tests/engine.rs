//! The engine, embedded: who wins, what is stored, what is rejected. Data in, data out; no network.

use fakemon_capture::command::{Attempt, Completion, Spawn, SpawnError, SubmitError};
use fakemon_capture::world::Change;
use fakemon_engine::{Client, Engine, NewEvent, OpenError, Options, Retention};
use fakemon_history::archive::Archive;
use fakemon_history::verify::verify;
use fakemon_model::event::{Decision, Event, Outcome, PlayerName};
use fakemon_model::ids::{AttemptId, FakemonId, Position, Token};
use fakemon_model::limits::CLIENTS_MAX;
use fakemon_model::place::Place;
use fakemon_model::species::CatchRate;
use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

fn options(cores: usize) -> Options {
    Options { cores, pin: false, snapshot_every: Duration::from_millis(50), ..Options::default() }
}

fn open(dir: &Path, cores: usize) -> Engine {
    Engine::open(dir, options(cores)).unwrap()
}

fn sol() -> Place {
    Place::from_degrees(40.4168, -3.7038).unwrap()
}

fn spawn_of(id: u64) -> Spawn {
    let catch_rate = Some(CatchRate::ALWAYS);
    let fakemon_id = Some(FakemonId(id));
    Spawn { fakemon_id, species: "sparkit".into(), place: sol(), lifetime_s: Some(3_600), catch_rate }
}

fn wait_for(client: &mut Client, count: usize) -> Vec<Completion> {
    let (mut completions, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while completions.len() < count {
        client.wait(&mut completions, Duration::from_millis(100));
        assert!(Instant::now() < deadline, "{} of {count} completions", completions.len());
    }
    completions
}

fn spawn(client: &mut Client, ids: impl Iterator<Item = u64>) {
    let count = ids.map(|id| client.spawn(Token(id), &spawn_of(id)).unwrap()).count();
    for completion in wait_for(client, count) {
        assert!(matches!(completion, Completion::Spawned { result: Ok(_), .. }), "{completion:?}");
    }
}

fn attempt_at(engine: &Engine, client: &mut Client, player: &str, attempt: u64, fakemon: u64) -> Decision {
    let attempt = attempt_of(engine, client, player, attempt, fakemon);
    client.attempt(Token(9), attempt).unwrap();
    match wait_for(client, 1).remove(0) {
        Completion::Decided { token: Token(9), decision, .. } => decision,
        other => panic!("{other:?}"),
    }
}

fn attempt_of(engine: &Engine, client: &Client, player: &str, attempt: u64, fakemon: u64) -> Attempt {
    Attempt {
        player: client.register(&PlayerName::new(player).unwrap()).unwrap(),
        attempt_id: AttemptId(attempt),
        fakemon_id: FakemonId(fakemon),
        place: sol(),
        received_at: engine.now(),
    }
}

fn collection(engine: &Engine, client: &mut Client, player: &str) -> Vec<(u64, Position)> {
    let Some(player) = engine.find_player(&PlayerName::new(player).unwrap()) else { return Vec::new() };
    client.collection(Token(7), &player, None).unwrap();
    match wait_for(client, 1).remove(0) {
        Completion::Collection { items, .. } => {
            items.into_iter().map(|caught| (caught.fakemon_id.0, caught.position)).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn exactly_one_wins_each_fakemon_however_many_cores_and_clients() {
    for cores in [1, 2, 3] {
        let dir = TempDir::new().unwrap();
        let engine = open(dir.path(), cores);
        spawn(&mut engine.client().unwrap(), 1..=50);
        let racers: Vec<_> = (0..4)
            .map(|racer| {
                let engine = engine.clone();
                std::thread::spawn(move || race(&engine, racer))
            })
            .collect();
        let mut winners: HashMap<FakemonId, usize> = HashMap::new();
        for racer in racers {
            for decision in racer.join().unwrap() {
                assert!(matches!(decision.outcome, Outcome::Captured | Outcome::AlreadyCaptured), "{decision:?}");
                *winners.entry(decision.fakemon_id).or_default() +=
                    usize::from(decision.outcome == Outcome::Captured);
            }
        }
        assert_eq!(winners.len(), 50);
        assert!(winners.values().all(|wins| *wins == 1), "cores {cores}: {winners:?}");
        engine.close();
        let verified = verify(dir.path(), &mut |_, _| {}).unwrap();
        assert_eq!(verified.attempts, 4 * 50 * 20);
    }
}

/// Twenty players make attempts at each of fifty fakémon, as fast as they can.
fn race(engine: &Engine, racer: u64) -> Vec<Decision> {
    let mut client = engine.client().unwrap();
    for fakemon in 1..=50 {
        for player in 0..20 {
            let attempt = attempt_of(engine, &client, &format!("racer {racer}.{player}"), fakemon, fakemon);
            client.attempt(Token(0), attempt).unwrap();
        }
        client.flush();
    }
    let decisions = wait_for(&mut client, 50 * 20).into_iter().map(|completion| match completion {
        Completion::Decided { decision, stages: Some(stages), .. } => {
            assert!(stages.received_at <= stages.queued_at && stages.queued_at <= stages.decided_at);
            assert!(stages.decided_at <= stages.durable_at);
            decision
        }
        other => panic!("{other:?}"),
    });
    decisions.collect()
}

#[test]
fn an_attempt_that_is_sent_again_gets_its_first_answer_for_ever() {
    let dir = TempDir::new().unwrap();
    let engine = open(dir.path(), 2);
    let mut client = engine.client().unwrap();
    spawn(&mut client, 1..=2);
    let first = attempt_at(&engine, &mut client, "ana", 7, 1);
    assert_eq!(first.outcome, Outcome::Captured);
    assert_eq!(attempt_at(&engine, &mut client, "ana", 7, 1), first);
    assert_eq!(attempt_at(&engine, &mut client, "ana", 7, 2), first, "the id decides, not the fakémon");
    assert_eq!(attempt_at(&engine, &mut engine.client().unwrap(), "ana", 7, 1), first, "from another connection too");
    assert_eq!(
        attempt_at(&engine, &mut client, "ben", 7, 1).outcome,
        Outcome::AlreadyCaptured,
        "ids are the player's own"
    );

    // Long enough that the answer has left memory and is in the snapshot.
    for attempt in 100..400 {
        attempt_at(&engine, &mut client, "ana", attempt, 1);
    }
    until("the snapshot follows", || engine.metrics().snapshot_position == engine.position());
    for attempt in 400..600 {
        attempt_at(&engine, &mut client, "ana", attempt, 1);
    }
    assert_eq!(attempt_at(&engine, &mut client, "ana", 7, 1), first, "from the archive");
    drop(client);
    engine.close();

    for cores in [3, 1] {
        let engine = open(dir.path(), cores);
        let mut client = engine.client().unwrap();
        assert_eq!(attempt_at(&engine, &mut client, "ana", 7, 2), first, "after a restart with {cores} cores");
        assert_eq!(attempt_at(&engine, &mut client, "ana", 250, 2).outcome, Outcome::AlreadyCaptured);
        engine.close();
    }
}

#[test]
fn an_attempt_that_is_sent_twice_at_once_is_decided_once() {
    let dir = TempDir::new().unwrap();
    let engine = open(dir.path(), 2);
    let (mut one, mut two) = (engine.client().unwrap(), engine.client().unwrap());
    spawn(&mut one, 1..=1);
    for attempt in 1..=500 {
        let copy = attempt_of(&engine, &one, "ana", attempt, 1 + attempt % 2);
        one.attempt(Token(1), copy.clone()).unwrap();
        two.attempt(Token(2), Attempt { fakemon_id: FakemonId(1), ..copy }).unwrap();
        let answers = [wait_for(&mut one, 1).remove(0), wait_for(&mut two, 1).remove(0)];
        let [Completion::Decided { decision: first, .. }, Completion::Decided { decision: second, .. }] = answers
        else {
            panic!("{answers:?}")
        };
        assert_eq!(first, second);
    }
    engine.close();
    assert_eq!(verify(dir.path(), &mut |_, _| {}).unwrap().attempts, 500);
}

#[test]
fn collections_and_fates_survive_restarts_with_other_numbers_of_cores() {
    let dir = TempDir::new().unwrap();
    let mut expected = Vec::new();
    for (round, cores) in [1, 3, 2, 1].into_iter().enumerate() {
        let engine = open(dir.path(), cores);
        let mut client = engine.client().unwrap();
        assert_eq!(collection(&engine, &mut client, "ana"), expected, "round {round}");
        let ids = round as u64 * 10 + 1..=round as u64 * 10 + 10;
        spawn(&mut client, ids.clone());
        for id in ids {
            let decision = attempt_at(&engine, &mut client, "ana", id, id);
            assert_eq!(decision.outcome, Outcome::Captured);
            expected.push((id, decision.position));
            assert_eq!(collection(&engine, &mut client, "ana"), expected, "told, so it is there");
        }
        for (id, _) in &expected {
            let decision = attempt_at(&engine, &mut client, "ben", round as u64 * 1_000 + id, *id);
            assert_eq!(decision.outcome, Outcome::AlreadyCaptured);
        }
        let error = client.spawn(Token(1), &spawn_of(1)).map(|()| wait_for(&mut client, 1).remove(0));
        let taken = matches!(error, Ok(Completion::Spawned { result: Err(SpawnError::IdTaken(FakemonId(1))), .. }));
        assert!(taken, "{error:?}");
        engine.close();
    }
    verify(dir.path(), &mut |_, _| {}).unwrap();
}

#[test]
fn a_copy_taken_at_any_moment_holds_everything_that_was_acknowledged() {
    let (dir, copies) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let engine = open(dir.path(), 2);
    let mut client = engine.client().unwrap();
    spawn(&mut client, 1..=20);
    for round in 1..=5 {
        let told: Vec<_> = (1..=20).map(|id| attempt_at(&engine, &mut client, "ana", round * 100 + id, id)).collect();
        // Not atomic, unlike a crash: but what was acknowledged before does not change any more.
        let copy = copies.path().join(round.to_string());
        copy_dir(dir.path(), &copy);
        let revived = open(&copy, 1);
        let mut client = revived.client().unwrap();
        for first in told {
            let again = attempt_at(&revived, &mut client, "ana", first.attempt_id.0, first.fakemon_id.0);
            assert_eq!(again, first);
        }
        revived.close();
        verify(&copy, &mut |_, _| {}).unwrap();
    }
}

/// Blocks of many events, more blocks of one event than a follower looks up singly, and every starting position.
#[test]
fn who_follows_may_begin_anywhere_and_misses_nothing() {
    let dir = TempDir::new().unwrap();
    let engine = open(dir.path(), 2);
    let mut client = engine.client().unwrap();
    spawn(&mut client, 1..=100);
    for id in 1..=100 {
        attempt_at(&engine, &mut client, if id % 3 == 0 { "ana" } else { "bea" }, id, id);
    }
    let (tail, ana) = (engine.tail(), PlayerName::new("ana").unwrap());
    let ana = tail.player_id(&ana).unwrap();
    let read = |from: u64, most: u64| {
        let (mut next, mut positions) = (Position(from), Vec::new());
        while next < tail.end() {
            next = tail.read(next, most, &mut |seen| positions.push(seen.position().0)).unwrap();
        }
        positions
    };
    for from in 1..tail.end().0 {
        assert_eq!(read(from, 1_000), (from..tail.end().0).collect::<Vec<_>>(), "from {from}");
    }
    for most in [1, 3, 64] {
        assert_eq!(read(1, most), (1..tail.end().0).collect::<Vec<_>>(), "{most} at once");
    }
    let mut made = Vec::new();
    let is_wanted = &mut |player, outcome| player == ana && outcome == Outcome::Captured;
    let next = tail.read_wanted(Position(1), 1_000, is_wanted, &mut |seen| made.extend(seen.attempt())).unwrap();
    assert_eq!((made.len(), next), (33, tail.end()));
    assert!(made.iter().all(|(player, decision)| *player == ana && decision.fakemon_id.0 % 3 == 0));
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    // First the lower bound of acknowledged events, and databases that follow the journal; then the journal. Within
    // each, RocksDB's own order: data first, then the files that refer to it.
    let mut names: Vec<_> = std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort_by_key(|name| {
        let name = name.to_string_lossy();
        (!name.starts_with("acknowledged"), name == "journal", name.starts_with(['M', 'C']))
    });
    for name in names {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() { copy_dir(&from, &to) } else { drop(std::fs::copy(&from, &to)) }
    }
}

#[test]
fn time_ends_a_fakemon_and_the_view_shows_what_is_there() {
    let dir = TempDir::new().unwrap();
    let engine = open(dir.path(), 2);
    let mut client = engine.client().unwrap();
    let mut changes = engine.subscribe();
    spawn(&mut client, 1..=2);
    client.spawn(Token(3), &Spawn { lifetime_s: Some(1), ..spawn_of(3) }).unwrap();
    wait_for(&mut client, 1);
    until("the view follows", || engine.world_position() == engine.position());
    let seen = |engine: &Engine| {
        let mut ids: Vec<u64> = engine.look(sol(), 100.0).iter().map(|sighting| sighting.fakemon_id.0).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(seen(&engine), [1, 2, 3]);
    assert!(engine.look(sol().moved(500.0, 0.0), 400.0).is_empty());
    assert_eq!(engine.look(sol().moved(500.0, 0.0), 510.0).len(), 3);
    attempt_at(&engine, &mut client, "ana", 1, 1);
    until("the captured one and the late one are gone", || seen(&engine) == [2]);
    until("the journal says so", || engine.metrics().vanished == 1);
    assert_eq!(attempt_at(&engine, &mut client, "ana", 2, 3).outcome, Outcome::Vanished);
    let mut batches = Vec::new();
    assert!(changes.drain(&mut batches), "nothing was lost");
    let told: Vec<_> = batches.iter().flat_map(|batch| batch.iter()).collect();
    assert_eq!(told.iter().filter(|change| matches!(change, Change::Appeared(_))).count(), 3);
    assert_eq!(told.iter().filter(|change| matches!(change, Change::Vanished { .. })).count(), 2);
}

#[test]
fn looks_and_attempts_reach_over_poles_and_the_date_line() {
    let dir = TempDir::new().unwrap();
    let engine = open(dir.path(), 1);
    let mut client = engine.client().unwrap();
    let place = |(lat, lon)| Place::from_degrees(lat, lon).unwrap();
    // Each 20 to 40 m apart, within the reach of 50 m.
    let pairs = [
        ((89.99982, 0.0), (89.99982, 180.0)),
        ((-89.99982, 45.0), (-89.99982, -135.0)),
        ((90.0, 10.0), (89.99964, -170.0)),
        ((12.0, 179.9999), (12.0, -179.9999)),
    ];
    for (id, (here, there)) in (1..).zip(pairs) {
        client.spawn(Token(id), &Spawn { place: place(there), ..spawn_of(id) }).unwrap();
        let spawned = wait_for(&mut client, 1);
        let Completion::Spawned { result: Ok((position, _)), .. } = spawned[0] else { panic!("{spawned:?}") };
        until("it is shown", || engine.world_position() > position);
        let seen = |radius_m| engine.look(place(here), radius_m).iter().any(|seen| seen.fakemon_id == FakemonId(id));
        assert!(seen(45.0) && !seen(15.0), "{here:?} {there:?}");
        let attempt = Attempt { place: place(here), ..attempt_of(&engine, &client, "ana", id, id) };
        client.attempt(Token(9), attempt).unwrap();
        let decided = wait_for(&mut client, 1);
        let Completion::Decided { decision, .. } = &decided[0] else { panic!("{decided:?}") };
        assert_eq!(decision.outcome, Outcome::Captured, "{here:?} {there:?}");
    }
}

#[test]
fn the_engine_gives_ids_that_nobody_has() {
    let dir = TempDir::new().unwrap();
    let engine = open(dir.path(), 2);
    let mut client = engine.client().unwrap();
    spawn(&mut client, [1, 2, 3, 7, i64::MAX as u64].into_iter());
    for token in 0..10 {
        client.spawn(Token(token), &Spawn { fakemon_id: None, ..spawn_of(0) }).unwrap();
    }
    let mut ids: Vec<u64> = wait_for(&mut client, 10)
        .into_iter()
        .map(|completion| match completion {
            Completion::Spawned { result: Ok((_, id)), .. } => id.0,
            other => panic!("{other:?}"),
        })
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 10);
    for (id, error) in [(0, SpawnError::Id), (u64::MAX, SpawnError::Id)] {
        assert_eq!(client.spawn(Token(0), &spawn_of(id)), Err(SubmitError::Spawn(error)));
    }
    let unknown = client.spawn(Token(0), &Spawn { species: "nobody".into(), ..spawn_of(99) });
    assert_eq!(unknown, Err(SubmitError::Spawn(SpawnError::UnknownSpecies("nobody".into()))));
}

#[test]
fn a_full_engine_throttles_and_forgets_nothing_that_it_accepted() {
    let dir = TempDir::new().unwrap();
    let engine = open(dir.path(), 1);
    let mut client = engine.client().unwrap();
    spawn(&mut client, 1..=1);
    let (mut accepted, mut refused) = (0, Vec::new());
    for attempt in 1..=100_000 {
        match client.attempt(Token(attempt), attempt_of(&engine, &client, "ana", attempt, 1)) {
            Ok(()) => accepted += 1,
            Err(SubmitError::Throttled(_)) => refused.push(attempt),
            Err(other) => panic!("{other}"),
        }
    }
    assert!(!refused.is_empty(), "nothing woke the shard, so its mailbox must have been full");
    assert_eq!(wait_for(&mut client, accepted).len(), accepted);
    let retried = attempt_at(&engine, &mut client, "ana", refused[0], 1);
    assert_eq!(retried.outcome, Outcome::AlreadyCaptured, "a throttled id is not used up");
    drop(client); // flushes its metrics
    assert_eq!(engine.metrics().throttled, refused.len() as u64);
}

#[test]
fn a_client_sees_that_its_engine_is_closed_and_gets_what_it_was_still_to_get() {
    let dir = TempDir::new().unwrap();
    let engine = open(dir.path(), 1);
    let mut client = engine.client().unwrap();
    client.spawn(Token(1), &spawn_of(1)).unwrap();
    client.flush();
    assert!(!client.is_stopped());
    engine.close();
    assert!(client.is_stopped(), "a loop that waits for answers ends");
    let mut completions = Vec::new();
    client.poll(&mut completions);
    assert!(matches!(completions[..], [Completion::Spawned { token: Token(1), result: Ok(_) }]), "{completions:?}");
    assert!(matches!(client.spawn(Token(2), &spawn_of(2)), Err(SubmitError::Stopped)));
}

#[test]
fn the_archive_tells_what_happened_beside_the_engine() {
    let dir = TempDir::new().unwrap();
    let engine = open(dir.path(), 2);
    let mut client = engine.client().unwrap();
    let mut archive = Archive::open(dir.path()).unwrap();
    spawn(&mut client, 1..=1);
    let decision = attempt_at(&engine, &mut client, "ana", 5, 1);
    archive.refresh().unwrap();
    let mut found = None;
    let visit = archive.for_each(decision.position, &mut |recorded| {
        found = Some(recorded.clone());
        std::ops::ControlFlow::Break(())
    });
    visit.unwrap();
    let found = found.unwrap();
    assert_eq!(found.position, decision.position);
    let Event::Attempt(attempt) = &found.event else { panic!("{found:?}") };
    assert_eq!((attempt.attempt_id, attempt.outcome, attempt.place), (AttemptId(5), Outcome::Captured, sol()));
    assert_eq!(archive.player_name(attempt.player), Some("ana"));
    assert_eq!(archive.species_name(attempt.species), Some("sparkit"));
    assert_eq!(archive.end_position(), engine.position());
}

#[test]
fn clients_that_leave_with_commands_in_flight_make_room_for_others() {
    let dir = TempDir::new().unwrap();
    let engine = open(dir.path(), 1);
    for number in 0..CLIENTS_MAX + 100 {
        let mut client = engine.client().unwrap_or_else(|error| panic!("client {number}: {error}"));
        while let Err(error) = client.put(Token(0), vec![NewEvent::new("test", "tick", "{}")]) {
            assert!(matches!(error, SubmitError::Throttled(_)), "{error}");
        }
    }
}

#[test]
fn retention_lets_the_oldest_go_and_the_engine_starts_without_them() {
    let dir = TempDir::new().unwrap();
    let retention = Retention { max_age: Some(Duration::from_millis(1)), max_bytes: None };
    let engine = Engine::open(dir.path(), Options { retention, ..options(1) }).unwrap();
    let mut client = engine.client().unwrap();
    spawn(&mut client, 1..=1);
    let first = attempt_at(&engine, &mut client, "ana", 1, 1);
    let mut attempt = 1;
    until("the first block is gone", || {
        attempt += 1;
        attempt_at(&engine, &mut client, "ben", attempt, 1);
        Archive::open(dir.path()).unwrap().first_position() > first.position
    });
    engine.close();
    let engine = open(dir.path(), 2);
    let mut client = engine.client().unwrap();
    assert_eq!(attempt_at(&engine, &mut client, "ana", 1, 1), first, "answers outlive their block");
    assert_eq!(collection(&engine, &mut client, "ana"), [(1, first.position)]);
    engine.close();
    assert!(!verify(dir.path(), &mut |_, _| {}).unwrap().from_the_beginning);
}

#[test]
fn what_cannot_be_opened_says_why_and_what_to_do() {
    let dir = TempDir::new().unwrap();
    let engine = open(dir.path(), 1);
    let refuse = |dir: &Path, options: Options, message: &str| {
        let error = Engine::open(dir, options).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(message) && !error.contains('\n'), "{error}");
    };
    refuse(dir.path(), options(1), "another process has it open: stop that one");
    engine.close();
    drop(engine);
    refuse(dir.path(), Options { cores: 0, ..options(1) }, "cores must be from 1");
    refuse(dir.path(), Options { reach_m: f64::NAN, ..options(1) }, "reach_m must be from 0");
    std::fs::write(dir.path().join("FAKEMON"), "fakemon data directory, format 99\n").unwrap();
    refuse(dir.path(), options(1), "its format is 99, this program knows up to 1: use a newer fakemon");
    let foreign = TempDir::new().unwrap();
    std::fs::write(foreign.path().join("thesis.tex"), "chapter one").unwrap();
    refuse(foreign.path(), options(1), "it holds other files");
    refuse(&foreign.path().join("thesis.tex"), options(1), "thesis.tex");
    assert!(
        Archive::open(foreign.path()).is_err_and(|error| error.to_string().contains("not a fakemon data directory"))
    );
}

#[test]
fn a_program_can_act_on_why_an_engine_does_not_open() {
    let dir = TempDir::new().unwrap();
    let why = |dir: &Path, options: Options| Engine::open(dir, options).err();
    let engine = open(dir.path(), 1);
    assert!(matches!(why(dir.path(), options(1)), Some(OpenError::Locked(_))));
    spawn(&mut engine.client().unwrap(), 1..=1);
    engine.close();
    drop(engine);
    assert!(matches!(why(dir.path(), options(0)), Some(OpenError::Options(_))));
    std::fs::write(dir.path().join("acknowledged"), 1_000u64.to_be_bytes()).unwrap();
    assert!(matches!(why(dir.path(), options(1)), Some(OpenError::Damaged { position: Some(_), .. })));
    std::fs::remove_file(dir.path().join("journal/CURRENT")).unwrap();
    assert!(matches!(why(dir.path(), options(1)), Some(OpenError::Damaged { position: None, .. })));
    std::fs::write(dir.path().join("FAKEMON"), "fakemon data directory, format 99\n").unwrap();
    let newer = why(dir.path(), options(1));
    assert!(matches!(newer, Some(OpenError::NewerFormat { found: 99, supported: 1, .. })));
    let foreign = TempDir::new().unwrap();
    std::fs::write(foreign.path().join("thesis.tex"), "chapter one").unwrap();
    assert!(matches!(why(foreign.path(), options(1)), Some(OpenError::Unsuitable(_))));
    assert!(matches!(Archive::open(foreign.path()), Err(OpenError::Unsuitable(_))));
}

#[test]
fn damage_is_found_named_and_never_a_panic() {
    let dir = TempDir::new().unwrap();
    let engine = open(dir.path(), 1);
    let mut client = engine.client().unwrap();
    spawn(&mut client, 1..=1);
    let copies = TempDir::new().unwrap();
    let copy = copies.path().join("acknowledged");
    copy_dir(dir.path(), &copy);
    let told: Vec<_> = (1..=300).map(|attempt| attempt_at(&engine, &mut client, "ana", attempt, 1)).collect();
    engine.close();
    drop((client, engine));

    // More was acknowledged than the journal holds.
    std::fs::copy(dir.path().join("acknowledged"), copy.join("acknowledged")).unwrap();
    let error = Engine::open(&copy, options(1)).err().unwrap().to_string();
    assert!(error.contains("it ends at position") && error.contains("was acknowledged"), "{error}");

    // A byte of the log changed. RocksDB stops reading its log at the damage; acknowledged events behind it are
    // detected as missing.
    let seed = 11u64;
    for round in 0..20 {
        let copy = copies.path().join(round.to_string());
        copy_dir(dir.path(), &copy);
        let logs = std::fs::read_dir(copy.join("journal")).unwrap().map(|entry| entry.unwrap().path());
        let logs = logs.filter(|path| path.extension().is_some_and(|ending| ending == "log"));
        let log = logs.max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
        let mut bytes = std::fs::read(&log).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
        let place = fakemon_model::ids::mix(seed + round) % used;
        bytes[usize::try_from(place).unwrap()] ^= 0x40;
        std::fs::write(&log, &bytes).unwrap();
        match Engine::open(&copy, options(1)) {
            Err(error) => {
                let error = error.to_string();
                let named = error.contains("damaged") || error.contains("acknowledged");
                assert!(named, "seed {seed}, round {round}, byte {place}: {error}");
            }
            // Only rows of the snapshot were behind the damage: they are rebuilt from the journal.
            Ok(engine) => {
                let mut client = engine.client().unwrap();
                for first in &told {
                    let again = attempt_at(&engine, &mut client, "ana", first.attempt_id.0, 1);
                    assert_eq!(again, *first, "seed {seed}, round {round}, byte {place}");
                }
            }
        }
    }
}
