//! The engine as a whole: opens, hands out clients and its other parts, closes in order.
//!
//! - `opening`: how it opens
//! - `blocking`: calls that wait for their answer
//! - `callbacks`: what the program around it gives it to call

mod blocking;
mod callbacks;
mod opening;

use fakemon_capture::client::Client;
use fakemon_capture::completion_queue::NoMoreClients;
use fakemon_capture::metrics::Metrics;
use fakemon_capture::open::Cores;
use fakemon_capture::options::{OpenError, Options};
use fakemon_capture::player::Player;
use fakemon_capture::shared::Shared;
use fakemon_capture::world::Subscription;
use fakemon_delivery::local::OnDecision;
use fakemon_delivery::notices::Notices;
use fakemon_delivery::reset::Reset;
use fakemon_delivery::schema::Enforcer;
use fakemon_delivery::tail::Tail;
use fakemon_delivery::{ArchiveFigures, Dispatcher, Replays};
use fakemon_history::topology::{self, Topology};
use fakemon_journal::checkpoint::{Checkpoint, Checkpointer};
use fakemon_journal::{BusStore, ReadError};
use fakemon_model::event::{PlayerName, Sighting};
use fakemon_model::ids::{Position, Timestamp};
use fakemon_model::place::Place;
use fakemon_pipe::{Parts, Pipes};
use fakemon_queue::log_group::Logs;
use fakemon_queue::notes::NoteStore;
use fakemon_queue::queue::Queues;
use fakemon_queue::secrets::Secrets;
use fakemon_resource::Registry;
use fakemon_schedule::{Agenda, ScheduleFigures};
use fakemon_sync::failure::{self, Failure};
use fakemon_sync::pulse::Pulses;
use parking_lot::Mutex;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use blocking::Calls;
pub use blocking::{BlockingPlayer, CallError, PendingAttempt};
pub use callbacks::AlreadySet;

/// How long pipes that were deleted may take to end.
const PIPES_PATIENCE: Duration = Duration::from_secs(10);

/// An open engine. Cheap to clone; the last clone that is dropped closes it, and blocks as [`close`](Engine::close)
/// does. A callback that holds a clone keeps it open: then call `close`.
#[derive(Clone)]
pub struct Engine(Arc<Running>);

struct Running {
    shared: Arc<Shared>,
    notices: Arc<Notices>,
    /// Keeps the databases open until the engine is closed; clients hold no reference to it.
    bus: Bus,
    threads: Mutex<Option<Threads>>,
    calls: Calls,
}

struct Bus {
    courier: Dispatcher,
    depot: Arc<BusStore>,
    replays: Arc<Replays>,
    archives: Arc<ArchiveFigures>,
    agenda: Arc<Agenda>,
    answered: Arc<OnceLock<OnDecision>>,
    pipes: Arc<Parts>,
    checkpointer: Checkpointer,
}

struct Threads {
    /// The end of the journal when the threads were started.
    opened_at: Position,
    cores: Cores,
    committer: JoinHandle<()>,
    reader: JoinHandle<()>,
    followers: Vec<JoinHandle<()>>,
    stop_followers: Arc<AtomicBool>,
    stop_inside: Arc<AtomicBool>,
    inside: Vec<JoinHandle<()>>,
    stop_monitor: Arc<AtomicBool>,
    monitor: Option<JoinHandle<()>>,
}

impl Engine {
    /// Where any thread posts notices, which become events on the bus `default`.
    pub fn notices(&self) -> &Arc<Notices> {
        &self.0.notices
    }

    /// The resources of the bus as of the last durable change.
    pub fn registry(&self) -> Arc<Registry> {
        self.shared().resources.current()
    }

    /// Hands out events for targets: for the part of the program that delivers them outside this process.
    pub fn courier(&self) -> &Dispatcher {
        &self.0.bus.courier
    }

    /// Reads the journal as events, following it as it grows.
    pub fn tail(&self) -> Tail {
        Tail { events: self.0.bus.courier.events.clone(), progress: self.shared().progress.clone() }
    }

