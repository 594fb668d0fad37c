//! The engine in the process of the bench, without a network: one client that submits the attempts of the workload.

use fakemon_capture::command::{Attempt, Completion, SubmitError};
use fakemon_capture::player::Player;
use fakemon_engine::{Client, Engine, Metrics, Options};
use fakemon_model::event::{Outcome, PlayerName};
use fakemon_model::ids::{AttemptId, FakemonId, Token};
use fakemon_model::limits::CLIENT_IN_FLIGHT_MAX;
use fakemon_workload::board::Slot;
use fakemon_workload::{Act, Attempts, Board, Nth, Scenario, World};
use std::path::Path;
use std::time::{Duration, Instant};

/// Players who make attempts.
const PLAYERS: u32 = 1_000;
/// Fakémon in reserve for free slots.
const RESERVE: u32 = 20_000;
/// Longest wait for an answer: no disk is that slow.
const STALLED: Duration = Duration::from_secs(10);
const _: () = assert!(CLIENT_IN_FLIGHT_MAX.is_power_of_two());

/// An engine, a client, a workload.
pub(crate) struct InProcess {
    pub(crate) engine: Engine,
    client: Client,
    world: World,
    attempts: Attempts,
    board: Board,
    /// Each player with the number of their next attempt.
    players: Vec<(Player, u64)>,
    next: u64,
    /// By token: slot and fakémon of the attempt, and when it was planned.
    sent: Box<[(Slot, Nth, u64)]>,
    completions: Vec<Completion>,
}

impl InProcess {
    pub(crate) fn open(dir: &Path, scenario: Scenario, cores: usize) -> InProcess {
        InProcess::open_with(dir, scenario, Options { cores, world_seed: Some(1), ..Options::default() })
    }

    pub(crate) fn open_with(dir: &Path, scenario: Scenario, options: Options) -> InProcess {
        let engine = Engine::open(dir, options).expect("a fresh directory and io_uring");
        let world = World::new(1, scenario, FakemonId(1));
        let client = engine.client().expect("one client");
        let name = |number| PlayerName::new(&format!("player-{number}")).expect("a short name");
        let register = |number| (client.register(&name(number)).expect("a thousand names are few"), 1);
        let players = (0..PLAYERS).map(register).collect();
        let slots = scenario.shape().slots;
        let mut in_process = InProcess {
            engine,
            client,
            attempts: Attempts::new(world.clone(), 0, slots),
            world,
            board: Board::new(slots),
            players,
            next: 1,
            sent: vec![(Slot(0), Nth(0), 0); CLIENT_IN_FLIGHT_MAX].into(),
            completions: Vec::new(),
        };
        in_process.spawn_until(slots + RESERVE);
        in_process
    }

    /// Spawns until `count` fakémon are in the world.
    pub(crate) fn spawn_until(&mut self, count: u32) {
        let mut answered = self.board.spawned_count();
        let mut asked = answered;
        while answered < count {
            while asked < count && asked - answered < 4_096 {
                match self.client.spawn(Token(u64::MAX), &self.world.spawn(Nth(asked))) {
                    Ok(()) => asked += 1,
                    Err(SubmitError::Throttled(_)) => break,
                    Err(error) => panic!("a spawn was refused: {error}"),
                }
            }
            self.client.wait(&mut self.completions, Duration::from_millis(10));
            for completion in self.completions.drain(..) {
                let Completion::Spawned { result, .. } = completion else { panic!("{completion:?}") };
                result.expect("ids are fresh");
                answered += 1;
            }
        }
        self.board.spawned(count);
    }

    /// Attempts without an answer.
    pub(crate) fn in_flight(&self) -> usize {
        self.client.in_flight()
    }

    /// Submits the next attempt of the workload, planned at `planned_ns`; false if there is no room.
    #[inline]
    pub(crate) fn attempt(&mut self, planned_ns: u64) -> bool {
        let contender = self.attempts.contender(PLAYERS);
        let Act::Attempt(planned) = self.attempts.next(contender, &self.board) else {
            return true;
        };
        let token = self.next;
        let (player, next_attempt) = &mut self.players[contender.0 as usize];
        let attempt = Attempt {
            player: player.clone(),
            attempt_id: AttemptId(*next_attempt),
            fakemon_id: self.world.id(planned.nth),
            place: planned.place,
            received_at: self.engine.now(),
        };
        match self.client.attempt(Token(token), attempt) {
            Ok(()) => {
                self.sent[token as usize % CLIENT_IN_FLIGHT_MAX] = (planned.slot, planned.nth, planned_ns);
                self.next += 1;
                *next_attempt += 1;
                true
            }
            Err(SubmitError::Throttled(_)) => false,
            Err(error) => panic!("the engine stopped: {error}"),
        }
    }

    /// Takes the available answers, waiting up to `timeout` for the first; calls `each` with the planned time.
    pub(crate) fn settle(&mut self, timeout: Duration, mut each: impl FnMut(u64)) -> usize {
        match timeout {
            Duration::ZERO => {
                self.client.flush();
                self.client.poll(&mut self.completions);
            }
            timeout => drop(self.client.wait(&mut self.completions, timeout)),
        }
        let count = self.completions.len();
        for completion in self.completions.drain(..) {
            let Completion::Decided { token, decision, .. } = completion else { panic!("{completion:?}") };
            let (slot, nth, planned_ns) = self.sent[token.0 as usize % CLIENT_IN_FLIGHT_MAX];
            if matches!(decision.outcome, Outcome::Captured | Outcome::AlreadyCaptured) {
                self.board.caught(slot, nth);
            }
            each(planned_ns);
        }
        count
    }

    /// Waits until every attempt has its answer.
    pub(crate) fn drain(&mut self) {
        let mut heard = Instant::now();
        while self.in_flight() > 0 {
            match self.settle(Duration::from_millis(10), |_| {}) {
                0 if heard.elapsed() > STALLED => self.say_where_attempts_wait(),
                0 => {}
                _ => heard = Instant::now(),
            }
        }
    }

    fn say_where_attempts_wait(&self) -> ! {
        let Metrics { mailbox_depth, journal_depth, position, .. } = self.engine.metrics();
        panic!(
            "{} throws have no answer: {mailbox_depth:?} wait for shards, {journal_depth} turns for the journal, which \
             is at {position}; failure: {:?}",
            self.in_flight(),
            self.engine.failure()
        );
    }
}
