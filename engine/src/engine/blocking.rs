//! Calls that wait for their answer: for tests, tools, and the first five minutes with an embedded engine.
//!
//! ```
//! use fakemon_engine::{Engine, Options, Outcome, Spawn, place::Place, species::CatchRate};
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path();
//! let engine = Engine::open(dir, Options { cores: 1, ..Options::default() })?;
//! let place = Place::from_degrees(40.4168, -3.7038)?;
//! let sparkit = engine.spawn(Spawn { catch_rate: Some(CatchRate::ALWAYS), ..Spawn::new("sparkit", place) })?;
//! assert_eq!(engine.player("ana")?.attempt(sparkit, place)?.wait()?, Outcome::Captured);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What returns is durable. All threads share one [`Client`], behind a lock, and each call waits for a sync of the
//! disk of its own: some hundred to some thousand calls a second for each thread. Attempts that are submitted first
//! and waited for later share their syncs. A program that serves many players takes a [`Client`] per thread and
//! polls, which costs a hundredth.
//!
//! A call that finds the queues full waits until there is room, as long as that takes. Callbacks may call; what they
//! must not do is close the engine. After [`Engine::close`], calls return [`SubmitError::Stopped`]; what was accepted
//! before is still decided, and its answer can be waited for.

use super::Engine;
use fakemon_capture::client::Client;
use fakemon_capture::command::{Completion, Spawn, SubmitError};
use fakemon_capture::completion_queue::NoMoreClients;
use fakemon_capture::player::Player;
use fakemon_model::event::{Caught, Decision, Outcome, PlayerName, PlayerNameError};
use fakemon_model::ids::{AttemptId, FakemonId, Position, Token};
use fakemon_model::place::Place;
use fakemon_resource::NewEvent;
use fakemon_resource::resource::Change;
use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::HashMap;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// How long a call that found a queue full sleeps before it tries again.
const FULL: Duration = Duration::from_millis(1);
/// How often a call that waits looks whether the engine was closed.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Why a call did not happen. What returns no error is durable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The player's name is empty, too long, or holds control characters.
    #[error(transparent)]
    Name(#[from] PlayerNameError),
    /// The engine refuses it, or has stopped: [`Engine::failure`] says why. Never `Throttled`: calls wait instead.
    #[error(transparent)]
    Refused(#[from] SubmitError),
    /// What was asked for is damaged on the disk: nothing else is concerned. `fakemon verify` says what is wrong.
    #[error("it is damaged on the disk; `fakemon verify` says what is wrong")]
    Unreadable,
    /// The process has no descriptor left for the client that calls share.
    #[error(transparent)]
    NoClient(#[from] NoMoreClients),
}

impl Engine {
    /// Puts a fakémon into the world: its id. Blocks until that is durable; attempts see it from then on.
    ///
    /// # Errors
    /// [`SubmitError::Spawn`] when it cannot be, [`SubmitError::Stopped`].
    pub fn spawn(&self, spawn: Spawn) -> Result<FakemonId, CallError> {
        let (token, ()) = self.submit(|client, token| client.spawn(token, &spawn))?;
        match self.wait_for(token)? {
            Completion::Spawned { result, .. } => Ok(result.map_err(SubmitError::Spawn)?.1),
            other => unreachable!("a spawn is answered as such, not with {other:?}"),
        }
    }

    /// The player of this name, of 1 to 64 bytes. The first call with a name gives it a number, in the journal before
    /// its first attempt. Blocks while too many new names wait.
    ///
    /// # Errors
    /// [`CallError::Name`], [`SubmitError::Stopped`].
    pub fn player(&self, name: &str) -> Result<BlockingPlayer, CallError> {
        let name = PlayerName::new(name)?;
        let player = self.when_there_is_room(|open| open.client.register(&name))?;
        Ok(BlockingPlayer { engine: self.clone(), player })
    }

    /// Puts events on their buses, in this order: the position of the first. Blocks until they are durable; rules see
    /// them later. At most 1,000 events and 4 MiB.
    ///
    /// # Errors
    /// [`SubmitError::TooLarge`], [`SubmitError::Reserved`], [`SubmitError::Stopped`].
    pub fn put(&self, events: Vec<NewEvent>) -> Result<Position, CallError> {
        self.write(|client, token| client.put(token, events.clone()))
    }

    /// Changes resources of the bus, all of these or none: the position of the first change. Blocks until they are
    /// durable; [`registry`](Self::registry) shows them from then on, and events that are put later meet them.
    ///
    /// # Errors
    /// As [`Client::change`].
    pub fn change(&self, changes: Vec<Change>) -> Result<Position, CallError> {
        self.write(|client, token| client.change(token, changes.clone()))
    }

    fn write(&self, put: impl Fn(&mut Client, Token) -> Result<(), SubmitError>) -> Result<Position, CallError> {
        let (token, ()) = self.submit(put)?;
        match self.wait_for(token)? {
            Completion::Written { position, .. } => Ok(position),
            other => unreachable!("what is put is answered as such, not with {other:?}"),
        }
    }
}

/// A player of [`Engine::player`], whose calls block. Cheap to clone; keeps the engine open.
///
/// All calls that block share one [`Client`] behind a lock, from all threads, and each waits for a sync of the disk
/// of its own: some hundred to some thousand calls a second for each thread. Attempts that are submitted first and
/// waited for later share their syncs. A program that serves many players takes a [`Client`] for each thread and
/// polls.
///
/// After [`Engine::close`], calls return [`SubmitError::Stopped`]; what was accepted before is decided, and its
/// answer can be waited for.
#[derive(Clone)]
pub struct BlockingPlayer {
    engine: Engine,
    player: Player,
}

impl BlockingPlayer {
    /// The name.
    pub fn name(&self) -> &str {
        self.player.name().as_str()
    }

    /// Attempts a fakémon from a place, under the lowest attempt id that the player never used. Returns once the
    /// attempt is in a queue: blocks only while that is full.
    ///
    /// # Errors
    /// [`SubmitError::Stopped`].
    pub fn attempt(&self, fakemon_id: FakemonId, place: Place) -> Result<PendingAttempt, CallError> {
        let submit = |client: &mut Client, token| client.attempt_numbered(token, &self.player, fakemon_id, place);
        let (token, attempt_id) = self.engine.submit(submit)?;
        Ok(PendingAttempt { engine: self.engine.clone(), token, attempt_id })
    }

    /// Everything that the player has caught, in the order of capture. Blocks until it was read.
    ///
    /// # Errors
    /// [`CallError::Unreadable`], [`SubmitError::Stopped`].
    pub fn collection(&self) -> Result<Vec<Caught>, CallError> {
        let (mut caught, mut before) = (Vec::new(), None);
        loop {
            let (token, ()) = self.engine.submit(|client, token| client.collection(token, &self.player, before))?;
            let (mut items, more_before) = match self.engine.wait_for(token)? {
                Completion::Collection { items, more_before, .. } => (items, more_before),
                Completion::Unreadable { .. } => return Err(CallError::Unreadable),
                other => unreachable!("a collection is answered with one, not with {other:?}"),
            };
            items.append(&mut caught); // pages come from the newest to the oldest
            caught = items;
            before = more_before;
            if before.is_none() {
                return Ok(caught);
            }
        }
    }
}

impl fmt::Debug for BlockingPlayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.player.fmt(f)
    }
}