    /// Which sources emit events and which targets consume them, with counts since the engine was opened.
    pub fn topology(&self) -> Topology {
        let pipes = self.pipes().figures().into_iter();
        let pipes = pipes.map(|(name, _, figures)| (name, figures.delivered.load(Ordering::Relaxed)));
        topology::live(topology::Running {
            courier: self.courier(),
            registry: &self.registry(),
            pipes: pipes.collect(),
            position: self.routed_position(),
            now: self.shared().clock.wall(),
        })
    }

    /// Counts of schedules.
    pub fn schedules(&self) -> ScheduleFigures {
        self.0.bus.agenda.figures()
    }

    /// What archives held at the last count.
    pub fn archive_figures(&self) -> &ArchiveFigures {
        &self.0.bus.archives
    }

    /// Counts what archives hold, from where it was left off, to the end of the journal; what takes longer than
    /// `patience` is left for the next call.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn count_archives(&self, patience: Duration) -> Result<(), ReadError> {
        let Bus { courier, archives, .. } = &self.0.bus;
        archives.count(&self.registry(), &courier.events, self.shared().progress.committed(), patience)
    }

    /// The progress of replays.
    pub fn replays(&self) -> &Replays {
        &self.0.bus.replays
    }

    /// The status of pipes.
    pub fn pipes(&self) -> &Pipes {
        &self.parts().pipes
    }

    fn parts(&self) -> &Arc<Parts> {
        &self.0.bus.pipes
    }

    /// Secrets of connections.
    pub fn secrets(&self) -> Secrets {
        Secrets(self.0.bus.depot.clone())
    }

    /// Small values that the program around the engine stores.
    pub fn notes(&self) -> NoteStore {
        NoteStore(self.0.bus.depot.clone())
    }

    /// The log groups.
    pub fn logs(&self) -> &Arc<Logs> {
        &self.0.bus.courier.logs
    }

    /// Checks events against the schemas of their bus.
    pub fn enforcer(&self) -> &Enforcer {
        &self.0.bus.courier.enforcer
    }

    /// The queues.
    pub fn queues(&self) -> &Arc<Queues> {
        &self.0.bus.courier.queues
    }

    /// Empties what the bus keeps beside the journal, after [`Registry::emptied`] was made durable before `end`:
    /// messages of queues, lines of log groups, secrets, progress of replays. Waits until nothing is under way for
    /// what was deleted, and until commands that came as events before `end` are carried out; on the disk after this.
    /// One caller at a time, and nobody makes resources meanwhile. The journal and the game stay as they are.
    ///
    /// # Errors
    /// When deliveries do not end within 10 seconds (it may be called again), or the depot cannot be written.
    pub fn empty_bus(&self, end: Position) -> Result<(), String> {
        let Bus { courier, replays, archives, .. } = &self.0.bus;
        self.pipes_end()?;
        let (progress, failure) = (&*self.shared().progress, &*self.shared().failure);
        Reset { courier, replays, progress, failure }.run(end)?;
        archives.begin_at(progress.committed());
        Ok(())
    }

    /// Waits until no deleted pipe is running.
    fn pipes_end(&self) -> Result<(), String> {
        let (pipes, registry, by) = (self.pipes(), self.registry(), Instant::now() + PIPES_PATIENCE);
        let looks = pipes.ask_to_look();
        while !pipes.is_quiet(looks, |name| registry.pipes.contains_key(name)) {
            if let Some(failure) = self.failure() {
                return Err(failure);
            }
            if Instant::now() > by {
                return Err(format!("{} s were not enough until pipes end: reset again", PIPES_PATIENCE.as_secs()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Copies the data directory to `to`, which is empty or not there, while everything goes on; see [`checkpoint`].
    /// Takes milliseconds on one file system, else as long as copying everything.
    ///
    /// [`checkpoint`]: fakemon_journal::checkpoint
    ///
    /// # Errors
    /// When `to` is not empty or cannot be written, or the engine is closed.
    pub fn checkpoint(&self, to: &Path) -> Result<Checkpoint, OpenError> {
        self.0.bus.checkpointer.copy(to)
    }

    /// All events before it were matched against the rules of their bus, and are on the lanes of their targets.
    pub fn routed_position(&self) -> Position {
        self.shared().progress.routed()
    }

    /// A new client: one per thread that submits.
    ///
    /// # Errors
    /// When there are 1,024 clients, or the process has no file descriptor left.
    pub fn client(&self) -> Result<Client, NoMoreClients> {
        Ok(Client::new(self.shared().clone(), self.shared().outboxes.open()?))
    }

    /// The player of this name, if one was ever registered.
    pub fn find_player(&self, name: &PlayerName) -> Option<Player> {
        self.shared().registry.get(name)
    }

    /// Wild fakémon within `radius_m` metres (at most
    /// [`LOOK_RADIUS_M_MAX`](fakemon_model::limits::LOOK_RADIUS_M_MAX)), the nearest first, at most
    /// [`LOOK_FAKEMON_MAX`](fakemon_model::limits::LOOK_FAKEMON_MAX). Reads a view of what is durable and never
    /// touches a shard.
    pub fn look(&self, place: Place, radius_m: f64) -> Vec<Sighting> {
        self.shared().world.look(place, radius_m, self.now())
    }

    /// Subscribes to changes of the world from now on.
    pub fn subscribe(&self) -> Subscription {
        self.shared().world.subscribe()
    }

    /// The position of the view of the world: `look` and subscriptions show all events before it.
    pub fn world_position(&self) -> Position {
        self.shared().world.position()
    }

    /// The first position that is not durable yet.
    pub fn position(&self) -> Position {
        self.shared().progress.committed()
    }

    /// The engine's time: it stamps attempts and groups and measures how long things last. It never goes back, not
    /// across restarts either, and never leaps. What people see, and what was agreed with the world outside, is by
    /// [`wall_clock`](crate::wall_clock).
    pub fn now(&self) -> Timestamp {
        self.shared().clock.now()
    }

    /// A moment of the engine's time, such as when a message was sent, as the wall clock shows it now.
    pub fn by_wall(&self, at: Timestamp) -> Timestamp {
        self.shared().clock.ahead().to_wall(at)
    }

    /// The seed of dodge rolls.
    pub fn world_seed(&self) -> u64 {
        self.shared().rules.world_seed
    }

    /// The options it was opened with.
    pub fn options(&self) -> &Options {
        &self.shared().options
    }

    /// Figures as of now. Clients hand theirs in ten times a second, when they poll.
    pub fn metrics(&self) -> Metrics {
        let shared = self.shared();
        let attempts = shared.attempt_figures.lock().clone();
        let groups = shared.group_figures.lock().clone();
        Metrics {
            attempts: attempts.outcomes,
            throttled: attempts.throttled,
            resent: attempts.resent,
            wild: shared.world.wild() as u64,
            reads_failed: shared.counter.failed.load(Ordering::Relaxed),
            appeared: shared.world_figures.appeared.load(Ordering::Relaxed),
            vanished: shared.world_figures.vanished.load(Ordering::Relaxed),
            players: shared.registry.len() as u64,
            group_events: groups.events,
            group_bytes: groups.bytes,
            sync_ns: groups.sync_ns,
            queued_ns: attempts.queued_ns,
            decided_ns: attempts.decided_ns,
            durable_ns: attempts.durable_ns,
            total_ns: attempts.total_ns,
            mailbox_depth: shared.doors.iter().map(|door| door.attempts.len()).collect(),
            journal_depth: shared.desk.depth(),
            position: shared.progress.committed(),
            snapshot_position: shared.progress.snapshot(),
        }
    }

    /// Starts a thread of the program around the engine, under the engine's rule for its own: one that panics, or
    /// ends while `was_asked` says that nothing asked it to, is a failure of the engine.
    ///
    /// # Errors
    /// When the system starts no more threads.
    pub fn spawn_thread(
        &self,
        name: &str,
        was_asked: impl Fn() -> bool + Send + 'static,
        run: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<JoinHandle<()>> {
        failure::spawn(name, &self.shared().failure, was_asked, run)
    }

    /// The engine's threads and those started by [`spawn`](Engine::spawn), and whether they move. A program around
    /// the engine watches them with a [`Watch`](crate::pulse::Watch).
    pub fn pulses(&self) -> &Arc<Pulses> {
        self.shared().failure.pulses()
    }

    /// From now on the engine has failed: the program around it cannot do what it promised. The first reason stays.
    pub fn fail(&self, reason: String) {
        self.shared().failure.set(reason);
    }

    fn calls(&self) -> &Calls {
        &self.0.calls
    }

    /// Why the engine stopped, if it did by itself.
    pub fn failure(&self) -> Option<String> {
        self.shared().failure.get()
    }

    /// Waits up to `timeout` for the engine to fail; the reason, if it did.
    pub fn wait_for_failure(&self, timeout: Duration) -> Option<String> {
        self.shared().failure.wait(timeout)
    }

    /// Decides what was accepted, makes it durable, releases the answers, brings the snapshot up to date and stops.
    /// Blocks until all of that is done and every thread of the engine has ended: milliseconds, and a function of
    /// [`on_events`](Self::on_events) is waited for; never call it from one.
    ///
    /// Other clones see the engine stopped: new commands get
    /// [`SubmitError::Stopped`](fakemon_capture::command::SubmitError::Stopped), answers to what was accepted can
    /// still be polled or waited for, and what reads memory (`look`, `metrics`, `registry`) goes on. Another
    /// [`open`](Self::open) of the directory succeeds from now on. Closing twice does nothing.
    pub fn close(&self) {
        self.0.close();
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }
}

impl Running {
    /// Stops threads in the order of the data's path, so that each one still has its successor while it finishes.
    fn close(&self) {
        let Some(threads) = self.threads.lock().take() else {
            return;
        };
        // The monitor stops first: its last notice is an event, which the committer must still write.
        threads.stop_monitor.store(true, Ordering::SeqCst);
        self.notices.bell.ring();
        threads.monitor.into_iter().for_each(|monitor| join(monitor, &self.shared.failure));
        self.shared.stopping.store(true, Ordering::SeqCst);
        threads.stop_inside.store(true, Ordering::SeqCst);
        for carrier in threads.inside {
            carrier.thread().unpark();
            join(carrier, &self.shared.failure);
        }
        drop(threads.cores);
        self.shared.desk.stop();
        join(threads.committer, &self.shared.failure);
        self.shared.counter.stop();
        join(threads.reader, &self.shared.failure);
        threads.stop_followers.store(true, Ordering::SeqCst);
        self.shared.progress.ring_followers();
        for follower in threads.followers {
            follower.thread().unpark();
            join(follower, &self.shared.failure);
        }
        self.bus.checkpointer.close();
        self.bus.courier.events.journal.close();
        self.bus.depot.close();
        self.shared.closed.store(true, Ordering::SeqCst);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.close();
    }
}

fn join(thread: JoinHandle<()>, failure: &Failure) {
    let name = thread.thread().name().unwrap_or_default().to_owned();
    if thread.join().is_err() {
        failure.set(format!("the thread `{name}` panicked"));
    }
}

/// Starts a thread that runs until `stop` says so, or the engine stops.
fn thread(
    name: &str,
    shared: &Arc<Shared>,
    stop: &Arc<AtomicBool>,
    run: impl FnOnce() + Send + 'static,
) -> JoinHandle<()> {
    let (stop, stopping) = (stop.clone(), shared.clone());
    let was_asked = move || stop.load(Ordering::SeqCst) || stopping.stopping.load(Ordering::SeqCst);
    started(failure::spawn(name, &shared.failure, was_asked, run))
}

fn started(thread: std::io::Result<JoinHandle<()>>) -> JoinHandle<()> {
    thread.expect("a machine that cannot start one more thread cannot run this engine")
}
