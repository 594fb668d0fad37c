//! Messages of the player websocket, as types that cannot be wrong, and the two ways to write them: as JSON
//! ([`json`], subprotocol `fakemon.v1.json`) and as FlatBuffers ([`flat`], subprotocol `fakemon.v1.fb`).
//!
//! A player who reconnects sends the last `position` that they know, in `/play?player=NAME&from=POSITION` or in the
//! message `{"type":"resume","position":"123"}`. The server then sends the results of all their attempts since then,
//! from whatever connection, in the order of the journal and each once:
//!
//! ```text
//! journal   … 123 ┊ 124  131  140  150 ┊ 151  …
//!                 ┊  results missed    ┊
//!                 from                 {"type":"resumed","position":"150","complete":true}, then live
//! ```
//!
//! Attempts that were in flight when their connection broke are among them. An attempt made meanwhile is answered in
//! its position, before or after `resumed`. `complete` is false if retention has deleted the beginning. Messages that
//! rules send to players are not in the journal as they were sent, and are not sent again; events about a player are
//! at `GET /stream`.
//!
//! A message is parsed once, here. An invalid one becomes a [`BadMessage`] that names the field and the remedy, and
//! the connection stays open.

#![allow(
    missing_docs,
    reason = "nothing outside of this workspace reads them; a doc that repeats a name says nothing"
)]

use fakemon_model::event::{Caught, Decision, Sighting};
use fakemon_model::ids::{AttemptId, FakemonId, Position};
use fakemon_model::limits::LOOK_RADIUS_M_MAX;
use fakemon_model::place::Place;

pub mod json;
pub mod flat;

/// Encoding of messages on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprotocol {
    /// Text frames; the default.
    Json,
    /// Binary frames.
    FlatBuffers,
}

impl Subprotocol {
    /// The name in `Sec-WebSocket-Protocol`.
    pub fn name(self) -> &'static str {
        match self {
            Subprotocol::Json => "fakemon.v1.json",
            Subprotocol::FlatBuffers => "fakemon.v1.fb",
        }
    }

    /// The subprotocol of this name.
    pub fn named(name: &str) -> Option<Subprotocol> {
        [Subprotocol::Json, Subprotocol::FlatBuffers].into_iter().find(|subprotocol| subprotocol.name() == name)
    }
}

/// A request of a player.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Request {
    /// Asks for the wild fakémon around a place, and for changes there from then on.
    Look {
        /// The centre.
        place: Place,
        /// The radius, in metres.
        radius_m: f64,
    },
    /// A capture attempt.
    Attempt {
        /// The player's id of the attempt.
        attempt_id: AttemptId,
        /// The target.
        fakemon_id: FakemonId,
        /// The player's place.
        place: Place,
    },
    /// Asks for the player's collection.
    Collection {
        /// Only captures before this position; none: from the newest.
        before: Option<Position>,
    },
    /// Asks for the results that the player missed.
    Resume {
        /// The last position that the player knows.
        position: Position,
    },
}

/// A message to a player.
#[derive(Clone, Copy, Debug)]
pub enum Reply<'a> {
    /// The wild fakémon around.
    World(&'a [Sighting]),
    /// A fakémon appeared.
    Appeared(&'a Sighting),
    /// A fakémon is gone.
    Vanished(FakemonId),
    /// The result of an attempt.
    Decided(Decision),
    /// An attempt was not accepted; it is not in the journal.
    Throttled {
        /// The player's id of the attempt.
        attempt_id: AttemptId,
        /// The target.
        fakemon_id: FakemonId,
        /// When to retry, in milliseconds.
        retry_after_ms: u32,
    },
    /// Captures, the oldest first; pages go from the newest captures to the oldest.
    Collection {
        /// A page of them.
        items: &'a [Caught],
        /// `before` for the next page; none if there are no older ones.
        more_before: Option<Position>,
    },
    /// All missed answers were sent.
    Resumed {
        /// All results up to this position were sent; later ones are sent live.
        position: Position,
        /// Whether the journal still had all of them.
        complete: bool,
    },
    /// The error of a request.
    Error {
        /// The kind of error, for programs.
        code: ErrorCode,
        /// The text, for people.
        message: &'a str,
        /// The attempt that it is about, if it is about one whose id could be parsed.
        attempt_id: Option<AttemptId>,
    },
}

/// Kind of an error, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The request is invalid: correct it.
    BadMessage,
    /// Too much is waiting: retry later.
    Throttled,
    /// The engine is stopping: reconnect later.
    Stopped,
    /// What was asked for is damaged on the server's disk: all else goes on.
    Unreadable,
}

impl ErrorCode {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            ErrorCode::BadMessage => "bad_message",
            ErrorCode::Throttled => "throttled",
            ErrorCode::Stopped => "stopped",
            ErrorCode::Unreadable => "unreadable",
        }
    }
}

/// An invalid message. The text names the field and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadMessage {
    /// The text, for people.
    pub message: String,
    /// The attempt, if its id could be parsed.
    pub attempt_id: Option<AttemptId>,
}

impl BadMessage {
    fn new(message: impl Into<String>) -> BadMessage {
        BadMessage { message: message.into(), attempt_id: None }
    }

    fn about(self, attempt_id: AttemptId) -> BadMessage {
        BadMessage { attempt_id: Some(attempt_id), ..self }
    }
}

/// Checks the numbers of a look, in either encoding.
fn look(lat: f64, lon: f64, radius_m: f64) -> Result<Request, BadMessage> {
    let place = place(lat, lon)?;
    match (0.0..=LOOK_RADIUS_M_MAX).contains(&radius_m) {
        true => Ok(Request::Look { place, radius_m }),
        false => Err(BadMessage::new(format!("radius_m must be a number of metres from 0 to {LOOK_RADIUS_M_MAX}"))),
    }
}

fn place(lat: f64, lon: f64) -> Result<Place, BadMessage> {
    Place::from_degrees(lat, lon).map_err(|error| BadMessage::new(error.to_string()))
}

/// Positions count from 1, so that 0 is free to mean none.
fn position(number: u64) -> Option<Position> {
    (number != 0).then_some(Position(number))
}
