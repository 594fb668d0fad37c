//! How an engine opens: the databases, recovery, then the threads, in the order of the data's path.

use super::blocking::Calls;
use super::{Bus, Engine, Running, Threads, started, thread};
use crate::monitor::{Beginning, Monitor};
use crate::timekeeper::Timekeeper;
use fakemon_capture::open::Captures;
use fakemon_capture::options::{Directory, Durability, OpenError, Options};
use fakemon_capture::recovery::{FromRows, Recovered};
use fakemon_capture::shared::Shared;
use fakemon_delivery::local::LocalTarget;
use fakemon_delivery::notices::Notices;
use fakemon_delivery::reset::cut_back::reach;
use fakemon_delivery::{Dispatcher, Events, Journal, Known, Replayer, Router};
use fakemon_journal::checkpoint::{Checkpointer, Standing};
use fakemon_journal::follower::{BUS, Follower, PIPES, SNAPSHOT, WORLD};
use fakemon_journal::index::Segment;
use fakemon_journal::{BusStore, Databases, IndexStore, ReadError, RowStore, Seen, descriptors_max};
use fakemon_model::ids::Position;
use fakemon_pipe::{Parts, Supervisor};
use fakemon_resource::Resources;
use fakemon_schedule::Agenda;
use fakemon_sync::failure::spawn;
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

impl Engine {
    /// Opens the data directory `dir`, or makes a new one; recovers what it holds; starts the shards.
    ///
    /// # Errors
    /// One line with the remedy: options out of range, a directory that cannot be written, belongs to something else,
    /// is open in another process or of a newer format; a damaged journal; no io_uring, too little locked memory.
    pub fn open(dir: &Path, options: Options) -> Result<Engine, OpenError> {
        options.check()?;
        options.check_descriptors(descriptors_max())?;
        let started = Instant::now();
        let fail = |error: ReadError| OpenError::reading(Directory(dir), &error, remedy(&error));
        let mut seen = Seen::at(dir, reach)?;
        let from_rows = FromRows::read(seen.rows.take().as_ref(), options.cores).map_err(fail)?;
        let store = Arc::new(seen.open_store(dir)?); // nothing was written before
        let end = store.end_position().map_err(fail)?;
        store.check_acknowledged(end).map_err(fail)?; // before rows that are ahead are deleted
        let first = store.first_position().map_err(fail)?;
        let is_new = first.is_none() && end == Position(1);
        let first = first.unwrap_or(end);
        let rows = Arc::new(RowStore::open_up_to(dir, first, end)?);
        let recovered = from_rows.follow(&*store).map_err(fail)?;
        let index = Arc::new(IndexStore::open_up_to(dir, end)?);
        let segment = options.index.then(|| Segment::after(&index)).transpose().map_err(fail)?;
        let depot = Arc::new(BusStore::open_seen(dir)?);
        store.note_bus().map_err(fail)?;
        if options.durability == Durability::Unsynced {
            store.note_unsynced().map_err(fail)?;
        }
        let known = Known::read(&depot, first, recovered.link.next).map_err(fail)?;
        let resources = Resources::new(known.followed_to_the_end(&store).map_err(fail)?);
        let (position, tail) = (recovered.link.next, recovered.tail_events);
        let databases = Databases { store, rows, index, depot };
        let engine = Engine::start(dir, databases.clone(), segment, options, recovered, resources, known)?;
        let took_ms = started.elapsed().as_millis();
        tracing::info!(%position, tail_events = tail, took_ms, "journal {} is open", dir.display());
        engine.watch(dir, databases)?;
        Beginning { is_new, position, events_replayed: tail, took_ms }.tell(engine.notices(), engine.options().cores);
        if engine.options().durability == Durability::Unsynced {
            tracing::warn!("durability is `unsynced`: a power cut can take back answers that were given");
        }
        Ok(engine)
    }

    fn start(
        dir: &Path,
        databases: Databases,
        segment: Option<Segment>,
        options: Options,
        recovered: Recovered,
        resources: Resources,
        known: Known,
    ) -> Result<Engine, OpenError> {
        let bus_fail = |error: ReadError| OpenError::reading(format!("{}: the bus", Directory(dir)), &error, "");
        let (store, index) = (databases.store.clone(), databases.index.clone());
        let journal = (store.clone(), databases.rows.clone());
        let mut captures = Captures::open(journal, options, recovered, resources, crate::validate::validate)?;
        let shared = captures.shared.clone();
        let standing = Arc::new(Standing::default());
        let bus = Bus::open(dir, databases, standing.clone(), &shared).map_err(bus_fail)?;
        let cores = captures.start_shards()?; // stopped if something below fails
        let (stop_followers, stop_inside): (Arc<AtomicBool>, Arc<AtomicBool>) = Default::default();
        let follower = |index| Follower::new(store.clone(), shared.progress.clone(), stop_followers.clone(), index);
        let router = bus.router(follower(BUS).beginning_at(known.next), known, &shared).map_err(bus_fail)?;
        let replayer = bus.replayer(&shared, stop_inside.clone());
        let (failure, pipes) = (shared.failure.clone(), bus.pipes.clone());
        let supervisor = Supervisor::open(pipes, follower(PIPES), failure, stop_inside.clone()).map_err(bus_fail)?;
        let expiry = captures.expiry(follower(WORLD));
        let snapshotter = captures.snapshotter(follower(SNAPSHOT), index, segment, bus.depot.clone(), standing);
        let (reader, committer) = (captures.reader(), captures.committer());
        let opened_at = shared.progress.committed();
        let outboxes = shared.outboxes.clone();
        shared.failure.on_failure(move || outboxes.ring_all());
        let (desk, counter) = (shared.desk.clone(), shared.counter.clone());
        let follows = |name: &str, run: Box<dyn FnOnce() + Send>| thread(name, &shared, &stop_followers, run);
        let inside = |name: &str, run: Box<dyn FnOnce() + Send>| thread(name, &shared, &stop_inside, run);
        let threads = Threads {
            opened_at,
            cores,
            committer: started(spawn("journal", &shared.failure, move || desk.is_stopped(), move || committer.run())),
            reader: started(spawn("reader", &shared.failure, move || counter.is_stopped(), move || reader.run())),
            followers: vec![
                follows("world", Box::new(move || expiry.run())),
                follows("snapshot", Box::new(move || snapshotter.run())),
                follows("bus", Box::new(move || router.run())),
            ],
            inside: vec![
                inside("replays", Box::new(move || replayer.run())),
                inside("pipes", Box::new(move || supervisor.run())),
            ],
            stop_inside,
            stop_followers,
            stop_monitor: Arc::default(),
            monitor: None,
        };
        let running = Running {
            shared,
            notices: Arc::new(Notices::default()),
            bus,
            threads: Mutex::new(Some(threads)),
            calls: Calls::default(),
        };
        let engine = Engine(Arc::new(running));
        let client = engine.client().map_err(|error| OpenError::Io(error.to_string()))?;
        let answered = engine.0.bus.answered.clone();
        engine.carry("deliveries", LocalTarget::Own(Box::new(client), answered));
        engine.keep_time()?;
        Ok(engine)
    }

