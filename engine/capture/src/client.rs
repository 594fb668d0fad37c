//! Clients: submit commands with a token, poll completions. One per thread, so that nothing is shared on the way in
//! but the mailboxes of the shards.

use crate::archive_reader::{Question, Request};
use crate::command::{Attempt, Completion, Firing, Spawn, SpawnError, Stages, SubmitError, Throttled};
use crate::commit::commit_queue::{Name, NoPlace};
use crate::completion_queue::{CompletionQueue, Release, decision};
use crate::decision::record::{put_record, short_ns};
use crate::decision::turn::{Answer, AnswerBody, Turn};
use crate::metrics::AttemptMetrics;
use crate::player::{Claim, Player, Waiter};
use crate::population::{Fakemon, StateHash};
use crate::shard::{AttemptCommand, WorldCommand};
use crate::shared::Shared;
use fakemon_fbs::journal::{Changed, SectionDraft};
use fakemon_model::authorship;
use fakemon_model::event::{CaptureAttempt, Decision, PlayerName, Put};
use fakemon_model::ids::{Ahead, AttemptId, FakemonId, Position, Timestamp, Token, owner};
use fakemon_model::limits::{CLIENT_IN_FLIGHT_MAX, LIFETIME_S_MAX, PUT_BYTES_MAX, PUT_EVENTS_MAX, SNAPSHOT_LAG_MAX};
use fakemon_model::place::Place;
use fakemon_resource::resource::Change;
use fakemon_resource::{InvalidChange, NewEvent};
use hashbrown::HashMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often a client hands in its figures.
const HAND_IN: Duration = Duration::from_millis(100);
/// When a throttled command may be retried: about the time in which full queues drain.
const RETRY_AFTER_MS: u32 = 20;
const THROTTLED: SubmitError = SubmitError::Throttled(Throttled { retry_after_ms: RETRY_AFTER_MS });
/// How often the engine looks for a free id before it gives up.
const ID_TRIES: u8 = 100;

/// Submits commands and polls completions.
pub struct Client {
    shared: Arc<Shared>,
    outbox: Arc<CompletionQueue>,
    in_flight: usize,
    /// Shards that have new commands; `flush` wakes them.
    touched: Vec<bool>,
    /// Completions that came from no other thread; the next `poll` returns them.
    ready: Vec<Completion>,
    /// Spawns without an id of their own, each with the number of ids tried so far.
    unnamed: HashMap<Token, (Fakemon, u8)>,
    figures: AttemptMetrics,
    handed_in: Instant,
}

impl Client {
    pub fn new(shared: Arc<Shared>, outbox: Arc<CompletionQueue>) -> Client {
        Client {
            touched: vec![false; shared.doors.len()],
            shared,
            outbox,
            in_flight: 0,
            ready: Vec::new(),
            unnamed: HashMap::new(),
            figures: AttemptMetrics::default(),
            handed_in: Instant::now(),
        }
    }

    /// The player of this name. The first call with a name gives it a number, in the journal before the player's
    /// first attempt.
    ///
    /// # Errors
    /// [`SubmitError::Throttled`] when too many new names wait, [`SubmitError::Stopped`].
    pub fn register(&self, name: &PlayerName) -> Result<Player, SubmitError> {
        self.admit()?;
        self.shared.registry.get_or_register(name, |player| {
            let name = Name::Player(player.id(), player.name().as_str().to_owned());
            if self.shared.desk.announce(name) { Ok(()) } else { Err(THROTTLED) }
        })
    }

    /// Submits an attempt; [`Completion::Decided`] follows once it is durable. The shard sees it at the next
    /// [`flush`](Self::flush), at the latest. [`Completion::Unreadable`] follows for an attempt that is sent again if
    /// its first answer is damaged on the disk.
    ///
    /// # Errors
    /// [`SubmitError::Throttled`] when a queue is full, [`SubmitError::Stopped`]. Nothing was accepted then.
    pub fn attempt(&mut self, token: Token, attempt: Attempt) -> Result<(), SubmitError> {
        let shard = self.admit_attempt(attempt.fakemon_id)?;
        match attempt.player.claim(attempt.attempt_id, || self.waiter(token, attempt.attempt_id, attempt.fakemon_id))
        {
            Claim::New => return self.submit(token, attempt, shard),
            Claim::Answered(decision) => self.ready.push(Completion::Decided { token, decision, stages: None }),
            Claim::InFlight => self.in_flight += 1,
            Claim::Archived => self.ask(token, attempt.player.id(), Question::Answer(attempt.attempt_id))?,
        }
        self.figures.resent += 1;
        Ok(())
    }

