//! Events of the journal, and what players get of them: outcomes, decisions, captures, sightings.

use crate::ids::{AttemptId, EventKey, FakemonId, PlayerId, Position, SpeciesId, Timestamp};
use crate::limits::PLAYER_NAME_BYTES_MAX;
use crate::place::Place;
use crate::species::CatchRate;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The player has it, for good.
    Captured,
    /// Another player was quicker, or the player has it already.
    AlreadyCaptured,
    /// Within reach, but it dodged this ball; another attempt may catch.
    Dodged,
    /// Its time was over.
    Vanished,
    /// The player stood too far away.
    OutOfReach,
    /// No fakémon has ever had this id.
    UnknownFakemon,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Outcome; 6] = [
        Outcome::Captured,
        Outcome::AlreadyCaptured,
        Outcome::Dodged,
        Outcome::Vanished,
        Outcome::OutOfReach,
        Outcome::UnknownFakemon,
    ];

    /// Its word in messages, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Captured => "captured",
            Outcome::AlreadyCaptured => "already_captured",
            Outcome::Dodged => "dodged",
            Outcome::Vanished => "vanished",
            Outcome::OutOfReach => "out_of_reach",
            Outcome::UnknownFakemon => "unknown_fakemon",
        }
    }
}

/// A player's name: 1 to 64 bytes of UTF-8 without control characters. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlayerName(Arc<str>);

/// The text is not a valid player name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("player must be 1 to 64 bytes of UTF-8 without control characters")]
pub struct PlayerNameError;

impl PlayerName {
    /// Checks a name.
    pub fn new(name: &str) -> Result<PlayerName, PlayerNameError> {
        let fits = (1..=PLAYER_NAME_BYTES_MAX).contains(&name.len());
        match fits && !name.chars().any(char::is_control) {
            true => Ok(PlayerName(name.into())),
            false => Err(PlayerNameError),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PlayerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An attempt at a fakémon, as far as its decision needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureAttempt {
    /// The player.
    pub player: PlayerId,
    /// The player's name for the attempt.
    pub attempt_id: AttemptId,
    /// The fakémon it is aimed at.
    pub fakemon_id: FakemonId,
    /// Where the player stands.
    pub place: Place,
    /// When it was read from the socket.
    pub received_at: Timestamp,
}

/// An attempt, how it ended, and how long it spent in each stage. Its members are at hand as those of the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecidedAttempt {
    /// The attempt.
    pub attempt: CaptureAttempt,
    /// How it ended.
    pub outcome: Outcome,
    /// The species of the fakémon.
    pub species: SpeciesId,
    /// From when it was received until it entered the mailbox of its shard, in nanoseconds, at most 4.29 s.
    pub queued_after_ns: u32,
    /// From when it was received until it was decided, in nanoseconds, at most 4.29 s.
    pub decided_after_ns: u32,
}

impl DecidedAttempt {
    /// When it entered the mailbox of its shard.
    #[inline]
    pub fn queued_at(&self) -> Timestamp {
        self.attempt.received_at.plus_ns(self.queued_after_ns.into())
    }

    /// When it was decided.
    #[inline]
    pub fn decided_at(&self) -> Timestamp {
        self.attempt.received_at.plus_ns(self.decided_after_ns.into())
    }
}

impl Deref for DecidedAttempt {
    type Target = CaptureAttempt;

    #[inline]
    fn deref(&self) -> &CaptureAttempt {
        &self.attempt
    }
}

/// The answer to an attempt, durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The player's name for the attempt.
    pub attempt_id: AttemptId,
    /// The fakémon of the first attempt with this name.
    pub fakemon_id: FakemonId,
    /// How it ended.
    pub outcome: Outcome,
    /// Its place in the journal.
    pub position: Position,
}

/// A fakémon in a player's collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caught {
    /// The fakémon.
    pub fakemon_id: FakemonId,
    /// Its species.
    pub species: Arc<str>,
    /// When the capture was decided.
    pub captured_at: Timestamp,
    /// Where in the journal.
    pub position: Position,
}

