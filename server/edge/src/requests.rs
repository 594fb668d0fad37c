//! Requests of players to the engine, and the engine's completions to players.

use super::catch_up::CatchUp;
use super::connection::{Connection, FrameWriter};
use super::figures::{Counters, count};
use crate::connection::rate::Rates;
use crate::connections::ConnectionIds;
use crate::slots::{SeatId, Slots};
use fakemon_capture::command::{Attempt, Completion, SubmitError, Throttled};
use fakemon_engine::{Client, Engine};
use fakemon_model::ids::{AttemptId, FakemonId, Position, Timestamp, Token};
use fakemon_model::place::Place;
use fakemon_protocol::{BadMessage, ErrorCode, Reply, Request};
use std::sync::Arc;

/// Collections of one connection without an answer: each can be a megabyte.
const COLLECTIONS_MAX: u8 = 2;
/// Pause that is asked of a client whose attempt is over `in_flight_max`.
const RETRY_AFTER_MS: u32 = 20;

/// One thread's client of the engine.
pub(crate) struct Requests {
    pub(crate) engine: Engine,
    pub(crate) client: Client,
    pub(crate) rates: Option<Arc<Rates>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) in_flight_max: u32,
    names: ConnectionIds,
    catch_up: CatchUp,
    /// The herald's last batch is durable.
    pub(crate) has_written: bool,
    completions: Vec<Completion>,
    /// When the decisions answered in this turn became durable.
    durable_at: Vec<Timestamp>,
}

impl Requests {
    pub(crate) fn new(
        engine: Engine,
        client: Client,
        rates: Option<Arc<Rates>>,
        counters: Arc<Counters>,
        in_flight_max: u32,
        (names, catch_up): (ConnectionIds, CatchUp),
    ) -> Requests {
        Requests {
            engine,
            client,
            rates,
            counters,
            in_flight_max,
            names,
            catch_up,
            has_written: false,
            completions: Vec::new(),
            durable_at: Vec::new(),
        }
    }

    /// Takes a request. Answers it at once if possible; a look is noted for the end of the turn.
    #[inline]
    pub(crate) fn take(
        &mut self,
        seat: SeatId,
        connection: &mut Connection,
        voice: &mut FrameWriter,
        request: Result<Request, BadMessage>,
        received_at: Timestamp,
    ) {
        match request {
            Ok(Request::Attempt { attempt_id, fakemon_id, place }) => {
                let submitted = self.attempt(seat, connection, (attempt_id, fakemon_id, place), received_at);
                if let Err(error) = submitted {
                    self.refuse_attempt(connection, voice, attempt_id, fakemon_id, &error);
                }
            }
            Ok(Request::Look { place, radius_m }) => {
                if let Some(session) = connection.session() {
                    session.asked_area = Some(Box::new(super::areas::Area::new(place, radius_m)));
                }
            }
            Ok(Request::Collection { before }) => match self.collection(seat, connection, before) {
                Ok(true) => {}
                Ok(false) => {
                    let (items, more_before) = (&[][..], None);
                    voice.say(connection, &Reply::Collection { items, more_before });
                }
                Err(error) => say_refused(connection, voice, &error),
            },
            Ok(Request::Resume { position }) => self.resume(seat, connection, voice, (position, true)),
            Err(bad) => self.say_bad(connection, voice, &bad),
        }
    }

    /// Starts a catch-up of a player from `behind`; `so_far`: nothing was missing yet. Their results are held until
    /// it ends.
    pub(crate) fn resume(
        &mut self,
        seat: SeatId,
        connection: &mut Connection,
        voice: &mut FrameWriter,
        (behind, so_far): (Position, bool),
    ) {
        let Some(session) = connection.session() else { return };
        let Some(name) = &session.name else { return };
        if session.is_resuming() {
            return say_error(connection, voice, "what you missed is being told: resume again after that");
        }
        let name = name.clone();
        session.begin_resuming(behind);
        if !self.catch_up.ask(self.names.of(seat), name, behind, so_far) {
            session.resumed();
            say_error(connection, voice, "too many catch up: resume again later");
        }
    }

    fn attempt(
        &mut self,
        seat: SeatId,
        connection: &mut Connection,
        (attempt_id, fakemon_id, place): (AttemptId, FakemonId, Place),
        received_at: Timestamp,
    ) -> Result<(), SubmitError> {
        let session = connection.session().ok_or(SubmitError::Stopped)?;
        if session.in_flight >= self.in_flight_max {
            return Err(throttled(RETRY_AFTER_MS));
        }
        if let (Some(rates), Some(allowance)) = (&self.rates, &session.allowance) {
            // Another connection may have made the player's first attempt meanwhile.
            if session.player.is_none() {
                session.player = session.name.as_ref().and_then(|name| self.engine.find_player(name));
            }
            // A retry is answered from memory, so it costs no allowance; the bounds of what is in flight still apply.
            if !session.player.as_ref().is_some_and(|player| player.has_used(attempt_id)) {
                rates.take(allowance).map_err(throttled)?;
            }
        }
        let player = match &session.player {
            Some(player) => player.clone(),
            None => {
                let name = session.name.as_ref().ok_or(SubmitError::Stopped)?;
                let player = self.client.register(name)?;
                session.player.insert(player).clone()
            }
        };
        let attempt = Attempt { player, attempt_id, fakemon_id, place, received_at };
        self.client.attempt(Token(seat.0), attempt)?;
        session.in_flight += 1;
        Ok(())
    }

