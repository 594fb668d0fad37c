//! What clients and threads share: all of it is only read, or made for many writers.

use crate::bus::Resources;
use crate::clock::Clock;
use crate::clockwork::WorldFigures;
use crate::cores::Door;
use crate::desk::Desk;
use crate::failure::Failure;
use crate::ids::{FakemonId, SpeciesId};
use crate::journal::Progress;
use crate::metrics::{GroupFigures, ThrowFigures};
use crate::notices::Notices;
use crate::options::Options;
use crate::outbox::Outboxes;
use crate::players::Registry;
use crate::reader::Counter;
use crate::resolve::Rules;
use crate::snapshot::next_fakemon_id;
use crate::world::World;
use hashbrown::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) rules: Rules,
    pub(crate) species: HashMap<String, SpeciesId>,
    pub(crate) clock: Clock,
    pub(crate) doors: Arc<[Arc<Door>]>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) outboxes: Arc<Outboxes>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) world: Arc<World>,
    pub(crate) counter: Arc<Counter>,
    pub(crate) failure: Arc<Failure>,
    pub(crate) stopping: AtomicBool,
    pub(crate) throw_figures: Mutex<ThrowFigures>,
    pub(crate) group_figures: Arc<Mutex<GroupFigures>>,
    pub(crate) world_figures: Arc<WorldFigures>,
    pub(crate) next_fakemon_id: AtomicU64,
    pub(crate) resources: Arc<Resources>,
    pub(crate) notices: Arc<Notices>,
}

impl Shared {
    /// An id that is probably free; the shard has the last word.
    pub(crate) fn free_id(&self) -> FakemonId {
        FakemonId(self.next_fakemon_id.fetch_add(1, Ordering::Relaxed))
    }

    /// Ids that the engine gives stay ahead of those that others choose.
    pub(crate) fn note_id(&self, taken: FakemonId) {
        let next = |next| Some(next_fakemon_id(next, taken));
        let _ = self.next_fakemon_id.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }
}