    /// As [`attempt`](Self::attempt), received now, under the lowest attempt id from 1 that the player never used:
    /// that is returned. Ids that come from elsewhere and these may be mixed; each is still decided once.
    ///
    /// # Errors
    /// As [`attempt`](Self::attempt).
    pub fn attempt_numbered(
        &mut self,
        token: Token,
        player: &Player,
        fakemon_id: FakemonId,
        place: Place,
    ) -> Result<AttemptId, SubmitError> {
        let shard = self.admit_attempt(fakemon_id)?;
        let (attempt_id, received_at) = (player.claim_unused(), self.shared.clock.now());
        self.submit(token, Attempt { player: player.clone(), attempt_id, fakemon_id, place, received_at }, shard)?;
        Ok(attempt_id)
    }

    /// The shard that owns a fakémon, if it has room for one more attempt.
    #[inline]
    fn admit_attempt(&mut self, fakemon_id: FakemonId) -> Result<usize, SubmitError> {
        self.admit().inspect_err(|_| self.figures.throttled += 1)?;
        let shard = usize::from(owner(fakemon_id, self.shared.doors.len()).0);
        if self.shared.doors[shard].attempts.is_full() {
            self.figures.throttled += 1;
            return Err(THROTTLED);
        }
        Ok(shard)
    }

    fn submit(&mut self, token: Token, attempt: Attempt, shard: usize) -> Result<(), SubmitError> {
        let Attempt { player, attempt_id, fakemon_id, place, received_at } = attempt;
        let queued_at = self.shared.clock.now();
        let received_at = received_at.min(queued_at); // clamp: an attempt cannot be received after it is queued
        let attempt = CaptureAttempt { player: player.id(), attempt_id, fakemon_id, place, received_at };
        let queued_after_ns = short_ns(received_at, queued_at);
        let command = AttemptCommand::new(attempt, player, token, queued_after_ns, self.outbox.id);
        if let Err(command) = self.shared.doors[shard].attempts.push(command) {
            command.player.unclaim(attempt_id);
            self.figures.throttled += 1;
            return Err(THROTTLED);
        }
        self.in_flight += 1;
        self.touched[shard] = true;
        Ok(())
    }

    /// Gets the answer to an attempt that another client has in flight.
    fn waiter(&self, token: Token, attempt_id: AttemptId, fakemon_id: FakemonId) -> Waiter {
        let outbox = self.outbox.clone();
        Box::new(move |decision| {
            outbox.release(match decision {
                Some(decision) => Release::Again { token, decision },
                None => Release::Refused { token, attempt_id, fakemon_id },
            });
        })
    }

    /// Submits a spawn; [`Completion::Spawned`] follows once it is durable.
    ///
    /// # Errors
    /// [`SubmitError::Spawn`] when the spawn is not valid, [`SubmitError::Throttled`], [`SubmitError::Stopped`].
    pub fn spawn(&mut self, token: Token, spawn: &Spawn) -> Result<(), SubmitError> {
        self.admit()?;
        let now = self.shared.clock.now();
        let fakemon = self.check_spawn(spawn, now)?;
        self.appear(token, fakemon, now)?;
        if spawn.fakemon_id.is_none() {
            self.unnamed.insert(token, (fakemon, 1));
        }
        Ok(())
    }