    /// Asks the engine for a collection. False: this player has made no attempt, so it is empty.
    fn collection(
        &mut self,
        seat: SeatId,
        connection: &mut Connection,
        before: Option<Position>,
    ) -> Result<bool, SubmitError> {
        let session = connection.session().ok_or(SubmitError::Stopped)?;
        if session.collections >= COLLECTIONS_MAX || session.in_flight >= self.in_flight_max {
            return Err(throttled(RETRY_AFTER_MS));
        }
        // Another connection may have made the player's first attempt meanwhile.
        if session.player.is_none() {
            session.player = session.name.as_ref().and_then(|name| self.engine.find_player(name));
        }
        let Some(player) = &session.player else {
            return Ok(false);
        };
        self.client.collection(Token(seat.0), player, before)?;
        session.collections += 1;
        session.in_flight += 1;
        Ok(true)
    }

    fn refuse_attempt(
        &self,
        connection: &mut Connection,
        voice: &mut FrameWriter,
        attempt_id: AttemptId,
        fakemon_id: FakemonId,
        error: &SubmitError,
    ) {
        let SubmitError::Throttled(Throttled { retry_after_ms }) = *error else {
            return say_refused(connection, voice, error);
        };
        count(&self.counters.throttled, 1);
        let reply = Reply::Throttled { attempt_id, fakemon_id, retry_after_ms };
        voice.say(connection, &reply);
    }

    pub(crate) fn say_bad(&self, connection: &mut Connection, voice: &mut FrameWriter, bad: &BadMessage) {
        count(&self.counters.errors, 1);
        let reply = Reply::Error { code: ErrorCode::BadMessage, message: &bad.message, attempt_id: bad.attempt_id };
        voice.say(connection, &reply);
    }

    /// Sends decisions to players; calls `spoke` for each connection that got one.
    pub(crate) fn answer(
        &mut self,
        seats: &mut Slots<Connection>,
        voice: &mut FrameWriter,
        mut spoke: impl FnMut(SeatId, &mut Connection),
    ) {
        self.client.poll(&mut self.completions);
        for completion in self.completions.drain(..) {
            if let Completion::Written { .. } = completion {
                self.has_written = true; // the herald alone puts events; a connection never does
                continue;
            }
            let seat = SeatId(completion.token().0);
            // A player who has gone gets the answer when they send the attempt again.
            let Some(connection) = seats.get_mut(seat) else { continue };
            let Some(session) = connection.session() else { continue };
            session.in_flight -= 1; // each submission is completed once
            match completion {
                Completion::Decided { decision, stages, .. } => {
                    self.durable_at.extend(stages.map(|stages| stages.durable_at));
                    if session.hold(decision) {
                        continue;
                    }
                    voice.say(connection, &Reply::Decided(decision));
                }
                Completion::Collection { items, more_before, .. } => {
                    session.collections -= 1;
                    let items = &items;
                    voice.say(connection, &Reply::Collection { items, more_before });
                }
                Completion::Throttled { attempt_id, fakemon_id, throttled, .. } => {
                    count(&self.counters.throttled, 1);
                    let retry_after_ms = throttled.retry_after_ms;
                    voice.say(connection, &Reply::Throttled { attempt_id, fakemon_id, retry_after_ms });
                }
                Completion::Unreadable { attempt_id, .. } => {
                    if attempt_id.is_none() {
                        session.collections = session.collections.saturating_sub(1);
                    }
                    count(&self.counters.errors, 1);
                    let message = match attempt_id {
                        Some(_) => "the first answer to this attempt is damaged on the server's disk",
                        None => "this collection is damaged on the server's disk; what you caught stays yours",
                    };
                    voice.say(connection, &Reply::Error { code: ErrorCode::Unreadable, message, attempt_id });
                }
                Completion::Spawned { .. } | Completion::Written { .. } => unreachable!("players spawn nothing"),
            }
            spoke(seat, connection);
        }
    }

    /// Records that the answers of this turn are written to their sockets.
    pub(crate) fn answered(&mut self) {
        if !self.durable_at.is_empty() {
            let now = self.engine.now();
            let latencies_ns = self.durable_at.drain(..).map(|durable_at| now.ns_since(durable_at));
            self.counters.record_answered(latencies_ns);
        }
    }
}

fn throttled(retry_after_ms: u32) -> SubmitError {
    SubmitError::Throttled(Throttled { retry_after_ms })
}

fn say_error(connection: &mut Connection, voice: &mut FrameWriter, message: &str) {
    voice.say(connection, &Reply::Error { code: ErrorCode::Throttled, message, attempt_id: None });
}

fn say_refused(connection: &mut Connection, voice: &mut FrameWriter, error: &SubmitError) {
    let code = match error {
        SubmitError::Throttled(_) => ErrorCode::Throttled,
        SubmitError::Spawn(_)
        | SubmitError::Reserved(_)
        | SubmitError::TooLarge
        | SubmitError::Invalid(_)
        | SubmitError::Stopped => ErrorCode::Stopped,
    };
    let reply = Reply::Error { code, message: &error.to_string(), attempt_id: None };
    voice.say(connection, &reply);
}
