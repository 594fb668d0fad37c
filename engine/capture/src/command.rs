//! Commands to the engine, why they are refused, and their completions.

use crate::player::Player;
use fakemon_model::authorship::Reserved;
use fakemon_model::event::{Caught, Decision};
use fakemon_model::ids::{AttemptId, FakemonId, Position, Timestamp, Token};
use fakemon_model::place::Place;
use fakemon_model::species::CatchRate;
use fakemon_resource::resource::Change;
use fakemon_resource::{InvalidChange, NewEvent};

/// An attempt at a fakémon.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The player; see `Client::register`.
    pub player: Player,
    /// The player's own name for the attempt. An attempt that is sent again under the same name gets the first answer
    /// again.
    pub attempt_id: AttemptId,
    /// The fakémon it is aimed at.
    pub fakemon_id: FakemonId,
    /// Where the player stands.
    pub place: Place,
    /// When the bytes of the attempt were read, by `Engine::now`.
    pub received_at: Timestamp,
}

/// A fakémon to put into the world.
#[derive(Clone, Debug)]
pub struct Spawn {
    /// Its id; none lets the engine choose the next.
    pub fakemon_id: Option<FakemonId>,
    /// The name of its species; must be in the table.
    pub species: String,
    /// Where it appears.
    pub place: Place,
    /// Seconds from now until it vanishes; none takes the lifetime of its species.
    pub lifetime_s: Option<u64>,
    /// How easily it is caught; none takes the rate of its species.
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
    /// The species is not in the table.
    #[error("species `{0}` is not in the species table")]
    UnknownSpecies(String),
    /// The lifetime is 0, or more than ten years.
    #[error("lifetime_s must be from 1 to {max}", max = fakemon_model::limits::LIFETIME_S_MAX)]
    Lifetime,
    /// A fakémon has or had this id.
    #[error("fakemon_id {0} is taken: ids are never used twice")]
    IdTaken(FakemonId),
    /// 0, which stands for none, or the last ids, which the engine keeps.
    #[error("fakemon_id must be from 1 to 9223372036854775807")]
    Id,
}

impl SpawnError {
    /// The kind of refusal, as answers of `POST /events` and metrics name it.
    pub fn code(&self) -> &'static str {
        match self {
            SpawnError::UnknownSpecies(_) => "unknown_species",
            SpawnError::Lifetime | SpawnError::Id => "out_of_range",
            SpawnError::IdTaken(_) => "id_taken",
        }
    }
}

/// Too much is waiting already. Nothing was accepted; retry after this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("throttled: try again after {retry_after_ms} ms")]
pub struct Throttled {
    /// When to retry, in milliseconds from now.
    pub retry_after_ms: u32,
}

/// Why a command was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// A queue is full; retry later.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// The spawn is not valid.
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

/// When an attempt passed each stage; all on the engine's clock.
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

/// The completion of a command, with its token. A client gets each completion exactly once.
#[derive(Clone, Debug)]
pub enum Completion {
    /// An attempt was decided.
    Decided {
        /// The token of the command.
        token: Token,
        /// The answer.
        decision: Decision,
        /// When it passed each stage; none for an answer that was given before.
        stages: Option<Stages>,
    },
    /// A spawn is durable, and attempts can see it.
    Spawned {
        /// The token of the command.
        token: Token,
        /// The position of the spawn in the journal and the id of the fakémon; or why it was refused.
        result: Result<(Position, FakemonId), SpawnError>,
    },
    /// Events or changes of resources are durable.
    Written {
        /// The token of the command.
        token: Token,
        /// The position of the first event; the others follow it.
        position: Position,
    },
    /// An attempt was sent again while the first was in flight, and the first was not accepted: send it again.
    Throttled {
        /// The token of the command.
        token: Token,
        /// The player's name for the attempt.
        attempt_id: AttemptId,
        /// The fakémon it was aimed at.
        fakemon_id: FakemonId,
        /// When to send it again.
        throttled: Throttled,
    },
    /// A collection was read.
    Collection {
        /// The token of the command.
        token: Token,
        /// In the order of capture.
        items: Vec<Caught>,
        /// Older captures were left out: ask again with this position.
        more_before: Option<Position>,
    },
    /// What a command asks for is on the disk and cannot be read: a collection, or the answer to an attempt that was
    /// sent again. Nothing else is concerned: attempts are decided, other collections are read. The log says why
    /// once, `reads_failed` of the metrics counts; `fakemon verify` finds the damage.
    Unreadable {
        /// The token of the command.
        token: Token,
        /// The attempt that was sent again; none for a collection.
        attempt_id: Option<AttemptId>,
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
            | Completion::Collection { token, .. }
            | Completion::Unreadable { token, .. } => *token,
        }
    }
}

/// What the clock brings.
#[derive(Clone, Debug)]
pub struct Firing {
    /// The key of the schedule that was due at the event's time, or up to it; none if the event is about no schedule.
    pub schedule: Option<String>,
    /// The event to write; an event on no bus is for the targets of the schedule.
    pub event: NewEvent,
    /// The deletion of the schedule, when it is over.
    pub ends: Option<Change>,
}
