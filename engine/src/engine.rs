//! stub of the public face, to code against
use crate::ids::*;
use crate::model::*;
use crate::place::Place;
use crate::players::Player;
use crate::species::SpeciesTable;
use hdrhistogram::Histogram;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How an engine is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Shards, one core each. Default: one per core of the machine.
    pub cores: usize,
    /// How far a throw reaches, in metres. Default 50.
    pub reach_m: f64,
    /// Decides dodge rolls; none keeps the journal's, or draws one for a new journal.
    pub world_seed: Option<u64>,
    /// Species.
    pub species: SpeciesTable,
    /// When answers are given. Default `Durability::Synced`.
    pub durability: Durability,
    /// What the journal keeps. Default: all.
    pub retention: Retention,
    /// How often the snapshot is brought up to date.
    pub snapshot_every: Duration,
    /// Whether shards are pinned to cores. Default true.
    pub pin: bool,
}
impl Default for Options {
    fn default() -> Self {
        unimplemented!()
    }
}

/// When answers are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After the sync.
    Synced,
    /// After the write, before the sync: a power cut can take answers back.
    Unsynced,
}
/// What the journal keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Events older than this go.
    pub max_age: Option<Duration>,
    /// The oldest go when the journal is larger than this.
    pub max_bytes: Option<u64>,
}

/// Why a journal cannot be opened; the message names the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub String);

/// The engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<()>);

impl Engine {
    /// Opens or creates a journal in `dir`, recovers, starts the shards.
    pub fn open(_dir: &Path, _options: Options) -> Result<Engine, OpenError> {
        unimplemented!()
    }
    /// A new client: one per thread that submits.
    pub fn client(&self) -> Client {
        unimplemented!()
    }
    /// The player of this name, if they have ever thrown.
    pub fn player(&self, _name: &PlayerName) -> Option<Player> {
        unimplemented!()
    }
    /// Wild fakémon within `radius_m` (clamped to `LOOK_RADIUS_M_MAX`), nearest first, at most `LOOK_FAKEMON_MAX`.
    /// Reads a view of what is durable; never touches a shard.
    pub fn look(&self, _place: Place, _radius_m: f64) -> Vec<Sighting> {
        unimplemented!()
    }
    /// Changes of the world from now on.
    pub fn subscribe(&self) -> Subscription {
        unimplemented!()
    }
    /// Up to where the world's view has got: `look` and subscriptions show all events before it.
    pub fn world_position(&self) -> Position {
        unimplemented!()
    }
    /// The first position that is not durable yet.
    pub fn position(&self) -> Position {
        unimplemented!()
    }
    /// The engine's clock: never goes back, also not across restarts.
    pub fn now(&self) -> Timestamp {
        unimplemented!()
    }
    /// The settings that decide.
    pub fn world_seed(&self) -> u64 {
        unimplemented!()
    }
    /// The options it was opened with.
    pub fn options(&self) -> &Options {
        unimplemented!()
    }
    /// Figures, gathered now.
    pub fn metrics(&self) -> Metrics {
        unimplemented!()
    }
    /// Why the engine stopped, if it did by itself.
    pub fn failure(&self) -> Option<String> {
        unimplemented!()
    }
    /// Waits up to `timeout` for the engine to fail.
    pub fn wait_for_failure(&self, _timeout: Duration) -> Option<String> {
        unimplemented!()
    }
    /// Decides all that was accepted, makes it durable, brings the snapshot up to date, stops. Further commands get `Stopped`.
    pub fn close(&self) {
        unimplemented!()
    }
}

/// Submits commands and polls completions. One per thread; readiness by its file descriptor.
pub struct Client(());

