//! How an engine opens: the databases, recovery, then the threads, in the order of the data's path.

use super::blocking::Calls;
use super::{Bus, Engine, Running, Threads, started, stop_cores, thread};
use crate::monitor::{Beginning, Monitor};
use crate::timekeeper::Timekeeper;
use fakemon_capture::archive_reader::{ReadQueue, Reader};
use fakemon_capture::commit::commit_queue::{CommitQueue, Name};
use fakemon_capture::commit::group_commit::Committer;
use fakemon_capture::decision::resolve::Rules;
use fakemon_capture::executor::{self, ShardInbox, Wakeups};
use fakemon_capture::metrics::GroupFigures;
use fakemon_capture::options::{Directory, Durability, OpenError, Options};
use fakemon_capture::recovery::snapshot::Snapshotter;
use fakemon_capture::recovery::{FromRows, Recovered};
use fakemon_capture::shard::Shard;
use fakemon_capture::shared::Shared;
use fakemon_capture::world::World;
use fakemon_capture::world::expiry::Expiry;
use fakemon_delivery::local::LocalTarget;
use fakemon_delivery::notices::Notices;
use fakemon_delivery::{BusMetrics, Dispatcher, Events, Journal, Known, Lanes, Replayer, Router};
use fakemon_fbs::journal::{BlockWriter, Opened};
use fakemon_journal::checkpoint::{Checkpointer, Standing};
use fakemon_journal::follower::{BUS, FOLLOWERS, Follower, PIPES, SNAPSHOT, WORLD};
use fakemon_journal::index::Segment;
use fakemon_journal::retention::Kept;
use fakemon_journal::{BusStore, Databases, IndexStore, Progress, ReadError, RowStore, Seen, Store, descriptors_max};
use fakemon_model::ids::{Ahead, Position, ShardId, SpeciesId, mix};
use fakemon_pipe::{Callees, Parts, Pipes, Supervisor};
use fakemon_queue::log_group::Logs;
use fakemon_queue::queue::Queues;
use fakemon_resource::Resources;
use fakemon_schedule::Agenda;
use fakemon_sync::clock::Clock;
use fakemon_sync::failure::{Failure, spawn};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Why no name is lost when an engine opens; an assertion in `limits` ensures it.
const NAMES_FIT: &str = "the names of all species and of the opening wait at once";

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
        let mut seen = Seen::at(dir)?;
        let from_rows = FromRows::read(seen.rows.take().as_ref(), options.cores).map_err(fail)?;
        let store = Arc::new(seen.open_store(dir)?); // nothing was written before
        let end = store.end_position().map_err(fail)?;
        store.check_acknowledged(end).map_err(fail)?; // before rows that are ahead are deleted
        let first = store.first_position().map_err(fail)?;
        let is_new = first.is_none() && end == Position(1);
        let first = first.unwrap_or(end);
        let rows = Arc::new(RowStore::open_up_to(dir, first, end)?);
        let recovered = from_rows.follow(&store).map_err(fail)?;
        let index = Arc::new(IndexStore::open_up_to(dir, end)?);
        let segment = options.index.then(|| Segment::after(&index)).transpose().map_err(fail)?;
        let depot = Arc::new(BusStore::open_seen(dir)?);
        store.note_bus().map_err(fail)?;
        let known = Known::read(&depot, first, recovered.link.next).map_err(fail)?;
        let resources = Resources::new(known.followed_to_the_end(&store).map_err(fail)?);
        let (position, tail) = (recovered.link.next, recovered.tail_events);
        let databases =
            Databases { store: store.clone(), rows: rows.clone(), index: index.clone(), depot: depot.clone() };
        let engine = Engine::start(dir, store, rows, (index, segment), depot, options, recovered, resources, known)?;
        let took_ms = started.elapsed().as_millis();
        tracing::info!(%position, tail_events = tail, took_ms, "journal {} is open", dir.display());
        engine.watch(dir, databases)?;
        Beginning { is_new, position, events_replayed: tail, took_ms }.tell(engine.notices(), engine.options().cores);
        if engine.options().durability == Durability::Unsynced {
            tracing::warn!("durability is `unsynced`: a power cut can take back answers that were given");
        }
        Ok(engine)
    }

    #[expect(clippy::too_many_arguments, reason = "everything that was opened")]
    fn start(
        dir: &Path,
        store: Arc<Store>,
        rows: Arc<RowStore>,
        (index, segment): (Arc<IndexStore>, Option<Segment>),
        depot: Arc<BusStore>,
        options: Options,
        recovered: Recovered,
        resources: Resources,
        known: Known,
    ) -> Result<Engine, OpenError> {
        let ahead = Ahead(recovered.newest_head.ahead_ns);
        let clock = Clock::starting_after(recovered.newest, ahead);
        let rules = rules(&options, recovered.rules, &clock);
        let desk = Arc::new(CommitQueue::new());
        let announced = desk.announce(Name::Opened(Opened {
            at_ns: clock.now().0,
            world_seed: rules.world_seed,
            reach_mm: rules.reach_mm,
            cores: u16::try_from(options.cores).expect("checked: at most 256"),
            durable: options.durability == Durability::Synced,
        }));
        assert!(announced, "{NAMES_FIT}");
        let names = name_species(&options, recovered.species, &desk);
        let species_numbers = (0..).map(SpeciesId);
        let species = names.iter().map(ToString::to_string).zip(species_numbers).collect();
        let world = Arc::new(World::new(recovered.link.next, names, clock.clone()));
        recovered.populations.iter().for_each(|population| world.populate(population.iter()));
        let progress = Progress::new(recovered.link.next, Position(recovered.snapshot.position), FOLLOWERS);
        let failure = Arc::new(Failure::default());
        let failing = failure.clone();
        depot.on_failure(move |error| failing.set(error.to_owned()));
        let bus_fail = |error: ReadError| OpenError::reading(format!("{}: the bus", Directory(dir)), &error, "");
        let queues = Arc::new(Queues::open(depot.clone()).map_err(bus_fail)?);
        let registry = Arc::new(recovered.registry);
        let events = Events {
            journal: Journal::new(store.clone()),
            players: registry.clone(),
            world: world.clone(),
            notices: options.notices,
        };
        let resources = Arc::new(resources);
        let courier = Dispatcher {
            lanes: Arc::new(Lanes::new(depot.clone())),
            events,
            figures: Arc::new(BusMetrics::new(clock.clone())),
            queues,
            logs: Arc::new(Logs::open(depot.clone())),
            resources: resources.clone(),
            enforcer: Arc::default(),
            clock: clock.clone(),
            seed: Arc::new(AtomicU64::new(clock.now().0)),
        };
        let (doors, ears): (Vec<_>, Vec<_>) = doors(options.cores)?.into_iter().unzip();
        let agenda = Arc::new(Agenda::new(clock.clone()));
        let (progress, standing) = (Arc::new(progress), Arc::new(Standing::default()));
        let databases =
            Databases { store: store.clone(), rows: rows.clone(), index: index.clone(), depot: depot.clone() };
        let checkpointer = Checkpointer::new(dir, databases, standing.clone(), progress.clone());
        let shared = Arc::new(Shared {
            validate: crate::validate::validate,
            rules,
            species,
            clock: clock.clone(),
            doors: doors.into(),
            desk,
            progress,
            outboxes: Arc::default(),
            registry,
            world,
            counter: Arc::new(ReadQueue::default()),
            failure,
            stopping: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            throw_figures: Mutex::default(),
            group_figures: Arc::new(Mutex::new(GroupFigures::new(options.thresholds.slow_sync))),
            world_figures: Arc::default(),
            next_fakemon_id: AtomicU64::new(recovered.next_fakemon_id),
            resources,
            options,
        });
        let pipes = Arc::new(Parts {
            courier: courier.clone(),
            depot: depot.clone(),
            progress: shared.progress.clone(),
            shared: shared.clone(),
            answered: Arc::default(),
            callees: Callees::default(),
            pipes: Pipes::default(),
        });
        let bus = Bus {
            courier,
            depot,
            replays: Arc::default(),
            archives: Arc::default(),
            agenda,
            answered: pipes.answered.clone(),
            pipes,
            checkpointer,
        };
        let mut cores = Vec::new();
        for ((population, ears), id) in recovered.populations.into_iter().zip(ears).zip(0..) {
            let id = ShardId(id);
            let door = shared.doors[usize::from(id.0)].clone();
            let shard = Shard::new(id, rules, population);
            let (failure, clock) = (shared.failure.clone(), clock.clone());
            match executor::start(shard, id, shared.options.pin, door, ears, shared.desk.clone(), clock, failure) {
                Ok(core) => cores.push(core),
                Err(error) => {
                    stop_cores(&shared, cores);
                    return Err(error);
                }
            }
        }
        let stop_followers = Arc::new(AtomicBool::new(false));
        let follower = |index| Follower::new(store.clone(), shared.progress.clone(), stop_followers.clone(), index);
        let router = Router::open(
            follower(BUS).beginning_at(known.next),
            shared.progress.clone(),
            bus.depot.clone(),
            known,
            bus.courier.lanes.clone(),
            bus.agenda.clone(),
            bus.courier.events.clone(),
            bus.courier.figures.clone(),
            shared.failure.clone(),
        );
        let router = match router.map_err(bus_fail) {
            Ok(router) => router,
            Err(error) => {
                stop_cores(&shared, cores);
                return Err(error);
            }
        };
        let stop_inside: Arc<AtomicBool> = Arc::default();
        let replayer = Replayer {
            depot: bus.depot.clone(),
            lanes: bus.courier.lanes.clone(),
            events: bus.courier.events.clone(),
            resources: shared.resources.clone(),
            replays: bus.replays.clone(),
            progress: shared.progress.clone(),
            failure: shared.failure.clone(),
            clock: clock.clone(),
            stop: stop_inside.clone(),
        };
        let readers = Arc::downgrade(&bus.pipes);
        bus.courier.queues.on_message(move |queue| {
            readers.upgrade().into_iter().for_each(|parts| parts.pipes.wake_readers(queue));
        });
        let supervisor =
            Supervisor::open(bus.pipes.clone(), follower(PIPES), shared.failure.clone(), stop_inside.clone());
        let supervisor = match supervisor.map_err(bus_fail) {
            Ok(supervisor) => supervisor,
            Err(error) => {
                stop_cores(&shared, cores);
                return Err(error);
            }
        };
        let clockwork = Expiry {
            follower: follower(WORLD),
            world: shared.world.clone(),
            figures: shared.world_figures.clone(),
            doors: shared.doors.clone(),
            failure: shared.failure.clone(),
            clock: clock.clone(),
        };
        let snapshotter = Snapshotter {
            follower: follower(SNAPSHOT),
            store: store.clone(),
            rows: rows.clone(),
            progress: shared.progress.clone(),
            failure: shared.failure.clone(),
            clock: clock.clone(),
            every: shared.options.snapshot_every,
            kept: Kept::new(shared.options.retention),
            head: recovered.snapshot,
            index,
            segment,
            standing,
            unflushed: 0,
        };
        let reader =
            Reader { counter: shared.counter.clone(), store: store.clone(), rows, world: shared.world.clone() };
        let committer = Committer {
            store,
            desk: shared.desk.clone(),
            progress: shared.progress.clone(),
            outboxes: shared.outboxes.clone(),
            resources: shared.resources.clone(),
            figures: shared.group_figures.clone(),
            failure: shared.failure.clone(),
            clock,
            durability: shared.options.durability,
            link: recovered.link,
            writer: BlockWriter::default(),
            previous_sync_ns: 0,
            ahead: Ahead(recovered.newest_head.ahead_ns),
            ahead_since: Position(recovered.newest_head.ahead_since),
            turns_of_shards: vec![0; shared.doors.len()],
        };
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
                follows("world", Box::new(move || clockwork.run())),
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
        let engine = Engine(Arc::new(Running {
            shared,
            notices: Arc::new(Notices::default()),
            bus,
            threads: Mutex::new(Some(threads)),
            calls: Calls::default(),
        }));
        let client = engine.client().map_err(|error| OpenError::Io(error.to_string()))?;
        let answered = engine.0.bus.answered.clone();
        engine.carry("deliveries", LocalTarget::Own(Box::new(client), answered));
        engine.keep_time()?;
        Ok(engine)
    }

    fn watch(&self, directory: &Path, databases: Databases) -> Result<(), OpenError> {
        let client = self.client().map_err(|error| OpenError::Io(error.to_string()))?;
        let mut threads = self.0.threads.lock().unwrap_or_else(PoisonError::into_inner);
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
        let mut threads = self.0.threads.lock().unwrap_or_else(PoisonError::into_inner);
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

/// Creates one inbox per shard.
fn doors(shards: usize) -> Result<Vec<(Arc<ShardInbox>, Wakeups)>, OpenError> {
    let door = |_| ShardInbox::new().map(|(door, ears)| (Arc::new(door), ears));
    let doors = (0..shards).map(door).collect::<std::io::Result<Vec<_>>>();
    doors.map_err(|error| {
        OpenError::TooFewDescriptors(format!("no descriptors for the shards: {error}; raise `ulimit -n`"))
    })
}

/// The game settings: from the options, else from the journal, else new ones.
fn rules(options: &Options, journal: Option<Rules>, clock: &Clock) -> Rules {
    let seed = options.world_seed.or(journal.map(|rules| rules.world_seed));
    Rules { world_seed: seed.unwrap_or_else(|| mix(clock.now().0)), reach_mm: options.reach_mm() }
}

/// All species by number: those in the journal, then those that are new in the table.
fn name_species(options: &Options, mut known: Vec<String>, desk: &CommitQueue) -> Vec<Arc<str>> {
    for species in options.species.iter() {
        if !known.contains(&species.name) {
            let number = SpeciesId(u16::try_from(known.len()).expect("tables are bounded"));
            assert!(desk.announce(Name::Species(number, species.name.clone())), "{NAMES_FIT}");
            known.push(species.name.clone());
        }
    }
    known.into_iter().map(Into::into).collect()
}