    fn check_spawn(&self, spawn: &Spawn, now: Timestamp) -> Result<Fakemon, SpawnError> {
        let unknown = || SpawnError::UnknownSpecies(spawn.species.clone());
        let species = self.shared.options.species.named(&spawn.species).ok_or_else(unknown)?;
        let number = *self.shared.species.get(spawn.species.as_str()).ok_or_else(unknown)?;
        let lifetime_s = spawn.lifetime_s.unwrap_or(species.lifetime_s);
        if !(1..=LIFETIME_S_MAX).contains(&lifetime_s) {
            return Err(SpawnError::Lifetime);
        }
        let id = spawn.fakemon_id.unwrap_or_else(|| self.shared.free_id());
        if id.0 == 0 || i64::try_from(id.0).is_err() {
            return Err(SpawnError::Id);
        }
        let catch_rate = spawn.catch_rate.unwrap_or(species.catch_rate);
        Ok(Fakemon::wild(id, number, spawn.place, catch_rate, now.plus_ns(lifetime_s * 1_000_000_000)))
    }

    fn appear(&mut self, token: Token, fakemon: Fakemon, at: Timestamp) -> Result<(), SubmitError> {
        let shard = usize::from(owner(fakemon.id, self.shared.doors.len()).0);
        let command = WorldCommand::Appear { fakemon, at, token, client: self.outbox.id };
        self.shared.doors[shard].world.push(command).map_err(|_| THROTTLED)?;
        self.shared.note_id(fakemon.id);
        self.in_flight += 1;
        self.touched[shard] = true;
        Ok(())
    }

    /// Puts events on their buses, in this order and at neighbouring positions; [`Completion::Written`] with the
    /// first position follows once they are durable. At most [`PUT_EVENTS_MAX`] events and [`PUT_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// [`SubmitError::Throttled`], [`SubmitError::Stopped`], [`SubmitError::TooLarge`], [`SubmitError::Reserved`].
    pub fn put(&mut self, token: Token, events: Vec<NewEvent>) -> Result<(), SubmitError> {
        events.iter().try_for_each(|event| authorship::check(&event.source, &event.detail_type))?;
        self.tell(token, events)
    }

    /// The same for those who speak for the engine: who serves players says who comes and goes, and what is carried
    /// on was said before. Nothing from outside comes this way without [`authorship::check`].
    ///
    /// # Errors
    /// [`SubmitError::Throttled`], [`SubmitError::Stopped`], [`SubmitError::TooLarge`].
    pub fn tell(&mut self, token: Token, events: Vec<NewEvent>) -> Result<(), SubmitError> {
        let (now, wall) = (self.shared.clock.now(), self.shared.clock.wall_now());
        let mut section = SectionDraft::default();
        events.into_iter().for_each(|event| section.push_put(put_record(event.put(now, wall), Ahead::default())));
        self.write(Turn::of_writes(section, StateHash::default(), self.outbox.id, token))
    }

    /// Changes resources of the bus, all of these or none; [`Completion::Written`] follows once they are durable, and
    /// `Engine::registry` shows them then. Each is checked against the resources as those before it in `changes`
    /// leave them; changes that are still on their way do not count, so wait for one that another needs. Where
    /// several callers change what depends on each other, one at a time decides.
    ///
    /// # Errors
    /// [`SubmitError::Invalid`] when one cannot be: names, patterns, ARNs, what it belongs to, limits. Else as
    /// [`put`](Self::put).
    pub fn change(&mut self, token: Token, changes: Vec<Change>) -> Result<(), SubmitError> {
        self.validate(&changes)?;
        let at_ns = self.shared.clock.now().0;
        let (mut section, mut facts) = (SectionDraft::default(), StateHash::default());
        for change in &changes {
            let (key, value) = change.record();
            facts.add(StateHash::changed(&key, value.as_deref()));
            section.push_changed(Changed { at_ns, key, value });
        }
        let turn = Turn { changes, ..Turn::of_writes(section, facts, self.outbox.id, token) };
        self.write(turn)
    }

    fn validate(&self, changes: &[Change]) -> Result<(), InvalidChange> {
        let mut registry = self.shared.resources.current();
        for (index, change) in changes.iter().enumerate() {
            (self.shared.validate)(change, &registry, &self.shared.options)?;
            if index + 1 < changes.len() {
                Arc::make_mut(&mut registry).apply(change);
            }
        }
        Ok(())
    }