impl Client {
    /// The player of this name; gives them a number on the first call (journaled before their first throw).
    pub fn register(&self, _name: &PlayerName) -> Result<Player, SubmitError> {
        unimplemented!()
    }
    /// Submits a throw. An error means: nothing was accepted. Shards see it at the next `flush`, at the latest.
    pub fn attempt(&mut self, _token: Token, _attempt: Attempt) -> Result<(), SubmitError> {
        unimplemented!()
    }
    /// Submits a spawn.
    pub fn spawn(&mut self, _token: Token, _spawn: &Spawn) -> Result<(), SubmitError> {
        unimplemented!()
    }
    /// Asks for a player's collection, captures before `before` (none: the newest page).
    pub fn collection(
        &mut self,
        _token: Token,
        _player: &Player,
        _before: Option<Position>,
    ) -> Result<(), SubmitError> {
        unimplemented!()
    }
    /// Wakes the shards that have something to do. Call once per turn.
    pub fn flush(&mut self) {
        unimplemented!()
    }
    /// Appends all completions that are ready; returns how many. Clears readiness.
    pub fn poll(&mut self, _completions: &mut Vec<Completion>) -> usize {
        unimplemented!()
    }
    /// Flushes, then waits until something is ready or `timeout` passed, then polls.
    pub fn wait(&mut self, _completions: &mut Vec<Completion>, _timeout: Duration) -> usize {
        unimplemented!()
    }
    /// Asks to be woken: call before waiting on the descriptor; true means something is ready already, do not wait.
    pub fn arm(&mut self) -> bool {
        unimplemented!()
    }
    /// Commands without completion so far.
    pub fn in_flight(&self) -> usize {
        unimplemented!()
    }
}

/// Readable (level) when completions are ready after `arm`: for mio's `SourceFd`, epoll, poll.
impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        unimplemented!()
    }
}

/// A change of the wild world.
#[derive(Clone, Debug)]
pub enum Change {
    /// A fakémon appeared.
    Appeared(Sighting),
    /// One is gone: captured, or vanished.
    Vanished {
        /// Which.
        fakemon_id: FakemonId,
        /// Where it was.
        place: Place,
    },
}

/// Changes of the world for one reader. Bounded: a reader that falls behind is told so and looks again.
pub struct Subscription(());
impl Subscription {
    /// Appends what changed since the last call; false if changes were lost, and `look` must be called again.
    pub fn drain(&mut self, _changes: &mut Vec<Arc<[Change]>>) -> bool {
        unimplemented!()
    }
}

/// H3 cells: who looks at which area.
pub mod cells {
    use crate::place::Place;
    /// The cell (H3, resolution 8, about 500 m across) of a place.
    pub fn cell_of(_place: Place) -> u64 {
        unimplemented!()
    }
    /// The cells that cover a circle.
    pub fn cells_around(_place: Place, _radius_m: f64) -> Vec<u64> {
        unimplemented!()
    }
}

/// Figures of the engine since it was opened. Histograms in nanoseconds.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Decided throws by outcome, in the order of `Outcome::ALL`.
    pub attempts: [u64; 6],
    /// Throws that were not accepted.
    pub throttled: u64,
    /// Throws sent again and answered from the ledger.
    pub resent: u64,
    /// Wild fakémon now.
    pub wild: u64,
    /// Spawned, vanished uncaught.
    pub appeared: u64,
    /// Vanished uncaught.
    pub vanished: u64,
    /// Players known.
    pub players: u64,
    /// Events per group.
    pub group_events: Histogram<u64>,
    /// Bytes per group.
    pub group_bytes: u64,
    /// Write and sync of a group.
    pub sync_ns: Histogram<u64>,
    /// received → queued.
    pub queued_ns: Histogram<u64>,
    /// queued → decided.
    pub decided_ns: Histogram<u64>,
    /// decided → durable.
    pub durable_ns: Histogram<u64>,
    /// received → durable.
    pub total_ns: Histogram<u64>,
    /// Throws waiting, per shard.
    pub mailbox_depth: Vec<usize>,
    /// Turns waiting for the journal.
    pub journal_depth: usize,
    /// First position that is not durable.
    pub position: Position,
    /// Events before it are in the snapshot.
    pub snapshot_position: Position,
}
