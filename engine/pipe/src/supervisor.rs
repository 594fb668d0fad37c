//! Starts, stops and forgets pipes to follow their resources, and wakes those that read the journal when it grows.

use super::cursor::{self, Cursor};
use super::parts::{Known, Parts, PipeFigures};
use super::plan::{Plan, Source};
use super::run::Run;
use super::state::PipeStatus;
use fakemon_journal::ReadError;
use fakemon_journal::follower::Follower;
use fakemon_model::ids::{Position, Timestamp};
use fakemon_resource::Registry;
use fakemon_resource::resource::{DesiredState, Pipe};
use fakemon_sync::failure::{self, Failure};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often it checks what has to run.
const LOOK: Duration = Duration::from_millis(20);
/// Pipes that read the journal are woken at most once per interval: under load they find more each time.
const WAKE_EVERY: Duration = Duration::from_millis(2);

/// The thread that supervises all pipes.
pub struct Supervisor {
    parts: Arc<Parts>,
    follower: Follower,
    failure: Arc<Failure>,
    stop: Arc<AtomicBool>,
    running: BTreeMap<String, Running>,
}

/// The thread of a pipe.
struct Running {
    created_at: Timestamp,
    revision: u64,
    reads_journal: bool,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Running {
    fn is(&self, pipe: &Pipe) -> bool {
        self.created_at == pipe.created_at && self.revision == pipe.revision
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.thread().unpark();
    }
}

impl Supervisor {
    /// Starts no pipe yet; but from now on the journal keeps what pipes still have to read.
    pub fn open(
        parts: Arc<Parts>,
        follower: Follower,
        failure: Arc<Failure>,
        stop: Arc<AtomicBool>,
    ) -> Result<Supervisor, ReadError> {
        let registry = parts.courier.registry();
        for pipe in registry.pipes.values() {
            let needed = needed(&parts, pipe)?;
            let known = Known { needed, ..Known::of(pipe) };
            parts.pipes.held().insert(pipe.name.clone(), known);
        }
        let supervisor = Supervisor { parts, follower, failure, stop, running: BTreeMap::new() };
        supervisor.hold();
        Ok(supervisor)
    }

    /// Supervises pipes until asked to stop, then stops them.
    pub fn run(mut self) {
        self.parts.pipes.is_supervised_here();
        while !self.stop.load(Ordering::SeqCst) {
            if let Err(error) = self.look() {
                self.failure.set(format!("pipes: {error}"));
                break;
            }
            self.parts.pipes.looked();
            let looked = Instant::now();
            while self.wait() && looked.elapsed() < LOOK {}
        }
        self.running.values().for_each(Running::stop);
        for (pipe, running) in std::mem::take(&mut self.running) {
            self.join(&pipe, running);
        }
    }

    /// Waits for something to do; true if the journal grew and its readers were woken.
    fn wait(&mut self) -> bool {
        let running = &self.running;
        let readers = || running.values().filter(|running| running.reads_journal);
        if readers().next().is_none() {
            std::thread::park_timeout(LOOK);
            return false;
        }
        self.follower.wait(LOOK);
        let grew = self.follower.behind() && !self.stop.load(Ordering::SeqCst);
        if grew {
            self.follower.next = self.parts.progress.committed(); // the next event wakes again
            readers().for_each(|running| running.thread.thread().unpark());
            std::thread::sleep(WAKE_EVERY);
        }
        grew
    }

    /// Ends pipes that changed or were deleted, and starts those that should run and do not.
    fn look(&mut self) -> Result<(), ReadError> {
        let registry = self.parts.courier.registry();
        self.end(&registry);
        let is_there = |name: &str, at: Timestamp| registry.pipes.get(name).is_some_and(|pipe| pipe.created_at == at);
        let gone: Vec<String> = {
            let held = self.parts.pipes.held();
            let gone = held.iter().filter(|(name, known)| !is_there(name, known.created_at));
            gone.map(|(name, _)| name.clone()).filter(|name| !self.running.contains_key(name)).collect()
        };
        if !gone.is_empty() {
            cursor::forget(&self.parts.depot, is_there)?;
            gone.iter().for_each(|name| drop(self.parts.pipes.held().remove(name)));
        }
        for pipe in registry.pipes.values() {
            if !self.running.contains_key(&pipe.name) && self.is_news(pipe) {
                self.begin(pipe);
            }
        }
        self.hold();
        Ok(())
    }