/// An attempt that was submitted. It is decided whether it is waited for or not: dropping this forgets the answer,
/// which the journal has.
#[must_use = "the answer comes to `wait`"]
pub struct PendingAttempt {
    engine: Engine,
    token: Token,
    attempt_id: AttemptId,
}

impl PendingAttempt {
    /// The number that the attempt got: the player's own, from 1.
    pub fn attempt_id(&self) -> AttemptId {
        self.attempt_id
    }

    /// Blocks until the attempt is decided and durable.
    ///
    /// # Errors
    /// [`SubmitError::Stopped`] when the engine failed meanwhile; whether it was decided is in the journal.
    pub fn wait(self) -> Result<Outcome, CallError> {
        Ok(self.decision()?.outcome)
    }

    /// As [`wait`](Self::wait), with the position of the decision.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn decision(self) -> Result<Decision, CallError> {
        match self.engine.wait_for(self.token)? {
            Completion::Decided { decision, .. } => Ok(decision),
            other => unreachable!("an attempt with a new id is answered with a decision, not with {other:?}"),
        }
    }
}

impl Drop for PendingAttempt {
    fn drop(&mut self) {
        self.engine.calls().forget(self.token);
    }
}

/// The client that all calls share, opened by the first.
#[derive(Default)]
pub(crate) struct Calls {
    open: Mutex<Option<Open>>,
    /// Answers came, or nothing waits on the descriptor any more.
    changed: Condvar,
}

