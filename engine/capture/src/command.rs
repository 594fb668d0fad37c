//! What goes into the engine, what is refused, and what comes back.

use crate::players::Player;
use fakemon_model::authorship::Reserved;
use fakemon_model::event::{Caught, Decision};
use fakemon_model::ids::{AttemptId, FakemonId, Position, Timestamp, Token};
use fakemon_model::place::Place;
use fakemon_model::species::CatchRate;
use fakemon_resource::resource::Change;
use fakemon_resource::{InvalidChange, NewEvent};

/// A throw at a fakémon.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Who throws; see `Client::register`.
    pub player: Player,
    /// The player's own name for the throw: sent again, it gets the first answer again.
    pub attempt_id: AttemptId,
    /// At what.
    pub fakemon_id: FakemonId,
    /// From where.
    pub place: Place,
    /// When the bytes of the throw were read; `Engine::now`.
    pub received_at: Timestamp,
}

/// A fakémon to put into the world.
#[derive(Clone, Debug)]
pub struct Spawn {
    /// Its id; none lets the engine choose the next.
    pub fakemon_id: Option<FakemonId>,
    /// The name of its species; must be in the table.
    pub species: String,
    /// Where.
    pub place: Place,
    /// Seconds; none takes the species'.
    pub lifetime_s: Option<u64>,
    /// None takes the species'.
    pub catch_rate: Option<CatchRate>,
}

impl Spawn {
    /// A fakémon of a species at a place; id, lifetime and catch rate are left to the engine.
    pub fn new(species: &str, place: Place) -> Spawn {
        Spawn { fakemon_id: None, species: species.to_owned(), place, lifetime_s: None, catch_rate: None }
    }
}

/// Why a spawn is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpawnError {
    /// Not in the table of species.
    #[error("species `{0}` is not in the species table")]
    UnknownSpecies(String),
    /// 0, or more than ten years.
    #[error("lifetime_s must be from 1 to {max}", max = fakemon_model::limits::LIFETIME_S_MAX)]
    Lifetime,
    /// A fakémon has or had this id.
    #[error("fakemon_id {0} is taken: ids are never used twice")]
    IdTaken(FakemonId),
    /// 0, which stands for none, or the last ids, which the engine keeps.
    #[error("fakemon_id must be from 1 to 9223372036854775807")]
    Id,
}

/// Too much is waiting already. Nothing was accepted; try again after this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("throttled: try again after {retry_after_ms} ms")]
pub struct Throttled {
    /// When a new try makes sense.
    pub retry_after_ms: u32,
}

/// Why a command was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Try again later.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// The spawn cannot be.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// An event that only the engine may put.
    #[error(transparent)]
    Reserved(#[from] Reserved),
    /// More than [`PUT_EVENTS_MAX`](fakemon_model::limits::PUT_EVENTS_MAX) events or
    /// [`PUT_BYTES_MAX`](fakemon_model::limits::PUT_BYTES_MAX) bytes were put at once.
    #[error("too much at once: put at most {max} events and 4 MiB", max = fakemon_model::limits::PUT_EVENTS_MAX)]
    TooLarge,
    /// A change of resources that cannot be.
    #[error(transparent)]
    Invalid(#[from] InvalidChange),
    /// The engine stopped, or is about to: the reason is in `Engine::failure`.
    #[error("the engine has stopped")]
    Stopped,
}

/// When a throw passed each stage; all on the engine's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stages {
    /// Read from the socket.
    pub received_at: Timestamp,
    /// In the mailbox of its shard.
    pub queued_at: Timestamp,
    /// Decided.
    pub decided_at: Timestamp,
    /// On the disk.
    pub durable_at: Timestamp,
}

/// What a client gets back, each exactly once, with the token of its command.
#[derive(Clone, Debug)]
pub enum Completion {
    /// A throw was decided.
    Decided {
        /// Of the command.
        token: Token,
        /// The answer.
        decision: Decision,
        /// The way it took; none for an answer that was given before.
        stages: Option<Stages>,
    },
    /// A spawn is durable, and throws can see it.
    Spawned {
        /// Of the command.
        token: Token,
        /// Where in the journal, and which fakémon; or why not.
        result: Result<(Position, FakemonId), SpawnError>,
    },
    /// Events or changes of resources are durable.
    Written {
        /// Of the command.
        token: Token,
        /// Of the first event; the others follow it.
        position: Position,
    },
    /// A throw that was sent again while the first was on its way, and the first was not accepted: send it again.
    Throttled {
        /// Of the command.
        token: Token,
        /// The player's name for the throw.
        attempt_id: AttemptId,
        /// At what it was thrown.
        fakemon_id: FakemonId,
        /// When.
        throttled: Throttled,
    },
    /// A collection was read.
    Collection {
        /// Of the command.
        token: Token,
        /// In the order of capture.
        items: Vec<Caught>,
        /// Older captures were left out: ask again with this position.
        more_before: Option<Position>,
    },
}

impl Completion {
    /// The token of the command.
    #[inline]
    pub fn token(&self) -> Token {
        match self {
            Completion::Decided { token, .. }
            | Completion::Spawned { token, .. }
            | Completion::Written { token, .. }
            | Completion::Throttled { token, .. }
            | Completion::Collection { token, .. } => *token,
        }
    }
}

/// What the clock brings.
#[derive(Clone, Debug)]
pub struct Firing {
    /// The key of the schedule that was due at the event's time, or up to it; none if it is about no schedule.
    pub schedule: Option<String>,
    /// What is told; on no bus it is for the targets of the schedule.
    pub event: NewEvent,
    /// The schedule, when it is over.
    pub ends: Option<Change>,
}