    /// Notes that schedules were due, and what ends with it, all at once and in this order;
    /// [`Completion::Written`] follows once it is durable.
    pub fn fire(&mut self, token: Token, firings: &[Firing]) -> Result<(), SubmitError> {
        let (now, wall) = (self.shared.clock.now(), self.shared.clock.wall_now());
        let (mut section, mut facts, mut changes) = (SectionDraft::default(), StateHash::default(), Vec::new());
        for Firing { schedule, event, ends } in firings {
            let put = Put { schedule: schedule.clone(), ..event.clone().put(now, wall) };
            section.push_put(put_record(put, Ahead::default()));
            if let Some(change) = ends {
                let (key, value) = change.record();
                facts.add(StateHash::changed(&key, value.as_deref()));
                section.push_changed(Changed { at_ns: now.0, key, value });
                changes.push(change.clone());
            }
        }
        let turn = Turn { changes, ..Turn::of_writes(section, facts, self.outbox.id, token) };
        self.write(turn)
    }

    fn write(&mut self, turn: Turn) -> Result<(), SubmitError> {
        self.admit()?;
        let section = &turn.section;
        if section.len() > PUT_EVENTS_MAX || section.text_bytes() > PUT_BYTES_MAX {
            return Err(SubmitError::TooLarge);
        }
        let place = self.shared.desk.reserve().map_err(|why| match why {
            NoPlace::Full => THROTTLED,
            NoPlace::Closed => SubmitError::Stopped,
        })?;
        place.hand_over(turn);
        self.in_flight += 1;
        Ok(())
    }

    /// Asks for a player's captures before `before` (none: the newest); [`Completion::Collection`] follows. It holds
    /// every capture that was acknowledged before this call. [`Completion::Unreadable`] follows instead if they are
    /// damaged on the disk.
    ///
    /// # Errors
    /// [`SubmitError::Throttled`], [`SubmitError::Stopped`].
    pub fn collection(&mut self, token: Token, player: &Player, before: Option<Position>) -> Result<(), SubmitError> {
        self.admit()?;
        self.ask(token, player.id(), Question::Collection(before.unwrap_or(Position(u64::MAX))))
    }

    fn ask(
        &mut self,
        token: Token,
        player: fakemon_model::ids::PlayerId,
        question: Question,
    ) -> Result<(), SubmitError> {
        let request = Request { token, player, outbox: self.outbox.clone(), question };
        self.shared.counter.requests.push(request).map_err(|_| THROTTLED)?;
        self.shared.counter.requests.ring();
        self.in_flight += 1;
        Ok(())
    }

    fn admit(&self) -> Result<(), SubmitError> {
        if self.shared.stopping.load(Ordering::SeqCst) || self.shared.failure.happened() {
            return Err(SubmitError::Stopped);
        }
        let progress = &self.shared.progress;
        let lag = progress.committed().0.saturating_sub(progress.snapshot().0);
        let full = self.in_flight >= CLIENT_IN_FLIGHT_MAX || lag > SNAPSHOT_LAG_MAX;
        if full { Err(THROTTLED) } else { Ok(()) }
    }

    /// Wakes the shards that have new commands: once per turn, not once per command.
    pub fn flush(&mut self) {
        for (door, touched) in self.shared.doors.iter().zip(&mut self.touched) {
            if std::mem::take(touched) {
                door.attempts.ring();
                door.world.ring();
            }
        }
    }

    /// Appends all completions that are ready; returns how many.
    pub fn poll(&mut self, completions: &mut Vec<Completion>) -> usize {
        let before = completions.len();
        completions.append(&mut self.ready);
        while let Some(release) = self.outbox.queue.pop() {
            self.take_in(release, completions);
        }
        if self.handed_in.elapsed() >= HAND_IN {
            self.hand_in();
        }
        completions.len() - before
    }

