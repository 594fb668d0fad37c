//! Histories of real clients across kills are linearizable; the checker agrees with a general one.
//!
//! `make crash DURATION=600` does it for ten minutes.

mod history; // what clients saw, and whether one order of decisions explains it

use crate::crash::campaign;
use crate::dice::Dice;
use crate::linearizable::history::{Attempt, Outcome, Return, explain, positions_respect_time};
use crate::player::{Player, SOL, attempt_at, number};
use crate::server::{Server, fresh_data};
use porcupine_rs::{Model, Operation, check_operations};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PLAYERS: u32 = 6;
const LIVES: usize = 6;
/// Fakémon that are wild at a time, so that players meet.
const HOT: usize = 3;
/// Attempts of a player in flight.
const IN_FLIGHT: usize = 4;
/// Small histories that both checkers judge.
const HISTORIES: usize = 3000;

#[test]
fn real_clients_see_one_order_across_kills() {
    let mut dice = Dice::new();
    let (data, begun, mut lives) = (fresh_data(), Instant::now(), 0);
    let mut clients: Vec<Client> = (0..PLAYERS).map(|player| Client::new(player, begun)).collect();
    while campaign().map_or(lives < LIVES, |campaign| begun.elapsed() < campaign) {
        let server = Server::start(data.path(), &["--cores", ["1", "2"][lives % 2]]);
        clients.iter_mut().for_each(|client| client.send_again(server.play));
        play_until_killed(server, &mut clients, Duration::from_millis(100 + dice.below(300) as u64));
        lives += 1;
    }
    let server = Server::start(data.path(), &[]);
    clients.iter_mut().for_each(|client| client.send_again(server.play));
    assert!(server.stop().success());
    let attempts: Vec<Attempt> = clients.iter().flat_map(|client| client.attempts.values().copied()).collect();
    let mut of_fakemon: HashMap<u64, Vec<Attempt>> = HashMap::new();
    attempts.iter().for_each(|attempt| of_fakemon.entry(attempt.fakemon).or_default().push(*attempt));
    for (fakemon, attempts) in &of_fakemon {
        explain(attempts).unwrap_or_else(|why| panic!("fakémon {fakemon}: {why}: {attempts:#?}"));
    }
    positions_respect_time(&attempts).expect("the order of the journal is that of real time");
    let contested = of_fakemon.values().filter(|attempts| attempts.len() > 3).count();
    assert!(attempts.len() > 300 && contested > 10, "{} attempts, {contested} contested", attempts.len());
    if campaign().is_some() {
        let (attempts, fakemon) = (attempts.len(), of_fakemon.len());
        eprintln!("{lives} lives, {attempts} attempts at {fakemon} fakémon, {contested} of them contested");
    }
}

/// A player who notes when each attempt was called and answered.
struct Client {
    player: u32,
    /// The test's clock.
    begun: Instant,
    attempts: BTreeMap<u64, Attempt>,
}

impl Client {
    fn new(player: u32, begun: Instant) -> Client {
        Client { player, begun, attempts: BTreeMap::new() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).expect("it takes less than five hundred years")
    }

    fn connect(&self, play: SocketAddr) -> Option<Player> {
        Player::connect(play, &format!("client-{}", self.player))
    }

    /// Makes attempts at one of the fakémon that are wild, until the connection breaks.
    fn play(&mut self, play: SocketAddr, wild: &Mutex<Vec<u64>>, mut dice: Dice) {
        let Some(mut player) = self.connect(play) else { return };
        let mut in_flight = 0;
        loop {
            while in_flight < IN_FLIGHT {
                let id = self.attempts.len() as u64 + 1;
                let fakemon = *dice.one_of(&wild.lock().expect("players do not panic"));
                let attempt = Attempt { attempt: (self.player, id), fakemon, called: self.now(), returned: None };
                self.attempts.insert(id, attempt);
                in_flight += 1;
                if player.say(&attempt_at(id, fakemon)).is_none() {
                    break;
                }
            }
            let Some(answer) = player.hear() else { return };
            in_flight -= 1;
            self.note(&answer);
        }
    }

