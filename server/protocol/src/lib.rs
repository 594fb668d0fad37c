//! Messages of the player websocket, as types that cannot be wrong, and the two ways to write them: as JSON
//! ([`json`], subprotocol `fakemon.v1.json`) and as FlatBuffers ([`flat`], subprotocol `fakemon.v1.fb`).
//!
//! Who comes back says where they were — `/play?player=NAME&from=POSITION`, or the message
//! `{"type":"resume","position":"123"}`, with the last `position` that they have heard — and is told how every throw
//! of theirs ended since then, whichever connection it came from, in the order of the journal and each once:
//!
//! ```text
//! journal   … 123 ┊ 124  131  140  150 ┊ 151  …
//!                 ┊  results missed    ┊
//!                 from                 {"type":"resumed","position":"150","complete":true}, then live
//! ```
//!
//! Throws that were under way when their connection broke are among them. A throw that is made while this lasts is
//! answered in its place, before or after `resumed`. `complete` is false where retention has let go of the beginning.
//! What rules send to players is not in the journal as it was sent, and does not come again; events about a player
//! are at `GET /stream`.
//!
//! A message is parsed once, here. What does not make sense becomes a [`BadMessage`] that names the field and the
//! remedy, and the connection lives on.

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

/// How messages are written on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprotocol {
    /// Text frames; for all who ask for nothing else.
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

/// What a player asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Request {
    /// What is wild around this place? From then on, tell me what changes there.
    Look {
        /// Where.
        place: Place,
        /// How far, in metres.
        radius_m: f64,
    },
    /// A throw.
    Attempt {
        /// The player's name for it.
        attempt_id: AttemptId,
        /// At what.
        fakemon_id: FakemonId,
        /// From where.
        place: Place,
    },
    /// What have I caught?
    Collection {
        /// Only before this position; none means from the newest.
        before: Option<Position>,
    },
    /// What have I missed?
    Resume {
        /// The last position that the player has heard of.
        position: Position,
    },
}

/// A message to a player.
#[derive(Clone, Copy, Debug)]
pub enum Reply<'a> {
    /// What is wild around.
    World(&'a [Sighting]),
    /// One more.
    Appeared(&'a Sighting),
    /// This one is gone.
    Vanished(FakemonId),
    /// How a throw ended.
    Decided(Decision),
    /// A throw was not accepted; it is not in the journal.
    Throttled {
        /// The player's name for it.
        attempt_id: AttemptId,
        /// At what.
        fakemon_id: FakemonId,
        /// When a new try makes sense.
        retry_after_ms: u32,
    },
    /// Captures, in their order.
    Collection {
        /// A page of them.
        items: &'a [Caught],
        /// Where older ones begin, if there are any.
        more_before: Option<Position>,
    },
    /// All missed answers were sent.
    Resumed {
        /// Up to here: from now on the player hears how their throws end as they end.
        position: Position,
        /// Whether the journal still had all of it.
        complete: bool,
    },
    /// A request that cannot be answered.
    Error {
        /// For programs.
        code: ErrorCode,
        /// For people.
        message: &'a str,
        /// Which throw was meant, where that could be read.
        attempt_id: Option<AttemptId>,
    },
}

/// What is wrong with a request, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// It makes no sense: correct it.
    BadMessage,
    /// Too much is waiting: send it again later.
    Throttled,
    /// The engine is stopping: connect again later.
    Stopped,
}

impl ErrorCode {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            ErrorCode::BadMessage => "bad_message",
            ErrorCode::Throttled => "throttled",
            ErrorCode::Stopped => "stopped",
        }
    }
}

/// A message that makes no sense. The text names the field and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadMessage {
    /// For people.
    pub message: String,
    /// Which throw was meant, where that could be read.
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

/// Checks the numbers of a look, whichever way they came.
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