    fn take_in(&mut self, release: Release, completions: &mut Vec<Completion>) {
        match release {
            Release::Turn { first, durable_at, answers } => {
                self.in_flight -= answers.len();
                let archived = self.shared.progress.snapshot();
                for answer in answers {
                    completions.extend(self.complete(answer, first, durable_at, archived));
                }
            }
            Release::Again { token, decision } => {
                self.in_flight -= 1;
                completions.push(Completion::Decided { token, decision, stages: None });
            }
            Release::Refused { token, attempt_id, fakemon_id } => {
                self.in_flight -= 1;
                let throttled = Throttled { retry_after_ms: RETRY_AFTER_MS };
                completions.push(Completion::Throttled { token, attempt_id, fakemon_id, throttled });
            }
            Release::Collection { token, items, more_before } => {
                self.in_flight -= 1;
                completions.push(Completion::Collection { token, items, more_before });
            }
            Release::Unreadable { token, attempt_id } => {
                self.in_flight -= 1;
                completions.push(Completion::Unreadable { token, attempt_id });
            }
        }
    }

    #[inline]
    fn complete(
        &mut self,
        answer: Answer,
        first: Position,
        durable_at: Timestamp,
        archived: Position,
    ) -> Option<Completion> {
        let Answer { offset, token, body } = answer;
        match body {
            AnswerBody::Decided { decided, player } => {
                let decision: Decision = decision(&decided, first, offset);
                player.answer(decision, archived);
                let stages = Stages {
                    received_at: decided.received_at,
                    queued_at: decided.queued_at(),
                    decided_at: decided.decided_at(),
                    durable_at,
                };
                self.figures.record(decision.outcome, &stages);
                Some(Completion::Decided { token, decision, stages: Some(stages) })
            }
            AnswerBody::Written => {
                let position = Position(first.0 + u64::from(offset));
                Some(Completion::Written { token, position })
            }
            AnswerBody::Spawned(result) => self.spawned(token, result, Position(first.0 + u64::from(offset))),
        }
    }

    /// A spawn whose id was chosen by the engine and turned out to be taken is retried with the next id.
    fn spawned(
        &mut self,
        token: Token,
        result: Result<FakemonId, SpawnError>,
        position: Position,
    ) -> Option<Completion> {
        if let Some((mut fakemon, tries)) = self.unnamed.remove(&token)
            && result.is_err()
            && tries < ID_TRIES
        {
            fakemon.id = self.shared.free_id();
            if self.appear(token, fakemon, self.shared.clock.now()).is_ok() {
                self.flush();
                self.unnamed.insert(token, (fakemon, tries + 1));
                return None;
            }
        }
        Some(Completion::Spawned { token, result: result.map(|fakemon| (position, fakemon)) })
    }

    /// Flushes, waits until a completion is there or `timeout` has passed, and polls.
    pub fn wait(&mut self, completions: &mut Vec<Completion>, timeout: Duration) -> usize {
        self.flush();
        let deadline = Instant::now() + timeout;
        loop {
            let polled = self.poll(completions);
            let left = deadline.saturating_duration_since(Instant::now());
            if polled > 0 || left.is_zero() {
                return polled;
            }
            if !self.arm() {
                use rustix::event::{PollFd, PollFlags, Timespec, poll};
                let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
                let _ = poll(&mut [PollFd::new(&self.as_fd(), PollFlags::IN)], Some(&left));
            }
        }
    }

    /// Arms the descriptor: from now on it becomes readable when a completion is ready. Call this before waiting on
    /// the descriptor; true means that a completion is ready already.
    pub fn arm(&mut self) -> bool {
        self.outbox.bell.hush();
        self.outbox.bell.arm();
        let ready = !self.ready.is_empty() || !self.outbox.queue.is_empty();
        if ready {
            self.outbox.bell.disarm();
        }
        ready
    }

    /// Whether the engine has ended: it failed, and what is not durable yet never will be; or it was closed, and what
    /// is still to be polled is there already. While it closes it has not ended: completions still come.
    pub fn is_stopped(&self) -> bool {
        self.shared.failure.happened() || self.shared.closed.load(Ordering::SeqCst)
    }

    /// Commands without a completion so far.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn hand_in(&mut self) {
        let mut sum = self.shared.attempt_figures.lock();
        self.figures.hand_in(&mut sum);
        self.handed_in = Instant::now();
    }
}

/// Readable when completions are there, after [`Client::arm`]: for `epoll`, `poll`, or mio's `SourceFd`.
impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.outbox.bell.descriptor()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.flush();
        self.hand_in();
        self.shared.outboxes.close(&self.outbox, self.in_flight, self.shared.progress.snapshot());
    }
}