    /// Sends every attempt without an answer again, and some that have one: they get the first again.
    fn send_again(&mut self, play: SocketAddr) {
        let mut player = self.connect(play).expect("it listens");
        let newest = self.attempts.values().rev().take(4 * IN_FLIGHT).copied();
        for attempt in newest.collect::<Vec<_>>() {
            let answer = player.attempt(attempt.attempt.1, attempt.fakemon).expect("it answers");
            self.note(&answer);
        }
    }

    fn note(&mut self, answer: &Value) {
        let outcome = match (answer["outcome"].as_str(), answer["reason"].as_str()) {
            (Some("captured"), None) => Outcome::Captured,
            (Some("failed"), Some("dodged")) => Outcome::Dodged,
            (Some("failed"), Some("already_captured")) => Outcome::AlreadyCaptured,
            (Some("failed"), Some("vanished")) => Outcome::Vanished,
            _ => panic!("no answer to an attempt at a fakémon that is there: {answer}"),
        };
        let returned = Return { at: self.now(), outcome, position: number(answer, "position") };
        let attempt = self.attempts.get_mut(&number(answer, "attempt_id")).expect("it was made");
        let first = attempt.returned.get_or_insert(returned);
        assert_eq!((first.outcome, first.position), (outcome, returned.position), "{attempt:?}");
    }
}

