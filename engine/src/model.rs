//! What goes in and what comes out: commands, outcomes, completions, events.

use crate::ids::{AttemptId, FakemonId, PlayerId, Position, SpeciesId, Timestamp, Token};
use crate::limits::PLAYER_NAME_BYTES_MAX;
use crate::place::Place;
use crate::players::Player;
use crate::species::CatchRate;
use std::fmt;
use std::sync::Arc;

/// How a throw ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The player has it, for ever.
    Captured,
    /// Someone else was quicker, or the player has it already.
    AlreadyCaptured,
    /// Within reach, but it dodged this ball; another throw may catch.
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

    /// The word for it in messages, metrics and logs.
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

/// Text that is no player's name.
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

/// A throw at a fakémon.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Who throws; see [`Client::register`](crate::Client::register).
    pub player: Player,
    /// The player's own name for the throw: sent again, it gets the first answer again.
    pub attempt_id: AttemptId,
    /// At what.
    pub fakemon_id: FakemonId,
    /// From where.
    pub place: Place,
    /// When the bytes of the throw were read; [`Engine::now`](crate::Engine::now).
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

/// Why a spawn is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpawnError {
    /// Not in the table of species.
    #[error("species `{0}` is not in the species table")]
    UnknownSpecies(String),
    /// 0, or more than ten years.
    #[error("lifetime_s must be from 1 to {max}", max = crate::limits::LIFETIME_S_MAX)]
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
    /// The engine stopped, or is about to: the reason is in [`Engine::failure`](crate::Engine::failure).
    #[error("the engine has stopped")]
    Stopped,
}

/// The answer to a throw, durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The player's name for the throw.
    pub attempt_id: AttemptId,
    /// The fakémon of the first throw with this name.
    pub fakemon_id: FakemonId,
    /// How it ended.
    pub outcome: Outcome,
    /// Its place in the journal.
    pub position: Position,
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

/// A fakémon in somebody's collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caught {
    /// Which.
    pub fakemon_id: FakemonId,
    /// Its species.
    pub species: Arc<str>,
    /// When the capture was decided.
    pub captured_at: Timestamp,
    /// Where in the journal.
    pub position: Position,
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
    /// A throw that was sent again while the first was on its way, and the first was not accepted: send it again.
    Throttled {
        /// Of the command.
        token: Token,
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

/// A wild fakémon, as players see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Which.
    pub fakemon_id: FakemonId,
    /// Its species.
    pub species: Arc<str>,
    /// Where.
    pub place: Place,
    /// Until when.
    pub vanishes_at: Timestamp,
}

/// An event of the journal, owned; what tools print and followers get.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A throw and how it ended.
    Attempt {
        /// Who.
        player: PlayerId,
        /// The player's name for the throw.
        attempt_id: AttemptId,
        /// At what.
        fakemon_id: FakemonId,
        /// Of what species.
        species: SpeciesId,
        /// From where.
        place: Place,
        /// How it ended.
        outcome: Outcome,
        /// Read from the socket.
        received_at: Timestamp,
        /// In the mailbox.
        queued_at: Timestamp,
        /// Decided.
        decided_at: Timestamp,
    },
    /// A fakémon appeared.
    Appeared {
        /// Which.
        fakemon_id: FakemonId,
        /// Its species.
        species: SpeciesId,
        /// Where.
        place: Place,
        /// How easily it is caught.
        catch_rate: CatchRate,
        /// When.
        at: Timestamp,
        /// Until when.
        vanishes_at: Timestamp,
    },
    /// A fakémon vanished uncaught.
    Vanished {
        /// Which.
        fakemon_id: FakemonId,
        /// When.
        at: Timestamp,
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
        /// When.
        at: Timestamp,
        /// The seed that decides dodge rolls from here on.
        world_seed: u64,
        /// How far a throw reaches from here on, in millimetres.
        reach_mm: u32,
        /// How many shards.
        cores: u16,
        /// False: answers were given before the sync.
        durable: bool,
    },
}
