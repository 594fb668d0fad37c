//! What all pipes share: access to sources and targets, the callbacks of the embedding program, and the status of
//! each pipe.

use super::outside::HttpClient;
use super::state::PipeStatus;
use fakemon_capture::client::Client;
use fakemon_delivery::local::{self, Function, OnDecision, PlayerSink};
use fakemon_delivery::{Dispatcher, Failed, FailureCode};
use fakemon_journal::{BusStore, Progress};
use fakemon_model::ids::{Position, Timestamp};
use fakemon_resource::resource::Pipe;
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

/// An enrichment in this process: a JSON array of a batch in, a JSON array of records out.
pub type Enricher = Box<dyn FnMut(&str) -> Result<String, Failed> + Send>;

/// Callbacks registered by the embedding program.
#[derive(Default)]
pub struct Callees {
    pub functions: Mutex<HashMap<String, local::Shared<Function>>>,
    pub enrichers: Mutex<HashMap<String, local::Shared<Enricher>>>,
    pub postman: OnceLock<local::Shared<PlayerSink>>,
    pub outside: OnceLock<HttpClient>,
}

impl Callees {
    pub(super) fn function(&self, name: &str) -> Option<local::Shared<Function>> {
        self.functions.lock().get(name).cloned()
    }

    pub(super) fn enricher(&self, name: &str) -> Option<local::Shared<Enricher>> {
        self.enrichers.lock().get(name).cloned()
    }
}

/// What all pipes share.
pub struct Parts {
    pub courier: Dispatcher,
    pub depot: Arc<BusStore>,
    pub progress: Arc<Progress>,
    pub shared: Arc<fakemon_capture::shared::Shared>,
    pub answered: Arc<OnceLock<OnDecision>>,
    pub callees: Callees,
    pub pipes: Pipes,
}

impl Parts {
    /// No pipe runs yet; readers of queues are woken from now on.
    pub fn open(
        courier: Dispatcher,
        depot: Arc<BusStore>,
        shared: Arc<fakemon_capture::shared::Shared>,
    ) -> Arc<Parts> {
        let parts = Arc::new(Parts {
            depot,
            progress: shared.progress.clone(),
            shared,
            answered: Arc::default(),
            callees: Callees::default(),
            pipes: Pipes::default(),
            courier,
        });
        let readers = Arc::downgrade(&parts);
        parts.courier.queues.on_message(move |queue| {
            readers.upgrade().into_iter().for_each(|parts| parts.pipes.wake_readers(queue));
        });
        parts
    }

    /// A client for a pipe whose target needs one.
    pub(super) fn client(&self) -> Result<Client, Failed> {
        let outbox = self
            .shared
            .outboxes
            .open()
            .map_err(|error| Failed::for_now(FailureCode::Throttling, error.to_string()))?;
        Ok(Client::new(self.shared.clone(), outbox))
    }

    pub(super) fn now(&self) -> Timestamp {
        self.courier.now()
    }
}

/// Counters of one pipe since the start; all but the last only grow.
#[derive(Debug, Default)]
pub struct PipeFigures {
    /// Records from its source.
    pub records: AtomicU64,
    /// Records that its filter did not match.
    pub filtered: AtomicU64,
    pub batches: AtomicU64,
    /// Records that the target accepted.
    pub delivered: AtomicU64,
    /// Attempts that failed and are retried.
    pub retries: AtomicU64,
    /// Records that were given up.
    pub failed: AtomicU64,
    /// Given-up records that were sent to a dead-letter queue.
    pub dead_lettered: AtomicU64,
    /// For a pipe that reads the journal: the next position to read.
    pub position: AtomicU64,
}

impl PipeFigures {
    pub(super) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// The status of all pipes.
#[derive(Default)]
pub struct Pipes {
    known: Mutex<BTreeMap<String, Known>>,
    /// How often the supervisor checked what has to run; and its thread.
    looks: AtomicU64,
    supervisor: OnceLock<Thread>,
}

/// The status of one pipe.
pub(super) struct Known {
    pub(super) created_at: Timestamp,
    pub(super) revision: u64,
    pub(super) status: Option<PipeStatus>,
    pub(super) figures: Arc<PipeFigures>,
    /// For a running pipe that reads a queue: the queue, and the thread to wake.
    pub(super) reads: Option<(String, Thread)>,
    /// For a running pipe that reads the journal: the first position it needs.
    pub(super) needed: Option<Position>,
}

impl Pipes {
    pub(super) fn held(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock()
    }

    /// The result of the last change of a pipe; none if it is not completed yet.
    pub fn status(&self, pipe: &Pipe) -> Option<PipeStatus> {
        let held = self.held();
        let known = held.get(&pipe.name)?;
        let is_this = known.created_at == pipe.created_at && known.revision == pipe.revision;
        known.status.clone().filter(|_| is_this)
    }

    /// Counters of every pipe, and whether it runs.
    pub fn figures(&self) -> Vec<(String, bool, Arc<PipeFigures>)> {
        let runs = |known: &Known| matches!(known.status, Some(PipeStatus::Running { .. }));
        self.held().iter().map(|(name, known)| (name.clone(), runs(known), known.figures.clone())).collect()
    }

    pub(super) fn set_status(&self, name: &str, status: PipeStatus) {
        if let Some(known) = self.held().get_mut(name) {
            known.status = Some(status);
        }
    }

    /// Wakes the readers of a queue that got messages.
    pub fn wake_readers(&self, queue: &str) {
        let held = self.held();
        let readers = held.values().filter_map(|known| known.reads.as_ref());
        readers.filter(|(read, _)| read == queue).for_each(|(_, thread)| thread.unpark());
    }

    pub(super) fn is_supervised_here(&self) {
        let _ = self.supervisor.set(std::thread::current()); // there is only one supervisor
    }

    pub(super) fn looked(&self) {
        self.looks.fetch_add(1, Ordering::SeqCst);
    }

    pub fn ring(&self) {
        self.supervisor.get().inspect(|thread| thread.unpark());
    }

    /// A count of checks; once that many were made, one has begun and ended after this call.
    pub fn ask_to_look(&self) -> u64 {
        let asked = self.looks.load(Ordering::SeqCst) + 2; // the one under way may have begun before
        self.ring();
        asked
    }

    /// Whether that many checks were made, and no pipe still runs that `is_there` denies.
    pub fn is_quiet(&self, looks: u64, is_there: impl Fn(&str) -> bool) -> bool {
        let looked = self.looks.load(Ordering::SeqCst) >= looks;
        if !looked {
            self.ring();
        }
        looked && self.held().keys().all(|name| is_there(name))
    }
}