/// Players race for a few fakémon, of which some dodge and some vanish, until the server is killed.
fn play_until_killed(server: Server, clients: &mut [Client], lifetime: Duration) {
    let spawn = |server: &Server, number: usize| {
        let catch_rate = [1.0, 0.3][number % 2];
        let lifetime_s = [1, 3600][usize::from(!number.is_multiple_of(5))];
        let place = json!({ "species": "sparkit", "lat": SOL.0, "lon": SOL.1, "catch_rate": catch_rate,
                            "lifetime_s": lifetime_s });
        server.try_spawn(&place).map(|(fakemon, _)| fakemon)
    };
    let wild: Vec<u64> = (0..HOT).map(|number| spawn(&server, number).expect("it listens")).collect();
    let (wild, play, killed) = (Mutex::new(wild), server.play, AtomicBool::new(false));
    std::thread::scope(|scope| {
        for client in clients {
            let wild = &wild;
            scope.spawn(move || client.play(play, wild, Dice::new()));
        }
        scope.spawn(|| {
            for number in 0.. {
                let Some(fakemon) = spawn(&server, number) else { break };
                wild.lock().expect("players do not panic")[number % HOT] = fakemon;
                if killed.load(Ordering::Relaxed) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        std::thread::sleep(lifetime);
        killed.store(true, Ordering::Relaxed);
        rustix::process::kill_process(server.pid(), rustix::process::Signal::KILL).expect("it still runs");
    });
}

/// A fakémon as the general checker sees it; `None`: the attempt has no answer.
#[derive(Clone, Debug)]
struct Register;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Wild,
    Caught,
    Gone,
}

/// What a client or time does.
#[derive(Clone, Debug)]
enum Step {
    Attempt(Option<Outcome>),
    Vanish,
}

impl Model for Register {
    type State = State;
    type Op = Step;
    type Metadata = ();

    fn init() -> State {
        State::Wild
    }

    fn step(state: &State, step: &Step) -> (bool, State) {
        match (state, step) {
            (State::Wild, Step::Vanish) => (true, State::Gone),
            (state, Step::Vanish) => (true, state.clone()),
            (State::Wild, Step::Attempt(Some(Outcome::Captured) | None)) => (true, State::Caught),
            (State::Wild, Step::Attempt(Some(outcome))) => (*outcome == Outcome::Dodged, State::Wild),
            (state, Step::Attempt(None)) => (true, state.clone()),
            (State::Caught, Step::Attempt(Some(outcome))) => (*outcome == Outcome::AlreadyCaptured, State::Caught),
            (State::Gone, Step::Attempt(Some(outcome))) => (*outcome == Outcome::Vanished, State::Gone),
        }
    }
}

/// The general checker's opinion. An attempt without an answer, and the end of the fakémon, may come at any time,
/// also after all others, where it changes nothing that anybody saw.
fn searched(attempts: &[Attempt]) -> bool {
    let operation = |called: u64, returned: Option<u64>, op: Step| Operation::<Register> {
        client_id: None,
        call_time: i64::try_from(called).expect("times are small"),
        return_time: returned.map_or(i64::MAX, |at| i64::try_from(at).expect("times are small")),
        op,
        metadata: None,
    };
    let vanish = operation(0, None, Step::Vanish);
    let attempts = attempts.iter().map(|attempt| {
        let outcome = attempt.returned.map(|returned| returned.outcome);
        operation(attempt.called, attempt.returned.map(|returned| returned.at), Step::Attempt(outcome))
    });
    check_operations(&attempts.chain([vanish]).collect::<Vec<_>>())
}

/// A history as a fakémon would make it, of which one answer may then be changed.
fn small_history(dice: &mut Dice) -> Vec<Attempt> {
    let count = 2 + dice.below(6);
    let mut times: Vec<u64> = (1..=3 * count as u64).collect();
    let mut moments: Vec<(u64, u64, u64)> = Vec::new(); // called, decided, returned: three different times each
    for _ in 0..count {
        let mut three = [0; 3].map(|_| times.swap_remove(dice.below(times.len())));
        three.sort_unstable();
        moments.push((three[0], three[1], three[2]));
    }
    moments.sort_by_key(|(_, decided, _)| *decided);
    let ends = dice.below(4 * count) as u64;
    let mut state = State::Wild;
    let mut attempts = Vec::new();
    for (number, (called, decided, returned)) in moments.into_iter().enumerate() {
        if decided > ends && dice.below(3) == 0 {
            state = Register::step(&state, &Step::Vanish).1;
        }
        let outcome = match state {
            State::Wild => [Outcome::Captured, Outcome::Dodged, Outcome::Dodged][dice.below(3)],
            State::Caught => Outcome::AlreadyCaptured,
            State::Gone => Outcome::Vanished,
        };
        state = Register::step(&state, &Step::Attempt(Some(outcome))).1;
        let answer = Return { at: returned, outcome, position: decided };
        let returned = (dice.below(5) > 0).then_some(answer);
        attempts.push(Attempt { attempt: (0, number as u64), fakemon: 1, called, returned });
    }
    if dice.below(3) > 0 {
        let all = [Outcome::Captured, Outcome::Dodged, Outcome::AlreadyCaptured, Outcome::Vanished];
        let changed = dice.below(count);
        let outcome = *dice.one_of(&all);
        attempts[changed].returned.iter_mut().for_each(|returned| returned.outcome = outcome);
    }
    attempts
}

#[test]
fn the_checker_agrees_with_a_general_one() {
    let mut dice = Dice::new();
    let mut linearizable = 0;
    for _ in 0..HISTORIES {
        let attempts = small_history(&mut dice);
        let expected = searched(&attempts);
        let explained = explain(&attempts);
        assert_eq!(explained.is_ok(), expected, "{explained:?} {attempts:#?}");
        linearizable += usize::from(expected);
    }
    let share = HISTORIES / 5;
    assert!((share..HISTORIES - share).contains(&linearizable), "{linearizable} of {HISTORIES} are linearizable");
}

#[test]
fn positions_against_time_are_found() {
    let attempt = |called, at, position| Attempt {
        attempt: (0, called),
        fakemon: 1,
        called,
        returned: Some(Return { at, outcome: Outcome::Dodged, position }),
    };
    assert_eq!(positions_respect_time(&[attempt(1, 4, 2), attempt(2, 5, 1), attempt(6, 7, 3)]), Ok(()));
    assert!(positions_respect_time(&[attempt(1, 2, 2), attempt(3, 4, 1)]).is_err());
}