    fn watch(&self, directory: &Path, databases: Databases) -> Result<(), OpenError> {
        let client = self.client().map_err(|error| OpenError::Io(error.to_string()))?;
        let mut threads = self.0.threads.lock();
        let Some(threads) = threads.as_mut() else { return Ok(()) };
        let (shared, directory) = (self.shared().clone(), directory.to_owned());
        let monitor = Monitor::new(
            shared,
            self.notices().clone(),
            self.courier().clone(),
            client,
            databases,
            directory,
            threads.stop_monitor.clone(),
        );
        threads.monitor = Some(thread("monitor", self.shared(), &threads.stop_monitor, move || monitor.run()));
        Ok(())
    }

    /// Starts the thread that fires schedules.
    fn keep_time(&self) -> Result<(), OpenError> {
        let client = self.client().map_err(|error| OpenError::Io(error.to_string()))?;
        let mut threads = self.0.threads.lock();
        let Some(threads) = threads.as_mut() else { return Ok(()) };
        let timekeeper = Timekeeper {
            agenda: self.0.bus.agenda.clone(),
            client,
            resources: self.shared().resources.clone(),
            progress: self.shared().progress.clone(),
            opened_at: threads.opened_at,
            stop: threads.stop_inside.clone(),
            failure: self.shared().failure.clone(),
            under_way: 0,
        };
        threads.inside.push(thread("schedules", self.shared(), &threads.stop_inside, move || timekeeper.run()));
        Ok(())
    }
}

impl Bus {
    /// Opens what delivers events, from the databases and what clients share.
    fn open(
        dir: &Path,
        databases: Databases,
        standing: Arc<Standing>,
        shared: &Arc<Shared>,
    ) -> Result<Bus, ReadError> {
        let depot = databases.depot.clone();
        let failing = shared.failure.clone();
        depot.on_failure(move |error| failing.set(error.to_owned()));
        let events = Events {
            journal: Journal::new(databases.store.clone()),
            players: shared.registry.clone(),
            world: shared.world.clone(),
            notices: shared.options.notices,
            descent: Arc::default(),
        };
        let courier = Dispatcher::load(depot.clone(), events, shared.resources.clone(), shared.clock.clone())?;
        let pipes = Parts::open(courier.clone(), depot.clone(), shared.clone());
        let checkpointer = Checkpointer::new(dir, databases, standing, shared.progress.clone());
        Ok(Bus {
            courier,
            depot,
            replays: Arc::default(),
            archives: Arc::default(),
            agenda: Arc::new(Agenda::new(shared.clock.clone())),
            answered: pipes.answered.clone(),
            pipes,
            checkpointer,
        })
    }

    fn router(&self, follower: Follower, known: Known, shared: &Shared) -> Result<Router, ReadError> {
        Router::open(
            follower,
            shared.progress.clone(),
            self.depot.clone(),
            known,
            self.courier.lanes.clone(),
            self.agenda.clone(),
            self.courier.events.clone(),
            self.courier.figures.clone(),
            shared.failure.clone(),
        )
    }

    fn replayer(&self, shared: &Shared, stop: Arc<AtomicBool>) -> Replayer {
        Replayer {
            depot: self.depot.clone(),
            lanes: self.courier.lanes.clone(),
            events: self.courier.events.clone(),
            resources: shared.resources.clone(),
            replays: self.replays.clone(),
            progress: shared.progress.clone(),
            failure: shared.failure.clone(),
            clock: shared.clock.clone(),
            stop,
        }
    }
}

/// The remedy for a damaged journal.
fn remedy(error: &ReadError) -> &'static str {
    match error {
        ReadError::Corrupt { .. } => {
            "; `fakemon verify` says what is wrong, and `fakemon verify --salvage NEW_DIR` makes a new directory of all \
             that holds"
        }
        ReadError::Damaged(_) | ReadError::Store(_) | ReadError::Failed(_) => "",
    }
}