struct Open {
    client: Client,
    /// The client's own, for a poll without the lock.
    descriptor: Arc<OwnedFd>,
    next_token: u64,
    /// Calls without an answer, or with one that was not taken yet.
    waiting: HashMap<Token, Option<Completion>>,
    /// A call polls the descriptor; the others wait until it says so.
    has_leader: bool,
    completions: Vec<Completion>,
}

impl Calls {
    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock()
    }

    fn forget(&self, token: Token) {
        if let Some(open) = self.lock().as_mut() {
            open.waiting.remove(&token);
        }
    }
}

impl Open {
    fn of(engine: &Engine) -> Result<Open, NoMoreClients> {
        let client = engine.client()?;
        let descriptor = client.as_fd().try_clone_to_owned().map_err(|error| NoMoreClients(error.to_string()))?;
        Ok(Open {
            client,
            descriptor: Arc::new(descriptor),
            next_token: 0,
            waiting: HashMap::new(),
            has_leader: false,
            completions: Vec::new(),
        })
    }

    /// Gives answers to those who wait for them; whether any came. An answer that was forgotten goes.
    fn take_in(&mut self) -> bool {
        let any = self.client.poll(&mut self.completions) > 0;
        for completion in self.completions.drain(..) {
            if let Some(slot) = self.waiting.get_mut(&completion.token()) {
                *slot = Some(completion);
            }
        }
        any
    }
}

impl Engine {
    /// Submits a command under a token of its own, whose answer `wait_for` takes.
    fn submit<T>(
        &self,
        command: impl Fn(&mut Client, Token) -> Result<T, SubmitError>,
    ) -> Result<(Token, T), CallError> {
        self.when_there_is_room(|open| {
            let token = Token(open.next_token);
            let submitted = command(&mut open.client, token)?;
            open.next_token += 1;
            open.waiting.insert(token, None);
            open.client.flush();
            Ok((token, submitted))
        })
    }

    /// Does it with the client that calls share; again and again while that is throttled.
    fn when_there_is_room<T>(&self, ask: impl Fn(&mut Open) -> Result<T, SubmitError>) -> Result<T, CallError> {
        loop {
            let mut held = self.calls().lock();
            if held.is_none() {
                *held = Some(Open::of(self)?);
            }
            let open = held.as_mut().expect("it was just opened");
            match ask(open) {
                Ok(done) => return Ok(done),
                Err(SubmitError::Throttled(_)) => {
                    // What fills the queue may be answers that nothing has taken yet.
                    open.client.flush();
                    if open.take_in() {
                        self.calls().changed.notify_all();
                    }
                    drop(held);
                    std::thread::sleep(FULL);
                }
                Err(refused) => return Err(refused.into()),
            }
        }
    }

    /// Waits for the answer to a command. One of the calls that wait polls the descriptor and takes in what comes,
    /// for all: several that poll would take each other's wake-ups.
    fn wait_for(&self, token: Token) -> Result<Completion, CallError> {
        let calls = self.calls();
        let mut held = calls.lock();
        loop {
            let open = held.as_mut().expect("a token comes from an open client");
            let is_stopped = open.client.is_stopped(); // before the look: what was answered until then is there
            if open.take_in() {
                calls.changed.notify_all();
            }
            if let Some(answer) = open.waiting.get_mut(&token).and_then(Option::take) {
                open.waiting.remove(&token);
                return Ok(answer);
            }
            if is_stopped {
                open.waiting.remove(&token);
                return Err(SubmitError::Stopped.into());
            }
            if open.has_leader {
                calls.changed.wait(&mut held);
                continue;
            }
            if open.client.arm() {
                continue;
            }
            open.has_leader = true;
            let descriptor = open.descriptor.clone();
            drop(held);
            let _ = poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&LOOK)); // what came is looked at anyhow
            held = calls.lock();
            held.as_mut().expect("it stays open").has_leader = false;
            calls.changed.notify_all(); // another may have to wait on, in place of this one
        }
    }
}