/// A wild fakémon, as players see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The fakémon.
    pub fakemon_id: FakemonId,
    /// Its species.
    pub species: Arc<str>,
    /// Where it is.
    pub place: Place,
    /// When it expires.
    pub vanishes_at: Timestamp,
}

/// An event of the journal, owned; what tools print and followers get.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An attempt and how it ended.
    Attempt(DecidedAttempt),
    /// A fakémon appeared.
    Appeared {
        /// The fakémon.
        fakemon_id: FakemonId,
        /// Its species.
        species: SpeciesId,
        /// Where it appeared.
        place: Place,
        /// How easily it is caught.
        catch_rate: CatchRate,
        /// When it appeared.
        at: Timestamp,
        /// When it expires.
        vanishes_at: Timestamp,
    },
    /// A fakémon vanished uncaught.
    Vanished {
        /// The fakémon.
        fakemon_id: FakemonId,
        /// Its species.
        species: SpeciesId,
        /// Where it was.
        place: Place,
        /// When it vanished.
        at: Timestamp,
        /// When it expired.
        vanishes_at: Timestamp,
    },
    /// A name got its number.
    PlayerNamed {
        /// The number.
        player: PlayerId,
        /// The name.
        name: String,
    },
    /// A species got its number.
    SpeciesNamed {
        /// The number.
        species: SpeciesId,
        /// The name.
        name: String,
    },
    /// The engine opened the journal.
    Opened {
        /// When it was opened.
        at: Timestamp,
        /// The seed that decides dodge rolls from here on.
        world_seed: u64,
        /// How far an attempt reaches from here on, in millimetres.
        reach_mm: u32,
        /// The number of shards.
        cores: u16,
        /// False: answers were given before the sync.
        durable: bool,
    },
    /// An event was put on a bus.
    Put(Box<Put>),
    /// A resource of the bus changed.
    Changed {
        /// When it changed.
        at: Timestamp,
        /// Its key: the word of its kind, then its names, such as `rule/BUS/NAME`.
        key: String,
        /// Its new value as JSON; none if it was deleted.
        value: Option<String>,
    },
}

impl Event {
    /// The fakémon that it is about.
    #[inline]
    pub fn fakemon_id(&self) -> Option<FakemonId> {
        match self {
            Event::Attempt(attempt) => Some(attempt.fakemon_id),
            Event::Appeared { fakemon_id, .. } | Event::Vanished { fakemon_id, .. } => Some(*fakemon_id),
            _ => None,
        }
    }

    /// Where it happened: for an attempt, where the player stood.
    #[inline]
    pub fn place(&self) -> Option<Place> {
        match self {
            Event::Attempt(attempt) => Some(attempt.place),
            Event::Appeared { place, .. } | Event::Vanished { place, .. } => Some(*place),
            _ => None,
        }
    }
}

/// An event that a client put on a bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// When it was accepted.
    pub at: Timestamp,
    /// When it happened, as the sender says.
    pub time: Timestamp,
    /// Name of the bus.
    pub bus: String,
    /// The sender, as the event names it.
    pub source: String,
    /// The detail-type.
    pub detail_type: String,
    /// A JSON object.
    pub detail: String,
    /// ARNs of what the event is about.
    pub resources: Vec<String>,
    /// The region of the request.
    pub region: String,
    /// The event that a rule made this one from.
    pub cause: Option<Position>,
    /// How often rules handed it from bus to bus.
    pub hops: u8,
    /// The key of the schedule that was due at `time`. An event with a schedule and no bus goes to the schedule's
    /// targets.
    pub schedule: Option<String>,
    /// Which delivery of `cause` it is: see `delivery::lane`. A delivery with a record in the journal is done.
    pub by: Option<String>,
    /// The event that rules handed on to here, and whose id it keeps.
    pub origin: Option<EventKey>,
    /// The header of the trace that it belongs to.
    pub trace: Option<String>,
}
