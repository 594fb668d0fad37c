//! What clients and threads share: all of it is read-only, or made for many writers.

use crate::archive_reader::ReadQueue;
use crate::commit::commit_queue::CommitQueue;
use crate::completion_queue::Outboxes;
use crate::decision::resolve::Rules;
use crate::executor::ShardInbox;
use crate::metrics::{AttemptMetrics, GroupFigures};
use crate::options::Options;
use crate::player;
use crate::recovery::snapshot::next_fakemon_id;
use crate::world::World;
use crate::world::expiry::WorldFigures;
use fakemon_journal::Progress;
use fakemon_model::ids::{FakemonId, SpeciesId};
use fakemon_resource::resource::Change;
use fakemon_resource::{InvalidChange, Registry, Resources};
use fakemon_sync::clock::Clock;
use fakemon_sync::failure::Failure;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Whether a change can be made to these resources: the rules are of rooms above this one.
pub type Validate = fn(&Change, &Registry, &Options) -> Result<(), InvalidChange>;

pub struct Shared {
    pub validate: Validate,
    pub options: Options,
    pub rules: Rules,
    pub species: HashMap<String, SpeciesId>,
    pub clock: Clock,
    pub doors: Arc<[Arc<ShardInbox>]>,
    pub desk: Arc<CommitQueue>,
    pub progress: Arc<Progress>,
    pub outboxes: Arc<Outboxes>,
    pub registry: Arc<player::Registry>,
    pub world: Arc<World>,
    pub counter: Arc<ReadQueue>,
    pub failure: Arc<Failure>,
    pub stopping: AtomicBool,
    /// The engine was closed: everything that was accepted has its completion.
    pub closed: AtomicBool,
    pub attempt_figures: Mutex<AttemptMetrics>,
    pub group_figures: Arc<Mutex<GroupFigures>>,
    pub world_figures: Arc<WorldFigures>,
    pub next_fakemon_id: AtomicU64,
    pub resources: Arc<Resources>,
}

impl Shared {
    /// An id that is probably free; the shard decides.
    pub fn free_id(&self) -> FakemonId {
        FakemonId(self.next_fakemon_id.fetch_add(1, Ordering::Relaxed))
    }

    /// Keeps the engine's ids ahead of those that clients choose.
    pub fn note_id(&self, taken: FakemonId) {
        let next = |next| Some(next_fakemon_id(next, taken));
        let _ = self.next_fakemon_id.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }
}