    /// Asks the threads of changed or deleted pipes to stop, and joins those that have ended.
    fn end(&mut self, registry: &Registry) {
        let runs_on =
            |name: &String, running: &Running| registry.pipes.get(name).is_some_and(|pipe| running.is(pipe));
        self.running.iter().filter(|(name, running)| !runs_on(name, running)).for_each(|(_, running)| running.stop());
        let ended = self.running.iter().filter(|(_, running)| running.thread.is_finished());
        let ended: Vec<String> = ended.map(|(name, _)| name.clone()).collect();
        for name in ended {
            if let Some(running) = self.running.remove(&name) {
                self.join(&name, running);
            }
        }
    }

    fn join(&self, pipe: &str, running: Running) {
        let _ = running.thread.join(); // a panic in it has already failed the engine
        self.parts.pipes.held().get_mut(pipe).into_iter().for_each(|known| known.reads = None);
    }

    /// Whether this revision of a pipe has no result yet.
    fn is_news(&self, pipe: &Pipe) -> bool {
        self.parts.pipes.status(pipe).is_none()
    }

    fn begin(&mut self, pipe: &Pipe) {
        let figures = {
            let mut held = self.parts.pipes.held();
            let known = held.entry(pipe.name.clone()).or_insert_with(|| Known::of(pipe));
            known.revision = pipe.revision;
            known.status = None;
            known.needed = known.needed.filter(|_| pipe.desired_state == DesiredState::Running);
            known.figures.clone()
        };
        if pipe.desired_state == DesiredState::Stopped {
            return self.parts.pipes.set_status(&pipe.name, PipeStatus::Stopped);
        }
        if let Err(why) = self.start(pipe, figures) {
            tracing::warn!(pipe = pipe.name, "it does not run: {why}");
            let mut held = self.parts.pipes.held();
            let known = held.get_mut(&pipe.name).expect("it was just looked at");
            (known.status, known.needed) = (Some(PipeStatus::Failed(why)), None);
        }
    }

    fn start(&mut self, pipe: &Pipe, figures: Arc<PipeFigures>) -> Result<(), String> {
        let stop: Arc<AtomicBool> = Arc::default();
        let run = Run::prepare(self.parts.clone(), pipe, figures, stop.clone())?;
        let queue = run.queue();
        let needed = needed(&self.parts, pipe).map_err(|error| error.to_string())?;
        self.parts.pipes.set_status(&pipe.name, PipeStatus::Running { trouble: None }); // from now on its thread sets it
        let may_end = || true; // a pipe whose source was deleted ends by itself, with a status
        let thread = failure::spawn(&format!("pipe {}", pipe.name), &self.failure, may_end, move || run.run());
        let thread = thread.map_err(|error| format!("no thread for it: {error}"))?;
        if let Some(known) = self.parts.pipes.held().get_mut(&pipe.name) {
            known.reads = queue.map(|queue| (queue, thread.thread().clone()));
            known.needed = needed.max(known.needed);
        }
        let reads_journal = needed.is_some();
        let running = Running { created_at: pipe.created_at, revision: pipe.revision, reads_journal, stop, thread };
        self.running.insert(pipe.name.clone(), running);
        Ok(())
    }

    /// Makes the journal keep what running pipes still have to read.
    fn hold(&self) {
        let needed = self.parts.pipes.held().values().filter_map(|known| known.needed).min();
        self.parts.courier.lanes.hold(needed);
    }
}

impl Known {
    fn of(pipe: &Pipe) -> Known {
        Known {
            created_at: pipe.created_at,
            revision: pipe.revision,
            status: None,
            figures: Arc::default(),
            reads: None,
            needed: None,
        }
    }
}

/// The first position of the journal that a pipe needs; none if it does not read the journal.
fn needed(parts: &Parts, pipe: &Pipe) -> Result<Option<Position>, ReadError> {
    let Ok(Plan { source: Source::Journal { .. }, .. }) = Plan::of(pipe) else { return Ok(None) };
    if pipe.desired_state == DesiredState::Stopped {
        return Ok(None);
    }
    let cursor = Cursor::read(&parts.depot, &pipe.name, pipe.created_at)?;
    Ok(Some(cursor.event().map_or(Position(0), |event| event.position())))
}
